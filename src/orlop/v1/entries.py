"""The entries of the image graph: manifests under names of a reserved repository, read and written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import graph as documents
from ..admission import Admission
from ..blobs.local import LocalBlobs
from ..catalog.sqlite import SqliteCatalog
from ..disk.session import Session
from ..errors import Conflict, Error, Invalid, NotFound
from ..images import Images
from ..job import Job
from ..model import v1_names, v1_record
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.v1 import ImageId, V1Image
from ..model.v1_record import Step
from ..ports import Tagged
from .chain import Chains

if TYPE_CHECKING:
    from ..collect import Collect

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """One image. `layer` and `diff_id` are its own, None without one; for its size see `Graph.size`.

    `manifest`: its own if it was registered, else that of the image of the store that it is a part of. `origin`: where
    it came from; `checksum`: what the layer was checked against, "" for nothing (it is unverified).
    """

    image: V1Image
    layer: Descriptor | None
    diff_id: Digest | None
    manifest: Descriptor
    origin: str = ""
    checksum: str = ""
    size: int = -1  # -1: nobody wrote it down

    @classmethod
    def of(cls, step: Step, manifest: Descriptor, origin: str) -> Node:
        """A step of the chain of an image."""
        return cls(step.image, step.layer, step.diff_id, manifest, origin)


class Entries:
    """Of one store. `collect`: the collector, which is seldom needed."""

    def __init__(
        self,
        session: Session,
        blobs: LocalBlobs,
        catalog: SqliteCatalog,
        images: Images,
        chains: Chains,
        collect: Callable[[], Collect],
    ) -> None:
        self._session = session
        self._blobs = blobs
        self._catalog = catalog
        self._images = images
        self._chains = chains
        self._collect = collect

    def ids(self) -> list[ImageId]:
        """All that have a name, whole or not."""
        found = (v1_names.id_in(tagged.name) for tagged in self._catalog.names())
        return [ImageId(id) for id in found if id]

    def tagged(self, id: ImageId) -> Tagged | None:
        return self._catalog.resolve(v1_names.name_of(id))

    def registered(self, id: ImageId) -> Node | None:
        """None if it is not there or not whole: as good as not there, until it is registered again. `Invalid` if
        another image stands under its name."""
        tagged = self.tagged(id)
        if tagged is None:
            return None
        try:
            manifest = self._images.stored(tagged.target)
            step = self._chains.of(manifest).steps[-1]
        except NotFound as error:
            _log.warning("image %s: %s", id, error)
            return None
        if step.image.id != id:
            raise Invalid(f"Image stored at '{id}' has wrong id '{step.image.id}'")
        if step.layer is not None and self._blobs.size(step.layer.digest) != step.layer.size:
            _log.warning("image %s: its layer is not in the store", id)
            return None
        notes = manifest.annotations
        size = notes.get(v1_record.SIZE, "")
        known = int(size) if size.isdecimal() and len(size) < 20 else -1
        checksum = notes.get(v1_record.CHECKSUM, "")
        return Node(step.image, step.layer, step.diff_id, tagged.target, tagged.origin, checksum, known)

    def whole(self, id: ImageId) -> Node | None:
        """As `registered`, but whatever is wrong with an entry, it is None."""
        try:
            return self.registered(id)
        except Error as error:
            _log.warning("%s", error)
            return None

    def keep(
        self,
        steps: Sequence[Step],
        admission: Admission | None,
        *,
        origin: str,
        checksum: str,
        replaces: Digest | None,
        job: Job,
    ) -> Node:
        """Enter the last of `steps`, all of which is checked: its blob first, the documents, the name last. What those
        before it have is the caller's to rely on.

        `replaces`: what the name points at now. `Conflict` if somebody was faster; then, and when anything else fails,
        nothing of it stays."""
        size = admission.content_size if admission else 0
        raw, manifest = v1_record.make(steps, checksum=checksum, size=size)
        config, top = Digest.of(raw), steps[-1]
        own = [digest for digest in (top.layer.digest if top.layer else None, top.diff_id) if digest]
        try:
            with self._session.lease() as lease:
                lease.rely_on([manifest.digest, config, *own])
                if admission is not None:
                    self._publish(admission, job)
                self._blobs.put(config, raw)
                self._blobs.put(manifest.digest, manifest.raw)
                self._catalog.add([documents.facts_of(manifest, documents.image_of(manifest, raw))])
                self.name(top.image.id, manifest.descriptor, origin, replaces)
        except BaseException:
            self._discard([manifest.digest, config, *own])
            raise
        return Node(top.image, top.layer, top.diff_id, manifest.descriptor, origin, checksum, size)

    def name(self, id: ImageId, target: Descriptor, origin: str, replaces: Digest | None) -> None:
        """`Conflict` if the name does not point at `replaces`."""
        if not self._images.claim(Tagged(v1_names.name_of(id), target, origin), replaces):
            raise Conflict(f"Image {id} already exists")

    def remove(self, id: ImageId, job: Job) -> bool:
        """An entry, and what nothing else needs. False if it is not there."""
        tagged = self.tagged(id)
        if tagged is None:
            return False
        # looked at while the name still keeps others from collecting it
        below = self._collect().below(tagged.target.digest)
        if not self._catalog.swap(tagged.name, tagged.target.digest, None):
            return False
        self._collect().run(job, only=below)
        return True

    def _publish(self, admission: Admission, job: Job) -> None:
        digest = admission.descriptor.digest
        if self._blobs.size(digest) is not None and self._blobs.damage(digest, job):
            self._blobs.quarantine(digest)
        admission.publish()

    def _discard(self, digests: Iterable[Digest]) -> None:
        try:
            self._collect().run(Job(), only=digests)
        except Error as error:
            # the news is what went wrong before; the next collection takes it
            _log.info("left to gc: %s", error)
