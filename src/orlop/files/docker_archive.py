"""Archives of `docker save`, 1.10 and later (`docker-archive:`), as sources.

They hold plain layer tars and a config, but no manifest; one is made here, the same for the same archive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import Invalid, NotFound, Unsupported, Usage
from ..job import Job
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.image import ImageConfig
from ..model.limits import CONFIG_BYTES, LAYERS, LAYOUT_INDEX_BYTES
from ..model.reference import Reference
from ..model.strict_json import loads
from ..ports import Body
from ..streams import CHUNK, compression_of, read_limited
from .archive import Archive

_LAYER_TYPES = {
    "": media.DOCKER_LAYER,
    "gzip": media.DOCKER_LAYER_GZIP,
    "zstd": media.DOCKER_LAYER_ZSTD,
    "bzip2": media.OCI_LAYER_BZIP2,
    "xz": media.OCI_LAYER_XZ,
}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One item of `manifest.json`: member names, and the names the image was saved under."""

    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]

    @classmethod
    def from_fields(cls, fields: Any, what: str) -> SavedImage:
        """`Invalid` names the field that is missing or of the wrong type."""
        if not isinstance(fields, dict) or not isinstance(fields.get("Config"), str):
            raise Invalid(f"{what}: Config is missing or not a string")
        names, layers = fields.get("RepoTags") or [], fields.get("Layers") or []
        for key, value in (("RepoTags", names), ("Layers", layers)):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise Invalid(f"{what}: {key} is not a list of strings")
        if len(layers) > LAYERS:
            raise Invalid(f"{what}: {len(layers)} layers, at most {LAYERS} are taken")
        return cls(fields["Config"], tuple(names), tuple(layers))


class DockerArchive:
    """A `docker save` archive, plain or compressed, "-" for standard input. `Source`, `Lists`, context manager.

    An archive that is an OCI layout too (Docker 25) is read by its `manifest.json` here.
    """

    def __init__(self, path: Path, spool: Path, *, job: Job | None = None, opened: Archive | None = None) -> None:
        self.origin = f"docker-archive:{path}"
        self._job = job or Job()
        self._blobs: dict[Digest, str] = {}  # member of each blob that `document` has told of
        self._documents: dict[int, Document] = {}
        self._archive = opened or Archive(path, spool, job=self._job)
        try:
            self.images = self._listed()
        except BaseException:
            self._archive.close()
            raise

    def document(self, reference: str) -> Document:
        """The manifest made for an image: by one of its RepoTags, "" if it is the only one, `@N` for the Nth from
        0, or the manifest's digest. Reads the config, and a compressed layer once to hash it."""
        if reference.startswith(("sha256:", "sha512:")):
            digest = Digest(reference)
            for number in range(len(self.images)):
                if (document := self._made(number)).digest == digest:
                    return document
            raise NotFound(f"{self.origin}: no image has the manifest {digest}")
        return self._made(self._number(reference))

    def open(
        self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job
    ) -> AbstractContextManager[Body]:
        """The bytes of a config or layer, unverified."""
        if wanted.digest not in self._blobs:
            for number in range(len(self.images)):
                self._made(number)
        member = self._blobs.get(wanted.digest)
        if member is None:
            raise NotFound(f"{self.origin}: there is no blob {wanted.digest}")
        return self._archive.open(member).narrow(offset, end, job)

    def tags(self) -> Iterator[str]:
        """The RepoTags of all images, in order."""
        for image in self.images:
            yield from image.names

    def close(self) -> None:
        """Idempotent."""
        self._archive.close()

    def __enter__(self) -> DockerArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listed(self) -> tuple[SavedImage, ...]:
        if "manifest.json" not in self._archive:
            if "repositories" in self._archive:
                raise Unsupported(
                    f"{self.origin}: saved by a Docker before 1.10, without manifest.json",
                    hint="orlop job load < FILE takes it",
                )
            hint = "it is an oci-archive:" if "oci-layout" in self._archive else ""
            raise Invalid(f"{self.origin}: not a docker archive: there is no manifest.json", hint=hint)
        what = f"{self.origin}: manifest.json"
        listed = loads(self._read("manifest.json", LAYOUT_INDEX_BYTES), what=what)
        if not isinstance(listed, list):
            raise Invalid(f"{what}: expected a list, got {type(listed).__name__}")
        return tuple(SavedImage.from_fields(item, what) for item in listed)

    def _number(self, reference: str) -> int:
        every = range(len(self.images))
        if not self.images:
            raise NotFound(f"{self.origin}: there are no images in it")
        if not reference:
            if len(self.images) > 1:
                raise Usage(f"{self.origin}: it has {len(self.images)} images", hint=f"say which: {self._names()}")
            return 0
        if reference[0] == "@" and reference[1:].isascii() and reference[1:].isdecimal():
            number = int(reference[1:]) if len(reference) < 9 else len(self.images)
            if number not in every:
                raise NotFound(f"{self.origin}: there is no image {reference[:9]}, it has {len(self.images)}")
            return number
        asked = _full(reference)
        fitting = [number for number in every if asked in map(_full, self.images[number].names)]
        if not fitting:
            raise NotFound(f"{self.origin}: no image is named {reference[:140]!r}", hint=f"there is: {self._names()}")
        if len(fitting) > 1:
            raise Usage(f"{self.origin}: {len(fitting)} images are named {reference[:140]!r}", hint="use @0, @1, ...")
        return fitting[0]

    def _names(self) -> str:
        names = [image.names[0] if image.names else f"@{number}" for number, image in enumerate(self.images[:_SHOWN])]
        return ", ".join(names) + (" ..." if len(self.images) > _SHOWN else "")

    def _made(self, number: int) -> Document:
        if number not in self._documents:
            self._documents[number] = self._make(self.images[number])
        return self._documents[number]

    def _make(self, image: SavedImage) -> Document:
        raw = self._read(image.config, CONFIG_BYTES)
        diff_ids = ImageConfig(raw).diff_ids
        if len(diff_ids) != len(image.layers):
            raise Invalid(f"{self.origin}: {len(image.layers)} layers, but the config has {len(diff_ids)} diff IDs")
        config = Descriptor(media.DOCKER_CONFIG, Digest.of(raw), len(raw))
        layers = [self._layer(name, diff_id) for name, diff_id in zip(image.layers, diff_ids, strict=True)]
        self._blobs[config.digest] = image.config
        self._blobs.update((layer.digest, name) for layer, name in zip(layers, image.layers, strict=True))
        manifest = {
            "schemaVersion": 2,
            "mediaType": media.DOCKER_MANIFEST,
            "config": config.fields,
            "layers": [layer.fields for layer in layers],
        }
        return Document(json.dumps(manifest, separators=(",", ":")).encode(), media.DOCKER_MANIFEST)

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        with self._archive.open(name) as window:
            compression = compression_of(window.read(6))
            if not compression:
                # a plain layer's digest is its diff ID; whoever copies it checks that
                return Descriptor(media.DOCKER_LAYER, diff_id, window.size)
            hasher = diff_id.hasher()
            window.narrow(0, None, self._job)
            while chunk := window.read(CHUNK):
                hasher.update(chunk)
            digest = Digest(f"{diff_id.algorithm}:{hasher.hexdigest()}")
            return Descriptor(_LAYER_TYPES[compression], digest, window.size)

    def _read(self, name: str, limit: int) -> bytes:
        with self._archive.open(name) as window:
            return read_limited(window, limit, what=f"{self.origin}: {name[:200]}")


def _full(name: str) -> str:
    """A name in its full form, or as it is when it is not a reference."""
    try:
        return str(Reference.parse(name))
    except Usage:
        return name
