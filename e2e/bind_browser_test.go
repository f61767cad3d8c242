package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"

	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// bindTicket is the -bind of the tests with a browser: the shortest.
const bindTicket = 10 * time.Second

// bindSite is where the tests with a browser find the program: an address over
// TLS that stays the same while copies behind it come and go.
type bindSite struct {
	cert, key string
	addr      string
	env       environ
}

func newBindSite(t *testing.T) *bindSite {
	t.Helper()
	slow(t)
	cert, key, _ := testkit.NewCertificate(t)
	_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
	return &bindSite{
		cert: cert, key: key, addr: "localhost:" + port,
		env: environ{keysVariable: keyA, "COOKIESESSION_LOG_LEVEL": "debug"},
	}
}

// start starts the program itself at the site's address.
func (s *bindSite) start(t *testing.T, flags ...string) *testkit.Server {
	t.Helper()
	fixed := []string{
		"-addr", s.addr, "-tls-cert", s.cert, "-tls-key", s.key, "-bind", bindTicket.String(),
	}
	return start(t, s.env, append(fixed, flags...)...)
}

func (s *bindSite) url() string { return "https://" + s.addr }

// startBrowser starts Chromium with a profile. It trusts the site's
// certificate by its key: for a site with certificate errors, even ignored
// ones, Chromium binds nothing. With able it knows device binding, which it has
// on Linux for tests only.
func (s *bindSite) startBrowser(t *testing.T, profile string, able bool) (
	c *chromium, end func()) {
	t.Helper()
	testkit.NeedTool(t, "chromium")
	block, _ := pem.Decode([]byte(testkit.ReadFile(t, s.cert)))
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	options := browserOptions(profile, chromedp.Flag("ignore-certificate-errors-spki-list",
		base64.StdEncoding.EncodeToString(pin[:])))
	if able {
		options = append(options, chromedp.Flag("enable-features",
			"DeviceBoundSessions:RequireOriginTrialTokens/false/RefreshQuota/false,"+
				"EnableBoundSessionCredentialsSoftwareKeysForManualTesting"))
	}
	ctx, kill := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx)
	end = sync.OnceFunc(func() {
		chromedp.Cancel(ctx) // waits for the profile to be written
		cancel()
		kill()
	})
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &chromium{t: t, ctx: ctx}, end
}

// newBindTab opens a tab, and tells the test's log of what the browser says
// about device binding.
func newBindTab(c *chromium, base string) *tab {
	c.t.Helper()
	b := c.newTab(base)
	if err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventDeviceBoundSessionEventOccurred); ok {
			said := fmt.Sprintf("succeeded: %v", e.Succeeded) // for whoever reads of a failure
			if d := e.RefreshEventDetails; d != nil {
				said += fmt.Sprintf(", refresh: %s, %s", d.RefreshResult, d.FetchResult)
			}
			fmt.Fprintf(c.t.Output(), "%s the browser: %s\n", time.Now().Format("05.000"), said)
		}
	}); err != nil {
		c.t.Fatal(err)
	}
	call(b, network.EnableDeviceBoundSessions,
		network.EnableDeviceBoundSessionsParams{Enable: true})
	return b
}

// curl makes a request as a thief does who has copied the browser's cookies.
func (s *bindSite) curl(t *testing.T, cookies, path string) string {
	t.Helper()
	return tool(t, "", "curl", "-sS", "--cacert", s.cert, "-H", "Cookie: "+cookies, s.url()+path)
}

// cookiesOf returns all that a browser holds for the site, as they stand in a header.
func cookiesOf(b *tab) string {
	b.t.Helper()
	var all []string
	for _, c := range b.cookies() {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// wantBound fails unless the tab's session is bound, and proven to be.
func wantBound(b *tab) {
	b.t.Helper()
	b.open("/session")
	b.wantText("bound to this device")
	if got := len(b.cookies()); got != 2 {
		b.t.Errorf("got %d cookies, want a session and a ticket", got)
	}
}

// Events of device binding, as they stand in the log.
const (
	offered    = "offered"
	registered = "registered"
	newlyBound = "bound"
	refreshed  = "refreshed"
	ended      = "ended"
	detoured   = "detoured"
)

// count returns how many events of device binding a program has logged.
func count(p *testkit.Server, event string) int {
	return strings.Count(p.Log.String(), "event="+event+"\n")
}

const ranOut = bindTicket + time.Second

// A visitor's session is bound, the ticket runs out, and the visitor sees
// nothing of it. A thief has the cookies for as long as the ticket is good.
func TestBindBrowser(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	p := s.start(t)
	c, _ := s.startBrowser(t, t.TempDir(), true)
	b := newBindTab(c, p.URL)
	b.setName("Alice")
	b.wantText("Name Alice set in session")
	wantBound(b)
	b.wantText("Whoever copies your cookies now")

	// Nothing more comes from the browser, so that no ticket is newer than the thief's.
	stolen := cookiesOf(b)
	if got := s.curl(t, stolen, "/get_name"); got != "Name: Alice\n" {
		t.Errorf("the thief, at once: got %q", got)
	}
	got := s.curl(t, stolen, "/session")
	if !strings.Contains(got, "can use them until it runs out") {
		t.Errorf("the thief, at once: got %q", got)
	}
	time.Sleep(ranOut)
	if got := s.curl(t, stolen, "/get_name"); got != "Name not found in session\n" {
		t.Errorf("the thief, %v later: got %q", ranOut, got)
	}
	if got := s.curl(t, stolen, "/session"); !strings.Contains(got, "verdict       unproven\n") {
		t.Errorf("the thief, %v later: got %q", ranOut, got)
	}
	b.open("/get_name")
	b.wantText("Name: Alice")

	// A long form that was filled in for longer than the ticket was good arrives whole.
	b.open("/set_name")
	b.awaitFocus()
	eval[bool](b, `(() => {
		const more = document.createElement("input");
		more.name = "more"; more.value = "x".repeat(50000);
		document.querySelector("main form").append(more);
		document.getElementById("name").value = "Bob";
		return true;
	})()`)
	time.Sleep(ranOut)
	b.load(func() { eval[bool](b, `document.querySelector("main form").requestSubmit(), true`) })
	b.wantText("Name Bob set in session")
	b.open("/get_name")
	b.wantText("Name: Bob")
	wantBound(b)
	if got := s.curl(t, stolen, "/get_name"); got != "Name not found in session\n" {
		t.Errorf("the thief at the end: got %q", got)
	}
	if bound := count(p, newlyBound); bound != 1 || p.Log.Has("refused_") {
		t.Errorf("got %d sessions bound: %s", bound, p.Log)
	}
}

// startHAProxy serves the site's address by copies of the program.
func (s *bindSite) startHAProxy(t *testing.T, copies ...string) {
	t.Helper()
	secure := strings.Replace(s.addr, "localhost", "127.0.0.1", 1)
	runHAProxy(t, s.cert, s.key, testkit.FreeAddr(t), secure, copies...)
	client := newVisitor(t, s.url(), s.trusts(t)).client
	testkit.AwaitTrue(t, "HAProxy", func() bool { return isHealthy(client, s.url()) })
}

// behindProxy are the flags of a copy for which a proxy ends TLS.
func (s *bindSite) behindProxy(addr string, more ...string) []string {
	return append([]string{"-addr", addr, "-origin", s.url()}, more...)
}

// The server is killed, then there are two that take turns, and then they get
// another key. The browser keeps its session through all of it.
func TestBindBrowserServers(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	testkit.NeedTool(t, "haproxy")
	ring := filepath.Join(t.TempDir(), "ring")
	mustRun(t, "keys", "add", ring)
	delete(s.env, keysVariable)
	p := s.start(t, "-key-file", ring)
	c, _ := s.startBrowser(t, t.TempDir(), true)
	b := newBindTab(c, p.URL)
	b.setName("Alice")
	wantBound(b)
	stolen := cookiesOf(b)
	wantAlice := func(when string) {
		t.Helper()
		for range 3 {
			b.open("/get_name")
			b.wantText("Name: Alice")
		}
		if t.Failed() {
			t.Fatalf("... %s", when)
		}
	}
	kill := func() {
		p.Cmd.Process.Kill()
		p.Wait()
	}

	kill()
	p = s.start(t, "-key-file", ring)
	time.Sleep(ranOut)
	wantAlice("after a restart")

	kill()
	addrs := []string{testkit.FreeAddr(t), testkit.FreeAddr(t)}
	var copies []*testkit.Server
	for _, addr := range addrs {
		copies = append(copies, start(t, s.env, s.behindProxy(addr,
			"-key-file", ring, "-bind", bindTicket.String())...))
	}
	s.startHAProxy(t, addrs...)
	time.Sleep(ranOut)
	wantAlice("with two copies")

	old := listKeys(t, ring)[0].encrypted
	for i, step := range [][]string{
		{"keys", "add", ring}, {"keys", "promote", ring}, {"keys", "drop", ring, old},
	} {
		mustRun(t, step...)
		awaitLoaded(t, copies, i+1)
		wantAlice("after keys " + step[1])
	}
	time.Sleep(ranOut)
	wantAlice("with another key")
	wantBound(b)
	if got := cookiesOf(b); strings.Contains(got, old) {
		t.Error("got a cookie of the key that was dropped")
	}
	for i, p := range copies {
		if count(p, refreshed) == 0 || count(p, newlyBound)+count(p, ended) > 0 {
			t.Errorf("copy %d: got the log %s", i, p.Log)
		}
	}
	if got := s.curl(t, stolen, "/get_name"); got != "Name not found in session\n" {
		t.Errorf("the thief: got %q", got)
	}
}

// awaitLoaded waits until each copy has loaded its key file so many times.
func awaitLoaded(t *testing.T, copies []*testkit.Server, times int) {
	t.Helper()
	for _, p := range copies {
		testkit.AwaitTrue(t, "the key file to be loaded", func() bool {
			return strings.Count(p.Log.String(), "key file loaded") >= times
		})
	}
}

// The browser is closed, and started again with its profile.
func TestBindBrowserProfile(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	p := s.start(t)
	profile := t.TempDir()
	c, end := s.startBrowser(t, profile, true)
	b := newBindTab(c, p.URL)
	b.setName("Alice")
	wantBound(b)
	time.Sleep(2 * time.Second) // until what is new has been written to the profile
	b.wantQuiet()
	end()
	time.Sleep(ranOut)
	c, _ = s.startBrowser(t, profile, true)
	b = newBindTab(c, p.URL)
	b.open("/get_name")
	b.wantText("Name: Alice")
	wantBound(b)
	if got := count(p, newlyBound); got != 1 {
		t.Errorf("got %d sessions bound, want the one: %s", got, p.Log)
	}
}

// What was cleared doesn't come back, a link from another origin finds the
// session, and many requests at once cause one refresh.
func TestBindBrowserEnds(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	p := s.start(t)
	c, _ := s.startBrowser(t, t.TempDir(), true)
	b := newBindTab(c, p.URL)
	b.setName("Alice")
	wantBound(b)
	b.open("/get_name")
	b.click(`form[action="/clear_name"] button`)
	b.wantText("Name cleared from session")
	// A ticket that was on its way may still arrive, and is good for nothing.
	if got := cookiesOf(b); strings.Contains(got, secureCookie) {
		t.Errorf("got cookies after clearing: %s", got)
	}
	b.setName("Bob")
	wantBound(b)
	time.Sleep(ranOut)
	b.open("/get_name")
	b.wantText("Name: Bob")
	wantBound(b)
	if count(p, newlyBound) != 2 || count(p, ended) != 1 {
		t.Errorf("got %d sessions bound and %d ended, want 2 and 1: %s",
			count(p, newlyBound), count(p, ended), p.Log)
	}

	// A mail on another site, and a page of another host or port of our own.
	mail := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>Mail</title><link rel="icon" href="data:,">
			<main><a href="%s/get_name">Look</a></main>`, p.URL)
	})
	evil, sibling := httptest.NewServer(mail), httptest.NewUnstartedServer(mail)
	defer evil.Close()
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		t.Fatal(err)
	}
	sibling.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	sibling.StartTLS()
	defer sibling.Close()
	b.sibling = "https://localhost:" + sibling.URL[strings.LastIndex(sibling.URL, ":")+1:]
	for i, from := range []string{
		"http://evil.example:" + evil.URL[strings.LastIndex(evil.URL, ":")+1:], b.sibling,
	} {
		b.visit(from)
		time.Sleep(ranOut)
		before := eval[int](b, `history.length`)
		b.click("a")
		b.wantText("Name: Bob")
		if got := count(p, detoured); got != i+1 {
			t.Errorf("from %s: got %d detours, want %d: %s", from, got, i+1, p.Log)
		}
		if got := eval[int](b, `history.length`); got != before+1 {
			t.Errorf("from %s: got a history of %d pages after %d: the detour is in it",
				from, got, before)
		}
	}
}

func TestBindBrowserTwentyAtOnce(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	p := s.start(t, "-bind", "10m") // or the browser would refresh at each request
	c, _ := s.startBrowser(t, t.TempDir(), true)
	b := newBindTab(c, p.URL)
	call(b, cdppage.SetBypassCSP, cdppage.SetBypassCSPParams{Enabled: true})
	b.setName("Alice")
	wantBound(b)
	before := count(p, refreshed)
	// As if the ticket had run out, which takes too long here.
	for _, k := range b.cookies() {
		if k.Name == ticketCookie {
			params := network.DeleteCookiesParams{Name: k.Name, URL: p.URL + "/"}
			call(b, network.DeleteCookies, params)
		}
	}
	got := eval[[]string](b, `Promise.all(Array.from({length: 20}, () =>
		fetch("/get_name", {headers: {Accept: "text/plain"}}).then(r => r.text())))`,
		chromedp.EvalAwaitPromise)
	for _, text := range got {
		if text != "Name: Alice\n" {
			t.Errorf("got %q", text)
		}
	}
	if n := count(p, refreshed) - before; len(got) != 20 || n != 1 {
		t.Errorf("got %d answers and %d refreshes, want 20 and one", len(got), n)
	}
}

// Browsers that can't bind anything notice nothing, nor does curl.
func TestBindBrowserWithout(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	p := s.start(t)
	c, _ := s.startBrowser(t, t.TempDir(), false)
	b := newBindTab(c, p.URL)
	jar := filepath.Join(t.TempDir(), "jar")
	curl := func(args ...string) string {
		t.Helper()
		args = append([]string{"-sS", "--cacert", s.cert, "-b", jar, "-c", jar}, args...)
		return tool(t, "", "curl", args...)
	}
	b.setName("Alice")
	curl("-d", "name=Carl", p.URL+"/set_name")
	for range 2 {
		b.open("/get_name")
		b.wantText("Name: Alice")
		if got := curl(p.URL + "/get_name"); got != "Name: Carl\n" {
			t.Errorf("curl: got %q", got)
		}
		time.Sleep(ranOut)
	}
	b.open("/session")
	b.wantText("not bound to this device")
	if name := b.cookie().Name; name != secureCookie {
		t.Errorf("got the cookie %s", name)
	}
	b.setName("Bob")
	b.open("/get_name")
	b.wantText("Name: Bob")
	b.click(`form[action="/clear_name"] button`)
	b.wantText("Name cleared from session")
	if got := count(p, offered); got != 3 || count(p, registered) != 0 {
		t.Errorf("got %d offers: %s", got, p.Log)
	}
}

// Binding is switched on and off again on a fleet of three, one copy at a time. Neither
// a visitor who is bound, nor others, lose anything.
func TestBindFleet(t *testing.T) {
	t.Parallel()
	s := newBindSite(t)
	testkit.NeedTool(t, "haproxy")
	copies, addrs := make([]*testkit.Server, 3), make([]string, 3)
	start := func(i int, more ...string) {
		t.Helper()
		more = append(more, "-shutdown-delay", "2s")
		copies[i] = start(t, s.env, s.behindProxy(addrs[i], more...)...)
	}
	for i := range copies {
		addrs[i] = testkit.FreeAddr(t)
		start(i)
	}
	s.startHAProxy(t, addrs...)
	others := namedVisitors(t, 10, func() *visitor { return newVisitor(t, s.url(), s.trusts(t)) })
	defer keepChecking(others, func(err error) {
		t.Errorf("who can't bind: %v", err)
		time.Sleep(time.Second)
	})()
	c, _ := s.startBrowser(t, t.TempDir(), true)
	b := newBindTab(c, s.url())
	b.setName("Alice")
	restart := func(mode string) {
		for i, p := range copies {
			ended := make(chan error, 1)
			go func() { ended <- p.End() }()
			b.wantAliceUntil(ended)
			if p.Log.Has("level=ERROR") || p.Log.Has("unproven") {
				t.Errorf("got the log %s", p.Log)
			}
			start(i, "-bind", mode)
			seen := make(chan error, 1)
			time.AfterFunc(1500*time.Millisecond, func() { seen <- nil }) // by HAProxy
			b.wantAliceUntil(seen)
		}
	}
	restart(bindTicket.String())
	b.setName("Alice") // the cookie is as it was, so nothing is offered
	b.setName("Bob")   // but now
	b.setName("Alice")
	wantBound(b)
	time.Sleep(ranOut)
	wantBound(b)
	restart("0")
	time.Sleep(ranOut) // all tickets of before have run out
	b.open("/get_name")
	b.wantText("Name: Alice")
	b.open("/session")
	b.wantText("asks for no ticket")
}

// wantAliceUntil looks at Alice's name until something is over without an error.
func (b *tab) wantAliceUntil(over <-chan error) {
	b.t.Helper()
	for {
		b.open("/get_name")
		b.wantText("Name: Alice")
		select {
		case err := <-over:
			if err != nil {
				b.t.Error(err)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// trusts returns a client's settings that trust the site's certificate.
func (s *bindSite) trusts(t *testing.T) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(testkit.ReadFile(t, s.cert))) {
		t.Fatal("the certificate can't be read")
	}
	return &tls.Config{RootCAs: pool}
}
