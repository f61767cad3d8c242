package web_test

import (
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"

	"github.com/gorilla/mux"
)

// cart is what the tests' site keeps of a visitor.
type cart struct {
	Items []string
	Owner string
	Flash sessions.Flash
}

// page returns the text of a page's file.
func page(title, content string) string {
	return `{{define "title"}}` + title + `{{end}}{{define "content"}}` + content + `{{end}}`
}

// files are the templates and the assets of the tests' site.
func files() fstest.MapFS {
	all := fstest.MapFS{}
	for name, text := range map[string]string{
		"layout.html": `<!DOCTYPE html><html><title>{{block "title" .}}{{end}} - shop</title>` +
			`<link href="{{asset "/style.css"}}">` +
			`{{range .Flash}}<b>{{.}}</b>{{end}}<p class="cart">{{template "count" .Session}}</p>` +
			`<i>{{.Route}}, {{.Cookie.Verdict}}, {{.Shared}}</i>{{block "content" .}}{{end}}` +
			`{{range .SetCookie}}<code>sent</code>{{end}}</html>`,
		"parts.html": `{{define "count"}}{{len .Items}} things{{end}}`,
		"cart.html":  page("Cart", `<p>{{.Text}}</p>`),
		"add.html":   page("Add", `{{if .TryAgain}}{{.Text}}{{end}}<input value="{{.Data}}">`),
		"error.html": page("Sorry",
			`<p>{{.Text}}</p>{{with .Data}}<a href="{{.}}">{{end}}`+
				`{{if .TryAgain}}<form action="/empty">{{end}}`+
				`{{with .Shared}}{{if eq . "broken"}}{{.Nowhere}}{{end}}{{end}}`),
		"broken.html": page("Half", `half a page {{.Nowhere}}`),
		"help/help.html": page("Help",
			`{{template "tip"}} {{shout "me"}} {{.Binds}} {{.Encrypts}}`+
				`<img src="{{asset "/static/img/dot"}}">`),
		"help/parts.html":  `{{define "tip"}}a tip{{end}}`,
		"help/help.css":    ":root {}",
		"style.css":        ":root {}",
		"help/robots.text": "User-agent: *",
		"static/app.js":    "alert(1)",
		"static/img/dot":   "GIF89a",
	} {
		all["templates/"+name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return all
}

// record is what a Recorder has heard.
type record struct {
	served []string
	events []sessions.Event
	names  []string // of their sessions
}

func (rec *record) Observe(session string, e sessions.Event) {
	rec.events, rec.names = append(rec.events, e), append(rec.names, session)
}

func (rec *record) Served(route, method string, status int, _ time.Duration) {
	rec.served = append(rec.served, fmt.Sprint(method, " ", route, " ", status))
}

// shop is a site for tests.
type shop struct {
	*web.Site[cart]
	http.Handler
	router   *mux.Router
	draining bool
	said     string // the last answer
	log      *testkit.Buffer
	record   *record
}

var key = sessions.NewKey()

// newShop returns a site for tests, with more routes if there are any.
func newShop(t testing.TB, o sessions.Options[cart], origins string, more ...func(*shop)) *shop {
	t.Helper()
	keys, err := sessions.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{log: new(testkit.Buffer), record: new(record), router: mux.NewRouter()}
	c := web.Config{
		Files: files(), Funcs: template.FuncMap{"shout": strings.ToUpper},
		Assets: []web.Asset{
			{Path: "/style.css", File: "style.css", Kind: "text/css; charset=utf-8"},
			{Path: "/robots.txt", File: "help/robots.text", Kind: "text/plain; charset=utf-8"},
			{Path: "/static/", File: "static"},
		},
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	c.Record, c.Draining = s.record, func() bool { return s.draining }
	if origins != "" {
		if err := c.Origins.Set(origins); err != nil {
			t.Fatal(err)
		}
	}
	if s.Site, err = web.New(keys, o, c); err != nil {
		t.Fatal(err)
	}
	get := []string{"GET", "HEAD"}
	s.router.HandleFunc("/cart", s.Action(showCart)).Methods(get...).Name("cart")
	s.router.HandleFunc("/add", s.Action(addForm)).Methods(get...).Name("add")
	s.router.HandleFunc("/add", s.Action(add)).Methods("POST").Name("add")
	s.Except(s.router.HandleFunc("/empty", s.Action(empty)).Methods("POST"),
		web.Exception{Form: "/cart#empty"})
	s.router.HandleFunc("/help", s.Action(help)).Methods(get...)
	for _, add := range more {
		add(s)
	}
	s.Handler = s.Site.Handler(s.router)
	return s
}

type session = sessions.Session[cart]

func showCart(_ *http.Request, s *session) (web.Answer, error) {
	return web.Message("cart", "In the cart: "+strings.Join(s.Data.Items, ", ")), nil
}

func addForm(*http.Request, *session) (web.Answer, error) { return web.Answer{Page: "add"}, nil }

func add(r *http.Request, s *session) (web.Answer, error) {
	form, err := web.Form(r)
	if err != nil {
		return web.Answer{}, err
	}
	item := form.Get("item")
	s.Data.Items = append(s.Data.Items, item)
	if item == "" {
		return web.Answer{Status: 422, Text: "Which item?", Page: "add"}, nil
	}
	again := web.Answer{Page: "add", Data: item}
	return web.Answer{Text: "Added " + item, Page: "cart", Again: &again}, nil
}

func empty(_ *http.Request, s *session) (web.Answer, error) {
	s.Clear()
	return web.Message("cart", "Emptied"), nil
}

func help(*http.Request, *session) (web.Answer, error) { return web.Answer{Page: "help"}, nil }

// action returns what adds an action at /test-only.
func action(do func(*http.Request, *session) (web.Answer, error)) func(*shop) {
	return func(s *shop) { s.router.HandleFunc("/test-only", s.Action(do)).Name("test_only") }
}

// plain returns what adds a handler at /test-only that is no action.
func plain(do func(*shop, http.ResponseWriter, *http.Request)) func(*shop) {
	return func(s *shop) {
		s.router.HandleFunc("/test-only",
			func(w http.ResponseWriter, r *http.Request) { do(s, w, r) })
	}
}

// insecure are options for plain http.
func insecure() sessions.Options[cart] { return sessions.Options[cart]{Insecure: true} }

// request returns a request with a form as its body, if there is one, and a header that
// is written as name, value, name, value.
func request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		switch {
		case header[i] == "Host":
			r.Host = header[i+1]
		case header[i+1] == "":
			r.Header.Del(header[i])
		}
	}
	return r
}

// do has s answer a request.
func (s *shop) do(method, target, body string, header ...string) (*http.Response, string) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, request(method, target, body, header...))
	s.said = w.Body.String()
	return w.Result(), s.said
}

// cookie returns a Cookie header with a session.
func (s *shop) cookie(t testing.TB, items ...string) string {
	t.Helper()
	c, err := s.Sessions.Seal(cart{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	return c.Name + "=" + c.Value
}

// hasHeaders reports whether h has each of want once, or not at all if it is empty.
func hasHeaders(h http.Header, want map[string]string) bool {
	for name, value := range want {
		if got := h.Values(name); len(got) > 1 || h.Get(name) != value {
			return false
		}
	}
	return true
}

// Pages and texts, with their headers. A slash at the end makes no difference.
func TestAnswers(t *testing.T) {
	tests := []struct {
		method, path, body string
		status             int
		text               string // in the plain answer, whole unless it ends with "..."
		html               string // in the page, if there is one
		cookie             string // "set", "deleted" or none
		vary               string
	}{
		{"GET", "/cart", "", 200, "In the cart: tea", "<p>In the cart: tea</p>", "",
			"Accept, Cookie"},
		{"GET", "/add", "", 200, "<!DOCTYPE html>...", "<title>Add - shop</title>", "", "Cookie"},
		{"GET", "/help", "", 200, "<!DOCTYPE html>...", "a tip ME false true<", "", "Cookie"},
		{"POST", "/add", "item=milk", 200, "Added milk", "<code>sent</code>", "set",
			"Accept, Cookie"},
		{"POST", "/add", "item=", 422, "Which item?", `1 things</p><i>add, valid`, "",
			"Accept, Cookie"},
		{"POST", "/empty", "", 200, "Emptied", "<code>sent</code>", "deleted", "Accept, Cookie"},
		{"GET", "/healthz", "", 200, "ok", "", "", ""},
		{"GET", "/style.css", "", 200, ":root {}", "", "", ""},
		{"GET", "/help/help.css", "", 200, ":root {}", "", "", ""},
		{"GET", "/empty", "", 405, "This address answers only to POST. Its button is at /cart#empty.",
			`<a href="/cart#empty">`, "", "Accept, Cookie"},
		{"GET", "/nowhere", "", 404, "There is no page at this address.",
			"1 things</p><i>, valid", "", "Accept, Cookie"},
		{"POST", "//add", "x", 404, "There is no page...", "at this address", "", "Accept, Cookie"},
	}
	for _, secure := range []bool{false, true} {
		s := newShop(t, sessions.Options[cart]{Insecure: !secure}, "")
		for _, tt := range tests {
			for i, accept := range []string{"*/*", testkit.Browser} {
				path := tt.path + strings.Repeat("/", i)
				name := fmt.Sprintf("secure %v, %s %s", secure, tt.method, path)
				cookie := s.cookie(t, "tea")
				res, body := s.do(tt.method, path, tt.body, "Accept", accept, "Cookie", cookie)
				isPage := tt.html != "" && (i == 1 || tt.vary == "Cookie")
				start, cut := strings.CutSuffix(tt.text, "...")
				switch {
				case isPage && !(strings.Contains(body, tt.html) &&
					strings.HasSuffix(body, "</html>\n")):
					t.Errorf("%s: got %q, want %q in it", name, body, tt.html)
				case !isPage && (!strings.HasPrefix(body, start) || !cut && body != start+"\n"):
					t.Errorf("%s: got %q, want %q", name, body, tt.text)
				}
				if res.StatusCode != tt.status || cookieIn(res) != tt.cookie {
					t.Errorf("%s: got status %d and a cookie %q", name, res.StatusCode,
						cookieIn(res))
				}
				if want := wantHeaders(isPage, secure); !strings.HasSuffix(tt.path, ".css") &&
					!hasHeaders(res.Header, want) ||
					strings.Join(res.Header["Vary"], ", ") != tt.vary {
					t.Errorf("%s: got header %v, want %v", name, res.Header, want)
				}
				head, _ := s.do("HEAD", path, "", "Accept", accept, "Cookie", cookie)
				if tt.method == "GET" && (head.StatusCode != tt.status ||
					fmt.Sprint(head.Header) != fmt.Sprint(res.Header)) {
					t.Errorf("%s: got %v for HEAD, want %v", name, head.Header, res.Header)
				}
			}
		}
	}
}

// cookieIn says what res does to the one cookie that it may send.
func cookieIn(res *http.Response) string {
	switch c := res.Cookies(); {
	case len(c) == 0:
		return ""
	case len(c) == 1 && c[0].MaxAge < 0:
		return "deleted"
	case len(c) == 1:
		return "set"
	}
	return "several"
}

// wantHeaders returns the header of an answer. An empty value stands for a header that
// must not be there.
func wantHeaders(isPage, secure bool) map[string]string {
	want := map[string]string{
		"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
		"Cross-Origin-Opener-Policy": "", "Referrer-Policy": "", "Location": "",
		"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store",
		"Strict-Transport-Security": "",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; " +
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
	if secure {
		want["Strict-Transport-Security"] = "max-age=31536000"
	}
	if isPage {
		want["Content-Type"], want["Referrer-Policy"] = "text/html; charset=utf-8", "same-origin"
		if secure {
			want["Cross-Origin-Opener-Policy"] = "same-origin"
		}
	}
	return want
}

// A page is for those who would rather have that than any text.
func TestAccept(t *testing.T) {
	s := newShop(t, insecure(), "")
	for accept, page := range map[string]bool{
		"": false, "application/json, text/plain": false, "text/html;q=0, */*": false,
		"text/htmlx": false, "text/plain;q=1, text/html;q=0.1": false,
		"text/html;q=0.1, */*": false, "text/*, text/html;q=0.1": false,
		"text/plain, text/html": true, "application/json, Text/HTML; q=0.1": true,
		// Several lines of one header are one list (RFC 9110, 5.3).
		"application/json\ntext/html": true,
	} {
		r := request("GET", "/cart", "")
		r.Header["Accept"] = strings.Split(accept, "\n")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := strings.HasPrefix(w.Body.String(), "<!DOCTYPE"); got != page {
			t.Errorf("%q: got a page: %v", accept, got)
		}
	}
}

func TestAllow(t *testing.T) {
	s := newShop(t, insecure(), "")
	for path, allow := range map[string]string{
		"/cart": "GET, HEAD", "/add": "GET, HEAD, POST", "/empty/": "POST",
		"/healthz": "GET, HEAD", "/style.css": "GET, HEAD",
	} {
		for _, method := range []string{"HEAD", "POST", "OPTIONS", "BREW", "get"} {
			res, _ := s.do(method, path, "item=x")
			got, isAllowed := res.Header.Get("Allow"), strings.Contains(allow, method)
			if isAllowed && res.StatusCode != 200 ||
				!isAllowed && (res.StatusCode != 405 || got != allow) {
				t.Errorf("%s %s: got status %d and Allow %q", method, path, res.StatusCode, got)
			}
		}
	}
}

// An action may have the visitor go on elsewhere, and may add to the header.
func TestRedirectAndHeader(t *testing.T) {
	ans := web.Redirect("/cart")
	ans.Page = "cart"
	ans.Header = http.Header{
		"Content-Security-Policy": {"default-src 'self'"},
		"Set-Cookie":              {"theme=dark"}, "Vary": {"Accept-Language"},
	}
	s := newShop(t, insecure(), "", action(func(_ *http.Request, s *session) (web.Answer, error) {
		s.Data.Items = []string{"tea"}
		return ans, nil
	}))
	w := httptest.NewRecorder()
	w.Header().Set("Set-Cookie", "of=another")
	s.ServeHTTP(w, request("GET", "/test-only", ""))
	res := w.Result()
	if res.StatusCode != 303 || res.Header.Get("Location") != "/cart" || len(res.Cookies()) != 3 {
		t.Errorf("got status %d and header %v", res.StatusCode, res.Header)
	}
	policy := res.Header["Content-Security-Policy"]
	vary := strings.Join(res.Header["Vary"], ", ")
	if !slices.Equal(policy, []string{"default-src 'self'"}) ||
		vary != "Accept, Accept-Language, Cookie" {
		t.Errorf("got the header %v", res.Header)
	}
}

// What the layout shows on each page is there on error pages too, and may take
// something out of the session.
func TestShared(t *testing.T) {
	s := newShop(t, insecure(), "http://shop.example")
	s.Shared = func(r *http.Request, s *session) any {
		said := s.Data.Owner
		s.Data.Owner = ""
		return "shown once: " + said
	}
	c, err := s.Sessions.Seal(cart{Owner: "Zoe", Items: []string{"tea"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/cart", "/nowhere"} {
		res, page := s.do("GET", target, "", "Host", "shop.example", "Accept", testkit.Browser,
			"Cookie", c.Name+"="+c.Value)
		if !strings.Contains(page, "shown once: Zoe") || cookieIn(res) != "set" {
			t.Errorf("%s: got status %d and %s", target, res.StatusCode, page)
		}
	}
	_, page := s.do("GET", "/cart", "", "Host", "evil.example", "Accept", testkit.Browser)
	if strings.Contains(page, "shown once") {
		t.Errorf("got a session on a page that knows none: %s", page)
	}
}

// Balancers are told that the server is about to stop.
func TestHealth(t *testing.T) {
	s := newShop(t, insecure(), "")
	for status, text := range map[int]string{200: "ok\n", 503: "shutting down\n"} {
		s.draining = status == 503
		res, body := s.do("GET", "/healthz", "")
		if res.StatusCode != status || body != text ||
			!hasHeaders(res.Header, wantHeaders(false, false)) {
			t.Errorf("got status %d, %q and %v, want %d", res.StatusCode, body, res.Header, status)
		}
	}
}

func TestAssets(t *testing.T) {
	s := newShop(t, insecure(), "http://shop.example")
	_, page := s.do("GET", "/nowhere", "", "Host", "shop.example", "Accept", testkit.Browser)
	_, address, _ := strings.Cut(page, `<link href="`)
	address, _, _ = strings.Cut(address, `"`)
	res, body := s.do("GET", address, "") // of another host, whose page it is for as well
	etag := res.Header.Get("ETag")
	const forEver = "public, max-age=31536000, immutable"
	if res.StatusCode != 200 || body != ":root {}\n" ||
		res.Header.Get("Cache-Control") != forEver ||
		res.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("%s: got status %d, header %v", address, res.StatusCode, res.Header)
	}
	res, _ = s.do("GET", address, "", "If-None-Match", etag)
	if res.StatusCode != 304 || etag == "" {
		t.Errorf("got status %d with the ETag %q, want 304", res.StatusCode, etag)
	}
	// A copy of the site with other content must not be taken for this one for ever.
	if res, _ := s.do("GET", "/style.css?v=0123",
		""); res.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("got Cache-Control %q for another version", res.Header.Get("Cache-Control"))
	}
}

// A folder of assets is like so many assets, with one route.
func TestFolderOfAssets(t *testing.T) {
	s := newShop(t, insecure(), "http://shop.example")
	for path, kind := range map[string]string{
		"/static/app.js": "text/javascript; charset=utf-8", "/static/img/dot": "image/gif",
	} {
		res, _ := s.do("GET", path, "")
		again, _ := s.do("GET", path, "", "If-None-Match", res.Header.Get("ETag"))
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != kind ||
			res.Header.Get("Cache-Control") != "no-cache" || again.StatusCode != 304 {
			t.Errorf("%s: got status %d, %v, then %d", path, res.StatusCode, res.Header,
				again.StatusCode)
		}
	}
	for path, want := range map[string]int{
		"/static/": 404, "/static/img": 404, "/static/other.js": 404, "/static/../cart": 404,
	} {
		res, body := s.do("GET", path, "", "Host", "shop.example")
		if res.StatusCode != want || !strings.Contains(body, "There is no page") {
			t.Errorf("%s: got status %d and %q, want %d", path, res.StatusCode, body, want)
		}
	}
	want := []string{"GET /static/ 200", "GET /static/ 304", "GET other 404"}
	for _, got := range s.record.served {
		if !slices.Contains(want, got) {
			t.Errorf("got %q counted", got)
		}
	}
	// Its addresses change with the files, too.
	_, page := s.do("GET", "/help", "", "Host", "shop.example")
	_, address, _ := strings.Cut(page, `<img src="`)
	address, _, _ = strings.Cut(address, `"`)
	res, _ := s.do("GET", address, "")
	if !strings.Contains(address, "?v=") || !strings.Contains(res.Header.Get("Cache-Control"),
		"immutable") {
		t.Errorf("%s: got %v", address, res.Header)
	}
}

// What is wrong with a site is found before it answers anybody.
func TestNew(t *testing.T) {
	keys, _ := sessions.NewKeyring(key)
	type site struct {
		options sessions.Options[cart]
		config  web.Config
		files   fstest.MapFS
	}
	for want, change := range map[string]func(*site){
		"":             func(*site) {},
		"layout.html":  func(s *site) { delete(s.files, "templates/layout.html") },
		"error.html":   func(s *site) { delete(s.files, "templates/error.html") },
		"unexpected":   func(s *site) { s.files["templates/cart.html"].Data = []byte("{{end}}") },
		"unterminated": func(s *site) { s.files["templates/add.html"].Data = []byte(`{{"x`) },
		"shout":        func(s *site) { s.config.Funcs = nil },
		// One that only an error page has a use for, in a branch.
		`error.html:1:72: no such template "none"`: func(s *site) {
			const text = `{{if .TryAgain}}{{template "none"}}{{end}}`
			s.files["templates/error.html"].Data = []byte(page("", text))
		},
		"none.css": func(s *site) { s.config.Assets = []web.Asset{{File: "none.css"}} },
		"Insecure": func(s *site) { s.options.Bind = time.Hour },
		"slash": func(s *site) {
			s.config.Assets = []web.Asset{{Path: "/static", File: "static"}}
		},
	} {
		s := site{options: insecure(), files: files()}
		s.config = web.Config{Files: s.files, Funcs: template.FuncMap{"shout": strings.ToUpper}}
		change(&s)
		_, err := web.New(keys, s.options, s.config)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}
