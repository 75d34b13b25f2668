"""What a pull that was cut had finished already is kept for a day, like what it had not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orlop.errors import Unavailable
from orlop.job import Job
from orlop.store import Store
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.lying import Answer, Lying, serve_image
from tests.support.stores import opened


@pytest.fixture
def image() -> MadeImage:
    return make_image([make_layer({"a": os.urandom(3000)}), make_layer({"b": os.urandom(1000)})])


def _cut(store: Store, server: Lying, image: MadeImage) -> tuple[str, str]:
    """Paths of the layer that came and of the one that did not, of a pull that failed between them."""
    blobs = serve_image(server, image)
    came, failed = (f"/v2/app/blobs/{layer.digest}" for layer in image.document.layers)
    server.on(failed, Answer(503))
    with pytest.raises(Unavailable):
        store.pull(f"docker://{server.host}/app:1", job=Job(workers=1))  # the bigger one first
    server.on(failed, Answer(200, blobs[failed]))
    return came, failed


def test_GC10_what_a_cut_pull_had_finished_is_not_fetched_again_after_a_collection(
    tmp_path: Path, image: MadeImage
) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        came, failed = _cut(store, server, image)
        assert store.gc() == store.gc(dry_run=True)
        store.pull(f"docker://{server.host}/app:1")
        assert len(server.asked(came)) == 1
        assert len(server.asked(failed)) > 1
        # it ended well: from now on only the name keeps it
        store.untag(f"{server.host}/app:1")
        assert image.document.layers[0].digest in store.gc().removed
    assert os.listdir(tmp_path / "store/partial") == []


@pytest.mark.parametrize("how", ["old", "asked", "torn"])
def test_it_goes_after_a_day_or_when_asked(tmp_path: Path, image: MadeImage, how: str) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _cut(store, server, image)
        (left,) = (tmp_path / "store/partial").glob("pull-*")
        if how == "old":
            os.utime(left, (0, time.time() - 90_000))
        if how == "torn":  # by a power cut: it is not synced
            left.write_bytes(b"\0" * 70)
        assert store.gc(partials=how == "asked").removed == (image.document.layers[0].digest,)
        assert left.exists() == (how == "torn")


def test_an_image_that_is_removed_frees_its_bytes_at_once_whatever_was_cut(tmp_path: Path, image: MadeImage) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        blobs = serve_image(server, image)
        store.pull(f"docker://{server.host}/app:1")
        layer = image.document.layers[0].digest
        Path(store.blob(layer)[0]).unlink()
        server.on(f"/v2/app/blobs/{layer}", Answer(503))
        with pytest.raises(Unavailable):
            store.pull(f"docker://{server.host}/app:1")
        assert store.remove(f"{server.host}/app:1").removed
        assert not any(store._parts.blobs.digests())
        assert len(blobs) == 3
