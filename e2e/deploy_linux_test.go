package e2e

import (
	"encoding/json"
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
