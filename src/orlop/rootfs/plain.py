"""The driver "directory": the merged tree unpacked once, and shown by a read-only bind mount."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import Unsupported
from ..job import Event, Job
from ..model.tree import Tree
from ..ports import Derived, Layer, Stack
from .directory import fill
from .failures import failure
from .mounting import bind
from .privilege import may_not_mount
from .topdir import spread

_KIND = "directory"


class DirectoryDriver:
    """One directory for each chain ID. Needs root, and nothing of the kernel that it does not always have."""

    name = "directory"

    def __init__(self, derived: Derived) -> None:
        self._derived = derived

    def unable(self) -> str:
        return may_not_mount()

    def prepare(self, stack: Stack, *, job: Job) -> Path:
        """The tree of a stack, made if it is not there."""
        found = self._derived.path(_KIND, stack.chain)
        if found is None:
            with self._derived.draft(_KIND, stack.chain) as draft:
                for note in fill_draft(stack.tree, stack.layers, draft, job=job):
                    job.progress(Event("note", stack.chain, text=note))
            found = self._derived.path(_KIND, stack.chain)
        if found is None:
            raise Unsupported(f"tree {stack.chain}: vanished while it was made", hint="try again")
        return found

    def mount(self, stack: Stack, target: Path, *, job: Job) -> None:
        bind(self.prepare(stack, job=job), target, read_only=True)


def fill_draft(tree: Tree, layers: Sequence[Layer], draft: Path, *, job: Job) -> tuple[str, ...]:
    """Make the directory `draft` with all of `tree`, not synced; returns what was left out. The caller removes it
    after a failure."""
    try:
        spread(draft.parent)
        os.mkdir(draft, 0o700)
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise failure(error, "make", draft) from error
    try:
        return fill(tree, layers, descriptor, job=job, own=True, name=draft).notes
    finally:
        os.close(descriptor)
