package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// maxInput is how many bytes of standard input are looked at. What a browser's tools save of
// a page's requests has some megabytes.
const maxInput = 16 << 20

// Inspect tells what is known of the cookie on stdin, which is a session as o has it, but
// for what its flags say: it is an error unless the cookie is valid. Of o it takes the
// defaults of the flags and LimitsFor.
func Inspect[T any](args []string, env map[string]string, stdin io.Reader,
	stdout io.Writer, o sessions.Options[T]) error {
	o = sessions.Options[T]{Name: o.Name, Limits: o.Limits, LimitsFor: o.LimitsFor}
	fs := flag.NewFlagSet("cookiesession inspect", flag.ContinueOnError)
	show := fs.Bool("show", false, "print what the session carries, too")
	keyFile := fs.String("key-file", "", "take the keys from this `file`")
	fs.StringVar(&o.Name, "cookie-name", o.Name, "the server's -cookie-name, a `name`")
	fs.DurationVar(&o.Idle, "idle", o.Idle, "the server's -idle")
	fs.DurationVar(&o.Lifetime, "lifetime", o.Lifetime, "the server's -lifetime")
	err := Parse(fs, args, env, stdout, fs.Name()+" [flags] <cookie\n\n"+
		"The cookie may be in any text: a bare value, a header, a command, a jar, what a\n"+
		"browser's tools have copied or saved. Of several, the one that counts is told.")
	if err != nil {
		return err
	}
	keys, err := Keyring(*keyFile, env)
	if err != nil {
		return err
	}
	managers, err := managersFor(o, keys)
	if err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(stdin, maxInput+1))
	if err != nil {
		return err
	}
	if len(input) > maxInput {
		return errors.New("there are more than 16 MiB on standard input: give less of it")
	}
	rep, problem := inspect(managers, string(input), keys)
	if rep.Size == 0 {
		return problem
	}
	if !*show {
		rep.Fields = nil
	}
	if _, err := fmt.Fprintln(stdout, rep.Text("inspect")); err != nil {
		return err
	}
	return problem
}

// managersFor returns a manager for each name that the cookie may have, which its MAC
// covers: over plain http, over HTTPS, and there with a Domain or a Path.
func managersFor[T any](o sessions.Options[T], keys *sessions.Keyring) (
	managers []*sessions.Manager[T], err error) {
	if keys == nil { // what is sealed under other keys is as good as not verified
		keys, _ = sessions.NewKeyring(sessions.NewKey()) // a new key is a good one
	}
	plain, part := o, o
	plain.Insecure, part.Path = true, "/part"
	for _, options := range []sessions.Options[T]{plain, o, part} {
		m, err := sessions.New(keys, options)
		if err != nil {
			return nil, OptionsError(err)
		}
		managers = append(managers, m)
	}
	return managers, nil
}

// inspect reports on the best of the cookies in text, and returns an error unless it is
// valid. Without keys, nothing is verified.
func inspect[T any](managers []*sessions.Manager[T], text string, keys *sessions.Keyring) (
	report.Report, error) {
	var best sessions.Cookie
	var rep report.Report
	good, behind, named := 0, make(map[string][]string), make(map[string]bool)
	for _, m := range managers {
		values := valuesBehind(m.CookieName(), text)
		behind[m.CookieName()] = values
		for _, value := range values {
			named[value] = true
		}
	}
	loose := slices.DeleteFunc(report.Find(text), func(v string) bool { return named[v] })
	for _, m := range managers {
		site := report.Site{Cookie: m.CookieName(), Keys: keys}
		for _, value := range slices.Concat(behind[site.Cookie], loose) {
			s := m.Open(&http.Cookie{Value: value})
			c := s.Cookie()
			good += c.Good
			switch {
			case rep.Size > 0 && !counts(c, best):
				continue
			case keys == nil:
				rep = report.Peek[T](site.Cookie, value)
			default:
				rep = report.Of(site, s)
				rep.Fields = report.Fields[T](c.Payload())
			}
			best = c
		}
	}
	rep.Good = good
	_, sealed, _ := strings.Cut(best.Value(), ".")
	missing := report.Missing(sealed)
	switch {
	case rep.Size == 0:
		return rep, errors.New("there is no session cookie on standard input (a ticket, an " +
			"identifier or a challenge of device binding is none)")
	case keys == nil:
		return rep, errors.New("nothing of this is verified: give the keys with -key-file")
	case rep.Verdict != sessions.Valid && missing != "":
		return rep, fmt.Errorf("the cookie is not valid: %v (%s)", rep.Verdict, missing)
	case rep.Verdict == sessions.Tampered:
		return rep, errors.New("the cookie is not valid: tampered (or a ticket, an identifier " +
			"or a challenge of device binding, which is no session, or a cookie of another name: " +
			"see -cookie-name)")
	case rep.Verdict != sessions.Valid:
		return rep, fmt.Errorf("the cookie is not valid: %v", rep.Verdict)
	}
	return rep, nil
}

// counts reports whether a cookie counts rather than another that came before it: it has
// passed more checks or, if both are valid, was written later.
func counts(c, other sessions.Cookie) bool {
	if c.Passed != other.Passed {
		return c.Passed > other.Passed
	}
	return c.Verdict == sessions.Valid && c.Written.After(other.Written)
}

// valuesBehind returns the values in text that stand behind the name of a cookie, whatever
// they look like, each once. A bare word could be that of any name.
func valuesBehind(name, text string) (values []string) {
	bare := strings.Trim(strings.TrimSpace(text), `'"`)
	if bare != "" && !strings.ContainsAny(bare, "= \t\n") {
		text = name + "=" + bare
	}
	seen := make(map[string]bool)
	named := regexp.MustCompile(regexp.QuoteMeta(name) + `[=\t]"?([^\s;,'"]*)`)
	for _, at := range named.FindAllStringSubmatchIndex(text, -1) {
		value := text[at[2]:at[3]]
		isWhole := at[0] == 0 || strings.ContainsRune(" \t\r\n;:,'\"", rune(text[at[0]-1]))
		if isWhole && !seen[value] {
			seen[value] = true
			values = append(values, value)
		}
	}
	return values
}
