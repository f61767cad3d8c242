package lesson

import (
	"cmp"
	"fmt"
	"net/http"

	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// purse is the session in the samples of the page on old cookies. They are sealed with
// the site's keys, so that each copy of the site can open them, and under another cookie's
// name, which the MAC covers: nobody can use them as a session.
type purse struct{ Balance int }

// purseName is a name that no site with the same keys has for its sessions.
const purseName = "replay-sample.b7f01d8e5a3c4962"

const price = 30 // of what can be bought

// replayed is what that page shows.
type replayed struct {
	Sample, Old string // in use, and the first one once something was spent
	Balance     int    // in the one in use
	Do          string // what was done: spend, again, or nothing
	Problem     string
	Base        string // address of the site
}

// replay spends what is in a sample, or takes an old one again. It really opens and seals
// them, and keeps nothing.
func (l *lesson[T]) replay(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	s.Passive = true
	form, err := posted(r)
	if err != nil {
		return web.Answer{}, err
	}
	v := replayed{
		Do: form.Get("do"), Sample: form.Get("sample"), Old: form.Get("old"), Base: l.base(r),
	}
	if v.Do == "again" {
		v.Sample = v.Old
	} else if v.Sample == "" {
		v.Sample = must(l.purses.Seal(purse{Balance: 100})).Value
	}
	sample := l.purses.Open(&http.Cookie{Value: v.Sample})
	v.Balance = sample.Data.Balance
	verdict := sample.Verdict()
	if verdict == sessions.Valid && v.Old != "" {
		verdict = l.purses.Open(&http.Cookie{Value: v.Old}).Verdict()
	}
	switch {
	case verdict != sessions.Valid:
		v.Problem = fmt.Sprintf("That is not a good sample of this page: %s.", verdict)
		v.Sample, v.Old = "", ""
	case v.Do == "spend" && v.Balance < price:
		v.Problem = fmt.Sprintf("Only %d is left, so you can't spend %d.", v.Balance, price)
	case v.Do == "spend":
		v.Balance -= price
		v.Old = cmp.Or(v.Old, v.Sample)
		v.Sample = must(l.purses.Seal(purse{Balance: v.Balance})).Value
	}
	ans := web.Answer{Text: text("replay", v), Page: "replay", Data: v}
	if v.Problem != "" {
		ans.Status = http.StatusUnprocessableEntity
	}
	return ans, nil
}
