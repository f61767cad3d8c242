package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"cookiesession/internal/web"
)

// excepted returns what adds a handler at /test-only that is an exception.
func excepted(e web.Exception, do http.HandlerFunc) func(*shop) {
	return func(s *shop) { s.Except(s.router.HandleFunc("/test-only", do), e) }
}

// upload counts the bytes of the file that was sent.
func upload(r *http.Request, s *session) (web.Answer, error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return web.Answer{}, err
	}
	size := int64(0)
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			s.Data.Items = append(s.Data.Items, "photo")
			return web.Message("cart", fmt.Sprint(size)), nil
		}
		if err != nil {
			return web.Answer{}, err
		}
		n, err := io.Copy(io.Discard, part)
		if err != nil {
			return web.Answer{}, err
		}
		size += n
	}
}

// A route may take a greater body, for an upload or a form. Others don't.
func TestGreaterBody(t *testing.T) {
	const size = 2 << 20
	s := newShop(t, insecure(), "", func(s *shop) {
		for path, do := range map[string]func(*http.Request, *session) (web.Answer, error){
			"/upload": upload, "/note": add,
		} {
			s.Except(s.router.HandleFunc(path, s.Action(do)), web.Exception{MaxBody: size})
		}
	})
	srv := httptest.NewServer(s)
	defer srv.Close()
	file := func(n int) (kind, body string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, _ := w.CreateFormFile("photo", "x.jpg")
		part.Write(make([]byte, n))
		w.Close()
		return w.FormDataContentType(), b.String()
	}
	form := func(n int) (kind, body string) {
		return "application/x-www-form-urlencoded", "item=tea&x=" + strings.Repeat("x", n)
	}
	for _, tt := range []struct {
		path   string
		body   func(int) (string, string)
		size   int
		status int
		says   string
	}{
		{"/upload", file, size / 2, 200, fmt.Sprint(size / 2)},
		{"/upload", file, size, 413, fmt.Sprint(size)},
		{"/upload", form, 0, 400, "broken"},
		{"/note", form, size / 2, 200, "Added tea"},
		{"/note", form, size, 413, fmt.Sprint(size)},
		{"/add", form, web.MaxBody, 413, fmt.Sprint(web.MaxBody)},
	} {
		kind, body := tt.body(tt.size)
		src := io.Reader(strings.NewReader(body))
		if tt.status == 413 { // without a length, which would say so at once
			src = io.MultiReader(src)
		}
		res, err := http.Post(srv.URL+tt.path, kind, src)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tt.status || !strings.Contains(string(text), tt.says) ||
			len(res.Cookies()) > 0 != (tt.status == 200) {
			t.Errorf("%s, %d bytes: got status %d and %s", tt.path, tt.size, res.StatusCode, text)
		}
	}
}

// A route may have another policy, also on its error pages.
func TestOtherPolicy(t *testing.T) {
	const policy = "default-src 'self'"
	s := newShop(t, insecure(), "", excepted(web.Exception{Policy: policy},
		func(http.ResponseWriter, *http.Request) { panic("on purpose") }))
	for path, want := range map[string]string{
		"/test-only": policy, "/cart": wantHeaders(true, false)["Content-Security-Policy"],
	} {
		res, _ := s.do("GET", path, "")
		if got := res.Header["Content-Security-Policy"]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got the policy %q", path, got)
		}
	}
}

// A route may have forms from other sites, such as a login provider's answer. It goes for
// no other route, and for no other host.
func TestCrossOriginRoute(t *testing.T) {
	const host = "shop.example"
	s := newShop(t, insecure(), "http://"+host, func(s *shop) {
		route := s.router.HandleFunc("/callback", s.Action(add)).Methods("POST")
		s.Except(route, web.Exception{CrossOrigin: true})
	})
	for _, tt := range []struct {
		path, host, site string
		want             int
	}{
		{"/callback", host, "cross-site", 200},
		{"/callback/", host, "", 200},
		{"/add", host, "cross-site", 403},
		{"/callback/more", host, "cross-site", 403},
		{"/callback", "evil.example", "cross-site", 421},
	} {
		res, body := s.do("POST", tt.path, "item=tea", "Host", tt.host, "Sec-Fetch-Site", tt.site,
			"Origin", "https://login.example")
		if res.StatusCode != tt.want {
			t.Errorf("%v: got status %d and %q", tt, res.StatusCode, body)
		}
	}
}

// pipes is a listener for connections within a test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// pipeTo returns a connection to a server with time limits.
func pipeTo(h http.Handler) net.Conn {
	srv := &http.Server{
		Handler: h, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second,
	}
	ln := make(pipes)
	go srv.Serve(ln)
	client, conn := net.Pipe()
	ln <- conn
	close(ln)
	return client
}

// A body may come as slowly.
func TestSlowBody(t *testing.T) {
	for timeout, good := range map[time.Duration]bool{0: false, time.Minute: true} {
		synctest.Test(t, func(t *testing.T) {
			var got []byte
			var failed error
			client := pipeTo(newShop(t, insecure(), "", excepted(web.Exception{Timeout: timeout},
				func(w http.ResponseWriter, r *http.Request) { got, failed = io.ReadAll(r.Body) })))
			go io.Copy(io.Discard, client)
			fmt.Fprint(client, "POST /test-only HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
			time.Sleep(45 * time.Second)
			fmt.Fprint(client, "b")
			synctest.Wait()
			client.Close()
			if (string(got) == "ab" && failed == nil) != good {
				t.Errorf("%v: got %q and %v", timeout, got, failed)
			}
		})
	}
}

// A stream goes on beyond the server's time limits where its route has a longer one. It is
// ended with that.
func TestTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		0: "0", time.Minute: "01", time.Hour: "012",
	} {
		synctest.Test(t, func(t *testing.T) {
			ended := error(nil)
			s := newShop(t, insecure(), "", excepted(web.Exception{Timeout: timeout},
				func(w http.ResponseWriter, r *http.Request) {
					for i := range 3 {
						if ended = r.Context().Err(); ended == nil {
							fmt.Fprint(w, i)
							ended = http.NewResponseController(w).Flush()
						}
						time.Sleep(45 * time.Second)
					}
				}))
			client := pipeTo(s)
			fmt.Fprint(client, "GET /test-only HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			client.Close()
			synctest.Wait()
			if string(body) != want || (ended == nil) != (want == "012") {
				t.Errorf("%v: got %q and %v, want %q", timeout, body, ended, want)
			}
		})
	}
}

// Handlers that are no actions have the session as well. It is saved before the first byte.
func TestHandlersBesideActions(t *testing.T) {
	done := make(chan bool, 1)
	s := newShop(t, insecure(), "", func(s *shop) {
		add := func(path string, do http.HandlerFunc) {
			s.router.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				v := s.Sessions.Get(r.Context())
				v.Data.Items = append(v.Data.Items, path)
				do(w, r)
			})
		}
		add("/file", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, files(), "templates/static/app.js")
		})
		add("/json", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode("alert(1)")
		})
		add("/events", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: alert(1)\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		add("/socket", func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"+
				"Upgrade: websocket\r\n")
			w.Header().Write(rw)
			fmt.Fprint(rw, "\r\nalert(1)")
			rw.Flush()
		})
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		done <- true
	}))
	defer srv.Close()
	for path, status := range map[string]int{
		"/file": 200, "/json": 200, "/events": 200, "/socket": 101,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+path, nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len("data: alert(1)"))
		n, err := io.ReadAtLeast(res.Body, buf, len("alert(1)")) // while the stream goes on
		if res.StatusCode != status || !strings.Contains(string(buf[:n]), "alert(1)") ||
			err != nil || cookieIn(res) != "set" {
			t.Errorf("%s: got status %d, %q and %v", path, res.StatusCode, buf[:n], res.Header)
		}
		cancel()
		res.Body.Close()
		<-done
	}
	if got := fmt.Sprint(s.record.served); !strings.Contains(got, "GET /socket 101") {
		t.Errorf("got %s counted", got)
	}
}

// readPart reads the first part of what was sent.
func readPart(r *http.Request, _ *session) (web.Answer, error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return web.Answer{}, err
	}
	part, err := parts.NextPart()
	if err == nil {
		_, err = io.Copy(io.Discard, part)
	}
	return web.Answer{}, err
}

// An upload that ends too early, or comes too slowly, is no fault of the server's.
func TestUploadEndsEarly(t *testing.T) {
	const kind = "multipart/form-data; boundary=b"
	for name, body := range map[string]io.Reader{
		"nothing": strings.NewReader(""),
		"a part": strings.NewReader(
			"--b\r\nContent-Disposition: form-data; name=\"photo\"\r\n\r\nx"),
		"slowly": iotest.ErrReader(os.ErrDeadlineExceeded),
	} {
		s := newShop(t, insecure(), "", func(s *shop) {
			s.router.HandleFunc("/upload", s.Action(readPart))
		})
		r := httptest.NewRequest("POST", "/upload", body)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if log := s.log.String(); w.Code != 400 || strings.Contains(log, "level=ERROR") ||
			!strings.Contains(log, "request not read") {
			t.Errorf("%s: got status %d and the log %s", name, w.Code, log)
		}
	}
}

// What an action reads elsewhere, behind a form that came whole, is the server's fault.
func TestOtherReadsFail(t *testing.T) {
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded} {
		s := newShop(t, insecure(), "", func(s *shop) {
			note := func(r *http.Request, _ *session) (web.Answer, error) {
				if _, bad := web.Form(r); bad != nil {
					t.Error(bad)
				}
				return web.Answer{}, err
			}
			s.router.HandleFunc("/note", s.Action(note))
		})
		r := httptest.NewRequest("POST", "/note", strings.NewReader("item=tea"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if log := s.log.String(); w.Code != 500 || !strings.Contains(log, "level=ERROR") {
			t.Errorf("%v: got status %d and the log %s", err, w.Code, log)
		}
	}
}
