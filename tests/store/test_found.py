"""What a reader found by breaking things: each was true once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orlop.blobs.partial import Partials
from orlop.errors import Damaged, Error, NoSpace, NotFound
from orlop.job import Event, Job
from orlop.model.digest import Digest
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.images import make_image, make_layer, small_image, write_layout
from tests.support.lying import Answer, Lying, Seen, blob
from tests.support.stores import opened, parts
from tests.support.throttled import throttled


def test_ST10_bytes_that_were_kept_are_never_overwritten(tmp_path: Path) -> None:
    content = os.urandom(10_000)
    with parts(tmp_path / "store") as (disk, _, _session):
        with Partials(disk).open(Digest.of(content), len(content)) as partial:
            partial.write(0, content[:4000])
            partial.write(6000, content[6000:7000])
            partial.write(0, bytes(10_000))  # another idea of the whole
            reader = partial.follow(Job())
            found = b"".join(iter(lambda: reader.read(1 << 20), b""))
        assert found == content[:4000] + bytes(2000) + content[6000:7000] + bytes(3000)
        data = tmp_path / "store/partial" / f"sha256-{Digest.of(content).encoded}" / "data"
        assert data.read_bytes() == found
        assert Partials(disk).kept(Digest.of(content)) == 10_000


def test_NF02_a_200_with_other_bytes_after_a_cut_is_never_stored(tmp_path: Path) -> None:
    image = make_image([make_layer({"file": os.urandom(3 << 20)})])
    layer = image.document.layers[0]
    content = image.blobs[layer.digest]
    config = image.document.config
    assert config is not None
    flipped = bytes([content[0], content[1], content[2] ^ 1]) + content[3:]

    def again(request: Seen) -> Answer:
        time.sleep(0.5)  # until the follower has hashed what came before
        return Answer(200, flipped)

    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        server.on(
            "/v2/app/manifests/1", Answer(200, image.document.raw, (("Content-Type", image.document.media_type),))
        )
        server.on(f"/v2/app/blobs/{config.digest}", blob(image.config))
        server.on(f"/v2/app/blobs/{layer.digest}", Answer(200, content, cut=2 << 20), again)
        try:
            store.pull(f"docker://{server.host}/app:1")
        except Error:
            assert store.names() == []
        # either refused, or put together from the good bytes: never the bad ones under the good name
        assert store.fsck().findings == ()


@pytest.mark.root
@pytest.mark.parametrize("driver", ["erofs", "overlay", "directory"])
def test_first_mounts_at_once_leave_each_other_alone(tmp_path: Path, driver: str) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    place = tmp_path / "store"
    with opened(place) as store:
        store.pull(f"oci:{tmp_path}/layout:one")
    words = [sys.executable, "-m", "orlop", "-q", "--store", str(place), "mount", "--driver", driver]
    targets = [tmp_path / f"mnt{number}" for number in range(6)]
    processes = [subprocess.Popen([*words, "localhost/layout:one", str(target)]) for target in targets]
    assert [process.wait() for process in processes] == [0] * 6
    try:
        assert [(target / "etc/motd").read_text() for target in targets] == ["changed\n"] * 6
    finally:
        with opened(place) as store:
            assert len(store.umount("localhost/layout:one")) == 6


@pytest.mark.root
def test_a_mount_through_a_link_is_seen_kept_and_undone(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_layout(tmp_path / "layout", {"one": small_image()})
    with opened(tmp_path / "link/store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        mounted = store.mount("localhost/layout:one", tmp_path / "link/mnt", driver="directory")
        assert mounted.target == tmp_path / "real/mnt"
        assert [each.target for each in store.mounts()] == [mounted.target]
        store.remove("localhost/layout:one")
        store.gc(derived=True)
        assert (tmp_path / "link/mnt/etc/motd").read_text() == "changed\n"
        assert len(store.umount(str(tmp_path / "link/mnt"))) == 1
        assert store.mounts() == []


def test_a_pull_ends_when_progress_cannot_be_told(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": make_image([make_layer({"file": os.urandom(8 << 20)})])})

    def broken(event: Event) -> None:
        if event.kind == "progress":
            raise BrokenPipeError

    with opened(tmp_path / "store") as store:
        failures: list[BaseException] = []

        def pull() -> None:
            try:
                store.pull(f"oci:{tmp_path}/layout:one", job=Job(progress=broken))
            except BrokenPipeError as error:
                failures.append(error)

        thread = threading.Thread(target=pull, daemon=True)
        thread.start()
        thread.join(timeout=20)
        assert not thread.is_alive(), "it waits for ever"
        assert len(failures) == 1
        assert store.pull(f"oci:{tmp_path}/layout:one").digest


def test_CR06_credentials_on_the_command_line_are_for_one_host(tmp_path: Path) -> None:
    image = small_image()
    with throttled({"1": image}) as one, throttled({"1": image}) as two:
        words = [sys.executable, "-m", "orlop", "--store", str(tmp_path / "store"), "pull", "--creds", "user:s3cret"]
        names = [f"docker://{host}/app:1" for host in (one.host, two.host)]
        done = subprocess.run([*words, *names], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "one registry" in done.stderr
        assert one.asked == two.asked == []


def test_odd_names_and_stray_files_stop_nothing(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    place = tmp_path / "store"
    with opened(place) as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        store.tag("localhost/layout:one", "docker.io/a.b_c/d:1")
    for name in ("derived/unsynced/foo", "derived/tar/foo", "partial/foo"):
        (place / name).write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "orlop", "--store", str(place), "images"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "a.b_c/d" in done.stdout
    with opened(place) as store:
        assert store.gc().removed == ()
        assert store.fsck().findings == ()


def test_GC08_nothing_is_collected_below_a_manifest_that_is_missing(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        store.blob(image.digest)[0].unlink()
        with pytest.raises(Damaged, match="missing"):
            store.gc()
        assert all(store.blob(digest)[1] for digest in image.blobs)
        store.pull(f"oci:{tmp_path}/layout:one")
        assert store.gc().removed == ()


def test_GC04_what_was_collected_is_not_known_any_more(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image, "two": small_image(word="two")})
    with opened(tmp_path / "store") as store:
        for tag in ("one", "two"):
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        store.untag("localhost/layout:one")
        assert store.image(image.digest.encoded[:8]).manifest.digest == image.digest
        store.gc()
        catalog = store._parts.catalog
        assert (catalog.find(image.digest), catalog.starting_with(image.digest.encoded[:8])) == (None, [])
        with pytest.raises(NotFound, match=f"^{image.digest}: not in the store"):
            store.image(image.digest)
        assert store.image("localhost/layout:two").name


@pytest.mark.root
def test_ST03_on_a_full_disk_the_hint_says_what_helps_and_it_does(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_memory(disk, "size=1m")
    try:
        with opened(disk / "store") as store:
            store.pull(f"oci:{tmp_path}/layout:one")
            with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
            for take_away in (store.untag, store.remove):
                with pytest.raises(NoSpace) as caught:
                    take_away("localhost/layout:one")
                assert "orlop gc --derived" in caught.value.hint
            assert store.gc(derived=True).derived > 0
            store.remove("localhost/layout:one")
            assert (store.names(), store.df().blobs) == ([], 0)
    finally:
        unmount(disk, lazy=True)


@pytest.mark.root
def test_ST03_a_layer_that_does_not_fit_when_plain_says_so_and_how_to_keep_it(tmp_path: Path) -> None:
    image = make_image([make_layer({"zeros": bytes(8 << 20)})])
    write_layout(tmp_path / "layout", {"one": image})
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_memory(disk, "size=2m")
    try:
        with opened(disk / "store") as store:
            with pytest.raises(NoSpace) as caught:
                store.pull(f"oci:{tmp_path}/layout:one")
            told = re.search(r"layer (\S+) from .*: its plain tar does not fit, after (\d+) bytes", str(caught.value))
            assert told is not None
            assert told[1] == image.document.layers[0].digest
            assert 0 < int(told[2]) < 2 << 20
            assert "--download-only" in caught.value.hint
            store.pull(f"oci:{tmp_path}/layout:one", download_only=True)
            with pytest.raises(NoSpace, match="does not fit"):
                store.pull(f"oci:{tmp_path}/layout:one")
            assert store.fsck().findings == ()
    finally:
        unmount(disk, lazy=True)


def test_ST19_removals_at_once_wait_for_each_other(tmp_path: Path) -> None:
    images = {f"t{number}": small_image(word=f"w{number}") for number in range(6)}
    write_layout(tmp_path / "layout", images)
    place = tmp_path / "store"
    with opened(place) as store:
        for tag in images:
            store.pull(f"oci:{tmp_path}/layout:{tag}")
    words = [sys.executable, "-m", "orlop", "-q", "--store", str(place), "rm"]
    processes = [subprocess.Popen([*words, f"localhost/layout:{tag}"], stdout=subprocess.DEVNULL) for tag in images]
    assert [process.wait() for process in processes] == [0] * 6
    with opened(place) as store:
        assert (store.names(), store.df().blobs) == ([], 0)


@pytest.mark.parametrize("platform", [None, "all"])
def test_a_diff_id_of_another_layer_in_the_store_is_not_believed(tmp_path: Path, platform: str | None) -> None:
    mine, other = make_layer({"a": b"layer A"}), make_layer({"b": b"layer B"})
    lie = make_image([mine], config={"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(other))]}})
    write_layout(tmp_path / "layout", {"honest": make_image([other]), "lie": lie})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:honest")
        with pytest.raises(Error, match="the image config says"):
            store.pull(f"oci:{tmp_path}/layout:lie", platform=platform)
            store.unpack("localhost/layout:lie", tmp_path / "tree")
        assert not (tmp_path / "tree").exists()
        assert store.unpack("localhost/layout:honest", tmp_path / "good").entries == 1
