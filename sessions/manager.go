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

// Limits say when a session ends by itself. The server keeps them: when a browser
// deletes its cookie is a matter of its own.
type Limits struct {
	// Idle ends a session that was not written for this long. A session in use is
	// written again after a quarter of it. Zero means 14 days.
	Idle time.Duration

	// Lifetime ends a session this long after it began, however busy. Zero means 90 days.
	Lifetime time.Duration

	// BrowserSession has browsers delete the cookie when they are closed, though many
	// restore it with their windows.
	BrowserSession bool
}

// Options are what a site decides about its sessions. The zero value is right for a
// site on HTTPS. [New] refuses what contradicts itself.
type Options[T any] struct {
	// Name is that of the cookie, to which New adds the prefix that fits the rest:
	// __Host-Http- over HTTPS, or __Http- with a Domain or a Path. With it browsers
	// take the cookie only from a secure page's response (RFC 6265bis, 4.1.3). Empty
	// means "session".
	Name string

	// Insecure is for plain http: no Secure, no prefix.
	Insecure bool

	// SignOnly leaves the session readable for whoever has the cookie. Nobody can
	// change it all the same.
	SignOnly bool

	// Domain shares the session with the hosts below a domain. Empty means that only
	// the host that has set the cookie gets it.
	Domain string

	// Path is the part of the site that gets the cookie. Empty means "/".
	Path string

	// SameSite says with which requests from other sites the cookie comes. Zero means
	// Lax: with links from there, not with forms and frames. None needs HTTPS.
	SameSite http.SameSite

	// Partitioned gives each site that embeds this one a session of its own. It needs
	// HTTPS.
	Partitioned bool

	// Limits hold for all sessions.
	Limits

	// LimitsFor, if not nil, returns the limits of one session by its data. A duration
	// of zero is that of Options; others are brought between a second and 400 days.
	// BrowserSession is as it says. Who shortens a session's limits calls Renew with it.
	LimitsFor func(data *T) Limits

	// Accept, if not nil, is asked about each session that is good by itself. False ends
	// it: its verdict is Revoked, its data is empty. Where the answer can't be known,
	// because a database is down, it should panic: then nothing is saved.
	Accept func(*http.Request, *Session[T]) bool

	// Adopt, if not nil, is asked where the verdict is None. If ok, its data is the
	// session, and is saved with the first answer below 500, which deletes the cookie
	// old, with the Path and the Domain that it has. For a session that is ours it is
	// asked for old alone, at Clear and at Renew. Where old is nil nothing is deleted:
	// programs that know the other session alone may still be running.
	Adopt func(*http.Request) (data T, old *http.Cookie, ok bool)

	// Forget are fields that T no longer has and that are to go from cookies. Others
	// that T doesn't have are kept, since a newer program may have them.
	Forget []string

	// Bind turns on device binding, and is how long a ticket is good: ten minutes or
	// more, since browsers limit how often they sign. Zero turns it off.
	Bind time.Duration

	// BindPath is below which path browsers find register and refresh. It must be
	// within Path. Empty means Name within Path, such as /session.
	BindPath string

	// Assets are paths that never wait for a ticket. One that ends in / means all
	// below it.
	Assets []string

	// Failed answers where a session can't be saved, in place of the handler, or is
	// told of ErrLate, with w nil since it is too late to answer. If Failed is nil, the
	// answer is 500, or 503 for ErrTryAgain, and there is a line in slog's default log.
	Failed func(w http.ResponseWriter, r *http.Request, err error)

	// Observe, if not nil, is called for metrics and logs: once for each request whose
	// session was asked for, when its response begins, again for a late change, and for
	// each step of a device; without Handler at each Save, with a nil request for a
	// session that none has brought. It must be safe for concurrent use.
	Observe func(r *http.Request, e Event)
}

// Event is what [Options.Observe] is told. It carries nothing of a session's data.
type Event struct {
	Cookie Cookie // that came with the request
	Saved  Saved  // what was written
	Err    error  // why it could not be
	Step   string // of device binding, one of Steps; empty if it is none
}

// Manager reads sessions of type T from cookies and writes them back. It keeps none
// itself. It may be used by many goroutines at once.
type Manager[T any] struct {
	keys   *Keyring
	o      Options[T] // complete
	name   string     // of the cookie, with its prefix
	ticket string     // the name of the cookie that carries a device's ticket
	zero   []byte     // the encoding of an empty session
	forget []rawKey   // Options.Forget, as it is encoded
}

// New returns a Manager whose sessions are sealed with the first of keys. It refuses
// to begin without a key, with options that contradict each other, and with a T that
// can't be read back as it was stored.
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
	if m.zero, err = encode(*new(T)); err != nil {
		return nil, err
	}
	for _, name := range o.Forget {
		key := rawKey(must(encode(name)))
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

// Load returns the session that r brings. It cannot fail: a cookie that is not good is
// an empty session, and its verdict tells why. Most sites need only [Manager.Handler]
// and [Manager.Get]. Within Handler, it returns the same session as Get.
func (m *Manager[T]) Load(r *http.Request) *Session[T] {
	if v, ok := r.Context().Value(m).(*visit[T]); ok {
		return v.session()
	}
	return m.load(r)
}

// Get returns the session of the request that ctx belongs to: the same one for each
// call. It panics outside of [Manager.Handler], unless ctx comes from [Manager.With].
func (m *Manager[T]) Get(ctx context.Context) *Session[T] {
	v, ok := ctx.Value(m).(*visit[T])
	if !ok {
		panic("sessions: Get was called with the context of a request that did not come " +
			"through this Manager's Handler")
	}
	return v.session()
}

// With returns a context for unit tests of handlers, from which [Manager.Get] and, by
// way of a request, [Manager.Load] get a session with data in it, as if its cookie had
// come. It panics if data can't be stored.
func (m *Manager[T]) With(ctx context.Context, data T) (context.Context, *Session[T]) {
	s := m.Open(nil)
	if c := must(m.Seal(data)); !slices.Equal(must(encode(data)), m.zero) {
		s = m.Open(c)
	}
	v := &visit[T]{m: m}
	v.loaded.Store(s)
	return context.WithValue(ctx, m, v), s
}

// Seal returns a cookie with data in a session that begins now. It is for tests and
// tools. It fails as Save does.
func (m *Manager[T]) Seal(data T) (*http.Cookie, error) {
	encoded, err := encode(data)
	if err != nil {
		return nil, err
	}
	s := &Session[T]{now: time.Now().Unix()}
	return m.bake(s.next(encoded), m.limitsOf(&data), s.now)
}

// Open judges the value of one cookie. It judges neither the name, since the MAC has the
// manager's, nor does it ask Accept or for a device's ticket. A nil cookie is none. It
// is for tests and tools.
func (m *Manager[T]) Open(c *http.Cookie) *Session[T] {
	if c == nil {
		return new(Session[T])
	}
	return m.judge(c.Value, time.Now().Unix())
}
