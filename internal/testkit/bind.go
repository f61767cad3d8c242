package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
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

// Over returns a Sender of a client to the site at an address.
func Over(client *http.Client, base string) Sender {
	return func(method, path, body string, header http.Header) (*http.Response, string, error) {
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		r.Header = header
		res, err := client.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return res, string(text), err
	}
}

// BindClient does what a browser does that knows Device Bound Session Credentials
// (https://www.w3.org/TR/dbsc/). What it knows of the site, the site has told it.
type BindClient struct {
	Unable    bool // it takes no offers
	Key       *ecdsa.PrivateKey
	ID        string // of what is registered; empty when nothing is
	Ticket    string // the cookie that it refreshes; empty when nothing is registered
	Challenge string // the last one that it was given
	Refreshes int

	t                         testing.TB
	send                      Sender
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
	if _, there := b.Cookies()[b.Ticket]; b.ID != "" && !there {
		b.Refresh()
	}
	res, text := b.Raw(method, path, body, header...)
	if offer := res.Header.Get("Secure-Session-Registration"); offer != "" && !b.Unable {
		b.TakeOffer(offer)
		b.Register()
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
		h.Set("Cookie", CookieLine(b.Cookies()))
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

// CookieLine returns cookies as they stand in a header.
func CookieLine(cookies map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(cookies)) {
		parts = append(parts, name+"="+cookies[name])
	}
	return strings.Join(parts, "; ")
}

var offerForm = regexp.MustCompile(`^\(ES256\);path="(/[\w/]+)";challenge="([\w.=-]+)"$`)

// TakeOffer makes a key for a session that can be bound.
func (b *BindClient) TakeOffer(offer string) {
	b.t.Helper()
	m := offerForm.FindStringSubmatch(offer)
	if m == nil {
		b.t.Fatalf("got the offer %q", offer)
	}
	b.registerPath, b.Challenge, b.Key = m[1], m[2], NewDeviceKey()
}

// Register registers the key, and remembers what it is told to go on with.
func (b *BindClient) Register() *http.Response {
	b.t.Helper()
	proof := NewProof(b.Key, b.Challenge).WithKey(&b.Key.PublicKey).Signed()
	res, text := b.Raw("POST", b.registerPath, "", "Secure-Session-Response", proof)
	b.instructed(res, text)
	return res
}

// Refresh gets a ticket, and returns the last answer.
func (b *BindClient) Refresh() *http.Response {
	b.t.Helper()
	b.Refreshes++
	res, text := b.Raw("POST", b.refreshPath, "", "Sec-Secure-Session-Id", b.ID)
	if res.StatusCode == http.StatusForbidden {
		b.TakeChallenge(res)
		proof := NewProof(b.Key, b.Challenge).Signed()
		res, text = b.Raw("POST", b.refreshPath, "",
			"Sec-Secure-Session-Id", b.ID, "Secure-Session-Response", proof)
	}
	b.instructed(res, text)
	return res
}

var challengeForm = regexp.MustCompile(`^"([\w.=-]+)";id="([\w.=-]+)"$`)

// TakeChallenge remembers the challenge that is in an answer.
func (b *BindClient) TakeChallenge(res *http.Response) {
	b.t.Helper()
	m := challengeForm.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
	if m == nil || m[2] != b.ID {
		b.t.Fatalf("got the challenge %q", res.Header.Get("Secure-Session-Challenge"))
	}
	b.Challenge = m[1]
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
		say.Continue != nil && !*say.Continue || b.ID != "" && say.ID != b.ID ||
		len(say.Credentials) != 1 {
		b.ID, b.Ticket = "", ""
		return
	}
	b.ID, b.Ticket, b.refreshPath = say.ID, say.Credentials[0].Name, say.RefreshURL
}

// NewDeviceKey returns a key as a device makes it.
func NewDeviceKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system's randomness doesn't fail
	}
	return key
}

// Proof is a JWT (RFC 7519) in the making.
type Proof struct {
	Header, Claims map[string]any
	Sign           func(input []byte) []byte
}

// NewProof returns the proof that a browser makes of a challenge.
func NewProof(key *ecdsa.PrivateKey, challenge string) Proof {
	return Proof{
		Header: map[string]any{"alg": "ES256", "typ": "dbsc+jwt"},
		Claims: map[string]any{"jti": challenge},
		Sign: func(input []byte) []byte {
			sum := sha256.Sum256(input)
			r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				panic(err) // a good key signs
			}
			size := (key.Curve.Params().BitSize + 7) / 8
			return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		},
	}
}

// With returns p with another field of its header.
func (p Proof) With(name string, value any) Proof {
	p.Header = maps.Clone(p.Header)
	p.Header[name] = value
	return p
}

// WithKey returns p with a public key in its header, as a registration has it.
func (p Proof) WithKey(key *ecdsa.PublicKey) Proof { return p.With("jwk", JWK(key)) }

// JWK returns a public key as a JSON Web Key (RFC 7517).
func JWK(key *ecdsa.PublicKey) map[string]any {
	point, err := key.Bytes()
	if err != nil {
		panic(err) // a good key has a point
	}
	x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
	return map[string]any{
		"kty": "EC", "crv": key.Curve.Params().Name, "x": encode(x), "y": encode(y),
	}
}

// Signed returns the proof as it is sent.
func (p Proof) Signed() string {
	var parts [2]string
	for i, part := range []map[string]any{p.Header, p.Claims} {
		text, err := json.Marshal(part)
		if err != nil {
			panic(err) // what can't be JSON is no proof
		}
		parts[i] = encode(text)
	}
	input := parts[0] + "." + parts[1]
	return input + "." + encode(p.Sign([]byte(input)))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
