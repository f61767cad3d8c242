package web

import (
	"cmp"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// MaxBody is how many bytes of a request's body are read, unless its route is an Exception.
const MaxBody = 64 << 10

const multipartForm = "multipart/form-data"

// isUpload reports whether r may bring files.
func isUpload(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), multipartForm)
}

// isEnd reports whether err says that there was less to read than there should be.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Form reads the form in r's body, and nothing from its query. FormValue would read
// both, and hide what is wrong with them. Its errors are for the visitor. Files are
// left out, and never touch the disk: for those there is r.MultipartReader.
func Form(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isMultipart := kind == multipartForm
	isForm := isMultipart || kind == "application/x-www-form-urlencoded"
	if err != nil || !isForm || r.Header.Get("Content-Encoding") != "" {
		return nil, Problemf(http.StatusUnsupportedMediaType, "Send a form: "+
			"application/x-www-form-urlencoded or multipart/form-data, not compressed.")
	}
	limit := cmp.Or(responseOf(r).maxBody, MaxBody)
	if r.ContentLength > limit { // or the server would wait until it is too large
		return nil, formError(&http.MaxBytesError{Limit: limit})
	}
	body := *r
	body.URL = new(url.URL) // without the query
	err = body.ParseForm()
	if err == nil && isMultipart {
		err = body.ParseMultipartForm(limit) // with room for all of it, so none goes to the disk
	}
	if err != nil {
		return nil, formError(err)
	}
	return body.PostForm, nil
}

// formError tells a body that is too large from one that is broken.
func formError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return Problemf(http.StatusRequestEntityTooLarge,
			"The form is too large: at most %d bytes are read.", tooLarge.Limit)
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return Problemf(http.StatusRequestEntityTooLarge, "The form has too many parts.")
	}
	return Problemf(http.StatusBadRequest,
		"The form is broken and was not read: its encoding is wrong, it has too many "+
			"fields, or it ends too early.")
}
