package sessions

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"

	"github.com/go-jose/go-jose/v4"
)

// errProof says that a proof is not good. No reason is given, since a browser's
// proofs are always good.
var errProof = errors.New("the proof is not good")

// verifyProof returns the challenge that is signed by a proof, which is a JWT
// (RFC 7519), and the key that has signed it. That must be device; if it is
// nil, for a registration, it is the key that the proof brings along. Only
// ES256 will do: it is what browsers have, and the draft's other algorithm,
// RS256, is PKCS #1 v1.5.
func verifyProof(proof string, device []byte) (challenge string, by []byte, err error) {
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", nil, err
	}
	header, registers := jws.Signatures[0].Protected, device == nil
	if header.ExtraHeaders["typ"] != "dbsc+jwt" || registers != (header.JSONWebKey != nil) {
		return "", nil, errProof
	}
	var key *ecdsa.PublicKey
	if registers {
		key, _ = header.JSONWebKey.Key.(*ecdsa.PublicKey)
	} else if x, y := elliptic.UnmarshalCompressed(elliptic.P256(), device); x != nil {
		key = &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}
	}
	if key == nil || key.Curve != elliptic.P256() {
		return "", nil, errProof
	}
	content, err := jws.Verify(key)
	if err != nil {
		return "", nil, err
	}
	var claims struct {
		Challenge string `json:"jti"`
	}
	if err := json.Unmarshal(content, &claims); err != nil {
		return "", nil, err
	}
	return claims.Challenge, elliptic.MarshalCompressed(key.Curve, key.X, key.Y), nil
}
