package web

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"cookiesession/sessions"

	"github.com/gorilla/mux"
)

// Handler returns a handler of the site whose routes are in router. It adds those of
// the assets and of /healthz, and what router answers where it has none. Most of what
// it does around router can't be mux's own middleware, which isn't called for those.
func (s *Site[T]) Handler(router *mux.Router) http.Handler {
	s.addRoutes(router)
	next := s.Sessions.Handler(router)
	return http.HandlerFunc(func(rw http.ResponseWriter, outer *http.Request) {
		w := &response{ResponseWriter: rw, body: &body{ReadCloser: outer.Body}}
		// It is a copy. The server must find its own body in the original, to see that
		// nobody has read it.
		r := outer.WithContext(context.WithValue(outer.Context(), responseKey{}, w))
		defer s.observe(w, r, time.Now())
		defer s.recovered(w, r, false)
		s.setHeaders(w.Header(), r)
		// A slash at the end of an address makes no difference.
		if path, cut := strings.CutSuffix(r.URL.Path, "/"); cut && path != "" {
			u := *r.URL
			u.Path = path
			r.URL = &u
		}
		err := s.check(r)
		if headerSize(r) > MaxHeader {
			err = s.tooLarge(r, err)
			outer.Header = r.Header
		}
		if err != nil {
			w.route = cmp.Or(w.route, otherRoute)
			s.fail(w, r, nil, err, nil)
			return
		}
		// It needs the server's own writer, to close the connection after a body that is
		// too large.
		r.Body = http.MaxBytesReader(rw, w.body, MaxBody)
		next.ServeHTTP(w, r)
	})
}

// addRoutes adds to router what is not the site's own.
func (s *Site[T]) addRoutes(router *mux.Router) {
	s.router = router
	// mux would answer POST //set_name with a redirect, which browsers follow with a GET:
	// the form would be lost.
	router.SkipClean(true)
	router.Use(s.routed)
	router.NotFoundHandler = s.Action(s.notFound)
	router.MethodNotAllowedHandler = s.Action(s.notAllowed)
	get := []string{http.MethodGet, http.MethodHead}
	router.HandleFunc(healthPath, s.health).Methods(get...)
	for _, a := range s.config.Assets {
		route := router.Path(a.Path)
		if strings.HasSuffix(a.Path, "/") {
			route = router.PathPrefix(a.Path)
		}
		route.HandlerFunc(s.serveAsset).Methods(get...)
	}
}

const healthPath = "/healthz"

// health tells a load balancer whether to send visitors here.
func (s *Site[T]) health(w http.ResponseWriter, r *http.Request) {
	if s.config.Draining != nil && s.config.Draining() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// check refuses what is not for this site, or comes from another one. Balancers ask for
// their page by address, and so may the page for another host for its stylesheet.
func (s *Site[T]) check(r *http.Request) error {
	if r.URL.Path != healthPath && s.assets[r.URL.Path] == nil {
		if err := s.config.Origins.checkHost(r); err != nil {
			return err
		}
	}
	err := s.config.Origins.checkSender(r)
	if err != nil && s.exceptions[s.match(r)].CrossOrigin {
		return nil
	}
	return err
}

// setHeaders sets what holds for every response, unless a handler knows better.
func (s *Site[T]) setHeaders(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store") // but for assets, which are the same for everybody
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	// Browsers keep it for all ports of a host, so for localhost it would break every other
	// program on a developer's machine.
	if !s.Options.Insecure && !isLocal(r.Host) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func (s *Site[T]) notFound(r *http.Request, _ *sessions.Session[T]) (Answer, error) {
	responseOf(r).route = otherRoute
	return Answer{}, Problemf(http.StatusNotFound,
		"There is no page at this address.")
}

// notAllowed answers a request whose method the path doesn't have. mux's own answer
// lacks the Allow header, which RFC 9110 (15.5.6) requires.
func (s *Site[T]) notAllowed(r *http.Request, _ *sessions.Session[T]) (Answer, error) {
	var allowed []string
	var form, when string
	try := *r
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		try.Method = method
		if route := s.match(&try); route != nil {
			allowed = append(allowed, method)
			responseOf(r).route = label(route)
			form = cmp.Or(s.exceptions[route].Form, form)
			when = cmp.Or(s.exceptions[route].FormWhen, when)
		}
	}
	list := strings.Join(allowed, ", ")
	p := &problem{
		Page: errorPage, Status: http.StatusMethodNotAllowed,
		Text:   "This address answers only to " + list + ".",
		Header: http.Header{"Allow": {list}},
	}
	if form != "" {
		p.Text += " Its button is at " + form + when + "."
		p.Data = form
	}
	return Answer{}, p
}

// routed is mux's middleware: it remembers which route a request has.
func (s *Site[T]) routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recovered(w, r, true)
		route := mux.CurrentRoute(r)
		responseOf(r).route = label(route)
		s.exceptions[route].apply(w, r)
		next.ServeHTTP(w, r)
	})
}

// Exception says what is otherwise for one route. What is zero is as it is for all.
type Exception struct {
	// MaxBody is how many bytes of a body are read, such as of an upload.
	MaxBody int64

	// Policy is the Content-Security-Policy.
	Policy string

	// Timeout is for how long the rest of the request may come, and the response go out,
	// such as a stream.
	Timeout time.Duration

	// Form is the address of the form that is sent to the route, such as /cart#order. The
	// page for somebody who comes without a form leads there.
	Form string

	// FormWhen ends the sentence that names Form, if the button is not always there, such as
	// ", while something is in your cart".
	FormWhen string

	// CrossOrigin lets pages of other sites send forms here, such as a login provider's
	// answer. It comes without the session, as the cookie's SameSite has it, and may be
	// anybody's forgery: verify what it says, and answer with a Redirect, behind which the
	// session is there.
	CrossOrigin bool
}

// Except makes route an exception.
func (s *Site[T]) Except(route *mux.Route, e Exception) { s.exceptions[route] = e }

// apply does for a request what can wait until it is routed.
func (e Exception) apply(w http.ResponseWriter, r *http.Request) {
	if e.MaxBody > 0 {
		own := responseOf(r)
		own.maxBody = e.MaxBody
		r.Body = http.MaxBytesReader(own.ResponseWriter, own.body, e.MaxBody)
	}
	if e.Policy != "" {
		w.Header().Set("Content-Security-Policy", e.Policy)
	}
	if e.Timeout > 0 {
		c, end := http.NewResponseController(w), time.Now().Add(e.Timeout)
		c.SetReadDeadline(end)
		c.SetWriteDeadline(end)
	}
}

// otherRoute is the label of a request without a route.
const otherRoute = "other"

// routeOf returns the path of r's route as the router has it, also if the router has
// not seen r, or "other" if it has none.
func (s *Site[T]) routeOf(r *http.Request) string {
	if route := responseOf(r).route; route != "" && route != otherRoute {
		return route
	}
	return label(s.match(r))
}

// label returns the path of a route, or "other" if there is none.
func label(route *mux.Route) (path string) {
	if route != nil {
		path, _ = route.GetPathTemplate()
	}
	return cmp.Or(path, otherRoute)
}

// match returns the route that the router has for r, or nil.
func (s *Site[T]) match(r *http.Request) *mux.Route {
	var match mux.RouteMatch
	if !s.router.Match(r, &match) || match.MatchErr != nil {
		return nil
	}
	return match.Route
}

// methodLabel returns a method, or "other": a client may call its method what it likes.
func methodLabel(method string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, method) {
		return method
	}
	return "other"
}

// response remembers what there is to tell of a response.
type response struct {
	http.ResponseWriter
	status  int    // 0 until it begins
	route   string // its label; empty until it is known
	body    *body  // the request's, without a limit
	maxBody int64  // the route's own limit; 0 if it has none
}

// body is a request's body, which remembers why there is no more of it.
type body struct {
	io.ReadCloser
	end error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end = err
	}
	return n, err
}

// hasFailed reports whether err is why the body can't be read on, such as that it came too
// slowly.
func (b *body) hasFailed(err error) bool {
	return b != nil && b.end != nil && b.end != io.EOF && errors.Is(err, b.end)
}

type responseKey struct{}

// responseOf returns the response to r, which must have come through Handler.
func responseOf(r *http.Request) *response {
	if w, ok := r.Context().Value(responseKey{}).(*response); ok {
		return w
	}
	return new(response)
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = cmp.Or(w.status, status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// FlushError sends what was written, and the header at least.
func (w *response) FlushError() error {
	w.status = cmp.Or(w.status, http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands over the connection.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = cmp.Or(w.status, http.StatusSwitchingProtocols)
	}
	return conn, rw, err
}

// observe tells what became of a request. It must be deferred.
func (s *Site[T]) observe(w *response, r *http.Request, began time.Time) {
	took, method := time.Since(began), methodLabel(r.Method)
	status, route := cmp.Or(w.status, http.StatusOK), cmp.Or(w.route, s.routeOf(r))
	s.config.Record.Served(route, method, status, took)
	if w.isRefusal(r.Method) {
		attrs := []any{"route", s.routeOf(r), "method", method, "status", status}
		switch status {
		case http.StatusMisdirectedRequest:
			attrs = append(attrs, "host", r.Host[:min(len(r.Host), 100)],
				"origins", s.config.Origins.String(),
				"hint", "behind nginx: proxy_set_header Host $http_host")
		case http.StatusForbidden:
			from := r.Header.Get("Origin")
			attrs = append(attrs, "origin", from[:min(len(from), 100)],
				"origins", s.config.Origins.String())
		}
		s.config.Log.Info("request refused", attrs...)
	}
	s.config.Log.Debug("request", "route", route, "method", method, "status", status,
		"duration", took)
}

// isRefusal reports whether an answer is one that an attack would get: to a request that
// may change something, that was for another host, or that had too large a header.
func (w *response) isRefusal(method string) bool {
	if w.Header().Get("Secure-Session-Challenge") != "" {
		return false // 403 is how a challenge is sent
	}
	safe := method == http.MethodGet || method == http.MethodHead
	return w.status == http.StatusMisdirectedRequest ||
		w.status == http.StatusRequestHeaderFieldsTooLarge || w.status/100 == 4 && !safe
}

// Observe returns what is Options.Observe of another manager on the site: it has its
// sessions counted and logged like the site's own, under the name of their cookie.
func (s *Site[T]) Observe(session string) func(*http.Request, sessions.Event) {
	return func(r *http.Request, e sessions.Event) { s.observeSession(session, r, e) }
}

// observeSession tells what became of a session, with nothing that is in it.
func (s *Site[T]) observeSession(session string, r *http.Request, e sessions.Event) {
	s.config.Record.Observe(session, e)
	if e.Step != "" {
		s.config.Log.Debug("device binding", "event", e.Step)
		if r == nil { // no request has brought the session
			return
		}
		if w := responseOf(r); w.route == "" && r.Method == http.MethodPost {
			w.route = r.URL.Path // unless the router says otherwise, it is the step's own
		}
		return
	}
	if errors.Is(e.Err, sessions.ErrLate) { // there was an event of this session before
		return
	}
	verdict, level := e.Cookie.Verdict, slog.LevelInfo
	if verdict == sessions.Expired { // such cookies come for weeks
		level = slog.LevelDebug
	}
	if verdict != sessions.None && verdict != sessions.Valid {
		attrs := []any{"verdict", string(verdict), "key_id", e.Cookie.KeyID,
			"route", s.routeOf(r), "session", session}
		if verdict == sessions.FromFuture { // by how much the clock here is behind
			attrs = append(attrs, "ahead", time.Until(e.Cookie.Written).Round(time.Second))
		}
		s.config.Log.Log(r.Context(), level, "cookie refused", attrs...)
	}
	if e.Cookie.Good > 1 {
		s.config.Log.Info("several good cookies", "count", e.Cookie.Good, "route", s.routeOf(r),
			"session", session)
	}
}
