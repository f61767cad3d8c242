// Bench measures what a session costs in a request over real sockets: it
// builds cookiesession and its peers, starts one at a time on loopback, drives
// each with the same load, checks every answer, and prints two tables: of the
// figures, and of those that are not to pass a limit. With -docs it also draws
// the charts of the documentation.
//
//	go run . [-rounds N] [-time D] [-docs FOLDER]
//
// It reads /proc, so it runs on Linux only.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Names of the servers, as the tables have them.
const (
	bare    = "bare mux"
	floor   = "floor" // the least that mux and securecookie take
	ours    = "cookiesession"
	scs     = "scs"
	gorilla = "gorilla/sessions"
)

// contestant is a server to measure.
type contestant struct {
	name   string
	peer   string // what ./peers calls it; empty for cookiesession
	colour string // in the charts: one to see on light and on dark paper
}

// contestants are measured in this order, again in each round.
var contestants = []contestant{
	{name: bare, peer: "bare", colour: "#888888"},
	{name: floor, peer: "floor", colour: "#6b9e6b"},
	{name: ours, colour: "#b8742f"},
	{name: scs, peer: "scs", colour: "#3b82c4"},
	{name: gorilla, peer: "gorilla", colour: "#9a55b0"},
}

func main() {
	log.SetFlags(log.Ltime)
	rounds := flag.Int("rounds", 15, "how often each server is measured")
	length := flag.Duration("time", time.Second, "how long each load lasts")
	docs := flag.String("docs", "", "draw the charts into this `folder`")
	flag.Parse()
	if *rounds < 1 || *length <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*rounds, *length, *docs); err != nil {
		log.Fatal(err)
	}
}

// run measures all servers, prints the tables and, unless docs is empty, draws
// the charts into that folder.
func run(rounds int, length time.Duration, docs string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		return err
	}
	all := make(results)
	for round := range rounds {
		for _, c := range contestants {
			f, err := measure(dir, c, length)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			all[c.name] = append(all[c.name], f)
			log.Printf("round %d of %d, %s: GET %.1f µs, POST %.1f µs",
				round+1, rounds, c.name, f.get.cpu, f.post.cpu)
		}
	}
	printFigures(os.Stdout, all)
	printLimits(os.Stdout, all)
	if docs == "" {
		return nil
	}
	if err := drawCPU(filepath.Join(docs, "cost-cpu.svg"), all); err != nil {
		return err
	}
	memory, err := measureMemory(dir)
	if err != nil {
		return err
	}
	return drawMemory(filepath.Join(docs, "cost-memory.svg"), memory)
}

// build builds cookiesession and the peers into dir.
func build(dir string) error {
	for name, source := range map[string]string{"cookiesession": "..", "peers": "peers"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), ".")
		cmd.Dir = source
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", name, err)
		}
	}
	return nil
}
