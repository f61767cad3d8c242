package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// TestFlood sends a hundred thousand bad cookies to one process. Each is refused and
// counted, and neither the log nor the memory fills.
func TestFlood(t *testing.T) {
	slow(t)
	const clients, each = 8, 12500
	p := start(t, withKeyA, "-admin-addr", "localhost:0")
	good := newJar(t, p.URL, "Alice").value()
	mix := []struct{ verdict, header string }{ // by turns
		{"malformed", "session=" + strings.Repeat("/+", 500)},
		{"tampered", "session=" + flip(good)},
		{"unknown key", "session=aaaaaa" + good[idLen:]},
		{"too large", "session=" + strings.Repeat("A", 20000)},
		{"tampered", strings.Repeat("session="+flip(good)+"; ", 200) + "a=b"},
	}
	before, began := metricsOf(t, p), time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			hammer(t, p, each, func(i int) string { return mix[i%len(mix)].header })
		})
	}
	wg.Wait()
	took, after := time.Since(began), metricsOf(t, p)
	want := make(map[string]int)
	for _, x := range mix {
		want[x.verdict] += clients * each / len(mix)
	}
	for verdict, n := range want {
		line := regexp.MustCompile(fmt.Sprintf(`verdict="%s"} %g\n`, verdict, float64(n)))
		if !line.MatchString(after) {
			t.Errorf("got not %d cookies %s: %s", n, verdict, after)
		}
	}
	const resident = "process_resident_memory_bytes "
	r, rAfter := testkit.Metric(t, before, resident), testkit.Metric(t, after, resident)
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

// hammer makes n requests on one connection, each of which finds no session.
func hammer(t testing.TB, p *testkit.Server, n int, cookies func(i int) string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i := range n {
		fmt.Fprintf(conn, "GET /get_name HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n", cookies(i))
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 || string(body) != "Name not found in session\n" ||
			res.Header["Set-Cookie"] != nil {
			t.Errorf("request %d: got status %d and %q", i, res.StatusCode, body)
			return
		}
	}
}

// Connections that never get anywhere are dropped in time. The server goes on meanwhile,
// and is afterwards as it was before.
func TestSlowClients(t *testing.T) {
	slow(t)
	t.Parallel() // it does little but wait, as does the fleet
	p := start(t, withKeyA, "-admin-addr", "localhost:0")
	goroutines := func() float64 { return testkit.Metric(t, metricsOf(t, p), "go_goroutines ") }
	before := goroutines()
	const form = "POST /set_name HTTP/1.1\r\nHost: x\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	var open []net.Conn
	for range 50 {
		for _, begins := range []string{
			"", "GET /get_name HTTP/1.1\r\nHost: x\r\nCookie: session=",
			form + "Content-Length: 100\r\n\r\nname=Al",
			form + "Transfer-Encoding: chunked\r\n\r\n5\r\nna",
		} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, begins)
			open = append(open, conn)
		}
	}
	hammer(t, p, 100, func(int) string { return "a=b" })
	if during := goroutines(); during < before+100 {
		t.Errorf("got %v goroutines during the attack, %v before: it wasn't one", during, before)
	}
	deadline := time.Now().Add(25 * time.Second)
	for i, conn := range open {
		conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Fatalf("connection %d is still open", i)
		}
	}
	testkit.AwaitTrue(t, "the goroutines to end", func() bool { return goroutines() <= before+2 })
}
