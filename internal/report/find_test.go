package report_test

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"cookiesession/internal/report"
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
// ours if it is as long as one. A few of very many will do.
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
	if got := report.Find(many); len(got) != 16 {
		t.Errorf("got %d of 20", len(got))
	}
	// Of those that aren't whole, no more are looked for, so that nobody can make it slow.
	cuts := strings.Repeat(found[:25]+" ", 16)
	if got := report.Find(cuts[26:] + found); !slices.Equal(got, []string{found[:25], found}) {
		t.Errorf("got %q behind 15 broken ones", got)
	}
	if got := report.Find(cuts + found); !slices.Equal(got, []string{found[:25]}) {
		t.Errorf("got %q behind 16 broken ones", got)
	}
}

func TestMissing(t *testing.T) {
	sealed := found[7:]
	const somewhere = "characters are missing, or there are too many"
	for text, want := range map[string]string{
		sealed: "true ", "": "false ", "hello": "false ", strings.Repeat("A", 90): "false ",
		sealed[:len(sealed)-1]:           "true characters missing: 1",
		sealed[:len(sealed)-30]:          "true characters missing: 30",
		sealed[:80] + sealed[81:]:        "true characters missing: 1",
		sealed[:30]:                      "true " + somewhere,
		sealed[:20] + sealed[21:]:        "true " + somewhere,
		sealed[:12] + "A" + sealed[12:]:  "false ",
		sealed + "A":                     "true " + somewhere,
		sealed + "AAAA":                  "true " + somewhere,
		"MTc2NzIyNTYwMDB8" + sealed[15:]: "false ", // eleven digits
	} {
		begins, missing := report.Missing(text)
		if got := fmt.Sprint(begins, " ", missing); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
