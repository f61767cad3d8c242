package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var forgeParts = []string{"id", "stamp", "payload", "mac", "key"}

// What the tests of the lesson look at includes the forged reports.
func init() {
	for _, part := range forgeParts {
		x := exchange{method: "POST", target: "/forge", body: "part=" + part}
		lessonVisits = append(lessonVisits, x)
	}
}

// forged asks for a report on a forged cookie.
func forged(t testing.TB, a *app, cookie, form, accept string) (*http.Response, string) {
	t.Helper()
	return do(t, a, exchange{
		method: "POST", target: "/forge", body: form, cookie: cookie, header: map[string]string{"Accept": accept},
	})
}

// differences returns where two values differ.
func differences(a, b string) (at []int) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			at = append(at, i)
		}
	}
	return at
}

// Each part of the cookie in turn is changed, and found out; nothing is set.
func TestForge(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		for _, o.secure = range []bool{false, true} {
			a := newTestApp(t, o)
			for _, part := range forgeParts {
				want := tampered
				if part == "id" {
					want = unknownKey
				}
				good := seal(t, a.sessions, alice(600, 60))
				res, text := forged(t, a, good, "part="+part, "*/*")
				if res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
					t.Errorf("%s: got status %d and Set-Cookie %q", part, res.StatusCode, res.Header["Set-Cookie"])
				}
				for _, line := range []string{
					"\nverdict       " + string(want) + "\n", "\nyour own      valid\n", " part   ", ", failed\n",
				} {
					if !strings.Contains(text, line) {
						t.Errorf("%s: got no %q in %s", part, line, text)
					}
				}
				_, page := forged(t, a, good, "part="+part, browser)
				says := `Verdict on the forged copy: <strong class="bad">` + string(want) + `</strong>`
				for _, want := range []string{
					says, "<strong>Your own cookie is still valid.</strong> Nothing was set, deleted or stored.",
					"✗ " + string(want), `value="mac">Change the MAC</button>`,
				} {
					if !strings.Contains(page, want) {
						t.Errorf("%s: got no %q in %s", part, want, page)
					}
				}
				if why := "It was changed after it was sealed"; part == "key" {
					if !strings.Contains(page, "of the wrong key") || strings.Contains(page, why) {
						t.Errorf("key: got another reason in %s", page)
					}
				}
				for _, not := range []string{"sample", "What is in it", "The header that was just sent"} {
					if strings.Contains(page, not) {
						t.Errorf("%s: got %q in %s", part, not, page)
					}
				}
			}
		}
	})
}

// The report is on what it says: a copy with this one character changed, or
// with the same session under another key, judged as any cookie is.
func TestForgedReportIsTrue(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		a := newTestApp(t, o)
		v := openValue(a.sessions, seal(t, a.sessions, alice(600, 60)))
		for i, part := range forgeParts[:4] {
			f := forgery{Part: part}
			value := f.change(a.sessions, v)
			p := parts(v.value, valid)[i]
			at := differences(v.value, value)
			if len(at) != 1 || at[0] != f.Position-1 || at[0] < p.Start || at[0] >= p.Start+p.Chars ||
				v.value[at[0]:at[0]+1] != f.From || value[at[0]:at[0]+1] != f.To {
				t.Errorf("%s: got a change at %v, told of as %+v", part, at, f)
			}
			want := describe(a.sessions, openValue(a.sessions, value))
			r := httpPost("part=" + part)
			ans, err := a.forge(r, openValue(a.sessions, v.value))
			if err != nil {
				t.Fatal(err)
			}
			got := ans.Data.(forgery).Report
			for i := range got.Parts { // but for the mark
				got.Parts[i].Text += got.Parts[i].Mark + got.Parts[i].After
				got.Parts[i].Mark, got.Parts[i].After = "", ""
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got  %+v\nwant %+v", part, got, want)
			}
			if !strings.Contains(ans.Text, reportText("session", want)) {
				t.Errorf("%s: got %s, want %s in it", part, ans.Text, reportText("session", want))
			}
		}
		f := forgery{Part: "key"}
		value, again := f.sealAnew(a.sessions, v), f.sealAnew(a.sessions, v)
		made := openValue(a.sessions, value)
		if made.keyID != v.keyID || made.verdict != tampered || made.codec != v.codec ||
			len(value) != len(v.value) || value == again {
			t.Errorf("got a cookie of %s, %s, want one under %s, tampered", made.keyID, made.verdict, v.keyID)
		}
	})
}

// httpPost returns a request with a form.
func httpPost(form string) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "/forge", strings.NewReader(form))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// Nothing is set, deleted or stored, whatever came: also no renewal, which is
// due, and no cookie under a new key.
func TestForgeLeavesTheCookieAlone(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		o.keys, o.log = []string{keyA, keyB}, io.Discard
		a := newTestApp(t, o)
		for state, cookie := range lessonStates(t, a.sessions) {
			before := openValue(a.sessions, cookie)
			for _, part := range forgeParts {
				res, page := forged(t, a, cookie, "part="+part, browser)
				if res.StatusCode != 200 || len(res.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s, %s: got status %d and Set-Cookie %q", state, part, res.StatusCode, res.Header["Set-Cookie"])
				}
				own := "Your own cookie is as it was: " + string(before.verdict) + "."
				sampled := before.passed < checkForm || part == "key" && !before.readable()
				switch before.verdict {
				case valid:
					own = "Your own cookie is still valid."
				}
				if state == "none" {
					own, sampled = "You still have no cookie.", true
				}
				if !strings.Contains(page, own) {
					t.Errorf("%s, %s: got no %q in %s", state, part, own, page)
				}
				if got := strings.Contains(page, "so a sample that this server made was forged"); got != sampled {
					t.Errorf("%s, %s: got the report on a sample: %v", state, part, got)
				}
			}
			if after := openValue(a.sessions, cookie); after.verdict != before.verdict {
				t.Errorf("%s: got %s afterwards", state, after.verdict)
			}
		}
		metrics := scrape(t, a)
		if strings.Contains(metrics, "cookies_written_total{") &&
			regexp.MustCompile(`cookies_written_total\{.*\} [1-9]`).MatchString(metrics) {
			t.Errorf("got a cookie counted as written in %s", metrics)
		}
	})
}

func TestForgeRefusesOtherForms(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	good := seal(t, a.sessions, alice(0, 0))
	for _, tt := range []struct {
		form   string
		status int
	}{
		{"", 422}, {"part=", 422}, {"part=ID", 422}, {"part=mac&part=id", 422}, {"part=mac&part=mac", 422}, {"part=i&part=d", 422},
		{"part=key%20id", 422}, {"name=id", 422}, {"part=%", 400}, {"part=mac;", 400},
		{"part=" + strings.Repeat("x", maxBody), 413},
	} {
		for _, accept := range []string{"*/*", browser} {
			res, body := forged(t, a, good, tt.form, accept)
			if res.StatusCode != tt.status || res.Header["Set-Cookie"] != nil || strings.Contains(body, "forged") {
				t.Errorf("%.20q: got status %d and %s, want %d", tt.form, res.StatusCode, body, tt.status)
			}
			if want := "Send the field part once: id, stamp, payload, mac or key."; tt.status == 422 &&
				!strings.Contains(body, want) {
				t.Errorf("%.20q: got %s, want %s", tt.form, body, want)
			}
		}
	}
	for method, want := range map[string]int{"GET": 405, "HEAD": 405, "PUT": 405} {
		res, _ := do(t, a, exchange{method: method, target: "/forge"})
		if res.StatusCode != want || res.Header.Get("Allow") != "POST" {
			t.Errorf("%s: got status %d, Allow %q", method, res.StatusCode, res.Header.Get("Allow"))
		}
	}
	// Another site can't have a visitor press the button.
	res, _ := do(t, a, exchange{
		method: "POST", target: "/forge", body: "part=mac", header: map[string]string{"Sec-Fetch-Site": "cross-site"},
	})
	if res.StatusCode != 403 {
		t.Errorf("got status %d across sites", res.StatusCode)
	}
	// A form in its other encoding, and the query, which is not read.
	kind, body := multipartForm(t, [3]string{"part", "stamp"})
	res, text := do(t, a, exchange{
		method: "POST", target: "/forge?part=mac", body: body, cookie: good, header: map[string]string{"Content-Type": kind},
	})
	if res.StatusCode != 200 || !strings.HasPrefix(text, "forged        character ") {
		t.Errorf("got status %d and %s", res.StatusCode, text)
	}
}

// What the buttons say that they forge is what they forge.
func TestForgeButtonsSayWhatIsForged(t *testing.T) {
	a := newTestApp(t, options{keys: []string{keyA, keyB}, log: io.Discard})
	for state, cookie := range lessonStates(t, a.sessions) {
		page := sessionPage(t, a, cookie)
		_, report := forged(t, a, cookie, "part=mac", browser)
		says := strings.Contains(page, "in a copy of a sample that goes nowhere")
		is := strings.Contains(report, "so a sample that this server made was forged")
		if own := strings.Contains(page, "in a copy of your cookie that goes nowhere"); says != is || own == says {
			t.Errorf("%s: got a sample announced: %v, forged: %v", state, says, is)
		}
	}
}

// The changed character is marked where it is, and nothing else has changed.
func TestForgedCharacterIsMarked(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	value := seal(t, a.sessions, alice(0, 0))
	shown := regexp.MustCompile(`(?s)<code class="cookie">(<span class=.*?)</code>`)
	for i, part := range forgeParts[:4] {
		_, page := forged(t, a, value, "part="+part, browser)
		text := shown.FindStringSubmatch(page)[1]
		before, rest, found := strings.Cut(text, "<mark>")
		letter, after, _ := strings.Cut(rest, "</mark>")
		at := len(html.UnescapeString(tag.ReplaceAllString(before, "")))
		p := parts(value, valid)[i]
		if !found || len(letter) != 1 || strings.Contains(after, "<mark>") || at < p.Start || at > p.Start+p.Chars {
			t.Errorf("%s: got the mark %q at %d in %s", part, letter, at, text)
		}
		says := fmt.Sprintf("Character %d of the copy was changed from <code>%c</code> to <code>%s</code>.",
			at+1, value[at], letter)
		if !strings.Contains(page, says) {
			t.Errorf("%s: got no %q in %s", part, says, page)
		}
	}
}

// A long payload is shown in part, and the change in the part that is shown.
func TestForgeALongCookie(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard, signed: true})
	value := seal(t, a.sessions, named(strings.Repeat("x", 1500), 0, 0))
	_, page := forged(t, a, value, "part=payload", browser)
	if !strings.Contains(page, "<mark>") || !regexp.MustCompile(`… and \d+ more characters`).MatchString(page) {
		t.Errorf("got %s", page)
	}
}

// The lesson on forging takes any cookie that looks bound, however short.
func TestForgeOfABoundCookie(t *testing.T) {
	a := newBindApp(t, options{signed: true, log: io.Discard}, 10*time.Minute)
	for n := range 120 {
		content := withDevice(bytes.Repeat([]byte{7}, n/2+1), newDevice())
		if n%2 > 0 {
			content = content[:len(content)-1]
		}
		cookie := boundCookie + "=" + sealBytes(t, a.sessions, content)
		for _, part := range forgeParts {
			for _, accept := range []string{"", "text/html"} {
				if res, text := forged(t, a, cookie, "part="+part, accept); res.StatusCode != 200 {
					t.Fatalf("%s of %d bytes: got status %d and %s", part, n, res.StatusCode, text)
				}
			}
		}
	}
}
