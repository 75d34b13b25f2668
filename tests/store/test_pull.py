"""Pulls from files: what is kept, what is refused, what is healed."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from orlop import plain
from orlop.errors import Cancelled, Error, Invalid, Mismatch, NotFound, Unsafe
from orlop.job import Event, Job
from orlop.model.digest import Digest
from tests.support.images import (
    MadeImage,
    blob_name,
    compress,
    make_image,
    make_index,
    make_layer,
    small_image,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from tests.support.stores import files_below, opened


def _names(path: Path) -> set[str]:
    return set(files_below(path))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("docker", [False, True])
def test_an_image_is_kept_byte_for_byte(tmp_path: Path, compression: str, docker: bool) -> None:
    image = small_image(compression, docker=docker)  # type: ignore[arg-type]
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        pulled = store.pull(f"oci:{tmp_path}/layout:one")
        assert pulled.digest == image.digest
        assert store.document("localhost/layout:one").raw == image.document.raw
        for digest, content in image.blobs.items():
            path, size = store.blob(digest)
            assert (path.read_bytes(), size, path.stat().st_mode & 0o777) == (content, len(content), 0o444)
        again = store.pull(f"oci:{tmp_path}/layout:one")
        assert again.present == sum(layer.size for layer in image.document.layers)
        assert store.fsck().findings == ()
    assert not any(name.startswith(("sessions", "partial")) for name in _names(tmp_path / "store"))


def test_every_file_form_gives_the_same_image(tmp_path: Path) -> None:
    image = small_image("none", docker=True)
    write_layout(tmp_path / "layout", {"one": image})
    write_oci_archive(tmp_path / "image.tar", {"one": image})
    write_docker_archive(tmp_path / "saved.tar", {"host.example/team/app:1": image})
    with opened(tmp_path / "store") as store:
        configs = {
            store.image(store.pull(reference).name).config.raw
            for reference in (
                f"oci:{tmp_path}/layout:one",
                f"oci-archive:{tmp_path}/image.tar:one",
                f"docker-archive:{tmp_path}/saved.tar:host.example/team/app:1",
            )
        }
        assert configs == {image.config}
        assert store.names() == ["host.example/team/app:1", "localhost/image:one", "localhost/layout:one"]


def test_a_platform_is_chosen_and_the_index_kept(tmp_path: Path) -> None:
    images = {
        "linux/amd64": small_image(word="amd"),
        "linux/arm64/v8": make_image([make_layer({"arm": b"64"})], platform="linux/arm64"),
        "linux/arm/v7": make_image([make_layer({"arm": b"7"})], platform="linux/arm/v7"),
    }
    index = make_index(images)
    write_layout(tmp_path / "layout", {"multi": index})
    reference, name = f"oci:{tmp_path}/layout:multi", "localhost/layout:multi"
    with opened(tmp_path / "store") as store:
        pulled = store.pull(reference, platform="linux/arm64")
        assert pulled.digest == index.digest
        assert pulled.manifests == (images["linux/arm64/v8"].digest,)
        assert store.document(name).raw == index.document.raw
        assert str(store.image(name).platform) == "linux/arm64/v8"  # the only one there
        with pytest.raises(NotFound, match="pull it with --platform linux/arm/v7"):
            store.image(name, platform="linux/arm/v7")
        with pytest.raises(NotFound, match="linux/amd64, linux/arm/v7, linux/arm64"):
            store.pull(reference, platform="linux/s390x")
        assert set(store.pull(reference, platform="all").manifests) == {image.digest for image in images.values()}
        assert str(store.image(name, platform="linux/arm/v7").platform) == "linux/arm/v7"
        assert store.fsck().findings == ()


def test_nested_and_sparse_indexes(tmp_path: Path) -> None:
    image = small_image()
    inner = make_index({"linux/amd64": image})
    raw = dataclasses.replace(inner, documents=(*inner.documents,))
    outer = make_index({"linux/amd64": raw})
    write_layout(
        tmp_path / "layout", {"nested": dataclasses.replace(outer, documents=(inner.document, image.document))}
    )
    with opened(tmp_path / "store") as store:
        assert store.pull(f"oci:{tmp_path}/layout:nested").manifests == (image.digest,)
        assert store.image("localhost/layout:nested").manifest.digest == image.digest

    other = make_image([make_layer({"x": b"y"})], platform="linux/arm64")
    sparse = make_index({"linux/amd64": image, "linux/arm64": other})
    write_layout(tmp_path / "sparse", {"s": sparse})
    (tmp_path / "sparse" / blob_name(other.digest)).unlink()
    events: list[Event] = []
    with opened(tmp_path / "store") as store:
        job = Job(progress=events.append)
        assert store.pull(f"oci:{tmp_path}/sparse:s", platform="all", job=job).manifests == (image.digest,)
        assert any("not at oci:" in event.text for event in events if event.kind == "note")
        with pytest.raises(NotFound):
            store.pull(f"oci:{tmp_path}/sparse:s", platform="linux/arm64")


def _lie(tmp_path: Path, image: MadeImage, digest: Digest, content: bytes) -> str:
    write_layout(tmp_path / "layout", {"lie": image})
    (tmp_path / "layout" / blob_name(digest)).write_bytes(content)
    return f"oci:{tmp_path}/layout:lie"


def _refused(tmp_path: Path, reference: str, error: type[Error], match: str | None = None) -> None:
    with opened(tmp_path / "store") as store:
        with pytest.raises(error, match=match) as caught:
            store.pull(reference)
        assert caught.value.exit_code in (1, 5)
        assert store.images() == []
        assert store.fsck().findings == ()
    left = _names(tmp_path / "store") - {"version", "oci-layout", "catalog.db", "catalog.db-journal"}
    assert {name for name in left if not name.startswith(("locks", "blobs", "derived", "partial"))} == set()


@pytest.mark.parametrize("place", [0, 20, 200, -1])
def test_NF04_a_flipped_bit_in_a_layer_is_never_stored(tmp_path: Path, place: int) -> None:
    image = small_image()
    layer = image.document.layers[1]
    content = bytearray(image.blobs[layer.digest])
    content[place] ^= 4
    _refused(tmp_path, _lie(tmp_path, image, layer.digest, bytes(content)), Mismatch, layer.digest.encoded)
    assert blob_name(layer.digest) not in _names(tmp_path / "store")


def test_CR12_another_config_or_manifest_under_a_digest_is_refused(tmp_path: Path) -> None:
    image, other = small_image(), small_image(word="other")
    config = image.document.config
    assert config is not None
    same_size = image.config.replace(b"amd64", b"arm64")
    _refused(tmp_path / "a", _lie(tmp_path / "a", image, config.digest, same_size), Mismatch)
    _refused(tmp_path / "b", _lie(tmp_path / "b", image, image.digest, other.document.raw), Mismatch)


def test_NF01_a_short_blob_is_refused_and_of_a_long_one_its_own_bytes_are_taken(tmp_path: Path) -> None:
    image = small_image()
    layer = image.document.layers[0]
    content = image.blobs[layer.digest]
    for word, lie in (("short", content[:-10]), ("empty", b"")):
        _refused(tmp_path / word, _lie(tmp_path / word, image, layer.digest, lie), Mismatch)
    with opened(tmp_path / "store") as store:
        assert store.pull(_lie(tmp_path / "long", image, layer.digest, content + b"more")).digest == image.digest
        assert store.blob(layer.digest)[0].read_bytes() == content


def test_a_layer_that_is_not_what_the_config_says_is_refused(tmp_path: Path) -> None:
    layer = make_layer({"a": b"b"})
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(b"something else"))]}
    write_layout(tmp_path / "layout", {"x": make_image([layer], config={"rootfs": rootfs})})
    _refused(tmp_path, f"oci:{tmp_path}/layout:x", Unsafe, "the image config says")


@pytest.mark.parametrize(
    ("plain", "error"),
    [
        (b"this is no tar at all" * 100, Invalid),
        (make_layer({"a": b"b" * 3000})[:1800], Invalid),
        (make_layer({"a": b"b"})[:148] + b"9999999\0" + make_layer({"a": b"b"})[156:], Invalid),
    ],
    ids=["text", "truncated", "checksum"],
)
def test_a_layer_that_is_no_good_tar_is_refused(tmp_path: Path, plain: bytes, error: type[Error]) -> None:
    write_layout(tmp_path / "layout", {"x": make_image([plain])})
    _refused(tmp_path, f"oci:{tmp_path}/layout:x", error)


def test_a_layer_whose_compression_is_cut_is_refused(tmp_path: Path) -> None:
    layer = make_layer({"a": os.urandom(5000)})
    image = make_image([layer], compression="none")
    cut = compress(layer, "gzip")[:-20]
    swapped = image.document.raw.replace(Digest.of(layer).encode(), Digest.of(cut).encode())
    swapped = swapped.replace(f'"size":{len(layer)}'.encode(), f'"size":{len(cut)}'.encode())
    document = dataclasses.replace(image.document, raw=swapped)
    made = dataclasses.replace(image, document=document, blobs={**image.blobs, Digest.of(cut): cut})
    write_layout(tmp_path / "layout", {"x": made})
    _refused(tmp_path, f"oci:{tmp_path}/layout:x", Invalid, "ends early")


def test_RX01_a_bomb_is_refused(tmp_path: Path) -> None:
    image = make_image([b"\0" * (256 << 20)], compression="zstd")
    write_layout(tmp_path / "layout", {"x": image})
    _refused(tmp_path, f"oci:{tmp_path}/layout:x", Unsafe, "bomb")


def test_RX01_a_layer_has_a_largest_plain_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "LAYER_PLAIN_BYTES", 3 << 20)
    for size, error in ((2 << 20, None), (4 << 20, Unsafe)):
        layer = make_layer({"file": os.urandom(size)})
        write_layout(tmp_path / f"{size}", {"x": make_image([layer], compression="none")})
        if error:
            _refused(tmp_path / "b", f"oci:{tmp_path}/{size}:x", error, "plain bytes")
        else:
            with opened(tmp_path / "a/store") as store:
                store.pull(f"oci:{tmp_path}/{size}:x")


def test_ST02_the_next_pull_heals_a_damaged_blob_that_must_be_opened(tmp_path: Path) -> None:
    image = small_image()
    layer = image.document.layers[0]
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one", download_only=True)
        path, _ = store.blob(layer.digest)
        good = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes([good[0], good[1] ^ 1]) + good[2:])
        path.chmod(0o444)
        assert [finding.kind for finding in store.fsck().findings] == ["damaged"]
        store.pull(f"oci:{tmp_path}/layout:one")
        assert path.read_bytes() == good
        assert store.fsck().findings == ()
    assert (tmp_path / f"store/quarantine/sha256-{layer.digest.encoded}").exists()


def test_a_truncated_blob_is_fetched_again(tmp_path: Path) -> None:
    image = small_image()
    layer = image.document.layers[0]
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        path, size = store.blob(layer.digest)
        path.chmod(0o644)
        os.truncate(path, size - 1)
        store.pull(f"oci:{tmp_path}/layout:one")
        assert store.fsck().findings == ()


def test_what_is_no_image_is_pulled_but_not_given_back(tmp_path: Path) -> None:
    artifact = make_image([b"some chart"], compression="none")
    raw = artifact.document.raw.replace(b"oci.image.config.v1+json", b"cncf.helm.config.v1+json")
    made = dataclasses.replace(artifact, document=dataclasses.replace(artifact.document, raw=raw))
    write_layout(tmp_path / "layout", {"chart": made})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:chart")
        assert store.fsck().findings == ()
        with pytest.raises(Invalid, match=r"not an image.*helm"):
            store.image("localhost/layout:chart")


def test_a_stopped_pull_keeps_what_it_had_and_goes_on(tmp_path: Path) -> None:
    image = make_image([make_layer({"a": os.urandom(3 << 20)}), make_layer({"b": os.urandom(5 << 20)})])
    write_layout(tmp_path / "layout", {"one": image})

    def stop_early(event: Event) -> None:
        if event.kind == "progress":
            job.stop()

    job = Job(progress=stop_early)
    with opened(tmp_path / "store") as store:
        with pytest.raises(Cancelled):
            store.pull(f"oci:{tmp_path}/layout:one", job=job)
        assert store.images() == []
        assert store.df().partial_bytes > 0
        events: list[Event] = []
        store.pull(f"oci:{tmp_path}/layout:one", job=Job(progress=events.append))
        assert any(event.kind == "resume" and event.done > 0 for event in events)
        assert store.fsck().findings == ()


def test_many_threads_pull_one_image(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    results: list[Digest] = []
    with opened(tmp_path / "store") as store:

        def pull() -> None:
            results.append(store.pull(f"oci:{tmp_path}/layout:one").digest)

        threads = [threading.Thread(target=pull) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 16
        assert store.fsck().findings == ()


def test_a_lost_catalog_is_made_again_from_the_files(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image(), "two": small_image(word="two")})
    with opened(tmp_path / "store") as store:
        for tag in ("one", "two"):
            store.pull(f"oci:{tmp_path}/layout:{tag}")
        before = store.images()
    for damage in (None, b"", b"not a database at all" * 100):
        catalog = tmp_path / "store/catalog.db"
        catalog.unlink()
        if damage is not None:
            catalog.write_bytes(damage)
        with opened(tmp_path / "store") as store:
            assert store.images() == before
            assert store.image(before[0].digest.encoded[:8]).target.digest == before[0].digest


def test_the_plan_says_what_the_pull_does(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    with opened(tmp_path / "store") as store:
        plan = store.plan(f"oci:{tmp_path}/layout:one")
        sizes = sorted((layer.size for layer in image.document.layers), reverse=True)
        assert [descriptor.size for descriptor, _ in plan.blobs] == sizes
        assert plan.present == 0
        assert store.images() == []
        store.pull(f"oci:{tmp_path}/layout:one")
        after = store.plan(f"oci:{tmp_path}/layout:one")
        assert (after.blobs, after.present) == ((), sum(sizes))
