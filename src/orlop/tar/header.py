"""One 512-byte tar header block: v7, ustar (POSIX.1-1988), old GNU and star, told apart and read as Go's
`archive/tar` does, since that is what every other tool of this field uses."""

from __future__ import annotations

import re
from struct import Struct
from zlib import adler32

from ..errors import Invalid

BLOCK = 512
ZERO = bytes(BLOCK)

# name; mode, uid and gid together; size; mtime; checksum; type; link; everything from the magic on
_FIELDS = Struct("100s24s12s12s8sB100s255s")
_OCTAL = re.compile(rb"[0-7]+")
# layers repeat owners, dates and tails over and over; the bound keeps a hostile one from filling memory
_CACHED = 4096
_INT64 = 1 << 63


# (type, name, link, mode, uid, gid, size, mtime in seconds, major, minor): what the block itself says. Numbers may
# be anything that fits in 64 bits, negative included. A plain tuple, for the sake of speed.
Header = tuple[int, bytes, bytes, int, int, int, int, int, int, int]


class Headers:
    """Reads header blocks of one archive, remembering fields it has seen."""

    def __init__(self) -> None:
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._numbers: dict[bytes, int] = {}
        self._tails: dict[bytes, tuple[bytes, int, int]] = {}
        # checksum field -> the Adler-32 sum (its low half) of the whole block that it fits
        self._sums: dict[bytes, int] = {}

    def parse(self, data: bytes, position: int, at: int) -> Header:
        """The header in `data[position:position + 512]`, which stands at byte `at` of the archive.

        `Invalid` for a wrong checksum and for numbers that are neither octal nor base-256.
        """
        block = data[position : position + BLOCK]
        name, owner, size, mtime, checksum, kind, link, tail = _FIELDS.unpack(block)
        try:
            # adler32's low half is the sum and 1, modulo 65521: exact for 512 bytes below 128, as for any 256
            if not block.isascii() or self._sums.get(checksum) != adler32(block) & 0xFFFF:
                self._check(block, checksum)
            mode, uid, gid = self._owners.get(owner) or self._read_owner(owner)
            prefix, major, minor = self._tails.get(tail) or self._read_tail(tail)
            time = self._numbers.get(mtime)
            if time is None:
                time = self._read_number(mtime)
            name = prefix + name.partition(b"\0")[0]
            link = link.partition(b"\0")[0] if link[0] else b""
            return kind, name, link, mode, uid, gid, number(size), time, major, minor
        except Invalid as error:
            raise Invalid(f"tar header at byte {at}: {error.message}") from error

    def _check(self, block: bytes, checksum: bytes) -> None:
        """`Invalid` unless the bytes, the checksum itself as eight spaces, add up to it."""
        wanted = number(checksum)
        own = sum(checksum)
        total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
        if wanted == total - own + 8 * 0x20:
            if len(self._sums) >= _CACHED:
                self._sums.clear()
            self._sums[checksum] = total + 1
        else:
            _check_signed(block, wanted)

    def _read_number(self, field: bytes) -> int:
        if len(self._numbers) >= _CACHED:
            self._numbers.clear()
        result = self._numbers[field] = number(field)
        return result

    def _read_owner(self, field: bytes) -> tuple[int, int, int]:
        if len(self._owners) >= _CACHED:
            self._owners.clear()
        result = self._owners[field] = (number(field[:8]), number(field[8:16]), number(field[16:]))
        return result

    def _read_tail(self, field: bytes) -> tuple[bytes, int, int]:
        if len(self._tails) >= _CACHED:
            self._tails.clear()
        result = self._tails[field] = _tail(field)
        return result


def number(field: bytes) -> int:
    """An octal or base-256 (GNU) number field; empty is 0."""
    # nearly all are zero-padded and end in NUL
    if field[-1] == 0 and (digits := field[:-1]).isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=True)
        if not field[0] & 0x40:
            value += 1 << (8 * len(field) - 1)
        if not -_INT64 <= value < _INT64:
            raise Invalid("a base-256 number does not fit in 64 bits")
        return value
    text = field.strip(b" \0").split(b"\0", 1)[0]
    if not text:
        return 0
    if not _OCTAL.fullmatch(text):
        raise Invalid("a number is not of octal digits")
    return int(text, 8)


def _check_signed(block: bytes, wanted: int) -> None:
    """Some old tars summed the bytes as signed; take that too, as everyone does."""
    block = block[:148] + b" " * 8 + block[156:]
    total = sum(block)
    if wanted != total - 256 * sum(byte >> 7 for byte in block):
        raise Invalid(f"checksum is {wanted}, expected {total}")


def _tail(field: bytes) -> tuple[bytes, int, int]:
    """(prefix of the name with its slash, device major, minor) from bytes 257 to 511 of the block."""
    magic = field[:6]
    gnu = field[:8] == b"ustar  \0"
    if not gnu and magic != b"ustar\0":
        return b"", 0, 0
    major, minor = number(field[72:80]), number(field[80:88])
    if gnu:
        prefix = _gnu_prefix(field)
    elif field[251:] == b"tar\0":
        number(field[219:231])
        number(field[231:243])
        prefix = field[88:219].split(b"\0", 1)[0]
    else:
        prefix = field[88:243].split(b"\0", 1)[0]
    return (prefix + b"/" if prefix else b""), major, minor


def _gnu_prefix(field: bytes) -> bytes:
    """GNU headers have times where ustar has the prefix; Go before 1.8 wrote a prefix: golang.org/issue/12594."""
    try:
        for time in (field[88:100], field[100:112]):
            if time[0]:
                number(time)
    except Invalid:
        prefix = field[88:243].split(b"\0", 1)[0]
        return prefix if prefix.isascii() else b""
    return b""
