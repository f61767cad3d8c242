package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/prometheus/client_golang/prometheus"
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
)

// codec seals and opens cookies under one key in one mode. Its id stands at
// the head of each cookie, so that a request costs one MAC however many keys
// there are, and an unknown key is told apart from a forged cookie.
type codec struct {
	id        string
	encrypted bool
	*securecookie.SecureCookie
	opened [valid + 1]prometheus.Counter // by verdict; set before the ring is used
}

// seal returns the value of the cookie called name that carries s.
func (c *codec) seal(name string, s session) (string, error) {
	// securecookie encrypts in place, so the payload must be nobody else's.
	payload := s.appendPayload(make([]byte, 0, len(s.Name)+32))
	sealed, err := c.Encode(name, payload)
	if err != nil {
		return "", err
	}
	return c.id + "." + sealed, nil
}

// key is what is derived from one secret: a codec for either mode, with
// separate ids and subkeys. So a switch of the mode is a rotation like any
// other, and no cookie of one mode can pass for the other.
type key struct{ signed, encrypted *codec }

// newKey derives the key of a secret of keyBytes bytes. The labels are part of the
// cookie's format: changing one ends every session.
func newKey(secret []byte) key {
	derive := func(label string, n int) []byte {
		b, err := hkdf.Key(sha256.New, secret, nil, "cookiesession "+label, n)
		if err != nil {
			panic(err) // only for a length that no hash could give
		}
		return b
	}
	codec := func(mode string, block []byte) *codec {
		id := base32.StdEncoding.EncodeToString(derive(mode+" id", 5))[:idLen]
		sc := securecookie.New(derive(mode+" mac", 32), block)
		// The manager checks age and length itself, to tell their verdicts apart.
		sc.SetSerializer(securecookie.NopEncoder{}).MaxAge(0).MaxLength(0)
		return &codec{id: strings.ToLower(id), encrypted: block != nil, SecureCookie: sc}
	}
	return key{
		signed:    codec("signed", nil),
		encrypted: codec("encrypted", derive("encrypted block", 32)),
	}
}

// isKeyID reports whether s has the form of a key id. Only then may it stand in
// a log: whatever a client sends is six harmless characters at most.
func isKeyID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
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

// role returns what becomes of the cookies of the key called id, the id of
// either mode: "seals", "verifies", or nothing for a key that is not in the ring.
func (r *ring) role(id string) string {
	switch {
	case r.codecs[id] == nil:
		return ""
	case r.keys[0].has(id):
		return "seals"
	}
	return "verifies"
}

func (k key) has(id string) bool { return k.signed.id == id || k.encrypted.id == id }

// parseKey returns the key that text spells. Its errors never contain the text.
func parseKey(text string) (key, error) {
	if len(text) != 2*keyBytes {
		return key{}, fmt.Errorf("want %d hexadecimal digits, have %d characters", 2*keyBytes, len(text))
	}
	secret, err := hex.DecodeString(text)
	if err != nil {
		// The library's error quotes the character.
		return key{}, fmt.Errorf("want %d hexadecimal digits, have another character among them", 2*keyBytes)
	}
	distinct := make(map[byte]bool)
	for _, b := range secret {
		distinct[b] = true
	}
	if len(distinct) < minDistinct {
		return key{}, errors.New("too regular to be random")
	}
	return newKey(secret), nil
}

// parseKeyList reads the keys of COOKIESESSION_KEYS, separated by commas.
func parseKeyList(list string) ([]key, error) {
	texts := strings.Split(list, ",")
	return parseKeys(texts, func(i int) string { return fmt.Sprintf("COOKIESESSION_KEYS: key %d", i+1) })
}

// parseKeyFile reads a key file: one key a line, blank lines, and comments
// from a # to the end of the line. Its errors have the form name:line: reason.
func parseKeyFile(name string, content []byte) ([]key, error) {
	var texts []string
	var lines []int
	for i, line := range strings.Split(string(content), "\n") {
		if text := keyText(line); text != "" {
			texts, lines = append(texts, text), append(lines, i+1)
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s: there is no key in it (put one there with: cookiesession keys add FILE)", name)
	}
	return parseKeys(texts, func(i int) string { return fmt.Sprintf("%s:%d", name, lines[i]) })
}

// keyText returns the key that is on a line of a key file, if there is one.
func keyText(line string) string {
	text, _, _ := strings.Cut(line, "#")
	return strings.TrimSpace(text)
}

// parseKeys returns the keys that texts spell. It refuses one that is there
// twice; where tells, for the error, where each of them stands.
func parseKeys(texts []string, where func(i int) string) ([]key, error) {
	keys := make([]key, len(texts))
	first := make(map[string]int) // by id, which also finds two keys that share one
	for i, text := range texts {
		k, err := parseKey(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w (make one with: cookiesession keys new)", where(i), err)
		}
		for _, id := range []string{k.signed.id, k.encrypted.id} {
			if at, ok := first[id]; ok {
				return nil, fmt.Errorf("%s: the same key as in %s (remove one of them)", where(i), where(at))
			}
			first[id] = i
		}
		keys[i] = k
	}
	return keys, nil
}

// newSecret returns a new random key as it is written in a key file.
func newSecret() string {
	b := make([]byte, keyBytes)
	rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}

// maxKeyFile is how many bytes of a key file are read, far more than keys need.
const maxKeyFile = 1 << 20

// readKeyFile returns what is in the key file called name.
func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w (make one with: cookiesession keys add FILE)", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(content) > maxKeyFile {
		err = fmt.Errorf("%s: too large for a key file", name)
	}
	return content, err
}

// keysFromFile returns the keys that are in the key file called name.
func keysFromFile(name string) ([]key, error) {
	content, err := readKeyFile(name)
	if err != nil {
		return nil, err
	}
	return parseKeyFile(name, content)
}

// keyFile keeps a manager's ring as a file has it.
type keyFile struct {
	name    string
	encrypt bool
	use     func(*ring) // takes a new ring into use
	log     *slog.Logger
	metrics *metrics
	last    [sha256.Size]byte // of what the file said, or of why it couldn't be read
}

// load reads the file and takes its ring into use, if there is something new
// in it or force is set. When the file is bad, the ring stays as it is.
func (f *keyFile) load(force bool) error {
	content, err := readKeyFile(f.name)
	sum := sha256.Sum256(content)
	if err != nil {
		sum = sha256.Sum256([]byte(err.Error()))
	}
	if sum == f.last && !force {
		return nil
	}
	f.last = sum
	var keys []key
	if err == nil {
		keys, err = parseKeyFile(f.name, content)
	}
	f.metrics.reloaded(err)
	if err != nil {
		return err
	}
	f.use(newRing(keys, f.encrypt))
	if info, err := os.Stat(f.name); err == nil && info.Mode()&0o004 != 0 && runtime.GOOS != "windows" {
		f.log.Warn("the key file can be read by every user of this machine: chmod o= it", "file", f.name)
	}
	return nil
}

// reloadInterval is how often the key file is looked at. It is read each time,
// because a mounted Kubernetes secret changes behind a symbolic link.
const reloadInterval = 3 * time.Second

// watch loads the file again when it has changed, and at once when hup says
// so, until ctx ends.
func (f *keyFile) watch(ctx context.Context, hup <-chan os.Signal) {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			force = true
		case <-tick.C:
		}
		before := f.last
		if err := f.load(force); err != nil {
			f.log.Error("the key file is bad, the keys stay as they are", "err", err)
		} else if force || f.last != before {
			f.log.Info("key file loaded", "file", f.name)
		}
	}
}
