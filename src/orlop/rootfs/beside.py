"""A file beside a directory that is filled out of sight, named after it: there, and whole, when the directory is."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import Conflict
from .failures import failure

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# in the private directory, where nobody else can put anything in its place
DRAFT = b"beside"


class Beside:
    """`ending` makes the directory's name the file's. One of an earlier time, known by its `start`, is replaced;
    anything else that has the name is left alone, and refused. `lines` gives the content.

    Every name is below an open directory, and no link is followed: others may be able to write there too.
    """

    def __init__(self, ending: str, start: bytes, lines: Callable[[], Iterable[str]]) -> None:
        self.ending = ending
        self._start = start
        self._lines = lines

    def check(self, parent: int, target: Path) -> None:
        """`Conflict` if the name is taken by something else."""
        place, name = self.place(target), self._name(target)
        try:
            found = os.lstat(name, dir_fd=parent)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if ours:
                descriptor = os.open(name, _READ, dir_fd=parent)
                try:
                    ours = os.read(descriptor, len(self._start)) == self._start
                finally:
                    os.close(descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error, "look at", place) from error
        if not ours:
            text = f"{place}: is there, and was not written by an earlier unpack"
            raise Conflict(text, hint="move it away, or choose another directory")

    def write(self, private: int, target: Path) -> None:
        """All of it, in the private directory."""
        try:
            descriptor = os.open(DRAFT, _CREATE, 0o666, dir_fd=private)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.writelines(self._lines())
        except OSError as error:
            raise failure(error, "write", self.place(target)) from error

    def publish(self, private: int, parent: int, target: Path) -> None:
        try:
            os.rename(DRAFT, self._name(target), src_dir_fd=private, dst_dir_fd=parent)
        except OSError as error:
            raise failure(error, "rename to", self.place(target)) from error

    def withdraw(self, parent: int, target: Path) -> None:
        """The directory did not get its name after all."""
        with suppress(OSError):  # what went wrong before is the news; a record of no tree does no harm
            os.unlink(self._name(target), dir_fd=parent)

    def place(self, target: Path) -> Path:
        return target.with_name(f"{target.name}{self.ending}")

    def _name(self, target: Path) -> bytes:
        return os.fsencode(self.place(target).name)
