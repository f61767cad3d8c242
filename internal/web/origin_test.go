package web_test

import (
	"cmp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// An origin that no browser could name is refused at once, since it would have the site
// answer to nobody.
func TestOriginHosts(t *testing.T) {
	for good, hosts := range map[bool]string{
		true: "a.example A.Example a.example:8443 localhost xn--bcher-kva.example 9.example _a " +
			"a_b.c-d.example. 127.0.0.1 127.0.0.1:8080 [::1] [2001:db8::1]:443 a.example:65535",
		false: "a.example: a.example:0 a.example:0443 bücher.example b%C3%BCcher.example " +
			"*.example a.example;b ::1 [fe80::1%25eth0] a,b a.example/ b@a.example",
	} {
		for _, host := range strings.Fields(hosts) {
			var o web.Origins
			if err := o.Set("https://" + host); (err == nil) != good {
				t.Errorf("%s: got error %v", host, err)
			}
		}
	}
	var o web.Origins
	for _, text := range []string{"https://*.example", "*.example", "*", "https://*:8443/"} {
		err := o.Set(text)
		if err == nil || !strings.Contains(err.Error(), "no wildcards: name each origin") {
			t.Errorf("%s: got error %v, want it to say what to do", text, err)
		}
	}
	err := o.Set("https://a.example:443, https://b.example:80")
	if err != nil || o.String() != "https://a.example,https://b.example:80" || !o.Secure() {
		t.Errorf("got %s and %v", &o, err)
	}
	if err := o.Set("https://A.example"); err != nil || len(o) != 2 {
		t.Errorf("got %s and %v, want each origin once", &o, err)
	}
	if o.Set("http://c.example") == nil || o.Set("ftp://c.example") == nil {
		t.Error("got an origin of another scheme")
	}
}

// With origins the site answers to its own hosts alone, and takes posts from its own
// origins alone, scheme included, where the browser says no more.
func TestOrigins(t *testing.T) {
	const app, other = "app.example.com", "other.example:8443"
	s := newShop(t, sessions.Options[cart]{}, "https://"+app+",https://"+other)
	for _, tt := range []struct {
		name, method, target, host, origin, site string
		want                                     int
	}{
		{name: "own host", host: app, want: 200},
		{name: "the other own host", host: other, want: 200},
		{name: "capitals", host: "APP.example.com", want: 200},
		{name: "the scheme's port", host: app + ":443", want: 200},
		{name: "another scheme's port", host: app + ":80", want: 421},
		{name: "two ports", host: other + ":443", want: 421},
		{name: "without its port", host: "other.example", want: 421},
		{name: "a dot at the end", host: app + ".", want: 421},
		{name: "no host", want: 421},
		{name: "a balancer", target: "/healthz", host: "10.0.0.7:8080", want: 200},
		{name: "like a balancer", target: "/healthzz", host: "10.0.0.7:8080", want: 421},
		{name: "an asset", target: "/style.css", host: "evil.example", want: 200},
		{name: "a post to a rebound name", method: "POST", host: "evil.example", want: 421},

		{name: "curl", method: "POST", host: app, want: 200},
		{name: "own form", method: "POST", host: app, origin: "https://" + app, want: 200},
		{name: "the other's", method: "POST", host: app, origin: "https://" + other, want: 200},
		{name: "another scheme", method: "POST", host: app, origin: "http://" + app, want: 403},
		{name: "another port", method: "POST", host: app, origin: "https://" + app + ":1",
			want: 403},
		{name: "another site", method: "POST", host: app, origin: "https://a.example", want: 403},
		{name: "an opaque origin", method: "POST", host: app, origin: "null", want: 403},
		{name: "reading from there", host: app, origin: "https://evil.example", want: 200},
		{name: "a browser's word", method: "POST", host: app, origin: "https://" + app,
			site: "same-origin", want: 200},
		{name: "its word on another site", method: "POST", host: app, origin: "https://" + other,
			site: "cross-site", want: 403},
		{name: "an empty origin", method: "POST", host: app, site: "cross-site", want: 403},
	} {
		*s.record = record{}
		method, target := cmp.Or(tt.method, "GET"), "/cart"
		if tt.method != "" {
			target = "/add"
		}
		res, body := s.do(method, cmp.Or(tt.target, target), "item=milk", "Host", tt.host,
			"Cookie", s.cookie(t, "tea"), "Origin", tt.origin, "Sec-Fetch-Site", tt.site)
		if res.StatusCode != tt.want {
			t.Errorf("%s: got status %d, want %d", tt.name, res.StatusCode, tt.want)
		}
		if refused := tt.want == 403 || tt.want == 421; refused && (len(s.record.events) > 0 ||
			cookieIn(res) != "") {
			t.Errorf("%s: got the session touched", tt.name)
		}
		if tt.want == 421 && !strings.Contains(body, "does not serve the host") ||
			tt.want == 403 && !strings.Contains(body, "another site sent this form") {
			t.Errorf("%s: got %q", tt.name, body)
		}
	}
}

// Without origins the Host header has to do.
func TestCrossOrigin(t *testing.T) {
	s := newShop(t, insecure(), "")
	for _, tt := range []struct {
		site, origin string
		allowed      bool
	}{
		{site: "", origin: "", allowed: true}, // curl
		{site: "same-origin", origin: "http://example.com", allowed: true},
		{site: "same-site", origin: "http://www.example.com"},
		{site: "cross-site", origin: "http://example.com"},
		{origin: "https://example.com", allowed: true}, // a browser without Sec-Fetch-Site
		{origin: "http://example.com:8080"},
	} {
		res, page := s.do("POST", "/add", "item=milk", "Cookie", s.cookie(t, "tea"),
			"Accept", testkit.Browser, "Sec-Fetch-Site", tt.site, "Origin", tt.origin)
		isRefused := res.StatusCode == 403 && hasHeaders(res.Header, wantHeaders(true, false)) &&
			res.Header.Get("Vary") == "Accept" && strings.Contains(page, "0 things</p><i>, none")
		if isRefused == tt.allowed || tt.allowed && res.StatusCode != 200 {
			t.Errorf("%v: got status %d, %v and %s", tt, res.StatusCode, res.Header, page)
		}
	}
}

// Browsers keep HSTS for all ports of a host, so on a developer's machine there is none.
// There, the page for another host names the way.
func TestLocal(t *testing.T) {
	for host, local := range map[string]bool{
		"localhost": true, "localhost:8080": true, "app.localhost": true, "127.8.8.8:1": true,
		"[::1]:8080": true, "localhost.example": false, "10.0.0.7": false,
	} {
		s := newShop(t, sessions.Options[cart]{}, "https://"+host)
		res, _ := s.do("GET", "/cart", "", "Host", host)
		if got := res.Header.Get("Strict-Transport-Security") == ""; got != local ||
			res.StatusCode != 200 {
			t.Errorf("%s: got status %d and %v", host, res.StatusCode, res.Header)
		}
		_, text := s.do("GET", "/cart", "", "Host", "evil.example")
		if got := strings.Contains(text, "This site is at https://"+host+"/."); got != local {
			t.Errorf("%s: got %q", host, text)
		}
		_, page := s.do("GET", "/cart", "", "Host", "evil.example", "Accept", testkit.Browser)
		if got := strings.Contains(page, `<a href="https://`+host+`/">`); got != local {
			t.Errorf("%s: got %s", host, page)
		}
	}
}
