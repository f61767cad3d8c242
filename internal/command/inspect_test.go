package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/command"
	"cookiesession/sessions"
)

// visitor is a session of the tests.
type visitor struct{ Name string }

// seal returns the value of Alice's cookie under a key.
func seal(t *testing.T, key string, o sessions.Options[visitor]) string {
	t.Helper()
	k, err := sessions.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := sessions.NewKeyring(k)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sessions.New(ring, o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Seal(visitor{Name: "Alice"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Value
}

// inspect runs the command with keyA and keyB, or without keys.
func inspect(withKeys bool, stdin string, args ...string) (stdout string, err error) {
	env := environment{}
	if withKeys {
		env["COOKIESESSION_KEYS"] = keyA + "," + keyB
	}
	var out bytes.Buffer
	in := strings.NewReader(stdin)
	err = command.Inspect(args, env, in, &out, sessions.Options[visitor]{})
	return out.String(), err
}

var (
	plain  = sessions.Options[visitor]{Insecure: true}
	signed = sessions.Options[visitor]{Insecure: true, SignOnly: true}
	https  = sessions.Options[visitor]{}
)

// A cookie is found in all that people have of one, under each of its names.
func TestInspectFinds(t *testing.T) {
	value, host := seal(t, keyA, plain), seal(t, keyB, https)
	jar := func(name, value string) string {
		return "#HttpOnly_localhost\tFALSE\t/\tTRUE\t1796615152\t" + name + "\t" + value + "\n"
	}
	below := seal(t, keyA, sessions.Options[visitor]{Path: "/shop"})
	shop := seal(t, keyA, sessions.Options[visitor]{Insecure: true, Name: "shop.x"})
	tests := []struct {
		stdin string
		says  string // in the error; "" for a valid one
		args  []string
	}{
		{stdin: value + "\n"},
		{stdin: `"` + value + `"`},
		{stdin: "session=" + value},
		{stdin: `Cookie: $Version="1"; session="` + value + `"; $Path="/"`},
		{stdin: "__Host-Http-session=" + host},
		{stdin: "__Http-session=" + below},
		{stdin: "Set-Cookie: session=" + value + "; Path=/; Max-Age=9; HttpOnly"},
		{stdin: "# Netscape\n\n" + jar("other", "x") + jar("__Host-Http-session", host)},
		{stdin: "curl -b 'session=" + value + "' http://localhost"},
		{stdin: "Cookie: mysession=x; session2=x; session=" + value},
		{stdin: "shop.x=" + shop, args: []string{"-cookie-name", "shop.x"}},
		{stdin: "__Host-Http-session=" + value, says: "not valid: tampered"}, // another's name
		{
			stdin: "Cookie: shopyx=" + value, args: []string{"-cookie-name", "shop.x"},
			says: "a cookie of another name: see -cookie-name)",
		},
		{stdin: `{"name": "__Host-Http-session", "value": "` + host + `"}`},
		{stdin: "session=" + value[:50] + "\n " + value[50:]},
		{stdin: "session=x; shop.x=" + value[:20] + "%2d%2D; session%3D" + value},
		{stdin: "session=" + value[:len(value)-2], says: "(characters missing: 2)"},
		{stdin: "session=hello there", says: "not valid: malformed"},
		{stdin: "Cookie: session=hello", says: "not valid: malformed"},
		// One that doesn't count doesn't hide the one that does from those after it.
		{stdin: "session=" + value + "; session=x; session=" + value[:len(value)-9] + "AAAAAAAAA"},
		{stdin: "the session: hello", says: "no session cookie on"},
		{stdin: "", says: "no session cookie on"},
	}
	for _, tt := range tests {
		out, err := inspect(true, tt.stdin, tt.args...)
		isFound := tt.says == "" && err == nil && strings.HasPrefix(out, "verdict       valid\n")
		isRefused := tt.says != "" && err != nil && strings.Contains(err.Error(), tt.says)
		if !isFound && !isRefused {
			t.Errorf("%.40q: got %q and %v, want %q", tt.stdin, out, err, tt.says)
		}
		if strings.Contains(out+fmt.Sprint(err), value[7:20]) {
			t.Errorf("%.40q: got a stretch of the cookie printed", tt.stdin)
		}
	}
}

// The verdict is told, with what is known, and with the data only on demand.
func TestInspectTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value := seal(t, keyA, signed)
		valid := fmt.Sprintf("verdict       valid\nsize          %d of 4096 bytes\n"+
			"key id        %s seals\nmode          signed\nbegan         2000-01-01T00:00:00Z\n"+
			"written       2000-01-01T00:00:00Z\nends, idle    2000-01-15T00:00:00Z\n"+
			"ends, latest  2000-03-31T00:00:00Z\n", len("session"+value), signedA)
		const data = "name          \"Alice\"\n"
		time.Sleep(2 * time.Hour)
		for _, tt := range []struct {
			stdin, args string
			want, says  string // in the end of the output, and in the error
		}{
			{value, "", valid, "<nil>"},
			{value, "-show", valid + data, "<nil>"},
			{value, "-idle 1h", "ends, latest  2000-03-31T00:00:00Z\n", "not valid: expired"},
			{value, "-lifetime 1h -show", data, "not valid: too old"},
			{value[:len(value)-9] + "AAAAAAAAA", "-show", signedA + " seals\n",
				"not valid: tampered (or a ticket"},
			{"session=aaaaaa" + value[6:], "-show", "aaaaaa\n", "not valid: unknown key"},
			{"hello", "-show", "size          12 of 4096 bytes\n", "not valid: malformed"},
		} {
			out, err := inspect(true, tt.stdin, strings.Fields(tt.args)...)
			if !strings.HasSuffix(out, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) ||
				err == nil && out != tt.want {
				t.Errorf("%.20q %q: got %q and %v, want %q and %q",
					tt.stdin, tt.args, out, err, tt.want, tt.says)
			}
		}
	})
}

// Of two good cookies the one that was written last counts, and it is told that there are
// two.
func TestInspectTwoGoodCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := seal(t, keyA, signed)
		time.Sleep(time.Hour)
		younger := seal(t, keyA, signed)
		for _, stdin := range []string{
			"session=" + old + "; session=" + younger + "\nSet-Cookie: session=" + old,
			old + "\n" + younger,
		} {
			out, err := inspect(true, stdin)
			if err != nil || !strings.Contains(out, "\ncookies       2 valid ones of this name") ||
				!strings.Contains(out, "\nwritten       2000-01-01T01:00:00Z\n") {
				t.Errorf("got %q and %v", out, err)
			}
		}
	})
}

// Without keys, nothing is verified, and that is said.
func TestInspectWithoutKeys(t *testing.T) {
	value := seal(t, keyA, signed)
	for _, tt := range []struct {
		stdin string
		args  []string
		shows bool
	}{
		{stdin: value},
		{stdin: "session=x; session=" + value, args: []string{"-show"}, shows: true},
	} {
		out, err := inspect(false, tt.stdin, tt.args...)
		if !strings.Contains(fmt.Sprint(err), "nothing of this is verified") ||
			!strings.Contains(out, "verdict       not verified") ||
			!strings.Contains(out, signedA) ||
			strings.Contains(out, "Alice") != tt.shows {
			t.Errorf("%.20q: got %q and %v", tt.stdin, out, err)
		}
	}
}

// The keys may come from a file, and what the site has decided is the default.
func TestInspectAsTheSite(t *testing.T) {
	o := sessions.Options[visitor]{
		Name: "shop", Bind: time.Hour,
		LimitsFor: func(*visitor) sessions.Limits {
			return sessions.Limits{Lifetime: time.Minute}
		},
	}
	file := ringFile(t, keyA)
	synctest.Test(t, func(t *testing.T) {
		stdin := "__Host-Http-shop=" + seal(t, keyA, o)
		for _, want := range []error{nil, errors.New("the cookie is not valid: too old")} {
			err := command.Inspect([]string{"-key-file", file}, nil,
				strings.NewReader(stdin), io.Discard, o)
			if fmt.Sprint(err) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", err, want)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// What a field's tag hides, its value, is hidden with -show as well, with a key or without.
func TestInspectHides(t *testing.T) {
	type account struct {
		Name  string
		Token string `cookiesession:"hidden"`
	}
	key, _ := sessions.ParseKey(keyA)
	ring, _ := sessions.NewKeyring(key)
	o := sessions.Options[account]{Insecure: true, SignOnly: true}
	m, err := sessions.New(ring, o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Seal(account{Name: "Alice", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range []string{keyA, ""} {
		var out bytes.Buffer
		env := environment{}
		if keys != "" {
			env["COOKIESESSION_KEYS"] = keys
		}
		command.Inspect([]string{"-show"}, env, strings.NewReader(c.Value), &out, o)
		const want = "\nname          \"Alice\"\ntoken         \"hidden, 7 bytes\"\n"
		if !strings.HasSuffix(out.String(), want) || strings.Contains(out.String(), "secret") {
			t.Errorf("got %s, want %s", &out, want)
		}
	}
}

// Whatever is on standard input, not more is read of it than a browser saves.
func TestInspectReadsALimitedInput(t *testing.T) {
	in := strings.NewReader(strings.Repeat(" ", 17<<20))
	err := command.Inspect(nil, nil, in, io.Discard, sessions.Options[visitor]{})
	if err == nil || !strings.Contains(err.Error(), "more than 16 MiB") || in.Len() < 1<<19 {
		t.Errorf("got %v, and %d bytes left", err, in.Len())
	}
}

func TestInspectUsage(t *testing.T) {
	for says, args := range map[string][]string{
		"-cookie-name must be letters": {"-cookie-name", "a(b"},
		"-idle must be between":        {"-idle", "1ms"},
		"-lifetime must be between":    {"-lifetime", "1ms"},
		`unexpected argument "a"`:      {"a"},
	} {
		_, err := inspect(true, "x=y", args...)
		var usage command.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", args, err, says)
		}
	}
}
