package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// Faults, met by real processes. What is promised for each stands in
// docs/operation.md, under "When things go wrong".

// mounting returns a command that runs a script of the shell in mounts of its
// own, with these arguments.
func mounting(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	unshare := []string{"--mount"}
	if os.Getuid() != 0 {
		unshare = []string{"--user", "--map-root-user", "--mount"}
	}
	tool := testkit.NeedTool(t, "unshare")
	probe := append(unshare, "mount", "-t", "tmpfs", "tmpfs", t.TempDir())
	if out, err := exec.Command(tool, probe...).CombinedOutput(); err != nil {
		t.Skipf("this machine lets nobody mount anything, so this test is skipped: %s", out)
	}
	all := append(unshare, "sh", "-e", "-c", script, "sh")
	return exec.Command(tool, append(all, args...)...)
}

// A key file on a full disk is edited not at all, rather than by halves.
func TestDiskFull(t *testing.T) {
	slow(t)
	file := mustBuild(t, programFile)
	const script = `
		mount -t tmpfs -o size=4096 tmpfs "$1"
		printf '%s\n' "$3" >"$1/ring"
		for command in add promote replace; do
			if "$2" keys $command "$1/ring"; then echo "done: $command"; fi
			cat "$1/ring"
		done
		ls -A "$1"
		mount -o remount,size=1m "$1"
		"$2" keys add "$1/ring"`
	cmd := testkit.Environ(mounting(t, script, t.TempDir(), file, keyA), nil)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := string(out)
	if got := strings.Count(said, "\n"+keyA+"\n"); got != 3 {
		t.Errorf("got the file whole %d times, want after each command: %s", got, said)
	}
	if strings.Contains(said, "done:") || strings.Count(said, "no space left") != 2 {
		t.Errorf("got an edit on a full disk: %s", said)
	}
	if !strings.Contains(said, "\n"+keyA+"\nring\nring.lock\nadded ") {
		t.Errorf("got something left over, or no edit once there was room: %s", said)
	}
}

// A Kubernetes secret is a read-only mount, in which a link called ..data is
// swapped from outside. The program takes the new keys, and serves on.
func TestSwappedSecret(t *testing.T) {
	slow(t)
	t.Parallel()
	file := mustBuild(t, programFile)
	secret, mounted := t.TempDir(), t.TempDir()
	put := func(version, keys string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(secret, version), 0o700); err != nil {
			t.Fatal(err)
		}
		testkit.WriteFile(t, filepath.Join(secret, version, "ring"), keys)
		next := filepath.Join(secret, "..data_tmp")
		err := errors.Join(os.Symlink(version, next),
			os.Rename(next, filepath.Join(secret, "..data")))
		if err != nil {
			t.Fatal(err)
		}
	}
	put("..v1", keyA)
	if err := os.Symlink("..data/ring", filepath.Join(secret, "ring")); err != nil {
		t.Fatal(err)
	}
	const script = `
		mount --bind "$1" "$2"
		mount -o remount,bind,ro "$2"
		if touch "$2/x" 2>/dev/null; then echo "the mount can be written" >&2; exit 1; fi
		exec "$3" -addr 127.0.0.1:0 -key-file "$2/ring"`
	p := testkit.Start(t, testkit.Environ(mounting(t, script, secret, mounted, file), nil))
	alice := newJar(t, p.URL, "Alice")
	put("..v2", keyB+"\n"+keyA)
	testkit.AwaitTrue(t, "a cookie of the new key", func() bool {
		if got := alice.ask(p.URL); got != "Name: Alice" {
			t.Fatalf("got %q", got)
		}
		return strings.HasPrefix(alice.value(), idOf(t, keyB))
	})
}

// What a copy writes whose clock is 90 seconds ahead counts for the others only when their
// clocks are less than a minute behind. Until then it is left alone, and nothing is lost.
func TestClockAhead(t *testing.T) {
	slow(t)
	p := start(t, withKeyA)
	ahead := func(by time.Duration) string {
		t.Helper()
		return plainCookie + "=" + bake(t, keyA, "Alice", time.Now().Add(by), overHTTP)
	}
	early := &jar{t: t, cookie: ahead(90 * time.Second)}
	was := early.cookie
	if got := early.ask(p.URL); got != "Name not found in session" || early.cookie != was {
		t.Errorf("got %q, or another cookie", got)
	}
	header := form()
	header.Set("Cookie", was)
	res, _ := testkit.Send(t, "POST", p.URL+"/set_name", "name=Bob", header)
	if res.StatusCode != 503 {
		t.Errorf("got status %d for a write, want 503", res.StatusCode)
	}
	testkit.AwaitTrue(t, "the log to say how much", func() bool {
		return regexp.MustCompile(`verdict="from the future" .* ahead=1m(30|29)s\n`).
			MatchString(p.Log.String())
	})
	later := &jar{t: t, cookie: ahead(50 * time.Second)}
	if got := later.ask(p.URL); got != "Name: Alice" {
		t.Errorf("half a minute later: got %q", got)
	}
}

// With all descriptors taken, those who are connected are served; the others
// wait, and are served as soon as some are free again.
func TestDescriptorsExhausted(t *testing.T) {
	slow(t)
	t.Parallel()
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, keyA)
	p := testkit.Start(t, testkit.Environ(exec.Command("sh", "-c",
		`ulimit -n 64; exec "$0" -addr 127.0.0.1:0 -key-file "$1"`,
		mustBuild(t, programFile), ring), nil))
	connected := newClient(t, nil)
	wantServed := func(when string) {
		t.Helper()
		_, body, err := askSite(connected, p.URL, "GET", "/get_name", "", "")
		if err != nil || body != "Name not found in session\n" {
			t.Errorf("%s: got %q and %v", when, body, err)
		}
	}
	wantServed("at first")
	var others []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, conn)
	}
	testkit.WriteFile(t, ring, keyA+"\n"+keyB)
	testkit.AwaitTrue(t, "the key file not to be read", func() bool {
		return p.Log.Has(ring + ": too many open files")
	})
	if got := socketsOf(p.Cmd.Process.Pid); got < 64-10 {
		t.Errorf("got %d sockets of 64 descriptors, want all but ten", got)
	}
	wantServed("with all descriptors taken")
	for _, conn := range others {
		conn.Close()
	}
	newJar(t, p.URL, "Alice")
	testkit.AwaitTrue(t, "the keys", func() bool { return p.Log.Has(`msg="key file loaded"`) })
}

// socketsOf returns how many sockets a process has open.
func socketsOf(pid int) (n int) {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// With 64 MiB of memory, the program lives through a flood of the largest cookies and forms
// that it reads, on many connections at a time.
func TestMemoryLimitUnderTheFlood(t *testing.T) {
	slow(t)
	t.Parallel()
	p := testkit.Start(t, testkit.Environ(
		exec.Command(mustBuild(t, plainFile), "-addr", "127.0.0.1:0"),
		environ{keysVariable: keyA, "GOMEMLIMIT": "48MiB"})) // as docs/operation.md says
	large := "session=" + strings.Repeat("session=x; ", 2000)
	form := "name=" + strings.Repeat("x", maxBody-5)
	floodOf(t, p, "GET /session HTTP/1.0\r\nAccept: text/html\r\nCookie: "+large+
		"\r\n\r\n", fmt.Sprintf("POST /set_name HTTP/1.0\r\nContent-Length: %d\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s", len(form), form))
	if peak := statusOf(t, p, "VmHWM"); peak > 64<<10 {
		t.Errorf("got %d KiB resident at most, want less than 64 MiB", peak)
	}
}

// The systemd unit's TasksMax is enough where there are many processors, which
// need a thread each. With 64, as it once was, the program is killed there.
func TestTasksMax(t *testing.T) {
	slow(t)
	const processors = 1024
	p := start(t, environ{"GOMAXPROCS": fmt.Sprint(processors)})
	floodOf(t, p, "GET /session HTTP/1.0\r\n\r\n")
	unit := read(t, "deploy/cookiesession.service")
	var limit int
	fmt.Sscanf(unit[strings.Index(unit, "\nTasksMax="):], "\nTasksMax=%d", &limit)
	if got := statusOf(t, p, "Threads"); got > limit || limit < processors+100 {
		t.Errorf("got %d threads and TasksMax=%d", got, limit)
	}
}

// statusOf returns what Linux says of a process.
func statusOf(t *testing.T, p *testkit.Server, name string) (n int) {
	t.Helper()
	status := testkit.ReadFile(t, fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	_, after, _ := strings.Cut(status, "\n"+name+":")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// floodOf sends requests by turns, 6,400 in all, on 64 connections at a time. All have to be
// answered, and a visitor afterwards.
func floodOf(t *testing.T, p *testkit.Server, requests ...string) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 100 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				io.WriteString(conn, requests[(i+n)%len(requests)])
				status, err := bufio.NewReader(conn).ReadString('\n')
				if !strings.HasPrefix(status, "HTTP/1.0 ") {
					t.Errorf("got %q and %v", status, err)
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	if got := newJar(t, p.URL, "Alice").ask(p.URL); got != "Name: Alice" {
		t.Errorf("after the flood: got %q", got)
	}
}

// A client that reads a byte a second holds up nobody else, and is cut off when
// its time is over.
func TestSlowReader(t *testing.T) {
	slow(t)
	t.Parallel()
	p := start(t, withKeyA)
	alice := newJar(t, p.URL, "Alice")
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(1)
	began, cutOff := time.Now(), make(chan struct{})
	go func() { // asks for far more than what the sockets hold meanwhile
		defer close(cutOff)
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, "GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}()
	for b := make([]byte, 1); ; {
		asking := time.Now()
		if got := alice.ask(p.URL); got != "Name: Alice" || time.Since(asking) > writeTimeout/4 {
			t.Errorf("others: got %q after %v", got, time.Since(asking))
		}
		conn.Read(b)
		select {
		case <-cutOff:
			if took := time.Since(began); took > writeTimeout+10*time.Second {
				t.Errorf("got it cut off after %v", took)
			}
			return
		case <-time.After(time.Second):
		}
		if time.Since(began) > 2*writeTimeout {
			t.Fatal("got it never cut off")
		}
	}
}
