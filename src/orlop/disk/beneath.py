"""Directories below a directory, opened and removed, and files replaced, without ever following a symbolic link."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from . import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
# well under PATH_MAX, so that a tree may be deeper than one path can say
_SLICE = 3000


@contextmanager
def directory(root: int, path: bytes) -> Iterator[int]:
    """A descriptor of the directory `path` below the directory `root`; b"" is `root` itself. OSError."""
    descriptor = open_directory(root, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(root: int, path: bytes) -> int:
    """As `directory`; the descriptor is the caller's to close. One system call for all but absurdly long paths."""
    if len(path) <= _SLICE:
        return _open(root, path or b".")
    cut = path.rindex(b"/", 0, _SLICE)
    with directory(root, path[:cut]) as middle:
        return open_directory(middle, path[cut + 1 :])


def _open(root: int, path: bytes) -> int:
    try:
        return syscalls.openat2(root, path, _DIRECTORY, _RESOLVE)
    except OSError as error:
        # no such call before Linux 5.6, and some sandboxes refuse what they do not know
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    return open_by_steps(root, path)


def open_by_steps(root: int, path: bytes) -> int:
    """The same a name at a time."""
    current = os.open(b".", _DIRECTORY, dir_fd=root)
    for name in path.split(b"/"):
        try:
            following = os.open(name, _DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = following
    return current


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the context ends well. What is there under that name is replaced, so
    a link that somebody planted is not followed. OSError."""
    draft = path.with_name(f".{path.name[:200]}.orlop-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
        os.replace(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def remove_tree(parent: int, name: bytes) -> None:
    """Remove the directory `name` in the directory `parent` with all in it; no error if it is not there. OSError.

    Copes with any depth, with directories that their owner may not enter, and holds two descriptors: what is
    found deep is first moved up to the top.
    """
    try:
        top = _enter(parent, name)
    except FileNotFoundError:
        return
    try:
        count = 0
        pending = [b"."]
        while pending:
            current = pending.pop()
            count = _empty(top, current, pending, count)
            if current != b".":
                os.rmdir(current, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty(top: int, name: bytes, pending: list[bytes], count: int) -> int:
    """Remove all but directories from one directory; those end up in `top` and `pending` under fresh names."""
    descriptor = _enter(top, name)
    try:
        with os.scandir(descriptor) as found:
            entries = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in found]
        for child, is_directory in entries:
            if not is_directory:
                os.unlink(child, dir_fd=descriptor)
                continue
            fresh = child
            if name != b".":
                count, fresh = _fresh(top, count)
                _move(descriptor, child, top, fresh)
            pending.append(fresh)
    finally:
        os.close(descriptor)
    return count


def _fresh(top: int, count: int) -> tuple[int, bytes]:
    """A name that is not taken, and the number in it."""
    while True:
        count += 1
        name = b".orlop-remove-%d" % count
        try:
            os.lstat(name, dir_fd=top)
        except FileNotFoundError:
            return count, name


def _move(source: int, name: bytes, target: int, fresh: bytes) -> None:
    try:
        os.rename(name, fresh, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        # moving a directory changes its "..", for which it must be writable
        os.close(_enter(source, name))
        os.rename(name, fresh, src_dir_fd=source, dst_dir_fd=target)


def _enter(parent: int, name: bytes) -> int:
    """Open a directory, having given its owner all rights to it."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) & 0o700 != 0o700:
            # through the descriptor, so that nothing planted under the name meanwhile is changed
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(b".", _DIRECTORY, dir_fd=handle)
    finally:
        os.close(handle)
