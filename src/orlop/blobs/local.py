"""Blobs as files: `blobs/<algorithm>/<hex>`, 0444, the name is the truth (OCI image-spec 1.1, image-layout.md).

Write protocol: draft on the same file system, write, fsync, 0444, link without replacing, fsync the directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..disk.disk import Disk
from ..disk.session import Session
from ..errors import Damaged, Invalid
from ..job import Job
from ..model.digest import Digest
from ..streams import CHUNK

ALGORITHMS = ("sha256", "sha512")


class LocalBlobs:
    """`ports.Blobs` over a store's directory."""

    def __init__(self, disk: Disk, session: Session) -> None:
        self._disk = disk
        self._session = session

    def size(self, digest: Digest) -> int | None:
        return self._disk.size(place(digest))

    def open(self, digest: Digest) -> BinaryIO:
        return self._disk.stream(place(digest))

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """A small blob whole, checked against its name; None if it is not there, `Damaged` if it is not itself."""
        raw = self._disk.read(place(digest), limit)
        if raw is not None and Digest.of(raw, digest.algorithm) != digest:
            raise Damaged(f"blob {digest}: its bytes have another digest", hint="pull the image again to heal it")
        return raw

    def damage(self, digest: Digest, job: Job) -> str:
        """What is wrong with a blob, read in full; "" if it has the bytes of its name. `NotFound`."""
        hasher = digest.hasher()
        try:
            with self.open(digest) as stream:
                while data := stream.read(CHUNK):
                    job.check()
                    hasher.update(data)
        except OSError as error:
            return f"cannot be read: {os.strerror(error.errno or 0).lower()}"
        return "" if hasher.hexdigest() == digest.encoded else "its bytes have another digest"

    @contextmanager
    def draft(self, digest: Digest) -> Iterator[LocalDraft]:
        draft = LocalDraft(self._disk, self._session.scratch(), digest)
        try:
            yield draft
        finally:
            draft.close()

    def put(self, digest: Digest, content: bytes) -> None:
        """A small blob, already verified. Durable when it returns; heals one of the same name and other bytes."""
        try:
            there = self.read(digest, len(content))
        except Damaged:
            self.quarantine(digest)
            there = None
        if there is None:
            with self.draft(digest) as draft:
                draft.write(content)
                draft.publish()

    def sync_names(self) -> None:
        """That blobs are there is durable when this returns, whichever process put them there."""
        for algorithm in ALGORITHMS:
            self._disk.sync_directory(f"blobs/{algorithm}")

    def delete(self, digest: Digest) -> None:
        self._disk.remove(place(digest))

    def quarantine(self, digest: Digest) -> None:
        """Move a blob that is not itself out of the way; it is kept for a person to look at."""
        self._disk.make_directory("quarantine")
        self._disk.replace(place(digest), f"quarantine/{digest.algorithm}-{digest.encoded}")

    def path(self, digest: Digest) -> str:
        return self._disk.path(place(digest))

    def digests(self) -> Iterator[Digest]:
        for algorithm in ALGORITHMS:
            for name in self._disk.names(f"blobs/{algorithm}"):
                try:
                    yield Digest(f"{algorithm}:{name}")
                except Invalid:
                    continue  # a stray file: `check` names it

    def strays(self) -> Iterator[str]:
        """Names below `blobs` that are no digests."""
        for algorithm in self._disk.names("blobs"):
            for name in self._disk.names(f"blobs/{algorithm}"):
                try:
                    Digest(f"{algorithm}:{name}")
                except Invalid:
                    yield f"blobs/{algorithm}/{name}"


class LocalDraft:
    """`ports.Draft`: a file in the session's scratch directory."""

    def __init__(self, disk: Disk, name: str, digest: Digest) -> None:
        self._disk = disk
        self._name = name
        self._digest = digest
        self._descriptor = disk.create(name)
        self._size = 0

    def write(self, data: bytes | memoryview, /) -> int:
        self._disk.write(self._descriptor, data, self._size)
        self._size += len(data)
        return len(data)

    def publish(self) -> None:
        commit(self._disk, self._descriptor, self._name, self._digest)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1
            self._disk.remove(self._name)


def place(digest: Digest) -> str:
    """Where a blob stands, relative to the store."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def commit(disk: Disk, descriptor: int, name: str, digest: Digest) -> None:
    """The end of the write protocol: from here on the blob exists. Another one under its name is left alone."""
    disk.seal(descriptor)
    disk.sync(descriptor)
    name_blob(disk, name, digest)


def name_blob(disk: Disk, name: str, digest: Digest) -> None:
    """Give a sealed and synced file the name of its blob, durably."""
    disk.publish(name, place(digest))
    disk.sync_directory(f"blobs/{digest.algorithm}")
