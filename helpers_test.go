package main

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// options are how a test wants its app; the zero value is the program's default
// but for the key, which is keyA.
type options struct {
	keys           []string
	signed         bool // not encrypted
	secure         bool
	browserSession bool // not persistent
	idle, lifetime time.Duration
	origins        origins
	bind           time.Duration
	log            io.Writer
}

// settings returns the settings that o stands for.
func (o options) settings() settings {
	return settings{
		cookie:   cookieName,
		secure:   o.secure,
		persist:  !o.browserSession,
		idle:     cmp.Or(o.idle, 336*time.Hour),
		lifetime: cmp.Or(o.lifetime, 2160*time.Hour),
	}
}

// newTestSessions returns sessions of any type, with a ring.
func newTestSessions[T any](t testing.TB, o options) *sessions[T] {
	t.Helper()
	if o.keys == nil {
		o.keys = []string{keyA}
	}
	keys, err := parseKeys("keys", strings.Join(o.keys, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := newSessions[T](o.settings())
	m.ring.Store(newRing(keys, !o.signed))
	return m
}

// newTestManager returns sessions of the site's own type.
func newTestManager(t testing.TB, o options) *sessions[session] {
	t.Helper()
	return newTestSessions[session](t, o)
}

func newTestApp(t testing.TB, o options) *app {
	t.Helper()
	if o.log == nil {
		o.log = t.Output()
	}
	logger := slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := newApp(newSessions[session](o.settings()), o.bind, o.origins, logger)
	a.useRing(newTestManager(t, o).ring.Load())
	return a
}

// sealed returns the value of a cookie that carries p, under m's sealing key.
func sealed[T any](t testing.TB, m *sessions[T], p payload[T]) string {
	t.Helper()
	content, err := encoding.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return sealBytes(t, m, content)
}

// sealBytes returns the value of a cookie that carries any content.
func sealBytes[T any](t testing.TB, m *sessions[T], content []byte) string {
	t.Helper()
	value, err := m.ring.Load().seal.seal(m.cookie, slices.Clone(content))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// seal returns the value of a cookie that carries p, a session of the site's own type.
func seal(t testing.TB, m *sessions[session], p payload[session]) string {
	t.Helper()
	return sealed(t, m, p)
}

// alice is a session that began and was last written so many seconds ago.
func alice(began, written int64) payload[session] {
	return named("Alice", began, written)
}

// named is a session like alice's, of somebody else.
func named(name string, began, written int64) payload[session] {
	return payload[session]{
		Began: uint32(time.Now().Unix() - began),
		Since: uint32(began - written),
		Data:  session{Name: name},
	}
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
func openValue[T any](m *sessions[T], value string) *visit[T] {
	return m.open(&http.Cookie{Name: m.cookie, Value: value}, time.Now().Unix())
}

// buildAlone vets what stands in a folder and builds it into shop.exe, with
// nothing from this project around it. It returns the modules that are in there.
func buildAlone(t testing.TB, dir string) (modules []string) {
	t.Helper()
	goTool := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			var failed *exec.ExitError
			errors.As(err, &failed)
			t.Fatalf("go %v: %v\n%s%s", args, err, out, failed.Stderr)
		}
		return string(out)
	}
	goTool("vet", ".")
	goTool("build", "-o", "shop.exe", ".")
	paths := goTool("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	return slices.Compact(slices.Sorted(slices.Values(strings.Fields(paths))))
}
