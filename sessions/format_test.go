package sessions_test

import (
	"bytes"
	"cookiesession/sessions"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// atGolden runs f in a bubble whose time is that of the golden cookies.
func atGolden(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(golden, 0)))
		f(t)
	})
}

// vector is one of docs/format.md's test vectors.
type vector struct {
	About   string
	Keys    []string // in hexadecimal digits
	Cookie  string   // its name
	Mode    string   // signed or encrypted
	Now     int64
	Payload string // in hexadecimal digits; empty if it can't be had
	Value   string
	Verdict sessions.Verdict
	Sealed  bool // at Now, with the first key
}

func vectors() (all []vector) {
	if err := json.Unmarshal([]byte(readText("testdata/vectors.json")), &all); err != nil {
		panic(err)
	}
	return all
}

// goldenValues returns the values of hexA's cookies among the vectors that are good.
func goldenValues() (values []string) {
	for _, v := range vectors() {
		if v.Payload != "" && v.Keys[0] == hexA && v.Cookie == "session" {
			values = append(values, strings.Trim(v.Value, `"`))
		}
	}
	return values
}

// Who changes what is pinned here ends the sessions of everybody.
func TestVectors(t *testing.T) {
	count := make(map[string]int)
	for _, v := range vectors() {
		count[v.Mode+" "+string(v.Verdict)]++
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Unix(v.Now, 0)))
			checkVector(t, v)
		})
	}
	for _, check := range sessions.Checks() {
		each := string(check.Verdict)
		if each == "none" || each == "unproven" || each == "revoked" {
			continue
		}
		if count["signed "+each] == 0 || count["encrypted "+each] == 0 {
			t.Errorf("no vector is %s, of one mode at least", each)
		}
	}
}

func checkVector(t *testing.T, v vector) {
	name, isHost := strings.CutPrefix(v.Cookie, "__Host-Http-")
	signOnly := v.Mode == "signed"
	m := managerOf(options{
		Name: name, Insecure: !isHost, SignOnly: signOnly,
	}, v.Keys...)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", v.Cookie+"="+v.Value)
	s := m.Load(r)
	c := s.Cookie()
	if c.Verdict != v.Verdict || hex.EncodeToString(c.Payload()) != v.Payload ||
		(s.Data.Name != "") != (v.Verdict == sessions.Valid) {
		t.Errorf("%s: got %v with %x, want %v with %s", v.About, c.Verdict, c.Payload(),
			v.Verdict, v.Payload)
	}
	if !v.Sealed {
		return
	}
	// Encryption is random, so only its length can be compared.
	content, _ := hex.DecodeString(v.Payload)
	again := []string{forge(v.Keys[0], signOnly, v.Cookie, content)}
	if isNew := bytes.Equal(content, payloadOf(0, 0, s.Data)); isNew {
		c := made(m.Seal(s.Data))
		again = append(again, c.Value)
	}
	for _, value := range again {
		if (value == v.Value) != signOnly || value[:7] != v.Value[:7] ||
			len(value) != len(v.Value) {
			t.Errorf("%s: got %s, want %s", v.About, value, v.Value)
		}
	}
}

// The whole Set-Cookie line, with each of the attributes, and the one that deletes it.
func TestSetCookieLine(t *testing.T) {
	const lifetime, none = "; Max-Age=7776000", http.SameSiteNoneMode
	short := sessions.Limits{Idle: time.Hour, Lifetime: 2 * time.Hour}
	browser := func(*fixed) sessions.Limits { return sessions.Limits{BrowserSession: true} }
	const host, secure = "__Host-Http-session", "Secure; SameSite=Lax"
	tests := []struct {
		o                        options
		name, path, maxAge, rest string
	}{
		{options{}, host, "/", lifetime, secure},
		{options{Insecure: true}, "session", "/", lifetime, "SameSite=Lax"},
		{options{Name: "a", Limits: short}, "__Host-Http-a", "/", "; Max-Age=7200", secure},
		{options{
			SameSite: http.SameSiteDefaultMode, Limits: sessions.Limits{BrowserSession: true},
		}, host, "/", "", secure},
		{options{LimitsFor: browser}, host, "/", "", secure},
		{options{Domain: "a.de"}, "__Http-session", "/; Domain=a.de", lifetime, secure},
		{options{Path: "/shop"}, "__Http-session", "/shop", lifetime, secure},
		{options{SameSite: none, Partitioned: true}, host, "/", lifetime,
			"Secure; SameSite=None; Partitioned"},
		{options{SameSite: http.SameSiteStrictMode}, host, "/", lifetime,
			"Secure; SameSite=Strict"},
		{options{Insecure: true, Path: "/a/", Domain: "a.de"}, "session", "/a/; Domain=a.de",
			lifetime, "SameSite=Lax"},
	}
	for _, tt := range tests {
		m := managerOf(tt.o)
		s := m.Load(comes(m))
		s.Data.Name = "Alice"
		w := httptest.NewRecorder()
		made(m.Save(w, s))
		name, rest, _ := strings.Cut(w.Header().Get("Set-Cookie"), "=")
		value, rest, _ := strings.Cut(rest, "; ")
		want := "Path=" + tt.path + tt.maxAge + "; HttpOnly; " + tt.rest
		if name != tt.name || rest != want || m.CookieName() != name {
			t.Errorf("got %s=…; %s, want %s=…; %s", name, rest, tt.name, want)
		}
		s = m.Load(comes(m, value))
		s.Clear()
		w = httptest.NewRecorder()
		saved, err := m.Save(w, s)
		want = tt.name + "=; Path=" + tt.path + "; Max-Age=0; HttpOnly; " + tt.rest
		if got := w.Header()["Set-Cookie"]; saved.Reason != sessions.Cleared || err != nil ||
			len(got) != 1 || got[0] != want {
			t.Errorf("got %v, %v and %q, want %q", saved, err, got, want)
		}
	}
}
