package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

// What people do to the project who make it a site of their own, in copies of it.

// copyProject copies what would be committed of the project into another folder, but for
// these tests, which know the demo, and for what else is named.
func copyProject(t *testing.T, without ...string) string {
	t.Helper()
	dir := newProject(t)
	for _, name := range append(without, "e2e", ".git") {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(name); err != nil && filepath.Base(name) != ".git" {
			t.Fatal(err)
		}
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// patch replaces a part of a file, which must be in there once.
func patch(t *testing.T, dir, name, old, new string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	source := testkit.ReadFile(t, file)
	if n := strings.Count(source, old); n != 1 {
		t.Fatalf("got %q %d times in %s, want it once", old, n, name)
	}
	testkit.WriteFile(t, file, strings.Replace(source, old, new, 1))
}

// tryProject has the go tool look at a project, run the tests of packages, and build the
// program, and returns its file. No other test should run meanwhile: it takes all of the
// machine.
func tryProject(t *testing.T, dir, packages string) (exe string) {
	t.Helper()
	exe = filepath.Join(dir, "changed.exe")
	if out := runIn(t, exec.Command("gofmt", "-l", "."), dir, ""); out != "" {
		t.Errorf("gofmt has something to say of %s", out)
	}
	for _, args := range [][]string{
		{"vet", "./..."}, {"test", "-short", packages}, {"build", "-o", exe, "."},
	} {
		runIn(t, exec.Command("go", args...), dir, "")
	}
	return exe
}

// startFile starts a changed program.
func startFile(t *testing.T, exe string, env environ) *testkit.Server {
	t.Helper()
	return testkit.Start(t, testkit.Environ(exec.Command(exe, "-addr", "localhost:0"), env))
}

// The adopter's site, which has nothing of the demo.
const (
	shopHandlers = `package main

import (
	"fmt"
	"net/http"

	"github.com/gorilla/mux"

	"cookiesession/internal/lesson"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

var assets = []web.Asset{{Path: "/shop.css", File: "shop.css", Kind: "text/css"}}

func routes(router *mux.Router, site *web.Site[session]) {
	router.HandleFunc("/", site.Action(buy)).Name("shop")
	lesson.Routes(router, site, session{Items: []string{"tea"}})
}

func buy(r *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	if r.Method == http.MethodPost {
		form, err := web.Form(r)
		if err != nil {
			return web.Answer{}, err
		}
		s.Data.Items = append(s.Data.Items, form["item"]...)
	}
	return web.Answer{Text: fmt.Sprint("Things: ", len(s.Data.Items)), Page: "shop"}, nil
}
`
	shopLayout = `<title>{{block "title" .}}{{end}}</title><link href="{{asset "/shop.css"}}">
{{block "content" .}}{{end}}{{if .SetCookie}}{{block "sent" .}}{{end}}{{end}}
`
	shopPage  = `{{define "title"}}Shop{{end}}{{define "content"}}{{.Text}}{{end}}`
	shopError = `{{define "title"}}Sorry{{end}}{{define "content"}}{{.Text}}{{end}}`
)

// The demo comes out, with its field, its pages and its style: the tests of the root and
// these here know it, and no other ones.
func TestDemoComesOut(t *testing.T) {
	slow(t)
	dir := copyProject(t, "handlers_test.go", "templates/home.html",
		"templates/set_name.html", "templates/set.html", "templates/get.html",
		"templates/clear.html", "templates/parts.html", "templates/style.css",
		"templates/icon.svg", "templates/robots.txt")
	patch(t, dir, "session.go", "\tName string\n", "\tItems []string\n")
	for name, content := range map[string]string{
		"handlers.go": shopHandlers, "templates/layout.html": shopLayout,
		"templates/shop.html": shopPage, "templates/error.html": shopError,
		"templates/shop.css": ":root {}\n",
	} {
		testkit.WriteFile(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	p := startFile(t, tryProject(t, dir, "./..."), withKeyA)
	header := form()
	header.Set("Accept", testkit.Browser)
	res, page := testkit.Send(t, "POST", p.URL+"/", "item=milk", header)
	for _, want := range []string{
		"<title>Shop</title>", "Things: 1", "The Set-Cookie of this page</h2>",
	} {
		if res.StatusCode != 200 || !strings.Contains(page, want) {
			t.Errorf("got status %d and %s, want %s", res.StatusCode, page, want)
		}
	}
	header.Set("Cookie", strings.Split(res.Header.Get("Set-Cookie"), ";")[0])
	for path, want := range map[string]string{
		"/session": "<dt>Items</dt><dd><bdi>[&#34;milk&#34;]</bdi></dd>",
		"/nowhere": "<title>Sorry</title>",
	} {
		_, page := testkit.Send(t, "GET", p.URL+path, "", header)
		if !strings.Contains(page, want) {
			t.Errorf("%s: got %s, want %s", path, page, want)
		}
	}
}

// ofLesson matches a line of code that has to do with the lesson.
var ofLesson = regexp.MustCompile(`(?m)^\t+[^/\s].*\blesson\b.*\n|^\tlesson\..*\n`)

// The lesson comes out with a line of handlers.go, its import, and two folders. The rest
// builds, its tests pass, and TestLinks among them finds no way that leads there.
func TestLessonComesOut(t *testing.T) {
	slow(t)
	dir := copyProject(t, "internal/lesson", "templates/lesson")
	for _, name := range []string{"main.go", "session.go", "handlers.go"} {
		lines := ofLesson.FindAllString(testkit.ReadFile(t, filepath.Join(dir, name)), -1)
		if want := map[string]int{"handlers.go": 2}[name]; len(lines) != want {
			t.Fatalf("got the lesson in %q of %s, want it in %d lines", lines, name, want)
		}
		for _, line := range lines {
			patch(t, dir, name, line, "")
		}
	}
	p := startFile(t, tryProject(t, dir, "./..."), withKeyA)
	j := newJar(t, p.URL, "Alice")
	header := http.Header{"Cookie": {j.cookie}, "Accept": {testkit.Browser}}
	for path, status := range map[string]int{
		"/": 200, "/get_name": 200, "/session": 404, "/forge": 404, "/replay": 404, "/paste": 404,
	} {
		res, page := testkit.Send(t, "GET", p.URL+path, "", header)
		if res.StatusCode != status || strings.Contains(page, `="/session`) {
			t.Errorf("%s: got status %d and %s, want %d", path, res.StatusCode, page, status)
		}
	}
}
