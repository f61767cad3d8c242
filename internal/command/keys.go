package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cookiesession/sessions"
)

// keyCommand is a subcommand of keys.
type keyCommand struct {
	name, args, help string
	edit             edit // of those that edit the file
}

// keyCommands are all of them, in the order of a rotation.
var keyCommands = []keyCommand{
	{name: "new", help: "Prints a new key and nothing else."},
	{name: "list", args: "FILE", help: "Prints each key's role, ids and age, never the key."},
	{
		name: "add", args: "FILE", edit: addKey,
		help: "Adds a key that only verifies; makes the file with one that seals.",
	},
	{
		name: "promote", args: "FILE", edit: promoteKey,
		help: "Makes the last key the first, which seals; its comments too.",
	},
	{
		name: "drop", args: "FILE ID", edit: dropKey,
		help: "Removes a key that doesn't seal, and its comments.",
	},
	{
		name: "replace", args: "FILE", edit: replaceKeys,
		help: "Replaces all keys by a new one: logs everybody out.",
	},
}

// Keys makes a key or edits a key file, as args say: new, list, add, promote, drop or
// replace, and what those need.
func Keys(args []string, stdout, stderr io.Writer) error {
	const usage = "cookiesession keys new|list|add|promote|drop|replace [FILE] [ID]"
	fs := flag.NewFlagSet("cookiesession keys", flag.ContinueOnError)
	help := "\n"
	for _, c := range keyCommands {
		if len(args) > 0 && args[0] == c.name {
			return c.run(fs, args[1:], stdout, stderr)
		}
		help += fmt.Sprintf("\n%-7s  %s", c.name, c.help)
	}
	if err := parseArgs(fs, args, stdout, usage+help); err != nil {
		return err
	}
	return UsageError{Err: errors.New("usage: " + usage)}
}

// run runs a subcommand with the arguments behind its name.
func (c keyCommand) run(fs *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	usage := strings.TrimSpace("cookiesession keys " + c.name + " " + c.args)
	err := parseArgs(fs, args, stdout, usage+"\n\n"+c.help)
	if err != nil {
		return err
	}
	if fs.NArg() != len(strings.Fields(c.args)) {
		return UsageError{Err: errors.New("usage: " + usage)}
	}
	var said string
	switch {
	case c.edit != nil:
		said, err = c.editKeyFile(fs.Arg(0), fs.Arg(1), stderr)
	case c.name == "list":
		said, err = listKeys(fs.Arg(0))
	default:
		said = sessions.NewKey().Secret()
	}
	if err == nil {
		_, err = fmt.Fprintln(stdout, said)
	}
	return err
}

func listKeys(file string) (said string, err error) {
	text, keys, err := readKeyFile(file)
	if err != nil {
		return "", err
	}
	const row = "%-8v  %-8s  %-9s  %-6s  %s"
	said = fmt.Sprintf(row, "POSITION", "ROLE", "ENCRYPTED", "SIGNED", "AGE")
	role, lines := "seals", strings.Split(text, "\n")
	for i, k := range keys {
		encrypted, signed := k.Key.IDs()
		said += fmt.Sprintf("\n"+row, i+1, role, encrypted, signed, keyAge(lines[k.Line-1]))
		role = "verifies"
	}
	return said, nil
}

// addedOn is before the day in the comment behind a key.
const addedOn = " # added "

// newKeyLine returns the line of a key file for a key that is added today.
func newKeyLine(k sessions.Key) string {
	return k.Secret() + addedOn + time.Now().UTC().Format(time.DateOnly) + "\n"
}

// keyAge returns how many days ago the key on a line was added, if the line says so.
func keyAge(line string) string {
	_, date, _ := strings.Cut(line, addedOn)
	added, err := time.Parse(time.DateOnly, date[:min(len(date), len(time.DateOnly))])
	if err != nil {
		return "unknown"
	}
	days := max(0, int(time.Since(added).Hours()/24))
	if days == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", days)
}

// edit makes the new lines of a key file of those that it has, which it may change, and
// says what it has done. The id is that of a key, where the command has one.
type edit func(lines []string, keys []keyBlock, id string) (after []string, said string, err error)

func addKey(lines []string, keys []keyBlock, _ string) ([]string, string, error) {
	k, role, end := sessions.NewKey(), "it seals", 0
	if n := len(keys); n > 0 {
		role, end = "it only verifies: promote it when every copy has it", keys[n-1].end
	}
	if strings.TrimSpace(strings.Join(lines[end:], "")) != "" {
		lines = append(lines, "\n") // or the comment at the end would become the new key's
	}
	return append(lines, newKeyLine(k)), fmt.Sprintf("added %s, %s", k, role), nil
}

func promoteKey(lines []string, keys []keyBlock, _ string) ([]string, string, error) {
	if len(keys) < 2 {
		return nil, "", errors.New("there is no second key (see: cookiesession keys add)")
	}
	last := keys[len(keys)-1]
	moved := slices.Clone(lines[last.start:last.end])
	lines = slices.Delete(lines, last.start, last.end)
	lines = slices.Insert(lines, keys[0].start, moved...)
	return lines, fmt.Sprintf("promoted %s, it seals", last.Key), nil
}

// dropKey says the id only if it is one: it might be a key, which must not be printed.
func dropKey(lines []string, keys []keyBlock, id string) ([]string, string, error) {
	for i, k := range keys {
		encrypted, signed := k.IDs()
		switch {
		case id != encrypted && id != signed:
			continue
		case len(keys) == 1:
			return nil, "", fmt.Errorf("%s is the only key (add another with: keys add FILE)", id)
		case i == 0:
			return nil, "", fmt.Errorf("%s seals (promote another with: keys promote FILE)", id)
		}
		return slices.Delete(lines, k.start, k.end), fmt.Sprintf("dropped %s", k.Key), nil
	}
	return nil, "", errors.New("there is no key with this id (see: cookiesession keys list FILE)")
}

func replaceKeys(lines []string, keys []keyBlock, _ string) ([]string, string, error) {
	k := sessions.NewKey()
	for _, old := range slices.Backward(keys) {
		lines = slices.Delete(lines, old.start, old.end)
	}
	lines = slices.Insert(lines, keys[0].start, newKeyLine(k))
	return lines, fmt.Sprintf("added %s, it seals, and removed all other keys (%d): every "+
		"session ends at each copy as soon as it has this file", k, len(keys)), nil
}
