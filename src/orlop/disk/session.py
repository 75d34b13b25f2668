"""A session: what one open store has in hand -- its temporary files, and the digests it relies on.

`sessions/<id>.lock` is locked as long as the process lives; beside it `sessions/<id>/` holds drafts, and files
`lease-<id>`, one digest a line. Whoever opens the store clears away sessions whose lock is free.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ..errors import Damaged, Error, Invalid
from ..model.digest import Digest
from .disk import Disk
from .locks import Locks

_LEASE_BYTES = 64 << 20
_log = logging.getLogger(__name__)


class Session:
    """Made at the first use of `scratch` or `lease`; ends with `close`, or with the process."""

    def __init__(self, disk: Disk, locks: Locks) -> None:
        self._disk = disk
        self._locks = locks
        self._id = uuid.uuid4().hex
        self._lock = -1
        self._guard = threading.Lock()

    def keep_alive(self) -> int:
        """The descriptor of the lock. A child process that inherits it keeps the session alive without us."""
        with self._guard:
            self._start()
        return self._lock

    def scratch(self) -> str:
        """A fresh name (relative to the store) for a temporary file or directory on the same file system."""
        with self._guard:
            self._start()
        return f"sessions/{self._id}/{uuid.uuid4().hex}"

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Something to say what is needed with, as long as the context lasts."""
        with self._guard:
            self._start()
        name = f"sessions/{self._id}/lease-{uuid.uuid4().hex}"
        descriptor = self._disk.create(name)
        try:
            yield Lease(self._disk, self._locks, descriptor)
        finally:
            self._disk.close(descriptor)
            self._disk.remove(name)

    def close(self) -> None:
        """Idempotent. What cannot be removed is left, with a warning, to whoever opens the store next: it is no
        reason to call failed what was done."""
        if self._lock >= 0:
            descriptor, self._lock = self._lock, -1
            try:
                self._disk.remove_tree(f"sessions/{self._id}")
                self._disk.remove(f"sessions/{self._id}.lock")
            except Error as error:
                _log.warning("temporary files stay for now: %s", error)
            finally:
                self._disk.close(descriptor)

    def _start(self) -> None:
        while self._lock < 0:
            descriptor = self._disk.create(f"sessions/{self._id}.lock", keep=True)
            try:
                if self._disk.lock(descriptor, wait=False) and self._disk.is_named(descriptor):
                    self._disk.make_directory(f"sessions/{self._id}")
                    self._lock = descriptor
            finally:
                if self._lock != descriptor:
                    self._disk.close(descriptor)


class Lease:
    """What one operation relies on: no collection removes it, or what is derived from it."""

    def __init__(self, disk: Disk, locks: Locks, descriptor: int) -> None:
        self._disk = disk
        self._locks = locks
        self._descriptor = descriptor

    def rely_on(self, digests: Iterable[Digest]) -> None:
        """Say so first, look for the blob after: a sweep runs either before (then the blob is not found) or
        after (then it reads this)."""
        text = "".join(f"{digest}\n" for digest in digests).encode()
        with self._locks.shared():
            self._disk.write(self._descriptor, text, self._disk.length(self._descriptor))


def clear(disk: Disk, unmount: Callable[[str], None]) -> int:
    """Remove what dead sessions left behind; returns how many there were.

    `unmount` undoes the mounts below a path: a container may have had its root in the session. What cannot be
    removed now is left, with a warning: it must not keep the store from being opened.
    """
    dead = 0
    for name in disk.names("sessions"):
        stem, _, ending = name.partition(".")
        if ending != "lock":
            if disk.size(f"sessions/{stem}.lock") is None:
                _remove(disk, stem, unmount)
            continue
        descriptor = disk.create(f"sessions/{name}", keep=True)
        try:
            if disk.lock(descriptor, wait=False):
                dead += _remove(disk, stem, unmount)
        finally:
            disk.close(descriptor)
    return dead


def _remove(disk: Disk, stem: str, unmount: Callable[[str], None]) -> bool:
    try:
        if disk.names(f"sessions/{stem}"):
            unmount(disk.path(f"sessions/{stem}"))
        disk.remove_tree(f"sessions/{stem}")
        disk.remove(f"sessions/{stem}.lock")
    except Error as error:
        _log.warning("what a killed process left stays for now: %s", error)
        return False
    return True


def leased(disk: Disk) -> set[Digest]:
    """Digests that live sessions rely on. Call under the exclusive store lock."""
    digests: set[Digest] = set()
    for session in disk.names("sessions"):
        if session.endswith(".lock"):
            continue
        for name in disk.names(f"sessions/{session}"):
            raw = disk.read(f"sessions/{session}/{name}", _LEASE_BYTES) if name.startswith("lease-") else None
            try:
                digests.update(Digest(line) for line in (raw or b"").decode("ascii", "replace").split())
            except Invalid as error:
                raise Damaged(f"{disk.path(f'sessions/{session}/{name}')}: {error.message}") from error
    return digests
