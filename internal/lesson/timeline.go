package lesson

import (
	"fmt"
	"time"

	"cookiesession/internal/report"
)

// timeline is a report whose times can be drawn. They are in whole seconds.
type timeline struct{ report.Report }

// Scale returns where t is on a line from Began to End, in per cent.
func (l timeline) Scale(t time.Time) int64 {
	return max(0, min(100, int64(100*t.Sub(l.Began)/l.End.Sub(l.Began))))
}

// Left returns how much of that line remains.
func (l timeline) Left() int64 { return max(0, l.Scale(l.IdleEnd)-l.Scale(l.Now)) }

// Rough returns how far away t is from now, rounded, like "in 14 days" or "2 hours ago".
func (l timeline) Rough(t time.Time) string {
	const day = 24 * time.Hour
	away := t.Sub(l.Now).Abs()
	n, unit := away/time.Second, "second"
	switch {
	case away > 2*day-day/60:
		n, unit = (away+day/2)/day, "day"
	case away > 2*time.Hour-time.Minute:
		n, unit = (away+time.Hour/2)/time.Hour, "hour"
	case away > 2*time.Minute-time.Second:
		n, unit = (away+time.Minute/2)/time.Minute, "minute"
	}
	if n != 1 {
		unit += "s"
	}
	switch t.Compare(l.Now) {
	case 1:
		return fmt.Sprintf("in %d %s", n, unit)
	case -1:
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return "now"
}
