package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

const (
	// deviceBytes is the length of a device's key.
	deviceBytes = 33

	// boundArray is the first byte of a payload with a device's key: an array of four.
	boundArray = 0x84
)

// payload is what a cookie carries: an array in CBOR.
type payload struct {
	elements     []cbor.RawMessage
	began, since uint32
	data         map[any]cbor.RawMessage
	device       []byte
}

// parse returns the payload that content encodes, without the values of T's hidden
// fields. Nothing of it needs to be verified.
func parse[T any](content []byte) (p payload, ok bool) {
	if cbor.Unmarshal(content, &p.elements) != nil || len(p.elements) < 3 || len(p.elements) > 4 {
		return payload{}, false
	}
	for i, element := range []any{&p.began, &p.since, &p.data, &p.device}[:len(p.elements)] {
		if cbor.Unmarshal(p.elements[i], element) != nil {
			return payload{}, false
		}
	}
	p.hide(hidden(reflect.TypeFor[T]()))
	return p, true
}

// notation returns p in diagnostic notation, without the key of a device, which is shown
// to nobody.
func (p payload) notation() string {
	return fmt.Sprintf("[%d, %d, %s]", p.began, p.since, Notation(p.elements[2]))
}

// Field is one field of a session.
type Field struct {
	Name   string
	Value  string // text as it is, anything else as Quoted
	Quoted string // in CBOR's diagnostic notation, which a terminal takes for nothing else
}

// Label returns the field's name as it begins a line. A cookie that was not verified may
// have any name there, also one that is a command to a terminal.
func (f Field) Label() string {
	quoted := strconv.Quote(strings.ToLower(f.Name))
	return fmt.Sprintf("%-13s", quoted[1:len(quoted)-1])
}

// Fields returns the fields of a payload, sorted, or nil if it can't be read. Those of a
// cookie that was refused are for whoever has the keys: they belong on no page.
func Fields[T any](content []byte) (fields []Field) {
	p, _ := parse[T](content)
	for name, content := range p.data {
		quoted := Notation(content)
		f := Field{Name: fmt.Sprint(name), Value: quoted, Quoted: quoted}
		var value any
		cbor.Unmarshal(content, &value)
		if text, ok := value.(string); ok {
			f.Value = text
		}
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return fields
}

// Notation returns CBOR in its diagnostic notation (RFC 8949, 8), with letters of any
// script as they are.
func Notation(content []byte) string {
	text, _ := cbor.Diagnose(content)
	return quotedText.ReplaceAllStringFunc(text, func(quoted string) string {
		var s string
		json.Unmarshal([]byte(quoted), &s) // can't fail: the library quotes as JSON does
		return strconv.Quote(s)
	})
}

var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// maxShown is how many characters of a payload are shown, of up to 4,096.
const maxShown = 256

// Shorten returns text with at most 256 characters of it.
func Shorten(text string) string {
	runes := []rune(text)
	if more := len(runes) - maxShown; more > 0 {
		return fmt.Sprintf("%s… and %d more characters", string(runes[:maxShown]), more)
	}
	return text
}
