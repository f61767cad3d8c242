// Package operate tells the operator of a site what it runs with: in the log at the start
// and when its keys change, with -check, and on the page of the operator's listener.
package operate

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
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
	to.CertificateLoaded = func(notAfter time.Time, err error) {
		s.Metrics.CertificateLoaded(notAfter, err)
		s.warnOfOthers("certificate's key", to.Certificate.KeyFile)
	}
	to.Metrics, to.Status = s.Metrics.Handler(), s.status
	to.Drain = func() { s.draining.Store(true) }
	if s.hasHosts() {
		to.Started = []any{"note", "each host has sessions of its own"}
	}
	return s.watchKeys(ctx, env)
}

// Draining reports whether the server is about to stop.
func (s *Site[T]) Draining() bool { return s.draining.Load() }

// hasHosts reports whether there are several hosts that share no cookie.
func (s *Site[T]) hasHosts() bool {
	hosts := make(map[string]bool)
	for _, origin := range s.Server.Origins {
		u, _ := url.Parse(origin) // it is one
		hosts[u.Hostname()] = true
	}
	return len(hosts) > 1 && s.Options.Domain == ""
}

// origins returns the addresses of the site as text.
func (s *Site[T]) origins() string {
	return cmp.Or(strings.Join(s.Server.Origins, ","), "any")
}

// Run says in the log what the site runs with, and serves it until ctx ends or a signal
// comes.
func (s *Site[T]) Run(ctx context.Context) error {
	o := s.Options
	s.Server.Log.Info("starting", append(s.keyAttrs(), "version", command.Version(),
		"origins", s.origins(), "cookie", o.Name, "encrypt", !o.SignOnly, "idle", o.Idle,
		"lifetime", o.Lifetime, "persist", !o.BrowserSession, "bind", o.Bind)...)
	return server.Run(ctx, s.Server)
}

// watchKeys takes the keys into use, and watches their file, if any.
func (s *Site[T]) watchKeys(ctx context.Context, env map[string]string) error {
	if s.KeyFile == "" {
		return s.loadKeys(env)
	}
	load := func() error { return s.loadKeys(env) }
	if err := server.Watch(ctx, []string{s.KeyFile}, load, s.keysReloaded); err != nil {
		return err
	}
	s.Metrics.KeysLoaded(nil)
	if info, err := os.Stat(s.KeyFile); err == nil { // or it has gone since
		s.Metrics.KeysSince(info.ModTime())
	}
	s.warnOfOthers("key file", s.KeyFile)
	return nil
}

// loadKeys puts the keys that are configured into the ring.
func (s *Site[T]) loadKeys(env map[string]string) error {
	read, err := command.Keyring(s.KeyFile, env)
	if err != nil {
		return err
	}
	if read == nil { // at the start, since there is no file
		read, _ = sessions.NewKeyring(sessions.NewKey()) // a new key is a good one
		s.KeysEnd = true
		s.Server.Log.Warn("no key is configured: sessions end with this process; make a key file " +
			"with `cookiesession keys add FILE` and give it with -key-file")
	}
	keys := read.Keys()
	s.former = s.keyNames()
	err = s.Keys.Replace(keys[0], keys[1:]...)
	s.Metrics.KeysChanged()
	return err
}

// keysReloaded says what became of a key file that was loaded again.
func (s *Site[T]) keysReloaded(err error) {
	s.Metrics.KeysLoaded(err)
	if err != nil {
		s.Server.Log.Error("the key file is bad, the keys stay as they are", "err", err)
		return
	}
	defer s.warnOfOthers("key file", s.KeyFile)
	log, now := s.Server.Log.With("file", s.KeyFile), s.keyNames()
	if slices.Equal(now, s.former) {
		log.Info("key file loaded", "note", "the keys are the same")
		return
	}
	went := without(s.former, now)
	log.Info("key file loaded",
		append(s.keyAttrs(), "came", without(now, s.former), "went", went)...)
	if len(went) == len(s.former) {
		log.Error("none of the keys of before is in the key file, so every session has ended: " +
			"if nobody has replaced them on purpose, put the last good file back")
	}
}

// keyNames returns the ids of each key in the ring.
func (s *Site[T]) keyNames() (names []string) {
	for _, k := range s.Keys.Keys() {
		names = append(names, fmt.Sprint(k))
	}
	return names
}

// keyAttrs says which keys are in the ring, and which seals.
func (s *Site[T]) keyAttrs() []any {
	seals, signed := s.Keys.Keys()[0].IDs()
	if s.Options.SignOnly {
		seals = signed
	}
	return []any{"seals", seals, "keys", s.keyNames()}
}

// without returns those of all that are not among others.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		return slices.Contains(others, s)
	})
}

// warnOfOthers says so when every user of the machine can read a secret file, or others than
// its owner can change it. A group that reads it is fine.
func (s *Site[T]) warnOfOthers(what, file string) {
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS == "windows" {
		return
	}
	if info.Mode()&0o004 != 0 {
		s.Server.Log.Warn("the "+what+" can be read by every user of this machine: chmod o= it",
			"file", file)
	}
	if info.Mode()&0o022 != 0 {
		s.Server.Log.Warn("the "+what+" can be changed by others than its owner: chmod go-w it",
			"file", file)
	}
}
