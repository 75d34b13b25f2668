"""Pulls that have begun and not ended: `partial/pull-<hex>` lists what one needs, a digest a line, <hex> being the
digest of the list. A pull that was cut leaves it, so that what it had finished is kept like what it had not.

It is never synced: lost or torn in a power cut, it costs no more than fetching again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..disk.disk import Disk
from ..errors import Damaged
from ..model.digest import Digest

_PREFIX = "partial/pull-"
_LIST_BYTES = 64 << 20


class Unfinished:
    """All unfinished pulls of a store."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def begin(self, digests: Iterable[Digest]) -> None:
        """Under a lease on the same digests, which is what keeps them as long as the process lives."""
        raw = _listed(digests)
        descriptor = self._disk.create(_place(raw), keep=True)
        try:
            self._disk.write(descriptor, raw, 0)
        finally:
            self._disk.close(descriptor)

    def end(self, digests: Iterable[Digest]) -> None:
        """What was pulled has its name, whoever began it."""
        self._disk.remove(_place(_listed(digests)))

    def needed(self, grace: float) -> set[Digest]:
        """What those that were begun in the last `grace` seconds need."""
        digests: set[Digest] = set()
        for name in self._names():
            raw = None if self._is_stale(name, grace) else self._read(name)
            if raw is not None:
                digests.update(Digest(line) for line in raw.decode("ascii").split())
        return digests

    def clear(self, grace: float) -> None:
        """Remove those that are older."""
        for name in self._names():
            if self._is_stale(name, grace):
                self._disk.remove(name)

    def _names(self) -> list[str]:
        names = (f"partial/{name}" for name in self._disk.names("partial"))
        return [name for name in names if name.startswith(_PREFIX)]

    def _is_stale(self, name: str, grace: float) -> bool:
        found = self._disk.status(name)
        return found is None or grace <= 0 or time.time() - found.st_mtime > grace

    def _read(self, name: str) -> bytes | None:
        """A list that is what it was written as, else None."""
        try:
            raw = self._disk.read(name, _LIST_BYTES)
        except Damaged:
            return None
        return raw if raw is not None and _place(raw) == name else None


def _listed(digests: Iterable[Digest]) -> bytes:
    return "".join(f"{digest}\n" for digest in sorted(set(digests))).encode()


def _place(raw: bytes) -> str:
    return f"{_PREFIX}{Digest.of(raw).encoded}"
