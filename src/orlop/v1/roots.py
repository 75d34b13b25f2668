"""Writable roots over the store's images, as graph drivers gave them: made once, shown and hidden any number of times.

A root is `roots/<id>` in the store, and a name in the reserved repository that keeps its image from collections. By the
driver "directory" it is a copy of the tree; by the others what was written stands over a mount of the image.
"""

from __future__ import annotations

import json
from pathlib import Path

from .. import graph as documents
from ..blobs.local import LocalBlobs
from ..bundle import mount_writable
from ..catalog.sqlite import SqliteCatalog
from ..disk.disk import Disk
from ..disk.locks import Locks
from ..disk.session import Lease, Session
from ..errors import Conflict, Invalid, NotFound
from ..images import Images
from ..job import Job
from ..materialise import Materialise
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.reference import is_tag
from ..model.v1_names import HOST
from ..ports import Tagged
from ..rootfs import mountinfo

_NAME = f"{HOST}/root:"
_COPY = "directory"
_EMPTY = b'{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}'


class Roots:
    """Those of one store. `driver`: of the roots that are made; those that are there keep theirs."""

    def __init__(
        self,
        disk: Disk,
        locks: Locks,
        session: Session,
        blobs: LocalBlobs,
        catalog: SqliteCatalog,
        images: Images,
        materialise: Materialise,
        driver: str,
    ) -> None:
        self._disk = disk
        self._locks = locks
        self._session = session
        self._blobs = blobs
        self._catalog = catalog
        self._images = images
        self._materialise = materialise
        self._driver = driver

    def create(self, id: str, parent: str = "", *, job: Job) -> None:
        """A root over an image, by any of its names; "" is an empty one. `Conflict` if there is one of this ID; what a
        crash left of one is replaced. `NotFound`: no such image. `Invalid` unless the ID is formed as a tag is."""
        if not is_tag(id):
            raise Invalid(f"root {id[:80]!r}: its ID may have letters, digits, '_', '.' and '-' only")
        with self._locks.root(id, job), self._session.lease() as lease:
            if self.exists(id):
                raise Conflict(f"root {id}: exists already")
            manifest = self._images.image(parent).manifest if parent else self._nothing(lease)
            # nothing of it is collected before the root's own name keeps it
            lease.rely_on([manifest.digest, *(each.digest for each in manifest.successors)])
            if parent:
                self._images.image(parent)  # still there, now that it is kept
            self._disk.remove_tree(f"roots/{id}")
            try:
                self._make(id, parent, job)
                tagged = Tagged(_NAME + id, manifest.descriptor, self._driver if parent else _COPY)
                if not self._images.claim(tagged, None):
                    raise Conflict(f"root {id}: exists already")
            except BaseException:
                if not self.exists(id):
                    self._disk.remove_tree(f"roots/{id}")
                raise

    def _make(self, id: str, parent: str, job: Job) -> None:
        for directory in ("roots", f"roots/{id}"):
            self._disk.make_directory(directory)
        if self._driver == _COPY and parent:
            self._materialise.unpack(self._images.image(parent), self._root(id), job)
        else:
            self._disk.make_directory(f"roots/{id}/root")

    def get(self, id: str, *, job: Job) -> Path:
        """Where the root is, shown from now on if it was not. `NotFound`; as `Store.mount`."""
        tagged = self._tagged(id)
        root = self._root(id)
        if tagged.origin == _COPY or mountinfo.is_target(root):
            return root
        mounted = self._materialise.mount(self._images.image(tagged.name), None, tagged.origin, job)
        try:
            mount_writable(mounted.target, root.parent / "writable", root)
            self._materialise.cover(mounted, root)
        except BaseException:
            self._materialise.umount([str(mounted.target)])
            raise
        return root

    def put(self, id: str) -> None:
        """Nobody needs to see it now; what was written stays. `NotFound`, `Busy`."""
        self._tagged(id)
        if mountinfo.is_target(self._root(id)):
            self._materialise.umount([str(self._root(id))])

    def exists(self, id: str) -> bool:
        return self._catalog.resolve(_NAME + id) is not None

    def remove(self, id: str) -> None:
        """With all that was written. `NotFound`, `Busy`: then it is there still."""
        with self._locks.root(id, Job()):
            self.put(id)
            self._catalog.swap(_NAME + id, self._tagged(id).target.digest, None)
            self._disk.remove_tree(f"roots/{id}")

    def ids(self) -> list[str]:
        return [each.name.removeprefix(_NAME) for each in self._catalog.names() if each.name.startswith(_NAME)]

    def status(self) -> list[tuple[str, str]]:
        """What to tell people: pairs of a word and a value."""
        ids = self.ids()
        shown = sum(mountinfo.is_target(self._root(id)) for id in ids)
        return [
            ("Driver", self._driver),
            ("Root Dir", self._disk.path("roots")),
            ("Roots", str(len(ids))),
            ("Shown", str(shown)),
        ]

    def cleanup(self) -> None:
        """Hide all of them."""
        for id in self.ids():
            self.put(id)

    def _root(self, id: str) -> Path:
        return Path(self._disk.path(f"roots/{id}/root"))

    def _tagged(self, id: str) -> Tagged:
        tagged = self._catalog.resolve(_NAME + id)
        if tagged is None:
            raise NotFound(f"root {id[:80]}: does not exist")
        return tagged

    def _nothing(self, lease: Lease) -> Document:
        """The image of an empty tree."""
        config = Descriptor(media.OCI_CONFIG, Digest.of(_EMPTY), len(_EMPTY))
        fields = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config.fields, "layers": []}
        manifest = Document(json.dumps(fields, sort_keys=True).encode(), media.OCI_MANIFEST)
        lease.rely_on([config.digest, manifest.digest])
        self._blobs.put(config.digest, _EMPTY)
        self._blobs.put(manifest.digest, manifest.raw)
        self._catalog.add([documents.facts_of(manifest, documents.image_of(manifest, _EMPTY))])
        return manifest
