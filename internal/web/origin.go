package web

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Origins are the addresses under which visitors reach a site, like
// https://app.example.com, without the port that the scheme has by default. They are a
// flag.Value.
type Origins []string

// String returns the origins with commas between them.
func (o *Origins) String() string { return strings.Join(*o, ",") }

// Set adds origins that are separated by commas, each once.
func (o *Origins) Set(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case strings.Contains(text, "*"):
			return errors.New("there are no wildcards: name each origin, with commas between them")
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
		origin := u.Scheme + "://" + canonicalHost(u.Host, u.Scheme)
		if !slices.Contains(*o, origin) {
			*o = append(*o, origin)
		}
	}
	return nil
}

// originHosts matches a host and perhaps a port as browsers send them, in ASCII. It knows
// the clear mistakes alone, which would have the site answer to nobody.
var originHosts = regexp.MustCompile(`^([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// Secure reports whether visitors come over HTTPS.
func (o Origins) Secure() bool { return len(o) > 0 && strings.HasPrefix(o[0], "https:") }

// canonicalHost returns a host in the one spelling in which hosts are compared.
func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	usual := map[string]string{"http": "80", "https": "443"}[scheme]
	if _, port, _ := net.SplitHostPort(host); port == usual { // it is empty if there are two
		return strings.TrimSuffix(host, ":"+port)
	}
	return host
}

// checkHost returns an error, for the visitor, if r is not for this site. Without origins
// it can't tell.
func (o Origins) checkHost(r *http.Request) error {
	if len(o) == 0 {
		return nil
	}
	scheme, host, _ := strings.Cut(o[0], "://")
	if slices.Contains(o, scheme+"://"+canonicalHost(r.Host, scheme)) {
		return nil
	}
	p := &problem{
		Page: errorPage, Status: http.StatusMisdirectedRequest,
		Text: "This server does not serve the host that you asked for. Check the address.",
	}
	if isLocal(host) {
		p.Data = o[0] + "/"
		p.Text += " This site is at " + o[0] + "/."
	}
	return p
}

// checkSender returns an error, for the visitor, if r may change something and a page of
// another site has sent it. http.CrossOriginProtection knows what browsers say in
// Sec-Fetch-Site, but nothing of schemes, so where browsers say nothing there, the origins
// decide.
func (o Origins) checkSender(r *http.Request) error {
	from := r.Header.Get("Origin")
	refused := new(http.CrossOriginProtection).Check(r) != nil
	if len(o) > 0 && r.Header.Get("Sec-Fetch-Site") == "" {
		safe := []string{http.MethodGet, http.MethodHead, http.MethodOptions} // RFC 9110, 9.2.1
		refused = from != "" && !slices.Contains(safe, r.Method) && !slices.Contains(o, from)
	}
	if !refused {
		return nil
	}
	return Problemf(http.StatusForbidden, "Your browser says that another site sent this form, "+
		"so nothing was changed. Send it from this site's own page.")
}

// isLocal reports whether host, with or without a port, is this machine alone.
func isLocal(host string) bool {
	name := strings.ToLower((&url.URL{Host: host}).Hostname())
	return name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		net.ParseIP(name).IsLoopback()
}
