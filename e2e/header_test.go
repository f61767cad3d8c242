package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"

	"github.com/chromedp/cdproto/network"
)

// TestLargeHeaders sends headers of each kind and size, over both protocols. What the program
// reads it answers itself, and the rest is Go's to refuse.
func TestLargeHeaders(t *testing.T) {
	cert, key, _ := testkit.NewCertificate(t)
	p := start(t, withKeyA, "-tls-cert", cert, "-tls-key", key)
	many := func(n int, name, value string) (all []string) {
		for i := range n {
			all = append(all, strings.ReplaceAll(name, "#", fmt.Sprint(i)),
				strings.ReplaceAll(value, "#", fmt.Sprint(i)))
		}
		return all
	}
	field := func(n int) []string { return many(1, "x", strings.Repeat("x", n)) }
	cookies := func(n int) []string { return many(n, "cookie", "c#="+strings.Repeat("x", 4000)) }
	largest := func(n int) []string { _, all := manyCookies(n); return all }
	const read, page, bare, ended = "A session in a signed cookie", "Delete this site's cookies",
		"Request Header Field", ""
	for _, tt := range []struct {
		what         string
		fields       []string
		http1, http2 string
	}{
		{"one field of 33 KB", field(33 << 10), read, read},
		{"one field of 40 KB", field(40 << 10), page, page},
		{"one field of 63 KB", field(63 << 10), page, page},
		{"one field of 100 KB", field(100 << 10), bare, ended},
		{"8 cookies of 4 KB", cookies(8), read, read},
		{"10 cookies of 4 KB", cookies(10), page, page},
		{"16 cookies of 4 KB", cookies(16), page, page},
		{"16 cookies of 4 KB and more", append(cookies(16), field(1500)...), page, bare},
		{"25 cookies of 4 KB", cookies(25), bare, ended},
		{"16 cookies of 4,096 bytes", largest(16), page, bare},
		{"17 cookies of 4,096 bytes", largest(17), bare, bare},
		{"180 cookies of 4 KB", cookies(180), bare, ended},
		{"3,000 cookies", many(1, "cookie", strings.Repeat("a=b; ", 3000)), read, read},
		{"forty small fields", many(40, "x-#", "y"), read, read},
		{"200 small fields", many(200, "x-#", "y"), page, page},
		{"5,000 small fields", many(5000, "x#", ""), page, ended},
	} {
		if got := askHTTP1(t, p.URL, tt.fields); !answers(got, tt.http1) {
			t.Errorf("%s over HTTP/1.1: got %.200q, want %q", tt.what, got, tt.http1)
		}
		if got := askHTTP2(t, p.URL, tt.fields); !answers(got, tt.http2) {
			t.Errorf("%s over HTTP/2: got %.200q, want %q", tt.what, got, tt.http2)
		}
	}
}

// manyCookies returns a header with cookies that are as large as browsers take them, in the
// form of each protocol.
func manyCookies(n int) (line, crumbs []string) {
	all := make([]string, n)
	for i := range all {
		name := fmt.Sprint("c", i)
		all[i] = name + "=" + strings.Repeat("x", sessions.MaxSize-len(name))
		crumbs = append(crumbs, "cookie", all[i])
	}
	return []string{"cookie", strings.Join(all, "; ")}, crumbs
}

// A proxy has no limits of its own below the program's: as many cookies as it answers by
// itself come through each as they would without one.
func TestLargeHeadersBehindAProxy(t *testing.T) {
	slow(t)
	for _, tool := range []string{"haproxy", "caddy", "nginx"} {
		t.Run(tool, func(t *testing.T) {
			testkit.NeedTool(t, tool)
			plain, admin, front := testkit.FreeAddr(t), testkit.FreeAddr(t), testkit.FreeAddr(t)
			base := "https://" + strings.Replace(front, "127.0.0.1", "localhost", 1)
			copies := startBehind(t, base)
			switch tool {
			case "haproxy":
				cert, key, _ := testkit.NewCertificate(t)
				startHAProxy(t, cert, key, plain, front, admin, copies...)
			case "caddy":
				startCaddy(t, base, plain, copies...)
			case "nginx":
				startNginx(t, plain, front, copies...)
			}
			for n, want := range map[int]string{
				5: "A session in a signed cookie", 9: "Delete this site's cookies",
				12: "Delete this site's cookies", 16: "Delete this site's cookies",
			} {
				line, crumbs := manyCookies(n)
				if got := askHTTP1(t, base, line); !answers(got, want) {
					t.Errorf("%d over HTTP/1.1: got %.200q, want %q", n, got, want)
				}
				if got := askHTTP2(t, base, crumbs); !answers(got, want) {
					t.Errorf("%d over HTTP/2: got %.200q, want %q", n, got, want)
				}
			}
		})
	}
}

// answers reports whether an answer has a text in it, or is as empty.
func answers(got, want string) bool {
	return strings.Contains(got, want) && (got == "") == (want == "")
}

// dialTLS connects to a site with one of both protocols.
func dialTLS(t testing.TB, base, protocol string) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(base, "https://"), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// askHTTP1 asks for the home page with more fields, and returns the answer.
func askHTTP1(t *testing.T, base string, fields []string) string {
	conn := dialTLS(t, base, "http/1.1")
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", base[len("https://"):])
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", fields[i], fields[i+1])
	}
	b.WriteString("\r\n")
	go conn.Write(b.Bytes()) // which fails once it has heard enough
	all, _ := io.ReadAll(conn)
	return string(all)
}

// askHTTP2 is the same over HTTP/2. The answer is empty if the connection has ended.
func askHTTP2(t *testing.T, base string, fields []string) string {
	conn := dialTLS(t, base, "h2")
	block := testkit.HTTP2Fields(append([]string{":method", "GET", ":scheme", "https",
		":authority", base[len("https://"):], ":path", "/"}, fields...)...)
	go conn.Write(append([]byte(testkit.HTTP2Preface), testkit.HTTP2Header(1, 4|1, block)...))
	for r := bufio.NewReader(conn); ; {
		kind, _, payload, err := testkit.ReadHTTP2Frame(r)
		switch {
		case err != nil || kind == testkit.HTTP2GoAway:
			return ""
		case kind == testkit.HTTP2Data:
			return string(payload)
		}
	}
}

// sibling serves a site at www.shop.example, which gives its visitors as many cookies of
// 4,000 bytes for all of shop.example, at a path, as it is asked for, and one of its own.
func sibling(t *testing.T) (base string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		fmt.Sscan(r.FormValue("n"), &n)
		for i := range 30 {
			c := http.Cookie{Name: fmt.Sprint("c", i), Value: strings.Repeat("x", 4000)}
			if c.Domain, c.Path = "shop.example", r.FormValue("path"); i >= n {
				c.MaxAge = -1
			}
			http.SetCookie(w, &c)
		}
		http.SetCookie(w, &http.Cookie{Name: "own", Value: "1"})
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><title>Sibling</title><link rel="icon" href="data:,">`)
	}))
	t.Cleanup(srv.Close)
	return "http://www.shop.example" + srv.URL[strings.LastIndex(srv.URL, ":"):]
}

// besideSibling starts the program at app.shop.example, and a browser that knows the site and
// its sibling.
func besideSibling(t *testing.T, scheme string, flags ...string) *tab {
	t.Helper()
	slow(t)
	cert, key, _ := testkit.NewCertificate(t, "app.shop.example")
	_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
	flags = append(flags, "-addr", "localhost:"+port)
	if scheme == "https" {
		flags = append(flags, "-tls-cert", cert, "-tls-key", key)
	}
	start(t, withKeyA, flags...)
	b := bindingTab(t, scheme+"://app.shop.example:"+port, cert)
	b.sibling = sibling(t)
	return b
}

// fill has the sibling fill the browser's jar.
func (b *tab) fill(n int, path string) {
	b.t.Helper()
	b.visit(fmt.Sprintf("%s/?n=%d&path=%s", b.sibling, n, path))
}

// A sibling host's cookies make the site unreadable for a browser. Its page has a style and
// says what to do and, where browsers know how, does it with one click.
func TestBrowserManyCookies(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		b := besideSibling(t, scheme)
		b.fill(12, "/")
		b.open("/set_name")
		b.wantText("Delete this site's cookies")
		b.wantText("delete its cookies")
		if eval[int](b, `document.styleSheets[0].cssRules.length`) == 0 {
			t.Error("got a page without its style")
		}
		if scheme == "http" {
			if eval[int](b, `document.forms.length`) != 0 {
				t.Error("got a button that browsers ignore without TLS")
			}
			continue
		}
		b.click("main form button")
		if at := eval[string](b, `location.pathname`); at != "/" {
			t.Errorf("got to %s, want the home page", at)
		}
		b.setName("Alice")
		b.wantText("Name Alice set in session")
		// As the page says, the sibling has lost its own cookie as well.
		left := call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.sibling}})
		if len(left.Cookies) != 0 {
			t.Errorf("got %d cookies of the sibling's", len(left.Cookies))
		}
	}
}

// What a sibling host does to the address that renews a binding ends it only where Go answers
// by itself, and then one click leads back. It never reads a session.
func TestBindManyCookies(t *testing.T) {
	t.Parallel()
	b := besideSibling(t, "https", "-bind", bindTicket.String())
	b.setName("Alice")
	wantBound(b)
	for _, tt := range []struct {
		n    int
		want string // once the cookies are gone
	}{
		{12, "Name: Alice"}, {25, "Name: Alice"}, {17, "refused: unproven"},
	} {
		b.fill(tt.n, "/session")
		time.Sleep(ranOut)
		b.open("/get_name")
		b.wantText("refused: unproven")
		b.fill(0, "/session")
		b.open("/get_name")
		b.wantText(tt.want)
	}
	b.click(`main form[action="/clear_name"] button`)
	b.wantText("Name cleared from session")
	b.setName("Bob")
	b.wantText("Name Bob set in session")
	wantBound(b)
}
