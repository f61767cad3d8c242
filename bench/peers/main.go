// Peers serves the two pages of cookiesession in another way: with no session, with
// the least that a session in a cookie takes, with the library by its Handler or by
// explicit Load and Save, with gorilla/sessions, or with scs and its store in memory.
//
//	peers [-library] bare|floor|handler|explicit|gorilla|scs ADDR
//
// Routing is mux's, and of the others only the floor has cookiesession's headers and
// time limits. With -library it is net/http's ServeMux, and all of them have those.
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/mux"
	"github.com/gorilla/securecookie"
	gorillasessions "github.com/gorilla/sessions"

	"cookiesession/sessions"
)

func main() {
	library := flag.Bool("library", false, "make nothing differ but the library")
	flag.Parse()
	peers := map[string]func() peer{
		"bare": bare, "floor": floor, "handler": handler, "explicit": explicit,
		"gorilla": gorilla, "scs": server,
	}
	if flag.NArg() != 2 || peers[flag.Arg(0)] == nil {
		log.Fatal("usage: peers [-library] bare|floor|handler|explicit|gorilla|scs ADDR")
	}
	p := peers[flag.Arg(0)]()
	srv := &http.Server{Addr: flag.Arg(1), Handler: p.site(*library)}
	if *library || p.alike {
		srv.Handler = withHeaders(srv.Handler)
		srv.ReadHeaderTimeout = 10 * time.Second
		srv.ReadTimeout = 10 * time.Second
		srv.WriteTimeout = 20 * time.Second
		srv.IdleTimeout = time.Minute
		srv.MaxHeaderBytes = 32 << 10
	}
	log.Fatal(srv.ListenAndServe())
}

// peer is a way to remember a visitor's name.
type peer struct {
	get    func(r *http.Request) string
	set    func(w http.ResponseWriter, r *http.Request, name string)
	around func(http.Handler) http.Handler // what stands around the router, if not nil
	alike  bool                            // has cookiesession's headers and time limits
}

// site returns the two pages, behind ServeMux or mux.
func (p peer) site(serveMux bool) (h http.Handler) {
	if serveMux {
		r := http.NewServeMux()
		r.HandleFunc("GET /get_name", p.getName)
		r.HandleFunc("POST /set_name", p.setName)
		h = r
	} else {
		r := mux.NewRouter()
		r.HandleFunc("/get_name", p.getName).Methods("GET")
		r.HandleFunc("/set_name", p.setName).Methods("POST")
		h = r
	}
	if p.around != nil {
		h = p.around(h)
	}
	return h
}

func (p peer) getName(w http.ResponseWriter, r *http.Request) {
	reply(w, "Name: "+p.get(r)+"\n")
}

func (p peer) setName(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	p.set(w, r, name)
	reply(w, "Name "+name+" set in session\n")
}

func reply(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	io.WriteString(w, text)
}

// bare has no session.
func bare() peer {
	return peer{
		get: func(*http.Request) string { return "Alice" },
		set: func(http.ResponseWriter, *http.Request, string) {},
	}
}

// floor opens and seals the bytes that cookiesession does, and does nothing else.
func floor() peer {
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
			MaxAge:   7776000,
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
		})
	}
	return peer{get: open, set: seal, alike: true}
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

// session is what the library keeps.
type session struct{ Name string }

// newManager returns a manager of the library, for plain http.
func newManager() *sessions.Manager[session] {
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		log.Fatal(err)
	}
	m, err := sessions.New(keys, sessions.Options[session]{Insecure: true})
	if err != nil {
		log.Fatal(err)
	}
	return m
}

// handler keeps the session in a cookie, by the library's Handler.
func handler() peer {
	m := newManager()
	return peer{
		get: func(r *http.Request) string { return m.Get(r.Context()).Data.Name },
		set: func(_ http.ResponseWriter, r *http.Request, name string) {
			m.Get(r.Context()).Data.Name = name
		},
		around: m.Handler,
	}
}

// explicit keeps the session in a cookie, by the library's Load and Save.
func explicit() peer {
	m := newManager()
	get := func(r *http.Request) string { return m.Load(r).Data.Name }
	set := func(w http.ResponseWriter, r *http.Request, name string) {
		s := m.Load(r)
		s.Data.Name = name
		if _, err := m.Save(w, s); err != nil {
			log.Fatal(err)
		}
	}
	return peer{get: get, set: set}
}

// gorilla keeps the session in a cookie, by gorilla/sessions.
func gorilla() peer {
	hash, block := securecookie.GenerateRandomKey(32), securecookie.GenerateRandomKey(32)
	store := gorillasessions.NewCookieStore(hash, block)
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
	return peer{get: get, set: set}
}

// server keeps the session in its memory, by scs.
func server() peer {
	manager := scs.New()
	manager.Store = memstore.New()
	get := func(r *http.Request) string {
		return manager.GetString(r.Context(), "name")
	}
	set := func(_ http.ResponseWriter, r *http.Request, name string) {
		manager.Put(r.Context(), "name", name)
	}
	return peer{get: get, set: set, around: manager.LoadAndSave}
}
