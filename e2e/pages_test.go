package e2e

import (
	"crypto/sha512"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "",
	"put screenshots of the pages into this `folder`")

// Storing, reading and clearing a name, through restarts and a rotation of keys.
func TestBrowserFlow(t *testing.T) {
	inBothSchemes(t, func(t *testing.T, c *chromium, start starter) {
		p := start(withKeyA)
		b := c.newTab(p.URL)
		b.open("/")
		b.wantText("You are at the first step")
		b.open("/get_name")
		b.wantText("Name not found in session")
		b.setName("Alice")
		b.wantText("Name Alice set in session")
		b.click(`main a[href="/get_name"]`)
		b.wantText("Name: Alice")
		b.open("/session")
		b.wantText("signed and encrypted")
		k := b.cookie()
		wantAttributes(b, k)

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
		start(environ{keysVariable: keyB}, "-persist=false")
		b.open("/get_name")
		b.wantText("Name: Alice")

		b.click(`form[action="/clear_name"] button`)
		b.wantText("Name cleared from session")
		if n := len(b.cookies()); n != 0 {
			t.Errorf("got %d cookies after clearing", n)
		}
		b.open("/get_name")
		b.wantText("Name not found in session")
		b.setName("Bob")
		if !b.cookie().Session {
			t.Error("got a cookie that outlives the browser")
		}
	})
}

// wantAttributes looks at the cookie that the browser has got, and that the page which it
// shows has of it.
func wantAttributes(b *tab, k *network.Cookie) {
	b.t.Helper()
	if k.Name != cookieNameAt(b.base) || !k.HTTPOnly || k.Secure != b.secure() || k.Path != "/" ||
		k.SameSite != network.CookieSameSiteLax || k.Domain != "localhost" {
		b.t.Errorf("got the cookie %s, HttpOnly %v, SameSite %s, Secure %v, path %s, domain %s",
			k.Name, k.HTTPOnly, k.SameSite, k.Secure, k.Path, k.Domain)
	}
	if size := len(k.Name) + len(k.Value); int(k.Size) != size || size > 160 {
		b.t.Errorf("got a cookie of %d bytes, want 160 at most", k.Size)
	}
	rest := time.Until(time.Unix(int64(k.Expires), 0))
	if k.Session || rest < 90*day-time.Hour || rest > 90*day+time.Minute {
		b.t.Errorf("got a cookie that ends in %v", rest)
	}
	if got := eval[string](b, "document.cookie"); got != "" {
		b.t.Error("got the cookie in document.cookie")
	}
	if got := eval[string](b, "document.documentElement.outerHTML"); showsMAC(got, k.Value) {
		b.t.Error("got the cookie's MAC in the page")
	}
}

// What a visitor gets to see from the first page to the last, with a session
// of their own.
func TestBrowserLesson(t *testing.T) {
	b := startBrowser(t).newTab(start(t, withKeyA).URL)
	storeInLesson(b)
	readInLesson(b)
	b.open("/get_name")
	b.click(`form[action="/clear_name"] button`)
	b.wantText("A copy that somebody made before still works")
	b.wantText("Max-Age=0")
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
		`=(\S+…hidden); Path=/; Max-Age=7776000; HttpOnly`).FindStringSubmatch(b.text())
	if sent == nil {
		b.t.Fatalf("got no header in %s", b.text())
	}
	wantHidden(b, k.Value, sent[1])
	b.press("What each attribute is for")
	b.wantText("No Domain: the cookie is for this host alone")
	b.open("/")
	wantChips(k.Value[:idLen] + ".…")
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
	if got := eval[int](b, `document.querySelectorAll(".ladder .passed").length`); got != 9 {
		b.t.Errorf("got %d checks ticked, want all nine of a site that binds nothing", got)
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
	name     string
	open     func(b *tab)
	want     string // a part of its text
	replaced bool   // the cookie that was planted for it
}

// startForPages starts a server with two keys that knows its address.
func startForPages(t *testing.T) *testkit.Server {
	t.Helper()
	addr := strings.Replace(testkit.FreeAddr(t), "127.0.0.1", "localhost", 1)
	env := environ{keysVariable: keyA + "," + keyB}
	return start(t, env, "-addr", addr, "-origin", "http://"+addr)
}

// pageStates are all pages, each in all its states, of such a server.
var pageStates = []pageState{
	{name: "home-new", open: opens("/"), want: "You are at the first step"},
	{name: "form", open: opens("/set_name"), want: "Up to 200 characters"},
	{name: "form-error", open: posts(strings.Repeat("x", 250)), want: "shorten it to 200"},
	{name: "get-none", open: opens("/get_name"), want: "Your browser sent no session cookie."},
	{name: "session-none", open: opens("/session"), want: "So what follows is a sample"},
	{name: "forged-sample", open: forges("id"), want: "You still have no cookie."},
	{name: "not-found", open: opens("/nowhere"), want: "no such page"},
	{name: "not-allowed", open: opens("/clear_name"), want: "not possible here"},
	{name: "misdirected", open: opensElsewhere, want: "This is another site"},
	{
		name: "result", want: "Name Alice set in session",
		open: func(b *tab) { b.setName("Alice") },
	},
	{name: "result-same", open: posts("Alice"), want: "no new one was sent"},
	{name: "get", open: opens("/get_name"), want: "Name: Alice"},
	{name: "home", open: opens("/"), want: "Welcome back, Alice."},
	{name: "session", open: opens("/session"), want: "Verdict: valid."},
	{name: "forged", open: forges("payload"), want: "Your own cookie is still valid."},
	{name: "forged-key", open: forges("key"), want: "Verdict on the forged copy: tampered."},
	{
		name: "session-renewed", want: "the same session in a fresh cookie", replaced: true,
		open: planted("/session", keyA, written{ago: 5 * day, name: "Alice"}),
	},
	{
		name: "home-renewed", want: "The header that was just sent", replaced: true,
		open: planted("/", keyA, written{ago: 5 * day, name: "Alice"}),
	},
	{
		name: "session-resealed", want: "sealed again just now", replaced: true,
		open: planted("/session", keyB, recently),
	},
	{
		name: "session-unknown-key", want: "This server does not have that key.",
		open: planted("/session", keyC, recently),
	},
	{
		name: "session-expired", want: "Ended unused",
		open: planted("/session", keyA, written{ago: 15 * day, name: "Alice"}),
	},
	{name: "get-expired", open: opens("/get_name"), want: "Your cookie was refused: expired."},
	{
		name: "session-too-old", want: "Ended in any case",
		open: planted("/session", keyA, written{ago: 91 * day, name: "A"}, recently),
	},
	{
		name: "session-future", want: "still has that cookie.\n", // and no way to replace it
		open: planted("/session", keyA, written{ago: -10 * time.Minute, name: "Alice"}),
	},
	{name: "try-again", open: triesAgain, want: "End the Session"},
	{
		name: "ended", want: "Name cleared from session",
		open: func(b *tab) { triesAgain(b); b.planted = ""; b.click("main .quiet") },
	},
	{
		name: "session-malformed", want: "does not have the form of a cookie of this site",
		open: func(b *tab) { b.plantValue("another-program's"); b.open("/session") },
	},
	{
		name: "session-large", want: "where browsers allow 4096",
		open: func(b *tab) { b.sendTooLarge(); b.open("/session"); b.sendNothingElse() },
	},
	{name: "session-tampered", open: tampers, want: "Nothing was deleted"},
	{name: "get-tampered", open: opens("/get_name"), want: "Your cookie was refused: tampered."},
	{name: "home-tampered", open: opens("/"), want: "a cookie that the server refused"},
	{name: "session-several", open: severalAt("/session"), want: "sent 2 good cookies"},
	{name: "get-several", open: severalAt("/get_name"), want: "sent 2 good cookies"},
	{name: "get-long", open: planted("/get_name", keyA, written{name: strings.Repeat("W", 200)})},
	{
		name: "home-emoji",
		open: planted("/", keyA, written{name: strings.Repeat("\U0001F36A", 200)}),
	},
	{name: "session-emoji", open: opens("/session"), want: "Verdict: valid."},
	{name: "home-rtl", open: planted("/", keyA, written{name: "שרה אבו־חסן"})},
	{name: "session-rtl", open: opens("/session"), want: "in 90 days"},
	{
		name: "cleared", want: "Name cleared from session",
		open: func(b *tab) { b.open("/get_name"); b.click(`form[action="/clear_name"] button`) },
	},
}

const day = 24 * time.Hour

// recently is a session of a minute ago.
var recently = written{ago: time.Minute, name: "Alice"}

func opens(path string) func(b *tab) { return func(b *tab) { b.open(path) } }

// posts fills in the form.
func posts(name string) func(b *tab) {
	return func(b *tab) {
		b.open("/set_name")
		b.paste(name)
		b.click("main button")
	}
}

func forges(part string) func(b *tab) {
	return func(b *tab) {
		b.open("/session")
		b.click(fmt.Sprintf("button[value=%q]", part))
	}
}

func planted(path, key string, all ...written) func(b *tab) {
	return func(b *tab) {
		b.plant(key, all...)
		b.planted = b.cookie().Value
		b.open(path)
	}
}

// triesAgain posts a name while the clock is behind that of who has written the cookie.
func triesAgain(b *tab) {
	planted("/get_name", keyA, written{ago: -10 * time.Minute, name: "Alice"})(b)
	posts("Bob")(b)
}

// opensElsewhere finds the site at a host that isn't its own.
func opensElsewhere(b *tab) { b.visit(strings.Replace(b.base, "localhost", "evil.example", 1)) }

func tampers(b *tab) {
	b.plant(keyA, recently)
	b.plantValue(flip(b.cookie().Value))
	b.planted = b.cookie().Value
	b.open("/session")
}

// severalAt opens a path for which the browser has a second cookie.
func severalAt(path string) func(b *tab) {
	return func(b *tab) {
		b.plant(keyA, recently)
		k := b.cookie()
		k.Path = path
		b.put(k, bake(b.t, b.base, keyA, written{ago: time.Hour, name: "Bob"}))
		b.open(path)
		call(b, network.ClearBrowserCookies, cdp.Empty{})
	}
}

// Every page says what it is for, leaves the cookie alone unless it has a reason, is small,
// still, has room on the narrowest screen, headings in their order, and shows on paper what
// is folded on the screen.
func TestBrowserPages(t *testing.T) {
	p := startForPages(t)
	b := startBrowser(t).newTab(p.URL)
	for _, state := range pageStates {
		b.planted = ""
		state.open(b)
		if got := eval[string](b, "document.body.innerText"); !strings.Contains(got, state.want) {
			t.Errorf("%s: got %q, want %q in it", state.name, got, state.want)
		}
		if b.planted != "" && (b.cookie().Value != b.planted) != state.replaced {
			t.Errorf("%s: got the cookie replaced: %v", state.name, !state.replaced)
		}
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
	want := 3
	if page == "misdirected" {
		want = 2 // a menu would lead nowhere
	}
	if got := b.number(landmarks, ""); got != want {
		b.t.Errorf("%s: got %d landmarks, want %d: navigation, main and footer", page, got, want)
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

// TestBrowserScreenshots takes pictures, when asked for with -screenshots: the
// README's, or with -run TestBrowserScreenshots/all every page in all its states.
func TestBrowserScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Log("no screenshots: they are taken with -screenshots FOLDER")
		return
	}
	p := startForPages(t)
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
			for _, width := range []int64{375, 1280} {
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
	packed := filepath.Join(cmd.Dir, "axe-core-"+axeVersion+".tgz")
	sum := sha512.Sum512([]byte(testkit.ReadFile(t, packed)))
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != axeSHA512 {
		t.Fatalf("got another axe-core, of %s", got)
	}
	return tool(t, "", "tar", "-xzOf", packed, "package/axe.min.js")
}

// axe-core finds nothing to complain about, on any page, in either scheme, with
// the contrast of AAA.
func TestBrowserAccessibility(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "chromium")
	source := axe(t)
	p := startForPages(t)
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
