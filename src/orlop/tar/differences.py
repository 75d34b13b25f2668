"""What is different between two trees, as Docker's `diff` tells it, and the layer that makes the one into the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from ..model.tree import Inode, Kind, Tree

_SECOND = 1_000_000_000
_WHITEOUT = b".wh."


class Change(NamedTuple):
    """`A`dded, `C`hanged or `D`eleted. `path` has a leading slash; a directory is changed if anything in it is."""

    kind: Literal["A", "C", "D"]
    path: bytes

    def __str__(self) -> str:
        return f"{self.kind} {self.path.decode('utf-8', 'backslashreplace')}"


def differences(before: Tree, after: Tree) -> list[Change]:
    """All changes, by path. What is in a directory that is gone, or became something else, is not told apart."""
    found: dict[bytes, Change] = {}
    for path, old, new in _pairs(before.root, after.root):
        if old is not None and new is not None and _is_same(old, new):
            continue
        if path:
            found[path] = Change("A" if old is None else "D" if new is None else "C", path)
        _add_parents(path, found)
    return [found[path] for path in sorted(found)]


def size_of(changes: Sequence[Change], after: Tree) -> int:
    """Bytes in the files that came or changed, each file once however many names it has."""
    wanted = {change.path for change in changes if change.kind != "D"}
    files = {inode: inode.size for path, inode in after.walk() if b"/" + path in wanted and inode.kind is Kind.FILE}
    return sum(files.values())


def layer_of(changes: Sequence[Change], after: Tree) -> Tree:
    """A tree to be written as a layer over the one before: what came or changed, and whiteouts of what went. All names
    of a file are in it if one is, so that they stay one file."""
    wanted = {change.path[1:] for change in changes if change.kind != "D"}
    moved = {inode for path, inode in after.walk() if path in wanted and inode.kind is not Kind.DIRECTORY}
    tree = Tree()
    tree.root, children = _bare(after.root)
    copies = {b"": children}

    def directory(path: bytes) -> dict[bytes, Inode]:
        if path not in copies:
            parent, _, name = path.rpartition(b"/")
            directory(parent)[name], copies[path] = _bare(originals[path])
        return copies[path]

    originals = {path: inode for path, inode in after.walk() if inode.kind is Kind.DIRECTORY}
    for path, inode in after.walk():
        parent, _, name = path.rpartition(b"/")
        if inode in moved:
            directory(parent)[name] = inode
        elif path in wanted:
            directory(path)
    for change in changes:
        if change.kind == "D":
            parent, _, name = change.path[1:].rpartition(b"/")
            directory(parent)[_WHITEOUT + name] = Inode(Kind.FILE, 0, 0)
    return tree


def _pairs(before: Inode, after: Inode) -> Iterator[tuple[bytes, Inode | None, Inode | None]]:
    """Path, and what is there in each tree."""
    todo: list[tuple[bytes, Inode | None, Inode | None]] = [(b"", before, after)]
    while todo:
        path, old, new = todo.pop()
        yield path, old, new
        if new is None:
            continue  # with a directory goes all that is in it
        lower = (old.children or {}) if old is not None and new.children is not None else {}
        upper = new.children or {}
        todo.extend((path + b"/" + name, lower.get(name), upper.get(name)) for name in lower.keys() | upper.keys())


def _is_same(old: Inode, new: Inode) -> bool:
    """By what Docker looks at, and all extended attributes. Whole seconds are taken for those of a coarser clock."""
    if old is new:
        return True
    kept = ("kind", "mode", "uid", "gid", "major", "minor", "link", "xattrs")
    if any(getattr(old, key) != getattr(new, key) for key in kept):
        return False
    if old.kind is not Kind.DIRECTORY and old.size != new.size:
        return False
    if old.mtime_ns // _SECOND != new.mtime_ns // _SECOND:
        return False
    return old.mtime_ns == new.mtime_ns or 0 in (old.mtime_ns % _SECOND, new.mtime_ns % _SECOND)


def _add_parents(path: bytes, found: dict[bytes, Change]) -> None:
    parent = path.rpartition(b"/")[0]
    while parent:
        found.setdefault(parent, Change("C", parent))
        parent = parent.rpartition(b"/")[0]


def _bare(directory: Inode) -> tuple[Inode, dict[bytes, Inode]]:
    """A directory without what is in it, and where to put something."""
    copy = Inode(Kind.DIRECTORY, directory.mode, directory.layer)
    copy.uid, copy.gid, copy.mtime_ns, copy.xattrs = directory.uid, directory.gid, directory.mtime_ns, directory.xattrs
    children: dict[bytes, Inode] = {}
    copy.children = children
    return copy, children
