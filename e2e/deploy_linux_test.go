package e2e

import (
	"encoding/json"
	"fmt"
	goversion "go/version"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cookiesession/internal/testkit"
)

// image is an image in a store of its own.
type image struct {
	t     testing.TB
	store []string
}

// buildah runs one of buildah's commands and returns what it has printed.
func (i *image) buildah(command string, args ...string) string {
	i.t.Helper()
	args = slices.Concat(i.store, []string{command}, args)
	return strings.TrimSpace(tool(i.t, "", "buildah", args...))
}

// buildImage builds deploy/Dockerfile without a network. Its base image is a
// stand-in: an empty one, into which this machine's own Go and tools are mounted.
func buildImage(t testing.TB) *image {
	t.Helper()
	dockerfile := read(t, "deploy/Dockerfile")
	base := regexp.MustCompile(`(?m)^FROM (golang:(\S+)) AS build$`).FindStringSubmatch(dockerfile)
	if base == nil {
		t.Fatal("deploy/Dockerfile builds with no golang image")
	}
	needs := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))
	if goversion.Compare("go"+base[2], "go"+needs[1]) < 0 {
		t.Errorf("deploy/Dockerfile builds with Go %s, and go.mod needs %s", base[2], needs[1])
	}

	tool(t, "", "go", "mod", "download") // what the build will look for in the module cache
	var env struct{ GOROOT, GOMODCACHE, GOCACHE string }
	if err := json.Unmarshal([]byte(tool(t, "", "go", "env", "-json")), &env); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	i := &image{t: t, store: []string{
		"--root", filepath.Join(dir, "store"), "--runroot", filepath.Join(dir, "run"),
		"--storage-driver", "vfs",
	}}
	standIn := i.buildah("from", "scratch")
	root := i.buildah("mount", standIn)
	for _, name := range []string{"bin", "lib", "lib64"} { // links into usr, which is mounted below
		if to, err := os.Readlink("/" + name); err == nil {
			if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, mode := range map[string]os.FileMode{"usr": 0o755, "tmp": 0o1777 | os.ModeSticky} {
		if err := os.Mkdir(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	i.buildah("umount", standIn)
	i.buildah("config", "--env", "PATH="+env.GOROOT+"/bin:/usr/bin", "--env", "HOME=/root",
		"--env", "GOTOOLCHAIN=local", "--env", "GOPROXY=file:///modules",
		"--env", "GOSUMDB=off", standIn)
	i.buildah("commit", "--quiet", standIn, "docker.io/library/"+base[1])
	i.buildah("rm", standIn)

	mounts := []string{
		"--volume", "/usr:/usr:ro",
		"--volume", filepath.Join(env.GOMODCACHE, "cache/download") + ":/modules:ro",
		"--volume", env.GOCACHE + ":/root/.cache/go-build",
	}
	if !strings.HasPrefix(env.GOROOT, "/usr/") {
		mounts = append(mounts, "--volume", env.GOROOT+":"+env.GOROOT+":ro")
	}
	i.buildah("bud", append(mounts, "--pull-never", "--isolation", "chroot",
		"--file", "deploy/Dockerfile", "--tag", "cookiesession", ".")...)
	return i
}

// The image has the program and nothing else, which serves as the image says: alone in its
// root directory, as its user, with keys from a folder that is mounted.
func TestImage(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "buildah")
	if os.Geteuid() != 0 {
		testkit.SkipUnlessCI(t, "only root can run this test")
	}
	i := buildImage(t)
	const config = "{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}"
	got := i.buildah("inspect", "--type", "image", "--format", config, "cookiesession")
	if got != "65532:65532 [/cookiesession] [-addr :8080]" {
		t.Errorf("got the user and the command %s", got)
	}
	const labels = "{{index .OCIv1.Config.Labels \"org.opencontainers.image.title\"}}: " +
		"{{index .OCIv1.Config.Labels \"org.opencontainers.image.description\"}}"
	got = i.buildah("inspect", "--type", "image", "--format", labels, "cookiesession")
	want := "cookiesession: A website that keeps its sessions in signed and encrypted cookies"
	if got != want {
		t.Errorf("got the labels %q, want %q", got, want)
	}
	container := i.buildah("from", "--pull-never", "cookiesession")
	files := i.buildah("mount", container)
	t.Cleanup(func() {
		i.buildah("umount", container)
		i.buildah("rm", container)
	})
	if names := filesIn(t, files, ""); !slices.Equal(names, []string{"cookiesession"}) {
		t.Errorf("got the files %q, want the program alone", names)
	}
	info, err := os.Stat(filepath.Join(files, "cookiesession"))
	if err != nil || info.Size() > 30<<20 || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v and %v, want 30 MiB at most and 0755", info, err)
	}

	ring := filepath.Join(files, "keys", "ring")
	if err := os.Mkdir(filepath.Dir(ring), 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "keys", "add", ring)
	if err := os.Chown(ring, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/cookiesession", "-addr", "127.0.0.1:0", "-key-file", "/keys/ring")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: files, Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
	}
	p := testkit.Start(t, cmd)
	if got := newJar(t, p.URL, "Alice").ask(p.URL); got != "Name: Alice" {
		t.Errorf("got %q", got)
	}
	if err := p.End(); err != nil || p.Log.Has("level=ERROR") {
		t.Errorf("ended with %v: %s", err, p.Log)
	}
}

// bootScript starts systemd as process 1 of namespaces of its own: DIR, which is empty, gets
// a root directory that is this machine's, with all changes in memory. There is no network
// but loopback, and no unit but those of journald and of UNIT.
const bootScript = `
mount -t tmpfs tmpfs "$DIR"
mkdir "$DIR/cgroup" "$DIR/changes" "$DIR/work" "$DIR/root"
mount -t cgroup2 cgroup2 "$DIR/cgroup"
mkdir "$DIR/cgroup/$GROUP"
echo $$ >"$DIR/cgroup/$GROUP/cgroup.procs"
exec unshare --pid --fork --kill-child --uts --ipc --net --cgroup --mount sh -e -c '
	cd "$DIR/root"
	mount -t overlay -o "lowerdir=/,upperdir=$DIR/changes,workdir=$DIR/work" overlay .
	cd "$DIR/root"
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	for memory in run tmp dev; do mount -t tmpfs tmpfs $memory; done
	for device in null zero full random urandom tty; do
		touch dev/$device
		mount --bind /dev/$device dev/$device
	done
	mkdir dev/pts dev/shm before
	mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ip link set lo up
	rm -rf etc/systemd/system
	mkdir -p etc/systemd/system
	cp "$PROGRAM" usr/local/bin/cookiesession
	cp "$UNIT" etc/systemd/system
	mkdir -m 700 -p etc/cookiesession
	printf "[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\n" \
		>etc/systemd/system/alone.target
	pivot_root . before
	umount -l before
	mount --make-rshared /
	export container=test
	exec /lib/systemd/systemd --unit=alone.target --log-target=journal --show-status=no
'`

// bootSystemd boots a systemd that knows a unit, for the length of a test. The function that
// it returns makes a command that runs there.
func bootSystemd(t testing.TB, unit string) func(name string, args ...string) *exec.Cmd {
	t.Helper()
	for _, name := range []string{"unshare", "nsenter", "ip", "curl"} {
		testkit.NeedTool(t, name)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil || os.Geteuid() != 0 {
		testkit.SkipUnlessCI(t, "only root can boot a systemd, where there is one")
	}
	dir, group := t.TempDir(), fmt.Sprint("cookiesession-", os.Getpid())
	private := []string{"--mount", "--propagation", "private", "sh", "-e", "-c"}
	boot := exec.Command("unshare", append(private, bootScript)...)
	boot.Env = append(os.Environ(), "DIR="+dir, "GROUP="+group,
		"PROGRAM="+mustBuild(t, programFile), "UNIT="+unit)
	said := new(testkit.Buffer)
	boot.Stdout, boot.Stderr = said, said
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		boot.Process.Kill() // and all processes there with it, a moment later
		boot.Wait()
		const clean = `mount -t cgroup2 cgroup2 "$0"
			until find "$0/$1" -depth -type d -exec rmdir {} +; do sleep 0.1; done`
		tidy := append([]string{"10", "unshare"}, append(private, clean, dir, group)...)
		if out, err := exec.Command("timeout", tidy...).CombinedOutput(); err != nil {
			t.Errorf("the control groups stay: %v: %s", err, out)
		}
		if t.Failed() {
			t.Logf("systemd: %s", said)
		}
	})
	first := fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", boot.Process.Pid)
	inside := func(name string, args ...string) *exec.Cmd {
		pid := strings.TrimSpace(testkit.ReadFile(t, first))
		return exec.Command("nsenter", append([]string{"-t", pid, "-a", name}, args...)...)
	}
	testkit.AwaitTrue(t, "systemd", func() bool {
		children, err := os.ReadFile(first)
		return err == nil && len(children) > 0 &&
			inside("systemctl", "is-active", "systemd-journald").Run() == nil
	})
	return inside
}

// TestSystemd runs deploy/cookiesession.service under a systemd: a restart with a key file
// that can't be used fails, and a port that is taken keeps a copy away only while it is. What
// goes wrong is an error in the journal.
func TestSystemd(t *testing.T) {
	slow(t)
	t.Parallel()
	unit, err := filepath.Abs(filepath.Join(root, "deploy/cookiesession.service"))
	if err != nil {
		t.Fatal(err)
	}
	inside := bootSystemd(t, unit)
	try := func(script string) (string, error) {
		out, err := inside("sh", "-e", "-c", script).CombinedOutput()
		return string(out), err
	}
	must := func(script string) string {
		t.Helper()
		out, err := try(script)
		if err != nil {
			journal, _ := try("journalctl --no-pager -o cat | tail -n 20")
			t.Fatalf("%s: got %v and %s\n%s", script, err, out, journal)
		}
		return out
	}
	serves := func() bool {
		_, err := try("systemctl is-active -q cookiesession && curl -fs 127.0.0.1:8080/healthz")
		return err == nil
	}
	must("cookiesession keys add /etc/cookiesession/keys && systemctl start cookiesession")
	testkit.AwaitTrue(t, "the unit", serves)
	must("curl -fs 127.0.0.1:9090/metrics | grep -q 'cookiesession_key_file_ok 1'")
	user := must("grep ^Uid /proc/$(systemctl show -P MainPID cookiesession)/status")
	if strings.Contains(user, "\t0\t") {
		t.Errorf("got the user %s", user)
	}

	again := must("systemctl show -P RestartUSec -P StartLimitIntervalUSec cookiesession")
	if again != "2s\n0\n" {
		t.Errorf("got the times %q, want one in which it tries again, and no end of that", again)
	}

	must("cd /etc/cookiesession && cp keys good && echo nonsense >keys")
	if out, err := try("systemctl restart cookiesession"); err == nil {
		t.Errorf("restarted with a bad key file: %s", out)
	}
	testkit.AwaitTrue(t, "the reason in the journal, as an error", func() bool {
		return strings.Contains(must("journalctl -u cookiesession -p err -o cat"), "keys:1: ")
	})
	must("cd /etc/cookiesession && mv good keys")
	testkit.AwaitTrue(t, "the unit with good keys", serves)

	must("systemctl stop cookiesession")
	other := inside("cookiesession", "-addr", "127.0.0.1:8080")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitTrue(t, "another program on the port", func() bool {
		_, err := try("curl -fs 127.0.0.1:8080/healthz")
		return err == nil
	})
	must("systemctl start cookiesession")
	testkit.AwaitTrue(t, "the unit to be tried twice", func() bool {
		return must("systemctl show -P NRestarts cookiesession") > "1"
	})
	other.Process.Kill()
	other.Wait()
	testkit.AwaitTrue(t, "the unit when the port is free", serves)
}
