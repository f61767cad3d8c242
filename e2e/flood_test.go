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

// TestFlood sends a hundred thousand bad cookies to one process.
func TestFlood(t *testing.T) {
	slow(t)
	const (
		clients = 8
		each    = 12500
	)
	admin := testkit.FreeAddr(t)
	p := start(t, withKeyA, "-admin-addr", admin)
	host := strings.TrimPrefix(p.URL, "http://")
	good := newJar(t, p.URL, "Alice").value()
	tampered := flip(good)
	strange := newJar(t, start(t, environ{keysVariable: keyC}).URL, "Alice").value()
	hundreds := strings.TrimSuffix(strings.Repeat("session="+tampered+"; ", 200), "; ")
	// By verdict, what to send and how often in a round of ten.
	mix := []struct{ verdict, header string }{
		{"malformed", "session=garbage"},
		{"malformed", "session=" + strings.Repeat("/+", 500)},
		{"malformed", "session=" + good[:idLen+1]},
		{"tampered", "session=" + good[:len(good)-4]},
		{"tampered", "session=" + tampered},
		{"unknown key", "session=" + strange},
		{"too large", "session=" + good + strings.Repeat("A", 4096)},
		{"too large", "session=" + strings.Repeat("A", 20000)},
		{"tampered", hundreds},
		{"valid", "session=x; session=" + good},
	}
	measure := func() (mallocs, cpu float64) {
		before := metricsOf(t, admin)
		const n = 2000
		hammer(t, host, n, func(int) (string, string) { return "session=" + good, "Name: Alice" })
		after := metricsOf(t, admin)
		per := func(name string) float64 {
			return (testkit.Metric(t, after, name) - testkit.Metric(t, before, name)) / n
		}
		return per("go_memstats_mallocs_total "), per("process_cpu_seconds_total ")
	}
	measure() // warms up
	mallocs, cpu := measure()
	page := metricsOf(t, admin)
	before := make(map[string]float64)
	for _, x := range mix {
		before[x.verdict] = countVerdict(t, page, x.verdict)
	}
	resident := testkit.Metric(t, page, "process_resident_memory_bytes ")

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

	page = metricsOf(t, admin)
	want := make(map[string]float64)
	for _, x := range mix {
		want[x.verdict] += clients * each / float64(len(mix))
	}
	for verdict, n := range want {
		if got := countVerdict(t, page, verdict) - before[verdict]; got != n {
			t.Errorf("got %v cookies %s, want %v", got, verdict, n)
		}
	}
	for line := range strings.Lines(page) {
		if strings.Contains(line, `status="5`) {
			t.Errorf("got %s", line)
		}
	}
	after := testkit.Metric(t, page, "process_resident_memory_bytes ")
	mallocsAfter, cpuAfter := measure()
	t.Logf("%d requests in %v; resident memory %.1f MiB before, %.1f after; "+
		"a good request took %.1f allocations before, %.1f after, and %.2f times the time",
		clients*each, took.Round(time.Second/10), resident/(1<<20), after/(1<<20),
		mallocs, mallocsAfter, cpuAfter/cpu)
	if after > 2*resident+32<<20 {
		t.Errorf("got %v bytes of resident memory after the flood, %v before", after, resident)
	}
	if mallocsAfter > 1.1*mallocs+1 {
		t.Errorf("got %v allocations for a request afterwards, %v before", mallocsAfter, mallocs)
	}
	lines := strings.Count(p.Log.String(), "\n")
	if most := int(took/time.Second+3)*(floodLimit+1) + 10; lines > most {
		t.Errorf("got %d lines in the log, want %d at most", lines, most)
	}
	if !strings.Contains(p.Log.String(), "more: cookie refused") ||
		strings.Contains(p.Log.String(), good[idLen+1:idLen+30]) {
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
