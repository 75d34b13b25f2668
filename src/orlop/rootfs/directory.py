"""Writes the merged tree of an image into a directory, below open descriptors all the way."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ..disk.beneath import directory
from ..errors import Damaged, Invalid
from ..job import Job, run_all
from ..model.tree import Inode, Kind, Tree
from ..ports import Layer
from . import ownership, staging
from .beside import Beside
from .failures import failure
from .metadata import Metadata
from .ownership import ownership_record
from .plan import Batch, Link, Plan

__all__ = ["Written", "check_target", "fill", "ownership_record", "write_tree"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 64 << 20  # bytes of one sendfile, between two looks at the job
_NODES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO, Kind.SOCKET: stat.S_IFSOCK}


class Written(NamedTuple):
    """What was written: names without the root's, bytes of file data, and a line for each thing left out."""

    entries: int
    bytes: int
    notes: tuple[str, ...]


def write_tree(
    tree: Tree,
    layers: Sequence[Layer],
    target: Path,
    *,
    job: Job,
    own: bool,
    sync: bool = True,
    beside: Beside | None = None,
    filled: Callable[[], None] | None = None,
) -> Written:
    """Make the directory `target` with all of `tree`, whose file data is in the tars of `layers`.

    `target` must be new or empty; it is there whole or, after any failure, as it was before. `own`: with owners,
    devices and privileged attributes, which takes root; without, they are left out with a note. `sync`: durable
    when it returns. `beside`: a file that is there whenever the tree is. `filled` is called once the tars are not
    needed any more, before anything is synced. `Conflict`, `NoSpace`, `Denied`, `Cancelled`; `Damaged` if a tar is
    too short.
    """
    with staging.staged(target, sync=sync, beside=beside) as root:
        written = fill(tree, layers, root, job=job, own=own, name=target)
        if filled is not None:
            filled()
        return written


def check_target(target: Path, *, own: bool) -> None:
    """Raise what `write_tree` would raise because of `target`, before there is a tree. Without `own`, the owners go
    beside it."""
    staging.check_target(target, beside=None if own else ownership.beside(Tree()))


def fill(tree: Tree, layers: Sequence[Layer], root: int, *, job: Job, own: bool, name: Path) -> Written:
    """The same into an empty directory that is open and out of others' reach; after a failure it is the
    caller's to remove. `name` is what errors call it."""
    plan = Plan(tree)
    metadata = Metadata(own=own, umask=_umask(root))
    with ExitStack() as held:
        try:
            tars = []
            for layer in layers:
                tars.append(os.open(layer.tar, os.O_RDONLY | os.O_CLOEXEC))
                held.callback(os.close, tars[-1])
            _Writer(root, tars, metadata, own=own).write(plan, job)
        except OSError as error:
            raise failure(error, "write", error.filename or name) from error
        except (OverflowError, ValueError) as error:
            raise Invalid(f"{name}: a time, owner or link is not one that Linux knows: {error}") from error
    return Written(plan.entries, plan.bytes, tuple(metadata.notes))


def _umask(root: int) -> int:
    """The process's umask, without touching it: other threads may be making files."""
    os.mkdir(b".orlop-umask", 0o777, dir_fd=root)
    try:
        return 0o777 & ~os.lstat(b".orlop-umask", dir_fd=root).st_mode
    finally:
        os.rmdir(b".orlop-umask", dir_fd=root)


def _has_holes(tar: os.stat_result) -> bool:
    return tar.st_blocks * 512 < tar.st_size


def _next_data(tar: int, offset: int, end: int) -> tuple[int, int]:
    """Where the next data begins and ends, both at most `end`; a hole is as long as the file at most."""
    try:
        start = os.lseek(tar, offset, os.SEEK_DATA)
        return min(start, end), min(os.lseek(tar, start, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        start = max(offset, min(end, os.fstat(tar).st_size))
        return start, end


class _Writer:
    def __init__(self, root: int, tars: Sequence[int], metadata: Metadata, *, own: bool) -> None:
        self._root = root
        self._tars = tars
        self._metadata = metadata
        self._own = own
        # where sparse members are; for all others, nothing needs to be asked
        self._with_holes = {tar for tar in tars if _has_holes(os.fstat(tar))}

    def write(self, plan: Plan, job: Job) -> None:
        """Directories, then files on all processors, then hard links; what a directory says comes last, for
        making things in it changes its times, and its own mode or ACL may stand in our way."""
        for path, _, below in plan.directories:
            if below:
                with directory(self._root, path) as parent:
                    for name in below:
                        os.mkdir(name, 0o700, dir_fd=parent)
        waiting = deque(plan.batches)

        def work(child: Job) -> None:
            while waiting:
                try:
                    batch = waiting.popleft()
                except IndexError:
                    return
                child.check()
                self._write_batch(batch, child)

        workers = min(job.workers, os.cpu_count() or 1, len(plan.batches))
        if workers:
            run_all(job, [work] * workers, workers=workers)
        for link in plan.links:
            self._link(link, plan, job)
        job.check()
        for path, inode, _ in reversed(plan.directories):
            with directory(self._root, path) as descriptor:
                self._metadata.apply_open(descriptor, inode, 0o700)

    def _write_batch(self, batch: Batch, job: Job) -> None:
        with directory(self._root, batch.path) as parent:
            for name, inode in batch.entries:
                self._make(parent, name, inode, job)

    def _make(self, parent: int, name: bytes, inode: Inode, job: Job) -> None:
        kind = inode.kind
        if kind is Kind.FILE:
            mode = self._metadata.created_with(inode)
            descriptor = os.open(name, _CREATE, mode, dir_fd=parent)
            try:
                if inode.size:
                    self._copy(inode, descriptor, job)
                self._metadata.apply_open(descriptor, inode, mode)
            finally:
                os.close(descriptor)
            return
        if kind is Kind.SYMLINK:
            os.symlink(inode.link, name, dir_fd=parent)
        elif kind in _NODES and not self._skipped(inode):
            device = os.makedev(inode.major, inode.minor) if kind in (Kind.CHARACTER, Kind.BLOCK) else 0
            os.mknod(name, _NODES[kind] | 0o600, device, dir_fd=parent)
        else:
            return
        self._metadata.apply_named(parent, name, inode)

    def _skipped(self, inode: Inode) -> bool:
        if self._own or inode.kind not in (Kind.CHARACTER, Kind.BLOCK):
            return False
        self._metadata.note("devices: need root, left out")
        return True

    def _copy(self, inode: Inode, descriptor: int, job: Job) -> None:
        tar, offset, end = self._tars[inode.layer], inode.offset, inode.offset + inode.size
        holes = tar in self._with_holes
        while offset < end:
            stop = end
            if holes:
                data, stop = _next_data(tar, offset, end)
                if data > offset:
                    os.ftruncate(descriptor, data - inode.offset)
                    os.lseek(descriptor, 0, os.SEEK_END)
                    offset = data
                    continue
            moved = os.sendfile(descriptor, tar, offset, min(stop - offset, _PIECE))
            if moved == 0:
                raise Damaged(f"layer {inode.layer}: its plain tar ends at {offset}, expected data up to {end}")
            offset += moved
            if offset < end:
                job.check()

    def _link(self, link: Link, plan: Plan, job: Job) -> None:
        if self._skipped(link.inode):
            return
        path, name = plan.first[id(link.inode)]
        with directory(self._root, path) as source, directory(self._root, link.path) as parent:
            try:
                os.link(name, link.name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                # the file system holds no more names of one file: go on with a copy
                self._make(parent, link.name, link.inode, job)
                plan.first[id(link.inode)] = (link.path, link.name)
                self._metadata.note("hard links: more names than the file system allows, some are copies")
