package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

// Who does not want the lesson in an own site takes it out by deleting files
// and the route: the rest builds, and its tests pass.
func TestLessonComesOut(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := copyProject(t)
	for _, name := range []string{
		"forge.go", "forge_test.go", "templates/forge.html", "templates/lesson",
	} {
		if err := os.RemoveAll(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "handlers.go")
	source := testkit.ReadFile(t, file)
	without := regexp.MustCompile(`(?m)^.*"/forge".*\n`).ReplaceAllString(source, "")
	if strings.Count(source, "\n")-strings.Count(without, "\n") != 1 {
		t.Fatal("handlers.go has no single line for the route /forge")
	}
	testkit.WriteFile(t, file, without)
	goIn(t, dir, "vet", "./...")
	goIn(t, dir, "build", "-o", filepath.Join(dir, "without.exe"), ".")
	goIn(t, dir, "test", "-short", "./...")
	for _, name := range filesIn(t, dir, ".go") {
		source := testkit.ReadFile(t, filepath.Join(dir, name))
		if !strings.HasSuffix(name, "_test.go") && strings.Contains(source, `"/forge`) {
			t.Errorf("got the lesson still in %s", name)
		}
	}
}
