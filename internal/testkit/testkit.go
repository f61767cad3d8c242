// Package testkit is what the tests of several packages share: keys, certificates, a
// program that runs, the tools of the machine, and a browser's part of device binding.
// It knows nothing of the program but what a visitor or an operator sees.
package testkit

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Keys of the tests alone.
const (
	KeyA = "6f1ded005aa5b1b4c3e1e9c8d3a4f00b7d1a0c5e92f84b36d7e0815ac94b2f63"
	KeyB = "0b9f4e2d8c7a615034fedcba98765432100123456789abcdef5a6b7c8d9eafb0"
	KeyC = "c2a7d94e1f603b85c2d4e6f8091b3a5d7c9e0f214365879babcd1e2f30415263"
)

// Browser is the Accept header of a browser that opens a page.
const Browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// Buffer is a buffer that a program writes while a test reads it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (l *Buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written so far.
func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Has reports whether a text was written.
func (l *Buffer) Has(text string) bool { return strings.Contains(l.String(), text) }

// NeedTool returns the path of a program that a test runs. Where it is missing, the
// test is skipped, but with CI=true it fails.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		SkipUnlessCI(t, name+" is not installed")
	}
	return path
}

// SkipUnlessCI skips a test that this machine can't run. With CI=true it fails.
func SkipUnlessCI(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why + ", so this test is skipped")
}

// AwaitTrue waits until done says so, for half a minute.
func AwaitTrue(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ReadFile returns what is in a file.
func ReadFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// WriteFile writes a file that only its owner can read.
func WriteFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FreeAddr returns an address on loopback that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Send makes a real request, follows no redirect, and returns the response with its body.
func Send(t testing.TB, method, target, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// Metric adds up the samples of a page of metrics whose line begins with start.
func Metric(t testing.TB, page, start string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, start) {
			number := strings.TrimSpace(line[strings.LastIndex(line, " "):])
			value, err := strconv.ParseFloat(number, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// SignalSelf sends a signal to this process.
func SignalSelf(t *testing.T, sig os.Signal) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(sig)
	}
	if err != nil {
		t.Fatal(err)
	}
}
