package sessions_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shop is a program that uses the library.
const shop = `package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"PATH"
)

type basket struct{ Items []string }

func main() {
	keys, _ := sessions.NewKeyring(sessions.NewKey())
	baskets, err := sessions.New(keys, sessions.Options[basket]{})
	if err != nil {
		panic(err)
	}
	h := baskets.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := baskets.Get(r.Context())
		s.Data.Items = append(s.Data.Items, "tea")
		fmt.Fprint(w, s.Data.Items)
	}))
	r := httptest.NewRequest("GET", "/", nil)
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(w.Body)
		r.AddCookie(w.Result().Cookies()[0])
	}
}
`

// The library is of use for another module: as a bare copy of its folder, and where it is
// by way of a replace.
func TestAnotherModuleUsesIt(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	ours, root := readText("../go.mod"), made(filepath.Abs(".."))
	head := "module shop\n\n" + regexp.MustCompile(`(?m)^go .*\n`).FindString(ours)
	for _, path := range []string{
		"github.com/fxamacker/cbor/v2", "github.com/go-jose/go-jose/v4",
		"github.com/gorilla/securecookie", "github.com/x448/float16",
	} {
		head += "require" + regexp.MustCompile(`\s`+path+` v\S+\n?`).FindString(ours) + "\n"
	}
	module := regexp.MustCompile(`(?m)^module (\S+)`).FindStringSubmatch(ours)[1]
	replace := "require " + module + " v0.0.0\nreplace " + module + " => " + root + "\n"
	for name, goMod := range map[string]string{"copy": head, "replace": head + replace} {
		t.Run(name, func(t *testing.T) {
			dir, path := t.TempDir(), module+"/sessions"
			if name == "copy" {
				path = "shop/sessions"
				copyOf(t, dir)
			}
			write(t, filepath.Join(dir, "go.mod"), goMod)
			write(t, filepath.Join(dir, "main.go"), strings.ReplaceAll(shop, "PATH", path))
			write(t, filepath.Join(dir, "go.sum"), readText("../go.sum"))
			cmd := exec.Command("go", "run", ".")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
			out, err := cmd.CombinedOutput()
			if want := "[tea]\n[tea tea]\n"; err != nil || string(out) != want {
				t.Errorf("got %v and %s, want %s", err, out, want)
			}
		})
	}
}

// copyOf copies the package, without its tests, into a folder.
func copyOf(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "sessions"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range made(filepath.Glob("*.go")) {
		if !strings.HasSuffix(file, "_test.go") {
			write(t, filepath.Join(dir, "sessions", file), readText(file))
		}
	}
}
