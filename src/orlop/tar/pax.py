"""PAX extended headers (POSIX.1-2001, pax, "Extended Header"), with the xattr records of star and libarchive.

Stricter than Go's `archive/tar`: what two readers could understand differently is refused.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ..errors import Invalid, Unsafe, Unsupported
from ..model.limits import NAME_BYTES, XATTR_VALUE_BYTES
from . import sparse
from .names import shown

_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_TEXTS = frozenset((b"path", b"linkpath", b"uname", b"gname"))
# records that change what a member is; an empty value would mean "as if absent" to some, "" to others
_FIELDS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))
_GNU_SPARSE = b"GNU.sparse."
_STAR_SPARSE = b"SCHILY.realsize"
# PAX 0.0 alone has keys that come again and again, by turns
_SEGMENT = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_LENGTH = re.compile(rb"([0-9]{1,19}) ")
_NUMBER = re.compile(rb"[0-9]+")
_TIME = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]*))?")
# what GNU tar writes for nearly every member; read at once, as whole layers consist of it
_TIMES_ONLY = re.compile(
    rb"([0-9]{2} mtime=([0-9]{1,10})(?:\.([0-9]{1,9}))?\n)"
    rb"([0-9]{2} atime=[0-9]{1,10}(?:\.[0-9]{1,9})?\n)?([0-9]{2} ctime=[0-9]{1,10}(?:\.[0-9]{1,9})?\n)?"
)
_INT64 = 1 << 63
# times outside 1677..2262 are moved to its ends, so that nanoseconds always fit in 64 bits
_LATEST = _INT64 - 1
_EARLIEST = -_INT64


class Overrides(NamedTuple):
    """What an extended header says about its member; None where it is silent."""

    path: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    sparse: sparse.Sparse | None = None


def times_only(data: bytes) -> Overrides | None:
    """The same as `overrides(records(data))` for a header of plain times and nothing else; None if it is not one."""
    match = _TIMES_ONLY.fullmatch(data)
    if match is None:
        return None
    mtime, seconds, fraction, atime, ctime = match.groups()
    for record in (mtime, atime, ctime):
        if record is not None and int(record[:2]) != len(record):
            return None
    nanoseconds = int(seconds) * 1_000_000_000
    if fraction:
        nanoseconds += int(fraction.ljust(9, b"0"))
    # what Overrides(mtime_ns=...) does, in a third of the time
    fields = (None, None, None, None, None, nanoseconds if nanoseconds < _LATEST else _LATEST, (), None)
    return tuple.__new__(Overrides, fields)


def records(data: bytes, where: str) -> dict[bytes, bytes]:
    """The `length key=value` records of an extended header. `Invalid` if any is malformed, `Unsafe` if a key
    comes twice with different values, `Unsupported` for star's sparse files. The segments of a sparse file
    in the form 0.0 are given as in the form 0.1."""
    found: dict[bytes, bytes] = {}
    segments: list[bytes] = []
    position = 0
    while position < len(data):
        match = _LENGTH.match(data, position)
        end = position + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1] != 0x0A:
            raise Invalid(f"{where}: record at byte {position} is malformed, expected 'length key=value' and a newline")
        key, equals, value = data[match.end() : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key or (b"\0" in value and key in _TEXTS):
            raise Invalid(f"{where}: record at byte {position} is malformed: key {shown(key)!r}")
        position = end
        if key == _STAR_SPARSE:
            raise Unsupported(f"{where}: {shown(key)}: sparse members are not supported", hint="write it without holes")
        if key in _SEGMENT:
            if key != _SEGMENT[len(segments) % 2] or b"," in value:
                raise Invalid(f"{where}: record {shown(key)} is malformed or out of order")
            segments.append(value)
        elif found.setdefault(key, value) != value:
            raise Unsafe(f"{where}: {shown(key)} is given twice, differently; refused as ambiguous")
    if segments and found.setdefault(b"GNU.sparse.map", b",".join(segments)) != b",".join(segments):
        raise Unsafe(f"{where}: sparse member with two maps; refused as ambiguous")
    return found


def overrides(found: Mapping[bytes, bytes], where: str) -> Overrides:
    """The fields and extended attributes in `found`. `Invalid` if malformed, `Unsafe` if ambiguous or too big."""
    empty = [shown(key) for key in found.keys() & _FIELDS if not found[key]]
    if empty:
        raise Unsafe(f"{where}: {min(empty)} is empty; refused as ambiguous")
    mtime = found.get(b"mtime")
    for key in (b"atime", b"ctime"):
        # of no use here, but Go refuses the archive
        if value := found.get(key):
            _time(value, key, where)
    return Overrides(
        path=found.get(b"path"),
        link=found.get(b"linkpath"),
        size=_number(found, b"size", where),
        uid=_number(found, b"uid", where),
        gid=_number(found, b"gid", where),
        mtime_ns=None if mtime is None else _time(mtime, b"mtime", where),
        xattrs=_xattrs(found, where),
        sparse=sparse.from_pax(found, where),
    )


def check_global(found: Mapping[bytes, bytes], where: str) -> None:
    """`Unsafe` if a global header would change members: Go ignores what others obey."""
    for key in found:
        if key in _FIELDS or key.startswith((_SCHILY, _LIBARCHIVE, _GNU_SPARSE)):
            raise Unsafe(f"{where}: {shown(key)} for all members; refused as ambiguous")


def clamp(nanoseconds: int) -> int:
    """A time that fits in 64 bits."""
    return min(max(nanoseconds, _EARLIEST), _LATEST)


def _number(found: Mapping[bytes, bytes], key: bytes, where: str) -> int | None:
    value = found.get(key)
    if value is None:
        return None
    if len(value) > 19 or not _NUMBER.fullmatch(value) or int(value) >= _INT64:
        raise Invalid(f"{where}: {shown(key)} is {shown(value)!r}, expected a decimal number below 2**63")
    return int(value)


def _time(value: bytes, key: bytes, where: str) -> int:
    match = _TIME.fullmatch(value)
    if not match or len(match[2]) > 19 or int(match[2]) >= _INT64:
        raise Invalid(f"{where}: {shown(key)} is {shown(value)!r}, expected seconds since 1970 as a decimal number")
    nanoseconds = int(match[2]) * 1_000_000_000 + int((match[3] or b"")[:9].ljust(9, b"0"))
    return clamp(-nanoseconds if match[1] else nanoseconds)


def _xattrs(found: Mapping[bytes, bytes], where: str) -> tuple[tuple[bytes, bytes], ...]:
    result: dict[bytes, bytes] = {}
    for key, value in found.items():
        if key.startswith(_SCHILY):
            name = key[len(_SCHILY) :]
        elif key.startswith(_LIBARCHIVE):
            name, value = _libarchive(key, value, where)
        else:
            continue
        if not name or b"\0" in name or len(name) > NAME_BYTES:
            raise Unsafe(f"{where}: extended attribute {shown(name)!r}: expected a name of 1 to {NAME_BYTES} bytes")
        if len(value) > XATTR_VALUE_BYTES:
            raise Unsafe(f"{where}: extended attribute {shown(name)}: over {XATTR_VALUE_BYTES} bytes")
        if result.setdefault(name, value) != value:
            raise Unsafe(f"{where}: extended attribute {shown(name)} is given twice, differently")
    return tuple(sorted(result.items()))


def _libarchive(key: bytes, value: bytes, where: str) -> tuple[bytes, bytes]:
    """libarchive writes the name percent-encoded and the value in base64 without padding."""
    try:
        decoded = b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error as error:
        raise Invalid(f"{where}: {shown(key)}: not base64: {error}") from error
    return unquote_to_bytes(key[len(_LIBARCHIVE) :]), decoded
