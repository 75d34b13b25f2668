"""fsck: finds every fault, changes nothing, and with repair makes way for the next pull."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from orlop.errors import Cancelled, Damaged
from orlop.job import Job
from orlop.model.digest import Digest
from orlop.store import Store
from orlop.transfer import Pulled
from tests.support.images import MadeImage, make_image, make_layer, small_image, write_layout
from tests.support.stores import files_below, opened
from tests.support.throttled import throttled


@pytest.fixture
def image(tmp_path: Path) -> MadeImage:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    return image


def _flip(path: Path, place: int) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    path.chmod(mode)


def _pull(store: Store, tmp_path: Path) -> Pulled:
    return store.pull(f"oci:{tmp_path}/layout:one")


@pytest.mark.parametrize("fault", ["flip", "truncate", "extend"])
def test_ST02_every_damaged_file_is_found_put_aside_and_healed_by_the_next_pull(
    tmp_path: Path, image: MadeImage, fault: str
) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        for digest in [image.digest, *image.blobs]:
            path, size = store.blob(digest)
            if fault == "flip":
                _flip(path, size // 2)
            else:
                os.truncate(path, size - 1 if fault == "truncate" else size + 1)
            before = files_below(tmp_path / "store")
            found = store.fsck().findings
            assert digest in {finding.subject for finding in found if finding.kind == "damaged"}
            assert not any(finding.mended for finding in found)
            assert files_below(tmp_path / "store") == before
            mended = store.fsck(repair=True).findings
            assert {finding.subject for finding in mended if finding.mended} == {digest}
            _pull(store, tmp_path)
            assert store.fsck().findings == ()
            assert store.document("localhost/layout:one").raw == image.document.raw


def test_damaged_derived_files_are_found_and_made_again(tmp_path: Path, image: MadeImage) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        for kind in ("tar", "index"):
            for diff_id in store.image("localhost/layout:one").config.diff_ids:
                _flip(tmp_path / f"store/derived/{kind}/sha256-{diff_id.encoded}", 100)
        assert [finding.kind for finding in store.fsck().findings] == ["derived"] * 4
        assert all(finding.mended for finding in store.fsck(repair=True).findings)
        assert store.fsck().findings == ()
        with open(tmp_path / "out.tar", "wb") as out:
            store.export("localhost/layout:one", out)
        assert b"changed\n" in (tmp_path / "out.tar").read_bytes()


def test_strays_missing_blobs_and_loose_modes_are_named(tmp_path: Path, image: MadeImage) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        (tmp_path / "store/blobs/sha256/README").write_text("x")
        layer = image.document.layers[0].digest
        store.blob(layer)[0].unlink()
        store.blob(image.digest)[0].chmod(0o644)
        kinds = {finding.kind: finding.subject for finding in store.fsck(quick=True).findings}
        assert kinds == {"stray": "blobs/sha256/README", "missing": layer, "mode": image.digest}
        store.fsck(repair=True)
        assert {finding.kind for finding in store.fsck().findings} == {"stray", "missing"}


def test_names_that_cannot_be_read_are_told_and_make_no_garbage(tmp_path: Path, image: MadeImage) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        index = tmp_path / "store/index.json"
        index.write_bytes(index.read_bytes()[:-10])
        for repair in (False, True):
            (finding,) = store.fsck(repair=repair).findings
            assert (finding.kind, finding.subject, finding.mended) == ("name", "index.json", False)
        with pytest.raises(Damaged):
            store.gc()
        index.unlink()
        pulled = _pull(store, tmp_path)
        assert store.gc().removed == ()
        assert pulled.present == sum(layer.size for layer in image.document.layers)
        assert store.fsck().findings == ()


def test_half_done_downloads_go_when_asked_unless_somebody_goes_on_with_them(tmp_path: Path) -> None:
    image = make_image([make_layer({"noise": os.urandom(3 << 20)})])
    layer = image.document.layers[0]
    with throttled({"1": image}, rate=1e6) as registry, opened(tmp_path / "store", insecure=[registry.host]) as store:
        job = Job()

        def pull() -> None:
            with pytest.raises(Cancelled):
                store.pull(f"docker://{registry.host}/app:1", job=job)

        thread = threading.Thread(target=pull)
        thread.start()
        while store.df().partial_bytes == 0:
            time.sleep(0.02)
        assert store.gc(partials=True).partials == 0
        job.stop()
        thread.join()
        assert store.gc().partials == 0
        assert store.gc(partials=True, dry_run=True).partials == 1
        assert store.gc(partials=True).partials == 1
        assert store.df().partial_bytes == 0
        assert store.pull(f"docker://{registry.host}/app:1").fetched > layer.size


def test_what_can_be_made_again_is_freed_when_asked(tmp_path: Path, image: MadeImage) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        assert store.gc().derived == 0
        assert store.gc(derived=True, dry_run=True).derived == 5
        assert store.gc(derived=True).derived == 5
        assert store.df().derived_bytes == 0
        assert store.gc(derived=True).removed == ()
        assert store.unpack("localhost/layout:one", tmp_path / "tree", job=Job()).entries > 5


@pytest.mark.root
def test_what_a_mount_stands_on_is_kept_and_goes_by_any_name(tmp_path: Path, image: MadeImage) -> None:
    with opened(tmp_path / "store") as store:
        _pull(store, tmp_path)
        mounted = store.mount("localhost/layout:one")
        assert store.gc(derived=True).derived == 0
        store.remove("localhost/layout:one")
        assert (mounted.target / "etc/motd").read_text() == "changed\n"
        assert [each.target for each in store.umount(image.digest.encoded[:8])] == [mounted.target]
        assert store.gc(derived=True).derived > 0
        assert store.mounts() == []
        assert Digest(image.digest) not in store.gc().removed
