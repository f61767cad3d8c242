package operate_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/operate"
	"cookiesession/internal/server"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// newSite returns a site with the keys of a file, and with a page for its operator.
func newSite(ring string) *operate.Site[struct{}] {
	return &operate.Site[struct{}]{
		Options: sessions.Options[struct{}]{Name: "session"}, KeyFile: ring,
		Server: server.Config{
			Addr: "localhost:0", AdminAddr: "localhost:0", Handler: http.NotFoundHandler(),
		},
	}
}

// serve serves a site in this process.
func serve(t *testing.T, site *operate.Site[struct{}]) *testkit.Server {
	return testkit.Serve(t, func(ctx context.Context, log io.Writer) error {
		site.Server.Log = slog.New(slog.NewTextHandler(log, nil))
		if err := site.Load(ctx, nil); err != nil {
			return err
		}
		return site.Run(ctx)
	})
}

// The operator's page has what this copy knows of itself: its keys, by their ids alone, and
// which of them are in use, what came of the cookies, and what is wrong with its files.
func TestStatus(t *testing.T) {
	ring, day := filepath.Join(t.TempDir(), "ring"), 24*time.Hour
	testkit.WriteFile(t, ring, testkit.KeyA+"\n"+testkit.KeyB)
	changed := time.Now().Add(-day).UTC().Truncate(time.Second)
	if err := os.Chtimes(ring, changed, changed); err != nil {
		t.Fatal(err)
	}
	cert, certKey, _ := testkit.NewCertificate(t)
	site := newSite(ring)
	site.Options.Idle = 48 * time.Hour
	site.Server.Certificate = &server.Certificate{File: cert, KeyFile: certKey}
	p := serve(t, site)
	status := func() string {
		_, text := testkit.Send(t, "GET", p.AdminURL()+"/", "", http.Header{})
		return text
	}
	want := func(patterns ...string) {
		t.Helper()
		for _, pattern := range patterns {
			if text := status(); !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
				t.Errorf("got no %q in %s", pattern, text)
			}
		}
	}
	const now = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`
	want(`^  Version +cookiesession \S`, `^  Up since +`+now+`$`, `may be idle: 2 days\.$`,
		`^  [a-z2-7]{6} [a-z2-7]{6} +seals; no valid cookie since the start$`,
		`^  [a-z2-7]{6} [a-z2-7]{6} +verifies; no valid cookie since the start$`,
		`^  These keys +since `+changed.Format(time.DateTime)+` UTC$`,
		`^  Key file +read `+now+`$`,
		`^  Certificate +ends `+now+`$`, `^  valid +0$`, `^  unknown key +0$`,
		`^  Log +0 lines lost$`)

	testkit.WriteFile(t, ring, "nonsense")
	testkit.WriteFile(t, cert, "nonsense")
	testkit.AwaitTrue(t, "a page that says what is wrong", func() bool {
		text := status()
		return strings.Contains(text, ": it was bad, so") && strings.Contains(text, "files are bad")
	})
	if text := status(); strings.Contains(text, testkit.KeyA[:20]) {
		t.Errorf("got a key in %s", text)
	}
}

// A key that is in use says when a good cookie of it came, encrypted or signed. A site's own
// limits are named, and lost lines of the log stand out.
func TestStatusOfUse(t *testing.T) {
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA+"\n"+testkit.KeyB)
	site := newSite(ring)
	site.Options.LimitsFor = func(*struct{}) sessions.Limits { return sessions.Limits{} }
	p := serve(t, site)
	encrypted, _ := site.Keys.Keys()[0].IDs()
	_, signed := site.Keys.Keys()[1].IDs()
	for _, id := range []string{encrypted, signed} {
		site.Metrics.Observe("session", sessions.Event{
			Cookie: sessions.Cookie{Verdict: sessions.Valid, KeyID: id},
		})
	}
	lost := 0.0
	site.Metrics.LogLines(func() float64 { return lost })
	_, text := testkit.Send(t, "GET", p.AdminURL()+"/", "", http.Header{})
	for _, want := range []string{
		`^  ` + encrypted + ` \S{6} +seals; last valid cookie 20`,
		`^  \S{6} ` + signed + ` +verifies; last valid cookie 20`,
		`, or the longest that LimitsFor gives\.$`, `^  valid +2$`,
	} {
		if !regexp.MustCompile("(?m)" + want).MatchString(text) {
			t.Errorf("got no %q in %s", want, text)
		}
	}
	for _, lost = range []float64{0, 3} {
		_, page := testkit.Send(t, "GET", p.AdminURL()+"/", "",
			http.Header{"Accept": {testkit.Browser}})
		want := map[bool]string{true: ` class="bad"`}[lost > 0]
		if want = fmt.Sprintf("<dd%s>%.0f lines lost", want, lost); !strings.Contains(page, want) {
			t.Errorf("got no %q in %s", want, page)
		}
	}
}

// The key file is read again on SIGHUP. While it is bad the keys stay as they are, and
// the operator sees that.
func TestKeyFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP, and no mode of a file")
	}
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA)
	if err := os.Chmod(ring, 0o644); err != nil {
		t.Fatal(err)
	}
	p := serve(t, newSite(ring))
	readable := `msg="the key file can be read by every user of this machine: chmod o= it"`
	if got := strings.Count(p.Log.String(), readable); got != 1 {
		t.Errorf("got %d warnings of who can read the file: %s", got, p.Log)
	}
	for _, tt := range []struct {
		content, log, key string
		ok, good, bad     int // of the gauge, and of the counters of loading
	}{
		{testkit.KeyA, "msg=listening", testkit.KeyA, 1, 1, 0},
		{"x", `level=ERROR msg="the key file is bad, the keys stay as they are"`, testkit.KeyA,
			0, 1, 1},
		{testkit.KeyB, `msg="key file loaded"`, testkit.KeyB, 1, 2, 1},
		// Without the signal, a file that stays as it is would not be read.
		{testkit.KeyB, `msg="key file loaded"`, testkit.KeyB, 1, 3, 1},
	} {
		if tt.content != testkit.KeyA {
			testkit.WriteFile(t, ring, tt.content)
			testkit.SignalSelf(t, syscall.SIGHUP)
		}
		k, err := sessions.ParseKey(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := k.IDs()
		want := []string{
			fmt.Sprintf("\ncookiesession_key_file_ok %d\n", tt.ok),
			fmt.Sprintf("\ncookiesession_key_reloads_total{result=\"error\"} %d\n", tt.bad),
			fmt.Sprintf("\ncookiesession_key_reloads_total{result=\"ok\"} %d\n", tt.good),
			fmt.Sprintf("\ncookiesession_cookies_total{key_id=%q,session=\"session\","+
				"verdict=\"valid\"} 0\n", id),
		}
		testkit.AwaitTrue(t, "the metrics of "+tt.log, func() bool {
			_, page := testkit.Send(t, "GET", p.AdminURL()+"/metrics", "", http.Header{})
			missing := slices.ContainsFunc(want, func(w string) bool {
				return !strings.Contains(page, w)
			})
			return !missing && p.Log.Has(tt.log)
		})
	}
	testkit.AwaitTrue(t, "a warning after each good load", func() bool {
		return strings.Count(p.Log.String(), readable) == 3
	})
	if p.Log.Has(testkit.KeyB[:20]) {
		t.Errorf("got a key in the log: %s", p.Log)
	}
}

// A group may read what is secret, and nobody else, and only its owner may change it.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no mode of a file")
	}
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA)
	cert, certKey, _ := testkit.NewCertificate(t)
	const read, changed = " can be read by every user of ", " can be changed by others than its "
	for mode, want := range map[os.FileMode][]string{
		0o600: nil, 0o440: nil, 0o644: {read}, 0o660: {changed}, 0o602: {changed},
		0o666: {read, changed},
	} {
		for _, file := range []string{ring, certKey} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
		site := newSite(ring)
		site.Server.Certificate = &server.Certificate{File: cert, KeyFile: certKey}
		p := serve(t, site)
		for _, what := range []string{"the key file", "the certificate's key"} {
			for _, says := range []string{read, changed} {
				got := strings.Count(p.Log.String(), what+says)
				if has := slices.Contains(want, says); has != (got == 1) || !has && got > 0 {
					t.Errorf("%v: got %d times %q: %s", mode, got, what+says, p.Log)
				}
			}
		}
	}
}

// The log says which keys have come and gone, and of a file that has none of those of
// before, that it may be a foreign one.
func TestKeyChanges(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	key := map[string]sessions.Key{}
	for _, digits := range []string{testkit.KeyA, testkit.KeyB, testkit.KeyC} {
		k, err := sessions.ParseKey(digits)
		if err != nil {
			t.Fatal(err)
		}
		key[digits] = k
	}
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, testkit.KeyA)
	p := serve(t, newSite(ring))
	for _, tt := range []struct {
		keys, came, went []string
		foreign          int // how many errors there are in the log
	}{
		{keys: []string{testkit.KeyA, testkit.KeyC}, came: []string{testkit.KeyC}},
		{keys: []string{testkit.KeyC, testkit.KeyA}},
		{keys: []string{testkit.KeyC}, went: []string{testkit.KeyA}},
		{
			keys: []string{testkit.KeyB}, came: []string{testkit.KeyB},
			went: []string{testkit.KeyC}, foreign: 1,
		},
	} {
		testkit.WriteFile(t, ring, strings.Join(tt.keys, "\n"))
		testkit.SignalSelf(t, syscall.SIGHUP)
		names := func(digits []string) string {
			var all []sessions.Key
			for _, d := range digits {
				all = append(all, key[d])
			}
			if len(all) == 0 {
				return "[]"
			}
			return fmt.Sprintf("%q", fmt.Sprint(all))
		}
		seals, _ := key[tt.keys[0]].IDs()
		want := fmt.Sprintf(`msg="key file loaded" file=%s seals=%s keys=%s came=%s went=%s`+"\n",
			ring, seals, names(tt.keys), names(tt.came), names(tt.went))
		testkit.AwaitTrue(t, want, func() bool {
			foreign := `level=ERROR msg="none of the keys of before is in the key file, `
			return p.Log.Has(want) && strings.Count(p.Log.String(), foreign) == tt.foreign
		})
	}
	testkit.SignalSelf(t, syscall.SIGHUP)
	testkit.AwaitTrue(t, "the same keys", func() bool {
		return p.Log.Has(`msg="key file loaded" file=` + ring + ` note="the keys are the same"`)
	})
	testkit.WriteFile(t, ring, "x")
	testkit.SignalSelf(t, syscall.SIGHUP)
	testkit.AwaitTrue(t, "a bad file", func() bool { return p.Log.Has("the key file is bad") })
	if got := strings.Count(p.Log.String(), `msg="key file loaded"`); got != 5 {
		t.Errorf("got %d lines of files that were loaded, want one each: %s", got, p.Log)
	}
}
