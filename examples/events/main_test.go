package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cookiesession/sessions"
)

func serve(t *testing.T, limits sessions.Limits) (address string) {
	t.Helper()
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	h, err := newSite(keys, limits, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// browser is one that Ada uses.
type browser struct {
	*http.Client
	t    *testing.T
	site string
}

func newBrowser(t *testing.T, site string) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{Client: &http.Client{Jar: jar}, t: t, site: site}
}

// posts posts a form and follows the redirect.
func (b browser) posts(path string) {
	b.t.Helper()
	r, err := b.PostForm(b.site+path, url.Values{"user": {"Ada"}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(page), "<form") {
		b.t.Fatalf("%s: %s, %v", path, r.Status, err)
	}
}

// opensClock returns the answer with the stream of events.
func (b browser) opensClock() *http.Response {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	b.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", b.site+"/clock", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// opensEcho returns the websocket, which is nil if there is none, and the answer.
func (b browser) opensEcho() (*websocket.Conn, *http.Response) {
	b.t.Helper()
	conn, answer, err := websocket.Dial(b.t.Context(), b.site+"/echo",
		&websocket.DialOptions{HTTPClient: b.Client})
	if answer == nil {
		b.t.Fatal(err)
	}
	if conn != nil {
		b.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, answer
}

// says sends a message, and returns what comes back.
func (b browser) says(conn *websocket.Conn, message string) (string, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		b.t.Fatal(err)
	}
	_, echo, err := conn.Read(ctx)
	return string(echo), err
}

// The session is saved before a stream's first byte.
func TestSaves(t *testing.T) {
	b := newBrowser(t, serve(t, sessions.Limits{}))
	b.posts("/login")
	_, echo := b.opensEcho()
	for name, r := range map[string]*http.Response{"clock": b.opensClock(), "echo": echo} {
		cookies := r.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "session" {
			t.Errorf("%s: got %d cookies", name, len(cookies))
		}
	}
	if got := b.opensClock().Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q", got)
	}
}

func TestNeedsALogin(t *testing.T) {
	b := newBrowser(t, serve(t, sessions.Limits{}))
	if r := b.opensClock(); r.StatusCode != http.StatusUnauthorized || len(r.Cookies()) != 0 {
		t.Errorf("clock: got %s and %d cookies", r.Status, len(r.Cookies()))
	}
	if conn, r := b.opensEcho(); conn != nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("echo: got %s", r.Status)
	}
}

// A page of another site can't open a websocket with the visitor's cookie.
func TestFromAnotherSite(t *testing.T) {
	b := newBrowser(t, serve(t, sessions.Limits{}))
	b.posts("/login")
	conn, r, err := websocket.Dial(t.Context(), b.site+"/echo", &websocket.DialOptions{
		HTTPClient: b.Client, HTTPHeader: http.Header{"Origin": {"https://example.com"}},
	})
	if err == nil {
		conn.CloseNow()
		t.Fatal("the websocket was opened")
	}
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("got %s", r.Status)
	}
}

// A stream whose session ends meanwhile notices at its next message.
func TestEnds(t *testing.T) {
	tests := []struct {
		name   string
		limits sessions.Limits
		end    func(another browser)
	}{
		{"logged out elsewhere", sessions.Limits{}, func(another browser) {
			another.posts("/login")
			another.posts("/logout")
		}},
		{"by itself", sessions.Limits{Idle: 2 * time.Second}, func(browser) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.limits.Idle != 0 && testing.Short() {
				t.Skip("it takes two seconds")
			}
			b := newBrowser(t, serve(t, test.limits))
			b.posts("/login")
			conn, _ := b.opensEcho()
			clock := bufio.NewReader(b.opensClock().Body)
			if echo, err := b.says(conn, "hello"); echo != "hello" {
				t.Fatalf("echo: got %q, %v", echo, err)
			}
			event, err := clock.ReadString('\n')
			if !strings.HasPrefix(event, "data: ") {
				t.Fatalf("clock: got %q, %v", event, err)
			}

			test.end(newBrowser(t, b.site))
			if _, err := io.Copy(io.Discard, clock); err != nil {
				t.Errorf("the clock did not end: %v", err)
			}
			echo, err := b.says(conn, "hello")
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("the echo did not end: got %q, %v", echo, err)
			}
			// By itself, a session is good until the second in which it ends is over.
			r := b.opensClock()
			if test.limits.Idle == 0 && r.StatusCode != http.StatusUnauthorized {
				t.Errorf("the clock begins again: %s", r.Status)
			}
		})
	}
}
