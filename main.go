/*
Cookiesession is a website that remembers its visitors without a session store:
the session itself travels in a signed, and unless switched off encrypted, cookie.

	cookiesession [flags]

serves it. Each flag -some-flag can also be given as the environment variable
COOKIESESSION_SOME_FLAG; the flag wins. The keys are those of -key-file, one a
line, or of COOKIESESSION_KEYS, separated by commas, each of 64 hexadecimal
digits. The first key seals, the others only verify. Without any, a random key
is made that ends with the process.

The key file and the certificate are looked at every few seconds, and at once on
SIGHUP. SIGINT and SIGTERM finish the requests in flight, for 25 seconds at most;
a second one ends the program at once.

	cookiesession keys new
	cookiesession keys list FILE
	cookiesession keys add FILE
	cookiesession keys promote FILE
	cookiesession keys drop FILE ID
	cookiesession keys replace FILE

make a key and edit a key file, which servers may be using meanwhile.

	cookiesession inspect [-key-file FILE] [-show] <cookie

shows what is known about a cookie.

The exit status is 2 when the program was called wrongly, 1 when it failed
otherwise or the inspected cookie is not valid.
*/
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "cookiesession:", err)
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// run is the whole program but for its exit status. It returns when the
// command is done, ctx ends, or a signal has stopped the server.
func run(ctx context.Context, args []string, getenv getenv,
	stdin io.Reader, stdout, stderr io.Writer) error {
	var err error
	switch {
	case len(args) > 0 && args[0] == "keys":
		err = runKeys(args[1:], stdout, stderr)
	case len(args) > 0 && args[0] == "inspect":
		err = runInspect(args[1:], getenv, stdin, stdout)
	default:
		err = runServer(ctx, args, getenv, stdout, stderr)
	}
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

// runServer serves the website.
func runServer(ctx context.Context, args []string, getenv getenv, stdout, stderr io.Writer) error {
	cfg, err := parseFlags(args, getenv, stdout)
	if err != nil {
		return usageError{err}
	}
	if cfg.version {
		_, err := fmt.Fprintln(stdout, version())
		return err
	}
	log := newLogger(cfg, stderr)
	app := newApp(newSessions[session](cfg.settings), cfg.bind, cfg.origins, log)
	keys, err := cfg.keys(getenv)
	if err != nil {
		return err
	}
	if keys == nil {
		log.Warn("no key is configured: sessions end with this process; " +
			"make a key file with `cookiesession keys add FILE` and give it with -key-file")
		keys = []key{must(parseKey(newSecret()))}
	}
	app.useRing(newRing(keys, cfg.encrypt))
	return serve(ctx, cfg, app)
}

// version returns the program's version, commit and Go version, as go build has
// noted them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "cookiesession, without build information"
	}
	commit := "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return fmt.Sprintf("cookiesession %s, commit %s, %s", info.Main.Version, commit, info.GoVersion)
}

// keysReloaded says what became of a key file that was loaded again.
func (a *app) keysReloaded(name string, err error) {
	a.metrics.keysLoaded(err)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (put the last good file back)", err)
	}
	if err != nil {
		a.log.Error("the key file is bad, the keys stay as they are", "err", err)
		return
	}
	a.log.Info("key file loaded", "file", name)
	a.warnOfReaders(name)
}

// warnOfReaders says so when every user of the machine can read a key file.
func (a *app) warnOfReaders(name string) {
	info, err := os.Stat(name)
	if err == nil && info.Mode()&0o004 != 0 && runtime.GOOS != "windows" {
		a.log.Warn("the key file can be read by every user of this machine: chmod o= it",
			"file", name)
	}
}

// certificateReloaded says what became of a certificate that was loaded again.
func (a *app) certificateReloaded(c *certificate, err error) {
	a.metrics.certificateLoaded(c, err)
	if err != nil {
		a.log.Error("the certificate is bad, the old one stays in use", "err", err)
		return
	}
	notAfter := c.current.Load().Leaf.NotAfter
	a.log.Info("certificate loaded", "file", c.certFile, "not_after", notAfter)
	a.warnOfExpiry(c)
}

// warnOfExpiry says so when browsers take a certificate for expired.
func (a *app) warnOfExpiry(c *certificate) {
	if notAfter := c.current.Load().Leaf.NotAfter; time.Now().After(notAfter) {
		a.log.Warn("the certificate has expired: browsers refuse the site until it is renewed",
			"file", c.certFile, "not_after", notAfter)
	}
}

// usageError is a wrong use of the command line or of the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// getenv is os.Getenv, or a test's own.
type getenv func(name string) string

// config is what the flags say.
type config struct {
	settings
	bind            time.Duration // for which a ticket of device binding is good
	addr, adminAddr string
	shutdownDelay   time.Duration
	keyFile         string
	encrypt         bool
	tlsCert, tlsKey string
	origins         origins
	version         bool
	logFormat       string
	logLevel        slog.Level
}

const (
	cookieName      = "session" // without the prefix
	defaultIdle     = 336 * time.Hour
	defaultLifetime = 2160 * time.Hour

	// minBind is the shortest -bind. Browsers renew a ticket in its last two
	// minutes, and may sign six times in nine minutes only, so it is for trying out.
	minBind = 10 * time.Second
)

// flagSet binds the flags to cfg.
func (cfg *config) flagSet(getenv getenv) *flag.FlagSet {
	fs := flag.NewFlagSet("cookiesession", flag.ContinueOnError)
	addr := "localhost:8080"
	if port := getenv("PORT"); port != "" {
		addr = ":" + port
	}
	fs.StringVar(&cfg.addr, "addr", addr, "listen on `host:port`; by default :$PORT if PORT is set")
	fs.StringVar(&cfg.keyFile, "key-file", "", "take the keys from this `file`")
	fs.BoolVar(&cfg.encrypt, "encrypt", true, "encrypt the session; if false, visitors can read it")
	fs.Func("origin",
		"`address` of the site, such as https://app.example.com; repeat it, or use commas",
		cfg.origins.Set)
	fs.StringVar(&cfg.cookie, "cookie-name", cookieName, "`name` of the session cookie")
	fs.StringVar(&cfg.tlsCert, "tls-cert", "",
		"serve HTTPS with the certificate chain in this PEM `file`")
	fs.StringVar(&cfg.tlsKey, "tls-key", "", "private key of the certificate, a PEM `file`")
	fs.DurationVar(&cfg.idle, "idle", defaultIdle,
		"end a session this long after its cookie was last written")
	fs.DurationVar(&cfg.lifetime, "lifetime", defaultLifetime,
		"end a session this long after it began")
	fs.DurationVar(&cfg.bind, "bind", 0, "bind sessions to the browser's device, with tickets "+
		"that are valid for this long; needs HTTPS")
	fs.BoolVar(&cfg.persist, "persist", true, "keep the cookie when the browser is closed")
	fs.StringVar(&cfg.adminAddr, "admin-addr", "",
		"serve metrics, health and, on loopback, profiles on this `host:port`")
	fs.DurationVar(&cfg.shutdownDelay, "shutdown-delay", 0,
		"after SIGTERM, go on for this long while /healthz answers 503")
	fs.BoolVar(&cfg.version, "version", false, "print the version and end")
	fs.StringVar(&cfg.logFormat, "log-format", "text", "log in this `format`: text or json")
	fs.TextVar(&cfg.logLevel, "log-level", slog.LevelInfo,
		"log from this `level` on: debug, info, warn or error")
	return fs
}

// parseFlags returns the server's configuration.
func parseFlags(args []string, getenv getenv, stdout io.Writer) (*config, error) {
	cfg := new(config)
	fs := cfg.flagSet(getenv)
	usage := "cookiesession [flags]           serves the site\n" +
		"       cookiesession keys COMMAND      makes keys, and edits a key file: see keys -h\n" +
		"       cookiesession inspect [flags]   shows what is known about a cookie: see inspect -h"
	if err := parse(fs, args, getenv, stdout, usage); err != nil {
		return nil, err
	}
	return cfg, cfg.check()
}

const keysVariable = "COOKIESESSION_KEYS"

// keys returns the configured keys, or nil when there are none.
func (cfg *config) keys(getenv getenv) ([]key, error) {
	list := getenv(keysVariable)
	switch {
	case cfg.keyFile != "" && list != "":
		err := fmt.Errorf("-key-file and %s are both given: keys come from one place", keysVariable)
		return nil, usageError{err}
	case cfg.keyFile != "":
		return keysFromFile(cfg.keyFile)
	case list != "":
		return parseKeys(keysVariable, strings.ReplaceAll(list, ",", "\n"))
	}
	return nil, nil
}

// parse reads the flags and, for those that are not given, the environment.
func parse(fs *flag.FlagSet, args []string, getenv getenv, stdout io.Writer, usage string) error {
	usage += "\n\nEach flag -some-flag can also be given as COOKIESESSION_SOME_FLAG. " +
		"Without -key-file, the keys come from " + keysVariable + ".\n"
	if err := parseArgs(fs, args, stdout, usage); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see %s -h", fs.Arg(0), fs.Name())
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := "COOKIESESSION_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := getenv(name); value != "" && !given[f.Name] {
			if err := fs.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("invalid value %q of %s: %v", value, name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// parseArgs reads the flags in args. With -h it prints the usage, and what the
// flags do, to stdout and returns flag.ErrHelp.
func parseArgs(fs *flag.FlagSet, args []string, stdout io.Writer, usage string) error {
	fs.SetOutput(io.Discard) // an error is said once and in one line, by main
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fs.SetOutput(stdout)
		fmt.Fprintln(stdout, "Usage:", usage)
		fs.PrintDefaults()
	} else if err != nil {
		err = fmt.Errorf("%w: see %s -h", err, fs.Name())
	}
	return err
}

// check completes the configuration and finds contradictions in it.
func (cfg *config) check() error {
	tls := cfg.tlsCert != ""
	cfg.secure = tls || cfg.origins.secure()
	switch {
	case tls != (cfg.tlsKey != ""):
		return errors.New("-tls-cert and -tls-key go together: give both or none")
	case tls && len(cfg.origins) > 0 && !cfg.origins.secure():
		return errors.New("-origin with http contradicts -tls-cert, which serves HTTPS")
	case cfg.idle < time.Second:
		return errors.New("-idle must be at least one second")
	case cfg.lifetime < time.Second:
		return errors.New("-lifetime must be at least one second")
	case cfg.lifetime > maxLifetime:
		return fmt.Errorf("-lifetime must be at most %d hours: browsers keep no cookie for longer",
			maxLifetime/time.Hour)
	case cfg.bind != 0 && cfg.bind < minBind:
		return fmt.Errorf("-bind must be at least %v, and better ten minutes or more", minBind)
	case cfg.bind > min(cfg.idle, cfg.lifetime):
		return errors.New("-bind must not be longer than -idle or -lifetime")
	case cfg.bind > 0 && strings.HasPrefix(strings.ToLower(cfg.cookie), "http-"):
		return errors.New("-cookie-name must not begin with Http- with -bind: " +
			"browsers would take no ticket for it")
	case cfg.bind > 0 && !cfg.secure:
		return errors.New("-bind needs HTTPS, without which browsers bind nothing: " +
			"give -tls-cert, or -origin https://... where a proxy ends TLS")
	case cfg.shutdownDelay < 0:
		return errors.New("-shutdown-delay must not be negative")
	case cfg.logFormat != "text" && cfg.logFormat != "json":
		return fmt.Errorf("-log-format must be text or json, not %q", cfg.logFormat)
	}
	return cfg.checkCookieName()
}

// checkCookieName is what check and inspect, which has that flag as well, both need.
func (cfg *config) checkCookieName() error {
	if len(cfg.cookie) > 64 || !cookieNames.MatchString(cfg.cookie) {
		return fmt.Errorf("-cookie-name must be letters, digits, - and _, 64 at most, not %q",
			cfg.cookie)
	}
	return nil
}

// cookieNames matches a name that no browser and no proxy takes for anything else.
var cookieNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func newLogger(cfg *config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.logLevel}
	if cfg.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
