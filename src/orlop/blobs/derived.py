"""Derived files: plain tars, tar indexes, EROFS images, unpacked layers. All can be made again from blobs.

So they are not synced when they are written. `<kind>/<digest>.mark` beside each says under which boot it was
made, its size and checksums, and whether it has been synced since; after another boot, one that was not is made
again, never trusted. Names in `derived/unsynced` wait for `settle`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..disk.disk import Disk
from ..disk.locks import Locks
from ..disk.session import Session
from ..errors import Error, Invalid, NotFound
from ..model.digest import Digest

KINDS = ("tar", "index", "erofs", "overlay", "directory")
_MARK_BYTES = 4096
_READ = 1 << 20
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a derived file. `sha256` is of its first `size` bytes; "" for directories. A plain tar has
    more behind those: `full` bytes in all, and `behind` is the digest of the rest, "" if it was not noted."""

    boot: str
    synced: bool
    size: int
    sha256: str
    full: int
    behind: str = ""


class DerivedFiles:
    """`ports.Derived` over a directory of the store. `boot` is the kernel's boot id."""

    def __init__(self, disk: Disk, session: Session, boot: str, root: str = "derived") -> None:
        self._root = root
        self._disk = disk
        self._session = session
        self._boot = boot
        self._locks = Locks(disk)

    def path(self, kind: str, digest: Digest, /) -> Path | None:
        name = self._place(kind, digest)
        mark = self.mark(kind, digest)
        if mark is None or not (mark.synced or mark.boot == self._boot):
            return None
        if kind in ("overlay", "directory"):
            return Path(self._disk.path(name)) if self._disk.is_directory(name) else None
        size = self._disk.size(name)
        return Path(self._disk.path(name)) if size is not None and size >= mark.full else None

    def mark(self, kind: str, digest: Digest) -> Mark | None:
        try:
            raw = self._disk.read(f"{self._place(kind, digest)}.mark", _MARK_BYTES)
            fields: Any = json.loads(raw or b"0")
            boot, synced, size, sha256 = (fields[key] for key in ("boot", "synced", "size", "sha256"))
            # those of older versions say nothing of what is behind
            full, behind = fields.get("full", size), fields.get("behind", "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # torn by a power cut: as good as none
        if not (isinstance(boot, str) and isinstance(synced, bool) and isinstance(sha256, str)):
            return None
        if not (type(size) is int and type(full) is int and 0 <= size <= full and isinstance(behind, str)):
            return None
        return Mark(boot, synced, size, sha256, full, behind)

    @contextmanager
    def draft(self, kind: str, digest: Digest, /) -> Iterator[Path]:
        scratch = self._session.scratch()
        try:
            yield Path(self._disk.path(scratch))
            self.adopt(kind, digest, scratch)
        finally:
            self._disk.remove_tree(scratch)

    def put(self, kind: str, digest: Digest, content: Iterable[bytes]) -> None:
        """A file whose bytes come from memory, in parts."""
        scratch, hasher, size = self._session.scratch(), hashlib.sha256(), 0
        try:
            descriptor = self._disk.create(scratch)
            try:
                for part in content:
                    self._disk.write(descriptor, part, size)
                    hasher.update(part)
                    size += len(part)
            finally:
                self._disk.close(descriptor)
            self.adopt(kind, digest, scratch, size=size, sha256=hasher.hexdigest())
        finally:
            self._disk.remove(scratch)

    def adopt(self, kind: str, digest: Digest, scratch: str, *, size: int | None = None, sha256: str = "") -> None:
        """Give a finished scratch file its name. `size` and `sha256` of the meaningful part, if known already."""
        name = self._place(kind, digest)
        if kind not in ("overlay", "directory") and size is None:
            size, sha256 = _hash(self._disk, scratch)
        size, full, behind = size or 0, self._disk.size(scratch) or 0, ""
        if full > size and sha256:
            behind = _hash_behind(self._disk, scratch, size, full)
        self._disk.make_directory(f"{self._root}/{kind}")
        with self._locks.derived():
            if self.path(kind, digest) is not None:
                return  # another process was faster with the same thing, and may be using it
            if self._unmark(kind, digest):
                self._disk.sync_directory(f"{self._root}/{kind}")
            if self._disk.is_directory(name):
                self._disk.remove_tree(name)
            self._disk.replace(scratch, name)
            self._write_mark(name, Mark(self._boot, False, size, sha256, max(size, full), behind), durable=False)
        self._disk.make_directory(f"{self._root}/unsynced")
        waiting = f"{self._root}/unsynced/{kind}.{digest.algorithm}-{digest.encoded}"
        self._disk.close(self._disk.create(waiting, keep=True))

    def opens_to(self, blob: Digest) -> str:
        """The diff ID that a blob was found to have when it was opened, "" if it never was."""
        raw = self._disk.read(f"{self._root}/opened/{blob.algorithm}-{blob.encoded}", _MARK_BYTES)
        return (raw or b"").decode("ascii", errors="replace")

    def record_opened(self, blob: Digest, diff_id: Digest) -> None:
        """A plain tar being there does not say that it is this blob's. Torn by a power cut it says nothing."""
        scratch = self._session.scratch()
        self._write(scratch, diff_id.encode())
        self._disk.make_directory(f"{self._root}/opened")
        self._disk.replace(scratch, f"{self._root}/opened/{blob.algorithm}-{blob.encoded}")

    def discard(self, files: Iterable[tuple[str, Digest]]) -> None:
        """Remove some, each a kind and a digest. Idempotent."""
        doomed = list(files)
        self._forget_opened({digest for kind, digest in doomed if kind == "tar"})
        names = [self._place(kind, digest) for kind, digest in doomed]
        with self._locks.derived():
            unmarked = {kind for kind, digest in doomed if self._unmark(kind, digest)}
        for kind in unmarked:
            self._disk.sync_directory(f"{self._root}/{kind}")
        for name in names:
            self._disk.remove_tree(name)

    def _unmark(self, kind: str, digest: Digest) -> bool:
        """Remove a mark; True if that must be synced before anything else gets the name of what it was for: the
        old mark and the new bytes are not what a power cut may leave."""
        mark = self.mark(kind, digest)
        self._disk.remove(f"{self._place(kind, digest)}.mark")
        self._disk.remove(f"{self._root}/unsynced/{kind}.{digest.algorithm}-{digest.encoded}")
        return mark is not None and mark.synced

    def _forget_opened(self, diff_ids: set[Digest]) -> None:
        for opened in self._disk.names(f"{self._root}/opened") if diff_ids else ():
            raw = self._disk.read(f"{self._root}/opened/{opened}", _MARK_BYTES) or b""
            if raw.decode("ascii", errors="replace") in diff_ids:
                self._disk.remove(f"{self._root}/opened/{opened}")

    def digests(self, kind: str) -> list[Digest]:
        """Everything of a kind, trusted or not."""
        names = {name.removesuffix(".mark") for name in self._disk.names(f"{self._root}/{kind}")}
        return [digest for name in sorted(names) if (digest := digest_of(name)) is not None]

    def settle(self, *, older_than: float) -> int:
        """Sync what was written at least `older_than` seconds ago and mark it so; returns how many.

        By then the kernel has written nearly all of it, so this takes little time.
        """
        done = 0
        for waiting in self._disk.names(f"{self._root}/unsynced"):
            kind, _, rest = waiting.partition(".")
            digest = digest_of(rest)
            if digest is None or kind not in KINDS:
                continue  # not ours
            name, mark = self._place(kind, digest), self.mark(kind, digest)
            found = self._disk.status(f"{name}.mark")
            if found is not None and time.time() - found.st_mtime < older_than:
                continue
            if found is not None and mark is not None and mark.boot == self._boot:
                if not self._settle(kind, digest, mark):
                    continue  # another one waits under the same name
                done += 1
            self._disk.remove(f"{self._root}/unsynced/{waiting}")
        return done

    def _settle(self, kind: str, digest: Digest, mark: Mark) -> bool:
        """Sync one and say so; False if it went, or another came in its place, meanwhile: that one is not synced."""
        name = self._place(kind, digest)
        before = self._identity(name)
        try:
            self._sync(kind, name)
        except NotFound:
            return False
        except Error:
            # a second sync would not tell any more that some of it was never written
            if self._identity(name) == before:
                self.discard([(kind, digest)])
            raise
        with self._locks.derived():
            if before is None or self._identity(name) != before or self.mark(kind, digest) != mark:
                return False
            self._write_mark(name, replace(mark, synced=True), durable=True)
        return True

    def _identity(self, name: str) -> tuple[int, int] | None:
        found = self._disk.status(name)
        # a number is soon used again, but not at the same time
        return (found.st_ino, found.st_ctime_ns) if found is not None else None

    def damage(self, kind: str, digest: Digest) -> str:
        """What is wrong with a derived file, read in full; "" if nothing is. Directories are not read.

        One without a mark is no fault: a crash left it, and whoever needs it makes it again.
        """
        mark = self.mark(kind, digest)
        if mark is None or kind in ("overlay", "directory") or not (mark.synced or mark.boot == self._boot):
            return ""  # not trusted anyway, or checked by its use
        name = self._place(kind, digest)
        try:
            size, sha256 = _hash(self._disk, name, mark.size)
            if size == mark.size:
                size = min(self._disk.size(name) or 0, mark.full)
            if size != mark.full:
                return f"has {size} bytes, expected {mark.full}"
            if sha256 != mark.sha256:
                return "its bytes have another digest"
            if mark.behind and _hash_behind(self._disk, name, mark.size, mark.full) != mark.behind:
                return "the bytes behind its tar have another digest"
        except NotFound:
            return "is marked but missing"
        return ""

    def _write_mark(self, name: str, mark: Mark, *, durable: bool) -> None:
        fields = {"boot": mark.boot, "synced": mark.synced, "size": mark.size, "sha256": mark.sha256}
        if mark.full > mark.size:
            fields |= {"full": mark.full, "behind": mark.behind}
        raw, scratch = json.dumps(fields).encode(), self._session.scratch()
        if durable:
            self._disk.write_file(f"{name}.mark", scratch, raw)
            return
        self._write(scratch, raw)
        self._disk.replace(scratch, f"{name}.mark")

    def _write(self, name: str, content: bytes) -> None:
        descriptor = self._disk.create(name)
        try:
            self._disk.write(descriptor, content, 0)
        finally:
            self._disk.close(descriptor)

    def _sync(self, kind: str, name: str) -> None:
        if kind in ("overlay", "directory"):
            self._disk.sync_all()
            return
        descriptor = self._disk.open(name)
        try:
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)
        self._disk.sync_directory(f"{self._root}/{kind}")

    def _place(self, kind: str, digest: Digest) -> str:
        return f"{self._root}/{kind}/{digest.algorithm}-{digest.encoded}"


def digest_of(name: str) -> Digest | None:
    """Of a file's name; None for a stray one."""
    try:
        return Digest(name.replace("-", ":", 1))
    except Invalid:
        return None


def _hash(disk: Disk, name: str, limit: int | None = None) -> tuple[int, str]:
    hasher, size = hashlib.sha256(), 0
    with disk.stream(name) as stream:
        while data := stream.read(_READ if limit is None else min(_READ, limit - size)):
            hasher.update(data)
            size += len(data)
    return size, hasher.hexdigest()


def _hash_behind(disk: Disk, name: str, start: int, end: int) -> str:
    """Of bytes that may be terabytes of holes: of each page that is not all zeros, its place and its bytes. So it is
    the same on file systems that keep no holes, and a byte that came up in a hole is seen too."""
    hasher, descriptor = hashlib.sha256(), disk.open(name)
    try:
        at = start
        while at < end and (found := disk.next_data(descriptor, at)) is not None:
            # pages as a whole, or those of one that keeps holes of other sizes would have another digest
            at, until = max(start, found[0] - found[0] % _PAGE), min(end, found[1] + -found[1] % _PAGE)
            while at < until:
                data = disk.read_at(descriptor, min(_READ - at % _PAGE, until - at), at)
                if not data:
                    break
                _add_pages(hasher, data, at)
                at += len(data)
            if at < until:
                break  # somebody cut it meanwhile
    finally:
        disk.close(descriptor)
    return hasher.hexdigest()


def _add_pages(hasher: Any, data: bytes, at: int) -> None:
    place = 0
    while place < len(data):
        page = data[place : place + _PAGE - (at + place) % _PAGE]
        if page.count(0) != len(page):
            hasher.update((at + place).to_bytes(8, "little") + page)
        place += len(page)
