from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, NotFound, Unsafe, Usage
from orlop.files.layout import Layout
from orlop.job import Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import LAYOUT_INDEX_BYTES
from tests.support.images import MadeImage, blob_name, make_index, small_image, write_layout


def read(layout: Layout, wanted: Descriptor, offset: int = 0, end: int | None = None) -> bytes:
    with layout.open(wanted, offset=offset, end=end, job=Job()) as body:
        assert body.offset == min(offset, wanted.size)
        return b"".join(iter(lambda: body.read(1000), b""))


@pytest.fixture
def image() -> MadeImage:
    return small_image()


@pytest.fixture
def layout(tmp_path: Path, image: MadeImage) -> Layout:
    return Layout(write_layout(tmp_path / "layout", {"one": image, "two": small_image("zstd")}))


def test_a_tag_finds_its_document_and_blobs(layout: Layout, image: MadeImage) -> None:
    document = layout.document("one")
    assert document == image.document
    for wanted in document.successors:
        assert read(layout, wanted) == image.blobs[wanted.digest]
        assert layout.size(wanted.digest) == wanted.size


def test_a_blob_is_read_from_and_to_where_it_was_asked(layout: Layout, image: MadeImage) -> None:
    wanted = image.document.layers[1]
    whole = image.blobs[wanted.digest]
    assert read(layout, wanted, 5, 50) == whole[5:50]
    assert read(layout, wanted, wanted.size) == b""
    assert read(layout, wanted, wanted.size + 10) == b""


def test_a_digest_finds_documents_that_have_no_entry(tmp_path: Path, image: MadeImage) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": small_image(word="arm")})
    layout = Layout(write_layout(tmp_path / "layout", {"": index}))
    assert layout.document("").is_index
    assert layout.document(str(image.digest)) == image.document


def test_containerds_name_is_known_and_tags_come_in_order(tmp_path: Path, image: MadeImage) -> None:
    path = write_layout(tmp_path / "layout", {"b": image, "a": small_image("none")})
    index = json.loads((path / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": "docker.io/library/b:1"}
    (path / "index.json").write_text(json.dumps(index))
    layout = Layout(path)
    assert list(layout.tags()) == ["docker.io/library/b:1", "a"]
    assert layout.document("docker.io/library/b:1") == image.document


def test_no_name_for_several_images_lists_them(layout: Layout) -> None:
    with pytest.raises(Usage, match="it has 2 images; say which: one, two"):
        layout.document("")


def test_the_same_image_twice_is_no_ambiguity(tmp_path: Path, image: MadeImage) -> None:
    assert Layout(write_layout(tmp_path / "layout", {"a": image, "b": image})).document("") == image.document


@pytest.mark.parametrize("reference", ["three", "sha256:" + "0" * 64])
def test_what_is_not_there_is_not_found(layout: Layout, reference: str) -> None:
    with pytest.raises(NotFound):
        layout.document(reference)


def test_a_directory_without_the_mark_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not an OCI layout: there is no oci-layout file"):
        Layout(tmp_path)
    with pytest.raises(NotFound, match="no such directory"):
        Layout(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(Invalid, match="not a directory; for a tar, use oci-archive:"):
        Layout(tmp_path / "file")


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(Invalid, match=r"version '2.0.0', expected 1.x"):
        Layout(tmp_path)


@pytest.mark.parametrize("link", ["blobs", "blobs/sha256"])
def test_PA20_linked_blob_directories_are_refused(tmp_path: Path, image: MadeImage, link: str) -> None:
    path = write_layout(tmp_path / "layout", {"one": image})
    (path / link).rename(tmp_path / "elsewhere")
    (path / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unsafe, match="links are not followed"):
        Layout(path).document("one")


def test_PA20_a_linked_blob_is_refused(tmp_path: Path, image: MadeImage) -> None:
    path = write_layout(tmp_path / "layout", {"one": image})
    blob = path / blob_name(image.document.layers[0].digest)
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    with pytest.raises(Unsafe, match="links are not followed"):
        read(Layout(path), image.document.layers[0])


def test_PA20_a_fifo_in_place_of_a_blob_neither_hangs_nor_is_read(tmp_path: Path, image: MadeImage) -> None:
    path = write_layout(tmp_path / "layout", {"one": image})
    blob = path / blob_name(image.document.layers[0].digest)
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(Unsafe, match="not a regular file"):
        read(Layout(path), image.document.layers[0])


def test_PA20_a_huge_index_is_not_read(tmp_path: Path, image: MadeImage) -> None:
    path = write_layout(tmp_path / "layout", {"one": image})
    with (path / "index.json").open("wb") as file:
        file.truncate(LAYOUT_INDEX_BYTES + 1)
    with pytest.raises(Unsafe, match="more than"):
        Layout(path).document("one")


def test_RX03_a_huge_manifest_is_not_read(tmp_path: Path, image: MadeImage) -> None:
    path = write_layout(tmp_path / "layout", {"one": image})
    with (path / blob_name(image.digest)).open("r+b") as file:
        file.truncate(1 << 33)
    with pytest.raises(Unsafe, match="more than"):
        Layout(path).document("one")


@settings(max_examples=150, deadline=None)
@given(
    raw=st.binary(max_size=60)
    | st.builds(
        lambda v: json.dumps({"manifests": v}).encode(),
        st.lists(
            st.none()
            | st.text()
            | st.dictionaries(
                st.sampled_from(["digest", "size", "mediaType", "annotations"]), st.none() | st.integers() | st.text()
            ),
            max_size=3,
        ),
    )
)
def test_any_index_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("layout")
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_bytes(raw)
    with pytest.raises(Error):
        Layout(path).document("x")


@pytest.mark.peer
def test_a_layout_that_skopeo_wrote_is_read(tmp_path: Path, image: MadeImage) -> None:
    source = write_layout(tmp_path / "source", {"one": image})
    target = tmp_path / "target"
    subprocess.run(["/usr/bin/skopeo", "copy", "-q", f"oci:{source}:one", f"oci:{target}:copied"], check=True)
    layout = Layout(target)
    document = layout.document("copied")
    assert list(layout.tags()) == ["copied"]
    assert document.media_type == media.OCI_MANIFEST
    for wanted in document.successors:
        assert Digest.of(read(layout, wanted)) == wanted.digest
