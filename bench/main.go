// Bench measures what a session costs in a request over real sockets: it
// builds cookiesession and its peers, starts one at a time on loopback, drives
// each with the same load, checks every answer, and prints a table. It also draws
// the charts of the README.
//
//	go run . [-rounds N] [-time D] [-docs FOLDER]
//
// It reads /proc, so it runs on Linux only.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const workers = 8 // connections that the load comes in on

// servers are measured in this order, again in each round. The first is what
// the others are compared with.
var servers = []string{"bare mux", "mux + securecookie", "cookiesession", "scs", "gorilla/sessions"}

func main() {
	rounds := flag.Int("rounds", 15, "how often each server is measured")
	length := flag.Duration("time", time.Second, "how long each load lasts")
	docs := flag.String("docs", "", "draw the charts into this `folder`")
	flag.Parse()
	dir, err := os.MkdirTemp("", "bench")
	check(err)
	defer os.RemoveAll(dir)
	build(dir, "..", "cookiesession")
	build(dir, "./peers", "peers")

	results := make(map[string][]figures)
	for round := range *rounds {
		for _, name := range servers {
			f := measure(dir, name, *length)
			results[name] = append(results[name], f)
			log.Printf("round %d, %s: GET %.1f µs, POST %.1f µs", round+1, name, f.get.cpu, f.post.cpu)
		}
	}
	print(results)
	if *docs != "" {
		drawCPU(filepath.Join(*docs, "cost-cpu.svg"), results)
		drawMemory(filepath.Join(*docs, "cost-memory.svg"), dir)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// build builds a program into dir.
func build(dir, source, name string) {
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), ".")
	cmd.Dir = source
	cmd.Stderr = os.Stderr
	check(cmd.Run())
}

// load is what one load has shown.
type load struct {
	rate     float64 // requests a second
	p50, p99 float64 // milliseconds
	cpu      float64 // microseconds of processor time a request, user and system
}

// figures are those of one server in one round.
type figures struct {
	get, post load
	resident  float64 // MiB, after the load
	cookie    int     // bytes of the cookie's name and value
}

// server is one that runs.
type server struct {
	cmd  *exec.Cmd
	base string
}

func start(dir, name string) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	addr := ln.Addr().String()
	ln.Close()
	cmd := exec.Command(filepath.Join(dir, "cookiesession"), "-addr", addr)
	if peer := map[string]string{"bare mux": "bare", "mux + securecookie": "floor", "gorilla/sessions": "gorilla", "scs": "scs"}[name]; peer != "" {
		cmd = exec.Command(filepath.Join(dir, "peers"), peer, addr)
	}
	check(cmd.Start())
	for range 200 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return &server{cmd, "http://" + addr}
		}
		time.Sleep(10 * time.Millisecond)
	}
	log.Fatalf("%s doesn't start", name)
	return nil
}

func (s *server) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// cpu returns the processor time that the server has used.
func (s *server) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	check(err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	check(err)
	system, err := strconv.Atoi(fields[12])
	check(err)
	return time.Duration(user+system) * (time.Second / 100)
}

// resident returns the MiB of memory that the server has.
func (s *server) resident() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	check(err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	check(err)
	return float64(kib) / 1024
}

// drive puts a load on the server until it has lasted for length, or until
// n requests were made if n is not 0.
func (s *server) drive(target vegeta.Target, want string, length time.Duration, n int) load {
	sent := 0
	targeter := func(t *vegeta.Target) error {
		if n > 0 && sent == n {
			return vegeta.ErrNoTargets
		}
		sent++
		*t = target
		return nil
	}
	attacker := vegeta.NewAttacker(vegeta.Workers(workers), vegeta.MaxWorkers(workers), vegeta.Connections(workers))
	var m vegeta.Metrics
	before := s.cpu()
	for res := range attacker.Attack(targeter, vegeta.Rate{}, length, "") {
		if res.Code == 0 && n > 0 {
			continue // past the last one
		}
		if res.Code != http.StatusOK || string(res.Body) != want {
			log.Fatalf("%s %s: got status %d, %q and %s, want %q", target.Method, target.URL, res.Code, res.Body, res.Error, want)
		}
		m.Add(res)
	}
	used := s.cpu() - before
	m.Close()
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	return load{m.Throughput, ms(m.Latencies.P50), ms(m.Latencies.P99), used.Seconds() * 1e6 / float64(m.Requests)}
}

// measure starts a server, has one visitor sign in, and puts the loads on it.
func measure(dir, name string, length time.Duration) figures {
	s := start(dir, name)
	defer s.stop()
	cookie := s.signIn("Alice")
	header := http.Header{"Cookie": {cookie}}
	if cookie == "" { // the bare server has none, but is sent one as long
		header.Set("Cookie", "session="+strings.Repeat("x", 131))
	}
	get := vegeta.Target{Method: "GET", URL: s.base + "/get_name", Header: header}
	s.drive(get, "Name: Alice\n", length/3, 0)
	var f figures
	f.get = s.drive(get, "Name: Alice\n", length, 0)
	header = header.Clone()
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	post := vegeta.Target{Method: "POST", URL: s.base + "/set_name", Header: header, Body: []byte("name=Bob")}
	f.post = s.drive(post, "Name Bob set in session\n", length, 0)
	f.resident = s.resident()
	f.cookie = max(0, len(cookie)-1)
	return f
}

// signIn stores a name and returns the visitor's cookie.
func (s *server) signIn(name string) string {
	res, err := http.PostForm(s.base+"/set_name", url.Values{"name": {name}})
	check(err)
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	return cookie
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// medianOf returns the median of one figure over a server's rounds.
func medianOf(rounds []figures, value func(figures) float64) float64 {
	var values []float64
	for _, f := range rounds {
		values = append(values, value(f))
	}
	return median(values)
}

// column is one figure of a server in a round.
type column struct {
	name   string
	format string
	value  func(f figures) float64
}

var columns = []column{
	{"GET req/s", "%.0f", func(f figures) float64 { return f.get.rate }},
	{"p50 ms", "%.2f", func(f figures) float64 { return f.get.p50 }},
	{"p99 ms", "%.2f", func(f figures) float64 { return f.get.p99 }},
	{"CPU µs", "%.1f", func(f figures) float64 { return f.get.cpu }},
	{"POST req/s", "%.0f", func(f figures) float64 { return f.post.rate }},
	{"p50 ms", "%.2f", func(f figures) float64 { return f.post.p50 }},
	{"p99 ms", "%.2f", func(f figures) float64 { return f.post.p99 }},
	{"CPU µs", "%.1f", func(f figures) float64 { return f.post.cpu }},
	{"resident MiB", "%.1f", func(f figures) float64 { return f.resident }},
	{"cookie bytes", "%.0f", func(f figures) float64 { return float64(f.cookie) }},
}

// print prints a line of medians for each server, and a line of their ratios to the
// first server's figures of the same round.
func print(results map[string][]figures) {
	fmt.Printf("%s, %s/%s, %d processors; %d rounds, medians\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(results[servers[0]]))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range columns {
		fmt.Fprint(w, c.name, "\t")
	}
	fmt.Fprintln(w)
	for _, name := range servers {
		fmt.Fprint(w, name, "\t")
		for _, c := range columns {
			fmt.Fprintf(w, c.format+"\t", medianOf(results[name], c.value))
		}
		fmt.Fprint(w, "\nratio\t")
		for _, c := range columns {
			if c.name == "cookie bytes" {
				fmt.Fprint(w, "\t")
				continue
			}
			fmt.Fprintf(w, "%.2f\t", median(ratios(results, name, c.value)))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// ratios returns a server's figure over the first server's, by round.
func ratios(results map[string][]figures, name string, value func(figures) float64) []float64 {
	var r []float64
	for i, f := range results[name] {
		r = append(r, value(f)/value(results[servers[0]][i]))
	}
	return r
}

// Colours that can be told apart on light and on dark paper.
var colours = map[string]string{"bare mux": "#888888", "mux + securecookie": "#6b9e6b", "cookiesession": "#b8742f", "scs": "#3b82c4", "gorilla/sessions": "#9a55b0"}

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 %d" font-family="sans-serif" font-size="13" fill="#777">` + "\n"

// drawCPU draws a bar for each server and method.
func drawCPU(file string, results map[string][]figures) {
	var b strings.Builder
	fmt.Fprintf(&b, svgHead, 300)
	fmt.Fprintln(&b, `<text x="10" y="20" font-weight="bold">Processor time of a request, in microseconds</text>`)
	y := 40
	for i, value := range []func(figures) float64{func(f figures) float64 { return f.get.cpu }, func(f figures) float64 { return f.post.cpu }} {
		highest := 0.0
		all := make(map[string]float64)
		for _, name := range servers {
			all[name] = medianOf(results[name], value)
			highest = max(highest, all[name])
		}
		fmt.Fprintf(&b, "<text x=\"10\" y=\"%d\">%s</text>\n", y+10, []string{"GET /get_name", "POST /set_name"}[i])
		for _, name := range servers {
			width := 300 * all[name] / highest
			fmt.Fprintf(&b, "<text x=\"240\" y=\"%d\" text-anchor=\"end\">%s</text><rect x=\"250\" y=\"%d\" width=\"%.0f\" height=\"16\" fill=\"%s\"/><text x=\"%.0f\" y=\"%d\">%.0f</text>\n", y+12, name, y, width, colours[name], 258+width, y+12, all[name])
			y += 22
		}
		y += 16
	}
	fmt.Fprintln(&b, "</svg>")
	check(os.WriteFile(file, []byte(b.String()), 0o666))
}

// drawMemory has servers begin many sessions, and draws their memory against the number.
func drawMemory(file, dir string) {
	const step, steps = 25_000, 8
	var b strings.Builder
	fmt.Fprintf(&b, svgHead, 280)
	fmt.Fprintln(&b, `<text x="10" y="20" font-weight="bold">Resident memory in MiB, against the number of sessions begun</text>`)
	lines := make(map[string][]float64)
	highest := 0.0
	for _, name := range []string{"cookiesession", "scs"} {
		s := start(dir, name)
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		post := vegeta.Target{Method: "POST", URL: s.base + "/set_name", Header: header, Body: []byte("name=Bob")}
		for i := range steps + 1 {
			if i > 0 {
				s.drive(post, "Name Bob set in session\n", time.Minute, step)
			}
			lines[name] = append(lines[name], s.resident())
			highest = max(highest, s.resident())
			log.Printf("%s: %d sessions, %.1f MiB", name, i*step, s.resident())
		}
		s.stop()
	}
	for name, values := range lines {
		var points []string
		for i, v := range values {
			points = append(points, fmt.Sprintf("%.0f,%.0f", 50+float64(i)*420/steps, 250-v/highest*200))
		}
		last := values[len(values)-1]
		fmt.Fprintf(&b, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"3\" points=\"%s\"/><text x=\"480\" y=\"%.0f\">%s: %.0f</text>\n", colours[name], strings.Join(points, " "), 254-last/highest*200, name, last)
	}
	fmt.Fprintf(&b, "<path stroke=\"#777\" d=\"M50 250H470\"/><text x=\"50\" y=\"270\">0</text><text x=\"470\" y=\"270\" text-anchor=\"end\">%d</text>\n</svg>\n", step*steps)
	check(os.WriteFile(file, []byte(b.String()), 0o666))
}
