"""The index of a plain layer tar: its entries in a compact binary form, to be loaded instead of reading the tar.
The other half, which writes it, is `tar.index_writer`.

Layout, all little-endian: magic `ORLOPTIX`; u32 version; u32 CRC-32 of everything behind it; u64 size of the tar;
u32 number of entries n; then nine columns of n numbers (kind, mode, uid, gid, mtime_ns, size, offset / 512,
major, minor), each one byte of `struct` type code (the narrowest of B H I Q, or q for times) and its
values; then the names and the link targets, each u64 length and n strings with a NUL between; then for each entry
with extended attributes u32 entry, u32 count, and per attribute u32 and u32 lengths, name, value.
Offsets are the data's in the plain tar, so that a single file can be fetched by range; those of sparse members point
behind it, to where their data stands once more with its holes, and the size of the tar is then with all of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from operator import add
from struct import Struct, calcsize, unpack_from
from struct import error as struct_error
from typing import overload
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
# columns of numbers, and which of them are the times
NUMBERS, TIME = 9, 4
_KINDS = tuple(Kind)
_WIDTHS = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32), ("Q", 1 << 64))
_Xattrs = tuple[tuple[bytes, bytes], ...]
# numbers of a column, and bytes of the names, that are held as objects at once
_BATCH = 4096
_PIECE = 1 << 17


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


def load(raw: bytes) -> tuple[Sequence[Entry], int]:
    """(entries, size of the tar) from what `IndexWriter` gave. `Invalid` if it is damaged or something else.

    The entries are made from `raw` as they are asked for, each time anew: as objects they take ten times as much.
    """
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


class _Column:
    """Numbers in the index."""

    def __init__(self, raw: bytes, position: int, code: str, count: int) -> None:
        self._raw = raw
        self._position = position
        self._code = code
        self._count = count

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[tuple[int, ...]]:
        width = calcsize(f"<{self._code}")
        for start in range(0, self._count, _BATCH):
            shape = f"<{min(_BATCH, self._count - start)}{self._code}"
            yield unpack_from(shape, self._raw, self._position + start * width)

    def shared(self) -> Iterator[int]:
        """The same, equal numbers being one object: what a tree holds of modes, owners and times."""
        if self._code == "B":
            return iter(self)  # these are one object each anyway
        return chain.from_iterable(self._shared_batches())

    def _shared_batches(self) -> Iterator[tuple[int, ...]]:
        known: dict[int, int] = {}
        for batch in self._batches():
            if len(known) > _BATCH:
                known.clear()
            yield tuple(map(known.setdefault, batch, batch))


class _Strings:
    """Names in the index, with a NUL between."""

    def __init__(self, raw: bytes, start: int, end: int) -> None:
        self._raw = raw
        self._start = start
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[bytes]]:
        rest = b""
        for at in range(self._start, self._end, _PIECE):
            *whole, rest = (rest + self._raw[at : min(at + _PIECE, self._end)]).split(b"\0")
            yield whole
        yield [rest]


class _Entries(Sequence[Entry]):
    """What an index says, made into entries on the way."""

    def __init__(
        self, count: int, columns: Sequence[_Column], strings: Sequence[_Strings], xattrs: dict[int, _Xattrs]
    ) -> None:
        self._count = count
        self._columns = columns
        self._strings = strings
        self._xattrs = xattrs

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        if not self._count:
            return iter(())
        kinds, modes, uids, gids, times, sizes, blocks, majors, minors = self._columns
        names, links = self._strings
        found = self._xattrs
        rows = zip(
            map(_KINDS.__getitem__, kinds),
            names,
            links,
            modes.shared(),
            uids.shared(),
            gids.shared(),
            times.shared(),
            sizes,
            map(BLOCK.__mul__, blocks),
            majors,
            minors,
            (found.get(number, ()) for number in range(self._count)) if found else repeat((), self._count),
            strict=True,
        )
        # all in C: Entry._make would take as long as everything else together
        return map(tuple.__new__, repeat(Entry), rows)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return list(self)[index]


class _Cursor:
    """Reads on from a place in the index; whatever is cut short raises `ValueError` or `struct.error`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.position = _HEAD.size

    def fields(self, shape: Struct) -> tuple[int, ...]:
        values: tuple[int, ...] = shape.unpack_from(self.raw, self.position)
        self.position += shape.size
        return values

    def column(self, count: int, codes: str) -> _Column:
        code = chr(self.raw[self.position])
        if code not in codes:
            raise ValueError(f"column of type {code!r}")
        position = self.position + 1
        self.skip(1 + count * calcsize(f"<{code}"))
        return _Column(self.raw, position, code, count)

    def skip(self, size: int) -> None:
        if self.position + size > len(self.raw):
            raise ValueError("cut short")
        self.position += size

    def take(self, size: int) -> bytes:
        self.skip(size)
        return self.raw[self.position - size : self.position]

    def strings(self, count: int) -> _Strings:
        (size,) = self.fields(LENGTH)
        start = self.position
        self.skip(size)
        found = self.raw.count(b"\0", start, self.position) + 1 if count or size else 0
        if found != count:
            raise ValueError(f"{found} strings for {count} entries")
        return _Strings(self.raw, start, self.position)


def _load(raw: bytes) -> tuple[_Entries, int]:
    cursor = _Cursor(raw)
    tar_size, count = cursor.fields(COUNTS)
    if count > TAR_ENTRIES:
        raise ValueError(f"{count} entries")
    columns = [cursor.column(count, "q" if number == TIME else "BHIQ") for number in range(NUMBERS)]
    kinds, modes, _, _, _, sizes, blocks, _, _ = columns
    if max(kinds, default=0) >= len(_KINDS):
        raise ValueError("kind out of range")
    if max(modes, default=0) > 0o7777:
        raise ValueError("mode out of range")
    if max(map(add, map(BLOCK.__mul__, blocks), sizes), default=0) > tar_size:
        raise ValueError("data beyond the end of the tar")
    strings = [cursor.strings(count), cursor.strings(count)]
    return _Entries(count, columns, strings, _load_xattrs(cursor, count)), tar_size


def _load_xattrs(cursor: _Cursor, count: int) -> dict[int, _Xattrs]:
    result: dict[int, _Xattrs] = {}
    while cursor.position < len(cursor.raw):
        number, pairs = cursor.fields(PAIR)
        if number >= count:
            raise ValueError(f"attributes of entry {number} of {count}")
        found = []
        for _ in range(pairs):
            name_size, value_size = cursor.fields(PAIR)
            found.append((cursor.take(name_size), cursor.take(value_size)))
        result[number] = tuple(found)
    return result
