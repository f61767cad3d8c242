package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	readTimeout  = 10 * time.Second // for a request
	writeTimeout = 20 * time.Second // for a request and its response

	// shutdownTimeout is how long requests in flight may take to finish. The
	// server's own limits end them before that.
	shutdownTimeout = writeTimeout + 5*time.Second

	// newConnTimeout is how long after the start of a shutdown a connection may
	// still send its first request.
	newConnTimeout = 200 * time.Millisecond
)

// serve runs the servers until ctx ends or a signal comes.
func serve(ctx context.Context, cfg *config, a *app) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // without files to read again, it is ignored
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	reloads, tlsConfig, err := a.files(cfg)
	if err != nil {
		return err
	}
	go watch(ctx, hup, func(force bool) {
		for _, reload := range reloads {
			reload(force)
		}
	})
	failed := make(chan error, 2)
	if cfg.adminAddr != "" {
		admin := newServer(a.admin(cfg.adminAddr), a)
		admin.WriteTimeout = 0 // a profile takes as long as it is asked for
		ln, err := listen("-admin-addr", cfg.adminAddr)
		if err != nil {
			return err
		}
		defer admin.Close() // last, so that the end can be watched
		go func() { failed <- admin.Serve(ln) }()
		a.log.Info("admin listening", "url", "http://"+ln.Addr().String())
	}
	srv := newServer(a, a)
	conns := newConns{}
	srv.ConnState, srv.TLSConfig = conns.track, tlsConfig
	ln, err := listen("-addr", cfg.addr)
	if err != nil {
		return err
	}
	go func() {
		if tlsConfig != nil {
			failed <- srv.ServeTLS(ln, "", "")
		} else {
			failed <- srv.Serve(ln)
		}
	}()
	a.log.Info("listening", "url", cfg.url(ln.Addr()))
	if !cfg.secure && !isLoopback(ln.Addr().String()) {
		a.log.Warn("this listens beyond loopback without HTTPS, so cookies can be read and copied " +
			"on the way: give -tls-cert, or -origin https://... where a proxy ends TLS")
	}

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop() // from here on a signal ends the program at once
	a.log.Info("shutting down", "delay", cfg.shutdownDelay)
	a.draining.Store(true)
	time.Sleep(cfg.shutdownDelay)
	return shutDown(srv, &conns)
}

// shutDown ends srv: it closes idle connections, and those that have not sent
// a request yet, and lets requests in flight finish.
func shutDown(srv *http.Server, conns *newConns) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	// net/http gives new connections five seconds, and browsers keep spare ones.
	time.AfterFunc(newConnTimeout, conns.close)
	if err := srv.Shutdown(ctx); err != nil {
		srv.Close()
		return fmt.Errorf("requests were still in flight after %v: %w", shutdownTimeout, err)
	}
	return nil
}

// newConns are the connections that have not sent a request yet.
type newConns struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// track follows a connection's state, for http.Server.
func (n *newConns) track(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state != http.StateNew {
		delete(n.conns, c)
		return
	}
	if n.conns == nil {
		n.conns = make(map[net.Conn]bool)
	}
	n.conns[c] = true
}

func (n *newConns) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
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

// url returns where to point a browser: at the first origin, or at this machine.
func (cfg *config) url(addr net.Addr) string {
	if len(cfg.origins) > 0 {
		return cfg.origins[0]
	}
	scheme := "http"
	if cfg.tlsCert != "" {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(cfg.addr)
	_, port, _ := net.SplitHostPort(addr.String()) // not cfg's: that may be 0
	return scheme + "://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// files takes the certificate into use, and returns what is to be done when
// files may have changed.
func (a *app) files(cfg *config) (reloads []func(force bool), tlsConfig *tls.Config, err error) {
	if cfg.keyFile != "" {
		file := &keyFile{name: cfg.keyFile, encrypt: cfg.encrypt, use: a.useRing}
		if _, err := file.load(true); err != nil {
			return nil, nil, err
		}
		a.metrics.watchKeyFile()
		a.warnOfReaders(cfg.keyFile)
		reloads = append(reloads, func(force bool) {
			if isNew, err := file.load(force); isNew {
				a.keysReloaded(cfg.keyFile, err)
			}
		})
	}
	if cfg.tlsCert != "" {
		c := &certificate{certFile: cfg.tlsCert, keyFile: cfg.tlsKey}
		if _, err := c.load(false); err != nil {
			return nil, nil, fmt.Errorf("certificate: %w", err)
		}
		a.metrics.watchCertificate(c)
		tlsConfig = c.config()
		reloads = append(reloads, func(force bool) {
			if isNew, err := c.load(force); isNew {
				a.certificateReloaded(c, err)
			}
		})
	}
	return reloads, tlsConfig, nil
}

// newServer returns a server that a slow or greedy client can't hold up.
func newServer(h http.Handler, a *app) *http.Server {
	return &http.Server{
		Handler: h, ErrorLog: log.New(a.log, "", 0),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes:               32 << 10, // net/http reads 4 KiB more before it answers 431
		DisableGeneralOptionsHandler: true,     // OPTIONS * is a request like any other
	}
}
