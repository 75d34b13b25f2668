"""Unpacking an image that is not ready keeps no plain layers, and uses those that are kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.errors import Damaged, Mismatch
from orlop.job import Event, Job
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.images import small_image, write_layout
from tests.support.stores import files_below, opened
from tests.support.trees import snapshot

NAME = "localhost/layout:one"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", {"one": small_image()})


def _plain(store: Path) -> list[str]:
    """Plain tars anywhere in the store."""
    return [name for name in files_below(store) if "/tar/" in name]


def test_what_is_pulled_to_be_unpacked_is_opened_once_and_not_kept(layout: Path, tmp_path: Path) -> None:
    opened_blobs: list[str] = []
    job = Job(progress=lambda event: opened_blobs.append(event.subject) if event.kind == "start" else None)
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one", for_unpack=True, job=job)
        assert _plain(tmp_path / "store")
        store.unpack(NAME, tmp_path / "tree", job=job)
        assert len(opened_blobs) == len(set(opened_blobs)) > 0
        assert not _plain(tmp_path / "store")
        assert files_below(tmp_path / "store/derived") == {}
        # and as often as one likes, though it takes longer
        store.unpack(NAME, tmp_path / "again", job=job)
        assert snapshot(tmp_path / "again") == snapshot(tmp_path / "tree")
        assert not _plain(tmp_path / "store")
        assert store.fsck().findings == ()


def test_what_is_ready_is_used_and_stays(layout: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one")
        before = files_below(tmp_path / "store/derived")
        store.unpack(NAME, tmp_path / "tree", job=Job(progress=events.append))
        assert not [event for event in events if event.kind == "start"]
        assert files_below(tmp_path / "store/derived") == before
        assert len(_plain(tmp_path / "store")) > 0


def test_an_image_pulled_to_be_unpacked_can_be_made_ready_later(layout: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one", for_unpack=True)
        store.unpack(NAME, tmp_path / "tree")
        store.pull(f"oci:{layout}:one")
        assert len(_plain(tmp_path / "store")) > 0
        assert store.fsck().findings == ()


def test_a_pull_that_fails_leaves_nothing_opened(tmp_path: Path) -> None:
    image = small_image()
    layout = write_layout(tmp_path / "layout", {"one": image})
    blob = layout / "blobs/sha256" / image.document.layers[-1].digest.encoded
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with opened(tmp_path / "store") as store:
        with pytest.raises(Mismatch):
            store.pull(f"oci:{layout}:one", for_unpack=True)
        assert not _plain(tmp_path / "store")


def test_two_unpackings_at_once_do_not_take_each_others_layers(layout: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one", for_unpack=True)
        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(store.unpack, NAME, tmp_path / f"tree{number}") for number in range(4)]
            assert len({each.result().bytes for each in done}) == 1
        assert not _plain(tmp_path / "store")


def test_a_second_pull_forgets_nothing_of_the_first(layout: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{layout}:one", for_unpack=True)
        once = _plain(tmp_path / "store")
        store.pull(f"oci:{layout}:one", for_unpack=True)
        assert len(_plain(tmp_path / "store")) == len(once) > 0
        store.unpack(NAME, tmp_path / "tree")
        assert not _plain(tmp_path / "store")


@contextmanager
def _stuck(store: Path) -> Iterator[Job]:
    """A job that, once it is at work, mounts something where it is, so that this cannot be removed."""
    held: list[Path] = []
    lock = threading.Lock()  # events come from several threads

    def hold(_event: Event) -> None:
        with lock:
            if not held:
                passages = [place for place in store.glob("sessions/*/*") if place.is_dir()]
                # that of an earlier one may be there still
                held.extend(place / "held" for place in passages if not (place / "held").exists())
                for place in held:
                    place.mkdir()
                    mount_memory(place)

    try:
        yield Job(progress=hold, workers=1)
        assert held
    finally:
        for place in held:
            unmount(place, lazy=True)


@pytest.mark.root
def test_what_went_wrong_is_told_and_not_that_its_rest_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = small_image()
    layout = write_layout(tmp_path / "layout", {"one": image})
    blob = layout / "blobs/sha256" / image.document.layers[-1].digest.encoded
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"x")
    caplog.set_level(logging.WARNING)
    with opened(tmp_path / "store") as store:
        with _stuck(tmp_path / "store") as job, pytest.raises(Mismatch):
            store.pull(f"oci:{layout}:one", for_unpack=True, job=job)
        assert "stays for now" in caplog.text
        blob.write_bytes(whole)
        store.pull(f"oci:{layout}:one", download_only=True)
        caplog.clear()
        kept = tmp_path / "store/blobs/sha256" / image.document.layers[-1].digest.encoded
        kept.chmod(0o600)
        kept.write_bytes(whole[:-1] + b"x")
        with _stuck(tmp_path / "store") as job, pytest.raises((Damaged, Mismatch)):
            store.unpack(NAME, tmp_path / "tree", job=job)
        assert "stays for now" in caplog.text
