package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"

	"go.yaml.in/yaml/v2"
)

// What git is told to ignore of keys, an image doesn't get either.
func TestDockerIgnore(t *testing.T) {
	ignored := strings.Split(read(t, ".dockerignore"), "\n")
	noKeys := []string{"*.test", "*.prof", "*.out"}
	for line := range strings.Lines(read(t, ".gitignore")) {
		pattern := strings.Trim(line, "/\n")
		if pattern == "" || pattern[0] == '#' || slices.Contains(noKeys, pattern) {
			continue
		}
		if !slices.Contains(ignored, pattern) {
			t.Errorf("got no %s in .dockerignore", pattern)
		}
	}
}

// commandLines returns the flags of each command line in deploy/ that serves.
func commandLines(t testing.TB) map[string][]string {
	t.Helper()
	lines := make(map[string][]string)
	for _, file := range []string{
		"Caddyfile", "haproxy.cfg", "nginx.conf", "cookiesession.service",
	} {
		serve := regexp.MustCompile(`(?m)cookiesession (-.*)$`)
		found := serve.FindAllStringSubmatch(read(t, "deploy/"+file), -1)
		if len(found) != 1 {
			t.Fatalf("deploy/%s: got %d command lines, want one", file, len(found))
		}
		lines[file] = strings.Fields(found[0][1])
	}
	lines["kubernetes.yaml"] = readManifests(t).container().Args
	return lines
}

// The command lines in deploy/ start the program, with keys and for an origin with https.
func TestDeployedFlags(t *testing.T) {
	slow(t)
	for file, args := range commandLines(t) {
		line := strings.Join(args, " ") + " "
		ring := filepath.Join(t.TempDir(), "ring")
		mustRun(t, "keys", "add", ring)
		// Here, the addresses and the key file are others.
		for _, own := range []struct{ flag, value string }{
			{flag: "addr", value: "127.0.0.1:0"}, {flag: "key-file", value: ring},
			{flag: "admin-addr", value: "127.0.0.1:0"},
		} {
			given := regexp.MustCompile("-" + own.flag + "[= ][^ ]+ ")
			if own.flag == "key-file" && !given.MatchString(line) {
				t.Errorf("deploy/%s: %q gives no keys", file, args)
			}
			line = given.ReplaceAllString(line, "-"+own.flag+" "+own.value+" ")
		}
		p := start(t, nil, strings.Fields(line)...)
		if !regexp.MustCompile(`-origin[= ]https://`).MatchString(line) {
			t.Errorf("deploy/%s: %q gives no origin with https", file, args)
		}
		if err := p.Cmd.Process.Kill(); err != nil { // and wait for no delay
			t.Error(err)
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
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).
		FindStringSubmatch(read(t, "deploy/cookiesession.service"))
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

// Where memory is limited, Go knows of it, with room for what Go doesn't count.
func TestDeployedMemoryLimits(t *testing.T) {
	limits := make(map[string][2]string) // what is given, and what Go is told
	first := func(text, pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("got no %s in %s", pattern, text)
		}
		return m[1]
	}
	unit := read(t, "deploy/cookiesession.service")
	limits["systemd"] = [2]string{
		first(unit, `(?m)^MemoryMax=(\d+)M$`),
		first(unit, `(?m)^Environment=GOMEMLIMIT=(\d+)MiB$`),
	}
	c := readManifests(t).container()
	limits["Kubernetes"] = [2]string{
		first(c.Resources.Limits["memory"], `^(\d+)Mi$`),
		first(fmt.Sprint(c.Env), `{GOMEMLIMIT (\d+)MiB}`),
	}
	image := read(t, "deploy/Dockerfile")
	limits["Docker"] = [2]string{
		first(image, `--memory (\d+)m`), first(image, `GOMEMLIMIT=(\d+)MiB`),
	}
	for where, limit := range limits {
		var given, told float64
		fmt.Sscan(limit[0], &given)
		fmt.Sscan(limit[1], &told)
		if share := told / given; share < 0.8 || share > 0.9 {
			t.Errorf("%s: got %v of %v MiB, want 80 to 90 %%", where, told, given)
		}
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
	Args      []string
	Env       []struct{ Name, Value string }
	Resources struct{ Limits map[string]string }
	Ports     []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
}

func (m *manifests) container() container { return m.Deployment.Spec.Template.Spec.Containers[0] }

// readManifests reads deploy/kubernetes.yaml, in which no key may be there twice.
func readManifests(t testing.TB) *manifests {
	t.Helper()
	m, kinds := new(manifests), 0
	for _, document := range strings.Split(read(t, "deploy/kubernetes.yaml"), "\n---\n") {
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
	slow(t)
	testkit.NeedTool(t, "systemd-analyze")
	file := mustBuild(t, programFile)
	unit := read(t, "deploy/cookiesession.service")
	unit = strings.Replace(unit, "=/usr/local/bin/cookiesession ", "="+file+" ", 1)
	if !strings.Contains(unit, file) {
		t.Fatalf("there is no program to start in %s", unit)
	}
	name := filepath.Join(t.TempDir(), "cookiesession.service")
	testkit.WriteFile(t, name, unit)
	cmd := exec.Command("systemd-analyze", "verify", name)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("cookiesession.service")) {
		t.Errorf("verify: got %v and %s", err, out)
	}
	for _, line := range []string{
		"IPAddressDeny=any", "IPAddressAllow=localhost", "NoNewPrivileges=yes",
	} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("got no %s", line)
		}
	}
	// In tenths: 100 is a service that is kept from nothing, 20 is good.
	tool(t, "", "systemd-analyze", "security", "--offline=true", "--threshold=20", name)
}
