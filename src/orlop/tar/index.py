"""The index of a plain layer tar: its entries in a compact binary form, to be loaded instead of reading the tar.
The other half, which writes it, is `tar.index_writer`.

Layout, all little-endian: magic `ORLOPTIX`; u32 version; u32 CRC-32 of everything behind it; u64 size of the tar;
u32 number of entries n; then nine columns of n numbers (kind, mode, uid, gid, mtime_ns, size, offset / 512,
major, minor), each one byte of `struct` type code (the narrowest of B H I Q, or q for times) and its
values; then the names and the link targets, each u64 length and n strings with a NUL between; then for each entry
with extended attributes u32 entry, u32 count, and per attribute u32 and u32 lengths, name, value.
Offsets are the data's in the plain tar, so that a single file can be fetched by range.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import add
from struct import Struct, calcsize, unpack_from
from struct import error as struct_error
from zlib import crc32

from ..errors import Invalid
from ..model.limits import TAR_ENTRIES
from ..model.tree import Entry, Kind

_MAGIC = b"ORLOPTIX"
_VERSION = 1
_HEAD = Struct("<8sII")
COUNTS = Struct("<QI")
START = _HEAD.size + COUNTS.size
LENGTH = Struct("<Q")
PAIR = Struct("<II")
BLOCK = 512
_KINDS = tuple(Kind)
_WIDTHS = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32), ("Q", 1 << 64))
_NO_XATTRS: tuple[tuple[bytes, bytes], ...] = ()


def head(checksum: int) -> bytes:
    """What stands before the body, whose CRC-32 is `checksum`."""
    return _HEAD.pack(_MAGIC, _VERSION, checksum)


def width(numbers: Sequence[int]) -> str:
    """The type code of the narrowest column that holds them."""
    largest = max(numbers, default=0)
    return next(code for code, bound in _WIDTHS if largest < bound)


def count(start: bytes) -> int:
    """The number of entries, by the first bytes of an index: `START` are enough. 0 if it is none."""
    return int(COUNTS.unpack_from(start, _HEAD.size)[1]) if len(start) >= START and start.startswith(_MAGIC) else 0


def load(raw: bytes) -> tuple[list[Entry], int]:
    """(entries, size of the tar) from what `IndexWriter` gave. `Invalid` if it is damaged or something else."""
    if len(raw) < _HEAD.size or not raw.startswith(_MAGIC):
        raise Invalid("tar index: not an index")
    _, version, checksum = _HEAD.unpack_from(raw)
    if version != _VERSION:
        raise Invalid(f"tar index: version is {version}, expected {_VERSION}", hint="make it again from the layer")
    if crc32(memoryview(raw)[_HEAD.size :]) != checksum:
        raise Invalid("tar index: damaged, its checksum is wrong", hint="make it again from the layer")
    try:
        return _load(raw)
    except (struct_error, ValueError, IndexError) as error:
        raise Invalid(f"tar index: malformed: {error}") from error


class _Cursor:
    """Reads on from a place in the index; whatever is cut short raises `ValueError` or `struct.error`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.position = _HEAD.size

    def fields(self, shape: Struct) -> tuple[int, ...]:
        values: tuple[int, ...] = shape.unpack_from(self.raw, self.position)
        self.position += shape.size
        return values

    def column(self, count: int, codes: str) -> tuple[int, ...]:
        code = chr(self.raw[self.position])
        if code not in codes:
            raise ValueError(f"column of type {code!r}")
        shape = f"<{count}{code}"
        values: tuple[int, ...] = unpack_from(shape, self.raw, self.position + 1)
        self.position += 1 + calcsize(shape)
        return values

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.raw):
            raise ValueError("cut short")
        value = self.raw[self.position : end]
        self.position = end
        return value

    def strings(self, count: int) -> list[bytes]:
        joined = self.take(*self.fields(LENGTH))
        strings = joined.split(b"\0") if count else []
        if len(strings) != count:
            raise ValueError(f"{len(strings)} strings for {count} entries")
        return strings


def _load(raw: bytes) -> tuple[list[Entry], int]:
    cursor = _Cursor(raw)
    tar_size, count = cursor.fields(COUNTS)
    if count > TAR_ENTRIES:
        raise ValueError(f"{count} entries")
    kinds, modes, uids, gids = (cursor.column(count, "BHI") for _ in range(4))
    times = cursor.column(count, "q")
    sizes, blocks, majors, minors = (cursor.column(count, "BHIQ") for _ in range(4))
    if max(modes, default=0) > 0o7777:
        raise ValueError("mode out of range")
    offsets = [block * BLOCK for block in blocks]
    if max(map(add, offsets, sizes), default=0) > tar_size:
        raise ValueError("data beyond the end of the tar")
    names, links = cursor.strings(count), cursor.strings(count)
    xattrs = _load_xattrs(cursor, count)
    rows = zip(
        [_KINDS[kind] for kind in kinds],
        names,
        links,
        modes,
        uids,
        gids,
        times,
        sizes,
        offsets,
        majors,
        minors,
        xattrs,
        strict=True,
    )
    # all in C: Entry._make would take as long as everything else together
    return list(map(tuple.__new__, repeat(Entry), rows)), tar_size


def _load_xattrs(cursor: _Cursor, count: int) -> list[tuple[tuple[bytes, bytes], ...]]:
    result = [_NO_XATTRS] * count
    while cursor.position < len(cursor.raw):
        number, pairs = cursor.fields(PAIR)
        found = []
        for _ in range(pairs):
            name_size, value_size = cursor.fields(PAIR)
            found.append((cursor.take(name_size), cursor.take(value_size)))
        result[number] = tuple(found)
    return result
