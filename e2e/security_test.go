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
	text := read(t, "docs/security.md")
	called := 0
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	for _, name := range named.FindAllStringSubmatch(text, -1) {
		called++
		if !have[name[1]] {
			t.Errorf("docs/security.md calls %s, which does not exist", name[1])
		}
	}
	if called < 50 {
		t.Errorf("docs/security.md calls %d tests, want many more", called)
	}
}

// What docs/security.md says to print nothing prints nothing.
func TestSecurityCommands(t *testing.T) {
	sh := testkit.NeedTool(t, "sh")
	testkit.NeedTool(t, "grep")
	commands := regexp.MustCompile("`(grep [^`]+)` prints nothing").
		FindAllStringSubmatch(read(t, "docs/security.md"), -1)
	for _, command := range commands {
		var exit *exec.ExitError
		cmd := exec.Command(sh, "-c", command[1])
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(out) > 0 {
			t.Errorf("%s: got %v and %s", command[1], err, out)
		}
	}
	if len(commands) < 5 {
		t.Errorf("ran %d commands, want more", len(commands))
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
		return strings.Contains(p.Log.String(), `"msg":"request"`)
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
