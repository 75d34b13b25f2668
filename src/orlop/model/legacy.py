"""Docker image manifest version 2, schema 1, signed or not: checked, and turned into schema 2 (hazard PA12).

Its digest is that of the payload below the signatures. `name` and `tag` in it are not authoritative: they say
what the image was called when it was pushed, and are not compared with what was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid, Mismatch
from . import jws, media
from .descriptor import Descriptor
from .digest import Digest
from .document import Document
from .limits import LAYERS, MANIFEST_BYTES, SIGNATURES
from .strict_json import load_object

_WHAT = "schema 1 manifest"
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
# what describes one step or one machine, not the image
_DROPPED = ("id", "parent", "parent_id", "layer_id", "throwaway", "Size", "rootfs", "history")


@dataclass(frozen=True, slots=True)
class _Step:
    """One entry of `history` with its layer."""

    layer: Digest
    fields: Mapping[str, Any]

    @property
    def is_empty(self) -> bool:
        return self.fields.get("throwaway") is True


def payload_of(raw: bytes) -> bytes:
    """The bytes that the digest and the signatures are over: the whole of an unsigned manifest.

    Each signature's protected header must cut out the same payload, the rest may hold nothing but the
    signatures, and every signature must be good (see `jws`). `Invalid`, `Mismatch`, `Unsupported`.
    """
    fields = _fields(raw)
    if "signatures" not in fields:
        return raw
    signatures = fields.pop("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= SIGNATURES:
        raise Invalid(f"{_WHAT}: signatures is not a list of 1 to {SIGNATURES}")
    if not all(isinstance(signature, dict) for signature in signatures):
        raise Invalid(f"{_WHAT}: a signature is not an object")
    payloads = {_cut(raw, signature.get("protected")) for signature in signatures}
    if len(payloads) != 1:
        raise Invalid(f"{_WHAT}: its signatures are over different payloads")
    payload = payloads.pop()
    # readers that skip the cut see `raw`: both must say the same
    if load_object(payload, what=f"{_WHAT}: payload") != fields:
        raise Invalid(f"{_WHAT}: what is signed is not what it says")
    for signature in signatures:
        jws.verify(signature, payload)
    return payload


def payload_digest(raw: bytes) -> Digest:
    """The digest under which registries know the manifest, sha256 of `payload_of(raw)`."""
    return Digest.of(payload_of(raw))


def layers_of(raw: bytes) -> list[Digest]:
    """Layer blobs to fetch, base first, without those of steps that changed nothing ("throwaway")."""
    return [step.layer for step in _steps(raw) if not step.is_empty]


def convert(raw: bytes, facts: Sequence[tuple[Descriptor, Digest]]) -> tuple[bytes, Document]:
    """A config and a schema 2 manifest that say the same, always the same bytes for the same input.

    `facts`, one for each of `layers_of(raw)`: the blob's descriptor with its Docker layer media type and true
    size, and its diff ID. `Mismatch` if they are not of these layers.
    """
    steps = _steps(raw)
    layers = [step.layer for step in steps if not step.is_empty]
    if [descriptor.digest for descriptor, _ in facts] != layers:
        raise Mismatch(f"{_WHAT}: the layers given are not its layers")
    top = steps[-1].fields
    config: dict[str, Any] = {key: value for key, value in top.items() if key not in _DROPPED}
    config.setdefault("os", "linux")
    config.setdefault("architecture", _fields(raw).get("architecture") or "amd64")
    config["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for _, diff_id in facts]}
    config["history"] = [_history(step) for step in steps]
    raw_config = _json(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.DOCKER_MANIFEST,
        "config": Descriptor(media.DOCKER_CONFIG, Digest.of(raw_config), len(raw_config)).fields,
        "layers": [descriptor.fields for descriptor, _ in facts],
    }
    return raw_config, Document(_json(manifest), media.DOCKER_MANIFEST)


def _fields(raw: bytes) -> dict[str, Any]:
    if len(raw) > MANIFEST_BYTES:
        raise Invalid(f"{_WHAT}: {len(raw)} bytes, at most {MANIFEST_BYTES} are taken")
    fields = load_object(raw, what=_WHAT)
    version = fields.get("schemaVersion")
    if version != 1 or isinstance(version, bool):
        raise Invalid(f"{_WHAT}: schemaVersion {str(version)[:20]!r}, expected 1")
    return fields


def _cut(raw: bytes, protected: object) -> bytes:
    """The payload as a protected header cuts it out: `formatLength` bytes, then `formatTail`."""
    header = load_object(jws.decode(protected, "protected"), what=f"{_WHAT}: protected header")
    length, tail = header.get("formatLength"), jws.decode(header.get("formatTail"), "formatTail")
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length < len(raw):
        raise Invalid(f"{_WHAT}: formatLength {str(length)[:20]} is out of range")
    if tail.strip() != b"}" or raw[length:].lstrip()[:1] != b",":
        raise Invalid(f"{_WHAT}: the payload does not end where the signatures start")
    return raw[:length] + tail


def _steps(raw: bytes) -> list[_Step]:
    """The history, oldest first, its chain of IDs checked (PA18)."""
    fields = load_object(payload_of(raw), what=_WHAT)
    layers, history = fields.get("fsLayers"), fields.get("history")
    if not isinstance(layers, list) or not isinstance(history, list) or len(layers) != len(history):
        raise Invalid(f"{_WHAT}: fsLayers and history are not lists of one length")
    if not 0 < len(layers) <= LAYERS:
        raise Invalid(f"{_WHAT}: {len(layers)} layers, expected 1 to {LAYERS}")
    steps = [_step(layer, entry) for layer, entry in zip(layers, history, strict=True)]
    result: list[_Step] = []
    parent = ""
    for step in reversed(steps):
        identity = step.fields["id"]
        if identity == parent and step.layer == result[-1].layer:
            continue  # old daemons wrote some steps twice
        if (step.fields.get("parent") or "") != parent:
            raise Invalid(f"{_WHAT}: step {identity[:12]} is not on top of step {parent[:12] or 'nothing'}")
        result.append(step)
        parent = identity
    return result


def _step(layer: object, entry: object) -> _Step:
    if not isinstance(layer, dict) or not isinstance(entry, dict) or not isinstance(entry.get("v1Compatibility"), str):
        raise Invalid(f"{_WHAT}: a layer without blobSum, or a step without v1Compatibility")
    # a lone surrogate was refused when the manifest was read
    fields = load_object(entry["v1Compatibility"].encode(), what=f"{_WHAT}: v1Compatibility")
    for key in ("id", "parent"):
        value = fields.get(key) or ""
        if not isinstance(value, str) or (_ID.fullmatch(value) is None and not (key == "parent" and value == "")):
            raise Invalid(f"{_WHAT}: {key} {str(value)[:70]!r} is not 64 hex digits")
    return _Step(Digest(layer.get("blobSum", "")), fields)


def _history(step: _Step) -> dict[str, Any]:
    """One entry of `history` as config.md has it."""
    made = step.fields.get("container_config")
    command = made.get("Cmd") if isinstance(made, dict) else None
    words = command if isinstance(command, list) else [command]
    result: dict[str, Any] = {
        "created": step.fields.get("created"),
        "author": step.fields.get("author"),
        "created_by": " ".join(word for word in words if isinstance(word, str)),
        "comment": step.fields.get("comment"),
    }
    kept = {key: value for key, value in result.items() if isinstance(value, str) and value}
    return {**kept, "empty_layer": True} if step.is_empty else kept


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
