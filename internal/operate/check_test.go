package operate

import (
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is odd is what the log warns of.
func TestNotes(t *testing.T) {
	var odd Notes
	log := slog.New(&odd)
	log.Info("x")
	log.With("a", 1).Warn("y", "b", 2, "c", 3)
	log.WithGroup("c").Error("z")
	if got, want := odd.lines, []string{"y (b: 2) (c: 3)", "z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Several hosts are odd unless their cookie is for a domain.
func TestOddOrigins(t *testing.T) {
	site := new(Site[struct{}])
	site.Server.Addr, site.Server.Secure, site.Server.ShutdownDelay = ":0", true, time.Second
	site.Server.Origins = []string{"https://a.example", "https://b.example"}
	if got := site.odd(); len(got) != 1 || !strings.Contains(got[0], "several origins") {
		t.Errorf("got %q", got)
	}
	site.Options.Domain = "example"
	if got := site.odd(); got != nil {
		t.Errorf("got %q for one domain", got)
	}
}

// A certificate is odd from a quarter of its time before its end, from two weeks at most.
func TestOddCertificate(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	long := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(90 * day)}
	short := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(8 * day)}
	for _, tt := range []struct {
		c     *x509.Certificate
		after time.Duration
		want  string
	}{
		{long, -time.Second, "the certificate is not valid yet: perhaps a clock is wrong"},
		{long, 75 * day, ""}, {long, 77 * day, "the certificate ends in 312 hours"},
		{short, 5 * day, ""}, {short, 7 * day, "the certificate ends in 24 hours"},
		{short, 9 * day, ""}, // which is said already
	} {
		got := oddCertificate(tt.c, nil, begin.Add(tt.after))
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%v: got %q, want %q", tt.after, got, tt.want)
		}
	}
}
