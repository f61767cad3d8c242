package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// keyCommand is a subcommand of keys.
type keyCommand struct {
	name, args, help string
	run              func(args []string, stderr io.Writer) (said string, err error)
}

// keyCommands are all of them, in the order of a rotation.
var keyCommands = []keyCommand{
	{
		name: "new", help: "Prints a new key and nothing else.",
		run: func([]string, io.Writer) (string, error) { return sessions.NewKey().Secret(), nil },
	},
	{
		name: "list", args: "FILE", run: listKeys,
		help: "Prints each key's role, ids and age, never the key.",
	},
	{
		name: "add", args: "FILE", run: addKey,
		help: "Adds a key that only verifies; makes the file with one that seals.",
	},
	{
		name: "promote", args: "FILE", run: promoteKey,
		help: "Makes the last key the first, which seals; its comments too.",
	},
	{
		name: "drop", args: "FILE ID", run: dropKey,
		help: "Removes a key that doesn't seal, and its comments.",
	},
	{
		name: "replace", args: "FILE", run: replaceKeys,
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
			return c.runWith(fs, args[1:], stdout, stderr)
		}
		help += fmt.Sprintf("\n%-7s  %s", c.name, c.help)
	}
	if err := parseArgs(fs, args, stdout, usage+help); err != nil {
		return err
	}
	return UsageError{Err: errors.New("usage: " + usage)}
}

// runWith runs a subcommand with the arguments behind its name.
func (c keyCommand) runWith(fs *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	usage := strings.TrimSpace("cookiesession keys " + c.name + " " + c.args)
	if err := parseArgs(fs, args, stdout, usage+"\n\n"+c.help); err != nil {
		return err
	}
	if fs.NArg() != len(strings.Fields(c.args)) {
		return UsageError{Err: errors.New("usage: " + usage)}
	}
	said, err := c.run(fs.Args(), stderr)
	if err == nil {
		_, err = fmt.Fprintln(stdout, said)
	}
	return err
}

// newKeyLine returns the line of a key file for a key that is added today.
func newKeyLine(k sessions.Key) string {
	return k.Secret() + addedOn + time.Now().UTC().Format(time.DateOnly) + "\n"
}

const addedOn = " # added "

func listKeys(args []string, _ io.Writer) (string, error) {
	content, err := readKeyFile(args[0])
	if err != nil {
		return "", err
	}
	keys, err := parseKeys(args[0], content)
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", fmt.Errorf("%s: %w", args[0], errNoKey)
	}
	const row = "%-8v  %-8s  %-9s  %-6s  %s"
	said := fmt.Sprintf(row, "POSITION", "ROLE", "ENCRYPTED", "SIGNED", "AGE")
	role, lines := "seals", strings.Split(content, "\n")
	for i, k := range keys {
		encrypted, signed := k.Key.IDs()
		said += fmt.Sprintf("\n"+row, i+1, role, encrypted, signed, keyAge(lines[k.Line-1]))
		role = "verifies"
	}
	return said, nil
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

func addKey(args []string, stderr io.Writer) (string, error) {
	k := sessions.NewKey()
	add := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		role, end := "it seals", 0
		if n := len(blocks); n > 0 {
			role, end = "it only verifies: promote it when every copy has it", blocks[n-1].end
		}
		if strings.TrimSpace(strings.Join(lines[end:], "")) != "" {
			lines = append(lines, "\n") // or the comment at the end would become the new key's
		}
		return append(lines, newKeyLine(k)), fmt.Sprintf("added %s, %s", k, role), nil
	}
	return editKeyFile(args[0], stderr, add)
}

func promoteKey(args []string, stderr io.Writer) (string, error) {
	promote := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		if len(blocks) < 2 {
			return nil, "", errors.New("there is no second key (see: cookiesession keys add)")
		}
		last := blocks[len(blocks)-1]
		moved := slices.Clone(lines[last.start:last.end])
		lines = slices.Delete(lines, last.start, last.end)
		lines = slices.Insert(lines, blocks[0].start, moved...)
		return lines, fmt.Sprintf("promoted %s, it seals", last.Key), nil
	}
	return editKeyFile(args[0], stderr, promote)
}

func dropKey(args []string, stderr io.Writer) (string, error) {
	id := args[1]
	if !report.IsKeyID(id) { // it might be a key, which must not be printed
		return "", errors.New("this is not a key id (see: cookiesession keys list FILE)")
	}
	drop := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		i := slices.IndexFunc(blocks, func(b keyBlock) bool { return b.has(id) })
		switch {
		case i < 0:
			return nil, "", fmt.Errorf("there is no key with the id %s (see: keys list FILE)", id)
		case len(blocks) == 1:
			return nil, "", fmt.Errorf("%s is the only key (add another with: keys add FILE)", id)
		case i == 0:
			return nil, "", fmt.Errorf("%s seals (promote another with: keys promote FILE)", id)
		}
		lines = slices.Delete(lines, blocks[i].start, blocks[i].end)
		return lines, fmt.Sprintf("dropped %s", blocks[i].Key), nil
	}
	return editKeyFile(args[0], stderr, drop)
}

func replaceKeys(args []string, stderr io.Writer) (string, error) {
	k := sessions.NewKey()
	replace := func(lines []string, blocks []keyBlock) (after []string, said string, err error) {
		if len(blocks) == 0 {
			return nil, "", errNoKey
		}
		for _, b := range slices.Backward(blocks) {
			lines = slices.Delete(lines, b.start, b.end)
		}
		lines = slices.Insert(lines, blocks[0].start, newKeyLine(k))
		return lines, fmt.Sprintf("added %s, it seals, and removed all other keys (%d): every "+
			"session ends at each copy as soon as it has this file", k, len(blocks)), nil
	}
	return editKeyFile(args[0], stderr, replace)
}
