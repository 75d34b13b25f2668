"""Pull: from any source into the store. Planned, then done: blobs in parallel, documents children first, the
name last, so that a name never shows anything that is not whole and durable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from . import graph
from .blobs.local import LocalBlobs
from .blobs.partial import Partials
from .blobs.unfinished import Unfinished
from .catalog.sqlite import SqliteCatalog
from .disk.disk import SPACE, Disk
from .disk.session import Lease, Session
from .errors import Cancelled, Error, NoSpace, Unsupported
from .graph import Choice, Leaf, Plan
from .images import Images, check_name
from .intake import WRONG, Intake, Taken
from .job import Event, Job, beside, run_all
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .model.media import DOCKER_LAYER_GZIP
from .ports import Facts, Sizes, Source, Tagged

MakeReady = Callable[[Sequence[Digest], Job], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did. `fetched` counts bytes from the source, `present` bytes that were there before."""

    name: str
    digest: Digest
    manifests: tuple[Digest, ...]
    fetched: int
    present: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Planned:
    """What a pull would do: (descriptor, bytes already kept) for each blob still to come, biggest first."""

    name: str
    digest: Digest
    blobs: tuple[tuple[Descriptor, int], ...]
    present: int  # bytes there already
    requests: int


class Transfer:
    """Pulls into one store."""

    def __init__(
        self,
        disk: Disk,
        blobs: LocalBlobs,
        partials: Partials,
        catalog: SqliteCatalog,
        images: Images,
        intake: Intake,
        session: Session,
        make_ready: MakeReady,
    ) -> None:
        """`make_ready` prepares the mount of a stack of diff IDs whose plain layers are in the store."""
        self._disk = disk
        self._blobs = blobs
        self._partials = partials
        self._unfinished = Unfinished(disk)
        self._catalog = catalog
        self._images = images
        self._intake = intake
        self._session = session
        self._make_ready = make_ready

    def pull(
        self,
        source: Source,
        reference: str,
        name: str,
        choice: Choice,
        *,
        claimed: bool,
        explicit: bool,
        prepare: bool,
        job: Job,
    ) -> Pulled:
        """Fetch what `reference` names at `source` and call it `name`. `claimed`: only the source itself says so.
        `explicit`: the platform was asked for."""
        started = time.monotonic()
        check_name(name)
        root = graph.read(source, reference)
        if claimed:
            self._images.check_claim(name, root.digest, source.origin)
        with self._session.lease() as lease:
            if root.is_schema1:
                return self._pull_schema1(source, root, name, job, lease, started)
            plan = graph.plan(source, root, choice, job)
            graph.check_platform(plan, choice, explicit=explicit, job=job)
            lease.rely_on(plan.digests)
            return self._execute(source, plan, name, started, prepare=prepare, job=job)

    def _execute(self, source: Source, plan: Plan, name: str, started: float, *, prepare: bool, job: Job) -> Pulled:
        root = plan.root
        self._announce(plan, prepare=prepare, job=job)
        with self._listed(plan.digests):
            taken = self._take(source, plan.leaves, plan.digests, prepare=prepare, job=job)
            # the disk has time for the one while the other is worked out
            with beside(job, lambda child: self._prepare_mounts(plan, child) if prepare else None):
                self._keep(source, plan, name)
        manifests = tuple(document.digest for document in plan.documents if not document.is_index)
        small = sum(len(raw) for _, raw in plan.configs) + sum(len(document.raw) for document in plan.documents)
        fetched = sum(item.fetched for item in taken)
        # whatever did not come over the wire was here: from before, from a try that was cut, by another process
        present = max(0, sum(leaf.descriptor.size for leaf in plan.leaves) - fetched)
        return Pulled(name, root.digest, manifests, fetched + small, present, time.monotonic() - started)

    @contextmanager
    def _listed(self, digests: Sequence[Digest]) -> Iterator[None]:
        """Of a pull that is cut, what it had finished is kept for a next try; not of an image that is refused."""
        try:
            yield
        except WRONG:
            self._unfinished.end(digests)
            raise
        self._unfinished.end(digests)

    def _keep(self, source: Source, plan: Plan, name: str) -> None:
        """All blobs are there: now the documents, children first, the catalog, and the name last."""
        for descriptor, raw in plan.configs:
            self._blobs.put(descriptor.digest, raw)
        for document in plan.documents:
            self._blobs.put(document.digest, document.raw)
        self._catalog.add(plan.facts)
        self._images.name(Tagged(name, plan.root.descriptor, source.origin, pulled=plan.pulled))

    def _prepare_mounts(self, plan: Plan, job: Job) -> None:
        for stack in plan.stacks:
            try:
                self._make_ready(stack, job)
            except Cancelled:
                return  # what was asked for is done
            except Error as error:
                # the image is whole all the same, and can be looked at, copied, served
                job.progress(Event("note", plan.root.digest, text=f"not made ready to mount: {error.message}"))

    def plan(self, source: Source, reference: str, name: str, choice: Choice, job: Job) -> Planned:
        """What `pull` would move."""
        root = graph.read(source, reference)
        if root.is_schema1:
            raise Unsupported(f"{name}: a schema 1 manifest does not say the sizes of its layers, so there is no plan")
        plan = graph.plan(source, root, choice, job)
        missing = [leaf.descriptor for leaf in plan.leaves if not self._there(leaf.descriptor)]
        kept = tuple((wanted, self._partials.kept(wanted.digest)) for wanted in missing)
        present = sum(leaf.descriptor.size for leaf in plan.leaves if self._there(leaf.descriptor))
        requests = plan.requests - len(plan.leaves) + len(missing)
        return Planned(name, root.digest, kept, present, requests)

    def _take(
        self, source: Source, leaves: Sequence[Leaf], needed: Sequence[Digest], *, prepare: bool, job: Job
    ) -> list[Taken]:
        """Take in `leaves`, keeping the list of all that is `needed` as new as the last of them that ended."""
        taken: list[Taken] = []
        guard = threading.Lock()
        if listed := not all(self._intake.ready(leaf, prepare=prepare) for leaf in leaves):
            self._unfinished.begin(needed)

        def task(leaf: Leaf) -> Callable[[Job], None]:
            def run(child: Job) -> None:
                result = self._intake.take(source, leaf, prepare=prepare, job=child)
                if listed:
                    self._unfinished.begin(needed)
                with guard:
                    taken.append(result)

            return run

        run_all(job, [task(leaf) for leaf in leaves])
        return taken

    def _announce(self, plan: Plan, *, prepare: bool, job: Job) -> None:
        """Say what is to come, and refuse early what cannot fit."""
        missing = [leaf.descriptor for leaf in plan.leaves if not self._there(leaf.descriptor)]
        need = sum(max(0, wanted.size - self._partials.kept(wanted.digest)) for wanted in missing)
        # a plain layer is hardly ever smaller than the blob it comes from, and then by little
        unprepared = [leaf for leaf in plan.leaves if prepare and not self._intake.prepared(leaf)]
        plain = sum(leaf.descriptor.size - leaf.descriptor.size // 64 for leaf in unprepared)
        free = self._disk.free()
        if need + plain > free:
            raise NoSpace(
                f"{self._disk.root}: no space: {free} bytes free, the image needs at least {need + plain} more",
                hint=f"free some space{SPACE}; orlop gc --partials drops half-done downloads",
            )
        job.progress(Event("plan", plan.root.digest, total=need, count=len(missing)))
        for note in plan.notes:
            job.progress(Event("note", plan.root.digest, text=note))

    def _there(self, wanted: Descriptor) -> bool:
        return self._blobs.size(wanted.digest) == wanted.size

    def _pull_schema1(
        self, source: Source, root: Document, name: str, job: Job, lease: Lease, started: float
    ) -> Pulled:
        """Docker's oldest manifests: sizes are asked for, diff IDs found out, a config and a manifest made."""
        if not isinstance(source, Sizes):
            raise Unsupported(f"{name}: a schema 1 manifest outside a registry is not supported")
        from .model import legacy  # rare, and not free to import

        layers = [Descriptor(DOCKER_LAYER_GZIP, digest, source.size(digest)) for digest in legacy.layers_of(root.raw)]
        unique = {layer.digest: layer for layer in layers}
        needed = [root.digest, *unique]
        lease.rely_on(needed)
        job.progress(Event("plan", root.digest, total=sum(layer.size for layer in unique.values()), count=len(unique)))
        with self._listed(needed):
            leaves = [Leaf(layer) for layer in unique.values()]
            taken = self._take(source, leaves, needed, prepare=False, job=job)
            diff_ids = {digest: self._intake.discover(layer, job=job) for digest, layer in unique.items()}
            config, manifest = legacy.convert(root.raw, [(layer, diff_ids[layer.digest]) for layer in layers])
            config_digest = Digest.of(config)
            lease.rely_on([config_digest, manifest.digest, *diff_ids.values()])
            self._blobs.put(config_digest, config)
            for document in (root, manifest):
                self._blobs.put(document.digest, document.raw)
            facts: Facts = graph.facts_of(manifest, graph.image_of(manifest, config))
            self._catalog.add([facts])
            self._images.name(Tagged(name, manifest.descriptor, source.origin, original=root.digest))
        fetched = sum(item.fetched for item in taken) + len(root.raw)
        return Pulled(name, manifest.digest, (manifest.digest,), fetched, 0, time.monotonic() - started)
