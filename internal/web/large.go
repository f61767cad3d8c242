package web

import "net/http"

// MaxHeader is how large the header of a request may be, with its address. Each field counts
// for fieldSize bytes more than its text.
const MaxHeader = 36 << 10

// fieldSize is about what Go needs to keep a field besides its text. Without it, thousands of
// empty fields would take ten times the memory that MaxHeader promises.
const fieldSize = 200

// headerSize returns the size of r's header, to be compared with MaxHeader.
func headerSize(r *http.Request) int {
	size := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + fieldSize
		}
	}
	return size
}

// cookiesPath is where a POST deletes the cookies of a browser that sends too many.
const cookiesPath = "/delete_cookies"

// tooLarge returns how to answer a request whose header is larger than MaxHeader, where check
// has returned err: with nil for an asset, which is served. The header is gone then, since a
// client may leave its answer unread.
func (s *Site[T]) tooLarge(r *http.Request, err error) error {
	isStep := s.Options.Bind > 0 && s.Sessions.IsDeviceStep(r)
	html := prefersHTML(r)
	r.Header = http.Header{}
	if html {
		r.Header.Set("Accept", "text/html")
	}
	if err != nil || r.URL.Path == healthPath || s.assets[r.URL.Path] != nil {
		return err
	}
	p := &problem{
		Page: errorPage, Status: http.StatusRequestHeaderFieldsTooLarge, Text: "Your browser " +
			"sent more than 36 KiB before the request itself, so nothing was done. Most of that " +
			"will be cookies. Delete this site's cookies, then come back.",
	}
	secure := !s.Options.Insecure || isLocal(r.Host) // or browsers ignore Clear-Site-Data
	switch {
	case isStep: // to 431, a browser would give up the binding for good
		p.Status = http.StatusServiceUnavailable
		responseOf(r).route = r.URL.Path
	case secure && r.Method == http.MethodPost && r.URL.Path == cookiesPath:
		p = &problem{
			Status: http.StatusSeeOther, Location: "/", Text: "Go on at /",
			Header: http.Header{"Clear-Site-Data": {`"cookies"`}},
		}
	case secure:
		p.Data = cookiesPath
	}
	return p
}
