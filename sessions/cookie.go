package sessions

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
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

// Verdict is the result of the checks of a cookie.
type Verdict string

// The verdicts. [Checks] has the order in which a cookie gets them.
const (
	None       Verdict = "none"            // no cookie of the manager's name
	Malformed  Verdict = "malformed"       // not in the form that the manager writes
	TooLarge   Verdict = "too large"       // more than MaxSize bytes
	UnknownKey Verdict = "unknown key"     // sealed under a key that is not in the ring
	Tampered   Verdict = "tampered"        // the MAC does not match
	Expired    Verdict = "expired"         // not written for longer than Limits.Idle
	TooOld     Verdict = "too old"         // began longer than Limits.Lifetime ago
	FromFuture Verdict = "from the future" // written more than a minute ahead of our clock
	Unproven   Verdict = "unproven"        // bound to a device, and no live ticket came with it
	Revoked    Verdict = "revoked"         // Options.Accept said no
	Valid      Verdict = "valid"           // it has passed all checks
)

// Check is one of the checks that a cookie must pass.
type Check struct {
	Text    string  // a sentence that is true if the check passed
	Verdict Verdict // of a cookie that fails it
}

// checks are made in this order: the cheap ones first, and nothing that the cookie
// says is believed before its MAC has matched.
var checks = []Check{
	{Text: "A cookie with this name came.", Verdict: None},
	{Text: "Name and value are 4,096 bytes at most.", Verdict: TooLarge},
	{Text: "Its value is a key id, a dot, and base64url.", Verdict: Malformed},
	{Text: "The server has the key that it names.", Verdict: UnknownKey},
	{Text: "Its MAC fits what is in it.", Verdict: Tampered},
	{Text: "What is in it can be read as a session.", Verdict: Malformed},
	{Text: "It isn't dated in the future.", Verdict: FromFuture},
	{Text: "The session did not begin too long ago.", Verdict: TooOld},
	{Text: "It was written recently enough.", Verdict: Expired},
	{Text: "If it is bound to a device, the device has proved itself.", Verdict: Unproven},
	{Text: "The site has not ended the session.", Verdict: Revoked},
}

// passedMAC is how many checks a cookie has passed when its MAC has matched.
const passedMAC = 5

// Checks returns the checks in the order in which they are made. [Cookie.Passed] counts
// them.
func Checks() []Check { return slices.Clone(checks) }

// Cookie describes the cookie that a request brought. Printing it shows nothing secret.
// The zero Cookie stands for none.
type Cookie struct {
	Verdict   Verdict
	KeyID     string    // of the key that the value names; empty if it names none
	Encrypted bool      // meaningful only if the key is known
	Written   time.Time // when it was sealed; zero unless the MAC matches
	Size      int       // bytes of name and value
	Passed    int       // how many of Checks it passed
	Good      int       // how many valid cookies of this name came with the request

	Bound      bool      // the session is bound to a device
	TicketEnds time.Time // when the ticket that came with the request expires, or zero

	*judged
}

// judged is what must not be printed by accident. fmt follows one pointer at most, and
// does so even where it may not ask the Cookie.
type judged struct{ *known }

type known struct {
	value   string
	content []byte // the payload once the MAC has matched
	sealed         // the same, decoded
}

// sealed is what is in a cookie, and what it means here.
type sealed struct {
	payload
	limits Limits
}

// facts returns what is known of c beside its exported fields.
func (c Cookie) facts() known {
	if c.judged == nil {
		return known{}
	}
	return *c.known
}

// verdict returns the verdict also of the zero Cookie.
func (c Cookie) verdict() Verdict { return cmp.Or(c.Verdict, None) }

// Payload returns the session in the cookie, in CBOR, even if it has ended. It returns
// nil unless the MAC matches. It is for tools: never show a visitor what is in a refused
// cookie.
func (c Cookie) Payload() []byte { return bytes.Clone(c.facts().content) }

// Value returns the cookie's value as it came. Never log it, and never show it whole:
// whoever has it has the session.
func (c Cookie) Value() string { return c.facts().value }

// judge judges the value of one cookie at the time now, in Unix seconds. Whether a
// session comes from the device that it is bound to is for prove to say.
func (m *Manager[T]) judge(value string, now int64) *Session[T] {
	value = unquoted(value)
	k := &known{value: value}
	s := &Session[T]{now: now}
	s.cookie = Cookie{Size: len(m.name) + len(value), judged: &judged{k}}
	if s.cookie.Size > MaxSize {
		return s.refuse(TooLarge)
	}
	id, text, _ := strings.Cut(value, ".")
	if !IsKeyID(id) || !canonical(text) {
		return s.refuse(Malformed)
	}
	s.cookie.KeyID = id
	key := m.keys.current.Load().codecs[id]
	if key == nil {
		return s.refuse(UnknownKey)
	}
	s.cookie.Encrypted = key.encrypted
	content, ok := key.open(forSession, m.name, text)
	if !ok {
		return s.refuse(Tampered)
	}
	k.content, s.cookie.Passed = content, passedMAC
	p, ok := parsePayload(content)
	if !ok {
		return s.refuse(Malformed)
	}
	k.payload = p
	fits := decode(k.Data, &s.Data) == nil
	k.limits = m.o.Limits
	if fits {
		k.limits = m.limitsOf(&s.Data)
	}
	s.cookie.Written, s.cookie.Bound = unix(k.written()), k.Device != nil
	// A limit of n seconds is kept at the nth second and passed at the next, as
	// securecookie has it.
	switch {
	case !fits:
		return s.refuse(Malformed)
	case now < k.written()-maxSkew:
		return s.refuse(FromFuture)
	case now > int64(k.Began)+seconds(k.limits.Lifetime):
		return s.refuse(TooOld)
	case now > k.written()+seconds(k.limits.Idle):
		return s.refuse(Expired)
	}
	s.cookie.Verdict, s.cookie.Passed, s.cookie.Good = Valid, len(checks), 1
	s.origin = without(k.Data, m.forget)
	return s
}

// refuse gives s a verdict other than Valid, with the number of checks that its cookie
// has passed then, and takes the data away.
func (s *Session[T]) refuse(v Verdict) *Session[T] {
	passed := min(s.cookie.Passed, passedMAC) // since Malformed is there before and behind
	for checks[passed].Verdict != v {
		passed++
	}
	s.cookie.Passed, s.cookie.Verdict = passed, v
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
	best, good := &Session[T]{now: now}, 0
	cookies := r.CookiesNamed(m.name)
	for _, c := range cookies[:min(len(cookies), maxCandidates)] {
		s := m.judge(c.Value, now)
		m.prove(s, r)
		if s.Verdict() == Valid {
			good++
		}
		if s.cookie.beats(best.cookie) {
			best = s
		}
	}
	best.r, best.cookie.Good, best.quiet = r, good, isQuiet(r)
	if good > 0 && m.o.Accept != nil && !m.o.Accept(r, best) {
		best.refuse(Revoked)
	}
	if best.Verdict() != None || m.o.Adopt == nil {
		return best
	}
	if data, old, ok := m.o.Adopt(r); ok {
		best.Data, best.old, best.adopted = data, old, true
		best.origin, _ = encode(&data) // for Undo; Save says what is wrong with it
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
	loud := []string{"", "document", "iframe", "frame", "fencedframe", "empty"}
	return !slices.Contains(loud, r.Header.Get("Sec-Fetch-Dest"))
}
