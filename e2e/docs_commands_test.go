//go:build unix

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"go/format"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// TestDocCommands does what the documents say, in a copy of the project: it
// runs each command as it stands and in its order, and compares what it prints
// where the document shows that.
func TestDocCommands(t *testing.T) {
	slow(t)
	t.Parallel()
	for name, least := range map[string]int{readme: 8, operation: 15} {
		t.Run(path.Base(name), func(t *testing.T) {
			testkit.NeedTool(t, "curl")
			testkit.NeedTool(t, "sh")
			f := newFollower(t)
			ran := 0
			for _, b := range blocks(f.ports.Replace(read(t, name))) {
				ran += f.follow(b)
			}
			if ran < least {
				t.Errorf("ran %d commands, want %d or more", ran, least)
			}
			f.stopServer()
			if f.renamed { // then all files are changed
				f.tryRenamed()
			} else {
				t.Run("gitignore", f.checkIgnored)
			}
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

	renamed bool // the document has given the module another name
}

func newFollower(t *testing.T) *follower {
	t.Helper()
	dir := newProject(t)
	_, site, _ := net.SplitHostPort(testkit.FreeAddr(t))
	_, admin, _ := net.SplitHostPort(testkit.FreeAddr(t))
	addr := "localhost:" + site
	ports := []string{"8080", site, "9090", admin}
	for _, port := range []string{"8081", "8082", "8083", "9091", "9092", "9093"} {
		_, free, _ := net.SplitHostPort(testkit.FreeAddr(t))
		ports = append(ports, port, free)
	}
	return &follower{
		t:     t,
		dir:   dir,
		ports: strings.NewReplacer(ports...),
		addr:  addr,
		sh:    newShell(t, dir, addr),
	}
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
	case b.kind == "go" && strings.HasPrefix(b.text, "package "):
		f.tryProgram(b.text)
	case b.kind == "go":
		f.edit(b.text)
	case b.kind == "html":
		files := regexp.MustCompile("`(templates/[a-z]+\\.html)`").
			FindAllStringSubmatch(b.before, -1)
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
	case server.MatchString(command) && !endsByItself(command):
		f.startServer(line)
		return
	case strings.Contains(command, "go mod edit -module "):
		f.stopServer()
		f.sh.run("cd '" + f.dir + "'")
		f.t.Run("gitignore", f.checkIgnored)
		defer func() { f.renamed = true }()
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

// endsByItself reports whether a command, which starts the program, is over at once.
func endsByItself(command string) bool {
	return strings.Contains(command, " -check ") || strings.HasSuffix(command, " &")
}

// inGate reports whether .ci/run has a line with all of these words.
func inGate(t *testing.T, words []string) bool {
	t.Helper()
	for line := range strings.Lines(read(t, ".ci/run")) {
		line, _, _ = strings.Cut(line, " #")
		has := strings.Fields(line)
		missing := func(word string) bool { return !slices.Contains(has, word) }
		if !slices.ContainsFunc(words, missing) {
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
			f.t.Fatalf("%s doesn't listen: %s", line, testkit.ReadFile(f.t, f.log))
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
	testkit.WriteFile(f.t, filepath.Join(f.dir, name), content)
	f.edited = append(f.edited, name)
}

// edit adds to files what a block says: in the declarations that it names, and what is a
// declaration itself at the end. What is there already, an adopter has added.
func (f *follower) edit(text string) {
	f.t.Helper()
	heads := regexp.MustCompile(`(?m)^// ([\w.]+\.go)(?:, in (\w+))?\n`)
	all := heads.FindAllStringSubmatchIndex(text, -1)
	if len(all) == 0 || all[0][0] != 0 {
		f.t.Fatalf("no file is named for %q", text)
	}
	for i, at := range all {
		end := len(text)
		if i+1 < len(all) {
			end = all[i+1][0]
		}
		name := ""
		if at[4] >= 0 {
			name = text[at[4]:at[5]]
		}
		f.add(text[at[2]:at[3]], name, text[at[1]:end])
	}
}

// add adds text to a file: to the declaration called name, or else at the end.
func (f *follower) add(file, name, text string) {
	f.t.Helper()
	path, source := filepath.Join(f.dir, file), "package main\n"
	if _, err := os.Stat(path); err == nil {
		source = testkit.ReadFile(f.t, path)
	}
	start, end := 0, len(source)
	if name == "" {
		text = "\n" + text
	} else {
		declaration := regexp.MustCompile(`(?ms)^(?:type|func) (?:\([^)]*\) )?` + name + `\b.*?^}`)
		at := declaration.FindStringIndex(source)
		if at == nil {
			f.t.Fatalf("%s declares no %s", file, name)
		}
		start, end = at[0], at[1]-1
		if name == "options" { // it returns a literal, which is meant
			end = strings.LastIndex(source[:end], "\t}\n")
		}
	}
	if !strings.Contains(squeeze(source[start:end]), squeeze(text)) {
		f.write(file, source[:end]+text+source[end:])
	}
}

// tryAction finds out whether the README's field, action and page do what it says.
func (f *follower) tryAction() {
	f.t.Helper()
	runIn(f.t, exec.Command("go", "test", "-short", "."), f.dir, "") // no test has to change
	f.run("go run . -encrypt=false", nil)
	f.expect("curl -s -b jar -c jar -d theme=dark SITE/theme", "Theme: dark")
	f.expect("curl -s -b jar -c jar -d theme=dark -H 'Accept: text/html' SITE/theme | grep lead",
		`<p class="lead">Your theme is dark.</p>`)
	f.expect("curl -s -b jar -H 'Accept: text/html' SITE/theme | grep -e lead -e input",
		"<p class=\"lead\">Your theme is dark.</p>\n<form method=\"post\"><label>Theme "+
			"<input name=\"theme\"></label> <button>Set Theme</button></form>")
	f.expect("curl -s -b jar -c jar -d name=Alice SITE/set_name", "Name Alice set in session")
	f.expect("curl -s -b jar SITE/session | grep -e ^name -e ^theme",
		"name          Alice\ntheme         dark")
	f.expect("go run . inspect -show <jar 2>/dev/null | grep -e name -e theme",
		"name          \"Alice\"\ntheme         \"dark\"")
}

// tryProgram finds out whether a program of the document, in the folder that the commands
// before it have made, does what is said.
func (f *follower) tryProgram(text string) {
	f.t.Helper()
	if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
		f.t.Errorf("a program is not formatted: %v", err)
	}
	folder, _ := f.sh.run("pwd")
	testkit.WriteFile(f.t, filepath.Join(strings.TrimSpace(folder), "main.go"), text)
	f.run("go vet .", nil)
	f.run("go run .", nil)
	for n := range 3 {
		f.expect("curl -s -b visitor -c visitor SITE",
			fmt.Sprintf("This is your visit number %d.", n+1))
	}
	f.expect("curl -s SITE", "This is your visit number 1.")
}

// tryRenamed finds out whether a module of another name still builds, here and in a
// program that imports it, and whether anything has kept the old name.
func (f *follower) tryRenamed() {
	f.t.Helper()
	f.expect("go list .", "example.com/you/cookiesession")
	f.run("go vet ./...", nil)
	f.expect("gofmt -l .", "")
	f.run("said=$(go test -short -run 'TestImports|TestQuickStart' . ./e2e)", nil)
	f.expect("grep -rn '\"cookiesession/[a-z]' --include='*.go' . || echo none", "none")
	f.expect("grep -rn 'go doc cookiesession/[a-z]' --include='*.md' . || echo none", "none")
	f.expect("grep -n '[[:space:]]cookiesession' */go.mod || echo none", "none")
}

// checkIgnored finds files that the commands have made and git would commit.
func (f *follower) checkIgnored(t *testing.T) {
	testkit.NeedTool(t, "git")
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
	said *testkit.Buffer // on its standard error
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
	said := new(testkit.Buffer)
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
