package server_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/server"
	"cookiesession/internal/testkit"
)

// site is what the tests serve.
var site = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	hello(w, r)
})

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }

// start runs a server on a free port.
func start(t testing.TB, cfg server.Config) *testkit.Server {
	t.Helper()
	cfg.Addr = cmp.Or(cfg.Addr, "localhost:0")
	cfg.Handler, cfg.Metrics = site, http.HandlerFunc(hello)
	cfg.Status = func() server.Status { return server.Status{} }
	if cfg.Drain == nil {
		cfg.Drain = func() {}
	}
	if cfg.CertificateLoaded == nil {
		cfg.CertificateLoaded = func(time.Time, error) {}
	}
	return testkit.Serve(t, func(ctx context.Context, log io.Writer) error {
		cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		return server.Run(ctx, cfg)
	})
}

// addrOf returns where a server listens.
func addrOf(s *testkit.Server) string {
	_, addr, _ := strings.Cut(s.URL, "://")
	return addr
}

// client trusts every certificate, and leaves no connection open.
var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
}}

// get returns the response to a GET, and its body.
func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html") // as a browser does
	res, err := client.Do(r)
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
	s := start(t, server.Config{Certificate: certificate(t, time.Hour)})
	spare, err := net.Dial("tcp", addrOf(s))
	if err != nil {
		t.Fatal(err)
	}
	defer spare.Close()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	began := time.Now()
	if err := s.End(); err != nil || time.Since(began) > time.Second || res.ProtoMajor != 2 {
		t.Errorf("got %v after %v with %s", err, time.Since(began), res.Proto)
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
		testkit.SignalSelf(t, sig)
		<-drained
		if !s.Log.Has(`msg="shutting down" delay=300ms why=` + sig.String() + " busy=0\n") {
			t.Errorf("%v: got %s", sig, s.Log)
		}
		for _, url := range []string{s.URL, s.AdminURL() + "/healthz"} {
			if res, _ := get(t, url); res.StatusCode != 200 {
				t.Errorf("%v: got status %d from %s during the delay", sig, res.StatusCode, url)
			}
		}
		if err := s.Wait(); err != nil || time.Since(began) < delay {
			t.Errorf("%v: got %v after %v, want a good end after the delay",
				sig, err, time.Since(began))
		}
	}
}

// An address that is taken stops the start, and the error names the flag. A certificate that
// can't be used does so before anybody could think that the program listens.
func TestNoStart(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken, free := ln.Addr().String(), "localhost:0"
	none := &server.Certificate{File: "none"}
	for want, cfg := range map[string]server.Config{
		"(choose another address with -addr)":       {Addr: taken, AdminAddr: free},
		"(choose another address with -admin-addr)": {Addr: free, AdminAddr: taken},
		"certificate: ": {Addr: free, Certificate: none},
	} {
		log := new(testkit.Buffer)
		cfg.Handler, cfg.Metrics, cfg.Log = site, site, slog.New(slog.NewTextHandler(log, nil))
		err := server.Run(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), want) || log.Has("msg=listening") {
			t.Errorf("got %v and %s, want %q", err, log, want)
		}
	}
}

// What watches the certificate ends when the start fails.
func TestWatchersEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	loads := 0
	cfg := server.Config{
		Addr: ln.Addr().String(), Handler: site, Log: slog.New(slog.DiscardHandler),
		Certificate: certificate(t, time.Hour), CertificateLoaded: func(time.Time, error) { loads++ },
	}
	if err := server.Run(context.Background(), cfg); err == nil || loads != 1 {
		t.Fatalf("got %v and the certificate loaded %d times", err, loads)
	}
	testkit.AwaitTrue(t, "the end of what watches", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "server.Watch.func")
	})
}

// A header is limited before any handler sees it.
func TestHeaderLimit(t *testing.T) {
	s := start(t, server.Config{})
	for size, want := range map[int]int{60 << 10: 200, 80 << 10: 431} {
		header := http.Header{"X-Large": {strings.Repeat("x", size)}}
		if res, _ := testkit.Send(t, "GET", s.URL, "", header); res.StatusCode != want {
			t.Errorf("header of %d bytes: got status %d, want %d", size, res.StatusCode, want)
		}
	}
}

// At the start it says where to point a browser and, if others can read the
// cookies on their way, that they can.
func TestStart(t *testing.T) {
	cert := certificate(t, time.Hour)
	const plain, secure = "http://app.example.com", "https://app.example.com"
	const local, loop = "http://app.localhost", "127.0.0.1:0"
	for _, tt := range []struct {
		cfg   server.Config
		url   string // PORT is the one that was free
		warns bool
	}{
		{cfg: server.Config{Addr: "127.0.0.1:0"}, url: "http://127.0.0.1:PORT"},
		{cfg: server.Config{Addr: loop, Origins: []string{plain}}, url: plain, warns: true},
		{cfg: server.Config{Addr: "127.0.0.1:0", Origins: []string{local}}, url: local},
		{cfg: server.Config{Addr: ":0"}, url: "http://localhost:PORT", warns: true},
		{cfg: server.Config{Addr: ":0", Origins: []string{plain}}, url: plain, warns: true},
		{cfg: server.Config{Addr: ":0", Origins: []string{secure}, Secure: true}, url: secure},
		{cfg: server.Config{Addr: ":0", Certificate: cert}, url: "https://localhost:PORT"},
	} {
		s := start(t, tt.cfg)
		if err := s.End(); err != nil {
			t.Error(err)
		}
		log := s.Log.String()
		listening := testkit.Listening.FindStringSubmatch(log)
		_, port, _ := net.SplitHostPort(listening[2])
		warns := strings.Contains(log, `level=WARN msg="this serves beyond loopback without HTTPS`)
		want := strings.ReplaceAll(tt.url, "PORT", port)
		if listening[1] != want || warns != tt.warns {
			t.Errorf("%+v: got %s, want %s", tt.cfg, log, want)
		}
	}
}

// What is for the operator is on the admin listener alone, whose page links to all of it,
// and nothing else is. It is closed at the end.
func TestAdminListener(t *testing.T) {
	s := start(t, server.Config{AdminAddr: "localhost:0", Style: "a > b { color: red }"})
	res, page := get(t, s.AdminURL())
	if kind := res.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") ||
		!strings.Contains(page, "<style>a > b { color: red }\n") {
		t.Errorf("got a %s: %q", kind, page)
	}
	for path, want := range map[string]string{
		"/metrics": "hello", "/healthz": "ok\n", "/debug/pprof/": "goroutine",
	} {
		res, body := get(t, s.AdminURL()+path)
		if res.StatusCode != 200 || !strings.Contains(body, want) ||
			!strings.Contains(page, `href="`+path+`"`) {
			t.Errorf("admin %s: got status %d and %.100q", path, res.StatusCode, body)
		}
		if res, _ := get(t, s.URL+path); res.StatusCode != 404 {
			t.Errorf("public %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	if res, _ := get(t, s.AdminURL()+"/nowhere"); res.StatusCode != 404 {
		t.Errorf("got status %d, want 404", res.StatusCode)
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(s.AdminURL(), "http://")); err == nil {
		conn.Close()
		t.Error("got a connection after the end")
	}
}
