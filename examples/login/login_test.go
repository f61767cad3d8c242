package main

import (
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The test binary is the program, too: see TestRestart.
func TestMain(m *testing.M) {
	if os.Getenv("BE_LOGIN") == "true" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start starts the site with an empty database, and returns its address, too.
func start(t *testing.T) (s *site, base string) {
	t.Helper()
	s = newSite(filepath.Join(t.TempDir(), "users.db"))
	server := httptest.NewServer(s.routes())
	t.Cleanup(func() {
		server.Close()
		s.db.Close()
	})
	return s, server.URL
}

// browser is a client with a cookie jar.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newBrowser(t *testing.T, base string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, base: base, client: &http.Client{Jar: jar}}
}

// open loads the page, which has to say all of want.
func (b *browser) open(want ...string) {
	b.t.Helper()
	res, err := b.client.Get(b.base + "/")
	b.wantPage(res, err, want)
}

// post posts a form, whose fields are pairs of name and value, and follows the redirect
// to the page, which has to say all of want. It returns the cookie that was set.
func (b *browser) post(path string, fields []string, want ...string) *http.Cookie {
	b.t.Helper()
	res, err := b.client.PostForm(b.base+path, form(fields))
	b.wantPage(res, err, want)
	redirect := res.Request.Response
	if redirect == nil || redirect.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("%s was not answered by a redirect with 303", path)
	}
	cookies := redirect.Cookies()
	if len(cookies) != 1 {
		b.t.Fatalf("%s: got %d cookies, want one", path, len(cookies))
	}
	return cookies[0]
}

func form(fields []string) url.Values {
	values := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	return values
}

func (b *browser) wantPage(res *http.Response, err error, want []string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Request.URL.Path != "/" {
		b.t.Fatalf("got %s with %s (%v)", res.Request.URL, res.Status, err)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		b.t.Errorf("got Cache-Control %q, want no-store", got)
	}
	wantTexts(b.t, string(page), want)
}

// wantTexts fails unless a page has all texts, and not those that begin with "not: ".
func wantTexts(t *testing.T, page string, want []string) {
	t.Helper()
	for _, text := range want {
		text, not := strings.CutPrefix(text, "not: ")
		if strings.Contains(page, text) == not {
			t.Errorf("got the page %q, want in it (not: %t) %q", page, not, text)
		}
	}
}

// cookies returns what the browser would send.
func (b *browser) cookies() []*http.Cookie {
	u, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.client.Jar.Cookies(u)
}

const (
	asAda    = "logged in as <b>ada</b>"
	asNobody = "You are not logged in."
)

var (
	ada      = []string{"user", "ada", "password", "first password"}
	changed  = []string{"user", "ada", "password", "second password"}
	wrong    = []string{"user", "ada", "password", "wrong password"}
	nobody   = []string{"user", "nobody", "password", "wrong password"}
	remember = append(ada[:4:4], "remember", "on")
)

func TestVisit(t *testing.T) {
	_, base := start(t)
	b := newBrowser(t, base)
	b.open(asNobody, "It is empty.")
	if got := len(b.cookies()); got != 0 {
		t.Errorf("got %d cookies for nothing", got)
	}
	b.post("/cart", []string{"item", "tea"}, "tea is in your cart.", "<li>tea</li>")
	b.open("<li>tea</li>", "not: tea is in your cart.")
	unknown := b.cookies()[0]

	b.post("/signup", ada, "You are logged in.", asAda, "<li>tea</li>")
	b.post("/cart", []string{"item", "milk"}, asAda, "<li>tea</li>", "<li>milk</li>")
	b.post("/logout", nil, "You are logged out.", asNobody, "It is empty.")
	b.open("not: You are logged out.")
	if got := len(b.cookies()); got != 0 {
		t.Errorf("got %d cookies after the logout", got)
	}

	b.post("/login", wrong, "The user or the password is wrong.", asNobody)
	b.post("/login", ada, "You are logged in.", asAda)
	b.open(asAda, "not: You are logged in.")

	thief := newBrowser(t, base)
	u, _ := url.Parse(base)
	thief.client.Jar.SetCookies(u, []*http.Cookie{unknown})
	thief.open(asNobody, "<li>tea</li>")
}

func TestRefusals(t *testing.T) {
	_, base := start(t)
	b := newBrowser(t, base)
	newBrowser(t, base).post("/signup", ada)
	for _, tt := range []struct {
		path   string
		fields []string
		want   string
	}{
		{"/signup", ada, "There is a user of that name."},
		{"/signup", []string{"user", "bob", "password", "1234567"}, "at least 8"},
		{"/signup", []string{"user", "", "password", "12345678"}, "1 to 30"},
		{"/signup", []string{"user", strings.Repeat("b", 31), "password", "12345678"}, "1 to 30"},
		{"/signup", []string{"user", "\xff", "password", "12345678"}, "1 to 30"},
		{"/password", []string{"old", "first password", "new", "12345678"}, "is wrong"},
		{"/cart", []string{"item", ""}, "1 to 30"},
		{"/cart", []string{"item", "\xff"}, "1 to 30"},
	} {
		b.post(tt.path, tt.fields, tt.want, asNobody, "It is empty.")
	}
	b.post("/login", ada, asAda)
	b.post("/password", []string{"old", "first password", "new", "1234567"}, "at least 8")
	b.post("/password", []string{"old", "wrong password", "new", "12345678"}, "is wrong")
	b.open(asAda)
}

// Whatever is put into a session that may be, it fits into the cookie.
func TestFullSession(t *testing.T) {
	_, base := start(t)
	b := newBrowser(t, base)
	long := strings.Repeat("🍵", 30)
	b.post("/signup", []string{"user", long, "password", "12345678"}, long)
	for range 12 {
		b.post("/cart", []string{"item", long}, long+" is in your cart.")
	}
	b.post("/cart", []string{"item", "tea"}, "up to 12 items", "not: <li>tea</li>")
}

func TestAnotherUser(t *testing.T) {
	_, base := start(t)
	b := newBrowser(t, base)
	b.post("/signup", ada)
	b.post("/cart", []string{"item", "tea"})
	b.post("/login", ada, "<li>tea</li>")
	b.post("/signup", []string{"user", "bob", "password", "12345678"},
		"logged in as <b>bob</b>", "It is empty.")
}

func TestRemember(t *testing.T) {
	s, base := start(t)
	b := newBrowser(t, base)
	b.post("/signup", ada)
	for _, tt := range []struct {
		fields []string
		maxAge int // none: until the browser closes
		ends   time.Duration
	}{
		{ada, 0, 30 * time.Minute},
		{remember, 30 * 24 * 60 * 60, 30 * 24 * time.Hour},
		{ada, 0, 30 * time.Minute},
	} {
		c := b.post("/login", tt.fields, asAda)
		if c.MaxAge != tt.maxAge {
			t.Errorf("got a Max-Age of %d, want %d", c.MaxAge, tt.maxAge)
		}
		v := s.sessions.Open(c)
		if got := v.Ends().Sub(v.Began()); got != tt.ends {
			t.Errorf("the session ends after %v, want %v", got, tt.ends)
		}
	}
}

// Half an hour idle is too much, and half an hour of use isn't.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t)
		c.post("/signup", ada)
		c.wantPage(asAda)
		for range 3 {
			time.Sleep(29 * time.Minute)
			c.wantPage(asAda)
		}
		time.Sleep(31 * time.Minute)
		c.wantPage("Your session has ended.")
		c.wantPage(asNobody)
	})
}

// The 30 days count from the login, not from the first visit, and again from a change of
// the password.
func TestThirtyDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const twentyDays = 20 * 24 * time.Hour
		c := newCaller(t)
		c.post("/cart", []string{"item", "tea"})
		time.Sleep(twentyDays)
		c.post("/signup", remember)
		time.Sleep(twentyDays)
		c.wantPage(asAda)
		c.post("/password", []string{"old", "first password", "new", "second password"})
		time.Sleep(twentyDays)
		c.wantPage(asAda)
		time.Sleep(twentyDays)
		c.wantPage("Your session has ended.")
	})
}

// Messages don't fill the session where nobody looks at the page, nor do large forms.
func TestManyPosts(t *testing.T) {
	c := newCaller(t)
	for range 100 {
		c.post("/cart", []string{"item", ""})
	}
	c.post("/signup", []string{"user", "bob", "password", strings.Repeat("b", 64<<10)})
	c.wantPage("1 to 30")
	c.wantPage(asNobody)
}

// caller calls the site without a socket, so that a test can have a time of its own.
type caller struct {
	t      *testing.T
	site   http.Handler
	cookie *http.Cookie
}

func newCaller(t *testing.T) *caller {
	s := newSite(filepath.Join(t.TempDir(), "users.db"))
	t.Cleanup(func() { s.db.Close() })
	return &caller{t: t, site: s.routes()}
}

func (c *caller) call(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.cookie != nil {
		r.AddCookie(c.cookie)
	}
	w := httptest.NewRecorder()
	c.site.ServeHTTP(w, r)
	if cookies := w.Result().Cookies(); len(cookies) > 0 {
		c.cookie = cookies[0]
	}
	return w
}

func (c *caller) post(path string, fields []string) {
	c.t.Helper()
	if w := c.call("POST", path, form(fields).Encode()); w.Code != http.StatusSeeOther {
		c.t.Errorf("%s: got %d, want 303", path, w.Code)
	}
}

func (c *caller) wantPage(want string) {
	c.t.Helper()
	if w := c.call("GET", "/", ""); !strings.Contains(w.Body.String(), want) {
		c.t.Errorf("got %d and %q, want %q in it", w.Code, w.Body, want)
	}
}

func TestChangeOfPassword(t *testing.T) {
	_, base := start(t)
	this, other := newBrowser(t, base), newBrowser(t, base)
	this.post("/signup", ada)
	other.post("/login", remember, asAda)
	copied := newBrowser(t, base)
	u, _ := url.Parse(base)
	copied.client.Jar.SetCookies(u, this.cookies())

	this.post("/password", []string{"old", "first password", "new", "second password"},
		"Your password is changed", asAda)
	this.open(asAda)
	for _, b := range []*browser{other, copied} {
		b.open(asNobody, "You were logged out from another browser.")
		b.post("/login", ada, "is wrong", asNobody)
		b.post("/login", changed, asAda)
	}
	this.open(asAda)
}

func TestLogoutEverywhere(t *testing.T) {
	_, base := start(t)
	this, other := newBrowser(t, base), newBrowser(t, base)
	this.post("/signup", ada)
	other.post("/login", remember, asAda)
	unknown := newBrowser(t, base)
	unknown.post("/cart", []string{"item", "tea"})

	unknown.post("/logout-everywhere", nil, asNobody)
	other.open(asAda)
	this.post("/logout-everywhere", nil, "You are logged out.", asNobody)
	other.open("You were logged out from another browser.", asNobody)
	other.post("/login", ada, asAda)
}

func TestCrossOrigin(t *testing.T) {
	_, base := start(t)
	b := newBrowser(t, base)
	b.post("/signup", ada)
	for _, path := range []string{
		"/signup", "/login", "/logout", "/logout-everywhere", "/password", "/cart",
	} {
		r, err := http.NewRequest("POST", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		res, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got %s, want 403", path, res.Status)
		}
	}
	b.open(asAda)
}

// An unknown user costs as many hashes as a wrong password.
func TestHashes(t *testing.T) {
	s, base := start(t)
	b := newBrowser(t, base)
	b.post("/signup", ada)
	for _, tt := range []struct {
		what   string
		fields []string
	}{{"a right password", ada}, {"a wrong one", wrong}, {"an unknown user", nobody}} {
		before := s.hashed
		b.post("/login", tt.fields)
		if got := s.hashed - before; got != 1 {
			t.Errorf("%s: got %d hashes, want 1", tt.what, got)
		}
	}
}

func TestTries(t *testing.T) {
	s, base := start(t)
	newBrowser(t, base).post("/signup", ada)
	b := newBrowser(t, base)
	for range 9 {
		b.post("/login", wrong, "is wrong")
	}
	b.post("/login", ada, asAda) // clears them
	for range 10 {
		b.post("/login", wrong, "is wrong")
		b.post("/login", nobody, "is wrong")
	}
	before := s.hashed
	b.post("/login", ada, "too many tries")
	b.post("/login", nobody, "too many tries")
	b.post("/password", []string{"old", "first password", "new", "second password"},
		"too many tries")
	if s.hashed != before {
		t.Error("a try too many has cost a hash")
	}
	b.post("/signup", []string{"user", "bob", "password", "12345678"}, "<b>bob</b>")

	s.exec(`UPDATE tries SET at = at - 600`) // ten minutes pass
	b.post("/login", ada, asAda)
}

// Without its database the site says so, and ends no session.
func TestNoDatabase(t *testing.T) {
	s, base := start(t)
	b := newBrowser(t, base)
	b.post("/signup", ada)
	s.db.Close()
	for _, method := range []string{"GET", "POST"} {
		path := map[string]string{"GET": "/", "POST": "/logout-everywhere"}[method]
		r, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusInternalServerError || len(res.Cookies()) != 0 {
			t.Errorf("%s: got %s and %d cookies, want 500 and none",
				path, res.Status, len(res.Cookies()))
		}
	}
}

// Users and sessions are there after a restart of the program.
func TestRestart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	file := filepath.Join(t.TempDir(), "users.db")
	b := newBrowser(t, "http://"+addr)

	end := run(t, addr, file)
	b.post("/signup", remember, asAda)
	end()
	run(t, addr, file)
	b.open(asAda)
	newBrowser(t, b.base).post("/login", ada, asAda)

	for _, name := range []string{file, file + ".key"} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got the file %v (%v), want one that only its owner can read", info, err)
		}
	}
}

// run runs the program until the test is over or end is called.
func run(t *testing.T, addr, file string) (end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-addr", addr, "-db", file)
	cmd.Env = append(os.Environ(), "BE_LOGIN=true")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(end)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return end
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
