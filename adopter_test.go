package main

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An adopter's change: two fields, and an action that sets them. A site that has
// such a field already keeps its own.
var adopterPatch = []struct{ after, add string }{
	{"type session struct {\n", "\tTheme string\n"},
	{"type session struct {\n", "\tCart []string\n"},
	{"func (a *app) routes(router *mux.Router) {\n", `
	router.HandleFunc("/adopted", a.visitor(a.setThemeInTest)).Methods(http.MethodPost).Name("adopted")
`},
	{"return message(\"Name cleared from session\"), nil\n}\n", `
func (a *app) setThemeInTest(_ *http.Request, v *visit[session]) (answer, error) {
	v.session.Theme = "dark"
	v.session.Cart = append(v.session.Cart, "book")
	return message("Theme dark set in session"), nil
}
`},
}

// copyProject copies what the program is built and tested from into a new folder.
func copyProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == ".git" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, path), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runIn runs a command in a folder, and returns what it prints.
func runIn(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// A new field is one line, and needs no step in a deployment: the copies with
// it and those without serve the same visitor in turns.
func TestAdopterAddsFields(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: it builds and tests another copy of the program")
	}
	t.Parallel()
	dir := copyProject(t)
	file := filepath.Join(dir, "handlers.go")
	source := readFile(t, file)
	for _, p := range adopterPatch {
		if slices.ContainsFunc(strings.Split(source, "\n"), func(line string) bool {
			return strings.Join(strings.Fields(line), " ") == strings.TrimSpace(p.add)
		}) {
			continue
		}
		patched := strings.Replace(source, p.after, p.after+p.add, 1)
		if patched == source {
			t.Fatalf("handlers.go has no %q any more", p.after)
		}
		source = patched
	}
	writeFile(t, file, source)
	runIn(t, dir, "", "gofmt", "-w", "handlers.go")
	runIn(t, dir, "", "go", "vet", "./...")
	runIn(t, dir, "", "go", "test", "-short", "./...")
	exe := filepath.Join(dir, "adopted.exe")
	runIn(t, dir, "", "go", "build", "-o", exe, ".")

	env := map[string]string{"COOKIESESSION_KEYS": keyA, "COOKIESESSION_ENCRYPT": "false"}
	before := startProcess(t, env)
	after := startCommand(t, programEnv(exec.Command(exe, "-addr", "localhost:0"), env))
	cookie := ""
	ask := func(p *started, method, path, accept string) string {
		t.Helper()
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {accept}}
		if cookie != "" {
			header.Set("Cookie", cookie)
		}
		res, body := send(t, method, p.url+path, "name=Bob", header)
		if res.StatusCode != 200 {
			t.Errorf("%s %s: got status %d and %q", method, path, res.StatusCode, body)
		}
		if line := res.Header.Get("Set-Cookie"); line != "" {
			cookie, _, _ = strings.Cut(line, ";")
			cookie = strings.TrimSuffix(cookie, "session=") // when it is deleted
		}
		return body
	}
	wantFields := func(where, text string, fields ...string) {
		t.Helper()
		for _, f := range fields {
			if !strings.Contains(text, f) {
				t.Errorf("%s: got no %s in %s", where, f, text)
			}
		}
	}
	plain := []string{"\ncart          [\"book\"]\n", "\nname          Bob\n", "\ntheme         dark\n"}
	page := []string{"<dt>Cart</dt><dd dir=\"auto\">[&#34;book&#34;]</dd>", "<dt>Name</dt>", "<dt>Theme</dt><dd dir=\"auto\">dark</dd>"}

	ask(after, "POST", "/adopted", "")
	if got := ask(before, "GET", "/get_name", ""); got != "Name not found in session\n" {
		t.Errorf("a session without a name: got %q from the older copy", got)
	}
	if got := ask(before, "POST", "/set_name", ""); got != "Name Bob set in session\n" {
		t.Errorf("got %q from the older copy", got)
	}
	for _, p := range []*started{before, after} {
		if got := ask(p, "GET", "/get_name", ""); got != "Name: Bob\n" {
			t.Errorf("got %q", got)
		}
		wantFields("/session", ask(p, "GET", "/session", ""), plain...)
		wantFields("/session as a page", ask(p, "GET", "/session", browser), page...)
	}
	var out bytes.Buffer
	inspect := program(t, env, "inspect", "-show")
	inspect.Stdin, inspect.Stdout = strings.NewReader(cookie), &out
	if err := inspect.Run(); err != nil {
		t.Error(err)
	}
	wantFields("inspect", out.String(), "cart          [\"book\"]\n", "name          \"Bob\"\n", "theme         \"dark\"\n")
	ask(after, "POST", "/clear_name", "")
	wantFields("after clearing", ask(after, "GET", "/session", ""), "verdict       none")
}
