package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The lesson on forging. To take it out of your own site, delete this file,
// forge_test.go, templates/forge.html, templates/lesson and the route /forge.

// forgery is what the page on a forged cookie shows.
type forgery struct {
	Part     string // that was changed; key if all of it was sealed anew
	Position int    // of the changed character, from 1
	From, To string // what it was, and what it is
	Sample   bool   // the visitor has no cookie that could be forged
	Report   report // on the forged cookie
}

// forge changes a copy of the visitor's cookie and has it judged. It neither
// sets nor deletes nor stores anything.
func (a *app) forge(r *http.Request, v *visit[session]) (answer, error) {
	v.passive = true // no renewal either
	form, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	f := forgery{Part: strings.Join(form["part"], " ")}
	known := []string{"id", "stamp", "payload", "mac", "key"}
	if !slices.Contains(known, f.Part) { // several are joined by a space, which no part has
		return answer{}, problemf(http.StatusUnprocessableEntity,
			"Send the field part once: id, stamp, payload, mac or key.")
	}
	original := v
	if parts(v.value, v.verdict) == nil || f.Part == "key" && !v.readable() {
		original, f.Sample = sample(a.sessions), true
	}
	var value, what string
	if f.Part == "key" {
		value = f.sealAnew(a.sessions, original)
		what = "sealed with a key that was just made up"
	} else {
		value = f.change(a.sessions, original)
		what = fmt.Sprintf("character %d is %s instead of %s", f.Position, f.To, f.From)
	}
	forged := a.sessions.open(&http.Cookie{Name: a.sessions.cookie, Value: value}, v.now)
	f.Report = describe(a.sessions, forged)
	for i, p := range f.Report.Parts {
		if at := f.Position - 1 - p.Start; f.Part == p.Class {
			f.Report.Parts[i].Text, f.Report.Parts[i].Mark = p.Text[:at], p.Text[at:at+1]
			f.Report.Parts[i].After = p.Text[at+1:]
		}
	}
	if f.Sample {
		what += ", in a sample"
	}
	text := fmt.Sprintf("forged        %s\n%s\nyour own      %s",
		what, reportText("session", f.Report), v.verdict)
	return answer{Text: text, Page: "forge", Data: f}, nil
}

// change returns the original's value with one character of the part changed.
func (f *forgery) change(m *sessions[session], original *visit[session]) string {
	value, at := original.value, 0
	for _, p := range parts(value, valid) {
		if p.Class == f.Part {
			at = p.Start + len(p.Text)/2
		}
	}
	for _, letter := range "abcdefghijklmnopqrstuvwxyz" {
		changed := value[:at] + string(letter) + value[at+1:]
		// By chance, another id could be that of another key.
		if changed != value && (f.Part != "id" || m.ring.Load().codecs[changed[:idLen]] == nil) {
			f.Position, f.From, f.To = at+1, value[at:at+1], string(letter)
			return changed
		}
	}
	panic("there are more keys than letters")
}

// sealAnew returns the session sealed with a key that has just been made up,
// under the id of the original's key.
func (f *forgery) sealAnew(m *sessions[session], original *visit[session]) string {
	keys := []key{must(parseKey(newSecret()))}
	madeUp := newRing(keys, original.codec.encrypted).seal
	value := must(madeUp.seal(m.cookie, slices.Clone(original.content)))
	return original.keyID + strings.TrimPrefix(value, madeUp.id)
}
