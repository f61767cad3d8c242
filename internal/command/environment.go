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
	fs.VisitAll(func(f *flag.Flag) {
		if !isRequest(f) {
			known = append(known, variable(f))
		}
	})
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(strings.ToUpper(name), prefix) || slices.Contains(known, name) ||
			ofKubernetes.MatchString(name+"="+env[name]) {
			continue
		}
		i := slices.IndexFunc(known, func(k string) bool { return letters(k) == letters(name) })
		if i >= 0 {
			name += " (did you mean " + known[i] + "?)"
		}
		unknown = append(unknown, name)
	}
	return unknown
}

// letters returns the letters of a name in the order of the alphabet, those of a plural left
// out: two names with the same are easily taken for one another.
func letters(name string) string {
	name = strings.ReplaceAll(strings.ToUpper(name), "_", "")
	return string(slices.Sorted(slices.Values([]byte(strings.ReplaceAll(name, "S", "")))))
}
