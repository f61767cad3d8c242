package sessions

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// Handler returns a handler that gives next the session of each request, by
// [Manager.Get], and saves it when the response begins. It answers the steps of device
// binding itself. The package documentation says what is kept under which conditions.
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
			v.load(outer.session())
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
	m                   *Manager[T]
	outside             *http.Request              // as it came, so that Accept can't ask for the session
	r                   *http.Request              // with the session in its context
	loaded              atomic.Pointer[Session[T]] // once it was asked for
	sent                sent
	begun               atomic.Bool // the response has
	status              int         // with which it has
	failed              error       // why the session was not saved: Failed has answered
	told                bool        // Observe has heard of the session
}

// session returns the session of the request, which is decoded when it is first
// asked for.
func (v *visit[T]) session() *Session[T] {
	if s := v.loaded.Load(); s != nil {
		return s
	}
	s := v.m.load(v.outside)
	v.load(s)
	return s
}

// load makes s the session of the request.
func (v *visit[T]) load(s *Session[T]) {
	s.visit = v
	v.loaded.Store(s)
}

// serve has next answer, and does what remains when it has returned.
func (v *visit[T]) serve(next http.Handler) {
	returned := false
	defer func() {
		if !returned && !v.begun.Load() { // it has panicked: whoever recovers saves nothing
			v.sent.takeBack(v.Header())
		}
	}()
	next.ServeHTTP(v, v.r)
	returned = true
	if !v.begun.Load() {
		v.begin(http.StatusOK)
		return
	}
	s := v.loaded.Load()
	if s == nil || v.failed != nil || v.status >= 500 {
		return
	}
	late := v.m.isLate(s)
	if !v.told {
		v.m.tell(v.r, s, &v.sent, Saved{Reason: Unchanged}, nil)
	}
	if late {
		v.m.tell(v.r, s, &v.sent, Saved{Reason: Unchanged}, ErrLate)
		v.m.o.Failed(nil, v.r, ErrLate)
	}
}

// begin saves the session, since the response begins with a status now. If it can't be
// saved, Failed answers, and begin returns false.
func (v *visit[T]) begin(status int) bool {
	v.status = status
	v.begun.Store(true)
	s := v.loaded.Load()
	if s == nil {
		return true
	}
	addVary(v.Header())
	saved, err := v.save(s, status)
	v.told = true
	v.m.tell(v.r, s, &v.sent, saved, err)
	if err == nil {
		return true
	}
	v.failed = err
	dropContent(v.Header())
	v.m.o.Failed(v.ResponseWriter, v.r, err)
	return false
}

// save saves s for a response with a status. With one of the server's errors nothing is
// saved, nor looked at: a handler behind http.TimeoutHandler may still be at work.
func (v *visit[T]) save(s *Session[T], status int) (Saved, error) {
	if status >= 500 {
		v.sent.takeBack(v.Header())
		return Saved{Reason: Unchanged}, nil
	}
	saved, err := v.m.save(v.Header(), s)
	if err == nil && len(v.sent.lines) > 0 {
		setNoStore(v.Header())
	}
	return saved, err
}

// dropContent removes from h what is said of a body that is not sent.
func dropContent(h http.Header) {
	for name := range h {
		about := strings.HasPrefix(name, "Content-") &&
			!strings.HasPrefix(name, "Content-Security-Policy")
		if about || slices.Contains(ofContent, name) {
			delete(h, name)
		}
	}
}

var ofContent = []string{"Etag", "Last-Modified", "Location", "Accept-Ranges", "Trailer"}

// tell tells Observe of a session, for which t was sent.
func (m *Manager[T]) tell(r *http.Request, s *Session[T], t *sent, saved Saved, err error) {
	m.o.Observe(r, Event{Cookie: s.Cookie(), Saved: saved, Err: err})
	t.mu.Lock()
	offered := t.registration != ""
	t.mu.Unlock()
	if offered && err == nil {
		m.o.Observe(r, Event{Cookie: s.Cookie(), Step: stepOffered})
	}
}

// answerFailed is what Failed does unless the site has its own. The log gets nothing that
// could be of a visitor's data.
func answerFailed(w http.ResponseWriter, r *http.Request, err error) {
	what := "sessions: the data can't be stored"
	var over *TooLargeError
	if errors.As(err, &over) || errors.Is(err, ErrTryAgain) || errors.Is(err, ErrLate) {
		what = err.Error()
	}
	slog.WarnContext(r.Context(), "session not saved", "err", what, "type", fmt.Sprintf("%T", err))
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
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if v.failed != nil || final && !v.begun.Load() && !v.begin(status) {
		return
	}
	v.ResponseWriter.WriteHeader(status)
}

// begins begins the response with 200 if it has not begun, and returns why the session
// could not be saved, if so.
func (v *visit[T]) begins() error {
	if !v.begun.Load() {
		v.begin(http.StatusOK)
	}
	return v.failed
}

func (v *visit[T]) Write(b []byte) (int, error) {
	if err := v.begins(); err != nil {
		return 0, err
	}
	return v.ResponseWriter.Write(b)
}

// ReadFrom lets the server send a file without copying it, where it can.
func (v *visit[T]) ReadFrom(src io.Reader) (int64, error) {
	if err := v.begins(); err != nil {
		return 0, err
	}
	if w, ok := v.ResponseWriter.(io.ReaderFrom); ok {
		return w.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{v.ResponseWriter}, src)
}

// Flush is FlushError for who doesn't want to know.
func (v *visit[T]) Flush() { v.FlushError() }

// FlushError sends what was written, and the header at least.
func (v *visit[T]) FlushError() error {
	if !can[http.Flusher](v.ResponseWriter) && !can[interface{ FlushError() error }](v.ResponseWriter) {
		return http.ErrNotSupported
	}
	if err := v.begins(); err != nil {
		return err
	}
	return http.NewResponseController(v.ResponseWriter).Flush()
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
	case !can[http.Hijacker](v.ResponseWriter):
		return nil, nil, http.ErrNotSupported
	}
	s, saved := v.loaded.Load(), Saved{Reason: Unchanged}
	if s != nil {
		var err error
		if saved, err = v.save(s, http.StatusSwitchingProtocols); err != nil {
			return nil, nil, err
		}
		addVary(v.Header())
	}
	conn, rw, err := below.Hijack()
	if err != nil {
		v.sent.takeBack(v.Header())
		return nil, nil, err
	}
	v.status = http.StatusSwitchingProtocols
	v.begun.Store(true)
	if s != nil {
		v.told = true
		v.m.tell(v.r, s, &v.sent, saved, nil)
	}
	return conn, rw, nil
}

// can reports whether the innermost writer that w wraps is an F. Those in between may
// have its methods, as a visit does, and not know whether they work.
func can[F any](w http.ResponseWriter) bool {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			_, ok = w.(F)
			return ok
		}
		w = wrapper.Unwrap()
	}
}
