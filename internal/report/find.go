package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"cookiesession/sessions"
)

const (
	// maxFound is how many values are found in a text. No more that aren't whole are looked
	// at, since to look for the rest of one takes milliseconds.
	maxFound = 16

	// maxGap is how many characters a line's end may take within a value, with the signs
	// of a quotation or of a string that goes on.
	maxGap = 24

	// leastSealed is how long the sealed part of a value is at least, and leastTime how
	// many characters of it have the time.
	leastSealed, leastTime = 59, 15
)

var (
	// colours matches what switches the colours of a terminal.
	colours = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

	// escapes match a character that a URL or a string has in hexadecimal digits.
	escapes = []*regexp.Regexp{
		regexp.MustCompile(`%[0-9A-Fa-f]{2}`), regexp.MustCompile(`\\(?:x|u00)[0-9A-Fa-f]{2}`),
	}

	// dressed is what mails, logs, editors and trackers make of the characters of a value.
	dressed = strings.NewReplacer("=3D", "=", `\t`, " ", `\n`, " ", `\r`, " ", `\_`, "_",
		`\-`, "-", `\.`, ".", "<wbr>", "", "\u2010", "-", "\u2011", "-",
		"\u2013", "--", "\u2014", "--")

	// ids matches a key's id and the dot behind it. A line may end within it.
	ids = regexp.MustCompile(`(?:^|[^A-Za-z0-9])((?:[a-z2-7](?:=?\r?\n[ \t>]{0,9})?){6})\.`)

	// payloads matches a payload and what ends it, behind the time.
	payloads = regexp.MustCompile(`^[A-Za-z0-9_=-]+\|`)

	// stretches matches what may be a part of a value's sealed part.
	stretches = regexp.MustCompile(`[A-Za-z0-9_-]+`)
)

// Find returns the values in text that have the form of a session cookie, anywhere, in
// their order, each once, and no more than 16. They may be quoted, escaped and broken into
// lines, as browsers, tools, logs and mails write them. One that begins as a cookie of ours
// and isn't whole is returned as it is.
func Find(text string) (values []string) {
	text = plainText(text)
	broken := 0
	for len(values) < maxFound && broken < maxFound {
		match := ids.FindStringSubmatchIndex(text)
		if match == nil {
			break
		}
		id := text[match[2]:match[3]]
		text = text[match[1]-1:] // the dot is also what another id may stand behind
		sealed, isWhole := findSealed(text[1:])
		if sealed == "" {
			continue
		}
		if !isWhole {
			broken++
		}
		value := strings.Join(stretches.FindAllString(id, -1), "") + "." + sealed
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}

// plainText returns text without what tools have put in it: colours, escapes of the Windows
// command line, the zero bytes of UTF-16, what can't be seen.
func plainText(text string) string {
	text = colours.ReplaceAllString(html.UnescapeString(text), "")
	text = strings.Map(func(r rune) rune {
		if r == 0 || r == '^' || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text)
	for range 2 { // since what is escaped may get escaped again
		for _, e := range escapes {
			text = e.ReplaceAllStringFunc(text, func(s string) string {
				b, _ := hex.DecodeString(s[len(s)-2:]) // which are two digits
				return string(b)
			})
		}
	}
	return dressed.Replace(text)
}

// findSealed returns the sealed part of a value, with which text begins, or nothing, and
// whether it is whole. It joins stretches until it is. If it never is, the first is returned.
func findSealed(text string) (value string, isWhole bool) {
	var first, sealed string
	for len(sealed) < sessions.MaxSize {
		at := stretches.FindStringIndex(text[:min(len(text), sessions.MaxSize)])
		if at == nil || at[0] > maxGap {
			break
		}
		sealed += text[at[0]:at[1]]
		text = text[at[1]:]
		first = cmp.Or(first, sealed)
		if begins, _ := Missing(sealed); !begins && len(sealed) > leastTime {
			break
		}
		// Behind it there may be signs of emphasis.
		for _, s := range []string{sealed, strings.TrimRight(sealed, "_-")} {
			if begins, missing := Missing(s); begins && missing == "" {
				return s, true
			}
		}
	}
	if begins, _ := Missing(first); begins || len(first) >= leastSealed {
		return first, false
	}
	return "", false
}

// Missing reports whether the sealed part of a value begins as one of ours does, with the
// time, and what is wrong with its length, if anything.
func Missing(sealed string) (begins bool, what string) {
	b, _ := base64.RawURLEncoding.DecodeString(sealed) // as far as that goes
	stamp, rest, ok := strings.Cut(string(b), "|")
	if !ok || len(stamp) < 9 || len(stamp) > 10 || strings.Trim(stamp, "0123456789") != "" {
		return false, ""
	}
	isWhole := base64.RawURLEncoding.EncodedLen(len(b)) == len(sealed)
	payload := payloads.FindString(rest)
	if isWhole && payload != "" && len(payload) == len(rest)-sha256.Size {
		return true, ""
	}
	whole := len(stamp) + 1 + len(payload) + sha256.Size
	if n := base64.RawURLEncoding.EncodedLen(whole) - len(sealed); payload != "" && n > 0 {
		return true, fmt.Sprintf("characters missing: %d", n)
	}
	return true, "characters are missing, or there are too many"
}
