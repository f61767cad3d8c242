package floodlog

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// IsJournal reports whether w is systemd's journal: the file of the device and inode that
// systemd has put into JOURNAL_STREAM.
func IsJournal(w io.Writer, stream string) bool {
	var stat syscall.Stat_t
	f, ok := w.(*os.File)
	return ok && stream != "" && syscall.Fstat(int(f.Fd()), &stat) == nil &&
		stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
