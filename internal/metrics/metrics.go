// Package metrics counts for Prometheus what happens on the site.
package metrics

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cookiesession/sessions"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what the operator can see.
type Metrics struct {
	registry *prometheus.Registry
	cookies  *prometheus.CounterVec
	written  *prometheus.CounterVec
	bindings *prometheus.CounterVec
	size     prometheus.Histogram
	requests *prometheus.HistogramVec
	reloads  *prometheus.CounterVec
	replaced prometheus.Counter
	changed  prometheus.Gauge
	lastSeen *prometheus.GaugeVec // by key id, not before it was

	// These have no labels. As vectors they aren't there before they are set: without
	// a key file or a certificate there is nothing to tell.
	fileOK, fileRead, certOK, certEnd *prometheus.GaugeVec

	keys    *sessions.Keyring
	session string // the name of the one that the site has from the start
	mu      sync.Mutex
	ids     []string // of the ring's keys, which have counters, in their order
}

// New returns the metrics of a site whose sessions are sealed with keys, and only
// signed if signOnly. The session is the name of their cookie, without its prefix.
func New(keys *sessions.Keyring, signOnly bool, session string) *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(keyInfo{keys: keys, signOnly: signOnly}, collectors.NewGoCollector(),
		collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	with := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return with.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	with.NewGaugeFunc(prometheus.GaugeOpts{Name: "cookiesession_clock_timestamp_seconds",
		Help: "What time it is by this copy's clock, in Unix seconds."},
		func() float64 { return inSeconds(time.Now()) })
	m := &Metrics{
		registry: registry, keys: keys, session: session,
		cookies: counter("cookiesession_cookies_total", "Requests to pages, by the verdict on "+
			"their cookie, the id of its key, which is empty where none was found, and the "+
			"session's name.", "verdict", "key_id", "session"),
		written: counter("cookiesession_cookies_written_total",
			"Cookies that were written, by reason: changed, renewed, re-sealed, bound or cleared, "+
				"and by the session's name.", "reason", "session"),
		bindings: counter("cookiesession_bindings_total", "Steps of binding sessions to "+
			"devices, by what became of them, and requests by why a browser has skipped its "+
			"ticket.", "event"),
		reloads: counter("cookiesession_key_reloads_total", "Loads of the key file, by result: "+
			"ok, or error, after which the keys stayed as they were.", "result"),
		size: with.NewHistogram(prometheus.HistogramOpts{
			Name:    "cookiesession_cookie_bytes",
			Help:    "Bytes of name and value of cookies that were written. Browsers take 4096.",
			Buckets: []float64{128, 256, 512, 1024, 2048, 3072, sessions.MaxSize},
		}),
		requests: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cookiesession_http_request_duration_seconds",
			Help:    "How long requests took, by route, method and status.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5},
		}, []string{"route", "method", "status"}),
		replaced: counter("cookiesession_keys_replaced_total", "Changes of the keys that left "+
			"none of those before, such as by keys replace. Each ends all sessions.").
			WithLabelValues(),
		changed: gauge("cookiesession_keys_changed_timestamp_seconds", "When the keys in use "+
			"last changed, in Unix seconds; at the start, the time of the key file if any.").
			WithLabelValues(),
		lastSeen: gauge("cookiesession_key_last_valid_timestamp_seconds",
			"When a valid cookie of each key last came to this copy, in Unix seconds.", "key_id"),
		fileOK: gauge("cookiesession_key_file_ok",
			"1 while the keys are those of the key file, 0 while it is bad and they are older."),
		fileRead: gauge("cookiesession_key_file_read_timestamp_seconds", "When the key file was "+
			"last read since it had changed, whatever came of it, in Unix seconds."),
		certOK: gauge("cookiesession_tls_certificate_ok", "1 while the TLS certificate is that "+
			"of its files, 0 while they are bad and it is an older one."),
		certEnd: gauge("cookiesession_tls_certificate_not_after_timestamp_seconds",
			"When the TLS certificate that is in use expires, in Unix seconds."),
	}
	m.foresee()
	m.KeysChanged()
	return m
}

// foresee makes the series that can be foreseen, so that a rate can be taken of the
// first one, too.
func (m *Metrics) foresee() {
	for _, why := range []sessions.Reason{
		sessions.Changed, sessions.Renewed, sessions.Resealed, sessions.Bound, sessions.Cleared,
	} {
		m.written.WithLabelValues(string(why), m.session)
	}
	for _, step := range sessions.Steps() {
		m.bindings.WithLabelValues(step)
	}
	for _, result := range []string{"ok", "error"} {
		m.reloads.WithLabelValues(result)
	}
	m.foreseeVerdicts("") // of cookies whose key was not found
}

// foreseeVerdicts makes the counters of cookies of a key.
func (m *Metrics) foreseeVerdicts(id string) {
	for _, check := range sessions.Checks() {
		m.cookies.WithLabelValues(string(check.Verdict), id, m.session)
	}
	m.cookies.WithLabelValues(string(sessions.Valid), id, m.session)
}

// KeysChanged makes the counters of the keys that are in the ring, and drops those of
// keys that are gone. It is to be called after each change of the ring, and does nothing
// if there was none.
func (m *Metrics) KeysChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for _, k := range m.keys.Keys() {
		encrypted, signed := k.IDs()
		ids = append(ids, encrypted, signed)
	}
	if slices.Equal(ids, m.ids) {
		return
	}
	for _, id := range ids {
		m.foreseeVerdicts(id)
	}
	gone := 0
	for _, id := range m.ids {
		if !slices.Contains(ids, id) {
			gone++
			m.cookies.DeletePartialMatch(prometheus.Labels{"key_id": id})
			m.lastSeen.DeleteLabelValues(id)
		}
	}
	if gone > 0 && gone == len(m.ids) {
		m.replaced.Inc()
	}
	m.ids = ids
	m.changed.SetToCurrentTime()
}

// KeysSince tells since when the keys are as they are, where that is known better than
// by KeysChanged: a start is no change.
func (m *Metrics) KeysSince(t time.Time) { m.changed.Set(inSeconds(t)) }

// keyInfo collects the keys that are in the ring at that moment.
type keyInfo struct {
	keys     *sessions.Keyring
	signOnly bool
}

var keyInfoDesc = prometheus.NewDesc("cookiesession_key_info", "1 for each key id in the ring, "+
	"by mode and role. Only one seals.", []string{"key_id", "mode", "role"}, nil)

var ringInfoDesc = prometheus.NewDesc("cookiesession_key_ring_info", "1 for the ring of keys, by "+
	"a short name: copies with the same keys, of which the same one seals, have the same name.",
	[]string{"ring"}, nil)

// Describe is for Prometheus.
func (i keyInfo) Describe(to chan<- *prometheus.Desc) {
	to <- keyInfoDesc
	to <- ringInfoDesc
}

// Collect is for Prometheus.
func (i keyInfo) Collect(to chan<- prometheus.Metric) {
	var ring []string
	tell := func(id, mode string, seals bool) {
		role := map[bool]string{true: "seals", false: "verifies"}[seals]
		ring = append(ring, role+id)
		to <- prometheus.MustNewConstMetric(keyInfoDesc, prometheus.GaugeValue, 1, id, mode, role)
	}
	for n, k := range i.keys.Keys() {
		encrypted, signed := k.IDs()
		tell(encrypted, "encrypted", n == 0 && !i.signOnly)
		tell(signed, "signed", n == 0 && i.signOnly)
	}
	slices.Sort(ring) // in which order keys verify makes no difference
	sum := sha256.Sum256([]byte(strings.Join(ring, " ")))
	name := hex.EncodeToString(sum[:4])
	to <- prometheus.MustNewConstMetric(ringInfoDesc, prometheus.GaugeValue, 1, name)
}

// Observe counts the cookie that came with a visit and the one that was written, or a
// step of device binding. The session is the name of the cookie, without its prefix.
func (m *Metrics) Observe(session string, e sessions.Event) {
	if e.Step != "" {
		m.bindings.WithLabelValues(e.Step).Inc()
	} else if !errors.Is(e.Err, sessions.ErrLate) { // or the cookie was counted before
		id := e.Cookie.KeyID
		if e.Cookie.Verdict == sessions.UnknownKey {
			id = "" // it is whatever the client has made up
		}
		m.cookies.WithLabelValues(string(e.Cookie.Verdict), id, session).Inc()
		if e.Cookie.Verdict == sessions.Valid {
			m.lastSeen.WithLabelValues(id).SetToCurrentTime()
		}
	}
	if why := e.Saved.Reason; why != "" && why != sessions.Unchanged {
		m.written.WithLabelValues(string(why), session).Inc()
	}
	if e.Saved.Size > 0 {
		m.size.Observe(float64(e.Saved.Size))
	}
}

// Served counts a request. It is for the caller to bound what the labels can be.
func (m *Metrics) Served(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// KeysLoaded tells how loading the key file went.
func (m *Metrics) KeysLoaded(err error) {
	result, ok := "ok", 1.0
	if err != nil {
		result, ok = "error", 0
	}
	m.reloads.WithLabelValues(result).Inc()
	m.fileOK.WithLabelValues().Set(ok)
	m.fileRead.WithLabelValues().SetToCurrentTime()
}

// CertificateLoaded tells how loading the certificate went, and when the one that is
// in use expires.
func (m *Metrics) CertificateLoaded(notAfter time.Time, err error) {
	ok := 1.0
	if err != nil {
		ok = 0
	}
	m.certOK.WithLabelValues().Set(ok)
	m.certEnd.WithLabelValues().Set(float64(notAfter.Unix()))
}

// LogLines has the log lines counted that were lost. It is to be called once.
func (m *Metrics) LogLines(lost func() float64) {
	promauto.With(m.registry).NewCounterFunc(prometheus.CounterOpts{
		Name: "cookiesession_log_lines_lost_total",
		Help: "Lines that were not logged, because who reads the log was too slow.",
	}, lost)
}

// Sums returns the values of a counter or gauge, added up by one of its labels, or all
// together for "" if label is empty. It returns nothing for one that has no values yet.
func (m *Metrics) Sums(name, label string) map[string]float64 {
	sums := make(map[string]float64)
	families, _ := m.registry.Gather() // what fails is left out, as it is from the page
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			of := ""
			for _, pair := range series.GetLabel() {
				if pair.GetName() == label {
					of = pair.GetValue()
				}
			}
			sums[of] += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return sums
}

// inSeconds returns t in Unix seconds, with what is left of one.
func inSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// Handler returns a handler of the metrics' page.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
