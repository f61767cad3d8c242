//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"os"
	"syscall"
)

// lockFolder waits until no other process has the folder locked, and locks it
// until unlock is called or this process ends, however it does.
func lockFolder(folder string) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: folder, Err: err}
	}
	return func() { f.Close() }, nil
}

// copyOwner gives f the owner and group of the file that info is of.
func copyOwner(f *os.File, info os.FileInfo) error {
	stat := info.Sys().(*syscall.Stat_t)
	return f.Chown(int(stat.Uid), int(stat.Gid))
}
