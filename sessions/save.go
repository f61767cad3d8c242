package sessions

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Reason is why Save or Handler wrote the cookie.
type Reason string

// The reasons.
const (
	Unchanged Reason = "unchanged" // no cookie was written
	Changed   Reason = "changed"   // the data has changed or was adopted, or Renew was called
	Renewed   Reason = "renewed"   // a quarter of Limits.Idle has passed, or Forget removes a field
	Resealed  Reason = "re-sealed" // the cookie was sealed with another key or in another mode
	Bound     Reason = "bound"     // the session was bound to a device
	Cleared   Reason = "cleared"   // the session is empty: the cookie was deleted
)

// Saved is the result of saving a session.
type Saved struct {
	Reason Reason
	Size   int // bytes of the cookie's name and value; 0 if none was written
}

// ErrLate says that a session was changed after its response had begun. The change is
// lost.
var ErrLate = errors.New("sessions: the session was changed after the response had begun, " +
	"so the change is lost")

// ErrTryAgain says that a session can't be changed for now: its cookie is good, but the
// device's ticket is missing, or a clock is wrong. Nothing was written, and nothing is
// lost. After [Session.Clear], saving never fails with ErrTryAgain.
var ErrTryAgain = errors.New("sessions: the session can't be changed for now, try again")

// ErrUnstorable says that the data can't be encoded, or can't be decoded again, as with
// text that isn't UTF-8. An error that wraps it may quote the data.
var ErrUnstorable = errors.New("sessions: the data can't be stored")

// TooLargeError says that a session doesn't fit into a cookie.
type TooLargeError struct {
	Over int // bytes too many
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("sessions: the session is %d bytes too large for a cookie of %d",
		e.Over, MaxSize)
}

// sent is what became of saving a session, so that it can be taken back. It doesn't
// change once it is known: a handler behind http.TimeoutHandler may still run when the
// response is over.
type sent struct {
	state  state       // what was saved
	header http.Header // what was added: Set-Cookie, and Secure-Session-Registration
	saved  Saved
	err    error
	sealed // into the cookie; zero if none was written
}

const registrationHeader = "Secure-Session-Registration"

// takeBack removes from h what was added.
func (t *sent) takeBack(h http.Header) {
	if t == nil {
		return
	}
	for name, lines := range t.header {
		h[name] = slices.DeleteFunc(h[name], func(line string) bool {
			return slices.Contains(lines, line)
		})
		if len(h[name]) == 0 {
			delete(h, name)
		}
	}
}

// result returns what Save returns, also if nothing was saved yet.
func (t *sent) result() (Saved, error) {
	if t == nil {
		return Saved{Reason: Unchanged}, nil
	}
	return t.saved, t.err
}

// state is what a handler can change of a session.
type state struct {
	own              []byte // the data, encoded
	data             []byte // own, with what else the cookie brought
	cleared, renewed bool   // if Clear and Renew were called, and make a difference
}

func (a state) equals(b state) bool {
	return a.cleared == b.cleared && a.renewed == b.renewed && bytes.Equal(a.data, b.data)
}

// Save adds the session's cookie to the header of w if there is a reason to, such as a
// change. Call it before the response begins. After that, it fails with [ErrLate] within
// [Manager.Handler], which saves by itself; elsewhere the cookie is lost. A second Save
// replaces the cookie of the first, or takes it back.
//
// Save fails with a [*TooLargeError] if the session doesn't fit into a cookie, with
// [ErrTryAgain], or with [ErrUnstorable] if the data can't be encoded or decoded again, as
// with text that isn't UTF-8. It then sets no cookie, and the visitor keeps the old one.
// Within Handler, if the handler ignores this and answers with a status below 400,
// Options.Failed answers instead.
func (m *Manager[T]) Save(w http.ResponseWriter, s *Session[T]) (Saved, error) {
	v := s.visit
	switch {
	case v == nil:
		saved, err := m.save(w.Header(), s)
		forCaches(w.Header(), saved.Reason != Unchanged)
		m.tell(s.r, s, saved, err)
		return saved, err
	case !v.begun.Load():
		return m.save(w.Header(), s)
	}
	saved, err := s.sent.result()
	if m.isLate(s) || v.status >= 500 && saved.Reason != Unchanged { // it was taken back
		return Saved{Reason: Unchanged}, ErrLate
	}
	return saved, err
}

// save is Save for a header that can still be changed.
func (m *Manager[T]) save(h http.Header, s *Session[T]) (Saved, error) {
	if s.now == 0 { // it was made by hand
		s.now = time.Now().Unix()
	}
	now, err := s.state(m)
	t := s.sent
	t.takeBack(h)
	if t == nil || err != nil || !t.state.equals(now) {
		t = &sent{state: now, saved: Saved{Reason: Unchanged}, err: err}
		if err == nil {
			t.err = m.write(t, s)
		}
		s.sent = t
		if s.visit != nil {
			s.visit.sent.Store(t)
		}
	}
	for name, lines := range t.header {
		h[name] = append(h[name], lines...)
	}
	return t.saved, t.err
}

// state returns what the handler has made of s.
func (s *Session[T]) state(m *Manager[T]) (state, error) {
	own, err := encode(&s.Data)
	if err != nil {
		return state{}, err
	}
	now := state{own: own, cleared: s.cleared && s.Verdict() != None}
	if t := s.sent; t != nil && t.state.cleared == now.cleared && bytes.Equal(t.state.own, own) {
		now.data = t.state.data // Save has asked before
	} else {
		now.data = s.merged(m, own)
	}
	now.renewed = s.renewed && !bytes.Equal(now.data, m.zero)
	return now, nil
}

// isLate reports whether s has changed since it was saved, or since it was loaded if it
// wasn't.
func (m *Manager[T]) isLate(s *Session[T]) bool {
	now, err := s.state(m)
	if err != nil {
		return s.sent == nil || s.sent.err == nil
	}
	if s.sent != nil {
		return !s.sent.state.equals(now)
	}
	why := m.reasonTo(s, now)
	return why == Changed || why == Cleared
}

// reasonTo returns why, if at all, the cookie is to be written for a state of s. A
// refused cookie is left alone until a handler stores or clears something: the copy
// next door may know the key that this one doesn't.
func (m *Manager[T]) reasonTo(s *Session[T], now state) Reason {
	isNew := !s.continues() || !bytes.Equal(now.data, s.origin)
	isEmpty := bytes.Equal(now.data, m.zero)
	came := s.cookie.facts()
	isStale := len(s.origin) < len(came.Data) // there are fields to forget
	switch {
	case !isEmpty && isNew, now.renewed:
		return Changed
	case isNew && (s.Verdict() == Valid || s.adopted || now.cleared):
		return Cleared
	case s.binding != nil:
		return Bound
	case isNew || s.Quiet():
		return Unchanged
	case s.cookie.KeyID != m.sealing().id:
		return Resealed
	case isStale && (isEmpty || len(s.origin) == 1): // an empty map is a byte
		return Cleared
	case isStale, 4*(s.now-came.written()) >= seconds(came.limits.Idle):
		return Renewed
	}
	return Unchanged
}

// sealing returns the codec that seals now.
func (m *Manager[T]) sealing() *codec {
	first := m.keys.current.Load().keys[0]
	if m.o.SignOnly {
		return first.signed
	}
	return first.encrypted
}

// write fills t with the cookie of s in its state, if there is a reason to.
func (m *Manager[T]) write(t *sent, s *Session[T]) error {
	why := m.reasonTo(s, t.state)
	switch {
	case why == Unchanged:
		return nil
	case why == Changed && s.mayProveItself():
		return ErrTryAgain
	}
	c := m.newCookie(m.name, "", -1)
	if why != Cleared {
		p, limits := s.next(t.state.data), m.limitsOf(&s.Data)
		var err error
		c, err = m.bake(p, limits, s.now)
		switch {
		case err != nil && why == Changed:
			return err
		case err != nil: // encryption, a device or a later time makes it too large
			return nil
		}
		t.sealed = sealed{payload: p, limits: limits}
		t.saved.Size = len(c.Name) + len(c.Value)
	}
	t.saved.Reason = why
	t.header = http.Header{"Set-Cookie": {c.String()}}
	m.deleteOld(t.header, s, why == Cleared)
	m.offer(t.header, s, t.payload)
	return nil
}

// next returns the payload that is to be written for s, with data in it.
func (s *Session[T]) next(data []byte) payload {
	p := payload{unbound: unbound{Began: uint32(s.now), Data: data}}
	if !s.continues() {
		return p
	}
	if p.Device = s.device(); s.binding != nil {
		p.Device = s.binding
	}
	if !s.renewed {
		p.Began = s.cookie.payload.Began
		// The copy that began the session may be ahead of us.
		p.Since = uint32(max(0, s.now-int64(p.Began)))
	}
	return p
}

// mayProveItself reports whether the cookie that was refused is a good one, for which
// only a ticket or the time is missing. To replace it would lose what is in it.
func (s *Session[T]) mayProveItself() bool {
	return !s.cleared && (s.cookie.Verdict == Unproven ||
		s.cookie.Verdict == FromFuture && s.cookie.facts().written()-s.now <= maxAhead)
}

// bake returns the cookie for a payload at the time now.
func (m *Manager[T]) bake(p payload, limits Limits, now int64) (*http.Cookie, error) {
	value := m.sealing().seal(forSession, m.name, p.bytes())
	if over := len(m.name) + len(value) - MaxSize; over > 0 {
		return nil, &TooLargeError{Over: over}
	}
	if err := decode(p.Data, new(T)); err != nil {
		return nil, err
	}
	maxAge := int64(0) // the cookie ends with the browser
	if !limits.BrowserSession {
		// Not what is left of the idle time: whoever stayed away is to be told, and a
		// longer Idle holds for the cookies that are out there.
		maxAge = max(1, int64(p.Began)+seconds(limits.Lifetime)-now)
	}
	return m.newCookie(m.name, value, int(maxAge)), nil
}

// newCookie returns a cookie for maxAge seconds, or for as long as the browser is open
// if that is 0. If it is negative, the cookie is deleted.
func (m *Manager[T]) newCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: m.o.Path, Domain: m.o.Domain, MaxAge: maxAge,
		Secure: !m.o.Insecure, HttpOnly: true, SameSite: m.o.SameSite,
		Partitioned: m.o.Partitioned,
	}
}

// deleteOld deletes the cookie of another library, whose session was adopted or would be
// adopted again.
func (m *Manager[T]) deleteOld(h http.Header, s *Session[T], ends bool) {
	old := s.old
	if !s.adopted && (ends || s.cleared || s.renewed) && m.o.Adopt != nil && s.r != nil {
		if _, c, ok := m.o.Adopt(s.r); ok {
			old = c
		}
	}
	if old == nil {
		return
	}
	c := http.Cookie{
		Name: old.Name, Path: cmp.Or(old.Path, "/"), Domain: old.Domain, MaxAge: -1,
		Secure:   old.Secure || strings.HasPrefix(old.Name, "__"), // as a prefix wants it
		HttpOnly: true, SameSite: old.SameSite, Partitioned: old.Partitioned,
	}
	if line := c.String(); line != "" { // its name or the like is no good
		h.Add("Set-Cookie", line)
	}
}

// forCaches says that the response depends on the cookie. If it sets one, or is not to
// be kept for another reason, it says that too, unless the handler has in its own way.
func forCaches(h http.Header, noStore bool) {
	if !lists(h["Vary"], "*", "cookie") {
		// In one line: who asks for the header gets the first one alone.
		vary := "Cookie"
		if before := strings.Join(h["Vary"], ", "); before != "" {
			vary = before + ", Cookie"
		}
		h.Set("Vary", vary)
	}
	if noStore && !lists(h["Cache-Control"], "no-store", "private") {
		h.Set("Cache-Control", "no-store")
	}
}

// lists reports whether one of some words is in the values of a header that lists such.
func lists(values []string, words ...string) bool {
	if len(values) == 0 {
		return false
	}
	for item := range strings.SplitSeq(strings.ToLower(strings.Join(values, ",")), ",") {
		word, _, _ := strings.Cut(strings.TrimSpace(item), "=")
		if slices.Contains(words, word) {
			return true
		}
	}
	return false
}
