package operate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/server"
)

// Notes are a log of what is odd: of warnings and errors.
type Notes struct{ lines []string }

// WithAttrs is for slog. Attributes that all lines have are left out, as are groups.
func (n *Notes) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup is for slog.
func (n *Notes) WithGroup(string) slog.Handler { return n }

// Enabled is for slog.
func (n *Notes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle is for slog.
func (n *Notes) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" (%s: %v)", a.Key, a.Value)
		return true
	})
	n.lines = append(n.lines, line)
	return nil
}

// Check says what the program would do, and what is odd about it: what the log has noted,
// and more. It goes the way of the start but for listening, since a copy that runs may have
// the port.
func (s *Site[T]) Check(to server.Config, odd *Notes, stdout io.Writer) error {
	if err := server.Check(to); err != nil {
		return err
	}
	o, listens := s.Options, to.Addr+", HTTP"
	if to.Certificate != nil {
		leaf := to.Certificate.Leaf()
		listens += fmt.Sprintf("S with a certificate for %v %v until %s",
			leaf.DNSNames, leaf.IPAddresses, leaf.NotAfter.Format(time.RFC3339))
	}
	mode, from, bind := "signed and encrypted", cmp.Or(s.KeyFile, "the environment"), "off"
	if o.SignOnly {
		mode = "signed"
	}
	if s.KeysEnd {
		from = "nowhere: this one ends with the process"
	}
	if o.Bind > 0 {
		bind = "tickets for " + o.Bind.String()
	}
	var out bytes.Buffer
	say := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-8s  "+format+"\n", append([]any{name}, args...)...)
	}
	say("version", "%s", command.Version())
	say("listens", "%s", listens)
	say("operator", "%s", cmp.Or(to.AdminAddr, "nowhere"))
	say("origins", "%s", s.origins())
	say("cookie", "%s, %s", s.Cookie, mode)
	say("keys of", "%s", from)
	role := "seals"
	for _, k := range s.Keys.Keys() {
		say("key", "%v %s", k, role)
		role = "verifies"
	}
	say("idle", "%s", days(o.Idle))
	say("lifetime", "%s", days(o.Lifetime))
	say("persist", "%v", !o.BrowserSession)
	say("bind", "%s", bind)
	say("shutdown", "after %v of serving on", to.ShutdownDelay)
	notes := append(odd.lines, s.odd(to, time.Now())...)
	if len(notes) == 0 {
		notes = []string{"nothing"}
	}
	for _, line := range notes {
		say("odd", "%s", line)
	}
	_, err := stdout.Write(out.Bytes())
	return err
}

// odd returns what is allowed, and may be no wish.
func (s *Site[T]) odd(to server.Config, now time.Time) (lines []string) {
	if to.Certificate != nil {
		lines = oddCertificate(to.Certificate.Leaf(), s.Origins, now)
	}
	note := func(is bool, says string) {
		if is {
			lines = append(lines, says)
		}
	}
	o := s.Options
	note(o.Lifetime < o.Idle, "-lifetime is shorter than -idle, which then ends no session")
	note(o.Bind > 0 && o.Bind < 10*time.Minute, "-bind is below ten minutes: browsers sign "+
		"about six times in nine minutes, and then visitors wait")
	note(to.Secure && to.Certificate == nil && to.ShutdownDelay == 0, "-shutdown-delay is 0: at "+
		"a restart, requests fail until the proxy has seen that this copy is gone")
	note(to.Certificate != nil && len(s.Origins) == 0, "there is no -origin: the site answers "+
		"under every name")
	note(len(s.Origins) > 1, "there are several origins: each host has sessions of its own")
	return lines
}

// oddCertificate returns what will be wrong with a certificate soon, or for some names. That
// it has expired is said already.
func oddCertificate(c *x509.Certificate, origins []string, now time.Time) (lines []string) {
	// Those that are good for 90 days are usually renewed after 60.
	soon := min(14*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/4)
	if left := c.NotAfter.Sub(now); left > 0 && left < soon {
		lines = append(lines, fmt.Sprintf("the certificate ends in %d hours", int(left.Hours())))
	}
	if now.Before(c.NotBefore) {
		lines = append(lines, "the certificate is not valid yet: perhaps a clock is wrong")
	}
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err == nil && c.VerifyHostname(u.Hostname()) != nil {
			lines = append(lines, "the certificate is not for "+origin)
		}
	}
	return lines
}

// days returns d in days, if it is whole ones.
func days(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
