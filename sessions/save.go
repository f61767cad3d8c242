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

// Reason is why a response writes the cookie.
type Reason string

// The reasons.
const (
	Unchanged Reason = "unchanged" // it doesn't
	Changed   Reason = "changed"   // the data has changed, or was adopted or renewed
	Renewed   Reason = "renewed"   // a quarter of Limits.Idle has passed, or a field was forgotten
	Resealed  Reason = "re-sealed" // it was sealed under another key, or in another mode
	Bound     Reason = "bound"     // the session was bound to a device
	Cleared   Reason = "cleared"   // the session is empty: the cookie is deleted
)

// Saved is what became of saving a session.
type Saved struct {
	Reason Reason
	Size   int // bytes of the cookie's name and value; 0 if none was written
}

// ErrLate says that a session was changed after the response had begun, so that the
// change is lost.
var ErrLate = errors.New("sessions: the session was changed after the response had begun, " +
	"so the change is lost")

// ErrTryAgain says that a session can't be changed for now: its cookie is good, but a
// device's ticket is missing, or a clock is wrong. Nothing was written, so that
// nothing is lost. After Clear a session can always be saved.
var ErrTryAgain = errors.New("sessions: the session can't be changed for now, try again")

// TooLargeError says that a session does not fit into a cookie.
type TooLargeError struct {
	Over int // bytes too many
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("sessions: the session is %d bytes too large for a cookie of %d",
		e.Over, MaxSize)
}

// sent is what Save has put into a response's header, so that it can be taken back. It
// doesn't change once it is in there: a handler behind http.TimeoutHandler may still run
// when the response is over.
type sent struct {
	header           http.Header // Set-Cookie, and Secure-Session-Registration
	registration     string
	data             []byte // what was saved
	cleared, renewed bool
	saved            Saved // what came of it
	err              error
}

const registrationHeader = "Secure-Session-Registration"

// add adds a cookie to h, which is the header of t.
func (t *sent) add(h http.Header, c *http.Cookie) { h.Add("Set-Cookie", c.String()) }

// takeBack removes from h what was sent.
func (t *sent) takeBack(h http.Header) {
	for name, lines := range t.header {
		h[name] = slices.DeleteFunc(h[name], func(line string) bool {
			return slices.Contains(lines, line)
		})
		if len(h[name]) == 0 {
			delete(h, name)
		}
	}
}

// isIn reports whether h still has what was sent.
func (t *sent) isIn(h http.Header) bool {
	for name, lines := range t.header {
		for _, line := range lines {
			if !slices.Contains(h[name], line) {
				return false
			}
		}
	}
	return true
}

// Save adds the session's cookie to the header of w if there is a reason to, such as a
// change. The header must not have been written yet: within [Manager.Handler], which
// saves by itself, it fails with [ErrLate] then; elsewhere the cookie is lost. A second
// Save replaces the first one's cookie, or takes it back.
//
// It fails with a [*TooLargeError] when the session doesn't fit into a cookie, with
// [ErrTryAgain], and when the data can't be encoded, or not be decoded again, such as
// text that isn't UTF-8. Then no cookie is set, and the visitor keeps the old one.
func (m *Manager[T]) Save(w http.ResponseWriter, s *Session[T]) (Saved, error) {
	if s.visit == nil {
		saved, err := m.save(w.Header(), s)
		addVary(w.Header())
		if saved.Reason != Unchanged {
			setNoStore(w.Header())
		}
		m.tell(s.r, s, saved, err)
		return saved, err
	}
	if !s.visit.begun.Load() {
		return m.save(w.Header(), s)
	}
	switch t := s.sent; {
	case m.isLate(s) || t != nil && !t.isIn(w.Header()):
		return Saved{Reason: Unchanged}, ErrLate
	case t == nil:
		return Saved{Reason: Unchanged}, nil
	default:
		return t.saved, t.err
	}
}

// save is Save for a header that can still be changed.
func (m *Manager[T]) save(h http.Header, s *Session[T]) (Saved, error) {
	if s.now == 0 { // it was made by hand
		s.now = time.Now().Unix()
	}
	data, err := s.encode(m)
	if t := s.sent; t != nil {
		if err == nil && t.err == nil && s.isAsSaved(m, data) && t.isIn(h) {
			return t.saved, nil
		}
		t.takeBack(h)
	}
	s.span = span{}
	if s.cookie.judged != nil {
		s.span = s.cookie.span
	}
	t := &sent{header: make(http.Header), saved: Saved{Reason: Unchanged}, err: err}
	t.cleared, t.renewed = s.orders(m, data)
	if s.sent = t; err != nil {
		return t.saved, err
	}
	t.saved, t.err = m.write(t.header, s, data)
	t.data = data // not before: what the site is asked for may panic
	if s.visit != nil {
		s.visit.sent.Store(t)
	}
	for name, lines := range t.header {
		h[name] = append(h[name], lines...)
	}
	return t.saved, t.err
}

// isAsSaved reports whether s, whose data is encoded, is as it was when it was saved.
func (s *Session[T]) isAsSaved(m *Manager[T], data []byte) bool {
	t := s.sent
	cleared, renewed := s.orders(m, data)
	return t.cleared == cleared && t.renewed == renewed && bytes.Equal(t.data, data)
}

// orders returns whether Clear and Renew were called and make a difference.
func (s *Session[T]) orders(m *Manager[T], data []byte) (cleared, renewed bool) {
	return s.cleared && s.Verdict() != None, s.renewed && !bytes.Equal(data, m.zero)
}

// isLate reports whether s has changed since it was saved, or since it was loaded if it
// wasn't.
func (m *Manager[T]) isLate(s *Session[T]) bool {
	data, err := s.encode(m)
	if err != nil {
		return true
	}
	if s.sent != nil {
		return !s.isAsSaved(m, data)
	}
	why := m.reasonTo(s, data)
	return why == Changed || why == Cleared
}

// reasonTo returns why, if at all, the cookie is to be written, with data in it. A
// refused cookie is left alone until a handler stores or clears something: the copy
// next door may know the key that this one doesn't.
func (m *Manager[T]) reasonTo(s *Session[T], data []byte) Reason {
	isNew, isEmpty := !s.continues() || !bytes.Equal(data, s.origin), bytes.Equal(data, m.zero)
	verdict := s.Verdict()
	switch {
	case !isEmpty && (isNew || s.renewed):
		return Changed
	case isNew && (verdict == Valid || s.adopted || s.cleared && verdict != None):
		return Cleared
	case s.binding != nil:
		return Bound
	case isNew || s.Quiet():
		return Unchanged
	case s.cookie.KeyID != m.sealing().id:
		return Resealed
	case s.stale, 4*(s.now-s.span.written) >= seconds(s.span.limits.Idle):
		return Renewed
	}
	return Unchanged
}

// sealing returns the codec that seals now.
func (m *Manager[T]) sealing() *codec {
	return m.keys.current.Load().keys[0].codecIn(m.o.SignOnly)
}

// write puts the cookie of s, with data in it, into h if there is a reason to.
func (m *Manager[T]) write(h http.Header, s *Session[T], data []byte) (Saved, error) {
	unchanged := Saved{Reason: Unchanged}
	why := m.reasonTo(s, data)
	switch {
	case why == Unchanged:
		return unchanged, nil
	case why == Changed && s.mayProveItself():
		return unchanged, ErrTryAgain
	case why == Cleared:
		m.put(h, s, m.newCookie(m.name, "", -1), payload{}, Limits{})
		return Saved{Reason: why}, nil
	}
	p, limits := s.next(data), m.limitsOf(&s.Data)
	c, err := m.bake(p, limits, s.now)
	var over *TooLargeError
	switch {
	case errors.As(err, &over) && why != Changed:
		// Encryption, a device or a later time makes it longer.
		return unchanged, nil
	case err != nil:
		return unchanged, err
	}
	m.put(h, s, c, p, limits)
	return Saved{Reason: why, Size: len(c.Name) + len(c.Value)}, nil
}

// put puts the cookie c of s into h, which carries p, or deletes the session.
func (m *Manager[T]) put(h http.Header, s *Session[T], c *http.Cookie, p payload, l Limits) {
	s.sent.add(h, c)
	m.deleteOld(h, s)
	m.wrote(h, s, p)
	s.span = span{began: int64(p.Began), written: p.written(), limits: l}
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
		s.cookie.Verdict == FromFuture && s.span.written-s.now <= maxAhead)
}

// bake returns the cookie for a payload at the time now.
func (m *Manager[T]) bake(p payload, limits Limits, now int64) (*http.Cookie, error) {
	value, err := m.sealing().seal(forSession, m.name, p.bytes())
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
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
func (m *Manager[T]) deleteOld(h http.Header, s *Session[T]) {
	old := s.old
	if !s.adopted && (s.cleared || s.renewed) && m.o.Adopt != nil && s.r != nil {
		if _, c, ok := m.o.Adopt(s.r); ok {
			old = c
		}
	}
	if old == nil {
		return
	}
	s.sent.add(h, &http.Cookie{
		Name: old.Name, Path: cmp.Or(old.Path, "/"), Domain: old.Domain, MaxAge: -1,
		Secure:   old.Secure || strings.HasPrefix(old.Name, "__"), // as a prefix wants it
		HttpOnly: true, SameSite: old.SameSite, Partitioned: old.Partitioned,
	})
}

// addVary says that the response depends on the cookie.
func addVary(h http.Header) {
	if !lists(h["Vary"], "*", "cookie") {
		// In one line: who asks for the header gets the first one alone.
		h.Set("Vary", strings.Join(append(h["Vary"], "Cookie"), ", "))
	}
}

// setNoStore keeps caches from keeping a response that sets a cookie, unless the
// handler has said so in its own way.
func setNoStore(h http.Header) {
	if !lists(h["Cache-Control"], "no-store", "private") {
		h.Set("Cache-Control", "no-store")
	}
}

// lists reports whether one of some words is in the values of a header that lists such.
func lists(values []string, words ...string) bool {
	for item := range strings.SplitSeq(strings.ToLower(strings.Join(values, ",")), ",") {
		word, _, _ := strings.Cut(strings.TrimSpace(item), "=")
		if slices.Contains(words, word) {
			return true
		}
	}
	return false
}
