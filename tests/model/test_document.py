from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Mismatch
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.model.image import ImageConfig, chain_id
from orlop.model.limits import DESCRIPTORS, LAYERS, MANIFEST_BYTES
from tests.support.images import make_index, small_image

IMAGE = small_image()
INDEX = make_index({"linux/amd64": IMAGE})


def changed(raw: bytes, **changes: Any) -> bytes:
    """The document with fields replaced; a value of `...` removes one."""
    fields = {**json.loads(raw), **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (changed(IMAGE.document.raw, manifests=[]), media.OCI_MANIFEST),
        (changed(IMAGE.document.raw, mediaType=..., manifests=[]), media.OCI_MANIFEST),
        (changed(INDEX.document.raw, layers=[]), media.OCI_INDEX),
        (changed(INDEX.document.raw, config={}), media.OCI_INDEX),
        (changed(IMAGE.document.raw, Manifests=[]), media.OCI_MANIFEST),
        (changed(INDEX.document.raw, Layers=[]), media.OCI_INDEX),
        (changed(IMAGE.document.raw, LAYERS=[]), media.OCI_MANIFEST),
    ],
)
def test_PA11_a_manifest_that_is_an_index_too_is_refused(raw: bytes, media_type: str) -> None:
    with pytest.raises(Invalid, match=r"at once|differ in case"):
        Document(raw, media_type)


@pytest.mark.parametrize("served", [media.OCI_INDEX, media.DOCKER_MANIFEST, media.DOCKER_SCHEMA1])
def test_PA11_the_body_and_the_header_must_agree(served: str) -> None:
    with pytest.raises(Invalid, match="was served as"):
        Document(IMAGE.document.raw, served)


def test_PA11_shape_is_checked_where_the_body_says_no_type() -> None:
    with pytest.raises(Invalid):
        Document(changed(IMAGE.document.raw, mediaType=...), media.OCI_INDEX)
    with pytest.raises(Invalid):
        Document.read(changed(IMAGE.document.raw, mediaType=..., manifests=[]), "")


@pytest.mark.parametrize(
    "served",
    [
        "",
        "text/plain",
        "application/json; charset=utf-8",
        media.OCI_MANIFEST.upper(),
        media.OCI_MANIFEST + "; charset=utf-8",
        "application/octet-stream",
    ],
)
def test_PA12_odd_media_types_are_settled_by_the_body(served: str) -> None:
    for raw in (IMAGE.document.raw, changed(IMAGE.document.raw, mediaType=...)):
        document = Document.read(raw, served)
        assert (document.media_type, document.raw) == (media.OCI_MANIFEST, raw)


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"<html>", b'{"mediaType":"text/html"}', b'{"mediaType":7}', b""])
def test_PA12_what_is_no_manifest_is_refused_whatever_it_is_served_as(raw: bytes) -> None:
    for served in ("", "text/html", "application/json", media.OCI_MANIFEST, media.OCI_INDEX):
        with pytest.raises(Invalid):
            _ = Document.read(raw, served).descriptor


def test_PA13_more_children_or_layers_than_the_limit_are_refused() -> None:
    child = IMAGE.document.descriptor.fields
    Document(changed(INDEX.document.raw, manifests=[child] * DESCRIPTORS), media.OCI_INDEX)
    with pytest.raises(Invalid, match=f"at most {DESCRIPTORS}"):
        Document(changed(INDEX.document.raw, manifests=[child] * (DESCRIPTORS + 1)), media.OCI_INDEX)
    layer = IMAGE.document.layers[0].fields
    with pytest.raises(Invalid, match=f"at most {LAYERS}"):
        Document(changed(IMAGE.document.raw, layers=[layer] * (LAYERS + 1)), media.OCI_MANIFEST)


def with_data(data: object, size: int) -> dict[str, Any]:
    return {"mediaType": "a/b", "digest": str(Digest.of(b"{}")), "size": size, "data": data}


def test_PA14_inline_data_is_checked_like_a_blob() -> None:
    assert Descriptor.from_fields(with_data("e30=", 2)).data == b"{}"
    for wrong in (with_data("e30=", 3), with_data("e3w=", 2), with_data("", 2)):
        with pytest.raises(Mismatch):
            Descriptor.from_fields(wrong)
    for malformed in (with_data("e3", 2), with_data("e30=\n", 2), with_data(7, 2), with_data("é", 2)):
        with pytest.raises(Invalid):
            Descriptor.from_fields(malformed)


def test_PA14_large_inline_data_is_refused() -> None:
    content = b"x" * 4097
    fields = with_data(base64.b64encode(content).decode(), len(content)) | {"digest": str(Digest.of(content))}
    with pytest.raises(Invalid, match="at most 4096"):
        Descriptor.from_fields(fields)


@pytest.mark.parametrize("size", [-1, 1 << 63, 1.5, 1.0, "5", None, True, [], {}])
def test_PA15_sizes_that_are_none_are_refused(size: object) -> None:
    with pytest.raises(Invalid):
        Descriptor.from_fields({"mediaType": "a/b", "digest": str(IMAGE.digest), "size": size})


@pytest.mark.parametrize("size", [0, 1, (1 << 63) - 1])
def test_PA15_sizes_at_the_edge_are_taken(size: int) -> None:
    fields = {"mediaType": "a/b", "digest": str(IMAGE.digest), "size": size}
    assert Descriptor.from_fields(fields).fields == fields


def test_RX03_a_document_over_the_limit_is_refused() -> None:
    raw = changed(IMAGE.document.raw, annotations={"x": "y" * 3_900_000})
    assert Document(raw, media.OCI_MANIFEST).layers
    with pytest.raises(Invalid, match="at most"):
        Document(raw + b" " * MANIFEST_BYTES, media.OCI_MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 3},
        {"schemaVersion": ...},
        {"schemaVersion": "2"},
        {"layers": ...},
        {"layers": {}},
        {"layers": [None]},
        {"layers": [{"mediaType": "a/b", "size": 1, "digest": "sha256:../x"}]},
        {"config": []},
        {"subject": 7},
        {"annotations": {"a": 1}},
        {"annotations": []},
        {"mediaType": 7},
    ],
)
def test_fields_of_the_wrong_kind_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Document(changed(IMAGE.document.raw, **changes), media.OCI_MANIFEST)


FIELD = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "annotations"]
) | st.sampled_from(["subject", "data", "urls", "os", "architecture", "rootfs", "diff_ids", "history", "type"])
GOOD = st.sampled_from([2, media.OCI_MANIFEST, media.OCI_INDEX, str(IMAGE.digest), "linux", "layers", "a/b"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | GOOD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=400)
@given(JSON, st.sampled_from([*sorted(media.DOCUMENTS), "", "text/html"]))
def test_any_document_is_read_or_refused(value: Any, served: str) -> None:
    raw = json.dumps(value).encode()
    try:
        document = Document.read(raw, served)
    except Error:
        return
    assert document.raw == raw
    assert document.descriptor == Descriptor(document.media_type, Digest.of(raw), len(raw))
    assert Document(raw, document.media_type) == document


@settings(max_examples=300)
@given(JSON)
def test_any_config_is_read_or_refused(value: Any) -> None:
    try:
        config = ImageConfig(json.dumps(value).encode())
        assert isinstance(config.diff_ids, tuple)
        _ = config.platform, config.created
    except Error:
        return


def test_chain_ids_are_those_of_the_specification() -> None:
    """Computed with sha256sum: `printf 'A B' | sha256sum`."""
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([one]) == one
    assert chain_id([one, two]) == Digest.of(f"{one} {two}".encode())
    assert chain_id([one, two, one]) == Digest.of(f"{Digest.of(f'{one} {two}'.encode())} {one}".encode())
    with pytest.raises(Invalid):
        chain_id([])
