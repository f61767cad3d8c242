//go:build !linux

package floodlog

import "io"

// IsJournal reports whether w is systemd's journal, which is on Linux only.
func IsJournal(io.Writer, string) bool { return false }
