"""Manifests of an index that were pulled and are gone: fsck and images say so, and gc touches nothing below them."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from orlop.catalog import names
from orlop.collect import Collect
from orlop.errors import Damaged, NotFound, Unsupported
from orlop.images import Images
from orlop.model.digest import Digest
from orlop.ports import Tagged
from orlop.store import Store
from tests.support.images import MadeImage, blob_name, make_image, make_index, make_layer, small_image, write_layout
from tests.support.stores import opened

NAME = "localhost/layout:x"
AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.fixture
def images(tmp_path: Path) -> dict[str, MadeImage]:
    images = {AMD: small_image(), ARM: make_image([make_layer({"arm": b"64"})], platform=ARM)}
    write_layout(tmp_path / "layout", {"x": make_index(images)})
    return images


def _pull(store: Store, tmp_path: Path, platform: str) -> None:
    store.pull(f"oci:{tmp_path}/layout:x", platform=platform)


def _lose(store: Store, digest: Digest) -> None:
    store.blob(digest)[0].unlink()


def _pulled(store: Path) -> list[str]:
    (entry,) = json.loads((store / "index.json").read_bytes())["manifests"]
    return str(entry["annotations"]["dev.orlop.pulled"]).split()


@pytest.mark.parametrize("platform", [AMD, "all"])
@pytest.mark.parametrize("rebuilt", [False, True])
def test_GC06_a_lost_platform_manifest_is_told_and_nothing_below_it_collected(
    tmp_path: Path, images: dict[str, MadeImage], platform: str, rebuilt: bool
) -> None:
    image = images[AMD]
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, platform)
        assert store.images()[0].complete
        _lose(store, image.digest)
        if rebuilt:
            (tmp_path / "store/catalog.db").unlink()
        for quick in (False, True):
            (finding,) = store.fsck(quick=quick, repair=True).findings
            assert (finding.kind, finding.subject) == ("missing", image.digest)
            assert NAME in finding.text
        assert not store.images()[0].complete
        with pytest.raises(Damaged, match=f"{image.digest} is missing"):
            store.gc()
        assert all(store.blob(digest)[1] for digest in image.blobs)
        _pull(store, tmp_path, AMD)
        assert store.images()[0].complete
        assert store.gc().removed == ()
        assert store.fsck().findings == ()
        assert store.unpack(NAME, tmp_path / "tree", platform=AMD).entries > 5


def test_a_name_whose_manifest_is_lost_can_be_removed_and_then_all_goes(
    tmp_path: Path, images: dict[str, MadeImage]
) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, AMD)
        _lose(store, images[AMD].digest)
        store.remove(NAME)
        store.gc()
        assert (store.df().blobs, store.df().derived_bytes) == (0, 0)


def test_what_was_not_pulled_of_an_index_is_not_missed(tmp_path: Path, images: dict[str, MadeImage]) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, ARM)
        assert _pulled(tmp_path / "store") == [images[ARM].digest]
        assert store.images()[0].complete
        assert store.fsck().findings == ()
        assert store.gc().removed == ()


def test_a_second_platform_adds_to_what_was_pulled(tmp_path: Path, images: dict[str, MadeImage]) -> None:
    with opened(tmp_path / "store") as store:
        for platform in (AMD, ARM):
            _pull(store, tmp_path, platform)
        assert _pulled(tmp_path / "store") == sorted(image.digest for image in images.values())
        _lose(store, images[AMD].digest)
        assert [finding.subject for finding in store.fsck().findings] == [images[AMD].digest]


def test_platforms_pulled_at_once_are_all_remembered(tmp_path: Path) -> None:
    platforms = [f"linux/arm/v{number}" for number in range(5, 9)] + [AMD, ARM, "linux/s390x", "linux/riscv64"]
    made = {each: make_image([make_layer({"a": each.encode()})], platform=each) for each in platforms}
    write_layout(tmp_path / "layout", {"x": make_index(made)})
    with opened(tmp_path / "store") as store:
        threads = [threading.Thread(target=_pull, args=(store, tmp_path, platform)) for platform in platforms]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _pulled(tmp_path / "store") == sorted(image.digest for image in made.values())


def test_another_name_for_an_index_remembers_the_same(tmp_path: Path, images: dict[str, MadeImage]) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, AMD)
        store.tag(NAME, "other:1")
        store.tag(str(store.digest(NAME)), "by-digest:1")
        store.untag(NAME)
        _lose(store, images[AMD].digest)
        texts = [finding.text for finding in store.fsck().findings]
        assert len(texts) == 2
        assert "library/by-digest:1" in texts[0]
        assert "library/other:1" in texts[1]
        assert [row.complete for row in store.images()] == [False, False]


def test_a_lost_nested_index_is_told(tmp_path: Path) -> None:
    image = small_image()
    inner = make_index({AMD: image})
    outer = make_index({AMD: inner})
    whole = dataclasses.replace(outer, documents=(inner.document, image.document))
    write_layout(tmp_path / "layout", {"x": whole})
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, AMD)
        _lose(store, inner.digest)
        assert [finding.subject for finding in store.fsck().findings] == [inner.digest]
        assert not store.images()[0].complete
        with pytest.raises(Damaged, match=inner.digest):
            store.gc()


def test_a_sparse_source_leaves_out_what_it_does_not_have(tmp_path: Path, images: dict[str, MadeImage]) -> None:
    (tmp_path / "layout" / blob_name(images[ARM].digest)).unlink()
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, "all")
        assert _pulled(tmp_path / "store") == [images[AMD].digest]
        assert store.images()[0].complete
        assert store.fsck().findings == ()
        with pytest.raises(NotFound):
            store.image(NAME, platform=ARM)
        _lose(store, images[AMD].digest)
        assert not store.images()[0].complete


def test_more_names_than_could_be_read_again_are_refused(
    tmp_path: Path, images: dict[str, MadeImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path, AMD)
        monkeypatch.setattr(names, "NAMES_BYTES", (tmp_path / "store/index.json").stat().st_size + 10)
        with pytest.raises(Unsupported, match="bytes of names"):
            store.tag(NAME, "other:1")
        assert store.names() == [NAME]
        store.untag(NAME)
        assert store.names() == []


def _two(place: Path) -> tuple[MadeImage, MadeImage]:
    images = small_image(), make_image([make_layer({"other": b"2"})])
    write_layout(place / "layout", {"x": images[0], "y": images[1]})
    return images


def test_a_name_is_removed_beside_an_image_that_is_lost(tmp_path: Path) -> None:
    _, other = _two(tmp_path)
    with opened(tmp_path / "store") as store:
        for tag in "xy":
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        _lose(store, other.digest)
        collected = store.remove(NAME)
        assert (collected.removed, collected.bytes) == ((), 0)
        assert collected.stopped.startswith(f"gc: localhost/layout:y: manifest {other.digest} is missing; ")
        assert store.names() == ["localhost/layout:y"]
        assert store.remove("localhost/layout:y").stopped == ""
        store.gc()
        assert store.df().blobs == 0


def test_a_name_that_moves_while_it_is_removed_takes_its_new_image_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _two(tmp_path)
    with opened(tmp_path / "store") as store:
        for tag in "xy":
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        below, seen = Collect.below, list[str]()

        def moving(self: Collect, root: Digest) -> set[Digest]:
            found = below(self, root)
            if not seen:
                store.untag(NAME)
                store.tag("localhost/layout:y", NAME)
                store.untag("localhost/layout:y")
            seen.append(root)
            return found

        monkeypatch.setattr(Collect, "below", moving)
        assert second.digest in store.remove(NAME).removed
        assert seen == [first.digest, second.digest]


def test_a_name_whose_image_another_collection_takes_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two(tmp_path)
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:x")
        untag = Images.untag

        def untagging(self: Images, text: str) -> Tagged:
            tagged = untag(self, text)
            store.gc()
            return tagged

        monkeypatch.setattr(Images, "untag", untagging)
        assert store.remove(NAME).stopped == ""
        assert (store.names(), store.df().blobs) == ([], 0)


def test_a_name_whose_manifest_is_damaged_can_be_removed(tmp_path: Path) -> None:
    image, _ = _two(tmp_path)
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:x")
        path = store.blob(image.digest)[0]
        path.chmod(0o600)
        path.write_bytes(bytes(path.stat().st_size))
        assert store.remove(NAME).removed == (image.digest,)
        store.gc()
        assert store.df().blobs == 0
