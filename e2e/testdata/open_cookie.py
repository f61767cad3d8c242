"""Opens a cookie, as docs/format.md has it.

    python3 open_cookie.py KEY NAME VALUE     prints its verdict and what is in it
    python3 open_cookie.py vectors.json       opens each of the test vectors

It needs python3 and, for encrypted cookies, the package cryptography or openssl.
"""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import time

IDLE, LIFETIME, SKEW, MAX_SIZE = 14 * 86400, 90 * 86400, 60, 4096


def hkdf(secret, label, length):
    """HKDF-SHA256 without a salt (RFC 5869), for up to 32 bytes."""
    prk = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(prk, label.encode() + b"\x01", hashlib.sha256)[:length]


def derive(key):
    """The codecs of a key: mode, key of the MAC and key of the cipher, by id."""
    secret, codecs = bytes.fromhex(key), {}
    for mode in "signed", "encrypted":
        label = f"cookiesession v1 {mode} "
        name = base64.b32encode(hkdf(secret, label + "id", 5))[:6].decode().lower()
        mac, block = (hkdf(secret, label + "session " + k, 32) for k in ("mac", "block"))
        codecs[name] = mode, mac, block
    return codecs


def unbase(text):
    """Decodes base64url without padding in its one spelling, or returns None."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return None
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    same = base64.urlsafe_b64encode(decoded).decode().rstrip("=") == text
    return decoded if same else None


def decrypt(key, content):
    """AES-256 in counter mode."""
    iv, ciphertext = content[:16], content[16:]
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        command = ["openssl", "enc", "-d", "-aes-256-ctr", "-K", key.hex(), "-iv", iv.hex()]
        return subprocess.run(command, input=ciphertext, capture_output=True, check=True).stdout
    return Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor().update(ciphertext)


def cbor(data, at, depth=16):
    """Decodes an item of CBOR (RFC 8949) at a place. It returns what is behind it, too."""
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    number = short
    if short >= 24:
        width = {24: 1, 25: 2, 26: 4, 27: 8}[short]
        number, at = int.from_bytes(data[at:at + width], "big"), at + width
    if at > len(data) or major in (4, 5) and depth == 0:
        raise ValueError("cut, or too deep")
    if major < 2:
        return (number, -1 - number)[major], at
    if major < 4:
        if at + number > len(data):
            raise ValueError("cut")
        content = data[at:at + number]
        return (content if major == 2 else content.decode()), at + number
    if major == 4:
        items = []
        for _ in range(number):
            item, at = cbor(data, at, depth - 1)
            items.append(item)
        return items, at
    if major == 5:
        entries = {}
        for _ in range(number):
            key, at = cbor(data, at, depth - 1)
            if key in entries:
                raise ValueError("a key twice")
            entries[key], at = cbor(data, at, depth - 1)
        return entries, at
    if major == 7 and short in (20, 21, 22):
        return {20: False, 21: True, 22: None}[short], at
    raise ValueError("a tag, or a kind of number that this program needs not know")


def parse(content):
    """Returns the payload as a list, or None."""
    try:
        payload, end = cbor(content, 0)
    except (ValueError, IndexError, KeyError, TypeError):
        return None
    if end != len(content) or not isinstance(payload, list) or len(payload) not in (3, 4):
        return None
    began, since, data = payload[:3]
    times = all(type(n) is int and 0 <= n < 2**32 for n in (began, since))
    device = len(payload) == 3 or isinstance(payload[3], bytes) and len(payload[3]) == 33
    return payload if times and device and isinstance(data, dict) else None


def open_cookie(keys, name, value, now):
    """Returns a verdict, the payload's bytes, and the payload as a list."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if len(name) + len(value) > MAX_SIZE:
        return "too large", b"", None
    key_id, _, text = value.partition(".")
    sealed = unbase(text)
    if not re.fullmatch(r"[a-z2-7]{6}", key_id) or sealed is None:
        return "malformed", b"", None
    codecs = {}
    for key in keys:
        codecs.update(derive(key))
    if key_id not in codecs:
        return "unknown key", b"", None
    mode, mac_key, block_key = codecs[key_id]
    parts = sealed.split(b"|", 2)
    if len(parts) < 3:
        return "tampered", b"", None
    date, inner, mac = parts
    signed = name.encode() + b"|" + date + b"|" + inner
    if not hmac.compare_digest(hmac.digest(mac_key, signed, hashlib.sha256), mac):
        return "tampered", b"", None
    content = base64.urlsafe_b64decode(inner)
    if mode == "encrypted":
        content = decrypt(block_key, content)
    payload = parse(content)
    if payload is None:
        return "malformed", content, None
    began, written = payload[0], payload[0] + payload[1]
    verdict = "valid"
    if written > now + SKEW:
        verdict = "from the future"
    elif now > began + LIFETIME:
        verdict = "too old"
    elif now > written + IDLE:
        verdict = "expired"
    return verdict, content, payload


def check(file):
    """Opens each vector of a file, and says which has another verdict or payload."""
    with open(file, encoding="utf-8") as f:
        vectors = json.load(f)
    wrong = 0
    for v in vectors:
        verdict, content, _ = open_cookie(v["keys"], v["cookie"], v["value"], v["now"])
        if (verdict, content.hex()) != (v["verdict"], v["payload"]):
            wrong += 1
            print(f"{v['mode']}, {v['about']}: got {verdict} with {content.hex()}")
    print(f"{len(vectors) - wrong} of {len(vectors)} vectors are right")
    return wrong > 0 or not vectors


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(check(sys.argv[1]))
    verdict, _, payload = open_cookie([sys.argv[1]], sys.argv[2], sys.argv[3], int(time.time()))
    print(verdict, payload)
