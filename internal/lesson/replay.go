package lesson

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"

	"cookiesession/internal/report"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// purse is the session in the samples of the page on old cookies.
type purse struct{ Balance int }

const (
	fullPurse = 100
	price     = 30
)

// newPurses returns a manager that seals such samples, which go to and fro in a form. It
// has the site's keys, so that each copy of the site can open them, and another cookie's
// name, which the MAC covers: nobody can use them as a session.
func newPurses[T any](site *web.Site[T]) *sessions.Manager[purse] {
	o := site.Options
	m, err := sessions.New(site.Keys, sessions.Options[purse]{
		Name: cmp.Or(o.Name, "session") + "-sample", Insecure: true, SignOnly: o.SignOnly,
	})
	if err != nil {
		panic(err) // but the site's own cookie has such a name
	}
	return m
}

// sample is one of these, and what is in it.
type sample struct {
	Value   string
	Balance int
	Parts   []report.Part
}

// replayed is what the page on old cookies shows.
type replayed struct {
	Now, Old sample // the one in use, and the first one once something was spent
	Do       string // what was done: spend, again, or nothing
	Problem  string
	Price    int
}

// replay spends what is in a sample, or takes an old one again. It really opens and seals
// them, and keeps nothing.
func (l *lesson[T]) replay(r *http.Request, s *sessions.Session[T]) (web.Answer, error) {
	s.Passive = true
	var form url.Values
	if r.Method == http.MethodPost {
		var err error
		if form, err = web.Form(r); err != nil {
			return web.Answer{}, err
		}
	}
	v := replayed{Do: form.Get("do"), Price: price}
	v.play(l.purses, form.Get("sample"), form.Get("old"))
	ans := web.Answer{Text: v.text(l.base(r)), Page: "replay", Data: v}
	if v.Problem != "" {
		ans.Status = http.StatusUnprocessableEntity
	}
	return ans, nil
}

// play does what is to be done with the samples that came, if they are good. Who has none
// gets one.
func (v *replayed) play(purses *sessions.Manager[purse], now, old string) {
	open := func(value string) sample {
		s := purses.Open(&http.Cookie{Value: value})
		if s.Verdict() != sessions.Valid {
			v.Problem = fmt.Sprintf("That is not a good sample of this page: %s. "+
				"Here is a new one.", s.Verdict())
		}
		return sample{Value: value, Balance: s.Data.Balance, Parts: whole[purse](value)}
	}
	start := func() sample { return open(seal(purses, purse{Balance: fullPurse})) }
	if v.Do == "again" {
		now = old
	}
	if now == "" {
		v.Do, v.Now = "", start()
		return
	}
	v.Now = open(now)
	if old != "" {
		v.Old = open(old)
	}
	switch {
	case v.Do != "spend" && v.Do != "again":
		v.Problem = "Send the field do once: spend or again. Here is a new sample."
		fallthrough
	case v.Problem != "":
		v.Do, v.Now, v.Old = "", start(), sample{}
	case v.Do == "spend" && v.Now.Balance < price:
		v.Problem = fmt.Sprintf("Only %d is left, so you can't spend %d.", v.Now.Balance, price)
	case v.Do == "spend":
		if old == "" {
			v.Old = v.Now
		}
		v.Now = open(seal(purses, purse{Balance: v.Now.Balance - price}))
	}
}

// Meaning says what has just happened.
func (v replayed) Meaning() string {
	switch {
	case v.Problem != "":
		return v.Problem
	case v.Do == "spend":
		return "The server sealed a new cookie. But you still have the old one."
	case v.Do == "again":
		return "You have your money back. The seal of the old cookie is as good as ever, and " +
			"the server keeps nothing that could tell it that there is a newer one."
	}
	return "The balance is in this sample cookie. The server keeps no copy of it."
}

// text returns v for a client that wants no page. The base is the site's address.
func (v replayed) text(base string) string {
	text := fmt.Sprintf("balance       %d\nsample        %s\nmeaning       %s\n"+
		"to spend %d   curl -d 'do=spend&sample=%s' %s/replay",
		v.Now.Balance, v.Now.Value, v.Meaning(), price, v.Now.Value, base)
	if v.Old.Value != "" {
		text += fmt.Sprintf("\nold one again curl -d 'do=again&old=%s' %s/replay",
			v.Old.Value, base)
	}
	return text
}
