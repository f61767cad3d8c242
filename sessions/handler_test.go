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
	"maps"
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
	"testing"
	"time"

	"cookiesession/sessions"
)

// other is a cookie that a handler sets by itself.
var other = &http.Cookie{Name: "other", Value: "1"}

// hasOther reports whether a response sets it.
func hasOther(response *http.Response) bool {
	return slices.ContainsFunc(response.Cookies(), func(c *http.Cookie) bool {
		return c.Name == other.Name
	})
}

func bodyOf(response *http.Response) string { return string(made(io.ReadAll(response.Body))) }

// defaultLog returns what slog's default logger writes until the test ends.
func defaultLog(t *testing.T) *bytes.Buffer {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	return &log
}

// wantOneLine fails unless a log has one line, which says something, without the data.
func wantOneLine(t *testing.T, log *bytes.Buffer, says, data string) {
	t.Helper()
	if got := log.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, data) ||
		!strings.Contains(got, says) {
		t.Errorf("got the log %q, want one line with %q and without data", got, says)
	}
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

// status returns a handler that answers with a status.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// What Handler keeps it keeps over HTTP/2 as well, but for Hijack and 101, which that
// doesn't have.
func TestHandlerOverHTTP2(t *testing.T) {
	allOverHTTP2 = true
	defer func() { allOverHTTP2 = false }()
	for name, test := range map[string]func(*testing.T){
		"ServerError": TestHandlerServerError, "Timeout": TestHandlerTimeout,
		"Panic": TestHandlerPanic, "TwoLayers": TestHandlerTwoLayers,
		"TwoManagers": TestHandlerTwoManagers, "SecondSave": TestHandlerSecondSave,
		"Unchanged": TestHandlerUnchanged, "Failed": TestHandlerFailed,
		"FailedForNow": TestHandlerFailedForNow, "AnswersItself": TestHandlerAnswersItself,
		"Late": TestHandlerLate, "RenewsNothingLate": TestHandlerRenewsNothingLate,
		"LateIsLogged": TestHandlerLateIsLogged, "Vary": TestHandlerVary,
		"CacheControl": TestHandlerCacheControl, "Observes": TestHandlerObserves,
		"DecodesWhenAsked": TestHandlerDecodesWhenAsked, "Writer": TestHandlerWriter,
	} {
		t.Run(name, test)
	}
}

func TestHandlerSaves(t *testing.T) {
	tests := []struct {
		name, method string
		status       int
		answer       http.HandlerFunc
	}{
		{"nothing", "GET", 200, func(http.ResponseWriter, *http.Request) {}},
		{"write", "GET", 200, writeX},
		{"empty write", "GET", 200, func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) }},
		{"204", "GET", 204, status(204)},
		{"redirect", "POST", 303, http.RedirectHandler("/", http.StatusSeeOther).ServeHTTP},
		{"HEAD", "HEAD", 200, writeX},
		{"Flusher", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, "x")
		}},
		{"ResponseController", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}},
		{"ReadFrom", "GET", 200, func(w http.ResponseWriter, _ *http.Request) {
			w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
		}},
	}
	m := managerOf(options{})
	for _, test := range tests {
		overBoth(t, test.name, func(t *testing.T, http2 bool) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Get(r.Context()).Data.Name = "Ada"
				test.answer(w, r)
			}))
			wantKept(t, m, exchange{http2: http2, method: test.method}.do(t, h), test.status, "Ada")
		})
	}
}

// A client sees the header of a 103 long before the session is what it will be.
func TestHandlerSavesAfter103(t *testing.T) {
	m := managerOf(options{})
	hints := 0
	x := exchange{http2: true, trace: httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			if hints++; len(header["Set-Cookie"]) > 0 {
				t.Error("the 103 sets a cookie")
			}
			return nil
		},
	}}
	wantKept(t, m, x.do(t, handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "early"
		w.WriteHeader(http.StatusEarlyHints)
		s.Data.Name = "Ada"
		io.WriteString(w, "x")
	})), 200, "Ada")
	if hints != 1 {
		t.Errorf("got %d responses of 103, want 1", hints)
	}
}

func TestHandlerSendfile(t *testing.T) {
	m := managerOf(options{})
	name := filepath.Join(t.TempDir(), "file.txt")
	write(t, name, "content")
	file := m.Handler(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.Name = "Ada"
		http.ServeFile(w, r, name)
	})))
	var below readFromBelow
	response := exchange{}.do(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below.ResponseWriter = w
		file.ServeHTTP(&below, r)
	}))
	wantKept(t, m, response, 200, "Ada")
	limited, _ := below.from.(*io.LimitedReader)
	if limited == nil || bodyOf(response) != "content" {
		t.Fatalf("the writer below reads from a %T, want an *io.LimitedReader", below.from)
	}
	if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("the writer below reads from a %T, want an *os.File", limited.R)
	}
}

func TestHandlerWriter(t *testing.T) {
	m := managerOf(options{})
	exchange{}.do(t, handle(m, func(w http.ResponseWriter, _ *session) {
		if _, ok := w.(http.Pusher); ok {
			t.Error("the writer is an http.Pusher")
		}
		c := http.NewResponseController(w)
		err := c.SetWriteDeadline(time.Now().Add(time.Minute))
		if err = errors.Join(err, c.EnableFullDuplex()); err != nil {
			t.Error(err)
		}
	}))
}

// A writer below that can't flush must not make the session's fate depend on the try.
func TestHandlerNoFlush(t *testing.T) {
	m := managerOf(options{})
	h := handle(m, func(w http.ResponseWriter, s *session) {
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush: got the error %v", err)
		}
		w.(http.Flusher).Flush()
		s.Data.Name = "Ada"
		w.WriteHeader(404)
	})
	wantKept(t, m, exchange{}.do(t, http.TimeoutHandler(h, time.Minute, "")), 404, "Ada")
}

// silent is a Failed that says nothing.
func silent(http.ResponseWriter, *http.Request, error) {}

// switchProtocols writes the answer of a handler that has hijacked its connection.
func switchProtocols(w http.ResponseWriter, conn net.Conn, rw *bufio.ReadWriter) error {
	defer conn.Close()
	io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n")
	w.Header().Write(rw)
	io.WriteString(rw, "\r\n")
	return rw.Flush()
}

func TestHandlerSavesBeforeHijack(t *testing.T) {
	var seen events
	m := managerOf(options{Observe: seen.observe, Failed: silent})
	h := handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "Ada"
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err == nil {
			err = switchProtocols(w, conn, rw)
		}
		s.Data.Name = "too late"
		if _, late := io.WriteString(w, "x"); err != nil || !errors.Is(late, http.ErrHijacked) {
			t.Errorf("got the error %v, and %v of a Write after Hijack", err, late)
		}
	})
	wantKept(t, m, exchange{}.do(t, h), 101, "Ada")
	seen.wants(t, "none changed; none unchanged error")
}

func TestHandlerSavesAt101(t *testing.T) {
	m := managerOf(options{})
	h := handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "Ada"
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := w.(http.Hijacker).Hijack()
		made(conn, err).Close()
	})
	wantKept(t, m, exchange{}.do(t, h), 101, "Ada")
}

func TestHandlerHijackFails(t *testing.T) {
	m := managerOf(options{})
	h := handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = strings.Repeat("x", 5000)
		var over *sessions.TooLargeError
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.As(err, &over) {
			t.Errorf("got the error %v, want a TooLargeError", err)
		}
		s.Data.Name = "Ada"
		w.WriteHeader(404)
	})
	wantKept(t, m, exchange{}.do(t, h), 404, "Ada")
}

func TestHandlerNoHijack(t *testing.T) {
	var seen events
	m := managerOf(options{Observe: seen.observe})
	h := handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "Ada"
		_, _, err := w.(http.Hijacker).Hijack()
		if w.Header()["Set-Cookie"] != nil || !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("got the error %v and %v", err, w.Header())
		}
		w.WriteHeader(404)
	})
	wantKept(t, m, exchange{http2: true}.do(t, h), 404, "Ada")
	seen.wants(t, "none changed")
}

func TestHandlerServerError(t *testing.T) {
	for _, test := range []struct {
		status     int
		saves      bool
		want, seen string
	}{
		{500, false, "(none)", "none unchanged"}, {500, true, "(none)", "none unchanged"},
		{499, true, "Ada", "none changed; step offered"},
	} {
		var seen events
		m := managerOf(options{Observe: seen.observe, Bind: time.Minute})
		response := exchange{}.do(t, handle(m, func(w http.ResponseWriter, s *session) {
			s.Data.Name = "Ada"
			if http.SetCookie(w, other); test.saves {
				made(m.Save(w, s))
			}
			w.WriteHeader(test.status)
			if _, err := m.Save(w, s); (err == sessions.ErrLate) != (test.status >= 500) {
				t.Errorf("%d: Save after the response: got the error %v", test.status, err)
			}
		}))
		offers := response.Header["Secure-Session-Registration"] != nil
		if wantKept(t, m, response, test.status, test.want); !hasOther(response) ||
			offers != (test.status < 500) {
			t.Errorf("%d: got %v, want the other cookie in it", test.status, response.Header)
		}
		seen.wants(t, test.seen)
	}
}

// The handler goes on when its time is over. Under the race detector, whatever the
// server looks at then is found.
func TestHandlerTimeout(t *testing.T) {
	m := managerOf(options{})
	over, ended := make(chan bool), make(chan bool)
	h := m.Handler(http.TimeoutHandler(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			for {
				s := m.Get(r.Context())
				s.Data.Name += "x"
				m.Save(w, s)
				select {
				case <-over:
					return
				default:
				}
			}
		}), 10*time.Millisecond, "too slow"))
	wantKept(t, m, exchange{cookie: cookieOf(m, "Ada")}.do(t, h), 503, "(none)")
	close(over)
	<-ended
	// Within its time it is as any other, also where it saves by itself.
	h = m.Handler(http.TimeoutHandler(handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "Ada"
		m.Save(w, s)
	}), time.Minute, ""))
	wantKept(t, m, exchange{}.do(t, h), 200, "Ada")
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
	limits := func(data *fixed) sessions.Limits {
		if data.Name == "Eve" {
			panic("in LimitsFor")
		}
		return sessions.Limits{}
	}
	adopt := func(*http.Request) (fixed, *http.Cookie, bool) { panic("in Adopt") }
	for _, test := range []struct {
		options options
		end     func(s *session)
	}{
		{options{}, func(*session) { panic("in the handler") }},
		{options{LimitsFor: limits}, named("Eve")}, {options{Adopt: adopt}, (*session).Clear},
	} {
		m := managerOf(test.options)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.Get(r.Context())
			s.Data.Name = "Bob"
			made(m.Save(w, s))
			test.end(s)
			io.WriteString(w, "x")
		})
		for _, h := range []http.Handler{recovering(m.Handler(h)), m.Handler(recovering(h))} {
			wantKept(t, m, exchange{cookie: cookieOf(m, "Ada")}.do(t, h), 500, "(none)")
		}
	}
}

func TestHandlerTwoLayers(t *testing.T) {
	var seen events
	m := managerOf(options{Observe: seen.observe})
	counting := func(next http.HandlerFunc) http.Handler {
		return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Get(r.Context()).Data.Name += "x"
			next(w, r)
		}))
	}
	h := counting(counting(func(w http.ResponseWriter, r *http.Request) {
		if s := m.Get(r.Context()); m.Load(r) != s {
			t.Error("Load is another session than Get")
		}
	}).ServeHTTP)
	wantKept(t, m, exchange{}.do(t, h), 200, "xx")
	seen.wants(t, "none changed")
}

func TestHandlerTwoManagers(t *testing.T) {
	a, b := managerOf(options{Name: "a"}), managerOf(options{Name: "b"})
	h := a.Handler(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.Get(r.Context()).Data.Name = "of a"
		s := b.Get(r.Context())
		s.Data.Name = "before"
		b.Save(w, s)
		s.Data.Name = "of b"
		w.(http.Flusher).Flush()
	})))
	response := exchange{}.do(t, h)
	wantKept(t, a, response, 200, "of a")
	wantKept(t, b, response, 200, "of b")
}

func TestHandlerSecondSave(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second func(*session)
		want          string
	}{
		{"another change", named("Eve"), named("Bob"), "Bob"},
		{"undone", named("Eve"), (*session).Undo, "(none)"},
		{"cleared", named("Eve"), (*session).Clear, "(deleted)"},
		{"nothing", named("Eve"), nothing, "Eve"},
	} {
		m := managerOf(options{})
		response := exchange{cookie: cookieOf(m, "Ada")}.do(t, handle(m,
			func(w http.ResponseWriter, s *session) {
				began := s.Began()
				test.first(s)
				m.Save(w, s)
				test.second(s)
				http.SetCookie(w, other)
				made(m.Save(w, s))
				if test.want == "(none)" && s.Began() != began {
					t.Errorf("%s: Began: got %v, want %v", test.name, s.Began(), began)
				}
			}))
		if got := kept(t, m, response); got != test.want || !hasOther(response) {
			t.Errorf("%s: got %s, want %s; the other cookie is there: %v",
				test.name, got, test.want, hasOther(response))
		}
	}
}

func TestHandlerUnchanged(t *testing.T) {
	m := managerOf(options{})
	response := exchange{cookie: cookieOf(m, "Ada")}.do(t, handle(m,
		func(_ http.ResponseWriter, s *session) {
			s.Data.Name = "Bob"
			s.Data.Name = "Ada"
		}))
	if wantKept(t, m, response, 200, "(none)"); response.Header["Cache-Control"] != nil {
		t.Errorf("got %v", response.Header)
	}
}

// contentHeader is what a handler says of a body that is not sent.
var contentHeader = http.Header{
	"Accept-Ranges": {"bytes"}, "Content-Disposition": {"inline"}, "Content-Encoding": {"gzip"},
	"Content-Language": {"en"}, "Content-Length": {"4711"}, "Content-Range": {"bytes 0-1/2"},
	"Content-Type": {"image/png"}, "ETag": {`"1"`}, "Location": {"/secret"}, "Trailer": {"X-End"},
	"Last-Modified": {"Thu, 01 Jan 1970 00:00:00 GMT"}, http.TrailerPrefix + "X-Sum": {"1"},
}

// otherHeader is what it says besides, but for Cache-Control and Vary.
var otherHeader = http.Header{
	"X-Other": {"kept"}, "Content-Security-Policy": {"default-src 'self'"},
	"Cache-Control": {"public, max-age=3600"},
}

// unsaved returns a handler whose session can't be saved.
func unsaved(t *testing.T, m *manager, name string) http.Handler {
	return handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = name
		http.SetCookie(w, other)
		maps.Copy(w.Header(), contentHeader)
		maps.Copy(w.Header(), otherHeader)
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusEarlyHints)
		n, err := io.WriteString(w, "the handler's")
		read, errRead := io.Copy(w, strings.NewReader("the handler's"))
		errFlush := http.NewResponseController(w).Flush()
		_, _, errHijack := w.(http.Hijacker).Hijack()
		errs := []error{err, errRead, errFlush, errHijack}
		if n != 0 || read != 0 || slices.Contains(errs, nil) {
			t.Errorf("got %d bytes written, %d read, and the errors %v", n, read, errs)
		}
		s.Data.Name += "x" // which is told no more
	})
}

// checkUnsaved checks a response of unsaved.
func checkUnsaved(t *testing.T, m *manager, response *http.Response, status int, body string) {
	t.Helper()
	wantKept(t, m, response, status, "(none)")
	if got := bodyOf(response); got != body || !hasOther(response) || len(response.Trailer) > 0 {
		t.Errorf("got %q, want %q; other cookie kept: %v; trailer %v",
			got, body, hasOther(response), response.Trailer)
	}
	for name, values := range contentHeader {
		if got := response.Header.Get(name); got == values[0] {
			t.Errorf("the handler's %s was sent", name)
		}
	}
	want := maps.Clone(otherHeader)
	want["Cache-Control"], want["Vary"] = []string{"no-store"}, []string{"Cookie"}
	for name, values := range want {
		if got := response.Header[name]; !slices.Equal(got, values) {
			t.Errorf("%s: got %q, want %q", name, got, values)
		}
	}
}

func TestHandlerFailed(t *testing.T) {
	for says, value := range map[string]string{
		"bytes too large": strings.Repeat("x", 5000), "can't be stored": "secret\xff",
	} {
		log := defaultLog(t)
		var seen events
		m := managerOf(options{Observe: seen.observe})
		response := exchange{}.do(t, unsaved(t, m, value))
		checkUnsaved(t, m, response, 500, "Your session could not be saved.\n")
		seen.wants(t, "none unchanged error")
		wantOneLine(t, log, says, value[:6])
	}
}

func TestHandlerFailedForNow(t *testing.T) {
	log := defaultLog(t)
	m := managerOf(options{})
	ahead := &http.Cookie{Name: m.CookieName(), Value: aged(m, -600, -600)}
	response := exchange{cookie: ahead}.do(t, unsaved(t, m, "Bob"))
	checkUnsaved(t, m, response, 503, "Your session can't be changed at the moment. Try again.\n")
	if got := response.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: got %q, want 1", got)
	}
	wantOneLine(t, log, "try again", "Bob")
}

func TestHandlerFailedAnswers(t *testing.T) {
	failed := 0
	m := managerOf(options{Failed: func(w http.ResponseWriter, _ *http.Request, err error) {
		var over *sessions.TooLargeError
		if failed++; !errors.As(err, &over) || over.Over <= 0 {
			t.Errorf("Failed: got the error %v", err)
		}
		http.Error(w, "a page of the site", http.StatusTeapot)
	}})
	response := exchange{http2: true}.do(t, unsaved(t, m, strings.Repeat("x", 5000)))
	checkUnsaved(t, m, response, http.StatusTeapot, "a page of the site\n")
	if failed != 1 {
		t.Errorf("Failed was called %d times, want once", failed)
	}
	// One that says nothing leaves no more of the handler's answer.
	m = managerOf(options{Failed: silent})
	checkUnsaved(t, m, exchange{}.do(t, unsaved(t, m, strings.Repeat("x", 5000))), 200, "")
}

func TestHandlerLate(t *testing.T) {
	for about, test := range map[string]struct {
		name   string // in the cookie; "" is none
		change func(*session)
		late   bool
	}{
		"changed":        {"Ada", named("Bob"), true},
		"renewed":        {"Ada", (*session).Renew, true},
		"cleared":        {"Ada", (*session).Clear, true},
		"begun anew":     {"Ada", func(s *session) { s.Clear(); s.Data.Name = "Ada" }, true},
		"begun":          {"", named("Bob"), true},
		"undone":         {"Ada", func(s *session) { s.Clear(); s.Undo() }, false},
		"renewed, empty": {"", (*session).Renew, false},
		"cleared, empty": {"", (*session).Clear, false},
		"nothing":        {"Ada", nothing, false},
	} {
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprint(about, ", asked before: ", asked), func(t *testing.T) {
				checkLate(t, test.name, asked, test.change, test.late)
			})
		}
	}
}

func checkLate(t *testing.T, name string, asked bool, change func(*session), late bool) {
	var seen events
	returned, told := false, 0
	m := managerOf(options{
		Observe: seen.observe,
		Failed: func(w http.ResponseWriter, r *http.Request, err error) {
			if told++; w != nil || err != sessions.ErrLate || !returned {
				t.Errorf("Failed: got %v, %v; next has returned: %v", w, err, returned)
			}
		},
	})
	x, want, times := exchange{}, "none unchanged", 0
	if name != "" {
		x.cookie, want = cookieOf(m, name), "valid unchanged"
	}
	if late {
		want, times = want+"; "+want+" error", 1
	}
	x.do(t, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { returned = true }()
		if asked {
			m.Get(r.Context())
		}
		w.(http.Flusher).Flush()
		s := m.Get(r.Context())
		change(s)
		if saved, err := m.Save(w, s); (err == sessions.ErrLate) != late || saved.Size > 0 {
			t.Errorf("Save: got %v and the error %v", saved, err)
		}
	})))
	if seen.wants(t, want); told != times {
		t.Errorf("Failed was called %d times, want %d", told, times)
	}
}

// A session that is due to be renewed is not said to be, if the response has begun.
func TestHandlerRenewsNothingLate(t *testing.T) {
	var seen events
	m := managerOf(options{Observe: seen.observe})
	due := &http.Cookie{Name: m.CookieName(), Value: aged(m, 4*86400, 4*86400)}
	exchange{cookie: due}.do(t, m.Handler(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			saved, err := m.Save(w, m.Get(r.Context()))
			if saved.Reason != sessions.Unchanged || err != nil {
				t.Errorf("Save: got %v and the error %v, want unchanged", saved, err)
			}
		})))
	seen.wants(t, "valid unchanged")
}

func TestHandlerLateIsLogged(t *testing.T) {
	log := defaultLog(t)
	exchange{}.do(t, handle(managerOf(options{}), func(w http.ResponseWriter, s *session) {
		io.WriteString(w, "x")
		s.Data.Name = "secret"
	}))
	wantOneLine(t, log, "had begun", "secret")
}

func TestHandlerVary(t *testing.T) {
	m := managerOf(options{})
	for want, asks := range map[string]bool{"[Accept]": false, "[Accept, Cookie]": true} {
		h := func(w http.ResponseWriter, r *http.Request) {
			if asks {
				m.Get(r.Context())
			}
			w.Header().Set("Vary", "Accept")
			io.WriteString(w, "x")
		}
		response := exchange{}.do(t, m.Handler(http.HandlerFunc(h)))
		if got := fmt.Sprint(response.Header["Vary"]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestHandlerCacheControl(t *testing.T) {
	m := managerOf(options{})
	for _, test := range [][3]string{
		{"Ada", "", ""}, {"Ada", "max-age=60", "max-age=60"}, {"Bob", "", "no-store"},
		{"", "", "no-store"}, {"Bob", "private", "private"},
		{"Bob", "public, max-age=60", "no-store"}, // also one that is said after Save
	} {
		h := handle(m, func(w http.ResponseWriter, s *session) {
			s.Data.Name = test[0]
			m.Save(w, s)
			if test[1] != "" {
				w.Header().Set("Cache-Control", test[1])
			}
		})
		response := exchange{cookie: cookieOf(m, "Ada")}.do(t, h)
		if got := response.Header.Get("Cache-Control"); got != test[2] {
			t.Errorf("%q: got %q, want %q", test[:2], got, test[2])
		}
	}
}

// Decoding is Accept's cue, so its calls are counted.
func TestHandlerDecodesWhenAsked(t *testing.T) {
	navigation := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}}
	part := http.Header{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Site": {"cross-site"}}
	for _, test := range []struct {
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
	} {
		decoded := 0
		m := managerOf(options{Bind: test.bind, Accept: func(*http.Request, *session) bool {
			decoded++
			return true
		}})
		h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range test.asks {
				m.Get(r.Context())
			}
		}))
		response := exchange{cookie: cookieOf(m, "Ada"), header: test.header}.do(t, h)
		if got := response.Header.Get("Vary"); decoded != test.want || got != test.vary {
			t.Errorf("%s: decoded %d times with Vary %q, want %d with %q",
				test.name, decoded, got, test.want, test.vary)
		}
	}
}

func TestHandlerObserves(t *testing.T) {
	for want, do := range map[string]func(m *manager, w http.ResponseWriter, r *http.Request){
		"": func(*manager, http.ResponseWriter, *http.Request) {},
		"valid changed": func(m *manager, w http.ResponseWriter, r *http.Request) {
			s := m.Load(r)
			s.Data.Name = "Bob"
			m.Save(w, s)
			m.Save(w, s)
		},
		"valid unchanged": func(m *manager, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			m.Get(r.Context()).Data.Name = "Bob"
		},
	} {
		var seen events
		m := managerOf(options{Observe: seen.observe})
		h := func(w http.ResponseWriter, r *http.Request) { do(m, w, r) }
		exchange{cookie: cookieOf(m, "Ada")}.do(t, m.Handler(http.HandlerFunc(h)))
		seen.wants(t, want)
	}
}

func TestGetElsewherePanics(t *testing.T) {
	m := managerOf(options{})
	inside, _ := managerOf(options{}).With(t.Context(), fixed{})
	for _, ctx := range []context.Context{t.Context(), inside} {
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "sessions: Get was called") {
					t.Errorf("got %q", p)
				}
			}()
			m.Get(ctx)
		}()
	}
}

// A handler is tested without a server.
func TestWith(t *testing.T) {
	m := managerOf(options{})
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Get(r.Context())
		s.Data.Name += "x"
		fmt.Fprintf(w, "Hello, %s!", s.Data.Name)
	})
	for want, h := range map[string]http.Handler{"(none)": bare, "Adax": m.Handler(bare)} {
		ctx, s := m.With(t.Context(), fixed{Name: "Ada"})
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		if s.Verdict() != sessions.Valid || m.Get(ctx) != s || m.Load(r) != s {
			t.Errorf("got a session that is %s, or another from Get or Load", s.Verdict())
		}
		h.ServeHTTP(w, r)
		wantKept(t, m, w.Result(), 200, want)
		if got := w.Body.String(); got != "Hello, Adax!" || s.Data.Name != "Adax" {
			t.Errorf("got %q and %+v", got, s.Data)
		}
	}
	ctx, _ := m.With(t.Context(), fixed{Name: "Ada"})
	w := httptest.NewRecorder()
	handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = "Bob"
		if _, err := m.Save(w, s); err != nil {
			t.Error(err)
		}
		w.WriteHeader(500)
	}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	wantKept(t, m, w.Result(), 500, "(none)") // as in a Handler without With
	if _, s := m.With(t.Context(), fixed{}); s.Verdict() != sessions.None {
		t.Errorf("without data: got %s, want none", s.Verdict())
	}
}

// The tests that hold what the package comment says under "What Handler keeps", row by row.
//
//	Handler saves
//	    at WriteHeader, Write, ReadFrom or Flush,
//	    or when the handler returns                 TestHandlerSaves
//	    after a 103, not with it                    TestHandlerSavesAfter103
//	    with a status of 101                        TestHandlerSavesAt101
//	    before Hijack, which fails if saving does   TestHandlerSavesBeforeHijack
//	    later, if Hijack fails                      TestHandlerHijackFails
//	    later, if Hijack or Flush isn't supported   TestHandlerNoHijack, TestHandlerNoFlush
//	    once, even after Save                       TestHandlerSecondSave
//	Handler doesn't save
//	    a session that is unchanged                 TestHandlerUnchanged
//	    with a status of 500 or above               TestHandlerServerError
//	    when http.TimeoutHandler has answered       TestHandlerTimeout
//	    after a panic                               TestHandlerPanic
//	If saving fails
//	    Failed answers instead of the handler       TestHandlerFailed, TestHandlerFailedAnswers
//	    with 503 by default for ErrTryAgain         TestHandlerFailedForNow
//	    and is told of changes that came too late   TestHandlerLate, TestHandlerLateIsLogged
//	Handler works
//	    in layers, which share the session          TestHandlerTwoLayers
//	    with other managers, even of the same type  TestHandlerTwoManagers
//	    with sendfile, deadlines and full duplex    TestHandlerSendfile, TestHandlerWriter
//	    without decoding unless Get is called       TestHandlerDecodesWhenAsked
//	    beside the handler's Vary, Cache-Control    TestHandlerVary, TestHandlerCacheControl
func TestPackageCommentTable(t *testing.T) {
	tests := readText("handler_test.go")
	_, table, _ := strings.Cut(tests, "\n//\tHandler saves\n")
	table, _, _ = strings.Cut(table, "\nfunc ")
	names := regexp.MustCompile(`\bTest\w+`).FindAllString(table, -1)
	if len(names) < 20 {
		t.Errorf("the table has %d tests", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests, "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("there is no %s", name)
		}
	}
	plain := regexp.MustCompile(`(?m) +Test.*$`).ReplaceAllString(table, "")
	if !strings.Contains(readText("doc.go"), "\n//\tHandler saves\n"+plain) {
		t.Errorf("the package comment has other rows than %s", plain)
	}
}

func TestPackageCommentQuickStart(t *testing.T) {
	if testing.Short() {
		t.Skip("calls the go command")
	}
	_, program, _ := strings.Cut(readText("doc.go"), "//\tpackage main\n")
	program, _, _ = strings.Cut(program, "\n//\n// A field")
	program = "package main\n" + regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(program, "")
	formatted, err := format.Source([]byte(program))
	if lines := strings.Count(program, "\n"); lines > 24 || string(formatted) != program+"\n" {
		t.Errorf("it has %d lines, of 24 at most, gofmt would change it, or fails: %v", lines, err)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	write(t, file, program)
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
