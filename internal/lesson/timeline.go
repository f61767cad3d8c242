package lesson

import (
	"time"

	"cookiesession/internal/report"
)

// timeline is a report whose times can be drawn. They are in whole seconds.
type timeline struct{ report.Report }

// Cut reports whether the line is drawn to a scale of its idle end, and what is behind
// that is cut short: it would be too long.
func (l timeline) Cut() bool { return 4*l.IdleEnd.Sub(l.Began) < 3*l.End.Sub(l.Began) }

// Scale returns where t is on a line from Began to End, in per cent. If the line is cut
// short, IdleEnd is at three quarters.
func (l timeline) Scale(t time.Time) int64 {
	whole := l.End.Sub(l.Began)
	if l.Cut() {
		whole = l.IdleEnd.Sub(l.Began) * 4 / 3
	}
	return max(0, min(100, int64(100*t.Sub(l.Began)/whole)))
}

// Left returns how much of that line remains.
func (l timeline) Left() int64 { return max(0, l.Scale(l.IdleEnd)-l.Scale(l.Now)) }

// Rough returns how far away t is from now, rounded, like "in 14 days" or "2 hours ago".
func (l timeline) Rough(t time.Time) string {
	away := report.Roughly(t.Sub(l.Now).Abs())
	switch t.Compare(l.Now) {
	case 1:
		return "in " + away
	case -1:
		return away + " ago"
	}
	return "now"
}
