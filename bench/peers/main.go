// Peers serves the two pages of cookiesession in another way: with nothing but
// mux, with mux and securecookie and no more than that, with gorilla/sessions,
// or with scs and its store in memory.
//
//	peers bare|floor|gorilla|scs ADDR
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/mux"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: peers bare|floor|gorilla|scs ADDR")
	}
	handlers := map[string]func() http.Handler{"bare": bare, "floor": floor, "gorilla": gorilla, "scs": server}
	log.Fatal(http.ListenAndServe(os.Args[2], handlers[os.Args[1]]()))
}

// site returns the two pages, of which get reads the name and set stores it.
func site(get func(r *http.Request) string, set func(w http.ResponseWriter, r *http.Request, name string)) http.Handler {
	answer := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(w, text)
	}
	r := mux.NewRouter()
	r.HandleFunc("/get_name", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "Name: "+get(r)+"\n")
	}).Methods("GET")
	r.HandleFunc("/set_name", func(w http.ResponseWriter, r *http.Request) {
		name := r.PostFormValue("name")
		set(w, r, name)
		answer(w, "Name "+name+" set in session\n")
	}).Methods("POST")
	return r
}

func bare() http.Handler {
	return site(func(*http.Request) string { return "Alice" }, func(http.ResponseWriter, *http.Request, string) {})
}

// floor encrypts, signs and verifies the name, and leaves out all else that a
// session needs.
func floor() http.Handler {
	codec := securecookie.New(securecookie.GenerateRandomKey(32), securecookie.GenerateRandomKey(32)).SetSerializer(securecookie.NopEncoder{})
	return site(func(r *http.Request) string {
		var name []byte
		if c, err := r.Cookie("session"); err == nil {
			codec.Decode("session", c.Value, &name)
		}
		return string(name)
	}, func(w http.ResponseWriter, r *http.Request, name string) {
		var old []byte
		if c, err := r.Cookie("session"); err == nil {
			codec.Decode("session", c.Value, &old)
		}
		value, err := codec.Encode("session", []byte(name))
		if err != nil {
			log.Fatal(err)
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: value, Path: "/", MaxAge: 1209600, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	})
}

func gorilla() http.Handler {
	store := sessions.NewCookieStore(securecookie.GenerateRandomKey(32), securecookie.GenerateRandomKey(32))
	return site(func(r *http.Request) string {
		s, _ := store.Get(r, "session")
		name, _ := s.Values["name"].(string)
		return name
	}, func(w http.ResponseWriter, r *http.Request, name string) {
		s, _ := store.Get(r, "session")
		s.Values["name"] = name
		if err := s.Save(r, w); err != nil {
			log.Fatal(err)
		}
	})
}

func server() http.Handler {
	manager := scs.New()
	manager.Store = memstore.New()
	return manager.LoadAndSave(site(func(r *http.Request) string {
		return manager.GetString(r.Context(), "name")
	}, func(_ http.ResponseWriter, r *http.Request, name string) {
		manager.Put(r.Context(), "name", name)
	}))
}
