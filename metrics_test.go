package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
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
	a.metrics.admin(a.log).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
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
			"go_goroutines ", "go_build_info{",
		} {
			if !strings.Contains(page, "\n"+want) {
				t.Errorf("got no %s in %s", want, page)
			}
		}
		requests := []struct {
			x     exchange
			count string // what it adds one to
		}{
			{exchange{method: "GET", target: "/get_name"}, `cookiesession_cookies_total{key_id="",verdict="none"}`},
			{exchange{method: "GET", target: "/get_name", cookie: "x"}, `cookiesession_cookies_total{key_id="",verdict="malformed"}`},
			{exchange{method: "GET", target: "/get_name", cookie: strings.Repeat("x", 5000)}, `cookiesession_cookies_total{key_id="",verdict="too large"}`},
			{exchange{method: "GET", target: "/get_name", cookie: "aaaaaa.AAAA"}, `cookiesession_cookies_total{key_id="",verdict="unknown key"}`},
			{exchange{method: "GET", target: "/get_name", cookie: flipLast(seal(t, m, alice(0, 0)))}, `cookiesession_cookies_total{key_id="` + id + `",verdict="tampered"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, old, alice(m.idle+1, m.idle+1))}, `cookiesession_cookies_total{key_id="` + oldID + `",verdict="expired"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, old, alice(m.lifetime+1, 0))}, `cookiesession_cookies_total{key_id="` + oldID + `",verdict="too old"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, old, alice(-100, -100))}, `cookiesession_cookies_total{key_id="` + oldID + `",verdict="from the future"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, m, alice(0, 0))}, `cookiesession_cookies_total{key_id="` + id + `",verdict="valid"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, old, alice(0, 0))}, `cookiesession_cookies_written_total{reason="re-sealed"}`},
			{exchange{method: "GET", target: "/get_name", cookie: seal(t, m, alice(m.idle, m.idle))}, `cookiesession_cookies_written_total{reason="renewed"}`},
			{exchange{method: "POST", target: "/set_name", body: "name=Bob"}, `cookiesession_cookies_written_total{reason="changed"}`},
			{exchange{method: "POST", target: "/clear_name", cookie: seal(t, m, alice(0, 0))}, `cookiesession_cookies_written_total{reason="cleared"}`},
			{exchange{method: "POST", target: "/set_name/", body: "name=Bob"}, `cookiesession_cookie_bytes_count`},
			{exchange{method: "GET", target: "/set_name/"}, `cookiesession_http_request_duration_seconds_count{method="GET",route="/set_name",status="200"}`},
			{exchange{method: "HEAD", target: "/set_name"}, `cookiesession_http_request_duration_seconds_count{method="HEAD",route="/set_name",status="200"}`},
			{exchange{method: "BREW", target: "/set_name"}, `cookiesession_http_request_duration_seconds_count{method="other",route="/set_name",status="405"}`},
			{exchange{method: "POST", target: "/set_name", body: "nom=Bob"}, `cookiesession_http_request_duration_seconds_count{method="POST",route="/set_name",status="422"}`},
			{exchange{method: "GET", target: "/where/ever"}, `cookiesession_http_request_duration_seconds_count{method="GET",route="other",status="404"}`},
			{exchange{method: "POST", target: "/set_name", header: map[string]string{"Origin": "null"}}, `cookiesession_http_request_duration_seconds_count{method="POST",route="other",status="403"}`},
		}
		for _, tt := range requests {
			before := metric(t, scrape(t, a), tt.count+" ")
			do(t, a, tt.x)
			if got := metric(t, scrape(t, a), tt.count+" ") - before; got != 1 {
				t.Errorf("%s %s added %v to %s, want 1", tt.x.method, tt.x.target, got, tt.count)
			}
		}
		// Series of a dropped key go with it.
		keys, _ := parseKeyList(keyA)
		a.useRing(newRing(keys, true))
		if page := scrape(t, a); strings.Contains(page, oldID) || !strings.Contains(page, id) {
			t.Errorf("got the dropped key in %s", page)
		}
		if problems, err := testutil.GatherAndLint(a.metrics.registry); err != nil || len(problems) > 0 {
			t.Errorf("got %v and %v", problems, err)
		}
	})
}

// What a request adds to the metrics is free of allocations.
func TestMetricsAllocateNothing(t *testing.T) {
	a := newTestApp(t, options{log: io.Discard})
	rt := &route{path: "/x"}
	v := &visit{verdict: valid, codec: a.sessions.ring.Load().seal}
	got := testing.AllocsPerRun(100, func() {
		a.metrics.visited(v)
		a.metrics.visited(&visit{})
		a.metrics.saved(changed, 100)
		a.metrics.served(rt, "GET", 200, time.Millisecond)
		a.metrics.served(rt, "BREW", 299, time.Millisecond)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

// At most ten lines a second, and one that counts the rest.
func TestFloodLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(lockedBuffer)
		logger := slog.New(slog.NewTextHandler(log, nil))
		var flood floodLog
		v := &visit{verdict: tampered, keyID: signedA}
		for range 3 {
			for range 1000 {
				flood.refused(logger, v, "/get_name")
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for range floodLimit {
			flood.refused(logger, v, "/get_name")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := strings.Count(log.String(), `msg="cookie refused" verdict=tampered key_id=`+signedA+" route=/get_name"); got != 4*floodLimit {
			t.Errorf("got %d lines, want %d: %s", got, 4*floodLimit, log)
		}
		if got := strings.Count(log.String(), `msg="more cookies refused" count=990`); got != 3 {
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
	if want := `level=INFO msg="cookie refused" verdict="unknown key" key_id=aaaaaa route=/session`; strings.Count(log.String(), want) != 1 || strings.Count(log.String(), "refused") != 1 {
		t.Errorf("got %s, want one line %s", &log, want)
	}
}

func TestAdminListener(t *testing.T) {
	p := startRun(t, nil, "-admin-addr", "localhost:0")
	admin := regexp.MustCompile(`msg="admin listening" url=(\S+)`).FindStringSubmatch(p.log.String())[1]
	for path, want := range map[string]string{"/metrics": "# HELP cookiesession_cookies_total ", "/healthz": "ok\n", "/debug/pprof/": "goroutine", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/cmdline": ""} {
		if res, body := send(t, "GET", admin+path, "", http.Header{}); res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("admin %s: got status %d and %.100q", path, res.StatusCode, body)
		}
		if path == "/healthz" {
			continue
		}
		if res, _ := send(t, "GET", p.url+path, "", http.Header{}); res.StatusCode != 404 {
			t.Errorf("public %s: got status %d, want 404", path, res.StatusCode)
		}
	}
	if res, _ := send(t, "GET", admin+"/get_name", "", http.Header{}); res.StatusCode != 404 {
		t.Errorf("admin /get_name: got status %d, want 404", res.StatusCode)
	}
}

// From SIGTERM on, /healthz says so, and everything else goes on for the delay.
func TestShutdownDelay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	admin := freeAddr(t)
	p := startProcess(t, nil, "-shutdown-delay", "1s", "-admin-addr", admin)
	if res, _ := send(t, "GET", p.url+"/healthz", "", http.Header{}); res.StatusCode != 200 {
		t.Errorf("before: got status %d", res.StatusCode)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	began := time.Now()
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

// TestCaddy runs deploy/Caddyfile, with a certificate of Caddy's own making.
func TestCaddy(t *testing.T) {
	caddy := needTool(t, "caddy")
	front := freeAddr(t)
	config := strings.Replace(readFile(t, "deploy/Caddyfile"), "example.com {", fmt.Sprintf("{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\nhttps://%s {\n\ttls internal", strings.Replace(front, "127.0.0.1", "localhost", 1)), 1)
	for i := range 3 {
		p := startProcess(t, map[string]string{"COOKIESESSION_KEYS": keyA}, "-secure")
		config = strings.Replace(config, fmt.Sprintf("127.0.0.1:808%d ", i+1), strings.TrimPrefix(p.url, "http://")+" ", 1)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Caddyfile"), config)
	cmd := exec.Command(caddy, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	log := new(lockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	base := "https://" + strings.Replace(front, "127.0.0.1", "localhost", 1)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(method, path, body, cookie string) (*http.Response, string, error) {
		r, _ := http.NewRequest(method, base+path, strings.NewReader(body))
		r.Header = http.Header{"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {base}}
		res, err := client.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, string(b), err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		res, _, err := ask("GET", "/healthz", "", "")
		if err == nil && res.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Caddy doesn't serve: %v: %s", err, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
	res, body, err := ask("POST", "/set_name", "name=Alice", "")
	if err != nil || body != "Name Alice set in session\n" || len(res.Cookies()) != 1 || res.Cookies()[0].Name != "__Host-Http-session" || res.ProtoMajor != 2 {
		t.Fatalf("got %q, %v and %v", body, res, err)
	}
	c := res.Cookies()[0]
	for range 6 {
		if _, body, err := ask("GET", "/get_name", "", c.Name+"="+c.Value); err != nil || body != "Name: Alice\n" {
			t.Errorf("got %q and %v", body, err)
		}
	}
}
