package lesson_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/mux"
	"github.com/gorilla/securecookie"

	"cookiesession/internal/lesson"
	"cookiesession/internal/metrics"
	"cookiesession/internal/report"
	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// cart is the session of the tests' site.
type cart struct {
	Owner string
	Items []string
}

// secrets are of the keys of the tests.
var secrets = []string{testkit.KeyA, testkit.KeyB, testkit.KeyC}

// site is a small site with the lesson.
type site struct {
	http.Handler
	sessions *sessions.Manager[cart]
	cookie   string // its name
	keys     []sessions.Key
	sign     bool // it doesn't encrypt
	log      bytes.Buffer
}

// newSite returns a site that has the keys 0 and 1 of three.
func newSite(t testing.TB, o sessions.Options[cart]) *site {
	t.Helper()
	s := &site{sign: o.SignOnly}
	for _, secret := range secrets {
		key, err := sessions.ParseKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		s.keys = append(s.keys, key)
	}
	keys, err := sessions.NewKeyring(s.keys[0], s.keys[1])
	if err != nil {
		t.Fatal(err)
	}
	w, err := web.New(keys, o, web.Config{
		Files: pages(t), Funcs: template.FuncMap{"sent": report.Sent[cart]},
		Log:     slog.New(slog.NewTextHandler(&s.log, nil)),
		Record:  metrics.New(keys, false, "session"),
		KeysEnd: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.sessions, s.cookie = w.Sessions, w.Sessions.CookieName()
	router := mux.NewRouter()
	lesson.Routes(router, w, cart{Owner: "Zoe", Items: []string{"tea"}})
	change := func(r *http.Request, s *sessions.Session[cart]) (web.Answer, error) {
		s.Data = cart{Owner: r.URL.Query().Get("owner")}
		return web.Answer{Page: "done"}, nil
	}
	router.HandleFunc("/change", w.Action(change)).Methods(http.MethodPost).Name("change")
	s.Handler = w.Handler(router)
	return s
}

// pages returns the lesson's pages and what a site must have around them.
func pages(t testing.TB) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"layout.html": `<title>{{block "title" .}}{{end}}</title>
<main>{{block "content" .}}{{end}}{{block "sent" .}}{{end}}</main>`,
		"done.html":  `{{define "title"}}Done{{end}}{{define "content"}}Done{{end}}`,
		"error.html": `{{define "title"}}Sorry{{end}}{{define "content"}}{{.Text}}{{end}}`,
	} {
		files["templates/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	names, err := filepath.Glob("../../templates/lesson/*.html")
	if err != nil || len(names) != 5 {
		t.Fatalf("got the templates %v, %v, want five", names, err)
	}
	for _, name := range names {
		text := testkit.ReadFile(t, name)
		files["templates/lesson/"+filepath.Base(name)] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// seal returns the value of a cookie with any content, as the library seals it.
func (s *site) seal(t testing.TB, key int, content any) string {
	t.Helper()
	mode := "encrypted"
	id, signed := s.keys[key].IDs()
	if s.sign {
		id, mode = signed, "signed"
	}
	derive := func(label string) []byte {
		secret, _ := hex.DecodeString(secrets[key])
		info := "cookiesession v1 " + mode + " session " + label
		subkey, _ := hkdf.Key(sha256.New, secret, nil, info, 32)
		return subkey
	}
	var block []byte
	if !s.sign {
		block = derive("block")
	}
	b, err := cbor.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	value, err := securecookie.New(derive("mac"), block).SetSerializer(securecookie.NopEncoder{}).
		MaxLength(0).Encode(s.cookie, b)
	if err != nil {
		t.Fatal(err)
	}
	return id + "." + strings.TrimRight(value, "=")
}

// session is the content of a session that began and was last written so many seconds ago.
func session(owner string, began, written int64) []any {
	return []any{time.Now().Unix() - began, began - written, map[string]any{"Owner": owner}}
}

// states returns cookies with each of the verdicts, and with good ones in each state.
func (s *site) states(t testing.TB) map[string]string {
	t.Helper()
	const day = 86400
	good := s.seal(t, 0, session("Ada", 600, 60))
	return map[string]string{
		"none":            "",
		"valid":           good,
		"two":             s.seal(t, 0, session("Ida", 600, 300)) + "; " + s.cookie + "=" + good,
		"last of six":     strings.Repeat("another-program; "+s.cookie+"=", 5) + good,
		"one of two":      "another-program; " + s.cookie + "=" + good,
		"renewed":         s.seal(t, 0, session("Ada", 6*day, 5*day)),
		"re-sealed":       s.seal(t, 1, session("Ada", 600, 60)),
		"expired":         s.seal(t, 0, session("Ada", 15*day, 15*day)),
		"too old":         s.seal(t, 0, session("Ada", 91*day, 60)),
		"from the future": s.seal(t, 0, session("Ada", -3700, -3700)),
		"tampered":        good[:len(good)-20] + "AAAAAAAAAAAAAAAAAAAA",
		"unknown key":     s.seal(t, 2, session("Ada", 600, 60)),
		"unfit":           s.seal(t, 0, []any{1, 2, 3}),
		"another program": "another-program",
		"too large":       good + strings.Repeat("A", sessions.MaxSize),
		"full":            s.seal(t, 0, session(strings.Repeat("Ж x", 500), 600, 60)),
	}
}

// request returns a request that sends a cookie, if any, and a form.
func (s *site) request(method, target, cookie, form string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", testkit.Browser)
	if cookie != "" {
		r.Header.Set("Cookie", s.cookie+"="+cookie)
	}
	return r
}

// do has the site answer r.
func (s *site) do(r *http.Request) (*http.Response, string) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// visits are requests for all that the lesson can show of a cookie.
func (s *site) visits(cookie string) (all []*http.Request) {
	all = append(all, s.request("GET", "/session", cookie, ""))
	for _, form := range forms {
		all = append(all, s.request("POST", "/forge", cookie, form))
	}
	return all
}

// page returns the page on a cookie.
func (s *site) page(cookie string) string {
	_, page := s.do(s.request("GET", "/session", cookie, ""))
	return page
}

// bothModes runs f for a site that encrypts and for one that doesn't.
func bothModes(t *testing.T, f func(t *testing.T, s *site)) {
	for _, sign := range []bool{false, true} {
		t.Run(fmt.Sprintf("signOnly=%v", sign), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: sign}))
			})
		})
	}
}

// says checks that a page has all of want and none of not.
func says(t *testing.T, what, page string, want, not []string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("%s: got no %q in %s", what, text, page)
		}
	}
	for _, text := range not {
		if strings.Contains(page, text) {
			t.Errorf("%s: got %q in %s", what, text, page)
		}
	}
}

// judge returns what becomes of a cookie.
func (s *site) judge(cookie string) sessions.Cookie {
	return s.sessions.Load(s.request("GET", "/", cookie, "")).Cookie()
}

// device is the key of a device.
var device = append([]byte{2}, bytes.Repeat([]byte{7, 77}, 16)...)
