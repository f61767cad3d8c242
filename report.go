package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// report is what is known of a cookie. It has neither its value nor what is in it.
type report struct {
	Verdict   string
	KeyID     string // empty when the cookie names none
	Role      string // of the key: seals or verifies
	Size      int    // bytes of name and value
	MaxSize   int
	Encrypted bool // what follows is known only of a verified cookie
	Verified  bool
	Began     time.Time
	Seen      time.Time
	IdleEnd   time.Time // when the session ends if nothing is written until then
	End       time.Time // when it ends at the latest
}

// report tells what is known of the cookie that came with a visit.
func (m *manager) report(v *visit) report {
	rep := report{Verdict: v.verdict.String(), KeyID: v.keyID, Size: v.size, MaxSize: maxCookie}
	if v.verdict.verified() {
		s := v.sealed
		rep.Verified = true
		rep.Encrypted = v.codec.encrypted
		rep.Began = time.Unix(s.Issued, 0).UTC()
		rep.Seen = time.Unix(s.Seen, 0).UTC()
		rep.End = time.Unix(s.Issued+m.lifetime, 0).UTC()
		rep.IdleEnd = time.Unix(min(s.Seen+m.idle, s.Issued+m.lifetime), 0).UTC()
	}
	return rep
}

// String returns the report as aligned lines.
func (rep report) String() string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "%-14s%v\n", name, value) }
	line("verdict", rep.Verdict)
	if rep.Size > 0 {
		line("size", fmt.Sprintf("%d of %d bytes", rep.Size, rep.MaxSize))
	}
	if rep.KeyID != "" {
		line("key id", strings.TrimSpace(rep.KeyID+" "+rep.Role))
	}
	if rep.Verified {
		line("mode", rep.Mode())
		line("began", rep.Began.Format(time.RFC3339))
		line("last seen", rep.Seen.Format(time.RFC3339))
		line("ends, idle", rep.IdleEnd.Format(time.RFC3339))
		line("ends, latest", rep.End.Format(time.RFC3339))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Mode tells who can read what is in the cookie.
func (rep report) Mode() string {
	if rep.Encrypted {
		return "signed and encrypted"
	}
	return "signed"
}

// parts are what a cookie's value consists of.
type parts struct {
	keyID   string
	stamp   string // Unix seconds when securecookie sealed it
	payload []byte // as appendPayload made it, or encrypted behind a random start
	mac     string
}

// dissect takes a cookie's value apart, without verifying anything.
func dissect(value string) (p parts, ok bool) {
	id, sealed, _ := strings.Cut(value, ".")
	outer, err := strictBase64.DecodeString(sealed)
	fields := strings.SplitN(string(outer), "|", 3)
	if err != nil || len(fields) != 3 || !isKeyID(id) {
		return parts{}, false
	}
	payload, err := strictBase64.DecodeString(fields[1])
	return parts{id, fields[0], payload, fields[2]}, err == nil
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
	line := func(name string, value any) { text += fmt.Sprintf("\n%-14s%v", name, value) }
	if sealed, err := strconv.ParseInt(p.stamp, 10, 64); err == nil {
		line("sealed", time.Unix(sealed, 0).UTC().Format(time.RFC3339))
	}
	s, readable := parsePayload(p.payload)
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
