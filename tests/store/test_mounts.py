"""Mounts of a store: whose they are, what is held while one is made, and what survives odd files beside them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.errors import Busy, Conflict, Invalid, NotFound
from orlop.job import Job
from orlop.rootfs.mountinfo import mounts
from orlop.rootfs.mounting import bind
from orlop.store import DriverName, Store
from tests.support.images import Hardlink, make_image, make_layer, small_image, write_layout
from tests.support.stores import opened

pytestmark = pytest.mark.root
NAME = "localhost/layout:one"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    write_layout(tmp_path / "layout", {"one": small_image()})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        try:
            yield store
        finally:
            for mounted in store.mounts():
                store.umount(str(mounted.target), lazy=True)


def _there(target: Path) -> bool:
    return target in {mount.target for mount in mounts()}


def test_a_copy_of_a_store_has_no_mounts_and_undoes_none(tmp_path: Path, store: Store) -> None:
    inside = store.mount(NAME).target
    outside = store.mount(NAME, tmp_path / "outside").target
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    copied = f"tar -C {tmp_path}/store -c --one-file-system . | tar -C {copy} -x"
    subprocess.run(["/bin/bash", "-euo", "pipefail", "-c", copied], check=True)
    with opened(copy) as other:
        assert other.mounts() == []
        for wanted in (NAME, str(outside), str(inside), str(other.digest(NAME))):
            with pytest.raises(NotFound, match="not mounted from this store"):
                other.umount(wanted)
        assert other.gc(derived=True).derived > 0
        # its own are its own
        mounted = other.mount(NAME).target
        assert [each.target for each in other.mounts()] == [mounted]
        assert len(other.umount(NAME)) == 1
    assert _there(inside)
    assert _there(outside)
    assert {each.target for each in store.mounts()} == {inside, outside}
    assert len(store.umount(NAME)) == 2
    assert not outside.exists()


def test_a_store_that_was_moved_or_is_seen_elsewhere_keeps_its_mounts(tmp_path: Path, store: Store) -> None:
    target = store.mount(NAME, tmp_path / "mnt").target
    (tmp_path / "store").rename(tmp_path / "moved")
    try:
        with opened(tmp_path / "moved") as moved:
            assert [each.target for each in moved.mounts()] == [target]
            assert moved.gc(derived=True).derived == 0
    finally:
        (tmp_path / "moved").rename(tmp_path / "store")


@pytest.mark.parametrize("raw", [b'{"a":1}', b"[1]", b"\xff", b"[" * 5000])
def test_odd_records_stop_no_command(tmp_path: Path, store: Store, raw: bytes) -> None:
    odd = tmp_path / "store/mounts/x/record"
    odd.parent.mkdir(parents=True)
    odd.write_bytes(raw)
    target = store.mount(NAME).target
    assert [each.target for each in store.mounts()] == [target]
    assert store.gc().removed == ()
    assert not odd.parent.exists()
    assert len(store.umount(NAME)) == 1


class _Watching(Job):
    """Looks at the store each time that it is asked whether to go on."""

    def check(self) -> None:
        for place in _watched.glob("store/mounts/*"):
            descriptor = os.open(_watched / "store/locks/store", os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _seen.append("a collection could begin")
            except BlockingIOError:
                _seen.append("held")
            finally:
                os.close(descriptor)
            if not (place / "record").exists():
                _seen.append("not recorded")


_watched = Path()
_seen: list[str] = []


def test_a_mount_is_recorded_before_it_is_made_and_no_collection_gets_between(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.store.test_mounts._watched", tmp_path)
    _seen.clear()
    for driver in ("erofs", "directory"):
        store.gc(derived=True)  # so that making the mount takes a while, in which the job is asked
        target = store.mount(NAME, driver=driver, job=_Watching()).target
        assert _there(target)
        assert set(_seen) == {"held"}
        _seen.clear()
        store.umount(NAME)


@pytest.mark.parametrize("place", ["", "store", "store/blobs", "store/new", "link"])
@pytest.mark.parametrize("driver", ["auto", "directory"])
def test_a_mount_that_would_hide_the_store_is_refused(
    tmp_path: Path, store: Store, place: str, driver: DriverName
) -> None:
    (tmp_path / "link").symlink_to("store")
    with pytest.raises(Conflict, match="would be hidden by a mount"):
        store.mount(NAME, tmp_path / place, driver=driver)
    assert store.mounts() == []
    assert not (tmp_path / "store/new").exists()


def test_a_bundle_whose_root_would_hide_the_store_is_refused(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    (tmp_path / "b/rootfs").mkdir(parents=True)
    with opened(tmp_path / "b/rootfs/store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        with pytest.raises(Conflict, match="would be hidden by a mount"):
            store.bundle(NAME, tmp_path / "b")
        assert store.mounts() == []
    assert os.listdir(tmp_path / "b") == ["rootfs"]


@pytest.mark.parametrize("second", ["erofs", "overlay", "directory"])
@pytest.mark.parametrize("first", ["erofs", "overlay", "directory"])
def test_a_second_mount_at_one_directory_is_refused_whatever_shows_the_first(
    tmp_path: Path, first: DriverName, second: DriverName
) -> None:
    layer = make_layer({"file": b"x"})  # of one layer an overlay is a bind
    write_layout(tmp_path / "layout", {"one": make_image([layer])})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        store.mount(NAME, tmp_path / "mnt", driver=first)
        try:
            with pytest.raises(Busy, match="something is mounted there already"):
                store.mount(NAME, tmp_path / "mnt", driver=second)
            assert len(store.mounts()) == 1
        finally:
            store.umount(NAME)
        assert not (tmp_path / "mnt").exists()


def test_a_bundle_is_not_made_over_a_mount(tmp_path: Path, store: Store) -> None:
    (tmp_path / "b").mkdir()
    mounted = store.mount(NAME, tmp_path / "b/rootfs", driver="directory")
    with pytest.raises(Busy, match="is a bundle already"):
        store.bundle(NAME, tmp_path / "b")
    assert store.mounts() == [mounted]


def test_mounts_inside_of_mounts_of_one_image_are_undone_together(tmp_path: Path, store: Store) -> None:
    outer = [store.mount(NAME, tmp_path / name).target for name in "abcdef"]
    inner = [store.mount(NAME, target / "bin").target for target in outer]
    assert {each.target for each in store.umount(NAME)} == {*outer, *inner}
    assert store.mounts() == []
    assert not any(target.exists() for target in outer)


def test_a_mount_that_cannot_be_undone_stops_no_other_and_keeps_its_record(tmp_path: Path, store: Store) -> None:
    targets = [store.mount(NAME, tmp_path / name).target for name in "abcde"]
    with (targets[1] / "etc/motd").open(), (targets[3] / "etc/motd").open(), pytest.raises(Busy) as raised:
        store.umount(NAME)
    for number in (1, 3):
        assert f"{targets[number]}: mount is in use by " in raised.value.message
    assert {each.target for each in store.mounts()} == {targets[1], targets[3]}
    assert [target.exists() for target in targets] == [False, True, False, True, False]
    assert len(store.umount(NAME)) == 2


@pytest.mark.parametrize("wanted", [NAME, "mnt"])
def test_what_was_mounted_over_a_mount_does_not_cost_it_its_record(tmp_path: Path, store: Store, wanted: str) -> None:
    target = store.mount(NAME, tmp_path / "mnt").target
    name = wanted if wanted == NAME else str(target)
    bind(tmp_path / "layout", target, read_only=True)
    with pytest.raises(Busy, match="one mount is undone, and another is there still"):
        store.umount(name)
    assert [each.target for each in store.mounts()] == [target]
    assert (target / "etc/motd").read_text() == "changed\n"
    assert len(store.umount(name)) == 1
    assert not target.exists()
    assert store.mounts() == []


def test_two_mounts_of_an_earlier_version_at_one_directory_are_undone_together(tmp_path: Path, store: Store) -> None:
    target = store.mount(NAME, tmp_path / "mnt").target
    (place,) = (tmp_path / "store/mounts").iterdir()
    record = json.loads((place / "record").read_text())
    (place.parent / "second").mkdir()
    (place.parent / "second/record").write_text(json.dumps({**record, "made": False}))
    bind(tmp_path / "layout", target, read_only=True)
    assert [each.target for each in store.umount(str(target))] == [target, target]
    assert store.mounts() == []
    assert not target.exists()
    assert list(place.parent.iterdir()) == []


@pytest.mark.parametrize("how", ["mount", "unpack", "export"])
def test_layers_that_make_no_tree_together_are_told_of_their_image(tmp_path: Path, how: str) -> None:
    lower, upper = make_layer({"a": b"x"}), make_layer({"b": Hardlink("gone")})
    write_layout(tmp_path / "layout", {"one": make_image([lower, upper])})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        with pytest.raises(Invalid, match=f"^{NAME}: tar member b: hard link to gone"):
            if how == "mount":
                store.mount(NAME, tmp_path / "mnt")
            elif how == "unpack":
                store.unpack(NAME, tmp_path / "tree")
            else:
                store.export(NAME, io.BytesIO())
        assert store.mounts() == []
