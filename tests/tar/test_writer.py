"""A written tree reads back as the same tree, by our reader, by Go, and by Python's tarfile."""

from __future__ import annotations

import io
import tarfile
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Cancelled, Damaged, Unsupported
from orlop.job import Job
from orlop.model.tree import Entry, Inode, Kind, Tree
from orlop.tar.merge import merge
from orlop.tar.reader import read_entries
from orlop.tar.writer import write_tree
from tests.support.tars import entry, parsed, tar, whiteout
from tests.tar.conftest import Go

BASE = tar(
    entry("./", Kind.DIRECTORY, mode=0o751, uid=1),
    entry("d/", Kind.DIRECTORY, mode=0o2755, mtime=77),
    entry("d/f", data=b"first" * 300, mode=0o4755, uid=1000, gid=1001, mtime=1_700_000_000),
    entry("d/h", Kind.HARDLINK, link="d/f"),
    entry("a", Kind.HARDLINK, link="d/f"),
    entry("l", Kind.SYMLINK, link="d/f"),
    entry("gone", data=b"gone"),
    entry("c", Kind.CHARACTER, major=5, minor=1, mode=0o666),
    entry("b", Kind.BLOCK, major=8, minor=1_048_575),
    entry("p", Kind.FIFO),
)
UPPER = tar(
    whiteout("gone"),
    entry("n" * 99 + "/" + "é" * 70, data=b"long name"),
    entry("long", Kind.SYMLINK, link="t" * 200),
    entry("owner", pax={"uid": 4_000_000_000, "gid": 3_000_000}),
    entry("times", pax={"mtime": "1700000000.123456789"}),
    entry("before", pax={"mtime": "-1.5"}),
    entry("late", pax={"mtime": "9000000000"}),
    entry("x", data=b"x", xattrs={"security.capability": b"\1\0=\n\0", "user.empty": b""}),
    entry("e", pax={"LIBARCHIVE.xattr.user.a%3Db": "AAE"}),
    entry(b"\xff\xfe"),
    entry(b"\xff/" + b"y" * 120, data=bytes(1024)),
)


def flattened(*layers: bytes) -> tuple[bytes, Tree]:
    tree = merge([list(read_entries(io.BytesIO(layer))) for layer in layers])
    out = io.BytesIO()
    size = write_tree(tree, lambda number: io.BytesIO(layers[number]), out, Job())
    assert size == len(out.getvalue())
    return out.getvalue(), tree


def facts(tree: Tree, *layers: bytes) -> dict[bytes, tuple[object, ...]]:
    first: dict[Inode, bytes] = {}
    return {
        path: (
            *(inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.link, inode.links),
            *(inode.major, inode.minor, inode.xattrs, first.setdefault(inode, path)),
            layers[inode.layer][inode.offset : inode.offset + inode.size],
        )
        for path, inode in tree.walk()
    }


def test_tree_comes_back_from_its_tar() -> None:
    raw, tree = flattened(BASE, UPPER)
    again = merge([list(read_entries(io.BytesIO(raw)))])
    assert facts(again, raw) == facts(tree, BASE, UPPER)
    assert again.notes == []


def test_tar_is_canonical() -> None:
    raw, _ = flattened(BASE, UPPER)
    assert flattened(raw)[0] == raw
    assert flattened(BASE, UPPER)[0] == raw


def test_names_are_sorted_and_hard_links_follow_their_first_name() -> None:
    raw, _ = flattened(BASE)
    members = list(read_entries(io.BytesIO(raw)))
    assert [member.name for member in members] == [b"./", b"a", b"b", b"c", b"d/", b"d/f", b"d/h", b"gone", b"l", b"p"]
    assert [member.link for member in members if member.kind is Kind.HARDLINK] == [b"a", b"a"]
    assert members[1].kind is Kind.FILE


def test_plain_members_need_no_extended_headers() -> None:
    raw, _ = flattened(BASE)
    assert len(raw) == 512 * (10 + 3 + 1 + 2)


def test_cut_name_does_not_look_like_a_directory() -> None:
    raw, _ = flattened(tar(entry("n" * 99 + "/x")))
    # before the file stand the root, its directory, and two blocks of extended header
    assert raw[4 * 512 : 4 * 512 + 100] == b"n" * 99 + b"\0"


@pytest.mark.peer
def test_go_reads_the_same(go: Go) -> None:
    raw, _ = flattened(BASE, UPPER)
    ours = list(read_entries(io.BytesIO(raw)))
    # Go knows no LIBARCHIVE records
    expected = [member._replace(xattrs=()) if member.name == b"e" else member for member in ours]
    assert go.list(raw) == expected


def test_tarfile_reads_the_same() -> None:
    raw, tree = flattened(BASE, UPPER)
    with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as archive:
        found = {member.name: member for member in archive}
        assert len(found) == len(list(tree.walk()))
        assert archive.extractfile("a").read() == b"first" * 300  # type: ignore[union-attr]
        assert archive.extractfile("n" * 99 + "/" + "é" * 70).read() == b"long name"  # type: ignore[union-attr]
    assert found["times"].mtime == pytest.approx(1_700_000_000.123456789)
    assert (found["owner"].uid, found["owner"].gid) == (4_000_000_000, 3_000_000)
    assert found["long"].linkname == "t" * 200


class Sparse(io.RawIOBase):
    """A huge file of zeros."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return offset

    def read(self, size: int = -1, /) -> bytes:
        return bytes(size)


class Counted:
    """Keeps the first kilobytes and counts the rest."""

    def __init__(self) -> None:
        self.start = b""
        self.size = 0

    def write(self, data: bytes, /) -> int:
        if self.size < 4096:
            self.start += data
        self.size += len(data)
        return len(data)


def test_file_of_more_than_8_GiB_has_its_size_in_a_record() -> None:
    size = (1 << 33) + 1
    out = Counted()
    written = write_tree(merge([[parsed("big", size=size)]]), lambda _: Sparse(), out, Job())  # type: ignore[arg-type,return-value]
    assert out.size == written == 512 + 1024 + 512 + (1 << 33) + 512 + 1024
    members = read_entries(io.BytesIO(out.start))
    assert [next(members).name, next(members).size] == [b"./", size]


def test_layer_that_ends_early_is_damaged() -> None:
    tree = merge([[parsed("f", size=2000)]])
    with pytest.raises(Damaged, match="plain layer 0: ends 1512 bytes before the end of f"):
        write_tree(tree, lambda _: io.BytesIO(bytes(1000)), io.BytesIO(), Job())


def test_socket_is_refused() -> None:
    with pytest.raises(Unsupported, match="socket"):
        write_tree(merge([[parsed("s", Kind.SOCKET)]]), lambda _: io.BytesIO(), io.BytesIO(), Job())


def test_stopped_job_ends_the_writing() -> None:
    job = Job()
    job.stop()
    with pytest.raises(Cancelled):
        write_tree(Tree(), lambda _: io.BytesIO(), io.BytesIO(), job)


def test_layers_are_opened_once_not_all_at_once_and_all_closed() -> None:
    opened: list[BinaryIO] = []

    def open_layer(number: int) -> BinaryIO:
        opened.append(io.BytesIO(tar(entry("x", data=b"%d" % number))))
        assert sum(not file.closed for file in opened) <= 64
        return opened[-1]

    layers = [[parsed(f"{number % 3}/{number:03}", size=1)] for number in range(150)]
    write_tree(merge(layers), open_layer, io.BytesIO(), Job())
    assert len(opened) == 150
    assert all(file.closed for file in opened)


_XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name), st.binary(max_size=40), max_size=3
)


@settings(max_examples=200, deadline=None)
@given(
    name=st.binary(min_size=1, max_size=200).map(lambda name: b"n" + name.replace(b"\0", b"_").replace(b"/", b"-")),
    link=st.binary(min_size=1, max_size=200).map(lambda link: link.replace(b"\0", b"_")),
    mtime_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    owner=st.tuples(st.integers(0, (1 << 32) - 2), st.integers(0, (1 << 32) - 2)),
    xattrs=_XATTRS,
)
def test_any_metadata_comes_back(
    name: bytes, link: bytes, mtime_ns: int, owner: tuple[int, int], xattrs: dict[bytes, bytes]
) -> None:
    uid, gid = owner
    made: Entry = parsed(
        name, Kind.SYMLINK, link=link, mtime_ns=mtime_ns, uid=uid, gid=gid, offset=0, mode=0o777, xattrs=xattrs
    )
    tree = merge([[made]])
    out = io.BytesIO()
    write_tree(tree, lambda _: io.BytesIO(), out, Job())
    found = list(read_entries(io.BytesIO(out.getvalue())))[1]
    assert found._replace(offset=0) == made
