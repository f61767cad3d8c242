package server_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/server"
	"cookiesession/internal/testkit"
)

// certificate returns the files of a certificate for localhost that is good for so long.
func certificate(t testing.TB, left time.Duration) *server.Certificate {
	t.Helper()
	cert, key, _ := testkit.CertificateUntil(t, time.Now().Add(left))
	return &server.Certificate{File: cert, KeyFile: key}
}

// copyFile puts the content of one file into another.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	testkit.WriteFile(t, to, testkit.ReadFile(t, from))
}

// A bad pair leaves the old one in use.
func TestCertificateLoad(t *testing.T) {
	c, other := certificate(t, time.Hour), certificate(t, 2*time.Hour)
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	first := c.NotAfter()
	steps := []struct {
		name     string
		change   func()
		says     string // nothing if it is good
		replaced bool
	}{
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
			name:   "the key is too large",
			change: func() { os.Truncate(c.KeyFile, 1<<20+1) },
			says:   c.KeyFile + ": too large, ", replaced: true,
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

// load is what a server tells of its certificate.
type load struct {
	notAfter time.Time
	err      error
}

// A certificate is renewed while it serves: on SIGHUP at once, and without it at the
// next look.
func TestCertificateRenewal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	c, second := certificate(t, time.Hour), certificate(t, 2*time.Hour)
	loads := make(chan load, 10)
	s := start(t, server.Config{
		Certificate:       c,
		CertificateLoaded: func(end time.Time, err error) { loads <- load{end, err} },
	})
	first := <-loads
	if !first.notAfter.Equal(endOf(t, s)) || first.err != nil {
		t.Errorf("got a certificate that ends at %v and %v", first.notAfter, first.err)
	}

	// A bad pair: the certificate has come, its key has not.
	copyFile(t, second.File, c.File)
	signalSelf(t, syscall.SIGHUP)
	if bad := <-loads; bad.err == nil || !bad.notAfter.Equal(first.notAfter) {
		t.Errorf("got %+v without its key", bad)
	}
	copyFile(t, second.KeyFile, c.KeyFile)
	if testing.Short() { // does not wait for the next look
		signalSelf(t, syscall.SIGHUP)
	}
	renewed := <-loads
	if !renewed.notAfter.After(first.notAfter) || !renewed.notAfter.Equal(endOf(t, s)) ||
		renewed.err != nil {
		t.Errorf("got %+v, and it serves one until %v", renewed, endOf(t, s))
	}
	good := `level=INFO msg="certificate loaded" file=` + c.File + " not_after="
	testkit.AwaitTrue(t, "the log", func() bool { return strings.Contains(s.Log.String(), good) })
	bad := `level=ERROR msg="the certificate is bad, the old one stays in use" err=`
	if strings.Count(s.Log.String(), good) != 1 || strings.Count(s.Log.String(), bad) != 1 {
		t.Errorf("got %s", s.Log)
	}
}

// endOf returns when the certificate ends that a new connection gets.
func endOf(t *testing.T, s *testkit.Server) time.Time {
	t.Helper()
	conn, err := tls.Dial("tcp", addrOf(s), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].NotAfter
}

// A certificate that can't be used stops the start, before anybody could think
// that the program listens.
func TestBadCertificateStopsTheStart(t *testing.T) {
	c := certificate(t, time.Hour)
	c.File += "x"
	log := new(testkit.Buffer)
	err := server.Run(t.Context(), server.Config{
		Addr: "localhost:0", Handler: site, Certificate: c,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "certificate: ") ||
		log.String() != "" {
		t.Errorf("got %v and %s", err, log)
	}
}

// What has expired is taken, since it may be all that there is, but not in silence.
func TestExpiredCertificate(t *testing.T) {
	for left, warns := range map[time.Duration]bool{-time.Hour: true, time.Hour: false} {
		s := start(t, server.Config{Certificate: certificate(t, left)})
		const warning = `level=WARN msg="the certificate has expired: `
		if got := strings.Contains(s.Log.String(), warning); got != warns {
			t.Errorf("%v: got the warning: %v", left, got)
		}
		if res, _ := get(t, s.URL); res.StatusCode != 200 {
			t.Errorf("%v: got status %d", left, res.StatusCode)
		}
	}
}

// TLS 1.2 is for AEAD suites alone, and what is older is refused.
func TestTLSVersions(t *testing.T) {
	s := start(t, server.Config{Certificate: certificate(t, time.Hour)})
	for _, tt := range []struct {
		name    string
		version uint16
		suites  []uint16
		ok      bool
	}{
		{name: "TLS 1.3", version: tls.VersionTLS13, ok: true},
		{
			name: "GCM", version: tls.VersionTLS12, ok: true,
			suites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		},
		{
			name: "CBC", version: tls.VersionTLS12,
			suites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		},
		{name: "TLS 1.1", version: tls.VersionTLS11},
	} {
		conn, err := tls.Dial("tcp", addrOf(s), &tls.Config{
			MinVersion: tt.version, MaxVersion: tt.version, CipherSuites: tt.suites,
			InsecureSkipVerify: true,
		})
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
