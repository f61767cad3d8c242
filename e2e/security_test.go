package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// Each test that docs/security.md calls as a witness exists.
func TestSecurityWitnesses(t *testing.T) {
	have := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, file := range projectFiles(t, "_test.go") {
		for _, m := range declared.FindAllStringSubmatch(read(t, file), -1) {
			have[m[1]] = true
		}
	}
	text := read(t, security)
	called := 0
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	for _, name := range named.FindAllStringSubmatch(text, -1) {
		called++
		if !have[name[1]] {
			t.Errorf("%s calls %s, which does not exist", security, name[1])
		}
	}
	if called < 50 {
		t.Errorf("%s calls %d tests, want many more", security, called)
	}
}

// What docs/security.md says to print nothing prints nothing, but something with its control
// in the place of its patterns.
func TestSecurityCommands(t *testing.T) {
	sh := testkit.NeedTool(t, "sh")
	testkit.NeedTool(t, "grep")
	run := func(command string) (out string, status int) {
		t.Helper()
		cmd := exec.Command(sh, "-c", command)
		cmd.Dir = root
		all, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(all), cmd.ProcessState.ExitCode()
	}
	doc := read(t, security)
	patterns := regexp.MustCompile(`(?: -e (?:'[^']*'|\S+))+`)
	commands := regexp.MustCompile("`(grep [^`]+)` prints nothing(?: \\(control: `([^`]+)`\\))?").
		FindAllStringSubmatch(doc, -1)
	for _, command := range commands {
		if out, status := run(command[1]); status != 1 || out != "" {
			t.Errorf("%s: got status %d and %s", command[1], status, out)
		}
		control := patterns.ReplaceAllString(command[1], " -e '"+command[2]+"'")
		if out, status := run(control); command[2] == "" || status != 0 || out == "" {
			t.Errorf("%s: got status %d and nothing", control, status)
		}
	}
	if n := strings.Count(doc, "`grep "); len(commands) < 5 || len(commands) != n {
		t.Errorf("ran %d commands, want all %d", len(commands), n)
	}
}

// Each line of the log has its time with an offset, and there is nothing on
// standard output.
func TestLogLines(t *testing.T) {
	slow(t)
	var stdout testkit.Buffer
	cmd := program(t, nil, "-addr", "127.0.0.1:0", "-log-format", "json", "-log-level", "debug")
	cmd.Stdout = &stdout
	p := testkit.Start(t, cmd)
	pageAt(t, p.URL+"/get_name")
	testkit.AwaitTrue(t, "the request's line", func() bool {
		return p.Log.Has(`"msg":"request"`)
	})
	for text := range strings.Lines(p.Log.String()) {
		var line struct {
			Time       time.Time // which takes no time without an offset
			Level, Msg string
		}
		err := json.Unmarshal([]byte(text), &line)
		if err != nil || line.Level == "" || line.Msg == "" || time.Since(line.Time) > time.Minute {
			t.Errorf("got %v from %s", err, text)
		}
	}
	if stdout.String() != "" {
		t.Errorf("got %q on standard output", &stdout)
	}
}
