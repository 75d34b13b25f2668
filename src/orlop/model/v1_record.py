"""How a version 1 image lies in the store: as an OCI manifest that everything else here can use, under a name in a
repository that is reserved for them.

Its layers are the blobs of all ancestors that have one, base first, bytes as they came. Its config is made from the
image's JSON; each entry of its history has the JSON of one image, base first, word for word. So the bytes outlive
collections, checks and copies to registries of version 2, and come back from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid, Unsafe
from . import media
from .descriptor import Descriptor
from .digest import Digest
from .document import Document
from .image import ImageConfig
from .limits import CONFIG_BYTES, V1_PARENTS
from .platform import Platform
from .v1 import ImageId, V1Image

RAW = "dev.orlop.v1"  # of a history entry: the JSON as it came
CHECKSUM = "dev.orlop.v1.checksum"  # of a manifest: what its own layer was checked against
SIZE = "dev.orlop.v1.size"  # of a manifest: bytes of the files in its own layer
# what readers of today know; of everything else the JSON itself is the only record
_TEXTS = ("created", "author", "architecture", "os", "variant", "os.version", "comment", "docker_version")
_OBJECTS = ("config", "container_config")


@dataclass(frozen=True)
class Step:
    """One image of a chain: its JSON, and its layer if it has one."""

    image: V1Image
    layer: Descriptor | None = None
    diff_id: Digest | None = None


def make(steps: Sequence[Step], *, checksum: str = "", size: int = 0) -> tuple[bytes, Document]:
    """The config and the manifest of a chain of images, base first; the same for the same chain. `Unsafe` if it is
    longer than Docker ran images, or the JSON takes more than a config may."""
    top = steps[-1].image
    if len(steps) > V1_PARENTS + 1:
        raise Unsafe(f"image {top.id.short}: {len(steps) - 1} ancestors, at most {V1_PARENTS} are taken")
    raw = _config(steps)
    if len(raw) > CONFIG_BYTES:
        raise Unsafe(f"image {top.id.short}: the JSON of it and its ancestors takes over {CONFIG_BYTES} bytes")
    notes = {CHECKSUM: checksum, SIZE: str(size)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": Descriptor(media.OCI_CONFIG, Digest.of(raw), len(raw)).fields,
        "layers": [step.layer.fields for step in steps if step.layer],
        "annotations": {key: value for key, value in notes.items() if value},
    }
    return raw, Document(_json(manifest), media.OCI_MANIFEST)


def read(manifest: Document, config: ImageConfig) -> list[Step]:
    """The chain of images that a manifest and its config carry, base first. `Invalid` if they do not, or do not agree.

    Such a config may come from anywhere: what it says of IDs is a claim, as all of version 1 is.
    """
    pairs = list(zip(manifest.layers, config.diff_ids, strict=False))
    layers = iter(pairs)
    steps: list[Step] = []
    seen: set[ImageId | None] = set()
    for entry in config.history:
        raw, is_empty = entry.get(RAW), entry.get("empty_layer") is True
        if not isinstance(raw, str):
            raise Invalid(f"manifest {manifest.digest}: a step of its history is no version 1 image")
        image = V1Image.read(raw.encode())
        if image.parent != (steps[-1].image.id if steps else None) or image.id in seen:
            raise Invalid(f"manifest {manifest.digest}: its version 1 images are no chain")
        layer, diff_id = (None, None) if is_empty else next(layers, (None, None))
        if layer is None and not is_empty:
            raise Invalid(f"manifest {manifest.digest}: fewer layers than its history says")
        steps.append(Step(image, layer, diff_id))
        seen.add(image.id)
    if not steps or next(layers, None) is not None or len(pairs) != len(config.diff_ids):
        raise Invalid(f"manifest {manifest.digest}: its history is not that of its layers")
    return steps


def _config(steps: Sequence[Step]) -> bytes:
    fields = steps[-1].image.fields
    config: dict[str, Any] = {key: fields[key] for key in _TEXTS if isinstance(fields.get(key), str)}
    config.update({key: fields[key] for key in _OBJECTS if isinstance(fields.get(key), dict)})
    config["os"] = config.get("os") or "linux"
    config["architecture"] = config.get("architecture") or "amd64"
    try:
        Platform.from_fields(config)
    except Invalid:
        config |= {"os": "linux", "architecture": "amd64", "variant": "", "os.version": ""}
    config["rootfs"] = {"type": "layers", "diff_ids": [str(step.diff_id) for step in steps if step.diff_id]}
    config["history"] = [_history(step) for step in steps]
    return _json(config)


def _history(step: Step) -> dict[str, Any]:
    image = step.image
    command = image.container_config.get("Cmd")
    words = command if isinstance(command, list) else [command]
    result: dict[str, Any] = {
        "created": image.created,
        "author": image.author,
        "created_by": " ".join(word for word in words if isinstance(word, str)),
        "comment": image.comment,
        "empty_layer": step.layer is None,
    }
    kept = {key: value for key, value in result.items() if value}
    return {**kept, RAW: image.raw.decode()}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
