package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
			s := alice(100, 100)
			s.Name = strings.Repeat("x", n+1)
			value := seal(t, m, s)
			if v := openValue(m, value); v.verdict != valid || v.session != s {
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
					if v.session != (session{}) {
						t.Fatalf("character %d of %d changed to %q: got a session", i, len(value), c)
					}
					want := []verdict{malformed, tampered}
					if i < idLen {
						want = []verdict{malformed, unknownKey}
					}
					if v.verdict != want[0] && v.verdict != want[1] {
						t.Fatalf("character %d of %d changed to %q: got %v, want one of %v", i, len(value), c, v.verdict, want)
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
		raw := func(payload string) string {
			c := m.ring.Load().seal
			sealed, err := c.Encode(m.cookie, []byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			return c.id + "." + sealed
		}
		now := time.Now().Unix()

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
			{"no fields", good[:idLen+1] + base64.URLEncoding.EncodeToString([]byte("123456")), tampered},
			{"JSON object", raw(`{"Name":"Alice","Issued":1,"Seen":1}`), malformed},
			{"JSON array", raw(`["Alice"]`), malformed},
			{"no payload", raw(" "), malformed},
			{"length too short", raw(fmt.Sprintf("%d 0 4:Alice", now)), malformed},
			{"length too long", raw(fmt.Sprintf("%d 0 6:Alice", now)), malformed},
			{"negative idle time", raw(fmt.Sprintf("%d -1 5:Alice", now)), malformed},
			{"leading zero", raw(fmt.Sprintf("0%d 0 5:Alice", now)), malformed},
			{"plus sign", raw(fmt.Sprintf("%d +0 5:Alice", now)), malformed},
			{"overflow", raw("99999999999999999999 0 5:Alice"), malformed},
			{"end of time", raw("999999999999999999 999999999999999999 5:Alice"), fromFuture},
			{"expired", seal(t, m, alice(m.idle+10, m.idle+10)), expired},
			{"too old", seal(t, m, alice(m.lifetime+10, 0)), tooOld},
			{"from the future", seal(t, m, alice(-1000, -1000)), fromFuture},
			{"expired and tampered", flipLast(seal(t, m, alice(m.idle+10, m.idle+10))), tampered},
			{"expired and unknown", seal(t, rival, alice(m.idle+10, m.idle+10)), unknownKey},
			{"too large by a byte", good + strings.Repeat("A", maxCookie-len(m.cookie)-len(good)+1), tooLarge},
			{"at the limit", good + strings.Repeat("A", maxCookie-len(m.cookie)-len(good)), malformed},
		}
		for _, tt := range tests {
			v := openValue(m, tt.value)
			if v.verdict != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, v.verdict, tt.want)
			}
			if tt.want != valid && v.session != (session{}) {
				t.Errorf("%s: got a session from a refused cookie", tt.name)
			}
		}
		for i := range len(good) {
			if v := openValue(m, good[:i]); v.verdict != malformed && v.verdict != tampered {
				t.Errorf("cut after %d characters: got %v", i, v.verdict)
			}
			for _, extra := range []string{"A", "=", "==", "====", "AAAA", ".", "\n", "\r\n\r\n", "\n\n\n\n"} {
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
		v := visit{now: now}
		if m.open(&v, &http.Cookie{Name: m.cookie, Value: good, Quoted: true}); v.verdict != malformed {
			t.Errorf("in quotes: got %v, want malformed", v.verdict)
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
// passes securecookie itself, which is why the manager looks.
func TestOtherSpellingIsRefused(t *testing.T) {
	m := newTestManager(t, options{signed: true})
	found := 0
	for n := range 3 {
		s := alice(0, 0)
		s.Name = strings.Repeat("x", 3*n+1)
		value := seal(t, m, s)
		for _, c := range cookieAlphabet() {
			i := len(strings.TrimRight(value, "=")) - 1
			other := value[:i] + string(c) + value[i+1:]
			var payload []byte
			if other == value || m.ring.Load().seal.Decode(m.cookie, other[idLen+1:], &payload) != nil {
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
		{"clock ahead by the skew", -maxSkew, -maxSkew, valid},
		{"clock ahead by more", -maxSkew - 1, -maxSkew - 1, fromFuture},
		{"busy, clock ahead by more", 10, -maxSkew - 1, fromFuture},
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

func (b *visitor) send(method, target, body string, header map[string]string) (*http.Response, string) {
	b.t.Helper()
	res, text := do(b.t, b.a, exchange{method, target, b.cookie, body, header})
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
		b := &visitor{t: t, a: newTestApp(t, options{idle: 400 * time.Second, lifetime: 1000 * time.Second})}
		res, _ := b.send("POST", "/set_name", "name=Alice", nil)
		if c := setCookie(t, b.a, res); c.MaxAge != 400 {
			t.Errorf("got Max-Age %d, want the idle limit", c.MaxAge)
		}
		time.Sleep(99 * time.Second)
		b.wantName("Alice")
		b.send("POST", "/set_name", "name=Alice", nil)
		if b.writes != 1 {
			t.Fatalf("got %d cookies within a quarter of the idle time without a change, want none", b.writes-1)
		}
		time.Sleep(time.Second)
		for _, header := range []map[string]string{{"Sec-Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}} {
			b.send("GET", "/get_name", "", header)
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
		for time.Since(time.Unix(openValue(b.a.sessions, b.cookie).sealed.Issued, 0)) < 900*time.Second {
			time.Sleep(100 * time.Second)
			b.wantName("Alice")
		}
		if c := openValue(b.a.sessions, b.cookie); c.sealed.Seen != time.Now().Unix() {
			t.Errorf("got last seen %d seconds ago, want now", time.Now().Unix()-c.sealed.Seen)
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
		for _, tt := range []struct{ began, want int64 }{{0, 100}, {150, 100}, {151, 99}, {249, 1}} {
			res, _ := do(t, a, exchange{method: "POST", target: "/set_name", body: "name=Bob", cookie: seal(t, a.sessions, alice(tt.began, 0))})
			if c := setCookie(t, a, res); int64(c.MaxAge) != tt.want {
				t.Errorf("%d seconds after it began: got Max-Age %d, want %d", tt.began, c.MaxAge, tt.want)
			}
		}
		// At the last second there is no rest: the cookie goes, as it would have at the next.
		res, _ := do(t, a, exchange{method: "POST", target: "/set_name", body: "name=Bob", cookie: seal(t, a.sessions, alice(250, 0))})
		if c := setCookie(t, a, res); c.MaxAge != 1 {
			t.Errorf("at the last second: got Max-Age %d, want 1", c.MaxAge)
		}
		browser := newTestApp(t, options{browserSession: true})
		res, _ = do(t, browser, exchange{method: "POST", target: "/set_name", body: "name=Bob"})
		if line := res.Header.Get("Set-Cookie"); strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires") {
			t.Errorf("got an expiry in a cookie that ends with the browser: attributes %s", line[strings.Index(line, ";"):])
		}
		if v := openValue(browser.sessions, seal(t, browser.sessions, alice(336*3600+1, 336*3600+1))); v.verdict != expired {
			t.Errorf("got %v, want the limits to hold for a cookie that ends with the browser", v.verdict)
		}
	})
}

// Two copies whose clocks differ serve one visitor.
func TestSkewedClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{})
		ahead := alice(-50, -50)
		res, _ := do(t, a, exchange{method: "POST", target: "/set_name", body: "name=Bob", cookie: seal(t, a.sessions, ahead)})
		v := openValue(a.sessions, setCookie(t, a, res).Value)
		if want := (session{"Bob", ahead.Issued, ahead.Issued}); v.session != want {
			t.Errorf("got %v %+v, want %+v", v.verdict, v.session, want)
		}
	})
}

// Cookies called session that keyA sealed for Alice in the first second of the
// year 2000, which is when synctest's clock begins.
const (
	goldenSigned    = "7eyrxs.OTQ2Njg0ODAwfE9UUTJOamcwT0RBd0lEQWdOVHBCYkdsalpRPT18_RnGQprFKYm-rji9Gh8YXPA0DBhFflwCZAMw24C0DO0="
	goldenEncrypted = "7w6kyn.OTQ2Njg0ODAwfDNZWVBPd1pHR2l4dHo3eTRnMUdtTWpuRlFqZG9qMG9Qc2ZQWnZsLTdkeTBHSFhNPXwmfPN8BJqhT43a-DAi--UN4In_JLTP8HYCnCKuj_xJZA=="
)

// Who changes what is pinned here ends the sessions of everybody.
func TestGoldenCookie(t *testing.T) {
	tests := []struct {
		secure bool
		want   string
	}{
		{false, "session=" + goldenSigned + "; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax"},
		{true, "__Host-Http-session=7eyrxs.OTQ2Njg0ODAwfE9UUTJOamcwT0RBd0lEQWdOVHBCYkdsalpRPT18nMVPtJ3uHLV5YnLD4Q1GrIo5Eudde85q7LW6yeSZKQ4=; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			a := newTestApp(t, options{signed: true, secure: tt.secure})
			res, _ := do(t, a, exchange{method: "POST", target: "/set_name", body: "name=Alice"})
			if got := res.Header.Get("Set-Cookie"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			res, _ = do(t, a, exchange{method: "POST", target: "/clear_name", cookie: "x"})
			want := fmt.Sprintf("%s=; Path=/; Max-Age=0; HttpOnly%s; SameSite=Lax", a.sessions.cookie, map[bool]string{true: "; Secure"}[tt.secure])
			if got := res.Header.Get("Set-Cookie"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	// Encryption is random, so an old cookie is opened instead.
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t, options{})
		want := session{"Alice", time.Now().Unix(), time.Now().Unix()}
		if v := openValue(m, goldenEncrypted); v.session != want {
			t.Errorf("got %v %+v, want %+v", v.verdict, v.session, want)
		}
	})
}

// The header line is what http.Cookie makes of it.
func TestSetCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		m := newTestManager(t, options{secure: secure})
		for _, maxAge := range []int{-1, 0, 1, 1209600} {
			h := make(http.Header)
			m.setCookie(h, goldenSigned, int64(maxAge))
			want := http.Cookie{Name: m.cookie, Value: goldenSigned, Path: "/", MaxAge: maxAge, Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
			if got := h["Set-Cookie"]; len(got) != 1 || got[0] != want.String() {
				t.Errorf("got  %q\nwant %q", got, want.String())
			}
		}
	}
}

func TestBudget(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestManager(t, o)
		fits := -1
		for n := 2000; n < 2400; n++ {
			v := &visit{session: session{Name: strings.Repeat("x", n)}, now: time.Now().Unix()}
			h := make(http.Header)
			_, _, err := m.save(h, v)
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
			value := seal(t, m, session{v.session.Name, time.Now().Unix(), time.Now().Unix()})
			if want := len(m.cookie) + len(value) - maxCookie; !errors.As(err, &over) || over.over != want {
				t.Fatalf("got %v, want %d bytes too many", err, want)
			}
			if !strings.Contains(err.Error(), fmt.Sprint(over.over)) {
				t.Errorf("got the error %q, want the number in it", err)
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

// The first cookie that verifies is taken, of four at most; otherwise the
// verdict is that of the cookie that got furthest.
func TestSeveralCookies(t *testing.T) {
	m := newTestManager(t, options{})
	good, second := seal(t, m, alice(5, 5)), seal(t, m, session{"Bob", time.Now().Unix(), time.Now().Unix()})
	old := seal(t, m, alice(m.idle+1, m.idle+1))
	tests := []struct {
		cookies []string
		want    verdict
		name    string
	}{
		{nil, none, ""},
		{[]string{good}, valid, "Alice"},
		{[]string{good, second}, valid, "Alice"},
		{[]string{"x", "y", old, second, good}, valid, "Bob"},
		{[]string{"x", "y", old, "z", good}, expired, ""},
		{[]string{"x", flipLast(good), "y"}, tampered, ""},
		{[]string{flipLast(good), old}, expired, ""},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		for _, value := range tt.cookies {
			r.AddCookie(&http.Cookie{Name: m.cookie, Value: value})
			r.AddCookie(&http.Cookie{Name: "other", Value: value})
		}
		if v := m.load(r); v.verdict != tt.want || v.session.Name != tt.name {
			t.Errorf("%d cookies: got %v with %q, want %v with %q", len(tt.cookies), v.verdict, v.session.Name, tt.want, tt.name)
		}
	}
}

func TestRotation(t *testing.T) {
	b := &visitor{t: t, a: newTestApp(t, options{keys: []string{keyA}})}
	b.send("POST", "/set_name", "name=Alice", nil)
	first := b.cookie

	b.a = newTestApp(t, options{keys: []string{keyB, keyA}})
	for _, header := range []map[string]string{{"Sec-Purpose": "prefetch"}} {
		b.send("GET", "/get_name", "", header)
		b.send("HEAD", "/get_name", "", header)
	}
	if b.cookie != first {
		t.Error("got a cookie sealed again for a prefetch or a HEAD")
	}
	b.wantName("Alice")
	if want := b.a.sessions.ring.Load().seal.id; b.cookie[:idLen] != want || b.writes != 2 {
		t.Errorf("got key id %s after %d writes, want it sealed again under %s at once", b.cookie[:idLen], b.writes, want)
	}
	b.wantName("Alice")
	if b.writes != 2 {
		t.Error("got the cookie sealed again twice")
	}

	// The key that is dropped is unknown, and its cookie is left alone.
	b.a, b.cookie = newTestApp(t, options{keys: []string{keyB}}), first
	res, text := b.send("GET", "/session", "", nil)
	if res.StatusCode != 200 || b.writes != 2 || !strings.Contains(text, "unknown key") || !strings.Contains(text, first[:idLen]) {
		t.Errorf("got status %d, %d writes and %q, want an unknown key and the cookie left alone", res.StatusCode, b.writes, text)
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
		payload, err := base64.URLEncoding.DecodeString(strings.SplitN(string(outer), "|", 3)[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(payload), "Alice"); got != o.signed {
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
		"7eyrxs.OTQ2Njg0ODAwfE9UUTJOamd4TWpBd0lETTJNREFnTVRZNldtX0RxeUR3bjVHcDRvQ044Si1hZ0E9PXxCeKEHJY0u1oK98RUxDwsTheX6NCyzZ8HIG56ulRgwdA==",
		"7w6kyn.OTQ2Njg0ODAwfE9IREh3cW9Cb19SMnpxSmNXNGZSWWFOUlFNV1AzX2ZWRWxQUFp5dmJNdk5DQTl3THlPdjctd3g5blNVR2tYemRXajdWRmpxNzl3X3VOR0JFaDViWHd0cnMxQzRCbUZRPXxlRaMwUEP8R_RI0TVupgdVpDVt7CfDJmVNTHtUrN6eAA==",
	}
	for _, value := range ours {
		f.Add(value)
		f.Add(value[:len(value)-1])
		f.Add(value + "\n\n\n\n")
		f.Add(flipLast(value))
	}
	for _, seed := range []string{"", ".", "aaaaaa.", "session=x", goldenSigned[:idLen+1] + strings.Repeat("A", 120)} {
		f.Add(seed)
	}
	m := newTestManager(f, options{})
	f.Fuzz(func(t *testing.T, value string) {
		v := visit{now: 946684810}
		m.open(&v, &http.Cookie{Name: m.cookie, Value: value})
		want := slices.Contains(ours, value)
		if (v.verdict == valid) != want || v.verdict.verified() != want || (v.session != session{}) != want {
			t.Fatalf("got %v with %+v for a cookie that is ours: %v", v.verdict, v.session, want)
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, s := range []session{{}, {"Alice", 1767225600, 1767229200}, {"5:Alice", -5, -5}, {"\x00 \xff", 1, 1 << 62}} {
		f.Add(s.appendPayload(nil))
	}
	f.Add([]byte("1 0 0:"))
	f.Add([]byte("1 00 1:x"))
	f.Add([]byte(`{"Name":"Alice"}`))
	m := newTestManager(f, options{signed: true})
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, ok := parsePayload(payload)
		if !ok {
			if s != (session{}) {
				t.Fatalf("got %+v with a refusal", s)
			}
			return
		}
		if got := s.appendPayload(nil); string(got) != string(payload) {
			t.Fatalf("got %q for what was read from %q", got, payload)
		}
		// The same holds behind the MAC.
		value, err := m.ring.Load().seal.seal(m.cookie, s)
		if err != nil {
			t.Fatal(err)
		}
		if v := openValue(m, value); v.sealed != s && v.verdict != tooLarge {
			t.Fatalf("got %v with %+v, want %+v", v.verdict, v.sealed, s)
		}
	})
}
