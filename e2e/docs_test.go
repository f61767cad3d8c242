package e2e

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	commands "cookiesession/internal/command"
	"cookiesession/internal/report"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// maxLines is how long a document may be. Its readers have little time.
var maxLines = map[string]int{
	readme: 175, operation: 325, cost: 50, security: 400, ownSite: 510,
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

	page := busyMetrics(t)
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

// What the program says when it doesn't start is in the document, and nothing else.
func TestDocErrors(t *testing.T) {
	slow(t)
	_, section, _ := strings.Cut(read(t, operation), "\n## When it doesn't start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	ring := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, ring, keyA)
	good, https := []string{"-key-file", ring}, "https://example.com"
	taken := testkit.FreeAddr(t)
	start(t, nil, "-addr", taken)
	madeUp := strings.Repeat("ab", 32)
	type failure struct {
		env    environ
		flags  []string
		status int // 0 stands for 2
	}
	for says, tt := range map[string]failure{
		"no such file or directory (put the last good file back": {
			flags: []string{"-key-file", "none"}, status: 1,
		},
		"want a key of 64 hexadecimal digits": {env: environ{keysVariable: "abc"}},
		"too regular to be random":            {env: environ{keysVariable: madeUp}},
		"HTTPS needs keys":                    {flags: []string{"-origin", https}},
		"are both given":                      {env: withKeyA, flags: good},
		"is empty: give it a value":           {env: environ{keysVariable: ""}},
		"flag provided but not defined":       {flags: []string{"-orign", https}},
		"want hours, minutes or seconds":      {flags: []string{"-idle", "14d"}},
		"want an origin such as":              {flags: []string{"-origin", "example.com"}},
		"there are no wildcards":              {flags: []string{"-origin", "https://*.a.example"}},
		"-bind needs HTTPS":                   {flags: append(good, "-bind", "10m")},

		"failed to find any PEM data": {
			flags: append(good, "-tls-cert", ring, "-tls-key", ring), status: 1,
		},
		"address already in use":          {flags: []string{"-addr", taken}, status: 1},
		"cannot assign requested address": {flags: []string{"-addr", "192.0.2.1:80"}, status: 1},
	} {
		row := "\n| `" + says + "` | "
		if !strings.Contains(section, row) {
			t.Errorf("%s says nothing of %q", operation, says)
		}
		section = strings.Replace(section, row, "", 1)
		_, stderr, status := command(t, "", tt.env, tt.flags...)
		if !strings.Contains(stderr, says) || status != cmp.Or(tt.status, 2) {
			t.Errorf("%v %v: got status %d and %q, want %q", tt.env, tt.flags, status, stderr, says)
		}
	}
	if more := firstCells(section, ""); more != nil {
		t.Errorf("%s has messages that are not tried: %q", operation, more)
	}
}

// The figures under "Scale" follow from those that were measured.
func TestDocScale(t *testing.T) {
	row := regexp.MustCompile(`\| \*\*cookiesession\*\* \|.*\|`).FindString(read(t, cost))
	var measured []float64
	for _, cell := range strings.Split(strings.Trim(row, "| "), "|")[1:] {
		n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(cell), ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		measured = append(measured, n)
	}
	get, post := math.Round(measured[1]), math.Round(measured[4])
	memory, bytes := measured[6], measured[7]
	doc := read(t, operation)
	has := func(format string, figures ...any) {
		t.Helper()
		if text := fmt.Sprintf(format, figures...); !strings.Contains(doc, text) {
			t.Errorf("%s has no %q", operation, text)
		}
	}
	visit := math.Round(0.9*get + 0.1*post) // µs
	second := math.Round(1e6/visit/100) * 100
	plan := math.Round(second/3/1000) * 1000
	has("%.0f µs of processor time for a read and %.0f µs for a write", get, post)
	has("0.9 × %.0f + 0.1 × %.0f = %.0f µs", get, post, visit)
	has("1,000,000 / %.0f = %s a second", visit, thousands(second))
	has("Plan with a third of that, %s,", thousands(plan))
	has("A copy takes %.0f MiB of memory, and 20 KiB for each open connection", memory)
	has("has %.0f bytes", bytes)
	has("| cores (visits / %s) | memory | cookies (visits × %.0f bytes) |", thousands(plan),
		bytes)
	for _, r := range []struct {
		visits, connections, copies float64
		cookies                     string
	}{
		{visits: 1e3, connections: 500, copies: 2, cookies: fmt.Sprintf("%.2f MB/s", bytes/1e3)},
		{visits: 1e5, connections: 1000, copies: 4, cookies: fmt.Sprintf("%.0f MB/s", bytes/10)},
		{visits: 1e7, connections: 1000, copies: 100, cookies: fmt.Sprintf("%.1f GB/s", bytes/100)},
	} {
		cores := strings.TrimSuffix(fmt.Sprintf("%.1f", r.visits/plan), ".0")
		if r.visits/plan > 100 {
			cores = fmt.Sprintf("%.0f", r.visits/plan)
		}
		each := math.Ceil((memory+r.connections*20/1024)/5) * 5
		has("| %s | %s | %.0f × %.0f MiB | %s |",
			thousands(r.visits), cores, r.copies, each, r.cookies)
	}
}

// thousands returns a whole number with commas.
func thousands(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
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
	for i, line := range strings.Split(read(t, readme), "\n") {
		if n := utf8.RuneCountInString(line); n > 160 {
			t.Errorf("%s:%d: got %d columns, want 160 at most", readme, i+1, n)
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

// What the documents link to or name is there.
func TestDocLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	code := regexp.MustCompile("`([\\w./*-]+)`")
	isFile := regexp.MustCompile(`[\w*]\.(go|html|svg|css|txt|md)$|/$|^\.\w+/`)
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
		}
		if doc == security { // which calls tests and standards by name
			continue
		}
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			name := m[1]
			// Addresses of the site are no files, and two files are the reader's own.
			if !isFile.MatchString(name) || name[0] == '/' || name == "templates/theme.html" ||
				name == "templates/login.html" {
				continue
			}
			files, _ := filepath.Glob(filepath.Join(root, name))
			if len(files) == 0 {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
	}
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
	text := read(t, readme)
	drawing := regexp.MustCompile(`(?m)^    (\w+\.\S+)\n    └\S+┘ └\S+┘\n    key id .*\| MAC \)$`)
	m := drawing.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("found no drawing")
	}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	signed := sessions.Options[visitorData]{Insecure: true, SignOnly: true}
	if want := bake(t, keyA, "Alice", began, signed); m[1] != want {
		t.Errorf("got the cookie %s, want %s", m[1], want)
	}
	var printed bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(began.Add(time.Hour)))
		shown := sessions.Options[visitorData]{
			Limits: sessions.Limits{Idle: 14 * day, Lifetime: 90 * day},
		}
		in := strings.NewReader(m[1])
		err := commands.Inspect([]string{"-show"}, withKeyA, in, &printed, shown)
		if err != nil {
			t.Error(err)
		}
	})
	want := strings.ReplaceAll(strings.TrimSpace(printed.String()), "\n", "\n    ")
	if !strings.Contains(read(t, operation), "\n\n    "+want+"\n\n") {
		t.Errorf("%s doesn't show what inspect prints:\n%s", operation, want)
	}
	_, payload, _ := report.Dissect(m[1])
	content, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil || !strings.Contains(text, "`"+report.Notation(content)+"`") {
		t.Errorf("the README doesn't say that the payload is %s, %v", report.Notation(content), err)
	}
}
