"""The index gives back what it was made of, or says that it is damaged."""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Sequence
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.tree import Entry, Kind
from orlop.tar.index import load
from orlop.tar.index_writer import IndexWriter
from orlop.tar.reader import read_entries
from tests.support.tars import entry, parsed, tar


def dump(entries: Sequence[Entry], *, tar_size: int) -> bytes:
    """A whole index at once."""
    scratch = array("B")

    def write(data: bytes, _offset: int) -> None:
        scratch.frombytes(data)

    writer = IndexWriter(write, lambda size, offset: scratch[offset : offset + size].tobytes())
    writer.add(entries)
    return b"".join(writer.parts(tar_size=tar_size))


_NAMES = st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"\0", b"/"))
_IDS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 32) - 2))
_ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(Kind),
        _NAMES,
        st.one_of(st.just(b""), _NAMES),
        st.integers(0, 0o7777),
        _IDS,
        _IDS,
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.one_of(st.integers(0, 300), st.integers(0, 1 << 50)),
        st.integers(0, 1 << 40).map(lambda block: block * 512),
        st.integers(0, 4095),
        st.integers(0, (1 << 20) - 1),
        st.one_of(
            st.just(()),
            st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=50), max_size=3).map(
                lambda pairs: tuple(sorted(pairs.items()))
            ),
        ),
    ),
    max_size=20,
)
ENTRIES = list(
    read_entries(
        io.BytesIO(
            tar(
                entry("d/", Kind.DIRECTORY, xattrs={"user.a": b"1", "user.b": b"\0" * 300}),
                entry("d/f", data=b"x" * 600, uid=100_000, mtime=1_700_000_000),
                entry("l", Kind.SYMLINK, link="d/f"),
                entry("c", Kind.CHARACTER, major=5, minor=1),
                entry("e", xattrs={"security.capability": b"\1\0"}),
            )
        )
    )
)
RAW = dump(ENTRIES, tar_size=8192)


def loaded(raw: bytes) -> tuple[list[Entry], int]:
    entries, size = load(raw)
    assert list(entries) == list(entries)
    assert len(entries) == sum(1 for _ in entries)
    return list(entries), size


def resealed(body: bytes) -> bytes:
    """`body` (all behind the checksum) with a checksum that fits."""
    return RAW[:12] + struct.pack("<I", crc32(body)) + body


@settings(deadline=None)
@given(_ENTRIES)
def test_entries_come_back_as_they_were(entries: list[Entry]) -> None:
    size = max((one.offset + one.size for one in entries), default=0)
    assert loaded(dump(entries, tar_size=size)) == (entries, size)


def test_kinds_come_back_as_kinds() -> None:
    assert [type(one.kind) for one in load(RAW)[0]] == [Kind] * 5


def test_equal_entries_give_equal_bytes() -> None:
    assert dump(load(RAW)[0], tar_size=8192) == RAW


def test_many_entries_of_growing_width_come_back_as_they_were() -> None:
    """More than are held at once, so that the columns come in pieces of several widths."""
    entries = [
        parsed(
            f"d/{number}",
            uid=number * 9,
            mtime_ns=-number,
            size=number,
            offset=number << 9,
            link=b"l" * (number % 3),
            xattrs={b"user.n": b"%d" % number} if number % 1000 == 0 else None,
        )
        for number in range(10_000)
    ]
    assert loaded(dump(entries, tar_size=1 << 40)) == (entries, 1 << 40)


def test_index_is_compact() -> None:
    entries = [parsed(f"usr/share/{number}", mtime_ns=1_700_000_000_000_000_000, size=900) for number in range(1000)]
    assert len(dump(entries, tar_size=1 << 20)) < 1000 * 36


def test_any_flipped_byte_is_found() -> None:
    for place in range(len(RAW)):
        damaged = bytearray(RAW)
        damaged[place] ^= 0x10
        with pytest.raises(Invalid, match="tar index"):
            load(bytes(damaged))


def test_any_cut_is_found() -> None:
    for length in range(len(RAW)):
        with pytest.raises(Invalid, match="tar index"):
            load(RAW[:length])


def test_other_version_is_refused_by_its_number() -> None:
    with pytest.raises(Invalid, match="version is 2, expected 1"):
        load(RAW[:8] + struct.pack("<I", 2) + RAW[12:])


@pytest.mark.parametrize("foreign", [b"", b"\x1f\x8b", b"ORLOPTIX", tar(entry("f")), b"{}"])
def test_foreign_bytes_are_refused(foreign: bytes) -> None:
    with pytest.raises(Invalid, match="not an index"):
        load(foreign)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(16, len(RAW) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 40)
)
def test_malformed_index_with_a_fitting_checksum_never_crashes(changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(RAW)
    for place, value in changes:
        damaged[place] = value
    body = bytes(damaged)[16 : len(damaged) - cut]
    try:
        entries, size = load(resealed(body))
    except Invalid:
        return
    for one in entries:
        assert one.offset + one.size <= size
        assert 0 <= one.mode <= 0o7777


def test_data_beyond_the_end_of_the_tar_is_refused() -> None:
    with pytest.raises(Invalid, match="beyond the end"):
        load(dump(ENTRIES, tar_size=1000))


def test_count_beyond_the_limit_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(Invalid, match="entries"):
        load(resealed(struct.pack("<QI", 0, (1 << 32) - 1)))
