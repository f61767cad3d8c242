// Bench measures what a session costs in a request over real sockets: it
// builds cookiesession and its peers, starts one at a time on loopback, drives
// each with the same load, checks every answer, and prints two tables: of the
// figures, and of those that are not to pass a limit. With -docs it also draws
// the charts of the documentation. With -with it measures the program of another
// checkout in the same rounds, to tell what a change costs.
//
//	go run . [-rounds N] [-time D] [-gogc N] [-docs FOLDER] [-with FOLDER]
//
// With -library it measures the library alone, beside other libraries, each
// behind net/http's ServeMux with the same two pages and the same headers.
//
//	go run . -library [-rounds N] [-time D] [-gogc N]
//
// Servers start with Go's own GOGC, whatever the environment says, unless -gogc
// says otherwise. It reads /proc, so it runs on Linux only.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// Names of the servers, as the tables have them.
const (
	bare     = "bare mux"
	floor    = "floor" // the least that a router and securecookie take
	ours     = "cookiesession"
	other    = "the other one" // the cookiesession of another checkout
	handler  = "Handler"       // of the library
	explicit = "Load and Save" // of the library, without Handler
	scs      = "scs"
	gorilla  = "gorilla/sessions"
)

// contestant is a server to measure.
type contestant struct {
	name    string
	program string   // one of those that build makes
	args    []string // before the address
	colour  string   // in the charts: one to see on light and on dark paper
}

// contestants are measured in this order, again in each round.
var contestants = []contestant{
	{name: bare, program: "peers", args: []string{"bare"}, colour: "#888888"},
	{name: floor, program: "peers", args: []string{"floor"}, colour: "#6b9e6b"},
	{name: ours, program: "cookiesession", args: []string{"-addr"}, colour: "#b8742f"},
	{name: scs, program: "peers", args: []string{"scs"}, colour: "#3b82c4"},
	{name: gorilla, program: "peers", args: []string{"gorilla"}, colour: "#9a55b0"},
}

// libraries are the contestants of -library.
var libraries = []contestant{
	{name: floor, program: "peers", args: []string{"-library", "floor"}},
	{name: explicit, program: "peers", args: []string{"-library", "explicit"}},
	{name: handler, program: "peers", args: []string{"-library", "handler"}},
	{name: scs, program: "peers", args: []string{"-library", "scs"}},
	{name: gorilla, program: "peers", args: []string{"-library", "gorilla"}},
}

// options are what the command line says.
type options struct {
	rounds     int
	length     time.Duration
	gogc       string
	docs, with string // folders
	library    bool
}

func main() {
	log.SetFlags(log.Ltime)
	var o options
	flag.IntVar(&o.rounds, "rounds", 9, "how often each server is measured")
	flag.DurationVar(&o.length, "time", time.Second, "how long each load lasts")
	flag.StringVar(&o.gogc, "gogc", "", "start all servers with this `GOGC`")
	flag.StringVar(&o.docs, "docs", "", "draw the charts into this `folder`")
	flag.StringVar(&o.with, "with", "", "measure the checkout in this `folder` as well")
	flag.BoolVar(&o.library, "library", false, "measure the library beside other libraries")
	flag.Parse()
	programOnly := o.docs != "" || o.with != ""
	if o.rounds < 1 || o.length <= 0 || flag.NArg() > 0 || o.library && programOnly {
		flag.Usage()
		os.Exit(2)
	}
	os.Unsetenv("GOGC")
	if err := run(o); err != nil {
		log.Fatal(err)
	}
}

// run measures all servers, prints the tables and, if there is a folder for them,
// draws the charts.
func run(o options) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(dir, o); err != nil {
		return err
	}
	if o.gogc != "" {
		os.Setenv("GOGC", o.gogc) // for the servers
	}
	if o.library {
		all, err := measureAll(dir, libraries, o)
		if err == nil {
			printLibraries(os.Stdout, all)
		}
		return err
	}
	servers := contestants
	if o.with != "" {
		at := slices.IndexFunc(servers, func(c contestant) bool { return c.name == ours })
		servers = slices.Insert(slices.Clone(servers), at+1,
			contestant{name: other, program: "other", args: []string{"-addr"}})
	}
	all, err := measureAll(dir, servers, o)
	if err != nil {
		return err
	}
	printFigures(os.Stdout, all, servers, bare)
	printLimits(os.Stdout, all, ours)
	if o.with != "" {
		printRatios(os.Stdout, all, []string{ours, other})
	}
	if o.docs == "" {
		return nil
	}
	return draw(dir, o.docs, all)
}

// measureAll measures each of the servers in each round.
func measureAll(dir string, servers []contestant, o options) (results, error) {
	all := make(results)
	for round := range o.rounds {
		for _, c := range servers {
			f, err := measure(dir, c, o.length)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			all[c.name] = append(all[c.name], f)
			log.Printf("round %d of %d, %s: GET %.1f µs, POST %.1f µs",
				round+1, o.rounds, c.name, f.get.cpu, f.post.cpu)
		}
	}
	return all, nil
}

// draw draws the charts into the folder docs.
func draw(dir, docs string, all results) error {
	if err := drawCPU(filepath.Join(docs, "cost-cpu.svg"), all); err != nil {
		return err
	}
	memory, err := measureMemory(dir)
	if err != nil {
		return err
	}
	return drawMemory(filepath.Join(docs, "cost-memory.svg"), memory)
}

// build builds the programs that are measured into dir.
func build(dir string, o options) error {
	sources := map[string]string{"peers": "peers"}
	if !o.library {
		sources["cookiesession"] = ".."
	}
	if o.with != "" {
		sources["other"] = o.with
	}
	for name, source := range sources {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), ".")
		cmd.Dir = source
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", name, err)
		}
	}
	return nil
}
