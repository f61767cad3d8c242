package web_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// newFlashes returns a site whose messages are shown once. Its action has a message for the
// next page, and does what the query says.
func newFlashes(t *testing.T) *shop {
	return newShop(t, insecure(), "", action(func(r *http.Request, s *session) (web.Answer, error) {
		switch r.URL.Query().Get("do") {
		case "say":
			s.Data.Flash.Add("Saved")
			return web.Redirect("/cart"), nil
		case "go on":
			return web.Redirect("/cart"), nil
		case "moved":
			return web.Answer{Status: 303, Location: "/cart", Page: "cart"}, nil
		case "poll":
			s.Passive = true
			return web.Message("cart", "polled"), nil
		case "refuse":
			s.Data.Flash.Add("Done")
			return web.Answer{Status: 422, Page: "cart", Text: "Which one?"}, nil
		case "overflow":
			s.Data.Owner = strings.Repeat("x", 4000)
			return web.Message("cart", "too much"), nil
		case "later":
			return web.Answer{Status: 503, Page: "cart"}, nil
		case "fail":
			return web.Answer{}, errors.New("on purpose")
		}
		panic("on purpose")
	}), func(s *shop) { s.Flash = func(c *cart) *sessions.Flash { return &c.Flash } })
}

// A message is on the next page that the visitor sees, and on no other one.
func TestFlash(t *testing.T) {
	const do = "/test-only?do="
	for _, tt := range []struct {
		method, path, name, value string // with another header
		shown                     bool
	}{
		{"GET", "/cart", "", "", true},
		{"GET", "/add", "Accept", "*/*", true}, // there is no text
		{"GET", "/nowhere", "", "", true},
		{"PUT", "/cart", "", "", true},
		{"GET", do + "refuse", "", "", true},
		{"GET", do + "overflow", "", "", true},
		{"GET", "/cart", "Sec-Fetch-Dest", "document", true},
		{"GET", "/cart", "Sec-Fetch-Dest", "empty", true}, // htmx, say
		{"GET", "/cart", "Accept", "*/*", false},
		{"HEAD", "/cart", "", "", false},
		{"GET", "/cart", "Sec-Purpose", "prefetch;prerender", false},
		{"GET", "/nowhere", "Sec-Fetch-Dest", "image", false},
		{"GET", "/style.css", "", "", false},
		{"GET", "/healthz", "", "", false},
		{"GET", do + "poll", "", "", false},
		{"GET", do + "go+on", "", "", false},
		{"GET", do + "moved", "", "", false},
		{"GET", do + "later", "", "", false},
		{"GET", do + "fail", "", "", false},
		{"GET", do + "panic", "", "", false},
	} {
		s := newFlashes(t)
		cookie := ""
		visit := func(method, path string, header ...string) string {
			header = append([]string{"Accept", testkit.Browser, "Cookie", cookie}, header...)
			res, page := s.do(method, path, "", header...)
			for _, c := range res.Cookies() {
				cookie = c.Name + "=" + c.Value
			}
			return page
		}
		visit("POST", do+"say")
		page := visit(tt.method, tt.path, tt.name, tt.value)
		if got := strings.Contains(page, "<b>Saved</b>"); got != tt.shown ||
			strings.Contains(page, "<b>Done</b>") {
			t.Errorf("%v: got %s", tt, page)
		}
		if got := strings.Contains(visit("GET", "/cart"), "<b>Saved</b>"); got == tt.shown {
			t.Errorf("%v: shown on the next page: %v", tt, got)
		}
		if page := visit("GET", "/cart"); strings.Contains(page, "<b>") {
			t.Errorf("%v: got a message again in %s", tt, page)
		}
	}
}

// A session that can't be saved keeps its message.
func TestFlashStaysWithWhatCannotBeSaved(t *testing.T) {
	s := newShop(t, insecure(), "", plain(func(s *shop, w http.ResponseWriter, r *http.Request) {
		s.Sessions.Get(r.Context()).Data.Owner = strings.Repeat("x", 4000)
	}), func(s *shop) { s.Flash = func(c *cart) *sessions.Flash { return &c.Flash } })
	c, err := s.Sessions.Seal(cart{Flash: sessions.Flash{"Saved"}})
	if err != nil {
		t.Fatal(err)
	}
	res, page := s.do("GET", "/test-only", "", "Accept", testkit.Browser, "Cookie",
		c.Name+"="+c.Value)
	if res.StatusCode != 422 || len(res.Cookies()) > 0 || strings.Contains(page, "<b>") {
		t.Errorf("got status %d, %v and %s", res.StatusCode, res.Cookies(), page)
	}
}
