package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// fleet is three copies of the program with one key file, behind HAProxy, which ends TLS,
// as deploy/haproxy.cfg has them.
type fleet struct {
	t       *testing.T
	url     string
	cert    string // of HAProxy
	ring    string
	addrs   []string
	copies  []*testkit.Server
	haproxy *proxy
	client  func() *http.Client // with a jar of its own
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	slow(t)
	testkit.NeedTool(t, "haproxy")
	cert, key, pool := testkit.NewCertificate(t)
	front := testkit.FreeAddr(t)
	_, port, _ := net.SplitHostPort(front)
	f := &fleet{
		t: t, url: "https://localhost:" + port, cert: cert,
		ring: filepath.Join(t.TempDir(), "ring"), copies: make([]*testkit.Server, 3),
		client: func() *http.Client { return newClient(t, &tls.Config{RootCAs: pool}) },
	}
	mustRun(t, "keys", "add", f.ring)
	for i := range f.copies {
		f.addrs = append(f.addrs, testkit.FreeAddr(t))
		f.start(i)
	}
	f.haproxy = startHAProxy(t, cert, key, testkit.FreeAddr(t), front, testkit.FreeAddr(t),
		f.addrs...)
	return f
}

// start starts one copy.
func (f *fleet) start(i int, flags ...string) {
	f.t.Helper()
	flags = append(flags, "-addr", f.addrs[i], "-key-file", f.ring, "-origin", f.url,
		"-shutdown-delay", "3s", "-log-level", "debug")
	f.copies[i] = start(f.t, nil, flags...)
}

// restart ends one copy after the other, and starts it again with other flags.
func (f *fleet) restart(look func(), flags ...string) {
	f.t.Helper()
	for i, p := range f.copies {
		if err := p.End(); err != nil || p.Log.Has("level=ERROR") {
			f.t.Errorf("a copy ended with %v: %s", err, p.Log)
		}
		look()
		f.start(i, flags...)
		time.Sleep(1500 * time.Millisecond) // until HAProxy has seen it
		look()
	}
}

// rotate takes a new key into use, in the right order, and returns the old one's id.
func (f *fleet) rotate(look func()) (old string) {
	f.t.Helper()
	old = sealer(f.t, f.ring)
	for _, step := range [][]string{{"add", f.ring}, {"promote", f.ring}, {"drop", f.ring, old}} {
		loaded := make([]int, len(f.copies))
		times := func(i int) int {
			return strings.Count(f.copies[i].Log.String(), "key file loaded")
		}
		for i := range f.copies {
			loaded[i] = times(i)
		}
		mustRun(f.t, slices.Concat([]string{"keys"}, step)...)
		for i := range f.copies {
			testkit.AwaitTrue(f.t, "the keys", func() bool { return times(i) > loaded[i] })
		}
		time.Sleep(time.Second) // in which all have come, and have a cookie of the new key
		look()
	}
	return old
}

// newClient returns an HTTP client with a jar.
func newClient(t testing.TB, config *tls.Config) *http.Client {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: transport}
}

// visitor is one who has a name at a site.
type visitor struct {
	client    *http.Client
	url, name string
}

// ask makes one request, which has to be answered with one line.
func (v *visitor) ask(path string, form url.Values, want string) error {
	method := "GET"
	if form != nil {
		method = "POST"
	}
	res, body, err := askSite(v.client, v.url, method, path, form.Encode(), "")
	if err == nil && (res.StatusCode != 200 || body != want+"\n") {
		err = fmt.Errorf("got status %d and %q, want %q", res.StatusCode, body, want)
	}
	return err
}

func (v *visitor) set() error {
	return v.ask("/set_name", url.Values{"name": {v.name}}, "Name "+v.name+" set in session")
}

func (v *visitor) check() error { return v.ask("/get_name", nil, "Name: "+v.name) }

// comeAndGo has visitors of the fleet come all the time, until stop is called. Each has to
// find its name.
func (f *fleet) comeAndGo(n int) (all []*visitor, stop func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range n {
		v := &visitor{client: f.client(), url: f.url, name: fmt.Sprint("visitor ", i)}
		all = append(all, v)
		wg.Go(func() {
			for n := 0; !over.Load() && !f.t.Failed(); n++ {
				visit := v.check
				if n%5 == 0 {
					visit = v.set
				}
				if err := visit(); err != nil {
					f.t.Errorf("%s: %v", v.name, err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return all, func() {
		over.Store(true)
		wg.Wait()
	}
}

// Keys are rotated, copies restarted, encryption is switched, and HAProxy reloaded, while
// visitors come and go. None of them notices. When HAProxy is killed requests fail, but no
// session is lost.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	visitors, stop := f.comeAndGo(30)
	defer stop()
	reload := func() { f.haproxy.start("-sf", fmt.Sprint(f.haproxy.cmd.Process.Pid)) }
	f.rotate(reload)
	f.restart(func() {}, "-encrypt=false")
	f.restart(func() {}, "-encrypt=true")
	stop()
	for _, p := range f.copies {
		if p.Log.Has("level=ERROR") || p.Log.Has("visitor ") {
			t.Errorf("got an error or a name in the log %s", p.Log)
		}
	}
	f.haproxy.cmd.Process.Kill()
	f.haproxy.cmd.Wait()
	if err := visitors[0].check(); err == nil {
		t.Error("got an answer without HAProxy")
	}
	f.haproxy.start()
	testkit.AwaitTrue(t, "HAProxy", func() bool { return isHealthy(visitors[0].client, f.url) })
	for _, v := range visitors {
		if err := v.check(); err != nil {
			t.Errorf("%s, after HAProxy was killed: %v", v.name, err)
		}
	}
}
