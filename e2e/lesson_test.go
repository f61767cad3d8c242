package e2e

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
)

// forgeParts are what the buttons of the lesson forge.
var forgeParts = []string{"id", "stamp", "payload", "mac", "key"}

// A visitor presses each of the buttons, with a cookie and without.
func TestBrowserForge(t *testing.T) {
	c := startBrowser(t)
	for _, mode := range []string{"-encrypt=true", "-encrypt=false"} {
		p := start(t, withKeyA, mode)
		b := c.newTab(p.URL)
		call(b, network.ClearBrowserCookies, cdp.Empty{})
		for _, own := range []bool{false, true} {
			if own {
				b.setName("Alice")
			}
			before := b.cookies()
			b.open("/session")
			for _, part := range forgeParts { // the next is on the page with the report
				forge(b, part, own)
			}
			after := b.cookies()
			if len(before) != len(after) || own && before[0].Value != after[0].Value {
				t.Errorf("got %d cookies for %d, want the same", len(after), len(before))
			}
		}
		b.click(`main a[href="/session"]`)
		b.wantText("Verdict: valid.")
		p.End()
	}
}

// forge presses a button, and looks at the report. With own, the visitor has a cookie.
func forge(b *tab, part string, own bool) {
	b.t.Helper()
	b.click(fmt.Sprintf("button[value=%q]", part))
	verdict, ticked, marked := "tampered", 4, 1
	switch part {
	case "id":
		verdict, ticked = "unknown key", 3
	case "key":
		marked = 0
	}
	b.wantText("Verdict on the forged copy: " + verdict + ".")
	if got := eval[int](b, `document.querySelectorAll(".ladder .passed").length`); got != ticked {
		b.t.Errorf("%s: got %d checks passed, want %d", part, got, ticked)
	}
	if own {
		b.wantText("Your own cookie is still valid.")
	} else {
		b.wantText("a sample that this server made was forged")
		b.wantText("You still have no cookie.")
	}
	if got := eval[int](b, `document.querySelectorAll(".cookie mark").length`); got != marked {
		b.t.Errorf("%s: got %d characters marked, want %d", part, got, marked)
	}
}
