"""All file access of the store: one small class, so that faults and crashes can be simulated under it.

Paths are relative to the store's root. Every OSError becomes one of ours, with the path and the step. What is not
done here: the SQLite cache, mounts and mount points, and the filling of drafts that are not durable anyway.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import Damaged, Error, of_system
from . import beneath, writeback

# what frees some where nothing can be written any more, not even a name be removed
SPACE = " (orlop gc --derived drops what can be made again), or use another --store"


def translate(error: OSError, step: str, path: str | Path) -> Error:
    """Our error for an OSError of the file system; raise it `from` the original."""
    text = f"{path}: cannot {step}: {os.strerror(error.errno or 0).lower()}"
    if error.errno == errno.ELOOP:
        return Damaged(text)  # the store has no links
    return of_system(error, text, Damaged, space=SPACE)


class Disk:
    """The store's directory. `durable` False skips every fsync: for scratch stores only."""

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        # links in it resolved once: mounts below are found by their real paths
        self.root = Path(os.path.realpath(root))
        self.durable = durable

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else str(self.root)

    # -- looking -------------------------------------------------------------------------------------------

    def status(self, name: str) -> os.stat_result | None:
        """Of a file or directory, None if there is none; links are not followed."""
        try:
            return os.lstat(self.path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, "look", self.path(name)) from error

    def size(self, name: str) -> int | None:
        """Bytes of a regular file, None if there is none."""
        found = self.status(name)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def is_directory(self, name: str) -> bool:
        found = self.status(name)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def names(self, directory: str) -> list[str]:
        """Names in a directory, sorted; none if it does not exist."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translate(error, "list", self.path(directory)) from error

    def space(self, name: str) -> int:
        """What a file, or all files below a directory, take on disk. What vanishes meanwhile counts nothing."""
        path, total = self.path(name), 0
        try:
            if not os.path.isdir(path):
                return _taken(path, None)
            for _, _, files, descriptor in os.fwalk(path):
                total += sum(_taken(file, descriptor) for file in files)
        except OSError as error:
            raise translate(error, "measure", path) from error
        return total

    def free(self) -> int:
        """Bytes that may still be written."""
        try:
            found = os.statvfs(self.root)
        except OSError as error:
            raise translate(error, "look", self.root) from error
        return found.f_bavail * found.f_frsize

    def boot(self) -> str:
        """The kernel's random id of this boot: what was not synced under another one may be torn. A fresh one each
        call where there is none, so nothing is trusted."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return os.urandom(16).hex()

    # -- open files ----------------------------------------------------------------------------------------

    def open(self, name: str) -> int:
        """A descriptor for reading."""
        try:
            return os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise translate(error, "open", self.path(name)) from error

    def stream(self, name: str) -> BinaryIO:
        """The same as a stream, without a buffer. Its reads raise OSError."""
        return os.fdopen(self.open(name), "rb", buffering=0)

    def create(self, name: str, *, keep: bool = False) -> int:
        """A descriptor for reading and writing a file 0600; it must be new unless `keep`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if keep else os.O_EXCL)
        try:
            return os.open(self.path(name), flags, 0o600)
        except OSError as error:
            raise translate(error, "create", self.path(name)) from error

    def close(self, descriptor: int) -> None:
        """It is closed in any case. What failed then may be the writing of it: final, as with `sync`."""
        try:
            os.close(descriptor)
        except OSError as error:
            raise translate(error, "close", self.root) from error

    def length(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def is_named(self, descriptor: int) -> bool:
        """Whether nobody unlinked it since it was opened."""
        return os.fstat(descriptor).st_nlink > 0

    def lock(self, descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
        """flock(2): it ends with the last descriptor, so with the process. False if it is taken and not `wait`."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            raise translate(error, "lock", self.root) from error
        return True

    def read_at(self, descriptor: int, size: int, offset: int) -> bytes:
        """At most `size` bytes; fewer where the file ends."""
        try:
            return os.pread(descriptor, size, offset)
        except OSError as error:
            raise translate(error, "read", self.root) from error

    def next_data(self, descriptor: int, offset: int) -> tuple[int, int] | None:
        """Where the next data at or behind `offset` begins and ends; None if nothing but a hole is there."""
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
            return start, os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise translate(error, "read", self.root) from error

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """All of `data` at `offset`, over short writes."""
        try:
            written = os.pwrite(descriptor, data, offset)
            while written < len(data):
                written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise translate(error, "write", self.root) from error

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Advice: begin to write these bytes out, so that the sync to come is short."""
        writeback.start_writeback(descriptor, offset, length)

    def sync(self, descriptor: int) -> None:
        """fsync. A failure is final: the file must be thrown away, never synced again."""
        if self.durable:
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise translate(error, "sync", self.root) from error

    def seal(self, descriptor: int, mode: int = 0o444) -> None:
        try:
            os.fchmod(descriptor, mode)
        except OSError as error:
            raise translate(error, "seal", self.root) from error

    # -- names ---------------------------------------------------------------------------------------------

    def make_root(self) -> None:
        """The store's own directory, 0700, and those that lead to it; as durable as what will be kept in it."""
        missing, place = [], str(self.root)
        while not os.path.lexists(place):
            missing.append(place)
            place = os.path.dirname(place)
        try:
            for place in reversed(missing):
                with suppress(FileExistsError):  # another process was faster
                    os.mkdir(place, 0o700 if place == str(self.root) else 0o777)
                self._sync_directory(os.path.dirname(place))
        except OSError as error:
            raise translate(error, "make store", self.root) from error

    def make_directory(self, name: str) -> None:
        """0700 whatever the umask; no error if it is there."""
        try:
            os.mkdir(self.path(name), 0o700)
        except FileExistsError:
            return
        except OSError as error:
            raise translate(error, "make directory", self.path(name)) from error

    def read(self, name: str, limit: int) -> bytes | None:
        """A whole small file, None if there is none; `Damaged` if it is larger than `limit` bytes."""
        try:
            with open(self.path(name), "rb") as stream:
                # in as much as there is: room for all of `limit` may be more than there is memory
                data = stream.read(min(os.fstat(stream.fileno()).st_size, limit) + 1)
                while len(data) <= limit and (more := stream.read(min(len(data), limit + 1 - len(data)))):
                    data += more
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, "read", self.path(name)) from error
        if len(data) > limit:
            raise Damaged(f"{self.path(name)}: larger than {limit} bytes")
        return data

    def sync_directory(self, name: str) -> None:
        """The names in it, made or removed, are durable when this returns."""
        try:
            self._sync_directory(self.path(name))
        except OSError as error:
            raise translate(error, "sync directory", self.path(name)) from error

    def _sync_directory(self, path: str) -> None:
        if not self.durable:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_all(self) -> None:
        """Everything on the store's file system: for directories whose files were not synced one by one."""
        if not self.durable:
            return
        try:
            writeback.sync_file_system(self.path(""))
        except OSError as error:
            raise translate(error, "sync", self.path("")) from error

    def publish(self, source: str, target: str) -> bool:
        """Give `source` its final name without replacing; False if that name was taken. `source` is gone after."""
        try:
            os.link(self.path(source), self.path(target), follow_symlinks=False)
            fresh = True
        except FileExistsError:
            fresh = False
        except OSError as error:
            raise translate(error, "publish", self.path(target)) from error
        self.remove(source)
        return fresh

    def replace(self, source: str, target: str) -> None:
        """Rename, replacing a file that is there."""
        try:
            os.rename(self.path(source), self.path(target))
        except OSError as error:
            raise translate(error, "rename to", self.path(target)) from error

    def remove(self, name: str) -> bool:
        """Unlink a file; False if there was none."""
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise translate(error, "remove", self.path(name)) from error
        return True

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory; no error if it is gone."""
        try:
            os.rmdir(self.path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, "remove directory", self.path(name)) from error

    def remove_tree(self, name: str) -> int:
        """Remove a file or a directory with all in it, never following a link; returns bytes of files removed."""
        freed = self.space(name)
        path = self.path(name)
        try:
            if not os.path.isdir(path) or os.path.islink(path):
                self.remove(name)
                return freed
            parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                beneath.remove_tree(parent, os.fsencode(os.path.basename(path)))
            finally:
                os.close(parent)
        except OSError as error:
            raise translate(error, "remove", path) from error
        return freed

    def write_file(self, name: str, temporary: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a small file whole or not at all, replacing one that is there; durable when it returns."""
        descriptor = self.create(temporary)
        try:
            try:
                self.write(descriptor, data, 0)
                self.seal(descriptor, mode)
                self.sync(descriptor)
            finally:
                self.close(descriptor)
            self.replace(temporary, name)
        except Error:
            self.remove(temporary)
            raise
        self.sync_directory(os.path.dirname(name))


def _taken(path: str, directory: int | None) -> int:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0
