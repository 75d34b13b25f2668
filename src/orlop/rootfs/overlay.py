"""The driver "overlay": each layer unpacked once into a directory of its own, shown together by overlayfs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import Error, Unsupported
from ..job import Event, Job
from ..model.digest import Digest
from ..model.image import chain_id
from ..model.tree import Inode, Kind, Tree
from ..ports import Derived, Layer, Stack
from ..tar.changes import Changes, layer_changes
from .mounting import mount_overlay, unmount
from .plain import fill_draft
from .privilege import may_not_mount

_KIND = "overlay"
_OPAQUE = (b"trusted.overlay.opaque", b"y")


class _TriedError(Exception):
    """Leaves a draft without keeping it."""


class OverlayDriver:
    """One directory for each chain ID of a prefix of the layers, since what a layer hides depends on those below.

    Needs root, and a store on a file system with trusted extended attributes. overlayfs takes 500 layers.
    """

    name = "overlay"

    def __init__(self, derived: Derived) -> None:
        self._derived = derived

    def unable(self) -> str:
        """Found out by mounting two directories with an opaque one and a whiteout, gone at once."""
        if reason := may_not_mount():
            return reason
        reason = ""
        try:
            with self._derived.draft(_KIND, Digest.of(b"orlop overlay trial")) as draft:
                try:
                    _try(draft)
                except OSError as error:
                    reason = f"whiteouts cannot be made in the store: {os.strerror(error.errno or 0).lower()}"
                except Error as error:
                    reason = f"overlayfs cannot be mounted: {error.message}"
                raise _TriedError
        except _TriedError:
            return reason

    def prepare(self, stack: Stack, *, job: Job) -> list[Path]:
        """The directories of a stack's layers, base first, made where they are not there."""
        diff_ids = [layer.diff_id for layer in stack.layers]
        chains = [chain_id(diff_ids[: count + 1]) for count in range(len(diff_ids))] or [stack.chain]
        found = [self._derived.path(_KIND, chain) for chain in chains]
        if None in found:
            changes = layer_changes([layer.entries for layer in stack.layers]) if diff_ids else _NOTHING
            for chain, there, change in zip(chains, found, changes, strict=True):
                if there is None:
                    self._write(chain, change, stack.layers, job)
            found = [self._derived.path(_KIND, chain) for chain in chains]
        ready = [path for path in found if path is not None]
        if len(ready) != len(chains):
            raise Unsupported(f"layers of {stack.chain}: vanished while they were made", hint="try again")
        return ready

    def mount(self, stack: Stack, target: Path, *, job: Job) -> None:
        mount_overlay(self.prepare(stack, job=job)[::-1], target)

    def _write(self, chain: Digest, changes: Changes, layers: Sequence[Layer], job: Job) -> None:
        with self._derived.draft(_KIND, chain) as draft:
            for note in fill_draft(_tree(changes), layers, draft, job=job):
                job.progress(Event("note", chain, text=note))


_NOTHING = [Changes([], [])]


def _tree(changes: Changes) -> Tree:
    """What one layer's directory holds. Other inodes than directories stay the same objects: hard links."""
    tree = Tree()
    directories = {b"": tree.root}
    for path, inode, opaque in changes.written:
        here = _only(inode, opaque=opaque) if inode.kind is Kind.DIRECTORY else inode
        if path:
            parent, _, name = path.rpartition(b"/")
            _children(directories[parent])[name] = here
        else:
            tree.root = here
        if inode.kind is Kind.DIRECTORY:
            directories[path] = here
    for path in changes.removed:
        parent, _, name = path.rpartition(b"/")
        _children(directories[parent])[name] = Inode(Kind.CHARACTER, 0, 0)
    return tree


def _only(directory: Inode, *, opaque: bool) -> Inode:
    """A directory without what is in it."""
    copy = Inode(Kind.DIRECTORY, directory.mode, directory.layer)
    copy.uid, copy.gid, copy.mtime_ns = directory.uid, directory.gid, directory.mtime_ns
    copy.xattrs = (*directory.xattrs, _OPAQUE) if opaque else directory.xattrs
    return copy


def _children(directory: Inode) -> dict[bytes, Inode]:
    if directory.children is None:
        raise Unsupported("layer: a file is used as a directory")
    return directory.children


def _try(draft: Path) -> None:
    lower, upper, shown = draft / "lower", draft / "upper", draft / "shown"
    for directory in (draft, lower, upper, shown):
        directory.mkdir()
    os.mknod(upper / "whiteout", 0o020000, os.makedev(0, 0))
    os.setxattr(upper, _OPAQUE[0], _OPAQUE[1])
    mount_overlay([upper, lower], shown)
    unmount(shown, lazy=True)
