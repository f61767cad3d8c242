package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour

	defaultIdle     = 14 * day
	defaultLifetime = 90 * day

	// maxLimit is how long browsers keep a cookie at most (RFC 6265bis, 5.5).
	maxLimit = 400 * day
)

// Limits say when a session ends by itself. The server enforces them. When a browser
// deletes its cookie is up to the browser.
type Limits struct {
	// Idle ends a session that has not been written for this long. A session in use is
	// written again after a quarter of Idle. Zero means 14 days.
	Idle time.Duration

	// Lifetime ends a session this long after it began, however busy. Zero means 90 days.
	Lifetime time.Duration

	// BrowserSession tells browsers to delete the cookie when they are closed. Many
	// restore it together with their windows.
	BrowserSession bool
}

// Options configure the sessions of a site. The zero value is right for a site on HTTPS.
// [New] refuses options that contradict each other.
type Options[T any] struct {
	// Name is the cookie's name. Empty means "session". Unless Insecure is set, New adds
	// a prefix, with which browsers accept the cookie only from a secure response (RFC
	// 6265bis, 4.1.3): __Host-Http-, or __Http- if Domain or Path is set.
	Name string

	// Insecure allows plain HTTP: the cookie has no Secure attribute and no prefix.
	Insecure bool

	// SignOnly signs the session without encrypting it. Whoever has the cookie can read
	// it, but not change it.
	SignOnly bool

	// Domain shares the session with all hosts in this domain. Empty means that only the
	// host that set the cookie gets it.
	Domain string

	// Path limits the cookie to this part of the site. Empty means "/".
	Path string

	// SameSite limits the requests from other sites that bring the cookie. Zero means Lax:
	// links bring it, posted forms and frames don't. None needs HTTPS.
	SameSite http.SameSite

	// Partitioned keeps a separate session for each site that embeds this one. It needs
	// HTTPS.
	Partitioned bool

	// Limits apply to all sessions, unless LimitsFor says otherwise.
	Limits

	// LimitsFor, if not nil, returns the limits of the session with this data. A zero
	// duration means the one in Options. Others are clamped between a second and 400 days.
	// BrowserSession is taken as it is. To shorten a live session's limits, change its data
	// and call Renew.
	LimitsFor func(data *T) Limits

	// Accept, if not nil, is called once per request, by the first Get or Load, for a
	// session whose cookie is otherwise good, including one with no user logged in. If it
	// returns false, the session is empty and its verdict is Revoked. If it can't tell,
	// because a database is down, it should panic, so that nothing is saved. Don't hold a
	// lock that it needs while you call Get. It isn't asked about a session from Adopt.
	Accept func(*http.Request, *Session[T]) bool

	// Adopt, if not nil, takes over a session of another library or with other Options.
	// It is called if the verdict is None. If ok is true, data becomes the session, which
	// the first response below 500 saves. The response also deletes the cookie old, with
	// its Path and Domain. At Clear and Renew, Adopt is called for old alone, which goes
	// too. If old is nil, nothing is deleted: return nil while programs that know only the
	// other session are still running, and end theirs yourself at Clear, or it is adopted
	// again.
	Adopt func(*http.Request) (data T, old *http.Cookie, ok bool)

	// Forget names fields that T no longer has, to remove them from cookies. Other fields
	// that T doesn't have are kept, since a newer program may have them.
	Forget []string

	// Bind turns on device binding. It is how long a ticket, the device's proof, is valid:
	// use ten minutes or more, because browsers limit how often they sign. Zero turns
	// device binding off.
	Bind time.Duration

	// BindPath is the path under which the endpoints register and refresh are served. It
	// must be within Path. Empty means Name within Path, such as /session.
	BindPath string

	// Assets are paths that browsers request without waiting for a ticket. One that ends
	// in / stands for all paths under it.
	Assets []string

	// Failed answers instead of the handler if the session can't be saved. For ErrLate, w
	// is nil, because it is too late to answer. If Failed is nil, the answer is 500, or 503
	// for ErrTryAgain, and slog's default logger gets a line without the data.
	Failed func(w http.ResponseWriter, r *http.Request, err error)

	// Observe, if not nil, is called for metrics and logs. Within Handler, it is called
	// when a response begins whose session was asked for, again for a change that comes
	// too late, and for each step of device binding. Without Handler, each Save calls it;
	// r is nil if the session was made by hand. It must be safe for concurrent use.
	Observe func(r *http.Request, e Event)
}

// Event is what [Options.Observe] gets. It has nothing of a session's data.
type Event struct {
	Cookie Cookie // that came with the request
	Saved  Saved  // what was written
	Err    error  // why the session could not be saved
	Step   string // of device binding: one of Steps, or empty
}

// Manager reads sessions with data of type T from cookies and writes them back. It stores
// nothing itself. It is safe for concurrent use.
type Manager[T any] struct {
	keys   *Keyring
	o      Options[T] // complete
	name   string     // of the cookie, with its prefix
	ticket string     // the name of the cookie that carries a device's ticket
	zero   []byte     // the encoding of an empty session
	forget []rawKey   // Options.Forget, as it is encoded
}

// New returns a Manager that seals sessions with the first key in keys. It fails if there
// is no key, if the options contradict each other, and if a T can't be read back as it was
// stored.
func New[T any](keys *Keyring, o Options[T]) (*Manager[T], error) {
	if keys == nil || keys.current.Load() == nil {
		return nil, errors.New("sessions: there are no keys: New needs a Keyring with one")
	}
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("sessions: the type of a session must be a struct, not %v", t)
	}
	o.complete()
	if wrong := o.check(); wrong != "" {
		return nil, errors.New("sessions: " + wrong)
	}
	if err := checkType(t, t.String(), make(map[reflect.Type]bool)); err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	m := &Manager[T]{keys: keys, o: o}
	m.name, m.ticket = o.cookieNames()
	var err error
	if m.zero, err = encode(new(T)); err != nil {
		return nil, err
	}
	for _, name := range o.Forget {
		key := rawKey(must(encode(&name)))
		if has[T](key) {
			return nil, fmt.Errorf("sessions: Forget: %v has the field %s", t, name)
		}
		m.forget = append(m.forget, key)
	}
	return m, nil
}

// complete fills in what zero stands for.
func (o *Options[T]) complete() {
	o.Name = cmp.Or(o.Name, "session")
	o.Path = cmp.Or(o.Path, "/")
	o.Idle = cmp.Or(o.Idle, defaultIdle)
	o.Lifetime = cmp.Or(o.Lifetime, defaultLifetime)
	if o.SameSite == 0 || o.SameSite == http.SameSiteDefaultMode {
		o.SameSite = http.SameSiteLaxMode
	}
	o.BindPath = cmp.Or(o.BindPath, strings.TrimSuffix(o.Path, "/")+"/"+o.Name)
	if o.Failed == nil {
		o.Failed = answerFailed
	}
	if o.Observe == nil {
		o.Observe = func(*http.Request, Event) {}
	}
}

// goodName matches a name that no browser and no proxy takes for anything else.
var goodName = regexp.MustCompile(`^_?[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// check returns what is wrong, or nothing. It begins with the option's name, and doesn't
// quote what that says, which could be a key that was put there by mistake.
func (o *Options[T]) check() (wrong string) {
	lower, within := strings.ToLower(o.Name), strings.TrimSuffix(o.Path, "/")+"/"
	switch {
	case len(o.Name) > 64 || !goodName.MatchString(o.Name):
		return "Name must be letters, digits, -, _ and ., 64 at most, and begin " +
			"with a letter or digit, or one _"
	case strings.HasPrefix(lower, "http-") || strings.HasPrefix(lower, "host-"):
		return "Name must not begin with Http- or Host-, which browsers give a meaning"
	case o.SameSite < 0 || o.SameSite > http.SameSiteNoneMode:
		return "SameSite must be one of net/http's modes"
	case o.SameSite == http.SameSiteNoneMode && o.Insecure:
		return "SameSite: None needs HTTPS, and contradicts Insecure"
	case o.Partitioned && o.Insecure:
		return "Partitioned needs HTTPS, and contradicts Insecure"
	case !isPath(o.Path):
		return "Path must be a path that begins with a slash"
	case strings.HasSuffix(o.Domain, "."):
		return "Domain must not end with a dot, which browsers never match"
	case o.Idle < time.Second || o.Idle > maxLimit:
		return "Idle must be between a second and 400 days"
	case o.Lifetime < time.Second || o.Lifetime > maxLimit:
		return "Lifetime must be between a second and 400 days"
	case o.Bind == 0:
	case o.Bind < time.Second:
		return "Bind must be at least a second, and better ten minutes"
	case o.Bind > min(o.Idle, o.Lifetime): // or a ticket could outlive the key that has sealed it
		return "Bind must not be longer than Idle or Lifetime"
	case o.Insecure:
		return "Bind needs HTTPS, and contradicts Insecure"
	case o.Domain != "":
		return "Bind contradicts Domain: a device proves itself to one host"
	case !isPath(o.BindPath) || !strings.HasPrefix(o.BindPath, within) ||
		strings.HasSuffix(o.BindPath, "/"):
		return "BindPath must be a path within Path, without a slash at the end"
	case slices.ContainsFunc(o.Assets, func(path string) bool { return !isPath(path) }):
		return "Assets must be paths"
	}
	sample := http.Cookie{Name: o.Name, Path: o.Path, Domain: o.Domain}
	if err := sample.Valid(); err != nil {
		return "Domain or Path: " + err.Error()
	}
	return ""
}

// isPath reports whether s is the path of a URL in the one spelling in which browsers send
// it, so that it can stand in a header.
func isPath(s string) bool {
	clean := path.Clean(s)
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") &&
		(s == clean || s == clean+"/") &&
		!strings.ContainsFunc(s, func(c rune) bool {
			return c <= ' ' || c > '~' || strings.ContainsRune(`"\;?#%`, c)
		})
}

// cookieNames returns the names of the session's cookie and of its ticket's. Chromium
// takes no ticket whose name begins with __Host-Http-.
func (o *Options[T]) cookieNames() (session, ticket string) {
	whole := o.Domain == "" && o.Path == "/"
	switch {
	case o.Insecure:
		return o.Name, o.Name + "-ticket"
	case whole:
		return "__Host-Http-" + o.Name, "__Host-" + o.Name + "-ticket"
	}
	return "__Http-" + o.Name, "__Secure-" + o.Name + "-ticket"
}

// limitsOf returns the limits of a session.
func (m *Manager[T]) limitsOf(data *T) Limits {
	if m.o.LimitsFor == nil {
		return m.o.Limits
	}
	l := m.o.LimitsFor(data)
	l.Idle = max(time.Second, min(cmp.Or(l.Idle, m.o.Idle), maxLimit))
	l.Lifetime = max(time.Second, min(cmp.Or(l.Lifetime, m.o.Lifetime), maxLimit))
	return l
}

// CookieName returns the name of the cookie, with its prefix.
func (m *Manager[T]) CookieName() string { return m.name }

// Load returns the session that r brings. It never fails: if the cookie is not good, the
// session is empty and its verdict tells why. Within [Manager.Handler], Load returns the
// same session as [Manager.Get], which is all that most programs need.
func (m *Manager[T]) Load(r *http.Request) *Session[T] {
	if v, ok := r.Context().Value(m).(*visit[T]); ok {
		return v.session()
	}
	return m.load(r)
}

// Get returns the session of the request that ctx belongs to. The first call verifies the
// cookie, and calls Options.Accept. Further calls return the same session. Get panics
// unless ctx comes from [Manager.Handler] or [Manager.With].
func (m *Manager[T]) Get(ctx context.Context) *Session[T] {
	v, ok := ctx.Value(m).(*visit[T])
	if !ok {
		panic("sessions: Get was called with the context of a request that did not come " +
			"through this Manager's Handler")
	}
	return v.session()
}

// With returns a context with a session that has data in it, as if its cookie had come.
// Use it in unit tests of handlers: [Manager.Get], and [Manager.Load] for a request with
// this context, return the session. With panics if data can't be stored.
func (m *Manager[T]) With(ctx context.Context, data T) (context.Context, *Session[T]) {
	s := m.Open(nil)
	if c := must(m.Seal(data)); !slices.Equal(must(encode(&data)), m.zero) {
		s = m.Open(c)
	}
	v := &visit[T]{m: m}
	v.loaded.Store(s)
	return context.WithValue(ctx, m, v), s
}

// Seal returns a cookie for a session that begins now and has data in it. It fails as
// [Manager.Save] does. It is for tests and tools.
func (m *Manager[T]) Seal(data T) (*http.Cookie, error) {
	encoded, err := encode(&data)
	if err != nil {
		return nil, err
	}
	s := &Session[T]{now: time.Now().Unix()}
	return m.bake(s.next(encoded), m.limitsOf(&data), s.now)
}

// Open returns the session in c, with the verdict on its value alone: it ignores the name
// of c, which the MAC covers, and asks neither Accept nor for a device's ticket. If c is
// nil, the verdict is None. Open is for tests and tools.
func (m *Manager[T]) Open(c *http.Cookie) *Session[T] {
	if c == nil {
		return new(Session[T])
	}
	return m.judge(c.Value, time.Now().Unix())
}
