"""What a registry of version 1 has to show: images by ID, repositories and their tags, as names in URLs."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import NotFound, Usage
from ...job import Job
from ...model.reference import DEFAULT_HOST, Reference, is_repository
from ...model.v1 import ImageId, PayloadHasher
from ...store import Store
from ...v1.graph import Node
from ..view import served_as
from .replies import Refusal, text

_CHECKSUMS = 4096  # remembered
# images that are parts of others are looked for in the whole store; what was found is believed for so many seconds,
# in which a client asks for the rest of the same image
_BELIEVED = 10.0
_NODES = 1024
_READ = 1 << 20
# an empty tar: what an image without a layer has for one
EMPTY_LAYER = b"\0" * 1024

Tags = dict[str, ImageId]


class Shelf:
    """Of one store, which may change meanwhile. Safe from any thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.job = Job(workers=1)  # of all requests: stopped when the server ends
        self._guard = threading.Lock()
        self._checksums: OrderedDict[str, str] = OrderedDict()
        self._nodes: OrderedDict[ImageId, tuple[Node, float]] = OrderedDict()

    def is_registered(self, image: ImageId) -> bool:
        """Whether it has a place of its own, and is not known from other images only. Costs next to nothing."""
        return self.store.graph.exists(image)

    def node(self, image: ImageId) -> Node | None:
        """Looks through the whole store before it says None."""
        try:
            if self.is_registered(image):
                return self.store.graph.get(image)
            with self._guard:
                found, until = self._nodes.get(image, (None, 0.0))
            if found is None or time.monotonic() > until:
                found = self.store.graph.get(image)
                self._believe(found)
            return found
        except NotFound:
            return None

    def ancestry(self, image: ImageId) -> list[Node]:
        """The image first, its oldest ancestor last."""
        nodes = self.store.graph.chain(image)[::-1]
        for node in nodes:
            if not self.is_registered(node.image.id):
                self._believe(node)
        return nodes

    def _believe(self, node: Node) -> None:
        with self._guard:
            self._nodes.pop(node.image.id, None)
            self._nodes[node.image.id] = node, time.monotonic() + _BELIEVED
            if len(self._nodes) > _NODES:
                self._nodes.popitem(last=False)

    def layer(self, node: Node) -> tuple[Path, int] | None:
        """The file and size of its layer, as it came; None if it has none."""
        if node.layer is None:
            return None
        try:
            return self.store.blob(node.layer.digest)
        except NotFound:
            raise Refusal(404, "Image not found") from None  # collected since the image was looked up

    def checksum(self, node: Node) -> str:
        """sha256 of its JSON, a line feed and its layer as it is served. What came with another sum, or none, is
        read once."""
        if node.layer is not None and node.checksum.startswith("sha256:"):
            return node.checksum
        key = f"{node.image.id} {node.manifest.digest}"
        with self._guard:
            if key in self._checksums:
                self._checksums.move_to_end(key)
                return self._checksums[key]
        hasher = PayloadHasher(node.image.raw)
        if node.layer is None:
            hasher.write(EMPTY_LAYER)
        else:
            with self.store.graph.open_layer(node) as stream:
                while data := stream.read(_READ):
                    self.job.check()
                    hasher.write(data)
        with self._guard:
            self._checksums[key] = str(hasher)
            if len(self._checksums) > _CHECKSUMS:
                self._checksums.popitem(last=False)
        return str(hasher)

    def names(self, term: str) -> Iterator[str]:
        """Each repository with tags that has `term` in its shortest name, sorted."""
        references = self._references()
        for name in sorted({served_as(reference)[0] for reference in references}):
            if term in name and self._tags(name, references):
                yield name

    def tags(self, repository: str) -> Tags | None:
        """Under any of the names that `served_as` gives; what is `docker.io`'s comes first. None if there are none."""
        return self._tags(repository, self._references()) or None

    def _tags(self, repository: str, references: Sequence[Reference]) -> Tags:
        found: Tags = {}
        known = {reference.name for reference in references if repository in served_as(reference)}
        for name in sorted(known, key=lambda name: (not name.startswith(f"{DEFAULT_HOST}/"), name)):
            for tag, image in self.store.tags.get(name).items():
                found.setdefault(tag, image)
        return found

    def _references(self) -> list[Reference]:
        return [Reference.parse(name) for name in self.store.names()]

    def set_tag(self, repository: str, tag: str, image: ImageId) -> None:
        """The tag moves if it is taken. Durable when it returns."""
        self.store.tags.set(_own(repository), tag, image, force=True)

    def delete(self, repository: str, tag: str = "") -> None:
        """A tag, or all of them. 404; 403 if it is shown here, but another registry's."""
        tags = self.tags(repository)
        if tags is None:
            raise Refusal(404, "Repository not found")
        if tag and tag not in tags:
            raise Refusal(404, f"Tag not found: {tag}")
        try:
            self.store.tags.delete(_own(repository), tag)
        except NotFound as error:
            raise Refusal(403, f"Repository {repository} came from another registry, it is not changed here") from error


def _own(repository: str) -> str:
    """The name in the store of what is pushed as `repository`. 400 for one that would be another host's."""
    reference = Reference.parse(repository)
    if reference.host != DEFAULT_HOST or reference.repository != repository:
        raise Refusal(400, f"Invalid repository name ({text(repository)}): it starts with a host")
    return repository.removeprefix("library/")


def repository_name(path: str) -> str:
    """`solo` is `library/solo`. 400 for what is no name."""
    name = path if "/" in path else f"library/{path}"
    try:
        if is_repository(name):
            return Reference(DEFAULT_HOST, name).repository
    except Usage:
        pass  # too long
    raise Refusal(400, f"Invalid repository name ({text(path)})")
