/*
Cookiesession is a website that remembers its visitors without a session store:
the session itself travels in a signed, and unless switched off encrypted, cookie.

	cookiesession [flags]

serves it. Each flag -some-flag but -check and -version can also be given as
the environment variable COOKIESESSION_SOME_FLAG; the flag wins. Neither may be
empty, and a variable that is none of the program's is warned of. The keys are
those of -key-file, one a line, or of COOKIESESSION_KEYS, separated by commas,
each of 64 hexadecimal digits. The first key seals, the others only verify.
HTTPS needs keys. Without it, and without any, a random key is made that ends
with the process. The sessions are those of package sessions, and the site is
in handlers.go.

With -check the program says instead what it would serve, with which keys and
limits, and what is odd about that. It takes none of the ports, and ends as the
start would if they are free: with 0, or the exit status below.

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

GOGC and GOMEMLIMIT are Go's own variables for its garbage collector. Without the
first, this program's is 400.

What looks like a key, 48 hexadecimal digits or more, with or without colons, is
printed as "(a key)", except by keys new.

The exit status is 2 when the program was called wrongly, by its flags or
variables, 1 when it failed otherwise, as for a bad file, or the inspected
cookie is not valid.
*/
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/mux"

	"cookiesession/internal/command"
	"cookiesession/internal/floodlog"
	"cookiesession/internal/operate"
	"cookiesession/internal/report"
	"cookiesession/internal/server"
	"cookiesession/internal/web"
)

func main() {
	// Less than a megabyte is live, so the collector would run every few thousand
	// requests. Some 10 MiB more spare a fifth of a request's processor time.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	env := command.Environment(os.Environ())
	err := run(context.Background(), os.Args[1:], env, os.Stdin, os.Stdout, os.Stderr)
	var usage command.UsageError
	switch {
	case errors.As(err, &usage):
		os.Exit(2)
	case err != nil:
		os.Exit(1)
	}
}

// flushTime is how long the log may take at the end of the program.
const flushTime = 500 * time.Millisecond

// run is the whole program but for its exit status. It returns when the
// command is done, ctx ends, or a signal has stopped the server. What it
// returns it has also said.
func run(ctx context.Context, args []string, env map[string]string,
	stdin io.Reader, stdout, stderr io.Writer) error {
	journal := floodlog.IsJournal(stderr, env["JOURNAL_STREAM"])
	json, forNewKey := command.WantsJSON(args, env), stdout
	stdout, stderr = command.Guard(stdout), command.Guard(stderr)
	log := floodlog.NewQueue(stderr, json, journal)
	defer log.Flush(flushTime)
	var err error
	switch {
	case slices.Equal(args, []string{"keys", "new"}):
		err = command.Keys(args[1:], forNewKey, stderr)
	case len(args) > 0 && args[0] == "keys":
		err = command.Keys(args[1:], stdout, stderr)
	case len(args) > 0 && args[0] == "inspect":
		warnOfVariables(log.Logger(slog.LevelWarn), env)
		err = command.Inspect(args[1:], env, stdin, stdout, defaults.options())
	default:
		err = runServer(ctx, args, env, stdout, log)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil && json:
		log.Logger(slog.LevelError).Error("the program has failed", "err", err)
	case err != nil:
		fmt.Fprintln(log, command.ErrorLine(err))
	}
	return err
}

// runServer serves the website.
func runServer(ctx context.Context, args []string, env map[string]string,
	stdout io.Writer, log *floodlog.Queue) error {
	signal.Ignore(syscall.SIGPIPE) // or the program would end with the reader of its log
	cfg, err := parseFlags(args, env, stdout)
	if err != nil {
		return err
	}
	if cfg.version {
		_, err := fmt.Fprintln(stdout, command.Version())
		return err
	}
	var odd operate.Notes
	logger := log.Logger(cfg.logLevel)
	if cfg.checkOnly {
		logger = slog.New(&odd)
	}
	slog.SetDefault(logger) // for other managers, and what else logs by itself
	warnOfVariables(logger, env)
	site, err := newSite(ctx, cfg, env, logger)
	if err != nil {
		return err
	}
	site.Metrics.LogLines(func() float64 { return float64(log.Lost()) })
	if cfg.checkOnly {
		return site.Check(&odd, stdout)
	}
	return site.Run(ctx)
}

// warnOfVariables says which variables are none, if any.
func warnOfVariables(log *slog.Logger, env map[string]string) {
	if unknown := command.Unknown(new(config).flagSet(env), env); len(unknown) > 0 {
		log.Warn("there are no such variables, so they change nothing",
			"names", strings.Join(unknown, ", "))
	}
}

//go:embed templates
var templates embed.FS

// newSite puts the website together. If its keys are in a file, it is watched until ctx ends.
func newSite(ctx context.Context, cfg *config, env map[string]string, log *slog.Logger) (
	*operate.Site[session], error) {
	style, _ := templates.ReadFile("templates/style.css") // the operator's page does without
	site := &operate.Site[session]{
		Options: cfg.options(), KeyFile: cfg.keyFile,
		Server: server.Config{
			Addr: cfg.addr, Origins: cfg.origins, Secure: cfg.secure(), Log: log,
			AdminAddr: cfg.adminAddr, Style: string(style), ShutdownDelay: cfg.shutdownDelay,
		},
	}
	if cfg.tlsCert != "" {
		site.Server.Certificate = &server.Certificate{File: cfg.tlsCert, KeyFile: cfg.tlsKey}
	}
	if err := site.Load(ctx, env); err != nil {
		return nil, err
	}
	pages, err := web.New(site.Keys, site.Options, web.Config{
		Origins: cfg.origins, Files: templates, Assets: assets,
		Funcs: template.FuncMap{
			"why": report.Site{KeysEnd: site.KeysEnd}.Why, "sent": report.Sent[session],
		},
		Log: log, Record: site.Metrics, KeysEnd: site.KeysEnd, Draining: site.Draining,
	})
	if err != nil {
		return nil, command.OptionsError(err)
	}
	router := mux.NewRouter()
	routes(router, pages)
	site.Server.Handler, site.Cookie = pages.Handler(router), pages.Sessions.CookieName()
	return site, nil
}

// config is what the flags say.
type config struct {
	addr, adminAddr string
	shutdownDelay   time.Duration
	keyFile         string
	encrypt         bool
	tlsCert, tlsKey string
	origins         web.Origins
	cookie          string // its name, without the prefix
	idle, lifetime  time.Duration
	persist         bool
	bind            time.Duration // for which a ticket of device binding is good
	version         bool
	checkOnly       bool // say what would run, and end
	logFormat       string
	logLevel        slog.Level
}

// defaults are those of the flags that say something about sessions, here and for inspect.
var defaults = config{
	cookie: "session", idle: 336 * time.Hour, lifetime: 2160 * time.Hour, encrypt: true,
	persist: true,
}

// minBind is the shortest -bind. Browsers renew a ticket in its last two
// minutes, and may sign six times in nine minutes only, so it is for trying out.
const minBind = 10 * time.Second

// secure reports whether visitors come over HTTPS.
func (cfg *config) secure() bool { return cfg.tlsCert != "" || cfg.origins.Secure() }

// flagSet binds the flags to cfg.
func (cfg *config) flagSet(env map[string]string) *flag.FlagSet {
	fs := flag.NewFlagSet("cookiesession", flag.ContinueOnError)
	addr := "localhost:8080"
	if port := env["PORT"]; port != "" {
		addr = ":" + port
	}
	fs.StringVar(&cfg.addr, "addr", addr, "listen on `host:port`; by default :$PORT if PORT is set")
	fs.StringVar(&cfg.keyFile, "key-file", "", "take the keys from this `file`")
	fs.BoolVar(&cfg.encrypt, "encrypt", defaults.encrypt,
		"encrypt the session; if false, visitors can read it")
	fs.Var(&cfg.origins, "origin",
		"`address` of the site, such as https://app.example.com; repeat it, or use commas")
	fs.StringVar(&cfg.cookie, "cookie-name", defaults.cookie, "`name` of the session cookie")
	fs.StringVar(&cfg.tlsCert, "tls-cert", "",
		"serve HTTPS with the certificate chain in this PEM `file`")
	fs.StringVar(&cfg.tlsKey, "tls-key", "", "private key of the certificate, a PEM `file`")
	fs.DurationVar(&cfg.idle, "idle", defaults.idle,
		"end a session this long after its cookie was last written")
	fs.DurationVar(&cfg.lifetime, "lifetime", defaults.lifetime,
		"end a session this long after it began")
	fs.DurationVar(&cfg.bind, "bind", 0, "bind sessions to the browser's device, with tickets "+
		"that are valid for this long; needs HTTPS")
	fs.BoolVar(&cfg.persist, "persist", defaults.persist,
		"keep the cookie when the browser is closed")
	fs.StringVar(&cfg.adminAddr, "admin-addr", "",
		"serve metrics, health and, on loopback, profiles on this `host:port`")
	fs.DurationVar(&cfg.shutdownDelay, "shutdown-delay", 0,
		"after SIGTERM, go on for this long while /healthz answers 503")
	fs.BoolVar(&cfg.version, "version", false, "print the version and end")
	fs.BoolVar(&cfg.checkOnly, "check", false,
		"say what would run, and what is odd about it, and end")
	fs.StringVar(&cfg.logFormat, "log-format", "text", "log in this `format`: text or json")
	fs.TextVar(&cfg.logLevel, "log-level", slog.LevelInfo,
		"log from this `level` on: debug, info, warn or error")
	return fs
}

// parseFlags returns the server's configuration.
func parseFlags(args []string, env map[string]string, stdout io.Writer) (*config, error) {
	cfg := new(config)
	fs := cfg.flagSet(env)
	usage := "cookiesession [flags]           serves the site\n" +
		"       cookiesession keys COMMAND      makes keys, and edits a key file: see keys -h\n" +
		"       cookiesession inspect [flags]   shows what is known about a cookie: see inspect -h"
	if err := command.Parse(fs, args, env, stdout, usage); err != nil {
		return nil, err
	}
	if cfg.version {
		return cfg, nil
	}
	if err := cfg.check(env); err != nil {
		return nil, command.UsageError{Err: err}
	}
	return cfg, nil
}

// check finds contradictions that sessions.New doesn't know of.
func (cfg *config) check(env map[string]string) error {
	tls := cfg.tlsCert != ""
	fraction := cfg.idle%time.Second | cfg.lifetime%time.Second | cfg.bind%time.Second
	switch {
	case !server.IsAddr(cfg.addr):
		return fmt.Errorf("-addr must be host:port, not %q", cfg.addr)
	case cfg.adminAddr != "" && !server.IsAddr(cfg.adminAddr):
		return fmt.Errorf("-admin-addr must be host:port, not %q", cfg.adminAddr)
	case cfg.adminAddr != "" && server.Clash(cfg.addr, cfg.adminAddr):
		return errors.New("-addr and -admin-addr are one address: give each a port of its own")
	case tls != (cfg.tlsKey != ""):
		return errors.New("-tls-cert and -tls-key go together: give both or none")
	case tls && len(cfg.origins) > 0 && !cfg.origins.Secure():
		return errors.New("-origin with http contradicts -tls-cert, which serves HTTPS")
	case cfg.secure() && !command.HasKeys(cfg.keyFile, env):
		return errors.New("HTTPS needs keys, or each restart and each further copy would log " +
			"everybody out: make a key file with `cookiesession keys add FILE` and give it " +
			"with -key-file")
	case fraction != 0: // which a cookie can't have
		return errors.New("-idle, -lifetime and -bind must be whole seconds")
	case cfg.idle == 0 || cfg.lifetime == 0: // which Options take for its defaults
		return errors.New("-idle and -lifetime must be at least a second")
	case cfg.bind != 0 && cfg.bind < minBind:
		return fmt.Errorf("-bind must be at least %v, and better ten minutes or more", minBind)
	case cfg.bind > 0 && cfg.bind > min(cfg.idle, cfg.lifetime):
		return errors.New("-bind must not be longer than -idle or -lifetime")
	case cfg.bind > 0 && !cfg.secure():
		return errors.New("-bind needs HTTPS, without which browsers bind nothing: " +
			"give -tls-cert, or -origin https://... where a proxy ends TLS")
	case cfg.shutdownDelay < 0:
		return errors.New("-shutdown-delay must not be negative")
	case cfg.logFormat != "text" && cfg.logFormat != "json":
		return fmt.Errorf("-log-format must be text or json, not %q", cfg.logFormat)
	}
	return nil
}
