package main

// What docs/site.md says is tried here, in a copy of the project that has its code. users.go
// stands for a database.

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha1"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// recipes are what is asked of the site, in the order of each recipe, and what is answered.
var recipes = []struct {
	name   string
	before session // what the visitor's session has at first
	steps  []step
}{
	{"an action, a plain handler", session{}, []step{
		{"GET", "/badge", "", 403, "Set your name first."},
		{"POST", "/set_name", "name=Alice", 200, "Name Alice set in session"},
		{"GET", "/badge", "", 200, "Badge of Alice"},
		{"GET", "/hello", "", 200, "Hello, Alice"},
		{"POST", "/out", "", 303, "Go on at /"},
		{"GET", "/get_name", "", 200, "Name not found in session"},
	}},
	{"a login", session{}, []step{
		{"GET", "/login", "", 200, "<!DOCTYPE html>..."},
		{"POST", "/login", "user=ada&password=wrong", 403, "The user or the password is wrong."},
		{"POST", "/login", "user=ada&password=pw", 303, "Go on at /"},
		{"GET", "/session", "", 200, "verdict       valid..."},
		{"POST", "/out", "", 303, "Go on at /"},
		{"GET", "/session", "", 200, "verdict       none..."},
	}},
	{"the cart of nobody", session{Cart: []string{"tea"}}, []step{
		{"POST", "/login", "user=ada&password=pw", 303, "Go on at /"},
		{"GET", "/inbox", "", 200, "In the cart: 1"},
	}},
	{"the same user's cart", session{User: "ada", Era: 1, Cart: []string{"tea"}}, []step{
		{"POST", "/login", "user=ada&password=pw", 303, "Go on at /"},
		{"GET", "/inbox", "", 200, "In the cart: 1"},
	}},
	{"another user's cart", session{User: "bob", Era: 2, Cart: []string{"tea"}}, []step{
		{"POST", "/login", "user=ada&password=pw", 303, "Go on at /"},
		{"GET", "/inbox", "", 200, "In the cart: 0"},
	}},
	{"a user whose sessions were ended", session{User: "bob", Era: -1}, []step{
		{"GET", "/session", "", 200, "verdict       revoked..."},
		{"GET", "/session", "", 200, "verdict       revoked..."},
		{"POST", "/login", "user=bob&password=pw", 303, "Go on at /"},
		{"GET", "/session", "", 200, "verdict       valid..."},
	}},
	{"a provider's login that was begun here", session{State: "s"}, []step{
		{"GET", "/finish?code=c&state=t", "", 403, "This login was not begun here."},
		{"GET", "/finish?code=c&state=s", "", 303, "Go on at /"},
		{"GET", "/finish?code=c&state=s", "", 403, "This login was not begun here."},
	}},
	{"a provider's login that was begun elsewhere", session{}, []step{
		{"GET", "/finish?code=c&state=", "", 403, "This login was not begun here."},
	}},
}

type step struct {
	method, path, form string
	status             int
	text               string
}

func TestRecipes(t *testing.T) {
	for _, recipe := range recipes {
		t.Run(recipe.name, func(t *testing.T) {
			v := newRecipe(t, recipe.before)
			for _, s := range recipe.steps {
				v.want(s.method, s.path, s.form, s.status, s.text)
			}
		})
	}
}

// recipe is a visitor of the site, and who can look into the cookie.
type recipe struct {
	*visitor
	app     app
	manager *sessions.Manager[session]
}

func newRecipe(t *testing.T, before session) *recipe {
	a := newTestApp(t)
	v := &recipe{
		visitor: &visitor{t: t, site: a}, app: a, manager: managerOf(t, a, a.Options),
	}
	if c := seal(t, v.manager, before); c != nil {
		v.cookie = c.Name + "=" + c.Value
	}
	return v
}

func managerOf[T any](t *testing.T, a app, o sessions.Options[T]) *sessions.Manager[T] {
	t.Helper()
	m, err := sessions.New(a.Keys, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// seal returns a cookie with data in it, or nil if there is none.
func seal[T any](t *testing.T, m *sessions.Manager[T], data T) *http.Cookie {
	t.Helper()
	c, err := m.Seal(data)
	if err != nil {
		t.Fatal(err)
	}
	if c.Value == "" {
		return nil
	}
	return c
}

// open returns the visitor's session.
func (v *recipe) open() *sessions.Session[session] {
	_, value, _ := strings.Cut(v.cookie, "=")
	return v.manager.Open(&http.Cookie{Name: v.manager.CookieName(), Value: value})
}

// request makes a request of the visitor's with a header.
func (v *recipe) request(method, path, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", v.cookie)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	v.site.ServeHTTP(w, r)
	return w.Result()
}

// A file of 8 MiB fits, and no greater one.
func TestRecipeUpload(t *testing.T) {
	v := newRecipe(t, session{})
	for size, want := range map[int]int{1 << 20: 200, 9 << 20: 413} {
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		part, _ := form.CreateFormFile("photo", "a.jpg")
		part.Write(make([]byte, size))
		form.Close()
		res := v.request("POST", "/photo", b.String(), "Content-Type", form.FormDataContentType())
		if res.StatusCode != want {
			t.Errorf("%d bytes: got status %d, want %d", size, res.StatusCode, want)
		}
	}
	v.want("POST", "/photo", "photo=none", 400, "Send a file.")
}

func TestRecipeKeepCart(t *testing.T) {
	v := newRecipe(t, session{})
	m := managerOf(t, v.app, sessions.Options[session]{Accept: keepCart})
	cart := []string{"tea"}
	for _, tt := range []struct{ had, want session }{
		{session{User: "bob", Era: 2, Cart: cart}, session{User: "bob", Cart: cart}},
		{session{User: "bob", Era: -1, Cart: cart}, session{Cart: cart}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(seal(t, m, tt.had))
		w := httptest.NewRecorder()
		m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got := m.Get(r.Context()).Data
			if got.User != tt.want.User || !slices.Equal(got.Cart, tt.want.Cart) {
				t.Errorf("got %q and %q, want %v", got.User, got.Cart, tt.want)
			}
		})).ServeHTTP(w, r)
		if saved := len(w.Result().Cookies()) == 1; saved != (tt.want.User == "") {
			t.Errorf("%v: saved is %t", tt.had, saved)
		}
	}
}

func TestRecipeToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newRecipe(t, session{})
		m := managerOf(t, v.app, sessions.Options[session]{Accept: hasToken})
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(seal(t, m, session{User: "ada", TokenEnds: time.Now().Add(time.Hour)}))
		for _, want := range []sessions.Verdict{sessions.Valid, sessions.Revoked} {
			if got := m.Load(r).Verdict(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			time.Sleep(time.Hour)
		}
	})
}

// Those who are remembered have 30 days, others half an hour, and nobody has the flags'.
func TestRecipeLimits(t *testing.T) {
	for form, want := range map[string]time.Duration{
		"": 14 * 24 * time.Hour, "user=ada&password=pw": 30 * time.Minute,
		"user=ada&password=pw&remember=on": 30 * 24 * time.Hour,
	} {
		v := newRecipe(t, session{Name: "Ada"})
		if form != "" {
			v.want("POST", "/login", form, 303, "Go on at /")
		}
		if s := v.open(); s.Ends().Sub(s.Written()) != want ||
			s.Limits().BrowserSession != (want == 30*time.Minute) {
			t.Errorf("%s: got %v", form, s.Limits())
		}
	}
}

// A message waits for a page, and is shown there once.
func TestRecipeFlash(t *testing.T) {
	v := newRecipe(t, session{})
	v.want("POST", "/login", "user=ada&password=pw", 303, "Go on at /")
	v.want("GET", "/inbox", "", 200, "In the cart: 0")
	v.accept = testkit.Browser
	for _, want := range []bool{true, false} {
		_, page := v.send("GET", "/nowhere", "")
		if strings.Contains(page, "Welcome, ada.") != want {
			t.Errorf("got %s, want the message: %t", page, want)
		}
	}
}

// The post comes from another site and without the session, and goes on to this one.
func TestRecipeProvider(t *testing.T) {
	v := newRecipe(t, session{})
	for path, want := range map[string]int{"/callback": 303, "/login": 403} {
		res := v.request("POST", path, "code=c&state=s&user=ada&password=pw",
			"Sec-Fetch-Site", "cross-site", "Origin", "https://login.example")
		if res.StatusCode != want || len(res.Cookies()) > 0 ||
			want == 303 && res.Header.Get("Location") != "/finish?code=c&state=s" {
			t.Errorf("%s: got status %d and %v", path, res.StatusCode, res.Header)
		}
	}
}

// A script's request is a page only if it says so. It renews the session, a poll doesn't.
func TestRecipeScripts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newRecipe(t, session{Name: "Ada"})
		for accept, want := range map[string]string{"*/*": "text/plain", "text/html": "text/html"} {
			res := v.request("GET", "/get_name", "", "Accept", accept, "Sec-Fetch-Dest", "empty")
			if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %s", accept, got)
			}
		}
		time.Sleep(5 * 24 * time.Hour)
		for path, want := range map[string]int{"/inbox": 0, "/get_name": 1} {
			res := v.request("GET", path, "", "Sec-Fetch-Dest", "empty")
			if got := len(res.Cookies()); got != want {
				t.Errorf("%s: got %d cookies, want %d", path, got, want)
			}
		}
	})
}

// A stream goes on beyond the site's time limit, and notices that its session has ended.
func TestRecipeStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newRecipe(t, session{User: "eve", Era: eraOf("eve")})
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/ticks", nil)
		r.Host = "localhost"
		r.Header.Set("Cookie", v.cookie)
		w, ended := httptest.NewRecorder(), false
		go func() {
			v.site.ServeHTTP(w, r)
			ended = true
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(w.Body.String(), "data: "); n != 61 || ended {
			t.Errorf("got %d messages, and it has ended: %t", n, ended)
		}
		eras["eve"]++
		time.Sleep(time.Second)
		synctest.Wait()
		if n := strings.Count(w.Body.String(), "data: "); n != 61 || !ended {
			t.Errorf("got %d messages, and it has ended: %t", n, ended)
		}
	})
}

// Of two tabs that write at once, the answer that comes last is kept, and all of it.
func TestRecipeTwoTabs(t *testing.T) {
	v := newRecipe(t, session{User: "ada", Era: 1})
	other := *v.visitor
	v.want("POST", "/login", "user=ada&password=pw&remember=on", 303, "Go on at /")
	other.want("POST", "/set_name", "name=Ada", 200, "Name Ada set in session")
	v.cookie = other.cookie
	if got := v.open().Data; got.Name != "Ada" || got.Remember {
		t.Errorf("got %v", got)
	}
}

// The second session outlives the first, and is counted.
func TestRecipeSecondSession(t *testing.T) {
	v := newRecipe(t, session{})
	server := httptest.NewServer(v.site)
	defer server.Close()
	site, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar}
	names := func() string {
		all := []string{}
		for _, c := range jar.Cookies(site) {
			all = append(all, c.Name)
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	}
	for i, want := range []string{"[basket]", "[basket session]", "[basket]"} {
		path := []string{"/basket?item=tea", "/set_name", "/out"}[i]
		res, err := browser.PostForm(server.URL+path, map[string][]string{"name": {"Ada"}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := names(); got != want {
			t.Errorf("%s: got the cookies %s, want %s", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	v.app.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `session="basket"`) {
		t.Errorf("the second session is not counted: %s", w.Body)
	}
}

func TestRecipeOptions(t *testing.T) {
	v := newRecipe(t, session{})
	c := seal(t, managerOf(t, v.app, belowDomain), session{Name: "Ada"})
	if c.Domain != "example.com" || !c.Secure {
		t.Errorf("got %v", c)
	}
	c = seal(t, managerOf(t, v.app, inFrames), session{Name: "Ada"})
	if c.SameSite != http.SameSiteNoneMode || !c.Partitioned || !c.Secure {
		t.Errorf("got %v", c)
	}
	for path, want := range map[string]bool{"/widget": true, "/": false} {
		policy := v.request("GET", path, "").Header.Get("Content-Security-Policy")
		if strings.Contains(policy, "frame-ancestors https://portal.example") != want {
			t.Errorf("%s: got the policy %s", path, policy)
		}
	}
}

// takesOver has a visitor with these cookies come to a site with Adopt, and returns the
// session, and what is set and deleted by the answer.
func takesOver(t *testing.T, m *sessions.Manager[session], old ...*http.Cookie) (
	got session, set, deleted string) {
	t.Helper()
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	for _, c := range old {
		r.AddCookie(c)
	}
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = m.Get(r.Context()).Data
	})).ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			deleted += c.Name
		} else {
			set += c.Name
		}
	}
	return got, set, deleted
}

func TestRecipeRenamed(t *testing.T) {
	v := newRecipe(t, session{})
	m, err := renamed(v.app.Keys)
	if err != nil {
		t.Fatal(err)
	}
	old := managerOf(t, v.app, sessions.Options[session]{Insecure: true})
	got, set, deleted := takesOver(t, m, seal(t, old, session{Name: "Ada"}))
	if got.Name != "Ada" || set != "__Host-Http-shop" || deleted != "session" {
		t.Errorf("got %v, and %s is set, %s deleted", got, set, deleted)
	}
}

func TestRecipeForget(t *testing.T) {
	type older struct{ Name, Colour string }
	v := newRecipe(t, session{})
	was := managerOf(t, v.app, sessions.Options[older]{Insecure: true})
	v.cookie = "session=" + seal(t, was, older{Name: "Ada", Colour: "red"}).Value
	had := v.open()
	payload := had.Cookie().Payload()
	v.want("GET", "/get_name", "", 200, "Name: Ada")
	has := v.open()
	if !bytes.Contains(payload, []byte("Colour")) ||
		bytes.Contains(has.Cookie().Payload(), []byte("Colour")) {
		t.Errorf("got %q, and then %q", payload, has.Cookie().Payload())
	}
}

func TestRecipeFromSCS(t *testing.T) {
	old := scs.New()
	w := httptest.NewRecorder()
	old.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		old.Put(r.Context(), "user", "ada")
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	c := w.Result().Cookies()[0]
	v := newRecipe(t, session{})
	o := sessions.Options[session]{Insecure: true, Name: "shop", Adopt: fromSCS(old)}
	m := managerOf(t, v.app, o)
	if got, set, deleted := takesOver(t, m, c); got.User != "ada" || set != "shop" ||
		deleted != "session" {
		t.Errorf("got %v, and %s is set, %s deleted", got, set, deleted)
	}
	c.Value = "x" + c.Value
	if got, set, _ := takesOver(t, m, c); got.User != "" || set != "" {
		t.Errorf("got %v", got)
	}
}

// A cookie that cookie-session 2.1 has made with express.
func TestRecipeFromExpress(t *testing.T) {
	const value = "eyJ1c2VyIjoiYWRhIiwiY2FydCI6WyJ0ZWEiLCJMw7ZmZmVsIl19"
	v := newRecipe(t, session{})
	m := managerOf(t, v.app, sessions.Options[session]{
		Adopt: fromExpress("session", "a secret for tests"),
	})
	for sum, want := range map[string]string{
		"IOH9rXKd3FwpJ89OUVc55X7ICsg": "ada", "IOH9rXKd3FwpJ89OUVc55X7ICsh": "",
	} {
		got, _, _ := takesOver(t, m, &http.Cookie{Name: "session", Value: value},
			&http.Cookie{Name: "session.sig", Value: sum})
		if got.User != want {
			t.Errorf("%s: got %v, want %s", sum, got, want)
		}
	}
}

// A cookie that Rails 6.1 has made, whose keys are made with SHA-1.
func TestRecipeFromRails(t *testing.T) {
	const value = "GOK4BD81a4a1Onc0qKo9HmxjboF5g3tY5UezXTqMechhgHT56OAcc5Fb7CXBZXDeFJbKRDrX%2B" +
		"NNT5paSHj4flHo9Uc%2BSlJjt0lRqyjzncLSDZImwqD0RAjG8116J5iw6CTWnezdLTvvUCkD3pxDOOgncT3%2F" +
		"bGT5muSA0PUDnViE38ZTEXHNsjkKt79SAXbLW0fR4U3A%3D--EMjqaS9EdwBBHbcd--" +
		"CBbAq0VQAhseKEvBcROyzw%3D%3D"
	key, err := pbkdf2.Key(sha1.New, "a secret_key_base for tests, and nothing else",
		[]byte("authenticated encrypted cookie"), 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[*http.Cookie]bool{
		{Name: "_shop_session", Value: value}:                 true,
		{Name: "_shop_session", Value: "H" + value[1:]}:       false,
		{Name: "_another_session", Value: value}:              false,
		{Name: "_shop_session", Value: ""}:                    false,
		{Name: "_shop_session", Value: "a--b--c--d"}:          false,
		{Name: "_shop_session", Value: "a--AAAAAAAAAAAAAAAA"}: false,
	} {
		data, ok := openRails(key, c)
		if ok != want || ok && !strings.Contains(string(data), `"user":"ada"`) {
			t.Errorf("%s: got %s, %t", c, data, ok)
		}
	}
}
