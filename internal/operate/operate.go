// Package operate tells the operator of a site what it runs with: in the log at the start
// and when its keys change, with -check, and on the page of the operator's listener.
package operate

import (
	"cmp"
	"context"
	"strings"
	"sync/atomic"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/metrics"
	"cookiesession/internal/server"
	"cookiesession/sessions"
)

// Site is a site as its operator sees it. Load makes what is not given.
type Site[T any] struct {
	Options sessions.Options[T]
	Origins []string      // under which visitors come; none for any
	KeyFile string        // empty if the keys are not in a file
	Server  server.Config // Load adds what the operator and the log are told
	Cookie  string        // its name with the prefix, for Check

	Keys    *sessions.Keyring
	KeysEnd bool // with this process, which has made them
	Metrics *metrics.Metrics

	started  time.Time
	draining atomic.Bool
	former   []string // the keys before the last loading
}

// Load takes the keys that are configured into use, or a random one if there are none. If
// they are in a file, it is watched until ctx ends.
func (s *Site[T]) Load(ctx context.Context, env map[string]string) error {
	s.started, s.Keys = time.Now(), new(sessions.Keyring)
	s.Metrics = metrics.New(s.Keys, s.Options.SignOnly, s.Options.Name)
	to := &s.Server
	to.CertificateLoaded, to.Metrics = s.Metrics.CertificateLoaded, s.Metrics.Handler()
	to.Status, to.Drain = s.status, func() { s.draining.Store(true) }
	if len(s.Origins) > 0 {
		to.URL = s.Origins[0]
	}
	if len(s.Origins) > 1 && s.Options.Domain == "" {
		to.Started = []any{"note", "each host has sessions of its own"}
	}
	return s.watchKeys(ctx, env)
}

// Draining reports whether the server is about to stop.
func (s *Site[T]) Draining() bool { return s.draining.Load() }

// Run says in the log what the site runs with, and serves it until ctx ends or a signal
// comes.
func (s *Site[T]) Run(ctx context.Context) error {
	o := s.Options
	s.Server.Log.Info("starting", append(s.keyAttrs(), "version", command.Version(),
		"origins", s.origins(), "cookie", o.Name, "encrypt", !o.SignOnly, "idle", o.Idle,
		"lifetime", o.Lifetime, "persist", !o.BrowserSession, "bind", o.Bind)...)
	return server.Run(ctx, s.Server)
}

func (s *Site[T]) origins() string { return cmp.Or(strings.Join(s.Origins, ","), "any") }
