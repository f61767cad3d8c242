package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	stdlog "log"
	"log/slog"
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
)

// serve runs the servers until ctx ends or a signal comes.
func serve(ctx context.Context, cfg *config, a *app) error {
	hangups() // or SIGHUP would end the program while no file is watched
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tlsConfig, err := a.files(ctx, cfg)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	if cfg.adminAddr != "" {
		admin := a.newAdmin(cfg.adminAddr)
		ln, err := listen("-admin-addr", cfg.adminAddr)
		if err != nil {
			return err
		}
		defer admin.Close() // last, so that the end can be watched
		go func() { failed <- admin.Serve(ln) }()
		a.log.Info("admin listening", "url", "http://"+ln.Addr().String())
	}
	srv := newServer(a, a.log)
	srv.TLSConfig = tlsConfig
	closeUnusedOnShutdown(srv)
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
	a.log.Info("listening", "url", cfg.url(ln.Addr()), "addr", ln.Addr().String())
	if !cfg.secure && !isLoopback(ln.Addr().String()) {
		a.log.Warn("this listens beyond loopback without HTTPS, so cookies can be read and " +
			"copied on the way: give -tls-cert, or -origin https://... where a proxy ends TLS")
	}

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop() // from here on a signal ends the program at once
	return a.shutDown(srv, cfg.shutdownDelay)
}

// shutDown ends srv, but first lets a load balancer see for as long as delay that
// it is about to. It closes connections without a request, and lets requests in
// flight finish.
func (a *app) shutDown(srv *http.Server, delay time.Duration) error {
	a.log.Info("shutting down", "delay", delay)
	a.draining.Store(true)
	time.Sleep(delay)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		srv.Close()
		return fmt.Errorf("requests were still in flight after %v: %w", shutdownTimeout, err)
	}
	return nil
}

// goAwayTime is how long clients of HTTP/2 have to see that a connection is about
// to be closed, so that what they send meanwhile they send again elsewhere.
const goAwayTime = 300 * time.Millisecond

// closeUnusedOnShutdown has srv.Shutdown close connections that have not sent a
// whole request yet, and those of HTTP/2 that are idle. By itself it would give the
// first five seconds and the second one, but not answer what they send in that
// time. Browsers keep both.
func closeUnusedOnShutdown(srv *http.Server) {
	var mu sync.Mutex
	unused, ended := make(map[net.Conn]http.ConnState), false
	closeAll := func(state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		for c, is := range unused {
			if is == state {
				c.Close()
			}
		}
	}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if _, isTLS := c.(*tls.Conn); state == http.StateIdle && !isTLS {
			return // Shutdown closes those of HTTP/1
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case state == http.StateNew && ended:
			c.Close()
		case state == http.StateNew || state == http.StateIdle:
			unused[c] = state
		default:
			delete(unused, c)
		}
	}
	srv.RegisterOnShutdown(func() {
		closeAll(http.StateNew)
		time.Sleep(goAwayTime)
		closeAll(http.StateIdle)
	})
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

// files takes the keys and the certificate that are in files into use, and
// watches them until ctx ends. It returns nil if there is no certificate.
func (a *app) files(ctx context.Context, cfg *config) (*tls.Config, error) {
	if cfg.keyFile != "" {
		file := newKeyFile(cfg.keyFile, cfg.encrypt, a.useRing)
		if _, err := file.load(true); err != nil {
			return nil, err
		}
		a.metrics.keysLoaded(nil)
		a.warnOfReaders(cfg.keyFile)
		go file.watch(ctx, hangups(), func(err error) { a.keysReloaded(cfg.keyFile, err) })
	}
	if cfg.tlsCert == "" {
		return nil, nil
	}
	c := certificateIn(cfg.tlsCert, cfg.tlsKey)
	if _, err := c.load(true); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	a.metrics.certificateLoaded(c, nil)
	a.warnOfExpiry(c)
	go c.watch(ctx, hangups(), func(err error) { a.certificateReloaded(c, err) })
	return c.config(), nil
}

// hangups returns a new channel that gets each SIGHUP until the program ends.
func hangups() <-chan os.Signal {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup
}

// newServer returns a server that a slow or greedy client can't hold up.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ErrorLog: stdlog.New(serverErrors{log: log}, "", 0),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes:               32 << 10, // net/http reads 4 KiB more before it answers 431
		DisableGeneralOptionsHandler: true,     // OPTIONS * is a request like any other
	}
}
