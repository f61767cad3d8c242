package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Device binding ties a session to the device on which it began, so that a
// copied cookie is soon worthless: Device Bound Session Credentials (DBSC,
// https://www.w3.org/TR/dbsc/), here without a store. What a server would
// remember travels sealed with the browser:
//
//  1. save offers to bind a session: a header with a challenge.
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
// A browser that knows nothing of this ignores the header of step 1. A server of
// your own adds this to what it does without:
//
//	b := newBinding(s, 10*time.Minute, "/style.css")
//	http.HandleFunc("POST "+registerPath, func(w http.ResponseWriter, r *http.Request) {
//		b.register(w, r)
//	})
//	http.HandleFunc("POST "+refreshPath, func(w http.ResponseWriter, r *http.Request) {
//		b.refresh(w, r)
//	})
//
// and begins its handlers with
//
//	v := s.load(r)
//	if v.detour(w, r) {
//		return
//	}
//
// What register and refresh return is for its metrics.

// Where a site has register and refresh answer posts.
const (
	registerPath = "/session/register"
	refreshPath  = "/session/refresh"
)

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

// binding binds the sessions of a site to devices.
type binding[T any] struct {
	*sessions[T]
	good   time.Duration // for which a ticket is good; 0 to bind nothing and ask for no ticket
	ticket string        // the name of the cookie that carries a ticket
	assets []string      // paths that need no session, so that they never wait for a ticket
}

// newBinding adds binding to m, once and before m is used. With 0 for good it
// binds no new sessions, but still serves those that are bound already. It panics
// if there is something to bind and m's cookies are not for HTTPS only: browsers
// bind nothing else.
func newBinding[T any](m *sessions[T], good time.Duration, assets ...string) *binding[T] {
	if good > 0 && !m.secure {
		panic("only sessions whose cookies are for HTTPS only can be bound to devices")
	}
	// Chromium takes no ticket whose name begins with __Host-Http-.
	name := "__Host-" + strings.TrimPrefix(m.cookie, securePrefix) + "-ticket"
	b := &binding[T]{sessions: m, good: good, ticket: name, assets: assets}
	if m.onWrite = b.wrote; good > 0 {
		m.onOpen = b.prove
	}
	return b
}

// token is what travels sealed beside a session: KEYID.SECURECOOKIE, like its cookie.
type token struct {
	_       struct{} `cbor:",toarray"`
	Time    uint32   // Unix seconds when it was made; of a ticket, until when it is good
	Session uint32   // Unix seconds when its session began
	Device  []byte   // empty in a challenge for a registration, which may bring any key
	Nonce   []byte   // only in a challenge, so that none is like another
}

// sealToken returns t sealed under the ring's current key.
func (r *ring) sealToken(k tokenKind, t token) string {
	// Neither can fail: the key has the right length, and there is no limit to exceed.
	sealed := must(r.seal.tokens[k].Encode(string(k), must(encoding.Marshal(t))))
	return r.seal.id + "." + sealed
}

// openToken returns what is in a token, if it is a good one of this kind, under
// whichever key of the ring. What its time means is for the caller to judge.
func (r *ring) openToken(k tokenKind, value string) (t token, ok bool) {
	id, sealed, _ := strings.Cut(value, ".")
	c := r.codecs[id]
	if c == nil || !canonical(sealed) {
		return token{}, false
	}
	var content []byte
	if c.tokens[k].Decode(string(k), sealed, &content) != nil {
		return token{}, false
	}
	return t, decoding.Unmarshal(content, &t) == nil
}

// prove refuses a session that is bound to a device unless a live ticket of
// that device came with r, and remembers until when that is good.
func (m *binding[T]) prove(v *visit[T], r *http.Request) {
	if v.verdict != valid || v.device == nil {
		return
	}
	cookies := r.CookiesNamed(m.ticket)
	for _, c := range cookies[:min(len(cookies), maxCandidates)] {
		t, ok := m.ring.Load().openToken(ticketKind, c.Value)
		if ok && v.owns(t) && v.now <= int64(t.Time) {
			v.until = max(v.until, int64(t.Time))
		}
	}
	if v.until == 0 {
		v.session = *new(T)
		v.refuse(checkProof, unproven)
	}
}

// owns reports whether t is of v's session and of the device that it is bound to.
func (v *visit[T]) owns(t token) bool {
	return t.Session == v.payload.Began && bytes.Equal(t.Device, v.device)
}

// detour answers r with an empty page that loads itself again, if that helps,
// and reports whether it has. A browser renews no ticket for a visitor who
// follows a link from another origin, but it does when our own page asks.
func (v *visit[T]) detour(w http.ResponseWriter, r *http.Request) bool {
	if v.verdict != unproven || r.Method != http.MethodGet ||
		r.Header.Get("Sec-Fetch-Mode") != "navigate" || !fromElsewhere(r) {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Refresh", "0")
	return true
}

// fromElsewhere reports whether, by a browser's word, a page of another origin has
// caused r.
func fromElsewhere(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	return from == "cross-site" || from == "same-site"
}

// wrote is called when a session's cookie was written, or deleted if began is 0.
// It offers the browser to bind a session that isn't bound. If another one was
// before, it deletes the ticket, so that the browser calls refresh before its next
// request, and is told the end.
func (m *binding[T]) wrote(w http.ResponseWriter, v *visit[T], began uint32) {
	if v.device != nil && v.continues() && began > 0 {
		return
	}
	if v.device != nil {
		m.setCookie(w, m.ticket, "", -1)
	}
	if m.good > 0 && began > 0 {
		challenge := m.challenge(token{Session: began}, v.now)
		w.Header().Set("Secure-Session-Registration",
			`(ES256);path="`+registerPath+`";challenge="`+challenge+`"`)
		v.offered = true
	}
}

// challenge returns a challenge that is made at the time now for the session
// and the device of t.
func (m *binding[T]) challenge(t token, now int64) string {
	t.Time, t.Nonce = uint32(now), make([]byte, 8)
	rand.Read(t.Nonce) // never fails, says its documentation
	return m.ring.Load().sealToken(challengeKind, t)
}

// answers reports whether challenge is one that was made for the session and
// the device of t, and is still good at the time now.
func (m *binding[T]) answers(challenge string, t token, now int64) bool {
	c, ok := m.ring.Load().openToken(challengeKind, challenge)
	age := now - int64(c.Time)
	return ok && c.Session == t.Session && bytes.Equal(c.Device, t.Device) &&
		-maxSkew <= age && age <= challengeAge
}

// event is what became of a step of device binding.
type event string

const (
	offered    event = "offered"    // a browser was offered to bind its session
	registered event = "registered" // it has registered its device's key
	challenged event = "challenged" // it was asked to prove that it has the key
	newlyBound event = "bound"      // it did so for the first time: the session is bound
	refreshed  event = "refreshed"  // it did so again, and got a new ticket
	ended      event = "ended"      // it was told that what it has registered is over
	postponed  event = "postponed"  // it was told to keep that, and to ask again
	detoured   event = "detoured"   // it was made to ask for a page again, with a ticket

	refusedSize      event = "refused_size"      // what it sent is too large
	refusedForm      event = "refused_form"      // there is no identifier, or one that isn't ours
	refusedOff       event = "refused_off"       // this copy of the server binds no sessions
	refusedSession   event = "refused_session"   // there is no session to bind
	refusedBound     event = "refused_bound"     // the session is bound already
	refusedProof     event = "refused_proof"     // the signature, its key or its form is wrong
	refusedChallenge event = "refused_challenge" // what was signed is too old, or another

	skippedUnreachable event = "skipped_unreachable"    // a browser couldn't reach refresh
	skippedServer      event = "skipped_server_error"   // refresh has answered it with 5xx
	skippedQuota       event = "skipped_quota_exceeded" // it must not sign so often
	skippedOther       event = "skipped_other"
)

// refuse answers with a status and a sentence about an event, which it returns.
// A browser shows that to nobody.
func refuse(w http.ResponseWriter, status int, e event) event {
	http.Error(w, "Device binding: "+string(e)+".", status)
	return e
}

// skipped returns why, by its own word, a browser made a request without
// renewing its ticket, or "" if it says nothing of that.
func skipped(r *http.Request) event {
	reason, _, _ := strings.Cut(r.Header.Get("Secure-Session-Skipped"), ";")
	switch e := event("skipped_" + reason); e {
	case "skipped_":
		return ""
	case skippedUnreachable, skippedServer, skippedQuota:
		return e
	}
	return skippedOther
}

// proofOf returns the proof that a request to register or refresh brings, if
// any, and whether the request is of a size that a browser would send.
func proofOf(w http.ResponseWriter, r *http.Request) (proof string, ok bool) {
	proof = unquoted(r.Header.Get("Secure-Session-Response"))
	ok = len(proof) <= maxProof && r.ContentLength <= maxProof
	if ok { // or this would wait for a body that is too large
		_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxProof))
		ok = err == nil
	}
	if !ok {
		closeUnread(w, r)
	}
	return proof, ok
}

// closeUnread has the server close a connection over which a body may still come.
// Or it would wait for that before it answers, to use the connection again.
func closeUnread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// unquoted returns a header's value without quotes. Chromium 156 sends none,
// but the draft speaks of structured fields, whose strings have them (RFC 9651).
func unquoted(value string) string { return strings.Trim(value, `"`) }

// register answers a browser that registers the key of its device. It hands
// back an identifier; the session stays as it is.
func (m *binding[T]) register(w http.ResponseWriter, r *http.Request) event {
	v := m.load(r)
	proof, ok := proofOf(w, r)
	switch {
	case !ok:
		return refuse(w, http.StatusRequestEntityTooLarge, refusedSize)
	case m.good == 0:
		return refuse(w, http.StatusBadRequest, refusedOff)
	case v.device != nil:
		return refuse(w, http.StatusBadRequest, refusedBound)
	case v.verdict != valid:
		return refuse(w, http.StatusBadRequest, refusedSession)
	}
	challenge, device, err := verifyProof(proof, nil)
	if err != nil {
		return refuse(w, http.StatusBadRequest, refusedProof)
	}
	began := v.payload.Began
	if !m.answers(challenge, token{Session: began}, v.now) {
		return refuse(w, http.StatusBadRequest, refusedChallenge)
	}
	if len(r.CookiesNamed(m.ticket)) > 0 {
		// It is another session's, and while the browser has it, it asks for no new one.
		m.setCookie(w, m.ticket, "", -1)
	}
	m.instruct(w, m.ring.Load().sealToken(identifierKind,
		token{Time: uint32(v.now), Session: began, Device: device}))
	return registered
}

// refresh answers a browser that wants a ticket. Without a proof it gets a
// challenge, with a good one a ticket, and the first time its session is bound.
// size is that of the session cookie if it was written then, or 0.
//
// It does so for bound sessions also while binding is switched off, so that a
// browser finds its key still good when it is switched on again, or when the
// copy next door has it on.
func (m *binding[T]) refresh(w http.ResponseWriter, r *http.Request) (e event, size int) {
	v := m.load(r)
	proof, ok := proofOf(w, r)
	id := unquoted(r.Header.Get("Sec-Secure-Session-Id"))
	keyID, sealed, _ := strings.Cut(id, ".")
	switch {
	case !ok || len(id) > maxIdentifier:
		return refuse(w, http.StatusRequestEntityTooLarge, refusedSize), 0
	case !isKeyID(keyID) || !canonical(sealed): // from here on it may stand in an answer
		return refuse(w, http.StatusBadRequest, refusedForm), 0
	case m.secure && v.mayBeGoodElsewhere():
		// After a 4xx other than 403, and after being told the end, a browser would throw
		// its key away, and with it the session. After 5xx it keeps both.
		return refuse(w, http.StatusServiceUnavailable, postponed), 0
	}
	device := m.deviceOf(v, id)
	if device == nil {
		return end(w, id), 0
	}
	want := token{Session: v.payload.Began, Device: device}
	if proof == "" {
		return m.challengeAgain(w, want, id, v.now, challenged), 0
	}
	challenge, _, err := verifyProof(proof, device)
	if err != nil {
		return refuse(w, http.StatusBadRequest, refusedProof), 0
	}
	if !m.answers(challenge, want, v.now) {
		return m.challengeAgain(w, want, id, v.now, refusedChallenge), 0
	}
	e = refreshed
	if v.device == nil {
		v.device, v.binding, e = device, true, newlyBound
		why, written, err := m.save(w, v)
		if why != bound || err != nil { // with the key, it doesn't fit into a cookie
			return end(w, id), 0
		}
		size = written
	}
	m.giveTicket(w, want, v.now)
	m.instruct(w, id)
	return e, size
}

// mayBeGoodElsewhere reports whether a copy of the server that has other keys,
// limits, fields or another clock may take the cookie that this one has refused.
func (v *visit[T]) mayBeGoodElsewhere() bool {
	return v.verdict == unknownKey || v.passed >= checkMAC && v.passed < checkIdle
}

// deviceOf returns the key that has to sign for the session of v, at the
// request of a browser that has registered it under an identifier, or nil if
// what it has registered is of no use any more.
func (m *binding[T]) deviceOf(v *visit[T], id string) []byte {
	t, ok := m.ring.Load().openToken(identifierKind, id)
	switch {
	case v.verdict != valid && v.verdict != unproven:
		return nil
	case v.device != nil && (!ok || v.owns(t)):
		// A browser never changes an identifier, so it may be sealed with a key
		// that was dropped since. The session itself says which device it is.
		return v.device
	case v.device == nil && ok && m.good > 0 && t.Session == v.payload.Began:
		return t.Device
	}
	return nil
}

// giveTicket sets a ticket for the session and the device of t. The browser
// gives it up a fifth of its time before, or maxSkew at most: a request may take
// its time on the way, and another copy's clock may be ahead of this one's.
func (m *binding[T]) giveTicket(w http.ResponseWriter, t token, now int64) {
	good := cmp.Or(m.good, ticketDefault)
	t.Time = uint32(now + seconds(good))
	early := min(good/5, maxSkew*time.Second)
	m.setCookie(w, m.ticket, m.ring.Load().sealToken(ticketKind, t), int(seconds(good-early)))
}

// instruct tells a browser to go on with what it has registered: which requests
// wait for a ticket, all to this origin but the assets, and what a ticket is.
func (m *binding[T]) instruct(w http.ResponseWriter, id string) {
	type object map[string]any
	rules := []object{}
	for _, path := range m.assets {
		rules = append(rules, object{"type": "exclude", "domain": "*", "path": path})
	}
	reply(w, object{
		"session_identifier": id,
		"refresh_url":        refreshPath,
		"scope":              object{"include_site": false, "scope_specification": rules},
		"credentials": []object{{
			// The attributes are those of setCookie, or the browser doesn't know it again.
			"type": "cookie", "name": m.ticket,
			"attributes": "Path=/; Secure; HttpOnly; SameSite=Lax",
		}},
	})
}

// end tells a browser to forget what it has registered.
func end(w http.ResponseWriter, id string) event {
	reply(w, map[string]any{"session_identifier": id, "continue": false})
	return ended
}

// reply sends instructions to a browser.
func reply(w http.ResponseWriter, instructions any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(instructions) // fails only when the client has gone
}

// challengeAgain asks a browser to prove that it has the device's key.
func (m *binding[T]) challengeAgain(
	w http.ResponseWriter, t token, id string, now int64, e event) event {
	w.Header().Set("Secure-Session-Challenge", `"`+m.challenge(t, now)+`";id="`+id+`"`)
	return refuse(w, http.StatusForbidden, e)
}

// errProof says that a proof is not good. No reason is given, since a browser's
// proofs are always good.
var errProof = errors.New("the proof is not good")

// verifyProof returns the challenge that is signed by a proof, which is a JWT
// (RFC 7519), and the key that has signed it. That must be device; if it is
// nil, for a registration, it is the key that the proof brings along. Only
// ES256 will do: it is what browsers have, and the draft's other algorithm,
// RS256, is PKCS #1 v1.5.
func verifyProof(proof string, device []byte) (challenge string, by []byte, err error) {
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", nil, err
	}
	header, registers := jws.Signatures[0].Protected, device == nil
	if header.ExtraHeaders["typ"] != "dbsc+jwt" || registers != (header.JSONWebKey != nil) {
		return "", nil, errProof
	}
	var key *ecdsa.PublicKey
	if registers {
		key, _ = header.JSONWebKey.Key.(*ecdsa.PublicKey)
	} else if x, y := elliptic.UnmarshalCompressed(elliptic.P256(), device); x != nil {
		key = &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}
	}
	if key == nil || key.Curve != elliptic.P256() {
		return "", nil, errProof
	}
	content, err := jws.Verify(key)
	if err != nil {
		return "", nil, err
	}
	var claims struct {
		Challenge string `json:"jti"`
	}
	if err := json.Unmarshal(content, &claims); err != nil {
		return "", nil, err
	}
	return claims.Challenge, elliptic.MarshalCompressed(key.Curve, key.X, key.Y), nil
}
