"""Root without the right to pass over permissions, so that tests see what other users would."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7))
_PASS_OVER = 1 << 1 | 1 << 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def permissions_count() -> Iterator[None]:
    """In this thread and those that it starts. Modules that are imported late must be readable for their owner."""
    header, sets = _Header(_VERSION_3, 0), (_Set * 2)()
    _check(_libc.capget(ctypes.byref(header), sets))
    before = sets[0].effective
    sets[0].effective &= ~_PASS_OVER
    _check(_libc.capset(ctypes.byref(header), sets))
    try:
        yield
    finally:
        sets[0].effective = before
        _check(_libc.capset(ctypes.byref(header), sets))
