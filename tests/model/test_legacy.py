from __future__ import annotations

import base64
import copy
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Mismatch, Unsupported
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.model.image import ImageConfig
from orlop.model.legacy import convert, layers_of, payload_digest, payload_of
from tests.support.images import small_image, write_layout

KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
LAYERS = [Digest.of(b"base"), Digest.of(b"empty"), Digest.of(b"top")]
IDS = [f"{number}" * 64 for number in (1, 2, 3)]
TIME = "2015-01-0{}T00:00:00Z"


def step(number: int, **more: Any) -> dict[str, Any]:
    """One v1 image JSON, `number` from 0 at the base."""
    return {
        "id": IDS[number],
        **({"parent": IDS[number - 1]} if number else {}),
        "created": TIME.format(number + 1),
        "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]},
        **more,
    }


def steps() -> list[dict[str, Any]]:
    """Base first: a layer, a throwaway one, and the top, which has the image's config."""
    top = {"config": {"Cmd": ["run"]}, "architecture": "arm64", "os": "linux", "author": "A", "Size": 5}
    return [step(0), step(1, throwaway=True, comment="c"), step(2, **top)]


def manifest(entries: list[dict[str, Any]] | None = None, /, **changes: Any) -> bytes:
    """An unsigned manifest, newest first as they are, indented by three as Docker does."""
    entries = steps() if entries is None else entries
    fields = {
        "schemaVersion": 1,
        "name": "library/old",
        "tag": "1",
        "architecture": "arm64",
        "fsLayers": [{"blobSum": layer} for layer in reversed(LAYERS[: len(entries)])],
        "history": [{"v1Compatibility": json.dumps(entry)} for entry in reversed(entries)],
        **changes,
    }
    return json.dumps(fields, indent=3).encode()


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signature(payload: bytes, key: ec.EllipticCurvePrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    """As libtrust makes them; `changes` go into the protected header."""
    length = payload.rindex(b"\n}")
    header = {"formatLength": length, "formatTail": b64(payload[length:]), "time": TIME.format(9), **changes}
    protected = b64(json.dumps(header).encode())
    der = key.sign(f"{protected}.{b64(payload)}".encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    point = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
    value = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return {"header": {"jwk": jwk, "alg": "ES256"}, "signature": value, "protected": protected}


def signed(payload: bytes, *signatures: dict[str, Any]) -> bytes:
    shown = json.dumps(list(signatures or [signature(payload)]), indent=3).encode()
    return payload[: payload.rindex(b"\n}")] + b',\n   "signatures": ' + shown + b"\n}"


def facts() -> list[tuple[Descriptor, Digest]]:
    return [
        (Descriptor(media.DOCKER_LAYER_GZIP, LAYERS[number], 100 + number), Digest.of(f"plain {number}".encode()))
        for number in (0, 2)
    ]


def test_the_digest_is_over_what_was_signed() -> None:
    payload = manifest()
    raw = signed(payload)
    assert Document(raw, media.DOCKER_SCHEMA1_SIGNED).is_schema1
    assert payload_of(raw) == payload
    assert payload_digest(raw) == Digest.of(payload) == payload_digest(payload)


def test_several_good_signatures_are_taken() -> None:
    payload = manifest()
    other = ec.derive_private_key(7, ec.SECP256R1())
    assert payload_of(signed(payload, signature(payload), signature(payload, other))) == payload


def test_layers_come_base_first_without_throwaways() -> None:
    assert layers_of(signed(manifest())) == [LAYERS[0], LAYERS[2]]


def test_a_manifest_is_converted() -> None:
    raw_config, document = convert(signed(manifest()), facts())
    assert document.layers == tuple(descriptor for descriptor, _ in facts())
    assert document.config == Descriptor(media.DOCKER_CONFIG, Digest.of(raw_config), len(raw_config))
    assert document.media_type == media.DOCKER_MANIFEST
    config = ImageConfig(raw_config)
    assert config.diff_ids == tuple(diff_id for _, diff_id in facts())
    assert str(config.platform) == "linux/arm64"
    assert config.process == {"Cmd": ["run"]}
    assert config.history == (
        {"created": TIME.format(1), "created_by": "/bin/sh -c step 0"},
        {"created": TIME.format(2), "created_by": "/bin/sh -c step 1", "comment": "c", "empty_layer": True},
        {"created": TIME.format(3), "created_by": "/bin/sh -c step 2", "author": "A"},
    )
    assert not {"id", "parent", "throwaway", "Size"} & config.fields.keys()
    assert convert(manifest(), facts()) == (raw_config, document)


def test_other_layers_than_its_own_are_refused() -> None:
    for wrong in ([], facts()[:1], facts()[::-1], [*facts(), *facts()]):
        with pytest.raises(Mismatch, match="not its layers"):
            convert(manifest(), wrong)


def test_a_step_written_twice_counts_once() -> None:
    history = [step(0), step(0), step(1)]
    raw = manifest(history, fsLayers=[{"blobSum": LAYERS[2]}, {"blobSum": LAYERS[0]}, {"blobSum": LAYERS[0]}])
    assert layers_of(raw) == [LAYERS[0], LAYERS[2]]


# -- PA12: signatures ------------------------------------------------------------------------------------


def test_PA12_a_changed_manifest_is_found_out() -> None:
    raw = signed(manifest())
    for old, new in (
        (b"step 2", b"evil 2"),
        (b"library/old", b"library/new"),
        (LAYERS[0].encode(), LAYERS[1].encode()),
    ):
        assert old in raw
        with pytest.raises(Mismatch, match="changed after it was signed"):
            payload_of(raw.replace(old, new))


def test_PA12_a_signature_of_something_else_is_refused() -> None:
    payload = manifest()
    other = signature(manifest(tag="other"))
    own = signature(payload)
    with pytest.raises(Mismatch):
        payload_of(signed(payload, {**other, "protected": own["protected"]}))
    with pytest.raises(Mismatch):
        payload_of(signed(payload, own, {**other, "protected": own["protected"]}))


def test_PA12_fields_beside_the_payload_are_refused() -> None:
    """Readers that take the whole document would see what nobody signed."""
    raw = signed(manifest())
    with pytest.raises(Invalid, match="not what it says"):
        payload_of(raw[:-1] + b', "evil": 1}')
    with pytest.raises(Invalid, match="duplicate key"):
        payload_of(raw[:-1] + b', "tag": "evil"}')


@pytest.mark.parametrize(
    "changes",
    [
        {"formatLength": 0},
        {"formatLength": -1},
        {"formatLength": 1 << 40},
        {"formatLength": True},
        {"formatLength": "5"},
        {"formatLength": 20},
        {"formatTail": ""},
        {"formatTail": "!"},
        {"formatTail": b64(b',"evil":1}')},
        {"formatTail": None},
    ],
)
def test_PA12_a_payload_cut_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    payload = manifest()
    with pytest.raises(Invalid):
        payload_of(signed(payload, signature(payload, **changes)))


def test_PA12_signatures_over_different_payloads_are_refused() -> None:
    payload = manifest()
    spaced = signature(payload, formatTail=b64(b"\n }"))
    with pytest.raises(Invalid, match="different payloads"):
        payload_of(signed(payload, signature(payload), spaced))


def test_RX04_endless_signatures_are_refused() -> None:
    payload = manifest()
    for count in (0, 17):
        raw = signed(payload, *[signature(payload)] * max(count, 1))
        if not count:
            raw = raw[: raw.index(b'"signatures"')] + b'"signatures": []}'
        with pytest.raises(Invalid, match="not a list of 1 to 16"):
            payload_of(raw)


@pytest.mark.parametrize("algorithm", ["none", "RS256", "HS256", "es256", None, 7])
def test_PA12_other_algorithms_are_not_taken_on_trust(algorithm: object) -> None:
    payload = manifest()
    forged = signature(payload)
    forged["header"]["alg"] = algorithm
    with pytest.raises(Unsupported, match="expected ES256"):
        payload_of(signed(payload, forged))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("signature",), b64(bytes(64))),
        (("signature",), b64(b"\xff" * 64)),
        (("signature",), b64(b"x" * 63)),
        (("signature",), None),
        (("header", "jwk", "x"), b64(bytes(32))),
        (("header", "jwk", "y"), b64(b"\xff" * 32)),
        (("header", "jwk", "crv"), "P-384"),
        (("header", "jwk", "kty"), "RSA"),
        (("header", "jwk"), None),
        (("header",), None),
        (("protected",), "é"),
        (("protected",), None),
    ],
)
def test_PA12_malformed_signatures_and_keys_are_refused(where: tuple[str, ...], value: object) -> None:
    payload = manifest()
    forged = signature(payload)
    place = forged
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(Error):
        payload_of(signed(payload, forged))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2**256 - 2**225), st.integers(0, 63), st.integers(1, 255))
def test_PA12_signatures_of_any_key_are_good_until_a_bit_is_changed(number: int, at: int, flip: int) -> None:
    payload = manifest()
    good = signature(payload, ec.derive_private_key(number, ec.SECP256R1()))
    assert payload_of(signed(payload, good)) == payload
    value = bytearray(base64.urlsafe_b64decode(good["signature"] + "=="))
    value[at] ^= flip
    bad = copy.deepcopy(good) | {"signature": b64(bytes(value))}
    with pytest.raises(Mismatch):
        payload_of(signed(payload, bad))


# -- PA18: history ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["../../etc", "", "A" * 64, "1" * 63, "1" * 64 + "\n", None, 7])
def test_PA18_ids_are_64_hex_digits(identity: object) -> None:
    with pytest.raises(Invalid):
        layers_of(manifest([step(0, id=identity)]))


def test_PA18_a_broken_chain_of_parents_is_refused() -> None:
    for history in (
        [step(0), step(2)],
        [step(1)],
        [step(0, parent=IDS[0])],
        [step(0, parent=IDS[1]), step(1)],
        [step(0), step(1, parent=None)],
    ):
        with pytest.raises(Invalid, match="is not on top of"):
            layers_of(manifest(history))


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 2},
        {"schemaVersion": True},
        {"fsLayers": []},
        {"fsLayers": [], "history": []},
        {"fsLayers": None},
        {"history": {}},
        {"fsLayers": [{}] * 3},
        {"fsLayers": [{"blobSum": "sha256:../x"}] * 3},
        {"history": [{"v1Compatibility": "{"}] * 3},
        {"history": [{"v1Compatibility": {}}] * 3},
        {"history": [None] * 3},
    ],
)
def test_fields_of_the_wrong_kind_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        layers_of(manifest(**changes))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.sampled_from(["fsLayers", "history", "signatures", "architecture", "schemaVersion"]), JSON)
def test_any_manifest_is_read_or_refused(key: str, value: Any) -> None:
    try:
        assert layers_of(manifest(**{key: value})) == [LAYERS[0], LAYERS[2]]
    except Error:
        assert key != "architecture"


# -- the peer --------------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry 2.8, which makes and signs schema 1 for clients that do not accept schema 2."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.json"  # JSON is YAML
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    with subprocess.Popen(
        ["/usr/bin/docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield address
        finally:
            process.terminate()


@pytest.mark.peer
def test_PA12_what_docker_registry_signed_is_read(registry: str, tmp_path: Path) -> None:
    image = small_image()
    layout = write_layout(tmp_path / "layout", {"1": image})
    target = f"docker://{registry}/a/b:1"
    run = ["/usr/bin/skopeo", "copy", "-q", "--dest-tls-verify=false", "--format=v2s2", f"oci:{layout}:1", target]
    subprocess.run(run, check=True)
    connection = http.client.HTTPConnection(registry, timeout=20)
    connection.request("GET", "/v2/a/b/manifests/1", headers={"Accept": media.DOCKER_SCHEMA1_SIGNED})
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    assert answer.getheader("Content-Type") == media.DOCKER_SCHEMA1_SIGNED
    assert payload_digest(raw) == answer.getheader("Docker-Content-Digest")
    assert layers_of(raw) == [layer.digest for layer in image.document.layers]
    diff_ids = [Digest.of(layer) for layer in image.layers]
    raw_config, document = convert(raw, list(zip(image.document.layers, diff_ids, strict=True)))
    assert [layer.digest for layer in document.layers] == [layer.digest for layer in image.document.layers]
    assert ImageConfig(raw_config).process["Cmd"] == ["/bin/sh"]
