"""System calls that Python does not have, by ctypes: mounts (Linux 5.2 and later) and opening below a directory."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# the same numbers on every architecture: they came after the tables were unified
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100

MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_RDONLY = 1

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def fsopen(kind: str) -> int:
    """A descriptor of a file system context. Reading it gives the kernel's messages, a line a read."""
    return _call(_SYS_FSOPEN, ctypes.c_char_p(kind.encode()), ctypes.c_uint(_FSOPEN_CLOEXEC))


def fsconfig(context: int, command: int, key: str | None = None, value: bytes | None = None) -> None:
    """Set one parameter (the kernel takes values of up to 255 bytes), or carry out a command."""
    name = None if key is None else key.encode()
    _call(
        _SYS_FSCONFIG,
        ctypes.c_int(context),
        ctypes.c_uint(command),
        ctypes.c_char_p(name),
        ctypes.c_char_p(value),
        ctypes.c_int(0),
    )


def fsmount(context: int, attributes: int) -> int:
    """A descriptor of a mount that stands nowhere yet."""
    return _call(_SYS_FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(attributes))


def move_mount(mount: int, target: Path) -> None:
    _call(
        _SYS_MOVE_MOUNT,
        ctypes.c_int(mount),
        ctypes.c_char_p(b""),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
    )


def mount(source: bytes, target: Path, kind: bytes, flags: int, data: bytes = b"") -> None:
    """mount(2). `data` is at most a page, 4,095 bytes."""
    arguments = (source, os.fsencode(target), kind, ctypes.c_ulong(flags), data)
    if _libc.mount(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def umount2(target: Path, flags: int) -> None:
    if _libc.umount2(os.fsencode(target), ctypes.c_int(flags)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """openat2(2), Linux 5.6 and later."""
    how = _OpenHow(flags, 0, resolve)
    return _call(
        _SYS_OPENAT2,
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
