package command_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// Keys of the tests alone.
const (
	keyA = testkit.KeyA
	keyB = testkit.KeyB
	keyC = testkit.KeyC
)

var (
	encryptedA, signedA = idsOf(keyA)
	encryptedB, signedB = idsOf(keyB)
)

func idsOf(digits string) (encrypted, signed string) {
	k, err := sessions.ParseKey(digits)
	if err != nil {
		panic(err)
	}
	return k.IDs()
}

// environment is where the flags come from that are not given.
type environment map[string]string

func ringFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ring")
	testkit.WriteFile(t, file, content)
	return file
}

// programFlags has flags of the tests, two of which are returned.
func programFlags() (fs *flag.FlagSet, idle *time.Duration, level *string) {
	fs = flag.NewFlagSet("program", flag.ContinueOnError)
	fs.Bool("check", false, "")
	fs.Bool("persist", true, "")
	return fs, fs.Duration("idle", time.Hour, ""), fs.String("log-level", "x", "")
}

// A flag wins over the environment. Neither may be empty.
func TestParse(t *testing.T) {
	const idle, level = "COOKIESESSION_IDLE=", "COOKIESESSION_LOG_LEVEL="
	tests := []struct {
		args       string
		env        []string
		want, says string // what the flags become, or the error
	}{
		{want: "1h0m0s x"},
		{args: "--log-level=z -idle 3h", env: []string{idle + "2h"}, want: "3h0m0s z"},
		{env: []string{level + "y=z"}, want: "1h0m0s y=z"},
		{args: "-log-level z", env: []string{level}, want: "1h0m0s z"}, // it changes nothing
		{args: "-nonsense", says: "-nonsense: see program -h"},
		{args: "serve", says: `unexpected argument "serve": see program -h`},
		{
			env:  []string{idle + "soon"},
			says: `"soon" of COOKIESESSION_IDLE: want hours, minutes or seconds, such as 336h`,
		},
		{args: "-idle 14d", says: `"14d" for flag -idle: want hours, minutes or seconds, such as`},
		{args: "-check=x", says: `"x" for -check: want true or false: see program -h`},
		{
			env:  []string{"COOKIESESSION_PERSIST=x"},
			says: `"x" of COOKIESESSION_PERSIST: want true or false`,
		},
		{env: []string{"COOKIESESSION_CHECK=x"}, want: "1h0m0s x"},
		{args: "-log-level=", says: "-log-level is empty: give it a value, or leave it out"},
		{
			env: []string{level + " ", "COOKIESESSION_KEYS=", idle},
			says: "COOKIESESSION_IDLE is empty: give it a value, or unset it; COOKIESESSION_KEYS " +
				"is empty: give it a value, or unset it; COOKIESESSION_LOG_LEVEL is empty: ",
		},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		fs, idle, level := programFlags()
		env := command.Environment(tt.env)
		err := command.Parse(fs, strings.Fields(tt.args), env, &out, "program [flags]")
		var usage command.UsageError
		isUsage := errors.As(err, &usage) && strings.Contains(err.Error(), tt.says)
		got := fmt.Sprint(*idle, " ", *level)
		if out.Len() > 0 || isUsage != (tt.says != "") || tt.says == "" && got != tt.want {
			t.Errorf("%+v: got %s, %v and %q printed", tt, got, err, &out)
		}
	}
}

// Variables that are none are told, with what may have been meant. Those that Kubernetes
// makes are not.
func TestUnknown(t *testing.T) {
	fs, _, _ := programFlags()
	for variable, want := range map[string]string{
		"COOKIESESSION_KEYS=x": "", "COOKIESESSION_IDLE=x": "", "COOKIESESSION_SHOW=true": "",
		"COOKIE=x": "", "PORT=1": "", "COOKIESESSION=x": "",

		"COOKIESESSION_CHECK=true": "COOKIESESSION_CHECK",
		"COOKIESESSION_KEY=x":      "COOKIESESSION_KEY (KEYS?)",
		"COOKIESESSION_LOGLEVEL=x": "COOKIESESSION_LOGLEVEL (LOG_LEVEL?)",
		"COOKIESESSION_IDEL=":      "COOKIESESSION_IDEL (IDLE?)",
		"CookieSession_Log_Level=": "CookieSession_Log_Level (LOG_LEVEL?)",
		"COOKIESESSION_IDLY=x":     "COOKIESESSION_IDLY",

		"COOKIESESSION_SERVICE_HOST=10.0.0.1": "", "COOKIESESSION_SERVICE_PORT=80": "",
		"COOKIESESSION_SERVICE_PORT_WEB=80": "", "COOKIESESSION_PORT=tcp://10.0.0.1:80": "",
		"COOKIESESSION_PORT_80_TCP=tcp://10.0.0.1:80": "", "COOKIESESSION_PORT_80_TCP_ADDR=10": "",
		"COOKIESESSION_PORT_80_TCP_PROTO=tcp": "", "COOKIESESSION_PORT_80_TCP_PORT=80": "",
		"COOKIESESSION_ADMIN_SERVICE_HOST=10.0.0.1": "",

		"COOKIESESSION_PORT=8080": "COOKIESESSION_PORT",
	} {
		all := command.Unknown(fs, command.Environment([]string{variable}))
		got := strings.Replace(strings.Join(all, ", "), "did you mean COOKIESESSION_", "", 1)
		if got != want {
			t.Errorf("%s: got %q, want %q", variable, got, want)
		}
	}
}

func TestKeyring(t *testing.T) {
	file, env := ringFile(t, "# ours\n"+keyA+"\n"+keyB), environment{}
	if ring, err := command.Keyring("", env); ring != nil || err != nil {
		t.Errorf("got %v and %v, want no keys", ring, err)
	}
	fromFile, err := command.Keyring(file, env)
	env["COOKIESESSION_KEYS"] = keyA + " , " + strings.ToUpper(keyB)
	fromEnv, errEnv := command.Keyring("", env)
	want := fmt.Sprintf("keys [%s (signed: %s), %s (signed: %s)]",
		encryptedA, signedA, encryptedB, signedB)
	if fmt.Sprint(fromFile, err) != want+" <nil>" || fmt.Sprint(fromEnv, errEnv) != want+" <nil>" {
		t.Errorf("got %v and %v, %v and %v, want %s", fromFile, err, fromEnv, errEnv, want)
	}
	var usage command.UsageError
	if _, err := command.Keyring(file, env); !errors.As(err, &usage) {
		t.Errorf("two sources: got %v, want a usage error", err)
	}
	env["COOKIESESSION_KEYS"] = ","
	_, err = command.Keyring("", env)
	const none = "COOKIESESSION_KEYS: there is no key in it (make one with: cookiesession keys new)"
	if fmt.Sprint(err) != none {
		t.Errorf("no key: got %v, want %s", err, none)
	}
}

// An error of bad keys is one line that says where they are and what to do, and never
// quotes them, whoever reads them. A bad file stays as it is.
func TestBadKeys(t *testing.T) {
	weak := strings.Repeat("0123456789abcdef", 4)
	file := ringFile(t, "")
	tests := []struct{ content, says string }{
		{"", ": there is no key in it ("},
		{"# nothing\n\n", ": there is no key in it ("},
		{keyA + "\n\n#\n" + keyB[:63] + "\n", ":4: want a key of 64 hexadecimal digits, have 63 "},
		{keyA + "\n" + weak + "\n", ":2: this key is too regular"},
	}
	for _, tt := range tests {
		testkit.WriteFile(t, file, tt.content)
		check := func(name, place string, err error) {
			t.Helper()
			text := fmt.Sprint(err)
			if !strings.HasPrefix(text, place+tt.says) || strings.Contains(text, "\n") {
				t.Errorf("%s, %.20q: got %q, want %q", name, tt.content, text, tt.says)
			}
			for _, secret := range []string{keyA[:8], keyB[:8], weak[:8]} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: got a part of the file in %q", name, text)
				}
			}
		}
		_, err := command.Keyring(file, nil)
		check("file", file, err)
		if list := strings.ReplaceAll(tt.content, "\n", ","); list != "" {
			_, err = command.Keyring("", environment{"COOKIESESSION_KEYS": list})
			check("environment", "COOKIESESSION_KEYS", err)
			var usage command.UsageError
			if !errors.As(err, &usage) {
				t.Errorf("got %v, want a usage error", err)
			}
		}
		check("replace", file, command.Keys([]string{"replace", file}, io.Discard, io.Discard))
		if testkit.ReadFile(t, file) != tt.content {
			t.Error("got a bad file changed")
		}
	}
}

// A command says what to do where there is no key file, or something else.
func TestNoKeyFile(t *testing.T) {
	dir := t.TempDir()
	gone, hint := filepath.Join(dir, "ring"), "(put the last good file back, or make the first "+
		"one of a new site with: cookiesession keys add FILE)"
	for _, name := range []string{"list", "promote", "replace"} {
		err := command.Keys([]string{name, gone}, io.Discard, io.Discard)
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("got a file, or %v", err)
	}
	_, err := command.Keyring(gone, nil)
	if !strings.Contains(fmt.Sprint(err), hint) {
		t.Errorf("got %v", err)
	}
	_, err = command.Keyring(dir, nil)
	if !strings.Contains(fmt.Sprint(err), ": not a regular file") {
		t.Errorf("a folder: got %v", err)
	}
	large := ringFile(t, keyA)
	os.Truncate(large, 1<<20+1)
	_, err = command.Keyring(large, nil)
	if !strings.Contains(fmt.Sprint(err), ": more than") {
		t.Errorf("a large file: got %v", err)
	}
}
