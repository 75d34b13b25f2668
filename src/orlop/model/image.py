"""The image config as a view (OCI image-spec 1.1, config.md), and chain IDs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import Invalid
from .digest import Digest
from .limits import CONFIG_BYTES, LAYERS
from .platform import Platform
from .strict_json import load_object


@dataclass(frozen=True)
class ImageConfig:
    """Raw bytes of an image config and what they say. `Invalid` unless it has a list of diff IDs."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.raw) > CONFIG_BYTES:
            raise Invalid(f"image config: {len(self.raw)} bytes, at most {CONFIG_BYTES} are taken")
        _ = self.diff_ids, self.process, self.history

    @cached_property
    def fields(self) -> dict[str, Any]:
        return load_object(self.raw, what="image config")

    @cached_property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Digests of the plain layer tars, base first."""
        rootfs = self.fields.get("rootfs")
        values = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if values is None and isinstance(rootfs, dict) and rootfs.get("type") == "layers":
            values = []
        if not isinstance(values, list) or len(values) > LAYERS:
            raise Invalid("image config: rootfs.diff_ids is missing or not a list; not an image that can be run")
        return tuple(Digest(value) for value in values)

    @property
    def platform(self) -> Platform:
        return Platform.from_fields(self.fields)

    @cached_property
    def process(self) -> Mapping[str, Any]:
        """The `config` object: User, Env, Entrypoint, Cmd, WorkingDir, Volumes, Labels, StopSignal, ..."""
        value = self.fields.get("config")
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Invalid("image config: config is not an object")
        return value

    @cached_property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        value = self.fields.get("history") or []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise Invalid("image config: history is not a list of objects")
        return tuple(value)

    @property
    def created(self) -> str:
        value = self.fields.get("created")
        return value if isinstance(value, str) else ""


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """The chain ID of a stack of layers, base first (config.md, "Layer ChainID"). Empty stacks have none: `Invalid`."""
    if not diff_ids:
        raise Invalid("chain ID: an image without layers has none")
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = Digest.of(f"{chain} {diff_id}".encode())
    return chain
