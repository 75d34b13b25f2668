"""Images to and from the archives of Docker before 1.10: `ID/{VERSION,json,layer.tar}` and `repositories`."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from ..errors import NotFound
from ..files.graph_archive import REPOSITORIES, GraphArchive
from ..job import Event, Job
from ..model.v1 import DEFAULT_TAG, ImageId, parse_repository_tag
from ..streams import Writable
from ..tar.members import MemberWriter
from .describe import seconds
from .graph import Graph, Node
from .tags import TagStore

_SECOND = 1_000_000_000


def load(archive: GraphArchive, graph: Graph, tags: TagStore, job: Job) -> tuple[tuple[str, ...], tuple[ImageId, ...]]:
    """Take in all images of an archive, parents first, and its names; returns these, and the images that are new.

    Images that are there stay as they are. All JSON and names are checked before the first is taken; a layer that
    is bad ends it, and the images before it stay.
    """
    raw = archive.repositories
    named = tags.read(raw) if raw is not None else {}
    here = {image.id for image in archive.images}
    for repository, its in named.items():
        for tag, id in its.items():
            tags.checked(repository, tag)
            if id not in here and not graph.exists(id):
                raise NotFound(f"{archive.origin}: {repository}:{tag} is image {id.short}, which is not in it")
    new: list[ImageId] = []
    names: list[str] = []
    for image in archive.images:
        job.check()
        if graph.exists(image.id):
            job.progress(Event("note", text=f"already exists: {image.id}"))
            continue
        with archive.layer(image.id) as layer:
            graph.register(image, layer, origin=archive.origin, job=job)
        new.append(image.id)
    for repository, its in named.items():
        for tag, id in its.items():
            tags.set(repository, tag, id, force=True)
            names.append(f"{repository}:{tag}")
    return tuple(names), tuple(new)


def save(names: Sequence[str], graph: Graph, tags: TagStore, out: Writable, job: Job) -> int:
    """Write images with all their ancestors, each once, as one archive; returns its bytes.

    A repository's name means all of its tags, `repository:tag` that one; an image given by its ID keeps all names
    that it has. `NotFound` before anything is written.
    """
    named, wanted = _chosen(names, tags)
    writer = MemberWriter(out, job)
    done: set[ImageId] = set()
    for id in wanted:
        for node in graph.chain(id):
            if node.image.id not in done:
                done.add(node.image.id)
                _write(writer, graph, node, job)
    if named:
        raw = json.dumps(named, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        writer.file(REPOSITORIES, io.BytesIO(raw), len(raw), 0)
    writer.close()
    return writer.size


def _chosen(names: Sequence[str], tags: TagStore) -> tuple[dict[str, dict[str, ImageId]], dict[ImageId, None]]:
    """What `repositories` will say, and the images, in the order asked for."""
    named: dict[str, dict[str, ImageId]] = {}
    wanted: dict[ImageId, None] = {}
    for name in names:
        every = tags.get(name)
        if every:
            named.setdefault(name, {}).update(every)
            wanted.update(dict.fromkeys(every.values()))
            continue
        node = tags.lookup(name)
        wanted[node.image.id] = None
        repository, tag = parse_repository_tag(name)
        if tags.get(repository).get(tag or DEFAULT_TAG) == node.image.id:
            named.setdefault(repository, {})[tag or DEFAULT_TAG] = node.image.id
            continue
        for known in tags.by_id().get(node.image.id, ()):
            repository, tag = parse_repository_tag(known)
            named.setdefault(repository, {})[tag] = node.image.id
    return named, wanted


def _write(writer: MemberWriter, graph: Graph, node: Node, job: Job) -> None:
    id, raw = node.image.id, node.image.raw
    mtime = max(0, seconds(node.image.created)) * _SECOND
    writer.directory(id, mtime)
    writer.file(f"{id}/VERSION", io.BytesIO(b"1.0"), 3, mtime)
    writer.file(f"{id}/json", io.BytesIO(raw), len(raw), mtime)
    with graph.plain_layer(node, job) as layer:
        size = layer.seek(0, io.SEEK_END)
        layer.seek(0)
        writer.file(f"{id}/layer.tar", layer, size, mtime)
