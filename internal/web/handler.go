package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
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
		w := &response{ResponseWriter: rw}
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
		if err := s.check(r); err != nil {
			w.route = otherRoute
			s.fail(w, r, nil, err)
			return
		}
		if r.ContentLength != 0 { // there is a body
			// It needs the server's own writer, to close the connection after a body that
			// is too large.
			r.Body = http.MaxBytesReader(rw, r.Body, MaxBody)
		}
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
	router.NotFoundHandler = http.HandlerFunc(s.notFound)
	router.MethodNotAllowedHandler = http.HandlerFunc(s.notAllowed)
	get := []string{http.MethodGet, http.MethodHead}
	router.HandleFunc(healthPath, s.health).Methods(get...)
	for path, a := range s.assets {
		router.Handle(path, a).Methods(get...)
	}
}

// check refuses what is not for this site, or comes from another one. Balancers ask for
// their page by address, and so may the page for another host for its stylesheet.
func (s *Site[T]) check(r *http.Request) error {
	if r.URL.Path == healthPath || s.assets[r.URL.Path] != nil {
		return s.config.Origins.checkSender(r)
	}
	return s.config.Origins.Check(r)
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

func (s *Site[T]) notFound(w http.ResponseWriter, r *http.Request) {
	responseOf(r).route = otherRoute
	s.fail(w, r, s.Sessions.Get(r.Context()), Problemf(http.StatusNotFound,
		"There is no page at this address. Start at / instead."))
}

// notAllowed answers a request whose method the path doesn't have. mux's own answer
// lacks the Allow header, which RFC 9110 (15.5.6) requires.
func (s *Site[T]) notAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	route := otherRoute
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		try, match := *r, mux.RouteMatch{}
		try.Method = method
		if s.router.Match(&try, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
			route, _ = match.Route.GetPathTemplate()
		}
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	responseOf(r).route = route
	s.fail(w, r, s.Sessions.Get(r.Context()), Problemf(http.StatusMethodNotAllowed,
		"This address answers only to %s.", list))
}

// routed is mux's middleware: it remembers which route a request has.
func (s *Site[T]) routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recovered(w, r, true)
		responseOf(r).route, _ = mux.CurrentRoute(r).GetPathTemplate()
		next.ServeHTTP(w, r)
	})
}

// otherRoute is the label of a request without a route.
const otherRoute = "other"

// routeOf returns the path of r's route as the router has it, also if the router has
// not seen r, or "other" if it has none.
func (s *Site[T]) routeOf(r *http.Request) string {
	if route := responseOf(r).route; route != "" && route != otherRoute {
		return route
	}
	if r.Method == http.MethodPost && slices.Contains(s.steps, r.URL.Path) {
		return r.URL.Path
	}
	var match mux.RouteMatch
	if !s.router.Match(r, &match) || match.MatchErr != nil {
		return otherRoute
	}
	path, _ := match.Route.GetPathTemplate()
	return path
}

// methodLabel returns a method, or "other": a client may call its method what it likes.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead:
		return method
	}
	return "other"
}

// response remembers what there is to tell of a response.
type response struct {
	http.ResponseWriter
	status int    // 0 until it begins
	route  string // its label; empty until it is known
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
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if err == nil {
		w.status = cmp.Or(w.status, http.StatusOK)
	}
	return err
}

// observe tells what became of a request. It must be deferred.
func (s *Site[T]) observe(w *response, r *http.Request, began time.Time) {
	took, method := time.Since(began), methodLabel(r.Method)
	status, route := cmp.Or(w.status, http.StatusOK), w.route
	if route == "" {
		route = s.routeOf(r) // the sessions have answered: a step of device binding
	}
	if s.config.Record != nil {
		s.config.Record.Served(route, method, status, took)
	}
	if s.isRefusal(route, r.Method, status) {
		attrs := []any{"route", s.routeOf(r), "method", method, "status", status}
		if status == http.StatusMisdirectedRequest {
			attrs = append(attrs, "host", r.Host[:min(len(r.Host), 100)],
				"origins", s.config.Origins.String(),
				"hint", "behind nginx: proxy_set_header Host $http_host")
		}
		s.config.Log.Info("request refused", attrs...)
	}
	s.config.Log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("route", route),
		slog.String("method", method), slog.Int("status", status), slog.Duration("duration", took))
}

// isRefusal reports whether an answer is one that an attack would get: to a
// request that may change something, or that was for another host.
func (s *Site[T]) isRefusal(route, method string, status int) bool {
	if route == s.steps[1] && status == http.StatusForbidden {
		return false // it is how a challenge is sent
	}
	safe := method == http.MethodGet || method == http.MethodHead
	return status == http.StatusMisdirectedRequest || status >= 400 && status < 500 && !safe
}

// observeSession tells what became of a session, with nothing that is in it.
func (s *Site[T]) observeSession(r *http.Request, e sessions.Event) {
	if s.config.Record != nil {
		s.config.Record.Observe(e)
	}
	switch {
	case e.Step != "":
		s.config.Log.Debug("device binding", "event", e.Step)
		return
	case errors.Is(e.Err, sessions.ErrLate): // there was an event of this session before
		return
	}
	verdict, level := e.Cookie.Verdict, slog.LevelInfo
	if verdict == sessions.Expired { // such cookies come for weeks
		level = slog.LevelDebug
	}
	if verdict != sessions.None && verdict != sessions.Valid {
		s.config.Log.Log(r.Context(), level, "cookie refused",
			"verdict", string(verdict), "key_id", e.Cookie.KeyID, "route", s.routeOf(r))
	}
	if e.Cookie.Good > 1 {
		s.config.Log.Info("several good cookies", "count", e.Cookie.Good, "route", s.routeOf(r))
	}
}
