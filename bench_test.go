package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/mux"
	"github.com/gorilla/securecookie"
	gorillasessions "github.com/gorilla/sessions"
)

// names are those of the small and of the large session.
var names = map[string]string{"Alice": "Alice", "1KB": strings.Repeat("Rumpelstiltskin ", 64)}

// benchModes runs f for each mode and size.
func benchModes(b *testing.B, f func(b *testing.B, signed bool, name string)) {
	for _, mode := range []string{"signed", "encrypted"} {
		for _, size := range []string{"Alice", "1KB"} {
			b.Run(mode+"/"+size, func(b *testing.B) { f(b, mode == "signed", names[size]) })
		}
	}
}

// peerCodec is a codec as gorilla/sessions makes one: with gob, for a map.
func peerCodec(signed bool) *securecookie.SecureCookie {
	hash, block := []byte(keyA[:32]), []byte(keyB[:32])
	if signed {
		block = nil
	}
	return securecookie.New(hash, block)
}

// bareSeal is the least that a signed cookie could cost: one HMAC and base64.
func bareSeal(payload []byte) string {
	h := hmac.New(sha256.New, []byte(keyA[:32]))
	h.Write(payload)
	return base64.RawURLEncoding.EncodeToString(h.Sum(payload))
}

func bareOpen(value string) bool {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) < sha256.Size {
		return false
	}
	h := hmac.New(sha256.New, []byte(keyA[:32]))
	h.Write(b[:len(b)-sha256.Size])
	return hmac.Equal(h.Sum(nil), b[len(b)-sha256.Size:])
}

// contender is one of several functions that do the same thing.
type contender struct {
	name string
	do   func()
}

// compare runs a benchmark of each contender, and then all of them in turns, to
// report what the first one takes over each of the others. Turns of a few
// milliseconds, and the median over them, keep what else goes on in the machine
// out of the ratios.
func compare(b *testing.B, contenders ...contender) {
	for _, c := range contenders {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.do()
			}
		})
	}
	b.Run("ratio", func(b *testing.B) {
		took := make([][]float64, len(contenders))
		for b.Loop() {
			for i, c := range contenders {
				began, n := time.Now(), 0.0
				for ; time.Since(began) < 3*time.Millisecond; n += 16 {
					for range 16 {
						c.do()
					}
				}
				took[i] = append(took[i], float64(time.Since(began))/n)
			}
		}
		for i, c := range contenders[1:] {
			var ratios []float64
			for turn, t := range took[i+1] {
				ratios = append(ratios, took[0][turn]/t)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "/"+c.name)
		}
		b.ReportMetric(0, "ns/op") // of no meaning here
	})
}

// BenchmarkSeal makes the value of a cookie from a session: here by CBOR and
// securecookie, for the floor by securecookie alone.
func BenchmarkSeal(b *testing.B) {
	benchModes(b, func(b *testing.B, signed bool, name string) {
		m := newTestManager(b, options{signed: signed})
		c := m.ring.Load().seal
		p := named(name, 0, 0)
		content := must(encoding.Marshal(p))
		buf := make([]byte, len(content))
		peer := peerCodec(signed)
		var ours, floor, gorilla, bare string
		compare(b,
			contender{"cookiesession", func() {
				ours, _ = c.seal(m.cookie, must(encoding.Marshal(p)))
			}},
			contender{"floor", func() {
				copy(buf, content) // it is overwritten
				floor, _ = c.Encode(m.cookie, buf)
			}},
			contender{"gorilla", func() {
				gorilla, _ = peer.Encode(m.cookie, map[any]any{"name": name})
			}},
			contender{"hmac", func() { bare = bareSeal(content) }},
		)
		b.Run("bytes", func(b *testing.B) {
			for kind, value := range map[string]string{
				"cookiesession": ours, "floor": floor, "gorilla": gorilla, "hmac": bare,
			} {
				b.ReportMetric(float64(len(m.cookie)+len(value)), kind+"-B")
			}
			b.ReportMetric(0, "ns/op")
		})
	})
}

// BenchmarkOpen makes a session from the value of a cookie.
func BenchmarkOpen(b *testing.B) {
	benchModes(b, func(b *testing.B, signed bool, name string) {
		m := newTestManager(b, options{signed: signed})
		now := time.Now().Unix()
		p := named(name, 0, 0)
		value := seal(b, m, p)
		cookie := &http.Cookie{Name: m.cookie, Value: value}
		c := m.ring.Load().seal
		peer := peerCodec(signed)
		theirs, _ := peer.Encode(m.cookie, map[any]any{"name": name})
		bare := bareSeal(must(encoding.Marshal(p)))
		good := func(ok bool) {
			if !ok {
				b.Fatal("a good cookie was refused")
			}
		}
		compare(b,
			contender{"cookiesession", func() { good(m.open(cookie, now).verdict == valid) }},
			contender{"floor", func() {
				var content []byte
				good(c.Decode(m.cookie, value[idLen+1:], &content) == nil)
			}},
			contender{"gorilla", func() {
				values := make(map[any]any)
				good(peer.Decode(m.cookie, theirs, &values) == nil)
			}},
			contender{"hmac", func() { good(bareOpen(bare)) }},
		)
	})
}

// sink is a recorder that costs next to nothing.
type sink struct {
	header http.Header
	status int
	body   []byte
}

func (s *sink) Header() http.Header    { return s.header }
func (s *sink) WriteHeader(status int) { s.status = status }
func (s *sink) Write(p []byte) (int, error) {
	s.body = append(s.body, p...)
	return len(p), nil
}

func (s *sink) reset() {
	clear(s.header)
	s.status, s.body = 0, s.body[:0]
}

// site is an app to compare.
type site struct {
	name    string
	handler http.Handler
}

// getter reads the visitor's name, and setter stores it.
type (
	getter func(r *http.Request) string
	setter func(w http.ResponseWriter, r *http.Request, name string)
)

// peerPages returns a peer's two pages.
func peerPages(get getter, set setter) http.Handler {
	reply := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(w, text)
	}
	r := mux.NewRouter()
	r.HandleFunc("/get_name", func(w http.ResponseWriter, r *http.Request) {
		reply(w, "Name: "+get(r)+"\n")
	}).Methods("GET")
	r.HandleFunc("/set_name", func(w http.ResponseWriter, r *http.Request) {
		name := r.PostFormValue("name")
		set(w, r, name)
		reply(w, "Name "+name+" set in session\n")
	}).Methods("POST")
	return r
}

// newSites returns this app and its peers, all with the same two pages.
func newSites(b *testing.B, signed bool, name string) []site {
	a := newTestApp(b, options{signed: signed, log: io.Discard})
	a.log = slog.New(slog.DiscardHandler)

	bare := peerPages(
		func(*http.Request) string { return name },
		func(http.ResponseWriter, *http.Request, string) {},
	)

	hash, block := []byte(keyA[:32]), []byte(keyB[:32])
	if signed {
		block = nil
	}
	store := gorillasessions.NewCookieStore(hash, block)
	gorilla := peerPages(func(r *http.Request) string {
		s, _ := store.Get(r, "session")
		name, _ := s.Values["name"].(string)
		return name
	}, func(w http.ResponseWriter, r *http.Request, name string) {
		s, _ := store.Get(r, "session")
		s.Values["name"] = name
		if err := s.Save(r, w); err != nil {
			b.Fatal(err)
		}
	})

	manager := scs.New()
	manager.Store = memstore.NewWithCleanupInterval(0)
	server := manager.LoadAndSave(peerPages(func(r *http.Request) string {
		return manager.GetString(r.Context(), "name")
	}, func(_ http.ResponseWriter, r *http.Request, name string) {
		manager.Put(r.Context(), "name", name)
	}))

	return []site{
		{name: "cookiesession", handler: a},
		{name: "bare", handler: bare},
		{name: "gorilla", handler: gorilla},
		{name: "scs", handler: server},
	}
}

// body is a form that is sent again and again.
type body struct{ *strings.Reader }

func (body) Close() error { return nil }

// post returns a request that sends a name. Its body must be rewound before each use.
func post(name, cookie string) (*http.Request, body) {
	form := body{strings.NewReader(url.Values{"name": {name}}.Encode())}
	r := httptest.NewRequest("POST", "/set_name", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.ContentLength = int64(form.Len())
	r.Body = form
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return r, form
}

// signIn stores a name and returns the visitor's cookie.
func signIn(h http.Handler, name string) string {
	w := httptest.NewRecorder()
	r, _ := post(name, "")
	h.ServeHTTP(w, r)
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return cookie
}

// BenchmarkGetName has whole handlers read a name. With Alice's session, encrypted,
// cookiesession should take 0.30 of the time of gorilla/sessions at most, and 0.40
// of that of scs; so should it in BenchmarkSetName.
func BenchmarkGetName(b *testing.B) {
	benchModes(b, func(b *testing.B, signed bool, name string) {
		var contenders []contender
		for _, s := range newSites(b, signed, name) {
			cookie := signIn(s.handler, name)
			if a, ok := s.handler.(*app); ok { // its form takes no name of 1 KB
				cookie = a.sessions.cookie + "=" + seal(b, a.sessions, named(name, 0, 0))
			}
			r := httptest.NewRequest("GET", "/get_name", nil)
			r.Header.Set("Cookie", cookie)
			w := &sink{header: make(http.Header)}
			want := "Name: " + name + "\n"
			contenders = append(contenders, contender{s.name, func() {
				w.reset()
				s.handler.ServeHTTP(w, r)
				if string(w.body) != want {
					b.Fatalf("got %q, want %q", w.body, want)
				}
			}})
		}
		compare(b, contenders...)
	})
}

// BenchmarkBound has a whole handler read a name: from a session that is bound to
// a device, from one that isn't, and from that at a site without binding. This is
// the handler alone: of a whole request over a socket, the ticket is a smaller part.
func BenchmarkBound(b *testing.B) {
	on, off := newBindApp(b, options{}, time.Hour), newBindApp(b, options{}, 0)
	bound := bindAlice(b, sendTo(on)).cookies()
	unbound := map[string]string{boundCookie: seal(b, on.sessions, named("Alice", 0, 0))}
	if loadAll(on, bound).device == nil || loadAll(on, unbound).device != nil {
		b.Fatal("the one session is not bound, or the other one is")
	}
	contend := func(name string, a *app, cookies map[string]string) contender {
		r := httptest.NewRequest("GET", "/get_name", nil)
		r.Header.Set("Cookie", cookieLine(cookies))
		w := &sink{header: make(http.Header)}
		return contender{name, func() {
			w.reset()
			a.ServeHTTP(w, r)
			if want := "Name: Alice\n"; string(w.body) != want {
				b.Fatalf("got %q, want %q", w.body, want)
			}
		}}
	}
	compare(b, contend("bound", on, bound), contend("unbound", on, unbound),
		contend("off", off, unbound))
}

// BenchmarkSetName has whole handlers store a name in the place of another.
func BenchmarkSetName(b *testing.B) {
	benchModes(b, func(b *testing.B, signed bool, name string) {
		if len(name) > maxName {
			name = strings.Repeat("\U0001F36A", maxName) // the most that the form takes, 800 bytes
		}
		var contenders []contender
		for _, s := range newSites(b, signed, name) {
			r, form := post(name, signIn(s.handler, "Somebody else"))
			w := &sink{header: make(http.Header)}
			want := "Name " + name + " set in session\n"
			contenders = append(contenders, contender{s.name, func() {
				w.reset()
				form.Seek(0, io.SeekStart)
				r.Form, r.PostForm, r.Body = nil, nil, form
				s.handler.ServeHTTP(w, r)
				if string(w.body) != want {
					b.Fatalf("got %q, want %q", w.body, want)
				}
				if written := len(w.header["Set-Cookie"]) == 1; written == (s.name == "bare") {
					b.Fatalf("got a cookie written: %v", written)
				}
			}})
		}
		compare(b, contenders...)
	})
}

// BenchmarkKeys opens a cookie of the last of many keys.
func BenchmarkKeys(b *testing.B) {
	var contenders []contender
	for _, n := range []int{16, 4, 1} {
		keys := []string{keyA}
		for len(keys) < n {
			keys = append([]string{newSecret()}, keys...)
		}
		m := newTestManager(b, options{keys: keys})
		value := seal(b, newTestManager(b, options{}), alice(0, 0))
		cookie := &http.Cookie{Name: m.cookie, Value: value}
		now := time.Now().Unix()
		contenders = append(contenders, contender{strconv.Itoa(n), func() {
			if v := m.open(cookie, now); v.verdict != valid {
				b.Fatalf("got %q, want %q", v.verdict, valid)
			}
		}})
	}
	compare(b, contenders...)
}

// BenchmarkGarbage refuses cookies, beside accepting a good one.
func BenchmarkGarbage(b *testing.B) {
	m := newTestManager(b, options{})
	good := seal(b, m, alice(0, 0))
	forged := flipLast(good)
	head := good[:idLen+1] // names a key that is there
	var contenders []contender
	for _, x := range []struct {
		name, header string
		want         verdict
	}{
		{name: "forged", header: "session=" + forged, want: tampered},
		{name: "good", header: "session=" + good, want: valid},
		{name: "truncated", header: "session=" + good[:len(good)-4], want: tampered},
		{name: "4KB", header: "session=" + head + strings.Repeat("A", 4080), want: tampered},
		{name: "too-large", header: "session=" + strings.Repeat("A", 8192), want: tooLarge},
		{name: "hundreds", header: strings.Repeat("session="+forged+"; ", 200), want: tampered},
	} {
		r := httptest.NewRequest("GET", "/get_name", nil)
		r.Header.Set("Cookie", x.header)
		contenders = append(contenders, contender{x.name, func() {
			if v := m.load(r); v.verdict != x.want {
				b.Fatalf("got %q, want %q", v.verdict, x.want)
			}
		}})
	}
	compare(b, contenders...)
}

// BenchmarkMemory starts many sessions and reports what stays in memory for each.
func BenchmarkMemory(b *testing.B) {
	for _, s := range newSites(b, false, "") {
		if s.name != "cookiesession" && s.name != "scs" {
			continue
		}
		b.Run(s.name, func(b *testing.B) {
			const visitors = 100_000
			heap := func() float64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return float64(m.HeapAlloc)
			}
			for range b.N {
				signIn(s.handler, "first")
				before := heap()
				for j := range visitors {
					if signIn(s.handler, fmt.Sprint("visitor ", j)) == "" {
						b.Fatal("got no cookie")
					}
				}
				b.ReportMetric((heap()-before)/visitors, "live-B/session")
				runtime.KeepAlive(s.handler)
			}
		})
	}
}
