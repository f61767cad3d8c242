package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// maxBody is how many bytes of a request's body are read.
const maxBody = 64 << 10

// around returns router with what holds for every request around it. Most of
// it can't be mux's own middleware, which is not called for 404 and 405.
func (a *app) around(router http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(a.refusal("other", problemf(http.StatusForbidden, otherSite)))
	protected := csrf.Handler(router)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(a.origins) > 0 && r.Header.Get("Sec-Fetch-Site") == "" {
			router.ServeHTTP(w, r) // the origins have been checked
		} else {
			protected.ServeHTTP(w, r)
		}
	})
	// It needs the server's own writer, to close the connection after a body that
	// is too large, and hands on a copy of the request. The server must find its own
	// body in the original, to see that nobody has read it.
	limited := http.MaxBytesHandler(next, maxBody)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store") // but for assets, which are the same for everybody
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		if a.sessions.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		// A slash at the end of an address makes no difference.
		if path, cut := strings.CutSuffix(r.URL.Path, "/"); cut && path != "" {
			u := *r.URL
			u.Path = path
			r.URL = &u
		}
		if p := a.origins.check(r); p != nil {
			a.refusal("other", p)(w, r)
			return
		}
		if r.ContentLength == 0 { // there is no body
			next.ServeHTTP(w, r)
		} else {
			limited.ServeHTTP(w, r)
		}
	})
}

// observed is mux's middleware: it observes the requests that have a route.
func (a *app) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.observe(a.routeOf(r), next, w, r)
	})
}

// isRefusal reports whether an answer is one that an attack would get: to a
// request that may change something, or that was for another host.
func isRefusal(route, method string, status int) bool {
	if route == refreshPath && status == http.StatusForbidden {
		return false // it is how a challenge is sent
	}
	safe := method == http.MethodGet || method == http.MethodHead
	return status == http.StatusMisdirectedRequest || status >= 400 && status < 500 && !safe
}

// routeOf returns the path of r's route as the router has it, also before the
// router has seen r, or "other" if it has none.
func (a *app) routeOf(r *http.Request) string {
	route := mux.CurrentRoute(r)
	if route == nil {
		var match mux.RouteMatch
		if !a.router.Match(r, &match) || match.MatchErr != nil {
			return "other"
		}
		route = match.Route
	}
	path, _ := route.GetPathTemplate()
	return path
}

// observe has next answer a request, makes an error page of a panic, and
// counts what became of it all under the name of route.
func (a *app) observe(route string, next http.Handler, rw http.ResponseWriter, r *http.Request) {
	began := time.Now()
	w := &response{ResponseWriter: rw}
	defer func() {
		took, status := time.Since(began), cmp.Or(w.status, http.StatusOK)
		a.metrics.served(route, r.Method, status, took)
		if isRefusal(route, r.Method, status) {
			at := route
			if at == "other" {
				at = a.routeOf(r) // that it would have had
			}
			a.log.Info("request refused",
				"route", at, "method", methodLabel(r.Method), "status", status)
		}
		a.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("route", route),
			slog.String("method", methodLabel(r.Method)), slog.Int("status", status),
			slog.Duration("duration", took))
	}()
	defer a.recovered(route, w, r)
	next.ServeHTTP(w, r)
}

// response remembers the status for the metrics. Sessions don't need it: they
// are saved before anything is written.
type response struct {
	http.ResponseWriter
	status int // 0 until the header has been written
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// recovered makes an error page of a handler's panic, or ends the connection
// where a part of the response has already gone out. It must be deferred.
func (a *app) recovered(route string, w *response, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { // the way to end a connection, of net/http's own
		panic(p)
	}
	// A panic may quote the visitor's data; only the runtime's own can't.
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	a.log.Error("panic in a handler",
		"route", route, "panic", what, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	a.fail(w, r, fmt.Errorf("panic: %s", what))
}

// refusal returns a handler that answers every request with a problem.
func (a *app) refusal(route string, p *problem) http.HandlerFunc {
	refuse := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.fail(w, r, p) })
	return func(w http.ResponseWriter, r *http.Request) { a.observe(route, refuse, w, r) }
}

// notAllowed answers a request whose method the path doesn't have. mux's own
// answer lacks the Allow header, which RFC 9110 (15.5.6) requires.
func (a *app) notAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	route := ""
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		try, match := *r, mux.RouteMatch{}
		try.Method = method
		if a.router.Match(&try, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
			route, _ = match.Route.GetPathTemplate()
		}
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	p := problemf(http.StatusMethodNotAllowed, "This address answers only to %s.", list)
	a.refusal(route, p)(w, r)
}
