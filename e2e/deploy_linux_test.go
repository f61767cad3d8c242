package e2e

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	goversion "go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// needRoot skips a test that no user but root can run.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		testkit.SkipUnlessCI(t, "only root can run this test")
	}
}

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

// wantConfig fails unless the image says what it should.
func (i *image) wantConfig() {
	i.t.Helper()
	var has struct {
		OCIv1 struct {
			Config struct {
				User            string
				ExposedPorts    map[string]any
				Env             []string
				Entrypoint, Cmd []string
				Labels          map[string]string
			}
		}
	}
	inspected := i.buildah("inspect", "--type", "image", "cookiesession")
	if err := json.Unmarshal([]byte(inspected), &has); err != nil {
		i.t.Fatal(err)
	}
	config := has.OCIv1.Config
	if config.User != "65532:65532" {
		i.t.Errorf("got the user %q, want 65532:65532", config.User)
	}
	if _, ok := config.ExposedPorts["8080/tcp"]; !ok || len(config.ExposedPorts) != 1 {
		i.t.Errorf("got the ports %v, want 8080/tcp", config.ExposedPorts)
	}
	command := slices.Concat(config.Entrypoint, config.Cmd)
	if !slices.Equal(command, []string{"/cookiesession", "-addr", ":8080"}) {
		i.t.Errorf("got the command %q", command)
	}
	if config.Labels["org.opencontainers.image.title"] == "" {
		i.t.Errorf("got the labels %v", config.Labels)
	}
	if len(config.Env) != 1 || !strings.HasPrefix(config.Env[0], "PATH=") {
		i.t.Errorf("got the environment %q, want nothing of how it was built", config.Env)
	}
}

// TestImage builds the image, looks at what is in it, and runs its program as
// the image says, alone in its root directory.
func TestImage(t *testing.T) {
	slow(t)
	testkit.NeedTool(t, "buildah")
	needRoot(t)
	i := buildImage(t)
	i.wantConfig()
	container := i.buildah("from", "--pull-never", "cookiesession")
	files := i.buildah("mount", container)
	t.Cleanup(func() {
		i.buildah("umount", container)
		i.buildah("rm", container)
	})
	var names []string
	fs.WalkDir(os.DirFS(files), ".", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if !slices.Equal(names, []string{".", "cookiesession"}) {
		t.Errorf("got the files %q, want the program alone", names)
	}
	program := filepath.Join(files, "cookiesession")
	info, err := os.Stat(program)
	if err != nil || info.Size() > 30<<20 || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v and %v, want 30 MiB at most and 0755", info, err)
	}
	built, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, ".git")); err == nil && info.IsDir() {
		revision := strings.TrimSpace(tool(t, "", "git", "rev-parse", "HEAD"))
		if !strings.Contains(built.String(), "vcs.revision="+revision) {
			t.Errorf("got %s, want it built from %s", built, revision)
		}
	}
	out, err := inImage(files, "-version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), built.GoVersion) {
		t.Errorf("got %s and %v", out, err)
	}
	serveInImage(t, files)
}

// inImage returns the program of an image as a command, in its root directory
// and as its user, with nothing around it.
func inImage(files string, args ...string) *exec.Cmd {
	cmd := exec.Command("/cookiesession", args...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: files, Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
	}
	return cmd
}

// serveInImage starts the program of an image with keys that are mounted as
// Kubernetes mounts a Secret, and has it serve.
func serveInImage(t *testing.T, files string) {
	keys := filepath.Join(files, "keys")
	data := filepath.Join(keys, "..2026_01_01")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "keys", "add", filepath.Join(data, "ring"))
	for _, err := range []error{
		os.Chmod(filepath.Join(data, "ring"), 0o440),
		os.Chown(filepath.Join(data, "ring"), 0, 65532),
		os.Symlink("..2026_01_01", filepath.Join(keys, "..data")),
		os.Symlink("..data/ring", filepath.Join(keys, "ring")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := inImage(files, "-addr", "127.0.0.1:0", "-key-file", "/keys/ring")
	p := testkit.Start(t, cmd)

	status := testkit.ReadFile(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	for _, id := range []string{"Uid", "Gid"} {
		if !strings.Contains(status, "\n"+id+":\t65532\t65532\t65532\t65532\n") {
			t.Errorf("got the process %s", status)
		}
	}
	if got := pageAt(t, p.URL+"/healthz"); got != "ok\n" {
		t.Errorf("/healthz: got %q", got)
	}
	if got := newJar(t, p.URL, "Alice").ask(p.URL); got != "Name: Alice" {
		t.Errorf("got %q", got)
	}
	if err := p.End(); err != nil || p.Log.Has("level=ERROR") {
		t.Errorf("ended with %v: %s", err, p.Log)
	}
}

// The systemd unit's TasksMax is enough where there are many processors, which
// need a thread each. With 64, as it once was, the program is killed there.
func TestTasksMax(t *testing.T) {
	slow(t)
	needRoot(t)
	found := regexp.MustCompile(`(?m)^TasksMax=(\d+)$`).
		FindStringSubmatch(read(t, "deploy/cookiesession.service"))
	if found == nil {
		t.Fatal("the unit has no TasksMax")
	}
	const processors = 1024
	if limit, _ := strconv.Atoi(found[1]); limit < processors+100 {
		t.Errorf("got TasksMax=%d, want enough for %d processors", limit, processors)
	}
	group, err := newGroup(t, "pids", "pids.max", "pids.max", found[1])
	if err != nil {
		t.Skipf("tasks can't be limited here: %v", err)
	}
	env := environ{"GOMAXPROCS": strconv.Itoa(processors)}
	cmd := program(t, env, "-addr", "127.0.0.1:0")
	inGroup(t, cmd, group)
	p := testkit.Start(t, cmd)
	host := strings.TrimPrefix(p.URL, "http://")
	if got := floodOf(t, host, "GET /session HTTP/1.0\r\n\r\n"); got != 6400 {
		t.Errorf("got %d answers, want all", got)
	}
	if err := p.End(); err != nil {
		t.Errorf("ended with %v: %.1000s", err, p.Log)
	}
}

// newGroup makes a control group with a limit, which a file sets that is called v1
// or v2 in these versions of control groups. It fails where nobody can.
func newGroup(t testing.TB, controller, v1, v2, limit string) (group string, err error) {
	t.Helper()
	parent, file := "/sys/fs/cgroup/"+controller, v1
	if _, err := os.Stat(parent); err != nil { // version 2
		parent, file = "/sys/fs/cgroup", v2
		control, err := os.ReadFile(parent + "/cgroup.subtree_control")
		if err != nil || !slices.Contains(strings.Fields(string(control)), controller) {
			return "", fmt.Errorf("this machine's control groups don't limit %s", controller)
		}
	}
	group = filepath.Join(parent, fmt.Sprintf("cookiesession-test-%d-%s", os.Getpid(), limit))
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		for range 100 { // the group is busy until its last process is gone
			if os.Remove(group) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s could not be removed", group)
	})
	return group, os.WriteFile(filepath.Join(group, file), []byte(limit), 0o644)
}

// inGroup has a program start in a control group.
func inGroup(t testing.TB, cmd *exec.Cmd, group string) {
	t.Helper()
	cmd.Args = slices.Concat([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`,
		filepath.Join(group, "cgroup.procs"), cmd.Path}, cmd.Args[1:])
	cmd.Path = testkit.NeedTool(t, "sh")
}
