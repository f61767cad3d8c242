package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"cookiesession/internal/testkit"

	"go.yaml.in/yaml/v2"
)

// commandLines returns the flags of each command line in deploy/ that serves.
func commandLines(t testing.TB) map[string]string {
	t.Helper()
	lines := make(map[string]string)
	for _, file := range []string{"Caddyfile", "haproxy.cfg", "nginx.conf"} {
		found := regexp.MustCompile(`(?m)cookiesession (-(?:[^\\\n]|\\\n)*)$`).
			FindAllStringSubmatch(read(t, "deploy/"+file), -1)
		if len(found) != 1 {
			t.Fatalf("deploy/%s: got %d command lines, want one", file, len(found))
		}
		lines[file] = strings.ReplaceAll(found[0][1], "\\\n#", "")
	}
	for _, arg := range regexp.MustCompile(`(?m)^ +- (-[a-z-]+=.*)$`).
		FindAllStringSubmatch(read(t, "deploy/kubernetes.yaml"), -1) {
		lines["kubernetes.yaml"] += arg[1] + " "
	}
	for _, variable := range regexp.MustCompile(`(?m)^Environment=COOKIESESSION_([A-Z_]+)(=.*)$`).
		FindAllStringSubmatch(read(t, "deploy/cookiesession.service"), -1) {
		flag := strings.ToLower(strings.ReplaceAll(variable[1], "_", "-"))
		lines["cookiesession.service"] += "-" + flag + variable[2] + " "
	}
	return lines
}

// The command lines in deploy/ start the program, with keys and for an origin with https.
func TestDeployedFlags(t *testing.T) {
	slow(t)
	for file, line := range commandLines(t) {
		ring := filepath.Join(t.TempDir(), "ring")
		mustRun(t, "keys", "add", ring)
		// Here, the addresses and the key file are others.
		address := regexp.MustCompile(`(-(?:admin-)?addr)[= ]\S+`)
		line = address.ReplaceAllString(line, "$1 127.0.0.1:0")
		keys := regexp.MustCompile(`-key-file[= ]\S+`)
		if !keys.MatchString(line) || !regexp.MustCompile(`-origin[= ]https://`).MatchString(line) {
			t.Errorf("deploy/%s: %s gives no keys, or no origin with https", file, line)
		}
		line = keys.ReplaceAllString(line, "-key-file "+ring)
		if !strings.Contains(line, "-admin-addr") {
			t.Errorf("deploy/%s: %s has no listener for the operator", file, line)
		}
		p := start(t, nil, strings.Fields(line)...)
		if err := p.Cmd.Process.Kill(); err != nil { // and wait for no delay
			t.Error(err)
		}
	}
}

// Whoever stops a copy gives it the time that it takes. Where memory is limited, Go knows of
// it, with room for what Go doesn't count.
func TestDeployedLimits(t *testing.T) {
	const unit, manifests = "cookiesession.service", "kubernetes.yaml"
	number := func(file, pattern string) float64 {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, "deploy/"+file))
		if m == nil {
			t.Fatalf("got no %s in deploy/%s", pattern, file)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, tt := range []struct{ file, given, delay string }{
		{unit, `TimeoutStopSec=(\d+)\n`, `SHUTDOWN_DELAY=(\d+)s\n`},
		{manifests, `terminationGracePeriodSeconds: (\d+) `, `-shutdown-delay=(\d+)s`},
	} {
		given, delay := number(tt.file, tt.given), number(tt.file, tt.delay)
		if need := delay + shutdownTimeout.Seconds(); given <= need {
			t.Errorf("%s: got %v seconds to stop, want more than %v", tt.file, given, need)
		}
	}
	for _, tt := range []struct{ file, given, told string }{
		{unit, `\nMemoryMax=(\d+)M\n`, `\nEnvironment=GOMEMLIMIT=(\d+)MiB\n`},
		{manifests, `limits: {memory: (\d+)Mi}`, `{name: GOMEMLIMIT, value: (\d+)MiB}`},
		{"Dockerfile", `--memory (\d+)m`, `GOMEMLIMIT=(\d+)MiB`},
	} {
		given, told := number(tt.file, tt.given), number(tt.file, tt.told)
		if share := told / given; share < 0.8 || share > 0.9 {
			t.Errorf("%s: got %v of %v MiB, want 80 to 90 %%", tt.file, told, given)
		}
	}
}

// The manifests can be read. The pod may do nothing, only the monitoring reaches the port of
// the admin listener, and the program reaches nobody.
func TestKubernetes(t *testing.T) {
	var policy struct {
		Spec struct {
			PolicyTypes []string `yaml:"policyTypes"`
			Ingress     []struct {
				From  []any
				Ports []struct{ Port string }
			}
			Egress []any
		}
	}
	documents := strings.Split(read(t, "deploy/kubernetes.yaml"), "\n---\n")
	for _, line := range []string{
		"automountServiceAccountToken: false", "enableServiceLinks: false", "runAsNonRoot: true",
		"seccompProfile: {type: RuntimeDefault}", "allowPrivilegeEscalation: false",
		"readOnlyRootFilesystem: true", "capabilities: {drop: [ALL]}",
		"httpGet: {path: /healthz, port: web}", "httpGet: {path: /healthz, port: admin}",
		"    - {name: web, port: 80, targetPort: web}\n---", // and no other port of the Service
	} {
		if !strings.Contains(read(t, "deploy/kubernetes.yaml"), line) {
			t.Errorf("deploy/kubernetes.yaml has no %s", line)
		}
	}
	for _, document := range documents {
		var all map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &all); err != nil {
			t.Errorf("deploy/kubernetes.yaml: %v", err)
		}
		if all["kind"] != "NetworkPolicy" {
			continue
		}
		if err := yaml.Unmarshal([]byte(document), &policy); err != nil {
			t.Error(err)
		}
	}
	types := strings.Join(policy.Spec.PolicyTypes, " ")
	if types != "Ingress Egress" || len(policy.Spec.Egress) > 0 || len(policy.Spec.Ingress) != 2 {
		t.Fatalf("got the policy %+v, want nothing to go out", policy.Spec)
	}
	for _, rule := range policy.Spec.Ingress {
		everybody := len(rule.From) == 0
		if len(rule.Ports) != 1 || everybody != (rule.Ports[0].Port == "web") {
			t.Errorf("got the rule %+v, want web alone for everybody", rule)
		}
	}
}

// systemd finds nothing wrong with the unit, and much that it keeps the program from.
func TestSystemdUnit(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "systemd-analyze")
	unit := strings.ReplaceAll(read(t, "deploy/cookiesession.service"),
		"=/usr/local/bin/cookiesession", "="+mustBuild(t, programFile))
	name := filepath.Join(t.TempDir(), "cookiesession.service")
	testkit.WriteFile(t, name, unit)
	out, err := exec.Command("systemd-analyze", "verify", name).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("cookiesession.service")) {
		t.Errorf("verify: got %v and %s", err, out)
	}
	if !strings.Contains(unit, "\nIPAddressDeny=any\nIPAddressAllow=localhost\n") {
		t.Errorf("got a unit that may connect to anywhere: %s", unit)
	}
	// In tenths: 100 is a service that is kept from nothing, 20 is good.
	tool(t, "", "systemd-analyze", "security", "--offline=true", "--threshold=20", name)
}
