package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/sessions"
)

const twoWeeks = 14 * 24 * time.Hour

// A cookie that Django 3.2.25 has made, and what its user had as a password.
const (
	golden = ".eJztjL0OgjAQx9-ls2mutNDC6M4TGEPueoegBhIok_HdhYRBd0eWX_L_fKkGl9Q1yyxT07OqlFenb48wP" +
		"mTYAr7jcBt1HIc09aS3it7TWdcjy_O8d38OOpy7dd0CUPAhD1x4CZawzICtQcbWGgjAIbrcWPGFFSnzjF" +
		"zp2QE5kLYwQutpxCmp6qKS4KoOHvwnr-8PoJ7g7g:1xXdt5:f5CYuTAw0TtiKQfTFr2tZWX4u8pmQ0PyKw7" +
		"dHe33bz8"
	goldenPassword = "pbkdf2_sha256$260000$hzFDrjzvBvLsujKFCUYU6v$" +
		"jsZV0iT9aFMR6q26OaLj/W5lbZ1P4sTnKJ0LjeyjE1s="
)

func oldSite(age time.Duration) django {
	return django{secrets: []string{"a secret, ü", "the secret of before"}, age: age}
}

func TestGolden(t *testing.T) {
	old := oldSite(100 * 365 * 24 * time.Hour)
	var d data
	if err := old.session(golden, &d); err != nil {
		t.Fatal(err)
	}
	if d.User != "7" || len(d.Cart) != 100 || !old.isHash(d.Hash, goldenPassword) {
		t.Errorf("got %+v", d)
	}
	if old.isHash(d.Hash, "another") || old.isHash("", goldenPassword) {
		t.Error("the hash of another password is good")
	}
}

func TestRefused(t *testing.T) {
	old := oldSite(100 * 365 * 24 * time.Hour)
	for name, value := range map[string]string{
		"empty":              "",
		"colons":             "::",
		"another payload":    strings.Replace(golden, ".eJ", ".eK", 1),
		"another time":       strings.Replace(golden, ":1xX", ":1xY", 1),
		"another MAC":        golden[:len(golden)-8] + "AAAAAAAA",
		"half a MAC":         golden[:len(golden)-20],
		"no MAC":             golden[:strings.LastIndex(golden, ":")],
		"not compressed now": strings.TrimPrefix(golden, "."),
	} {
		if err := old.session(value, new(data)); err == nil {
			t.Errorf("%s: it is good", name)
		}
	}
}

// madeByDjango is what testdata/site.py prints.
type madeByDjango struct {
	Cookies  map[string]string
	Password string
}

var errNoDjango = errors.New("there is no Django: install python3-django")

// runDjango has testdata/site.py make cookies, and the password of its user.
var runDjango = sync.OnceValues(func() (made madeByDjango, err error) {
	for _, python := range []string{"python3", "/usr/bin/python3"} { // the second is Debian's
		if exec.Command(python, "-c", "import django").Run() != nil {
			continue
		}
		out, err := exec.Command(python, "testdata/site.py").Output()
		if err == nil {
			err = json.Unmarshal(out, &made)
		}
		return made, err
	}
	return made, errNoDjango
})

func fromDjango(t *testing.T) (cookies map[string]string, password string) {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs Python")
	}
	made, err := runDjango()
	if err == errNoDjango && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made.Cookies, made.Password
}

// visitor returns a browser that has a cookie of Django's.
func visitor(t *testing.T, site, value string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(parse(t, site), []*http.Cookie{{Name: "sessionid", Value: value}})
	return &http.Client{Jar: jar}
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func serve(t *testing.T, users map[string]string) string {
	t.Helper()
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	h, err := newSite(keys, oldSite(twoWeeks), users)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// page returns what r, the answer to a request of c's, says. c may have one cookie.
func page(t *testing.T, c *http.Client, r *http.Response, err error) (text, cookie string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s, %v", r.Request.URL, r.Status, body, err)
	}
	for _, c := range c.Jar.Cookies(r.Request.URL) {
		cookie += c.Name
	}
	return string(body), cookie
}

func TestTakenOver(t *testing.T) {
	cookies, password := fromDjango(t)
	site := serve(t, map[string]string{"7": password})
	tea := func(user string, n int) string {
		return fmt.Sprintf("User: %s\nCart: %s\n", user, strings.Join(
			strings.Fields(strings.Repeat("tea ", n)), ", "))
	}
	tests := []struct{ cookie, want, left string }{
		{"anonymous", tea("", 1), "session"},
		{"compressed", tea("", 100), "session"},
		{"unicode", "User: \nCart: thé, 茶, 🍵\n", "session"},
		{"logged in", tea("7", 1), "session"},
		{"logged in, compressed", tea("7", 100), "session"},
		{"not yet expired", tea("", 1), "session"},
		{"the key of before", tea("7", 1), "session"},
		{"expired", tea("", 0), "sessionid"},
		{"another key", tea("", 0), "sessionid"},
	}
	if len(tests) != len(cookies) {
		t.Errorf("%d cookies were made, %d are tried", len(cookies), len(tests))
	}
	for _, test := range tests {
		t.Run(test.cookie, func(t *testing.T) {
			c := visitor(t, site, cookies[test.cookie])
			for range 2 { // from the old cookie, and from the new one
				r, err := c.Get(site)
				if got, left := page(t, c, r, err); got != test.want || left != test.left {
					t.Errorf("got %q and the cookie %s, want %q and %s",
						got, left, test.want, test.left)
				}
			}
		})
	}
}

// A user has a cart, goes on with it, and logs out.
func TestGoesOn(t *testing.T) {
	cookies, password := fromDjango(t)
	site := serve(t, map[string]string{"7": password})
	c := visitor(t, site, cookies["logged in"])
	for _, step := range []struct{ path, want, left string }{
		{"/cart", "User: 7\nCart: tea, cake\n", "session"}, // with the first request
		{"/cart", "User: 7\nCart: tea, cake, cake\n", "session"},
		{"/logout", "User: \nCart: \n", ""},
	} {
		r, err := c.PostForm(site+step.path, url.Values{"item": {"cake"}})
		if got, left := page(t, c, r, err); got != step.want || left != step.left {
			t.Errorf("%s: got %q and the cookie %q, want %q and %q",
				step.path, got, left, step.want, step.left)
		}
	}
}

// A user who has another password by now is logged out, as Django would do it: with an old
// cookie, and with one that was taken over.
func TestAnotherPassword(t *testing.T) {
	cookies, password := fromDjango(t)
	users := map[string]string{"7": password}
	site := serve(t, users)
	c := visitor(t, site, cookies["logged in"])
	r, err := c.Get(site)
	if got, _ := page(t, c, r, err); !strings.HasPrefix(got, "User: 7\n") {
		t.Fatalf("got %q", got)
	}
	for name, change := range map[string]func(){
		"changed": func() { users["7"] = "pbkdf2_sha256$260000$another" },
		"deleted": func() { delete(users, "7") },
	} {
		change()
		for _, c := range []*http.Client{c, visitor(t, site, cookies["logged in"])} {
			r, err := c.Get(site)
			if got, _ := page(t, c, r, err); got != "User: \nCart: \n" {
				t.Errorf("%s: got %q", name, got)
			}
		}
	}
}
