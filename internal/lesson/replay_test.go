package lesson_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/sessions"
)

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// replays sends the form of a page with one of its buttons, and returns the next page.
func (s *site) replays(t *testing.T, page, cookie, do string, status int) string {
	t.Helper()
	form := url.Values{"do": {do}}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], m[2])
	}
	res, next := s.do(s.request("POST", "/replay", cookie, form.Encode()))
	if res.StatusCode != status || res.Header["Set-Cookie"] != nil {
		t.Errorf("%s: got status %d and Set-Cookie %q, want %d and none",
			do, res.StatusCode, res.Header["Set-Cookie"], status)
	}
	return next
}

// What was spent is there again with the old sample, on any copy of the site, and once more.
// More than there is can't be spent. The visitor's own session has no part in it.
func TestReplay(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		other := newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: s.sign})
		own := s.states(t)["renewed"]
		_, page := s.do(s.request("GET", "/replay", own, ""))
		says(t, "at first", page, []string{
			"The balance is 100.", "Spend 30", "keeps no copy", "Spend some of it, then",
		}, []string{"Send the old cookie again", "What follows from it"})
		for _, step := range []struct {
			do      string
			status  int
			balance string
		}{
			{"spend", 200, "The balance is 70."},
			{"spend", 200, "The balance is 40."},
			{"again", 200, "The balance is 100 again."},
			{"spend", 200, "The balance is 70."},
			{"again", 200, "The balance is 100 again."},
			{"spend", 200, "The balance is 70."},
			{"spend", 200, "The balance is 40."},
			{"spend", 200, "The balance is 10."},
			{"spend", 422, `role="alert">Only 10 is left, so you can&#39;t spend 30.`},
			{"again", 200, "The balance is 100 again."},
		} {
			page = s.replays(t, page, own, step.do, step.status)
			says(t, step.do, page, []string{step.balance, "What follows from it"},
				[]string{"Ada", own[20:40]})
			s, other = other, s
		}
	})
}

// A sample is good for nothing else, and nothing else is taken for one.
func TestReplayRefuses(t *testing.T) {
	bothModes(t, func(t *testing.T, s *site) {
		_, page := s.do(s.request("GET", "/replay", "", ""))
		sample := hiddenField.FindStringSubmatch(page)[2]
		if got := s.judge(sample).Verdict; got != sessions.Tampered {
			t.Errorf("got a sample that is %s as a session", got)
		}
		session := s.states(t)["valid"]
		for form, why := range map[string]string{
			"do=spend&sample=" + session:                    "tampered",
			"do=again&old=" + session:                       "tampered",
			"do=spend&sample=" + s.states(t)["unknown key"]: "unknown key",
			"do=spend&sample=<script>":                      "malformed",
			"do=spend&sample=" + sample + "&old='$(id)":     "malformed",
			"do=spend&sample=" + sample + "&old=" + session: "tampered",
			"do=again":                  "malformed",
			"do=again&sample=" + sample: "malformed",
			"do=spend&sample=" + strings.Repeat("a", 5000): "too large",
		} {
			res, page := s.do(s.request("POST", "/replay", session, form))
			if res.StatusCode != 422 {
				t.Errorf("%.40s: got status %d, want 422", form, res.StatusCode)
			}
			says(t, form, page, []string{"not a good sample of this page: " + why, "Begin again"},
				[]string{"<script>", "$(id)", "Ada", session, "The balance", "money back"})
		}
		time.Sleep(15 * 24 * time.Hour)
		_, page = s.do(s.request("POST", "/replay", "", "do=spend&sample="+sample))
		says(t, "old", page, []string{"expired", "Begin again"}, nil)
	})
}

// A sample is no session of another site that has the same keys, and its sessions are no
// samples, whatever its cookie is called.
func TestSamplesOfOtherNames(t *testing.T) {
	names := []string{"session-sample", strings.Repeat("n", 58), strings.Repeat("n", 64)}
	for _, name := range names {
		s := newSite(t, sessions.Options[cart]{Insecure: true})
		other := newSite(t, sessions.Options[cart]{Insecure: true, Name: name})
		_, page := s.do(s.request("GET", "/replay", "", ""))
		if got := other.judge(hiddenField.FindStringSubmatch(page)[2]).Verdict; got != "tampered" {
			t.Errorf("%s: got a sample that is %s as a session", name, got)
		}
		session := other.states(t)["valid"]
		res, _ := s.do(s.request("POST", "/replay", "", "do=again&old="+session))
		if res.StatusCode != 422 {
			t.Errorf("%s: got a session taken for a sample", name)
		}
		if res, _ = other.do(other.request("GET", "/replay", "", "")); res.StatusCode != 200 {
			t.Errorf("%s: got status %d", name, res.StatusCode)
		}
	}
}

// The commands in the text do the same.
func TestReplayAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, sessions.Options[cart]{Insecure: true})
		command := regexp.MustCompile(`curl -d '([^']*)' http://example.com/replay`)
		form, do := "", "GET"
		for _, balance := range []int{100, 70, 100} {
			r := s.request(do, "/replay", "", form)
			r.Header.Set("Accept", "*/*")
			_, text := s.do(r)
			says(t, form, text, []string{fmt.Sprintf("balance       %d\n", balance)}, nil)
			commands := command.FindAllStringSubmatch(text, -1)
			form, do = commands[len(commands)-1][1], "POST"
		}
		if res, _ := s.do(s.request("HEAD", "/replay", "", "")); res.StatusCode != 200 {
			t.Errorf("HEAD: got status %d", res.StatusCode)
		}
	})
}
