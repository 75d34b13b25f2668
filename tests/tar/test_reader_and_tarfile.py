"""Archives that Python's tarfile writes are read as they were meant, and bounds on memory hold."""

from __future__ import annotations

import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Unsafe
from orlop.model.tree import Entry, Kind
from orlop.tar.reader import read_entries
from tests.support.tars import END, entry, extension, pad, record, tar

_TYPES = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_TEXT = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=12)
_PATHS = st.lists(_TEXT, min_size=1, max_size=12).map("/".join)


@st.composite
def members(draw: st.DrawFn, large: bool) -> tarfile.TarInfo:
    info = tarfile.TarInfo(draw(_PATHS if large else st.sampled_from(["a", "b/c", "n" * 99])))
    info.type = draw(st.sampled_from(sorted(_TYPES)))
    info.mode = draw(st.integers(0, 0o7777))
    highest = (1 << 32) - 2 if large else 0o7777777
    info.uid, info.gid = draw(st.integers(0, highest)), draw(st.integers(0, highest))
    info.mtime = draw(st.integers(-(1 << 32) if large else 0, (1 << 33) - 1))
    info.size = draw(st.integers(0, 1500)) if info.type == tarfile.REGTYPE else 0
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = draw(_PATHS if large else st.just("target"))
    if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = draw(st.integers(1, 4095)), draw(st.integers(0, 1 << 19))
    return info


def expected(info: tarfile.TarInfo, offset: int) -> Entry:
    name = info.name.encode() + (b"/" if info.type == tarfile.DIRTYPE else b"")
    device = (info.devmajor, info.devminor)
    mtime_ns = int(info.mtime) * 1_000_000_000
    link = info.linkname.encode()
    return Entry(_TYPES[info.type], name, link, info.mode, info.uid, info.gid, mtime_ns, info.size, offset, *device, ())


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(_FORMATS))
def test_archives_of_tarfile_in_all_formats_are_read_as_written(data: st.DataObject, kind: int) -> None:
    written = data.draw(st.lists(members(kind != tarfile.USTAR_FORMAT), max_size=6))
    raw = io.BytesIO()
    offsets = []
    with tarfile.open(fileobj=raw, mode="w", format=kind) as archive:
        for info in written:
            archive.addfile(info, io.BytesIO(b"#" * info.size))
            offsets.append(archive.offset - len(pad(bytes(info.size))))
    raw.seek(0)
    assert list(read_entries(raw)) == [expected(*pair) for pair in zip(written, offsets, strict=True)]


def test_PA05_extended_headers_over_64_MiB_in_all_are_refused() -> None:
    one = extension(record("comment", "x" * ((1 << 20) - 100))) + entry("f")
    assert len(list(read_entries(io.BytesIO(one * 64)))) == 64
    with pytest.raises(Unsafe, match="67108864 bytes of large extended headers"):
        list(read_entries(io.BytesIO(one * 65)))


def test_PA05_small_extended_headers_do_not_add_up_as_a_million_members_have_them() -> None:
    large = extension(record("comment", "x" * ((1 << 20) - 100))) + entry("f")
    small = entry("n/" * 490 + "f", pax={"mtime": "1700000000.123456789"})
    assert len(list(read_entries(io.BytesIO(large * 63 + small * 3000)))) == 3063


class Repeated:
    """`part` `times` over, without ever having it in memory as a whole."""

    def __init__(self, part: bytes, times: int) -> None:
        self._part = part
        self._times = times
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while self._times and len(self._rest) < size:
            many = min(self._times, 1 + (size - len(self._rest)) // len(self._part))
            self._rest += self._part * many
            self._times -= many
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk


def test_PA05_RX09_memory_stays_small_whatever_passes() -> None:
    member = entry("f", data=bytes(3000), pax={"comment": "x" * 60_000, "mtime": "1.5"})
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_entries(Repeated(member, 1000))) == 1000
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_RX09_more_members_than_allowed_are_refused() -> None:
    archive = tar(*(entry(f"{number}") for number in range(10)))
    assert len(list(read_entries(io.BytesIO(archive), limit=10))) == 10
    with pytest.raises(Unsafe, match="over 9 members"):
        list(read_entries(io.BytesIO(archive), limit=9))


def test_RX09_distinct_fields_do_not_pile_up() -> None:
    headers = (entry(f"{n}", uid=n, mtime=n) for n in range(20_000))
    raw = b"".join(headers) + END
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_entries(io.BytesIO(raw))) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_EX18_xattrs_come_in_both_spellings_byte_by_byte() -> None:
    value = bytes(range(256))
    schily = entry("a", xattrs={"user.v": value, "security.capability": b"\x01\0\0\x02"})
    both = entry("b", pax={"SCHILY.xattr.user.v": b"\1\2", "LIBARCHIVE.xattr.user.v": "AQI"})
    alone = entry("c", pax={"LIBARCHIVE.xattr.user.%C3%A9%3D": "AQI="})
    found = [member.xattrs for member in read_entries(io.BytesIO(tar(schily, both, alone)))]
    assert found == [
        ((b"security.capability", b"\x01\0\0\x02"), (b"user.v", value)),
        ((b"user.v", b"\1\2"),),
        (("user.é=".encode(), b"\1\2"),),
    ]


def test_EX20_times_beyond_64_bits_of_nanoseconds_are_clamped() -> None:
    times = [(1 << 63) - 1, 9_300_000_000, -9_300_000_000, -((1 << 63) - 1), 9_100_000_000]
    archive = tar(*(entry("f", pax={"mtime": time}) for time in times))
    last, first = (1 << 63) - 1, -(1 << 63)
    assert [member.mtime_ns for member in read_entries(io.BytesIO(archive))] == [
        *(last, last, first, first),
        9_100_000_000 * 1_000_000_000,
    ]


def test_PA01_pax_size_counts_where_the_header_has_none() -> None:
    inner = entry("hidden", data=b"evil")
    archive = tar(record_size(len(inner)) + entry("outer") + inner, entry("last"))
    assert [member.name for member in read_entries(io.BytesIO(archive))] == [b"outer", b"last"]


def test_PA07_everything_behind_the_end_passes_by() -> None:
    source = io.BytesIO(tar(entry("f")) + b"junk" * (1 << 20))
    assert [member.name for member in read_entries(source)] == [b"f"]
    assert source.read() == b""


def record_size(size: int) -> bytes:
    return extension(record("size", size))
