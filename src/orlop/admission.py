"""Taking in a layer whose digest nobody has told: what an old registry, an archive or a pipe gives.

One pass, as `intake` does it: keep, hash, inflate, hash again, write the plain tar, index it. Nothing has a name in
the store before `publish`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import TracebackType

from .blobs.derived import DerivedFiles
from .blobs.local import commit
from .disk.disk import Disk
from .disk.session import Session
from .errors import NoSpace
from .intake import WRONG
from .job import Job
from .model import media
from .model.descriptor import Descriptor
from .model.digest import Digest
from .plain import PlainTar, Sink, Tap, no_room
from .ports import Readable
from .streams import CHUNK, Inflated

_TYPES = {
    "": media.OCI_LAYER,
    "gzip": media.OCI_LAYER_GZIP,
    "zstd": media.OCI_LAYER_ZSTD,
    "bzip2": media.OCI_LAYER_BZIP2,
    "xz": media.OCI_LAYER_XZ,
}


class Admission:
    """One layer. A context manager: what was not published is gone when it ends."""

    def __init__(self, disk: Disk, session: Session, derived: DerivedFiles) -> None:
        self._disk = disk
        self._derived = derived
        self._name = session.scratch()
        self._descriptor = disk.create(self._name)
        self._plain = PlainTar(disk, session.scratch(), "sha256")
        self._hasher = hashlib.sha256()
        self._compression = ""
        self.size = 0  # bytes as they came

    def __enter__(self) -> Admission:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plain.close()
        self._disk.close(self._descriptor)
        self._disk.remove(self._name)

    def write(self, data: bytes, /) -> None:
        """What passes on its way to be inflated."""
        self._hasher.update(data)
        self._disk.write(self._descriptor, data, self.size)
        self.size += len(data)

    def fill(self, layer: Readable, what: str, job: Job, *, plain: Sequence[Sink] = ()) -> bool:
        """All of a layer, plain or compressed. False if there was nothing at all. `plain` are shown the plain tar. What
        `layer` itself raises leaves as it is; `Invalid` and `Unsafe` say what is wrong with the tar, `what` being its
        name."""
        tap = Tap(layer, self, job)
        first = tap.read(CHUNK)
        if not first:
            return False
        inflated = Inflated(_Before(first, tap), job)
        opened: Readable = inflated
        for sink in plain:
            opened = Tap(opened, sink, job)
        try:
            self._plain.fill(opened, job)
        except WRONG as error:
            # what comes behind it is not waited for: a pipe may have no end
            error.message = f"{what}: {error.message.removeprefix('layer: ')}"
            raise
        except NoSpace as error:
            raise no_room(what, self._plain.size, error) from error
        while tap.read(CHUNK):
            pass
        self._compression = inflated.compression
        return True

    @property
    def descriptor(self) -> Descriptor:
        """Of the bytes as they came."""
        return Descriptor(_TYPES[self._compression], Digest(f"sha256:{self._hasher.hexdigest()}"), self.size)

    @property
    def diff_id(self) -> Digest:
        """Of the plain tar."""
        return Digest(self._plain.digest)

    @property
    def content_size(self) -> int:
        """Bytes of all files in it."""
        return self._plain.content_size

    def publish(self) -> None:
        """Give all of it its names; the blob is durable then. The caller's lease keeps it."""
        wanted, diff_id = self.descriptor.digest, self.diff_id
        commit(self._disk, self._descriptor, self._name, wanted)
        self._plain.adopt(self._derived, diff_id)
        self._derived.record_opened(wanted, diff_id)


class _Before:
    """A `Readable` whose first bytes were read already."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._rest.read(size)
