package sessions_test

import (
	"cookiesession/sessions"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/securecookie"
)

// benchmarks runs f for both modes and for two sizes of a session.
func benchmarks(b *testing.B, f func(b *testing.B, signOnly bool, data fixed)) {
	for mode, signOnly := range map[string]bool{"signed": true, "encrypted": false} {
		for size, n := range map[string]int{"small": 5, "1KB": 1024} {
			data := fixed{Name: strings.Repeat("x", n)}
			b.Run(mode+"/"+size, func(b *testing.B) { f(b, signOnly, data) })
		}
	}
}

// bare is what is below the library: securecookie and CBOR.
func bare(signOnly bool) *securecookie.SecureCookie {
	hash, block := sha256.Sum256([]byte("hash")), sha256.Sum256([]byte("block"))
	if signOnly {
		return securecookie.New(hash[:], nil).SetSerializer(securecookie.NopEncoder{})
	}
	return securecookie.New(hash[:], block[:]).SetSerializer(securecookie.NopEncoder{})
}

// barePayload is a payload of the same size as the library's.
type barePayload struct {
	_            struct{} `cbor:",toarray"`
	Began, Since uint32
	Data         fixed
}

// run measures do.
func run(b *testing.B, name string, do func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSeal makes the value of a cookie from a session.
func BenchmarkSeal(b *testing.B) {
	benchmarks(b, func(b *testing.B, signOnly bool, data fixed) {
		m, codec := managerOf(options{SignOnly: signOnly}), bare(signOnly)
		run(b, "sessions", func() error { _, err := m.Seal(data); return err })
		run(b, "bare", func() error {
			content, err := cbor.Marshal(barePayload{Began: golden, Data: data})
			if err == nil {
				_, err = codec.Encode("session", content)
			}
			return err
		})
	})
}

// BenchmarkOpen makes a session from the value of a cookie.
func BenchmarkOpen(b *testing.B) {
	benchmarks(b, func(b *testing.B, signOnly bool, data fixed) {
		m, codec := managerOf(options{SignOnly: signOnly}), bare(signOnly)
		c := made(m.Seal(data))
		run(b, "sessions", func() error {
			if got := m.Open(c).Verdict(); got != sessions.Valid {
				b.Fatal(got)
			}
			return nil
		})
		content := made(cbor.Marshal(barePayload{Began: golden, Data: data}))
		value := made(codec.Encode("session", content))
		bareCookie := &http.Cookie{Value: value}
		run(b, "bare", func() error {
			var content []byte
			var p barePayload
			if err := codec.Decode("session", bareCookie.Value, &content); err != nil {
				return err
			}
			return cbor.Unmarshal(content, &p)
		})
	})
}
