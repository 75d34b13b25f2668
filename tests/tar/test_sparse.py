"""Sparse members: as GNU tar and libarchive write them, as Go lists them, and refused where their maps lie."""

from __future__ import annotations

import io
import os
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Unsafe, Unsupported
from orlop.model.limits import SPARSE_BYTES
from orlop.model.tree import Entry, Kind
from orlop.tar import sparse
from orlop.tar.reader import read_entries
from tests.support.soak import times
from tests.support.tars import BLOCK, GNU, base256, entry, gnu_long, header, octal, pad, pax, record, tar
from tests.support.tars import extension as x
from tests.tar.conftest import Go, listed

LAST = entry("last", data=b"z")
WRITERS = {
    "gnu": ["/usr/bin/tar", "-cS", "--format=gnu"],
    "oldgnu": ["/usr/bin/tar", "-cS", "--format=oldgnu"],
    "pax 0.0": ["/usr/bin/tar", "-cS", "--format=posix", "--sparse-version=0.0"],
    "pax 0.1": ["/usr/bin/tar", "-cS", "--format=posix", "--sparse-version=0.1"],
    "pax 1.0": ["/usr/bin/tar", "-cS", "--format=posix", "--sparse-version=1.0"],
    "libarchive": ["/usr/bin/bsdtar", "-c", "--format=pax", "-f", "-"],
}
PAGE = 4096


LARGE = 9 << 30


def write_files(top: Path, *, large: int = LARGE) -> None:
    """Files with holes at every place: (bytes, [(offset, data)])."""
    shapes: dict[str, tuple[int, list[tuple[int, bytes]]]] = {
        "hole only": (100_000, []),
        "first": (200_000, [(PAGE * 9, b"a" * 700)]),
        "last": (200_001, [(0, b"b" * PAGE)]),
        "many": (PAGE * 500 + 77, [(PAGE * 5 * number, b"%d" % number * 900) for number in range(100)]),
        "ends in data": (PAGE * 8 + 3, [(PAGE * 8, b"end")]),
        "n" * 180: (1 << 20, [(1 << 19, b"long name")]),
        "large": (large, [(large - (1 << 20), b"far")]),
        "none": (5, [(0, b"plain")]),
        "empty": (0, []),
    }
    top.mkdir()
    for name, (size, pieces) in shapes.items():
        with (top / name).open("wb") as out:
            out.truncate(size)
            for offset, data in pieces:
                os.pwrite(out.fileno(), data, offset)


def expanded(archive: bytes, entry_: Entry, expansion: sparse.Expansion, size: int) -> bytes:
    """The first bytes of a member."""
    if entry_.offset < sparse.BEHIND:
        return archive[entry_.offset : entry_.offset + min(size, entry_.size)]
    start = entry_.offset - sparse.BEHIND
    content = bytearray(min(size, entry_.size))
    for source, place, length in expansion.pieces(0):
        if start <= place < start + len(content):
            content[place - start : place - start + length] = archive[source : source + length]
    return bytes(content)


@pytest.mark.peer
@pytest.mark.parametrize("name", WRITERS)
def test_PA05_sparse_files_are_listed_as_by_go_and_have_their_content(name: str, go: Go, tmp_path: Path) -> None:
    write_files(tmp_path / "top")
    command = [*WRITERS[name], "-C", str(tmp_path / "top"), "."]
    archive = subprocess.run(command, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    assert len(archive) < 4 << 20
    assert listed(archive) == go.list(archive)
    expansion = sparse.Expansion()
    found = {each.name[2:]: each for each in read_entries(io.BytesIO(archive), expansion=expansion)}
    assert found[b"large"].size == LARGE
    assert sum(each.offset >= sparse.BEHIND for each in found.values()) >= 6
    for path in (tmp_path / "top").iterdir():
        with path.open("rb") as original:
            start = original.read(4 << 20)
        assert expanded(archive, found[os.fsencode(path.name)], expansion, 4 << 20) == start


def old(
    segments: Sequence[tuple[int, int]], size: int | bytes, data: bytes, *, magic: bytes = GNU, more: int = 0
) -> bytes:
    """An old GNU sparse member; what does not fit its header follows in blocks, and `more` empty ones."""
    block = bytearray(header("s", b"S", size=len(data), magic=magic))
    fields = [octal(offset, 12) + octal(length, 12) for offset, length in segments]
    rest = [b"".join(fields[at : at + 21]).ljust(504, b"\0") for at in range(4, len(fields), 21)] + [bytes(504)] * more
    block[386:482] = b"".join(fields[:4]).ljust(96, b"\0")
    block[482:483] = b"\1" if rest else b"\0"
    block[483:495] = size if isinstance(size, bytes) else octal(size, 12)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    blocks = [each + (b"\1" if number < len(rest) else b"\0") + bytes(7) for number, each in enumerate(rest, 1)]
    return bytes(block) + b"".join(blocks) + pad(data)


def one(lines: Sequence[object], data: bytes, size: object = 9000, **more: object) -> bytes:
    """A member of PAX 1.0."""
    content = pad(b"".join(b"%s\n" % str(line).encode() for line in lines)) + data
    records = {"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.name": "real", "GNU.sparse.realsize": size}
    found = {key: value for key, value in (records | more).items() if value is not None}
    return pax(found) + entry("GNUSparseFile.1/s", data=content)  # type: ignore[arg-type]


def zero(text: str, count: object, data: bytes, size: object = 9000, **more: object) -> bytes:
    """A member of PAX 0.1."""
    records = {"GNU.sparse.map": text, "GNU.sparse.numblocks": count, "GNU.sparse.size": size} | more
    found = {key: value for key, value in records.items() if value is not None}
    return pax(found) + entry("s", data=data)  # type: ignore[arg-type]


def turns(*pairs: tuple[str, object]) -> bytes:
    """The records of PAX 0.0."""
    return x(b"".join(record(f"GNU.sparse.{key}", str(value)) for key, value in pairs))


TWO = turns(("size", 9000), ("numblocks", 2), ("offset", 0), ("numbytes", 3), ("offset", 5), ("numbytes", 1))

SAME = {
    "old": tar(old([(0, 3), (5000, 4)], 9000, b"abcdefg"), LAST),
    "old, no hole": tar(old([(0, 4)], 4, b"data"), LAST),
    "old, hole only": tar(old([], 700, b""), LAST),
    "old, nothing": tar(old([], 0, b""), LAST),
    "old, 60 segments": tar(old([(number * 10, 1) for number in range(60)], 9000, b"x" * 60), LAST),
    "old, empty blocks": tar(old([(0, 1)], 10, b"x", more=3), LAST),
    "old, base-256 size": tar(old([(0, 1)], base256(1 << 37, 12), b"x"), LAST),
    "old, long name": tar(gnu_long("l" * 200), old([(0, 1)], 10, b"x"), LAST),
    "old, segments of nothing": tar(old([(0, 0), (0, 1), (1, 0), (700, 0)], 700, b"x"), LAST),
    "0.0": tar(TWO, entry("s", data=b"abcd"), LAST),
    "0.1": tar(zero("0,3,5,1", 2, b"abcd"), LAST),
    "0.1 by its version": tar(zero("0,1", 1, b"x", **{"GNU.sparse.major": 0, "GNU.sparse.minor": 1}), LAST),
    "0.1 with a name": tar(zero("0,1", 1, b"x", **{"GNU.sparse.name": "real"}), LAST),
    "1.0": tar(one([2, 0, 3, 5000, 4], b"abcdefg"), LAST),
    "1.0, hole only": tar(one([0], b""), LAST),
    "1.0, 300 segments": tar(one([300, *(n for at in range(300) for n in (at * 9, 1))], b"x" * 300), LAST),
    "1.0, nothing": tar(one([0], b"", 0), LAST),
}

REFUSED: dict[str, tuple[type[Error], str, bytes]] = {
    "old, overlap": (Invalid, "within 3..9", tar(old([(0, 3), (2, 4)], 9, b"x" * 7))),
    "old, unsorted": (Invalid, "within 9..90", tar(old([(5, 4), (0, 4)], 90, b"x" * 8))),
    "old, beyond its end": (Invalid, "within 0..9", tar(old([(8, 4)], 9, b"x" * 4))),
    "old, more data than its map": (Invalid, "expected 9", tar(old([(0, 4)], 9, b"x" * 9))),
    "old, less data than its map": (Invalid, "expected 3", tar(old([(0, 4)], 9, b"x" * 3))),
    "old, no number": (Invalid, "octal", tar(old([(0, 4)], b"99999999999\0", b"x" * 4))),
    "old, negative size": (Invalid, "expected", tar(old([], base256(-1, 12), b""))),
    "old, cut off": (Invalid, "inside a sparse map", old([(at, 1) for at in range(9)], 9, b"")[:BLOCK]),
    "old, too large": (Unsafe, "holes included", tar(old([(0, 1)], base256(1 << 62, 12), b"x"))),
    "star": (Unsupported, "not GNU's", tar(old([(0, 1)], 9, b"x", magic=b"ustar\x0000"))),
    "old, named a directory": (Unsafe, "slash", tar(gnu_long("d/"), old([(0, 1)], 9, b"x"))),
    "two ways": (Unsafe, "two ways", tar(pax({"GNU.sparse.map": "0,1", "GNU.sparse.numblocks": 1, "GNU.sparse.size": 9})
                 + old([(0, 1)], 9, b"x"))),
    "a link": (Unsafe, "no file", tar(pax({"GNU.sparse.map": "0,1", "GNU.sparse.numblocks": 1, "GNU.sparse.size": 9}),
               entry("l", Kind.SYMLINK, link="t"))),
    "0.0, out of order": (Invalid, "order", tar(turns(("numbytes", 3), ("offset", 0)), LAST)),
    "0.0, odd": (Invalid, "3 numbers", tar(turns(("size", 9), ("numblocks", 1), ("offset", 0), ("numbytes", 3),
                 ("offset", 9)), LAST)),
    "0.0 and 0.1": (Unsafe, "two maps", tar(x(TWO[BLOCK:].rstrip(b"\0") + record("GNU.sparse.map", "0,1")), LAST)),
    "0.1, not two numbers each": (Invalid, "3 numbers", tar(zero("0,3,5", 2, b"abcd"))),
    "0.1, another count": (Invalid, "4 numbers", tar(zero("0,3,5,1", 1, b"abcd"))),
    "0.1, no count": (Invalid, "decimal", tar(zero("0,3", None, b"abc"))),
    "0.1, no map": (Invalid, "decimal", tar(zero("", 0, b""))),
    "0.1, a sign": (Invalid, "decimal", tar(zero("+0,3", 1, b"abc"))),
    "0.1, no size": (Unsafe, "one real size", tar(zero("0,3", 1, b"abc", None))),
    "0.1, two sizes": (Unsafe, "one real size", tar(zero("0,3", 1, b"abc", **{"GNU.sparse.realsize": 8}))),
    "0.1, beyond 63 bits": (Invalid, r"2\*\*63", tar(zero("0,3", 1, b"abc", 1 << 63))),
    "2.0": (Unsupported, "version", tar(zero("0,3", 1, b"abc", **{"GNU.sparse.major": 2, "GNU.sparse.minor": 0}))),
    "1.0, name of NUL": (Invalid, "NUL", tar(one([1, 0, 1], b"x", **{"GNU.sparse.name": "a\0b"}))),
    "1.0, a name too long": (Unsafe, "over 255", tar(one([1, 0, 1], b"x", **{"GNU.sparse.name": "n" * 256}))),
    "1.0, named a directory": (Unsafe, "no file", tar(one([1, 0, 1], b"x", **{"GNU.sparse.name": "d/"}))),
    "1.0, two maps": (Unsafe, "two maps", tar(one([1, 0, 1], b"x", **{"GNU.sparse.map": "0,1"}))),
    "1.0, no lines": (Invalid, "decimal lines", tar(one(["x" * 2000], b"x"))),
    "1.0, a word": (Invalid, "decimal", tar(one(["many"], b"x"))),
    "1.0, longer than its data": (Invalid, "does not end", tar(one([500, 0, 1], b"x"), LAST)),
    "1.0, too many": (Unsafe, "over 262144", tar(one([1 << 40, 0, 1], b"x"))),
    "1.0, unsorted": (Invalid, "within", tar(one([2, 9, 1, 0, 1], b"xx"))),
    "global": (Unsafe, "all members", tar(pax({"GNU.sparse.major": 1}, b"g"), LAST)),
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("name", SAME)
def test_PA05_a_sparse_member_is_listed_as_by_go(name: str, go: Go) -> None:
    expected = go.list(SAME[name])
    assert expected is not None
    assert len(expected) == 2
    assert listed(SAME[name]) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_PA05_a_sparse_map_that_lies_is_refused(name: str) -> None:
    kind, message, archive = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        listed(archive)
    assert type(caught.value) is kind


def test_PA05_sparse_members_of_a_layer_are_bounded_together() -> None:
    half = old([(0, 1)], base256(SPARSE_BYTES // 2, 12), b"x")
    assert len(listed(tar(half, half))) == 2
    with pytest.raises(Unsafe, match="holes included"):
        listed(tar(half, half, old([(0, 1)], 9, b"x")))
    count = 100_000
    crowd = old([(at, 1) for at in range(count)], count, b"x" * count)
    assert len(listed(tar(crowd, crowd))) == 2
    with pytest.raises(Unsafe, match="segments"):
        listed(tar(crowd, crowd, crowd))


def test_RX01_bytes_in_pages_of_their_own_are_refused_as_a_bomb() -> None:
    count = 262_139
    scattered = [n for at in range(count) for n in (at * PAGE, 1)]
    bomb = tar(one([count, *scattered], b"x" * count, count * PAGE))
    assert len(bomb) < 4 << 20
    with pytest.raises(Unsafe, match="refused as a bomb"):
        listed(bomb)
    # over many members it is the same
    few = [old([(at * PAGE, 1) for at in range(64)], 64 * PAGE, b"x" * 64)] * 800
    with pytest.raises(Unsafe, match="refused as a bomb"):
        listed(tar(*few))


def test_RX01_the_smallest_segments_of_gnu_tar_are_no_bomb() -> None:
    count = 1 << 15
    scattered = [n for at in range(count) for n in (at * PAGE, BLOCK)]
    assert len(listed(tar(one([count, *scattered], b"x" * BLOCK * count, count * PAGE)))) == 1
    # segments in one page take it once
    dense = [n for at in range(1 << 17) for n in (at * 2, 1)]
    assert len(listed(tar(one([1 << 17, *dense], b"x" * (1 << 17), 1 << 18)))) == 1


def test_PA05_a_large_map_takes_little_memory() -> None:
    count = 262_139
    text = b"".join(b"%d\n" % n for n in (count, *(n for at in range(count) for n in (at, 1))))
    blocks = io.BytesIO(pad(text))
    tracemalloc.start()
    try:
        numbers, size = sparse.read_map(lambda: blocks.read(BLOCK), "map")
        sparse.check(numbers, count, count, "map")
        sparse.Expansion().add(count, numbers, 0, "map")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(numbers), size) == (2 * count, len(pad(text)))
    assert peak < 24 << 20


def test_sparse_members_are_refused_where_nothing_takes_them_in() -> None:
    for name in ("old", "0.0", "0.1", "1.0"):
        with pytest.raises(Unsupported, match="not supported here"):
            list(read_entries(io.BytesIO(SAME[name])))


@pytest.mark.peer
@settings(max_examples=times(500, 50_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SAME)),
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, BLOCK - 1), st.sampled_from(b"\0 0123459=,\n\x80")), max_size=3
    ),
)
def test_PA05_a_mutated_sparse_member_is_listed_as_by_go_or_refused(
    go: Go, name: str, changes: list[tuple[int, int, int]]
) -> None:
    archive = bytearray(SAME[name])
    for block, place, value in changes:
        start = block * BLOCK
        archive[start + place] = value
        if archive[start + 257 : start + 262] == b"ustar":
            archive[start + 148 : start + 156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(archive[start : start + BLOCK])
    try:
        found = listed(bytes(archive))
    except Error:
        return
    assert found == go.list(bytes(archive))


def test_reads_of_any_size_give_the_same_sparse_members() -> None:
    class Slow:
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def read(self, size: int, /) -> bytes:
            return self._data.read(min(size, 501))

    for archive in SAME.values():
        assert listed(Slow(archive)) == listed(archive)
