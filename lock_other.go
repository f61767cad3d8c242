//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lockFolder waits until no other process has the folder locked, for ten
// seconds at most, and locks it until unlock is called.
func lockFolder(folder string) (unlock func(), err error) {
	name := filepath.Join(folder, ".cookiesession.lock")
	for range 100 {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("another command has locked %s (if none is running, remove %s)", folder, name)
}

// copyOwner does nothing: a new file inherits the rights of its folder here.
func copyOwner(*os.File, os.FileInfo) error { return nil }
