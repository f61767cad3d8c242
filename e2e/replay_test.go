package e2e

import (
	"html"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

var curlLines = regexp.MustCompile(`(?s)<pre><code>(.*?)</code></pre>`)

// What the session page says about a replay can be tried as it stands there.
func TestReplay(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "curl")
	sh := testkit.NeedTool(t, "sh")
	const base = "http://app.test"
	p := start(t, withKeyA, "-origin", base+",http://b.test")
	curl := "curl -sS --connect-to ::" + strings.TrimPrefix(p.URL, "http://") + " "
	dir := t.TempDir()
	run := func(lines string) string {
		t.Helper()
		return runIn(t, exec.Command(sh, "-e"), dir, strings.ReplaceAll(lines, "curl ", curl))
	}
	page := run("curl -H 'Accept: text/html' " + base + "/session")
	lines := html.UnescapeString(curlLines.FindStringSubmatch(page)[1])
	out := run(lines)
	if !strings.Contains(lines, base+"/") ||
		!strings.HasSuffix(out, "\nName cleared from session\nName: Alice\n") {
		t.Errorf("got %s from %s", out, lines)
	}
	if got := run("curl -b try " + base + "/get_name"); got != "Name not found in session\n" {
		t.Errorf("got %s after clearing", got)
	}
}
