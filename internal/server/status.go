package server

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// Status is what the operator's page says of this copy, section by section. It must have
// nothing of a visitor, and of keys no more than their ids.
type Status []Section

// Section is a part of the page. Its Note, if any, is a sentence below its facts.
type Section struct {
	Title string
	Facts []Fact
	Note  string
}

// Fact is a line of the page. It is Bad if the operator should do something about it.
type Fact struct {
	Name, Text string
	Bad        bool
}

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Parse(statusHTML))

// serveStatus answers with the status, to browsers as a page and to others as text.
func (cfg Config) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	// Writing fails only when the client has gone.
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		statusPage.Execute(w, map[string]any{
			"Sections": cfg.Status(), "Style": template.CSS(cfg.Style),
			"Profiles": IsLoopback(cfg.AdminAddr),
		})
		return
	}
	for _, section := range cfg.Status() {
		fmt.Fprintln(w, section.Title)
		for _, fact := range section.Facts {
			fmt.Fprintf(w, "  %-15s  %s\n", fact.Name, fact.Text)
		}
		if section.Note != "" {
			fmt.Fprintln(w, "  "+section.Note)
		}
	}
	fmt.Fprintln(w, "See /metrics and /healthz as well. This is one copy: Prometheus sees all.")
}
