package lesson_test

import (
	"html/template"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"cookiesession/internal/lesson"
	"cookiesession/internal/metrics"
	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

var (
	tag      = regexp.MustCompile(`<[^>]*>`)
	shownMAC = regexp.MustCompile(`<span class="mac[^"]*">([^<]*)` +
		`(?:<mark>([^<]*)</mark>([^<]*))?<span class="hidden">`)
)

// showsMAC reports whether a text has more of a cookie's MAC than four characters.
func showsMAC(text, value string) bool {
	for _, shown := range shownMAC.FindAllStringSubmatch(text, -1) {
		if len(shown[1]+shown[2]+shown[3]) > 4 {
			return true
		}
	}
	parts := report.Parts[cart](value, sessions.Valid)
	for i := range 30 {
		if parts != nil && strings.Contains(text, value[parts[3].Start+i:][:8]) {
			return true
		}
	}
	return false
}

// Of a MAC four characters at most are shown: of the cookie that came, of the one that
// goes, of samples and of forged ones. So nothing that is shown would do as a cookie.
func TestNoMACIsShown(t *testing.T) {
	macs := 0
	bothModes(t, func(t *testing.T, s *site) {
		if good := s.states(t)["valid"]; !showsMAC("<b>"+good[20:]+"hidden</b>", good) {
			t.Fatal("the test does not find a MAC")
		}
		for state, cookie := range s.states(t) {
			change := s.request("POST", "/change?owner=Eve", cookie, "")
			for _, r := range append(s.visits(cookie), change) {
				res, body := s.do(r)
				body = strings.Replace(body, `<span class="mac">MAC</span>`, "", 1) // the word
				shown := len(shownMAC.FindAllString(body, -1))
				bad := strings.Count(body, `<span class="mac`) != shown // of another form
				macs += shown
				for _, value := range strings.Split(cookie, "; "+s.cookie+"=") {
					bad = bad || showsMAC(body, value)
				}
				for _, c := range res.Cookies() {
					bad = bad || showsMAC(body, c.Value)
				}
				if bad {
					t.Errorf("%s, %s: got a MAC in %s", state, r.URL, body)
				}
			}
		}
	})
	if macs < 100 {
		t.Errorf("tried only %d MACs", macs)
	}
}

// What a field's tag hides is on no page, in whichever spelling, though its size is.
func TestHiddenField(t *testing.T) {
	type account struct {
		Owner string
		Token string `cookiesession:"hidden"`
	}
	const token = "a token that nobody may see, not even in part"
	for _, sign := range []bool{false, true} {
		key, _ := sessions.ParseKey(secrets[0])
		keys, _ := sessions.NewKeyring(key)
		o := sessions.Options[account]{Insecure: true, SignOnly: sign}
		w, err := web.New(keys, o, web.Config{
			Files: pages(t), Funcs: template.FuncMap{"sent": report.Sent[account]},
			Log: slog.New(slog.DiscardHandler), Record: metrics.New(keys, sign, "session"),
		})
		if err != nil {
			t.Fatal(err)
		}
		router := mux.NewRouter()
		lesson.Routes(router, w, account{Owner: "Zoe", Token: token})
		router.HandleFunc("/change", w.Action(
			func(_ *http.Request, s *sessions.Session[account]) (web.Answer, error) {
				s.Data.Token = strings.ToUpper(token)
				return web.Answer{Page: "done"}, nil
			}))
		s := &site{Handler: w.Handler(router), cookie: "session"}
		c, err := w.Sessions.Seal(account{Owner: "Ada", Token: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{c.Value, ""} {
			requests := append(s.visits(value), s.request("POST", "/change", value, ""))
			for _, r := range requests {
				res, page := s.do(r)
				not := []string{token, "6e 6f 62 6f 64 79", c.Value[len(c.Value)/2:][:12]}
				for _, sent := range res.Cookies() {
					not = append(not, strings.ToUpper(token), sent.Value[len(sent.Value)/2:][:12])
				}
				says(t, r.URL.Path, page, nil, not)
				if res.StatusCode != 200 {
					t.Errorf("%s: got status %d", r.URL.Path, res.StatusCode)
				}
			}
			says(t, "/session", s.page(value), []string{"hidden, 47 bytes"}, nil)
		}
	}
}

// It is said of a session that it is bound. The key of the device is shown nowhere.
func TestBoundCookie(t *testing.T) {
	for want, bind := range map[string]time.Duration{
		"The public key of your device is in it":          0,
		`<strong class="verdict bad">✗ unproven</strong>`: time.Minute,
	} {
		s := newSite(t, sessions.Options[cart]{SignOnly: true, Bind: bind})
		cookie := s.seal(t, 0, append(session("Ada", 0, 0), device))
		says(t, "bound", s.page(cookie), []string{want, "bound to a device."}, nil)
		unbound, stolen := s.page(s.states(t)["valid"]), "ones until the ticket runs out"
		if got := strings.Contains(unbound, "is not bound to this device"); got != (bind > 0) {
			t.Errorf("got it told that a session is not bound: %v", got)
		}
		says(t, "not bound", unbound, []string{"Stolen and old copies work"}, []string{stolen})
		if got := strings.Contains(s.page(cookie), stolen); got != (bind > 0) {
			t.Errorf("got it told that a ticket helps: %v", got)
		}
		if got := strings.Contains(s.page(""), "<code>-bind</code>"); got != (bind == 0) {
			t.Errorf("got the flag named: %v", got)
		}
		payload := report.Parts[cart](cookie, sessions.Valid)[2]
		end := payload.Start + payload.Chars
		for _, r := range s.visits(cookie) {
			_, page := s.do(r)
			says(t, r.URL.Path, page, nil, []string{
				"07 4d 07 4d", "074d074d", cookie[end-30 : end-10], cookie[end-20 : end],
			})
		}
	}
}
