// Peers serves the two pages of cookiesession in another way: with nothing but
// mux, with gorilla/sessions, or with scs and its store in memory.
//
//	peers bare|gorilla|scs ADDR
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
		log.Fatal("usage: peers bare|gorilla|scs ADDR")
	}
	handlers := map[string]func() http.Handler{"bare": bare, "gorilla": gorilla, "scs": server}
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
