"""The graph of version 1 images: each a JSON document, a layer and a parent, kept as OCI manifests in a repository
that no user can name.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from ..images import Image
from ..job import Job
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.v1 import ImageId, V1Image
from ..ports import Readable


@dataclass(frozen=True)
class Node:
    """One image of the graph. `layer` and `diff_id` are None for an image that changes nothing below it."""

    image: V1Image
    layer: Descriptor | None
    diff_id: Digest | None
    manifest: Descriptor  # what a name of the image points at
    origin: str = ""
    checksum: str = ""  # the one that was verified, "" if there was none


class Graph:
    """The images of one store by ID: those that were registered, and those that the store's other images consist of,
    whose IDs are computed. Safe for many threads and processes."""

    def register(
        self,
        image: V1Image,
        layer: Readable | None,
        *,
        origin: str = "",
        tarsum: str = "",
        checksum: str = "",
        job: Job,
    ) -> Node:
        """Take in an image. Streams the layer; nothing can be seen before all is checked, and of what fails or is
        killed nothing stays.

        A layer of None or without a byte is none. `checksum` is of the payload ("sha256:..."), `tarsum` is
        "tarsum[.v1]+sha256:..."; both are verified where they are given. `Conflict`: "Image ID already exists", and
        the one that does is not touched. `NotFound`: unknown parent. `Mismatch`: a checksum. `Invalid`, `Unsafe`: the
        layer. `Unsafe`: more than 127 ancestors.
        """
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        """Whether an image was registered under this ID; prefixes do not count."""
        raise NotImplementedError

    def get(self, name: str) -> Node:
        """By ID or the first digits of one. `NotFound`: "No such id: NAME"."""
        raise NotImplementedError

    def delete(self, name: str, *, job: Job) -> ImageId:
        """Remove the entry of an image, by ID or prefix, and what nothing else needs. Children stay whole, and so do
        other names of it. `NotFound`."""
        raise NotImplementedError

    def nodes(self) -> dict[ImageId, Node]:
        """All images that are whole, by ID."""
        raise NotImplementedError

    def by_parent(self) -> dict[ImageId, list[Node]]:
        """The children of each image that has some."""
        raise NotImplementedError

    def heads(self) -> dict[ImageId, Node]:
        """Images that are nobody's parent."""
        raise NotImplementedError

    def chain(self, identity: ImageId) -> list[Node]:
        """An image with all its ancestors, base first. `NotFound`."""
        raise NotImplementedError

    def lock(self, identity: ImageId, job: Job) -> AbstractContextManager[None]:
        """One fetch of one image at a time, over all threads and processes. Not held by `register`."""
        raise NotImplementedError

    def open_layer(self, node: Node) -> BinaryIO:
        """The layer as it came. `NotFound` if there is none."""
        raise NotImplementedError

    def plain_layer(self, node: Node, job: Job) -> BinaryIO:
        """The layer as a plain tar, exactly as its digest has it; of an image without a layer, an empty tar."""
        raise NotImplementedError

    def size(self, node: Node) -> int:
        """Bytes in the files that its layer brings."""
        raise NotImplementedError

    def virtual_size(self, identity: ImageId) -> int:
        """The same of an image and all its ancestors together."""
        raise NotImplementedError

    def adopt(self, image: Image, *, job: Job) -> ImageId:
        """Enter an image of the store, with its ancestors, under the IDs that it brought along or that are computed.
        Idempotent. `Conflict` if one of them is taken by another image."""
        raise NotImplementedError
