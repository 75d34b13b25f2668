"""The graph of an image: reading documents verified, choosing platforms, and the plan of a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import Invalid, Mismatch, NotFound, Unsafe, Unsupported
from .job import Event, Job
from .model import media
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .model.image import ImageConfig
from .model.limits import CONFIG_BYTES, DOCUMENTS, DOCUMENTS_BYTES, INDEX_DEPTH
from .model.platform import Platform
from .ports import Facts, Resolves, Source
from .streams import CHUNK
from .verify import Verifier, check_document

Choice = Platform | None  # None is every platform


@dataclass(frozen=True, slots=True)
class Leaf:
    """A blob to move. `diff_id` is set for image layers, whose plain form is checked too."""

    descriptor: Descriptor
    diff_id: Digest | None = None


@dataclass(frozen=True)
class Plan:
    """Everything a copy will do, as data. `leaves` are unique, biggest first; `documents` children first."""

    root: Document
    documents: tuple[Document, ...]
    configs: tuple[tuple[Descriptor, bytes], ...]
    leaves: tuple[Leaf, ...]
    facts: tuple[Facts, ...]
    requests: int
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> list[Digest]:
        """All that the copy relies on, derived things included."""
        names = [document.digest for document in self.documents]
        names += [descriptor.digest for descriptor, _ in self.configs]
        for leaf in self.leaves:
            names.append(leaf.descriptor.digest)
            if leaf.diff_id:
                names.append(leaf.diff_id)
        return names

    @property
    def pulled(self) -> tuple[Digest, ...]:
        """See `Tagged.pulled`."""
        if not self.root.is_index:
            return ()
        if not lost(self.root.digest, [self.root.digest], self.documents):
            return (self.root.digest,)
        return tuple(sorted(document.digest for document in self.documents if document is not self.root))

    @property
    def stacks(self) -> list[tuple[Digest, ...]]:
        """The diff IDs of each image, base first."""
        configs = {descriptor.digest: raw for descriptor, raw in self.configs}
        images = [
            image_of(document, configs[document.config.digest])
            for document in self.documents
            if document.config is not None and document.config.digest in configs
        ]
        return [image.diff_ids for image in images if image is not None]


def read(source: Source, reference: str) -> Document:
    """The document at a tag or digest. A digest, given or known to the source, is checked: else `Mismatch`."""
    digest = _digest_in(reference)
    if digest is None and isinstance(source, Resolves):
        return read_described(source, source.resolve(reference))
    document = source.document(reference)
    if digest is None:
        return document
    check_document(document, digest, source.origin)
    return document.under(digest)


def read_described(source: Source, wanted: Descriptor) -> Document:
    """A document that another one describes: digest, size and media type must all agree."""
    document = Document(wanted.data, wanted.media_type) if wanted.data is not None else source.document(wanted.digest)
    check_document(document, wanted.digest, source.origin)
    if len(document.raw) != wanted.size:
        raise Mismatch(f"manifest {wanted.digest}: expected {wanted.size} bytes, got {len(document.raw)}")
    if document.media_type != wanted.media_type:
        raise Mismatch(f"manifest {wanted.digest}: described as {wanted.media_type}, served as {document.media_type}")
    return document.under(wanted.digest)


def read_small(source: Source, wanted: Descriptor, limit: int, job: Job) -> bytes:
    """A small blob whole, verified. `Unsafe` if it is described as larger than `limit` bytes."""
    if wanted.data is not None:
        return wanted.data  # checked when the descriptor was made
    if wanted.size > limit:
        raise Unsafe(f"blob {wanted.digest}: {wanted.size} bytes where at most {limit} are taken")
    try:
        return _read_verified(source, wanted, job)
    except Mismatch as error:
        # a bit may flip on the way (NF04)
        job.progress(Event("retry", wanted.digest, text=str(error)))
        return _read_verified(source, wanted, job)


def _read_verified(source: Source, wanted: Descriptor, job: Job) -> bytes:
    verifier, parts = Verifier(wanted, source.origin), []
    with source.open(wanted, job=job) as body:
        while data := body.read(CHUNK):
            verifier.write(data)
            parts.append(data)
    verifier.finish()
    return b"".join(parts)


def choose(index: Document, platform: Platform) -> Descriptor:
    """The child that fits best, the first among equals. `NotFound` says which platforms there are."""
    best, best_fit = None, 0
    for child in index.manifests:
        fit = platform.fit(child.platform) if child.platform else 0
        if fit > best_fit:
            best, best_fit = child, fit
    if best is not None:
        return best
    plain = [child for child in index.manifests if child.platform is None]
    if len(plain) == len(index.manifests) == 1:
        return plain[0]  # an index of one that says nothing: the config will tell
    offered = sorted({str(child.platform) for child in index.manifests if child.platform and _runs(child.platform)})
    raise NotFound(
        f"platform {platform}: not in this image", hint=f"it has {', '.join(offered) or 'no platforms'}; use --platform"
    )


def plan(source: Source, root: Document, choice: Choice, job: Job) -> Plan:
    """Walk the small documents below `root` and list what is to be moved. Nothing is stored.

    `choice` picks one manifest of each index, or all. `Unsafe` past the limits on depth and number (PA13).
    """
    walk = _Walk(source, choice, job)
    walk.run(root)
    leaves = sorted(walk.leaves.values(), key=lambda leaf: leaf.descriptor.size, reverse=True)
    return Plan(
        root,
        tuple(reversed(walk.documents)),
        tuple(walk.configs.values()),
        tuple(leaves),
        tuple(reversed(walk.facts)),
        walk.requests + len(leaves),
        tuple(walk.notes),
    )


def check_platform(plan: Plan, choice: Choice, *, explicit: bool, job: Job) -> None:
    """A lone manifest has no list to choose from: its config tells what it is. `NotFound` if it is another than was
    asked for."""
    if choice is None or plan.root.is_index:
        return
    for facts in plan.facts:
        if not facts.platform or facts.platform.startswith("unknown"):
            continue
        offered = ImageConfig(plan.configs[0][1]).platform
        if choice.fit(offered) == 0:
            text = f"platform {choice}: the image is {offered}"
            if explicit:
                raise NotFound(text, hint="it is the only one there")
            job.progress(Event("note", plan.root.digest, text=text))


def absent(documents: Sequence[Document]) -> list[Descriptor]:
    """Documents below the indexes among these that are not among them themselves."""
    there = {document.digest for document in documents}
    below = [child for document in documents for child in document.manifests]
    return [child for child in below if child.digest not in there and child.media_type in media.DOCUMENTS]


def narrowed(plan: Plan) -> Plan:
    """The plan of one platform without the index that it was chosen from."""
    if not plan.root.is_index:
        return plan
    manifest = next(document for document in plan.documents if not document.is_index)
    facts = tuple(each for each in plan.facts if each.descriptor.digest == manifest.digest)
    return replace(plan, root=manifest, documents=(manifest,), facts=facts)


@dataclass
class _Walk:
    source: Source
    choice: Choice
    job: Job
    documents: list[Document] = field(default_factory=list)
    configs: dict[Digest, tuple[Descriptor, bytes]] = field(default_factory=dict)
    leaves: dict[Digest, Leaf] = field(default_factory=dict)
    facts: list[Facts] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sizes: dict[Digest, int] = field(default_factory=dict)
    requests: int = 1
    held: int = 0  # bytes of documents and configs

    def run(self, root: Document) -> None:
        queue: deque[tuple[Document, int]] = deque([(root, 0)])
        seen = {root.digest}
        while queue:
            self.job.check()
            document, depth = queue.popleft()
            self.documents.append(document)
            self.hold(document.raw)
            self.check_sizes(document)
            if not document.is_index:
                self.manifest(document)
                continue
            self.facts.append(Facts(document.descriptor, document.successors))
            if depth >= INDEX_DEPTH:
                raise Unsafe(f"index {document.digest}: nested deeper than {INDEX_DEPTH}")
            for child in self.children(document):
                if child.digest in seen:
                    continue
                seen.add(child.digest)
                if len(seen) > DOCUMENTS:
                    raise Unsafe(f"index {root.digest}: more than {DOCUMENTS} documents below it")
                if found := self.child(child):
                    queue.append((found, depth + 1))

    def hold(self, raw: bytes) -> None:
        self.held += len(raw)
        if self.held > DOCUMENTS_BYTES:
            raise Unsafe(f"image {self.documents[0].digest}: over {DOCUMENTS_BYTES} bytes of manifests and configs")

    def check_sizes(self, document: Document) -> None:
        """Each digest is taken once, so a second size for it would never be looked at; and then others who have
        the blob from an honest image would be told that it is damaged."""
        for wanted in document.successors:
            if (size := self.sizes.setdefault(wanted.digest, wanted.size)) != wanted.size:
                raise Mismatch(f"{document.digest}: {wanted.digest} has {wanted.size} bytes here, {size} elsewhere")

    def children(self, index: Document) -> Sequence[Descriptor]:
        if self.choice is None:
            return [child for child in index.manifests if child.media_type in media.DOCUMENTS]
        if not any(child.platform and _runs(child.platform) for child in index.manifests):
            nested = [child for child in index.manifests if child.media_type in media.INDEXES]
            if len(nested) == 1:
                return nested
        return [choose(index, self.choice)]

    def child(self, wanted: Descriptor) -> Document | None:
        self.requests += 1
        try:
            return read_described(self.source, wanted)
        except NotFound:
            if self.choice is not None:
                raise
            # a sparse index: the source itself has only some of the platforms
            self.notes.append(f"{wanted.platform or wanted.digest}: in the index, but not at {self.source.origin}")
            self.job.progress(Event("note", wanted.digest, text=self.notes[-1]))
            return None

    def manifest(self, document: Document) -> None:
        if document.is_schema1:
            raise Unsupported("manifest: schema 1 inside an index is not supported")
        config = document.config
        image = None
        if config is not None:
            self.requests += config.data is None
            raw = read_small(self.source, config, CONFIG_BYTES, self.job)
            self.configs[config.digest] = (config, raw)
            self.hold(raw)
            image = image_of(document, raw)
        diff_ids: Sequence[Digest | None] = image.diff_ids if image else [None] * len(document.layers)
        for layer, diff_id in zip(document.layers, diff_ids, strict=True):
            self.leaves.setdefault(layer.digest, Leaf(layer, diff_id))
        self.facts.append(facts_of(document, image))


def planned_image(plan: Plan) -> tuple[Document, ImageConfig]:
    """The manifest and config of a plan for one platform. `Invalid` if it is no image."""
    manifest = next(document for document in plan.documents if not document.is_index)
    wanted = manifest.config.digest if manifest.config else None
    raw = next((raw for descriptor, raw in plan.configs if descriptor.digest == wanted), None)
    image = image_of(manifest, raw) if raw is not None else None
    if image is None:
        raise invalid_image(manifest)
    return manifest, image


def image_of(document: Document, config: bytes) -> ImageConfig | None:
    """The image that a manifest and its config make; None for artifacts and attestations, which have no tree.

    `Mismatch` if the config names another number of layers than the manifest.
    """
    if document.config is None or document.config.media_type not in media.CONFIGS:
        return None
    if any(layer.media_type not in media.LAYERS for layer in document.layers):
        return None
    image = ImageConfig(config)
    if len(image.diff_ids) != len(document.layers):
        raise Mismatch(
            f"image {document.digest}: {len(document.layers)} layers in the manifest, "
            f"{len(image.diff_ids)} diff IDs in the config"
        )
    return image


def facts_of(document: Document, image: ImageConfig | None) -> Facts:
    """What the catalog keeps of a manifest."""
    platform, created = (str(image.platform), image.created) if image else ("", "")
    return Facts(document.descriptor, document.successors, platform, created)


def known_facts(root: Digest, read_blob: Callable[[Digest, int], bytes | None]) -> list[Facts]:
    """Facts of every document below `root` that the store has, read from its blobs. For rebuilding a catalog."""
    facts: list[Facts] = []
    for document in stored_documents(root, read_blob):
        image = None
        if document.config is not None and document.config.size <= CONFIG_BYTES:
            raw = read_blob(document.config.digest, CONFIG_BYTES)
            image = image_of(document, raw) if raw is not None else None
        facts.append(facts_of(document, image))
    return facts


def stored_documents(root: Digest, read_blob: Callable[[Digest, int], bytes | None]) -> list[Document]:
    """The documents below `root` that are there, parents first; those of a sparse index that are not, are not."""
    found: list[Document] = []
    queue, seen = deque([(root, "", 0)]), {root}
    while queue:
        digest, media_type, depth = queue.popleft()
        raw = read_blob(digest, CONFIG_BYTES)
        if raw is None:
            continue
        document = Document.read(raw, media_type).under(digest)
        found.append(document)
        for child in document.manifests:
            if child.digest not in seen and child.media_type in media.DOCUMENTS and depth < INDEX_DEPTH:
                seen.add(child.digest)
                queue.append((child.digest, child.media_type, depth + 1))
    return found


def lost(root: Digest, pulled: Sequence[Digest], there: Sequence[Document]) -> set[Digest]:
    """Documents below `root` that were pulled (see `Tagged.pulled`) and are not among those found there."""
    wanted = set(pulled)
    if root in wanted:
        below = [child for document in there for child in document.manifests]
        wanted.update(child.digest for child in below if child.media_type in media.DOCUMENTS)
    return wanted - {document.digest for document in there}


def _digest_in(reference: str) -> Digest | None:
    try:
        return Digest(reference)
    except Invalid:
        return None  # a tag, or a name in an archive


def _runs(platform: Platform) -> bool:
    return platform.os != "unknown"


def invalid_image(document: Document) -> Invalid:
    """The error for something that is no image."""
    kind: Any = document.fields.get("artifactType") or (document.config.media_type if document.config else "")
    return Invalid(f"{document.digest}: not an image with a root file system but {kind or 'something else'}")
