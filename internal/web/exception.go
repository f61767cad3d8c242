package web

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"
)

// Exception says what is otherwise for one route. What is zero is as it is for all.
type Exception struct {
	// MaxBody is how many bytes of a body are read, such as of an upload.
	MaxBody int64

	// Policy is the Content-Security-Policy.
	Policy string

	// Timeout is for how long the rest of the request may come, and the response go out,
	// such as a stream.
	Timeout time.Duration

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
