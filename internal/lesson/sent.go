package lesson

import (
	"net/http"
	"strings"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// sentCookie is a Set-Cookie header, to be shown.
type sentCookie struct {
	*http.Cookie
	Parts      []report.Part // none when the cookie is deleted
	Attributes string        // as they are in the header
}

// sent takes apart the Set-Cookie headers of a response.
func sent(headers []string) (all []sentCookie) {
	for _, header := range headers {
		c, err := http.ParseSetCookie(header)
		if err != nil {
			continue // it is none of the library's
		}
		_, attributes, _ := strings.Cut(header, ";")
		all = append(all, sentCookie{
			Cookie: c, Parts: report.Parts(c.Value, sessions.Valid), Attributes: attributes,
		})
	}
	return all
}
