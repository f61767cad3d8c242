// Package e2e tests the program as a process: over sockets, by its files and by what it
// prints, with browsers, proxies and Prometheus around it, and in its faults. It knows the
// demo's pages, so it goes when they do. What the pages, cookies and limits are called
// stands in site_test.go.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// root is the folder of the project.
const root = ".."

var scratch string // a folder of all tests together, deleted at the end

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cookiesession")
	if err != nil {
		panic(err)
	}
	scratch = dir
	flag.Parse()
	// The slow tests wait, most of the time, for others than a processor.
	flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0))))
	code := m.Run()
	endBrowser()
	os.RemoveAll(dir)
	os.Exit(code)
}

// slow skips a test with -short, which runs what needs neither another program nor
// more than a second.
func slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow")
	}
}

// programFile builds the program, once for all tests, and with the race detector if
// they have it.
var programFile = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "cookiesession.exe")
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return file, build(root, file, "-race")
	}
	return file, build(root, file)
})

// plainFile builds it without the race detector, which has a memory of its own.
var plainFile = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "plain.exe")
	return file, build(root, file)
})

func build(dir, file string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", file}, flags...), ".")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// environ is a program's environment.
type environ = map[string]string

// mustBuild returns the file that a build makes.
func mustBuild(t testing.TB, build func() (string, error)) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// program returns a command that runs the program, with nothing from this environment
// but env.
func program(t testing.TB, env environ, args ...string) *exec.Cmd {
	t.Helper()
	return testkit.Environ(exec.Command(mustBuild(t, programFile), args...), env)
}

// start starts the program as a server.
func start(t testing.TB, env environ, args ...string) *testkit.Server {
	t.Helper()
	return testkit.Start(t, program(t, env, append([]string{"-addr", "localhost:0"}, args...)...))
}

// command runs the program to its end and returns what it prints.
func command(t testing.TB, stdin string, env environ, args ...string) (
	stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := program(t, env, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(commandTimeout, func() { cmd.Process.Kill() }).Stop()
	cmd.Wait()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// commandTimeout is after how long a command is killed, so that one that hangs
// fails its test instead of all of them. It is much more than any needs.
const commandTimeout = 10 * time.Second

// mustRun runs a command of the program that has to succeed.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, status := command(t, "", nil, args...)
	if status != 0 || stderr != "" {
		t.Fatalf("%q: got status %d and %q", args, status, stderr)
	}
	return stdout
}

// sealer returns the id of the key in a file that seals encrypted cookies.
func sealer(t testing.TB, file string) string {
	t.Helper()
	line, _, _ := strings.Cut(strings.TrimSpace(testkit.ReadFile(t, file)), "\n")
	return idOf(t, strings.Fields(line)[0])
}

// idOf returns the id of a key that encrypts.
func idOf(t testing.TB, key string) string {
	t.Helper()
	k, err := sessions.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _ := k.IDs()
	return encrypted
}

// tool runs a tool to its end, in the project's folder, and returns what it has printed.
func tool(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	// Not the test's context, which has ended when the test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return runIn(t, exec.CommandContext(ctx, testkit.NeedTool(t, name), args...), root, stdin)
}

// runIn runs a command in a folder, and returns what it prints on its standard output.
func runIn(t testing.TB, cmd *exec.Cmd, dir, stdin string) string {
	t.Helper()
	var said bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, strings.NewReader(stdin), &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s%s", cmd.Args, err, out, &said)
	}
	return string(out)
}

// read returns a file of the project.
func read(t testing.TB, name string) string {
	t.Helper()
	return testkit.ReadFile(t, filepath.Join(root, filepath.FromSlash(name)))
}
