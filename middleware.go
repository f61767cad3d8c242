package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"
)

// response remembers what the metrics want to know. Sessions don't need it:
// they are saved before anything is written.
type response struct {
	http.ResponseWriter
	route  *route
	status int // 0 until the header has been written
}

func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// ServeHTTP does what holds for every request, and then has it routed. It
// stands outside of the router, because mux runs no middleware of its own for
// 404 and 405.
func (a *app) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, route: a.other}
	defer a.count(w, r, time.Now())
	defer a.recovered(w, r)

	h := w.Header()
	h["Cache-Control"] = noStore // but for assets, which are the same for everybody
	h["X-Content-Type-Options"] = nosniff
	if a.sessions.secure {
		h["Strict-Transport-Security"] = hsts
	}
	if r.ContentLength != 0 {
		// The server's own writer, which then closes the connection.
		r.Body = http.MaxBytesReader(rw, r.Body, maxBody)
	}
	if a.csrf.Check(r) != nil {
		a.fail(w, r, &problem{http.StatusForbidden, "This form was sent from another site, so nothing was changed. Send it from this site's own page."})
		return
	}
	a.router.ServeHTTP(w, r)
}

var (
	noStore = []string{"no-store"}
	nosniff = []string{"nosniff"}
	hsts    = []string{"max-age=31536000"}
)

// recovered makes an error page of a handler's panic, or ends the connection
// where a part of the response has already gone out. It must be deferred.
func (a *app) recovered(w *response, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	// A panic may quote the visitor's data, only the runtime's own can't.
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	a.log.Error("panic in a handler", "panic", what, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	a.fail(w, r, &problem{http.StatusInternalServerError, ourFault})
}

// count adds a request that has ended to the metrics.
func (a *app) count(w *response, r *http.Request, began time.Time) {
	took := time.Since(began)
	a.metrics.served(w.route, r.Method, w.status, took)
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		a.log.Debug("request", "route", w.route.path, "method", r.Method, "status", w.status, "duration", took)
	}
}
