package sessions

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/securecookie"
)

const (
	// keyBytes is the length of a key, written as twice as many hexadecimal digits.
	keyBytes = 32

	// minDistinct is how many different bytes a key has at least, minDigits how many
	// different hexadecimal digits, and maxSame how often no byte may be in it. A random
	// key keeps each with a probability of all but 2e-12, whereas a key typed by hand
	// or repeated from a word hardly ever does.
	minDistinct, minDigits, maxSame = 16, 10, 10

	// idLen is the number of characters of a key id.
	idLen = 6
)

// purpose is what something is sealed for. Each has subkeys of its own, so that
// nothing that was made for one passes for another.
type purpose string

const (
	forSession    purpose = "session"
	forTicket     purpose = "ticket"     // the device has proven itself lately
	forIdentifier purpose = "identifier" // the browser's name for what it has registered
	forChallenge  purpose = "challenge"  // to be signed by the device
)

var purposes = []purpose{forSession, forTicket, forIdentifier, forChallenge}

// codec seals and opens cookies under one key in one mode. Its id stands at
// the head of each cookie, so that a cookie costs one MAC however many keys
// there are, and an unknown key is told apart from a forged cookie.
type codec struct {
	id        string
	encrypted bool
	sealers   map[purpose]*securecookie.SecureCookie
}

// seal returns KEYID.SEALED for content, which securecookie overwrites. It
// belongs to the cookie called name. There is no padding: clients quote, cut or
// escape "=". It can't fail: the keys have the right length, and nothing has a limit.
func (c *codec) seal(p purpose, name string, content []byte) string {
	return c.id + "." + strings.TrimRight(must(c.sealers[p].Encode(name, content)), "=")
}

// open undoes seal for what stands behind the dot. It wants canonical text.
func (c *codec) open(p purpose, name, sealed string) (content []byte, ok bool) {
	sealed += "==="[:-len(sealed)&3] // securecookie wants the padding
	return content, c.sealers[p].Decode(name, sealed, &content) == nil
}

// canonical reports whether s is unpadded base64url (RFC 4648, 5) in its one spelling.
// securecookie's decoder takes others as well: line breaks are skipped, and the last
// character, of at most three that are left, may have bits set that it doesn't need.
func canonical(s string) bool {
	_, err := oneSpelling.DecodeString(s[len(s)&^3:])
	return err == nil && s != "" && strings.Trim(s, base64URL) == ""
}

var oneSpelling = base64.RawURLEncoding.Strict()

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// IsKeyID reports whether s has the form of a key id: six lower-case letters and digits.
// Don't log a key id that a client has sent unless it has this form.
func IsKeyID(s string) bool {
	return len(s) == idLen && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// Key is a secret of 32 random bytes, from which the keys of cookies are derived. A
// [Keyring] refuses the zero Key. Printing or logging a Key shows only its ids.
type Key struct{ *derived }

// derived has a codec for either mode, with separate ids and subkeys. So a
// switch of the mode is a rotation like any other, and no cookie of one mode can
// pass for the other.
type derived struct {
	secret            *[keyBytes]byte // fmt follows one pointer at most
	signed, encrypted *codec
}

// NewKey returns a new random key.
func NewKey() Key {
	var secret [keyBytes]byte
	rand.Read(secret[:]) // never fails, says its documentation
	return newKey(secret)
}

// ParseKey returns the key that 64 hexadecimal digits spell. It refuses a key that is too
// regular to be random, such as text or a series of numbers. Its errors never quote the
// key.
func ParseKey(digits string) (Key, error) {
	if len(digits) != 2*keyBytes {
		return Key{}, fmt.Errorf("sessions: want a key of %d hexadecimal digits, "+
			"have %d characters", 2*keyBytes, len(digits))
	}
	secret, err := hex.DecodeString(digits)
	if err != nil { // the library's error quotes the character
		return Key{}, fmt.Errorf("sessions: want a key of %d hexadecimal digits, "+
			"found other characters as well", 2*keyBytes)
	}
	if regular(secret) {
		return Key{}, errors.New("sessions: this key is too regular to be random")
	}
	return newKey([keyBytes]byte(secret)), nil
}

// regular reports whether secret looks as if somebody has made it up: text, the same step
// from each byte to the next, the end a repetition of what came before, few different
// bytes or digits, one byte very often (as in text of two bytes a letter, or in what was
// filled up with zeros), or no letters among the digits. All of that together, a random key
// has with a probability below 1e-10, of which the most is that of text.
func regular(secret []byte) bool {
	const repeated = 8 // bytes at the end
	steps, digits := true, hex.EncodeToString(secret)
	for i, b := range secret {
		steps = steps && (i < 2 || b-secret[i-1] == secret[1]-secret[0])
		if bytes.Count(secret, []byte{b}) >= maxSame {
			return true
		}
	}
	for period := 1; period <= len(secret)-repeated; period++ {
		if bytes.Equal(secret[period:], secret[:len(secret)-period]) {
			return true
		}
	}
	isText := utf8.Valid(secret) && !bytes.ContainsFunc(secret, func(r rune) bool {
		return unicode.IsControl(r) && !unicode.IsSpace(r)
	})
	return isText || steps || !strings.ContainsAny(digits, "abcdef") ||
		distinct(secret) < minDistinct || distinct([]byte(digits)) < minDigits
}

// distinct returns how many different bytes there are in b.
func distinct(b []byte) int {
	return len(slices.Compact(slices.Sorted(slices.Values(b))))
}

// newKey derives the key of a secret. The labels are part of the
// cookie's format: changing one ends every session.
func newKey(secret [keyBytes]byte) Key {
	derive := func(label string, n int) []byte {
		return must(hkdf.Key(sha256.New, secret[:], nil, "cookiesession v1 "+label, n))
	}
	codec := func(mode string, encrypted bool) *codec {
		id := base32.StdEncoding.EncodeToString(derive(mode+" id", 5))[:idLen]
		c := &codec{
			id: strings.ToLower(id), encrypted: encrypted,
			sealers: make(map[purpose]*securecookie.SecureCookie),
		}
		for _, p := range purposes {
			label, block := mode+" "+string(p), []byte(nil)
			if encrypted {
				block = derive(label+" block", 32)
			}
			// Age and length are checked by judge, to tell their verdicts apart.
			c.sealers[p] = securecookie.New(derive(label+" mac", 32), block).
				SetSerializer(securecookie.NopEncoder{}).MaxAge(0).MaxLength(0)
		}
		return c
	}
	return Key{&derived{
		secret: &secret, signed: codec("signed", false), encrypted: codec("encrypted", true),
	}}
}

// Secret returns the key as 64 hexadecimal digits. Write it into a key file and nowhere
// else: whoever has it can forge any session. It is empty for the zero Key.
func (k Key) Secret() string {
	if k.derived == nil {
		return ""
	}
	return hex.EncodeToString(k.secret[:])
}

// IDs returns the ids that stand in cookies sealed with k: in those that are signed and
// encrypted, and in those that are only signed. They are not secret. Those of the zero Key
// are empty.
func (k Key) IDs() (encrypted, signed string) {
	if k.derived == nil {
		return "", ""
	}
	return k.encrypted.id, k.signed.id
}

// ring is the set of keys at one time. It never changes once it is made.
type ring struct {
	keys   []Key             // the first one seals, all of them verify
	codecs map[string]*codec // by id, two for each key
}

// Keyring is a list of keys: the first seals cookies, and all verify them. It is safe for
// concurrent use, and several managers may share one. The zero Keyring has no keys. Call
// [Keyring.Replace] before you pass it to [New].
type Keyring struct{ current atomic.Pointer[ring] }

// NewKeyring returns a Keyring that seals with first. It fails only for a zero or
// duplicate key.
func NewKeyring(first Key, more ...Key) (*Keyring, error) {
	k := new(Keyring)
	return k, k.Replace(first, more...)
}

// Replace replaces the keys in the ring, for all of its managers at once. It fails as
// [NewKeyring] does, and then the ring stays as it was.
func (k *Keyring) Replace(first Key, more ...Key) error {
	r := &ring{keys: append([]Key{first}, more...), codecs: make(map[string]*codec)}
	for i, key := range r.keys {
		if key.derived == nil {
			return errors.New("sessions: a zero Key is no key: use NewKey or ParseKey")
		}
		for _, c := range []*codec{key.signed, key.encrypted} {
			if r.codecs[c.id] != nil { // which also finds two keys that share an id
				return fmt.Errorf("sessions: key %d is in the ring already: %v", i+1, key)
			}
			r.codecs[c.id] = c
		}
	}
	k.current.Store(r)
	return nil
}

// Keys returns the keys in the ring. The first one seals cookies.
func (k *Keyring) Keys() []Key {
	if r := k.current.Load(); r != nil {
		return slices.Clone(r.keys)
	}
	return nil
}

// must returns v, which only a mistake in this package can keep from being made.
func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}
