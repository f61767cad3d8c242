package server

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// Status is what the operator's page says of this copy. It has nothing of a visitor, and
// of keys no more than their ids.
type Status struct {
	Version string
	Started time.Time

	Keys        []Key         // the first one seals
	KeysChanged time.Time     // since when they are these
	Idle        time.Duration // after which a session ends, unless LimitsFor says otherwise

	KeyFile    string    // empty if there is none
	KeysRead   time.Time // when it was last read; meaningless without one, as the next
	KeyFileBad bool      // it was then, so the keys are older

	Verdicts []Count // on the cookies of requests, since the start
	Lost     int     // log lines, since the start

	CertificateEnds time.Time // zero if there is none
	CertificateBad  bool      // its files are, so the one in use is older; meaningless without
}

// Key is a key in use.
type Key struct {
	IDs  string    // of encrypted and of signed cookies
	Seen time.Time // when a valid cookie of it last came; zero if none has
}

// Count is how often something has happened.
type Count struct {
	Name string
	N    int
}

// section is a part of the page.
type section struct {
	Title string
	Rows  []row
	Note  string
}

// row is a line of the page.
type row struct {
	Name, Text string
	Bad, Code  bool
}

// sections returns what the page says at the time now.
func (s Status) sections(now time.Time) []section {
	program := section{Title: "Program", Rows: []row{
		{Name: "Version", Text: s.Version},
		{Name: "Up since", Text: at(s.Started)},
		{Name: "Now", Text: at(now)},
		{Name: "Log", Text: fmt.Sprintf("%d lines lost", s.Lost), Bad: s.Lost > 0},
	}}
	if !s.CertificateEnds.IsZero() {
		text := "ends " + at(s.CertificateEnds)
		if s.CertificateBad {
			text += "; its files are bad now, see the log"
		}
		program.Rows = append(program.Rows, row{Name: "Certificate", Text: text,
			Bad: s.CertificateBad || now.After(s.CertificateEnds)})
	}
	cookies := section{Title: "Cookies since the start"}
	for _, v := range s.Verdicts {
		cookies.Rows = append(cookies.Rows, row{Name: v.Name, Text: fmt.Sprint(v.N)})
	}
	return []section{program, s.keys(), cookies}
}

// keys returns the part of the page about the keys.
func (s Status) keys() section {
	part := section{Title: "Keys", Note: "Each key has an id for encrypted and one for signed " +
		"cookies. A key that only verifies may be dropped when every copy has sealed with " +
		"another one for as long as a session may be idle: " + days(s.Idle) +
		" by -idle, and longer where LimitsFor says so."}
	for n, k := range s.Keys {
		text := "verifies; "
		if n == 0 {
			text = "seals; "
		}
		if k.Seen.IsZero() {
			text += "no valid cookie since the start"
		} else {
			text += "last valid cookie " + at(k.Seen)
		}
		part.Rows = append(part.Rows, row{Name: k.IDs, Text: text, Code: true})
	}
	part.Rows = append(part.Rows, row{Name: "These keys", Text: "since " + at(s.KeysChanged)})
	if s.KeyFile != "" {
		text := s.KeyFile + ", read " + at(s.KeysRead)
		if s.KeyFileBad {
			text += ": it was bad, so the keys are those from before, see the log"
		}
		part.Rows = append(part.Rows, row{Name: "Key file", Text: text, Bad: s.KeyFileBad})
	}
	return part
}

// at returns a time as the page has it.
func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// days returns a duration in days if it is whole ones.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if n := d / day; n > 1 && d%day == 0 {
		return fmt.Sprintf("%d days", n)
	}
	return d.String()
}

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Parse(statusHTML))

// serveStatus answers with the status, to browsers as a page and to others as text.
func (cfg Config) serveStatus(w http.ResponseWriter, r *http.Request) {
	sections := cfg.Status().sections(time.Now())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	// Writing fails only when the client has gone.
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		statusPage.Execute(w, map[string]any{
			"Sections": sections, "Style": template.CSS(cfg.Style),
			"Profiles": isLoopback(cfg.AdminAddr),
		})
		return
	}
	for _, part := range sections {
		fmt.Fprintln(w, part.Title)
		for _, row := range part.Rows {
			fmt.Fprintf(w, "  %-15s  %s\n", row.Name, row.Text)
		}
		if part.Note != "" {
			fmt.Fprintln(w, "  "+part.Note)
		}
	}
	fmt.Fprintln(w, "See /metrics and /healthz as well. This is one copy: Prometheus sees all.")
}
