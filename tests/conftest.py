"""For all tests: examples of hypothesis are not timed, as machines are shared and slow at times."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.stranger import Stranger, copy_code

settings.register_profile("orlop", deadline=None)
settings.load_profile("orlop")


@pytest.fixture(scope="session")
def stranger() -> Iterator[Stranger]:
    """Another user, and a copy of the code outside of pytest's own directories, which are for root only."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-code-") as place:
        copy_code(Path(place))
        yield Stranger(Path(place))
