package main

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

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
)

// codec seals and opens cookies under one key in one mode. Its id stands at
// the head of each cookie, so that a request costs one MAC however many keys
// there are, and an unknown key is told apart from a forged cookie.
type codec struct {
	id        string
	encrypted bool
	*securecookie.SecureCookie
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
		return &codec{strings.ToLower(id), block != nil, sc}
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
	var keys []key
	seen := make(map[string]int)
	for i, text := range strings.Split(list, ",") {
		k, err := parseKey(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if first := seen[k.signed.id]; first > 0 {
			return nil, fmt.Errorf("key %d: the same as key %d", i+1, first)
		}
		seen[k.signed.id] = i + 1
		keys = append(keys, k)
	}
	return keys, nil
}

// newSecret returns a new random key as it is written in a key file.
func newSecret() string {
	b := make([]byte, keyBytes)
	rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}
