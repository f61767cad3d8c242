package sessions_test

import (
	"bytes"
	"encoding/base64"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

// cookieAlphabet is every byte that a cookie's value may have (RFC 6265, 4.1.1).
func cookieAlphabet() (octets []byte) {
	for c := byte(0x21); c < 0x7f; c++ {
		if !strings.ContainsRune(`",;\`, rune(c)) {
			octets = append(octets, c)
		}
	}
	return octets
}

// Every cookie has one spelling. Its last character could be written in others, which
// securecookie's decoder takes for the same.
func TestEveryChangedCharacterIsRefused(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(options{SignOnly: signOnly})
		for n := range 3 { // all lengths modulo 4 but 1
			value := cookieOf(m, strings.Repeat("x", 3*n+1)).Value
			if !regexp.MustCompile(`^[a-z2-7]{6}\.[A-Za-z0-9_-]+$`).MatchString(value) {
				t.Errorf("got %q, want letters, digits, - and _ alone", value)
			}
			count := make(map[sessions.Verdict]int)
			for i := range value {
				want := sessions.Tampered
				if i < 6 {
					want = sessions.UnknownKey
				}
				for _, octet := range cookieAlphabet() {
					if octet == value[i] {
						continue
					}
					s := valueOf(m, value[:i]+string(octet)+value[i+1:])
					got := s.Verdict()
					if count[got]++; s.Data.Name != "" || got != want && got != sessions.Malformed {
						t.Fatalf("character %d changed to %q: got %v, want %v", i, octet, got, want)
					}
				}
			}
			if len(count) != 3 {
				t.Errorf("got %v, want malformed, tampered and unknown key", count)
			}
		}
	})
}

func TestVerdicts(t *testing.T) {
	const day = 24 * 3600
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(options{SignOnly: signOnly})
		of := func(began, written int64) string {
			content := payloadOf(began, written, fixed{Name: "Alice"})
			return forge(hexA, signOnly, m.CookieName(), content)
		}
		good := of(10, 10)
		raw := func(content string) string {
			return forge(hexA, signOnly, m.CookieName(), []byte(content))
		}
		payload := payloadOf(10, 10, fixed{Name: "Alice"})
		rival := forge(hexB, signOnly, m.CookieName(), payload)
		otherMode := forge(hexA, !signOnly, m.CookieName(), payload)
		room := sessions.MaxSize - len(m.CookieName()) - len(good)
		room -= (len(good) - 7 + room) % 4 // so that it stays canonical
		tests := []struct {
			name, value string
			want        sessions.Verdict
			passed      int
		}{
			{"good", good, sessions.Valid, 11},
			{"empty", "", sessions.Malformed, 2},
			{"id alone", good[:6], sessions.Malformed, 2},
			{"a longer id", "a" + good, sessions.Malformed, 2},
			{"not base64", good[:7] + "####", sessions.Malformed, 2},
			{"padding", good + "=", sessions.Malformed, 2},
			{"other key", rival, sessions.UnknownKey, 3},
			{"other key under our id", good[:6] + rival[6:], sessions.Tampered, 4},
			{"other name", forge(hexA, signOnly, "session", payload), sessions.Tampered, 4},
			{"other mode", otherMode, sessions.Valid, 11},
			{"other mode under our id", good[:6] + otherMode[6:], sessions.Tampered, 4},
			{"flipped", flipped(good), sessions.Tampered, 4},
			{"empty MAC", good[:7] + "MXxNUT09fA", sessions.Tampered, 4},
			{"JSON object", raw(`{"Name":"Alice"}`), sessions.Malformed, 5},
			{"no payload", raw(" "), sessions.Malformed, 5},
			{"beginning of time", raw("\x83\x00\x00\xa0"), sessions.TooOld, 7},
			{"end of time", raw("\x83\x1a\xff\xff\xff\xff\x1a\xff\xff\xff\xff\xa0"),
				sessions.FromFuture, 6},
			{"expired", of(14*day+10, 14*day+10), sessions.Expired, 8},
			{"too old", of(90*day+10, 0), sessions.TooOld, 7},
			{"from the future", of(-1000, -1000), sessions.FromFuture, 6},
			{"expired and flipped", flipped(of(14*day+10, 14*day+10)),
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
			others := []string{good[:i]}
			for _, extra := range []string{"A", "=", "====", "AAAA", ".", "\r\n\r\n", `"`} {
				others = append(others, good[:i]+extra+good[i:])
			}
			for _, other := range others {
				got := valueOf(m, other).Verdict()
				if got != sessions.Malformed && got != sessions.Tampered {
					t.Errorf("%q: got %v", other, got)
				}
			}
		}
	})
}

// Quotes are no part of a value: Java's own cookie store always sends them.
func TestQuotes(t *testing.T) {
	m := managerOf(options{Insecure: true})
	c := cookieOf(m, "Alice")
	for header, want := range map[string]sessions.Verdict{
		`$Version="1"; session="VALUE";$Path="/";$Domain="a"`: sessions.Valid,
		`a="x y"; session="VALUE"; b=`:                        sessions.Valid,
		`session=""VALUE""`:                                   sessions.None, // Go drops it
		`session=""`:                                          sessions.Malformed,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", strings.Replace(header, "VALUE", c.Value, 1))
		if s := m.Load(r); s.Verdict() != want || (s.Data.Name != "") != (want == sessions.Valid) {
			t.Errorf("%s: got %v %+v, want %v", header, s.Verdict(), s.Data, want)
		}
	}
	for value, want := range map[string]string{
		`"` + c.Value + `"`: c.Value, `""`: "", `"`: `"`, `"` + c.Value: `"` + c.Value,
		c.Value + `"`: c.Value + `"`, `""` + c.Value + `""`: `"` + c.Value + `"`,
	} {
		s := valueOf(m, value)
		got, isGood := s.Cookie().Value(), s.Verdict() == sessions.Valid
		if got != want || isGood != (want == c.Value) {
			t.Errorf("%s: got %v and the value %s, want %s", value, s.Verdict(), got, want)
		}
	}
}

func TestLimitsAtTheSecond(t *testing.T) {
	const idle, lifetime = 100, 250
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(options{
			Limits: sessions.Limits{Idle: idle * time.Second, Lifetime: lifetime * time.Second},
		})
		for _, tt := range []struct {
			about          string
			began, written int // seconds ago
			want           sessions.Verdict
		}{
			{"now", 0, 0, sessions.Valid},
			{"idle, last second", idle, idle, sessions.Valid},
			{"idle, one second later", idle + 1, idle + 1, sessions.Expired},
			{"lifetime, last second", lifetime, 0, sessions.Valid},
			{"busy but too old", lifetime + 1, 0, sessions.TooOld},
			{"idle and too old", lifetime + 1, idle + 1, sessions.TooOld},
			{"clock ahead by a minute", -60, -60, sessions.Valid},
			{"busy, clock ahead by a minute", 10, -60, sessions.Valid},
			{"busy, clock ahead by more", 10, -61, sessions.FromFuture},
		} {
			s := valueOf(m, aged(m, int64(tt.began), int64(tt.written)))
			want := [3]int{tt.began, tt.written, min(idle-tt.written, lifetime-tt.began)}
			if got := ago(s); s.Verdict() != tt.want || got != want ||
				!s.Cookie().Written.Equal(s.Written()) || s.Began().Location() != time.UTC {
				t.Errorf("%s: got %v, %v, want %v, %v", tt.about, s.Verdict(), got, tt.want, want)
			}
		}
	})
}

// Of several valid cookies the one that was written last counts, of those the first; without
// one, the verdict is that of the cookie that passed the most checks. Four are looked at.
func TestSeveralCookies(t *testing.T) {
	const day = 24 * 3600
	m := managerOf(options{}, hexA, hexB)
	seal := func(key, name string, began, written int64) string {
		return forge(key, false, m.CookieName(), payloadOf(began, written, fixed{Name: name}))
	}
	good, bob := seal(hexA, "Alice", 9, 5), seal(hexB, "Bob", 5, 5)
	later := seal(hexB, "Carol", 99, 4)
	old := seal(hexA, "Alice", 14*day+1, 14*day+1)
	future := seal(hexA, "Alice", -3600, -3600)
	otherTypes := forge(hexA, false, m.CookieName(), []byte("\x83\x61x\x00\xa0"))
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
	m := managerOf(options{})
	due := aged(m, 4*86400, 4*86400)
	visit := func(passive bool, want sessions.Reason, method, name, value string) {
		t.Helper()
		r := comes(m, due)
		r.Method = method
		r.Header.Set(name, value)
		s := m.Load(r)
		s.Passive = passive
		if _, why, err := saveOf(t, m, s, due); why != want || err != nil ||
			s.Quiet() != (want == sessions.Unchanged) {
			t.Errorf("%s %s: %s: got %v and %v, want %v", method, name, value, why, err, want)
		}
	}
	visit(false, sessions.Renewed, "POST", "Purpose", "else")
	visit(true, sessions.Unchanged, "POST", "Purpose", "else")
	visit(false, sessions.Unchanged, "HEAD", "Purpose", "else")
	for _, header := range [][2]string{
		{"Sec-Purpose", "prefetch;prerender"}, {"Sec-Purpose", "Prefetch"}, {"Purpose", "prefetch"},
		{"X-Purpose", "preview"}, {"X-Moz", "prefetch"},
	} {
		visit(false, sessions.Unchanged, "GET", header[0], header[1])
	}
	for _, dest := range []string{"", "document", "iframe", "frame", "fencedframe", "empty"} {
		visit(false, sessions.Renewed, "GET", "Sec-Fetch-Dest", dest)
		visit(true, sessions.Unchanged, "GET", "Sec-Fetch-Dest", dest)
	}
	for _, dest := range []string{
		"image", "style", "script", "font", "video", "manifest", "worker", "object",
	} {
		visit(false, sessions.Unchanged, "GET", "Sec-Fetch-Dest", dest)
	}
}

// In signed mode the payload can be read, in encrypted mode it can't.
func TestWhoCanRead(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(options{SignOnly: signOnly})
		c := cookieOf(m, "Alice")
		outer := made(base64.RawURLEncoding.DecodeString(c.Value[7:]))
		inner := strings.SplitN(string(outer), "|", 3)[1]
		content := made(base64.URLEncoding.DecodeString(inner))
		if bytes.Equal(content, m.Open(c).Cookie().Payload()) != signOnly ||
			strings.Contains(string(content), "Alice") != signOnly {
			t.Errorf("got %q in the cookie", content)
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
	ours := goldenValues()
	for _, value := range ours {
		f.Add(value)
		f.Add(value[:len(value)-1])
		f.Add(value + "\n\n\n\n")
		f.Add(flipped(value))
		f.Add(`"` + value)
	}
	f.Add("aaaaaa.")
	f.Add(ours[0][:7] + strings.Repeat("A", 120))
	m := managerOf(options{
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
