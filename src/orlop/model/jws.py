"""Signatures of Docker schema 1 manifests: ES256 (RFC 7518 section 3.4, FIPS 186-4), checked with integers.

The key stands in the signature's own header, so a good signature proves that the bytes are whole, not who
made them. One check takes some 20 ms; there is one a manifest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from ..errors import Invalid, Mismatch, Unsupported

# P-256: y^2 = x^3 - 3x + B over the integers modulo P; G generates a group of order N (SP 800-186, 3.2.1.3)
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}", re.ASCII)

_Point = tuple[int, int, int]  # Jacobian: x = X / Z^2, y = Y / Z^3; Z = 0 is infinity
_INFINITY: _Point = (1, 1, 0)


def decode(text: object, what: str) -> bytes:
    """Base64url, with or without padding, nothing else in it. `Invalid`."""
    if not isinstance(text, str) or _BASE64URL.fullmatch(text) is None:
        raise Invalid(f"manifest signature: {what} is not base64url")
    plain = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"manifest signature: {what} is not base64url") from error


def verify(signature: Mapping[str, Any], payload: bytes) -> None:
    """Check one entry of `signatures` over `payload`.

    `Mismatch` if it is not by its key, `Invalid` if malformed, `Unsupported` for algorithms other than ES256.
    """
    header = signature.get("header")
    key = header.get("jwk") if isinstance(header, dict) else None
    if not isinstance(header, dict) or header.get("alg") != "ES256" or not isinstance(key, dict):
        algorithm = header.get("alg") if isinstance(header, dict) else None
        raise Unsupported(f"manifest signature: algorithm {str(algorithm)[:20]!r}, expected ES256 with its key")
    if key.get("kty") != "EC" or key.get("crv") != "P-256":
        raise Invalid("manifest signature: the key is not a P-256 key")
    point = (_number(decode(key.get("x"), "x")), _number(decode(key.get("y"), "y")))
    value = decode(signature.get("signature"), "signature")
    protected = signature.get("protected")
    if len(value) != 64 or not isinstance(protected, str):
        raise Invalid("manifest signature: expected 64 bytes and a protected header")
    body = base64.urlsafe_b64encode(payload).rstrip(b"=")
    signed = protected.encode("ascii", errors="replace") + b"." + body
    if not _is_signed(point, signed, _number(value[:32]), _number(value[32:])):
        raise Mismatch("manifest signature: does not fit the manifest; it was changed after it was signed")


def _is_signed(key: tuple[int, int], message: bytes, r: int, s: int) -> bool:
    x, y = key
    on_curve = x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    if not on_curve or not (0 < r < _N and 0 < s < _N):
        return False
    hashed = _number(hashlib.sha256(message).digest())
    inverse = pow(s, -1, _N)
    point = _sum(_times(hashed * inverse % _N, (*_G, 1)), _times(r * inverse % _N, (x, y, 1)))
    if point[2] == 0:
        return False
    return point[0] * pow(point[2], -2, _P) % _P % _N == r


def _times(factor: int, point: _Point) -> _Point:
    result = _INFINITY
    for bit in f"{factor:b}":
        result = _double(result)
        if bit == "1":
            result = _sum(result, point)
    return result


def _double(point: _Point) -> _Point:
    x, y, z = point
    if y == 0 or z == 0:
        return _INFINITY
    yy = y * y % _P
    s = 4 * x * yy % _P
    zz = z * z % _P
    m = 3 * (x - zz) * (x + zz) % _P
    x3 = (m * m - 2 * s) % _P
    return x3, (m * (s - x3) - 8 * yy * yy) % _P, 2 * y * z % _P


def _sum(one: _Point, other: _Point) -> _Point:
    if one[2] == 0:
        return other
    if other[2] == 0:
        return one
    (x1, y1, z1), (x2, y2, z2) = one, other
    zz1, zz2 = z1 * z1 % _P, z2 * z2 % _P
    u1, u2 = x1 * zz2 % _P, x2 * zz1 % _P
    s1, s2 = y1 * zz2 * z2 % _P, y2 * zz1 * z1 % _P
    if u1 == u2:
        return _double(one) if s1 == s2 else _INFINITY
    h, r = u2 - u1, s2 - s1
    hh = h * h % _P
    hhh, v = h * hh % _P, u1 * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - s1 * hhh) % _P, h * z1 * z2 % _P


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")
