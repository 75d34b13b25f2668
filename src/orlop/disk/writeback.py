"""Two Linux calls that the os module lacks: sync_file_range(2) and syncfs(2)."""

from __future__ import annotations

import ctypes
import os
from functools import cache

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: start, do not wait


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "sync_file_range"):
        libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return libc


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing these pages out. Advice only: where it is not known, nothing happens,
    and errors show at the fsync that every durable file gets."""
    libc = _libc()
    if hasattr(libc, "sync_file_range"):
        libc.sync_file_range(descriptor, offset, length, _WRITE)


def sync_file_system(path: str) -> None:
    """Write out the whole file system that `path` is on, and wait. OSError when any of it failed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc().syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)
