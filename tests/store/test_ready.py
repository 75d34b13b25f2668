"""A pull makes ready what a mount needs, and is a pull all the same where nothing can be mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.job import Event, Job, beside
from orlop.model.tree import Kind
from tests.support.images import make_image, small_image, write_layout
from tests.support.stores import files_below, opened
from tests.support.tars import entry, tar


@pytest.mark.root
def test_the_mount_of_what_was_pulled_makes_nothing_new(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        before = files_below(tmp_path / "store/derived")
        assert [name for name in before if name.startswith("erofs/")]
        mounted = store.mount("localhost/layout:one")
        try:
            assert mounted.driver == "erofs"
            assert files_below(tmp_path / "store/derived") == before
        finally:
            store.umount(str(mounted.target))


@pytest.mark.root
def test_an_image_that_cannot_be_mounted_is_pulled_and_said_so(tmp_path: Path) -> None:
    image = make_image([tar(entry("link", Kind.HARDLINK, link="nothing"))])
    write_layout(tmp_path / "layout", {"one": image})
    events: list[Event] = []
    with opened(tmp_path / "store") as store:
        assert store.pull(f"oci:{tmp_path}/layout:one", job=Job(progress=events.append)).digest == image.digest
        assert [event for event in events if event.kind == "note" and "not made ready to mount" in event.text]
        assert store.fsck().findings == ()


def test_what_runs_beside_fails_after_the_body_and_stops_with_it() -> None:
    done: list[str] = []

    def fails(_job: Job) -> None:
        raise ValueError("beside")

    with pytest.raises(ValueError, match="beside"), beside(Job(), fails):
        done.append("body")
    assert done == ["body"]

    def waits(job: Job) -> None:
        job.wait(60)

    with pytest.raises(KeyError), beside(Job(), waits):
        raise KeyError
