package main

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// origins are the addresses under which visitors reach the site, like
// https://app.example.com, without the port that the scheme has by default.
// Where there are none, the site answers to every host, as on a developer's machine.
type origins []string

// Set adds origins that are separated by commas.
func (o *origins) Set(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return errors.New("want an origin such as https://app.example.com")
		case !originHosts.MatchString(strings.ToLower(u.Host)):
			return errors.New("want the host and the port as browsers send them, such as " +
				"xn--bcher-kva.example:8443 or [::1]")
		case *u != url.URL{Scheme: u.Scheme, Host: u.Host}:
			return errors.New("an origin has a scheme, a host and perhaps a port, " +
				"and nothing else, not even a slash at the end")
		case len(*o) > 0 && !strings.HasPrefix((*o)[0], u.Scheme+":"):
			return errors.New("all origins must be https, or all http")
		}
		*o = append(*o, u.Scheme+"://"+canonicalHost(u.Host, u.Scheme))
	}
	return nil
}

// originHosts matches a host and perhaps a port as browsers send them, in ASCII. It knows
// the clear mistakes alone, which would have the site answer to nobody.
var originHosts = regexp.MustCompile(`^([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// secure reports whether visitors come over HTTPS.
func (o origins) secure() bool { return len(o) > 0 && strings.HasPrefix(o[0], "https:") }

// canonicalHost returns a host in the one spelling in which hosts are compared.
func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// check finds out whether a request is for this site and, if it may change
// something, whether it comes from it. http.CrossOriginProtection, which comes
// after it, knows what browsers say in Sec-Fetch-Site, but nothing of schemes.
func (o origins) check(r *http.Request) *problem {
	if len(o) == 0 || r.URL.Path == "/healthz" { // balancers ask by address
		return nil
	}
	scheme, _, _ := strings.Cut(o[0], ":")
	if !slices.Contains(o, scheme+"://"+canonicalHost(r.Host, scheme)) {
		return problemf(http.StatusMisdirectedRequest,
			"This server does not serve the host that you asked for. Check the address.")
	}
	from := r.Header.Get("Origin")
	safe := []string{http.MethodGet, http.MethodHead, http.MethodOptions} // RFC 9110, 9.2.1
	if slices.Contains(safe, r.Method) || from == "" || slices.Contains(o, from) ||
		r.Header.Get("Sec-Fetch-Site") != "" {
		return nil
	}
	return problemf(http.StatusForbidden, otherSite)
}

// otherSite is said of a form that another site's page has sent.
const otherSite = "This form was sent from another site, so nothing was changed. " +
	"Send it from this site's own page."

// onlyAdmins lets through to next what names the host as an administrator
// does: by an IP address, as localhost, or as in addr, which the listener was
// given. So a page on the web whose name is made to point here can read nothing.
func onlyAdmins(addr string, next http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		isOwn := host != "" && host == strings.ToLower(own)
		if net.ParseIP(host) == nil && host != "localhost" && !isOwn {
			text := "Ask for this by an IP address, by localhost, or by the host of -admin-addr."
			http.Error(w, text, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback reports whether only this machine can reach a listener on addr.
func isLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
