package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	secret, mounted, admin := t.TempDir(), t.TempDir(), testkit.FreeAddr(t)
	put := func(version, keys string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(secret, version), 0o700); err != nil {
			t.Fatal(err)
		}
		testkit.WriteFile(t, filepath.Join(secret, version, "ring"), keys)
		next := filepath.Join(secret, "..data_tmp")
		if err := os.Symlink(version, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(secret, "..data")); err != nil {
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
		exec "$3" -addr 127.0.0.1:0 -admin-addr "$4" -key-file "$2/ring"`
	p := testkit.Start(t, testkit.Environ(mounting(t, script, secret, mounted, file, admin), nil))
	alice := newJar(t, p.URL, "Alice")
	a, b := idsOf(t, keyA).encrypted, idsOf(t, keyB).encrypted
	for _, step := range []struct{ version, keys, seals string }{
		{version: "..v2", keys: keyA + "\n" + keyB, seals: a},
		{version: "..v3", keys: keyB + "\n" + keyA, seals: b},
		{version: "..v4", keys: keyB, seals: b},
	} {
		put(step.version, step.keys)
		ids := 2 * (strings.Count(step.keys, "\n") + 1)
		testkit.AwaitTrue(t, step.version, func() bool {
			if got := alice.ask(p.URL); got != "Name: Alice" {
				t.Fatalf("%s: got %q", step.version, got)
			}
			page := metricsOf(t, admin)
			seals := fmt.Sprintf(`{key_id="%s",mode="encrypted",role="seals"}`, step.seals)
			return strings.Contains(page, seals) &&
				strings.Count(page, "\ncookiesession_key_info{") == ids
		})
	}
}

// One copy's clock is 90 seconds ahead. What it writes counts for the others
// only when their clocks are less than a minute behind, half a minute later.
// Until then it is left alone, and nothing is lost.
func TestClockAhead(t *testing.T) {
	slow(t)
	t.Parallel()
	ahead := testkit.Start(t, programAt(t, "90", withKeyA, "-addr", "127.0.0.1:0"))
	right := []*testkit.Server{start(t, withKeyA), start(t, withKeyA)}
	later := testkit.Start(t, programAt(t, "32", withKeyA, "-addr", "127.0.0.1:0"))

	bob := newJar(t, right[0].URL, "Bob") // begun where the clock is right
	alice := newJar(t, ahead.URL, "Alice")
	cookie := alice.cookie
	for _, p := range right {
		if got := alice.ask(p.URL); got != "Name not found in session" || alice.cookie != cookie {
			t.Errorf("got %q, or another cookie", got)
		}
		testkit.AwaitTrue(t, "the verdict", func() bool {
			return p.Log.Has(`verdict="from the future"`)
		})
	}
	if got := alice.ask(ahead.URL); got != "Name: Alice" {
		t.Errorf("the copy that is ahead: got %q", got)
	}
	for _, p := range []*testkit.Server{ahead, right[1], ahead, right[0]} {
		if got := bob.ask(p.URL); got != "Name: Bob" {
			t.Errorf("a session from a right clock: got %q", got)
		}
	}
	if got := alice.ask(later.URL); got != "Name: Alice" {
		t.Errorf("half a minute later: got %q", got)
	}
}

// With all descriptors taken, those who are connected are served; the others
// wait, and are served as soon as some are free again.
func TestDescriptorsExhausted(t *testing.T) {
	slow(t)
	t.Parallel()
	file := mustBuild(t, programFile)
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, keyA)
	p := testkit.Start(t, testkit.Environ(exec.Command("sh", "-c",
		`ulimit -n 64; exec "$0" -addr 127.0.0.1:0 -key-file "$1"`, file, ring), nil))
	alice := newJar(t, p.URL, "Alice")
	host := strings.TrimPrefix(p.URL, "http://")
	// One who is connected stays so.
	client := &http.Client{Timeout: 5 * time.Second, Transport: new(http.Transport)}
	wantAlice := func(when string) {
		t.Helper()
		_, body, err := askSite(client, p.URL, "GET", "/get_name", "", alice.cookie)
		if err != nil || body != "Name: Alice\n" {
			t.Errorf("%s: got %q and %v", when, body, err)
		}
	}
	wantAlice("at first")
	var others []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, conn)
	}
	testkit.AwaitTrue(t, "the descriptors to be taken", func() bool {
		return p.Log.Has("too many open files")
	})
	wantAlice("with all descriptors taken")
	testkit.WriteFile(t, ring, keyA+"\n"+keyB)
	p.Cmd.Process.Signal(syscall.SIGHUP)
	testkit.AwaitTrue(t, "the key file not to be read", func() bool {
		return p.Log.Has(ring + ": too many open files")
	})
	if got := socketsOf(p.Cmd.Process.Pid); got < 64-10 {
		t.Errorf("got %d sockets of 64 descriptors, want all but ten", got)
	}
	wantAlice("after the key file could not be read")
	for _, conn := range others {
		conn.Close()
	}
	if got := alice.ask(p.URL); got != "Name: Alice" {
		t.Errorf("free again: got %q", got)
	}
	testkit.AwaitTrue(t, "the keys", func() bool {
		return p.Log.Has(`msg="key file loaded"`)
	})
	if got := strings.Count(p.Log.String(), "too many open files"); got > 5*floodLimit {
		t.Errorf("got %d lines of it in the log", got)
	}
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

// With 64 MiB of memory, the program lives through a flood of the largest
// cookies and forms that it reads, on many connections at a time.
func TestMemoryLimitUnderTheFlood(t *testing.T) {
	slow(t)
	t.Parallel()
	const limit = 64 << 20
	cmd := testkit.Environ(exec.Command(mustBuild(t, plainFile), "-addr", "127.0.0.1:0"), environ{
		keysVariable: keyA, "GOMEMLIMIT": "52MiB", // as docs/operation.md says
	})
	group, err := newGroup(t, "memory", "memory.limit_in_bytes", "memory.max", strconv.Itoa(limit))
	isLimited := err == nil
	if isLimited {
		inGroup(t, cmd, group)
	} else {
		t.Logf("memory can't be limited here, only watched: %v", err)
	}
	p := testkit.Start(t, cmd)
	alice := newJar(t, p.URL, "Alice")
	host := strings.TrimPrefix(p.URL, "http://")
	large := "session=" + strings.Repeat("session=x; ", 2000)
	form := "name=" + strings.Repeat("x", maxBody-5)
	answered := floodOf(t, host, "GET /session HTTP/1.0\r\nAccept: text/html\r\nCookie: "+large+
		"\r\n\r\n", fmt.Sprintf("POST /set_name HTTP/1.0\r\nContent-Length: %d\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s", len(form), form))
	status := testkit.ReadFile(t, fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	var peak int
	fmt.Sscan(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindStringSubmatch(status)[1], &peak)
	t.Logf("%d requests answered, %.1f MiB resident at most, limited by the kernel: %v",
		answered, float64(peak)/1024, isLimited)
	if answered != 6400 {
		t.Errorf("got %d answers, want all", answered)
	}
	if peak<<10 > limit {
		t.Errorf("got %d KiB resident at most, want less than %d", peak, limit>>10)
	}
	if got := alice.ask(p.URL); got != "Name: Alice" {
		t.Errorf("after the flood: got %q", got)
	}
}

// floodOf sends requests by turns, 6,400 in all, on 64 connections at a time, and returns
// how many were answered.
func floodOf(t *testing.T, host string, requests ...string) int64 {
	t.Helper()
	var wg sync.WaitGroup
	var answered atomic.Int64
	for i := range 64 {
		wg.Go(func() {
			for n := range 100 {
				conn, err := net.Dial("tcp", host)
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				io.WriteString(conn, requests[(i+n)%len(requests)])
				status, _ := bufio.NewReader(conn).ReadString('\n')
				if strings.HasPrefix(status, "HTTP/1.0 ") {
					answered.Add(1)
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	return answered.Load()
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
	asked := make(chan error, 1)
	go func() { // far more than what the sockets hold meanwhile
		for {
			_, err := io.WriteString(conn, "GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n")
			if err != nil {
				asked <- err
				return
			}
		}
	}()
	began := time.Now()
	for b := make([]byte, 1); ; time.Sleep(time.Second) {
		asking := time.Now()
		if got := alice.ask(p.URL); got != "Name: Alice" || time.Since(asking) > writeTimeout/4 {
			t.Errorf("others: got %q after %v", got, time.Since(asking))
		}
		conn.Read(b)
		select {
		case <-asked:
			if took := time.Since(began); took > writeTimeout+10*time.Second {
				t.Errorf("got it cut off after %v", took)
			}
			return
		default:
		}
		if time.Since(began) > 2*writeTimeout {
			t.Fatal("got it never cut off")
		}
	}
}

// HAProxy is reloaded in mid-flight, which nobody notices, and killed, after
// which everybody still has a session.
func TestHAProxyRestarts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	defer f.end()
	all := namedVisitors(t, 20, f.newVisitor)
	stop := keepChecking(all, func(err error) { t.Errorf("during a reload: %v", err) })
	for range 2 {
		time.Sleep(500 * time.Millisecond)
		f.haproxy.start("-sf", fmt.Sprint(f.haproxy.cmd.Process.Pid))
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	t.Logf("%d requests during two reloads", f.requests.Load())
	f.haproxy.cmd.Process.Kill()
	f.haproxy.cmd.Wait()
	testkit.AwaitTrue(t, "requests to fail", func() bool { return all[0].check() != nil })
	f.haproxy.start()
	testkit.AwaitTrue(t, "HAProxy to be back", func() bool { return all[0].check() == nil })
	for _, v := range all {
		if err := v.check(); err != nil {
			t.Errorf("after HAProxy was killed: %v", err)
		}
	}
}
