package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// badCookies returns what a flood brings in a round of ten: verdicts, and what gets them.
func badCookies(good, strange string) []struct{ verdict, header string } {
	tampered := flip(good)
	return []struct{ verdict, header string }{
		{"malformed", "session=garbage"},
		{"malformed", "session=" + strings.Repeat("/+", 500)},
		{"malformed", "session=" + good[:idLen+1]},
		{"tampered", "session=" + good[:len(good)-5] + "A"},
		{"tampered", "session=" + tampered},
		{"unknown key", "session=" + strange},
		{"too large", "session=" + good + strings.Repeat("A", 4096)},
		{"too large", "session=" + strings.Repeat("A", 20000)},
		{"tampered", strings.TrimSuffix(strings.Repeat("session="+tampered+"; ", 200), "; ")},
		{"valid", "session=x; session=" + good},
	}
}

// TestFlood sends a hundred thousand bad cookies to one process.
func TestFlood(t *testing.T) {
	slow(t)
	const clients, each = 8, 12500
	admin := testkit.FreeAddr(t)
	p := start(t, withKeyA, "-admin-addr", admin)
	host := strings.TrimPrefix(p.URL, "http://")
	good := newJar(t, p.URL, "Alice").value()
	strange := newJar(t, start(t, environ{keysVariable: keyC}).URL, "Alice").value()
	mix := badCookies(good, strange)
	hammer(t, host, 4000, func(int) (string, string) { return "session=" + good, "Name: Alice" })
	before := metricsOf(t, admin)

	began := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			hammer(t, host, each, func(i int) (string, string) {
				x := mix[i%len(mix)]
				if x.verdict == "valid" {
					return x.header, "Name: Alice"
				}
				return x.header, "Name not found in session"
			})
		})
	}
	wg.Wait()
	took := time.Since(began)

	after := metricsOf(t, admin)
	want := make(map[string]float64)
	for _, x := range mix {
		want[x.verdict] += clients * each / float64(len(mix))
	}
	for verdict, n := range want {
		got := countVerdict(t, after, verdict) - countVerdict(t, before, verdict)
		if got != n {
			t.Errorf("got %v cookies %s, want %v", got, verdict, n)
		}
	}
	if strings.Contains(after, `status="5`) {
		t.Errorf("got a status of 500 or more: %s", after)
	}
	const resident = "process_resident_memory_bytes "
	r, rAfter := testkit.Metric(t, before, resident), testkit.Metric(t, after, resident)
	t.Logf("%d requests in %v; resident memory %.1f MiB before, %.1f after",
		clients*each, took.Round(time.Second/10), r/(1<<20), rAfter/(1<<20))
	if rAfter > 2*r+32<<20 {
		t.Errorf("got %v bytes of resident memory after the flood, %v before", rAfter, r)
	}
	lines := strings.Count(p.Log.String(), "\n")
	if most := int(took/time.Second+3)*(floodLimit+1) + 10; lines > most {
		t.Errorf("got %d lines in the log, want %d at most", lines, most)
	}
	if !p.Log.Has("more: cookie refused") || p.Log.Has(good[idLen+1:idLen+30]) {
		t.Errorf("got the log %.2000s", p.Log)
	}
}

// countVerdict returns how many requests had this verdict.
func countVerdict(t testing.TB, page, verdict string) (sum float64) {
	t.Helper()
	const cookies = "cookiesession_cookies_total{"
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, cookies) && strings.Contains(line, `verdict="`+verdict+`"`) {
			sum += testkit.Metric(t, line, cookies)
		}
	}
	return sum
}

// hammer makes n requests on one connection and checks each answer.
func hammer(t testing.TB, host string, n int, request func(i int) (cookies, want string)) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i := range n {
		cookies, want := request(i)
		fmt.Fprintf(conn, "GET /get_name HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", host, cookies)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 || strings.TrimSpace(string(body)) != want ||
			res.Header["Set-Cookie"] != nil {
			t.Errorf("request %d: got status %d and %q, want %q", i, res.StatusCode, body, want)
			return
		}
	}
}

// TestSlowClients opens connections that never get anywhere. The server drops
// them in time, goes on meanwhile, and is afterwards as it was before.
func TestSlowClients(t *testing.T) {
	slow(t)
	t.Parallel() // it does little but wait, as does the fleet
	admin := testkit.FreeAddr(t)
	p := start(t, withKeyA, "-admin-addr", admin)
	host := strings.TrimPrefix(p.URL, "http://")
	hammer(t, host, 10, func(int) (string, string) { return "a=b", "Name not found in session" })
	goroutines := func() float64 {
		return testkit.Metric(t, metricsOf(t, admin), "go_goroutines ")
	}
	before := goroutines()

	const form = "POST /set_name HTTP/1.1\r\nHost: x\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	starts := []string{
		"",
		"GET /get_na",
		"GET /get_name HTTP/1.1\r\nHost: x\r\nCookie: session=",
		form + "Content-Length: 100\r\n\r\nname=Al",
		form + "Transfer-Encoding: chunked\r\n\r\n5\r\nna",
		"\x16\x03\x01\x02\x00\x01", // TLS, to a server that has none
	}
	const conns = 300
	var open []net.Conn
	for i := range conns {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, starts[i%len(starts)])
		if i%2 == 0 {
			conn.Close() // in the middle
			continue
		}
		open = append(open, conn)
	}
	hammer(t, host, 100, func(int) (string, string) { return "a=b", "Name not found in session" })
	during := goroutines()

	// Each is closed by the server, within its time limits.
	deadline := time.Now().Add(25 * time.Second)
	for i, conn := range open {
		conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Fatalf("connection %d is still open", i)
		}
	}
	testkit.AwaitTrue(t, "the goroutines to end", func() bool { return goroutines() <= before+2 })
	t.Logf("%d connections; %v goroutines before, %v during, %v after",
		conns, before, during, goroutines())
	if during < before+10 {
		t.Errorf("got %v goroutines during the attack, %v before: it wasn't one", during, before)
	}
	hammer(t, host, 10, func(int) (string, string) { return "a=b", "Name not found in session" })
}
