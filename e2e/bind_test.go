package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"

	"github.com/chromedp/chromedp"
)

// bindTicket is the -bind of the tests with a browser: the shortest.
const bindTicket = 10 * time.Second

// bindServer starts the program with device binding.
func bindServer(t *testing.T) (p *testkit.Server, cert string) {
	t.Helper()
	slow(t)
	cert, key, _ := testkit.NewCertificate(t)
	return start(t, withKeyA, "-tls-cert", cert, "-tls-key", key,
		"-bind", bindTicket.String(), "-log-level", "debug"), cert
}

// bindingTab opens a tab of a Chromium of its own, which knows device binding: on Linux, it
// does so for tests only. It trusts the site's certificate by its key: for a site with
// certificate errors, even ignored ones, Chromium binds nothing.
func bindingTab(t *testing.T, base, cert string) *tab {
	t.Helper()
	testkit.NeedTool(t, "chromium")
	block, _ := pem.Decode([]byte(testkit.ReadFile(t, cert)))
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	ctx, end := chromedp.NewExecAllocator(context.Background(), browserOptions(t.TempDir(),
		chromedp.Flag("ignore-certificate-errors-spki-list",
			base64.StdEncoding.EncodeToString(pin[:])),
		chromedp.Flag("enable-features",
			"DeviceBoundSessions:RequireOriginTrialTokens/false/RefreshQuota/false,"+
				"EnableBoundSessionCredentialsSoftwareKeysForManualTesting"))...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // waits for the profile to be written
		cancel()
		end()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return (&chromium{t: t, ctx: ctx}).newTab(base)
}

// wantStolen has a thief ask for the name, with a copy of the browser's cookies.
func wantStolen(t *testing.T, base, cookies, want string) {
	t.Helper()
	client := newClient(t, &tls.Config{InsecureSkipVerify: true})
	_, got, err := askSite(client, base, "GET", "/get_name", "", cookies)
	if err != nil || got != want+"\n" {
		t.Errorf("the thief: got %q and %v, want %s", got, err, want)
	}
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

// count returns how many events of device binding a program has logged.
func count(p *testkit.Server, event string) int {
	return strings.Count(p.Log.String(), "event="+event+"\n")
}

const ranOut = bindTicket + time.Second

// A visitor's session is bound, the ticket runs out, and the visitor sees
// nothing of it. A thief has the cookies for as long as the ticket is good.
func TestBindBrowser(t *testing.T) {
	t.Parallel()
	p, cert := bindServer(t)
	b := bindingTab(t, p.URL, cert)
	b.setName("Alice")
	wantBound(b)
	// Nothing more comes from the browser, so that no ticket is newer than the thief's.
	stolen := cookiesOf(b)
	wantStolen(t, p.URL, stolen, "Name: Alice")
	time.Sleep(ranOut)
	wantStolen(t, p.URL, stolen, "Name not found in session")
	b.open("/get_name")
	b.wantText("Name: Alice")

	// A form that was filled in for longer than the ticket was good arrives whole.
	b.open("/set_name")
	b.awaitFocus()
	time.Sleep(ranOut)
	eval[bool](b, `document.getElementById("name").value = "Bob", true`)
	b.load(func() { eval[bool](b, `document.querySelector("main form").requestSubmit(), true`) })
	b.wantText("Name Bob set in session")
	wantBound(b)
	wantStolen(t, p.URL, stolen, "Name not found in session")
	if bound := count(p, "bound"); bound != 1 || p.Log.Has("refused_") {
		t.Errorf("got %d sessions bound: %s", bound, p.Log)
	}

	// What was cleared doesn't come back. A ticket that was on its way is good for nothing.
	b.open("/get_name")
	b.click(`form[action="/clear_name"] button`)
	b.wantText("Name cleared from session")
	if got := cookiesOf(b); strings.Contains(got, secureCookie) {
		t.Errorf("got cookies after clearing: %s", got)
	}
}

// A link from another site finds the session, whose ticket has run out, and the detour
// for it is not in the browser's history.
func TestBindBrowserLink(t *testing.T) {
	t.Parallel()
	p, cert := bindServer(t)
	b := bindingTab(t, p.URL, cert)
	b.setName("Bob")
	wantBound(b)
	b.visit("http://evil.example:" + anotherSite(t, p.URL))
	time.Sleep(ranOut)
	before := eval[int](b, `history.length`)
	b.click("a")
	b.wantText("Name: Bob")
	if got := count(p, "detoured"); got != 1 {
		t.Errorf("got %d detours, want one: %s", got, p.Log)
	}
	if got := eval[int](b, `history.length`); got != before+1 {
		t.Errorf("got a history of %d pages after %d: the detour is in it", got, before)
	}
}

// Binding is switched on, keys are rotated, and it is switched off again, on a fleet of three,
// one copy at a time. Neither a visitor who is bound, nor others, lose anything.
func TestBindFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	_, stop := f.comeAndGo(5)
	defer stop()
	b := bindingTab(t, f.url, f.cert)
	wantAlice := func() {
		t.Helper()
		for range 3 { // one for each copy
			b.open("/get_name")
			b.wantText("Name: Alice")
		}
	}
	b.setName("Alice")
	f.restart(wantAlice, "-bind", bindTicket.String())
	b.setName("Bob") // a cookie that is written is offered to be bound
	b.setName("Alice")
	wantBound(b)
	stolen := cookiesOf(b)
	old := f.rotate(wantAlice)
	time.Sleep(ranOut)
	wantAlice()
	wantBound(b)
	if got := cookiesOf(b); strings.Contains(got, old) {
		t.Error("got a cookie of the key that was dropped")
	}
	wantStolen(t, f.url, stolen, "Name not found in session")
	f.restart(wantAlice, "-bind", "0")
	time.Sleep(ranOut) // all tickets of before have run out
	wantAlice()
	b.open("/session")
	b.wantText("asks for no ticket")
}
