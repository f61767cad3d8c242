package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The ids of keyA and keyB.
const (
	encryptedA, signedA = "7w6kyn", "7eyrxs"
	encryptedB, signedB = "qcgv5d", "ghytpb"
)

// command runs the program as a process and returns what it prints.
func command(t testing.TB, stdin string, env map[string]string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := program(t, env, args...)
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	cmd.Run()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// mustRun runs a command that has to succeed.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, status := command(t, "", nil, args...)
	if status != 0 || stderr != "" {
		t.Fatalf("%q: got status %d and %q", args, status, stderr)
	}
	return stdout
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestKeysNew(t *testing.T) {
	seen := make(map[string]bool)
	for range 3 {
		out := mustRun(t, "keys", "new")
		if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(out) || seen[out] {
			t.Errorf("got %q, want a new key and nothing else", out)
		}
		if _, err := parseKey(strings.TrimSpace(out)); err != nil {
			t.Errorf("got a key that is refused: %v", err)
		}
		seen[out] = true
	}
}

func TestKeysList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, "# ours\n\n"+keyA+" # since May\r\n"+strings.ToUpper(keyB))
	want := "POSITION  ROLE      ENCRYPTED  SIGNED\n" +
		"1         seals     " + encryptedA + "     " + signedA + "\n" +
		"2         verifies  " + encryptedB + "     " + signedB + "\n"
	if got := mustRun(t, "keys", "list", file); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeysRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	keysIn := func() []string {
		var keys []string
		for line := range strings.Lines(readFile(t, file)) {
			if text := keyText(line); text != "" {
				keys = append(keys, text)
			}
		}
		return keys
	}
	ids := func() []string {
		var ids []string
		for line := range strings.Lines(mustRun(t, "keys", "list", file)) {
			ids = append(ids, strings.Fields(line)[2])
		}
		return ids[1:]
	}
	idPair := `[a-z2-7]{6} \(signed: [a-z2-7]{6}\)`
	wantOut := func(got, want string) {
		t.Helper()
		if !regexp.MustCompile("^" + want + "\n$").MatchString(got) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	wantOut(mustRun(t, "keys", "add", file), "added "+idPair+", it seals")
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("got mode %v and %v, want 0600", info.Mode(), err)
	}
	first := keysIn()
	wantOut(mustRun(t, "keys", "add", file), "added "+idPair+", it only verifies: promote it when every copy has it")
	second := keysIn()
	if len(first) != 1 || len(second) != 2 || second[0] != first[0] {
		t.Fatalf("got %d and %d keys, want the new one behind the old one", len(first), len(second))
	}

	// Comments stay where they are, the mode and the line that has no end too.
	content := "# head\n\n" + second[0] + " # one\n# between\n" + second[1] + " # two\n# tail"
	writeFile(t, file, content)
	os.Chmod(file, 0o640)
	wantOut(mustRun(t, "keys", "promote", file), "promoted "+idPair+", it seals")
	want := "# head\n\n" + second[1] + " # two\n" + second[0] + " # one\n# between\n# tail\n"
	if got := readFile(t, file); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("got mode %v, want it kept", info.Mode())
	}

	// The key that seals can't be dropped, the other can, nor can the last one.
	before := readFile(t, file)
	for id, says := range map[string]string{ids()[0]: "this key seals", "aaaaaa": "no key with this id"} {
		if _, stderr, status := command(t, "", nil, "keys", "drop", file, id); status != 1 || !strings.Contains(stderr, says) {
			t.Errorf("drop %s: got status %d and %q, want %q", id, status, stderr, says)
		}
	}
	if readFile(t, file) != before {
		t.Error("got the file changed by commands that failed")
	}
	wantOut(mustRun(t, "keys", "drop", file, ids()[1]), "dropped "+idPair)
	if got := keysIn(); !slices.Equal(got, second[1:]) {
		t.Errorf("got %d keys after the drop", len(got))
	}
	for _, args := range [][]string{{"drop", file, ids()[0]}, {"promote", file}} {
		if _, _, status := command(t, "", nil, append([]string{"keys"}, args...)...); status != 1 {
			t.Errorf("%s with one key: got status %d", args[0], status)
		}
	}
	// The id of the signed mode will do as well.
	mustRun(t, "keys", "add", file)
	signed := strings.Fields(strings.Split(mustRun(t, "keys", "list", file), "\n")[2])[3]
	mustRun(t, "keys", "drop", file, signed)
}

// A link to the file stays a link.
func TestKeysThroughALink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real"), filepath.Join(t.TempDir(), "link")
	writeFile(t, file, keyA+"\n")
	if err := os.Symlink(file, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	mustRun(t, "keys", "add", link)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("got %v and %v, want a link", info.Mode(), err)
	}
	if strings.Count(readFile(t, file), "\n") != 2 {
		t.Errorf("got %q behind the link", readFile(t, file))
	}
}

func TestBadKeyFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ring")
	weak := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ content, says string }{
		{"", "there is no key in it"},
		{"# nothing\n\n", "there is no key in it"},
		{keyA + "\n\n#\n" + keyB[:63] + "\n", ":4: want 64 hexadecimal digits, have 63 characters"},
		{keyA[:63] + "x\n", ":1: want 64 hexadecimal digits"},
		{keyA + " " + keyB + "\n", ":1: want 64 hexadecimal digits, have 129 characters"},
		{keyA + "\n" + weak + "\n", ":2: too regular"},
		{"\n" + keyA + "\n" + keyB + "\n" + strings.ToUpper(keyA), ":4: the same key as in " + file + ":2"},
		{strings.Repeat("# padding\n", maxKeyFile/10) + keyA, "too large"},
	}
	for _, tt := range tests {
		writeFile(t, file, tt.content)
		for _, args := range [][]string{{"keys", "list", file}, {"keys", "add", file}, {"-key-file", file, "-addr", "localhost:0"}, {"inspect", "-key-file", file}} {
			_, stderr, status := command(t, "x", nil, args...)
			if status != 1 || !strings.Contains(stderr, tt.says) || !strings.Contains(stderr, file) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%q: got status %d and %q, want one line with %q", args[:2], status, stderr, tt.says)
			}
			if !strings.Contains(stderr, "(") && tt.says != "too large" {
				t.Errorf("got no hint in %q", stderr)
			}
			for _, secret := range []string{keyA[:8], keyB[:8], weak[:8], "padding"} {
				if strings.Contains(stderr, secret) {
					t.Errorf("got a part of the file in %q", stderr)
				}
			}
		}
		if readFile(t, file) != tt.content {
			t.Error("got a bad file changed")
		}
	}
	for _, name := range []string{filepath.Join(dir, "nowhere", "ring"), dir} {
		for _, args := range [][]string{{"keys", "list", name}, {"keys", "promote", name}, {"-key-file", name, "-addr", "localhost:0"}} {
			if _, stderr, status := command(t, "", nil, args...); status != 1 || !strings.Contains(stderr, filepath.Base(filepath.Dir(name))) {
				t.Errorf("%q: got status %d and %q", args, status, stderr)
			}
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %d files, want nothing left behind", len(entries))
	}
	writeFile(t, file, keyA)
	if _, stderr, status := command(t, "", map[string]string{"COOKIESESSION_KEYS": keyA}, "-key-file", file); status != 2 || !strings.Contains(stderr, "both given") {
		t.Errorf("two sources: got status %d and %q", status, stderr)
	}
}

func TestCommandUsage(t *testing.T) {
	for _, args := range [][]string{{"keys"}, {"keys", "nonsense"}, {"keys", "list"}, {"keys", "list", "a", "b"}, {"keys", "drop", "a"}, {"keys", "new", "a"}, {"keys", "add", "-x", "a"}, {"inspect", "a"}, {"inspect", "-nonsense"}} {
		if stdout, stderr, status := command(t, "", nil, args...); status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: got status %d, %q and %q", args, status, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"keys", "-h"}, {"keys", "new", "-h"}, {"keys", "list", "-h"}, {"keys", "add", "-h"}, {"keys", "promote", "-h"}, {"keys", "drop", "-h"}, {"inspect", "-h"}, {"-h"}} {
		want := "Usage: cookiesession " + strings.TrimSuffix(strings.Join(args[:len(args)-1], " "), " ")
		if stdout, stderr, status := command(t, "", nil, args...); status != 0 || !strings.HasPrefix(stdout, want) || stderr != "" {
			t.Errorf("%q: got status %d, %q and %q", args, status, stdout, stderr)
		}
	}
}

// However many commands edit the file at once, none undoes another's work.
func TestTwoWritersAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	const writers = 20
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() { mustRun(t, "keys", "add", file) })
	}
	wg.Wait()
	keys, err := parseKeyFile(file, []byte(readFile(t, file)))
	if err != nil || len(keys) != writers {
		t.Errorf("got %d keys and %v, want %d", len(keys), err, writers)
	}
}

// A command that is killed, at whatever moment, leaves the old file or the new
// one, and the next command goes on from there.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ring")
	mustRun(t, "keys", "add", file)
	before := readFile(t, file)
	killed := 0
	for range 80 {
		cmd := program(t, nil, "keys", "add", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(12 * time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		if !cmd.ProcessState.Success() {
			killed++
		}
		after := readFile(t, file)
		if !strings.HasPrefix(after, before) || strings.Count(after, "\n")-strings.Count(before, "\n") > 1 {
			t.Fatalf("got a file of %d bytes after one of %d", len(after), len(before))
		}
		if _, err := parseKeyFile(file, []byte(after)); err != nil {
			t.Fatal(err)
		}
		before = after
	}
	if killed == 0 {
		t.Error("no command was killed in time")
	}
	// What a crash between the writing and the renaming leaves is in nobody's way.
	writeFile(t, filepath.Join(dir, ".ring.new"), "half a ke")
	mustRun(t, "keys", "add", file)
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %d files, want the key file alone", len(entries))
	}
}

// When the new file can't be put in its place, the old one stays whole.
func TestRenameFails(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "ring")
	if err := os.MkdirAll(filepath.Join(target, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(target, []byte(keyA)); err == nil {
		t.Error("got no error")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %d files, want the temporary one gone", len(entries))
	}
}

func TestInspect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA+"\n"+keyB+"\n")
	plain, host := newTestManager(t, options{signed: true}), newTestManager(t, options{secure: true, keys: []string{keyB}})
	now := time.Now().UTC().Truncate(time.Second)
	s := session{"Alice", now.Unix() - 7200, now.Unix() - 3600}
	value, hostValue := seal(t, plain, s), seal(t, host, s)
	strange := seal(t, newTestManager(t, options{keys: []string{keyC}}), s)
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	want := func(verdict, id, mode string, size int) string {
		return fmt.Sprintf("verdict       %s\nsize          %d of 4096 bytes\nkey id        %s\nmode          %s\nbegan         %s\nlast seen     %s\nends, idle    %s\nends, latest  %s\n",
			verdict, size, id, mode, stamp(-2*time.Hour), stamp(-time.Hour), stamp(335*time.Hour), stamp(2158*time.Hour))
	}
	good := want("valid", signedA+" seals", "signed", len("session"+value))
	goodHost := want("valid", encryptedB+" verifies", "signed and encrypted", len("__Host-Http-session"+hostValue))
	tests := []struct {
		name, stdin string
		args        []string
		want        string
		status      int
	}{
		{"bare", value + "\n", nil, good, 0},
		{"bare, the other name", hostValue, nil, goodHost, 0},
		{"name=value", "session=" + value, nil, good, 0},
		{"name=value, the other name", "__Host-Http-session=" + hostValue, nil, goodHost, 0},
		{"Cookie", "Cookie: a=b; session=" + value + "; c=d\r\n", nil, good, 0},
		{"cookie in small letters", "cookie: __Host-Http-session=" + hostValue, nil, goodHost, 0},
		{"Set-Cookie", "Set-Cookie: session=" + value + "; Path=/; Max-Age=9; HttpOnly", nil, good, 0},
		{"line of a jar", "#HttpOnly_localhost\tFALSE\t/\tFALSE\t1796615152\tsession\t" + value + "\n", nil, good, 0},
		{"a whole jar", "# Netscape HTTP Cookie File\n\nlocalhost\tFALSE\t/\tFALSE\t0\tother\tx\n#HttpOnly_localhost\tFALSE\t/\tTRUE\t1796615152\t__Host-Http-session\t" + hostValue + "\n", nil, goodHost, 0},
		{"data", value, []string{"-show"}, good + "name          \"Alice\"\n", 0},
		{"expired", value, []string{"-idle", "59m"}, strings.Replace(strings.Replace(good, "valid", "expired", 1), stamp(335*time.Hour), stamp(-time.Minute), 1), 1},
		{"tampered", flipLast(value), []string{"-show"}, "verdict       tampered\nsize          " + fmt.Sprint(len("session"+value)) + " of 4096 bytes\nkey id        " + signedA + " seals\n", 1},
		{"unknown key", "session=" + strange, []string{"-show"}, fmt.Sprintf("verdict       unknown key\nsize          %d of 4096 bytes\nkey id        %s\n", len("session"+strange), strange[:idLen]), 1},
		{"garbage", "hello", nil, "verdict       malformed\nsize          12 of 4096 bytes\n", 1},
		{"nothing", "", nil, "", 1},
		{"another cookie", "Cookie: other=1", nil, "", 1},
	}
	for _, tt := range tests {
		for _, source := range []string{"file", "environment"} {
			args, env := append([]string{"inspect"}, tt.args...), map[string]string(nil)
			if source == "file" {
				args = append(args, "-key-file", file)
			} else {
				env = map[string]string{"COOKIESESSION_KEYS": keyA + "," + keyB}
			}
			stdout, stderr, status := command(t, tt.stdin, env, args...)
			if stdout != tt.want || status != tt.status {
				t.Errorf("%s, keys from the %s: got status %d, %q and %q, want %d and %q", tt.name, source, status, stdout, stderr, tt.status, tt.want)
			}
			for _, secret := range []string{value[idLen+1:], keyA, keyB} {
				if strings.Contains(stdout+stderr, secret) {
					t.Errorf("%s: got a secret printed", tt.name)
				}
			}
			if !slices.Contains(tt.args, "-show") && strings.Contains(stdout, "Alice") {
				t.Errorf("%s: got the data without -show", tt.name)
			}
		}
	}

	// Without keys, nothing is verified, and that is said.
	stdout, stderr, status := command(t, flipLast(value), nil, "inspect", "-show")
	for _, part := range []string{"verdict       not verified", "key id        " + signedA + "\n", "mode          signed\n", "began         " + stamp(-2*time.Hour), "last seen     " + stamp(-time.Hour), "name          \"Alice\""} {
		if !strings.Contains(stdout, part) {
			t.Errorf("without keys: got %q, want %q in it", stdout, part)
		}
	}
	if status != 1 || !strings.Contains(stderr, "nothing of this is verified") {
		t.Errorf("without keys: got status %d and %q", status, stderr)
	}
	if stdout, _, status = command(t, value, nil, "inspect"); strings.Contains(stdout, "Alice") || status != 1 {
		t.Errorf("without keys and -show: got status %d and %q", status, stdout)
	}
	if stdout, _, _ = command(t, hostValue, nil, "inspect", "-show"); !strings.Contains(stdout, "encrypted") || strings.Contains(stdout, "began") {
		t.Errorf("encrypted, without keys: got %q", stdout)
	}
	if stdout, _, status = command(t, "hello", nil, "inspect"); !strings.Contains(stdout, "malformed") || status != 1 {
		t.Errorf("garbage, without keys: got status %d and %q", status, stdout)
	}
}
