"""IDs of version 1 for images that have none: those of a schema 1 manifest made from a newer image, and strong IDs.

The first is what docker/distribution (`manifest/schema1`, "config builder") gives old clients; the second is what
Docker 1.9 computed over the JSON of an image (moby v1.9, `image/image.go`), to the byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid
from . import go_json
from .digest import Digest
from .limits import CONFIG_BYTES, LAYERS
from .strict_json import load_object
from .v1 import ImageId, V1Image

# a gzipped tar without members, what stands for a layer where a step changed nothing; and what is in it
EMPTY_LAYER = Digest("sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4")
EMPTY_DIFF_ID = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
_CONFIG = "image config"
_IMAGE = "image JSON"
_NO_TIME = "0001-01-01T00:00:00Z"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
# the first Docker whose JSON has no fields that only say "nothing"
_WITHOUT_BLANKS = (1, 8, 3)
# the runtime config of Docker 1.9 in its order: name, type, whether an empty value is left out
_RUNTIME = (
    ("Hostname", str, False),
    ("Domainname", str, False),
    ("User", str, False),
    ("AttachStdin", bool, False),
    ("AttachStdout", bool, False),
    ("AttachStderr", bool, False),
    ("ExposedPorts", set, True),
    ("PublishService", str, True),
    ("Tty", bool, False),
    ("OpenStdin", bool, False),
    ("StdinOnce", bool, False),
    ("Env", list, False),
    ("Cmd", tuple, False),
    ("Image", str, False),
    ("Volumes", set, False),
    ("WorkingDir", str, False),
    ("Entrypoint", tuple, False),
    ("NetworkDisabled", bool, True),
    ("MacAddress", str, True),
    ("OnBuild", list, False),
    ("Labels", dict, False),
    ("StopSignal", str, True),
)
_TEXTS = ("comment", "container", "docker_version", "author", "architecture", "os")


@dataclass(frozen=True, slots=True)
class Link:
    """One image of a computed chain. `layer` is the blob of its layer, None if it changes nothing."""

    image: V1Image
    layer: Digest | None


def chain(raw_config: bytes, layers: Sequence[Digest]) -> list[Link]:
    """The images of version 1, base first, that an image config and its `layers` (base first) are in a schema 1
    manifest. The same for the same bytes. The last is the image itself.

    A config without a history, or whose history does not fit its layers, has one step for each layer (the original
    refuses it); a time that is none is the year 1. `Invalid` if the config is no JSON object or there are no layers.
    """
    if len(raw_config) > CONFIG_BYTES:
        raise Invalid(f"{_CONFIG}: {len(raw_config)} bytes, at most {CONFIG_BYTES} are taken")
    steps = _steps(load_object(raw_config, what=_CONFIG), len(layers))
    waiting = iter(layers)
    result: list[Link] = []
    parent = ""
    for index, step in enumerate(steps):
        layer = None if step.get("empty_layer") is True else next(waiting)
        seed = f"{(layer or EMPTY_LAYER).encoded} {parent}".encode()
        if index == len(steps) - 1:
            own = hashlib.sha256(seed + b" " + raw_config).hexdigest()
            raw = _top(raw_config, own, parent, layer is None)
        else:
            own = hashlib.sha256(seed).hexdigest()
            raw = _inner(step, own, parent, layer is None)
        result.append(Link(V1Image.read(raw.encode()), layer))
        parent = own
    return result


def _steps(fields: Mapping[str, Any], layers: int) -> list[Mapping[str, Any]]:
    history = fields.get("history")
    steps: list[Mapping[str, Any]] = []
    if isinstance(history, list):
        steps = [step if isinstance(step, dict) else {} for step in history]
    if sum(step.get("empty_layer") is not True for step in steps) != layers or not steps:
        steps = [{} for _ in range(layers)]
    if not 0 < len(steps) <= LAYERS:
        raise Invalid(f"{_CONFIG}: {len(steps)} steps, expected 1 to {LAYERS}")
    return steps


def _top(raw_config: bytes, own: str, parent: str, is_empty: bool) -> str:
    values = go_json.members(raw_config, what=_CONFIG)
    for key in ("rootfs", "history"):
        values.pop(key, None)
    values["id"] = go_json.dumps(own)
    if parent:
        values["parent"] = go_json.dumps(parent)
    if is_empty:
        values["throwaway"] = "true"
    return go_json.join(values)


def _inner(step: Mapping[str, Any], own: str, parent: str, is_empty: bool) -> str:
    def text(key: str) -> str:
        value = step.get(key)
        return value if isinstance(value, str) else ""

    fields: dict[str, Any] = {
        "id": own,
        "parent": parent,
        "comment": text("comment"),
        "created": _time(text("created")) or _NO_TIME,
        "container_config": {"Cmd": [text("created_by")]},
        "author": text("author"),
        "throwaway": is_empty,
    }
    return go_json.dumps({key: value for key, value in fields.items() if value}, sort_keys=False)


def strong_config(raw: bytes, layer: Digest, parent: Digest | None = None) -> bytes:
    """The JSON that a strong ID is the digest of: that of an image of version 1, its layer and its parent's strong ID
    in place of the IDs that it was given. `Invalid` if `raw` is no such JSON, or has a field of a wrong type."""
    image = V1Image.read(raw)
    if _version(image.docker_version) < _WITHOUT_BLANKS:
        values = {key: go_json.dumps(value, sort_keys=False) for key, value in _known(image.fields).items()}
    else:
        values = go_json.members(raw, what=_IMAGE)
    for key in ("id", "parent", "Size"):
        values.pop(key, None)
    values["layer_id"] = go_json.dumps(str(layer))
    if parent is not None:
        values["parent_id"] = go_json.dumps(str(parent))
    return go_json.join(values).encode()


def strong_id(raw: bytes, layer: Digest, parent: Digest | None = None) -> Digest:
    """See `strong_config`."""
    return Digest.of(strong_config(raw, layer, parent))


def strong_ids(images: Sequence[tuple[bytes, Digest]]) -> list[ImageId]:
    """The strong IDs of a chain, base first: each image's JSON and layer."""
    result: list[ImageId] = []
    parent: Digest | None = None
    for raw, layer in images:
        parent = strong_id(raw, layer, parent)
        result.append(ImageId(parent.encoded))
    return result


def _version(text: str) -> tuple[int, ...]:
    """The first three numbers; what is none is 0 (`1.9.0-dev` is 1.9.0)."""
    parts = [*text.split("."), "", "", ""][:3]
    return tuple(int(part) if re.fullmatch("[0-9]{1,18}", part) else 0 for part in parts)


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What Docker 1.9 knew of an older image's JSON, in its form."""
    result: dict[str, Any] = {key: _typed(fields.get(key), str, key) for key in _TEXTS}
    result = {key: value for key, value in result.items() if value}
    created = fields.get("created")
    time = _NO_TIME if created is None else _time(created)
    if not time:
        raise Invalid(f"{_IMAGE}: created is no time of RFC 3339")
    result["created"] = time
    result["container_config"] = _runtime(fields.get("container_config"), "container_config")
    if fields.get("config") is not None:
        result["config"] = _runtime(fields["config"], "config")
    for key in ("parent_id", "layer_id"):
        if value := _typed(fields.get(key), str, key):
            result[key] = value
    return result


def _runtime(value: Any, where: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise Invalid(f"{_IMAGE}: {where} is not an object")
    result: dict[str, Any] = {}
    for key, kind, can_be_absent in _RUNTIME:
        field = _typed((value or {}).get(key), kind, f"{where}.{key}")
        if field or not can_be_absent:
            result[key] = field
    return result


def _typed(value: Any, kind: type, where: str) -> Any:
    """`value` as Go has it after reading it into a field of this kind: a tuple may be given as a string."""
    if value is None:
        return {str: "", bool: False}.get(kind)
    if kind is tuple and isinstance(value, str):
        return [value]
    if kind in (list, tuple) and isinstance(value, list) and all(isinstance(item, str | None) for item in value):
        return [item or "" for item in value]
    if kind is set and isinstance(value, dict) and all(isinstance(item, dict | None) for item in value.values()):
        return {key: {} for key in sorted(value)}
    if kind is dict and isinstance(value, dict) and all(isinstance(item, str | None) for item in value.values()):
        return {key: value[key] or "" for key in sorted(value)}
    if kind in (str, bool) and isinstance(value, kind):
        return value
    raise Invalid(f"{_IMAGE}: {where} is of another type than Docker's")


def _time(text: object) -> str:
    """A time of RFC 3339 as Go writes it; "" if it is none."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return ""
    fraction = (match[2] or "")[:9].rstrip("0")
    zone = "Z" if match[3][1:] == "00:00" else match[3]
    return match[1] + (f".{fraction}" if fraction else "") + zone
