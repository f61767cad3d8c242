package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlags(t *testing.T) {
	type environ map[string]string
	base := config{
		settings: settings{
			cookie:   "session",
			persist:  true,
			idle:     336 * time.Hour,
			lifetime: 2160 * time.Hour,
		},
		addr:      "localhost:8080",
		encrypt:   true,
		logFormat: "text",
	}
	with := func(change func(*config)) *config {
		c := base
		change(&c)
		return &c
	}
	longName := strings.Repeat("x", 64)
	good := []struct {
		args []string
		env  environ
		want *config
	}{
		{nil, nil, &base},
		{nil, environ{"PORT": "9000"}, with(func(c *config) { c.addr = ":9000" })},
		{nil, environ{"PORT": "9000", "COOKIESESSION_ADDR": "[::1]:1"}, with(func(c *config) { c.addr = "[::1]:1" })},
		{[]string{"-addr", ":1"}, environ{"PORT": "9000", "COOKIESESSION_ADDR": ":2"}, with(func(c *config) { c.addr = ":1" })},
		{[]string{"-encrypt=false", "--persist=false"}, nil, with(func(c *config) { c.encrypt, c.persist = false, false })},
		{nil, environ{"COOKIESESSION_ENCRYPT": "false", "COOKIESESSION_IDLE": ""}, with(func(c *config) { c.encrypt = false })},
		{[]string{"-idle", "1h"}, environ{"COOKIESESSION_IDLE": "2h", "COOKIESESSION_LIFETIME": "9600h"}, with(func(c *config) { c.idle, c.lifetime = time.Hour, 9600*time.Hour })},
		{[]string{"-tls-cert", "c", "-tls-key", "k"}, nil, with(func(c *config) { c.tlsCert, c.tlsKey, c.secure = "c", "k", true })},
		{[]string{"-origin", "https://a.example", "-origin", "https://B.example:443,https://c.example:8443"}, environ{"COOKIESESSION_ORIGIN": "https://d.example"}, with(func(c *config) {
			c.origins, c.secure = origins{"https://a.example", "https://b.example", "https://c.example:8443"}, true
		})},
		{nil, environ{"COOKIESESSION_ORIGIN": "http://d.example:80,http://e.example"}, with(func(c *config) { c.origins = origins{"http://d.example", "http://e.example"} })},
		{[]string{"-cookie-name", "shop-2_b"}, nil, with(func(c *config) { c.cookie = "shop-2_b" })},
		{[]string{"-cookie-name", longName}, nil, with(func(c *config) { c.cookie = longName })},
		{[]string{"-log-format", "json", "-log-level", "warn"}, nil, with(func(c *config) { c.logFormat, c.logLevel = "json", 4 })},
	}
	for _, tt := range good {
		got, err := parseFlags(tt.args, func(name string) string { return tt.env[name] }, io.Discard)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
			t.Errorf("%q %v: got %+v and %v, want %+v", tt.args, tt.env, got, err, tt.want)
		}
	}
	bad := []struct {
		args []string
		env  environ
		says string
	}{
		{[]string{"-nonsense"}, nil, "-nonsense"},
		{[]string{"-idle", "soon"}, nil, "-idle"},
		{nil, environ{"COOKIESESSION_IDLE": "soon"}, "COOKIESESSION_IDLE"},
		{nil, environ{"COOKIESESSION_ENCRYPT": "maybe"}, "COOKIESESSION_ENCRYPT"},
		{[]string{"-idle", "500ms"}, nil, "-idle"},
		{[]string{"-lifetime", "-1h"}, nil, "-lifetime"},
		{[]string{"-lifetime", "9601h"}, nil, "9600 hours"},
		{[]string{"-tls-cert", "c"}, nil, "-tls-key"},
		{[]string{"-tls-key", "k"}, nil, "-tls-cert"},
		{[]string{"-tls-cert", "c", "-tls-key", "k", "-origin", "http://a.example"}, nil, "-origin with http contradicts -tls-cert"},
		{[]string{"-origin", "https://a.example,http://b.example"}, nil, "all origins must be https, or all http"},
		{[]string{"-origin", "https://a.example/"}, nil, "a scheme, a host and perhaps a port, and nothing else"},
		{[]string{"-origin", "https://a.example?"}, nil, "nothing else"},
		{[]string{"-origin", "https://a.example?x=1"}, nil, "nothing else"},
		{[]string{"-origin", "https://a.example#x"}, nil, "nothing else"},
		{[]string{"-origin", "https://me@a.example"}, nil, "nothing else"},
		{[]string{"-origin", "ftp://a.example"}, nil, "want an origin such as https://app.example.com"},
		{[]string{"-origin", "https://:443"}, nil, "want an origin such as"},
		{[]string{"-origin", "https://a.example:x"}, nil, "want an origin such as"},
		{[]string{"-origin", "https://xn--bcher-kva.example,http://b.example"}, nil, "all origins"},
		{nil, environ{"COOKIESESSION_ORIGIN": "*"}, "want an origin such as"},
		{[]string{"-cookie-name", "a b"}, nil, "-cookie-name must be letters, digits, - and _"},
		{[]string{"-cookie-name", ""}, nil, "-cookie-name must be"},
		{[]string{"-cookie-name", strings.Repeat("x", 65)}, nil, "64 at most"},
		{[]string{"-log-format", "xml"}, nil, "-log-format"},
		{[]string{"-log-level", "loud"}, nil, "-log-level"},
		{[]string{"serve"}, nil, `"serve"`},
		{[]string{"-origin", "app.example.com"}, nil, "want an origin such as https://app.example.com"},
	}
	ended, end := context.WithCancel(t.Context())
	end() // or a server would run if these were taken
	for _, tt := range bad {
		var usage usageError
		err := run(ended, tt.args, func(name string) string { return tt.env[name] }, nil, io.Discard, io.Discard)
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q %v: got %v, want one line with %q", tt.args, tt.env, err, tt.says)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, func(string) string { return "" }, nil, &help, io.Discard); err != nil {
		t.Errorf("-h: got %v", err)
	}
	new(config).flagSet(func(string) string { return "" }).VisitAll(func(f *flag.Flag) {
		if !strings.Contains(help.String(), "\n  -"+f.Name) {
			t.Errorf("-h says nothing of -%s", f.Name)
		}
	})
}

func TestKeysFromTheEnvironment(t *testing.T) {
	weak := strings.Repeat("0123456789abcde0", 4)
	tests := []struct{ list, says string }{
		{keyA[:63], ":1: want 64 hexadecimal digits, have 63 characters"},
		{keyA + "," + keyB + "0", ":2: "},
		{" , ", ": there is no key in it"},
		{keyA + "," + strings.Replace(keyB, "f", "g", 1), ":2: want 64 hexadecimal digits"},
		{keyA + "," + keyB + "," + weak, ":3: too regular"},
		{keyA + " , " + strings.ToUpper(keyA), ":2: the same key as in COOKIESESSION_KEYS:1"},
	}
	for _, tt := range tests {
		var log lockedBuffer
		err := run(t.Context(), nil, func(name string) string {
			return map[string]string{"COOKIESESSION_KEYS": tt.list}[name]
		}, nil, io.Discard, &log)
		if err == nil || !strings.Contains(err.Error(), "COOKIESESSION_KEYS"+tt.says) {
			t.Errorf("got %v, want %q", err, tt.says)
		}
		for _, secret := range []string{keyA, keyB, weak, keyA[:20], keyB[:20], weak[:20], "'g'"} {
			if strings.Contains(fmt.Sprint(err)+log.String(), secret) {
				t.Errorf("got a part of a key in %q or %q", err, &log)
			}
		}
	}
	// Exactly 16 different bytes are enough, 15 are not.
	enough, few := "", ""
	for i := range 32 {
		enough += fmt.Sprintf("%02x", i%16)
		few += fmt.Sprintf("%02x", i%15)
	}
	if _, err := parseKey(enough); err != nil {
		t.Errorf("16 different bytes: got %v", err)
	}
	if _, err := parseKey(few); err == nil {
		t.Error("15 different bytes: got no error")
	}
}

// pipes is a listener in memory, so that a server can run on synctest's clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

// servePipe has srv serve a connection in memory, and returns the client's end.
func servePipe(srv *http.Server) (client net.Conn) {
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	go srv.Serve(l)
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.close(); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Requests in flight get ten seconds after the delay, and no more.
func TestShutdownWaitsForRequests(t *testing.T) {
	tests := []struct {
		request, delay, want time.Duration // how long each takes
		ok                   bool
	}{
		{request: 0, delay: 0, want: 0, ok: true},
		{request: 0, delay: 3 * time.Second, want: 3 * time.Second, ok: true},
		{request: 8 * time.Second, delay: 0, want: 8 * time.Second, ok: true},
		{request: 12 * time.Second, delay: 3 * time.Second, want: 12 * time.Second, ok: true},
		{request: time.Minute, delay: 3 * time.Second, want: 28 * time.Second},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			a := newTestApp(t, options{})
			srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(tt.request):
					io.WriteString(w, "done")
				case <-r.Context().Done():
				}
			}), a.log)
			client := servePipe(srv)
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answer := make(chan string)
			go func() {
				b, _ := io.ReadAll(client)
				answer <- string(b)
			}()
			synctest.Wait()
			go func() {
				if time.Sleep(tt.delay / 2); tt.delay > 0 && !a.draining.Load() {
					t.Error("got a site that doesn't know of its end during the delay")
				}
			}()
			err := a.shutDown(srv, tt.delay)
			took := time.Since(began)
			if took < tt.want || took > tt.want+time.Second { // Shutdown looks now and then
				t.Errorf("%+v: got an end after %v", tt, took)
			}
			ok := err == nil
			if ok != tt.ok || !ok && !strings.Contains(err.Error(), "in flight after 25s") {
				t.Errorf("%+v: got %v", tt, err)
			}
			if got := strings.HasSuffix(<-answer, "\r\n\r\ndone"); got != tt.ok {
				t.Errorf("%+v: got an answer: %v", tt, got)
			}
		})
	}
}

// Limits that a client meets before any handler does.
func TestServerLimits(t *testing.T) {
	t.Parallel()
	p := startRun(t, nil)
	for size, want := range map[int]int{30 << 10: 200, 40 << 10: 431} {
		res, _ := send(t, "GET", p.url+"/get_name", "", http.Header{"X-Large": {strings.Repeat("x", size)}})
		if res.StatusCode != want {
			t.Errorf("header of %d bytes: got status %d, want %d", size, res.StatusCode, want)
		}
	}
	srv := newServer(nil, slog.New(slog.DiscardHandler))
	for name, limit := range map[string]time.Duration{"header": srv.ReadHeaderTimeout, "read": srv.ReadTimeout, "write": srv.WriteTimeout, "idle": srv.IdleTimeout} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("got a %s limit of %v", name, limit)
		}
	}
}
