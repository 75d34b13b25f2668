"""Collection: what no name, no mount and no running process needs is removed.

What is needed is read from the files themselves, never from the catalog, and under the lock that keeps
everybody else from starting to rely on something.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from . import graph
from .blobs.derived import KINDS, DerivedFiles, digest_of
from .blobs.local import LocalBlobs
from .blobs.partial import Partials, is_fresh, log
from .blobs.unfinished import Unfinished
from .catalog.names import Names
from .catalog.sqlite import SqliteCatalog
from .disk.disk import Disk
from .disk.locks import Locks
from .disk.session import leased
from .errors import Cancelled, Damaged, Error
from .images import Images
from .job import Job
from .materialise import Materialise, chain_of, chains
from .model.digest import Digest
from .model.document import Document
from .model.limits import CONFIG_BYTES

# a half-done download, or pull, may be taken up again for this many seconds
_PARTIAL_GRACE = 24 * 3600
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collected:
    removed: tuple[Digest, ...]  # blobs
    derived: int  # derived files removed
    partials: int  # half-done downloads removed
    bytes: int  # freed
    kept: int = 0  # bytes that only pulls which were cut keep, for a day
    stopped: str = ""  # why not all of it went, of a removal whose name is gone all the same


@dataclass
class _Needed:
    leases: set[Digest] = field(default_factory=set)  # what running processes have in hand
    blobs: set[Digest] = field(default_factory=set)
    derived: set[Digest] = field(default_factory=set)
    used: set[Digest] = field(default_factory=set)  # of the derived, what mounts and running processes stand on


class Collect:
    """The collector of one store."""

    def __init__(
        self,
        disk: Disk,
        locks: Locks,
        blobs: LocalBlobs,
        derived: DerivedFiles,
        names: Names,
        catalog: SqliteCatalog,
        materialise: Materialise,
    ) -> None:
        self._disk = disk
        self._locks = locks
        self._blobs = blobs
        self._derived = derived
        self._names = names
        self._catalog = catalog
        self._materialise = materialise
        self._partials = Partials(disk)
        self._unfinished = Unfinished(disk)

    def run(
        self,
        job: Job,
        *,
        dry_run: bool = False,
        derived: bool = False,
        partials: bool = False,
        only: Iterable[Digest] | None = None,
    ) -> Collected:
        """Remove all garbage and what crashes left, or, with `only`, what of these digests is garbage.
        Waits for another one.

        `derived`: what is derived counts as garbage unless it is in use this moment. `partials`: so do half-done
        downloads that nobody goes on with this moment, and what cut pulls had finished, else those of more than a day.

        A damaged manifest that is still named stops it: what hangs below could not be known.
        """
        with self._locks.exclusive():
            needed = self._needed(job)
            among, grace = None if only is None else set(only), 0 if partials else _PARTIAL_GRACE
            # who removes an image wants it gone
            cut = self._unfinished.needed(grace) if among is None else set()
            only_cut, cut_derived = cut - needed.blobs, cut - needed.derived
            needed.blobs |= cut
            needed.derived |= cut
            blobs = [
                digest
                for digest in self._blobs.digests()
                if digest not in needed.blobs and (among is None or digest in among)
            ]
            kept = needed.used if derived else needed.derived
            files = [file for file in self._files() if file[1] not in kept and (among is None or file[1] in among)]
            stale, fresh = self._half_done(needed, only_cut, grace) if among is None else ([], [])
            freed = self._space(blobs, files, stale)
            waiting = [] if derived else [file for file in self._files() if file[1] in cut_derived]
            left = self._space(only_cut, waiting, fresh)
            if not dry_run:
                for digest in blobs:
                    self._blobs.delete(digest)
                self._derived.discard(files)
                if among is None:
                    self._unfinished.clear(grace)
                    for name in stale:
                        self._partials.remove(name)
                    self._materialise.clear()
                    self._locks.clear()
        if blobs and not dry_run:
            self._catalog.forget(blobs)
        return Collected(tuple(blobs), len(files), len(stale), freed, left)

    def remove(self, images: Images, reference: str, job: Job) -> Collected:
        """Remove a name, and what nothing else needs. See `Store.remove`."""
        found = images.resolve(reference)
        # looked at while the name still keeps others from collecting it
        among = self.below(found.target.digest)
        tagged = images.untag(reference)
        if tagged.target.digest != found.target.digest:  # moved meanwhile
            among = self.below(tagged.target.digest)
        if tagged.original is not None:
            among.add(tagged.original)
        try:
            return self.run(job, only=among)
        except Cancelled:
            raise
        except Error as error:  # of other images, or of the disk: the name is gone, and must not be called kept
            return Collected((), 0, 0, 0, stopped=str(error))

    def below(self, root: Digest) -> set[Digest]:
        """Everything that hangs on a document: blobs, and what may be derived from them. Of one that is lost or
        damaged, which hides what hangs on it, the document alone."""
        needed = _Needed()
        try:
            self._mark(root, needed)
        except Damaged as error:
            _log.info("what hangs below is left to gc: %s", error)
        return needed.blobs | needed.derived

    def _needed(self, job: Job) -> _Needed:
        leases = leased(self._disk)
        needed = _Needed(leases)
        needed.blobs |= leases
        needed.used |= leases | self._materialise.in_use()
        needed.derived |= needed.used
        for tagged in self._names.all().values():
            job.check()
            try:
                self._mark(tagged.target.digest, needed, tagged.pulled)
            except Damaged as error:
                raise Damaged(f"gc: {tagged.name}: {error.message}", hint=error.hint) from error
            if tagged.original is not None:
                needed.blobs.add(tagged.original)
        return needed

    def _mark(self, root: Digest, needed: _Needed, pulled: Sequence[Digest] = ()) -> None:
        needed.blobs.add(root)
        documents = graph.stored_documents(root, self._read)
        missing = graph.lost(root, pulled, documents) if documents else {root}
        # what hangs below it could not be known
        for digest in sorted(missing):
            if self._blobs.size(digest) is None:
                raise Damaged(f"manifest {digest} is missing", hint="pull the image again, or remove its name")
        for document in documents:
            needed.blobs.add(document.digest)
            needed.blobs.update(child.digest for child in document.successors)
            self._mark_derived(document, needed)

    def _mark_derived(self, document: Document, needed: _Needed) -> None:
        raw = self._read(document.config.digest, CONFIG_BYTES) if document.config else None
        image = graph.image_of(document, raw) if raw is not None else None
        if image is not None:
            needed.derived.update(image.diff_ids)
            needed.derived.update(chains(image.diff_ids))
            needed.derived.add(chain_of(image.diff_ids))

    def _read(self, digest: Digest, limit: int) -> bytes | None:
        try:
            return self._blobs.read(digest, limit)
        except Damaged as error:
            raise Damaged(error.message, hint="run `orlop fsck`, then pull that image again") from error

    def _half_done(self, needed: _Needed, only_cut: set[Digest], grace: float) -> tuple[list[str], list[str]]:
        """The half-done downloads to remove, and those that are kept only for a while."""
        stale: list[str] = []
        fresh: list[str] = []
        for name in self._partials.names():
            digest = digest_of(name)
            if digest is None or digest in needed.leases:
                continue  # a stray file, not ours to remove, or in hand
            wanted = digest in needed.blobs or is_fresh(self._disk, log(digest), grace)
            # with the blob there it was finished, but its process did not come to clearing it away
            if self._blobs.size(digest) is not None or not wanted:
                stale.append(name)
            elif digest in only_cut or digest not in needed.blobs:
                fresh.append(name)
        return stale, fresh

    def _files(self) -> list[tuple[str, Digest]]:
        return [(kind, digest) for kind in KINDS for digest in self._derived.digests(kind)]

    def _space(self, blobs: Iterable[Digest], files: Iterable[tuple[str, Digest]], partials: Iterable[str]) -> int:
        total = sum(self._blobs.size(digest) or 0 for digest in blobs)
        total += sum(self._disk.space(f"derived/{kind}/{_file(digest)}") for kind, digest in files)
        return total + sum(self._disk.space(f"partial/{name}") for name in partials)


def _file(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"
