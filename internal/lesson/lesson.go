// Package lesson shows a visitor how the session's cookie works: one page takes it
// apart, another one forges a copy of it.
package lesson

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"

	"github.com/gorilla/mux"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// lesson is what the pages have in common.
type lesson[T any] struct {
	options sessions.Options[T] // the site's own
	example T
	about   report.Site
	// The site's own manager seals in one mode only. These two seal in both, and judge
	// what was forged. They know no limits, since what is forged never gets that far.
	signed, encrypted *sessions.Manager[T]
	current           *sessions.Manager[T] // the one that seals in the site's mode
}

// Routes adds the pages of the lesson to the router. Who has no cookie is shown a sample
// with the example in it.
func Routes[T any](router *mux.Router, site *web.Site[T], example T) {
	l := &lesson[T]{options: site.Options, example: example}
	l.signed, l.encrypted = l.manager(site.Keys, true), l.manager(site.Keys, false)
	l.current = l.encrypted
	if site.Options.SignOnly {
		l.current = l.signed
	}
	l.about = report.Site{
		Cookie: site.Sessions.CookieName(), Keys: site.Keys,
		SignOnly: site.Options.SignOnly, Binds: site.Options.Bind > 0,
	}
	get := []string{http.MethodGet, http.MethodHead}
	router.HandleFunc("/session", site.Action(l.show)).Methods(get...).Name("session")
	forge := router.HandleFunc("/forge", site.Action(l.forge)).Methods(http.MethodPost).Name("forge")
	site.Except(forge, web.Exception{Form: "/session#forge"})
}

// manager returns a manager of the site's cookies, with keys and in a mode of its own.
func (l *lesson[T]) manager(keys *sessions.Keyring, signOnly bool) *sessions.Manager[T] {
	o := l.options
	m, err := sessions.New(keys, sessions.Options[T]{
		Name: o.Name, Insecure: o.Insecure, Domain: o.Domain, Path: o.Path, SignOnly: signOnly,
	})
	if err != nil {
		panic(err) // but the site has a manager with the same
	}
	return m
}

// sample returns what a cookie with the example brings.
func (l *lesson[T]) sample() *sessions.Session[T] {
	c, err := l.current.Seal(l.example)
	if err != nil {
		panic(err) // the site's example is no good
	}
	return l.current.Open(c)
}

// view is what the page on a session shows.
type view struct {
	timeline       // of the visitor's cookie, or of the sample
	Sample    bool // the visitor has no cookie
	Apart     bool // the visitor's own cookie can be taken apart
	Ladder    []rung
	Specimens []specimen
	Base      string // address of the site
}

// show answers with what is known of the visitor's cookie.
func (l *lesson[T]) show(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	own := report.Of(l.about, s)
	shown, data := own, s.Data
	sample := own.Verdict == sessions.None
	if sample {
		shown, data = report.Of(l.about, l.sample()), l.example
	}
	v := view{
		timeline: timeline{shown}, Sample: sample, Apart: own.Parts != nil,
		Ladder: l.ladder(shown.Passed), Specimens: l.specimens(data), Base: l.base(r),
	}
	return web.Answer{Text: own.Text("session"), Page: "session", Data: v}, nil
}

// plainHost matches a host, perhaps with a port, that is nothing else to a shell.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]+$`)

// base returns the address of the site, as the visitor's browser has it. It stands in
// commands to copy.
func (l *lesson[T]) base(r *http.Request) string {
	host := r.Host
	if !plainHost.MatchString(host) {
		host = "localhost"
	}
	if l.options.Insecure {
		return "http://" + host
	}
	return "https://" + host
}

// rung is a check, and how it went with a cookie.
type rung struct {
	sessions.Check
	State string // passed, failed or unreached
}

// ladder returns the checks that this site makes. A cookie has passed so many of all.
func (l *lesson[T]) ladder(passed int) (rungs []rung) {
	for i, c := range sessions.Checks() {
		r := rung{Check: c, State: "passed"}
		switch {
		case c.Verdict == sessions.Unproven && l.options.Bind == 0,
			c.Verdict == sessions.Revoked && l.options.Accept == nil:
			continue
		case i == passed:
			r.State = "failed"
		case i > passed:
			r.State = "unreached"
		}
		rungs = append(rungs, r)
	}
	return rungs
}

// specimen is a session as it looks in one of the two modes.
type specimen struct {
	Encrypted bool
	Parts     []report.Part
	Steps     []string // what decoding makes of the payload: text, bytes, and what they say
}

// specimens seals data in both modes, to be compared, so far as it fits into a cookie, and
// has nothing that is hidden.
func (l *lesson[T]) specimens(data T) (both []specimen) {
	if report.Hides[T]() {
		return nil
	}
	for _, m := range []*sessions.Manager[T]{l.signed, l.encrypted} {
		c, err := m.Seal(data)
		if err != nil { // it is longer when it is encrypted
			continue
		}
		_, inner, _ := report.Dissect(c.Value)
		content, _ := base64.URLEncoding.DecodeString(inner) // which m has encoded
		s := specimen{Encrypted: m == l.encrypted, Parts: report.Parts[T](c.Value, sessions.Valid)}
		s.Steps = []string{report.Shorten(inner), report.Shorten(fmt.Sprintf("% x", content))}
		if !s.Encrypted {
			s.Steps = append(s.Steps, report.Shorten(report.Notation(content)))
		}
		both = append(both, s)
	}
	return both
}
