package report

import (
	"cmp"
	"encoding/json"
	"fmt"
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

// parse returns the payload that content encodes. Nothing of it needs to be verified.
func parse(content []byte) (p payload, ok bool) {
	if cbor.Unmarshal(content, &p.elements) != nil || len(p.elements) < 3 || len(p.elements) > 4 {
		return payload{}, false
	}
	for i, element := range []any{&p.began, &p.since, &p.data, &p.device}[:len(p.elements)] {
		if cbor.Unmarshal(p.elements[i], element) != nil {
			return payload{}, false
		}
	}
	return p, true
}

// withoutDevice returns the encoding of p without the key of a device, which is shown to
// nobody.
func (p payload) withoutDevice() []byte {
	content, err := cbor.Marshal(p.elements[:3])
	if err != nil {
		panic(err) // they have been decoded just now
	}
	return content
}

// Field is one field of a session.
type Field struct {
	Name    string
	Value   string // text as it is, anything else in CBOR's diagnostic notation
	content []byte // the value as it is encoded
}

// Label returns the field's name as it begins a line. A cookie that was not verified may
// have any name there, also one that is a command to a terminal.
func (f Field) Label() string {
	quoted := strconv.Quote(strings.ToLower(f.Name))
	return fmt.Sprintf("%-13s", quoted[1:len(quoted)-1])
}

// Quoted returns the value so that it can't be taken for anything else on a terminal: in
// CBOR's diagnostic notation, text is quoted.
func (f Field) Quoted() string { return Notation(f.content) }

// Fields returns the fields of a payload, sorted, or nil if it can't be read. Those of a
// cookie that was refused are for whoever has the keys: they belong on no page.
func Fields(content []byte) []Field {
	p, _ := parse(content)
	return p.fields()
}

func (p payload) fields() (fields []Field) {
	for name, content := range p.data {
		f := Field{Name: fmt.Sprint(name), content: content}
		var value any
		cbor.Unmarshal(content, &value)
		var isText bool
		if f.Value, isText = value.(string); !isText {
			f.Value = f.Quoted()
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
