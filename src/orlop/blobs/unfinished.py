"""Pulls that have begun and not ended: `partial/pull-<hex>` lists what one needs, a digest a line, <hex> being the
digest of the list. A pull that was cut leaves it, so that what it had finished is kept like what it had not. Its age
counts from what the pull did last: the end of a blob, or bytes of one.

It is never synced: lost or torn in a power cut, it costs no more than fetching again.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..disk.disk import Disk
from ..errors import Damaged
from ..model.digest import Digest
from .partial import is_fresh, log

_PREFIX = "partial/pull-"
_LIST_BYTES = 64 << 20


class Unfinished:
    """All unfinished pulls of a store."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def begin(self, digests: Iterable[Digest]) -> None:
        """Under a lease on the same digests, which is what keeps them as long as the process lives. Done again, as
        each blob ends, it makes the list new, and is right if a collection has removed it meanwhile."""
        raw = _listed(digests)
        descriptor = self._disk.create(_place(raw), keep=True)
        try:
            self._disk.write(descriptor, raw, 0)
        finally:
            self._disk.close(descriptor)

    def end(self, digests: Iterable[Digest]) -> None:
        """What was pulled has its name, or never will have; whoever began it."""
        self._disk.remove(_place(_listed(digests)))

    def needed(self, grace: float) -> set[Digest]:
        """What those that went on in the last `grace` seconds need."""
        digests: set[Digest] = set()
        for name in self._names():
            listed = self._read(name)
            if not self._is_stale(name, listed, grace):
                digests |= listed
        return digests

    def clear(self, grace: float) -> None:
        """Remove those that are older. Before half-done downloads are removed, whose age counts."""
        for name in self._names():
            if self._is_stale(name, self._read(name), grace):
                self._disk.remove(name)

    def _names(self) -> list[str]:
        names = (f"partial/{name}" for name in self._disk.names("partial"))
        return [name for name in names if name.startswith(_PREFIX)]

    def _is_stale(self, name: str, listed: set[Digest], grace: float) -> bool:
        return not (is_fresh(self._disk, name, grace) or any(is_fresh(self._disk, log(d), grace) for d in listed))

    def _read(self, name: str) -> set[Digest]:
        """What a list says that is what it was written as, else nothing."""
        try:
            raw = self._disk.read(name, _LIST_BYTES)
        except Damaged:
            return set()
        if raw is None or _place(raw) != name:
            return set()
        return {Digest(line) for line in raw.decode("ascii").split()}


def _listed(digests: Iterable[Digest]) -> bytes:
    return "".join(f"{digest}\n" for digest in sorted(set(digests))).encode()


def _place(raw: bytes) -> str:
    return f"{_PREFIX}{Digest.of(raw).encoded}"
