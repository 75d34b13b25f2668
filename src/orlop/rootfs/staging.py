"""A directory that is filled out of sight beside its target, and gets its name only when it is whole.

It stands in a private directory, `.TARGET.orlop-N/tree` with an empty file `.../orlop` beside it, and is reached by
descriptors only: whoever may write where the target is can move the outer one, and put another in its place.
So what is removed is what was made here, and of the outer directories only those with nothing else in them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..disk.beneath import remove_tree
from ..disk.writeback import sync_file_system
from ..errors import Busy, Conflict, Error, Invalid, Unsafe
from . import mountinfo
from .beside import DRAFT, Beside
from .failures import failure

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TREE, _MARK = b"tree", b"orlop"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


@contextmanager
def staged(target: Path, *, sync: bool, beside: Beside | None = None) -> Iterator[int]:
    """A descriptor of a private empty directory, which becomes `target` when the context ends well and is
    removed with all in it when it does not. What a killed process left of the same target is removed too.

    `target` must not exist, or be an empty directory: `Conflict` if not. `sync`: durable before it is seen.
    `beside`: a file that is there whenever the directory is.
    """
    with _begun(target, beside) as (place, parent, private, descriptor):
        if beside is not None:
            beside.write(private, place)
        yield descriptor
        _publish(parent, private, descriptor, place, sync=sync, beside=beside)


def check_target(target: Path, *, beside: Beside | None = None) -> None:
    """Raise what `staged` would raise because of its target, as far as it can be known before anything is written,
    and leave nothing there."""
    with _begun(target, beside) as (place, *_):
        if mountinfo.is_target(place):
            raise _is_mount(place)


@contextmanager
def _begun(target: Path, beside: Beside | None) -> Iterator[tuple[Path, int, int, int]]:
    """The target's full path, and descriptors of its parent, of the private directory and of the tree's in it."""
    target = Path(os.path.abspath(target))
    if not target.name:
        raise Invalid(f"{target}: cannot be written to, expected a directory below it")
    try:
        parent = os.open(target.parent, _OPEN)
    except OSError as error:
        raise failure(error, "open", target.parent) from error
    try:
        name = os.fsencode(target.name)
        _check_empty(parent, name, target)
        if beside is not None:
            beside.check(parent, target)
        try:
            _sweep(parent, name)
            temporary, private, descriptor = _make(parent, name)
        except OSError as error:
            raise _no_room(error, target) from error
        try:
            yield target, parent, private, descriptor
        finally:
            os.close(descriptor)
            try:
                _discard(parent, temporary, private, target)
            finally:
                os.close(private)
    finally:
        os.close(parent)


def _no_room(error: OSError, target: Path) -> Error:
    told = failure(error, f"make a directory in {target.parent}", target)
    told.hint = told.hint or "choose a place where you may make directories"
    return told


def _is_mount(target: Path) -> Busy:
    return Busy(f"{target}: is a mount", hint="unpack into a directory below it")


def _check_empty(parent: int, name: bytes, target: Path) -> None:
    try:
        descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return
    except (NotADirectoryError, OSError) as error:
        if os.path.lexists(target) and not (target.is_dir() and not target.is_symlink()):
            raise Conflict(f"{target}: is there, and is no directory", hint="choose a new or empty one") from error
        raise failure(error, "open", target) from error
    try:
        if os.listdir(descriptor):
            raise Conflict(f"{target}: is not empty", hint="choose a new or empty directory")
    finally:
        os.close(descriptor)


def _prefix(name: bytes) -> bytes:
    # cut, so that the number still fits a name
    return b"." + name[:200] + b".orlop-"


def _make(parent: int, name: bytes) -> tuple[bytes, int, int]:
    """Make the private directory and the tree's in it: the name of the one, descriptors of both. The lock of the
    first says that its maker lives."""
    number = os.getpid()
    while True:
        temporary = _prefix(name) + b"%d" % number
        try:
            os.mkdir(temporary, 0o700, dir_fd=parent)
        except FileExistsError:
            number += 1
            continue
        try:
            private = os.open(temporary, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            continue
        fcntl.flock(private, fcntl.LOCK_EX)
        # who sweeps may have taken it, not locked yet, for a dead process's; and it may be somebody else's by now
        if not _is(parent, temporary, private) or os.listdir(private):
            os.close(private)
            continue
        try:
            return temporary, private, _make_tree(private)
        except BaseException:
            try:
                _remove(parent, temporary, private)
            finally:
                os.close(private)
            raise


def _make_tree(private: int) -> int:
    # what is made inside must not inherit a group or an ACL from outside
    _privatise(private)
    os.close(os.open(_MARK, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=private))
    os.mkdir(_TREE, 0o700, dir_fd=private)
    descriptor = os.open(_TREE, _OPEN | os.O_NOFOLLOW, dir_fd=private)
    _privatise(descriptor)
    return descriptor


def _privatise(descriptor: int) -> None:
    os.fchmod(descriptor, 0o700)
    for acl in _ACLS:
        with suppress(OSError):
            os.removexattr(descriptor, acl)


def _is(parent: int, name: bytes, descriptor: int) -> bool:
    """Whether a name is, still, that of an open directory."""
    try:
        return os.path.samestat(os.lstat(name, dir_fd=parent), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sweep(parent: int, name: bytes) -> None:
    """Remove temporary directories of this target whose makers are gone."""
    prefix = _prefix(name)
    for entry in os.listdir(parent):
        found = os.fsencode(entry)
        if not (found.startswith(prefix) and found[len(prefix) :].isdigit()):
            continue
        try:
            descriptor = os.open(found, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
        except OSError:
            continue
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(parent, found, descriptor)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _remove(parent: int, name: bytes, private: int) -> None:
    """Remove a private directory, if it is one: nobody but its owner can put a mark into it."""
    names = {os.fsencode(entry) for entry in os.listdir(private)}
    if names - {_TREE, _MARK, DRAFT} or (names and _MARK not in names):
        return
    if _TREE in names:
        remove_tree(private, _TREE)
    for name_inside in (DRAFT, _MARK):  # the mark last: without it the rest would stay for ever
        with suppress(FileNotFoundError):
            os.unlink(name_inside, dir_fd=private)
    if _is(parent, name, private):
        os.rmdir(name, dir_fd=parent)


def _publish(parent: int, private: int, descriptor: int, target: Path, *, sync: bool, beside: Beside | None) -> None:
    try:
        if sync:
            # by the parent: the tree's own root may be one that we must not read
            sync_file_system(f"/proc/self/fd/{parent}")
        if beside is not None:
            beside.publish(private, parent, target)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        try:
            # What gets another parent must be writable, for its ".." changes, and an image may say that its root is
            # not. The owner's bit goes after the move: if we are killed between, a name with one bit too many is all.
            if not mode & stat.S_IWUSR:
                os.fchmod(descriptor, mode | stat.S_IWUSR)
            os.rename(_TREE, os.fsencode(target.name), src_dir_fd=private, dst_dir_fd=parent)
        except OSError:
            if beside is not None:
                beside.withdraw(parent, target)
            raise
        if not mode & stat.S_IWUSR:
            os.fchmod(descriptor, mode)
        if sync:
            os.fsync(descriptor)
            os.fsync(parent)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _is_mount(target) from error
        raise failure(error, "put the finished tree at", target) from error
    if not _is(parent, os.fsencode(target.name), descriptor):
        raise Unsafe(f"{target}: something else was put in its place while it was written")


def _discard(parent: int, temporary: bytes, private: int, target: Path) -> None:
    try:
        _remove(parent, temporary, private)
    except OSError as error:
        raise failure(error, "remove what was written beside", target) from error
