package sessions_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/sessions"

	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/securecookie"
)

// Keys of the tests alone.
const (
	hexA = "6f1ded005aa5b1b4c3e1e9c8d3a4f00b7d1a0c5e92f84b36d7e0815ac94b2f63"
	hexB = "0b9f4e2d8c7a615034fedcba98765432100123456789abcdef5a6b7c8d9eafb0"
	hexC = "c2a7d94e1f603b85c2d4e6f8091b3a5d7c9e0f214365879babcd1e2f30415263"
)

const day = 24 * time.Hour

// golden is when the golden cookies were sealed, the beginning of 2026.
const golden = 1767225600

// fixed is the data of most sessions in the tests.
type fixed struct{ Name string }

type (
	options = sessions.Options[fixed]
	session = sessions.Session[fixed]
	manager = sessions.Manager[fixed]
)

// made returns v, which nothing should keep from being made.
func made[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// ringOf returns a keyring with the keys that digits spell.
func ringOf(digits ...string) *sessions.Keyring {
	var keys []sessions.Key
	for _, d := range digits {
		keys = append(keys, made(sessions.ParseKey(d)))
	}
	return made(sessions.NewKeyring(keys[0], keys[1:]...))
}

// managerOf returns a manager with hexA for its key, unless it is told others.
func managerOf[T any](o sessions.Options[T], digits ...string) *sessions.Manager[T] {
	if digits == nil {
		digits = []string{hexA}
	}
	return made(sessions.New(ringOf(digits...), o))
}

// bothModes runs f for signed and for encrypted sessions.
func bothModes(t *testing.T, f func(t *testing.T, signOnly bool)) {
	t.Run("signed", func(t *testing.T) { f(t, true) })
	t.Run("encrypted", func(t *testing.T) { f(t, false) })
}

// overBoth runs f over either protocol.
func overBoth(t *testing.T, name string, f func(t *testing.T, http2 bool)) {
	t.Run(name+"/HTTP1", func(t *testing.T) { f(t, false) })
	t.Run(name+"/HTTP2", func(t *testing.T) { f(t, true) })
}

// forge seals content as docs/format.md has it, and returns the value of a cookie. It
// owes nothing to the package.
func forge(digits string, signOnly bool, name string, content []byte) string {
	secret := made(hex.DecodeString(digits))
	mode := map[bool]string{true: "signed", false: "encrypted"}[signOnly]
	derive := func(label string, n int) []byte {
		return made(hkdf.Key(sha256.New, secret, nil, "cookiesession v1 "+mode+label, n))
	}
	var block []byte
	if !signOnly {
		block = derive(" session block", 32)
	}
	codec := securecookie.New(derive(" session mac", 32), block).
		SetSerializer(securecookie.NopEncoder{}).MaxLength(0)
	id := strings.ToLower(base32.StdEncoding.EncodeToString(derive(" id", 5))[:6])
	return id + "." + strings.TrimRight(made(codec.Encode(name, slices.Clone(content))), "=")
}

// payloadOf encodes the payload of a session that began and was written so many seconds
// ago, and that is bound to a device if there is one.
func payloadOf(began, written int64, data any, device ...byte) []byte {
	payload := []any{uint32(time.Now().Unix() - began), uint32(began - written), data}
	if device != nil {
		payload = append(payload, device)
	}
	return made(made(cbor.CoreDetEncOptions().EncMode()).Marshal(payload))
}

// aged returns the value of a cookie of hexA's for Alice, encrypted and of m's name.
func aged(m *manager, began, written int64) string {
	return forge(hexA, false, m.CookieName(), payloadOf(began, written, fixed{Name: "Alice"}))
}

// cookieOf returns a new cookie of m's.
func cookieOf(m *manager, name string) *http.Cookie { return made(m.Seal(fixed{Name: name})) }

// valueOf has m judge the value of a cookie.
func valueOf[T any](m *sessions.Manager[T], value string) *sessions.Session[T] {
	return m.Open(&http.Cookie{Value: value})
}

// comes returns a request with cookies of m's name.
func comes[T any](m *sessions.Manager[T], values ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for _, value := range values {
		r.AddCookie(&http.Cookie{Name: m.CookieName(), Value: value})
		r.AddCookie(&http.Cookie{Name: "other", Value: value})
	}
	return r
}

// flipped changes a character in the middle of the MAC.
func flipped(value string) string {
	i := len(value) - 20
	c := "A"
	if value[i] == 'A' {
		c = "B"
	}
	return value[:i] + c + value[i+1:]
}

// saveOf saves s, and returns the value that the browser holds afterwards, when it held
// value before.
func saveOf[T any](t testing.TB, m *sessions.Manager[T], s *sessions.Session[T], value string) (
	string, sessions.Reason, error) {
	t.Helper()
	w := httptest.NewRecorder()
	saved, err := m.Save(w, s)
	cookies := w.Result().Cookies()
	if len(cookies) == 0 {
		if saved != (sessions.Saved{Reason: sessions.Unchanged}) {
			t.Fatalf("got %+v and no cookie", saved)
		}
		return value, saved.Reason, err
	}
	c, size := cookies[0], 0
	if c.Value != "" {
		size = len(c.Name + c.Value)
	}
	if len(cookies) > 1 || c.Name != m.CookieName() || err != nil || saved.Size != size ||
		(c.MaxAge < 0) != (c.Value == "") ||
		(c.Value == "") != (saved.Reason == sessions.Cleared) {
		t.Fatalf("got the cookies %v with %+v and error %v", cookies, saved, err)
	}
	return c.Value, saved.Reason, nil
}

// visits is a browser in miniature: it holds the one cookie that m keeps.
type visits[T any] struct {
	t      testing.TB
	m      *sessions.Manager[T]
	cookie string // its value
}

// visit has do change the session, saves it, and wants a reason.
func (b *visits[T]) visit(want sessions.Reason, do func(*sessions.Session[T])) (
	s *sessions.Session[T]) {
	b.t.Helper()
	r := comes(b.m)
	if b.cookie != "" {
		r = comes(b.m, b.cookie)
	}
	s = b.m.Load(r)
	do(s)
	value, why, err := saveOf(b.t, b.m, s, b.cookie)
	if why != want || err != nil {
		b.t.Errorf("got %v and %v, want %v", why, err, want)
	}
	b.cookie = value
	return s
}

// named returns a change of the name.
func named(name string) func(*session) { return func(s *session) { s.Data.Name = name } }

func nothing(*session) {}

// turn is a visit of a browser that holds the value of a good cookie, or none: do may
// change the session. It returns the value that the browser holds afterwards.
func turn[T any](t testing.TB, m *sessions.Manager[T], value string, want sessions.Reason,
	do func(*T)) string {
	t.Helper()
	b := &visits[T]{t: t, m: m, cookie: value}
	s := b.visit(want, func(s *sessions.Session[T]) { do(&s.Data) })
	if (s.Verdict() == sessions.Valid) != (value != "") {
		t.Fatalf("got %v for a cookie that was set", s.Verdict())
	}
	return b.cookie
}

// look is a visit that changes nothing. It returns the data.
func look[T any](t testing.TB, m *sessions.Manager[T], value string) (data T) {
	t.Helper()
	turn(t, m, value, sessions.Unchanged, func(d *T) { data = *d })
	return data
}

// begun returns the cookie of a visitor whose session has just begun.
func begun[T any](t testing.TB, m *sessions.Manager[T], data T) string {
	t.Helper()
	return turn(t, m, "", sessions.Changed, func(d *T) { *d = data })
}

// handle returns Handler around do, which gets the session.
func handle(m *manager, do func(w http.ResponseWriter, s *session)) http.Handler {
	return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do(w, m.Get(r.Context()))
	}))
}

// allOverHTTP2 has each exchange use HTTP/2.
var allOverHTTP2 bool

// exchange is a request to a server that serves a handler for it alone.
type exchange struct {
	http2  bool
	method string // "" is GET
	cookie *http.Cookie
	header http.Header
	trace  httptrace.ClientTrace
}

// do returns the response, with its body read into memory, when h has returned.
func (x exchange) do(t testing.TB, h http.Handler) *http.Response {
	t.Helper()
	x.http2 = x.http2 || allOverHTTP2
	returned := make(chan bool)
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			h.ServeHTTP(w, r)
		}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	if server.EnableHTTP2 = x.http2; x.http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(t.Context(), &x.trace),
		10*time.Second)
	defer cancel()
	r := made(http.NewRequestWithContext(ctx, x.method, server.URL, nil))
	if x.header != nil {
		r.Header = x.header.Clone()
	}
	if x.cookie != nil {
		r.AddCookie(x.cookie)
	}
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	<-returned
	if want := map[bool]int{false: 1, true: 2}[x.http2]; response.ProtoMajor != want {
		t.Fatalf("got HTTP/%d, want %d", response.ProtoMajor, want)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = io.NopCloser(bytes.NewReader(made(io.ReadAll(response.Body))))
	}
	return response
}

// kept returns the name in the session's cookie of a response, "(deleted)" if that is
// deleted, and "(none)" if there is none. There must not be two.
func kept(t testing.TB, m *manager, response *http.Response) string {
	t.Helper()
	got := ""
	for _, c := range response.Cookies() {
		switch {
		case c.Name != m.CookieName():
			continue
		case got != "":
			t.Error("the session's cookie was set twice")
		case c.MaxAge < 0:
			got = "(deleted)"
		default:
			s := m.Open(c)
			if got = s.Data.Name; s.Verdict() != sessions.Valid {
				t.Errorf("the cookie that was set is %s", s.Verdict())
			}
		}
	}
	return cmp.Or(got, "(none)")
}

// wantKept fails unless a response has a status, and keeps a name, as kept has it.
func wantKept(t testing.TB, m *manager, response *http.Response, status int, want string) {
	t.Helper()
	if got := kept(t, m, response); response.StatusCode != status || got != want {
		t.Errorf("got %s with status %d, want %s with %d", got, response.StatusCode, want, status)
	}
}

// events collects what Observe is told.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) observe(r *http.Request, event sessions.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(event.Cookie.Verdict) + " " + string(event.Saved.Reason)
	if event.Step != "" {
		text = "step " + event.Step
	}
	if r == nil {
		text += " of no request"
	}
	if event.Err != nil {
		text += " error"
	}
	e.all = append(e.all, text)
}

// wants fails unless that is what Observe was told.
func (e *events) wants(t testing.TB, want string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := strings.Join(e.all, "; "); got != want {
		t.Errorf("Observe: got %q, want %q", got, want)
	}
}

// readText returns the text of a file.
func readText(name string) string { return string(made(os.ReadFile(name))) }

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
