package sessions_test

import (
	"cookiesession/sessions"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewRefusesOptions(t *testing.T) {
	limits := func(idle, lifetime time.Duration) sessions.Limits {
		return sessions.Limits{Idle: idle, Lifetime: lifetime}
	}
	const bind = 10 * time.Minute
	for _, tt := range []struct {
		o    options
		says string // how the error begins
	}{
		{options{SameSite: http.SameSiteNoneMode, Insecure: true}, "SameSite"},
		{options{SameSite: 5}, "SameSite"}, {options{SameSite: -1}, "SameSite"},
		{options{Partitioned: true, Insecure: true}, "Partitioned "},
		{options{Path: "shop"}, "Path "}, {options{Path: "/a;b"}, "Domain or Path"},
		{options{Domain: "a b"}, "Domain"}, {options{Domain: "http://a"}, "Domain"},
		{options{Limits: limits(time.Second-1, 0)}, "Idle "},
		{options{Limits: limits(-time.Hour, 0)}, "Idle "},
		{options{Limits: limits(400*day+1, 0)}, "Idle "},
		{options{Limits: limits(0, time.Second-1)}, "Lifetime "},
		{options{Limits: limits(0, 400*day+1)}, "Lifetime "},
		{options{Bind: time.Second - 1}, "Bind "}, {options{Bind: -bind}, "Bind "},
		{options{Bind: bind, Insecure: true}, "Bind "},
		{options{Bind: bind, Domain: "example.com"}, "Bind "},
		{options{Bind: bind, Limits: limits(bind-1, 0)}, "Bind "},
		{options{Bind: bind, Limits: limits(0, bind-1)}, "Bind "},
		{options{Bind: bind, BindPath: "bind"}, "BindPath "},
		{options{Bind: bind, BindPath: "/"}, "BindPath "},
		{options{Bind: bind, BindPath: "/a b"}, "BindPath "},
		{options{Bind: bind, BindPath: `/a"b`}, "BindPath "},
		{options{Bind: bind, BindPath: "/shopping", Path: "/shop"}, "BindPath "},
		{options{Bind: bind, Assets: []string{"/a", "b"}}, "Assets "},
		{options{Bind: bind, Assets: []string{"/ä"}}, "Assets "},
		{options{Bind: bind, Assets: []string{"/a?b"}}, "Assets "},
		{options{Forget: []string{"Old", "Name"}}, "Forget: sessions_test.fixed has the field"},
	} {
		_, err := sessions.New(ringOf(t, hexA), tt.o)
		if err == nil || !strings.HasPrefix(err.Error(), "sessions: "+tt.says) ||
			strings.Contains(err.Error(), hexA) {
			t.Errorf("%+v: got %v, want %q", tt.o, err, tt.says)
		}
	}
	for _, name := range []string{
		"a b", "a;b", "ä", "__a", "_", "-a", "$a", "a\n", hexA + "a", "Http-a", "hTTP-a", "HOST-a",
	} {
		_, err := sessions.New(ringOf(t, hexA), options{Name: name})
		if err == nil || !strings.HasPrefix(err.Error(), "sessions: Name ") ||
			strings.Contains(err.Error(), hexA) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	for _, o := range []options{
		{Name: "_a.B-c_9"}, {Name: strings.Repeat("a", 64)}, {Name: "Hosts"},
		{Limits: limits(time.Second, 400*day)}, {Limits: limits(400*day, time.Second)},
		{SameSite: http.SameSiteNoneMode, Domain: "example.com"}, {Domain: ".example.com"},
		{Bind: time.Second, Limits: limits(time.Second, time.Second)}, {BindPath: "without Bind"},
		{Bind: bind, Path: "/shop", Assets: []string{"/a.css", "/img/"}},
		{Bind: bind, Path: "/shop/", BindPath: "/shop/bind"}, {Forget: []string{"name", "Nome"}},
	} {
		if _, err := sessions.New(ringOf(t, hexA), o); err != nil {
			t.Errorf("%+v: got %v", o, err)
		}
	}
	for _, ring := range []*sessions.Keyring{nil, {}} {
		if _, err := sessions.New(ring, options{}); err == nil ||
			!strings.HasPrefix(err.Error(), "sessions: there are no keys") {
			t.Errorf("got %v without keys", err)
		}
	}
}

type (
	tree struct {
		Name     string
		Children []tree
		Up       *tree
		ByName   map[string]*tree
	}
	unexported struct{ name string }
	inner      struct{ Secret any }
	hidden     struct{ Shown string }
)

// A type whose sessions could not be read back is refused, with the field's name.
func TestNewRefusesTypes(t *testing.T) {
	refuse := func(err error, says string) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "sessions: ") ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want one with %q", err, says)
		}
	}
	refuse(madeOf[string](t), "must be a struct, not string")
	refuse(madeOf[map[string]string](t), "must be a struct")
	refuse(madeOf[*fixed](t), "must be a struct")
	refuse(madeOf[any](t), "must be a struct")
	refuse(madeOf[struct{ Any any }](t), ".Any is an interface")
	refuse(madeOf[struct{ Err error }](t), ".Err is an interface")
	refuse(madeOf[struct{ List []any }](t), ".List is an interface")
	refuse(madeOf[struct{ Map map[string]any }](t), ".Map is an interface")
	refuse(madeOf[struct{ Map map[any]string }](t), ".Map's keys is an interface")
	refuse(madeOf[struct{ Deep []map[int]*[2]inner }](t), ".Deep.Secret is an interface")
	refuse(madeOf[struct{ Done chan int }](t), ".Done is a chan")
	refuse(madeOf[struct{ Do func() }](t), ".Do is a func")
	refuse(madeOf[struct{ Z complex128 }](t), ".Z is a complex128")
	refuse(madeOf[struct{ P uintptr }](t), ".P is a uintptr")
	refuse(madeOf[unexported](t), "sessions_test.unexported.name is not exported")
	refuse(madeOf[struct{ In struct{ name string } }](t), ".In.name is not exported")
	refuse(madeOf[struct{ *hidden }](t), ".hidden is not exported")
	refuse(madeOf[struct {
		name string `cbor:"name"`
	}](t), ".name is not exported")
	refuse(madeOf[struct {
		Any any `json:"any"`
	}](t), ".Any is an interface")

	for _, err := range []error{
		madeOf[kinds](t), madeOf[tree](t), madeOf[time.Time](t), madeOf[struct{}](t),
		madeOf[struct {
			hidden
			_ int
		}](t),
		madeOf[struct {
			cache any      `cbor:"-"`
			Done  chan int `json:"-"`
		}](t),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	_, err := sessions.New(ringOf(t, hexA), sessions.Options[kinds]{Forget: []string{"Embedded"}})
	refuse(err, "Forget")
	_, err = sessions.New(ringOf(t, hexA), sessions.Options[kinds]{Forget: []string{"n"}})
	refuse(err, "Forget")
	_, err = sessions.New(ringOf(t, hexA), sessions.Options[kinds]{Forget: []string{"Named", "1"}})
	if err != nil {
		t.Error(err)
	}
}

// madeOf returns the error of New for a type of session.
func madeOf[T any](t *testing.T) error {
	_, err := sessions.New(ringOf(t, hexA), sessions.Options[T]{})
	return err
}

// LimitsFor gives each session its own limits: "remember me".
func TestLimitsFor(t *testing.T) {
	type login struct {
		User     string
		Remember bool
		Wanted   time.Duration
	}
	synctest.Test(t, func(t *testing.T) {
		m := managerOf(t, sessions.Options[login]{
			Limits: sessions.Limits{
				Idle: time.Hour, Lifetime: 10 * time.Hour, BrowserSession: true,
			},
			LimitsFor: func(l *login) sessions.Limits {
				if l.Remember {
					return sessions.Limits{Idle: 30 * day, Lifetime: 100 * day}
				}
				return sessions.Limits{Idle: l.Wanted, Lifetime: l.Wanted, BrowserSession: true}
			},
		})
		for wanted, want := range map[time.Duration][2]time.Duration{
			0: {time.Hour, 10 * time.Hour}, time.Minute: {time.Minute, time.Minute},
			1: {time.Second, time.Second}, -time.Hour: {time.Second, time.Second},
			401 * day: {400 * day, 400 * day},
		} {
			c, err := m.Seal(login{User: "Alice", Wanted: wanted})
			if err != nil {
				t.Fatal(err)
			}
			s := m.Open(c)
			if l := s.Limits(); c.MaxAge != 0 || !l.BrowserSession || l.Idle != want[0] ||
				l.Lifetime != want[1] || s.Ends() != time.Now().Add(want[0]).UTC() {
				t.Errorf("%v: got Max-Age %d and %+v, want %v", wanted, c.MaxAge, l, want)
			}
			time.Sleep(want[0] + time.Second)
			if s := m.Open(c); s.Verdict() != sessions.Expired && s.Verdict() != sessions.TooOld {
				t.Errorf("%v: got %v", wanted, s.Verdict())
			}
		}
		// Who ticks the box keeps the session for longer, and the other way round.
		value := begun(t, m, login{User: "Alice"})
		time.Sleep(30 * time.Minute)
		w := httptest.NewRecorder()
		s := m.Load(comes(m, value))
		s.Data.Remember = true
		m.Save(w, s)
		c := w.Result().Cookies()[0]
		if want := 100*day - 30*time.Minute; c.MaxAge != int(want.Seconds()) ||
			s.Limits().Idle != 30*day {
			t.Errorf("got Max-Age %d and %v, want %v", c.MaxAge, s.Limits(), want)
		}
		time.Sleep(20 * day)
		if s = m.Open(c); s.Data.User != "Alice" {
			t.Errorf("got %v for a remembered session", s.Verdict())
		}
		s.Data.Remember = false
		s.Renew()
		value, _, err := saveOf(t, m, s, c.Value)
		if err != nil || look(t, m, value).User != "Alice" {
			t.Errorf("got %v for a session whose limits were shortened", err)
		}
	})
}

// Accept is asked once for each load, about the cookie that counts.
func TestAccept(t *testing.T) {
	asked, accepts := 0, true
	m := managerOf(t, options{
		Accept: func(r *http.Request, s *session) bool {
			if asked++; r == nil || s.Data.Name != "Alice" || s.Verdict() != sessions.Valid {
				t.Errorf("got asked about %+v", s.Data)
			}
			return accepts
		},
	})
	good := aged(t, m, false, 5, 5)
	bob := forge(t, hexA, false, m.CookieName(), payloadOf(t, 9, 9, fixed{Name: "Bob"}))
	for _, values := range [][]string{{}, {"x"}, {flipped(good)}} {
		m.Load(comes(m, values...))
	}
	if s := m.Load(comes(m, bob, good)); asked != 1 || s.Data.Name != "Alice" {
		t.Errorf("got asked %d times, want once", asked)
	}
	accepts = false
	s := m.Load(comes(m, good))
	if c := s.Cookie(); c.Verdict != sessions.Revoked || c.Passed != 10 || s.Data.Name != "" ||
		s.Began().IsZero() {
		t.Errorf("got %v after %d checks and %+v, want revoked", c.Verdict, c.Passed, s.Data)
	}
	if s.Undo(); s.Data.Name != "" {
		t.Errorf("got %+v after Undo", s.Data)
	}
	if after, why, err := saveOf(t, m, s, good); after != good || err != nil {
		t.Errorf("got %v and %v, want it left alone", why, err)
	}
	s.Data.Name = "Bob"
	if after, why, err := saveOf(t, m, s, good); why != sessions.Changed || err != nil ||
		time.Since(m.Open(&http.Cookie{Value: after}).Began()) > time.Minute {
		t.Errorf("got %v and %v, want a new session", why, err)
	}
	if m.Open(&http.Cookie{Value: good}).Verdict() != sessions.Valid || asked != 2 {
		t.Errorf("got asked %d times, want Open to ask nobody", asked)
	}
	m = managerOf(t, options{
		Accept: func(*http.Request, *session) bool { panic("it is down") },
	})
	defer func() {
		if recover() == nil {
			t.Error("got no panic of Accept's")
		}
	}()
	m.Load(comes(m, good))
}

// lines returns the Set-Cookie lines of saving s, without the values.
func lines[T any](t *testing.T, m *sessions.Manager[T], s *sessions.Session[T]) (
	got string, why sessions.Reason) {
	t.Helper()
	w := httptest.NewRecorder()
	saved, err := m.Save(w, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range w.Result().Cookies() {
		if c.Value != "" {
			c.Value = "V"
		}
		c.SameSite, c.HttpOnly = 0, false
		got += c.String() + "\n"
	}
	return got, saved.Reason
}

// Adopt takes over another library's session, once, and its cookie goes.
func TestAdopt(t *testing.T) { synctest.Test(t, testAdopt) }

func testAdopt(t *testing.T) {
	old := &http.Cookie{Name: "sid", Path: "/old", Domain: "example.com"}
	asked := 0
	m := managerOf(t, options{
		Insecure: true,
		Adopt: func(r *http.Request) (fixed, *http.Cookie, bool) {
			asked++
			c, err := r.Cookie("sid")
			if err != nil {
				return fixed{Name: "not to be seen"}, &http.Cookie{Name: "x"}, false
			}
			return fixed{Name: c.Value}, old, true
		},
	})
	const (
		deletes = "sid=; Path=/old; Domain=example.com; Max-Age=0\n"
		sets    = "session=V; Path=/; Max-Age=7776000\n"
		clears  = "session=; Path=/; Max-Age=0\n"
	)
	good := aged(t, m, false, 0, 0)
	comes := func(sid string, values ...string) *session {
		r := comes(m, values...)
		if sid != "" {
			r.AddCookie(&http.Cookie{Name: "sid", Value: sid})
		}
		asked = 0
		return m.Load(r)
	}
	for _, tt := range []struct {
		about, sid, value string
		do                func(*session)
		name              string // after do
		want              string
		why               sessions.Reason
		asked             int
	}{
		{"nothing at all", "", "", nothing, "", "", sessions.Unchanged, 1},
		{"adopted", "Ada", "", nothing, "Ada", sets + deletes, sessions.Changed, 1},
		{"adopted, changed", "Ada", "", named("Bob"), "Bob", sets + deletes, sessions.Changed, 1},
		{"adopted and renewed", "Ada", "", renew, "Ada", sets + deletes, sessions.Changed, 1},
		{"adopted and cleared", "Ada", "", (*session).Clear, "", clears + deletes,
			sessions.Cleared, 1},
		{"adopted, changed and undone", "Ada", "", func(s *session) {
			s.Clear()
			s.Undo()
		}, "Ada", sets + deletes, sessions.Changed, 1},
		{"ours", "Ada", good, nothing, "Alice", "", sessions.Unchanged, 0},
		{"ours, changed", "Ada", good, named("Bob"), "Bob", sets, sessions.Changed, 0},
		{"ours, renewed", "Ada", good, renew, "Alice", sets + deletes, sessions.Changed, 1},
		{"ours, cleared", "Ada", good, (*session).Clear, "", clears + deletes,
			sessions.Cleared, 1},
		{"ours, cleared, no other", "", good, (*session).Clear, "", clears,
			sessions.Cleared, 1},
		{"refused", "Ada", "x", nothing, "", "", sessions.Unchanged, 0},
		{"refused and cleared", "Ada", "x", (*session).Clear, "", clears + deletes,
			sessions.Cleared, 1},
	} {
		values := []string{tt.value}
		if tt.value == "" {
			values = nil
		}
		s := comes(tt.sid, values...)
		tt.do(s)
		got, why := lines(t, m, s)
		if got != tt.want || why != tt.why || asked != tt.asked || s.Data.Name != tt.name {
			t.Errorf("%s: got %v, %q, %+v and asked %d times, want %v and %q and %d",
				tt.about, why, got, s.Data, asked, tt.why, tt.want, tt.asked)
		}
	}
	// While copies of before still run, nothing of theirs is deleted.
	old = nil
	for _, value := range [][]string{{}, {good}} {
		s := comes("Ada", value...)
		s.Renew()
		if got, why := lines(t, m, s); got != sets || why != sessions.Changed {
			t.Errorf("got %v and %q, want %q", why, got, sets)
		}
	}
}

// A cookie is renamed, and a site goes to HTTPS, without logging anybody out.
func TestAdoptFromOtherOptions(t *testing.T) {
	before := managerOf(t, options{Insecure: true, Name: "sid"})
	m := managerOf(t, options{
		Adopt: func(r *http.Request) (fixed, *http.Cookie, bool) {
			s := before.Load(r)
			return s.Data, &http.Cookie{Name: before.CookieName()}, s.Verdict() == sessions.Valid
		},
	})
	good := begun(t, before, fixed{Name: "Alice"})
	for value, want := range map[string]string{good: "Alice", "x": ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "sid", Value: value})
		s := m.Load(r)
		lines, why := lines(t, m, s)
		wantLines, wantWhy := "", sessions.Unchanged
		if want != "" {
			wantWhy = sessions.Changed
			wantLines = "__Host-Http-session=V; Path=/; Max-Age=7776000; Secure\n" +
				"sid=; Path=/; Max-Age=0\n"
		}
		if s.Data.Name != want || lines != wantLines || why != wantWhy {
			t.Errorf("got %+v, %v and %q, want %q", s.Data, why, lines, want)
		}
	}
	// A prefix wants Secure and HttpOnly of the line that deletes, too.
	m = managerOf(t, options{
		Adopt: func(*http.Request) (fixed, *http.Cookie, bool) {
			return fixed{Name: "Ada"}, &http.Cookie{Name: "__Host-Http-sid", Path: "/"}, true
		},
	})
	w := httptest.NewRecorder()
	m.Save(w, m.Load(comes(m)))
	want := "__Host-Http-sid=; Path=/; Max-Age=0; HttpOnly; Secure"
	if got := w.Header()["Set-Cookie"]; len(got) != 2 || got[1] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Open judges one cookie's value alone.
func TestSealAndOpen(t *testing.T) {
	m := managerOf(t, options{})
	if s := m.Open(nil); s.Verdict() != sessions.None || !s.Ends().IsZero() {
		t.Errorf("got %v for no cookie", s.Verdict())
	}
	c, err := m.Seal(fixed{})
	if err != nil || c.Name != m.CookieName() || c.MaxAge != 90*24*3600 {
		t.Errorf("got %v and %v", c, err)
	}
	c.Name = "other"
	if s := m.Open(c); s.Verdict() != sessions.Valid || s.Data.Name != "" {
		t.Errorf("got %v for an empty session", s.Verdict())
	}
	bound := forge(t, hexA, false, m.CookieName(), payloadOf(t, 0, 0, fixed{Name: "Alice"},
		append([]byte{2}, hexA[:32]...)...))
	m = managerOf(t, options{Bind: 10 * time.Minute})
	if s := m.Open(&http.Cookie{Value: bound}); s.Verdict() != sessions.Valid || !s.Cookie().Bound {
		t.Errorf("got %v for a bound session without a ticket", s.Verdict())
	}
	s := m.Load(comes(m, bound))
	if s.Verdict() != sessions.Unproven || s.Cookie().Passed != 9 {
		t.Errorf("got %v after %d checks without a ticket", s.Verdict(), s.Cookie().Passed)
	}
	s.Data.Name = "Bob"
	if after, _, err := saveOf(t, m, s, bound); after != bound || err != sessions.ErrTryAgain {
		t.Errorf("got %v, want ErrTryAgain", err)
	}
}
