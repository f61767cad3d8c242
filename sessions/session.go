package sessions

import (
	"net/http"
	"time"
)

// Session is what a site remembers of a visitor, during one request. [Manager.Get]
// returns it; one made by hand, like &Session[T]{Data: data}, is a new session.
//
// A Session must not be copied, nor used by several goroutines at once. Printing it never
// shows its data, except when it is in an unexported field of another struct, because fmt
// then can't call its methods.
type Session[T any] struct {
	// Data is yours. Change it as you like: Handler and Save notice.
	Data T

	// Passive says that the visitor isn't waiting for the answer, as with a poll. The
	// session is then not renewed, and saved only if it changes. Set it before Save.
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

// Renew begins the session anew with the same data, so that its limits count from now.
// Call it when a visitor logs in. It does not invalidate copies of the old cookie. A
// session that is bound to a device stays bound. On an empty session Renew does nothing.
func (s *Session[T]) Renew() { s.renewed = true }

// Clear ends the session, and deletes the cookie, even a refused one. Call it when a
// visitor logs out. It does not invalidate copies of the cookie. Data that is set after
// Clear begins a new session.
func (s *Session[T]) Clear() { s.Data, s.cleared, s.renewed = *new(T), true, false }

// Undo resets Data to what the cookie brought, and takes back Clear and Renew. Call it
// when an action has failed.
func (s *Session[T]) Undo() {
	s.Data, s.cleared, s.renewed = *new(T), false, false
	// What Adopt has brought may not be storable, and is lost then: never half of it.
	if err := decode(s.origin, &s.Data); err != nil {
		s.Data, s.adopted = *new(T), false
	}
}

// Quiet reports whether this request never renews the session, because the visitor isn't
// waiting to see the answer: Passive is set, or the request is a HEAD, a prefetch, or for a
// part of a page. Messages that are shown once should wait for another request.
func (s *Session[T]) Quiet() bool { return s.Passive || s.quiet }

// Verdict returns the verdict on the cookie. It is None for a new session.
func (s *Session[T]) Verdict() Verdict { return s.cookie.verdict() }

// Cookie describes the cookie that brought the session.
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

// Began returns when the session began, in UTC and whole seconds. It is zero for a new
// session. If the cookie was refused although its MAC matches, Began returns the time in
// it. Once the session has been saved, Began returns the time that was saved.
func (s *Session[T]) Began() time.Time { return unix(int64(s.sealed().Began)) }

// Written returns when the session was last written. It follows the rules of Began.
func (s *Session[T]) Written() time.Time { return unix(s.sealed().written()) }

// Ends returns the last second of the session unless it is written before. It follows the
// rules of Began.
func (s *Session[T]) Ends() time.Time {
	last := s.sealed()
	return unix(min(last.written()+seconds(last.limits.Idle),
		int64(last.Began)+seconds(last.limits.Lifetime)))
}

// Limits returns the limits of this session, from LimitsFor if that is set. They are zero
// for a new session.
func (s *Session[T]) Limits() Limits { return s.sealed().limits }

// continues reports whether the session is the one that the cookie brought.
func (s *Session[T]) continues() bool { return s.cookie.Verdict == Valid && !s.cleared }

// device returns the key of the device that the cookie's session is bound to, or nil.
func (s *Session[T]) device() []byte { return s.cookie.facts().Device }

// Flash is the type of a field for messages that are shown once, such as on the page
// after a redirect.
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
