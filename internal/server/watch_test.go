package server_test

import (
	"context"
	"errors"
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
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan error, 2)
		load := func() error {
			content, err := os.ReadFile(b)
			if err != nil || strings.HasPrefix(string(content), "bad") {
				return errBad
			}
			return nil
		}
		err := server.Watch(ctx, []string{a, b}, load, func(err error) { told <- err })
		if err != nil {
			t.Fatal(err)
		}
		check := func(name string, want ...error) {
			t.Helper()
			time.Sleep(3 * time.Second) // as the manual says
			synctest.Wait()
			var got []error
			for len(told) > 0 {
				got = append(got, <-told)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: got told %v, want %v", name, got, want)
			}
		}
		check("nothing")
		testkit.WriteFile(t, b, "one")
		check("one file", nil)
		testkit.WriteFile(t, a, "one")
		testkit.WriteFile(t, b, "one two")
		check("a word has moved to the other file", nil)
		lead("other")
		check("another file behind the link", nil)
		testkit.WriteFile(t, b, "bad")
		check("bad", errBad)
		check("still bad")
		os.Remove(b)
		check("gone", errBad)
		check("still gone")
		testkit.WriteFile(t, b, "")
		check("back", nil)
		cancel()
		testkit.WriteFile(t, b, "newer")
		check("the end")
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
		testkit.SignalSelf(t, syscall.SIGHUP)
		select {
		case got := <-told:
			if got != err {
				t.Errorf("got told %v, want %v", got, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("got told nothing, want %v", err)
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
