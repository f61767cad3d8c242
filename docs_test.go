package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The README's table of checks is what is done, in that order: a cookie that
// fails at one check, and at those after it as far as it can, gets the verdict
// of that row.
func TestDocChecks(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| *(\\d*) \\| *(.*?) \\| `([a-z ]+)` \\|$")
	rows := row.FindAllStringSubmatch(readFile(t, "README.md"), -1)

	m := newTestManager(t, options{secure: true})
	newBinding(m, 10*time.Minute)
	const day = 24 * 3600
	now := time.Now().Unix()
	// aged is a cookie of a session that began and was last written at those times.
	aged := func(began, written int64) string {
		return sealed(t, m, payload[session]{Began: uint32(began), Since: uint32(written - began)})
	}
	stranger := newTestManager(t, options{keys: []string{keyB}, secure: true})
	junk := []byte("not a session")
	forged := sealBytes(t, stranger, junk)
	cookies := []string{
		"", // none
		strings.Repeat("x", maxCookie),
		forged + "A",
		forged,
		m.ring.Load().seal.id + forged[idLen:],
		sealBytes(t, m, junk),
		aged(now-91*day, now+2*maxSkew),
		aged(now-91*day, now-15*day),
		aged(now-89*day, now-15*day),
		sealBytes(t, m, withDevice(must(encoding.Marshal(alice(0, 0))), make([]byte, deviceBytes))),
		aged(now-89*day, now-13*day),
	}
	if len(rows) != len(cookies) {
		t.Fatalf("got %d rows, want %d", len(rows), len(cookies))
	}
	for i, value := range cookies {
		r, _ := http.NewRequest("GET", "/", nil)
		if value != "" {
			r.Header.Set("Cookie", m.cookie+"="+value)
		}
		v := m.load(r)
		if i+1 < len(rows) && rows[i][1] != fmt.Sprint(i+1) {
			t.Errorf("got the number %q in row %d", rows[i][1], i+1)
		}
		if rows[i][3] != string(v.verdict) || int(v.passed) != min(i, int(checkProof)) {
			t.Errorf("check %d, %s: got %q after %d checks were passed, want %q after %d",
				i+1, rows[i][2], v.verdict, v.passed, rows[i][3], i)
		}
	}
}

// What the manual says of -idle: it is three quarters of it, at least, that a
// visitor may stay away, and the whole of it at most.
func TestDocIdle(t *testing.T) {
	const idle = 400 * time.Second
	for _, tt := range []struct {
		visit, away time.Duration // until the visitor comes back, and after that
		want        verdict
	}{
		{idle/4 - time.Second, idle * 3 / 4, valid},
		{idle/4 - time.Second, idle*3/4 + time.Second, valid}, // the last second
		{idle/4 - time.Second, idle*3/4 + 2*time.Second, expired},
		{idle / 4, idle, valid},
		{idle / 4, idle + time.Second, expired},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newTestManager(t, options{idle: idle})
			value := seal(t, m, alice(0, 0))
			time.Sleep(tt.visit)
			w := httptest.NewRecorder()
			if _, _, err := m.save(w, openValue(m, value)); err != nil {
				t.Fatal(err)
			}
			for _, c := range w.Result().Cookies() {
				value = c.Value
			}
			time.Sleep(tt.away)
			if got := openValue(m, value).verdict; got != tt.want {
				t.Errorf("a visit after %v, another %v later: got %v, want %v",
					tt.visit, tt.away, got, tt.want)
			}
		})
	}
}
