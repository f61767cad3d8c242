// Package lesson shows a visitor how the session's cookie works: one page takes it
// apart, another one forges a copy of it, and others put an old one back and judge what is
// pasted.
package lesson

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/gorilla/mux"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// lesson is what the pages have in common.
type lesson[T any] struct {
	options sessions.Options[T] // the site's own
	own     *sessions.Manager[T]
	example T
	about   report.Site
	// The site's own manager seals in one mode only. These two seal in both, and judge
	// what was forged. They know no limits, since what is forged never gets that far.
	signed, encrypted *sessions.Manager[T]
	current           *sessions.Manager[T] // the one that seals in the site's mode

	members *sessions.Manager[member] // seals specimens, with a key of its own
	purses  *sessions.Manager[purse]  // seals samples that go to and fro in a form
	pastes  chan struct{}             // one for each form of the last second
}

// Routes adds the pages of the lesson to the router. Who has no cookie is shown a sample
// with the example in it.
func Routes[T any](router *mux.Router, site *web.Site[T], example T) {
	l := &lesson[T]{options: site.Options, own: site.Sessions, example: example}
	l.members = must(sessions.New(must(sessions.NewKeyring(sessions.NewKey())),
		sessions.Options[member]{Name: "specimen", Insecure: true, SignOnly: true}))
	l.purses = must(sessions.New(site.Keys, sessions.Options[purse]{
		Name: purseName, Insecure: true,
	}))
	l.pastes = make(chan struct{}, maxPerSecond)
	l.signed, l.encrypted = l.manager(site.Keys, true), l.manager(site.Keys, false)
	l.current = l.encrypted
	if site.Options.SignOnly {
		l.current = l.signed
	}
	l.about = report.Site{
		Cookie: site.Sessions.CookieName(), Keys: site.Keys,
		SignOnly: site.Options.SignOnly, Binds: site.Options.Bind > 0,
		KeysEnd: site.KeysEnd,
	}
	get := []string{http.MethodGet, http.MethodHead}
	router.HandleFunc("/session", site.Action(l.show)).Methods(get...).Name("session")
	forge := router.HandleFunc("/forge", site.Action(l.forge)).Methods(http.MethodPost).Name("forge")
	site.Except(forge, web.Exception{Form: "/session#try"})
	both := append(get, http.MethodPost)
	router.HandleFunc("/replay", site.Action(l.replay)).Methods(both...).Name("replay")
	router.HandleFunc("/paste", site.Action(l.paste)).Methods(both...).Name("paste")
}

// manager returns a manager of the site's cookies, with keys and in a mode of its own.
func (l *lesson[T]) manager(keys *sessions.Keyring, signOnly bool) *sessions.Manager[T] {
	o := l.options
	return must(sessions.New(keys, sessions.Options[T]{
		Name: o.Name, Insecure: o.Insecure, Domain: o.Domain, Path: o.Path, SignOnly: signOnly,
	}))
}

// sample returns what a cookie with the example brings.
func (l *lesson[T]) sample() *sessions.Session[T] {
	return l.current.Open(must(l.current.Seal(l.example)))
}

// must returns v, which only options or an example that are no good keep from being made.
func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

//go:embed lesson.txt
var textFile string

var texts = template.Must(template.New("").Parse(textFile))

// text returns data as one of the texts of lesson.txt.
func text(name string, data any) string {
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // the template doesn't fit the type
	}
	return b.String()
}

// posted returns the form that r brings, which is empty if it asks for a page alone.
func posted(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	return web.Form(r)
}

// view is what the page on a session shows.
type view struct {
	timeline           // of the visitor's cookie, or of the sample
	Sample    bool     // the visitor has no cookie
	Apart     bool     // the visitor's own cookie can be taken apart
	Secret    bool     // such cookies are encrypted
	Request   string   // the method and the address, as the visitor's browser sent them
	Would     []string // a Set-Cookie line like that of a change, if it fits
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
		shown = report.Of(l.about, l.sample())
	}
	if own.Verdict != sessions.Valid {
		data = l.example
	}
	v := view{
		timeline: timeline{shown}, Sample: sample, Apart: own.Parts != nil,
		Secret:  shown.Encrypted || !shown.Verified() && !l.options.SignOnly,
		Request: report.Shorten(r.Method + " " + r.RequestURI), Would: l.would(data, own),
		Ladder: l.ladder(shown.Passed), Specimens: l.specimens(data), Base: l.base(r),
	}
	shown.Encrypted = v.Secret
	commands := tries
	if sample {
		commands = sampleTry + tries
	}
	text := own.Text("session") + "\n" + shown.Text("lesson") + fmt.Sprintf(commands, v.Base)
	return web.Answer{Text: text, Page: "session", Data: v}, nil
}

// tries are commands to see for oneself, at the address of the site.
const tries = `
try forging   curl -b jar -d part=name %[1]s/forge
              (or part=id, stamp, payload, mac, key)
try a replay  curl %[1]s/replay
              or curl -c try -d name=Alice %[1]s/set_name; cp try old
              curl -b try -c try -X POST %[1]s/clear_name; curl -b old %[1]s/get_name
judge a jar   curl --data-urlencode cookie@jar %[1]s/paste`

// sampleTry is how to see a cookie for whoever has none.
const sampleTry = `
see a sample  curl -c try -d name=Alice %[1]s/set_name; curl -b try %[1]s/session`

// would returns a Set-Cookie line like that which would come with data in the visitor's
// session, or nothing if that doesn't fit into a cookie.
func (l *lesson[T]) would(data T, own report.Report) []string {
	c, err := l.own.Seal(data)
	if err != nil { // it is as long as it can be, and bound no longer, or encrypted now
		return nil
	}
	if own.Verdict == sessions.Valid && c.MaxAge > 0 {
		c.MaxAge = max(1, int(own.End.Sub(own.Now)/time.Second))
	}
	return []string{c.String()}
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
	Group string // a heading before it; empty if it is in the group of the one before
}

// groups are the headings of the checks, by the verdict on the first of each.
var groups = map[sessions.Verdict]string{
	sessions.None: "Is it ours?", sessions.UnknownKey: "Is the seal good?",
	sessions.FromFuture: "Is it in time?", sessions.Unproven: "May it be used here?",
}

// ladder returns the checks that this site makes. A cookie has passed so many of all.
func (l *lesson[T]) ladder(passed int) (rungs []rung) {
	for i, c := range sessions.Checks() {
		r := rung{Check: c, State: "passed", Group: groups[c.Verdict]}
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
