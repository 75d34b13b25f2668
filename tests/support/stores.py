"""Stores for tests: scratch ones, and the parts of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orlop.disk.disk import Disk
from orlop.disk.locks import Locks
from orlop.disk.session import Session
from orlop.house import open_house
from orlop.settings import Network, Settings
from orlop.store import Store


def settings(path: Path, *, insecure: Sequence[str] = (), workers: int = 4) -> Settings:
    """Settings with nothing of this machine's environment in them."""
    return Settings(store=path, network=Network(insecure=frozenset(insecure), home=path.parent), workers=workers)


@contextmanager
def opened(path: Path, *, insecure: Sequence[str] = ()) -> Iterator[Store]:
    with Store.open(settings=settings(path, insecure=insecure)) as store:
        yield store


@contextmanager
def parts(path: Path) -> Iterator[tuple[Disk, Locks, Session]]:
    """A store's directory with its lowest parts."""
    disk = Disk(path)
    open_house(disk)
    locks = Locks(disk)
    session = Session(disk, locks)
    try:
        yield disk, locks, session
    finally:
        session.close()


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another Python process with this project on its path; talk to it through pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def files_below(path: Path) -> dict[str, int]:
    """Relative names of all regular files, with their sizes."""
    return {str(file.relative_to(path)): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()}
