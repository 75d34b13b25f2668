"""Push: from any source to any target. Planned, then done: what the target has is left out, blobs go in parallel, the
biggest first, then documents children first, the tag last, so that it never shows anything that is not whole there.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from . import graph
from .errors import NotFound
from .graph import Choice, Plan
from .job import Event, Job, run_all
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .ports import Body, Content, Readable, Source, Target
from .streams import CHUNK
from .verify import Verifier

_NAMED = 4  # platforms in one error line


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. `sent` counts bytes of blobs that went out, `present` those that the target had or could have
    without."""

    name: str
    digest: Digest
    manifests: tuple[Digest, ...]
    sent: int
    present: int
    seconds: float


def plan(source: Source, root: Document, choice: Choice, *, explicit: bool, job: Job) -> Plan:
    """All that has to be there for an image to be whole: with a `choice` the manifest of that platform, else the
    index with all that is below it. `explicit`: the platform was asked for. `NotFound` if the source lacks a part."""
    found = graph.plan(source, root, choice, job)
    graph.check_platform(found, choice, explicit=explicit, job=job)
    if choice is not None:
        return graph.narrowed(found)
    refuse_sparse(found.documents, root.digest, source.origin)
    return found


def refuse_sparse(documents: Sequence[Document], root: Digest, origin: str) -> None:
    """`NotFound` if documents that `root` needs are not among those found at `origin`."""
    if lacking := graph.absent(documents):
        names = ", ".join(str(each.platform or each.digest.short) for each in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise NotFound(
            f"index {root}: not all of it is in {origin}: it lacks {names}{more}",
            hint="send what there is with --platform OS/ARCH, or pull the rest with --platform all",
        )


def push(source: Source, planned: Plan, target: Target, tag: str, name: str, job: Job) -> Pushed:
    """Make the target have all of a plan, and its root at `tag` ("" for none). `name` is what the result calls it.

    `Denied`, `Unavailable`, `Throttled`, `Mismatch`, `Unsafe`, `Cancelled`. Once begun, what has arrived stays there.
    """
    started = time.monotonic()
    pushing = _Push(source, planned, target)
    lacking, there = pushing.sorted(job)
    pushing.send(lacking, job)
    try:
        pushing.put(tag, job)
    except NotFound as error:
        if not there:
            raise
        # some registries remember blobs that were collected since
        job.progress(Event("note", planned.root.digest, text=f"{error.message}; sending all of it"))
        pushing.send(there, job)
        pushing.put(tag, job)
    manifests = tuple(document.digest for document in planned.documents if not document.is_index)
    present = pushing.size - sum(pushing.sent.values())
    sent = sum(pushing.sent.values())
    return Pushed(name, planned.root.digest, manifests, sent, max(0, present), time.monotonic() - started)


class _Push:
    """One push: the blobs of its plan, and what became of them."""

    def __init__(self, source: Source, planned: Plan, target: Target) -> None:
        self._source = source
        self._plan = planned
        self._target = target
        self._small = {descriptor.digest: raw for descriptor, raw in planned.configs}
        blobs = [descriptor for descriptor, _ in planned.configs] + [leaf.descriptor for leaf in planned.leaves]
        self._blobs: Mapping[Digest, Descriptor] = {blob.digest: blob for blob in blobs}
        self._guard = threading.Lock()
        self.size = sum(blob.size for blob in self._blobs.values())
        self.sent: dict[Digest, int] = {}

    def sorted(self, job: Job) -> tuple[list[Descriptor], list[Descriptor]]:
        """What the target lacks, and what it says to have; the biggest first."""
        there: set[Digest] = set()

        def ask(wanted: Descriptor) -> Callable[[Job], None]:
            def run(child: Job) -> None:
                if self._target.has(wanted, job=child):
                    with self._guard:
                        there.add(wanted.digest)

            return run

        ordered = sorted(self._blobs.values(), key=lambda blob: blob.size, reverse=True)
        run_all(job, [ask(wanted) for wanted in ordered])
        lacking = [wanted for wanted in ordered if wanted.digest not in there]
        total = sum(wanted.size for wanted in lacking)
        job.progress(Event("plan", self._plan.root.digest, total=total, count=len(lacking)))
        for digest in there:
            size = self._blobs[digest].size
            job.progress(Event("exists", digest, size, size))
        return lacking, [wanted for wanted in ordered if wanted.digest in there]

    def send(self, blobs: Iterable[Descriptor], job: Job) -> None:
        def task(wanted: Descriptor) -> Callable[[Job], None]:
            def run(child: Job) -> None:
                child.progress(Event("start", wanted.digest, 0, wanted.size))
                sent = self._target.push(wanted, self._content(wanted, child), job=child)
                with self._guard:
                    self.sent[wanted.digest] = min(sent, wanted.size)
                child.progress(Event("done", wanted.digest, wanted.size, wanted.size))

            return run

        run_all(job, [task(wanted) for wanted in blobs])

    def put(self, tag: str, job: Job) -> None:
        """The documents; those of one level at once, as an index may have hundreds."""
        root = self._plan.root
        below = [document for document in self._plan.documents if document.digest != root.digest]

        def task(document: Document) -> Callable[[Job], None]:
            return lambda child: self._target.put(document, job=child)

        run_all(job, [task(document) for document in below if not document.is_index])
        for document in below:
            if document.is_index:
                self._target.put(document, job=job)
        self._target.put(root, tag, job=job)

    def _content(self, wanted: Descriptor, job: Job) -> Content:
        """Its bytes, from the source or from what was read already, verified if they are read from the start."""
        raw = wanted.data if wanted.data is not None else self._small.get(wanted.digest)

        @contextmanager
        def content(start: int, end: int) -> Iterator[Readable]:
            if raw is not None:
                yield io.BytesIO(raw[start:end])
                return
            with self._source.open(wanted, offset=start, end=end, job=job) as body:
                if (start, end) == (0, wanted.size):
                    yield _Verified(body, wanted, self._source.origin)
                else:
                    _pass_over(body, start)
                    yield body

        return content


class _Verified:
    """A blob that fails with `Mismatch` instead of giving its last byte, if it is not what its digest says."""

    def __init__(self, content: Readable, wanted: Descriptor, origin: str) -> None:
        self._content = content
        self._verifier = Verifier(wanted, origin)
        self._left = wanted.size

    def read(self, size: int, /) -> bytes:
        data = self._content.read(size)
        self._verifier.write(data)
        self._left -= len(data)
        if self._left == 0 or not data:
            self._verifier.finish()
        return data


def _pass_over(body: Body, offset: int) -> None:
    """A source may begin before the place that it was asked for."""
    left = offset - body.offset
    while left > 0 and (data := body.read(min(left, CHUNK))):
        left -= len(data)
