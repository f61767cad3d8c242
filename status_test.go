package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

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
	p := startRun(t, nil, "-admin-addr", "localhost:0", "-key-file", ring, "-tls-cert", cert,
		"-tls-key", certKey, "-idle", "48h")
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

// A key that is in use says when a good cookie of it came.
func TestStatusOfKeysInUse(t *testing.T) {
	p := startRun(t, withKeyA, "-admin-addr", "localhost:0")
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	res, _ := testkit.Send(t, "POST", p.URL+"/set_name", "name=Alice", form)
	cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	testkit.Send(t, "GET", p.URL+"/get_name", "", http.Header{"Cookie": {cookie}})
	_, text := testkit.Send(t, "GET", p.AdminURL()+"/", "", http.Header{})
	want := regexp.MustCompile(`(?m)^  \S{6} \S{6} +seals; last valid cookie 20(?s:.*)^  valid +1$`)
	if !want.MatchString(text) || strings.Contains(text, "Alice") {
		t.Errorf("got %s", text)
	}
}
