package operate

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/server"
)

// status returns what the operator's page says.
func (s *Site[T]) status() server.Status {
	lost := s.measured("log_lines_lost_total")
	program := server.Section{Title: "Program", Facts: []server.Fact{
		{Name: "Version", Text: command.Version()},
		{Name: "Up since", Text: moment(float64(s.started.Unix()))},
		{Name: "Now", Text: moment(float64(time.Now().Unix()))},
		{Name: "Log", Text: fmt.Sprintf("%.0f lines lost", lost), Bad: lost > 0},
	}}
	if ends := s.measured("tls_certificate_not_after_timestamp_seconds"); ends != 0 {
		program.Facts = append(program.Facts, s.fileFact("Certificate", "ends "+moment(ends),
			"tls_certificate_ok", "; its files are bad now, see the log"))
	}
	cookies := server.Section{Title: "Cookies since the start"}
	verdicts := s.Metrics.Sums("cookiesession_cookies_total", "verdict")
	for _, name := range slices.Sorted(maps.Keys(verdicts)) {
		text := fmt.Sprintf("%.0f", verdicts[name])
		cookies.Facts = append(cookies.Facts, server.Fact{Name: name, Text: text})
	}
	return server.Status{program, s.keysStatus(), cookies}
}

// keysStatus returns what the page says of the keys.
func (s *Site[T]) keysStatus() server.Section {
	idle := days(s.Options.Idle)
	if s.Options.LimitsFor != nil {
		idle += ", or the longest that LimitsFor gives"
	}
	keys := server.Section{Title: "Keys", Note: "Each key has an id for encrypted and one for " +
		"signed cookies. A key that only verifies may be dropped when every copy has sealed " +
		"with another one for as long as a session may be idle: " + idle + "."}
	seen := s.Metrics.Sums("cookiesession_key_last_valid_timestamp_seconds", "key_id")
	role := "seals"
	for _, k := range s.Keys.Keys() {
		encrypted, signed := k.IDs()
		text := role + "; no valid cookie since the start"
		if last := max(seen[encrypted], seen[signed]); last > 0 {
			text = role + "; last valid cookie " + moment(last)
		}
		keys.Facts = append(keys.Facts, server.Fact{Name: encrypted + " " + signed, Text: text})
		role = "verifies"
	}
	keys.Facts = append(keys.Facts, server.Fact{
		Name: "These keys", Text: "since " + moment(s.measured("keys_changed_timestamp_seconds")),
	})
	if s.KeyFile != "" {
		read := moment(s.measured("key_file_read_timestamp_seconds"))
		keys.Facts = append(keys.Facts, s.fileFact("Key file", "read "+read,
			"key_file_ok", ": it was bad, so the keys are older, see the log"))
	}
	return keys
}

// fileFact returns a fact about a file, with what is wrong if the metric ok says so.
func (s *Site[T]) fileFact(name, text, ok, wrong string) server.Fact {
	if s.measured(ok) == 0 {
		return server.Fact{Name: name, Text: text + wrong, Bad: true}
	}
	return server.Fact{Name: name, Text: text}
}

// measured returns the value of a metric of ours that has one alone, or 0.
func (s *Site[T]) measured(name string) float64 {
	return s.Metrics.Sums("cookiesession_"+name, "")[""]
}

// moment returns a time in Unix seconds as the page has it.
func moment(seconds float64) string {
	return time.Unix(int64(seconds), 0).UTC().Format("2006-01-02 15:04:05 UTC")
}
