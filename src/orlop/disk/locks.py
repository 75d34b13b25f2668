"""Locks between processes: flock on small files, so that they die with their holder.

Order, to exclude deadlock: one image, store, then one digest at a time, then the name file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..job import Event, Job
from ..model.digest import Digest
from .disk import Disk

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1


class Locks:
    """Lock files below `locks/` of a store."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @contextmanager
    def digest(self, digest: Digest, job: Job) -> Iterator[None]:
        """One download of one blob at a time, over all processes. Waits, tells so once, wakes on stop."""
        with self._one(f"locks/{digest.algorithm}-{digest.encoded}", digest, job):
            yield

    @contextmanager
    def image(self, identity: str, job: Job) -> Iterator[None]:
        """One fetch of one version 1 image (by its ID) at a time, likewise. Taken before that of a digest."""
        with self._one(f"locks/v1-{identity}", identity, job):
            yield

    @contextmanager
    def root(self, name: str, job: Job) -> Iterator[None]:
        """One who makes or removes a writable root at a time, likewise. Taken before the others."""
        with self._one(f"locks/root-{name}", name, job):
            yield

    @contextmanager
    def _one(self, name: str, subject: str, job: Job) -> Iterator[None]:
        pause, told = _FIRST_PAUSE, False
        while (descriptor := self._try(name)) is None:
            if not told:
                job.progress(Event("wait", subject))
                told = True
            job.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        try:
            yield
        finally:
            try:
                # unlinked while held: whoever opened it meanwhile notices that it has no name any more
                self._disk.remove(name)
            finally:
                self._disk.close(descriptor)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold off the sweep of a collection, for as long as it takes to say what is needed."""
        with self._whole("locks/store", shared=True):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody is between saying what they need and finding it. For the sweep only; be quick."""
        with self._whole("locks/store"):
            yield

    @contextmanager
    def names(self) -> Iterator[None]:
        """The file of names is about to be written."""
        with self._whole("locks/names"):
            yield

    @contextmanager
    def derived(self) -> Iterator[None]:
        """A derived file is about to get its name."""
        with self._whole("locks/derived"):
            yield

    def clear(self) -> None:
        """Remove the locks of digests and images that nobody holds: killed processes leave them."""
        for name in self._disk.names("locks"):
            if "-" in name and (descriptor := self._try(f"locks/{name}")) is not None:
                try:
                    self._disk.remove(f"locks/{name}")
                finally:
                    self._disk.close(descriptor)

    def _try(self, name: str) -> int | None:
        """The locked descriptor, None if another holds it."""
        while True:
            descriptor = self._disk.create(name, keep=True)
            held = False
            try:
                if not self._disk.lock(descriptor, wait=False):
                    return None
                if held := self._disk.is_named(descriptor):
                    return descriptor
            finally:
                if not held:
                    self._disk.close(descriptor)

    @contextmanager
    def _whole(self, name: str, *, shared: bool = False) -> Iterator[None]:
        descriptor = self._disk.create(name, keep=True)
        try:
            self._disk.lock(descriptor, shared=shared)
            yield
        finally:
            self._disk.close(descriptor)
