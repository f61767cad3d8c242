package e2e

import (
	"path/filepath"
	"testing"

	"cookiesession/internal/testkit"

	"github.com/chromedp/chromedp"
)

// The operator's page has room on a phone and is accessible, also when something is wrong.
func TestBrowserStatus(t *testing.T) {
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA+"\n"+testkit.KeyB)
	p := start(t, nil, "-admin-addr", "localhost:0", "-key-file", ring)
	b := startBrowser(t).newTab(p.AdminURL())
	testkit.WriteFile(t, ring, "nonsense")
	testkit.AwaitTrue(t, "a bad key file", func() bool { return p.Log.Has("the key file is bad") })
	b.open("/")
	b.wantText("it was bad")
	for _, width := range []int64{375, 1280} {
		b.run(chromedp.EmulateViewport(width, 800))
		if got := eval[int64](b, "document.documentElement.scrollWidth"); got > width {
			t.Errorf("got %d pixels of width on a screen of %d", got, width)
		}
	}
	eval[int](b, axe(t)+"; 0")
	for _, scheme := range []string{"light", "dark"} {
		b.prefer("", scheme)
		for _, wrong := range eval[[]string](b, axeCheck, chromedp.EvalAwaitPromise) {
			t.Errorf("%s: %s", scheme, wrong)
		}
	}
}
