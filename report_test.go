package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Every verdict is explained, in the page and in text, with the part that
// failed, and without any of the cookie's value but the key id.
func TestSessionPage(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		o.log = io.Discard
		a := newTestApp(t, o)
		m := a.sessions
		strange := newTestManager(t, options{keys: []string{keyC}, signed: o.signed})
		good := seal(t, m, alice(3700, 3700))
		tests := []struct {
			verdict, value string
			failed         string // the class of the part
			says           string
			parts          int
		}{
			{"valid", good, "", "found it good", 4},
			{"malformed", "x" + good, "", "not have the form", 0},
			{"malformed", good[:20], "", "not have the form", 0},
			{"too large", good + strings.Repeat("A", 4096), "", "larger than any", 0},
			{"unknown key", seal(t, strange, alice(0, 0)), "id", "a key that this server does not have", 4},
			{"tampered", flipLast(good), "mac", "its MAC does not fit", 4},
			{"expired", seal(t, m, alice(m.idle+1, m.idle+1)), "payload", "not been used for so long", 4},
			{"too old", seal(t, m, alice(m.lifetime+1, 0)), "payload", "began so long ago", 4},
			{"from the future", seal(t, m, alice(-3700, -3700)), "stamp", "still to come", 4},
		}
		for _, tt := range tests {
			_, page := do(t, a, exchange{method: "GET", target: "/session", cookie: tt.value, header: map[string]string{"Accept": browser}})
			_, text := do(t, a, exchange{method: "GET", target: "/session", cookie: tt.value})
			for _, answer := range []string{page, text} {
				for _, want := range []string{tt.verdict, tt.says, fmt.Sprint(len("session" + tt.value)), "4096"} {
					if !strings.Contains(answer, want) {
						t.Errorf("%s: got no %q in %s", tt.verdict, want, answer)
					}
				}
				for i := idLen + 1; i+8 < len(tt.value); i++ {
					if part := tt.value[i : i+8]; strings.Contains(answer, part) && part != "AAAAAAAA" {
						t.Fatalf("%s: got a stretch of the cookie's value in %s", tt.verdict, answer)
					}
				}
			}
			if got := strings.Count(page, `<rect class="`) - strings.Count(page, `<rect class="whole"`)*4; got != tt.parts {
				t.Errorf("%s: got %d parts, want %d", tt.verdict, got, tt.parts)
			}
			if got := strings.Count(page, " failed\""); got != strings.Count(page, tt.failed+" failed\"") || tt.failed != "" && got != 1 {
				t.Errorf("%s: got %d parts marked, want %q", tt.verdict, got, tt.failed)
			}
			if got := strings.Count(text, ", failed"); tt.failed != "" && got != 1 {
				t.Errorf("%s: got %d parts marked in %s", tt.verdict, got, text)
			}
			if verified := strings.Contains(text, "began"); verified != strings.Contains(page, "What is in it") || verified != strings.Contains(page, "Alice") || verified != strings.Contains(text, "\nname          Alice") {
				t.Errorf("%s: got the page %s and the text %s", tt.verdict, page, text)
			}
			if refused := strings.Contains(page, "Nothing was deleted"); refused != (tt.verdict != "valid") {
				t.Errorf("%s: got the visitor told that nothing was deleted: %v", tt.verdict, refused)
			}
		}
		_, page := do(t, a, exchange{method: "GET", target: "/session", cookie: good, header: map[string]string{"Accept": browser}})
		if got := strings.Contains(page, "anybody who holds the cookie can read it"); got != o.signed {
			t.Errorf("got the visitor told that anybody can read the session: %v", got)
		}
		if got := strings.Contains(page, "your browser and whoever copies the cookie can&#39;t") || strings.Contains(page, "your browser and whoever copies the cookie can't"); got == o.signed {
			t.Errorf("got the visitor told that the browser can't read the session: %v", got)
		}
		if !strings.Contains(page, "(1 hour ago)") && !strings.Contains(page, "(61 minutes ago)") {
			t.Errorf("got no rough time in %s", page)
		}
	})
}

// The parts add up to the value.
func TestPartsAddUp(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		for n := range 40 {
			s := alice(10, 0)
			s.Name = strings.Repeat("x", n)
			v := openValue(m, seal(t, m, s))
			end := 0
			for _, p := range v.parts() {
				if p.Start != end || p.Chars <= 0 {
					t.Errorf("%d: got %s at %d with %d characters, want it at %d", n, p.Name, p.Start, p.Chars, end)
				}
				end += p.Chars
			}
			if end != len(v.value) || end == 0 {
				t.Errorf("%d: got %d characters, want %d", n, end, len(v.value))
			}
		}
	})
}

func TestRough(t *testing.T) {
	for ahead, want := range map[int64]string{
		0: "now", 1: "in 1 second", -1: "1 second ago", 119: "in 119 seconds", 120: "in 2 minutes", -7199: "119 minutes ago",
		7200: "in 2 hours", -86400: "24 hours ago", 2*86400 - 1: "in 47 hours", 14*86400 - 1: "in 13 days", -90 * 86400: "90 days ago",
	} {
		if got := (instant{time.Time{}, ahead}).Rough(); got != want {
			t.Errorf("%d: got %q, want %q", ahead, got, want)
		}
	}
}

func TestTimesOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{log: io.Discard})
		cookie := seal(t, a.sessions, alice(86400*4, 86400*2))
		_, page := do(t, a, exchange{method: "GET", target: "/session", cookie: cookie, header: map[string]string{"Accept": browser}})
		for _, want := range []string{
			`<time datetime="1999-12-28T00:00:00Z">28 December 1999, 00:00:00 UTC</time> <span class="rough">(4 days ago)</span>`,
			`<time datetime="1999-12-30T00:00:00Z">30 December 1999, 00:00:00 UTC</time> <span class="rough">(2 days ago)</span>`,
			`<time datetime="2000-01-01T00:00:00Z">1 January 2000, 00:00:00 UTC</time> <span class="rough">(now)</span>`,
			`<time datetime="2000-01-13T00:00:00Z">13 January 2000, 00:00:00 UTC</time> <span class="rough">(in 12 days)</span>`,
			`<time datetime="2000-03-27T00:00:00Z">27 March 2000, 00:00:00 UTC</time> <span class="rough">(in 86 days)</span>`,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("got no %s in %s", want, page)
			}
		}
	})
}

// The first page and get_name tell where the visitor stands and what to do.
func TestWhereTheVisitorStands(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	good := seal(t, a.sessions, alice(0, 0))
	tests := []struct{ cookie, home, get string }{
		{"", "You are at the first step", "has brought no session cookie. Set a name"},
		{good, "its seal is good", "the seal was good"},
		{flipLast(good), "a cookie that the server refused", "Your cookie was refused: tampered."},
		{"x", "a cookie that the server refused", "Your cookie was refused: malformed."},
	}
	for _, tt := range tests {
		for target, want := range map[string]string{"/": tt.home, "/get_name": tt.get} {
			_, page := do(t, a, exchange{method: "GET", target: target, cookie: tt.cookie, header: map[string]string{"Accept": browser}})
			if !strings.Contains(page, want) || strings.Count(page, `aria-current="step"`) != map[string]int{"/": 1}[target] {
				t.Errorf("%s: got no %q in %s", target, want, page)
			}
		}
	}
}

// Every error says what to do next, and leads there.
func TestErrorPagesLeadOn(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	for status, x := range map[int]exchange{
		400: {method: "POST", target: "/set_name", body: "name=%"},
		403: {method: "POST", target: "/set_name", header: map[string]string{"Sec-Fetch-Site": "cross-site"}},
		404: {method: "GET", target: "/nowhere"},
		405: {method: "GET", target: "/clear_name"},
		413: {method: "POST", target: "/set_name", body: strings.Repeat("x", maxBody+1)},
		415: {method: "POST", target: "/set_name", header: map[string]string{"Content-Type": "text/plain"}},
	} {
		if x.header == nil {
			x.header = make(map[string]string)
		}
		x.header["Accept"] = browser
		res, page := do(t, a, x)
		if res.StatusCode != status || !strings.Contains(page, "<h1>"+http.StatusText(status)+"</h1>") || !strings.Contains(page, `href="/">Go to the first page</a>`) {
			t.Errorf("got status %d and %s, want %d", res.StatusCode, page, status)
		}
	}
}
