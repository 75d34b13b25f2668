"""The image graph: version 1 images by ID, each with the layer that it adds to its parent.

There is no second store: an image is a manifest (see `record`) under a name of a reserved repository.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import graph as documents
from ..admission import Admission
from ..blobs.derived import DerivedFiles
from ..blobs.local import LocalBlobs
from ..catalog.sqlite import SqliteCatalog
from ..disk.disk import Disk
from ..disk.locks import Locks
from ..disk.session import Lease, Session
from ..errors import Conflict, Error, Invalid, Mismatch, NotFound, Unsupported
from ..images import Images
from ..intake import Intake
from ..job import Job
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.limits import V1_PARENTS
from ..model.v1 import ImageId, PayloadHasher, V1Image
from ..ports import Readable, Tagged
from ..streams import CHUNK
from ..tar.tarsum import TarSum
from . import record
from .plain_layer import EMPTY, PlainLayer
from .record import Step, name_of

if TYPE_CHECKING:
    from ..collect import Collect


@dataclass(frozen=True)
class Node:
    """One image of the graph. `layer` and `diff_id` are its own, None without one; `size` bytes of the files in it.

    `origin`: where it came from; `checksum`: what the layer was checked against, "" for nothing (it is unverified).
    """

    image: V1Image
    layer: Descriptor | None
    diff_id: Digest | None
    manifest: Descriptor
    origin: str = ""
    checksum: str = ""
    size: int = 0


class Graph:
    """Of one store. Safe for many threads and processes; every call sees what others did."""

    def __init__(
        self,
        disk: Disk,
        locks: Locks,
        session: Session,
        blobs: LocalBlobs,
        derived: DerivedFiles,
        catalog: SqliteCatalog,
        images: Images,
        intake: Intake,
        collect: Callable[[], Collect],
    ) -> None:
        """`collect`: the collector, which is seldom needed."""
        self._disk = disk
        self._locks = locks
        self._session = session
        self._blobs = blobs
        self._derived = derived
        self._catalog = catalog
        self._images = images
        self._intake = intake
        self._collect = collect
        self._read: dict[Digest, list[Step]] = {}  # manifests never change

    # -- look ----------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        """Whether an image is there and whole. Full IDs only: a prefix never exists."""
        try:
            return self._find(ImageId(name)) is not None
        except Invalid:
            return False

    def get(self, name: str) -> Node:
        """By ID, or a prefix that only one has. `NotFound`."""
        try:
            node = self._find(ImageId(name))
        except Invalid:
            node = None
        if node is None and name and set(name) <= set("0123456789abcdef"):
            found = [id for id in self._ids() if id.startswith(name)]
            node = self._find(found[0]) if len(found) == 1 else None
        if node is None:
            raise NotFound(f"No such id: {name[:80]}")
        return node

    def nodes(self) -> dict[ImageId, Node]:
        """All images that are whole."""
        found = {id: self._find(id) for id in self._ids()}
        return {id: node for id, node in found.items() if node is not None}

    def by_parent(self) -> dict[ImageId, list[Node]]:
        """The children of each image that has some and is there."""
        nodes = self.nodes()
        children: dict[ImageId, list[Node]] = {}
        for node in nodes.values():
            if node.image.parent in nodes:
                children.setdefault(ImageId(node.image.parent), []).append(node)
        return children

    def heads(self) -> dict[ImageId, Node]:
        """Images that are nobody's parent."""
        nodes = self.nodes()
        parents = {node.image.parent for node in nodes.values()}
        return {id: node for id, node in nodes.items() if id not in parents}

    def chain(self, id: ImageId) -> list[Node]:
        """An image and its ancestors, base first. An ancestor whose own entry was deleted is known from the image."""
        top = self.get(id)
        nodes = []
        for step in self._steps(top.manifest)[:-1]:
            own = self._find(step.image.id)
            same = own is not None and own.image.raw == step.image.raw and own.diff_id == step.diff_id
            nodes.append(own if own is not None and same else Node(step.image, step.layer, step.diff_id, top.manifest))
        return [*nodes, top]

    def size(self, node: Node) -> int:
        """Bytes of the files in its own layer."""
        return node.size

    def virtual_size(self, id: ImageId) -> int:
        """The same with all ancestors."""
        return sum(node.size for node in self.chain(id))

    def open_layer(self, node: Node) -> BinaryIO:
        """The layer as it came; an empty tar for an image without one."""
        return self._blobs.open(node.layer.digest) if node.layer is not None else io.BytesIO(EMPTY)

    def plain_layer(self, node: Node, job: Job) -> BinaryIO:
        """The layer as a plain tar, seekable; made again from the blob if need be."""
        if node.layer is None or node.diff_id is None:
            return io.BytesIO(EMPTY)
        self._intake.prepare(documents.Leaf(node.layer, node.diff_id), job=job)
        mark, path = self._derived.mark("tar", node.diff_id), self._derived.path("tar", node.diff_id)
        if mark is None or path is None:
            raise NotFound(f"layer {node.diff_id}: its plain tar vanished", hint="run it again")
        plain: Any = PlainLayer(self._disk.stream(str(path.relative_to(self._disk.root))), mark.size)
        stream: BinaryIO = plain
        return stream

    def id_of(self, manifest: Descriptor) -> ImageId | None:
        """Whose manifest this is, None if it is no image's of the graph."""
        try:
            id = self._steps(manifest)[-1].image.id
        except (Invalid, NotFound):
            return None
        there = self._catalog.resolve(name_of(id))
        return id if there is not None and there.target.digest == manifest.digest else None

    # -- change --------------------------------------------------------------------------------------------

    def lock(self, id: ImageId, job: Job) -> AbstractContextManager[None]:
        """One fetch of one image at a time, over all threads and processes."""
        return self._locks.digest(Digest(f"sha256:{id}"), job)

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
        """Take in an image: its JSON as it is, and a layer as it comes; None or nothing to read is no layer.

        `checksum` ("sha256:...", see `PayloadHasher`) and `tarsum` are checked before anything is seen: `Mismatch`.
        `Conflict` if the ID is there, which stays as it is; `NotFound` without its parent; `Invalid`, `Unsafe` for a
        bad tar. What fails, and whoever is killed, leaves nothing behind, and the ID free.
        """
        if self.exists(image.id):
            raise Conflict("Image ID already exists")
        below = self._below(image)
        with ExitStack() as undo:
            lease = undo.enter_context(self._session.lease())
            if layer is None:
                return self._commit(image, below, None, lease, origin=origin, checksum="")
            admission = undo.enter_context(Admission(self._disk, self._session, self._derived))
            payload = PayloadHasher(image.raw)
            brought = admission.fill(_Shown(layer, payload), f"image {image.id.short}: layer", job)
            _check(image, str(payload), checksum)
            if not brought:
                return self._commit(image, below, None, lease, origin=origin, checksum=checksum)
            if tarsum:
                _check_tarsum(image, admission.plain(), tarsum)
            try:
                return self._commit(image, below, admission, lease, origin=origin, checksum=checksum or tarsum)
            except Error:
                undo.close()
                self._collect().run(job, only=[admission.descriptor.digest, admission.diff_id])
                raise

    def delete(self, name: str, *, job: Job) -> ImageId:
        """Remove one image, and what nothing else needs. Its descendants stay whole. `NotFound`."""
        node = self.get(name)
        id = node.image.id
        # looked at while the name still keeps others from collecting it
        below = self._collect().below(node.manifest.digest)
        if not self._catalog.swap(name_of(id), node.manifest.digest, None):
            raise NotFound(f"No such id: {id}")
        self._collect().run(job, only=below)
        return id

    # -- within ---------------------------------------------------------------------------------------------

    def _ids(self) -> list[ImageId]:
        prefix = name_of(ImageId("0" * 64))[:-64]
        return [
            ImageId(tagged.name[len(prefix) :]) for tagged in self._catalog.names() if tagged.name.startswith(prefix)
        ]

    def _find(self, id: ImageId) -> Node | None:
        tagged = self._catalog.resolve(name_of(id))
        if tagged is None:
            return None
        try:
            step = self._steps(tagged.target)[-1]
        except NotFound:
            return None  # its documents were lost: as good as not there, until it is registered again
        if step.image.id != id:
            raise Invalid(f"Image stored at '{id}' has wrong id '{step.image.id}'")
        if step.layer is not None and self._blobs.size(step.layer.digest) is None:
            return None
        notes = self._images.stored(tagged.target).annotations
        size = notes.get(record.SIZE, "0")
        return Node(
            step.image,
            step.layer,
            step.diff_id,
            tagged.target,
            tagged.origin,
            notes.get(record.CHECKSUM, ""),
            int(size) if size.isdecimal() and len(size) < 20 else 0,
        )

    def _steps(self, manifest: Descriptor) -> list[Step]:
        steps = self._read.get(manifest.digest)
        if steps is None:
            document = self._images.stored(manifest)
            steps = record.read(document, self._images.config(document))
            self._read[manifest.digest] = steps
        return steps

    def _below(self, image: V1Image) -> list[Step]:
        """The chain that the image stands on. `NotFound` without its parent."""
        if image.parent is None:
            return []
        if not self.exists(image.parent):
            raise NotFound(f"image {image.id.short}: its parent {image.parent} is not there")
        steps = self._steps(self.get(image.parent).manifest)
        if len(steps) > V1_PARENTS:
            raise Unsupported(f"image {image.id.short}: more than {V1_PARENTS} ancestors")
        return steps

    def _commit(
        self,
        image: V1Image,
        below: Sequence[Step],
        admission: Admission | None,
        lease: Lease,
        *,
        origin: str,
        checksum: str,
    ) -> Node:
        """All is checked: blobs first, the documents, the name last, unless somebody else was faster."""
        layer, diff_id = (admission.descriptor, admission.diff_id) if admission else (None, None)
        size = admission.content_size if admission else 0
        steps = [*below, Step(image, layer, diff_id)]
        raw, manifest = record.make(steps, checksum=checksum, size=size)
        config = Digest.of(raw)
        own = [layer.digest] if layer else []
        lease.rely_on([manifest.digest, config, *own, *(step.diff_id for step in steps if step.diff_id)])
        lease.rely_on(step.layer.digest for step in below if step.layer)
        if admission is not None:
            admission.publish()
        self._blobs.put(config, raw)
        self._blobs.put(manifest.digest, manifest.raw)
        facts = documents.facts_of(manifest, documents.image_of(manifest, raw))
        self._catalog.add([facts])
        self._images.claim(Tagged(name_of(image.id), manifest.descriptor, origin))
        return Node(image, layer, diff_id, manifest.descriptor, origin, checksum, size)


class _Shown:
    """A `Readable` that shows what passes to a hasher."""

    def __init__(self, source: Readable, hasher: PayloadHasher) -> None:
        self._source = source
        self._hasher = hasher

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hasher.write(data)
        return data


def _check(image: V1Image, found: str, wanted: str) -> None:
    if wanted and found != wanted:
        raise Mismatch(f"image {image.id.short}: its JSON and layer have checksum {found}, expected {wanted}")


def _check_tarsum(image: V1Image, plain: Readable, wanted: str) -> None:
    found = TarSum(wanted)
    while data := plain.read(CHUNK):
        found.write(data)
    if not found.matches(wanted, image.raw):
        raise Mismatch(f"image {image.id.short}: its layer has {found.text(image.raw)}, expected {wanted}")
