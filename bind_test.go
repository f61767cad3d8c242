package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The names of the two cookies of a bound session.
const (
	boundCookie  = "__Host-Http-session"
	ticketCookie = "__Host-session-ticket"
)

// newBindApp returns an app over HTTPS that binds sessions, or with bind 0, one
// where that is switched off.
func newBindApp(t testing.TB, o options, bind time.Duration) *app {
	t.Helper()
	o.secure, o.bind = true, bind
	return newTestApp(t, o)
}

// sender makes one request and returns the response and its body.
type sender func(method, path, body string, header http.Header) (*http.Response, string, error)

// sendTo returns a sender to an app in this process.
func sendTo(a *app) sender {
	return func(method, path, body string, header http.Header) (*http.Response, string, error) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header = header
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w.Result(), w.Body.String(), nil
	}
}

// bindClient does what a browser does that knows device binding.
type bindClient struct {
	t    testing.TB
	send sender
	key  *ecdsa.PrivateKey // of the device; made when a session is offered to be bound
	id   string            // of what is registered; empty when nothing is

	jar       map[string]*http.Cookie
	ends      map[string]time.Time // of the cookies in it
	challenge string               // the last one that it was given
	refreshes int
	unable    bool // it takes no offers
}

func newBindClient(t testing.TB, send sender) *bindClient {
	return &bindClient{
		t: t, send: send, jar: make(map[string]*http.Cookie), ends: make(map[string]time.Time),
	}
}

// ask makes a request as a browser does: with a ticket, if it can get one, and
// afterwards it takes an offer to bind the session.
func (b *bindClient) ask(method, path, body string, header ...string) (*http.Response, string) {
	b.t.Helper()
	if _, there := b.cookies()[ticketCookie]; b.id != "" && !there {
		b.refresh()
	}
	res, text := b.raw(method, path, body, header...)
	if offer := res.Header.Get("Secure-Session-Registration"); offer != "" && !b.unable {
		b.takeOffer(offer)
		b.register()
	}
	return res, text
}

// raw makes a request with what is in the jar.
func (b *bindClient) raw(method, path, body string, header ...string) (*http.Response, string) {
	b.t.Helper()
	h := http.Header{}
	if method == "POST" && body != "" {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	if _, given := h["Cookie"]; !given && len(b.cookies()) > 0 {
		h.Set("Cookie", cookieLine(b.cookies()))
	}
	res, text, err := b.send(method, path, body, h)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, path, err)
		return &http.Response{Header: http.Header{}}, ""
	}
	for _, c := range res.Cookies() {
		b.jar[c.Name], b.ends[c.Name] = c, time.Now().Add(time.Duration(c.MaxAge)*time.Second)
	}
	return res, text
}

// cookies returns the values of those that have not run out.
func (b *bindClient) cookies() map[string]string {
	all := make(map[string]string)
	for name, c := range b.jar {
		if time.Now().Before(b.ends[name]) {
			all[name] = c.Value
		}
	}
	return all
}

// cookieLine returns cookies as they stand in a header.
func cookieLine(cookies map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(cookies)) {
		parts = append(parts, name+"="+cookies[name])
	}
	return strings.Join(parts, "; ")
}

var offerForm = regexp.MustCompile(`^\(ES256\);path="/session/register";challenge="([\w.=-]+)"$`)

// takeOffer makes a key for a session that can be bound.
func (b *bindClient) takeOffer(offer string) {
	b.t.Helper()
	m := offerForm.FindStringSubmatch(offer)
	if m == nil {
		b.t.Fatalf("got the offer %q", offer)
	}
	b.challenge, b.key = m[1], newDeviceKey()
}

// register registers the key, and remembers the identifier.
func (b *bindClient) register() *http.Response {
	b.t.Helper()
	proof := newProof(b.key, b.challenge).withKey(&b.key.PublicKey).signed()
	res, text := b.raw("POST", registerPath, "", "Secure-Session-Response", proof)
	b.instructed(res, text)
	return res
}

// refresh gets a ticket, and returns the last answer.
func (b *bindClient) refresh() *http.Response {
	b.t.Helper()
	b.refreshes++
	res, text := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
	if res.StatusCode == http.StatusForbidden {
		b.takeChallenge(res)
		proof := newProof(b.key, b.challenge).signed()
		res, text = b.raw("POST", refreshPath, "",
			"Sec-Secure-Session-Id", b.id, "Secure-Session-Response", proof)
	}
	b.instructed(res, text)
	return res
}

var challengeForm = regexp.MustCompile(`^"([\w.=-]+)";id="([\w.=-]+)"$`)

// takeChallenge remembers the challenge that is in an answer.
func (b *bindClient) takeChallenge(res *http.Response) {
	b.t.Helper()
	m := challengeForm.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
	if m == nil || m[2] != b.id {
		b.t.Fatalf("got the challenge %q", res.Header.Get("Secure-Session-Challenge"))
	}
	b.challenge = m[1]
}

// instructed does what an answer to register or refresh says: it keeps the
// registration, or forgets it. Chromium 156 keeps it after a 5xx, too.
func (b *bindClient) instructed(res *http.Response, text string) {
	b.t.Helper()
	if res.StatusCode >= 500 {
		return
	}
	var say struct {
		ID       string `json:"session_identifier"`
		Continue *bool
	}
	if res.StatusCode != 200 || json.Unmarshal([]byte(text), &say) != nil ||
		say.Continue != nil && !*say.Continue || b.id != "" && say.ID != b.id {
		b.id = ""
		return
	}
	b.id = say.ID
}

// bindAlice has a client set a name and bind its session.
func bindAlice(t testing.TB, send sender) *bindClient {
	t.Helper()
	b := newBindClient(t, send)
	b.ask("POST", "/set_name", "name=Alice")
	if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" || b.id == "" {
		t.Fatalf("got %q and the identifier %q", text, b.id)
	}
	if len(b.cookies()) != 2 {
		t.Fatalf("got the cookies %v, want a session and a ticket", b.cookies())
	}
	return b
}

func newDeviceKey() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// proof is a JWT in the making.
type proof struct {
	header, claims map[string]any
	sign           func(input []byte) []byte
}

// newProof returns the proof that a browser makes of a challenge.
func newProof(key *ecdsa.PrivateKey, challenge string) proof {
	return proof{
		header: map[string]any{"alg": "ES256", "typ": "dbsc+jwt"},
		claims: map[string]any{"jti": challenge},
		sign: func(input []byte) []byte {
			sum := sha256.Sum256(input)
			r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				panic(err)
			}
			size := (key.Curve.Params().BitSize + 7) / 8
			return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		},
	}
}

// with returns p with another field of its header.
func (p proof) with(name string, value any) proof {
	p.header = maps.Clone(p.header)
	p.header[name] = value
	return p
}

// withKey returns p with a public key in its header, as a registration has it.
func (p proof) withKey(key *ecdsa.PublicKey) proof { return p.with("jwk", jwk(key)) }

func jwk(key *ecdsa.PublicKey) map[string]any {
	point := must(key.Bytes())[1:]
	return map[string]any{
		"kty": "EC", "crv": key.Curve.Params().Name,
		"x": b64(point[:len(point)/2]), "y": b64(point[len(point)/2:]),
	}
}

// signed returns the proof as it is sent.
func (p proof) signed() string {
	input := b64(must(json.Marshal(p.header))) + "." + b64(must(json.Marshal(p.claims)))
	return input + "." + b64(p.sign([]byte(input)))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// An unbound payload has the bytes that it always had, and a bound one has the
// device's key as one element more.
func TestDeviceInPayload(t *testing.T) {
	plain := []byte("\x83\x1a\x69\x55\xb9\x00\x19\x0e\x10\xa1\x64Name\x65Alice")
	if got := withDevice(slices.Clone(plain), nil); !bytes.Equal(got, plain) {
		t.Errorf("got % x without a device", got)
	}
	device := []byte(bytes.Repeat([]byte{7}, deviceBytes))
	with := withDevice(slices.Clone(plain), device)
	want := "\x84" + string(plain[1:]) + "\x58\x21" + string(device)
	if string(with) != want {
		t.Errorf("got % x, want % x", with, want)
	}
	var four []any
	if err := decoding.Unmarshal(with, &four); err != nil || len(four) != 4 {
		t.Errorf("got %v and %v, want four elements of CBOR", four, err)
	}
	rest, got := cutDevice(slices.Clone(with))
	if !bytes.Equal(rest, plain) || !bytes.Equal(got, device) {
		t.Errorf("got % x and % x back", rest, got)
	}
	for name, content := range map[string][]byte{
		"nothing": nil, "one byte": {0x84}, "three elements": plain, "another end": with[:len(with)-1],
		"text for bytes":   bytes.Replace(with, []byte{0x58, 0x21}, []byte{0x78, 0x21}, 1),
		"another length":   bytes.Replace(with, []byte{0x58, 0x21}, []byte{0x58, 0x20}, 1),
		"only the element": with[len(plain)+1:],
	} {
		if rest, device := cutDevice(slices.Clone(content)); device != nil || !bytes.Equal(rest, content) {
			t.Errorf("%s: got % x and the device % x", name, rest, device)
		}
	}
	// What looks like a device in a payload that isn't bound stays where it is.
	m := newTestManager(t, options{})
	value := sealBytes(t, m, append([]byte{0x84, 0, 0, 0xa0, 0x58, deviceBytes - 1}, with[:32]...))
	if v := openValue(m, value); v.verdict != malformed || v.device != nil {
		t.Errorf("got %v and the device % x", v.verdict, v.device)
	}
}

// A session is bound at the first refresh, and from then on it takes a ticket.
func TestBinding(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		synctest.Test(t, func(t *testing.T) {
			a := newBindApp(t, o, 10*time.Minute)
			b := newBindClient(t, sendTo(a))
			res, _ := b.raw("POST", "/set_name", "name=Alice")
			b.takeOffer(res.Header.Get("Secure-Session-Registration"))
			unbound := b.cookies()[boundCookie]

			res = b.register()
			if res.StatusCode != 200 || res.Header["Set-Cookie"] != nil || b.id == "" {
				t.Fatalf("register: got status %d and cookies %q", res.StatusCode, res.Header["Set-Cookie"])
			}
			// The browser may still reject what it was told. Nobody is locked out.
			time.Sleep(time.Hour)
			if _, text := b.raw("GET", "/get_name", ""); text != "Name: Alice\n" {
				t.Errorf("registered, not bound: got %q", text)
			}

			res = b.refresh()
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" ||
				res.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("refresh: got status %d and %v", res.StatusCode, res.Header)
			}
			if b.cookies()[boundCookie] == unbound {
				t.Error("got the same cookie when the session was bound")
			}
			ticket := b.jar[ticketCookie]
			if ticket == nil || ticket.MaxAge != 540 || !ticket.Secure || !ticket.HttpOnly ||
				ticket.Path != "/" || ticket.Domain != "" || ticket.SameSite != http.SameSiteLaxMode {
				t.Fatalf("got the ticket %v", ticket)
			}
			if session := b.jar[boundCookie]; session.MaxAge != 336*3600 {
				t.Errorf("got the session cookie for %d seconds", session.MaxAge)
			}

			// Good for ten minutes to the second; the browser gives it up before.
			all := b.cookies()
			for _, tt := range []struct {
				later time.Duration
				want  verdict
			}{{0, valid}, {600 * time.Second, valid}, {time.Second, unproven}} {
				time.Sleep(tt.later)
				v := loadAll(a, all)
				if v.verdict != tt.want || (v.session.Name != "") != (tt.want == valid) {
					t.Errorf("got %v and %q, want %v", v.verdict, v.session.Name, tt.want)
				}
			}
			if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" || b.refreshes != 2 {
				t.Errorf("got %q after %d refreshes, want the name after two", text, b.refreshes)
			}
			// The session goes on where it was: changed, it is still bound, and nothing is offered.
			res, _ = b.ask("POST", "/set_name", "name=Bob")
			if v := loadAll(a, b.cookies()); v.verdict != valid || v.device == nil ||
				v.session.Name != "Bob" || res.Header.Get("Secure-Session-Registration") != "" {
				t.Errorf("got %v, bound %v, and %q", v.verdict, v.device != nil, v.session.Name)
			}
		})
	})
}

// loadAll has an app judge cookies.
func loadAll(a *app, cookies map[string]string) *visit[session] {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", cookieLine(cookies))
	return a.sessions.load(r)
}

// What a thief has is worth nothing without the device, as soon as the ticket
// has run out.
func TestStolenCookies(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		synctest.Test(t, func(t *testing.T) {
			a := newBindApp(t, o, 10*time.Minute)
			b := bindAlice(t, sendTo(a))
			stolen := b.cookies()
			other := bindAlice(t, sendTo(a)) // of the same second, on another device
			unbound := newBindClient(t, sendTo(a))
			unbound.raw("POST", "/set_name", "name=Eve")

			with := func(ticket string) map[string]string {
				return map[string]string{boundCookie: stolen[boundCookie], ticketCookie: ticket}
			}
			m := a.sessions
			began := loadAll(a, stolen).payload.Began
			device := loadAll(a, stolen).device
			later := uint32(time.Now().Unix() + 600)
			forge := func(r *ring, k tokenKind, t token) string { return r.sealToken(k, t) }
			good := token{Time: later, Session: began, Device: device}
			strange := newTestManager(t, options{keys: []string{keyC}}).ring.Load()
			tests := []struct {
				name    string
				cookies map[string]string
				want    verdict
			}{
				{"at once", stolen, valid},
				{"without a ticket", map[string]string{boundCookie: stolen[boundCookie]}, unproven},
				{"an empty ticket", with(""), unproven},
				{"garbage", with("garbage"), unproven},
				{"another device's ticket", with(other.cookies()[ticketCookie]), unproven},
				{"the session as its ticket", with(stolen[boundCookie]), unproven},
				{"the identifier", with(b.id), unproven},
				{"a challenge", with(b.challenge), unproven},
				{"a good one", with(forge(m.ring.Load(), ticketKind, good)), valid},
				{"of a strange key", with(forge(strange, ticketKind, good)), unproven},
				{"of another kind", with(forge(m.ring.Load(), identifierKind, good)), unproven},
				{"of an earlier session of the device", with(forge(m.ring.Load(), ticketKind,
					token{Time: later, Session: began - 1, Device: device})), unproven},
				{"of a device of no bytes", with(forge(m.ring.Load(), ticketKind,
					token{Time: later, Session: began})), unproven},
				{"run out", with(forge(m.ring.Load(), ticketKind,
					token{Time: uint32(time.Now().Unix() - 1), Session: began, Device: device})), unproven},
				{"in another spelling", with(stolen[ticketCookie] + "="), unproven},
			}
			for _, tt := range tests {
				if got := loadAll(a, tt.cookies); got.verdict != tt.want ||
					(got.session.Name == "Alice") != (tt.want == valid) || !got.readable() {
					t.Errorf("%s: got %v and %q, want %v", tt.name, got.verdict, got.session.Name, tt.want)
				}
			}
			// A bad ticket beside the good one, as another program on the host could set it.
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", ticketCookie+"=x; "+cookieLine(stolen))
			if v := m.load(r); v.verdict != valid {
				t.Errorf("a bad ticket before the good one: got %v", v.verdict)
			}
			// An unbound session takes no ticket, and isn't harmed by one.
			if v := loadAll(a, map[string]string{
				boundCookie: unbound.cookies()[boundCookie], ticketCookie: "x",
			}); v.verdict != valid || v.device != nil {
				t.Errorf("unbound: got %v", v.verdict)
			}

			time.Sleep(601 * time.Second)
			thief := newBindClient(t, sendTo(a))
			res, text := thief.raw("GET", "/get_name", "", "Cookie", cookieLine(stolen))
			if text != "Name not found in session\n" || res.Header["Set-Cookie"] != nil {
				t.Errorf("got %q and the cookies %q", text, res.Header["Set-Cookie"])
			}
			// A new session that replaces the stolen cookie has nothing of it.
			thief.raw("POST", "/set_name", "name=Eve", "Cookie", cookieLine(stolen))
			if v := loadAll(a, thief.cookies()); v.verdict != valid || v.device != nil ||
				v.payload.Began == began {
				t.Errorf("got %v, bound %v", v.verdict, v.device != nil)
			}
			if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" {
				t.Errorf("the owner: got %q", text)
			}
		})
	})
}

// Of two session cookies, the one that is proven counts, wherever it stands.
func TestUnprovenAmongOthers(t *testing.T) {
	a := newBindApp(t, options{}, 10*time.Minute)
	stale := bindAlice(t, sendTo(a)).cookies()[boundCookie]
	b := newBindClient(t, sendTo(a))
	b.raw("POST", "/set_name", "name=Bob")
	bob := b.cookies()[boundCookie]
	for _, line := range []string{stale + "; " + boundCookie + "=" + bob, bob + "; " + boundCookie + "=" + stale} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", boundCookie+"="+line)
		if v := a.sessions.load(r); v.session.Name != "Bob" {
			t.Errorf("got %v and %q", v.verdict, v.session.Name)
		}
	}
}

// mutant is a proof that is not good, and what it is answered with.
type mutant struct {
	name   string
	proof  func(b *bindClient) string
	status int
	event  event
}

// badProofs are what neither register nor refresh takes. good makes what the
// step would take.
func badProofs(good func(b *bindClient) proof) []mutant {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	other := newDeviceKey()
	parts := func(b *bindClient, change func(parts []string)) string {
		parts := strings.Split(good(b).signed(), ".")
		change(parts)
		return strings.Join(parts, ".")
	}
	resign := func(p proof, alg string, sign func([]byte) []byte) string {
		p = p.with("alg", alg)
		p.sign = sign
		return p.signed()
	}
	hs256 := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write(input)
			return mac.Sum(nil)
		}
	}
	rs256 := func(input []byte) []byte {
		sum := sha256.Sum256(input)
		return must(rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, sum[:]))
	}
	ps256 := func(input []byte) []byte {
		sum := sha256.Sum256(input)
		return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, sum[:], nil))
	}
	rsaJWK := map[string]any{"kty": "RSA", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"}
	list := []mutant{
		{name: "alg none", proof: func(b *bindClient) string {
			return resign(good(b), "none", func([]byte) []byte { return nil })
		}},
		{name: "alg none with a signature", proof: func(b *bindClient) string {
			return resign(good(b), "none", good(b).sign)
		}},
		{name: "HS256 with the public key in DER", proof: func(b *bindClient) string {
			return resign(good(b), "HS256", hs256(must(x509.MarshalPKIXPublicKey(&b.key.PublicKey))))
		}},
		{name: "HS256 with the public key's bytes", proof: func(b *bindClient) string {
			return resign(good(b), "HS256", hs256(must(b.key.PublicKey.Bytes())))
		}},
		{name: "RS256", proof: func(b *bindClient) string { return resign(good(b), "RS256", rs256) }},
		{name: "RS256 with its key", proof: func(b *bindClient) string {
			return resign(good(b).with("jwk", rsaJWK), "RS256", rs256)
		}},
		{name: "PS256 with its key", proof: func(b *bindClient) string {
			return resign(good(b).with("jwk", rsaJWK), "PS256", ps256)
		}},
		{name: "ES256 with an RSA key", proof: func(b *bindClient) string {
			return good(b).with("jwk", rsaJWK).signed()
		}},
		{name: "ES384", proof: func(b *bindClient) string {
			p := newProof(p384, b.challenge).withKey(&p384.PublicKey)
			return p.with("alg", "ES384").signed()
		}},
		{name: "ES256 with a key on another curve", proof: func(b *bindClient) string {
			return newProof(p384, b.challenge).withKey(&p384.PublicKey).signed()
		}},
		{name: "a key that is no point of the curve", proof: func(b *bindClient) string {
			key := jwk(&b.key.PublicKey)
			key["y"] = key["x"]
			return good(b).with("jwk", key).signed()
		}},
		{name: "a private key in the header", proof: func(b *bindClient) string {
			key := jwk(&b.key.PublicKey)
			key["d"] = b64(must(b.key.Bytes()))
			return good(b).with("jwk", key).signed()
		}},
		{name: "signed by another key", proof: func(b *bindClient) string {
			p := good(b)
			p.sign = newProof(other, "").sign
			return p.signed()
		}},
		{name: "another type of token", proof: func(b *bindClient) string {
			return good(b).with("typ", "JWT").signed()
		}},
		{name: "an extension that is critical", proof: func(b *bindClient) string {
			return good(b).with("crit", []string{"x"}).with("x", 1).signed()
		}},
		{name: "another payload", proof: func(b *bindClient) string {
			return parts(b, func(p []string) { p[1] = b64([]byte(`{"jti":"` + b.challenge + `","a":1}`)) })
		}},
		{name: "no signature", proof: func(b *bindClient) string {
			return parts(b, func(p []string) { p[2] = "" })
		}},
		{name: "a signature in DER", proof: func(b *bindClient) string {
			p := good(b)
			p.sign = func(input []byte) []byte {
				sum := sha256.Sum256(input)
				return must(ecdsa.SignASN1(rand.Reader, b.key, sum[:]))
			}
			return p.signed()
		}},
		{name: "a signature of zeros", proof: func(b *bindClient) string {
			return parts(b, func(p []string) { p[2] = b64(make([]byte, 64)) })
		}},
		{name: "two parts", proof: func(b *bindClient) string {
			return strings.Join(strings.Split(good(b).signed(), ".")[:2], ".")
		}},
		{name: "the other serialisation", proof: func(b *bindClient) string {
			p := strings.Split(good(b).signed(), ".")
			return fmt.Sprintf(`{"protected":"%s","payload":"%s","signature":"%s"}`, p[0], p[1], p[2])
		}},
		{name: "claims that are no object", proof: func(b *bindClient) string {
			input := strings.Split(good(b).signed(), ".")[0] + "." + b64([]byte(`"jti"`))
			return input + "." + b64(good(b).sign([]byte(input)))
		}},
		{name: "a challenge that is no text", proof: func(b *bindClient) string {
			p := good(b)
			p.claims = map[string]any{"jti": 7}
			return p.signed()
		}},
		{name: "garbage", proof: func(*bindClient) string { return "garbage" }},
		{name: "dots", proof: func(*bindClient) string { return ".." }},
	}
	for i := range list {
		list[i].status, list[i].event = 400, refusedProof
	}
	return append(list, mutant{
		name:   "too large",
		proof:  func(b *bindClient) string { return good(b).with("pad", strings.Repeat("x", maxProof)).signed() },
		status: 413, event: refusedSize,
	})
}

// badChallenges are what was never to be signed at this step. The client has a
// good challenge.
func badChallenges(t *testing.T, a *app, good func(b *bindClient) proof, status int) []mutant {
	t.Helper()
	signs := func(challenge func(b *bindClient) string) func(b *bindClient) string {
		return func(b *bindClient) string {
			p := good(b)
			p.claims = map[string]any{"jti": challenge(b)}
			return p.signed()
		}
	}
	ours := a.sessions.ring.Load()
	// like seals what is in the client's own challenge, but for one change.
	like := func(r *ring, k tokenKind, change func(c *token)) func(b *bindClient) string {
		return signs(func(b *bindClient) string {
			c, ok := ours.openToken(challengeKind, b.challenge)
			if !ok {
				b.t.Fatal("the client has no good challenge")
			}
			change(&c)
			return r.sealToken(k, c)
		})
	}
	asIs := func(*token) {}
	strange := newTestManager(t, options{keys: []string{keyC}}).ring.Load()
	device := newDevice()
	list := []mutant{
		{name: "no challenge", proof: signs(func(*bindClient) string { return "" })},
		{name: "garbage for a challenge", proof: signs(func(*bindClient) string { return "garbage" })},
		{name: "older than its minute", proof: like(ours, challengeKind, func(c *token) {
			c.Time -= challengeAge + 1
		})},
		{name: "from the future", proof: like(ours, challengeKind, func(c *token) {
			c.Time += maxSkew + 1
		})},
		{name: "of another session", proof: like(ours, challengeKind, func(c *token) { c.Session-- })},
		{name: "of another device", proof: like(ours, challengeKind, func(c *token) {
			c.Device = device
		})},
		{name: "of the other step", proof: like(ours, challengeKind, func(c *token) {
			if len(c.Device) > 0 {
				c.Device = nil
			} else {
				c.Device = device
			}
		})},
		{name: "made by somebody else", proof: like(strange, challengeKind, asIs)},
		{name: "a ticket", proof: like(ours, ticketKind, asIs)},
		{name: "an identifier", proof: like(ours, identifierKind, asIs)},
		{name: "the session cookie", proof: signs(func(b *bindClient) string {
			return b.cookies()[boundCookie]
		})},
		{name: "in another spelling", proof: signs(func(b *bindClient) string {
			return b.challenge + "="
		})},
	}
	for i := range list {
		list[i].status, list[i].event = status, refusedChallenge
	}
	return list
}

// newDevice returns the key of some device as tokens have it.
func newDevice() []byte { return compressed(newDeviceKey()) }

// compressed returns a device's public key as tokens have it.
func compressed(key *ecdsa.PrivateKey) []byte {
	return elliptic.MarshalCompressed(key.Curve, key.X, key.Y)
}

// eventLog is a log that tells the events of device binding.
type eventLog struct{ lockedBuffer }

// events returns those since the last call.
func (l *eventLog) events() (all []event) {
	for _, m := range regexp.MustCompile(`event=(\w+)`).FindAllStringSubmatch(l.String(), -1) {
		all = append(all, event(m[1]))
	}
	l.Reset()
	return all
}

// wantRefused fails unless res is a plain refusal that sets no cookie and says
// nothing of what was sent, and e the last event.
func wantRefused(t *testing.T, name string, res *http.Response, text string, status int,
	log *eventLog, e event, sent ...string) {
	t.Helper()
	events := log.events()
	if res.StatusCode != status || len(events) == 0 || events[len(events)-1] != e {
		t.Errorf("%s: got status %d and the events %q, want %d and %s",
			name, res.StatusCode, events, status, e)
	}
	if res.Header["Set-Cookie"] != nil {
		t.Errorf("%s: got the cookies %q", name, res.Header["Set-Cookie"])
	}
	if want := "Device binding: " + string(e) + ".\n"; text != want {
		t.Errorf("%s: got %q, want %q", name, text, want)
	}
	for _, s := range sent {
		if len(s) > 8 && (strings.Contains(text, s) || strings.Contains(fmt.Sprint(res.Header), s)) {
			t.Errorf("%s: got back what was sent", name)
		}
	}
}

// newOffered returns a client whose session was offered to be bound.
func newOffered(t *testing.T, a *app) *bindClient {
	t.Helper()
	b := newBindClient(t, sendTo(a))
	res, _ := b.raw("POST", "/set_name", "name=Alice")
	b.takeOffer(res.Header.Get("Secure-Session-Registration"))
	return b
}

func TestRegisterRefuses(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		log := new(eventLog)
		o.log = log
		a := newBindApp(t, o, 10*time.Minute)
		good := func(b *bindClient) proof {
			return newProof(b.key, b.challenge).withKey(&b.key.PublicKey)
		}
		tests := append(badProofs(good), badChallenges(t, a, good, 400)...)
		tests = append(tests,
			mutant{"no key in the header", func(b *bindClient) string {
				return newProof(b.key, b.challenge).signed()
			}, 400, refusedProof},
			mutant{"the key of somebody else", func(b *bindClient) string {
				return good(b).withKey(&newDeviceKey().PublicKey).signed()
			}, 400, refusedProof},
			mutant{"no proof", func(*bindClient) string { return "" }, 400, refusedProof},
		)
		for _, tt := range tests {
			b := newOffered(t, a)
			sent := tt.proof(b)
			res, text := b.raw("POST", registerPath, "", "Secure-Session-Response", sent)
			wantRefused(t, tt.name, res, text, tt.status, log, tt.event, sent, b.challenge)
			if b.register(); b.id == "" {
				t.Errorf("%s: the good proof was refused afterwards", tt.name)
			}
		}
	})
}

func TestRefreshRefuses(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		log := new(eventLog)
		o.log = log
		a := newBindApp(t, o, 10*time.Minute)
		good := func(b *bindClient) proof { return newProof(b.key, b.challenge) }
		tests := append(badProofs(good), badChallenges(t, a, good, 403)...)
		tests = append(tests,
			mutant{"a key in the header", func(b *bindClient) string {
				return good(b).withKey(&b.key.PublicKey).signed()
			}, 400, refusedProof},
			mutant{"the proof of a registration", func(b *bindClient) string {
				offered := newOffered(t, a)
				return newProof(b.key, offered.challenge).signed()
			}, 403, refusedChallenge},
		)
		for _, first := range []bool{true, false} { // whether the session is yet to be bound
			for _, tt := range tests {
				name := fmt.Sprintf("%s, first %v", tt.name, first)
				b := newOffered(t, a)
				b.register()
				if !first {
					b.refresh()
				}
				res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
				b.takeChallenge(res)
				sent := tt.proof(b)
				res, text := b.raw("POST", refreshPath, "",
					"Sec-Secure-Session-Id", b.id, "Secure-Session-Response", sent)
				wantRefused(t, name, res, text, tt.status, log, tt.event, sent, b.challenge)
				if v := loadAll(a, b.cookies()); (v.device != nil) == first {
					t.Errorf("%s: got bound %v", name, v.device != nil)
				}
				if (res.Header.Get("Secure-Session-Challenge") != "") != (tt.status == 403) {
					t.Errorf("%s: got %v", name, res.Header)
				}
				if res := b.refresh(); res.StatusCode != 200 || b.id == "" {
					t.Errorf("%s: the good proof was refused afterwards", name)
				}
			}
		}
	})
}

// A challenge is good for a minute, to the second, and its maker's clock may be
// ahead by as much.
func TestChallengeAge(t *testing.T) {
	for _, tt := range []struct {
		after  time.Duration
		status int
	}{{60 * time.Second, 200}, {61 * time.Second, 403}, {-60 * time.Second, 200}, {-61 * time.Second, 403}} {
		synctest.Test(t, func(t *testing.T) {
			a := newBindApp(t, options{}, 10*time.Minute)
			b := bindAlice(t, sendTo(a))
			res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
			b.takeChallenge(res)
			if v := loadAll(a, b.cookies()); tt.after < 0 {
				of := token{Session: v.payload.Began, Device: v.device}
				b.challenge = a.binding.challenge(of, v.now-seconds(tt.after))
			}
			time.Sleep(tt.after)
			res, _ = b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id,
				"Secure-Session-Response", newProof(b.key, b.challenge).signed())
			if res.StatusCode != tt.status {
				t.Errorf("after %v: got status %d, want %d", tt.after, res.StatusCode, tt.status)
			}
		})
	}
}

// No challenge is like another, in the same second and without encryption either.
func TestChallengesDiffer(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		synctest.Test(t, func(t *testing.T) {
			a := newBindApp(t, o, 10*time.Minute)
			b := bindAlice(t, sendTo(a))
			seen := make(map[string]bool)
			for range 100 {
				res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
				b.takeChallenge(res)
				seen[b.challenge] = true
			}
			if len(seen) != 100 {
				t.Errorf("got %d challenges, want 100", len(seen))
			}
		})
	})
}

// Neither step takes more than a browser sends, from whatever session.
func TestBindingSizes(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{log: log}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	long := func(n int) string { return b.id[:idLen+1] + strings.Repeat("A", n) }
	tests := []struct {
		name, path, id, body string
		status               int
		event                event
	}{
		{"no identifier", refreshPath, "", "", 400, refusedForm},
		{"an identifier of nonsense", refreshPath, "nonsense", "", 400, refusedForm},
		{"quotes in it", refreshPath, `x"y;id="z`, "", 400, refusedForm},
		{"no base64", refreshPath, b.id + "!", "", 400, refusedForm},
		{"another spelling", refreshPath, b.id + "=", "", 400, refusedForm},
		{"an identifier too large", refreshPath, long(maxIdentifier), "", 413, refusedSize},
		{"far too large", refreshPath, long(20000), "", 413, refusedSize},
		{"a body too large for refresh", refreshPath, b.id, strings.Repeat("x", maxProof+1), 413, refusedSize},
		{"a body too large for register", registerPath, "", strings.Repeat("x", maxProof+1), 413, refusedSize},
		{"a huge body", registerPath, "", strings.Repeat("x", maxBody+1), 413, refusedSize},
	}
	for _, tt := range tests {
		var header []string
		if tt.id != "" {
			header = []string{"Sec-Secure-Session-Id", tt.id}
		}
		res, text := b.raw("POST", tt.path, tt.body, header...)
		wantRefused(t, tt.name, res, text, tt.status, log, tt.event, tt.id)
	}
	// As much as is allowed is looked at.
	edges := []struct {
		name, path, id, proof, body string
		status                      int
	}{
		{"the longest identifier", refreshPath, long(maxIdentifier - idLen - 1 - 1), "", "", 403},
		{"the longest proof", refreshPath, b.id, strings.Repeat("x", maxProof), "", 400},
		{"a longer proof", refreshPath, b.id, strings.Repeat("x", maxProof+1), "", 413},
		{"the longest body", refreshPath, b.id, "", strings.Repeat("x", maxProof), 403},
	}
	for _, tt := range edges {
		res, text := b.raw("POST", tt.path, tt.body,
			"Sec-Secure-Session-Id", tt.id, "Secure-Session-Response", tt.proof)
		if res.StatusCode != tt.status {
			t.Errorf("%s: got status %d and %q, want %d", tt.name, res.StatusCode, text, tt.status)
		}
	}
	// An identifier of the right form that isn't ours: the proof would have to be
	// of the session's own device, so it is only asked for that.
	res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", long(40))
	if res.StatusCode != 403 {
		t.Errorf("an unknown identifier of a bound session: got status %d, want 403", res.StatusCode)
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		for _, path := range []string{registerPath, refreshPath} {
			res, _ := b.raw(method, path, "", "Sec-Secure-Session-Id", b.id)
			if res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: got status %d, Allow %q", method, path, res.StatusCode, res.Header.Get("Allow"))
			}
		}
	}
	for _, path := range []string{registerPath, refreshPath} {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Origin", "https://evil.example"}, {"Origin", "null"},
		} {
			res, _ := b.raw("POST", path, "", append(header, "Sec-Secure-Session-Id", b.id)...)
			if res.StatusCode != 403 || res.Header.Get("Secure-Session-Challenge") != "" {
				t.Errorf("%s with %q: got status %d", path, header, res.StatusCode)
			}
		}
	}
}

// A bound session is not bound again, neither with its ticket nor without.
func TestBoundStaysBound(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{log: log}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	thief := newOffered(t, a)
	for name, cookies := range map[string]map[string]string{
		"with its ticket": b.cookies(), "without": {boundCookie: b.cookies()[boundCookie]},
	} {
		// The thief's challenge is of the same second, so it is of that session.
		sent := newProof(thief.key, thief.challenge).withKey(&thief.key.PublicKey).signed()
		res, text := thief.raw("POST", registerPath, "",
			"Cookie", cookieLine(cookies), "Secure-Session-Response", sent)
		wantRefused(t, name, res, text, 400, log, refusedBound, sent)
	}
	// Nor with an identifier that a session of the thief's own has got.
	thief.register()
	res, text := thief.raw("POST", refreshPath, "",
		"Cookie", cookieLine(b.cookies()), "Sec-Secure-Session-Id", thief.id)
	if want := `{"continue":false,"session_identifier":"` + thief.id + `"}` + "\n"; text != want ||
		res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
		t.Errorf("got status %d and %q, want the end", res.StatusCode, text)
	}
}

// Sessions that can't be bound.
func TestRegisterWithoutASession(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{log: log, idle: time.Hour}, 10*time.Minute)
	m := a.sessions
	for name, cookie := range map[string]string{
		"none": "", "tampered": flipLast(seal(t, m, alice(0, 0))), "expired": seal(t, m, alice(3700, 3700)),
	} {
		b := newOffered(t, a)
		sent := newProof(b.key, b.challenge).withKey(&b.key.PublicKey).signed()
		res, text := b.raw("POST", registerPath, "",
			"Cookie", boundCookie+"="+cookie, "Secure-Session-Response", sent)
		wantRefused(t, name, res, text, 400, log, refusedSession, sent)
	}
}

// Clearing a session ends in the browser, too, and what was registered for it
// is of no use for the next one.
func TestClearEndsBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(eventLog)
		a := newBindApp(t, options{log: log}, 10*time.Minute)
		b := bindAlice(t, sendTo(a))
		old, key := b.id, b.key
		cleared, _ := b.raw("POST", "/clear_name", "")
		if len(b.cookies()) != 0 {
			t.Errorf("got the cookies %v after clearing", b.cookies())
		}
		if offer := cleared.Header.Get("Secure-Session-Registration"); offer != "" {
			t.Error("got an offer to bind a session that is no more")
		}
		log.events()
		if b.refresh(); b.id != "" || !slices.Equal(log.events(), []event{ended}) {
			t.Error("the browser was not told the end")
		}

		// Whoever doesn't ask before the next session has begun is told all the same.
		time.Sleep(time.Second)
		b.raw("POST", "/set_name", "name=Bob")
		b.id, b.key = old, key
		if b.refresh(); b.id != "" {
			t.Error("what was registered for the old session is still good")
		}
		if v := loadAll(a, b.cookies()); v.verdict != valid || v.device != nil || v.session.Name != "Bob" {
			t.Errorf("got %v, bound %v, and %q", v.verdict, v.device != nil, v.session.Name)
		}
		// And when the next one is bound as well, to another key.
		res, _ := b.raw("POST", "/set_name", "name=Carol")
		b.takeOffer(res.Header.Get("Secure-Session-Registration"))
		b.register()
		b.refresh()
		bound := b.id
		b.id = old
		if b.refresh(); b.id != "" {
			t.Error("what was registered for the old session is good for one that is bound")
		}
		b.id = bound
		if res := b.refresh(); res.StatusCode != 200 || b.id != bound {
			t.Error("the new registration was harmed by the old one")
		}
	})
}

// A session that takes the place of a bound one, in one step or after it was
// refused, has nothing of its binding, and its ticket goes.
func TestNewSessionIsUnbound(t *testing.T) {
	m := newBindApp(t, options{}, 10*time.Minute).sessions
	a := newBindApp(t, options{}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	for name, change := range map[string]func(*visit[session]){
		"cleared and set": func(v *visit[session]) { v.clear(); v.session.Name = "Bob" },
		"unproven and set": func(v *visit[session]) {
			v.refuse(checkProof, unproven).session = session{Name: "Bob"}
		},
	} {
		v := loadAll(a, b.cookies())
		change(v)
		w := httptest.NewRecorder()
		if why, _, err := m.save(w, v); why != changed || err != nil {
			t.Fatalf("%s: got %v and %v", name, why, err)
		}
		set := make(map[string]*http.Cookie)
		for _, c := range w.Result().Cookies() {
			set[c.Name] = c
		}
		if got := openValue(m, set[boundCookie].Value); got.device != nil || got.session.Name != "Bob" {
			t.Errorf("%s: got bound %v", name, got.device != nil)
		}
		if c := set[ticketCookie]; c == nil || c.MaxAge != -1 {
			t.Errorf("%s: got the ticket %v, want it deleted", name, c)
		}
		if w.Header().Get("Secure-Session-Registration") == "" || !v.offered {
			t.Errorf("%s: the new session was not offered to be bound", name)
		}
	}
}

// Nothing is lost when keys come and go, or encryption: the session moves to
// the new key, and it knows its device itself.
func TestBindingThroughRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newBindApp(t, options{keys: []string{keyA}}, 10*time.Minute)
		b := bindAlice(t, sendTo(a))
		id := b.id
		use := func(encrypt bool, secrets ...string) {
			t.Helper()
			a.useRing(newRing(must(parseKeys("keys", strings.Join(secrets, "\n"))), encrypt))
		}
		for _, step := range []struct {
			name    string
			encrypt bool
			keys    []string
		}{
			{"added", true, []string{keyA, keyB}},
			{"promoted", true, []string{keyB, keyA}},
			{"dropped", true, []string{keyB}},
			{"not encrypted", false, []string{keyB}},
			{"added again", false, []string{keyB, keyC}},
			{"promoted again", false, []string{keyC, keyB}},
			{"dropped again", false, []string{keyC}},
			{"encrypted", true, []string{keyC}},
		} {
			use(step.encrypt, step.keys...)
			// The ticket that the visitor has is still good, unless its key is gone.
			if step.name == "added" || step.name == "promoted" {
				if v := loadAll(a, b.cookies()); v.verdict != valid {
					t.Errorf("%s: got %v", step.name, v.verdict)
				}
			}
			time.Sleep(601 * time.Second)
			if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" || b.id != id {
				t.Fatalf("%s: got %q", step.name, text)
			}
			for name, value := range b.cookies() {
				if want := a.sessions.ring.Load().seal.id; value[:idLen] != want {
					t.Errorf("%s: got %s under %s, want %s", step.name, name, value[:idLen], want)
				}
			}
		}
	})
}

// A challenge and an identifier of the key before verify as well.
func TestBindingAcrossAPromotion(t *testing.T) {
	a := newBindApp(t, options{keys: []string{keyA, keyB}}, 10*time.Minute)
	promote := func() {
		keys := must(parseKeys("keys", keyB+"\n"+keyA))
		a.useRing(newRing(keys, false))
	}
	b := newOffered(t, a)
	promote()
	if res := b.register(); res.StatusCode != 200 {
		t.Errorf("register: got status %d", res.StatusCode)
	}
	a = newBindApp(t, options{keys: []string{keyA, keyB}}, 10*time.Minute)
	b = newOffered(t, a)
	b.register()
	res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
	b.takeChallenge(res)
	promote()
	res, _ = b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id,
		"Secure-Session-Response", newProof(b.key, b.challenge).signed())
	if res.StatusCode != 200 || len(b.cookies()) != 2 {
		t.Errorf("refresh: got status %d and the cookies %v", res.StatusCode, b.cookies())
	}
}

// A copy with binding switched off takes bound sessions as they are, keeps
// them bound, and keeps what browsers have registered alive.
func TestBindingSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(eventLog)
		on := newBindApp(t, options{idle: 48 * time.Hour}, 10*time.Minute)
		off := newBindApp(t, options{idle: 48 * time.Hour, log: log}, 0)
		b := bindAlice(t, sendTo(on))
		id := b.id
		b.send = sendTo(off)
		time.Sleep(13 * time.Hour) // the ticket has run out, and the session is due to be renewed
		res, text := b.raw("GET", "/get_name", "")
		if text != "Name: Alice\n" || len(res.Header["Set-Cookie"]) != 1 {
			t.Errorf("got %q and the cookies %q, want the session renewed", text, res.Header["Set-Cookie"])
		}
		if v := loadAll(on, b.cookies()); v.verdict != unproven || v.device == nil {
			t.Errorf("got %v, bound %v, after it was renewed", v.verdict, v.device != nil)
		}
		b.raw("POST", "/set_name", "name=Bob")
		if b.refresh(); b.id != id || b.jar[ticketCookie].MaxAge != 540 {
			t.Fatalf("got the identifier %q and a ticket of %d seconds", b.id, b.jar[ticketCookie].MaxAge)
		}
		b.send = sendTo(on)
		if _, text := b.raw("GET", "/get_name", ""); text != "Name: Bob\n" {
			t.Errorf("switched on again: got %q", text)
		}

		// What has only been registered is given up, and stays an ordinary session.
		c := newOffered(t, on)
		c.register()
		c.send = sendTo(off)
		if c.refresh(); c.id != "" {
			t.Error("a copy that is switched off goes on with a new binding")
		}
		if v := loadAll(on, c.cookies()); v.verdict != valid || v.device != nil {
			t.Errorf("got %v, bound %v", v.verdict, v.device != nil)
		}
		log.events()
		sent := newProof(c.key, c.challenge).withKey(&c.key.PublicKey).signed()
		res, text = c.raw("POST", registerPath, "", "Secure-Session-Response", sent)
		wantRefused(t, "register", res, text, 400, log, refusedOff, sent)
		if res, _ := c.raw("POST", "/set_name", "name=Bob"); res.Header.Get("Secure-Session-Registration") != "" {
			t.Error("a copy that is switched off offers binding")
		}
	})
}

// A copy that doesn't know the session's key, or whose clock is behind, says
// so in a way after which browsers keep theirs.
func TestRefreshPostponed(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	id := b.id
	b.send = sendTo(newBindApp(t, options{keys: []string{keyC}, log: log}, 10*time.Minute))
	res, text := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
	wantRefused(t, "another key", res, text, 503, log, postponed, b.id)
	b.refresh()
	b.send = sendTo(a)
	delete(b.jar, ticketCookie)
	if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" || b.id != id {
		t.Errorf("got %q", text)
	}
}

// What a refresh is told whose session is refused: to ask again where another
// copy may take it, because of its clock, its limits or its fields, and the end
// where none does. A browser that was told the end has lost its session for good.
func TestRefreshOfARefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(eventLog)
		a := newBindApp(t, options{}, 10*time.Minute)
		b := bindAlice(t, sendTo(a))
		id, bound := b.id, b.cookies()[boundCookie]
		time.Sleep(2 * time.Hour)
		for _, tt := range []struct {
			name, cookie string
			o            options
			want         event
		}{
			{"expired", bound, options{idle: time.Hour}, postponed},
			{"too old", bound, options{lifetime: time.Hour}, postponed},
			{"of another type", sealBytes(t, a.sessions, []byte("\x83\x00\x00\x07")), options{}, postponed},
			{"from the future", seal(t, a.sessions, alice(-120, -120)), options{}, postponed},
			{"of another key", bound, options{keys: []string{keyC}}, postponed},
			{"tampered", flipLast(bound), options{}, ended},
			{"of another form", "garbage", options{}, ended},
			{"too large", bound + strings.Repeat("A", maxCookie), options{}, ended},
			{"none", "", options{}, ended},
		} {
			tt.o.log = log
			b.send, b.id = sendTo(newBindApp(t, tt.o, 10*time.Minute)), id
			log.events()
			res, text := b.raw("POST", refreshPath, "",
				"Sec-Secure-Session-Id", b.id, "Cookie", boundCookie+"="+tt.cookie)
			if tt.want == postponed {
				wantRefused(t, tt.name, res, text, 503, log, postponed, b.id)
			} else if got := log.events(); res.StatusCode != 200 || !slices.Equal(got, []event{ended}) {
				t.Errorf("%s: got status %d and the events %q, want the end", tt.name, res.StatusCode, got)
			}
		}
		// Whatever a browser that lives through this has, is still good.
		b.send = sendTo(newBindApp(t, options{idle: time.Hour}, 10*time.Minute))
		b.refresh()
		b.send = sendTo(a)
		if _, text := b.ask("GET", "/get_name", ""); text != "Name: Alice\n" || b.id != id {
			t.Errorf("got %q and the identifier %q", text, b.id)
		}
	})
}

// Where cookies are not for HTTPS only, nothing can be bound, so there is nothing
// to ask for again, whoever asks.
func TestRefreshWithoutHTTPS(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	id := seal(t, a.sessions, alice(0, 0))
	for name, cookie := range map[string]string{
		"unknown key": "aaaaaa.AAAA", "from the future": seal(t, a.sessions, alice(-120, -120)),
		"valid": seal(t, a.sessions, alice(0, 0)),
	} {
		r := httptest.NewRequest("POST", refreshPath, nil)
		r.Header.Set("Cookie", a.sessions.cookie+"="+cookie)
		r.Header.Set("Sec-Secure-Session-Id", id)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if !strings.HasPrefix(w.Body.String(), `{"continue":false`) || w.Code != 200 {
			t.Errorf("%s: got status %d and %s", name, w.Code, w.Body)
		}
	}
}

// A browser may say that it refreshes for a page that it only prefetches.
func TestBindingWhilePrefetching(t *testing.T) {
	a := newBindApp(t, options{}, 10*time.Minute)
	b := newOffered(t, a)
	b.register()
	res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id)
	b.takeChallenge(res)
	b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id, "Sec-Purpose", "prefetch",
		"Secure-Session-Response", newProof(b.key, b.challenge).signed())
	if v := loadAll(a, b.cookies()); v.verdict != valid || v.device == nil {
		t.Errorf("got %v, bound %v", v.verdict, v.device != nil)
	}
}

// A ticket of an earlier session, which has outlived its cookie, doesn't keep a
// browser from binding the next one.
func TestRegisterWithAStaleTicket(t *testing.T) {
	a := newBindApp(t, options{}, 10*time.Minute)
	stale := bindAlice(t, sendTo(a)).jar[ticketCookie]
	b := newBindClient(t, sendTo(a))
	b.jar[ticketCookie], b.ends[ticketCookie] = stale, time.Now().Add(time.Hour)
	b.ask("POST", "/set_name", "name=Bob")
	if _, there := b.cookies()[ticketCookie]; there || b.id == "" {
		t.Errorf("got the stale ticket kept: %v", there)
	}
	b.ask("GET", "/get_name", "")
	if v := loadAll(a, b.cookies()); v.verdict != valid || v.device == nil {
		t.Errorf("got %v, bound %v", v.verdict, v.device != nil)
	}
}

// An error page offers nothing, since it sets no session.
func TestNoOfferOnAnErrorPage(t *testing.T) {
	a := newBindApp(t, options{log: io.Discard}, 10*time.Minute)
	a.router.HandleFunc("/test-only", a.visitor(func(_ *http.Request, v *visit[session]) (answer, error) {
		v.session.Name = "Bob"
		return answer{Page: "there is none"}, nil
	})).Name("test")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/test-only", nil))
	if h := w.Header(); w.Code != 500 || h["Set-Cookie"] != nil || h["Secure-Session-Registration"] != nil {
		t.Errorf("got status %d and %v", w.Code, h)
	}
	if page := scrape(t, a); !strings.Contains(page, `bindings_total{event="offered"} 0`) {
		t.Errorf("got an offer counted that was never made: %s", page)
	}
}

// What stands in the challenge's header has the form of an identifier.
func TestRefreshIdentifierForm(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{log: log}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	for _, id := range []string{`a";b="c.AAAA`, "abc.AAAA", ".AAAA", `abcdef.AA"A`} {
		res, text := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", id)
		wantRefused(t, id, res, text, 400, log, refusedForm, id)
	}
}

// A link from another origin is answered with a page that loads itself again,
// once, and only where that helps.
func TestDetour(t *testing.T) {
	log := new(eventLog)
	a := newBindApp(t, options{log: log}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	all := b.cookies()
	alone := map[string]string{boundCookie: all[boundCookie]}
	link := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}
	tests := []struct {
		name, method string
		cookies      map[string]string
		header       []string
		want         bool
	}{
		{"a link", "GET", alone, link, true},
		{"with a ticket", "GET", all, link, false},
		{"without a session", "GET", nil, link, false},
		{"with a bad one", "GET", map[string]string{boundCookie: flipLast(alone[boundCookie])}, link, false},
		{"HEAD", "HEAD", alone, link, false},
		{"our own link", "GET", alone, []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, false},
		{"typed", "GET", alone, []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, false},
		{"a script", "GET", alone, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"curl", "GET", alone, nil, false},
		{"a sibling's link", "GET", alone, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}, true},
		{"a sibling's script", "GET", alone, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, false},
	}
	for _, tt := range tests {
		log.events()
		res, text := b.raw(tt.method, "/get_name", "", append(tt.header, "Cookie", cookieLine(tt.cookies))...)
		got := res.Header.Get("Refresh") == "0" && text == "" && res.Header["Set-Cookie"] == nil &&
			res.Header.Get("Cache-Control") == "no-store"
		if got != tt.want || slices.Contains(log.events(), detoured) != tt.want || res.StatusCode != 200 {
			t.Errorf("%s: got status %d, %v and %q", tt.name, res.StatusCode, res.Header, text)
		}
	}
}

// A browser's reasons for doing without are counted, under names of ours.
func TestSkipped(t *testing.T) {
	for header, want := range map[string]event{
		"": "", `quota_exceeded;session_identifier="x"`: skippedQuota, "unreachable": skippedUnreachable,
		"server_error;x": skippedServer, `new"reason`: skippedOther, strings.Repeat("x", 9999): skippedOther,
		"other": skippedOther,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Secure-Session-Skipped", header)
		if got := skipped(r); got != want || got != "" && !slices.Contains(bindingEvents, got) {
			t.Errorf("%.30q: got %q, want %q", header, got, want)
		}
	}
}

// A session that a device's key makes too large for a cookie stays as it is.
func TestBindingTooLarge(t *testing.T) {
	type large struct{ Text string }
	m := newBinding(newTestSessions[large](t, options{secure: true}), 10*time.Minute)
	size := 0
	for n := 2000; size <= maxCookie; n++ { // the largest that fits
		w := httptest.NewRecorder()
		v := &visit[large]{now: time.Now().Unix(), verdict: none, session: large{strings.Repeat("x", n)}}
		if _, size, _ = m.save(w, v); size == 0 {
			break
		}
		if size < maxCookie-10 {
			continue
		}
		r := httptest.NewRequest("POST", refreshPath, nil)
		r.Header.Set("Cookie", m.cookie+"="+w.Result().Cookies()[0].Value)
		v = m.load(r)
		key := newDeviceKey()
		device := compressed(key)
		id := m.ring.Load().sealToken(identifierKind, token{Session: v.payload.Began, Device: device})
		challenge := m.challenge(token{Session: v.payload.Began, Device: device}, v.now)
		r.Header.Set("Sec-Secure-Session-Id", id)
		r.Header.Set("Secure-Session-Response", newProof(key, challenge).signed())
		w = httptest.NewRecorder()
		if e, written := m.refresh(w, r); e != ended || written != 0 || w.Header()["Set-Cookie"] != nil {
			t.Errorf("%d bytes: got %s and the cookies %d bytes", size, e, written)
		}
		return
	}
	t.Fatal("found no session that just fits")
}

// An own server's detour is complete in itself. And a session that is emptied
// field by field ends its binding as one that is cleared.
func TestBindingWithoutTheSite(t *testing.T) {
	a := newBindApp(t, options{log: io.Discard}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", boundCookie+"="+b.cookies()[boundCookie])
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	if !a.sessions.load(r).detour(w, r) || w.Code != 200 || w.Body.Len() > 0 ||
		w.Header().Get("Cache-Control") != "no-store" ||
		w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got status %d, %v and %q", w.Code, w.Header(), w.Body)
	}

	w = httptest.NewRecorder()
	a.binding.instruct(w, "x")
	if w.Header().Get("Cache-Control") != "no-store" ||
		!strings.Contains(w.Body.String(), `"include_site":false`) {
		t.Errorf("got the instructions %s with %v", w.Body, w.Header())
	}
	b.refresh()
	if page := scrape(t, a); !strings.Contains(page, `bindings_total{event="refreshed"} 1`) {
		t.Errorf("got no count of a refresh in %s", page)
	}

	r.Header.Set("Cookie", cookieLine(b.cookies()))
	v := a.sessions.load(r)
	v.session = session{}
	w = httptest.NewRecorder()
	if why, _, err := a.sessions.save(w, v); why != cleared || err != nil {
		t.Errorf("got %v and error %v", why, err)
	}
	for _, name := range []string{boundCookie, ticketCookie} {
		deletes := func(c *http.Cookie) bool { return c.Name == name && c.MaxAge < 0 }
		if !slices.ContainsFunc(w.Result().Cookies(), deletes) {
			t.Errorf("%s: got %v, want it deleted", name, w.Header()["Set-Cookie"])
		}
	}
}

// Fields of a newer version stay in a session that this one binds.
func TestBindingKeepsUnknownFields(t *testing.T) {
	type newer struct {
		Name string
		Cart []string
	}
	a := newBindApp(t, options{}, 10*time.Minute)
	b := newBindClient(t, sendTo(a))
	now := uint32(time.Now().Unix())
	other := newTestSessions[newer](t, options{secure: true})
	value := sealed(t, other, payload[newer]{Began: now, Data: newer{Name: "Alice", Cart: []string{"tea"}}})
	b.jar[boundCookie] = &http.Cookie{Name: boundCookie, Value: value}
	b.ends[boundCookie] = time.Now().Add(time.Hour)
	b.challenge, b.key = a.binding.challenge(token{Session: now}, int64(now)), newDeviceKey()
	b.register()
	b.refresh()
	v := openValue(other, b.cookies()[boundCookie])
	if v.verdict != valid || v.device == nil || !slices.Equal(v.session.Cart, []string{"tea"}) {
		t.Errorf("got %v, bound %v, and %+v", v.verdict, v.device != nil, v.session)
	}
}

// Tokens of one kind, key and mode are no others, nor sessions.
func TestTokensApart(t *testing.T) {
	want := token{Time: 1, Session: 2, Device: newDevice(), Nonce: []byte{3}}
	keys := must(parseKeys("keys", keyA+"\n"+keyB))
	for _, encrypt := range []bool{false, true} {
		r := newRing(keys, encrypt)
		other := newRing(must(parseKeys("keys", keyC)), encrypt)
		m := newTestManager(t, options{secure: true, keys: []string{keyA, keyB}})
		for _, k := range tokenKinds {
			value := r.sealToken(k, want)
			for _, as := range tokenKinds {
				got, ok := newRing(keys, !encrypt).openToken(as, value)
				if ok != (as == k) || ok && (got.Time != 1 || got.Session != 2 ||
					!bytes.Equal(got.Device, want.Device) || !bytes.Equal(got.Nonce, want.Nonce)) {
					t.Errorf("%s as %s: got %v and %v", k, as, got, ok)
				}
			}
			if _, ok := other.openToken(k, value); ok {
				t.Errorf("%s: opened with a strange key", k)
			}
			if v := openValue(m, value); v.verdict != tampered {
				t.Errorf("%s as a session: got %v", k, v.verdict)
			}
			for i := range value {
				for _, c := range []byte("A_b.=\n") {
					if changed := value[:i] + string(c) + value[i+1:]; changed != value {
						if _, ok := r.openToken(k, changed); ok {
							t.Fatalf("%s: opened with character %d changed to %q", k, i, c)
						}
					}
				}
			}
			if len(value) > maxIdentifier {
				t.Errorf("%s: got %d bytes", k, len(value))
			}
		}
	}
}

// Nothing that is secret or names a device is in a log, a metric or a page.
func TestBindingLeaksNothing(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		log := new(lockedBuffer)
		o.log = log
		a := newBindApp(t, o, 10*time.Minute)
		b := newOffered(t, a)
		point := must(b.key.PublicKey.Bytes())[1:33]
		secrets := []string{b.challenge, fmt.Sprintf("%x", point), fmt.Sprintf("% x", point)}
		// As base64 has it, wherever it begins, and as a cookie does, whose base64 is
		// in base64 again.
		for shift := range 3 {
			once := b64(append(make([]byte, shift), point...))[shift+1 : 40]
			secrets = append(secrets, once)
			for again := range 3 {
				secrets = append(secrets, b64(append(make([]byte, again), once...))[again+1:48])
			}
		}
		proof := newProof(b.key, b.challenge).withKey(&b.key.PublicKey).signed()
		secrets = append(secrets, proof)
		b.register()
		b.refresh()
		secrets = append(secrets, b.id, b.challenge, b.cookies()[ticketCookie])
		said := new(strings.Builder)
		for _, path := range []string{"/", "/set_name", "/get_name", "/session"} {
			for _, accept := range []string{"text/html", ""} {
				for _, cookie := range []string{cookieLine(b.cookies()), boundCookie + "=" + b.cookies()[boundCookie]} {
					_, text := b.raw("GET", path, "", "Accept", accept, "Cookie", cookie,
						"Secure-Session-Skipped", "quota_exceeded;session_identifier="+b.id)
					said.WriteString(text)
				}
			}
		}
		// The page after a change shows the cookie that was set.
		_, text := b.raw("POST", "/set_name", "name=Bob", "Accept", "text/html")
		said.WriteString(text)
		for _, part := range []string{"id", "stamp", "payload", "mac", "key"} {
			_, text := b.raw("POST", "/forge", "part="+part, "Accept", "text/html")
			said.WriteString(text)
		}
		// Also what is refused is told to nobody.
		b.raw("POST", registerPath, "", "Secure-Session-Response", proof)
		b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id, "Secure-Session-Response", proof)
		said.WriteString(log.String())
		said.WriteString(scrape(t, a))
		if !strings.Contains(said.String(), `cookiesession_bindings_total{event="bound"} 1`) ||
			!strings.Contains(said.String(), `cookiesession_cookies_written_total{reason="bound"} 1`) {
			t.Error("got no count of the session that was bound")
		}
		for _, secret := range secrets {
			if len(secret) < 24 {
				t.Fatalf("got the secret %q", secret)
			}
			for i := 7; i+16 <= len(secret); i++ { // the key id at the start may be shown
				if strings.Contains(said.String(), secret[i:i+16]) {
					t.Fatalf("got %q in what was said", secret[i:i+16])
				}
			}
		}
	})
}

// The page says whether the session is bound, and what a thief could do.
func TestSessionPageOnBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on, off := newBindApp(t, options{}, 10*time.Minute), newBindApp(t, options{}, 0)
		b := bindAlice(t, sendTo(on))
		all := b.cookies()
		alone := map[string]string{boundCookie: all[boundCookie]}
		unbound := newBindClient(t, sendTo(on))
		unbound.raw("POST", "/set_name", "name=Alice")
		const until = "bound, with a ticket that is good until 2000-01-01T00:10:00Z"
		tests := []struct {
			name    string
			a       *app
			cookies map[string]string
			page    string // says whether it is bound
			device  string // says the text; empty when it says nothing
			thief   string // both say
		}{
			{
				name: "bound", a: on, cookies: all,
				page: "bound to this device", device: until, thief: "can use them until it runs out",
			},
			{
				name: "unproven", a: on, cookies: alone,
				page: "bound to a device", device: "bound, without a live ticket",
				thief: "Nobody can use this cookie without the device",
			},
			{
				name: "off", a: off, cookies: alone,
				page: "bound to a device", device: "bound", thief: "asks for no ticket",
			},
			{
				name: "unbound", a: on, cookies: unbound.cookies(),
				page: "not bound to this device", device: "not bound",
				thief: "Whoever copies this cookie can use it until the session ends.",
			},
			{name: "unbound, off", a: off, cookies: unbound.cookies()},
		}
		for _, tt := range tests {
			c := newBindClient(t, sendTo(tt.a))
			line := cookieLine(tt.cookies)
			_, page := c.raw("GET", "/session", "", "Cookie", line, "Accept", "text/html")
			_, text := c.raw("GET", "/session", "", "Cookie", line)
			if tt.device == "" {
				if strings.Contains(page, "thief") || strings.Contains(text, "device") {
					t.Errorf("%s: got %s and %s", tt.name, page, text)
				}
				continue
			}
			if !strings.Contains(page, tt.page) || !strings.Contains(page, tt.thief) ||
				!strings.Contains(text, "\ndevice        "+tt.device+"\n") ||
				!strings.Contains(text, "\nthief         "+tt.thief) &&
					!strings.Contains(text, tt.thief) {
				t.Errorf("%s: got %s and %s", tt.name, page, text)
			}
			if strings.Contains(page, "which nothing proves") {
				t.Errorf("%s: got a MAC that matched called unproven: %s", tt.name, page)
			}
			if replace := strings.Contains(page, "To replace it"); replace {
				t.Errorf("%s: got the visitor told to replace the cookie", tt.name)
			}
			// What is in it is for its owner alone.
			seen := strings.Contains(page, ">Alice<") || strings.Contains(text, "Alice")
			if seen != (tt.name != "unproven") {
				t.Errorf("%s: got what is in it: %v", tt.name, seen)
			}
		}
	})
}

// A session that is over is nobody's, bound or not, so there is nothing to say of thieves.
func TestOverAndBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newBindApp(t, options{idle: time.Hour}, 10*time.Minute)
		bound, unbound := bindAlice(t, sendTo(a)), newBindClient(t, sendTo(a))
		unbound.raw("POST", "/set_name", "name=Eve")
		all := []string{cookieLine(bound.cookies()), cookieLine(unbound.cookies())}
		for _, over := range []bool{false, true} {
			for _, cookies := range all {
				for _, accept := range []string{"", "text/html"} {
					_, text := bound.raw("GET", "/session", "", "Cookie", cookies, "Accept", accept)
					if got := strings.Contains(text, "Whoever copies"); got == over {
						t.Errorf("over %v: got %s", over, text)
					}
				}
			}
			time.Sleep(61 * time.Minute)
		}
	})
}

// Whoever clears a bound session is not told that a copy still works, unless it does.
func TestClearPageOnBinding(t *testing.T) {
	for good, wants := range map[time.Duration]bool{10 * time.Minute: true, 0: false} {
		b := bindAlice(t, sendTo(newBindApp(t, options{}, 10*time.Minute)))
		b.send = sendTo(newBindApp(t, options{}, good))
		_, page := b.raw("POST", "/clear_name", "", "Accept", "text/html")
		useless := strings.Contains(page, "is of no use once its ticket has run out")
		works := strings.Contains(page, "still works until it ages out")
		if useless != wants || works == wants {
			t.Errorf("bind %v: got %s", good, page)
		}
		// Both headers are shown.
		for _, name := range []string{boundCookie, ticketCookie} {
			if !strings.Contains(page, "Set-Cookie: "+name+"=</code>") {
				t.Errorf("bind %v: got no header for %s in %s", good, name, page)
			}
		}
		if !strings.Contains(page, "The headers that were just sent") {
			t.Errorf("bind %v: got %s", good, page)
		}
	}
}

// What is in a bound cookie is for its owner alone, also when the session is over.
func TestBoundStaysClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options{idle: time.Hour, lifetime: 3 * time.Hour}
		on, off := newBindApp(t, o, 10*time.Minute), newBindApp(t, o, 0)
		b := bindAlice(t, sendTo(on))
		stolen := boundCookie + "=" + b.cookies()[boundCookie]
		for _, want := range []verdict{unproven, expired, tooOld} {
			time.Sleep(59 * time.Minute)
			for _, accept := range []string{"", "text/html"} {
				thief := newBindClient(t, sendTo(on))
				for _, path := range []string{"/session", "/", "/set_name", "/get_name"} {
					_, text := thief.raw("GET", path, "", "Cookie", stolen, "Accept", accept)
					if strings.Contains(text, ">Alice<") || strings.Contains(text, "\nname ") ||
						path == "/session" && !strings.Contains(text, string(want)) {
						t.Errorf("%v, GET %s: got %s", want, path, text)
					}
				}
			}
			// Where no ticket is asked for, the cookie is an ordinary one.
			thief := newBindClient(t, sendTo(off))
			if _, text := thief.raw("GET", "/session", "", "Cookie", stolen); !strings.Contains(text, "\nname          Alice") {
				t.Errorf("%v, switched off: got %s", want, text)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// inspect knows what a token is, and tells a bound session.
func TestInspectBinding(t *testing.T) {
	a := newBindApp(t, options{}, 10*time.Minute)
	b := bindAlice(t, sendTo(a))
	all := b.cookies()
	ring := a.sessions.ring.Load()
	tests := []struct{ stdin, want, fails string }{
		{stdin: all[ticketCookie], fails: "ticket"},
		{stdin: ticketCookie + "\t" + all[ticketCookie], fails: "ticket"},
		{stdin: ring.sealToken(ticketKind, token{Time: 1}), fails: "ticket"}, // an old one
		{stdin: "Sec-Secure-Session-Id: " + b.id, fails: "identifier"},
		{stdin: `Secure-Session-Challenge: "` + b.challenge + `";id="` + b.id + `"`, fails: "challenge"},
		{stdin: cookieLine(all), want: "device        bound"},
	}
	for _, tt := range tests {
		var out strings.Builder
		getenv := func(name string) string { return map[string]string{keysVariable: keyA}[name] }
		err := run(t.Context(), []string{"inspect"}, getenv, strings.NewReader(tt.stdin), &out, nil)
		want := "<nil>"
		if tt.fails != "" {
			want = "there is no session in this: it is the " + tt.fails + " of device binding"
		}
		if fmt.Sprint(err) != want || !strings.Contains(out.String(), tt.want) {
			t.Errorf("got %v and %q, want %s and %q", err, out.String(), want, tt.want)
		}
		if device := loadAll(a, all).device; strings.Contains(out.String(), b64(device)) {
			t.Error("got the device's key")
		}
	}
}

// Without a key, inspect says that a signed cookie is bound, and what is in it.
func TestInspectBoundWithoutAKey(t *testing.T) {
	b := bindAlice(t, sendTo(newBindApp(t, options{signed: true}, 10*time.Minute)))
	var out strings.Builder
	stdin := strings.NewReader(cookieLine(b.cookies()))
	getenv := func(string) string { return "" }
	err := run(t.Context(), []string{"inspect", "-show"}, getenv, stdin, &out, nil)
	for _, want := range []string{"mode          signed\n", "device        bound\n", `name          "Alice"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %v and %q, want %q", err, out.String(), want)
		}
	}
}

// Browsers bind nothing over plain http, so a server that wants to is told at the start.
func TestBindingNeedsHTTPS(t *testing.T) {
	for _, tt := range []struct {
		secure bool
		good   time.Duration
		panics bool
	}{{true, time.Minute, false}, {true, 0, false}, {false, 0, false}, {false, time.Minute, true}} {
		func() {
			defer func() {
				if got := recover() != nil; got != tt.panics {
					t.Errorf("secure %v, for %v: got a panic %v", tt.secure, tt.good, got)
				}
			}()
			newBinding(newTestManager(t, options{secure: tt.secure}), tt.good)
		}()
	}
}

// Browsers give a ticket up before it runs out, so that neither a slow request
// nor a copy whose clock is ahead finds it run out.
func TestTicketMargin(t *testing.T) {
	for _, tt := range []struct {
		good   time.Duration
		maxAge int
	}{
		{10 * time.Second, 8}, {time.Minute, 48}, {10 * time.Minute, 540}, {time.Hour, 3540},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newBindApp(t, options{}, tt.good)
			b := bindAlice(t, sendTo(a))
			until := time.Unix(loadAll(a, b.cookies()).until, 0)
			if got := b.jar[ticketCookie].MaxAge; got != tt.maxAge || time.Until(until) != tt.good {
				t.Errorf("%v: got a ticket until %v, kept for %d seconds, want %d",
					tt.good, until, got, tt.maxAge)
			}
		})
	}
}

func TestBindFlag(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // of the error; empty when there is none
	}{
		{"-origin https://a.example", ""},
		{"-origin https://a.example -bind 0", ""},
		{"-origin https://a.example -bind 10m", ""},
		{"-origin https://a.example -bind 10s", ""},
		{"-origin https://a.example -bind 9s", "-bind must be at least 10s"},
		{"-origin https://a.example -bind -1m", "-bind must be at least 10s"},
		{"-origin https://a.example -bind 20m -lifetime 10m", "-bind must not be longer than"},
		{"-origin https://a.example -bind 20m -idle 10m", "-bind must not be longer than -idle"},
		{"-origin https://a.example -bind 10m -cookie-name http-x", "-cookie-name must not begin with Http-"},
		{"-origin https://a.example -cookie-name http-x", ""},
		{"-bind 10m", "-bind needs HTTPS"},
		{"-bind ten", "for flag -bind: parse error: see cookiesession -h"},
	} {
		cfg, err := parseFlags(strings.Fields(tt.args), func(string) string { return "" }, io.Discard)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.args, err, tt.want)
		}
		if err == nil && strings.Contains(tt.args, "10m") && cfg.bind != 10*time.Minute {
			t.Errorf("%s: got %v", tt.args, cfg.bind)
		}
	}
}

// Whatever is sent as a proof, only the one that was made of the right
// challenge, with the right key, gets through, and nothing crashes.
func FuzzProof(f *testing.F) {
	key := newDeviceKey()
	device := compressed(key)
	good := newProof(key, "challenge")
	f.Add(good.signed())
	f.Add(good.withKey(&key.PublicKey).signed())
	for _, m := range badProofs(func(b *bindClient) proof { return newProof(b.key, b.challenge) }) {
		f.Add(m.proof(&bindClient{key: key, challenge: "challenge"}))
	}
	f.Fuzz(func(t *testing.T, sent string) {
		if challenge, by, err := verifyProof(sent, device); err == nil &&
			(challenge != "challenge" || !bytes.Equal(by, device)) {
			t.Errorf("got the challenge %q of % x", challenge, by)
		}
		// At a registration anybody may bring a key, but has to have signed with it.
		challenge, by, err := verifyProof(sent, nil)
		if err != nil {
			return
		}
		if len(by) != deviceBytes {
			t.Errorf("got the key % x", by)
		}
		if bytes.Equal(by, device) && challenge != "challenge" {
			t.Errorf("got the challenge %q, which the device has never signed", challenge)
		}
	})
}

// boundServer is an own server that takes bind.go along with the core.
const boundServer = `package main

import (
	"log"
	"net/http"
	"os"
	"time"
)

type cart struct{ Items []string }

func main() {
	s := newSessions[cart](settings{
		cookie: "cart", secure: true, idle: time.Hour, lifetime: time.Hour,
	})
	s.ring.Store(newRing([]key{must(parseKey(os.Getenv("KEY")))}, true))
	b := newBinding(s, 10*time.Minute, "/style.css")
	http.HandleFunc("POST "+registerPath, func(w http.ResponseWriter, r *http.Request) { b.register(w, r) })
	http.HandleFunc("POST "+refreshPath, func(w http.ResponseWriter, r *http.Request) { b.refresh(w, r) })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		v := s.load(r)
		if v.detour(w, r) {
			return
		}
		v.session.Items = append(v.session.Items, "tea")
		if _, _, err := s.save(w, v); err != nil {
			log.Fatal(err)
		}
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
`

// Binding can be taken along by an own server, with nothing but the JOSE
// library more than the core needs.
func TestBindingLiftsOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"session.go", "keys.go", "bind.go", "go.mod", "go.sum"} {
		writeFile(t, filepath.Join(dir, name), readFile(t, name))
	}
	writeFile(t, filepath.Join(dir, "main.go"), boundServer)
	deps := buildAlone(t, dir)
	want := []string{
		"cookiesession", "github.com/fxamacker/cbor/v2", "github.com/go-jose/go-jose/v4",
		"github.com/gorilla/securecookie", "github.com/x448/float16",
	}
	if !slices.Equal(deps, want) {
		t.Errorf("got the modules %v, want %v", deps, want)
	}

	addr := freeAddr(t)
	server := exec.Command(filepath.Join(dir, "shop.exe"), addr)
	server.Env = append(os.Environ(), "KEY="+keyA)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	awaitTrue(t, "the server", func() bool {
		res, err := http.Get("http://" + addr + "/")
		if err != nil {
			return false
		}
		res.Body.Close()
		if !strings.Contains(res.Header.Get("Secure-Session-Registration"), registerPath) {
			t.Errorf("got no offer in %v", res.Header)
		}
		return true
	})
	res, err := http.Post("http://"+addr+refreshPath, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("got status %d for a refresh of nothing, want 400", res.StatusCode)
	}
}
