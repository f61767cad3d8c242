package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// startNginx starts nginx as deploy/nginx.conf has it, with other addresses, files and
// another certificate, and returns a client for it, and the folder of its logs.
func startNginx(t testing.TB, plain, secure string, copies ...string) (*http.Client, string) {
	t.Helper()
	nginx, dir := testkit.NeedTool(t, "nginx"), t.TempDir()
	cert, key, pool := testkit.NewCertificate(t)
	config := read(t, "deploy/nginx.conf")
	replace := func(old, new string) {
		t.Helper()
		if !strings.Contains(config, old) {
			t.Fatalf("deploy/nginx.conf has no %q", old)
		}
		config = strings.ReplaceAll(config, old, new)
	}
	replace("listen 80;", "listen "+plain+";")
	replace("listen 443 ", "listen "+secure+" ")
	replace("https://example.com$", "https://"+secure+"$")
	replace("/etc/nginx/site.pem", cert)
	replace("/etc/nginx/site.key", key)
	replace("/run/nginx.pid", filepath.Join(dir, "pid"))
	replace("/var/log/nginx", dir)
	for i, addr := range copies {
		replace(fmt.Sprintf("127.0.0.1:808%d max", i+1), addr+" max")
	}
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	replace("http {\n", "http {\n"+temp)
	file := filepath.Join(dir, "nginx.conf")
	testkit.WriteFile(t, file, config)
	p := &proxy{t: t, home: dir, args: []string{
		nginx, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log"), "-g", "daemon off;",
	}}
	p.start()
	// Or its workers would be left over, which a kill doesn't reach.
	t.Cleanup(func() {
		p.cmd.Process.Signal(os.Interrupt)
		p.cmd.Wait()
	})
	client := &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
		},
	}
	testkit.AwaitTrue(t, "nginx", func() bool { return isHealthy(client, "https://"+secure) })
	return client, dir
}

// TestNginx runs deploy/nginx.conf: TLS, HTTP/2, the redirect, the host, and a copy that dies.
func TestNginx(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "nginx")
	t.Parallel()
	plain, secure := testkit.FreeAddr(t), testkit.FreeAddr(t)
	base := "https://" + secure
	var copies []*testkit.Server
	var addrs []string
	for range 3 {
		addrs = append(addrs, testkit.FreeAddr(t))
		copies = append(copies, start(t, withKeyA, "-addr", addrs[len(addrs)-1], "-origin", base))
	}
	client, dir := startNginx(t, plain, secure, addrs...)

	res, body, err := askSite(client, base, "POST", "/set_name", "name=Alice", "")
	if err != nil || body != "Name Alice set in session\n" || len(res.Cookies()) != 1 ||
		res.Cookies()[0].Name != secureCookie || res.ProtoMajor != 2 {
		t.Fatalf("got %q, %v and %v", body, res, err)
	}
	cookie := secureCookie + "=" + res.Cookies()[0].Value
	for i := range 18 {
		if i == 6 { // each copy has answered twice
			copies[1].Cmd.Process.Kill()
			copies[1].Wait()
		}
		_, body, err := askSite(client, base, "GET", "/get_name?secret", "", cookie)
		if err != nil || body != "Name: Alice\n" {
			t.Errorf("%d: got %q and %v", i, body, err)
		}
		_, body, err = askSite(client, base, "POST", "/set_name", "name=Bob", cookie)
		if err != nil || body != "Name Bob set in session\n" {
			t.Errorf("%d: got %q and %v", i, body, err)
		}
	}

	wantRedirects(t, plain, base)
	if got := statusFor(t, client, base, "evil.example"); got != 421 {
		t.Errorf("for another host: got status %d, want 421", got)
	}
	log := testkit.ReadFile(t, filepath.Join(dir, "access.log")) +
		testkit.ReadFile(t, filepath.Join(dir, "error.log"))
	if !strings.Contains(log, addrs[1]+", ") || strings.Contains(log, "secret") {
		t.Errorf("got a query, or no copy that is down, in the log %s", log)
	}
	old := &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	}
	if conn, err := tls.Dial("tcp", secure, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

// A session that fills its cookie, bound to a device, passes in both directions. Neither
// cookies nor what the device sends is in a log.
func TestNginxBindsAFullSession(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "nginx")
	t.Parallel()
	plain, secure := testkit.FreeAddr(t), testkit.FreeAddr(t)
	base := "https://" + secure
	var addrs []string
	for range 3 {
		addrs = append(addrs, testkit.FreeAddr(t))
		start(t, withKeyA, "-addr", addrs[len(addrs)-1], "-origin", base, "-bind", "10m")
	}
	client, dir := startNginx(t, plain, secure, addrs...)
	b := testkit.NewBindClient(t, sendTo(client, base))
	b.Ask("POST", "/set_name", "name=Alice", "Cookie", secureCookie+"="+fullCookie(t))
	res, body := b.Ask("GET", "/get_name", "") // gets a ticket first
	if body != "Name: Alice\n" || res.StatusCode != http.StatusOK {
		t.Fatalf("got status %d and %q", res.StatusCode, body)
	}
	const ticketCookie = "__Host-session-ticket"
	full, ticket := b.Cookies()[secureCookie], b.Cookies()[ticketCookie]
	if size := len(secureCookie) + len(full); size < sessions.MaxSize-4 || ticket == "" {
		t.Errorf("got a cookie of %d bytes and the ticket %q", size, ticket)
	}
	// Both are deleted with one response, with cookies of other programs in the request.
	many := secureCookie + "=" + full + "; " + ticketCookie + "=" + ticket + "; other=" +
		strings.Repeat("x", 16<<10)
	res, _ = b.Raw("POST", "/clear_name", "", "Cookie", many)
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 2 {
		t.Errorf("got status %d and %d cookies", res.StatusCode, len(res.Cookies()))
	}
	log := testkit.ReadFile(t, filepath.Join(dir, "access.log")) +
		testkit.ReadFile(t, filepath.Join(dir, "error.log"))
	if !strings.Contains(log, "POST /session/refresh 200 ") {
		t.Errorf("got the log %s", log)
	}
	for _, hidden := range []string{secureCookie, full[10:30], ticket[10:30], "eyJ", "xxxx"} {
		if strings.Contains(log, hidden) {
			t.Errorf("got %s in the log %s", hidden, log)
		}
	}
}

// sendTo returns a function that sends requests to a site.
func sendTo(client *http.Client, base string) testkit.Sender {
	return func(method, path, body string, header http.Header) (*http.Response, string, error) {
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		r.Header = header
		res, err := client.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return res, string(text), err
	}
}

// fullCookie returns the value of a cookie that is full once its session is bound and the
// name in it is Alice instead: a newer version of the program has a field more.
func fullCookie(t testing.TB) string {
	t.Helper()
	key, err := sessions.ParseKey(testkit.KeyA)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sessions.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	type padded struct {
		Name, Padding string
		Device        []byte `cbor:",omitempty"`
	}
	m, err := sessions.New(keys, sessions.Options[padded]{})
	if err != nil {
		t.Fatal(err)
	}
	for n := sessions.MaxSize; n > 0; n-- {
		data := padded{Name: "Zelda", Padding: strings.Repeat("x", n), Device: make([]byte, 33)}
		if _, err := m.Seal(data); err == nil {
			// The device's key is in there without a field's name.
			data.Padding, data.Device = data.Padding+"xxxxxxx", nil
			c, err := m.Seal(data)
			if err != nil {
				t.Fatal(err)
			}
			return c.Value
		}
	}
	panic("nothing fits")
}
