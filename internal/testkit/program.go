package testkit

import (
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Environ gives a command the environment of the program: nothing of this one's but
// the path, and env.
func Environ(cmd *exec.Cmd, env map[string]string) *exec.Cmd {
	// The race detector would have each process sleep for a second at its end.
	cmd.Env = []string{"GORACE=atexit_sleep_ms=10",
		"PATH=" + os.Getenv("PATH"), "SYSTEMROOT=" + os.Getenv("SYSTEMROOT")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// Server is a program that serves.
type Server struct {
	URL  string       // where it listens, without a slash at the end
	Log  *Buffer      // what it has logged
	Cmd  *exec.Cmd    // nil when it runs in this process
	Wait func() error // returns how it ended
	End  func() error // stops it first
}

// Listening matches the program's line, as text or as JSON, on where it listens.
var Listening = regexp.MustCompile(
	`(?:msg=listening url=|"msg":"listening","url":")([^\s"]+)(?: addr=|","addr":")([^\s"]+)`)

// awaitURL waits for the log to say where the program listens.
func awaitURL(t testing.TB, log *Buffer, ended <-chan error) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if m := Listening.FindStringSubmatch(log.String()); m != nil {
			if port := m[2][strings.LastIndexByte(m[2], ':'):]; strings.HasSuffix(m[1], port) {
				return m[1]
			}
			return "http://" + m[2] // with -origin, where visitors see a proxy's address
		}
		select {
		case err := <-ended:
			t.Fatalf("the program ended with %v: %s", err, log)
		case <-deadline:
			t.Fatalf("the program doesn't listen: %s", log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Start starts a command that runs the program as a server, and ends it with the test.
func Start(t testing.TB, cmd *exec.Cmd) *Server {
	t.Helper()
	log := new(Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p := &Server{Log: log, Cmd: cmd}
	p.Wait = sync.OnceValue(func() error { return <-ended })
	p.End = sync.OnceValue(func() error {
		if runtime.GOOS == "windows" {
			cmd.Process.Kill()
			p.Wait()
			return nil
		}
		cmd.Process.Signal(syscall.SIGTERM)
		return p.Wait()
	})
	p.URL = awaitURL(t, log, ended)
	t.Cleanup(func() { p.End() })
	return p
}

// Serve has a function serve in this process until its context ends, which is with the
// test, and awaits what it logs.
func Serve(t testing.TB, serve func(ctx context.Context, log io.Writer) error) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, ended := new(Buffer), make(chan error, 1)
	go func() { ended <- serve(ctx, log) }()
	p := &Server{Log: log, URL: awaitURL(t, log, ended)}
	p.Wait = sync.OnceValue(func() error { return <-ended })
	p.End = func() error {
		cancel()
		return p.Wait()
	}
	t.Cleanup(func() {
		if err := p.End(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	return p
}

// adminListening matches the program's line on where its operator's listener is.
var adminListening = regexp.MustCompile(`msg="admin listening" url=(\S+)`)

// AdminURL returns the address of the operator's listener.
func (p *Server) AdminURL() string {
	return adminListening.FindStringSubmatch(p.Log.String())[1]
}
