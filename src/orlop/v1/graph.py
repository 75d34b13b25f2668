"""The image graph: version 1 images by ID, each with the layer that it adds to its parent.

There is no second store: an image is a manifest (see `model.v1_record`) under a name of a reserved repository. What
the store has from elsewhere can be looked at by ID too: see `chain`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from ..admission import Admission
from ..blobs.derived import DerivedFiles
from ..blobs.local import LocalBlobs
from ..disk.disk import Disk
from ..disk.locks import Locks
from ..disk.session import Lease, Session
from ..errors import Conflict, Damaged, Invalid, Mismatch, NotFound, Unsafe
from ..graph import Leaf
from ..images import Image, Images
from ..intake import Intake
from ..job import Job
from ..model.digest import Digest
from ..model.document import Document
from ..model.limits import V1_PARENTS
from ..model.v1 import ImageId, PayloadHasher, V1Image
from ..model.v1_record import Step
from ..ports import Readable
from ..tar import index as tar_index
from ..tar.tarsum import TarSum
from .chain import Chain, Chains
from .entries import Entries, Node
from .plain_layer import EMPTY, PlainLayer
from .temporary import TemporaryArchive

if TYPE_CHECKING:
    from .differences import Differences
    from .roots import Roots

__all__ = ["Graph", "Node"]
_INDEX_BYTES = 4 << 30
_HEX = frozenset("0123456789abcdef")


class Graph:
    """Of one store. Safe for many threads and processes; every call sees what others did."""

    def __init__(
        self,
        disk: Disk,
        locks: Locks,
        session: Session,
        blobs: LocalBlobs,
        derived: DerivedFiles,
        images: Images,
        intake: Intake,
        chains: Chains,
        entries: Entries,
        differences: Callable[[], Differences],
        roots: Callable[[str], Roots],
    ) -> None:
        """`differences`, `roots`: need much more of the store than the rest."""
        self._differences = differences
        self._roots = roots
        self._disk = disk
        self._locks = locks
        self._session = session
        self._blobs = blobs
        self._derived = derived
        self._images = images
        self._intake = intake
        self._chains = chains
        self._entries = entries
        self._sizes: dict[Digest, int] = {}  # by diff ID

    # -- look ----------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        """Whether an image was registered, and is whole. Full IDs only: a prefix never exists."""
        try:
            return self._entries.whole(ImageId(name)) is not None
        except Invalid:
            return False

    def get(self, name: str) -> Node:
        """By ID, or a prefix that only one has. `NotFound`; `Invalid` if another image stands under the ID."""
        try:
            id, others = ImageId(name), None
        except Invalid:
            others = self._others() if name and _HEX.issuperset(name) else {}
            found = {id for id in (*self._entries.ids(), *others) if id.startswith(name)} if name else set()
            if len(found) != 1:
                raise NotFound(f"No such id: {name[:80]}") from None
            id = found.pop()
        node = self._entries.registered(id) or (self._others() if others is None else others).get(id)
        if node is None:
            raise NotFound(f"No such id: {name[:80]}")
        return node

    def nodes(self) -> dict[ImageId, Node]:
        """All images that are whole: registered ones, and those that others of the store consist of."""
        found = self._others()
        for id in self._entries.ids():
            if (node := self._entries.whole(id)) is not None:
                found[id] = node
        return found

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
        for step in self._steps(top)[:-1]:
            own = self._entries.whole(step.image.id)
            same = own is not None and own.image.raw == step.image.raw and own.diff_id == step.diff_id
            nodes.append(own if own is not None and same else Node.of(step, top.manifest, top.origin))
        return [*nodes, top]

    def size(self, node: Node) -> int:
        """Bytes of the files in its own layer. Counted in the layer where nobody wrote it down."""
        if node.layer is None or node.diff_id is None:
            return 0
        if node.size >= 0:
            return node.size
        if node.diff_id not in self._sizes:
            self._sizes[node.diff_id] = self._counted(Leaf(node.layer, node.diff_id))
        return self._sizes[node.diff_id]

    def virtual_size(self, id: ImageId) -> int:
        """The same with all ancestors."""
        return sum(self.size(node) for node in self.chain(id))

    def open_layer(self, node: Node) -> BinaryIO:
        """The layer as it came; an empty tar for an image without one."""
        return self._blobs.open(node.layer.digest) if node.layer is not None else io.BytesIO(EMPTY)

    def plain_layer(self, node: Node, job: Job) -> BinaryIO:
        """The layer as a plain tar, seekable; made again from the blob if need be."""
        if node.layer is None or node.diff_id is None:
            return io.BytesIO(EMPTY)
        with self._session.lease() as lease:
            lease.rely_on([node.layer.digest, node.diff_id])
            self._intake.prepare(Leaf(node.layer, node.diff_id), job=job)
            mark, path = self._derived.mark("tar", node.diff_id), self._derived.path("tar", node.diff_id)
            if mark is None or path is None:
                raise Damaged(f"layer {node.diff_id}: its plain tar vanished", hint="run it again")
            plain: Any = PlainLayer(self._disk.stream(str(path.relative_to(self._disk.root))), mark.size)
        stream: BinaryIO = plain
        return stream

    @property
    def differences(self) -> Differences:
        """Of any two images of the store."""
        return self._differences()

    def roots(self, driver: str) -> Roots:
        """Writable roots over images, by "erofs", "overlay" or "directory"."""
        return self._roots(driver)

    def temporary_archive(self, node: Node, job: Job) -> TemporaryArchive:
        """The same set aside in a file of its own, that is gone once it is read to its end."""
        with self.plain_layer(node, job) as layer:
            return TemporaryArchive(self._disk, self._session.scratch(), layer, job)

    def goes_by(self, chain: Chain) -> bool:
        """Whether the image that goes by the ID of a chain is the chain's. What an image brings along is a claim; that
        of a registered image counts more, and so does an ID that is computed."""
        return self._goes_by(chain, None)

    def _goes_by(self, chain: Chain, others: dict[ImageId, Node] | None) -> bool:
        own = _Content.of(chain, len(chain.steps))
        there = self._entries.whole(chain.id)
        if there is None and not chain.is_computed:
            there = (self._others() if others is None else others).get(chain.id)
            if there is None:
                return False
        return there is None or own.is_as(_Content.of(Chain(tuple(self._steps(there)), own.is_computed), None))

    # -- change --------------------------------------------------------------------------------------------

    def lock(self, id: ImageId, job: Job) -> AbstractContextManager[None]:
        """One fetch of one image at a time, over all threads and processes. Not held by `register`."""
        return self._locks.image(id, job)

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
        `Conflict` if the ID is there, which stays as it is; `NotFound` without its parent; `Unsafe` with more than 127
        ancestors; `Invalid`, `Unsafe` for a bad tar. What fails, and whoever is killed, leaves nothing behind, and the
        ID free.
        """
        there = self._entries.tagged(image.id)
        if there is not None and self._entries.whole(image.id) is not None:
            raise Conflict(f"Image {image.id} already exists")
        with ExitStack() as undo:
            lease = undo.enter_context(self._session.lease())
            below = self._stands_on(image, lease, job)
            admission = self._admitted(image, layer, tarsum, checksum, undo, job)
            top = Step(image, admission.descriptor, admission.diff_id) if admission else Step(image)
            return self._entries.keep(
                [*below, top],
                admission,
                origin=origin,
                checksum=checksum or tarsum,
                replaces=there.target.digest if there else None,
                job=job,
            )

    def delete(self, name: str, *, job: Job) -> ImageId:
        """Remove one registered image, and what nothing else needs. Its descendants stay whole. `NotFound`."""
        found = [id for id in self._entries.ids() if name and id.startswith(name)]
        if len(found) != 1 or not self._entries.remove(found[0], job):
            raise NotFound(f"No such id: {name[:80]}")
        return found[0]

    def adopt(self, image: Image, *, job: Job) -> ImageId:
        """Enter an image of the store, with its ancestors, under the IDs that it brought along or that are computed.
        Idempotent. `Conflict` if one of them is another image's; then those before it stay."""
        origin = self._images.resolve(image.name).origin if image.name else ""
        chain = self._chains.of(image.manifest)
        others = {} if chain.is_computed else self._others()
        for count in range(1, len(chain.steps) + 1):
            part = Chain(chain.steps[:count], chain.is_computed)
            # found by its digest alone it may be nobody's yet
            if (part.id in others or chain.is_computed or image.name) and not self._goes_by(part, others):
                raise Conflict(f"Image {part.id} already exists")
        return self._adopt(image.manifest, chain, origin, job)

    def own(self, node: Node, job: Job) -> Node:
        """The same image with a manifest of its own; adopted, if it is a part of another one."""
        manifest = self._images.stored(node.manifest)
        chain = self._chains.of(manifest)
        if chain.id == node.image.id:
            return node
        at = [step.image.id for step in chain.steps].index(node.image.id)
        self._adopt(None, Chain(chain.steps[: at + 1], chain.is_computed), node.origin, job)
        return self.get(node.image.id)

    # -- within ---------------------------------------------------------------------------------------------

    def _others(self) -> dict[ImageId, Node]:
        """The images that the store's other images consist of. Of an ID that two of them claim for different images
        nobody knows whose it is; one that is computed is no claim, and counts."""
        found: dict[ImageId, tuple[Node, _Content]] = {}
        contested: set[ImageId] = set()
        for tagged, manifest, chain in self._chains.users():
            for count, step in enumerate(chain.steps, 1):
                content = _Content.of(chain, count)
                there = found.get(step.image.id)
                if there is not None and not content.is_as(there[1]):
                    if content.is_computed == there[1].is_computed:
                        contested.add(step.image.id)
                    if not content.is_computed or there[1].is_computed:
                        continue
                # as an image itself it is told of rather than as a part
                elif there is not None and count < len(chain.steps):
                    continue
                found[step.image.id] = Node.of(step, manifest.descriptor, tagged.origin), content
        claims = {id for id in contested if not found[id][1].is_computed}
        return {id: node for id, (node, _) in found.items() if id not in claims}

    def _steps(self, node: Node) -> Sequence[Step]:
        steps = self._chains.of(self._images.stored(node.manifest)).steps
        at = [step.image.id for step in steps].index(node.image.id)
        return steps[: at + 1]

    def _stands_on(self, image: V1Image, lease: Lease, job: Job) -> Sequence[Step]:
        """The chain of the image's parent, whole, and kept from collections. `NotFound`."""
        if image.parent is None:
            return ()
        try:
            parent = self.get(image.parent)
        except NotFound as error:
            raise NotFound(f"image {image.id.short}: its parent {image.parent} is not there") from error
        steps = self._steps(parent)
        if len(steps) > V1_PARENTS:
            raise Unsafe(f"image {image.id.short}: {len(steps)} ancestors, at most {V1_PARENTS} are taken")
        lease.rely_on(_digests(steps))
        for step in steps:
            if step.layer is not None and self._blobs.size(step.layer.digest) != step.layer.size:
                text = f"image {image.id.short}: the layer of its ancestor {step.image.id.short} is not in the store"
                raise NotFound(text, hint="fetch that again")
        if not self.exists(image.parent):
            self.own(parent, job)
        return steps

    def _admitted(
        self, image: V1Image, layer: Readable | None, tarsum: str, checksum: str, undo: ExitStack, job: Job
    ) -> Admission | None:
        """The layer in scratch, all of it checked; None if there is none."""
        payload, sums = PayloadHasher(image.raw), TarSum(tarsum) if tarsum else None
        admission = None
        if layer is not None:
            admission = undo.enter_context(Admission(self._disk, self._session, self._derived))
            plain = [sums] if sums else []
            if not admission.fill(_Shown(layer, payload), f"image {image.id.short}: layer", job, plain=plain):
                admission = None
        if checksum and str(payload) != checksum:
            text = f"image {image.id.short}: its JSON and layer have checksum {payload}, expected {checksum[:80]}"
            raise Mismatch(text)
        if sums is not None and not sums.matches(tarsum, image.raw):
            raise Mismatch(f"image {image.id.short}: its layer has {sums.text(image.raw)}, expected {tarsum[:150]}")
        return admission

    def _adopt(self, manifest: Document | None, chain: Chain, origin: str, job: Job) -> ImageId:
        """`manifest`: of the last of the chain, None to make one."""
        with self._session.lease() as lease:
            lease.rely_on(_digests(chain.steps))
            for count, step in enumerate(chain.steps, 1):
                there = self._entries.registered(step.image.id)
                if there is not None:
                    # the JSON of a computed image tells less than its ID, which its layers make
                    same = there.diff_id == step.diff_id and (chain.is_computed or there.image.raw == step.image.raw)
                    if not same:
                        raise Conflict(f"Image {step.image.id} already exists")
                elif manifest is not None and count == len(chain.steps):
                    self._entries.name(step.image.id, manifest.descriptor, origin, None)
                else:
                    steps = chain.steps[:count]
                    self._entries.keep(steps, None, origin=origin, checksum="", replaces=None, job=job)
        return chain.id

    def _counted(self, leaf: Leaf) -> int:
        with self._session.lease() as lease:
            lease.rely_on([leaf.descriptor.digest, *([leaf.diff_id] if leaf.diff_id else [])])
            if leaf.diff_id is None or self._blobs.size(leaf.descriptor.digest) is None:
                return 0
            self._intake.prepare(leaf, job=Job())
            path = self._derived.path("index", leaf.diff_id)
            raw = self._disk.read(str(path.relative_to(self._disk.root)), _INDEX_BYTES) if path else None
        return sum(entry.size for entry in tar_index.load(raw)[0]) if raw is not None else 0


@dataclass(frozen=True, slots=True)
class _Content:
    """What makes an image the one that it is: its JSON and its plain layers; of a computed ID, the layers alone."""

    raw: bytes
    layers: tuple[Digest, ...]
    is_computed: bool

    @classmethod
    def of(cls, chain: Chain, count: int | None) -> _Content:
        """Of the first `count` images of a chain."""
        steps = chain.steps[:count]
        layers = tuple(step.diff_id for step in steps if step.diff_id)
        return cls(steps[-1].image.raw, layers, chain.is_computed)

    def is_as(self, other: _Content) -> bool:
        return self.layers == other.layers and (self.is_computed or other.is_computed or self.raw == other.raw)


def _digests(steps: Sequence[Step]) -> list[Digest]:
    """Of layers, as they came and plain."""
    layers = [step.layer.digest for step in steps if step.layer]
    return [*layers, *(step.diff_id for step in steps if step.diff_id)]


class _Shown:
    """A `Readable` that shows what passes to a hasher."""

    def __init__(self, source: Readable, hasher: PayloadHasher) -> None:
        self._source = source
        self._hasher = hasher

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hasher.write(data)
        return data
