/*
Cookiesession is a website that remembers its visitors without a session store:
the session itself travels in a signed, and unless switched off encrypted, cookie.

	cookiesession [flags]

serves it. Each flag -some-flag can also be given as the environment variable
COOKIESESSION_SOME_FLAG; the flag wins. The keys are those of -key-file, one a
line, or of COOKIESESSION_KEYS, separated by commas, each of 64 hexadecimal
digits. The first key seals, the others only verify. Without any, a random key
is made that ends with the process.

The key file is looked at every few seconds, and at once on SIGHUP. SIGINT and
SIGTERM finish the requests in flight, for ten seconds at most; a second one
ends the program at once.

	cookiesession keys new
	cookiesession keys list FILE
	cookiesession keys add FILE
	cookiesession keys promote FILE
	cookiesession keys drop FILE ID
	cookiesession keys replace FILE

make a key and edit a key file, while servers use it or not.

	cookiesession inspect [-key-file FILE] [-show] <cookie

tells what is known of a cookie.

The exit status is 2 when the program was called wrongly, 1 when it failed
otherwise or the inspected cookie is not valid.
*/
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
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
func run(ctx context.Context, args []string, getenv getenv, stdin io.Reader, stdout, stderr io.Writer) error {
	var err error
	switch {
	case len(args) > 0 && args[0] == "keys":
		err = runKeys(args[1:], stdout)
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
	log := newLogger(cfg, stderr)
	app, err := newApp(newSessions[session](cfg.settings), cfg.trustedOrigins, log)
	if err != nil {
		return usageError{err}
	}
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

// keysLoaded says what became of a key file that was loaded again.
func (a *app) keysLoaded(name string, err error) {
	a.metrics.keysLoaded(err)
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
		a.log.Warn("the key file can be read by every user of this machine: chmod o= it", "file", name)
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
	addr, adminAddr string
	shutdownDelay   time.Duration
	keyFile         string
	encrypt         bool
	tlsCert, tlsKey string
	trustedOrigins  []string
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
	fs.StringVar(&cfg.addr, "addr", addr, "listen on `host:port`; the default is :$PORT where PORT is set")
	fs.StringVar(&cfg.keyFile, "key-file", "", "take the keys from this `file`, and again when it changes")
	fs.BoolVar(&cfg.encrypt, "encrypt", true, "encrypt the session; if false, visitors can read it")
	fs.BoolVar(&cfg.secure, "secure", false, "cookies over HTTPS only, behind a proxy; the default with TLS")
	fs.StringVar(&cfg.tlsCert, "tls-cert", "", "serve HTTPS with the certificate chain in this PEM `file`")
	fs.StringVar(&cfg.tlsKey, "tls-key", "", "private key of the certificate, a PEM `file`")
	fs.DurationVar(&cfg.idle, "idle", defaultIdle, "end a session that has not been used for this long")
	fs.DurationVar(&cfg.lifetime, "lifetime", defaultLifetime, "end a session this long after it began")
	fs.DurationVar(&cfg.bind, "bind", 0, "bind sessions to their browser's device: a copied cookie "+
		"is good for this long; ten minutes or more; needs HTTPS")
	fs.BoolVar(&cfg.persist, "persist", true, "keep the cookie when the browser is closed")
	fs.Func("trusted-origin", "let this `origin` post here; repeat it, or use commas", func(s string) error {
		cfg.trustedOrigins = append(cfg.trustedOrigins, strings.Split(s, ",")...)
		return nil
	})
	fs.StringVar(&cfg.adminAddr, "admin-addr", "", "serve metrics, health and profiles on this `host:port`")
	fs.DurationVar(&cfg.shutdownDelay, "shutdown-delay", 0, "answer 503 on /healthz for so long, then stop")
	fs.StringVar(&cfg.logFormat, "log-format", "text", "log as `text` or json")
	fs.TextVar(&cfg.logLevel, "log-level", slog.LevelInfo, "log from this `level` on: debug, info, warn, error")
	return fs
}

// parseFlags returns the server's configuration.
func parseFlags(args []string, getenv getenv, stdout io.Writer) (*config, error) {
	cfg := &config{settings: settings{cookie: cookieName}}
	fs := cfg.flagSet(getenv)
	usage := "cookiesession [flags]\n       cookiesession keys -h\n       cookiesession inspect -h"
	if err := parse(fs, args, getenv, stdout, usage); err != nil {
		return nil, err
	}
	return cfg, cfg.check(fs)
}

const keysVariable = "COOKIESESSION_KEYS"

// keys returns the configured keys, or nil when there are none.
func (cfg *config) keys(getenv getenv) ([]key, error) {
	list := getenv(keysVariable)
	switch {
	case cfg.keyFile != "" && list != "":
		return nil, usageError{fmt.Errorf("-key-file and %s are both given: keys come from one place", keysVariable)}
	case cfg.keyFile != "":
		return keysFromFile(cfg.keyFile)
	case list != "":
		return parseKeyList(keysVariable, list)
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
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := "COOKIESESSION_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := getenv(name); value != "" && !isGiven(fs, f.Name) {
			if err := fs.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("invalid value %q of %s: %v", value, name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// isGiven reports whether a flag was given, or taken from the environment.
func isGiven(fs *flag.FlagSet, name string) (given bool) {
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
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
	}
	return err
}

// check completes the configuration and finds contradictions in it.
func (cfg *config) check(fs *flag.FlagSet) error {
	tls := cfg.tlsCert != "" || cfg.tlsKey != ""
	cfg.secure = cfg.secure || tls && !isGiven(fs, "secure")
	switch {
	case tls && (cfg.tlsCert == "" || cfg.tlsKey == ""):
		return errors.New("-tls-cert and -tls-key go together: give both or none")
	case tls && !cfg.secure:
		return errors.New("-secure=false contradicts -tls-cert: over HTTPS cookies are always secure")
	case cfg.idle < time.Second:
		return errors.New("-idle must be a second at least")
	case cfg.lifetime < time.Second:
		return errors.New("-lifetime must be a second at least")
	case cfg.lifetime > maxLifetime:
		return fmt.Errorf("-lifetime must be %d hours at most: browsers keep no cookie for longer", maxLifetime/time.Hour)
	case cfg.bind != 0 && cfg.bind < minBind:
		return fmt.Errorf("-bind must be %v at least, and better ten minutes or more", minBind)
	case cfg.bind > cfg.lifetime:
		return errors.New("-bind must not be longer than -lifetime")
	case cfg.bind > 0 && !cfg.secure:
		return errors.New("-bind needs HTTPS: browsers bind nothing without (see -tls-cert and -secure)")
	case cfg.shutdownDelay < 0:
		return errors.New("-shutdown-delay must not be negative")
	case cfg.logFormat != "text" && cfg.logFormat != "json":
		return fmt.Errorf("-log-format must be text or json, not %q", cfg.logFormat)
	}
	return nil
}

func newLogger(cfg *config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.logLevel}
	if cfg.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// shutdownTimeout is how long requests in flight may take to finish.
const shutdownTimeout = 10 * time.Second

// serve runs the servers until ctx ends or a signal comes.
func serve(ctx context.Context, cfg *config, a *app) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // without a key file, it is ignored
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if cfg.keyFile != "" {
		a.metrics.registry.MustRegister(a.metrics.fileOK)
		a.metrics.keysLoaded(nil)
		a.warnOfReaders(cfg.keyFile)
		file := &keyFile{name: cfg.keyFile, encrypt: cfg.encrypt, use: a.useRing}
		go file.watch(ctx, hup, func(err error) { a.keysLoaded(cfg.keyFile, err) })
	}
	failed := make(chan error, 2)
	if cfg.adminAddr != "" {
		admin := newAdmin(a.metrics, a.log)
		ln, err := listen("-admin-addr", cfg.adminAddr)
		if err != nil {
			return err
		}
		defer admin.Close() // last, so that the end can be watched
		go func() { failed <- admin.Serve(ln) }()
		a.log.Info("admin listening", "url", "http://"+ln.Addr().String())
	}
	srv := newServer(a, a.log)
	ln, err := listen("-addr", cfg.addr)
	if err != nil {
		return err
	}
	if cfg.tlsCert != "" {
		go func() { failed <- srv.ServeTLS(ln, cfg.tlsCert, cfg.tlsKey) }()
	} else {
		go func() { failed <- srv.Serve(ln) }()
	}
	a.log.Info("listening", "url", cfg.url(ln.Addr()))

	select {
	case err := <-failed:
		return err // a certificate that can't be read, for example
	case <-ctx.Done():
	}
	stop() // from here on a signal ends the program at once
	return a.shutDown(srv, cfg.shutdownDelay)
}

// listen listens on an address that a flag gives.
func listen(flag, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w (choose another address with %s)", err, flag)
	}
	return ln, nil
}

// shutDown ends srv, but first lets a load balancer see for as long as delay
// that it is about to.
func (a *app) shutDown(srv *http.Server, delay time.Duration) error {
	a.log.Info("shutting down", "delay", delay)
	a.draining.Store(true)
	time.Sleep(delay)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		srv.Close()
		return fmt.Errorf("requests were still in flight after %v: %w", shutdownTimeout, err)
	}
	return nil
}

// url returns where to point a browser on this machine.
func (cfg *config) url(addr net.Addr) string {
	scheme := "http"
	if cfg.tlsCert != "" {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(cfg.addr)
	_, port, _ := net.SplitHostPort(addr.String()) // not cfg's: that may be 0
	return scheme + "://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// newServer returns a server that a slow or greedy client can't hold up.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 32 << 10, // net/http reads 4 KiB more before it answers 431
	}
}
