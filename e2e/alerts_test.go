package e2e

import (
	"crypto/tls"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/testkit"
)

// busyMetrics returns the page of metrics of a copy that has seen something of
// everything.
func busyMetrics(t testing.TB) string {
	t.Helper()
	ring := filepath.Join(t.TempDir(), "ring")
	mustRun(t, "keys", "add", ring)
	cert, key, _ := testkit.NewCertificate(t)
	p := start(t, nil, "-admin-addr", "localhost:0", "-key-file", ring,
		"-tls-cert", cert, "-tls-key", key)
	client := newClient(t, &tls.Config{InsecureSkipVerify: true})
	if _, _, err := askSite(client, p.URL, "POST", "/set_name", "name=Alice", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := askSite(client, p.URL, "GET", "/get_name", "", ""); err != nil {
		t.Fatal(err)
	}
	return metricsOf(t, p)
}

// The alerts are good rules, each is tested, and they send an operator to a section of the
// documentation that is there.
func TestAlerts(t *testing.T) {
	slow(t)
	tool(t, "", "promtool", "check", "rules", "deploy/alerts.yml")
	tool(t, "", "promtool", "test", "rules", "deploy/alerts_test.yml")

	rules, tests := read(t, "deploy/alerts.yml"), read(t, "deploy/alerts_test.yml")
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	for _, alert := range alerts {
		if !strings.Contains(tests, `alertname="`+alert[1]+`",alertstate="firing"`) {
			t.Errorf("%s: never seen firing in deploy/alerts_test.yml", alert[1])
		}
	}
	sections := regexp.MustCompile(`See "([^"]+)" in docs/operation\.md`).
		FindAllStringSubmatch(squeeze(rules), -1)
	for _, section := range sections {
		if !strings.Contains(read(t, operation), "\n## "+section[1]+"\n") {
			t.Errorf("docs/operation.md has no section %q", section[1])
		}
	}
	if len(sections) != len(alerts) || len(alerts) == 0 {
		t.Errorf("%d of %d alerts say where to read on", len(sections), len(alerts))
	}
}

// What the alerts look at exists, and Prometheus finds nothing to complain of in the page
// of metrics.
func TestAlertsKnowTheMetrics(t *testing.T) {
	slow(t)
	page := busyMetrics(t)
	tool(t, page, "promtool", "check", "metrics")
	names := regexp.MustCompile(`\bcookiesession_[a-z_]+`)
	for _, name := range names.FindAllString(read(t, "deploy/alerts.yml"), -1) {
		if strings.HasPrefix(name, "cookiesession_key_info") {
			name = "cookiesession_key_info" // and not the rule that is made of it
		}
		if !strings.Contains(page, "\n"+name+"{") && !strings.Contains(page, "\n"+name+" ") {
			t.Errorf("%s: an alert looks at it, and the program doesn't have it", name)
		}
	}
}

// The manual's queries on a rotation say what they should: deploy/alerts_test.yml has them
// all, for the keys that it calls aaaaaa and bbbbbb.
func TestRotationQueries(t *testing.T) {
	tests := read(t, "deploy/alerts_test.yml")
	named := strings.NewReplacer(`"NEW"`, `"bbbbbb"`, `"OLD"`, `"aaaaaa"`)
	queries := regexp.MustCompile(`(?m)^    ((?:count|sum)\(.*)$`).
		FindAllStringSubmatch(read(t, operation), -1)
	for _, query := range queries {
		if !strings.Contains(tests, "expr: '"+named.Replace(query[1])+"'") {
			t.Errorf("deploy/alerts_test.yml doesn't test %s", query[1])
		}
	}
	if len(queries) != 3 {
		t.Errorf("got %d queries, want 3", len(queries))
	}
}
