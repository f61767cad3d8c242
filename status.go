package main

import (
	"maps"
	"slices"
	"time"

	"cookiesession/internal/server"
)

// status returns what the operator's page says.
func (a *app) status() server.Status {
	one := func(name string) float64 { return a.metrics.Sums("cookiesession_"+name, "")[""] }
	when := func(seconds float64) (t time.Time) {
		if seconds > 0 {
			t = time.Unix(int64(seconds), 0)
		}
		return t
	}
	s := server.Status{
		Version: version(), Started: a.started, Idle: a.cfg.idle,
		KeysChanged: when(one("keys_changed_timestamp_seconds")),
		KeyFile:     a.cfg.keyFile,
		KeysRead:    when(one("key_file_read_timestamp_seconds")),
		KeyFileBad:  one("key_file_ok") == 0,
		Lost:        int(one("log_lines_lost_total")),

		CertificateEnds: when(one("tls_certificate_not_after_timestamp_seconds")),
		CertificateBad:  one("tls_certificate_ok") == 0,
	}
	seen := a.metrics.Sums("cookiesession_key_last_valid_timestamp_seconds", "key_id")
	for _, k := range a.keys.Keys() {
		encrypted, signed := k.IDs()
		s.Keys = append(s.Keys, server.Key{
			IDs: encrypted + " " + signed, Seen: when(max(seen[encrypted], seen[signed])),
		})
	}
	verdicts := a.metrics.Sums("cookiesession_cookies_total", "verdict")
	for _, name := range slices.Sorted(maps.Keys(verdicts)) {
		s.Verdicts = append(s.Verdicts, server.Count{Name: name, N: int(verdicts[name])})
	}
	return s
}
