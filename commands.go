package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// keyCommand is a subcommand of keys.
type keyCommand struct {
	name, args, help string
	run              func(args []string, stderr io.Writer) (said string, err error)
}

// keyCommands are all of them, in the order of a rotation.
var keyCommands = []keyCommand{
	{
		name: "new", help: "Prints a new key and nothing else.",
		run: func([]string, io.Writer) (string, error) { return newSecret(), nil },
	},
	{
		name: "list", args: "FILE", run: listKeys,
		help: "Prints each key's role, ids and age, never the key.",
	},
	{
		name: "add", args: "FILE", run: addKey,
		help: "Adds a key that only verifies; makes the file with one that seals.",
	},
	{
		name: "promote", args: "FILE", run: promoteKey,
		help: "Makes the last key the first, which seals; its comments too.",
	},
	{
		name: "drop", args: "FILE ID", run: dropKey,
		help: "Removes a key that doesn't seal, and its comments.",
	},
	{
		name: "replace", args: "FILE", run: replaceKeys,
		help: "Replaces all keys by a new one: logs everybody out.",
	},
}

// runKeys runs one of the keyCommands.
func runKeys(args []string, stdout, stderr io.Writer) error {
	const usage = "cookiesession keys new|list|add|promote|drop|replace [FILE] [ID]"
	fs := flag.NewFlagSet("cookiesession keys", flag.ContinueOnError)
	help := "\n"
	for _, c := range keyCommands {
		if len(args) > 0 && args[0] == c.name {
			return c.runWith(fs, args[1:], stdout, stderr)
		}
		help += fmt.Sprintf("\n%-7s  %s", c.name, c.help)
	}
	if err := parseArgs(fs, args, stdout, usage+help); err != nil {
		return usageError{err}
	}
	return usageError{errors.New("usage: " + usage)}
}

// runWith runs a subcommand with the arguments behind its name.
func (c keyCommand) runWith(fs *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	usage := strings.TrimSpace("cookiesession keys " + c.name + " " + c.args)
	if err := parseArgs(fs, args, stdout, usage+"\n\n"+c.help); err != nil {
		return usageError{err}
	}
	if fs.NArg() != len(strings.Fields(c.args)) {
		return usageError{errors.New("usage: " + usage)}
	}
	said, err := c.run(fs.Args(), stderr)
	if err == nil {
		_, err = fmt.Fprintln(stdout, said)
	}
	return err
}

// newKeyLine returns the line of a key file for a key that is added today.
func newKeyLine(secret string) string {
	return secret + addedOn + time.Now().UTC().Format(time.DateOnly) + "\n"
}

const addedOn = " # added "

func listKeys(args []string, _ io.Writer) (string, error) {
	content, err := readKeyFile(args[0])
	if err != nil {
		return "", err
	}
	keys, err := parseKeys(args[0], content)
	if err != nil {
		return "", err
	}
	const row = "%-8v  %-8s  %-9s  %-6s  %s"
	said := fmt.Sprintf(row, "POSITION", "ROLE", "ENCRYPTED", "SIGNED", "AGE")
	role, lines := "seals", strings.Split(content, "\n")
	for i, k := range keys {
		age := keyAge(lines[k.line-1])
		said += fmt.Sprintf("\n"+row, i+1, role, k.encrypted.id, k.signed.id, age)
		role = "verifies"
	}
	return said, nil
}

// keyAge returns how many days ago the key on a line was added, if the line says so.
func keyAge(line string) string {
	_, date, _ := strings.Cut(line, addedOn)
	added, err := time.Parse(time.DateOnly, date[:min(len(date), len(time.DateOnly))])
	if err != nil {
		return "unknown"
	}
	days := max(0, int(time.Since(added).Hours()/24))
	if days == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", days)
}

func addKey(args []string, stderr io.Writer) (string, error) {
	secret := newSecret()
	edit := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		role, end := "it seals", 0
		if n := len(blocks); n > 0 {
			role, end = "it only verifies: promote it when every copy has it", blocks[n-1].end
		}
		if strings.TrimSpace(strings.Join(lines[end:], "")) != "" {
			lines = append(lines, "\n") // or the comment at the end would become the new key's
		}
		said = fmt.Sprintf("added %s, %s", must(parseKey(secret)), role)
		return append(lines, newKeyLine(secret)), said, nil
	}
	return editKeyFile(args[0], stderr, edit)
}

func promoteKey(args []string, stderr io.Writer) (string, error) {
	edit := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		if len(blocks) < 2 {
			return nil, "", errors.New("there is no second key (see: cookiesession keys add)")
		}
		last := blocks[len(blocks)-1]
		moved := slices.Clone(lines[last.start:last.end])
		lines = slices.Delete(lines, last.start, last.end)
		lines = slices.Insert(lines, blocks[0].start, moved...)
		return lines, fmt.Sprintf("promoted %s, it seals", last), nil
	}
	return editKeyFile(args[0], stderr, edit)
}

func dropKey(args []string, stderr io.Writer) (string, error) {
	id := args[1]
	if !isKeyID(id) { // it might be a key, which must not be printed
		return "", errors.New("this is not a key id (see: cookiesession keys list FILE)")
	}
	edit := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		i := slices.IndexFunc(blocks, func(b keyBlock) bool { return b.has(id) })
		switch {
		case i < 0:
			return nil, "", fmt.Errorf("there is no key with the id %s (see: keys list FILE)", id)
		case len(blocks) == 1:
			return nil, "", fmt.Errorf("%s is the only key (add another with: keys add FILE)", id)
		case i == 0:
			return nil, "", fmt.Errorf("%s seals (promote another with: keys promote FILE)", id)
		}
		lines = slices.Delete(lines, blocks[i].start, blocks[i].end)
		return lines, fmt.Sprintf("dropped %s", blocks[i]), nil
	}
	return editKeyFile(args[0], stderr, edit)
}

func replaceKeys(args []string, stderr io.Writer) (string, error) {
	secret := newSecret()
	edit := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		if len(blocks) == 0 {
			return nil, "", errNoKey
		}
		for _, b := range slices.Backward(blocks) {
			lines = slices.Delete(lines, b.start, b.end)
		}
		lines = slices.Insert(lines, blocks[0].start, newKeyLine(secret))
		return lines, fmt.Sprintf("added %s, it seals, and removed all other keys (%d): every "+
			"session ends at each copy as soon as it has this file",
			must(parseKey(secret)), len(blocks)), nil
	}
	return editKeyFile(args[0], stderr, edit)
}

// String returns the ids, which is all of a key that may be shown.
func (k key) String() string { return k.encrypted.id + " (signed: " + k.signed.id + ")" }

// keyBlock is a key in a key file, with the comments on the lines right above it.
type keyBlock struct {
	key
	start, end int // of its lines
}

// keyBlocks returns the keys of a file with their comments.
func keyBlocks(lines []string, keys []key) (blocks []keyBlock) {
	for _, k := range keys {
		start := k.line - 1
		for start > 0 && strings.HasPrefix(strings.Trim(lines[start-1], " \t\r"), "#") {
			start--
		}
		blocks = append(blocks, keyBlock{key: k, start: start, end: k.line})
	}
	return blocks
}

// editKeyFile replaces the lines of the key file called name by what edit makes of
// them, and returns what edit says. Another command that edits the file waits
// meanwhile. The file must be good, but it may have no keys, or not be there.
func editKeyFile(name string, stderr io.Writer,
	edit func(lines []string, blocks []keyBlock) (after []string, said string, err error),
) (string, error) {
	target, err := behindLinks(name)
	if err != nil {
		return "", err
	}
	lock, err := lockFile(target+".lock", stderr)
	if err != nil {
		return "", err
	}
	defer lock.Close()

	content, missing := readKeyFile(target)
	if missing != nil && !errors.Is(missing, os.ErrNotExist) {
		return "", missing
	}
	keys, err := parseKeys(name, content)
	if err != nil && !errors.Is(err, errNoKey) {
		return "", err
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	lines := slices.Collect(strings.Lines(content))
	lines, said, err := edit(lines, keyBlocks(lines, keys))
	switch {
	case err != nil && missing != nil:
		return "", missing
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return said, replaceFile(target, []byte(strings.Join(lines, "")))
}

// errLocked says that another program has the lock.
var errLocked = errors.New("locked")

// lockPatience is for how long a command waits for a lock without a word.
const lockPatience = 3 * time.Second

// lockFile makes the file called name, if it isn't there, and locks it until it is
// closed, or the program ends in whatever way. The file stays: whoever waits for it
// has it open.
func lockFile(name string, stderr io.Writer) (*os.File, error) {
	began, told := time.Now(), false
	for {
		lock, err := tryLock(name)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		if !told && time.Since(began) > lockPatience {
			told = true
			fmt.Fprintln(stderr, "cookiesession: waiting for another program that has locked", name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// behindLinks returns the file that name leads to through symbolic links. Where name
// itself is nothing yet, that is a file in the folder behind the links before it.
func behindLinks(name string) (target string, err error) {
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		dir, file := filepath.Split(name)
		folder, err := filepath.EvalSymlinks(cmp.Or(dir, "."))
		return filepath.Join(folder, file), err
	}
	target, err = filepath.EvalSymlinks(name)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s: a link to a file that isn't there (give the file's own name)", name)
	}
	return target, err
}

// replaceFile gives the file called name new content, its mode and owner kept,
// so that whoever reads it, or finds it after a crash, sees the old content or
// the new one.
func replaceFile(name string, content []byte) error {
	// Always the same name, so that what a crash has left is not there for ever.
	// It is nobody else's: the file is locked.
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	os.Remove(temporary)
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temporary) // it is not there any more if all went well
	_, err = f.Write(content)
	if info, e := os.Stat(name); e == nil {
		err = errors.Join(err, copyOwner(f, info), f.Chmod(info.Mode().Perm()))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// runInspect tells what is known of the cookie on stdin.
func runInspect(args []string, getenv getenv, stdin io.Reader, stdout io.Writer) error {
	cfg := new(config)
	fs := flag.NewFlagSet("cookiesession inspect", flag.ContinueOnError)
	show := fs.Bool("show", false, "print what the session carries, too")
	fs.StringVar(&cfg.keyFile, "key-file", "", "take the keys from this `file`")
	fs.StringVar(&cfg.cookie, "cookie-name", cookieName, "the server's -cookie-name, a `name`")
	fs.DurationVar(&cfg.idle, "idle", defaultIdle, "the server's -idle")
	fs.DurationVar(&cfg.lifetime, "lifetime", defaultLifetime, "the server's -lifetime")
	err := parse(fs, args, getenv, stdout, fs.Name()+" [flags] <cookie\n\n"+
		"The cookie is a bare value, name=value, a Cookie or Set-Cookie line, or a jar of curl's.")
	if err == nil {
		err = cfg.checkCookieName()
	}
	if err != nil {
		return usageError{err}
	}
	keys, err := cfg.keys(getenv)
	if err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return err
	}
	r := new(ring)
	if keys != nil {
		r = newRing(keys, true)
	}
	cookies := findCookies(string(input), cfg.cookie)
	// A ticket may come alone, or under a name of its own.
	if len(cookies) == 0 || len(strings.Fields(string(input))) == 1 {
		if k := tokenIn(string(input), r); k != "" {
			return fmt.Errorf("there is no session in this: it is the %s of device binding", k)
		}
	}
	if len(cookies) == 0 {
		return errors.New("there is no session cookie on standard input")
	}
	rep, problem := inspect(cookies, r, cfg.settings)
	if !*show {
		rep.Fields = nil
	}
	fmt.Fprintln(stdout, reportText("inspect", rep))
	return problem
}

// inspect reports on the best of several cookies, and returns an error unless
// it is valid. With an empty ring, nothing is verified.
func inspect(cookies []*http.Cookie, r *ring, s settings) (report, error) {
	m := newSessions[session](s)
	m.ring.Store(r)
	best, rep := new(visit[session]), report{}
	for _, c := range cookies {
		m.cookie = c.Name // with the prefix or without, which the MAC covers
		if v := m.open(c, time.Now().Unix()); v.passed > best.passed {
			best, rep = v, describe(m, v)
		}
	}
	if r.keys == nil {
		rep.peek(best.value)
		return rep, errors.New("nothing of this is verified: give the keys with -key-file")
	}
	if best.verdict != valid {
		return rep, fmt.Errorf("the cookie is not valid: %v", best.verdict)
	}
	return rep, nil
}

// findCookies returns the session cookies in text, in a header or a jar, under
// their name or that with the prefix. A bare value could be that of either name.
func findCookies(text, name string) (cookies []*http.Cookie) {
	names := []string{name, securePrefix + name}
	named := regexp.MustCompile(`(?m)(?:^|[\s;:,'"])(` + strings.Join(names, "|") +
		`)[=\t]([^\s;,'"]*)`)
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		cookies = append(cookies, &http.Cookie{Name: m[1], Value: m[2]})
	}
	if words := strings.Fields(text); len(cookies) == 0 && len(words) == 1 {
		for _, n := range names {
			cookies = append(cookies, &http.Cookie{Name: n, Value: strings.Trim(words[0], `'"`)})
		}
	}
	return cookies
}
