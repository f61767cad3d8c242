// Package server runs a site: it listens, with TLS or without, reads certificates
// again when they change, ends without cutting off anybody, and serves the operator
// on a listener of its own.
package server

import (
	"cmp"
	"context"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"cookiesession/internal/floodlog"
)

const (
	readTimeout  = 10 * time.Second // for a request
	writeTimeout = 20 * time.Second // for a request and its response
)

// Config says what Run serves, and where. Handler, Drain and Log are needed.
type Config struct {
	Addr    string       // host:port to listen on
	Handler http.Handler // the site
	Origins []string     // where visitors reach it; none if that is Addr
	Secure  bool         // visitors come over HTTPS, even if a proxy ends TLS
	Started []any        // attributes of the line that says where it listens

	Certificate *Certificate // nil for plain HTTP
	// CertificateLoaded is told what came of each loading, and when the certificate
	// that is in use ends. It is needed if there is one.
	CertificateLoaded func(notAfter time.Time, err error)

	AdminAddr string        // host:port of the operator's listener; empty for none
	Metrics   http.Handler  // what GET /metrics is there; needed if there is one
	Status    func() Status // what its page says; needed if there is one
	Style     string        // stylesheet of that page; may be empty

	ShutdownDelay time.Duration // from Drain to the end, when requests are still taken
	Drain         func()        // called when the end begins, for /healthz
	Log           *slog.Logger
}

// Run serves until ctx ends or a signal comes. Then it finishes what is in flight.
func Run(ctx context.Context, cfg Config) error {
	// Or SIGHUP would end the program while no file is watched.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of what watches files
	if cfg.Certificate != nil {
		if err := cfg.watchCertificate(ctx); err != nil {
			return err
		}
	}
	failed := make(chan error, 2)
	if cfg.AdminAddr != "" {
		ln, err := listen("-admin-addr", cfg.AdminAddr)
		if err != nil {
			return err
		}
		admin := newAdmin(cfg)
		defer admin.Close() // last, so that the end can be watched
		go func() { failed <- admin.Serve(ln) }()
		cfg.Log.Info("admin listening", "url", "http://"+ln.Addr().String())
	}
	srv := newServer(cfg.Handler, cfg.Log)
	busy := closeUnusedOnShutdown(srv)
	ln, err := listen("-addr", cfg.Addr)
	if err != nil {
		return err
	}
	go func() { failed <- cfg.serve(srv, ln) }()
	started := []any{"url", cfg.url(ln.Addr()), "addr", ln.Addr().String()}
	cfg.Log.Info("listening", append(started, cfg.Started...)...)
	cfg.warnIfExposed(ln.Addr().String())

	why := "its caller"
	select {
	case err := <-failed:
		return err
	case sig := <-signals:
		why = sig.String()
	case <-ctx.Done():
	}
	signal.Stop(signals) // from here on one ends the program at once
	return cfg.shutDown(srv, why, busy)
}

// Check reads the certificate, sees that the hosts to listen on are this machine's, and logs
// warnings as Run does. It takes no port that Run takes.
func Check(cfg Config) error {
	if cfg.Certificate != nil {
		if err := cfg.loadCertificate(); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
	}
	for _, flag := range [][2]string{{"-admin-addr", cfg.AdminAddr}, {"-addr", cfg.Addr}} {
		host, _, err := net.SplitHostPort(flag[1])
		if err != nil { // there is no such listener
			continue
		}
		ln, err := listen(flag[0], net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		ln.Close()
	}
	cfg.warnIfExposed(cfg.Addr)
	return nil
}

// warnIfExposed says so when cookies travel in the clear, to a listener on addr or, through
// a proxy, to a public host.
func (cfg Config) warnIfExposed(addr string) {
	isPublic := slices.ContainsFunc(cfg.Origins, func(origin string) bool {
		u, err := url.Parse(origin)
		return err == nil && !isLocal(u.Hostname())
	})
	if !cfg.Secure && cfg.Certificate == nil && (isPublic || !IsLoopback(addr)) {
		cfg.Log.Warn("this serves beyond loopback without HTTPS, so cookies can be read and " +
			"copied on the way: give -tls-cert, or -origin https://... where a proxy ends TLS")
	}
}

// serve has srv serve what comes to ln, with TLS if there is a certificate.
func (cfg Config) serve(srv *http.Server, ln net.Listener) error {
	if cfg.Certificate == nil {
		return srv.Serve(ln)
	}
	srv.TLSConfig = cfg.Certificate.config()
	return srv.ServeTLS(ln, "", "")
}

// newServer returns a server that a slow or greedy client can't hold up. What it reads of a
// header is more than sites take, so that they can answer what is too large, with a page.
// The rest is a matter of memory: 64 clients that hold back all they may, in thousands of
// fields or on each of their streams, must fit into 128 MiB.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ErrorLog: stdlog.New(floodlog.Lines(log), "", 0),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes:               64 << 10, // and 4 KiB more over HTTP/1.1
		DisableGeneralOptionsHandler: true,     // OPTIONS * is a request like any other
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          8,         // browsers have 6 connections of HTTP/1.1
			MaxReadFrameSize:              16 << 10,  // each connection keeps the room for one
			MaxReceiveBufferPerConnection: 256 << 10, // of bodies that nobody has read yet
			WriteByteTimeout:              writeTimeout,
		},
	}
}

// listen listens on an address that a flag gives.
func listen(flag, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w (choose another address with %s)", err, flag)
	}
	return ln, nil
}

// IsAddr reports whether addr has a host, which may be empty, and a port that there is.
func IsAddr(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	_, unknown := net.LookupPort("tcp", port)
	return err == nil && unknown == nil && port != ""
}

// Clash reports whether two addresses can't both be listened on: they have one port, and the
// same host, or one of them has all hosts.
func Clash(a, b string) bool {
	x, errX := net.ResolveTCPAddr("tcp", a)
	y, errY := net.ResolveTCPAddr("tcp", b)
	if errX != nil || errY != nil || x.Port != y.Port || x.Port == 0 {
		return false // what can't be resolved is for Run to say
	}
	isAll := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return isAll(x.IP) || isAll(y.IP) || x.IP.Equal(y.IP)
}

// url returns where to point a browser: where visitors come, or at this machine.
func (cfg Config) url(addr net.Addr) string {
	if len(cfg.Origins) > 0 {
		return cfg.Origins[0]
	}
	scheme := "http"
	if cfg.Certificate != nil {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(cfg.Addr)
	_, port, _ := net.SplitHostPort(addr.String()) // not cfg's: that may be 0
	return scheme + "://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// IsLoopback reports whether only this machine can reach a listener on addr.
func IsLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	return isLocal(host)
}

// isLocal reports whether a host is this machine alone.
func isLocal(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		net.ParseIP(host).IsLoopback()
}
