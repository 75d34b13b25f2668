"""The plain tar of a layer on its way in: written, hashed and indexed as it is inflated."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any, Protocol

from .blobs.derived import DerivedFiles
from .blobs.spill import Spill
from .disk.disk import SPACE, Disk
from .errors import NoSpace, Unsafe
from .job import Job
from .model.digest import Digest
from .model.limits import LAYER_PLAIN_BYTES
from .model.tree import Entry
from .ports import Readable
from .streams import CHUNK
from .tar.index_writer import IndexWriter
from .tar.reader import read_entries
from .tar.sparse import Expansion, start_behind

_BLOCK = 512
# plain chunks between the inflating and the writing thread
_QUEUED = 4


def no_room(what: str, written: int, error: NoSpace) -> NoSpace:
    """`error`, with what did not fit, and how much of it did."""
    return NoSpace(
        f"{what}: its plain tar does not fit, after {written} bytes of it: {error.message}",
        hint=f"free some space{SPACE}; orlop pull --download-only keeps layers as they come",
    )


class PlainTar:
    """A plain layer tar being written, hashed and indexed; padded to whole blocks for mounting, and the data of its
    sparse members behind it once more, with their holes."""

    def __init__(self, disk: Disk, scratch: str, algorithm: str) -> None:
        self._disk = disk
        self._name = scratch
        self._descriptor = disk.create(scratch)
        self._algorithm = algorithm
        self._hasher = hashlib.new(algorithm)
        self.size = 0  # plain bytes so far
        self.content_size = 0  # bytes of the files in it
        self._spill = Spill(disk, f"{scratch}.index")
        self._index = IndexWriter(self._spill.write, self._spill.read)
        self._expansion = Expansion()
        self.digest = ""

    def fill(self, packed: Readable, job: Job) -> None:
        """All of `packed`; it is inflated in a thread of its own, while this one hashes, writes and indexes."""
        with _Ahead(packed, job) as chunks:
            entries = read_entries(Tap(chunks, self, job), expansion=self._expansion)
            self._index.add(self._counted(entries))
        self.digest = f"{self._algorithm}:{self._hasher.hexdigest()}"
        if padding := -self.size % _BLOCK:
            self._disk.write(self._descriptor, b"\0" * padding, self.size)
        if self._expansion.size:
            self._expand(job)

    def _expand(self, job: Job) -> None:
        start = start_behind(self.size)
        # a hole at the very end needs something behind it
        self._disk.write(self._descriptor, b"\0", start + self._expansion.size - 1)
        for source, place, length in self._expansion.pieces(start):
            for at in range(0, length, CHUNK):
                job.check()
                data = self._disk.read_at(self._descriptor, min(CHUNK, length - at), source + at)
                self._disk.write(self._descriptor, data, place + at)

    def _counted(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self.content_size += entry.size
            yield entry

    def write(self, data: bytes, /) -> None:
        self._hasher.update(data)
        self._disk.write(self._descriptor, data, self.size)
        # writing it out is left to the kernel: begun now, the fsync of every blob would wait for it
        self.size += len(data)
        if self.size > LAYER_PLAIN_BYTES:
            raise Unsafe(f"layer: more than {LAYER_PLAIN_BYTES} plain bytes")

    def adopt(self, derived: DerivedFiles, diff_id: Digest) -> None:
        derived.put("index", diff_id, self._parts())
        if self._algorithm == "sha256":
            derived.adopt("tar", diff_id, self._name, size=self.size, sha256=self._hasher.hexdigest())
        else:
            derived.adopt("tar", diff_id, self._name)  # its mark has a sha256: read once more, for these few

    def _parts(self) -> Iterator[bytes]:
        if not self._expansion.size:
            return self._index.parts(tar_size=self.size)
        start = start_behind(self.size)
        return self._index.parts(tar_size=start + self._expansion.size, behind=start)

    def close(self) -> None:
        self._spill.close()
        self._disk.close(self._descriptor)
        self._disk.remove(self._name)


class Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class Tap:
    """A `Readable` that shows everything it passes on to a sink first."""

    def __init__(self, source: Readable, sink: Sink, job: Job) -> None:
        self._source = source
        self._sink = sink
        self._job = job

    def read(self, size: int, /) -> bytes:
        self._job.check()
        data = self._source.read(size)
        if data:
            self._sink.write(data)
        return data


class _Ahead:
    """Reads a `Readable` in a thread of its own, a few chunks ahead."""

    def __init__(self, source: Readable, job: Job) -> None:
        self._source = source
        self._job = job.child()
        self._chunks: Queue[bytes | BaseException] = Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="orlop-inflate", daemon=True)
        self._ended = False

    def __enter__(self) -> _Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._job.stop()
        while self._thread.is_alive():
            while not self._chunks.empty():
                self._chunks.get_nowait()
            self._thread.join(timeout=0.01)

    def read(self, _size: int, /) -> bytes:
        if not self._ended:
            item = self._chunks.get()
            if isinstance(item, BaseException):
                raise item
            self._ended = not item
            return item
        return b""

    def _run(self) -> None:
        try:
            while data := self._source.read(CHUNK):
                self._chunks.put(data)
                self._job.check()
            self._chunks.put(b"")
        except BaseException as error:  # noqa: BLE001 -- handed over to the reading thread, which raises it
            self._chunks.put(error)
