package lesson

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// forgery is what the page on a forged cookie shows.
type forgery struct {
	Part     string           // that was changed; key if all of it was sealed anew
	Position int              // of the changed character, from 1
	From, To string           // what it was, and what it is
	Sample   bool             // the visitor has no cookie that could be forged
	Own      sessions.Verdict // on the visitor's own cookie
	Report   report.Report    // on the forged cookie
	Ladder   []rung           // up to the check that failed

	// Of a specimen whose name was changed.
	Was, Before, After string           // its payload before, and the value up to the MAC
	MAC, Fits          string           // the one that came along, and the one that would fit
	Fitting            sessions.Verdict // with the one that fits
}

// parts are those of a cookie, in their order, and what the form calls the key and the
// name in a specimen.
var parts = []string{"id", "stamp", "payload", "mac", "key", "name"}

// forge changes a copy of the visitor's cookie and has it judged. It neither
// sets nor deletes nor stores anything.
func (l *lesson[T]) forge(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	s.Passive = true // no renewal either
	form, err := web.Form(r)
	if err != nil {
		return web.Answer{}, err
	}
	f := forgery{Part: strings.Join(form["part"], " "), Own: s.Verdict()}
	part := slices.Index(parts, f.Part)
	what := ""
	switch {
	case part < 0: // several are joined by a space, which no part has
		return web.Answer{}, web.Problemf(http.StatusUnprocessableEntity,
			"Send the field part once: name, id, stamp, payload, mac or key.")
	case f.Part == "name":
		what = f.rename(l.members)
	default:
		if what, err = l.forgeCopy(&f, part, s); err != nil {
			return web.Answer{}, err
		}
	}
	f.Ladder = slices.DeleteFunc(l.ladder(f.Report.Passed), func(r rung) bool {
		return r.State == "unreached"
	})
	known := fmt.Sprintf("forged        %s\n%s\nyour own      %s",
		what, f.Report.Text("session"), f.Own)
	return web.Answer{Text: known, Page: "forge", Data: f}, nil
}

// forgeCopy forges a copy of the cookie that has brought s, or of a sample, and returns
// what was done to it.
func (l *lesson[T]) forgeCopy(f *forgery, part int, s *sessions.Session[T]) (string, error) {
	original := s
	isApart := report.Parts[T](s.Cookie().Value(), f.Own) != nil
	if !isApart || f.Part == "key" && f.Own != sessions.Valid {
		original, f.Sample = l.sample(), true
	}
	var value, what string
	if f.Part == "key" {
		var err error
		if value, err = l.sealAnew(original); err != nil {
			return "", err
		}
		what = "sealed with a key that was just made up"
	} else {
		value = change[T](f, part, original.Cookie().Value())
		what = fmt.Sprintf("character %d is %s instead of %s", f.Position, f.To, f.From)
	}
	if f.Sample {
		what += ", in a sample"
	}
	f.Report = report.Of(l.about, l.current.Open(&http.Cookie{Value: value}))
	if f.Part != "key" { // point at the changed character
		p := &f.Report.Parts[part]
		at := f.Position - 1 - p.Start
		p.Text, p.Mark, p.After = p.Text[:at], p.Text[at:at+1], p.Text[at+1:]
	}
	return what, nil
}

// change returns value with one character of a part changed.
func change[T any](f *forgery, part int, value string) string {
	p := report.Parts[T](value, sessions.Valid)[part]
	at := p.Start + len(p.Text)/2
	f.Position, f.From, f.To = at+1, value[at:at+1], "a"
	if f.From == f.To {
		f.To = "b"
	}
	return value[:at] + f.To + value[at+1:]
}

// sealAnew returns the original's session sealed with a key that has just been made up,
// under the id of the original's key. It fails if that doesn't fit into a cookie, because
// the session has more fields now than when it was sealed.
func (l *lesson[T]) sealAnew(original *sessions.Session[T]) (value string, err error) {
	madeUp, _ := sessions.NewKeyring(sessions.NewKey()) // a new key is a good one
	own := original.Cookie()
	c, err := l.manager(madeUp, !own.Encrypted).Seal(original.Data)
	if err != nil {
		return "", err
	}
	_, sealed, _ := strings.Cut(c.Value, ".")
	return own.KeyID + "." + sealed, nil
}

// member is the session in a specimen. The site's own may have no name in it.
type member struct{ Name string }

// rename changes the name in a specimen, leaves its MAC, has it judged, and returns what
// was done. The key of the specimen is for nothing else, so all of it may be shown.
func (f *forgery) rename(members *sessions.Manager[member]) (what string) {
	// Should a second begin between the two, their times differ as well, and nobody cares.
	alice := must(members.Seal(member{Name: "Alice"})).Value
	mallory := must(members.Seal(member{Name: "Mallory"})).Value
	// The payloads are equally long in base64, so the MACs are at the same place. Their first
	// bits are in the character before.
	at := report.Parts[member](alice, sessions.Valid)[3].Start
	forged := mallory[:at-1] + alice[at-1:]
	c := members.Open(&http.Cookie{Value: forged}).Cookie()
	f.Report = report.Peek[member](members.CookieName(), forged)
	f.Report.Verdict, f.Report.Passed = c.Verdict, c.Passed
	f.Was = report.Peek[member](members.CookieName(), alice).Notation
	f.Before, f.After, f.MAC, f.Fits = alice[:at], forged[:at], alice[at:], mallory[at:]
	f.Fitting = members.Open(&http.Cookie{Value: mallory}).Verdict()
	return text("renamed", f)
}
