package e2e

import (
	"cmp"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// tag is the start of an element of a page.
type tag struct {
	name string
	attr map[string]string
	form string // of a field or a button: the form's action
}

// tags returns the elements of a page.
func tags(t *testing.T, page string) (all []tag) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	form, byID := "", map[string]string{}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %s", err, page)
		}
		switch e := token.(type) {
		case xml.StartElement:
			one := tag{name: e.Name.Local, attr: map[string]string{}}
			for _, a := range e.Attr {
				one.attr[a.Name.Local] = a.Value
			}
			if one.name == "form" {
				form = one.attr["action"]
				byID[one.attr["id"]] = form
			}
			one.form = cmp.Or(byID[one.attr["form"]], form)
			all = append(all, one)
		case xml.EndElement:
			if e.Name.Local == "form" {
				form = ""
			}
		}
	}
}

// crawler follows all that the pages of a site lead to, as one visitor.
type crawler struct {
	t      *testing.T
	base   string
	cookie string
	done   map[string]bool            // what was requested
	ids    map[string]map[string]bool // those on the page at each address
	wanted map[string]string          // an address with a fragment, and who leads there
}

// crawl has a visitor with a cookie follow every link, form and asset from the home page on.
func crawl(t *testing.T, base, cookie string) *crawler {
	c := &crawler{t: t, base: base, cookie: cookie, done: map[string]bool{},
		ids: map[string]map[string]bool{}, wanted: map[string]string{}}
	c.visit("the visitor", "/")
	return c
}

// visit follows a link on the page from.
func (c *crawler) visit(from, target string) {
	at, fragment, _ := strings.Cut(strings.TrimPrefix(target, c.base), "#")
	if fragment != "" {
		c.wanted[at+"#"+fragment] = from
	}
	if c.done[at] {
		return
	}
	c.done[at] = true
	c.send(from, 200, "GET", at, "", nil)
}

// send makes a request that something on the page from leads to, and follows what the
// answer leads to.
func (c *crawler) send(from string, want int, method, target, body string, more http.Header) {
	c.t.Helper()
	header := form()
	header.Set("Accept", testkit.Browser)
	header.Set("Cookie", c.cookie)
	for name := range more {
		header.Set(name, more.Get(name))
	}
	res, page := testkit.Send(c.t, method, c.base+target, body, header)
	is := method + " " + target
	if res.StatusCode != want && (want != 0 || res.StatusCode == 404 || res.StatusCode == 405) {
		c.t.Errorf("%s leads to %s: got status %d", from, is, res.StatusCode)
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		c.follow(is, target, tags(c.t, page))
	}
}

// follow follows all that a page leads to.
func (c *crawler) follow(from, target string, all []tag) {
	ids, fields, buttons := map[string]bool{}, map[string]url.Values{}, map[string][]string{}
	var links []string
	for _, one := range all {
		a := one.attr
		if id := a["id"]; id != "" && ids[id] {
			c.t.Errorf("%s: got the id %s twice", from, id)
		}
		ids[a["id"]] = true
		switch {
		case a["href"] != "" || a["src"] != "":
			links = append(links, cmp.Or(a["href"], a["src"]))
		case one.name == "a", one.name == "form" && a["action"] == "":
			c.t.Errorf("%s: got an element that leads nowhere: %v", from, one)
		case one.name == "input", one.name == "textarea":
			if fields[one.form] == nil {
				fields[one.form] = url.Values{}
			}
			fields[one.form].Set(a["name"], cmp.Or(a["value"], "Alice"))
		case one.name == "button":
			buttons[one.form] = append(buttons[one.form], a["name"]+"="+url.QueryEscape(a["value"]))
		}
	}
	if c.ids[target] == nil || strings.HasPrefix(from, "GET ") {
		c.ids[target] = ids
	}
	for _, link := range links {
		u, err := url.Parse(link)
		local := strings.HasPrefix(link, c.base+"/") || strings.HasPrefix(link, "/")
		switch {
		case err != nil:
			c.t.Errorf("%s: %v", from, err)
		case strings.HasPrefix(link, "#"):
			if !ids[u.Fragment] {
				c.t.Errorf("%s: got nothing on the page at %s", from, link)
			}
		case local:
			c.visit(from, link)
		case u.Scheme != "https" || u.Host == "":
			c.t.Errorf("%s: got the link %s", from, link)
		}
	}
	for action, list := range buttons {
		for _, button := range list {
			key := strings.Join([]string{action, button, fields[action].Get("do")}, " ")
			if action == "" || c.done[key] {
				continue
			}
			c.done[key] = true
			c.send(from, 0, "POST", action, fields[action].Encode()+"&"+button, nil)
		}
	}
}

// end says what leads to a part of a page that isn't there.
func (c *crawler) end() {
	c.t.Helper()
	for target, from := range c.wanted {
		at, fragment, _ := strings.Cut(target, "#")
		if !c.ids[at][fragment] {
			c.t.Errorf("%s leads to %s, which is not on that page", from, target)
		}
	}
}

// Nothing on any page leads nowhere: no link, no part of a page, no form and no asset,
// whatever cookie the visitor has, and on the pages for what went wrong. Links to other
// sites are not followed.
func TestLinks(t *testing.T) {
	slow(t)
	for _, p := range []*testkit.Server{start(t, withKeyA), startForPages(t)} {
		base := strings.Replace(p.URL, "127.0.0.1", "localhost", 1)
		valid := bake(t, keyA, "Alice", time.Now(), overHTTP)
		for _, value := range []string{
			"", valid, flip(valid), "malformed",
			bake(t, keyC, "Alice", time.Now(), overHTTP),
			bake(t, keyA, "Alice", time.Now().Add(-15*day), overHTTP),
			bake(t, keyA, "Alice", time.Now().Add(10*time.Minute), overHTTP),
		} {
			c := crawl(t, base, plainCookie+"="+value)
			if len(c.done) < 12 {
				t.Errorf("got no more than %v", c.done)
			}
			for _, e := range []struct {
				status             int
				method, path, body string
				more               http.Header
			}{
				{404, "GET", "/nowhere", "", nil},
				{405, "GET", "/clear_name", "", nil},
				{405, "GET", "/forge", "", nil},
				{403, "POST", "/set_name", "name=A", http.Header{"Sec-Fetch-Site": {"cross-site"}}},
				{413, "POST", "/set_name", strings.Repeat("x", maxBody+1), nil},
				{415, "POST", "/set_name", "{}", http.Header{"Content-Type": {"application/json"}}},
				{422, "POST", "/set_name", "name=", nil},
				{422, "POST", "/forge", "part=all", nil},
			} {
				c.send("the visitor", e.status, e.method, e.path, e.body, e.more)
			}
			c.end()
		}
	}
}

// Who finds the site at another address of this machine is led to the right one.
func TestLinksElsewhere(t *testing.T) {
	p := startForPages(t)
	elsewhere := strings.Replace(p.URL, "localhost", "127.0.0.1", 1)
	res, page := testkit.Send(t, "GET", elsewhere+"/get_name", "",
		http.Header{"Accept": {testkit.Browser}})
	isLink := func(e tag) bool { return e.name == "a" && e.attr["href"] == p.URL+"/" }
	all := tags(t, page)
	if res.StatusCode != 421 || !slices.ContainsFunc(all, isLink) {
		t.Errorf("got status %d and %s, want a link to %s", res.StatusCode, page, p.URL)
	}
	for _, one := range all {
		path := cmp.Or(one.attr["href"], one.attr["src"])
		if one.name == "form" || one.name == "nav" {
			t.Errorf("got %v, which leads nowhere", one)
		}
		if one.name == "link" {
			if res, _ := testkit.Send(t, "GET", elsewhere+path, "", http.Header{}); res.StatusCode != 200 {
				t.Errorf("%s: got status %d", path, res.StatusCode)
			}
		}
	}
}
