"""Tagging, untagging, removing, collecting."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from orlop.blobs.partial import Partials
from orlop.errors import Damaged, NotFound, Usage
from orlop.job import Event, Job
from orlop.model.digest import Digest
from tests.support.images import make_image, make_index, make_layer, small_image, write_layout
from tests.support.stores import opened, parts

SHARED = make_layer({"shared": b"base" * 1000})


def test_names_come_and_go(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        assert store.tag("localhost/layout:one", "debian:12") == image.digest
        assert store.names() == ["docker.io/library/debian:12", "localhost/layout:one"]
        assert store.image("debian:12").name == "docker.io/library/debian:12"
        with pytest.raises(NotFound, match="did you mean debian:12"):
            store.image("debain:12")
        with pytest.raises(NotFound, match="orlop pull"):
            store.image("quite/different:1")
        with pytest.raises(Usage, match="digest"):
            store.tag("debian:12", f"debian@{image.digest}")
        assert store.untag("debian:12") == image.digest
        with pytest.raises(NotFound):
            store.untag("debian:12")
        with pytest.raises(Usage, match="expected a name"):
            store.untag(image.digest)


def test_removing_keeps_what_others_need(tmp_path: Path) -> None:
    one = make_image([SHARED, make_layer({"one": b"1"})])
    two = make_image([SHARED, make_layer({"two": b"2"})])
    write_layout(tmp_path / "layout", {"one": one, "two": two})
    with opened(tmp_path / "store") as store:
        for tag in ("one", "two"):
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        removed = store.remove("localhost/layout:one").removed
        assert set(removed) == {one.digest, *one.blobs} - set(two.blobs)
        assert store.fsck().findings == ()
        assert store.pull(f"oci:{tmp_path}/layout:two").fetched < 3000  # its documents only
        store.remove("localhost/layout:two")
        usage = store.df()
        assert (usage.blobs, usage.derived_bytes) == (0, 0)


def test_GC06_everything_that_a_name_reaches_is_kept(tmp_path: Path) -> None:
    images = {"linux/amd64": small_image(), "linux/arm64": make_image([SHARED], platform="linux/arm64")}
    write_layout(tmp_path / "layout", {"all": make_index(images), "gone": small_image(word="gone")})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:all", platform="all")
        store.pull(f"oci:{tmp_path}/layout:gone")
        store.untag("localhost/layout:gone")
        planned = store.gc(dry_run=True)
        assert len(planned.removed) == 4
        assert store.gc().removed == planned.removed
        assert store.gc().removed == ()
        assert store.fsck().findings == ()
        assert str(store.image("localhost/layout:all", platform="linux/arm64").platform) == "linux/arm64/v8"


def test_GC03_what_a_running_pull_relies_on_is_kept(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        store.untag("localhost/layout:one")
    with parts(tmp_path / "store") as (_, _, session), opened(tmp_path / "store") as store:
        layer = image.document.layers[0].digest
        with session.lease() as lease:
            lease.rely_on([layer])
            assert layer not in store.gc().removed
            assert store.blob(layer)[1] > 0
        assert store.gc().removed == (layer,)


def test_GC08_nothing_is_collected_below_a_damaged_manifest(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        path, _ = store.blob(image.digest)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"layers", b"lawyer"))
        with pytest.raises(Damaged, match="fsck"):
            store.gc()
        assert all(store.blob(digest)[1] for digest in image.blobs)
        assert {finding.kind for finding in store.fsck().findings} >= {"damaged", "name"}


def test_GC01_collections_beside_pulls_never_harm_them(tmp_path: Path) -> None:
    images = {f"t{number}": make_image([SHARED, make_layer({f"{number}": b"x"})]) for number in range(4)}
    write_layout(tmp_path / "layout", images)
    failures: list[BaseException] = []
    done = threading.Event()

    def collect() -> None:
        with opened(tmp_path / "store") as mine:
            while not done.is_set():
                mine.gc()

    collector = threading.Thread(target=collect)
    with opened(tmp_path / "store") as store:
        collector.start()
        for _ in range(6):
            for tag in images:
                # each pull in a store of its own, so that its lease ends with it
                with opened(tmp_path / "store") as mine:
                    mine.pull(f"oci:{tmp_path}/layout:{tag}")
                    failures.extend(
                        AssertionError(f"{digest} lost") for digest in images[tag].blobs if not mine.blob(digest)[1]
                    )
                store.untag(f"localhost/layout:{tag}")
        done.set()
        collector.join()
        store.pull(f"oci:{tmp_path}/layout:t1")
        assert store.fsck().findings == ()
    assert failures == []


def test_a_digest_prefix_finds_its_document(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        assert store.digest(image.digest.short) == image.digest
        assert store.digest(f"sha256:{image.digest.encoded}") == image.digest
        with pytest.raises(NotFound):
            store.digest(Digest.of(b"nothing").encoded)


def test_GC03_layers_being_made_ready_are_not_taken_away(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one", download_only=True)
    removed: list[Digest] = []

    def collect(event: Event) -> None:
        if event.kind == "start" and not removed:  # a layer is about to be opened: now its last name goes
            with opened(tmp_path / "store") as other:
                other.untag("localhost/layout:one")
                removed.extend(other.gc(derived=True).removed)

    with opened(tmp_path / "store") as store:
        store.unpack("localhost/layout:one", tmp_path / "tree", job=Job(progress=collect, workers=1))
    assert not set(removed) & {layer.digest for layer in image.document.layers}
    assert removed  # the manifest and the config had been read already
    assert (tmp_path / "tree/etc/motd").read_text() == "changed\n"


def test_GC10_a_half_done_download_is_kept_for_a_day(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session):
        for content in (b"young" * 100, b"old" * 100):
            with Partials(disk).open(Digest.of(content), len(content)) as partial:
                partial.write(0, content[:100])
    old = tmp_path / f"store/partial/sha256-{Digest.of(b'old' * 100).encoded}/extents"
    os.utime(old, (0, time.time() - 90_000))
    with opened(tmp_path / "store") as store:
        assert store.gc().partials == 1
        assert store.gc().partials == 0
        assert store.df().partial_bytes > 0
