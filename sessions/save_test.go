package sessions_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

// ago returns how long ago a session began, was written, and how long it lasts, in seconds.
func ago(s *session) [3]int {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	return [3]int{
		seconds(time.Since(s.Began())), seconds(time.Since(s.Written())),
		seconds(time.Until(s.Ends())),
	}
}

func TestRenewedAfterAQuarterOfTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &visits[fixed]{t: t, m: managerOf(options{
			Limits: sessions.Limits{Idle: 400 * time.Second, Lifetime: 1000 * time.Second},
		})}
		b.visit(sessions.Changed, named("Alice"))
		time.Sleep(99 * time.Second)
		b.visit(sessions.Unchanged, named("Alice"))
		time.Sleep(time.Second)
		if got := ago(b.visit(sessions.Renewed, nothing)); got != [3]int{100, 0, 400} {
			t.Errorf("got %v", got)
		}
		b.visit(sessions.Unchanged, nothing)
		// It is kept alive by its use until the end of its lifetime, and no longer.
		for range 9 {
			time.Sleep(100 * time.Second)
			if s := b.visit(sessions.Renewed, nothing); s.Data.Name != "Alice" {
				t.Errorf("got %v", s.Verdict())
			}
		}
		time.Sleep(time.Second)
		if s := b.visit(sessions.Unchanged, nothing); s.Verdict() != sessions.TooOld {
			t.Errorf("got %v for a session that is busy but too old", s.Verdict())
		}
		if got := ago(b.visit(sessions.Changed, named("Bob"))); got[0] != 0 {
			t.Error("got a new session that didn't begin now")
		}
	})
}

// Max-Age is what is left of the lifetime, so that raising Idle logs nobody out.
func TestMaxAgeIsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := sessions.Limits{Idle: 100 * time.Second, Lifetime: 250 * time.Second}
		m := managerOf(options{Limits: limits})
		for began, want := range map[int64]int{0: 250, 150: 100, 249: 1, 250: 1} {
			s := m.Load(comes(m, aged(m, began, 0)))
			s.Data.Name = "Bob"
			w := httptest.NewRecorder()
			made(m.Save(w, s))
			if got := w.Result().Cookies()[0].MaxAge; got != want {
				t.Errorf("%d seconds after it began: got Max-Age %d, want %d", began, got, want)
			}
		}
		value := aged(m, 200, 150)
		limits.Idle = 200 * time.Second
		raised := valueOf(managerOf(options{Limits: limits}), value).Verdict()
		if got := valueOf(m, value).Verdict(); got != sessions.Expired || raised != sessions.Valid {
			t.Errorf("got %v, and %v after raising Idle, want expired and valid", got, raised)
		}
	})
}

// Two copies whose clocks differ serve one visitor.
func TestSkewedClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(options{})
		b := &visits[fixed]{t: t, m: m, cookie: aged(m, -50, -50)}
		b.visit(sessions.Changed, named("Bob"))
		s := valueOf(m, b.cookie)
		if got := ago(s); s.Data.Name != "Bob" || got != [3]int{-50, -50, 14*86400 + 50} {
			t.Errorf("got %+v and %v", s.Data, got)
		}
	})
}

// A refused cookie is left alone until something is stored or cleared.
func TestRefusedCookieIsLeftAlone(t *testing.T) {
	const idle, lifetime = 14 * 24 * 3600, 90 * 24 * 3600
	m := managerOf(options{})
	for want, value := range map[sessions.Verdict]string{
		sessions.Malformed:  "x",
		sessions.TooLarge:   strings.Repeat("x", 5000),
		sessions.UnknownKey: forge(hexB, false, m.CookieName(), payloadOf(0, 0, fixed{Name: "A"})),
		sessions.Tampered:   flipped(aged(m, 0, 0)),
		sessions.Expired:    aged(m, idle+10, idle+10),
		sessions.TooOld:     aged(m, lifetime+10, 0),
		sessions.FromFuture: aged(m, -7200, -7200),
	} {
		b := &visits[fixed]{t: t, m: m, cookie: value}
		if s := b.visit(sessions.Unchanged, named("")); s.Verdict() != want || b.cookie != value {
			t.Errorf("got %v and %q, want %v", s.Verdict(), b.cookie, want)
		}
		b.visit(sessions.Unchanged, (*session).Renew)
		s := b.visit(sessions.Changed, named("Alice")) // also if it says the same
		if ago(s)[0] > 60 || valueOf(m, b.cookie).Data.Name != "Alice" {
			t.Errorf("%v: got a session that began %v", want, s.Began())
		}
		b.cookie = value
		b.visit(sessions.Cleared, (*session).Clear)
	}
}

// A good session whose time hasn't come is not replaced, unless it is cleared.
func TestTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(options{})
		for ahead, want := range map[int64]error{
			61: sessions.ErrTryAgain, 3600: sessions.ErrTryAgain, 3601: nil,
		} {
			value := aged(m, -ahead, -ahead)
			s := m.Load(comes(m, value))
			s.Data.Name = "Bob"
			after, _, err := saveOf(t, m, s, value)
			if !errors.Is(err, want) || (after == value) != (want != nil) {
				t.Errorf("%d seconds ahead: got %v, want %v", ahead, err, want)
			}
			for why, do := range map[sessions.Reason]func(*session){
				sessions.Changed:   func(s *session) { s.Clear(); s.Data.Name = "Bob" },
				sessions.Unchanged: nothing,
				sessions.Cleared:   (*session).Clear,
			} {
				b := &visits[fixed]{t: t, m: m, cookie: value}
				b.visit(why, do)
			}
		}
	})
}

func TestRotation(t *testing.T) {
	ring := ringOf(hexA)
	b := &visits[fixed]{t: t, m: made(sessions.New(ring, options{}))}
	replace := func(digits ...string) string {
		t.Helper()
		keys := ringOf(digits...).Keys()
		if err := ring.Replace(keys[0], keys[1:]...); err != nil {
			t.Fatal(err)
		}
		id, _ := keys[0].IDs()
		return id
	}
	b.visit(sessions.Changed, named("Alice"))
	first := b.cookie
	id := replace(hexB, hexA)
	if b.visit(sessions.Resealed, nothing); b.cookie[:6] != id {
		t.Errorf("got key id %s, want %s", b.cookie[:6], id)
	}
	b.visit(sessions.Unchanged, func(*session) {
		replace(hexB, hexC, hexA) // the keys may be read again between load and save
	})
	b.visit(sessions.Resealed, func(*session) { replace(hexC) })
	b.cookie = first
	s := b.visit(sessions.Unchanged, nothing)
	if c := s.Cookie(); c.Verdict != sessions.UnknownKey || c.KeyID != first[:6] || c.Encrypted {
		t.Errorf("got %v, %q and %v for a key that was dropped", c.Verdict, c.KeyID, c.Encrypted)
	}
	replace(hexC, hexA)
	b.visit(sessions.Resealed, nothing)
	// A switch of the mode is a rotation, too.
	b.m = made(sessions.New(ring, options{SignOnly: true}))
	b.visit(sessions.Resealed, nothing)
	if b.visit(sessions.Unchanged, nothing).Cookie().Encrypted {
		t.Error("got an encrypted cookie after a switch to signing alone")
	}
}

// TooLargeError says by how many bytes, in every mode, and nothing is written.
func TestTooLarge(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(options{SignOnly: signOnly})
		fits := 0
		for n := 2000; n < 2400; n++ {
			s := m.Load(comes(m))
			s.Data.Name = strings.Repeat("x", n)
			size := len(m.CookieName()) + len(forge(hexA, signOnly, m.CookieName(),
				payloadOf(0, 0, s.Data)))
			want := "<nil>"
			if size <= sessions.MaxSize {
				fits = size
			} else {
				want = fmt.Sprintf("sessions: the session is %d bytes too large "+
					"for a cookie of 4096", size-sessions.MaxSize)
			}
			value, _, err := saveOf(t, m, s, "")
			if fmt.Sprint(err) != want || err == nil && valueOf(m, value).Data != s.Data {
				t.Fatalf("%d bytes: got %v, want %s", size, err, want)
			}
		}
		if fits < sessions.MaxSize-4 {
			t.Errorf("got %d bytes at most", fits)
		}
	})
}

// A session close to the limit whose cookie would become too large by being written
// again, without any change, stays as it is.
func TestCloseToTheLimit(t *testing.T) {
	signed := managerOf(options{SignOnly: true})
	value := func(age int64) string { // the longest in its mode
		for n := 2400; ; n-- {
			value := forge(hexA, true, signed.CookieName(),
				payloadOf(age, age, fixed{Name: strings.Repeat("x", n)}))
			if len(signed.CookieName()+value) <= sessions.MaxSize {
				return value
			}
		}
	}
	b := &visits[fixed]{t: t, m: managerOf(options{}), cookie: value(0)}
	b.visit(sessions.Unchanged, nothing) // would be re-sealed
	b.visit(sessions.Changed, func(s *session) { s.Data.Name = s.Data.Name[100:] })
	b.m, b.cookie = signed, value(4*86400)
	b.visit(sessions.Unchanged, nothing) // would be renewed, with a longer time
}

// Renew begins the session anew with the same data.
func TestRenew(t *testing.T) {
	m := managerOf(options{})
	b := &visits[fixed]{t: t, m: m}
	b.visit(sessions.Unchanged, (*session).Renew)
	b.visit(sessions.Changed, func(s *session) { s.Renew(); s.Data.Name = "Alice" })
	b.cookie = aged(m, 600, 600)
	if s := b.visit(sessions.Unchanged, func(s *session) { s.Renew(); s.Undo() }); ago(s)[0] < 600 {
		t.Errorf("got a session that began %v after Undo", s.Began())
	}
	s := b.visit(sessions.Changed, (*session).Renew)
	if ago(s)[0] > 60 || s.Data.Name != "Alice" || ago(valueOf(m, b.cookie))[0] > 60 {
		t.Errorf("got %+v, and a session that began %v", s.Data, s.Began())
	}
	// What this program doesn't know stays.
	next := managerOf(sessions.Options[newer]{})
	old := &visits[older]{t: t, m: managerOf(sessions.Options[older]{})}
	old.cookie = begun(t, next, newer{Theme: "dark"})
	old.visit(sessions.Changed, (*sessions.Session[older]).Renew)
	wantSame(t, "renewed", look(t, next, old.cookie), newer{Theme: "dark"})
}

func TestClearAndUndo(t *testing.T) {
	m := managerOf(options{})
	value := aged(m, 600, 600)
	b := &visits[fixed]{t: t, m: m, cookie: value}
	s := b.visit(sessions.Cleared, (*session).Clear)
	if !s.Began().IsZero() || !s.Written().IsZero() || !s.Ends().IsZero() ||
		s.Limits() != (sessions.Limits{}) {
		t.Errorf("got %v, %v and %v of no session", s.Began(), s.Written(), s.Ends())
	}
	b.cookie = value
	s = b.visit(sessions.Changed, func(s *session) { s.Clear(); s.Data.Name = "Alice" })
	if ago(s)[0] > 60 {
		t.Error("got a session that goes on after Clear")
	}
	b.cookie = value
	s = b.visit(sessions.Unchanged, func(s *session) { s.Clear(); s.Data.Name = "Bob"; s.Undo() })
	if s.Data.Name != "Alice" || s.Limits().Idle != 14*day {
		t.Errorf("got %+v and %v after Undo", s.Data, s.Limits())
	}
	// One made by hand is new, and after Undo it is empty again.
	s = &session{Data: fixed{Name: "Bob"}}
	if s.Verdict() != sessions.None || !s.Began().IsZero() {
		t.Errorf("got %v for a new session", s.Verdict())
	}
	value, why, err := saveOf(t, m, s, "")
	if why != sessions.Changed || err != nil || valueOf(m, value).Data != s.Data || ago(s)[0] > 60 {
		t.Errorf("got %v and %v for a session made by hand", why, err)
	}
	if s.Undo(); s.Data.Name != "" {
		t.Errorf("got %+v after Undo", s.Data)
	}
}

// A second Save replaces the first one's cookie, or takes it back.
func TestSecondSave(t *testing.T) {
	m := managerOf(options{})
	s := m.Load(comes(m))
	w := httptest.NewRecorder()
	http.SetCookie(w, other)
	for _, tt := range []struct {
		name string
		want sessions.Reason
		ours int
		same bool // as before, to the letter
	}{
		{"Alice", sessions.Changed, 1, false}, {"Alice", sessions.Changed, 1, true},
		{"Bob", sessions.Changed, 1, false}, {"\xff", sessions.Unchanged, 0, false},
		{"Bob", sessions.Changed, 1, false}, {"", sessions.Unchanged, 0, false},
		{"", sessions.Unchanged, 0, true},
	} {
		before := slices.Clone(w.Header()["Set-Cookie"])
		s.Data.Name = tt.name
		saved, err := m.Save(w, s)
		lines := w.Header()["Set-Cookie"]
		if saved.Reason != tt.want || (err != nil) != (tt.name == "\xff") ||
			len(lines) != tt.ours+1 || !strings.HasPrefix(lines[0], "other=") ||
			s.Began().IsZero() != (tt.ours == 0) || slices.Equal(before, lines) != tt.same {
			t.Errorf("%q: got %v, %v and %q after %q", tt.name, saved, err, lines, before)
		}
	}
	// What somebody else has deleted is written again.
	s.Data.Name = "Carol"
	for range 2 {
		w.Header().Del("Set-Cookie")
		if saved, err := m.Save(w, s); saved.Reason != sessions.Changed || err != nil ||
			len(w.Header()["Set-Cookie"]) != 1 {
			t.Errorf("got %v, %v and %v", saved, err, w.Header())
		}
	}
	// A session that went on goes on after it was changed back.
	s, w = m.Load(comes(m, aged(m, 600, 600))), httptest.NewRecorder()
	s.Renew()
	m.Save(w, s)
	s.Undo()
	if saved, err := m.Save(w, s); saved.Reason != sessions.Unchanged || err != nil ||
		w.Header()["Set-Cookie"] != nil || ago(s)[0] < 600 || s.Limits().Idle != 14*day {
		t.Errorf("got %v, %v, %v and a session that began at %v", saved, err, w.Header(), s.Began())
	}
}

// Save without Handler says what caches must know.
func TestSaveForCaches(t *testing.T) {
	m := managerOf(options{})
	for _, tt := range []struct{ vary, control, wantVary, wantControl string }{
		{"", "", "Cookie", "no-store"},
		{"Accept", "max-age=60", "Accept, Cookie", "no-store"},
		{"Accept, cookie", "private, max-age=60", "Accept, cookie", "private, max-age=60"},
		{"*", `Private="X"`, "*", `Private="X"`},
		{"Cookies", "no-store", "Cookies, Cookie", "no-store"},
	} {
		for name, want := range map[string]string{"Alice": tt.wantControl, "": tt.control} {
			s, w := m.Load(comes(m)), httptest.NewRecorder()
			w.Header().Set("Vary", tt.vary)
			w.Header().Set("Cache-Control", tt.control)
			s.Data.Name = name
			made(m.Save(w, s))
			vary := strings.Join(w.Header()["Vary"], "|")
			if got := w.Header().Get("Cache-Control"); vary != tt.wantVary || got != want {
				t.Errorf("%+v: got %q and %q, want %q", tt, vary, got, want)
			}
		}
	}
}

// Without Handler each Save is told.
func TestSaveIsObserved(t *testing.T) {
	var seen events
	m := managerOf(options{Observe: seen.observe})
	for _, s := range []*session{m.Load(comes(m)), {}, m.Load(comes(m, "x"))} {
		for _, name := range []string{"Alice", "\xff"} {
			s.Data.Name = name
			m.Save(httptest.NewRecorder(), s)
		}
	}
	seen.wants(t, "none changed; none unchanged error; none changed of no request; "+
		"none unchanged of no request error; malformed changed; malformed unchanged error")
}
