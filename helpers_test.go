package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Keys of the tests alone.
const (
	keyA = "6f1ded005aa5b1b4c3e1e9c8d3a4f00b7d1a0c5e92f84b36d7e0815ac94b2f63"
	keyB = "0b9f4e2d8c7a615034fedcba98765432100123456789abcdef5a6b7c8d9eafb0"
	keyC = "c2a7d94e1f603b85c2d4e6f8091b3a5d7c9e0f214365879babcd1e2f30415263"
)

// options are how a test wants its app; the zero value is the program's default
// but for the key, which is keyA.
type options struct {
	keys           []string
	signed         bool // not encrypted
	secure         bool
	browserSession bool // not persistent
	idle, lifetime time.Duration
	origins        []string
	log            io.Writer
}

func newTestManager(t testing.TB, o options) *manager {
	t.Helper()
	if o.keys == nil {
		o.keys = []string{keyA}
	}
	keys, err := parseKeyList(strings.Join(o.keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	if o.idle == 0 {
		o.idle = 336 * time.Hour
	}
	if o.lifetime == 0 {
		o.lifetime = 2160 * time.Hour
	}
	m := newManager(o.secure, !o.browserSession, o.idle, o.lifetime)
	m.ring.Store(newRing(keys, !o.signed))
	return m
}

func newTestApp(t testing.TB, o options) *app {
	t.Helper()
	if o.log == nil {
		o.log = t.Output()
	}
	m := newTestManager(t, o)
	a, err := newApp(m, o.origins, slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	a.useRing(m.ring.Load())
	return a
}

// seal returns the value of a cookie that carries s, under m's sealing key.
func seal(t testing.TB, m *manager, s session) string {
	t.Helper()
	value, err := m.ring.Load().seal.seal(m.cookie, s)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// alice is a session that began and was last written so many seconds ago.
func alice(began, seen int64) session {
	now := time.Now().Unix()
	return session{Name: "Alice", Issued: now - began, Seen: now - seen}
}

// exchange is a request to be, for do.
type exchange struct {
	method, target string
	cookie         string // value of the session cookie
	body           string // a form, unless the header says otherwise
	header         map[string]string
}

// do has h answer x, and returns the response with its body.
func do(t testing.TB, a *app, x exchange) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(x.method, x.target, strings.NewReader(x.body))
	if x.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range x.header {
		r.Header.Set(name, value)
	}
	if x.cookie != "" {
		r.Header.Set("Cookie", a.sessions.cookie+"="+x.cookie)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// setCookie returns the session cookie that res sets, or nil.
func setCookie(t testing.TB, a *app, res *http.Response) *http.Cookie {
	t.Helper()
	cookies := res.Cookies()
	if len(cookies) != len(res.Header["Set-Cookie"]) || len(cookies) > 1 {
		t.Fatalf("got Set-Cookie %q, want one good cookie at most", res.Header["Set-Cookie"])
	}
	if len(cookies) == 0 {
		return nil
	}
	if cookies[0].Name != a.sessions.cookie {
		t.Fatalf("got a cookie called %q, want %q", cookies[0].Name, a.sessions.cookie)
	}
	return cookies[0]
}

// openValue has m judge one cookie.
func openValue(m *manager, value string) visit {
	v := visit{now: time.Now().Unix()}
	m.open(&v, &http.Cookie{Name: m.cookie, Value: value})
	return v
}
