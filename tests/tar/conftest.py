"""Go's own archive/tar as the oracle: built once a session, one process for all archives."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.model.tree import Entry, Kind
from orlop.ports import Readable
from orlop.tar.pax import clamp
from orlop.tar.reader import read_entries
from orlop.tar.sparse import BEHIND, Expansion

_KINDS = {
    0x30: Kind.FILE,
    0x37: Kind.FILE,
    0x31: Kind.HARDLINK,
    0x32: Kind.SYMLINK,
    0x33: Kind.CHARACTER,
    0x34: Kind.BLOCK,
    0x35: Kind.DIRECTORY,
    0x36: Kind.FIFO,
    0x53: Kind.FILE,
}


def listed(archive: bytes | Readable) -> list[Entry]:
    """What we say is in an archive, in terms of Go: where the data of a sparse member stands is our own affair."""
    source = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    entries = read_entries(source, expansion=Expansion())
    return [entry._replace(offset=min(entry.offset, BEHIND)) for entry in entries]


class Go:
    """Asks the Go program for the members of an archive; None means that Go refuses it."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def list(self, archive: bytes) -> list[Entry] | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(len(archive).to_bytes(8, "big") + archive)
        stdin.flush()
        answer = json.loads(stdout.readline())
        return None if answer["Error"] else [_entry(member) for member in answer["Members"]]

    def close(self) -> None:
        self._process.communicate()


def _entry(member: dict[str, Any]) -> Entry:
    """Go's header in our terms: what has no meaning for its kind is dropped, times are clamped."""
    kind = _KINDS[member["Type"]]
    device = kind in (Kind.CHARACTER, Kind.BLOCK)
    xattrs = tuple(sorted((key.encode(), base64.b64decode(value or "")) for key, value in member["Xattrs"].items()))
    return Entry(
        kind,
        base64.b64decode(member["Name"]),
        base64.b64decode(member["Link"]) if kind in (Kind.SYMLINK, Kind.HARDLINK) else b"",
        member["Mode"] & 0o7777,
        member["Uid"],
        member["Gid"],
        clamp(member["Seconds"] * 1_000_000_000 + member["Nanos"]),
        member["Size"] if kind is Kind.FILE else 0,
        BEHIND if member["Sparse"] and member["Size"] else member["Offset"],
        member["Major"] if device else 0,
        member["Minor"] if device else 0,
        xattrs,
    )


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    place = tmp_path_factory.mktemp("golist")
    environment = os.environ | {"GO111MODULE": "off", "GOCACHE": str(place / "cache"), "GOFLAGS": ""}
    source = Path(__file__).with_name("golist.go")
    subprocess.run(["/usr/bin/go", "build", "-o", place / "golist", source], env=environment, check=True)
    process = Go(place / "golist")
    yield process
    process.close()
