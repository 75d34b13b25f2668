"""Images given back: the stack of a manifest's plain layers, mounts of it, its tree in a directory or a tar."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from .blobs.derived import DerivedFiles
from .blobs.local import LocalBlobs
from .disk.disk import Disk, translate
from .disk.locks import Locks
from .disk.session import Session
from .errors import Busy, Conflict, Damaged, Error, NotFound
from .graph import Leaf
from .images import Image
from .intake import Intake
from .job import Job, run_all
from .model.digest import Digest
from .model.image import chain_id
from .model.limits import READY_INDEX_BYTES, READY_NAMES
from .model.tree import Entry, Tree
from .ports import Driver, Layer, Stack
from .rootfs import directory, mountinfo, mounting
from .rootfs.choose import choose
from .rootfs.erofs import ErofsDriver
from .rootfs.ownership import beside
from .rootfs.records import Record, Records
from .tar import index as tar_index
from .tar.merge import merge
from .tar.writer import write_tree

_INDEX_BYTES = 4 << 30
_PREFIX = 6  # hex digits that are enough to mean a digest


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount of an image. `why` says why it is not a better driver, "" if it is the best."""

    name: str
    digest: Digest
    target: Path
    driver: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unpacked:
    target: Path
    digest: Digest
    entries: int
    bytes: int
    notes: tuple[str, ...]
    ownership: str  # "applied", or "recorded in FILE" when not root


class Materialise:
    """Root file systems from one store."""

    def __init__(
        self, disk: Disk, locks: Locks, blobs: LocalBlobs, derived: DerivedFiles, intake: Intake, session: Session
    ) -> None:
        self._disk = disk
        self._locks = locks
        self._blobs = blobs
        self._derived = derived
        self._intake = intake
        self._session = session
        self._records = Records(disk, session.scratch)

    @contextmanager
    def stack(self, image: Image, job: Job) -> Iterator[Stack]:
        """The plain layers of an image, made ready where they are not; cheap when they are. No collection takes
        them away inside the context."""
        with self._session.lease() as lease:
            lease.rely_on([*(layer.digest for layer in image.manifest.layers), *image.config.diff_ids])
            lease.rely_on(chains(image.config.diff_ids))
            yield self._prepared(image, job)

    def _prepared(self, image: Image, job: Job) -> Stack:
        diff_ids = image.config.diff_ids
        leaves = [Leaf(layer, diff_id) for layer, diff_id in zip(image.manifest.layers, diff_ids, strict=True)]
        leaves = [leaf for leaf in leaves if not self._intake.prepared(leaf)]
        run_all(job, [self._preparation(leaf) for leaf in leaves])
        return replace(self._stack(diff_ids), build=partial(_merged, image))

    def _stack(self, diff_ids: Sequence[Digest]) -> Stack:
        return Stack(chain_of(diff_ids), tuple(self._layer(diff_id) for diff_id in diff_ids), merge)

    def make_ready(self, diff_ids: Sequence[Digest], job: Job) -> None:
        """Make what a mount of these plain layers will need, where this machine can mount without unpacking, and
        where little memory does for it: a crowd of names is left to the first mount."""
        driver = ErofsDriver(self._derived)
        there = self._derived.path(driver.name, chain_of(diff_ids)) is not None
        if there or driver.unable() or not self._is_small(diff_ids):
            return
        stack = self._stack(diff_ids)
        if has_few_directories(stack, READY_NAMES):
            driver.prepare(stack, job=job)

    def _is_small(self, diff_ids: Sequence[Digest]) -> bool:
        names = size = 0
        for diff_id in diff_ids:
            if (index := self._derived.path("index", diff_id)) is not None:
                name = str(index.relative_to(self._disk.root))
                size += self._disk.size(name) or 0
                try:
                    with self._disk.stream(name) as stream:
                        names += tar_index.count(stream.read(tar_index.START))
                except OSError as error:
                    raise translate(error, "read", self._disk.path(name)) from error
        return names <= READY_NAMES and size <= READY_INDEX_BYTES

    def mount(self, image: Image, target: Path | None, driver: str, job: Job) -> Mounted:
        """Show an image read-only. The record of it is written first, so that a collection never misses it."""
        chosen, why = choose(driver, self._derived)
        # the lock: nobody takes a record whose mount is still to come for one whose mount is gone
        if target is not None:
            self.check_place(target)
        with self.stack(image, job) as stack, self._locks.shared():
            return self._mount(image, stack, target, chosen, why, job)

    @contextmanager
    def mounted(self, image: Image, target: Path, driver: str, job: Job) -> Iterator[Mounted]:
        """Show an image at `target`, below this session's scratch, while the context lasts. If this process is
        killed, whoever clears the session undoes the mount."""
        chosen, why = choose(driver, self._derived)
        with self.stack(image, job) as stack:
            _make_directory(target)
            chosen.mount(stack, target, job=job)
            try:
                yield Mounted(image.name, image.manifest.digest, target, chosen.name, why)
            finally:
                mounting.unmount(target, lazy=True)

    @property
    def keep_alive(self) -> int:
        """See `Session.keep_alive`."""
        return self._session.keep_alive()

    def _mount(self, image: Image, stack: Stack, target: Path | None, chosen: Driver, why: str, job: Job) -> Mounted:
        number = self._records.place()
        # the real path, as mountinfo has it: a mount that is not found there counts as gone
        place = Path(os.path.realpath(target)) if target else Path(self._disk.path(f"mounts/{number}/root"))
        name, diff_ids = image.name or str(image.manifest.digest), image.config.diff_ids
        made = False
        try:
            made = _make_directory(place)
            uses = (*diff_ids, *chains(diff_ids))
            self._records.write(number, Record(name, image.manifest.digest, place, chosen.name, made, uses))
            chosen.mount(stack, place, job=job)
        except BaseException:
            self._records.forget(number, place if made else None)
            raise
        return Mounted(name, image.manifest.digest, place, chosen.name, why)

    def check_place(self, target: Path) -> None:
        """`Conflict` for a mount point that would hide the store, or a part of it: nobody could undo the mount."""
        check_place(target, self._disk.root)

    def cover(self, mounted: Mounted, over: Path) -> None:
        """Remember that `over` is a writable view of a mount, so that both go when either is unmounted."""
        self._records.cover(mounted.target, over)

    def mounts(self) -> list[Mounted]:
        """Mounts of this store that are there now."""
        return [_mounted(record) for _, record in self._records.live()]

    def umount(self, wanted: Collection[str], *, lazy: bool = False) -> list[Mounted]:
        """Undo the mount at a directory, or all mounts of a name, a digest or the first 6 or more hex digits of
        one; any of `wanted` will do. A bundle goes by its directory. `NotFound`, `Busy`."""
        found = []
        for number, record in self._records.live():
            over = Path(record.over) if record.over else None
            places = {record.target, *([over, over.parent] if over else [])}
            if any((text and Path(os.path.realpath(text)) in places) or _is_of(text, record) for text in wanted):
                found.append((number, record, over))
        if not found:
            raise NotFound(f"{min(wanted)}: not mounted from this store", hint="`orlop mount` alone lists mounts")
        order = {mount.target: number for number, mount in enumerate(mountinfo.mounts())}
        # what was mounted last may be inside of what was mounted first
        found.sort(key=lambda each: order.get(each[1].target, -1), reverse=True)
        _all_of(partial(self._undo, record, found, lazy) for _, record, _ in found)
        return [replace(_mounted(record), target=over.parent if over else record.target) for _, record, over in found]

    def _undo(self, record: Record, found: list[tuple[str, Record, Path | None]], lazy: bool) -> None:
        """Undo one mount. The records go with the last that is at its place, for which of several is which, nobody
        knows."""
        if not mountinfo.is_target(record.target):
            return
        if record.over and mountinfo.is_target(Path(record.over)):
            mounting.unmount(Path(record.over), lazy=lazy)
        mounting.unmount(record.target, lazy=lazy)
        here = [(number, each) for number, each, _ in found if each.target == record.target]
        if not mountinfo.is_target(record.target):
            for number, each in here:
                self._records.forget(number, each.target if each.made else None)
        elif record is here[-1][1]:
            text = f"{record.target}: one mount is undone, and another is there still"
            raise Busy(text, hint="once more, if that is to go too")

    def clear(self) -> None:
        """Remove records whose mount is gone: after a reboot, or a kill. Under the exclusive lock only."""
        self._records.clear()

    def in_use(self) -> set[Digest]:
        """Diff IDs and chain IDs that mounts stand on."""
        return {digest for _, record in self._records.live() for digest in record.uses}

    def unpack(self, image: Image, target: Path, job: Job, *, filled: Callable[[], None] | None = None) -> Unpacked:
        """The tree of an image in a new or empty directory. `filled`: see `write_tree`."""
        own, ownership = os.geteuid() == 0, "applied"
        directory.check_target(target, own=own)  # opening the layers may take minutes
        with self.stack(image, job) as stack:
            record = None if own else beside(stack.tree)
            written = directory.write_tree(
                stack.tree,
                stack.layers,
                target,
                job=job,
                own=own,
                sync=self._disk.durable,
                beside=record,
                filled=filled,
            )
            if record is not None:
                ownership = f"recorded in {record.place(Path(os.path.abspath(target)))}"
        notes = (*stack.tree.notes, *written.notes)
        return Unpacked(target, image.manifest.digest, written.entries, written.bytes, notes, ownership)

    def export(self, image: Image, out: BinaryIO, job: Job) -> int:
        """The tree of an image as one tar."""
        with self.stack(image, job) as stack:
            return write_tree(stack.tree, lambda number: open(stack.layers[number].tar, "rb"), out, job=job)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory in the store that is gone afterwards, with the mounts in it."""
        name = self._session.scratch()
        self._disk.make_directory(name)
        try:
            yield Path(self._disk.path(name))
        finally:
            self._disk.remove_tree(name)

    def _preparation(self, leaf: Leaf) -> Any:
        def run(job: Job) -> None:
            if self._blobs.size(leaf.descriptor.digest) is None:
                raise NotFound(f"layer {leaf.descriptor.digest}: not in the store", hint="pull the image again")
            self._intake.prepare(leaf, job=job)

        return run

    def _layer(self, diff_id: Digest) -> Layer:
        tar, index = (self._derived.path(kind, diff_id) for kind in ("tar", "index"))
        if tar is None or index is None:
            raise Damaged(f"layer {diff_id}: its plain tar vanished", hint="run it again")

        def load() -> Sequence[Entry]:
            raw = self._disk.read(str(index.relative_to(self._disk.root)), _INDEX_BYTES)
            if raw is None:
                raise Damaged(f"layer {diff_id}: its index vanished", hint="run it again")
            return tar_index.load(raw)[0]

        return Layer(diff_id, tar, load)


def check_place(target: Path, store: Path) -> None:
    """See `Materialise.check_place`."""
    place, store = Path(os.path.realpath(target)), Path(os.path.realpath(store))
    if store.is_relative_to(place) or place.is_relative_to(store):
        raise Conflict(f"{target}: the store {store} would be hidden by a mount", hint="choose another directory")


def _merged(image: Image, layers: Sequence[Sequence[Entry]]) -> Tree:
    """`merge`; what is wrong with layers that were each taken as good is told of their image."""
    try:
        return merge(layers)
    except Error as error:
        error.message = f"{image.name or image.manifest.digest}: {error.message}"
        raise


def has_few_directories(stack: Stack, most: int) -> bool:
    """Whether the names in a stack lead through at most so many directories, named by the layers or not."""
    seen: set[int] = set()
    for parent in {entry.name.rpartition(b"/")[0] for layer in stack.layers for entry in layer.entries}:
        # by hashes: a path may be 4 KiB, and each directory on the way has one of its own
        while parent and hash(parent) not in seen:
            seen.add(hash(parent))
            if len(seen) > most:
                return False
            parent = parent.rpartition(b"/")[0]
    return True


def _mounted(record: Record) -> Mounted:
    return Mounted(record.name, record.digest, record.target, record.driver)


def _all_of(steps: Iterable[Callable[[], None]]) -> None:
    """Take every step, whatever becomes of the others; then raise the first error, which tells of the rest too."""
    errors = []
    for step in steps:
        try:
            step()
        except Error as error:
            errors.append(error)
    if errors:
        errors[0].message = "; ".join(error.message for error in errors)
        raise errors[0]


def _is_of(text: str, record: Record) -> bool:
    """Whether `text` names the image of a mount."""
    prefix = text.removeprefix(f"{record.digest.algorithm}:")
    return text == record.name or (len(prefix) >= _PREFIX and record.digest.encoded.startswith(prefix))


def chains(diff_ids: Sequence[Digest]) -> list[Digest]:
    """The chain IDs of all prefixes of a stack."""
    return [chain_id(diff_ids[: count + 1]) for count in range(len(diff_ids))]


def chain_of(diff_ids: Sequence[Digest]) -> Digest:
    """The chain ID of a stack; an image without layers is named by the digest of nothing."""
    return chain_id(diff_ids) if diff_ids else Digest.of(b"")


def _make_directory(target: Path) -> bool:
    """Make a mount point, True if it was not there. `Conflict` if it is a file, `Busy` if something is mounted."""
    try:
        target.mkdir(mode=0o755)
        return True
    except FileExistsError:
        if not target.is_dir():
            raise Conflict(f"{target}: not a directory") from None
        if mountinfo.is_target(target):
            raise Busy(f"{target}: something is mounted there already", hint=f"`orlop umount {target}`") from None
        return False
    except OSError as error:
        raise translate(error, "make mount point", target) from error
