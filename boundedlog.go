package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// floodLimit is how many lines with one message are logged in a second.
const floodLimit = 10

// boundedHandler keeps a flood of bad requests from becoming a flood of lines. Of each
// message there are at most floodLimit lines in a second, and then one that counts the
// rest. Whoever asks for debug lines gets all of those.
type boundedHandler struct {
	slog.Handler
	floods *floods
}

// floods counts lines by their message.
type floods struct {
	mu    sync.Mutex
	lines map[string]int // since the message's current second began
}

// newBoundedLog returns log with the bound.
func newBoundedLog(log *slog.Logger) *slog.Logger {
	f := &floods{lines: make(map[string]int)}
	return slog.New(boundedHandler{Handler: log.Handler(), floods: f})
}

// Handle writes a line, or counts it for the one at the second's end.
func (h boundedHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.Handler.Handle(ctx, r)
	}
	h.floods.mu.Lock()
	h.floods.lines[r.Message]++
	n := h.floods.lines[r.Message]
	h.floods.mu.Unlock()
	if n == 1 {
		time.AfterFunc(time.Second, func() { h.endSecond(r.Level, r.Message) })
	}
	if n > floodLimit {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// endSecond says how many lines with a message were left out.
func (h boundedHandler) endSecond(level slog.Level, message string) {
	h.floods.mu.Lock()
	more := h.floods.lines[message] - floodLimit
	delete(h.floods.lines, message)
	h.floods.mu.Unlock()
	if more > 0 {
		r := slog.NewRecord(time.Now(), level, "more: "+message, 0)
		r.Add("count", more)
		h.Handler.Handle(context.Background(), r)
	}
}

// WithAttrs returns h with attributes, and with the same counts.
func (h boundedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return boundedHandler{Handler: h.Handler.WithAttrs(attrs), floods: h.floods}
}

// WithGroup returns h with a group, and with the same counts.
func (h boundedHandler) WithGroup(name string) slog.Handler {
	return boundedHandler{Handler: h.Handler.WithGroup(name), floods: h.floods}
}

// maxLine is how many bytes of a line of net/http's own are logged. It may quote
// what a client has sent, up to 64 KiB of it.
const maxLine = 300

// serverErrors logs lines of net/http's own, of which bad clients can cause many.
type serverErrors struct{ log *slog.Logger }

func (s serverErrors) Write(line []byte) (int, error) {
	text, message := strings.TrimSpace(string(line[:min(len(line), maxLine)])), "server error"
	if strings.Contains(text, "TLS handshake error") {
		message = "TLS handshake error"
	}
	s.log.Warn(message, "err", text)
	return len(line), nil
}
