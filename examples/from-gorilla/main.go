// Command from-gorilla is a shop that has moved from gorilla/sessions. Its visitors keep
// their sessions, also while copies of the shop as it was before are still running.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/gorilla/securecookie"
	gorilla "github.com/gorilla/sessions"

	"cookiesession/sessions"
)

const oldName = "shop" // of the session in the old copies, and of its cookie

// data is what the shop remembers of a visitor.
type data struct {
	User string
	Cart []string
	Old  string // stands for the old copies' cookie that says the same, while there are some
}

type session = sessions.Session[data]

type shop struct {
	*sessions.Manager[data]
	old       *gorilla.CookieStore
	oldCopies bool // are still running
}

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on this `address`")
	keyFile := flag.String("key-file", "ring", "read keys from this `file`, one a line")
	oldCopies := flag.Bool("old-copies", false, "copies of before are still running")
	flag.Parse()
	keys, err := sessions.ReadKeyring(*keyFile)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newShop(keys, os.Getenv("SESSION_KEY"), *oldCopies)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*addr, handler))
}

// newShop returns the shop, whose visitors may have sessions under the key oldKey.
func newShop(keys *sessions.Keyring, oldKey string, oldCopies bool) (http.Handler, error) {
	if oldKey == "" {
		return nil, errors.New("SESSION_KEY must be the key of the old copies")
	}
	s := &shop{old: gorilla.NewCookieStore([]byte(oldKey)), oldCopies: oldCopies}
	s.old.Options.Secure, s.old.Options.SameSite = false, http.SameSiteLaxMode // as it was
	var err error
	s.Manager, err = sessions.New(keys, sessions.Options[data]{
		Insecure: true, // only without HTTPS
		Adopt:    s.adopt,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		v := s.Get(r.Context())
		fmt.Fprintf(w, "User: %s\nCart: %s\n", v.Data.User, strings.Join(v.Data.Cart, ", "))
	})
	mux.HandleFunc("POST /login", s.change(func(v *session, r *http.Request) {
		v.Data.User = r.FormValue("user") // once the password was found to be right
		v.Renew()
	}))
	mux.HandleFunc("POST /cart", s.change(func(v *session, r *http.Request) {
		v.Data.Cart = append(v.Data.Cart, r.FormValue("item"))
	}))
	mux.HandleFunc("POST /logout", s.change(func(v *session, _ *http.Request) { v.Clear() }))
	return http.NewCrossOriginProtection().Handler(s.Handler(s.follow(mux))), nil
}

// adopt returns what the old copies' cookie says, and the cookie, so that it is deleted.
// While old copies are running it stays, because they can read no other.
func (s *shop) adopt(r *http.Request) (d data, old *http.Cookie, ok bool) {
	d = s.read(r)
	ok = d.Old != ""
	if !s.oldCopies {
		d.Old, old = "", gorilla.NewCookie(oldName, "", s.old.Options)
	}
	return d, old, ok
}

// read returns what the old copies' cookie says, if there is a good one.
func (s *shop) read(r *http.Request) (d data) {
	old, err := s.old.New(r, oldName)
	if err != nil || old.IsNew {
		return d
	}
	d.User, _ = old.Values["user"].(string)
	d.Cart, _ = old.Values["cart"].([]string)
	c, _ := r.Cookie(oldName) // it is there, and good
	d.Old = mark(c.Value)
	return d
}

// mark returns what stands for a cookie of gorilla's: the end of its MAC.
func mark(value string) string { return value[max(0, len(value)-16):] }

// follow gives next the session as an old copy has left it, if one has changed or ended it
// since. It takes all of it: what old copies don't know could be another user's.
func (s *shop) follow(next http.Handler) http.Handler {
	if !s.oldCopies {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.Get(r.Context())
		if old := s.read(r); old.Old != v.Data.Old {
			v.Data = old
			v.Renew()
		}
		next.ServeHTTP(w, r)
	})
}

// change returns a handler that changes the session by f, for old copies as well.
func (s *shop) change(f func(*session, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.Get(r.Context())
		if f(v, r); s.oldCopies {
			s.tell(w, r, v)
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// tell puts what is in the session into the old copies' cookie, beside what else they have
// there, or deletes that if the session has ended.
func (s *shop) tell(w http.ResponseWriter, r *http.Request, v *session) {
	old, _ := s.old.New(r, oldName) // a cookie that can't be read is replaced
	old.Values["user"], old.Values["cart"] = v.Data.User, v.Data.Cart
	value, err := securecookie.EncodeMulti(oldName, old.Values, s.old.Codecs...)
	if v.Data.User == "" && v.Data.Cart == nil || err != nil {
		value, old.Options.MaxAge = "", -1
	}
	v.Data.Old = mark(value)
	http.SetCookie(w, gorilla.NewCookie(oldName, value, old.Options))
}
