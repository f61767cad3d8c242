package server

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// reloadInterval is how often watched files are looked at. They are read each
	// time, because a mounted Kubernetes secret changes behind a symbolic link.
	reloadInterval = 3 * time.Second

	// maxFile is how many bytes a watched file may have, far more than keys or
	// certificates need.
	maxFile = 1 << 20
)

// Watch calls load, which is to load files, and returns its error. If there is none,
// Watch goes on by itself until ctx ends: it calls load again each time that the files
// say something new or can no longer be read, and at each SIGHUP, and told with what
// came of it.
func Watch(ctx context.Context, files []string, load func() error, told func(error)) error {
	last := say(files) // before load, so that no change is missed
	if err := load(); err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hup)
		tick := time.Tick(reloadInterval)
		for {
			force := false
			select {
			case <-ctx.Done():
				return
			case <-hup:
				force = true
			case <-tick:
			}
			before := last
			if last = say(files); force || last != before {
				told(load())
			}
		}
	}()
	return nil
}

// say returns what the files say, or why they can't be read.
func say(files []string) (all string) {
	for _, name := range files {
		content, err := readRegular(name)
		all += fmt.Sprintf("%q %v\n", content, err)
	}
	return all
}

// readRegular reads a file that is read again when it changes.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		// Reading a pipe could wait forever, and the second time there is nothing in it.
		return nil, fmt.Errorf("%s: not a regular file (it is read again when it changes)", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: too large, it may have %d bytes at most", name, maxFile)
	}
	return os.ReadFile(name)
}
