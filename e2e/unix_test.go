//go:build unix

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// Opening a pipe waits for its writer, perhaps for ever, and what is read from
// it is gone. So it is refused as a key file, or a certificate, at once.
func TestPipeAsKeyFile(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-key-file", link}, {"keys", "list", pipe}, {"keys", "add", link}, {"keys", "replace", pipe},
		{"inspect", "-key-file", pipe}, {"-tls-cert", pipe, "-tls-key", pipe},
	} {
		began := time.Now()
		_, stderr, status := command(t, "session=x", nil, args...)
		if took := time.Since(began); took > commandTimeout/2 {
			t.Fatalf("%q: got an end after %v only", args, took)
		}
		if status != 1 || !strings.Contains(stderr, "not a regular file") {
			t.Errorf("%q: got status %d and %q", args, status, stderr)
		}
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("got %v and %v, want the pipe left alone", info, err)
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
	file, b := filepath.Join(t.TempDir(), "ring"), idsOf(t, keyB).encrypted
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
