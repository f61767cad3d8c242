package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// haproxyConfig returns deploy/haproxy.cfg with other addresses and another
// certificate, whose file has the key behind the chain.
func haproxyConfig(t testing.TB, plain, secure, pem string, copies ...string) string {
	t.Helper()
	config := read(t, "deploy/haproxy.cfg")
	replace := func(old, new string) {
		t.Helper()
		if strings.Count(config, old) != 1 {
			t.Fatalf("deploy/haproxy.cfg: %q is there %d times", old, strings.Count(config, old))
		}
		config = strings.Replace(config, old, new, 1)
	}
	replace("bind :80\n", "bind "+plain+"\n")
	replace("bind :443 ", "bind "+secure+" ")
	replace("/etc/haproxy/site.pem", pem)
	for i, addr := range copies {
		old := fmt.Sprintf("server copy%d 127.0.0.1:808%d\n", i+1, i+1)
		replace(old, fmt.Sprintf("server copy%d %s\n", i+1, addr))
	}
	return config
}

// proxy is a HAProxy or a Caddy, which may be started again.
type proxy struct {
	t    testing.TB
	args []string
	home string
	cmd  *exec.Cmd // the last one
}

func (p *proxy) start(more ...string) {
	p.t.Helper()
	cmd := exec.Command(p.args[0], append(slices.Clone(p.args[1:]), more...)...)
	cmd.Env = append(os.Environ(),
		"HOME="+p.home, "XDG_DATA_HOME="+p.home, "XDG_CONFIG_HOME="+p.home)
	log := new(testkit.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("%s: %s", filepath.Base(p.args[0]), log)
		}
	})
}

// startHAProxy starts HAProxy as deploy/haproxy.cfg has it, in front of these
// copies, and returns a client for it that trusts its certificate.
func startHAProxy(t testing.TB, plain, secure string, copies ...string) (*proxy, *http.Client) {
	t.Helper()
	haproxy, dir := testkit.NeedTool(t, "haproxy"), t.TempDir()
	cert, key, pool := testkit.NewCertificate(t)
	pem, config := filepath.Join(dir, "site.pem"), filepath.Join(dir, "haproxy.cfg")
	testkit.WriteFile(t, pem, testkit.ReadFile(t, cert)+testkit.ReadFile(t, key))
	testkit.WriteFile(t, config, haproxyConfig(t, plain, secure, pem, copies...))
	p := &proxy{t: t, args: []string{haproxy, "-db", "-f", config}, home: dir}
	p.start()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
		},
	}
	testkit.AwaitTrue(t, "HAProxy", func() bool { return isHealthy(client, "https://"+secure) })
	return p, client
}

// startCaddy starts Caddy as deploy/Caddyfile has it, at the address front, in
// front of the copies at these addresses, and returns a client for it.
func startCaddy(t testing.TB, front string, copies ...string) (*proxy, *http.Client) {
	t.Helper()
	caddy, dir := testkit.NeedTool(t, "caddy"), t.TempDir()
	config := strings.Replace(read(t, "deploy/Caddyfile"), "example.com {",
		"{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"+
			front+" {\n\ttls internal", 1)
	for i, url := range copies {
		old := fmt.Sprintf("127.0.0.1:808%d ", i+1)
		config = strings.Replace(config, old, strings.TrimPrefix(url, "http://")+" ", 1)
	}
	file := filepath.Join(dir, "Caddyfile")
	testkit.WriteFile(t, file, config)
	args := []string{caddy, "run", "--config", file, "--adapter", "caddyfile"}
	p := &proxy{t: t, args: args, home: dir}
	p.start()
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	testkit.AwaitTrue(t, "Caddy", func() bool { return isHealthy(client, front) })
	return p, client
}

// isHealthy reports whether the site at an address says that it is.
func isHealthy(client *http.Client, url string) bool {
	res, err := client.Get(url + "/healthz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// HAProxy ends TLS before three copies that know their origin.
func TestHAProxyEndsTLS(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "haproxy")
	plain, secure := testkit.FreeAddr(t), testkit.FreeAddr(t)
	base := "https://" + secure
	var copies []string
	for range 3 {
		addr := testkit.FreeAddr(t)
		start(t, withKeyA, "-addr", addr, "-origin", base)
		copies = append(copies, addr)
	}
	_, client := startHAProxy(t, plain, secure, copies...)

	res, _, err := askSite(client, base, "POST", "/set_name", "name=Alice", "")
	if err != nil {
		t.Fatal(err)
	}
	cookies := res.Cookies()
	if len(cookies) != 1 || cookies[0].Name != secureCookie || !cookies[0].Secure {
		t.Fatalf("got the cookies %v", cookies)
	}
	if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("got HTTP/%d with %v, want HTTP/2 and HSTS", res.ProtoMajor, res.Header)
	}
	for range 6 { // each copy twice
		_, body, err := askSite(client, base, "GET", "/get_name", "", "")
		if err != nil || body != "Name: Alice\n" {
			t.Errorf("got %q and %v", body, err)
		}
	}

	res, _ = testkit.Send(t, "GET", "http://"+plain+"/get_name", "", http.Header{})
	to := res.Header.Get("Location")
	if res.StatusCode != 308 || to != "https://"+plain+"/get_name" {
		t.Errorf("over plain HTTP: got status %d to %q, want 308 to HTTPS", res.StatusCode, to)
	}
	request, err := http.NewRequest("GET", base+"/get_name", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "evil.example"
	if res, err = client.Do(request); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest || len(res.Cookies()) > 0 {
		t.Errorf("for another host: got status %d, want 421", res.StatusCode)
	}
	old := &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	}
	if conn, err := tls.Dial("tcp", secure, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	weak := &tls.Config{
		InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	}
	if conn, err := tls.Dial("tcp", secure, weak); err == nil {
		conn.Close()
		t.Error("a suite without authenticated encryption was accepted")
	}
}

// TestCaddy runs deploy/Caddyfile, with a certificate of Caddy's own making.
func TestCaddy(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "caddy")
	t.Parallel()
	base := "https://" + strings.Replace(testkit.FreeAddr(t), "127.0.0.1", "localhost", 1)
	var copies []string
	for range 3 {
		copies = append(copies, start(t, withKeyA, "-origin", base).URL)
	}
	_, client := startCaddy(t, base, copies...)
	ask := func(method, path, body, cookie string) (*http.Response, string, error) {
		return askSite(client, base, method, path, body, cookie)
	}
	res, body, err := ask("POST", "/set_name", "name=Alice", "")
	if err != nil || body != "Name Alice set in session\n" || len(res.Cookies()) != 1 ||
		res.Cookies()[0].Name != secureCookie || res.ProtoMajor != 2 {
		t.Fatalf("got %q, %v and %v", body, res, err)
	}
	c := res.Cookies()[0]
	for range 6 {
		_, body, err := ask("GET", "/get_name", "", c.Name+"="+c.Value)
		if err != nil || body != "Name: Alice\n" {
			t.Errorf("got %q and %v", body, err)
		}
	}
}

// Where a message ends is never a matter of opinion: what could be taken in two
// ways is refused, and the connection is closed, so that nothing behind it is
// taken for a request of somebody else's.
func TestMessageBoundaries(t *testing.T) {
	slow(t)
	p := start(t, nil)
	direct := func() (net.Conn, error) {
		return net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	}
	ways := map[string]func() (net.Conn, error){"direct": direct}
	if _, err := exec.LookPath("haproxy"); err == nil || os.Getenv("CI") == "true" {
		plain, secure := testkit.FreeAddr(t), testkit.FreeAddr(t)
		copies := make([]string, 3)
		for i := range copies {
			copies[i] = strings.TrimPrefix(start(t, withKeyA).URL, "http://")
		}
		startHAProxy(t, plain, secure, copies...)
		ways["behind HAProxy"] = func() (net.Conn, error) {
			return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
		}
	}
	tests := []struct {
		name, header, body string
		refused            bool
	}{
		{name: "good", header: "Content-Length: 10", body: "name=Alice"},
		{
			name: "good, chunked", header: "Transfer-Encoding: chunked",
			body: "a\r\nname=Alice\r\n0\r\n\r\n",
		},
		{
			name: "two lengths", header: "Content-Length: 10\r\nContent-Length: 4",
			body: "name=Alice", refused: true,
		},
		{name: "two in one", header: "Content-Length: 10, 4", body: "name=Alice", refused: true},
		{name: "signed", header: "Content-Length: +10", body: "name=Alice", refused: true},
		{
			name: "space before the colon", header: "Content-Length : 10",
			body: "name=Alice", refused: true,
		},
		{
			name: "unknown coding", header: "Transfer-Encoding: xchunked",
			body: "name=Alice", refused: true,
		},
		{
			name: "coding twice", header: "Transfer-Encoding: chunked, chunked",
			body: "0\r\n\r\n", refused: true,
		},
		{
			name: "bad chunk", header: "Transfer-Encoding: chunked",
			body: "-1\r\nname=Alice\r\n0\r\n\r\n", refused: true,
		},
	}
	const form = "POST /set_name HTTP/1.1\r\nHost: localhost\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	const next = "GET /style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for way, dial := range ways {
		for _, tt := range tests {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(conn, form+tt.header+"\r\n\r\n"+tt.body+next)
			all, err := io.ReadAll(conn) // an error is a connection that was cut off
			conn.Close()
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s, %s: still open after five seconds", way, tt.name)
			}
			got, answers := string(all), strings.Count(string(all), "HTTP/1.1 ")
			set := strings.Contains(got, "Name Alice set in session")
			if !tt.refused && (!set || answers != 2) || tt.refused && (set || answers > 1) {
				t.Errorf("%s, %s: got %d answers: %.300s", way, tt.name, answers, got)
			}
		}
		// With both headers, the length is ignored: what it would have made a part
		// of the form is the next request.
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		const two = "Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
		both := fmt.Sprintf(two, 15+len(next))
		io.WriteString(conn, form+both+"a\r\nname=Alice\r\n0\r\n\r\n"+next)
		all, _ := io.ReadAll(conn)
		conn.Close()
		got := string(all)
		if !strings.Contains(got, "Name Alice set in session") && !strings.Contains(got, " 400 ") {
			t.Errorf("%s, both headers: got %.300s", way, all)
		}
	}
}
