"""Directories for an image's volumes, in a tree that may be hostile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.errors import Conflict, Error, Invalid, Unsafe
from orlop.rootfs.volumes import make_volumes
from orlop.store import Store
from tests.support.images import make_image, make_layer, write_layout
from tests.support.stores import opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    made = tmp_path / "root"
    made.mkdir()
    return made


def mode_of(place: Path) -> int:
    return stat.S_IMODE(place.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_F16_volumes_are_made_with_their_parents_mode_0755(root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_volumes(root, ["/data/deep/er", "relative", "/", "", "/data//./deep/"])
    finally:
        os.umask(before)
    assert sorted(str(place.relative_to(root)) for place in root.rglob("*")) == [
        "data",
        "data/deep",
        "data/deep/er",
        "relative",
    ]
    assert {mode_of(place) for place in root.rglob("*")} == {0o755}


def test_F16_a_directory_that_is_there_stays_as_it_is(root: Path) -> None:
    (root / "data").mkdir(mode=0o700)
    (root / "data").chmod(0o1700)
    (root / "data" / "kept").write_text("content")
    before = (root / "data").stat()
    make_volumes(root, ["/data", "/data/new"])
    assert mode_of(root / "data") == 0o1700
    assert (root / "data").stat().st_ino == before.st_ino
    assert (root / "data" / "kept").read_text() == "content"
    assert mode_of(root / "data" / "new") == 0o755


@pytest.mark.parametrize("volume", ["/file", "/file/below", "/dir/pipe", "/to-file"])
def test_F16_a_file_in_the_way_is_an_error(root: Path, volume: str) -> None:
    (root / "file").write_text("content")
    (root / "dir").mkdir()
    os.mkfifo(root / "dir" / "pipe")
    (root / "to-file").symlink_to("file")
    with pytest.raises(Conflict, match=f"^volume creator: existing file at mount point: {volume}$"):
        make_volumes(root, [volume])
    assert (root / "file").read_text() == "content"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/inside", "inside/x"),
        ("inside", "inside/x"),
        ("../../../../inside", "inside/x"),
        ("/../inside", "inside/x"),
        ("{outside}", "{outside}/x"),
        ("../outside", "outside/x"),
        ("/new/by/link", "new/by/link/x"),
    ],
)
def test_F16_EX03_links_lead_where_they_would_inside_and_never_out(root: Path, link: str, expected: str) -> None:
    outside = root.parent / "outside"
    (root / "inside").mkdir()
    (root / "link").symlink_to(link.format(outside=outside))
    make_volumes(root, ["/link/x"])
    assert list(outside.iterdir()) == []
    assert (root / expected.format(outside=str(outside).lstrip("/"))).is_dir()


def test_F16_EX03_an_absolute_link_deep_inside_starts_at_the_root(root: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "c" / "link").symlink_to("/inside")
    make_volumes(root, ["/a/b/c/link/x", "/a/b/c/link/../y"])
    assert (root / "inside" / "x").is_dir()
    assert (root / "y").is_dir()
    assert list((root / "a").iterdir()) == [root / "a" / "b"]


def test_F16_dots_do_not_climb_out(root: Path) -> None:
    make_volumes(root, ["/../../outside/x", "a/../../outside/y"])
    assert list((root.parent / "outside").iterdir()) == []
    assert (root / "outside" / "x").is_dir()
    assert (root / "outside" / "y").is_dir()


def test_F16_links_without_end_are_refused(root: Path) -> None:
    (root / "loop").symlink_to("loop/x")
    with pytest.raises(Unsafe, match="symbolic links"):
        make_volumes(root, ["/loop"])


@pytest.mark.parametrize("volume", ["a\0b", "x" * 5000])
def test_F16_paths_that_cannot_be_are_refused(root: Path, volume: str) -> None:
    with pytest.raises(Invalid):
        make_volumes(root, [volume])


def test_F16_names_too_long_are_an_error_of_ours(root: Path) -> None:
    with pytest.raises(Error):
        make_volumes(root, ["/" + "x" * 300])


def bundled(store: Store, tmp_path: Path, *volumes: str) -> Path:
    layer = make_layer({"etc/": None, "etc/file": b"content"})
    image = make_image([layer], config={"config": {"Cmd": ["true"], "Volumes": {volume: {} for volume in volumes}}})
    layout = write_layout(tmp_path / "app", {"1": image})
    store.pull(f"oci:{layout}:1")
    store.bundle("localhost/app:1", tmp_path / "bundle")
    return tmp_path / "bundle" / "rootfs"


@pytest.mark.root
def test_F16_a_bundle_has_the_directories_of_its_image_s_volumes(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        rootfs = bundled(store, tmp_path, "/data/here")
        try:
            assert mode_of(rootfs / "data" / "here") == 0o755
        finally:
            store.umount(str(tmp_path / "bundle"))


@pytest.mark.root
def test_F16_a_bundle_that_fails_for_a_file_in_the_way_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        with pytest.raises(Conflict, match="existing file at mount point"):
            bundled(store, tmp_path, "/etc/file")
        assert store.mounts() == []
        assert not (tmp_path / "bundle").exists()
