// Package command has what a program around sessions does besides serving: its flags from
// the environment, commands for keys, and one that tells what is known of a cookie.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
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

// ErrorLine returns what is said of an error that ends the program: one line, cut and without
// what looks like a key.
func ErrorLine(err error) string {
	var line strings.Builder // guarded before it is cut, or a part of a key could stay
	fmt.Fprint(Guard(&line), "cookiesession: ", strings.ReplaceAll(err.Error(), "\n", "; "))
	return fmt.Sprintf("%.900s", line.String())
}

// WantsJSON reports whether the log of the server is to be JSON, also where its flags
// can't be parsed. What the commands say is text.
func WantsJSON(args []string, env map[string]string) bool {
	if len(args) > 0 && (args[0] == "keys" || args[0] == "inspect") {
		return false
	}
	format := env[prefix+"LOG_FORMAT"]
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if name == "-log-format" || name == "--log-format" {
			format = value
		}
	}
	return format == "json"
}

// Version returns the program's version, commit and Go version, as go build has
// noted them.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "cookiesession, without build information"
	}
	commit := "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return fmt.Sprintf("cookiesession %s, commit %s, %s", info.Main.Version, commit, info.GoVersion)
}

// Parse reads the flags of fs from args and, those that are not given, from the
// environment: -some-flag from COOKIESESSION_SOME_FLAG, but for -check and -version.
// Nothing may be empty, since it is more likely a mistake than a wish, and only files may
// have a name like a key; so all flags need values that say what they are. With -h it
// prints the usage, and what the flags do, to stdout and returns flag.ErrHelp. Other errors
// are UsageErrors.
func Parse(fs *flag.FlagSet, args []string, env map[string]string, stdout io.Writer,
	usage string) error {
	usage += "\n\nEach setting -some-flag can also be given as COOKIESESSION_SOME_FLAG. " +
		"Without -key-file, the keys come from " + keysVariable + ".\n"
	if err := parseArgs(fs, args, stdout, usage); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q: see %s -h", fs.Arg(0), fs.Name())
		return UsageError{Err: err}
	}
	var problems []string
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) {
		given[f.Name] = true
		if strings.TrimSpace(f.Value.String()) == "" {
			wrong("-%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	variables := map[string]*flag.Flag{keysVariable: nil}
	fs.VisitAll(func(f *flag.Flag) {
		if !given[f.Name] && !isRequest(f) {
			variables[variable(f)] = f
		}
	})
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		value, ok := env[name]
		if f := variables[name]; ok && strings.TrimSpace(value) == "" {
			wrong("%s is empty: give it a value, or unset it", name)
		} else if ok && f != nil {
			if err := fs.Set(f.Name, value); err != nil {
				kind, _ := flag.UnquoteUsage(f) // none for true or false
				wrong("invalid value %q of %s: %s", value, name, wants(err, kind == ""))
			}
		}
	}
	fs.VisitAll(func(f *flag.Flag) {
		kind, _ := flag.UnquoteUsage(f)
		if kind != "file" && keyLike.MatchString(f.Value.String()) {
			wrong("-%s looks like a key, which has no place there", f.Name)
		}
	})
	if problems != nil {
		return UsageError{Err: errors.New(strings.Join(problems, "; "))}
	}
	return nil
}

// prefix is what the names of the variables begin with.
const prefix = "COOKIESESSION_"

// variable returns the name of the variable for a flag.
func variable(f *flag.Flag) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
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
		text := wants(err, strings.HasPrefix(err.Error(), "invalid boolean "))
		return UsageError{Err: fmt.Errorf("%s: see %s -h", text, fs.Name())}
	}
	return nil
}

// wants returns what package flag says of a value, with what it leaves out: what it wants.
func wants(err error, isBool bool) string {
	text, ok := strings.CutSuffix(err.Error(), "parse error")
	switch {
	case ok && isBool:
		text += "want true or false"
	case ok:
		text += "want hours, minutes or seconds, such as 336h for 14 days"
	}
	return text
}

// isRequest reports whether a flag asks for something other than to serve. As a variable, it
// would keep the site from starting wherever it was left.
func isRequest(f *flag.Flag) bool { return f.Name == "check" || f.Name == "version" }

const keysVariable = prefix + "KEYS"

// HasKeys reports whether keys are given, in a file or in the environment.
func HasKeys(file string, env map[string]string) bool {
	return file != "" || env[keysVariable] != ""
}

// Keyring returns the keys of a file or, if that is empty, of the environment, or nil if
// there are none. What is wrong with those of the environment is a UsageError.
func Keyring(file string, env map[string]string) (*sessions.Keyring, error) {
	text := strings.ReplaceAll(env[keysVariable], ",", "\n")
	var lines []sessions.KeyLine
	var err error
	switch {
	case file != "" && text != "":
		err = fmt.Errorf("-key-file and %s are both given: keys come from one place", keysVariable)
		return nil, UsageError{Err: err}
	case file != "":
		_, lines, err = readKeyFile(file)
	case text != "":
		if lines, err = parseKeys(keysVariable, text); err != nil {
			err = UsageError{Err: err}
		}
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
