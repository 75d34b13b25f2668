"""Checking a store: every blob against its name, every name to its last blob, everything derived."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from . import graph
from .blobs.derived import KINDS, DerivedFiles, digest_of
from .blobs.local import LocalBlobs, place
from .blobs.partial import Partials
from .catalog.names import INDEX, Names
from .disk.disk import Disk
from .errors import Damaged, Error, Invalid, NotFound
from .job import Event, Job
from .model import media
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .ports import Tagged


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `kind`: damaged, missing, stray, derived, name, mode. `mended`: it is gone now."""

    kind: str
    subject: str
    text: str
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    blobs: int
    bytes: int
    derived: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on disk by what they are for."""

    images: int
    blobs: int
    blob_bytes: int
    derived_bytes: int
    partials: int
    partial_bytes: int
    free_bytes: int


def usage(disk: Disk, blobs: LocalBlobs, images: int) -> Usage:
    """Counts what is there now; `images` names."""
    half_done = [name for name in Partials(disk).names() if digest_of(name)]
    sizes = [blobs.size(digest) or 0 for digest in blobs.digests()]
    return Usage(
        images=images,
        blobs=len(sizes),
        blob_bytes=sum(sizes),
        derived_bytes=disk.space("derived"),
        partials=len(half_done),
        partial_bytes=sum(disk.space(f"partial/{name}") for name in half_done),
        free_bytes=disk.free(),
    )


class Check:
    """The checker of one store. It changes nothing unless told to repair."""

    def __init__(self, disk: Disk, blobs: LocalBlobs, derived: DerivedFiles, names: Names) -> None:
        self._disk = disk
        self._blobs = blobs
        self._derived = derived
        self._names = names
        self._findings: list[Finding] = []
        self._whole: dict[Digest, bool] = {}  # blobs that were read: whether they are themselves
        self._repair = False

    def run(self, job: Job, *, quick: bool = False, repair: bool = False) -> Checked:
        """`quick` looks at presence and sizes only, and reads what has a wrong size; else every byte is read.

        `repair` moves damaged blobs to `quarantine/`, so that the next pull fetches them, removes damaged derived
        files, which are made again when needed, and takes write permission off blobs.
        """
        self._findings, self._whole = [], {}
        self._repair = repair
        digests = list(self._blobs.digests())
        sizes = {digest: self._blobs.size(digest) or 0 for digest in digests}
        total, done = sum(sizes.values()), 0
        job.progress(Event("plan", total=0 if quick else total, count=len(digests)))
        for digest in digests:
            if self._blobs.size(digest) is None:
                continue  # collected meanwhile
            self._mode(digest)
            if not quick:
                self._whole[digest] = self._blob(digest, job)
                done += sizes[digest]
                job.progress(Event("progress", "fsck", done, total))
        for name in self._blobs.strays():
            self._found("stray", name, "is no digest, so no blob")
        for tagged in self._all_names():
            self._name(tagged, job)
        derived = sum(self._derived_kind(kind, job, quick=quick) for kind in KINDS)
        return Checked(len(digests), total, derived, tuple(self._findings))

    def _blob(self, digest: Digest, job: Job) -> bool:
        """Whether it is itself, read in full. Nothing else condemns a blob: what a manifest says of it may be a
        stranger's lie, and others may need it."""
        try:
            damage = self._blobs.damage(digest, job)
        except NotFound:
            return True  # collected meanwhile
        if damage:
            self._damaged(digest, damage)
        return not damage

    def _damaged(self, digest: Digest, text: str) -> None:
        if self._repair:
            self._blobs.quarantine(digest)
            self._found("damaged", digest, f"{text}; moved to quarantine", mended=True)
        else:
            self._found("damaged", digest, text)

    def _mode(self, digest: Digest) -> None:
        found = self._disk.status(place(digest))
        if found is None:
            return  # collected meanwhile
        if (mode := stat.S_IMODE(found.st_mode)) & 0o222:
            if self._repair:
                descriptor = self._disk.open(place(digest))
                try:
                    self._disk.seal(descriptor)
                finally:
                    self._disk.close(descriptor)
            self._found("mode", digest, f"could be written to (mode {mode:04o}, expected 0444)", mended=self._repair)

    def _all_names(self) -> list[Tagged]:
        try:
            return list(self._names.all().values())
        except Damaged as error:
            # never mended here: an empty list of names would make garbage of everything
            text = f"{error.message}; move it aside and pull the images again before any gc: their layers are here"
            self._found("name", INDEX, text)
            return []

    def _name(self, tagged: Tagged, job: Job) -> None:
        try:
            documents = graph.stored_documents(tagged.target.digest, self._blobs.read)
        except (Damaged, Invalid) as error:
            self._found("name", tagged.name, error.message)
            return
        if not documents:
            self._found("name", tagged.name, f"its manifest {tagged.target.digest} is missing")
        else:
            for digest in sorted(graph.lost(tagged.target.digest, tagged.pulled, documents)):
                if self._blobs.size(digest) is None:
                    self._found("missing", digest, f"needed by {tagged.name}; pull it again")
        needed = [child for document in documents for child in document.successors if not _optional(document, child)]
        for child in needed:
            size = self._blobs.size(child.digest)
            if size is None:
                self._found("missing", child.digest, f"needed by {tagged.name}; pull it again")
            elif size != child.size and self._is_itself(child.digest, job):
                self._found("name", tagged.name, f"says that {child.digest} has {child.size} bytes, it has {size}")

    def _is_itself(self, digest: Digest, job: Job) -> bool:
        if digest not in self._whole:
            self._whole[digest] = self._blob(digest, job)
        return self._whole[digest]

    def _derived_kind(self, kind: str, job: Job, *, quick: bool) -> int:
        digests = self._derived.digests(kind)
        for digest in digests:
            job.check()
            try:
                text = "" if quick else self._derived.damage(kind, digest)
            except Error as error:
                text = error.message
            if text:
                if self._repair:
                    self._derived.discard([(kind, digest)])
                self._found("derived", f"{kind} {digest}", text, mended=self._repair)
        return len(digests)

    def _found(self, kind: str, subject: str, text: str, *, mended: bool = False) -> None:
        self._findings.append(Finding(kind, subject, text, mended))


def _optional(document: Document, child: Descriptor) -> bool:
    """Children of an index may be missing: it was pulled for one platform."""
    return document.is_index and child.media_type in media.DOCUMENTS
