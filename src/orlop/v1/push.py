"""Pushing to a registry of version 1, in the order of Docker's client: the list, then every image base first -- JSON,
layer, checksum --, the tags, and the list once more. What the registry has is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ..errors import Conflict
from ..http.sending import Upload
from ..job import Event, Job
from ..model.v1 import ImageId, ImageRecord, PayloadHasher
from ..ports import Readable
from ..registry.v1.names import remote_name
from ..registry.v1.uploads import V1Uploads
from ..streams import CHUNK, compression_of
from ..tar.tarsum import tarsum
from .graph import Graph, Node

# enough to tell a compression by
_START = 6
# what Docker and its registry of the time could read; all else goes as a plain tar
_READABLE = ("", "gzip", "bzip2", "xz")


class PushWatch:
    """Told of each step, in the thread of the push. This one does nothing."""

    def listing(self, repository: str, images: int) -> None:
        """The index is told which images are to come."""

    def endpoint(self, endpoint: str, repository: str, tags: int) -> None:
        """Begins with an endpoint."""

    def existing(self, identity: ImageId) -> None:
        """The endpoint has it."""

    def pushing(self, identity: ImageId, size: int) -> None:
        """Its layer is sent; `size` in bytes as it goes."""

    def sent(self, identity: ImageId, done: int, size: int) -> None:
        """So many bytes of the layer went out."""

    def pushed(self, identity: ImageId) -> None:
        """The endpoint has it now."""

    def tagging(self, identity: ImageId, endpoint: str, repository: str, tag: str) -> None:
        """A tag is set."""


class PushLog(PushWatch):
    """The words of Docker's client, as notes of a job, and how far each layer is."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def listing(self, repository: str, images: int) -> None:  # noqa: ARG002 -- Docker's words have neither
        self._note("Sending image list")

    def endpoint(self, endpoint: str, repository: str, tags: int) -> None:
        self._note(f"Pushing repository {repository} ({tags} tags) to {endpoint}")

    def existing(self, identity: ImageId) -> None:
        self._note(f"Image {identity.short} already pushed, skipping")

    def pushing(self, identity: ImageId, size: int) -> None:
        self._job.progress(Event("start", identity.short, 0, size))

    def sent(self, identity: ImageId, done: int, size: int) -> None:
        self._job.progress(Event("progress", identity.short, done, size))

    def pushed(self, identity: ImageId) -> None:
        self._job.progress(Event("done", identity.short))
        self._note(f"{identity.short}: Image successfully pushed")

    def tagging(self, identity: ImageId, endpoint: str, repository: str, tag: str) -> None:
        place = f"{endpoint}/v1/repositories/{remote_name(repository)}/tags/{tag}"
        self._note(f"Pushing tag for rev [{identity.short}] on {{{place}}}")

    def _note(self, text: str) -> None:
        self._job.progress(Event("note", text=text))


@dataclass(frozen=True, slots=True)
class V1Pushed:
    """What a push did: bytes of layers that went out, and of those that were there; images that were sent, and not."""

    sent: int
    kept: int
    pushed: tuple[ImageId, ...]
    present: tuple[ImageId, ...]


def push(
    uploads: V1Uploads,
    graph: Graph,
    repository: str,
    tags: Mapping[str, ImageId],
    *,
    watch: PushWatch | None = None,
    job: Job,
) -> V1Pushed:
    """Make a registry have images with all their ancestors, and their tags, at every endpoint that its index names.

    `NotFound` for an unknown image. `Conflict` if the registry has another image under one of the IDs, `Invalid` if it
    gives no token or got other bytes, `Denied`, `Unavailable`, `Unsafe`. What was sent before stays there; a push that
    broke off goes on with the image it was at.
    """
    watch = watch or PushLog(job)
    chains = {tag: graph.chain(identity) for tag, identity in tags.items()}
    nodes = {node.image.id: node for chain in chains.values() for node in chain}
    watch.listing(repository, len(nodes))
    data = uploads.begin(repository, _records(nodes, tags), job=job)
    pushing = _Push(uploads, graph, data.tokens, watch, job)
    for endpoint in data.endpoints:
        watch.endpoint(endpoint, repository, len(tags))
        for node in nodes.values():
            pushing.image(node, endpoint)
        for tag, identity in tags.items():
            watch.tagging(identity, endpoint, repository, tag)
            uploads.put_tag(repository, tag, identity, endpoint, data.tokens, job=job)
    done = [ImageRecord(identity, pushing.checksums.get(identity, "")) for identity in nodes]
    uploads.finish(repository, done, data.endpoints, job=job)
    present = tuple(identity for identity in nodes if identity not in pushing.checksums)
    kept = sum(layer.size for identity in present if (layer := nodes[identity].layer) is not None)
    return V1Pushed(pushing.sent, kept, tuple(pushing.checksums), present)


def push_image(
    uploads: V1Uploads,
    graph: Graph,
    identity: ImageId,
    endpoint: str,
    tokens: Sequence[str],
    *,
    watch: PushWatch | None = None,
    job: Job,
) -> bool:
    """One image alone, as `docker push ID` did. Whether it was sent."""
    pushing = _Push(uploads, graph, tokens, watch or PushLog(job), job)
    pushing.image(graph.get(identity), endpoint)
    return bool(pushing.checksums)


def _records(nodes: Mapping[ImageId, Node], tags: Mapping[str, ImageId]) -> tuple[ImageRecord, ...]:
    """Every image once for each of its tags, or without one; parents first."""
    names: dict[ImageId, list[str]] = {}
    for tag, identity in tags.items():
        names.setdefault(identity, []).append(tag)
    return tuple(ImageRecord(identity, "", tag) for identity in nodes for tag in names.get(identity, [""]))


class _Push:
    """What one push sent: the checksum of each image that went out."""

    def __init__(self, uploads: V1Uploads, graph: Graph, tokens: Sequence[str], watch: PushWatch, job: Job) -> None:
        self._uploads = uploads
        self._graph = graph
        self._tokens = tokens
        self._watch = watch
        self._job = job
        self.checksums: dict[ImageId, str] = {}
        self.sent = 0

    def image(self, node: Node, endpoint: str) -> None:
        self._job.check()
        identity = node.image.id
        there = self._uploads.stored_json(identity, endpoint, self._tokens, job=self._job)
        if there is not None:
            if there != node.image.raw:
                raise Conflict(
                    f"{endpoint}: has another image {identity.short} than the one to be pushed",
                    hint="two registries may have different images of one ID; neither is replaced",
                )
            self._watch.existing(identity)
            return
        try:
            self._send(node, endpoint)
        except Conflict as error:
            # somebody else was faster, if it is the same image
            if self._uploads.stored_json(identity, endpoint, self._tokens, job=self._job) != node.image.raw:
                raise error from None
            self._watch.existing(identity)

    def _send(self, node: Node, endpoint: str) -> None:
        image, tokens, job = node.image, self._tokens, self._job
        self._uploads.put_json(image.id, image.raw, endpoint, tokens, job=job)
        layer = _Layer(self._graph, node, self._watch, job)
        self._watch.pushing(image.id, layer.size)
        self._uploads.put_layer(image.id, Upload(layer.open, layer.size), endpoint, tokens, job=job)
        with self._graph.plain_layer(node, job) as plain:
            summed = tarsum(plain, image.raw)
        self._uploads.put_checksum(image.id, endpoint, tokens, tarsum=summed, payload=layer.payload, job=job)
        self.checksums[image.id] = summed
        self.sent += layer.size
        self._watch.pushed(image.id)


class _Layer:
    """The bytes of a layer as they are sent: as they came, or plain if nobody there could read them."""

    def __init__(self, graph: Graph, node: Node, watch: PushWatch, job: Job) -> None:
        self._graph = graph
        self._node = node
        self._watch = watch
        self._job = job
        self._is_plain = node.layer is None or not self._is_readable()
        if self._is_plain:
            with graph.plain_layer(node, job) as stream:
                self.size = stream.seek(0, 2)
        else:
            self.size = node.layer.size if node.layer else 0
        self._hasher = PayloadHasher(node.image.raw)

    @property
    def payload(self) -> str:
        """The checksum of what was sent last."""
        return str(self._hasher)

    def open(self) -> AbstractContextManager[Readable]:
        return self._opened()

    @contextmanager
    def _opened(self) -> Iterator[Readable]:
        self._hasher = hasher = PayloadHasher(self._node.image.raw)
        stream = (
            self._graph.plain_layer(self._node, self._job) if self._is_plain else self._graph.open_layer(self._node)
        )
        with stream:
            yield _Hashed(stream, hasher, lambda done: self._watch.sent(self._node.image.id, done, self.size))

    def _is_readable(self) -> bool:
        with self._graph.open_layer(self._node) as stream:
            return compression_of(stream.read(_START)) in _READABLE


class _Hashed:
    """A `Readable` that shows what it gives to a hasher."""

    def __init__(self, source: Readable, hasher: PayloadHasher, report: Callable[[int], None]) -> None:
        self._source = source
        self._hasher = hasher
        self._report = report
        self._done = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, CHUNK))
        self._hasher.write(data)
        self._done += len(data)
        self._report(self._done)
        return data
