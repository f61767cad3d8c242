package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// formatTool returns the path of a program. Without it, the test is skipped, but in the
// gate.
func formatTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
}

// A program that was written from docs/format.md alone, in another language, opens the
// cookies of both modes.
func TestFormatInPython(t *testing.T) {
	if testing.Short() {
		t.Skip("needs python3")
	}
	python := formatTool(t, "python3")
	if exec.Command(python, "-c", "import cryptography").Run() != nil {
		formatTool(t, "openssl")
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
	if testing.Short() {
		t.Skip("needs a shell")
	}
	for _, name := range []string{"sh", "cut", "tr", "base64", "od"} {
		formatTool(t, name)
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```sh\n(.*?)```.*?```\n(.*?)```").FindStringSubmatch(string(page))
	if found == nil {
		t.Fatal("docs/format.md has no commands, or doesn't say what they print")
	}
	out, err := exec.Command("sh", "-c", found[1]).CombinedOutput()
	if string(out) != found[2] || err != nil {
		t.Errorf("got %v and %s, want %s", err, out, found[2])
	}
}
