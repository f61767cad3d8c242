package command

import (
	"flag"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Environment returns the variables in a list such as os.Environ returns.
func Environment(list []string) map[string]string {
	env := make(map[string]string)
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		if runtime.GOOS == "windows" { // where case doesn't matter
			name = strings.ToUpper(name)
		}
		env[name] = value
	}
	return env
}

// ofKubernetes matches variables that Kubernetes makes, with their values, for Services
// whose names begin as the program's.
var ofKubernetes = regexp.MustCompile(`^COOKIESESSION_([A-Z0-9_]+_)?(SERVICE_HOST=|` +
	`SERVICE_PORT[A-Z0-9_]*=|PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?=)`)

// Unknown returns the names of the variables that begin as the program's and are none of
// them, each with the name that may have been meant. Inspect's -show is none of fs.
func Unknown(fs *flag.FlagSet, env map[string]string) (unknown []string) {
	known := []string{keysVariable, prefix + "SHOW"}
	fs.VisitAll(func(f *flag.Flag) { known = append(known, variable(f)) })
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(strings.ToUpper(name), prefix) || slices.Contains(known, name) ||
			ofKubernetes.MatchString(name+"="+env[name]) {
			continue
		}
		nearest := slices.MinFunc(known, func(a, b string) int {
			return distance(name, a) - distance(name, b)
		})
		if distance(name, nearest) <= 2 || strings.EqualFold(name, nearest) {
			name += " (did you mean " + nearest + "?)"
		}
		unknown = append(unknown, name)
	}
	return unknown
}

// distance returns how many letters have to be put in, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of what it takes for the letters of a so far
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, corner+1, row[j]+1)
		}
	}
	return row[len(b)]
}
