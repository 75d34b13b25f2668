"""A tar written member by member, of directories and files that are not a tree's."""

from __future__ import annotations

from ..errors import Damaged
from ..job import Job
from ..model.tree import Inode, Kind
from ..ports import Readable
from ..streams import CHUNK, Writable
from .header import BLOCK
from .writer import member_header


class MemberWriter:
    """Writes members to `out` in the order of the calls, all of one time and root's. `close` writes the end."""

    def __init__(self, out: Writable, job: Job) -> None:
        self._out = out
        self._job = job
        self.size = 0  # bytes so far

    def directory(self, name: str, mtime_ns: int) -> None:
        """`name` without a slash at its end."""
        inode = Inode(Kind.DIRECTORY, 0o755, 0)
        inode.mtime_ns = mtime_ns
        self._put(member_header(f"{name}/".encode(), inode, inode.kind, b""))

    def file(self, name: str, content: Readable, size: int, mtime_ns: int) -> None:
        """A file of exactly `size` bytes; `Damaged` if `content` has fewer or more."""
        inode = Inode(Kind.FILE, 0o644, 0)
        inode.mtime_ns, inode.size = mtime_ns, size
        self._put(member_header(name.encode(), inode, inode.kind, b""))
        left = size
        while data := content.read(CHUNK):
            self._job.check()
            if len(data) > left:
                raise Damaged(f"{name}: more than the {size} bytes that it had")
            self._put(data)
            left -= len(data)
        if left:
            raise Damaged(f"{name}: ends {left} bytes before its end")
        self._put(bytes(-size % BLOCK))

    def close(self) -> None:
        """The end of the tar; `out` stays open."""
        self._put(bytes(2 * BLOCK))

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)
