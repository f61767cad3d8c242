package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// report is what is known of a cookie, for the templates, which have the words
// for it. It has neither the cookie's value nor, but for Fields, what is in it.
type report struct {
	Cookie  string // its name
	Verdict verdict
	KeyID   string // empty when the cookie names none
	Role    string // of the key: seals or verifies
	Size    int    // bytes of name and value
	MaxSize int    // that they may have
	Length  int    // bytes of the value
	Parts   []part
	Mode    string    // how it is sealed, where that is known
	Sealed  time.Time // by the cookie's own word, where nothing was verified

	// What follows is known only of a cookie whose payload can be read.
	Readable, Encrypted bool
	Fields              []sessionField
	Began, Written, Now time.Time
	IdleEnd             time.Time // when the session ends if nothing is written until then
	End                 time.Time // when it ends at the latest

	Bound     bool      // the session is bound to a device
	Binding   bool      // this server binds sessions, and asks for tickets
	TicketEnd time.Time // until when the ticket that came along is good; zero without one
}

var reportTexts = template.Must(template.ParseFS(templates, "templates/report.txt"))

// reportText returns a report as aligned lines: as the visitor's own session
// page has them, or as inspect has.
func reportText(kind string, rep report) string {
	var b strings.Builder
	if err := reportTexts.ExecuteTemplate(&b, kind, rep); err != nil {
		panic(err) // the template doesn't fit the type
	}
	return b.String()
}

// sessionField is one field of a session, for the visitor's own page.
type sessionField struct {
	Name  string
	Value string // text as it is, anything else in CBOR's diagnostic notation
	text  bool
}

// Label returns the field's name as it begins a line. A cookie that was not
// verified may have any name there, also one that is a command to a terminal.
func (f sessionField) Label() string {
	quoted := strconv.Quote(strings.ToLower(f.Name))
	return fmt.Sprintf("%-13s", quoted[1:len(quoted)-1])
}

// Quoted returns the value so that it can't be taken for anything else on a terminal.
func (f sessionField) Quoted() string {
	if f.text {
		return strconv.Quote(f.Value)
	}
	return f.Value
}

// part is a stretch of a cookie's value.
type part struct {
	Class        string // id, stamp, payload or mac
	Start, Chars int
	Failed       bool // the check of this part has failed
}

// describe tells what is known of the cookie that came with a visit.
func describe(m *sessions[session], v *visit[session]) report {
	rep := report{
		Cookie: m.cookie, Verdict: v.verdict, KeyID: v.keyID,
		Size: v.size, MaxSize: maxCookie, Length: len(v.value), Parts: parts(v),
	}
	if v.readable() {
		rep.read(v.content)
		rep.Now = time.Unix(v.now, 0).UTC()
		rep.End = rep.Began.Add(m.lifetime)
		if rep.IdleEnd = rep.Written.Add(m.idle); rep.End.Before(rep.IdleEnd) {
			rep.IdleEnd = rep.End
		}
		if rep.Bound, rep.Binding = v.device != nil, m.bind > 0; v.verdict == unproven {
			rep.Fields = nil // whoever has the cookie may have copied it
		}
		if v.until != 0 {
			rep.TicketEnd = time.Unix(v.until, 0).UTC()
		}
		if rep.Encrypted = v.codec.encrypted; rep.Encrypted {
			rep.Mode = "signed and encrypted"
		}
	}
	return rep
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
	rep.read(content)
}

// read adds what a payload says, if it can be read.
func (rep *report) read(content []byte) {
	var p payload[map[string]cbor.RawMessage]
	if decoding.Unmarshal(content, &p) != nil {
		return
	}
	rep.Readable, rep.Mode = true, "signed"
	rep.Began, rep.Written = time.Unix(int64(p.Began), 0).UTC(), time.Unix(p.written(), 0).UTC()
	for _, name := range slices.Sorted(maps.Keys(p.Data)) {
		f := sessionField{Name: name}
		var value any
		decoding.Unmarshal(p.Data[name], &value)
		if f.Value, f.text = value.(string); !f.text {
			f.Value, _ = cbor.Diagnose(p.Data[name])
		}
		rep.Fields = append(rep.Fields, f)
	}
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

// parts takes the visit's cookie apart, if it has the form. Nothing of it needs
// to be verified.
func parts(v *visit[session]) (parts []part) {
	stamp, payload, ok := dissect(v.value)
	if !ok || v.verdict == tooLarge {
		return nil
	}
	start := 0
	add := func(class string, chars int, failure ...verdict) {
		failed := slices.Contains(failure, v.verdict)
		parts = append(parts, part{Class: class, Start: start, Chars: chars, Failed: failed})
		start += chars
	}
	// A byte of what base64 encodes takes four thirds of a character.
	chars := func(bytes int) int { return (4*bytes + 1) / 3 }
	add("id", idLen+1, unknownKey)
	add("stamp", chars(len(stamp)+1), fromFuture)
	add("payload", chars(len(payload)+1), expired, tooOld, malformed)
	add("mac", len(v.value)-start, tampered)
	return parts
}

// Scale returns where t is on a line of 1000 from Began to End.
func (rep report) Scale(t time.Time) int64 {
	return min(1000, 1000*seconds(t.Sub(rep.Began))/seconds(rep.End.Sub(rep.Began)))
}

// Left returns how much of that line is left of now.
func (rep report) Left() int64 { return max(0, rep.Scale(rep.IdleEnd)-rep.Scale(rep.Now)) }

// Rough returns how far away t is from now, like "in 13 days" or "2 hours ago".
func (rep report) Rough(t time.Time) string {
	ahead := seconds(t.Sub(rep.Now))
	n, unit := max(ahead, -ahead), "second"
	switch {
	case n >= 2*86400:
		n, unit = n/86400, "day"
	case n >= 2*3600:
		n, unit = n/3600, "hour"
	case n >= 2*60:
		n, unit = n/60, "minute"
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
