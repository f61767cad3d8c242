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
	Apart    bool             // that can be taken apart
	Report   report.Report    // on the forged cookie
	Ladder   []rung
}

// parts are those of a cookie, in their order, and what the form calls the key.
var parts = []string{"id", "stamp", "payload", "mac", "key"}

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
	if part < 0 { // several are joined by a space, which no part has
		return web.Answer{}, web.Problemf(http.StatusUnprocessableEntity,
			"Send the field part once: id, stamp, payload, mac or key.")
	}
	original := s
	f.Apart = report.Parts[T](s.Cookie().Value(), f.Own) != nil
	if !f.Apart || f.Part == "key" && f.Own != sessions.Valid {
		original, f.Sample = l.sample(), true
	}
	var value, what string
	if f.Part == "key" {
		if value, err = l.sealAnew(original); err != nil {
			return web.Answer{}, err
		}
		what = "sealed with a key that was just made up"
	} else {
		value = l.change(&f, part, original.Cookie().Value())
		what = fmt.Sprintf("character %d is %s instead of %s", f.Position, f.To, f.From)
	}
	if f.Sample {
		what += ", in a sample"
	}
	f.Report = report.Of(l.about, l.current.Open(&http.Cookie{Value: value}))
	f.Ladder = l.ladder(f.Report.Passed)
	if f.Part != "key" { // point at the changed character
		p := &f.Report.Parts[part]
		at := f.Position - 1 - p.Start
		p.Text, p.Mark, p.After = p.Text[:at], p.Text[at:at+1], p.Text[at+1:]
	}
	text := fmt.Sprintf("forged        %s\n%s\nyour own      %s",
		what, f.Report.Text("session"), f.Own)
	return web.Answer{Text: text, Page: "forge", Data: f}, nil
}

// change returns value with one character of a part changed.
func (l *lesson[T]) change(f *forgery, part int, value string) string {
	p := report.Parts[T](value, sessions.Valid)[part]
	at := p.Start + len(p.Text)/2
	for _, letter := range "abcdefghijklmnopqrstuvwxyz" {
		changed := value[:at] + string(letter) + value[at+1:]
		verdict := l.current.Open(&http.Cookie{Value: changed}).Verdict()
		// By chance, another id could be that of another key.
		if changed != value && (f.Part != "id" || verdict == sessions.UnknownKey) {
			f.Position, f.From, f.To = at+1, value[at:at+1], string(letter)
			return changed
		}
	}
	panic("there are more keys than letters")
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
