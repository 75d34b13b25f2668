"""A layer set aside on disk, so that its size is known before it is sent; gone once it is read."""

from __future__ import annotations

from types import TracebackType

from ..disk.disk import Disk
from ..job import Event, Job
from ..ports import Readable
from ..streams import CHUNK


class TemporaryArchive:
    """A `Readable` over a scratch file, a context manager. `size` is in bytes; the file goes at the end of it, or
    with `close`."""

    def __init__(self, disk: Disk, name: str, content: Readable, job: Job) -> None:
        self._disk = disk
        self._name = name
        self._descriptor = disk.create(name)
        self._at = self.size = 0
        try:
            job.progress(Event("note", text="Buffering to disk"))
            while data := content.read(CHUNK):
                job.check()
                disk.write(self._descriptor, data, self.size)
                self.size += len(data)
        except BaseException:
            self.close()
            raise

    def read(self, size: int, /) -> bytes:
        data = self._disk.read_at(self._descriptor, size, self._at) if self._descriptor >= 0 else b""
        self._at += len(data)
        if self._at == self.size:
            self.close()
        return data

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._disk.close(descriptor)
            self._disk.remove(self._name)

    def __enter__(self) -> TemporaryArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
