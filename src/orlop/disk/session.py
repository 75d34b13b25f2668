"""A session: what one open store has in hand -- its temporary files, and the digests it relies on.

`sessions/<id>.lock` is locked as long as the process lives; beside it `sessions/<id>/` holds drafts and the
file `lease`, one digest a line. Whoever opens the store clears away sessions whose lock is free.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Iterable

from ..model.digest import Digest
from .disk import Disk, translate
from .locks import Locks

_LEASE_BYTES = 64 << 20


class Session:
    """Made at the first use of `scratch` or `rely_on`; ends with `close`, or with the process."""

    def __init__(self, disk: Disk, locks: Locks) -> None:
        self._disk = disk
        self._locks = locks
        self._id = uuid.uuid4().hex
        self._lock = -1
        self._guard = threading.Lock()

    def scratch(self) -> str:
        """A fresh name (relative to the store) for a temporary file or directory on the same file system."""
        with self._guard:
            self._start()
        return f"sessions/{self._id}/{uuid.uuid4().hex}"

    def rely_on(self, digests: Iterable[Digest]) -> None:
        """From now until `close`, no collection removes these or what is derived from them.

        Say so first, look for the blob after: a sweep runs either before (then the blob is not found) or
        after (then it reads this).
        """
        with self._guard, self._locks.shared():
            self._start()
            descriptor = self._disk.create(f"sessions/{self._id}/lease", keep=True)
            try:
                text = "".join(f"{digest}\n" for digest in digests).encode()
                self._disk.write(descriptor, text, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Idempotent."""
        if self._lock >= 0:
            self._disk.remove_tree(f"sessions/{self._id}")
            self._disk.remove(f"sessions/{self._id}.lock")
            os.close(self._lock)
            self._lock = -1

    def _start(self) -> None:
        while self._lock < 0:
            descriptor = self._disk.create(f"sessions/{self._id}.lock", keep=True)
            if _hold(descriptor, self._disk) and os.fstat(descriptor).st_nlink:
                self._lock = descriptor
                self._disk.make_directory(f"sessions/{self._id}")
            else:
                os.close(descriptor)


def clear(disk: Disk) -> int:
    """Remove what dead sessions left behind; returns how many there were."""
    dead = 0
    for name in disk.names("sessions"):
        stem, _, ending = name.partition(".")
        if ending != "lock":
            if disk.size(f"sessions/{stem}.lock") is None:
                disk.remove_tree(f"sessions/{stem}")
            continue
        descriptor = disk.create(f"sessions/{name}", keep=True)
        try:
            if _hold(descriptor, disk):
                disk.remove_tree(f"sessions/{stem}")
                disk.remove(f"sessions/{name}")
                dead += 1
        finally:
            os.close(descriptor)
    return dead


def leased(disk: Disk) -> set[Digest]:
    """Digests that live sessions rely on. Call under the exclusive store lock."""
    digests: set[Digest] = set()
    for name in disk.names("sessions"):
        raw = disk.read(f"sessions/{name}/lease", _LEASE_BYTES) if "." not in name else None
        digests.update(Digest(line) for line in (raw or b"").decode().split())
    return digests


def _hold(descriptor: int, disk: Disk) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise translate(error, "lock", disk.root) from error
    return True
