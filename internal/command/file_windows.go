package command

import (
	"os"
	"syscall"
)

// sharingViolation is Windows' word for a file that another program has for itself.
const sharingViolation = syscall.Errno(32)

// tryLock opens the file called name for this program alone, or returns errLocked.
func tryLock(name string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch err {
	case nil:
		return os.NewFile(uintptr(h), name), nil
	case sharingViolation:
		return nil, errLocked
	}
	return nil, &os.PathError{Op: "lock", Path: name, Err: err}
}

// copyOwner does nothing: a new file inherits the rights of its folder here.
func copyOwner(*os.File, os.FileInfo) error { return nil }
