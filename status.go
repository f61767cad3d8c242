package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cookiesession/internal/server"
)

// status returns what the operator's page says.
func (a *app) status() server.Status {
	lost := a.measured("log_lines_lost_total")
	program := server.Section{Title: "Program", Facts: []server.Fact{
		{Name: "Version", Text: version()},
		{Name: "Up since", Text: moment(float64(a.started.Unix()))},
		{Name: "Now", Text: moment(float64(time.Now().Unix()))},
		{Name: "Log", Text: fmt.Sprintf("%.0f lines lost", lost), Bad: lost > 0},
	}}
	if a.cfg.tlsCert != "" {
		ends := a.measured("tls_certificate_not_after_timestamp_seconds")
		cert := server.Fact{Name: "Certificate", Text: "ends " + moment(ends)}
		if a.measured("tls_certificate_ok") == 0 {
			cert.Text, cert.Bad = cert.Text+"; its files are bad now, see the log", true
		}
		program.Facts = append(program.Facts, cert)
	}
	cookies := server.Section{Title: "Cookies since the start"}
	verdicts := a.metrics.Sums("cookiesession_cookies_total", "verdict")
	for _, name := range slices.Sorted(maps.Keys(verdicts)) {
		text := fmt.Sprintf("%.0f", verdicts[name])
		cookies.Facts = append(cookies.Facts, server.Fact{Name: name, Text: text})
	}
	return server.Status{program, a.keysStatus(), cookies}
}

// keysStatus returns what the page says of the keys.
func (a *app) keysStatus() server.Section {
	idle := days(a.cfg.idle)
	if a.cfg.options().LimitsFor != nil {
		idle += ", or the longest that LimitsFor gives"
	}
	s := server.Section{Title: "Keys", Note: "Each key has an id for encrypted and one for " +
		"signed cookies. A key that only verifies may be dropped when every copy has sealed " +
		"with another one for as long as a session may be idle: " + idle + "."}
	seen := a.metrics.Sums("cookiesession_key_last_valid_timestamp_seconds", "key_id")
	role := "seals"
	for _, k := range a.keys.Keys() {
		encrypted, signed := k.IDs()
		text := role + "; no valid cookie since the start"
		if last := max(seen[encrypted], seen[signed]); last > 0 {
			text = role + "; last valid cookie " + moment(last)
		}
		s.Facts = append(s.Facts, server.Fact{Name: encrypted + " " + signed, Text: text})
		role = "verifies"
	}
	s.Facts = append(s.Facts, server.Fact{
		Name: "These keys", Text: "since " + moment(a.measured("keys_changed_timestamp_seconds")),
	})
	if a.cfg.keyFile != "" {
		read := moment(a.measured("key_file_read_timestamp_seconds"))
		file := server.Fact{Name: "Key file", Text: "read " + read}
		if a.measured("key_file_ok") == 0 {
			file.Text, file.Bad = file.Text+": it was bad, so the keys are older, see the log", true
		}
		s.Facts = append(s.Facts, file)
	}
	return s
}

// measured returns the value of a metric of ours that has one alone, or 0.
func (a *app) measured(name string) float64 {
	return a.metrics.Sums("cookiesession_"+name, "")[""]
}

// moment returns a time in Unix seconds as the page has it.
func moment(seconds float64) string {
	return time.Unix(int64(seconds), 0).UTC().Format("2006-01-02 15:04:05 UTC")
}
