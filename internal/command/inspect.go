package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// Inspect tells what is known of the cookie on stdin, which is a session as o has it, but
// for what its flags say: it is an error unless the cookie is valid. Of o it takes the
// defaults of the flags and LimitsFor.
func Inspect[T any](args []string, getenv func(string) string, stdin io.Reader,
	stdout io.Writer, o sessions.Options[T]) error {
	o = sessions.Options[T]{Name: o.Name, Limits: o.Limits, LimitsFor: o.LimitsFor}
	fs := flag.NewFlagSet("cookiesession inspect", flag.ContinueOnError)
	show := fs.Bool("show", false, "print what the session carries, too")
	keyFile := fs.String("key-file", "", "take the keys from this `file`")
	fs.StringVar(&o.Name, "cookie-name", cmp.Or(o.Name, "session"),
		"the server's -cookie-name, a `name`")
	fs.DurationVar(&o.Idle, "idle", cmp.Or(o.Idle, 14*24*time.Hour), "the server's -idle")
	fs.DurationVar(&o.Lifetime, "lifetime", cmp.Or(o.Lifetime, 90*24*time.Hour),
		"the server's -lifetime")
	err := Parse(fs, args, getenv, stdout, fs.Name()+" [flags] <cookie\n\n"+
		"The cookie is a bare value, name=value, a Cookie or Set-Cookie line, or a jar of curl's.")
	if err != nil {
		return err
	}
	keys, err := Keyring(*keyFile, getenv)
	if err != nil {
		return err
	}
	managers, err := managersFor(o, keys)
	if err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return err
	}
	rep, problem := inspect(findCookies(string(input), managers), string(input), keys)
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
		if keys, err = sessions.NewKeyring(sessions.NewKey()); err != nil {
			return nil, err
		}
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

// found is a value and the manager of its name.
type found[T any] struct {
	m     *sessions.Manager[T]
	value string
}

// inspect reports on the best of several cookies, and returns an error unless it is
// valid. Without keys, nothing is verified.
func inspect[T any](cookies []found[T], input string, keys *sessions.Keyring) (
	report.Report, error) {
	if len(cookies) == 0 {
		if ofBinding.MatchString(input) {
			return report.Report{}, errors.New("there is no session in this: " +
				"it is a ticket, an identifier or a challenge of device binding")
		}
		return report.Report{}, errors.New("there is no session cookie on standard input")
	}
	var best *sessions.Session[T]
	var of found[T]
	good := 0
	for _, c := range cookies {
		s := c.m.Open(&http.Cookie{Name: c.m.CookieName(), Value: c.value})
		good += s.Cookie().Good
		if best == nil || counts(s.Cookie(), best.Cookie()) {
			best, of = s, c
		}
	}
	if keys == nil {
		return report.Peek(of.m.CookieName(), of.value),
			errors.New("nothing of this is verified: give the keys with -key-file")
	}
	rep := report.Of(report.Site{Cookie: of.m.CookieName(), Keys: keys}, best)
	rep.Good, rep.Fields = good, report.Fields(best.Cookie().Payload())
	switch rep.Verdict {
	case sessions.Valid:
		return rep, nil
	case sessions.Tampered:
		return rep, errors.New("the cookie is not valid: tampered " +
			"(or a ticket, an identifier or a challenge of device binding, which is no session)")
	}
	return rep, fmt.Errorf("the cookie is not valid: %v", rep.Verdict)
}

// counts reports whether a cookie counts rather than another that came before it: it has
// passed more checks or, if both are valid, was written later.
func counts(c, other sessions.Cookie) bool {
	if c.Passed != other.Passed {
		return c.Passed > other.Passed
	}
	return c.Verdict == sessions.Valid && c.Written.After(other.Written)
}

// ofBinding matches what surrounds the tokens of device binding.
var ofBinding = regexp.MustCompile(`(?i)-ticket[=\t]|secure-session-|session_identifier`)

// findCookies returns the session cookies in text, in a header or a jar, under any of the
// managers' names. A bare value could be that of each name.
func findCookies[T any](text string, managers []*sessions.Manager[T]) (cookies []found[T]) {
	for _, m := range managers {
		named := regexp.MustCompile(`(?m)(?:^|[\s;:,'"])` + regexp.QuoteMeta(m.CookieName()) +
			`[=\t]"?([^\s;,'"]*)`)
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			cookies = append(cookies, found[T]{m: m, value: match[1]})
		}
	}
	if words := strings.Fields(text); len(cookies) == 0 && len(words) == 1 &&
		!ofBinding.MatchString(text) {
		for _, m := range managers {
			cookies = append(cookies, found[T]{m: m, value: strings.Trim(words[0], `'"`)})
		}
	}
	return cookies
}
