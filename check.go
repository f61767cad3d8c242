package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/server"
	"cookiesession/sessions"
)

// notes are a log of what is odd: of warnings and errors.
type notes struct{ lines []string }

func (n *notes) WithAttrs([]slog.Attr) slog.Handler           { return n }
func (n *notes) WithGroup(string) slog.Handler                { return n }
func (n *notes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (n *notes) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" (%s: %v)", a.Key, a.Value)
		return true
	})
	n.lines = append(n.lines, line)
	return nil
}

// check says on stdout what the program would do, and what is odd about it. It goes the
// way of the start but for listening, since a copy that runs may have the port.
func (a *app) check(odd *notes, env map[string]string, stdout io.Writer) error {
	cfg, to := a.cfg, a.serving()
	if err := server.Check(to); err != nil {
		return err
	}
	m, err := sessions.New(a.keys, cfg.options())
	if err != nil {
		return err
	}
	listens, mode, bind, from := cfg.addr+", HTTP", "signed", "off", cfg.keyFile
	if cfg.encrypt {
		mode += " and encrypted"
	}
	if cfg.bind > 0 {
		bind = "tickets for " + cfg.bind.String()
	}
	if !command.HasKeys(cfg.keyFile, env) {
		from = "nowhere: this one ends with the process"
	}
	if c := to.Certificate; c != nil {
		leaf := c.Leaf()
		listens += fmt.Sprintf("S with a certificate for %v %v until %s",
			leaf.DNSNames, leaf.IPAddresses, leaf.NotAfter.Format(time.RFC3339))
		odd.lines = append(odd.lines, cfg.oddCertificate(leaf, time.Now())...)
	}
	lines := []string{
		"version   " + version(),
		"listens   " + listens,
		"operator  " + cmp.Or(cfg.adminAddr, "nowhere"),
		"origins   " + cmp.Or(cfg.origins.String(), "any"),
		"cookie    " + m.CookieName() + ", " + mode,
		"keys of   " + cmp.Or(from, "the environment"),
	}
	role := "seals"
	for _, k := range a.keys.Keys() {
		lines = append(lines, fmt.Sprintf("key       %v %s", k, role))
		role = "verifies"
	}
	lines = append(lines,
		"idle      "+days(cfg.idle),
		"lifetime  "+days(cfg.lifetime),
		fmt.Sprintf("persist   %v", cfg.persist),
		"bind      "+bind,
		fmt.Sprintf("shutdown  after %v of serving on", cfg.shutdownDelay))
	odd.lines = append(odd.lines, cfg.odd()...)
	if len(odd.lines) == 0 {
		odd.lines = []string{"nothing"}
	}
	for _, line := range odd.lines {
		lines = append(lines, "odd       "+line)
	}
	_, err = fmt.Fprintln(stdout, strings.Join(lines, "\n"))
	return err
}

// odd returns what is allowed, and may be no wish.
func (cfg *config) odd() (lines []string) {
	note := func(is bool, says string) {
		if is {
			lines = append(lines, says)
		}
	}
	note(cfg.lifetime < cfg.idle, "-lifetime is shorter than -idle, which then ends no session")
	note(cfg.bind > 0 && cfg.bind < 10*time.Minute, "-bind is below ten minutes: browsers sign "+
		"about six times in nine minutes, and then visitors wait")
	note(cfg.secure() && cfg.tlsCert == "" && cfg.shutdownDelay == 0, "-shutdown-delay is 0: at "+
		"a restart, requests fail until the proxy has seen that this copy is gone")
	note(cfg.tlsCert != "" && len(cfg.origins) == 0, "there is no -origin: the site answers "+
		"under every name")
	note(len(cfg.origins) > 1, "there are several origins: each host has sessions of its own")
	return lines
}

// oddCertificate returns what will be wrong with a certificate soon, or for some names. That
// it has expired is said already.
func (cfg *config) oddCertificate(c *x509.Certificate, now time.Time) (lines []string) {
	// Those that are good for 90 days are usually renewed after 60.
	soon := min(14*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/4)
	if left := c.NotAfter.Sub(now); left > 0 && left < soon {
		lines = append(lines, fmt.Sprintf("the certificate ends in %d hours", int(left.Hours())))
	}
	if now.Before(c.NotBefore) {
		lines = append(lines, "the certificate is not valid yet: perhaps a clock is wrong")
	}
	for _, origin := range cfg.origins {
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
