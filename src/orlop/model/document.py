"""Documents: manifests and indexes as raw bytes with a view (image-spec 1.1 manifest.md, image-index.md).

The bytes are the identity and are never written again from the view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..errors import Invalid
from . import media
from .descriptor import Descriptor, annotations_of
from .digest import Digest
from .limits import DESCRIPTORS, LAYERS, MANIFEST_BYTES
from .strict_json import load_object


@dataclass(frozen=True)
class Document:
    """A manifest or an index. Construction checks size, JSON, media type and shape: an instance is proof.

    Hazards PA10, PA11, PA12 and PA13 (per document) end here with `Invalid`.
    """

    raw: bytes = field(repr=False)
    media_type: str
    algorithm: str = "sha256"  # of the digest that it goes by

    def __post_init__(self) -> None:
        if len(self.raw) > MANIFEST_BYTES:
            raise Invalid(f"manifest: {len(self.raw)} bytes, at most {MANIFEST_BYTES} are taken")
        if self.media_type not in media.DOCUMENTS:
            raise Invalid(f"manifest: media type {self.media_type[:120]!r} is not one of an image")
        inside = self.fields.get("mediaType")
        if inside is not None and inside != self.media_type:
            raise Invalid(f"manifest: says it is {str(inside)[:120]!r}, was served as {self.media_type!r}")
        if self.is_schema1:
            return
        if self.fields.get("schemaVersion") != 2:
            raise Invalid(f"manifest: schemaVersion {self.fields.get('schemaVersion')!r}, expected 2")
        # Go's JSON reader does not tell upper case from lower: "Manifests" is `manifests` to most other clients
        folded = [key.casefold() for key in self.fields]
        if len(set(folded)) != len(folded):
            raise Invalid("manifest: has two fields that differ in case only")
        both = {"layers", "config"} if self.is_index else {"manifests"}
        if both & set(folded):  # CVE-2021-41190
            raise Invalid("manifest: has the fields of a manifest and of an index at once")
        _ = self.successors, self.subject, self.annotations
        # up to twenty times the bytes, and rarely asked for again
        del self.__dict__["fields"]

    @classmethod
    def read(cls, raw: bytes, media_type: str) -> Document:
        """As the constructor, but a missing, parametrised or general media type is settled by the body.

        `application/json; charset=utf-8` and the like come from static servers; the body's own `mediaType`,
        or the shape of a version 2 document without one, then decides.
        """
        plain = media_type.partition(";")[0].strip().lower()
        return cls(raw, plain if plain in media.DOCUMENTS else media_type_of(raw, plain))

    def under(self, digest: Digest) -> Document:
        """The same document, going by the algorithm of the digest that names it."""
        return self if digest.algorithm == self.algorithm else replace(self, algorithm=digest.algorithm)

    @cached_property
    def fields(self) -> dict[str, Any]:
        return load_object(self.raw, what="manifest")

    @cached_property
    def digest(self) -> Digest:
        """Of the raw bytes. For a signed schema 1 manifest use `model.legacy.payload_digest`."""
        return Digest.of(self.raw, self.algorithm)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def is_index(self) -> bool:
        return self.media_type in media.INDEXES

    @property
    def is_schema1(self) -> bool:
        return self.media_type in media.SCHEMA1

    @cached_property
    def manifests(self) -> tuple[Descriptor, ...]:
        """Children of an index, in order; empty for a manifest."""
        return _descriptors(self.fields, "manifests", DESCRIPTORS) if self.is_index else ()

    @cached_property
    def layers(self) -> tuple[Descriptor, ...]:
        """Layers of a manifest, base first; empty for an index."""
        return () if self.is_index or self.is_schema1 else _descriptors(self.fields, "layers", LAYERS)

    @cached_property
    def config(self) -> Descriptor | None:
        value = None if self.is_index or self.is_schema1 else self.fields.get("config")
        return None if value is None else Descriptor.from_fields(value)

    @cached_property
    def subject(self) -> Descriptor | None:
        value = self.fields.get("subject")
        return None if value is None else Descriptor.from_fields(value)

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        return annotations_of(self.fields)

    @property
    def successors(self) -> tuple[Descriptor, ...]:
        """Everything this document needs: children of an index, or config and layers. Not the subject."""
        config = (self.config,) if self.config else ()
        return self.manifests or (*config, *self.layers)


def media_type_of(raw: bytes, served_as: str) -> str:
    """The media type that the body itself states or shows; `Invalid` if it is no manifest at all (NF12)."""
    try:
        fields = load_object(raw, what="manifest")
    except Invalid as error:
        raise Invalid(f"{error.message} (served as {served_as or 'no media type'!r})") from error
    inside = fields.get("mediaType")
    if isinstance(inside, str):
        return inside
    if fields.get("schemaVersion") == 1:
        return media.DOCKER_SCHEMA1_SIGNED if "signatures" in fields else media.DOCKER_SCHEMA1
    if "manifests" in fields and "layers" not in fields:
        return media.OCI_INDEX
    if "layers" in fields and "manifests" not in fields:
        return media.OCI_MANIFEST
    raise Invalid(f"manifest: neither its media type {served_as[:80]!r} nor its body says what it is")


def _descriptors(fields: Mapping[str, Any], key: str, limit: int) -> tuple[Descriptor, ...]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise Invalid(f"manifest: {key} is missing or not a list")
    if len(value) > limit:
        raise Invalid(f"manifest: {len(value)} {key}, at most {limit} are taken")
    return tuple(Descriptor.from_fields(item) for item in value)
