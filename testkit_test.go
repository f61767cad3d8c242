package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"cookiesession/internal/testkit"
)

// What the tests of this package have of testkit, under names of their own.
const keyA, keyB, keyC = testkit.KeyA, testkit.KeyB, testkit.KeyC

type lockedBuffer = testkit.Buffer

var (
	awaitTrue      = testkit.AwaitTrue
	freeAddr       = testkit.FreeAddr
	newCertificate = testkit.NewCertificate
	writeFile      = testkit.WriteFile
	readFile       = testkit.ReadFile
	send           = testkit.Send
	metric         = testkit.Metric
	programEnv     = testkit.Environ
)

var programDir string // deleted at the end

// programFile builds the program, once for all tests that run it as a process.
var programFile = sync.OnceValues(func() (string, error) {
	file := filepath.Join(programDir, "cookiesession.exe")
	return file, testkit.Build(".", file)
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cookiesession")
	if err != nil {
		panic(err)
	}
	programDir = dir
	flag.Parse()
	// The slow tests wait, most of the time, for others than a processor.
	flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0))))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program returns a command that runs the program as a process of its own,
// with nothing from this environment but env.
func program(t testing.TB, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := programFile()
	if err != nil {
		t.Fatal(err)
	}
	return programEnv(exec.Command(file, args...), env)
}

// started is a program that serves.
type started struct {
	url  string
	log  *lockedBuffer
	cmd  *exec.Cmd    // nil when it runs in this process
	wait func() error // returns how it ended
	end  func() error // stops it first
}

func newStarted(p *testkit.Server) *started {
	return &started{url: p.URL, log: p.Log, cmd: p.Cmd, wait: p.Wait, end: p.End}
}

// startRun has the program's own run serve in this process.
func startRun(t testing.TB, env map[string]string, args ...string) *started {
	t.Helper()
	args = append([]string{"-addr", "localhost:0"}, args...)
	getenv := func(name string) string { return env[name] }
	return newStarted(testkit.Serve(t, func(ctx context.Context, log io.Writer) error {
		return run(ctx, args, getenv, strings.NewReader(""), io.Discard, log)
	}))
}

// startProcess starts the program as a process of its own.
func startProcess(t testing.TB, env map[string]string, args ...string) *started {
	t.Helper()
	cmd := program(t, env, append([]string{"-addr", "localhost:0"}, args...)...)
	return newStarted(testkit.Start(t, cmd))
}
