package testkit

import (
	"encoding/binary"
	"io"
)

// HTTP2Preface is what a client of HTTP/2 sends first: with settings that are empty.
var HTTP2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(HTTP2Frame(4, 0, 0, nil))

// The frames of HTTP/2 that tests know (RFC 9113, section 6).
const (
	HTTP2Data, HTTP2Headers, HTTP2Settings, HTTP2GoAway, HTTP2Window = 0, 1, 4, 7, 8
)

// HTTP2Frame returns a frame, which may be against the rules.
func HTTP2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return append(b, payload...)
}

// HTTP2Fields returns the names and values of a header by turns as HPACK has them, literally.
func HTTP2Fields(texts ...string) (block []byte) {
	for i, text := range texts {
		if i%2 == 0 {
			block = append(block, 0)
		}
		n := len(text)
		if n < 127 {
			block = append(block, byte(n))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

// HTTP2Header returns the frames, of 16 KiB as browsers have them, of a header whose flags
// are 4 if it ends, and 1 if there is no body.
func HTTP2Header(stream uint32, flags byte, block []byte) (frames []byte) {
	kind := byte(HTTP2Headers)
	for ; len(block) > 16<<10; block, kind = block[16<<10:], 9 {
		frames = append(frames, HTTP2Frame(kind, flags&1, stream, block[:16<<10])...)
	}
	return append(frames, HTTP2Frame(kind, flags, stream, block)...)
}

// ReadHTTP2Frame reads a frame.
func ReadHTTP2Frame(r io.Reader) (kind byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:])>>8)
	_, err = io.ReadFull(r, payload)
	return head[3], binary.BigEndian.Uint32(head[5:]), payload, err
}
