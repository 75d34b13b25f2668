"""What a pull that was cut had finished already is kept for a day, like what it had not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orlop.errors import Mismatch, Unavailable
from orlop.job import Event, Job
from orlop.store import Store
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.lying import Answer, Lying, blob, serve_image
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


def _age(folder: Path, pattern: str = "*") -> None:
    """Make what cut pulls left be of the day before yesterday."""
    files = [path for path in (folder / "store/partial").glob(f"**/{pattern}") if path.is_file()]
    assert files
    for path in files:
        os.utime(path, (0, time.time() - 90_000))


def test_GC10_the_day_begins_again_when_a_pull_is_taken_up(tmp_path: Path, image: MadeImage) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _cut(store, server, image)
        _age(tmp_path)
        came, _ = _cut(store, server, image)
        _age(tmp_path, "extents")
        assert store.gc().removed == ()
        assert len(server.asked(came)) == 1


def test_GC10_the_day_begins_again_with_each_layer_that_ends(tmp_path: Path, image: MadeImage) -> None:
    first, second = (layer.digest for layer in image.document.layers)
    aged: list[str] = []

    def age(event: Event) -> None:
        if event.kind == "start" and event.subject == first:
            _age(tmp_path, "pull-*")
            aged.append(event.kind)

    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        serve_image(server, image)
        server.on(f"/v2/app/blobs/{second}", Answer(503))
        with pytest.raises(Unavailable):
            store.pull(f"docker://{server.host}/app:1", job=Job(workers=1, progress=age))
        _age(tmp_path, "extents")
        assert store.gc().removed == ()
        assert aged == ["start"]


def test_GC10_the_day_begins_again_with_each_piece_of_a_layer(tmp_path: Path, image: MadeImage) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _cut(store, server, image)
        _age(tmp_path, "pull-*")
        assert store.gc().removed == ()
        _age(tmp_path)
        assert store.gc().removed == (image.document.layers[0].digest,)


def test_what_a_refused_image_had_finished_is_not_kept(tmp_path: Path, image: MadeImage) -> None:
    wrong = image.document.layers[1].digest
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        serve_image(server, image)
        server.on(f"/v2/app/blobs/{wrong}", blob(os.urandom(image.document.layers[1].size)))
        with pytest.raises(Mismatch):
            store.pull(f"docker://{server.host}/app:1", job=Job(workers=1))
        first = image.document.layers[0].digest
        assert len(server.asked(f"/v2/app/blobs/{first}")) == 1
        assert list((tmp_path / "store/partial").glob("pull-*")) == []
        collected = store.gc()
        assert (collected.removed, collected.kept) == ((first,), 0)


def test_GC10_a_collection_says_what_cut_pulls_keep(tmp_path: Path, image: MadeImage) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _cut(store, server, image)
        collected = store.gc()
        assert collected.bytes == 0
        assert collected.kept >= image.document.layers[0].size
        asked = store.gc(partials=True, dry_run=True)
        assert (asked.bytes, asked.kept) == (collected.kept, 0)
        usage = store.df()
        assert usage.partials == 1
        assert store.gc(partials=True).bytes == asked.bytes
        assert (store.df().partials, store.df().partial_bytes) == (0, 0)


@pytest.mark.parametrize("how", ["old", "asked", "torn"])
def test_it_goes_after_a_day_or_when_asked(tmp_path: Path, image: MadeImage, how: str) -> None:
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _cut(store, server, image)
        (left,) = (tmp_path / "store/partial").glob("pull-*")
        if how == "old":
            _age(tmp_path)
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
