package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cookiesession/sessions"
)

// errNoKey says that a key file is there, and no key in it.
var errNoKey = errors.New("there is no key in it")

// readKeyFile returns the text of a key file, and the keys in it.
func readKeyFile(name string) (text string, keys []sessions.KeyLine, err error) {
	text, err = sessions.ReadKeyFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", nil, fmt.Errorf("%w (put the last good file back, or make the first "+
			"one of a new site with: cookiesession keys add FILE)",
			errors.Unwrap(err)) // without the library's name before it
	case err != nil:
		return "", nil, errors.New(strings.TrimPrefix(err.Error(), "sessions: "))
	}
	keys, err = parseKeys(name, text)
	return text, keys, err
}

// parseKeys returns the keys in the text of a key file, or errNoKey.
func parseKeys(name, text string) ([]sessions.KeyLine, error) {
	keys, err := sessions.ParseKeys(name, text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s (make a key with: cookiesession keys new)",
			strings.TrimPrefix(err.Error(), "sessions: "))
	case len(keys) == 0 && name == keysVariable:
		return nil, fmt.Errorf("%s: %w (make one with: cookiesession keys new)", name, errNoKey)
	case len(keys) == 0:
		return nil, fmt.Errorf("%s: %w (put the last good file back, or make the first "+
			"key of a new site with: cookiesession keys add FILE)", name,
			errNoKey)
	}
	return keys, nil
}

// keyBlock is a key in a key file, with the comments on the lines right above it.
type keyBlock struct {
	sessions.Key
	start, end int // of its lines
}

// keyBlocks returns the keys of a file with their comments.
func keyBlocks(lines []string, keys []sessions.KeyLine) (blocks []keyBlock) {
	for _, k := range keys {
		start := k.Line - 1
		for start > 0 && strings.HasPrefix(strings.Trim(lines[start-1], " \t\r"), "#") {
			start--
		}
		blocks = append(blocks, keyBlock{Key: k.Key, start: start, end: k.Line})
	}
	return blocks
}

// editKeyFile replaces the lines of the key file called name by what the command makes of
// them, and returns what that says. Another command that edits the file waits meanwhile.
// The file must be good, but add takes one without keys, and one that isn't there.
func (c keyCommand) editKeyFile(name, id string, stderr io.Writer) (said string, err error) {
	if keyLike.MatchString(filepath.Base(name)) { // its lock would have the name as well
		return "", UsageError{Err: errors.New("a key is no name for a file: keys go into it")}
	}
	target, err := behindLinks(name)
	if err != nil {
		return "", err
	}
	lock, err := lockFile(target+".lock", stderr)
	if err != nil {
		return "", err
	}
	defer lock.Close()

	text, keys, err := readKeyFile(name)
	isNew := errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoKey)
	if err != nil && !(isNew && c.name == "add") {
		return "", err
	}
	text = strings.TrimPrefix(text, "\uFEFF") // which some editors put there
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	lines := slices.Collect(strings.Lines(text))
	lines, said, err = c.edit(lines, keyBlocks(lines, keys), id)
	if err != nil {
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
	defer time.AfterFunc(lockPatience, func() {
		fmt.Fprintln(stderr, "cookiesession: waiting for another program that has locked", name)
	}).Stop()
	for {
		lock, err := tryLock(name)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// behindLinks returns the file that name leads to through symbolic links, or name if it
// is nothing yet.
func behindLinks(name string) (string, error) {
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		return name, nil
	}
	target, err := filepath.EvalSymlinks(name)
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
	dir, file := filepath.Split(name)
	temporary := dir + "." + file + ".new"
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
