"""The store: the library's front door. It alone picks adapters; the work is in the use cases it calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from .job import Job
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document
from .model.image import ImageConfig
from .model.platform import Platform
from .settings import Settings

DriverName = Literal["auto", "erofs", "overlay", "directory"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store: what a name points at (`target`, maybe an index), and the manifest for a platform."""

    name: str  # full reference; "" when it was found by digest
    target: Descriptor
    manifest: Document
    config: ImageConfig
    platform: Platform


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of `images`. Sizes in bytes: `size` is what the blobs take, each counted once."""

    name: str
    digest: Digest
    platforms: tuple[str, ...]
    created: str
    updated: str
    size: int
    complete: bool


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


@dataclass(frozen=True, slots=True)
class Mounted:
    name: str
    digest: Digest
    target: Path
    driver: str
    why: str = ""  # why not a better driver, "" if it is the best


@dataclass(frozen=True, slots=True)
class Unpacked:
    target: Path
    digest: Digest
    entries: int
    bytes: int
    notes: tuple[str, ...]
    ownership: str  # "applied", or "recorded in FILE" when not root


@dataclass(frozen=True, slots=True)
class Collected:
    removed: tuple[Digest, ...]
    derived: int  # derived files removed
    partials: int  # half-done downloads removed
    bytes: int  # freed


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault that fsck found. `kind`: damaged, missing, stray, derived, name, mode."""

    kind: str
    subject: str
    text: str


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
    partial_bytes: int
    free_bytes: int


class Store:
    """A local store of images. Safe for many threads and processes at once; cheap to open.

    with Store.open("/var/lib/orlop") as store:
        store.pull("debian:12")
        store.mount("debian:12", "/mnt")
    """

    def __init__(self, settings: Settings) -> None:
        raise NotImplementedError

    @classmethod
    def open(cls, path: str | Path | None = None, *, settings: Settings | None = None) -> Store:
        """Open, and create if it is not there. Without `settings`, those of the environment.

        `Denied` without the permission, `Unsupported` for a store of a newer version, `Damaged` if it is no store.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- fetch ---------------------------------------------------------------------------------------------

    def pull(
        self, reference: str, *, platform: str | None = None, download_only: bool = False, job: Job | None = None
    ) -> Pulled:
        """Fetch an image (from any transport of `model.reference`), verify and keep it, and name it.

        `platform`: None for the host's, "os/arch[/variant]", or "all". Unless `download_only`, layers are
        also made ready to mount. `NotFound`, `Denied`, `Mismatch`, `NoSpace`, `Unavailable`, `Cancelled`.
        """
        raise NotImplementedError

    def plan(self, reference: str, *, platform: str | None = None, job: Job | None = None) -> Planned:
        """What `pull` would fetch. Reads the documents only, and keeps nothing."""
        raise NotImplementedError

    def remote_tags(self, repository: str, *, job: Job | None = None) -> Iterator[str]:
        """Tags of a repository at its source, paged lazily."""
        raise NotImplementedError

    # -- look ----------------------------------------------------------------------------------------------

    def images(self) -> list[Listed]:
        """Everything that has a name, sorted by name."""
        raise NotImplementedError

    def image(self, reference: str, *, platform: str | None = None) -> Image:
        """Find by name, digest, or a digest prefix of 6 hex or more. `NotFound` suggests near names."""
        raise NotImplementedError

    def document(self, reference: str) -> Document:
        """The manifest or index that a name points at, bytes as they came."""
        raise NotImplementedError

    def remote_document(self, reference: str, *, job: Job | None = None) -> Document:
        """The same from the source, nothing kept."""
        raise NotImplementedError

    # -- name ----------------------------------------------------------------------------------------------

    def tag(self, source: str, new: str) -> Digest:
        """Give an image another name; the name moves if it is taken. Durable when it returns."""
        raise NotImplementedError

    def untag(self, reference: str) -> Digest:
        """Remove one name; the bytes stay until `gc`."""
        raise NotImplementedError

    def remove(self, reference: str) -> Collected:
        """Remove a name, and what nothing else needs."""
        raise NotImplementedError

    # -- root file systems ---------------------------------------------------------------------------------

    def mount(
        self,
        reference: str,
        target: str | Path | None = None,
        *,
        driver: DriverName = "auto",
        platform: str | None = None,
        job: Job | None = None,
    ) -> Mounted:
        """Show an image read-only at `target` (a directory; made below the store if None)."""
        raise NotImplementedError

    def umount(self, target: str) -> list[Mounted]:
        """Undo mounts at a directory, or all mounts of a reference. `NotFound`, `Busy`."""
        raise NotImplementedError

    def mounts(self) -> list[Mounted]:
        raise NotImplementedError

    def unpack(
        self, reference: str, target: str | Path, *, platform: str | None = None, job: Job | None = None
    ) -> Unpacked:
        """Write the image's tree into a new or empty directory. Not root: ownership is recorded beside it."""
        raise NotImplementedError

    def export(self, reference: str, out: BinaryIO, *, platform: str | None = None, job: Job | None = None) -> int:
        """The flattened tree as one tar; returns bytes written."""
        raise NotImplementedError

    def bundle(
        self,
        reference: str,
        target: str | Path,
        *,
        command: Sequence[str] = (),
        driver: DriverName = "auto",
        platform: str | None = None,
        job: Job | None = None,
    ) -> Mounted:
        """An OCI runtime bundle at `target`: config.json and a writable rootfs."""
        raise NotImplementedError

    def run(
        self,
        reference: str,
        command: Sequence[str] = (),
        *,
        driver: DriverName = "auto",
        platform: str | None = None,
        terminal: bool = False,
        environment: Sequence[str] = (),
        workdir: str = "",
        user: str = "",
        job: Job | None = None,
    ) -> int:
        """Run a command in a fresh writable root over the image; returns its exit status. Nothing is left."""
        raise NotImplementedError

    # -- keep ----------------------------------------------------------------------------------------------

    def gc(self, *, dry_run: bool = False, job: Job | None = None) -> Collected:
        """Remove what no name reaches and nobody uses. Safe beside running pulls."""
        raise NotImplementedError

    def fsck(self, *, quick: bool = False, job: Job | None = None) -> Checked:
        """Check every blob against its name and everything else against the blobs. Changes nothing."""
        raise NotImplementedError

    def df(self) -> Usage:
        raise NotImplementedError
