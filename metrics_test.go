package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// scrape returns the page of metrics of a.
func scrape(t testing.TB, a *app) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Host = "localhost:9090"
	a.newAdmin("localhost:9090").Handler.ServeHTTP(w, r)
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, options{keys: []string{keyA, keyB}, log: io.Discard})
		m := a.sessions
		old := newTestManager(t, options{keys: []string{keyB}, signed: true})
		oldID := old.ring.Load().seal.id
		id := m.ring.Load().seal.id
		page := scrape(t, a)
		for _, want := range []string{
			`cookiesession_key_info{key_id="` + id + `",mode="encrypted",role="seals"} 1`,
			`cookiesession_key_info{key_id="` + oldID + `",mode="signed",role="verifies"} 1`,
			`cookiesession_cookies_total{key_id="` + oldID + `",verdict="valid"} 0`,
			`cookiesession_key_reloads_total{result="ok"} 0`,
			`cookiesession_key_reloads_total{result="error"} 0`,
			`cookiesession_cookies_written_total{reason="changed"} 0`,
			`cookiesession_cookies_written_total{reason="renewed"} 0`,
			`cookiesession_cookies_written_total{reason="re-sealed"} 0`,
			`cookiesession_cookies_written_total{reason="cleared"} 0`,
			`cookiesession_cookies_total{key_id="",verdict="none"} 0`,
			`cookiesession_cookies_total{key_id="",verdict="too large"} 0`,
			`cookiesession_cookies_total{key_id="",verdict="malformed"} 0`,
			`cookiesession_cookies_total{key_id="",verdict="unknown key"} 0`,
			"go_goroutines ", "go_build_info{", "process_start_time_seconds ",
		} {
			if !strings.Contains(page, "\n"+want) {
				t.Errorf("got no %s in %s", want, page)
			}
		}
		get := func(cookie string) exchange {
			return exchange{method: "GET", target: "/get_name", cookie: cookie}
		}
		post := func(target, body string) exchange {
			return exchange{method: "POST", target: target, body: body}
		}
		cookies := func(id, verdict string) string {
			return fmt.Sprintf("cookiesession_cookies_total{key_id=%q,verdict=%q}", id, verdict)
		}
		written := func(reason string) string {
			return fmt.Sprintf("cookiesession_cookies_written_total{reason=%q}", reason)
		}
		served := func(method, route, status string) string {
			const labels = "{method=%q,route=%q,status=%q}"
			return fmt.Sprintf("cookiesession_http_request_duration_seconds_count"+labels,
				method, route, status)
		}
		good, resealed := seal(t, m, alice(0, 0)), seal(t, old, alice(0, 0))
		idle, lifetime := seconds(m.idle), seconds(m.lifetime)
		foreign := post("/set_name", "")
		foreign.header = map[string]string{"Origin": "null"}
		requests := []struct {
			x     exchange
			count string // what it adds one to
		}{
			{get(""), cookies("", "none")},
			{get("x"), cookies("", "malformed")},
			{get(strings.Repeat("x", 5000)), cookies("", "too large")},
			{get("aaaaaa.AAAA"), cookies("", "unknown key")},
			{get(flipLast(good)), cookies(id, "tampered")},
			{get(sealBytes(t, m, []byte("x"))), cookies(id, "malformed")},
			{get(seal(t, old, alice(idle+1, idle+1))), cookies(oldID, "expired")},
			{get(seal(t, old, alice(lifetime+1, 0))), cookies(oldID, "too old")},
			{get(seal(t, old, alice(-100, -100))), cookies(oldID, "from the future")},
			{get(good), cookies(id, "valid")},
			{get(resealed), cookies(oldID, "valid")},
			{get(resealed), written("re-sealed")},
			{get(seal(t, m, alice(idle, idle))), written("renewed")},
			{post("/set_name", "name=Bob"), written("changed")},
			{exchange{method: "POST", target: "/clear_name", cookie: good}, written("cleared")},
			{post("/set_name/", "name=Bob"), "cookiesession_cookie_bytes_count"},
			{exchange{method: "GET", target: "/set_name/"}, served("GET", "/set_name", "200")},
			{exchange{method: "HEAD", target: "/set_name"}, served("HEAD", "/set_name", "200")},
			{exchange{method: "BREW", target: "/set_name"}, served("other", "/set_name", "405")},
			{post("/set_name", "nom=Bob"), served("POST", "/set_name", "422")},
			{exchange{method: "GET", target: "/where/ever"}, served("GET", "other", "404")},
			{foreign, served("POST", "other", "403")},
		}
		for _, tt := range requests {
			before := metric(t, scrape(t, a), tt.count+" ")
			do(t, a, tt.x)
			if got := metric(t, scrape(t, a), tt.count+" ") - before; got != 1 {
				t.Errorf("%s %s added %v to %s, want 1", tt.x.method, tt.x.target, got, tt.count)
			}
		}
		// Series of a dropped key go with it.
		keys, _ := parseKeys("keys", keyA)
		a.useRing(newRing(keys, true))
		if page := scrape(t, a); strings.Contains(page, oldID) || !strings.Contains(page, id) {
			t.Errorf("got the dropped key in %s", page)
		}
		if problems, err := testutil.GatherAndLint(a.metrics.registry); err != nil || len(problems) > 0 {
			t.Errorf("got %v and %v", problems, err)
		}
	})
}

// At most ten lines a second with a message, and one that counts the rest.
func TestFloodLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(lockedBuffer)
		bounded := newBoundedLog(slog.New(slog.NewTextHandler(log, nil)))
		refuse := func() { bounded.With("a", "b").Info("cookie refused") }
		for range 3 {
			for range 1000 {
				refuse()
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for range floodLimit {
			refuse()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := strings.Count(log.String(), `msg="cookie refused"`); got != 4*floodLimit {
			t.Errorf("got %d lines, want %d: %s", got, 4*floodLimit, log)
		}
		if got := strings.Count(log.String(), `msg="more: cookie refused" a=b count=990`); got != 3 {
			t.Errorf("got %d counts of the rest, want 3: %s", got, log)
		}
		if got := strings.Count(log.String(), "\n"); got != 4*floodLimit+3 {
			t.Errorf("got %d lines in all", got)
		}
	})
}

// A refused cookie is one line, whose verdict is that of the page.
func TestRefusedIsLogged(t *testing.T) {
	var log lockedBuffer
	a := newTestApp(t, options{log: &log})
	do(t, a, exchange{method: "GET", target: "/session/", cookie: "aaaaaa.AAAA"})
	do(t, a, exchange{method: "GET", target: "/session", cookie: seal(t, a.sessions, alice(0, 0))})
	do(t, a, exchange{method: "GET", target: "/session"})
	want := `level=INFO msg="cookie refused" verdict="unknown key" key_id=aaaaaa route=/session`
	if strings.Count(log.String(), want) != 1 || strings.Count(log.String(), "refused") != 1 {
		t.Errorf("got %s, want one line %s", &log, want)
	}
}

// A verdict is a word in the log, of either format: with JSON, a program reads it.
func TestVerdictInJSON(t *testing.T) {
	noEnv := func(string) string { return "" }
	cfg, err := parseFlags([]string{"-log-format", "json"}, noEnv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	a := newTestApp(t, options{})
	a.log = newBoundedLog(newLogger(cfg, &log))
	cookies := map[string]string{
		"tampered":    flipLast(seal(t, a.sessions, alice(0, 0))),
		"unknown key": "aaaaaa.AAAA",
		"malformed":   "x",
	}
	for want, cookie := range cookies {
		log.Reset()
		do(t, a, exchange{method: "GET", target: "/get_name", cookie: cookie})
		var line struct{ Msg, Verdict string }
		if err := json.Unmarshal([]byte(log.String()), &line); err != nil || line.Verdict != want {
			t.Errorf("got %s and %v, want a cookie refused with the verdict %q", &log, err, want)
		}
	}
}

// adminURL returns the address of p's admin listener.
func (p *started) adminURL() string {
	line := regexp.MustCompile(`msg="admin listening" url=(\S+)`)
	return line.FindStringSubmatch(p.log.String())[1]
}

func TestAdminListener(t *testing.T) {
	p := startRun(t, nil, "-admin-addr", "localhost:0")
	admin := p.adminURL()
	for path, want := range map[string]string{
		"/":                         "<title>cookiesession: admin</title>",
		"/metrics":                  "# HELP cookiesession_cookies_total ",
		"/healthz":                  "ok\n",
		"/debug/pprof/":             "goroutine",
		"/debug/pprof/heap?debug=1": "heap profile",
		"/debug/pprof/cmdline":      "",
	} {
		res, body := send(t, "GET", admin+path, "", http.Header{})
		if res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("admin %s: got status %d and %.100q", path, res.StatusCode, body)
		}
		if path == "/healthz" || path == "/" {
			continue
		}
		if res, _ := send(t, "GET", p.url+path, "", http.Header{}); res.StatusCode != 404 {
			t.Errorf("public %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	for _, path := range []string{
		"/get_name", "/nowhere", "/index.html", "/metrics/", "/healthz/x",
		"/templates/admin/links.html", "/debug", "/debug/pprof/nonsense",
	} {
		if res, _ := send(t, "GET", admin+path, "", http.Header{}); res.StatusCode != 404 {
			t.Errorf("admin %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	_, page := send(t, "GET", p.url+"/", "", http.Header{})
	if strings.Contains(page, "admin") {
		t.Error("got the admin's list of links on the public listener")
	}
}

// Whoever opens the admin listener in a browser finds what is there.
func TestAdminLinks(t *testing.T) {
	p := startRun(t, nil, "-admin-addr", "localhost:0")
	res, page := send(t, "GET", p.adminURL()+"/", "", http.Header{})
	if kind := res.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") {
		t.Errorf("got a %s, want text/html", kind)
	}
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 3 {
		t.Errorf("got %d links in %q", len(links), page)
	}
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/") {
			t.Errorf("got a link to %s, which is not on this listener", link[1])
			continue
		}
		res, _ := send(t, "GET", p.adminURL()+link[1], "", http.Header{})
		if res.StatusCode != 200 {
			t.Errorf("%s: got status %d", link[1], res.StatusCode)
		}
	}
}

// A profile may take longer than any response of the site: net/http/pprof
// refuses at once what the server's time limit would cut off. The requests here
// have ended before they began, so that nobody waits for the profile.
func TestLongProfile(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	srv := newTestApp(t, options{}).newAdmin("localhost:0")
	srv.BaseContext = func(net.Listener) context.Context { return gone }
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	profile := "http://" + ln.Addr().String() + "/debug/pprof/trace?seconds=600"
	res, body := send(t, "GET", profile, "", http.Header{})
	if res.StatusCode != 200 {
		t.Errorf("got status %d and %q, want a profile", res.StatusCode, body)
	}
	if srv.ReadHeaderTimeout == 0 || srv.IdleTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Error("got an admin listener without the limits that it can have")
	}
}

// Only where there is a key file can it be bad: an alert on 0 must not fire for
// those whose keys come from elsewhere.
func TestKeyFileOK(t *testing.T) {
	t.Parallel()
	const series = "cookiesession_key_file_ok"
	for name, env := range map[string]map[string]string{
		"no keys":                 nil,
		"keys of the environment": {"COOKIESESSION_KEYS": keyA},
	} {
		p := startRun(t, env, "-admin-addr", "localhost:0")
		_, page := send(t, "GET", p.adminURL()+"/metrics", "", http.Header{})
		if strings.Contains(page, series) {
			t.Errorf("%s: got a series of %s", name, series)
		}
	}
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP on Windows")
	}
	file := filepath.Join(t.TempDir(), "ring")
	writeFile(t, file, keyA)
	p := startProcess(t, nil, "-admin-addr", "localhost:0", "-key-file", file)
	wanted := []struct {
		content        string
		value, ok, bad int // of the gauge, and of the counters of reloads
	}{
		{content: keyA, value: 1, ok: 1},
		{content: "x", value: 0, ok: 1, bad: 1},
		{content: "", value: 0, ok: 1, bad: 2},
		{content: keyB, value: 1, ok: 2, bad: 2},
	}
	for i, want := range wanted {
		if i > 0 {
			writeFile(t, file, want.content)
			p.cmd.Process.Signal(syscall.SIGHUP)
		}
		lines := fmt.Sprintf("\n%s %d\n", series, want.value)
		reloads := fmt.Sprintf("\ncookiesession_key_reloads_total{result=\"error\"} %d\n"+
			"cookiesession_key_reloads_total{result=\"ok\"} %d\n", want.bad, want.ok)
		page := ""
		for deadline := time.Now().Add(reloadInterval); ; time.Sleep(time.Millisecond) {
			_, page = send(t, "GET", p.adminURL()+"/metrics", "", http.Header{})
			if strings.Contains(page, lines) && strings.Contains(page, reloads) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("content %d: got %s, want %s and %s", i, page, lines, reloads)
			}
		}
	}
}

// A scrape while keys are loaded sees all of them, never two that seal, and
// counters that only grow. Only those of keys that are gone go.
func TestScrapesDuringReloads(t *testing.T) {
	a := newTestApp(t, options{keys: []string{keyA, keyB}, log: io.Discard})
	rings := []*ring{
		newTestManager(t, options{keys: []string{keyA, keyB}}).ring.Load(),
		newTestManager(t, options{keys: []string{keyB, keyA, keyC}}).ring.Load(),
		newTestManager(t, options{keys: []string{keyB, keyA}, signed: true}).ring.Load(),
	}
	value := seal(t, a.sessions, alice(0, 0)) // under keyA, which stays
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				a.useRing(rings[i%len(rings)])
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				do(t, a, exchange{method: "GET", target: "/get_name", cookie: value})
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	counter := `cookiesession_cookies_total{key_id="` + encryptedA + `",verdict="valid"} `
	last := 0.0
	for i := 0; i < 200 || last == 0; i++ {
		page := scrape(t, a)
		keys := strings.Count(page, "\ncookiesession_key_info{")
		seal := strings.Count(page, `role="seals"}`)
		if keys != 4 && keys != 6 || seal != 1 {
			t.Fatalf("got %d key ids, %d of which seal, want 4 or 6, and 1: %s", keys, seal, page)
		}
		for _, id := range []string{encryptedA, signedA, encryptedB, signedB} {
			if !strings.Contains(page, `cookiesession_key_info{key_id="`+id+`"`) {
				t.Fatalf("got no %s among the keys: %s", id, page)
			}
			for _, v := range []verdict{valid, tampered, expired} {
				if !strings.Contains(page, fmt.Sprintf(`{key_id="%s",verdict="%s"} `, id, v)) {
					t.Fatalf("got no counter of %s for %s: %s", v, id, page)
				}
			}
		}
		got := metric(t, page, counter)
		if got < last {
			t.Fatalf("got %s%v after %v", counter, got, last)
		}
		last = got
	}
}

// What is said of the keys is said of one ring, even if another comes into use
// meanwhile.
func TestKeyInfo(t *testing.T) {
	one := newTestManager(t, options{keys: []string{keyA, keyB}, signed: true}).ring.Load()
	other := newTestManager(t, options{keys: []string{keyC, keyA}}).ring.Load()
	rings := []*ring{one, other}
	current := func() *ring {
		defer slices.Reverse(rings)
		return rings[0]
	}
	const about = "# HELP cookiesession_key_info 1 for each key id in the ring, " +
		"by mode and role. Only one seals.\n# TYPE cookiesession_key_info gauge\n"
	const line = `cookiesession_key_info{key_id="%s",mode="%s",role="%s"} 1` + "\n"
	k := other.keys[0]
	want := map[*ring]string{
		one: about + fmt.Sprintf(line, encryptedA, "encrypted", "verifies") +
			fmt.Sprintf(line, signedA, "signed", "seals") +
			fmt.Sprintf(line, encryptedB, "encrypted", "verifies") +
			fmt.Sprintf(line, signedB, "signed", "verifies"),
		other: about + fmt.Sprintf(line, encryptedA, "encrypted", "verifies") +
			fmt.Sprintf(line, signedA, "signed", "verifies") +
			fmt.Sprintf(line, k.encrypted.id, "encrypted", "seals") +
			fmt.Sprintf(line, k.signed.id, "signed", "verifies"),
	}
	for range 4 {
		next := rings[0]
		err := testutil.CollectAndCompare(keyInfo(current), strings.NewReader(want[next]))
		if err != nil {
			t.Error(err)
		}
	}
}

// The counters of a key are there before its first cookie, and go with it.
func TestCountersOfKeys(t *testing.T) {
	a := newTestApp(t, options{keys: []string{keyA}, log: io.Discard})
	has := func(id string) (n int) {
		for _, v := range []verdict{malformed, tampered, fromFuture, expired, tooOld, valid} {
			n += strings.Count(scrape(t, a), fmt.Sprintf("{key_id=\"%s\",verdict=\"%s\"} ", id, v))
		}
		return n
	}
	value := seal(t, a.sessions, alice(0, 0))
	do(t, a, exchange{method: "GET", target: "/get_name", cookie: value})
	do(t, a, exchange{method: "GET", target: "/get_name", cookie: "aaaaaa.AAAA"})
	both := map[string]int{encryptedA: 6, signedA: 6, encryptedB: 6, signedB: 6}
	steps := []struct {
		keys []string
		want map[string]int // series by key id
	}{
		{[]string{keyA}, map[string]int{encryptedA: 6, signedA: 6, encryptedB: 0, signedB: 0}},
		{[]string{keyB, keyA}, both},
		{[]string{keyB, keyA}, both},
		{[]string{keyB}, map[string]int{encryptedA: 0, signedA: 0, encryptedB: 6, signedB: 6}},
	}
	for _, s := range steps {
		a.useRing(newTestManager(t, options{keys: s.keys}).ring.Load())
		for id, want := range s.want {
			if got := has(id); got != want {
				t.Errorf("%d keys: got %d counters of %s, want %d", len(s.keys), got, id, want)
			}
		}
		// What has no key has nothing to do with a change of keys.
		counts := map[string]int{
			`{key_id="` + encryptedA + `",verdict="valid"} `: min(1, s.want[encryptedA]),
			`{key_id="",verdict="unknown key"} `:             1,
		}
		page := scrape(t, a)
		for labels, want := range counts {
			got := metric(t, page, "cookiesession_cookies_total"+labels)
			if got != float64(want) {
				t.Errorf("%d keys: got %v %s, want %d", len(s.keys), got, labels, want)
			}
		}
	}
}

// From SIGTERM on, /healthz says so, and everything else goes on for the delay.
func TestShutdownDelay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	t.Parallel()
	admin := freeAddr(t)
	p := startProcess(t, nil, "-shutdown-delay", "1s", "-admin-addr", admin)
	if res, _ := send(t, "GET", p.url+"/healthz", "", http.Header{}); res.StatusCode != 200 {
		t.Errorf("before: got status %d", res.StatusCode)
	}
	began := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	for !strings.Contains(p.log.String(), "shutting down") {
		time.Sleep(time.Millisecond)
	}
	var res *http.Response
	for res == nil || res.StatusCode == 200 && time.Since(began) < time.Second {
		res, _ = send(t, "GET", p.url+"/healthz", "", http.Header{})
	}
	if res.StatusCode != 503 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("after SIGTERM: got status %d", res.StatusCode)
	}
	if res, _ := send(t, "GET", p.url+"/get_name", "", http.Header{}); res.StatusCode != 200 {
		t.Errorf("after SIGTERM: got status %d for a page", res.StatusCode)
	}
	if res, _ := send(t, "GET", "http://"+admin+"/healthz", "", http.Header{}); res.StatusCode != 200 {
		t.Errorf("after SIGTERM: got status %d from the admin listener, want it to live", res.StatusCode)
	}
	if err := p.wait(); err != nil || time.Since(began) < time.Second {
		t.Errorf("got %v after %v, want a good end after the delay", err, time.Since(began))
	}
}
