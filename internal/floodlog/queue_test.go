package floodlog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/floodlog"
	"cookiesession/internal/testkit"
)

// stalled is a writer that takes lines only while its channel is closed.
type stalled struct {
	testkit.Buffer
	goOn chan struct{}
}

func (s *stalled) Write(line []byte) (int, error) {
	<-s.goOn
	return s.Buffer.Write(line)
}

// Nobody waits for a writer that stands still. What is lost then are the oldest lines, each
// is counted, and the first line that gets through afterwards says how many.
func TestStalledWriter(t *testing.T) {
	for _, tt := range []struct {
		made, size int
		json       bool
		kept       int // with the line that is being written
		told       string
	}{
		{made: 10_000, size: 200, kept: 10_000},
		{
			made: 30_000, size: 20, kept: 16<<10 + 1,
			told: `level=WARN msg="log lines lost" count=13615`,
		},
		{
			made: 30_000, size: 20, json: true, kept: 16<<10 + 1,
			told: `"level":"WARN","msg":"log lines lost","count":13615}`,
		},
		{made: 1500, size: 2048, kept: 2<<20/2048 + 1, told: `msg="log lines lost" count=475`},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &stalled{goOn: make(chan struct{})}
			q, began := floodlog.NewQueue(w, tt.json, false), time.Now()
			line := func(i int) string { return fmt.Sprintf("%-*d\n", tt.size-1, i) }
			for i := range tt.made {
				q.Write([]byte(line(i)))
				if i == 0 {
					synctest.Wait() // until it is being written
				}
			}
			q.Flush(time.Second)
			if took := time.Since(began); took != time.Second {
				t.Errorf("got an end after %v", took)
			}
			close(w.goOn)
			q.Flush(time.Second)
			if took := time.Since(began); took != time.Second || q.Lost() != uint64(tt.made-tt.kept) {
				t.Errorf("got %d lines lost of %d, after %v", q.Lost(), tt.made, took)
			}
			first, rest, _ := strings.Cut(w.String(), "\n")
			if tt.told != "" {
				var told string
				if told, rest, _ = strings.Cut(rest, "\n"); !strings.HasSuffix(told, tt.told) {
					t.Errorf("got %s, want %s", told, tt.told)
				}
			}
			var want strings.Builder
			for i := tt.made - tt.kept + 1; i < tt.made; i++ {
				want.WriteString(line(i))
			}
			if first+"\n" != line(0) || rest != want.String() {
				t.Errorf("got %s and %.100q, want the first line and the last ones", first, rest)
			}
			q.Flush(time.Second) // of nothing
			if took := time.Since(began); took != time.Second {
				t.Errorf("got the next end after %v", took)
			}
		})
	}
}

// coy is a value that has a text for logs.
type coy struct{ secret string }

func (coy) LogValue() slog.Value { return slog.StringValue("shown") }

// Whatever is in a line, it is one, is valid, and is as long as a pipe takes it whole.
func TestWholeLines(t *testing.T) {
	long := strings.Repeat("x\x01\"é\n", 2000)
	for _, isJSON := range []bool{false, true} {
		w := new(testkit.Buffer)
		q := floodlog.NewQueue(w, isJSON, false)
		log := q.Logger(slog.LevelInfo)
		log.Error("panic in a handler", "stack", long, "coy", coy{long})
		log.Error("two", "err", errors.New(long), "keys", strings.Split(long, "\n"))
		log.Error(long, "n", 1)
		if n, err := q.Write([]byte(long)); n != 0 || err == nil {
			t.Errorf("got %d bytes and %v for a line that is too long", n, err)
		}
		q.Flush(time.Minute)
		lines := strings.SplitAfter(w.String(), "\n")
		for _, line := range lines[:3] {
			ok := strings.HasSuffix(line, "\"\n") || strings.HasSuffix(line, " n=1\n") ||
				strings.HasSuffix(line, " coy=shown\n")
			if isJSON {
				ok = json.Valid([]byte(line))
			}
			if len(line) > 4000 || len(line) < 100 || !ok {
				t.Errorf("got %d bytes: %s", len(line), line)
			}
		}
		if len(lines) != 4 || !strings.Contains(lines[0], "shown") {
			t.Errorf("got %d lines: %s", len(lines)-1, w)
		}
	}
}

// A line whose message and values can't be cut far enough is still one, and says so.
func TestLinesThatCannotBeCut(t *testing.T) {
	long, many := strings.Repeat("x", 5000), make([]any, 400)
	for i := range many {
		many[i] = slog.Int(strings.Repeat("n", 10), i)
	}
	for _, isJSON := range []bool{false, true} {
		w := new(testkit.Buffer)
		q := floodlog.NewQueue(w, isJSON, false)
		log := q.Logger(slog.LevelInfo)
		log.With("a", long).Warn("with")
		log.WithGroup(long).Warn("group", "a", 1)
		log.Warn("many", many...)
		log.Warn("name", long, 1)
		log.With("a", long).Warn(strings.Repeat("\x01", 5000))
		q.Flush(time.Minute)
		said := strings.Count(w.String(), "the rest of this line was too long")
		if lines := strings.Count(w.String(), "\n"); lines != 5 || said != 5 || q.Lost() > 0 {
			t.Errorf("JSON %v: got %d lines, %d cut: %s", isJSON, lines, said, w)
		}
	}
}

// At the end it is told what was only counted until then, once, and cut if it is long.
func TestFlushTellsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(testkit.Buffer)
		q := floodlog.NewQueue(w, false, false)
		log, long := q.Logger(slog.LevelInfo), strings.Repeat("x", 5000)
		for range 15 {
			log.With("from", "here").Warn("refused")
			log.Error(long)
		}
		q.Flush(time.Minute)
		log.Warn("refused") // which begins another second
		time.Sleep(time.Minute)
		q.Flush(time.Minute)
		for text, want := range map[string]int{
			"level=WARN msg=\"more: refused\" count=5\n": 1, "level=ERROR msg=\"more: xxx": 1,
			"level=WARN msg=refused ": 10, "level=WARN msg=refused\n": 1, "more: ": 2,
		} {
			if got := strings.Count(w.String(), text); got != want {
				t.Errorf("got %d times %q, want %d: %.2000s", got, text, want, w)
			}
		}
	})
}

// bad is a writer that takes as many bytes of each line as it says, and fails unless that
// is all.
type bad struct {
	testkit.Buffer
	takes []int
}

func (b *bad) Write(line []byte) (int, error) {
	n := len(line)
	if len(b.takes) > 0 {
		n, b.takes = b.takes[0], b.takes[1:]
	}
	b.Buffer.Write(line[:n])
	if n < len(line) {
		return n, errors.New("the disk is full")
	}
	return n, nil
}

// What a writer has refused is lost, and told when it takes lines again. What it has taken
// by halves gets its end.
func TestBadWriter(t *testing.T) {
	// What tells the loss comes before each line but the first.
	w := &bad{takes: []int{0, 0, 3, 0, 0}}
	q := floodlog.NewQueue(w, false, false)
	for _, line := range []string{"one\n", "second\n", "third\n", "fourth\n"} {
		q.Write([]byte(line))
		q.Flush(time.Minute)
	}
	_, told, _ := strings.Cut(w.String(), "level=WARN ")
	if want := "msg=\"log lines lost\" count=3\nfourth\n"; told != want || q.Lost() != 3 ||
		!strings.HasPrefix(w.String(), "sec\ntime=") {
		t.Errorf("got %d lines lost, and %q", q.Lost(), w)
	}
	w.takes = []int{0} // and none by halves before
	for _, line := range []string{"fifth\n", "sixth\n"} {
		q.Write([]byte(line))
		q.Flush(time.Minute)
	}
	if !strings.Contains(w.String(), "fourth\ntime=") {
		t.Errorf("got %q, want no empty line", w)
	}
}
