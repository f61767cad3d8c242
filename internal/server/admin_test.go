package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// adminOn returns the admin's server for a listener on addr.
func adminOn(addr string) *http.Server {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "metrics")
	})
	return newAdmin(Config{
		AdminAddr: addr, Metrics: metrics, Log: silent, Status: func() Status { return ill },
	})
}

// ask returns what a server on addr answers when it is asked for a host.
func ask(addr, target, host, site string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = host
	r.Header.Set("Sec-Fetch-Site", site)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	w := httptest.NewRecorder()
	adminOn(addr).Handler.ServeHTTP(w, r)
	return w
}

// The admin listener answers to those who name it as an administrator does, so that a
// page on the web whose name is made to point there can read nothing. One on all addresses
// has no name of its own.
func TestAdminHosts(t *testing.T) {
	for asked, want := range map[[2]string]int{
		{"Admin.Example:9090", "127.0.0.1:9090"}: 200, {"Admin.Example:9090", "[::1]"}: 200,
		{"Admin.Example:9090", "[::1]:9090"}: 200, {"Admin.Example:9090", "LOCALHOST"}: 200,
		{"Admin.Example:9090", "aDmin.example:9090"}:         200,
		{"Admin.Example:9090", "evil.example"}:               421,
		{"Admin.Example:9090", "admin.example.evil.example"}: 421,
		{"Admin.Example:9090", ""}:                           421,
		{":9090", "10.0.0.7:9090"}:                           200, {":9090", "evil.example"}: 421,
		{":9090", ""}: 421,
	} {
		w := ask(asked[0], "/metrics", asked[1], "")
		if w.Code != want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: got status %d and %v, want %d", asked, w.Code, w.Header(), want)
		}
		if got := strings.Contains(w.Body.String(), "metrics"); got != (want == 200) {
			t.Errorf("%q: got the metrics: %v", asked, got)
		}
	}
}

// A page on the web may not start a profile, which takes as long as it asks for.
func TestProfilesFromElsewhere(t *testing.T) {
	for site, want := range map[string]int{
		"": 200, "none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403,
	} {
		w := ask("localhost:9090", "/debug/pprof/cmdline", "localhost", site)
		metrics := ask("localhost:9090", "/metrics", "localhost", site).Code
		hasProfile := w.Body.String() != "Ask for this from here.\n"
		if w.Code != want || hasProfile != (want == 200) || metrics != 200 {
			t.Errorf("from %q: got status %d and %s, and %d of the metrics", site, w.Code, w.Body,
				metrics)
		}
	}
}

// Profiles tell more than metrics do, so they are served on loopback alone.
func TestProfilesOnLoopbackAlone(t *testing.T) {
	for addr, want := range map[string]int{
		"localhost:9090": 200, "127.8.8.8:9090": 200, "[::1]:9090": 200,
		":9090": 404, "[::]:9090": 404, "10.0.0.7:9090": 404, "admin.example:9090": 404,
	} {
		if got := ask(addr, "/debug/pprof/cmdline", "127.0.0.1", "").Code; got != want {
			t.Errorf("%s: got status %d, want %d", addr, got, want)
		}
		page := ask(addr, "/", "127.0.0.1", "").Body.String()
		if got := strings.Contains(page, `href="/debug/pprof/"`); got != (want == 200) {
			t.Errorf("%s: got a link to profiles: %v", addr, got)
		}
	}
}
