package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// With nothing in flight, the program ends at once, whatever connections
// browsers have left open.
func TestQuickRestart(t *testing.T) {
	cert, key, _ := newCertificate(t)
	idle := func(conn net.Conn) {
		io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("got %v and error %v", res, err)
		}
	}
	for name, open := range map[string]func(net.Conn){
		"no connection":      nil,
		"a spare connection": func(net.Conn) {},
		"an idle connection": idle,
		"some of a request":  func(conn net.Conn) { io.WriteString(conn, "GET /healthz HTT") },
	} {
		for _, flags := range [][]string{nil, {"-tls-cert", cert, "-tls-key", key}} {
			p := startRun(t, map[string]string{"COOKIESESSION_KEYS": keyA}, flags...)
			if open != nil {
				_, addr, _ := strings.Cut(p.url, "://")
				conn, err := net.Dial("tcp", addr)
				if err == nil && flags != nil && name != "a spare connection" {
					conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
				}
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				open(conn)
				time.Sleep(20 * time.Millisecond) // for the server to see it
			}
			if open == nil && flags != nil {
				useHTTP2(t, p.url) // a browser keeps that connection, too
			}
			began := time.Now()
			if err := p.end(); err != nil {
				t.Errorf("%s, %v: got %v", name, flags, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s, %v: got an end after %v, want less than a second", name, flags, took)
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
	res, err := (&http.Client{Transport: transport}).Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if io.Copy(io.Discard, res.Body); res.ProtoMajor != 2 {
		t.Errorf("got %s", res.Proto)
	}
}

// A connection that is accepted while the server ends is closed, and one whose
// request doesn't end in time is, too.
func TestConnectionsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{log: io.Discard})
		a.router.HandleFunc("/test-only", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		srv := newServer(a, a.log)
		closeUnusedOnShutdown(srv)
		client := servePipe(srv)
		io.WriteString(client, "GET /test-only HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		began := time.Now()
		ended := make(chan error)
		go func() { ended <- a.shutDown(srv, 0) }()
		time.Sleep(time.Second)

		late, conn := net.Pipe()
		srv.ConnState(conn, http.StateNew)
		if _, err := late.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got error %v from a late connection, want it closed", err)
		}
		if err := <-ended; err == nil || time.Since(began) != shutdownTimeout {
			t.Errorf("got error %v after %v, want one after %v", err, time.Since(began), shutdownTimeout)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got error %v from the connection in flight, want it closed", err)
		}
	})
}

// closing is a connection that tells when it was closed.
type closing struct {
	net.Conn
	at time.Time
}

func (c *closing) Close() error {
	c.at = time.Now()
	return c.Conn.Close()
}

// Clients of HTTP/2 have a moment to see that their idle connection will be closed.
func TestIdleHTTP2AtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := new(http.Server)
		closeUnusedOnShutdown(srv)
		states := []http.ConnState{http.StateNew, http.StateIdle, http.StateActive}
		conns := make([]*closing, len(states))
		for i, state := range states {
			client, server := net.Pipe()
			defer client.Close()
			conns[i] = &closing{Conn: server}
			srv.ConnState(tls.Server(conns[i], new(tls.Config)), state)
		}
		began := time.Now()
		srv.Shutdown(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, want := range []time.Time{began, began.Add(goAwayTime), {}} {
			if conns[i].at != want {
				t.Errorf("%v: got it closed at %v, want %v", states[i], conns[i].at, want)
			}
		}
	})
}

// A refused post over HTTP/2 is no reason to close the connection of all others.
func TestRefusalOverHTTP2(t *testing.T) {
	srv := httptest.NewUnstartedServer(newTestApp(t, options{secure: true, log: io.Discard}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for i := range 3 {
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		})
		r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/set_name", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 415 || res.ProtoMajor != 2 || reused != (i > 0) {
			t.Errorf("%d: got status %d over %s, reused %v", i, res.StatusCode, res.Proto, reused)
		}
		time.Sleep(10 * time.Millisecond) // for what the server may say of the connection
	}
}

// The listener of the admin is closed at the end.
func TestAdminEnds(t *testing.T) {
	admin := freeAddr(t)
	p := startRun(t, nil, "-admin-addr", admin)
	if conn, err := net.Dial("tcp", admin); err != nil {
		t.Errorf("got %v while it runs", err)
	} else {
		conn.Close()
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", admin); err == nil {
		conn.Close()
		t.Error("got a connection after the end")
	}
}

// A form that is sent by halves ends with the time that a request has, and is
// no failure of the restart.
func TestRestartDuringAHalfSentForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{log: io.Discard})
		srv := newServer(a, a.log)
		closeUnusedOnShutdown(srv)
		client := servePipe(srv)
		go io.Copy(io.Discard, client)
		io.WriteString(client, "POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=Bob")
		synctest.Wait()
		began := time.Now()
		err := a.shutDown(srv, 0)
		if took := time.Since(began); err != nil || took > readTimeout+time.Second {
			t.Errorf("got error %v after %v", err, took)
		}
	})
}

// The same with the program itself, which ends with status 0.
func TestSignalDuringAHalfSentForm(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("slow: it waits for the time that a request has")
	}
	t.Parallel()
	p := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA})
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /set_name HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"+
		"Expect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n') // a handler reads the form
	if !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q and error %v", line, err)
	}
	began := time.Now()
	if err := p.end(); err != nil || time.Since(began) > readTimeout+5*time.Second {
		t.Errorf("got %v after %v, want status 0 after %v or so", err, time.Since(began), readTimeout)
	}
}

// A thousand bad connections are not a thousand lines: net/http's own are
// bounded as well, and those that are left out are counted.
func TestBadConnectionsAreBoundedLines(t *testing.T) {
	cert, key, _ := newCertificate(t)
	p := startRun(t, map[string]string{"COOKIESESSION_KEYS": keyA}, "-tls-cert", cert, "-tls-key", key)
	before := strings.Count(p.log.String(), "\n")
	began := time.Now()
	const bad = 1000
	for range bad {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "no TLS at all\n")
		conn.Close()
	}
	counted := regexp.MustCompile(`msg="more: TLS handshake error" count=(\d+)`)
	seen := func() int {
		n := strings.Count(p.log.String(), `msg="TLS handshake error"`)
		for _, m := range counted.FindAllStringSubmatch(p.log.String(), -1) {
			more, _ := strconv.Atoi(m[1])
			n += more
		}
		return n
	}
	awaitTrue(t, "the lines", func() bool { return seen() == bad })
	most := (floodLimit + 1) * (int(time.Since(began).Seconds()) + 1)
	if got := strings.Count(p.log.String(), "\n") - before; got > most || got < 2 {
		t.Errorf("got %d lines, want 2 to %d", got, most)
	}
}

// A line of net/http's own is cut, because a client has a say in its length.
func TestLongLinesAreCut(t *testing.T) {
	var log lockedBuffer
	b := serverErrors{log: slog.New(slog.NewTextHandler(&log, nil))}
	line := "http: TLS handshake error from 127.0.0.1:1: " + strings.Repeat("\x01", 64<<10)
	if n, err := io.WriteString(b, line); n != len(line) || err != nil {
		t.Errorf("got %d and error %v", n, err)
	}
	if len(log.String()) > 2000 || !strings.Contains(log.String(), "handshake error from 127.0.0.1") {
		t.Errorf("got %d bytes: %.200s", len(log.String()), &log)
	}
}

// Panics and errors of the server are bounded too, each for itself, and a
// panic's line says where it was.
func TestPanicsAreBoundedLines(t *testing.T) {
	var log lockedBuffer
	a := newTestApp(t, options{log: &log})
	a.router.HandleFunc("/test-only", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	for range 2 * floodLimit {
		do(t, a, exchange{method: "GET", target: "/test-only"})
		fmt.Fprintln(serverErrors{log: a.log}, "http: something went wrong")
	}
	for line, want := range map[string]int{
		`msg="panic in a handler" route=/test-only panic=string`:               floodLimit,
		`level=WARN msg="server error" err="http: something went wrong"`:       floodLimit,
		`level=ERROR msg="request failed" route=/test-only method=GET err="pa`: floodLimit,
	} {
		if got := strings.Count(log.String(), line); got != want {
			t.Errorf("got %d lines %s, want %d: %s", got, line, want, &log)
		}
	}
}

// OPTIONS * is answered by the site, headers and all, not by net/http.
func TestOptionsOfTheServer(t *testing.T) {
	p := startRun(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 404 || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got status %d and %v, want the site's own answer", res.StatusCode, res.Header)
	}
}

// Without HTTPS, a program that others can reach says so at its start.
func TestWarningWithoutHTTPS(t *testing.T) {
	cert, key, _ := newCertificate(t)
	for _, tt := range []struct {
		flags []string
		warns bool
	}{
		{flags: []string{"-addr", "localhost:0"}},
		{flags: []string{"-addr", "127.0.0.1:0"}},
		{flags: []string{"-addr", ":0"}, warns: true},
		{flags: []string{"-addr", "0.0.0.0:0"}, warns: true},
		{flags: []string{"-addr", ":0", "-origin", "http://app.example.com"}, warns: true},
		{flags: []string{"-addr", ":0", "-origin", "https://app.example.com"}},
		{flags: []string{"-addr", ":0", "-tls-cert", cert, "-tls-key", key}},
	} {
		p := startRun(t, map[string]string{"COOKIESESSION_KEYS": keyA}, tt.flags...)
		if err := p.end(); err != nil {
			t.Error(err)
		}
		warning := `level=WARN msg="this listens beyond loopback without HTTPS`
		if got := strings.Contains(p.log.String(), warning); got != tt.warns {
			t.Errorf("%v: got the warning: %v", tt.flags, got)
		}
	}
}

// The first origin is where to point a browser, beside the address.
func TestOriginAtTheStart(t *testing.T) {
	p := startRun(t, nil, "-origin", "https://app.example.com,https://www.example.com")
	want := `msg=listening url=https://app.example.com addr=127.0.0.1:`
	if !strings.Contains(strings.ReplaceAll(p.log.String(), "[::1]", "127.0.0.1"), want) {
		t.Errorf("got %s, want %s", p.log, want)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	noEnv := func(string) string { return "" }
	// It is printed even where nothing could be served.
	for _, args := range [][]string{{"-version"}, {"--version", "-key-file", "/nowhere"}} {
		out.Reset()
		if err := run(t.Context(), args, noEnv, nil, &out, &out); err != nil {
			t.Errorf("%v: got %v", args, err)
		}
		if !regexp.MustCompile(`^cookiesession \S.*, go1\.\d+.*\n$`).MatchString(out.String()) {
			t.Errorf("%v: got %q", args, &out)
		}
	}
}

// On a host name that several programs share, the cookie has a name of its own.
func TestCookieName(t *testing.T) {
	for _, secure := range []string{"", "https://app.example.com"} {
		args := []string{"-cookie-name", "shop"}
		want := "shop"
		if secure != "" {
			args, want = append(args, "-origin", secure), securePrefix+"shop"
		}
		cfg, err := parseFlags(args, func(string) string { return "" }, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		a := newApp(newSessions[session](cfg.settings), cfg.bind, cfg.origins, slog.New(slog.DiscardHandler))
		a.useRing(newTestManager(t, options{}).ring.Load())
		r := httptest.NewRequest("POST", "/set_name", strings.NewReader("name=Bob"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = "app.example.com"
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		cookie := w.Result().Cookies()[0]
		if cookie.Name != want {
			t.Errorf("got a cookie called %s, want %s", cookie.Name, want)
		}

		// A cookie under the other name is none of ours.
		for name, text := range map[string]string{
			want: "Name: Bob\n", "session": "Name not found in session\n",
		} {
			r := httptest.NewRequest("GET", "/get_name", nil)
			r.Host = "app.example.com"
			r.AddCookie(&http.Cookie{Name: name, Value: cookie.Value})
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Body.String() != text {
				t.Errorf("%s: got %q, want %q", name, w.Body, text)
			}
		}

		// And inspect finds it, if it is told.
		env := map[string]string{"COOKIESESSION_KEYS": keyA}
		var out bytes.Buffer
		in := strings.NewReader("Cookie: a=b; " + want + "=" + cookie.Value)
		err = runInspect([]string{"-cookie-name", "shop", "-show"},
			func(name string) string { return env[name] }, in, &out)
		if err != nil || !strings.Contains(out.String(), `"Bob"`) {
			t.Errorf("inspect: got error %v and %s", err, &out)
		}
	}
}

// The top-level help says in a line each what the subcommands do.
func TestTopLevelHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, func(string) string { return "" }, nil, &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cookiesession [flags]  ", "cookiesession keys COMMAND  ", "cookiesession inspect [flags]  ",
	} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("got no line on %q in %s", want, &out)
		}
	}
}
