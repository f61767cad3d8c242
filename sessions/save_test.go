package sessions_test

import (
	"cookiesession/sessions"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// visits is a browser in miniature: it holds the one cookie that m keeps.
type visits struct {
	t      *testing.T
	m      *sessions.Manager[fixed]
	cookie string
}

// visit has do change the session, saves it, and wants a reason.
func (b *visits) visit(want sessions.Reason, do func(*session)) *session {
	b.t.Helper()
	r := comes(b.m)
	if b.cookie != "" {
		r = comes(b.m, b.cookie)
	}
	s := b.m.Load(r)
	do(s)
	value, why, err := saveOf(b.t, b.m, s, b.cookie)
	if why != want || err != nil {
		b.t.Errorf("got %v and %v, want %v", why, err, want)
	}
	b.cookie = value
	return s
}

// named returns a change of the name.
func named(name string) func(*session) {
	return func(s *session) { s.Data.Name = name }
}

func nothing(*session)  {}
func renew(s *session)  { s.Renew() }
func clears(s *session) { s.Clear() }

func TestRenewedAfterAQuarterOfTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &visits{t: t, m: managerOf(t, options{
			Limits: sessions.Limits{Idle: 400 * time.Second, Lifetime: 1000 * time.Second},
		})}
		began := time.Now()
		b.visit(sessions.Changed, named("Alice"))
		time.Sleep(99 * time.Second)
		b.visit(sessions.Unchanged, named("Alice"))
		time.Sleep(time.Second)
		s := b.visit(sessions.Renewed, nothing)
		if !s.Began().Equal(began) || time.Since(s.Written()) != 0 ||
			s.Ends().Sub(began) != 500*time.Second {
			t.Errorf("got %v, %v and %v", s.Began(), s.Written(), s.Ends())
		}
		b.visit(sessions.Unchanged, nothing)
		// It is kept alive by its use until the end of its lifetime, and no longer.
		for range 8 {
			time.Sleep(100 * time.Second)
			b.visit(sessions.Renewed, nothing)
		}
		time.Sleep(100 * time.Second)
		if s := b.visit(sessions.Renewed, nothing); s.Data.Name != "Alice" {
			t.Error("got no session in the last second")
		}
		time.Sleep(time.Second)
		if s := b.visit(sessions.Unchanged, nothing); s.Verdict() != sessions.TooOld {
			t.Errorf("got %v for a session that is busy but too old", s.Verdict())
		}
		if s := b.visit(sessions.Changed, named("Bob")); time.Since(s.Began()) != 0 {
			t.Error("got a new session that didn't begin now")
		}
	})
}

// Max-Age is what is left of the lifetime, so that raising Idle logs nobody out.
func TestMaxAgeIsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := sessions.Limits{Idle: 100 * time.Second, Lifetime: 250 * time.Second}
		m := managerOf(t, options{Limits: limits})
		for began, want := range map[int64]int{0: 250, 150: 100, 249: 1, 250: 1} {
			s := m.Load(comes(m, aged(t, m, false, began, 0)))
			s.Data.Name = "Bob"
			w := httptest.NewRecorder()
			if _, err := m.Save(w, s); err != nil || w.Result().Cookies()[0].MaxAge != want {
				t.Errorf("%d seconds after it began: got %v and %v, want Max-Age %d",
					began, err, w.Header(), want)
			}
		}
		value := aged(t, m, false, 200, 150)
		if got := valueOf(m, value).Verdict(); got != sessions.Expired {
			t.Errorf("got %v, want expired", got)
		}
		limits.Idle = 200 * time.Second
		m = managerOf(t, options{Limits: limits})
		if got := valueOf(m, value).Verdict(); got != sessions.Valid {
			t.Errorf("got %v after raising Idle, want valid", got)
		}
	})
}

// Two copies whose clocks differ serve one visitor.
func TestSkewedClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(t, options{})
		b := &visits{t: t, m: m, cookie: aged(t, m, false, -50, -50)}
		b.visit(sessions.Changed, named("Bob"))
		s := valueOf(m, b.cookie)
		if ahead := time.Now().Add(50 * time.Second); s.Data.Name != "Bob" ||
			!s.Began().Equal(ahead) || !s.Written().Equal(ahead) {
			t.Errorf("got %v and %v, want %v", s.Began(), s.Written(), ahead)
		}
	})
}

// A refused cookie is left alone until something is stored or cleared.
func TestRefusedCookieIsLeftAlone(t *testing.T) {
	const idle, lifetime = 14 * 24 * 3600, 90 * 24 * 3600
	m := managerOf(t, options{})
	for want, value := range map[sessions.Verdict]string{
		sessions.Malformed: "x",
		sessions.TooLarge:  strings.Repeat("x", 5000),
		sessions.UnknownKey: forge(t, hexB, false, m.CookieName(),
			payloadOf(t, 0, 0, fixed{Name: "Alice"})),
		sessions.Tampered:   flipped(aged(t, m, false, 0, 0)),
		sessions.Expired:    aged(t, m, false, idle+10, idle+10),
		sessions.TooOld:     aged(t, m, false, lifetime+10, 0),
		sessions.FromFuture: aged(t, m, false, -7200, -7200),
	} {
		b := &visits{t: t, m: m, cookie: value}
		if s := b.visit(sessions.Unchanged, named("")); s.Verdict() != want || b.cookie != value {
			t.Errorf("got %v and %q, want %v", s.Verdict(), b.cookie, want)
		}
		b.visit(sessions.Unchanged, renew)
		s := b.visit(sessions.Changed, named("Alice")) // also if it says the same
		if time.Since(s.Began()) > time.Minute || valueOf(m, b.cookie).Data.Name != "Alice" {
			t.Errorf("%v: got a session that began %v", want, s.Began())
		}
		b.cookie = value
		if b.visit(sessions.Cleared, clears); b.cookie != "" {
			t.Errorf("%v: got the cookie kept after Clear", want)
		}
	}
}

// A good session whose time hasn't come is not replaced, unless it is cleared.
func TestTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(t, options{})
		for ahead, want := range map[int64]error{
			61: sessions.ErrTryAgain, 3600: sessions.ErrTryAgain, 3601: nil,
		} {
			value := aged(t, m, false, -ahead, -ahead)
			s := m.Load(comes(m, value))
			s.Data.Name = "Bob"
			after, _, err := saveOf(t, m, s, value)
			if !errors.Is(err, want) || (after == value) != (want != nil) {
				t.Errorf("%d seconds ahead: got %v, want %v", ahead, err, want)
			}
			b := &visits{t: t, m: m, cookie: value}
			b.visit(sessions.Changed, func(s *session) { s.Clear(); named("Bob")(s) })
			b = &visits{t: t, m: m, cookie: value}
			b.visit(sessions.Unchanged, nothing)
			b.visit(sessions.Cleared, clears)
		}
	})
}

func TestRotation(t *testing.T) {
	ring := ringOf(t, hexA)
	m, err := sessions.New(ring, options{})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(digits ...string) string {
		t.Helper()
		keys := ringOf(t, digits...).Keys()
		if err := ring.Replace(keys[0], keys[1:]...); err != nil {
			t.Fatal(err)
		}
		id, _ := keys[0].IDs()
		return id
	}
	b := &visits{t: t, m: m}
	b.visit(sessions.Changed, named("Alice"))
	first := b.cookie
	id := replace(hexB, hexA)
	if b.visit(sessions.Resealed, nothing); b.cookie[:6] != id {
		t.Errorf("got key id %s, want %s", b.cookie[:6], id)
	}
	b.visit(sessions.Unchanged, func(s *session) {
		replace(hexB, hexC, hexA) // the keys may be read again between load and save
	})
	b.visit(sessions.Resealed, func(s *session) { replace(hexC) })
	b.cookie = first
	s := b.visit(sessions.Unchanged, nothing)
	if c := s.Cookie(); c.Verdict != sessions.UnknownKey || c.KeyID != first[:6] || c.Encrypted {
		t.Errorf("got %v, %q and %v for a key that was dropped", c.Verdict, c.KeyID, c.Encrypted)
	}
	replace(hexC, hexA)
	b.visit(sessions.Resealed, nothing)
	// A switch of the mode is a rotation, too.
	b.m, err = sessions.New(ring, options{SignOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	b.visit(sessions.Resealed, nothing)
	if b.visit(sessions.Unchanged, nothing).Cookie().Encrypted {
		t.Error("got an encrypted cookie after a switch to signing alone")
	}
}

// TooLargeError says by how many bytes, in every mode, and nothing is written.
func TestTooLarge(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(t, options{SignOnly: signOnly})
		fits := 0
		for n := 2000; n < 2400; n++ {
			s := m.Load(comes(m))
			s.Data.Name = strings.Repeat("x", n)
			value, why, err := saveOf(t, m, s, "")
			size := len(m.CookieName()) + len(forge(t, hexA, signOnly, m.CookieName(),
				payloadOf(t, 0, 0, s.Data)))
			if size <= sessions.MaxSize {
				if fits = size; err != nil || valueOf(m, value).Verdict() != sessions.Valid {
					t.Fatalf("%d bytes: got %v", size, err)
				}
				continue
			}
			var over *sessions.TooLargeError
			if !errors.As(err, &over) || over.Over != size-sessions.MaxSize ||
				why != sessions.Unchanged ||
				err.Error() != fmt.Sprintf("sessions: the session is %d bytes too large "+
					"for a cookie of 4096", over.Over) {
				t.Fatalf("%d bytes: got %v", size, err)
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
	synctest.Test(t, func(t *testing.T) {
		signed := managerOf(t, options{SignOnly: true})
		value := ""
		for n := 2400; value == ""; n-- {
			if c, err := signed.Seal(fixed{Name: strings.Repeat("x", n)}); err == nil {
				value = c.Value
			}
		}
		b := &visits{t: t, m: managerOf(t, options{}), cookie: value}
		b.visit(sessions.Unchanged, nothing) // would be re-sealed
		b.visit(sessions.Changed, func(s *session) { s.Data.Name = s.Data.Name[100:] })
		b.m, b.cookie = signed, value
		time.Sleep(4 * day)
		b.visit(sessions.Unchanged, nothing) // would be renewed, with a longer time
	})
}

// Renew begins the session anew with the same data.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &visits{t: t, m: managerOf(t, options{})}
		b.visit(sessions.Unchanged, renew)
		b.visit(sessions.Changed, func(s *session) { renew(s); named("Alice")(s) })
		time.Sleep(time.Minute)
		first := b.cookie
		s := b.visit(sessions.Changed, renew)
		if time.Since(s.Began()) != 0 || s.Data.Name != "Alice" ||
			time.Since(valueOf(b.m, b.cookie).Began()) != 0 {
			t.Errorf("got a session that began %v ago", time.Since(s.Began()))
		}
		b.cookie = first
		s = b.visit(sessions.Unchanged, func(s *session) { s.Renew(); s.Undo() })
		if time.Since(s.Began()) != time.Minute {
			t.Errorf("got a session that began %v ago after Undo", time.Since(s.Began()))
		}
	})
	// What this program doesn't know stays.
	old, next := managerOf(t, sessions.Options[older]{}), managerOf(t, sessions.Options[newer]{})
	value := begun(t, next, newer{Theme: "dark"})
	s := old.Load(comes(old, value))
	s.Renew()
	value, why, err := saveOf(t, old, s, value)
	if got := look(t, next, value); why != sessions.Changed || err != nil || got.Theme != "dark" {
		t.Errorf("got %v, %v and %+v", why, err, got)
	}
}

func TestClearAndUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &visits{t: t, m: managerOf(t, options{})}
		b.visit(sessions.Changed, named("Alice"))
		first := b.cookie
		time.Sleep(time.Minute)
		s := b.visit(sessions.Cleared, clears)
		if !s.Began().IsZero() || !s.Written().IsZero() || !s.Ends().IsZero() ||
			s.Limits() != (sessions.Limits{}) {
			t.Errorf("got %v, %v and %v of no session", s.Began(), s.Written(), s.Ends())
		}
		b.cookie = first
		s = b.visit(sessions.Changed, func(s *session) { s.Clear(); named("Alice")(s) })
		if time.Since(s.Began()) != 0 {
			t.Error("got a session that goes on after Clear")
		}
		b.cookie = first
		s = b.visit(sessions.Unchanged, func(s *session) {
			s.Clear()
			s.Data.Name = "Bob"
			s.Undo()
		})
		if s.Data.Name != "Alice" || s.Limits().Idle != 14*day {
			t.Errorf("got %+v and %v after Undo", s.Data, s.Limits())
		}
		// A new session is empty again, and one made by hand is new.
		s = &session{Data: fixed{Name: "Bob"}}
		if s.Verdict() != sessions.None || !s.Began().IsZero() {
			t.Errorf("got %v for a new session", s.Verdict())
		}
		if value, why, err := saveOf(t, b.m, s, ""); why != sessions.Changed || err != nil ||
			valueOf(b.m, value).Data.Name != "Bob" || time.Since(s.Began()) != 0 {
			t.Errorf("got %v and %v for a session made by hand", why, err)
		}
		if s.Undo(); s.Data.Name != "" {
			t.Errorf("got %+v after Undo", s.Data)
		}
	})
}

// A second Save replaces the first one's cookie, or takes it back.
func TestSecondSave(t *testing.T) {
	m := managerOf(t, options{})
	s := m.Load(comes(m))
	w := httptest.NewRecorder()
	http.SetCookie(w, &http.Cookie{Name: "other", Value: "x"})
	for _, tt := range []struct {
		name string
		want sessions.Reason
		ours int
		same bool // as before, to the letter
	}{
		{"Alice", sessions.Changed, 1, false}, {"Alice", sessions.Changed, 1, true},
		{"Bob", sessions.Changed, 1, false}, {"\xff", sessions.Unchanged, 0, false},
		{"Bob", sessions.Changed, 1, false}, {"", sessions.Unchanged, 0, false},
		{"", sessions.Unchanged, 0, true}, {"Carol", sessions.Changed, 1, false},
	} {
		before := slices.Clone(w.Header()["Set-Cookie"])
		named(tt.name)(s)
		saved, err := m.Save(w, s)
		lines := w.Header()["Set-Cookie"]
		if saved.Reason != tt.want || (err != nil) != (tt.name == "\xff") ||
			len(lines) != tt.ours+1 || !strings.HasPrefix(lines[0], "other=") ||
			s.Began().IsZero() != (tt.ours == 0) {
			t.Errorf("%q: got %v, %v and %q", tt.name, saved, err, lines)
		}
		if slices.Equal(before, lines) != tt.same {
			t.Errorf("%q: got the lines %q, then %q", tt.name, before, lines)
		}
	}
	// What somebody else has deleted is written again.
	w.Header().Del("Set-Cookie")
	if saved, err := m.Save(w, s); saved.Reason != sessions.Changed || err != nil ||
		len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("got %v, %v and %v", saved, err, w.Header())
	}
	// A session that went on goes on after it was changed back.
	value := aged(t, m, false, 100, 100)
	s, w = m.Load(comes(m, value)), httptest.NewRecorder()
	began := s.Began()
	s.Renew()
	m.Save(w, s)
	s.Undo()
	if saved, err := m.Save(w, s); saved.Reason != sessions.Unchanged || err != nil ||
		w.Header()["Set-Cookie"] != nil || !s.Began().Equal(began) || s.Limits().Idle != 14*day {
		t.Errorf("got %v, %v, %v and a session that began at %v", saved, err, w.Header(), s.Began())
	}
}

// Save without Handler says what caches must know.
func TestSaveForCaches(t *testing.T) {
	m := managerOf(t, options{})
	for _, tt := range []struct{ vary, control, wantVary, wantControl string }{
		{"", "", "Cookie", "no-store"},
		{"Accept", "max-age=60", "Accept, Cookie", "no-store"},
		{"Accept, cookie", "private, max-age=60", "Accept, cookie", "private, max-age=60"},
		{"*", `Private="X"`, "*", `Private="X"`},
		{"Cookies", "no-store", "Cookies, Cookie", "no-store"},
		{"", "public", "Cookie", "no-store"},
	} {
		for _, name := range []string{"Alice", ""} {
			w := httptest.NewRecorder()
			if tt.vary != "" {
				w.Header().Set("Vary", tt.vary)
			}
			if tt.control != "" {
				w.Header().Set("Cache-Control", tt.control)
			}
			s := m.Load(comes(m))
			s.Data.Name = name
			if _, err := m.Save(w, s); err != nil {
				t.Fatal(err)
			}
			want := tt.wantControl
			if name == "" { // nothing is written
				want = tt.control
			}
			vary := strings.Join(w.Header()["Vary"], "|")
			if got := w.Header().Get("Cache-Control"); vary != tt.wantVary || got != want {
				t.Errorf("%+v: got %q and %q, want %q", tt, vary, got, want)
			}
		}
	}
}

// Without Handler each Save is told.
func TestSaveIsObserved(t *testing.T) {
	var got []string
	m := managerOf(t, options{Observe: func(r *http.Request, e sessions.Event) {
		got = append(got, fmt.Sprintln(
			r != nil, e.Cookie.Verdict, e.Saved.Reason, e.Err != nil, e.Step))
	}})
	for _, s := range []*session{m.Load(comes(m)), {}, m.Load(comes(m, "x"))} {
		s.Data.Name = "Alice"
		m.Save(httptest.NewRecorder(), s)
		s.Data.Name = "\xff"
		m.Save(httptest.NewRecorder(), s)
	}
	want := []string{
		"true none changed false \n", "true none unchanged true \n",
		"false none changed false \n", "false none unchanged true \n",
		"true malformed changed false \n", "true malformed unchanged true \n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
