package server_test

import (
	"crypto/tls"
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
	check := func(name, says string, replaced bool) {
		t.Helper()
		err := c.Load()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got error %v, want %q", name, err, says)
		}
		if got := !c.NotAfter().Equal(first); got != replaced {
			t.Errorf("%s: got it replaced: %v", name, got)
		}
	}
	copyFile(t, other.File, c.File)
	check("the certificate is of another key", c.File+", "+c.KeyFile+": tls: ", false)
	copyFile(t, other.KeyFile, c.KeyFile)
	check("the key has come, too", "", true)
	os.Truncate(c.KeyFile, 1<<20+1)
	check("the key is too large", c.KeyFile+": too large, ", true)
	os.Remove(c.KeyFile)
	check("the key is gone", c.KeyFile, true)
	os.Mkdir(c.KeyFile, 0o700)
	check("there is a folder in its place", c.KeyFile+": not a regular file (", true)
}

// A certificate is renewed while it serves: on SIGHUP at once, and without it at the
// next look.
func TestCertificateRenewal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	c, second := certificate(t, time.Hour), certificate(t, 2*time.Hour)
	type load struct {
		end time.Time
		err error
	}
	loads := make(chan load, 10)
	s := start(t, server.Config{
		Certificate:       c,
		CertificateLoaded: func(end time.Time, err error) { loads <- load{end, err} },
	})
	first := <-loads
	// A bad pair: the certificate has come, its key has not.
	copyFile(t, second.File, c.File)
	testkit.SignalSelf(t, syscall.SIGHUP)
	bad := <-loads
	if !first.end.Equal(endOf(t, s)) || first.err != nil || bad.end != first.end || bad.err == nil {
		t.Errorf("got %+v, and %+v without its key", first, bad)
	}
	copyFile(t, second.KeyFile, c.KeyFile)
	if testing.Short() { // does not wait for the next look
		testkit.SignalSelf(t, syscall.SIGHUP)
	}
	renewed := <-loads
	if !renewed.end.After(first.end) || !renewed.end.Equal(endOf(t, s)) || renewed.err != nil {
		t.Errorf("got %+v, and it serves one until %v", renewed, endOf(t, s))
	}
	for line, want := range map[string]int{
		`level=INFO msg="certificate loaded" file=` + c.File + " not_after=":      2,
		`level=ERROR msg="the certificate is bad, the old one stays in use" err=`: 1,
	} {
		testkit.AwaitTrue(t, line, func() bool {
			return strings.Count(s.Log.String(), line) == want
		})
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

// What has expired is taken, since it may be all that there is, but not in silence.
func TestExpiredCertificate(t *testing.T) {
	for left, warns := range map[time.Duration]bool{-time.Hour: true, time.Hour: false} {
		s := start(t, server.Config{Certificate: certificate(t, left)})
		got := s.Log.Has(`level=WARN msg="the certificate has expired: `)
		if res, _ := get(t, s.URL); res.StatusCode != 200 || got != warns {
			t.Errorf("%v: got status %d, and the warning: %v", left, res.StatusCode, got)
		}
	}
}

// TLS 1.2 is for AEAD suites alone, and what is older is refused.
func TestTLSVersions(t *testing.T) {
	s := start(t, server.Config{Certificate: certificate(t, time.Hour)})
	for _, tt := range []struct {
		version, suite uint16
		ok             bool
	}{
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{tls.VersionTLS11, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
	} {
		conn, err := tls.Dial("tcp", addrOf(s), &tls.Config{
			MinVersion: tt.version, MaxVersion: tt.version, CipherSuites: []uint16{tt.suite},
			InsecureSkipVerify: true,
		})
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tls.CipherSuiteName(tt.suite), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
