package floodlog_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/floodlog"
	"cookiesession/internal/testkit"
)

// limit is how many lines of a message there may be in a second.
const limit = 10

// newLog returns a bounded logger of all levels that writes to w.
func newLog(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	return slog.New(floodlog.New(slog.NewTextHandler(w, options)))
}

// wantLines checks how many lines with a text there are, and how many in all.
func wantLines(t *testing.T, log *testkit.Buffer, want map[string]int) {
	t.Helper()
	all := 0
	for text, n := range want {
		if got := strings.Count(log.String(), text); got != n {
			t.Errorf("got %d lines %s, want %d: %s", got, text, n, log)
		}
		all += n
	}
	if got := strings.Count(log.String(), "\n"); got != all {
		t.Errorf("got %d lines in all, want %d: %s", got, all, log)
	}
}

// At most ten lines of a message a second, and one that counts the rest, at the message's
// own level. DEBUG has no bound.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buffer := new(testkit.Buffer)
		log := newLog(buffer)
		for range 3 {
			for range 1000 {
				log.Debug("request")
				log.Info("cookie refused", "route", "/")
				log.Error("request failed")
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for range limit {
			log.Info("cookie refused", "route", "/")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantLines(t, buffer, map[string]int{
			`level=DEBUG msg=request`:                         3000,
			`level=INFO msg="cookie refused" route=/`:         4 * limit,
			`level=INFO msg="more: cookie refused" count=990`: 3,
			`level=ERROR msg="request failed"`:                3 * limit,
			`level=ERROR msg="more: request failed" count=99`: 3,
		})
	})
}

// Loggers that come of one share its bound, and keep what each adds.
func TestDerivedLoggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buffer := new(testkit.Buffer)
		log := newLog(buffer)
		with, group := log.With("from", "here"), log.WithGroup("client")
		for range limit / 2 {
			with.Warn("odd", "n", 1)
			group.Warn("odd", "n", 2)
		}
		with.Warn("odd")
		group.Warn("odd")
		log.Warn("odd")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantLines(t, buffer, map[string]int{
			"msg=odd from=here n=1\n":     limit / 2,
			"msg=odd client.n=2\n":        limit / 2,
			"msg=\"more: odd\" count=3\n": 1,
		})
	})
}

// Lines of net/http's own are bounded as two messages, whatever they say of the
// client, and whatever the logger is.
func TestLines(t *testing.T) {
	for name, newLog := range map[string]func(io.Writer) *slog.Logger{
		"bounded": newLog,
		"derived": func(w io.Writer) *slog.Logger { return newLog(w).With("from", "here") },
		"plain":   func(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				buffer := new(testkit.Buffer)
				lines := floodlog.Lines(newLog(buffer))
				for i := range 2 * limit {
					end := strings.Repeat("x", i) + "\n"
					io.WriteString(lines, "http: TLS handshake error from "+end)
					io.WriteString(lines, "http: something went wrong "+end)
				}
				io.WriteString(lines, "http: something else went wrong")
				time.Sleep(time.Minute)
				synctest.Wait()
				wantLines(t, buffer, map[string]int{
					`level=WARN msg="http: TLS handshake error from`:      limit,
					`level=WARN msg="http: something went wrong`:          limit,
					`level=WARN msg="more: TLS handshake error" count=10`: 1,
					`level=WARN msg="more: server error" count=11`:        1,
				})
			})
		})
	}
}

// A line of net/http's own is cut, because a client has a say in its length.
func TestLongLinesAreCut(t *testing.T) {
	buffer := new(testkit.Buffer)
	line := "http: TLS handshake error from 127.0.0.1:1: " + strings.Repeat("\x01", 64<<10)
	lines := floodlog.Lines(newLog(buffer))
	if n, err := io.WriteString(lines, line); n != len(line) || err != nil {
		t.Errorf("got %d and error %v", n, err)
	}
	log := buffer.String()
	if len(log) > 2000 || !strings.Contains(log, "handshake error from 127.0.0.1") {
		t.Errorf("got %d bytes: %.200s", len(log), log)
	}
}
