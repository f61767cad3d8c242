package sessions_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
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

const (
	// The names of the two cookies of a bound session.
	boundCookie  = "__Host-Http-session"
	ticketCookie = "__Host-session-ticket"

	// noTicket deletes a ticket.
	noTicket = ticketCookie + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"

	// tenMinutes is how long most sites' tickets are good.
	tenMinutes = 10 * time.Minute
)

// site is a server that binds sessions.
type site struct {
	*manager
	http.Handler
	events []sessions.Event // what Observe was told
}

// newSite returns a site that keeps a visitor's name.
func newSite(keys *sessions.Keyring, o options) *site {
	s := new(site)
	o.Observe = func(_ *http.Request, e sessions.Event) { s.events = append(s.events, e) }
	s.manager = made(sessions.New(keys, o))
	s.Handler = s.manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch v := s.Get(r.Context()); r.URL.Path {
		case "/set":
			v.Data.Name = r.FormValue("name")
		case "/renew":
			v.Renew()
		case "/clear", "/login":
			v.Clear()
			v.Data.Name = r.FormValue("name")
		default:
			fmt.Fprint(w, "I am ", v.Data.Name)
		}
	}))
	return s
}

// newKeys returns a ring with a key of its own.
func newKeys() *sessions.Keyring { return made(sessions.NewKeyring(sessions.NewKey())) }

// plainSite returns a site with a key of its own and nothing out of the ordinary.
func plainSite() *site { return newSite(newKeys(), options{Bind: tenMinutes}) }

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
func (s *site) judge(cookies jar) *session {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", cookies.line())
	return s.Load(r)
}

// jar is a browser's cookies, of which Expires says when they run out.
type jar map[string]*http.Cookie

// line returns those that have not run out as they stand in a header.
func (j jar) line() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(j)) {
		if c := j[name]; c.Expires.IsZero() || time.Now().Before(c.Expires) {
			parts = append(parts, name+"="+c.Value)
		}
	}
	return strings.Join(parts, "; ")
}

// with returns the jar with another value of one cookie, or without it.
func (j jar) with(name, value string) jar {
	j = maps.Clone(j)
	if delete(j, name); value != "" {
		j[name] = &http.Cookie{Value: value}
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

// newBrowser returns a browser that has nothing yet.
func newBrowser(t testing.TB, to http.Handler, path, ticket string) *device {
	return &device{
		t: t, to: to, path: path, ticket: ticket, jar: make(jar), key: newKey(elliptic.P256()),
	}
}

// newDevice returns a browser that has stored a name, and was offered to bind its session.
func newDevice(t testing.TB, to http.Handler) *device {
	t.Helper()
	d := newBrowser(t, to, "/session", ticketCookie)
	d.send("POST", "/set?name=Alice")
	return d
}

// newBound returns a browser whose session is bound to its device.
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
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
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
			c.Expires = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
			d.jar[c.Name] = c
		}
	}
	d.takeOffers(res)
	return res, w.Body.String()
}

var (
	offerForm     = regexp.MustCompile(`^\(ES256\);path="([^"]+)";challenge="([\w.-]+)"$`)
	challengeForm = regexp.MustCompile(`^"([\w.-]+)";id="([\w.-]+)"$`)
)

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

func (d *device) takeChallenge(res *http.Response) {
	d.t.Helper()
	m := challengeForm.FindStringSubmatch(res.Header.Get("Secure-Session-Challenge"))
	if m == nil || m[2] != d.id || res.StatusCode != http.StatusForbidden {
		d.t.Fatalf("got status %d and the header %q", res.StatusCode, res.Header)
	}
	d.challenge = m[1]
}

// register registers the key, and remembers the identifier.
func (d *device) register() (*http.Response, string) {
	d.t.Helper()
	return d.obey(d.post("/register", d.proof(true)))
}

// refresh gets a ticket, as for a page that is only prefetched, and returns the last answer.
func (d *device) refresh() (*http.Response, string) {
	d.t.Helper()
	res, text := d.post("/refresh", "")
	if res.StatusCode == http.StatusForbidden {
		d.takeChallenge(res)
		res, text = d.post("/refresh", d.proof(false), "Sec-Purpose", "prefetch")
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
func (d *device) proof(registers bool) string { return d.signs(d.challenge, registers) }

func (d *device) signs(challenge string, registers bool) string {
	return sign(jose.ES256, d.key, "dbsc+jwt", registers, `{"jti":"`+challenge+`"}`)
}

// sign returns a JWT with its key in the header, if embed.
func sign(alg jose.SignatureAlgorithm, key any, typ string, embed bool, claims string) string {
	o := (&jose.SignerOptions{EmbedJWK: embed}).WithType(jose.ContentType(typ))
	signer := made(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o))
	return made(made(signer.Sign([]byte(claims))).CompactSerialize())
}

func newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return made(ecdsa.GenerateKey(curve, rand.Reader))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

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
		res.Header.Get("Cache-Control") != "no-store" ||
		(res.Header.Get("Secure-Session-Challenge") != "") != (status == 403) {
		t.Errorf("%s: got status %d, %v, %q and the steps %q, want %d and %s",
			name, res.StatusCode, res.Header, text, steps, status, step)
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

// A session is bound at the first refresh, and from then on it takes a ticket.
func TestBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plainSite()
		d := newDevice(t, s)
		wantSteps(t, "set", s, "offered")
		unbound := d.jar[boundCookie].Value
		if res, _ := d.register(); res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
			t.Errorf("register: got status %d and %v", res.StatusCode, res.Header)
		}
		wantSteps(t, "register", s, "registered")
		// The browser may still reject what it was told. Nobody is locked out.
		time.Sleep(time.Hour)
		wantName(t, s, d.jar, "Alice", false)

		d.refresh()
		ticket, size := d.jar[ticketCookie], len(boundCookie+d.jar[boundCookie].Value)
		// Observe is told what was written.
		saved := sessions.Saved{Reason: sessions.Bound, Size: size}
		if e := s.events[len(s.events)-1]; e.Saved != saved || e.Cookie.Bound {
			t.Errorf("got the event %+v", e)
		}
		wantSteps(t, "refresh", s, "challenged", "bound")
		if d.jar[boundCookie].Value == unbound || len(ticket.Value) > 200 || len(d.id) > 200 {
			t.Errorf("got the cookies %v", d.jar)
		}

		// Good for ten minutes to the second; the browser gives it up before.
		all, ends := d.jar.with(ticketCookie, ticket.Value), time.Now().Add(tenMinutes)
		for _, tt := range []struct {
			later time.Duration
			want  sessions.Verdict
		}{{0, sessions.Valid}, {tenMinutes, sessions.Valid}, {time.Second, sessions.Unproven}} {
			time.Sleep(tt.later)
			v := s.judge(all)
			if live := tt.want == sessions.Valid; v.Verdict() != tt.want || !v.Cookie().Bound ||
				(v.Data.Name != "") != live || v.Cookie().TicketEnds.Equal(ends) != live {
				t.Errorf("got %v, %q, a ticket until %v, want %v",
					v.Verdict(), v.Data.Name, v.Cookie().TicketEnds, tt.want)
			}
		}
		text := d.ask("/")
		if text != "I am Alice" || s.events[1].Saved.Reason != sessions.Unchanged {
			t.Errorf("got %q after the ticket had run out, and %v", text, s.events)
		}
		wantSteps(t, "again", s, "challenged", "refreshed")
		// The session goes on: changed, it is still bound, and nothing is offered.
		res, _ := d.send("POST", "/set?name=Bob")
		wantName(t, s, d.jar, "Bob", true)
		if res.Header["Secure-Session-Registration"] != nil || len(res.Cookies()) != 1 {
			t.Errorf("got %v when a bound session was changed", res.Header)
		}
	})
}

// What register and refresh say, and the ticket, follow the options. Browsers give a ticket
// up before it runs out, so that neither a slow request nor a copy whose clock is ahead
// finds it run out.
func TestTicketOptions(t *testing.T) {
	const lax = "Path=/; HttpOnly; Secure; SameSite=Lax"
	for _, tt := range []struct {
		o                         options
		path, ticket, attr, rules string
		maxAge                    int
	}{
		{options{Bind: 10 * time.Second, Name: "cart"}, "/cart", "__Host-cart-ticket", lax, "", 8},
		{options{Bind: time.Minute, Path: "/shop"}, "/shop/session", "__Secure-session-ticket",
			"Path=/shop; HttpOnly; Secure; SameSite=Lax", "", 48},
		{options{
			Bind: tenMinutes, BindPath: "/d", SameSite: http.SameSiteNoneMode, Partitioned: true,
		}, "/d", ticketCookie, "Path=/; HttpOnly; Secure; SameSite=None; Partitioned", "", 540},
		{options{Bind: time.Hour, Assets: []string{"/a.css", "/b/"}}, "/session", ticketCookie, lax,
			`{"domain":"*","path":"/a.css","type":"exclude"},` +
				`{"domain":"*","path":"/b/","type":"exclude"}`, 3540},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(newKeys(), tt.o)
			d := newBrowser(t, s, tt.path, tt.ticket)
			d.send("POST", "/set?name=Alice")
			_, first := d.register()
			res, text := d.refresh()
			want := `{"credentials":[{"attributes":"` + tt.attr + `","name":"` + tt.ticket +
				`","type":"cookie"}],"refresh_url":"` + tt.path + `/refresh","scope":{` +
				`"include_site":false,"scope_specification":[` + tt.rules +
				`]},"session_identifier":"` + d.id + "\"}\n"
			if d.id == "" || first != want || text != want || res.StatusCode != 200 ||
				res.Header.Get("Content-Type") != "application/json" ||
				res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %v, %s and %s, want %s", res.Header, first, text, want)
			}
			wantName(t, s, d.jar, "Alice", true)
			path, attr, _ := strings.Cut(tt.attr, "; ")
			want = fmt.Sprintf("%s=%s; %s; Max-Age=%d; %s",
				tt.ticket, d.jar[tt.ticket].Value, path, tt.maxAge, attr)
			ends := time.Until(s.judge(d.jar).Cookie().TicketEnds)
			if got := d.jar[tt.ticket].Raw; got != want || ends != tt.o.Bind {
				t.Errorf("got the ticket %q for %v, want %q for %v", got, ends, want, tt.o.Bind)
			}
		})
	}
}

// Only what a browser sends to register and refresh is answered there. All else is next's.
func TestOtherRequestsAtThesePaths(t *testing.T) {
	s := plainSite()
	d := newBound(t, s)
	proof := []string{"Secure-Session-Response", d.proof(true)}
	id := []string{"Sec-Secure-Session-Id", d.id}
	both := append(proof, id...)
	for _, tt := range []struct {
		method, path string
		header       []string
		steps        int
	}{
		{"POST", "/session/register", id, 0}, {"POST", "/session/register", proof, 1},
		{"POST", "/session/refresh", proof, 0}, {"POST", "/session/refresh", id, 1},
		{"GET", "/session/refresh", both, 0}, {"PUT", "/session/register", both, 0},
		{"POST", "/session/x", both, 0},
	} {
		s.events = nil
		_, text := d.send(tt.method, tt.path, tt.header...)
		if got := s.steps(); len(got) != tt.steps || (text == "I am Alice") != (tt.steps == 0) {
			t.Errorf("%s %s: got %q and the steps %q", tt.method, tt.path, text, got)
		}
	}
	// Where nothing can be bound, there are no steps.
	for _, o := range []options{{Insecure: true}, {Domain: "site.example"}} {
		d.to = newSite(newKeys(), o)
		if _, text := d.send("POST", "/session/refresh", id...); text != "I am " {
			t.Errorf("%+v: got %q", o, text)
		}
	}
}

// What a thief has is worth nothing without the device's ticket.
func TestStolenCookies(t *testing.T) {
	ring := newKeys()
	s := newSite(ring, options{Bind: tenMinutes})
	cart := newSite(ring, options{Bind: tenMinutes, Name: "cart"})
	d, unbound := newBound(t, s), newDevice(t, s)
	ticketOf := func(to *site, path, ticket string) string { // of the same device
		e := newBrowser(t, to, path, ticket)
		e.key = d.key
		e.send("POST", "/set?name=Eve")
		e.register()
		e.refresh()
		return e.jar[ticket].Value
	}
	good, bad := d.jar[ticketCookie].Value, "x; "+ticketCookie+"="
	for verdict, tickets := range map[sessions.Verdict]map[string]string{
		sessions.Valid: {
			"at once": good, "in quotes": `"` + good + `"`,
			"of another session of the device": ticketOf(s, "/session", ticketCookie),
			"behind three bad ones":            strings.Repeat(bad, 3) + good,
		},
		sessions.Unproven: {
			"no ticket": "", "garbage": "garbage", "the session": d.jar[boundCookie].Value,
			"another device's ticket": newBound(t, s).jar[ticketCookie].Value,
			"the identifier":          d.id,
			"a challenge":             d.asked().challenge,
			"of another cookie":       ticketOf(cart, "/cart", "__Host-cart-ticket"),
			"of a strange key":        ticketOf(plainSite(), "/session", ticketCookie),
			"in another spelling":     good + "=",
			"behind four":             strings.Repeat(bad, 4) + good,
		},
	} {
		for name, ticket := range tickets {
			v := s.judge(d.jar.with(ticketCookie, ticket))
			if v.Verdict() != verdict || (v.Data.Name != "") != (verdict == sessions.Valid) {
				t.Errorf("%s: got %v and %q, want %v", name, v.Verdict(), v.Data.Name, verdict)
			}
		}
	}
	// An unbound session takes no ticket, and isn't harmed by one.
	wantName(t, s, unbound.jar.with(ticketCookie, good), "Alice", false)
	// Of two session cookies, the one that is proven counts, wherever it stands.
	one, two := d.jar[boundCookie].Value, unbound.jar[boundCookie].Value
	for _, pair := range [][2]string{{one, two}, {two, one}} {
		v := s.judge(jar{}.with(boundCookie, pair[0]+"; "+boundCookie+"="+pair[1]))
		if v.Verdict() != sessions.Valid || v.Cookie().Good != 1 {
			t.Errorf("got %v, %d good ones", v.Verdict(), v.Cookie().Good)
		}
	}
}

// While the ticket is missing a write is refused, so that nothing is lost, and Clear works.
func TestWriteWhileUnproven(t *testing.T) {
	s := plainSite()
	d := newBound(t, s)
	whole := d.jar
	d.jar = whole.with(ticketCookie, "")
	s.events = nil
	res, _ := d.send("POST", "/set?name=Bob")
	if res.StatusCode != 503 || res.Header["Set-Cookie"] != nil ||
		s.events[0].Err != sessions.ErrTryAgain {
		t.Errorf("got status %d, %v and %v", res.StatusCode, res.Header, s.events)
	}
	if text := d.ask("/"); text != "I am Alice" {
		t.Errorf("got %q with a ticket again", text)
	}
	for path, name := range map[string]string{"/clear": "", "/login?name=Bob": "Bob"} {
		d.jar, d.challenge = whole.with(ticketCookie, ""), ""
		res, _ := d.send("POST", path)
		if got := res.Cookies(); len(got) != 2 || got[1].Raw != noTicket ||
			(d.challenge != "") != (name != "") {
			t.Errorf("%s: got %v", path, res.Header)
		}
		wantName(t, s, d.jar, name, false)
	}
}

// A session that is begun anew at a login keeps its device, and all that names it.
func TestRenewKeepsTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plainSite()
		d := newBound(t, s)
		challenge := d.asked().challenge
		time.Sleep(30 * time.Second)
		res, _ := d.send("POST", "/renew")
		if wantName(t, s, d.jar, "Alice", true); ago(s.judge(d.jar))[0] != 0 ||
			len(res.Cookies()) != 1 || res.Header["Secure-Session-Registration"] != nil {
			t.Errorf("got %v", res.Header)
		}
		res, _ = d.obey(d.post("/refresh", d.signs(challenge, false)))
		if wantName(t, s, d.jar, "Alice", true); res.StatusCode != 200 || d.id == "" {
			t.Errorf("got status %d for a challenge and an identifier of before", res.StatusCode)
		}
	})
}

// Clearing a session ends it in the browser, too.
func TestClearEndsBinding(t *testing.T) {
	s := plainSite()
	d := newBound(t, s)
	old := *d
	res, _ := d.send("POST", "/clear")
	if len(d.jar) != 0 || res.Header["Secure-Session-Registration"] != nil {
		t.Errorf("got the cookies %v and %v", d.jar, res.Header)
	}
	s.events = nil
	res, text := d.refresh()
	wantSteps(t, "cleared", s, "ended")
	if want := `{"continue":false,"session_identifier":"` + old.id + `"}` + "\n"; text != want ||
		res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got status %d, %v and %q", res.StatusCode, res.Header, text)
	}
	// What was registered before ends also when the next session is bound to another key,
	// and doesn't disturb that.
	d.send("POST", "/set?name=Bob")
	d.key = newKey(elliptic.P256())
	d.register()
	d.refresh()
	if res, _ := old.refresh(); old.id != "" || res.Header["Set-Cookie"] != nil {
		t.Errorf("got %v for what was registered before", res.Header)
	}
	if d.refresh(); d.id == "" {
		t.Error("the new registration was harmed by the old one")
	}
}

// A bound session is not bound again, neither with its ticket nor without. A session that
// is none isn't, either.
func TestRegisterRefusesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plainSite()
		bound, thief := newBound(t, s).jar, newDevice(t, s) // of the same second
		spoilt := jar{}.with(boundCookie, spoilt(thief.jar[boundCookie].Value))
		for want, jars := range map[string][]jar{
			"refused_bound":   {bound, bound.with(ticketCookie, "")},
			"refused_session": {spoilt, {}},
		} {
			for _, j := range jars {
				res, text := thief.post("/register", thief.proof(true), "Cookie", j.line())
				wantRefused(t, j.line(), s, res, text, 400, want)
			}
		}
		// Nor with an identifier that a session of the thief's own has got.
		thief.register()
		s.events = nil
		thief.post("/refresh", "", "Cookie", bound.line())
		wantSteps(t, "the thief's identifier", s, "ended")
	})
}

// spoilt returns a cookie's value whose MAC doesn't match.
func spoilt(value string) string { return value[:len(value)-4] + "AAAA" }

// badProofs returns what neither step takes, of a device that has a good challenge.
func badProofs(d *device, registers bool) map[string]string {
	p384, other := newKey(elliptic.P384()), newKey(elliptic.P256())
	good, claims := d.proof(registers), `{"jti":"`+d.challenge+`"}`
	parts := strings.Split(good, ".")
	const typ, plain = "dbsc+jwt", `{"alg":"ES256","typ":"dbsc+jwt"`
	public, header := jwk(&d.key.PublicKey), plain
	if registers {
		header += `,"jwk":` + public
	}
	// raw signs what jose would not.
	raw := func(header string) string {
		input := b64(header+"}") + "." + parts[1]
		sum := sha256.Sum256([]byte(input))
		r, s, _ := ecdsa.Sign(rand.Reader, d.key, sum[:]) // fails with no good key
		both := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		return input + "." + b64(string(both))
	}
	with := func(key string) string { return raw(plain + `,"jwk":` + key) }
	secret := made(d.key.PublicKey.Bytes())
	none := b64(strings.Replace(header, "ES256", "none", 1) + "}")
	return map[string]string{
		"alg none":                 none + "." + parts[1] + ".",
		"HS256 with the key":       sign(jose.HS256, secret, typ, false, claims),
		"ES384":                    sign(jose.ES384, p384, typ, registers, claims),
		"another key":              sign(jose.ES256, other, typ, false, claims),
		"another type":             sign(jose.ES256, d.key, "JWT", registers, claims),
		"a challenge that is none": sign(jose.ES256, d.key, typ, registers, `{"jti":7}`),
		"of the other step":        d.proof(!registers),
		"a critical extension":     raw(header + `,"crit":["x"],"x":1`),
		"somebody else's key":      with(jwk(&other.PublicKey)),
		"a P-384 key":              with(jwk(&p384.PublicKey)),
		"a key of another kind":    with(`{"kty":"oct","k":"AAAA"}`),
		"no point":                 with(strings.Replace(public, `"y":"`, `"y":"AA`, 1)),
		"another payload":          parts[0] + "." + b64(claims+" ") + "." + parts[2],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"the other serialisation": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`,
			parts[0], parts[1], parts[2]),
		"garbage": "garbage",
	}
}

// jwk returns a public key as JSON has it.
func jwk(key any) string { return string(made(json.Marshal(jose.JSONWebKey{Key: key}))) }

// Whatever isn't a good proof of the right challenge is refused, and changes nothing.
func TestProofsRefused(t *testing.T) {
	for _, step := range []string{"register", "first refresh", "refresh"} {
		synctest.Test(t, func(t *testing.T) {
			ring := newKeys()
			s := newSite(ring, options{Bind: tenMinutes})
			cart := newSite(ring, options{Bind: tenMinutes, Name: "cart", BindPath: "/session"})
			before, bound := newDevice(t, s), newBound(t, s).asked()
			time.Sleep(time.Second)
			d := newDevice(t, s)
			path, registers, status, ofRegister := "/register", step == "register", 400, d.challenge
			if !registers {
				path, status = "/refresh", 403
				d.register()
				if step == "refresh" {
					d.refresh()
				}
				d.asked()
			}
			try := func(name, proof string, status int, want string) {
				res, text := d.post(path, proof)
				wantRefused(t, step+", "+name, s, res, text, status, want)
			}
			for name, proof := range badProofs(d, registers) {
				try(name, proof, 400, "refused_proof")
			}
			strange := map[string]string{
				"no challenge": "", "garbage": "garbage", "in another spelling": d.challenge + "=",
				"a session": d.jar[boundCookie].Value, "an identifier": bound.id,
				"a ticket": bound.jar[ticketCookie].Value, "of another session": before.challenge,
				"of another device": bound.challenge,
				"of another cookie": newDevice(t, cart).challenge,
				"of strangers":      newDevice(t, plainSite()).challenge,
			}
			if !registers {
				strange["of register"] = ofRegister
			}
			for name, challenge := range strange {
				try(name, d.signs(challenge, registers), status, "refused_challenge")
			}
			wantName(t, s, d.jar, "Alice", step == "refresh")
			res, _ := d.obey(d.post(path, `"`+d.proof(registers)+`"`))
			if wantName(t, s, d.jar, "Alice", !registers); res.StatusCode != 200 || d.id == "" {
				t.Errorf("%s: got status %d for the good proof in quotes", step, res.StatusCode)
			}
		})
	}
}

// A challenge is good for a minute, to the second, and its maker's clock may be ahead by
// as much. None is like another, in the same second and without encryption either.
func TestChallengeAge(t *testing.T) {
	ring := newKeys()
	for _, tt := range []struct {
		made, used time.Duration // since the bubble began
		status     int
	}{
		{0, time.Minute, 200}, {0, 61 * time.Second, 403},
		{time.Minute, 0, 200}, {61 * time.Second, 0, 403},
	} {
		var d *device
		synctest.Test(t, func(t *testing.T) {
			d = newBound(t, newSite(ring, options{Bind: tenMinutes, SignOnly: true}))
			time.Sleep(tt.made)
			if one := d.asked().challenge; one == d.asked().challenge {
				t.Error("got the same challenge twice")
			}
		})
		synctest.Test(t, func(t *testing.T) {
			d.t = t
			time.Sleep(tt.used)
			if res, _ := d.post("/refresh", d.proof(false)); res.StatusCode != tt.status {
				t.Errorf("%v, %v: got status %d", tt.made, tt.used, res.StatusCode)
			}
		})
	}
}

// Neither step takes more than a browser sends.
func TestBindingSizes(t *testing.T) {
	s := plainSite()
	d := newBound(t, s)
	long := func(n int) string { return d.id[:7] + strings.Repeat("A", n-7) }
	const form, size, asked = "refused_form", "refused_size", "challenged"
	for _, tt := range []struct {
		id, proof           string
		body, major, status int
		step                string
	}{
		{"nonsense", "", 0, 1, 400, form},
		{`a";b="c.AAAA`, "", 0, 1, 400, form},
		{`abcdef.AA"A`, "", 0, 1, 400, form},
		{d.id + "=", "", 0, 1, 400, form},
		{`"` + d.id + `"`, "", 0, 1, 403, asked},
		// The proof has to be of the session's own device, whatever the identifier is.
		{long(511), "", 0, 1, 403, asked},
		{long(512), "", 0, 1, 400, form}, // which is no base64
		{long(513), "", 0, 1, 413, size},
		{d.id, strings.Repeat("x", 4096), 0, 1, 400, "refused_proof"},
		{d.id, strings.Repeat("x", 4097), 0, 1, 413, size},
		{d.id, "", 4096, 1, 403, asked},
		{d.id, "", 4097, 1, 413, size},
		{d.id, "", 4097, 2, 413, size},
	} {
		r := httptest.NewRequest("POST", "/session/refresh", nil)
		r.ContentLength, r.ProtoMajor = int64(tt.body), tt.major
		r.Header.Set("Cookie", d.jar.line())
		r.Header.Set("Sec-Secure-Session-Id", tt.id)
		r.Header.Set("Secure-Session-Response", tt.proof)
		res, text := d.do(r)
		wantRefused(t, fmt.Sprintf("%+v", tt), s, res, text, tt.status, tt.step)
		closes := tt.body > 4096 && tt.major == 1
		if got := res.Header.Get("Connection") == "close"; got != closes {
			t.Errorf("%+v: got the connection closed %v", tt, got)
		}
	}
}

// Nothing is lost when keys come and go, or encryption: the session moves to the new
// key, and it knows its device itself. A challenge and an identifier of a key that is in
// the ring verify as well.
func TestBindingThroughRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		use := func(signOnly bool, digits ...string) *site {
			return newSite(ringOf(digits...), options{Bind: tenMinutes, SignOnly: signOnly})
		}
		d := newDevice(t, use(false, hexA, hexB))
		d.to = use(false, hexB, hexA)
		d.register()
		d.asked()
		d.to = use(true, hexA, hexB)
		if res, _ := d.post("/refresh", d.proof(false)); res.StatusCode != 200 {
			t.Fatalf("got status %d for a challenge in another mode", res.StatusCode)
		}
		id := d.id
		for _, to := range []*site{use(true, hexB, hexA), use(true, hexB), use(false, hexB),
			use(false, hexA, hexB), use(false, hexA)} {
			d.to = to
			time.Sleep(tenMinutes + time.Second)
			text, want := d.ask("/"), cookieOf(to.manager, "").Value[:6]
			if text != "I am Alice" || d.id != id || d.jar[ticketCookie].Value[:6] != want ||
				d.jar[boundCookie].Value[:6] != want {
				t.Fatalf("got %q and the cookies %v, want them under %s", text, d.jar, want)
			}
		}
	})
}

// A copy with binding switched off takes bound sessions as they are, keeps them bound,
// and keeps what browsers have registered alive.
func TestBindingSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := newKeys()
		on, off := newSite(ring, options{Bind: tenMinutes}), newSite(ring, options{})
		d, registered := newBound(t, on), newDevice(t, on)
		registered.register()
		time.Sleep(tenMinutes + time.Second)
		d.to, registered.to = off, off
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
		off.events = nil
		registered.refresh()
		wantSteps(t, "registered", off, "ended")
		wantName(t, on, registered.jar, "Alice", false)
		res, text := registered.post("/register", registered.proof(true))
		wantRefused(t, "register", off, res, text, 400, "refused_off")
		res, _ = registered.send("POST", "/set?name=Bob")
		if d.send("POST", "/clear"); len(d.jar) != 0 ||
			res.Header["Secure-Session-Registration"] != nil {
			t.Errorf("got %v, and the cookies %v after clearing", res.Header, d.jar)
		}
	})
}

// What a refresh is told whose session is refused: to ask again where another copy may
// take it, because of its keys, its clock, its limits or its fields, and the end where none
// does. A browser that was told the end has lost its session for good.
func TestRefreshOfARefused(t *testing.T) {
	ring, short := newKeys(), sessions.Limits{Idle: time.Hour}
	digits := ring.Keys()[0].Secret()
	of := func(age int64, data any) string {
		return forge(digits, false, boundCookie, payloadOf(age, age, data,
			append([]byte{2}, hexA[:32]...)...))
	}
	alice := fixed{Name: "Alice"}
	now, old := of(0, alice), of(7200, alice)
	refuses := func(*http.Request, *session) bool { return false }
	for _, tt := range []struct {
		verdict   sessions.Verdict
		cookie    string
		ring      *sessions.Keyring
		o         options
		postponed bool
	}{
		{sessions.Revoked, now, ring, options{Accept: refuses}, false},
		{sessions.Expired, old, ring, options{Limits: short}, true},
		{sessions.FromFuture, of(-7200, alice), ring, options{}, true},
		{sessions.UnknownKey, now, newKeys(), options{}, true},
		{sessions.Malformed, of(0, map[string]int{"Name": 7}), ring, options{}, true},
		{sessions.Malformed, "garbage", ring, options{}, false},
		{sessions.Tampered, spoilt(now), ring, options{}, false},
		{sessions.None, "", ring, options{}, false},
	} {
		plain := newBound(t, newSite(ring, options{Bind: time.Minute}))
		tt.o.Bind = time.Minute
		s := newSite(tt.ring, tt.o)
		plain.to, plain.jar = s, plain.jar.with(boundCookie, tt.cookie)
		if tt.verdict == sessions.Revoked { // which is asked for the proven alone
			plain.jar = newBound(t, newSite(ring, options{Bind: time.Minute})).jar
		}
		if got := s.judge(plain.jar).Verdict(); got != tt.verdict {
			t.Errorf("got %v, want %v", got, tt.verdict)
		}
		if res, text := plain.refresh(); tt.postponed {
			wantRefused(t, string(tt.verdict), s, res, text, 503, "postponed")
		} else {
			wantSteps(t, string(tt.verdict), s, "ended")
		}
	}
}

// A ticket that has outlived its session doesn't keep a browser from binding the next one.
// And an answer to a write that was sent before the binding, which puts an unbound cookie
// back, does no harm: it is bound again.
func TestRegisterWithAStaleTicket(t *testing.T) {
	s := plainSite()
	d := newDevice(t, s)
	unbound := d.jar[boundCookie]
	d.jar[ticketCookie] = newBound(t, s).jar[ticketCookie]
	if res, _ := d.register(); d.id == "" || res.Header.Get("Set-Cookie") != noTicket {
		t.Errorf("got %v, want the stale ticket deleted", res.Header)
	}
	d.refresh()
	wantName(t, s, d.jar, "Alice", true)
	d.jar[boundCookie] = unbound
	s.events = nil
	d.refresh()
	wantSteps(t, "again", s, "challenged", "bound")
	wantName(t, s, d.jar, "Alice", true)
}

// A link from another origin is answered with a page that loads itself again, once, and
// only where that helps.
func TestDetour(t *testing.T) {
	s := plainSite()
	all := newBound(t, s).jar
	alone := all.with(ticketCookie, "")
	bad := jar{}.with(boundCookie, spoilt(all[boundCookie].Value))
	for _, tt := range []struct {
		name, method string
		cookies      jar
		site, mode   string
		want         bool
	}{
		{"a link", "GET", alone, "cross-site", "navigate", true},
		{"a sibling's link", "GET", alone, "same-site", "navigate", true},
		{"with a ticket", "GET", all, "cross-site", "navigate", false},
		{"with a bad session", "GET", bad, "cross-site", "navigate", false},
		{"a form", "POST", alone, "cross-site", "navigate", false},
		{"our own link", "GET", alone, "same-origin", "navigate", false},
		{"a script", "GET", alone, "cross-site", "cors", false},
	} {
		s.events = nil
		d := &device{t: t, to: s, jar: maps.Clone(tt.cookies)}
		res, text := d.send(tt.method, "/", "Sec-Fetch-Site", tt.site, "Sec-Fetch-Mode", tt.mode)
		h := res.Header
		if !tt.want {
			if wantSteps(t, tt.name, s); !strings.HasPrefix(text, "I am") {
				t.Errorf("%s: got %v and %q", tt.name, h, text)
			}
			continue
		}
		wantSteps(t, tt.name, s, "detoured")
		want := http.Header{"Cache-Control": {"no-store"}, "Refresh": {"0"}, "Vary": {"Cookie"},
			"Content-Type": {"text/html; charset=utf-8"}}
		if res.StatusCode != 200 || text != "" || !maps.EqualFunc(h, want, slices.Equal) {
			t.Errorf("%s: got status %d, %v and %q", tt.name, res.StatusCode, h, text)
		}
	}
}

// A browser's reasons for doing without are told, under names of ours.
func TestSkipped(t *testing.T) {
	s := plainSite()
	d := newBound(t, s)
	for header, want := range map[string]string{
		"": "", `quota_exceeded;session_identifier="x"`: "skipped_quota_exceeded",
		"unreachable": "skipped_unreachable", "server_error;x": "skipped_server_error",
		`new"reason`: "skipped_other", "other": "skipped_other",
	} {
		s.events = nil
		d.send("GET", "/", "Secure-Session-Skipped", header)
		if e := s.events[0]; e.Cookie.Verdict != sessions.Valid || e.Step != want ||
			len(s.steps()) > 1 {
			t.Errorf("%q: got %+v, want %q", header, e, want)
		}
	}
}

// A session that a device's key makes too large for a cookie stays as it is.
func TestBindingTooLarge(t *testing.T) {
	s := newSite(newKeys(), options{Bind: time.Minute, SignOnly: true})
	d := newDevice(t, s)
	for n, status := 2000, 200; status == 200; n += 4 { // the largest that fits
		res, _ := d.send("POST", "/set?name="+strings.Repeat("x", n))
		status = res.StatusCode
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

// Two sessions of a site are bound each by itself, also where both are offered it with
// one answer, and neither disturbs the other.
func TestTwoBoundSessions(t *testing.T) {
	ring := newKeys()
	one := newSite(ring, options{Bind: tenMinutes})
	two := newSite(ring, options{Bind: tenMinutes, Name: "cart"})
	both := two.manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/set" {
			two.Get(r.Context()).Data.Name = "Cart"
		}
		one.ServeHTTP(w, r)
	}))
	d := newBrowser(t, both, "/session", ticketCookie)
	cart := newBrowser(t, both, "/cart", "__Host-cart-ticket")
	cart.jar = d.jar
	res, _ := d.send("POST", "/set?name=Alice")
	cart.takeOffers(res)
	for _, of := range []*device{d, cart} {
		of.register()
		of.refresh()
	}
	wantName(t, one, d.jar, "Alice", true)
	wantName(t, two, d.jar, "Cart", true)
	d.send("POST", "/clear")
	if d.refresh(); d.id != "" {
		t.Error("the session's end was not told")
	}
	cart.refresh()
	wantName(t, two, d.jar, "Cart", true)
}
