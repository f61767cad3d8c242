package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/server"
	"cookiesession/internal/testkit"
)

// The first channel for signals starts a goroutine that never ends, and SIGHUP would end
// the tests while no file is watched.
func init() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) }

var errBad = errors.New("bad")

// Files are loaded at once, and again when one of them says something new, also behind a
// symbolic link, as a mounted Kubernetes secret does. What is bad is told once.
func TestWatch(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	dir := t.TempDir()
	a, b, other := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "other")
	testkit.WriteFile(t, filepath.Join(dir, "first"), "one two")
	testkit.WriteFile(t, b, "one two")
	testkit.WriteFile(t, other, "three")
	lead := func(to string) {
		os.Remove(a)
		if err := os.Symlink(to, a); err != nil {
			t.Fatal(err)
		}
	}
	lead("first")
	write := func(name, content string) func() {
		return func() { testkit.WriteFile(t, name, content) }
	}
	steps := []struct {
		name   string
		change func()
		told   string // of each load
	}{
		{name: "nothing", change: func() {}},
		{name: "one file", change: write(b, "one"), told: "[<nil>]"},
		{
			name: "a word has moved to the other file", told: "[<nil>]",
			change: func() {
				testkit.WriteFile(t, a, "one")
				testkit.WriteFile(t, b, "one two")
			},
		},
		{name: "another file behind the link", change: func() { lead("other") }, told: "[<nil>]"},
		{name: "bad", change: write(b, "bad"), told: "[bad]"},
		{name: "still bad", change: func() {}},
		{name: "bad in another way", change: write(b, "bad bad"), told: "[bad]"},
		{name: "gone", change: func() { os.Remove(b) }, told: "[bad]"},
		{name: "still gone", change: func() {}},
		{name: "back", change: write(b, ""), told: "[<nil>]"},
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var told []error
		load := func() error {
			content, err := os.ReadFile(b)
			if err != nil || strings.HasPrefix(string(content), "bad") {
				return errBad
			}
			return nil
		}
		err := server.Watch(ctx, []string{a, b}, load, func(err error) { told = append(told, err) })
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			s.change()
			time.Sleep(3 * time.Second) // as the manual says
			synctest.Wait()
			if got := fmt.Sprint(told); got != s.told && (s.told != "" || told != nil) {
				t.Errorf("%s: got told %s, want %s", s.name, got, s.told)
			}
			told = nil
		}
		cancel()
		testkit.WriteFile(t, b, "newer")
		time.Sleep(time.Minute)
		if told != nil {
			t.Errorf("got told %v after the end", told)
		}
	})
}

// SIGHUP is at once, and it loads also what has not changed, and says so, whether it is
// good or bad. So an operator who sends one sees that the program lives up to it.
func TestWatchHangup(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	results := []error{nil, nil, errBad, errBad, nil} // the first one is the start's
	want := slices.Clone(results[1:])
	load := func() error {
		err := results[0]
		results = results[1:]
		return err
	}
	told := make(chan error, 1)
	began := time.Now()
	if err := server.Watch(t.Context(), nil, load, func(err error) { told <- err }); err != nil {
		t.Fatal(err)
	}
	for _, err := range want {
		signalSelf(t, syscall.SIGHUP)
		if got := <-told; got != err {
			t.Errorf("got told %v, want %v", got, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("got it after %v", took)
	}
}

// What is bad at the start is an error, and nothing is watched. What changes while it is
// loaded for the first time is loaded again.
func TestWatchStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	testkit.WriteFile(t, file, "old")
	synctest.Test(t, func(t *testing.T) {
		never := func(error) { t.Error("got told of files that were bad") }
		err := server.Watch(t.Context(), []string{file}, func() error { return errBad }, never)
		if err != errBad {
			t.Errorf("got %v", err)
		}
		loads := 0
		err = server.Watch(t.Context(), []string{file}, func() error {
			if loads++; loads == 1 {
				testkit.WriteFile(t, file, "new")
			}
			return nil
		}, func(error) {})
		time.Sleep(time.Minute)
		synctest.Wait()
		if err != nil || loads != 2 {
			t.Errorf("got %v and %d loads, want 2", err, loads)
		}
	})
}
