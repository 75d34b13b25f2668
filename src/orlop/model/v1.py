"""Docker's first image format (2013 to 2015): an ID, a JSON document that is kept byte for byte, a parent.

IDs are random and name an image; they prove nothing. Source: Docker's image specification v1 and the registry
protocol version 1; docs/lineage.md says where this is stricter.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import Invalid
from . import go_json
from .limits import V1_JSON_BYTES
from .strict_json import load_object

DEFAULT_TAG = "latest"
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_SHOWN = 80
# in the order in which Docker wrote them
_FIELDS: tuple[str, ...] = ("id", "parent", "comment", "created", "container", "container_config", "docker_version")
_FIELDS += ("author", "config", "architecture", "os", "Size")
# what says of the bytes of a layer which they are; some servers wrote the name the other way round
CHECKSUM_HEADERS = ("x-docker-checksum-payload", "x-docker-payload-checksum")


class ImageId(str):
    """64 lower-case hex digits. An instance is proof of the form; `Invalid` otherwise. Nothing else reaches a path."""

    __slots__ = ()

    def __new__(cls, text: object) -> ImageId:
        if isinstance(text, ImageId):
            return text
        if text == "":
            raise Invalid("Id can't be empty")
        if not isinstance(text, str) or _ID.fullmatch(text) is None:
            raise Invalid(f"image ID '{str(text)[:_SHOWN]}' is invalid")
        return super().__new__(cls, text)

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self[:12]


def random_id(draw: Callable[[], str] = lambda: secrets.token_hex(32)) -> ImageId:
    """A new ID. Its first 12 digits never look like a number."""
    while True:
        text = draw()
        if not text[:12].isdecimal():
            return ImageId(text)


@dataclass(frozen=True)
class V1Image:
    """The JSON of an image exactly as given, and what it says. Make it by `read`."""

    raw: bytes = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False, compare=False)
    id: ImageId
    parent: ImageId | None

    @classmethod
    def read(cls, raw: bytes) -> V1Image:
        """`Invalid`: not a JSON object in UTF-8, no ID, a malformed ID or parent, its own parent, too large.

        Unknown fields are fine. The same refusals as for any JSON from outside: see `strict_json`.
        """
        if len(raw) > V1_JSON_BYTES:
            raise Invalid(f"image JSON: {len(raw)} bytes, at most {V1_JSON_BYTES} are taken")
        fields = load_object(raw, what="image JSON")
        if not isinstance(fields.get("id"), str):
            raise Invalid("image JSON: Missing key `id' in JSON")
        own = ImageId(fields["id"])
        stated = fields.get("parent")
        if stated is not None and not isinstance(stated, str):
            raise Invalid("image JSON: parent is not a string")
        parent = ImageId(stated) if stated else None
        if parent == own:
            raise Invalid(f"image JSON: {own.short} is its own parent")
        return cls(raw, fields, own, parent)

    @classmethod
    def make(cls, id: ImageId, *, created: str, parent: ImageId | None = None, **fields: Any) -> V1Image:
        """A new image, its JSON written as Docker's; `fields` is of Docker's names, and what is empty is left out.

        `Invalid` for an unknown field (a defect of the caller would stay in every copy), and as `read`.
        """
        unknown = sorted(fields.keys() - set(_FIELDS))
        if unknown:
            raise Invalid(f"image JSON: no field is called {unknown[0]}")
        values = {**fields, "id": str(id), "parent": str(parent or ""), "created": created}
        kept = {key: values[key] for key in _FIELDS if values.get(key) or key == "created"}
        return cls.read(go_json.dumps(kept, sort_keys=False).encode())

    def _text(self, key: str) -> str:
        value = self.fields.get(key)
        return value if isinstance(value, str) else ""

    def _object(self, key: str) -> Mapping[str, Any]:
        value = self.fields.get(key)
        return value if isinstance(value, dict) else {}

    @cached_property
    def created(self) -> str:
        """RFC 3339, "" where it does not say."""
        return self._text("created")

    @cached_property
    def author(self) -> str:
        return self._text("author")

    @cached_property
    def comment(self) -> str:
        return self._text("comment")

    @cached_property
    def architecture(self) -> str:
        return self._text("architecture")

    @cached_property
    def os(self) -> str:
        return self._text("os")

    @cached_property
    def docker_version(self) -> str:
        return self._text("docker_version")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """How containers of the image run; empty where it does not say."""
        return self._object("config")

    @cached_property
    def container_config(self) -> Mapping[str, Any]:
        """How the container ran that the image was made from."""
        return self._object("container_config")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image in a repository's list. `checksum` and `tag` are "" where the list does not say."""

    id: ImageId
    checksum: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryData:
    """What an index says of a repository. `endpoints`: `host[:port]`, in the order given."""

    images: tuple[ImageRecord, ...]
    tokens: tuple[str, ...] = field(repr=False)
    endpoints: tuple[str, ...]


class PayloadHasher:
    """The checksum that a pushed layer has: sha256 over the JSON, a newline and the layer's bytes as sent."""

    def __init__(self, raw_json: bytes) -> None:
        self._hasher = hashlib.sha256(raw_json + b"\n")

    def write(self, data: bytes | memoryview, /) -> int:
        self._hasher.update(data)
        return len(data)

    def __str__(self) -> str:
        """`sha256:<hex>`."""
        return f"sha256:{self._hasher.hexdigest()}"


def parse_repository_tag(text: str) -> tuple[str, str]:
    """Repository and tag, "" without one: a colon before a slash belongs to a port."""
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, "")


def check_tag(tag: str) -> None:
    """`Invalid` unless it is a tag: 1 to 128 letters, digits, `_`, `.` and `-`, not starting with the last two."""
    if not tag:
        raise Invalid("Tag name can't be empty")
    if _TAG.fullmatch(tag) is None:
        raise Invalid(f"Illegal tag name ({tag[:_SHOWN]}): only [A-Za-z0-9_.-] are allowed, minimum 1, maximum 128")


def check_repository(name: str) -> None:
    """`Invalid` for what no repository is called. Which characters a name may have, `Reference` says."""
    if not name:
        raise Invalid("Repository name can't be empty")
    if "://" in name:
        raise Invalid('Invalid repository name (ex: "registry.domain.tld/myrepos")')
