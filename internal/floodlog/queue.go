package floodlog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxLines = 16 << 10 // in a queue
	maxBytes = 2 << 20

	// maxWhole is how many bytes a line may have. Linux writes 4096 (PIPE_BUF) to a pipe
	// as one piece or not at all, also where the process ends meanwhile or others write
	// as well. Some are left for what put adds.
	maxWhole = 4000
)

// Queue stands between a log and its writer. So nobody waits for a writer that is slow,
// or stands still: of more than 16,384 lines, or 2 MiB, the oldest are dropped. Those are
// counted, and told in a line of their own before the next one that gets through.
type Queue struct {
	w       io.Writer
	json    bool
	journal bool
	lost    atomic.Uint64

	told uint64 // how many of the lost lines were; only for drain, as torn is
	torn bool   // only a part of the last line was written

	mu     sync.Mutex
	floods []*flood // of the loggers
	lines  [][]byte // the oldest first
	bytes  int
	done   chan struct{} // closed when all lines are written; nil while there are none
}

// NewQueue returns a queue of lines for w, whose loggers write text or JSON. For systemd's
// journal, each line begins with its priority, such as <3>.
func NewQueue(w io.Writer, json, journal bool) *Queue {
	return &Queue{w: w, json: json, journal: journal}
}

// Logger returns a logger that writes lines to the queue, from a level on. Its handler is
// one of New. A line that is too long is cut.
func (q *Queue) Logger(level slog.Leveler) *slog.Logger {
	h := New(q.format(q, level)).(*handler)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.floods = append(q.floods, h.flood)
	return slog.New(h)
}

func (q *Queue) format(w io.Writer, level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if q.json {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

var errTooLong = errors.New("floodlog: the line is too long to stay whole")

// Write queues a line. It never waits, and fails only for one of more than 4,000 bytes.
func (q *Queue) Write(line []byte) (int, error) {
	if len(line) > maxWhole {
		return 0, errTooLong
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lines, q.bytes = append(q.lines, slices.Clone(line)), q.bytes+len(line)
	for len(q.lines) > maxLines || q.bytes > maxBytes {
		q.pop()
		q.lost.Add(1)
	}
	if q.done == nil {
		q.done = make(chan struct{})
		go q.drain()
	}
	return len(line), nil
}

// Lost returns how many lines were dropped, or could not be written.
func (q *Queue) Lost() uint64 { return q.lost.Load() }

// Flush has the loggers tell what they have only counted so far, and waits until all lines
// are written, but no longer than the limit.
func (q *Queue) Flush(limit time.Duration) {
	q.mu.Lock()
	floods := q.floods
	q.mu.Unlock()
	for _, f := range floods {
		f.flush()
	}
	q.mu.Lock()
	done := q.done
	q.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-time.After(limit):
		}
	}
}

// drain writes what is in the queue, line by line.
func (q *Queue) drain() {
	for line := q.next(); line != nil; line = q.next() {
		if lost := q.Lost() - q.told; lost > 0 {
			var b bytes.Buffer
			slog.New(q.format(&b, slog.LevelWarn)).Warn("log lines lost", "count", lost)
			if q.put(b.Bytes()) {
				q.told += lost
			}
		}
		if !q.put(line) {
			q.lost.Add(1)
		}
	}
}

// next takes the oldest line out of the queue, or says that all are written.
func (q *Queue) next() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		close(q.done)
		q.done = nil
		return nil
	}
	return q.pop()
}

// pop takes the oldest line out of the queue. It is called with mu held.
func (q *Queue) pop() []byte {
	line := q.lines[0]
	q.lines[0], q.lines, q.bytes = nil, q.lines[1:], q.bytes-len(line)
	return line
}

// put writes a line with one call, and reports whether it could. If only a part of the
// one before was written, as on a full disk, that one gets its end.
func (q *Queue) put(line []byte) bool {
	var before string
	if q.torn {
		before = "\n"
	}
	if q.journal {
		before += priority(line)
	}
	n, err := q.w.Write(append([]byte(before), line...))
	q.torn = err != nil && (q.torn || n > 0)
	return err == nil
}

// level finds the level of a logger's line, which stands before all that varies.
var level = regexp.MustCompile(`^(?:time=\S+ level=|\{"time":"[^"]+","level":")([DIW])`)

// priority returns systemd's priority of a line. What no logger has made is an error.
func priority(line []byte) string {
	if m := level.FindSubmatch(line); m != nil {
		return map[string]string{"D": "<7>", "I": "<6>", "W": "<4>"}[string(m[1])]
	}
	return "<3>"
}

// shorter returns r with n bytes at most of its message and of each value.
func shorter(r slog.Record, n int) slog.Record {
	s := slog.NewRecord(r.Time, r.Level, r.Message[:min(n, len(r.Message))], r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if text := a.Value.Resolve().String(); len(text) > n {
			a.Value = slog.StringValue(text[:n] + "...")
		}
		s.AddAttrs(a)
		return true
	})
	return s
}
