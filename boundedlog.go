package main

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// floodLimit is how many lines of one kind are logged in a second.
const floodLimit = 10

// boundedLog keeps a flood of bad requests from becoming a flood of lines.
type boundedLog struct {
	*slog.Logger
	mu    sync.Mutex
	lines map[string]int // by kind, since its current second began
}

func newBoundedLog(log *slog.Logger) *boundedLog {
	return &boundedLog{Logger: log, lines: make(map[string]int)}
}

// bounded logs a line of a kind, such as "requests refused", by calling write,
// or counts it for the line at the second's end.
func (b *boundedLog) bounded(kind string, write func()) {
	b.mu.Lock()
	b.lines[kind]++
	n := b.lines[kind]
	b.mu.Unlock()
	if n == 1 {
		time.AfterFunc(time.Second, func() { b.endSecond(kind) })
	}
	if n <= floodLimit {
		write()
	}
}

func (b *boundedLog) endSecond(kind string) {
	b.mu.Lock()
	more := b.lines[kind] - floodLimit
	delete(b.lines, kind)
	b.mu.Unlock()
	if more > 0 {
		b.Info("more "+kind, "count", more)
	}
}

// maxLine is how many bytes of a line of net/http's own are logged. It may quote
// what a client has sent, up to 64 KiB of it.
const maxLine = 300

// Write logs a line of net/http's own, of which bad clients can cause many.
func (b *boundedLog) Write(line []byte) (int, error) {
	text, kind := strings.TrimSpace(string(line[:min(len(line), maxLine)])), "server errors"
	if strings.Contains(text, "TLS handshake error") {
		kind = "TLS handshake errors"
	}
	b.bounded(kind, func() { b.Warn(text) })
	return len(line), nil
}
