package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// certificate is a TLS certificate and its key, in PEM files that are read
// again when they change.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	last              string // what the files said, or why they couldn't be read
}

// load reads the files and takes the certificate into use, if there is
// something new in them or force is set. A bad pair leaves the old one in use.
func (c *certificate) load(force bool) (isNew bool, err error) {
	cert, certErr := readRegular(c.certFile)
	key, keyErr := readRegular(c.keyFile)
	said := fmt.Sprintf("%q %q", cert, key)
	if err = cmp.Or(certErr, keyErr); err != nil {
		said = err.Error()
	}
	if said == c.last && !force {
		return false, nil
	}
	c.last = said
	if err != nil {
		return true, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return true, fmt.Errorf("%s, %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
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
