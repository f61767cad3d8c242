package sessions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

func TestParseKey(t *testing.T) {
	for says, all := range map[string][]string{
		"have 0 characters": {""}, "have 62": {hexA[:62]}, "have 66": {hexA + "00"},
		"other characters": {hexA[:63] + "g", hexA[:63] + "\n"},
		"too regular": {
			strings.Repeat("6f", 32),
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
			"fffdfbf9f7f5f3f1efedebe9e7e5e3e1dfdddbd9d7d5d3d1cfcdcbc9c7c5c3c1",
			"f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f1011121314151617",
			fmt.Sprintf("%x", "correct horse battery staple 123"),
			fmt.Sprintf("%x", " ~}|{zyxwvutsrqponmlkjihgfedcba`"),
			strings.Repeat(hexA[:30], 2) + hexA[:4], // 15 bytes
			strings.Repeat(hexA[:32], 2),
			hexA[:48] + hexA[:16],
			fmt.Sprintf("%x", "Schlüssel für süße Kekse 42\n"),
			"6100620063006400650066006700680069006a006b006c006d006e006f007000",
			hexA[:44] + strings.Repeat("11", 10),
			"3141592653589793238462643383279502884197169399375105820974944592",
			"deafbeadcafefeedfacedecadebadfadabedfacedadcabbeefaceeddeedfadea",
		},
		"": {hexA, strings.ToUpper(hexA), hexA[:62] + "dd", // the last step is as the first
			hexA[:46] + strings.Repeat("11", 9), hexA[:50] + hexA[:14],
			"31415a265358a7a323846264338327a5028841a716a3aa375105820a74a445a2",
			strings.Repeat("000102030405060708090a0b0c0d0e", 2) + "00ff"}, // 16 of them
	} {
		for _, digits := range all {
			k, err := sessions.ParseKey(digits)
			if says == "" {
				if err != nil || k.Secret() != strings.ToLower(digits) {
					t.Errorf("got %v and another secret for a good key", err)
				}
				continue
			}
			if got := fmt.Sprint(err); !strings.HasPrefix(got, "sessions: ") ||
				!strings.Contains(got, says) || k != (sessions.Key{}) ||
				digits != "" && strings.Contains(got, digits[:8]) {
				t.Errorf("%d digits: got %v, want %q", len(digits), err, says)
			}
		}
	}
	one, two := sessions.NewKey(), sessions.NewKey()
	again := made(sessions.ParseKey(one.Secret()))
	if again.Secret() != one.Secret() || one.Secret() == two.Secret() {
		t.Error("got another key, or the same key twice")
	}
	ids := func(k sessions.Key) string { enc, signed := k.IDs(); return enc + " " + signed }
	var none sessions.Key
	if got := ids(made(sessions.ParseKey(hexA))); got != "5cpkia eyj7fr" || ids(none) != " " ||
		none.Secret() != "" {
		t.Errorf("got the ids %s, and %s of no key", got, ids(none))
	}
}

func TestKeyring(t *testing.T) {
	a, b := ringOf(hexA).Keys()[0], ringOf(hexB).Keys()[0]
	ring := ringOf(hexA, hexB)
	for name, err := range map[string]error{
		"a zero Key":  ring.Replace(sessions.Key{}),
		"in the ring": ring.Replace(b, a, b),
		"key 2":       ring.Replace(a, a),
	} {
		if err == nil || !strings.Contains(err.Error(), name) ||
			strings.Contains(err.Error(), hexA[:8]) {
			t.Errorf("got %v, want one with %q", err, name)
		}
	}
	keys := ring.Keys()
	if len(keys) != 2 || keys[0] != a && keys[0].Secret() != hexA {
		t.Errorf("got %v after what failed, want the ring as it was", ring)
	}
	keys[0] = b
	if ring.Keys()[0].Secret() != hexA || new(sessions.Keyring).Keys() != nil {
		t.Error("got the ring's own slice")
	}
	if ring, err := sessions.NewKeyring(sessions.Key{}); err == nil {
		t.Errorf("got %v of a zero Key", ring)
	}
	// Two keys with the same id can't both be in a ring, however unlikely they are. These
	// pairs were found by trying a hundred thousand random keys.
	for mode, pair := range map[string][2]string{
		"signed": {"6899ad6bf819a87c6a7b1f4240b19e612b4c91a2ce64b97eef4535c7ee54ab5c",
			"85f45bec6dc2684aef237265879c0707423778ddff214363c17d3ac5a80bf4f3"},
		"encrypted": {"7fd84a56140db7929d11f954fd8b6090affed818d27c91d8634319cd96344320",
			"66e0c34f479fa5905c0117e4fe1a7596f22cc11ae6db9a2a8ff4fe1ee32892ff"},
	} {
		one, two := ringOf(pair[0]).Keys()[0], ringOf(pair[1]).Keys()[0]
		oneEnc, oneSigned := one.IDs()
		if enc, signed := two.IDs(); enc != oneEnc && signed != oneSigned {
			t.Logf("%s: %v and %v share no id any more", mode, one, two)
			continue
		}
		if _, err := sessions.NewKeyring(one, a, two); err == nil {
			t.Errorf("%s: got two keys of one id", mode)
		}
	}
}

// Visitors notice nothing of a ring that is replaced meanwhile.
func TestRingIsReplacedMeanwhile(t *testing.T) {
	ring := ringOf(hexA, hexB)
	m, keys := made(sessions.New(ring, options{})), ring.Keys()
	ctx, stop := context.WithCancel(t.Context())
	var replaced, wg sync.WaitGroup
	replaced.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			ring.Replace(keys[i%2], keys[1-i%2])
		}
	})
	for range 4 {
		wg.Go(func() {
			b := &visits[fixed]{t: t, m: m}
			for range 200 {
				b.visit(sessions.Changed, func(s *session) { s.Data.Name += "x" })
			}
			if got := valueOf(m, b.cookie).Data.Name; len(got) != 200 {
				t.Errorf("got %s, and lost what was stored", got)
			}
		})
	}
	wg.Wait()
	stop()
	replaced.Wait()
}

func TestParseKeys(t *testing.T) {
	text := "\uFEFF# a comment\r\n\n  " + hexA + "\t# with " + hexC + "\r\n" + hexB
	keys, err := sessions.ParseKeys("ring", text)
	if err != nil || len(keys) != 2 || keys[0].Line != 3 || keys[0].Key.Secret() != hexA ||
		keys[1].Line != 4 || keys[1].Key.Secret() != hexB {
		t.Errorf("got %v and %v", keys, err)
	}
	for text, says := range map[string]string{
		"": "", "\n#\n \t\r\n": "",
		hexA + "\n" + hexB[:60] + "\n":           "ring:2: want a key of 64",
		"key=" + hexA:                            "ring:1: want a key of 64",
		hexA + " " + hexB:                        "ring:1: want a key of 64",
		hexA + "\n" + strings.Repeat("ab", 32):   "ring:2: this key is too regular",
		"#\n" + hexA + "\n\n" + hexA + "# again": "ring:4: the same key as on line 2",
	} {
		keys, err := sessions.ParseKeys("ring", text)
		want := "sessions: " + says
		if says == "" {
			want = "<nil>"
		}
		if got := fmt.Sprint(err); len(keys) != 0 || !strings.HasPrefix(got, want) ||
			strings.Contains(got, hexA[:8]) {
			t.Errorf("got %v and %v, want %q", keys, err, says)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	dir := t.TempDir()
	file, large := filepath.Join(dir, "ring"), filepath.Join(dir, "large")
	none, gone := filepath.Join(dir, "none"), filepath.Join(dir, "gone")
	write(t, file, hexB+"\n"+hexA+strings.Repeat("\n", 1<<20-129)) // 1 MiB
	if keys := made(sessions.ReadKeyring(file)).Keys(); len(keys) != 2 || keys[0].Secret() != hexB {
		t.Errorf("got %v", keys)
	}
	write(t, large, hexA+strings.Repeat("\n", 1<<20-63))
	write(t, none, "# none\n")
	says := map[string]string{
		large: "more than 1048576 bytes", none: "there is no key in it", dir: "not a regular file",
		gone: "no such file",
	}
	if runtime.GOOS == "windows" {
		says[gone] = "cannot find"
	}
	for file, says := range says {
		ring, err := sessions.ReadKeyring(file)
		if got := fmt.Sprint(err); !strings.HasPrefix(got, "sessions: ") ||
			!strings.Contains(got, says) || !strings.Contains(got, file) ||
			errors.Is(err, os.ErrNotExist) != (file == gone) {
			t.Errorf("got %v and %v, want %q", ring, err, says)
		}
	}
}

// Where a file's name is wanted, a key may be given. No error repeats it, whatever there is.
func TestKeyAsFileName(t *testing.T) {
	t.Chdir(t.TempDir())
	folder, none, bad := hexA, strings.ToUpper(hexB), hexC[:48]
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, none, "")
	write(t, bad, hexA+"\n"+hexA)
	write(t, bad+".large", strings.Repeat("\n", 1<<20+1))
	for _, name := range []string{"gone/" + hexA, folder, none, bad, bad + ".large"} {
		_, err := sessions.ReadKeyring(name)
		got := fmt.Sprint(err)
		if !strings.Contains(got, "(a key)") || strings.Contains(got, name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := sessions.ParseKeys(bad, "x")
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "sessions: (a key):1: ") {
		t.Errorf("got %s", got)
	}
	if _, err := sessions.ReadKeyFile("gone/" + hexA); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an error that says what it is", err)
	}
}

// watching is a ring that watches a file, in a bubble of synctest.
type watching struct {
	ring *sessions.Keyring
	told chan string
}

func watch(t *testing.T, file string) *watching {
	w := &watching{ring: ringOf(hexC), told: make(chan string, 9)}
	go w.ring.Watch(t.Context(), file, func(err error) { w.told <- fmt.Sprint(err) })
	synctest.Wait() // the first look is at once
	return w
}

// wants wants the ring to seal with a key, and told to have heard what each text is in.
func (w *watching) wants(t *testing.T, digits string, told ...string) {
	t.Helper()
	var got []string
	for len(w.told) > 0 {
		got = append(got, <-w.told)
	}
	if w.ring.Keys()[0].Secret() != digits ||
		!slices.EqualFunc(got, told, func(got, text string) bool {
			return strings.Contains(got, text) && !strings.Contains(got, hexB[:8])
		}) {
		t.Errorf("got told %q, want %q, or another key seals", got, told)
	}
}

// next waits for the next look.
func next() {
	time.Sleep(3 * time.Second) // as the documentation says: every few seconds
	synctest.Wait()
}

func TestWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	write(t, file, hexA)
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, file)
		w.wants(t, hexA, "<nil>")
		next()
		w.wants(t, hexA)
		for _, step := range []struct {
			do     func()
			digits string
			told   []string
		}{
			{func() { write(t, file, hexB+"\n"+hexA) }, hexB, []string{"<nil>"}},
			{func() { write(t, file, hexA+"\n"+hexB[:60]) }, hexB, []string{":2: want a key"}},
			{func() { write(t, file, "") }, hexB, []string{"no key in it"}},
			{func() { os.Remove(file) }, hexB, []string{file}},
			{func() { write(t, file, hexB+"\n"+hexA) }, hexB, []string{"<nil>"}},
			{func() { os.Chtimes(file, time.Now(), time.Now()) }, hexB, nil},
			{func() { // as a file is replaced by systemd, and by our own command
				write(t, file+".new", hexA)
				os.Rename(file+".new", file)
			}, hexA, []string{"<nil>"}},
		} {
			step.do()
			next()
			w.wants(t, step.digits, step.told...)
			next()
			w.wants(t, step.digits) // it is said once
		}
	})
}

// A file that is bad from the start is told, too, and nobody needs to be.
func TestWatchABadFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	write(t, file, "")
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, file)
		w.wants(t, hexC, "no key in it")
		write(t, file, hexA)
		ring := ringOf(hexC)
		go ring.Watch(t.Context(), file, nil)
		synctest.Wait()
		if ring.Keys()[0].Secret() != hexA {
			t.Error("got no keys without somebody to be told")
		}
	})
}

// A Kubernetes secret is a link to a link to a folder, of which the middle one is swapped.
func TestWatchBehindALink(t *testing.T) {
	dir := t.TempDir()
	for name, key := range map[string]string{"v1": hexA, "v2": hexB} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "ring"), key)
	}
	if err := os.Symlink("v1", filepath.Join(dir, "..data")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	file := filepath.Join(dir, "ring")
	os.Symlink(filepath.Join("..data", "ring"), file)
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, file)
		w.wants(t, hexA, "<nil>")
		os.Symlink("v2", filepath.Join(dir, "..new"))
		os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))
		next()
		w.wants(t, hexB, "<nil>")
	})
}

// A file that is there but can't be read is told with the reason.
func TestWatchAnUnreadableFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	write(t, file, hexA)
	os.Chmod(file, 0o200)
	if _, err := os.ReadFile(file); err == nil {
		file = "/proc/self/mem" // which not even root can read from its beginning
	}
	if _, err := os.ReadFile(file); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Skip("everything can be read here")
	}
	_, err := sessions.ReadKeyring(file)
	if !strings.HasPrefix(fmt.Sprint(err), "sessions: ") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the reason", err)
	}
}

// However something is printed that has a secret, or a visitor's data, in it, neither shows.
func TestNothingPrintsASecret(t *testing.T) {
	ring := ringOf(hexA)
	m := made(sessions.New(ring, options{SignOnly: true}))
	c := cookieOf(m, "Rumpelstiltskin")
	s := m.Load(comes(m, c.Value))
	s.Data.Name += "Rumpelstiltskin"
	key, cookie := ring.Keys()[0], s.Cookie()
	secret := fmt.Sprint([]byte("Rumpelstiltskin"))
	hidden := []string{
		hexA[:8], strings.ToUpper(hexA[:8]), "111 29 237", "0x6f, 0x1d", "Rumpel", "rumpel",
		secret[1 : len(secret)-1], fmt.Sprintf("%x", "Rumpel"), fmt.Sprintf("%X", "Rumpel"),
		"0x52, 0x75", c.Value[7:40], fmt.Sprintf("%x", c.Value[7:20]),
	}
	type within[V any] struct {
		Open   V
		closed V
		List   []V
		Map    map[string]V
		Any    any
	}
	nest := func(v any) []any {
		return []any{v, &v, []any{v}, map[string]any{"v": v}, within[any]{Open: v, Any: v}}
	}
	values := slices.Concat(
		nest(key), nest(ring), nest(cookie), nest(s), nest(m), nest(&key), nest(&cookie),
		[]any{within[sessions.Key]{closed: key}, within[any]{closed: key}},
		[]any{within[sessions.Cookie]{closed: cookie}, within[any]{closed: cookie}},
		[]any{within[*sessions.Keyring]{closed: ring}, within[*manager]{closed: m}},
		[]any{sessions.Event{Cookie: cookie}, sessions.KeyLine{Key: key}},
	)
	for _, v := range values {
		var text, structured bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "v", v)
		encoded, _ := json.Marshal(v)
		printed := []string{text.String(), structured.String(), string(encoded)}
		for _, verb := range "vsqxXdbocUtpeEfFgGT" {
			for _, flags := range []string{"", "+", "#", "-20", "020", ".99", "# "} {
				printed = append(printed, fmt.Sprintf("%"+flags+string(verb), v))
			}
		}
		for _, got := range printed {
			for _, secret := range hidden {
				if strings.Contains(got, secret) {
					t.Fatalf("%T: got %q in %s", v, secret, got)
				}
			}
		}
	}
	// What they do show.
	const keyText = "5cpkia (signed: eyj7fr)"
	cookieText := fmt.Sprintf("cookie: valid, %d bytes, key eyj7fr", cookie.Size)
	for _, tt := range [][2]string{
		{fmt.Sprint(key), keyText},
		{fmt.Sprintf("%x", ring), "keys [" + keyText + "]"},
		{fmt.Sprintf("%-12d|", sessions.Key{}), "no key      |"},
		{fmt.Sprint((*sessions.Keyring)(nil), new(sessions.Keyring)), "keys [] keys []"},
		{fmt.Sprintf("%+v", cookie), cookieText},
		{fmt.Sprint(sessions.Cookie{}), "cookie: none, 0 bytes"},
		{fmt.Sprintf("%#v", s), "session of " + cookieText},
		{fmt.Sprintf("%d", *s), "session of " + cookieText},
		{fmt.Sprint(m), "manager of __Host-Http-session, keys [" + keyText + "]"},
	} {
		if tt[0] != tt[1] {
			t.Errorf("got %q, want %q", tt[0], tt[1])
		}
	}
	for _, v := range []interface {
		fmt.Formatter
		slog.LogValuer
		MarshalText() ([]byte, error)
	}{key, ring, cookie, s, m} {
		text, err := v.MarshalText()
		want := fmt.Sprint(v)
		if string(text) != want || v.LogValue().String() != want || err != nil {
			t.Errorf("got %q, %v and %v, want %q", text, v.LogValue(), err, want)
		}
	}
}
