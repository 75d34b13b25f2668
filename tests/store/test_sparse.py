"""An image with files that have holes, given back in every way: the files that were packed, holes where they can be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.store import DriverName, Store
from tests.support.images import make_image, write_layout
from tests.support.stores import opened
from tests.support.trees import difference, snapshot
from tests.tar.test_sparse import WRITERS, write_files

pytestmark = pytest.mark.root
NAME = "localhost/layout:one"
LARGE = 100 << 20
KINDS: list[DriverName] = ["erofs", "overlay", "directory"]


@pytest.fixture(scope="module", params=["oldgnu", "pax 1.0", "libarchive"])
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path]]:
    """A store with the image, and the directory that it was made of."""
    place = tmp_path_factory.mktemp("sparse")
    write_files(place / "top", large=LARGE)
    command = [*WRITERS[request.param], "-C", str(place / "top"), "."]
    layer = subprocess.run(command, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    write_layout(place / "layout", {"one": make_image([layer])})
    with opened(place / "store") as store:
        store.pull(f"oci:{place}/layout:one")
        yield store, place / "top"


def kept(found: Path) -> bool:
    """Whether the holes of the large file take no space."""
    return (found / "large").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("driver", KINDS)
def test_PA05_sparse_files_are_mounted_as_they_were(
    packed: tuple[Store, Path], driver: DriverName, tmp_path: Path
) -> None:
    store, top = packed
    mounted = store.mount(NAME, tmp_path / "root", driver=driver)
    try:
        assert difference(snapshot(top), snapshot(mounted.target), ignore=frozenset({"mtime_ns"})) == []
        assert driver == "erofs" or kept(mounted.target)
    finally:
        store.umount(str(mounted.target))


def test_PA05_sparse_files_are_unpacked_with_their_holes(packed: tuple[Store, Path], tmp_path: Path) -> None:
    store, top = packed
    store.unpack(NAME, tmp_path / "root")
    assert difference(snapshot(top), snapshot(tmp_path / "root"), ignore=frozenset({"mtime_ns"})) == []
    assert kept(tmp_path / "root")


def test_PA05_sparse_files_are_exported_whole(packed: tuple[Store, Path], tmp_path: Path) -> None:
    store, top = packed
    with (tmp_path / "tar").open("wb") as out:
        store.export(NAME, out)
    (tmp_path / "root").mkdir()
    subprocess.run(["/usr/bin/tar", "-xf", tmp_path / "tar", "-C", tmp_path / "root"], check=True)
    assert difference(snapshot(top), snapshot(tmp_path / "root"), ignore=frozenset({"mtime_ns"})) == []


def test_PA05_a_store_with_sparse_files_is_sound_and_small(packed: tuple[Store, Path]) -> None:
    store, top = packed
    assert store.fsck().findings == ()
    tars = list((top.parent / "store/derived/tar").glob("sha256-*[0-9a-f]"))
    assert sum(tar.stat().st_blocks * 512 for tar in tars) < 16 << 20
