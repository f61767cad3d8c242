package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
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

// The site over HTTP/2, with a cookie jar. No secret is in the log.
func TestFlowOverTLS(t *testing.T) {
	slow(t)
	t.Parallel()
	cert, key, pool := testkit.NewCertificate(t)
	p := start(t, withKeyA, "-tls-cert", cert, "-tls-key", key)
	v := newVisitor(t, p.URL, &tls.Config{RootCAs: pool})
	res, body, err := askSite(v.client, p.URL, "POST", "/set_name/", "name=+Ada+Lovelace+", "")
	if err != nil || body != "Name Ada Lovelace set in session\n" || len(res.Cookies()) != 1 {
		t.Fatalf("got %q and %v", body, err)
	}
	c := res.Cookies()[0]
	if res.ProtoMajor != 2 || c.Name != secureCookie || !c.Secure || !c.HttpOnly || c.Path != "/" ||
		c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("got HTTP/%d and the cookie %s with wrong attributes", res.ProtoMajor, c.Name)
	}
	v.name = "Ada Lovelace"
	if err := v.check(); err != nil {
		t.Error(err)
	}
	if got, err := v.ask("/clear_name", url.Values{}); got != "Name cleared from session" {
		t.Errorf("got %q and %v", got, err)
	}
	if got, err := v.ask("/get_name", nil); got != "Name not found in session" {
		t.Errorf("got %q and %v", got, err)
	}
	v.client.CloseIdleConnections() // or HTTP/2 takes a second to say good-bye
	// Plain HTTP is no TLS, which the server's own log line says.
	sendRaw(t, func() (net.Conn, error) {
		return net.Dial("tcp", strings.TrimPrefix(p.URL, "https://"))
	}, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	testkit.AwaitTrue(t, "a line on the handshake", func() bool {
		return p.Log.Has("TLS handshake error")
	})
	if p.Log.Has("Lovelace") || p.Log.Has(keyA) {
		t.Errorf("got a secret in the log: %s", p.Log)
	}
}

// A request in flight is finished after SIGTERM; a second signal ends the program at once.
// SIGHUP is no reason to end, also where there is no key file to load.
func TestShutdown(t *testing.T) {
	slow(t)
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	for _, tt := range []struct {
		sig   os.Signal
		twice bool
	}{{sig: os.Interrupt}, {sig: syscall.SIGTERM, twice: true}} {
		p := start(t, withKeyA)
		p.Cmd.Process.Signal(syscall.SIGHUP)
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
		p.Cmd.Process.Signal(tt.sig)
		testkit.AwaitTrue(t, "the end to begin", func() bool { return p.Log.Has("shutting down") })
		if tt.twice {
			p.Cmd.Process.Signal(tt.sig)
			if err := p.Wait(); err == nil || p.Cmd.ProcessState.Exited() {
				t.Errorf("after a second %v: got %v, want the program ended by it", tt.sig, err)
			}
			continue
		}
		fmt.Fprint(conn, "name=Alice")
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 200 || len(res.Cookies()) != 1 {
			t.Fatalf("got %v and %v for the request in flight", res, err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("after %v: got %v, want status 0", tt.sig, err)
		}
	}
}

var curlLines = regexp.MustCompile(`(?s)<pre><code>(.*?)</code></pre>`)

// What the session page says about a replay can be tried as it stands there.
func TestReplay(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "curl")
	sh := testkit.NeedTool(t, "sh")
	const base = "http://app.test"
	p := start(t, withKeyA, "-origin", base+",http://b.test")
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
		t.Errorf("got %s from %s", out, lines)
	}
	if got := run("curl -b jar " + base + "/get_name"); got != "Name not found in session\n" {
		t.Errorf("got %s after clearing", got)
	}
}
