package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	for _, alert := range strings.Split(rules, "- alert: ")[1:] {
		if !strings.Contains(alert, "ook at") || !strings.Contains(alert, "Don't") {
			name, _, _ := strings.Cut(alert, "\n")
			t.Errorf("%s: got no word of what to look at, or of what not to do", name)
		}
	}
}

// What the alerts and the dashboard look at exists, with the labels by which they choose
// and add up, and Prometheus finds nothing to complain of in the page of metrics.
func TestAlertsKnowTheMetrics(t *testing.T) {
	slow(t)
	page := busyMetrics(t)
	tool(t, page, "promtool", "check", "metrics")
	labels := make(map[string]string) // of each metric
	all := " job instance le "        // which Prometheus or histograms add
	for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:{(.*)})? `).FindAllStringSubmatch(page, -1) {
		labels[m[1]] = m[2]
		all += strings.Join(labelNames(m[2]), " ") + " "
	}
	recorded := regexp.MustCompile(`\b\w+:\w+:\w+`) // what a rule has made
	metric := regexp.MustCompile(`\b((?:cookiesession|process)_\w+)(?:{([^{}]*)})?`)
	grouped := regexp.MustCompile(`\b(?:by|on|group_left|group_right) \(([^)]*)\)`)
	for name, text := range map[string]string{
		"deploy/alerts.yml":     read(t, "deploy/alerts.yml"),
		"deploy/dashboard.json": strings.Join(dashboardQueries(t), "\n"),
	} {
		text = recorded.ReplaceAllString(text, "")
		for _, m := range metric.FindAllStringSubmatch(text, -1) {
			has, ok := labels[m[1]]
			for _, label := range labelNames(m[2]) {
				if label != "job" && label != "instance" {
					ok = ok && strings.Contains(","+has, ","+label+"=")
				}
			}
			if !ok {
				t.Errorf("%s looks at %s, which the program doesn't have", name, m[0])
			}
		}
		for _, m := range grouped.FindAllStringSubmatch(text, -1) {
			for label := range strings.SplitSeq(m[1], ", ") {
				if !strings.Contains(all, " "+label+" ") {
					t.Errorf("%s adds up by %s, which no metric has", name, label)
				}
			}
		}
	}
}

// labelNames returns the names of the labels in what stands in a metric's braces.
func labelNames(braces string) (names []string) {
	label := regexp.MustCompile(`(\w+)(?:=|!=|=~|!~)["']`)
	for _, m := range label.FindAllStringSubmatch(braces, -1) {
		names = append(names, m[1])
	}
	return names
}

// dashboardQueries returns the queries of the dashboard's panels, each of which must have one.
func dashboardQueries(t testing.TB) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if panel.Title == "" || len(panel.Targets) == 0 {
			t.Errorf("got a panel %+v", panel)
		}
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(dashboard.Panels) != 8 {
		t.Errorf("got %d panels, want 8", len(dashboard.Panels))
	}
	return queries
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

// Prometheus itself, with the alerts and three copies, names the copy that has no new key yet,
// what all have, and nothing that strangers have made up. It can evaluate the dashboard, too.
func TestAlertsInPrometheus(t *testing.T) {
	slow(t)
	dir := t.TempDir()
	var copies []*testkit.Server
	var rings, targets []string
	for i := range 3 {
		rings = append(rings, filepath.Join(dir, fmt.Sprint("ring", i)))
		testkit.WriteFile(t, rings[i], testkit.KeyA+"\n"+testkit.KeyB)
		copies = append(copies, start(t, nil, "-admin-addr", "127.0.0.1:0", "-key-file", rings[i]))
		targets = append(targets, strings.TrimPrefix(copies[i].AdminURL(), "http://"))
	}
	p := startPrometheus(t, dir, targets)

	made := http.Header{"Cookie": {"session=aaaaaa." + strings.Repeat("A", 64)}}
	testkit.AwaitTrue(t, "both copies scraped, and made-up cookies counted", func() bool {
		for range 20 {
			testkit.Send(t, "GET", copies[1].URL+"/get_name", "", made)
		}
		got := p.query(t, `increase(cookiesession_cookies_total{verdict="unknown key"}[5m]) > 20`)
		return len(got) == 1 && len(p.query(t, "up == 1")) == 3
	})
	for _, query := range dashboardQueries(t) {
		query = strings.NewReplacer("$job", "site", "$__rate_interval", "1m").Replace(query)
		p.query(t, query)
	}
	if got := p.query(t, `ALERTS{alertname=~".*Key.*"}`); len(got) != 0 {
		t.Errorf("got the alerts %v while all was well", got)
	}

	mustRun(t, "keys", "add", rings[0])
	mustRun(t, "keys", "promote", rings[0])
	testkit.WriteFile(t, rings[1], testkit.ReadFile(t, rings[0]))
	a, b, c := targets[0], targets[1], targets[2]
	ahead := []string{a, b}
	slices.Sort(ahead)
	keyA, keyB, sealer := idOf(t, testkit.KeyA), idOf(t, testkit.KeyB), sealer(t, rings[0])
	with := func(copies string, keys ...string) string {
		slices.Sort(keys)
		return copies + " with " + strings.Join(keys, " ") + " ; "
	}
	same := with(strings.Join(ahead, " "), keyA+" (verifies)", keyB+" (verifies)",
		sealer+" (seals)")
	p.await(t, "KeyMissing "+c, sealer, keyA)
	p.await(t, "KeysDiffer "+c, same, with(c, keyA+" (seals)", keyB+" (verifies)"))
	p.awaitNone(t, "KeyMissing "+a, "KeysDiffer "+a, "KeyMissing "+b, "KeysDiffer "+b)

	testkit.WriteFile(t, rings[2], testkit.KeyC)
	p.await(t, "KeysForeign "+c, same, with(c, idOf(t, testkit.KeyC)+" (seals)"))
	p.await(t, "KeysReplaced "+c)
	p.awaitNone(t, "KeyMissing "+c, "KeysDiffer "+c, "KeysForeign "+a, "KeyMissing "+a)
}

// prometheus is a running Prometheus.
type prometheus struct{ url string }

// startPrometheus has Prometheus scrape copies every second, with the rules in deploy/, each
// of which fires at once.
func startPrometheus(t testing.TB, dir string, targets []string) prometheus {
	t.Helper()
	file := testkit.NeedTool(t, "prometheus")
	waits := regexp.MustCompile(`(?m)^ +for: .*\n`)
	rules := waits.ReplaceAllString(read(t, "deploy/alerts.yml"), "")
	testkit.WriteFile(t, filepath.Join(dir, "alerts.yml"), rules)
	testkit.WriteFile(t, filepath.Join(dir, "prometheus.yml"), "global:\n"+
		"  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\n"+
		"scrape_configs:\n- job_name: site\n  static_configs:\n  - targets: ['"+
		strings.Join(targets, "', '")+"']\n")
	addr := testkit.FreeAddr(t)
	cmd := exec.Command(file, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
		"--web.listen-address="+addr, "--log.level=warn")
	said := new(testkit.Buffer)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	testkit.AwaitTrue(t, "Prometheus", func() bool {
		res, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	})
	return prometheus{url: "http://" + addr}
}

// query returns the labels of what a query finds.
func (p prometheus) query(t testing.TB, query string) (found []map[string]string) {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct{ Metric map[string]string }
		}
	}
	p.ask(t, "/api/v1/query?query="+url.QueryEscape(query), &answer)
	for _, series := range answer.Data.Result {
		found = append(found, series.Metric)
	}
	return found
}

// alerts returns the description of each alert that there is, by the end of its name and the
// copy.
func (p prometheus) alerts(t testing.TB) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct{ Labels, Annotations map[string]string }
		}
	}
	p.ask(t, "/api/v1/alerts", &answer)
	found := make(map[string]string)
	for _, alert := range answer.Data.Alerts {
		name := strings.TrimPrefix(alert.Labels["alertname"], "Cookiesession")
		found[name+" "+alert.Labels["instance"]] = alert.Annotations["description"]
	}
	return found
}

// await waits for an alert of a copy that says all of the texts.
func (p prometheus) await(t testing.TB, alert string, texts ...string) {
	t.Helper()
	testkit.AwaitTrue(t, fmt.Sprintf("%s with %q", alert, texts), func() bool {
		said, ok := p.alerts(t)[alert]
		return ok && !slices.ContainsFunc(texts, func(text string) bool {
			return !strings.Contains(said, text)
		})
	})
}

// awaitNone waits until none of the alerts is there.
func (p prometheus) awaitNone(t testing.TB, alerts ...string) {
	t.Helper()
	testkit.AwaitTrue(t, fmt.Sprintf("none of %q", alerts), func() bool {
		found := p.alerts(t)
		return !slices.ContainsFunc(alerts, func(name string) bool {
			_, ok := found[name]
			return ok
		})
	})
}

func (p prometheus) ask(t testing.TB, path string, answer any) {
	t.Helper()
	res, text := testkit.Send(t, "GET", p.url+path, "", http.Header{})
	if err := json.Unmarshal([]byte(text), answer); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: got %d, %v: %s", path, res.StatusCode, err, text)
	}
}
