package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// results are the figures of each server, by round.
type results map[string][]figures

// value is one of the figures.
type value func(figures) float64

func getCPU(f figures) float64   { return f.get.cpu }
func postCPU(f figures) float64  { return f.post.cpu }
func resident(f figures) float64 { return f.resident }

// median returns the median of a server's figure over the rounds.
func (all results) median(name string, of value) float64 {
	var values []float64
	for _, f := range all[name] {
		values = append(values, of(f))
	}
	return median(values)
}

// ratio returns the median of a server's figure over another server's figure of
// the same round. What slows down the whole machine for a while is in both.
func (all results) ratio(name, over string, of value) float64 {
	var ratios []float64
	for round, f := range all[name] {
		ratios = append(ratios, of(f)/of(all[over][round]))
	}
	return median(ratios)
}

// median returns the value in the middle, or the mean of the two that are there.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// columns are those of the table of figures.
var columns = []struct {
	name   string
	format string
	value  value
}{
	{name: "GET req/s", format: "%.0f", value: func(f figures) float64 { return f.get.rate }},
	{name: "p50 ms", format: "%.2f", value: func(f figures) float64 { return f.get.p50 }},
	{name: "p99 ms", format: "%.2f", value: func(f figures) float64 { return f.get.p99 }},
	{name: "CPU µs", format: "%.1f", value: getCPU},
	{name: "POST req/s", format: "%.0f", value: func(f figures) float64 { return f.post.rate }},
	{name: "p50 ms", format: "%.2f", value: func(f figures) float64 { return f.post.p50 }},
	{name: "p99 ms", format: "%.2f", value: func(f figures) float64 { return f.post.p99 }},
	{name: "CPU µs", format: "%.1f", value: postCPU},
	{name: "resident MiB", format: "%.1f", value: resident},
}

// printFigures prints a line of medians for each server, and below it a line of
// ratios to bare mux.
func printFigures(to io.Writer, all results) {
	fmt.Fprintf(to, "%s, %s/%s, %d processors; %d rounds, medians; ratios are to %s\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(all[ours]), bare)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range columns {
		fmt.Fprint(w, c.name, "\t")
	}
	fmt.Fprintln(w, "cookie bytes\t")
	for _, server := range contestants {
		fmt.Fprint(w, server.name, "\t")
		for _, c := range columns {
			fmt.Fprintf(w, c.format+"\t", all.median(server.name, c.value))
		}
		fmt.Fprintf(w, "%d\t\nratio\t", all[server.name][0].cookie)
		for _, c := range columns {
			fmt.Fprintf(w, "%.2f\t", all.ratio(server.name, bare, c.value))
		}
		fmt.Fprintln(w, "\t")
	}
	w.Flush()
}

// limits are how much of another server's figure cookiesession may take.
var limits = []struct {
	name  string
	value value
	over  string
	most  float64
}{
	{name: "GET, CPU", value: getCPU, over: floor, most: 1.10},
	{name: "POST, CPU", value: postCPU, over: floor, most: 1.10},
	{name: "GET, CPU", value: getCPU, over: gorilla, most: 0.68},
	{name: "POST, CPU", value: postCPU, over: gorilla, most: 0.70},
	{name: "GET, CPU", value: getCPU, over: scs, most: 0.68},
	{name: "POST, CPU", value: postCPU, over: scs, most: 0.70},
	{name: "resident memory", value: resident, over: bare, most: 1.5},
}

// printLimits prints cookiesession's ratios beside their limits.
func printLimits(to io.Writer, all results) {
	fmt.Fprint(to, "\ncookiesession over another server, medians of the rounds' ratios\n\n")
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tover\tratio\tat most")
	for _, l := range limits {
		ratio, remark := all.ratio(ours, l.over, l.value), ""
		if ratio > l.most {
			remark = "\ttoo much"
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f%s\n", l.name, l.over, ratio, l.most, remark)
	}
	w.Flush()
}
