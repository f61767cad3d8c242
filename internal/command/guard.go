package command

import (
	"io"
	"regexp"
)

// keyLike matches what could be a key, or most of one, also with colons within. Fewer digits
// are a commit, a trace or an IP address, which has to stay readable.
var keyLike = regexp.MustCompile(`[0-9A-Fa-f](:?[0-9A-Fa-f]){47,}`)

// Guard returns a writer that hands on to w what is written, but for what looks like a key:
// that is "(a key)" then. People give keys where names are wanted, and errors repeat them.
// What is written at once has to be whole lines.
func Guard(w io.Writer) io.Writer { return guard{w} }

type guard struct{ io.Writer }

func (g guard) Write(p []byte) (int, error) {
	n, err := g.Writer.Write(keyLike.ReplaceAll(p, []byte("(a key)")))
	if err == nil {
		n = len(p)
	}
	return min(n, len(p)), err
}
