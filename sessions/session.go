package sessions

import (
	"net/http"
	"time"
)

// Session is what a site remembers of a visitor during one request, and what became
// of the cookie that brought it. A Session that is made by hand, like
// &Session[T]{Data: data}, is a new one. A Session belongs to one goroutine, and is
// not to be copied. However it is printed, it shows nothing of its data, but in an
// unexported field of another struct, where fmt can't ask it.
type Session[T any] struct {
	// Data is what the site keeps. Change it as you like: Save and Handler notice.
	Data T

	// Passive says that the visitor isn't there to see the answer, as with a poll. The
	// session is then not renewed, only saved if it has changed.
	Passive bool

	r      *http.Request // nil for one that no request has brought
	visit  *visit[T]     // nil outside of Handler
	cookie Cookie
	now    int64  // Unix seconds when the request came
	quiet  bool   // nobody has asked for a page with this request: don't renew
	origin []byte // the encoding of what the cookie, without Forget, or Adopt has brought

	cleared, renewed bool
	adopted          bool         // Adopt has brought the data
	old              *http.Cookie // from which, to be deleted
	binding          []byte       // the key of a device that Save binds the session to
	sent             *sent        // what Save has put into a header; nil if it hasn't
}

// Renew begins the session anew with the same data, so that Limits count from now, and
// so that no cookie from before it is this session. Call it at login. A session that
// is bound to a device stays bound. Renew does nothing for an empty session.
func (s *Session[T]) Renew() { s.renewed = true }

// Clear ends the session. Call it at logout. The cookie is deleted, even if it was
// refused; copies of it that somebody has made are as good as before. What is put into
// Data afterwards begins a new session.
func (s *Session[T]) Clear() { s.Data, s.cleared, s.renewed = *new(T), true, false }

// Undo makes Data again what the cookie brought, and forgets Clear and Renew. It is
// for an action that has failed.
func (s *Session[T]) Undo() {
	s.Data, s.cleared, s.renewed = *new(T), false, false
	if s.origin == nil {
		return
	}
	// What Adopt has brought may not be storable, and is lost then: never half of it.
	if err := decode(s.origin, &s.Data); err != nil {
		s.Data, s.adopted = *new(T), false
	}
}

// Quiet reports whether a visit never renews the session, since the visitor hasn't
// asked to see its answer: it is Passive, a HEAD, a prefetch, or for a part of a page.
// Messages that are shown once should wait for another one.
func (s *Session[T]) Quiet() bool { return s.Passive || s.quiet }

// Verdict tells what became of the cookie. It is None for a new session.
func (s *Session[T]) Verdict() Verdict { return s.cookie.verdict() }

// Cookie returns what is known of the cookie that was judged.
func (s *Session[T]) Cookie() Cookie {
	c := s.cookie
	c.Verdict = c.verdict()
	return c
}

// sealed returns what was sealed last of the session, by Save or before. It is zero for
// a new session.
func (s *Session[T]) sealed() sealed {
	if saved, _ := s.sent.result(); saved.Reason != Unchanged {
		return s.sent.sealed
	}
	return s.cookie.facts().sealed
}

// Began returns when the session began, in UTC and whole seconds, also where its cookie
// was refused after its MAC had matched, and, after it was saved, when what was saved
// began. It is zero for a new session.
func (s *Session[T]) Began() time.Time { return unix(int64(s.sealed().Began)) }

// Written returns when the session was last written, in the way of Began.
func (s *Session[T]) Written() time.Time { return unix(s.sealed().written()) }

// Ends returns when the session ends if nothing is written until then, in the way of
// Began.
func (s *Session[T]) Ends() time.Time {
	last := s.sealed()
	return unix(min(last.written()+seconds(last.limits.Idle),
		int64(last.Began)+seconds(last.limits.Lifetime)))
}

// Limits returns the limits of this session, which LimitsFor may have set. They are
// zero for a new session.
func (s *Session[T]) Limits() Limits { return s.sealed().limits }

// continues reports whether the session is the one that the cookie brought.
func (s *Session[T]) continues() bool { return s.cookie.Verdict == Valid && !s.cleared }

// device returns the key of the device that the cookie's session is bound to, or nil.
func (s *Session[T]) device() []byte { return s.cookie.facts().Device }

// Flash is a field for messages that are shown once, such as after a redirect.
type Flash []string

// maxFlash is how many messages a Flash keeps. A script that posts and follows no redirect
// would fill the cookie with them.
const maxFlash = 5

// Add adds a message. Of more than five, the last ones are kept.
func (f *Flash) Add(message string) {
	*f = append(*f, message)
	*f = (*f)[max(0, len(*f)-maxFlash):]
}

// Take returns the messages, and removes them. Call it before the response begins.
func (f *Flash) Take() []string {
	messages := *f
	*f = nil
	return messages
}
