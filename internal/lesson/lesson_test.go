package lesson_test

import (
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// What the page says.
const (
	sent    = "The header that was just sent"
	inside  = "<h2>What is in it"
	failed  = "✗ failed"
	good    = `Verdict: <strong class="good">valid</strong>`
	deleted = "Nothing was deleted"
)

// refused is what it doesn't say of a cookie that was refused.
var refused = []string{sent, inside, "Who can read it", "Ada", "sample character", "(in ", "Ends "}

// inStates is what it has to say in each state, and what it must not say.
var inStates = map[string]struct {
	part      string // that has failed
	want, not []string
}{
	"none": {
		want: []string{
			"a <strong>sample</strong>", "The sample, character by character",
			"The sample was sealed with the key", `<dt>Owner</dt><dd dir="auto">Zoe</dd>`,
		},
		not: []string{sent, deleted, "Your cookie", "How long it lasts"},
	},
	"valid": {
		want: []string{
			good, "Your cookie, character by character", "Who can read it",
			"That is the key that the server seals with", `<dt>Owner</dt><dd dir="auto">Ada</dd>`,
			"(in 14 days)", "(in 90 days)", "(60 seconds ago)", "Ends if unused", `class="line"`,
		},
		not: []string{sent, deleted, "sample", "Ended", failed, "good cookies"},
	},
	"two": {
		want: []string{good, "Your browser sent 2 good cookies", ">Ada<"}, not: []string{"Ida"},
	},
	"renewed": {want: []string{good, sent, "a fresh cookie", "whose idle time counts from now"}},
	"re-sealed": {
		want: []string{good, sent, "sealed again just now", "so it was sealed again"},
		not:  []string{deleted, "still accepts the other"},
	},
	"expired": {want: []string{deleted, "Ended unused", `class="line"`}, not: refused},
	"too old": {want: []string{deleted, "Ended in any case", `class="line"`}, not: refused},
	"from the future": {
		want: []string{deleted, "Began"}, not: []string{inside, "End", `class="line"`, failed},
	},
	"tampered": {
		part: "mac", want: []string{deleted, "By its own word, which nothing"},
		not: append(refused, "How long it lasts"),
	},
	"unknown key":     {part: "id", want: []string{deleted, "not have that key"}, not: refused},
	"unfit":           {part: "payload", want: []string{deleted}, not: refused},
	"another program": {want: []string{deleted, "So nothing of it"}, not: refused},
	"too large":       {want: []string{deleted, "it is too large. So nothing"}, not: refused},
	"full":            {want: []string{good, "more characters", " of the 4096 bytes"}},
}

func TestEachState(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		for state, cookie := range s.states(t) {
			tt := inStates[state]
			page := s.page(cookie)
			if len(tt.want) == 0 {
				t.Errorf("%s: want nothing", state)
			}
			says(t, state, page, tt.want, tt.not)
			_, bar, _ := strings.Cut(page, `<svg class="bar"`)
			bar, _, _ = strings.Cut(bar, "</svg>")
			got := regexp.MustCompile(`\w+ failed"`).FindAllString(bar, -1)
			var want []string
			if tt.part != "" {
				want = []string{tt.part + ` failed"`}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: got the parts %q marked, want %q", state, got, tt.part)
			}
		}
		page := s.page(s.states(t)["valid"])
		if got := strings.Contains(page, "anybody who holds it can read it"); got != s.sign {
			t.Errorf("got the visitor told that anybody can read the session: %v", got)
		}
	})
}

// The page as text is the report, of the visitor's own cookie.
func TestText(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	for state, want := range map[string]string{
		"none": "verdict       none\n", "valid": "\nowner         Ada\n",
	} {
		r := s.request("GET", "/session", s.states(t)[state], "")
		r.Header.Del("Accept")
		_, text := s.do(r)
		says(t, state, text, []string{want}, []string{"Zoe"})
	}
}

// The commands to try it by hand have the site's address, and nothing else from a request.
func TestBase(t *testing.T) {
	for want, insecure := range map[string]bool{
		"http://localhost:8080": true, "http://[::1]:80": true, "https://app.test": false,
	} {
		s := newSite(t, sessions.Options[cart]{Insecure: insecure})
		r := s.request("GET", "/session", "", "")
		_, r.Host, _ = strings.Cut(want, "://")
		_, page := s.do(r)
		says(t, want, page, []string{want + "/set_name"}, nil)
		r.Host = "a$(id)"
		_, page = s.do(r)
		says(t, r.Host, page, []string{"://localhost/set_name"}, []string{"a$(id)"})
	}
}

var rungs = regexp.MustCompile(
	`<li class="(\w)\w*"><span class="check">([^<]*)</span> <span class="outcome">([^<]*)</span>`)

// The ladder has the library's checks without what the site doesn't do. Each is passed,
// failed or not reached, and one has failed at most.
func TestLadder(t *testing.T) {
	accept := func(*http.Request, *sessions.Session[cart]) bool { return false }
	plain := sessions.Options[cart]{Insecure: true}
	binds := sessions.Options[cart]{Bind: time.Minute}
	accepts, both := plain, binds
	accepts.Accept, both.Accept = accept, accept
	for _, tt := range []struct {
		o           sessions.Options[cart]
		state, want string // how it went, by first letters
	}{
		{plain, "none", "ppppppppp"}, {plain, "valid", "ppppppppp"},
		{plain, "too large", "pfuuuuuuu"}, {plain, "tampered", "ppppfuuuu"},
		{plain, "expired", "ppppppppf"}, {binds, "valid", "pppppppppp"},
		{accepts, "valid", "pppppppppf"}, {both, "valid", "ppppppppppf"},
		{both, "bound", "pppppppppfu"},
	} {
		s := newSite(t, tt.o)
		cookie := s.states(t)[tt.state]
		if tt.state == "bound" {
			cookie = s.seal(t, 0, append(session("Ada", 0, 0), device))
		}
		outcomes := map[string]string{
			"p": "✓ passed", "f": "✗ " + string(s.judge(cookie).Verdict), "u": "not reached",
		}
		var got string
		last := -1
		for _, r := range rungs.FindAllStringSubmatch(s.page(cookie), -1) {
			got += r[1]
			before := last
			last = slices.IndexFunc(sessions.Checks(), func(c sessions.Check) bool {
				return c.Text == html.UnescapeString(r[2])
			})
			if last <= before || r[3] != outcomes[r[1]] {
				t.Errorf("%s: got the check %q, %s", tt.state, r[2], r[3])
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.state, got, tt.want)
		}
	}
}

// The page names the key that the server seals with now.
func TestSealingKeyIsNamed(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		id, signed := s.keys[0].IDs()
		if s.sign {
			id = signed
		}
		now := "<code>" + id + "</code> now"
		page, older := s.page(s.states(t)["unknown key"]), s.states(t)["re-sealed"]
		says(t, "unknown", page, []string{"It seals with " + now + "."}, nil)
		says(t, "older", s.page(older), []string{"The server seals with " + now + ", so your"}, nil)
		r := s.request("GET", "/session", older, "")
		r.Header.Set("Sec-Purpose", "prefetch")
		_, page = s.do(r)
		says(t, "prefetch", page, []string{"The server seals with " + now + ", and still"}, nil)
	})
}

// The payload is taken apart step by step: in base64, as bytes, in CBOR's notation, and
// in its fields. One that fits in one mode only is shown in that.
func TestSpecimens(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		now := time.Now().Unix()
		data := map[string]any{"Owner": "Åda", "Items": []string{"tea", "<b>"}}
		page := s.page(s.seal(t, 0, []any{now - 3600, 3600, data}))
		mode, _ := cbor.CoreDetEncOptions().EncMode()
		content, err := mode.Marshal([]any{now, 0, data})
		if err != nil {
			t.Fatal(err)
		}
		encrypted, signed := s.keys[0].IDs()
		says(t, "specimens", page, []string{
			">" + base64.URLEncoding.EncodeToString(content) + "<",
			">" + fmt.Sprintf("% x", content) + "<",
			">" + html.EscapeString(report.Notation(content)) + "<",
			">[" + fmt.Sprint(now-3600) + ", 3600, {",
			"16 random bytes and the encrypted session",
			">" + encrypted + ".<", ">" + signed + ".<",
			"<h3>Signed only</h3>", "<h3>Signed and encrypted</h3>",
			"<dt>Owner</dt><dd dir=\"auto\">Åda</dd>",
			`<dd dir="auto">[&#34;tea&#34;, &#34;&lt;b&gt;&#34;]</dd>`,
		}, nil)
		if got := strings.Count(page, "As CBOR, they say"); got != 1 {
			t.Errorf("got %d payloads read, want that of the signed one alone", got)
		}
	})
	s := newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: true})
	page := s.page(s.seal(t, 0, session(strings.Repeat("x", 2230), 0, 0)))
	says(t, "full", page, []string{"found it good", "Signed only"}, []string{"<h3>Signed and"})
}

// The Set-Cookie line is shown as it is, but for the MAC, and its attributes are explained.
func TestSetCookieIsShown(t *testing.T) {
	always := []string{
		"<code>HttpOnly</code>: no script in a page can read it", "<code>Path=/</code>: every page",
		"<code>SameSite=Lax</code>: another site's form can't use it",
	}
	for name, tt := range map[string]struct {
		o         sessions.Options[cart]
		want, not []string
	}{
		"http": {
			o:    sessions.Options[cart]{Insecure: true},
			want: []string{"Max-Age=7776000</code>: your browser", "No <code>Domain</code>"},
			not:  []string{"__Host", "Secure"},
		},
		"https": {
			want: []string{
				"<code>__Host-Http-</code> at the head of the name",
				"<code>Secure</code>: it travels over HTTPS",
			},
			not: []string{"No <code>Max-Age"},
		},
		"browser session": {
			o:    sessions.Options[cart]{Limits: sessions.Limits{BrowserSession: true}},
			want: []string{"No <code>Max-Age</code>: your browser forgets the cookie when it is"},
			not:  []string{"Max-Age="},
		},
		"domain": {
			o:    sessions.Options[cart]{Domain: "app.test"},
			want: []string{"Set-Cookie: __Http-session=", "; Domain=app.test"},
			not:  []string{"No <code>Domain", "__Host"},
		},
	} {
		s := newSite(t, tt.o)
		res, page := s.do(s.request("POST", "/change?owner=Eve", "", ""))
		_, page, _ = strings.Cut(page, "<h2>The header that was just sent</h2>")
		says(t, name, page, append(always, tt.want...), tt.not)
		line, value := res.Header.Get("Set-Cookie"), res.Cookies()[0].Value
		mac := report.Parts[cart](value, sessions.Valid)[3]
		line = "Set-Cookie: " + strings.Replace(line, value[mac.Start+4:], "…hidden", 1)
		says(t, name, html.UnescapeString(tag.ReplaceAllString(page, "")), []string{line}, nil)
		says(t, name, s.page(value), []string{"find the cookie <code>" + s.cookie + "</code>"}, nil)
	}
}

// A cookie that is deleted is shown too.
func TestDeletedCookieIsShown(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	_, page := s.do(s.request("POST", "/change", s.states(t)["valid"], ""))
	says(t, "cleared", page, []string{"Max-Age=0</code>: forget the cookie now"}, nil)
	_, page = s.do(s.request("POST", "/change", "x", ""))
	says(t, "nothing", page, nil, []string{"just sent"})
}

// Times are shown as they are and roughly, and where they are on a line.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, sessions.Options[cart]{Insecure: true})
		page := s.page(s.seal(t, 0, session("Ada", 86400*4, 86400*2)))
		moment := func(iso, text, rough string) string {
			return fmt.Sprintf(`<time datetime="%s">%s, 00:00:00 UTC</time>`+
				` <span class="soft">(%s)</span>`, iso, text, rough)
		}
		says(t, "times", page, []string{
			moment("1999-12-28T00:00:00Z", "28 December 1999", "4 days ago"),
			moment("2000-01-13T00:00:00Z", "13 January 2000", "in 12 days"),
			`<strong>Now</strong> <span><time datetime="2000-01-01T00:00:00Z">1 January 2000`,
			`<rect class="left" x="4%" y="28" width="13%" height="4"/>`,
		}, nil)
	})
}
