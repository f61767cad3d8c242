/*
Cookiesession is a website that remembers its visitors without a session store:
the session itself travels in a signed, and unless switched off encrypted, cookie.

	cookiesession [flags]

serves it. Each flag -some-flag can also be given as the environment variable
COOKIESESSION_SOME_FLAG; the flag wins. The keys come from COOKIESESSION_KEYS,
separated by commas, each of 64 hexadecimal digits. The first key seals, the
others only verify. Without any, a random key is made that ends with the process.

SIGINT and SIGTERM finish the requests in flight, for ten seconds at most; a
second one ends the program at once. The exit status is 2 when the program was
called wrongly, 1 when it failed otherwise.
*/
package main

import (
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

// run is the whole program but for its exit status. It returns when ctx ends
// or a signal has stopped it.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	cfg, err := parseFlags(args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	log := newLogger(cfg, stderr)
	keys, err := loadKeys(getenv, log)
	if err != nil {
		return err
	}
	sessions := newManager(newRing(keys, cfg.encrypt), cfg.secure, cfg.persist, cfg.idle, cfg.lifetime)
	app, err := newApp(sessions, cfg.trustedOrigins, log)
	if err != nil {
		return usageError{err}
	}
	return serve(ctx, cfg, app, log)
}

// usageError is a wrong use of the command line or of the environment.
type usageError struct{ error }

// config is what the flags say.
type config struct {
	addr            string
	encrypt         bool
	secure          bool
	tlsCert, tlsKey string
	idle, lifetime  time.Duration
	persist         bool
	trustedOrigins  []string
	logFormat       string
	logLevel        slog.Level
}

// flagSet binds the flags to cfg.
func (cfg *config) flagSet(getenv func(string) string) *flag.FlagSet {
	fs := flag.NewFlagSet("cookiesession", flag.ContinueOnError)
	addr := "localhost:8080"
	if port := getenv("PORT"); port != "" {
		addr = ":" + port
	}
	fs.StringVar(&cfg.addr, "addr", addr, "listen on `host:port`; the default is :$PORT where PORT is set")
	fs.BoolVar(&cfg.encrypt, "encrypt", true, "encrypt the session; if false, it is signed only and visitors can read it")
	fs.BoolVar(&cfg.secure, "secure", false, "send the cookie over HTTPS only, as __Host-Http-session: for use behind a proxy that ends TLS; the default is true with TLS")
	fs.StringVar(&cfg.tlsCert, "tls-cert", "", "serve HTTPS with the certificate chain in this PEM `file`")
	fs.StringVar(&cfg.tlsKey, "tls-key", "", "private key of the certificate, a PEM `file`")
	fs.DurationVar(&cfg.idle, "idle", 336*time.Hour, "end a session that has not been used for this long")
	fs.DurationVar(&cfg.lifetime, "lifetime", 2160*time.Hour, "end a session this long after it began, however busy it is; at most 9600h")
	fs.BoolVar(&cfg.persist, "persist", true, "keep the cookie when the browser is closed; if false, it ends with the browser")
	fs.Func("trusted-origin", "let this `origin` (scheme://host[:port]) post from another site; repeat it, or separate several with commas", func(s string) error {
		cfg.trustedOrigins = append(cfg.trustedOrigins, strings.Split(s, ",")...)
		return nil
	})
	fs.StringVar(&cfg.logFormat, "log-format", "text", "log as `text` or json")
	fs.TextVar(&cfg.logLevel, "log-level", slog.LevelInfo, "log from this `level` on: debug, info, warn or error")
	return fs
}

// parseFlags reads the flags and, for those that are not given, the
// environment. With -h it prints the usage to stdout and returns flag.ErrHelp.
func parseFlags(args []string, getenv func(string) string, stdout io.Writer) (*config, error) {
	cfg := new(config)
	fs := cfg.flagSet(getenv)
	fs.SetOutput(io.Discard) // an error is said once and in one line, by main
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(stdout)
			fmt.Fprintln(stdout, "Usage: cookiesession [flags]\n\nEach flag -some-flag can also be given as COOKIESESSION_SOME_FLAG. The keys come from COOKIESESSION_KEYS.")
			fs.PrintDefaults()
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: see cookiesession -h", fs.Arg(0))
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := "COOKIESESSION_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := getenv(name); value != "" && !given[f.Name] {
			given[f.Name] = true
			if err := fs.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("invalid value %q of %s: %v", value, name, err))
			}
		}
	})
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return cfg, cfg.check(given)
}

// check completes the configuration and finds contradictions in it.
func (cfg *config) check(given map[string]bool) error {
	tls := cfg.tlsCert != "" || cfg.tlsKey != ""
	if tls && !given["secure"] {
		cfg.secure = true
	}
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

// loadKeys returns the keys that are configured, or a random one.
func loadKeys(getenv func(string) string, log *slog.Logger) ([]key, error) {
	if list := getenv("COOKIESESSION_KEYS"); list != "" {
		keys, err := parseKeyList(list)
		if err != nil {
			return nil, fmt.Errorf("COOKIESESSION_KEYS: %w (cookiesession needs keys as `openssl rand -hex 32` makes them)", err)
		}
		return keys, nil
	}
	log.Warn("no key is configured: sessions end with this process; set COOKIESESSION_KEYS, for example to the output of `openssl rand -hex 32`")
	k, err := parseKey(newSecret())
	return []key{k}, err
}

// shutdownTimeout is how long requests in flight may take to finish.
const shutdownTimeout = 10 * time.Second

// serve runs the servers until ctx ends or a signal comes.
func serve(ctx context.Context, cfg *config, h http.Handler, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer(h, log)
	ln, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	if cfg.tlsCert != "" {
		go func() { served <- srv.ServeTLS(ln, cfg.tlsCert, cfg.tlsKey) }()
	} else {
		go func() { served <- srv.Serve(ln) }()
	}
	log.Info("listening", "url", cfg.url(ln.Addr()))

	select {
	case err := <-served:
		return err // it never began: a certificate that can't be read, for example
	case <-ctx.Done():
	}
	stop() // from here on a signal ends the program at once
	log.Info("shutting down")
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
	if host == "" {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(addr.String()) // not cfg's: that may be 0
	return scheme + "://" + net.JoinHostPort(host, port)
}

// newServer returns a server that a slow or greedy client can't hold up.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10, // net/http reads 4 KiB more before it answers 431
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
