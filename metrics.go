package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics is what the operator can see. The counters that a request needs are
// looked up beforehand, because Prometheus' own look-up takes a lock.
type metrics struct {
	registry *prometheus.Registry
	cookies  *prometheus.CounterVec
	opened   [valid + 1]prometheus.Counter // cookies that no key was found for, by verdict
	written  [cleared + 1]prometheus.Counter
	size     prometheus.Histogram
	requests *prometheus.HistogramVec
	reloads  *prometheus.CounterVec
	fileOK   prometheus.Gauge
	keys     *prometheus.GaugeVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		cookies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cookiesession_cookies_total",
			Help: "Requests to pages, by the verdict on their session cookie and the id of its key, which is empty where none was found.",
		}, []string{"verdict", "key_id"}),
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "cookiesession_cookie_bytes",
			Help:    "Bytes of the names and values of the cookies that were written. Browsers take 4096.",
			Buckets: []float64{128, 256, 512, 1024, 2048, 3072, maxCookie},
		}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cookiesession_http_request_duration_seconds",
			Help:    "How long requests took, by route, method and status.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5},
		}, []string{"route", "method", "status"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cookiesession_key_reloads_total",
			Help: "Times the key file was loaded, by result: ok, or error, after which the keys stayed as they were.",
		}, []string{"result"}),
		fileOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cookiesession_key_file_ok",
			Help: "1 while the keys are those of the key file, 0 while the file is bad and the keys are older ones.",
		}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cookiesession_key_info",
			Help: "1 for each key id in the ring, by mode and role. Only one seals.",
		}, []string{"key_id", "mode", "role"}),
	}
	written := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cookiesession_cookies_written_total",
		Help: "Cookies that were written, by reason: changed, renewed, re-sealed or cleared.",
	}, []string{"reason"})
	for r := changed; r <= cleared; r++ {
		m.written[r] = written.WithLabelValues(r.String())
	}
	for _, v := range []verdict{none, malformed, tooLarge, unknownKey} {
		m.opened[v] = m.cookies.WithLabelValues(v.String(), "")
	}
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("error")
	m.registry.MustRegister(m.cookies, written, m.size, m.requests, m.reloads, m.fileOK, m.keys,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

// watchRing prepares the counters of a ring's keys, and must be called before the
// ring is used. The series of keys that were dropped go.
func (m *metrics) watchRing(r, old *ring) {
	if old != nil {
		for id := range old.codecs {
			if r.codecs[id] == nil {
				m.cookies.DeletePartialMatch(prometheus.Labels{"key_id": id})
			}
		}
	}
	m.keys.Reset()
	for id, c := range r.codecs {
		for _, v := range []verdict{malformed, tampered, fromFuture, expired, tooOld, valid} {
			c.opened[v] = m.cookies.WithLabelValues(v.String(), id)
		}
		mode, role := "signed", "verifies"
		if c.encrypted {
			mode = "encrypted"
		}
		if c == r.seal {
			role = "seals"
		}
		m.keys.WithLabelValues(id, mode, role).Set(1)
	}
}

// visited counts the cookie that came with a visit.
func (m *metrics) visited(v *visit) {
	if v.codec != nil {
		v.codec.opened[v.verdict].Inc()
	} else {
		m.opened[v.verdict].Inc()
	}
}

// saved counts the cookie that was written for a reason, of so many bytes.
func (m *metrics) saved(r reason, size int) {
	if r == unchanged {
		return
	}
	m.written[r].Inc()
	if r != cleared {
		m.size.Observe(float64(size))
	}
}

// reloaded counts a look at the key file.
func (m *metrics) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("error").Inc()
		m.fileOK.Set(0)
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
	m.fileOK.Set(1)
}

// The labels of requests, all others being "other".
var (
	methodLabels = []string{http.MethodGet, http.MethodPost, http.MethodHead, "other"}
	statusLabels = []int{200, 404, 422, 403, 405, 304, 206, 400, 413, 415, 416, 500, 503, 0}
)

// route counts the requests to one path. Each of its series is looked up when
// it is first needed, so that those that never are don't clutter the page.
type route struct {
	path   string
	series [4][14]atomic.Pointer[prometheus.Observer] // by index in methodLabels and statusLabels
}

func (m *metrics) served(rt *route, method string, status int, took time.Duration) {
	i, j := slices.Index(methodLabels, method), slices.Index(statusLabels, status)
	if i < 0 {
		i = len(methodLabels) - 1
	}
	if j < 0 {
		j = len(statusLabels) - 1
	}
	o := rt.series[i][j].Load()
	if o == nil {
		label := strconv.Itoa(statusLabels[j])
		if label == "0" {
			label = "other"
		}
		found := m.requests.WithLabelValues(rt.path, methodLabels[i], label)
		o = &found
		rt.series[i][j].Store(o)
	}
	(*o).Observe(took.Seconds())
}

// admin serves what only the operator may see.
func (m *metrics) admin(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n") // also while the server is about to stop: this one tells whether it lives
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// floodLimit is how many lines on refused cookies are logged in a second.
const floodLimit = 10

// floodLog keeps a flood of refused cookies from becoming a flood of lines,
// without a lock.
type floodLog struct{ n atomic.Int64 } // since the current second began

// refused logs a refused cookie, or counts it for the line at the second's end.
func (f *floodLog) refused(log *slog.Logger, v *visit, path string) {
	n := f.n.Add(1)
	if n == 1 {
		time.AfterFunc(time.Second, func() {
			if more := f.n.Swap(0) - floodLimit; more > 0 {
				log.Info("more cookies refused", "count", more)
			}
		})
	}
	if n <= floodLimit {
		log.Info("cookie refused", "verdict", v.verdict, "key_id", v.keyID, "route", path)
	}
}
