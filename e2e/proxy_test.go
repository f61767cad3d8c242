package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// haproxyConfig returns deploy/haproxy.cfg with other addresses, of three copies at
// most, another certificate, whose file has the key behind the chain, and another folder
// to run in. Only root can have it be another user.
func haproxyConfig(
	t testing.TB, plain, secure, admin, pem, dir string, copies ...string) string {
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
	replace("bind 127.0.0.1:8404\n", "bind "+admin+"\n")
	replace("https://example.com%", "https://"+secure+"%")
	replace("/etc/haproxy/site.pem", pem)
	replace("chroot /var/lib/haproxy\n", "chroot "+dir+"\n")
	if os.Geteuid() != 0 {
		replace("\tuser haproxy\n\tgroup haproxy\n", "")
		replace("\tchroot "+dir+"\n", "")
	}
	for i := range 3 {
		server := ""
		if i < len(copies) {
			server = fmt.Sprintf("server copy%d %s", i+1, copies[i])
		}
		replace(fmt.Sprintf("server copy%d 127.0.0.1:808%d", i+1, i+1), server)
	}
	return config
}

// proxy is a HAProxy or a Caddy, which may be started again.
type proxy struct {
	t    testing.TB
	args []string
	home string
	cmd  *exec.Cmd // the last one
	log  *testkit.Buffer
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
	p.cmd, p.log = cmd, log
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("%s: %s", filepath.Base(p.args[0]), log)
		}
	})
}

// startHAProxy starts HAProxy as deploy/haproxy.cfg has it, with a certificate, in front of
// these copies, and with its operator's listener at admin.
func startHAProxy(t testing.TB, cert, key, plain, secure, admin string, copies ...string) *proxy {
	t.Helper()
	haproxy, dir, empty := testkit.NeedTool(t, "haproxy"), t.TempDir(), t.TempDir()
	pem, config := filepath.Join(dir, "site.pem"), filepath.Join(dir, "haproxy.cfg")
	testkit.WriteFile(t, pem, testkit.ReadFile(t, cert)+testkit.ReadFile(t, key))
	testkit.WriteFile(t, config, haproxyConfig(t, plain, secure, admin, pem, empty, copies...))
	p := &proxy{t: t, args: []string{haproxy, "-db", "-f", config}, home: empty}
	p.start()
	client := newClient(t, &tls.Config{InsecureSkipVerify: true})
	testkit.AwaitTrue(t, "HAProxy", func() bool { return isHealthy(client, "https://"+secure) })
	return p
}

// startCaddy starts Caddy as deploy/Caddyfile has it, with a certificate of its own making,
// at the address front and for plain HTTP at another, in front of these copies. It returns a
// client for it.
func startCaddy(t testing.TB, front, plain string, copies ...string) (*http.Client, *proxy) {
	t.Helper()
	caddy, dir := testkit.NeedTool(t, "caddy"), t.TempDir()
	config := read(t, "deploy/Caddyfile")
	replace := func(old, new string) {
		t.Helper()
		if strings.Count(config, old) != 1 {
			t.Fatalf("deploy/Caddyfile: %q is there %d times", old, strings.Count(config, old))
		}
		config = strings.Replace(config, old, new, 1)
	}
	_, port, _ := net.SplitHostPort(plain)
	replace("\n{\n", "\n{\nadmin off\nskip_install_trust\nhttp_port "+port+"\n")
	replace("\nexample.com {\n", "\n"+front+" {\ntls internal\n")
	replace("https://example.com{", front+"{")
	replace("\nhttps:// {\n", "\nhttps://"+front[strings.LastIndex(front, ":"):]+" {\n")
	replace("reverse_proxy 127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083 ",
		"reverse_proxy "+strings.Join(copies, " ")+" ")
	file := filepath.Join(dir, "Caddyfile")
	testkit.WriteFile(t, file, config)
	args := []string{caddy, "run", "--config", file, "--adapter", "caddyfile"}
	p := &proxy{t: t, args: args, home: dir}
	p.start()
	client := newClient(t, &tls.Config{InsecureSkipVerify: true})
	testkit.AwaitTrue(t, "Caddy", func() bool { return isHealthy(client, front) })
	return client, p
}

// statusFor returns the status of the answer to a visitor of another host.
func statusFor(t *testing.T, client *http.Client, base, host string) int {
	t.Helper()
	r, err := http.NewRequest("GET", base+"/get_name", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
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
	plain, secure, admin := testkit.FreeAddr(t), testkit.FreeAddr(t), testkit.FreeAddr(t)
	cert, key, pool := testkit.NewCertificate(t)
	base := "https://" + secure
	p := startHAProxy(t, cert, key, plain, secure, admin, startBehind(t, base)...)
	wantServed(t, newClient(t, &tls.Config{RootCAs: pool}), base)
	wantStrictTLS(t, secure)
	wantRedirects(t, plain, base)
	wantStatistics(t, admin)
	if strings.Contains(p.log.String(), "[WARNING]") {
		t.Errorf("got warnings of the configuration: %s", p.log)
	}
	wantConfined(t, p)
	log := wantLog(t, p)
	askSite(newClient(t, &tls.Config{RootCAs: pool}), base, "GET", "/get_name?secret", "",
		"session=secret")
	if line := log(" GET /get_name HTTP/2.0"); strings.Contains(line, "secret") {
		t.Errorf("got a cookie or a query in the line %s", line)
	}
}

// wantRedirects fails unless an address leads everybody to a site, and nowhere else.
func wantRedirects(t *testing.T, plain, base string) {
	t.Helper()
	for target, to := range map[string]string{
		"/get_name?a=b":            base + "/get_name?a=b",
		"http://evil.example/a":    base + "/a",
		"//evil.example/a":         base + "//evil.example/a",
		"@evil.example/":           "",
		".evil.example/":           "",
		"*":                        "",
		"evil.example:80":          "",
		"/%0d%0aSet-Cookie:%20a=b": base + "/%0d%0aSet-Cookie:%20a=b",
	} {
		got := sendRaw(t, func() (net.Conn, error) { return net.Dial("tcp", plain) },
			"GET "+target+" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
		status, location := "HTTP/1.1 400 ", ""
		if to != "" {
			status = "HTTP/1.1 308 "
		}
		if m := regexp.MustCompile(`(?i)\r\nlocation: (.*)\r\n`).FindStringSubmatch(got); m != nil {
			location = m[1]
		}
		if !strings.HasPrefix(got, status) || location != to {
			t.Errorf("%s over plain HTTP: got %q, want %sto %q", target, got, status, to)
		}
	}
}

// wantStatistics fails unless the operator has a page and metrics of HAProxy's there.
func wantStatistics(t *testing.T, admin string) {
	t.Helper()
	for path, want := range map[string]string{
		"/": "copy3", "/metrics": `haproxy_server_check_status{proxy="copies",server="copy3"`,
	} {
		_, page := testkit.Send(t, "GET", "http://"+admin+path, "", http.Header{})
		if !strings.Contains(page, want) {
			t.Errorf("%s of the operator: got no %s in %.200s", path, want, page)
		}
		got := sendRaw(t, func() (net.Conn, error) { return net.Dial("tcp", admin) },
			"GET "+path+" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 403 ") {
			t.Errorf("%s of the operator, for another host: got %.200s", path, got)
		}
	}
}

// wantConfined fails if HAProxy serves as root, or sees files.
func wantConfined(t *testing.T, p *proxy) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	if _, err := os.Stat(proc); err != nil || os.Geteuid() != 0 {
		testkit.SkipUnlessCI(t, "only root of a Linux can see what HAProxy may do")
	}
	status := testkit.ReadFile(t, proc+"status")
	ids := regexp.MustCompile(`(?m)^[UG]id:\t0\b`).FindString(status)
	if ids != "" || !strings.Contains(status, "\nCapEff:\t0000000000000000\n") {
		t.Errorf("got HAProxy as root: %s", status)
	}
	if dir, err := os.Readlink(proc + "root"); dir != p.home {
		t.Errorf("got HAProxy in %s, %v, want %s", dir, err, p.home)
	}
}

// wantLog has HAProxy log to a socket of this test's, below its folder. The function that
// it returns waits for a line with some text.
func wantLog(t *testing.T, p *proxy) func(text string) string {
	t.Helper()
	dev := filepath.Join(p.home, "dev")
	if err := os.Mkdir(dev, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := net.ListenPacket("unixgram", filepath.Join(dev, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := os.Chmod(filepath.Join(dev, "log"), 0o666); err != nil {
		t.Fatal(err)
	}
	return func(text string) string {
		t.Helper()
		log.SetReadDeadline(time.Now().Add(5 * time.Second))
		for line := make([]byte, 2000); ; {
			n, _, err := log.ReadFrom(line)
			if err != nil {
				t.Fatalf("got no line with %s: %v", text, err)
			}
			if got := string(line[:n]); strings.Contains(got, text) {
				return got
			}
		}
	}
}

// TestCaddy runs deploy/Caddyfile: TLS, HTTP/2, the redirect and the log, also of a copy that
// is down, and of a visit that no copy can take.
func TestCaddy(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "caddy")
	t.Parallel()
	plain := testkit.FreeAddr(t)
	base := "https://" + strings.Replace(testkit.FreeAddr(t), "127.0.0.1", "localhost", 1)
	var copies []*testkit.Server
	var addrs []string
	for range 3 {
		p := start(t, withKeyA, "-origin", base, "-bind", "10m")
		copies, addrs = append(copies, p), append(addrs, strings.TrimPrefix(p.URL, "http://"))
	}
	client, p := startCaddy(t, base, plain, addrs...)
	wantServed(t, client, base)
	wantRedirects(t, plain, base)
	if got := statusFor(t, client, base, "evil.example"); got != 421 {
		t.Errorf("for another host: got status %d, want 421", got)
	}
	for range copies { // bad requests of one client are no reason to send nobody to a copy
		conn := dialTLS(t, base, "http/1.1")
		fmt.Fprintf(conn, "POST /set_name HTTP/1.1\r\nHost: %s\r\nContent-Type: "+
			"application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nwrong\r\n",
			strings.TrimPrefix(base, "https://"))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	began := time.Now()
	if !isHealthy(client, base) || time.Since(began) > time.Second {
		t.Errorf("got no answer for %v after bad requests", time.Since(began))
	}

	b := testkit.NewBindClient(t, sendTo(&http.Client{Transport: client.Transport}, base))
	b.Ask("POST", "/set_name", "name=Alice")
	if _, body := b.Ask("GET", "/get_name?secret", ""); body != "Name: Alice\n" {
		t.Errorf("got %q from a bound visit", body)
	}
	hidden := []string{"secret", "ession-", "jti", "eyJ"}
	for _, value := range b.Cookies() {
		hidden = append(hidden, value[10:30])
	}
	for _, c := range copies {
		c.Cmd.Process.Kill()
		c.Wait()
	}
	// Caddy looks for a copy for five seconds, and for the health of each in between.
	b.Raw("GET", "/get_name?secret", "", "Secure-Session-Response", "eyJ")
	log := p.log.String()
	if !strings.Contains(log, `"uri":"/session/refresh"`) || !strings.Contains(log, `"error"`) {
		t.Errorf("got the log %s", log)
	}
	for _, hidden := range append(hidden, "health_checker") {
		if strings.Contains(log, hidden) {
			t.Errorf("got %s in the log %s", hidden, log)
		}
	}
}

// startBehind starts three copies whose visitors come to an origin, and returns their
// addresses.
func startBehind(t *testing.T, origin string) (addrs []string) {
	t.Helper()
	for range 3 {
		p := start(t, withKeyA, "-origin", origin)
		addrs = append(addrs, strings.TrimPrefix(p.URL, "http://"))
	}
	return addrs
}

// wantServed has a visitor set a name over HTTP/2, and each copy asked for it twice.
func wantServed(t *testing.T, client *http.Client, base string) {
	t.Helper()
	res, body, err := askSite(client, base, "POST", "/set_name", "name=Alice", "")
	if err != nil || body != "Name Alice set in session\n" || len(res.Cookies()) != 1 ||
		res.Cookies()[0].Name != secureCookie || !res.Cookies()[0].Secure || res.ProtoMajor != 2 {
		t.Fatalf("got %q, %v and %v", body, res, err)
	}
	for range 6 {
		_, body, err := askSite(client, base, "GET", "/get_name", "", "")
		if err != nil || body != "Name: Alice\n" {
			t.Errorf("got %q and %v", body, err)
		}
	}
}

// wantStrictTLS fails unless an address refuses what is old or weak, and the site behind
// it another host.
func wantStrictTLS(t *testing.T, addr string) {
	t.Helper()
	for what, config := range map[string]*tls.Config{
		"TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"a suite without authenticated encryption": {
			MaxVersion:   tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		},
	} {
		config.InsecureSkipVerify = true
		if conn, err := tls.Dial("tcp", addr, config); err == nil {
			conn.Close()
			t.Errorf("%s was accepted", what)
		}
	}
	got := sendRaw(t, func() (net.Conn, error) {
		return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	}, "GET /get_name HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 421 ") {
		t.Errorf("for another host: got %s, want 421", got)
	}
}

// Where a message ends is never a matter of opinion: what could be taken in two
// ways is refused, and the connection is closed, so that nothing behind it is
// taken for a request of somebody else's.
func TestMessageBoundaries(t *testing.T) {
	slow(t)
	p := start(t, nil)
	ways := map[string]func() (net.Conn, error){"direct": func() (net.Conn, error) {
		return net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	}}
	if _, err := exec.LookPath("haproxy"); err == nil || os.Getenv("CI") == "true" {
		plain, secure, admin := testkit.FreeAddr(t), testkit.FreeAddr(t), testkit.FreeAddr(t)
		cert, key, _ := testkit.NewCertificate(t)
		startHAProxy(t, cert, key, plain, secure, admin, strings.TrimPrefix(p.URL, "http://"))
		ways["behind HAProxy"] = func() (net.Conn, error) {
			return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
		}
	}
	const next = "GET /style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	const name, chunked = "name=Alice", "a\r\nname=Alice\r\n0\r\n\r\n"
	both := fmt.Sprint("Content-Length: ", len(chunked)+len(next), "\r\nTransfer-Encoding: chunked")
	for way, dial := range ways {
		for _, tt := range []struct {
			header, body string
			answers      int
		}{
			{header: "Content-Length: 10", body: name, answers: 2},
			{header: "Content-Length: 10\r\nContent-Length: 4", body: name},
			{header: "Content-Length: +10", body: name},
			{header: "Transfer-Encoding: xchunked", body: name},
			{header: "Transfer-Encoding: chunked", body: "-1\r\nname=Alice\r\n0\r\n\r\n"},
			// The length is ignored: what it would have made a part of the form is the next
			// request. Or it is refused.
			{header: both, body: chunked, answers: 1},
		} {
			got := sendRaw(t, dial, "POST /set_name HTTP/1.1\r\nHost: localhost\r\n"+
				"Content-Type: application/x-www-form-urlencoded\r\n"+
				tt.header+"\r\n\r\n"+tt.body+next)
			answers := strings.Count(got, "HTTP/1.1 ")
			set := strings.Contains(got, "Name Alice set in session")
			switch {
			case tt.answers == 2 && set && answers == 2:
			case tt.answers == 1 && (set || strings.Contains(got, " 400 ")):
			case tt.answers == 0 && !set && answers <= 1:
			default:
				t.Errorf("%s, %q: got %d answers: %.300s", way, tt.header, answers, got)
			}
		}
	}
}

// sendRaw sends bytes on a connection of its own, and returns what comes until it is
// closed.
func sendRaw(t *testing.T, dial func() (net.Conn, error), text string) string {
	t.Helper()
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, text)
	all, err := io.ReadAll(conn) // an error is a connection that was cut off
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("still open after five seconds: %q", text)
	}
	return string(all)
}
