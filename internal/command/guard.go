package command

import (
	"io"
	"regexp"
)

// keyLike matches what could be a key, or most of one.
var keyLike = regexp.MustCompile(`[0-9A-Fa-f]{48,}`)

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
