package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// report is what is known of a cookie, for the templates, which have the words
// for it. It has nothing that would do as a cookie: of a MAC, four characters.
type report struct {
	Cookie  string // its name
	Verdict verdict
	Passed  check  // the last check that it passed
	KeyID   string // empty when the cookie names none
	Role    string // of the key, where it is in the ring: seals or verifies
	Sealing string // the id of the key that seals now
	Size    int    // bytes of name and value
	MaxSize int    // that they may have
	Length  int    // bytes of the value
	Parts   []part
	Mode    string    // how it is sealed, where that is known
	Sealed  time.Time // by the cookie's own word, where nothing was verified

	// What follows is known only of a cookie whose payload can be read.
	Readable, Encrypted bool
	Notation            string // the payload, in CBOR's diagnostic notation
	Fields              []sessionField
	Began, Written, Now time.Time
	IdleEnd             time.Time // when the session ends if nothing is written until then
	End                 time.Time // when it ends at the latest

	Bound     bool      // the session is bound to a device
	Binding   bool      // this server binds sessions, and asks for tickets
	TicketEnd time.Time // until when the ticket that came along is good; zero without one
}

var reportTexts = template.Must(template.ParseFS(templates, "templates/report.txt"))

// reportText returns what is known as aligned lines. The kind is session or inspect.
// Pages take why and thief of a report, and iso of a time, through a template function
// called report.
func reportText(kind string, known any) string {
	var b strings.Builder
	if err := reportTexts.ExecuteTemplate(&b, kind, known); err != nil {
		panic(err) // the template doesn't fit the type
	}
	return b.String()
}

// sessionField is one field of a session, for the visitor's own page and inspect.
type sessionField struct {
	Name    string
	Value   string // text as it is, anything else in CBOR's diagnostic notation
	content []byte // the value as it is encoded
}

// Label returns the field's name as it begins a line. A cookie that was not
// verified may have any name there, also one that is a command to a terminal.
func (f sessionField) Label() string {
	quoted := strconv.Quote(strings.ToLower(f.Name))
	return fmt.Sprintf("%-13s", quoted[1:len(quoted)-1])
}

// Quoted returns the value so that it can't be taken for anything else on a
// terminal: in CBOR's diagnostic notation, text is quoted.
func (f sessionField) Quoted() string { return notation(f.content) }

// part is a stretch of a cookie's value.
type part struct {
	Class        string // id, stamp, payload or mac
	Start, Chars int
	Text         string // its first characters, of the MAC no more than four
	Mark, After  string // a character behind Text that is to be pointed at, and what follows
	More         int    // how many characters there are behind that
	Failed       bool   // the check of this part has failed
}

// describe tells what is known of the cookie that came with a visit.
func describe(m *sessions[session], v *visit[session]) report {
	r, blames := m.ring.Load(), v.verdict
	if v.passed < checkMAC && v.verdict == malformed {
		blames = none // no part of it: nobody has looked at them
	}
	rep := report{
		Cookie: m.cookie, Verdict: v.verdict, Passed: v.passed, KeyID: v.keyID,
		Size: v.size, MaxSize: maxCookie, Length: len(v.value), Parts: parts(v.value, blames),
	}
	if r.seal != nil {
		rep.Sealing = r.seal.id
	}
	if v.codec != nil {
		rep.Role = role(r, v.keyID)
	}
	rep.Bound, rep.Binding = v.device != nil, m.onOpen != nil
	if v.until != 0 {
		rep.TicketEnd = time.Unix(v.until, 0).UTC()
	}
	// Whoever brings a bound cookie without a live ticket may have copied it.
	if v.readable() && (!rep.Bound || !rep.Binding || !rep.TicketEnd.IsZero()) {
		rep.read(v.content)
		rep.Now = time.Unix(v.now, 0).UTC()
		rep.End = rep.Began.Add(m.lifetime)
		if rep.IdleEnd = rep.Written.Add(m.idle); rep.End.Before(rep.IdleEnd) {
			rep.IdleEnd = rep.End
		}
		if rep.Encrypted = v.codec.encrypted; rep.Encrypted {
			rep.Mode = "signed and encrypted"
		}
	}
	return rep
}

// OnBinding reports whether there is something to say of device binding: who
// could still use the session.
func (rep report) OnBinding() bool {
	if !rep.Binding {
		return rep.Bound
	}
	return rep.Verdict == valid || rep.Verdict == unproven
}

// Verified reports whether the cookie's MAC matched.
func (rep report) Verified() bool { return rep.Passed >= checkMAC }

// role returns what the key of an id that is in the ring does.
func role(r *ring, id string) string {
	if r.keys[0].has(id) {
		return "seals"
	}
	return "verifies"
}

// peek adds what can be seen of a cookie without a key. None of it is verified.
func (rep *report) peek(value string) {
	stamp, payload, ok := dissect(value)
	if !ok {
		return
	}
	rep.Verdict, rep.Mode = "not verified, there is no key", "encrypted, or another program's"
	if sealed, err := strconv.ParseInt(stamp, 10, 64); err == nil {
		rep.Sealed = time.Unix(sealed, 0).UTC()
	}
	content, _ := base64.URLEncoding.DecodeString(payload)
	content, device := cutDevice(content)
	rep.read(content)
	rep.Bound = device != nil && rep.Readable
}

// read adds what a payload says, if it can be read.
func (rep *report) read(content []byte) {
	var p payload[map[string]cbor.RawMessage]
	if decoding.Unmarshal(content, &p) != nil {
		return
	}
	rep.Readable, rep.Mode, rep.Notation = true, "signed", shorten(notation(content))
	rep.Began, rep.Written = time.Unix(int64(p.Began), 0).UTC(), time.Unix(p.written(), 0).UTC()
	for _, name := range slices.Sorted(maps.Keys(p.Data)) {
		f := sessionField{Name: name, content: p.Data[name]}
		var value any
		decoding.Unmarshal(f.content, &value)
		var isText bool
		if f.Value, isText = value.(string); !isText {
			f.Value = f.Quoted()
		}
		rep.Fields = append(rep.Fields, f)
	}
}

// notation returns CBOR in its diagnostic notation (RFC 8949, 8), with letters
// of any script as they are.
func notation(content []byte) string {
	text, _ := cbor.Diagnose(content)
	return quotedText.ReplaceAllStringFunc(text, func(quoted string) string {
		var s string
		json.Unmarshal([]byte(quoted), &s) // can't fail: the library quotes as JSON does
		return strconv.Quote(s)
	})
}

var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// sample is a cookie of this server's making, to show to a visitor without one.
func sample(m *sessions[session]) *visit[session] {
	now := time.Now().Unix()
	content := must(encoding.Marshal(payload[session]{Began: uint32(now), Data: example}))
	value := must(m.ring.Load().seal.seal(m.cookie, content))
	return m.open(&http.Cookie{Name: m.cookie, Value: value}, now)
}

// specimen is a session as it looks in one of the two modes.
type specimen struct {
	Encrypted bool
	Parts     []part
	Steps     []string // what decoding makes of the payload: text, bytes, and what they say
}

// specimens seals a payload in both modes, to be compared.
func specimens(m *sessions[session], content []byte) (both []specimen) {
	k := m.ring.Load().keys[0]
	for _, c := range []*codec{k.signed, k.encrypted} {
		value := must(c.seal(m.cookie, slices.Clone(content)))
		_, inner, _ := dissect(value)
		s := specimen{Encrypted: c.encrypted, Parts: parts(value, valid)}
		s.Steps = append(s.Steps, shorten(inner))
		bytes := fmt.Sprintf("% x", must(base64.URLEncoding.DecodeString(inner)))
		s.Steps = append(s.Steps, shorten(bytes))
		if !c.encrypted {
			s.Steps = append(s.Steps, shorten(notation(content)))
		}
		both = append(both, s)
	}
	return both
}

// sentCookie is a Set-Cookie header, to be shown.
type sentCookie struct {
	Name       string
	Parts      []part // none when the cookie is deleted
	Attributes []string
}

// dissect takes out of a cookie's value the Unix seconds when securecookie
// sealed it, and the payload, in base64 again. It goes by the lengths of the
// parts and verifies nothing, so it works on a cookie that was tampered with.
func dissect(value string) (stamp, payload string, ok bool) {
	id, sealed, _ := strings.Cut(value, ".")
	b, err := base64.URLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 10+1+1+sha256.Size || !isKeyID(id) {
		return "", "", false
	}
	digits := 10 // until 2286
	if b[9] == '|' {
		digits = 9 // until September 2001
	}
	return string(b[:digits]), string(b[digits+1 : len(b)-1-sha256.Size]), true
}

// maxShown is how many characters of a payload are shown, of up to 4,096.
const maxShown = 256

// shorten returns text with at most maxShown characters of it.
func shorten(text string) string {
	runes := []rune(text)
	if more := len(runes) - maxShown; more > 0 {
		return fmt.Sprintf("%s… and %d more characters", string(runes[:maxShown]), more)
	}
	return text
}

// deviceChars returns how many characters a payload in base64 ends with that are
// the key of a device, which is shown to nobody. It goes by both ends alone: a
// character between them may have been forged.
func deviceChars(payload string) int {
	n := base64.URLEncoding.EncodedLen(deviceBytes + 2)
	head, _ := base64.URLEncoding.DecodeString(payload[:min(4, len(payload))])
	tail, _ := base64.URLEncoding.DecodeString(payload[max(0, len(payload)-n-4):])
	if _, device := cutDevice(append(head, tail...)); device == nil {
		return 0
	}
	return n
}

// parts takes apart the value of a cookie that got the verdict v, if it has the
// form. Nothing of it needs to be verified.
func parts(value string, v verdict) (parts []part) {
	stamp, payload, ok := dissect(value)
	if !ok || v == tooLarge {
		return nil
	}
	start := 0
	add := func(class string, chars, shown int, failure ...verdict) {
		parts = append(parts, part{
			Class: class, Start: start, Chars: chars, Text: value[start : start+shown],
			More: chars - shown, Failed: slices.Contains(failure, v),
		})
		start += chars
	}
	// A byte of what base64 encodes takes four thirds of a character.
	chars := func(bytes int) int { return (4*bytes + 1) / 3 }
	stampChars, payloadChars := chars(len(stamp)+1), chars(len(payload)+1)
	add("id", idLen+1, idLen+1, unknownKey)
	add("stamp", stampChars, stampChars)
	add("payload", payloadChars,
		min(payloadChars, maxShown, chars(max(4, len(payload)-deviceChars(payload))+1)), malformed)
	add("mac", len(value)-start, 4, tampered)
	return parts
}

// rung is one of the checks that a cookie has to pass.
type rung struct {
	Check   string
	Verdict verdict // that a cookie gets which fails
}

// Ladder returns the checks in their order. The cookie has passed the first Passed
// of them.
func (report) Ladder() []rung {
	return []rung{
		{Check: "There is a cookie of this name (up to four are looked at).", Verdict: none},
		{Check: "Name and value are 4,096 bytes at most.", Verdict: tooLarge},
		{Check: "It is a key id, a dot, and base64 in its canonical form.", Verdict: malformed},
		{Check: "The key is one that this server has.", Verdict: unknownKey},
		{Check: "The MAC matches the content.", Verdict: tampered},
		{Check: "The payload fits the session.", Verdict: malformed},
		{Check: "It was not written more than a minute ahead of this clock.", Verdict: fromFuture},
		{Check: "The session did not begin too long ago.", Verdict: tooOld},
		{Check: "It was not last written too long ago.", Verdict: expired},
		{Check: "It is bound to no device, or a live ticket came along.", Verdict: unproven},
	}
}

// Scale returns where t is on a line from Began to End, in per cent.
func (rep report) Scale(t time.Time) int64 {
	return min(100, 100*seconds(t.Sub(rep.Began))/seconds(rep.End.Sub(rep.Began)))
}

// Left returns how much of that line remains.
func (rep report) Left() int64 { return max(0, rep.Scale(rep.IdleEnd)-rep.Scale(rep.Now)) }

// Rough returns how far away t is from now, rounded, like "in 14 days" or "2 hours ago".
func (rep report) Rough(t time.Time) string {
	ahead := seconds(t.Sub(rep.Now))
	n, unit := max(ahead, -ahead), "second"
	for _, u := range []struct {
		name    string
		seconds int64
	}{{name: "day", seconds: 86400}, {name: "hour", seconds: 3600}, {name: "minute", seconds: 60}} {
		if n > 2*u.seconds-u.seconds/60 {
			n, unit = (n+u.seconds/2)/u.seconds, u.name
			break
		}
	}
	if n != 1 {
		unit += "s"
	}
	switch cmp.Compare(ahead, 0) {
	case 1:
		return fmt.Sprintf("in %d %s", n, unit)
	case -1:
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return "now"
}
