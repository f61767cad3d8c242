package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/securecookie"
)

// cookieAlphabet is every byte that a cookie's value may have (RFC 6265, 4.1.1).
func cookieAlphabet() []byte {
	var octets []byte
	for c := byte(0x21); c < 0x7f; c++ {
		if !strings.ContainsRune(`",;\`, rune(c)) {
			octets = append(octets, c)
		}
	}
	return octets
}

// bothModes runs f for a signed and for an encrypted session.
func bothModes(t *testing.T, f func(t *testing.T, o options)) {
	t.Run("signed", func(t *testing.T) { f(t, options{signed: true}) })
	t.Run("encrypted", func(t *testing.T) { f(t, options{}) })
}

func TestEveryChangedCharacterIsRefused(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		// The names have all lengths modulo 9, hence all kinds of padding.
		for n := range 9 {
			p := named(strings.Repeat("x", n+1), 100, 100)
			value := seal(t, m, p)
			if v := openValue(m, value); v.verdict != valid || v.session.Name != p.Data.Name {
				t.Fatalf("got %v %+v, want the session that was sealed", v.verdict, v.session)
			}
			count := make(map[verdict]int)
			for i := range value {
				for _, c := range cookieAlphabet() {
					if c == value[i] {
						continue
					}
					v := openValue(m, value[:i]+string(c)+value[i+1:])
					count[v.verdict]++
					if v.session.Name != "" {
						t.Fatalf("character %d of %d changed to %q: got a session", i, len(value), c)
					}
					want := []verdict{malformed, tampered}
					if i < idLen {
						want = []verdict{malformed, unknownKey}
					}
					if v.verdict != want[0] && v.verdict != want[1] {
						t.Fatalf("character %d of %d changed to %q: got %v, want one of %v",
							i, len(value), c, v.verdict, want)
					}
				}
			}
			if count[malformed] == 0 || count[tampered] == 0 || count[unknownKey] == 0 {
				t.Errorf("got %v, want each of the verdicts at least once", count)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		good := seal(t, m, alice(10, 10))
		rival := newTestManager(t, options{keys: []string{keyB}, signed: o.signed})
		host := newTestManager(t, options{signed: o.signed, secure: true})
		otherMode := newTestManager(t, options{signed: !o.signed}).ring.Load().seal
		raw := func(payload string) string { return sealBytes(t, m, []byte(payload)) }
		idle, lifetime := seconds(m.idle), seconds(m.lifetime)
		room := maxCookie - len(m.cookie) - len(good)

		tests := []struct {
			name, value string
			want        verdict
		}{
			{"good", good, valid},
			{"empty", "", malformed},
			{"word", "hello", malformed},
			{"id alone", good[:idLen], malformed},
			{"id and dot", good[:idLen+1], malformed},
			{"no id", good[idLen+1:], malformed},
			{"id in capitals", strings.ToUpper(good[:idLen]) + good[idLen:], malformed},
			{"two dots", good[:idLen] + "." + good[idLen:], malformed},
			{"not base64", good[:idLen+1] + "####", malformed},
			{"another app's", "MTc1Nnxnb2I=", malformed},
			{"other key", seal(t, rival, alice(10, 10)), unknownKey},
			{"other key under our id", good[:idLen] + seal(t, rival, alice(10, 10))[idLen:], tampered},
			{"other cookie's name", seal(t, host, alice(10, 10)), tampered},
			{"other mode's id", otherMode.id + good[idLen:], tampered},
			{"empty MAC", good[:idLen+1] + base64.URLEncoding.EncodeToString([]byte("1|MQ==|")), tampered},
			{"no parts", good[:idLen+1] + base64.URLEncoding.EncodeToString([]byte("123456")), tampered},
			{"JSON object", raw(`{"Name":"Alice","Issued":1,"Seen":1}`), malformed},
			{"JSON array", raw(`["Alice"]`), malformed},
			{"no payload", raw(" "), malformed},
			{"payload of the first version", raw("1767225600 0 5:Alice"), malformed},
			{"end of time", seal(t, m, payload[session]{Began: 1<<32 - 1, Since: 1<<32 - 1}), fromFuture},
			{"a time that overflows", seal(t, m, alice(0, 1)), fromFuture},
			{"beginning of time", seal(t, m, payload[session]{}), tooOld},
			{"expired", seal(t, m, alice(idle+10, idle+10)), expired},
			{"too old", seal(t, m, alice(lifetime+10, 0)), tooOld},
			{"from the future", seal(t, m, alice(-1000, -1000)), fromFuture},
			{"expired and tampered", flipLast(seal(t, m, alice(idle+10, idle+10))), tampered},
			{"expired and unknown", seal(t, rival, alice(idle+10, idle+10)), unknownKey},
			{"too large by a byte", good + strings.Repeat("A", room+1), tooLarge},
			{"at the limit", good + strings.Repeat("A", room), malformed},
		}
		for _, tt := range tests {
			v := openValue(m, tt.value)
			if v.verdict != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, v.verdict, tt.want)
			}
			if tt.want != valid && v.session.Name != "" {
				t.Errorf("%s: got a session from a refused cookie", tt.name)
			}
		}
		for i := range len(good) {
			if v := openValue(m, good[:i]); v.verdict != malformed && v.verdict != tampered {
				t.Errorf("cut after %d characters: got %v", i, v.verdict)
			}
			for _, extra := range []string{
				"A", "=", "==", "====", "AAAA", ".", "\n", "\r\n\r\n", "\n\n\n\n",
			} {
				if v := openValue(m, good[:i]+extra+good[i:]); v.verdict == valid {
					t.Errorf("with %q inserted at %d: got valid", extra, i)
				}
			}
		}
		for _, extra := range []string{"A", "=", "====", "AAAA", ".", "\n\n\n\n"} {
			if v := openValue(m, good+extra); v.verdict != malformed && v.verdict != tampered {
				t.Errorf("with %q at the end: got %v", extra, v.verdict)
			}
		}
		quoted := &http.Cookie{Name: m.cookie, Value: good, Quoted: true}
		if v := m.open(quoted, time.Now().Unix()); v.verdict != malformed {
			t.Errorf("in quotes: got %v, want malformed", v.verdict)
		}
	})
}

// What a visitor stores is stored, also if a refused cookie says the same. Without
// that, the refused cookie is left alone, even if it is under an older key.
func TestStoringWhatARefusedCookieSays(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, options{keys: []string{keyB, keyA}, signed: o.signed})
		older := newTestManager(t, options{keys: []string{keyA}, signed: o.signed})
		idle, lifetime := seconds(m.idle), seconds(m.lifetime)
		for want, p := range map[verdict]payload[session]{
			expired:    alice(idle+10, idle+10),
			tooOld:     alice(lifetime+10, 0),
			fromFuture: alice(-1000, -1000),
			unproven:   alice(10, 10),
		} {
			visit := func(p payload[session]) *visit[session] {
				v := openValue(m, seal(t, older, p))
				if want == unproven { // as bind.go refuses
					v.session = session{}
					v.refuse(checkProof, unproven)
				}
				if v.verdict != want {
					t.Fatalf("got %v, want %v", v.verdict, want)
				}
				return v
			}
			v, w := visit(p), httptest.NewRecorder()
			v.session.Name = "Alice"
			why, _, err := m.save(w, v)
			if why != changed || err != nil || len(w.Result().Cookies()) != 1 {
				t.Errorf("%s, stored: got %v, %v and header %v", want, why, err, w.Header())
			}
			for _, name := range []string{"Alice", ""} {
				p.Data.Name = name
				w := httptest.NewRecorder()
				why, _, err := m.save(w, visit(p))
				if why != unchanged || err != nil || len(w.Header()) > 0 {
					t.Errorf("%s of %q: got %v, %v and header %v", want, name, why, err, w.Header())
				}
			}
		}
	})
}

// flipLast changes a character in the middle of the MAC.
func flipLast(value string) string {
	i := len(value) - 20
	c := byte('A')
	if value[i] == c {
		c = 'B'
	}
	return value[:i] + string(c) + value[i+1:]
}

// A cookie of the right form whose last character is written in another way
// passes securecookie itself, which is why open looks.
func TestOtherSpellingIsRefused(t *testing.T) {
	m := newTestManager(t, options{signed: true})
	found := 0
	for n := range 3 {
		value := seal(t, m, named(strings.Repeat("x", 3*n+1), 0, 0))
		for _, c := range cookieAlphabet() {
			i := len(strings.TrimRight(value, "=")) - 1
			other := value[:i] + string(c) + value[i+1:]
			var content []byte
			if other == value || m.ring.Load().seal.Decode(m.cookie, other[idLen+1:], &content) != nil {
				continue
			}
			found++
			if v := openValue(m, other); v.verdict != malformed {
				t.Errorf("got %v for another spelling, want malformed", v.verdict)
			}
		}
	}
	if found == 0 {
		t.Error("found no other spelling that securecookie accepts: is the check still needed?")
	}
}

func TestLimitsAtTheSecond(t *testing.T) {
	const idle, lifetime = 100, 250
	tests := []struct {
		name        string
		began, seen int64 // seconds ago
		want        verdict
	}{
		{"now", 0, 0, valid},
		{"idle, last second", idle, idle, valid},
		{"idle, one second later", idle + 1, idle + 1, expired},
		{"absolute, last second", lifetime, 0, valid},
		{"busy but too old", lifetime + 1, 0, tooOld},
		{"idle and too old", lifetime + 1, idle + 1, tooOld},
		{"clock ahead by a minute", -60, -60, valid},
		{"clock ahead by more", -61, -61, fromFuture},
		{"busy, clock ahead by a minute", 10, -60, valid},
		{"busy, clock ahead by more", 10, -61, fromFuture},
	}
	bothModes(t, func(t *testing.T, o options) {
		o.idle, o.lifetime = idle*time.Second, lifetime*time.Second
		for _, tt := range tests {
			synctest.Test(t, func(t *testing.T) {
				m := newTestManager(t, o)
				if v := openValue(m, seal(t, m, alice(tt.began, tt.seen))); v.verdict != tt.want {
					t.Errorf("%s: got %v, want %v", tt.name, v.verdict, tt.want)
				}
			})
		}
	})
}

// visitor is a browser in miniature: it keeps the one cookie that a keeps.
type visitor struct {
	t      *testing.T
	a      *app
	cookie string
	writes int // cookies that it was sent
}

func (b *visitor) send(method, target, body string, header map[string]string) (
	*http.Response, string) {
	b.t.Helper()
	res, text := do(b.t, b.a, exchange{
		method: method, target: target, cookie: b.cookie, body: body, header: header,
	})
	if c := setCookie(b.t, b.a, res); c != nil {
		b.writes++
		b.cookie = c.Value
	}
	return res, strings.TrimSpace(text)
}

func (b *visitor) wantName(want string) {
	b.t.Helper()
	if want != "Name not found in session" {
		want = "Name: " + want
	}
	if _, got := b.send("GET", "/get_name", "", nil); got != want {
		b.t.Errorf("got %q, want %q", got, want)
	}
}

func TestRenewedAfterAQuarterOfTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options{idle: 400 * time.Second, lifetime: 1000 * time.Second}
		b := &visitor{t: t, a: newTestApp(t, o)}
		began := time.Now().Unix()
		res, _ := b.send("POST", "/set_name", "name=Alice", nil)
		if c := setCookie(t, b.a, res); c.MaxAge != 400 {
			t.Errorf("got Max-Age %d, want the idle limit", c.MaxAge)
		}
		time.Sleep(99 * time.Second)
		b.wantName("Alice")
		b.send("POST", "/set_name", "name=Alice", nil)
		if b.writes != 1 {
			t.Fatalf("got %d cookies within a quarter of the idle time without a change, want none",
				b.writes-1)
		}
		time.Sleep(time.Second)
		for _, purpose := range []string{"prefetch", "prefetch;prerender"} {
			b.send("GET", "/get_name", "", map[string]string{"Sec-Purpose": purpose})
		}
		b.send("HEAD", "/get_name", "", nil)
		if b.writes != 1 {
			t.Fatal("got a cookie with a HEAD or a prefetch")
		}
		b.wantName("Alice")
		if b.writes != 2 {
			t.Fatal("got no new cookie after a quarter of the idle time")
		}
		b.wantName("Alice")
		if b.writes != 2 {
			t.Fatal("got a second cookie at once")
		}
		// It is kept alive by its use until the absolute limit, and no longer.
		for range 8 {
			time.Sleep(100 * time.Second)
			b.wantName("Alice")
		}
		p := openValue(b.a.sessions, b.cookie).payload
		if int64(p.Began) != began || p.written() != time.Now().Unix() {
			t.Errorf("got a session that began at %d, last seen %d seconds ago, want %d and 0",
				p.Began, time.Now().Unix()-p.written(), began)
		}
		time.Sleep(100 * time.Second)
		b.wantName("Alice")
		time.Sleep(time.Second)
		b.wantName("Name not found in session")
		if v := openValue(b.a.sessions, b.cookie); v.verdict != tooOld {
			t.Errorf("got %v for a session that is busy but too old", v.verdict)
		}
		// A new session begins at the beginning.
		res, _ = b.send("POST", "/set_name", "name=Bob", nil)
		if c := setCookie(t, b.a, res); c.MaxAge != 400 {
			t.Errorf("got Max-Age %d in a new session, want 400", c.MaxAge)
		}
		b.wantName("Bob")
	})
}

func TestMaxAgeIsTheSmallerRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{idle: 100 * time.Second, lifetime: 250 * time.Second})
		bob := exchange{method: "POST", target: "/set_name", body: "name=Bob"}
		for _, tt := range []struct{ began, want int64 }{
			{0, 100}, {150, 100}, {151, 99}, {249, 1},
			{250, 1}, // there is no rest: the cookie goes, as it would have at the next second
		} {
			bob.cookie = seal(t, a.sessions, alice(tt.began, 0))
			res, _ := do(t, a, bob)
			if c := setCookie(t, a, res); int64(c.MaxAge) != tt.want {
				t.Errorf("%d seconds after it began: got Max-Age %d, want %d", tt.began, c.MaxAge, tt.want)
			}
		}
		browser := newTestApp(t, options{browserSession: true})
		bob.cookie = ""
		res, _ := do(t, browser, bob)
		line := res.Header.Get("Set-Cookie")
		if line == "" || strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires") {
			_, attributes, _ := strings.Cut(line, ";")
			t.Errorf("got %q, want a cookie that ends with the browser", attributes)
		}
		late := seal(t, browser.sessions, alice(336*3600+1, 336*3600+1))
		if v := openValue(browser.sessions, late); v.verdict != expired {
			t.Errorf("got %v, want the limits to hold for a cookie that ends with the browser", v.verdict)
		}
	})
}

// Two copies whose clocks differ serve one visitor.
func TestSkewedClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{})
		ahead := alice(-50, -50)
		res, _ := do(t, a, exchange{
			method: "POST", target: "/set_name", body: "name=Bob", cookie: seal(t, a.sessions, ahead),
		})
		v := openValue(a.sessions, setCookie(t, a, res).Value)
		p := v.payload
		if v.session.Name != "Bob" || p.Began != ahead.Began || p.Since != 0 {
			t.Errorf("got %+v, want Bob's session to begin and end at %d", v, ahead.Began)
		}
	})
}

// fixed is a session that stays as it is, whatever fields the site's has.
type fixed struct{ Name string }

// golden is when the golden cookies were sealed, the beginning of 2026.
const golden = 1767225600

// Cookies called session that keyA sealed for Alice at that time.
const (
	goldenSigned    = "7eyrxs.MTc2NzIyNTYwMHxneHBwVmJrQUFLRmtUbUZ0WldWQmJHbGpaUT09fBusbpkX54xY3XIrlgLb2Gi4GWN-aE7GuTPSZgrHq3ej"
	goldenEncrypted = "7w6kyn.MTc2NzIyNTYwMHwtOHZTTElTeEZrRUJVaEFMb1F3bXVGRjVmYXNRbmlSWDE5NS1tZ3dmeGFfMXJTRT18xfcBitO0nh4IBtPYQVaoGODirw7tprllIDwRQgfYPkQ="
)

// atGolden runs f in a bubble whose time is that of the golden cookies.
func atGolden(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(golden, 0)))
		f(t)
	})
}

// Who changes what is pinned here ends the sessions of everybody.
func TestGoldenCookie(t *testing.T) {
	tests := []struct {
		secure, browserSession bool
		want                   string
	}{
		{false, false, "session=" + goldenSigned + "; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax"},
		{false, true, "session=" + goldenSigned + "; Path=/; HttpOnly; SameSite=Lax"},
		{true, false, "__Host-Http-session=7eyrxs.MTc2NzIyNTYwMHxneHBwVmJrQUFLRmtUbUZ0WldWQmJHbGpaUT09fEHCPnOVlMBuTKImyBob0DlK4lIzjoFQ87uP0UDmif3N" +
			"; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax"},
	}
	for _, tt := range tests {
		atGolden(t, func(t *testing.T) {
			m := newTestSessions[fixed](t, options{
				signed: true, secure: tt.secure, browserSession: tt.browserSession,
			})
			v := m.load(httptest.NewRequest("POST", "/", nil))
			v.session.Name = "Alice"
			w := httptest.NewRecorder()
			if why, size, err := m.save(w, v); why != changed ||
				size != len(m.cookie+goldenSigned) || err != nil {
				t.Errorf("got %v, %d bytes and error %v", why, size, err)
			}
			if got := w.Header()["Set-Cookie"]; len(got) != 1 || got[0] != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			name, value, _ := strings.Cut(strings.Split(tt.want, ";")[0], "=")
			r := httptest.NewRequest("POST", "/", nil)
			r.AddCookie(&http.Cookie{Name: name, Value: value})
			v = m.load(r)
			if v.verdict != valid || v.session.Name != "Alice" {
				t.Errorf("got %v %+v, want the session of Alice", v.verdict, v.session)
			}
			v.clear()
			w = httptest.NewRecorder()
			if why, size, err := m.save(w, v); why != cleared || size != 0 || err != nil {
				t.Errorf("got %v, %d bytes and error %v", why, size, err)
			}
			want := name + "=; Path=/; Max-Age=0; HttpOnly" +
				map[bool]string{true: "; Secure"}[tt.secure] + "; SameSite=Lax"
			if got := w.Header()["Set-Cookie"]; len(got) != 1 || got[0] != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	// Encryption is random, so an old cookie is opened instead.
	atGolden(t, func(t *testing.T) {
		m := newTestSessions[fixed](t, options{})
		want := fixed{Name: "Alice"}
		v := openValue(m, goldenEncrypted)
		if v.verdict != valid || v.session != want || !v.codec.encrypted ||
			v.payload.Began != golden || v.payload.Since != 0 {
			t.Errorf("got %v %+v of %+v, want %+v", v.verdict, v.session, v.payload, want)
		}
	})
}

func TestBudget(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		fits := -1
		for n := 2000; n < 2400; n++ {
			v := m.load(httptest.NewRequest("POST", "/", nil))
			v.session.Name = strings.Repeat("x", n)
			w := httptest.NewRecorder()
			h := w.Header()
			_, _, err := m.save(w, v)
			if err == nil {
				fits = n
				name, value, _ := strings.Cut(strings.Split(h.Get("Set-Cookie"), ";")[0], "=")
				if size := len(name) + len(value); size > maxCookie {
					t.Fatalf("got a cookie of %d bytes", size)
				}
				if got := openValue(m, value); got.verdict != valid || got.size != len(name)+len(value) {
					t.Fatalf("got %v for a cookie that just fits", got.verdict)
				}
				continue
			}
			if len(h) > 0 {
				t.Fatalf("got the header %v with an error", h)
			}
			var over *oversizedError
			want := len(m.cookie) + len(seal(t, m, named(v.session.Name, 0, 0))) - maxCookie
			if !errors.As(err, &over) || over.over != want {
				t.Fatalf("got %v, want %d bytes too many", err, want)
			}
			says := fmt.Sprintf("session is %d bytes too large for a cookie of 4096", over.over)
			if err.Error() != says {
				t.Errorf("got the error %q, want %q", err, says)
			}
		}
		if fits < 2000 || fits > 2350 {
			t.Errorf("got a largest name of %d bytes", fits)
		}
	})
}

// A codec that can't seal is an error. (securecookie's EncodeMulti would go on
// to the next key instead, and seal under one that is to be dropped.)
func TestBrokenCodec(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard, keys: []string{keyA, keyB}})
	r := *a.sessions.ring.Load()
	r.seal = &codec{id: "broken", SecureCookie: securecookie.New(nil, nil)}
	a.sessions.ring.Store(&r)
	res, body := do(t, a, exchange{method: "POST", target: "/set_name", body: "name=Alice"})
	if res.StatusCode != 500 || res.Header["Set-Cookie"] != nil || strings.Contains(body, "hash") {
		t.Errorf("got status %d and %q, want 500 and no cookie", res.StatusCode, body)
	}
}

// The first valid cookie is taken, of four at most; without one, the verdict is
// that of the cookie that passed the most checks, and of those the first.
func TestSeveralCookies(t *testing.T) {
	m := newTestManager(t, options{keys: []string{keyA, keyB}})
	second := newTestManager(t, options{keys: []string{keyB}})
	strange := newTestManager(t, options{keys: []string{keyC}})
	good, bob := seal(t, m, alice(5, 5)), seal(t, second, named("Bob", 5, 5))
	idle, lifetime := seconds(m.idle), seconds(m.lifetime)
	old, tooLong := seal(t, m, alice(idle+1, idle+1)), seal(t, m, alice(lifetime+1, 0))
	future := seal(t, m, alice(-3600, -3600))
	otherTypes := sealBytes(t, m, must(encoding.Marshal([]any{"now", 0, nil})))
	unknown, large := seal(t, strange, alice(5, 5)), strings.Repeat("x", maxCookie)
	tests := []struct {
		name    string
		cookies []string
		want    verdict
		counts  int // which of the cookies
	}{
		{"one", []string{good}, valid, 0},
		{"two good ones", []string{good, bob}, valid, 0},
		{"two good ones, the other way round", []string{bob, good}, valid, 0},
		{"the fourth is good", []string{"x", "y", old, bob, good}, valid, 3},
		{"the fifth is good", []string{"x", "y", old, "z", good}, expired, 2},

		{"rubbish after a large one", []string{large, "x"}, malformed, 1},
		{"a large one after rubbish", []string{"x", large}, malformed, 0},
		{"an unknown key after rubbish", []string{"x", unknown}, unknownKey, 1},
		{"rubbish after an unknown key", []string{unknown, "x"}, unknownKey, 0},
		{"tampered after an unknown key", []string{unknown, flipLast(good)}, tampered, 1},
		{"tampered, amid rubbish", []string{"x", flipLast(good), "y"}, tampered, 1},
		{"other types before an unknown key", []string{otherTypes, "aaaaaa.AAAA"}, malformed, 0},
		{"other types after an unknown key", []string{"aaaaaa.AAAA", otherTypes}, malformed, 1},
		{"other types before a tampered one", []string{otherTypes, flipLast(bob)}, malformed, 0},
		{"other types after a tampered one", []string{flipLast(bob), otherTypes}, malformed, 1},
		{"other types before rubbish", []string{otherTypes, "x"}, malformed, 0},
		{"other types after rubbish", []string{"x", otherTypes}, malformed, 1},
		{"from the future after other types", []string{otherTypes, future}, fromFuture, 1},
		{"too old after from the future", []string{future, tooLong}, tooOld, 1},
		{"from the future after too old", []string{tooLong, future}, tooOld, 0},
		{"expired after too old", []string{tooLong, old}, expired, 1},
		{"too old after expired", []string{old, tooLong}, expired, 0},
		{"expired after tampered", []string{flipLast(good), old}, expired, 1},

		{"two tampered ones", []string{flipLast(good), flipLast(bob)}, tampered, 0},
		{"two tampered ones, the other way round", []string{flipLast(bob), flipLast(good)}, tampered, 0},
		{"two unknown ones", []string{"aaaaaa.AAAA", "bbbbbb.AAAA"}, unknownKey, 0},
		{"two pieces of rubbish", []string{"x", "y"}, malformed, 0},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		for _, value := range tt.cookies {
			r.AddCookie(&http.Cookie{Name: m.cookie, Value: value})
			r.AddCookie(&http.Cookie{Name: "other", Value: value})
		}
		v, counts := m.load(r), tt.cookies[tt.counts]
		if v.verdict != tt.want || v.value != counts || v.size != len(m.cookie+counts) {
			t.Errorf("%s: got %v for cookie %d, want %v for %d", tt.name, v.verdict,
				slices.Index(tt.cookies, v.value), tt.want, tt.counts)
		}
		wantID, wantName := "", ""
		if id, _, found := strings.Cut(counts, "."); found {
			wantID = id
		}
		if tt.want == valid {
			wantName = map[string]string{good: "Alice", bob: "Bob"}[counts]
		}
		if v.keyID != wantID || v.session.Name != wantName {
			t.Errorf("%s: got key id %q and name %q, want %q and %q",
				tt.name, v.keyID, v.session.Name, wantID, wantName)
		}
	}
	if v := m.load(httptest.NewRequest("GET", "/", nil)); v.verdict != none || v.keyID != "" ||
		v.session.Name != "" {
		t.Errorf("without a cookie: got %v with key id %q", v.verdict, v.keyID)
	}
}

func TestRotation(t *testing.T) {
	b := &visitor{t: t, a: newTestApp(t, options{keys: []string{keyA}})}
	b.send("POST", "/set_name", "name=Alice", nil)
	first := b.cookie

	b.a = newTestApp(t, options{keys: []string{keyB, keyA}})
	b.send("GET", "/get_name", "", map[string]string{"Sec-Purpose": "prefetch"})
	b.send("HEAD", "/get_name", "", nil)
	if b.cookie != first {
		t.Error("got a cookie sealed again for a prefetch or a HEAD")
	}
	b.wantName("Alice")
	if want := b.a.sessions.ring.Load().seal.id; b.cookie[:idLen] != want || b.writes != 2 {
		t.Errorf("got key id %s after %d writes, want it sealed again under %s at once",
			b.cookie[:idLen], b.writes, want)
	}
	b.wantName("Alice")
	if b.writes != 2 {
		t.Error("got the cookie sealed again twice")
	}

	// The key that is dropped is unknown, and its cookie is left alone.
	b.a, b.cookie = newTestApp(t, options{keys: []string{keyB}}), first
	res, text := b.send("GET", "/session", "", nil)
	if res.StatusCode != 200 || b.writes != 2 || !strings.Contains(text, "unknown key") ||
		!strings.Contains(text, first[:idLen]) {
		t.Errorf("got status %d, %d writes and %q, want an unknown key and the cookie left alone",
			res.StatusCode, b.writes, text)
	}
	b.wantName("Name not found in session")
	b.a = newTestApp(t, options{keys: []string{keyB, keyA}})
	b.wantName("Alice")

	// Storing or clearing something replaces it, though.
	b.a, b.cookie = newTestApp(t, options{keys: []string{keyB}}), first
	b.send("POST", "/set_name", "name=Bob", nil)
	b.wantName("Bob")
	b.cookie = first
	if b.send("POST", "/clear_name", "", nil); b.cookie != "" {
		t.Error("got a refused cookie kept after clearing, want it deleted")
	}
}

func TestSwitchOfModeLosesNobody(t *testing.T) {
	b := &visitor{t: t, a: newTestApp(t, options{})}
	b.send("POST", "/set_name", "name=Alice", nil)
	for i, signed := range []bool{true, false, true} {
		b.a = newTestApp(t, options{signed: signed})
		b.wantName("Alice")
		b.wantName("Alice")
		if b.writes != i+2 {
			t.Errorf("got %d writes, want one for each switch", b.writes)
		}
		if v := openValue(b.a.sessions, b.cookie); v.codec.encrypted == signed {
			t.Errorf("got encrypted %v after a switch to signed %v", v.codec.encrypted, signed)
		}
	}
}

// In signed mode the payload can be read, in encrypted mode it can't.
func TestWhoCanRead(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		outer, err := base64.URLEncoding.DecodeString(seal(t, m, alice(0, 0))[idLen+1:])
		if err != nil {
			t.Fatal(err)
		}
		inner := strings.SplitN(string(outer), "|", 3)[1]
		content, err := base64.URLEncoding.DecodeString(inner)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(content), "Alice"); got != o.signed {
			t.Errorf("got the name in clear: %v, want %v", got, o.signed)
		}
	})
}

func FuzzForgedCookie(f *testing.F) {
	// Constants, because the fuzzer's workers are processes of their own, and
	// would each seal others.
	ours := []string{
		goldenSigned,
		goldenEncrypted,
		"7eyrxs.MTc2NzIyNTYwMHxneHBwVlp6Z0dRNFFvV1JPWVcxbFpzVzliMlpwWVE9PXw74wkcwSI__tmngxyBoFM9Dk6vxUjtqJJv6kO9gtGsjw==",
		"7w6kyn.MTc2NzIyNTYwMHxpVFU5Y2o3cWFPanVMVHRRSlJDUUlfQzlXVGxPc1JfbjR1S1hqYjEyNXFod0NkcXBJaEU9fN1WhWn1anxAz67Kpxvv_XNk1zBRsz0RyDBbfonZZkBP",
	}
	for _, value := range ours {
		f.Add(value)
		f.Add(value[:len(value)-1])
		f.Add(value + "\n\n\n\n")
		f.Add(flipLast(value))
	}
	for _, seed := range []string{
		"", ".", "aaaaaa.", "session=x", goldenSigned[:idLen+1] + strings.Repeat("A", 120),
	} {
		f.Add(seed)
	}
	m := newTestSessions[fixed](f, options{})
	f.Fuzz(func(t *testing.T, value string) {
		v := m.open(&http.Cookie{Name: m.cookie, Value: value}, golden+10)
		want := slices.Contains(ours, value)
		if (v.verdict == valid) != want || v.readable() != want || (v.session != fixed{}) != want ||
			(v.payload.Began != 0 || v.payload.Data != nil) != want {
			t.Fatalf("got %v with %+v for a cookie that is ours: %v", v.verdict, v.session, want)
		}
	})
}

// Whatever is sealed, opening it does not panic, and gives a session that can be
// kept, or none.
func FuzzPayload(f *testing.F) {
	for _, v := range []any{
		payload[fixed]{}, payload[kinds]{Began: golden, Since: 3600, Data: someKinds()},
		payload[newer]{Began: golden, Data: someNewer()}, []any{golden, 0, nil}, []any{nil, nil, nil},
		[]any{golden, 0, map[string]any{"Text": 1}}, []any{golden}, "Alice",
		[]any{golden, 0, map[string]any{"Numbers": []int{1}, "Array": []int{1, 2, 3, 4, 5}}},
		[]any{golden, 0, map[string]any{"Any": map[any]any{1: "a", -1: nil, "": []any{1.5, true}}}},
	} {
		f.Add(must(encoding.Marshal(v)))
	}
	f.Add([]byte("\x83\x01\x02\xbf\xff"))
	const forever = math.MaxInt64
	m := newTestSessions[kinds](f, options{signed: true, idle: forever, lifetime: forever})
	f.Fuzz(func(t *testing.T, content []byte) {
		c := &http.Cookie{Name: m.cookie, Value: sealBytes(t, m, content)}
		v := m.open(c, golden)
		if !v.readable() {
			if v.verdict != malformed && v.verdict != tooLarge ||
				!reflect.DeepEqual(v.payload, sealedData{}) ||
				!reflect.DeepEqual(v.session, kinds{}) {
				t.Fatalf("got %v with %+v", v.verdict, v.payload)
			}
			return
		}
		// Encoded again, it is the same as far as it is known.
		p := payload[kinds]{Began: v.payload.Began, Since: v.payload.Since}
		decoding.Unmarshal(v.payload.Data, &p.Data)
		again := must(encoding.Marshal(p))
		p = payload[kinds]{}
		if err := decoding.Unmarshal(again, &p); err != nil {
			t.Fatalf("got error %v for what was made of %x", err, content)
		}
		if third := must(encoding.Marshal(p)); !bytes.Equal(third, again) {
			t.Fatalf("got %x, then %x", again, third)
		}
		// It has not changed, and a change to it can be kept, with all else.
		v = m.open(c, v.payload.written())
		if v.verdict != valid {
			t.Fatalf("got %v at the time when it was written", v.verdict)
		}
		if _, why, err := saveOf(t, m, v, c.Value); why != unchanged || err != nil {
			t.Fatalf("got %v and error %v for %x", why, err, content)
		}
		want := v.session
		want.Text += "x"
		v.session.Text += "x"
		value, why, err := saveOf(t, m, v, c.Value)
		var over *oversizedError
		if errors.As(err, &over) {
			return
		}
		if why != changed || err != nil {
			t.Fatalf("got %v and error %v for %x", why, err, content)
		}
		c.Value = value
		got := must(encoding.Marshal(m.open(c, v.now).session))
		if want := must(encoding.Marshal(want)); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}
