"""Images whose digests are sha512, in part or throughout (OCI image-spec 1.1, descriptor.md, registered algorithms)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from orlop.errors import NotFound, Unsafe, Usage
from orlop.model.digest import Digest
from orlop.model.document import Document
from tests.support.images import MadeImage, blob_name, make_image, make_index, make_layer, small_image, write_layout
from tests.support.serving import serve_layout
from tests.support.stores import files_below, opened

NAME = "localhost/layout:x"


def _renamed(raw: bytes, contents: Mapping[Digest, bytes]) -> bytes:
    """A document, or a config, that calls some of its content by sha512."""
    for digest, content in contents.items():
        raw = raw.replace(str(digest).encode(), str(Digest.of(content, "sha512")).encode())
    return raw


def _by_sha512(image: MadeImage) -> MadeImage:
    """All that an image has below its manifest, diff IDs included; and the manifest goes by sha512 too."""
    config = _renamed(image.config, {Digest.of(layer): layer for layer in image.layers})
    raw = _renamed(image.document.raw, {digest: blob for digest, blob in image.blobs.items() if blob != image.config})
    fields = json.loads(raw)
    fields["config"] |= {"digest": str(Digest.of(config, "sha512")), "size": len(config)}
    packed = [blob for blob in image.blobs.values() if blob != image.config]
    blobs = {Digest.of(blob, "sha512"): blob for blob in (config, *packed)}
    document = Document(json.dumps(fields).encode(), image.document.media_type, "sha512")
    return dataclasses.replace(image, document=document, blobs=blobs, config=config)


def test_an_index_over_sha512_manifests_is_whole_usable_and_kept(tmp_path: Path) -> None:
    image = small_image()
    child = dataclasses.replace(image, document=image.document.under(Digest.of(b"", "sha512")))
    other = make_image([make_layer({"a": b"b"})], platform="linux/arm64")
    write_layout(tmp_path / "layout", {"x": make_index({"linux/amd64": child, "linux/arm64": other})})
    with opened(tmp_path / "store") as store:
        pulled = store.pull(f"oci:{tmp_path}/layout:x")
        assert pulled.manifests == (child.digest,)
        assert store.image(NAME).manifest.digest == child.digest
        assert store.gc().removed == ()
        assert store.fsck().findings == ()
        assert store.unpack(NAME, tmp_path / "tree").entries > 5
        (row,) = store.images()
        assert (row.platforms, row.complete) == (("linux/amd64",), True)
    assert blob_name(child.digest) in files_below(tmp_path / "store")
    assert blob_name(image.digest) not in files_below(tmp_path / "store")


@pytest.mark.root
def test_an_image_by_sha512_throughout_is_pulled_mounted_collected_and_pulled_again(tmp_path: Path) -> None:
    image = _by_sha512(small_image())
    write_layout(tmp_path / "layout", {"x": image})
    place = tmp_path / "store"
    with opened(place) as store:
        assert store.pull(f"oci:{tmp_path}/layout:x").digest == image.digest
        assert store.image(NAME).config.diff_ids == tuple(Digest.of(layer, "sha512") for layer in image.layers)
        assert store.gc().removed == ()
        assert store.fsck().findings == ()
        for driver in ("erofs", "overlay", "directory"):
            mounted = store.mount(NAME, driver=driver)
            try:
                assert (mounted.target / "etc/motd").read_text() == "changed\n"
            finally:
                store.umount(str(image.digest))
        before = files_below(place / "derived")
        store.pull(f"oci:{tmp_path}/layout:x")
        assert files_below(place / "derived") == before
    (place / "catalog.db").unlink()
    with opened(place) as store:
        assert [row.digest for row in store.images()] == [image.digest]
        store.remove(NAME)
        assert (store.df().blobs, store.df().derived_bytes) == (0, 0)


def test_an_image_is_found_by_its_sha512_and_the_first_digits_of_it(tmp_path: Path) -> None:
    image, other = _by_sha512(small_image()), small_image(word="other")
    write_layout(tmp_path / "layout", {"x": image, "y": other})
    with opened(tmp_path / "store") as store:
        for tag in "xy":
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        digest = image.digest
        for text in (str(digest), digest.encoded, f"sha512:{digest.encoded[:8]}", digest.encoded[:12]):
            assert store.image(text).manifest.digest == digest
        assert store.image(f"sha256:{other.digest.encoded[:8]}").manifest.digest == other.digest
        with pytest.raises(NotFound):
            store.image(f"sha256:{digest.encoded[:8]}")
        for text in ("sha512:12345", f"sha512:{digest.encoded}0", f"sha256:{other.digest.encoded}0"):
            with pytest.raises(Usage, match="is no digest"):
                store.image(text)


def test_a_manifest_asked_for_by_sha512_is_kept_and_served_as_that(tmp_path: Path) -> None:
    image = _by_sha512(small_image())
    layout = write_layout(tmp_path / "layout", {"x": image})
    with (
        serve_layout(layout, repository="app") as served,
        opened(tmp_path / "store", insecure=[served.address]) as store,
    ):
        for reference in (f"{served.address}/app@{image.digest}", f"{served.address}/app:x"):
            pulled = store.pull(f"docker://{reference}")
            assert store.image(pulled.name).manifest.raw == image.document.raw
        assert store.image(f"{served.address}/app@{image.digest}").manifest.digest == image.digest
        assert store.fsck().findings == ()


def test_a_plain_layer_is_checked_against_a_sha512_diff_id(tmp_path: Path) -> None:
    layer = make_layer({"a": b"b"})
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(b"something else", "sha512"))]}
    write_layout(tmp_path / "layout", {"x": make_image([layer], config={"rootfs": rootfs})})
    with opened(tmp_path / "store") as store:
        with pytest.raises(Unsafe, match=r"digest sha512:[0-9a-f]+, the image config says sha512:"):
            store.pull(f"oci:{tmp_path}/layout:x")
        assert store.names() == []
