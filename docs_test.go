//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
)

const (
	readme    = "README.md"
	operation = "docs/operation.md"
	cost      = "docs/cost.md"
)

// block is a fenced block of a document.
type block struct {
	kind   string // what stands behind the fence: sh, console, go, html
	text   string
	before string // all of the document that stands before it
}

var fenced = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// blocks returns the fenced blocks of a document, in their order.
func blocks(doc string) (all []block) {
	for _, at := range fenced.FindAllStringSubmatchIndex(doc, -1) {
		all = append(all, block{
			kind:   doc[at[2]:at[3]],
			text:   doc[at[4]:at[5]],
			before: doc[:at[0]],
		})
	}
	return all
}

// TestDocCommands does what the documents say, in a copy of the project: it
// runs each command as it stands and in its order, and compares what it prints
// where the document shows that.
func TestDocCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	t.Parallel()
	for _, name := range []string{readme, operation} {
		t.Run(path.Base(name), func(t *testing.T) {
			needTool(t, "curl")
			needTool(t, "sh")
			f := newFollower(t)
			ran := 0
			for _, b := range blocks(f.ports.Replace(readFile(t, name))) {
				ran += f.follow(b)
			}
			if ran < 6 {
				t.Errorf("ran %d commands", ran)
			}
			f.stopServer()
			t.Run("gitignore", f.checkIgnored)
		})
	}
}

// follower is somebody who does what a document says.
type follower struct {
	t      *testing.T
	dir    string            // the copy of the project
	ports  *strings.Replacer // puts free ports in the place of the documents'
	addr   string
	sh     *shell
	log    string   // file of what the server that runs says; empty when none runs
	edited []string // files that the document has people write by hand
}

func newFollower(t *testing.T) *follower {
	t.Helper()
	dir := newProject(t)
	site, admin := freePort(t), freePort(t)
	addr := "localhost:" + site
	return &follower{
		t:     t,
		dir:   dir,
		ports: strings.NewReplacer("8080", site, "9090", admin),
		addr:  addr,
		sh:    newShell(t, dir, addr),
	}
}

// newProject copies what would be committed of this folder into another one,
// and commits it there. Without git, it copies everything.
func newProject(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "project") // a folder beside it is the test's own, too
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch to := filepath.Join(dir, name); {
		case name == ".git" && d.IsDir():
			return filepath.SkipDir
		case name == ".git": // of a linked worktree, whose branch would get the commit
			return nil
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type().IsRegular():
			content, err := os.ReadFile(name)
			return errors.Join(err, os.WriteFile(to, content, 0o644))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return dir
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "as it is")
	git(t, dir, "clean", "-fdXq") // what earlier work has left in this folder
	return dir
}

// git runs git in dir, whatever this user's settings are.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_DIR="+filepath.Join(dir, ".git"), "GIT_WORK_TREE="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return string(out)
}

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// follow does what a block says, and returns how many commands it has run.
func (f *follower) follow(b block) (ran int) {
	f.t.Helper()
	switch {
	case b.kind == "sh":
		for line := range strings.Lines(b.text) {
			f.run(line, nil)
			ran++
		}
	case b.kind == "console":
		if !strings.HasPrefix(b.text, "$ ") {
			f.t.Fatalf("no command begins %q", b.text)
		}
		for command := range strings.SplitSeq(b.text[2:], "\n$ ") {
			line, output, _ := strings.Cut(command, "\n")
			output = strings.TrimSuffix(output, "\n")
			f.run(line, &output)
			ran++
		}
	case b.kind == "go" && strings.HasPrefix(b.text, "package main\n"):
		f.tryOwnServer(b.text)
	case b.kind == "go":
		f.edit(b.text)
	case b.kind == "html":
		files := regexp.MustCompile("`(templates/[a-z]+\\.html)`").FindAllStringSubmatch(b.before, -1)
		if files == nil {
			f.t.Fatalf("no file is named for %q", b.text)
		}
		f.write(files[len(files)-1][1], b.text)
		f.tryAction()
	default:
		f.t.Errorf("this test doesn't know what to do with a block of %q", b.kind)
	}
	return ran
}

// server matches a command that serves until it is ended.
var server = regexp.MustCompile(`^(?:[A-Z_]+=(?:\$\([^)]*\)|\S+) +)*` +
	`(?:go run \.|\./cookiesession)(?: +-[^|]*)?$`)

// run runs one command, which must succeed and, if there is something to
// compare with, print it.
func (f *follower) run(line string, want *string) {
	f.t.Helper()
	command, _, _ := strings.Cut(line, " #")
	command = strings.TrimSpace(command)
	switch {
	case strings.HasPrefix(command, "go test "):
		// This is one of those tests. The gate runs all of them.
		if !inGate(f.t, strings.Fields(command)) {
			f.t.Errorf(".ci/run doesn't run %q", command)
		}
		return
	case server.MatchString(command):
		f.startServer(line)
		return
	}
	got, status := f.sh.run(line)
	f.t.Logf("$ %s\n%s", command, got)
	if status != 0 {
		f.t.Errorf("%s: got status %d, %s%s", line, status, got, f.sh.said)
	}
	if want != nil && strings.TrimSuffix(got, "\n") != *want {
		f.t.Errorf("%s: got %q, want %q", line, got, *want)
	}
}

// inGate reports whether .ci/run has a line with all of these words.
func inGate(t *testing.T, words []string) bool {
	t.Helper()
	for line := range strings.Lines(readFile(t, ".ci/run")) {
		line, _, _ = strings.Cut(line, " #")
		has := strings.Fields(line)
		if !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(has, word) }) {
			return true
		}
	}
	return false
}

// startServer runs a command that serves, until the next one is started, as
// somebody does who presses Ctrl-C in between.
func (f *follower) startServer(line string) {
	f.t.Helper()
	f.stopServer()
	f.t.Logf("$ %s &", strings.TrimSpace(line))
	f.log = filepath.Join(f.t.TempDir(), "log")
	f.sh.start(line, f.log)
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", f.addr); err == nil {
			conn.Close()
			return
		}
		if _, status := f.sh.run("kill -0 $!"); status != 0 || time.Now().After(deadline) {
			f.t.Fatalf("%s doesn't listen: %s", line, readFile(f.t, f.log))
		}
	}
}

func (f *follower) stopServer() {
	f.t.Helper()
	if f.log == "" {
		return
	}
	f.log = ""
	f.sh.end(syscall.SIGTERM)
	f.sh.run("wait") // for go run alone: it doesn't wait for the program
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			f.t.Fatal("the server doesn't end")
		}
	}
}

// expect runs a command of this test's own, for what the document claims but
// shows no command for.
func (f *follower) expect(command, want string) {
	f.t.Helper()
	f.run(strings.ReplaceAll(command, "SITE", "http://"+f.addr), &want)
}

// write writes a file of the project, which the document has people write.
func (f *follower) write(name, content string) {
	f.t.Helper()
	writeFile(f.t, filepath.Join(f.dir, name), content)
	f.edited = append(f.edited, name)
}

// edit adds to handlers.go what a block says: in the declarations that it
// names, and what is a declaration itself at the end. What is there already,
// an adopter has added.
func (f *follower) edit(text string) {
	f.t.Helper()
	handlers := readFile(f.t, filepath.Join(f.dir, "handlers.go"))
	add := func(start, end int, text string) {
		if !strings.Contains(squeeze(handlers[start:end]), squeeze(text)) {
			handlers = handlers[:end] + text + handlers[end:]
		}
	}
	for section := range strings.SplitSeq(strings.TrimPrefix(text, "//"), "\n//") {
		where, text, _ := strings.Cut(section, "\n")
		name, named := strings.CutPrefix(where, " in ")
		if !named {
			add(0, len(handlers), "\n"+text)
			continue
		}
		declaration := regexp.MustCompile(`(?ms)^(?:type|func) (?:\([^)]*\) )?` + name + `\b.*?^}`)
		at := declaration.FindStringIndex(handlers)
		if at == nil {
			f.t.Fatalf("handlers.go declares no %s", name)
		}
		add(at[0], at[1]-1, text+"\n")
	}
	f.write("handlers.go", handlers)
}

// squeeze makes one space of each stretch of white space.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// tryAction finds out whether the README's field, action and page do what it says.
func (f *follower) tryAction() {
	f.t.Helper()
	// The tests don't need to be good for this.
	f.run("go vet $(go list -f '{{join .GoFiles \" \"}}')", nil)
	f.run("go run . -encrypt=false", nil)
	f.expect("curl -s -b jar -c jar -d theme=dark SITE/theme", "Theme: dark")
	f.expect("curl -s -b jar -c jar -d theme=dark -H 'Accept: text/html' SITE/theme | grep lead",
		`<p class="lead">Your theme is dark.</p>`)
	f.expect("curl -s -b jar -H 'Accept: text/html' SITE/theme | grep -e lead -e input",
		"<p class=\"lead\">Your theme is dark.</p>\n<form method=\"post\"><label>Theme "+
			"<input name=\"theme\"></label> <button>Set Theme</button></form>")
	f.expect("curl -s -b jar -c jar -d name=Alice SITE/set_name", "Name Alice set in session")
	f.expect("curl -s -b jar SITE/session | grep -e name -e theme",
		"name          Alice\ntheme         dark")
	f.expect("go run . inspect -show <jar 2>/dev/null | grep -e name -e theme",
		"name          \"Alice\"\ntheme         \"dark\"")
}

// tryOwnServer finds out whether the README's own server does what it says, in
// the folder that the commands before it have made.
func (f *follower) tryOwnServer(text string) {
	f.t.Helper()
	if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
		f.t.Errorf("the own server is not formatted: %v", err)
	}
	folder, _ := f.sh.run("pwd")
	folder = strings.TrimSpace(folder)
	writeFile(f.t, filepath.Join(folder, "main.go"), text)
	if files, _ := filepath.Glob(filepath.Join(folder, "*.go")); len(files) != 3 {
		f.t.Errorf("got %q, want the core and main.go alone", files)
	}
	f.run("go vet .", nil)
	f.run("go run .", nil)
	f.expect("curl -s -b jar -c jar -d item=tea SITE", "In your cart: [tea]")
	f.expect("curl -s -b jar -c jar -d item=milk SITE", "In your cart: [tea milk]")
	f.expect("curl -s -b jar -c jar -d item=$(printf %05000d 0) SITE", "This can't go into the cart.")
	f.expect("curl -s -b jar -H 'Sec-Fetch-Site: cross-site' -d item=x SITE -w '%{http_code}'",
		"cross-origin request detected from Sec-Fetch-Site header\n403")
	f.expect("curl -s -b jar -c jar SITE", "In your cart: [tea milk]")
	// The key file is watched.
	f.run("(cd "+f.dir+" && go run . keys replace "+filepath.Join(folder, "ring")+")", nil)
	f.run("until curl -s -b jar http://"+f.addr+" | grep -F '[]'; do sleep .1; done", nil)
}

// checkIgnored finds files that the commands have made and git would commit.
func (f *follower) checkIgnored(t *testing.T) {
	needTool(t, "git")
	for line := range strings.Lines(git(t, f.dir, "add", "-A", "-n")) {
		name := strings.Trim(strings.TrimPrefix(line, "add "), "'\n")
		if !slices.Contains(f.edited, name) {
			t.Errorf("git would commit a change of %s", name)
		}
	}
}

// shell is a shell that keeps its variables and its folder from one command to
// the next.
type shell struct {
	t    *testing.T
	pid  int // also the id of its process group, in which are all that it starts
	in   io.Writer
	out  *bufio.Reader
	said *lockedBuffer // on its standard error
}

// newShell starts a shell in dir. The program listens at addr unless a flag
// says otherwise.
func newShell(t *testing.T, dir, addr string) *shell {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "COOKIESESSION_") || strings.HasPrefix(v, "PORT=")
	})
	// All modules are here already, or this test wouldn't run.
	cmd.Env = append(cmd.Env, "COOKIESESSION_ADDR="+addr, "GOPROXY=off")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := new(lockedBuffer)
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out), said: said}
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		cmd.Wait()
	})
	s.run("trap : TERM") // which is for the server
	return s
}

// run runs a command, and returns its output and its exit status.
func (s *shell) run(command string) (output string, status int) {
	s.t.Helper()
	const mark = "the command has ended with "
	fmt.Fprintf(s.in, "{ %s\n} </dev/null\nprintf '\\n%s%%d\\n' $?\n", command, mark)
	timeout := time.AfterFunc(3*time.Minute, func() { s.end(syscall.SIGKILL) })
	defer timeout.Stop()
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the shell ended in %s: %v: %s%s", command, err, output, s.said)
		}
		if n, err := fmt.Sscanf(line, mark+"%d", &status); n == 1 && err == nil {
			return strings.TrimSuffix(output, "\n"), status
		}
		output += line
	}
}

// start runs a command in the background.
func (s *shell) start(command, log string) {
	s.t.Helper()
	s.run("{ " + command + "\n} >" + log + " 2>&1 &")
}

// end sends a signal to all that the shell has started.
func (s *shell) end(signal syscall.Signal) { syscall.Kill(-s.pid, signal) }

// The table of flags has all of them, with their defaults, and no others. Nor
// is there a word anywhere of a flag that doesn't exist.
func TestDocFlags(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| (`-.*?) \\| (.*?) \\| .* \\|$")
	name := regexp.MustCompile("`-([a-z-]+)")
	defaults := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(readFile(t, operation), -1) {
		for _, flag := range name.FindAllStringSubmatch(m[1], -1) {
			defaults[flag[1]], _, _ = strings.Cut(m[2], ",")
		}
	}
	getenv := func(string) string { return "" }
	new(config).flagSet(getenv).VisitAll(func(f *flag.Flag) {
		want := "`" + strings.ToLower(strings.TrimSuffix(f.DefValue, "0m0s")) + "`"
		switch f.DefValue {
		case "":
			want = "none"
		case "0s":
			want = "`0s`"
		}
		if got := defaults[f.Name]; got != want {
			t.Errorf("-%s: got the default %q, want %q", f.Name, got, want)
		}
		delete(defaults, f.Name)
	})
	for name := range defaults {
		t.Errorf("there is no flag -%s", name)
	}

	var help bytes.Buffer
	for _, args := range [][]string{{"-h"}, {"inspect", "-h"}} {
		if err := run(t.Context(), args, getenv, nil, &help, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	known := []string{"some-flag", "short"} // an example, and one of go test
	offered := regexp.MustCompile(`(?m)^  -([a-z-]+)`)
	for _, m := range offered.FindAllStringSubmatch(help.String(), -1) {
		known = append(known, m[1])
	}
	for _, doc := range []string{readme, operation, cost} {
		for _, m := range name.FindAllStringSubmatch(readFile(t, doc), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: there is no flag -%s", doc, m[1])
			}
		}
	}
}

// The tables of the commands and of the metrics are complete, and have nothing
// that isn't there.
func TestDocTables(t *testing.T) {
	doc := readFile(t, operation)
	var want []string
	for _, c := range keyCommands {
		want = append(want, strings.TrimSpace("keys "+c.name+" "+c.args))
	}
	if got := firstCells(doc, "keys "); !slices.Equal(got, want) {
		t.Errorf("got the commands %q, want %q", got, want)
	}

	a := newTestApp(t, options{})
	a.metrics.keysLoaded(nil)
	a.metrics.certificateLoaded(newTestCertificate(t), nil)
	a.metrics.saved(changed, 100)
	a.metrics.served("/", "GET", 200, time.Millisecond)
	families, err := a.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want = nil
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "cookiesession_") {
			want = append(want, family.GetName())
		}
	}
	got := firstCells(doc, "cookiesession_")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got the metrics %q, want %q", got, want)
	}
}

// firstCells returns the code in the first cells of a document's tables that
// begins with a prefix.
func firstCells(doc, prefix string) (cells []string) {
	cell := regexp.MustCompile("(?m)^\\| `(" + regexp.QuoteMeta(prefix) + "[^`]*)` \\|")
	for _, m := range cell.FindAllStringSubmatch(doc, -1) {
		cells = append(cells, m[1])
	}
	return cells
}

// What the manual says of scale follows from what was measured.
func TestScaleInFigures(t *testing.T) {
	measured := regexp.MustCompile(`(?m)^\| \*\*cookiesession\*\* (.*)$`).FindString(readFile(t, cost))
	cells := strings.Split(measured, " | ")
	if len(cells) != 9 {
		t.Fatalf("got the line %q", measured)
	}
	var read, write, size float64
	fmt.Sscan(cells[2], &read)
	fmt.Sscan(cells[5], &write)
	fmt.Sscan(cells[8], &size)
	doc, visit := readFile(t, operation), 0.9*read+0.1*write
	said := fmt.Sprintf("0.9 × %.0f + 0.1 × %.0f = %.0f µs", read, write, visit)
	if !strings.Contains(doc, said) {
		t.Errorf("%s doesn't say %q", operation, said)
	}
	const planned = 12_500
	if share := planned * visit / 1e6; share < 0.4 || share > 0.6 {
		t.Errorf("got %.2f of a core in the plan, want half", share)
	}
	row := regexp.MustCompile(`(?m)^\| ([\d,]+) \| ([\d.]+) \|.*\| ([\d.]+) ([MG])B/s \|`)
	rows := row.FindAllStringSubmatch(doc, -1)
	if len(rows) != 3 {
		t.Fatalf("got %d lines in the table, want 3", len(rows))
	}
	for _, m := range rows {
		var visits, cores, bytes float64
		fmt.Sscan(strings.ReplaceAll(m[1], ",", ""), &visits)
		fmt.Sscan(m[2], &cores)
		fmt.Sscan(m[3], &bytes)
		bytes *= map[string]float64{"M": 1e6, "G": 1e9}[m[4]]
		if want := visits / planned; cores < want || cores > want+0.1 {
			t.Errorf("%s visits: got %v cores, want %.2f", m[1], cores, want)
		}
		if want := visits * size; bytes < want*0.95 || bytes > want*1.05 {
			t.Errorf("%s visits: got %.0f bytes a second, want %.0f", m[1], bytes, want)
		}
	}
}

// The README is read by people who have little time.
func TestReadmeLength(t *testing.T) {
	if n := strings.Count(readFile(t, readme), "\n"); n > 150 {
		t.Errorf("got %d lines, want 150 at most", n)
	}
}

// What the documents link to or name is there, and what is there is named.
func TestDocLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	code := regexp.MustCompile("`([\\w./*-]+)`")
	isFile := regexp.MustCompile(`[\w*]\.(go|html|svg|css|txt|md)$|/$|^\.\w+/`)
	named := make(map[string]bool)
	for _, doc := range []string{readme, operation, cost} {
		text := fenced.ReplaceAllString(readFile(t, doc), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			target := path.Join(path.Dir(doc), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
			named[target] = true
		}
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			name := m[1]
			// Addresses of the site are no files, and one file is the reader's own.
			if !isFile.MatchString(name) || name[0] == '/' || name == "templates/theme.html" {
				continue
			}
			files, _ := filepath.Glob(name)
			lesson := strings.Contains(name, "forge") || name == "templates/lesson/" // may be taken out
			if len(files) == 0 && !lesson {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
			for _, file := range files {
				named[path.Clean(file)] = true
			}
		}
	}
	var there []string
	for _, pattern := range []string{"*.go", "docs/*", "*/"} {
		files, _ := filepath.Glob(pattern)
		there = append(there, files...)
	}
	for _, file := range there {
		file = path.Clean(file)
		if !named[file] && !strings.HasSuffix(file, "_test.go") && file != "docs" && file != ".git" {
			t.Errorf("no document names %s", file)
		}
	}
}

// The cookie that the README shows is what the program seals, and reads as the
// documents say.
func TestExampleCookie(t *testing.T) {
	text := readFile(t, readme)
	drawing := regexp.MustCompile(
		`(?m)^    (\w+)\.(\S+)\n    (└\S+┘) (└\S+┘)\n    key id .*\| MAC \)$`)
	m := drawing.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("found no drawing")
	}
	value := m[1] + "." + m[2]
	for i := range 2 {
		if got, want := len([]rune(m[3+i])), len(m[1+i]); got != want {
			t.Errorf("got a line of %d characters below %s, want %d", got, m[1+i], want)
		}
	}
	if !strings.Contains(text, "\n$ cookie="+value+"\n") {
		t.Error("another cookie is decoded by hand")
	}
	// A type of this test's own, because the site's may have more fields.
	type example struct{ Name string }
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := payload[example]{Began: uint32(began.Unix()), Data: example{Name: "Alice"}}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(began))
		if want := sealed(t, newTestSessions[example](t, options{signed: true}), p); value != want {
			t.Errorf("got the cookie %s, want %s", value, want)
		}
		time.Sleep(time.Hour)
		var stdout bytes.Buffer
		getenv := func(name string) string { return map[string]string{keysVariable: keyA}[name] }
		err := run(t.Context(), []string{"inspect", "-show"}, getenv,
			strings.NewReader(value+"\n"), &stdout, io.Discard)
		if err != nil {
			t.Errorf("inspect: got %v", err)
		}
		printed := strings.TrimSpace(stdout.String())
		want := "\n\n    " + strings.ReplaceAll(printed, "\n", "\n    ") + "\n\n"
		if !strings.Contains(readFile(t, operation), want) {
			t.Errorf("%s doesn't show what inspect prints:%s", operation, want)
		}
	})

	_, inner, ok := dissect(value)
	content, err := base64.URLEncoding.DecodeString(inner)
	if !ok || err != nil {
		t.Fatalf("got %v for the parts, %v for the payload", ok, err)
	}
	diagnosed, err := cbor.Diagnose(content)
	if err != nil || !strings.Contains(text, "`"+diagnosed+"`") {
		t.Errorf("the README doesn't say that the payload is %s, %v", diagnosed, err)
	}
	shown := ""
	dumped := regexp.MustCompile(`(?m)^((?: [0-9a-f]{2})+) +>.*<$`) // by od
	for _, m := range dumped.FindAllStringSubmatch(text, -1) {
		shown += m[1]
	}
	if want := fmt.Sprintf(" % x", content); shown != want {
		t.Errorf("got the bytes%s, want%s", shown, want)
	}
}

// The README's table of checks is what is done, in that order: a cookie that
// fails at one check, and at those after it as far as it can, gets the verdict
// of that row.
func TestDocChecks(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| *(\\d*) \\| *(.*?) \\| `([a-z ]+)` \\|$")
	rows := row.FindAllStringSubmatch(readFile(t, readme), -1)

	m := newTestManager(t, options{secure: true})
	newBinding(m, 10*time.Minute)
	const day = 24 * 3600
	now := time.Now().Unix()
	// aged is a cookie of a session that began and was last written at those times.
	aged := func(began, written int64) string {
		return sealed(t, m, payload[session]{Began: uint32(began), Since: uint32(written - began)})
	}
	stranger := newTestManager(t, options{keys: []string{keyB}, secure: true})
	junk := []byte("not a session")
	forged := sealBytes(t, stranger, junk)
	cookies := []string{
		"", // none
		strings.Repeat("x", maxCookie),
		forged + "A",
		forged,
		m.ring.Load().seal.id + forged[idLen:],
		sealBytes(t, m, junk),
		aged(now-91*day, now+2*maxSkew),
		aged(now-91*day, now-15*day),
		aged(now-89*day, now-15*day),
		sealBytes(t, m, withDevice(must(encoding.Marshal(alice(0, 0))), make([]byte, deviceBytes))),
		aged(now-89*day, now-13*day),
	}
	if len(rows) != len(cookies) {
		t.Fatalf("got %d rows, want %d", len(rows), len(cookies))
	}
	for i, value := range cookies {
		r, _ := http.NewRequest("GET", "/", nil)
		if value != "" {
			r.Header.Set("Cookie", m.cookie+"="+value)
		}
		v := m.load(r)
		if i+1 < len(rows) && rows[i][1] != fmt.Sprint(i+1) {
			t.Errorf("got the number %q in row %d", rows[i][1], i+1)
		}
		if rows[i][3] != string(v.verdict) || int(v.passed) != min(i, int(checkProof)) {
			t.Errorf("check %d, %s: got %q after %d checks were passed, want %q after %d",
				i+1, rows[i][2], v.verdict, v.passed, rows[i][3], i)
		}
	}
}

// What the manual says of -idle: it is three quarters of it, at least, that a
// visitor may stay away, and the whole of it at most.
func TestDocIdle(t *testing.T) {
	const idle = 400 * time.Second
	for _, tt := range []struct {
		visit, away time.Duration // until the visitor comes back, and after that
		want        verdict
	}{
		{idle/4 - time.Second, idle * 3 / 4, valid},
		{idle/4 - time.Second, idle*3/4 + time.Second, valid}, // the last second
		{idle/4 - time.Second, idle*3/4 + 2*time.Second, expired},
		{idle / 4, idle, valid},
		{idle / 4, idle + time.Second, expired},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newTestManager(t, options{idle: idle})
			value := seal(t, m, alice(0, 0))
			time.Sleep(tt.visit)
			w := httptest.NewRecorder()
			if _, _, err := m.save(w, openValue(m, value)); err != nil {
				t.Fatal(err)
			}
			for _, c := range w.Result().Cookies() {
				value = c.Value
			}
			time.Sleep(tt.away)
			if got := openValue(m, value).verdict; got != tt.want {
				t.Errorf("a visit after %v, another %v later: got %v, want %v",
					tt.visit, tt.away, got, tt.want)
			}
		})
	}
}
