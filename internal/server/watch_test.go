package server_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/server"
)

// reading is a load that takes the content of files, as Watch's are.
type reading struct {
	names []string
	mu    sync.Mutex
	taken string   // what the files said when they were last good
	told  []string // what was told of each load, "ok" or the error
}

var errBad = errors.New("bad")

// load takes what the files say, unless it is bad.
func (r *reading) load() error {
	all := ""
	for _, name := range r.names {
		content, err := os.ReadFile(name)
		if err != nil {
			return errBad
		}
		all += string(content) + "|"
	}
	if strings.Contains(all, "bad") {
		return errBad
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = all
	return nil
}

// tell notes what was told of a load.
func (r *reading) tell(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := "ok"
	if err != nil {
		said = err.Error()
	}
	r.told = append(r.told, said)
}

// since returns what is taken, and what was told since it was asked for last.
func (r *reading) since() (taken string, told []string) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	told, r.told = r.told, nil
	return r.taken, told
}

// watchFiles starts to watch two files, in a bubble of synctest.
func watchFiles(t *testing.T, r *reading) (hup chan os.Signal) {
	t.Helper()
	hup = make(chan os.Signal)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := server.Watch(ctx, hup, r.names, r.load, r.tell); err != nil {
		t.Fatal(err)
	}
	return hup
}

// newReading returns a reading of two files that are there.
func newReading(t *testing.T) *reading {
	t.Helper()
	dir := t.TempDir()
	r := &reading{names: []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}}
	for _, name := range r.names {
		writeFile(t, name, "one two")
	}
	return r
}

// Files are loaded at once, and again when one of them says something new. What is
// bad is told once, and what was good before stays.
func TestWatch(t *testing.T) {
	r := newReading(t)
	a, b := r.names[0], r.names[1]
	steps := []struct {
		name   string
		change func()
		told   []string
		taken  string
	}{
		{name: "nothing", change: func() {}, taken: "one two|one two|"},
		{
			name: "one file", change: func() { writeFile(t, a, "one") },
			told: []string{"ok"}, taken: "one|one two|",
		},
		{
			name: "a word has moved to the other file",
			change: func() {
				writeFile(t, a, "one two")
				writeFile(t, b, "one")
			},
			told: []string{"ok"}, taken: "one two|one|",
		},
		{
			name: "bad", change: func() { writeFile(t, b, "bad") },
			told: []string{"bad"}, taken: "one two|one|",
		},
		{name: "still bad", change: func() {}, taken: "one two|one|"},
		{
			name: "bad in another way", change: func() { writeFile(t, b, "bad bad") },
			told: []string{"bad"}, taken: "one two|one|",
		},
		{
			name: "gone", change: func() { os.Remove(b) },
			told: []string{"bad"}, taken: "one two|one|",
		},
		{name: "still gone", change: func() {}, taken: "one two|one|"},
		{
			name: "back, and as it was", change: func() { writeFile(t, b, "one") },
			told: []string{"ok"}, taken: "one two|one|",
		},
		{
			name: "empty", change: func() { writeFile(t, b, "") },
			told: []string{"ok"}, taken: "one two||",
		},
		{
			name: "too large", change: func() { os.Truncate(b, 1<<20+1) },
			told: []string{"ok"}, taken: "one two|" + strings.Repeat("\x00", 1<<20+1) + "|",
		},
	}
	synctest.Test(t, func(t *testing.T) {
		watchFiles(t, r)
		for _, s := range steps {
			s.change()
			time.Sleep(3 * time.Second) // as the manual says
			taken, told := r.since()
			if !slices.Equal(told, s.told) || taken != s.taken {
				t.Errorf("%s: got told %q and %.40q, want %q and %.40q",
					s.name, told, taken, s.told, s.taken)
			}
		}
	})
}

// SIGHUP is at once, and it loads also what has not changed, and says so, whether
// it is good or bad. So an operator who sends one sees that the program lives up
// to it.
func TestWatchHangup(t *testing.T) {
	r := newReading(t)
	synctest.Test(t, func(t *testing.T) {
		hup := watchFiles(t, r)
		began := time.Now()
		for _, s := range []struct{ content, told string }{
			{content: "one two", told: "ok"}, {content: "bad", told: "bad"},
			{content: "bad", told: "bad"}, {content: "new", told: "ok"},
		} {
			writeFile(t, r.names[0], s.content)
			hup <- syscall.SIGHUP
			if _, told := r.since(); !slices.Equal(told, []string{s.told}) {
				t.Errorf("%s: got told %q, want %q", s.content, told, s.told)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("got it after %v", took)
		}
		time.Sleep(time.Minute)
		if _, told := r.since(); len(told) > 0 {
			t.Errorf("got told %q without a signal", told)
		}
	})
}

// What is bad at the start is an error, and nothing is watched. What changes while
// it is loaded for the first time is loaded again.
func TestWatchStart(t *testing.T) {
	r := newReading(t)
	synctest.Test(t, func(t *testing.T) {
		never := func(error) { t.Error("got told of files that were bad") }
		err := server.Watch(t.Context(), nil, r.names, func() error { return errBad }, never)
		if err != errBad {
			t.Errorf("got %v", err)
		}
		var loads atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		err = server.Watch(ctx, nil, r.names, func() error {
			if loads.Add(1) == 1 {
				writeFile(t, r.names[0], "new")
			}
			return nil
		}, func(error) {})
		time.Sleep(time.Minute)
		synctest.Wait()
		if err != nil || loads.Load() != 2 {
			t.Errorf("got %v and %d loads, want 2", err, loads.Load())
		}
		cancel()
		writeFile(t, r.names[0], "newer")
		time.Sleep(time.Minute)
		synctest.Wait()
		if loads.Load() != 2 {
			t.Errorf("got %d loads after the end", loads.Load())
		}
	})
}

// A secret that Kubernetes has mounted changes behind a symbolic link.
func TestWatchBehindALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	r := newReading(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.names[0], link); err != nil {
		t.Fatal(err)
	}
	writeFile(t, r.names[1], "new")
	r.names = []string{link, r.names[1]}
	synctest.Test(t, func(t *testing.T) {
		watchFiles(t, r)
		os.Remove(link)
		if err := os.Symlink(r.names[1], link); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if taken, _ := r.since(); taken != "new|new|" {
			t.Errorf("got %q", taken)
		}
	})
}

// A file that is too large is refused before it is read. These are sparse: they
// take no room on the disk, but reading one would take more memory than there is.
func TestLargeFiles(t *testing.T) {
	c := newCertificate(t)
	content, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	for size, refused := range map[int64]bool{1 << 20: false, 1<<20 + 1: true, 1 << 40: true} {
		writeFile(t, c.File, string(content))
		if err := os.Truncate(c.File, size); err != nil {
			t.Skipf("no sparse files here: %v", err)
		}
		err := c.Load()
		if got := err != nil && strings.Contains(err.Error(), ": too large, "); got != refused {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}
