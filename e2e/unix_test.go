//go:build unix

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cookiesession/internal/testkit"
)

// Opening a pipe waits for its writer, perhaps for ever, so it is refused as a key file.
func TestPipeAsKeyFile(t *testing.T) {
	slow(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	for _, args := range [][]string{{"-key-file", pipe}, {"keys", "add", pipe}} {
		_, stderr, status := command(t, "", nil, args...)
		if status != 1 || !strings.Contains(stderr, "not a regular file") {
			t.Errorf("%q: got status %d and %q", args, status, stderr)
		}
	}
}

// Without a file to watch, SIGHUP would be the end of a program, as it is by itself.
func TestHangupWithoutAFile(t *testing.T) {
	p := start(t, withKeyA)
	if err := p.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := p.End(); err != nil {
		t.Errorf("got %v", err)
	}
}

// The owner matters: a server that doesn't run as root could not read the file
// any more after root has edited it.
func TestKeysKeepTheOwner(t *testing.T) {
	slow(t)
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	t.Parallel()
	file, b := filepath.Join(t.TempDir(), "ring"), idOf(t, keyB)
	for _, args := range [][]string{
		{"add", file}, {"promote", file}, {"drop", file, b}, {"replace", file},
	} {
		testkit.WriteFile(t, file, keyA+"\n"+keyB+"\n")
		if err := os.Chown(file, 12345, 23456); err != nil {
			t.Skipf("files can't be given away here: %v", err)
		}
		os.Chmod(file, 0o440)
		mustRun(t, append([]string{"keys"}, args...)...)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Uid != 12345 || stat.Gid != 23456 || info.Mode() != 0o440 {
			t.Errorf("%s: got owner %d, group %d and mode %v, want 12345, 23456 and 0440",
				args[0], stat.Uid, stat.Gid, info.Mode())
		}
		os.Remove(file)
	}
}
