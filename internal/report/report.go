// Package report tells what is known of a session's cookie: as facts, for pages, and as
// text. Nothing in a report would do as a cookie: of a MAC it has four characters.
package report

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"cookiesession/sessions"
)

// Site is what a report has to know of the site.
type Site struct {
	Cookie   string            // the cookie's name, with its prefix
	Keys     *sessions.Keyring // that verify its cookies
	SignOnly bool              // it doesn't encrypt
	Binds    bool              // it binds sessions to devices, and asks for tickets
	KeysEnd  bool              // its keys end with this process
}

// Report is what is known of a cookie. The texts have the words for it.
type Report struct {
	Cookie  string           // its name
	Verdict sessions.Verdict // empty if nobody has judged it
	Passed  int              // how many of the checks it has passed
	Good    int              // how many valid ones of its name came
	KeyID   string           // empty when the cookie names none
	Role    string           // of the key, where it is in the ring: seals or verifies
	Sealing string           // the id of the key that seals now
	Size    int              // bytes of name and value
	MaxSize int              // that they may have
	Length  int              // bytes of the value
	Parts   []Part
	Sealed  time.Time // by the cookie's own word, where nothing was verified

	Encrypted bool // so far as that is known

	// Times of the session, zero where they are not known.
	Began, Written, Now time.Time
	IdleEnd             time.Time // when it ends if nothing is written until then
	End                 time.Time // when it ends at the latest

	// What is in it. Of has that of a valid cookie alone.
	Readable bool
	Notation string // the payload but for a device's key, in CBOR's diagnostic notation
	Fields   []Field

	Bound     bool      // the session is bound to a device
	Binding   bool      // the site binds sessions, and asks for tickets
	TicketEnd time.Time // until when the ticket that came along is good; zero without one

	KeysEnd bool // the server's keys end with the process
}

// Of returns what is known of the cookie that has brought s. It is to be asked before s
// is saved, since the session's times are then those of what was written. Of a cookie
// that was refused it has no more than the verdict, the key's id and the times: backups
// and logs would be decrypted for whoever has them.
func Of[T any](site Site, s *sessions.Session[T]) Report {
	c := s.Cookie()
	r := Report{
		Cookie: site.Cookie, Verdict: c.Verdict, Passed: c.Passed, Good: c.Good, KeyID: c.KeyID,
		Size: c.Size, MaxSize: sessions.MaxSize, Length: len(c.Value()), Encrypted: c.Encrypted,
		Bound: c.Bound, Binding: site.Binds, TicketEnd: c.TicketEnds,
		KeysEnd: site.KeysEnd, Now: time.Now().UTC().Truncate(time.Second),
	}
	blames := c.Verdict
	if c.Verdict == sessions.Malformed && !r.Verified() {
		blames = sessions.None // no part of it: nobody has looked at them
	}
	r.Parts = Parts[T](c.Value(), blames)
	r.findKey(site)
	if !c.Written.IsZero() {
		r.Began, r.Written, r.IdleEnd = s.Began(), s.Written(), s.Ends()
		r.End = r.Began.Add(s.Limits().Lifetime)
	}
	if c.Verdict == sessions.Valid {
		read[T](&r, c.Payload())
	}
	return r
}

// findKey says what the key of the cookie does, and which one seals.
func (r *Report) findKey(site Site) {
	role := "seals"
	for _, k := range site.Keys.Keys() {
		encrypted, signed := k.IDs()
		if role == "seals" {
			r.Sealing = encrypted
			if site.SignOnly {
				r.Sealing = signed
			}
		}
		if r.KeyID == encrypted || r.KeyID == signed {
			r.Role = role
		}
		role = "verifies"
	}
}

// read adds to r what a payload says, if it can be read.
func read[T any](r *Report, content []byte) {
	if p, ok := parse[T](content); ok {
		r.Readable, r.Notation, r.Fields = true, Shorten(p.notation()), Fields[T](content)
	}
}

// Peek returns what can be seen of the cookie name=value without a key. Nothing of it is
// verified.
func Peek[T any](name, value string) Report {
	r := Report{Cookie: name, Size: len(name) + len(value), MaxSize: sessions.MaxSize}
	stamp, inner, ok := Dissect(value)
	switch {
	case r.Size > r.MaxSize:
		r.Verdict = sessions.TooLarge
		return r
	case !ok:
		r.Verdict = sessions.Malformed
		return r
	}
	r.KeyID = value[:idLen]
	if sealed, ok := stampTime(stamp); ok {
		r.Sealed = sealed
	}
	content := decoded(inner)
	if p, ok := parse[T](content); ok {
		r.Bound = p.device != nil
		r.Began = time.Unix(int64(p.began), 0).UTC()
		r.Written = r.Began.Add(time.Duration(p.since) * time.Second)
		read[T](&r, content)
	}
	return r
}

// Verified reports whether the cookie's MAC has matched.
func (r Report) Verified() bool {
	return r.Passed > slices.IndexFunc(sessions.Checks(), func(c sessions.Check) bool {
		return c.Verdict == sessions.Tampered
	})
}

// OnBinding reports whether there is something to say of device binding: who could still
// use the session.
func (r Report) OnBinding() bool {
	if !r.Binding {
		return r.Bound
	}
	return r.Verdict == sessions.Valid || r.Verdict == sessions.Unproven
}

//go:embed report.txt
var files embed.FS

var texts = template.Must(template.New("").Funcs(template.FuncMap{"iso": iso}).
	ParseFS(files, "report.txt"))

// Text returns what is known as aligned lines. The kind is session, for the visitor,
// inspect, for whoever has the keys, or lesson, for what holds for each such cookie.
func (r Report) Text(kind string) string {
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, kind, r); err != nil {
		panic(err) // the template doesn't fit the type
	}
	return b.String()
}

// Why returns a sentence or two about the verdict.
func (r Report) Why() string { return r.Text("why") }

// Thief returns a sentence about what a copy of the cookie is good for.
func (r Report) Thief() string { return r.Text("thief") }

// Away returns for how long nobody may have used the session before it ended, in words.
func (r Report) Away() string { return Roughly(r.IdleEnd.Sub(r.Written)) }

// Why returns a sentence or two about the verdict on a cookie.
func (s Site) Why(c sessions.Cookie) string {
	return Report{Verdict: c.Verdict, Passed: c.Passed, KeysEnd: s.KeysEnd}.Why()
}

// Roughly returns d rounded, like "14 days" or "119 seconds".
func Roughly(d time.Duration) string {
	const day = 24 * time.Hour
	n, unit := d/time.Second, "second"
	switch {
	case d > 2*day-day/60:
		n, unit = (d+day/2)/day, "day"
	case d > 2*time.Hour-time.Minute:
		n, unit = (d+time.Hour/2)/time.Hour, "hour"
	case d > 2*time.Minute-time.Second:
		n, unit = (d+time.Minute/2)/time.Minute, "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// iso returns t in the form that machines and people of all countries read.
func iso(t time.Time) string { return t.Format(time.RFC3339) }
