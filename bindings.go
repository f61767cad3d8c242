package main

import (
	"net/http"
	"regexp"
)

// bindingStep makes a handler of a step of device binding.
func (a *app) bindingStep(
	step func(http.ResponseWriter, *http.Request) (event, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e, size := step(w, r)
		a.tellBinding(e)
		if e == newlyBound {
			a.metrics.saved(bound, size)
		}
	}
}

// tellBinding counts an event of device binding and logs it, with nothing of
// what was sent or answered. "" is none.
func (a *app) tellBinding(e event) {
	if e != "" {
		a.metrics.bindings.WithLabelValues(string(e)).Inc()
		a.log.Debug("device binding", "event", e)
	}
}

// registerDevice is a step of device binding, which never writes the session cookie.
func (a *app) registerDevice(w http.ResponseWriter, r *http.Request) (event, int) {
	return a.binding.register(w, r), 0
}

// tokenForm matches what could be a token, or a session cookie's value.
var tokenForm = regexp.MustCompile(`\b[a-z2-7]{6}\.[A-Za-z0-9_-]+=*`)

// tokenIn returns the kind of the first token of device binding in text that a key of
// the ring has sealed, or "" if there is none.
func tokenIn(text string, r *ring) tokenKind {
	for _, value := range tokenForm.FindAllString(text, -1) {
		for _, k := range tokenKinds {
			if _, ok := r.openToken(k, value); ok {
				return k
			}
		}
	}
	return ""
}
