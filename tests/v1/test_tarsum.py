"""Layers that come with a tarsum: `v1.graph`."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.errors import Invalid, Mismatch
from orlop.job import Job
from orlop.model.v1 import V1Image
from orlop.settings import Settings
from orlop.store import Store
from orlop.tar.tarsum import tarsum
from tests.support import docker_layers as layers

SUDOERS = V1Image.read(
    # without a parent, which is not here
    json.dumps({key: value for key, value in json.loads(layers.SUDOERS_JSON).items() if key != "parent"}).encode()
)
LABELS = ["tarsum+sha256", "tarsum.v1+sha256", "tarsum.dev+sha256", "tarsum+sha512"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(settings=Settings(store=tmp_path / "store")) as store:
        yield store


@pytest.mark.parametrize("label", LABELS)
def test_R10_a_layer_is_taken_with_its_tarsum_however_it_is_compressed(store: Store, label: str) -> None:
    text = tarsum(io.BytesIO(layers.sudoers_layer()), SUDOERS.raw, label=label)
    layer = io.BytesIO(gzip.compress(layers.sudoers_layer()))
    node = store.graph.register(SUDOERS, layer, tarsum=text, job=Job())
    assert (node.checksum, store.graph.get(SUDOERS.id).checksum) == (text, text)


@pytest.mark.parametrize("label", LABELS)
def test_R10_a_layer_with_another_tarsum_is_refused_and_leaves_nothing(store: Store, label: str) -> None:
    text = tarsum(io.BytesIO(layers.sudoers_layer()), SUDOERS.raw + b" ", label=label)
    with pytest.raises(Mismatch, match=r"^image 46af0962ab5a: its layer has tarsum.*, expected tarsum"):
        store.graph.register(SUDOERS, io.BytesIO(layers.sudoers_layer()), tarsum=text, job=Job())
    assert not store.graph.exists(SUDOERS.id)
    with pytest.raises(Invalid, match=r"^tarsum: expected "):
        store.graph.register(SUDOERS, io.BytesIO(layers.sudoers_layer()), tarsum="tarsum+md5:00", job=Job())
    assert not store.graph.exists(SUDOERS.id)
