// Package command has what a program around sessions does besides serving: its flags from
// the environment, commands for keys, and one that tells what is known of a cookie.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"cookiesession/sessions"
)

// UsageError is a wrong use of the command line or of the environment.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// optionFlags are the flags of those of sessions.Options that are flags as well.
var optionFlags = map[string]string{
	"Name": "-cookie-name", "Idle": "-idle", "Lifetime": "-lifetime", "Bind": "-bind",
}

// OptionsError returns an error of sessions.New in terms of the flags: it begins with the
// name of the option that is wrong.
func OptionsError(err error) error {
	text := strings.TrimPrefix(err.Error(), "sessions: ")
	option, reason, _ := strings.Cut(text, " ")
	if flag := optionFlags[option]; flag != "" {
		text = flag + " " + reason
	}
	return UsageError{Err: errors.New(text)}
}

// Parse reads the flags of fs from args and, those that are not given, from the
// environment: -some-flag from COOKIESESSION_SOME_FLAG. With -h it prints the usage, and
// what the flags do, to stdout and returns flag.ErrHelp. Other errors are UsageErrors.
func Parse(fs *flag.FlagSet, args []string, getenv func(string) string, stdout io.Writer,
	usage string) error {
	usage += "\n\nEach flag -some-flag can also be given as COOKIESESSION_SOME_FLAG. " +
		"Without -key-file, the keys come from " + keysVariable + ".\n"
	if err := parseArgs(fs, args, stdout, usage); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q: see %s -h", fs.Arg(0), fs.Name())
		return UsageError{Err: err}
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	fs.VisitAll(func(f *flag.Flag) {
		name := "COOKIESESSION_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := getenv(name); value != "" && !given[f.Name] {
			if bad := fs.Set(f.Name, value); bad != nil {
				bad = fmt.Errorf("invalid value %q of %s: %v", value, name, bad)
				err = errors.Join(err, bad)
			}
		}
	})
	if err != nil {
		return UsageError{Err: err}
	}
	return nil
}

// parseArgs reads the flags in args.
func parseArgs(fs *flag.FlagSet, args []string, stdout io.Writer, usage string) error {
	fs.SetOutput(io.Discard) // an error is said once and in one line, by main
	err := fs.Parse(args)
	switch {
	case err == flag.ErrHelp:
		fs.SetOutput(stdout)
		fmt.Fprintln(stdout, "Usage:", usage)
		fs.PrintDefaults()
		return err
	case err != nil:
		return UsageError{Err: fmt.Errorf("%w: see %s -h", err, fs.Name())}
	}
	return nil
}

const keysVariable = "COOKIESESSION_KEYS"

// Keyring returns the keys of a file or, if that is empty, of the environment, or nil if
// there are none.
func Keyring(file string, getenv func(string) string) (*sessions.Keyring, error) {
	name, text := keysVariable, strings.ReplaceAll(getenv(keysVariable), ",", "\n")
	var lines []sessions.KeyLine
	var err error
	switch {
	case file != "" && text != "":
		err = fmt.Errorf("-key-file and %s are both given: keys come from one place", name)
		return nil, UsageError{Err: err}
	case file != "":
		_, lines, err = readKeyFile(file)
	case text != "":
		lines, err = parseKeys(name, text)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []sessions.Key
	for _, l := range lines {
		keys = append(keys, l.Key)
	}
	return sessions.NewKeyring(keys[0], keys[1:]...)
}
