"""How a version 1 image lies in the store: as an OCI manifest that everything else here can use.

Its layers are the blobs of all ancestors that have one, base first, bytes as they came. Its config is made from the
image's JSON; each entry of its history has the JSON of one image, base first, word for word. So the bytes outlive
collections, checks and copies to registries of version 2, and come back from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid, Unsupported
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.image import ImageConfig
from ..model.limits import CONFIG_BYTES, V1_PARENTS
from ..model.reference import Reference
from ..model.v1 import ImageId, V1Image

RAW = "dev.orlop.v1"  # of a history entry: the JSON as it came
CHECKSUM = "dev.orlop.v1.checksum"  # of a manifest: what its own layer was checked against
SIZE = "dev.orlop.v1.size"  # of a manifest: bytes of the files in its own layer
HOST = "v1.invalid"  # RFC 2606: no machine is ever called so
REPOSITORY = "graph"
# what describes one step or one machine, not the image
_DROPPED = ("id", "parent", "container", "container_config", "Size", "checksum", "rootfs", "history", "throwaway")


@dataclass(frozen=True)
class Step:
    """One image of a chain: its JSON, and its layer if it has one."""

    image: V1Image
    layer: Descriptor | None = None
    diff_id: Digest | None = None


def name_of(id: ImageId) -> str:
    """Where the store keeps it: a tag of the reserved repository."""
    return str(Reference(HOST, REPOSITORY, id))


def is_reserved(name: str) -> bool:
    """Whether a full name is in the reserved repository."""
    return name.startswith(f"{HOST}/")


def make(steps: Sequence[Step], *, checksum: str = "", size: int = 0) -> tuple[bytes, Document]:
    """The config and the manifest of a chain of images, base first; the same for the same chain."""
    if len(steps) > V1_PARENTS + 1:
        raise Unsupported(
            f"image {steps[-1].image.id.short}: {len(steps) - 1} ancestors, at most {V1_PARENTS} are taken"
        )
    top = steps[-1].image
    config: dict[str, Any] = {key: value for key, value in top.fields.items() if key not in _DROPPED}
    if not isinstance(config.get("config"), dict):
        config.pop("config", None)
    config["os"] = top.os or "linux"
    config["architecture"] = top.architecture or "amd64"
    config["rootfs"] = {"type": "layers", "diff_ids": [str(step.diff_id) for step in steps if step.diff_id]}
    config["history"] = [_history(step) for step in steps]
    raw = _json(config)
    if len(raw) > CONFIG_BYTES:
        raise Unsupported(f"image {top.id.short}: the JSON of it and its ancestors takes over {CONFIG_BYTES} bytes")
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
    raws = [entry.get(RAW) for entry in config.history]
    if not raws or not all(isinstance(raw, str) for raw in raws):
        raise Invalid(f"manifest {manifest.digest}: has no version 1 images in it")
    pairs = list(zip(manifest.layers, config.diff_ids, strict=False))
    layers = iter(pairs)
    steps: list[Step] = []
    for entry, raw in zip(config.history, raws, strict=True):
        image = V1Image.read(str(raw).encode())
        if image.parent != (steps[-1].image.id if steps else None) or any(image.id == step.image.id for step in steps):
            raise Invalid(f"manifest {manifest.digest}: its version 1 images are no chain")
        layer, diff_id = (None, None) if entry.get("empty_layer") is True else next(layers, (None, None))
        if layer is None and entry.get("empty_layer") is not True:
            raise Invalid(f"manifest {manifest.digest}: fewer layers than its history says")
        steps.append(Step(image, layer, diff_id))
    if next(layers, None) is not None or len(pairs) != len(config.diff_ids):
        raise Invalid(f"manifest {manifest.digest}: more layers than its history says")
    return steps


def _history(step: Step) -> dict[str, Any]:
    image = step.image
    command = image.container_config.get("Cmd")
    words = command if isinstance(command, list) else []
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
