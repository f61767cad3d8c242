package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cookiesession/sessions"

	"github.com/gorilla/mux"
)

// Page is what a template sees. It has values alone, and all of them on error pages too.
type Page[T any] struct {
	Answer
	Route     string          // its name; empty if there is none
	Session   T               // empty, like Cookie, if a request was refused before
	Cookie    sessions.Cookie // that came with the request
	Sent      int             // how many cookies of its name came, good or bad
	Ends      time.Time       // when the session that came ends if it isn't used
	Latest    time.Time       // when it ends in any case
	Saved     sessions.Saved  // what was written
	SetCookie []string        // the lines of the session's cookie, and of its ticket
	Binds     bool            // this site binds sessions to devices
	Encrypts  bool            // it encrypts them
	TryAgain  bool            // the session can't be changed for now, unless it is cleared
	Shared    any             // what Site.Shared has returned
	Flash     []string        // messages of before, which are shown this once
}

// page returns what the template of ans is to see. The session v is nil if it was not
// looked at. With an answer of 400 and above, it stays as it was, and isn't renewed.
func (s *Site[T]) page(r *http.Request, v *sessions.Session[T], ans Answer) Page[T] {
	p := Page[T]{Answer: ans, Binds: s.Options.Bind > 0, Encrypts: !s.Options.SignOnly}
	if route := mux.CurrentRoute(r); route != nil {
		p.Route = route.GetName()
	}
	if v == nil {
		p.Cookie.Verdict = sessions.None
		return p
	}
	shows := p.isHTML(r) && ans.Location == "" && ans.Status < 500 && !v.Quiet()
	if ans.Status >= 400 {
		v.Undo()
		v.Passive = true
	}
	if shows && s.Flash != nil {
		p.Flash = s.Flash(&v.Data).Take()
	}
	if s.Shared != nil {
		p.Shared = s.Shared(r, v)
	}
	p.Session, p.Cookie, p.Ends = v.Data, v.Cookie(), v.Ends()
	p.Latest = v.Began().Add(v.Limits().Lifetime)
	p.Sent = len(r.CookiesNamed(s.Sessions.CookieName()))
	return p
}

// isHTML reports whether p is sent as a page.
func (p *Page[T]) isHTML(r *http.Request) bool {
	return p.Page != "" && (p.Text == "" || prefersHTML(r))
}

// policy forbids a page everything but its own stylesheet, icon and forms.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// send sends p in the form that the client prefers, whole or not at all.
func (s *Site[T]) send(w http.ResponseWriter, r *http.Request, p Page[T]) error {
	body, kind, h := []byte(p.Text+"\n"), "text/plain; charset=utf-8", w.Header()
	if p.isHTML(r) {
		var err error
		for _, line := range h["Set-Cookie"] {
			if s.isOurs(line) {
				p.SetCookie = append(p.SetCookie, line)
			}
		}
		if body, err = s.html(p); err != nil {
			return err
		}
		kind = "text/html; charset=utf-8"
		// Not no-referrer: with that, browsers send Origin: null with the page's own
		// form, which would be taken for another site's.
		h.Set("Referrer-Policy", "same-origin")
		if !s.Options.Insecure { // browsers ignore it elsewhere, and say so
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.Text != "" && p.Page != "" {
		h.Add("Vary", "Accept")
	}
	if p.Location != "" {
		h.Set("Location", p.Location)
	}
	for name, values := range p.Header {
		if name != "Set-Cookie" && name != "Vary" {
			h.Del(name)
		}
		h[name] = append(h[name], values...)
	}
	w.WriteHeader(cmp.Or(p.Status, http.StatusOK))
	w.Write(body) // fails only when the client has gone
	return nil
}

// isOurs reports whether a Set-Cookie line is that of the session or of its ticket.
func (s *Site[T]) isOurs(line string) bool {
	name, _, _ := strings.Cut(line, "=")
	ticket := cmp.Or(s.Options.Name, "session") + "-ticket"
	return name == s.Sessions.CookieName() || name == "__Host-"+ticket || name == "__Secure-"+ticket
}

// html returns the page that p's template makes of it.
func (s *Site[T]) html(p Page[T]) ([]byte, error) {
	t := s.pages[p.Page]
	if t == nil {
		return nil, fmt.Errorf("there is no page called %q", p.Page)
	}
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, "layout.html", &p)
	return b.Bytes(), err
}

const folder = "templates/"

// readPages returns the pages in files, by their names.
func readPages(files fs.FS, funcs template.FuncMap) (map[string]*template.Template, error) {
	all, _ := fs.Glob(files, folder+"*.html") // it fails for a bad pattern alone
	inner, _ := fs.Glob(files, folder+"*/*.html")
	all = append(all, inner...)
	shared := []string{folder + "layout.html"}
	for _, file := range all {
		if path.Base(file) == "parts.html" {
			shared = append(shared, file)
		}
	}
	common, err := template.New("").Funcs(funcs).ParseFS(files, shared...)
	if err != nil {
		return nil, err
	}
	pages := make(map[string]*template.Template)
	for _, file := range all {
		if slices.Contains(shared, file) {
			continue
		}
		name := strings.TrimSuffix(path.Base(file), ".html")
		page, err := template.Must(common.Clone()).ParseFS(files, file)
		if err != nil {
			return nil, err
		}
		// The first use looks at all of a page, such as for a template that has no
		// definition. That it has no data to show is not the page's fault. A clone is used,
		// since what that leaves behind is large.
		var wrong *template.Error
		trial := template.Must(page.Clone())
		if err := trial.ExecuteTemplate(io.Discard, "layout.html", nil); errors.As(err, &wrong) {
			return nil, wrong
		}
		pages[name] = page
	}
	if pages[errorPage] == nil {
		return nil, fmt.Errorf("there is no %s%s.html", folder, errorPage)
	}
	return pages, nil
}

// prefersHTML reports whether r accepts text/html by name, and plain text not more.
func prefersHTML(r *http.Request) bool {
	quality := make(map[string]float64)
	for kind := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		kind, params, _ := mime.ParseMediaType(kind) // a broken one has no name
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			q = 1
		}
		quality[kind] = q
	}
	plain := 0.0
	for _, kind := range []string{"*/*", "text/*", "text/plain"} { // the last one counts
		if q, ok := quality[kind]; ok {
			plain = q
		}
	}
	return quality["text/html"] > 0 && quality["text/html"] >= plain
}

// Asset is a file that is the same for every visitor, or a folder of such files. Its
// route comes with it, and a request for it never waits for a device's ticket.
type Asset struct {
	Path string // in the site's addresses: /style.css, or /static/ for a folder
	File string // in templates/
	Kind string // its media type; empty is what its name or its content says

	content []byte
	hash    string // the address changes with the content, to be cached for ever
}

func (s *Site[T]) readAssets() error {
	s.assets = make(map[string]*Asset)
	styles, _ := fs.Glob(s.config.Files, folder+"*/*.css") // it fails for a bad pattern alone
	for _, file := range styles {
		name := strings.TrimPrefix(file, folder)
		s.config.Assets = append(slices.Clip(s.config.Assets), Asset{Path: "/" + name, File: name})
	}
	for _, a := range s.config.Assets {
		root := path.Join(folder, a.File)
		err := fs.WalkDir(s.config.Files, root, func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && !strings.HasSuffix(a.Path, "/"):
				return fmt.Errorf("%s is a folder: end its Path with a slash", file)
			case d.IsDir():
				return nil
			}
			return s.readAsset(path.Join(a.Path, strings.TrimPrefix(file, root)), file, a.Kind)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Site[T]) readAsset(at, file, kind string) error {
	content, err := fs.ReadFile(s.config.Files, file)
	kind = cmp.Or(kind, mime.TypeByExtension(path.Ext(file)), http.DetectContentType(content))
	hash := fmt.Sprintf("%.8x", sha256.Sum256(content))
	s.assets[at] = &Asset{File: file, Kind: kind, content: content, hash: hash}
	return err
}

// assetURL returns the address of the asset at path.
func (s *Site[T]) assetURL(path string) (string, error) {
	a := s.assets[path]
	if a == nil {
		return "", fmt.Errorf("there is no asset at %s", path)
	}
	return path + "?v=" + a.hash, nil
}

func (s *Site[T]) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, h := s.assets[r.URL.Path], w.Header()
	if a == nil { // in a folder of assets
		s.Action(s.notFound)(w, r)
		return
	}
	h.Set("Content-Type", a.Kind)
	h.Set("ETag", `"`+a.hash+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == a.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, a.File, time.Time{}, bytes.NewReader(a.content))
}
