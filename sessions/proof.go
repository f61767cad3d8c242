package sessions

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
)

// verifyProof returns the challenge that is signed by a proof, which is a JWT
// (RFC 7519), and the key that has signed it. That must be device; if it is
// nil, for a registration, it is the key that the proof brings along. Only
// ES256 will do: it is what browsers have, and the draft's other algorithm,
// RS256, is PKCS #1 v1.5. No reason is given for a refusal, since a browser's
// proofs are always good.
func verifyProof(proof string, device []byte) (challenge string, by []byte, ok bool) {
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", nil, false
	}
	header := jws.Signatures[0].Protected
	if header.ExtraHeaders["typ"] != "dbsc+jwt" || (device == nil) != (header.JSONWebKey != nil) {
		return "", nil, false
	}
	var key *ecdsa.PublicKey
	if device == nil {
		key, _ = header.JSONWebKey.Key.(*ecdsa.PublicKey)
	} else if x, y := elliptic.UnmarshalCompressed(elliptic.P256(), device); x != nil {
		key = &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}
	}
	if key == nil || key.Curve != elliptic.P256() {
		return "", nil, false
	}
	var claims struct {
		Challenge string `json:"jti"`
	}
	content, err := jws.Verify(key)
	ok = err == nil && json.Unmarshal(content, &claims) == nil
	return claims.Challenge, elliptic.MarshalCompressed(key.Curve, key.X, key.Y), ok
}
