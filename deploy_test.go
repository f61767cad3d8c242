package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"
)

// tool runs a tool to its end and returns what it has printed.
func tool(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, needTool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s%s", name, args, err, out, &said)
	}
	return string(out)
}

// pageAt returns what is at an address.
func pageAt(t testing.TB, address string) string {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: got status %d, %v and %s", address, res.StatusCode, err, body)
	}
	return string(body)
}

// busyMetrics returns the page of metrics of a copy that has seen something of
// everything.
func busyMetrics(t testing.TB, flags ...string) string {
	t.Helper()
	admin, ring := freeAddr(t), filepath.Join(t.TempDir(), "ring")
	mustRun(t, "keys", "add", ring)
	flags = append(flags, "-admin-addr", admin, "-key-file", ring)
	p := startProcess(t, nil, flags...)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	for _, path := range []string{"/", "/nowhere", "/healthz"} {
		if res, err := client.Get(p.url + path); err != nil {
			t.Fatal(err)
		} else {
			res.Body.Close()
		}
	}
	if res, err := client.PostForm(p.url+"/set_name", url.Values{"name": {"Alice"}}); err != nil {
		t.Fatal(err)
	} else {
		res.Body.Close()
	}
	return pageAt(t, "http://"+admin+"/metrics")
}

// The alerts are good rules, and each is tested.
func TestAlerts(t *testing.T) {
	t.Parallel()
	tool(t, "", "promtool", "check", "rules", "deploy/alerts.yml")
	tool(t, "", "promtool", "test", "rules", "deploy/alerts_test.yml")

	rules, tests := readFile(t, "deploy/alerts.yml"), readFile(t, "deploy/alerts_test.yml")
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

// What the alerts look at exists.
func TestAlertsKnowTheMetrics(t *testing.T) {
	rules := readFile(t, "deploy/alerts.yml")
	cert, key, _ := newCertificate(t)
	page := busyMetrics(t, "-tls-cert", cert, "-tls-key", key)
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
	manual := readFile(t, "docs/operation.md")
	text := strings.Join(strings.Fields(readFile(t, "deploy/alerts.yml")), " ")
	sections := regexp.MustCompile(`See "([^"]+)" in docs/operation\.md`).FindAllStringSubmatch(text, -1)
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

// Prometheus itself finds nothing to complain of in the page of metrics.
func TestPromtoolCheckMetrics(t *testing.T) {
	tool(t, busyMetrics(t), "promtool", "check", "metrics")
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
	file, dir, addr := needTool(t, "prometheus"), t.TempDir(), freeAddr(t)
	rules, err := filepath.Abs("deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	const every = "250ms"
	config, err := json.Marshal(map[string]any{ // JSON is YAML, too
		"global": map[string]any{
			"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every,
		},
		"rule_files": []string{rules},
		"scrape_configs": []any{map[string]any{
			"job_name": "site", "static_configs": []any{map[string]any{"targets": copies}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "prometheus.yml"), string(config))
	cmd := exec.Command(file, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	log := new(lockedBuffer)
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
	awaitTrue(t, "Prometheus", func() bool {
		res, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	awaitTrue(t, "Prometheus to have scraped all copies", func() bool {
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
func documented(t testing.TB, form string, k key) string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	query := ""
	for _, file := range append([]string{"README.md"}, files...) {
		for _, found := range regexp.MustCompile(form).FindAllString(readFile(t, file), -1) {
			if query != "" && query != found {
				t.Errorf("%s: got %s, elsewhere it is %s", file, found, query)
			}
			query = found
		}
	}
	if query == "" {
		t.Fatalf("the documentation has no query of the form %s", form)
	}
	one := regexp.MustCompile(`"(ID|NEW|OLD)"`).ReplaceAllString(query, `"`+k.encrypted.id+`"`)
	return regexp.MustCompile(`"[A-Z]+\|[A-Z]+"`).ReplaceAllString(one, `"`+k.encrypted.id+"|"+k.signed.id+`"`)
}

// A real Prometheus watches three copies while a key is added, promoted and
// dropped. At each step the documentation's queries tell whether it has
// reached every copy, and whether the old key is still in use; and the alert
// names the copy that is behind.
func TestRotationQueries(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	needTool(t, "prometheus")
	t.Parallel()
	dir := t.TempDir()
	ring := filepath.Join(dir, "ring") // the operator's own
	mustRun(t, "keys", "add", ring)
	keys := func() []key {
		keys, err := keysFromFile(ring)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	var copies [3]*started
	var admins [3]string
	give := func(i int) string {
		name := filepath.Join(dir, fmt.Sprint("ring", i))
		writeFile(t, name+".new", readFile(t, ring))
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for i := range copies {
		admins[i] = freeAddr(t)
		copies[i] = startProcess(t, nil, "-admin-addr", admins[i], "-key-file", give(i))
	}
	p := startPrometheus(t, admins[:]...)

	differ := p.alertQuery("CookiesessionKeysDiffer")
	wantDiffer := func(want ...string) {
		t.Helper()
		var got []string
		awaitTrue(t, fmt.Sprintf("the alert to name %q", want), func() bool {
			got = nil
			for _, s := range p.query(differ) {
				got = append(got, s.Metric["instance"])
			}
			slices.Sort(got)
			slices.Sort(want)
			return slices.Equal(got, want)
		})
	}
	wantValue := func(query, want string) {
		t.Helper()
		awaitTrue(t, fmt.Sprintf("%s to be %q", query, want), func() bool { return p.value(query) == want })
	}
	// spread brings the operator's keys to one copy after the other. While they are
	// on their way, a query counts the copies that have them, and the alert names
	// those that the others outnumber: here the first, and then the last.
	spread := func(query string, counts ...string) {
		t.Helper()
		for i, c := range copies {
			give(i)
			c.cmd.Process.Signal(syscall.SIGHUP)
			wantValue(query, counts[i])
			switch i {
			case 0:
				wantDiffer(admins[0])
			case 1:
				wantDiffer(admins[2])
			default:
				wantDiffer()
			}
		}
	}

	// A visitor who comes all the time, and one who is away during most of it.
	visit := func(client *http.Client, i int, form url.Values, want string) {
		t.Helper()
		address := copies[i%len(copies)].url
		res, err := client.Get(address + "/get_name")
		if form != nil {
			res, err = client.PostForm(address+"/set_name", form)
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != want {
			t.Errorf("got %q and %v, want %q", body, err, want)
		}
	}
	newVisitor := func(name string) *http.Client {
		jar, _ := cookiejar.New(nil) // with one address for all: ports don't count
		client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
		visit(client, 0, url.Values{"name": {name}}, "Name "+name+" set in session\n")
		return client
	}
	regular, rare := newVisitor("Regular"), newVisitor("Rare")
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			visit(regular, i, nil, "Name: Regular\n")
			time.Sleep(50 * time.Millisecond)
		}
	})
	defer wg.Wait()
	defer leave()

	const (
		everywhere = `count\(cookiesession_key_info\{key_id="\w+"\}\)`
		used       = `sum\(increase\(cookiesession_cookies_total\{[^}]*\}\[\w+\]\)\)( == 0)?`
	)
	// The operator looks back on days, and here it is seconds. Where the query ends
	// with == 0, it has no result at all while the key is in use.
	seconds := func(query string) string {
		return regexp.MustCompile(`\[\w+\]`).ReplaceAllString(query, "[4s]")
	}
	old := keys()[0]
	oldIsUnused := seconds(documented(t, used, old))
	oldUses := strings.TrimSuffix(oldIsUnused, " == 0")
	wantUsed := func(when string) {
		t.Helper()
		awaitTrue(t, "the old key to be seen in use "+when, func() bool {
			uses := p.value(oldUses)
			return uses != "" && uses != "0"
		})
		if got := p.value(oldIsUnused); got == "0" {
			t.Errorf("%s the old key is in use, and %s said %q", when, oldIsUnused, got)
		}
	}

	// Before: only the old key is there, and in use.
	wantValue(documented(t, everywhere, old), "3")
	wantDiffer()
	wantUsed("before")

	mustRun(t, "keys", "add", ring)
	added := keys()[1]
	wantValue(documented(t, everywhere, added), "")
	spread(documented(t, everywhere, added), "1", "2", "3")
	wantUsed("after a key was added")

	mustRun(t, "keys", "promote", ring)
	seals := fmt.Sprintf(`count(cookiesession_key_info{key_id="%s",role="seals"})`, added.encrypted.id)
	spread(seals, "1", "2", "3")
	// The regular visitor's cookie has been sealed again, so the old key falls out
	// of use, until the other visitor comes back with the old cookie.
	wantValue(oldIsUnused, "0")
	visit(rare, 0, nil, "Name: Rare\n")
	wantUsed("after a visitor came back")
	wantValue(oldIsUnused, "0")
	newIsUnused := seconds(documented(t, used, added))
	if got := p.value(newIsUnused); got == "0" {
		t.Errorf("the new key is in use, and %s said %q", newIsUnused, got)
	}

	mustRun(t, "keys", "drop", ring, old.encrypted.id)
	spread(documented(t, everywhere, old), "2", "1", "")
	wantValue(documented(t, everywhere, added), "3")
	visit(rare, 1, nil, "Name: Rare\n")

	// And a copy that got a file of its own is found, and what is said of it.
	leave()
	wg.Wait()
	mustRun(t, "keys", "replace", ring)
	give(1)
	copies[1].cmd.Process.Signal(syscall.SIGHUP)
	wantDiffer(admins[1])
	want := admins[1] + " has other keys than most copies of site"
	awaitTrue(t, "the alert to say: "+want, func() bool {
		var data struct {
			Alerts []struct{ Labels, Annotations map[string]string }
		}
		p.ask("/api/v1/alerts", nil, &data)
		return len(data.Alerts) == 1 && data.Alerts[0].Annotations["summary"] == want &&
			data.Alerts[0].Labels["alertname"] == "CookiesessionKeysDiffer"
	})
}

// What git is told to ignore of keys, an image doesn't get either.
func TestDockerIgnore(t *testing.T) {
	ignored := strings.Split(readFile(t, ".dockerignore"), "\n")
	for line := range strings.Lines(readFile(t, ".gitignore")) {
		pattern := strings.Trim(line, "/\n")
		if pattern == "" || pattern[0] == '#' || slices.Contains([]string{"*.test", "*.prof", "*.out"}, pattern) {
			continue
		}
		if !slices.Contains(ignored, pattern) {
			t.Errorf("got no %s in .dockerignore", pattern)
		}
	}
}

// haproxyConfig returns deploy/haproxy.cfg with other addresses and another
// certificate, whose file has the key behind the chain.
func haproxyConfig(t testing.TB, plain, secure, pem string, copies ...string) string {
	t.Helper()
	config := readFile(t, "deploy/haproxy.cfg")
	replace := func(old, new string) {
		t.Helper()
		if strings.Count(config, old) != 1 {
			t.Fatalf("deploy/haproxy.cfg: %q is there %d times", old, strings.Count(config, old))
		}
		config = strings.Replace(config, old, new, 1)
	}
	replace("bind :80\n", "bind "+plain+"\n")
	replace("bind :443 ", "bind "+secure+" ")
	replace("/etc/haproxy/site.pem", pem)
	for i, addr := range copies {
		replace(fmt.Sprintf("server copy%d 127.0.0.1:808%d\n", i+1, i+1), fmt.Sprintf("server copy%d %s\n", i+1, addr))
	}
	return config
}

// proxy is a HAProxy or a Caddy, which may be started again.
type proxy struct {
	t    testing.TB
	args []string
	home string
	cmd  *exec.Cmd // the last one
}

func (p *proxy) start(more ...string) {
	p.t.Helper()
	cmd := exec.Command(p.args[0], append(slices.Clone(p.args[1:]), more...)...)
	cmd.Env = append(os.Environ(), "HOME="+p.home, "XDG_DATA_HOME="+p.home, "XDG_CONFIG_HOME="+p.home)
	log := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("%s: %s", filepath.Base(p.args[0]), log)
		}
	})
}

// startHAProxy starts HAProxy as deploy/haproxy.cfg has it, in front of these
// copies, and returns a client for it that trusts its certificate.
func startHAProxy(t testing.TB, plain, secure string, copies ...string) (*proxy, *http.Client) {
	t.Helper()
	haproxy, dir := needTool(t, "haproxy"), t.TempDir()
	cert, key, pool := newCertificate(t)
	pem, config := filepath.Join(dir, "site.pem"), filepath.Join(dir, "haproxy.cfg")
	writeFile(t, pem, readFile(t, cert)+readFile(t, key))
	writeFile(t, config, haproxyConfig(t, plain, secure, pem, copies...))
	p := &proxy{t: t, args: []string{haproxy, "-db", "-f", config}, home: dir}
	p.start()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
		},
	}
	awaitTrue(t, "HAProxy", func() bool { return isHealthy(client, "https://"+secure) })
	return p, client
}

// startCaddy starts Caddy as deploy/Caddyfile has it, at the address front, in
// front of the copies at these addresses, and returns a client for it.
func startCaddy(t testing.TB, front string, copies ...string) (*proxy, *http.Client) {
	t.Helper()
	caddy, dir := needTool(t, "caddy"), t.TempDir()
	config := strings.Replace(readFile(t, "deploy/Caddyfile"), "example.com {",
		"{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"+
			front+" {\n\ttls internal", 1)
	for i, url := range copies {
		old := fmt.Sprintf("127.0.0.1:808%d ", i+1)
		config = strings.Replace(config, old, strings.TrimPrefix(url, "http://")+" ", 1)
	}
	file := filepath.Join(dir, "Caddyfile")
	writeFile(t, file, config)
	p := &proxy{t: t, args: []string{caddy, "run", "--config", file, "--adapter", "caddyfile"}, home: dir}
	p.start()
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	awaitTrue(t, "Caddy", func() bool { return isHealthy(client, front) })
	return p, client
}

// askSite makes one request as a page of the site does, and returns the response
// with its body.
func askSite(client *http.Client, base, method, path, form, cookie string) (
	*http.Response, string, error) {
	r, err := http.NewRequest(method, base+path, strings.NewReader(form))
	if err != nil {
		return nil, "", err
	}
	r.Header = http.Header{
		"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {base},
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// isHealthy reports whether the site at an address says that it is.
func isHealthy(client *http.Client, url string) bool {
	res, err := client.Get(url + "/healthz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// HAProxy ends TLS before three copies that know their origin.
func TestHAProxyEndsTLS(t *testing.T) {
	needTool(t, "haproxy")
	plain, secure := freeAddr(t), freeAddr(t)
	base := "https://" + secure
	var copies []string
	for range 3 {
		p := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA},
			"-addr", freeAddr(t), "-origin", base)
		addr := regexp.MustCompile(`-addr (\S+)`).FindStringSubmatch(strings.Join(p.cmd.Args[3:], " "))
		copies = append(copies, addr[1])
	}
	_, client := startHAProxy(t, plain, secure, copies...)

	res, err := client.PostForm(base+"/set_name", url.Values{"name": {"Alice"}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookies := res.Cookies()
	if len(cookies) != 1 || cookies[0].Name != securePrefix+cookieName || !cookies[0].Secure {
		t.Fatalf("got the cookies %v", cookies)
	}
	if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("got HTTP/%d with %v, want HTTP/2 and HSTS", res.ProtoMajor, res.Header)
	}
	for range 6 { // each copy twice
		res, err := client.Get(base + "/get_name")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "Name: Alice\n" {
			t.Errorf("got %q and %v", body, err)
		}
	}

	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err = client.Get("http://" + plain + "/get_name")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if to := res.Header.Get("Location"); res.StatusCode != 308 || to != "https://"+plain+"/get_name" {
		t.Errorf("over plain HTTP: got status %d to %q, want 308 to HTTPS", res.StatusCode, to)
	}
	request, err := http.NewRequest("GET", base+"/get_name", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "evil.example"
	if res, err = client.Do(request); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest || len(res.Cookies()) > 0 {
		t.Errorf("for another host: got status %d, want 421", res.StatusCode)
	}
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", secure, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	weak := &tls.Config{
		InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	}
	if conn, err := tls.Dial("tcp", secure, weak); err == nil {
		conn.Close()
		t.Error("a suite without authenticated encryption was accepted")
	}
}

// commandLines returns the flags of each command line in deploy/ that serves.
func commandLines(t testing.TB) map[string][]string {
	t.Helper()
	lines := make(map[string][]string)
	for _, file := range []string{"Caddyfile", "haproxy.cfg", "cookiesession.service"} {
		serve := regexp.MustCompile(`(?m)cookiesession (-.*)$`)
		found := serve.FindAllStringSubmatch(readFile(t, "deploy/"+file), -1)
		if len(found) != 1 {
			t.Fatalf("deploy/%s: got %d command lines, want one", file, len(found))
		}
		lines[file] = strings.Fields(found[0][1])
	}
	lines["kubernetes.yaml"] = readManifests(t).container().Args
	return lines
}

// The command lines in deploy/ are of flags that the program has, and that go together.
func TestDeployedFlags(t *testing.T) {
	for file, args := range commandLines(t) {
		cfg, err := parseFlags(args, func(string) string { return "" }, io.Discard)
		if err != nil {
			t.Errorf("deploy/%s: %v", file, err)
			continue
		}
		if !cfg.secure || cfg.keyFile == "" {
			t.Errorf("deploy/%s: %q doesn't give keys, or an origin with https", file, args)
		}
	}
}

// Whoever stops a copy gives it the time that it takes.
func TestDeployedStopTimes(t *testing.T) {
	delay := func(file string) time.Duration {
		t.Helper()
		args := strings.ReplaceAll(strings.Join(commandLines(t)[file], " "), "=", " ") + " "
		_, after, _ := strings.Cut(args, "-shutdown-delay ")
		d, err := time.ParseDuration(strings.Fields(after)[0])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(readFile(t, "deploy/cookiesession.service"))
	given, err := time.ParseDuration(stop[1] + "s")
	if err != nil {
		t.Fatal(err)
	}
	if need := delay("cookiesession.service") + shutdownTimeout; given <= need {
		t.Errorf("systemd: got %v, want more than %v", given, need)
	}
	m := readManifests(t)
	given = time.Duration(m.Deployment.Spec.Template.Spec.Grace) * time.Second
	if need := delay("kubernetes.yaml") + shutdownTimeout; given <= need {
		t.Errorf("Kubernetes: got %v, want more than %v", given, need)
	}
}

// manifests is what the tests look at of deploy/kubernetes.yaml.
type manifests struct {
	Deployment struct {
		Spec struct {
			Template struct {
				Metadata struct{ Labels, Annotations map[string]string }
				Spec     struct {
					Grace      int `yaml:"terminationGracePeriodSeconds"`
					Containers []container
				}
			}
		}
	}
	Service struct {
		Spec struct{ Ports []map[string]any }
	}
	NetworkPolicy struct {
		Spec struct {
			PodSelector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			} `yaml:"podSelector"`
			PolicyTypes []string `yaml:"policyTypes"`
			Ingress     []struct {
				From  []map[string]any
				Ports []struct{ Port, Protocol string }
			}
			Egress []any
		}
	}
}

type container struct {
	Args  []string
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
}

func (m *manifests) container() container { return m.Deployment.Spec.Template.Spec.Containers[0] }

// readManifests reads deploy/kubernetes.yaml, in which no key may be there twice.
func readManifests(t testing.TB) *manifests {
	t.Helper()
	m, kinds := new(manifests), 0
	for _, document := range strings.Split(readFile(t, "deploy/kubernetes.yaml"), "\n---\n") {
		var head struct{ Kind string }
		var all map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &all); err != nil {
			t.Fatalf("deploy/kubernetes.yaml: %v", err)
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatal(err)
		}
		to := map[string]any{
			"Deployment": &m.Deployment, "Service": &m.Service,
			"NetworkPolicy": &m.NetworkPolicy, "PodDisruptionBudget": new(any),
		}[head.Kind]
		if to == nil {
			t.Fatalf("deploy/kubernetes.yaml: got a %q", head.Kind)
		}
		if err := yaml.Unmarshal([]byte(document), to); err != nil {
			t.Fatal(err)
		}
		kinds++
	}
	if kinds != 4 || len(m.Deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("deploy/kubernetes.yaml: got %d documents and %+v", kinds, m)
	}
	return m
}

// Only the monitoring reaches the port of the admin listener, and the program
// reaches nobody.
func TestKubernetes(t *testing.T) {
	m := readManifests(t)
	ports := make(map[string]string)
	for _, port := range m.container().Ports {
		ports[port.Name] = fmt.Sprint(port.ContainerPort)
	}
	for flag, port := range map[string]string{"-addr": "web", "-admin-addr": "admin"} {
		if want := flag + "=:" + ports[port]; !slices.Contains(m.container().Args, want) {
			t.Errorf("got no %s in %q", want, m.container().Args)
		}
	}
	scraped := m.Deployment.Spec.Template.Metadata.Annotations["prometheus.io/port"]
	if scraped != ports["admin"] {
		t.Errorf("port %s is scraped, want %s", scraped, ports["admin"])
	}
	if p := m.Service.Spec.Ports; len(p) != 1 {
		t.Errorf("the Service has the ports %v, want one", p)
	}

	policy := m.NetworkPolicy.Spec
	app := m.Deployment.Spec.Template.Metadata.Labels["app"]
	if app == "" || policy.PodSelector.MatchLabels["app"] != app {
		t.Errorf("the policy is for %v, want the pods of %q", policy.PodSelector, app)
	}
	if !slices.Equal(policy.PolicyTypes, []string{"Ingress", "Egress"}) || len(policy.Egress) > 0 {
		t.Errorf("got %v and %v, want nothing to go out", policy.PolicyTypes, policy.Egress)
	}
	open := make(map[string]bool) // ports that everybody reaches
	for _, rule := range policy.Ingress {
		for _, port := range rule.Ports {
			open[port.Port] = open[port.Port] || len(rule.From) == 0
		}
		if len(rule.Ports) == 0 {
			t.Error("a rule of the policy is for all ports")
		}
	}
	if admin, known := open["admin"]; !open["web"] || admin || !known || len(open) != 2 {
		t.Errorf("everybody reaches %v, want web and not admin", open)
	}
}

// systemd finds nothing wrong with the unit, and much that it keeps the program from.
func TestSystemdUnit(t *testing.T) {
	needTool(t, "systemd-analyze")
	file, err := programFile()
	if err != nil {
		t.Fatal(err)
	}
	unit := readFile(t, "deploy/cookiesession.service")
	unit = strings.Replace(unit, "=/usr/local/bin/cookiesession ", "="+file+" ", 1)
	if !strings.Contains(unit, file) {
		t.Fatalf("there is no program to start in %s", unit)
	}
	name := filepath.Join(t.TempDir(), "cookiesession.service")
	writeFile(t, name, unit)
	cmd := exec.Command("systemd-analyze", "verify", name)
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("cookiesession.service")) {
		t.Errorf("verify: got %v and %s", err, out)
	}
	for _, line := range []string{"IPAddressDeny=any", "IPAddressAllow=localhost", "NoNewPrivileges=yes"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("got no %s", line)
		}
	}
	// In tenths: 100 is a service that is kept from nothing, 20 is good.
	tool(t, "", "systemd-analyze", "security", "--offline=true", "--threshold=20", name)
}

// Each test that docs/security.md calls as a witness exists.
func TestSecurityWitnesses(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]bool)
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(readFile(t, file), -1) {
			have[m[1]] = true
		}
	}
	text := readFile(t, "docs/security.md")
	called := 0
	for _, name := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(text, -1) {
		called++
		if !have[name[1]] {
			t.Errorf("docs/security.md calls %s, which does not exist", name[1])
		}
	}
	if called < 50 {
		t.Errorf("docs/security.md calls %d tests, want many more", called)
	}
}

// What docs/security.md says to print nothing prints nothing.
func TestSecurityCommands(t *testing.T) {
	sh := needTool(t, "sh")
	needTool(t, "grep")
	commands := regexp.MustCompile("`(grep [^`]+)` prints nothing").
		FindAllStringSubmatch(readFile(t, "docs/security.md"), -1)
	for _, command := range commands {
		var exit *exec.ExitError
		out, err := exec.Command(sh, "-c", command[1]).CombinedOutput()
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(out) > 0 {
			t.Errorf("%s: got %v and %s", command[1], err, out)
		}
	}
	if len(commands) < 5 {
		t.Errorf("ran %d commands, want more", len(commands))
	}
}

// Each line of the log has its time with an offset, and there is nothing on
// standard output.
func TestLogLines(t *testing.T) {
	var stdout, stderr lockedBuffer
	cmd := program(t, nil, "-addr", "127.0.0.1:0", "-log-format", "json", "-log-level", "debug")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	listening := regexp.MustCompile(`"msg":"listening","url":"([^"]+)"`)
	awaitTrue(t, "the program", func() bool { return listening.MatchString(stderr.String()) })
	pageAt(t, listening.FindStringSubmatch(stderr.String())[1]+"/get_name")
	awaitTrue(t, "the request's line", func() bool {
		return strings.Contains(stderr.String(), `"msg":"request"`)
	})
	for text := range strings.Lines(stderr.String()) {
		var line struct {
			Time       time.Time // which takes no time without an offset
			Level, Msg string
		}
		err := json.Unmarshal([]byte(text), &line)
		if err != nil || line.Level == "" || line.Msg == "" || time.Since(line.Time) > time.Minute {
			t.Errorf("got %v from %s", err, text)
		}
	}
	if stdout.String() != "" {
		t.Errorf("got %q on standard output", &stdout)
	}
}

// Where a message ends is never a matter of opinion: what could be taken in two
// ways is refused, and the connection is closed, so that nothing behind it is
// taken for a request of somebody else's.
func TestMessageBoundaries(t *testing.T) {
	p := startProcess(t, nil)
	direct := func() (net.Conn, error) { return net.Dial("tcp", strings.TrimPrefix(p.url, "http://")) }
	ways := map[string]func() (net.Conn, error){"direct": direct}
	if _, err := exec.LookPath("haproxy"); err == nil || os.Getenv("CI") == "true" {
		plain, secure := freeAddr(t), freeAddr(t)
		copies := make([]string, 3)
		for i := range copies {
			c := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA})
			copies[i] = strings.TrimPrefix(c.url, "http://")
		}
		startHAProxy(t, plain, secure, copies...)
		ways["behind HAProxy"] = func() (net.Conn, error) {
			return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
		}
	}
	tests := []struct {
		name, header, body string
		refused            bool
	}{
		{name: "good", header: "Content-Length: 10", body: "name=Alice"},
		{name: "good, chunked", header: "Transfer-Encoding: chunked", body: "a\r\nname=Alice\r\n0\r\n\r\n"},
		{name: "two lengths", header: "Content-Length: 10\r\nContent-Length: 4", body: "name=Alice", refused: true},
		{name: "two in one", header: "Content-Length: 10, 4", body: "name=Alice", refused: true},
		{name: "signed", header: "Content-Length: +10", body: "name=Alice", refused: true},
		{name: "negative", header: "Content-Length: -1", body: "name=Alice", refused: true},
		{name: "hexadecimal", header: "Content-Length: 0xa", body: "name=Alice", refused: true},
		{name: "space before the colon", header: "Content-Length : 10", body: "name=Alice", refused: true},
		{name: "unknown coding", header: "Transfer-Encoding: xchunked", body: "name=Alice", refused: true},
		{name: "coding twice", header: "Transfer-Encoding: chunked, chunked", body: "0\r\n\r\n", refused: true},
		{name: "bad chunk", header: "Transfer-Encoding: chunked", body: "-1\r\nname=Alice\r\n0\r\n\r\n", refused: true},
	}
	const form = "POST /set_name HTTP/1.1\r\nHost: localhost\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	const next = "GET /style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for way, dial := range ways {
		for _, tt := range tests {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(conn, form+tt.header+"\r\n\r\n"+tt.body+next)
			all, err := io.ReadAll(conn) // an error is a connection that was cut off
			conn.Close()
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s, %s: still open after five seconds", way, tt.name)
			}
			got, answers := string(all), strings.Count(string(all), "HTTP/1.1 ")
			set := strings.Contains(got, "Name Alice set in session")
			if !tt.refused && (!set || answers != 2) || tt.refused && (set || answers > 1) {
				t.Errorf("%s, %s: got %d answers: %.300s", way, tt.name, answers, got)
			}
		}
		// With both headers, the length is ignored: what it would have made a part
		// of the form is the next request.
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		both := fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", 15+len(next))
		io.WriteString(conn, form+both+"a\r\nname=Alice\r\n0\r\n\r\n"+next)
		all, _ := io.ReadAll(conn)
		conn.Close()
		if set := strings.Contains(string(all), "Name Alice set in session"); !set && !strings.Contains(string(all), " 400 ") {
			t.Errorf("%s, both headers: got %.300s", way, all)
		}
	}
}
