"""Stacks of layers, and a store's derived files to make root file systems in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.ports import Stack
from orlop.rootfs.mountinfo import mounts
from orlop.rootfs.mounting import unmount
from tests.support import corners
from tests.support.stores import parts
from tests.support.trees import make_stack


@pytest.fixture
def derived(tmp_path: Path) -> Iterator[DerivedFiles]:
    with parts(tmp_path / "store") as (disk, _, session):
        yield DerivedFiles(disk, session, "boot")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Three layers with every corner case."""
    (tmp_path / "layers").mkdir()
    return make_stack(tmp_path / "layers", corners.base(), corners.middle(), corners.top())


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """An empty directory to mount at; free again afterwards."""
    directory = tmp_path / "target"
    directory.mkdir()
    yield directory
    for mount in mounts():
        # not is_mount(): it does not see bind mounts of the same file system
        if mount.target == directory:
            unmount(directory, lazy=True)
