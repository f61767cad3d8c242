package main

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

const (
	// keyBytes is the length of a key, written as twice as many hexadecimal digits.
	keyBytes = 32

	// minDistinct is how many different bytes a key has at least. A random key
	// of 32 bytes has fewer with a probability below 1e-12, whereas a key typed
	// by hand or repeated from a word hardly ever has as many.
	minDistinct = 16

	// idLen is the number of characters of a key id.
	idLen = 6

	// maxFile is how many bytes a file of keys or certificates may have, far more
	// than they need.
	maxFile = 1 << 20
)

// tokenKind is a kind of token, which bind.go seals. Each has subkeys of its
// own, so that no token passes for one of another kind, nor for a session.
type tokenKind string

const (
	ticketKind     tokenKind = "ticket"     // the device has proven itself lately
	identifierKind tokenKind = "identifier" // the browser's name for what it has registered
	challengeKind  tokenKind = "challenge"  // to be signed by the device
)

var tokenKinds = []tokenKind{ticketKind, identifierKind, challengeKind}

// codec seals and opens cookies under one key in one mode. Its id stands at
// the head of each cookie, so that a cookie costs one MAC however many keys
// there are, and an unknown key is told apart from a forged cookie.
type codec struct {
	id                         string
	encrypted                  bool
	tokens                     map[tokenKind]*securecookie.SecureCookie
	*securecookie.SecureCookie // for sessions
}

// seal returns the value of the cookie called name that carries content, which
// securecookie overwrites.
func (c *codec) seal(name string, content []byte) (string, error) {
	sealed, err := c.Encode(name, content)
	return c.id + "." + sealed, err
}

// key is what is derived from one secret: a codec for either mode, with
// separate ids and subkeys. So a switch of the mode is a rotation like any
// other, and no cookie of one mode can pass for the other.
type key struct {
	signed, encrypted *codec
	line              int // on which it stood where it was read, from 1
}

// newKey derives the key of a secret of keyBytes bytes. The labels are part of the
// cookie's format: changing one ends every session.
func newKey(secret []byte) key {
	derive := func(label string, n int) []byte {
		return must(hkdf.Key(sha256.New, secret, nil, "cookiesession "+label, n))
	}
	sealer := func(label string, encrypted bool) *securecookie.SecureCookie {
		var block []byte
		if encrypted {
			block = derive(label+" block", 32)
		}
		sc := securecookie.New(derive(label+" mac", 32), block)
		// sessions checks age and length itself, to tell their verdicts apart.
		return sc.SetSerializer(securecookie.NopEncoder{}).MaxAge(0).MaxLength(0)
	}
	codec := func(mode string, encrypted bool) *codec {
		id := base32.StdEncoding.EncodeToString(derive(mode+" id", 5))[:idLen]
		c := &codec{
			id: strings.ToLower(id), encrypted: encrypted, SecureCookie: sealer(mode, encrypted),
			tokens: make(map[tokenKind]*securecookie.SecureCookie),
		}
		for _, k := range tokenKinds {
			c.tokens[k] = sealer(mode+" "+string(k), encrypted)
		}
		return c
	}
	return key{signed: codec("signed", false), encrypted: codec("encrypted", true)}
}

// has reports whether id is the key's, in either mode.
func (k key) has(id string) bool { return k.signed.id == id || k.encrypted.id == id }

// isKeyID reports whether s has the form of a key id. Only then may it stand in
// a log: whatever a client sends is six harmless characters at most.
func isKeyID(s string) bool {
	return len(s) == idLen && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// ring is the set of keys at one time. It never changes once it is made.
type ring struct {
	keys   []key             // the first one seals, all of them verify
	seal   *codec            // of the first key, in the mode that is on
	codecs map[string]*codec // by id, two for each key
}

// newRing makes a ring of keys, of which there must be at least one.
func newRing(keys []key, encrypt bool) *ring {
	r := &ring{keys: keys, seal: keys[0].signed, codecs: make(map[string]*codec)}
	if encrypt {
		r.seal = keys[0].encrypted
	}
	for _, k := range keys {
		r.codecs[k.signed.id] = k.signed
		r.codecs[k.encrypted.id] = k.encrypted
	}
	return r
}

// parseKey returns the key that text spells. Its errors never contain the text.
func parseKey(text string) (key, error) {
	if len(text) != 2*keyBytes {
		return key{}, fmt.Errorf("want %d hexadecimal digits, have %d characters",
			2*keyBytes, len(text))
	}
	secret, err := hex.DecodeString(text)
	if err != nil { // the library's error quotes the character
		return key{}, fmt.Errorf("want %d hexadecimal digits, found other characters as well",
			2*keyBytes)
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(secret)))
	if len(distinct) < minDistinct {
		return key{}, errors.New("too regular to be random")
	}
	return newKey(secret), nil
}

// errNoKey says that a key file is there, and no key in it.
var errNoKey = errors.New("there is no key in it (put one there with: cookiesession keys add FILE)")

// parseKeys reads keys as they stand in a key file: one a line, with blank lines, and
// comments from a # to the end of the line. It refuses a key that is there twice. Its
// errors have the form name:line: reason, but for the errNoKey of a file without keys.
func parseKeys(name, content string) ([]key, error) {
	var keys []key
	lines := make(map[string]int) // by id, which also finds two keys that share one
	for i, line := range strings.Split(content, "\n") {
		text, _, _ := strings.Cut(line, "#")
		if text = strings.Trim(text, " \t\r"); text == "" {
			continue
		}
		k, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w (make one with: cookiesession keys new)",
				name, i+1, err)
		}
		k.line = i + 1
		for _, id := range []string{k.signed.id, k.encrypted.id} {
			if lines[id] != 0 {
				return nil, fmt.Errorf("%s:%d: the same key as in %s:%d (remove one of them)",
					name, k.line, name, lines[id])
			}
			lines[id] = k.line
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w", name, errNoKey)
	}
	return keys, nil
}

// newSecret returns a new random key as it is written in a key file.
func newSecret() string {
	b := make([]byte, keyBytes)
	rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}

// readKeyFile returns what is in the key file called name, without the byte
// order mark that some editors put at its head.
func readKeyFile(name string) (string, error) {
	content, err := readRegular(name)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (make one with: cookiesession keys add FILE)", err)
	}
	return strings.TrimPrefix(content, byteOrderMark), err
}

const byteOrderMark = "\uFEFF"

// readRegular reads a file that is read again when it changes.
func readRegular(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		// Reading a pipe could wait forever, and the second time there is nothing in it.
		return "", fmt.Errorf("%s: not a regular file (it is read again when it changes)", name)
	case info.Size() > maxFile:
		return "", fmt.Errorf("%s: too large, it may have %d bytes at most", name, maxFile)
	}
	content, err := os.ReadFile(name)
	return string(content), err
}

// keysFromFile returns the keys that are in the key file called name.
func keysFromFile(name string) ([]key, error) {
	content, err := readKeyFile(name)
	if err != nil {
		return nil, err
	}
	return parseKeys(name, content)
}

// watchedFiles are files that are read again when they change.
type watchedFiles struct {
	names []string
	use   func(contents []string) error // takes them into use, or says what is bad about them
	last  string                        // what they said, or why they couldn't be read
}

// newKeyFile returns the key file called name. Its keys are used as rings.
func newKeyFile(name string, encrypt bool, use func(*ring)) *watchedFiles {
	return &watchedFiles{names: []string{name}, use: func(contents []string) error {
		keys, err := parseKeys(name, strings.TrimPrefix(contents[0], byteOrderMark))
		if err == nil {
			use(newRing(keys, encrypt))
		}
		return err
	}}
}

// load reads the files and takes them into use, if there is something new in them or
// force is set. When they are bad, what was in use stays.
func (f *watchedFiles) load(force bool) (isNew bool, err error) {
	var contents []string
	for _, name := range f.names {
		content, e := readRegular(name)
		contents, err = append(contents, content), cmp.Or(err, e)
	}
	before := f.last
	if f.last = fmt.Sprintf("%q %v", contents, err); f.last == before && !force {
		return false, nil
	}
	if err == nil {
		err = f.use(contents)
	}
	return true, err
}

// reloadInterval is how often watched files are looked at. They are read each
// time, because a mounted Kubernetes secret changes behind a symbolic link.
const reloadInterval = 3 * time.Second

// watch calls load again and again until ctx ends, and with force when hup says
// so. It tells of each time that something new was loaded, or was bad.
func (f *watchedFiles) watch(ctx context.Context, hup <-chan os.Signal, told func(error)) {
	tick := time.Tick(reloadInterval)
	for {
		force := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			force = true
		case <-tick:
		}
		if isNew, err := f.load(force); isNew {
			told(err)
		}
	}
}
