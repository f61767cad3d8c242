package sessions_test

import (
	"cookiesession/sessions"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/securecookie"
)

// Keys of the tests alone.
const (
	hexA = "6f1ded005aa5b1b4c3e1e9c8d3a4f00b7d1a0c5e92f84b36d7e0815ac94b2f63"
	hexB = "0b9f4e2d8c7a615034fedcba98765432100123456789abcdef5a6b7c8d9eafb0"
	hexC = "c2a7d94e1f603b85c2d4e6f8091b3a5d7c9e0f214365879babcd1e2f30415263"
)

// ringOf returns a keyring with the keys that digits spell.
func ringOf(t testing.TB, digits ...string) *sessions.Keyring {
	t.Helper()
	var keys []sessions.Key
	for _, d := range digits {
		k, err := sessions.ParseKey(d)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	ring, err := sessions.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// fixed is the data of most sessions in the tests.
type fixed struct{ Name string }

type (
	options = sessions.Options[fixed]
	session = sessions.Session[fixed]
)

// managerOf returns a manager with hexA for its key, unless it is told others.
func managerOf[T any](t testing.TB, o sessions.Options[T], digits ...string) *sessions.Manager[T] {
	t.Helper()
	if digits == nil {
		digits = []string{hexA}
	}
	m, err := sessions.New(ringOf(t, digits...), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bothModes runs f for signed and for encrypted sessions.
func bothModes(t *testing.T, f func(t *testing.T, signOnly bool)) {
	t.Run("signed", func(t *testing.T) { f(t, true) })
	t.Run("encrypted", func(t *testing.T) { f(t, false) })
}

// forge seals content as docs/format.md has it, and returns the value of a cookie. It
// owes nothing to the package.
func forge(t testing.TB, digits string, signOnly bool, name string, content []byte) string {
	t.Helper()
	secret, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	mode := map[bool]string{true: "signed", false: "encrypted"}[signOnly]
	derive := func(label string, n int) []byte {
		b, err := hkdf.Key(sha256.New, secret, nil, "cookiesession v1 "+mode+label, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var block []byte
	if !signOnly {
		block = derive(" session block", 32)
	}
	sealed, err := securecookie.New(derive(" session mac", 32), block).
		SetSerializer(securecookie.NopEncoder{}).MaxLength(0).Encode(name, slices.Clone(content))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.ToLower(base32.StdEncoding.EncodeToString(derive(" id", 5))[:6])
	return id + "." + strings.TrimRight(sealed, "=")
}

// payloadOf encodes the payload of a session that began and was written so many seconds
// ago, and that is bound to a device if there is one.
func payloadOf(t testing.TB, began, written int64, data any, device ...byte) []byte {
	t.Helper()
	payload := []any{uint32(time.Now().Unix() - began), uint32(began - written), data}
	if device != nil {
		payload = append(payload, device)
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	content, err := mode.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// aged returns the value of a cookie of hexA's for Alice, in m's mode and of m's name.
func aged(t testing.TB, m *sessions.Manager[fixed], signOnly bool, began, written int64) string {
	t.Helper()
	content := payloadOf(t, began, written, fixed{Name: "Alice"})
	return forge(t, hexA, signOnly, m.CookieName(), content)
}

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

// cookieAlphabet is every byte that a cookie's value may have (RFC 6265, 4.1.1).
func cookieAlphabet() (octets []byte) {
	for c := byte(0x21); c < 0x7f; c++ {
		if !strings.ContainsRune(`",;\`, rune(c)) {
			octets = append(octets, c)
		}
	}
	return octets
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

func TestEveryChangedCharacterIsRefused(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(t, options{SignOnly: signOnly})
		for n := range 3 { // all lengths modulo 4 but 1
			c, err := m.Seal(fixed{Name: strings.Repeat("x", 3*n+1)})
			if err != nil {
				t.Fatal(err)
			}
			count := make(map[sessions.Verdict]int)
			for i := range c.Value {
				for _, octet := range cookieAlphabet() {
					if octet == c.Value[i] {
						continue
					}
					s := valueOf(m, c.Value[:i]+string(octet)+c.Value[i+1:])
					want := sessions.Tampered
					if i < 6 {
						want = sessions.UnknownKey
					}
					got := s.Verdict()
					if count[got]++; s.Data.Name != "" || got != want && got != sessions.Malformed {
						t.Fatalf("character %d changed to %q: got %v, want %v", i, octet, got, want)
					}
				}
			}
			if len(count) != 3 || count[sessions.Malformed] == 0 || count[sessions.Tampered] == 0 ||
				count[sessions.UnknownKey] == 0 {
				t.Errorf("got %v, want malformed, tampered and unknown key", count)
			}
		}
	})
}

func TestVerdicts(t *testing.T) {
	const day = 24 * 3600
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(t, options{SignOnly: signOnly})
		good := aged(t, m, signOnly, 10, 10)
		raw := func(content string) string {
			return forge(t, hexA, signOnly, m.CookieName(), []byte(content))
		}
		payload := payloadOf(t, 10, 10, fixed{Name: "Alice"})
		rival := forge(t, hexB, signOnly, m.CookieName(), payload)
		otherMode := forge(t, hexA, !signOnly, m.CookieName(), payload)
		room := sessions.MaxSize - len(m.CookieName()) - len(good)
		room -= (len(good) - 7 + room) % 4 // so that it stays canonical
		tests := []struct {
			name, value string
			want        sessions.Verdict
			passed      int
		}{
			{"good", good, sessions.Valid, 11},
			{"empty", "", sessions.Malformed, 2},
			{"word", "hello", sessions.Malformed, 2},
			{"id alone", good[:6], sessions.Malformed, 2},
			{"id and dot", good[:7], sessions.Malformed, 2},
			{"no id", good[7:], sessions.Malformed, 2},
			{"id in capitals", strings.ToUpper(good[:6]) + good[6:], sessions.Malformed, 2},
			{"two dots", good[:6] + "." + good[6:], sessions.Malformed, 2},
			{"a longer id", "a" + good, sessions.Malformed, 2},
			{"not base64", good[:7] + "####", sessions.Malformed, 2},
			{"padding", good + "=", sessions.Malformed, 2},
			{"another app's", "MTc1Nnxnb2I=", sessions.Malformed, 2},
			{"other key", rival, sessions.UnknownKey, 3},
			{"other key under our id", good[:6] + rival[6:], sessions.Tampered, 4},
			{"other name", forge(t, hexA, signOnly, "session", payload), sessions.Tampered, 4},
			{"other mode", otherMode, sessions.Valid, 11},
			{"other mode under our id", good[:6] + otherMode[6:], sessions.Tampered, 4},
			{"flipped", flipped(good), sessions.Tampered, 4},
			{"empty MAC", good[:7] + "MXxNUT09fA", sessions.Tampered, 4},
			{"no parts", good[:7] + "MTIzNDU2", sessions.Tampered, 4},
			{"JSON object", raw(`{"Name":"Alice"}`), sessions.Malformed, 5},
			{"JSON array", raw(`["Alice"]`), sessions.Malformed, 5},
			{"no payload", raw(" "), sessions.Malformed, 5},
			{"beginning of time", raw("\x83\x00\x00\xa0"), sessions.TooOld, 7},
			{"end of time", raw("\x83\x1a\xff\xff\xff\xff\x1a\xff\xff\xff\xff\xa0"),
				sessions.FromFuture, 6},
			{"expired", aged(t, m, signOnly, 14*day+10, 14*day+10), sessions.Expired, 8},
			{"too old", aged(t, m, signOnly, 90*day+10, 0), sessions.TooOld, 7},
			{"from the future", aged(t, m, signOnly, -1000, -1000), sessions.FromFuture, 6},
			{"expired and flipped", flipped(aged(t, m, signOnly, 14*day+10, 14*day+10)),
				sessions.Tampered, 4},
			{"too large", good + strings.Repeat("A", room+4), sessions.TooLarge, 1},
			{"not too large", good + strings.Repeat("A", room), sessions.Tampered, 4},
		}
		for _, tt := range tests {
			s := valueOf(m, tt.value)
			c := s.Cookie()
			if s.Verdict() != tt.want || c.Verdict != tt.want || c.Passed != tt.passed {
				t.Errorf("%s: got %v after %d checks, want %v after %d",
					tt.name, s.Verdict(), c.Passed, tt.want, tt.passed)
			}
			isGood := tt.want == sessions.Valid
			if (s.Data.Name == "Alice") != isGood || (c.Good == 1) != isGood {
				t.Errorf("%s: got %+v and %d good ones", tt.name, s.Data, c.Good)
			}
			if !isGood && sessions.Checks()[c.Passed].Verdict != tt.want {
				t.Errorf("%s: got %d checks passed, which the list calls %v",
					tt.name, c.Passed, sessions.Checks()[c.Passed].Verdict)
			}
			if (c.KeyID != "") != (tt.passed >= 3) || (c.Payload() != nil) != (tt.passed >= 5) ||
				c.Value() != tt.value || c.Size != len(m.CookieName())+len(tt.value) ||
				c.Written.IsZero() != (tt.passed < 6 || strings.HasPrefix(tt.name, "beginning")) ||
				tt.passed >= 5 && c.Encrypted == (signOnly == (tt.name != "other mode")) {
				t.Errorf("%s: got key id %q, payload %x, %d bytes, written %v, encrypted %v",
					tt.name, c.KeyID, c.Payload(), c.Size, c.Written, c.Encrypted)
			}
		}
		for i := range len(good) {
			if got := valueOf(m, good[:i]).Verdict(); got != sessions.Malformed &&
				got != sessions.Tampered {
				t.Errorf("cut after %d characters: got %v", i, got)
			}
			for _, extra := range []string{"A", "=", "==", "====", "AAAA", ".", "\r\n\r\n", `"`} {
				if got := valueOf(m, good[:i]+extra+good[i:]).Verdict(); got == sessions.Valid {
					t.Errorf("with %q inserted at %d: got valid", extra, i)
				}
			}
		}
	})
}

// Every cookie has one spelling. Its last character could be written in others, which
// securecookie's decoder takes for the same.
func TestOneSpelling(t *testing.T) {
	m := managerOf(t, options{SignOnly: true})
	found := 0
	for n := range 3 {
		c, err := m.Seal(fixed{Name: strings.Repeat("x", 3*n+1)})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[a-z2-7]{6}\.[A-Za-z0-9_-]+$`).MatchString(c.Value) {
			t.Errorf("got %q, want letters, digits, - and _ alone", c.Value)
		}
		sealed := c.Value[7:]
		want, _ := base64.RawURLEncoding.DecodeString(sealed)
		for _, octet := range cookieAlphabet() {
			other := sealed[:len(sealed)-1] + string(octet)
			got, err := base64.RawURLEncoding.DecodeString(other)
			if other == sealed || err != nil || string(got) != string(want) {
				continue
			}
			found++
			if got := valueOf(m, c.Value[:7]+other).Verdict(); got != sessions.Malformed {
				t.Errorf("got %v for another spelling, want malformed", got)
			}
		}
		for _, other := range []string{
			sealed + "=", sealed + "==", "\n" + sealed, sealed + "\r\n",
			strings.ReplaceAll(strings.ReplaceAll(sealed, "-", "+"), "_", "/"),
		} {
			got := valueOf(m, c.Value[:7]+other).Verdict()
			if other != sealed && got != sessions.Malformed {
				t.Errorf("got %v for %q, want malformed", got, other)
			}
		}
	}
	if found == 0 {
		t.Error("found no other spelling: is the check still needed?")
	}
}

// Quotes are no part of a value: Java's own cookie store always sends them.
func TestQuotes(t *testing.T) {
	m := managerOf(t, options{Insecure: true})
	c, err := m.Seal(fixed{Name: "Alice"})
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]sessions.Verdict{
		`session=VALUE`: sessions.Valid,
		`$Version="1"; session="VALUE";$Path="/"`:             sessions.Valid,
		`$Version="1"; session="VALUE";$Path="/";$Domain="a"`: sessions.Valid,
		`a="x y"; session="VALUE"; b=`:                        sessions.Valid,
		`session=""VALUE""`:                                   sessions.None, // Go drops it
		`session="VALUE`:                                      sessions.None,
		`session=""`:                                          sessions.Malformed,
	} {
		header = strings.Replace(header, "VALUE", c.Value, 1)
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", header)
		if s := m.Load(r); s.Verdict() != want || (s.Data.Name != "") != (want == sessions.Valid) {
			t.Errorf("%s: got %v %+v, want %v", header, s.Verdict(), s.Data, want)
		}
	}
	s := valueOf(m, `"`+c.Value+`"`)
	if s.Verdict() != sessions.Valid || s.Cookie().Value() != c.Value {
		t.Errorf("got %v with the value %s, want no quotes", s.Verdict(), s.Cookie().Value())
	}
	for _, value := range []string{`"`, `"` + c.Value, c.Value + `"`, `""` + c.Value + `""`} {
		if got := valueOf(m, value).Verdict(); got != sessions.Malformed {
			t.Errorf("%s: got %v, want malformed", value, got)
		}
	}
}

func TestLimitsAtTheSecond(t *testing.T) {
	const idle, lifetime = 100, 250
	tests := []struct {
		name           string
		began, written int64 // seconds ago
		want           sessions.Verdict
	}{
		{"now", 0, 0, sessions.Valid},
		{"idle, last second", idle, idle, sessions.Valid},
		{"idle, one second later", idle + 1, idle + 1, sessions.Expired},
		{"lifetime, last second", lifetime, 0, sessions.Valid},
		{"busy but too old", lifetime + 1, 0, sessions.TooOld},
		{"idle and too old", lifetime + 1, idle + 1, sessions.TooOld},
		{"clock ahead by a minute", -60, -60, sessions.Valid},
		{"clock ahead by more", -61, -61, sessions.FromFuture},
		{"busy, clock ahead by a minute", 10, -60, sessions.Valid},
		{"busy, clock ahead by more", 10, -61, sessions.FromFuture},
	}
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(t, options{
			Limits: sessions.Limits{Idle: idle * time.Second, Lifetime: lifetime * time.Second},
		})
		for _, tt := range tests {
			s, now := valueOf(m, aged(t, m, false, tt.began, tt.written)), time.Now()
			if s.Verdict() != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, s.Verdict(), tt.want)
			}
			began := now.Add(time.Duration(-tt.began) * time.Second)
			written := now.Add(time.Duration(-tt.written) * time.Second)
			ends := written.Add(idle * time.Second)
			if last := began.Add(lifetime * time.Second); last.Before(ends) {
				ends = last
			}
			if !s.Began().Equal(began) || !s.Written().Equal(written) || !s.Ends().Equal(ends) ||
				!s.Cookie().Written.Equal(written) || s.Began().Location() != time.UTC {
				t.Errorf("%s: got %v, %v, %v, want %v, %v, %v", tt.name,
					s.Began(), s.Written(), s.Ends(), began, written, ends)
			}
		}
	})
}

// Of several valid cookies the one that was written last counts, of those the first; without
// one, the verdict is that of the cookie that passed the most checks. Four are looked at.
func TestSeveralCookies(t *testing.T) {
	const day = 24 * 3600
	m := managerOf(t, options{}, hexA, hexB)
	seal := func(key, name string, began, written int64) string {
		return forge(t, key, false, m.CookieName(), payloadOf(t, began, written, fixed{Name: name}))
	}
	good, bob := seal(hexA, "Alice", 9, 5), seal(hexB, "Bob", 5, 5)
	later := seal(hexB, "Carol", 99, 4)
	old, tooLong := seal(hexA, "Alice", 14*day+1, 14*day+1), seal(hexA, "Alice", 90*day+1, 0)
	future := seal(hexA, "Alice", -3600, -3600)
	otherTypes := forge(t, hexA, false, m.CookieName(), []byte("\x83\x61x\x00\xa0"))
	unknown, large := seal(hexC, "Alice", 5, 5), strings.Repeat("x", sessions.MaxSize)
	tests := []struct {
		name   string
		values []string
		want   sessions.Verdict
		counts int // which of them
		good   int
	}{
		{"one", []string{good}, sessions.Valid, 0, 1},
		{"two written at one time", []string{good, bob}, sessions.Valid, 0, 2},
		{"the other way round", []string{bob, good}, sessions.Valid, 0, 2},
		{"one written later", []string{good, later, bob}, sessions.Valid, 1, 3},
		{"one written later, first", []string{later, good}, sessions.Valid, 0, 2},
		{"the fourth is good", []string{"x", "y", old, bob, later}, sessions.Valid, 3, 1},
		{"the fifth is good", []string{"x", "y", old, "z", good}, sessions.Expired, 2, 0},

		{"rubbish after a large one", []string{large, "x"}, sessions.Malformed, 1, 0},
		{"an unknown key after rubbish", []string{"x", unknown}, sessions.UnknownKey, 1, 0},
		{"rubbish after an unknown key", []string{unknown, "x"}, sessions.UnknownKey, 0, 0},
		{"tampered after an unknown key", []string{unknown, flipped(good)},
			sessions.Tampered, 1, 0},
		{"other types after a tampered one", []string{flipped(bob), otherTypes},
			sessions.Malformed, 1, 0},
		{"from the future after other types", []string{otherTypes, future},
			sessions.FromFuture, 1, 0},
		{"too old before from the future", []string{tooLong, future}, sessions.TooOld, 0, 0},
		{"expired after too old", []string{tooLong, old}, sessions.Expired, 1, 0},
		{"two pieces of rubbish", []string{"x", "y"}, sessions.Malformed, 0, 0},
		{"two expired ones", []string{old, seal(hexA, "Bob", 14*day+1, 14*day+1)},
			sessions.Expired, 0, 0},
	}
	for _, tt := range tests {
		s := m.Load(comes(m, tt.values...))
		c := s.Cookie()
		if c.Verdict != tt.want || c.Value() != tt.values[tt.counts] || c.Good != tt.good {
			t.Errorf("%s: got %v for cookie %d and %d good ones, want %v for %d and %d", tt.name,
				c.Verdict, slices.Index(tt.values, c.Value()), c.Good, tt.want, tt.counts, tt.good)
		}
		want := map[string]string{good: "Alice", bob: "Bob", later: "Carol"}[tt.values[tt.counts]]
		if s.Data.Name != want {
			t.Errorf("%s: got %q, want %q", tt.name, s.Data.Name, want)
		}
	}
}

// Only who asks for a page, or fetches, renews the session.
func TestWhoRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(t, options{})
		c, err := m.Seal(fixed{Name: "Alice"})
		if err != nil {
			t.Fatal(err)
		}
		type header map[string]string
		tests := []struct {
			method string
			header header
			passes bool // who renews
		}{
			{"GET", nil, true}, {"POST", nil, true}, {"HEAD", nil, false},
			{"GET", header{"Sec-Purpose": "prefetch"}, false},
			{"GET", header{"Sec-Purpose": "prefetch;prerender"}, false},
			{"GET", header{"Sec-Purpose": "Prefetch"}, false},
			{"GET", header{"Purpose": "prefetch"}, false},
			{"GET", header{"X-Purpose": "preview"}, false},
			{"GET", header{"X-Moz": "prefetch"}, false},
			{"GET", header{"Purpose": "else"}, true},
		}
		for dest, passes := range map[string]bool{
			"document": true, "iframe": true, "frame": true, "fencedframe": true, "empty": true,
			"image": false, "style": false, "script": false, "font": false, "video": false,
			"manifest": false, "worker": false, "serviceworker": false, "object": false,
		} {
			tests = append(tests, struct {
				method string
				header header
				passes bool
			}{"GET", header{"Sec-Fetch-Dest": dest}, passes})
		}
		time.Sleep(4 * 24 * time.Hour)
		for _, tt := range tests {
			r := comes(m, c.Value)
			r.Method = tt.method
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			want := sessions.Unchanged
			if tt.passes {
				want = sessions.Renewed
			}
			s := m.Load(r)
			if saved, err := m.Save(httptest.NewRecorder(), s); saved.Reason != want || err != nil ||
				s.Quiet() == tt.passes {
				t.Errorf("%s %v: got %v and %v, want %v", tt.method, tt.header, saved, err, want)
			}
			s = m.Load(comes(m, c.Value))
			if s.Passive = true; !s.Quiet() {
				t.Error("a passive visit is not quiet")
			}
			if tt.passes {
				saved, err := m.Save(httptest.NewRecorder(), s)
				if saved.Reason != sessions.Unchanged || err != nil {
					t.Errorf("a passive visit: got %v and %v", saved, err)
				}
			}
		}
	})
}

// In signed mode the payload can be read, in encrypted mode it can't.
func TestWhoCanRead(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(t, options{SignOnly: signOnly})
		c, err := m.Seal(fixed{Name: "Alice"})
		if err != nil {
			t.Fatal(err)
		}
		outer, err := base64.RawURLEncoding.DecodeString(c.Value[7:])
		if err != nil {
			t.Fatal(err)
		}
		inner := strings.SplitN(string(outer), "|", 3)[1]
		content, err := base64.URLEncoding.DecodeString(inner)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(content), "Alice"); got != signOnly {
			t.Errorf("got the name in clear: %v, want %v", got, signOnly)
		}
		if signOnly && string(content) != string(m.Open(c).Cookie().Payload()) {
			t.Error("got another payload than what is in the cookie")
		}
	})
}

// The checks are a copy, and each verdict but valid is one's.
func TestChecks(t *testing.T) {
	want := []sessions.Verdict{
		"none", "too large", "malformed", "unknown key", "tampered", "malformed", "from the future",
		"too old", "expired", "unproven", "revoked",
	}
	sessions.Checks()[0] = sessions.Check{}
	var got []sessions.Verdict
	for _, c := range sessions.Checks() {
		got = append(got, c.Verdict)
		if !strings.HasSuffix(c.Text, ".") || c.Text[0] < 'A' || c.Text[0] > 'Z' {
			t.Errorf("got %q, want a sentence", c.Text)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var none sessions.Cookie
	if none.Payload() != nil || none.Value() != "" || new(session).Cookie().Verdict != "none" {
		t.Error("got something of no cookie")
	}
}

func FuzzForgedCookie(f *testing.F) {
	// Constants, because the fuzzer's workers are processes of their own, and would
	// each seal others.
	ours := goldenValues(f)
	for _, value := range ours {
		f.Add(value)
		f.Add(value[:len(value)-1])
		f.Add(value + "\n\n\n\n")
		f.Add(flipped(value))
		f.Add(`"` + value)
	}
	f.Add("aaaaaa.")
	f.Add(ours[0][:7] + strings.Repeat("A", 120))
	m := managerOf(f, options{
		Insecure: true, Limits: sessions.Limits{Idle: 400 * day, Lifetime: 400 * day},
	})
	f.Fuzz(func(t *testing.T, value string) {
		s := valueOf(m, value)
		isOurs := slices.Contains(ours, strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)) ||
			slices.Contains(ours, value)
		passes := s.Cookie().Payload() != nil
		if passes && !isOurs || s.Verdict() != sessions.Valid && s.Data != (fixed{}) {
			t.Fatalf("got %v with %+v for a cookie that is ours: %v", s.Verdict(), s.Data, isOurs)
		}
	})
}
