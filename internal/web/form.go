package web

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
)

// MaxBody is how many bytes of a request's body are read.
const MaxBody = 64 << 10

// Form reads the form in r's body, and nothing from its query. FormValue would read
// both, and hide what is wrong with them. Its errors are for the visitor. Files are
// left out, and never touch the disk.
func Form(r *http.Request) (url.Values, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isMultipart := kind == "multipart/form-data"
	isForm := isMultipart || kind == "application/x-www-form-urlencoded"
	if err != nil || !isForm || r.Header.Get("Content-Encoding") != "" {
		return nil, Problemf(http.StatusUnsupportedMediaType, "Send a form: "+
			"application/x-www-form-urlencoded or multipart/form-data, not compressed.")
	}
	if r.ContentLength > MaxBody { // or the server would wait until it is too large
		return nil, formError(new(http.MaxBytesError))
	}
	if isMultipart {
		// With room for all of it, so that none goes to the disk.
		form, err := multipart.NewReader(r.Body, params["boundary"]).ReadForm(MaxBody)
		if err != nil {
			return nil, formError(err)
		}
		return form.Value, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, formError(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, formError(err)
	}
	return form, nil
}

// formError tells a body that is too large from one that is broken.
func formError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return Problemf(http.StatusRequestEntityTooLarge,
			"The form is too large: at most %d bytes are read.", MaxBody)
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return Problemf(http.StatusRequestEntityTooLarge, "The form has too many parts.")
	}
	return Problemf(http.StatusBadRequest,
		"The form is broken and was not read: its encoding is wrong, it has too many "+
			"fields, or it ends too early.")
}
