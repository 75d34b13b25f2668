"""Sparse members: GNU's old form (type S) and its PAX forms 0.0, 0.1 and 1.0, read as Go's `archive/tar` does.

Nothing but this package learns of them. The data of such a member stands once more behind the tar, in the same file,
as the member has it: with its holes, in one piece. So its entry has an offset and a size, as all others have.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..errors import Invalid, Unsafe, Unsupported
from ..model.limits import (
    LAYER_PLAIN_BYTES,
    SPARSE_BYTES,
    SPARSE_PAGES_FREE_BYTES,
    SPARSE_PAGES_RATIO,
    SPARSE_SEGMENTS,
)
from .header import BLOCK, number
from .names import shown

# offsets from here on count from where the tar ends, for that is not known yet when the entry is made
BEHIND = LAYER_PLAIN_BYTES
# file systems keep holes in whole pages
_PAGE = 4096
_PREFIX = b"GNU.sparse."
_NUMBER = re.compile(rb"[0-9]{1,19}")
_BETWEEN_COMMAS = re.compile(rb"(?:\A|(?<=,))[^,]*")
# where an old GNU header, and each block that continues it, have the map: (start, entries), then "more follows"
_FIRST, _NEXT = (386, 4), (0, 21)
_FIELD = 12
_GNU = b"ustar  \0"


class Sparse(NamedTuple):
    """What a header says of a sparse member. `segments` None: they stand before its data (PAX 1.0)."""

    name: bytes | None  # the real one, where the header's is made up
    size: int  # with holes
    # offset in the member, bytes, offset, bytes ...: as tuples, the largest map would take ten times the memory.
    # Signed, for base-256 numbers may be negative; `check` refuses those.
    segments: array[int] | None


class Expansion:
    """Where the data of a layer's sparse members is to stand: in the order of the tar, page after page."""

    def __init__(self) -> None:
        self.size = 0  # of all, holes included
        self._pages = 0  # that hold data, and so take space on disk
        # where a piece stands in the tar, where it is to stand behind the tar, its bytes; and again
        self._pieces = array("Q")

    def add(self, size: int, segments: array[int], data: int, about: str) -> int:
        """Make room for a member of `size` bytes whose `segments` stand in a row from offset `data` of the tar on;
        returns the offset for its entry. `Unsafe` beyond the limits of a layer."""
        if not size:
            return data
        place = self.size
        self.size += size + -size % _PAGE
        if self.size > SPARSE_BYTES:
            raise Unsafe(f"{about}: over {SPARSE_BYTES} bytes in the sparse members of one layer, holes included")
        last = -1
        for offset, length in _pairs(segments):
            if length:
                self._pieces.extend((data, place + offset, length))
                data += length
                first, before = offset // _PAGE, last
                last = (offset + length - 1) // _PAGE
                self._pages += last - first + (first != before)
        # a byte in a page of its own takes all of the page: a bomb, though nothing is compressed (RX01)
        if self._pages * _PAGE > SPARSE_PAGES_FREE_BYTES + SPARSE_PAGES_RATIO * data:
            raise Unsafe(f"{about}: sparse members take over {SPARSE_PAGES_RATIO} times the tar, refused as a bomb")
        if len(self._pieces) > 3 * SPARSE_SEGMENTS:
            raise Unsafe(f"{about}: over {SPARSE_SEGMENTS} segments in the sparse members of one layer")
        return BEHIND + place

    def pieces(self, start: int) -> Iterator[tuple[int, int, int]]:
        """Each (offset in the tar, offset to copy it to, bytes), where the first member is to stand at `start`."""
        held = iter(self._pieces)
        for source, place, length in zip(held, held, held, strict=True):
            yield source, start + place, length


def start_behind(tar_size: int) -> int:
    """Where the first sparse member is to stand."""
    return tar_size + -tar_size % _PAGE


def from_pax(found: Mapping[bytes, bytes], where: str) -> Sparse | None:
    """The sparse member that the records of an extended header describe; None if they are of a plain one."""
    records = {key[len(_PREFIX) :]: value for key, value in found.items() if key.startswith(_PREFIX)}
    if not records:
        return None
    version = records.get(b"major"), records.get(b"minor")
    if version not in ((None, None), (b"0", b"0"), (b"0", b"1"), (b"1", b"0")):
        raise Unsupported(f"{where}: this version of sparse members is not supported", hint="write it without holes")
    sizes = {records[key] for key in (b"size", b"realsize") if key in records}
    if len(sizes) != 1:
        raise Unsafe(f"{where}: sparse member without one real size; refused as ambiguous")
    size = _decimal(sizes.pop(), where)
    name = records.get(b"name")
    if name is not None and (not name or b"\0" in name):
        raise Invalid(f"{where}: the name of a sparse member is empty or has a NUL in it")
    if version == (b"1", b"0"):
        if b"map" in records:
            raise Unsafe(f"{where}: sparse member with two maps; refused as ambiguous")
        return Sparse(name, size, None)
    text = records.get(b"map", b"")
    _check_count((text.count(b",") + 1) // 2, where)
    numbers = array("q", (_decimal(found[0], where) for found in _BETWEEN_COMMAS.finditer(text)))
    if len(numbers) != 2 * _decimal(records.get(b"numblocks", b""), where):
        raise Invalid(f"{where}: sparse map of {len(numbers)} numbers, expected two for each of its numblocks")
    return Sparse(name, size, numbers)


def from_old_header(header: bytes, more: Callable[[], bytes], where: str) -> Sparse:
    """What an old GNU header of type S says; `more` reads the next block of the archive."""
    if header[257:265] != _GNU:
        raise Unsupported(f"{where}: sparse member that is not GNU's is not supported", hint="write it without holes")
    try:
        size = number(header[483:495])
        numbers = array("q")
        block, (start, entries) = header, _FIRST
        while True:
            end = start + 2 * _FIELD * entries
            for at in range(start, end, 2 * _FIELD):
                if not block[at]:
                    break
                numbers.append(number(block[at : at + _FIELD]))
                numbers.append(number(block[at + _FIELD : at + 2 * _FIELD]))
            _check_count(len(numbers) // 2, where)
            if not block[end]:
                break
            block, (start, entries) = more(), _NEXT
    except Invalid as error:
        raise Invalid(f"{where}: sparse map: {error.message}") from error
    return Sparse(None, size, numbers)


def read_map(more: Callable[[], bytes], where: str) -> tuple[array[int], int]:
    """The map before the data of a PAX 1.0 member, decimal lines in whole blocks, and the bytes it takes."""
    numbers = array("q")
    wanted, size, rest = -1, 0, b""
    while len(numbers) != wanted:
        *lines, rest = (rest + more()).split(b"\n")
        size += BLOCK
        if len(rest) > BLOCK:
            raise Invalid(f"{where}: sparse map is not of decimal lines")
        for line in lines:
            if wanted < 0:
                count = _decimal(line, where)
                _check_count(count, where)
                wanted = 2 * count
            else:
                numbers.append(_decimal(line, where))
            if len(numbers) == wanted:
                break
    return numbers, size


def check(segments: array[int], size: int, stored: int, where: str) -> None:
    """`Invalid` unless the segments go forward, lie within `size` bytes, and are `stored` bytes together."""
    end = total = 0
    for offset, length in _pairs(segments):
        if offset < end or length < 0 or offset + length > size:
            raise Invalid(f"{where}: sparse map: {length} bytes at {offset}, expected them within {end}..{size}")
        end = offset + length
        total += length
    if size < 0 or total != stored:
        raise Invalid(f"{where}: sparse member of {size} bytes: its map has {total} bytes of data, expected {stored}")


def _pairs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    held = iter(numbers)
    return zip(held, held, strict=True)


def _check_count(count: int, where: str) -> None:
    if count > SPARSE_SEGMENTS:
        raise Unsafe(f"{where}: sparse map of over {SPARSE_SEGMENTS} segments")


def _decimal(text: bytes, where: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= 1 << 63:
        raise Invalid(f"{where}: sparse map: {shown(text)!r}, expected a decimal number below 2**63")
    return int(text)
