package main

import (
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// django reads what Django 3.1 and later has signed, as its core/signing.py says.
type django struct {
	secrets []string      // SECRET_KEY, and then SECRET_KEY_FALLBACKS
	age     time.Duration // SESSION_COOKIE_AGE
}

const (
	cookieSalt = "django.contrib.sessions.backends.signed_cookies" + "signer"
	hashSalt   = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
	base62     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// cookieForm is JSON:TIME:MAC. With a dot before it, the JSON is compressed.
var cookieForm = regexp.MustCompile(`^((\.?)([\w-]+):(\w+)):([\w-]+)$`)

// session decodes into data what a cookie of signed_cookies has.
func (d django) session(value string, data any) error {
	parts := cookieForm.FindStringSubmatch(value)
	if parts == nil {
		return errors.New("not of the form that Django makes")
	}
	signed, dot, text, stamp := parts[1], parts[2], parts[3], parts[4]
	sum, _ := base64.RawURLEncoding.DecodeString(parts[5]) // what is no base64 doesn't match
	if !d.isSigned(sum, cookieSalt, signed) {
		return errors.New("the signature doesn't match")
	}
	var seconds int64
	for _, digit := range stamp {
		seconds = seconds*62 + int64(strings.IndexRune(base62, digit))
	}
	if time.Since(time.Unix(seconds, 0)) > d.age {
		return errors.New("the session has expired")
	}
	var r io.Reader = base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(text))
	if dot != "" {
		var err error
		if r, err = zlib.NewReader(r); err != nil {
			return err
		}
	}
	return json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(data)
}

// isHash reports whether hash is what Django puts into a session at login, for a user with
// this text in the column "password" of the table auth_user.
func (d django) isHash(hash, password string) bool {
	sum, _ := hex.DecodeString(hash)
	return d.isSigned(sum, hashSalt, password)
}

// isSigned reports whether sum is what Django's salted_hmac makes of value.
func (d django) isSigned(sum []byte, salt, value string) bool {
	return slices.ContainsFunc(d.secrets, func(secret string) bool {
		key := sha256.Sum256([]byte(salt + secret))
		mac := hmac.New(sha256.New, key[:])
		mac.Write([]byte(value))
		return hmac.Equal(sum, mac.Sum(nil))
	})
}
