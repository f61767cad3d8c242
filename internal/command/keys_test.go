package command_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// mustKeys runs a command that has to succeed.
func mustKeys(t *testing.T, args ...string) string {
	t.Helper()
	var out, told bytes.Buffer
	if err := command.Keys(args, &out, &told); err != nil || told.Len() > 0 {
		t.Fatalf("%q: got %v and %q", args, err, &told)
	}
	return out.String()
}

// keysIn returns the keys of a file.
func keysIn(t *testing.T, file string) (keys []string) {
	t.Helper()
	lines, err := sessions.ParseKeys(file, testkit.ReadFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		keys = append(keys, l.Key.Secret())
	}
	return keys
}

// newKeys matches the lines of keys that were added today.
var newKeys = regexp.MustCompile(
	`(?m)^[0-9a-f]{64} # added ` + time.Now().UTC().Format(time.DateOnly) + `$`)

// wantMode checks that a file has a mode.
func wantMode(t *testing.T, file string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != want {
		t.Errorf("got %v and %v, want mode %v", info, err, want)
	}
}

func TestKeysNew(t *testing.T) {
	one, other := mustKeys(t, "new"), mustKeys(t, "new")
	if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(one) || one == other {
		t.Errorf("got %q and %q, want two keys and nothing else", one, other)
	}
}

// The age is that on the key's own line.
func TestKeysList(t *testing.T) {
	ago := func(days int) string {
		return time.Now().AddDate(0, 0, -days).UTC().Format(time.DateOnly)
	}
	for line, age := range map[string]string{
		keyB:                              "unknown",
		keyB + " # added yesterday":       "unknown",
		keyB + " # added " + ago(0):       "0 days",
		keyB + " # added " + ago(-20):     "0 days",
		keyB + " # added " + ago(1):       "1 day",
		"# added " + ago(9) + "\n" + keyB: "unknown",

		strings.ToUpper(keyB) + " # added " + ago(400) + ", for the autumn": "400 days",
	} {
		file := ringFile(t, "\uFEFF# ours\n\n"+keyA+" # since May\r\n"+line)
		want := "POSITION  ROLE      ENCRYPTED  SIGNED  AGE\n" +
			"1         seals     " + encryptedA + "     " + signedA + "  unknown\n" +
			"2         verifies  " + encryptedB + "     " + signedB + "  " + age + "\n"
		if got := mustKeys(t, "list", file); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// A rotation from a file that isn't there to one with another key. The file may be
// called like a command.
func TestKeysRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "replace")
	idPair := `[a-z2-7]{6} \(signed: [a-z2-7]{6}\)`
	want := func(got, want string) {
		t.Helper()
		if !regexp.MustCompile("^" + want + "\n$").MatchString(got) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want(mustKeys(t, "add", file), "added "+idPair+", it seals")
	wantMode(t, file, 0o600)
	os.Chmod(file, 0o640)
	first := keysIn(t, file)
	want(mustKeys(t, "add", file),
		"added "+idPair+", it only verifies: promote it when every copy has it")
	both := keysIn(t, file)
	if !slices.Equal(both[:1], first) {
		t.Error("got the new key in front of the old one")
	}
	want(mustKeys(t, "promote", file), "promoted "+idPair+", it seals")
	if got := keysIn(t, file); !slices.Equal(got, []string{both[1], both[0]}) {
		t.Error("got the last key not promoted")
	}
	list := strings.Split(mustKeys(t, "list", file), "\n")
	want(mustKeys(t, "drop", file, strings.Fields(list[2])[2]), "dropped "+idPair)
	if got := keysIn(t, file); !slices.Equal(got, both[1:]) {
		t.Errorf("got %d keys after the drop", len(got))
	}
	want(mustKeys(t, "replace", file), "added "+idPair+`, it seals, and removed all other keys `+
		`\(1\): every session ends at each copy as soon as it has this file`)
	err := command.Keys([]string{"promote", file}, io.Discard, io.Discard)
	if got := keysIn(t, file); len(got) != 1 || slices.Contains(both, got[0]) || err == nil {
		t.Errorf("got %d keys, want a new one alone, and %v for its promotion", len(got), err)
	}
	wantMode(t, file, 0o640)
}

// What stands above a key and touches it is about that key, so it goes where the key
// goes, and goes when the key goes. Everything else stays.
func TestCommentsGoWithTheirKeys(t *testing.T) {
	a, b, c, capitals := keyA, keyB, keyC, strings.ToUpper
	tests := []struct{ name, before, promoted, dropped string }{
		{
			name:     "a comment of several lines",
			before:   "# A1\n # A2\n" + a + "\n# B1\n\t# B2\n" + b + "\n# C\n" + c + "\n",
			promoted: "# C\n" + c + "\n# A1\n # A2\n" + a + "\n# B1\n\t# B2\n" + b + "\n",
			dropped:  "# A1\n # A2\n" + a + "\n# C\n" + c + "\n",
		},
		{
			name:     "blank lines, those of Windows, keys in capitals, and no end",
			before:   "# A\r\n" + a + "\r\n\r\n# X\n\n" + capitals(b) + " # b\r\n\r\n" + c,
			promoted: c + "\n# A\r\n" + a + "\r\n\r\n# X\n\n" + capitals(b) + " # b\r\n\r\n",
			dropped:  "# A\r\n" + a + "\r\n\r\n# X\n\n\r\n" + c + "\n",
		},
		{
			name:     "a byte order mark, which goes",
			before:   "\uFEFF" + a + "\n# B\n" + b + "\n# C\n" + c,
			promoted: "# C\n" + c + "\n" + a + "\n# B\n" + b + "\n",
			dropped:  a + "\n# C\n" + c + "\n",
		},
	}
	for _, tt := range tests {
		promoted, dropped := ringFile(t, tt.before), ringFile(t, tt.before)
		mustKeys(t, "promote", promoted)
		mustKeys(t, "drop", dropped, signedB)
		for file, want := range map[string]string{promoted: tt.promoted, dropped: tt.dropped} {
			if got := testkit.ReadFile(t, file); got != want {
				t.Errorf("%s: got %q, want %q", tt.name, got, want)
			}
		}
	}
}

// A new key stands apart from the comments that were there: at the file's head they are
// about the file, and at its end not about the next key. In a file without keys it seals.
func TestKeysAdd(t *testing.T) {
	for before, want := range map[string]string{
		"":                      "KEY\n",
		"# ours":                "# ours\n\nKEY\n",
		"\uFEFF# ours\r\n":      "# ours\r\n\nKEY\n",
		"#" + keyA + "\n\n":     "#" + keyA + "\n\n\nKEY\n",
		keyA + "\n# tail\n":     keyA + "\n# tail\n\nKEY\n",
		"# its\n" + keyA + " #": "# its\n" + keyA + " #\nKEY\n",
	} {
		file := ringFile(t, before)
		_, err := command.Keyring(file, nil)
		said := mustKeys(t, "add", file)
		if got := newKeys.ReplaceAllString(testkit.ReadFile(t, file), "KEY"); got != want {
			t.Errorf("%q: got %q, want %q", before, got, want)
		}
		if seals := strings.HasSuffix(said, ", it seals\n"); seals != (err != nil) {
			t.Errorf("%q: got %q", before, said)
		}
	}
}

func TestKeysReplace(t *testing.T) {
	file := ringFile(t, "# head\n\n# A\n"+keyA+" # a\n\n# middle\n\n\t"+keyB+"\n# tail")
	said := mustKeys(t, "replace", file)
	const want = "# head\n\nKEY\n\n# middle\n\n# tail\n"
	if got := newKeys.ReplaceAllString(testkit.ReadFile(t, file), "KEY"); got != want ||
		!strings.Contains(said, "removed all other keys (2): every") {
		t.Errorf("got %q and %q, want %q", said, got, want)
	}
}

// What the operator types is repeated if it is a key's id, and never if it could be a key
// that was pasted into the wrong place. The key that seals can't be dropped.
func TestKeysDrop(t *testing.T) {
	const unknown = ": there is no key with this id (see: "
	both := keyA + "\n" + keyB
	for _, tt := range []struct{ content, id, says string }{
		{content: both, id: encryptedA, says: ": " + encryptedA + " seals (promote "},
		{content: keyA, id: encryptedA, says: ": " + encryptedA + " is the only key (add "},
		{content: both, id: keyB, says: unknown},
		{content: both, id: "", says: unknown},
	} {
		file := ringFile(t, tt.content)
		err := command.Keys([]string{"drop", file, tt.id}, io.Discard, io.Discard)
		if !strings.HasPrefix(fmt.Sprint(err), file+tt.says) ||
			strings.Contains(err.Error(), keyB) || testkit.ReadFile(t, file) != tt.content {
			t.Errorf("%q: got %v, want %q", tt.id, err, tt.says)
		}
	}
}

// A link to the file stays a link, and a folder behind a link has another parent than its
// name says. A link that leads nowhere is an error, as it may be a mistake.
func TestKeysThroughLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, folder := range []string{"links", "real/deep"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	testkit.WriteFile(t, "real/there", keyA)
	for name, to := range map[string]string{
		"links/there": "../real/there", "links/folder": "../real/deep",
		"links/up": "folder/../there", "links/nowhere": "../real/nowhere",
	} {
		if err := os.Symlink(filepath.FromSlash(to), name); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	for i, name := range []string{"links/there", "links/up", "links/folder/../there"} {
		mustKeys(t, "add", name)
		if got := len(keysIn(t, "real/there")); got != i+2 {
			t.Errorf("%s: got %d keys in the file behind it", name, got)
		}
	}
	mustKeys(t, "add", "links/folder/../new")
	keysIn(t, "real/new")
	err := command.Keys([]string{"add", "links/nowhere"}, io.Discard, io.Discard)
	if !strings.Contains(fmt.Sprint(err), ": a link to a file that isn't there (") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir("links"); len(entries) != 4 { // the locks are in real
		t.Errorf("got %v", entries)
	}
}

func TestKeysUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"list"}, {"list", "a", "b"}, {"drop", "a"}, {"new", "a"},
		{"add", "-x", "a"}, {"-x"},
	} {
		var out bytes.Buffer
		var usage command.UsageError
		err := command.Keys(args, &out, io.Discard)
		if !errors.As(err, &usage) || out.Len() > 0 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v and %q", args, err, &out)
		}
	}
}

// The help on keys has what each command does, and so has the command's own.
func TestKeysHelp(t *testing.T) {
	help := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		err := command.Keys(append(args, "-h"), &out, io.Discard)
		usage := "Usage: " + strings.Join(append([]string{"cookiesession keys"}, args...), " ")
		if !errors.Is(err, flag.ErrHelp) || !strings.HasPrefix(out.String(), usage) {
			t.Errorf("%q: got %v and %q", args, err, &out)
		}
		return out.String()
	}
	all := help()
	for _, name := range []string{"new", "list", "add", "promote", "drop", "replace"} {
		_, does, _ := strings.Cut(help(name), "\n\n")
		if does == "" || !strings.Contains(all, fmt.Sprintf("\n%-7s  %s", name, does)) {
			t.Errorf("%s: got %q and %q", name, all, does)
		}
	}
}

// The lock ends with each edit, not only with the process. One that is held is waited
// for, and told after a while.
func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	synctest.Test(t, func(t *testing.T) {
		mustKeys(t, "add", file)
		mustKeys(t, "add", file)
		lock, err := command.TryLock(file + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		var told testkit.Buffer
		done := make(chan error)
		go func() { done <- command.Keys([]string{"add", file}, io.Discard, &told) }()
		time.Sleep(command.LockPatience - 100*time.Millisecond)
		synctest.Wait()
		if got := told.String(); got != "" {
			t.Errorf("got %q at once", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := told.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, file+".lock\n") {
			t.Errorf("got %q, want one line with the lock's name", got)
		}
		if got := len(keysIn(t, file)); got != 2 {
			t.Errorf("got %d keys while the file was locked, want 2", got)
		}
		lock.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	wantMode(t, file+".lock", 0o600)
}

// Where no lock can be had, or the new file can't be written, the old one stays whole.
func TestFileThatCannotBeEdited(t *testing.T) {
	for _, inTheWay := range []string{"ring.lock", ".ring.new/full"} {
		file := ringFile(t, keyA)
		if err := os.MkdirAll(filepath.Join(filepath.Dir(file), inTheWay), 0o700); err != nil {
			t.Fatal(err)
		}
		err := command.Keys([]string{"add", file}, io.Discard, io.Discard)
		if err == nil || testkit.ReadFile(t, file) != keyA {
			t.Errorf("%s: got %v and the file %q", inTheWay, err, testkit.ReadFile(t, file))
		}
	}
}

// Whoever reads the file meanwhile sees the old one whole, and what a crash between the
// writing and the renaming has left is in nobody's way.
func TestFileIsReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what is open can't be replaced on Windows")
	}
	file := ringFile(t, keyA)
	testkit.WriteFile(t, filepath.Join(filepath.Dir(file), ".ring.new"), "half a ke")
	reader, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	mustKeys(t, "replace", file)
	if old, err := io.ReadAll(reader); string(old) != keyA || err != nil {
		t.Errorf("got %q and %v", old, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) != 2 {
		t.Errorf("got %d files, want the key file and its lock", len(entries))
	}
}
