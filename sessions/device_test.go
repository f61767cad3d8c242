package sessions_test

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
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
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"

	"github.com/go-jose/go-jose/v4"
)

// The names of the two cookies of a bound session.
const (
	boundCookie  = "__Host-Http-session"
	ticketCookie = "__Host-session-ticket"
)

type person struct{ Name string }

// site is a server that binds sessions.
type site struct {
	*sessions.Manager[person]
	http.Handler
	events []sessions.Event // what Observe was told
}

// newSite returns a site that keeps a visitor's name, with the options of o and tickets
// that are good for bind.
func newSite(keys *sessions.Keyring, bind time.Duration, o sessions.Options[person]) *site {
	s := new(site)
	o.Bind, o.Observe = bind, func(_ *http.Request, e sessions.Event) { s.events = append(s.events, e) }
	s.Manager = newManager(keys, o)
	s.Handler = s.Manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch v := s.Get(r.Context()); r.URL.Path {
		case "/set":
			v.Data.Name = r.URL.Query().Get("name")
		case "/renew":
			v.Renew()
		case "/clear", "/login":
			v.Clear()
			v.Data.Name = r.URL.Query().Get("name")
		case "/fail":
			v.Data.Name = "x"
			s.Save(w, v)
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprint(w, "I am ", v.Data.Name)
		}
	}))
	return s
}

func newManager[T any](keys *sessions.Keyring, o sessions.Options[T]) *sessions.Manager[T] {
	m, err := sessions.New(keys, o)
	if err != nil {
		panic(err)
	}
	return m
}

func newRing(first sessions.Key, more ...sessions.Key) *sessions.Keyring {
	ring, err := sessions.NewKeyring(first, more...)
	if err != nil {
		panic(err)
	}
	return ring
}

// tenMinutes is newSite with a new key and nothing out of the ordinary.
func tenMinutes() *site {
	return newSite(newRing(sessions.NewKey()), 10*time.Minute, sessions.Options[person]{})
}

// steps returns the steps of device binding since the last call.
func (s *site) steps() (steps []string) {
	for _, e := range s.events {
		if e.Step != "" {
			steps = append(steps, e.Step)
		}
	}
	s.events = nil
	return steps
}

// judge returns the session that cookies bring.
func (s *site) judge(cookies jar) *sessions.Session[person] {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", cookies.line())
	return s.Load(r)
}

// inBubble runs test in a bubble, where time is as it says and begins in 2000.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// jar is a browser's cookies.
type jar map[string]stored

type stored struct {
	*http.Cookie
	ends time.Time
}

// line returns those that have not run out as they stand in a header.
func (j jar) line() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(j)) {
		if c := j[name]; c.ends.IsZero() || time.Now().Before(c.ends) {
			parts = append(parts, name+"="+c.Value)
		}
	}
	return strings.Join(parts, "; ")
}

// with returns the jar with another value of one cookie, or without it.
func (j jar) with(name, value string) jar {
	j = maps.Clone(j)
	if delete(j, name); value != "" {
		j[name] = stored{Cookie: &http.Cookie{Value: value}}
	}
	return j
}

// device does what a browser does that knows device binding.
type device struct {
	t         testing.TB
	to        http.Handler
	path      string // of BindPath
	ticket    string // the name of the cookie
	key       *ecdsa.PrivateKey
	id        string // of what is registered; empty when nothing is
	jar       jar
	challenge string // the last one that it was given
}

// newDevice returns a browser that has stored a name, and was offered to bind its session.
func newDevice(t testing.TB, to http.Handler) *device {
	t.Helper()
	d := &device{
		t: t, to: to, path: "/session", ticket: ticketCookie, jar: make(jar), key: newKey(elliptic.P256()),
	}
	d.send("POST", "/set?name=Alice")
	return d
}

// newBound returns a browser whose session is bound.
func newBound(t testing.TB, to http.Handler) *device {
	t.Helper()
	d := newDevice(t, to)
	d.register()
	if res, _ := d.refresh(); res.StatusCode != 200 || len(d.jar) != 2 {
		t.Fatalf("got status %d and the cookies %v", res.StatusCode, d.jar)
	}
	return d
}

// ask gets a page as a browser does: with a ticket, if it can get one.
func (d *device) ask(path string) string {
	d.t.Helper()
	if d.id != "" && !strings.Contains(d.jar.line(), d.ticket+"=") {
		d.refresh()
	}
	_, text := d.send("GET", path)
	return text
}

// send makes a request, with what is in the jar unless there is a Cookie among the
// pairs of header.
func (d *device) send(method, target string, header ...string) (*http.Response, string) {
	d.t.Helper()
	r := httptest.NewRequest(method, "https://site.example"+target, nil)
	r.Header.Set("Cookie", d.jar.line())
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return d.do(r)
}

func (d *device) do(r *http.Request) (*http.Response, string) {
	d.t.Helper()
	w := httptest.NewRecorder()
	d.to.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		if delete(d.jar, c.Name); c.MaxAge > 0 {
			d.jar[c.Name] = stored{c, time.Now().Add(time.Duration(c.MaxAge) * time.Second)}
		}
	}
	d.takeOffers(res)
	return res, w.Body.String()
}

func (d *device) takeOffers(res *http.Response) {
	d.t.Helper()
	for _, offer := range res.Header["Secure-Session-Registration"] {
		m := offerForm.FindStringSubmatch(offer)
		if m == nil {
			d.t.Fatalf("got the offer %q", offer)
		}
		if m[1] == d.path+"/register" {
			d.challenge = m[2]
		}
	}
}

var (
	offerForm     = regexp.MustCompile(`^\(ES256\);path="([^"]+)";challenge="([\w.-]+)"$`)
	challengeForm = regexp.MustCompile(`^"([\w.-]+)";id="([\w.-]+)"$`)
)

// register registers the key, and remembers the identifier.
func (d *device) register() (*http.Response, string) {
	d.t.Helper()
	return d.obey(d.post("/register", d.proof(true)))
}

// refresh gets a ticket, and returns the last answer.
func (d *device) refresh() (*http.Response, string) {
	d.t.Helper()
	res, text := d.post("/refresh", "")
	if res.StatusCode == http.StatusForbidden {
		d.takeChallenge(res)
		res, text = d.post("/refresh", d.proof(false))
	}
	return d.obey(res, text)
}

// asked has the device asked for a proof, and remembers the challenge.
func (d *device) asked() *device {
	d.t.Helper()
	res, _ := d.post("/refresh", "")
	d.takeChallenge(res)
	return d
}

func (d *device) takeChallenge(res *http.Response) {
	d.t.Helper()
	m := challengeForm.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
	if m == nil || m[2] != d.id || res.StatusCode != http.StatusForbidden {
		d.t.Fatalf("got status %d and the challenge %q", res.StatusCode,
			res.Header.Get("Secure-Session-Challenge"))
	}
	d.challenge = m[1]
}

// post makes a step of binding with a proof, if it isn't empty, and the identifier.
func (d *device) post(step, proof string, header ...string) (*http.Response, string) {
	d.t.Helper()
	if proof != "" {
		header = append(header, "Secure-Session-Response", proof)
	}
	if step == "/refresh" {
		header = append(header, "Sec-Secure-Session-Id", d.id)
	}
	return d.send("POST", d.path+step, header...)
}

// obey does what an answer says: it keeps the registration, or forgets it. Chromium keeps
// it after a 5xx, too.
func (d *device) obey(res *http.Response, text string) (*http.Response, string) {
	var say struct {
		ID       string `json:"session_identifier"`
		Continue *bool
	}
	switch err := json.Unmarshal([]byte(text), &say); {
	case res.StatusCode >= 500:
	case res.StatusCode != 200 || err != nil || say.Continue != nil:
		d.id = ""
	case d.id == "":
		d.id = say.ID
	case say.ID != d.id:
		d.t.Errorf("got another identifier")
	}
	return res, text
}

// proof returns the proof that a browser makes of its challenge.
func (d *device) proof(registers bool) string {
	return d.signs(d.challenge, registers)
}

func (d *device) signs(challenge string, registers bool) string {
	return sign(jose.ES256, d.key, "dbsc+jwt", registers, `{"jti":"`+challenge+`"}`)
}

// sign returns a JWT with its key in the header, if embed.
func sign(alg jose.SignatureAlgorithm, key any, typ string, embed bool, claims string) string {
	o := (&jose.SignerOptions{EmbedJWK: embed}).WithType(jose.ContentType(typ))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign([]byte(claims))
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

func newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// wantSteps fails unless these are the steps since the last call.
func wantSteps(t *testing.T, name string, s *site, want ...string) {
	t.Helper()
	got := s.steps()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got the steps %q, want %q", name, got, want)
	}
	for _, step := range got {
		if !slices.Contains(sessions.Steps(), step) {
			t.Errorf("%s: %q is none of Steps", name, step)
		}
	}
}

// wantRefused fails unless an answer is a plain refusal that says nothing of what was sent,
// sets nothing and is the last step.
func wantRefused(t *testing.T, name string, s *site, res *http.Response, text string, status int,
	step string) {
	t.Helper()
	steps := s.steps()
	if res.StatusCode != status || len(steps) == 0 || steps[len(steps)-1] != step ||
		text != "Device binding: "+step+".\n" || res.Header["Set-Cookie"] != nil ||
		res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: got status %d, %v, %q and the steps %q, want %d and %s",
			name, res.StatusCode, res.Header, text, steps, status, step)
	}
	if has := res.Header.Get("Secure-Session-Challenge") != ""; has != (status == 403) {
		t.Errorf("%s: got %v", name, res.Header)
	}
}

// wantName fails unless the jar's session is that of name, and bound or not.
func wantName(t *testing.T, s *site, cookies jar, name string, bound bool) {
	t.Helper()
	if v := s.judge(cookies); v.Data.Name != name || v.Cookie().Bound != bound {
		t.Errorf("got %v, %q and bound %v, want %q and %v",
			v.Verdict(), v.Data.Name, v.Cookie().Bound, name, bound)
	}
}

// instructions are what register and refresh say.
func instructions(id, path, ticket, attributes, rules string) string {
	return `{"credentials":[{"attributes":"` + attributes + `","name":"` + ticket +
		`","type":"cookie"}],"refresh_url":"` + path + `/refresh","scope":{"include_site":false,` +
		`"scope_specification":` + rules + `},"session_identifier":"` + id + `"}` + "\n"
}

// A session is bound at the first refresh, and from then on it takes a ticket.
func TestBinding(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSite(newRing(sessions.NewKey()), 10*time.Minute,
			sessions.Options[person]{Assets: []string{"/a.css", "/b/"}})
		d := newDevice(t, s)
		wantSteps(t, "set", s, "offered")
		unbound := d.jar[boundCookie].Value
		const attributes = "Path=/; HttpOnly; Secure; SameSite=Lax"
		const rules = `[{"domain":"*","path":"/a.css","type":"exclude"},` +
			`{"domain":"*","path":"/b/","type":"exclude"}]`

		res, text := d.register()
		wantSteps(t, "register", s, "registered")
		if res.StatusCode != 200 || res.Header["Set-Cookie"] != nil || d.id == "" || len(d.id) > 200 ||
			text != instructions(d.id, "/session", ticketCookie, attributes, rules) {
			t.Fatalf("register: got status %d, %v and %s", res.StatusCode, res.Header, text)
		}
		// The browser may still reject what it was told. Nobody is locked out.
		time.Sleep(time.Hour)
		wantName(t, s, d.jar, "Alice", false)

		res, text = d.refresh()
		wantSteps(t, "refresh", s, "challenged", "bound")
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" ||
			res.Header.Get("Cache-Control") != "no-store" ||
			text != instructions(d.id, "/session", ticketCookie, attributes, rules) {
			t.Fatalf("refresh: got status %d, %v and %s", res.StatusCode, res.Header, text)
		}
		ticket, bound := d.jar[ticketCookie].Cookie, d.jar[boundCookie]
		if want := ticketCookie + "=" + ticket.Value + "; Path=/; Max-Age=540; HttpOnly; Secure; " +
			"SameSite=Lax"; ticket.Raw != want || len(ticket.Value) > 200 {
			t.Errorf("got the ticket %q", ticket.Raw)
		}
		if bound.Value == unbound {
			t.Error("got the same cookie when the session was bound")
		}

		// Good for ten minutes to the second; the browser gives it up before.
		all := maps.Clone(d.jar)
		all[ticketCookie] = stored{Cookie: ticket}
		ends := time.Now().Add(10 * time.Minute)
		for _, tt := range []struct {
			later time.Duration
			want  sessions.Verdict
		}{{0, sessions.Valid}, {600 * time.Second, sessions.Valid}, {time.Second, sessions.Unproven}} {
			time.Sleep(tt.later)
			v := s.judge(all)
			if live := tt.want == sessions.Valid; v.Verdict() != tt.want || !v.Cookie().Bound ||
				(v.Data.Name != "") != live || v.Cookie().TicketEnds.Equal(ends) != live {
				t.Errorf("got %v, %q, a ticket until %v, want %v",
					v.Verdict(), v.Data.Name, v.Cookie().TicketEnds, tt.want)
			}
		}
		if text := d.ask("/"); text != "I am Alice" {
			t.Errorf("got %q after the ticket had run out", text)
		}
		wantSteps(t, "again", s, "challenged", "refreshed")
		// The session goes on where it was: changed, it is still bound, and nothing is offered.
		res, _ = d.send("POST", "/set?name=Bob")
		wantName(t, s, d.jar, "Bob", true)
		if res.Header["Secure-Session-Registration"] != nil || len(res.Cookies()) != 1 {
			t.Errorf("got %v when a bound session was changed", res.Header)
		}
	})
}

// Observe is told what was written when a session was bound.
func TestBindingIsObserved(t *testing.T) {
	s := tenMinutes()
	d := newDevice(t, s)
	d.register()
	d.asked()
	s.events = nil
	d.post("/refresh", d.proof(false))
	d.refresh()
	want := sessions.Saved{Reason: sessions.Bound, Size: len(boundCookie + d.jar[boundCookie].Value)}
	if len(s.events) != 3 || s.events[0].Saved != want || s.events[0].Cookie.Bound ||
		s.events[2].Saved != (sessions.Saved{Reason: sessions.Unchanged}) || !s.events[2].Cookie.Bound {
		t.Errorf("got %+v", s.events)
	}
}

// The ticket's attributes and paths follow the options, and the margin its length.
func TestTicketOptions(t *testing.T) {
	type options = sessions.Options[person]
	for _, tt := range []struct {
		bind               time.Duration
		o                  options
		path, ticket, attr string
		maxAge             int
	}{
		{10 * time.Second, options{Name: "cart"}, "/cart", "__Host-cart-ticket",
			"Path=/; HttpOnly; Secure; SameSite=Lax", 8},
		{time.Minute, options{Path: "/shop"}, "/shop/session", "__Secure-session-ticket",
			"Path=/shop; HttpOnly; Secure; SameSite=Lax", 48},
		{10 * time.Minute, options{BindPath: "/d", SameSite: http.SameSiteNoneMode, Partitioned: true},
			"/d", ticketCookie, "Path=/; HttpOnly; Secure; SameSite=None; Partitioned", 540},
		{time.Hour, options{SameSite: http.SameSiteStrictMode}, "/session", ticketCookie,
			"Path=/; HttpOnly; Secure; SameSite=Strict", 3540},
	} {
		inBubble(t, func(t *testing.T) {
			s := newSite(newRing(sessions.NewKey()), tt.bind, tt.o)
			d := &device{
				t: t, to: s, path: tt.path, ticket: tt.ticket, jar: make(jar), key: newKey(elliptic.P256()),
			}
			d.send("POST", "/set?name=Alice")
			_, text := d.register()
			if want := instructions(d.id, tt.path, tt.ticket, tt.attr, "[]"); text != want {
				t.Errorf("got the instructions %s, want %s", text, want)
			}
			d.refresh()
			wantName(t, s, d.jar, "Alice", true)
			c := d.jar[tt.ticket].Cookie
			attr := strings.Replace(tt.attr, "; HttpOnly", fmt.Sprintf("; Max-Age=%d; HttpOnly", tt.maxAge), 1)
			if want := tt.ticket + "=" + c.Value + "; " + attr; c.Raw != want {
				t.Errorf("got the ticket %q, want %q", c.Raw, want)
			}
			v := s.judge(d.jar)
			if got := time.Until(v.Cookie().TicketEnds); got != tt.bind {
				t.Errorf("got a ticket that is good for %v, want %v", got, tt.bind)
			}
		})
	}
}

// Only what a browser sends to register and refresh is answered there. All else is next's.
func TestOtherRequestsAtThesePaths(t *testing.T) {
	s := tenMinutes()
	d := newBound(t, s)
	proof := []string{"Secure-Session-Response", d.proof(true)}
	id := []string{"Sec-Secure-Session-Id", d.id}
	both := append(proof, id...)
	for _, tt := range []struct {
		method, path string
		header       []string
		want         int // steps
	}{
		{"POST", "/session/register", nil, 0}, {"POST", "/session/register", id, 0},
		{"POST", "/session/refresh", nil, 0}, {"POST", "/session/refresh", proof, 0},
		{"GET", "/session/refresh", both, 0}, {"PUT", "/session/register", both, 0},
		{"POST", "/refresh", both, 0}, {"POST", "/session", both, 0}, {"POST", "/session/x", both, 0},
		{"POST", "/x/session/refresh", both, 0},
		{"POST", "/session/register", proof, 1}, {"POST", "/session/refresh", id, 1},
	} {
		s.events = nil
		_, text := d.send(tt.method, tt.path, tt.header...)
		if got := s.steps(); len(got) != tt.want || (text == "I am Alice") != (tt.want == 0) {
			t.Errorf("%s %s with %q: got %q and the steps %q", tt.method, tt.path, tt.header, text, got)
		}
	}
	// Where nothing can be bound, there are no steps.
	for _, o := range []sessions.Options[person]{{Insecure: true}, {Domain: "site.example"}} {
		plain := newSite(newRing(sessions.NewKey()), 0, o)
		d.to = plain
		d.send("POST", "/session/refresh", id...)
		if _, text := d.send("POST", "/session/refresh", id...); text != "I am " {
			t.Errorf("%+v: got %q", o, text)
		}
		wantSteps(t, "plain", plain)
	}
}

// What a thief has is worth nothing without the device, as soon as the ticket has run out.
func TestStolenCookies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ring := newRing(sessions.NewKey())
		s := newSite(ring, 10*time.Minute, sessions.Options[person]{})
		cart := newSite(ring, 10*time.Minute, sessions.Options[person]{Name: "cart"})
		strange := tenMinutes()
		d := newBound(t, s)
		ticketOf := func(to *site, path, ticket string) string { // of the same device
			e := &device{t: t, to: to, path: path, ticket: ticket, key: d.key, jar: make(jar)}
			e.send("POST", "/set?name=Eve")
			e.register()
			e.refresh()
			return e.jar[ticket].Value
		}
		good := d.jar[ticketCookie].Value
		for _, tt := range []struct {
			name, ticket string
			want         sessions.Verdict
		}{
			{"at once", good, sessions.Valid},
			{"without a ticket", "", sessions.Unproven},
			{"garbage", "garbage", sessions.Unproven},
			{"another device's ticket", newBound(t, s).jar[ticketCookie].Value, sessions.Unproven},
			{"the session as its ticket", d.jar[boundCookie].Value, sessions.Unproven},
			{"the identifier", d.id, sessions.Unproven},
			{"a challenge", d.asked().challenge, sessions.Unproven},
			{"of another session of the device", ticketOf(s, "/session", ticketCookie), sessions.Valid},
			{"of another cookie", ticketOf(cart, "/cart", "__Host-cart-ticket"), sessions.Unproven},
			{"of a strange key", ticketOf(strange, "/session", ticketCookie), sessions.Unproven},
			{"in another spelling", good + "=", sessions.Unproven},
			{"in quotes", `"` + good + `"`, sessions.Valid},
			{"behind three bad ones", strings.Repeat("x; "+ticketCookie+"=", 3) + good, sessions.Valid},
			{"behind four", strings.Repeat("x; "+ticketCookie+"=", 4) + good, sessions.Unproven},
		} {
			v := s.judge(d.jar.with(ticketCookie, tt.ticket))
			if v.Verdict() != tt.want || (v.Data.Name == "Alice") != (tt.want == sessions.Valid) {
				t.Errorf("%s: got %v and %q, want %v", tt.name, v.Verdict(), v.Data.Name, tt.want)
			}
		}
		// An unbound session takes no ticket, and isn't harmed by one.
		unbound := newDevice(t, s)
		wantName(t, s, unbound.jar.with(ticketCookie, good), "Alice", false)
		// Of two session cookies, the one that is proven counts, wherever it stands.
		one, other := d.jar[boundCookie].Value, unbound.jar[boundCookie].Value
		for _, pair := range [][2]string{{one, other}, {other, one}} {
			v := s.judge(jar{}.with(boundCookie, pair[0]+"; "+boundCookie+"="+pair[1]))
			if v.Verdict() != sessions.Valid || v.Cookie().Good != 1 {
				t.Errorf("got %v, %d good ones", v.Verdict(), v.Cookie().Good)
			}
		}

		time.Sleep(601 * time.Second)
		stolen := maps.Clone(d.jar)
		stolen[ticketCookie] = stored{Cookie: d.jar[ticketCookie].Cookie}
		if v := s.judge(stolen); v.Verdict() != sessions.Unproven {
			t.Errorf("got %v after the ticket's time", v.Verdict())
		}
		if text := d.ask("/"); text != "I am Alice" {
			t.Errorf("the owner: got %q", text)
		}
	})
}

// While the ticket is missing a write is refused, so that nothing is lost, and Clear works.
func TestWriteWhileUnproven(t *testing.T) {
	s := tenMinutes()
	for _, tt := range []struct {
		path string
		name string // afterwards
		want []int  // Max-Ages of the session and the ticket
	}{
		{"/set?name=Bob", "", nil}, {"/clear", "", []int{-1, -1}},
		{"/login?name=Bob", "Bob", []int{90 * 24 * 3600, -1}}, // as a login does
	} {
		d := newBound(t, s)
		d.jar = d.jar.with(ticketCookie, "")
		d.challenge = ""
		s.events = nil
		res, _ := d.send("POST", tt.path)
		var got []int
		for _, c := range res.Cookies() {
			got = append(got, c.MaxAge)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q", tt.path, res.Header["Set-Cookie"])
		}
		if tt.want == nil {
			if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" ||
				s.events[0].Err != sessions.ErrTryAgain {
				t.Errorf("%s: got status %d, %v and %v", tt.path, res.StatusCode, res.Header, s.events)
			}
			if text := d.ask("/"); text != "I am Alice" {
				t.Errorf("%s: got %q with a ticket again", tt.path, text)
			}
			continue
		}
		if wantName(t, s, d.jar, tt.name, false); (d.challenge != "") != (tt.name != "") {
			t.Errorf("%s: got an offer %v", tt.path, d.challenge != "")
		}
		// What was registered for the session before is told the end when it is no more.
		s.events = nil
		if tt.name == "" {
			d.refresh()
			wantSteps(t, tt.path, s, "ended")
		}
	}
}

// A session that is begun anew at a login keeps its device, and all that names it.
func TestRenewKeepsTheDevice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := tenMinutes()
		d := newBound(t, s)
		began, challenge := s.judge(d.jar).Began(), d.asked().challenge
		time.Sleep(30 * time.Second)
		res, _ := d.send("POST", "/renew")
		v := s.judge(d.jar)
		if !v.Began().After(began) || v.Verdict() != sessions.Valid || len(res.Cookies()) != 1 ||
			!v.Cookie().Bound || res.Header["Secure-Session-Registration"] != nil {
			t.Errorf("got %v, begun %v, and %v", v.Verdict(), v.Began(), res.Header)
		}
		res, _ = d.obey(d.post("/refresh", d.signs(challenge, false)))
		if wantName(t, s, d.jar, "Alice", true); res.StatusCode != 200 || d.id == "" {
			t.Errorf("got status %d for a challenge and an identifier of before", res.StatusCode)
		}
	})
}

// Clearing a session ends it in the browser, too.
func TestClearEndsBinding(t *testing.T) {
	s := tenMinutes()
	d := newBound(t, s)
	id := d.id
	res, _ := d.send("POST", "/clear")
	if len(d.jar) != 0 || res.Header["Secure-Session-Registration"] != nil {
		t.Errorf("got the cookies %v and %v", d.jar, res.Header)
	}
	s.events = nil
	res, text := d.refresh()
	wantSteps(t, "cleared", s, "ended")
	if want := `{"continue":false,"session_identifier":"` + id + `"}` + "\n"; text != want ||
		res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got status %d, %v and %q", res.StatusCode, res.Header, text)
	}
	// So does what was registered before, when the next session is bound to another key,
	// and it doesn't disturb that.
	before := d.key
	d.send("POST", "/set?name=Bob")
	d.key = newKey(elliptic.P256())
	d.register()
	d.refresh()
	ticket := d.jar[ticketCookie].Value
	old := &device{t: t, to: s, path: d.path, ticket: d.ticket, jar: d.jar, id: id, key: before}
	if res, _ := old.refresh(); old.id != "" || res.Header["Set-Cookie"] != nil {
		t.Errorf("got %v for what was registered before", res.Header)
	}
	if d.refresh(); d.id == "" || d.jar[ticketCookie].Value == ticket {
		t.Error("the new registration was harmed by the old one")
	}
}

// A bound session is not bound again, neither with its ticket nor without. A session that
// is none isn't, either.
func TestRegisterRefusesTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ring := newRing(sessions.NewKey())
		s := newSite(ring, 10*time.Minute, sessions.Options[person]{})
		bound, thief := newBound(t, s).jar, newDevice(t, s) // of the same second
		forged := thief.jar[boundCookie].Value
		forged = forged[:len(forged)-4] + "AAAA"
		for _, tt := range []struct {
			name string
			jar  jar
			want string
		}{
			{"with its ticket", bound, "refused_bound"},
			{"without", bound.with(ticketCookie, ""), "refused_bound"},
			{"tampered", jar{}.with(boundCookie, forged), "refused_session"},
			{"none", jar{}, "refused_session"},
		} {
			res, text := thief.post("/register", thief.proof(true), "Cookie", tt.jar.line())
			wantRefused(t, tt.name, s, res, text, 400, tt.want)
		}
		// Nor with an identifier that a session of the thief's own has got.
		thief.register()
		if _, text := thief.post("/refresh", "", "Cookie", bound.line()); !strings.HasPrefix(text,
			`{"continue":false`) {
			t.Errorf("got %q, want the end", text)
		}
	})
}

// badProof is what is sent instead of a good proof, and what it is answered with.
type badProof struct {
	name, proof string
	status      int
	step        string
}

// badProofs returns what neither register nor refresh takes. The device has a good
// challenge.
func badProofs(d *device, registers bool, challenge400 int) (all []badProof) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	good, claims := d.proof(registers), `{"jti":"`+d.challenge+`"}`
	header := `{"alg":"ES256","typ":"dbsc+jwt"`
	public := jwk(&d.key.PublicKey)
	if registers {
		header += `,"jwk":` + public
	}
	// raw signs what jose would not.
	raw := func(header string) string {
		input := b64([]byte(header)) + "." + b64([]byte(claims))
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
		if err != nil {
			panic(err)
		}
		return input + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	// part changes one part of the good proof.
	part := func(i int, to []byte) string {
		parts := strings.Split(good, ".")
		parts[i] = b64(to)
		return strings.Join(parts, ".")
	}
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&d.key.PublicKey)
	if err != nil {
		panic(err)
	}
	p384, other := newKey(elliptic.P384()), newKey(elliptic.P256())
	input := good[:strings.LastIndexByte(good, '.')]
	sum := sha256.Sum256([]byte(input))
	asn1, err := d.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	parts := strings.Split(good, ".")
	const typ = "dbsc+jwt"
	for name, proof := range map[string]string{
		"alg none":                   part(0, []byte(strings.Replace(header, "ES256", "none", 1)+"}")),
		"HS256 with the key in DER":  sign(jose.HS256, der, typ, false, claims),
		"HS256 with the key's bytes": sign(jose.HS256, point, typ, false, claims),
		"RS256":                      sign(jose.RS256, rsaKey, typ, registers, claims),
		"PS256":                      sign(jose.PS256, rsaKey, typ, registers, claims),
		"ES384":                      sign(jose.ES384, p384, typ, registers, claims),
		"another key":                sign(jose.ES256, other, typ, false, claims),
		"another type":               sign(jose.ES256, d.key, "JWT", registers, claims),
		"no object":                  sign(jose.ES256, d.key, typ, registers, `"jti"`),
		"a challenge that is none":   sign(jose.ES256, d.key, typ, registers, `{"jti":7}`),
		"the key of the other step":  d.proof(!registers),
		"a critical extension":       raw(header + `,"crit":["x"],"x":1}`),
		"somebody else's key":        raw(`{"alg":"ES256","typ":"dbsc+jwt","jwk":` + jwk(&other.PublicKey) + `}`),
		"a P-384 key":                raw(`{"alg":"ES256","typ":"dbsc+jwt","jwk":` + jwk(&p384.PublicKey) + `}`),
		"no point": raw(`{"alg":"ES256","typ":"dbsc+jwt","jwk":` +
			strings.Replace(public, `"y":"`, `"y":"AA`, 1) + "}"),
		"an RSA key": raw(`{"alg":"ES256","typ":"dbsc+jwt","jwk":{"kty":"RSA","e":"AQAB","n":"` +
			b64(rsaKey.N.Bytes()) + `"}}`),
		"another payload":         part(1, []byte(`{"jti":"`+d.challenge+`","a":1}`)),
		"no signature":            part(2, nil),
		"a signature in DER":      part(2, asn1),
		"a signature of zeros":    part(2, make([]byte, 64)),
		"two parts":               input,
		"the other serialisation": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"garbage":                 "garbage",
		"dots":                    "..",
	} {
		all = append(all, badProof{name, proof, 400, "refused_proof"})
	}
	for name, challenge := range map[string]string{
		"no challenge": "", "garbage for one": "garbage", "a session": d.jar[boundCookie].Value,
		"in another spelling": d.challenge + "=",
	} {
		all = append(all, badProof{name, d.signs(challenge, registers), challenge400, "refused_challenge"})
	}
	return append(all, badProof{"too large", strings.Repeat("x", 4097), 413, "refused_size"})
}

// jwk returns a public key as JSON has it.
func jwk(key *ecdsa.PublicKey) string {
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestRegisterRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ring := newRing(sessions.NewKey())
		s := newSite(ring, 10*time.Minute, sessions.Options[person]{})
		before, bound := newDevice(t, s), newBound(t, s).asked()
		time.Sleep(time.Second)
		d := newDevice(t, s)
		cart := newDevice(t, newSite(ring, 10*time.Minute,
			sessions.Options[person]{Name: "cart", BindPath: "/session"}))
		tests := badProofs(d, true, 400)
		for name, challenge := range map[string]string{
			"of another session": before.challenge, "of refresh": bound.challenge,
			"of another cookie": cart.challenge, "of strangers": newDevice(t, tenMinutes()).challenge,
			"an identifier": bound.id, "a ticket": bound.jar[ticketCookie].Value,
		} {
			tests = append(tests, badProof{name, d.signs(challenge, true), 400, "refused_challenge"})
		}
		for _, tt := range tests {
			res, text := d.post("/register", tt.proof)
			wantRefused(t, tt.name, s, res, text, tt.status, tt.step)
		}
		if d.register(); d.id == "" {
			t.Error("the good proof was refused afterwards")
		}
	})
}

func TestRefreshRefuses(t *testing.T) {
	for _, first := range []bool{true, false} { // whether the session is yet to be bound
		inBubble(t, func(t *testing.T) {
			s := tenMinutes()
			d := newDevice(t, s)
			ofRegister, other := d.challenge, newBound(t, s).asked()
			d.register()
			if !first {
				d.refresh()
			}
			d.asked()
			tests := badProofs(d, false, 403)
			for name, challenge := range map[string]string{
				"of register": ofRegister, "of another device": other.challenge, "an identifier": d.id,
				"a ticket": other.jar[ticketCookie].Value,
			} {
				tests = append(tests, badProof{name, d.signs(challenge, false), 403, "refused_challenge"})
			}
			for _, tt := range tests {
				res, text := d.post("/refresh", tt.proof)
				wantRefused(t, tt.name, s, res, text, tt.status, tt.step)
			}
			wantName(t, s, d.jar, "Alice", !first)
			if res, _ := d.obey(d.post("/refresh", `"`+d.proof(false)+`"`)); res.StatusCode != 200 {
				t.Errorf("got status %d for the good proof in quotes", res.StatusCode)
			}
			wantName(t, s, d.jar, "Alice", true)
		})
	}
}

// A challenge is good for a minute, to the second, and its maker's clock may be ahead by
// as much. So long a captured proof gives tickets, and no longer.
func TestChallengeAge(t *testing.T) {
	ring, d := newRing(sessions.NewKey()), new(device)
	for _, tt := range []struct {
		made, used time.Duration // since the bubble began
		status     int
	}{
		{0, 60 * time.Second, 200}, {0, 61 * time.Second, 403},
		{60 * time.Second, 0, 200}, {61 * time.Second, 0, 403},
	} {
		inBubble(t, func(t *testing.T) { // its bound session is as old as the bubble
			d = newBound(t, newSite(ring, 10*time.Minute, sessions.Options[person]{}))
			cookies := d.jar
			time.Sleep(tt.made)
			d.asked()
			d.jar = cookies
		})
		inBubble(t, func(t *testing.T) {
			d.t, d.to = t, newSite(ring, 10*time.Minute, sessions.Options[person]{})
			time.Sleep(tt.used)
			for range 2 {
				res, _ := d.post("/refresh", d.proof(false))
				if res.StatusCode != tt.status {
					t.Errorf("%v, %v: got status %d, want %d", tt.made, tt.used, res.StatusCode, tt.status)
				}
			}
		})
	}
}

// No challenge is like another, in the same second and without encryption either.
func TestChallengesDiffer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSite(newRing(sessions.NewKey()), time.Minute, sessions.Options[person]{SignOnly: true})
		d := newBound(t, s)
		if one := d.asked().challenge; one == d.asked().challenge {
			t.Error("got the same challenge twice")
		}
	})
}

// Neither step takes more than a browser sends.
func TestBindingSizes(t *testing.T) {
	s := tenMinutes()
	d := newBound(t, s)
	long := func(n int) string { return d.id[:7] + strings.Repeat("A", n-7) }
	for _, tt := range []struct {
		name, id, proof string
		body, major     int
		status          int
		step            string
		closes          bool
	}{
		{"nonsense", "nonsense", "", 0, 1, 400, "refused_form", false},
		{"quotes", `a";b="c.AAAA`, "", 0, 1, 400, "refused_form", false},
		{"quotes behind", `abcdef.AA"A`, "", 0, 1, 400, "refused_form", false},
		{"another spelling", d.id + "=", "", 0, 1, 400, "refused_form", false},
		{"in quotes", `"` + d.id + `"`, "", 0, 1, 403, "challenged", false},
		// The proof has to be of the session's own device, whatever the identifier is.
		{"the longest", long(511), "", 0, 1, 403, "challenged", false},
		{"longer", long(514), "", 0, 1, 413, "refused_size", false},
		{"the longest proof", d.id, strings.Repeat("x", 4096), 0, 1, 400, "refused_proof", false},
		{"a longer proof", d.id, strings.Repeat("x", 4097), 0, 1, 413, "refused_size", false},
		{"the longest body", d.id, "", 4096, 1, 403, "challenged", false},
		{"a longer body", d.id, "", 4097, 1, 413, "refused_size", true},
		{"over HTTP/2", d.id, "", 4097, 2, 413, "refused_size", false},
	} {
		r := httptest.NewRequest("POST", "/session/refresh", io.NopCloser(nil))
		r.ContentLength, r.ProtoMajor = int64(tt.body), tt.major
		r.Header.Set("Cookie", d.jar.line())
		r.Header.Set("Sec-Secure-Session-Id", tt.id)
		r.Header.Set("Secure-Session-Response", tt.proof)
		res, text := d.do(r)
		wantRefused(t, tt.name, s, res, text, tt.status, tt.step)
		if got := res.Header.Get("Connection") == "close"; got != tt.closes {
			t.Errorf("%s: got the connection closed %v", tt.name, got)
		}
	}
}

// Nothing is lost when keys come and go, or encryption: the session moves to the new
// key, and it knows its device itself. A challenge and an identifier of a key that is in
// the ring verify as well.
func TestBindingThroughRotations(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a, b := sessions.NewKey(), sessions.NewKey()
		use := func(signOnly bool, first sessions.Key, more ...sessions.Key) *site {
			return newSite(newRing(first, more...), 10*time.Minute, sessions.Options[person]{SignOnly: signOnly})
		}
		d := newDevice(t, use(false, a, b))
		d.to = use(false, b, a)
		if d.register(); d.id == "" {
			t.Fatal("the challenge of the key before was refused")
		}
		d.asked()
		d.to = use(true, a, b)
		if res, _ := d.post("/refresh", d.proof(false)); res.StatusCode != 200 {
			t.Fatalf("got status %d for a challenge in another mode", res.StatusCode)
		}
		id := d.id
		for _, to := range []*site{use(true, b, a), use(true, b), use(false, b), use(false, a, b), use(false, a)} {
			d.to = to
			time.Sleep(601 * time.Second)
			if text := d.ask("/"); text != "I am Alice" || d.id != id {
				t.Fatalf("got %q", text)
			}
			c, _ := to.Seal(person{"x"})
			for name, kept := range d.jar {
				if kept.Value[:6] != c.Value[:6] {
					t.Errorf("got %s under %s, want %s", name, kept.Value[:6], c.Value[:6])
				}
			}
		}
	})
}

// A copy with binding switched off takes bound sessions as they are, keeps them bound,
// and keeps what browsers have registered alive.
func TestBindingSwitchedOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ring, o := newRing(sessions.NewKey()), sessions.Options[person]{}
		on, off := newSite(ring, time.Hour, o), newSite(ring, 0, o)
		d := newBound(t, on)
		registered := newDevice(t, on)
		registered.register()
		d.to = off
		time.Sleep(61 * time.Minute)
		d.send("POST", "/set?name=Bob")
		wantName(t, off, d.jar, "Bob", true)
		if v := on.judge(d.jar); v.Verdict() != sessions.Unproven {
			t.Errorf("got %v after it was changed", v.Verdict())
		}
		d.send("GET", "/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate",
			"Secure-Session-Skipped", "unreachable")
		wantSteps(t, "off", off)
		if d.refresh(); d.id == "" || d.jar[ticketCookie].MaxAge != 540 {
			t.Fatalf("got the identifier %q and %v", d.id, d.jar[ticketCookie])
		}
		wantName(t, on, d.jar, "Bob", true)

		// What has only been registered is given up, and stays an ordinary session.
		registered.to = off
		if registered.refresh(); registered.id != "" {
			t.Error("a copy that is switched off goes on with a new binding")
		}
		wantName(t, on, registered.jar, "Alice", false)
		res, text := registered.post("/register", registered.proof(true))
		wantRefused(t, "register", off, res, text, 400, "refused_off")
		res, _ = registered.send("POST", "/set?name=Bob")
		if res.Header["Secure-Session-Registration"] != nil {
			t.Error("a copy that is switched off offers binding")
		}
		if d.send("POST", "/clear"); len(d.jar) != 0 {
			t.Errorf("got the cookies %v after clearing", d.jar)
		}
	})
}

// What a refresh is told whose session is refused: to ask again where another copy may
// take it, because of its keys, its clock, its limits or its fields, and the end where none
// does. A browser that was told the end has lost its session for good.
func TestRefreshOfARefused(t *testing.T) {
	type other struct{ Name int }
	type options = sessions.Options[person]
	ring := newRing(sessions.NewKey())
	var future string
	inBubble(t, func(t *testing.T) {
		time.Sleep(3 * time.Hour)
		future = newDevice(t, newSite(ring, time.Minute, options{})).jar[boundCookie].Value
	})
	inBubble(t, func(t *testing.T) {
		d := newBound(t, newSite(ring, time.Minute, options{}))
		id, bound := d.id, d.jar[boundCookie].Value
		strange, err := newManager(ring, sessions.Options[other]{}).Seal(other{7})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		no := func(*http.Request, *sessions.Session[person]) bool { return false }
		for _, tt := range []struct {
			name, cookie string
			ring         *sessions.Keyring
			o            options
			verdict      sessions.Verdict
			postponed    bool
		}{
			{"expired", bound, ring, options{Limits: sessions.Limits{Idle: time.Hour}}, sessions.Expired, true},
			{"too old", bound, ring, options{Limits: sessions.Limits{Lifetime: time.Hour}}, sessions.TooOld, true},
			{"of another type", strange.Value, ring, options{}, sessions.Malformed, true},
			{"from the future", future, ring, options{}, sessions.FromFuture, true},
			{"of another key", bound, newRing(sessions.NewKey()), options{}, sessions.UnknownKey, true},
			{"tampered", bound[:len(bound)-4] + "AAAA", ring, options{}, sessions.Tampered, false},
			{"of another form", "garbage", ring, options{}, sessions.Malformed, false},
			{"too large", bound + strings.Repeat("A", 4096), ring, options{}, sessions.TooLarge, false},
			{"revoked", newDevice(t, newSite(ring, time.Minute, options{})).jar[boundCookie].Value,
				ring, options{Accept: no}, sessions.Revoked, false},
			{"none", "", ring, options{}, sessions.None, false},
		} {
			s := newSite(tt.ring, time.Minute, tt.o)
			d.to, d.id, d.jar = s, id, jar{}.with(boundCookie, tt.cookie)
			if got := s.judge(d.jar).Verdict(); got != tt.verdict {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.verdict)
			}
			s.events = nil
			if res, text := d.refresh(); tt.postponed {
				wantRefused(t, tt.name, s, res, text, 503, "postponed")
			} else {
				wantSteps(t, tt.name, s, "ended")
			}
			if (d.id == "") == tt.postponed {
				t.Errorf("%s: got the identifier kept: %v", tt.name, d.id != "")
			}
		}
	})
}

// A browser may say that it refreshes for a page that it only prefetches.
func TestBindingWhilePrefetching(t *testing.T) {
	s := tenMinutes()
	d := newDevice(t, s)
	d.register()
	d.asked()
	d.post("/refresh", d.proof(false), "Sec-Purpose", "prefetch")
	wantName(t, s, d.jar, "Alice", true)
}

// A ticket that has outlived its session doesn't keep a browser from binding the next one.
// And an answer to a write that was sent before the binding, which puts an unbound cookie
// back, does no harm: it is bound again.
func TestRegisterWithAStaleTicket(t *testing.T) {
	s := tenMinutes()
	d := newDevice(t, s)
	unbound := d.jar[boundCookie]
	d.jar[ticketCookie] = newBound(t, s).jar[ticketCookie]
	d.register()
	if _, there := d.jar[ticketCookie]; there || d.id == "" {
		t.Errorf("got the stale ticket kept: %v", there)
	}
	d.refresh()
	wantName(t, s, d.jar, "Alice", true)
	d.jar[boundCookie] = unbound
	s.events = nil
	d.refresh()
	wantSteps(t, "again", s, "challenged", "bound")
	wantName(t, s, d.jar, "Alice", true)
}

// An answer with an error offers nothing, since it sets no session.
func TestNoOfferWithAnError(t *testing.T) {
	s := tenMinutes()
	d := newDevice(t, s)
	s.events = nil
	if res, _ := d.send("POST", "/fail"); res.StatusCode != 500 || res.Header["Set-Cookie"] != nil ||
		res.Header["Secure-Session-Registration"] != nil {
		t.Errorf("got status %d and %v", res.StatusCode, res.Header)
	}
	wantSteps(t, "an error", s)
}

// A link from another origin is answered with a page that loads itself again, once, and
// only where that helps.
func TestDetour(t *testing.T) {
	s := tenMinutes()
	all := newBound(t, s).jar
	alone := all.with(ticketCookie, "")
	value := alone[boundCookie].Value
	for _, tt := range []struct {
		name, method string
		cookies      jar
		site, mode   string
		want         bool
	}{
		{"a link", "GET", alone, "cross-site", "navigate", true},
		{"a sibling's link", "GET", alone, "same-site", "navigate", true},
		{"with a ticket", "GET", all, "cross-site", "navigate", false},
		{"without a session", "GET", jar{}, "cross-site", "navigate", false},
		{"with a bad one", "GET", jar{}.with(boundCookie, value[:len(value)-4]+"AAAA"),
			"cross-site", "navigate", false},
		{"a form", "POST", alone, "cross-site", "navigate", false},
		{"our own link", "GET", alone, "same-origin", "navigate", false},
		{"typed", "GET", alone, "none", "navigate", false},
		{"a script", "GET", alone, "cross-site", "cors", false},
		{"curl", "GET", alone, "", "", false},
	} {
		s.events = nil
		d := &device{t: t, to: s, jar: maps.Clone(tt.cookies)}
		res, text := d.send(tt.method, "/", "Sec-Fetch-Site", tt.site, "Sec-Fetch-Mode", tt.mode)
		if h := res.Header; tt.want {
			wantSteps(t, tt.name, s, "detoured")
			if res.StatusCode != 200 || text != "" || h.Get("Refresh") != "0" || h["Set-Cookie"] != nil ||
				h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Cookie" ||
				h.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%s: got status %d, %v and %q", tt.name, res.StatusCode, h, text)
			}
			continue
		}
		wantSteps(t, tt.name, s)
		if !strings.HasPrefix(text, "I am") || res.Header.Get("Refresh") != "" {
			t.Errorf("%s: got %v and %q", tt.name, res.Header, text)
		}
	}
}

// A browser's reasons for doing without are told, under names of ours.
func TestSkipped(t *testing.T) {
	s := tenMinutes()
	d := newBound(t, s)
	for header, want := range map[string]string{
		"": "", `quota_exceeded;session_identifier="x"`: "skipped_quota_exceeded",
		"unreachable": "skipped_unreachable", "server_error;x": "skipped_server_error",
		`new"reason`: "skipped_other", "other": "skipped_other",
	} {
		s.events = nil
		d.send("GET", "/", "Secure-Session-Skipped", header)
		if len(s.events) == 0 || s.events[0].Cookie.Verdict != sessions.Valid ||
			cmp.Or(s.events[0].Step, "") != want || len(s.steps()) > 1 {
			t.Errorf("%q: got %+v, want %q", header, s.events, want)
		}
	}
}

// A session that a device's key makes too large for a cookie stays as it is.
func TestBindingTooLarge(t *testing.T) {
	s := newSite(newRing(sessions.NewKey()), time.Minute, sessions.Options[person]{SignOnly: true})
	d := newDevice(t, s)
	n := 2000
	for {
		if res, _ := d.send("POST", "/set?name="+strings.Repeat("x", n)); res.StatusCode != 200 {
			break
		}
		n += 4
	}
	d.register()
	unbound := d.jar[boundCookie].Value
	s.events = nil
	d.refresh()
	wantSteps(t, "refresh", s, "challenged", "ended")
	if d.id != "" || d.jar[boundCookie].Value != unbound || len(d.jar) != 1 {
		t.Errorf("got the cookies %v", d.jar)
	}
}

// Fields of a newer program stay in a session that this one binds.
func TestBindingKeepsUnknownFields(t *testing.T) {
	type newer struct {
		Name string
		Cart []string
	}
	inBubble(t, func(t *testing.T) {
		ring := newRing(sessions.NewKey())
		s := newSite(ring, time.Minute, sessions.Options[person]{})
		m := newManager(ring, sessions.Options[newer]{})
		c, err := m.Seal(newer{"Alice", []string{"tea"}})
		if err != nil {
			t.Fatal(err)
		}
		d := newDevice(t, s) // of the same second, so the challenge is good for that session
		d.jar[boundCookie] = stored{Cookie: c}
		d.register()
		d.refresh()
		wantName(t, s, d.jar, "Alice", true)
		if v := m.Open(d.jar[boundCookie].Cookie); !slices.Equal(v.Data.Cart, []string{"tea"}) {
			t.Errorf("got %+v", v.Data)
		}
	})
}

// Two sessions of a site are bound each by itself, also where both are offered it with
// one answer, and neither disturbs the other.
func TestTwoBoundSessions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ring := newRing(sessions.NewKey())
		one := newSite(ring, 10*time.Minute, sessions.Options[person]{})
		two := newSite(ring, time.Hour, sessions.Options[person]{Name: "cart"})
		both := two.Manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/set" {
				two.Get(r.Context()).Data.Name = "Cart"
			}
			one.ServeHTTP(w, r)
		}))
		d := &device{
			t: t, to: both, path: "/session", ticket: ticketCookie, jar: make(jar),
			key: newKey(elliptic.P256()),
		}
		cart := &device{
			t: t, to: both, path: "/cart", ticket: "__Host-cart-ticket", jar: d.jar, key: d.key,
		}
		res, _ := d.send("POST", "/set?name=Alice")
		cart.takeOffers(res)
		for _, of := range []*device{d, cart} {
			of.register()
			of.refresh()
		}
		wantName(t, one, d.jar, "Alice", true)
		wantName(t, two, d.jar, "Cart", true)
		wantSteps(t, "the session", one, "offered", "registered", "challenged", "bound")
		wantSteps(t, "the cart", two, "offered", "registered", "challenged", "bound")
		// The one's tickets and end are not the other's.
		time.Sleep(20 * time.Minute)
		if v := two.judge(d.jar); one.judge(d.jar).Verdict() != sessions.Unproven ||
			v.Verdict() != sessions.Valid {
			t.Errorf("got %v for the cart", v.Verdict())
		}
		d.send("POST", "/clear")
		if d.refresh(); d.id != "" {
			t.Error("the session's end was not told")
		}
		cart.refresh()
		wantName(t, two, d.jar, "Cart", true)
	})
}
