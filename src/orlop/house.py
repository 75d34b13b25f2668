"""Opening the store's directory: made if it is not there, refused if it is not ours, recovered if need be."""

from __future__ import annotations

import json
import os
import stat

from .blobs.local import ALGORITHMS
from .disk import session
from .disk.disk import Disk
from .disk.locks import Locks
from .errors import Conflict, Damaged, Denied, Invalid, Unsupported
from .model.strict_json import load_object

FORMAT = 1
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_VERSION_BYTES = 4096
_DIRECTORIES = ("blobs", "partial", "derived", "sessions", "locks", "mounts")


def open_house(disk: Disk) -> None:
    """Leaves a usable store at `disk.root`, or raises.

    `Denied` if it belongs to somebody else or others may enter it, `Unsupported` if a newer version wrote it,
    `Conflict` if the directory holds something that is no store.
    """
    _root(disk)
    raw = disk.read("version", _VERSION_BYTES)
    if raw is None:
        _found(disk)
    else:
        _check_version(disk, raw)
    session.clear(disk, _unmount_below)


def _unmount_below(path: str) -> None:
    """Mounts of a container whose `orlop run` was killed, the innermost first."""
    from .rootfs import mountinfo, mounting  # only killed processes make this necessary

    below = [mount.target for mount in mountinfo.mounts() if str(mount.target).startswith(f"{path}/")]
    for target in reversed(below):
        mounting.unmount(target, lazy=True)


def _root(disk: Disk) -> None:
    root = disk.path("")
    disk.make_root()
    found = disk.status("")
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise Conflict(f"{root}: not a directory", hint="name another --store")
    if found.st_uid != os.geteuid():
        raise Denied(f"{root}: the store belongs to uid {found.st_uid}, not to {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        if disk.size("version") is not None and disk.is_directory("blobs"):
            raise Denied(f"{root}: others may enter this store", hint=f"chmod 700 {root}")
        if not disk.names(""):
            descriptor = disk.open("")
            try:
                disk.seal(descriptor, 0o700)
            finally:
                disk.close(descriptor)


def _found(disk: Disk) -> None:
    """Make a new store. Another process may be doing the same."""
    strangers = set(disk.names("")) - {*_DIRECTORIES, "oci-layout", "version", "lost+found"}
    if strangers:
        raise _no_store(disk, sorted(strangers)[0])
    for name in (*_DIRECTORIES, *(f"blobs/{algorithm}" for algorithm in ALGORITHMS)):
        disk.make_directory(name)
    # a blob is as durable as the directories that lead to it
    for name in ("blobs", "", ".."):
        disk.sync_directory(name)
    own = session.Session(disk, Locks(disk))
    try:
        for name, raw in (("oci-layout", _LAYOUT), ("version", _version())):
            disk.write_file(name, own.scratch(), raw)
    finally:
        own.close()


def _no_store(disk: Disk, stranger: str) -> Conflict:
    return Conflict(f"{disk.path('')}: holds {stranger!r}, so it is no orlop store", hint="name an empty directory")


def _version() -> bytes:
    return json.dumps({"format": FORMAT, "needs": []}).encode()


def _check_version(disk: Disk, raw: bytes) -> None:
    try:
        fields = load_object(raw, what="version")
        number, needs = fields["format"], list(fields["needs"])
    except (Invalid, KeyError, TypeError) as error:
        if not disk.is_directory("blobs"):
            raise _no_store(disk, "version") from error
        raise Damaged(f"{disk.path('version')}: unreadable", hint="restore it from a copy") from error
    if not isinstance(number, int) or number > FORMAT or needs:
        raise Unsupported(
            f"{disk.path('')}: a store of format {number}{' with ' + ', '.join(map(str, needs)) if needs else ''}, "
            f"this version knows format {FORMAT}",
            hint="use a newer orlop; nothing was changed",
        )
