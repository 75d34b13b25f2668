"""Tar files of images: members found by their exact names, compressed archives and pipes spooled once."""

from __future__ import annotations

import os
import posixpath
import select
import stat
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..errors import Invalid, NotFound, Unsafe
from ..job import Job
from ..model.limits import ARCHIVE_MEMBERS, LAYER_PLAIN_BYTES, SYMLINKS_FOLLOWED
from ..model.tree import Entry, Kind
from ..ports import Readable
from ..streams import CHUNK, Inflated, compression_of
from ..tar.names import shown
from ..tar.reader import read_entries
from .window import Window, foreign

# milliseconds that a pipe is waited for before the job is looked at
_GLANCE = 200
_DATA = (Kind.FILE, Kind.HARDLINK, Kind.SYMLINK)


class Archive:
    """The members of a tar (`layout.Members`); a context manager that closes it.

    A regular, plain tar is read in place. Anything else -- a compressed one, a pipe, "-" for standard input, a stream
    -- is first written, inflated, to a nameless file in the directory `spool`. Reads every header once.
    """

    def __init__(self, path: Path | Readable, spool: Path, *, job: Job) -> None:
        self._what = str(path) if isinstance(path, Path) and str(path) != "-" else "standard input"
        with ExitStack() as undo:
            self._file = undo.enter_context(_plain(path, spool, self._what, job))
            size = os.fstat(self._file.fileno()).st_size
            whole = Window(self._file.fileno(), 0, size, what=self._what).narrow(0, None, job)
            try:
                self._members, self._doubles = _indexed(read_entries(whole), self._what)
            except Invalid as error:
                # of something else, what stands where a header would is no news
                why = "" if error.message.startswith("tar header at byte 0:") else f": {error.message}"
                raise Invalid(f"{self._what}: not a tar archive{why}", hint=error.hint) from error
            undo.pop_all()

    def open(self, name: str) -> Window:
        """A window over the member `name`, links inside the archive followed. `NotFound`; `Unsafe` if two have it."""
        entry = self._follow(os.fsencode(name))
        return Window(self._file.fileno(), entry.offset, entry.size, what=f"{self._what}: {name}")

    def __contains__(self, name: str) -> bool:
        return os.fsencode(name) in self._members

    def names(self) -> list[str]:
        """Of all files and links, as `open` takes them."""
        return [os.fsdecode(name) for name in self._members]

    def close(self) -> None:
        """Idempotent. Open windows must not be read any more."""
        self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, name: bytes) -> Entry:
        at = name
        for _ in range(SYMLINKS_FOLLOWED):
            entry = self._members.get(at)
            if entry is None:
                raise NotFound(f"{self._what}: there is no member '{shown(at)}'")
            if at in self._doubles:
                raise Unsafe(f"{self._what}: has member '{shown(at)}' twice", hint="which one is meant cannot be told")
            if entry.kind is Kind.FILE:
                return entry
            at = _target(at, entry, self._what)
        raise Unsafe(f"{self._what}: member '{shown(name)}' is a link in a circle")


def _target(name: bytes, entry: Entry, what: str) -> bytes:
    """Where a link of the archive leads, as a member's name. `Unsafe` if it is out of the archive."""
    base = posixpath.dirname(name) if entry.kind is Kind.SYMLINK else b""
    target = posixpath.normpath(posixpath.join(base, entry.link))
    if target.startswith((b"/", b"../")) or target == b"..":
        raise Unsafe(f"{what}: member '{shown(name)}' links to '{shown(entry.link)}', outside of the archive")
    return target


def _indexed(entries: Iterable[Entry], what: str) -> tuple[dict[bytes, Entry], set[bytes]]:
    members: dict[bytes, Entry] = {}
    doubles: set[bytes] = set()
    for count, entry in enumerate(entries):
        if count >= ARCHIVE_MEMBERS:
            raise Unsafe(f"{what}: more than {ARCHIVE_MEMBERS} members")
        if entry.kind not in _DATA:
            continue
        name = entry.name.removeprefix(b"./")
        if name in members:
            doubles.add(name)
        # one copy of the name, and nothing of what is not needed
        members[name] = entry._replace(name=b"", xattrs=())
    return members, doubles


def _plain(path: Path | Readable, spool: Path, what: str, job: Job) -> BinaryIO:
    """The plain tar as an open file, spooled if it must be."""
    if not isinstance(path, Path):
        return _spooled(path, spool, what, job)
    try:
        # unbuffered: a pipe gives what it has
        source: BinaryIO = os.fdopen(os.dup(0), "rb", 0) if str(path) == "-" else path.open("rb", 0)
    except IsADirectoryError:
        raise Invalid(f"{what}: is a directory, expected a tar", hint="for a layout directory, use oci:") from None
    except OSError as error:
        raise foreign(error, what) from error
    with ExitStack() as undo:
        undo.callback(source.close)
        mode = os.fstat(source.fileno()).st_mode
        if stat.S_ISREG(mode) and str(path) != "-" and not compression_of(os.pread(source.fileno(), 6, 0)):
            undo.pop_all()
            return source
        return _spooled(_Checked(source, what, job), spool, what, job)


def _spooled(source: Readable, spool: Path, what: str, job: Job) -> BinaryIO:
    plain = Inflated(source, job)
    total = 0
    with closing(plain), ExitStack() as undo:
        try:
            out: BinaryIO = undo.enter_context(tempfile.TemporaryFile(dir=spool, buffering=0))
            while chunk := plain.read(CHUNK):
                job.check()
                total += len(chunk)
                if total > LAYER_PLAIN_BYTES:
                    raise Unsafe(f"{what}: more than {LAYER_PLAIN_BYTES} bytes")
                _write_all(out, chunk)
        except OSError as error:
            raise foreign(error, f"{what}: spooled to {spool}") from error
        undo.pop_all()
        return out


def _write_all(out: BinaryIO, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[out.write(left) :]


class _Checked:
    """A file as a `Readable` that raises our errors, and looks at the job while a pipe has nothing to give."""

    def __init__(self, source: BinaryIO, what: str, job: Job) -> None:
        self._source = source
        self._what = what
        self._job = job
        self._poll = select.poll()
        self._poll.register(source.fileno(), select.POLLIN)

    def read(self, size: int, /) -> bytes:
        try:
            while not self._poll.poll(_GLANCE):
                self._job.check()
            return self._source.read(size)
        except OSError as error:
            raise foreign(error, self._what) from error
