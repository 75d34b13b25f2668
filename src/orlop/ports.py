"""The protocols between the core and its adapters. At most five methods each; more is a capability of its own.

Who calls: the use cases. Who implements: `registry`, `files`, `blobs`, `catalog`, `rootfs`. An adapter lets
only `orlop.errors` out, and never verifies digests: that stands in `graph`, where no adapter can skip it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from .job import Job
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .model.tree import Entry, Tree


class Readable(Protocol):
    """A stream of bytes. `read` blocks for at least one byte and returns at most `size`; `b""` is the end."""

    def read(self, size: int, /) -> bytes: ...


class Body(Readable, Protocol):
    """Content on its way. `offset`: where in the content the first byte stands -- 0 when the source could not
    start where it was asked to. `validator`: an ETag or the like, "" if none. The source has already resumed
    and retried what it could; an error from `read` is final for this stream."""

    @property
    def offset(self) -> int: ...
    @property
    def validator(self) -> str: ...


class Source(Protocol):
    """Anything images come from: a registry repository, a layout directory, an archive, a store."""

    @property
    def origin(self) -> str:
        """For the record and for people, without secrets: `docker://ghcr.io/a/b`, `oci:/path`."""

    def document(self, reference: str) -> Document:
        """The manifest or index at a tag or digest, in one round trip. `NotFound` if there is none. Read to
        at most `limits.MANIFEST_BYTES`. Its digest is the caller's to check."""

    def open(
        self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job
    ) -> AbstractContextManager[Body]:
        """The bytes `offset..end` of a blob (`end` exclusive, None is the whole rest). Unverified."""


@runtime_checkable
class Parallel(Protocol):
    """A source that serves several ranges of one blob at once."""

    @property
    def streams(self) -> int:
        """Connections that may share one blob."""


@runtime_checkable
class Resolves(Protocol):
    """A source that knows the digest behind a name before it reads the document, so that it can be checked."""

    def resolve(self, reference: str) -> Descriptor:
        """`NotFound`, `Usage` when the name fits several."""


@runtime_checkable
class Sizes(Protocol):
    """A source that can say the size of a blob, for manifests that do not (Docker schema 1)."""

    def size(self, digest: Digest) -> int:
        """Bytes. `NotFound`; `Unsupported` if the source will not say."""


@runtime_checkable
class Lists(Protocol):
    """A source that can say what it has."""

    def tags(self) -> Iterator[str]:
        """Tags of this repository, in the order of the source, paged as needed."""


# The bytes `start..end` of one blob, `end` exclusive. Called anew for each attempt; the context is left after it.
Content = Callable[[int, int], AbstractContextManager[Readable]]


class Target(Protocol):
    """Anything images go to: a repository of a registry. Safe from any thread. Whatever is pushed comes before what
    needs it: blobs, then manifests, then indexes, and a tag last."""

    @property
    def origin(self) -> str:
        """As a source's."""

    def has(self, wanted: Descriptor, *, job: Job) -> bool:
        """Whether this blob or document is there. One round trip."""

    def push(self, wanted: Descriptor, content: Content, *, job: Job) -> int:
        """Send a blob; returns the bytes that were sent, 0 if it could be had without. Idempotent. What broke off goes
        on or begins again by itself. `Mismatch` if it got other bytes: then it keeps nothing. What `content` raises
        leaves as it is."""

    def put(self, document: Document, tag: str = "", *, job: Job) -> None:
        """Send a manifest or index, bytes as they are, under its digest or at a tag. Idempotent. `NotFound` if
        something that it needs is not there."""


class Draft(Protocol):
    """A file being written, invisible until published."""

    def write(self, data: bytes | memoryview, /) -> int: ...
    def publish(self) -> None:
        """Make it visible under its key, durable if the store says so. Idempotent for equal content."""


class Blobs(Protocol):
    """Dumb bytes under a digest's name; never hashes. Methods are safe from any thread and process."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of the blob, None if it is not there."""

    def open(self, digest: Digest) -> BinaryIO:
        """`NotFound` if it is not there."""

    def draft(self, digest: Digest) -> AbstractContextManager[Draft]:
        """Leaving the context without `publish` leaves nothing behind."""

    def delete(self, digest: Digest) -> None:
        """Idempotent."""

    def digests(self) -> Iterator[Digest]: ...


@dataclass(frozen=True, slots=True)
class Tagged:
    """A name in a catalog: `name` is a full reference, `target` what it points at."""

    name: str
    target: Descriptor
    origin: str = ""
    updated: str = ""  # RFC 3339
    original: Digest | None = None  # the schema 1 manifest, byte for byte, that `target` was converted from
    pulled: tuple[Digest, ...] = ()  # documents below an index that must be there; its own digest: all of them


@dataclass(frozen=True, slots=True)
class Facts:
    """What a catalog knows of a document whose content is all there. `platform` and `created` "" where unknown."""

    descriptor: Descriptor
    successors: tuple[Descriptor, ...]
    platform: str = ""
    created: str = ""


class Catalog(Protocol):
    """What documents exist, what they need, and what names point at them. Never more than the files say."""

    def add(self, facts: Sequence[Facts]) -> None:
        """Record documents. Idempotent."""

    def find(self, digest: Digest) -> Descriptor | None:
        """A document that is known, None if not."""

    def resolve(self, name: str) -> Tagged | None: ...

    def swap(self, name: str, old: Digest | None, new: Tagged | None) -> bool:
        """Move (or make, or remove) a name if it still points at `old`. Durable when it returns True."""

    def names(self) -> Iterator[Tagged]: ...


@dataclass(frozen=True)
class Layer:
    """One plain layer on disk: its tar, padded to whole 512-byte blocks, and the entries in it, read when asked."""

    diff_id: Digest
    tar: Path
    load: Callable[[], Sequence[Entry]] = field(repr=False)

    @cached_property
    def entries(self) -> Sequence[Entry]:
        return self.load()


@dataclass(frozen=True)
class Stack:
    """The layers of an image, base first, and the tree they make together, built when asked by `build`."""

    chain: Digest
    layers: tuple[Layer, ...]
    build: Callable[[Sequence[Sequence[Entry]]], Tree] = field(repr=False)

    @cached_property
    def tree(self) -> Tree:
        tree = self.build([layer.entries for layer in self.layers])
        for layer in self.layers:
            # of a crowd of names, two forms at once are one too many
            vars(layer).pop("entries", None)
        return tree


class Derived(Protocol):
    """Files that can be made again from blobs: trusted only as `blobs.derived` describes (boot id, mark)."""

    def path(self, kind: str, digest: Digest, /) -> Path | None:
        """A finished, trustworthy file or directory, None if it must be made."""

    def draft(self, kind: str, digest: Digest, /) -> AbstractContextManager[Path]:
        """A fresh path to write a file or directory at; it becomes `path()` when the context ends well, and
        is removed when it does not. Losing a race to an equal one is no error."""


class Driver(Protocol):
    """A way to give back an image as a root file system."""

    @property
    def name(self) -> str: ...

    def unable(self) -> str:
        """Why this driver cannot work on this machine for this user; "" if it can."""

    def mount(self, stack: Stack, target: Path, *, job: Job) -> None:
        """Show the image read-only at the directory `target`. Leaves nothing behind when it fails."""
