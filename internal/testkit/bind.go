package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Sender makes one request and returns the response and its body.
type Sender func(method, path, body string, header http.Header) (*http.Response, string, error)

// BindClient does what a browser does that knows Device Bound Session Credentials
// (https://www.w3.org/TR/dbsc/). What it knows of the site, the site has told it.
type BindClient struct {
	t                         testing.TB
	send                      Sender
	key                       *ecdsa.PrivateKey
	id                        string // of what is registered; empty when nothing is
	ticket                    string // that it refreshes; empty when nothing is registered
	challenge                 string // the last one that it was given
	registerPath, refreshPath string
	jar                       map[string]*http.Cookie
	ends                      map[string]time.Time // of the cookies in it
}

// NewBindClient returns a client without cookies.
func NewBindClient(t testing.TB, send Sender) *BindClient {
	return &BindClient{
		t: t, send: send, jar: make(map[string]*http.Cookie), ends: make(map[string]time.Time),
	}
}

// Ask makes a request as a browser does: with a ticket, if it can get one, and
// afterwards it takes an offer to bind the session.
func (b *BindClient) Ask(method, path, body string, header ...string) (*http.Response, string) {
	b.t.Helper()
	if _, there := b.Cookies()[b.ticket]; b.id != "" && !there {
		b.Refresh()
	}
	res, text := b.Raw(method, path, body, header...)
	if offer := res.Header.Get("Secure-Session-Registration"); offer != "" {
		b.takeOffer(offer)
		b.register()
	}
	return res, text
}

// Raw makes a request with what is in the jar, and with pairs of a header's name and value.
func (b *BindClient) Raw(method, path, body string, header ...string) (*http.Response, string) {
	b.t.Helper()
	h := http.Header{}
	if method == "POST" && body != "" {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	if _, given := h["Cookie"]; !given && len(b.Cookies()) > 0 {
		h.Set("Cookie", cookieLine(b.Cookies()))
	}
	res, text, err := b.send(method, path, body, h)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, path, err)
		return &http.Response{Header: http.Header{}}, ""
	}
	for _, c := range res.Cookies() {
		b.jar[c.Name] = c
		b.ends[c.Name] = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
	}
	return res, text
}

// Cookies returns the values of those that have not run out.
func (b *BindClient) Cookies() map[string]string {
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

var offerForm = regexp.MustCompile(`^\(ES256\);path="(/[\w/]+)";challenge="([\w.=-]+)"$`)

// takeOffer makes a key for a session that can be bound.
func (b *BindClient) takeOffer(offer string) {
	b.t.Helper()
	m := offerForm.FindStringSubmatch(offer)
	if m == nil {
		b.t.Fatalf("got the offer %q", offer)
	}
	b.registerPath, b.challenge, b.key = m[1], m[2], newDeviceKey()
}

// register registers the key, and remembers what it is told to go on with.
func (b *BindClient) register() {
	b.t.Helper()
	res, text := b.Raw("POST", b.registerPath, "",
		"Secure-Session-Response", proof(b.key, b.challenge, true))
	b.instructed(res, text)
}

// Refresh gets a ticket.
func (b *BindClient) Refresh() {
	b.t.Helper()
	res, text := b.Raw("POST", b.refreshPath, "", "Sec-Secure-Session-Id", b.id)
	if res.StatusCode == http.StatusForbidden {
		b.takeChallenge(res)
		res, text = b.Raw("POST", b.refreshPath, "", "Sec-Secure-Session-Id", b.id,
			"Secure-Session-Response", proof(b.key, b.challenge, false))
	}
	b.instructed(res, text)
}

var challengeForm = regexp.MustCompile(`^"([\w.=-]+)";id="([\w.=-]+)"$`)

// takeChallenge remembers the challenge that is in an answer.
func (b *BindClient) takeChallenge(res *http.Response) {
	b.t.Helper()
	m := challengeForm.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
	if m == nil || m[2] != b.id {
		b.t.Fatalf("got the challenge %q", res.Header.Get("Secure-Session-Challenge"))
	}
	b.challenge = m[1]
}

// instructed does what an answer to register or refresh says: it keeps the
// registration, or forgets it. Chromium 156 keeps it after a 5xx, too.
func (b *BindClient) instructed(res *http.Response, text string) {
	b.t.Helper()
	if res.StatusCode >= 500 {
		return
	}
	var say struct {
		ID          string `json:"session_identifier"`
		RefreshURL  string `json:"refresh_url"`
		Continue    *bool
		Credentials []struct{ Name string }
	}
	if res.StatusCode != 200 || json.Unmarshal([]byte(text), &say) != nil ||
		say.Continue != nil && !*say.Continue || b.id != "" && say.ID != b.id ||
		len(say.Credentials) != 1 {
		b.id, b.ticket = "", ""
		return
	}
	b.id, b.ticket, b.refreshPath = say.ID, say.Credentials[0].Name, say.RefreshURL
}

// newDeviceKey returns a key as a device makes it.
func newDeviceKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system's randomness doesn't fail
	}
	return key
}

// proof returns the JWT (RFC 7519) that a browser makes of a challenge. That of a
// registration has the public key in its header, as a JSON Web Key (RFC 7517).
func proof(key *ecdsa.PrivateKey, challenge string, registers bool) string {
	header := map[string]any{"alg": "ES256", "typ": "dbsc+jwt"}
	if registers {
		point, err := key.PublicKey.Bytes()
		if err != nil {
			panic(err) // a good key has a point
		}
		header["jwk"] = map[string]any{
			"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:]),
		}
	}
	var parts [2]string
	for i, part := range []map[string]any{header, {"jti": challenge}} {
		text, err := json.Marshal(part)
		if err != nil {
			panic(err) // text is JSON
		}
		parts[i] = encode(text)
	}
	input := parts[0] + "." + parts[1]
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err) // a good key signs
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return input + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
