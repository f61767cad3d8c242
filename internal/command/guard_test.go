package command_test

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/command"
)

// What looks like a key is not written, wherever it stands. All else is.
func TestGuard(t *testing.T) {
	colons := regexp.MustCompile("..").ReplaceAllString(keyA, "$0:")[:95]
	for text, want := range map[string]string{
		"open " + keyA + ": no\n":                "open (a key): no\n",
		strings.ToUpper(keyA) + "," + keyB:       "(a key),(a key)",
		keyA[:32] + ":" + keyA[32:] + ": no":     "(a key): no",
		colons + "\n":                            "(a key)\n",
		"[2001:db8::1]:8080 " + keyA[:32] + ":1": "[2001:db8::1]:8080 " + keyA[:32] + ":1",
		keyA[:48] + " " + keyB[:47]:              "(a key) " + keyB[:47],
		"x" + keyA + keyA + "y":                  "x(a key)y",
		"commit " + keyA[:40] + ", a b\n":        "commit " + keyA[:40] + ", a b\n",
		"eyj7fr." + strings.Repeat("A1Z", 30):    "eyj7fr." + strings.Repeat("A1Z", 30),
		"-" + keyA[:20] + strings.ToUpper(keyA):  "-(a key)", "": "",
	} {
		var out bytes.Buffer
		n, err := io.WriteString(command.Guard(&out), text)
		if out.String() != want || n != len(text) || err != nil {
			t.Errorf("%q: got %q, %d and %v, want %q", text, &out, n, err, want)
		}
	}
	reader, writer := io.Pipe()
	reader.CloseWithError(errors.New("gone"))
	if n, err := io.WriteString(command.Guard(writer), "x"); n != 0 || err == nil {
		t.Errorf("got %d and %v", n, err)
	}
}

// What ends the program is said in one line that is not too long. Where it is cut, no part of
// a key is left.
func TestErrorLine(t *testing.T) {
	x := strings.Repeat("x", 870)
	for text, want := range map[string]string{
		"one\ntwo " + keyA: "cookiesession: one; two (a key)",
		x + keyA + "y":     "cookiesession: " + x + "(a key)y",
		x + x:              "cookiesession: " + x + x[:15],
	} {
		if got := command.ErrorLine(errors.New(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
