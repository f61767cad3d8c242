// Package web is what a site with sessions needs around its own pages: answers, pages,
// error pages, forms, assets, headers, the check of origins, and the observing of
// requests. It also closes the traps of mux: the session is known to pages for 404
// and 405, a 405 says what is allowed, and no form is lost in a redirect.
package web

import (
	"cmp"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"cookiesession/sessions"

	"github.com/gorilla/mux"
)

// Config is what a site decides about its pages and its requests.
type Config struct {
	// Origins are the addresses under which visitors reach the site. If there are none,
	// it answers to every host, as on a developer's machine.
	Origins Origins

	// Files has a folder templates, with templates as New describes them and the assets.
	Files fs.FS

	// Funcs are for the templates. One called asset is there in any case: it returns the
	// address of the asset at a path, to be cached for ever.
	Funcs template.FuncMap

	// Assets are files that are the same for every visitor.
	Assets []Asset

	// Log gets a line for each refused request and cookie, and for each failure. It should
	// keep a flood of them small. Nil means slog's default log.
	Log *slog.Logger

	// Record is told of each request and session, for metrics. It must be there.
	Record Recorder

	// KeysEnd says that the keys end with this process, so that every restart ends all
	// sessions.
	KeysEnd bool

	// Draining, if not nil, reports whether the server is about to stop. Then /healthz
	// says so, for balancers.
	Draining func() bool
}

// Recorder counts what happens. It must be safe for concurrent use.
type Recorder interface {
	// Observe is told what [sessions.Options] tells its own Observe, and of which session:
	// the name of its cookie, without the prefix.
	Observe(session string, e sessions.Event)

	// Served is told of each request that was answered. The route is its path as the
	// router has it, or other; the method is GET, HEAD, POST or other.
	Served(route, method string, status int, took time.Duration)
}

// Site is a website with sessions of type T.
type Site[T any] struct {
	Sessions *sessions.Manager[T]

	// Keys and Options are those that New was given, for more managers of the same cookies.
	Keys    *sessions.Keyring
	Options sessions.Options[T]

	// KeysEnd is as in Config.
	KeysEnd bool

	// Flash, if not nil, returns where a session keeps messages that are shown once. The
	// next page takes them, as Page.Flash: also an error page below 500, but no answer
	// to a visit that is Quiet, no redirect and no text.
	Flash func(*T) *sessions.Flash

	// Shared, if not nil, returns what the layout shows on each page, such as a menu. It
	// is called before the session is saved. Its result is nil on the pages for requests
	// that were refused before their session was looked at, and where Shared itself has
	// panicked.
	Shared func(*http.Request, *sessions.Session[T]) any

	config     Config
	assets     map[string]*Asset // by their paths
	exceptions map[*mux.Route]Exception
	pages      map[string]*template.Template
	router     *mux.Router
}

// New returns a site whose sessions are sealed with keys. Each file of templates/ and of
// the folders in it whose name ends in .html is a page, which defines "title" and
// "content", and is called by its name without .html. One must be called error: its Data
// is the address where the visitor can go on, or nil. The exceptions are layout.html,
// which shows a page's title and content, and parts.html, which defines what all pages
// share. A stylesheet in such a folder is an asset, at its path within templates/, so that
// a folder of pages brings its own.
func New[T any](keys *sessions.Keyring, o sessions.Options[T], c Config) (*Site[T], error) {
	c.Log = cmp.Or(c.Log, slog.Default())
	s := &Site[T]{
		Keys: keys, Options: o, KeysEnd: c.KeysEnd, config: c,
		exceptions: map[*mux.Route]Exception{},
	}
	if err := s.readAssets(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	o.Assets = append(slices.Clone(o.Assets), healthPath)
	for _, a := range s.config.Assets {
		o.Assets = append(o.Assets, a.Path)
	}
	ours, theirs := s.Observe(cmp.Or(o.Name, "session")), o.Observe
	o.Observe = func(r *http.Request, e sessions.Event) {
		ours(r, e)
		if theirs != nil {
			theirs(r, e)
		}
	}
	if o.Failed == nil {
		o.Failed = s.notSaved
	}
	var err error
	if s.Sessions, err = sessions.New(keys, o); err != nil {
		return nil, err
	}
	funcs := template.FuncMap{"asset": s.assetURL}
	maps.Copy(funcs, c.Funcs)
	if s.pages, err = readPages(c.Files, funcs); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return s, nil
}

// Answer is what an action has to say.
type Answer struct {
	Status int    // 200 if it is 0
	Text   string // for a client that doesn't prefer HTML; if empty, it gets the page, too
	Page   string // the page's name; if empty, everybody gets the text
	Data   any    // for the page

	// Location is where the visitor is to go on, with a status such as 303.
	Location string

	// Header is added to that of the response, in the place of what stands there, but for
	// Set-Cookie and Vary, which are lists.
	Header http.Header

	// Again is the page of the form, with what was typed in it. It is shown, with 503 and
	// a sentence, if the session can't be changed for now. Without it there is an error page.
	Again *Answer
}

// Message returns an answer with a single sentence, which its page shows as well.
func Message(page, text string) Answer { return Answer{Page: page, Text: text} }

// Redirect returns an answer that has the visitor go on at another address with a GET,
// such as after a form was sent.
func Redirect(to string) Answer {
	return Answer{Status: http.StatusSeeOther, Location: to, Text: "Go on at " + to}
}

// Action returns a handler of an action, which answers a visitor's request. It may change
// the session, which is saved before the answer is sent. With an error, or an answer of
// 400 and above, the session stays as it was.
func (s *Site[T]) Action(
	do func(*http.Request, *sessions.Session[T]) (Answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.Sessions.Get(r.Context())
		ans, err := do(r, v)
		if err == nil {
			err = s.answer(w, r, v, ans)
		}
		if err != nil {
			s.fail(w, r, v, err, ans.Again)
		}
	}
}

// answer saves the session, and sends ans.
func (s *Site[T]) answer(
	w http.ResponseWriter, r *http.Request, v *sessions.Session[T], ans Answer) error {
	p := s.page(r, v, ans)
	var err error
	if p.Saved, err = s.Sessions.Save(w, v); err != nil {
		return err
	}
	return s.send(w, r, p)
}
