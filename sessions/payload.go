package sessions

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// payload is what is sealed into a cookie: a CBOR array (RFC 8949) like
//
//	[1767225600, 3600, {"Name": "Alice"}]
//
// A session that is bound to a device has the device's public key as a fourth element.
type payload struct {
	_ struct{} `cbor:",toarray"`
	unbound
	Device []byte // a compressed point of the curve P-256 (SEC 1, 2.3.3), or nil
}

// unbound is a payload without a device.
type unbound struct {
	_     struct{} `cbor:",toarray"`
	Began uint32   // Unix seconds when the session began: Limits.Lifetime counts from here
	Since uint32   // seconds from then until it was last written: Limits.Idle counts from there
	Data  cbor.RawMessage
}

// deviceBytes is the length of a device's key.
const deviceBytes = 33

// boundArray is the first byte of a payload with a device's key: an array of four.
const boundArray = 0x84

// written returns the Unix seconds when the session was last written.
func (u unbound) written() int64 { return int64(u.Began) + int64(u.Since) }

// bytes returns the encoding of p.
func (p payload) bytes() []byte {
	if p.Device == nil {
		return must(encodingMode.Marshal(p.unbound))
	}
	return must(encodingMode.Marshal(p))
}

// parsePayload returns the payload that content encodes, and is ok if it is whole.
func parsePayload(content []byte) (p payload, ok bool) {
	if bytes.HasPrefix(content, []byte{boundArray}) {
		err := decodingMode.Unmarshal(content, &p)
		return p, err == nil && len(p.Device) == deviceBytes
	}
	err := decodingMode.Unmarshal(content, &p.unbound)
	return p, err == nil
}

// encodingMode gives equal values equal bytes, which is how a change is found. A
// slice or map counts as empty whether it is nil or not.
var encodingMode = must(func() (cbor.EncMode, error) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	options.Time = cbor.TimeRFC3339NanoUTC // the only one that keeps all of a time
	options.TextMarshaler = cbor.TextMarshalerTextString
	return options.EncMode()
}())

// decodingMode refuses what encodingMode never makes: a key that is there twice, an
// indefinite length, a tag. dataMode is for the data, which lies in a payload, and so
// can be less deep. strictMode refuses fields that aren't known as well.
var (
	decodingMode = newDecodingMode(maxDepth, cbor.ExtraDecErrorNone)
	dataMode     = newDecodingMode(maxDepth-1, cbor.ExtraDecErrorNone)
	strictMode   = newDecodingMode(maxDepth-1, cbor.ExtraDecErrorUnknownField)
)

// maxDepth is how many arrays and maps a payload may have within each other.
const maxDepth = 16

func newDecodingMode(depth int, extra cbor.ExtraDecErrorCond) cbor.DecMode {
	return must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive, TagsMd: cbor.TagsForbidden,
		TextUnmarshaler: cbor.TextUnmarshalerTextString,
		MaxNestedLevels: depth, ExtraReturnErrors: extra,
	}.DecMode())
}

// rawKey is the key of a map as it is encoded, of whatever type.
type rawKey string

func (k *rawKey) UnmarshalCBOR(b []byte) error { *k = rawKey(b); return nil }
func (k rawKey) MarshalCBOR() ([]byte, error)  { return []byte(k), nil }

// parseFields returns data field by field, or nil if it is no map.
func parseFields(data []byte) (f map[rawKey]cbor.RawMessage) {
	if dataMode.Unmarshal(data, &f) != nil {
		return nil
	}
	return f
}

// encode returns the encoding of a session's data.
func encode[T any](data *T) (cbor.RawMessage, error) {
	encoded, err := encodingMode.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("%w: it can't be encoded: %w", ErrUnstorable, err)
	}
	return encoded, nil
}

// decode puts into data what was encoded.
func decode[T any](encoded cbor.RawMessage, data *T) error {
	if err := dataMode.Unmarshal(encoded, data); err != nil {
		return fmt.Errorf("%w: it can't be decoded again: %w", ErrUnstorable, err)
	}
	return nil
}

// merged returns what is to be stored for data, which encodes that of s. For a session
// that hasn't changed, that is exactly what the cookie brought, with the fields that this
// program doesn't know.
func (s *Session[T]) merged(m *Manager[T], data []byte) []byte {
	if !s.continues() || bytes.Equal(data, s.origin) {
		return data
	}
	// Either the data has changed, or a program that has other fields has sealed it.
	// What this one knows of it tells.
	var before T
	decode(s.origin, &before) // as judge did
	known := must(encode(&before))
	switch {
	case bytes.Equal(known, data):
		return s.origin
	case bytes.Equal(known, s.origin): // there is nothing that this program doesn't know
		return data
	case bytes.Equal(data, m.zero): // the session ends, with what isn't known of it
		return data
	}
	return merge(s.origin, known, data)
}

// merge returns data with what old has beyond it: the fields that this program does
// not know, and, as they were, those that it knows and hasn't changed, whatever a newer
// program keeps inside them. Nothing is merged inside a field: parts of what one visitor
// stored could pass to the next.
func merge(old, known, data cbor.RawMessage) cbor.RawMessage {
	o, k, d := parseFields(old), parseFields(known), parseFields(data)
	if o == nil || d == nil {
		return data
	}
	for name, value := range o {
		if bytes.Equal(k[name], d[name]) { // both are nil for a field that isn't known
			d[name] = value
		}
	}
	return must(encodingMode.Marshal(d))
}

// has reports whether T has a field that is encoded under a name.
func has[T any](name rawKey) bool {
	null := must(encodingMode.Marshal(map[rawKey]any{name: nil}))
	var unknown *cbor.UnknownFieldError
	return !errors.As(strictMode.Unmarshal(null, new(T)), &unknown)
}

// without returns data without the fields of some names.
func without(data cbor.RawMessage, names []rawKey) cbor.RawMessage {
	if len(names) == 0 {
		return data
	}
	f := parseFields(data)
	before := len(f)
	for _, name := range names {
		delete(f, name)
	}
	if len(f) == before {
		return data
	}
	return must(encodingMode.Marshal(f))
}
