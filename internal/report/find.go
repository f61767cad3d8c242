package report

import (
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
	// maxGap is how many characters a line's end may take within a value, with the signs
	// of a quotation or of a string that goes on.
	maxGap = 24

	// leastSealed is how long the sealed part of a value is at least.
	leastSealed = 59

	// maxText is how much text the sealed part of a value may take, with such gaps.
	maxText = 2 * sessions.MaxSize
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

	// ids matches a key's id, before its dot. A line may end within it.
	ids = regexp.MustCompile(`(?:^|[^A-Za-z0-9])((?:[a-z2-7](?:=?\r?\n[ \t>]{0,9})?){6})$`)

	// heads matches what a sealed part has before the MAC: the time, and then the payload
	// with what ends it, if that is there.
	heads = regexp.MustCompile(`^[0-9]{9,10}\|([A-Za-z0-9_=-]+\|)?`)

	// stretches matches what may be a part of a value's sealed part.
	stretches = regexp.MustCompile(`[A-Za-z0-9_-]+`)
)

// Find returns the values in text that have the form of a session cookie, anywhere, in
// their order, each once. They may be quoted, escaped and broken into lines, as browsers,
// tools, logs and mails write them. One that begins as a cookie of ours and isn't whole is
// returned as it is. Find goes from dot to dot, of which each value has one, and looks at
// no character more than a few times.
func Find(text string) (values []string) {
	seen := make(map[string]bool)
	before, after, more := strings.Cut(plainText(text), ".")
	for ; more; before, after, more = strings.Cut(after, ".") {
		match := ids.FindStringSubmatch(before)
		if match == nil {
			continue
		}
		sealed := findSealed(after)
		value := strings.Join(stretches.FindAllString(match[1], -1), "") + "." + sealed
		if sealed != "" && !seen[value] {
			seen[value] = true
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

// findSealed returns the sealed part of a value, with which text begins, or nothing. It
// joins stretches, up to the next dot, which no sealed part has. If they make none that is
// whole, it returns the first one.
func findSealed(text string) string {
	text, _, _ = strings.Cut(text[:min(len(text), maxText)], ".")
	var joined []byte
	var ends []int // of the stretches that are joined
	last := 0
	for _, at := range stretches.FindAllStringIndex(text, -1) {
		if at[0]-last > maxGap {
			break
		}
		joined, last = append(joined, text[at[0]:at[1]]...), at[1]
		ends = append(ends, len(joined))
	}
	if len(ends) == 0 {
		return ""
	}
	whole, _ := wholeLen(string(joined))
	// Behind it there may be signs of emphasis.
	i, _ := slices.BinarySearch(ends, whole)
	if i < len(ends) && strings.Trim(string(joined[whole:ends[i]]), "_-") == "" {
		return string(joined[:whole])
	}
	first := string(joined[:ends[0]])
	if _, begins := wholeLen(first); begins || len(first) >= leastSealed {
		return first
	}
	return ""
}

// wholeLen returns how long a sealed part is when it is whole, by what it has before the
// MAC, or 0 if not all of that is there. It begins as one of ours does if the time is there.
func wholeLen(sealed string) (n int, begins bool) {
	b, _ := base64.RawURLEncoding.DecodeString(sealed) // as far as that goes
	match := heads.FindSubmatchIndex(b)
	if match == nil || match[2] < 0 {
		return 0, match != nil
	}
	return base64.RawURLEncoding.EncodedLen(match[1] + sha256.Size), true
}

// Missing returns what is wrong with the length of the sealed part of a value, if it begins
// as one of ours does, with the time.
func Missing(sealed string) string {
	whole, begins := wholeLen(sealed)
	switch missing := whole - len(sealed); {
	case !begins || missing == 0:
		return ""
	case missing > 0:
		return fmt.Sprintf("characters missing: %d", missing)
	}
	return "characters are missing, or there are too many"
}
