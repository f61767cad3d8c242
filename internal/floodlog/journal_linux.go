package floodlog

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// isStream reports whether w is the file of a device and inode, such as 8:1234.
func isStream(w io.Writer, is string) bool {
	var stat syscall.Stat_t
	f, ok := w.(*os.File)
	return ok && is != "" && syscall.Fstat(int(f.Fd()), &stat) == nil &&
		is == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
