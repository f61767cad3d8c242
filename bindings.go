package main

import (
	"fmt"
	"net/http"
	"regexp"
	"time"
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

// tokenReport is what inspect tells of a token of device binding.
type tokenReport struct {
	Kind           tokenKind
	KeyID, Role    string
	Time, Session  time.Time
	Expired, Fresh bool // a challenge without a device is for a registration
}

// inspectToken returns a report on the first token of device binding in text,
// or "" if there is none that a key of the ring has sealed, and an error if it
// is not good any more. The report contains nothing of the device's key.
func inspectToken(text string, r *ring) (report string, err error) {
	now := time.Now()
	for _, value := range tokenForm.FindAllString(text, -1) {
		for _, k := range tokenKinds {
			t, ok := r.openToken(k, value)
			if !ok {
				continue
			}
			rep := tokenReport{
				Kind: k, KeyID: value[:idLen], Role: role(r, value[:idLen]),
				Time:    time.Unix(int64(t.Time), 0).UTC(),
				Session: time.Unix(int64(t.Session), 0).UTC(),
				Fresh:   len(t.Device) == 0,
			}
			rep.Expired = k == ticketKind && now.After(rep.Time) ||
				k == challengeKind && now.After(rep.Time.Add(challengeAge*time.Second))
			if rep.Expired {
				err = fmt.Errorf("the %s is not valid: expired", k)
			}
			return reportText("token", rep), err
		}
	}
	return "", nil
}
