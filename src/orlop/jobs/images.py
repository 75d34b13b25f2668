"""Jobs on single images: `image_set`, `image_tag`, `tag`, `image_get`, `image_inspect`, `image_tarlayer`,
`image_delete`."""

from __future__ import annotations

from typing import BinaryIO

from ..errors import Invalid, NotFound
from ..job import Job as Work
from ..model.v1 import ImageId, V1Image, parse_repository_tag
from ..ports import Readable
from ..store import Store
from ..streams import CHUNK, Writable
from ..v1.delete import Deletion
from ..v1.graph import Node
from .containers import users


def image_set(store: Store, name: str, raw: bytes, layer: Readable | None, *, work: Work) -> ImageId:
    """Take in an image: its JSON byte for byte, and its layer, a tar, plain or gzip, bzip2, xz or zstd.

    A layer of None, or without a byte, is none. `name` is the image's ID: `Invalid` if the JSON has another. What
    `Graph.register` raises.
    """
    image = V1Image.read(raw)
    if ImageId(name) != image.id:
        raise Invalid(f"image_set: the JSON is of image {image.id}, not of {name}")
    return store.graph.register(image, layer, origin="image_set", job=work).image.id


def image_tag(store: Store, new: str, old: str) -> None:
    """Give an image another name, whoever has it now."""
    repository, tag = parse_repository_tag(new)
    store.tags.set(repository, tag, old, force=True)


def tag(store: Store, image: str, repository: str, tag: str, *, force: bool) -> None:
    """Give an image a name. `Conflict` if another image has it, unless `force`."""
    store.tags.set(repository, tag, image, force=force)


def image_get(store: Store, name: str) -> Node | None:
    """An image by name, ID or a prefix of it, None if there is none."""
    try:
        return store.tags.lookup(name)
    except NotFound:
        return None


def image_inspect(store: Store, name: str) -> Node:
    """The same; `NotFound`."""
    try:
        return store.tags.lookup(name)
    except NotFound as error:
        raise NotFound(f"No such image: {name}") from error


def image_tarlayer(store: Store, name: str, out: Writable, *, work: Work) -> int:
    """Write the layer of an image as a plain tar; returns its bytes. Of an image without one, an empty tar."""
    node = image_inspect(store, name)
    written = 0
    with open_plain(store, node, work) as layer:
        while data := layer.read(CHUNK):
            work.check()
            out.write(data)
            written += len(data)
    return written


def image_delete(store: Store, name: str, *, force: bool, noprune: bool, work: Work) -> list[dict[str, str]]:
    """Remove a name, or all names of an ID, and the images that nobody needs then; what went, in order."""
    deletion = Deletion(store.graph, store.tags, users(store), lambda tag: store.remove(tag, job=work))
    return deletion.delete(name, force=force, noprune=noprune, job=work)


def open_plain(store: Store, node: Node, work: Work) -> BinaryIO:
    """The plain layer, seekable."""
    return store.graph.plain_layer(node, work)
