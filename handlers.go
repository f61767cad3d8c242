package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/mux"
)

const (
	maxBody = 64 << 10 // bytes of a request's body
	maxName = 200      // Unicode code points of a name
)

// app is the website.
type app struct {
	sessions *manager
	csrf     *http.CrossOriginProtection
	metrics  *metrics
	log      *slog.Logger
	flood    floodLog
	draining atomic.Bool // the server is about to stop
	pages    map[string]*template.Template
	style    *asset
	icon     *asset
	router   http.Handler
	other    *route // counts what has no route
}

// newApp returns the website, which can answer once it has a ring. The origins
// may post to it from other sites.
func newApp(sessions *manager, origins []string, log *slog.Logger) (*app, error) {
	a := &app{
		sessions: sessions,
		csrf:     http.NewCrossOriginProtection(),
		metrics:  newMetrics(),
		log:      log,
		other:    &route{path: "other"},
		pages:    parsePages(),
		style:    newAsset("style.css", "text/css; charset=utf-8"),
		icon:     newAsset("icon.svg", "image/svg+xml"),
	}
	for _, origin := range origins {
		if err := a.csrf.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	a.router = a.routes()
	return a, nil
}

// useRing puts a ring in the place of the one in use, if any. Requests go on meanwhile.
func (a *app) useRing(r *ring) {
	a.metrics.watchRing(r, a.sessions.ring.Load())
	a.sessions.ring.Store(r)
}

// routes is the table of contents.
func (a *app) routes() http.Handler {
	router := mux.NewRouter()

	a.handle(router, "/get_name", a.visitor(a.getName), nil)
	a.handle(router, "/set_name", a.visitor(a.nameForm), a.visitor(a.setName))
	a.handle(router, "/clear_name", nil, a.visitor(a.clearName))
	a.handle(router, "/session", a.visitor(a.showSession), nil)
	a.handle(router, "/", a.visitor(a.home), nil)

	a.handle(router, "/healthz", a.health, nil)
	a.handle(router, "/style.css", a.style.ServeHTTP, nil)
	a.handle(router, "/icon.svg", a.icon.ServeHTTP, nil)
	a.handle(router, "/favicon.ico", a.icon.ServeHTTP, nil)

	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, &problem{http.StatusNotFound, "There is no page at this address. Begin at / instead."})
	})
	// Not router.ServeHTTP: that copies each request twice, for mux.Vars and
	// mux.CurrentRoute, which nothing here asks for. And it answers POST //set_name
	// with a redirect, which browsers follow with a GET: the form would be lost.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var match mux.RouteMatch
		router.Match(r, &match) // always finds a handler, if only the one above
		match.Handler.ServeHTTP(w, r)
	})
}

// handle serves path, with and without a trailing slash: with get for GET and HEAD
// and with post for POST, either of which may be nil. mux's own Methods would
// refuse HEAD and leave out the Allow header of a 405 (RFC 9110, 15.5.6).
func (a *app) handle(r *mux.Router, path string, get, post http.HandlerFunc) {
	var allow []string
	if get != nil {
		allow = append(allow, http.MethodGet, http.MethodHead)
	}
	if post != nil {
		allow = append(allow, http.MethodPost)
	}
	rt := &route{path: path}
	h := func(w http.ResponseWriter, r *http.Request) {
		w.(*response).route = rt
		switch {
		case get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			get(w, r)
		case post != nil && r.Method == http.MethodPost:
			post(w, r)
		default:
			w.Header().Set("Allow", strings.Join(allow, ", "))
			a.fail(w, r, &problem{http.StatusMethodNotAllowed, "This address answers only to " + strings.Join(allow, ", ") + "."})
		}
	}
	r.HandleFunc(path, h)
	if path != "/" {
		r.HandleFunc(path+"/", h)
	}
}

// action answers a visitor's request. It may change v.session, which is saved
// with the answer; with an error, or an answer of 400 and above, it is not.
type action func(r *http.Request, v *visit) (answer, error)

// visitor makes a handler of an action.
func (a *app) visitor(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := a.sessions.load(r)
		a.metrics.visited(v)
		if v.verdict != none && v.verdict != valid {
			a.flood.refused(a.log, v, w.(*response).route.path)
		}
		ans, err := do(r, v)
		if err == nil {
			err = a.render(w, r, v, ans)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	}
}

// answer is what an action has to say.
type answer struct {
	status   int
	text     string // all that a client gets that doesn't ask for HTML
	page     string // name of the template for the others
	title    string
	field    field // of the form
	htmlOnly bool  // whatever the client asks for
}

// field is the form's text field: what to fill in and what was wrong with it.
type field struct{ Value, Problem string }

// message answers with a single sentence.
func message(text string) answer {
	return answer{status: http.StatusOK, text: text, page: "message", title: "Your name"}
}

func (a *app) home(_ *http.Request, v *visit) (answer, error) {
	text := "A session in a signed cookie: POST name=... to /set_name, then GET /get_name or /session, POST to /clear_name."
	if v.session.Name != "" {
		text += " Name: " + v.session.Name
	}
	return answer{status: http.StatusOK, text: text, page: "home", title: "Your session is in your cookie"}, nil
}

func (a *app) nameForm(_ *http.Request, v *visit) (answer, error) {
	return answer{status: http.StatusOK, page: "set_name", title: "Set your name", field: field{Value: v.session.Name}, htmlOnly: true}, nil
}

func (a *app) setName(r *http.Request, v *visit) (answer, error) {
	form, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	name, wrong := checkName(form["name"])
	if wrong != "" {
		typed := strings.ToValidUTF8(strings.Join(form["name"], " "), "\uFFFD")
		return answer{status: http.StatusUnprocessableEntity, text: wrong, page: "set_name", title: "Set your name", field: field{typed, wrong}}, nil
	}
	v.session.Name = name
	return message("Name " + name + " set in session"), nil
}

func (a *app) getName(_ *http.Request, v *visit) (answer, error) {
	if v.session.Name == "" {
		return message("Name not found in session"), nil
	}
	return message("Name: " + v.session.Name), nil
}

func (a *app) clearName(_ *http.Request, v *visit) (answer, error) {
	v.clear()
	return message("Name cleared from session"), nil
}

func (a *app) showSession(_ *http.Request, v *visit) (answer, error) {
	return answer{status: http.StatusOK, text: a.sessions.report(v).Text(), page: "session", title: "Your session"}, nil
}

// health tells a load balancer whether to send visitors here.
func (a *app) health(w http.ResponseWriter, _ *http.Request) {
	if a.draining.Load() {
		a.write(w, http.StatusServiceUnavailable, false, []byte("shutting down\n"))
		return
	}
	a.write(w, http.StatusOK, false, []byte("ok\n"))
}

// readForm reads the form in r's body, and nothing from its query.
// FormValue would read both, hide what is wrong with them and keep large
// files on disk.
func readForm(r *http.Request) (url.Values, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.Header.Get("Content-Encoding") != "" {
		kind = ""
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, formError(err)
		}
		form, err := url.ParseQuery(string(body))
		return form, formError(err)
	case "multipart/form-data":
		// The body is limited to maxBody, so no part of it goes to the disk.
		form, err := multipart.NewReader(r.Body, params["boundary"]).ReadForm(maxBody)
		if err != nil {
			return nil, formError(err)
		}
		return form.Value, nil
	}
	return nil, &problem{http.StatusUnsupportedMediaType, "Send the name as a form: application/x-www-form-urlencoded or multipart/form-data, not compressed."}
}

// formError tells a body that is too large from one that is broken.
func formError(err error) error {
	if err == nil {
		return nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, multipart.ErrMessageTooLarge):
		return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("The form is too large: at most %d bytes are read.", maxBody)}
	}
	return &problem{http.StatusBadRequest, "The form is broken and was not read: its encoding is wrong, or it ends too early."}
}

// checkName returns the name that a form's values spell, or what the visitor
// should do about them.
func checkName(values []string) (name, wrong string) {
	switch len(values) {
	case 0:
		return "", "The field name is missing: send it once, in the body of the form."
	case 1:
	default:
		return "", fmt.Sprintf("The field name was sent %d times: send it once.", len(values))
	}
	if !utf8.ValidString(values[0]) {
		return "", "The name is not valid UTF-8: send it in that encoding."
	}
	name = strings.TrimSpace(values[0])
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", "The name is empty: type at least one character that is not a space."
	case n > maxName:
		return "", fmt.Sprintf("The name has %d characters: shorten it to %d at most.", n, maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", "The name contains a control character, such as a line break or a tab: remove it."
	case strings.ContainsFunc(name, overridesDirection):
		return "", "The name contains an invisible character that overrides the direction of text: remove it."
	}
	return name, ""
}

// overridesDirection reports whether c could turn round what stands after the
// name on a page or in a terminal (https://trojansource.codes).
func overridesDirection(c rune) bool {
	return '\u202A' <= c && c <= '\u202E' || '\u2066' <= c && c <= '\u2069'
}

// problem is an error that the visitor is told about.
type problem struct {
	status int
	text   string // a sentence that says what to do
}

func (p *problem) Error() string { return p.text }

const ourFault = "Something went wrong here, through no fault of yours. Your session is as it was: try again in a while."

// fail answers a request that came to nothing. The response sets no cookie, so
// the visitor keeps the session that was there before. Only the operator is told what err says.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := &problem{http.StatusInternalServerError, ourFault}
	var over *oversizedError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &over):
		p = &problem{http.StatusUnprocessableEntity, fmt.Sprintf("This does not fit into your cookie: it is %d bytes too much. Your session is as it was.", over.over)}
	default:
		a.log.Error("request failed", "method", r.Method, "err", err)
	}
	w.Header()["Vary"] = varyAccept
	if prefersHTML(r) {
		body, err := a.page("error", page{Title: http.StatusText(p.status), Sentence: p.text})
		if err == nil {
			a.write(w, p.status, true, body)
			return
		}
		a.log.Error("the error page failed", "err", err)
	}
	a.write(w, p.status, false, line(p.text))
}

// line returns text as a client without HTML gets it.
func line(text string) []byte {
	return append(append(make([]byte, 0, len(text)+1), text...), '\n')
}

// page is what a template sees.
type page struct {
	Title    string
	Page     string // last part of its path, for the navigation
	Sentence string
	Field    field
	Report   report
	Name     string
	Style    string // address of the stylesheet
	Icon     string // address of the icon
}

//go:embed templates
var templates embed.FS

// parsePages returns the pages by name, each with the layout around it.
func parsePages() map[string]*template.Template {
	layout := template.Must(template.ParseFS(templates, "templates/layout.html", "templates/shared.html"))
	pages := make(map[string]*template.Template)
	for _, name := range []string{"home", "set_name", "message", "session", "error"} {
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templates, "templates/"+name+".html"))
	}
	return pages
}

// page returns the page called name, whole or not at all.
func (a *app) page(name string, p page) ([]byte, error) {
	p.Style, p.Icon = a.style.url, a.icon.url
	var b bytes.Buffer
	err := a.pages[name].Execute(&b, p)
	return b.Bytes(), err
}

// render writes ans in the form that the client prefers. It saves the session
// before it writes anything, and after everything that can fail.
func (a *app) render(w http.ResponseWriter, r *http.Request, v *visit, ans answer) error {
	html := ans.htmlOnly || prefersHTML(r)
	vary := varyCookieAccept
	if ans.htmlOnly {
		vary = varyCookie
	}
	var body []byte
	if html {
		var err error
		body, err = a.page(ans.page, page{Title: ans.title, Page: cmp.Or(strings.Trim(r.URL.Path, "/"), "home"), Sentence: ans.text, Field: ans.field, Report: a.sessions.report(v), Name: v.session.Name})
		if err != nil {
			return err
		}
	} else {
		body = line(ans.text)
	}
	if ans.status < 400 {
		why, size, err := a.sessions.save(w.Header(), v)
		if err != nil {
			return err
		}
		a.metrics.saved(why, size)
	}
	w.Header()["Vary"] = vary
	a.write(w, ans.status, html, body)
	return nil
}

// prefersHTML reports whether the Accept header of r names text/html.
func prefersHTML(r *http.Request) bool {
	for _, line := range r.Header["Accept"] {
		for kind := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(kind)
			if err == nil && kind == "text/html" {
				q, err := strconv.ParseFloat(params["q"], 64)
				return err != nil || q > 0
			}
		}
	}
	return false
}

// policy forbids a page everything but its own stylesheet, icon and forms.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Ready-made header values. They are shared between requests: never append to
// one or change it.
var (
	varyAccept       = []string{"Accept"}
	varyCookie       = []string{"Cookie"}
	varyCookieAccept = []string{"Cookie, Accept"}

	plainText      = []string{"text/plain; charset=utf-8"}
	htmlText       = []string{"text/html; charset=utf-8"}
	contentPolicy  = []string{policy}
	referrerPolicy = []string{"same-origin"}
)

// write sends a whole response, a page or plain text.
func (a *app) write(w http.ResponseWriter, status int, html bool, body []byte) {
	h := w.Header()
	h["Content-Type"] = plainText
	if html {
		h["Content-Type"] = htmlText
		h["Content-Security-Policy"] = contentPolicy
		// Not no-referrer: with that, browsers send Origin: null with the page's own
		// form, which would be taken for another site's.
		h["Referrer-Policy"] = referrerPolicy
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	w.Write(body) // fails only when the client has gone
}

// asset is an embedded file that is the same for every visitor.
type asset struct {
	name, kind string
	hash       string // of the content
	url        string // address that changes with the content, to be cached for ever
	content    []byte
}

// newAsset returns the embedded file called name, of the media type kind.
func newAsset(name, kind string) *asset {
	content, err := templates.ReadFile("templates/" + name)
	if err != nil {
		panic(err) // the program was built without it
	}
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:8])
	return &asset{name, kind, hash, "/" + name + "?v=" + hash, content}
}

func (f *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", policy) // an SVG is a document of its own
	h.Set("ETag", `"`+f.hash+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == f.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
