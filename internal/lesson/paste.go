package lesson

import (
	"net/http"
	"strings"
	"time"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

const maxPasted = 8     // cookies are judged in a request
const maxPerSecond = 20 // such requests are answered, of all visitors together

// pasted is what the page for pasted cookies shows.
type pasted struct {
	Cookies []report.Report
	More    int    // that were not looked at
	Problem string // with what came
	Base    string // address of the site
}

// paste judges the cookies in a text that somebody has pasted. It keeps nothing of them.
func (l *lesson[T]) paste(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	s.Passive = true
	form, err := posted(r)
	if err != nil {
		return web.Answer{}, err
	}
	ans, v := web.Answer{Page: "paste"}, pasted{Base: l.base(r)}
	var values []string
	pastes := strings.TrimSpace(strings.Join(form["cookie"], "\n"))
	pasting := r.Method == http.MethodPost
	may := pastes == "" || l.mayPaste()
	if may { // to find them is most of the work
		values = report.Find(pastes)
	}
	switch {
	case !pasting:
	case !may:
		ans.Status = http.StatusTooManyRequests
		ans.Header = http.Header{"Retry-After": {"1"}}
		v.Problem = "Too many cookies are pasted here right now. Try again in a moment."
	case len(values) == 0:
		ans.Status = http.StatusUnprocessableEntity
		v.Problem = "There is no cookie of this site's form in it: " +
			"six characters, a dot, and a long text without spaces."
	default:
		v.More = max(0, len(values)-maxPasted)
		for _, value := range values[:len(values)-v.More] {
			v.Cookies = append(v.Cookies, l.judge(value))
		}
	}
	ans.Text, ans.Data = text("paste", v), v
	return ans, nil
}

// judge returns the verdict on a cookie's value, and what can be seen of it without a key.
// Otherwise an expired one from an old log or backup could be read here.
func (l *lesson[T]) judge(value string) report.Report {
	judged := report.Of(l.about, l.own.Open(&http.Cookie{Value: value}))
	r := report.Peek[T](l.about.Cookie, value)
	r.Verdict, r.Passed, r.Role = judged.Verdict, judged.Passed, judged.Role
	r.Encrypted, r.Parts, r.KeysEnd = judged.Encrypted, judged.Parts, judged.KeysEnd
	r.IdleEnd, r.End = judged.IdleEnd, judged.End
	return r
}

// mayPaste reports whether one more form may be looked at, and counts it.
func (l *lesson[T]) mayPaste() bool {
	select {
	case l.pastes <- struct{}{}:
		time.AfterFunc(time.Second, func() { <-l.pastes })
		return true
	default:
		return false
	}
}
