"""Trees: tar entries as they stand in a layer, and the merged tree of a whole image that drivers work from.

Layer semantics (OCI image-spec 1.1, layer.md) are applied once, by `tar.merge`, and every driver -- EROFS,
overlay, plain directory -- writes out the same `Tree`, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What an entry is. The values are part of the tar index format: never renumber."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    HARDLINK = 3  # only in entries; a tree has shared inodes instead
    CHARACTER = 4
    BLOCK = 5
    FIFO = 6
    SOCKET = 7  # not in tar; for the writer's sake


class Entry(NamedTuple):
    """One member of a plain layer tar, as the header says it, with nothing resolved."""

    kind: Kind
    name: bytes  # as archived: may have "./", "..", a leading or trailing "/"
    link: bytes  # target of a symbolic or hard link, as archived
    mode: int  # permission bits with setuid, setgid, sticky: 0..0o7777
    uid: int  # 0..2**32-1
    gid: int
    mtime_ns: int  # nanoseconds since 1970, may be negative
    size: int  # bytes of data; 0 for all but FILE
    offset: int  # where the data starts in the plain tar, a multiple of 512
    major: int
    minor: int
    xattrs: tuple[tuple[bytes, bytes], ...]  # (full name, value), sorted by name


class Inode:
    """A node of a merged tree. The same object under two names is a hard link; `links` counts the names.

    For directories `links` is 2 plus the number of subdirectories, as file systems report it.
    """

    __slots__ = (
        "children",
        "gid",
        "kind",
        "layer",
        "link",
        "links",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "offset",
        "size",
        "touched",
        "uid",
        "xattrs",
    )

    def __init__(self, kind: Kind, mode: int, layer: int) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.mtime_ns = 0
        self.size = 0
        self.offset = 0  # of the data, in the plain tar of `layer`
        self.layer = layer  # index of the layer that last wrote this inode, base is 0
        self.touched = layer  # last layer that wrote this inode or anything below it
        self.link = b""  # target of a symlink
        self.links = 1
        self.major = 0
        self.minor = 0
        self.xattrs: tuple[tuple[bytes, bytes], ...] = ()
        self.children: dict[bytes, Inode] | None = {} if kind is Kind.DIRECTORY else None


class Tree:
    """The root directory of an image with everything below it, and what was left out on the way."""

    def __init__(self) -> None:
        self.root = Inode(Kind.DIRECTORY, 0o755, 0)
        self.notes: list[str] = []  # one line for each entry dropped or changed, with its name and why

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Every (path, inode), parents first, names sorted by bytes; the root is `b""`, paths have no leading
        slash. A hard link is met under each of its names. Does not recurse."""
        stack: list[tuple[bytes, Inode]] = [(b"", self.root)]
        while stack:
            path, inode = stack.pop()
            yield path, inode
            if inode.children:
                prefix = path + b"/" if path else b""
                stack.extend((prefix + name, inode.children[name]) for name in sorted(inode.children, reverse=True))
