//go:build unix

package command

import (
	"os"
	"syscall"
)

// copyOwner gives f the owner and group of the file that info is of.
func copyOwner(f *os.File, info os.FileInfo) error {
	stat := info.Sys().(*syscall.Stat_t)
	return f.Chown(int(stat.Uid), int(stat.Gid))
}
