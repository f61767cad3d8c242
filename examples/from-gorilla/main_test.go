package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	gorilla "github.com/gorilla/sessions"

	"cookiesession/sessions"
)

const oldKey = "a key of the shop as it was before"

// site has copies of the shop on one host, so that a visitor's cookies go to all of them.
type site struct {
	before    string // a copy on gorilla/sessions
	alongside string // a new one beside it
	after     string // a new one, once there is none of before
}

func newSite(t *testing.T) site {
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	alongside, err := newShop(keys, oldKey, true)
	if err != nil {
		t.Fatal(err)
	}
	after, err := newShop(keys, oldKey, false)
	if err != nil {
		t.Fatal(err)
	}
	return site{
		before: serve(t, oldShop(oldKey)), alongside: serve(t, alongside), after: serve(t, after),
	}
}

func serve(t *testing.T, h http.Handler) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// oldShop returns the shop as it was before, with one value more in its session.
func oldShop(key string) http.Handler {
	store := gorilla.NewCookieStore([]byte(key))
	store.Options.Secure, store.Options.SameSite = false, http.SameSiteLaxMode
	change := func(f func(*gorilla.Session, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s, _ := store.Get(r, oldName)
			f(s, r)
			if err := s.Save(r, w); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, oldName)
		user, _ := s.Values["user"].(string)
		cart, _ := s.Values["cart"].([]string)
		fmt.Fprintf(w, "User: %s\nCart: %s\n", user, strings.Join(cart, ", "))
	})
	mux.HandleFunc("GET /theme", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, oldName)
		fmt.Fprint(w, s.Values["theme"])
	})
	mux.HandleFunc("POST /login", change(func(s *gorilla.Session, r *http.Request) {
		s.Values["user"], s.Values["theme"] = r.FormValue("user"), "dark"
	}))
	mux.HandleFunc("POST /cart", change(func(s *gorilla.Session, r *http.Request) {
		cart, _ := s.Values["cart"].([]string)
		s.Values["cart"] = append(cart, r.FormValue("item"))
	}))
	mux.HandleFunc("POST /logout", change(func(s *gorilla.Session, _ *http.Request) {
		s.Options.MaxAge = -1
	}))
	return mux
}

// visitor is a browser with its cookies.
type visitor struct {
	t *testing.T
	http.Client
}

func newVisitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, Client: http.Client{Jar: jar}}
}

// posts posts form to a page, which may redirect.
func (v *visitor) posts(page string, form url.Values) {
	v.t.Helper()
	v.answer(v.PostForm(page, form))
}

// sees checks what a page says.
func (v *visitor) sees(page, want string) {
	v.t.Helper()
	if got := v.answer(v.Get(page)); got != want {
		v.t.Errorf("%s: got %q, want %q", page, got, want)
	}
}

func (v *visitor) answer(r *http.Response, err error) string {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		v.t.Fatalf("%s: %s: %s, %v", r.Request.URL, r.Status, body, err)
	}
	return string(body)
}

// cookies returns the names of the visitor's cookies.
func (v *visitor) cookies(page string) string {
	to, err := url.Parse(page)
	if err != nil {
		v.t.Fatal(err)
	}
	var names []string
	for _, c := range v.Jar.Cookies(to) {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

var (
	ada  = url.Values{"user": {"Ada"}}
	bob  = url.Values{"user": {"Bob"}}
	tea  = url.Values{"item": {"tea"}}
	cake = url.Values{"item": {"cake"}}
)

const nobody = "User: \nCart: \n"

// While old copies run, what one copy does the other knows.
func TestSideBySide(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(s.before+"/login", ada)
	v.posts(s.alongside+"/cart", tea)
	v.posts(s.before+"/cart", cake)
	for _, copy := range []string{s.before, s.alongside} {
		v.sees(copy, "User: Ada\nCart: tea, cake\n")
	}
	v.sees(s.before+"/theme", "dark") // of which new copies know nothing

	v.posts(s.before+"/logout", nil)
	v.sees(s.alongside, nobody)
	v.posts(s.alongside+"/login", bob)
	v.sees(s.before, "User: Bob\nCart: \n")
	v.posts(s.alongside+"/logout", nil)
	v.sees(s.before, nobody)
	v.sees(s.alongside, nobody)
	if got := v.cookies(s.before); got != "" {
		t.Errorf("cookies after a logout: %s", got)
	}
}

// Once there are no old copies, a visitor who comes back is known, and the old cookie goes.
func TestTakenOver(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(s.before+"/login", ada)
	v.sees(s.after, "User: Ada\nCart: \n")
	if got := v.cookies(s.after); got != "session" {
		t.Errorf("cookies: got %q, want session", got)
	}
	v.posts(s.after+"/logout", nil)
	v.sees(s.after, nobody)
}

// Who came while old copies ran keeps the session, also when their cookie has expired.
func TestOutlivesTheOldCookie(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(s.alongside+"/login", ada)
	to, err := url.Parse(s.after)
	if err != nil {
		t.Fatal(err)
	}
	v.Jar.SetCookies(to, []*http.Cookie{{Name: oldName, Path: "/", MaxAge: -1}})
	if got := v.cookies(s.after); got != "session" {
		t.Fatalf("cookies: got %q, want session", got)
	}
	v.sees(s.after, "User: Ada\nCart: \n")
}

// Who came while old copies ran goes on after them, and logs out of both.
func TestTakenOverLater(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(s.before+"/login", ada)
	v.posts(s.alongside+"/cart", tea)
	v.posts(s.after+"/cart", cake)
	v.sees(s.after, "User: Ada\nCart: tea, cake\n")
	v.posts(s.after+"/logout", nil)
	v.sees(s.after, nobody)
	v.sees(s.before, nobody)
}

// After a step back, old copies learn of a session with its next change.
func TestStepBack(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(s.after+"/login", ada)
	v.sees(s.alongside, "User: Ada\nCart: \n")
	v.sees(s.before, nobody)
	v.posts(s.alongside+"/cart", tea)
	v.sees(s.before, "User: Ada\nCart: tea\n")
}

// A session that old copies can't hold is the new ones' alone.
func TestTooLargeForOldCopies(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	long := strings.Repeat("tea", 730) // gob takes more room than CBOR
	v.posts(s.before+"/login", ada)
	v.posts(s.alongside+"/cart", url.Values{"item": {long}})
	v.sees(s.alongside, "User: Ada\nCart: "+long+"\n")
	v.sees(s.before, nobody)
}

// Only cookies of the old copies' key count.
func TestForged(t *testing.T) {
	s, v := newSite(t), newVisitor(t)
	v.posts(serve(t, oldShop("another key"))+"/login", ada)
	v.sees(s.alongside, nobody)
	v.sees(s.after, nobody)
	if _, err := newShop(nil, "", false); err == nil {
		t.Error("a shop without the old copies' key was made")
	}
}
