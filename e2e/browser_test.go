package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browserOptions are those of a Chromium with a profile, which takes all of .example for
// this machine.
func browserOptions(profile string, more ...chromedp.ExecAllocatorOption) (
	all []chromedp.ExecAllocatorOption) {
	return append(append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(profile),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("force-prefers-reduced-motion", true), // a page is there at once
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1, EXCLUDE localhost"),
		chromedp.WSURLReadTimeout(time.Minute),
	), more...)
}

// theBrowser is the one Chromium of all the tests: starting it takes seconds. It
// takes any certificate.
var theBrowser = sync.OnceValues(func() (context.Context, error) {
	ctx, end := chromedp.NewExecAllocator(context.Background(), browserOptions(
		filepath.Join(scratch, "chromium"), chromedp.Flag("ignore-certificate-errors", true))...)
	endBrowser = end
	ctx, _ = chromedp.NewContext(ctx) // ended with its parent
	return ctx, chromedp.Do(ctx)
})

var endBrowser = func() {} // for TestMain

// chromium is a browser with a fresh profile, which its tabs share.
type chromium struct {
	t   *testing.T
	ctx context.Context
}

// startBrowser returns a browser that has not been anywhere yet.
func startBrowser(t *testing.T) *chromium {
	t.Helper()
	slow(t)
	testkit.NeedTool(t, "chromium")
	ctx, err := theBrowser()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &chromium{t: t, ctx: ctx}
}

// tab is one tab of a browser.
type tab struct {
	t       *testing.T
	ctx     context.Context
	base    string // of the app, without a slash at the end
	sibling string // another origin of the same site that the test goes to, or ""

	mu       sync.Mutex
	problems []string // exceptions, console errors, CSP violations
	requests []string // the URLs
}

// newTab opens a tab for the app at base.
func (c *chromium) newTab(base string) *tab {
	c.t.Helper()
	ctx, _ := chromedp.NewContext(c.ctx) // ended with its parent
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	c.t.Cleanup(stop)
	b := &tab{t: c.t, ctx: ctx, base: base}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		c.t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
	c.t.Cleanup(b.wantQuiet)
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		// A page whose status is an error is one to Chromium, too. And it asks for
		// the icon when the test may have ended the server.
		if strings.Contains(e.Entry.Text, "ERR_CONNECTION_REFUSED") ||
			strings.Contains(e.Entry.Text, "Cleared data types") { // as it was asked to
			break
		}
		if e.Entry.Source != log.EntrySourceNetwork ||
			!strings.Contains(e.Entry.Text, "with a status of 4") &&
				!strings.Contains(e.Entry.Text, "with a status of 503") { // "try again"
			b.problems = append(b.problems, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// wantQuiet fails when anything went wrong in the tab, or a request left for elsewhere.
func (b *tab) wantQuiet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Errorf("the browser says %q", p)
	}
	for _, u := range b.requests {
		parsed, err := url.Parse(u)
		if err != nil || !strings.HasPrefix(u, b.base+"/") && parsed.Hostname() != "evil.example" &&
			(b.sibling == "" || !strings.HasPrefix(u, b.sibling+"/")) {
			b.t.Errorf("a request left for %s", u)
		}
	}
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// open loads a path of the app.
func (b *tab) open(path string) {
	b.t.Helper()
	b.visit(b.base + path)
}

// visit loads the page at an address.
func (b *tab) visit(url string) {
	b.t.Helper()
	b.load(func() { call(b, cdppage.Navigate, cdppage.NavigateParams{URL: url}) })
}

// text returns what is to be read in the page's main part.
func (b *tab) text() string {
	b.t.Helper()
	return eval[string](b, `document.querySelector("main").innerText`)
}

func (b *tab) wantText(want string) {
	b.t.Helper()
	if got := b.text(); !strings.Contains(got, want) {
		b.t.Errorf("got the page %q, want %q in it", got, want)
	}
}

// eval returns what a script says in the page. While one page gives way to
// the next there is none to ask, so it tries for a while. All that the tests
// do in a page goes through scripts, keys and the mouse: chromedp's own queries
// lag behind the browser, and then ask for a page that has gone.
func eval[T any](b *tab, script string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	var value T
	b.await(func() (err error) {
		value, err = chromedp.Run(b.ctx, chromedp.Evaluate[T](script, options...))
		return err
	})
	return value
}

// await tries until it works, and fails with the last error.
func (b *tab) await(try func() error) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal(err)
		}
	}
}

// awaitTrue waits until a script says true.
func (b *tab) awaitTrue(script string) {
	b.t.Helper()
	b.await(func() error {
		if !eval[bool](b, script) {
			return fmt.Errorf("never became true: %s", script)
		}
		return nil
	})
}

// load does something that loads another page, and waits for that.
func (b *tab) load(act func()) {
	b.t.Helper()
	eval[bool](b, "window.left = true")
	act()
	b.awaitTrue(`!window.left && performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
}

// setName fills in the form as a visitor does, with the keyboard alone.
func (b *tab) setName(name string) {
	b.t.Helper()
	b.open("/set_name")
	b.awaitFocus()
	eval[bool](b, `document.activeElement.select(), true`)
	b.run(chromedp.KeyEvent(name))
	b.load(func() { b.run(chromedp.KeyEvent(kb.Enter)) })
}

// awaitFocus waits for the form's field to have the focus, which it gets
// some time after the page has been loaded.
func (b *tab) awaitFocus() {
	b.t.Helper()
	b.awaitTrue(`document.activeElement.id === "name"`)
}

// quote returns s as a string in a script.
func quote(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings don't fail
	}
	return string(quoted)
}

// click clicks into the middle of an element, which loads another page.
func (b *tab) click(selector string) {
	b.t.Helper()
	// Chromium ignores the mouse until it has painted the page.
	at := eval[[]float64](b, `(async () => {
		const e = document.querySelector(`+quote(selector)+`);
		e.scrollIntoView({block: "center"});
		for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
		const r = e.getClientRects()[0];
		return [r.x + r.width / 2, r.y + r.height / 2];
	})()`, chromedp.EvalAwaitPromise)
	b.load(func() { b.run(chromedp.MouseClickXY(at[0], at[1])) })
}

// cookies returns the cookies that the browser holds for the app.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	params := network.GetCookiesParams{URLs: []string{b.base + "/"}}
	return call(b, network.GetCookies, params).Cookies
}

// cookie returns the one cookie that the browser holds for the app.
func (b *tab) cookie() *network.Cookie {
	b.t.Helper()
	cookies := b.cookies()
	if len(cookies) != 1 {
		b.t.Fatalf("got %d cookies, want one", len(cookies))
	}
	return cookies[0]
}

// plant puts a cookie into the browser for a path, as the developer tools can.
func (b *tab) plant(value, path string) {
	b.t.Helper()
	secure, hidden := strings.HasPrefix(b.base, "https:"), true
	call(b, network.SetCookie, network.SetCookieParams{
		Name: cookieNameAt(b.base), Value: value, URL: b.base + "/", Path: path, Secure: &secure,
		HTTPOnly: &hidden, SameSite: network.CookieSameSiteLax,
	})
}

// prefer has the browser show pages on a medium, or with a colour scheme.
func (b *tab) prefer(medium, scheme string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: medium, Features: features,
	})
}

// number returns how many elements e a selector finds for which a script is true.
func (b *tab) number(selector, is string) int {
	b.t.Helper()
	return eval[int](b, "[...document.querySelectorAll("+quote(selector)+")].filter(e => "+
		is+").length")
}

// anotherSite serves a site on this machine that posts the form of the site at base, and has
// a link there. It returns the site's port.
func anotherSite(t *testing.T, base string) (port string) {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>Other</title><link rel="icon" href="data:,">
			<main><form method="post" action="%[1]s/set_name">
			<input name="name" value="Eve"><button>Win</button></form>
			<a href="%[1]s/get_name">Look</a></main>`, base)
	}))
	t.Cleanup(site.Close)
	return site.URL[strings.LastIndex(site.URL, ":")+1:]
}

// inBothSchemes runs f with the app over HTTP and over TLS, each with a fresh browser. It
// can start the program at an address that stays the same.
func inBothSchemes(t *testing.T, f func(b *tab, start func() *testkit.Server)) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			c := startBrowser(t)
			_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
			flags := []string{"-addr", "localhost:" + port}
			if scheme == "https" {
				cert, key, _ := testkit.NewCertificate(t)
				flags = append(flags, "-tls-cert", cert, "-tls-key", key)
			}
			f(c.newTab(scheme+"://localhost:"+port), func() *testkit.Server {
				t.Helper()
				return start(t, withKeyA, flags...)
			})
		})
	}
}
