package e2e

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
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

var screenshots = flag.String("screenshots", "",
	"put screenshots of the pages into this `folder`")

// theBrowser is the one Chromium of all the tests: starting it takes seconds. It
// takes any certificate, and evil.example for this machine.
var theBrowser = sync.OnceValues(func() (context.Context, error) {
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(filepath.Join(scratch, "chromium")),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1, EXCLUDE localhost"),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
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
		if strings.Contains(e.Entry.Text, "ERR_CONNECTION_REFUSED") {
			break
		}
		if e.Entry.Source != log.EntrySourceNetwork ||
			!strings.Contains(e.Entry.Text, "with a status of 4") {
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

// reload presses the browser's button.
func (b *tab) reload() {
	b.t.Helper()
	b.load(func() { call(b, cdppage.Reload, cdppage.ReloadParams{}) })
}

// traverse goes that many pages back, or forward if steps is positive, and
// waits for the page that says want.
func (b *tab) traverse(steps int64, want string) {
	b.t.Helper()
	history := call(b, cdppage.GetNavigationHistory, cdp.Empty{})
	call(b, cdppage.NavigateToHistoryEntry, cdppage.NavigateToHistoryEntryParams{
		EntryID: history.Entries[history.CurrentIndex+steps].ID,
	})
	b.await(func() error {
		if text := b.text(); !strings.Contains(text, want) {
			return fmt.Errorf("%+d: got %q, want %q", steps, text, want)
		}
		return nil
	})
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

// paste fills in the form as from the clipboard: keys would type the parts of
// an emoji one by one.
func (b *tab) paste(name string) {
	b.t.Helper()
	eval[bool](b, `document.getElementById("name").value = `+quote(name)+`, true`)
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

// put changes the cookie's value, as the developer tools do.
func (b *tab) put(c *network.Cookie, value string) {
	b.t.Helper()
	call(b, network.SetCookie, network.SetCookieParams{
		Name: c.Name, Value: value, URL: b.base + "/", Path: c.Path, Secure: &c.Secure,
		HTTPOnly: &c.HTTPOnly, SameSite: c.SameSite,
	})
}

// starter starts the program at an address that stays the same.
type starter func(env environ, flags ...string) *testkit.Server

// inBothSchemes runs f with the app over HTTP and over TLS, each with a fresh browser.
func inBothSchemes(t *testing.T, f func(t *testing.T, c *chromium, start starter)) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			c := startBrowser(t)
			_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
			fixed := []string{"-addr", "localhost:" + port}
			if scheme == "https" {
				cert, key, _ := testkit.NewCertificate(t)
				fixed = append(fixed, "-tls-cert", cert, "-tls-key", key)
			}
			f(t, c, func(env environ, flags ...string) *testkit.Server {
				t.Helper()
				return start(t, env, append(slices.Clone(fixed), flags...)...)
			})
		})
	}
}

// Storing, reading and clearing a name, through restarts and a rotation of keys.
func TestBrowserFlow(t *testing.T) {
	inBothSchemes(t, func(t *testing.T, c *chromium, start starter) {
		p := start(withKeyA)
		b := c.newTab(p.URL)
		secure := strings.HasPrefix(p.URL, "https:")

		b.open("/")
		b.wantText("You are at the first step")
		b.open("/get_name")
		b.wantText("Name not found in session")
		b.setName("Alice")
		b.wantText("Name Alice set in session")
		b.click(`main a[href="/get_name"]`)
		b.wantText("Name: Alice")
		b.open("/")
		b.wantText("Welcome back, Alice.")
		b.wantText("You are at the fourth step")
		b.open("/session")
		b.wantText("Verdict: valid.")
		b.wantText("signed and encrypted")

		k := b.cookie()
		rest := time.Until(time.Unix(int64(k.Expires), 0))
		if k.Name != cookieNameAt(p.URL) || !k.HTTPOnly || k.Secure != secure || k.Path != "/" ||
			k.SameSite != network.CookieSameSiteLax || k.Domain != "localhost" {
			t.Errorf("got the cookie %s, HttpOnly %v, SameSite %s, Secure %v, path %s, domain %s",
				k.Name, k.HTTPOnly, k.SameSite, k.Secure, k.Path, k.Domain)
		}
		if size := len(k.Name) + len(k.Value); int(k.Size) != size || size > 160 {
			t.Errorf("got a cookie of %d bytes, want 160 at most", k.Size)
		}
		if k.Session || rest < 335*time.Hour || rest > 336*time.Hour+time.Minute {
			t.Errorf("got a cookie that ends in %v", rest)
		}
		if got := eval[string](b, "document.cookie"); got != "" {
			t.Error("got the cookie in document.cookie")
		}
		if got := eval[string](b, "document.documentElement.outerHTML"); showsMAC(got, k.Value) {
			t.Error("got the cookie's MAC in the page")
		}

		// The server is started again: with the same key, then with another that seals.
		p.End()
		p = start(withKeyA)
		b.open("/get_name")
		b.wantText("Name: Alice")
		if b.cookie().Value != k.Value {
			t.Error("got another cookie without a reason")
		}
		p.End()
		p = start(environ{keysVariable: keyB + "," + keyA})
		b.open("/get_name")
		b.wantText("Name: Alice")
		if got, want := b.cookie().Value[:idLen], idsOf(t, keyB).encrypted; got != want {
			t.Errorf("got key id %s after a rotation, want %s", got, want)
		}
		p.End()
		start(environ{keysVariable: keyB})
		b.open("/get_name")
		b.wantText("Name: Alice")

		b.click(`form[action="/clear_name"] button`)
		b.wantText("Name cleared from session")
		if n := len(b.cookies()); n != 0 {
			t.Errorf("got %d cookies after clearing", n)
		}
		b.open("/get_name")
		b.wantText("Name not found in session")
	})
}

// The session ends while the browser still has the cookie, which ends only with it.
func TestBrowserExpiry(t *testing.T) {
	c := startBrowser(t)
	p := start(t, withKeyA, "-persist=false")
	b := c.newTab(p.URL)
	b.setName("Alice")
	if !b.cookie().Session {
		t.Error("got a cookie that outlives the browser")
	}
	b.plant(keyA, written{ago: 15 * day, name: "Alice"})
	k := b.cookie()
	b.open("/get_name")
	b.wantText("Name not found in session")
	b.wantText("Your cookie was refused: expired.")
	b.open("/session")
	b.wantText("Ended unused")
	if b.cookie().Value != k.Value {
		t.Error("got the expired cookie replaced")
	}
	b.setName("Bob")
	b.wantText("Name Bob set in session")
}

// The lesson that the session page teaches.
func TestBrowserTampering(t *testing.T) {
	c := startBrowser(t)
	p := start(t, withKeyA)
	b := c.newTab(p.URL)
	b.setName("Alice")
	k := b.cookie()
	middle := len(k.Value) / 2
	other := "A"
	if k.Value[middle] == 'A' {
		other = "B"
	}
	forged := k.Value[:middle] + other + k.Value[middle+1:]
	b.put(k, forged)
	b.open("/session")
	b.wantText("Verdict: tampered.")
	b.wantText("Nothing was deleted")
	b.wantText("MAC ✗ failed")
	if got := eval[int](b, `document.querySelectorAll(".bar .failed").length`); got != 1 {
		t.Errorf("got %d parts marked, want the one that failed", got)
	}
	b.open("/get_name")
	b.wantText("Name not found in session")
	b.wantText("Your cookie was refused: tampered.")
	b.open("/")
	b.wantText("a cookie that the server refused")
	if b.cookie().Value != forged {
		t.Error("got the forged cookie replaced, want it left alone")
	}
	b.put(k, k.Value)
	b.open("/get_name")
	b.wantText("Name: Alice")
	b.put(k, "aaaaaa"+k.Value[idLen:])
	b.open("/session")
	b.wantText("Verdict: unknown key.")
}

// press opens or closes a details element by the keyboard.
func (b *tab) press(summary string) {
	b.t.Helper()
	eval[bool](b, `(() => {
		const all = [...document.querySelectorAll("summary")];
		all.find(s => s.textContent === `+quote(summary)+`).focus();
		return true;
	})()`)
	b.run(chromedp.KeyEvent(kb.Enter))
	b.awaitTrue(`document.activeElement.parentElement.open`)
}

// What a visitor gets to see from the first page to the last, with a session
// of their own; the lesson on forging is elsewhere.
func TestBrowserLesson(t *testing.T) {
	c := startBrowser(t)
	for _, mode := range []string{"-encrypt=true", "-encrypt=false"} {
		p := start(t, environ{keysVariable: keyA + "," + keyB}, mode)
		b := c.newTab(p.URL)
		storeInLesson(b)
		readInLesson(b)
		b.open("/get_name")
		b.click(`form[action="/clear_name"] button`)
		b.wantText("A copy that somebody made before still works")
		b.wantText("Max-Age=0")
		p.End()
	}
}

// storeInLesson goes from the first page to the one after storing, which shows the header
// that was sent, and back.
func storeInLesson(b *tab) {
	b.t.Helper()
	const chips = `[...document.querySelectorAll(".baked")].map(e => e.textContent).join(" ")`
	const covers = `(() => {
		const here = document.querySelector(".here").getBoundingClientRect();
		const arrow = document.querySelector(".here i").getBoundingClientRect();
		return here.top <= arrow.top && here.bottom >= arrow.bottom;
	})()`
	wantChips := func(want string) {
		b.t.Helper()
		if got := eval[string](b, chips); got != want+" "+want || !eval[bool](b, covers) {
			b.t.Errorf("got the chips %q, want twice %q, and the arrow covered", got, want)
		}
	}
	b.open("/")
	wantChips("cookie")
	b.wantText("Your browser posts the name")
	b.paste("Alice")
	b.click("main button") // one click begins

	k := b.cookie()
	b.wantText("The header that was just sent")
	sent := regexp.MustCompile(`Set-Cookie: ` + k.Name +
		`=(\S+…hidden); Path=/; Max-Age=1209600; HttpOnly`).FindStringSubmatch(b.text())
	if sent == nil {
		b.t.Fatalf("got no header in %s", b.text())
	}
	wantHidden(b, k.Value, sent[1])
	b.press("What each attribute is for")
	b.wantText("No Domain: the cookie is for this host alone")
	b.open("/")
	wantChips(k.Value[:idLen+7] + "…")
}

// wantHidden fails unless what is shown of a cookie is all but its MAC, and of that four
// characters at most.
func wantHidden(b *tab, value, shown string) {
	b.t.Helper()
	begins, ok := strings.CutSuffix(shown, "…hidden")
	hidden := len(value) - len(begins)
	if !ok || !strings.HasPrefix(value, begins) || hidden < macLen-5 || hidden > macLen {
		b.t.Errorf("got the text %q, want %q without its MAC", shown, value)
	}
}

// showsMAC reports whether a text has more of a cookie's MAC than seven characters.
func showsMAC(text, value string) bool {
	mac := value[len(value)-macLen+4:]
	for i := range len(mac) - 7 {
		if strings.Contains(text, mac[i:i+8]) {
			return true
		}
	}
	return false
}

// readInLesson looks at the session page of a visitor called Alice.
func readInLesson(b *tab) {
	b.t.Helper()
	b.open("/session")
	shown := eval[string](b, `document.querySelector("main .cookie").textContent`)
	wantHidden(b, b.cookie().Value, shown)
	wantColours(b)
	// Step by step, and in both modes.
	notation := regexp.MustCompile(`\[\d{10}, 0, \{"Name": "Alice"\}\]`)
	if !notation.MatchString(b.text()) {
		b.t.Errorf("got no payload in %s", b.text())
	}
	b.press("Read it, step by step")
	b.press("Try to read it")
	steps := eval[[]string](b,
		`[...document.querySelectorAll(".pair section")].map(s => s.innerText)`)
	if len(steps) != 2 || !strings.Contains(steps[0], `"Name": "Alice"`) ||
		!strings.Contains(steps[0], "Anybody who has the cookie can read it.") ||
		strings.Contains(steps[1], "Alice") ||
		!strings.Contains(steps[1], "Only the server can read it.") {
		b.t.Errorf("got the session in both modes %q", steps)
	}
	// The ladder, the key, and what this cannot do.
	if got := eval[int](b, `document.querySelectorAll(".ladder .passed").length`); got != 10 {
		b.t.Errorf("got %d checks ticked, want ten", got)
	}
	b.wantText("That is the key that the server seals with now.")
	b.wantText("What this cannot do")
	b.press("Try the replay yourself, with curl")
	b.wantText("cp jar old")
	if strings.Contains(b.text(), "The header that was just sent") {
		b.t.Error("got a header that was not sent")
	}
	// The legend is at its ticks: no labels overlap, and none is cut off.
	for _, width := range []int64{320, 1280} {
		b.run(chromedp.EmulateViewport(width, 800))
		if got := eval[int](b, overlaps); got != 0 {
			b.t.Errorf("%d pixels: got %d labels of the time line in each other's way", width, got)
		}
	}
}

// wantColours fails unless the cookie's text has the colours of the bar's parts.
func wantColours(b *tab) {
	b.t.Helper()
	colours := eval[[]string](b, `["id", "stamp", "payload", "mac"].map(part =>
		getComputedStyle(document.querySelector("rect." + part)).fill + " " +
		getComputedStyle(document.querySelector(".cookie ." + part)).borderBottomColor)`)
	slices.Sort(colours)
	if len(slices.Compact(colours)) != 4 {
		b.t.Errorf("got the colours %q, want four", colours)
	}
	for _, colour := range colours {
		if bar, text, _ := strings.Cut(colour, ") "); bar+")" != text {
			b.t.Errorf("got the colours %q, want a part's to be the same", colour)
		}
	}
}

// overlaps is how many labels of the time line touch another or leave the page.
const overlaps = `(() => {
	const all = [...document.querySelectorAll(".line text")].map(e => e.getBoundingClientRect());
	const clash = (a, b) => a !== b && a.left < b.right && b.left < a.right &&
		a.top < b.bottom - 2 && b.top < a.bottom - 2;
	const wrong = a => a.left < 0 || a.right > innerWidth || all.some(b => clash(a, b));
	return all.filter(wrong).length;
})()`

// What becomes of the browser's cookie in each state, when the session page is opened.
func TestBrowserStates(t *testing.T) {
	inBothSchemes(t, func(t *testing.T, c *chromium, start starter) {
		p := start(environ{keysVariable: keyA + "," + keyB})
		b := c.newTab(p.URL)
		for _, tt := range []struct {
			name     string
			prepare  func()
			want     string
			replaced bool
		}{
			{name: "valid", want: "in 90 days", prepare: func() { b.plant(keyA, recently) }},
			{
				name: "renewed", want: "The header that was just sent", replaced: true,
				prepare: func() { b.plant(keyA, written{ago: 5 * day, name: "Alice"}) },
			},
			{
				name: "re-sealed", want: "sealed again just now", replaced: true,
				prepare: func() { b.plant(keyB, recently) },
			},
			{
				name: "several", want: "up to four are looked at",
				prepare: func() {
					b.plant(keyA, recently)
					k := b.cookie()
					if !b.secure() { // with the prefix, no other path is possible
						k.Path = "/session"
						b.put(k, "another-program")
					}
				},
			},
		} {
			call(b, network.ClearBrowserCookies, cdp.Empty{})
			tt.prepare()
			before := b.cookies()
			b.open("/session")
			b.wantText(tt.want)
			after := b.cookies()
			if len(after) != len(before) || (after[0].Value != before[0].Value) != tt.replaced {
				t.Errorf("%s: got %d cookies for %d, want one replaced: %v",
					tt.name, len(after), len(before), tt.replaced)
			}
		}
	})
}

// Another site posts the form, and has a link.
func TestBrowserCrossSite(t *testing.T) {
	inBothSchemes(t, func(t *testing.T, c *chromium, start starter) {
		p := start(withKeyA)
		evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!DOCTYPE html><title>Evil</title><link rel="icon" href="data:,">
				<form method="post" action="%[1]s/set_name">
				<input name="name" value="Eve"><button>Win</button></form>
				<a href="%[1]s/get_name">Look</a>`, p.URL)
		}))
		defer evil.Close()
		site := "http://evil.example:" + evil.URL[strings.LastIndex(evil.URL, ":")+1:]
		b := c.newTab(p.URL)
		b.setName("Alice")
		before := b.cookie().Value
		b.visit(site)
		b.click("button")
		b.wantText("This form was sent from another site")
		const status = `performance.getEntriesByType("navigation")[0].responseStatus`
		if got := eval[int](b, status); got != 403 {
			t.Errorf("got status %d, want 403", got)
		}
		if b.cookie().Value != before {
			t.Error("got the session changed by another site")
		}
		b.visit(site)
		b.click("a")
		b.wantText("Name: Alice")
	})
}

// Names that could harm are shown as text.
func TestBrowserNames(t *testing.T) {
	c := startBrowser(t)
	p := start(t, withKeyA)
	b := c.newTab(p.URL)
	for _, name := range []string{
		"<script>document.title='owned'</script>",
		`"><img src=x onerror="document.title='owned'">`,
		"<b>Bold</b> & </p></main>",
		"שרה אבו־חסן",
		"\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466",
		strings.Repeat("\U0001F36A", 200),
		"Ẑ̨̛a̴l̷g̵o̶",
	} {
		b.open("/set_name")
		b.paste(name)
		b.click("main button")
		lead := "document.querySelector('main .lead').textContent === "
		if !eval[bool](b, lead+quote("Name "+name+" set in session")) {
			t.Errorf("%q: got %q", name, b.text())
		}
		b.open("/get_name")
		if !eval[bool](b, lead+quote("Name: "+name)) {
			t.Errorf("%q: got %q", name, b.text())
		}
		b.open("/session")
		if got := eval[string](b, "document.title"); got != "Your Session · cookiesession" {
			t.Errorf("%q: got the title %q: the name was executed", name, got)
		}
	}
	// An overlong name: the form comes back with it, and says what to do.
	before := b.cookie().Value
	long := strings.Repeat("x", 250)
	b.open("/set_name")
	b.paste(long)
	b.click("main button")
	b.wantText("The name has 250 characters: shorten it to 200 at most.")
	b.awaitFocus()
	const field = `(() => {
		const f = document.getElementById("name");
		const said = f.getAttribute("aria-describedby").split(" ").map(
			id => document.getElementById(id).textContent).join(" ");
		return [f.value, f.getAttribute("aria-invalid"), document.activeElement.id, said].join("|");
	})()`
	want := long + "|true|name|The name has 250 characters: shorten it to 200 at most. " +
		"Up to 200 characters, in any script."
	if got := eval[string](b, field); got != want {
		t.Errorf("got the field %q, want %q", got, want)
	}
	if b.cookie().Value != before {
		t.Error("got another cookie after a refused name")
	}
	// What the keyboard pastes is cut where no valid name could be as long.
	if got := eval[int](b, "document.getElementById('name').maxLength"); got != 400 {
		t.Errorf("got maxlength %d, want room for 200 characters of two units each", got)
	}
}

func TestBrowserHistory(t *testing.T) {
	c := startBrowser(t)
	p := start(t, withKeyA)
	b := c.newTab(p.URL)
	b.setName("Alice")
	b.reload() // sends the form again
	b.wantText("Name Alice set in session")
	b.open("/get_name")
	b.setName("Bob")
	b.open("/get_name")
	b.wantText("Name: Bob")
	b.traverse(-1, "Name Bob set in session")
	b.traverse(-1, "Up to 200 characters")
	b.traverse(-1, "Name: Bob") // not Alice from a cache
	b.traverse(+1, "Up to 200 characters")

	// Two tabs share the session, and the last one to write wins.
	other := c.newTab(p.URL)
	other.setName("Carol")
	b.open("/get_name")
	b.wantText("Name: Carol")
	b.setName("Dave")
	other.open("/get_name")
	other.wantText("Name: Dave")
}

// pageState is a page in one of its states. They are opened in turns, and the
// cookie of one is there for the next.
type pageState struct {
	name string
	open func(b *tab)
}

// pageStates are all pages, each in all its states, of a server with keyA and keyB.
var pageStates = []pageState{
	{"home-new", opens("/")},
	{"form", opens("/set_name")},
	{"form-error", func(b *tab) {
		b.open("/set_name")
		b.paste(strings.Repeat("x", 250))
		b.click("main button")
	}},
	{"get-none", opens("/get_name")},
	{"session-none", opens("/session")},
	{"forged-sample", forges("id")},
	{"not-found", opens("/nowhere")},
	{"not-allowed", opens("/clear_name")},
	{"result", func(b *tab) { b.setName("Alice") }},
	{"result-same", func(b *tab) { b.setName("Alice") }},
	{"get", opens("/get_name")},
	{"home", opens("/")},
	{"session", opens("/session")},
	{"forged", forges("payload")},
	{"forged-key", forges("key")},
	{"session-renewed", planted("/session", keyA, written{ago: 5 * day, name: "Alice"})},
	{"home-renewed", planted("/", keyA, written{ago: 5 * day, name: "Alice"})},
	{"session-resealed", planted("/session", keyB, recently)},
	{"session-unknown-key", planted("/session", keyC, recently)},
	{"session-expired", planted("/session", keyA, written{ago: 15 * day, name: "Alice"})},
	{"get-expired", opens("/get_name")},
	{"session-too-old", planted("/session", keyA, written{ago: 91 * day, name: "A"}, recently)},
	{"session-future", planted("/session", keyA, written{ago: -3700 * time.Second, name: "Alice"})},
	{"session-malformed", func(b *tab) { b.plantValue("another-program's"); b.open("/session") }},
	{"session-large", func(b *tab) { b.sendTooLarge(); b.open("/session"); b.sendNothingElse() }},
	{"session-tampered", func(b *tab) {
		b.plant(keyA, recently)
		b.plantValue(flip(b.cookie().Value))
		b.open("/session")
	}},
	{"get-tampered", opens("/get_name")},
	{"home-tampered", opens("/")},
	{"get-long", planted("/get_name", keyA, written{name: strings.Repeat("W", 200)})},
	{"home-emoji", planted("/", keyA, written{name: strings.Repeat("\U0001F36A", 200)})},
	{"session-emoji", opens("/session")},
	{"home-rtl", planted("/", keyA, written{name: "שרה אבו־חסן"})},
	{"session-rtl", opens("/session")},
	{"cleared", func(b *tab) {
		b.open("/get_name")
		b.click(`form[action="/clear_name"] button`)
	}},
}

const day = 24 * time.Hour

// recently is a session of a minute ago.
var recently = written{ago: time.Minute, name: "Alice"}

func opens(path string) func(b *tab) { return func(b *tab) { b.open(path) } }

func forges(part string) func(b *tab) {
	return func(b *tab) {
		b.open("/session")
		b.click(fmt.Sprintf("button[value=%q]", part))
	}
}

func planted(path, key string, all ...written) func(b *tab) {
	return func(b *tab) {
		b.plant(key, all...)
		b.open(path)
	}
}

// plant puts a session into the browser, sealed with a key.
func (b *tab) plant(key string, all ...written) {
	b.t.Helper()
	b.plantValue(bake(b.t, b.base, key, all...))
}

// plantValue puts a cookie into the browser, as the developer tools can.
func (b *tab) plantValue(value string) {
	b.t.Helper()
	name, secure, hidden := cookieNameAt(b.base), b.secure(), true
	call(b, network.SetCookie, network.SetCookieParams{
		Name: name, Value: value, URL: b.base + "/", Path: "/", Secure: &secure, HTTPOnly: &hidden,
		SameSite: network.CookieSameSiteLax,
	})
}

// secure reports whether the tab's site is served over TLS.
func (b *tab) secure() bool { return strings.HasPrefix(b.base, "https:") }

// sendTooLarge has the tab send a cookie that a browser would not keep.
func (b *tab) sendTooLarge() {
	b.t.Helper()
	name := cookieNameAt(b.base)
	call(b, network.ClearBrowserCookies, cdp.Empty{})
	header := network.Headers{"Cookie": name + "=" + strings.Repeat("A", maxCookie)}
	call(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: header})
}

// sendNothingElse ends that.
func (b *tab) sendNothingElse() {
	b.t.Helper()
	none := network.SetExtraHTTPHeadersParams{Headers: network.Headers{}}
	call(b, network.SetExtraHTTPHeaders, none)
}

// prefer has the browser prefer something, as in a media query.
func (b *tab) prefer(name, value string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: name, Value: value}}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
}

// Every page is small, still, has room on the narrowest screen, headings in
// their order, and shows on paper what is folded on the screen.
func TestBrowserPages(t *testing.T) {
	p := start(t, environ{keysVariable: keyA + "," + keyB})
	b := startBrowser(t).newTab(p.URL)
	for _, state := range pageStates {
		state.open(b)
		received := eval[int](b,
			`performance.getEntries().reduce((n, e) => n + (e.transferSize || 0), 0)`)
		if received > 24<<10 || received < 2_000 {
			t.Errorf("%s: got %d bytes on a first visit, want 24 KB at most", state.name, received)
		}
		for _, width := range []int64{320, 375, 640, 1280} {
			b.run(chromedp.EmulateViewport(width, 800))
			if got := eval[int64](b, "document.documentElement.scrollWidth"); got > width {
				t.Errorf("%s: got %d pixels of width on a screen of %d", state.name, got, width)
			}
		}
		b.prefer("prefers-reduced-motion", "reduce")
		if got := eval[int](b, "document.getAnimations().length"); got != 0 {
			t.Errorf("%s: got %d animations", state.name, got)
		}
		wantOutline(b, state.name)
		wantPrinted(b, state.name)
		b.prefer("prefers-color-scheme", "light") // on the screen again
	}
}

// wantOutline fails unless a page has its headings in order, its landmarks, a first link
// that skips the navigation, and no scripts.
func wantOutline(b *tab, page string) {
	b.t.Helper()
	outline := eval[string](b,
		`[...document.querySelectorAll("h1, h2, h3, h4")].map(h => h.tagName).join(" ")`)
	if !strings.HasPrefix(outline, "H1") || strings.Count(outline, "H1") != 1 ||
		strings.Contains(outline, "H1 H3") || strings.Contains(outline, "H4") {
		b.t.Errorf("%s: got the headings %s", page, outline)
	}
	const landmarks = "header nav[aria-label], main, footer"
	if got := b.number(landmarks, ""); got != 3 {
		b.t.Errorf("%s: got %d landmarks, want navigation, main and footer", page, got)
	}
	const firstLink = `document.querySelector("a, button, input").textContent`
	if got := eval[string](b, firstLink); got != "Skip to the content" {
		b.t.Errorf("%s: got %q as the first link", page, got)
	}
	if b.number("script, [style], [onclick]", "") != 0 {
		b.t.Errorf("%s: got scripts or inline styles", page)
	}
}

// wantPrinted fails unless what is folded on the screen is there on paper, and nothing to
// click.
func wantPrinted(b *tab, page string) {
	b.t.Helper()
	const folded, visible = "details > :not(summary)", "e.checkVisibility()"
	if got := b.number(folded, visible); got != 0 {
		b.t.Errorf("%s: got %d elements unfolded at first sight", page, got)
	}
	b.print()
	if all, shown := b.number(folded, ""), b.number(folded, visible); all != shown {
		b.t.Errorf("%s: got %d of %d folded elements on paper", page, shown, all)
	}
	if got := b.number("nav, button, .button", visible); got != 0 {
		b.t.Errorf("%s: got %d things to click on paper", page, got)
	}
}

// number returns how many elements e a selector finds for which a script is true.
func (b *tab) number(selector, is string) int {
	b.t.Helper()
	return eval[int](b, "[...document.querySelectorAll("+quote(selector)+")].filter(e => "+
		cmp.Or(is, "true")+").length")
}

// TestBrowserScreenshots takes pictures, when asked for with -screenshots: the
// README's, or with -run TestBrowserScreenshots/all every page in all its states.
func TestBrowserScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Log("no screenshots: they are taken with -screenshots FOLDER")
		return
	}
	p := start(t, environ{keysVariable: keyA + "," + keyB})
	t.Run("readme", func(t *testing.T) {
		b := startBrowser(t).newTab(p.URL)
		b.run(chromedp.EmulateViewport(560, 800))
		b.setName("Alice")
		b.prefer("prefers-color-scheme", "dark")
		b.open("/")
		b.picture("home-dark", 0)
		b.prefer("prefers-color-scheme", "light")
		b.open("/session")
		b.picture("session-light", 1080)
	})
	t.Run("all", func(t *testing.T) {
		c := startBrowser(t)
		for _, state := range pageStates {
			b := c.newTab(p.URL)
			state.open(b)
			for _, width := range []int64{320, 375, 640, 1280} {
				b.run(chromedp.EmulateViewport(width, 800))
				for value, name := range map[string]string{
					"light": "prefers-color-scheme", "dark": "prefers-color-scheme",
					"active": "forced-colors",
				} {
					b.prefer(name, value)
					b.picture(fmt.Sprintf("%s-%s-%d", state.name, value, width), 0)
				}
			}
			b.run(chromedp.EmulateViewport(640, 800))
			b.print()
			b.picture(state.name+"-print", 0)
		}
	})
}

// print shows the page as it is printed.
func (b *tab) print() {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
}

// picture takes a picture of the page, from its top so many pixels down, or whole.
func (b *tab) picture(name string, height float64) {
	b.t.Helper()
	eval[bool](b, "document.activeElement.blur(), true") // no cursor that blinks
	size := eval[[2]float64](b, "[innerWidth, document.documentElement.scrollHeight]")
	if height == 0 || height > size[1] {
		height = size[1]
	}
	beyond := true
	shot := call(b, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
		CaptureBeyondViewport: &beyond,
		Clip:                  &cdppage.Viewport{Width: size[0], Height: height, Scale: 1},
	})
	testkit.WriteFile(b.t, filepath.Join(*screenshots, name+".png"), string(shot.Data))
}

const (
	axeVersion = "4.14.1"
	axeSHA512  = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NP" +
		"jCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

// axe returns the source of axe-core, which npm fetches.
func axe(t *testing.T) string {
	t.Helper()
	npm := testkit.NeedTool(t, "npm")
	cmd := exec.Command(npm, "pack", "--silent", "axe-core@"+axeVersion)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		testkit.SkipUnlessCI(t, fmt.Sprintf("npm can't fetch axe-core: %v: %s", err, out))
	}
	packed := testkit.ReadFile(t, filepath.Join(cmd.Dir, "axe-core-"+axeVersion+".tgz"))
	sum := sha512.Sum512([]byte(packed))
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != axeSHA512 {
		t.Fatalf("got another axe-core, of %s", got)
	}
	unzipped, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("axe-core has no axe.min.js")
		}
		if err != nil {
			t.Fatal(err)
		}
		if path.Base(file.Name) == "axe.min.js" {
			source, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return string(source)
		}
	}
}

// axe-core finds nothing to complain about, on any page, in either scheme, with
// the contrast of AAA.
func TestBrowserAccessibility(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "chromium")
	source := axe(t)
	p := start(t, environ{keysVariable: keyA + "," + keyB})
	b := startBrowser(t).newTab(p.URL)
	for _, state := range pageStates {
		state.open(b)
		eval[int](b, source+"; 0")
		for _, scheme := range []string{"light", "dark"} {
			b.prefer("prefers-color-scheme", scheme)
			type result struct {
				Violations []struct {
					ID, Help string
					Nodes    []struct{ HTML, FailureSummary string }
				}
				Passes []struct{ ID string }
			}
			found := eval[result](b, `axe.run({
				runOnly: ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21a", "wcag21aa", "wcag22aa",
					"best-practice"],
				rules: {"color-contrast-enhanced": {enabled: true}},
			})`, chromedp.EvalAwaitPromise)
			for _, v := range found.Violations {
				t.Errorf("%s, %s: %s: %s: %v", state.name, scheme, v.ID, v.Help, v.Nodes)
			}
			contrast := func(p struct{ ID string }) bool {
				return p.ID == "color-contrast-enhanced"
			}
			if !slices.ContainsFunc(found.Passes, contrast) {
				t.Errorf("%s, %s: the contrast was not checked, only %v",
					state.name, scheme, found.Passes)
			}
		}
	}
}
