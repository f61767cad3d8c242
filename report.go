package main

import (
	"fmt"
	"strings"
	"time"
)

// report is what is known of a cookie. It has neither its value nor what is in it.
type report struct {
	Verdict   string
	KeyID     string // empty when the cookie names none
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
	if v.codec != nil {
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
		line("key id", rep.KeyID)
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
