"""Writes the index of a layer (`tar.index`) as its entries come, in little memory however many there are.

Columns are kept in pieces in a scratch file until their widths are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from struct import pack, unpack
from typing import Any, NamedTuple
from zlib import crc32

from ..model.tree import Entry
from . import index
from .sparse import BEHIND

# entries held at once: four megabytes of them, or some more with long names
_BATCH = 4096
_COPY = 1 << 20
# in the order of the format: kind, mode, uid, gid, mtime, size, block, major, minor, then names and links
_BLOCKS, _STRINGS = 6, (9, 10)
_ORDER = "BHIQ"


class _Piece(NamedTuple):
    code: str
    numbers: int
    offset: int
    size: int


class IndexWriter:
    """`write(data, offset)` and `read(size, offset)` are those of the scratch file. One `add`, then `parts`."""

    def __init__(self, write: Callable[[bytes, int], None], read: Callable[[int, int], bytes]) -> None:
        self._write = write
        self._read = read
        self._end = 0
        self._count = 0
        self._columns: list[list[_Piece]] = [[] for _ in range(index.NUMBERS + len(_STRINGS))]
        self._xattrs: list[_Piece] = []

    def add(self, entries: Iterable[Entry]) -> None:
        """All entries of the layer, in order."""
        source = iter(entries)
        while batch := list(islice(source, _BATCH)):
            self._add(batch)

    def _add(self, batch: Sequence[Entry]) -> None:
        columns: list[tuple[Any, ...]] = list(zip(*batch, strict=True))
        kinds, names, links, modes, uids, gids, times, sizes, offsets, majors, minors, xattrs = columns
        blocks = [offset // index.BLOCK for offset in offsets]
        for column, numbers in enumerate((kinds, modes, uids, gids, times, sizes, blocks, majors, minors)):
            code = "q" if column == index.TIME else index.width(numbers)
            self._keep(self._columns[column], code, len(batch), pack(f"<{len(batch)}{code}", *numbers))
        for column, strings in zip(_STRINGS, (names, links), strict=True):
            self._keep(self._columns[column], "", len(batch), b"\0".join(strings))
        self._add_xattrs(xattrs)
        self._count += len(batch)

    def _add_xattrs(self, xattrs: Sequence[tuple[tuple[bytes, bytes], ...]]) -> None:
        held = bytearray()
        for number, pairs in enumerate(xattrs, self._count):
            if pairs:
                held += index.PAIR.pack(number, len(pairs))
                for name, value in pairs:
                    held += index.PAIR.pack(len(name), len(value)) + name + value
            if len(held) > _COPY:
                self._keep(self._xattrs, "", 0, bytes(held))
                held.clear()
        if held:
            self._keep(self._xattrs, "", 0, bytes(held))

    def _keep(self, pieces: list[_Piece], code: str, numbers: int, data: bytes) -> None:
        self._write(data, self._end)
        pieces.append(_Piece(code, numbers, self._end, len(data)))
        self._end += len(data)

    def parts(self, *, tar_size: int, behind: int | None = None) -> Iterator[bytes]:
        """The index of a tar of `tar_size` bytes. Equal entries give equal bytes. `behind`: the offset that stands
        for `sparse.BEHIND`, where the tar has sparse members; `tar_size` is then with what stands behind it."""
        checksum = 0
        for part in self._body(tar_size, behind):
            checksum = crc32(part, checksum)
        yield index.head(checksum)
        yield from self._body(tar_size, behind)

    def _body(self, tar_size: int, behind: int | None) -> Iterator[bytes]:
        yield index.COUNTS.pack(tar_size, self._count)
        for column in range(index.NUMBERS):
            if column == _BLOCKS and behind is not None:
                yield from self._moved(self._columns[column], behind // index.BLOCK)
            else:
                yield from self._numbers(self._columns[column], "q" if column == index.TIME else "")
        for column in _STRINGS:
            pieces = self._columns[column]
            yield index.LENGTH.pack(sum(piece.size for piece in pieces) + max(0, len(pieces) - 1))
            for number, piece in enumerate(pieces):
                if number:
                    yield b"\0"
                yield from self._piece(piece)
        for piece in self._xattrs:
            yield from self._piece(piece)

    def _numbers(self, pieces: Sequence[_Piece], code: str) -> Iterator[bytes]:
        """A column as wide as its widest piece."""
        code = code or max((piece.code for piece in pieces), key=_ORDER.index, default="B")
        yield code.encode()
        for piece in pieces:
            if piece.code == code:
                yield from self._piece(piece)
            else:
                raw = b"".join(self._piece(piece))
                yield pack(f"<{piece.numbers}{code}", *unpack(f"<{piece.numbers}{piece.code}", raw))

    def _moved(self, pieces: Sequence[_Piece], behind: int) -> Iterator[bytes]:
        """The column of blocks, those of sparse members counted from the block `behind` on."""
        yield b"Q"
        first = BEHIND // index.BLOCK
        for piece in pieces:
            blocks = unpack(f"<{piece.numbers}{piece.code}", b"".join(self._piece(piece)))
            moved = [block if block < first else block - first + behind for block in blocks]
            yield pack(f"<{piece.numbers}Q", *moved)

    def _piece(self, piece: _Piece) -> Iterator[bytes]:
        for at in range(piece.offset, piece.offset + piece.size, _COPY):
            yield self._read(min(_COPY, piece.offset + piece.size - at), at)
