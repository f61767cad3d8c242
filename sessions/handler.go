package sessions

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
)

// Handler returns a handler that calls next, where [Manager.Get] returns the request's
// session, and saves the session when the response begins. It serves the endpoints of
// device binding itself. Put it around a router rather than into it: some frameworks write
// their error pages outside of their middleware. The package documentation has the details.
func (m *Manager[T]) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer, _ := r.Context().Value(m).(*visit[T])
		if outer != nil && outer.ResponseWriter != nil {
			next.ServeHTTP(w, r) // it is in Handler already
			return
		}
		if m.serveDevice(w, r) {
			return
		}
		v := &visit[T]{ResponseWriter: w, m: m, outside: r}
		if outer != nil { // it comes from With
			s := outer.session()
			s.visit = v
			v.loaded.Store(s)
		}
		v.r = r.WithContext(context.WithValue(r.Context(), m, v))
		if !m.detour(v) {
			v.serve(next)
		}
	})
}

// visit is a request on its way through Handler, and the ResponseWriter that next gets.
type visit[T any] struct {
	http.ResponseWriter // below; nil if With has made the visit

	m       *Manager[T]
	outside *http.Request              // as it came: Accept can't ask it for the session
	r       *http.Request              // with the session in its context
	loaded  atomic.Pointer[Session[T]] // once it was asked for
	sent    atomic.Pointer[sent]       // what was put into the header last
	begun   atomic.Bool                // the response has
	status  int                        // with which it has
	failed  error                      // why the session was not saved: Failed has answered
	told    bool                       // Observe has heard of the session
}

// session returns the session of the request, which is decoded when it is first
// asked for.
func (v *visit[T]) session() *Session[T] {
	if s := v.loaded.Load(); s != nil {
		return s
	}
	s := v.m.load(v.outside)
	if s.visit = v; v.loaded.CompareAndSwap(nil, s) {
		return s
	}
	return v.loaded.Load() // another goroutine has asked at the same time
}

// serve has next answer, and does what remains when it has returned.
func (v *visit[T]) serve(next http.Handler) {
	returned := false
	defer func() {
		if !returned && !v.begun.Load() { // it has panicked: whoever recovers saves nothing
			v.takeBack()
		}
	}()
	next.ServeHTTP(v, v.r)
	returned = true
	v.begin(http.StatusOK)
	s := v.loaded.Load()
	if v.failed != nil {
		dropContent(v.Header()) // the trailers that the handler has set since
		return
	}
	if s == nil {
		return
	}
	if !v.told { // it was first asked for after the response had begun
		v.m.tell(v.r, s, Saved{Reason: Unchanged}, nil)
	}
	if v.status < 500 && v.m.isLate(s) {
		v.m.tell(v.r, s, Saved{Reason: Unchanged}, ErrLate)
		v.m.o.Failed(nil, v.r, ErrLate)
	}
}

// begin saves the session, since the response begins with a status now if it hasn't
// before. If it can't be saved, Failed answers, and begin returns why.
func (v *visit[T]) begin(status int) error {
	if v.begun.Load() {
		return v.failed
	}
	saved, err := v.save(status)
	v.hasBegun(status, saved, err)
	if err != nil {
		v.failed = err
		dropContent(v.Header())
		forCaches(v.Header(), true)
		v.m.o.Failed(v.ResponseWriter, v.r, err)
	}
	return err
}

// save saves the session, if it was asked for, for a response with a status. With one of
// the server's errors nothing is saved, nor looked at: a handler behind
// http.TimeoutHandler may still be at work.
func (v *visit[T]) save(status int) (saved Saved, err error) {
	saved.Reason = Unchanged
	s := v.loaded.Load()
	if s == nil {
		return saved, nil
	}
	switch {
	case status >= 500:
		v.takeBack()
	case status >= 400 && s.sent != nil && s.sent.err != nil && !v.m.isLate(s):
		// Save has told the handler of this, which answers itself.
	default:
		saved, err = v.m.save(v.Header(), s)
	}
	forCaches(v.Header(), saved.Reason != Unchanged)
	return saved, err
}

// takeBack removes from the header what was put there to save the session.
func (v *visit[T]) takeBack() { v.sent.Load().takeBack(v.Header()) }

// hasBegun notes that the response has begun with a status, and tells Observe.
func (v *visit[T]) hasBegun(status int, saved Saved, err error) {
	v.status = status
	v.begun.Store(true)
	if s := v.loaded.Load(); s != nil {
		v.told = true
		v.m.tell(v.r, s, saved, err)
	}
}

// dropContent removes from h what is said of a body that is not sent.
func dropContent(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool {
		name = http.CanonicalHeaderKey(name)
		return ofContent.MatchString(name) && !strings.HasPrefix(name, "Content-Security-Policy")
	})
}

// ofContent matches the names of headers that belong to a body. Those that begin with
// [http.TrailerPrefix] are its trailers.
var ofContent = regexp.MustCompile(
	`^(Content-.*|Etag|Last-Modified|Location|Accept-Ranges|Trailer(:.*)?)$`)

// tell tells Observe of a session, and of the offer to bind it that was sent along.
func (m *Manager[T]) tell(r *http.Request, s *Session[T], saved Saved, err error) {
	if errors.Is(err, ErrUnstorable) {
		err = ErrUnstorable // without what may quote the data
	}
	m.o.Observe(r, Event{Cookie: s.Cookie(), Saved: saved, Err: err})
	if saved.Reason != Unchanged && s.sent.header[registrationHeader] != nil {
		m.o.Observe(r, Event{Cookie: s.Cookie(), Step: stepOffered})
	}
}

// answerFailed is what Failed does unless the site has its own. The log gets nothing that
// could be of a visitor's data.
func answerFailed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrUnstorable) {
		err = ErrUnstorable
	}
	slog.WarnContext(r.Context(), "session not saved", "err", err)
	switch {
	case w == nil:
	case errors.Is(err, ErrTryAgain):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Your session can't be changed at the moment. Try again.",
			http.StatusServiceUnavailable)
	default:
		http.Error(w, "Your session could not be saved.", http.StatusInternalServerError)
	}
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (v *visit[T]) Unwrap() http.ResponseWriter { return v.ResponseWriter }

// WriteHeader begins the response, unless the status is one that announces another,
// such as 103.
func (v *visit[T]) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		v.begin(status)
	} else if !v.begun.Load() { // what the final status saves may be nothing
		v.takeBack()
	}
	if v.failed == nil {
		v.ResponseWriter.WriteHeader(status)
	}
}

// Write begins the response, and writes to it.
func (v *visit[T]) Write(b []byte) (int, error) {
	if err := v.begin(http.StatusOK); err != nil {
		return 0, err
	}
	return v.ResponseWriter.Write(b)
}

// ReadFrom is Write for what is in src. It lets the server send a file without copying
// it, where it can.
func (v *visit[T]) ReadFrom(src io.Reader) (int64, error) {
	if err := v.begin(http.StatusOK); err != nil {
		return 0, err
	}
	return io.Copy(v.ResponseWriter, src) // which asks for its ReadFrom
}

// Flush is FlushError for who doesn't want to know.
func (v *visit[T]) Flush() { v.FlushError() }

// FlushError sends what was written, and the header at least. Where flushing can't be
// had, nothing has begun.
func (v *visit[T]) FlushError() error {
	if !canFlush(v.ResponseWriter) {
		return http.ErrNotSupported
	}
	if err := v.begin(http.StatusOK); err != nil {
		return err
	}
	return http.NewResponseController(v.ResponseWriter).Flush()
}

// canFlush reports whether the innermost writer that w wraps can. Those in between may
// have the method, as a visit does, and not know whether it works.
func canFlush(w http.ResponseWriter) bool {
	for {
		switch below := w.(type) {
		case interface{ Unwrap() http.ResponseWriter }:
			w = below.Unwrap()
		case http.Flusher, interface{ FlushError() error }:
			return true
		default:
			return false
		}
	}
}

// Hijack hands over the connection. The Set-Cookie is in the header then, which who
// hijacks writes. If the session can't be saved, Hijack fails. Where hijacking can't be
// had, nothing has begun.
func (v *visit[T]) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	below := http.NewResponseController(v.ResponseWriter)
	switch {
	case v.failed != nil:
		return nil, nil, v.failed
	case v.begun.Load():
		return below.Hijack()
	}
	saved, err := v.save(http.StatusSwitchingProtocols)
	if err != nil {
		return nil, nil, err
	}
	conn, rw, err := below.Hijack()
	if err != nil {
		v.takeBack()
	} else {
		v.hasBegun(http.StatusSwitchingProtocols, saved, nil)
	}
	return conn, rw, err
}
