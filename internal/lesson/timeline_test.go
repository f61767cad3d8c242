package lesson

import (
	"testing"
	"time"

	"cookiesession/internal/report"
)

// The line from the session's beginning to its end is in per cent. What is behind an early
// idle end is cut short.
func TestScale(t *testing.T) {
	began := time.Unix(1767225600, 0)
	after := func(hours int) time.Time { return began.Add(time.Duration(hours) * time.Hour) }
	for _, tt := range []struct {
		idleEnd, now      int
		wantNow, wantLeft int64
		wantCut           bool
	}{
		{idleEnd: 20, now: 5, wantNow: 18, wantLeft: 57, wantCut: true},
		{idleEnd: 20, now: -1, wantNow: 0, wantLeft: 75, wantCut: true},
		{idleEnd: 20, now: 20, wantNow: 75, wantLeft: 0, wantCut: true},
		{idleEnd: 20, now: 30, wantNow: 100, wantLeft: 0, wantCut: true},
		{idleEnd: 75, now: 5, wantNow: 5, wantLeft: 70},
		{idleEnd: 80, now: 5, wantNow: 5, wantLeft: 75},
		{idleEnd: 100, now: 200, wantNow: 100, wantLeft: 0},
		{idleEnd: 300, now: 50, wantNow: 50, wantLeft: 50},
	} {
		l := timeline{report.Report{
			Began: began, End: after(100), IdleEnd: after(tt.idleEnd), Now: after(tt.now),
		}}
		if now, left := l.Scale(l.Now), l.Left(); now != tt.wantNow || left != tt.wantLeft ||
			l.Cut() != tt.wantCut {
			t.Errorf("%d of %d hours: got now at %d with %d left, want %d and %d",
				tt.now, tt.idleEnd, now, left, tt.wantNow, tt.wantLeft)
		}
	}
}

func TestRough(t *testing.T) {
	now := time.Unix(1767225600, 0)
	for ahead, want := range map[int64]string{
		0: "now", 1: "in 1 second", -1: "1 second ago",
		119: "in 119 seconds", 120: "in 2 minutes", -7100: "118 minutes ago",
		7199: "in 2 hours", -86400: "24 hours ago", 47 * 3600: "in 47 hours",
		2*86400 - 1:  "in 2 days",
		14*86400 - 1: "in 14 days", 14*86400 - 7200: "in 14 days", 14*86400 - 50000: "in 13 days",
		90*86400 - 60: "in 90 days", -90 * 86400: "90 days ago",
	} {
		l := timeline{report.Report{Now: now}}
		if got := l.Rough(now.Add(time.Duration(ahead) * time.Second)); got != want {
			t.Errorf("%d: got %q, want %q", ahead, got, want)
		}
	}
}
