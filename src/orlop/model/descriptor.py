"""Descriptors (OCI image-spec 1.1, descriptor.md): what to fetch and how to know that it is right."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import Invalid, Mismatch
from .digest import Digest
from .limits import INLINE_DATA_BYTES
from .platform import Platform

_NOTHING: Mapping[str, str] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return _NOTHING


# RFC 6838 section 4.2, without parameters
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)
SIZE_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size in bytes of one piece of content. `size` is exact, never "unknown"."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=_nothing, hash=False)
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str = ""

    def __post_init__(self) -> None:
        if _MEDIA_TYPE.fullmatch(self.media_type) is None:
            raise Invalid(f"descriptor: media type {self.media_type[:80]!r} is malformed")
        if not 0 <= self.size < SIZE_LIMIT:
            raise Invalid(f"descriptor {self.digest}: size {self.size} is out of range")
        if self.data is not None:
            if len(self.data) > INLINE_DATA_BYTES:
                raise Invalid(f"descriptor {self.digest}: inline data of {len(self.data)} bytes, at most 4096")
            if len(self.data) != self.size or Digest.of(self.data, self.digest.algorithm) != self.digest:
                raise Mismatch(f"descriptor {self.digest}: its inline data has another digest or size")

    @classmethod
    def from_fields(cls, fields: Any) -> Descriptor:
        """From a JSON object. `Invalid` names the field that is missing or of the wrong type."""
        if not isinstance(fields, dict):
            raise Invalid(f"descriptor: expected a JSON object, got {type(fields).__name__}")
        size = fields.get("size")
        if not isinstance(size, int) or isinstance(size, bool):
            raise Invalid("descriptor: size is missing or not a whole number")
        media_type, artifact_type = fields.get("mediaType", ""), fields.get("artifactType") or ""
        if not isinstance(media_type, str) or not isinstance(artifact_type, str):
            raise Invalid("descriptor: mediaType is not a string")
        platform = fields.get("platform")
        if platform is not None and not isinstance(platform, dict):
            raise Invalid("descriptor: platform is not a JSON object")
        urls = fields.get("urls") or []
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise Invalid("descriptor: urls is not a list of strings")
        return cls(
            media_type=media_type,
            digest=Digest(fields.get("digest", "")),
            size=size,
            platform=None if platform is None else Platform.from_fields(platform),
            annotations=annotations_of(fields),
            urls=tuple(urls),
            data=_inline(fields.get("data")),
            artifact_type=artifact_type,
        )

    @property
    def fields(self) -> dict[str, Any]:
        """As a JSON object, for documents that we make ourselves."""
        result: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            result["annotations"] = dict(self.annotations)
        if self.platform:
            result["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                result["platform"]["variant"] = self.platform.variant
        return result


def annotations_of(fields: Mapping[str, Any]) -> Mapping[str, str]:
    """The `annotations` object of a document or descriptor; `Invalid` unless it maps strings to strings."""
    value = fields.get("annotations")
    if value is None:
        return _NOTHING
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Invalid("annotations: expected an object of strings")
    return MappingProxyType(value)


def _inline(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid("descriptor: data is not a base64 string")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("descriptor: data is not base64") from error
