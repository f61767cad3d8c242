package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// keyCommands are the subcommands of keys, in the order of a rotation.
var keyCommands = []struct {
	name, args, help string
	run              func(stdout io.Writer, args []string) error
}{
	{"new", "", "Prints a new key and nothing else.", func(stdout io.Writer, _ []string) error {
		_, err := fmt.Fprintln(stdout, newSecret())
		return err
	}},
	{"list", "FILE", "Prints the ids of each key, for signed and for encrypted cookies, and its role, never the key.", listKeys},
	{"add", "FILE", "Appends a new key that only verifies. Makes the file, with a key that seals, if there is none.", addKey},
	{"promote", "FILE", "Makes the last key the first one, which seals.", promoteKey},
	{"drop", "FILE ID", "Removes the key with this id, of either mode, unless it seals.", dropKey},
}

// runKeys runs one of the keyCommands.
func runKeys(args []string, stdout io.Writer) error {
	var names []string
	for _, c := range keyCommands {
		names = append(names, c.name)
		if len(args) == 0 || args[0] != c.name {
			continue
		}
		fs := flag.NewFlagSet("cookiesession keys "+c.name, flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		err := fs.Parse(args[1:])
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(stdout, "Usage: %s\n\n%s\n", strings.TrimSpace(fs.Name()+" "+c.args), c.help)
		}
		if err == nil && fs.NArg() != len(strings.Fields(c.args)) {
			err = fmt.Errorf("usage: %s", strings.TrimSpace(fs.Name()+" "+c.args))
		}
		if err != nil {
			return usageError{err}
		}
		return c.run(stdout, fs.Args())
	}
	usage := "cookiesession keys " + strings.Join(names, "|") + " [FILE] [ID]"
	if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		fmt.Fprintln(stdout, "Usage:", usage)
		return nil
	}
	return usageError{fmt.Errorf("usage: %s", usage)}
}

func listKeys(stdout io.Writer, args []string) error {
	keys, err := keysFromFile(args[0])
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POSITION\tROLE\tENCRYPTED\tSIGNED")
	r := newRing(keys, true)
	for i, k := range keys {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", i+1, r.role(k.signed.id), k.encrypted.id, k.signed.id)
	}
	return w.Flush()
}

func addKey(stdout io.Writer, args []string) error {
	secret := newSecret()
	k, err := parseKey(secret)
	if err != nil {
		return err
	}
	role := "it only verifies: promote it when every copy has it"
	err = editKeyFile(args[0], func(lines []string, at []int, _ []key) ([]string, error) {
		if len(at) == 0 {
			role = "it seals"
		}
		return append(lines, secret), nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "added %s, %s\n", k, role)
	return err
}

func promoteKey(stdout io.Writer, args []string) error {
	var promoted key
	err := editKeyFile(args[0], func(lines []string, at []int, keys []key) ([]string, error) {
		if len(at) < 2 {
			return nil, fmt.Errorf("%s: there is no second key to promote (add one with: cookiesession keys add FILE)", args[0])
		}
		promoted = keys[len(keys)-1]
		last := at[len(at)-1]
		line := lines[last]
		return slices.Insert(slices.Delete(lines, last, last+1), at[0], line), nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "promoted %s, it seals\n", promoted)
	return err
}

func dropKey(stdout io.Writer, args []string) error {
	var dropped key
	err := editKeyFile(args[0], func(lines []string, at []int, keys []key) ([]string, error) {
		i := slices.IndexFunc(keys, func(k key) bool { return k.has(args[1]) })
		switch {
		case i < 0:
			return nil, fmt.Errorf("%s: there is no key with this id (see: cookiesession keys list FILE)", args[0])
		case len(keys) == 1:
			return nil, fmt.Errorf("%s: this is the only key (add another with: cookiesession keys add FILE)", args[0])
		case i == 0:
			return nil, fmt.Errorf("%s: this key seals (promote another with: cookiesession keys promote FILE)", args[0])
		}
		dropped = keys[i]
		return slices.Delete(lines, at[i], at[i]+1), nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "dropped %s\n", dropped)
	return err
}

// String returns the ids, which is all of a key that may be shown.
func (k key) String() string { return k.encrypted.id + " (signed: " + k.signed.id + ")" }

// editKeyFile replaces the lines of the key file called name by those that edit
// makes of them. It gets where in the lines the keys are, and the keys. Another command that edits a file of
// the same folder waits meanwhile. The file must be good before and after, or
// not be there at all.
func editKeyFile(name string, edit func(lines []string, at []int, keys []key) ([]string, error)) error {
	// A symbolic link stays one: what it points to is replaced.
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	unlock, err := lockFolder(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer unlock()
	var lines []string
	var at []int
	var keys []key
	content, err := readKeyFile(name)
	switch {
	case err == nil:
		if keys, err = parseKeyFile(name, content); err != nil {
			return err
		}
		lines = strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	for i, line := range lines {
		if keyText(line) != "" {
			at = append(at, i)
		}
	}
	lines, err = edit(lines, at, keys)
	if err != nil {
		return err
	}
	return replaceFile(name, []byte(strings.Join(lines, "\n")+"\n"))
}

// replaceFile gives the file called name new content, its mode and owner kept,
// so that whoever reads it, or finds it after a crash, sees the old content or the new one.
func replaceFile(name string, content []byte) (err error) {
	// Always the same name, so that one that a crash has left is not there for ever.
	// It is nobody else's: the folder is locked.
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
		}
	}()
	_, err = f.Write(content)
	if info, e := os.Stat(name); e == nil {
		err = errors.Join(err, copyOwner(f, info), f.Chmod(info.Mode().Perm()))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(temporary, name); err != nil {
		return err
	}
	if folder, e := os.Open(filepath.Dir(name)); e == nil {
		folder.Sync() // not every system can, and the file is in place
		folder.Close()
	}
	return nil
}

// runInspect tells what is known of the cookie on stdin.
func runInspect(args []string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	cfg := new(config)
	fs := flag.NewFlagSet("cookiesession inspect", flag.ContinueOnError)
	show := fs.Bool("show", false, "print what the session carries, too")
	fs.StringVar(&cfg.keyFile, "key-file", "", "take the keys from this `file`")
	fs.DurationVar(&cfg.idle, "idle", defaultIdle, "the server's -idle")
	fs.DurationVar(&cfg.lifetime, "lifetime", defaultLifetime, "the server's -lifetime")
	_, err := parse(fs, args, getenv, stdout, "[flags] <cookie\n\nThe cookie is a bare value, name=value, a Cookie or Set-Cookie line, or a line of curl's cookie jar.")
	if err != nil {
		return usageError{err}
	}
	keys, err := inspectKeys(cfg, getenv)
	if err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return err
	}
	cookies := findCookies(string(input))
	if len(cookies) == 0 {
		return errors.New("there is no session cookie on standard input")
	}
	if keys == nil {
		fmt.Fprint(stdout, peek(cookies[0], *show))
		return errors.New("nothing of this is verified: give the keys with -key-file or COOKIESESSION_KEYS")
	}
	var best visit
	var m *manager
	for _, c := range cookies {
		mc := newManager(c.Name == secureName, true, cfg.idle, cfg.lifetime)
		mc.ring.Store(newRing(keys, true))
		v := visit{now: time.Now().Unix()}
		if mc.open(&v, c); v.verdict > best.verdict {
			best, m = v, mc
		}
	}
	rep := m.report(&best)
	rep.Role = m.ring.Load().role(best.keyID)
	fmt.Fprint(stdout, rep)
	if *show && best.verdict.verified() {
		fmt.Fprint(stdout, fact("name", strconv.Quote(best.sealed.Name)))
	}
	if best.verdict != valid {
		return fmt.Errorf("the cookie is not valid: %v", best.verdict)
	}
	return nil
}

// inspectKeys returns the configured keys, or nil when there are none.
func inspectKeys(cfg *config, getenv func(string) string) ([]key, error) {
	list := getenv("COOKIESESSION_KEYS")
	switch {
	case cfg.keyFile != "" && list != "":
		return nil, usageError{errBothKeys}
	case cfg.keyFile != "":
		return keysFromFile(cfg.keyFile)
	case list != "":
		return parseKeyList(list)
	}
	return nil, nil
}

// findCookies returns the session cookies in text, whichever way they are
// written. A bare value could be that of either name.
func findCookies(text string) []*http.Cookie {
	var cookies []*http.Cookie
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		header, rest, _ := strings.Cut(line, ":")
		jar := strings.Split(line, "\t") // host, subdomains, path, secure, expiry, name, value
		bare := false
		switch {
		case strings.EqualFold(header, "Cookie"):
			line = rest
		case strings.EqualFold(header, "Set-Cookie"):
			line, _, _ = strings.Cut(rest, ";")
		case len(jar) == 7:
			line = jar[5] + "=" + jar[6]
		case line == "" || line[0] == '#':
			continue
		default:
			bare = true
		}
		for part := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if name == plainName || name == secureName {
				cookies = append(cookies, &http.Cookie{Name: name, Value: value})
				bare = false
			}
		}
		if bare && !strings.ContainsAny(line, " \t") {
			cookies = append(cookies, &http.Cookie{Name: plainName, Value: line}, &http.Cookie{Name: secureName, Value: line})
		}
	}
	return cookies
}
