// Login is a site with users and a cart, whose sessions are in the visitors' cookies.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"embed"
	"errors"
	"flag"
	"html/template"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"cookiesession/sessions"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"golang.org/x/crypto/argon2"
	_ "modernc.org/sqlite"
)

// session is what a visitor's cookie has in it.
type session struct {
	User     string // who is logged in, or empty
	Stamp    string // of the user's account, as it was at login
	Remember bool
	Cart     []string
	Flash    sessions.Flash
}

type visit = sessions.Session[session]

type site struct {
	db       *sql.DB
	sessions *sessions.Manager[session]
	hashing  sync.Mutex // one at a time, since each needs 19 MiB
	hashed   int        // how many passwords, for the tests
}

//go:embed home.html schema.sql
var files embed.FS

var homePage = template.Must(template.ParseFS(files, "home.html"))

func main() {
	addr := flag.String("addr", "localhost:8080", "listen at this `host:port`")
	file := flag.String("db", "users.db", "keep the users in this `file`")
	flag.Parse()
	server := &http.Server{
		Addr: *addr, Handler: newSite(*file).routes(), ReadTimeout: 10 * time.Second,
	}
	log.Printf("http://%s/", *addr)
	log.Fatal(server.ListenAndServe())
}

// newSite returns a site with its users in a file, and its keys in another one beside it.
func newSite(file string) *site {
	if _, err := os.Stat(file + ".key"); errors.Is(err, os.ErrNotExist) {
		must(0, os.WriteFile(file+".key", []byte(sessions.NewKey().Secret()+"\n"), 0o600))
	}
	must(os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)).Close() // SQLite lets others read it
	s := &site{db: must(sql.Open("sqlite", file+"?_pragma=busy_timeout(5000)"))}
	must(s.db.Exec(string(must(files.ReadFile("schema.sql")))))
	keys := must(sessions.ReadKeyring(file + ".key"))
	s.sessions = must(sessions.New(keys, sessions.Options[session]{
		Name: "login", Insecure: true, // for plain http: a site with HTTPS leaves it out
		Limits: sessions.Limits{Idle: 30 * 24 * time.Hour, Lifetime: 30 * 24 * time.Hour},
		LimitsFor: func(data *session) sessions.Limits {
			if data.User == "" || data.Remember {
				return sessions.Limits{} // those above
			}
			return sessions.Limits{Idle: 30 * time.Minute, BrowserSession: true}
		},
		Accept: func(_ *http.Request, v *visit) bool {
			stamp, _, _ := s.account(v.Data.User)
			return v.Data.Stamp == stamp
		},
	}))
	return s
}

func (s *site) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer, middleware.RequestSize(64<<10))
	r.Use(http.NewCrossOriginProtection().Handler, s.sessions.Handler)
	r.Get("/", s.home)
	r.Post("/signup", s.post(s.signup))
	r.Post("/login", s.post(s.login))
	r.Post("/logout", s.post(s.logout))
	r.Post("/logout-everywhere", s.post(s.logoutEverywhere))
	r.Post("/password", s.post(s.password))
	r.Post("/cart", s.post(s.cart))
	return r
}

func (s *site) home(w http.ResponseWriter, r *http.Request) {
	var page bytes.Buffer // the template takes the flash, before the response begins
	must(0, homePage.Execute(&page, s.sessions.Get(r.Context())))
	w.Header().Set("Cache-Control", "no-store") // so that Back shows nothing after logout
	page.WriteTo(w)
}

// post returns a handler that redirects to the page, which says what do returns.
func (s *site) post(do func(*http.Request, *visit) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.sessions.Get(r.Context())
		v.Data.Flash = sessions.Flash{do(r, v)} // with Add, posts without a page would fill it
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func (s *site) signup(r *http.Request, v *visit) string {
	user, password, salt := r.PostFormValue("user"), r.PostFormValue("password"), rand.Text()
	if !fits(user) || len(password) < 8 {
		return "A user has 1 to 30 characters, and a password at least 8."
	}
	if !s.exec(`INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		user, rand.Text(), salt, s.hash(password, salt)) {
		return "There is a user of that name."
	}
	return s.login(r, v)
}

func (s *site) login(r *http.Request, v *visit) string {
	user := r.PostFormValue("user")
	stamp, refusal := s.check(user, r.PostFormValue("password"))
	if refusal != "" {
		return refusal
	}
	if v.Data.User != "" && v.Data.User != user {
		v.Clear() // the cart is another user's
	}
	v.Data.User, v.Data.Stamp = user, stamp
	v.Data.Remember = r.PostFormValue("remember") == "on"
	v.Renew()
	return "You are logged in."
}

func (s *site) logout(_ *http.Request, v *visit) string {
	v.Clear()
	return "You are logged out."
}

func (s *site) logoutEverywhere(r *http.Request, v *visit) string {
	s.exec(`UPDATE users SET stamp = ? WHERE name = ?`, rand.Text(), v.Data.User)
	return s.logout(r, v)
}

func (s *site) password(r *http.Request, v *visit) string {
	password, stamp, salt := r.PostFormValue("new"), rand.Text(), rand.Text()
	if len(password) < 8 {
		return "A password has at least 8 characters."
	}
	if _, refusal := s.check(v.Data.User, r.PostFormValue("old")); refusal != "" {
		return refusal
	}
	s.exec(`UPDATE users SET stamp = ?, salt = ?, hash = ? WHERE name = ?`,
		stamp, salt, s.hash(password, salt), v.Data.User)
	v.Data.Stamp = stamp // of all the user's sessions, this one goes on
	v.Renew()
	return "Your password is changed, and every other browser is logged out."
}

func (s *site) cart(r *http.Request, v *visit) string {
	item := r.PostFormValue("item")
	if !fits(item) || len(v.Data.Cart) == 12 {
		return "An item has 1 to 30 characters, and a cart up to 12 items."
	}
	v.Data.Cart = append(v.Data.Cart, item)
	return item + " is in your cart."
}

// fits reports whether a text may be in a session, which is a cookie of 4 KB at most.
func fits(s string) bool {
	return s != "" && utf8.RuneCountInString(s) <= 30 && utf8.ValidString(s)
}

// check returns a user's stamp if the password is right, or why it is refused. For who is
// unknown a hash is computed, too: no time tells who has an account.
func (s *site) check(user, password string) (stamp, refusal string) {
	s.exec(`DELETE FROM tries WHERE at <= unixepoch() - 600`)
	if !s.exec(`INSERT INTO tries (name) SELECT ?
		WHERE (SELECT count(*) FROM tries WHERE name = ?) < 10`, user, user) {
		return "", "There were too many tries. Wait for ten minutes."
	}
	stamp, salt, hash := s.account(user)
	if subtle.ConstantTimeCompare(s.hash(password, salt), hash) == 0 {
		return "", "The user or the password is wrong."
	}
	s.exec(`DELETE FROM tries WHERE name = ?`, user)
	return stamp, ""
}

// hash returns a password's argon2id, with the least that OWASP recommends.
func (s *site) hash(password, salt string) []byte {
	s.hashing.Lock()
	defer s.hashing.Unlock()
	s.hashed++
	return argon2.IDKey([]byte(password), []byte(salt), 2, 19<<10, 1, 32)
}

// account returns what is known of a user. It is all empty for nobody.
func (s *site) account(user string) (stamp, salt string, hash []byte) {
	err := s.db.QueryRow(`SELECT stamp, salt, hash FROM users WHERE name = ?`, user).
		Scan(&stamp, &salt, &hash)
	if !errors.Is(err, sql.ErrNoRows) {
		must(0, err)
	}
	return stamp, salt, hash
}

// exec reports whether a statement changes anything.
func (s *site) exec(statement string, args ...any) bool {
	return must(must(s.db.Exec(statement, args...)).RowsAffected()) > 0
}

// must panics with an error. In a request, Recoverer answers 500 then, and no session is
// saved, or ended.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
