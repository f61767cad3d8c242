package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

// getPage returns a page as a browser gets it.
func getPage(t *testing.T, a *app, target, cookie string) string {
	t.Helper()
	_, page := do(t, a, exchange{
		method: "GET", target: target, cookie: cookie,
		header: map[string]string{"Accept": browser},
	})
	return page
}

// sessionPage returns the page on a cookie.
func sessionPage(t *testing.T, a *app, cookie string) string {
	t.Helper()
	return getPage(t, a, "/session", cookie)
}

// sessionText returns the same as text.
func sessionText(t *testing.T, a *app, cookie string) string {
	t.Helper()
	_, text := do(t, a, exchange{method: "GET", target: "/session", cookie: cookie})
	return text
}

// Every verdict is explained, in the page and in text, with the part that
// failed, and without any of the cookie's value but the key id.
func TestSessionPage(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		o.log = io.Discard
		a := newTestApp(t, o)
		m := a.sessions
		strange := newTestManager(t, options{keys: []string{keyC}, signed: o.signed})
		good := seal(t, m, alice(3700, 3700))
		idle, lifetime := seconds(m.idle), seconds(m.lifetime)
		otherTypes := sealBytes(t, m, must(encoding.Marshal([]any{time.Now().Unix(), 0, "Alice"})))
		tests := []struct {
			verdict, value string
			failed         string // the class of the part
			says           string
			parts          int
		}{
			{"valid", good, "", "found it good", 4},
			{"malformed", "x" + good, "", "not have the form", 0},
			{"malformed", good[:20], "", "not have the form", 0},
			{"malformed", otherTypes, "payload", "not have the form", 4},
			{"too large", good + strings.Repeat("A", 4096), "", "larger than any", 0},
			{"unknown key", seal(t, strange, alice(0, 0)), "id", "a key that this server does not have", 4},
			{"tampered", flipLast(good), "mac", "the MAC does not match", 4},
			{"expired", seal(t, m, alice(idle+1, idle+1)), "payload", "not used for too long", 4},
			{"too old", seal(t, m, alice(lifetime+1, 0)), "payload", "began too long ago", 4},
			{"from the future", seal(t, m, alice(-3700, -3700)), "stamp", "still to come", 4},
		}
		for _, tt := range tests {
			page, text := sessionPage(t, a, tt.value), sessionText(t, a, tt.value)
			for _, answer := range []string{page, text} {
				size := fmt.Sprint(len("session" + tt.value))
				for _, want := range []string{tt.verdict, tt.says, size, "4096"} {
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
			lines := strings.Count(page, `<rect class="whole"`)
			if got := strings.Count(page, `<rect class="`) - 4*lines; got != tt.parts {
				t.Errorf("%s: got %d parts, want %d", tt.verdict, got, tt.parts)
			}
			failed, want := strings.Count(page, " failed\""), 0
			if tt.failed != "" {
				want = 1
			}
			if failed != want || strings.Count(page, tt.failed+" failed\"") != want {
				t.Errorf("%s: got %d parts marked, want %q", tt.verdict, failed, tt.failed)
			}
			label := map[string]string{
				"": "", "id": "key", "stamp": "time", "payload": "payload", "mac": "mac",
			}[tt.failed]
			marked := regexp.MustCompile(`(?m)^(.*) part .*, failed$`).FindAllStringSubmatch(text, -1)
			if len(marked) != want || want == 1 && marked[0][1] != label {
				t.Errorf("%s: got the parts %v marked in %s", tt.verdict, marked, text)
			}
			verified := strings.Contains(text, "began ")
			if verified != strings.Contains(page, "What is in it") ||
				verified != strings.Contains(page, "Alice") ||
				verified != strings.Contains(text, "\nname          Alice") {
				t.Errorf("%s: got the page %s and the text %s", tt.verdict, page, text)
			}
			if refused := strings.Contains(page, "Nothing was deleted"); refused != (tt.verdict != "valid") {
				t.Errorf("%s: got the visitor told that nothing was deleted: %v", tt.verdict, refused)
			}
		}
		page := sessionPage(t, a, good)
		if got := strings.Contains(page, "anybody who holds the cookie can read it"); got != o.signed {
			t.Errorf("got the visitor told that anybody can read the session: %v", got)
		}
		const cannot = "your browser and whoever copies the cookie can"
		unreadable := strings.Contains(page, cannot+"&#39;t") || strings.Contains(page, cannot+"'t")
		if unreadable == o.signed {
			t.Errorf("got the visitor told that the browser can't read the session: %v", unreadable)
		}
		if !strings.Contains(page, "(1 hour ago)") && !strings.Contains(page, "(61 minutes ago)") {
			t.Errorf("got no rough time in %s", page)
		}
	})
}

// Every field is shown, also one that this version of the site does not know:
// text as it is, anything else in CBOR's notation.
func TestEveryFieldIsShown(t *testing.T) {
	a := newTestApp(t, options{signed: true})
	// But for Name, none that the site could add: those begin with a capital.
	data := map[string]any{
		"Name":  "Žofia",
		"cart":  []string{"tea", "<b>"},
		"count": map[string]int{"a": 1, "b": -2},
		"empty": "",
		"none":  nil,
		"since": time.Unix(golden, 0),
		"times": 12,
		"token": []byte{1, 171},
		"where": map[string]any{"City": "Praha"},
		"quote": `5" & <i>`,
	}
	value := sealBytes(t, a.sessions, must(encoding.Marshal([]any{time.Now().Unix(), 0, data})))
	fields := []struct{ name, value, quoted string }{
		{"Name", `Žofia`, `"Žofia"`},
		{"cart", `["tea", "<b>"]`, ""},
		{"count", `{"a": 1, "b": -2}`, ""},
		{"empty", ``, `""`},
		{"none", `null`, ""},
		{"quote", `5" & <i>`, `"5\" & <i>"`},
		{"since", `2026-01-01T00:00:00Z`, `"2026-01-01T00:00:00Z"`},
		{"times", `12`, ""},
		{"token", `h'01ab'`, ""},
		{"where", `{"City": "Praha"}`, ""},
	}
	page, text, inspected := "", "", ""
	for _, f := range fields {
		page += fmt.Sprintf("<div><dt>%s</dt><dd dir=\"auto\">%s</dd></div>\n",
			f.name, html.EscapeString(f.value))
		label := fmt.Sprintf("\n%-14s", strings.ToLower(f.name))
		text += label + f.value
		inspected += label + cmp.Or(f.quoted, f.value)
	}
	if got := sessionPage(t, a, value); !strings.Contains(got, page) {
		t.Errorf("got  %s\nwant %s", got, page)
	}
	if got := sessionText(t, a, value); !strings.Contains(got, text) {
		t.Errorf("got  %s\nwant %s", got, text)
	}
	v := openValue(a.sessions, value)
	if got := reportText("inspect", describe(a.sessions, v)); !strings.HasSuffix(got, inspected) {
		t.Errorf("got  %s\nwant %s", got, inspected)
	}
	// Without a key, too.
	rep := describe(a.sessions, v)
	rep.Fields = nil
	rep.peek(value)
	if got := reportText("inspect", rep); !strings.HasSuffix(got, inspected) {
		t.Errorf("without a key: got  %s\nwant %s", got, inspected)
	}
}

// Nobody has verified what inspect shows without a key, and it is shown on a terminal.
func TestNothingReachesTheTerminal(t *testing.T) {
	m := newTestManager(t, options{signed: true})
	const command = "\x1b[31m\n\u202e\u009b"
	data := map[string]any{
		"Name": command, command: 1, "List": []string{command}, "Map": map[string]int{command: 1},
	}
	for _, p := range [][]any{{0, 0, data}, {0, 0, map[string]any{"Any": []any{data, command}}}} {
		value := sealBytes(t, m, must(encoding.Marshal(p)))
		rep := report{}
		if rep.peek(value); len(rep.Fields) == 0 {
			t.Errorf("got no fields in %+v", rep)
		}
		text := reportText("inspect", rep)
		if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), unicode.IsControl); i >= 0 {
			t.Errorf("got a control character in %q", text)
		}
		if strings.Contains(text, "\u202e") {
			t.Errorf("got a direction override in %q", text)
		}
		lines := strings.Count(text, "\n")
		rep.Fields = nil
		rest := strings.Count(reportText("inspect", rep), "\n")
		if want := len(p[2].(map[string]any)); lines-rest != want {
			t.Errorf("got %d lines for %d fields in %q", lines-rest, want, text)
		}
	}
}

// The parts add up to the value.
func TestPartsAddUp(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		for n := range 40 {
			v := openValue(m, seal(t, m, named(strings.Repeat("x", n), 10, 0)))
			end := 0
			for _, p := range parts(v) {
				if p.Start != end || p.Chars <= 0 {
					t.Errorf("%d: got %s at %d with %d characters, want it at %d",
						n, p.Class, p.Start, p.Chars, end)
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
	now := time.Unix(golden, 0)
	for ahead, want := range map[int64]string{
		0: "now", 1: "in 1 second", -1: "1 second ago",
		119: "in 119 seconds", 120: "in 2 minutes", -7199: "119 minutes ago",
		7200: "in 2 hours", -86400: "24 hours ago", 2*86400 - 1: "in 47 hours",
		14*86400 - 1: "in 13 days", -90 * 86400: "90 days ago",
	} {
		rep := report{Now: now}
		if got := rep.Rough(now.Add(time.Duration(ahead) * time.Second)); got != want {
			t.Errorf("%d: got %q, want %q", ahead, got, want)
		}
	}
}

func TestTimesOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{log: io.Discard})
		page := sessionPage(t, a, seal(t, a.sessions, alice(86400*4, 86400*2)))
		for _, want := range []string{
			`<time datetime="1999-12-28T00:00:00Z">28 December 1999, 00:00:00 UTC</time>` +
				` <span class="rough">(4 days ago)</span>`,
			`<time datetime="1999-12-30T00:00:00Z">30 December 1999, 00:00:00 UTC</time>` +
				` <span class="rough">(2 days ago)</span>`,
			`<time datetime="2000-01-01T00:00:00Z">1 January 2000, 00:00:00 UTC</time>` +
				` <span class="rough">(now)</span>`,
			`<time datetime="2000-01-13T00:00:00Z">13 January 2000, 00:00:00 UTC</time>` +
				` <span class="rough">(in 12 days)</span>`,
			`<time datetime="2000-03-27T00:00:00Z">27 March 2000, 00:00:00 UTC</time>` +
				` <span class="rough">(in 86 days)</span>`,
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
			page := getPage(t, a, target, tt.cookie)
			steps := strings.Count(page, `aria-current="step"`)
			if !strings.Contains(page, want) || steps != map[string]int{"/": 1}[target] {
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
		403: {
			method: "POST", target: "/set_name",
			header: map[string]string{"Sec-Fetch-Site": "cross-site"},
		},
		404: {method: "GET", target: "/nowhere"},
		405: {method: "GET", target: "/clear_name"},
		413: {method: "POST", target: "/set_name", body: strings.Repeat("x", maxBody+1)},
		415: {
			method: "POST", target: "/set_name",
			header: map[string]string{"Content-Type": "text/plain"},
		},
	} {
		if x.header == nil {
			x.header = make(map[string]string)
		}
		x.header["Accept"] = browser
		res, page := do(t, a, x)
		if res.StatusCode != status ||
			!strings.Contains(page, "<h1>"+http.StatusText(status)+"</h1>") ||
			!strings.Contains(page, `href="/">Go to the first page</a>`) {
			t.Errorf("got status %d and %s, want %d", res.StatusCode, page, status)
		}
	}
}
