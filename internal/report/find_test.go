package report_test

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

const (
	found = "eyj7fr.MTc2NzIyNTYwMHxneHBwVmJrQUFLRmtUbUZ0WldWQmJHbGpaUT09fDrqLmHC_Ca8_LRffcVOb_z_f" +
		"ROcc-fg6Giem5NGXnPW"
	foundLater = "5cpkia.MTc5NTk2MTI5MHxneHBwVmJrQUFLRmtUbUZ0WldWQmJHbGpaUT09fDrqLmHC_Ca8_LRffcVO" +
		"b_z_fROcc-fg6Giem5NGXnPW"
)

// broken returns text in lines of some characters.
func broken(text string, chars int, end string) string {
	var lines []string
	for part := range slices.Chunk([]byte(text), chars) {
		lines = append(lines, string(part))
	}
	return strings.Join(lines, end)
}

// A cookie is found as browsers, tools, logs, mails and people write it.
func TestFind(t *testing.T) {
	const header = "Set-Cookie: session=@; Path=/; Max-Age=9"
	var utf16LE strings.Builder
	for _, u := range utf16.Encode([]rune("\uFEFFsession=" + found)) {
		utf16LE.Write([]byte{byte(u), byte(u >> 8)})
	}
	wide := strings.ReplaceAll(header, "@", found)
	for name, text := range map[string]string{
		"bare": "@\r\n", "quoted": `"@"`, "header": "Cookie: a=b; session=@; c=d",
		"set": header, "over 76": broken(wide, 76, "\n"), "over 30": broken(wide, 30, "\r\n   "),
		"in its id":      "session=ey\n j7fr" + found[6:],
		"quoted mail":    "> " + broken(wide, 72, "\n> "),
		"soft breaks":    broken(strings.Replace(wide, "=", "=3D", 1), 75, "=\n"),
		"words wrapped":  broken(found, 40, " "),
		"strings":        `"` + broken(found, 40, "\" +\n\t\"") + `"`,
		"shell":          `curl 'http://localhost/' -H 'Cookie: session=@' --compressed`,
		"shell's breaks": broken(found, 50, "\\\n"),
		"curl -b":        `curl -b "session=@" localhost`,
		"cmd":            `curl ^"http://localhost/^" -b ^"session=@^"`,
		"cmd, percent":   `-b ^"session^%^3D@^%^3B^"`,
		"PowerShell":     `(New-Object System.Net.Cookie("session", "@", "/", "localhost"))`,
		"curl -v":        "< HTTP/1.1 200 OK\r\n< set-cookie: session=@; Path=/\r\n<\r\n",
		"jar":            "#HttpOnly_localhost\tFALSE\t/\tFALSE\t1\tsession\t@\nlocalhost\tFALSE",
		"devtools' rows": "session\t@\tlocalhost\t/\tSession\t119\t✓",
		"HAR":            `{"name": "session",` + "\n" + `"value": "@", "httpOnly": true}`,
		"HAR in JSON":    `"{\"name\":\"session\",\"value\":\"@\"}"`,
		"JSON's equals":  `{"cookie":"session\u003d@"}`,
		"tabs in JSON":   `"session\t@\n"`,
		"Firefox":        `session:"@"`,
		"Go":             "&{Name:session Value:@ Quoted:false Path:/}",
		"Go, map":        "map[Cookie:[session=@]]",
		"Python":         "Cookie(version=0, name='session', value='@', port=None)",
		"Python, dict":   "{'session': '@'}", "Python, bytes": `b'session=@'`,
		"YAML": "session: @\nother: x", "JS": "document.cookie = `session=@`;",
		"Wireshark": `Cookie: session=@\r\n`, "nginx": `"GET / HTTP/1.1" "session=\x22@\x22"`,
		"HAProxy": "GET / {session=@} 200", "percent": "session%3D@%3B%20Path%3D%2F",
		"all percent":   "session%3D" + strings.NewReplacer(".", "%2E", "-", "%2d").Replace(found),
		"percent twice": "session%253D@%253B",
		"URL":           "http://localhost/paste?cookie=@&x=y",
		"HTML":          "<td>session=" + html.EscapeString(`"@"`) + "</td>",
		"HTML, numbers": "session&#61;&#x22;@&#x22;",
		"wbr":           strings.Replace(found, "-", "-<wbr>", 1),
		"zero width":    broken(found, 20, "\u200b"), "soft hyphens": broken(found, 9, "\u00ad"),
		"marks of direction": "\u202a@\u202c", "smart quotes": "“@”",
		"dashes": strings.Replace(found, "-", "\u2011", 1),
		"code":   "`@`", "bold": "**@**", "italics": "_@_", "table": "| session | @ |",
		"escaped underscores": strings.NewReplacer("_", `\_`, "-", `\-`).Replace(found),
		"end of a sentence":   "It is @.", "or so": "(@), @; @: @! @? @… @",
		"colours": "\x1b[01;31m\x1b[K@\x1b[m\x1b[K", "UTF-16": utf16LE.String(),
	} {
		text = strings.ReplaceAll(text, "@", found)
		if got := report.Find(text); !slices.Equal(got, []string{found}) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// Several come in their order. What isn't whole comes as it is, and what begins as none of
// ours if it is as long as one.
func TestFindOthers(t *testing.T) {
	foreign := "abcdef." + strings.Repeat("A", 59)
	cut := found[:60]
	var many string
	for i := range 20 {
		many += fmt.Sprintf("session=%s%02d%s\n", found[:9], i, found[11:])
	}
	for text, want := range map[string][]string{
		"a=" + foundLater + "; b=" + found + "; c=" + foundLater: {foundLater, found},
		found + " " + foundLater:                                 {found, foundLater},
		"session=" + cut + "; Path=/":                            {cut}, cut + "…": {cut},
		found[:25] + " and more":   {found[:25]},
		found[:30] + found[31:]:    {found[:30] + found[31:]},
		"x " + foreign + " y":      {foreign},
		foreign[:len(foreign)-1]:   nil,
		"EYJ7FR" + found[6:]:       nil,
		"xey" + found:              nil,
		"github.com, report.text.": nil, "": nil,
	} {
		if got := report.Find(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	// However many there are, none is overlooked.
	if got := report.Find(many + found); len(got) != 21 || got[20] != found {
		t.Errorf("got %d of 21", len(got))
	}
}

// A gap within a value is 24 characters long at most, and a value with its gaps has no more
// than twice the characters of the largest one.
func TestFindGaps(t *testing.T) {
	for chars, want := range map[int]string{24: found, 25: found[:60]} {
		text := found[:60] + strings.Repeat(" ", chars) + found[60:]
		if got := report.Find(text); !slices.Equal(got, []string{want}) {
			t.Errorf("%d: got %q", chars, got)
		}
	}
	large := found[:7] + strings.Repeat("A", 3*sessions.MaxSize)
	if got := report.Find(large); len(got) != 1 || len(got[0]) != 7+2*sessions.MaxSize {
		t.Errorf("got %d values of %d characters", len(got), len(large))
	}
}

// No text takes long: of each of these, a megabyte takes about a seventh of a second. It
// would take minutes if the finder looked again and again at what it has seen.
func TestFindIsQuick(t *testing.T) {
	spread := strings.Join(strings.Split(found[7:], ""), " ")
	for _, part := range []string{
		"hjqkus.M T c 5 N T k 2 M z U w M H w A B ",
		"hjqkus." + spread[:len(spread)-2] + " ", "hjqkus." + spread[:40] + "  ", "aaaaaa.",
		found[:25] + " M T c ", ".", "a", "aaaaaa", "a\n", "%25", "&amp;", "^", found[:7] + "A ",
		"aaaaaa." + strings.Repeat("A ", 20_000), found[:25] + strings.Repeat(" A", 20_000),
	} {
		text := strings.Repeat(part, 1+256<<10/len(part))
		began := time.Now()
		values := report.Find(text)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%.40q: took %v to find %d values", part, took, len(values))
		}
	}
}

func TestMissing(t *testing.T) {
	sealed := found[7:]
	const somewhere = "characters are missing, or there are too many"
	for text, want := range map[string]string{
		sealed: "", "": "", "hello": "", strings.Repeat("A", 90): "",
		sealed[:len(sealed)-1]:           "characters missing: 1",
		sealed[:len(sealed)-30]:          "characters missing: 30",
		sealed[:80] + sealed[81:]:        "characters missing: 1",
		sealed[:30]:                      "" + somewhere,
		sealed[:20] + sealed[21:]:        "" + somewhere,
		sealed[:12] + "A" + sealed[12:]:  "",
		sealed + "A":                     "" + somewhere,
		sealed + "AAAA":                  "" + somewhere,
		"MTc2NzIyNTYwMDB8" + sealed[15:]: "", // eleven digits
	} {
		if got := report.Missing(text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
