package sessions

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// Whatever is sent as a proof, only the one that was made of the right challenge, with the
// right key, gets through, and nothing crashes. The corpus has proofs of this device,
// good ones and bad ones.
func FuzzProof(f *testing.F) {
	const digits = "02b20836f4b46c0e6364bf4627d60c550a264687bc126eb55142bc9e7ec3d56a72"
	device := must(hex.DecodeString(digits))
	f.Fuzz(func(t *testing.T, sent string) {
		if _, _, ok := verifyProof(sent, make([]byte, deviceBytes)); ok {
			t.Error("a key that is no point of the curve has signed")
		}
		challenge, by, ok := verifyProof(sent, device)
		if ok && (challenge != "challenge" || !bytes.Equal(by, device)) {
			t.Errorf("got the challenge %q of % x", challenge, by)
		}
		// At a registration anybody may bring a key, but has to have signed with it.
		challenge, by, ok = verifyProof(sent, nil)
		if ok && (len(by) != deviceBytes || bytes.Equal(by, device) && challenge != "challenge") {
			t.Errorf("got the challenge %q of % x, which it has never signed", challenge, by)
		}
	})
}
