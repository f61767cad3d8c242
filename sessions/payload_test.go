package sessions_test

import (
	"cookiesession/sessions"
	"errors"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// saveOf saves s, and returns the value that the browser holds afterwards, when it held
// value before.
func saveOf[T any](t testing.TB, m *sessions.Manager[T], s *sessions.Session[T], value string) (
	string, sessions.Reason, error) {
	t.Helper()
	w := httptest.NewRecorder()
	saved, err := m.Save(w, s)
	cookies := w.Result().Cookies()
	if len(cookies) == 0 {
		if saved != (sessions.Saved{Reason: sessions.Unchanged}) {
			t.Fatalf("got %+v and no cookie", saved)
		}
		return value, saved.Reason, err
	}
	c, size := cookies[0], 0
	if c.Value != "" {
		size = len(c.Name + c.Value)
	}
	if len(cookies) > 1 || c.Name != m.CookieName() || err != nil || saved.Size != size ||
		(c.MaxAge < 0) != (c.Value == "") ||
		(c.Value == "") != (saved.Reason == sessions.Cleared) {
		t.Fatalf("got the cookies %v with %+v and error %v", cookies, saved, err)
	}
	return c.Value, saved.Reason, nil
}

// turn is a visit of a browser that holds value: do may change the session. It returns
// the value that the browser holds afterwards.
func turn[T any](t testing.TB, m *sessions.Manager[T], value string, do func(*T)) (
	string, sessions.Reason) {
	t.Helper()
	s := m.Load(comes(m))
	if value != "" {
		s = m.Load(comes(m, value))
		if s.Verdict() != sessions.Valid {
			t.Fatalf("got %v for a cookie that was set", s.Verdict())
		}
	}
	do(&s.Data)
	value, why, err := saveOf(t, m, s, value)
	if err != nil {
		t.Fatal(err)
	}
	return value, why
}

// look is a visit that changes nothing. It returns the data.
func look[T any](t testing.TB, m *sessions.Manager[T], value string) (data T) {
	t.Helper()
	after, why := turn(t, m, value, func(d *T) { data = *d })
	if why != sessions.Unchanged || after != value {
		t.Errorf("got %v for a visit that changed nothing", why)
	}
	return data
}

// begun returns the cookie of a visitor whose session has just begun.
func begun[T any](t testing.TB, m *sessions.Manager[T], data T) string {
	t.Helper()
	value, why := turn(t, m, "", func(d *T) { *d = data })
	if why != sessions.Changed || value == "" {
		t.Fatalf("got %v and the value %q for a new session", why, value)
	}
	return value
}

// notation returns v in CBOR's diagnostic notation, in which nothing makes a difference
// that makes none for a session.
func notation(t testing.TB, v any) string {
	t.Helper()
	options := cbor.CoreDetEncOptions()
	options.NilContainers, options.Time = cbor.NilContainerAsEmpty, cbor.TimeRFC3339NanoUTC
	mode, err := options.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	content, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cbor.Diagnose(content)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// place is a struct in a struct.
type place struct {
	City string
	Seen []time.Time
}

// Base is embedded, so its field counts as the outer one's.
type Base struct{ Embedded string }

// kinds has fields of every kind that a site may want to keep.
type kinds struct {
	Base
	Text    string
	Int     int
	Tiny    int8
	Byte    uint8
	Large   uint64
	Float   float64
	Short   float32
	Bool    bool
	Bytes   []byte
	Array   [4]byte
	Numbers [3]int
	Time    time.Time
	Length  time.Duration
	List    []string
	Lists   [][]int
	Map     map[string]int
	Years   map[int]string
	Grid    map[[2]int]string
	Place   place
	Home    *place
	Maybe   *bool
	Places  []place
	Friends []*place
	Visited map[string]place
	Address netip.Addr
	Flash   sessions.Flash
	Named   string `cbor:"n"`
	Number  int    `cbor:"1,keyasint"`
	JSON    string `json:"j,omitempty"`
}

// someKinds returns a session with something in each field.
func someKinds() kinds {
	when := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	return kinds{
		Base: Base{Embedded: "x"}, Text: "Žofia \x00\n\"", Int: math.MinInt, Tiny: -128, Byte: 255,
		Large: math.MaxUint64, Float: math.Pi, Short: math.SmallestNonzeroFloat32, Bool: true,
		Bytes: []byte{0, 255}, Array: [4]byte{1, 2, 3, 4}, Numbers: [3]int{1, 2, 3},
		Time: when, Length: time.Minute, List: []string{"", "a", "b"}, Lists: [][]int{{1}, {2, 3}},
		Map: map[string]int{"": 0, "a": 1, "b": -1}, Years: map[int]string{-44: "Caesar"},
		Grid:  map[[2]int]string{{1, 2}: "x", {3, 4}: "o"},
		Place: place{City: "Praha", Seen: []time.Time{when}}, Home: &place{City: "Brno"},
		Maybe: new(bool), Places: []place{{City: "Oslo"}, {City: "Rome"}},
		Friends: []*place{{City: "Bonn"}, nil}, Visited: map[string]place{"Graz": {City: "Graz"}},
		Address: netip.MustParseAddr("::1"), Flash: sessions.Flash{"Hello."},
		Named: "named", Number: 7, JSON: "json",
	}
}

func TestEveryKindOfFieldSurvives(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(t, sessions.Options[kinds]{SignOnly: signOnly})
		want := someKinds()
		all := reflect.ValueOf(want)
		for i := range all.NumField() {
			if all.Field(i).IsZero() {
				t.Errorf("the test has nothing in %s", all.Type().Field(i).Name)
			}
		}
		got := look(t, m, begun(t, m, want))
		// A slice that is empty may come back as nil or not.
		got.Home.Seen, got.Friends[0].Seen, got.Visited["Graz"] = nil, nil, place{City: "Graz"}
		for i := range got.Places {
			got.Places[i].Seen = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// A change is one of what is in the session, however deep.
func TestChangesAreFound(t *testing.T) {
	tests := []struct {
		name string
		do   func(*kinds)
		want sessions.Reason
	}{
		{"text", func(s *kinds) { s.Text += "x" }, sessions.Changed},
		{"the time, by a nanosecond", func(s *kinds) { s.Time = s.Time.Add(1) }, sessions.Changed},
		{"a float, by a bit", func(s *kinds) { s.Float = math.Nextafter(s.Float, 4) },
			sessions.Changed},
		{"an item", func(s *kinds) { s.List[1] = "x" }, sessions.Changed},
		{"one more item", func(s *kinds) { s.List = append(s.List, "") }, sessions.Changed},
		{"the order", func(s *kinds) { slices.Reverse(s.List) }, sessions.Changed},
		{"a byte", func(s *kinds) { s.Bytes[1]-- }, sessions.Changed},
		{"a new entry", func(s *kinds) { s.Map["c"] = 0 }, sessions.Changed},
		{"an entry less", func(s *kinds) { delete(s.Map, "") }, sessions.Changed},
		{"inside a struct", func(s *kinds) { s.Place.Seen[0] = time.Time{} }, sessions.Changed},
		{"behind a pointer", func(s *kinds) { s.Home.City = "Praha" }, sessions.Changed},
		{"a pointer, to nil", func(s *kinds) { s.Maybe = nil }, sessions.Changed},
		{"inside a map", func(s *kinds) { s.Visited["Graz"] = place{} }, sessions.Changed},
		{"an embedded field", func(s *kinds) { s.Embedded = "" }, sessions.Changed},
		{"a flash that is taken", func(s *kinds) { s.Flash.Take() }, sessions.Changed},

		{"nothing", func(s *kinds) {}, sessions.Unchanged},
		{"the same time elsewhere", func(s *kinds) {
			s.Time = s.Time.In(time.FixedZone("", 3600))
		}, sessions.Unchanged},
		{"there and back", func(s *kinds) { s.List[0] = "x"; s.List[0] = "" }, sessions.Unchanged},
		{"the same entries elsewhere", func(s *kinds) { s.Map = maps.Clone(s.Map) },
			sessions.Unchanged},
		{"another pointer to the same", func(s *kinds) { home := *s.Home; s.Home = &home },
			sessions.Unchanged},
		{"nil for an empty slice", func(s *kinds) { s.Home.Seen = nil }, sessions.Unchanged},
		{"an empty slice for nil", func(s *kinds) { s.Places[0].Seen = []time.Time{} },
			sessions.Unchanged},
	}
	m := managerOf(t, sessions.Options[kinds]{})
	value := begun(t, m, someKinds())
	for _, tt := range tests {
		want := look(t, m, value)
		tt.do(&want)
		after, why := turn(t, m, value, tt.do)
		if why != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, why, tt.want)
		}
		if got, want := notation(t, look(t, m, after)), notation(t, want); got != want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, want)
		}
	}
}

// An empty session is no cookie: neither a new one, nor one that is changed to nothing.
func TestEmptySessionIsNoCookie(t *testing.T) {
	m := managerOf(t, sessions.Options[kinds]{})
	value := begun(t, m, someKinds())
	for _, empty := range []kinds{
		{}, {List: []string{}, Bytes: []byte{}, Map: map[string]int{}, Time: time.Time{}.Local()},
	} {
		if value, why := turn(t, m, "", func(s *kinds) { *s = empty }); why != sessions.Unchanged ||
			value != "" {
			t.Errorf("got %v without a cookie, want it unchanged", why)
		}
		if _, why := turn(t, m, value, func(s *kinds) { *s = empty }); why != sessions.Cleared {
			t.Errorf("got %v, want it cleared", why)
		}
	}
	s := m.Load(comes(m))
	s.Clear()
	s.Renew()
	if _, why, err := saveOf(t, m, s, ""); why != sessions.Unchanged || err != nil {
		t.Errorf("cleared without a cookie: got %v and %v", why, err)
	}
}

// older and newer are the sessions of two versions of a site that have the same keys and
// serve the same visitors.
type (
	older struct {
		Name string
		Box  struct{ User string }
		Bag  struct{ Items []string } `cbor:",omitzero"`
	}
	newer struct {
		Name string
		Box  struct {
			User  string
			Admin bool
		}
		Bag struct {
			Items []string
			Gift  bool
		} `cbor:",omitzero"`
		Theme string
		Since time.Time
	}
)

// someNewer returns a session that the older version doesn't know all of.
func someNewer() newer {
	s := newer{Name: "Alice", Theme: "dark", Since: time.Unix(golden, 0).UTC()}
	s.Box.User, s.Box.Admin, s.Bag.Gift = "alice", true, true
	return s
}

// An older version keeps the fields that it doesn't know and those that it doesn't
// change, byte for byte. What it changes it writes as it knows it: nothing is merged
// inside a field.
func TestFieldsOfANewerVersion(t *testing.T) {
	tests := []struct {
		name string
		do   func(*older)
		want func(*newer)
	}{
		{"a field", func(s *older) { s.Name = "Bob" }, func(s *newer) { s.Name = "Bob" }},
		{"a field, to nothing", func(s *older) { s.Name = "" }, func(s *newer) { s.Name = "" }},
		{"inside a field",
			func(s *older) { s.Box.User = "bob" },
			func(s *newer) { s.Box.User, s.Box.Admin = "bob", false }},
		{"inside a field, to nothing",
			func(s *older) { s.Box.User = "" },
			func(s *newer) { s.Box.User, s.Box.Admin = "", false }},
		{"a field that it leaves out",
			func(s *older) { s.Bag.Items = []string{"tea"} },
			func(s *newer) { s.Bag.Items, s.Bag.Gift = []string{"tea"}, false }},
	}
	bothModes(t, func(t *testing.T, signOnly bool) {
		old := managerOf(t, sessions.Options[older]{SignOnly: signOnly})
		next := managerOf(t, sessions.Options[newer]{SignOnly: signOnly})
		value := begun(t, next, someNewer())
		look(t, old, value)
		for _, tt := range tests {
			after, why := turn(t, old, value, tt.do)
			if why != sessions.Changed {
				t.Errorf("%s: got %v, want changed", tt.name, why)
			}
			want := someNewer()
			tt.want(&want)
			if got, want := notation(t, look(t, next, after)), notation(t, want); got != want {
				t.Errorf("%s: got  %s\nwant %s", tt.name, got, want)
			}
		}
		// All that it knows to nothing ends the session; only what it doesn't know stays.
		if _, why := turn(t, old, value, func(s *older) { *s = older{} }); why != sessions.Cleared {
			t.Errorf("got %v for a change to all zero, want it cleared", why)
		}
		value = begun(t, next, newer{Theme: "dark"})
		look(t, old, value)
		if after, _ := turn(t, old, value, func(s *older) { s.Name = "Bob" }); true {
			if got := look(t, next, after); got.Theme != "dark" || got.Name != "Bob" {
				t.Errorf("got %+v, want Bob's dark theme", got)
			}
		}
		// Sealed again, under a new key and in the other mode.
		other := managerOf(t, sessions.Options[older]{SignOnly: !signOnly}, hexB, hexA)
		value, why := turn(t, other, begun(t, next, someNewer()), func(*older) {})
		if why != sessions.Resealed {
			t.Errorf("got %v, want re-sealed", why)
		}
		next = managerOf(t, sessions.Options[newer]{SignOnly: !signOnly}, hexB, hexA)
		if got, want := notation(t, look(t, next, value)), notation(t, someNewer()); got != want {
			t.Errorf("re-sealed: got  %s\nwant %s", got, want)
		}
	})
}

// One visitor's rights don't pass to the next by way of a field.
func TestNothingPassesInsideAField(t *testing.T) {
	old, next := managerOf(t, sessions.Options[older]{}), managerOf(t, sessions.Options[newer]{})
	value := begun(t, next, someNewer())
	value, _ = turn(t, old, value, func(s *older) { s.Box.User = "" })
	value, _ = turn(t, old, value, func(s *older) { s.Box.User = "bob" })
	if got := look(t, next, value); got.Box.User != "bob" || got.Box.Admin {
		t.Errorf("got %+v, want bob without Alice's rights", got.Box)
	}
}

// Fields to forget go at the next look, as a renewal, others stay.
func TestForget(t *testing.T) {
	next := managerOf(t, sessions.Options[newer]{})
	old := managerOf(t, sessions.Options[older]{Forget: []string{"Theme", "Other"}})
	value := begun(t, next, someNewer())
	after, why := turn(t, old, value, func(*older) {})
	if why != sessions.Renewed {
		t.Errorf("got %v, want renewed", why)
	}
	want := someNewer()
	want.Theme = ""
	if got, want := notation(t, look(t, next, after)), notation(t, want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	look(t, old, after)
	after, _ = turn(t, old, value, func(s *older) { s.Name = "Bob" })
	if got := look(t, next, after); got.Theme != "" || got.Since.IsZero() || got.Name != "Bob" {
		t.Errorf("got %+v, want Bob's without a theme", got)
	}
	s := old.Load(comes(old, value))
	if s.Undo(); s.Data.Name != "Alice" {
		t.Errorf("got %+v after Undo", s.Data)
	}
}

// The case of a field's name counts.
func TestFieldOfOtherCaseIsAnother(t *testing.T) {
	type small struct {
		Name string `cbor:"name"`
	}
	big, tiny := managerOf(t, options{}), managerOf(t, sessions.Options[small]{})
	value := begun(t, big, fixed{Name: "Alice"})
	value, _ = turn(t, tiny, value, func(s *small) { s.Name += "Bob" })
	if a, b := look(t, big, value).Name, look(t, tiny, value).Name; a != "Alice" || b != "Bob" {
		t.Errorf("got %q and %q, want Alice and Bob", a, b)
	}
}

// A payload that doesn't fit is malformed, and nothing of it is in the session.
func TestPayloadsThatDontFit(t *testing.T) {
	type fitting struct {
		Name  string
		Age   int
		Small uint8
		List  []string
		Map   map[string]int
		Bytes []byte
		Time  time.Time
		Place place
	}
	const (
		now  = "\x1a\x69\x55\xb9\x00" // golden
		head = "\x83" + now + "\x00"  // [golden, 0,
		name = "\x64Name\x65Alice"    // "Name": "Alice"
		data = "\xa1" + name          // {"Name": "Alice"}
		and  = head + "\xa2" + name   // [golden, 0, {"Name": "Alice",
		huge = "\x7f\xff\xff\xff\xff\xff\xff\xff"
	)
	device := "\x58\x21\x02" + strings.Repeat("k", 32)
	nested := func(n int) string { return and + "\x61x" + strings.Repeat("\x81", n) + "\x00" }
	good := map[string]string{
		"good":                                head + data,
		"an unknown field":                    and + "\x61x\x01",
		"an unknown field, as deep as can be": nested(14),
		"nothing":                             head + "\xa0",
		"a device":                            "\x84" + now + "\x00" + data + device,
	}
	bad := map[string]string{
		"a text for a number":               and + "\x63Age\x611",
		"a float for a number":              and + "\x63Age\xf9\x3c\x00",
		"a number for a text":               head + "\xa1\x64Name\x01",
		"bytes for a text":                  head + "\xa1\x64Name\x45Alice",
		"a number that is too large":        and + "\x65Small\x19\x01\x00",
		"a list for a map":                  and + "\x63Map\x80",
		"another type in a struct":          and + "\x65Place\xa1\x64City\x01",
		"a text for a time":                 and + "\x64Time\x61a",
		"a number":                          "\x01",
		"the session alone":                 data,
		"one time":                          "\x82" + now + data,
		"a fourth item that is no device":   "\x84" + now + "\x00" + data + "\x00",
		"no device":                         "\x84" + now + "\x00" + data + "\xf6",
		"a device's key that is too short":  "\x84" + now + "\x00" + data + "\x41\x02",
		"a device's key and no end":         "\x84" + now + "\x00" + data + device[:30],
		"a fifth item":                      "\x85" + now + "\x00" + data + device + "\x00",
		"a list for the session":            head + "\x80",
		"cut":                               head + data[:len(data)-1],
		"a byte more":                       head + data + "\x00",
		"a float for the beginning":         "\x83\xfa\x4e\xd2\xab\x72\x00" + data,
		"before 1970":                       "\x83\x20\x00" + data,
		"after 2106":                        "\x83\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00" + data,
		"written before it began":           "\x83" + now + "\x20" + data,
		"a field twice":                     and + name,
		"an unknown field twice":            head + "\xa3" + name + "\x61x\x01\x61x\x01",
		"an entry twice":                    and + "\x63Map\xa2\x61a\x01\x61a\x01",
		"a list without a length":           "\x9f" + now + "\x00" + data + "\xff",
		"a map without a length":            head + "\xbf" + name + "\xff",
		"an unknown list without a length":  and + "\x61x\x9f\xff",
		"a tag around it":                   "\xd9\xd9\xf7" + head + data,
		"a tag on an unknown field":         and + "\x61x\xc1\x00",
		"an unknown field that is too deep": nested(15),
		"a text that isn't UTF-8":           head + "\xa1\x64Name\x65\xffice",
		"a reserved length":                 and + "\x61x\x1c",
		"a list longer than all there is":   and + "\x64List\x9b" + huge,
	}
	atGolden(t, func(t *testing.T) {
		m := managerOf(t, sessions.Options[fitting]{})
		for want, contents := range map[sessions.Verdict]map[string]string{
			sessions.Valid: good, sessions.Malformed: bad,
		} {
			for name, content := range contents {
				value := forge(t, hexA, false, m.CookieName(), []byte(content))
				s := valueOf(m, value)
				if c := s.Cookie(); c.Verdict != want || string(c.Payload()) != content ||
					c.Bound != (name == "a device") {
					t.Errorf("%s: got %v, bound %v, want %v", name, c.Verdict, c.Bound, want)
				}
				if want == sessions.Malformed && !reflect.DeepEqual(s.Data, fitting{}) {
					t.Errorf("%s: got %+v", name, s.Data)
				}
				if after, why, err := saveOf(t, m, s, value); after != value || err != nil {
					t.Errorf("%s: got %v and %v, want it left alone", name, why, err)
				}
			}
		}
		// A session that a newer program has written still tells its times.
		value := forge(t, hexA, false, m.CookieName(), []byte(bad["a number for a text"]))
		if s := valueOf(m, value); s.Began().Unix() != golden || s.Written().Unix() != golden ||
			!s.Ends().Equal(time.Now().Add(14*day)) || s.Cookie().Written.Unix() != golden {
			t.Errorf("got %v, %v and %v", s.Began(), s.Written(), s.Ends())
		}
	})
}

// raw is encoded as it is.
type raw string

func (r raw) MarshalCBOR() ([]byte, error) {
	switch r {
	case "":
		return []byte{0}, nil
	case "error":
		return nil, errors.New("it can't be")
	}
	return []byte(r), nil
}
func (r *raw) UnmarshalCBOR(b []byte) error { *r = raw(b); return nil }

// What couldn't be opened again is never sealed, and the visitor keeps what was there.
func TestStoringWhatCantBeOpened(t *testing.T) {
	type data struct {
		Name string
		Raw  raw
		List []int
	}
	deep := func(n int) raw { return raw(strings.Repeat("\x81", n) + "\x00") }
	m := managerOf(t, sessions.Options[data]{})
	good := begun(t, m, data{Name: "Alice"})
	for _, tt := range []struct {
		name string
		data data
		says string
	}{
		{"as deep as can be", data{Raw: deep(14)}, ""},
		{"too deep", data{Raw: deep(15)}, "decoded again"},
		{"a name that isn't UTF-8", data{Name: "\xff"}, "decoded again"},
		{"a tag", data{Raw: "\xc1\x00"}, "decoded again"},
		{"an error", data{Raw: "error"}, "can't be encoded"},
		{"more than fits", data{List: make([]int, 1<<17+1)}, "too large"},
	} {
		for _, value := range []string{"", good, flipped(good)} {
			s := m.Load(comes(m, value))
			s.Data = tt.data
			after, why, err := saveOf(t, m, s, value)
			var over *sessions.TooLargeError
			switch {
			case tt.says == "" && (why != sessions.Changed || err != nil):
				t.Errorf("%s: got %v and %v", tt.name, why, err)
			case tt.says != "" && (err == nil || !strings.HasPrefix(err.Error(), "sessions: ") ||
				!strings.Contains(err.Error(), tt.says) || after != value):
				t.Errorf("%s: got %v and %v, want one with %q", tt.name, why, err, tt.says)
			case errors.As(err, &over) != (tt.says == "too large"):
				t.Errorf("%s: got %T", tt.name, err)
			}
		}
		c, err := m.Seal(tt.data)
		if (c == nil) != (tt.says != "") ||
			tt.says != "" && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Seal: got %v and %v", tt.name, c, err)
		}
	}
}

// counted counts how often it is encoded and decoded.
type counted struct{ n int }

var encodes, decodes int

func (c counted) MarshalCBOR() ([]byte, error)  { encodes++; return cbor.Marshal(c.n) }
func (c *counted) UnmarshalCBOR(b []byte) error { decodes++; return cbor.Unmarshal(b, &c.n) }

// An unchanged visit is decoded once and encoded once, to find that out.
func TestOneDecodeAndOneEncode(t *testing.T) {
	type counting struct {
		Name  string
		Count counted
	}
	m := managerOf(t, sessions.Options[counting]{})
	value := begun(t, m, counting{Name: "Alice", Count: counted{5}})
	encodes, decodes = 0, 0
	if got := look(t, m, value); got.Count.n != 5 || encodes != 1 || decodes != 1 {
		t.Errorf("got %+v after %d encodes and %d decodes, want 1 and 1", got, encodes, decodes)
	}
}

// A cookie stays small, also at the end of a long life.
func TestBytesOfACookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for signOnly, want := range map[bool]int{true: 112, false: 140} {
			m := managerOf(t, options{SignOnly: signOnly, Insecure: true})
			for began, more := range map[int64]int{0: 0, 90 * 86400: 8} {
				got := len(m.CookieName() + aged(t, m, signOnly, began, 0))
				if got > want+more {
					t.Errorf("signed alone: %v: got %d bytes, want %d", signOnly, got, want+more)
				}
			}
		}
	})
}

// Whatever is sealed, opening it does not panic, and gives a session that can be kept,
// or none.
func FuzzPayload(f *testing.F) {
	for _, v := range []any{
		[]any{golden, 3600, someKinds()}, []any{golden, 0, someNewer()}, []any{golden, 0, nil},
		[]any{golden, 0, map[string]any{"Text": 1}}, []any{golden}, "Alice",
		[]any{golden, 0, map[string]any{"Numbers": []int{1}, "Array": []int{1, 2, 3, 4, 5}}},
		[]any{golden, 0, map[string]any{}, make([]byte, 33)},
	} {
		content, err := cbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("\x83\x01\x02\xbf\xff"))
	m := managerOf(f, sessions.Options[kinds]{SignOnly: true})
	f.Fuzz(func(t *testing.T, content []byte) {
		c := &http.Cookie{Value: forge(t, hexA, true, m.CookieName(), content)}
		s := m.Open(c)
		switch s.Verdict() {
		case sessions.Malformed, sessions.TooLarge, sessions.Expired, sessions.TooOld,
			sessions.FromFuture:
			if !reflect.DeepEqual(s.Data, kinds{}) {
				t.Fatalf("got %v with %+v", s.Verdict(), s.Data)
			}
		case sessions.Valid:
		default:
			t.Fatalf("got %v", s.Verdict())
		}
		if s.Verdict() == sessions.Malformed || s.Verdict() == sessions.TooLarge {
			return
		}
		// What fits may be of any time: judged at its own, it has not changed.
		var parts []cbor.RawMessage
		if cbor.Unmarshal(content, &parts) != nil || len(parts) != 3 {
			return
		}
		now, err := cbor.Marshal([]any{uint32(time.Now().Unix()), 0, parts[2]})
		if err != nil {
			return
		}
		c.Value = forge(t, hexA, true, m.CookieName(), now)
		if s = m.Open(c); s.Verdict() != sessions.Valid {
			t.Fatalf("got %v for %x", s.Verdict(), now)
		}
		if _, why, err := saveOf(t, m, s, c.Value); why != sessions.Unchanged || err != nil {
			t.Fatalf("got %v and %v for %x", why, err, content)
		}
		s = m.Open(c)
		s.Data.Text += "x"
		want := notation(t, s.Data)
		value, why, err := saveOf(t, m, s, c.Value)
		var over *sessions.TooLargeError
		if errors.As(err, &over) {
			return
		}
		if why != sessions.Changed || err != nil {
			t.Fatalf("got %v and %v for %x", why, err, content)
		}
		if got := notation(t, valueOf(m, value).Data); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}
