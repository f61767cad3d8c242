package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// asks sends a request to h, as a server would.
func asks(h http.Handler, method, target, host string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader("name=Bob"))
	r.Host = host
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An origin that no browser could name is refused at once, since it would have
// the site answer to nobody.
func TestOriginHosts(t *testing.T) {
	for host, good := range map[string]bool{
		"a.example": true, "A.Example": true, "a.example:8443": true, "localhost": true,
		"xn--bcher-kva.example": true, "a_b.c-d.example.": true, "9.example": true, "_a": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "[::1]": true, "[2001:db8::1]:443": true,
		"a.example:": false, "a.example:0": false, "a.example:0443": false, "a.example:65535": true,
		"bücher.example": false, "b%C3%BCcher.example": false, "*.example": false,
		"a.example;b": false, "::1": false, "[fe80::1%25eth0]": false, "a,b": false,
	} {
		var o origins
		err := o.Set("https://" + host)
		if (err == nil) != good {
			t.Errorf("%s: got error %v", host, err)
		}
	}
}

// With -origin the site answers to its own hosts alone, and takes posts from
// its own origins alone, scheme included, where the browser says no more.
func TestOrigins(t *testing.T) {
	const app, other = "app.example.com", "other.example:8443"
	tests := []struct {
		name, method, target, host, origin, site string
		want                                     int
	}{
		{name: "own host", host: app, want: 200},
		{name: "the other own host", host: other, want: 200},
		{name: "capitals", host: "APP.example.com", want: 200},
		{name: "the scheme's port", host: app + ":443", want: 200},
		{name: "another scheme's port", host: app + ":80", want: 421},
		{name: "without its port", host: "other.example", want: 421},
		{name: "a rebound name", host: "evil.example", want: 421},
		{name: "an address", host: "127.0.0.1:8080", want: 421},
		{name: "a longer name", host: "www." + app, want: 421},
		{name: "a dot at the end", host: app + ".", want: 421},
		{name: "no host", want: 421},
		{name: "a balancer", target: "/healthz", host: "10.0.0.7:8080", want: 200},
		{name: "like a balancer", target: "/healthzz", host: "10.0.0.7:8080", want: 421},
		{name: "a balancer with a slash", target: "/healthz/", host: "10.0.0.7:8080", want: 200},
		{name: "nowhere", target: "/nowhere", host: "evil.example", want: 421},
		{name: "a post to a rebound name", method: "POST", host: "evil.example", want: 421},

		{name: "curl", method: "POST", host: app, want: 200},
		{name: "own form", method: "POST", host: app, origin: "https://" + app, want: 200},
		{name: "the other one's form", method: "POST", host: app, origin: "https://" + other, want: 200},
		{name: "another scheme", method: "POST", host: app, origin: "http://" + app, want: 403},
		{name: "another port", method: "POST", host: app, origin: "https://" + app + ":8443", want: 403},
		{name: "another site", method: "POST", host: app, origin: "https://evil.example", want: 403},
		{name: "an opaque origin", method: "POST", host: app, origin: "null", want: 403},
		{name: "reading from there", host: app, origin: "https://evil.example", want: 200},
		{name: "asking for methods", method: "OPTIONS", host: app, origin: "https://evil.example", want: 405},
		{
			name: "a browser's word", method: "POST", host: app,
			origin: "https://" + app, site: "same-origin", want: 200,
		},
		{
			name: "a browser's word on another site", method: "POST", host: app,
			origin: "https://" + other, site: "cross-site", want: 403,
		},
		{name: "an empty origin", method: "POST", host: app, site: "cross-site", want: 403},
	}
	var set origins
	if err := set.Set("https://" + app + ",https://" + other); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		a := newTestApp(t, options{origins: set, secure: true, log: io.Discard})
		method, target := "GET", "/get_name"
		if tt.method != "" {
			method, target = tt.method, "/set_name"
		}
		if tt.target != "" {
			target = tt.target
		}
		cookie := a.sessions.cookie + "=" + seal(t, a.sessions, alice(10, 10))
		header := map[string]string{"Cookie": cookie}
		if tt.origin != "" {
			header["Origin"] = tt.origin
		}
		if tt.site != "" {
			header["Sec-Fetch-Site"] = tt.site
		}
		w := asks(a, method, target, tt.host, header)
		if w.Code != tt.want {
			t.Errorf("%s: got status %d, want %d", tt.name, w.Code, tt.want)
		}
		counted := strings.Contains(scrape(t, a), `verdict="valid"} 1`)
		if w.Code != 200 && (counted || w.Header()["Set-Cookie"] != nil) {
			t.Errorf("%s: got the session touched", tt.name)
		}
		if w.Code == 421 && !strings.Contains(w.Body.String(), "does not serve the host") {
			t.Errorf("%s: got %q", tt.name, w.Body)
		}
	}
}

// Whether the visitors come over HTTPS, the first origin says, wherever TLS ends.
func TestHTTPSBehindAProxy(t *testing.T) {
	cfg, err := parseFlags([]string{"-origin", "https://app.example.com"}, func(string) string { return "" },
		io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a := newApp(newSessions[session](cfg.settings), cfg.bind, cfg.origins, newTestApp(t, options{}).log)
	a.useRing(newTestManager(t, options{}).ring.Load())
	w := asks(a, "POST", "/set_name", "app.example.com", nil)
	cookie := w.Result().Cookies()[0]
	if cookie.Name != "__Host-Http-session" || !cookie.Secure {
		t.Errorf("got the cookie %s", cookie)
	}
	if got := w.Header().Get("Strict-Transport-Security"); got == "" {
		t.Error("got no Strict-Transport-Security")
	}
	if got := cfg.url(nil); got != "https://app.example.com" {
		t.Errorf("got %s at the start, want the first origin", got)
	}
	cfg.origins = origins{"http://app.example.com"}
	if err := cfg.check(); err != nil || cfg.secure {
		t.Errorf("got secure cookies for an http origin, and error %v", err)
	}
}

// The admin listener answers to those who name it as an administrator does, so
// that a page on the web whose name is made to point there can read nothing.
func TestAdminHosts(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:9090": 200, "[::1]:9090": 200, "[::1]": 200, "10.0.0.7:9090": 200,
		"localhost:9090": 200, "LOCALHOST": 200, "Admin.example:9090": 200, "admin.example": 200,
		"evil.example:9090": 421, "evil.example": 421, "": 421, "admin.example.evil.example": 421,
		"127.0.0.1.evil.example:9090": 421,
	} {
		for _, target := range []string{"/", "/metrics", "/healthz", "/debug/pprof/", "/nowhere"} {
			a := newTestApp(t, options{log: io.Discard})
			w := asks(a.newAdmin("Admin.Example:9090").Handler, "GET", target, host, nil)
			got := w.Code
			if got == 404 && (target == "/nowhere" || target == "/debug/pprof/") {
				got = 200
			}
			if got != want {
				t.Errorf("%s at %q: got status %d, want %d", target, host, got, want)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s at %q: got no nosniff", target, host)
			}
		}
	}
}

// A listener on all addresses has no name of its own, and a longer name is another.
func TestAdminHostsOnAllAddresses(t *testing.T) {
	for _, tt := range []struct {
		addr, host string
		want       int
	}{
		{":9090", "evil.example", 421}, {":9090", "", 421}, {":9090", "10.0.0.7:9090", 200},
		{"admin.example:9090", "evil-admin.example", 421}, {"admin.example:9090", "dmin.example", 421},
	} {
		a := newTestApp(t, options{log: io.Discard})
		if got := asks(a.newAdmin(tt.addr).Handler, "GET", "/healthz", tt.host, nil).Code; got != tt.want {
			t.Errorf("%s asked for %q: got status %d, want %d", tt.addr, tt.host, got, tt.want)
		}
	}
}

// A page on the web may not start a profile, which takes as long as it asks for.
func TestProfilesFromElsewhere(t *testing.T) {
	h := newTestApp(t, options{}).newAdmin("localhost:9090").Handler
	for site, want := range map[string]int{
		"": 200, "none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403,
	} {
		header := map[string]string{"Sec-Fetch-Site": site}
		if got := asks(h, "GET", "/debug/pprof/cmdline", "localhost", header).Code; got != want {
			t.Errorf("from %q: got status %d, want %d", site, got, want)
		}
		if got := asks(h, "GET", "/metrics", "localhost", header).Code; got != 200 {
			t.Errorf("metrics from %q: got status %d", site, got)
		}
	}
}

// Profiles tell more than metrics do, so they are served on loopback alone.
func TestProfilesOnLoopbackAlone(t *testing.T) {
	for addr, want := range map[string]int{
		"localhost:9090": 200, "127.0.0.1:9090": 200, "127.8.8.8:9090": 200, "[::1]:9090": 200,
		":9090": 404, "0.0.0.0:9090": 404, "[::]:9090": 404, "10.0.0.7:9090": 404,
		"admin.example:9090": 404,
	} {
		h := newTestApp(t, options{}).newAdmin(addr).Handler
		if got := asks(h, "GET", "/debug/pprof/cmdline", "127.0.0.1", nil).Code; got != want {
			t.Errorf("%s: got status %d, want %d", addr, got, want)
		}
		links := asks(h, "GET", "/", "127.0.0.1", nil).Body.String()
		if got := strings.Contains(links, `href="/debug/pprof/"`); got != (want == 200) {
			t.Errorf("%s: got a link to profiles: %v", addr, got)
		}
	}
}

// A challenge and a failure are no refusals.
func TestWhatIsNotRefused(t *testing.T) {
	var log lockedBuffer
	a := newBindApp(t, options{log: &log}, time.Minute)
	a.router.HandleFunc("/test-only", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	b := bindAlice(t, sendTo(a))
	if res, _ := b.raw("POST", refreshPath, "", "Sec-Secure-Session-Id", b.id); res.StatusCode != 403 {
		t.Errorf("got status %d, want a challenge", res.StatusCode)
	}
	if res, _ := b.raw("POST", "/test-only", ""); res.StatusCode != 500 {
		t.Errorf("got status %d, want a failure", res.StatusCode)
	}
	if strings.Contains(log.String(), "request refused") {
		t.Errorf("got %s", &log)
	}
}

// Refused posts and requests for other hosts are in the log, with what was
// asked for, and at most ten a second of them.
func TestRefusedRequestsAreLogged(t *testing.T) {
	for name, x := range map[string]struct {
		method, target, host, body string
		header                     map[string]string
		want                       string // nothing if it is not to be logged
	}{
		"another site": {
			method: "POST", target: "/set_name", header: map[string]string{"Sec-Fetch-Site": "cross-site"},
			want: "route=/set_name method=POST status=403",
		},
		"another host": {
			method: "GET", target: "/get_name", host: "evil.example",
			want: "route=/get_name method=GET status=421",
		},
		"nowhere on another host": {
			method: "GET", target: "/secret", host: "evil.example",
			want: "route=other method=GET status=421",
		},
		"a bad name": {
			method: "POST", target: "/set_name", body: "name=%01",
			want: "route=/set_name method=POST status=422",
		},
		"no form": {
			method: "POST", target: "/set_name", header: map[string]string{"Content-Type": "text/plain"},
			want: "route=/set_name method=POST status=415",
		},
		"a made-up method": {
			method: "SECRET", target: "/set_name", want: "route=/set_name method=other status=405",
		},
		"nowhere":   {method: "GET", target: "/secret"},
		"no method": {method: "GET", target: "/clear_name"},
		"all well":  {method: "POST", target: "/set_name", body: "name=Bob"},
	} {
		var log lockedBuffer
		a := newTestApp(t, options{origins: origins{"http://app.example.com"}, log: &log})
		if x.host == "" {
			x.host = "app.example.com"
		}
		r := httptest.NewRequest(x.method, x.target, strings.NewReader(x.body))
		r.Host = x.host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name, value := range x.header {
			r.Header.Set(name, value)
		}
		for range 3 * floodLimit {
			r := r.Clone(t.Context())
			r.Body = io.NopCloser(strings.NewReader(x.body))
			a.ServeHTTP(httptest.NewRecorder(), r)
		}
		got := strings.Count(log.String(), `level=INFO msg="request refused" `+x.want)
		if want := map[bool]int{true: floodLimit}[x.want != ""]; got != want {
			t.Errorf("%s: got %d lines, want %d: %s", name, got, want, &log)
		}
	}
}
