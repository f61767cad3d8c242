// Command events has two streams for visitors who have logged in: a clock by server-sent
// events, and an echo by a websocket. Each notices when the session ends.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"cookiesession/sessions"
)

//go:embed page.html
var page []byte

// data is what the site remembers of a visitor.
type data struct {
	User string
	Era  int       // of the user's sessions
	Came time.Time // when the visitor last opened a stream
}

type session = sessions.Session[data]

type site struct {
	*sessions.Manager[data]
	every time.Duration // between two events

	mu   sync.Mutex
	eras map[string]int // by user, in a database
}

func main() {
	keys, err := sessions.NewKeyring(sessions.NewKey()) // a site reads them from a file
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newSite(keys, sessions.Limits{}, time.Second)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", handler)) // a WriteTimeout would end streams
}

func newSite(keys *sessions.Keyring, l sessions.Limits, every time.Duration) (http.Handler, error) {
	st := &site{every: every, eras: make(map[string]int)}
	var err error
	st.Manager, err = sessions.New(keys, sessions.Options[data]{
		Insecure: true, // only without HTTPS
		Limits:   l,
		Accept: func(_ *http.Request, s *session) bool {
			return s.Data.Era == st.era(s.Data.User)
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })
	mux.HandleFunc("GET /clock", st.stream(st.clock))
	mux.HandleFunc("GET /echo", st.stream(st.echo))
	mux.HandleFunc("POST /login", st.login)
	mux.HandleFunc("POST /logout", st.logout)
	return http.NewCrossOriginProtection().Handler(st.Handler(mux)), nil
}

func (st *site) era(user string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.eras[user]
}

func (st *site) login(w http.ResponseWriter, r *http.Request) {
	s, user := st.Get(r.Context()), r.FormValue("user") // once the password was found right
	s.Data = data{User: user, Era: st.era(user)}
	s.Renew()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logout ends all sessions of the user.
func (st *site) logout(w http.ResponseWriter, r *http.Request) {
	s := st.Get(r.Context())
	st.mu.Lock()
	st.eras[s.Data.User]++
	st.mu.Unlock()
	s.Clear()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// stream returns a handler for a stream to who has logged in. The session must not change
// once the stream has begun, since it is saved before the first byte.
func (st *site) stream(f func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := st.Get(r.Context())
		if s.Data.User == "" {
			http.Error(w, "Log in first.", http.StatusUnauthorized)
			return
		}
		s.Data.Came = time.Now()
		f(w, r, s)
	}
}

// hasEnded reports whether the session of a stream has. The stream doesn't hear when other
// requests renew it, but then the browser may come again.
func (st *site) hasEnded(s *session) bool {
	return !time.Now().Before(s.Ends()) || st.era(s.Data.User) != s.Data.Era
}

func (st *site) clock(w http.ResponseWriter, r *http.Request, s *session) {
	w.Header().Set("Content-Type", "text/event-stream")
	stream := http.NewResponseController(w)
	err := stream.Flush() // saves the session
	for err == nil && !st.hasEnded(s) {
		fmt.Fprintf(w, "data: %s\n\n", time.Now().Format(time.TimeOnly))
		err = stream.Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(st.every):
		}
	}
}

func (st *site) echo(w http.ResponseWriter, r *http.Request, s *session) {
	conn, err := websocket.Accept(w, r, nil) // saves the session
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	ctx := context.Background() // r's doesn't end with the connection any more
	for {
		kind, message, err := conn.Read(ctx)
		switch {
		case err != nil:
			return
		case st.hasEnded(s):
			conn.Close(websocket.StatusPolicyViolation, "The session has ended.")
			return
		}
		conn.Write(ctx, kind, message) // if that fails, so does the next Read
	}
}
