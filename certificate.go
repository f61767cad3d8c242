package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// certificate is a TLS certificate and its key, in PEM files that are read
// again when they change.
type certificate struct {
	*watchedFiles
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// certificateIn returns the certificate in two files, which are still to be loaded.
func certificateIn(certFile, keyFile string) *certificate {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	c.watchedFiles = &watchedFiles{names: []string{certFile, keyFile}, use: c.replace}
	return c
}

// replace takes a certificate and its key into use. A bad pair leaves the old one there.
func (c *certificate) replace(contents []string) error {
	pair, err := tls.X509KeyPair([]byte(contents[0]), []byte(contents[1]))
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// config returns the configuration of a server with this certificate. TLS 1.2
// is for AEAD suites alone; those of TLS 1.3 are all of that kind.
func (c *certificate) config() *tls.Config {
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
