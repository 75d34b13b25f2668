"""Planning over a source that lies about its documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orlop import graph
from orlop.errors import Mismatch, NotFound, Unsafe
from orlop.job import Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.document import Document
from orlop.model.limits import INDEX_DEPTH
from orlop.ports import Body
from tests.support.images import make_image, make_index, small_image, write_layout
from tests.support.stores import opened

HOST = {"os": "linux", "architecture": "amd64"}


class Documents:
    """`ports.Source` over documents alone."""

    origin = "memory:"

    def __init__(self, *documents: Document) -> None:
        self._documents = {str(document.digest): document for document in documents}

    def document(self, reference: str) -> Document:
        if reference not in self._documents:
            raise NotFound(reference)
        return self._documents[reference]

    @contextmanager
    def open(self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job) -> Iterator[Body]:
        raise NotFound(wanted.digest)
        yield


def _index(*children: dict[str, Any], note: str = "") -> Document:
    fields = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(children)}
    return Document(json.dumps({**fields, "annotations": {"n": note}}).encode(), media.OCI_INDEX)


def _described(document: Document, **lies: Any) -> dict[str, Any]:
    return {**document.descriptor.fields, "platform": HOST, **lies}


@pytest.mark.parametrize("lie", [{"size": 12}, {"mediaType": media.DOCKER_MANIFEST}])
def test_PA15_a_child_of_another_size_or_type_than_described_is_refused(lie: dict[str, Any]) -> None:
    child = small_image().document
    root = _index(_described(child, **lie))
    with pytest.raises(Mismatch, match=child.digest.encoded):
        graph.plan(Documents(child), root, None, Job())


def test_PA13_nesting_is_limited() -> None:
    document = _index()
    chain = [document]
    for number in range(INDEX_DEPTH + 2):
        document = _index(_described(document), note=str(number))
        chain.append(document)
    with pytest.raises(Unsafe, match="nested deeper"):
        graph.plan(Documents(*chain), chain[-1], None, Job())
    shallow = chain[INDEX_DEPTH - 1]
    assert len(graph.plan(Documents(*chain), shallow, None, Job()).documents) == INDEX_DEPTH


def test_PA13_documents_below_one_root_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "DOCUMENTS", 50)
    leaves = [_index(note=f"leaf {number}") for number in range(60)]
    few, many = _index(*map(_described, leaves[:40])), _index(*map(_described, leaves))
    assert len(graph.plan(Documents(*leaves), few, None, Job()).documents) == 41
    with pytest.raises(Unsafe, match="more than 50 documents"):
        graph.plan(Documents(*leaves), many, None, Job())


def test_RX10_a_child_listed_many_times_is_read_once() -> None:
    leaf = _index(note="leaf")
    root = _index(*[_described(leaf)] * 500)
    assert len(graph.plan(Documents(leaf), root, None, Job()).documents) == 2


def test_RX10_manifests_and_configs_have_a_bound_together(tmp_path: Path) -> None:
    """They are held until a copy ends, however many there are."""
    images = {f"linux/arm/v{number}": make_image([], config={"noise": f"{number}" * (5 << 20)}) for number in range(7)}
    write_layout(tmp_path / "layout", {"all": make_index(images)})
    with opened(tmp_path / "store") as store:
        with pytest.raises(Unsafe, match="of manifests and configs"):
            store.pull(f"oci:{tmp_path}/layout:all", platform="all")
        assert store.images() == []
