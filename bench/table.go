package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
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
	return all.paired(name, over, of, func(a, b float64) float64 { return a / b })
}

// difference returns how much more a server's figure is than another server's of
// the same round, as a median.
func (all results) difference(name, than string, of value) float64 {
	return all.paired(name, than, of, func(a, b float64) float64 { return a - b })
}

// paired returns the median of what op makes of two servers' figures of one round.
func (all results) paired(a, b string, of value, op func(a, b float64) float64) float64 {
	var values []float64
	for round, f := range all[a] {
		values = append(values, op(of(f), of(all[b][round])))
	}
	return median(values)
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
// ratios to the server called base.
func printFigures(to io.Writer, all results, servers []contestant, base string) {
	fmt.Fprintf(to, "%s, %s/%s, %d processors; %d rounds, medians; ratios are to %s\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(all[base]), base)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range columns {
		fmt.Fprint(w, c.name, "\t")
	}
	fmt.Fprintln(w, "cookie bytes\t")
	for _, server := range servers {
		fmt.Fprint(w, server.name, "\t")
		for _, c := range columns {
			fmt.Fprintf(w, c.format+"\t", all.median(server.name, c.value))
		}
		fmt.Fprintf(w, "%d\t\nratio\t", all[server.name][0].cookie)
		for _, c := range columns {
			fmt.Fprintf(w, "%.2f\t", all.ratio(server.name, base, c.value))
		}
		fmt.Fprintln(w, "\t")
	}
	w.Flush()
}

// methods are those whose processor time is compared.
var methods = []struct {
	name  string
	value value
}{
	{name: "GET /get_name", value: getCPU},
	{name: "POST /set_name", value: postCPU},
}

// printRatios prints for each method what each server takes over each of the others.
func printRatios(to io.Writer, all results, names []string) {
	for _, m := range methods {
		fmt.Fprintf(to, "\nProcessor time of %s over that of another server\n\n", m.name)
		w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(w, "\t%s\t\n", strings.Join(names, "\t"))
		for _, name := range names {
			fmt.Fprint(w, name, "\t")
			for _, over := range names {
				fmt.Fprintf(w, "%.2f\t", all.ratio(name, over, m.value))
			}
			fmt.Fprintln(w)
		}
		w.Flush()
	}
}

// printLibraries prints the tables of -library.
func printLibraries(to io.Writer, all results) {
	var names []string
	for _, c := range libraries {
		names = append(names, c.name)
	}
	printFigures(to, all, libraries, floor)
	printRatios(to, all, names)
	fmt.Fprintf(to, "\nWhat %s adds to %s, in microseconds a request: GET %.1f, POST %.1f\n",
		handler, explicit, all.difference(handler, explicit, getCPU),
		all.difference(handler, explicit, postCPU))
	printLimits(to, all, handler)
}

// limits are how much of another server's figure cookiesession may take. Those over
// the other libraries are what those over the floor come to with them.
var limits = []struct {
	name   string
	value  value
	over   string
	most   float64
	wished float64 // 0 if nothing is wished beyond most
}{
	{name: "GET, CPU", value: getCPU, over: floor, most: 1.25, wished: 1.18},
	{name: "POST, CPU", value: postCPU, over: floor, most: 1.30, wished: 1.12},
	{name: "GET, CPU", value: getCPU, over: gorilla, most: 0.81},
	{name: "POST, CPU", value: postCPU, over: gorilla, most: 0.74},
	{name: "GET, CPU", value: getCPU, over: scs, most: 0.83},
	{name: "POST, CPU", value: postCPU, over: scs, most: 0.82},
	// The program collects at 400 %, the others at Go's 100 %.
	{name: "resident memory", value: resident, over: bare, most: 2.5},
}

// printLimits prints a server's ratios beside their limits, as far as the servers
// that they are over were measured.
func printLimits(to io.Writer, all results, name string) {
	fmt.Fprintf(to, "\n%s over another server, medians of the rounds' ratios\n\n", name)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tover\tratio\tat most\twished")
	for _, l := range limits {
		if all[l.over] == nil {
			continue
		}
		ratio, wished, remark := all.ratio(name, l.over, l.value), "", ""
		if l.wished != 0 {
			wished = fmt.Sprintf("%.2f", l.wished)
		}
		if ratio > l.most {
			remark = "too much"
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%s\t%s\n",
			l.name, l.over, ratio, l.most, wished, remark)
	}
	w.Flush()
}
