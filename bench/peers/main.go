// Peers serves the two pages of cookiesession in another way: with nothing but
// mux, with the least that a session in a cookie takes, with gorilla/sessions,
// or with scs and its store in memory.
//
//	peers bare|floor|gorilla|scs ADDR
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/mux"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

func main() {
	peers := map[string]func() *http.Server{
		"bare": bare, "floor": floor, "gorilla": gorilla, "scs": server,
	}
	if len(os.Args) != 3 || peers[os.Args[1]] == nil {
		log.Fatal("usage: peers bare|floor|gorilla|scs ADDR")
	}
	srv := peers[os.Args[1]]()
	srv.Addr = os.Args[2]
	log.Fatal(srv.ListenAndServe())
}

// getter reads the visitor's name, and setter stores it.
type (
	getter func(r *http.Request) string
	setter func(w http.ResponseWriter, r *http.Request, name string)
)

// site returns the two pages.
func site(get getter, set setter) http.Handler {
	reply := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(w, text)
	}
	r := mux.NewRouter()
	r.HandleFunc("/get_name", func(w http.ResponseWriter, r *http.Request) {
		reply(w, "Name: "+get(r)+"\n")
	}).Methods("GET")
	r.HandleFunc("/set_name", func(w http.ResponseWriter, r *http.Request) {
		name := r.PostFormValue("name")
		set(w, r, name)
		reply(w, "Name "+name+" set in session\n")
	}).Methods("POST")
	return r
}

// bare has no session.
func bare() *http.Server {
	return &http.Server{Handler: site(
		func(*http.Request) string { return "Alice" },
		func(http.ResponseWriter, *http.Request, string) {},
	)}
}

// floor opens and seals the bytes that cookiesession does, sends the same
// headers, and has the same time limits. It does nothing else.
func floor() *http.Server {
	hash, block := securecookie.GenerateRandomKey(32), securecookie.GenerateRandomKey(32)
	codec := securecookie.New(hash, block).SetSerializer(securecookie.NopEncoder{})
	open := func(r *http.Request) (name string) {
		c, err := r.Cookie("session")
		if err != nil {
			return ""
		}
		var content []byte
		if codec.Decode("session", c.Value, &content) != nil {
			return ""
		}
		return nameIn(content)
	}
	seal := func(w http.ResponseWriter, r *http.Request, name string) {
		open(r) // as every session is opened before it is changed
		value, err := codec.Encode("session", contentWith(name))
		if err != nil {
			log.Fatal(err)
		}
		http.SetCookie(w, &http.Cookie{
			Name:     "session",
			Value:    value,
			Path:     "/",
			MaxAge:   1209600,
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
		})
	}
	return &http.Server{
		Handler:           withHeaders(site(open, seal)),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

// withHeaders adds the headers that cookiesession has on its pages.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Vary", "Cookie, Accept")
		next.ServeHTTP(w, r)
	})
}

// head begins the content of a session that cookiesession has just begun, which
// is [1767225600, 0, {"Name": "Alice"}] in CBOR. A byte follows that tells the
// length of the name, and the name.
const head = "\x83\x1a\x69\x55\xb9\x00\x00\xa1\x64Name"

// contentWith returns the content of a session with a name of 23 bytes at most.
// Longer ones have their length in more than one byte.
func contentWith(name string) []byte {
	content := make([]byte, 0, len(head)+1+len(name))
	content = append(content, head...)
	content = append(content, 0x60|byte(len(name)))
	return append(content, name...)
}

// nameIn returns the name in a session's content.
func nameIn(content []byte) string {
	name, ok := bytes.CutPrefix(content, []byte(head))
	if !ok || len(name) == 0 {
		return ""
	}
	return string(name[1:])
}

// gorilla keeps the session in a cookie, by gorilla/sessions.
func gorilla() *http.Server {
	hash, block := securecookie.GenerateRandomKey(32), securecookie.GenerateRandomKey(32)
	store := sessions.NewCookieStore(hash, block)
	get := func(r *http.Request) string {
		s, _ := store.Get(r, "session")
		name, _ := s.Values["name"].(string)
		return name
	}
	set := func(w http.ResponseWriter, r *http.Request, name string) {
		s, _ := store.Get(r, "session")
		s.Values["name"] = name
		if err := s.Save(r, w); err != nil {
			log.Fatal(err)
		}
	}
	return &http.Server{Handler: site(get, set)}
}

// server keeps the session in its memory, by scs.
func server() *http.Server {
	manager := scs.New()
	manager.Store = memstore.New()
	get := func(r *http.Request) string {
		return manager.GetString(r.Context(), "name")
	}
	set := func(_ http.ResponseWriter, r *http.Request, name string) {
		manager.Put(r.Context(), "name", name)
	}
	return &http.Server{Handler: manager.LoadAndSave(site(get, set))}
}
