package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"
)

// Certificate is a TLS certificate and its key, in PEM files that are read again
// when they change.
type Certificate struct {
	File    string // the certificate, and those that lead from it to the root
	KeyFile string

	current atomic.Pointer[tls.Certificate]
}

// Load reads the files and takes the certificate into use. A bad pair leaves the
// old one in use. Run loads it by itself.
func (c *Certificate) Load() error {
	cert, certErr := readRegular(c.File)
	key, keyErr := readRegular(c.KeyFile)
	if err := cmp.Or(certErr, keyErr); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.File, c.KeyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// Leaf returns the certificate in use. It must have been loaded.
func (c *Certificate) Leaf() *x509.Certificate { return c.current.Load().Leaf }

// NotAfter returns when the certificate in use ends. It must have been loaded.
func (c *Certificate) NotAfter() time.Time { return c.Leaf().NotAfter }

// config returns the configuration of a server with this certificate. TLS 1.2
// is for AEAD suites alone; those of TLS 1.3 are all of that kind.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// watchCertificate takes the certificate into use, and watches its files until ctx ends.
func (cfg Config) watchCertificate(ctx context.Context) error {
	c := cfg.Certificate
	told := func(err error) {
		if err != nil {
			cfg.Log.Error("the certificate is bad, the old one stays in use", "err", err)
			return
		}
		cfg.Log.Info("certificate loaded", "file", c.File, "not_after", c.NotAfter())
	}
	if err := Watch(ctx, []string{c.File, c.KeyFile}, cfg.loadCertificate, told); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	told(nil)
	return nil
}

// loadCertificate loads the certificate, tells who counts it how that went, and says so
// when browsers take it for expired.
func (cfg Config) loadCertificate() error {
	c := cfg.Certificate
	err := c.Load()
	if c.current.Load() == nil {
		return err // the start ends here
	}
	cfg.CertificateLoaded(c.NotAfter(), err)
	if err == nil && time.Now().After(c.NotAfter()) {
		cfg.Log.Warn("the certificate has expired: browsers refuse the site until it is renewed",
			"file", c.File, "not_after", c.NotAfter())
	}
	return err
}
