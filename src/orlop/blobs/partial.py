"""Half-done downloads, kept for any later process: `partial/<algorithm>-<hex>/{data,extents,state}`.

`data` holds the bytes at their places; `extents` is a table of 16-byte records (start, length), each written or
lengthened after its bytes, so that a killed process loses at most what it had in hand; `state` says where they came
from. (No validator is asked about when another process goes on: caches disagree about them, the digest decides.)
Only the holder of the digest's lock touches them. What a power cut may have torn is found by the digest.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..disk.disk import Disk
from ..errors import Damaged, Error
from ..job import Job
from ..model.digest import Digest
from .local import name_blob

_RECORD = struct.Struct("<QQ")
_CHUNK = 1 << 20
# chunks handed straight from the socket to the follower; what does not fit is read back from the page cache
_IN_HAND = 8
_EXTENTS_BYTES = 1 << 20
# start writing back early, so that the fsync at the end is short
_WRITEBACK = 8 << 20


class Partial:
    """One download. `write` from any threads; one follower reads from the start behind them."""

    def __init__(self, disk: Disk, digest: Digest, size: int) -> None:
        self._disk = disk
        self._name = f"partial/{digest.algorithm}-{digest.encoded}"
        self._digest = digest
        self.size = size
        self._changed = threading.Condition()
        self.failure: BaseException | None = None  # what ended the download, if it failed
        self._in_hand: dict[int, bytes] = {}
        self._followed = 0
        self._lost = False
        disk.make_directory(self._name)
        self._unseal()
        self._data = disk.create(f"{self._name}/data", keep=True)
        self._log = disk.create(f"{self._name}/extents", keep=True)
        self._records = 0
        self._tails: dict[int, tuple[int, int]] = {}  # end of a record: its number and its start
        self._extents: list[tuple[int, int]] = []
        self._load()
        self.kept = sum(end - start for start, end in self._extents)

    # -- writing -------------------------------------------------------------------------------------------

    def write(self, offset: int, data: bytes) -> None:
        """Keep `data` at `offset`; it survives this process once this returns.

        What is kept already stays as it is, whatever comes for the same place: the follower may have hashed it.
        """
        with self._changed:
            for start, end in self._uncovered(offset, offset + len(data)):
                piece = data[start - offset : end - offset]
                self._disk.write(self._data, piece, start)
                self._record(start, end)
                self._add(start, end)
                # not what came far ahead of the follower: it would stand in the way of what comes next
                if len(self._in_hand) < _IN_HAND and self._reach(self._followed) == end:
                    self._in_hand[start] = piece
            self._changed.notify_all()
        if offset // _WRITEBACK != (offset + len(data)) // _WRITEBACK:
            self._disk.start_writeback(self._data, max(0, offset - _WRITEBACK), _WRITEBACK)

    def _record(self, start: int, end: int) -> None:
        """Lengthen the record that ends at `start`, or add one: as many as there were gaps, not as receives."""
        number, first = self._tails.pop(start, (self._records, start))
        self._disk.write(self._log, _RECORD.pack(first, end - first), number * _RECORD.size)
        self._records = max(self._records, number + 1)
        self._tails[end] = number, first

    def missing(self) -> list[tuple[int, int]]:
        """The gaps (start, end) still to fetch, in order."""
        with self._changed:
            return self._uncovered(0, self.size)

    def fail(self, error: BaseException) -> None:
        """No more will come: the follower raises `error` where it would have waited."""
        with self._changed:
            self.failure = error
            self._changed.notify_all()

    def remember(self, origin: str, validator: str) -> None:
        """Record the source and its validator, for people who look."""
        raw = json.dumps({"size": self.size, "origin": origin, "validator": validator}).encode()
        self._disk.remove(f"{self._name}/state")
        descriptor = self._disk.create(f"{self._name}/state")
        try:
            self._disk.write(descriptor, raw, 0)
        finally:
            self._disk.close(descriptor)

    # -- following -----------------------------------------------------------------------------------------

    def follow(self, job: Job) -> Follower:
        return Follower(self, job)

    def next_chunk(self, at: int, size: int, job: Job) -> bytes:
        """Up to `size` bytes at `at`, waiting for them; b"" at the end of the content."""
        with self._changed:
            self._followed = at
            for start in [start for start in self._in_hand if start < at]:
                del self._in_hand[start]
            if data := self._in_hand.pop(at, b""):
                return data
            while at < self.size and self._reach(at) == at:
                if self.failure is not None:
                    raise self.failure
                self._changed.wait(timeout=0.2)
                job.check()
                if data := self._in_hand.pop(at, b""):
                    return data
            end = min(self._reach(at), at + size)
        return self._disk.read_at(self._data, end - at, at) if end > at else b""

    # -- ending --------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Make what was written durable, so that `publish` has little left to do. After a failure nobody knows
        what is on the disk: then all of it goes."""
        try:
            self._disk.sync(self._data)
        except Error:
            self._lost = True
            raise

    def publish(self) -> None:
        """The bytes were verified: make them the blob, durable, and forget the rest."""
        self._disk.seal(self._data)
        self.sync()
        name_blob(self._disk, f"{self._name}/data", self._digest)
        self._forget()

    def discard(self) -> None:
        """The bytes are wrong: remove them all."""
        self._disk.remove(f"{self._name}/data")
        self._forget()

    def close(self) -> None:
        try:
            if self._lost:
                self.discard()
        finally:
            for descriptor in (self._data, self._log):
                self._disk.close(descriptor)

    def _forget(self) -> None:
        for name in ("extents", "state"):
            self._disk.remove(f"{self._name}/{name}")
        self._disk.remove_directory(self._name)

    def _unseal(self) -> None:
        """A process that was killed while it published left the file read-only, or even with a second name: a blob's,
        which must not be written to."""
        found = self._disk.status(f"{self._name}/data")
        if found is None or found.st_mode & 0o200:
            return
        if found.st_nlink > 1:
            self._disk.remove(f"{self._name}/data")
            return
        descriptor = self._disk.open(f"{self._name}/data")
        try:
            self._disk.seal(descriptor, 0o600)
        finally:
            self._disk.close(descriptor)

    def _load(self) -> None:
        there = min(self._disk.length(self._data), self.size)
        for start, length in _records(self._disk, self._name):
            if length and start + length <= there:
                self._tails[start + length] = self._records, start
                self._add(start, start + length)
            self._records += 1

    def _uncovered(self, at: int, until: int) -> list[tuple[int, int]]:
        gaps = []
        for start, end in self._extents:
            if start >= until:
                break
            if at < start:
                gaps.append((at, start))
            at = max(at, end)
        if at < until:
            gaps.append((at, until))
        return gaps

    def _add(self, start: int, end: int) -> None:
        extents = self._extents
        if extents and extents[-1][1] == start:  # the usual case: it grows at its end
            extents[-1] = (extents[-1][0], end)
            return
        merged: list[tuple[int, int]] = []
        for item in sorted([*extents, (start, end)]):
            if merged and item[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], item[1]))
            else:
                merged.append(item)
        self._extents[:] = merged

    def _reach(self, offset: int) -> int:
        for start, end in self._extents:
            if start <= offset < end:
                return end
        return offset


class Follower:
    """A `Readable` of a partial from its first byte to its last, as they come."""

    def __init__(self, partial: Partial, job: Job) -> None:
        self._partial = partial
        self._job = job
        self._at = 0

    def read(self, size: int, /) -> bytes:
        data = self._partial.next_chunk(self._at, min(size, _CHUNK), self._job)
        self._at += len(data)
        return data


class Partials:
    """All half-done downloads of a store."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @contextmanager
    def open(self, digest: Digest, size: int) -> Iterator[Partial]:
        """Under the digest's lock only."""
        partial = Partial(self._disk, digest, size)
        try:
            yield partial
        finally:
            partial.close()

    def kept(self, digest: Digest) -> int:
        """Bytes kept of a blob, without opening it."""
        kept = reach = 0
        for start, length in sorted(_records(self._disk, f"partial/{digest.algorithm}-{digest.encoded}")):
            kept += max(0, start + length - max(start, reach))
            reach = max(reach, start + length)
        return kept

    def finished(self, digest: Digest) -> None:
        """The blob is there: remove what a process that was killed right then left. Under the digest's lock only."""
        self.remove(f"{digest.algorithm}-{digest.encoded}")

    def left(self, digest: Digest) -> bool:
        """Whether there is something to take up, or to clear away."""
        return self._disk.is_directory(f"partial/{digest.algorithm}-{digest.encoded}")

    def names(self) -> list[str]:
        """One name (`<algorithm>-<hex>`) a download."""
        return self._disk.names("partial")

    def remove(self, name: str) -> int:
        """Drop one; returns bytes freed."""
        return self._disk.remove_tree(f"partial/{name}")


def log(digest: Digest) -> str:
    """The file of a half-done download that is written with each piece that comes."""
    return f"partial/{digest.algorithm}-{digest.encoded}/extents"


def is_fresh(disk: Disk, name: str, grace: float) -> bool:
    """Whether a file was written in the last `grace` seconds."""
    found = disk.status(name)
    return found is not None and grace > 0 and time.time() - found.st_mtime <= grace


def _records(disk: Disk, name: str) -> list[tuple[int, int]]:
    """What the table of a partial says; nothing where it says more than it can: its bytes are fetched again."""
    try:
        raw = disk.read(f"{name}/extents", _EXTENTS_BYTES) or b""
    except Damaged:
        return []
    return list(_RECORD.iter_unpack(raw[: len(raw) // _RECORD.size * _RECORD.size]))
