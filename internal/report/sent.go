package report

import (
	"net/http"
	"strings"

	"cookiesession/sessions"
)

// SentCookie is a Set-Cookie header, to be shown.
type SentCookie struct {
	*http.Cookie
	Parts []Part   // none when the cookie is deleted
	List  []string // the attributes, as they are in the header
}

// Sent takes apart the Set-Cookie headers of a response.
func Sent[T any](headers []string) (all []SentCookie) {
	for _, header := range headers {
		c, err := http.ParseSetCookie(header)
		if err != nil {
			continue // it is none of the library's
		}
		all = append(all, SentCookie{
			Cookie: c, Parts: Parts[T](c.Value, sessions.Valid),
			List: strings.Split(header, "; ")[1:],
		})
	}
	return all
}
