package sessions_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cookiesession/sessions"
)

// The quick start, with two visits.
func Example() {
	type session struct{ Visits int }

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	m, err := sessions.New(keys, sessions.Options[session]{Insecure: true}) // only without HTTPS
	if err != nil {
		log.Fatal(err)
	}
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Visits++
		fmt.Fprintf(w, "This is your visit number %d.\n", s.Data.Visits)
	}))

	r := httptest.NewRequest("GET", "/", nil)
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Print(w.Body)
		r.AddCookie(w.Result().Cookies()[0])
	}
	// Output:
	// This is your visit number 1.
	// This is your visit number 2.
}

// The keys are in a file, whose changes the program follows.
func ExampleKeyring_Watch() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "keys")
	text := "# made by hand\n" + sessions.NewKey().Secret() + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}

	keys, err := sessions.ReadKeyring(file)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go keys.Watch(ctx, file, func(err error) {
		fmt.Println("The keys were read:", err == nil)
		stop()
	})

	<-ctx.Done()
	fmt.Println("Keys:", len(keys.Keys()))
	// Output:
	// The keys were read: true
	// Keys: 1
}

// A session lasts until the browser is closed, or for a year.
func ExampleLimits() {
	type session struct {
		Name     string
		Remember bool
	}

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	m, err := sessions.New(keys, sessions.Options[session]{
		Limits: sessions.Limits{Idle: time.Hour, Lifetime: 12 * time.Hour},
		LimitsFor: func(data *session) sessions.Limits {
			if data.Remember {
				return sessions.Limits{Idle: 90 * 24 * time.Hour, Lifetime: 365 * 24 * time.Hour}
			}
			return sessions.Limits{BrowserSession: true} // Idle and Lifetime as above
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, remember := range []bool{false, true} {
		c, err := m.Seal(session{Name: "Ada", Remember: remember})
		if err != nil {
			log.Fatal(err)
		}
		s := m.Open(c)
		fmt.Println("Max-Age", c.MaxAge, "and the session ends after", s.Ends().Sub(s.Began()))
	}
	// Output:
	// Max-Age 0 and the session ends after 1h0m0s
	// Max-Age 31536000 and the session ends after 2160h0m0s
}

// At login, the session begins anew. It stays valid until the user's sessions are ended.
func ExampleSession_Renew() {
	type session struct {
		User string
		Era  int // of the user's sessions
	}
	eras := map[string]int{"ada": 1} // in a database

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	m, err := sessions.New(keys, sessions.Options[session]{
		Accept: func(_ *http.Request, s *sessions.Session[session]) bool {
			return s.Data.User == "" || s.Data.Era == eras[s.Data.User]
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(_ http.ResponseWriter, r *http.Request) {
		user := "ada" // once the password was found to be right
		s := m.Get(r.Context())
		s.Data = session{User: user, Era: eras[user]}
		s.Renew()
	})
	mux.HandleFunc("POST /logout", func(_ http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Clear()
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		fmt.Fprintf(w, "%s: user %q\n", s.Verdict(), s.Data.User)
	})
	site := m.Handler(mux)

	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	c := w.Result().Cookies()[0]
	for range 2 {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.AddCookie(c)
		site.ServeHTTP(w, r)
		fmt.Print(w.Body)
		eras["ada"]++ // ends all of her sessions
	}
	// Output:
	// valid: user "ada"
	// revoked: user ""
}

// With a session's cookie comes an offer to bind it to the device.
func ExampleOptions_deviceBinding() {
	type session struct{ Name string }

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	m, err := sessions.New(keys, sessions.Options[session]{
		Bind:   10 * time.Minute,
		Assets: []string{"/static/", "/favicon.ico"},
	})
	if err != nil {
		log.Fatal(err)
	}
	h := m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Name = "Ada"
	}))

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	offer, _, _ := strings.Cut(w.Header().Get("Secure-Session-Registration"), ";challenge=")
	fmt.Println(offer)
	// Output:
	// (ES256);path="/session/register"
}

// The site itself answers when a session can't be saved.
func ExampleManager_Handler() {
	type session struct{ Draft string }

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	m, err := sessions.New(keys, sessions.Options[session]{
		Failed: func(w http.ResponseWriter, r *http.Request, err error) {
			if w == nil {
				log.Print("too late: ", err)
				return
			}
			http.Error(w, "This draft is too long for us.", http.StatusRequestEntityTooLarge)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Draft = r.FormValue("draft")
		fmt.Fprintln(w, "Your draft is kept.")
	}))

	for _, draft := range []string{"It was a dark night", strings.Repeat("and stormy ", 500)} {
		body := strings.NewReader("draft=" + draft)
		r, w := httptest.NewRequest("POST", "/", body), httptest.NewRecorder()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		h.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 Your draft is kept.
	// 413 This draft is too long for us.
}

// The cookie gets another name, and the site goes from http to https. Its visitors keep
// their sessions.
func ExampleOptions_adopt() {
	type session struct{ Name string }

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	old, err := sessions.New(keys, sessions.Options[session]{Insecure: true}) // as it was
	if err != nil {
		log.Fatal(err)
	}
	m, err := sessions.New(keys, sessions.Options[session]{
		Name: "shop",
		Adopt: func(r *http.Request) (session, *http.Cookie, bool) {
			s := old.Load(r)
			return s.Data, &http.Cookie{Name: old.CookieName()}, s.Verdict() == sessions.Valid
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Name:", m.Get(r.Context()).Data.Name)
	}))

	c, err := old.Seal(session{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.AddCookie(c)
	h.ServeHTTP(w, r)
	fmt.Print(w.Body)
	for _, c := range w.Result().Cookies() {
		fmt.Println(c.Name, "is deleted:", c.MaxAge < 0)
	}
	// Output:
	// Name: Ada
	// __Host-Http-shop is deleted: false
	// session is deleted: true
}

// An older copy of the program keeps the fields that a newer one has stored.
func ExampleOptions_newFields() {
	type older struct{ Name string }
	type newer struct {
		Name string
		Cart []string
	}

	keys, _ := sessions.NewKeyring(sessions.NewKey())
	was, err := sessions.New(keys, sessions.Options[older]{})
	if err != nil {
		log.Fatal(err)
	}
	is, err := sessions.New(keys, sessions.Options[newer]{})
	if err != nil {
		log.Fatal(err)
	}

	c, err := is.Seal(newer{Name: "Ada", Cart: []string{"tea"}})
	if err != nil {
		log.Fatal(err)
	}
	s, w := was.Open(c), httptest.NewRecorder()
	s.Data.Name = "Ada Lovelace"
	if _, err := was.Save(w, s); err != nil {
		log.Fatal(err)
	}
	fmt.Println(is.Open(w.Result().Cookies()[0]).Data)
	// Output:
	// {Ada Lovelace [tea]}
}
