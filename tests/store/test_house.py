"""Opening a store: made, refused, recovered."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.errors import Conflict, Damaged, Denied, Unsupported
from tests.support.stores import opened


def test_a_new_store_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "a/store"):
            pass
    finally:
        os.umask(before)
    loose = [
        path
        for path in [tmp_path / "a/store", *(tmp_path / "a/store").rglob("*")]
        if path.is_dir() and stat.S_IMODE(path.stat().st_mode) != 0o700
    ]
    assert loose == []


def test_ST15_a_store_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path) -> None:
    with opened(tmp_path / "store"):
        pass
    version = tmp_path / "store/version"
    for raw in ('{"format": 2, "needs": []}', '{"format": 1, "needs": ["compressed-index"]}'):
        version.write_text(raw)
        with pytest.raises(Unsupported, match="format"), opened(tmp_path / "store"):
            pytest.fail("opened")
        assert version.read_text() == raw


def test_a_version_file_that_says_nothing_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path / "store"):
        pass
    (tmp_path / "store/version").write_text("what")
    with pytest.raises(Damaged, match="version"), opened(tmp_path / "store"):
        pytest.fail("opened")


def test_ST09_a_store_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "store"):
        pass
    (tmp_path / "store").chmod(0o755)
    with pytest.raises(Denied, match="chmod 700"), opened(tmp_path / "store"):
        pytest.fail("opened")


@pytest.mark.root
def test_ST09_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    os.chown(tmp_path / "store", 1234, 1234)
    with pytest.raises(Denied, match="1234"), opened(tmp_path / "store"):
        pytest.fail("opened")


def test_a_directory_with_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"thesis\.txt"), opened(tmp_path / "home"):
        pytest.fail("opened")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.txt"]


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Conflict), opened(tmp_path / "file"):
        pytest.fail("opened")
