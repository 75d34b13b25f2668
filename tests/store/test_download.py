"""Parallel ranges against a source (a port) that keeps or breaks its promises."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.blobs.partial import Partials
from orlop.download import Download, Slots
from orlop.errors import Mismatch
from orlop.job import Job
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.ports import Body
from tests.support.stores import parts

CONTENT = os.urandom(1 << 20) * 64
WANTED = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
_RATE = 16e6  # bytes a second of each stream


class _Stream:
    validator = ""

    def __init__(self, offset: int, end: int) -> None:
        self.offset = offset
        self._at, self._end = offset, end
        self.given = 0

    def read(self, size: int, /) -> bytes:
        data = CONTENT[self._at : min(self._at + size, self._end)]
        self._at += len(data)
        self.given += len(data)
        time.sleep(len(data) / _RATE)
        return data


class Source:
    """Several streams at once; `ranges` False: a start other than 0 is ignored, as a bad server would."""

    origin = "memory:"
    streams = 3

    def __init__(self, *, ranges: bool = True, short: int = 0) -> None:
        self.asked: list[int] = []
        self.streams_opened: list[_Stream] = []
        self._ranges = ranges
        self._end = len(CONTENT) - short

    def document(self, reference: str) -> Document:
        raise AssertionError(reference)

    @contextmanager
    def open(self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job) -> Iterator[Body]:
        self.asked.append(offset)
        start, stop = (offset, end or self._end) if self._ranges else (0, self._end)
        self.streams_opened.append(_Stream(start, min(stop, self._end)))
        yield self.streams_opened[-1]


def _fetch(tmp_path: Path, source: Source) -> tuple[bytes, list[str]]:
    with parts(tmp_path / "store") as (disk, _, _session):
        with Partials(disk).open(WANTED.digest, WANTED.size) as partial:
            Download(source, WANTED, partial, Slots()).run(Job(workers=4))
            reader = partial.follow(Job())
            content = b"".join(iter(lambda: reader.read(1 << 20), b""))
    return content, [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop")]


def test_helpers_take_later_halves_and_nothing_is_mixed_up(tmp_path: Path) -> None:
    source = Source()
    content, threads = _fetch(tmp_path, source)
    assert content == CONTENT
    assert len(source.asked) > 1
    assert min(source.asked[1:]) > 0
    assert threads == []


def test_NF03_a_helper_that_got_the_whole_instead_of_its_range_writes_nothing(tmp_path: Path) -> None:
    source = Source(ranges=False)
    content, threads = _fetch(tmp_path, source)
    assert content == CONTENT
    assert len(source.asked) > 1
    assert sum(stream.given for stream in source.streams_opened[1:]) == 0
    assert threads == []


def test_NF01_a_source_that_ends_early_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="ends at byte"):
        _fetch(tmp_path, Source(short=1000))
