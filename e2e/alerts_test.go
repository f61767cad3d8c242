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
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// busyMetrics returns the page of metrics of a copy that has seen something of
// everything.
func busyMetrics(t testing.TB, flags ...string) string {
	t.Helper()
	admin, ring := testkit.FreeAddr(t), filepath.Join(t.TempDir(), "ring")
	mustRun(t, "keys", "add", ring)
	flags = append(flags, "-admin-addr", admin, "-key-file", ring)
	p := start(t, nil, flags...)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	for _, path := range []string{"/", "/nowhere", "/healthz"} {
		if _, _, err := askSite(client, p.URL, "GET", path, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := askSite(client, p.URL, "POST", "/set_name", "name=Alice", ""); err != nil {
		t.Fatal(err)
	}
	return metricsOf(t, admin)
}

// The alerts are good rules, and each is tested.
func TestAlerts(t *testing.T) {
	slow(t)
	t.Parallel()
	tool(t, "", "promtool", "check", "rules", "deploy/alerts.yml")
	tool(t, "", "promtool", "test", "rules", "deploy/alerts_test.yml")

	rules, tests := read(t, "deploy/alerts.yml"), read(t, "deploy/alerts_test.yml")
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	for _, alert := range alerts {
		if !strings.Contains(tests, `alertname="`+alert[1]+`",alertstate="firing"`) {
			t.Errorf("%s: never seen firing in deploy/alerts_test.yml", alert[1])
		}
	}
	if n := strings.Count(rules, "docs/operation.md"); n != len(alerts) || n == 0 {
		t.Errorf("%d of %d alerts say where to read on", n, len(alerts))
	}
}

// What the alerts look at exists, and Prometheus finds nothing to complain of in the page
// of metrics.
func TestAlertsKnowTheMetrics(t *testing.T) {
	slow(t)
	rules := read(t, "deploy/alerts.yml")
	cert, key, _ := testkit.NewCertificate(t)
	page := busyMetrics(t, "-tls-cert", cert, "-tls-key", key)
	tool(t, page, "promtool", "check", "metrics")
	for _, name := range regexp.MustCompile(`\bcookiesession_[a-z_]+`).FindAllString(rules, -1) {
		if strings.HasPrefix(name, "cookiesession_key_info") {
			name = "cookiesession_key_info" // and not the rule that is made of it
		}
		if !strings.Contains(page, "\n"+name+"{") && !strings.Contains(page, "\n"+name+" ") {
			t.Errorf("%s: an alert looks at it, and the program doesn't have it", name)
		}
	}
}

// What the alerts send an operator to is there.
func TestAlertsLeadToTheDocumentation(t *testing.T) {
	manual := read(t, "docs/operation.md")
	text := strings.Join(strings.Fields(read(t, "deploy/alerts.yml")), " ")
	sections := regexp.MustCompile(`See "([^"]+)" in docs/operation\.md`).
		FindAllStringSubmatch(text, -1)
	for _, section := range sections {
		heading := regexp.MustCompile(`(?m)^#+ ` + regexp.QuoteMeta(section[1]) + `$`)
		if !heading.MatchString(manual) {
			t.Errorf("docs/operation.md has no section %q", section[1])
		}
	}
	if len(sections) == 0 {
		t.Error("no alert names a section")
	}
}

// promServer is a Prometheus that scrapes several copies of the program.
type promServer struct {
	t   testing.TB
	url string
}

// startPrometheus starts one that scrapes these addresses often, as the job
// called site, and knows deploy/alerts.yml.
func startPrometheus(t testing.TB, copies ...string) *promServer {
	t.Helper()
	file, dir, addr := testkit.NeedTool(t, "prometheus"), t.TempDir(), testkit.FreeAddr(t)
	rules, err := filepath.Abs(filepath.Join(root, "deploy", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	const config = `
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}
rule_files: [%q]
scrape_configs: [{job_name: site, static_configs: [{targets: ["%s"]}]}]
`
	testkit.WriteFile(t, filepath.Join(dir, "prometheus.yml"),
		fmt.Sprintf(config, rules, strings.Join(copies, `", "`)))
	cmd := exec.Command(file, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	log := new(testkit.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus: %s", log)
		}
	})
	p := &promServer{t: t, url: "http://" + addr}
	testkit.AwaitTrue(t, "Prometheus", func() bool {
		res, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	testkit.AwaitTrue(t, "Prometheus to have scraped all copies", func() bool {
		return p.value(`sum(up)`) == fmt.Sprint(len(copies))
	})
	return p
}

// promSample is one result of a query.
type promSample struct {
	Metric map[string]string
	Value  [2]any // a time, and a number as text
}

// ask asks one of Prometheus' addresses, and decodes the data of the answer.
func (p *promServer) ask(path string, query url.Values, data any) {
	p.t.Helper()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	res, err := http.PostForm(p.url+path, query)
	if query == nil {
		res, err = http.Get(p.url + path)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if err = json.NewDecoder(res.Body).Decode(&answer); err == nil && answer.Status == "success" {
		err = json.Unmarshal(answer.Data, data)
	}
	if err != nil || answer.Status != "success" {
		p.t.Fatalf("%s %v: got %v and %q", path, query, err, answer.Error)
	}
}

func (p *promServer) query(query string) []promSample {
	p.t.Helper()
	var data struct{ Result []promSample }
	p.ask("/api/v1/query", url.Values{"query": {query}}, &data)
	return data.Result
}

// value returns the only result of a query, or nothing if there is none.
func (p *promServer) value(query string) string {
	p.t.Helper()
	switch samples := p.query(query); len(samples) {
	case 0:
		return ""
	case 1:
		return samples[0].Value[1].(string)
	default:
		p.t.Fatalf("%s: got %v, want one result", query, samples)
		return ""
	}
}

// alertQuery returns the expression of an alert, as Prometheus has it.
func (p *promServer) alertQuery(name string) string {
	p.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query string }
		}
	}
	p.ask("/api/v1/rules?type=alert", nil, &data)
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if rule.Name == name {
				return rule.Query
			}
		}
	}
	p.t.Fatalf("there is no alert %s", name)
	return ""
}

// documented returns the query of this form in the documentation, as it is for
// a key.
func documented(t testing.TB, form string, k keyIDs) string {
	t.Helper()
	query := ""
	for _, file := range documents(t) {
		for _, found := range regexp.MustCompile(form).FindAllString(read(t, file), -1) {
			if query != "" && query != found {
				t.Errorf("%s: got %s, elsewhere it is %s", file, found, query)
			}
			query = found
		}
	}
	if query == "" {
		t.Fatalf("the documentation has no query of the form %s", form)
	}
	one := regexp.MustCompile(`"(ID|NEW|OLD)"`).ReplaceAllString(query, `"`+k.encrypted+`"`)
	both := `"` + k.encrypted + "|" + k.signed + `"`
	return regexp.MustCompile(`"[A-Z]+\|[A-Z]+"`).ReplaceAllString(one, both)
}

// rotation is copies that Prometheus watches while their keys change.
type rotation struct {
	*copies
	prom   *promServer
	differ string // the alert's query
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{copies: startCopies(t)}
	r.prom = startPrometheus(t, r.all[0].admin, r.all[1].admin, r.all[2].admin)
	r.differ = r.prom.alertQuery("CookiesessionKeysDiffer")
	return r
}

// wantDiffer waits for the alert to name these copies.
func (r *rotation) wantDiffer(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	testkit.AwaitTrue(r.t, fmt.Sprintf("the alert to name %q", want), func() bool {
		var got []string
		for _, s := range r.prom.query(r.differ) {
			got = append(got, s.Metric["instance"])
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func (r *rotation) wantValue(query, want string) {
	r.t.Helper()
	testkit.AwaitTrue(r.t, fmt.Sprintf("%s to be %q", query, want), func() bool {
		return r.prom.value(query) == want
	})
}

// wantUsed waits for a key to be seen in use, and looks at the query that then has no
// result at all.
func (r *rotation) wantUsed(unused, when string) {
	r.t.Helper()
	uses := strings.TrimSuffix(unused, " == 0")
	testkit.AwaitTrue(r.t, "the old key to be seen in use "+when, func() bool {
		got := r.prom.value(uses)
		return got != "" && got != "0"
	})
	if got := r.prom.value(unused); got == "0" {
		r.t.Errorf("%s the old key is in use, and %s said %q", when, unused, got)
	}
}

// spread brings the operator's keys to one copy after the other. While they are
// on their way, a query counts the copies that have them, and the alert names
// those that the others outnumber: here the first, and then the last.
func (r *rotation) spread(query string, counts ...string) {
	r.t.Helper()
	for i, c := range r.all {
		r.giveNow(c)
		r.wantValue(query, counts[i])
		switch i {
		case 0:
			r.wantDiffer(r.all[0].admin)
		case 1:
			r.wantDiffer(r.all[2].admin)
		default:
			r.wantDiffer()
		}
	}
}

// visitRegularly has a visitor come to the copies in turns, until the returned function is
// called.
func (r *rotation) visitRegularly() (leave func()) {
	r.t.Helper()
	v := newVisitor(r.t, r.all[0].URL, new(tls.Config)) // ports don't count for its jar
	if err := v.set("Regular"); err != nil {
		r.t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			v.url = r.all[i%len(r.all)].URL
			if err := v.check(); err != nil {
				r.t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
}

// A real Prometheus watches three copies while a key is added, promoted and
// dropped. At each step the documentation's queries tell whether it has
// reached every copy, and whether the old key is still in use; and the alert
// names the copy that is behind.
func TestRotationQueries(t *testing.T) {
	testkit.NeedTool(t, "prometheus")
	t.Parallel()
	r := newRotation(t)
	// A visitor who comes all the time, and one who is away during most of it.
	leave, rare := r.visitRegularly(), newJar(t, r.all[0].URL, "Rare")
	defer leave()

	const (
		everywhere = `count\(cookiesession_key_info\{key_id="\w+"\}\)`
		used       = `sum\(increase\(cookiesession_cookies_total\{[^}]*\}\[\w+\]\)\)( == 0)?`
	)
	// The operator looks back on days, and here it is seconds.
	unused := func(k keyIDs) string {
		return regexp.MustCompile(`\[\w+\]`).ReplaceAllString(documented(t, used, k), "[4s]")
	}
	// Before: only the old key is there, and in use.
	old := listKeys(t, r.ring)[0]
	r.wantValue(documented(t, everywhere, old), "3")
	r.wantDiffer()
	r.wantUsed(unused(old), "before")

	mustRun(t, "keys", "add", r.ring)
	added := listKeys(t, r.ring)[1]
	r.wantValue(documented(t, everywhere, added), "")
	r.spread(documented(t, everywhere, added), "1", "2", "3")
	r.wantUsed(unused(old), "after a key was added")

	mustRun(t, "keys", "promote", r.ring)
	const seals = `count(cookiesession_key_info{key_id="%s",role="seals"})`
	r.spread(fmt.Sprintf(seals, added.encrypted), "1", "2", "3")
	// The regular visitor's cookie has been sealed again, so the old key falls out
	// of use, until the other visitor comes back with the old cookie.
	r.wantValue(unused(old), "0")
	if got := rare.ask(r.all[0].URL); got != "Name: Rare" {
		t.Errorf("got %q", got)
	}
	r.wantUsed(unused(old), "after a visitor came back")
	r.wantValue(unused(old), "0")
	if got := r.prom.value(unused(added)); got == "0" {
		t.Errorf("the new key is in use, and %s said %q", unused(added), got)
	}

	mustRun(t, "keys", "drop", r.ring, old.encrypted)
	r.spread(documented(t, everywhere, old), "2", "1", "")
	r.wantValue(documented(t, everywhere, added), "3")
	if got := rare.ask(r.all[1].URL); got != "Name: Rare" {
		t.Errorf("got %q", got)
	}

	leave()
	r.wantStray()
}

// wantStray gives one copy a key file of its own, and waits for what the alert says of it.
func (r *rotation) wantStray() {
	r.t.Helper()
	mustRun(r.t, "keys", "replace", r.ring)
	r.giveNow(r.all[1])
	r.wantDiffer(r.all[1].admin)
	want := r.all[1].admin + " has other keys than most copies of site"
	testkit.AwaitTrue(r.t, "the alert to say: "+want, func() bool {
		var data struct {
			Alerts []struct{ Labels, Annotations map[string]string }
		}
		r.prom.ask("/api/v1/alerts", nil, &data)
		return len(data.Alerts) == 1 && data.Alerts[0].Annotations["summary"] == want &&
			data.Alerts[0].Labels["alertname"] == "CookiesessionKeysDiffer"
	})
}
