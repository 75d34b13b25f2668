from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.blobs import spill
from orlop.blobs.spill import Spill
from tests.support.stores import parts


def test_few_bytes_make_no_file(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        name = session.scratch()
        kept = Spill(disk, name)
        kept.write(b"few", 0)
        assert kept.read(9, 1) == b"ew"
        assert disk.status(name) is None
        kept.close()


@given(pieces=st.lists(st.integers(0, spill._IN_MEMORY // 2), max_size=6), at=st.floats(0, 1))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, pieces: list[int], at: float) -> None:
    with parts(tmp_path_factory.mktemp("spill") / "store") as (disk, _, session):
        name = session.scratch()
        kept, content = Spill(disk, name), b""
        for number, size in enumerate(pieces):
            kept.write(bytes([number]) * size, len(content))
            content += bytes([number]) * size
        offset = int(at * len(content))
        assert kept.read(1000, offset) == content[offset : offset + 1000]
        assert (disk.status(name) is not None) == (len(content) > spill._IN_MEMORY)
        kept.close()
        assert disk.status(name) is None
