package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cookiesession/internal/command"
	"cookiesession/internal/testkit"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// asProgram has the tests' binary run as the program does.
const asProgram = "RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// environ is where settings come from that are no flags.
type environ map[string]string

var withKeyA = environ{"COOKIESESSION_KEYS": testkit.KeyA}

// startRun has the program serve in this process.
func startRun(t testing.TB, env environ, args ...string) *testkit.Server {
	t.Helper()
	args = append([]string{"-addr", "localhost:0"}, args...)
	return testkit.Serve(t, func(ctx context.Context, log io.Writer) error {
		return run(ctx, args, env, strings.NewReader(""), io.Discard, log)
	})
}

// runNow runs what is not to serve, and returns what it prints.
func runNow(t testing.TB, env environ, stdin string, args ...string) (string, error) {
	t.Helper()
	ended, end := context.WithCancel(t.Context())
	end() // or a server would run if it could
	var out bytes.Buffer
	err := run(ended, args, env, strings.NewReader(stdin), &out, io.Discard)
	return out.String(), err
}

func TestFlags(t *testing.T) {
	base := config{
		addr: "localhost:8080", encrypt: true, cookie: "session", idle: 336 * time.Hour,
		lifetime: 2160 * time.Hour, persist: true, logFormat: "text",
	}
	for _, tt := range []struct {
		args string
		env  environ
		want func(c *config)
	}{
		{want: func(*config) {}},
		{env: environ{"PORT": "9000"}, want: func(c *config) { c.addr = ":9000" }},
		{env: environ{"PORT": ""}, want: func(*config) {}}, // it isn't the program's own
		{
			env:  environ{"PORT": "9000", "COOKIESESSION_ADDR": ":1"},
			want: func(c *config) { c.addr = ":1" },
		},
		{
			args: "-addr :1 -idle 1h -lifetime 9600h -encrypt=false -persist=false -check " +
				"-cookie-name shop -log-format json -log-level warn",
			want: func(c *config) {
				c.addr, c.idle, c.lifetime = ":1", time.Hour, 9600*time.Hour
				c.encrypt, c.persist, c.checkOnly = false, false, true
				c.cookie, c.logFormat, c.logLevel = "shop", "json", 4
			},
		},
		{
			args: "-tls-cert c -tls-key k -bind 10m -admin-addr :3 -key-file f " +
				"-shutdown-delay 5s -origin https://a.example -origin https://b.example",
			env: environ{"COOKIESESSION_ORIGIN": "https://d.example"},
			want: func(c *config) {
				c.tlsCert, c.tlsKey, c.bind = "c", "k", 10*time.Minute
				c.shutdownDelay = 5 * time.Second
				c.adminAddr, c.keyFile = ":3", "f"
				c.origins = web.Origins{"https://a.example", "https://b.example"}
			},
		},
		{
			args: "-bind 10s -idle 10s -lifetime 10s -origin https://a.example -key-file f " +
				"-addr 127.0.0.1:80 -admin-addr [::1]:80",
			want: func(c *config) {
				c.addr, c.adminAddr = "127.0.0.1:80", "[::1]:80"
				c.bind, c.idle, c.lifetime = minBind, minBind, minBind
				c.origins, c.keyFile = web.Origins{"https://a.example"}, "f"
			},
		},
	} {
		want := base
		tt.want(&want)
		got, err := parseFlags(strings.Fields(tt.args), tt.env, io.Discard)
		if err != nil || !reflect.DeepEqual(got, &want) {
			t.Errorf("%q %v: got %+v and %v, want %+v", tt.args, tt.env, got, err, want)
		}
	}
}

// A wrong use is said in one line. The library's words for it become those of the flags.
func TestContradictions(t *testing.T) {
	for args, want := range map[string]string{
		"-nonsense":   "flag provided but not defined: -nonsense: see cookiesession -h",
		"-tls-cert c": "-tls-cert and -tls-key go together: give both or none",
		"-tls-key k":  "-tls-cert and -tls-key go together: give both or none",
		"-tls-cert c -tls-key k -origin http://a.example": "" +
			"-origin with http contradicts ",
		"-idle 0":                             "-idle and -lifetime must be at least a second",
		"-lifetime 0":                         "-idle and -lifetime must be at least a second",
		"-bind 9s -origin https://a.example":  "-bind must be at least 10s, and better ",
		"-bind -1h -origin https://a.example": "-bind must be at least 10s, and better ",
		"-bind 10m":                           "-bind needs HTTPS, without which browsers bind ",
		"-bind 10m -origin http://a.example":  "-bind needs HTTPS, without which browsers bind ",
		"-shutdown-delay -1s":                 "-shutdown-delay must not be negative",
		"-log-format xml":                     `-log-format must be text or json, not "xml"`,
		"-idle 9601h":                         "-idle must be between a second and 400 days",
		"-idle 1500ms":                        "-idle, -lifetime and -bind must be whole seconds",
		"-lifetime 1500ms":                    "-idle, -lifetime and -bind must be whole seconds",
		"-bind 10500ms":                       "-idle, -lifetime and -bind must be whole seconds",
		"-admin-addr 127.0.0.1:8080":          "-addr and -admin-addr are one address: ",
		"-addr :http -admin-addr [::1]:80":    "-addr and -admin-addr are one address: ",
		"-addr 0.0.0.0:80 -admin-addr [::1]:80": "" +
			"-addr and -admin-addr are one address: ",
		"-addr [::1]:80 -admin-addr [::]:80": "-addr and -admin-addr are one address: ",
		"-origin app.example.com":            `invalid value "app.example.com" for flag -origin`,
		"-bind 1h -idle 30m -origin https://a.example": "" +
			"-bind must not be longer than -idle or ",
		"-log-level loud":    `invalid value "loud" for flag -log-level: `,
		"-key-file /nowhere": "-key-file and COOKIESESSION_KEYS are both given: ",
		"-addr :none":        `-addr must be host:port, not ":none"`,
		"-addr localhost":    `-addr must be host:port, not "localhost"`,
		"-addr localhost:":   `-addr must be host:port, not "localhost:"`,
		"-admin-addr :70000": `-admin-addr must be host:port, not ":70000"`,
		"-cookie-name=":      "-cookie-name is empty: give it a value, or leave it out",
	} {
		_, err := runNow(t, withKeyA, "", strings.Fields(args)...)
		var usage command.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
		_, again := runNow(t, withKeyA, "", append(strings.Fields(args), "-check")...)
		if fmt.Sprint(again) != err.Error() {
			t.Errorf("%s: got %v with -check, want %v", args, again, err)
		}
	}
}

// With HTTPS, a key of each process would log people out. No flag and no variable that is
// empty counts as not given.
func TestNoKeys(t *testing.T) {
	const needs, empty = "HTTPS needs keys, or each restart ", " is empty: give it a value, or "
	for _, tt := range []struct {
		args string
		env  environ
		says string
	}{
		{args: "-origin https://a.example", says: needs},
		{args: "-tls-cert c -tls-key k", says: needs},
		{env: environ{"COOKIESESSION_ORIGIN": "https://a.example"}, says: needs},
		{env: environ{"COOKIESESSION_KEYS": ""}, says: "COOKIESESSION_KEYS" + empty},
		{env: environ{"COOKIESESSION_KEY_FILE": ""}, says: "COOKIESESSION_KEY_FILE" + empty},
		{env: environ{"COOKIESESSION_ORIGIN": ""}, says: "COOKIESESSION_ORIGIN" + empty},
		{args: "-key-file=", says: "-key-file" + empty},
		{args: "-origin=", says: `invalid value "" for flag -origin: want an origin such as `},
	} {
		_, err := runNow(t, tt.env, "", strings.Fields(tt.args)...)
		var usage command.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), tt.says) {
			t.Errorf("%s %v: got %v, want %s", tt.args, tt.env, err, tt.says)
		}
	}
}

// Wherever people put a key, nothing repeats it, and no file is called like it.
func TestKeyInTheWrongPlace(t *testing.T) {
	const key = testkit.KeyB
	type input struct {
		args  []string
		env   environ
		stdin string
	}
	all := []input{
		{args: []string{key}}, {args: []string{"-" + key}}, {args: []string{"--" + key + "=x"}},
		{args: []string{"keys"}, env: environ{"PORT": key}}, {env: environ{"PORT": key}},
		{env: environ{"COOKIESESSION_KEY": key}}, {env: environ{"COOKIESESSION_" + key: "x"}},
		{env: environ{"COOKIESESSION_KEYS": key[1:]}},
		{env: environ{"COOKIESESSION_KEYS": key + key}},
		{args: []string{"inspect"}, stdin: key},
		{args: []string{"inspect"}, stdin: "session=" + key},
	}
	for _, words := range []string{
		"keys", "keys new", "keys list", "keys add", "keys promote", "keys drop", "keys replace",
		"keys drop ring", "keys -h", "inspect", "inspect -key-file", "inspect -cookie-name",
		"inspect -idle", "inspect -lifetime",
	} {
		for _, arg := range []string{key, strings.ToUpper(key), "-" + key, "./" + key + ".txt"} {
			all = append(all, input{args: append(strings.Fields(words), arg)})
			all = append(all, input{args: append(strings.Fields(words), arg, arg)})
		}
	}
	new(config).flagSet(nil).VisitAll(func(f *flag.Flag) {
		variable := "COOKIESESSION_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		for _, value := range []string{
			key, strings.ToUpper(key), key[:48], "https://" + key[:50] + ".example",
			"localhost:" + key, key + ":8080", key + "/x",
		} {
			all = append(all, input{args: []string{"-" + f.Name, value}},
				input{args: []string{"-" + f.Name + "=" + value}},
				input{env: environ{variable: value}})
		}
	})
	t.Chdir(t.TempDir())
	testkit.WriteFile(t, "ring", testkit.KeyA)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, in := range all {
		args := in.args
		if len(args) == 0 || args[0][0] == '-' {
			args = append([]string{"-addr", "localhost:0"}, args...)
		}
		var said bytes.Buffer
		err := run(ended, args, in.env, strings.NewReader(in.stdin), &said, &said)
		fmt.Fprintln(command.Guard(&said), err) // as main does
		if strings.Contains(strings.ToLower(said.String()), key[1:48]) {
			t.Errorf("%q %v: got the key in %s", in.args, in.env, &said)
		}
	}
	for _, tt := range []input{
		{args: []string{"-cookie-name", key}}, {args: []string{"-origin", "http://" + key[:50]}},
	} {
		_, err := runNow(t, nil, "", tt.args...)
		got, want := fmt.Sprint(err), tt.args[0]+" looks like a key, which has no place there"
		if got != want {
			t.Errorf("%q: got %s", tt.args, got)
		}
	}
	if files, err := os.ReadDir("."); len(files) != 2 || err != nil { // the lock as well
		t.Errorf("got %v and %v, want ring and its lock", files, err)
	}
}

// A container's folders have such names. They are good ones, and not said either.
func TestFolderLikeAKey(t *testing.T) {
	folder := filepath.Join(t.TempDir(), testkit.KeyC)
	ring := filepath.Join(folder, "ring")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := runNow(t, nil, "", "keys", "add", ring); err != nil {
		t.Fatal(out, err)
	}
	p := startRun(t, nil, "-key-file", ring, "-admin-addr", "localhost:0", "-log-level", "debug")
	all, err := runNow(t, nil, "", "-check", "-key-file", ring)
	if err != nil || !strings.Contains(filepath.ToSlash(all), "(a key)/ring") {
		t.Errorf("got %s and %v", all, err)
	}
	for _, url := range []string{
		p.URL + "/", p.URL + "/session", p.AdminURL() + "/", p.AdminURL() + "/metrics",
	} {
		_, page := testkit.Send(t, "GET", url, "", http.Header{})
		all += page
	}
	if all += p.Log.String(); strings.Contains(all, testkit.KeyC) {
		t.Errorf("got the key in %s", all)
	}
}

// -check says what would run, and what is odd about it. Its errors are those of the start.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	ring := filepath.Join(dir, "ring")
	testkit.WriteFile(t, ring, testkit.KeyA+"\n"+testkit.KeyB)
	cert, certKey, _ := testkit.NewCertificate(t)
	busy := startRun(t, nil) // whose port the check doesn't need
	_, addr, _ := strings.Cut(busy.URL, "://")
	env := environ{
		"COOKIESESSION_IDEL": "1h", "COOKIESESSION_KEY_FILE": ring, "COOKIESESSION_CHECK": "true",
	}
	out, err := runNow(t, env, "",
		"-check", "-addr", addr, "-tls-cert", cert, "-tls-key", certKey, "-bind", "1m",
		"-origin", "https://localhost,https://a.example", "-lifetime", "90m", "-encrypt=false")
	want := `^version   cookiesession .*, commit .*
listens   ` + addr + `, HTTPS with a certificate for \[localhost\] \[127.0.0.1 ::1\] until 20.*Z
operator  nowhere
origins   https://localhost,https://a.example
cookie    __Host-Http-session, signed
keys of   ` + regexp.QuoteMeta(ring) + `
key       5cpkia \(signed: eyj7fr\) seals
key       [a-z2-7]{6} \(signed: [a-z2-7]{6}\) verifies
idle      14 days
lifetime  1h30m0s
persist   true
bind      tickets for 1m0s
shutdown  at once
odd       there are no such variables, .*CHECK, .*IDEL \(did you mean COOKIESESSION_IDLE\?\)\)
odd       the certificate is not for https://a.example
odd       -lifetime is shorter than -idle, .*
odd       -bind is below ten minutes: .*
odd       https://localhost is not where this listens: .*
odd       there are several origins: each host has sessions of its own
$`
	if !regexp.MustCompile(want).MatchString(out) || err != nil {
		t.Errorf("got %v and %s, want %s", err, out, want)
	}
	for args, says := range map[string]string{
		"":                         "\nodd       no key is configured: ",
		"-idle 1h":                 "\nkeys of   this process, with which they end\n",
		"-addr :8080":              "\nodd       this serves beyond loopback without HTTPS, ",
		"-origin http://a.example": "\nodd       this serves beyond loopback without HTTPS, ",
		"-encrypt=false":           "\ncookie    session, signed\n",
		"-persist=false":           "\nbind      off\n",
		"-admin-addr 0.0.0.0:9090": "\nodd       -admin-addr is beyond loopback: ",
		"-shutdown-delay 61s":      "\nodd       -shutdown-delay is longer than a minute: ",
		"-shutdown-delay 3s":       "\nshutdown  after serving on for 3s\n",
		"-origin http://localhost": "\nodd       http://localhost is not where this listens: ",
		"-key-file " + ring + " -origin https://a.example": "" +
			"\nodd       -shutdown-delay is 0: ",
		"-tls-cert " + cert + " -tls-key " + certKey + " -key-file " + ring: "" +
			"\nodd       there is no -origin: the site answers under every name\n",
	} {
		out, err := runNow(t, nil, "", append(strings.Fields(args), "-check")...)
		if err != nil || !strings.Contains(out, says) {
			t.Errorf("%s: got %v and %s, want %s", args, err, out, says)
		}
	}
	for _, args := range []string{
		"-admin-addr localhost:9090 -idle 1h -lifetime 1h -shutdown-delay 1m",
		"-addr 127.0.0.1:http -origin http://localhost,http://LOCALHOST:80",
		"-origin https://localhost -shutdown-delay 3s -bind 10m", // of a proxy
		"-origin https://a.example,https://a.example:8443 -shutdown-delay 3s",
	} {
		out, err := runNow(t, withKeyA, "", append(strings.Fields(args), "-check")...)
		if err != nil || !strings.HasSuffix(out, "\nodd       nothing\n") ||
			!strings.Contains(out, "\nkeys of   the environment\n") {
			t.Errorf("%s: got %v and %s, want nothing odd", args, err, out)
		}
	}
	bad := filepath.Join(dir, "bad")
	testkit.WriteFile(t, bad, "x")
	for _, args := range [][]string{
		{"-key-file", bad}, {"-key-file", filepath.Join(dir, "gone")},
		{"-key-file", ring, "-tls-cert", bad, "-tls-key", certKey},
		{"-addr", "nosuch.invalid:0"}, {"-addr", "256.1.1.1:0"}, {"-addr", "192.0.2.1:0"},
		{"-addr", "localhost:0", "-admin-addr", "192.0.2.1:0"},
	} {
		out, err := runNow(t, nil, "", append(args, "-check")...)
		_, want := runNow(t, nil, "", args...)
		var usage command.UsageError
		if out != "" || want == nil || fmt.Sprint(err) != want.Error() || errors.As(err, &usage) {
			t.Errorf("%q: got %s and %v, want %v", args, out, err, want)
		}
	}
}

// What only asks for something is no variable, and inspect warns of the same ones.
func TestVariables(t *testing.T) {
	env := environ{
		"COOKIESESSION_VERSION": "true", "COOKIESESSION_CHECK": "true", "COOKIESESSION_KEYFIL": "x",
		"COOKIESESSION_ADDR": "localhost:0",
	}
	const names = "names=\"COOKIESESSION_CHECK, COOKIESESSION_KEYFIL, COOKIESESSION_VERSION\"\n"
	ended, end := context.WithCancel(t.Context())
	end()
	for _, args := range [][]string{nil, {"inspect"}} {
		var log testkit.Buffer
		run(ended, args, env, strings.NewReader(""), io.Discard, &log)
		if !log.Has("level=WARN msg=\"there are no such ") || !log.Has(names) ||
			log.Has("listening") != (args == nil) {
			t.Errorf("%q: got %s", args, &log)
		}
	}
}

// What the flags say of sessions is what the sessions are given.
func TestOptions(t *testing.T) {
	day := 24 * time.Hour
	for args, want := range map[string]sessions.Options[session]{
		"": {
			Name: "session", Insecure: true,
			Limits: sessions.Limits{Idle: 14 * day, Lifetime: 90 * day},
		},
		"-origin https://a.example -encrypt=false -persist=false -cookie-name shop -bind 10m": {
			Name: "shop", SignOnly: true, Bind: 10 * time.Minute,
			Limits: sessions.Limits{Idle: 14 * day, Lifetime: 90 * day, BrowserSession: true},
		},
		"-tls-cert c -tls-key k -idle 1h -lifetime 2h": {
			Name: "session", Limits: sessions.Limits{Idle: time.Hour, Lifetime: 2 * time.Hour},
		},
	} {
		cfg, err := parseFlags(strings.Fields(args), withKeyA, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want.BindPath = "/session"
		got := cfg.options()
		// What no flag says is the adopter's.
		got.Accept, got.LimitsFor, got.Adopt, got.Forget, got.Assets = nil, nil, nil, nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", args, got, want)
		}
	}
	if got := defaults.options(); got.SignOnly || got.Name != "session" {
		t.Errorf("got %+v for inspect, want what the server has", got)
	}
}

// The help has all flags, and a line on each command.
func TestHelp(t *testing.T) {
	help, err := runNow(t, nil, "", "-h")
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"cookiesession [flags]  ", "cookiesession keys COMMAND  ",
		"cookiesession inspect [flags]  ", "can also be given as COOKIESESSION_SOME_FLAG",
	}
	new(config).flagSet(nil).VisitAll(func(f *flag.Flag) {
		want = append(want, "\n  -"+f.Name)
	})
	for _, w := range want {
		if !strings.Contains(help, w) {
			t.Errorf("got no %q in %s", w, help)
		}
	}
	for _, args := range [][]string{{"keys", "-h"}, {"inspect", "-h"}} {
		if out, err := runNow(t, nil, "", args...); err != nil || out == "" {
			t.Errorf("%q: got %q and %v", args, out, err)
		}
	}
}

// Sessions are a host's own, which is said where there are several.
func TestSeveralOrigins(t *testing.T) {
	for origins, says := range map[string]bool{
		"https://a.example": false, "https://a.example,https://b.example": true,
	} {
		p := testkit.Serve(t, func(ctx context.Context, log io.Writer) error {
			args := []string{"-addr", "localhost:0", "-origin", origins}
			env := environ{"COOKIESESSION_KEYS": testkit.KeyA}
			return run(ctx, args, env, nil, io.Discard, log)
		})
		const line = `msg=listening url=https://a.example addr=`
		_, rest, _ := strings.Cut(p.Log.String(), line)
		rest, _, _ = strings.Cut(rest, "\n")
		if strings.HasSuffix(rest, ` note="each host has sessions of its own"`) != says {
			t.Errorf("%s: got %s", origins, p.Log)
		}
	}
}

// The operator has a listener. While the server is about to end, the site says so.
func TestAdminAndShutdown(t *testing.T) {
	cert, key, _ := testkit.NewCertificate(t)
	p := startRun(t, withKeyA, "-admin-addr", "localhost:0", "-tls-cert", cert, "-tls-key", key)
	style, _ := templates.ReadFile("templates/style.css") // a site may do without
	for path, want := range map[string]string{
		"/":        string(style),
		"/metrics": "\ncookiesession_tls_certificate_not_after_timestamp_seconds ",
	} {
		header := http.Header{"Accept": {"text/html"}}
		_, page := testkit.Send(t, "GET", p.AdminURL()+path, "", header)
		if !strings.Contains(page, want) || strings.Contains(page, `class="bad"`) {
			t.Errorf("%s: got no %q, or something bad, in %s", path, want, page)
		}
	}
	p = startRun(t, withKeyA, "-shutdown-delay", "300ms", "-addr", ":0",
		"-origin", "https://a.example") // so a proxy ends TLS, and there is no warning
	if p.Log.Has("WARN") || !p.Log.Has("msg=listening url=https://a.example addr=") {
		t.Errorf("got the log %s", p.Log)
	}
	ended := make(chan error)
	go func() { ended <- p.End() }()
	testkit.AwaitTrue(t, "a site that says it ends", func() bool {
		res, text := testkit.Send(t, "GET", p.URL+"/healthz", "", http.Header{})
		return res.StatusCode == 503 && text == "shutting down\n"
	})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The log has the format and the level that are asked for, up to the last line, which says
// why the program has failed, also where the flags can't be read. What commands say is text.
func TestLog(t *testing.T) {
	const clock = `\d{4}-\d\d-\d\dT[^ "]+`
	inJSON := func(line string) string { return `^{"time":"` + clock + `",` + line + `}\n$` }
	json := environ{"COOKIESESSION_LOG_FORMAT": "json"}
	for _, tt := range []struct {
		args string
		env  environ
		want string
	}{
		{args: "-log-level warn", want: `^time=` + clock + ` level=WARN msg="no key .+"\n$`},
		{
			args: "-log-level warn", env: json,
			want: inJSON(`"level":"WARN","msg":"no key [^}]+`),
		},
		{args: "-nonsense", want: `^cookiesession: flag provided but .+\n$`},
		{
			args: "-nonsense -log-format json",
			want: inJSON(`"level":"ERROR","msg":"the program has failed","err":"flag [^}]+`),
		},
		{args: "-idle 0 --log-format=json", want: inJSON(`"level":"ERROR".+"err":"-idle [^}]+`)},
		{args: "-key-file /none", env: json, want: inJSON(`"level":"ERROR".+"err":".+`)},
		{args: "-nonsense -log-format text", env: json, want: `^cookiesession: flag .+\n$`},
		{args: "-x=-log-format json", want: `^cookiesession: flag .+\n$`},
		{
			env:  environ{"COOKIESESSION_LOG_LEVEL": "x", "COOKIESESSION_IDLE": "y"},
			want: `^cookiesession: invalid .+; invalid .+\n$`,
		},
		{args: "keys list /none -log-format json", env: json, want: `^cookiesession: .+\n$`},
	} {
		var log testkit.Buffer
		ended, end := context.WithCancel(t.Context())
		end()
		args := append(strings.Fields(tt.args), "-addr", "localhost:0")
		if strings.HasPrefix(tt.args, "keys") {
			args = args[:3]
		}
		run(ended, args, tt.env, nil, io.Discard, &log)
		if !regexp.MustCompile(tt.want).MatchString(log.String()) {
			t.Errorf("%s %v: got %s, want %s", tt.args, tt.env, &log, tt.want)
		}
	}
}

// At the start the log says what runs.
func TestStarting(t *testing.T) {
	k, err := sessions.ParseKey(testkit.KeyA)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, signed := k.IDs()
	keys := fmt.Sprintf(`keys="[%s (signed: %s)]" version="cookiesession `, encrypted, signed)
	for args, want := range map[string][]string{
		"": {
			"seals=" + encrypted + " " + keys, " origins=any cookie=session encrypt=true " +
				"idle=336h0m0s lifetime=2160h0m0s persist=true bind=0s\n",
		},
		"-origin https://a.example,https://b.example -encrypt=false -bind 10m": {
			"seals=" + signed + " " + keys, " origins=https://a.example,https://b.example ",
			" encrypt=false ", " bind=10m0s\n",
		},
	} {
		p := startRun(t, withKeyA, strings.Fields(args)...)
		slog.Warn("another manager's")
		for _, w := range append(want, "level=INFO msg=starting ", `msg="another manager's"`) {
			testkit.AwaitTrue(t, w, func() bool { return p.Log.Has(w) })
		}
	}
}

// A second signal ends the program at once, whatever the first one has it wait for.
func TestSecondSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send on Windows")
	}
	cmd := exec.Command(os.Args[0], "-addr", "localhost:0", "-shutdown-delay", "1m")
	p := testkit.Start(t, testkit.Environ(cmd, environ{asProgram: "yes"}))
	began := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	testkit.AwaitTrue(t, "the end to begin", func() bool {
		return p.Log.Has(`msg="shutting down" delay=1m0s why=terminated`)
	})
	cmd.Process.Signal(syscall.SIGTERM)
	err := p.Wait()
	if took := time.Since(began); took > 30*time.Second || err == nil || p.Log.Has("msg=ended") {
		t.Errorf("got %v after %v: %s", err, took, p.Log)
	}
}

// The program collects garbage less often than Go does by itself, unless it is told. It
// counts requests. Its exit status says whose fault an end is.
func TestProcess(t *testing.T) {
	program := func(env environ, args ...string) *exec.Cmd {
		env[asProgram] = "yes"
		return testkit.Environ(exec.Command(os.Args[0], args...), env)
	}
	for gogc, want := range map[string]string{"": "400", "150": "150"} {
		p := testkit.Start(t, program(environ{"GOGC": gogc},
			"-addr", "localhost:0", "-admin-addr", "localhost:0"))
		testkit.Send(t, "GET", p.URL+"/nowhere", "", http.Header{})
		_, page := testkit.Send(t, "GET", p.AdminURL()+"/metrics", "", http.Header{})
		if !strings.Contains(page, "\ngo_gc_gogc_percent "+want+"\n") {
			t.Errorf("GOGC=%s: got not %s", gogc, want)
		}
		if !strings.Contains(page, `status="404"} 1`) {
			t.Errorf("got a request that was not counted: %s", page)
		}
	}
	for args, want := range map[string]int{
		"-version": 0, "-nonsense": 2, "-key-file /nowhere": 1, "inspect": 1, "-check": 0,
		"-" + testkit.KeyC: 2, "-check -key-file /" + testkit.KeyC: 1,
	} {
		cmd := program(environ{}, strings.Fields(args)...)
		out, _ := cmd.CombinedOutput()
		lines := strings.Count("\n"+string(out), "\ncookiesession: ")
		if got := cmd.ProcessState.ExitCode(); got != want || lines != min(want, 1) ||
			bytes.Contains(out, []byte(testkit.KeyC)) {
			t.Errorf("%s: got status %d and %s, want %d", args, got, out, want)
		}
	}
}
