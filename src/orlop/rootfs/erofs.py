"""The driver "erofs": mounts an image without unpacking it, from metadata made once and the layers' plain tars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..erofs import format as erofs
from ..erofs.writer import write_image
from ..errors import Error, Unsupported
from ..job import Event, Job
from ..model.digest import Digest
from ..model.tree import Tree
from ..ports import Derived, Stack
from .failures import failure
from .mounting import mount_erofs, try_erofs
from .privilege import may_not_mount

_KIND = "erofs"


class _TriedError(Exception):
    """Leaves a draft without keeping it."""


class ErofsDriver:
    """One image file for each chain ID. Needs root, Linux 6.12 or later with EROFS, and a store on a disk."""

    name = "erofs"

    def __init__(self, derived: Derived) -> None:
        self._derived = derived

    def unable(self) -> str:
        """Found out by mounting an empty image from where images are kept, seen by nobody."""
        if reason := may_not_mount():
            return reason
        reason = ""
        try:
            with self._derived.draft(_KIND, Digest.of(b"orlop erofs trial")) as draft:
                try:
                    _write(Tree(), [1 << erofs.BLOCK_BITS], draft, Digest.of(b""))
                    try_erofs(draft, [draft])
                except Unsupported:
                    reason = "this kernel or the store's file system cannot mount EROFS from files (Linux 6.12 can)"
                except Error as error:
                    reason = f"EROFS cannot be mounted: {error.message}"
                raise _TriedError
        except _TriedError:
            return reason

    def prepare(self, stack: Stack, *, job: Job) -> Path:
        """The image of a stack, made if it is not there: about 5 us an inode."""
        found = self._derived.path(_KIND, stack.chain)
        if found is not None:
            return found
        job.check()
        with self._derived.draft(_KIND, stack.chain) as draft:
            try:
                sizes = [layer.tar.stat().st_size for layer in stack.layers]
            except OSError as error:
                raise failure(error, "read", error.filename) from error
            for note in _write(stack.tree, sizes, draft, stack.chain):
                job.progress(Event("note", stack.chain, text=note))
        found = self._derived.path(_KIND, stack.chain)
        if found is None:
            raise Unsupported(f"image {stack.chain}: vanished while it was made", hint="try again")
        return found

    def mount(self, stack: Stack, target: Path, *, job: Job) -> None:
        mount_erofs(self.prepare(stack, job=job), [layer.tar for layer in stack.layers], target)


def _write(tree: Tree, sizes: Sequence[int], draft: Path, chain: Digest) -> tuple[str, ...]:
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # through a buffer: it goes on after a short write, or raises
        with os.fdopen(descriptor, "wb") as out:
            # the volume's UUID: what the image is of
            return write_image(tree, sizes, out, identity=bytes.fromhex(chain.encoded)[:16]).notes
    except OSError as error:
        raise failure(error, "write", draft) from error
