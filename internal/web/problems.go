package web

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"

	"cookiesession/sessions"
)

// problem is an error that the visitor is told about, and how. Its data is the address
// where to go on, or nil.
type problem Answer

func (p *problem) Error() string { return p.Text }

const errorPage = "error"

// Problemf returns an error that an action's visitor is told about: a page with a status
// and a sentence that says what to do. Of other errors only the operator hears more than
// that there was one.
func Problemf(status int, format string, args ...any) error {
	return &problem{Page: errorPage, Status: status, Text: fmt.Sprintf(format, args...)}
}

// notSaved is sessions.Options.Failed, for handlers that are no actions.
func (s *Site[T]) notSaved(w http.ResponseWriter, r *http.Request, err error) {
	if w == nil {
		s.config.Log.Warn("session changed too late", "route", s.routeOf(r))
		return
	}
	v := s.Sessions.Get(r.Context())
	v.Passive = true // messages stay, since this can't be saved either
	s.fail(w, r, v, err, nil)
}

// fail answers a request that came to nothing. The visitor keeps the session that was
// there before. It is nil if it was not looked at. If it can't be changed for now, again
// is shown, if there is one.
func (s *Site[T]) fail(w http.ResponseWriter, r *http.Request, v *sessions.Session[T],
	err error, again *Answer) {
	var why *problem
	errors.As(s.explain(r, err), &why)
	p := s.page(r, v, Answer(*why))
	if errors.Is(err, sessions.ErrTryAgain) {
		w.Header().Set("Retry-After", "1")
		p.TryAgain = true
		if again != nil {
			p.Page, p.Data = again.Page, again.Data
		}
	}
	// A body may still come, for which the server would wait before it answers, to use
	// the connection again.
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if err := s.send(w, r, p); err != nil {
		s.config.Log.Error("the error page failed", "err", err)
		p.Page = ""
		s.send(w, r, p)
	}
}

// explain returns the problem that the visitor is told of instead of err, and logs what
// the operator should know.
func (s *Site[T]) explain(r *http.Request, err error) error {
	var over *sessions.TooLargeError
	switch {
	case errors.As(err, new(*problem)):
		return err
	case errors.As(err, new(*http.MaxBytesError)), // of what the action reads by itself
		errors.Is(err, http.ErrNotMultipart), errors.Is(err, http.ErrMissingBoundary):
		return formError(err)
	case responseOf(r).body.hasFailed(err), isUpload(r) && isEnd(err):
		s.config.Log.Info("request not read", "route", s.routeOf(r), "err", err)
		return formError(err)
	case errors.As(err, &over):
		return Problemf(http.StatusUnprocessableEntity, "This does not fit into your cookie: "+
			"it is %d bytes too much. Your session is as it was.", over.Over)
	case errors.Is(err, sessions.ErrTryAgain):
		return Problemf(http.StatusServiceUnavailable, "Your session can't be changed right "+
			"now, and is as it was. Try again in a moment.")
	case errors.Is(err, sessions.ErrUnstorable): // what else it says could be of the visitor's
		s.config.Log.Warn("session not encoded", "route", s.routeOf(r))
		return Problemf(http.StatusUnprocessableEntity, "This can't be kept in a session: "+
			"perhaps it is not valid UTF-8. Your session is as it was.")
	}
	s.config.Log.Error("request failed",
		"route", s.routeOf(r), "method", methodLabel(r.Method), "err", err)
	return Problemf(http.StatusInternalServerError, "Something went wrong here, through no "+
		"fault of yours. Your session is as it was: try again in a while.")
}

// recovered makes an error page of a panic, or ends the connection where a part of the
// response has already gone out. It must be deferred. Outside of the router the session
// is not asked for, since asking for it may be what has panicked.
func (s *Site[T]) recovered(w http.ResponseWriter, r *http.Request, inside bool) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { // the way to end a connection, of net/http's own
		panic(p)
	}
	var v *sessions.Session[T]
	began := responseOf(r).status != 0
	if inside && !began {
		v = s.Sessions.Get(r.Context()) // if it panics again, that counts outside
	}
	// A panic may quote the visitor's data; only the runtime's own can't.
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	s.config.Log.Error("panic in a handler",
		"route", s.routeOf(r), "panic", what, "stack", string(debug.Stack()))
	if began {
		panic(http.ErrAbortHandler)
	}
	s.fail(w, r, v, fmt.Errorf("panic: %s", what), nil)
}
