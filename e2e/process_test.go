package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"cookiesession/internal/testkit"
)

// The lesson, and how the program starts and ends.

// The lesson over HTTP/2, with a cookie jar.
func TestFlowOverTLS(t *testing.T) {
	slow(t)
	t.Parallel()
	cert, key, pool := testkit.NewCertificate(t)
	tlsFlags := []string{"-tls-cert", cert, "-tls-key", key}
	p := start(t, withKeyA, tlsFlags...)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
	ask := func(method, path, form, want string) {
		t.Helper()
		res, body, err := askSite(client, p.URL, method, path, form, "")
		if err != nil || strings.TrimSpace(body) != want {
			t.Fatalf("%s %s: got %q and %v, want %q", method, path, body, err, want)
		}
		if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("got HTTP/%d and header %v, want HTTP/2 and HSTS", res.ProtoMajor, res.Header)
		}
		for _, c := range res.Cookies() {
			if c.Name != secureCookie || !c.Secure || !c.HttpOnly || c.Path != "/" ||
				c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("got the cookie %s with wrong attributes", c.Name)
			}
		}
	}
	ask("GET", "/get_name", "", "Name not found in session")
	ask("POST", "/set_name/", "name=+Ada+Lovelace+", "Name Ada Lovelace set in session")
	ask("GET", "/get_name/", "", "Name: Ada Lovelace")
	ask("POST", "/clear_name", "", "Name cleared from session")
	ask("GET", "/get_name", "", "Name not found in session")
	ask("POST", "/set_name", "name=Grace", "Name Grace set in session")
	client.CloseIdleConnections() // or HTTP/2 takes a second to say good-bye

	// Another process with the same key has the session, too.
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	p = start(t, withKeyA, tlsFlags...)
	ask("GET", "/get_name", "", "Name: Grace")
	client.CloseIdleConnections()

	// Plain HTTP is no TLS, which the server's own log line says, and no secret is in any.
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	testkit.AwaitTrue(t, "a line on the handshake", func() bool {
		return strings.Contains(p.Log.String(), "TLS handshake error")
	})
	if log := p.Log.String(); strings.Contains(log, "Grace") || strings.Contains(log, keyA) {
		t.Errorf("got a secret in the log: %s", log)
	}
}

// Without a key there is a warning and a random one, which ends with the process.
func TestRandomKey(t *testing.T) {
	slow(t)
	a, b := start(t, nil), start(t, nil)
	log := a.Log.String()
	if !strings.Contains(log, "level=WARN") || !strings.Contains(log, "no key is configured") {
		t.Errorf("got no warning: %s", log)
	}
	j := newJar(t, a.URL, "Alice")
	if got := j.ask(a.URL); got != "Name: Alice" {
		t.Errorf("got %q", got)
	}
	header := http.Header{"Cookie": {j.cookie}}
	_, body := testkit.Send(t, "GET", b.URL+"/session", "", header)
	if !strings.Contains(body, "unknown key") {
		t.Errorf("got %q from another process", body)
	}
}

// What keeps the program from starting is one line, and a status.
func TestStartFailures(t *testing.T) {
	slow(t)
	t.Parallel()
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	tests := []struct {
		args   []string
		status int
		says   string
	}{
		{args: []string{"-addr", busy}, status: 1, says: "(choose another address with -addr)"},
		{
			args:   []string{"-addr", "localhost:0", "-admin-addr", busy},
			status: 1,
			says:   "(choose another address with -admin-addr)",
		},
		{args: []string{"-addr", "localhost"}, status: 1, says: "with -addr)"},
		{
			args:   []string{"-tls-cert", "/nowhere", "-tls-key", "/nowhere"},
			status: 1,
			says:   "/nowhere",
		},
		{args: []string{"-nonsense"}, status: 2, says: "-nonsense"},
		{args: []string{"-h"}},
	}
	for _, tt := range tests {
		_, said, status := command(t, "", withKeyA, tt.args...)
		lines := strings.Count("\n"+said, "\ncookiesession: ")
		if status != tt.status || lines != min(tt.status, 1) || !strings.Contains(said, tt.says) {
			t.Errorf("%q: got status %d and %q, want %d and %q",
				tt.args, status, said, tt.status, tt.says)
		}
	}
}

// A request in flight is finished after SIGTERM; a second signal ends the
// program at once.
func TestShutdown(t *testing.T) {
	slow(t)
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for _, twice := range []bool{false, true} {
			p := start(t, withKeyA)
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// The form is half sent, so its handler waits for the rest.
			fmt.Fprint(conn, "POST /set_name HTTP/1.1\r\nHost: localhost\r\n"+
				"Content-Type: application/x-www-form-urlencoded\r\n"+
				"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
			r := bufio.NewReader(conn)
			line, err := r.ReadString('\n')
			if err != nil || !strings.Contains(line, "100 Continue") {
				t.Fatalf("got %q and %v", line, err)
			}
			r.ReadString('\n')
			p.Cmd.Process.Signal(sig)
			testkit.AwaitTrue(t, "the end to begin", func() bool {
				return strings.Contains(p.Log.String(), "shutting down")
			})
			if twice {
				p.Cmd.Process.Signal(sig)
				if err := p.Wait(); err == nil || p.Cmd.ProcessState.Exited() {
					t.Errorf("after a second %v: got %v, want the program ended by it", sig, err)
				}
				continue
			}
			testkit.AwaitTrue(t, "the listener to close", func() bool {
				other, err := net.Dial("tcp", conn.RemoteAddr().String())
				if err == nil {
					other.Close()
				}
				return err != nil
			})
			fmt.Fprint(conn, "name=Alice")
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 200 || len(res.Cookies()) != 1 {
				t.Fatalf("got %v and %v for the request in flight", res, err)
			}
			if err := p.Wait(); err != nil {
				t.Errorf("after %v: got %v, want status 0", sig, err)
			}
		}
	}
}

// Without a key file there is nothing to load on SIGHUP, but it is no reason to
// end either.
func TestHangUpWithoutAKeyFile(t *testing.T) {
	slow(t)
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	p := start(t, withKeyA)
	p.Cmd.Process.Signal(syscall.SIGHUP)
	for range 20 { // it has long been delivered then
		testkit.Send(t, "GET", p.URL+"/get_name", "", http.Header{})
	}
	if err := p.End(); err != nil {
		t.Errorf("got %v: %s", err, p.Log)
	}
}

var curlLines = regexp.MustCompile(`(?s)<pre><code>(.*?)</code></pre>`)

// What the session page says about a replay can be tried as it stands there: at the
// site's own address, or else at the one where the program listens by itself.
func TestReplay(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "curl")
	sh := testkit.NeedTool(t, "sh")
	for origin, base := range map[string]string{
		"": "http://localhost:8080", "http://app.test,http://b.test": "http://app.test",
	} {
		var flags []string
		if origin != "" {
			flags = []string{"-origin", origin}
		}
		p := start(t, withKeyA, flags...)
		curl := "curl -sS --connect-to ::" + strings.TrimPrefix(p.URL, "http://") + " "
		dir := t.TempDir()
		run := func(lines string) string {
			t.Helper()
			return runIn(t, exec.Command(sh, "-e"), dir, strings.ReplaceAll(lines, "curl ", curl))
		}
		page := run("curl -H 'Accept: text/html' " + base + "/session")
		lines := html.UnescapeString(curlLines.FindStringSubmatch(page)[1])
		out := run(lines)
		if !strings.Contains(lines, base+"/") ||
			!strings.HasSuffix(out, "\nName cleared from session\nName: Alice\n") {
			t.Errorf("%v: got %s from %s", flags, out, lines)
		}
		if got := run("curl -b jar " + base + "/get_name"); got != "Name not found in session\n" {
			t.Errorf("%v: got %s after clearing", flags, got)
		}
	}
}
