package sessions_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"cookiesession/sessions"
)

// What was saved and then announced by a 103 may not be what the final answer keeps.
func TestSavedBeforeEarlyHints(t *testing.T) {
	m := managerOf(options{})
	for _, status := range []int{200, 500} {
		overBoth(t, http.StatusText(status), func(t *testing.T, http2 bool) {
			hinted := ""
			x := exchange{http2: http2, trace: httptrace.ClientTrace{
				Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
					hinted = h.Get("Set-Cookie")
					return nil
				},
			}}
			response := x.do(t, handle(m, func(w http.ResponseWriter, s *session) {
				s.Data.Name = "Ada"
				if _, err := m.Save(w, s); err != nil {
					t.Error(err)
				}
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(status)
			}))
			want := map[int]string{200: "Ada", 500: "(none)"}[status]
			if wantKept(t, m, response, status, want); hinted != "" {
				t.Errorf("got %q with 103", hinted)
			}
		})
	}
}

// A handler that was told by Save answers itself, if it says that it has failed. Observe
// hears the error, without what may quote the data.
func TestHandlerAnswersItself(t *testing.T) {
	for name, text := range map[string]string{
		"too large": strings.Repeat("x", 5000), "no UTF-8": "\xff",
	} {
		for status, want := range map[int]int{400: 400, 399: 500} {
			answered := 0
			var heard error
			m := managerOf(options{
				Failed: func(w http.ResponseWriter, _ *http.Request, _ error) {
					answered++
					w.WriteHeader(500)
				},
				Observe: func(_ *http.Request, e sessions.Event) { heard = e.Err },
			})
			response := exchange{}.do(t, handle(m, func(w http.ResponseWriter, s *session) {
				s.Data.Name = text
				if _, err := m.Save(w, s); err == nil {
					t.Errorf("%s: got no error", name)
				}
				w.WriteHeader(status)
			}))
			if wantKept(t, m, response, want, "(none)"); answered != map[int]int{500: 1}[want] {
				t.Errorf("%s, %d: Failed was called %d times", name, status, answered)
			}
			isPlain := heard == sessions.ErrUnstorable // and wraps nothing
			if status == 399 && (heard == nil || text == "\xff" && !isPlain) {
				t.Errorf("%s: Observe heard %v", name, heard)
			}
		}
	}
}

// The line of the default Failed has nothing that may quote the data.
func TestUnstorableIsLogged(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	m := managerOf(options{})
	response := exchange{}.do(t, handle(m, func(_ http.ResponseWriter, s *session) {
		s.Data.Name = "\xff"
	}))
	wantKept(t, m, response, 500, "(none)")
	if want := `err="sessions: the data can't be stored"`; !strings.Contains(log.String(), want) {
		t.Errorf("got %s, want %s", log.String(), want)
	}
}

// Trailers are of the content that Failed's answer replaces.
func TestFailedHasNoTrailers(t *testing.T) {
	m := managerOf(options{})
	response := exchange{http2: true}.do(t, handle(m, func(w http.ResponseWriter, s *session) {
		s.Data.Name = strings.Repeat("x", 5000)
		io.WriteString(w, "x")
		w.Header().Set(http.TrailerPrefix+"Sum", "1")
	}))
	if wantKept(t, m, response, 500, "(none)"); len(response.Trailer) > 0 {
		t.Errorf("got the trailers %v", response.Trailer)
	}
}

// Several goroutines of a request get one session.
func TestGetAtOnce(t *testing.T) {
	m := managerOf(options{})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		got := make([]*session, 8)
		for i := range got {
			wg.Go(func() { got[i] = m.Get(r.Context()) })
		}
		wg.Wait()
		if len(slices.Compact(got)) > 1 {
			t.Error("got several sessions")
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), comes(m))
}

// adopter takes over a session with this name, which a cookie called old stands for.
func adopter(name, old string) *manager {
	return managerOf(options{Adopt: func(r *http.Request) (fixed, *http.Cookie, bool) {
		return fixed{Name: name}, &http.Cookie{Name: old}, true
	}})
}

// What was adopted and can't be stored is never stored in part, nor is the old cookie
// deleted for it.
func TestAdoptedButUnstorable(t *testing.T) {
	m := adopter("caf\xe9", "old")
	s, w := m.Load(comes(m)), httptest.NewRecorder()
	s.Undo()
	if saved, err := m.Save(w, s); saved.Reason != sessions.Unchanged || err != nil ||
		w.Header()["Set-Cookie"] != nil {
		t.Errorf("got %v, %v and %v", saved, err, w.Header())
	}
}

// never can't be encoded while it says no.
type never struct{ no bool }

func (n never) MarshalText() ([]byte, error) {
	if n.no {
		return nil, errors.New("no")
	}
	return nil, nil
}

func (n *never) UnmarshalText([]byte) error { n.no = false; return nil }

// What can't be encoded is a change like any other: late, if the response has begun, and
// not if Save has told the handler of it, which then says that it has failed.
func TestWhatCantBeEncodedIsAChange(t *testing.T) {
	type site struct{ Never never }
	for name, want := range map[string]int{"asked before": 1, "asked late": 1, "told": 0} {
		failed := 0
		m := managerOf(sessions.Options[site]{
			Failed: func(_ http.ResponseWriter, _ *http.Request, err error) {
				if failed++; err != sessions.ErrLate {
					t.Errorf("%s: got %v", name, err)
				}
			},
		})
		exchange{}.do(t, m.Handler(http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				if name != "asked late" {
					m.Get(r.Context()).Data.Never.no = name == "told"
				}
				if name == "told" {
					m.Save(w, m.Get(r.Context()))
				}
				w.WriteHeader(400)
				m.Get(r.Context()).Data.Never.no = true
			})))
		if failed != want {
			t.Errorf("%s: Failed was called %d times, want %d", name, failed, want)
		}
	}
}

// What Adopt brings and can't be stored leaves the old cookie alone, if that is undone.
func TestAdoptedButNotEncodable(t *testing.T) {
	type site struct {
		Name  string
		Never never
	}
	m := managerOf(sessions.Options[site]{Adopt: func(*http.Request) (site, *http.Cookie, bool) {
		return site{Never: never{true}}, &http.Cookie{Name: "old"}, true
	}})
	s, w := m.Load(comes(m)), httptest.NewRecorder()
	s.Undo()
	saved, err := m.Save(w, s)
	if err != nil || saved.Reason != sessions.Unchanged || w.Header()["Set-Cookie"] != nil {
		t.Errorf("got %+v, %v and %q, want the old cookie left alone", saved, err, w.Header())
	}
}

// A session that ends because its data is zero isn't adopted again either.
func TestZeroDataEndsTheOldSessionToo(t *testing.T) {
	for old, want := range map[string]int{"old": 2, "no name": 1} {
		m := adopter("Ada", old)
		w, s := httptest.NewRecorder(), m.Load(comes(m, cookieOf(m, "Ada").Value))
		s.Data = fixed{}
		if saved, err := m.Save(w, s); saved.Reason != sessions.Cleared || err != nil {
			t.Errorf("got %v and %v", saved, err)
		}
		if got := w.Header()["Set-Cookie"]; len(got) != want {
			t.Errorf("got %q, want %d lines", got, want)
		}
	}
}

// When all that was left of a session is forgotten, so is the session.
func TestForgetTheLastField(t *testing.T) {
	m := managerOf(options{Forget: []string{"Mail"}})
	for _, data := range []map[string]string{{"Mail": "a"}, {"Mail": "a", "Name": ""}} {
		value := forge(hexA, false, m.CookieName(), payloadOf(5, 5, data))
		if got, why, err := saveOf(t, m, m.Load(comes(m, value)), value); got != "" ||
			why != sessions.Cleared || err != nil {
			t.Errorf("%v: got %q, %v and %v", data, got, why, err)
		}
	}
}

// Messages that nobody looks at don't fill the cookie.
func TestFlashIsBounded(t *testing.T) {
	var f sessions.Flash
	for _, message := range strings.Fields("1 2 3 4 5 6 7") {
		f.Add(message)
	}
	if got := strings.Join(f.Take(), " "); got != "3 4 5 6 7" || len(f) > 0 {
		t.Errorf("got %q, and %q is left", got, f)
	}
}
