package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// server is a contestant that runs.
type server struct {
	cmd  *exec.Cmd
	base string // of its addresses
}

// start starts a contestant that was built into dir, on a free port.
func start(dir string, c contestant) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	ln.Close()
	cmd := exec.Command(filepath.Join(dir, c.program), append(slices.Clone(c.args), addr)...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, base: "http://" + addr}
	for range 200 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return s, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return nil, errors.New("it doesn't start")
}

func (s *server) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// proc returns what /proc says about the server in one of its files.
func (s *server) proc(file string) ([]byte, error) {
	return os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
}

// cpu returns the processor time that the server has used, user and system.
func (s *server) cpu() (time.Duration, error) {
	stat, err := s.proc("stat")
	if err != nil {
		return 0, err
	}
	// The program's name, which may contain anything, stands in brackets.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100), errors.Join(err1, err2)
}

// resident returns the MiB of memory that the server has.
func (s *server) resident() (float64, error) {
	status, err := s.proc("status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib float64
	_, err = fmt.Sscan(rest, &kib)
	return kib / 1024, err
}

// signIn stores a name and returns the visitor's cookie.
func (s *server) signIn(name string) (string, error) {
	res, err := http.PostForm(s.base+"/set_name", url.Values{"name": {name}})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	return cookie, err
}

// request is what is sent again and again, and the answer to expect.
type request struct {
	vegeta.Target
	want string
}

// get returns the request of a visitor called Alice for the name.
func (s *server) get(cookie string) request {
	return request{
		Target: vegeta.Target{
			Method: http.MethodGet,
			URL:    s.base + "/get_name",
			Header: http.Header{"Cookie": {cookie}},
		},
		want: "Name: Alice\n",
	}
}

// post returns the request of a visitor who stores a name, in a new session if
// the cookie is empty.
func (s *server) post(cookie string) request {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if cookie != "" {
		header.Set("Cookie", cookie)
	}
	return request{
		Target: vegeta.Target{
			Method: http.MethodPost,
			URL:    s.base + "/set_name",
			Header: header,
			Body:   []byte("name=Bob"),
		},
		want: "Name Bob set in session\n",
	}
}

// load is what came of one load.
type load struct {
	rate     float64 // requests a second
	p50, p99 float64 // milliseconds
	cpu      float64 // microseconds of the server's processor time a request
}

// workers is how many connections the load comes in on.
const workers = 8

// atOnce is the pace of a load that makes each request as soon as it can.
var atOnce = vegeta.Rate{}

// times is the pace of a load that makes so many requests, each as soon as it can.
type times uint64

func (n times) Pace(_ time.Duration, made uint64) (wait time.Duration, stop bool) {
	return 0, made >= uint64(n)
}

func (times) Rate(time.Duration) float64 { return 0 } // nobody knows

// drive puts a load of one request on the server for as long as length, or
// until the pace ends it. It fails if any answer isn't the one to expect.
func (s *server) drive(r request, pace vegeta.Pacer, length time.Duration) (load, error) {
	attacker := vegeta.NewAttacker(
		vegeta.Workers(workers), vegeta.MaxWorkers(workers), vegeta.Connections(workers))
	var m vegeta.Metrics
	before, err := s.cpu()
	if err != nil {
		return load{}, err
	}
	for res := range attacker.Attack(vegeta.NewStaticTargeter(r.Target), pace, length, "") {
		if err == nil && (res.Code != http.StatusOK || string(res.Body) != r.want) {
			err = fmt.Errorf("%s %s: got status %d, %q %s, want %q",
				r.Method, r.URL, res.Code, res.Body, res.Error, r.want)
			attacker.Stop() // a few requests are still in flight
		}
		m.Add(res)
	}
	if err != nil {
		return load{}, err
	}
	after, err := s.cpu()
	m.Close()
	return load{
		rate: m.Throughput,
		p50:  m.Latencies.P50.Seconds() * 1e3,
		p99:  m.Latencies.P99.Seconds() * 1e3,
		cpu:  (after - before).Seconds() * 1e6 / float64(m.Requests),
	}, err
}

// figures are those of one server in one round.
type figures struct {
	get, post load
	resident  float64 // MiB, after the load
	cookie    int     // bytes of the cookie's name and value
}

// measure starts a server, has one visitor sign in, and puts the loads on it.
func measure(dir string, c contestant, length time.Duration) (f figures, err error) {
	s, err := start(dir, c)
	if err != nil {
		return f, err
	}
	defer s.stop()
	cookie, err := s.signIn("Alice")
	if err != nil {
		return f, err
	}
	if cookie != "" {
		f.cookie = len(cookie) - len("=")
	} else { // the bare server sets none, but is sent one as long as cookiesession's
		cookie = "session=" + strings.Repeat("x", 131)
	}
	if _, err = s.drive(s.get(cookie), atOnce, length/3); err != nil { // to warm up
		return f, err
	}
	if f.get, err = s.drive(s.get(cookie), atOnce, length); err != nil {
		return f, err
	}
	if f.post, err = s.drive(s.post(cookie), atOnce, length); err != nil {
		return f, err
	}
	f.resident, err = s.resident()
	return f, err
}

// memory is how a server's memory grows.
type memory struct {
	contestant
	resident []float64 // MiB, each after sessionsStep more sessions than the one before
}

const (
	sessionsStep  = 25_000
	sessionsSteps = 8
)

// measureMemory has cookiesession, and scs to compare with, begin many sessions.
func measureMemory(dir string) (all []memory, err error) {
	for _, c := range contestants {
		if c.name != ours && c.name != scs {
			continue
		}
		m, err := measureGrowth(dir, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// measureGrowth has one server begin many sessions.
func measureGrowth(dir string, c contestant) (m memory, err error) {
	s, err := start(dir, c)
	if err != nil {
		return m, err
	}
	defer s.stop()
	m.contestant = c
	for i := range sessionsSteps + 1 {
		if i > 0 {
			if _, err := s.drive(s.post(""), times(sessionsStep), 0); err != nil {
				return m, err
			}
		}
		resident, err := s.resident()
		if err != nil {
			return m, err
		}
		m.resident = append(m.resident, resident)
		log.Printf("%s: %d sessions, %.1f MiB", c.name, i*sessionsStep, resident)
	}
	return m, nil
}
