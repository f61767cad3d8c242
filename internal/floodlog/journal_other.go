//go:build !linux

package floodlog

import "io"

// isStream reports whether w is systemd's journal, which is on Linux only.
func isStream(io.Writer, string) bool { return false }
