package operate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
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
// and more. It goes the way of the start but for the ports, which a copy that runs may have.
func (s *Site[T]) Check(odd *Notes, stdout io.Writer) error {
	o, to := s.Options, s.Server
	if err := server.Check(to); err != nil {
		return err
	}
	listens := to.Addr + ", HTTP"
	if to.Certificate != nil {
		leaf := to.Certificate.Leaf()
		listens += fmt.Sprintf("S with a certificate for %v %v until %s",
			leaf.DNSNames, leaf.IPAddresses, leaf.NotAfter.Format(time.RFC3339))
	}
	mode, from, bind := "signed and encrypted", cmp.Or(s.KeyFile, "the environment"), "off"
	shutdown := "at once"
	if o.SignOnly {
		mode = "signed"
	}
	if s.KeysEnd {
		from = "this process, with which they end"
	}
	if o.Bind > 0 {
		bind = "tickets for " + o.Bind.String()
	}
	if to.ShutdownDelay > 0 {
		shutdown = "after serving on for " + to.ShutdownDelay.String()
	}
	var out bytes.Buffer
	say := func(name string, facts ...any) {
		fmt.Fprintf(&out, "%-8s  %s", name, fmt.Sprintln(facts...))
	}
	say("version", command.Version())
	say("listens", listens)
	say("operator", cmp.Or(to.AdminAddr, "nowhere"))
	say("origins", s.origins())
	say("cookie", s.Cookie+",", mode)
	say("keys of", from)
	role := "seals"
	for _, k := range s.Keys.Keys() {
		say("key", k, role)
		role = "verifies"
	}
	say("idle", days(o.Idle))
	say("lifetime", days(o.Lifetime))
	say("persist", !o.BrowserSession)
	say("bind", bind)
	say("shutdown", shutdown)
	notes := append(odd.lines, s.odd()...)
	if len(notes) == 0 {
		notes = []string{"nothing"}
	}
	for _, line := range notes {
		say("odd", line)
	}
	_, err := stdout.Write(out.Bytes())
	return err
}

// odd returns what is allowed, and may be no wish.
func (s *Site[T]) odd() (lines []string) {
	o, to := s.Options, s.Server
	if to.Certificate != nil {
		lines = oddCertificate(to.Certificate.Leaf(), to.Origins, time.Now())
	}
	note := func(is bool, says string) {
		if is {
			lines = append(lines, says)
		}
	}
	note(o.Lifetime < o.Idle, "-lifetime is shorter than -idle, which then ends no session")
	note(o.Bind > 0 && o.Bind < 10*time.Minute, "-bind is below ten minutes: browsers sign "+
		"about six times in nine minutes, and then visitors wait")
	proxy := to.Secure && to.Certificate == nil
	note(proxy && to.ShutdownDelay == 0, "-shutdown-delay is 0: at a restart, requests fail "+
		"until the proxy has seen that this copy is gone, unless it sends them to another copy "+
		"by itself, as deploy/nginx.conf does")
	note(to.ShutdownDelay > time.Minute, "-shutdown-delay is longer than a minute: whatever "+
		"stops this program may not wait for that, and kill it")
	note(to.AdminAddr != "" && !server.IsLoopback(to.AdminAddr), "-admin-addr is beyond "+
		"loopback: whoever reaches it sees the status and the metrics, without a password")
	note(to.Certificate != nil && len(to.Origins) == 0, "there is no -origin: the site answers "+
		"under every name")
	for _, origin := range to.Origins {
		note(!proxy && isElsewhere(origin, to.Addr), origin+" is not where this listens: unless "+
			"a proxy does, nobody gets there, and whoever comes to "+to.Addr+" is answered 421")
	}
	note(s.hasHosts(), "there are several origins: each host has sessions of its own")
	return lines
}

// isElsewhere reports whether an origin is on this machine, but not at the port of addr.
func isElsewhere(origin, addr string) bool {
	u, _ := url.Parse(origin) // it is one
	at := cmp.Or(u.Port(), u.Scheme)
	_, port, _ := net.SplitHostPort(addr)
	here, _ := net.LookupPort("tcp", port) // looked up before
	there, _ := net.LookupPort("tcp", at)
	return server.IsLoopback(net.JoinHostPort(u.Hostname(), at)) && here != there
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
