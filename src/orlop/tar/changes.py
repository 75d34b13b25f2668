"""What each layer changes in the tree below it, for drivers that write one directory a layer (overlayfs)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import Unsafe
from ..model.limits import LAYERS
from ..model.tree import Entry, Inode, Kind
from .merge import Merging


class Written(NamedTuple):
    """A name to write in the layer's directory. `opaque`: a directory that must hide the one below it."""

    path: bytes  # without a leading slash; b"" is the root
    inode: Inode
    opaque: bool


class Changes(NamedTuple):
    """One layer's difference. `written`: parents first; `removed`: names to hide, their parents are in `written`."""

    written: list[Written]
    removed: list[bytes]


def layer_changes(layers: Sequence[Sequence[Entry]]) -> Iterator[Changes]:
    """For each layer, base first, how the tree with it differs from the tree without it.

    To write a layer's directory for overlayfs: make all of `written` in order -- the root's metadata goes to the
    directory itself, two names of one `Inode` are hard links, data comes from the plain tar of `inode.layer`,
    which may be a lower layer's when a hard link reaches down --, give opaque ones the xattr
    `trusted.overlay.opaque` (or `user.`) = "y", and make a 0:0 character device of each of `removed`. Every
    directory on the way to a change is in `written` with its metadata, since the upper one counts.

    The inodes are those of a tree that grows: use one `Changes` before asking for the next. Errors as `merge`.
    """
    if len(layers) > LAYERS:
        raise Unsafe(f"image: {len(layers)} layers, expected at most {LAYERS}")
    journal = _Journal()
    merging = Merging(journal)
    for layer in layers:
        merging.apply(layer)
        yield journal.take(merging.tree.root)


class _Journal:
    """Remembers what directories held before a layer touched them."""

    def __init__(self) -> None:
        # real path -> (the directory, what it held); of several directories in one place the first counts
        self._before: dict[bytes, tuple[Inode, dict[bytes, Inode]]] = {}
        self._restated: set[bytes] = set()
        self._relinked: set[Inode] = set()

    def children(self, directory: Inode, path: bytes) -> None:
        if path not in self._before:
            self._before[path] = directory, dict(directory.children or {})

    def metadata(self, path: bytes) -> None:
        self._restated.add(path)

    def linked(self, inode: Inode) -> None:
        self._relinked.add(inode)

    def take(self, root: Inode) -> Changes:
        """The changes since the last call."""
        written: dict[bytes, Written] = {b"": Written(b"", root, False)}
        removed: list[bytes] = []
        for path, (directory, before) in self._before.items():
            if _find(root, path) is directory:
                self._compare(directory, path, before, written, removed)
        for path in self._restated:
            _add_way(root, path, written)
        if self._relinked:
            # all names of an inode must be in one layer to stay one inode
            for path, inode in _names_of(root, self._relinked):
                written.setdefault(path, Written(path, inode, False))
        for path in [*written, *removed]:
            _add_way(root, path.rpartition(b"/")[0], written)
        self._before, self._restated, self._relinked = {}, set(), set()
        return Changes([written[path] for path in sorted(written)], sorted(removed))

    def _compare(
        self,
        directory: Inode,
        path: bytes,
        before: dict[bytes, Inode],
        written: dict[bytes, Written],
        removed: list[bytes],
    ) -> None:
        prefix = path + b"/" if path else b""
        after = directory.children or {}
        removed += (prefix + name for name in before.keys() - after.keys())
        new: list[tuple[bytes, Inode]] = []
        for name, child in after.items():
            old = before.get(name)
            if old is child:
                continue
            below = prefix + name
            opaque = child.kind is Kind.DIRECTORY and old is not None and old.kind is Kind.DIRECTORY
            written[below] = Written(below, child, opaque)
            if child.children:
                new.append((below, child))
        # what stands in a new directory is new itself; most of them are compared with what they held: nothing
        while new:
            path, directory = new.pop()
            known = self._before.get(path)
            if known is not None and known[0] is directory:
                continue
            for name, child in (directory.children or {}).items():
                below = path + b"/" + name
                written[below] = Written(below, child, False)
                if child.children:
                    new.append((below, child))


def _find(root: Inode, path: bytes) -> Inode | None:
    inode: Inode | None = root
    for part in path.split(b"/") if path else ():
        inode = inode.children.get(part) if inode is not None and inode.children else None
    return inode


def _add_way(root: Inode, path: bytes, written: dict[bytes, Written]) -> None:
    """Add `path` and the directories above it, as far as they are still there."""
    while path not in written:
        inode = _find(root, path)
        if inode is not None:
            written[path] = Written(path, inode, False)
        path = path.rpartition(b"/")[0]


def _names_of(root: Inode, wanted: set[Inode]) -> Iterator[tuple[bytes, Inode]]:
    todo = [(b"", root)]
    while todo:
        path, directory = todo.pop()
        prefix = path + b"/" if path else b""
        for name, inode in (directory.children or {}).items():
            if inode.kind is Kind.DIRECTORY:
                todo.append((prefix + name, inode))
            elif inode in wanted:
                yield prefix + name, inode
