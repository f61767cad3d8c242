package server

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/testkit"
)

// What a client of HTTP/2 may have open and send at a time is told to it first.
func TestHTTP2Limits(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.Config, srv.EnableHTTP2 = newServer(http.NotFoundHandler(), silent), true
	srv.StartTLS()
	defer srv.Close()
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, testkit.HTTP2Preface)
	got, window := make(map[byte]int), 65535
	for window == 65535 {
		kind, _, payload, err := testkit.ReadHTTP2Frame(conn)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case testkit.HTTP2Settings:
			for ; len(payload) > 0; payload = payload[6:] {
				got[payload[1]] = int(binary.BigEndian.Uint32(payload[2:]))
			}
		case testkit.HTTP2Window:
			window += int(binary.BigEndian.Uint32(payload))
		}
	}
	const streams, frame = 3, 5 // RFC 9113, section 6.5.2
	if got[streams] != 8 || got[frame] != 16<<10 || window != 256<<10 {
		t.Errorf("got the settings %v and a window of %d bytes", got, window)
	}
}

// Clients of HTTP/2 dawdle in every way, and each connection ends in its time.
func TestSlowHTTP2(t *testing.T) {
	cert, key, _ := testkit.NewCertificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	const ends, only = 4, 1 // the header ends; there is no body
	header := func(flags byte) []byte {
		return testkit.HTTP2Header(1, flags, testkit.HTTP2Fields(":method", "POST",
			":scheme", "https", ":authority", "x", ":path", "/"))
	}
	for _, tt := range []struct {
		name         string
		sends, drips []byte // at once; then each second, if it is not nil
		deaf         bool   // reads nothing after the first half of a second
		within       time.Duration
	}{
		{name: "silent", within: time.Minute},
		{name: "half a header", sends: header(only), within: time.Minute},
		{name: "a header by and by", sends: header(only), within: time.Minute,
			drips: testkit.HTTP2Frame(9, 0, 1, testkit.HTTP2Fields("a", "b"))},
		{name: "half a body", sends: header(ends), within: readTimeout + time.Minute},
		{name: "a body by and by", sends: header(ends), within: readTimeout + time.Minute,
			drips: testkit.HTTP2Frame(testkit.HTTP2Data, 0, 1, []byte("a"))},
		{name: "an answer unread", sends: header(ends | only), deaf: true,
			within: writeTimeout + 10*time.Second}, // with time for TLS to say so
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				time.Sleep(time.Second) // until a deaf client is so
				w.Write(make([]byte, 1<<10))
			}), silent)
			srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
			pipe := servePipe(srv)
			var sending sync.WaitGroup
			defer sending.Wait()
			defer pipe.Close()
			defer srv.Close()
			conn := tls.Client(pipe, &tls.Config{
				InsecureSkipVerify: true, NextProtos: []string{"h2"},
			})
			began := time.Now()
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			sending.Go(func() {
				io.WriteString(conn, testkit.HTTP2Preface)
				conn.Write(tt.sends)
				for ok := tt.drips != nil; ok; {
					time.Sleep(time.Second)
					_, err := conn.Write(tt.drips)
					ok = err == nil
				}
			})
			if tt.deaf {
				conn.SetReadDeadline(began.Add(time.Second / 2))
				io.Copy(io.Discard, conn)
				time.Sleep(tt.within)
				pipe.SetReadDeadline(time.Time{})
				if n, err := pipe.Read(make([]byte, 1)); err == nil {
					t.Errorf("%s: got %d byte, want the connection to have ended", tt.name, n)
				}
				return
			}
			io.Copy(io.Discard, conn)
			if took := time.Since(began); took > tt.within+2*time.Second { // it says goodbye
				t.Errorf("%s: the connection ended after %v, want %v", tt.name, took, tt.within)
			}
		})
	}
}
