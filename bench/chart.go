package main

import (
	"fmt"
	"os"
	"strings"
)

// chart is an SVG that is being drawn, 640 units wide.
type chart struct{ strings.Builder }

// newChart begins a chart. What it shows is said in title, which stands above
// it as well, and in desc for those who can't see it.
func newChart(height int, title, desc string) *chart {
	c := new(chart)
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 %d" role="img"`, height)
	c.add(` aria-labelledby="title desc" font-family="sans-serif" font-size="13" fill="#777">`)
	c.add("\n<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", title, desc)
	c.add(`<text x="10" y="20" font-weight="bold">%s</text>`+"\n", title)
	return c
}

// add adds elements, or a part of one.
func (c *chart) add(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// text adds a text, of which x is where it starts or ends, as anchor says.
func (c *chart) text(x, y float64, anchor, text string) {
	c.add(`<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, text)
}

// save ends the chart and writes it to a file.
func (c *chart) save(file string) error {
	c.add("</svg>\n")
	return os.WriteFile(file, []byte(c.String()), 0o666)
}

// drawCPU draws a bar for each method and server.
func drawCPU(file string, all results) error {
	var desc []string
	highest := 0.0
	for _, m := range methods {
		var parts []string
		for _, server := range contestants {
			took := all.median(server.name, m.value)
			highest = max(highest, took)
			parts = append(parts, fmt.Sprintf("%s %.0f", server.name, took))
		}
		desc = append(desc, m.name+": "+strings.Join(parts, ", ")+".")
	}
	c := newChart(320, "Processor time of a request, in microseconds", strings.Join(desc, " "))
	y := 40.0
	for _, m := range methods {
		c.text(10, y+12, "start", m.name)
		for _, server := range contestants {
			took := all.median(server.name, m.value)
			width := 320 * took / highest
			c.text(240, y+12, "end", server.name)
			c.add(`<rect x="250" y="%.0f" width="%.0f" height="16" fill="%s"/>`+"\n",
				y, width, server.colour)
			c.text(258+width, y+12, "start", fmt.Sprintf("%.0f", took))
			y += 22
		}
		y += 16
	}
	c.text(10, 308, "start", floor+": mux and securecookie, with the same headers and time limits")
	return c.save(file)
}

// drawMemory draws a line for each server.
func drawMemory(file string, all []memory) error {
	const left, right, top, bottom = 50.0, 470.0, 50.0, 250.0
	var desc []string
	highest := 0.0
	for _, m := range all {
		desc = append(desc, fmt.Sprintf("%s: %.0f at the start, %.0f at the end.",
			m.name, m.resident[0], m.resident[sessionsSteps]))
		for _, mib := range m.resident {
			highest = max(highest, mib)
		}
	}
	c := newChart(280, "Resident memory in MiB, against the number of sessions begun",
		strings.Join(desc, " "))
	height := func(mib float64) float64 { return bottom - (bottom-top)*mib/highest }
	for _, m := range all {
		var points []string
		for i, mib := range m.resident {
			x := left + (right-left)*float64(i)/sessionsSteps
			points = append(points, fmt.Sprintf("%.0f,%.0f", x, height(mib)))
		}
		c.add(`<polyline fill="none" stroke="%s" stroke-width="3" points="%s"/>`+"\n",
			m.colour, strings.Join(points, " "))
		last := m.resident[sessionsSteps]
		c.text(right+10, height(last)+4, "start", fmt.Sprintf("%s: %.0f", m.name, last))
	}
	c.add(`<path stroke="#777" d="M%.0f %.0fH%.0f"/>`+"\n", left, bottom, right)
	c.text(left, bottom+20, "start", "0")
	c.text(right, bottom+20, "end", fmt.Sprint(sessionsStep*sessionsSteps))
	return c.save(file)
}
