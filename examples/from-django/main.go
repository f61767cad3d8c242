// Command from-django takes over the sessions of a Django site that keeps them in
// signed_cookies. Its visitors stay logged in.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"cookiesession/sessions"
)

// data is what the site remembers of a visitor, under the names that Django has for it.
type data struct {
	User string   `json:"_auth_user_id"`
	Hash string   `json:"_auth_user_hash"` // of the password, see isHash
	Cart []string `json:"cart"`
}

func main() {
	old := django{secrets: strings.Fields(os.Getenv("SECRET_KEYS")), age: 14 * 24 * time.Hour}
	keys, err := sessions.ReadKeyring("ring")
	if err != nil {
		log.Fatal(err)
	}
	site, err := newSite(keys, old, map[string]string{"7": os.Getenv("PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", site))
}

// newSite returns the site. Its users, who would be in a database, are Django's: their id in
// the table auth_user, and what is in the column "password".
func newSite(keys *sessions.Keyring, old django, users map[string]string) (http.Handler, error) {
	isCurrent := func(d data) bool { // the user, if any, still exists and has that password
		password, ok := users[d.User]
		return d.User == "" || ok && old.isHash(d.Hash, password)
	}
	m, err := sessions.New(keys, sessions.Options[data]{
		Insecure: true, // only without HTTPS
		Adopt: func(r *http.Request) (d data, cookie *http.Cookie, ok bool) {
			cookie, err := r.Cookie("sessionid")
			if err != nil {
				return d, nil, false
			}
			err = old.session(cookie.Value, &d)
			return d, cookie, err == nil && isCurrent(d)
		},
		Accept: func(_ *http.Request, s *sessions.Session[data]) bool { return isCurrent(s.Data) },
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		d := m.Get(r.Context()).Data
		fmt.Fprintf(w, "User: %s\nCart: %s\n", d.User, strings.Join(d.Cart, ", "))
	})
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		d := &m.Get(r.Context()).Data
		d.Cart = append(d.Cart, r.FormValue("item"))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Clear()
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return http.NewCrossOriginProtection().Handler(m.Handler(mux)), nil
}
