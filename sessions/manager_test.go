package sessions_test

import (
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

func TestNewRefusesOptions(t *testing.T) {
	limits := func(idle, lifetime time.Duration) sessions.Limits {
		return sessions.Limits{Idle: idle, Lifetime: lifetime}
	}
	const bind = 10 * time.Minute
	for says, bad := range map[string][]options{ // how the error begins
		"SameSite": {{SameSite: http.SameSiteNoneMode, Insecure: true}, {SameSite: 5},
			{SameSite: -1}},
		"Partitioned ": {{Partitioned: true, Insecure: true}},
		"Path ": {{Path: "shop"}, {Path: "/a;b"}, {Path: "/a?b"}, {Path: "//"}, {Path: "/a/../b"},
			{Path: "/%61"}},
		"Domain ":        {{Domain: "example.com."}},
		"Domain or Path": {{Domain: "a b"}, {Domain: "http://a"}},
		"Idle ": {{Limits: limits(time.Second-1, 0)}, {Limits: limits(-time.Hour, 0)},
			{Limits: limits(400*day+1, 0)}},
		"Lifetime ": {{Limits: limits(0, time.Second-1)}, {Limits: limits(0, 400*day+1)}},
		"Bind ": {{Bind: time.Second - 1}, {Bind: -bind}, {Bind: bind, Insecure: true},
			{Bind: bind, Domain: "example.com"}, {Bind: bind, Limits: limits(bind-1, 0)},
			{Bind: bind, Limits: limits(0, bind-1)}},
		"BindPath ": {{Bind: bind, BindPath: "bind"}, {Bind: bind, BindPath: "/"},
			{Bind: bind, BindPath: "/a b"}, {Bind: bind, BindPath: `/a"b`},
			{Bind: bind, BindPath: "//evil.example/x"}, {Bind: bind, BindPath: "/%41"},
			{Bind: bind, BindPath: "/shopping", Path: "/shop"}},
		"Assets ": {{Bind: bind, Assets: []string{"/a", "b"}},
			{Bind: bind, Assets: []string{"/ä"}}, {Bind: bind, Assets: []string{"/a?b"}},
			{Bind: bind, Assets: []string{"/a\x7f"}}},
		"Forget: sessions_test.fixed has the field": {{Forget: []string{"Old", "Name"}}},
		"Name ": {{Name: "a b"}, {Name: "ä"}, {Name: "__a"}, {Name: "_"}, {Name: "-a"},
			{Name: "$a"}, {Name: "a\n"}, {Name: hexA + "a"}, {Name: "hTTP-a"}, {Name: "HOST-a"}},
	} {
		for _, o := range bad {
			_, err := sessions.New(ringOf(hexA), o)
			if got := fmt.Sprint(err); !strings.HasPrefix(got, "sessions: "+says) ||
				strings.Contains(got, hexA) {
				t.Errorf("%+v: got %v, want %q", o, err, says)
			}
		}
	}
	for _, o := range []options{
		{Name: "_a.B-c_9"}, {Name: strings.Repeat("a", 64)}, {Name: "Hosts"},
		{Limits: limits(time.Second, 400*day)}, {Limits: limits(400*day, time.Second)},
		{SameSite: http.SameSiteNoneMode, Domain: "example.com"}, {Domain: ".example.com"},
		{Bind: time.Second, Limits: limits(time.Second, time.Second)}, {BindPath: "without Bind"},
		{Bind: bind, Path: "/shop", Assets: []string{"/a.css", "/~/"}},
		{Bind: bind, Path: "/shop/", BindPath: "/shop/bind"}, {Forget: []string{"name", "Nome"}},
	} {
		if _, err := sessions.New(ringOf(hexA), o); err != nil {
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
	inner    struct{ Secret any }
	numbered struct{ ID int }
	Marked   struct{ ID string }
	hidden   struct{ Shown string }
	Looped   struct {
		*Looped
		Name string
	}
)

// A type whose sessions could not be read back is refused, with the field's name.
func TestNewRefusesTypes(t *testing.T) {
	for says, errs := range map[string][]error{
		"must be a struct, not string": {madeOf[string]()},
		"must be a struct":             {madeOf[map[string]int](), madeOf[*fixed](), madeOf[any]()},
		".Any is an interface": {madeOf[struct{ Any any }](), madeOf[struct {
			Any any `json:"any"`
		}]()},
		".List is an interface":        {madeOf[struct{ List []error }]()},
		".Map is an interface":         {madeOf[struct{ Map map[string]any }]()},
		".Map's keys is an interface":  {madeOf[struct{ Map map[any]string }]()},
		".Deep.Secret is an interface": {madeOf[struct{ Deep []map[int]*[2]inner }]()},
		".Done is a chan":              {madeOf[struct{ Done chan int }]()},
		".Do is a func":                {madeOf[struct{ Do func() }]()},
		".Z is a complex128":           {madeOf[struct{ Z complex128 }]()},
		".P is a uintptr":              {madeOf[struct{ P uintptr }]()},
		"name string }.name is not":    {madeOf[struct{ name string }]()},
		".In.name is not exported":     {madeOf[struct{ In struct{ name string } }]()},
		".hidden is not exported":      {madeOf[struct{ *hidden }]()},
		".name is not exported": {madeOf[struct {
			name string `cbor:"name"`
		}]()},
		// What marshals itself, embedded, stands for the whole struct.
		".Time is embedded": {madeOf[struct {
			time.Time
			Name string
		}]()},
		"can't be both written and read": {madeOf[struct{ Key sessions.Key }]()},
		".Big is a big.Int":              {madeOf[struct{ Big *big.Int }]()},
		"two fields called ID": {
			madeOf[struct {
				A int `cbor:"ID"`
				B int `json:"ID,omitempty"`
			}](),
			madeOf[struct {
				numbered
				*Marked
			}](), madeOf[struct {
				numbered
				ID string
			}](), madeOf[struct {
				List []struct {
					A, ID int `cbor:"ID"`
				}
			}]()},
		"Forget": {madeOf[kinds]("Embedded"), madeOf[kinds]("n")},
		"": {madeOf[kinds]("Named", "1"), madeOf[tree](), madeOf[time.Time](), madeOf[struct{}](),
			madeOf[struct{ time.Time }](), madeOf[Looped](),
			madeOf[struct {
				numbered
				Int int `cbor:"numbered"`
			}](),
			madeOf[struct {
				hidden
				_ int
			}](), madeOf[struct {
				cache any      `cbor:"-"`
				Done  chan int `json:"-"`
			}]()},
	} {
		for _, err := range errs {
			if got := fmt.Sprint(err); (says == "") != (err == nil) ||
				!strings.Contains(got, says) ||
				err != nil && !strings.HasPrefix(got, "sessions: ") {
				t.Errorf("got %v, want one with %q", err, says)
			}
		}
	}
}

// madeOf returns the error of New for a type of session, some fields of which to forget.
func madeOf[T any](forget ...string) error {
	_, err := sessions.New(ringOf(hexA), sessions.Options[T]{Forget: forget})
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
		m := managerOf(sessions.Options[login]{
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
			c := made(m.Seal(login{User: "Alice", Wanted: wanted}))
			s := m.Open(c)
			if l := s.Limits(); c.MaxAge != 0 || !l.BrowserSession || l.Idle != want[0] ||
				l.Lifetime != want[1] || s.Ends() != time.Now().Add(want[0]).UTC() {
				t.Errorf("%v: got Max-Age %d and %+v, want %v", wanted, c.MaxAge, l, want)
			}
			time.Sleep(want[0] + time.Second)
			if v := m.Open(c).Verdict(); v != sessions.Expired && v != sessions.TooOld {
				t.Errorf("%v: got %v", wanted, v)
			}
		}
		// Who ticks the box keeps the session for longer, and the other way round.
		b := &visits[login]{t: t, m: m, cookie: begun(t, m, login{User: "Alice"})}
		time.Sleep(30 * time.Minute)
		s := b.visit(sessions.Changed, func(s *sessions.Session[login]) { s.Data.Remember = true })
		if s.Limits() != (sessions.Limits{Idle: 30 * day, Lifetime: 100 * day}) {
			t.Errorf("got %v", s.Limits())
		}
		time.Sleep(20 * day)
		b.visit(sessions.Changed, func(s *sessions.Session[login]) {
			s.Data.Remember = false
			s.Renew()
		})
		if got := look(t, m, b.cookie); got.User != "Alice" || got.Remember {
			t.Errorf("got %+v for a session whose limits were shortened", got)
		}
	})
}

// Accept is asked once for each load, about the cookie that counts.
func TestAccept(t *testing.T) {
	asked, accepts := 0, true
	m := managerOf(options{
		Accept: func(r *http.Request, s *session) bool {
			if asked++; r == nil || s.Data.Name != "Alice" || s.Verdict() != sessions.Valid {
				t.Errorf("got asked about %+v", s.Data)
			}
			return accepts
		},
	})
	good := aged(m, 5, 5)
	bob := forge(hexA, false, m.CookieName(), payloadOf(9, 9, fixed{Name: "Bob"}))
	for _, values := range [][]string{{}, {"x"}, {flipped(good)}} {
		m.Load(comes(m, values...))
	}
	if s := m.Load(comes(m, bob, good)); asked != 1 || s.Data.Name != "Alice" {
		t.Errorf("got asked %d times, want once", asked)
	}
	accepts = false
	b := &visits[fixed]{t: t, m: m, cookie: good}
	s := b.visit(sessions.Unchanged, (*session).Undo)
	if c := s.Cookie(); c.Verdict != sessions.Revoked || c.Passed != 10 || s.Data.Name != "" ||
		s.Began().IsZero() {
		t.Errorf("got %v after %d checks and %+v, want revoked", c.Verdict, c.Passed, s.Data)
	}
	b.visit(sessions.Changed, named("Bob"))
	open := valueOf(m, good).Verdict()
	if ago(valueOf(m, b.cookie))[0] > 4 || open != sessions.Valid || asked != 3 {
		t.Errorf("got asked %d times, want Open to ask nobody, and a new session", asked)
	}
	m = managerOf(options{Accept: func(*http.Request, *session) bool { panic("it is down") }})
	defer func() {
		if recover() == nil {
			t.Error("got no panic of Accept's")
		}
	}()
	m.Load(comes(m, good))
}

// lines returns the Set-Cookie lines of saving s, without the values.
func lines(m *manager, s *session) (got string, why sessions.Reason) {
	w := httptest.NewRecorder()
	saved := made(m.Save(w, s))
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
	m := managerOf(options{
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
	good := aged(m, 0, 0)
	comes := func(sid string, values ...string) *session {
		r := comes(m, values...)
		if sid != "" {
			r.AddCookie(&http.Cookie{Name: "sid", Value: sid})
		}
		asked = 0
		return m.Load(r)
	}
	clear := (*session).Clear
	undone := func(s *session) { s.Clear(); s.Undo() }
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
		{"adopted and renewed", "Ada", "", (*session).Renew, "Ada", sets + deletes,
			sessions.Changed, 1},
		{"adopted and cleared", "Ada", "", clear, "", clears + deletes, sessions.Cleared, 1},
		{"adopted and undone", "Ada", "", undone, "Ada", sets + deletes, sessions.Changed, 1},
		{"ours", "Ada", good, nothing, "Alice", "", sessions.Unchanged, 0},
		{"ours, changed", "Ada", good, named("Bob"), "Bob", sets, sessions.Changed, 0},
		{"ours, renewed", "Ada", good, (*session).Renew, "Alice", sets + deletes,
			sessions.Changed, 1},
		{"ours, cleared", "Ada", good, clear, "", clears + deletes, sessions.Cleared, 1},
		{"ours, cleared, no other", "", good, clear, "", clears, sessions.Cleared, 1},
		{"refused", "Ada", "x", nothing, "", "", sessions.Unchanged, 0},
		{"refused and cleared", "Ada", "x", clear, "", clears + deletes, sessions.Cleared, 1},
	} {
		values := []string{tt.value}
		if tt.value == "" {
			values = nil
		}
		s := comes(tt.sid, values...)
		tt.do(s)
		got, why := lines(m, s)
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
		if got, why := lines(m, s); got != sets || why != sessions.Changed {
			t.Errorf("got %v and %q, want %q", why, got, sets)
		}
	}
}

// A cookie is renamed, and a site goes to HTTPS, without logging anybody out.
func TestAdoptFromOtherOptions(t *testing.T) {
	before := managerOf(options{Insecure: true, Name: "sid"})
	m := managerOf(options{
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
		lines, why := lines(m, s)
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
	m = managerOf(options{
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
	m := managerOf(options{})
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
	bound := forge(hexA, false, m.CookieName(), payloadOf(0, 0, fixed{Name: "Alice"},
		append([]byte{2}, hexA[:32]...)...))
	m = managerOf(options{Bind: 10 * time.Minute})
	s := m.Load(comes(m, bound))
	if open := valueOf(m, bound).Cookie(); open.Verdict != sessions.Valid || !open.Bound ||
		s.Verdict() != sessions.Unproven || s.Cookie().Passed != 9 {
		t.Errorf("got %v and %v of a bound session without a ticket", open, s)
	}
}
