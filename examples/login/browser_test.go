package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Two profiles of Chromium do what the README tells of.
func TestBrowsers(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("chromium is not installed, so this test is skipped")
	}
	_, base := start(t)
	home, office := newProfile(t), newProfile(t)
	a, b := openChromium(t, home, base), openChromium(t, office, base)

	// A visitor begins a cart, and keeps it with the account. Each message is shown once.
	a.submit("/cart", []string{"item", "tea"}, "tea is in your cart.", "tea\n", asNoUser)
	a.submit("/signup", remember, "You are logged in.", "tea\n", asUserAda)
	a.load(base+"/", "tea\n", asUserAda, "not: You are logged in.")

	// In another browser there is another cart.
	b.submit("/login", wrong, "The user or the password is wrong.", asNoUser)
	b.submit("/login", ada, "You are logged in.", asUserAda, "It is empty.")

	// To change the password ends the other browser's session, and not this one's.
	a.submit("/password", []string{"old", "first password", "new", "second password"},
		"Your password is changed", asUserAda)
	b.load(base+"/", "You were logged out from another browser.", asNoUser)
	a.load(base+"/", asUserAda, "tea\n")
	b.submit("/login", changed, asUserAda)

	// Another site can't log anybody out.
	elsewhere := otherSite(t, base)
	b.load(elsewhere, "a trap")
	b.submit(base+"/logout-everywhere", nil, "cross-origin")
	b.load(base+"/", asUserAda)

	// Who wanted to be remembered is, when the browser was closed. The other one isn't.
	a.close()
	b.close()
	a, b = openChromium(t, home, base), openChromium(t, office, base)
	a.load(base+"/", asUserAda, "tea\n")
	b.load(base+"/", asNoUser, "not: You were logged out")

	// To log out everywhere is to log out here and there. To log out is not.
	b.submit("/login", changed, asUserAda)
	b.submit("/logout", nil, "You are logged out.", asNoUser)
	a.load(base+"/", asUserAda)
	b.submit("/login", changed, asUserAda)
	b.submit("/logout-everywhere", nil, "You are logged out.", asNoUser)
	a.load(base+"/", "You were logged out from another browser.", asNoUser, "It is empty.")
}

// As a browser shows what is asAda and asNobody in HTML.
const (
	asUserAda = "You are logged in as ada."
	asNoUser  = "You are not logged in."
)

// otherSite starts a site with a form that posts to the one at base, and returns its
// address. For browsers localhost and 127.0.0.1 are two sites.
func otherSite(t *testing.T, base string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `a trap <form method="post" action="%s/logout-everywhere"></form>`, base)
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return "http://localhost:" + u.Port() + "/"
}

// tab is the one tab of a running Chromium.
type tab struct {
	t     *testing.T
	ctx   context.Context
	close func() // ends Chromium as a user does, so that it stores its cookies
}

// newProfile returns a folder for a profile. When Chromium has ended, some of its
// processes still write there for a while, which t.TempDir wouldn't wait for.
func newProfile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "login-profile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err := os.RemoveAll(dir)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
	return dir
}

// openChromium starts Chromium with a profile, at a page.
func openChromium(t *testing.T, profile, page string) *tab {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(profile), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disk-cache-dir", os.DevNull), // it makes its folder again at the end
		chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewExecAllocator(ctx, options...) // ended with its parent
	ctx, _ = chromedp.NewContext(ctx)
	b := &tab{t: t, ctx: ctx, close: sync.OnceFunc(func() { chromedp.Cancel(ctx) })}
	t.Cleanup(b.close)
	b.load(page)
	return b
}

// load loads a page, which has to say all of want.
func (b *tab) load(page string, want ...string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(page)); err != nil {
		b.t.Fatal(err)
	}
	b.wantPage(want)
}

// submit fills in and submits the form with an action, and waits for the next page, which
// has to say all of want.
func (b *tab) submit(action string, fields []string, want ...string) {
	b.t.Helper()
	pairs, err := json.Marshal(form(fields))
	if err != nil {
		b.t.Fatal(err)
	}
	b.eval(fmt.Sprintf(`(() => {
		const form = document.querySelector('form[action="%s"]');
		for (const [name, [value]] of Object.entries(%s)) {
			const input = form.elements.namedItem(name);
			input.type === "checkbox" ? input.click() : input.value = value;
		}
		window.left = true;
		form.requestSubmit();
		return "";
	})()`, action, pairs))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		loaded, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](
			`!window.left && document.readyState === "complete"`))
		if loaded && err == nil {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s led to no page (%v)", action, err)
		}
	}
	b.wantPage(want)
}

func (b *tab) wantPage(want []string) {
	b.t.Helper()
	wantTexts(b.t, b.eval(`document.body.innerText`)+"\n", want)
}

// eval returns what a script says in the page.
func (b *tab) eval(script string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}
