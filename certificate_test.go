package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newTestCertificate returns a certificate that has been loaded.
func newTestCertificate(t testing.TB) *certificate {
	t.Helper()
	cert, key, _ := newCertificate(t)
	c := certificateIn(cert, key)
	if isNew, err := c.load(false); !isNew || err != nil {
		t.Fatalf("got new %v and error %v", isNew, err)
	}
	return c
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

// A certificate is read again when one of its files has changed. A bad pair
// leaves the old one in use, and is an error once, not at each look.
func TestCertificateLoad(t *testing.T) {
	c := newTestCertificate(t)
	first := c.current.Load()
	cert, key, _ := newCertificate(t)
	steps := []struct {
		name         string
		change       func()
		force        bool
		isNew, isBad bool
		replaced     bool
	}{
		{name: "nothing has changed", change: func() {}},
		{name: "forced", change: func() {}, force: true, isNew: true, replaced: true},
		{
			name:   "the certificate is of another key",
			change: func() { copyFile(t, cert, c.certFile) },
			isNew:  true, isBad: true,
		},
		{name: "still", change: func() {}},
		{
			name:   "the key has come, too",
			change: func() { copyFile(t, key, c.keyFile) },
			isNew:  true, replaced: true,
		},
		{name: "the key is gone", change: func() { os.Remove(c.keyFile) }, isNew: true, isBad: true},
		{name: "it is still gone", change: func() {}},
		{name: "there is a folder in its place", change: func() { os.Mkdir(c.keyFile, 0o700) }, isNew: true, isBad: true},
		{
			name: "it is back",
			change: func() {
				os.Remove(c.keyFile)
				copyFile(t, key, c.keyFile)
			},
			isNew: true, replaced: true,
		},
		{
			name: "its first word has moved to the other file",
			change: func() {
				word, rest, _ := strings.Cut(readFile(t, key), " ")
				writeFile(t, c.certFile, readFile(t, cert)+" "+word)
				writeFile(t, c.keyFile, rest)
			},
			isNew: true, isBad: true,
		},
		{name: "no PEM", change: func() { writeFile(t, c.certFile, "x") }, isNew: true, isBad: true},
	}
	for _, s := range steps {
		before := c.current.Load()
		s.change()
		isNew, err := c.load(s.force)
		if isNew != s.isNew || (err != nil) != s.isBad {
			t.Errorf("%s: got new %v and error %v", s.name, isNew, err)
		}
		if got := c.current.Load() != before; got != s.replaced {
			t.Errorf("%s: got it replaced: %v", s.name, got)
		}
	}
	if c.current.Load() == nil || c.current.Load() == first {
		t.Error("got no certificate, or the first one")
	}
}

// renewal is a server whose certificate is about to be renewed.
type renewal struct {
	*started
	cert, key string
	pool      *x509.CertPool // that trusts both certificates
	second    [2]string      // files of the second certificate and its key
}

func newRenewal(t *testing.T) *renewal {
	t.Helper()
	r := new(renewal)
	r.cert, r.key, r.pool = newCertificate(t)
	r.second[0], r.second[1], _ = newCertificate(t, "renewed.example")
	pem, err := os.ReadFile(r.second[0])
	if err != nil {
		t.Fatal(err)
	}
	r.pool.AppendCertsFromPEM(pem)
	env := map[string]string{"COOKIESESSION_KEYS": keyA}
	r.started = startProcess(t, env, "-tls-cert", r.cert, "-tls-key", r.key,
		"-admin-addr", "localhost:0")
	return r
}

// isRenewed reports whether a new connection gets the second certificate.
func (r *renewal) isRenewed(t *testing.T) bool {
	t.Helper()
	addr := strings.TrimPrefix(r.url, "https://")
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: r.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].VerifyHostname("renewed.example") == nil
}

// metric returns the value of a series without labels.
func (r *renewal) metric(t *testing.T, name string) (value float64) {
	t.Helper()
	_, page := send(t, "GET", r.adminURL()+"/metrics", "", http.Header{})
	_, rest, _ := strings.Cut(page, "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &value); err != nil {
		t.Fatalf("%s: %v in %s", name, err, page)
	}
	return value
}

// A certificate is renewed under load: on SIGHUP at once, and without it at the
// next look. No request fails, and those who have a connection keep it.
func TestCertificateRenewal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	t.Parallel()
	r := newRenewal(t)
	if until := time.Unix(int64(r.metric(t, certNotAfter)), 0); time.Until(until) > time.Hour ||
		time.Until(until) < 50*time.Minute || r.metric(t, certOK) != 1 {
		t.Errorf("got a certificate that ends at %v, want in an hour", until)
	}

	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.pool},
	}}
	fresh := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.pool}, DisableKeepAlives: true,
	}}
	var requests, failed atomic.Int64
	stop := make(chan struct{})
	ended := make(chan struct{})
	for _, c := range []*http.Client{client, fresh} {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				requests.Add(1)
				res, err := c.Get(r.url + "/healthz")
				if err != nil || res.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("got %v and error %v", res, err)
					return
				}
				res.Body.Close()
			}
		}()
	}

	// A bad pair: the certificate has come, its key has not.
	copyFile(t, r.second[0], r.cert)
	r.cmd.Process.Signal(syscall.SIGHUP)
	awaitTrue(t, "the certificate", func() bool { return r.metric(t, certOK) == 0 })
	if r.isRenewed(t) {
		t.Error("got a certificate without its key")
	}
	copyFile(t, r.second[1], r.key)
	if testing.Short() { // does not wait for the next look
		r.cmd.Process.Signal(syscall.SIGHUP)
	}
	awaitTrue(t, "the certificate", func() bool { return r.isRenewed(t) })
	awaitTrue(t, "the certificate", func() bool { return r.metric(t, certOK) == 1 })
	close(stop)
	<-ended
	<-ended
	if requests.Load() == 0 || failed.Load() > 0 {
		t.Errorf("got %d of %d requests failed", failed.Load(), requests.Load())
	}
	if got := strings.Count(r.log.String(), "the certificate is bad"); got != 1 {
		t.Errorf("got %d lines on a bad certificate, want one: %s", got, r.log)
	}
	if got := strings.Count(r.log.String(), `msg="certificate loaded"`); got != 1 {
		t.Errorf("got %d lines on a new certificate, want one: %s", got, r.log)
	}
	// It loads on SIGHUP also what has not changed, which no look does.
	loaded := func() int { return strings.Count(r.log.String(), `msg="certificate loaded"`) }
	before := loaded()
	r.cmd.Process.Signal(syscall.SIGHUP)
	awaitTrue(t, "SIGHUP", func() bool { return loaded() > before })
}

const (
	certOK       = "cookiesession_tls_certificate_ok"
	certNotAfter = "cookiesession_tls_certificate_not_after_timestamp_seconds"
)

// A certificate that can't be used stops the start, before anybody could think
// that the program listens.
func TestBadCertificateStopsTheStart(t *testing.T) {
	cert, key, _ := newCertificate(t)
	other, _, _ := newCertificate(t)
	for name, files := range map[string][2]string{
		"no certificate": {cert + "x", key},
		"no key":         {cert, key + "x"},
		"another key's":  {other, key},
		"no PEM":         {key, key},
	} {
		log := new(lockedBuffer)
		args := []string{"-addr", "localhost:0", "-tls-cert", files[0], "-tls-key", files[1]}
		err := run(t.Context(), args, func(string) string { return "" }, nil, log, log)
		if err == nil || !strings.Contains(err.Error(), "certificate: ") ||
			!strings.Contains(err.Error(), files[0]) && !strings.Contains(err.Error(), files[1]) {
			t.Errorf("%s: got %v", name, err)
		}
		if strings.Contains(log.String(), "listening") {
			t.Errorf("%s: got %s", name, log)
		}
	}
}

// What has expired is taken, since it may be all that there is, but not in silence.
func TestExpiredCertificate(t *testing.T) {
	var log lockedBuffer
	a := newTestApp(t, options{log: &log})
	c := newTestCertificate(t)
	if a.certificateReloaded(c, nil); strings.Contains(log.String(), "expired") {
		t.Errorf("got %s", &log)
	}
	leaf := *c.current.Load().Leaf
	leaf.NotAfter = time.Now().Add(-time.Second)
	c.current.Store(&tls.Certificate{Leaf: &leaf})
	if a.certificateReloaded(c, nil); !strings.Contains(log.String(), `level=WARN msg="the certificate has expired`) {
		t.Errorf("got %s", &log)
	}
}

// Whatever key a certificate has, the suites are those of AEAD.
func TestSuites(t *testing.T) {
	for _, id := range newTestCertificate(t).config().CipherSuites {
		name := tls.CipherSuiteName(id)
		if !strings.HasPrefix(name, "TLS_ECDHE_") ||
			!strings.Contains(name, "_GCM_") && !strings.Contains(name, "_CHACHA20_POLY1305_") {
			t.Errorf("got %s", name)
		}
	}
}

// TLS 1.2 is for AEAD suites alone, and what is older is refused.
func TestTLSVersions(t *testing.T) {
	c := newTestCertificate(t)
	handshake := func(client *tls.Config) error {
		a, b := net.Pipe()
		server := tls.Server(a, c.config())
		go server.Handshake()
		client.InsecureSkipVerify = true
		defer a.Close()
		return tls.Client(b, client).Handshake()
	}
	for _, tt := range []struct {
		name          string
		version, suit uint16
		ok            bool
	}{
		{name: "TLS 1.3", version: tls.VersionTLS13, ok: true},
		{name: "TLS 1.2", version: tls.VersionTLS12, ok: true},
		{name: "GCM", version: tls.VersionTLS12, ok: true,
			suit: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		{name: "ChaCha20", version: tls.VersionTLS12, ok: true,
			suit: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		{name: "CBC", version: tls.VersionTLS12, suit: tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		{name: "TLS 1.1", version: tls.VersionTLS11},
	} {
		config := &tls.Config{MinVersion: tt.version, MaxVersion: tt.version}
		if tt.suit != 0 {
			config.CipherSuites = []uint16{tt.suit}
		}
		if err := handshake(config); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
