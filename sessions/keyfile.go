package sessions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	// maxKeyFile is how many bytes a key file may have, far more than it needs.
	maxKeyFile = 1 << 20

	// watchInterval is how often Watch looks at its file. It reads it each time,
	// because a mounted Kubernetes secret changes behind a symbolic link.
	watchInterval = 3 * time.Second
)

// KeyLine is a key and its line in a key file, counted from 1.
type KeyLine struct {
	Key  Key
	Line int
}

// ParseKeys returns the keys in the text of a key file: one per line, in 64 hexadecimal
// digits. Blank lines, comments from # to the end of the line, and a byte order mark at
// the beginning are allowed. A text without keys is no error. Errors have the form
// "sessions: name:line: reason" and never quote the text.
func ParseKeys(name, text string) ([]KeyLine, error) {
	var keys []KeyLine
	lines := make(map[string]int) // by id
	for i, line := range strings.Split(strings.TrimPrefix(text, "\uFEFF"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		digits := strings.Trim(line, " \t\r")
		if digits == "" {
			continue
		}
		k, err := ParseKey(digits)
		if err != nil {
			reason := strings.TrimPrefix(err.Error(), "sessions: ")
			return nil, fmt.Errorf("sessions: %s:%d: %s", keyless(name), i+1, reason)
		}
		id, _ := k.IDs()
		if at := lines[id]; at > 0 {
			return nil, fmt.Errorf("sessions: %s:%d: the same key as on line %d",
				keyless(name), i+1, at)
		}
		lines[id] = i + 1
		keys = append(keys, KeyLine{Key: k, Line: i + 1})
	}
	return keys, nil
}

// ReadKeyring returns a Keyring with the keys of a file, whose format is that of
// [ParseKeys]. It must be a regular file of at most 1 MiB with at least one key.
func ReadKeyring(file string) (*Keyring, error) {
	text, err := ReadKeyFile(file)
	if err != nil {
		return nil, err
	}
	k := new(Keyring)
	return k, k.take(file, text)
}

// ReadKeyFile returns the text of a key file. It must be a regular file of at most 1 MiB.
// Reading a pipe could block forever, and would find nothing the second time. Errors name
// the file, but if a key was given in its place, they say "(a key)".
func ReadKeyFile(file string) (text string, err error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", fileError(err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("sessions: %s: not a regular file, which could be read again",
			keyless(file))
	case info.Size() > maxKeyFile:
		return "", fmt.Errorf("sessions: %s: more than %d bytes", keyless(file), maxKeyFile)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		err = fileError(err)
	}
	return string(content), err
}

// fileError returns an error of package os, without a key in the file's name.
func fileError(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		at.Path = keyless(at.Path)
	}
	return fmt.Errorf("sessions: %w", err)
}

// keyLike matches what could be a key, or most of one.
var keyLike = regexp.MustCompile(`[0-9A-Fa-f]{48,}`)

// keyless returns a file's name as an error may have it: it might be a key, which was
// given in the wrong place.
func keyless(name string) string { return keyLike.ReplaceAllString(name, "(a key)") }

// take replaces the ring's keys by those in the text of a file.
func (k *Keyring) take(file, text string) error {
	lines, err := ParseKeys(file, text)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return fmt.Errorf("sessions: %s: there is no key in it", keyless(file))
	}
	keys := make([]Key, len(lines))
	for i, l := range lines {
		keys[i] = l.Key
	}
	return k.Replace(keys[0], keys[1:]...)
}

// Watch keeps the keys in the ring those of a file, until ctx is done. It reads the file
// at once and every few seconds, and follows symbolic links. While the file is bad or
// missing, the ring stays as it is. If told is not nil, it is called with nil when new
// keys have been taken, and with an error once for each bad state of the file.
//
//	go keys.Watch(ctx, "ring", func(err error) { slog.Info("keys read", "err", err) })
func (k *Keyring) Watch(ctx context.Context, file string, told func(error)) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := ""
	for ctx.Err() == nil {
		text, err := ReadKeyFile(file)
		if state := fmt.Sprint(text, err); state != last {
			last = state
			if err == nil {
				err = k.take(file, text)
			}
			if told != nil {
				told(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
