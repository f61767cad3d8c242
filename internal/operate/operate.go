// Package operate tells the operator of a site what it runs with: in the log at the start
// and when its keys change, with -check, and on the page of the operator's listener.
package operate

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/metrics"
	"cookiesession/sessions"
)

// Site is a site as its operator sees it. Load makes what is not given.
type Site[T any] struct {
	Options sessions.Options[T]
	Origins []string     // under which visitors come; none for any
	KeyFile string       // empty if the keys are not in a file
	Log     *slog.Logger // which must be there
	Cookie  string       // its name with the prefix, for Check

	Keys    *sessions.Keyring
	KeysEnd bool // with this process, which has made them
	Metrics *metrics.Metrics

	started time.Time
	former  []string // the keys before the last loading
}

// LogStart says in the log what the site runs with.
func (s *Site[T]) LogStart() {
	o := s.Options
	s.Log.Info("starting", append(s.keyAttrs(), "version", command.Version(),
		"origins", s.origins(), "cookie", o.Name, "encrypt", !o.SignOnly, "idle", o.Idle,
		"lifetime", o.Lifetime, "persist", !o.BrowserSession, "bind", o.Bind)...)
}

func (s *Site[T]) origins() string { return cmp.Or(strings.Join(s.Origins, ","), "any") }
