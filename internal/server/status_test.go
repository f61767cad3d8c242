package server

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// healthy is the status of a copy with which nothing is wrong.
var healthy = Status{
	Version: "v1.2.3+dirty", Started: noon, KeysChanged: noon.Add(time.Minute),
	Keys: []Key{{IDs: "aaaaaa bbbbbb", Seen: noon.Add(time.Hour)}, {IDs: "cccccc dddddd"}},
	Idle: 14 * 24 * time.Hour, KeyFile: "ring", KeysRead: noon.Add(2 * time.Minute),
	Verdicts: []Count{{Name: "unknown key", N: 7}, {Name: "valid", N: 1234}},
}

// page returns the status as who accepts this gets it.
func page(s Status, accept string) string {
	cfg := Config{AdminAddr: "localhost:9090", Status: func() Status { return s }}
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.Header.Set("Accept", accept)
	cfg.serveStatus(w, r)
	return w.Header().Get("Content-Type") + "\n" + w.Body.String()
}

// The status says what an operator asks first, to a browser and to curl.
func TestStatus(t *testing.T) {
	ill := healthy
	ill.KeyFileBad, ill.Lost, ill.CertificateBad, ill.CertificateEnds = true, 3, true, noon
	ill.Idle = 90 * time.Minute
	for _, tt := range []struct {
		status Status
		accept string
		want   []string
	}{
		{healthy, "*/*", []string{
			"\n  Version          v1.2.3+dirty\n", "\n  Up since         2026-03-01 12:00:00 UTC\n",
			"\n  aaaaaa bbbbbb    seals; last valid cookie 2026-03-01 13:00:00 UTC\n",
			"\n  cccccc dddddd    verifies; no valid cookie since the start\n",
			"\n  These keys       since 2026-03-01 12:01:00 UTC\n",
			"\n  Key file         ring, read 2026-03-01 12:02:00 UTC\n", ": 14 days by -idle, and",
			"\n  unknown key      7\n  valid            1234\n", "0 lines lost",
		}},
		{ill, "", []string{
			"read 2026-03-01 12:02:00 UTC: it was bad", "3 lines lost", "1h30m0s by -idle",
			"\n  Certificate      ends 2026-03-01 12:00:00 UTC; its files are bad now",
		}},
		{healthy, "text/html", []string{
			"text/html; charset=utf-8\n", "<dt>Version</dt><dd>v1.2.3&#43;dirty</dd>",
			"<code>aaaaaa bbbbbb</code></dt><dd>seals; ", `href="/metrics"`, "-idle, and",
		}},
		{ill, "text/html", []string{
			`<dd class="bad">3 lines lost<`, `<dd class="bad">ring, read`, `<dd class="bad">ends `,
		}},
	} {
		got := page(tt.status, tt.accept)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q: got no %q in %s", tt.accept, want, got)
			}
		}
	}
	for _, accept := range []string{"*/*", "text/html"} {
		got := page(healthy, accept)
		if strings.Contains(got, "bad") || strings.Contains(got, "Certificate") {
			t.Errorf("%s: got something wrong with a healthy copy in %s", accept, got)
		}
	}
}
