"""What GNU tar and libarchive write, in all their formats, is taken: listed as by Go, and the tree that it was."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from orlop.tar.merge import merge
from orlop.tar.reader import read_entries
from tests.support.corners import CAPABILITY
from tests.support.trees import Node, Snapshot, difference, expected, snapshot
from tests.tar.conftest import Go

pytestmark = [pytest.mark.peer, pytest.mark.root]

GNU_TAR = ["/usr/bin/tar", "-c", "--numeric-owner", "-C"]
LIBARCHIVE = ["/usr/bin/bsdtar", "-c", "--numeric-owner", "--xattrs", "-f", "-", "-C"]
XATTRS = ["--xattrs", "--xattrs-include=*"]
# format -> (command, what it cannot hold)
WHOLE = {
    "gnu": ([*GNU_TAR, "{}", "--format=gnu"], {"xattrs", "nanoseconds"}),
    "oldgnu": ([*GNU_TAR, "{}", "--format=oldgnu"], {"xattrs", "nanoseconds"}),
    "posix": ([*GNU_TAR, "{}", "--format=posix", *XATTRS], set()),
    "posix, few records": (
        [*GNU_TAR, "{}", "--format=posix", "--pax-option=delete=atime,delete=ctime", *XATTRS],
        set(),
    ),
    "libarchive pax": ([*LIBARCHIVE, "{}", "--format=pax"], set()),
    "libarchive restricted pax": ([*LIBARCHIVE, "{}", "--format=paxr"], {"nanoseconds"}),
    "libarchive gnutar": ([*LIBARCHIVE, "{}", "--format=gnutar"], {"xattrs", "times"}),
}
PARTS = {
    "v7": [*GNU_TAR, "{}", "--format=v7"],
    "ustar": [*GNU_TAR, "{}", "--format=ustar"],
    "libarchive v7": [*LIBARCHIVE, "{}", "--format=v7tar"],
    "libarchive ustar": [*LIBARCHIVE, "{}", "--format=ustar"],
    "absolute names": ["/usr/bin/tar", "-cP", "{}"],
    "no recursion, odd order": [
        *GNU_TAR,
        "{}",
        "--no-recursion",
        "--format=gnu",
        "hard",
        "d/f",
        "d",
        ".",
        "fifo",
        "d/f",
    ],
    "label of the user": [*GNU_TAR, "{}", "--format=posix", "--pax-option=comment=hello,globexthdr.name=g"],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with all that tar finds hard."""
    top = tmp_path_factory.mktemp("world") / "tree"
    (top / "d/sub").mkdir(parents=True)
    deep = top / ("p" * 90) / ("q" * 90) / ("r" * 150)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")
    (top / "d" / ("n" * 200)).write_bytes(b"x" * 513)
    (top / "d/f").write_bytes(b"shared" * 100)
    os.link(top / "d/f", top / "hard")
    os.link(top / "d/f", deep / ("h" * 120))
    for name, target in (("sym", "d/f"), ("long-target", "t" * 300), ("both-long" + "s" * 150, "u/" * 200)):
        (top / name).symlink_to(target)
    os.mkfifo(top / "fifo")
    os.mknod(top / "character", 0o020600, os.makedev(5, 1))
    os.mknod(top / "block", 0o060660, os.makedev(259, 70_000))
    for raw in (b"\xff\xfe", "é".encode(), b"new\nline", b" space ", b"back\\slash", b"a=b", b"\xc3", b"n\xff" * 80):
        Path(os.fsdecode(bytes(top) + b"/" + raw)).write_bytes(raw)
    os.setxattr(top / "d/f", "user.binary", bytes(range(256)))
    os.setxattr(top / "d", "user.lines", b"12 path=evil\n")
    os.setxattr(top / "sym", "trusted.link", b"t", follow_symlinks=False)
    os.setxattr(top / "d" / ("n" * 200), "security.capability", CAPABILITY)
    os.chown(top / "d/f", 3_000_000_000, 2_999_999_999)
    os.chmod(top / "d/f", 0o7711)
    os.chmod(top / "d/sub", 0o3000)
    os.lchown(top / "sym", 1000, 8**7)
    for name, time in (("fifo", -5_000_000_000), ("a=b", 9_000_000_000 * 10**9), ("hard", 1_600_000_000_123_456_789)):
        os.utime(top / name, ns=(time, time))
    os.utime(top, ns=(0, 1))
    return top


def made(command: list[str], source: Path, *, whole: bool) -> bytes:
    """`whole` or not: what a format cannot hold is left out, and makes tar fail."""
    command = [str(source) if part == "{}" else part for part in command]
    names = [] if "--no-recursion" in command or "-cP" in command else ["."]
    return subprocess.run([*command, *names], check=whole, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout


def without(found: Snapshot, what: set[str]) -> Snapshot:
    def change(node: Node) -> Node:
        if "xattrs" in what:
            node = node._replace(xattrs=())
        if "nanoseconds" in what:
            node = node._replace(mtime_ns=node.mtime_ns // 10**9 * 10**9)
        if "times" in what:
            node = node._replace(mtime_ns=0)
        return node

    return {path: change(node) for path, node in found.items()}


@pytest.mark.parametrize("name", WHOLE)
def test_archive_is_listed_as_by_go_and_is_the_tree_that_was_written(
    name: str, source: Path, go: Go, tmp_path: Path
) -> None:
    command, lost = WHOLE[name]
    archive = made(command, source, whole=True)
    entries = list(read_entries(io.BytesIO(archive)))
    assert entries == go.list(archive)
    (tmp_path / "tar").write_bytes(archive)
    found = expected(merge([entries]), [tmp_path / "tar"])
    assert difference(without(snapshot(source), lost), without(found, lost)) == []


@pytest.mark.parametrize("name", PARTS)
def test_archive_of_a_part_is_listed_as_by_go(name: str, source: Path, go: Go) -> None:
    archive = made(PARTS[name], source, whole=False)
    entries = list(read_entries(io.BytesIO(archive)))
    assert len(entries) >= 5
    assert entries == go.list(archive)
