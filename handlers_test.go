package main

import (
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/operate"
	"cookiesession/internal/testkit"
)

// app is the site, and what its operator is told of it.
type app struct {
	http.Handler
	*operate.Site[session]
}

// newTestApp returns the site as it is with these flags.
func newTestApp(t testing.TB, args ...string) app {
	t.Helper()
	cfg, err := parseFlags(args, withKeyA, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	site, err := newSite(t.Context(), cfg, withKeyA, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return app{Handler: site.Server.Handler, Site: site}
}

// visitor is one who keeps what a site sets.
type visitor struct {
	t      testing.TB
	site   http.Handler
	accept string // text if it is empty
	cookie string // as in a header
	sent   int    // cookies that were set or deleted
}

// send makes a request, and returns the response with its body.
func (v *visitor) send(method, path, form string) (*http.Response, string) {
	v.t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(form))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept", v.accept)
	r.Header.Set("Cookie", v.cookie)
	w := httptest.NewRecorder()
	v.site.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		v.sent++
		v.cookie = c.Name + "=" + c.Value
		if c.MaxAge < 0 {
			v.cookie = ""
		}
	}
	return res, w.Body.String()
}

// want sends a request, and says so if the answer is another one.
func (v *visitor) want(method, path, form string, status int, text string) {
	v.t.Helper()
	res, body := v.send(method, path, form)
	if v.accept == testkit.Browser {
		if !strings.HasPrefix(body, "<!DOCTYPE html>") || !strings.HasSuffix(body, "</html>\n") {
			v.t.Errorf("%s %s %q: got %q, want a page", method, path, form, body)
		}
		body = html.UnescapeString(body)
	}
	start, cut := strings.CutSuffix(text, "...")
	ok := body == text+"\n" || cut && strings.HasPrefix(body, start) ||
		v.accept == testkit.Browser && strings.Contains(body, start)
	if res.StatusCode != status || !ok {
		v.t.Errorf("%s %s %q: got status %d and %q, want %d and %q",
			method, path, form, res.StatusCode, body, status, text)
	}
}

// visitors are one with a terminal and one with a browser.
func visitors(t testing.TB, site http.Handler) []*visitor {
	return []*visitor{
		{t: t, site: site}, {t: t, site: site, accept: testkit.Browser},
	}
}

// The Django lesson, with what it says.
func TestLesson(t *testing.T) {
	for _, v := range visitors(t, newTestApp(t)) {
		v.want("GET", "/get_name", "", 200, "Name not found in session")
		v.want("POST", "/set_name", "name=+Alice+", 200, "Name Alice set in session")
		v.want("GET", "/get_name", "", 200, "Name: Alice")
		v.want("POST", "/set_name", "name=Bob&more=x", 200, "Name Bob set in session")
		v.want("GET", "/get_name", "", 200, "Name: Bob")
		v.want("POST", "/clear_name", "", 200, "Name cleared from session")
		v.want("GET", "/get_name", "", 200, "Name not found in session")
		v.want("POST", "/clear_name", "", 200, "Name cleared from session")
		if v.sent != 3 { // two names and an end
			t.Errorf("accept %q: got %d cookies", v.accept, v.sent)
		}
	}
}

// The first page, the form, and what is no page.
func TestAnswers(t *testing.T) {
	const about = "A session in a signed cookie: POST name=... to /set_name, then " +
		"GET /get_name or /session, POST to /clear_name. Name: Alice"
	large := strings.Repeat("x", 65<<10)
	for _, v := range visitors(t, newTestApp(t)) {
		v.want("POST", "/set_name", "name=Alice", 200, "Name Alice set in session")
		for _, tt := range []struct {
			method, path, form string
			status             int
			text, page         string
		}{
			{"GET", "/", "", 200, about, "Welcome back, Alice."},
			{"GET", "/set_name", "", 200, "<!DOCTYPE html>...", `value="Alice"`},
			{"POST", "/set_name", "name=", 422, "Type a name with ...", "Type a name with"},
			{"POST", "/set_name", "name=", 422, "Type a name with ...", "required autofocus"},
			{"POST", "/set_name?name=Eve", "", 422, "The field name is missing: ...",
				"The field name is missing"},
			{"POST", "/set_name", "name=%zz", 400, "The form is broken and was not read...",
				"That form could not be read"},
			{"POST", "/set_name", large, 413, "The form is too large...", "That is too much"},
			{"GET", "/nowhere", "", 404, "There is no page at this address.",
				"There is no such page"},
			{"PUT", "/get_name", "", 405, "This address answers only to GET, HEAD.",
				"That is not possible here"},
			{"GET", "/clear_name", "", 405, "This address answers only to POST. " +
				"Its button is at /get_name, while you have a cookie.",
				`href="/get_name">Go to its button<`},
		} {
			text := tt.text
			if v.accept != "" {
				text = tt.page
			}
			v.want(tt.method, tt.path, tt.form, tt.status, text)
		}
		if v.sent != 1 {
			t.Errorf("accept %q: got another cookie of what changes nothing", v.accept)
		}
	}
}

// The routes' methods, and the assets of the site.
func TestRoutes(t *testing.T) {
	v := visitor{t: t, site: newTestApp(t)}
	for path, want := range map[string]string{
		"/": "GET, HEAD", "/set_name": "GET, HEAD, POST", "/get_name": "GET, HEAD",
		"/clear_name": "POST", "/favicon.ico": "GET, HEAD",
	} {
		res, _ := v.send("PUT", path, "")
		if got := res.Header.Get("Allow"); res.StatusCode != 405 || got != want {
			t.Errorf("%s: got status %d, Allow: %s", path, res.StatusCode, got)
		}
	}
	for path, want := range map[string]string{
		"/style.css": "text/css; charset=utf-8 /*", "/healthz": "text/plain; charset=utf-8 ok",
		"/icon.svg":    "image/svg+xml; charset=utf-8 <svg ",
		"/favicon.ico": "image/", "/robots.txt": "text/plain; charset=utf-8 User-agent: *",
	} {
		res, body := v.send("GET", path, "")
		if got := res.Header.Get("Content-Type") + " " + body; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %.60q, want %q", path, got, want)
		}
	}
}

// The form of the lesson: a labelled text field, a button, a post. It is what the second
// page is for, so that has the focus in it.
func TestForm(t *testing.T) {
	v := visitor{t: t, site: newTestApp(t), accept: testkit.Browser}
	for _, want := range []string{
		`<form method="post" action="/set_name">`, `<label for="name">`, `>Set Name</button>`,
		`type="text" id="name" name="name" value=""`,
	} {
		v.want("GET", "/", "", 200, want)
		v.want("GET", "/set_name", "", 200, want)
	}
	v.want("GET", "/set_name", "", 200, "autofocus")
	if _, page := v.send("GET", "/", ""); strings.Contains(page, "autofocus") {
		t.Error("got the focus in the form of the first page")
	}
}

func TestCheckName(t *testing.T) {
	long, family := strings.Repeat("\U0001F36A", 200), "\U0001F468\u200D\U0001F469\u200D\U0001F467"
	for _, name := range []string{ // none is composed, or looked at for what it may mean
		"Alice", "Ada  Lovelace", "Zoe\u0308", "שָׁלוֹם", "\u200fAlice\u200e", "Ali\u200bce\u00ad",
		family, long,
	} {
		got, wrong := checkName([]string{" \u3000" + name + "\t\r\n"})
		if got != name || wrong != "" {
			t.Errorf("%q: got %q and %q", name, got, wrong)
		}
	}
	for want, names := range map[string][]string{
		"Type a name with at least one visible character.": {
			"", "\u3164\u115f\u1160\uffa0", " \u2060 \ufeff\u034f\u00ad", "\ufe0f\u2800",
		},
		"The name contains a control character, such as a line break: remove it.": {
			"Ali\x00ce", "Ali\u0085ce", "Ali\u2028ce", "Ali\u2029ce",
		},
		"The name contains an invisible character that overrides the direction of text: " +
			"remove it.": {"Ali\u202ace", "Ali\u202ece", "Ali\u2066ce", "Ali\u2069ce"},
		"The name is not valid UTF-8: send it in that encoding.": {"Ali\xffce"},
		"That is 201 characters; 200 is the limit.":              {long + "x"},
	} {
		for _, name := range names {
			if got, wrong := checkName([]string{name}); got != "" || wrong != want {
				t.Errorf("%q: got %q and %q, want %q", name, got, wrong, want)
			}
		}
	}
	for sent, want := range map[int]string{
		0: "The field name is missing: send it once, in the body of the form.",
		3: "The field name was sent 3 times: send it once.",
	} {
		if got, wrong := checkName([]string{"A", "B", "C"}[:sent]); got != "" || wrong != want {
			t.Errorf("sent %d times: got %q and %q, want %q", sent, got, wrong, want)
		}
	}
}

// What a visitor has typed is text on every page, and stays in the form if it won't do.
func TestTyped(t *testing.T) {
	v := visitor{t: t, site: newTestApp(t), accept: testkit.Browser}
	foreign := regexp.MustCompile(`<script|<img src=x|\x00`)
	show := func(method, path, name, want string) {
		t.Helper()
		_, page := v.send(method, path, url.Values{"name": {name}}.Encode())
		if !strings.Contains(html.UnescapeString(page), want) || foreign.MatchString(page) {
			t.Errorf("%s %s with %q: got %s, want %s", method, path, name, page, want)
		}
	}
	for _, name := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`} {
		show("POST", "/set_name", name, "Name "+name+" set in session")
		show("GET", "/get_name", name, "Name: "+name)
		show("GET", "/", name, "Welcome back, "+name+".")
		show("GET", "/set_name", name, `value="`+name+`"`)
	}
	show("POST", "/set_name", "\x00<script>", "value=\"\uFFFD<script>\"")
	show("POST", "/set_name", "Ali\xffce", "value=\"Ali\uFFFDce\"")
}

// changed returns a cookie whose MAC is another one.
func changed(cookie string) string {
	at := len(cookie) - 20
	other := "A"
	if cookie[at] == 'A' {
		other = "B"
	}
	return cookie[:at] + other + cookie[at+1:]
}

// Each page says what became of the visitor's cookie.
func TestPages(t *testing.T) {
	const refused = "Your cookie was refused: tampered."
	a := newTestApp(t)
	one, other := visitor{t: t, site: a}, visitor{t: t, site: a}
	one.send("POST", "/set_name", "name=Alice")
	other.send("POST", "/set_name", "name=Alice")
	alice := one.cookie
	none, bad, two := "", changed(alice), alice+"; "+other.cookie
	for _, tt := range []struct{ method, path, cookie, want string }{
		{"GET", "/", none, "You are at the first step"},
		{"GET", "/", alice, "You are at the fourth step: your browser sent a cookie, and its seal"},
		{"GET", "/", bad, "You are at the fourth step: your browser sent a cookie that the server"},
		{"GET", "/", bad, refused},
		{"GET", "/", two, "Your browser sent 2 cookies of the same name, set for different paths or " +
			"hosts. 2 of them are good"},
		{"GET", "/", bad + "; " + alice, "hosts. This is about the one that is good."},
		{"GET", "/get_name", none, "Your browser sent no session cookie."},
		{"GET", "/get_name", alice, "Your browser sent its cookie along, and the seal is intact."},
		{"GET", "/get_name", bad, refused},
		{"POST", "/set_name", none, "The server has sealed the name into a cookie"},
		{"POST", "/set_name", alice, "Your cookie has this name in it already, so no new one"},
		{"POST", "/clear_name", none, "Your browser sent no session cookie, so the session was"},
		{"POST", "/clear_name", alice, "If somebody copied it earlier, that copy still works: until"},
		{"POST", "/clear_name", alice, ", or, if they keep using it, until <time"},
		{"POST", "/clear_name", bad, "It had refused that cookie: tampered."},
		{"POST", "/clear_name", two, "Another of them may count from now on."},
	} {
		v := visitor{t: t, site: a, accept: testkit.Browser, cookie: tt.cookie}
		v.want(tt.method, tt.path, "name=Alice", 200, tt.want)
	}
}

// link is where a page leads: to a form's action, or to another page.
var link = regexp.MustCompile(`(?:(action)|href|src)="(/[^"#]*)`)

// Every link of every page leads somewhere, and the menu says where the visitor is.
func TestLinks(t *testing.T) {
	a := newTestApp(t)
	known := visitor{t: t, site: a}
	known.send("POST", "/set_name", "name=Alice")
	for _, cookie := range []string{"", known.cookie, changed(known.cookie)} {
		seen, todo := map[string]bool{}, []string{"GET /"}
		for len(todo) > 0 {
			method, path, _ := strings.Cut(todo[0], " ")
			todo = todo[1:]
			v := visitor{t: t, site: a, accept: testkit.Browser, cookie: cookie}
			res, page := v.send(method, path, "name=Alice&part=mac")
			if res.StatusCode != 200 && method == "GET" || res.StatusCode == 404 {
				t.Errorf("%s %s: got status %d", method, path, res.StatusCode)
			}
			for _, m := range link.FindAllStringSubmatch(page, -1) {
				next := "GET " + m[2]
				if m[1] != "" {
					next = "POST " + m[2]
				}
				if !seen[next] {
					seen[next] = true
					todo = append(todo, next)
				}
			}
			here := `href="` + path + `"`
			menu, _, _ := strings.Cut(page, "</nav>")
			if strings.Contains(menu, here) && !strings.Contains(menu, here+` aria-current="page"`) &&
				method == "GET" {
				t.Errorf("%s: got a menu that doesn't say so", path)
			}
		}
		if len(seen) < 6 {
			t.Errorf("got the links %v alone", seen)
		}
	}
}

// Where a session can't be changed for now, what was typed stays, and a button ends it.
func TestTryAgain(t *testing.T) {
	var cookie string
	synctest.Test(t, func(t *testing.T) { // by another copy's clock, which is ahead
		time.Sleep(10 * time.Minute)
		v := visitor{t: t, site: newTestApp(t)}
		v.send("POST", "/set_name", "name=Alice")
		cookie = v.cookie
	})
	synctest.Test(t, func(t *testing.T) {
		v := visitor{t: t, site: newTestApp(t), accept: testkit.Browser, cookie: cookie}
		v.want("POST", "/set_name", "name=Bob", 503, "Your session can't be changed right now")
		v.want("POST", "/set_name", "name=Bob", 503, `value="Bob"`)
		v.want("POST", "/set_name", "name=Bob", 503, ">End the session</button>")
		v.want("POST", "/clear_name", "", 200, "Name cleared from session")
	})
}

// The other commands print the version, also where nothing could be served, make keys, and
// read what a server has written.
func TestCommands(t *testing.T) {
	v := visitor{t: t, site: newTestApp(t)}
	v.send("POST", "/set_name", "name=Alice")
	for _, tt := range []struct{ args, want string }{
		{
			"-version -key-file /nowhere -tls-cert c",
			`^cookiesession \S.*, commit \S+, go1\.\d+.*\n$`,
		},
		{"keys new", `^[0-9a-f]{64}\n$`},
		{"inspect -show", `"Alice"`},
	} {
		out, err := runNow(t, withKeyA, v.cookie, strings.Fields(tt.args)...)
		if err != nil || !regexp.MustCompile(tt.want).MatchString(out) {
			t.Errorf("%s: got %q and %v", tt.args, out, err)
		}
	}
}

// The site knows its origins.
func TestOrigin(t *testing.T) {
	v := visitor{t: t, site: newTestApp(t, "-origin", "https://localhost")}
	v.want("POST", "/set_name", "name=Bob", 200, "Name Bob set in session")
	v.site = newTestApp(t, "-origin", "https://a.example")
	v.want("POST", "/set_name", "name=Bob", 421, "This server does not serve the host...")
}

// Without a key there is a warning, and a random one. A key that is no good is not quoted.
func TestKeys(t *testing.T) {
	a, b := startRun(t, nil), startRun(t, nil)
	if !a.Log.Has(`level=WARN msg="no key is configured: sessions end`) {
		t.Errorf("got no warning: %s", a.Log)
	}
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA)
	c, d := startRun(t, withKeyA), startRun(t, nil, "-key-file", ring)
	for _, tt := range []struct {
		from, to *testkit.Server
		want     string
	}{
		{from: a, to: a, want: "Name: Bob\n"},
		{from: a, to: b, want: "Name not found in session\n"},
		{from: c, to: d, want: "Name: Bob\n"},
	} {
		res, _ := testkit.Send(t, "POST", tt.from.URL+"/set_name", "name=Bob", http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"},
		})
		cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
		header := http.Header{"Cookie": {cookie}}
		if _, got := testkit.Send(t, "GET", tt.to.URL+"/get_name", "", header); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	for p, want := range map[*testkit.Server]bool{b: true, d: false} {
		_, text := testkit.Send(t, "GET", p.URL+"/get_name", "", http.Header{
			"Accept": {testkit.Browser}, "Cookie": {"session=aaaaaa." + strings.Repeat("A", 100)},
		})
		const why = "This server makes a new key each time it starts"
		if got := strings.Contains(text, why); got != want {
			t.Errorf("got told that the keys end: %v, want %v: %s", got, want, text)
		}
	}
	_, err := runNow(t, environ{"COOKIESESSION_KEYS": testkit.KeyA[:63]}, "")
	if err == nil || !strings.Contains(err.Error(), "COOKIESESSION_KEYS:1: ") ||
		strings.Contains(err.Error(), testkit.KeyA[:20]) {
		t.Errorf("got %v for a bad key", err)
	}
}
