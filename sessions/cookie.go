package sessions

import (
	"net/http"
	"strings"
	"time"
)

// MaxSize is how many bytes the name and the value of a cookie may have
// together. Browsers silently drop a longer one (RFC 6265bis, 5.7).
const MaxSize = 4096

const (
	// maxCandidates is how many cookies of our name are looked at. A browser
	// sends several when another app on the same host, or on another port of
	// it, uses the same name, or when one was set with another path.
	maxCandidates = 4

	// maxSkew is how many seconds the clock of the copy that sealed a cookie
	// may be ahead of ours.
	maxSkew = 60

	// maxAhead is for how many seconds ahead a session from the future is
	// protected against being replaced. Its MAC is good, so it is a real one.
	maxAhead = 3600
)

// Verdict is what became of the cookie that a request brought.
type Verdict string

// The verdicts, in the order of the checks, but for Valid.
const (
	None       Verdict = "none"            // no cookie of the manager's name
	Malformed  Verdict = "malformed"       // not of the form that the manager makes
	TooLarge   Verdict = "too large"       // more than MaxSize bytes
	UnknownKey Verdict = "unknown key"     // sealed under a key that is not in the ring
	Tampered   Verdict = "tampered"        // the MAC does not match
	Expired    Verdict = "expired"         // not written for longer than Limits.Idle
	TooOld     Verdict = "too old"         // began longer than Limits.Lifetime ago
	FromFuture Verdict = "from the future" // written more than a minute ahead of our clock
	Unproven   Verdict = "unproven"        // bound to a device, and no live ticket of it came
	Revoked    Verdict = "revoked"         // Options.Accept said no
	Valid      Verdict = "valid"
)

// Check is one of the checks that a cookie has to pass.
type Check struct {
	Text    string  // what is so if it has passed, as a sentence
	Verdict Verdict // what it gets if it fails
}

// How many checks a cookie has passed that failed at the one behind.
const (
	passedNone = iota
	passedPresent
	passedSize
	passedForm
	passedKey
	passedMAC
	passedPayload
	passedClock
	passedLifetime
	passedIdle
	passedProof
	passedAll
)

// checks are made in this order: the cheap ones first, and nothing that the cookie
// says is believed before its MAC has matched.
var checks = [passedAll]Check{
	passedNone:     {Text: "A cookie with this name came.", Verdict: None},
	passedPresent:  {Text: "Name and value are 4,096 bytes at most.", Verdict: TooLarge},
	passedSize:     {Text: "It is a key id, a dot, and base64.", Verdict: Malformed},
	passedForm:     {Text: "The server has the key that it names.", Verdict: UnknownKey},
	passedKey:      {Text: "Its MAC fits what is in it.", Verdict: Tampered},
	passedMAC:      {Text: "What is in it can be read as a session.", Verdict: Malformed},
	passedPayload:  {Text: "It isn't dated in the future.", Verdict: FromFuture},
	passedClock:    {Text: "The session did not begin too long ago.", Verdict: TooOld},
	passedLifetime: {Text: "It was written recently enough.", Verdict: Expired},
	passedIdle: {
		Text: "If it is bound to a device, the device has proved itself.", Verdict: Unproven,
	},
	passedProof: {Text: "The site has not ended the session.", Verdict: Revoked},
}

// Checks returns the checks of a cookie in their order. [Cookie.Passed] counts them.
func Checks() []Check { return append([]Check(nil), checks[:]...) }

// Cookie is what is known of a cookie once it was judged. It shows nothing secret
// when it is printed. The zero Cookie is none.
type Cookie struct {
	Verdict   Verdict
	KeyID     string    // as the cookie names it; empty if it has not that form
	Encrypted bool      // known once its key is
	Written   time.Time // when it was sealed; zero before the MAC has matched
	Size      int       // bytes of name and value
	Passed    int       // how many of Checks it has passed
	Good      int       // how many valid cookies of the name came with the request

	Bound      bool      // the session is bound to a device
	TicketEnds time.Time // until when the device's ticket is good that came along, or zero

	*judged
}

// judged is what must not be printed by accident. fmt follows one pointer at most, and
// does so even where it may not ask the Cookie.
type judged struct{ *known }

type known struct {
	value   string
	content []byte // the payload once the MAC has matched
	codec   *codec // of the key id; nil if the ring has none
	payload payload
	span    span
}

// verdict returns the verdict also of the zero Cookie.
func (c Cookie) verdict() Verdict {
	if c.Verdict == "" {
		return None
	}
	return c.Verdict
}

// Payload returns what the cookie carries, in CBOR, also that of a session that has
// ended. It is for tools: show nobody what is in a cookie that was refused. It is nil
// before the MAC has matched.
func (c Cookie) Payload() []byte {
	if c.judged == nil {
		return nil
	}
	return append([]byte(nil), c.content...)
}

// Value returns the cookie's value as it came. Whoever has it has the session:
// never log it, and never show it whole.
func (c Cookie) Value() string {
	if c.judged == nil {
		return ""
	}
	return c.value
}

// judge judges the value of one cookie at the time now, in Unix seconds. Whether a
// session comes from the device that it is bound to is for prove to say.
func (m *Manager[T]) judge(value string, now int64) *Session[T] {
	value = unquoted(value)
	j := &judged{&known{value: value}}
	s := &Session[T]{now: now, cookie: Cookie{Size: len(m.name) + len(value), judged: j}}
	if s.cookie.Size > MaxSize {
		return s.refuse(passedPresent)
	}
	id, sealed, _ := strings.Cut(value, ".")
	if !isKeyID(id) || !canonical(sealed) {
		return s.refuse(passedSize)
	}
	s.cookie.KeyID = id
	if j.codec = m.keys.current.Load().codecs[id]; j.codec == nil {
		return s.refuse(passedForm)
	}
	s.cookie.Encrypted = j.codec.encrypted
	var ok bool
	if j.content, ok = j.codec.open(forSession, m.name, sealed); !ok {
		return s.refuse(passedKey)
	}
	if j.payload, ok = parsePayload(j.content); !ok {
		return s.refuse(passedMAC)
	}
	began, written := int64(j.payload.Began), j.payload.written()
	s.cookie.Written, s.cookie.Bound = unix(written), j.payload.Device != nil
	var data T // it goes into s only if it is whole
	limits, fits := m.o.Limits, decode(j.payload.Data, &data) == nil
	if fits {
		limits = m.limitsOf(&data)
	}
	j.span = span{began: began, written: written, limits: limits}
	s.span = j.span
	// A limit of n seconds is kept at the nth second and passed at the next, as
	// securecookie has it.
	switch {
	case !fits:
		return s.refuse(passedMAC)
	case written > now+maxSkew:
		return s.refuse(passedPayload)
	case now > began+seconds(limits.Lifetime):
		return s.refuse(passedClock)
	case now > written+seconds(limits.Idle):
		return s.refuse(passedLifetime)
	}
	s.cookie.Verdict, s.cookie.Passed = Valid, passedAll
	s.Data = data
	s.origin, s.stale = without(j.payload.Data, m.forget)
	return s
}

// refuse gives s the verdict of the check that its cookie failed after it has passed
// so many, and takes the data away.
func (s *Session[T]) refuse(passed int) *Session[T] {
	s.cookie.Passed, s.cookie.Verdict = passed, checks[passed].Verdict
	s.Data, s.origin = *new(T), nil
	return s
}

// unquoted returns text without the quotes around it, if any. Java's own cookie
// store puts a value in quotes, and structured fields have them (RFC 9651).
func unquoted(text string) string {
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		return text[1 : n-1]
	}
	return text
}

// seconds returns d in whole seconds.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// unix returns the time of Unix seconds, or the zero time for none.
func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// load returns the session that r brings. Of several valid cookies the one that was
// written last counts, of those the first. If none is valid, the one that passed the
// most checks counts, so a cookie whose MAC matched always beats one whose MAC didn't.
func (m *Manager[T]) load(r *http.Request) *Session[T] {
	now := time.Now().Unix()
	var best *Session[T]
	good := 0
	cookies := r.CookiesNamed(m.name)
	for _, c := range cookies[:min(len(cookies), maxCandidates)] {
		s := m.judge(c.Value, now)
		m.prove(s, r)
		if s.cookie.Verdict == Valid {
			good++
		}
		if best == nil || s.cookie.beats(best.cookie) {
			best = s
		}
	}
	if best == nil {
		best = &Session[T]{now: now}
	}
	best.r, best.cookie.Good, best.quiet = r, good, isQuiet(r)
	if good > 0 && m.o.Accept != nil && !m.o.Accept(r, best) {
		best.refuse(passedProof)
	}
	if best.Verdict() != None || m.o.Adopt == nil {
		return best
	}
	if data, old, ok := m.o.Adopt(r); ok {
		best.Data, best.old, best.adopted = data, old, true
		best.origin, _ = encode(data) // for Undo; Save says what is wrong with it
	}
	return best
}

// beats reports whether c counts rather than other, which came first.
func (c Cookie) beats(other Cookie) bool {
	if c.Passed != other.Passed {
		return c.Passed > other.Passed
	}
	return c.Verdict == Valid && c.Written.After(other.Written)
}

// isQuiet reports whether nobody has asked for a page with r, so that a session isn't
// renewed for it. Parts of a page must not renew it: several come at once, and
// each would undo what another request has just written. A fetch does renew,
// because sites whose pages are made by a script load one document a day.
func isQuiet(r *http.Request) bool {
	if r.Method == http.MethodHead {
		return true
	}
	// The current spelling, Safari's two, and that of older Firefoxes.
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		value := strings.ToLower(r.Header.Get(name))
		if strings.HasPrefix(value, "prefetch") || strings.HasPrefix(value, "preview") {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document", "iframe", "frame", "fencedframe", "empty":
		return false
	}
	return true
}
