package lesson_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

var (
	tag       = regexp.MustCompile(`<[^>]*>`)
	cookieRun = regexp.MustCompile(`[A-Za-z0-9_.-]+`)
	idAndDot  = regexp.MustCompile(`[a-z2-7]{6}\.`)
	shownMAC  = regexp.MustCompile(`<span class="mac[^"]*">([^<]*)` +
		`(?:<mark>([^<]*)</mark>([^<]*))?<span class="hidden">`)
)

// accepted returns what in a text would be accepted as a cookie: a run of the characters
// of cookies, or a part of one.
func (s *site) accepted(t testing.TB, text string, seen map[string]bool) (found []string) {
	keys, err := sessions.NewKeyring(s.keys[0], s.keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sessions.New(keys, sessions.Options[struct{}]{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{text, html.UnescapeString(tag.ReplaceAllString(text, ""))} {
		for _, run := range cookieRun.FindAllString(text, -1) {
			if seen[run] {
				continue
			}
			seen[run] = true
			for _, at := range idAndDot.FindAllStringIndex(run, -1) {
				for end := at[1] + 1; end <= len(run); end++ {
					value := run[at[0]:end]
					if m.Open(&http.Cookie{Value: value}).Verdict() == sessions.Valid {
						found = append(found, value)
					}
				}
			}
		}
	}
	return found
}

// showsMAC reports whether a text has more of a cookie's MAC than four characters.
func showsMAC(text, value string) bool {
	for _, shown := range shownMAC.FindAllStringSubmatch(text, -1) {
		if len(shown[1]+shown[2]+shown[3]) > 4 {
			return true
		}
	}
	parts := report.Parts(value, sessions.Valid)
	if parts == nil {
		return false
	}
	mac := value[parts[3].Start:]
	for i := range len(mac) - 7 {
		if strings.Contains(text, mac[i:i+8]) {
			return true
		}
	}
	return false
}

// Nothing that is shown would do as a cookie, and of a MAC there are four characters at
// most: of the cookie that came, of the one that goes, of samples and of forged ones.
func TestNothingShownIsACookie(t *testing.T) {
	seen, macs := make(map[string]bool), 0
	bothModes(t, func(t *testing.T, s *site) {
		good := s.states(t)["valid"]
		in := "<b>" + good[:30] + "</b><i>" + good[30:] + "hidden</i>"
		for _, text := range []string{good, in} {
			if s.accepted(t, text, make(map[string]bool)) == nil || !showsMAC(text[20:], good) {
				t.Fatalf("the test does not find the cookie in %s", text)
			}
		}
		for state, cookie := range s.states(t) {
			change := s.request("POST", "/change?owner=Eve", cookie, "")
			for _, r := range append(s.visits(cookie), change) {
				res, body := s.do(r)
				if found := s.accepted(t, body, seen); found != nil {
					t.Errorf("%s, %s: %q would be accepted", state, r.URL, found)
				}
				shown := len(shownMAC.FindAllString(body, -1))
				if strings.Count(body, `<span class="mac`) != shown {
					t.Errorf("%s, %s: got a MAC of another form in %s", state, r.URL, body)
				}
				macs += shown
				values := strings.Split(cookie, "; "+s.cookie+"=")
				for _, c := range res.Cookies() {
					values = append(values, c.Value)
				}
				for _, value := range values {
					if showsMAC(body, value) {
						t.Errorf("%s, %s: got a MAC in %s", state, r.URL, body)
					}
				}
			}
		}
	})
	if len(seen) < 1000 || macs < 100 {
		t.Errorf("tried only %d runs and %d MACs", len(seen), macs)
	}
}

// A cookie of any length that has the form can be shown and forged, whatever is in it.
func TestAnyCookieIsShown(t *testing.T) {
	s := newSite(t, sessions.Options[cart]{Insecure: true, SignOnly: true})
	_, id := s.keys[0].IDs()
	end := append([]byte{0x58, 33}, device...)
	for n := range 60 {
		for _, content := range []string{
			strings.Repeat("h", n), strings.Repeat("|", n),
			base64.URLEncoding.EncodeToString(append(bytes.Repeat([]byte{0x84}, n), end...)),
		} {
			sealed := "1767225600|" + content + "|" + strings.Repeat("m", sha256.Size)
			value := id + "." + base64.RawURLEncoding.EncodeToString([]byte(sealed))
			for _, r := range s.visits(value) {
				if res, page := s.do(r); res.StatusCode != 200 {
					t.Fatalf("%d, %s: got status %d and %s", n, r.URL, res.StatusCode, page)
				}
			}
		}
	}
}

// spellings returns the ways in which base64 has b in the middle of something longer.
func spellings(b []byte) (all []string) {
	for before := range 3 {
		text := base64.URLEncoding.EncodeToString(append(make([]byte, before), b...))
		all = append(all, text[4:len(text)-4])
	}
	return all
}

// It is said of a session that it is bound. The key of the device is shown nowhere.
func TestBoundCookie(t *testing.T) {
	hidden := []string{"07 4d 07 4d", "074d074d"}
	for _, once := range spellings(device[1:20]) {
		hidden = append(append(hidden, once), spellings([]byte(once))...)
	}
	for _, tt := range []struct {
		bind time.Duration
		want []string
	}{
		{want: []string{"the public key of your device, which this page leaves out", ">Ada<"}},
		{bind: time.Minute, want: []string{
			`<strong class="bad">unproven</strong>`, "no live ticket from there came",
		}},
	} {
		s := newSite(t, sessions.Options[cart]{SignOnly: true, Bind: tt.bind})
		cookie := s.seal(t, 0, append(session("Ada", 0, 0), device))
		says(t, "bound", s.page(cookie), append(tt.want, "<strong>bound to a device</strong>"), nil)
		found := 0
		for _, text := range hidden {
			found += strings.Count(cookie, text)
		}
		if found == 0 {
			t.Fatal("the test does not find the key in the cookie")
		}
		for _, r := range s.visits(cookie) {
			_, page := s.do(r)
			says(t, r.URL.Path, page, nil, hidden)
		}
	}
}
