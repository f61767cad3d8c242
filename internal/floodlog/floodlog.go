// Package floodlog keeps a flood of bad requests from becoming a flood of lines, and a
// reader of the log that stands still from holding up the program.
package floodlog

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
)

// limit is how many lines of one message are logged in a second.
const limit = 10

// flood counts the lines of each message. All handlers that come of one share it.
type flood struct {
	next  slog.Handler // without the attributes and groups that came later
	mu    sync.Mutex
	lines map[string]*lineCount // by message
}

// lineCount is how many lines of a message there were since its current second began.
type lineCount struct {
	n     int
	level slog.Level
}

// handler hands on what its flood lets through.
type handler struct {
	slog.Handler
	flood *flood
	as    string // the message that each line counts as; empty for its own
}

// New returns a handler that hands on to next ten lines of one message in a second
// at most, from level INFO on. At the second's end, one line says how many more
// there were: "more: " and the message, with a count, at the same level. What
// varies from line to line belongs in attributes, or no two lines are of one
// message.
func New(next slog.Handler) slog.Handler {
	return &handler{Handler: next, flood: &flood{next: next, lines: make(map[string]*lineCount)}}
}

// Handle hands on a line, or counts it for the line at the second's end.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !h.flood.admits(cmp.Or(h.as, r.Message), r.Level) {
		return nil
	}
	return h.flood.write(ctx, h.Handler, r)
}

// WithAttrs returns a handler that adds attrs to each line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{Handler: h.Handler.WithAttrs(attrs), flood: h.flood}
}

// WithGroup returns a handler that puts the attributes of each line in a group.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{Handler: h.Handler.WithGroup(name), flood: h.flood}
}

// admits counts a line, and reports whether there is still room for it.
func (f *flood) admits(message string, level slog.Level) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := f.lines[message]
	if count == nil {
		count = &lineCount{level: level}
		f.lines[message] = count
		time.AfterFunc(time.Second, func() { f.endSecond(message, count) })
	}
	count.n++
	return count.n <= limit
}

// endSecond tells how many more lines there were, once.
func (f *flood) endSecond(message string, count *lineCount) {
	f.mu.Lock()
	more := count.n - limit
	count.n = 0
	delete(f.lines, message)
	f.mu.Unlock()
	if more > 0 {
		r := slog.NewRecord(time.Now(), count.level, "more: "+message, 0)
		r.Add("count", more)
		f.write(context.Background(), f.next, r) // nobody is left to hear of an error
	}
}

// flush ends the second of each message.
func (f *flood) flush() {
	f.mu.Lock()
	lines := maps.Clone(f.lines)
	f.mu.Unlock()
	for message, count := range lines {
		f.endSecond(message, count)
	}
}

// write hands a line on to h, which comes of f.next. If it is too long, its message and its
// values are cut and, if that doesn't help, it is written without what belongs to it: what
// With has added, and many attributes or long names, can't be cut.
func (f *flood) write(ctx context.Context, h slog.Handler, r slog.Record) error {
	err := h.Handle(ctx, r)
	for n := maxWhole / 2; err == errTooLong && n > 0; n /= 4 {
		err = h.Handle(ctx, shorter(r, n))
	}
	if err == errTooLong {
		bare := slog.NewRecord(r.Time, r.Level, r.Message[:min(len(r.Message), maxWhole/8)], r.PC)
		bare.Add("note", "the rest of this line was too long")
		err = f.next.Handle(ctx, bare)
	}
	return err
}

// maxLine is how many bytes of a line of net/http's own are logged. It may quote
// what a client has sent, up to 64 KiB of it.
const maxLine = 300

// lines logs the lines of net/http.
type lines struct{ handshakes, others *slog.Logger }

// Lines returns a writer for the ErrorLog of an http.Server, of whose lines bad
// clients can cause many. It logs each at level WARN. They are bounded, whether
// log's handler is one of New or not, as two messages: "TLS handshake error" and
// "server error".
func Lines(log *slog.Logger) io.Writer {
	h, ok := log.Handler().(*handler)
	if !ok {
		h = New(log.Handler()).(*handler)
	}
	as := func(message string) *slog.Logger {
		return slog.New(&handler{Handler: h.Handler, flood: h.flood, as: message})
	}
	return lines{handshakes: as("TLS handshake error"), others: as("server error")}
}

// Write logs a line.
func (l lines) Write(line []byte) (int, error) {
	text, log := strings.TrimSpace(string(line[:min(len(line), maxLine)])), l.others
	if strings.Contains(text, "TLS handshake error") {
		log = l.handshakes
	}
	log.Warn(text)
	return len(line), nil
}
