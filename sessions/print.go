package sessions

import (
	"fmt"
	"log/slog"
	"strings"
)

// What could hold a secret, or a visitor's data, prints itself, whatever the verb:
// ids, verdicts and sizes are all that may stand in a log.

// print writes text for a verb, with the width that it asks for.
func print(f fmt.State, text string) { fmt.Fprintf(f, fmt.FormatString(f, 's'), text) }

func (k Key) text() string {
	if k.derived == nil {
		return "no key"
	}
	return k.encrypted.id + " (signed: " + k.signed.id + ")"
}

// Format prints the key's ids.
func (k Key) Format(f fmt.State, _ rune) { print(f, k.text()) }

// MarshalText returns the key's ids.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.text()), nil }

// LogValue returns the key's ids.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.text()) }

func (k *Keyring) text() string {
	var texts []string
	if k != nil {
		for _, key := range k.Keys() {
			texts = append(texts, key.text())
		}
	}
	return "keys [" + strings.Join(texts, ", ") + "]"
}

// Format prints the ids of the ring's keys.
func (k *Keyring) Format(f fmt.State, _ rune) { print(f, k.text()) }

// MarshalText returns the ids of the ring's keys.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.text()), nil }

// LogValue returns the ids of the ring's keys.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.text()) }

func (c Cookie) text() string {
	text := fmt.Sprintf("cookie: %s, %d bytes", c.verdict(), c.Size)
	if c.KeyID != "" {
		text += ", key " + c.KeyID
	}
	return text
}

// Format prints the verdict, the size and the key's id.
func (c Cookie) Format(f fmt.State, _ rune) { print(f, c.text()) }

// MarshalText returns the verdict, the size and the key's id.
func (c Cookie) MarshalText() ([]byte, error) { return []byte(c.text()), nil }

// LogValue returns the verdict, the size and the key's id.
func (c Cookie) LogValue() slog.Value { return slog.StringValue(c.text()) }

func (s Session[T]) text() string { return "session of " + s.cookie.text() }

// Format prints the verdict on the session's cookie, its size and the key's id.
func (s Session[T]) Format(f fmt.State, _ rune) { print(f, s.text()) }

// MarshalText returns the verdict on the session's cookie, its size and the key's id.
func (s Session[T]) MarshalText() ([]byte, error) { return []byte(s.text()), nil }

// LogValue returns the verdict on the session's cookie, its size and the key's id.
func (s Session[T]) LogValue() slog.Value { return slog.StringValue(s.text()) }

func (m *Manager[T]) text() string { return "manager of " + m.name + ", " + m.keys.text() }

// Format prints the cookie's name and the ids of the keys.
func (m *Manager[T]) Format(f fmt.State, _ rune) { print(f, m.text()) }

// MarshalText returns the cookie's name and the ids of the keys.
func (m *Manager[T]) MarshalText() ([]byte, error) { return []byte(m.text()), nil }

// LogValue returns the cookie's name and the ids of the keys.
func (m *Manager[T]) LogValue() slog.Value { return slog.StringValue(m.text()) }
