"""A stretch of an open file as a `ports.Body`, and how the operating system's errors become ours."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from ..errors import Error, Unavailable, Unsafe, of_system
from ..job import Job


class Window:
    """The bytes `start..start+size` of a file descriptor, read with `pread`: safe beside other windows on it.

    With `owned`, leaving the context closes the descriptor.
    """

    validator = ""

    def __init__(self, fd: int, start: int, size: int, *, what: str, owned: bool = False) -> None:
        self.size = size
        self.offset = 0
        self._fd = fd
        self._start = start
        self._at = 0
        self._end = size
        self._what = what
        self._owned = owned
        self._job: Job | None = None

    def narrow(self, offset: int, end: int | None, job: Job) -> Window:
        """This window, from `offset` to `end` (exclusive, None is its own end); each read then checks `job`."""
        self.offset = self._at = min(max(offset, 0), self.size)
        self._end = self.size if end is None else max(self.offset, min(end, self.size))
        self._job = job
        return self

    def read(self, size: int, /) -> bytes:
        if self._job is not None:
            self._job.check()
        wanted = min(size, self._end - self._at)
        if wanted <= 0:
            return b""
        try:
            data = os.pread(self._fd, wanted, self._start + self._at)
        except OSError as error:
            raise foreign(error, self._what) from error
        self._at += len(data)
        return data

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self._owned = False
            os.close(self._fd)


def foreign(error: OSError, what: str) -> Error:
    """The error of this library for one of the operating system's; raise it `from` that one."""
    text = f"{what}: {(error.strerror or 'cannot be read').lower()}"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return Unsafe(f"{what}: a symbolic link or no directory on the way", hint="links are not followed here")
    return of_system(error, text, Unavailable)
