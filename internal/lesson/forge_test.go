package lesson_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// forms are what the buttons send.
var forms = []string{
	"part=id", "part=stamp", "part=payload", "part=mac", "part=key", "part=name",
}

const tampered = `<span class="verdict bad">✗ tampered</span>`

// changed says which character was changed.
var changed = regexp.MustCompile(
	`^forged        character \d+ is (\S) instead of (\S), in a sample\n`)

// Each part of the cookie in turn is changed, and found out. It is said why.
func TestForge(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		good := s.states(t)["valid"]
		for form, want := range map[string][]string{
			"part=id": {
				`<span class="verdict bad">✗ unknown key</span>`,
				"The server has no key with this id",
			},
			"part=stamp":   {tampered, "The MAC belongs to the old text, so it no longer fits."},
			"part=payload": {tampered, "<title>You changed the payload</title>", "belongs to the old"},
			"part=mac":     {tampered, "this is not the MAC that fits it"},
			"part=key":     {tampered, "Its MAC is right, but for the wrong key."},
			"part=name":    {tampered, "The MAC still belongs to the old one"},
		} {
			_, page := s.do(s.request("POST", "/forge", good, form))
			want = append(want, "<strong>Your own cookie is still valid.</strong> Nothing was set",
				`value="mac">MAC</button>`, `href="/session#forge"`, `href="/replay"`,
				`<li class="failed">`)
			says(t, form, page, want, []string{"sample", "<h2>What is in it", "Ada", "just sent", "not reached"})
		}
		r := s.request("POST", "/forge", good, "part=mac")
		r.Header.Del("Accept")
		_, text := s.do(r)
		says(t, "as text", text, []string{
			"forged        ", "\nverdict       tampered\n", ", failed\n", "\nyour own      valid\n",
		}, []string{"sample"})
		for range 300 { // one MAC in 64 has an a there already
			r := s.request("POST", "/forge", "", "part=mac")
			r.Header.Del("Accept")
			_, text := s.do(r)
			m := changed.FindStringSubmatch(text)
			if m == nil || m[1] == m[2] {
				t.Fatalf("got no character changed: %s", text)
			}
		}
		r = s.request("POST", "/forge", "", "part=key")
		r.Header.Del("Accept")
		_, text = s.do(r)
		const want = "forged        sealed with a key that was just made up, in a sample\n"
		says(t, "as text, of a key", text, []string{want}, nil)
		res, page := s.do(s.request("GET", "/forge", good, ""))
		says(t, "GET", page, []string{"Its button is at /session#try."}, nil)
		if res.StatusCode != 405 {
			t.Errorf("got status %d for a GET", res.StatusCode)
		}
	})
}

// A specimen is shown whole, before and after its name was changed. The MAC is the old one,
// and the one that would fit is another. The site's own keys have no part in it.
func TestForgeTheName(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		time.Sleep(25 * 365 * 24 * time.Hour) // the time stamp has a digit more since 2001
		_, page := s.do(s.request("POST", "/forge", "", "part=name"))
		began := time.Now().Unix()
		says(t, "page", html.UnescapeString(page), []string{
			fmt.Sprintf(`<dd><code>[%d, 0, {"Name": "Alice"}]</code>`, began),
			fmt.Sprintf(`<dd><code>[%d, 0, {"Name": "Mallory"}]</code>`, began),
			`<span class="verdict good">✓ valid</span>: whoever has the key`,
			"You still have no cookie.", "specimen, which the server made for somebody called Alice",
		}, nil)
		r := s.request("POST", "/forge", "", "part=name")
		r.Header.Del("Accept")
		_, text := s.do(r)
		says(t, "text", text, []string{
			`{"Name": "Alice"}]`, `{"Name": "Mallory"}]`, "\nverdict       tampered\n",
		}, nil)

		var whole []string
		for _, m := range wholeCookie.FindAllStringSubmatch(page, -1) {
			whole = append(whole, tag.ReplaceAllString(m[1], ""))
		}
		macs := fullMAC.FindAllStringSubmatch(page, -1)
		if len(whole) != 2 || len(macs) != 4 {
			t.Fatalf("got the cookies %q and the MACs %q", whole, macs)
		}
		before, after := unsealed(t, whole[0]), unsealed(t, whole[1])
		if end := len(before) - sha256.Size; !bytes.Equal(before[end:], after[end:]) ||
			bytes.Equal(before[:end], after[:end]) {
			t.Errorf("got %q before and %q after, want the same MAC and another payload",
				before, after)
		}
		kept, fits := macs[0][1], macs[1][1]
		if kept == fits || !strings.HasSuffix(whole[0], kept) || !strings.HasSuffix(whole[1], kept) {
			t.Errorf("got the MACs %s and %s of the cookies %q", kept, fits, whole)
		}
		if got := s.judge(whole[0]).Verdict; got != sessions.UnknownKey {
			t.Errorf("got the specimen %s on the site, want it to have a key of its own", got)
		}
	})
}

var (
	wholeCookie = regexp.MustCompile(`<p><code class="cookie">(.*class="full mac.*)</code></p>`)
	fullMAC     = regexp.MustCompile(`<span class="full mac[^"]*">([^<]*)</span>`)
)

// unsealed returns the bytes of a cookie's value behind the key id.
func unsealed(t *testing.T, value string) []byte {
	t.Helper()
	_, sealed, _ := strings.Cut(value, ".")
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The changed character is marked where it is, and it is told what it was.
func TestForgedCharacterIsMarked(t *testing.T) {
	shown := regexp.MustCompile(`(?s)<code class="cookie">(<span class=.*?)</code>`)
	bothModes(t, func(t *testing.T, s *site) {
		value := s.states(t)["valid"]
		for i, form := range forms[:4] {
			_, page := s.do(s.request("POST", "/forge", value, form))
			before, rest, _ := strings.Cut(shown.FindStringSubmatch(page)[1], "<mark>")
			letter, after, _ := strings.Cut(rest, "</mark>")
			before = html.UnescapeString(tag.ReplaceAllString(before, ""))
			at, p := len(before), report.Parts[cart](value, sessions.Valid)[i]
			if !strings.HasPrefix(value, before) || at < p.Start || at >= p.Start+p.Chars ||
				len(letter) != 1 || letter == value[at:at+1] || strings.Contains(after, "<mark>") {
				t.Errorf("%s: got the mark %q at %d in %s", form, letter, at, page)
			}
			says(t, form, page, []string{fmt.Sprintf(
				"You changed character %d from <code>%c</code> to <code>%s</code>.",
				at+1, value[at], letter)}, nil)
		}
		_, page := s.do(s.request("POST", "/forge", value, "part=key"))
		_, again := s.do(s.request("POST", "/forge", value, "part=key"))
		says(t, "key", page, []string{">" + value[:7] + "<"}, []string{"<mark>"})
		if shown.FindString(page) == shown.FindString(again) {
			t.Error("got the same made up key twice")
		}
	})
}

// Nothing is set, deleted or stored, whatever came: also no renewal that is due. The page
// says what has become of the visitor's own cookie, and whether a sample was forged.
func TestForgeLeavesTheCookieAlone(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	for state, cookie := range s.states(t) {
		was := s.judge(cookie)
		own := "Your own cookie is as it was: " + string(was.Verdict) + "."
		switch was.Verdict {
		case sessions.Valid:
			own = "Your own cookie is still valid."
		case sessions.None:
			own = "You still have no cookie."
		}
		button := "On a specimen or copy:"
		if was.KeyID == "" {
			button = "On a sample."
		}
		says(t, state, s.page(cookie), []string{button}, nil)
		for _, form := range forms {
			res, page := s.do(s.request("POST", "/forge", cookie, form))
			if res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
				t.Errorf("%s, %s: got status %d and Set-Cookie %q",
					state, form, res.StatusCode, res.Header["Set-Cookie"])
			}
			says(t, state+", "+form, page, []string{own}, nil)
			sample := form != "part=name" && was.KeyID == "" ||
				form == "part=key" && was.Verdict != sessions.Valid
			if got := strings.Contains(page, "so a sample that this server"); got != sample {
				t.Errorf("%s, %s: got the report on a sample: %v", state, form, got)
			}
			if sample && form == "part=key" && state != "none" {
				says(t, state, page, []string{"uses nothing that is in a cookie it has refused"}, nil)
			}
		}
	}
}

func TestForgeRefusesOtherForms(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	good := s.states(t)["renewed"]
	for form, status := range map[string]int{
		"": 422, "part=ID": 422, "part=mac&part=id": 422, "part=key%20id": 422, "part=%": 400,
	} {
		res, body := s.do(s.request("POST", "/forge?part=mac", good, form))
		if res.StatusCode != status || res.Header["Set-Cookie"] != nil ||
			strings.Contains(body, "forged") {
			t.Errorf("%.20q: got status %d and %s, want %d", form, res.StatusCode, body, status)
		}
		if want := "Send the field part once: name, id, stamp, payload, mac or key."; status == 422 {
			says(t, form, body, []string{want}, nil)
		}
	}
	res, page := s.do(s.request("GET", "/forge", good, ""))
	if res.StatusCode != 405 {
		t.Errorf("GET: got status %d", res.StatusCode)
	}
	says(t, "GET", page, []string{"Its button is at /session#try."}, nil)
}

// A long payload is shown in part, and the change in the part that is shown. Under a key
// that is made up, a session that fills its cookie still fits.
func TestForgeALongCookie(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	value := s.seal(t, 0, session(strings.Repeat("x", 2222), 600, 60))
	if size := len(s.cookie + value); size < sessions.MaxSize-40 || size > sessions.MaxSize {
		t.Fatalf("got a cookie of %d bytes", size)
	}
	_, page := s.do(s.request("POST", "/forge", value, "part=payload"))
	says(t, "payload", page, []string{"<mark>", "more characters", "✗ tampered"}, nil)
	_, page = s.do(s.request("POST", "/forge", value, "part=key"))
	says(t, "key", page, []string{"more characters", "✗ tampered"}, []string{"sample"})

	// Signed only, more fits, which the site can't seal itself.
	signing := newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: true})
	value = signing.seal(t, 0, session(strings.Repeat("x", 2230), 600, 60))
	_, page = s.do(s.request("POST", "/forge", value, "part=key"))
	says(t, "signed", page, []string{"more characters", "✗ tampered"}, []string{"sample"})
	says(t, "signed", s.page(value), []string{good}, []string{"Set-Cookie: "})

	// The name has the prefix that the site's own has.
	s = newSite(t, sessions.Options[cart]{Domain: "app.test"})
	for n := 2230; len(s.cookie+value) > sessions.MaxSize || n == 2230; n-- {
		value = s.seal(t, 0, session(strings.Repeat("x", n), 600, 60))
	}
	_, page = s.do(s.request("POST", "/forge", value, "part=payload"))
	says(t, "domain", page, []string{"✗ tampered"}, nil)
}
