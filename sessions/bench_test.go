package sessions_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/securecookie"
)

type codec = securecookie.SecureCookie

// benchmarks runs f for both modes and for two sizes of a session, once with the library
// and once with what is below it: securecookie and CBOR.
func benchmarks(b *testing.B, f func(fixed, *manager, *codec) (ours, bare func() error)) {
	hash, block := sha256.Sum256([]byte("hash")), sha256.Sum256([]byte("block"))
	for mode, blockKey := range map[string][]byte{"signed": nil, "encrypted": block[:]} {
		codec := securecookie.New(hash[:], blockKey).SetSerializer(securecookie.NopEncoder{})
		for size, n := range map[string]int{"small": 5, "1KB": 1024} {
			m := managerOf(options{SignOnly: blockKey == nil})
			ours, bare := f(fixed{Name: strings.Repeat("x", n)}, m, codec)
			for name, do := range map[string]func() error{"sessions": ours, "bare": bare} {
				b.Run(mode+"/"+size+"/"+name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if err := do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// barePayload is a payload of the same size as the library's.
type barePayload struct {
	_            struct{} `cbor:",toarray"`
	Began, Since uint32
	Data         fixed
}

// BenchmarkSeal makes the value of a cookie from a session.
func BenchmarkSeal(b *testing.B) {
	benchmarks(b, func(data fixed, m *manager, bare *codec) (_, _ func() error) {
		return func() error { _, err := m.Seal(data); return err }, func() error {
			content := made(cbor.Marshal(barePayload{Began: golden, Data: data}))
			_, err := bare.Encode("session", content)
			return err
		}
	})
}

// BenchmarkOpen makes a session from the value of a cookie.
func BenchmarkOpen(b *testing.B) {
	benchmarks(b, func(data fixed, m *manager, bare *codec) (_, _ func() error) {
		c := cookieOf(m, data.Name)
		value := made(bare.Encode("session",
			made(cbor.Marshal(barePayload{Began: golden, Data: data}))))
		return func() error { m.Open(c); return nil }, func() error {
			var content []byte
			var p barePayload
			if err := bare.Decode("session", value, &content); err != nil {
				return err
			}
			return cbor.Unmarshal(content, &p)
		}
	})
}
