package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// programFile builds the program, once for all tests that run it as a process, and with
// the race detector if they have it.
var programFile = sync.OnceValues(func() (string, error) {
	args := []string{"build", "-o", filepath.Join(programDir, "cookiesession.exe")}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return args[2], err
})

var programDir string // deleted at the end

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cookiesession")
	if err != nil {
		panic(err)
	}
	programDir = dir
	flag.Parse()
	// The slow tests wait, most of the time, for others than a processor.
	flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0))))
	code := m.Run()
	endBrowser()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program returns a command that runs the program as a process of its own,
// with nothing from this environment but env.
func program(t testing.TB, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := programFile()
	if err != nil {
		t.Fatal(err)
	}
	return programEnv(exec.Command(file, args...), env)
}

// programEnv gives a command the environment of the program.
func programEnv(cmd *exec.Cmd, env map[string]string) *exec.Cmd {
	// The race detector would have each process sleep for a second at its end.
	cmd.Env = []string{"GORACE=atexit_sleep_ms=10", "PATH=" + os.Getenv("PATH"), "SYSTEMROOT=" + os.Getenv("SYSTEMROOT")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// lockedBuffer is a buffer that a process writes while a test reads it.
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

// Reset empties the buffer.
func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// started is a program that serves.
type started struct {
	url  string
	log  *lockedBuffer
	cmd  *exec.Cmd    // nil when it runs in this process
	wait func() error // returns how it ended
	end  func() error // stops it first
}

var listening = regexp.MustCompile(`msg=listening url=(\S+) addr=(\S+)`)

// awaitURL waits for the log to say where the program listens.
func awaitURL(t testing.TB, log *lockedBuffer, ended <-chan error) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if m := listening.FindStringSubmatch(log.String()); m != nil {
			if url, port := m[1], m[2][strings.LastIndexByte(m[2], ':'):]; strings.HasSuffix(url, port) {
				return url
			}
			return "http://" + m[2] // with -origin, where visitors see a proxy's address
		}
		select {
		case err := <-ended:
			t.Fatalf("the program ended with %v: %s", err, log)
		case <-deadline:
			t.Fatalf("the program doesn't listen: %s", log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// startRun has the program's own run serve in this process.
func startRun(t testing.TB, env map[string]string, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := new(lockedBuffer)
	ended := make(chan error, 1)
	getenv := func(name string) string { return env[name] }
	go func() {
		ended <- run(ctx, append([]string{"-addr", "localhost:0"}, args...), getenv, strings.NewReader(""), io.Discard, log)
	}()
	p := &started{log: log, url: awaitURL(t, log, ended)}
	p.end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	return p
}

// startProcess starts the program as a process of its own.
func startProcess(t testing.TB, env map[string]string, args ...string) *started {
	t.Helper()
	return startCommand(t, program(t, env, append([]string{"-addr", "localhost:0"}, args...)...))
}

// startCommand starts a command that runs the program as a server.
func startCommand(t testing.TB, cmd *exec.Cmd) *started {
	t.Helper()
	log := new(lockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p := &started{log: log, cmd: cmd, url: awaitURL(t, log, ended)}
	p.wait = sync.OnceValue(func() error { return <-ended })
	p.end = sync.OnceValue(func() error {
		if runtime.GOOS == "windows" {
			cmd.Process.Kill()
			p.wait()
			return nil
		}
		cmd.Process.Signal(syscall.SIGTERM)
		return p.wait()
	})
	t.Cleanup(func() { p.end() })
	return p
}

// needTool returns the path of a program that a test runs. Only on the
// machine of a user may it be missing.
func needTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", name)
	}
	if err != nil {
		t.Skipf("%s is not installed, so this test is skipped", name)
	}
	return path
}

// newCertificate writes a certificate for localhost, and its key, and returns
// their files and the pool that trusts it.
func newCertificate(t testing.TB, hosts ...string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "cookiesession test"},
		DNSNames:              append(hosts, "localhost"),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writeFile(t, cert, string(certPEM))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFlowOverTLS is the lesson over HTTP/2, with a cookie jar.
func TestFlowOverTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := newCertificate(t)
	env := map[string]string{"COOKIESESSION_KEYS": keyA}
	p := startRun(t, env, "-tls-cert", cert, "-tls-key", key)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	ask := func(base, path string, form url.Values) string {
		t.Helper()
		res, err := client.Get(base + path)
		if form != nil {
			res, err = client.PostForm(base+path, form)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("got HTTP/%d and header %v, want HTTP/2 and HSTS", res.ProtoMajor, res.Header)
		}
		for _, c := range res.Cookies() {
			if c.Name != "__Host-Http-session" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("got the cookie %s with wrong attributes", c.Name)
			}
		}
		return strings.TrimSpace(string(body))
	}
	steps := []struct {
		path string
		form url.Values
		want string
	}{
		{"/get_name", nil, "Name not found in session"},
		{"/set_name/", url.Values{"name": {"Alice"}}, "Name Alice set in session"},
		{"/get_name/", nil, "Name: Alice"},
		{"/set_name", url.Values{"name": {" Ada Lovelace "}}, "Name Ada Lovelace set in session"},
		{"/get_name", nil, "Name: Ada Lovelace"},
		{"/clear_name", url.Values{}, "Name cleared from session"},
		{"/get_name", nil, "Name not found in session"},
		{"/set_name", url.Values{"name": {"Grace"}}, "Name Grace set in session"},
	}
	for _, s := range steps {
		if got := ask(p.url, s.path, s.form); got != s.want {
			t.Errorf("%s: got %q, want %q", s.path, got, s.want)
		}
	}
	client.CloseIdleConnections() // or HTTP/2 takes a second to say good-bye
	// Nothing is kept on the server: another one with the same key goes on.
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	p = startRun(t, env, "-tls-cert", cert, "-tls-key", key)
	if got := ask(p.url, "/get_name", nil); got != "Name: Grace" {
		t.Errorf("after a restart: got %q", got)
	}
	client.CloseIdleConnections()
	if _, err := http.Get(p.url); err == nil {
		t.Error("got an answer from a server that the client doesn't trust")
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(p.log.String(), "TLS handshake error"); {
		if time.Now().After(deadline) {
			t.Fatalf("got no line of the server's own error in the log: %s", p.log)
		}
		time.Sleep(time.Millisecond)
	}
	if strings.Contains(p.log.String(), "Grace") || strings.Contains(p.log.String(), keyA) {
		t.Errorf("got a secret in the log: %s", p.log)
	}
}

// TestCurl is a visitor with the real curl and its cookie jar.
func TestCurl(t *testing.T) {
	curl := needTool(t, "curl")
	t.Parallel()
	env := map[string]string{"COOKIESESSION_KEYS": keyA}
	p := startRun(t, env)
	jar := filepath.Join(t.TempDir(), "jar")
	ask := func(want string, args ...string) string {
		t.Helper()
		args[len(args)-1] = p.url + args[len(args)-1]
		out, err := exec.Command(curl, append([]string{"-s", "-S", "-b", jar, "-c", jar}, args...)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || !strings.HasSuffix(got, want) {
			t.Errorf("curl %q: got %q and %v, want %q", args, got, err, want)
		}
		return string(out)
	}
	ask("Name not found in session", "/get_name")
	ask("Name Alice set in session", "-d", "name=Alice", "/set_name")
	ask("Name: Alice", "/get_name/")
	if kept, err := os.ReadFile(jar); err != nil || !strings.Contains(string(kept), "#HttpOnly_localhost\tFALSE\t/\tFALSE\t") || !strings.Contains(string(kept), "\tsession\t") {
		t.Errorf("got the jar %q and %v", kept, err)
	}
	ask("Name Zoë & Co. set in session", "-F", "name=Zoë & Co.", "/set_name/")
	ask("Name: Zoë & Co.", "/get_name")
	ask("at most.", "-d", "name="+strings.Repeat("x", 201), "/set_name")
	ask("from this site's own page.", "-H", "Sec-Fetch-Site: cross-site", "-d", "name=Eve", "/set_name")
	ask("Name: Zoë & Co.", "/get_name")
	if head := ask("", "-I", "/get_name"); !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || strings.Contains(head, "Set-Cookie") {
		t.Errorf("got %q for a HEAD", head)
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	p = startRun(t, env)
	ask("Name: Zoë & Co.", "/get_name") // curl's jar doesn't tell ports apart
	ask("Name cleared from session", "-X", "POST", "/clear_name")
	if kept, _ := os.ReadFile(jar); strings.Contains(string(kept), "\tsession\t") {
		t.Errorf("got the cookie kept after it was cleared: %q", kept)
	}
	ask("Name not found in session", "/get_name")
}

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

// Without a key there is a warning and a random one, which ends with the process.
func TestRandomKey(t *testing.T) {
	a, b := startRun(t, nil), startRun(t, nil)
	if !strings.Contains(a.log.String(), "level=WARN") || !strings.Contains(a.log.String(), "no key is configured") {
		t.Errorf("got no warning: %s", a.log)
	}
	res, _ := send(t, "POST", a.url+"/set_name", "name=Alice", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	cookie := http.Header{"Cookie": {strings.Split(res.Header.Get("Set-Cookie"), ";")[0]}}
	if _, body := send(t, "GET", a.url+"/get_name", "", cookie); body != "Name: Alice\n" {
		t.Errorf("got %q", body)
	}
	if _, body := send(t, "GET", b.url+"/session", "", cookie); !strings.Contains(body, "unknown key") {
		t.Errorf("got %q from another process", body)
	}
}

func TestStartFailures(t *testing.T) {
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
			args:   []string{"-addr", "localhost:0", "-tls-cert", "/nowhere", "-tls-key", "/nowhere"},
			status: 1,
			says:   "/nowhere",
		},
		{args: []string{"-nonsense"}, status: 2, says: "-nonsense"},
		{args: []string{"-h"}},
	}
	for _, tt := range tests {
		cmd := program(t, map[string]string{"COOKIESESSION_KEYS": keyA}, tt.args...)
		var out bytes.Buffer
		cmd.Stderr = &out
		cmd.Run()
		lines := 0
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "cookiesession: ") {
				lines++
			}
		}
		got := cmd.ProcessState.ExitCode()
		if got != tt.status || lines != min(tt.status, 1) || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%q: got status %d and %q, want %d and %q",
				tt.args, got, &out, tt.status, tt.says)
		}
	}
}

// A request in flight is finished after SIGTERM; a second signal ends the
// program at once.
func TestShutdown(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for _, twice := range []bool{false, true} {
			p := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA})
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// The form is half sent, so its handler waits for the rest.
			fmt.Fprint(conn, "POST /set_name HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n")
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
				t.Fatalf("got %q and %v", line, err)
			}
			r.ReadString('\n')
			p.cmd.Process.Signal(sig)
			for !strings.Contains(p.log.String(), "shutting down") {
				time.Sleep(time.Millisecond)
			}
			if _, err := net.DialTimeout("tcp", conn.RemoteAddr().String(), time.Second); err == nil && !twice {
				// The listener closes a moment after the line.
				for err == nil {
					var c net.Conn
					if c, err = net.Dial("tcp", conn.RemoteAddr().String()); err == nil {
						c.Close()
					}
				}
			}
			if twice {
				p.cmd.Process.Signal(sig)
				if err := p.wait(); err == nil || p.cmd.ProcessState.Exited() {
					t.Errorf("after a second %v: got %v, want the program ended by it", sig, err)
				}
				continue
			}
			fmt.Fprint(conn, "name=Alice")
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 200 || len(res.Cookies()) != 1 {
				t.Fatalf("got %v and %v for the request in flight", res, err)
			}
			if err := p.wait(); err != nil {
				t.Errorf("after %v: got %v, want status 0", sig, err)
			}
		}
	}
}

// Without a key file there is nothing to load on SIGHUP, but it is no reason to
// end either.
func TestHangUpWithoutAKeyFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	p := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA})
	p.cmd.Process.Signal(syscall.SIGHUP)
	for range 20 { // it has long been delivered then
		send(t, "GET", p.url+"/get_name", "", http.Header{})
	}
	if err := p.end(); err != nil {
		t.Errorf("got %v: %s", err, p.log)
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
