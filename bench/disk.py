"""A fresh file system for every measurement."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .image import CACHE

_BYTES = 8 << 30


@contextlib.contextmanager
def fresh_disk() -> Iterator[Path]:
    """A new ext4 with a journal in a file, so that nothing removed before slows it down."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        file, place = Path(folder) / "disk", Path(folder) / "place"
        place.mkdir()
        with file.open("wb") as stream:
            stream.truncate(_BYTES)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file], check=True)
        subprocess.run(["/usr/bin/mount", "-o", "loop", file, place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["/usr/bin/umount", place], check=True)
