"""A merged tree as work to be done: directories, then what is in them, then further names of the same inodes."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..errors import Invalid
from ..model.tree import Inode, Kind, Tree

# names in one piece of work: a huge directory is shared by several threads, a small one is never split
_BATCH = 1024


class Batch(NamedTuple):
    """Some of the entries of one directory, none of them a directory."""

    path: bytes
    entries: list[tuple[bytes, Inode]]


class Link(NamedTuple):
    """A further name for an inode that is made under another one."""

    path: bytes
    name: bytes
    inode: Inode


class Plan:
    """Everything of a tree. Directories come parents first, each with the names of its subdirectories; entries
    in the order they stand in the layers, so that reading the tars goes forward."""

    def __init__(self, tree: Tree) -> None:
        self.directories: list[tuple[bytes, Inode, list[bytes]]] = []
        self.batches: list[Batch] = []
        self.links: list[Link] = []
        self.first: dict[int, tuple[bytes, bytes]] = {}  # id of an inode with several names: path, name
        self.entries = 0
        self.bytes = 0
        stack: list[tuple[bytes, Inode]] = [(b"", tree.root)]
        while stack:
            path, inode = stack.pop()
            self._add(path, inode, stack)

    def _add(self, path: bytes, directory: Inode, stack: list[tuple[bytes, Inode]]) -> None:
        below: list[bytes] = []
        entries: list[tuple[bytes, Inode]] = []
        children = directory.children or {}
        together = b"".join(children)
        if b"/" in together or b"\0" in together or b"" in children or b"." in children or b".." in children:
            raise Invalid(f"directory {os.fsdecode(path)}: a name is empty, '.' or '..', or has a slash or NUL in it")
        self.entries += len(children)
        for name, child in children.items():
            if child.kind is Kind.DIRECTORY:
                below.append(name)
                stack.append((path + b"/" + name if path else name, child))
                continue
            if child.links > 1:
                if id(child) in self.first:
                    self.links.append(Link(path, name, child))
                    continue
                self.first[id(child)] = (path, name)
            self.bytes += child.size
            entries.append((name, child))
        self.directories.append((path, directory, below))
        for start in range(0, len(entries), _BATCH):
            self.batches.append(Batch(path, entries[start : start + _BATCH]))
