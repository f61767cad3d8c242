package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/testkit"
)

// silent is a logger that logs nothing.
var silent = slog.New(slog.DiscardHandler)

// pipes is a listener in memory, so that a server can run on synctest's clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

// servePipe has srv serve a connection in memory, with TLS if it has a configuration for
// that, and returns the client's end.
func servePipe(srv *http.Server) (client net.Conn) {
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	if srv.TLSConfig != nil {
		go srv.ServeTLS(l, "", "")
	} else {
		go srv.Serve(l)
	}
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.close(); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Requests in flight get 25 seconds after the delay, and no more.
func TestShutdownWaitsForRequests(t *testing.T) {
	tests := []struct {
		request, delay, want time.Duration // how long each takes
		ok                   bool
		busy, cut            int // connections that are, and were
	}{
		{request: 0, delay: 3 * time.Second, want: 3 * time.Second, ok: true},
		{
			request: 12 * time.Second, delay: 3 * time.Second, want: 12 * time.Second, ok: true,
			busy: 1,
		},
		{request: time.Minute, delay: 3 * time.Second, want: 28 * time.Second, busy: 1, cut: 1},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(tt.request):
					io.WriteString(w, "done")
				case <-r.Context().Done():
				}
			}), silent)
			busy := closeUnusedOnShutdown(srv)
			client := servePipe(srv)
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answer := make(chan string)
			go func() {
				b, _ := io.ReadAll(client)
				answer <- string(b)
			}()
			synctest.Wait()
			var drained time.Time
			log := new(testkit.Buffer)
			cfg := Config{
				ShutdownDelay: tt.delay, Drain: func() { drained = time.Now() },
				Log: slog.New(slog.NewTextHandler(log, nil)),
			}
			err := cfg.shutDown(srv, "tired", busy)
			took := time.Since(began) // Shutdown looks now and then
			time.Sleep(goAwayTime)    // for what it has started
			if took < tt.want || took > tt.want+time.Second || drained != began {
				t.Errorf("%+v: got an end after %v, of which it told at %v", tt, took, drained)
			}
			answered := strings.HasSuffix(<-answer, "\r\n\r\ndone")
			if ended := time.Since(began); ended > tt.want+time.Second {
				t.Errorf("%+v: got the connection closed after %v", tt, ended)
			}
			refused := strings.Contains(fmt.Sprint(err), "in flight after 25s")
			if answered != tt.ok || (err == nil) != tt.ok || refused == tt.ok {
				t.Errorf("%+v: got %v, and an answer: %v", tt, err, answered)
			}
			for _, want := range []string{
				fmt.Sprintf(`msg="shutting down" delay=3s why=tired busy=%d`+"\n", tt.busy),
				fmt.Sprintf("msg=ended took=%v cut=%d\n", took.Round(time.Millisecond), tt.cut),
			} {
				if !log.Has(want) {
					t.Errorf("%+v: got %s, want %s in it", tt, log, want)
				}
			}
		})
	}
}

// closing is a connection that tells when it was closed.
type closing struct {
	net.Conn
	at time.Time
}

func (c *closing) Close() error {
	c.at = time.Now()
	return c.Conn.Close()
}

// Clients of HTTP/2 have a moment to see that their idle connection will be closed.
func TestIdleHTTP2AtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := new(http.Server)
		busy := closeUnusedOnShutdown(srv)
		states := []http.ConnState{http.StateNew, http.StateIdle, http.StateActive}
		conns := make([]*closing, len(states))
		for i, state := range states {
			client, server := net.Pipe()
			defer client.Close()
			conns[i] = &closing{Conn: server}
			srv.ConnState(tls.Server(conns[i], new(tls.Config)), state)
		}
		if got := busy(); got != 1 {
			t.Errorf("got %d busy connections, want the active one", got)
		}
		began := time.Now()
		srv.Shutdown(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, want := range []time.Time{began, began.Add(goAwayTime), {}} {
			if conns[i].at != want {
				t.Errorf("%v: got it closed at %v, want %v", states[i], conns[i].at, want)
			}
		}
		_, server := net.Pipe()
		late := &closing{Conn: server}
		if srv.ConnState(late, http.StateNew); late.at != time.Now() {
			t.Error("got a connection left open that was accepted at the last moment")
		}
	})
}

// No client holds a connection for longer than its time. OPTIONS * is answered by the
// site, headers and all, not by net/http, whose lines are bounded.
func TestNewServer(t *testing.T) {
	log := new(testkit.Buffer)
	srv := newServer(nil, slog.New(slog.NewTextHandler(log, nil)))
	for name, limit := range map[string]time.Duration{
		"header": srv.ReadHeaderTimeout, "read": srv.ReadTimeout,
		"write": srv.WriteTimeout, "idle": srv.IdleTimeout,
	} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("got a %s limit of %v", name, limit)
		}
	}
	if !srv.DisableGeneralOptionsHandler {
		t.Error("got an answer of net/http's to OPTIONS *")
	}
	for range 100 {
		srv.ErrorLog.Print("http: TLS handshake error from 127.0.0.1:1: EOF")
	}
	if got := strings.Count(log.String(), "\n"); got > 50 {
		t.Errorf("got %d lines: %s", got, log)
	}
}
