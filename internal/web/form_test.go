package web_test

import (
	"bufio"
	"bytes"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/web"
)

// multipartForm returns a form with a field item and a file.
func multipartForm(t testing.TB, size int) (kind, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.WriteField("item", "milk")
	file, err := w.CreateFormFile("photo", "x.jpg")
	if err != nil {
		t.Fatal(err)
	}
	file.Write(make([]byte, size))
	w.Close()
	return w.FormDataContentType(), b.String()
}

func TestBodies(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere/at/all") // there may be no disk
	const form = "application/x-www-form-urlencoded"
	multi, good := multipartForm(t, 60<<10)
	multi2, large := multipartForm(t, 64<<10)
	manyParts := strings.Repeat("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n", 1001) +
		"--x--\r\n"
	tests := []struct {
		name, kind, query, body string
		status                  int
		says                    string
	}{
		{"form", form, "", "item=milk", 200, ""},
		{"form with charset", form + "; charset=UTF-8", "", "item=milk", 200, ""},
		{"form in capitals", "Application/X-WWW-Form-Urlencoded", "", "item=milk", 200, ""},
		{"in the query as well", form, "?item=Eve", "item=milk", 200, ""},
		{"broken query", form, "?%zz;item", "item=milk", 200, ""},
		{"64 KiB", form, "", "item=milk&x=" + strings.Repeat("x", web.MaxBody-12), 200, ""},
		{"64 KiB and a byte", form, "", "item=milk&x=" + strings.Repeat("x", web.MaxBody-11), 413,
			"65536"},
		{"semicolon", form, "", "item=milk;Eve", 400, ""},
		{"bad escape", form, "", "item=%zz", 400, ""},
		{"multipart", multi, "", good, 200, ""},
		{"multipart too large", multi2, "", large, 413, "65536"},
		{"multipart without boundary", "multipart/form-data", "", good, 400, ""},
		{"multipart, many parts", "multipart/form-data; boundary=x", "", manyParts, 413,
			"too many parts"},
		{"JSON", "application/json", "", `{"item":"milk"}`, 415, "Send a form: "},
		{"broken type", form + "; charset", "", "item=milk", 415, ""},
	}
	s := newShop(t, insecure(), "")
	for _, tt := range tests {
		res, body := s.do("POST", "/add"+tt.query, tt.body, "Content-Type", tt.kind)
		if res.StatusCode != tt.status || !strings.Contains(body, tt.says) || tt.status != 200 &&
			cookieIn(res) != "" {
			t.Errorf("%s: got status %d, %q and header %v, want %d", tt.name, res.StatusCode, body,
				res.Header, tt.status)
		}
		if tt.status == 200 && body != "Added milk\n" {
			t.Errorf("%s: got %q", tt.name, body)
		}
	}
	if res, _ := s.do("POST", "/add", "item=milk", "Content-Encoding",
		"gzip"); res.StatusCode != 415 {
		t.Errorf("compressed: got status %d, want 415", res.StatusCode)
	}
}

// A refused post is answered at once, although its body never comes.
func TestRefusedWithoutABody(t *testing.T) {
	srv := httptest.NewServer(newShop(t, insecure(), ""))
	defer srv.Close()
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	for request, status := range map[string]int{
		"/nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10": 404,
		"/nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked":                 404,
		"/cart HTTP/1.1\r\nHost: x\r\nContent-Length: 100000":                        405,
		"/add HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nContent-Length: 100000":         403,
		"/add HTTP/1.1\r\nHost: x\r\nContent-Type: x/y\r\nContent-Length: 9999":      415,
		"/add HTTP/1.1\r\nHost: x\r\n" + form + "Content-Length: 65537":              413,
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		io.WriteString(conn, "POST "+request+"\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != status || !res.Close {
			t.Errorf("%q: got %v and %v, want %d at once, and the end", request, res, err, status)
		}
	}
}

// zeros is a body that goes on until it has been read too far.
type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left <= 0 {
		return 0, io.EOF
	}
	z.left -= len(p)
	return len(p), nil
}

// Who is refused while a body may still come loses a connection of HTTP/1.1. One of HTTP/2
// has other requests on it, and stays.
func TestRefusedOverHTTP2(t *testing.T) {
	s := newShop(t, insecure(), "")
	for major, want := range map[int]string{1: "close", 2: ""} {
		r, w := request("POST", "/nowhere", "item=tea"), httptest.NewRecorder()
		r.ProtoMajor = major
		s.ServeHTTP(w, r)
		if got := w.Result().Header.Get("Connection"); got != want || w.Code != 404 {
			t.Errorf("HTTP/%d: got status %d and Connection: %s", major, w.Code, got)
		}
	}
}

// Of a body that is too large no more than the limit is read, and the connection ends,
// also where its length isn't known, or the handler is no action.
func TestOversizedBodies(t *testing.T) {
	srv := httptest.NewServer(newShop(t, insecure(), "",
		plain(func(_ *shop, _ http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			if n != web.MaxBody || err == nil {
				t.Errorf("got %d bytes of a body that is too large", n)
			}
		})))
	defer srv.Close()
	for _, tt := range []struct {
		path, kind, start string
		status            int
	}{
		{"/add", "application/x-www-form-urlencoded", "item=milk&x=", 413},
		{"/add", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=photo\r\n\r\n", 413},
		{"/test-only", "x/y", "", 200},
	} {
		body := io.MultiReader(strings.NewReader(tt.start), &zeros{left: web.MaxBody + 9999})
		res, err := http.Post(srv.URL+tt.path, tt.kind, body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.status || !res.Close {
			t.Errorf("%s as %s: got status %d, connection closed %v", tt.path, tt.kind,
				res.StatusCode, res.Close)
		}
	}
}
