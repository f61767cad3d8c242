package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cookiesession/internal/testkit"
	"cookiesession/sessions"
)

// What these tests know of the program. Its routes and the words on its pages stand where
// they are tested.
const (
	keysVariable = "COOKIESESSION_KEYS"
	keyA         = testkit.KeyA
	keyB         = testkit.KeyB
	keyC         = testkit.KeyC

	plainCookie  = "session" // over plain HTTP
	secureCookie = "__Host-Http-session"

	idLen  = 6  // characters of a key id, before the dot in a cookie's value
	macLen = 43 // characters of the MAC at its end, a part of one more perhaps

	maxBody         = 64 << 10         // bytes that are read of a form
	writeTimeout    = 20 * time.Second // for a request and its response
	shutdownTimeout = 25 * time.Second // for requests in flight, at the end
	floodLimit      = 10               // lines of one kind that are logged in a second
)

// withKeyA is the environment of most programs here.
var withKeyA = environ{keysVariable: keyA}

// cookieNameAt returns what the session cookie of a site is called.
func cookieNameAt(base string) string {
	if strings.HasPrefix(base, "https:") {
		return secureCookie
	}
	return plainCookie
}

// flip changes a character in the middle of a cookie's MAC.
func flip(value string) string {
	i := len(value) - 20
	other := "A"
	if value[i] == 'A' {
		other = "B"
	}
	return value[:i] + other + value[i+1:]
}

// form is the header of a posted form.
func form() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
}

// jar is one visitor with a name, without a browser.
type jar struct {
	t      testing.TB
	cookie string // as it stands in a header
}

// newJar has a visitor set a name at a site.
func newJar(t testing.TB, url, name string) *jar {
	t.Helper()
	j := &jar{t: t}
	res, body := testkit.Send(t, "POST", url+"/set_name", "name="+name, form())
	if res.StatusCode != 200 || len(res.Cookies()) != 1 {
		t.Fatalf("got status %d and %q", res.StatusCode, body)
	}
	j.keep(res)
	return j
}

func (j *jar) keep(res *http.Response) {
	for _, c := range res.Cookies() {
		j.cookie = c.Name + "=" + c.Value
	}
}

// value returns the cookie's value.
func (j *jar) value() string {
	_, value, _ := strings.Cut(j.cookie, "=")
	return value
}

// ask asks for the name, and keeps a cookie that comes with it.
func (j *jar) ask(url string) string {
	j.t.Helper()
	res, body := testkit.Send(j.t, "GET", url+"/get_name", "", http.Header{"Cookie": {j.cookie}})
	j.keep(res)
	return strings.TrimSpace(body)
}

// askSite makes one request as a page of the site does, and returns the response
// with its body.
func askSite(client *http.Client, base, method, path, form, cookie string) (
	*http.Response, string, error) {
	r, err := http.NewRequest(method, base+path, strings.NewReader(form))
	if err != nil {
		return nil, "", err
	}
	r.Header = http.Header{
		"Cookie": {cookie}, "Origin": {base},
		"Content-Type": {"application/x-www-form-urlencoded"},
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// pageAt returns what is at an address.
func pageAt(t testing.TB, address string) string {
	t.Helper()
	res, body := testkit.Send(t, "GET", address, "", http.Header{})
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: got status %d and %s", address, res.StatusCode, body)
	}
	return body
}

// metricsOf returns the page of metrics that an operator's listener serves.
func metricsOf(t testing.TB, p *testkit.Server) string {
	t.Helper()
	return pageAt(t, p.AdminURL()+"/metrics")
}

// visitorData is what the site keeps of a visitor.
type visitorData struct{ Name string }

// overHTTP is what the site's sessions are by default.
var overHTTP = sessions.Options[visitorData]{Insecure: true}

// bake returns the cookie's value that the site seals with a key at a time.
func bake(t *testing.T, key, name string, at time.Time, o sessions.Options[visitorData]) (
	value string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at)) // by the clock of its bubble, which begins in 2000
		k, err := sessions.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := sessions.NewKeyring(k)
		if err != nil {
			t.Fatal(err)
		}
		m, err := sessions.New(keys, o)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Seal(visitorData{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		value = c.Value
	})
	return value
}
