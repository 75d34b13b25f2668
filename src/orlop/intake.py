"""Taking in one blob, in one pass over its bytes: receive, keep, hash, inflate, hash again, write the plain
tar, index it. Overlapped in threads, one download a digest over all threads and processes, resumed if cut.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from .blobs.derived import DerivedFiles
from .blobs.local import LocalBlobs
from .blobs.partial import Partial, Partials
from .disk.disk import Disk
from .disk.locks import Locks
from .disk.session import Session
from .download import Download, Slots
from .errors import Error, Invalid, Mismatch, NoSpace, Unsafe, Unsupported
from .graph import Leaf
from .job import Event, Job
from .model.descriptor import Descriptor
from .model.digest import Digest
from .plain import PlainTar, Tap, no_room
from .ports import Readable, Source
from .streams import CHUNK, Inflated
from .verify import Verifier

# what is wrong with the content itself, not with getting it
WRONG = (Mismatch, Invalid, Unsafe, Unsupported)


@dataclass(frozen=True, slots=True)
class Taken:
    """`fetched` bytes came from the source, `kept` were there from an earlier try."""

    fetched: int = 0
    kept: int = 0


class Intake:
    """The way of a blob into the store."""

    def __init__(self, disk: Disk, locks: Locks, session: Session, blobs: LocalBlobs, derived: DerivedFiles) -> None:
        self._disk = disk
        self._locks = locks
        self._session = session
        self._blobs = blobs
        self._derived = derived
        self._partials = Partials(disk)
        self._slots = Slots()

    def ready(self, leaf: Leaf, *, prepare: bool) -> bool:
        """Whether nothing is left to do for this leaf."""
        wanted = leaf.descriptor
        return self._blobs.size(wanted.digest) == wanted.size and (not prepare or self.prepared(leaf))

    def prepared(self, leaf: Leaf) -> bool:
        """Whether the plain tar and its index are there and this blob's, or not needed."""
        diff_id = leaf.diff_id
        if diff_id is None:
            return True
        there = all(self._derived.path(kind, diff_id) for kind in ("tar", "index"))
        return there and self._derived.opens_to(leaf.descriptor.digest) == diff_id

    def take(self, source: Source, leaf: Leaf, *, prepare: bool, job: Job) -> Taken:
        """Make the leaf's blob (and with `prepare` its plain tar and index) be in the store. Idempotent.

        A blob that is there but not itself is moved aside and fetched again. `Mismatch` after two tries.
        """
        wanted = leaf.descriptor
        if self.ready(leaf, prepare=prepare) and not self._partials.left(wanted.digest):
            job.progress(Event("exists", wanted.digest, wanted.size, wanted.size))
            return Taken()
        with self._locks.digest(wanted.digest, job):
            if self.ready(leaf, prepare=prepare):
                self._partials.finished(wanted.digest)
                job.progress(Event("exists", wanted.digest, wanted.size, wanted.size))
                return Taken()
            if self._blobs.size(wanted.digest) is not None:
                try:
                    self.derive(leaf, job=job)
                    return Taken()
                except Mismatch as error:
                    if not self._blobs.damage(wanted.digest, job):
                        raise  # the image lies about its size: no reason to take it from those that do not
                    self._blobs.quarantine(wanted.digest)
                    job.progress(Event("note", wanted.digest, text=f"{error}; fetching it again"))
            return self._fetch(source, leaf, prepare=prepare, job=job)

    def prepare(self, leaf: Leaf, *, job: Job) -> None:
        """`derive`, once over all processes."""
        with self._locks.digest(leaf.descriptor.digest, job):
            if not self.prepared(leaf):
                self.derive(leaf, job=job)

    def derive(self, leaf: Leaf, *, job: Job) -> None:
        """Make the plain tar and index again from a blob in the store, checking the blob on the way."""
        job.progress(Event("start", leaf.descriptor.digest, 0, leaf.descriptor.size))
        with self._blobs.open(leaf.descriptor.digest) as stream:
            content = _Opening(self, leaf, prepare=True, origin="the store")
            try:
                content.run(_Reporting(stream, leaf, job), job)
                content.adopt()
            finally:
                content.close()
        job.progress(Event("done", leaf.descriptor.digest, leaf.descriptor.size, leaf.descriptor.size))

    def discover(self, wanted: Descriptor, *, job: Job) -> Digest:
        """The diff ID of a layer in the store whose image does not say it; it is made ready on the way."""
        with self._locks.digest(wanted.digest, job), self._blobs.open(wanted.digest) as stream:
            content = _Opening(self, Leaf(wanted), prepare=True, origin="the store", discover=True)
            try:
                content.run(_Reporting(stream, Leaf(wanted), job), job)
                return content.adopt()
            finally:
                content.close()

    def _fetch(self, source: Source, leaf: Leaf, *, prepare: bool, job: Job) -> Taken:
        try:
            return self._try(source, leaf, prepare=prepare, job=job)
        except Mismatch as error:
            # a bad cache, a torn partial, a source that changed its mind: once more from nothing (NF02, NF04)
            job.progress(Event("retry", leaf.descriptor.digest, text=str(error)))
            return self._try(source, leaf, prepare=prepare, job=job)

    def _try(self, source: Source, leaf: Leaf, *, prepare: bool, job: Job) -> Taken:
        wanted = leaf.descriptor
        with self._partials.open(wanted.digest, wanted.size) as partial:
            kept = partial.kept
            job.progress(Event("resume" if kept else "start", wanted.digest, kept, wanted.size))
            content = _Opening(self, leaf, prepare=prepare, origin=source.origin)
            download = Download(source, wanted, partial, self._slots)

            def receive(child: Job) -> None:
                download.run(child)
                partial.sync()  # beside the inflating, which takes longer than the download does

            try:
                _side_by_side(receive, lambda child: content.run(partial.follow(child), child), partial, job)
                partial.publish()
                content.adopt()
            except WRONG as error:
                # what a source says instead of the bytes speaks against itself, not against what was kept
                if error is not partial.failure:
                    partial.discard()
                raise
            finally:
                content.close()
            job.progress(Event("done", wanted.digest, wanted.size, wanted.size))
            return Taken(download.fetched, kept)

    # what _Opening needs of the store
    def scratch(self) -> str:
        return self._session.scratch()

    @property
    def disk(self) -> Disk:
        return self._disk

    @property
    def derived(self) -> DerivedFiles:
        return self._derived


def _side_by_side(download: Callable[[Job], None], follow: Callable[[Job], None], partial: Partial, job: Job) -> None:
    """Download in a thread of its own, follow in this one. The first real failure ends both and is raised."""
    child = job.child()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            download(child)
        except BaseException as error:  # noqa: BLE001 -- the follower would wait for ever; it raises what it is given
            failure.append(error)
            partial.fail(error)

    thread = threading.Thread(target=run, name="orlop-download", daemon=True)
    thread.start()
    try:
        follow(child)
    except BaseException:
        child.stop()
        raise
    finally:
        thread.join()
    if failure:
        raise failure[0]


class _Opening:
    """One pass over a blob's bytes. Nothing has a name in the store before `adopt`."""

    def __init__(self, intake: Intake, leaf: Leaf, *, prepare: bool, origin: str, discover: bool = False) -> None:
        self._intake = intake
        self._leaf = leaf
        self._verifier = Verifier(leaf.descriptor, origin)
        self._origin = origin
        self._diff_id = leaf.diff_id
        self._open = discover or (prepare and not intake.prepared(leaf))
        self._plain: PlainTar | None = None

    def run(self, source: Readable, job: Job) -> None:
        """Read `source` to its end. `Mismatch` if it is not what the leaf says; that beats every other fault
        of the content, which would only follow from it."""
        tap = Tap(source, self._verifier, job)
        fault: Error | None = None
        if self._open:
            algorithm = self._diff_id.algorithm if self._diff_id else "sha256"
            self._plain = PlainTar(self._intake.disk, self._intake.scratch(), algorithm)
            try:
                self._plain.fill(Inflated(tap, job), job)
            except WRONG as error:
                fault = error
            except NoSpace as error:
                what = f"layer {self._leaf.descriptor.digest} from {self._origin}"
                raise no_room(what, self._plain.size, error) from error
        while tap.read(CHUNK):
            pass
        self._verifier.finish()
        if fault is not None:
            # of all layers of an image, this one
            text = fault.message.removeprefix("layer: ")
            fault.message = f"layer {self._leaf.descriptor.digest} from {self._origin}: {text}"
            raise fault
        if self._plain is not None and self._diff_id not in (None, self._plain.digest):
            raise Unsafe(
                f"layer {self._leaf.descriptor.digest} from {self._origin}: its plain tar has digest "
                f"{self._plain.digest}, the image config says {self._diff_id}"
            )

    def adopt(self) -> Digest:
        """Give the plain tar and the index their names; returns the layer's digest where no diff ID is known."""
        if self._plain is None:
            return self._diff_id or self._leaf.descriptor.digest
        diff_id = Digest(self._plain.digest)
        self._plain.adopt(self._intake.derived, diff_id)
        self._intake.derived.record_opened(self._leaf.descriptor.digest, diff_id)
        return diff_id

    def close(self) -> None:
        if self._plain is not None:
            self._plain.close()


class _Reporting:
    """A `Readable` over a file in the store that reports how far it got."""

    def __init__(self, source: Readable, leaf: Leaf, job: Job) -> None:
        self._source = source
        self._leaf = leaf.descriptor
        self._job = job
        self._done = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._done += len(data)
        self._job.progress(Event("progress", self._leaf.digest, self._done, self._leaf.size))
        return data
