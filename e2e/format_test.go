package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

// A program that was written from docs/format.md alone, in another language, opens the
// cookies of both modes.
func TestFormatInPython(t *testing.T) {
	slow(t)
	python := testkit.NeedTool(t, "python3")
	if exec.Command(python, "-c", "import cryptography").Run() != nil {
		testkit.NeedTool(t, "openssl")
	}
	program := filepath.Join("testdata", "open_cookie.py")
	vectors := filepath.Join("..", "sessions", "testdata", "vectors.json")
	out, err := exec.Command(python, program, vectors).CombinedOutput()
	if want := "vectors are right"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v and %s, want all %s", err, out, want)
	}
}

// The commands of docs/format.md print what it says they print.
func TestFormatByHand(t *testing.T) {
	slow(t)
	sh := testkit.NeedTool(t, "sh")
	found := regexp.MustCompile("(?s)```sh\n(.*?)```.*?```\n(.*?)```").
		FindStringSubmatch(read(t, "docs/format.md"))
	if found == nil {
		t.Fatal("docs/format.md has no commands, or doesn't say what they print")
	}
	out, err := exec.Command(sh, "-c", found[1]).CombinedOutput()
	if string(out) != found[2] || err != nil {
		t.Errorf("got %v and %s, want %s", err, out, found[2])
	}
}
