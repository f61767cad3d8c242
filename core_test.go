package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// visitOf returns the visit of a browser that holds the cookie with this value;
// empty means that it holds none.
func visitOf[T any](m *sessions[T], value string) *visit[T] {
	r := httptest.NewRequest("POST", "/", nil)
	if value != "" {
		r.AddCookie(&http.Cookie{Name: m.cookie, Value: value})
	}
	return m.load(r)
}

// saveOf saves v, and returns the value that the browser holds afterwards, when
// it held value before.
func saveOf[T any](t testing.TB, m *sessions[T], v *visit[T], value string) (
	after string, why reason, err error) {
	t.Helper()
	w, size := httptest.NewRecorder(), 0
	why, size, err = m.save(w, v)
	cookies := w.Result().Cookies()
	if len(cookies) == 0 {
		if why != unchanged || size != 0 {
			t.Fatalf("got %v with %d bytes and no cookie", why, size)
		}
		return value, why, err
	}
	c := cookies[0]
	if len(cookies) > 1 || c.Name != m.cookie || err != nil || why == unchanged {
		t.Fatalf("got the cookies %v with %v and error %v", cookies, why, err)
	}
	if deleted := c.MaxAge < 0; deleted != (c.Value == "") || deleted != (why == cleared) {
		t.Fatalf("got Max-Age %d with the value %q and %v", c.MaxAge, c.Value, why)
	}
	if c.Value != "" && size != len(m.cookie)+len(c.Value) {
		t.Fatalf("got told of %d bytes, want %d", size, len(m.cookie)+len(c.Value))
	}
	return c.Value, why, err
}

// turn is a visit of a browser that holds value: do may change the session. It
// returns the value that the browser holds afterwards.
func turn[T any](t testing.TB, m *sessions[T], value string, do func(*T)) (string, reason) {
	t.Helper()
	v := visitOf(m, value)
	if value != "" && v.verdict != valid {
		t.Fatalf("got %v for a cookie that was set", v.verdict)
	}
	do(&v.session)
	value, why, err := saveOf(t, m, v, value)
	if err != nil {
		t.Fatal(err)
	}
	return value, why
}

// look is a visit that changes nothing. It returns the session.
func look[T any](t testing.TB, m *sessions[T], value string) (s T) {
	t.Helper()
	after, why := turn(t, m, value, func(seen *T) { s = *seen })
	if why != unchanged || after != value {
		t.Errorf("got %v for a visit that changed nothing", why)
	}
	return s
}

// first returns the cookie of a visitor who has just begun the session s.
func first[T any](t testing.TB, m *sessions[T], s T) string {
	t.Helper()
	value, why := turn(t, m, "", func(empty *T) { *empty = s })
	if why != changed || value == "" {
		t.Fatalf("got %v and the value %q for a new session", why, value)
	}
	return value
}

// spell returns s in CBOR's diagnostic notation, in which nothing makes a
// difference that makes none for a session.
func spell[T any](s T) string { return must(cbor.Diagnose(must(encoding.Marshal(s)))) }

// place is a struct in a struct.
type place struct {
	City string
	Seen []time.Time
}

// kinds has fields of every kind that a site may want to keep.
type kinds struct {
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
	Any     any
}

// someKinds returns a session with something in each field.
func someKinds() kinds {
	when := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	return kinds{
		Text:    "Žofia \x00\n\"",
		Int:     math.MinInt,
		Tiny:    -128,
		Byte:    255,
		Large:   math.MaxUint64,
		Float:   math.Pi,
		Short:   math.SmallestNonzeroFloat32,
		Bool:    true,
		Bytes:   []byte{0, 255},
		Array:   [4]byte{1, 2, 3, 4},
		Numbers: [3]int{1, 2, 3},
		Time:    when,
		Length:  time.Minute,
		List:    []string{"", "a", "b"},
		Lists:   [][]int{{1}, {2, 3}},
		Map:     map[string]int{"": 0, "a": 1, "b": -1},
		Years:   map[int]string{-44: "Caesar", 1989: "November"},
		Grid:    map[[2]int]string{{1, 2}: "x", {3, 4}: "o"},
		Place:   place{City: "Praha", Seen: []time.Time{when}},
		Home:    &place{City: "Brno"},
		Maybe:   new(bool),
		Places:  []place{{City: "Oslo"}, {City: "Rome"}},
		Friends: []*place{{City: "Bonn"}, nil},
		Visited: map[string]place{"Graz": {City: "Graz"}},
		Any:     "any",
	}
}

func TestEveryKindOfFieldSurvives(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[kinds](t, o)
		want := someKinds()
		all := reflect.ValueOf(want)
		for i := range all.NumField() {
			if all.Field(i).IsZero() {
				t.Errorf("the test has nothing in %s", all.Type().Field(i).Name)
			}
		}
		value := first(t, m, want)
		got := look(t, m, value)
		// A slice that is empty may come back as nil or not.
		got.Home.Seen, got.Friends[0].Seen = nil, nil
		for i := range got.Places {
			got.Places[i].Seen = nil
		}
		got.Visited["Graz"] = place{City: "Graz"}
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
		want reason
	}{
		{"text", func(s *kinds) { s.Text += "x" }, changed},
		{"the time, by a nanosecond", func(s *kinds) { s.Time = s.Time.Add(1) }, changed},
		{"a float, by a bit", func(s *kinds) { s.Float = math.Nextafter(s.Float, 4) }, changed},
		{"an item", func(s *kinds) { s.List[1] = "x" }, changed},
		{"one more item", func(s *kinds) { s.List = append(s.List, "") }, changed},
		{"one item less", func(s *kinds) { s.List = s.List[1:] }, changed},
		{"the order", func(s *kinds) { slices.Reverse(s.List) }, changed},
		{"an item of an item", func(s *kinds) { s.Lists[1][1]++ }, changed},
		{"a byte", func(s *kinds) { s.Bytes[1]-- }, changed},
		{"an array", func(s *kinds) { s.Array[0]-- }, changed},
		{"an entry", func(s *kinds) { s.Map["a"]++ }, changed},
		{"a new entry", func(s *kinds) { s.Map["c"] = 0 }, changed},
		{"an entry less", func(s *kinds) { delete(s.Map, "") }, changed},
		{"a number's entry", func(s *kinds) { s.Years[2024] = "" }, changed},
		{"a list's entry", func(s *kinds) { s.Grid[[2]int{1, 2}] = "o" }, changed},
		{"inside a struct", func(s *kinds) { s.Place.City = "" }, changed},
		{"inside a struct's slice", func(s *kinds) { s.Place.Seen[0] = time.Time{} }, changed},
		{"behind a pointer", func(s *kinds) { s.Home.City = "Praha" }, changed},
		{"behind a pointer to true", func(s *kinds) { *s.Maybe = true }, changed},
		{"a pointer, to nil", func(s *kinds) { s.Maybe = nil }, changed},
		{"inside a slice of structs", func(s *kinds) { s.Places[1].City = "Roma" }, changed},
		{"inside a slice of pointers", func(s *kinds) { s.Friends[0].City = "Berlin" }, changed},
		{"inside a map of structs", func(s *kinds) { s.Visited["Graz"] = place{} }, changed},
		{"any", func(s *kinds) { s.Any = 1 }, changed},

		{"nothing", func(s *kinds) {}, unchanged},
		{"the same text", func(s *kinds) { s.Text = strings.Clone(s.Text) }, unchanged},
		{"the same time elsewhere", func(s *kinds) {
			s.Time = s.Time.In(time.FixedZone("", 3600))
		}, unchanged},
		{"there and back", func(s *kinds) { s.List[0] = "x"; s.List[0] = "" }, unchanged},
		{"the same items elsewhere", func(s *kinds) { s.List = slices.Clone(s.List) }, unchanged},
		{"the same entries elsewhere", func(s *kinds) { s.Map = maps.Clone(s.Map) }, unchanged},
		{"another pointer to the same", func(s *kinds) { home := *s.Home; s.Home = &home }, unchanged},
		{"nil for an empty slice", func(s *kinds) { s.Home.Seen = nil }, unchanged},
		{"an empty slice for nil", func(s *kinds) { s.Places[0].Seen = []time.Time{} }, unchanged},
	}
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[kinds](t, o)
		value := first(t, m, someKinds())
		for _, tt := range tests {
			want := look(t, m, value)
			tt.do(&want)
			after, why := turn(t, m, value, tt.do)
			if why != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, why, tt.want)
			}
			if got, want := spell(look(t, m, after)), spell(want); got != want {
				t.Errorf("%s: got  %s\nwant %s", tt.name, got, want)
			}
		}
	})
}

// An empty session is no cookie, whatever its type. Empty is the zero value,
// and what looks the same: slices and maps with nothing in them.
func TestEmptySessionIsNoCookie(t *testing.T) {
	emptyIsNoCookie(t, session{Name: "Alice"}, session{})
	emptyIsNoCookie(t, someKinds(), kinds{}, kinds{
		List: []string{}, Bytes: []byte{}, Map: map[string]int{}, Time: time.Time{}.Local(),
	})
	emptyIsNoCookie(t, struct{ Time time.Time }{time.Unix(0, 0)}, struct{ Time time.Time }{})
	emptyIsNoCookie(t, map[string]string{"a": ""}, nil, map[string]string{})
	emptyIsNoCookie(t, []int{0}, nil, []int{})
	emptyIsNoCookie(t, &fixed{}, nil)
	emptyIsNoCookie(t, "a", "")
	emptyIsNoCookie(t, -1, 0)
	emptyIsNoCookie(t, time.Unix(0, 0), time.Time{})
}

// emptyIsNoCookie tests that some is kept, and that nothing is kept of each of
// the empty ones.
func emptyIsNoCookie[T any](t *testing.T, some T, empty ...T) {
	t.Helper()
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[T](t, o)
		if value, why := turn(t, m, "", func(*T) {}); why != unchanged || value != "" {
			t.Errorf("%T untouched: got %v", some, why)
		}
		value := first(t, m, some)
		for _, e := range empty {
			if value, why := turn(t, m, "", func(s *T) { *s = e }); why != unchanged || value != "" {
				t.Errorf("%T made empty: got %v without a cookie, want it unchanged", some, why)
			}
			if after, why := turn(t, m, value, func(s *T) { *s = e }); why != cleared || after != "" {
				t.Errorf("%T made empty: got %v, want it cleared", some, why)
			}
		}
		v := visitOf(m, value)
		v.clear()
		if after, why, err := saveOf(t, m, v, value); why != cleared || after != "" || err != nil {
			t.Errorf("%T cleared: got %v and error %v", some, why, err)
		}
		v = visitOf(m, "")
		v.clear()
		if _, why, err := saveOf(t, m, v, ""); why != unchanged || err != nil {
			t.Errorf("%T cleared without a cookie: got %v and error %v", some, why, err)
		}
	})
}

// What is stored after clearing begins a new session.
func TestClearedAndStoredBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestSessions[newer](t, options{lifetime: time.Hour})
		began := time.Now().Unix()
		value := first(t, m, newer{Name: "Alice", Theme: "dark"})
		time.Sleep(time.Minute)
		old := newTestSessions[older](t, options{lifetime: time.Hour})
		v := visitOf(old, value)
		if v.clear(); v.continues() || v.session.Name != "" {
			t.Errorf("got %+v after clearing", v.session)
		}
		v.session.Name = "Alice"
		after, why, err := saveOf(t, old, v, value)
		if why != changed || err != nil {
			t.Fatalf("got %v and error %v", why, err)
		}
		got := openValue(m, after)
		p := got.payload
		if int64(p.Began) != began+60 || p.Since != 0 || got.session.Theme != "" {
			t.Errorf("got %+v, want a session that begins now, with nothing of the one before", got)
		}
	})
}

// older and newer are the sessions of two versions of a site that have the same
// keys and serve the same visitors.
type (
	older struct {
		Name   string
		Place  oldPlace
		Home   *oldPlace
		Places []oldPlace
		Years  map[int]oldPlace
	}
	oldPlace struct{ City string }

	newer struct {
		Name   string
		Theme  string
		Cart   []string
		Place  newPlace
		Home   *newPlace
		Places []newPlace
		Years  map[int]newPlace
		Since  time.Time
		Extra  *newPlace
	}
	newPlace struct {
		City string
		Zip  int
	}
)

// someNewer returns a session that the older version doesn't know all of.
func someNewer() newer {
	return newer{
		Name:   "Alice",
		Theme:  "dark",
		Cart:   []string{"tea"},
		Place:  newPlace{City: "Praha", Zip: 1},
		Home:   &newPlace{City: "Brno", Zip: 2},
		Places: []newPlace{{City: "Oslo", Zip: 3}, {City: "Rome", Zip: 4}},
		Years:  map[int]newPlace{1999: {City: "Jena", Zip: 5}},
		Since:  time.Unix(golden, 0).UTC(),
		Extra:  &newPlace{Zip: 14},
	}
}

// An older version of the site keeps the fields that only a newer one knows, and all of
// those that it doesn't change. What it changes has nothing of the one before: that may
// have been another visitor's.
func TestFieldsOfANewerVersionSurvive(t *testing.T) {
	tests := []struct {
		name string
		do   func(*older)
		want func(*newer)
	}{
		{"a field", func(s *older) { s.Name = "Bob" }, func(s *newer) { s.Name = "Bob" }},
		{"a field, to nothing", func(s *older) { s.Name = "" }, func(s *newer) { s.Name = "" }},
		{"inside a struct",
			func(s *older) { s.Place.City = "Prag" },
			func(s *newer) { s.Place = newPlace{City: "Prag"} }},
		{"behind a pointer",
			func(s *older) { s.Home.City = "Brünn" },
			func(s *newer) { s.Home = &newPlace{City: "Brünn"} }},
		{"an item",
			func(s *older) { s.Places = append(s.Places, oldPlace{City: "Bern"}) },
			func(s *newer) { s.Places = []newPlace{{City: "Oslo"}, {City: "Rome"}, {City: "Bern"}} }},
		{"an entry",
			func(s *older) { s.Years[2001] = oldPlace{City: "Gera"} },
			func(s *newer) { s.Years = map[int]newPlace{1999: {City: "Jena"}, 2001: {City: "Gera"}} }},
	}
	bothModes(t, func(t *testing.T, o options) {
		old, next := newTestSessions[older](t, o), newTestSessions[newer](t, o)
		value := first(t, next, someNewer())
		for _, tt := range tests {
			after, why := turn(t, old, value, tt.do)
			if why != changed {
				t.Errorf("%s: got %v, want changed", tt.name, why)
			}
			want := someNewer()
			tt.want(&want)
			if got, want := spell(look(t, next, after)), spell(want); got != want {
				t.Errorf("%s: got  %s\nwant %s", tt.name, got, want)
			}
		}
	})
}

// Where one visitor logs out and another logs in at an older copy, the newer one finds
// nothing of the first.
func TestNothingIsMergedInsideAField(t *testing.T) {
	type oldUser struct{ User string }
	type newUser struct {
		User  string
		Admin bool
	}
	type oldBox struct {
		Theme string
		Box   oldUser `cbor:",omitzero"`
	}
	type newBox struct {
		Theme string
		Box   newUser `cbor:",omitzero"`
	}
	old, next := newTestSessions[oldBox](t, options{}), newTestSessions[newBox](t, options{})
	value := first(t, next, newBox{Theme: "dark", Box: newUser{User: "alice", Admin: true}})
	value, _ = turn(t, old, value, func(s *oldBox) { s.Box = oldUser{} })
	value, _ = turn(t, old, value, func(s *oldBox) { s.Box.User = "bob" })
	if got, want := look(t, next, value), (newBox{Theme: "dark", Box: newUser{User: "bob"}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A field that its version knows is kept whole also where all that it knows of it is left out.
func TestFieldLeftOutIsKept(t *testing.T) {
	type oldBox struct {
		Name  string
		Place oldPlace `cbor:",omitzero"`
	}
	type newBox struct {
		Name  string
		Place newPlace
	}
	old, next := newTestSessions[oldBox](t, options{}), newTestSessions[newBox](t, options{})
	value := first(t, next, newBox{Name: "Alice", Place: newPlace{Zip: 1}})
	value, _ = turn(t, old, value, func(s *oldBox) { s.Name = "Bob" })
	if got, want := look(t, next, value), (newBox{Name: "Bob", Place: newPlace{Zip: 1}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A session that is changed to nothing is deleted, with what isn't known of it. One
// of which nothing else was known before stays.
func TestEmptiedByAnOlderVersion(t *testing.T) {
	old, next := newTestSessions[older](t, options{}), newTestSessions[newer](t, options{})
	value := first(t, next, someNewer())
	if after, why := turn(t, old, value, func(s *older) { *s = older{} }); why != cleared {
		t.Errorf("got %v and %s, want cleared", why, after)
	}
	value = first(t, next, newer{Theme: "dark"})
	if _, why := turn(t, old, value, func(*older) {}); why != unchanged {
		t.Errorf("got %v for a session of unknown fields alone, want unchanged", why)
	}
	value, why := turn(t, old, value, func(s *older) { s.Name = "Bob" })
	if got := look(t, next, value); why != changed || got.Name != "Bob" || got.Theme != "dark" {
		t.Errorf("got %v and %+v", why, got)
	}
}

// Fields may be called by numbers, too.
func TestNumberedFieldsSurvive(t *testing.T) {
	type oldBox struct {
		Name string `cbor:"-1,keyasint"`
	}
	type newBox struct {
		Name  string `cbor:"-1,keyasint"`
		Theme string `cbor:"2,keyasint"`
	}
	old, next := newTestSessions[oldBox](t, options{}), newTestSessions[newBox](t, options{})
	value := first(t, next, newBox{Name: "Alice", Theme: "dark"})
	value, _ = turn(t, old, value, func(s *oldBox) { s.Name = "Bob" })
	if got, want := look(t, next, value), (newBox{Name: "Bob", Theme: "dark"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A type that says itself how it is written is kept as it says.
func TestTextMarshalers(t *testing.T) {
	type sums struct {
		Ratio *big.Rat
		Addr  netip.Addr
	}
	m := newTestSessions[sums](t, options{})
	want := sums{Ratio: big.NewRat(1, 3), Addr: netip.MustParseAddr("::1")}
	got := look(t, m, first(t, m, want))
	if got.Ratio == nil || got.Ratio.Cmp(want.Ratio) != 0 || got.Addr != want.Addr {
		t.Errorf("got %v and %v", got.Ratio, got.Addr)
	}
}

// A cookie with more fields than a version knows is as good as any, and has not
// changed. Nor has one with fewer.
func TestOtherVersionsCookieIsUnchanged(t *testing.T) {
	bothModes(t, func(t *testing.T, o options) {
		old, next := newTestSessions[older](t, o), newTestSessions[newer](t, o)
		want := spell(someNewer())
		value := first(t, next, someNewer())
		got := look(t, old, value)
		if got.Name != "Alice" || got.Place.City != "Praha" || got.Places[1].City != "Rome" ||
			got.Home.City != "Brno" || len(got.Places) != 2 {
			t.Errorf("got %+v, want what both versions know", got)
		}

		oldValue := first(t, old, got)
		known := look(t, next, oldValue)
		if known.Name != "Alice" || known.Theme != "" || known.Cart != nil || known.Place.Zip != 0 ||
			known.Places[1].City != "Rome" || known.Extra != nil || !known.Since.IsZero() {
			t.Errorf("got %+v, want nothing but what the older version knows", known)
		}
		after, why := turn(t, next, oldValue, func(s *newer) { s.Theme, s.Places[1].Zip = "dark", 5 })
		if why != changed {
			t.Errorf("got %v for a new field, want changed", why)
		}
		known.Theme, known.Places[1].Zip = "dark", 5
		if got, want := spell(look(t, next, after)), spell(known); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}

		// Sealed again, under a new key and in the other mode.
		other := o
		other.keys, other.signed = []string{keyB, keyA}, !o.signed
		after, why = turn(t, newTestSessions[older](t, other), value, func(*older) {})
		if why != resealed {
			t.Errorf("got %v, want re-sealed", why)
		}
		if got := spell(look(t, newTestSessions[newer](t, other), after)); got != want {
			t.Errorf("re-sealed: got  %s\nwant %s", got, want)
		}
	})
	for name, renew := range map[string]func(t *testing.T, value string) (string, reason){
		"older": func(t *testing.T, value string) (string, reason) {
			return turn(t, newTestSessions[older](t, options{}), value, func(*older) {})
		},
		"newer": func(t *testing.T, value string) (string, reason) {
			return turn(t, newTestSessions[newer](t, options{}), value, func(*newer) {})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			next := newTestSessions[newer](t, options{})
			began := time.Now().Unix()
			value := first(t, next, someNewer())
			time.Sleep(84 * time.Hour)
			value, why := renew(t, value)
			if why != renewed {
				t.Errorf("%s: got %v after a quarter of the idle time, want renewed", name, why)
			}
			got, want := openValue(next, value), someNewer()
			p := got.payload
			if int64(p.Began) != began || p.Since != 84*3600 || spell(got.session) != spell(want) {
				t.Errorf("%s: got %s", name, spell(p))
			}
		})
	}
}

// A field that one version leaves out when it is empty, and the other doesn't, is
// stored by both.
func TestFieldsThatAreLeftOut(t *testing.T) {
	type whole struct{ Name, Theme string }
	type omitting struct {
		Name  string
		Theme string `cbor:",omitempty"`
	}
	all, some := newTestSessions[whole](t, options{}), newTestSessions[omitting](t, options{})
	value := first(t, all, whole{Name: "Alice"})
	look(t, some, value)
	value, _ = turn(t, some, value, func(s *omitting) { s.Theme = "dark" })
	if got := look(t, all, value); got.Theme != "dark" {
		t.Errorf("got %+v, want a dark theme", got)
	}
	value, _ = turn(t, some, value, func(s *omitting) { s.Theme = "" })
	if got := look(t, all, value); got.Theme != "" || got.Name != "Alice" {
		t.Errorf("got %+v, want no theme", got)
	}
}

// A list in a cookie may have another length than the array that it is read into.
func TestArraysOfOtherLengths(t *testing.T) {
	type item struct{ A int }
	type two struct {
		Name  string
		Items [2]item
	}
	type three struct {
		Name  string
		Items [3]item
	}
	shorter, longer := newTestSessions[two](t, options{}), newTestSessions[three](t, options{})
	value := first(t, shorter, two{Name: "Alice", Items: [2]item{{1}, {2}}})
	value, _ = turn(t, longer, value, func(s *three) { s.Items[1].A, s.Items[2].A = 0, 3 })
	if got, want := look(t, longer, value).Items, [3]item{{1}, {0}, {3}}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	value, _ = turn(t, shorter, value, func(s *two) { s.Name = "Bob" })
	if got, want := look(t, longer, value).Items, [3]item{{1}, {0}, {3}}; got != want {
		t.Errorf("got %v, want %v, which nobody has changed", got, want)
	}
	value, _ = turn(t, shorter, value, func(s *two) { s.Items[1].A = 5 })
	if got, want := look(t, shorter, value).Items, [2]item{{1}, {5}}; got != want {
		t.Errorf("got %v, want %v", got, want)
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
	nested := func(n int) string { return and + "\x61x" + strings.Repeat("\x81", n) + "\x00" }
	tests := []struct {
		name, content string
		want          verdict
	}{
		{"good", head + data, valid},
		{"an unknown field", and + "\x61x\x01", valid},
		{"a field of that name in other case", and + "\x64name\x01", valid},
		{"an unknown field, as deep as can be", nested(14), valid},
		{"nothing", head + "\xa0", valid},

		{"a text for a number", and + "\x63Age\x611", malformed},
		{"a float for a number", and + "\x63Age\xf9\x3c\x00", malformed},
		{"a boolean for a number", and + "\x63Age\xf5", malformed},
		{"a number for a text", head + "\xa1\x64Name\x01", malformed},
		{"bytes for a text", head + "\xa1\x64Name\x45Alice", malformed},
		{"a text for bytes", and + "\x65Bytes\x61a", malformed},
		{"a number that is too large", and + "\x65Small\x19\x01\x00", malformed},
		{"a negative number", and + "\x65Small\x20", malformed},
		{"a map for a list", and + "\x64List\xa0", malformed},
		{"a list for a map", and + "\x63Map\x80", malformed},
		{"a list of numbers", and + "\x64List\x81\x01", malformed},
		{"a map to texts", and + "\x63Map\xa1\x61a\x61b", malformed},
		{"a list for a struct", and + "\x65Place\x80", malformed},
		{"a text for a struct", and + "\x65Place\x61a", malformed},
		{"another type in a struct", and + "\x65Place\xa1\x64City\x01", malformed},
		{"a text for a time", and + "\x64Time\x61a", malformed},

		{"a number", "\x01", malformed},
		{"the session alone", data, malformed},
		{"no times", "\x81" + data, malformed},
		{"one time", "\x82" + now + data, malformed},
		{"three times", "\x84" + now + "\x00\x00" + data, malformed},
		{"a fourth item", "\x84" + now + "\x00" + data + "\x00", malformed},
		{"no session", "\x82" + now + "\x00", malformed},
		{"a map around it", "\xa1" + now + data, malformed},
		{"a list for the session", head + "\x80", malformed},
		{"a text for the session", head + "\x65Alice", malformed},
		{"cut", head + data[:len(data)-1], malformed},
		{"a byte more", head + data + "\x00", malformed},
		{"once more", head + data + head + data, malformed},

		{"a text for the beginning", "\x83\x61x\x00" + data, malformed},
		{"a float for the beginning", "\x83\xfa\x4e\xd2\xab\x72\x00" + data, malformed},
		{"before 1970", "\x83\x20\x00" + data, malformed},
		{"after 2106", "\x83\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00" + data, malformed},
		{"written before it began", "\x83" + now + "\x20" + data, malformed},
		{"written too long after", "\x83\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00" + data, malformed},

		{"a field twice", and + name, malformed},
		{"an unknown field twice", head + "\xa3" + name + "\x61x\x01\x61x\x01", malformed},
		{"an entry twice", and + "\x63Map\xa2\x61a\x01\x61a\x01", malformed},
		{"a list without a length", "\x9f" + now + "\x00" + data + "\xff", malformed},
		{"a map without a length", head + "\xbf" + name + "\xff", malformed},
		{"a text without a length", head + "\xa1\x64Name\x7f\x65Alice\xff", malformed},
		{"an unknown list without a length", and + "\x61x\x9f\xff", malformed},
		{"a tag around it", "\xd9\xd9\xf7" + head + data, malformed},
		{"a tag on the beginning", "\x83\xc1" + now + "\x00" + data, malformed},
		{"a tag on a time", and + "\x64Time\xc1\x00", malformed},
		{"a tag on an unknown field", and + "\x61x\xc1\x00", malformed},
		{"an unknown field that is too deep", nested(15), malformed},
		{"a text that isn't UTF-8", head + "\xa1\x64Name\x65\xffice", malformed},
		{"a name that isn't UTF-8", and + "\x61\xff\x01", malformed},
		{"a reserved length", and + "\x61x\x1c", malformed},
		{"a list longer than all there is", and + "\x64List\x9b" + huge, malformed},
		{"a text longer than all there is", and + "\x61x\x7b" + huge, malformed},
	}
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[fitting](t, o)
		for _, tt := range tests {
			value := sealBytes(t, m, []byte(tt.content))
			v := m.open(&http.Cookie{Name: m.cookie, Value: value}, golden)
			if v.verdict != tt.want || v.readable() != (tt.want == valid) {
				t.Errorf("%s: got %v, want %v", tt.name, v.verdict, tt.want)
			}
			if v.keyID != m.ring.Load().seal.id || v.codec != m.ring.Load().seal ||
				string(v.content) != tt.content {
				t.Errorf("%s: got key id %q and content %q", tt.name, v.keyID, v.content)
			}
			empty := reflect.DeepEqual(v.session, fitting{}) &&
				reflect.DeepEqual(v.payload, sealedData{})
			if empty != (tt.want == malformed) {
				t.Errorf("%s: got %v with %+v", tt.name, v.verdict, v.payload)
			}
			// It is left alone until something is stored.
			if after, why, err := saveOf(t, m, v, value); after != value || err != nil {
				t.Errorf("%s: got %v and error %v", tt.name, why, err)
			}
		}
	})
}

// The case of a field's name counts.
func TestFieldOfOtherCaseIsAnother(t *testing.T) {
	type capital struct{ Name string }
	type small struct {
		Name string `cbor:"name"`
	}
	big, tiny := newTestSessions[capital](t, options{}), newTestSessions[small](t, options{})
	value := first(t, big, capital{Name: "Alice"})
	if got := look(t, tiny, value); got.Name != "" {
		t.Errorf("got %q for name from Name", got.Name)
	}
	value, _ = turn(t, tiny, value, func(s *small) { s.Name = "Bob" })
	if a, b := look(t, big, value).Name, look(t, tiny, value).Name; a != "Alice" || b != "Bob" {
		t.Errorf("got %q and %q, want Alice and Bob", a, b)
	}
}

// What couldn't be opened again is never sealed, and the visitor keeps what was there.
func TestStoringWhatCantBeOpened(t *testing.T) {
	type list []any
	deep := func(n int) (l list) {
		for range n {
			l = list{l}
		}
		return l
	}
	type nested struct {
		Name string
		Any  any
	}
	tests := []struct {
		name string
		s    nested
		says string // in the error, if there is to be one
	}{
		{"as deep as can be", nested{Any: deep(13)}, ""},
		{"too deep", nested{Any: deep(14)}, "decoded"},
		{"a name that isn't UTF-8", nested{Name: "\xff"}, "decoded"},
		{"a tag", nested{Any: new(big.Int).Lsh(big.NewInt(1), 64)}, "decoded"},
		{"a channel", nested{Any: make(chan int)}, "encoded"},
		{"a function", nested{Any: func() {}}, "encoded"},
		{"more than fits", nested{Any: make([]int, 1<<17+1)}, "too large"},
		{"entries more than fit", nested{Any: someMap(1<<17 + 1)}, "too large"},
	}
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[nested](t, o)
		good := first(t, m, nested{Name: "Alice"})
		for _, value := range []string{"", good, flipLast(good)} {
			for _, tt := range tests {
				if tt.says == "too large" && value != good {
					continue // once is enough for what takes so long
				}
				v := visitOf(m, value)
				v.session = tt.s
				after, why, err := saveOf(t, m, v, value)
				if tt.says == "" {
					if why != changed || err != nil || openValue(m, after).verdict != valid {
						t.Errorf("%s: got %v and error %v", tt.name, why, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), tt.says) || why != unchanged ||
					after != value {
					t.Errorf("%s: got %v and error %v, want one with %q", tt.name, why, err, tt.says)
				}
				var over *oversizedError
				if got := errors.As(err, &over); got != (tt.says == "too large") {
					t.Errorf("%s: got an oversizedError: %v", tt.name, got)
				}
			}
		}
	})
	// The site's own session.
	a := newTestApp(t, options{})
	v := a.sessions.load(httptest.NewRequest("POST", "/", nil))
	v.session.Name = "\xff"
	w := httptest.NewRecorder()
	if _, _, err := a.sessions.save(w, v); err == nil || len(w.Header()) > 0 {
		t.Errorf("got error %v and header %v for a name that isn't UTF-8", err, w.Header())
	}
}

// someMap returns a map with n entries.
func someMap(n int) map[int]bool {
	m := make(map[int]bool)
	for i := range n {
		m[i] = true
	}
	return m
}

// A type that CBOR can't carry is found when the program starts.
func TestTypesThatCantBeSessions(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "unsupported type") {
			t.Errorf("got %v, want a panic that says why", p)
		}
	}()
	newSessions[struct{ Done chan bool }](options{}.settings())
}

// A session close to the limit whose cookie would become too large by being
// written again, without any change, stays as it is.
func TestCloseToTheLimit(t *testing.T) {
	largest := func(t *testing.T, m *sessions[fixed]) string {
		for n := 2400; ; n-- {
			v := visitOf(m, "")
			v.session.Name = strings.Repeat("x", n)
			if value, why, err := saveOf(t, m, v, ""); err == nil && why == changed {
				return value
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		signed := newTestSessions[fixed](t, options{signed: true})
		value := largest(t, signed)
		encrypted := newTestSessions[fixed](t, options{})
		look(t, encrypted, value) // would be re-sealed
		name := look(t, signed, value).Name
		v := visitOf(encrypted, value)
		v.session.Name += "x"
		var over *oversizedError
		if _, _, err := saveOf(t, encrypted, v, value); !errors.As(err, &over) {
			t.Errorf("got error %v for a session that was made larger, want an oversizedError", err)
		}
		_, why := turn(t, encrypted, value, func(s *fixed) { s.Name = name[100:] })
		if why != changed {
			t.Errorf("got %v for a session that was made smaller, want changed", why)
		}
	})
	bothModes(t, func(t *testing.T, o options) {
		synctest.Test(t, func(t *testing.T) {
			m := newTestSessions[fixed](t, o)
			value := largest(t, m)
			time.Sleep(m.idle / 4)
			look(t, m, value) // would be renewed, with the time since it began in more bytes
			time.Sleep(m.idle - m.idle/4)
			look(t, m, value)
			time.Sleep(time.Second)
			if v := visitOf(m, value); v.verdict != expired {
				t.Errorf("got %v, want the limit to hold", v.verdict)
			}
		})
	})
}

// Exactly as many bytes as fit do fit. Only with a name of such a length can there be so many.
func TestExactlyAtTheLimit(t *testing.T) {
	o := options{}.settings()
	o.cookie = "my_cookie"
	m := newSessions[fixed](o)
	signed, encrypted := newTestManager(t, options{signed: true}), newTestManager(t, options{})
	found := 0
	for n := 2000; n < 2300; n++ {
		m.ring.Store(encrypted.ring.Load())
		v := visitOf(m, "")
		v.session.Name = strings.Repeat("x", n)
		value, _, _ := saveOf(t, m, v, "")
		if len(m.cookie+value) != 4096 {
			continue
		}
		found++
		m.ring.Store(signed.ring.Load())
		value = first(t, m, v.session)
		m.ring.Store(encrypted.ring.Load())
		value, why := turn(t, m, value, func(*fixed) {})
		if size := len(m.cookie + value); why != resealed || size != 4096 {
			t.Errorf("got %v with %d bytes, want re-sealed with 4096", why, size)
		}
	}
	if found == 0 {
		t.Error("no session was as large as can be")
	}
}

// The keys may be read again between load and save.
func TestKeysReadAgainMeanwhile(t *testing.T) {
	m := newTestSessions[fixed](t, options{})
	value := first(t, m, fixed{Name: "Alice"})
	for _, tt := range []struct {
		keys []string
		want reason
	}{
		{[]string{keyA}, unchanged},
		{[]string{keyA, keyB}, unchanged},
		{[]string{keyB, keyA}, resealed},
		{[]string{keyC}, resealed},
	} {
		v := visitOf(m, value)
		if v.verdict != valid {
			t.Fatalf("got %v", v.verdict)
		}
		m.ring.Store(newTestSessions[fixed](t, options{keys: tt.keys}).ring.Load())
		after, why, err := saveOf(t, m, v, value)
		if why != tt.want || err != nil || openValue(m, after).session.Name != "Alice" {
			t.Errorf("%v: got %v and error %v", tt.keys, why, err)
		}
		m.ring.Store(newTestSessions[fixed](t, options{}).ring.Load())
	}
}

// counted counts how often it is encoded and decoded.
type counted struct{ n int }

var encoded, decoded int

func (c counted) MarshalCBOR() ([]byte, error) {
	encoded++
	return encoding.Marshal(c.n)
}

func (c *counted) UnmarshalCBOR(b []byte) error {
	decoded++
	return decoding.Unmarshal(b, &c.n)
}

// An unchanged visit is decoded once and encoded once, to find that out.
func TestOneDecodeAndOneEncode(t *testing.T) {
	type counting struct {
		Name  string
		Count counted
	}
	bothModes(t, func(t *testing.T, o options) {
		m := newTestSessions[counting](t, o)
		value := first(t, m, counting{Name: "Alice", Count: counted{5}})
		encoded, decoded = 0, 0
		v := visitOf(m, value)
		if v.session.Count.n != 5 || encoded != 0 || decoded != 1 {
			t.Errorf("got %+v after %d encodes and %d decodes, want 0 and 1",
				v.session, encoded, decoded)
		}
		if _, why, err := saveOf(t, m, v, value); why != unchanged || err != nil ||
			encoded != 1 || decoded != 1 {
			t.Errorf("got %v after %d encodes and %d decodes, want unchanged after 1 and 1",
				why, encoded, decoded)
		}
	})
}

func TestBytesOfACookie(t *testing.T) {
	atGolden(t, func(t *testing.T) {
		for _, tt := range []struct {
			signed bool
			want   int
		}{{true, 112}, {false, 140}} {
			m := newTestSessions[fixed](t, options{signed: tt.signed})
			value := first(t, m, fixed{Name: "Alice"})
			if got := len(m.cookie + value); got > tt.want {
				t.Errorf("got %d bytes for Alice, want %d at most (signed alone: %v)", got, tt.want, tt.signed)
			}
			// Also at the end of a long life.
			p := payload[fixed]{Began: golden, Since: 90 * 86400, Data: fixed{Name: "Alice"}}
			if got := len(m.cookie + sealed(t, m, p)); got > tt.want+8 {
				t.Errorf("got %d bytes for Alice after 90 days", got)
			}
		}
	})
}

// shop is a main.go for session.go and keys.go alone, if the README has none.
const shop = `package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"
)

// basket is what this shop remembers of a visitor.
type basket struct{ Items []string }

func main() {
	baskets := newSessions[basket](settings{
		cookie: "basket", persist: true, idle: 14 * 24 * time.Hour, lifetime: 90 * 24 * time.Hour,
	})
	keys := newKeyFile("ring", true, func(r *ring) { baskets.ring.Store(r) })
	if _, err := keys.load(true); err != nil {
		log.Fatal(err)
	}
	go keys.watch(context.Background(), nil, func(err error) { log.Println("key file:", err) })

	http.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		v := baskets.load(r)
		if item := r.PostFormValue("item"); item != "" {
			v.session.Items = append(v.session.Items, item)
		}
		if _, _, err := baskets.save(w, v); err != nil { // before anything is written
			http.Error(w, "This does not fit into your basket.", http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, "In your basket: %q\n", v.session.Items)
	})
	sameOrigin := http.NewCrossOriginProtection()
	log.Fatal(http.ListenAndServe("localhost:8080", sameOrigin.Handler(http.DefaultServeMux)))
}
`

// ownServer returns the README's main.go for an own server.
func ownServer(t *testing.T) string {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(readme, -1)
	for _, block := range blocks {
		if bytes.Contains(block[1], []byte("package main")) {
			return string(block[1])
		}
	}
	return shop
}

// The core, copied alone into an empty module, is enough for another server. It
// needs securecookie, CBOR, and what CBOR needs.
func TestCoreLiftsOut(t *testing.T) {
	t.Parallel()
	modules := map[string]string{
		"github.com/fxamacker/cbor/v2":    "",
		"github.com/gorilla/securecookie": "",
		"github.com/x448/float16":         "",
	}
	ours, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	goMod := "module shop\n\n" + string(regexp.MustCompile(`(?m)^go .*\n`).Find(ours))
	for path := range modules {
		version := regexp.MustCompile(`(?m)^\s*(?:require )?` + path + ` (v\S+)`).FindSubmatch(ours)
		if version == nil {
			t.Fatalf("go.mod has no %s", path)
		}
		goMod += fmt.Sprintf("require %s %s\n", path, version[1])
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()

	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", goMod)
	write("main.go", strings.ReplaceAll(ownServer(t), "localhost:8080", addr))
	write("ring", keyA+"\n")
	for _, name := range []string{"session.go", "keys.go", "go.sum"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(content))
	}
	deps := buildAlone(t, dir)
	want := append(slices.Sorted(maps.Keys(modules)), "shop")
	if !slices.Equal(deps, want) {
		t.Errorf("got the modules %v, want %v", deps, want)
	}

	// It runs, and remembers what it was sent.
	server := exec.Command(filepath.Join(dir, "shop.exe"))
	server.Dir, server.Stderr = dir, t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	send := func(method, body string) string {
		t.Helper()
		r, _ := http.NewRequest(method, "http://"+addr+"/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("got status %d, %q and error %v", res.StatusCode, text, err)
		}
		return string(text)
	}
	for range 200 { // until it listens
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	send("POST", "item=tea")
	send("POST", "item=milk")
	if got := send("GET", ""); !strings.Contains(got, "tea") || !strings.Contains(got, "milk") {
		t.Errorf("got %q, want what was sent before", got)
	}
}
