package sessions_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/sessions"

	"github.com/fxamacker/cbor/v2"
)

// notation returns v in CBOR's diagnostic notation, in which nothing makes a difference
// that makes none for a session.
func notation(v any) string {
	options := cbor.CoreDetEncOptions()
	options.NilContainers, options.Time = cbor.NilContainerAsEmpty, cbor.TimeRFC3339NanoUTC
	return made(cbor.Diagnose(made(made(options.EncMode()).Marshal(v))))
}

// wantSame fails unless two sessions say the same.
func wantSame(t testing.TB, name string, got, want any) {
	t.Helper()
	if got, want := notation(got), notation(want); got != want {
		t.Errorf("%s: got  %s\nwant %s", name, got, want)
	}
}

// place is a struct in a struct.
type place struct {
	City string
	Seen []time.Time
}

// Base is embedded, so its field counts as the outer one's.
type Base struct{ Embedded string }

// code is for TextMarshaler alone.
type code struct{ text string }

func (c code) MarshalText() ([]byte, error)  { return []byte(c.text), nil }
func (c *code) UnmarshalText(b []byte) error { c.text = string(b); return nil }

// kinds has fields of every kind that a site may want to keep.
type kinds struct {
	Base
	Text    string
	Int     int
	Large   uint64
	Float   float64
	Bytes   []byte
	Array   [4]byte
	Time    time.Time
	Length  time.Duration
	List    []string
	Map     map[string]int
	Years   map[int]string
	Grid    map[[2]int]string
	Place   place
	Home    *place
	Maybe   *bool
	Friends []*place
	Address netip.Addr
	Code    code
	Flash   sessions.Flash
	Named   string `cbor:"n"`
	Number  int    `cbor:"1,keyasint"`
	JSON    string `json:"j,omitempty"`
}

// someKinds returns a session with something in each field.
func someKinds() kinds {
	when := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	return kinds{
		Base: Base{Embedded: "x"}, Text: "Žofia \x00\n\"", Int: math.MinInt,
		Large: math.MaxUint64, Float: math.Pi,
		Bytes: []byte{0, 255}, Array: [4]byte{1, 2, 3, 4},
		Time: when, Length: time.Minute, List: []string{"", "a", "b"},
		Map: map[string]int{"": 0, "a": 1, "b": -1}, Years: map[int]string{-44: "Caesar"},
		Grid:  map[[2]int]string{{1, 2}: "x", {3, 4}: "o"},
		Place: place{City: "Praha", Seen: []time.Time{when}}, Home: &place{City: "Brno"},
		Maybe:   new(bool),
		Friends: []*place{{City: "Bonn"}, nil},
		Address: netip.MustParseAddr("::1"), Code: code{"c"}, Flash: sessions.Flash{"Hello."},
		Named: "named", Number: 7, JSON: "json",
	}
}

func TestEveryKindOfFieldSurvives(t *testing.T) {
	bothModes(t, func(t *testing.T, signOnly bool) {
		m := managerOf(sessions.Options[kinds]{SignOnly: signOnly})
		want := someKinds()
		all := reflect.ValueOf(want)
		for i := range all.NumField() {
			if all.Field(i).IsZero() {
				t.Errorf("the test has nothing in %s", all.Type().Field(i).Name)
			}
		}
		got := look(t, m, begun(t, m, want))
		// A slice that is empty may come back as nil or not.
		got.Home.Seen, got.Friends[0].Seen = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// A change is one of what is in the session, however deep.
func TestChangesAreFound(t *testing.T) {
	m := managerOf(sessions.Options[kinds]{})
	value, elsewhere := begun(t, m, someKinds()), time.FixedZone("", 3600)
	for why, changes := range map[sessions.Reason]map[string]func(*kinds){
		sessions.Changed: {
			"the time, by a nanosecond": func(s *kinds) { s.Time = s.Time.Add(1) },
			"a float, by a bit":         func(s *kinds) { s.Float = math.Nextafter(s.Float, 4) },
			"one more item":             func(s *kinds) { s.List = append(s.List, "") },
			"the order":                 func(s *kinds) { slices.Reverse(s.List) },
			"inside a struct":           func(s *kinds) { s.Place.Seen[0] = time.Time{} },
			"behind a pointer":          func(s *kinds) { s.Home.City = "Praha" },
			"a pointer, to nil":         func(s *kinds) { s.Maybe = nil },
			"an embedded field":         func(s *kinds) { s.Embedded = "" },
			"a flash that is taken":     func(s *kinds) { s.Flash.Take() },
			"a flash that is added":     func(s *kinds) { s.Flash.Add("x") },
		},
		sessions.Unchanged: {
			"the same time elsewhere":    func(s *kinds) { s.Time = s.Time.In(elsewhere) },
			"there and back":             func(s *kinds) { s.List[0] = "x"; s.List[0] = "" },
			"nil for an empty slice":     func(s *kinds) { s.Home.Seen = nil },
			"the same entries elsewhere": func(s *kinds) { s.Map = maps.Clone(s.Map) },
		},
	} {
		for name, do := range changes {
			want := look(t, m, value)
			do(&want)
			wantSame(t, name, look(t, m, turn(t, m, value, why, do)), want)
		}
	}
}

// An empty session is no cookie: neither a new one, nor one that is changed to nothing.
func TestEmptySessionIsNoCookie(t *testing.T) {
	m := managerOf(sessions.Options[kinds]{})
	value := begun(t, m, someKinds())
	for _, empty := range []kinds{
		{}, {List: []string{}, Bytes: []byte{}, Map: map[string]int{}, Time: time.Time{}.Local()},
	} {
		turn(t, m, "", sessions.Unchanged, func(s *kinds) { *s = empty })
		turn(t, m, value, sessions.Cleared, func(s *kinds) { *s = empty })
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
	tests := map[string]struct {
		do   func(*older)
		want func(*newer)
	}{
		"a field": {func(s *older) { s.Name = "Bob" }, func(s *newer) { s.Name = "Bob" }},
		"inside a field": {func(s *older) { s.Box.User = "bob" },
			func(s *newer) { s.Box.User, s.Box.Admin = "bob", false }},
		"inside a field, to nothing": {func(s *older) { s.Box.User = "" },
			func(s *newer) { s.Box.User, s.Box.Admin = "", false }},
		"a field that it leaves out": {func(s *older) { s.Bag.Items = []string{"tea"} },
			func(s *newer) { s.Bag.Items, s.Bag.Gift = []string{"tea"}, false }},
	}
	bothModes(t, func(t *testing.T, signOnly bool) {
		old := managerOf(sessions.Options[older]{SignOnly: signOnly})
		next := managerOf(sessions.Options[newer]{SignOnly: signOnly})
		value := begun(t, next, someNewer())
		look(t, old, value)
		for name, tt := range tests {
			want := someNewer()
			tt.want(&want)
			wantSame(t, name, look(t, next, turn(t, old, value, sessions.Changed, tt.do)), want)
		}
		// All that it knows to nothing ends the session; only what it doesn't know stays.
		turn(t, old, value, sessions.Cleared, func(s *older) { *s = older{} })
		dark := begun(t, next, newer{Theme: "dark"})
		look(t, old, dark)
		// Clear ends that as well, also after a Save which has kept it.
		s := old.Load(comes(old, dark))
		saveOf(t, old, s, dark)
		s.Clear()
		if _, why, err := saveOf(t, old, s, dark); why != sessions.Cleared || err != nil {
			t.Errorf("cleared after a Save: got %v and %v", why, err)
		}
		// Sealed again, under a new key and in the other mode.
		other := managerOf(sessions.Options[older]{SignOnly: !signOnly}, hexB, hexA)
		value = turn(t, other, value, sessions.Resealed, func(*older) {})
		next = managerOf(sessions.Options[newer]{SignOnly: !signOnly}, hexB, hexA)
		wantSame(t, "re-sealed", look(t, next, value), someNewer())
	})
}

// Fields to forget go at the next look, as a renewal, others stay.
func TestForget(t *testing.T) {
	next := managerOf(sessions.Options[newer]{})
	old := managerOf(sessions.Options[older]{Forget: []string{"Theme", "Other"}})
	value, want := begun(t, next, someNewer()), someNewer()
	want.Theme = ""
	after := turn(t, old, value, sessions.Renewed, func(*older) {})
	wantSame(t, "at a look", look(t, next, after), want)
	look(t, old, after)
	after = turn(t, old, value, sessions.Changed, func(s *older) { s.Name = "Bob" })
	want.Name = "Bob"
	wantSame(t, "at a change", look(t, next, after), want)
	s := old.Load(comes(old, value))
	if s.Undo(); s.Data.Name != "Alice" {
		t.Errorf("got %+v after Undo", s.Data)
	}
}

// A payload that doesn't fit is malformed, and nothing of it is in the session.
func TestPayloadsThatDontFit(t *testing.T) {
	type fitting struct {
		Name string
		Age  int
		List []string
		Map  map[string]int
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
		"a number for a text":               head + "\xa1\x64Name\x01",
		"a fourth item that is no device":   "\x84" + now + "\x00" + data + "\x00",
		"a device's key that is too short":  "\x84" + now + "\x00" + data + "\x41\x02",
		"a byte more":                       head + data + "\x00",
		"a float for the beginning":         "\x83\xfa\x4e\xd2\xab\x72\x00" + data,
		"before 1970":                       "\x83\x20\x00" + data,
		"after 2106":                        "\x83\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00" + data,
		"written before it began":           "\x83" + now + "\x20" + data,
		"a field twice":                     and + name,
		"an unknown field twice":            head + "\xa3" + name + "\x61x\x01\x61x\x01",
		"an entry twice":                    and + "\x63Map\xa2\x61a\x01\x61a\x01",
		"a map without a length":            head + "\xbf" + name + "\xff",
		"a tag on an unknown field":         and + "\x61x\xc1\x00",
		"an unknown field that is too deep": nested(15),
		"a text that isn't UTF-8":           head + "\xa1\x64Name\x65\xffice",
		"a list longer than all there is":   and + "\x64List\x9b" + huge,
	}
	atGolden(t, func(t *testing.T) {
		m := managerOf(sessions.Options[fitting]{})
		for want, contents := range map[sessions.Verdict]map[string]string{
			sessions.Valid: good, sessions.Malformed: bad,
		} {
			for name, content := range contents {
				value := forge(hexA, false, m.CookieName(), []byte(content))
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
		value := forge(hexA, false, m.CookieName(), []byte(bad["a number for a text"]))
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
	m := managerOf(sessions.Options[data]{})
	good := begun(t, m, data{Name: "Alice"})
	for says, bad := range map[string][]data{
		"":                 {{Raw: deep(14)}}, // as deep as can be
		"decoded again":    {{Raw: deep(15)}, {Name: "\xff"}, {Raw: "\xc1\x00"}},
		"can't be encoded": {{Raw: "error"}},
		"too large":        {{List: make([]int, 1<<17+1)}},
	} {
		for _, data := range bad {
			c, errSeal := m.Seal(data)
			for _, value := range []string{"", good, flipped(good)} {
				s := m.Load(comes(m, value))
				s.Data = data
				after, _, err := saveOf(t, m, s, value)
				if (after == value) != (says != "") || fmt.Sprint(err) != fmt.Sprint(errSeal) {
					t.Errorf("got %v, and %v of Seal", err, errSeal)
				}
			}
			var over *sessions.TooLargeError
			if says == "" && errSeal == nil {
				continue
			}
			if c != nil || !strings.HasPrefix(fmt.Sprint(errSeal), "sessions: ") ||
				!strings.Contains(errSeal.Error(), says) ||
				errors.As(errSeal, &over) != (says == "too large") {
				t.Errorf("got %v and %v, want one with %q", c, errSeal, says)
			}
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
	m := managerOf(sessions.Options[counting]{})
	value := begun(t, m, counting{Name: "Alice", Count: counted{5}})
	encodes, decodes = 0, 0
	if got := look(t, m, value); got.Count.n != 5 || encodes != 1 || decodes != 1 {
		t.Errorf("got %+v after %d encodes and %d decodes, want 1 and 1", got, encodes, decodes)
	}
}

// A cookie stays small, also at the end of a long life.
func TestBytesOfACookie(t *testing.T) {
	m := managerOf(options{Insecure: true})
	if got := len(m.CookieName() + aged(m, 90*86400, 0)); got > 148 {
		t.Errorf("got %d bytes, want 148 at most", got)
	}
}

// Whatever is sealed, opening it does not panic, and gives a session that can be kept,
// or none.
func FuzzPayload(f *testing.F) {
	for _, v := range []any{
		[]any{golden, 3600, someKinds()}, []any{golden, 0, someNewer()}, []any{golden, 0, nil},
		[]any{golden, 0, map[string]any{"Text": 1}}, []any{golden}, "Alice",
		[]any{golden, 0, map[string]any{"Array": []int{1, 2, 3, 4, 5}}},
		[]any{golden, 0, map[string]any{}, make([]byte, 33)},
	} {
		f.Add(made(cbor.Marshal(v)))
	}
	f.Add([]byte("\x83\x01\x02\xbf\xff"))
	m := managerOf(sessions.Options[kinds]{SignOnly: true})
	f.Fuzz(func(t *testing.T, content []byte) {
		c := &http.Cookie{Value: forge(hexA, true, m.CookieName(), content)}
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
		// What fits may be of any time: judged at its own, it has not changed.
		var parts []cbor.RawMessage
		if s.Verdict() == sessions.Malformed || s.Verdict() == sessions.TooLarge ||
			cbor.Unmarshal(content, &parts) != nil || len(parts) != 3 {
			return
		}
		c.Value = forge(hexA, true, m.CookieName(), payloadOf(0, 0, parts[2]))
		s = m.Open(c)
		_, why, err := saveOf(t, m, s, c.Value)
		if s.Verdict() != sessions.Valid || why != sessions.Unchanged || err != nil {
			t.Fatalf("got %v, %v and %v for %x", s.Verdict(), why, err, content)
		}
	})
}
