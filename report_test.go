package main

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
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
// failed, and with no more of the MAC than its first four characters.
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
			{"malformed", otherTypes, "payload", "does not fit what the site keeps now", 4},
			{"too large", good + strings.Repeat("A", 4096), "", "larger than any", 0},
			{"unknown key", seal(t, strange, alice(0, 0)), "id", "a key that this server does not have", 4},
			{"tampered", flipLast(good), "mac", "the MAC does not match", 4},
			{"expired", seal(t, m, alice(idle+1, idle+1)), "", "not used for too long", 4},
			{"too old", seal(t, m, alice(lifetime+1, 0)), "", "began too long ago", 4},
			{"from the future", seal(t, m, alice(-3700, -3700)), "", "still to come", 4},
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
				if showsMAC(answer, tt.value) {
					t.Fatalf("%s: got a stretch of the MAC in %s", tt.verdict, answer)
				}
			}
			_, bar, _ := strings.Cut(page, `<svg class="bar"`)
			bar, _, _ = strings.Cut(bar, "</svg>")
			if got := strings.Count(bar, `<rect class="`); got != tt.parts {
				t.Errorf("%s: got %d parts, want %d", tt.verdict, got, tt.parts)
			}
			failed, want := strings.Count(bar, " failed\""), 0
			if tt.failed != "" {
				want = 1
			}
			if failed != want || strings.Count(bar, tt.failed+" failed\"") != want {
				t.Errorf("%s: got %d parts marked, want %q", tt.verdict, failed, tt.failed)
			}
			label := map[string]string{
				"": "", "id": "key", "stamp": "time", "payload": "payload", "mac": "mac",
			}[tt.failed]
			marked := regexp.MustCompile(`(?m)^(.*) part .*, failed$`).FindAllStringSubmatch(text, -1)
			if len(marked) != want || want == 1 && marked[0][1] != label {
				t.Errorf("%s: got the parts %v marked in %s", tt.verdict, marked, text)
			}
			mode := "\nmode          signed and encrypted\n"
			if o.signed {
				mode = "\nmode          signed\n"
			}
			verified := strings.Contains(text, mode)
			if verified != strings.Contains(page, "What is in it") ||
				verified != strings.Contains(text, "\nbegan ") ||
				verified != strings.Contains(page, `<dd dir="auto">Alice</dd>`) ||
				verified != strings.Contains(text, "\nname          Alice") {
				t.Errorf("%s: got the page %s and the text %s", tt.verdict, page, text)
			}
			if refused := strings.Contains(page, "Nothing was deleted"); refused != (tt.verdict != "valid") {
				t.Errorf("%s: got the visitor told that nothing was deleted: %v", tt.verdict, refused)
			}
		}
		page := sessionPage(t, a, good)
		if got := strings.Contains(page, "anybody who holds it can read it"); got != o.signed {
			t.Errorf("got the visitor told that anybody can read the session: %v", got)
		}
		unreadable := strings.Contains(page, "neither your browser nor anyone who copies the cookie can")
		if unreadable == o.signed {
			t.Errorf("got the visitor told that the browser can't read the session: %v", unreadable)
		}
		if !strings.Contains(page, "(62 minutes ago)") {
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
			for _, p := range parts(v.value, v.verdict) {
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

// Of a cookie in another spelling, no part is said to be at fault: nobody has looked.
func TestNoPartIsBlamed(t *testing.T) {
	a := newTestApp(t, options{signed: true})
	for value, want := range map[string]bool{
		seal(t, a.sessions, alice(0, 0)) + "=":               false,
		sealBytes(t, a.sessions, []byte("\x83\x00\x00\x07")): true,
	} {
		page := sessionPage(t, a, value)
		if blamed := strings.Contains(page, "✗ failed"); blamed != want || !strings.Contains(page, "✗ malformed") {
			t.Errorf("%s: got a part blamed: %v", value, blamed)
		}
	}
}

// A cookie of any length that has the form can be shown, whatever is in it.
func TestShortPayloadsAreShown(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	for n := range 80 {
		for _, c := range []string{"h", "|", "\x84"} {
			sealed := "1767225600|" + strings.Repeat(c, n) + "|" + strings.Repeat("m", 32)
			value := encryptedA + "." + base64.URLEncoding.EncodeToString([]byte(sealed))
			for _, accept := range []string{"", browser} {
				res, page := do(t, a, exchange{
					method: "GET", target: "/session", cookie: value, header: map[string]string{"Accept": accept},
				})
				if res.StatusCode != 200 {
					t.Fatalf("%d times %q: got status %d and %s", n, c, res.StatusCode, page)
				}
			}
		}
	}
}

// The two specimens are of the visitor's own session, also of one that is over.
func TestSpecimensOfAnExpiredSession(t *testing.T) {
	a := newTestApp(t, options{idle: time.Hour, log: io.Discard})
	page := sessionPage(t, a, seal(t, a.sessions, named("Bob", 7200, 7200)))
	if strings.Count(page, "&#34;Name&#34;: &#34;Bob&#34;") != 2 || strings.Contains(page, "&#34;Alice&#34;") {
		t.Errorf("got the specimens of somebody else: %s", page)
	}
}

// Random bytes are not called a bound session.
func TestPeekAtRandomBytes(t *testing.T) {
	content := withDevice([]byte("\x84\xff\xff\xff"), newDevice())
	sealed := "1767225600|" + base64.URLEncoding.EncodeToString(content) + "|" + strings.Repeat("m", 32)
	rep := report{}
	rep.peek(encryptedA + "." + base64.URLEncoding.EncodeToString([]byte(sealed)))
	if rep.Bound || rep.Readable {
		t.Errorf("got bound %v, readable %v", rep.Bound, rep.Readable)
	}
}

// The parts are where they are in cookies that stay the same, to the nearest character.
func TestWhereThePartsAre(t *testing.T) {
	m := newTestManager(t, options{signed: true})
	al := payload[fixed]{Began: golden, Data: fixed{Name: "Al"}}
	for _, tt := range []struct {
		value string
		want  []int
	}{
		{goldenSigned, []int{7, 15, 39, 42}},
		{sealBytes(t, m, must(encoding.Marshal(al))), []int{7, 15, 33, 44}},
	} {
		var got []int
		for _, p := range parts(tt.value, valid) {
			got = append(got, p.Chars)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("got parts of %v characters, want %v", got, tt.want)
		}
	}
}

// A cookie of any length can be taken apart, also one from before September
// 2001, when the time had nine digits.
func TestDissect(t *testing.T) {
	const want = "gxppVbkAAKFkTmFtZWVBbGljZQ=="
	if stamp, payload, ok := dissect(goldenSigned); !ok || stamp != "1767225600" || payload != want {
		t.Errorf("got %q, %q and %v, want %q", stamp, payload, ok, want)
	}
	synctest.Test(t, func(t *testing.T) { // at the beginning of 2000
		m := newTestSessions[fixed](t, options{signed: true})
		value := sealed(t, m, payload[fixed]{Began: golden, Data: fixed{Name: "Alice"}})
		if stamp, payload, ok := dissect(value); !ok || stamp != "946684800" || payload != want {
			t.Errorf("got %q, %q and %v, want %q", stamp, payload, ok, want)
		}
	})
	for n := range 100 {
		for _, c := range []string{"x", "|"} {
			value := "aaaaaa." + base64.URLEncoding.EncodeToString([]byte(strings.Repeat(c, n)))
			stamp, payload, ok := dissect(value)
			if got := len(stamp) + 1 + len(payload) + 1 + 32; ok && got != n || ok != (n >= 44) {
				t.Errorf("%d bytes: got %v with %q and %q", n, ok, stamp, payload)
			}
			if _, _, ok := dissect("aaaaa1" + value[idLen:]); ok {
				t.Errorf("%d bytes: got parts of a cookie without a key id", n)
			}
		}
	}
}

// The line from the session's beginning to its end is in per cent.
func TestScale(t *testing.T) {
	began := time.Unix(golden, 0)
	after := func(hours int) time.Time { return began.Add(time.Duration(hours) * time.Hour) }
	tests := []struct{ idleEnd, now, wantNow, wantLeft int64 }{
		{20, 0, 0, 20},
		{20, 5, 5, 15},
		{100, 99, 99, 1},
		{20, 20, 20, 0},
		{20, 30, 30, 0},
		{100, 200, 100, 0},
	}
	for _, tt := range tests {
		rep := report{
			Began: began, End: after(100), IdleEnd: after(int(tt.idleEnd)), Now: after(int(tt.now)),
		}
		if now, left := rep.Scale(rep.Now), rep.Left(); now != tt.wantNow || left != tt.wantLeft {
			t.Errorf("%d of %d hours: got now at %d with %d left, want %d and %d",
				tt.now, tt.idleEnd, now, left, tt.wantNow, tt.wantLeft)
		}
	}
}

// A session ends at its absolute limit at the latest.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t, options{idle: 100 * time.Second, lifetime: 250 * time.Second})
		now := time.Now().UTC()
		for _, tt := range []struct{ began, written, idleEnd, end int64 }{
			{0, 0, 100, 250},
			{150, 0, 100, 100},
			{151, 0, 99, 99},
			{200, 50, 50, 50},
			{200, 70, 30, 50},
			{300, 20, -50, -50},
		} {
			v := openValue(m, seal(t, m, alice(tt.began, tt.written)))
			rep := describe(m, v)
			idleEnd, end := seconds(rep.IdleEnd.Sub(now)), seconds(rep.End.Sub(now))
			if idleEnd != tt.idleEnd || end != tt.end || !rep.Now.Equal(now) {
				t.Errorf("began %d and written %d seconds ago: got ends in %d and %d, want %d and %d",
					tt.began, tt.written, idleEnd, end, tt.idleEnd, tt.end)
			}
		}
	})
}

func TestRough(t *testing.T) {
	now := time.Unix(golden, 0)
	for ahead, want := range map[int64]string{
		0: "now", 1: "in 1 second", -1: "1 second ago",
		119: "in 119 seconds", 120: "in 2 minutes", -7100: "118 minutes ago",
		7199: "in 2 hours", -86400: "24 hours ago", 47 * 3600: "in 47 hours", 2*86400 - 1: "in 2 days",
		14*86400 - 1: "in 14 days", 14*86400 - 7200: "in 14 days", 14*86400 - 50000: "in 13 days",
		90*86400 - 60: "in 90 days", -90 * 86400: "90 days ago",
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
				` <span class="soft">(4 days ago)</span>`,
			`<time datetime="1999-12-30T00:00:00Z">30 December 1999, 00:00:00 UTC</time>` +
				` <span class="soft">(2 days ago)</span>`,
			`<strong>Now</strong> <span><time datetime="2000-01-01T00:00:00Z">1 January 2000, 00:00:00 UTC</time>`,
			`<time datetime="2000-01-13T00:00:00Z">13 January 2000, 00:00:00 UTC</time>` +
				` <span class="soft">(in 12 days)</span>`,
			`<time datetime="2000-03-27T00:00:00Z">27 March 2000, 00:00:00 UTC</time>` +
				` <span class="soft">(in 86 days)</span>`,
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
		{"", "You are at the first step", "sent no session cookie"},
		{good, "its seal is good", "the seal is good"},
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
	headings := map[int]string{
		400: "That form could not be read", 403: "That came from another site",
		404: "There is no such page", 405: "That is not possible here",
		413: "That is too much", 415: "That is not a form",
	}
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
			!strings.Contains(page, "<h1>"+headings[status]+"</h1>") ||
			!strings.Contains(page, `href="/">Go to the home page</a>`) {
			t.Errorf("got status %d and %s, want %d", res.StatusCode, page, status)
		}
	}
}
