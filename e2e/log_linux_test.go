package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// startPiped starts the program with a pipe as its log, of which only what it says at the
// start has been read. That is what log has.
func startPiped(t *testing.T, args ...string) (p *testkit.Server, pipe *os.File,
	log *testkit.Buffer) {
	t.Helper()
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	cmd := program(t, withKeyA, append([]string{"-addr", "localhost:0"}, args...)...)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p = &testkit.Server{Cmd: cmd, Wait: sync.OnceValue(cmd.Wait)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		p.Wait()
	})
	log = new(testkit.Buffer)
	for p.URL == "" {
		if _, err := io.CopyN(log, pipe, 1); err != nil {
			t.Fatalf("the program has ended: %s", log)
		}
		if m := testkit.Listening.FindStringSubmatch(log.String()); m != nil {
			p.URL = m[1]
		}
	}
	return p, pipe, log
}

// refuseMany has the program log more than its queue and a pipe hold: two lines for each
// of 10,000 cookies that have expired.
func refuseMany(t *testing.T, p *testkit.Server) {
	t.Helper()
	old := bake(t, keyA, "Alice", time.Now().Add(-30*24*time.Hour), overHTTP)
	var wg sync.WaitGroup
	began := time.Now()
	for range 8 {
		wg.Go(func() { hammer(t, p, 1250, func(int) string { return plainCookie + "=" + old }) })
	}
	wg.Wait()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("got 10,000 answers after %v", took)
	}
}

// endOfPiped ends a program, and returns how long that took.
func endOfPiped(t *testing.T, p *testkit.Server) time.Duration {
	t.Helper()
	began := time.Now()
	p.Cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan error)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("got no end after 20 s")
	}
	return time.Since(began)
}

// wantWhole checks that each line of a log is whole.
func wantWhole(t *testing.T, log *testkit.Buffer) {
	t.Helper()
	text := regexp.MustCompile(`^time=\S+ level=[A-Z]+ msg=("[^"]+"|\w+)` +
		`( \w+=("[^"]*"|[^ "]*))*\n$`)
	for line := range strings.Lines(log.String()) {
		isJSON := json.Valid([]byte(line)) && strings.HasSuffix(line, "\n")
		if !isJSON && !text.MatchString(line) {
			t.Errorf("got the line %q", line)
		}
	}
}

var losses = regexp.MustCompile(`log lines lost(?:" count=|","count":)(\d+)`)

// tally returns how many lines of the program a log has, and how many it says are lost.
func tally(log *testkit.Buffer) (n, lost int) {
	text := log.String()
	n = strings.Count(text, "\n")
	for _, m := range losses.FindAllStringSubmatch(text, -1) {
		count, _ := strconv.Atoi(m[1]) // it is a number
		n, lost = n-1, lost+count
	}
	return n, lost
}

// Nobody waits for a log that nobody reads: neither requests nor the end. Each line in it is
// whole, and when somebody reads again, the log tells how many are missing.
func TestStalledLog(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		admin := testkit.FreeAddr(t)
		p, pipe, log := startPiped(t, "-log-level", "debug", "-log-format", format,
			"-admin-addr", admin)
		refuseMany(t, p)
		read := make(chan struct{})
		go func() {
			io.Copy(log, pipe)
			close(read)
		}()
		const start, end = 3, 2 // starting and listening, shutting down and ended
		testkit.AwaitTrue(t, "all lines", func() bool {
			n, lost := tally(log)
			return n+lost == 20_000+start && lost > 0
		})
		_, lost := tally(log)
		_, page := testkit.Send(t, "GET", "http://"+admin+"/metrics", "", http.Header{})
		metric := fmt.Sprintf("\ncookiesession_log_lines_lost_total %d\n", lost)
		if !strings.Contains(page, metric) {
			t.Errorf("%s: got no %q in the metrics", format, metric)
		}
		endOfPiped(t, p)
		<-read
		wantWhole(t, log)
		if n, lost := tally(log); n+lost != 20_000+start+end {
			t.Errorf("%s: got %d lines and %d lost, want 20,005 in all", format, n, lost)
		}

		p, pipe, log = startPiped(t, "-log-level", "debug", "-log-format", format)
		refuseMany(t, p)
		if took := endOfPiped(t, p); took > 5*time.Second {
			t.Errorf("%s: got the end after %v", format, took)
		}
		io.Copy(log, pipe)
		wantWhole(t, log)
		if n, _ := tally(log); n < 200 {
			t.Errorf("%s: got %d lines, want what the pipe holds", format, n)
		}
	}
}

// The program outlives the reader of its log.
func TestLogReaderGone(t *testing.T) {
	slow(t)
	p, pipe, _ := startPiped(t, "-log-level", "debug")
	pipe.Close()
	if got := newJar(t, p.URL, "Alice").ask(p.URL); got != "Name: Alice" {
		t.Errorf("got %q", got)
	}
	endOfPiped(t, p)
}
