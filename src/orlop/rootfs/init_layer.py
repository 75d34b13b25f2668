"""What a container finds in its root before anything is mounted there, as Docker's init layer had it."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path

from .failures import failure

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o755
_DIRECTORIES = ("dev/pts", "dev/shm", "proc", "sys")
_FILES = (".dockerinit", ".dockerenv", "etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/console")
_LINKS = {"etc/mtab": "/proc/mounts"}


def make_init_layer(root: Path) -> None:
    """Directories, empty files and a link for what will be put over them. What stands on the way and is no directory
    is removed, links above all: nothing is ever made outside of `root`. Directories that are there stay."""
    for name in (*_DIRECTORIES, *_FILES, *_LINKS):
        try:
            _make(root, name)
        except OSError as error:
            raise failure(error, "make", root / name) from error


def _make(root: Path, name: str) -> None:
    """Each part by the descriptor of the one before: a name that changes meanwhile leads nowhere else."""
    with ExitStack() as opened:

        def enter(part: str | Path, at: int | None) -> int:
            descriptor = os.open(part, _DIRECTORY if at is not None else _DIRECTORY & ~os.O_NOFOLLOW, dir_fd=at)
            opened.callback(os.close, descriptor)
            return descriptor

        at = enter(root, None)
        *parents, last = name.split("/")
        for part in (*parents, last) if name in _DIRECTORIES else parents:
            made = not _is_directory(part, at)
            if made:
                os.mkdir(part, _MODE, dir_fd=at)
            at = enter(part, at)
            if made:
                os.fchmod(at, _MODE)  # whatever the umask
        if name in _DIRECTORIES or _is_directory(last, at):
            return
        if name in _LINKS:
            os.symlink(_LINKS[name], last, dir_fd=at)
        else:
            descriptor = os.open(last, _NEW, _MODE, dir_fd=at)
            opened.callback(os.close, descriptor)
            os.fchmod(descriptor, _MODE)


def _is_directory(name: str, at: int) -> bool:
    """What is something else is gone when this returns."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            return True
        os.unlink(name, dir_fd=at)
    except FileNotFoundError:
        pass
    return False
