"""A place that will not do is told before an image is fetched or opened for it, and nothing is left there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.errors import Busy, Conflict, Error, NotFound
from orlop.job import Event, Job
from orlop.rootfs.directory import check_target
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.command_line import Orlop
from tests.support.images import small_image, write_layout
from tests.support.stores import files_below, opened
from tests.support.trees import snapshot

NAME = "localhost/layout:one"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"one": small_image()})


@pytest.fixture
def orlop(tmp_path: Path) -> Orlop:
    return Orlop(tmp_path / "store")


def _blobs(store: Path) -> list[str]:
    return [name for name in files_below(store) if "sha256" in name]


def _occupied(place: Path) -> dict[str, str]:
    """Places that will not do: what is said of each."""
    (place / "full").mkdir(parents=True)
    (place / "full/file").touch()
    (place / "file").touch()
    (place / "link").symlink_to("full")
    return {
        f"{place}/full": "is not empty; choose a new or empty directory",
        f"{place}/file": "is there, and is no directory; choose a new or empty one",
        f"{place}/link": "is there, and is no directory; choose a new or empty one",
        "/proc/x": "cannot make a directory in /proc: no such file or directory; "
        "choose a place where you may make directories",
    }


def test_unpack_tells_of_its_target_before_it_fetches(orlop: Orlop, layout: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    told = _occupied(place)
    before = snapshot(place)
    for target, text in told.items():
        result = orlop("unpack", f"oci:{layout}:one", target)
        assert result.err == f"orlop: {target}: {text}\n"
        assert result.status in (1, 3)
    assert orlop("unpack", f"oci:{layout}:one", f"{place}/no/such").status == 3
    assert _blobs(orlop.store) == []
    assert snapshot(place) == before


def test_unpack_opens_no_layer_for_a_target_that_will_not_do(layout: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one", download_only=True)
        for target in _occupied(tmp_path / "place"):
            with pytest.raises((Conflict, NotFound)):
                store.unpack(NAME, target, job=Job(progress=events.append))
    assert events == []


def test_bundle_tells_of_its_directory_before_it_fetches(orlop: Orlop, layout: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "open").mkdir(parents=True)
    (place / "open").chmod(0o777)
    (place / "file/rootfs").parent.mkdir()
    (place / "file/rootfs").touch()
    (place / "linked").mkdir()
    (place / "linked/rootfs").symlink_to(layout)
    told = {
        place / "open": "others may write to it, a bundle there would be in their hands; name a new directory",
        place / "file": "is there, and is no directory; ",
        place / "linked": "is a symbolic link, expected none; name a new directory",
        Path("/proc/x"): "no such file or directory",
        orlop.store.parent: f"the store {orlop.store} would be hidden by a mount; choose another directory",
    }
    orlop("images")
    (tmp_path / "rootfs").symlink_to("store")
    before = snapshot(place)
    for target, text in told.items():
        result = orlop("bundle", f"oci:{layout}:one", str(target))
        assert text in result.err
        assert result.status not in (0, 70)
    assert _blobs(orlop.store) == []
    assert snapshot(place) == before


def test_a_place_that_will_do_is_left_as_it_was(orlop: Orlop, tmp_path: Path) -> None:
    """With an image that cannot be had: the target is looked at, and then there is nothing to put there."""
    (tmp_path / "empty").mkdir()
    before = os.listdir(tmp_path)
    for command in ("unpack", "bundle"):
        for target in ("empty", "new"):
            result = orlop(command, f"oci:{tmp_path}/missing:one", str(tmp_path / target))
            assert f"{tmp_path}/missing" in result.err
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "store"])
    assert os.listdir(tmp_path / "empty") == []


@pytest.mark.root
def test_a_mount_is_no_target(tmp_path: Path) -> None:
    mount_memory(tmp_path)
    try:
        with pytest.raises(Busy, match="is a mount"):
            check_target(tmp_path, own=True)
    finally:
        unmount(tmp_path)


def test_a_record_of_something_else_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "out.ownership.jsonl").write_text("mine\n")
    check_target(tmp_path / "out", own=True)
    with pytest.raises(Error, match=r"out\.ownership\.jsonl: is there, and was not written"):
        check_target(tmp_path / "out", own=False)
    assert os.listdir(tmp_path) == ["out.ownership.jsonl"]
