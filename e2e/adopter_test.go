package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

// adopterPatch is an adopter's change: two fields, and an action that sets them. A site
// that has such a field already keeps its own.
var adopterPatch = []struct{ after, add string }{
	{"type session struct {\n", "\tTheme string\n"},
	{"type session struct {\n", "\tCart []string\n"},
	{"func (a *app) routes(router *mux.Router) {\n", `
	router.HandleFunc("/adopted", a.visitor(a.setThemeInTest)).
		Methods(http.MethodPost).Name("adopted")
`},
	{"return message(\"Name cleared from session\"), nil\n}\n", `
func (a *app) setThemeInTest(_ *http.Request, v *visit[session]) (answer, error) {
	v.session.Theme = "dark"
	v.session.Cart = append(v.session.Cart, "book")
	return message("Theme dark set in session"), nil
}
`},
}

// A new field is one line, and needs no step in a deployment: the copies with
// it and those without serve the same visitor in turns.
func TestAdopterAddsFields(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := copyProject(t)
	file := filepath.Join(dir, "handlers.go")
	source := testkit.ReadFile(t, file)
	for _, p := range adopterPatch {
		isThere := func(line string) bool { return squeeze(line) == squeeze(p.add) }
		if slices.ContainsFunc(strings.Split(source, "\n"), isThere) {
			continue
		}
		patched := strings.Replace(source, p.after, p.after+p.add, 1)
		if patched == source {
			t.Fatalf("handlers.go has no %q any more", p.after)
		}
		source = patched
	}
	testkit.WriteFile(t, file, source)
	runIn(t, exec.Command("gofmt", "-w", "handlers.go"), dir, "")
	goIn(t, dir, "vet", "./...")
	goIn(t, dir, "test", "-short", "./...")
	exe := filepath.Join(dir, "adopted.exe")
	goIn(t, dir, "build", "-o", exe, ".")

	env := environ{keysVariable: keyA, "COOKIESESSION_ENCRYPT": "false"}
	before := start(t, env)
	after := testkit.Start(t, testkit.Environ(exec.Command(exe, "-addr", "localhost:0"), env))
	cookie := ""
	ask := func(p *testkit.Server, method, path, accept string) string {
		t.Helper()
		header := form()
		header.Set("Accept", accept)
		if cookie != "" {
			header.Set("Cookie", cookie)
		}
		res, body := testkit.Send(t, method, p.URL+path, "name=Bob", header)
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
	plain := []string{
		"\ncart          [\"book\"]\n", "\nname          Bob\n", "\ntheme         dark\n",
	}
	page := []string{
		"<dt>Cart</dt><dd dir=\"auto\">[&#34;book&#34;]</dd>", "<dt>Name</dt>",
		"<dt>Theme</dt><dd dir=\"auto\">dark</dd>",
	}

	ask(after, "POST", "/adopted", "")
	if got := ask(before, "GET", "/get_name", ""); got != "Name not found in session\n" {
		t.Errorf("a session without a name: got %q from the older copy", got)
	}
	if got := ask(before, "POST", "/set_name", ""); got != "Name Bob set in session\n" {
		t.Errorf("got %q from the older copy", got)
	}
	for _, p := range []*testkit.Server{before, after} {
		if got := ask(p, "GET", "/get_name", ""); got != "Name: Bob\n" {
			t.Errorf("got %q", got)
		}
		wantFields("/session", ask(p, "GET", "/session", ""), plain...)
		wantFields("/session as a page", ask(p, "GET", "/session", testkit.Browser), page...)
	}
	shown, _, _ := command(t, cookie, env, "inspect", "-show")
	wantFields("inspect", shown,
		"cart          [\"book\"]\n", "name          \"Bob\"\n", "theme         \"dark\"\n")
	ask(after, "POST", "/clear_name", "")
	wantFields("after clearing", ask(after, "GET", "/session", ""), "verdict       none")
}

// copyProject copies what would be committed of the project into another folder, but for
// these tests, which know the demo.
func copyProject(t *testing.T) string {
	t.Helper()
	dir := newProject(t)
	for _, name := range []string{"e2e", ".git"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goIn runs the go tool in a folder.
func goIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	runIn(t, exec.Command("go", args...), dir, "")
}
