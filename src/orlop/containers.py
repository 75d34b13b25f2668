"""Containers from images: a writable root over the read-only one, as a bundle to keep or for one run."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .bundle import make_directories, mount_writable, run_bundle, writable_root, write_bundle
from .disk.beneath import remove_tree
from .errors import Busy, Conflict, Unsafe
from .images import Image
from .job import Job
from .materialise import Materialise, Mounted
from .model.runtime import Network
from .rootfs import mountinfo
from .rootfs.directory import check_target
from .rootfs.ownership import ENDING
from .rootfs.volumes import make_volumes

DIRECTORY = "directory"
CONFIG = "config.json"
_PRIVATE = "name a new directory"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """What to run, where it differs from what the image says; empty means "as the image says"."""

    command: Sequence[str] = ()
    environment: Sequence[str] = ()
    workdir: str = ""
    user: str = ""
    terminal: bool = False
    network: Network = "host"


class Containers:
    """Bundles and runs over the images of one store."""

    def __init__(self, materialise: Materialise) -> None:
        self._materialise = materialise

    def bundle(self, image: Image, target: Path, process: Process, driver: str, job: Job) -> Mounted:
        """`target`/config.json and a writable `target`/rootfs that stays mounted until `umount`.

        Not root: rootfs is a plain copy of the tree.
        """
        rootfs = target / "rootfs"
        self._materialise.check_place(rootfs)
        check_bundle(target)
        with _made(target):
            _refuse_others(target)
            if os.geteuid() != 0:
                self._materialise.unpack(image, rootfs, job)
                make_volumes(rootfs, _volumes(image))
                write_bundle(target, image.config, **asdict(process))
                return Mounted(image.name, image.manifest.digest, target, DIRECTORY, "not root")
            mounted = self._materialise.mount(image, None, driver, job)
            try:
                make_directories(target / "writable", rootfs)
                mount_writable(mounted.target, target / "writable", rootfs)
                self._materialise.cover(mounted, rootfs)
                make_volumes(rootfs, _volumes(image))
                write_bundle(target, image.config, **asdict(process))
            except BaseException:
                self._materialise.umount([str(mounted.target)])
                raise
            return replace(mounted, target=target)

    def run(self, image: Image, process: Process, driver: str, runtime: str, job: Job) -> int:
        """Run in a fresh root that is gone afterwards; returns the exit status."""
        with self._materialise.scratch() as scratch, self._root(image, scratch, driver, job) as (rootfs, mounted):
            _log.info("root by %s%s", mounted.driver, f"; {mounted.why}" if mounted.why else "")
            write_bundle(scratch, image.config, rootfs=rootfs, **asdict(process))
            # should this process be killed, the runtime goes on, and keeps its root from being cleared away
            keep = (self._materialise.keep_alive,)
            return run_bundle(scratch, runtime=runtime, scratch=scratch / "runtime", job=job, keep=keep)

    @contextmanager
    def _root(self, image: Image, scratch: Path, driver: str, job: Job) -> Iterator[tuple[Path, Mounted]]:
        if os.geteuid() != 0:
            rootfs = scratch / "rootfs"
            self._materialise.unpack(image, rootfs, job)
            make_volumes(rootfs, _volumes(image))
            yield rootfs, Mounted(image.name, image.manifest.digest, rootfs, DIRECTORY, "not root")
            return
        with (
            self._materialise.mounted(image, scratch / "image", driver, job) as mounted,
            writable_root(mounted.target, scratch / "writable", scratch / "rootfs") as rootfs,
        ):
            make_volumes(rootfs, _volumes(image))
            yield rootfs, mounted


def check_bundle(target: Path) -> None:
    """Raise what `Containers.bundle` would raise because of `target`, before there is an image; nothing stays there."""
    rootfs = target / "rootfs"
    if mountinfo.is_target(rootfs):
        raise Busy(f"{target}: is a bundle already", hint=f"`orlop umount {target}` first")
    missing = _missing(target)
    make_directories(target)
    try:
        _refuse_others(target)
        if os.geteuid() != 0:
            check_target(rootfs, own=False)
        elif rootfs.exists() and not rootfs.is_dir():
            raise Conflict(f"{rootfs}: is there, and is no directory", hint=_PRIVATE)
    finally:
        _remove(target, (), missing)


def _missing(directory: Path) -> list[Path]:
    """A directory and its parents, as far as they are not there: the innermost first."""
    return [place for place in (directory, *directory.parents) if not os.path.lexists(place)]


def _volumes(image: Image) -> list[str]:
    """Paths of the volumes that the image wants: a program may count on the directories, as Docker makes them."""
    stated = image.config.process.get("Volumes")
    return list(stated) if isinstance(stated, dict) else []


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """The directory of a bundle, made with its parents where they are not there. After a failure what was made goes
    again: the directories, and of the bundle's own names those that were not there before."""
    missing = _missing(directory)
    make_directories(directory)
    own = [name for name in ("rootfs", "writable", f"rootfs{ENDING}") if not os.path.lexists(directory / name)]
    try:
        yield
    except BaseException:
        if not mountinfo.is_target(directory / "rootfs"):  # else it could not be unmounted, and is in use
            _remove(directory, own, missing)
        raise


def _remove(directory: Path, names: Sequence[str], directories: Sequence[Path]) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                if name.endswith(ENDING):
                    (directory / name).unlink(missing_ok=True)
                else:
                    remove_tree(descriptor, os.fsencode(name))
        finally:
            os.close(descriptor)
        for place in directories:
            place.rmdir()
    except OSError as error:  # what went wrong before is the news
        _log.warning("what was made of the bundle %s stays: %s", directory, error)


def _refuse_others(directory: Path) -> None:
    """Whoever may write there could lead the mounts and what is written elsewhere, by links."""
    found = directory.stat()
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
        raise Unsafe(f"{directory}: others may write to it, a bundle there would be in their hands", hint=_PRIVATE)
    for name in (CONFIG, "rootfs", "writable", "writable/upper", "writable/work"):
        if (directory / name).is_symlink():
            raise Unsafe(f"{directory / name}: is a symbolic link, expected none", hint=_PRIVATE)
