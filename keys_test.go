package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// watched is an app whose keys are watched in a file.
type watched struct {
	*app
	file string
	hup  chan os.Signal
	log  *lockedBuffer
}

// watchFile starts to watch a key file, in a bubble of synctest.
func watchFile(t *testing.T, file string) *watched {
	t.Helper()
	log := new(lockedBuffer)
	a := newTestApp(t, options{log: log, signed: true})
	w := &watched{app: a, file: file, hup: make(chan os.Signal), log: log}
	f := newKeyFile(file, false, a.useRing)
	if _, err := f.load(true); err != nil { // as the server does at its start
		t.Fatal(err)
	}
	a.metrics.keysLoaded(nil)
	go f.watch(t.Context(), w.hup, func(err error) { a.keysReloaded(file, err) })
	synctest.Wait()
	return w
}

// wantSeals waits for the next look at the file.
func (w *watched) wantSeals(t *testing.T, id string, inRing int) {
	t.Helper()
	time.Sleep(3 * time.Second) // as the manual says
	synctest.Wait()
	if r := w.sessions.ring.Load(); r.seal.id != id || len(r.keys) != inRing {
		t.Errorf("got %s of %d keys sealing, want %s of %d", r.seal.id, len(r.keys), id, inRing)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ring")
	writeFile(t, file, keyA)
	synctest.Test(t, func(t *testing.T) {
		w := watchFile(t, file)
		count := func(what string, want int) {
			t.Helper()
			if got := strings.Count(w.log.String(), what); got != want {
				t.Errorf("got %d lines with %q, want %d: %s", got, what, want, w.log)
			}
		}
		gauge := func(want float64) {
			t.Helper()
			if got := testutil.ToFloat64(w.metrics.fileOK); got != want {
				t.Errorf("got cookiesession_key_file_ok %v, want %v", got, want)
			}
		}
		w.wantSeals(t, signedA, 1)
		count("key file loaded", 0)

		writeFile(t, file, keyB+"\n"+keyA+"\n")
		w.wantSeals(t, signedB, 2)
		count("key file loaded", 1)

		// A bad file keeps the old ring, and is said to be bad once.
		writeFile(t, file, keyA+"\n"+keyB[:60]+"\n")
		w.wantSeals(t, signedB, 2)
		w.wantSeals(t, signedB, 2)
		count("level=ERROR", 1)
		count(":2: want 64", 1)
		gauge(0)
		writeFile(t, file, "nonsense")
		w.wantSeals(t, signedB, 2)
		count("level=ERROR", 2)
		os.Remove(file)
		w.wantSeals(t, signedB, 2)
		w.wantSeals(t, signedB, 2)
		count("level=ERROR", 3)
		count("put the last good file back", 1) // a new one would be a ring of its own

		writeFile(t, file, keyA)
		w.wantSeals(t, signedA, 1)
		gauge(1)
		// The content counts, not the time of the file.
		os.Chtimes(file, time.Now(), time.Now())
		w.wantSeals(t, signedA, 1)
		count("key file loaded", 2)

		// SIGHUP is at once.
		writeFile(t, file, keyB)
		w.hup <- syscall.SIGHUP
		synctest.Wait()
		if got := w.sessions.ring.Load().seal.id; got != signedB {
			t.Errorf("got %s sealing after SIGHUP, want %s", got, signedB)
		}
		count("key file loaded", 3)
		if got := testutil.ToFloat64(w.metrics.reloads.WithLabelValues("ok")); got != 4 {
			t.Errorf("got %v loads counted, want 4", got)
		}
		if got := testutil.ToFloat64(w.metrics.reloads.WithLabelValues("error")); got != 3 {
			t.Errorf("got %v bad loads counted, want 3", got)
		}
		for _, secret := range []string{keyA[:8], keyB[:8], "nonsense"} {
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("got a part of the file in the log: %s", w.log)
			}
		}
	})
}

// SIGHUP loads a file that has not changed, too, and says so, whether it is good
// or bad. So an operator who sends one sees that the program lives up to it.
func TestReloadOfAnUnchangedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA)
	synctest.Test(t, func(t *testing.T) {
		w := watchFile(t, file)
		steps := []struct {
			content, line string
			mode          os.FileMode
		}{
			{content: keyA, line: "key file loaded", mode: 0o600},
			{content: keyA, line: "key file can be read by every user", mode: 0o644},
			{content: "", line: "the key file is bad", mode: 0o600},
		}
		for _, s := range steps {
			if runtime.GOOS == "windows" && s.mode&0o004 != 0 {
				continue // there are no such modes
			}
			writeFile(t, file, s.content)
			os.Chmod(file, s.mode)
			w.hup <- syscall.SIGHUP
			synctest.Wait()
			before := strings.Count(w.log.String(), s.line)
			w.hup <- syscall.SIGHUP
			synctest.Wait()
			if got := strings.Count(w.log.String(), s.line) - before; got != 1 {
				t.Errorf("content of %d bytes: got %d more lines with %q, want 1: %s",
					len(s.content), got, s.line, w.log)
			}
			time.Sleep(10 * reloadInterval)
			synctest.Wait()
			if got := strings.Count(w.log.String(), s.line) - before; got != 1 {
				t.Errorf("content of %d bytes: got %d lines without a signal: %s",
					len(s.content), got-1, w.log)
			}
		}
	})
}

// A file that goes bad is said to be bad once, whatever is in it: an empty one
// must not look like none that was ever read.
func TestBadFileIsReportedOnce(t *testing.T) {
	bad := map[string]string{"empty": "", "comments": "# no key\n", "text": "x"}
	for name, content := range bad {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ring")
			writeFile(t, file, keyA)
			synctest.Test(t, func(t *testing.T) {
				w := watchFile(t, file)
				for range 2 {
					writeFile(t, file, content)
					for range 5 {
						w.wantSeals(t, signedA, 1)
					}
					writeFile(t, file, keyA)
					w.wantSeals(t, signedA, 1)
				}
				for line, want := range map[string]int{"level=ERROR": 2, "key file loaded": 2} {
					if got := strings.Count(w.log.String(), line); got != want {
						t.Errorf("got %d lines with %q, want %d: %s", got, line, want, w.log)
					}
				}
			})
		})
	}
}

// A file that changed between its first reading and the watching is taken as it
// is then. One that went bad stops the start.
func TestChangedBeforeTheWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyB)
	synctest.Test(t, func(t *testing.T) {
		w := watchFile(t, file) // the app has keyA
		if got := w.sessions.ring.Load().seal.id; got != signedB {
			t.Errorf("got %s sealing, want %s", got, signedB)
		}
	})
	writeFile(t, file, "x")
	_, err := newTestApp(t, options{}).files(t.Context(), &config{keyFile: file})
	if err == nil || !strings.Contains(err.Error(), "ring:1: want 64") {
		t.Errorf("got %v, want the start stopped", err)
	}
}

// A Kubernetes secret is a link to a link to a folder, of which the middle one
// is swapped.
func TestReloadBehindALink(t *testing.T) {
	dir := t.TempDir()
	for name, key := range map[string]string{"v1": keyA, "v2": keyB} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name, "ring"), key)
	}
	if err := os.Symlink("v1", filepath.Join(dir, "..data")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	file := filepath.Join(dir, "ring")
	os.Symlink(filepath.Join("..data", "ring"), file)
	synctest.Test(t, func(t *testing.T) {
		w := watchFile(t, file)
		w.wantSeals(t, signedA, 1)
		os.Symlink("v2", filepath.Join(dir, "..new"))
		os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))
		w.wantSeals(t, signedB, 1)
	})
}

func TestKeyFileOthersCanRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such modes on Windows")
	}
	modes := map[os.FileMode]int{0o600: 0, 0o640: 0, 0o644: 1, 0o604: 1}
	for mode, want := range modes {
		file := filepath.Join(t.TempDir(), "ring")
		writeFile(t, file, keyA)
		os.Chmod(file, mode)
		p := startRun(t, nil, "-key-file", file)
		if got := strings.Count(p.log.String(), "level=WARN"); got != want {
			t.Errorf("mode %v: got %d warnings, want %d: %s", mode, got, want, p.log)
		}
	}
}

// A file that is there but can't be read is not one without keys: keys add
// would put a new key into the place of all that are in it.
func TestUnreadableKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA)
	os.Chmod(file, 0o200)
	if _, err := os.ReadFile(file); err == nil {
		file = "/proc/self/mem" // which not even root can read from its beginning
	}
	if _, err := os.ReadFile(file); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Skip("everything can be read here")
	}
	if _, err := keysFromFile(file); err == nil || errors.Is(err, errNoKey) {
		t.Errorf("got %v, want the reason", err)
	}
	f := newKeyFile(file, false, func(*ring) { t.Error("got a ring") })
	if _, err := f.load(false); err == nil || errors.Is(err, errNoKey) {
		t.Errorf("got %v, want the reason", err)
	}
	said, err := addKey([]string{file}, t.Output())
	if err == nil || said != "" {
		t.Errorf("keys add: got %q and %v, want it refused", said, err)
	}
}

// Two keys with the same id can't both be in a ring, however unlikely they are.
// These pairs were found by trying a hundred thousand random keys.
func TestKeysThatShareAnID(t *testing.T) {
	tests := []struct{ mode, a, b string }{
		{
			mode: "signed",
			a:    "6899ad6bf819a87c6a7b1f4240b19e612b4c91a2ce64b97eef4535c7ee54ab5c",
			b:    "85f45bec6dc2684aef237265879c0707423778ddff214363c17d3ac5a80bf4f3",
		},
		{
			mode: "encrypted",
			a:    "7fd84a56140db7929d11f954fd8b6090affed818d27c91d8634319cd96344320",
			b:    "66e0c34f479fa5905c0117e4fe1a7596f22cc11ae6db9a2a8ff4fe1ee32892ff",
		},
	}
	for _, tt := range tests {
		for _, key := range []string{tt.a, tt.b} {
			if _, err := parseKeys("list", key); err != nil {
				t.Fatal(err)
			}
		}
		const want = "list:3: the same key as in list:1"
		_, err := parseKeys("list", tt.a+"\n"+keyA+"\n"+tt.b)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", tt.mode, err, want)
		}
	}
}

// The real program reloads on SIGHUP and by itself while requests run.
func TestReloadUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA+"\n"+keyB+"\n")
	p := startProcess(t, nil, "-key-file", file)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			cookie := ""
			header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if cookie != "" {
					header.Set("Cookie", cookie)
				}
				method, path, want := http.MethodGet, "/get_name", "Name: Alice\n"
				if i == 0 {
					method, path, want = http.MethodPost, "/set_name", "Name Alice set in session\n"
				}
				res, body := send(t, method, p.url+path, "name=Alice", header)
				if res.StatusCode != 200 || body != want {
					t.Errorf("got status %d and %q, want %q", res.StatusCode, body, want)
					return
				}
				if c := res.Cookies(); len(c) > 0 {
					cookie = c[0].Name + "=" + c[0].Value
				}
			}
		})
	}
	contents := []string{
		keyB + "\n" + keyA, "bad", keyA + "\n" + keyB, keyA + "\n" + keyB + "\n" + keyC,
	}
	for i := range 40 {
		temporary := file + ".new"
		writeFile(t, temporary, contents[i%len(contents)])
		os.Rename(temporary, file)
		p.cmd.Process.Signal(syscall.SIGHUP)
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	log := p.log.String()
	if strings.Count(log, "key file loaded") < 10 ||
		strings.Count(log, "the key file is bad") < 5 || strings.Contains(log, "DATA RACE") {
		t.Errorf("got the log %s", log)
	}
}

// Without a signal, it takes a few seconds.
func TestReloadWithoutASignal(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA)
	p := startProcess(t, nil, "-key-file", file)
	writeFile(t, file, keyC)
	for deadline := time.Now().Add(3 * reloadInterval); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(p.log.String(), "key file loaded") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the changed file was not loaded")
		}
	}
}
