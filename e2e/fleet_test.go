package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// copies are three copies of the program, each with a key file of its own.
type copies struct {
	t    *testing.T
	ring string // the operator's own key file
	all  [3]*oneCopy
}

// oneCopy is one of the copies.
type oneCopy struct {
	addr, admin, ring string
	*testkit.Server
}

// startCopies starts them with the same key.
func startCopies(t *testing.T, flags ...string) *copies {
	t.Helper()
	slow(t)
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	f := &copies{t: t, ring: filepath.Join(t.TempDir(), "ring")}
	mustRun(t, "keys", "add", f.ring)
	for i := range f.all {
		c := &oneCopy{
			addr: testkit.FreeAddr(t), admin: testkit.FreeAddr(t), ring: fmt.Sprint(f.ring, i+1),
		}
		f.all[i] = c
		f.give(c)
		f.start(c, flags...)
	}
	return f
}

func (f *copies) start(c *oneCopy, flags ...string) {
	f.t.Helper()
	args := []string{"-addr", c.addr, "-admin-addr", c.admin, "-key-file", c.ring}
	c.Server = start(f.t, nil, append(args, flags...)...)
}

// give brings the operator's keys to one copy.
func (f *copies) give(c *oneCopy) {
	f.t.Helper()
	testkit.WriteFile(f.t, c.ring+".new", testkit.ReadFile(f.t, f.ring))
	if err := os.Rename(c.ring+".new", c.ring); err != nil {
		f.t.Fatal(err)
	}
}

// giveNow has the copy read them at once, too.
func (f *copies) giveNow(c *oneCopy) {
	f.t.Helper()
	f.give(c)
	c.Cmd.Process.Signal(syscall.SIGHUP)
}

// fleet is copies behind HAProxy, which ends TLS, as deploy/haproxy.cfg has them.
type fleet struct {
	*copies
	url     string
	flags   []string // of each copy
	haproxy *proxy
	tls     *tls.Config // trusts HAProxy's certificate

	requests atomic.Int64
	resealed int64 // by copies that have ended
}

// newFleet starts the copies, and HAProxy before them.
func newFleet(t *testing.T) *fleet {
	testkit.NeedTool(t, "haproxy")
	plain, front := testkit.FreeAddr(t), testkit.FreeAddr(t)
	f := &fleet{url: "https://" + front}
	f.flags = []string{"-shutdown-delay", "3s", "-origin", f.url}
	f.copies = startCopies(t, f.flags...)
	var client *http.Client
	f.haproxy, client = startHAProxy(t, plain, front, f.all[0].addr, f.all[1].addr, f.all[2].addr)
	f.tls = client.Transport.(*http.Transport).TLSClientConfig
	return f
}

// end ends the copies, all at once: each takes its delay.
func (f *fleet) end() {
	var wg sync.WaitGroup
	for _, c := range f.all {
		wg.Go(func() {
			if err := c.End(); err != nil {
				f.t.Errorf("a copy ended with %v: %s", err, c.Log)
			}
		})
	}
	wg.Wait()
}

// spread brings the operator's keys to one copy after the other, at leisure, and waits until
// all of them use them: the first by SIGHUP, the others by themselves.
func (f *fleet) spread() {
	f.t.Helper()
	keys := listKeys(f.t, f.ring)
	f.giveNow(f.all[0])
	for _, c := range f.all[1:] {
		time.Sleep(100 * time.Millisecond)
		f.give(c)
	}
	testkit.AwaitTrue(f.t, "the keys to be loaded", func() bool {
		for _, c := range f.all {
			page := metricsOf(f.t, c.admin)
			for _, k := range keys {
				if !strings.Contains(page, `cookiesession_key_info{key_id="`+k.encrypted) {
					return false
				}
			}
			const seals = `key_info{key_id="%s",mode="%s",role="seals"}`
			encrypted := fmt.Sprintf(seals, keys[0].encrypted, "encrypted")
			signed := fmt.Sprintf(seals, keys[0].signed, "signed")
			if strings.Count(page, "\ncookiesession_key_info{") != 2*len(keys) ||
				!strings.Contains(page, encrypted) && !strings.Contains(page, signed) {
				return false
			}
		}
		return true
	})
}

// restart ends one copy with SIGTERM and starts it again in another mode.
func (f *fleet) restart(c *oneCopy, mode string) {
	f.t.Helper()
	f.resealed += c.resealed(f.t)
	if err := c.End(); err != nil {
		f.t.Errorf("a copy ended with %v: %s", err, c.Log)
	}
	f.start(c, append(slices.Clone(f.flags), mode)...)
	time.Sleep(1500 * time.Millisecond) // until HAProxy has seen it
}

// resealed returns how many cookies a copy has sealed again, because of its keys.
func (c *oneCopy) resealed(t testing.TB) int64 {
	t.Helper()
	const written = `cookiesession_cookies_written_total{reason="re-sealed",session="session"}`
	return int64(testkit.Metric(t, metricsOf(t, c.admin), written))
}

func (f *fleet) totalResealed() int64 {
	sum := f.resealed
	for _, c := range f.all {
		sum += c.resealed(f.t)
	}
	return sum
}

// idle waits until no visitor has brought a cookie of this key for two seconds, as
// an operator does with the manual's query before a drop.
func (f *fleet) idle(k keyIDs) {
	f.t.Helper()
	used := func() (sum float64) {
		for _, c := range f.all {
			page := metricsOf(f.t, c.admin)
			for _, id := range []string{k.signed, k.encrypted} {
				const valid = `cookiesession_cookies_total{key_id="%s",session="session",` +
					`verdict="valid"}`
				sum += testkit.Metric(f.t, page, fmt.Sprintf(valid, id))
			}
		}
		return sum
	}
	last, since := used(), time.Now()
	testkit.AwaitTrue(f.t, "the old key to be used no more", func() bool {
		if now := used(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// rotate takes a new key into use, in the right order.
func (f *fleet) rotate() {
	f.t.Helper()
	old := listKeys(f.t, f.ring)
	mustRun(f.t, "keys", "add", f.ring)
	f.spread()
	mustRun(f.t, "keys", "promote", f.ring)
	f.spread()
	f.idle(old[0])
	mustRun(f.t, "keys", "drop", f.ring, old[0].encrypted)
	f.spread()
}

// visitor is a simulated visitor with a jar of its own.
type visitor struct {
	client   *http.Client
	url      string // of the site
	name     string // what it last stored
	requests *atomic.Int64
}

func newVisitor(t testing.TB, url string, config *tls.Config) *visitor {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: config.Clone()}
	client := &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{client: client, url: url, requests: new(atomic.Int64)}
}

func (f *fleet) newVisitor() *visitor {
	v := newVisitor(f.t, f.url, f.tls)
	v.requests = &f.requests
	return v
}

// ask makes one request and returns its one line.
func (v *visitor) ask(path string, form url.Values) (string, error) {
	v.requests.Add(1)
	method := "GET"
	if form != nil {
		method = "POST"
	}
	res, body, err := askSite(v.client, v.url, method, path, form.Encode(), "")
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return strings.TrimSpace(body), err
}

// namedVisitors makes so many visitors, each with a name.
func namedVisitors(t *testing.T, n int, one func() *visitor) (all []*visitor) {
	t.Helper()
	for i := range n {
		v := one()
		if err := v.set(fmt.Sprint("visitor ", i)); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// keepChecking has visitors ask for their names all the time, until stop is called.
func keepChecking(visitors []*visitor, failed func(error)) (stop func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for _, v := range visitors {
		wg.Go(func() {
			for !over.Load() {
				if err := v.check(); err != nil {
					failed(err)
				}
			}
		})
	}
	return func() {
		over.Store(true)
		wg.Wait()
	}
}

// errWrongName is an answer with another name than the visitor's, or none.
var errWrongName = errors.New("wrong name")

func (v *visitor) set(name string) error {
	got, err := v.ask("/set_name", url.Values{"name": {name}})
	if err == nil && got != "Name "+name+" set in session" {
		err = fmt.Errorf("%w: got %q, want %q set", errWrongName, got, name)
	}
	if err == nil {
		v.name = name
	}
	return err
}

func (v *visitor) check() error {
	got, err := v.ask("/get_name", nil)
	if err == nil && got != "Name: "+v.name {
		err = fmt.Errorf("%w: got %q, want %q", errWrongName, got, v.name)
	}
	return err
}

const fleetVisitors = 100

// TestFleet rotates keys, restarts copies and switches encryption while
// visitors come and go. None of them may notice.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	defer f.end()
	began := time.Now()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var failures atomic.Int64
	for i := range fleetVisitors {
		wg.Go(func() {
			v := f.newVisitor()
			for n := 0; ; n++ {
				var err error
				if n%5 == 0 {
					err = v.set(fmt.Sprintf("visitor %d.%d", i, n))
				} else {
					err = v.check()
				}
				if err != nil && failures.Add(1) <= 10 {
					t.Errorf("visitor %d, %v after the start: %v", i, time.Since(began), err)
				}
				select {
				case <-stop:
					return
				case <-time.After(50*time.Millisecond + rand.N(150*time.Millisecond)):
				}
			}
		})
	}
	f.rotate()
	for _, mode := range []string{"-encrypt=false", "-encrypt=true"} {
		for _, c := range f.all {
			f.restart(c, mode)
		}
	}
	f.rotate()
	time.Sleep(time.Until(began.Add(30 * time.Second)))
	close(stop)
	wg.Wait()
	t.Logf("fleet: %d visitors made %d requests in %v, during 6 restarts and 2 rotations; "+
		"%d sessions were re-sealed, %d requests failed",
		fleetVisitors, f.requests.Load(), time.Since(began).Round(time.Second),
		f.totalResealed(), failures.Load())
	if failures.Load() > 0 || f.totalResealed() < 4*fleetVisitors {
		t.Errorf("got %d failures and %d re-seals", failures.Load(), f.totalResealed())
	}
	for _, c := range f.all {
		for _, bad := range []string{"level=ERROR", "DATA RACE", "visitor "} {
			if c.Log.Has(bad) {
				t.Errorf("got %q in the log %s", bad, c.Log)
			}
		}
	}
}

// TestFleetInTheWrongOrder promotes a key that only one copy knows. Visitors
// whose cookie that copy has sealed again have no session at the others, which is what
// docs/operation.md warns of; when the others learn the key, all of them are back.
func TestFleetInTheWrongOrder(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	defer f.end()
	visitors := make([]*visitor, fleetVisitors)
	each := func(do func(i int, v *visitor) error) (wrong int64) {
		var wg sync.WaitGroup
		var count atomic.Int64
		for i := range visitors {
			wg.Go(func() {
				if err := do(i, visitors[i]); errors.Is(err, errWrongName) {
					count.Add(1)
				} else if err != nil {
					t.Errorf("visitor %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		return count.Load()
	}
	check := func(_ int, v *visitor) error {
		var err error
		for range 6 {
			err = errors.Join(err, v.check())
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		return err
	}
	each(func(i int, _ *visitor) error {
		visitors[i] = f.newVisitor()
		return visitors[i].set(fmt.Sprint("visitor ", i))
	})
	if wrong := each(check); wrong > 0 {
		t.Fatalf("got %d visitors without their name before anything was done", wrong)
	}

	mustRun(t, "keys", "add", f.ring)
	mustRun(t, "keys", "promote", f.ring)
	f.giveNow(f.all[0])
	testkit.AwaitTrue(f.t, "the first copy to load its keys", func() bool {
		return f.all[0].Log.Has("key file loaded")
	})
	lost := each(check)

	f.spread()
	still := each(check)
	t.Logf("fleet in the wrong order: %d of %d visitors were without their name while one copy "+
		"sealed with a key that the others did not know, %d after they learnt it",
		lost, fleetVisitors, still)
	if lost < fleetVisitors/2 {
		t.Errorf("got %d visitors without their name, want nearly all of them", lost)
	}
	if still != 0 {
		t.Errorf("got %d visitors without their name at the end, want none", still)
	}
}
