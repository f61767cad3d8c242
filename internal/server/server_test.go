package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/floodlog"
	"cookiesession/internal/server"
)

// lockedBuffer is a buffer that several goroutines may use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// has reports whether the log has a text.
func (l *lockedBuffer) has(text string) bool { return strings.Contains(l.String(), text) }

// await waits until done says so.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// started is a server that Run runs.
type started struct {
	addr, url, admin string // admin is empty if there is none
	log              *lockedBuffer
	wait             func() error // returns how it ended
	end              func() error // stops it first
}

// site is what the tests serve.
var site = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Test", "the site's own")
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	io.WriteString(w, "hello\n")
})

// start runs a server on a free port.
func start(t testing.TB, cfg server.Config) *started {
	t.Helper()
	s := &started{log: new(lockedBuffer)}
	if cfg.Addr == "" {
		cfg.Addr = "localhost:0"
	}
	if cfg.Handler == nil {
		cfg.Handler = site
	}
	cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "# HELP test_total A metric.\n")
	})
	cfg.Log = slog.New(floodlog.New(slog.NewTextHandler(s.log, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, cfg) }()
	s.wait = sync.OnceValue(func() error { return <-ended })
	s.end = sync.OnceValue(func() error {
		cancel()
		return s.wait()
	})
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})

	listening := regexp.MustCompile(`msg=listening url=\S+ addr=(\S+)`)
	await(t, "a listener", func() bool { return listening.MatchString(s.log.String()) })
	s.addr = listening.FindStringSubmatch(s.log.String())[1]
	s.url = "http://" + s.addr
	if cfg.Certificate != nil {
		s.url = "https://" + s.addr
	}
	admin := regexp.MustCompile(`msg="admin listening" url=(\S+)`)
	if m := admin.FindStringSubmatch(s.log.String()); m != nil {
		s.admin = m[1]
	}
	return s
}

// client trusts every certificate, and leaves no connection open.
var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
}}

// get returns the response to a GET, and its body.
func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// With nothing in flight, the server ends at once, whatever connections browsers
// have left open.
func TestQuickRestart(t *testing.T) {
	cert := newCertificate(t)
	idle := func(conn net.Conn) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("got %v and error %v", res, err)
		}
	}
	for name, open := range map[string]func(net.Conn){
		"no connection":      nil,
		"a spare connection": func(net.Conn) {},
		"an idle connection": idle,
		"some of a request":  func(conn net.Conn) { io.WriteString(conn, "GET / HTT") },
	} {
		for _, c := range []*server.Certificate{nil, cert} {
			s := start(t, server.Config{Certificate: c})
			if open != nil {
				conn, err := net.Dial("tcp", s.addr)
				if err == nil && c != nil && name != "a spare connection" {
					conn, err = tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
				}
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				open(conn)
				get(t, s.url) // connections are accepted one after the other
			}
			if open == nil && c != nil {
				useHTTP2(t, s.url) // a browser keeps that connection, too
			}
			began := time.Now()
			if err := s.end(); err != nil {
				t.Errorf("%s, TLS %v: got %v", name, c != nil, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s, TLS %v: got an end after %v, want less than a second",
					name, c != nil, took)
			}
		}
	}
}

// useHTTP2 makes a request over HTTP/2, and leaves the connection open.
func useHTTP2(t *testing.T, url string) {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if io.Copy(io.Discard, res.Body); res.ProtoMajor != 2 {
		t.Errorf("got %s", res.Proto)
	}
}

// From the first signal on the site is told, and everything goes on for the delay.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		const delay = 300 * time.Millisecond
		drained := make(chan struct{})
		s := start(t, server.Config{
			AdminAddr: "localhost:0", ShutdownDelay: delay, Drain: func() { close(drained) },
		})
		began := time.Now()
		signalSelf(t, sig)
		<-drained
		if !s.log.has(`msg="shutting down" delay=300ms`) {
			t.Errorf("%v: got %s", sig, s.log)
		}
		for _, url := range []string{s.url, s.admin + "/healthz"} {
			if res, _ := get(t, url); res.StatusCode != 200 {
				t.Errorf("%v: got status %d from %s during the delay", sig, res.StatusCode, url)
			}
		}
		if err := s.wait(); err != nil || time.Since(began) < delay {
			t.Errorf("%v: got %v after %v, want a good end after the delay",
				sig, err, time.Since(began))
		}
	}
}

// signalSelf sends a signal to this process.
func signalSelf(t *testing.T, sig os.Signal) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(sig)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An address that is taken stops the start, and the error names the flag.
func TestAddressTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	for want, cfg := range map[string]server.Config{
		"(choose another address with -addr)":       {Addr: taken, AdminAddr: "localhost:0"},
		"(choose another address with -admin-addr)": {Addr: "localhost:0", AdminAddr: taken},
	} {
		cfg.Handler, cfg.Metrics, cfg.Log = site, site, slog.New(slog.DiscardHandler)
		err := server.Run(t.Context(), cfg)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want it to end in %q", err, want)
		}
	}
}

// Not each of many bad connections is a line: net/http's own are bounded as well.
func TestBadConnectionsAreBoundedLines(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: the count comes after a second")
	}
	s := start(t, server.Config{Certificate: newCertificate(t)})
	const bad = 100
	for range bad {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "no TLS at all\n")
		conn.Close()
	}
	counted := regexp.MustCompile(`msg="more: TLS handshake error" count=(\d+)`)
	lines := func() int { return strings.Count(s.log.String(), `msg="http: TLS handshake error`) }
	await(t, "the lines", func() bool {
		n := lines()
		for _, m := range counted.FindAllStringSubmatch(s.log.String(), -1) {
			more, _ := strconv.Atoi(m[1])
			n += more
		}
		return n == bad
	})
	if got := lines(); got > bad/2 {
		t.Errorf("got %d lines for %d bad connections: %s", got, bad, s.log)
	}
}

// OPTIONS * is answered by the site, headers and all, not by net/http.
func TestOptionsOfTheServer(t *testing.T) {
	s := start(t, server.Config{})
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 404 || res.Header.Get("X-Test") == "" {
		t.Errorf("got status %d and %v, want the site's own answer", res.StatusCode, res.Header)
	}
}

// A header is limited before any handler sees it.
func TestHeaderLimit(t *testing.T) {
	s := start(t, server.Config{})
	for size, want := range map[int]int{30 << 10: 200, 40 << 10: 431} {
		r, err := http.NewRequest("GET", s.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Large", strings.Repeat("x", size))
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("header of %d bytes: got status %d, want %d", size, res.StatusCode, want)
		}
	}
}

// At the start it says where to point a browser and, if others can read the
// cookies on their way, that they can.
func TestStart(t *testing.T) {
	cert := newCertificate(t)
	const plain, secure = "http://app.example.com", "https://app.example.com"
	for _, tt := range []struct {
		cfg   server.Config
		url   string // PORT is the one that was free
		warns bool
	}{
		{cfg: server.Config{Addr: "localhost:0"}, url: "http://localhost:PORT"},
		{cfg: server.Config{Addr: "127.0.0.1:0"}, url: "http://127.0.0.1:PORT"},
		{cfg: server.Config{Addr: ":0"}, url: "http://localhost:PORT", warns: true},
		{cfg: server.Config{Addr: "0.0.0.0:0"}, url: "http://0.0.0.0:PORT", warns: true},
		{cfg: server.Config{Addr: ":0", URL: plain}, url: plain, warns: true},
		{cfg: server.Config{Addr: ":0", URL: secure, Secure: true}, url: secure},
		{cfg: server.Config{Addr: ":0", Certificate: cert}, url: "https://localhost:PORT"},
	} {
		s := start(t, tt.cfg)
		_, port, _ := net.SplitHostPort(s.addr)
		url := strings.ReplaceAll(tt.url, "PORT", port)
		if want := fmt.Sprintf("msg=listening url=%s addr=%s\n", url, s.addr); !s.log.has(want) {
			t.Errorf("%+v: got %s, want %s", tt.cfg, s.log, want)
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
		warning := `level=WARN msg="this listens beyond loopback without HTTPS`
		if got := s.log.has(warning); got != tt.warns {
			t.Errorf("%+v: got the warning: %v", tt.cfg, got)
		}
	}
}

// What is for the operator is on the admin listener alone, and nothing else is
// there. It is closed at the end.
func TestAdminListener(t *testing.T) {
	s := start(t, server.Config{AdminAddr: "localhost:0"})
	for path, want := range map[string]string{
		"/":                         "<title>cookiesession: admin</title>",
		"/metrics":                  "# HELP test_total ",
		"/healthz":                  "ok\n",
		"/debug/pprof/":             "goroutine",
		"/debug/pprof/heap?debug=1": "heap profile",
		"/debug/pprof/cmdline":      "",
	} {
		res, body := get(t, s.admin+path)
		if res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("admin %s: got status %d and %.100q", path, res.StatusCode, body)
		}
		if path == "/" {
			continue
		}
		if res, _ := get(t, s.url+path); res.StatusCode != 404 {
			t.Errorf("public %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	for _, path := range []string{
		"/nowhere", "/metrics/", "/healthz/x", "/links.html", "/debug", "/debug/pprof/nonsense",
	} {
		if res, _ := get(t, s.admin+path); res.StatusCode != 404 {
			t.Errorf("admin %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(s.admin, "http://")); err == nil {
		conn.Close()
		t.Error("got a connection after the end")
	}
}

// Whoever opens the admin listener in a browser finds what is there.
func TestAdminLinks(t *testing.T) {
	s := start(t, server.Config{AdminAddr: "localhost:0", Style: "a > b { color: red }"})
	res, page := get(t, s.admin)
	if kind := res.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") {
		t.Errorf("got a %s, want text/html", kind)
	}
	if !strings.Contains(page, "<style>a > b { color: red }</style>") {
		t.Errorf("got no stylesheet in %q", page)
	}
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 3 {
		t.Errorf("got %d links in %q", len(links), page)
	}
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/") {
			t.Errorf("got a link to %s, which is not on this listener", link[1])
			continue
		}
		if res, _ := get(t, s.admin+link[1]); res.StatusCode != 200 {
			t.Errorf("%s: got status %d", link[1], res.StatusCode)
		}
	}
}
