"""A store under odd clocks, odd names, a catalog that is lost or torn, and roots that are written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.images import small_image, write_layout
from tests.support.stores import files_below, opened

LAYOUT = "localhost/layout:one"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The path of a store with one image."""
    write_layout(tmp_path / "layout", {"one": small_image()})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
    return tmp_path / "store"


@pytest.mark.parametrize("year", [1970, 2106])
def test_ST13_whatever_the_clock_says_nothing_live_is_collected(store: Path, year: int) -> None:
    stamp = (year - 1970) * 365.25 * 86400
    for path in [*store.rglob("*")]:
        os.utime(path, (stamp, stamp))
    before = files_below(store / "blobs")
    with opened(store) as opening:
        assert opening.gc().removed == ()
        assert opening.fsck().findings == ()
        assert opening.names() == [LAYOUT]
    assert files_below(store / "blobs") == before


@pytest.mark.parametrize(
    "damage",
    [b"", b"SQLite format 3\0" + bytes(100), b"\xff" * 5000, None],
    ids=["empty", "header", "garbage", "missing"],
)
def test_ST17_a_catalog_that_is_lost_or_torn_is_made_again(store: Path, damage: bytes | None) -> None:
    catalog = store / "catalog.db"
    with opened(store) as opening:
        before = opening.images()
    catalog.unlink()
    if damage is not None:
        catalog.write_bytes(damage)
        (store / "catalog.db-journal").write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7" + bytes(600))
    with opened(store) as opening:
        assert opening.images() == before
        assert opening.image(before[0].digest.encoded[:8]).manifest.digest == before[0].digest


def test_ST17_a_catalog_cut_in_the_middle_is_made_again(store: Path) -> None:
    with opened(store) as opening:
        before = opening.images()
    os.truncate(store / "catalog.db", 5000)
    with opened(store) as opening:
        assert opening.images() == before


@pytest.mark.parametrize(
    "name", ["../../etc/x", "a/../../b", "/etc/passwd", ".", "..", "a//b", "a/./b", "a\0b", "a\nb"]
)
def test_ST18_a_name_never_becomes_a_path(tmp_path: Path, store: Path, name: str) -> None:
    write_layout(tmp_path / "odd", {name: small_image()})
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(store)}
    with opened(store) as opening:
        try:
            pulled = opening.pull(f"oci:{tmp_path}/odd:{name}").name
        except Exception as error:
            assert type(error).__module__ == "orlop.errors"  # noqa: PT017 -- either way is right
        else:
            assert ".." not in pulled.split("/")
        assert opening.fsck().findings == ()
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(store)} == before
    assert {path.name for path in store.iterdir()} <= {
        *("blobs", "partial", "derived", "sessions", "locks", "mounts"),
        *("version", "oci-layout", "index.json", "catalog.db", "catalog.db-journal"),
    }


def test_ST11_who_writes_into_an_unpacked_tree_does_not_write_into_the_store(tmp_path: Path, store: Path) -> None:
    with opened(store) as opening:
        opening.unpack(LAYOUT, tmp_path / "tree")
        for path in (tmp_path / "tree").rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o600)
                with path.open("r+b") as file:
                    file.write(b"overwritten")
        assert opening.fsck().findings == ()
        opening.unpack(LAYOUT, tmp_path / "again")
        assert b"overwritten" not in (tmp_path / "again/etc/motd").read_bytes()
