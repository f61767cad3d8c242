//go:build unix

package e2e

import (
	"fmt"
	"go/format"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// imported are the packages that docs/site.md has code for, by what stands for them there.
// Editors add them.
var imported = map[string]string{
	"aes": "crypto/aes", "base64": "encoding/base64", "cipher": "crypto/cipher",
	"fmt": "fmt", "hmac": "crypto/hmac", "http": "net/http",
	"httptest": "net/http/httptest", "io": "io", "json": "encoding/json",
	"scs": "github.com/alexedwards/scs/v2", "sessions": "cookiesession/sessions",
	"sha1": "crypto/sha1", "strings": "strings", "synctest": "testing/synctest",
	"testing": "testing", "time": "time", "url": "net/url", "web": "cookiesession/internal/web",
}

// Each piece of code of docs/site.md goes into a copy of the project, together, and does
// there what the document says: testdata/recipes_test.go asks.
func TestRecipes(t *testing.T) {
	slow(t)
	f := &follower{t: t, dir: newProject(t)}
	doc, code := read(t, ownSite), 0
	for _, b := range blocks(doc) {
		if b.kind == "go" {
			wantFormatted(t, b.text)
			f.edit(b.text)
			code++
		}
		if b.kind == "html" {
			f.write("templates/login.html", b.text)
		}
	}
	if code < 15 {
		t.Errorf("got %d pieces of code in %s", code, ownSite)
	}
	for _, name := range []string{"recipes_test.go", "users.go"} {
		f.write(name, read(t, "e2e/testdata/"+name))
	}
	for _, name := range []string{"go.mod", "go.sum"} { // scs is known to the benchmark's module
		f.write(name, testkit.ReadFile(t, filepath.Join(f.dir, name))+
			strings.Replace(linesOf(read(t, "bench/"+name), "/scs/v2 "), "\t", "require ", 1))
	}
	slices.Sort(f.edited)
	for _, name := range slices.Compact(f.edited) {
		f.addImports(name)
	}
	runIn(t, exec.Command("go", "vet", "."), f.dir, "")

	tests := regexp.MustCompile(`(?m)^func (Test\w+)`)
	want := []string{"TestOptions"} // which the document's own options don't concern
	for _, m := range tests.FindAllStringSubmatch(doc+read(t, "e2e/testdata/recipes_test.go"), -1) {
		want = append(want, m[1])
	}
	out := runIn(t, exec.Command("go", "test", "-v", "-run",
		"^("+strings.Join(want, "|")+")$", "."), f.dir, "")
	for _, name := range want {
		if !strings.Contains(out, "--- PASS: "+name+" ") {
			t.Errorf("%s has not passed: %s", name, out)
		}
	}
}

// wantFormatted says so if the declarations in a piece of code are not as gofmt has them.
func wantFormatted(t *testing.T, text string) {
	t.Helper()
	for part := range strings.SplitSeq("\n"+text, "\n// ") {
		head, code, _ := strings.Cut(part, "\n")
		if !strings.HasSuffix(head, ".go") {
			continue
		}
		if got, err := format.Source([]byte(code)); err != nil || string(got) != code {
			t.Errorf("not formatted: %v\n%s", err, code)
		}
	}
}

// addImports adds to a file the imports that it lacks, as an editor does.
func (f *follower) addImports(name string) {
	f.t.Helper()
	if !strings.HasSuffix(name, ".go") {
		return
	}
	source := testkit.ReadFile(f.t, filepath.Join(f.dir, name))
	for _, pkg := range slices.Sorted(maps.Keys(imported)) {
		used := regexp.MustCompile(`(?m)^[^/"]*\b` + pkg + `\.[A-Z]`).MatchString(source)
		if line := `"` + imported[pkg] + `"`; used && !strings.Contains(source, line) {
			const head = "package main\n"
			source = strings.Replace(source, head, head+"\nimport "+line+"\n", 1)
		}
	}
	f.write(name, source)
}

// linesOf returns the lines of a text that have a part in them.
func linesOf(text, part string) (all string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			all += line
		}
	}
	return all
}

// The lines for other routers are those that the examples are tried with.
func TestOtherRouters(t *testing.T) {
	doc, tried := read(t, ownSite), read(t, "examples/routers_test.go")
	line := regexp.MustCompile("(?m)^\\| (?:`http.ServeMux`|chi|gin|echo) \\| (.*) \\| (.*) \\|$")
	rows := line.FindAllStringSubmatch(doc, -1)
	if len(rows) != 4 {
		t.Fatalf("got %d routers, want 4", len(rows))
	}
	for _, row := range rows {
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			if !strings.Contains(tried, code[1]) {
				t.Errorf("nobody has tried %s", code[1])
			}
		}
	}
}

// A later version of the project comes under another name into a site that has changes of
// its own, by the commands of the documents.
func TestLaterVersion(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "git")
	testkit.NeedTool(t, "perl")
	published, dir := newProject(t), filepath.Join(t.TempDir(), "site")
	commit := func(dir, message string) { git(t, dir, "commit", "-qam", message) }
	git(t, published, "branch", "-M", "main")
	runIn(t, exec.Command("git", "clone", "-q", published, dir), t.TempDir(), "")
	for _, d := range []string{published, dir} {
		git(t, d, "config", "user.name", "test")
		git(t, d, "config", "user.email", "test@localhost")
	}
	sh := func(commands string) {
		t.Helper()
		runIn(t, exec.Command("sh", "-e", "-c", commands), dir, "")
	}
	var rename, later string
	for _, b := range blocks(read(t, readme)) {
		if strings.Contains(b.text, "go mod edit -module") {
			rename = b.text
		}
	}
	for _, b := range blocks(read(t, ownSite)) {
		if b.kind == "sh" {
			later += b.text
		}
	}
	sh(rename)
	if !strings.Contains(later, rename) {
		t.Errorf("%s renames otherwise than the README: %s", ownSite, later)
	}
	commit(dir, "renamed")
	git(t, dir, "branch", "theirs")

	patch(t, dir, "session.go", "\tName string\n", "\tName string\n\tOwn  string\n")
	commit(dir, "a field")
	patch(t, published, "handlers.go", "const maxName = 200", "const maxName = 300")
	testkit.WriteFile(t, filepath.Join(published, "internal", "web", "later.go"),
		"package web\n\n"+`import _ "cookiesession/sessions"`+"\n")
	git(t, published, "rm", "-q", "docs/cost.md")
	git(t, published, "add", "-A")
	commit(published, "later")

	sh(later)
	for file, want := range map[string]string{
		"session.go": "\tOwn  string\n", "handlers.go": "const maxName = 300",
		"internal/web/later.go": `import _ "example.com/you/cookiesession/sessions"`,
	} {
		if !strings.Contains(testkit.ReadFile(t, filepath.Join(dir, file)), want) {
			t.Errorf("%s has no %q", file, want)
		}
	}
	if out := git(t, dir, "status", "--short"); out != "" {
		t.Errorf("got %s", out)
	}
	if out := git(t, dir, "ls-files", "docs/cost.md"); out != "" {
		t.Errorf("%s is still there", out)
	}
	runIn(t, exec.Command("go", "vet", "./..."), dir, "")
}

// A login provider's post comes without the session. The page to which it is redirected has
// it: so a browser sends a cookie that is SameSite=Lax.
func TestProviderInBrowser(t *testing.T) {
	c := startBrowser(t)
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	type data struct{ State string }
	m, err := sessions.New(keys, sessions.Options[data]{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	page := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,"><main>%s</main>`, text)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/begin", func(w http.ResponseWriter, r *http.Request) {
		m.Get(r.Context()).Data.State = "s"
		page(w, "begun")
	})
	mux.HandleFunc("POST /callback", func(w http.ResponseWriter, r *http.Request) {
		to := "/finish?had=" + string(m.Get(r.Context()).Verdict())
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
	mux.HandleFunc("GET /finish", func(w http.ResponseWriter, r *http.Request) {
		page(w, fmt.Sprintf("had %s, state %s", r.FormValue("had"), m.Get(r.Context()).Data.State))
	})
	site := httptest.NewServer(m.Handler(mux))
	defer site.Close()
	base := strings.Replace(site.URL, "127.0.0.1", "localhost", 1)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		page(w, `<form method="post" action="`+base+`/callback"><button>Go</button></form>`)
	}))
	defer provider.Close()

	b := c.newTab(base)
	b.sibling = provider.URL
	b.open("/begin")
	b.visit(provider.URL)
	b.click("button")
	b.wantText("had none, state s")
}
