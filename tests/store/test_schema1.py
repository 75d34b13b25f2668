"""Docker schema 1: a signed manifest as docker-registry makes it, pulled, converted, and given back."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

from orlop.errors import Error, Mismatch, Unavailable
from orlop.job import Job
from orlop.model import legacy
from orlop.model.media import DOCKER_SCHEMA1_SIGNED
from tests.acceptance.conftest import skopeo
from tests.support.images import make_image, make_layer, write_layout
from tests.support.lying import Answer, Lying, blob
from tests.support.receiving import Receiving
from tests.support.registries import docker_registry
from tests.support.stores import opened
from tests.support.trees import mounted_root

LAYERS = [make_layer({"etc": None, "etc/one": b"1" * 5000}), make_layer({"etc/two": os.urandom(3000)})]


@pytest.fixture
def signed(tmp_path: Path) -> tuple[bytes, dict[str, bytes]]:
    """The manifest, signed by Debian's docker-registry for a client that knows nothing newer, and the blobs."""
    image = make_image(LAYERS)
    write_layout(tmp_path / "layout", {"1": image})
    with docker_registry(tmp_path, tmp_path / "storage") as host:
        target = f"docker://{host}/app:1"
        skopeo("copy", "--format=v2s2", f"oci:{tmp_path}/layout:1", target, "--dest-tls-verify=false")
        request = urllib.request.Request(f"http://{host}/v2/app/manifests/1", headers={"Accept": DOCKER_SCHEMA1_SIGNED})
        with urllib.request.urlopen(request) as answer:
            raw = answer.read()
        blobs = {}
        for layer in json.loads(raw)["fsLayers"]:
            with urllib.request.urlopen(f"http://{host}/v2/app/blobs/{layer['blobSum']}") as answer:
                blobs[layer["blobSum"]] = answer.read()
    return raw, blobs


def _serve(
    server: Lying, raw: bytes, blobs: dict[str, bytes], content_type: str = DOCKER_SCHEMA1_SIGNED, told: str = ""
) -> str:
    headers = (("Content-Type", content_type), *((("Docker-Content-Digest", told),) if told else ()))
    answer = Answer(200, raw, headers)
    for reference in ("1", legacy.payload_digest(raw)):
        server.on(f"/v2/app/manifests/{reference}", answer)
    for digest, content in blobs.items():
        server.on(f"/v2/app/blobs/{digest}", blob(content))
    return f"docker://{server.host}/app"


@pytest.mark.peer
@pytest.mark.root
def test_it_is_pulled_converted_and_mounted_and_its_bytes_kept(
    tmp_path: Path, signed: tuple[bytes, dict[str, bytes]]
) -> None:
    raw, blobs = signed
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        name = _serve(server, raw, blobs)
        pulled = store.pull(f"{name}:1")
        image = store.image(f"{server.host}/app:1")
        assert image.manifest.digest == pulled.digest
        assert len(image.config.diff_ids) == 2
        originals = [path for path in (tmp_path / "store/blobs/sha256").iterdir() if path.read_bytes() == raw]
        assert len(originals) == 1
        assert store.gc().removed == ()
        with mounted_root(store, f"{server.host}/app:1") as root:
            assert (root / "etc/one").read_bytes() == b"1" * 5000
            assert (root / "etc/two").stat().st_size == 3000
        by_digest = store.pull(f"{name}@{legacy.payload_digest(raw)}")
        assert by_digest.digest == pulled.digest
        assert store.fsck().findings == ()


@pytest.mark.peer
def test_it_is_pulled_when_served_as_json_with_the_digest_of_its_payload(
    tmp_path: Path, signed: tuple[bytes, dict[str, bytes]]
) -> None:
    """As docker-registry did until its version 2.2."""
    raw, blobs = signed
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        digest = legacy.payload_digest(raw)
        name = _serve(server, raw, blobs, "application/json; charset=utf-8", digest)
        assert store.pull(f"{name}:1").digest == store.pull(f"{name}@{digest}").digest
        for content_type in ("application/json", DOCKER_SCHEMA1_SIGNED):
            _serve(server, raw, blobs, content_type, "sha256:" + "0" * 64)
            with pytest.raises(Mismatch, match=f"its bytes have digest {digest}, expected sha256:000"):
                store.pull(f"{name}:1")


@pytest.mark.peer
def test_GC10_what_a_cut_pull_had_finished_is_kept(tmp_path: Path, signed: tuple[bytes, dict[str, bytes]]) -> None:
    raw, blobs = signed
    first, last = dict.fromkeys(legacy.layers_of(raw))
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        name = _serve(server, raw, blobs)
        sized, whole = Answer(200, blobs[last]), blob(blobs[last])
        server.on(f"/v2/app/blobs/{last}", lambda seen: sized if seen.method == "HEAD" else Answer(503))
        with pytest.raises(Unavailable):
            store.pull(f"{name}:1", job=Job(workers=1))
        collected = store.gc()
        assert collected.removed == ()
        assert collected.kept >= len(blobs[first])
        server.on(f"/v2/app/blobs/{last}", whole)
        store.pull(f"{name}:1")
        assert [seen.method for seen in server.asked(f"/v2/app/blobs/{first}")].count("GET") == 1
        assert list((tmp_path / "store/partial").iterdir()) == []


@pytest.mark.peer
def test_PA12_a_changed_payload_or_signature_is_refused(tmp_path: Path, signed: tuple[bytes, dict[str, bytes]]) -> None:
    raw, blobs = signed
    fields = json.loads(raw)
    signature = fields["signatures"][0]["signature"]
    other = ("A" if signature[10] != "A" else "B").join((signature[:10], signature[11:]))
    lies = [raw.replace(b'"app"', b'"apt"', 1), raw.replace(signature.encode(), other.encode())]
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        for lie in lies:
            assert lie != raw
            name = _serve(server, raw, blobs)
            server.on("/v2/app/manifests/1", Answer(200, lie, (("Content-Type", DOCKER_SCHEMA1_SIGNED),)))
            with pytest.raises(Error):
                store.pull(f"{name}:1")
            assert store.names() == []


@pytest.mark.peer
def test_a_copy_to_another_registry_takes_what_it_is_converted_to(
    tmp_path: Path, signed: tuple[bytes, dict[str, bytes]]
) -> None:
    with Lying() as source, Lying() as server, opened(tmp_path / "s", insecure=[source.host, server.host]) as store:
        registry = Receiving(server)
        place = _serve(source, *signed)
        copied = store.copy(f"{place}:1", f"{server.host}/mine:1")
        assert registry.tags["mine:1"].digest == copied.digest == store.digest(f"{place.removeprefix('docker://')}:1")
        assert set(signed[1]) <= set(registry.blobs)
