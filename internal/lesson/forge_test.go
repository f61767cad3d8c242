package lesson_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// forms are what the buttons send.
var forms = []string{"part=id", "part=stamp", "part=payload", "part=mac", "part=key"}

// Each part of the cookie in turn is changed, and found out.
func TestForge(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		good := s.states(t)["valid"]
		for _, form := range forms {
			verdict, why := "tampered", "Its seal doesn&#39;t fit"
			switch form {
			case "part=id":
				verdict, why = "unknown key", "It names a key that this server doesn&#39;t have"
			case "part=key":
				why = "The MAC is a good one, but of the wrong key."
			}
			_, page := s.do(s.request("POST", "/forge", good, form))
			says(t, form, page, []string{
				`Verdict on the forged copy: <strong class="bad">` + verdict + `</strong>`, why,
				"<strong>Your own cookie is still valid.</strong> Nothing was set, deleted",
				"✗ " + verdict, `value="mac" aria-label="Change it: the MAC">`,
			}, []string{"sample", "<h2>What is in it", "Ada", "just sent"})
		}
		r := s.request("POST", "/forge", good, "part=mac")
		r.Header.Del("Accept")
		_, text := s.do(r)
		says(t, "as text", text, []string{
			"forged        ", "\nverdict       tampered\n", ", failed\n", "\nyour own      valid\n",
		}, []string{"sample"})
	})
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
				"Character %d of the copy was changed from <code>%c</code> to <code>%s</code>.",
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
// says what has become of the visitor's own cookie, and whether a sample was forged, as
// its button had said.
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
		button := "a copy of your cookie"
		if was.KeyID == "" {
			button = "a copy of a sample"
		}
		says(t, state, s.page(cookie), []string{button}, nil)
		for _, form := range forms {
			res, page := s.do(s.request("POST", "/forge", cookie, form))
			if res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
				t.Errorf("%s, %s: got status %d and Set-Cookie %q",
					state, form, res.StatusCode, res.Header["Set-Cookie"])
			}
			says(t, state+", "+form, page, []string{own, button}, nil)
			sample := was.KeyID == "" || form == "part=key" && was.Verdict != sessions.Valid
			if got := strings.Contains(page, "so a sample that this server"); got != sample {
				t.Errorf("%s, %s: got the report on a sample: %v", state, form, got)
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
		if want := "Send the field part once: id, stamp, payload, mac or key."; status == 422 {
			says(t, form, body, []string{want}, nil)
		}
	}
	if res, _ := s.do(s.request("GET", "/forge", good, "")); res.StatusCode != 405 {
		t.Errorf("GET: got status %d", res.StatusCode)
	}
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
}
