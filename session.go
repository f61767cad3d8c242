package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
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

	// securePrefix begins the name of a cookie that is for HTTPS only. Browsers
	// take such a cookie only with Secure, HttpOnly, Path=/ and no Domain, so
	// neither a script, nor plain http, nor a sibling domain can plant it
	// (RFC 6265bis, 4.1.3).
	securePrefix = "__Host-Http-"

	// maxSkew is how many seconds the clock of the copy that sealed a cookie
	// may be ahead of ours.
	maxSkew = 60
)

// verdict is what became of the cookie that a request brought.
type verdict string

const (
	none       verdict = "none"            // no cookie of our name
	tooLarge   verdict = "too large"       // more than maxCookie bytes
	malformed  verdict = "malformed"       // not of the form that we make
	unknownKey verdict = "unknown key"     // sealed under a key that is not in the ring
	tampered   verdict = "tampered"        // the MAC does not match
	fromFuture verdict = "from the future" // written more than maxSkew ahead of our clock
	tooOld     verdict = "too old"         // began too long ago, however busy
	expired    verdict = "expired"         // not written for too long
	unproven   verdict = "unproven"        // bound to a device, and no live ticket of it came along
	valid      verdict = "valid"
)

// check is one of the checks that a cookie has to pass. They are made in this
// order: the cheap ones first, and nothing that the cookie says is believed
// before its MAC has matched.
type check int

const (
	checkPresent  check = 1 + iota // there is a cookie of our name
	checkSize                      // it has maxCookie bytes at most
	checkForm                      // it is a key id, a dot, and canonical base64
	checkKey                       // the key is in the ring
	checkMAC                       // the MAC matches
	checkPayload                   // the payload fits the session's type
	checkClock                     // it does not come from the future
	checkLifetime                  // the session did not begin too long ago
	checkIdle                      // it was not last written too long ago
	checkProof                     // if it is bound to a device, a live ticket came with it
)

// payload is what is sealed into a cookie: a CBOR array (RFC 8949) like
//
//	[1767225600, 3600, {"Name": "Alice"}]
type payload[T any] struct {
	_     struct{} `cbor:",toarray"`
	Began uint32   // Unix seconds when the session began: the absolute limit counts from here
	Since uint32   // seconds from then until it was last written: the idle limit counts from there
	Data  T        // the session
}

// sealedData is a payload whose session is left as it was encoded.
type sealedData = payload[cbor.RawMessage]

// written returns the Unix seconds when the session was last written.
func (p payload[T]) written() int64 { return int64(p.Began) + int64(p.Since) }

// deviceBytes is the length of the key of a device that a session is bound to: a
// compressed point of the curve P-256 (SEC 1, 2.3.3).
const deviceBytes = 33

// boundArray is the first byte of a payload with a device's key: an array of four
// elements, not of three.
const boundArray = 0x84

// withDevice returns the payload content with a device's key as a fourth
// element, or as it is without a key:
//
//	[1767225600, 3600, {"Name": "Alice"}, h'02…']
//
// In CBOR that is another first byte and an element at the end (RFC 8949, 3).
func withDevice(content []byte, device []byte) []byte {
	if device == nil {
		return content
	}
	content = append(content, 0x58, deviceBytes) // a byte string, and its length
	content[0] = boundArray
	return append(content, device...)
}

// cutDevice undoes withDevice, in place. What is not of that form it returns as it is.
func cutDevice(content []byte) (rest []byte, device []byte) {
	end := len(content) - deviceBytes - 2
	if end < 1 || content[0] != boundArray ||
		content[end] != 0x58 || content[end+1] != deviceBytes {
		return content, nil
	}
	content[0] = boundArray - 1
	return content[:end], content[end+2:]
}

// encoding gives equal values equal bytes, which is how a change is found. A
// slice or map counts as empty whether it is nil or not.
var encoding = must(func() (cbor.EncMode, error) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	options.Time = cbor.TimeRFC3339NanoUTC // the only one that keeps all of a time
	options.TextMarshaler = cbor.TextMarshalerTextString
	return options.EncMode()
}())

// decoding refuses what encoding never makes: a key that is there twice, an
// indefinite length, a tag.
var decoding = must(cbor.DecOptions{
	DupMapKey: cbor.DupMapKeyEnforcedAPF, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, MaxNestedLevels: 16,
	TextUnmarshaler: cbor.TextUnmarshalerTextString,
}.DecMode())

// must returns v, which only a mistake in the program can keep from being made.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// settings are what a site decides about its sessions.
type settings struct {
	cookie   string        // its name, without the prefix
	secure   bool          // send it over HTTPS only
	persist  bool          // keep it when the browser is closed
	idle     time.Duration // end a session that was not written for this long
	lifetime time.Duration // end a session this long after it began
}

// sessions reads sessions of type T from cookies and writes them back. It
// keeps none itself. It may be used by many goroutines at once.
type sessions[T any] struct {
	settings
	zero []byte               // the encoding of an empty session
	ring atomic.Pointer[ring] // must be set before use; replaced when the keys change

	// What bind.go adds: onOpen, if it isn't nil, may refuse a session that is bound
	// to a device, and onWrite is told when a session began whose cookie was written,
	// or 0 if it was deleted.
	onOpen  func(*visit[T], *http.Request)
	onWrite func(w http.ResponseWriter, v *visit[T], began uint32)
}

// newSessions returns sessions that still lack a ring. It panics if T holds
// what CBOR cannot carry, such as a channel.
func newSessions[T any](s settings) *sessions[T] {
	if s.secure {
		s.cookie = securePrefix + s.cookie
	}
	return &sessions[T]{
		settings: s, zero: must(encoding.Marshal(*new(T))),
		onWrite: func(http.ResponseWriter, *visit[T], uint32) {},
	}
}

// visit is one request's visitor: the session that came with it, and what
// became of its cookie.
type visit[T any] struct {
	session T     // a handler may change it; save notices
	now     int64 // Unix seconds when the request came
	passive bool  // the visitor isn't there to see it: never renew for this request
	cleared bool

	verdict verdict
	passed  check      // the last check that the cookie passed; 0 without a cookie
	keyID   string     // as the cookie names it; empty when it names none
	codec   *codec     // of that id; nil when the ring has none
	value   string     // of the cookie: never to be shown or logged
	size    int        // bytes of its name and value
	content []byte     // its payload without a device's key, once the MAC has matched
	payload sealedData // once it was found to fit, also of a session that has ended

	device  []byte // key of the device that the session is bound to; nil if it isn't
	until   int64  // Unix seconds until when the ticket that came along is good; 0 without one
	binding bool   // save binds the session to the device
	offered bool   // save has offered to bind it
}

// clear empties the session. What a handler stores afterwards begins a new
// one. An empty session that was cleared deletes the cookie even if that was
// refused; an untouched one leaves it alone.
func (v *visit[T]) clear() { v.session, v.cleared = *new(T), true }

// continues reports whether the session is the one that the cookie brought.
func (v *visit[T]) continues() bool { return v.verdict == valid && !v.cleared }

// readable reports whether the payload is known, and true.
func (v *visit[T]) readable() bool { return v.passed >= checkPayload }

// refuse returns v with a verdict, which its cookie got at a check.
func (v *visit[T]) refuse(at check, why verdict) *visit[T] {
	v.passed, v.verdict = at-1, why
	return v
}

// load returns the visit that r is part of. It cannot fail: a cookie that is
// not good is an empty session, and its verdict tells why. Of several cookies
// the first valid one is taken; if none is valid, the one that passed the most
// checks counts, and of those the first. So a cookie whose MAC matched always
// beats one whose MAC didn't.
func (m *sessions[T]) load(r *http.Request) *visit[T] {
	now := time.Now().Unix()
	var v *visit[T]
	cookies := r.CookiesNamed(m.cookie)
	for _, c := range cookies[:min(len(cookies), maxCandidates)] {
		candidate := m.open(c, now)
		if m.onOpen != nil {
			m.onOpen(candidate, r)
		}
		if v == nil || candidate.passed > v.passed {
			v = candidate
		}
	}
	if v == nil {
		v = &visit[T]{now: now, verdict: none}
	}
	v.passive = r.Method == http.MethodHead ||
		strings.HasPrefix(r.Header.Get("Sec-Purpose"), "prefetch")
	return v
}

// open judges one cookie at the time now, in Unix seconds. Whether a session
// that is bound to a device has come from there is for onOpen to say.
func (m *sessions[T]) open(c *http.Cookie, now int64) *visit[T] {
	v := &visit[T]{now: now, value: c.Value, size: len(m.cookie) + len(c.Value)}
	if v.size > maxCookie {
		return v.refuse(checkSize, tooLarge)
	}
	id, sealed, _ := strings.Cut(c.Value, ".")
	if c.Quoted || !isKeyID(id) || !canonical(sealed) {
		return v.refuse(checkForm, malformed)
	}
	v.keyID = id
	if v.codec = m.ring.Load().codecs[id]; v.codec == nil {
		return v.refuse(checkKey, unknownKey)
	}
	if v.codec.Decode(m.cookie, sealed, &v.content) != nil {
		return v.refuse(checkMAC, tampered)
	}
	v.content, v.device = cutDevice(v.content)
	var p sealedData
	var data T // neither goes into v unless both are whole
	if decoding.Unmarshal(v.content, &p) != nil || decoding.Unmarshal(p.Data, &data) != nil {
		return v.refuse(checkPayload, malformed)
	}
	v.payload = p
	// A limit of n seconds is kept at the nth second and passed at the next, as
	// securecookie has it.
	switch {
	case p.written() > now+maxSkew:
		return v.refuse(checkClock, fromFuture)
	case now > int64(p.Began)+seconds(m.lifetime):
		return v.refuse(checkLifetime, tooOld)
	case now > p.written()+seconds(m.idle):
		return v.refuse(checkIdle, expired)
	}
	v.passed, v.verdict, v.session = checkProof, valid, data
	return v
}

// seconds returns d in whole seconds.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// strictBase64 also refuses text whose last character has bits set that it doesn't need.
var strictBase64 = base64.URLEncoding.Strict()

// canonical reports whether s is base64 in its one spelling. securecookie takes
// others as well: it skips line breaks and ignores the bits that the last
// character does not need.
func canonical(s string) bool {
	_, err := strictBase64.DecodeString(s)
	return err == nil && s != "" && !strings.ContainsAny(s, "\r\n")
}

// reason is why a response writes the cookie.
type reason string

const (
	unchanged reason = "unchanged" // it doesn't
	changed   reason = "changed"   // a handler changed the session
	renewed   reason = "renewed"   // a quarter of the idle time has passed
	resealed  reason = "re-sealed" // it was sealed under a codec that isn't the current one
	bound     reason = "bound"     // the session was bound to a device
	cleared   reason = "cleared"   // the session is empty: the cookie is deleted
)

// oversizedError says that a session does not fit into a cookie.
type oversizedError struct{ over int } // bytes too many

func (e *oversizedError) Error() string {
	return fmt.Sprintf("session is %d bytes too large for a cookie of %d", e.over, maxCookie)
}

// errUnreadable says that a session could not be read out of a cookie again.
var errUnreadable = errors.New("session can't be decoded again")

// save adds the visit's cookie to the header of w, which must not have been
// written yet, if there is a reason to. It returns the reason and the cookie's
// size. It fails with an oversizedError when the session doesn't fit, with
// errUnreadable when it has text that isn't UTF-8, for example, and otherwise
// only when CBOR cannot carry it; then no cookie is set, and the visitor keeps
// the old one.
func (m *sessions[T]) save(w http.ResponseWriter, v *visit[T]) (why reason, size int, err error) {
	data, err := m.encode(v)
	if err != nil {
		return unchanged, 0, fmt.Errorf("session can't be encoded: %w", err)
	}
	switch why = m.reasonTo(v, data); why {
	case unchanged:
		return why, 0, nil
	case cleared:
		m.setCookie(w, m.cookie, "", -1)
		m.onWrite(w, v, 0)
		return why, 0, nil
	}
	p := sealedData{Began: uint32(v.now), Data: data}
	var device []byte
	if v.continues() {
		p.Began, device = v.payload.Began, v.device
		// The copy that began the session may be ahead of us.
		p.Since = uint32(max(0, v.now-int64(p.Began)))
	}
	content := must(encoding.Marshal(p))
	unreadable := decoding.Unmarshal(content, new(payload[T])) // seal overwrites content
	value, err := m.ring.Load().seal.seal(m.cookie, withDevice(content, device))
	if err != nil {
		return unchanged, 0, err
	}
	size = len(m.cookie) + len(value)
	switch {
	case size > maxCookie && why == changed:
		return unchanged, 0, &oversizedError{over: size - maxCookie}
	case size > maxCookie: // encryption, a device or a later time makes it longer
		return unchanged, 0, nil
	case unreadable != nil: // never set what can't be opened again, such as text that isn't UTF-8
		return unchanged, 0, fmt.Errorf("%w: %w", errUnreadable, unreadable)
	}
	maxAge := int64(0) // the cookie ends with the browser
	if m.persist {
		maxAge = max(1, min(seconds(m.idle), int64(p.Began)+seconds(m.lifetime)-v.now))
	}
	m.setCookie(w, m.cookie, value, int(maxAge))
	m.onWrite(w, v, p.Began)
	return why, size, nil
}

// reasonTo returns why, if at all, the cookie is to be written, with data in
// it. A refused cookie is left alone until a handler stores or clears something:
// the copy next door may know the key that this one doesn't.
func (m *sessions[T]) reasonTo(v *visit[T], data cbor.RawMessage) reason {
	isNew := !v.continues() || !bytes.Equal(data, v.payload.Data)
	switch {
	case isNew && !bytes.Equal(data, m.zero):
		return changed
	case isNew && (v.verdict == valid || v.cleared && v.verdict != none):
		return cleared
	case v.binding:
		return bound
	case isNew || v.passive:
		return unchanged
	case v.codec.id != m.ring.Load().seal.id:
		return resealed
	case 4*(v.now-v.payload.written()) >= seconds(m.idle):
		return renewed
	}
	return unchanged
}

// setCookie sets a cookie for maxAge seconds, or for as long as the browser is
// open if that is 0, and deletes it if that is negative.
func (m *sessions[T]) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: m.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// encode returns the encoding of a visit's session. For one that hasn't changed, that
// is exactly what the cookie brought. Of one that has, each field that this version
// doesn't know or hasn't changed is kept as it was, but for a session that is empty now.
func (m *sessions[T]) encode(v *visit[T]) (cbor.RawMessage, error) {
	old := v.payload.Data
	data, err := encoding.Marshal(v.session)
	if err != nil || !v.continues() || bytes.Equal(data, old) {
		return data, err
	}
	// Either the session has changed, or a version of the program that has other
	// fields has sealed it. What this one knows of it tells.
	var before T
	decoding.Unmarshal(old, &before) // as open did
	known := must(encoding.Marshal(before))
	switch {
	case bytes.Equal(data, known):
		return old, nil
	case bytes.Equal(data, m.zero):
		return data, nil
	}
	var o, k, d map[any]cbor.RawMessage
	if err := errors.Join(decoding.Unmarshal(old, &o), decoding.Unmarshal(known, &k),
		decoding.Unmarshal(data, &d)); err != nil || d == nil {
		return data, nil // it has no fields
	}
	for name, value := range o {
		if bytes.Equal(k[name], d[name]) {
			d[name] = value
		}
	}
	return must(encoding.Marshal(d)), nil
}
