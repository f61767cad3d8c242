package web_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

const secret = "Rumpelstiltskin"

// A request that comes to nothing is answered with one whole error page. The session is
// as it was, although the action has changed it, and is due for renewal; cookies that are
// not the session's stay. Nothing is said of the cause.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		ans    web.Answer
		err    error
		panic  any // "index" is an index out of range
		item   string
		status int
		says   string // on the page
		logged string
	}{
		{name: "error", err: errors.New("on fire"), status: 500, logged: "on fire"},
		{name: "a refusal", ans: web.Answer{Page: "add", Status: 400}, status: 400},
		{name: "failing template", ans: web.Answer{Page: "broken"}, status: 500, logged: "failed"},
		{name: "no such page", ans: web.Answer{Page: "nowhere"}, status: 500, logged: "failed"},
		{name: "too large", item: strings.Repeat(secret, 300), status: 422},
		{name: "too large, of an action's own", err: &sessions.TooLargeError{Over: 17},
			status: 422, says: "17 bytes"},
		{name: "no UTF-8", item: "\xff", status: 422, logged: "session not encoded"},
		{name: "problem", err: web.Problemf(409, "No."), status: 409},
		{name: "panic", panic: "Name " + secret, status: 500, logged: "panic=string stack="},
		{name: "runtime panic", panic: "index", status: 500, logged: "index out of range"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, insecure(), "",
				action(func(_ *http.Request, s *session) (web.Answer, error) {
					s.Data.Items = append(s.Data.Items, secret+tt.item)
					if tt.panic == "index" {
						return web.Answer{}, fmt.Errorf("%d", []int(nil)[len(tt.item)])
					}
					if tt.panic != nil {
						panic(tt.panic)
					}
					return tt.ans, tt.err
				}))
			s.router.Use(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Add("Set-Cookie", "theme=dark")
					next.ServeHTTP(w, r)
				})
			})
			cookie := s.cookie(t, "tea")
			time.Sleep(7 * 24 * time.Hour)
			res, body := s.do("GET", "/test-only", "", "Cookie", cookie, "Accept", testkit.Browser)
			if res.StatusCode != tt.status || len(res.Header["Set-Cookie"]) != 1 ||
				res.ContentLength != int64(len(body)) ||
				!hasHeaders(res.Header, wantHeaders(true, false)) {
				t.Errorf("%s: got status %d and %v", tt.name, res.StatusCode, res.Header)
			}
			if !strings.HasPrefix(body, "<!DOCTYPE") || !strings.HasSuffix(body, "</html>\n") ||
				strings.Count(body, "<html") != 1 || !strings.Contains(body, tt.says) ||
				!strings.Contains(body, "1 things</p><i>test_only, valid") {
				t.Errorf("%s: got %q", tt.name, body)
			}
			for _, hidden := range []string{secret, "fire", "half", "goroutine", "index out"} {
				if strings.Contains(body, hidden) {
					t.Errorf("%s: got %q in the page: %q", tt.name, hidden, body)
				}
			}
			log := s.log.String()
			if !strings.Contains(log, tt.logged) || strings.Contains(log, secret) ||
				strings.Contains(log, "level=ERROR") != (tt.status == 500) {
				t.Errorf("%s: got the log %s, want %q", tt.name, log, tt.logged)
			}
		})
	}
}

// When the error page fails as well, its sentence is left.
func TestErrorPageFails(t *testing.T) {
	s := newShop(t, insecure(), "")
	s.Shared = func(*http.Request, *session) any { return "broken" }
	res, body := s.do("GET", "/nowhere", "", "Accept", testkit.Browser)
	if res.StatusCode != 404 || !strings.HasPrefix(body, "There is no page") ||
		!strings.Contains(s.log.String(), "the error page failed") {
		t.Errorf("got status %d and %q", res.StatusCode, body)
	}
}

// Where the site can't tell whether a session is still good, the error page does without.
func TestAcceptPanics(t *testing.T) {
	o := insecure()
	o.Accept = func(*http.Request, *session) bool { panic("the database is down") }
	s := newShop(t, o, "")
	for _, target := range []string{"/cart", "/nowhere"} {
		res, page := s.do("GET", target, "", "Accept", testkit.Browser,
			"Cookie", s.cookie(t, "tea"))
		if res.StatusCode != 500 || !strings.Contains(page, "0 things</p><i>, none") {
			t.Errorf("%s: got status %d and %s", target, res.StatusCode, page)
		}
	}
	if n := strings.Count(s.log.String(), "panic in a handler"); n != 2 {
		t.Errorf("got %d panics logged, want one for each: %s", n, s.log)
	}
}

// A session that can't be changed for now is left alone. What was typed is there again,
// and there is a way to end the session.
func TestTryAgain(t *testing.T) {
	var cookie string
	synctest.Test(t, func(t *testing.T) { // by another copy's clock, which is ahead
		time.Sleep(10 * time.Minute)
		cookie = newShop(t, insecure(), "").cookie(t, "tea")
	})
	synctest.Test(t, func(t *testing.T) {
		change := func(_ *http.Request, s *session) (web.Answer, error) {
			s.Data.Items = []string{"milk"}
			return web.Message("cart", "done"), nil
		}
		s := newShop(t, insecure(), "", action(change))
		for target, want := range map[string]string{
			"/add":       `right now, and is as it was. Try again in a moment.<input value="milk">`,
			"/test-only": `<form action="/empty">`,
		} {
			res, page := s.do("POST", target, "item=milk", "Cookie", cookie,
				"Accept", testkit.Browser)
			if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" ||
				cookieIn(res) != "" || !strings.Contains(page, want) {
				t.Errorf("%s: got status %d, %v and %s", target, res.StatusCode, res.Header, page)
			}
		}
		if res, _ := s.do("POST", "/empty", "", "Cookie", cookie); cookieIn(res) != "deleted" {
			t.Errorf("got status %d and header %v after the end", res.StatusCode, res.Header)
		}
		if strings.Contains(s.log.String(), "level=ERROR") {
			t.Errorf("got the log %s", s.log)
		}
	})
}

// A handler that is no action gets the site's page where its session can't be saved, and
// a line in the log where it is too late.
func TestPlainHandlers(t *testing.T) {
	set := func(items ...string) func(*shop) {
		return plain(func(s *shop, w http.ResponseWriter, r *http.Request) {
			s.Sessions.Get(r.Context()).Data.Items = items
			io.WriteString(w, "done")
			s.Sessions.Get(r.Context()).Data.Owner = "late"
		})
	}
	s := newShop(t, insecure(), "", set("tea"))
	res, body := s.do("GET", "/test-only", "", "Cookie", "session=aaaaaa.AAAA")
	if cookieIn(res) != "set" || body != "done" {
		t.Errorf("got %q and header %v", body, res.Header)
	}
	log := s.log.String()
	if !strings.Contains(log, `level=WARN msg="session changed too late" route=/test-only`) ||
		strings.Count(log, "cookie refused") != 1 {
		t.Errorf("got the log %s", s.log)
	}
	for item, want := range map[string]string{
		strings.Repeat("x", 5000): "not fit into your cookie", "\xff": "not valid UTF-8",
	} {
		s := newShop(t, insecure(), "", set(item))
		res, page := s.do("GET", "/test-only", "", "Accept", testkit.Browser)
		if res.StatusCode != 422 || !strings.Contains(page, want) || cookieIn(res) != "" {
			t.Errorf("got status %d and %q, want 422 and %q", res.StatusCode, page, want)
		}
	}
}

// A panic when a part of the response has gone out can't become a page. A handler that
// ends its connection, as net/http has it, is not one that fails.
func TestPanicInTheMiddle(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"header":  func(w http.ResponseWriter) { w.WriteHeader(200) },
		"text":    func(w http.ResponseWriter) { io.WriteString(w, "some of it") },
		"flush":   func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
		"aborted": func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		fails := func(_ *shop, w http.ResponseWriter, _ *http.Request) {
			begin(w)
			panic("too late")
		}
		s := newShop(t, insecure(), "", plain(fails))
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler {
					t.Errorf("%s: got %v, want the connection closed", name, p)
				}
			}()
			s.do("GET", "/test-only", "")
		}()
		isError := strings.Contains(s.log.String(), "level=ERROR")
		served := fmt.Sprint(s.record.served)
		if isError != (name != "aborted") || served != "[GET /test-only 200]" {
			t.Errorf("%s: got %s counted and %s", name, served, s.log)
		}
	}
}

// A handler finds what the server's own writer can do. An answer of 103 is none yet.
func TestResponseController(t *testing.T) {
	s := newShop(t, insecure(), "", plain(func(_ *shop, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}))
	srv := httptest.NewServer(s)
	res, err := http.Get(srv.URL + "/test-only")
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(res.Body).ReadByte()
	res.Body.Close()
	srv.Close()
	if got := fmt.Sprint(s.record.served); got != "[GET /test-only 202]" {
		t.Errorf("got %s counted", got)
	}
}

// A session that no request has brought is saved like any other, with what is observed.
func TestSessionWithoutARequest(t *testing.T) {
	s := newShop(t, sessions.Options[cart]{Bind: 10 * time.Minute}, "https://shop.example")
	v := &session{Data: cart{Items: []string{"tea"}}}
	if _, err := s.Sessions.Save(httptest.NewRecorder(), v); err != nil {
		t.Error(err)
	}
}
