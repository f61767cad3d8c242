//go:build unix

package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cookiesession/internal/server"
)

// Opening a pipe waits for its writer, perhaps for ever, and what is read from
// it is gone. So it is refused at once.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pipe, link} {
		err := (&server.Certificate{File: file, KeyFile: file}).Load()
		if err == nil || !strings.Contains(err.Error(), "not a regular file (") {
			t.Errorf("%s: got %v", file, err)
		}
		files := []string{file}
		err = server.Watch(t.Context(), nil, files, func() error { return nil }, func(error) {})
		if err != nil {
			t.Errorf("%s: got %v from a look, want it left to load", file, err)
		}
	}
}
