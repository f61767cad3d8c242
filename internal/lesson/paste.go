package lesson

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

const (
	maxPasted    = 8  // cookies are judged in a request
	maxPerSecond = 20 // such requests are answered, whoever sends them
)

// pasted is what the page for pasted cookies shows.
type pasted struct {
	Cookies []report.Report
	More    int    // cookies that were not looked at
	Problem string // with what came
	MaxKiB  int    // of a form
	Max     int    // cookies
}

// paste judges the cookies in a text that somebody has pasted. It keeps nothing of them.
func (l *lesson[T]) paste(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	s.Passive = true
	v := pasted{MaxKiB: web.MaxBody >> 10, Max: maxPasted}
	ans := web.Answer{Page: "paste"}
	if r.Method == http.MethodPost {
		form, err := web.Form(r)
		if err != nil {
			return web.Answer{}, err
		}
		values := report.Find(strings.Join(form["cookie"], "\n"))
		switch {
		case len(values) == 0:
			ans.Status = http.StatusUnprocessableEntity
			v.Problem = "There is no cookie of this site's form in it: " +
				"six characters, a dot, and a long text without spaces."
		case !l.pace.allows(time.Now()):
			ans.Status = http.StatusTooManyRequests
			ans.Header = http.Header{"Retry-After": {"1"}}
			v.Problem = "Too many cookies are pasted here right now. Try again in a moment."
		default:
			v.More = max(0, len(values)-maxPasted)
			for _, value := range values[:len(values)-v.More] {
				v.Cookies = append(v.Cookies, l.judge(value))
			}
		}
	}
	ans.Text, ans.Data = v.text(l.base(r)), v
	return ans, nil
}

// judge returns the verdict on a cookie's value, and what can be seen of it without a key:
// old logs and backups would be decrypted here for whoever has them.
func (l *lesson[T]) judge(value string) report.Report {
	judged := report.Of(l.about, l.own.Open(&http.Cookie{Value: value}))
	r := report.Peek[T](l.about.Cookie, value)
	r.Verdict, r.Passed, r.KeyID = judged.Verdict, judged.Passed, judged.KeyID
	r.Role, r.Encrypted, r.Parts = judged.Role, judged.Encrypted, judged.Parts
	if r.Readable {
		r.IdleEnd, r.End = judged.IdleEnd, judged.End
	}
	return r
}

// text returns v for a client that wants no page. The base is the site's address.
func (v pasted) text(base string) string {
	if v.Problem != "" {
		return v.Problem
	}
	var lines []string
	for _, r := range v.Cookies {
		text := r.Text("inspect") + "\nmeaning       " + r.Why()
		if r.Readable && !r.Verified() {
			text += "\nbut           nothing of what it says is verified"
		}
		lines = append(lines, text)
	}
	if v.More > 0 {
		lines = append(lines, fmt.Sprintf("not looked at %d more", v.More))
	}
	if len(lines) == 0 {
		return "Send a cookie to have it judged, from a jar of curl's or a header:\n" +
			"curl --data-urlencode cookie@jar " + base + "/paste"
	}
	return strings.Join(lines, "\n\n")
}

// pace bounds how often something is done in a second, by all visitors together.
type pace struct {
	mu     sync.Mutex
	second int64
	count  int
}

// allows reports whether it may be done once more.
func (p *pace) allows(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if second := now.Unix(); second != p.second {
		p.second, p.count = second, 0
	}
	p.count++
	return p.count <= maxPerSecond
}
