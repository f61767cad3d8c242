package main

import (
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"slices"
	"strconv"
	"sync/atomic"
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
	fileOK   prometheus.Gauge // not registered before there is a key file
}

// newMetrics returns the metrics of a site whose keys are those that ring returns.
func newMetrics(ring func() *ring) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(keyInfo(ring), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector())
	with := promauto.With(m.registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m.cookies = counter("cookiesession_cookies_total", "Requests to pages, by the verdict on their "+
		"session cookie and the id of its key, which is empty where none was found.", "verdict", "key_id")
	m.written = counter("cookiesession_cookies_written_total",
		"Cookies that were written, by reason: changed, renewed, re-sealed, bound or cleared.", "reason")
	m.bindings = counter("cookiesession_bindings_total", "Steps of binding sessions to devices, by "+
		"what became of them, and requests by why a browser has skipped its ticket.", "event")
	m.reloads = counter("cookiesession_key_reloads_total", "Times the key file was loaded, by result: "+
		"ok, or error, after which the keys stayed as they were.", "result")
	m.size = with.NewHistogram(prometheus.HistogramOpts{
		Name:    "cookiesession_cookie_bytes",
		Help:    "Bytes of the names and values of the cookies that were written. Browsers take 4096.",
		Buckets: []float64{128, 256, 512, 1024, 2048, 3072, maxCookie},
	})
	m.requests = with.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cookiesession_http_request_duration_seconds",
		Help:    "How long requests took, by route, method and status.",
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5},
	}, []string{"route", "method", "status"})
	m.fileOK = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cookiesession_key_file_ok",
		Help: "1 while the keys are those of the key file, 0 while it is bad and the keys are older ones.",
	})
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
	refusedSize, refusedForm, refusedOff, refusedSession, refusedBound, refusedProof, refusedChallenge,
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
		for _, v := range []verdict{malformed, tampered, fromFuture, expired, tooOld, unproven, valid} {
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

// keysLoaded counts a time that the key file was loaded.
func (m *metrics) keysLoaded(err error) {
	result, ok := "ok", 1.0
	if err != nil {
		result, ok = "error", 0
	}
	m.reloads.WithLabelValues(result).Inc()
	m.fileOK.Set(ok)
}

// served counts a request. A client may call its method what it likes.
func (m *metrics) served(route, method string, status int, took time.Duration) {
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodHead}, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// newAdmin returns a server of what only the operator may see.
func newAdmin(m *metrics, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, templates, "templates/admin/links.html")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok") // also while the server is about to stop: this one tells whether it lives
	})
	mux.Handle("/debug/pprof/", http.DefaultServeMux) // where net/http/pprof has put itself
	srv := newServer(mux, log)
	srv.WriteTimeout = 0 // a profile takes as long as it is asked for
	return srv
}

// floodLimit is how many lines on refused cookies are logged in a second.
const floodLimit = 10

// floodLog keeps a flood of refused cookies from becoming a flood of lines,
// without a lock.
type floodLog struct{ n atomic.Int64 } // since the current second began

// refused logs a refused cookie, or counts it for the line at the second's end.
func (f *floodLog) refused(log *slog.Logger, v *visit[session], route string) {
	n := f.n.Add(1)
	if n == 1 {
		time.AfterFunc(time.Second, func() {
			if more := f.n.Swap(0) - floodLimit; more > 0 {
				log.Info("more cookies refused", "count", more)
			}
		})
	}
	if n <= floodLimit {
		log.Info("cookie refused", "verdict", v.verdict, "key_id", v.keyID, "route", route)
	}
}
