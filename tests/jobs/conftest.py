from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.store import Store
from tests.support.stores import opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "store") as made:
        yield made
