package metrics_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/metrics"
	"cookiesession/sessions"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var keyA, keyB = sessions.NewKey(), sessions.NewKey()

func newRing(t testing.TB, first sessions.Key, more ...sessions.Key) *sessions.Keyring {
	t.Helper()
	keys, err := sessions.NewKeyring(first, more...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// scrape returns the page of metrics.
func scrape(m *metrics.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// value returns that of a series on a page of metrics, or -1 if it isn't there.
func value(t testing.TB, page, series string) float64 {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n"+series+" ")
	if !ok {
		return -1
	}
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(line, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func cookies(id, verdict string) string {
	return fmt.Sprintf(`cookiesession_cookies_total{key_id=%q,session="session",verdict=%q}`,
		id, verdict)
}

func written(reason string) string {
	return fmt.Sprintf(`cookiesession_cookies_written_total{reason=%q,session="session"}`, reason)
}

// What can be foreseen is there from the start.
func TestFromTheStart(t *testing.T) {
	m := metrics.New(newRing(t, keyA, keyB), false, "session")
	page := scrape(m)
	id, signed := keyA.IDs()
	_, oldID := keyB.IDs()
	for _, want := range []string{
		cookies("", "none"), cookies("", "malformed"), cookies("", "too large"),
		cookies("", "unknown key"), cookies(id, "valid"), cookies(oldID, "tampered"),
		cookies(signed, "malformed"), cookies(id, "revoked"), written("changed"),
		written("cleared"), `cookiesession_key_reloads_total{result="ok"}`,
		`cookiesession_key_reloads_total{result="error"}`, "cookiesession_cookie_bytes_count",
		`cookiesession_bindings_total{event="offered"}`,
	} {
		if value(t, page, want) != 0 {
			t.Errorf("got no %s in %s", want, page)
		}
	}
	for want, is := range map[string]bool{
		"go_goroutines ": true, "go_build_info{": true, "process_start_time_seconds ": true,
		"cookiesession_clock_timestamp_seconds ":         true,
		"cookiesession_keys_changed_timestamp_seconds ":  true,
		"cookiesession_keys_replaced_total 0\n":          true,
		"cookiesession_key_file":                         false,
		"cookiesession_tls_certificate":                  false,
		"cookiesession_key_last_valid_timestamp_seconds": false,
	} {
		if strings.Contains(page, "\n"+want) != is {
			t.Errorf("got %s: %v, in %s", want, !is, page)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("got %v and %v", problems, err)
	}
}

// What becomes of a session is counted once, and without what a client has made up.
func TestObserve(t *testing.T) {
	m := metrics.New(newRing(t, keyA, keyB), false, "session")
	id, _ := keyA.IDs()
	valid := sessions.Cookie{Verdict: sessions.Valid, KeyID: id}
	saved := func(why sessions.Reason, size int) sessions.Event {
		return sessions.Event{Cookie: valid, Saved: sessions.Saved{Reason: why, Size: size}}
	}
	step := saved(sessions.Bound, 400)
	step.Step = "bound"
	unknown := sessions.Cookie{Verdict: sessions.UnknownKey, KeyID: "aaaaaa"}
	late := sessions.Event{Cookie: valid, Err: sessions.ErrLate}
	const sizes = "cookiesession_cookie_bytes_sum"
	for i, tt := range []struct {
		e      sessions.Event
		series string
		want   float64 // that is added
	}{
		{sessions.Event{Cookie: valid}, cookies(id, "valid"), 1},
		{sessions.Event{Cookie: unknown}, cookies("", "unknown key"), 1},
		{sessions.Event{Cookie: unknown}, cookies("aaaaaa", "unknown key"), 0},
		{late, cookies(id, "valid"), 0},
		{saved(sessions.Changed, 300), written("changed"), 1},
		{saved(sessions.Changed, 300), sizes, 300},
		{saved(sessions.Unchanged, 0), written("unchanged"), 0},
		{saved(sessions.Cleared, 0), written("cleared"), 1},
		{saved(sessions.Cleared, 0), "cookiesession_cookie_bytes_count", 0},
		{step, `cookiesession_bindings_total{event="bound"}`, 1},
		{step, written("bound"), 1},
		{step, cookies(id, "valid"), 0},
	} {
		before := value(t, scrape(m), tt.series)
		m.Observe("session", tt.e)
		if got := value(t, scrape(m), tt.series) - before; got != tt.want {
			t.Errorf("row %d: got %v added to %s, want %v", i, got, tt.series, tt.want)
		}
	}
}

func TestServed(t *testing.T) {
	m := metrics.New(newRing(t, keyA), false, "session")
	m.Served("/cart", "GET", 200, 2*time.Millisecond)
	const labels = `{method="GET",route="/cart",status="200"}`
	const name = "cookiesession_http_request_duration_seconds"
	page := scrape(m)
	if value(t, page, name+"_count"+labels) != 1 || value(t, page, name+"_sum"+labels) != .002 {
		t.Errorf("got %s", page)
	}
}

func TestFiles(t *testing.T) {
	m := metrics.New(newRing(t, keyA), false, "session")
	bad := errors.New("bad")
	for i, err := range []error{nil, bad, bad, nil} {
		m.KeysLoaded(err)
		m.CertificateLoaded(time.Unix(int64(i), 0), err)
		ok := map[bool]float64{true: 1}[err == nil]
		page := scrape(m)
		for series, want := range map[string]float64{
			"cookiesession_key_file_ok": ok, "cookiesession_tls_certificate_ok": ok,
			"cookiesession_tls_certificate_not_after_timestamp_seconds": float64(i),
		} {
			if got := value(t, page, series); got != want {
				t.Errorf("load %d: got %v for %s, want %v", i+1, got, series, want)
			}
		}
	}
	if value(t, scrape(m), "cookiesession_key_file_read_timestamp_seconds") < 1e9 {
		t.Error("got no time of the last reading")
	}
	for result, want := range map[string]float64{"ok": 2, "error": 2} {
		series := fmt.Sprintf("cookiesession_key_reloads_total{result=%q}", result)
		if got := value(t, scrape(m), series); got != want {
			t.Errorf("got %v for %s, want %v", got, series, want)
		}
	}
}

// One key seals, in one mode; all others verify.
func TestKeyInfo(t *testing.T) {
	encrypted, signed := keyA.IDs()
	other, otherSigned := keyB.IDs()
	for signOnly, roles := range map[bool][2]string{
		false: {"seals", "verifies"}, true: {"verifies", "seals"},
	} {
		page := scrape(metrics.New(newRing(t, keyA, keyB), signOnly, "session"))
		for _, info := range [][3]string{
			{encrypted, "encrypted", roles[0]}, {signed, "signed", roles[1]},
			{other, "encrypted", "verifies"}, {otherSigned, "signed", "verifies"},
		} {
			series := fmt.Sprintf("cookiesession_key_info{key_id=%q,mode=%q,role=%q}",
				info[0], info[1], info[2])
			if value(t, page, series) != 1 {
				t.Errorf("signing only %v: got no %s in %s", signOnly, series, page)
			}
		}
	}
}

// Copies with the same keys, of which the same one seals, have one name for their rings.
func TestRings(t *testing.T) {
	keyC, name := sessions.NewKey(), regexp.MustCompile(`key_ring_info{ring="([0-9a-f]{8})"} 1`)
	ring := func(signOnly bool, first sessions.Key, more ...sessions.Key) string {
		page := scrape(metrics.New(newRing(t, first, more...), signOnly, "session"))
		found := name.FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("got %q in %s", found, page)
		}
		return found[0][1]
	}
	want := ring(false, keyA, keyB, keyC)
	for i, tt := range []struct {
		got  string
		same bool
	}{
		{ring(false, keyA, keyB, keyC), true},
		{ring(false, keyA, keyC, keyB), true},
		{ring(false, keyB, keyA, keyC), false},
		{ring(true, keyA, keyB, keyC), false},
		{ring(false, keyA, keyB), false},
	} {
		if (tt.got == want) != tt.same {
			t.Errorf("row %d: got %s beside %s, want the same: %v", i, tt.got, want, tt.same)
		}
	}
}

// A second session of the site has the same metrics, under its name.
func TestSecondSession(t *testing.T) {
	m := metrics.New(newRing(t, keyA), false, "session")
	m.Observe("basket", sessions.Event{
		Cookie: sessions.Cookie{Verdict: sessions.None},
		Saved:  sessions.Saved{Reason: sessions.Changed, Size: 300},
	})
	page := scrape(m)
	for series, want := range map[string]float64{
		cookies("", "none"): 0, written("changed"): 0, "cookiesession_cookie_bytes_sum": 300,
		`cookiesession_cookies_total{key_id="",session="basket",verdict="none"}`: 1,
		`cookiesession_cookies_written_total{reason="changed",session="basket"}`: 1,
	} {
		if got := value(t, page, series); got != want {
			t.Errorf("got %v for %s, want %v", got, series, want)
		}
	}
}

// The counters of a key are there before its first cookie, and go with it. What has no
// key has nothing to do with that.
func TestCountersOfKeys(t *testing.T) {
	keys := newRing(t, keyA)
	m := metrics.New(keys, false, "session")
	a, _ := keyA.IDs()
	b, _ := keyB.IDs()
	m.Observe("session", sessions.Event{Cookie: sessions.Cookie{Verdict: sessions.Valid, KeyID: a}})
	m.Observe("session", sessions.Event{Cookie: sessions.Cookie{Verdict: sessions.UnknownKey,
		KeyID: "aaaaaa"}})
	for _, step := range []struct {
		first sessions.Key
		more  []sessions.Key
		a, b  float64 // -1 if the counter isn't there
	}{
		{keyA, nil, 1, -1}, {keyB, []sessions.Key{keyA}, 1, 0}, {keyB, nil, -1, 0},
		{keyA, nil, 0, -1},
	} {
		if err := keys.Replace(step.first, step.more...); err != nil {
			t.Fatal(err)
		}
		m.KeysChanged()
		page := scrape(m)
		for series, want := range map[string]float64{
			cookies(a, "valid"): step.a, cookies(b, "valid"): step.b, cookies("", "unknown key"): 1,
		} {
			if got := value(t, page, series); got != want {
				t.Errorf("%v: got %v for %s, want %v", step, got, series, want)
			}
		}
	}
}

// It is known when the keys last changed, which they don't when they are loaded again, and
// how often that has left none of them. A key is in use for as long as valid cookies of it
// come, and then until it goes.
func TestKeysOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := new(sessions.Keyring)
		m := metrics.New(keys, false, "session")
		a, _ := keyA.IDs()
		began := time.Now()
		for i, step := range []struct {
			ring     []sessions.Key
			valid    bool    // a valid cookie of keyA comes
			changed  float64 // minutes after the beginning
			replaced float64
			last     float64 // minutes after the beginning, or -1 if it isn't there
		}{
			{[]sessions.Key{keyA}, false, 1, 0, -1},
			{[]sessions.Key{keyA}, true, 1, 0, 2},
			{[]sessions.Key{keyA, keyB}, false, 3, 0, 2},
			{[]sessions.Key{keyB, keyA}, true, 4, 0, 4},
			{[]sessions.Key{keyB}, false, 5, 0, -1},
			{[]sessions.Key{keyA}, false, 6, 1, -1},
			{[]sessions.Key{keyB, sessions.NewKey()}, false, 7, 2, -1},
		} {
			time.Sleep(time.Minute)
			if err := keys.Replace(step.ring[0], step.ring[1:]...); err != nil {
				t.Fatal(err)
			}
			m.KeysChanged()
			if step.valid {
				m.Observe("session", sessions.Event{Cookie: sessions.Cookie{
					Verdict: sessions.Valid, KeyID: a}})
			}
			// What is not valid is no sign of use.
			m.Observe("session", sessions.Event{Cookie: sessions.Cookie{
				Verdict: sessions.Tampered, KeyID: a}})
			page := scrape(m)
			after := func(series string) float64 {
				if v := value(t, page, series); v > 0 {
					return time.UnixMicro(int64(v * 1e6)).Sub(began).Round(time.Second).Minutes()
				}
				return -1
			}
			replaced := value(t, page, "cookiesession_keys_replaced_total")
			changed := after("cookiesession_keys_changed_timestamp_seconds")
			last := after(`cookiesession_key_last_valid_timestamp_seconds{key_id="` + a + `"}`)
			if changed != step.changed || replaced != step.replaced || last != step.last {
				t.Errorf("step %d: got changed %v, replaced %v, last %v, want %+v",
					i, changed, replaced, last, step)
			}
			if clock := after("cookiesession_clock_timestamp_seconds"); clock != float64(i+1) {
				t.Errorf("step %d: got %v on the clock", i, clock)
			}
		}
		m.KeysSince(time.Unix(1000, 0))
		got := value(t, scrape(m), "cookiesession_keys_changed_timestamp_seconds")
		if got != 1000 {
			t.Errorf("got %v, want what was said", got)
		}
	})
}

// The operator's page can ask for what was counted.
func TestSums(t *testing.T) {
	m := metrics.New(newRing(t, keyA, keyB), false, "session")
	lost := 0.0
	m.LogLines(func() float64 { return lost })
	lost = 3
	m.CertificateLoaded(time.Unix(1000, 0), nil)
	a, _ := keyA.IDs()
	b, _ := keyB.IDs()
	for _, id := range []string{a, a, b} {
		m.Observe("session", sessions.Event{Cookie: sessions.Cookie{
			Verdict: sessions.Valid, KeyID: id}})
	}
	for _, tt := range []struct {
		name, label, of string
		want            float64
	}{
		{"cookiesession_cookies_total", "verdict", "valid", 3},
		{"cookiesession_cookies_total", "key_id", a, 2},
		{"cookiesession_cookies_total", "verdict", "tampered", 0},
		{"cookiesession_cookies_total", "", "", 3},
		{"cookiesession_log_lines_lost_total", "", "", 3},
		{"cookiesession_tls_certificate_not_after_timestamp_seconds", "", "", 1000},
	} {
		sums := m.Sums(tt.name, tt.label)
		if got, ok := sums[tt.of]; got != tt.want || !ok {
			t.Errorf("got %v, want %v of %q in %s", sums, tt.want, tt.of, tt.name)
		}
	}
	if got := m.Sums("cookiesession_key_file_ok", ""); len(got) != 0 {
		t.Errorf("got %v of what isn't there", got)
	}
}

// A scrape while keys change sees one set of them, never two that seal.
func TestScrapesDuringReloads(t *testing.T) {
	keys := newRing(t, keyA, keyB)
	m := metrics.New(keys, false, "session")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			keys.Replace(keyB)
			m.KeysChanged()
			keys.Replace(keyA, keyB)
			m.KeysChanged()
		}
	})
	for range 100 {
		page := scrape(m)
		all := strings.Count(page, "\ncookiesession_key_info{")
		seal := strings.Count(page, `role="seals"}`)
		if all != 2 && all != 4 || seal != 1 {
			t.Errorf("got %d key ids, %d of which seal, want 2 or 4, and 1: %s", all, seal, page)
		}
	}
	stop.Store(true)
	wg.Wait()
}
