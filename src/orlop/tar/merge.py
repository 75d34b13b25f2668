"""Layers into one tree (OCI image-spec 1.1, layer.md), as umoci and containerd do where they agree.

Names are cleaned lexically and clamped to the root: `../x` and `/x` are `x`. Parents are resolved through symbolic
links inside the root, as `chroot` would see them; missing ones become directories 0755 root:root of time 0. A
whiteout removes what lower layers brought and nothing of its own layer, so that its place in the layer does
not matter; a directory that a whiteout names, but that stays because its layer put something into it, loses the
lower layers' metadata. A hard link takes nothing from its own header. Of two members with one name the
later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..errors import Invalid, Unsafe
from ..model.limits import LAYERS, PATH_BYTES, SYMLINK_STEPS, SYMLINK_STEPS_TOTAL, SYMLINKS_FOLLOWED
from ..model.tree import Entry, Inode, Kind, Tree
from .names import clean, shown

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
# aufs kept its own files in the root of a layer; of these only the pool of hard-linked files means something
_BOOKKEEPING = b".wh..wh."
_LINK_POOL = b".wh..wh.plnk"
# overlayfs would obey these if a layer could set them
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_NOTES = 1000


class Watcher(Protocol):
    """Told of every change before it is made. `path` is the real one, without links."""

    def children(self, directory: Inode, path: bytes) -> None:
        """A name in `directory` is about to come, go, or mean something else."""

    def metadata(self, path: bytes) -> None:
        """A directory's own metadata changes."""

    def linked(self, inode: Inode) -> None:
        """An inode of a lower layer gets one more name."""


def merge(layers: Sequence[Sequence[Entry]]) -> Tree:
    """The tree that `layers`, base first, make together; what was left out is in its `notes`.

    `Invalid`: hard links to nothing, a file used as a directory. `Unsafe`: the root replaced, whiteouts of `.`
    or `..`, members below a whiteout, hard links to directories, symbolic links that go round, too many layers.
    """
    if len(layers) > LAYERS:
        raise Unsafe(f"image: {len(layers)} layers, expected at most {LAYERS}")
    merging = Merging()
    for layer in layers:
        merging.apply(layer)
    return merging.tree


class Merging:
    """A tree in the making. `apply` one layer after the other."""

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.tree = Tree()
        self.tree.root.links = 2
        self._watcher = watcher
        self._layer = -1
        # parent as archived -> (directory, its real path); valid until a directory or link goes away
        self._places: dict[bytes, tuple[Inode, bytes]] = {}
        # names of this layer that are hard links to inodes of lower ones
        self._linked: set[tuple[Inode, bytes]] = set()
        self._pool: dict[bytes, Inode] = {}
        # directories that whiteouts have left without anything of lower layers
        self._cleared: set[Inode] = set()
        self._link_steps = 0

    def apply(self, entries: Iterable[Entry]) -> None:
        """Apply the next layer."""
        self._layer += 1
        self._places.clear()
        self._linked.clear()
        self._pool.clear()
        self._cleared.clear()
        for entry in entries:
            if entry.kind is Kind.CHARACTER and entry.major == 0 and entry.minor == 0:
                self._note(entry, "dropped: device 0:0 would be a whiteout to overlayfs")
                continue
            name = entry.name.rstrip(b"/")
            parent, _, base = name.rpartition(b"/")
            if base in (b"", b".", b"..") or _WHITEOUT in name:
                self._odd(entry)
            else:
                self._put(entry, parent, base)

    def _odd(self, entry: Entry) -> None:
        """The root, whiteouts, aufs leftovers, and names that end in dots."""
        parts = clean(entry.name)
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise Unsafe(f"tar member {shown(entry.name)}: replaces the root by a {entry.kind.name.lower()}")
            self.tree.root.touched = self._layer
            self._restate(self.tree.root, entry, b"")
        elif parts[0].startswith(_BOOKKEEPING) and parts[0] != _OPAQUE:
            if parts[0] == _LINK_POOL and entry.kind is Kind.FILE:
                inode = self._pool[b"/".join(parts)] = self._inode(entry)
                inode.links = 0
        elif any(part.startswith(_WHITEOUT) for part in parts[:-1]):
            raise Unsafe(f"tar member {shown(entry.name)}: below a whiteout")
        elif parts[-1] == _OPAQUE:
            self._whiteout(parts[:-1], None)
        elif parts[-1].startswith(_WHITEOUT):
            base = parts[-1][len(_WHITEOUT) :]
            if base in (b"", b".", b".."):
                raise Unsafe(f"tar member {shown(entry.name)}: whiteout of {base.decode()!r}, expected a name")
            if not base.startswith(_WHITEOUT):
                self._whiteout(parts[:-1], base)
        else:
            self._put(entry, b"/".join(parts[:-1]), parts[-1])

    def _put(self, entry: Entry, parent: bytes, base: bytes) -> None:
        directory, path = self._places.get(parent) or self._open(parent, entry)
        if len(path) + len(base) >= PATH_BYTES:
            raise Unsafe(f"tar member {shown(entry.name)}: its real path is too long")
        children = directory.children
        old = children.get(base) if children else None
        kind = entry.kind
        if old is not None:
            if kind is Kind.DIRECTORY and old.kind is Kind.DIRECTORY:
                old.touched = self._layer
                self._restate(old, entry, _join(path, base))
                return
            if old.touched == self._layer and old.kind is not Kind.DIRECTORY:
                self._note(entry, "comes twice; the later one counts")
            self._remove(directory, path, base)
        if kind is Kind.HARDLINK:
            inode = self._target(entry)
            inode.links += 1
            if inode.touched != self._layer:
                self._linked.add((directory, base))
                if self._watcher is not None:
                    self._watcher.linked(inode)
        else:
            inode = self._inode(entry)
        self._attach(directory, path, base, inode)

    def _inode(self, entry: Entry) -> Inode:
        kind, _, link, mode, uid, gid, mtime_ns, size, offset, major, minor, xattrs = entry
        inode = Inode(kind, mode, self._layer)
        inode.uid = uid
        inode.gid = gid
        inode.mtime_ns = mtime_ns
        if kind is Kind.FILE:
            inode.size = size
            inode.offset = offset
        elif kind is Kind.SYMLINK:
            inode.link = link
            # some writers give links a mode; Linux has none for them, and shows this
            inode.mode = 0o777
        else:
            inode.major = major
            inode.minor = minor
        if xattrs:
            inode.xattrs = self._kept_xattrs(entry)
        return inode

    def _restate(self, directory: Inode, entry: Entry | None, path: bytes) -> None:
        """Give a directory the metadata of `entry`, or of an implied one."""
        if self._watcher is not None:
            self._watcher.metadata(path)
        directory.layer = self._layer
        if entry is None:
            directory.mode, directory.uid, directory.gid, directory.mtime_ns, directory.xattrs = 0o755, 0, 0, 0, ()
        else:
            directory.mode, directory.uid, directory.gid, directory.mtime_ns = entry[3:7]
            directory.xattrs = self._kept_xattrs(entry)

    def _kept_xattrs(self, entry: Entry) -> tuple[tuple[bytes, bytes], ...]:
        kept = tuple(pair for pair in entry.xattrs if not pair[0].startswith(_OVERLAY_XATTRS))
        if len(kept) != len(entry.xattrs):
            self._note(entry, "extended attributes of overlayfs dropped")
        if entry.kind is not Kind.FILE and entry.kind is not Kind.DIRECTORY:
            # xattr(7): Linux has none of users on these; a mount would list names that cannot be read
            usable = tuple(pair for pair in kept if not pair[0].startswith(b"user."))
            if len(usable) != len(kept):
                self._note(entry, f"extended attributes of users dropped from a {entry.kind.name.lower()}")
            return usable
        return kept

    def _target(self, entry: Entry) -> Inode:
        """What a hard link means: its last part is not followed."""
        parts = clean(entry.link)
        pooled = self._pool.get(b"/".join(parts)) if self._pool else None
        if pooled is not None:
            return pooled
        chain = self._walk(parts[:-1]) if parts else None
        directory = chain[-1][1] if chain else None
        target = directory.children.get(parts[-1]) if directory is not None and directory.children else None
        if not parts or (target is not None and target.kind is Kind.DIRECTORY):
            raise Unsafe(f"tar member {shown(entry.name)}: hard link to the directory {shown(entry.link)}")
        if target is None:
            raise Invalid(f"tar member {shown(entry.name)}: hard link to {shown(entry.link)}, which does not exist")
        return target

    def _open(self, parent: bytes, entry: Entry) -> tuple[Inode, bytes]:
        """The directory to put `entry` into, made if need be, and its real path. All above it become touched."""
        chain = self._walk(clean(parent))
        directory = self.tree.root
        directory.touched = self._layer
        path = b""
        for name, inode in chain[1:]:
            if inode is None:
                inode = Inode(Kind.DIRECTORY, 0o755, self._layer)
                self._attach(directory, path, name, inode)
            elif inode.kind is not Kind.DIRECTORY:
                raise Invalid(f"tar member {shown(entry.name)}: below {shown(name)}, which is not a directory")
            inode.touched = self._layer
            directory = inode
            path = _join(path, name)
        self._places[parent] = directory, path
        return directory, path

    def _walk(self, parts: list[bytes]) -> list[tuple[bytes, Inode | None]]:
        """The chain of inodes from the root along `parts`, links followed; None from where nothing exists."""
        chain: list[tuple[bytes, Inode | None]] = [(b"", self.tree.root)]
        todo = parts[::-1]
        links = steps = 0
        while todo:
            part = todo.pop()
            steps += 1
            if not part or part == b".":
                continue
            if part == b"..":
                if len(chain) > 1:
                    chain.pop()
                continue
            here = chain[-1][1]
            child = here.children.get(part) if here is not None and here.children else None
            if child is None or child.kind is not Kind.SYMLINK:
                chain.append((part, child))
                continue
            links += 1
            if links > SYMLINKS_FOLLOWED:
                raise Unsafe(f"symbolic link {shown(part)}: over {SYMLINKS_FOLLOWED} links to follow")
            if steps > SYMLINK_STEPS:
                raise Unsafe(f"symbolic link {shown(part)}: over {SYMLINK_STEPS} steps to follow")
            if child.link.startswith(b"/"):
                del chain[1:]
            target = child.link.split(b"/")
            self._link_steps += len(target)
            if self._link_steps > SYMLINK_STEPS_TOTAL:
                raise Unsafe(f"symbolic link {shown(part)}: over {SYMLINK_STEPS_TOTAL} steps to follow in all members")
            todo += reversed(target)
        return chain

    def _attach(self, directory: Inode, path: bytes, name: bytes, inode: Inode) -> None:
        if self._watcher is not None:
            self._watcher.children(directory, path)
        if inode.kind is Kind.DIRECTORY:
            inode.links = 2
            directory.links += 1
        _children(directory)[name] = inode

    def _remove(self, directory: Inode, path: bytes, name: bytes) -> None:
        """Take a name away, with everything below it."""
        if self._watcher is not None:
            self._watcher.children(directory, path)
        old = _children(directory).pop(name)
        if old.kind is not Kind.DIRECTORY:
            old.links -= 1
        else:
            directory.links -= 1
            todo = [old]
            while todo:
                for child in _children(todo.pop()).values():
                    if child.kind is Kind.DIRECTORY:
                        todo.append(child)
                    else:
                        child.links -= 1
        if old.kind in (Kind.DIRECTORY, Kind.SYMLINK):
            self._places.clear()

    def _whiteout(self, parents: list[bytes], name: bytes | None) -> None:
        """Remove `name`, or everything, in a directory, as far as lower layers brought it."""
        chain = self._walk(parents)
        directory = chain[-1][1]
        if directory is None or not directory.children:
            return
        path = b"/".join(part for part, _ in chain[1:])
        todo = [(directory, path)]
        if name is not None:
            todo = self._hide(directory, path, name) if name in directory.children else []
        while todo:
            directory, path = todo.pop()
            # only once: what comes into it now is this layer's, and there may be many whiteouts
            if directory not in self._cleared:
                self._cleared.add(directory)
                for child in list(_children(directory)):
                    todo += self._hide(directory, path, child)

    def _hide(self, directory: Inode, path: bytes, name: bytes) -> list[tuple[Inode, bytes]]:
        """Remove a name if a lower layer brought it. A directory that this one put something into stays, and is
        what is left to look into."""
        child = _children(directory)[name]
        if child.touched != self._layer and (directory, name) not in self._linked:
            self._remove(directory, path, name)
        elif child.kind is Kind.DIRECTORY:
            below = _join(path, name)
            if child.layer != self._layer:
                self._restate(child, None, below)
            return [(child, below)]
        return []

    def _note(self, entry: Entry, text: str) -> None:
        notes = self.tree.notes
        if len(notes) < _NOTES:
            notes.append(f"layer {self._layer}: {shown(entry.name)}: {text}")
        elif len(notes) == _NOTES:
            notes.append(f"layer {self._layer}: more of this kind, not listed")


def _children(directory: Inode) -> dict[bytes, Inode]:
    if directory.children is None:
        raise Invalid("tree: a file is used as a directory")
    return directory.children


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
