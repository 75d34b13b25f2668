"""The images of a store: finding them by what people type, naming, renaming, listing."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import graph
from .blobs.local import ALGORITHMS, LocalBlobs
from .catalog.sqlite import SqliteCatalog
from .errors import Conflict, Invalid, NotFound, Usage
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .model.image import ImageConfig
from .model.limits import CONFIG_BYTES, INDEX_DEPTH
from .model.platform import Platform
from .model.reference import Location, Reference
from .model.v1_names import HOST, id_in, is_reserved
from .ports import Tagged

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store: what a name points at (`target`, maybe an index), and the manifest for a platform."""

    name: str  # full reference; "" when it was found by digest
    target: Descriptor
    manifest: Document
    config: ImageConfig
    platform: Platform


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of `images`. Sizes in bytes: `size` is what all content below takes, each digest once."""

    name: str
    digest: Digest
    platforms: tuple[str, ...]
    created: str
    updated: str
    size: int
    complete: bool


class Images:
    """Look-ups and names of one store."""

    def __init__(self, blobs: LocalBlobs, catalog: SqliteCatalog, host: Platform) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._host = host

    def listed(self, *, hidden: bool = False) -> list[Listed]:
        """Everything that has a name, sorted by name; with `hidden` the entries of version 1 images too."""
        rows = []
        for row in self._catalog.rows(lambda name: hidden or not is_reserved(name)):
            target, pulled = row.tagged.target, row.tagged.pulled
            complete = row.documents > 0 and self._blobs.size(target.digest) == target.size
            wanted = row.below if target.digest in pulled else pulled
            complete = complete and all(self._blobs.size(digest) is not None for digest in wanted)
            rows.append(
                Listed(
                    row.tagged.name, target.digest, row.platforms, row.created, row.tagged.updated, row.size, complete
                )
            )
        return rows

    def resolve(self, text: str) -> Tagged:
        """By name as people type it, by digest or version 1 ID, or by 6 hex digits or more of one. `NotFound` suggests
        near names."""
        if (found := self._by_digest(text)) is not None:
            return found
        name = local_name(Location.parse(text))
        tagged = self._catalog.resolve(name)
        if tagged is None:
            raise NotFound(f"{text}: not in the store", hint=self._suggestion(text, name))
        return tagged

    def document(self, text: str) -> Document:
        """The manifest or index at a name, bytes as they came."""
        target = self.resolve(text).target
        return self.stored(target)

    def stored(self, wanted: Descriptor) -> Document:
        """A document of the store, checked against its digest."""
        raw = self._blobs.read(wanted.digest, CONFIG_BYTES)
        if raw is None:
            raise NotFound(f"manifest {wanted.digest}: not in the store", hint="pull the image again")
        return Document.read(raw, wanted.media_type).under(wanted.digest)

    def image(self, text: str, platform: Platform | None = None) -> Image:
        """The manifest and config for a platform (None: the host's, or the only one there is)."""
        tagged = self.resolve(text)
        manifest = self._manifest(self.stored(tagged.target), platform)
        config = self.config(manifest)
        if platform is not None and platform.fit(config.platform) == 0 and config.platform.os != "unknown":
            raise NotFound(f"{text}: no {platform} in it", hint=f"it is {config.platform}")
        return Image(tagged.name, tagged.target, manifest, config, config.platform)

    def tag(self, source: str, new: str) -> Tagged:
        """Another name for an image, moved there if it is taken. Durable when it returns."""
        tagged = self.resolve(source)
        reference = Reference.parse(new)
        if reference.digest is not None:
            raise Usage(f"tag {new}: expected a name with a tag, got one with a digest")
        # found by digest, it has no record of its own
        names = [tagged] if tagged.name else self.names_of(tagged.target.digest)
        check_name(str(reference))
        pulled = {digest: None for name in names for digest in name.pulled}
        return self.name(Tagged(str(reference), tagged.target, tagged.origin, "", tagged.original, tuple(pulled)))

    def name(self, wanted: Tagged) -> Tagged:
        """Make a name point where `wanted` says; left as it is if it does already. Durable when it returns."""
        # some of what is named may have been put there by a process that was killed before it could sync that
        self._blobs.sync_names()
        while True:
            there = self._catalog.resolve(wanted.name)
            stamped = replace(wanted, updated=_now())
            if there is not None and there.target.digest == wanted.target.digest:
                stamped = replace(there, pulled=wanted.pulled)
            if self._catalog.swap(wanted.name, there.target.digest if there else None, stamped):
                return stamped

    def claim(self, wanted: Tagged, old: Digest | None) -> bool:
        """Make a name that pointed at `old`, None for a new one; False if it points elsewhere by now. Durable when it
        returns."""
        self._blobs.sync_names()
        return self._catalog.swap(wanted.name, old, replace(wanted, updated=_now()))

    def check_claim(self, name: str, digest: Digest, origin: str) -> None:
        """A file may name its image, but `Conflict` if that would take the name from one that came from elsewhere."""
        there = self._catalog.resolve(name)
        known = there is not None and there.origin == origin and not origin.endswith(":-")
        if there is not None and there.target.digest != digest and not known:
            raise Conflict(
                f"{origin}: calls its image {name}, which is another one here, from {there.origin or 'elsewhere'}",
                hint=f"{origin}:{name} pulls it under that name all the same",
            )

    def untag(self, text: str) -> Tagged:
        """Remove one name, and only it."""
        while True:
            tagged = self.resolve(text)
            if not tagged.name:
                raise Usage(f"{text}: is a digest, expected a name", hint="`orlop images` lists them")
            if is_reserved(tagged.name) and not id_in(tagged.name):
                raise Usage(f"{text}: keeps a writable root's image, and goes with the root")
            if self._catalog.swap(tagged.name, tagged.target.digest, None):
                return tagged

    def names_of(self, digest: Digest) -> list[Tagged]:
        return [tagged for tagged in self._catalog.names() if tagged.target.digest == digest]

    def _manifest(self, document: Document, platform: Platform | None) -> Document:
        for _ in range(INDEX_DEPTH + 1):
            if not document.is_index:
                return document
            present = [child for child in document.manifests if self._blobs.size(child.digest) is not None]
            document = self.stored(self._child(document, present, platform))
        raise Invalid(f"index {document.digest}: nested deeper than {INDEX_DEPTH}")

    def _child(self, index: Document, present: list[Descriptor], platform: Platform | None) -> Descriptor:
        """What fits best; what was pulled, if only one was and nobody asked for a certain platform."""
        only = _only_image(present) if platform is None else None
        try:
            child = graph.choose(index, platform or self._host)
        except NotFound:
            if only is None:
                raise
            return only
        if child in present:
            return child
        if only is not None:
            return only
        raise NotFound(
            f"platform {child.platform or platform}: in the index, but not in the store",
            hint=f"pull it with --platform {child.platform or platform}",
        )

    def config(self, manifest: Document) -> ImageConfig:
        """The config of a manifest. `NotFound`, `Invalid` if it is no image."""
        config = manifest.config
        raw = self._blobs.read(config.digest, CONFIG_BYTES) if config else None
        if config is not None and raw is None:
            raise NotFound(f"image config {config.digest}: not in the store", hint="pull the image again")
        image = graph.image_of(manifest, raw) if raw is not None else None
        if image is None:
            raise graph.invalid_image(manifest)
        return image

    def _by_digest(self, text: str) -> Tagged | None:
        stated, colon, prefix = text.rpartition(":")
        if colon and stated not in ALGORITHMS:
            return None  # a name with a tag
        longest = 64 if stated == "sha256" else 128
        if not 6 <= len(prefix) <= longest or not _HEX.issuperset(prefix):
            if colon:
                raise Usage(f"{text[:140]}: is no digest: expected 6 to {longest} hexadecimal digits")
            return None
        found = [Tagged("", each) for each in self._catalog.starting_with(prefix, algorithm=stated)]
        if not colon:
            found += [each for each in self._catalog.names() if id_in(each.name).startswith(prefix)]
        if len(found) > 1:
            raise Usage(f"{text}: fits {len(found)} or more documents", hint="give more digits")
        return found[0] if found else None

    def _suggestion(self, text: str, name: str) -> str:
        known = [tagged.name for tagged in self._catalog.names() if not is_reserved(tagged.name)]
        names = {Reference.parse(each).familiar for each in known}
        near = difflib.get_close_matches(Reference.parse(name).familiar, names, n=1, cutoff=0.6)
        return f"did you mean {near[0]}?" if near else f"`orlop pull {text}` fetches it"


def check_name(name: str) -> None:
    """`Usage` for names that are not for users."""
    if is_reserved(name):
        raise Usage(f"{name}: {HOST} is reserved for images of version 1", hint="choose another name")


def local_name(location: Location) -> str:
    """The name under which the store keeps what comes from a place.

    A registry's images keep their reference (the digest alone, if one was given). A file's image is named by the
    reference inside it if that is a full one, else `localhost/<file name>:<name inside>`.
    """
    if location.reference is not None:
        reference = location.reference
        return f"{reference.name}@{reference.digest}" if reference.digest else str(reference)
    if "/" in location.name or (location.transport == "docker-archive" and location.name):
        return str(Reference.parse(location.name))
    stem = location.path.rstrip("/").rpartition("/")[2] or "image"
    for ending in (".gz", ".zst", ".tar", ".tgz"):
        stem = stem.removesuffix(ending)
    safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem.lower()).strip("-")
    while "--" in safe:
        safe = safe.replace("--", "-")
    return str(Reference.parse(f"localhost/{safe or 'image'}:{location.name or 'latest'}"))


def _only_image(present: Sequence[Descriptor]) -> Descriptor | None:
    """The one image that is there of a sparse index."""
    images = [child for child in present if child.platform is None or child.platform.os != "unknown"]
    return images[0] if len(images) == 1 else None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
