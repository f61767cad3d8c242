package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"

	"github.com/fxamacker/cbor/v2"
)

// maxLines is how long a document may be. Its readers have little time.
var maxLines = map[string]int{
	readme: 175, operation: 250, cost: 50, security: 400, ownSite: 495,
	"docs/django.md": 40, "docs/format.md": 200,
}

const (
	readme    = "README.md"
	operation = "docs/operation.md"
	security  = "docs/security.md"
	cost      = "docs/cost.md"
	ownSite   = "docs/site.md"
)

// documents returns the names of all documents.
func documents(t testing.TB) (names []string) {
	t.Helper()
	for _, name := range projectFiles(t, ".md") {
		if dir := path.Dir(name); dir == "." || dir == "docs" {
			names = append(names, name)
		}
	}
	return names
}

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

// The table of flags has all of them, with their defaults, and no others. Nor
// is there a word anywhere of a flag that doesn't exist.
func TestDocFlags(t *testing.T) {
	slow(t)
	row := regexp.MustCompile("(?m)^\\| (`-.*?) \\| (.*?) \\| .* \\|$")
	name := regexp.MustCompile("`-([a-z-]+)")
	defaults := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(read(t, operation), -1) {
		for _, flag := range name.FindAllStringSubmatch(m[1], -1) {
			defaults[flag[1]], _, _ = strings.Cut(m[2], ",")
		}
	}
	help, _, status := command(t, "", nil, "-h")
	if status != 0 {
		t.Fatalf("-h: got status %d", status)
	}
	known := []string{"some-flag", "short", "run"} // an example, and go test's
	offered := regexp.MustCompile(`(?m)^  -([a-z-]+).*\n    \t(.*?)(?: \(default (.*)\))?$`)
	for _, m := range offered.FindAllStringSubmatch(help, -1) {
		if got, ok := defaults[m[1]]; !ok {
			t.Errorf("%s says nothing of -%s", operation, m[1])
		} else if want := documentedDefault(m[3]); want != "" && got != want {
			t.Errorf("-%s: got the default %q, want %q", m[1], got, want)
		}
		known = append(known, m[1])
		delete(defaults, m[1])
	}
	for name := range defaults {
		t.Errorf("there is no flag -%s", name)
	}
	inspect, _, _ := command(t, "", nil, "inspect", "-h")
	for _, m := range offered.FindAllStringSubmatch(inspect, -1) {
		known = append(known, m[1])
	}
	for _, doc := range []string{readme, operation, cost, ownSite} {
		for _, m := range name.FindAllStringSubmatch(read(t, doc), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: there is no flag -%s", doc, m[1])
			}
		}
	}
}

// documentedDefault returns a default of -h as the table of flags has it; an empty one, which
// -h doesn't show, stands for a default that is none, false or 0s.
func documentedDefault(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ToLower(strings.Trim(strings.TrimSuffix(text, "0m0s"), `"`)) + "`"
}

// The tables of the commands and of the metrics are complete, and have nothing
// that isn't there.
func TestDocTables(t *testing.T) {
	slow(t)
	doc := read(t, operation)
	help, _, _ := command(t, "", nil, "keys", "-h")
	var got []string
	for _, cell := range firstCells(doc, "keys ") {
		got = append(got, strings.Fields(cell)[1])
	}
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+)  +`).FindAllStringSubmatch(help, -1) {
		want = append(want, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the commands %q, want %q", got, want)
	}

	cert, key, _ := testkit.NewCertificate(t)
	page := busyMetrics(t, "-tls-cert", cert, "-tls-key", key)
	want = nil
	family := regexp.MustCompile(`(?m)^# TYPE (cookiesession_\w+) `)
	for _, m := range family.FindAllStringSubmatch(page, -1) {
		want = append(want, m[1])
	}
	got = firstCells(doc, "cookiesession_")
	slices.Sort(got)
	slices.Sort(want)
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
	line := regexp.MustCompile(`(?m)^\| \*\*cookiesession\*\* (.*)$`)
	measured := line.FindString(read(t, cost))
	cells := strings.Split(measured, " | ")
	if len(cells) != 9 {
		t.Fatalf("got the line %q", measured)
	}
	var reading, writing, size float64
	fmt.Sscan(cells[2], &reading)
	fmt.Sscan(cells[5], &writing)
	fmt.Sscan(cells[8], &size)
	doc, visit := read(t, operation), 0.9*reading+0.1*writing
	said := fmt.Sprintf("0.9 × %.0f + 0.1 × %.0f = %.0f µs", reading, writing, visit)
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

// No document is longer than its readers have time for.
func TestDocLength(t *testing.T) {
	for _, doc := range documents(t) {
		most, known := maxLines[doc]
		if !known {
			t.Errorf("%s: nobody has said how long it may be", doc)
		} else if n := strings.Count(read(t, doc), "\n"); n > most {
			t.Errorf("%s: got %d lines, want %d at most", doc, n, most)
		}
	}
}

// The README can be taken in at a glance: its lines, paragraphs and sections are short, and
// so is the program in it.
func TestReadmeIsShort(t *testing.T) {
	text := read(t, readme)
	for i, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > 160 {
			t.Errorf("line %d: got %d columns, want 160 at most", i+1, n)
		}
	}
	prose := fenced.ReplaceAllString(text, "")
	prose = regexp.MustCompile(`(?m)^(?:\||    |!\[).*\n`).ReplaceAllString(prose, "")
	for section := range strings.SplitSeq(prose, "\n#") {
		heading, section, _ := strings.Cut(section, "\n")
		lines := 0
		for paragraph := range strings.SplitSeq(section, "\n\n") {
			n := 0
			for line := range strings.Lines(strings.TrimSpace(paragraph) + "\n") {
				if strings.HasPrefix(line, "- ") { // an item is a paragraph of its own
					n = 0
				}
				if strings.TrimSpace(line) != "" {
					n++
					lines++
				}
				if n == 5 {
					t.Errorf("%s: got a paragraph of more than 4 lines: %s", heading, paragraph)
				}
			}
		}
		if lines > 10 {
			t.Errorf("%s: got %d lines of prose, want 10 at most", heading, lines)
		}
	}
	program := programIn(t)
	if n := strings.Count(program, "\n"); n > 25 {
		t.Errorf("got a program of %d lines, want 25 at most", n)
	}
	for line := range strings.Lines(program) {
		if n := len(strings.ReplaceAll(line, "\t", "    ")) - 1; n > 100 {
			t.Errorf("got %d columns, want 100 at most: %s", n, line)
		}
	}
}

// programIn returns the program in the README.
func programIn(t *testing.T) string {
	t.Helper()
	for _, b := range blocks(read(t, readme)) {
		if strings.HasPrefix(b.text, "package main") {
			return b.text
		}
	}
	t.Fatal("the README has no program")
	return ""
}

// The library's own documentation begins with the README's program, which imports it under
// the name that the project has been given.
func TestQuickStart(t *testing.T) {
	module := strings.Fields(read(t, "go.mod"))[1]
	program := strings.Replace(programIn(t), `"cookiesession`, `"`+module, 1)
	comment := regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(read(t, "sessions/doc.go"), "")
	if !strings.Contains(comment, "\n"+program) {
		t.Error("sessions/doc.go has another program than the README")
	}
}

// The README's table has the checks of the library.
func TestDocChecks(t *testing.T) {
	var want strings.Builder
	want.WriteString("| | check | if not |\n|---|---|---|\n")
	for i, c := range sessions.Checks() {
		fmt.Fprintf(&want, "| %d | %s | `%s` |\n", i+1, c.Text, c.Verdict)
	}
	if !strings.Contains(read(t, readme), "\n\n"+want.String()+"\n") {
		t.Errorf("the README's table is not\n%s", &want)
	}
}

// What the documents link to or name is there, and what is there is named.
func TestDocLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	code := regexp.MustCompile("`([\\w./*-]+)`")
	isFile := regexp.MustCompile(`[\w*]\.(go|html|svg|css|txt|md)$|/$|^\.\w+/`)
	named := make(map[string]bool)
	for _, doc := range documents(t) {
		text := fenced.ReplaceAllString(read(t, doc), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			target := doc
			if m[1] != "" {
				target = path.Join(path.Dir(doc), m[1])
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			} else if m[2] != "" && !slices.Contains(anchors(read(t, target)), m[2]) {
				t.Errorf("%s links to %s, which has no heading %s", doc, target, m[2])
			}
			named[target] = true
		}
		if doc == security { // which calls tests and standards by name
			continue
		}
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			name := m[1]
			// Addresses of the site are no files, and one file is the reader's own.
			if !isFile.MatchString(name) || name[0] == '/' || name == "templates/theme.html" {
				continue
			}
			files, _ := filepath.Glob(filepath.Join(root, name))
			if len(files) == 0 {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
			for _, file := range files {
				named[inProject(t, file)] = true
			}
		}
	}
	for _, name := range projectFiles(t, "") {
		dir, rest, nested := strings.Cut(name, "/")
		switch {
		case nested && dir == "internal": // each package has a name of its own
			inner, _, _ := strings.Cut(rest, "/")
			name = dir + "/" + inner
		case nested && dir != "docs":
			name = dir // of other folders, the name is enough
		case !nested && !strings.HasSuffix(name, ".go"):
			continue
		}
		if !named[name] && !strings.HasSuffix(name, "_test.go") && name[0] != '.' {
			t.Errorf("no document names %s", name)
			named[name] = true // once
		}
	}
}

// inProject returns the name of a file of the project, with slashes.
func inProject(t *testing.T, file string) string {
	t.Helper()
	name, err := filepath.Rel(root, file)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(name)
}

// anchors returns what a link can name of a document's headings.
func anchors(doc string) (all []string) {
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped := regexp.MustCompile(`[^\w -]`)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(doc, ""), -1) {
		plain := dropped.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// The cookie that the README shows is what the program seals, and reads as the
// documents say.
func TestExampleCookie(t *testing.T) {
	slow(t)
	text := read(t, readme)
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
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	p := testkit.Start(t, programAt(t, fmt.Sprint("@", began), withKeyA,
		"-addr", "localhost:0", "-encrypt=false"))
	if want := newJar(t, p.URL, "Alice").value(); value != want {
		t.Errorf("got the cookie %s, want %s", value, want)
	}
	later := fmt.Sprint("@", began+3600)
	printed, _, _ := finish(t, programAt(t, later, withKeyA, "inspect", "-show"), value+"\n")
	want := "\n\n    " + strings.ReplaceAll(strings.TrimSpace(printed), "\n", "\n    ") + "\n\n"
	if !strings.Contains(read(t, operation), want) {
		t.Errorf("%s doesn't show what inspect prints:%s", operation, want)
	}

	sealed, err := base64.RawURLEncoding.DecodeString(m[2])
	if err != nil {
		t.Fatal(err)
	}
	_, inner, _ := strings.Cut(string(sealed), "|")
	payload, _, _ := strings.Cut(inner, "|")
	content, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		t.Fatal(err)
	}
	diagnosed, err := cbor.Diagnose(content)
	if err != nil || !strings.Contains(text, "`"+diagnosed+"`") {
		t.Errorf("the README doesn't say that the payload is %s, %v", diagnosed, err)
	}
}
