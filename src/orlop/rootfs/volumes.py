"""The directories of an image's volumes in a root file system, made as Garden made them, never outside of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from ..errors import Conflict, Invalid, Unsafe
from ..model.limits import PATH_BYTES, PATH_DEPTH, SYMLINKS_FOLLOWED
from .failures import failure

_MODE = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_volumes(root: Path, volumes: Iterable[str]) -> None:
    """Make each directory below `root` with its parents, mode 0755 whatever the umask; what is there stays as it is.

    Symbolic links are followed as a process whose `/` is `root` would. `Conflict`: a file is in the way. `Unsafe`: too
    many links or parts. `Invalid`: a path that cannot be one. Errors of the system as elsewhere in `rootfs`.
    """
    for volume in volumes:
        if "\0" in volume or len(os.fsencode(volume)) > PATH_BYTES:
            raise Invalid(f"volume {volume[:80]!r}: cannot be a path")
        try:
            _make(root, volume)
        except OSError as error:
            raise failure(error, "make the volume", root / volume.lstrip("/")) from error


def _make(root: Path, volume: str) -> None:
    """A part at a time, each by the descriptor of the one before: a name that changes meanwhile leads nowhere else."""
    with ExitStack() as opened:

        def enter(name: str | Path, at: int | None) -> int:
            flags = _DIRECTORY if at is not None else _DIRECTORY & ~os.O_NOFOLLOW
            descriptor = os.open(name, flags, dir_fd=at)
            opened.callback(os.close, descriptor)
            return descriptor

        held, left, followed = [enter(root, None)], volume.split("/")[::-1], 0
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                held = held[: max(1, len(held) - 1)]
                continue
            mode = _mode(name, held[-1])
            if mode is None:
                os.mkdir(name, _MODE, dir_fd=held[-1])
                held.append(enter(name, held[-1]))
                os.fchmod(held[-1], _MODE)
            elif stat.S_ISLNK(mode):
                followed += 1
                target = os.readlink(name, dir_fd=held[-1])
                if followed > SYMLINKS_FOLLOWED or len(held) + len(left) > PATH_DEPTH:
                    raise Unsafe(f"volume {volume}: is behind more than {SYMLINKS_FOLLOWED} symbolic links")
                held = held[:1] if target.startswith("/") else held
                left.extend(target.split("/")[::-1])
            elif stat.S_ISDIR(mode):
                held.append(enter(name, held[-1]))
            else:
                raise Conflict(f"volume creator: existing file at mount point: {volume}")


def _mode(name: str, parent: int) -> int | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
