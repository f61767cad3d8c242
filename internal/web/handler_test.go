package web_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// Each request is counted with its route, also those that have none, and its session
// where it was asked for. What is refused is in the log too, with what was asked for.
func TestRefusedRequestsAreLogged(t *testing.T) {
	const own, evil = "shop.example", "evil.example"
	for _, tt := range []struct {
		method, target, host, site, want string
		session                          bool
		logged                           string
	}{
		{"GET", "/cart/", own, "", "GET /cart 200", true, ""},
		{"POST", "/add", own, "", "POST /add 422", true, "route=/add method=POST status=422"},
		{"BREW", "/add", own, "", "other /add 405", true, "route=/add method=other status=405"},
		{"GET", "/secret", own, "", "GET other 404", true, ""},
		{"GET", "/style.css", own, "", "GET /style.css 200", false, ""},
		{"GET", "/healthz", "10.0.0.7", "", "GET /healthz 200", false, ""},
		{"GET", "/test-only", own, "", "GET /test-only 500", true, ""},
		{"GET", "/cart", evil, "", "GET other 421", false, "route=/cart method=GET status=421 " +
			"host=evil.example origins=http://shop.example " +
			`hint="behind nginx: proxy_set_header Host`},
		{"GET", "/secret", evil, "", "GET other 421", false, "route=other method=GET status=421"},
		{"GET", "/cart", strings.Repeat("x", 101), "", "GET other 421", false,
			"route=/cart method=GET status=421 host=" + strings.Repeat("x", 100) + " "},
		{"POST", "/add", own, "cross-site", "POST other 403", false,
			`route=/add method=POST status=403 origin="" origins=http://shop.example`},
	} {
		s := newShop(t, insecure(), "http://shop.example",
			plain(func(_ *shop, _ http.ResponseWriter, _ *http.Request) { panic("on purpose") }))
		s.do(tt.method, tt.target, "", "Host", tt.host, "Sec-Fetch-Site", tt.site)
		served, events := s.record.served, len(s.record.events)
		if !slices.Equal(served, []string{tt.want}) || events > 1 || (events == 1) != tt.session {
			t.Errorf("%s %s: got %q counted and %d sessions, want %s",
				tt.method, tt.target, served, events, tt.want)
		}
		logged := strings.Count(s.log.String(), `level=INFO msg="request refused" `+tt.logged)
		if logged > 1 || (logged == 1) != (tt.logged != "") {
			t.Errorf("%s %s: got %s, want %q", tt.method, tt.target, s.log, tt.logged)
		}
	}
}

// The site's own Observe is called beside the Recorder, and its assets beside ours are
// those that never wait for a ticket.
func TestOptionsOfTheSite(t *testing.T) {
	heard := 0
	o := sessions.Options[cart]{Bind: time.Hour, BindPath: "/device", Assets: []string{"/film/"}}
	o.Observe = func(*http.Request, sessions.Event) { heard++ }
	s := newShop(t, o, "")
	s.device(t).Ask("POST", "/add", "item=milk")
	for _, path := range []string{"/film/", "/style.css", "/static/", "/healthz"} {
		if !strings.Contains(s.said, `"path":"`+path+`"`) {
			t.Errorf("got no %s in %s", path, s.said)
		}
	}
	if heard == 0 || heard != len(s.record.events) {
		t.Errorf("got %d events, and %d recorded", heard, len(s.record.events))
	}
}

// A second session of the site is counted and logged as the first one is, by its name.
func TestSecondSession(t *testing.T) {
	type basket struct{ Things int }
	keys, _ := sessions.NewKeyring(key)
	var baskets *sessions.Manager[basket]
	s := newShop(t, insecure(), "", func(s *shop) {
		var err error
		baskets, err = sessions.New(keys, sessions.Options[basket]{
			Name: "basket", Insecure: true, Observe: s.Observe("basket"),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.router.Use(baskets.Handler)
	}, action(func(r *http.Request, _ *session) (web.Answer, error) {
		baskets.Get(r.Context()).Data.Things++
		return web.Redirect("/cart"), nil
	}))
	res, _ := s.do("POST", "/test-only", "", "Cookie", "basket=aaaaaa.AAAA")
	if c := res.Cookies(); len(c) != 1 || c[0].Name != "basket" {
		t.Errorf("got the cookies %v", c)
	}
	slices.Sort(s.record.names)
	if got := s.record.names; !slices.Equal(got, []string{"basket", "session"}) {
		t.Errorf("got sessions of %q counted", got)
	}
	const line = `msg="cookie refused" verdict="unknown key" key_id=aaaaaa route=/test-only ` +
		`session=basket`
	if !strings.Contains(s.log.String(), line) {
		t.Errorf("got %s, want %s", s.log, line)
	}
}

// device returns a browser that binds its session.
func (s *shop) device(t *testing.T) *testkit.BindClient {
	return testkit.NewBindClient(t, func(method, path, body string, h http.Header) (
		*http.Response, string, error) {
		var header []string
		for name := range h {
			header = append(header, name, h.Get(name))
		}
		res, text := s.do(method, path, body, header...)
		return res, text, nil
	})
}

// The steps of device binding have routes of their own. A challenge is no refusal.
func TestDeviceSteps(t *testing.T) {
	s := newShop(t, sessions.Options[cart]{Bind: time.Hour}, "", func(s *shop) {
		s.router.HandleFunc("/add/{what}", s.Action(add)).Methods("POST")
	})
	b := s.device(t)
	b.Ask("POST", "/add", "item=milk")
	b.Refresh()
	b.Raw("POST", "/session/refresh", "", "Sec-Secure-Session-Id", "x")
	if !s.log.Has(`msg="request refused" route=/session/refresh method=POST status=400`) ||
		strings.Count(s.log.String(), "request refused") != 1 ||
		!s.log.Has(`level=DEBUG msg="device binding" event=challenged`) ||
		s.log.Has("cookie refused") {
		t.Errorf("got %s", s.log)
	}
	// Whatever a client says of its device, other addresses don't become labels.
	s.do("POST", "/add/7", "item=milk") // is offered to bind
	b.Raw("POST", "/no/where", "", "Secure-Session-Skipped", "unreachable")
	b.Raw("GET", "/no/where", "", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site",
		"Cookie", "__Host-Http-session="+b.Cookies()["__Host-Http-session"])
	want := []string{
		"POST /add 200", "POST /session/register 200", "POST /session/refresh 403",
		"POST /session/refresh 200", "POST /session/refresh 400", "POST /add/{what} 200",
		"POST other 404", "GET other 200",
	}
	if got := s.record.served; !slices.Equal(got, want) {
		t.Errorf("got %q counted, want %q", got, want)
	}
}

// How far a clock is off stands in the line of a cookie from the future.
func TestAheadIsLogged(t *testing.T) {
	s := newShop(t, insecure(), "")
	s.Observe("session")(httptest.NewRequest("GET", "/cart", nil), sessions.Event{
		Cookie: sessions.Cookie{
			Verdict: sessions.FromFuture, KeyID: "aaaaaa", Written: time.Now().Add(2 * time.Hour),
		},
	})
	want := `msg="cookie refused" verdict="from the future" key_id=aaaaaa route=/cart ` +
		"session=session ahead=2h0m0s\n"
	if !s.log.Has(want) {
		t.Errorf("got %s, want %s in it", s.log, want)
	}
}

// A refused cookie is one line, with its verdict and its route. Those that have only run
// out come for weeks.
func TestRefusedCookiesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, insecure(), "")
		good := s.cookie(t, "tea")
		s.do("GET", "/cart/", "", "Cookie", "session=aaaaaa.AAAA")
		s.do("GET", "/style.css", "", "Cookie", "session=aaaaaa.AAAA")
		s.do("GET", "/cart", "")
		s.do("GET", "/cart", "", "Cookie", good)
		s.do("GET", "/cart", "", "Cookie", good+"; "+good)
		time.Sleep(15 * 24 * time.Hour)
		s.do("GET", "/cart", "", "Cookie", good)
		for _, want := range []string{
			`level=INFO msg="cookie refused" verdict="unknown key" key_id=aaaaaa route=/cart`,
			`level=DEBUG msg="cookie refused" verdict=expired`,
			`level=INFO msg="several good cookies" count=2 route=/cart`,
			`level=DEBUG msg=request route=/cart method=GET status=200 duration=`,
		} {
			if log := s.log.String(); !strings.Contains(log, want) ||
				strings.Count(log, "cookie refused") != 2 ||
				strings.Count(log, "several good cookies") != 1 {
				t.Errorf("got %s, want %s in it", log, want)
			}
		}
	})
}

// Neither a key, nor a cookie, nor what a visitor has typed gets into the log.
func TestLogIsDiscreet(t *testing.T) {
	o := insecure()
	o.SignOnly = true
	s := newShop(t, o, "")
	_, good, _ := strings.Cut(s.cookie(t, secret), "=")
	upper := strings.ToUpper(secret)
	for _, cookie := range []string{good, good[:40], "x" + good, good + strings.Repeat("A", 4000)} {
		for _, request := range [][3]string{
			{"GET", "/cart", ""}, {"POST", "/add", "item=" + secret},
			{"POST", "/add", "item=" + secret + "%zz"}, {"POST", "/add", "item=" + secret + "%ff"},
			{"GET", "/" + secret + "?item=" + secret, ""}, {upper, "/add?" + secret, ""},
		} {
			_, body := s.do(request[0], request[1], request[2], "Cookie", "session="+cookie,
				"Accept", testkit.Browser)
			if strings.Contains(body, good[12:40]) {
				t.Errorf("%s: got the cookie in the page %q", request, body)
			}
		}
	}
	for _, hidden := range []string{key.Secret(), secret, upper, good[7:], good[12:40]} {
		if strings.Contains(s.log.String(), hidden) {
			t.Errorf("got %s in the log: %s", hidden, s.log)
		}
	}
}
