"""A directory of this machine as a plain tar, as it lies there: read below a descriptor, no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing

from ..disk import beneath
from ..errors import Conflict, Denied, of_system
from ..job import Job
from ..model.tree import Inode, Kind
from ..streams import CHUNK
from .header import BLOCK
from .writer import member_header

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
_CAPABILITY = b"security.capability"
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryTar:
    """A `Readable` of the tar of a directory; names sorted, so that one tree is one tar. Sockets are left out.

    Owners, modes, times, links and file capabilities are kept. `Denied` where something cannot be read; `Conflict` if
    a file changes its size meanwhile. Leave it by `with`.
    """

    def __init__(self, root: int, job: Job) -> None:
        """`root` is a descriptor of the directory; it stays the caller's."""
        self._pieces = _members(root, job)
        self._rest = b""

    def __enter__(self) -> DirectoryTar:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except OSError as error:
                text = f"directory: cannot be read: {(error.strerror or str(error)).lower()}"
                raise of_system(error, text, Denied) from error
            if piece is None:
                return b""
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _members(root: int, job: Job) -> Generator[bytes, None, None]:
    seen: dict[tuple[int, int], bytes] = {}
    yield member_header(b"./", _inode(os.fstat(root)), Kind.DIRECTORY, b"")
    stack = [b""]
    while stack:
        path = stack.pop()
        job.check()
        with beneath.directory(root, path) as descriptor:
            below = []
            for name in sorted(map(os.fsencode, os.listdir(descriptor))):
                whole = path + b"/" + name if path else name
                with closing(_member(descriptor, name, whole, seen, job)) as pieces:
                    yield from pieces
                if stat.S_ISDIR(os.lstat(name, dir_fd=descriptor).st_mode):
                    below.append(whole)
        stack.extend(reversed(below))
    yield bytes(2 * BLOCK)


def _member(
    parent: int, name: bytes, whole: bytes, seen: dict[tuple[int, int], bytes], job: Job
) -> Generator[bytes, None, None]:
    state = os.lstat(name, dir_fd=parent)
    kind = _KINDS.get(stat.S_IFMT(state.st_mode))
    if kind is None:
        return
    inode = _inode(state)
    if kind is not Kind.DIRECTORY and state.st_nlink > 1:
        first = seen.setdefault((state.st_dev, state.st_ino), whole)
        if first != whole:
            yield member_header(whole, inode, Kind.HARDLINK, first)
            return
    if kind is Kind.FILE:
        descriptor = os.open(name, _FILE, dir_fd=parent)
        try:
            yield from _file(descriptor, whole, job)
        finally:
            os.close(descriptor)
        return
    link = os.readlink(name, dir_fd=parent) if kind is Kind.SYMLINK else b""
    yield member_header(whole + b"/" if kind is Kind.DIRECTORY else whole, inode, kind, link)


def _file(descriptor: int, whole: bytes, job: Job) -> Iterator[bytes]:
    """The opened file is what counts: under its name may be another one by now."""
    state = os.fstat(descriptor)
    inode = _inode(state)
    if _CAPABILITY in map(os.fsencode, os.listxattr(descriptor)):
        inode.xattrs = ((_CAPABILITY, os.getxattr(descriptor, _CAPABILITY)),)
    yield member_header(whole, inode, Kind.FILE, b"")
    left = state.st_size
    while left and (data := os.read(descriptor, min(left, CHUNK))):
        job.check()
        left -= len(data)
        yield data
    if left or os.read(descriptor, 1):
        raise Conflict(f"{os.fsdecode(whole)}: changed its size while it was read", hint="try again")
    yield bytes(-state.st_size % BLOCK)


def _inode(state: os.stat_result) -> Inode:
    inode = Inode(_KINDS.get(stat.S_IFMT(state.st_mode), Kind.FILE), stat.S_IMODE(state.st_mode), 0)
    inode.uid, inode.gid, inode.mtime_ns = state.st_uid, state.st_gid, state.st_mtime_ns
    inode.size = state.st_size if stat.S_ISREG(state.st_mode) else 0
    if stat.S_ISCHR(state.st_mode) or stat.S_ISBLK(state.st_mode):
        inode.major, inode.minor = os.major(state.st_rdev), os.minor(state.st_rdev)
    return inode
