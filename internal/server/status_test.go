package server

import (
	"net/http/httptest"
	"strings"
	"testing"
)

var ill = Status{
	{Title: "Program", Facts: []Fact{{Name: "Version", Text: "v1+dirty"}}},
	{Title: "Keys", Facts: []Fact{{Name: "File", Text: "gone", Bad: true}}, Note: "Mind the file."},
}

// The status comes as a page to a browser, and as text to curl.
func TestStatus(t *testing.T) {
	for accept, want := range map[string]string{
		"*/*": "Program\n  Version          v1+dirty\nKeys\n  File             gone\n" +
			"  Mind the file.\nSee /metrics and /healthz",
		"text/html,*/*": "<h2>Program</h2>\n<dl>\n" +
			"<div><dt>Version</dt><dd>v1&#43;dirty</dd></div>\n</dl>\n<h2>Keys</h2>\n<dl>\n" +
			"<div><dt>File</dt><dd class=\"bad\">gone</dd></div>\n</dl>\n<p>Mind the file.</p>",
	} {
		cfg := Config{AdminAddr: "localhost:9090", Status: func() Status { return ill }}
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Accept", accept)
		cfg.serveStatus(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %s, want %s", accept, w.Body, want)
		}
		_, after, _ := strings.Cut(w.Body.String(), "</html>")
		if strings.TrimSpace(after) != "" {
			t.Errorf("%s: got %q after the page", accept, after)
		}
		h := w.Header()
		if h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Accept" {
			t.Errorf("%s: got the header %v", accept, h)
		}
	}
}
