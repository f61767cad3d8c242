package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The ids of keyA and keyB.
const (
	encryptedA, signedA = "7w6kyn", "7eyrxs"
	encryptedB, signedB = "qcgv5d", "ghytpb"
)

// command runs the program as a process and returns what it prints.
func command(
	t testing.TB, stdin string, env map[string]string, args ...string,
) (stdout, stderr string, status int) {
	t.Helper()
	cmd := program(t, env, args...)
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(commandTimeout, func() { cmd.Process.Kill() }).Stop()
	cmd.Wait()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// commandTimeout is after how long a command is killed, so that one that hangs
// fails its test instead of all of them. It is much more than any needs.
const commandTimeout = 10 * time.Second

// mustRun runs a command that has to succeed.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, status := command(t, "", nil, args...)
	if status != 0 || stderr != "" {
		t.Fatalf("%q: got status %d and %q", args, status, stderr)
	}
	return stdout
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
	ago := func(days int) string { return time.Now().AddDate(0, 0, -days).UTC().Format(time.DateOnly) }
	for comment, age := range map[string]string{
		"":                     "unknown",
		" # of ours":           "unknown",
		" # added yesterday":   "unknown",
		" # added " + ago(0):   "0 days",
		" # added " + ago(1):   "1 day",
		" # added " + ago(400): "400 days",
	} {
		writeFile(t, file, "# ours\n\n"+keyA+" # since May\r\n"+strings.ToUpper(keyB)+comment)
		want := "POSITION  ROLE      ENCRYPTED  SIGNED  AGE\n" +
			"1         seals     " + encryptedA + "     " + signedA + "  unknown\n" +
			"2         verifies  " + encryptedB + "     " + signedB + "  " + age + "\n"
		if got := mustRun(t, "keys", "list", file); got != want {
			t.Errorf("%q: got %q, want %q", comment, got, want)
		}
	}
	for _, command := range []string{"add", "replace"} {
		mustRun(t, "keys", command, file)
		if got := mustRun(t, "keys", "list", file); !strings.HasSuffix(got, "  0 days\n") {
			t.Errorf("keys %s: got %q, want a key of today", command, got)
		}
	}
}

func TestKeysRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	keysIn := func() []string {
		var keys []string
		for line := range strings.SplitSeq(readFile(t, file), "\n") {
			text, _, _ := strings.Cut(line, "#")
			if text = strings.TrimSpace(text); text != "" {
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
	wantOut(mustRun(t, "keys", "add", file),
		"added "+idPair+", it only verifies: promote it when every copy has it")
	second := keysIn()
	if len(first) != 1 || len(second) != 2 || second[0] != first[0] {
		t.Fatalf("got %d and %d keys, want the new one behind the old one", len(first), len(second))
	}

	// Comments right above a key go with it, the others stay where they are, as
	// do the mode and the line that has no end.
	content := "# head\n\n" + second[0] + " # one\n# between\n" + second[1] + " # two\n# tail"
	writeFile(t, file, content)
	os.Chmod(file, 0o640)
	wantOut(mustRun(t, "keys", "promote", file), "promoted "+idPair+", it seals")
	want := "# head\n\n# between\n" + second[1] + " # two\n" + second[0] + " # one\n# tail\n"
	if got := readFile(t, file); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("got mode %v, want it kept", info.Mode())
	}

	// The key that seals can't be dropped, the other can, nor can the last one.
	before := readFile(t, file)
	sealing := ids()[0]
	refused := map[string]string{
		sealing:  ": " + sealing + " seals",
		"aaaaaa": ": there is no key with the id aaaaaa",
	}
	for id, says := range refused {
		_, stderr, status := command(t, "", nil, "keys", "drop", file, id)
		if status != 1 || !strings.Contains(stderr, file+says) {
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

// What stands above a key and touches it is about that key, so it goes where
// the key goes, and goes when the key goes. Everything else stays.
func TestCommentsGoWithTheirKeys(t *testing.T) {
	t.Parallel()
	capitals := strings.ToUpper
	tests := []struct{ name, before, promoted, dropped string }{
		{
			name:     "a comment of several lines",
			before:   "# A1\n # A2\n" + keyA + "\n# B1\n\t# B2\n" + keyB + "\n# C\n" + keyC + "\n",
			promoted: "# C\n" + keyC + "\n# A1\n # A2\n" + keyA + "\n# B1\n\t# B2\n" + keyB + "\n",
			dropped:  "# A1\n # A2\n" + keyA + "\n# C\n" + keyC + "\n",
		},
		{
			name:     "a blank line between",
			before:   "# head\n\n" + keyA + "\n# B\n\n" + keyB + "\n\n# C\n \n" + keyC + "\n# tail\n",
			promoted: "# head\n\n" + keyC + "\n" + keyA + "\n# B\n\n" + keyB + "\n\n# C\n \n# tail\n",
			dropped:  "# head\n\n" + keyA + "\n# B\n\n\n# C\n \n" + keyC + "\n# tail\n",
		},
		{
			name:     "a comment that quotes a key",
			before:   keyA + "\n#" + keyA + "\n" + keyB + "\n\n# " + keyB + " is old\n\n" + keyC + "\n",
			promoted: keyC + "\n" + keyA + "\n#" + keyA + "\n" + keyB + "\n\n# " + keyB + " is old\n\n",
			dropped:  keyA + "\n\n# " + keyB + " is old\n\n" + keyC + "\n",
		},
		{
			name:     "lines of Windows, and no end",
			before:   "# A\r\n" + keyA + "\r\n\r\n# B\r\n" + keyB + " # b\r\n\r\n" + keyC,
			promoted: keyC + "\n# A\r\n" + keyA + "\r\n\r\n# B\r\n" + keyB + " # b\r\n\r\n",
			dropped:  "# A\r\n" + keyA + "\r\n\r\n\r\n" + keyC + "\n",
		},
		{
			name:     "space of every kind around the keys",
			before:   " " + keyA + " \n\t" + keyB + "\t#\n\r " + keyC + "\r\n",
			promoted: "\r " + keyC + "\r\n " + keyA + " \n\t" + keyB + "\t#\n",
			dropped:  " " + keyA + " \n\r " + keyC + "\r\n",
		},
		{
			name:     "keys in capitals",
			before:   capitals(keyA) + "\n# B\n" + capitals(keyB) + "\n# C\n" + capitals(keyC) + "\n",
			promoted: "# C\n" + capitals(keyC) + "\n" + capitals(keyA) + "\n# B\n" + capitals(keyB) + "\n",
			dropped:  capitals(keyA) + "\n# C\n" + capitals(keyC) + "\n",
		},
		{
			name:     "bytes that are no text",
			before:   "#\xff\xfe\n" + keyA + "\n# \x00\xe9\n" + keyB + "#\xff\n" + keyC + "\n",
			promoted: keyC + "\n#\xff\xfe\n" + keyA + "\n# \x00\xe9\n" + keyB + "#\xff\n",
			dropped:  "#\xff\xfe\n" + keyA + "\n" + keyC + "\n",
		},
		{
			name:     "a byte order mark, which goes",
			before:   "\uFEFF" + keyA + "\n# B\n" + keyB + "\n# C\n" + keyC,
			promoted: "# C\n" + keyC + "\n" + keyA + "\n# B\n" + keyB + "\n",
			dropped:  keyA + "\n# C\n" + keyC + "\n",
		},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "ring")
		edits := []struct {
			args []string
			want string
		}{
			{args: []string{"promote", file}, want: tt.promoted},
			{args: []string{"drop", file, encryptedB}, want: tt.dropped},
			{args: []string{"drop", file, signedB}, want: tt.dropped},
		}
		for _, e := range edits {
			writeFile(t, file, tt.before)
			mustRun(t, append([]string{"keys"}, e.args...)...)
			if got := readFile(t, file); got != e.want {
				t.Errorf("%s, %s: got %q, want %q", tt.name, e.args[0], got, e.want)
			}
		}
	}
}

// A file without keys is as good as none for keys add, which is what every
// other command recommends then. The new key seals, and stands apart from the
// comments that were there, which are about the file.
func TestKeysAddToAFileWithoutKeys(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"":                  "KEY",
		"\n":                "\nKEY",
		" \n\t":             " \n\t\nKEY",
		"# ours\n":          "# ours\n\nKEY",
		"# ours":            "# ours\n\nKEY",
		"\uFEFF# ours\r\n":  "# ours\r\n\nKEY",
		"\uFEFF":            "KEY",
		"#" + keyA + "\n\n": "#" + keyA + "\n\n\nKEY",
	} {
		file := filepath.Join(t.TempDir(), "ring")
		writeFile(t, file, before)
		os.Chmod(file, 0o640)
		said := mustRun(t, "keys", "add", file)
		secrets := regexp.MustCompile(`(?m)^[0-9a-f]{64} # added 20[0-9-]{8}$`)
		if got := secrets.ReplaceAllString(readFile(t, file), "KEY"); got != want+"\n" {
			t.Errorf("%q: got %q, want %q and a line break", before, got, want)
		}
		if !strings.HasPrefix(said, "added ") || !strings.HasSuffix(said, ", it seals\n") {
			t.Errorf("%q: got %q, want a key that seals", before, said)
		}
		if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode() != 0o640 {
			t.Errorf("%q: got mode %v, want it kept", before, info.Mode())
		}
		if said := mustRun(t, "keys", "add", file); !strings.Contains(said, "only verifies") {
			t.Errorf("%q: got %q for the second key, want one that only verifies", before, said)
		}
		if keys, err := keysFromFile(file); err != nil || len(keys) != 2 {
			t.Errorf("%q: got %d keys and %v, want 2", before, len(keys), err)
		}
	}
}

// The comment at a file's end is not the next key's.
func TestKeysAddBehindAComment(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		keyA + "\n# tail\n":    keyA + "\n# tail\n\nKEY\n",
		keyA + "\n\n# tail":    keyA + "\n\n# tail\n\nKEY\n",
		keyA + " # its own":    keyA + " # its own\nKEY\n",
		"# its own\n" + keyA:   "# its own\n" + keyA + "\nKEY\n",
		keyA + "\n\n":          keyA + "\n\nKEY\n",
		"\uFEFF" + keyA + "\n": keyA + "\nKEY\n",
	} {
		file := filepath.Join(t.TempDir(), "ring")
		writeFile(t, file, before)
		mustRun(t, "keys", "add", file)
		pattern := "^" + strings.Replace(regexp.QuoteMeta(want), "KEY", "[0-9a-f]{64} # added 20[0-9-]{8}", 1) + "$"
		if got := readFile(t, file); !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%q: got %q, want %q", before, got, want)
		}
	}
}

func TestKeysReplace(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		keyA:                             "KEY\n",
		keyA + "\n" + keyB + "\n" + keyC: "KEY\n",
		"\uFEFF\n\t" + keyA + "\r\n # B\r\n" + strings.ToUpper(keyB) + "\r\n": "\nKEY\n",

		"# head\n\n# A\n" + keyA + " # a\n\n# middle\n\n# B\n" + keyB + "\n# tail": "# head\n\nKEY\n\n# middle\n\n# tail\n",
	} {
		file := filepath.Join(t.TempDir(), "ring")
		writeFile(t, file, before)
		os.Chmod(file, 0o640)
		old, err := keysFromFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := mustRun(t, "keys", "replace", file)
		secret := regexp.MustCompile(`(?m)^[0-9a-f]{64} # added 20[0-9-]{8}$`)
		if got := secret.ReplaceAllString(readFile(t, file), "KEY"); got != want {
			t.Errorf("%q: got %q, want %q", before, got, want)
		}
		if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode() != 0o640 {
			t.Errorf("%q: got mode %v, want it kept", before, info.Mode())
		}
		keys, err := keysFromFile(file)
		isOld := func(k key) bool { return k.has(keys[0].signed.id) }
		if err != nil || len(keys) != 1 || slices.ContainsFunc(old, isOld) {
			t.Fatalf("%q: got %d keys and %v, want a new one alone", before, len(keys), err)
		}
		wantSaid := fmt.Sprintf("added %s, it seals, and removed all other keys (%d): "+
			"every session ends at each copy as soon as it has this file\n", keys[0], len(old))
		if said != wantSaid {
			t.Errorf("%q: got %q, want %q", before, said, wantSaid)
		}
	}
	// Where nobody is logged in, nobody can be logged out: perhaps it is the wrong file.
	file := filepath.Join(t.TempDir(), "ring")
	for _, content := range []string{"none", "", "# no key\n"} {
		if content != "none" {
			writeFile(t, file, content)
		}
		_, stderr, status := command(t, "", nil, "keys", "replace", file)
		want := file + ": there is no key in it ("
		if content == "none" {
			want = "no such file or directory (make one with: "
		}
		if runtime.GOOS != "windows" && (status != 1 || !strings.Contains(stderr, want)) {
			t.Errorf("%q: got status %d and %q", content, status, stderr)
		}
		after, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			after = []byte("none")
		}
		if string(after) != content {
			t.Errorf("%q: got %q afterwards", content, after)
		}
	}
}

// What the operator types is repeated if it is an id, and never if it could be
// a key that was pasted into the wrong place.
func TestKeysDropRepeatsOnlyIDs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA+"\n"+keyB+"\n")
	tests := []struct {
		id, says string
	}{
		{id: "aaaaaa", says: file + ": there is no key with the id aaaaaa (see: "},
		{id: encryptedA, says: file + ": " + encryptedA + " seals (promote "},
		{id: signedA, says: file + ": " + signedA + " seals (promote "},
		{id: keyB, says: "this is not a key id (see: "},
		{id: keyC, says: "this is not a key id (see: "},
		{id: keyB[:6], says: "this is not a key id (see: "}, // ids have neither 0, 1, 8 nor 9
		{id: "", says: "this is not a key id (see: "},
		{id: strings.ToUpper(encryptedB), says: "this is not a key id (see: "},
		{id: encryptedB + " ", says: "this is not a key id (see: "},
	}
	for _, tt := range tests {
		stdout, stderr, status := command(t, "", nil, "keys", "drop", file, tt.id)
		if status != 1 || stdout != "" || !strings.Contains(stderr, tt.says) {
			t.Errorf("drop %q: got status %d, %q and %q, want %q",
				tt.id, status, stdout, stderr, tt.says)
		}
		if len(tt.id) > 0 && !isKeyID(tt.id) && strings.Contains(stderr, tt.id) {
			t.Errorf("drop %q: got it repeated in %q", tt.id, stderr)
		}
	}
	writeFile(t, file, keyA)
	_, stderr, status := command(t, "", nil, "keys", "drop", file, encryptedA)
	want := encryptedA + " is the only key (add "
	if status != 1 || !strings.Contains(stderr, want) {
		t.Errorf("drop of the only key: got status %d and %q, want %q", status, stderr, want)
	}
}

// A link to the file stays a link, and nothing is made behind one that leads nowhere.
func TestKeysThroughALink(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
	for _, folder := range []string{"links", "real/deep"} {
		if err := os.MkdirAll(path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, path("real/there"), keyA+"\n")
	writeFile(t, path("real/up"), keyA+"\n")
	// A folder behind a link has another parent than its name says.
	if err := os.Symlink(path("real/deep"), path("links/folder")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	tests := []struct {
		name   string
		links  [][2]string // from, to; the first is given to the command
		file   string      // behind them
		before int         // keys in it
	}{
		{
			name:   "absolute",
			links:  [][2]string{{"links/1", path("real/there")}},
			file:   "real/there",
			before: 1,
		},
		{
			name:   "relative",
			links:  [][2]string{{"links/2", "../real/there"}},
			file:   "real/there",
			before: 3,
		},
		{
			name:   "through a folder",
			links:  [][2]string{{"links/folder/up", "../up"}},
			file:   "real/up",
			before: 1,
		},
		{
			name: "a chain",
			links: [][2]string{
				{"links/5", "5a"}, {"links/5a", path("real/5b")}, {"real/5b", "there"},
			},
			file:   "real/there",
			before: 5,
		},
	}
	for _, tt := range tests {
		for _, l := range tt.links {
			if err := os.Symlink(filepath.FromSlash(l[1]), path(l[0])); err != nil {
				t.Fatal(err)
			}
		}
		for want := tt.before + 1; want <= tt.before+2; want++ {
			mustRun(t, "keys", "add", path(tt.links[0][0]))
			keys, err := keysFromFile(path(tt.file))
			if err != nil || len(keys) != want {
				t.Errorf("%s: got %d keys and %v, want %d", tt.name, len(keys), err, want)
			}
		}
		for _, l := range tt.links {
			if got, err := os.Readlink(path(l[0])); err != nil || got != filepath.FromSlash(l[1]) {
				t.Errorf("%s: got %q and %v, want the link to %s", tt.name, got, err, l[1])
			}
		}
		if info, err := os.Lstat(path(tt.file)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: got %v and %v, want a file of mode 0600", tt.name, info, err)
		}
	}
	// Links that lead nowhere, or round in a circle, are an error at once.
	for link, to := range map[string]string{
		"links/nowhere": "../real/none", "links/round": "circle", "links/circle": "round",
	} {
		if err := os.Symlink(filepath.FromSlash(to), path(link)); err != nil {
			t.Fatal(err)
		}
	}
	for link, says := range map[string]string{
		"links/nowhere": "a link to a file that isn't there (", "links/round": "too many links",
	} {
		for _, subcommand := range []string{"add", "replace", "promote"} {
			_, stderr, status := command(t, "", nil, "keys", subcommand, path(link))
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, says) {
				t.Errorf("%s %s: got status %d and %q", subcommand, link, status, stderr)
			}
		}
	}
	if _, err := os.Lstat(path("real/none")); !os.IsNotExist(err) {
		t.Errorf("got %v, want nothing made behind a link that leads nowhere", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 2 {
		t.Errorf("got %d folders, want nothing made in the wrong place", len(entries))
	}
}

// Some editors put a byte order mark at a file's head.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	content := "\uFEFF" + keyA + "\r\n"
	writeFile(t, file, content)
	if got := mustRun(t, "keys", "list", file); !strings.Contains(got, encryptedA) {
		t.Errorf("list: got %q, want %s in it", got, encryptedA)
	}
	value := seal(t, newTestManager(t, options{}), alice(1, 1))
	stdout, stderr, status := command(t, value, nil, "inspect", "-key-file", file)
	if status != 0 {
		t.Errorf("inspect: got status %d, %q and %q", status, stdout, stderr)
	}
	p := startRun(t, nil, "-key-file", file)
	_, body := send(t, "GET", p.url+"/get_name", "", http.Header{"Cookie": {"session=" + value}})
	if body != "Name: Alice\n" {
		t.Errorf("the server: got %q, want the key known", body)
	}
	if readFile(t, file) != content {
		t.Error("got the file changed by commands that only read")
	}
	for _, subcommand := range []string{"add", "promote", "replace"} {
		writeFile(t, file, content+keyB)
		mustRun(t, "keys", subcommand, file)
		if got := readFile(t, file); strings.Contains(got, "\uFEFF") {
			t.Errorf("%s: got %q, want no byte order mark", subcommand, got)
		}
	}
}

// A file that is too large is refused before it is read. These are sparse: they
// take no room on the disk, but reading one would take more memory than there is.
func TestLargeKeyFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	for size, refused := range map[int64]bool{maxFile: false, maxFile + 1: true, 1 << 40: true} {
		writeFile(t, file, keyA+"\n#")
		if err := os.Truncate(file, size); err != nil {
			t.Skipf("no sparse files here: %v", err)
		}
		tests := [][]string{{"keys", "list", file}, {"inspect", "-key-file", file}}
		if refused {
			tests = append(tests, []string{"keys", "add", file},
				[]string{"-addr", "localhost:0", "-key-file", file})
		}
		for _, args := range tests {
			began := time.Now()
			_, stderr, status := command(t, "x", nil, args...)
			if took := time.Since(began); status < 0 || took > commandTimeout/2 {
				t.Fatalf("%q, %d bytes: got status %d after %v", args, size, status, took)
			}
			if got := strings.Contains(stderr, file+": too large"); got != refused {
				t.Errorf("%q, %d bytes: got status %d and %q", args, size, status, stderr)
			}
		}
	}
}

func TestBadKeyFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ring")
	weak := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ content, says string }{
		{"", "there is no key in it"},
		{"# nothing\n\n", "there is no key in it"},
		{"\uFEFF", "there is no key in it"},
		{"\uFEFF\uFEFF" + keyA, ":1: want 64 hexadecimal digits, have 67 characters"},
		{keyA + "\n\n#\n" + keyB[:63] + "\n", ":4: want 64 hexadecimal digits, have 63 characters"},
		{keyA[:63] + "x\n", ":1: want 64 hexadecimal digits"},
		{keyA + " " + keyB + "\n", ":1: want 64 hexadecimal digits, have 129 characters"},
		{keyA + "\n" + weak + "\n", ":2: too regular"},
		{"\n" + keyA + "\n" + keyB + "\n" + strings.ToUpper(keyA), ":4: the same key as in " + file + ":2"},
		{strings.Repeat("# padding\n", maxFile/10) + keyA, "too large"},
	}
	for _, tt := range tests {
		writeFile(t, file, tt.content)
		for _, args := range [][]string{
			{"keys", "list", file}, {"keys", "add", file}, {"keys", "replace", file},
			{"-key-file", file, "-addr", "localhost:0"}, {"inspect", "-key-file", file},
		} {
			if args[1] == "add" && strings.Contains(tt.says, "no key") {
				continue // it puts one there
			}
			_, stderr, status := command(t, "x", nil, args...)
			if status != 1 || strings.Count(stderr, "\n") != 1 ||
				!strings.Contains(stderr, tt.says) || !strings.Contains(stderr, file) {
				t.Errorf("%q: got status %d and %q, want one line with %q",
					args[:2], status, stderr, tt.says)
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
		for _, args := range [][]string{
			{"keys", "list", name}, {"keys", "promote", name}, {"keys", "add", name},
			{"-key-file", name, "-addr", "localhost:0"},
		} {
			_, stderr, status := command(t, "", nil, args...)
			if status != 1 || !strings.Contains(stderr, filepath.Base(filepath.Dir(name))) {
				t.Errorf("%q: got status %d and %q", args, status, stderr)
			}
			hint := strings.Contains(stderr, "(make one with: cookiesession keys add FILE)")
			if reads := args[1] == "list" || args[0] == "-key-file"; reads && hint != (name != dir) {
				t.Errorf("%q: got %q, with a hint: %v", args, stderr, hint)
			}
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("got %d files, want the key file and its lock", len(entries))
	}
	writeFile(t, file, keyA)
	env := map[string]string{"COOKIESESSION_KEYS": keyA}
	for _, subcommand := range []string{"", "inspect"} {
		args := strings.Fields(subcommand + " -key-file " + file)
		_, stderr, status := command(t, "", env, args...)
		if status != 2 || !strings.Contains(stderr, "both given") {
			t.Errorf("%s, two sources: got status %d and %q", subcommand, status, stderr)
		}
	}
}

func TestCommandUsage(t *testing.T) {
	for _, args := range [][]string{
		{"keys"}, {"keys", "nonsense"}, {"keys", "list"}, {"keys", "list", "a", "b"},
		{"keys", "drop", "a"}, {"keys", "new", "a"}, {"keys", "replace"}, {"keys", "add", "-x", "a"},
		{"inspect", "a"}, {"inspect", "-nonsense"},
	} {
		stdout, stderr, status := command(t, "", nil, args...)
		if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: got status %d, %q and %q", args, status, stdout, stderr)
		}
	}
	for _, args := range [][]string{
		{"keys", "-h"}, {"keys", "new", "-h"}, {"keys", "list", "-h"}, {"keys", "add", "-h"},
		{"keys", "promote", "-h"}, {"keys", "drop", "-h"}, {"keys", "replace", "-h"},
		{"inspect", "-h"}, {"-h"},
	} {
		want := "Usage: cookiesession " + strings.Join(args[:len(args)-1], " ")
		if args[0] == "inspect" {
			want += " [flags] <cookie\n"
		}
		stdout, stderr, status := command(t, "", nil, args...)
		if status != 0 || !strings.HasPrefix(stdout, want) || stderr != "" {
			t.Errorf("%q: got status %d, %q and %q", args, status, stdout, stderr)
		}
	}
}

// A file may be called like a command.
func TestKeysFileCalledLikeACommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"keys", "add", "replace"}, {"keys", "list", "replace"}} {
		cmd := program(t, nil, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: got %s and %v", args, out, err)
		}
	}
	if keys, err := keysFromFile(filepath.Join(dir, "replace")); err != nil || len(keys) != 1 {
		t.Errorf("got %d keys and %v, want one", len(keys), err)
	}
}

// The help on keys has all of its commands, that on one command only that one.
func TestKeysHelp(t *testing.T) {
	help := func(args ...string) string {
		var out bytes.Buffer
		if err := runKeys(args, &out, nil); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q: got %v", args, err)
		}
		return out.String()
	}
	for _, c := range keyCommands {
		if all := help("-h"); !strings.Contains(all, "\n"+c.name) || !strings.Contains(all, c.help) {
			t.Errorf("got nothing of %s in %q", c.name, all)
		}
		own := help(c.name, "-h")
		for _, other := range keyCommands {
			if got := strings.Contains(own, other.help); got != (other.name == c.name) {
				t.Errorf("%s: got what %s does: %v: %q", c.name, other.name, got, own)
			}
		}
	}
}

// failingWriter is a full disk.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// A key that was never written down must not look as if it were.
func TestCommandCannotPrint(t *testing.T) {
	if err := runKeys([]string{"new"}, failingWriter{}, nil); err == nil {
		t.Error("got no error")
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
	keys, err := parseKeys(file, readFile(t, file))
	if err != nil || len(keys) != writers {
		t.Errorf("got %d keys and %v, want %d", len(keys), err, writers)
	}
}

// The lock ends with each edit, not only with the process. One that is held is waited
// for, and told after a while.
func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			if _, err := addKey([]string{file}, t.Output()); err != nil {
				t.Fatal(err)
			}
		}
		lock, err := tryLock(file + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		var told lockedBuffer
		done := make(chan error)
		go func() {
			_, err := addKey([]string{file}, &told)
			done <- err
		}()
		time.Sleep(lockPatience - 100*time.Millisecond)
		if told.String() != "" {
			t.Errorf("got %q at once", &told)
		}
		time.Sleep(time.Minute)
		if got := told.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, file+".lock\n") {
			t.Errorf("got %q, want one line with the lock's name", got)
		}
		if keys, err := keysFromFile(file); err != nil || len(keys) != 2 {
			t.Errorf("got %d keys and %v while the file was locked, want 2", len(keys), err)
		}
		lock.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if info, err := os.Stat(file + ".lock"); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("got %v and %v, want a lock that nobody else can hold", info, err)
	}
}

// Where no lock can be had, nothing is edited: two commands at once could undo
// each other's work.
func TestLockThatCannotBeHad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA)
	if err := os.Mkdir(file+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := addKey([]string{file}, t.Output()); err == nil || readFile(t, file) != keyA {
		t.Errorf("got %v and the file %q", err, readFile(t, file))
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
		if _, err := parseKeys(file, after); err != nil {
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
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("got %d files, want the key file and its lock", len(entries))
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
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA+"\n"+keyB+"\n")
	plain := newTestManager(t, options{signed: true})
	host := newTestManager(t, options{secure: true, keys: []string{keyB}})
	now := time.Now().UTC().Truncate(time.Second)
	s := payload[session]{
		Began: uint32(now.Unix() - 7200),
		Since: 3600,
		Data:  session{Name: "Alice"},
	}
	const shown = "\nname          \"Alice\"\n"
	value, hostValue := seal(t, plain, s), seal(t, host, s)
	strange := seal(t, newTestManager(t, options{keys: []string{keyC}}), s)
	foreign := sealBytes(t, plain, []byte("\xa0")) // under our key, but not a session
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	facts := func(verdict, id, value string) string {
		name := "session"
		if value == hostValue {
			name = "__Host-Http-session"
		}
		text := fmt.Sprintf("verdict       %s\nsize          %d of 4096 bytes\n",
			verdict, len(name+value))
		if id != "" {
			text += "key id        " + id + "\n"
		}
		return text
	}
	times := func(mode string) string {
		return fmt.Sprintf("mode          %s\nbegan         %s\nlast seen     %s\n"+
			"ends, idle    %s\nends, latest  %s\n",
			mode, stamp(-2*time.Hour), stamp(-time.Hour),
			stamp(335*time.Hour), stamp(2158*time.Hour))
	}
	good := facts("valid", signedA+" seals", value) + times("signed")
	goodHost := facts("valid", encryptedB+" verifies", hostValue) + times("signed and encrypted")
	secret := seal(t, newTestManager(t, options{}), s)
	goodSecret := facts("valid", encryptedA+" seals", secret) + times("signed and encrypted")
	idle := strings.Replace(good, "valid", "expired", 1)
	idle = strings.Replace(idle, stamp(335*time.Hour), stamp(-time.Minute), 1)
	old := strings.Replace(good, "valid", "too old", 1)
	old = strings.Replace(old, stamp(335*time.Hour), stamp(-time.Hour/2), 1)
	old = strings.Replace(old, stamp(2158*time.Hour), stamp(-time.Hour/2), 1)
	long := value + strings.Repeat("A", 4096)
	jarLine := func(secure, name, value string) string {
		fields := []string{"#HttpOnly_localhost", "FALSE", "/", secure, "1796615152", name, value}
		return strings.Join(fields, "\t") + "\n"
	}
	tests := []struct {
		name, stdin string
		args        []string
		want        string // what is printed, up to the data
		status      int
		says        string // in the error
	}{
		{name: "bare", stdin: value + "\n", want: good},
		{name: "bare, the other name", stdin: hostValue, want: goodHost},
		{name: "bare, encrypted", stdin: secret, want: goodSecret},
		{name: "name=value", stdin: "session=" + value, want: good},
		{name: "the other name=value", stdin: "__Host-Http-session=" + hostValue, want: goodHost},
		{name: "Cookie", stdin: "Cookie: a=b; session=" + value + "; c=d\r\n", want: good},
		{name: "Cookie without a space", stdin: "Cookie:session=" + value + ";c=d", want: good},
		{name: "cookie", stdin: "cookie: __Host-Http-session=" + hostValue, want: goodHost},
		{
			name:  "Set-Cookie",
			stdin: "Set-Cookie: session=" + value + "; Path=/; Max-Age=9; HttpOnly",
			want:  good,
		},
		{name: "line of a jar", stdin: jarLine("FALSE", "session", value), want: good},
		{
			name: "a whole jar",
			stdin: "# Netscape HTTP Cookie File\n\nlocalhost\tFALSE\t/\tFALSE\t0\tother\tx\n" +
				jarLine("TRUE", "__Host-Http-session", hostValue),
			want: goodHost,
		},
		{name: "the valid one of two", stdin: "Cookie: session=x; session=" + value, want: good},
		{name: "the valid one first", stdin: "session=" + value + "; session=x", want: good},
		{
			name:  "names that only end or begin like ours",
			stdin: "Cookie: mysession=x; session2=x; session=" + value,
			want:  good,
		},
		{name: "data", stdin: value, args: []string{"-show"}, want: good},
		{
			name: "expired", stdin: value, args: []string{"-idle", "59m"},
			want: idle, status: 1, says: "not valid: expired",
		},
		{
			name: "expired, with data", stdin: value, args: []string{"-idle", "59m", "-show"},
			want: idle, status: 1, says: "not valid: expired",
		},
		{
			name: "too old", stdin: value, args: []string{"-lifetime", "90m"},
			want: old, status: 1, says: "not valid: too old",
		},
		{
			name: "tampered", stdin: flipLast(value), args: []string{"-show"}, status: 1,
			want: facts("tampered", signedA+" seals", value), says: "not valid: tampered",
		},
		{
			name: "unknown key", stdin: "session=" + strange, args: []string{"-show"}, status: 1,
			want: facts("unknown key", strange[:idLen], strange), says: "not valid: unknown key",
		},
		{
			name: "not a session", stdin: foreign, args: []string{"-show"}, status: 1,
			want: facts("malformed", signedA+" seals", foreign), says: "not valid: malformed",
		},
		{
			name: "too large", stdin: long, status: 1,
			want: facts("too large", "", long), says: "not valid: too large",
		},
		{
			name: "garbage", stdin: "hello", status: 1,
			want: facts("malformed", "", "hello"), says: "not valid: malformed",
		},
		{
			name: "a name that ends like ours", stdin: "Cookie: mysession=" + value, status: 1,
			says: "no session cookie on",
		},
		{name: "nothing", status: 1, says: "no session cookie on"},
		{name: "two words", stdin: "hello world", status: 1, says: "no session cookie on"},
		{name: "another cookie", stdin: "Cookie: other=1", status: 1, says: "no session cookie on"},
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
			got, data := stdout, ""
			if strings.Contains(tt.want, "began") && slices.Contains(tt.args, "-show") {
				got = stdout[:min(len(stdout), len(tt.want))]
				data = "\n" + stdout[len(got):] // with all fields that the session has
				if !strings.Contains(data, shown) {
					t.Errorf("%s, keys from the %s: got the data %q", tt.name, source, data)
				}
			}
			if got != tt.want || status != tt.status || !strings.Contains(stderr, tt.says) {
				t.Errorf("%s, keys from the %s: got status %d, %q and %q, want %d, %q and %q",
					tt.name, source, status, stdout, stderr, tt.status, tt.want, tt.says)
			}
			for _, secret := range []string{value[idLen+1:], keyA, keyB} {
				if strings.Contains(stdout+stderr, secret) {
					t.Errorf("%s: got a secret printed", tt.name)
				}
			}
			if data == "" && strings.Contains(stdout, "Alice") {
				t.Errorf("%s: got the data without -show", tt.name)
			}
		}
	}

	// Without keys, nothing is verified, and that is said.
	unverified := []struct {
		name, stdin string
		args        []string
		want, not   []string
	}{
		{
			name: "signed", stdin: flipLast(value), args: []string{"-show"},
			want: []string{
				"verdict       not verified", "key id        " + signedA + "\n",
				"sealed        ", "mode          signed\n",
				"began         " + stamp(-2*time.Hour), "last seen     " + stamp(-time.Hour), shown,
			},
			not: []string{"ends", "seals", "verifies"},
		},
		{name: "without -show", stdin: value, want: []string{"began"}, not: []string{"Alice"}},
		{
			name: "encrypted", stdin: hostValue, args: []string{"-show"},
			want: []string{"sealed", "mode          encrypted"}, not: []string{"began", "Alice"},
		},
		{
			name: "in a header", stdin: "Cookie: __Host-Http-session=" + hostValue,
			want: []string{facts("not verified, there is no key", encryptedB, hostValue)},
		},
		{
			name: "garbage", stdin: "hello",
			want: []string{"verdict       malformed"}, not: []string{"mode"},
		},
		{name: "too short", stdin: value[:60], want: []string{"verdict       malformed"}},
	}
	for _, tt := range unverified {
		args := append([]string{"inspect"}, tt.args...)
		stdout, stderr, status := command(t, tt.stdin, nil, args...)
		if status != 1 || !strings.Contains(stderr, "nothing of this is verified") {
			t.Errorf("%s, without keys: got status %d and %q", tt.name, status, stderr)
		}
		for _, part := range tt.want {
			if !strings.Contains(stdout, part) {
				t.Errorf("%s, without keys: got %q, want %q in it", tt.name, stdout, part)
			}
		}
		for _, part := range tt.not {
			if strings.Contains(stdout, part) {
				t.Errorf("%s, without keys: got %q, want no %q in it", tt.name, stdout, part)
			}
		}
	}
}

// zeros is input without an end.
type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n += len(p); z.n > 1<<20 {
		return 0, io.EOF // so that a command that would read on for ever fails at last
	}
	return copy(p, make([]byte, len(p))), nil
}

// Whatever is on standard input, not more than a cookie needs is read of it.
func TestInspectReadsALimitedInput(t *testing.T) {
	in, noEnv := new(zeros), func(string) string { return "" }
	if err := runInspect(nil, noEnv, in, io.Discard); err == nil || in.n > 1<<20 {
		t.Errorf("got %v after %d bytes", err, in.n)
	}
}

// Before September 2001 securecookie's stamp had nine digits, not ten. Nobody
// has cookies of that time, but testing/synctest begins in 2000, and examples
// that are to stay the same are made in it.
func TestInspectAnOldStamp(t *testing.T) {
	t.Parallel()
	values := make(map[string]string) // by mode
	synctest.Test(t, func(t *testing.T) {
		for mode, signed := range map[string]bool{"signed": true, "signed and encrypted": false} {
			values[mode] = seal(t, newTestManager(t, options{signed: signed}), alice(60, 0))
		}
	})
	const (
		times = "began         1999-12-31T23:59:00Z\nlast seen     2000-01-01T00:00:00Z\n"
		stamp = "sealed        2000-01-01T00:00:00Z\n"
		name  = "\nname          \"Alice\"\n"
	)
	keys := map[string]string{"COOKIESESSION_KEYS": keyA}
	limits := []string{"-idle", "876000h", "-lifetime", "876000h"}
	tests := []struct {
		mode   string
		env    map[string]string
		args   []string
		status int
		want   []string
	}{
		{
			mode: "signed", env: keys, args: limits,
			want: []string{"verdict       valid\n", "mode          signed\n" + times, name},
		},
		{
			mode: "signed and encrypted", env: keys, args: limits,
			want: []string{
				"verdict       valid\n", "mode          signed and encrypted\n" + times, name,
			},
		},
		{
			mode: "signed", env: keys, status: 1,
			want: []string{"verdict       too old\n", "mode          signed\n" + times, name},
		},
		{mode: "signed", status: 1, want: []string{stamp + "mode          signed\n" + times, name}},
		{mode: "signed and encrypted", status: 1, want: []string{stamp + "mode          encrypted"}},
	}
	for _, tt := range tests {
		args := append([]string{"inspect", "-show"}, tt.args...)
		stdout, stderr, status := command(t, values[tt.mode], tt.env, args...)
		for _, part := range tt.want {
			if status != tt.status || !strings.Contains(stdout, part) {
				t.Errorf("%s, %q: got status %d, %q and %q, want %d and %q",
					tt.mode, tt.args, status, stdout, stderr, tt.status, part)
			}
		}
	}
}

// The commands edit the file that the program reads, also through links to folders.
func TestKeysThroughLinkedFolders(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need rights on Windows")
	}
	t.Chdir(t.TempDir())
	for _, folder := range []string{"cap/releases/42", "cap/shared", "shared", "other/dir"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"cap/current": "releases/42", "cap/ring": "current/../../shared/ring", "link": "other/dir",
	} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, "cap/shared/ring", keyA)
	for name, file := range map[string]string{"cap/ring": "cap/shared/ring", "link/../ring": "other/ring"} {
		for _, args := range [][]string{{"add", name}, {"add", name}, {"replace", name}} {
			mustRun(t, append([]string{"keys"}, args...)...)
			named, err := keysFromFile(name)
			real, realErr := keysFromFile(file)
			if err != nil || realErr != nil || !slices.Equal(keyNames(named), keyNames(real)) {
				t.Errorf("%s, %s: got %v and %v, errors %v and %v", name, args[0], named, real, err, realErr)
			}
		}
	}
	for _, stray := range []string{"shared/ring", "ring"} {
		if _, err := os.Stat(stray); err == nil {
			t.Errorf("got a stray %s", stray)
		}
	}
	if _, _, status := command(t, "", nil, "keys", "add", "nowhere/"); status != 1 {
		t.Errorf("got status %d for a folder that isn't there", status)
	}
}

// keyNames returns the ids of keys.
func keyNames(keys []key) (names []string) {
	for _, k := range keys {
		names = append(names, k.String())
	}
	return names
}

// A name that no cookie can have is refused, by inspect as by the server.
func TestInspectCookieName(t *testing.T) {
	for _, name := range []string{"a(b", "a.b", ""} {
		_, stderr, status := command(t, "x=y", nil, "inspect", "-cookie-name="+name)
		if status != 2 || !strings.Contains(stderr, "-cookie-name must be letters") {
			t.Errorf("%q: got status %d and %q", name, status, stderr)
		}
	}
}

// What browsers copy as a command for curl is read, too.
func TestInspectCopiedAsCurl(t *testing.T) {
	value := seal(t, newTestManager(t, options{}), alice(0, 0))
	env := map[string]string{keysVariable: keyA}
	for _, stdin := range []string{
		"curl -b 'session=" + value + "' http://localhost", "-H 'Cookie: session=" + value + "'",
		`-H "Cookie: a=b; session=` + value + `; c=d"`, `"` + value + `"`, "a=b, session=" + value + ", c=d",
	} {
		if out, stderr, status := command(t, stdin, env, "inspect"); status != 0 {
			t.Errorf("%.20s: got status %d, %q and %q", stdin, status, out, stderr)
		}
	}
	if _, stderr, _ := command(t, `Cookie: session="`+value+`"`, env, "inspect"); !strings.Contains(stderr, "malformed") {
		t.Errorf("got %q for a quoted value, which the server refuses", stderr)
	}
}

// The age is that on the key's own line.
func TestKeyAge(t *testing.T) {
	today := time.Now().UTC()
	day := func(ago int) string { return today.AddDate(0, 0, -ago).Format(time.DateOnly) }
	for line, want := range map[string]string{
		keyA: "unknown", keyA + " # added " + day(3): "3 days", keyA + " # added " + day(1): "1 day",
		"# see # added " + day(9) + "\n" + keyA + " # added " + day(2): "2 days",
		keyA + " # added " + day(4) + ", for the autumn":               "4 days",
		keyA + " # added " + day(-20):                                  "0 days",
		"# added " + day(9) + "\n" + keyA:                              "unknown",
	} {
		file := filepath.Join(t.TempDir(), "ring")
		writeFile(t, file, line+"\n")
		if out := mustRun(t, "keys", "list", file); !strings.Contains(out, "  "+want+"\n") {
			t.Errorf("%q: got %q, want %s", line, out, want)
		}
	}
}

// A command that needs a key says so where there is not even a file.
func TestKeysOfNoFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	for _, args := range [][]string{{"list", file}, {"promote", file}, {"drop", file, signedA}, {"replace", file}} {
		_, stderr, status := command(t, "", nil, append([]string{"keys"}, args...)...)
		if _, err := os.Stat(file); status != 1 || !os.IsNotExist(err) ||
			!strings.Contains(stderr, "(make one with: cookiesession keys add FILE)") {
			t.Errorf("%s: got status %d and %q", args[0], status, stderr)
		}
	}
}

// A space that no key file has, as from a web page, is a character too many,
// and no command takes one key for another because of it.
func TestOddSpacesInAKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	for _, space := range []string{"\u00a0", "\f", "\v", "\u2003"} {
		content := keyA + "\n" + space + keyB + "\n" + keyC + "\n"
		writeFile(t, file, content)
		for _, args := range [][]string{{"replace", file}, {"drop", file, signedB}, {"promote", file}, {"list", file}} {
			_, stderr, status := command(t, "", nil, append([]string{"keys"}, args...)...)
			if status != 1 || !strings.Contains(stderr, ":2: want 64 hexadecimal digits") {
				t.Errorf("%q, %q: got status %d and %q", space, args[0], status, stderr)
			}
		}
		if readFile(t, file) != content {
			t.Errorf("%q: got the file changed", space)
		}
	}
}
