"""Directory trees as values: what is under a path, to the last attribute, and how two of them differ."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from orlop.model.digest import Digest
from orlop.model.image import chain_id
from orlop.model.tree import Entry, Kind, Tree
from orlop.ports import Layer, Stack
from orlop.rootfs.mounting import mount_erofs, unmount
from orlop.store import Store
from orlop.tar.merge import merge
from orlop.tar.reader import read_entries


class Node(NamedTuple):
    """All that can be seen of one name. `group`: the first name of the same inode, so equal trees share alike."""

    type: str  # -, d, l, c, b, p, s
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    links: int
    group: bytes
    device: int
    content: bytes  # sha256 of a file, target of a symlink
    xattrs: tuple[tuple[bytes, bytes], ...]


Snapshot = dict[bytes, Node]
_TYPES = {
    stat.S_IFREG: "-",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}


def snapshot(top: str | Path) -> Snapshot:
    """Every name under `top`, by path; `top` itself is b"". Never follows a link, opens regular files only."""
    root = os.fsencode(top)
    seen: dict[tuple[int, int], bytes] = {}
    result: Snapshot = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        full = root + b"/" + path if path else root
        found = os.lstat(full)
        kind = _TYPES[stat.S_IFMT(found.st_mode)]
        result[path] = Node(
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            found.st_mtime_ns,
            found.st_nlink,
            b"" if kind == "d" else path,
            found.st_rdev if kind in "cb" else 0,
            _content(full, kind),
            _xattrs(full),
        )
        if kind != "d":
            seen.setdefault((found.st_dev, found.st_ino), path)
            first = min(path, seen[found.st_dev, found.st_ino])
            seen[found.st_dev, found.st_ino] = first
        else:
            pending += [path + b"/" + name if path else name for name in os.listdir(full)]
    return _with_groups(root, result, seen)


def _with_groups(root: bytes, result: Snapshot, seen: dict[tuple[int, int], bytes]) -> Snapshot:
    for path, node in result.items():
        if node.type != "d" and node.links > 1:
            found = os.lstat(root + b"/" + path)
            result[path] = node._replace(group=seen[found.st_dev, found.st_ino])
    return result


def _content(full: bytes, kind: str) -> bytes:
    if kind == "l":
        return os.readlink(full)
    if kind != "-":
        return b""
    descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _xattrs(full: bytes) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(os.fsencode(name) for name in os.listxattr(full, follow_symlinks=False))
    return tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in names)


def difference(left: Snapshot, right: Snapshot, *, ignore: frozenset[str] = frozenset()) -> list[str]:
    """A line for each name and field in which two trees differ; empty if they are the same."""
    lines = []
    for path in sorted(left.keys() | right.keys()):
        if path not in left or path not in right:
            lines.append(f"{path!r}: only {'left' if path in left else 'right'}")
            continue
        for field, one, other in zip(Node._fields, left[path], right[path], strict=True):
            if one != other and field not in ignore:
                lines.append(f"{path!r}: {field} {_brief(one)} != {_brief(other)}")
    return lines


def _brief(value: object) -> str:
    text = oct(value) if isinstance(value, int) and value < 0o10000 else repr(value)
    return text if len(text) < 200 else text[:200] + "..."


LETTERS = dict(
    zip(
        (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.CHARACTER, Kind.BLOCK, Kind.FIFO, Kind.SOCKET),
        "-dlcbps",
        strict=True,
    )
)


def expected(tree: Tree, tars: Sequence[Path]) -> Snapshot:
    """What a snapshot of `tree` must be. Directories count their links as file systems do."""
    result: Snapshot = {}
    first: dict[int, bytes] = {}
    for path, inode in tree.walk():
        kind = LETTERS[inode.kind]
        content = inode.link if kind == "l" else b""
        if kind == "-":
            with tars[inode.layer].open("rb") if inode.size else io.BytesIO() as tar:
                tar.seek(inode.offset)
                content = hashlib.sha256(tar.read(inode.size)).digest()
        device = os.makedev(inode.major, inode.minor) if kind in "cb" else 0
        group = b"" if kind == "d" else min(path, first.setdefault(id(inode), path))
        result[path] = Node(
            kind,
            0o777 if kind == "l" else inode.mode,
            inode.uid,
            inode.gid,
            inode.mtime_ns,
            inode.links,
            group,
            device,
            content,
            inode.xattrs,
        )
    return result


def make_stack(directory: Path, *tars: bytes) -> Stack:
    """Plain layer tars, written below `directory`, as a stack."""
    layers = []
    for content in tars:
        digest = Digest.of(content)
        path = directory / f"{digest.encoded}.tar"
        path.write_bytes(content + bytes(-len(content) % 512))
        layers.append(Layer(digest, path, partial(_entries, path)))
    chain = chain_id([layer.diff_id for layer in layers]) if layers else Digest.of(b"")
    return Stack(chain, tuple(layers), merge)


def _entries(path: Path) -> list[Entry]:
    with path.open("rb") as tar:
        return list(read_entries(tar))


@contextmanager
def mounted(image: Path, devices: Sequence[Path], target: Path) -> Iterator[Path]:
    """An EROFS image at the directory `target`, which is made."""
    target.mkdir(exist_ok=True)
    mount_erofs(image, devices, target)
    try:
        yield target
    finally:
        unmount(target, lazy=True)


@contextmanager
def mounted_root(store: Store, name: str) -> Iterator[Path]:
    """An image of a store, mounted while the context lasts."""
    mounted = store.mount(name)
    try:
        yield mounted.target
    finally:
        store.umount(str(mounted.target))
