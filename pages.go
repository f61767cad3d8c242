package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
)

// app is the website.
type app struct {
	http.Handler
	sessions *sessions[session]
	metrics  *metrics
	log      *slog.Logger
	flood    floodLog
	draining atomic.Bool // the server is about to stop
	pages    map[string]*template.Template
	style    asset
	icon     asset
	router   *mux.Router
}

// newApp returns the website, which can answer once it has a ring. The origins
// may post to it from other sites.
func newApp(sessions *sessions[session], origins []string, log *slog.Logger) (*app, error) {
	a := &app{
		sessions: sessions,
		metrics:  newMetrics(sessions.ring.Load),
		log:      log,
		pages:    parsePages(),
		style:    newAsset("style.css", "text/css; charset=utf-8"),
		icon:     newAsset("icon.svg", "image/svg+xml"),
		router:   mux.NewRouter(),
	}
	sessions.assets = []string{"/style.css", "/icon.svg", "/favicon.ico", "/healthz"}
	csrf := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := csrf.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	// mux would answer POST //set_name with a redirect, which browsers follow
	// with a GET: the form would be lost.
	a.router.SkipClean(true)
	a.router.Use(a.observed)
	a.router.NotFoundHandler = a.refusal("other", problemf(http.StatusNotFound,
		"There is no page at this address. Begin at / instead."))
	a.router.MethodNotAllowedHandler = http.HandlerFunc(a.notAllowed)
	a.routes(a.router)
	a.Handler = a.around(a.router, csrf)
	return a, nil
}

// useRing puts a ring in the place of the one in use, if any. Requests go on meanwhile.
func (a *app) useRing(r *ring) {
	old := cmp.Or(a.sessions.ring.Swap(r), new(ring))
	a.metrics.ringChanged(old, r)
}

// action answers a visitor's request. It may change v.session, which is saved
// with the answer; with an error, or an answer of 400 and above, it is not.
type action func(r *http.Request, v *visit[session]) (answer, error)

// visitor makes a handler of an action.
func (a *app) visitor(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := a.sessions.load(r)
		if v.detour(w, r) {
			a.tellBinding(detoured)
			return
		}
		a.tellBinding(skipped(r))
		a.metrics.visited(v)
		if v.verdict != none && v.verdict != valid {
			a.flood.refused(a.log, v, routeOf(r))
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
	Status int    // 200 if it is 0
	Text   string // for a client that doesn't ask for HTML; if empty, it gets the page, too
	Page   string // the page's template, without .html
	Data   any    // for the template
}

// message answers with a single sentence.
func message(text string) answer { return answer{Text: text, Page: "message"} }

// page is what a template sees.
type page struct {
	answer
	Route       string // its name
	Session     session
	Style, Icon string        // addresses of the stylesheet and of the icon
	report      func() report // on the cookie
}

// Report is made only for a template that asks for it.
func (p page) Report() report { return p.report() }

// render saves the session, and sends ans.
func (a *app) render(w http.ResponseWriter, r *http.Request, v *visit[session], ans answer) error {
	why, size := unchanged, 0
	if ans.Status < 400 {
		var err error
		if why, size, err = a.sessions.save(w, v); err != nil {
			return err
		}
	}
	w.Header().Set("Vary", "Cookie, Accept")
	if ans.Text == "" {
		w.Header().Set("Vary", "Cookie")
	}
	err := a.send(w, r, page{
		answer: ans, Route: mux.CurrentRoute(r).GetName(), Session: v.session,
		report: func() report { return describe(a.sessions, v) },
	})
	if err == nil {
		a.metrics.saved(why, size)
	}
	if err == nil && v.offered {
		a.tellBinding(offered)
	}
	return err
}

// policy forbids a page everything but its own stylesheet, icon and forms.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// send sends p in the form that the client prefers, whole or not at all.
func (a *app) send(w http.ResponseWriter, r *http.Request, p page) error {
	body, h := bytes.NewBufferString(p.Text+"\n"), w.Header()
	kind := "text/plain; charset=utf-8"
	if p.Text == "" || p.Page != "" && prefersHTML(r) {
		t := a.pages[p.Page]
		if t == nil {
			return fmt.Errorf("there is no template %q", p.Page+".html")
		}
		body.Reset()
		p.Style, p.Icon = a.style.url, a.icon.url
		if err := t.ExecuteTemplate(body, "layout.html", p); err != nil {
			return err
		}
		kind = "text/html; charset=utf-8"
		h.Set("Content-Security-Policy", policy)
		// Not no-referrer: with that, browsers send Origin: null with the page's own
		// form, which would be taken for another site's.
		h.Set("Referrer-Policy", "same-origin")
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(cmp.Or(p.Status, http.StatusOK))
	body.WriteTo(w) // fails only when the client has gone
	return nil
}

// problem is an error that the visitor is told about.
type problem struct {
	status int
	text   string // a sentence that says what to do
}

func (p *problem) Error() string { return p.text }

// problemf returns a problem whose text is formatted.
func problemf(status int, format string, args ...any) *problem {
	return &problem{status: status, text: fmt.Sprintf(format, args...)}
}

// fail answers a request that came to nothing. The response sets no cookie, so
// the visitor keeps the session that was there before. Only the operator is
// told what err says.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	var over *oversizedError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &over):
		p = problemf(http.StatusUnprocessableEntity, "This does not fit into your cookie: "+
			"it is %d bytes too much. Your session is as it was.", over.over)
	default:
		a.log.Error("request failed", "method", r.Method, "err", err)
		p = problemf(http.StatusInternalServerError, "Something went wrong here, through no fault of yours. "+
			"Your session is as it was: try again in a while.")
	}
	h := w.Header()
	h.Del("Set-Cookie")
	h.Set("Vary", "Accept")
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		// Or the server would wait for a body that nobody has read before it
		// answers, to use the connection again.
		h.Set("Connection", "close")
	}
	sorry := page{answer: answer{Page: "error", Status: p.status, Text: p.text}}
	if err := a.send(w, r, sorry); err != nil {
		a.log.Error("the error page failed", "err", err)
		sorry.Page = ""
		a.send(w, r, sorry)
	}
}

// prefersHTML reports whether the Accept header of r names text/html.
func prefersHTML(r *http.Request) bool {
	for kind := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		kind, params, err := mime.ParseMediaType(kind)
		if err == nil && kind == "text/html" {
			q, err := strconv.ParseFloat(params["q"], 64)
			return err != nil || q > 0
		}
	}
	return false
}

// readForm reads the form in r's body, and nothing from its query.
func readForm(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.Header.Get("Content-Encoding") != "" {
		kind = ""
	}
	form := *r
	form.URL = new(url.URL) // or the query would be read as well
	switch kind {
	case "application/x-www-form-urlencoded":
		err = form.ParseForm()
	case "multipart/form-data":
		err = form.ParseMultipartForm(maxBody) // with room for all of it: none goes to the disk
	default:
		return nil, problemf(http.StatusUnsupportedMediaType, "Send the name as a form: "+
			"application/x-www-form-urlencoded or multipart/form-data, not compressed.")
	}
	return form.PostForm, formError(err)
}

// formError tells a body that is too large from one that is broken.
func formError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return problemf(http.StatusRequestEntityTooLarge,
			"The form is too large: at most %d bytes are read.", maxBody)
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return problemf(http.StatusRequestEntityTooLarge, "The form has too many parts.")
	}
	return problemf(http.StatusBadRequest,
		"The form is broken and was not read: its encoding is wrong, or it ends too early.")
}

//go:embed templates
var templates embed.FS

// parsePages returns the pages by name: each template but the layout that is
// around it, and what several of them share.
func parsePages() map[string]*template.Template {
	layout := template.Must(template.ParseFS(templates,
		"templates/layout.html", "templates/shared.html", "templates/report.txt"))
	pages := make(map[string]*template.Template)
	for _, file := range must(fs.Glob(templates, "templates/*.html")) {
		name := strings.TrimSuffix(path.Base(file), ".html")
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templates, file))
	}
	return pages
}

// asset is an embedded file that is the same for every visitor.
type asset struct {
	url string // address that changes with the content, to be cached for ever
	http.HandlerFunc
}

// newAsset returns the embedded file called name, of the media type kind.
func newAsset(name, kind string) asset {
	content := must(templates.ReadFile("templates/" + name))
	hash := fmt.Sprintf("%.8x", sha256.Sum256(content))
	serve := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", policy) // an SVG is a document of its own
		h.Set("ETag", `"`+hash+`"`)
		h.Set("Cache-Control", "no-cache")
		if r.URL.Query().Get("v") == hash {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
	return asset{url: "/" + name + "?v=" + hash, HandlerFunc: serve}
}
