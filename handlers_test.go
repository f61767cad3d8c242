package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	stdhtml "html"
)

// The kinds of client, by what they accept, and whether they get a page.
var clients = []struct {
	accept string
	html   bool
}{
	{"", false},
	{"*/*", false}, // curl
	{"application/json, text/plain", false},
	{"text/html;q=0, */*", false},
	{"text/htmlx", false},
	{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true}, // browsers
	{"application/json, Text/HTML; q=0.1", true},
}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestAnswers(t *testing.T) {
	tests := []struct {
		method, path, body string
		withCookie         bool
		status             int
		text               string // in the plain answer, whole unless it ends with "..."
		html               string // in the page
		cookie             string // "set", "deleted" or none
		kind               string // of the plain answer; of every answer when html is empty
	}{
		{"GET", "/", "", false, 200, "A session in a signed cookie: ...", `<a href="/set_name"`, "", "text"},
		{"GET", "/", "", true, 200, "A session in a signed cookie: POST name=... to /set_name, then GET /get_name or /session, POST to /clear_name. Name: Alice", "Alice", "", "text"},
		{"GET", "/set_name", "", false, 200, "<!DOCTYPE html>...", `<button type="submit">Set Name</button>`, "", "form"},
		{"GET", "/set_name", "", true, 200, "<!DOCTYPE html>...", `value="Alice"`, "", "form"},
		{"POST", "/set_name", "name=Alice", false, 200, "Name Alice set in session", "Name Alice set in session", "set", "text"},
		{"POST", "/set_name", "name=Bob", true, 200, "Name Bob set in session", "Name Bob set in session", "set", "text"},
		{"POST", "/set_name", "name=", true, 422, "The name is empty: ...", `<button type="submit">Set Name</button>`, "", "text"},
		{"GET", "/get_name", "", true, 200, "Name: Alice", "Name: Alice", "", "text"},
		{"GET", "/get_name", "", false, 200, "Name not found in session", "Name not found in session", "", "text"},
		{"POST", "/clear_name", "", true, 200, "Name cleared from session", "Name cleared from session", "deleted", "text"},
		{"POST", "/clear_name", "", false, 200, "Name cleared from session", "Name cleared from session", "", "text"},
		{"GET", "/session", "", true, 200, "verdict       valid...", "4096", "", "text"},
		{"GET", "/session", "", false, 200, "verdict       none\nmeaning       Your browser sent no session cookie.", "none", "", "text"},
		{"GET", "/healthz", "", true, 200, "ok", "", "", "health"},
		{"GET", "/style.css", "", true, 200, ":root...", "", "", "css"},
		{"GET", "/icon.svg", "", true, 200, "<svg ...", "", "", "svg"},
		{"GET", "/favicon.ico", "", true, 200, "<svg ...", "", "", "svg"},
		{"GET", "/robots.txt", "", true, 200, "User-agent: *...", "", "", "txt"},
		{"GET", "/nowhere", "", true, 404, "There is no page at this address...", "There is no page at this address", "", "error"},
		{"GET", "/get_name/x", "", true, 404, "There is no page at this address...", "There is no page at this address", "", "error"},
		{"POST", "/nowhere", "name=x", true, 404, "There is no page at this address...", "There is no page at this address", "", "error"},
		{"POST", "//set_name", "name=x", true, 404, "There is no page at this address...", "There is no page at this address", "", "error"}, // not a redirect, which would lose the form
		{"PUT", "/get_name", "", true, 405, "This address answers only to GET, HEAD.", "This address answers only to GET, HEAD.", "", "error"},
	}
	for _, secure := range []bool{false, true} {
		a := newTestApp(t, options{secure: secure, log: io.Discard})
		srv := httptest.NewServer(a)
		defer srv.Close()
		for _, tt := range tests {
			for _, spelling := range []string{tt.path, tt.path + "/"} {
				if strings.HasSuffix(spelling, "//") {
					continue
				}
				for _, c := range clients {
					name := fmt.Sprintf("secure %v, %s %s %q with cookie %v, accept %q", secure, tt.method, spelling, tt.body, tt.withCookie, c.accept)
					send := func(method string) (*http.Response, string) {
						header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
						if c.accept != "" {
							header.Set("Accept", c.accept)
						}
						if tt.withCookie {
							header.Set("Cookie", a.sessions.cookie+"="+seal(t, a.sessions, alice(10, 10)))
						}
						return send(t, method, srv.URL+spelling, tt.body, header)
					}
					res, body := send(tt.method)
					if res.StatusCode != tt.status {
						t.Errorf("%s: got status %d, want %d", name, res.StatusCode, tt.status)
					}
					if res.ContentLength != int64(len(body)) {
						t.Errorf("%s: got Content-Length %d for %d bytes", name, res.ContentLength, len(body))
					}
					checkCookie(t, name, a, res, tt.cookie)
					kind, want := tt.kind, tt.text
					if tt.html != "" && (c.html || kind == "form") {
						want = tt.html
						if !strings.Contains(body, want) || !strings.HasPrefix(body, "<!DOCTYPE html>") || !strings.HasSuffix(body, "</html>\n") {
							t.Errorf("%s: got %q, want a whole page with %q", name, body, want)
						}
					} else if start, cut := strings.CutSuffix(want, "..."); cut && !strings.HasPrefix(body, start) || !cut && body != want+"\n" {
						t.Errorf("%s: got %q, want %q", name, body, want)
					}
					if want := wantHeaders(kind, c.html && tt.html != "", secure); !hasHeaders(res.Header, want) {
						t.Errorf("%s: got header %v, want %v", name, res.Header, want)
					}
					if tt.method != "GET" {
						continue
					}
					head, empty := send("HEAD")
					head.Header.Del("Date")
					res.Header.Del("Date")
					if head.StatusCode != tt.status || empty != "" || fmt.Sprint(head.Header) != fmt.Sprint(res.Header) {
						t.Errorf("%s: HEAD got status %d, %d bytes and header %v, want the header of GET %v", name, head.StatusCode, len(empty), head.Header, res.Header)
					}
				}
			}
		}
	}
}

func checkCookie(t *testing.T, name string, a *app, res *http.Response, want string) {
	t.Helper()
	got := ""
	if c := setCookie(t, a, res); c != nil {
		got = "set"
		if c.MaxAge < 0 && c.Value == "" {
			got = "deleted"
		}
		if c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != a.sessions.secure || c.Domain != "" {
			t.Errorf("%s: got wrong attributes on the cookie", name)
		}
	}
	if got != want {
		t.Errorf("%s: got the cookie %q, want %q", name, got, want)
	}
}

// wantHeaders returns the header of an answer of one kind. An empty value
// stands for a header that must not be there.
func wantHeaders(kind string, html, secure bool) map[string]string {
	const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	want := map[string]string{
		"X-Content-Type-Options": "nosniff",

		"Cross-Origin-Resource-Policy": "same-origin",
		"Cross-Origin-Opener-Policy":   "",

		"Referrer-Policy":           "",
		"Content-Type":              "text/plain; charset=utf-8",
		"Content-Security-Policy":   policy,
		"Cache-Control":             "no-store",
		"Location":                  "",
		"Strict-Transport-Security": "",
	}
	if secure {
		want["Strict-Transport-Security"] = "max-age=31536000"
	}
	if html || kind == "form" {
		want["Content-Type"] = "text/html; charset=utf-8"
		want["Referrer-Policy"] = "same-origin"
		if secure {
			want["Cross-Origin-Opener-Policy"] = "same-origin"
		}
	}
	switch kind {
	case "text":
		want["Vary"] = "Cookie, Accept"
	case "form":
		want["Vary"] = "Cookie"
	case "error":
		want["Vary"] = "Accept"
	case "health":
		want["Vary"] = ""
	case "css", "svg", "txt":
		want["Vary"] = ""
		want["Cache-Control"] = "no-cache"
		want["Content-Type"] = map[string]string{
			"css": "text/css; charset=utf-8", "svg": "image/svg+xml; charset=utf-8", "txt": "text/plain; charset=utf-8",
		}[kind]
	}
	return want
}

func hasHeaders(h http.Header, want map[string]string) bool {
	for name, value := range want {
		if got := h.Values(name); len(got) > 1 || h.Get(name) != value {
			return false
		}
	}
	return true
}

func TestAllow(t *testing.T) {
	allowed := map[string]string{
		"/": "GET, HEAD", "/set_name": "GET, HEAD, POST", "/get_name": "GET, HEAD", "/clear_name": "POST", "/session": "GET, HEAD",
		"/healthz": "GET, HEAD", "/style.css": "GET, HEAD", "/icon.svg": "GET, HEAD", "/favicon.ico": "GET, HEAD",
		"/robots.txt": "GET, HEAD",
	}
	a := newTestApp(t, options{log: io.Discard})
	for path, allow := range allowed {
		for _, spelling := range []string{path, strings.TrimSuffix(path, "/") + "/"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
				res, _ := do(t, a, exchange{method: method, target: spelling, body: "name=x"})
				if strings.Contains(", "+allow+",", ", "+method+",") {
					if res.StatusCode != 200 || res.Header.Get("Allow") != "" {
						t.Errorf("%s %s: got status %d, Allow %q", method, spelling, res.StatusCode, res.Header.Get("Allow"))
					}
				} else if res.StatusCode != 405 || res.Header.Get("Allow") != allow {
					t.Errorf("%s %s: got status %d, Allow %q, want 405, %q", method, spelling, res.StatusCode, res.Header.Get("Allow"), allow)
				}
			}
		}
	}
}

func TestNames(t *testing.T) {
	family := "\U0001F468\u200D\U0001F469\u200D\U0001F467"
	stored := []struct{ typed, want string }{
		{"Alice", "Alice"},
		{"  Alice\t\r\n", "Alice"},
		{"\u00a0\u3000Alice\u2003", "Alice"},
		{"Ada  Lovelace", "Ada  Lovelace"},
		{"Ada;Lovelace & \"sons\" + 100%", "Ada;Lovelace & \"sons\" + 100%"},
		{"<script>alert(1)</script>", "<script>alert(1)</script>"},
		{`"><img src=x onerror=alert(1)>`, `"><img src=x onerror=alert(1)>`},
		{"{{.Name}}' or 1=1", "{{.Name}}' or 1=1"},
		{"Zoë", "Zoë"},
		{"Zoe\u0308", "Zoe\u0308"}, // shown as it was stored, not composed
		{"Ẑ̨̛a̴l̷g̵o̶", "Ẑ̨̛a̴l̷g̵o̶"},
		{"שָׁלוֹם", "שָׁלוֹם"},
		{"\u200fAlice\u200e", "\u200fAlice\u200e"},
		{"王小明", "王小明"},
		{family, family},
		{strings.Repeat("x", 200), strings.Repeat("x", 200)},
		{" " + strings.Repeat("\U0001F36A", 200) + " ", strings.Repeat("\U0001F36A", 200)},
		{strings.Repeat("\u0301", 200), strings.Repeat("\u0301", 200)},
		{"0", "0"},
		{"Ali\u200bce\u00ad", "Ali\u200bce\u00ad"},
	}
	b := &visitor{t: t, a: newTestApp(t, options{log: io.Discard})}
	for _, tt := range stored {
		for _, accept := range []string{"*/*", browser} {
			b.cookie = ""
			header := map[string]string{"Accept": accept}
			read := func(body string) string {
				if accept == browser {
					checkMarkup(t, body)
					return stdhtml.UnescapeString(body)
				}
				return body
			}
			_, set := b.send("POST", "/set_name", url.Values{"name": {tt.typed}}.Encode(), header)
			_, get := b.send("GET", "/get_name", "", header)
			_, home := b.send("GET", "/", "", header)
			if want := "Name " + tt.want + " set in session"; !strings.Contains(read(set), want) {
				t.Errorf("%q: got %q, want %q", tt.typed, set, want)
			}
			if want := "Name: " + tt.want; !strings.Contains(read(get), want) || accept != browser && get != want {
				t.Errorf("%q: got %q, want %q", tt.typed, get, want)
			}
			if !strings.Contains(read(home), tt.want) {
				t.Errorf("%q: got %q at /", tt.typed, home)
			}
			if _, form := b.send("GET", "/set_name", "", nil); !strings.Contains(stdhtml.UnescapeString(form), tt.want) {
				t.Errorf("%q: got %q in the form", tt.typed, form)
			}
		}
	}
	refused := []struct{ typed, says string }{
		{"", "empty"},
		{" \t\u3000\n", "empty"},
		{strings.Repeat("x", 201), "201 characters"},
		{strings.Repeat("\U0001F36A", 201), "201 characters"},
		{"Ali\x00ce", "control"},
		{"Alice\r\nSet-Cookie: x=y", "control"},
		{"Ali\tce", "control"},
		{"Ali\x7fce", "control"},
		{"Ali\u0085ce", "control"},
		{"Ali\u2028ce", "control"},
		{"Ali\u2029ce", "control"},
		{"\u200b", "empty"},
		{"\u3164\u115f\u1160\uffa0", "empty"},
		{"\u00ad", "empty"},
		{" \u2060 \ufeff\u034f", "empty"},
		{"\ufe0f\u2800", "empty"},
		{"Ali\u202ace", "direction"},
		{"Ali\u202ece", "direction"},
		{"Ali\u2066ce", "direction"},
		{"Ali\u2069ce", "direction"},
		{"Ali\xffce", "UTF-8"},
		{"\xed\xa0\x80", "UTF-8"}, // half a surrogate pair
		{"\xc0\xaf", "UTF-8"},     // overlong
	}
	b.cookie = seal(t, b.a.sessions, alice(0, 0))
	before := b.cookie
	for _, tt := range refused {
		for _, accept := range []string{"*/*", browser} {
			res, body := b.send("POST", "/set_name", url.Values{"name": {tt.typed}}.Encode(), map[string]string{"Accept": accept})
			if res.StatusCode != 422 || !strings.Contains(body, tt.says) || res.Header["Set-Cookie"] != nil {
				t.Errorf("%q: got status %d and %q, want 422 and %q", tt.typed, res.StatusCode, body, tt.says)
			}
			if accept == browser {
				checkMarkup(t, body)
				typed := strings.NewReplacer("\x00", "\uFFFD").Replace(strings.ToValidUTF8(tt.typed, "\uFFFD"))
				if !strings.Contains(stdhtml.UnescapeString(body), `value="`+typed+`"`) {
					t.Errorf("%q: got a form without what was typed: %q", tt.typed, body)
				}
			} else if strings.Contains(body, "\n") {
				t.Errorf("%q: got more than a line: %q", tt.typed, body)
			}
		}
	}
	if b.wantName("Alice"); b.cookie != before {
		t.Error("got another cookie after refused names")
	}
}

// checkMarkup finds markup that is not from the templates.
func checkMarkup(t *testing.T, page string) {
	t.Helper()
	for _, foreign := range []string{"<script", "<img src=x", "onerror=alert(1)>", "\x00"} {
		if strings.Contains(page, foreign) {
			t.Errorf("got %q in a page", foreign)
		}
	}
}

func multipartForm(t *testing.T, parts ...[3]string) (kind, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		part, err := w.CreateFormField(p[0])
		if p[2] != "" {
			part, err = w.CreateFormFile(p[0], p[2])
		}
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, p[1])
	}
	w.Close()
	return w.FormDataContentType(), b.String()
}

func TestBodies(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	multi, good := multipartForm(t, [3]string{"name", "Bob"}, [3]string{"other", "x"})
	multi2, twice := multipartForm(t, [3]string{"name", "Bob"}, [3]string{"name", "Bob"})
	multi3, asFile := multipartForm(t, [3]string{"name", "Bob", "bob.txt"})
	multi4, withFile := multipartForm(t, [3]string{"name", "Bob"}, [3]string{"photo", strings.Repeat("x", 60<<10), "bob.jpg"})
	multi5, large := multipartForm(t, [3]string{"name", "Bob"}, [3]string{"photo", strings.Repeat("x", 64<<10), "bob.jpg"})
	tests := []struct {
		name, kind, query, body string
		status                  int
	}{
		{"form", form, "", "name=Bob", 200},
		{"form with charset", form + "; charset=UTF-8", "", "name=Bob", 200},
		{"form in capitals", "Application/X-WWW-Form-Urlencoded", "", "name=Bob", 200},
		{"more fields", form, "", "a=b&name=Bob&c=d", 200},
		{"name in the query as well", form, "?name=Eve", "name=Bob", 200},
		{"name in the query alone", form, "?name=Eve", "", 422},
		{"broken query", form, "?%zz;name", "name=Bob", 200},
		{"no name", form, "", "nom=Bob", 422},
		{"name twice", form, "", "name=Bob&name=Bob", 422},
		{"64 KiB", form, "", "name=Bob&x=" + strings.Repeat("x", maxBody-11), 200},
		{"64 KiB and a byte", form, "", "name=Bob&x=" + strings.Repeat("x", maxBody-10), 413},
		{"semicolon", form, "", "name=Bob;Eve", 400},
		{"bad escape", form, "", "name=%zz", 400},
		{"multipart", multi, "", good, 200},
		{"multipart twice", multi2, "", twice, 422},
		{"multipart, a file", multi3, "", asFile, 422},
		{"multipart with a file", multi4, "", withFile, 200},
		{"multipart too large", multi5, "", large, 413},
		{"multipart cut off", multi, "", good[:len(good)-10], 400},
		{"multipart, other boundary", multi + "x", "", good, 400},
		{"multipart without boundary", "multipart/form-data", "", good, 400},
		{"multipart empty", multi, "", "", 400},
		{"JSON", "application/json", "", `{"name":"Bob"}`, 415},
		{"text", "text/plain", "", "name=Bob", 415},
		{"no type", "", "", "name=Bob", 415},
		{"broken type", form + "; charset", "", "name=Bob", 415},
	}
	b := &visitor{t: t, a: newTestApp(t, options{log: io.Discard})}
	for _, tt := range tests {
		for _, accept := range []string{"*/*", browser} {
			b.cookie, b.writes = seal(t, b.a.sessions, alice(600000, 500000)), 0 // due for renewal
			res, body := b.send("POST", "/set_name"+tt.query, tt.body, map[string]string{"Content-Type": tt.kind, "Accept": accept})
			if res.StatusCode != tt.status {
				t.Errorf("%s: got status %d and %q, want %d", tt.name, res.StatusCode, body, tt.status)
			}
			if tt.status == 200 {
				b.wantName("Bob")
			} else if v := openValue(b.a.sessions, b.cookie); b.writes != 0 || v.session.Name != "Alice" {
				t.Errorf("%s: got %d cookies with a refusal", tt.name, b.writes)
			}
			if got := strings.HasPrefix(body, "<!DOCTYPE html>"); got != (accept == browser) {
				t.Errorf("%s: got %q for a client that accepts %s", tt.name, body, accept)
			}
		}
	}
	gzip := map[string]string{"Content-Encoding": "gzip"}
	if res, _ := b.send("POST", "/set_name", "name=Bob", gzip); res.StatusCode != 415 {
		t.Errorf("compressed: got status %d, want 415", res.StatusCode)
	}
}

func TestCrossOrigin(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	tests := []struct {
		site, origin string
		allowed      bool
	}{
		{"", "", true}, // curl
		{"same-origin", "http://example.com", true},
		{"same-origin", "", true},
		{"none", "", true}, // typed by the user
		{"same-site", "http://www.example.com", false},
		{"cross-site", "https://evil.example", false},
		{"cross-site", "", false},
		{"cross-site", "http://example.com", false},
		{"nonsense", "", false},
		{"", "http://example.com", true}, // a browser without Sec-Fetch-Site
		{"", "https://example.com", true},
		{"", "http://example.com:8080", false},
		{"", "https://evil.example", false},
		{"", "null", false},
	}
	for _, tt := range tests {
		for _, accept := range []string{"*/*", browser} {
			for target, safe := range map[string]string{"/set_name": "GET", "/clear_name": "", "/nowhere": ""} {
				b := &visitor{t: t, a: a, cookie: seal(t, a.sessions, alice(10, 10))}
				header := map[string]string{"Accept": accept}
				if tt.site != "" {
					header["Sec-Fetch-Site"] = tt.site
				}
				if tt.origin != "" {
					header["Origin"] = tt.origin
				}
				res, body := b.send("POST", target, "name=Bob", header)
				if got := res.StatusCode != 403; got != tt.allowed {
					t.Errorf("POST %s with %v: got status %d", target, header, res.StatusCode)
				}
				if !tt.allowed && (b.writes > 0 || !strings.Contains(body, "sent from another site") || !hasHeaders(res.Header, wantHeaders("error", accept == browser, false))) {
					t.Errorf("POST %s with %v: got %q and header %v", target, header, body, res.Header)
				}
				if safe != "" {
					if res, _ := b.send(safe, target, "", header); res.StatusCode != 200 {
						t.Errorf("%s %s with %v: got status %d, want safe methods let through", safe, target, header, res.StatusCode)
					}
				}
			}
		}
	}
}

// A request that comes to nothing is answered with one whole error page. It
// sets no cookie, although the handler has changed the session, and says
// nothing of the cause.
func TestFailures(t *testing.T) {
	const secret = "Rumpelstiltskin"
	tests := []struct {
		name   string
		action action
		status int
		logged string
	}{
		{"error", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = secret
			return answer{}, errors.New("database on fire")
		}, 500, "database on fire"},
		{"failing template", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = secret
			return answer{Page: "broken"}, nil
		}, 500, "request failed"},
		{"oversized session", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = strings.Repeat(secret, 300)
			return message("done"), nil
		}, 422, ""},
		{"refusal", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = secret
			return answer{Status: 409, Text: "No."}, problemf(409, "No.")
		}, 409, ""},
		{"panic", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = secret
			panic("Name " + secret)
		}, 500, "TestFailures.func"},
		{"runtime panic", func(_ *http.Request, v *visit[session]) (answer, error) {
			v.session.Name = secret
			var none []int
			return message("done"), fmt.Errorf("%d", none[len(v.session.Name)])
		}, 500, "index out of range"},
	}
	for _, tt := range tests {
		for _, accept := range []string{"*/*", browser} {
			var log lockedBuffer
			a := newTestApp(t, options{log: &log})
			template.Must(a.pages.New("broken.html").Parse("half a page {{.Nowhere}}"))
			a.router.HandleFunc("/test-only", a.visitor(tt.action))
			res, body := do(t, a, exchange{method: "GET", target: "/test-only", cookie: seal(t, a.sessions, alice(500000, 500000)), header: map[string]string{"Accept": accept}})
			if res.StatusCode != tt.status || setCookie(t, a, res) != nil {
				t.Errorf("%s: got status %d and %d cookies, want %d and none", tt.name, res.StatusCode, len(res.Cookies()), tt.status)
			}
			if whole := strings.HasPrefix(body, "<!DOCTYPE html>") && strings.HasSuffix(body, "</html>\n") && strings.Count(body, "<html") == 1; accept == browser && !whole {
				t.Errorf("%s: got %q, want one whole page", tt.name, body)
			}
			if accept != browser && strings.Count(body, "\n") != 1 {
				t.Errorf("%s: got %q, want one line", tt.name, body)
			}
			if !hasHeaders(res.Header, wantHeaders("error", accept == browser, false)) {
				t.Errorf("%s: got header %v", tt.name, res.Header)
			}
			for _, hidden := range []string{secret, "fire", "half", "goroutine", "index out", ".go"} {
				if strings.Contains(body, hidden) {
					t.Errorf("%s: got %q in the page: %q", tt.name, hidden, body)
				}
			}
			if !strings.Contains(log.String(), tt.logged) || strings.Contains(log.String(), secret) {
				t.Errorf("%s: got the log %q, want %q and no name", tt.name, log.String(), tt.logged)
			}
			if logged := strings.Contains(log.String(), "level=ERROR"); logged != (tt.status == 500) {
				t.Errorf("%s: got an error logged: %v", tt.name, logged)
			}
		}
	}
	// When the error page fails as well, its sentence is left.
	a := newTestApp(t, options{log: io.Discard})
	template.Must(a.pages.New("error.html").Parse("half a page {{.Nowhere}}"))
	if res, body := do(t, a, exchange{method: "GET", target: "/nowhere", header: map[string]string{"Accept": browser}}); res.StatusCode != 404 || !strings.HasPrefix(body, "There is no page") {
		t.Errorf("got status %d and %q", res.StatusCode, body)
	}
}

// A panic when a part of the response has gone out can't become a page.
func TestPanicInTheMiddle(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	a.router.HandleFunc("/test-only", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		panic("too late")
	})
	a.router.HandleFunc("/test-only-text", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "some of it")
		panic("too late")
	})
	srv := httptest.NewServer(a)
	defer srv.Close()
	for _, path := range []string{"/test-only", "/test-only-text"} {
		if res, err := http.Get(srv.URL + path); err == nil {
			res.Body.Close()
			t.Errorf("%s: got status %d, want the connection closed", path, res.StatusCode)
		}
		if got := metric(t, scrape(t, a), `cookiesession_http_request_duration_seconds_count{method="GET",route="`+path+`",status="200"}`); got != 1 {
			t.Errorf("%s: got %v requests counted, want 1", path, got)
		}
	}
}

// A handler that ends its connection, as net/http has it, is not one that fails.
func TestAbortedHandler(t *testing.T) {
	var log lockedBuffer
	a := newTestApp(t, options{log: &log})
	a.router.HandleFunc("/test-only", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("got %v and %s", p, &log)
		}
	}()
	a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/test-only", nil))
}

func TestOversizedSaysByHowMuch(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	over := &oversizedError{over: 17}
	a.router.HandleFunc("/test-only", a.visitor(func(*http.Request, *visit[session]) (answer, error) {
		return answer{}, fmt.Errorf("saving: %w", over)
	}))
	if _, body := do(t, a, exchange{method: "GET", target: "/test-only"}); !strings.Contains(body, "17 bytes") {
		t.Errorf("got %q, want the number of bytes", body)
	}
}

func TestAssets(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	_, home := do(t, a, exchange{method: "GET", target: "/", header: map[string]string{"Accept": browser}})
	for name, f := range map[string]asset{"style.css": a.style, "icon.svg": a.icon} {
		if !strings.Contains(home, `href="`+f.url+`"`) {
			t.Errorf("got a page without %s: %q", f.url, home)
		}
		content, err := templates.ReadFile("templates/" + name)
		res, body := do(t, a, exchange{method: "GET", target: f.url})
		if err != nil || res.StatusCode != 200 || body != string(content) || res.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: got status %d, header %v", f.url, res.StatusCode, res.Header)
		}
		etag := res.Header.Get("ETag")
		again, empty := do(t, a, exchange{method: "GET", target: f.url, header: map[string]string{"If-None-Match": etag}})
		if again.StatusCode != 304 || empty != "" || etag == "" {
			t.Errorf("%s: got status %d with the ETag %q, want 304", f.url, again.StatusCode, etag)
		}
		// A copy of the app with other content must not be taken for this one for ever.
		stale, _ := do(t, a, exchange{method: "GET", target: "/" + name + "?v=0123"})
		if stale.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("got Cache-Control %q for another version", stale.Header.Get("Cache-Control"))
		}
	}
}

// Neither a key, nor a cookie, nor a name gets into the log, at any level.
func TestLogIsDiscreet(t *testing.T) {
	var log lockedBuffer // the count of refused cookies comes a second later
	a := newTestApp(t, options{log: &log, signed: true})
	good := seal(t, a.sessions, named("Rumpelstiltskin", 0, 0))
	secrets := []string{keyA, "Rumpelstiltskin", "RUMPELSTILTSKIN", good[idLen+1:], good[idLen+5 : idLen+30]}
	for _, cookie := range []string{good, flipLast(good), good[:40], "x" + good, good + strings.Repeat("A", 4000)} {
		for _, x := range []exchange{
			{method: "GET", target: "/get_name"},
			{method: "GET", target: "/session"},
			{method: "POST", target: "/set_name", body: "name=Rumpelstiltskin"},
			{method: "POST", target: "/set_name", body: "name=Rumpelstiltskin;"},
			{method: "POST", target: "/set_name", body: "name=Rumpelstiltskin%zz"},
			{method: "POST", target: "/set_name", body: "name=Rumpelstiltskin%00"},
			{method: "GET", target: "/Rumpelstiltskin?name=Rumpelstiltskin"},
			{method: "PUT", target: "/set_name?Rumpelstiltskin"},
			{method: "RUMPELSTILTSKIN", target: "/get_name"},
		} {
			x.cookie = cookie
			_, body := do(t, a, x)
			for _, s := range []string{keyA, good[idLen+5 : idLen+30]} {
				if strings.Contains(body, s) {
					t.Errorf("%s %s: got a secret in the page %q", x.method, x.target, body)
				}
			}
		}
	}
	if !strings.Contains(log.String(), "request") {
		t.Fatal("got nothing logged")
	}
	for _, s := range secrets {
		if strings.Contains(log.String(), s) {
			t.Errorf("got a secret in the log: %s", log.String())
		}
	}
}

// Many visitors at once don't see each other's sessions.
func TestParallel(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			b := &visitor{t: t, a: a}
			for j := range 50 {
				name := fmt.Sprintf("visitor %d.%d", i, j)
				b.send("POST", "/set_name", url.Values{"name": {name}}.Encode(), nil)
				b.wantName(name)
				b.send("GET", "/session", "", map[string]string{"Accept": browser})
			}
		})
	}
	wg.Wait()
}

// The form of the lesson: a labelled text field, a button, a post.
func TestForm(t *testing.T) {
	_, page := do(t, newTestApp(t, options{}), exchange{method: "GET", target: "/set_name"})
	for _, want := range []string{`<form method="post" action="/set_name">`, `<label for="name">`, `type="text" id="name" name="name"`, `>Set Name</button>`} {
		if !strings.Contains(page, want) {
			t.Errorf("got no %q in %s", want, page)
		}
	}
}

// A page that isn't there is an error of ours.
func TestNoSuchTemplate(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	a.router.HandleFunc("/test-only", a.visitor(func(_ *http.Request, v *visit[session]) (answer, error) {
		v.session.Name = "Eve"
		return answer{Page: "nowhere"}, nil
	}))
	if res, _ := do(t, a, exchange{method: "GET", target: "/test-only"}); res.StatusCode != 500 || res.Header["Set-Cookie"] != nil {
		t.Errorf("got status %d for a page that isn't there", res.StatusCode)
	}
}

// Several lines of one header are one list (RFC 9110, 5.3).
func TestAcceptOnSeveralLines(t *testing.T) {
	for _, tt := range []struct {
		accept []string
		html   bool
	}{
		{[]string{"application/json", "text/html"}, true},
		{[]string{"image/png, */*", "text/plain", "text/html;q=0.1"}, true},
		{[]string{"application/json", "text/html;q=0"}, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = tt.accept
		if got := prefersHTML(r); got != tt.html {
			t.Errorf("%q: got %v, want %v", tt.accept, got, tt.html)
		}
	}
}

// A form is kept in memory, whatever is in it: there may be no disk.
func TestFormsStayInMemory(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere/at/all")
	kind, form := multipartForm(t, [3]string{"name", "Bob"}, [3]string{"photo", strings.Repeat("x", 60<<10), "bob.jpg"})
	res, body := do(t, newTestApp(t, options{log: io.Discard}),
		exchange{method: "POST", target: "/set_name", body: form, header: map[string]string{"Content-Type": kind}})
	if res.StatusCode != 200 {
		t.Errorf("got status %d and %q", res.StatusCode, body)
	}
}

// A form of many small parts is refused for their number, of which
// mime/multipart takes 1,000.
func TestTooManyParts(t *testing.T) {
	parts := strings.Repeat("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n", 1001) + "--x--\r\n"
	if len(parts) > maxBody {
		t.Fatalf("got a form of %d bytes, which is too large for another reason", len(parts))
	}
	res, body := do(t, newTestApp(t, options{log: io.Discard}), exchange{
		method: "POST", target: "/set_name", body: parts,
		header: map[string]string{"Content-Type": "multipart/form-data; boundary=x"},
	})
	if res.StatusCode != 413 || !strings.Contains(body, "too many parts") {
		t.Errorf("got status %d and %q, want 413", res.StatusCode, body)
	}
}

// A refused post is answered at once, although its body never comes.
func TestRefusedWithoutABody(t *testing.T) {
	srv := httptest.NewServer(newTestApp(t, options{log: io.Discard}))
	defer srv.Close()
	for _, tt := range []struct {
		request string
		status  int
	}{
		{"POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", 404},
		{"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n", 404},
		{"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 404},
		{"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 404},
		{"POST /get_name HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 405},
		{"POST /set_name HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 100000\r\n\r\n", 403},
		{"POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n", 415},
		{"POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
			"Content-Length: 10000000\r\n\r\n", 413},
		{"POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n" +
			"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n", 413},
		{fmt.Sprintf("POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
			"Content-Length: %d\r\n\r\n", maxBody+1), 413},
		{fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nsome of it", registerPath, maxProof+1), 413},
		{fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nsome of it", refreshPath, maxProof+1), 413},
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		io.WriteString(conn, tt.request)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != tt.status || !res.Close {
			t.Errorf("%q: got %v and %v, want %d at once, and the end", tt.request, res, err, tt.status)
		}
	}
}

// endless is a body that goes on until it has been read n times too far.
type endless struct{ read, most int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read >= e.most {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	e.read += len(p)
	return len(p), nil
}

// Of a body that is too large no more than the limit is read, whether its
// length is known or not, and the connection ends.
func TestOversizedBodies(t *testing.T) {
	srv := httptest.NewServer(newTestApp(t, options{log: io.Discard}))
	defer srv.Close()
	const size = 50 << 20
	for _, tt := range []struct {
		name, kind, start string
		length            int64
	}{
		{"with a length", "application/x-www-form-urlencoded", "name=Bob&x=", size},
		{"chunked", "application/x-www-form-urlencoded", "name=Bob&x=", -1},
		{"multipart", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=photo; filename=x\r\n\r\n", size},
		{"multipart, chunked", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=photo\r\n\r\n", -1},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body := &endless{most: size}
		r, err := http.NewRequest("POST", srv.URL+"/set_name", io.MultiReader(strings.NewReader(tt.start), body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", tt.kind)
		r.ContentLength = tt.length
		if tt.length > 0 {
			r.ContentLength += int64(len(tt.start))
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		runtime.ReadMemStats(&after)
		if res.StatusCode != 413 || !res.Close || !strings.Contains(string(text), "65536") {
			t.Errorf("%s: got status %d, connection closed %v and %q, want 413, closed", tt.name, res.StatusCode, res.Close, text)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
			t.Errorf("%s: got %d bytes of memory used", tt.name, got)
		}
	}
}

// A valid cookie is no refusal, whatever it lacks.
func TestValidWithoutAName(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard, signed: true})
	content, err := encoding.Marshal(payload[map[string]string]{
		Began: uint32(time.Now().Unix()), Data: map[string]string{"Name": "", "Other": "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cookie := sealBytes(t, a.sessions, content)
	for _, target := range []string{"/", "/get_name", "/session"} {
		_, page := do(t, a, exchange{method: "GET", target: target, cookie: cookie, header: map[string]string{"Accept": browser}})
		if strings.Contains(page, "refused") {
			t.Errorf("%s: got a refusal of a valid cookie: %s", target, page)
		}
		if target == "/session" && !strings.Contains(page, "<dt>Other</dt><dd dir=\"auto\">x</dd>") {
			t.Errorf("got a session page without a field that the program doesn't know: %s", page)
		}
	}
	if _, text := do(t, a, exchange{method: "GET", target: "/session", cookie: cookie}); !strings.Contains(text, "\nother         x\n") {
		t.Errorf("got %s, want the field in it", text)
	}
}

// What a session can't hold is the visitor's to correct, not ours, and an
// adopter's action needs no check for it.
func TestUnreadableSession(t *testing.T) {
	var log lockedBuffer
	a := newTestApp(t, options{log: &log})
	a.router.HandleFunc("/test-only", a.visitor(func(_ *http.Request, v *visit[session]) (answer, error) {
		v.session.Name = "\xff"
		return message("done"), nil
	}))
	res, body := do(t, a, exchange{method: "GET", target: "/test-only", cookie: seal(t, a.sessions, alice(1, 1))})
	if res.StatusCode != 422 || !strings.Contains(body, "UTF-8") || res.Header["Set-Cookie"] != nil {
		t.Errorf("got status %d and %q, want 422", res.StatusCode, body)
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("got the log %s", &log)
	}
}

// The page of an adopter's action says nothing of the lesson's name, and
// nothing of a cookie that may have been set just now.
func TestMessageOfAnotherAction(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	a.router.HandleFunc("/test-only", a.visitor(func(_ *http.Request, v *visit[session]) (answer, error) {
		v.session.Name = "tea"
		return message("Added to your cart"), nil
	})).Name("test_only")
	_, page := do(t, a, exchange{method: "GET", target: "/test-only", header: map[string]string{"Accept": browser}})
	if !strings.Contains(page, "Added to your cart") || strings.Contains(page, "sent no session cookie") {
		t.Errorf("got %s", page)
	}
}

// A handler finds what the server's own writer can do.
func TestResponseController(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	a.router.HandleFunc("/test-only", func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})
	if res, _ := do(t, a, exchange{method: "GET", target: "/test-only"}); res.StatusCode != 200 {
		t.Errorf("got status %d", res.StatusCode)
	}
}
