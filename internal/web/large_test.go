package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// frugal is a writer that notes how much of the request's header is still there when its
// answer goes out.
type frugal struct {
	*httptest.ResponseRecorder
	r    *http.Request
	left int
}

func (w *frugal) WriteHeader(status int) {
	w.left = len(fmt.Sprint(w.r.Header))
	w.ResponseRecorder.WriteHeader(status)
}

// A request whose header is too large gets an answer that helps, and takes no memory until
// the client has read that. Assets are served, and no browser gives up its binding.
func TestLargeHeaders(t *testing.T) {
	const cookies = "cookies, then come back"
	for _, tt := range []struct {
		method, target string
		header         [2]string
		plain          bool // the site is on plain HTTP
		status         int
		want, counted  string
	}{
		{"GET", "/cart", [2]string{}, false, 431, cookies, "GET other 431"},
		{"GET", "/cart", [2]string{"Accept", "*/*"}, false, 431, cookies, "GET other 431"},
		{"POST", "/add", [2]string{}, false, 431, cookies, "POST other 431"},
		{"GET", "/secret", [2]string{}, false, 431, cookies, "GET other 431"},
		{"GET", "/cart", [2]string{"Host", "evil.example"}, false, 421, "host", "GET other 421"},
		{"GET", "/style.css", [2]string{}, false, 200, ":root", "GET /style.css 200"},
		{"GET", "/healthz", [2]string{}, false, 200, "ok", "GET /healthz 200"},
		{"POST", "/delete_cookies", [2]string{}, false, 303, "Go on at /", "POST other 303"},
		{"GET", "/delete_cookies", [2]string{}, false, 431, cookies, "GET other 431"},
		{"POST", "/delete_cookies", [2]string{"Sec-Fetch-Site", "same-site"}, false,
			403, "another site", "POST other 403"},
		{"POST", "/delete_cookies", [2]string{}, true, 431, cookies, "POST other 431"},
		{"POST", "/delete_cookies", [2]string{"Host", "localhost"}, true,
			303, "/", "POST other 303"},
		{"POST", "/session/refresh", [2]string{"Sec-Secure-Session-Id", "x"}, false,
			503, "36 KiB", "POST /session/refresh 503"},
		{"POST", "/session/register", [2]string{"Secure-Session-Response", "x"}, false,
			503, "36 KiB", "POST /session/register 503"},
		{"GET", "/session/refresh", [2]string{"Sec-Secure-Session-Id", "x"}, false,
			431, cookies, "GET other 431"},
		{"POST", "/session/refresh", [2]string{"Secure-Session-Response", "x"}, false,
			431, cookies, "POST other 431"},
		{"POST", "/session/register", [2]string{"Sec-Secure-Session-Id", "x"}, false,
			431, cookies, "POST other 431"},
		{"POST", "/add", [2]string{"Sec-Secure-Session-Id", "x"}, false,
			431, cookies, "POST other 431"},
		{"POST", "/session/refresh", [2]string{"Sec-Secure-Session-Id", "x"}, true,
			431, cookies, "POST other 431"},
	} {
		what := fmt.Sprint(tt.method, " ", tt.target, " ", tt.header)
		s := newShop(t, sessions.Options[cart]{Bind: time.Hour}, "https://shop.example")
		if tt.plain {
			s = newShop(t, insecure(), "http://shop.example,http://localhost")
		}
		r := request(tt.method, tt.target, "", "Host", "shop.example", "Accept", testkit.Browser,
			"Cookie", strings.Repeat("x", web.MaxHeader))
		if tt.header[0] == "Host" {
			r.Host = tt.header[1]
		} else {
			r.Header.Set(tt.header[0], tt.header[1])
		}
		w := &frugal{ResponseRecorder: httptest.NewRecorder(), r: r}
		s.ServeHTTP(w, r)
		h := w.Header()
		if body := w.Body.String(); w.Code != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: got status %d and %s", what, w.Code, body)
		}
		isHTML := strings.HasPrefix(h.Get("Content-Type"), "text/html")
		if tt.status >= 400 && (isHTML == (tt.header[0] == "Accept") ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Security-Policy") == "") {
			t.Errorf("%s: got the header %v", what, h)
		}
		hasButton := strings.Contains(w.Body.String(), `<a href="/delete_cookies">`)
		if hasButton != (tt.status == 431 && isHTML && !tt.plain) {
			t.Errorf("%s: got the button to delete cookies: %v", what, hasButton)
		}
		if deletes := h.Get("Clear-Site-Data") == `"cookies"`; deletes != (tt.status == 303) {
			t.Errorf("%s: got the header %v", what, h)
		}
		if w.left > 100 {
			t.Errorf("%s: got %d bytes of header while the answer goes out", what, w.left)
		}
		if !slices.Equal(s.record.served, []string{tt.counted}) ||
			tt.status == 431 && !s.log.Has(`msg="request refused" `) {
			t.Errorf("%s: got %q counted and the log %s", what, s.record.served, s.log)
		}
	}
}

// The steps of device binding are known wherever the site has them.
func TestLargeSteps(t *testing.T) {
	for path, o := range map[string]sessions.Options[cart]{
		"/d/refresh": {BindPath: "/d"}, "/cart/refresh": {Name: "cart"},
		"/shop/session/refresh": {Path: "/shop/"},
	} {
		o.Bind = time.Hour
		s := newShop(t, o, "https://shop.example")
		r := request("POST", path, "", "Host", "shop.example", "Sec-Secure-Session-Id", "x",
			"Cookie", strings.Repeat("x", web.MaxHeader))
		s.ServeHTTP(httptest.NewRecorder(), r)
		if want := []string{"POST " + path + " 503"}; !slices.Equal(s.record.served, want) {
			t.Errorf("got %q counted, want %q", s.record.served, want)
		}
	}
}

// Each field counts for what Go takes to keep it, and so does the address.
func TestHeaderSize(t *testing.T) {
	for _, tt := range []struct {
		fields int
		query  string
		status int
	}{
		{40, "", 200}, {150, "", 200}, {200, "", 431},
		{1, strings.Repeat("q", 30<<10), 200}, {1, strings.Repeat("q", 36<<10), 431},
	} {
		r := request("GET", "/cart?"+tt.query, "")
		for i := range tt.fields {
			r.Header.Set(fmt.Sprint("X-", i), "")
		}
		w := httptest.NewRecorder()
		newShop(t, insecure(), "").ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%d fields and %d bytes of query: got status %d, want %d",
				tt.fields, len(tt.query), w.Code, tt.status)
		}
	}
}
