package main

import (
	"fmt"
	"net/http"
	_ "net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics is what the operator can see.
type metrics struct {
	registry *prometheus.Registry
	cookies  *prometheus.CounterVec
	written  *prometheus.CounterVec
	bindings *prometheus.CounterVec
	size     prometheus.Histogram
	requests *prometheus.HistogramVec
	reloads  *prometheus.CounterVec

	// These have no labels. As vectors they aren't there before they are set: without
	// a key file or a certificate there is nothing to tell.
	fileOK, certOK, certEnd *prometheus.GaugeVec
}

// newMetrics returns the metrics of a site whose keys are those that current returns.
func newMetrics(current func() *ring) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(keyInfo(current), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector())
	with := promauto.With(m.registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return with.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, nil)
	}
	m.cookies = counter("cookiesession_cookies_total", "Requests to pages, by the verdict on "+
		"their cookie and the id of its key, which is empty where none was found.",
		"verdict", "key_id")
	m.written = counter("cookiesession_cookies_written_total",
		"Cookies that were written, by reason: changed, renewed, re-sealed, bound or cleared.",
		"reason")
	m.bindings = counter("cookiesession_bindings_total", "Steps of binding sessions to devices, "+
		"by what became of them, and requests by why a browser has skipped its ticket.", "event")
	m.reloads = counter("cookiesession_key_reloads_total", "Loads of the key file, by result: "+
		"ok, or error, after which the keys stayed as they were.", "result")
	m.size = with.NewHistogram(prometheus.HistogramOpts{
		Name:    "cookiesession_cookie_bytes",
		Help:    "Bytes of name and value of the cookies that were written. Browsers take 4096.",
		Buckets: []float64{128, 256, 512, 1024, 2048, 3072, maxCookie},
	})
	m.requests = with.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cookiesession_http_request_duration_seconds",
		Help:    "How long requests took, by route, method and status.",
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5},
	}, []string{"route", "method", "status"})
	m.fileOK = gauge("cookiesession_key_file_ok",
		"1 while the keys are those of the key file, 0 while it is bad and they are older.")
	m.certOK = gauge("cookiesession_tls_certificate_ok", "1 while the TLS certificate is that "+
		"of its files, 0 while they are bad and it is an older one.")
	m.certEnd = gauge("cookiesession_tls_certificate_not_after_timestamp_seconds",
		"When the TLS certificate that is in use expires, in Unix seconds.")
	// Those that can be foreseen are there from the start, so that a rate can be
	// taken of the first one, too.
	for _, why := range []reason{changed, renewed, resealed, bound, cleared} {
		m.written.WithLabelValues(string(why))
	}
	for _, e := range bindingEvents {
		m.bindings.WithLabelValues(string(e))
	}
	for _, v := range []verdict{none, malformed, tooLarge, unknownKey} {
		m.cookies.WithLabelValues(string(v), "")
	}
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("error")
	return m
}

// bindingEvents are all events that there are.
var bindingEvents = []event{
	offered, registered, challenged, newlyBound, refreshed, ended, postponed, detoured,
	refusedSize, refusedForm, refusedOff, refusedSession, refusedBound, refusedProof,
	refusedChallenge,
	skippedUnreachable, skippedServer, skippedQuota, skippedOther,
}

// keyInfo collects the keys of the ring that is in use at that moment.
type keyInfo func() *ring

var keyInfoDesc = prometheus.NewDesc("cookiesession_key_info", "1 for each key id in the ring, "+
	"by mode and role. Only one seals.", []string{"key_id", "mode", "role"}, nil)

func (keyInfo) Describe(to chan<- *prometheus.Desc) { to <- keyInfoDesc }

func (current keyInfo) Collect(to chan<- prometheus.Metric) {
	r := current()
	for id, c := range r.codecs {
		mode, role := "signed", "verifies"
		if c.encrypted {
			mode = "encrypted"
		}
		if c == r.seal {
			role = "seals"
		}
		to <- prometheus.MustNewConstMetric(keyInfoDesc, prometheus.GaugeValue, 1, id, mode, role)
	}
}

// ringChanged makes the counters of the keys in a new ring, and drops those of
// the keys that are gone. The others go on.
func (m *metrics) ringChanged(old, r *ring) {
	for id := range r.codecs {
		for _, v := range []verdict{
			malformed, tampered, fromFuture, expired, tooOld, unproven, valid,
		} {
			m.cookies.WithLabelValues(string(v), id)
		}
	}
	for id := range old.codecs {
		if r.codecs[id] == nil {
			m.cookies.DeletePartialMatch(prometheus.Labels{"key_id": id})
		}
	}
}

// visited counts the cookie that came with a visit. Without a codec, its key
// id is whatever the client has made up.
func (m *metrics) visited(v *visit[session]) {
	id := ""
	if v.codec != nil {
		id = v.codec.id
	}
	m.cookies.WithLabelValues(string(v.verdict), id).Inc()
}

// saved counts a cookie that was written, for a reason, with so many bytes.
func (m *metrics) saved(why reason, size int) {
	if why != unchanged {
		m.written.WithLabelValues(string(why)).Inc()
	}
	if size > 0 {
		m.size.Observe(float64(size))
	}
}

// keysLoaded tells how loading the key file went.
func (m *metrics) keysLoaded(err error) {
	result, ok := "ok", 1.0
	if err != nil {
		result, ok = "error", 0
	}
	m.reloads.WithLabelValues(result).Inc()
	m.fileOK.WithLabelValues().Set(ok)
}

// certificateLoaded tells how loading the certificate went.
func (m *metrics) certificateLoaded(c *certificate, err error) {
	ok := 1.0
	if err != nil {
		ok = 0
	}
	m.certOK.WithLabelValues().Set(ok)
	m.certEnd.WithLabelValues().Set(float64(c.current.Load().Leaf.NotAfter.Unix()))
}

// served counts a request.
func (m *metrics) served(route, method string, status int, took time.Duration) {
	labels := []string{route, methodLabel(method), strconv.Itoa(status)}
	m.requests.WithLabelValues(labels...).Observe(took.Seconds())
}

// methodLabel returns a method, or "other": a client may call its method what it likes.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead:
		return method
	}
	return "other"
}

// newAdmin returns a server of what only the operator may see, for a listener
// on addr.
func (a *app) newAdmin(addr string) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// This fails only when the client has gone.
		a.pages.ExecuteTemplate(w, "links.html", isLoopback(addr))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok") // also while the server is about to stop: it still lives
	})
	if isLoopback(addr) {
		// Where net/http/pprof has put itself. Any page on the web could start a profile
		// of hours, though not read it.
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
			if fromElsewhere(r) {
				http.Error(w, "Ask for this from here.", http.StatusForbidden)
				return
			}
			http.DefaultServeMux.ServeHTTP(w, r)
		})
	}
	srv := newServer(onlyAdmins(addr, mux), a.log)
	srv.WriteTimeout = 0 // a profile takes as long as it is asked for
	return srv
}
