"""The images that stores crash with, and where."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .invariants import World
from .scenarios import images, make_ready

_MEMORY = "/dev/shm"


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory where there is such a place: thousands of stores are written for a moment."""
    where = _MEMORY if os.path.isdir(_MEMORY) and os.access(_MEMORY, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix="orlop-crash-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def world(memory: Path) -> World:
    made = World.make(memory, images())
    make_ready(made.folder / "reference")
    return made


@pytest.fixture
def folder(memory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
