package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/securecookie"
)

const (
	// maxCookie is how many bytes the name and the value of a cookie may have
	// together. Browsers silently drop a longer one (RFC 6265bis, 5.7).
	maxCookie = 4096

	// maxLifetime is how long browsers keep a cookie at most (RFC 6265bis, 5.5).
	maxLifetime = 400 * 24 * time.Hour

	// maxCandidates is how many cookies of our name are looked at. A browser
	// sends several when another app on the same host, or on another port of
	// it, uses the same name.
	maxCandidates = 4

	// The names of the cookie. Browsers take one with the prefix only with Secure,
	// HttpOnly, Path=/ and no Domain, so neither a script, nor plain http, nor a
	// sibling domain can plant it (RFC 6265bis, 4.1.3).
	plainName  = "session"
	secureName = "__Host-Http-session"

	// maxSkew is how many seconds the clock of the copy that sealed a cookie
	// may be ahead of ours.
	maxSkew = 60
)

// session is what a visitor's cookie carries. It is comparable on purpose:
// it has changed when s != old.
type session struct {
	Name   string
	Issued int64 // Unix seconds when the session began: the absolute limit counts from here
	Seen   int64 // Unix seconds when it was last written: the idle limit counts from here
}

// empty reports whether s carries nothing that a handler has put there.
// An empty session is no cookie.
func (s session) empty() bool {
	s.Issued, s.Seen = 0, 0
	return s == session{}
}

// appendPayload appends to b what is sealed into the cookie, a line like
//
//	1767225600 3600 5:Alice
//
// with Issued, the seconds from Issued to Seen, and Name behind its length
// in bytes. The length keeps a later field apart from what is in the name.
func (s session) appendPayload(b []byte) []byte {
	b = strconv.AppendInt(b, s.Issued, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, s.Seen-s.Issued, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(s.Name)), 10)
	b = append(b, ':')
	return append(b, s.Name...)
}

// parsePayload is the inverse of appendPayload. It accepts only the bytes that
// appendPayload makes, so that a session has exactly one spelling.
func parsePayload(p []byte) (session, bool) {
	issued, p, ok1 := cutNumber(p, ' ')
	since, p, ok2 := cutNumber(p, ' ')
	size, name, ok3 := cutNumber(p, ':')
	if !ok1 || !ok2 || !ok3 || size != int64(len(name)) {
		return session{}, false
	}
	return session{Name: string(name), Issued: issued, Seen: issued + since}, true
}

// cutNumber reads a decimal number from the start of p, of up to 18 digits
// and without leading zeros, and returns what follows the byte that ends it.
func cutNumber(p []byte, end byte) (n int64, rest []byte, ok bool) {
	digits, rest, found := bytes.Cut(p, []byte{end})
	if !found || len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, nil, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, rest, true
}

// verdict is what became of the cookie that a request brought. Their order is
// that of the checks: of several cookies, the one that got furthest counts.
type verdict uint8

const (
	none       verdict = iota // no cookie of our name
	malformed                 // not of the form that we make
	tooLarge                  // more than maxCookie bytes
	unknownKey                // sealed under a key that is not in the ring
	tampered                  // the MAC is not that of the content
	fromFuture                // sealed more than maxSkew ahead of our clock
	expired                   // idle for too long
	tooOld                    // began too long ago, however busy
	valid
)

var verdictNames = [...]string{"none", "malformed", "too large", "unknown key", "tampered", "from the future", "expired", "too old", "valid"}

func (v verdict) String() string { return verdictNames[v] }

// verified reports whether the MAC and the form of the cookie were good, so
// that what it says of itself is true.
func (v verdict) verified() bool { return v >= fromFuture }

// manager reads sessions from cookies and writes them back. It keeps no
// session itself. It may be used by many goroutines at once.
type manager struct {
	cookie     string               // name of the cookie
	attributes string               // that the cookie always has, at the end of its header line
	secure     bool                 // the cookie is for HTTPS only
	persist    bool                 // the cookie outlives the browser
	idle       int64                // seconds between two writes, at most
	lifetime   int64                // seconds from Issued, at most
	ring       atomic.Pointer[ring] // replaced as a whole when the keys change
}

// newManager returns a manager, still without a ring, whose limits are idle and
// lifetime, cut to whole seconds.
func newManager(secure, persist bool, idle, lifetime time.Duration) *manager {
	m := &manager{
		cookie:     plainName,
		attributes: "; HttpOnly; SameSite=Lax",
		secure:     secure,
		persist:    persist,
		idle:       int64(idle / time.Second),
		lifetime:   int64(lifetime / time.Second),
	}
	if secure {
		m.cookie, m.attributes = secureName, "; HttpOnly; Secure; SameSite=Lax"
	}
	return m
}

// visit is one request's visitor: the session that came with it and what
// became of its cookie. A handler changes session; render saves it.
type visit struct {
	session session // as it stands; a handler may change its own fields, not Issued and Seen
	sealed  session // as the cookie has it, once its MAC was verified, also when it has ended
	verdict verdict
	keyID   string // as the cookie names it; empty when it names none
	codec   *codec // of that id; nil when the ring has none
	value   string // of the cookie: never to be shown or logged
	size    int    // bytes of the cookie's name and value
	now     int64  // Unix seconds when the request came
	passive bool   // the visitor isn't there to see it: never renew for this request
	cleared bool
}

// clear empties the session. Unlike an untouched empty session, it deletes
// the visitor's cookie even when that was refused.
func (v *visit) clear() {
	v.session = session{}
	v.cleared = true
}

// load returns the visit that r is part of. It cannot fail: a cookie that is
// not good is an empty session, and its verdict tells why.
func (m *manager) load(r *http.Request) *visit {
	v := &visit{
		now:     time.Now().Unix(),
		passive: r.Method == http.MethodHead || strings.HasPrefix(r.Header.Get("Sec-Purpose"), "prefetch"),
	}
	for i, c := range r.CookiesNamed(m.cookie) {
		if i == 0 {
			m.open(v, c)
			continue
		}
		if i == maxCandidates || v.verdict == valid {
			break
		}
		other := *v
		if m.open(&other, c); other.verdict > v.verdict {
			*v = other
		}
	}
	return v
}

// open has v judge one cookie, by the cheap checks first and by nothing of
// what is in it before the MAC has been verified.
func (m *manager) open(v *visit, c *http.Cookie) {
	v.verdict, v.value, v.size = malformed, c.Value, len(m.cookie)+len(c.Value)
	v.keyID, v.codec = "", nil
	if v.size > maxCookie {
		v.verdict = tooLarge
		return
	}
	id, sealed, _ := strings.Cut(c.Value, ".")
	if !isKeyID(id) || !canonical(sealed) || c.Quoted {
		return
	}
	v.keyID = id
	v.codec = m.ring.Load().codecs[id]
	if v.codec == nil {
		v.verdict = unknownKey
		return
	}
	var payload []byte
	if err := v.codec.Decode(m.cookie, sealed, &payload); err != nil {
		if errors.Is(err, securecookie.ErrMacInvalid) {
			v.verdict = tampered
		}
		return
	}
	s, ok := parsePayload(payload)
	if !ok {
		return
	}
	v.sealed = s
	if v.verdict = m.age(s, v.now); v.verdict == valid {
		v.session = s
	}
}

// age judges a session by the clock alone. A limit of n seconds is kept at
// the nth second and passed at the next, as securecookie has it.
func (m *manager) age(s session, now int64) verdict {
	switch {
	case s.Seen > now+maxSkew:
		return fromFuture
	case now-s.Issued > m.lifetime:
		return tooOld
	case now-s.Seen > m.idle:
		return expired
	}
	return valid
}

// canonical reports whether s can be the one spelling of its bytes in base64.
// securecookie's decoder takes others as well: it skips line breaks and
// ignores the bits that the last character does not need. Whatever else is
// wrong with s, the decoder finds.
func canonical(s string) bool {
	if len(s) < 4 || len(s)%4 != 0 || strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return false
	}
	var last [3]byte
	_, err := strictBase64.Decode(last[:], []byte(s[len(s)-4:]))
	return err == nil
}

var strictBase64 = base64.URLEncoding.Strict()

// oversizedError says that a session does not fit into a cookie.
type oversizedError struct{ over int } // bytes too many

func (e *oversizedError) Error() string {
	return fmt.Sprintf("session is %d bytes too large for a cookie of %d", e.over, maxCookie)
}

// reason is why a response writes the cookie.
type reason uint8

const (
	unchanged reason = iota // it doesn't
	changed                 // a handler changed the session
	renewed                 // a quarter of the idle time has passed
	resealed                // it was sealed under a codec that isn't the current one
	cleared                 // the session is empty: the cookie is deleted
)

var reasonNames = [...]string{"unchanged", "changed", "renewed", "re-sealed", "cleared"}

func (r reason) String() string { return reasonNames[r] }

// reasonTo returns why, if at all, v's cookie is to be written. A refused
// cookie is left alone until a handler stores or clears something: the copy
// next door may know the key that this one doesn't.
func (m *manager) reasonTo(v *visit) reason {
	switch {
	case v.session.empty() && (v.verdict == valid || v.verdict != none && v.cleared):
		return cleared
	case v.session.empty():
		return unchanged
	case v.verdict != valid || v.session != v.sealed:
		return changed
	case v.passive:
		return unchanged
	case v.codec.id != m.ring.Load().seal.id:
		return resealed
	case 4*(v.now-v.sealed.Seen) >= m.idle:
		return renewed
	}
	return unchanged
}

// save adds the visit's cookie to the header of the response that is about to
// be written, if there is a reason to, which it returns with the cookie's
// bytes. It fails with an oversizedError when the session doesn't fit; then no
// cookie is set and the visitor keeps the old one.
func (m *manager) save(h http.Header, v *visit) (why reason, size int, err error) {
	switch why = m.reasonTo(v); why {
	case unchanged:
		return why, 0, nil
	case cleared:
		m.setCookie(h, "", -1)
		return why, 0, nil
	}
	s := v.session
	if s.Issued == 0 {
		s.Issued = v.now
	}
	s.Seen = max(v.now, s.Issued) // the copy that began the session may be ahead of us
	value, err := m.ring.Load().seal.seal(m.cookie, s)
	if err != nil {
		return why, 0, err
	}
	size = len(m.cookie) + len(value)
	if size > maxCookie {
		return why, size, &oversizedError{size - maxCookie}
	}
	maxAge := int64(0)
	if m.persist {
		maxAge = max(1, min(m.idle, s.Issued+m.lifetime-v.now))
	}
	m.setCookie(h, value, maxAge)
	return why, size, nil
}

// setCookie adds the cookie to the header h, with value, which is base64 and so
// needs none of what http.Cookie does to others byte by byte. It lasts maxAge
// seconds, or as long as the browser if that is 0, and is deleted if negative.
func (m *manager) setCookie(h http.Header, value string, maxAge int64) {
	age := ""
	if maxAge != 0 {
		age = "; Max-Age=" + strconv.FormatInt(max(0, maxAge), 10)
	}
	h.Add("Set-Cookie", m.cookie+"="+value+"; Path=/"+age+m.attributes)
}
