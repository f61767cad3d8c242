package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/server"
)

// newCertificate returns the files of a certificate for localhost that is good for
// an hour.
func newCertificate(t testing.TB) *server.Certificate {
	t.Helper()
	return certificateUntil(t, time.Now().Add(time.Hour))
}

// certificateUntil returns the files of a certificate that ends at a time.
func certificateUntil(t testing.TB, end time.Time) *server.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "cookiesession test"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &server.Certificate{
		File: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	writeFile(t, c.File, string(cert))
	writeFile(t, c.KeyFile, string(key))
	return c
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyFile puts the content of one file into another.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(content))
}

// A bad pair leaves the old one in use.
func TestCertificateLoad(t *testing.T) {
	c := newCertificate(t)
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	first := c.NotAfter()
	other := certificateUntil(t, first.Add(time.Hour))
	steps := []struct {
		name     string
		change   func()
		says     string // nothing if it is good
		replaced bool
	}{
		{name: "nothing has changed", change: func() {}},
		{
			name:   "the certificate is of another key",
			change: func() { copyFile(t, other.File, c.File) },
			says:   c.File + ", " + c.KeyFile + ": tls: ",
		},
		{
			name:     "the key has come, too",
			change:   func() { copyFile(t, other.KeyFile, c.KeyFile) },
			replaced: true,
		},
		{
			name:   "the key is gone",
			change: func() { os.Remove(c.KeyFile) }, says: c.KeyFile, replaced: true,
		},
		{
			name:   "there is a folder in its place",
			change: func() { os.Mkdir(c.KeyFile, 0o700) },
			says:   c.KeyFile + ": not a regular file (", replaced: true,
		},
		{
			name:   "no PEM",
			change: func() { writeFile(t, c.File, "x") }, says: c.KeyFile, replaced: true,
		},
	}
	for _, s := range steps {
		s.change()
		err := c.Load()
		if (err == nil) != (s.says == "") || err != nil && !strings.Contains(err.Error(), s.says) {
			t.Errorf("%s: got error %v, want %q", s.name, err, s.says)
		}
		if got := !c.NotAfter().Equal(first); got != s.replaced {
			t.Errorf("%s: got it replaced: %v", s.name, got)
		}
	}
}

// loads counts what a server tells of its certificate.
type loads struct {
	mu       sync.Mutex
	notAfter time.Time
	err      error
	n        int
}

func (l *loads) told(notAfter time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notAfter, l.err, l.n = notAfter, err, l.n+1
}

// last returns what was told the last time, and how often something was.
func (l *loads) last() (notAfter time.Time, err error, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notAfter, l.err, l.n
}

// A certificate is renewed under load: on SIGHUP at once, and without it at the
// next look. No request fails, and those who have a connection keep it.
func TestCertificateRenewal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	first, second := newCertificate(t), certificateUntil(t, time.Now().Add(2*time.Hour))
	files := &server.Certificate{File: first.File, KeyFile: first.KeyFile}
	var told loads
	s := start(t, server.Config{Certificate: files, CertificateLoaded: told.told})
	notAfter, err, n := told.last()
	if left := time.Until(notAfter); left > time.Hour || left < 50*time.Minute ||
		err != nil || n != 1 {
		t.Errorf("got a certificate that ends at %v and error %v, %d times", notAfter, err, n)
	}
	stop := askAgainAndAgain(t, s.url)

	// A bad pair: the certificate has come, its key has not.
	copyFile(t, second.File, first.File)
	signalSelf(t, syscall.SIGHUP)
	await(t, "the certificate", func() bool { _, err, _ := told.last(); return err != nil })
	if ends := endOf(t, s.addr); !ends.Equal(notAfter) {
		t.Errorf("got a certificate without its key")
	}
	copyFile(t, second.KeyFile, first.KeyFile)
	if testing.Short() { // does not wait for the next look
		signalSelf(t, syscall.SIGHUP)
	}
	await(t, "the certificate", func() bool { return !endOf(t, s.addr).Equal(notAfter) })
	await(t, "the log", func() bool { return s.log.has(`msg="certificate loaded" file=`) })
	renewed, err, _ := told.last()
	if !renewed.After(notAfter) || err != nil {
		t.Errorf("got a certificate that ends at %v and error %v", renewed, err)
	}
	stop()
	for line, want := range map[string]int{
		`level=ERROR msg="the certificate is bad, the old one stays in use" err=`: 1,
		`level=INFO msg="certificate loaded" file=` + first.File + " not_after=":  1,
	} {
		if got := strings.Count(s.log.String(), line); got != want {
			t.Errorf("got %d lines %s, want %d: %s", got, line, want, s.log)
		}
	}
	// It loads on SIGHUP also what has not changed, which no look does.
	_, _, before := told.last()
	signalSelf(t, syscall.SIGHUP)
	await(t, "SIGHUP", func() bool { _, _, n := told.last(); return n > before })
}

// endOf returns when the certificate ends that a new connection gets.
func endOf(t *testing.T, addr string) time.Time {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].NotAfter
}

// askAgainAndAgain makes requests, over one connection and over new ones, of which
// none may fail. The function that it returns ends that.
func askAgainAndAgain(t *testing.T, url string) (stop func()) {
	t.Helper()
	kept := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	var wg sync.WaitGroup
	var ended atomic.Bool
	for _, c := range []*http.Client{kept, client} {
		wg.Go(func() {
			for n := 0; n == 0 || !ended.Load(); n++ {
				res, err := c.Get(url)
				if err != nil || res.StatusCode != 200 {
					t.Errorf("got %v and error %v", res, err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	return func() {
		ended.Store(true)
		wg.Wait()
		kept.CloseIdleConnections()
	}
}

// A certificate that can't be used stops the start, before anybody could think
// that the program listens.
func TestBadCertificateStopsTheStart(t *testing.T) {
	good, other := newCertificate(t), newCertificate(t)
	for name, c := range map[string]*server.Certificate{
		"no certificate": {File: good.File + "x", KeyFile: good.KeyFile},
		"no key":         {File: good.File, KeyFile: good.KeyFile + "x"},
		"another key's":  {File: other.File, KeyFile: good.KeyFile},
		"no PEM":         {File: good.KeyFile, KeyFile: good.KeyFile},
	} {
		log := new(lockedBuffer)
		err := server.Run(t.Context(), server.Config{
			Addr: "localhost:0", Handler: site, Certificate: c,
			Log: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err == nil || !strings.HasPrefix(err.Error(), "certificate: ") ||
			!strings.Contains(err.Error(), c.File) && !strings.Contains(err.Error(), c.KeyFile) {
			t.Errorf("%s: got %v", name, err)
		}
		if log.has("listening") {
			t.Errorf("%s: got %s", name, log)
		}
	}
}

// What has expired is taken, since it may be all that there is, but not in silence.
func TestExpiredCertificate(t *testing.T) {
	for hours, warns := range map[time.Duration]bool{-1: true, 1: false} {
		c := certificateUntil(t, time.Now().Add(hours*time.Hour))
		s := start(t, server.Config{Certificate: c})
		const warning = `level=WARN msg="the certificate has expired: `
		if got := s.log.has(warning); got != warns {
			t.Errorf("%v: got the warning: %v", hours*time.Hour, got)
		}
		if res, _ := get(t, s.url); res.StatusCode != 200 {
			t.Errorf("%v: got status %d", hours*time.Hour, res.StatusCode)
		}
	}
}

// TLS 1.2 is for AEAD suites alone, and what is older is refused.
func TestTLSVersions(t *testing.T) {
	s := start(t, server.Config{Certificate: newCertificate(t)})
	for _, tt := range []struct {
		name           string
		version, suite uint16
		ok             bool
	}{
		{name: "TLS 1.3", version: tls.VersionTLS13, ok: true},
		{name: "TLS 1.2", version: tls.VersionTLS12, ok: true},
		{
			name: "GCM", version: tls.VersionTLS12, ok: true,
			suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		},
		{
			name: "ChaCha20", version: tls.VersionTLS12, ok: true,
			suite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		{
			name: "CBC", version: tls.VersionTLS12,
			suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		},
		{name: "TLS 1.1", version: tls.VersionTLS11},
	} {
		config := &tls.Config{
			MinVersion: tt.version, MaxVersion: tt.version, InsecureSkipVerify: true,
		}
		if tt.suite != 0 {
			config.CipherSuites = []uint16{tt.suite}
		}
		conn, err := tls.Dial("tcp", s.addr, config)
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
