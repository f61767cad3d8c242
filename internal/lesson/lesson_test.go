package lesson_test

import (
	"encoding/base64"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"cookiesession/internal/report"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// What the page says.
const (
	sent    = "just now: <a"
	inside  = "<dt>Owner"
	failed  = "✗ failed"
	good    = `<strong class="verdict good">✓ valid</strong>`
	deleted = "Nothing was deleted"
	ended   = "To begin a new session"
	clears  = `action="/clear_name"`
)

// refused is what it doesn't say of a cookie that was refused.
var refused = []string{
	sent, inside, "Signed only, and encrypted", "Ada", "Zoe", "(in ", "Ends ", "✓ valid",
	clears,
}

// inStates is what it has to say in each state, and what it must not say.
var inStates = map[string]struct {
	part      string // that has failed
	want, not []string
}{
	"none": {
		want: []string{
			"a <strong>sample</strong>", "The sample passed all 9 checks", "For the sample:",
			"The sample was sealed with the key", `<dt>Owner</dt><dd><bdi>Zoe</bdi></dd>`,
			"It sent no cookie of this site", "When you set a name, it sends one like this:",
		},
		not: []string{sent, deleted, "How long it lasts", "class=\"verdict", clears},
	},
	"valid": {
		want: []string{
			good, "Your cookie passed all 9 checks", "Signed only, and encrypted",
			"It is the key the server uses now", `<dt>Owner</dt><dd><bdi>Ada</bdi></dd>`,
			"(in 14 days)", "(in 90 days)", "(60 seconds ago)", "Ends if unused", `<svg class="line"`,
			"If your data did, it would send one like this:", clears,
		},
		not: []string{sent, deleted, "sample", "Ended", failed, "cookies called"},
	},
	"two": {
		want: []string{
			good, "Your browser sent 2 cookies", "This is the one written last", ">Ada<",
			"sent, in short, with one of its 2 cookies of this name:",
		},
		not: []string{"Ida"},
	},
	"last of six": {
		want: []string{"✗ malformed", "sent 6 cookies", "Of the first four, this is the one that"},
		not:  []string{good, "This is"},
	},
	"one of two": {want: []string{good, "Your browser sent 2 cookies", "This is the good one."}},
	"renewed": {want: []string{
		good, `Renewed just now: <a href="#sent">`, "a fresh cookie", "counts from now",
	}},
	"re-sealed": {
		want: []string{good, "Sealed again just now", "so it was sealed again"},
		not:  []string{deleted, "still accepts the other"},
	},
	"expired": {
		want: []string{
			`<strong class="verdict">expired</strong> The session has ended: ` +
				"nobody used it for more than 14 days.",
			ended, "Ended unused", `<svg class="line"`,
		},
		not: append([]string{"warn", deleted}, refused...),
	},
	"too old": {
		want: []string{`"verdict">too old`, ended, "Ended in any case", `<svg class="line"`},
		not:  append([]string{"warn", deleted}, refused...),
	},
	"from the future": {
		want: []string{deleted, "Began", "left that cookie alone, and sent none"},
		not:  []string{"When you set a name", inside, "End", `<svg class="line"`, failed},
	},
	"tampered": {
		part: "mac",
		want: []string{deleted, "Nothing proves that", `<strong class="verdict bad">✗ tampered`},
		not:  append([]string{"How long it lasts"}, refused...),
	},
	"unknown key": {
		part: "id",
		want: []string{
			deleted, "not have that key", "This server makes a new key each time",
			"This page shows nothing of it.",
		},
		not: refused,
	},
	"unfit":           {part: "payload", want: []string{deleted}, not: refused},
	"another program": {want: []string{deleted, "So nothing of it"}, not: refused},
	"too large":       {want: []string{deleted, "it is too large. So nothing"}, not: refused},
	"full":            {want: []string{good, "more characters", " of 4,096 bytes, the most"}},
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
		if got := strings.Contains(page, "<p>Anyone who holds it: it is signed"); got != s.sign {
			t.Errorf("got the visitor told that anybody can read the session: %v", got)
		}
		for state, opens := range map[string]bool{"expired": true, "unknown key": false} {
			page := s.page(s.states(t)[state])
			if got := strings.Contains(page, "<p>Not this server"); got != (!opens && !s.sign) {
				t.Errorf("%s: got it answered that the server can't open it: %v", state, got)
			}
			server, not := strings.Contains(page, "<strong>Only the server can open it"),
				strings.Contains(page, "<strong>This server can't open it,</strong>")
			if server != (opens && !s.sign) || not != (!opens && !s.sign) {
				t.Errorf("%s: got it told that the server can open it: %v, %v", state, server, not)
			}
		}
	})
}

// The page as text is the report, of the visitor's own cookie. It has the four answers as
// well, and commands to try them.
func TestText(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		reader := "only the server can open it - and it opens it for whoever sends it"
		if s.sign {
			reader = "anyone who holds it: it is signed, not encrypted"
		}
		for state, want := range map[string]string{
			"none": "verdict       none\n", "valid": "\nowner         Ada\n",
			"another program": "verdict       malformed\n",
		} {
			r := s.request("GET", "/session", s.states(t)[state], "")
			r.Header.Del("Accept")
			_, text := s.do(r)
			says(t, state, text, []string{
				want, "\nin it         a key id", "\nwho reads it  ",
				"\nforging it    takes the server's key. It computes HMAC-SHA256(", "\nlimits        ",
				"\ntry forging   curl ", "-d part=name http://example.com/forge\n",
				"\ntry a replay  curl http://example.com/replay\n",
				"curl -b old http://example.com/get_name",
				"\njudge a jar   curl --data-urlencode cookie@jar http://example.com/paste\n",
			}, []string{"Zoe", "-c jar"})
			if got := strings.Contains(text, "\nsee a sample  curl "); got != (state == "none") {
				t.Errorf("%s: got it told how to see a sample: %v", state, got)
			}
			opens := s.sign || state != "another program"
			if got := strings.Contains(text, "\nwho reads it  "+reader+"\n"); got != opens {
				t.Errorf("%s: got it told that the server can open it: %v", state, got)
			}
		}
	})
}

var (
	folded = regexp.MustCompile(`(?s)<details>.*?</details>|<svg.*?</svg>`)
	answer = regexp.MustCompile(`<a href="#(\w+)"><strong>[^<]*</strong></a> <p>(.*?)</p>`)
)

// The page can be read in two minutes, in each state: it has four answers of twelve words
// at most, each with a link to its section, and outside of what is folded 450 words with
// the menu and the footer, which have 34.
func TestLength(t *testing.T) {
	length := func(t *testing.T, state, page string) {
		page = folded.ReplaceAllString(page, "")
		if n := len(strings.Fields(tag.ReplaceAllString(page, " "))); n > 410 {
			t.Errorf("%s: got %d words, want 410 at most", state, n)
		}
		var sections []string
		for _, m := range answer.FindAllStringSubmatch(page, -1) {
			sections = append(sections, m[1])
			if n := len(strings.Fields(m[2])); n > 12 {
				t.Errorf("%s: got %d words in %q, want 12 at most", state, n, m[2])
			}
			says(t, state, page, []string{`<section id="` + m[1] + `">`}, nil)
		}
		if !slices.Equal(sections, []string{"in", "read", "forge", "limits"}) {
			t.Errorf("%s: got answers that lead to %q", state, sections)
		}
	}
	bothModes(t, func(t *testing.T, s *site) {
		for state, cookie := range s.states(t) {
			if state == "full" { // which has a long name
				continue
			}
			length(t, state, s.page(cookie))
		}
	})
	for state, bind := range map[string]time.Duration{"bound": 0, "unproven": time.Minute} {
		s := newSite(t, sessions.Options[cart]{Bind: bind})
		length(t, state, s.page(s.seal(t, 0, append(session("Ada", 600, 60), device))))
		length(t, "not "+state, s.page(s.states(t)["renewed"]))
	}
}

// Each section names the function that does what it tells of, and the file.
func TestFunctionsAreThere(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Bind: time.Minute})
	named := regexp.MustCompile(`<code class="source">([\w/]+\.go), (\w+)</code>`)
	for _, section := range strings.Split(s.page(s.states(t)["valid"]), "<section id=")[1:] {
		all := named.FindAllStringSubmatch(section, -1)
		if len(all) == 0 {
			t.Errorf("got no function in %s", section)
		}
		for _, m := range all {
			file := filepath.Join("..", "..", filepath.FromSlash(m[1]))
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
				fn, ok := d.(*ast.FuncDecl)
				return ok && fn.Name.Name == m[2]
			}) {
				t.Errorf("there is no function %s in %s", m[2], m[1])
			}
		}
	}
}

// Of the cookies that the browser sent, and of the server's answer, the page shows what
// belongs to the session: without a change, what it would send.
func TestRequestAndAnswerAreShown(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		r := s.request("GET", "/session?utm=1", s.states(t)["valid"], "")
		r.Header.Add("Cookie", "other=zzz")
		_, page := s.do(r)
		page = html.UnescapeString(tag.ReplaceAllString(page, ""))
		says(t, "valid", page, []string{
			"sent, in short:\nGET /session?utm=1\nCookie: session=" + s.states(t)["valid"][:9],
			"Set-Cookie: session=", "; Path=/; Max-Age=7775400; HttpOnly; SameSite=Lax\n",
		}, []string{"zzz"})
	})
}

// Cookies that others set in the same answer have no part in it, whatever they look like.
func TestOthersCookiesAreNotShown(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{})
	all, inner := s.states(t), s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"bad name=x", "lang=zzz; Domain=app.test"}
		inner.ServeHTTP(w, r)
		w.Header().Add("Set-Cookie", "flash=zzz")
	})
	not := []string{"zzz", "bad name", "Domain=app.test", "and the ticket with it"}
	says(t, "valid", s.page(all["valid"]), []string{"since nothing has changed"}, not)
	const fresh = "Set-Cookie: __Host-Http-session="
	says(t, "renewed", s.page(all["renewed"]), []string{"a fresh cookie", fresh}, not)
	_, page := s.do(s.request("POST", "/change?owner=Eve", all["valid"], ""))
	says(t, "changed", page, []string{fresh}, not)
	for domain, deleted := range map[string]string{
		"": "__Host-session-ticket=", "app.test": "__Secure-session-ticket=",
	} {
		s := newSite(t, sessions.Options[cart]{Domain: domain})
		bound := s.seal(t, 0, append(session("Ada", 60, 60), device))
		_, page = s.do(s.request("POST", "/change", bound, ""))
		says(t, "cleared", page, []string{"and the ticket with it", "Set-Cookie: " + deleted}, nil)
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
	`<li class="(\w)\w*"><span class="check">([^<]*)</span> ` +
		`<span class="outcome">(.*?)</span></li>`)

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
			"p": "✓ <span>passed</span>", "f": "✗ " + string(s.judge(cookie).Verdict),
			"u": "<span>not reached</span>",
		}
		page := s.page(cookie)
		says(t, tt.state, page, []string{
			"<h3>Is it ours?</h3>", "<h3>Is the seal good?</h3>", "<h3>Is it in time?</h3>",
		}, nil)
		if got := strings.Contains(page, "<h3>May it be used here?"); got != (tt.o.Bind > 0) {
			t.Errorf("%s: got a group of its own for binding: %v", tt.state, got)
		}
		var got string
		last := -1
		for _, r := range rungs.FindAllStringSubmatch(page, -1) {
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
			"16 random bytes and the encrypted session", "so their times are new",
			">" + encrypted + ".<", ">" + signed + ".<",
			"<h3>Signed only</h3>", "<h3>Signed and encrypted</h3>",
			"<dt>Owner</dt><dd><bdi>Åda</bdi></dd>",
			`<dd><bdi>[&#34;tea&#34;, &#34;&lt;b&gt;&#34;]</bdi></dd>`,
		}, nil)
		if got := strings.Count(page, ", a compact relative of JSON, they are:"); got != 1 {
			t.Errorf("got %d payloads read, want that of the signed one alone", got)
		}
	})
	s := newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: true})
	const sample = `{&#34;Items&#34;: [&#34;tea&#34;], &#34;Owner&#34;: &#34;Zoe&#34;}]`
	if got := strings.Count(s.page(""), sample); got != 2 {
		t.Errorf("got the sample's payload %d times, want it in a specimen, too", got)
	}
	page := s.page(s.seal(t, 0, session(strings.Repeat("x", 2230), 0, 0)))
	says(t, "full", page, []string{"it is intact", "Signed only"}, []string{"<h3>Signed and"})
}

// The Set-Cookie line is shown as it is, but for the MAC, and its attributes are explained.
func TestSetCookieIsShown(t *testing.T) {
	always := []string{
		"<code>HttpOnly</code>: scripts can't read it", "<code>Path=/</code>: every page",
		"<code>SameSite=Lax</code>: browsers don't send it with a form that posts from another",
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
			want: []string{"Set-Cookie: __Http-session=", ">Domain=app.test<"},
			not:  []string{"No <code>Domain", "__Host"},
		},
	} {
		s := newSite(t, tt.o)
		res, page := s.do(s.request("POST", "/change?owner=Eve", "", ""))
		_, page, _ = strings.Cut(page, "<h2>The Set-Cookie of this page</h2>")
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
	says(t, "nothing", page, nil, []string{"The Set-Cookie of"})
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
			`<rect class="left" x="18%" y="28" width="57%" height="4"/>`,
		}, nil)
	})
}

// The lesson's stylesheet is on each page of a site. It styles what has a class, and so
// nothing of the site's own.
func TestStyleIsTheLessonsAlone(t *testing.T) {
	css := testkit.ReadFile(t, "../../templates/lesson/lesson.css")
	parens := regexp.MustCompile(`\([^()]*\)`)
	rule := regexp.MustCompile(`(?m)^\t*([^@:\t\n/-][^{\n]*|:is[^{\n]*) \{ `)
	rules := rule.FindAllStringSubmatch(css, -1)
	if len(rules) < 50 {
		t.Errorf("got %d rules", len(rules))
	}
	for _, rule := range rules {
		whole := rule[1]
		for parens.MatchString(whole) { // which may have commas in them
			whole = parens.ReplaceAllStringFunc(whole, func(s string) string {
				return strings.NewReplacer("(", "", ")", "", ",", "").Replace(s)
			})
		}
		for selector := range strings.SplitSeq(whole, ",") {
			if !strings.ContainsAny(selector, ".#") {
				t.Errorf("got the selector %q for everything", selector)
			}
		}
	}
}
