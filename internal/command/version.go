package command

import (
	"fmt"
	"runtime/debug"
)

// Version returns the program's version, commit and Go version, as go build has
// noted them.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "cookiesession, without build information"
	}
	commit := "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return fmt.Sprintf("cookiesession %s, commit %s, %s", info.Main.Version, commit, info.GoVersion)
}
