package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport says what a package may import: packages of this module, and of others. A
// package that is not in it, such as one of tests alone, imports none of either.
var mayImport = map[string]struct{ here, outside string }{
	"/sessions":          {outside: "gorilla/securecookie fxamacker/cbor go-jose/go-jose"},
	"/internal/report":   {here: "/sessions", outside: "fxamacker/cbor"},
	"/internal/floodlog": {},
	"/internal/server":   {here: "/internal/floodlog"},
	"/internal/metrics":  {here: "/sessions", outside: "prometheus/client_golang"},
	"/internal/web":      {here: "/sessions /internal/floodlog", outside: "gorilla/mux"},
	"/internal/lesson": {
		here: "/sessions /internal/report /internal/web", outside: "gorilla/mux",
	},
	"/internal/command": {here: "/sessions /internal/report"},
	"/internal/operate": {
		here: "/sessions /internal/server /internal/metrics /internal/command",
	},
	"": {
		here: "/sessions /internal/report /internal/floodlog /internal/server /internal/web " +
			"/internal/lesson /internal/command /internal/operate",
		outside: "gorilla/mux",
	},
}

// Packages import each other in one direction, and few of them a given module.
func TestImports(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	module := strings.Fields(string(mod))[1] // which you may have renamed
	list := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name, may := words[0], mayImport[strings.TrimPrefix(words[0], module)]
		for _, imported := range words[1:] {
			first, rest, _ := strings.Cut(imported, "/")
			ok := true // it is Go's own
			if here, is := strings.CutPrefix(imported, module+"/"); is {
				ok = slices.Contains(strings.Fields(may.here), "/"+here)
			} else if strings.Contains(first, ".") {
				theirs := strings.Join(strings.SplitN(rest, "/", 3)[:2], "/")
				ok = slices.Contains(strings.Fields(may.outside), theirs)
			}
			if !ok {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
}
