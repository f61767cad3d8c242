package operate

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"cookiesession/internal/command"
	"cookiesession/internal/server"
	"cookiesession/sessions"
)

// watchKeys takes the keys into use, and watches their file, if any.
func (s *Site[T]) watchKeys(ctx context.Context, env map[string]string) error {
	load := func() error { return s.loadKeys(env) }
	if s.KeyFile == "" {
		return load()
	}
	if err := server.Watch(ctx, []string{s.KeyFile}, load, s.keysReloaded); err != nil {
		return err
	}
	s.Metrics.KeysLoaded(nil)
	if info, err := os.Stat(s.KeyFile); err == nil { // or it has gone since
		s.Metrics.KeysSince(info.ModTime())
	}
	s.warnOfReaders()
	return nil
}

// loadKeys puts the keys that are configured into the ring.
func (s *Site[T]) loadKeys(env map[string]string) error {
	read, err := command.Keyring(s.KeyFile, env)
	if err != nil {
		return err
	}
	keys := []sessions.Key{sessions.NewKey()}
	if read != nil {
		keys = read.Keys()
	} else {
		s.KeysEnd = true
		s.Server.Log.Warn("no key is configured: sessions end with this process; make a key file " +
			"with `cookiesession keys add FILE` and give it with -key-file")
	}
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
	defer s.warnOfReaders()
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

// warnOfReaders says so when every user of the machine can read the key file.
func (s *Site[T]) warnOfReaders() {
	info, err := os.Stat(s.KeyFile)
	if err == nil && info.Mode()&0o004 != 0 && runtime.GOOS != "windows" {
		s.Server.Log.Warn("the key file can be read by every user of this machine: chmod o= it",
			"file", s.KeyFile)
	}
}
