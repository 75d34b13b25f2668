"""Images that lie about blobs which honest images share: only the liar is refused, nothing of the others is lost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orlop.errors import Mismatch
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.ports import Tagged
from tests.support.images import MadeImage, make_index, small_image, write_layout
from tests.support.stores import files_below, opened

NAME = "localhost/layout:honest"


def _changed(image: MadeImage, change: Callable[[dict[str, Any]], None]) -> MadeImage:
    """The same blobs below another manifest."""
    fields = json.loads(image.document.raw)
    change(fields)
    return dataclasses.replace(image, document=Document(json.dumps(fields).encode(), image.document.media_type))


def _twice(fields: dict[str, Any]) -> None:
    layer = fields["layers"][0]
    fields["layers"] = [layer, {**layer, "size": layer["size"] + 5}]


def _longer(fields: dict[str, Any]) -> None:
    fields["layers"][0]["size"] += 5


def _shorter(fields: dict[str, Any]) -> None:
    fields["layers"][0]["size"] -= 5


def _config(fields: dict[str, Any]) -> None:
    fields["layers"][1] = {**fields["layers"][1], "digest": fields["config"]["digest"]}


@pytest.mark.parametrize("lie", [_twice, _longer, _shorter, _config])
@pytest.mark.parametrize("download_only", [False, True])
def test_a_wrong_size_costs_the_honest_image_nothing(
    tmp_path: Path, lie: Callable[[dict[str, Any]], None], download_only: bool
) -> None:
    honest = small_image()
    write_layout(tmp_path / "layout", {"honest": honest, "evil": _changed(honest, lie)})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:honest", download_only=download_only)
        before = files_below(tmp_path / "store/blobs")
        with pytest.raises(Mismatch):
            store.pull(f"oci:{tmp_path}/layout:evil")
        assert store.names() == [NAME]
        assert store.fsck(repair=True).findings == ()
        assert files_below(tmp_path / "store/blobs") == before
        assert not (tmp_path / "store/quarantine").exists()


def test_two_sizes_for_one_layer_are_refused_over_all_platforms(tmp_path: Path) -> None:
    honest = small_image()
    evil = _changed(honest, _longer)
    index = make_index({"linux/amd64": honest, "linux/arm64": evil})
    write_layout(tmp_path / "layout", {"both": index})
    with opened(tmp_path / "store") as store:
        with pytest.raises(Mismatch, match=r"bytes here, \d+ elsewhere"):
            store.pull(f"oci:{tmp_path}/layout:both", platform="all")
        assert store.df().blobs == 0


def test_two_sizes_for_one_child_of_an_index_are_refused(tmp_path: Path) -> None:
    image = small_image()

    def again(fields: dict[str, Any]) -> None:
        fields["manifests"].append({**fields["manifests"][0], "size": 7})

    write_layout(tmp_path / "layout", {"x": _changed(make_index({"linux/amd64": image}), again)})
    with opened(tmp_path / "store") as store:
        with pytest.raises(Mismatch, match=image.digest.encoded):
            store.pull(f"oci:{tmp_path}/layout:x")


@pytest.mark.parametrize("quick", [False, True])
def test_fsck_blames_the_name_that_lies_and_never_a_blob_that_is_itself(tmp_path: Path, quick: bool) -> None:
    honest = small_image()
    write_layout(tmp_path / "layout", {"honest": honest})
    evil = _changed(honest, _longer).document
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:honest")
        # as an older version, or another program, would have left it
        store._parts.blobs.put(evil.digest, evil.raw)
        target = Descriptor(evil.media_type, Digest(evil.digest), len(evil.raw))
        store._parts.images.name(Tagged("localhost/evil:1", target))
        before = files_below(tmp_path / "store/blobs")
        (finding,) = store.fsck(quick=quick, repair=True).findings
        assert (finding.kind, finding.subject, finding.mended) == ("name", "localhost/evil:1", False)
        assert honest.document.layers[0].digest in finding.text
        assert files_below(tmp_path / "store/blobs") == before
        store.remove("localhost/evil:1")
        assert store.fsck().findings == ()
        assert store.unpack(NAME, tmp_path / "tree").entries > 5


@pytest.mark.parametrize("quick", [False, True])
def test_a_blob_of_a_wrong_size_that_is_not_itself_goes_to_quarantine(tmp_path: Path, quick: bool) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"honest": image})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:honest")
        path, _ = store.blob(image.document.layers[0].digest)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b"more")
        path.chmod(0o444)
        found = store.fsck(quick=quick, repair=True).findings
        assert [(finding.kind, finding.mended) for finding in found if finding.mended] == [("damaged", True)]
        store.pull(f"oci:{tmp_path}/layout:honest")
        assert store.fsck().findings == ()
