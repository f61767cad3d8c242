package report

import (
	"regexp"
	"slices"
)

var cookieForm = regexp.MustCompile(`\b[a-z2-7]{6}\.[A-Za-z0-9_-]+`)

// Find returns the values in a text that have the form of a session's cookie, in their
// order, each once, and no more than 16.
func Find(text string) (values []string) {
	for _, value := range cookieForm.FindAllString(text, -1) {
		if len(values) < 16 && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}
