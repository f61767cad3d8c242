package floodlog_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/floodlog"
	"cookiesession/internal/testkit"
)

// In systemd's journal each line has its priority; elsewhere, or if the variable is
// another program's, none has.
func TestPriorities(t *testing.T) {
	for _, json := range []bool{false, true} {
		for _, other := range []bool{false, true} {
			file := filepath.Join(t.TempDir(), "log")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var stat syscall.Stat_t
			if err := syscall.Fstat(int(f.Fd()), &stat); err != nil {
				t.Fatal(err)
			}
			if other {
				stat.Ino++
			}
			stream := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
			q := floodlog.NewQueue(f, json, floodlog.IsJournal(f, stream))
			log := q.Logger(slog.LevelDebug)
			for _, level := range []slog.Level{-4, 0, 4, 8} {
				log.Log(t.Context(), level, "level=INFO")
			}
			fmt.Fprintln(q, "cookiesession: level=INFO")
			q.Flush(time.Minute)
			want := `^<7>.+\n<6>.+\n<4>.+\n<3>.+\n<3>cookiesession: .+\n$`
			if other {
				want = `^([t{].+\n){4}cookiesession: .+\n$`
			}
			if got := testkit.ReadFile(t, file); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("JSON %v, another's %v: got %s", json, other, got)
			}
		}
	}
}
