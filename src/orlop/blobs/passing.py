"""Derived files for one use: what the store has is used, and what it lacks is made where nobody else looks.

They go before what was made of them is synced. A file that was removed before the kernel came to writing it out
never costs the disk anything, and plain tars are as large as the tree.
"""

from __future__ import annotations

from pathlib import Path

from ..disk.disk import Disk
from ..disk.session import Session
from ..model.digest import Digest
from .derived import DerivedFiles


class PassingFiles(DerivedFiles):
    """`kept` are the store's, read and never added to. The others stand in the session's scratch."""

    def __init__(self, disk: Disk, session: Session, boot: str, kept: DerivedFiles) -> None:
        super().__init__(disk, session, boot, session.scratch())
        disk.make_directory(self._root)
        self._kept = kept

    def path(self, kind: str, digest: Digest, /) -> Path | None:
        return super().path(kind, digest) or self._kept.path(kind, digest)

    def opens_to(self, blob: Digest) -> str:
        return super().opens_to(blob) or self._kept.opens_to(blob)

    def drop(self) -> None:
        """Remove all but the store's."""
        self._disk.remove_tree(self._root)
