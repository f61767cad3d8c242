package lesson

import (
	"cmp"
	"fmt"
	"time"

	"cookiesession/internal/report"
)

// timeline is a report whose times can be drawn.
type timeline struct{ report.Report }

// Scale returns where t is on a line from Began to End, in per cent.
func (l timeline) Scale(t time.Time) int64 {
	whole := seconds(l.End.Sub(l.Began))
	return max(0, min(100, 100*seconds(t.Sub(l.Began))/whole))
}

// Left returns how much of that line remains.
func (l timeline) Left() int64 { return max(0, l.Scale(l.IdleEnd)-l.Scale(l.Now)) }

// Rough returns how far away t is from now, rounded, like "in 14 days" or "2 hours ago".
func (l timeline) Rough(t time.Time) string {
	ahead := seconds(t.Sub(l.Now))
	n, unit := max(ahead, -ahead), "second"
	for _, u := range []struct {
		name    string
		seconds int64
	}{{name: "day", seconds: 86400}, {name: "hour", seconds: 3600}, {name: "minute", seconds: 60}} {
		if n > 2*u.seconds-u.seconds/60 {
			n, unit = (n+u.seconds/2)/u.seconds, u.name
			break
		}
	}
	if n != 1 {
		unit += "s"
	}
	switch cmp.Compare(ahead, 0) {
	case 1:
		return fmt.Sprintf("in %d %s", n, unit)
	case -1:
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return "now"
}

// seconds returns d in whole seconds.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
