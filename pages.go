package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
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

	"github.com/gorilla/mux"
)

// app is the website.
type app struct {
	http.Handler
	sessions *sessions[session]
	binding  *binding[session]
	origins  origins
	metrics  *metrics
	log      *slog.Logger
	draining atomic.Bool // the server is about to stop
	pages    *template.Template
	router   *mux.Router

	style, icon, robots asset
}

// newApp returns the website, which can answer once it has a ring.
func newApp(sessions *sessions[session], bind time.Duration, origins origins,
	log *slog.Logger) *app {
	a := &app{
		sessions: sessions,
		origins:  origins,
		metrics:  newMetrics(sessions.ring.Load),
		log:      newBoundedLog(log),
		pages: template.Must(template.New("").Funcs(template.FuncMap{"report": reportText}).
			ParseFS(templates, "templates/*.html", "templates/*/*.html")),
		style:  newAsset("style.css", "text/css; charset=utf-8"),
		icon:   newAsset("icon.svg", "image/svg+xml; charset=utf-8"),
		robots: newAsset("robots.txt", "text/plain; charset=utf-8"),
		router: mux.NewRouter(),
	}
	a.binding = newBinding(sessions, bind, "/style.css", "/icon.svg", "/favicon.ico", "/healthz")
	// mux would answer POST //set_name with a redirect, which browsers follow
	// with a GET: the form would be lost.
	a.router.SkipClean(true)
	a.router.Use(a.observed)
	a.router.NotFoundHandler = a.refusal("other", problemf(http.StatusNotFound,
		"There is no page at this address. Start at / instead."))
	a.router.MethodNotAllowedHandler = http.HandlerFunc(a.notAllowed)
	a.routes(a.router)
	a.Handler = a.around(a.router)
	return a
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
			a.log.Info("cookie refused",
				"verdict", v.verdict, "key_id", v.keyID, "route", a.routeOf(r))
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
	Title       string
	Session     session
	Style, Icon string // addresses of the stylesheet and of the icon
	Wrote       reason // why the cookie was written, if it was
	app         *app
	report      *report // once it was asked for
	visit       *visit[session]
	header      http.Header // of the response
}

// Titled returns p with a title, for the template that begins each page.
func (p *page) Titled(title string) *page {
	p.Title = title
	return p
}

// Report tells what is known of the visitor's cookie.
func (p *page) Report() *report {
	if p.report == nil {
		rep := describe(p.app.sessions, p.visit)
		p.report = &rep
	}
	return p.report
}

// Sample reports on a cookie that the visitor doesn't have.
func (p *page) Sample() report { return describe(p.app.sessions, sample(p.app.sessions)) }

// Specimens shows the visitor's session in both modes, or the sample's.
func (p *page) Specimens() []specimen {
	content := p.visit.content
	if !p.visit.readable() {
		content = sample(p.app.sessions).content
	}
	return specimens(p.app.sessions, content)
}

// Base is the address of the site, for commands to copy.
func (p *page) Base() string {
	if len(p.app.origins) > 0 {
		return p.app.origins[0]
	}
	return "http://localhost:8080"
}

// Sent shows the cookies that come with the page. That of the session is the first.
func (p *page) Sent() (all []sentCookie) {
	for _, header := range p.header["Set-Cookie"] {
		pair, rest, _ := strings.Cut(header, "; ")
		name, value, _ := strings.Cut(pair, "=")
		all = append(all, sentCookie{
			Name: name, Parts: parts(value, valid), Attributes: strings.Split(rest, "; "),
		})
	}
	return all
}

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
		answer: ans, Route: mux.CurrentRoute(r).GetName(), Session: v.session, Wrote: why,
		app: a, visit: v, header: w.Header(),
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
	body, kind, h := append([]byte(p.Text), '\n'), "text/plain; charset=utf-8", w.Header()
	if p.Text == "" || p.Page != "" && prefersHTML(r) {
		var err error
		if body, err = a.html(p); err != nil {
			return err
		}
		kind = "text/html; charset=utf-8"
		// Not no-referrer: with that, browsers send Origin: null with the page's own
		// form, which would be taken for another site's.
		h.Set("Referrer-Policy", "same-origin")
		if a.sessions.secure { // browsers ignore it elsewhere, and say so
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(cmp.Or(p.Status, http.StatusOK))
	w.Write(body) // fails only when the client has gone
	return nil
}

// html returns the page that p's template makes of it.
func (a *app) html(p page) ([]byte, error) {
	p.Style, p.Icon = a.style.url, a.icon.url
	var b bytes.Buffer
	err := a.pages.ExecuteTemplate(&b, p.Page+".html", &p)
	return b.Bytes(), err
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
// the visitor keeps the session that was there before. Of an error that
// is neither a problem nor the session's size, only the operator is told what it says.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	var over *oversizedError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &over):
		p = problemf(http.StatusUnprocessableEntity, "This does not fit into your cookie: "+
			"it is %d bytes too much. Your session is as it was.", over.over)
	case errors.Is(err, errUnreadable):
		a.log.Warn("session not encoded", "route", a.routeOf(r), "err", err)
		p = problemf(http.StatusUnprocessableEntity, "This can't be kept in a session: "+
			"perhaps it is not valid UTF-8. Your session is as it was.")
	default:
		a.log.Error("request failed",
			"route", a.routeOf(r), "method", methodLabel(r.Method), "err", err)
		p = problemf(http.StatusInternalServerError,
			"Something went wrong here, through no fault of yours. "+
				"Your session is as it was: try again in a while.")
	}
	h := w.Header()
	h.Del("Set-Cookie")
	h.Del("Secure-Session-Registration") // of a session that isn't set
	h.Set("Vary", "Accept")
	closeUnread(w, r)
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

// readForm reads the form in r's body, and nothing from its query. FormValue
// would read both, and hide what is wrong with them.
func readForm(r *http.Request) (url.Values, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isMultipart := kind == "multipart/form-data"
	isForm := isMultipart || kind == "application/x-www-form-urlencoded"
	if err != nil || !isForm || r.Header.Get("Content-Encoding") != "" {
		return nil, problemf(http.StatusUnsupportedMediaType, "Send a form: "+
			"application/x-www-form-urlencoded or multipart/form-data, not compressed.")
	}
	if r.ContentLength > maxBody { // or the server would wait until it is too large
		return nil, formError(new(http.MaxBytesError))
	}
	if isMultipart {
		// With room for all of it, so that none goes to the disk.
		form, err := multipart.NewReader(r.Body, params["boundary"]).ReadForm(maxBody)
		if err != nil {
			return nil, formError(err)
		}
		return form.Value, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, formError(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, formError(err)
	}
	return form, nil
}

// formError tells a body that is too large from one that is broken.
func formError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problemf(http.StatusRequestEntityTooLarge,
			"The form is too large: at most %d bytes are read.", maxBody)
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return problemf(http.StatusRequestEntityTooLarge, "The form has too many parts.")
	}
	return problemf(http.StatusBadRequest,
		"The form is broken and was not read: its encoding is wrong, it has too many "+
			"fields, or it ends too early.")
}

//go:embed templates
var templates embed.FS

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
		h.Set("ETag", `"`+hash+`"`)
		h.Set("Cache-Control", "no-cache")
		if r.URL.Query().Get("v") == hash {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
	return asset{url: "/" + name + "?v=" + hash, HandlerFunc: serve}
}
