package sessions

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Device binding ties a session to the device on which it began, so that a
// copied cookie is soon worthless: Device Bound Session Credentials (DBSC,
// https://www.w3.org/TR/dbsc/), here without a store. What a server would
// remember travels sealed with the browser:
//
//  1. Save offers to bind a session: a header with a challenge.
//  2. The browser makes a key pair that never leaves the device, signs the
//     challenge and posts both to register, which hands back an identifier: the
//     public key, sealed. The session is not bound yet, since a browser may
//     still reject that answer, and would be locked out.
//  3. Before its next request, because it has no ticket, the browser posts the
//     identifier to refresh, gets another challenge, signs it, and gets a ticket:
//     a cookie that is good for a few minutes. The first time, refresh writes
//     the public key into the session's payload. From here on it is bound.
//  4. A bound session without a live ticket of its key is no session (prove).
//     The browser does step 3 again whenever its ticket runs out.
//
// A browser that knows nothing of this ignores the header of step 1.

const (
	// maxProof is how many bytes a proof, and a body beside it, may have. One of
	// Chromium's has about 700, most of them the challenge that we have made.
	maxProof = 4096

	// maxIdentifier is how many bytes an identifier may have. Ours have about 180.
	maxIdentifier = 512

	// challengeAge is for how many seconds a challenge is good. For that long,
	// whoever has captured a proof can get another ticket with it.
	challengeAge = 60

	// ticketDefault is for how long a ticket is good that is given out while
	// binding is switched off. See refresh.
	ticketDefault = 10 * time.Minute
)

// Steps of device binding, as Event has them.
const (
	stepOffered    = "offered"    // a browser was offered to bind its session
	stepRegistered = "registered" // it has registered its device's key
	stepChallenged = "challenged" // it was asked to prove that it has the key
	stepBound      = "bound"      // it did so for the first time: the session is bound
	stepRefreshed  = "refreshed"  // it did so again, and got a new ticket
	stepEnded      = "ended"      // it was told that what it has registered is over
	stepPostponed  = "postponed"  // it was told to keep that, and to ask again
	stepDetoured   = "detoured"   // it was made to ask for a page again, with a ticket

	refusedSize      = "refused_size"      // what it sent is too large
	refusedForm      = "refused_form"      // the identifier isn't ours
	refusedOff       = "refused_off"       // this copy of the server binds no sessions
	refusedSession   = "refused_session"   // there is no session to bind
	refusedBound     = "refused_bound"     // the session is bound already
	refusedProof     = "refused_proof"     // the signature, its key or its form is wrong
	refusedChallenge = "refused_challenge" // what was signed is too old, or another
)

// Steps returns all values of [Event.Step] but the empty one, so that a metric can have
// them from the start.
func Steps() []string {
	return []string{
		stepOffered, stepRegistered, stepChallenged, stepBound, stepRefreshed, stepEnded,
		stepPostponed, stepDetoured, refusedSize, refusedForm, refusedOff, refusedSession,
		refusedBound, refusedProof, refusedChallenge,
		// By a browser's word: it couldn't reach refresh, was answered with 5xx, or must not
		// sign so often.
		"skipped_unreachable", "skipped_server_error", "skipped_quota_exceeded", "skipped_other",
	}
}

// token is what travels sealed beside a session: KEYID.SEALED, like its cookie, and
// bound to that cookie's name.
type token struct {
	_      struct{} `cbor:",toarray"`
	Time   uint32   // Unix seconds when it was made; of a ticket, until when it is good
	Began  uint32   // when its session did, only in a challenge for a registration
	Device []byte   // the device's key; empty in a challenge for a registration
	Nonce  []byte   // only in a challenge, so that none is like another
}

// sealToken returns t sealed under the ring's current key.
func (m *Manager[T]) sealToken(p purpose, t token) string {
	return m.sealing().seal(p, m.name, must(encodingMode.Marshal(t)))
}

// openToken returns what is in a token, if it is a good one for p, under whichever key of
// the ring. What its time means is for the caller to judge.
func (m *Manager[T]) openToken(p purpose, value string) (t token, ok bool) {
	id, sealed, _ := strings.Cut(value, ".")
	c := m.keys.current.Load().codecs[id]
	if c == nil || !canonical(sealed) {
		return token{}, false
	}
	content, ok := c.open(p, m.name, sealed)
	ok = ok && decodingMode.Unmarshal(content, &t) == nil
	return t, ok
}

// prove refuses a session that is bound to a device unless a live ticket of that device
// came with r, and remembers until when that is good.
func (m *Manager[T]) prove(s *Session[T], r *http.Request) {
	device := s.device()
	if m.o.Bind == 0 || device == nil || s.cookie.Verdict != Valid {
		return
	}
	until := int64(0)
	cookies := r.CookiesNamed(m.ticket)
	for _, c := range cookies[:min(len(cookies), maxCandidates)] {
		t, ok := m.openToken(forTicket, unquoted(c.Value))
		if ok && bytes.Equal(t.Device, device) && s.now <= int64(t.Time) {
			until = max(until, int64(t.Time))
		}
	}
	if s.cookie.TicketEnds = unix(until); until == 0 {
		s.refuse(Unproven)
	}
}

// detour answers a visitor with an empty page that loads itself again, if that helps,
// and reports whether it has. A browser renews no ticket for a visitor who follows a link
// from another origin, but it does when our own page asks.
func (m *Manager[T]) detour(v *visit[T]) bool {
	r := v.outside
	from := r.Header.Get("Sec-Fetch-Site")
	if m.o.Bind == 0 {
		return false
	}
	if step := skipped(r); step != "" {
		m.o.Observe(v.r, Event{Cookie: v.session().Cookie(), Step: step})
	}
	if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" ||
		from != "cross-site" && from != "same-site" || v.session().Verdict() != Unproven {
		return false
	}
	v.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.Header().Set("Refresh", "0")
	forCaches(v.Header(), true)
	m.o.Observe(v.r, Event{Cookie: v.session().Cookie(), Step: stepDetoured})
	return true
}

// skipped returns why, by its own word, a browser made a request without renewing its
// ticket, or "" if it says nothing of that.
func skipped(r *http.Request) string {
	reason, _, _ := strings.Cut(r.Header.Get("Secure-Session-Skipped"), ";")
	step := "skipped_" + reason
	switch {
	case reason == "":
		return ""
	case !slices.Contains(Steps(), step):
		return "skipped_other"
	}
	return step
}

// offer adds to h, where the cookie of s is, with p in it or deleted, the offer to bind
// the session, if it isn't bound. If the one before was, it deletes the ticket, so that the
// browser calls refresh before its next request, and is told the end.
func (m *Manager[T]) offer(h http.Header, s *Session[T], p payload) {
	if p.Device != nil {
		return
	}
	if s.device() != nil {
		h.Add("Set-Cookie", m.newCookie(m.ticket, "", -1).String())
	}
	if m.o.Bind > 0 && p.Began > 0 {
		challenge := m.challenge(token{Began: p.Began}, s.now)
		h.Set(registrationHeader,
			`(ES256);path="`+m.o.BindPath+`/register";challenge="`+challenge+`"`)
	}
}

// challenge returns a challenge that is made at the time now for the session or the
// device of t.
func (m *Manager[T]) challenge(t token, now int64) string {
	t.Time, t.Nonce = uint32(now), make([]byte, 8)
	rand.Read(t.Nonce) // never fails, says its documentation
	return m.sealToken(forChallenge, t)
}

// answers reports whether challenge is one that was made for the session or the device
// of t, and is still good at the time now.
func (m *Manager[T]) answers(challenge string, t token, now int64) bool {
	c, ok := m.openToken(forChallenge, challenge)
	age := now - int64(c.Time)
	return ok && c.Began == t.Began && bytes.Equal(c.Device, t.Device) &&
		-maxSkew <= age && age <= challengeAge
}

// deviceStep is a request to register or refresh.
type deviceStep[T any] struct {
	m         *Manager[T]
	w         http.ResponseWriter
	s         *Session[T]
	proof, id string
}

// What a step's address has behind BindPath.
const register, refresh = "/register", "/refresh"

// stepOf returns which step of device binding r is, or nothing.
func (m *Manager[T]) stepOf(r *http.Request) string {
	step, ok := strings.CutPrefix(r.URL.Path, m.o.BindPath)
	if !ok || r.Method != http.MethodPost || m.o.Insecure || m.o.Domain != "" {
		return ""
	}
	isRegister := step == register && unquoted(r.Header.Get("Secure-Session-Response")) != ""
	isRefresh := step == refresh && unquoted(r.Header.Get("Sec-Secure-Session-Id")) != ""
	if !isRegister && !isRefresh {
		return ""
	}
	return step
}

// IsDeviceStep reports whether r is a step of device binding, which Handler answers. To a
// status from 400 to 499, a browser gives up the binding for good.
func (m *Manager[T]) IsDeviceStep(r *http.Request) bool { return m.stepOf(r) != "" }

// serveDevice answers a step of device binding, and reports whether r is one. It does so
// for bound sessions also while binding is switched off, so that a browser finds its key
// still good when it is switched on again, or when the copy next door has it on.
func (m *Manager[T]) serveDevice(w http.ResponseWriter, r *http.Request) bool {
	step := m.stepOf(r)
	if step == "" {
		return false
	}
	d := deviceStep[T]{
		m: m, w: w,
		proof: unquoted(r.Header.Get("Secure-Session-Response")),
		id:    unquoted(r.Header.Get("Sec-Secure-Session-Id")),
	}
	d.s = m.load(r)
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case len(d.proof) > maxProof || len(d.id) > maxIdentifier || r.ContentLength > maxProof:
		step = d.refuseSize()
	case step == register:
		step = d.register()
	default:
		step = d.refresh()
	}
	saved, _ := d.s.sent.result()
	m.o.Observe(r, Event{Cookie: d.s.Cookie(), Saved: saved, Step: step})
	return true
}

// refuse answers with a status and a sentence about a step, which it returns. A browser
// shows that to nobody.
func (d *deviceStep[T]) refuse(status int, step string) string {
	http.Error(d.w, "Device binding: "+step+".", status)
	return step
}

// refuseSize answers a request that is larger than a browser would send.
func (d *deviceStep[T]) refuseSize() string {
	if r := d.s.r; r.ContentLength != 0 && r.ProtoMajor == 1 {
		// The server would wait for the body before it answers, to use the connection again.
		d.w.Header().Set("Connection", "close")
	}
	return d.refuse(http.StatusRequestEntityTooLarge, refusedSize)
}

// register answers a browser that registers the key of its device. It hands back an
// identifier; the session stays as it is.
func (d *deviceStep[T]) register() string {
	s, m := d.s, d.m
	challenge, device, ok := verifyProof(d.proof, nil)
	switch {
	case m.o.Bind == 0:
		return d.refuse(http.StatusBadRequest, refusedOff)
	case s.device() != nil:
		return d.refuse(http.StatusBadRequest, refusedBound)
	case s.Verdict() != Valid:
		return d.refuse(http.StatusBadRequest, refusedSession)
	case !ok:
		return d.refuse(http.StatusBadRequest, refusedProof)
	case !m.answers(challenge, token{Began: s.sealed().Began}, s.now):
		return d.refuse(http.StatusBadRequest, refusedChallenge)
	}
	if len(s.r.CookiesNamed(m.ticket)) > 0 {
		// It is another session's, and while the browser has it, it asks for no new one.
		http.SetCookie(d.w, m.newCookie(m.ticket, "", -1))
	}
	d.instruct(m.sealToken(forIdentifier, token{Time: uint32(s.now), Device: device}))
	return stepRegistered
}

// refresh answers a browser that wants a ticket. Without a proof it gets a challenge,
// with a good one a ticket, and the first time its session is bound.
func (d *deviceStep[T]) refresh() string {
	s, m := d.s, d.m
	keyID, sealed, _ := strings.Cut(d.id, ".")
	switch {
	case !IsKeyID(keyID) || !canonical(sealed): // from here on it may stand in an answer
		return d.refuse(http.StatusBadRequest, refusedForm)
	case s.mayBeGoodElsewhere():
		// After a 4xx other than 403, and after being told the end, a browser would throw
		// its key away, and with it the session. After 5xx it keeps both.
		return d.refuse(http.StatusServiceUnavailable, stepPostponed)
	}
	want := token{Device: d.device()}
	challenge, _, ok := verifyProof(d.proof, want.Device)
	switch {
	case want.Device == nil:
		return d.end()
	case d.proof == "":
		return d.challenge(want, stepChallenged)
	case !ok:
		return d.refuse(http.StatusBadRequest, refusedProof)
	case !m.answers(challenge, want, s.now):
		return d.challenge(want, refusedChallenge)
	}
	step := stepRefreshed
	if s.device() == nil {
		s.binding, step = want.Device, stepBound
		if saved, _ := m.save(d.w.Header(), s); saved.Reason != Bound {
			return d.end() // with the key, it doesn't fit into a cookie
		}
	}
	d.giveTicket(want)
	d.instruct(d.id)
	return step
}

// mayBeGoodElsewhere reports whether a copy of the server that has other keys, limits,
// fields or another clock may take the cookie that this one has refused.
func (s *Session[T]) mayBeGoodElsewhere() bool {
	v := s.Verdict()
	return v == UnknownKey || v == FromFuture || v == TooOld || v == Expired ||
		v == Malformed && s.cookie.Passed == passedMAC
}

// device returns the key that has to sign for the session, at the request of a browser
// that has registered it under an identifier, or nil if what it has registered is of no
// use any more.
func (d *deviceStep[T]) device() []byte {
	t, ok := d.m.openToken(forIdentifier, d.id)
	bound, verdict := d.s.device(), d.s.Verdict()
	switch {
	case verdict != Valid && verdict != Unproven:
		return nil
	case bound != nil && (!ok || bytes.Equal(t.Device, bound)):
		// A browser never changes an identifier, so it may be sealed with a key
		// that was dropped since. The session itself says which device it is.
		return bound
	case bound == nil && ok && d.m.o.Bind > 0:
		return t.Device
	}
	return nil
}

// giveTicket sets a ticket for the device of t. The browser gives it up a fifth of its
// time before, or maxSkew at most: a request may take its time on the way, and another
// copy's clock may be ahead of this one's.
func (d *deviceStep[T]) giveTicket(t token) {
	m := d.m
	good := cmp.Or(m.o.Bind, ticketDefault)
	early := min(good/5, maxSkew*time.Second)
	t.Time = uint32(d.s.now + seconds(good))
	http.SetCookie(d.w, m.newCookie(m.ticket, m.sealToken(forTicket, t), int(seconds(good-early))))
}

// object is one of JSON.
type object map[string]any

// instruct tells a browser to go on with what it has registered: which requests wait for
// a ticket, all to this origin but the assets, and what a ticket is.
func (d *deviceStep[T]) instruct(id string) {
	m := d.m
	rules := []object{}
	for _, path := range m.o.Assets {
		rules = append(rules, object{"type": "exclude", "domain": "*", "path": path})
	}
	// The attributes are those of the ticket, or the browser doesn't know it again.
	_, attributes, _ := strings.Cut(m.newCookie(m.ticket, "", 0).String(), "; ")
	d.reply(object{
		"session_identifier": id,
		"refresh_url":        m.o.BindPath + "/refresh",
		"scope":              object{"include_site": false, "scope_specification": rules},
		"credentials": []object{{
			"type": "cookie", "name": m.ticket, "attributes": attributes,
		}},
	})
}

// end tells a browser to forget what it has registered.
func (d *deviceStep[T]) end() string {
	d.reply(object{"session_identifier": d.id, "continue": false})
	return stepEnded
}

// reply sends instructions to a browser.
func (d *deviceStep[T]) reply(instructions object) {
	d.w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(d.w).Encode(instructions) // fails only when the client has gone
}

// challenge asks a browser to prove that it has the device's key.
func (d *deviceStep[T]) challenge(t token, step string) string {
	challenge := d.m.challenge(t, d.s.now)
	d.w.Header().Set("Secure-Session-Challenge", `"`+challenge+`";id="`+d.id+`"`)
	return d.refuse(http.StatusForbidden, step)
}
