package report_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"cookiesession/internal/report"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"

	"github.com/fxamacker/cbor/v2"
)

// visitor is a session of the tests.
type visitor struct{ Name string }

// keys are those of the tests alone.
func keys(t *testing.T, digits ...string) *sessions.Keyring {
	t.Helper()
	var all []sessions.Key
	for _, d := range digits {
		k, err := sessions.ParseKey(d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	ring, err := sessions.NewKeyring(all[0], all[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

const keyA, keyB = testkit.KeyA, testkit.KeyB

// manager returns a manager on plain http.
func manager[T any](t *testing.T, ring *sessions.Keyring, signOnly bool) *sessions.Manager[T] {
	t.Helper()
	m, err := sessions.New(ring, sessions.Options[T]{Insecure: true, SignOnly: signOnly})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// seal returns the value of a cookie with data.
func seal[T any](t *testing.T, m *sessions.Manager[T], data T) string {
	t.Helper()
	c, err := m.Seal(data)
	if err != nil {
		t.Fatal(err)
	}
	return c.Value
}

// open has the value of a cookie judged.
func open[T any](m *sessions.Manager[T], value string) *sessions.Session[T] {
	return m.Open(&http.Cookie{Name: m.CookieName(), Value: value})
}

// made returns a value that has the form of a cookie's, with any payload and no good MAC.
func made(content []byte) string {
	sealed := "1767225600|" + base64.URLEncoding.EncodeToString(content) + "|" +
		strings.Repeat("m", 32)
	return "aaaaaa." + base64.RawURLEncoding.EncodeToString([]byte(sealed))
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	content, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// verdictTest is a cookie of a certain age and what is to be known of it.
type verdictTest struct {
	verdict      sessions.Verdict
	value        string
	age          time.Duration
	failed, says string // the part that has failed, and why
	sealed       bool   // by us, so its times are known
}

// Every verdict is explained, with the part that failed, with no more of the MAC than its
// first four characters, and with what is in the cookie only if it is valid.
func TestVerdicts(t *testing.T) {
	ring := keys(t, keyA)
	m, future := manager[visitor](t, ring, true), ""
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(2 * time.Hour)
		future = seal(t, m, visitor{Name: "Alice"})
	})
	synctest.Test(t, func(t *testing.T) {
		type numbered struct{ Name int }
		other := seal(t, manager[numbered](t, ring, true), numbered{Name: 7})
		good, began := seal(t, m, visitor{Name: "Alice"}), time.Now()
		tampered := good[:len(good)-9] + "AAAAAAAAA"
		const day = 24 * time.Hour
		for _, tt := range []verdictTest{ // in the order of their ages
			{"none", "", 0, "", "sent no session cookie", false},
			{"malformed", "x" + good, 0, "", "doesn't have the form", false},
			{"malformed", other, 0, "payload", "doesn't fit what the site keeps now", true},
			{"too large", good + strings.Repeat("A", 4096), 0, "", "larger than any", false},
			{"unknown key", "aaaaaa" + good[6:], 0, "id", "that this server doesn't have", false},
			{"tampered", tampered, 0, "mac", "Its seal doesn't fit", false},
			{"from the future", future, 0, "", "still to come", true},
			{"valid", good, 0, "", "it is intact", true},
			{"expired", good, 15 * day, "", "nobody used it for", true},
			{"too old", good, 91 * day, "", "it began too long ago", true},
		} {
			time.Sleep(time.Until(began.Add(tt.age)))
			s := open(m, tt.value)
			if tt.value == "" {
				s = m.Open(nil)
			}
			r := report.Of(report.Site{Cookie: m.CookieName(), Keys: ring, SignOnly: true}, s)
			why := report.Site{}.Why(s.Cookie())
			if !strings.Contains(why, tt.says) || !strings.Contains(r.Why(), tt.says) {
				t.Errorf("%s: got the reasons %q and %q", tt.verdict, why, r.Why())
			}
			tt.checkText(t, r)
			tt.checkParts(t, r)
		}
	})
}

func (tt verdictTest) checkText(t *testing.T, r report.Report) {
	t.Helper()
	text := r.Text("session")
	head := "verdict       " + string(tt.verdict) + "\n"
	if tt.value != "" {
		head += fmt.Sprintf("size          %d of 4096 bytes\n", len("session"+tt.value))
	}
	if !strings.HasPrefix(text, head) || !strings.HasSuffix(text, "\nmeaning       "+r.Why()) {
		t.Errorf("%s: got %s", tt.verdict, text)
	}
	isSealed := strings.Contains(text, "\nmode          signed\n")
	hasTimes := strings.Contains(text, "\nbegan ")
	if r.Verified() != tt.sealed || isSealed != tt.sealed || hasTimes != tt.sealed ||
		r.Began.IsZero() == tt.sealed {
		t.Errorf("%s: want verified, with its times: %v: %s", tt.verdict, tt.sealed, text)
	}
	isValid := tt.verdict == sessions.Valid
	if r.Readable != isValid || strings.Contains(text+r.Notation, "Alice") != isValid {
		t.Errorf("%s: got its content told: %s, %s", tt.verdict, text, r.Notation)
	}
}

func (tt verdictTest) checkParts(t *testing.T, r report.Report) {
	t.Helper()
	failed := ""
	for _, p := range r.Parts {
		if p.Failed {
			failed += p.Class
		}
		if p.Class == "mac" && len(p.Text) > 4 {
			t.Errorf("%s: got %d characters of the MAC", tt.verdict, len(p.Text))
		}
	}
	told := strings.Contains(r.Text("session"), ", failed\n")
	if failed != tt.failed || told != (failed != "") || (len(r.Parts) != 0) != (r.KeyID != "") {
		t.Errorf("%s: got %q failed, want %q, of %+v", tt.verdict, failed, tt.failed, r.Parts)
	}
}

// Every verdict has a sentence of its own, but for the two kinds of malformed.
func TestEveryVerdictHasASentence(t *testing.T) {
	seen := make(map[string]bool)
	all := append(sessions.Checks(), sessions.Check{Verdict: sessions.Valid})
	for passed, c := range all {
		why := report.Site{}.Why(sessions.Cookie{Verdict: c.Verdict, Passed: passed})
		if seen[why] {
			t.Errorf("%s: got %q again", c.Verdict, why)
		}
		seen[why] = true
	}
}

// Where the keys end with the server, it is said why so many of them are unknown.
func TestKeysEnd(t *testing.T) {
	for _, ends := range []bool{false, true} {
		why := report.Site{KeysEnd: ends}.Why(sessions.Cookie{Verdict: sessions.UnknownKey})
		if got := strings.Contains(why, "makes a new key each time it starts"); got != ends {
			t.Errorf("KeysEnd %v: got %q", ends, why)
		}
	}
}

// Every field is shown, also one that the program does not know: text as it is, anything
// else in CBOR's notation.
func TestEveryFieldIsShown(t *testing.T) {
	type wide struct {
		Name  string
		Cart  []string `cbor:"cart"`
		Empty string   `cbor:"empty"`
		None  *int     `cbor:"none"`
		Token []byte   `cbor:"token"`
		Short string   `cbor:"7,keyasint"`
	}
	ring := keys(t, keyA)
	value := seal(t, manager[wide](t, ring, true), wide{
		Name: "Žofia", Cart: []string{"tea", "<b>"}, Token: []byte{1, 171}, Short: "short",
	})
	const lists = "\ncart          [\"tea\", \"<b>\"]\nempty         "
	text := "\n7             short\nname          Žofia" + lists +
		"\nnone          null\ntoken         h'01ab'"
	inspected := "\n7             \"short\"\nname          \"Žofia\"" + lists +
		"\"\"\nnone          null\ntoken         h'01ab'"
	r := report.Of(report.Site{Keys: ring}, open(manager[visitor](t, ring, true), value))
	if got := r.Text("session"); !strings.Contains(got, text+"\n") {
		t.Errorf("got  %s\nwant %s", got, text)
	}
	if got := r.Text("inspect"); !strings.HasSuffix(got, inspected) {
		t.Errorf("got  %s\nwant %s", got, inspected)
	}
	r = report.Peek[visitor]("session", value)
	if got := r.Text("inspect"); !strings.HasSuffix(got, inspected) {
		t.Errorf("without a key: got  %s\nwant %s", got, inspected)
	}
}

// Nobody has verified what is shown without a key, and it is shown on a terminal.
func TestNothingReachesTheTerminal(t *testing.T) {
	const command = "\x1b[31m\n\u202e\u009b"
	data := map[string]any{
		"Name": command, command: 1, "List": []string{command}, "Map": map[string]int{command: 1},
	}
	for _, p := range []map[string]any{data, {"Any": []any{data, command}}} {
		r := report.Peek[visitor]("session", made(encoded(t, []any{0, 0, p})))
		text := r.Text("inspect")
		unsafe := func(c rune) bool { return unicode.IsControl(c) || c == '\u202e' }
		if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), unsafe); i >= 0 {
			t.Errorf("got a control character in %q", text)
		}
		lines := strings.Count(text, "\n")
		r.Fields = nil
		if rest := strings.Count(r.Text("inspect"), "\n"); lines-rest != len(p) {
			t.Errorf("got %d lines for %d fields in %q", lines-rest, len(p), text)
		}
	}
}

// The parts are where they are, to the nearest character, and add up to the value.
func TestWhereThePartsAre(t *testing.T) {
	for name, want := range map[string][]int{"Alice": {7, 15, 39, 42}, "Al": {7, 15, 33, 43}} {
		var got []int
		value, end := made(encoded(t, []any{1767225600, 0, visitor{Name: name}})), 0
		for _, p := range report.Parts[visitor](value, sessions.Valid) {
			got = append(got, p.Chars)
			decoded := map[string]string{
				"id": "aaaaaa", "stamp": "1767225600 = 1 January 2026, 00:00:00 UTC",
			}
			if p.Start != end || p.Decoded != decoded[p.Class] || len(p.Text)+p.More != p.Chars {
				t.Errorf("%s: got %+v, want it at %d", name, p, end)
			}
			end += p.Chars
		}
		forged := value[:8] + "W" + value[9:]
		if got := report.Parts[visitor](forged, sessions.Tampered)[1].Decoded; got != `"1g67225600"` {
			t.Errorf("got %s for a time stamp that is none", got)
		}
		if !slices.Equal(got, want) || end != len(value) {
			t.Errorf("%s: got parts of %v characters, want %v", name, got, want)
		}
	}
}

// Of a cookie in another spelling no part is said to be at fault: nobody has looked.
func TestNoPartIsBlamed(t *testing.T) {
	canonical := made(encoded(t, []any{1767225600, 0, visitor{Name: "Al"}}))
	value, ok := strings.CutSuffix(canonical, "0")
	if value += "1"; !ok { // it has a bit more than is needed
		t.Fatal("got another spelling")
	}
	ring := keys(t, keyA)
	r := report.Of(report.Site{Keys: ring}, open(manager[visitor](t, ring, true), value))
	isFailed := func(p report.Part) bool { return p.Failed }
	if r.Verdict != sessions.Malformed || len(r.Parts) != 4 ||
		slices.ContainsFunc(r.Parts, isFailed) {
		t.Errorf("got %+v", r)
	}
}

// What is shown of a long session has an end.
func TestShorten(t *testing.T) {
	fits := strings.Repeat("ž", 256)
	for long, want := range map[string]string{
		fits: fits, fits + "žž": fits + "… and 2 more characters",
	} {
		if got := report.Shorten(long); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	value := made(encoded(t, []any{1767225600, 0, visitor{Name: strings.Repeat("x", 2000)}}))
	r, parts := report.Peek[visitor]("session", value), report.Parts[visitor](value, sessions.Valid)
	if len(r.Notation) > 300 || len(parts[2].Text) != 256 {
		t.Errorf("got %+v and %+v", r, parts)
	}
}

// A cookie of any length can be taken apart, also one from before September 2001, when
// the time had nine digits, and whatever is in it can be shown.
func TestDissect(t *testing.T) {
	const want = "gxo4bUOAAKFkTmFtZWVBbGljZQ=="
	synctest.Test(t, func(t *testing.T) { // at the beginning of 2000
		value := seal(t, manager[visitor](t, keys(t, keyA), true), visitor{Name: "Alice"})
		stamp, payload, ok := report.Dissect(value)
		if !ok || stamp != "946684800" || payload != want {
			t.Errorf("got %q, %q and %v, want %q", stamp, payload, ok, want)
		}
	})
	ring := keys(t, keyA)
	m := manager[visitor](t, ring, true)
	for n := range 100 {
		for _, c := range []string{"x", "|", "\x84"} {
			content := strings.Repeat(c, n)
			sealed := base64.RawURLEncoding.EncodeToString([]byte(content))
			_, _, ok := report.Dissect("aaaaaa." + sealed)
			if _, _, none := report.Dissect("aaaaa1." + sealed); none || ok != (n >= 44) {
				t.Errorf("%d bytes: got %v, and %v without a key id", n, ok, none)
			}
			report.Of(report.Site{Keys: ring}, open(m, "aaaaaa."+sealed))
			report.Of(report.Site{Keys: ring}, open(m, made([]byte(content))))
			report.Peek[visitor]("session", made([]byte(content)))
		}
	}
}

// What can be seen without a key says that it is not verified.
func TestPeek(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	device := append([]byte{2}, make([]byte, 32)...)
	data := visitor{Name: "Alice"}
	plain := encoded(t, []any{at.Unix() - 7200, 3600, data})
	bound := encoded(t, []any{at.Unix(), 0, data, device})
	for _, tt := range []struct {
		name, value     string
		verdict         sessions.Verdict
		mode, notation  string
		readable, bound bool
	}{
		{"garbage", "hello", "malformed", "", "", false, false},
		{"too large", made(make([]byte, 4096)), "too large", "", "", false, false},
		{"signed", made(plain), "", "signed", `[1767218400, 3600, {"Name": "Alice"}]`, true, false},
		{"bound", made(bound), "", "signed", `[1767225600, 0, {"Name": "Alice"}]`, true, true},
		{"random bytes", made(append([]byte("\x84\xff\xff\xff\x58\x21"), device...)), "",
			"encrypted, or another program's", "", false, false},
	} {
		r := report.Peek[visitor]("session", tt.value)
		text := r.Text("inspect")
		_, mode, _ := strings.Cut(text, "\nmode          ")
		mode, _, _ = strings.Cut(mode, "\n")
		if r.Verdict != tt.verdict || mode != tt.mode || r.Notation != tt.notation ||
			r.Readable != tt.readable || r.Bound != tt.bound || r.Verified() {
			t.Errorf("%s: got %+v", tt.name, r)
		}
		isUnverified := strings.HasPrefix(text, "verdict       not verified, there is no key\n")
		if isUnverified != (tt.verdict == "") || r.Sealed.Equal(at) != (tt.verdict == "") {
			t.Errorf("%s: got %s", tt.name, text)
		}
	}
	r := report.Peek[visitor]("session", made(plain))
	if !r.Written.Equal(at.Add(-time.Hour)) || !r.Began.Equal(at.Add(-2*time.Hour)) {
		t.Errorf("got began %v and written %v", r.Began, r.Written)
	}
	// The key of a device is shown in no form.
	for _, p := range report.Parts[visitor](made(bound), sessions.Valid) {
		if p.Class == "payload" && p.More < 60 {
			t.Errorf("got %d characters of the payload and %d hidden", len(p.Text), p.More)
		}
	}
}

// A session ends at its absolute limit at the latest, and the times are the cookie's.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := keys(t, keyA)
		limits := sessions.Limits{Idle: 100 * time.Second, Lifetime: 250 * time.Second}
		m, err := sessions.New(ring, sessions.Options[visitor]{Insecure: true, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		value, began := seal(t, m, visitor{Name: "Alice"}), time.Now().UTC()
		time.Sleep(90*time.Second + time.Nanosecond)
		rep := report.Of(report.Site{Keys: ring}, open(m, value))
		if !rep.Began.Equal(began) || !rep.Written.Equal(began) ||
			!rep.Now.Equal(began.Add(90*time.Second)) ||
			!rep.IdleEnd.Equal(began.Add(limits.Idle)) ||
			!rep.End.Equal(began.Add(limits.Lifetime)) {
			t.Errorf("got %+v", rep)
		}
	})
}

// A key seals or only verifies, in either mode, and a report says how many good cookies
// came.
func TestKeysAndSeveralCookies(t *testing.T) {
	ring := keys(t, keyA, keyB)
	for _, tt := range []struct {
		key        string
		signOnly   bool
		role, mode string
	}{
		{keyA, true, "seals", "signed"}, {keyB, true, "verifies", "signed"},
		{keyA, false, "seals", "signed and encrypted"},
		{keyB, false, "verifies", "signed and encrypted"},
	} {
		m := manager[visitor](t, ring, tt.signOnly)
		value := seal(t, manager[visitor](t, keys(t, tt.key), tt.signOnly), visitor{Name: "Alice"})
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", "session="+value+"; session="+value)
		site := report.Site{Cookie: "session", Keys: ring, SignOnly: tt.signOnly}
		rep := report.Of(site, m.Load(r))
		want := "\nkey id        " + value[:6] + " " + tt.role + "\nmode          " + tt.mode + "\n"
		text := rep.Text("inspect")
		if rep.Sealing != seal(t, m, visitor{Name: "Alice"})[:6] || !strings.Contains(text, want) ||
			!strings.Contains(text, "\ncookies       2 valid ones") {
			t.Errorf("got %s, want %s", text, want)
		}
		text = report.Of(site, open(m, value)).Text("session")
		if strings.Contains(text, "cookies") {
			t.Errorf("got %s", text)
		}
	}
}

// It is told who could use a session that is bound to a device, and who one that isn't.
func TestDevice(t *testing.T) {
	until := time.Date(2026, 1, 1, 0, 10, 0, 0, time.UTC)
	for _, tt := range []struct {
		bound, binding bool
		verdict        sessions.Verdict
		ticket         time.Time
		device, thief  string // nothing if it is not told
	}{
		{false, true, "tampered", time.Time{}, "", ""},
		{false, true, "valid", time.Time{}, "not bound", "Whoever copies this cookie"},
		{true, false, "valid", time.Time{}, "bound", "asks for no ticket at present"},
		{true, true, "unproven", time.Time{}, "bound, without a live ticket", "Nobody can use"},
		{true, true, "valid", until, "bound, with a ticket that is good until 2026-01-01T00:10:00Z",
			"until it runs out"},
	} {
		r := report.Report{
			Bound: tt.bound, Binding: tt.binding, Verdict: tt.verdict, TicketEnd: tt.ticket,
		}
		text, tells := r.Text("session"), tt.device != ""
		isTold := strings.Contains(text, "\ndevice        "+tt.device+"\n") &&
			strings.Contains(text, "\nthief         "+r.Thief()) &&
			strings.Contains(r.Thief(), tt.thief)
		ends := strings.Contains(r.Text("lesson"), "a stolen one until its ticket runs out")
		if ends != (tt.bound && tt.binding) {
			t.Errorf("got %s", r.Text("lesson"))
		}
		if r.OnBinding() != tells || isTold != tells || strings.Contains(text, "thief") != tells {
			t.Errorf("got %s, want %q and %q", text, tt.device, tt.thief)
		}
	}
}

// A Set-Cookie header is taken apart. One that is none is left out.
func TestSent(t *testing.T) {
	value := made(encoded(t, visitor{Name: "Alice"}))
	lines := []string{"session=" + value + "; Path=/", "=", "session=; Max-Age=0"}
	all := report.Sent[visitor](lines)
	if len(all) != 2 || len(all[0].Parts) != 4 || all[1].Parts != nil ||
		fmt.Sprint(all[0].List, all[1].List) != "[Path=/] [Max-Age=0]" {
		t.Fatalf("got %+v, want one cookie and one that is deleted", all)
	}
}
