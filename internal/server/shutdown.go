package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// shutdownTimeout is how long requests in flight may take to finish. The
// server's own limits end them before that.
const shutdownTimeout = writeTimeout + 5*time.Second

// shutDown ends srv, but first lets a load balancer see for as long as the delay
// that it is about to. It closes connections without a request, and lets requests
// in flight finish. The log says why it ends, and how many connections are busy.
func (cfg Config) shutDown(srv *http.Server, why string, busy func() int) error {
	began := time.Now()
	cfg.Log.Info("shutting down", "delay", cfg.ShutdownDelay, "why", why, "busy", busy())
	cfg.Drain()
	time.Sleep(cfg.ShutdownDelay)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err, cut := srv.Shutdown(ctx), 0
	if err != nil {
		cut = busy()
		srv.Close()
		err = fmt.Errorf("requests were still in flight after %v: %w", shutdownTimeout, err)
	}
	cfg.Log.Info("ended", "took", time.Since(began).Round(time.Millisecond), "cut", cut)
	return err
}

// goAwayTime is how long clients of HTTP/2 have to see that a connection is about
// to be closed, so that what they send meanwhile they send again elsewhere.
const goAwayTime = 300 * time.Millisecond

// closeUnusedOnShutdown has srv.Shutdown close connections that have not sent a
// whole request yet, and those of HTTP/2 that are idle. By itself it would give the
// first five seconds and the second one, but not answer what they send in that
// time. Browsers keep both. It returns what counts the connections with a request.
func closeUnusedOnShutdown(srv *http.Server) (busy func() int) {
	var mu sync.Mutex
	conns, ended := make(map[net.Conn]http.ConnState), false
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		_, isTLS := c.(*tls.Conn) // Shutdown closes idle ones of HTTP/1
		mu.Lock()
		defer mu.Unlock()
		delete(conns, c)
		switch {
		case state == http.StateNew && ended: // it was accepted at the last moment
			c.Close()
		case state == http.StateNew, state == http.StateActive, state == http.StateIdle && isTLS:
			conns[c] = state
		}
	}
	closeAll := func(state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		for c, is := range conns {
			if is == state {
				c.Close()
			}
		}
	}
	srv.RegisterOnShutdown(func() {
		closeAll(http.StateNew)
		time.Sleep(goAwayTime)
		closeAll(http.StateIdle)
	})
	return func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, state := range conns {
			if state == http.StateActive {
				n++
			}
		}
		return n
	}
}
