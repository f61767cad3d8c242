package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// report is what is known of a cookie. It has neither its value nor, but for
// Name, what is in it.
type report struct {
	Cookie  string // its name
	Verdict string
	Why     string // in a sentence, for the visitor
	None    bool
	Valid   bool
	KeyID   string // empty when the cookie names none
	Role    string // of the key: seals or verifies
	Size    int    // bytes of name and value
	MaxSize int

	ValueSize int // bytes of the value
	Parts     []part

	// What follows is known only of a verified cookie.
	Verified  bool
	Encrypted bool
	Name      string // for the visitor's own page
	Began     instant
	Seen      instant
	Now       instant
	IdleEnd   instant // when the session ends if nothing is written until then
	End       instant // when it ends at the latest
}

// part is a stretch of a cookie's value.
type part struct {
	Name, Class string
	Purpose     string
	Start       int // characters before it
	Chars       int
	Failed      bool // the check of this part has failed
}

// report tells what is known of the cookie that came with a visit.
func (m *manager) report(v *visit) report {
	rep := report{
		Cookie:    m.cookie,
		Verdict:   v.verdict.String(),
		Why:       whys[v.verdict],
		None:      v.verdict == none,
		Valid:     v.verdict == valid,
		KeyID:     v.keyID,
		Size:      v.size,
		MaxSize:   maxCookie,
		ValueSize: len(v.value),
		Parts:     v.parts(),
	}
	if v.verdict.verified() {
		s, now := v.sealed, v.now
		at := func(seconds int64) instant { return instant{time.Unix(seconds, 0).UTC(), seconds - now} }
		rep.Verified = true
		rep.Encrypted = v.codec.encrypted
		rep.Name = s.Name
		rep.Began, rep.Seen, rep.Now = at(s.Issued), at(s.Seen), at(now)
		rep.End = at(s.Issued + m.lifetime)
		rep.IdleEnd = at(min(s.Seen+m.idle, s.Issued+m.lifetime))
	}
	return rep
}

// whys tell the visitor what a verdict means.
var whys = [...]string{
	none:       "Your browser has brought no session cookie.",
	malformed:  "It does not have the form of a cookie of this site. Perhaps another program on the same host name uses a cookie of this name.",
	tooLarge:   "It is larger than any cookie of this site.",
	unknownKey: "It was sealed with a key that this server does not have, or has no more.",
	tampered:   "It was changed after it had been sealed: its MAC does not fit the rest. A MAC cannot tell where the change is.",
	fromFuture: "It was sealed at a time that is still to come. Perhaps a clock is wrong.",
	expired:    "Its session had not been used for so long that it has ended.",
	tooOld:     "Its session began so long ago that it has ended, although it was in use.",
	valid:      "The server has verified the seal of your cookie and found it good.",
}

// parts takes the visit's cookie apart, if it has the form. Nothing of it needs to be verified.
func (v *visit) parts() []part {
	p, ok := dissect(v.value)
	if !ok || v.verdict == tooLarge {
		return nil
	}
	// A byte of what base64 encodes takes four thirds of a character.
	chars := func(bytes int) int { return (4*bytes + 1) / 3 }
	payload := "the session itself, which anybody who holds the cookie can read."
	if v.codec != nil && v.codec.encrypted {
		payload = "the session itself, encrypted, behind 16 random bytes."
	} else if v.codec == nil {
		payload = "the session itself."
	}
	parts := []part{
		{Name: "Key id " + p.keyID, Class: "id", Chars: idLen + 1, Purpose: "tells the server which of its keys to take. It is not secret.", Failed: v.verdict == unknownKey},
		{Name: "Time stamp", Class: "stamp", Chars: chars(len(p.stamp) + 1), Purpose: "when the cookie was sealed.", Failed: v.verdict == fromFuture},
		{Name: "Payload", Class: "payload", Chars: chars(len(p.payload) + 1), Purpose: payload, Failed: v.verdict == expired || v.verdict == tooOld || v.verdict == malformed},
		{Name: "MAC", Class: "mac", Purpose: "32 bytes that only who has the key can make, and that fit only this cookie.", Failed: v.verdict == tampered},
	}
	start := 0
	for i := range parts {
		if i == len(parts)-1 {
			parts[i].Chars = len(v.value) - start
		}
		parts[i].Start = start
		start += parts[i].Chars
	}
	return parts
}

// scale returns where t is on a line of 1000 from Began to End.
func (rep report) scale(t instant) int64 {
	whole := rep.End.Unix() - rep.Began.Unix()
	return max(0, min(1000, 1000*(t.Unix()-rep.Began.Unix())/max(1, whole)))
}

func (rep report) NowAt() int64     { return rep.scale(rep.Now) }
func (rep report) IdleEndAt() int64 { return rep.scale(rep.IdleEnd) }
func (rep report) LeftWidth() int64 { return max(0, rep.IdleEndAt()-rep.NowAt()) }

// instant is a time, and how many seconds it is ahead.
type instant struct {
	time.Time
	ahead int64
}

func (t instant) ISO() string  { return t.Format(time.RFC3339) }
func (t instant) Text() string { return t.Format("2 January 2006, 15:04:05 UTC") }

// Rough returns how far away t is, like "in 13 days" or "2 hours ago".
func (t instant) Rough() string {
	n := max(t.ahead, -t.ahead)
	unit := "second"
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
	switch {
	case t.ahead > 0:
		return fmt.Sprintf("in %d %s", n, unit)
	case t.ahead < 0:
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return "now"
}

// fact returns a line that is aligned with others of its kind.
func fact(name string, value any) string { return fmt.Sprintf("%-14s%v\n", name, value) }

// String returns the report as aligned lines, without what is in the cookie.
func (rep report) String() string {
	var b strings.Builder
	line := func(name string, value any) { b.WriteString(fact(name, value)) }
	line("verdict", rep.Verdict)
	if rep.Size > 0 {
		line("size", fmt.Sprintf("%d of %d bytes", rep.Size, rep.MaxSize))
	}
	if rep.KeyID != "" {
		line("key id", strings.TrimSpace(rep.KeyID+" "+rep.Role))
	}
	if rep.Verified {
		line("mode", rep.Mode())
		line("began", rep.Began.ISO())
		line("last seen", rep.Seen.ISO())
		line("ends, idle", rep.IdleEnd.ISO())
		line("ends, latest", rep.End.ISO())
	}
	return b.String()
}

// Mode tells who can read what is in the cookie.
func (rep report) Mode() string {
	if rep.Encrypted {
		return "signed and encrypted"
	}
	return "signed"
}

// Text returns all that the visitor's own page says, as aligned lines of
// which the last has no end.
func (rep report) Text() string {
	text := rep.String()
	for _, p := range rep.Parts {
		failed := ""
		if p.Failed {
			failed = ", failed"
		}
		text += fact(strings.ToLower(strings.Fields(p.Name)[0]+" part"), fmt.Sprintf("%d characters%s", p.Chars, failed))
	}
	if rep.Verified {
		text += fact("name", rep.Name)
	}
	return text + strings.TrimSuffix(fact("meaning", rep.Why), "\n")
}

// anatomy is what a cookie's value consists of.
type anatomy struct {
	keyID   string
	stamp   string // Unix seconds when securecookie sealed it
	payload string // in base64 again
	mac     string
}

// dissect takes a cookie's value apart by the lengths of its parts, without
// verifying anything, so that it works on a cookie that was tampered with.
func dissect(value string) (p anatomy, ok bool) {
	const stampLen, macLen = 10, sha256.Size // until the year 2286
	id, sealed, _ := strings.Cut(value, ".")
	b, err := strictBase64.DecodeString(sealed)
	if err != nil || len(b) < stampLen+1+1+macLen || !isKeyID(id) {
		return anatomy{}, false
	}
	end := len(b) - macLen
	return anatomy{id, string(b[:stampLen]), string(b[stampLen+1 : end-1]), string(b[end:])}, true
}

// peek tells what can be seen of a cookie without a key, and with show what it
// carries if it isn't encrypted.
func peek(c *http.Cookie, show bool) string {
	rep := report{Verdict: "not verified, there is no key", Size: len(c.Name) + len(c.Value), MaxSize: maxCookie}
	p, ok := dissect(c.Value)
	if !ok {
		rep.Verdict = malformed.String()
		return rep.String()
	}
	rep.KeyID = p.keyID
	text := rep.String()
	line := func(name string, value any) { text += fact(name, value) }
	if sealed, err := strconv.ParseInt(p.stamp, 10, 64); err == nil {
		line("sealed", time.Unix(sealed, 0).UTC().Format(time.RFC3339))
	}
	payload, _ := strictBase64.DecodeString(p.payload)
	s, readable := parsePayload(payload)
	if !readable {
		line("mode", "encrypted, or another program's")
		return text
	}
	line("mode", "signed")
	line("began", time.Unix(s.Issued, 0).UTC().Format(time.RFC3339))
	line("last seen", time.Unix(s.Seen, 0).UTC().Format(time.RFC3339))
	if show {
		line("name", strconv.Quote(s.Name))
	}
	return text
}
