package report

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"cookiesession/sessions"
)

// Part is a stretch of a cookie's value.
type Part struct {
	Class        string // id, stamp, payload or mac
	Start, Chars int
	Text         string // its first characters, of the MAC no more than four
	Decoded      string // of the key id and the time stamp: what it says
	Mark, After  string // a character behind Text that is to be pointed at, and what follows
	More         int    // how many characters there are behind that
	Failed       bool   // the check of this part has failed
}

// idLen is the number of characters of a key id.
const idLen = 6

// Dissect takes out of a cookie's value the Unix seconds when securecookie sealed it, and
// the payload, in base64 again. It goes by the lengths of the parts and verifies nothing,
// so it works on a cookie that was tampered with.
func Dissect(value string) (stamp, payload string, ok bool) {
	id, sealed, _ := strings.Cut(value, ".")
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if !sessions.IsKeyID(id) || err != nil || len(b) < 10+1+1+sha256.Size {
		return "", "", false
	}
	digits := 10 // until 2286
	if b[9] == '|' {
		digits = 9 // until September 2001
	}
	return string(b[:digits]), string(b[digits+1 : len(b)-1-sha256.Size]), true
}

// stampTime returns the time that the stamp of a cookie says. It fails if that is none, as
// in a forged one.
func stampTime(stamp string) (t time.Time, ok bool) {
	seconds, err := strconv.ParseUint(stamp, 10, 34) // ten digits
	return time.Unix(int64(seconds), 0).UTC(), err == nil
}

// Parts takes apart the value of a cookie that got the verdict v, if it has the form.
// Nothing of it needs to be verified. If T has hidden fields, no more of the payload is
// shown than when the session began.
func Parts[T any](value string, v sessions.Verdict) (parts []Part) {
	stamp, payload, ok := Dissect(value)
	if !ok || v == sessions.TooLarge {
		return nil
	}
	start := 0
	add := func(class string, chars, shown int, failure ...sessions.Verdict) {
		parts = append(parts, Part{
			Class: class, Start: start, Chars: chars, Text: value[start : start+shown],
			More: chars - shown, Failed: slices.Contains(failure, v),
		})
		start += chars
	}
	// A byte of what base64 encodes takes four thirds of a character.
	chars := func(bytes int) int { return (4*bytes + 1) / 3 }
	stampChars, payloadChars := chars(len(stamp)+1), chars(len(payload)+1)
	shown := chars(max(4, len(payload)-deviceChars(payload)) + 1)
	if Hides[T]() {
		shown = chars(7)
	}
	add("id", idLen+1, idLen+1, sessions.UnknownKey)
	add("stamp", stampChars, stampChars)
	parts[0].Decoded, parts[1].Decoded = value[:idLen], strconv.Quote(stamp)
	if sealed, ok := stampTime(stamp); ok {
		parts[1].Decoded = stamp + " = " + sealed.Format("2 January 2006, 15:04:05 UTC")
	}
	add("payload", payloadChars, min(payloadChars, maxShown, shown), sessions.Malformed)
	add("mac", len(value)-start, 4, sessions.Tampered)
	return parts
}

// deviceChars returns how many characters a payload in base64 ends with that are the key
// of a device, which is shown to nobody. It goes by both ends alone: a character between
// them may have been forged.
func deviceChars(payload string) int {
	const bytes = 2 + deviceBytes // its length in CBOR is before it
	n := base64.URLEncoding.EncodedLen(bytes)
	head := decoded(payload[:min(4, len(payload))])
	tail := decoded(payload[max(0, len(payload)-n-4):])
	at := len(tail) - bytes
	isBound := len(head) > 0 && head[0] == boundArray
	if !isBound || at < 0 || tail[at] != 0x58 || tail[at+1] != deviceBytes {
		return 0
	}
	return n
}

// decoded returns what a payload in base64 says, as far as it can be decoded.
func decoded(payload string) []byte {
	b, _ := base64.URLEncoding.DecodeString(payload)
	return b
}
