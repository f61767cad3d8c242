package main

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// lessonStates returns cookies with each of the verdicts, of m and of a server
// whose keys are keyA, which seals, and keyB.
func lessonStates(t testing.TB, m *sessions[session]) map[string]string {
	t.Helper()
	of := func(key string) *sessions[session] {
		return newTestManager(t, options{
			keys: []string{key}, secure: m.secure, signed: !m.ring.Load().seal.encrypted,
		})
	}
	day := int64(86400)
	good := seal(t, m, alice(600, 60))
	return map[string]string{
		"none":            "",
		"valid":           good,
		"renewed":         seal(t, m, alice(6*day, 5*day)),
		"re-sealed":       seal(t, of(keyB), alice(600, 60)),
		"expired":         seal(t, m, alice(15*day, 15*day)),
		"too old":         seal(t, m, alice(91*day, 60)),
		"from the future": seal(t, m, alice(-3700, -3700)),
		"tampered":        flipLast(good),
		"unknown key":     seal(t, of(keyC), alice(600, 60)),
		"malformed":       sealBytes(t, m, must(encoding.Marshal([]any{1, 2, 3}))),
		"another program": "another-program",
		"too large":       good + strings.Repeat("A", maxCookie),
		"full":            seal(t, m, named(strings.Repeat("Ж x", 500), 600, 60)),
	}
}

// lessonVisits are requests for everything that a visitor can get to see.
var lessonVisits = []exchange{
	{method: "GET", target: "/"},
	{method: "GET", target: "/set_name"},
	{method: "GET", target: "/get_name"},
	{method: "GET", target: "/session"},
	{method: "POST", target: "/set_name", body: "name=Alice"},
	{method: "POST", target: "/set_name", body: "name=Bob"},
	{method: "POST", target: "/set_name", body: "name="},
	{method: "POST", target: "/set_name", body: "name=%"},
	{method: "POST", target: "/clear_name"},
	{method: "GET", target: "/nowhere"},
	{method: "GET", target: "/clear_name"},
}

// answers makes every visit in every state, in both modes, with http and with
// Secure cookies, as a browser and as curl.
func answers(t *testing.T, check func(t *testing.T, a *app, x exchange, state, body string, res *http.Response)) {
	t.Helper()
	bothModes(t, func(t *testing.T, o options) {
		o.keys = []string{keyA, keyB}
		for _, o.secure = range []bool{false, true} {
			var log lockedBuffer
			o.log = &log
			a := newTestApp(t, o)
			for state, cookie := range lessonStates(t, a.sessions) {
				for _, x := range lessonVisits {
					for _, accept := range []string{browser, "*/*"} {
						x.cookie, x.header = cookie, map[string]string{"Accept": accept}
						res, body := do(t, a, x)
						check(t, a, x, state, body, res)
					}
				}
			}
			check(t, a, exchange{}, "the log", log.String(), &http.Response{})
		}
	})
}

var (
	tag       = regexp.MustCompile(`<[^>]*>`)
	cookieRun = regexp.MustCompile(`[A-Za-z0-9_.=-]+`)
	idAndDot  = regexp.MustCompile(`[a-z2-7]{6}\.`)
)

// accepted returns what in a text would be accepted as a cookie by any of the
// sessions: a run of the characters of cookies, or a part of one.
func accepted(text string, seen map[string]bool, all ...*sessions[session]) (found []string) {
	for _, text := range []string{text, html.UnescapeString(tag.ReplaceAllString(text, ""))} {
		for _, run := range cookieRun.FindAllString(text, -1) {
			if seen[run] {
				continue
			}
			seen[run] = true
			tries := []string{run}
			for _, at := range idAndDot.FindAllStringIndex(run, -1) {
				for end := at[1] + 4; end <= len(run); end += 4 {
					tries = append(tries, run[at[0]:end])
				}
			}
			for _, m := range all {
				for _, value := range tries {
					if openValue(m, value).verdict == valid {
						found = append(found, value)
					}
				}
			}
		}
	}
	return found
}

// Nothing that a page, a text, a log or an error contains would do as a cookie,
// under either name.
func TestNothingShownIsACookie(t *testing.T) {
	seen := make(map[string]bool)
	all := make(map[bool][]*sessions[session])
	for _, signed := range []bool{false, true} {
		for _, secure := range []bool{false, true} {
			o := options{keys: []string{keyA, keyB, keyC}, signed: signed, secure: secure}
			all[signed] = append(all[signed], newTestManager(t, o))
		}
	}
	for _, m := range all[true] {
		good := seal(t, m, alice(0, 0))
		for _, text := range []string{
			good, "session=" + good + "; Path=/", "<b>" + good[:30] + "</b><i>" + good[30:] + "hidden</i>",
		} {
			if len(accepted(text, make(map[string]bool), all[true]...)) == 0 {
				t.Fatalf("the test does not find the cookie in %s", text)
			}
		}
	}
	n := 0
	answers(t, func(t *testing.T, a *app, x exchange, state, body string, res *http.Response) {
		n++
		header := res.Header.Clone()
		header.Del("Set-Cookie") // which is the visitor's own
		for _, text := range []string{body, fmt.Sprint(header)} {
			if found := accepted(text, seen, all[true]...); found != nil {
				t.Errorf("%s %s, %s: %q would be accepted", x.method, x.target, state, found)
			}
		}
	})
	if n < 1000 || len(seen) < 1000 {
		t.Errorf("tried only %d runs of %d answers", len(seen), n)
	}
}

var shownMAC = regexp.MustCompile(`<span class="mac[^"]*">([^<]*)(?:<mark>([^<]*)</mark>([^<]*))?<span class="hidden">`)

// showsMAC reports whether a text has more of a cookie's MAC than four characters.
func showsMAC(text, value string) bool {
	for _, shown := range shownMAC.FindAllStringSubmatch(text, -1) {
		if len(shown[1]+shown[2]+shown[3]) > 4 {
			return true
		}
	}
	if _, _, ok := dissect(value); !ok {
		return false
	}
	ps := parts(value, valid)
	mac := value[ps[3].Start:]
	for i := range len(mac) - 7 {
		if strings.Contains(text, mac[i:i+8]) {
			return true
		}
	}
	return false
}

// Of a MAC, four characters are shown at most: of the cookie that came, of the
// one that goes, and of samples.
func TestNoMACIsShown(t *testing.T) {
	shown := 0
	answers(t, func(t *testing.T, a *app, x exchange, state, body string, res *http.Response) {
		sent := ""
		if res.Header != nil {
			if c := setCookie(t, a, res); c != nil {
				sent = c.Value
			}
		}
		shown += len(shownMAC.FindAllString(body, -1))
		if strings.Count(body, `class="mac"><strong>`) > 1 || strings.Count(body, `<span class="mac`) !=
			len(shownMAC.FindAllString(body, -1)) {
			t.Errorf("%s %s, %s: got a MAC of another form in %s", x.method, x.target, state, body)
		}
		for _, value := range []string{x.cookie, sent} {
			if showsMAC(body, value) {
				t.Errorf("%s %s, %s: got a MAC in %s", x.method, x.target, state, body)
			}
		}
	})
	if shown < 100 {
		t.Errorf("got only %d MACs", shown)
	}
}

// What each page has to say in each state: that it contains and doesn't contain.
func TestLessonInEachState(t *testing.T) {
	const (
		get, set, clear = "GET /get_name", "POST /set_name", "POST /clear_name"
		session         = "GET /session"
		sent            = "The header that was just sent"
		refused         = "refused"
	)
	tests := []struct {
		state, page string
		want, not   []string
	}{
		{"none", "GET /", []string{"first step", `<form method="post" action="/set_name">`}, []string{sent, refused}},
		{"none", get, []string{
			"If you have set a name just now, your browser refuses cookies",
		}, []string{sent, "was refused"}},
		{"none", session, []string{
			"a <strong>sample</strong>", "The sample, character by character",
			"The sample was sealed with the key", "Signed only", "<dt>Name</dt><dd dir=\"auto\">Alice</dd>",
		}, []string{sent, refused, "Your cookie", "How long it lasts"}},
		{"none", set, []string{sent, "The session has changed", "Only the next request can show"}, []string{
			"is in your cookie", refused,
		}},
		{"none", clear, []string{"there was nothing to clear"}, []string{sent, refused, "A copy"}},

		{"valid", "GET /", []string{"Welcome back, Alice.", "fourth step", "its seal is good"}, []string{sent, refused}},
		{"valid", get, []string{"Name: Alice", "the seal is good"}, []string{sent, refused}},
		{"valid", session, []string{
			`Verdict: <strong class="good">valid</strong>`, "Your cookie, character by character",
			"Who can read it", "Signed only", "Signed and encrypted", "Read it, step by step", "Try to read it",
			"That is the key that the server seals with now.",
			"(in 14 days)", "(in 90 days)", "Ends if unused", "Ends in any case",
			"An old copy works", "A stolen copy works", "take back a single session", "The length shows",
		}, []string{sent, refused, "sample", "Ended"}},
		{"valid", set, []string{"has this name in it already"}, []string{sent}},
		{"valid", clear, []string{
			sent, "told your browser to delete the cookie", "A copy that somebody made before still works",
			"Max-Age=0</code>: forget the cookie now",
		}, []string{refused, "No <code>Max-Age</code>"}},

		{"renewed", "GET /", []string{sent, "A quarter of the idle time has passed"}, nil},
		{"renewed", session, []string{sent, "the same session in a fresh cookie", "whose idle time counts from now"}, nil},
		{"re-sealed", session, []string{
			sent, "your cookie was sealed again just now with that",
			"so it was sealed again just now.",
		}, []string{"sample", refused, "still accepts the other"}},
		{"re-sealed", get, []string{sent}, []string{refused}},

		{"expired", "GET /", []string{"was refused: expired", "a cookie that the server refused"}, []string{sent}},
		{"expired", get, []string{"was refused: expired", "not used for too long"}, []string{sent}},
		{"expired", session, []string{
			`Verdict: <strong class="bad">expired</strong>`, "Nothing was deleted", "Ended unused", "(24 hours ago)",
			`<dd dir="auto">Alice</dd>`,
		}, []string{sent, "(in ", "Ends ", "✗ failed", refused}},
		{"expired", clear, []string{sent, "It had refused that cookie: expired."}, []string{"A copy"}},
		{"too old", session, []string{"Ended in any case", "(24 hours ago)"}, []string{"(in ", "Ends ", "✗ failed"}},
		{"from the future", session, []string{"still to come"}, []string{"Ends", "Ended", `class="line"`, "✗ failed"}},
		{"tampered", session, []string{
			`Verdict: <strong class="bad">tampered</strong>`, "MAC</strong> <strong class=\"bad\">✗ failed",
			"By its own word, which nothing proves",
		}, []string{sent, "What is in it", "Who can read it", refused}},
		{"tampered", set, []string{sent}, []string{refused}},
		{"unknown key", session, []string{
			"Key id</strong> <strong class=\"bad\">✗ failed", "This server does not have that key. It seals with",
		}, []string{sent, "What is in it"}},
		{"malformed", session, []string{"Payload</strong> <strong class=\"bad\">✗ failed"}, []string{sent}},
		{"another program", session, []string{
			"it does not have the form of a cookie of this site. So nothing",
		}, []string{sent, "another-program"}},
		{"too large", session, []string{"it is too large. So nothing"}, []string{sent}},
		{"full", session, []string{"more characters", " of the 4096 bytes"}, []string{sent}},
	}
	bothModes(t, func(t *testing.T, o options) {
		o.keys, o.log = []string{keyA, keyB}, io.Discard
		synctest.Test(t, func(t *testing.T) {
			for _, o.secure = range []bool{false, true} {
				a := newTestApp(t, o)
				states := lessonStates(t, a.sessions)
				for _, tt := range tests {
					method, target, _ := strings.Cut(tt.page, " ")
					_, page := do(t, a, exchange{
						method: method, target: target, cookie: states[tt.state], body: "name=Alice",
						header: map[string]string{"Accept": browser},
					})
					page, _, _ = strings.Cut(page, "<footer>")
					_, page, _ = strings.Cut(page, "<main")
					for _, want := range tt.want {
						if !strings.Contains(page, want) {
							t.Errorf("%s, %s: got no %q in %s", tt.state, tt.page, want, page)
						}
					}
					for _, not := range tt.not {
						if strings.Contains(page, not) {
							t.Errorf("%s, %s: got %q in %s", tt.state, tt.page, not, page)
						}
					}
				}
			}
		})
	})
}

var (
	rung1 = regexp.MustCompile(`<li class="(\w+)"><span class="check">([^<]*)</span> <span class="outcome">([^<]*)</span>`)
	row1  = regexp.MustCompile("(?m)^\\| (\\d+) \\| (.*) \\| `(.*)` \\|$")
)

// The page on a session names the key that the server seals with now.
func TestSealingKeyIsNamed(t *testing.T) {
	a := newTestApp(t, options{keys: []string{keyA, keyB}, log: io.Discard})
	now := "<code>" + a.sessions.ring.Load().seal.id + "</code> now"
	older := seal(t, newTestManager(t, options{keys: []string{keyB}}), alice(0, 0))
	unknown := seal(t, newTestManager(t, options{keys: []string{keyC}}), alice(0, 0))
	for _, tt := range []struct{ value, purpose, want string }{
		{value: unknown, want: "It seals with " + now + "."},
		{value: older, want: "The server seals with " + now + ", so your cookie was sealed again"},
		{value: older, purpose: "prefetch", want: "The server seals with " + now + ", and still accepts"},
	} {
		_, page := do(t, a, exchange{
			method: "GET", target: "/session", cookie: tt.value,
			header: map[string]string{"Accept": browser, "Sec-Purpose": tt.purpose},
		})
		if !strings.Contains(page, tt.want) {
			t.Errorf("got no %q in %s", tt.want, page)
		}
	}
}

// Each check is passed, failed or not reached, and only one has failed.
func TestLadder(t *testing.T) {
	failsAt := map[string]int{
		"none": 0, "valid": 0, "renewed": 0, "re-sealed": 0, "full": 0, "too large": 2,
		"another program": 3, "unknown key": 4, "tampered": 5, "malformed": 6,
		"from the future": 7, "too old": 8, "expired": 9,
	}
	a := newTestApp(t, options{keys: []string{keyA, keyB}, log: io.Discard})
	for state, cookie := range lessonStates(t, a.sessions) {
		at, ok := failsAt[state]
		rungs := rung1.FindAllStringSubmatch(sessionPage(t, a, cookie), -1)
		if len(rungs) != 10 || !ok {
			t.Fatalf("%s: got %d checks, want ten", state, len(rungs))
		}
		verdict := string(openValue(a.sessions, cookie).verdict)
		for i, r := range rungs {
			state1, outcome := "passed", "✓ passed"
			if at > 0 && i+1 == at {
				state1, outcome = "failed", "✗ "+verdict
			} else if at > 0 && i+1 > at {
				state1, outcome = "unreached", "not reached"
			}
			if r[1] != state1 || r[3] != outcome {
				t.Errorf("%s: got check %d %s, %q, want %s, %q", state, i+1, r[1], r[3], state1, outcome)
			}
		}
	}
}

// The README's table has the checks in the same words, but for the full stops
// and capitals of the page's sentences.
func TestLadderIsTheReadmes(t *testing.T) {
	readme := strings.ToLower(readFile(t, "README.md"))
	aside := regexp.MustCompile(" \\(`.*`\\)$") // the flag behind a limit
	words := func(check string) string {
		return aside.ReplaceAllString(strings.TrimSuffix(strings.ToLower(check), "."), "")
	}
	var got, want []string
	for _, r := range row1.FindAllStringSubmatch(readme, -1) {
		got = append(got, fmt.Sprintf("%s %s: %s", r[1], words(r[2]), r[3]))
	}
	for i, r := range (report{}).Ladder() {
		want = append(want, fmt.Sprintf("%d %s: %s", i+1, words(r.Check), r.Verdict))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The payload is taken apart step by step: in base64, as bytes, in CBOR's
// notation, and in its fields.
func TestPayloadStepByStep(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		o.log = io.Discard
		atGolden(t, func(t *testing.T) {
			a := newTestApp(t, o)
			data := map[string]any{"Name": "Ålice", "Other": []int{1, 2}}
			content := must(encoding.Marshal([]any{golden - 3600, 3600, data}))
			page := sessionPage(t, a, sealBytes(t, a.sessions, content))
			notation := html.EscapeString(fmt.Sprintf(`[%d, 3600, {"Name": "Ålice", "Other": [1, 2]}]`, golden-3600))
			for want, n := range map[string]int{
				">" + base64.URLEncoding.EncodeToString(content) + "<": 1,
				">" + fmt.Sprintf("% x", content) + "<":                1,
				">" + notation + "<":                                   2, // by itself, and as the last step
				"16 random bytes and the encrypted session":            1,
				"<h3>Signed only</h3>":                                 1,
				"<h3>Signed and encrypted</h3>":                        1,
				`<dt>Other</dt><dd dir="auto">[1, 2]</dd>`:             1,
			} {
				if got := strings.Count(page, want); got != n {
					t.Errorf("got %d times %q, want %d, in %s", got, want, n, page)
				}
			}
			// Both are the same session, in another mode, and both are real.
			both := specimens(a.sessions, content)
			for i, s := range both {
				if s.Encrypted != (i == 1) || len(s.Parts) != 4 || s.Parts[0].Text[:idLen] ==
					both[1-i].Parts[0].Text[:idLen] || a.sessions.ring.Load().codecs[s.Parts[0].Text[:idLen]] == nil {
					t.Errorf("got the specimen %+v", s)
				}
			}
		})
	})
}

// The Set-Cookie line is shown as it is, but for the MAC, and each of its
// attributes is explained.
func TestSetCookieIsShown(t *testing.T) {
	for _, tt := range []struct {
		o         options
		not, name string
		also      []string
	}{
		{options{}, "__Host", "session", []string{"Max-Age=1209600</code>: your browser keeps it for that many seconds"}},
		{options{secure: true}, "No <code>Max-Age", "__Host-Http-session", []string{
			"<code>Secure</code>: it travels over HTTPS only",
			"<code>__Host-Http-</code> at the head of the name",
		}},
		{options{browserSession: true}, "Max-Age=", "session", []string{
			"No <code>Max-Age</code>: your browser forgets the cookie when it is closed",
		}},
	} {
		tt.o.log = io.Discard
		a := newTestApp(t, tt.o)
		res, page := do(t, a, exchange{
			method: "POST", target: "/set_name", body: "name=Alice",
			header: map[string]string{"Accept": browser},
		})
		_, page, _ = strings.Cut(page, "<h2>The header that was just sent</h2>")
		line := res.Header.Get("Set-Cookie")
		value := setCookie(t, a, res).Value
		mac := parts(value, valid)[3]
		line = "Set-Cookie: " + strings.Replace(line, value[mac.Start+4:], "…hidden", 1)
		if got := html.UnescapeString(tag.ReplaceAllString(page, "")); !strings.Contains(got, line) {
			t.Errorf("got %s, want %s in it", got, line)
		}
		want := append(tt.also, "Set-Cookie: "+tt.name+"=", "<code>HttpOnly</code>: no script in a page can read it",
			"<code>SameSite=Lax</code>: another site's form can't use it", "<code>Path=/</code>: every page of this site",
			"No <code>Domain</code>: the cookie is for this host alone")
		for _, want := range want {
			if !strings.Contains(page, want) {
				t.Errorf("%+v: got no %q in %s", tt.o, want, page)
			}
		}
		if strings.Contains(page, tt.not) {
			t.Errorf("%+v: got %q in %s", tt.o, tt.not, page)
		}
		for _, attribute := range strings.Split(line, "; ")[1:] {
			if strings.Count(page, "<code>"+attribute+"</code>: ") != 1 {
				t.Errorf("%s is not explained in %s", attribute, page)
			}
		}
	}
}

var (
	heading = regexp.MustCompile(`<h1>(.*)</h1>`)
	stops   = regexp.MustCompile(`<a href="(/\w[^"]*)"[^>]*>([^<]*)</a>`)
	links   = regexp.MustCompile(`<a class="button[^"]*" href="(/[^"]*)">([^<]*)</a>`)
	buttons = regexp.MustCompile(`<form method="post" action="(/\w+_name)">(?s:.*?)<button[^>]*>([^<]*)</button>`)
)

// Who presses a button finds its words again as the heading of the next page.
func TestHeadingsAndButtonsAgree(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	good := seal(t, a.sessions, alice(0, 0))
	pressed := 0
	for _, cookie := range []string{"", good, flipLast(good)} {
		for _, target := range []string{"/", "/set_name", "/get_name", "/session"} {
			page := getPage(t, a, target, cookie)
			nav, main, _ := strings.Cut(page, "<main")
			gets := append(stops.FindAllStringSubmatch(nav, -1), links.FindAllStringSubmatch(main, -1)...)
			for i, way := range append(gets, buttons.FindAllStringSubmatch(main, -1)...) {
				x := exchange{method: "GET", target: way[1], cookie: cookie, body: "name=Alice"}
				if i >= len(gets) {
					x.method = "POST"
				}
				x.header = map[string]string{"Accept": browser}
				_, next := do(t, a, x)
				if got := heading.FindStringSubmatch(next)[1]; got != way[2] {
					t.Errorf("%s on %s: got the heading %q", way[2], target, got)
				}
				pressed++
			}
		}
	}
	if pressed < 40 {
		t.Errorf("found only %d ways", pressed)
	}
}

// What a first visit takes, with the stylesheet and the icon, is 24 KB at most.
func TestPagesAreSmall(t *testing.T) {
	largest := 0
	answers(t, func(t *testing.T, a *app, x exchange, state, body string, res *http.Response) {
		if state != "the log" {
			largest = max(largest, len(body))
		}
	})
	for _, name := range []string{"style.css", "icon.svg"} {
		largest += len(must(templates.ReadFile("templates/" + name)))
	}
	if largest > 24<<10 || largest < 12<<10 {
		t.Errorf("got %d bytes, want 24 KB at most", largest)
	}
}

// Search engines and Lighthouse want a description of each page, and a robots.txt.
func TestDescribedToRobots(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	res, text := do(t, a, exchange{method: "GET", target: "/robots.txt"})
	if res.StatusCode != 200 || text != "User-agent: *\nDisallow:\n" ||
		res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got status %d, header %v and %q", res.StatusCode, res.Header, text)
	}
	for _, target := range []string{"/", "/set_name", "/get_name", "/session", "/nowhere"} {
		if page := getPage(t, a, target, ""); strings.Count(page, `<meta name="description" content="See how`) != 1 {
			t.Errorf("%s: got no description in %s", target, page)
		}
	}
}

// BenchmarkPages renders the pages, each of which is to take less than a millisecond.
func BenchmarkPages(b *testing.B) {
	a := newTestApp(b, options{log: io.Discard})
	good := seal(b, a.sessions, alice(600, 60))
	for _, target := range []string{"/", "/set_name", "/get_name", "/session"} {
		for name, cookie := range map[string]string{"none": "", "valid": good} {
			b.Run(strings.TrimPrefix(target, "/")+"/"+name, func(b *testing.B) {
				for b.Loop() {
					do(b, a, exchange{
						method: "GET", target: target, cookie: cookie,
						header: map[string]string{"Accept": browser},
					})
				}
			})
		}
	}
}
