package sessions

import (
	"bytes"

	"github.com/fxamacker/cbor/v2"
)

// payload is what is sealed into a cookie: a CBOR array (RFC 8949) like
//
//	[1767225600, 3600, {"Name": "Alice"}]
//
// A session that is bound to a device has the device's public key as a fourth element.
type payload struct {
	_      struct{} `cbor:",toarray"`
	Began  uint32   // Unix seconds when the session began: Limits.Lifetime counts from here
	Since  uint32   // seconds from then until it was last written: Limits.Idle counts from there
	Data   cbor.RawMessage
	Device []byte // a compressed point of the curve P-256 (SEC 1, 2.3.3), or nil
}

// unboundPayload is the form of a payload without a device.
type unboundPayload struct {
	_     struct{} `cbor:",toarray"`
	Began uint32
	Since uint32
	Data  cbor.RawMessage
}

// deviceBytes is the length of a device's key.
const deviceBytes = 33

// boundArray is the first byte of a payload with a device's key: an array of four.
const boundArray = 0x84

// written returns the Unix seconds when the session was last written.
func (p payload) written() int64 { return int64(p.Began) + int64(p.Since) }

// bytes returns the encoding of p.
func (p payload) bytes() []byte {
	if p.Device != nil {
		return must(encodingMode.Marshal(p))
	}
	return must(encodingMode.Marshal(unboundPayload{Began: p.Began, Since: p.Since, Data: p.Data}))
}

// parsePayload returns the payload that content encodes.
func parsePayload(content []byte) (p payload, ok bool) {
	if len(content) == 0 || content[0] != boundArray {
		var u unboundPayload
		err := decodingMode.Unmarshal(content, &u)
		return payload{Began: u.Began, Since: u.Since, Data: u.Data}, err == nil
	}
	if decodingMode.Unmarshal(content, &p) != nil || len(p.Device) != deviceBytes {
		return payload{}, false
	}
	return p, true
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
// indefinite length, a tag.
var decodingMode = must(cbor.DecOptions{
	DupMapKey: cbor.DupMapKeyEnforcedAPF, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, MaxNestedLevels: 16,
	TextUnmarshaler: cbor.TextUnmarshalerTextString,
}.DecMode())

// rawKey is the key of a map as it is encoded, of whatever type.
type rawKey string

func (k *rawKey) UnmarshalCBOR(b []byte) error { *k = rawKey(b); return nil }
func (k rawKey) MarshalCBOR() ([]byte, error)  { return []byte(k), nil }

// fields is a session's data, field by field.
type fields map[rawKey]cbor.RawMessage

// parseFields returns the fields of data, or nil if it is no map.
func parseFields(data []byte) (f fields) {
	if decodingMode.Unmarshal(data, &f) != nil {
		return nil
	}
	return f
}

// encode returns the encoding of the data. For a session that hasn't changed, that is
// exactly what the cookie brought, with the fields that this program doesn't know.
func (s *Session[T]) encode(m *Manager[T]) (cbor.RawMessage, error) {
	data, err := encodingMode.Marshal(s.Data)
	if err != nil || !s.continues() || bytes.Equal(data, s.origin) {
		return data, err
	}
	// Either the data has changed, or a program that has other fields has sealed it.
	// What this one knows of it tells.
	var before T
	decodingMode.Unmarshal(s.origin, &before) // as judge did
	known := must(encodingMode.Marshal(before))
	switch {
	case bytes.Equal(known, data):
		return s.origin, nil
	case bytes.Equal(data, m.zero): // the session ends, with what isn't known of it
		return data, nil
	}
	return m.merge(s.origin, known, data), nil
}

// merge returns data with what old has beyond it: the fields that this program does
// not know, and, as they were, those that it knows and hasn't changed, whatever a newer
// program keeps inside them. Nothing is merged inside a field: parts of what one visitor
// stored could pass to the next.
func (m *Manager[T]) merge(old, known, data cbor.RawMessage) cbor.RawMessage {
	o, k, d := parseFields(old), parseFields(known), parseFields(data)
	if o == nil || d == nil {
		return data
	}
	for name, value := range o {
		// Without omitempty and the like, what is known is in k and in d.
		if !m.known[name] || bytes.Equal(k[name], d[name]) {
			d[name] = value
		}
	}
	return must(encodingMode.Marshal(d))
}

// forgetFields takes the fields that the site wants to forget out of what the cookie
// has brought, and reports whether there were any.
func (m *Manager[T]) forgetFields(data cbor.RawMessage) (rest cbor.RawMessage, found bool) {
	if len(m.forget) == 0 {
		return data, false
	}
	f := parseFields(data)
	for _, name := range m.forget {
		if _, ok := f[name]; ok {
			delete(f, name)
			found = true
		}
	}
	if !found {
		return data, false
	}
	return must(encodingMode.Marshal(f)), true
}
