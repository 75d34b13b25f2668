"""Records of mounts, `mounts/<number>/record` in a store: what is mounted where, and what it stands on.

Written before the mount, so that a collection never misses it, and believed only as far as mountinfo shows it. A copy
of a store has copies of the records, but the mounts are the original's: each says which directory it belongs to.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..disk.disk import Disk, translate
from ..errors import Error, Invalid
from ..model.digest import Digest
from . import mountinfo

_RECORD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One mount. `made`: the mount point was not there before. `over`: a writable view of it, "" if there is none."""

    name: str
    digest: Digest
    target: Path
    driver: str
    made: bool
    uses: tuple[Digest, ...]  # diff IDs and chain IDs
    over: str = ""


class Records:
    """The records of one store. `scratch` gives fresh names for temporary files."""

    def __init__(self, disk: Disk, scratch: Callable[[], str]) -> None:
        self._disk = disk
        self._scratch = scratch

    def place(self) -> str:
        """A fresh number; its directory is made."""
        number = uuid.uuid4().hex[:12]
        for name in ("mounts", f"mounts/{number}"):
            self._disk.make_directory(name)
        return number

    def write(self, number: str, record: Record) -> None:
        fields = {
            "store": self._store(),
            "name": record.name,
            "digest": record.digest,
            "target": os.fsdecode(record.target),
            "driver": record.driver,
            "made": record.made,
            "uses": record.uses,
            "over": record.over,
        }
        self._disk.write_file(f"mounts/{number}/record", self._scratch(), json.dumps(fields).encode())

    def live(self) -> list[tuple[str, Record]]:
        """The mounts of this store that are there now, with their numbers."""
        numbers = self._disk.names("mounts")
        if not numbers:
            return []
        there = {os.fsencode(mount.target) for mount in mountinfo.mounts()}
        found = [(number, self._read(number)) for number in numbers]
        return [(number, each) for number, each in found if each is not None and os.fsencode(each.target) in there]

    def cover(self, target: Path, over: Path) -> None:
        """Remember a writable view of the mount at `target`."""
        for number, record in self.live():
            if record.target == target:
                self.write(number, replace(record, over=os.path.realpath(over)))

    def forget(self, number: str, made: Path | None) -> None:
        """The record goes, and the mount point if we `made` it."""
        self._disk.remove(f"mounts/{number}/record")
        if made is not None:
            try:
                os.rmdir(made)
            except OSError as error:
                raise translate(error, "remove mount point", made) from error
        self._disk.remove_directory(f"mounts/{number}")

    def clear(self) -> None:
        """Remove records whose mount is gone: after a reboot, or a kill. Nobody may be about to mount."""
        live = {number for number, _ in self.live()}
        for number in self._disk.names("mounts"):
            if number not in live:
                with suppress(Error):  # not empty, or a mount after all: then it is none of our business
                    self._disk.remove_directory(f"mounts/{number}/root")
                    self._disk.remove(f"mounts/{number}/record")
                    self._disk.remove_directory(f"mounts/{number}")

    def _store(self) -> list[int]:
        """Which directory the store is, by device and inode: they hold as long as a mount does, whatever name it is
        reached by, and a copy has others."""
        found = self._disk.status("")
        return [found.st_dev, found.st_ino] if found is not None else []

    def _read(self, number: str) -> Record | None:
        """None for what is no record of this store."""
        if not self._disk.is_directory(f"mounts/{number}"):
            return None
        try:
            fields: Any = json.loads(self._disk.read(f"mounts/{number}/record", _RECORD_BYTES) or b"0")
            # one of an earlier version does not say: who has a mount must be able to undo it
            return _record(fields) if "store" not in fields or fields["store"] == self._store() else None
        except (ValueError, TypeError, KeyError, RecursionError, Invalid):
            return None  # torn by a power cut, which no mount survives


def _record(fields: dict[str, Any]) -> Record:
    name, target, driver, over = (_text(fields[key]) for key in ("name", "target", "driver", "over"))
    made, uses = fields["made"], fields["uses"]
    if not isinstance(made, bool) or not isinstance(uses, list):
        raise TypeError("expected a truth value and a list")
    return Record(name, Digest(fields["digest"]), Path(target), driver, made, tuple(map(Digest, uses)), over)


def _text(value: Any) -> str:
    if not isinstance(value, str) or b"\0" in os.fsencode(value):
        raise TypeError("expected a string that may be a path")
    return value
