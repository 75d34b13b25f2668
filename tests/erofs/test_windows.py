"""The metadata of an image is written a window at a time: where the windows end makes no difference to it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from orlop.erofs import writer
from orlop.erofs.format import XATTR_AREA_BYTES
from orlop.erofs.layout import Layout, place
from orlop.erofs.writer import write_image
from orlop.erofs.xattrs import Xattrs, XattrTable
from orlop.model.tree import Inode, Kind, Tree
from tests.support.trees import difference, expected, mounted, snapshot

IDENTITY = bytes(range(16))
TAR = bytes(range(256)) * 256
LARGEST = b"largest"


def _largest(number: int) -> Xattrs:
    """As many bytes of attributes as one inode can have."""
    fill = b"%d" % number
    xattrs = tuple((b"user.%d" % name, fill.ljust(65_527, fill)) for name in range(4))
    return (*xattrs, (b"user.x", b"end"))


def _put(parent: Inode, name: bytes, kind: Kind, xattrs: Xattrs = ()) -> Inode:
    assert parent.children is not None
    inode = parent.children[name] = Inode(kind, 0o644, 0)
    inode.xattrs, inode.mtime_ns = xattrs, len(parent.children)
    if kind is Kind.DIRECTORY:
        inode.links = 2
        parent.links += 1
    elif kind is Kind.SYMLINK:
        inode.mode, inode.link = 0o777, name * 9
    elif kind is Kind.FILE:
        inode.offset, inode.size = 512 * (len(parent.children) % 100), 1 + len(parent.children) % 9000
    return inode


@pytest.fixture(scope="module")
def tree() -> Tree:
    """Metadata of over 5 MiB: small inodes and listings, then five with the largest attributes, then small again."""
    made = Tree()
    made.root.links = 2
    kinds = (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO)
    for directory in range(4):
        parent = _put(made.root, b"d%d" % directory, Kind.DIRECTORY)
        for number in range(1200):
            attributes = ((b"trusted.number", b"%d" % number * 300),) if number % 3 else ()
            _put(parent, b"%04d" % number, kinds[number % 4], attributes)
        if directory == 1:
            for number in range(5):
                _put(parent, LARGEST + b"%d" % number, Kind.FILE, _largest(number))
    return made


@pytest.fixture(scope="module")
def laid(tree: Tree) -> Layout:
    return place(tree.root, XattrTable())


def _written(tree: Tree, window: int | None = None) -> bytes:
    out = io.BytesIO()
    chosen = {} if window is None else {"window": window}
    written = write_image(tree, [len(TAR)], out, identity=IDENTITY, **chosen)
    assert written.bytes == len(out.getvalue())
    assert written.notes == ()
    return out.getvalue()


def _places_of_the_largest(laid: Layout) -> list[int]:
    pairs = zip(laid.inodes, laid.positions, strict=True)
    return [position for inode, position in pairs if inode.xattrs and inode.xattrs[-1] == (b"user.x", b"end")]


def test_the_largest_attributes_are_the_largest() -> None:
    assert len(XattrTable().get(_largest(1))[1]) == XATTR_AREA_BYTES


def test_windows_of_any_size_give_the_bytes_of_a_single_one(tree: Tree, laid: Layout) -> None:
    assert laid.meta_bytes > 4 * writer._WINDOW
    single = _written(tree, 1 << 30)
    assert _written(tree) == single
    first, second, *_ = _places_of_the_largest(laid)
    # one inode each; as small as a page; the largest is the last of a window, or the first of the next
    for window in (1, 4096, first, first + 1, second, second + 1):
        assert _written(tree, window) == single, window


@pytest.mark.root
def test_the_kernel_reads_what_stands_across_the_edge_of_a_window(tree: Tree, laid: Layout, tmp_path: Path) -> None:
    tar, image = tmp_path / "layer.tar", tmp_path / "image.erofs"
    tar.write_bytes(TAR)
    # of five in a row, each a quarter of a window, one at least begins in one window and ends in the next
    assert len(_places_of_the_largest(laid)) == 5
    for window in (None, 4096):
        image.write_bytes(_written(tree, window))
        with mounted(image, [tar], tmp_path / "root") as root:
            assert difference(expected(tree, [tar]), snapshot(root)) == []
