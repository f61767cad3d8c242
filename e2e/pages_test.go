package e2e

import (
	"crypto/sha512"
	"encoding/base64"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "",
	"put a screenshot of the session's page, as the README has it, into this `folder`")

// Storing, reading and clearing a name, through a restart of the server.
func TestBrowserFlow(t *testing.T) {
	inBothSchemes(t, func(b *tab, start func() *testkit.Server) {
		p := start()
		b.open("/")
		b.wantText("You are at the first step")
		b.setName("Alice")
		b.wantText("Name Alice set in session")
		wantAttributes(b, b.cookie())

		p.End()
		start()
		b.open("/get_name")
		b.wantText("Name: Alice")
		b.click(`form[action="/clear_name"] button`)
		b.wantText("Name cleared from session")
		if n := len(b.cookies()); n != 0 {
			b.t.Errorf("got %d cookies after clearing", n)
		}
		b.open("/get_name")
		b.wantText("Name not found in session")
	})
}

// wantAttributes looks at the cookie that the browser has got.
func wantAttributes(b *tab, k *network.Cookie) {
	b.t.Helper()
	secure := strings.HasPrefix(b.base, "https:")
	if k.Name != cookieNameAt(b.base) || !k.HTTPOnly || k.Secure != secure || k.Path != "/" ||
		k.SameSite != network.CookieSameSiteLax || k.Domain != "localhost" {
		b.t.Errorf("got the cookie %s, HttpOnly %v, SameSite %s, Secure %v, path %s, domain %s",
			k.Name, k.HTTPOnly, k.SameSite, k.Secure, k.Path, k.Domain)
	}
	rest := time.Until(time.Unix(int64(k.Expires), 0))
	if k.Session || rest < 90*day-time.Hour || rest > 90*day+time.Minute {
		b.t.Errorf("got a cookie that ends in %v", rest)
	}
	if got := eval[string](b, "document.cookie"); got != "" {
		b.t.Error("got the cookie in document.cookie")
	}
}

// The session's page shows the cookie's text in the colours of the bar's parts. No labels of
// the time line overlap, and none is cut off.
func TestBrowserLesson(t *testing.T) {
	b := startBrowser(t).newTab(start(t, withKeyA).URL)
	b.setName("Alice")
	b.open("/session")
	colours := eval[[]string](b, `["id", "stamp", "payload", "mac"].map(part =>
		getComputedStyle(document.querySelector("rect." + part)).fill + " " +
		getComputedStyle(document.querySelector(".cookie ." + part)).borderBottomColor)`)
	slices.Sort(colours)
	if len(slices.Compact(colours)) != 4 {
		t.Errorf("got the colours %q, want four", colours)
	}
	for _, colour := range colours {
		if bar, text, _ := strings.Cut(colour, ") "); bar+")" != text {
			t.Errorf("got the colours %q, want a part's to be the same", colour)
		}
	}
	const overlaps = `(() => {
		const texts = [...document.querySelectorAll(".line text")];
		const all = texts.map(e => e.getBoundingClientRect());
		const clash = (a, b) => a !== b && a.left < b.right && b.left < a.right &&
			a.top < b.bottom - 2 && b.top < a.bottom - 2;
		const wrong = a => a.left < 0 || a.right > innerWidth || all.some(b => clash(a, b));
		return all.filter(wrong).length;
	})()`
	for _, width := range []int64{320, 1280} {
		b.run(chromedp.EmulateViewport(width, 800))
		if got := eval[int](b, overlaps); got != 0 {
			t.Errorf("%d pixels: got %d labels of the time line in each other's way", width, got)
		}
	}
}

// Another site posts the form, and has a link.
func TestBrowserCrossSite(t *testing.T) {
	inBothSchemes(t, func(b *tab, start func() *testkit.Server) {
		start()
		other := "http://evil.example:" + anotherSite(b.t, b.base)
		b.setName("Alice")
		b.visit(other)
		b.click("button")
		b.wantText("another site sent this form")
		const status = `performance.getEntriesByType("navigation")[0].responseStatus`
		if got := eval[int](b, status); got != 403 {
			b.t.Errorf("got status %d, want 403", got)
		}
		b.visit(other)
		b.click("a")
		b.wantText("Name: Alice")
	})
}

// pageState is a page in one of its states. They are opened in turns, and the
// cookie of one is there for the next.
type pageState struct {
	name string
	open func(b *tab)
	want string // a part of its text
}

// startForPages starts a server that knows its address.
func startForPages(t *testing.T) *testkit.Server {
	t.Helper()
	addr := strings.Replace(testkit.FreeAddr(t), "127.0.0.1", "localhost", 1)
	return start(t, withKeyA, "-addr", addr, "-origin", "http://"+addr)
}

// pageStates are all pages, in the states in which they have other parts.
var pageStates = []pageState{
	{"home-new", opens("/"), "You are here"},
	{"form", opens("/set_name"), "Up to 200 characters"},
	{"form-error", posts(strings.Repeat("x", 250)), "200 is the limit"},
	{"session-none", opens("/session"), "So this is a sample"},
	{"forged-sample", forges("id"), "You still have no cookie."},
	{"not-found", opens("/nowhere"), "no such page"},
	{"no-form", opens("/clear_name"), "Go to its button"},
	{"misdirected", opensElsewhere, "This is another site"},
	{"result", func(b *tab) { b.setName("Alice") }, "Name Alice set in session"},
	{"home", opens("/"), "Welcome back, Alice."},
	{"session", opens("/session"), "✓ valid"},
	{"forged", forges("payload"), "Your own cookie is still valid."},
	{"renewed", planted("/session", keyA, 5*day, "A"), "Renewed just now"},
	{"unknown-key", planted("/session", keyC, 0, "A"), "that this server doesn't have"},
	{"expired", planted("/session", keyA, 15*day, "A"), "nobody used it for more than 14 days"},
	{"future", planted("/session", keyA, -10*time.Minute, "A"), "still has that cookie.\n"},
	{"try-again", posts("Bob"), "End the session"},
	{"malformed", malformed, "doesn't have the form of a cookie of this site"},
	{"several", several, "sent 2 cookies called session"},
	{"home-unknown", planted("/", keyC, 0, "A"), "Your cookie was refused: unknown key."},
	{"home-expired", planted("/", keyA, 15*day, "A"), "You were away for too long"},
	{"script", planted("/", keyA, 0, "<script>console.log(1)</script>"), "<script>"},
	{"wide", planted("/session", keyA, 0, strings.Repeat("\U0001F36A", 200)), "✓ valid"},
	{"wide-word", planted("/session", keyA, 0, strings.Repeat("w", 200)), "✓ valid"},
	{"right-to-left", planted("/get_name", keyA, 0, "שרה אבו־חסן"), "שרה"},
	{"cleared", func(b *tab) { b.click(`form[action="/clear_name"] button`) }, "Name cleared"},
	{"forged-name", renames, "the two no longer match"},
	{"replay", opens("/replay"), "The balance is 100."},
	{"replay-spent", clicks(spend), "The old one, from before"},
	{"replay-again", clicks(`button[value="again"]`), "The balance is 100 again."},
	{"replay-empty", clicks(spend, spend, spend, spend), "Only 10 is left"},
	{"paste", planted("/paste", keyA, 0, "A"), "and forgets it"},
	{"paste-problem", pastes(text("nothing")), "There is no cookie of this site's form"},
	{"pasted", pastes(baked(false)), "It is encrypted, and this page doesn't open it"},
	{"pasted-signed", pastes(baked(true)), "anybody who has it can read this"},
}

const day = 24 * time.Hour

func opens(path string) func(b *tab) { return func(b *tab) { b.open(path) } }

// posts fills in the form, as from the clipboard.
func posts(name string) func(b *tab) {
	return func(b *tab) {
		b.open("/set_name")
		eval[bool](b, `document.getElementById("name").value = `+quote(name)+`, true`)
		b.click("main button")
	}
}

func forges(part string) func(b *tab) {
	return func(b *tab) {
		b.open("/session")
		b.click(fmt.Sprintf("button[value=%q]", part))
	}
}

// renames has the name in a specimen forged, from the page of another forgery.
func renames(b *tab) {
	forges("mac")(b)
	b.click(`button[value="name"]`)
}

// clicks clicks on what it finds on one page after the other.
func clicks(buttons ...string) func(b *tab) {
	return func(b *tab) {
		for _, button := range buttons {
			b.click(button)
		}
	}
}

func text(s string) func(*testing.T) string { return func(*testing.T) string { return s } }

// baked returns the value of a cookie that was stored just now.
func baked(signOnly bool) func(*testing.T) string {
	return func(t *testing.T) string {
		o := sessions.Options[visitorData]{Insecure: true, SignOnly: signOnly}
		return bake(t, keyA, "Alice", time.Now(), o)
	}
}

const spend = `button[value="spend"]`

// pastes fills in the form for pasted cookies.
func pastes(text func(t *testing.T) string) func(b *tab) {
	return func(b *tab) {
		b.open("/paste")
		eval[bool](b, `document.getElementById("cookie").value = `+quote(text(b.t))+`, true`)
		b.click(`form[action="/paste"] button`)
	}
}

// planted opens a path with the cookie of a name that was stored some time ago.
func planted(path, key string, ago time.Duration, name string) func(b *tab) {
	return func(b *tab) {
		b.plant(bake(b.t, key, name, time.Now().Add(-ago), overHTTP), "/")
		b.open(path)
	}
}

// opensElsewhere finds the site at a host that isn't its own.
func opensElsewhere(b *tab) { b.visit(strings.Replace(b.base, "localhost", "evil.example", 1)) }

// malformed brings another program's cookie.
func malformed(b *tab) {
	b.plant("another-program's", "/")
	b.open("/session")
}

// several opens a path for which the browser has a second cookie.
func several(b *tab) {
	b.plant(bake(b.t, keyA, "Bob", time.Now().Add(-time.Hour), overHTTP), "/session")
	planted("/session", keyA, 0, "Alice")(b)
	call(b, network.ClearBrowserCookies, cdp.Empty{})
}

// Every page says what it is for, is small, has no scripts, has room on the narrowest screen,
// and shows on paper what is folded on the screen, and nothing to click.
func TestBrowserPages(t *testing.T) {
	b := startBrowser(t).newTab(startForPages(t).URL)
	for _, state := range pageStates {
		state.open(b)
		if got := eval[string](b, "document.body.innerText"); !strings.Contains(got, state.want) {
			t.Errorf("%s: got %q, want %q in it", state.name, got, state.want)
		}
		received := eval[int](b,
			`performance.getEntries().reduce((n, e) => n + (e.transferSize || 0), 0)`)
		if received > 40<<10 || received < 2_000 {
			t.Errorf("%s: got %d bytes on a first visit, want 40 KB at most", state.name, received)
		}
		for _, width := range []int64{320, 375, 640, 1024, 1280} {
			b.run(chromedp.EmulateViewport(width, 800))
			if got := eval[int64](b, "document.documentElement.scrollWidth"); got > width {
				t.Errorf("%s: got %d pixels of width on a screen of %d", state.name, got, width)
			}
		}
		const words = "document.body.innerText.split(/\\s+/).length"
		isSession := eval[string](b, "location.pathname") == "/session"
		if got := eval[int](b, words); isSession && got > 450 {
			t.Errorf("%s: got %d words, want 450 at most", state.name, got)
		}
		if b.number("script, [style], [onclick]", "true") != 0 {
			t.Errorf("%s: got scripts or inline styles", state.name)
		}
		for what, wrong := range map[string][2]string{
			"lists that VoiceOver takes for none": {"main :is(ul, ol)",
				`getComputedStyle(e).listStyleType === "none" && e.getAttribute("role") !== "list"`},
			"boxes without a border where colours are forced": {".note, .next, .anatomy, .http, pre",
				"parseFloat(getComputedStyle(e).borderTopWidth) < 1"},
			"targets that are too low": {"nav a, summary, .answers li, main .button",
				"e.getBoundingClientRect().height < 44"},
			"breaks within words": {".cookie, .attribute, code", // but for base64
				`getComputedStyle(e).lineBreak === "anywhere"`},
			"parts of a bar that touch": {".bar rect",
				"getComputedStyle(e).stroke !== getComputedStyle(document.body).backgroundColor"},
		} {
			if got := b.number(wrong[0], wrong[1]); got != 0 {
				t.Errorf("%s: got %d %s", state.name, got, what)
			}
		}
		const folded = "details:not(.try *) > :not(summary)"
		const visible = "e.checkVisibility()"
		if got := b.number(folded, visible); got != 0 {
			t.Errorf("%s: got %d elements unfolded at first sight", state.name, got)
		}
		b.prefer("print", "light")
		if got := b.number(folded, "!"+visible) + b.number("nav, button", visible); got != 0 {
			t.Errorf("%s: got %d things to unfold or to click on paper", state.name, got)
		}
		b.prefer("", "light")
	}
}

// The last of the four sections begins on the third screen of a phone.
func TestBrowserLessonOnAPhone(t *testing.T) {
	b := startBrowser(t).newTab(startForPages(t).URL)
	b.run(chromedp.EmulateViewport(375, 812))
	for _, name := range []string{"", "Alice"} {
		if name != "" {
			b.setName(name)
		}
		b.open("/session")
		top := eval[float64](b, `document.getElementById("limits").offsetTop`)
		if top > 3*812 {
			t.Errorf("name %q: got it at %v pixels, want %d at most", name, top, 3*812)
		}
	}
}

// TestBrowserScreenshots takes the README's picture, when asked for with -screenshots.
func TestBrowserScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("no screenshots: they are taken with -screenshots FOLDER")
	}
	b := startBrowser(t).newTab(startForPages(t).URL)
	b.run(chromedp.EmulateViewport(560, 800))
	b.setName("Alice")
	b.prefer("", "light")
	b.open("/session")
	beyond := true
	shot := call(b, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
		CaptureBeyondViewport: &beyond,
		Clip:                  &cdppage.Viewport{Width: 560, Height: 1080, Scale: 1},
	})
	testkit.WriteFile(t, filepath.Join(*screenshots, "session-light.png"), string(shot.Data))
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

// axeCheck has axe-core, which must be in the page, return what is wrong with it.
const axeCheck = `axe.run({
	runOnly: ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21a", "wcag21aa", "wcag22aa",
		"best-practice"],
	rules: {"color-contrast-enhanced": {enabled: true}},
}).then(r => {
	const wrong = r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html));
	const contrast = r.passes.some(p => p.id === "color-contrast-enhanced");
	return contrast ? wrong : [...wrong, "the contrast was not checked"];
})`

// axe-core finds nothing to complain about, on any page, unfolded, on narrow screens and
// wide ones, in either scheme, with the contrast of AAA.
func TestBrowserAccessibility(t *testing.T) {
	b := startBrowser(t).newTab(startForPages(t).URL)
	source := axe(t)
	for _, state := range pageStates {
		state.open(b)
		eval[int](b, source+"; 0")
		eval[bool](b, `document.querySelectorAll("details").forEach(d => d.open = true), true`)
		for i, width := range []int64{320, 375, 640, 1280} {
			scheme := []string{"light", "dark"}[i%2]
			b.prefer("", scheme)
			b.run(chromedp.EmulateViewport(width, 800))
			for _, wrong := range eval[[]string](b, axeCheck, chromedp.EvalAwaitPromise) {
				t.Errorf("%s, %d pixels, %s: %s", state.name, width, scheme, wrong)
			}
		}
	}
}
