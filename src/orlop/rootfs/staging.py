"""A directory that is filled out of sight beside its target, and gets its name only when it is whole."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..disk.beneath import remove_tree
from ..disk.writeback import sync_file_system
from ..errors import Busy, Conflict, Invalid, Unsafe
from .beside import Beside, discard_draft
from .failures import failure

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


@contextmanager
def staged(target: Path, *, sync: bool, beside: Beside | None = None) -> Iterator[int]:
    """A descriptor of a private empty directory, which becomes `target` when the context ends well and is
    removed with all in it when it does not. What a killed process left of the same target is removed too.

    `target` must not exist, or be an empty directory: `Conflict` if not. `sync`: durable before it is seen.
    `beside`: a file that is there whenever the directory is.
    """
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
            temporary, descriptor = _make(parent, name)
        except OSError as error:
            raise failure(error, "make a directory beside", target) from error
        try:
            if beside is not None:
                beside.write(parent, temporary, target)
            yield descriptor
            _publish(parent, temporary, descriptor, target, sync=sync, beside=beside)
        except BaseException:
            _discard(parent, temporary, target)
            raise
        finally:
            os.close(descriptor)
    finally:
        os.close(parent)


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


def _make(parent: int, name: bytes) -> tuple[bytes, int]:
    """Make the temporary directory; its lock says that its maker lives."""
    number = os.getpid()
    while True:
        temporary = _prefix(name) + b"%d" % number
        try:
            os.mkdir(temporary, 0o700, dir_fd=parent)
        except FileExistsError:
            number += 1
            continue
        try:
            descriptor = os.open(temporary, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # who sweeps may have taken it, not locked yet, for a dead process's
        if not _is(parent, temporary, descriptor):
            os.close(descriptor)
            continue
        # what is made inside must not inherit a group or an ACL from outside
        os.fchmod(descriptor, 0o700)
        for acl in _ACLS:
            with suppress(OSError):
                os.removexattr(descriptor, acl)
        return temporary, descriptor


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
            discard_draft(parent, found)
            remove_tree(parent, found)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _publish(
    parent: int, temporary: bytes, descriptor: int, target: Path, *, sync: bool, beside: Beside | None
) -> None:
    try:
        if sync:
            # by the parent: the tree's own root may be one that we must not read
            sync_file_system(f"/proc/self/fd/{parent}")
        if beside is not None:
            beside.publish(parent, temporary, target)
        try:
            os.rename(temporary, os.fsencode(target.name), src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            if beside is not None:
                beside.withdraw(parent, target)
            raise
        if sync:
            os.fsync(parent)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Busy(f"{target}: is a mount", hint="unpack into a directory below it") from error
        raise failure(error, "put the finished tree at", target) from error
    if not _is(parent, os.fsencode(target.name), descriptor):
        raise Unsafe(f"{target}: something else was put in its place while it was written")


def _discard(parent: int, temporary: bytes, target: Path) -> None:
    try:
        discard_draft(parent, temporary)
        remove_tree(parent, temporary)
    except OSError as error:
        raise failure(error, "remove what was written beside", target) from error
