package lesson_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// pastes sends a text that somebody has pasted, as a browser does or as curl does.
func (s *site) pastes(text, accept string) (*http.Response, string) {
	r := s.request("POST", "/paste", "", url.Values{"cookie": {text}}.Encode())
	r.Header.Set("Accept", accept)
	return s.do(r)
}

// Each cookie gets its verdict. What is in it is shown if it is signed only, which its
// holder can read anyway, and of an encrypted one nothing, not even when its session began.
// Neither the page nor the log has what would do as a cookie.
func TestPaste(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		for state, cookie := range s.states(t) {
			if state == "two" || state == "last of six" || len(report.Find(cookie)) == 0 {
				continue
			}
			verdict := string(s.judge(cookie).Verdict)
			mark := "✗ " + verdict
			if verdict == "valid" {
				mark = "✓ valid"
			}
			_, page := s.pastes(cookie, "text/html")
			says(t, state, page, []string{mark, `<textarea id="cookie"`}, []string{cookie})
			_, text := s.pastes("Cookie: "+s.cookie+"="+cookie, "*/*")
			says(t, state, text, []string{"verdict       " + verdict + "\n"}, []string{cookie})
			inside := strings.Contains(page, "<dt>Owner</dt>")
			if want := s.sign && state != "too large" && state != "unfit"; inside != want {
				t.Errorf("%s: got fields: %v, want %v in %s", state, inside, want, page)
			}
			unproven := slices.Contains([]string{"tampered", "unknown key"}, verdict)
			if ends := strings.Contains(text, "\nends, idle "); ends != (inside && !unproven) ||
				!s.sign && strings.Contains(text, "\nbegan ") {
				t.Errorf("%s: got times that nobody may see, or none, in %s", state, text)
			}
			unverified := strings.Contains(page, "nothing of it is verified")
			told := strings.Contains(text, "nothing of what it says is verified")
			want := inside && unproven
			if unverified != want || told != want {
				t.Errorf("%s: got it told to be unverified: %v, %v", state, unverified, told)
			}
			if showsMAC(page+text+s.log.String(), cookie) {
				t.Errorf("%s: got a MAC in %s", state, page+text+s.log.String())
			}
			time.Sleep(time.Second)
		}
		if log := s.log.String(); strings.Contains(log, "Ada") {
			t.Errorf("got the log %s", log)
		}
	})
}

// Without a cookie in it, it is said what one looks like. No more than eight are judged.
func TestPasteOtherTexts(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true})
	good := s.states(t)["valid"]
	for text, want := range map[string]struct {
		status int
		say    string
	}{
		"":                        {422, `role="alert">There is no cookie of this site`},
		"<script>":                {422, `aria-invalid="true"`},
		"sessionid=" + good[7:40]: {422, "six characters, a dot"},
		"#HttpOnly_localhost	FALSE	/	FALSE	0	session	" + good: {200, "✓ valid"},

		strings.Repeat("x", 64<<10): {413, "too large"},
		many(8):                     {200, "Paste another"},
		many(1):                     {200, "This server makes a new key each time it starts"},
		many(9):                     {200, "1 more were not looked at"},
	} {
		res, page := s.pastes(text, "text/html")
		if res.StatusCode != want.status || strings.Count(page, "✗ unknown key") > 8 {
			t.Errorf("%.40q: got status %d, want %d", text, res.StatusCode, want.status)
		}
		says(t, text, page, []string{want.say}, []string{"<script>"})
	}
	for _, method := range []string{"GET", "HEAD"} {
		r := s.request(method, "/paste", s.states(t)["renewed"], "")
		if res, _ := s.do(r); res.StatusCode != 200 || res.Header["Set-Cookie"] != nil {
			t.Errorf("%s: got status %d and the cookie renewed", method, res.StatusCode)
		}
	}
}

// many returns a text with n cookies of keys that nobody has.
func many(n int) (text string) {
	for i := range n {
		text += "aaaaa" + string(rune('a'+i)) + "." + strings.Repeat("A", 59) + "\n"
	}
	return text
}

// The key of a device is shown nowhere.
func TestPasteABoundCookie(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{SignOnly: true, Bind: time.Minute})
	cookie := s.seal(t, 0, append(session("Ada", 0, 0), device))
	payload := report.Parts[cart](cookie, sessions.Valid)[2]
	end := payload.Start + payload.Chars
	for _, accept := range []string{"text/html", "*/*"} {
		_, page := s.pastes(cookie, accept)
		says(t, accept, page, []string{"Ada"}, []string{
			"07 4d 07 4d", "074d074d", cookie[end-30 : end-10], cookie[end-20 : end],
		})
	}
}

// Twenty such forms are answered in a second, whoever sends them.
func TestPastePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, sessions.Options[cart]{Insecure: true})
		for i := range 50 {
			if i == 25 {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			want := 200
			if i%25 >= 20 {
				want = 429
			}
			if res, _ := s.pastes(" ", "text/html"); res.StatusCode != 422 { // doesn't count
				t.Errorf("%d: got status %d for nothing", i, res.StatusCode)
			}
			res, page := s.pastes(many(1), "text/html")
			if after := res.Header.Get("Retry-After"); res.StatusCode != want ||
				(after == "1") != (want == 429) {
				t.Errorf("%d: got status %d and Retry-After %q, want %d",
					i, res.StatusCode, after, want)
			}
			if want == 429 {
				says(t, "429", page, []string{"Try again in a moment."}, []string{"unknown key"})
			}
		}
	})
}
