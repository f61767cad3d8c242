package sessions_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/format"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

// memo is the session of these tests.
type memo struct {
	Note string
	Hits int
}

// memos returns a manager of memos.
func memos(t testing.TB, o sessions.Options[memo]) *sessions.Manager[memo] {
	t.Helper()
	key, err := sessions.ParseKey(
		"6f1ded005aa5b1b4c3e1e9c8d3a4f00b7d1a0c5e92f84b36d7e0815ac94b2f63")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sessions.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sessions.New(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// memoCookie returns the cookie of a memo.
func memoCookie(t testing.TB, m *sessions.Manager[memo], note string) *http.Cookie {
	t.Helper()
	c, err := m.Seal(memo{Note: note})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange is a request to a server that serves a handler for it alone.
type exchange struct {
	http2  bool
	method string // "" is GET
	cookie *http.Cookie
	header http.Header
	trace  *httptrace.ClientTrace
}

// do returns the response, with its body read into memory, when h has returned.
func (x exchange) do(t testing.TB, h http.Handler) *http.Response {
	t.Helper()
	returned := make(chan bool)
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			h.ServeHTTP(w, r)
		}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	if server.EnableHTTP2 = x.http2; x.http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if x.trace != nil {
		ctx = httptrace.WithClientTrace(ctx, x.trace)
	}
	r, err := http.NewRequestWithContext(ctx, x.method, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range x.header {
		r.Header[name] = values
	}
	if x.cookie != nil {
		r.AddCookie(x.cookie)
	}
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	<-returned
	if want := map[bool]int{false: 1, true: 2}[x.http2]; response.ProtoMajor != want {
		t.Fatalf("got HTTP/%d, want %d", response.ProtoMajor, want)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response
}

// kept returns the note in the session's cookie of a response, "(deleted)" if that is
// deleted, and "(none)" if there is none. There must not be two.
func kept(t testing.TB, m *sessions.Manager[memo], response *http.Response) string {
	t.Helper()
	got := "(none)"
	for _, c := range response.Cookies() {
		switch {
		case c.Name != m.CookieName():
		case got != "(none)":
			t.Error("the session's cookie was set twice")
		case c.MaxAge < 0:
			got = "(deleted)"
		default:
			s := m.Open(c)
			if s.Verdict() != sessions.Valid {
				t.Errorf("the cookie that was set is %s", s.Verdict())
			}
			got = s.Data.Note
		}
	}
	return got
}

// hasOther reports whether a response sets the cookie of somebody else.
func hasOther(response *http.Response) bool {
	return slices.ContainsFunc(response.Cookies(), func(c *http.Cookie) bool {
		return c.Name == "other"
	})
}

func bodyOf(response *http.Response) string {
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// overBoth runs a test over either protocol.
func overBoth(t *testing.T, name string, test func(t *testing.T, http2 bool)) {
	t.Run(name+"/HTTP1", func(t *testing.T) { test(t, false) })
	t.Run(name+"/HTTP2", func(t *testing.T) { test(t, true) })
}

// events collects what Observe is told.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) observe(_ *http.Request, event sessions.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(event.Cookie.Verdict) + " " + string(event.Saved.Reason)
	if event.Step != "" {
		text = "step " + event.Step
	}
	if event.Err != nil {
		text += " error"
	}
	e.all = append(e.all, text)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.all, "; ")
}

// defaultLog returns what slog's default logger writes until the test ends.
func defaultLog(t *testing.T) *bytes.Buffer {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	return &log
}

// readFromBelow is a ResponseWriter that notes what it is given to read from.
type readFromBelow struct {
	http.ResponseWriter
	from io.Reader
}

func (w *readFromBelow) ReadFrom(src io.Reader) (int64, error) {
	w.from = src
	return io.Copy(w.ResponseWriter, src)
}

func writeX(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }

func TestHandlerSaves(t *testing.T) {
	tests := []struct {
		name, method string
		status       int
		answer       func(w http.ResponseWriter, r *http.Request)
	}{
		{"nothing", "GET", 200, func(http.ResponseWriter, *http.Request) {}},
		{"write", "GET", 200, writeX},
		{"empty write", "GET", 200, func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) }},
		{"status", "GET", 404, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }},
		{"204", "GET", 204, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{"304", "GET", 304, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
		{"redirect", "POST", 303, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}},
		{"HEAD", "HEAD", 200, writeX},
		{"Flusher", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, "x")
		}},
		{"ResponseController", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			io.WriteString(w, "x")
		}},
		{"ServeContent", "GET", 200, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("x"))
		}},
		{"ReadFrom", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
		}},
	}
	m := memos(t, sessions.Options[memo]{})
	for _, test := range tests {
		overBoth(t, test.name, func(t *testing.T, http2 bool) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Get(r.Context()).Data.Note = "Ada"
				test.answer(w, r)
			}))
			response := exchange{http2: http2, method: test.method}.do(t, h)
			if got := kept(t, m, response); response.StatusCode != test.status || got != "Ada" {
				t.Errorf("got %s with status %d, want Ada with %d",
					got, response.StatusCode, test.status)
			}
		})
	}
}

// A client sees the header of a 103 long before the session is what it will be.
func TestHandlerSavesAfter103(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	overBoth(t, "", func(t *testing.T, http2 bool) {
		h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Get(r.Context()).Data.Note = "early"
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			m.Get(r.Context()).Data.Note = "Ada"
			io.WriteString(w, "x")
		}))
		hints := 0
		x := exchange{http2: http2, trace: &httptrace.ClientTrace{
			Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
				if hints++; len(header["Set-Cookie"]) > 0 {
					t.Error("the 103 sets a cookie")
				}
				return nil
			},
		}}
		if got := kept(t, m, x.do(t, h)); got != "Ada" || hints != 1 {
			t.Errorf("got %s after %d responses of 103, want Ada after 1", got, hints)
		}
	})
}

func TestHandlerSendfile(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	name := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := m.Handler(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Note = "Ada"
		http.ServeFile(w, r, name)
	})))
	var below readFromBelow
	response := exchange{}.do(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below.ResponseWriter = w
		file.ServeHTTP(&below, r)
	}))
	if got, body := kept(t, m, response), bodyOf(response); got != "Ada" || body != "content" {
		t.Errorf("got %s and the body %q", got, body)
	}
	limited, ok := below.from.(*io.LimitedReader)
	if !ok {
		t.Fatalf("the writer below reads from a %T, want an *io.LimitedReader", below.from)
	}
	if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("the writer below reads from a %T, want an *os.File", limited.R)
	}
}

func TestHandlerWriter(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	overBoth(t, "", func(t *testing.T, http2 bool) {
		exchange{http2: http2}.do(t, m.Handler(http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) {
				if _, ok := w.(http.Pusher); ok {
					t.Error("the writer is an http.Pusher")
				}
				c := http.NewResponseController(w)
				if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Errorf("SetWriteDeadline: %v", err)
				}
				if err := c.EnableFullDuplex(); err != nil && !http2 {
					t.Errorf("EnableFullDuplex: %v", err)
				}
			})))
	})
}

// A writer below that can't flush must not make the session's fate depend on the try.
func TestHandlerNoFlush(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush: got the error %v", err)
		}
		w.(http.Flusher).Flush()
		m.Get(r.Context()).Data.Note = "Ada"
		w.WriteHeader(http.StatusNotFound)
	}))
	response := exchange{}.do(t, http.TimeoutHandler(h, time.Minute, ""))
	if got := kept(t, m, response); got != "Ada" || response.StatusCode != http.StatusNotFound {
		t.Errorf("got %s with status %d, want Ada with 404", got, response.StatusCode)
	}
}

// silent is a Failed that says nothing.
func silent(http.ResponseWriter, *http.Request, error) {}

// switchProtocols writes the answer of a handler that has hijacked its connection.
func switchProtocols(t *testing.T, w http.ResponseWriter, conn net.Conn, rw *bufio.ReadWriter) {
	defer conn.Close()
	io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n")
	w.Header().Write(rw)
	io.WriteString(rw, "\r\n")
	if err := rw.Flush(); err != nil {
		t.Error(err)
	}
}

func TestHandlerSavesBeforeHijack(t *testing.T) {
	var seen events
	m := memos(t, sessions.Options[memo]{Observe: seen.observe, Failed: silent})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Note = "Ada"
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		switchProtocols(t, w, conn, rw)
		m.Get(r.Context()).Data.Note = "too late"
		if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("Write after Hijack: got the error %v", err)
		}
	}))
	response := exchange{}.do(t, h)
	if got := kept(t, m, response); got != "Ada" || response.StatusCode != 101 {
		t.Errorf("got %s with status %d, want Ada with 101", got, response.StatusCode)
	}
	if got, want := seen.String(), "none changed; none unchanged error"; got != want {
		t.Errorf("Observe: got %s, want %s", got, want)
	}
}

func TestHandlerSavesAt101(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Note = "Ada"
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}))
	if got := kept(t, m, exchange{}.do(t, h)); got != "Ada" {
		t.Errorf("got %s, want Ada", got)
	}
}

func TestHandlerHijackFails(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Note = strings.Repeat("x", 5000)
		var over *sessions.TooLargeError
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.As(err, &over) {
			t.Errorf("got the error %v, want a TooLargeError", err)
		}
		s.Data.Note = "Ada"
		w.WriteHeader(http.StatusNotFound)
	}))
	response := exchange{}.do(t, h)
	if got := kept(t, m, response); got != "Ada" || response.StatusCode != http.StatusNotFound {
		t.Errorf("got %s with status %d, want Ada with 404", got, response.StatusCode)
	}
}

func TestHandlerNoHijack(t *testing.T) {
	var seen events
	m := memos(t, sessions.Options[memo]{Observe: seen.observe})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Note = "Ada"
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("got the error %v, want ErrNotSupported", err)
		}
		if lines := w.Header()["Set-Cookie"]; len(lines) > 0 {
			t.Errorf("the header has %d Set-Cookie", len(lines))
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	response := exchange{http2: true}.do(t, h)
	if got := kept(t, m, response); got != "Ada" || response.StatusCode != http.StatusNotFound {
		t.Errorf("got %s with status %d, want Ada with 404", got, response.StatusCode)
	}
	if got, want := seen.String(), "none changed"; got != want {
		t.Errorf("Observe: got %s, want %s", got, want)
	}
}

func TestHandlerServerError(t *testing.T) {
	tests := []struct {
		name       string
		status     int
		save, want string
	}{
		{"500", 500, "", "(none)"},
		{"503", 503, "", "(none)"},
		{"500 after Save", 500, "save", "(none)"},
		{"499 after Save", 499, "save", "Ada"},
	}
	for _, test := range tests {
		overBoth(t, test.name, func(t *testing.T, http2 bool) {
			var seen events
			m := memos(t, sessions.Options[memo]{Observe: seen.observe})
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := m.Get(r.Context())
				s.Data.Note = "Ada"
				http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
				if test.save != "" {
					if _, err := m.Save(w, s); err != nil {
						t.Error(err)
					}
				}
				w.WriteHeader(test.status)
				if _, err := m.Save(w, s); test.want == "(none)" && err != sessions.ErrLate {
					t.Errorf("Save after the response: got the error %v", err)
				}
			}))
			response := exchange{http2: http2}.do(t, h)
			if got := kept(t, m, response); got != test.want || !hasOther(response) {
				t.Errorf("got %s, want %s; the other cookie is there: %v",
					got, test.want, hasOther(response))
			}
			want := map[string]string{"(none)": "none unchanged", "Ada": "none changed"}[test.want]
			if got := seen.String(); got != want {
				t.Errorf("Observe: got %s, want %s", got, want)
			}
		})
	}
}

// The handler goes on when its time is over. Under the race detector, whatever the
// server looks at then is found.
func TestHandlerTimeout(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	over, ended := make(chan bool), make(chan bool)
	h := m.Handler(http.TimeoutHandler(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			for {
				s := m.Get(r.Context())
				s.Data.Hits++
				m.Save(w, s)
				select {
				case <-over:
					return
				default:
				}
			}
		}), 10*time.Millisecond, "too slow"))
	response := exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
	if got := kept(t, m, response); got != "(none)" || response.StatusCode != 503 {
		t.Errorf("got %s with status %d, want none with 503", got, response.StatusCode)
	}
	close(over)
	<-ended
}

func TestHandlerWithinTime(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	for _, save := range []bool{false, true} {
		h := m.Handler(http.TimeoutHandler(http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				s := m.Get(r.Context())
				if s.Data.Note = "Ada"; save {
					m.Save(w, s)
				}
			}), time.Minute, ""))
		if got := kept(t, m, exchange{}.do(t, h)); got != "Ada" {
			t.Errorf("save %v: got %s, want Ada", save, got)
		}
	}
}

// recovering answers 500 when next panics, as the middleware of many sites does.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "panic", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func TestHandlerPanic(t *testing.T) {
	type session = *sessions.Session[memo]
	limits := func(data *memo) sessions.Limits {
		if data.Note == "Eve" {
			panic("in LimitsFor")
		}
		return sessions.Limits{}
	}
	adopt := func(*http.Request) (memo, *http.Cookie, bool) { panic("in Adopt") }
	tests := []struct {
		name    string
		options sessions.Options[memo]
		end     func(s session)
	}{
		{"handler", sessions.Options[memo]{}, func(session) { panic("in the handler") }},
		{"saving", sessions.Options[memo]{LimitsFor: limits},
			func(s session) { s.Data.Note = "Eve" }},
		{"clearing", sessions.Options[memo]{Adopt: adopt}, session.Clear},
	}
	for _, test := range tests {
		m := memos(t, test.options)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.Get(r.Context())
			s.Data.Note = "Bob"
			if _, err := m.Save(w, s); err != nil {
				t.Error(err)
			}
			test.end(s)
			io.WriteString(w, "x")
		})
		overBoth(t, test.name, func(t *testing.T, http2 bool) {
			for where, h := range map[string]http.Handler{
				"outside": recovering(m.Handler(h)), "inside": m.Handler(recovering(h)),
			} {
				response := exchange{http2: http2, cookie: memoCookie(t, m, "Ada")}.do(t, h)
				if got := kept(t, m, response); got != "(none)" || response.StatusCode != 500 {
					t.Errorf("recovered %s: got %s with status %d, want none with 500",
						where, got, response.StatusCode)
				}
			}
		})
	}
}

func TestHandlerTwoLayers(t *testing.T) {
	var seen events
	m := memos(t, sessions.Options[memo]{Observe: seen.observe})
	counting := func(next http.Handler) http.Handler {
		return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Get(r.Context()).Data.Hits++
			next.ServeHTTP(w, r)
		}))
	}
	h := counting(counting(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		if s.Data.Hits != 2 || m.Load(r) != s {
			t.Errorf("got %d layers, want 2; Load is Get: %v", s.Data.Hits, m.Load(r) == s)
		}
		s.Data.Note = "Ada"
	})))
	if got := kept(t, m, exchange{}.do(t, h)); got != "Ada" {
		t.Errorf("got %s, want Ada", got)
	}
	if got, want := seen.String(), "none changed"; got != want {
		t.Errorf("Observe: got %s, want %s", got, want)
	}
}

func TestHandlerTwoManagers(t *testing.T) {
	a := memos(t, sessions.Options[memo]{Name: "a"})
	b := memos(t, sessions.Options[memo]{Name: "b"})
	h := a.Handler(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.Get(r.Context()).Data.Note = "of a"
		s := b.Get(r.Context())
		s.Data.Note = "before"
		b.Save(w, s)
		s.Data.Note = "of b"
	})))
	overBoth(t, "", func(t *testing.T, http2 bool) {
		response := exchange{http2: http2}.do(t, h)
		if got := kept(t, a, response) + ", " + kept(t, b, response); got != "of a, of b" {
			t.Errorf("got %s, want of a, of b", got)
		}
	})
}

func TestHandlerSecondSave(t *testing.T) {
	type session = *sessions.Session[memo]
	change := func(note string) func(session) { return func(s session) { s.Data.Note = note } }
	tests := []struct {
		name          string
		first, second func(s session)
		want          string
	}{
		{"another change", change("Eve"), change("Bob"), "Bob"},
		{"changed back", change("Eve"), change("Ada"), "(none)"},
		{"undone", change("Eve"), session.Undo, "(none)"},
		{"cleared", change("Eve"), session.Clear, "(deleted)"},
		{"cleared and undone", session.Clear, session.Undo, "(none)"},
		{"nothing", change("Eve"), func(session) {}, "Eve"},
	}
	m := memos(t, sessions.Options[memo]{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := m.Get(r.Context())
				began := s.Began()
				test.first(s)
				m.Save(w, s)
				test.second(s)
				http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
				if _, err := m.Save(w, s); err != nil {
					t.Error(err)
				}
				if test.want == "(none)" && s.Began() != began {
					t.Errorf("Began: got %v, want %v", s.Began(), began)
				}
			}))
			response := exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
			if got := kept(t, m, response); got != test.want || !hasOther(response) {
				t.Errorf("got %s, want %s; the other cookie is there: %v",
					got, test.want, hasOther(response))
			}
		})
	}
}

func TestHandlerUnchanged(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Note = "Bob"
		s.Data.Note = "Ada"
	}))
	response := exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
	if got := kept(t, m, response); got != "(none)" || response.Header.Get("Cache-Control") != "" {
		t.Errorf("got %s and %v, want none", got, response.Header)
	}
}

// contentHeader is what a handler says of a body that is not sent.
var contentHeader = http.Header{
	"Accept-Ranges": {"bytes"}, "Content-Disposition": {"inline"}, "Content-Encoding": {"gzip"},
	"Content-Language": {"en"}, "Content-Length": {"4711"}, "Content-Range": {"bytes 0-1/2"},
	"Content-Type": {"image/png"}, "ETag": {`"1"`}, "Location": {"/secret"}, "Trailer": {"X-End"},
	"Last-Modified": {"Thu, 01 Jan 1970 00:00:00 GMT"}, http.TrailerPrefix + "X-Sum": {"1"},
}

// unsaved returns a handler whose session can't be saved.
func unsaved(t *testing.T, m *sessions.Manager[memo], note string) http.Handler {
	return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Note = note
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
		w.Header().Set("X-Other", "kept")
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		for name, values := range contentHeader {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusEarlyHints)
		if n, err := io.WriteString(w, "the handler's"); n != 0 || err == nil {
			t.Errorf("Write: got %d and no error", n)
		}
		if n, err := io.Copy(w, strings.NewReader("the handler's")); n != 0 || err == nil {
			t.Errorf("ReadFrom: got %d and no error", n)
		}
		if err := http.NewResponseController(w).Flush(); err == nil {
			t.Error("Flush: got no error")
		}
		if _, _, err := w.(http.Hijacker).Hijack(); err == nil {
			t.Error("Hijack: got no error")
		}
		m.Get(r.Context()).Data.Hits++ // which is told no more
	}))
}

// checkUnsaved checks a response of unsaved.
func checkUnsaved(
	t *testing.T, m *sessions.Manager[memo], response *http.Response, status int, body string,
) {
	t.Helper()
	if got := bodyOf(response); response.StatusCode != status || got != body {
		t.Errorf("got status %d and %q, want %d and %q", response.StatusCode, got, status, body)
	}
	if got := kept(t, m, response); got != "(none)" || !hasOther(response) {
		t.Errorf("got %s, want none; other cookie kept: %v", got, hasOther(response))
	}
	for name, values := range contentHeader {
		if got := response.Header.Get(name); got == values[0] {
			t.Errorf("the handler's %s was sent", name)
		}
	}
	if len(response.Trailer) > 0 {
		t.Errorf("got the trailer %v", response.Trailer)
	}
	for name, want := range map[string]string{
		"X-Other": "kept", "Content-Security-Policy": "default-src 'self'", "Vary": "Cookie",
		"Cache-Control": "no-store",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestHandlerFailed(t *testing.T) {
	tests := map[string]string{"too large": strings.Repeat("x", 5000), "not UTF-8": "secret\xff"}
	for name, note := range tests {
		overBoth(t, name, func(t *testing.T, http2 bool) {
			log := defaultLog(t)
			var seen events
			m := memos(t, sessions.Options[memo]{Observe: seen.observe})
			response := exchange{http2: http2}.do(t, unsaved(t, m, note))
			checkUnsaved(t, m, response, 500, "Your session could not be saved.\n")
			if got, want := seen.String(), "none unchanged error"; got != want {
				t.Errorf("Observe: got %s, want %s", got, want)
			}
			if strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), note[:6]) {
				t.Errorf("got the log %q, want one line without data", log)
			}
		})
	}
}

// In a bubble time begins anew, so a cookie of a later time comes from the future.
func TestHandlerFailedForNow(t *testing.T) {
	var ahead *http.Cookie
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10 * time.Minute)
		ahead = memoCookie(t, memos(t, sessions.Options[memo]{}), "Ada")
	})
	log := defaultLog(t)
	synctest.Test(t, func(t *testing.T) {
		m := memos(t, sessions.Options[memo]{})
		response := exchange{cookie: ahead}.do(t, unsaved(t, m, "Bob"))
		checkUnsaved(t, m, response, 503,
			"Your session can't be changed at the moment. Try again.\n")
		if got := response.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After: got %q, want 1", got)
		}
	})
	if strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), "Bob") {
		t.Errorf("got the log %q, want one line without data", log)
	}
}

func TestHandlerFailedAnswers(t *testing.T) {
	overBoth(t, "", func(t *testing.T, http2 bool) {
		failed := 0
		m := memos(t, sessions.Options[memo]{
			Failed: func(w http.ResponseWriter, _ *http.Request, err error) {
				var over *sessions.TooLargeError
				if failed++; !errors.As(err, &over) || over.Over <= 0 {
					t.Errorf("Failed: got the error %v", err)
				}
				http.Error(w, "a page of the site", http.StatusTeapot)
			},
		})
		response := exchange{http2: http2}.do(t, unsaved(t, m, strings.Repeat("x", 5000)))
		checkUnsaved(t, m, response, http.StatusTeapot, "a page of the site\n")
		if failed != 1 {
			t.Errorf("Failed was called %d times, want once", failed)
		}
	})
}

// A Failed that says nothing leaves no more of the handler's answer than others.
func TestHandlerFailedIsSilent(t *testing.T) {
	m := memos(t, sessions.Options[memo]{Failed: silent})
	response := exchange{}.do(t, unsaved(t, m, strings.Repeat("x", 5000)))
	checkUnsaved(t, m, response, http.StatusOK, "")
}

func TestHandlerLate(t *testing.T) {
	type session = *sessions.Session[memo]
	tests := []struct {
		name   string
		note   string // of the cookie; "" is none
		change func(s session)
		late   bool
	}{
		{"changed", "Ada", func(s session) { s.Data.Note = "Bob" }, true},
		{"renewed", "Ada", session.Renew, true},
		{"cleared", "Ada", session.Clear, true},
		{"begun anew", "Ada", func(s session) { s.Clear(); s.Data.Note = "Ada" }, true},
		{"begun", "", func(s session) { s.Data.Note = "Bob" }, true},
		{"changed back", "Ada", func(s session) { s.Data = memo{}; s.Data.Note = "Ada" }, false},
		{"undone", "Ada", func(s session) { s.Clear(); s.Undo() }, false},
		{"renewed, empty", "", session.Renew, false},
		{"cleared, empty", "", session.Clear, false},
		{"nothing", "Ada", func(s session) {}, false},
	}
	for _, test := range tests {
		for _, asked := range []string{"before", "after"} {
			t.Run(test.name+"/asked "+asked, func(t *testing.T) {
				var seen events
				returned, told := false, 0
				m := memos(t, sessions.Options[memo]{
					Observe: seen.observe,
					Failed: func(w http.ResponseWriter, r *http.Request, err error) {
						if told++; w != nil || err != sessions.ErrLate || !returned {
							t.Errorf("Failed: got %v, %v; next has returned: %v", w, err, returned)
						}
					},
				})
				h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { returned = true }()
					if asked == "before" {
						m.Get(r.Context())
					}
					w.(http.Flusher).Flush()
					s := m.Get(r.Context())
					test.change(s)
					saved, err := m.Save(w, s)
					if (err == sessions.ErrLate) != test.late || saved.Size > 0 {
						t.Errorf("Save: got %v and the error %v", saved, err)
					}
				}))
				var c *http.Cookie
				verdict := "none"
				if test.note != "" {
					c, verdict = memoCookie(t, m, test.note), "valid"
				}
				exchange{cookie: c}.do(t, h)
				want, times := verdict+" unchanged", 0
				if test.late {
					want, times = want+"; "+verdict+" unchanged error", 1
				}
				if got := seen.String(); got != want || told != times {
					t.Errorf("Failed was called %d times, want %d; Observe got %s, want %s",
						told, times, got, want)
				}
			})
		}
	}
}

// A session that is due to be renewed is not said to be, if the response has begun.
func TestHandlerRenewsNothingLate(t *testing.T) {
	var seen events
	m := memos(t, sessions.Options[memo]{
		Limits: sessions.Limits{Idle: time.Second}, Observe: seen.observe,
	})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		s := m.Get(r.Context())
		if saved, err := m.Save(w, s); saved.Reason != sessions.Unchanged || err != nil {
			t.Errorf("Save: got %v and the error %v, want unchanged", saved, err)
		}
	}))
	synctest.Test(t, func(t *testing.T) {
		c := memoCookie(t, m, "Ada")
		time.Sleep(time.Second)
		exchange{cookie: c}.do(t, h)
	})
	if got, want := seen.String(), "valid unchanged"; got != want {
		t.Errorf("Observe: got %s, want %s", got, want)
	}
}

func TestHandlerLateIsLogged(t *testing.T) {
	log := defaultLog(t)
	m := memos(t, sessions.Options[memo]{})
	exchange{}.do(t, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "x")
		m.Get(r.Context()).Data.Note = "secret"
	})))
	if strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), "secret") {
		t.Errorf("got the log %q, want one line without data", log)
	}
}

func TestHandlerVary(t *testing.T) {
	tests := []struct {
		name  string
		asks  bool
		vary  []string
		wants []string
	}{
		{"not asked for", false, []string{"Accept"}, []string{"Accept"}},
		{"none", true, nil, []string{"Cookie"}},
		{"another", true, []string{"Accept"}, []string{"Accept, Cookie"}},
		{"in a list", true, []string{"Accept, cookie"}, []string{"Accept, cookie"}},
		{"all", true, []string{"*"}, []string{"*"}},
	}
	m := memos(t, sessions.Options[memo]{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if test.asks {
					m.Get(r.Context())
				}
				w.Header()["Vary"] = test.vary
				io.WriteString(w, "x")
			}))
			if got := (exchange{}.do(t, h)).Header["Vary"]; !slices.Equal(got, test.wants) {
				t.Errorf("got %q, want %q", got, test.wants)
			}
		})
	}
}

func TestHandlerCacheControl(t *testing.T) {
	tests := []struct {
		note, cache, want string
	}{
		{"Ada", "", ""},
		{"Ada", "max-age=60", "max-age=60"},
		{"Bob", "", "no-store"},
		{"", "", "no-store"},
		{"Bob", "public, max-age=60", "no-store"},
		{"Bob", "max-age=60, Private", "max-age=60, Private"},
		{"Bob", "no-cache, no-store", "no-cache, no-store"},
	}
	m := memos(t, sessions.Options[memo]{})
	for _, test := range tests {
		t.Run(test.note+" "+test.cache, func(t *testing.T) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := m.Get(r.Context())
				s.Data.Note = test.note
				m.Save(w, s)
				if test.cache != "" { // also one that is said after Save
					w.Header().Set("Cache-Control", test.cache)
				}
			}))
			response := exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
			if got := response.Header.Get("Cache-Control"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Decoding is Accept's cue, so its calls are counted.
func TestHandlerDecodesWhenAsked(t *testing.T) {
	navigation := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}}
	part := http.Header{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Site": {"cross-site"}}
	tests := []struct {
		name   string
		bind   time.Duration
		header http.Header
		asks   int
		want   int
		vary   string
	}{
		{"not asked for", 0, navigation, 0, 0, ""},
		{"asked for twice", 0, nil, 2, 1, "Cookie"},
		{"bound, a part of a page", time.Minute, part, 0, 0, ""},
		{"bound, a navigation", time.Minute, navigation, 0, 1, "Cookie"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decoded := 0
			m := memos(t, sessions.Options[memo]{
				Bind: test.bind,
				Accept: func(*http.Request, *sessions.Session[memo]) bool {
					decoded++
					return true
				},
			})
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for range test.asks {
					m.Get(r.Context())
				}
			}))
			response := exchange{cookie: memoCookie(t, m, "Ada"), header: test.header}.do(t, h)
			if got := response.Header.Get("Vary"); decoded != test.want || got != test.vary {
				t.Errorf("decoded %d times with Vary %q, want %d with %q",
					decoded, got, test.want, test.vary)
			}
		})
	}
}

func TestHandlerObserves(t *testing.T) {
	type manager = *sessions.Manager[memo]
	tests := []struct {
		name   string
		answer func(m manager, w http.ResponseWriter, r *http.Request)
		want   string
	}{
		{"not asked for", func(manager, http.ResponseWriter, *http.Request) {}, ""},
		{"a read", func(m manager, _ http.ResponseWriter, r *http.Request) {
			m.Get(r.Context())
		}, "valid unchanged"},
		{"saved twice", func(m manager, w http.ResponseWriter, r *http.Request) {
			s := m.Load(r)
			s.Data.Note = "Bob"
			m.Save(w, s)
			m.Save(w, s)
		}, "valid changed"},
		{"asked for late", func(m manager, w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "x")
			m.Get(r.Context())
		}, "valid unchanged"},
		{"asked for after an error", func(m manager, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			m.Get(r.Context()).Data.Note = "Bob"
		}, "valid unchanged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var seen events
			m := memos(t, sessions.Options[memo]{Observe: seen.observe})
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				test.answer(m, w, r)
			}))
			exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
			if got := seen.String(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLoadSaveWithoutHandler(t *testing.T) {
	var seen events
	m := memos(t, sessions.Options[memo]{Observe: seen.observe})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Load(r)
		if m.Load(r) == s {
			t.Error("Load returns the same session twice")
		}
		for _, note := range []string{s.Data.Note + " Lovelace", s.Data.Note + " Byron"} {
			s.Data.Note = note
			if _, err := m.Save(w, s); err != nil {
				t.Error(err)
			}
		}
	})
	response := exchange{cookie: memoCookie(t, m, "Ada")}.do(t, h)
	if got := kept(t, m, response); got != "Ada Byron" {
		t.Errorf("got %s, want Ada Byron", got)
	}
	if got, want := seen.String(), "valid changed; valid changed"; got != want {
		t.Errorf("Observe: got %s, want %s", got, want)
	}
	vary, cache := response.Header.Get("Vary"), response.Header.Get("Cache-Control")
	if vary != "Cookie" || cache != "no-store" {
		t.Errorf("got Vary %q and Cache-Control %q", vary, cache)
	}
}

func TestGetElsewherePanics(t *testing.T) {
	m, other := memos(t, sessions.Options[memo]{}), memos(t, sessions.Options[memo]{})
	inside, _ := other.With(t.Context(), memo{})
	for name, ctx := range map[string]context.Context{"none": t.Context(), "another's": inside} {
		func() {
			defer func() {
				text := fmt.Sprint(recover())
				if !strings.HasPrefix(text, "sessions: Get was called") {
					t.Errorf("%s: got %q", name, text)
				}
			}()
			m.Get(ctx)
		}()
	}
}

// greet is a handler as a site has it, to be tested without a server.
func greet(m *sessions.Manager[memo]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Hits++
		fmt.Fprintf(w, "Hello, %s!", s.Data.Note)
	})
}

func TestWith(t *testing.T) {
	m := memos(t, sessions.Options[memo]{})
	for name, h := range map[string]http.Handler{"bare": greet(m), "Handler": m.Handler(greet(m))} {
		ctx, s := m.With(t.Context(), memo{Note: "Ada"})
		if s.Verdict() != sessions.Valid || m.Get(ctx) != s {
			t.Errorf("got a session that is %s", s.Verdict())
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		if m.Load(r) != s {
			t.Error("Load returns another session")
		}
		h.ServeHTTP(w, r)
		if got := w.Body.String(); got != "Hello, Ada!" || s.Data.Hits != 1 {
			t.Errorf("%s: got %q and %d hits", name, got, s.Data.Hits)
		}
		want := map[string]string{"bare": "(none)", "Handler": "Ada"}[name]
		if got := kept(t, m, w.Result()); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if _, s := m.With(t.Context(), memo{}); s.Verdict() != sessions.None {
		t.Errorf("without data: got %s, want none", s.Verdict())
	}
}

// The table of the package comment names a test for each of its rows.
func TestPackageCommentTable(t *testing.T) {
	names := regexp.MustCompile(`\bTest\w+`).FindAllString(readText(t, "doc.go"), -1)
	if len(names) < 10 {
		t.Errorf("the table has %d tests", len(names))
	}
	tests := readText(t, "handler_test.go")
	for _, name := range names {
		if !strings.Contains(tests, "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestPackageCommentQuickStart(t *testing.T) {
	if testing.Short() {
		t.Skip("calls the go command")
	}
	_, program, _ := strings.Cut(readText(t, "doc.go"), "//\tpackage main\n")
	program, _, _ = strings.Cut(program, "\n//\n// A field")
	program = "package main\n" + regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(program, "")
	if lines := strings.Count(program, "\n") + 1; lines > 25 {
		t.Errorf("it has %d lines, want 25 at most", lines)
	}
	if formatted, err := format.Source([]byte(program)); string(formatted) != program+"\n" {
		t.Errorf("gofmt would change it, or fail: %v", err)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// readText returns the text of one of the package's files.
func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
