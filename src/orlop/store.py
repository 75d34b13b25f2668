"""The store: the library's front door. The work is in the use cases it calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Literal

from . import graph
from .disk.disk import Disk
from .errors import NoSpace, NotFound
from .house import open_house
from .images import Image, Listed
from .job import Job
from .model.digest import Digest
from .model.document import Document
from .model.platform import Platform
from .model.reference import Location
from .model.v1_names import is_reserved
from .parts import Parts
from .ports import Readable, Source
from .settings import Settings

if TYPE_CHECKING:
    from .blobs.spill import Spill
    from .check import Checked, Usage
    from .collect import Collected
    from .copying import Copying
    from .fetching import Fetching
    from .loading import Loaded
    from .materialise import Mounted, Unpacked
    from .push import Pushed
    from .registry.v1.session import V1Session
    from .transfer import Planned, Pulled
    from .v1.fetch import Fetched, RepositoryFetcher
    from .v1.graph import Graph
    from .v1.tags import TagStore

NetworkMode = Literal["host", "none"]
DriverName = Literal["auto", "erofs", "overlay", "directory"]
# derived files are synced and marked once they are this old, in seconds: by then that costs next to nothing
_SETTLED = 60.0


class Store:
    """A local store of images. Safe for many threads and processes at once; cheap to open.

    with Store.open("/var/lib/orlop") as store:
        store.pull("debian:12")
        store.mount("debian:12", "/mnt")

    References are what people type: see `model.reference`. `platform` is None for the host's, or
    "os/arch[/variant]". A `job` brings progress out and `job.stop()` in; without one the call just runs.
    Any method may raise `Denied`, `NoSpace`, `Damaged`, `Busy`, and `Cancelled` once its job was stopped.
    """

    def __init__(self, settings: Settings, disk: Disk | None = None) -> None:
        """Use `Store.open`. `disk`: another one than the settings say, which faults can be put into."""
        self.settings = settings
        disk = disk or Disk(settings.store, durable=settings.durability == "full")
        open_house(disk)
        self._parts = Parts(disk, settings.platform)
        # by manifest: what a pull has opened for the unpack to come

    @classmethod
    def open(cls, path: str | Path | None = None, *, settings: Settings | None = None) -> Store:
        """Open, and create if it is not there. Without `settings`, those of the environment.

        `Denied` without the permission, `Unsupported` for a store of a newer version, `Damaged` if it is no store.
        """
        return cls(settings or Settings.load(os.environ, user=os.geteuid(), store=path))

    def close(self) -> None:
        """Idempotent. Mounts stay."""
        try:
            with suppress(NoSpace):  # a full disk takes no marks; nothing is lost, a later close writes them
                self._parts.derived.settle(older_than=_SETTLED)
        finally:
            self._parts.session.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # what went wrong inside is the news, not what goes wrong here because of it
        if error is None:
            self.close()
        else:
            self._parts.session.close()

    # -- fetch ---------------------------------------------------------------------------------------------

    def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        download_only: bool = False,
        for_unpack: bool = False,
        job: Job | None = None,
    ) -> Pulled:
        """Fetch an image (from any transport), verify and keep it, and name it.

        `platform` may be "all". Unless `download_only`, layers are also made ready to mount (not for "all").
        `for_unpack`: they are made ready for the next `unpack` of this object instead, and not kept.
        `NotFound`, `Denied`, `Mismatch`, `Unsafe`, `NoSpace`, `Unavailable`, `Throttled`, `Cancelled`.
        """
        location = Location.parse(reference)
        return self._fetching.pull(
            location, platform, prepare=not download_only, for_unpack=for_unpack, job=job or self._job()
        )

    def fetch(self, source: str, *, quota: int | None = None, job: Job | None = None) -> Fetched:
        """An image, or a directory, as version 1 has it: into the graph, without a name; its ID, environment, volumes.

        `source`: `docker://[HOST]/PATH[#TAG]`, `v1://HOST/PATH[:TAG]`, or a path of this machine. `quota` bounds the
        bytes of its layers as they come, those that are here included. Errors as of `pull`.
        """
        return self._fetching.fetch(source, quota=quota, job=job or self._job())

    def plan(self, reference: str, *, platform: str | None = None, job: Job | None = None) -> Planned:
        """What `pull` would fetch. Reads the documents only, and keeps nothing."""
        return self._fetching.plan(Location.parse(reference), platform, job or self._job())

    def push(
        self, reference: str, destination: str = "", *, platform: str | None = None, job: Job | None = None
    ) -> Pushed:
        """Send an image of the store to a registry, by default to where its name says.

        The whole index, or with a `platform` its manifest. `NotFound` if the store has not all of it; else as `pull`.
        """
        return self._copying().push(reference, destination, platform, job or self._job())

    def copy(self, source: str, destination: str, *, platform: str | None = None, job: Job | None = None) -> Pushed:
        """From any place to any other, the store being one (`store:REF`). What can be streamed is not kept here.

        For this machine's platform, or `platform`, which may be "all". Errors as of `pull`.
        """
        return self._copying().copy(source, destination, platform, job or self._job())

    def load(self, archive: Path | Readable, *, job: Job | None = None) -> Loaded:
        """Take in all images of an archive that some Docker saved, with their names. Errors as of `pull`."""
        from .loading import Loading

        return Loading(self._parts).load(archive, job or self._job())

    def remote_tags(self, repository: str, *, job: Job | None = None) -> Iterator[str]:
        """Tags of a repository (or layout, or archive) at its source, paged lazily."""
        return self._fetching.tags(Location.parse(repository), job or self._job())

    # -- look ----------------------------------------------------------------------------------------------

    def images(self, *, hidden: bool = False) -> list[Listed]:
        """Everything that has a name, sorted by name; with `hidden` the entries of version 1 images too."""
        return self._parts.images.listed(hidden=hidden)

    def image(self, reference: str, *, platform: str | None = None) -> Image:
        """Find by name, digest, or a digest prefix of 6 hex or more. `NotFound` suggests near names."""
        return self._parts.images.image(reference, Platform.parse(platform) if platform else None)

    def digest(self, reference: str) -> Digest:
        """What a name points at."""
        return self._parts.images.resolve(reference).target.digest

    def document(self, reference: str) -> Document:
        """The manifest or index that a name points at, bytes as they came."""
        return self._parts.images.document(reference)

    def remote_document(self, reference: str, *, job: Job | None = None) -> Document:
        """The same from the source, nothing kept."""
        job = job or self._job()
        location = Location.parse(reference)
        with self._source(location, job) as source:
            return graph.read(source, location.asked)

    def remote_image(self, reference: str, *, platform: str | None = None, job: Job | None = None) -> Image:
        """Manifest and config of an image at its source, nothing kept. `Invalid` if it is no image."""
        job = job or self._job()
        location = Location.parse(reference)
        choice = Platform.parse(platform) if platform else self.settings.platform
        with self._source(location, job) as source:
            root = graph.read(source, location.asked)
            manifest, config = graph.planned_image(graph.plan(source, root, choice, job))
        return Image(str(location), root.descriptor, manifest, config, config.platform)

    def names(self) -> list[str]:
        """All names, sorted; without the entries of version 1 images."""
        return sorted(tagged.name for tagged in self._parts.catalog.names() if not is_reserved(tagged.name))

    def stored_document(self, digest: Digest, *, limit: int) -> Document | None:
        """A manifest or index by digest, None if it is not known as one; never more than `limit` bytes."""
        known = self._parts.catalog.find(digest)
        raw = self._parts.blobs.read(digest, limit) if known is not None and known.size <= limit else None
        return Document.read(raw, known.media_type).under(digest) if known is not None and raw is not None else None

    def blob(self, digest: Digest) -> tuple[Path, int]:
        """Path and size in bytes of a blob, to be read only. `NotFound`."""
        size = self._parts.blobs.size(digest)
        if size is None:
            raise NotFound(f"blob {digest}: not in the store")
        return Path(self._parts.blobs.path(digest)), size

    def spool(self) -> Spill:
        """Room for bytes that are not in the store yet. They go with `close`, or with this process."""
        from .blobs.spill import Spill

        return Spill(self._parts.disk, self._parts.session.scratch())

    # -- version 1 images -----------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """Images by version 1 ID."""
        return self._parts.graph

    @property
    def tags(self) -> TagStore:
        """Names of version 1 images."""
        return self._parts.tags

    def v1_session(self, host: str) -> AbstractContextManager[V1Session]:
        """A registry of version 1."""
        return self._fetching.session(host)

    def v1_fetcher(self, host: str) -> AbstractContextManager[RepositoryFetcher]:
        """What fetches from one into the graph."""
        return self._fetching.fetcher(host)

    # -- name ----------------------------------------------------------------------------------------------

    def tag(self, source: str, new: str) -> Digest:
        """Give an image another name; the name moves if it is taken. Durable when it returns."""
        return self._parts.images.tag(source, new).target.digest

    def untag(self, reference: str) -> Digest:
        """Remove one name; the bytes stay until `gc`."""
        return self._parts.images.untag(reference).target.digest

    def remove(self, reference: str, *, job: Job | None = None) -> Collected:
        """Remove a name, and what nothing else needs. If that cannot be collected, the name is gone all the same:
        `stopped` of the result says why."""
        return self._parts.collect.remove(self._parts.images, reference, job or self._job())

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
        """Show an image read-only at `target` (a directory; made below the store if None).

        `Unsupported` when the driver cannot work here; `driver` of the result says which one it was.
        """
        image = self.image(reference, platform=platform)
        return self._parts.materialise.mount(image, Path(target) if target else None, driver, job or self._job())

    def umount(self, target: str, *, lazy: bool = False) -> list[Mounted]:
        """Undo the mount at a directory, or all mounts of a name or digest. `NotFound`, `Busy`.

        `lazy`: out of sight now, gone once nobody uses it.
        """
        names = {target}
        if not target.startswith("/") and not Path(target).is_dir():
            with suppress(NotFound):  # removed since it was mounted: the mount is there all the same
                names.add(self._parts.images.resolve(target).name)
        return self._parts.materialise.umount(names, lazy=lazy)

    def mounts(self) -> list[Mounted]:
        """Mounts of this store that are there now."""
        return self._parts.materialise.mounts()

    def unpack(
        self, reference: str, target: str | Path, *, platform: str | None = None, job: Job | None = None
    ) -> Unpacked:
        """Write the image's tree into a new or empty directory. Not root: ownership is recorded beside it.

        Layers that are not ready are opened for this alone: kept, they would have to be written out with the tree.
        """
        image = self.image(reference, platform=platform)
        with self._fetching.passage(image) as passage:
            place, drop = Path(target).absolute(), passage.derived.drop
            return passage.materialise.unpack(image, place, job or self._job(), filled=drop)

    def export(self, reference: str, out: BinaryIO, *, platform: str | None = None, job: Job | None = None) -> int:
        """The flattened tree as one tar; returns bytes written."""
        return self._parts.materialise.export(self.image(reference, platform=platform), out, job or self._job())

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
        """An OCI runtime bundle at `target`: config.json and a writable rootfs, mounted until `umount(target)`."""
        from .containers import Process

        image = self.image(reference, platform=platform)
        return self._parts.containers.bundle(
            image, Path(target).absolute(), Process(command), driver, job or self._job()
        )

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
        network: NetworkMode = "host",
        job: Job | None = None,
    ) -> int:
        """Run a command in a fresh writable root over the image; returns its exit status. Nothing is left."""
        from .containers import Process

        process = Process(command, environment, workdir, user, terminal, network)
        image = self.image(reference, platform=platform)
        return self._parts.containers.run(image, process, driver, self.settings.runtime, job or self._job())

    # -- keep ----------------------------------------------------------------------------------------------

    def gc(
        self, *, dry_run: bool = False, derived: bool = False, partials: bool = False, job: Job | None = None
    ) -> Collected:
        """Remove what no name reaches and nobody uses. Safe beside running pulls.

        `derived`: also plain tars, EROFS images and unpacked layers of images that are kept but not mounted.
        `partials`: also what pulls that were cut in the last 24 hours have left.
        """
        return self._parts.collect.run(job or self._job(), dry_run=dry_run, derived=derived, partials=partials)

    def fsck(self, *, quick: bool = False, repair: bool = False, job: Job | None = None) -> Checked:
        """Check every blob against its name and everything else against the blobs.

        Changes nothing unless `repair`: damaged blobs are moved aside for the next pull, damaged derived files go.
        """
        return self._parts.check.run(job or self._job(), quick=quick, repair=repair)

    def df(self) -> Usage:
        """What the store takes."""
        from .check import usage

        return usage(self._parts.disk, self._parts.blobs, len(self.names()))

    # -- within ---------------------------------------------------------------------------------------------

    def _job(self) -> Job:
        return Job(workers=self.settings.workers)

    @cached_property
    def _fetching(self) -> Fetching:
        from .fetching import Fetching

        return Fetching(self._parts, self.settings)

    def _copying(self) -> Copying:
        from .copying import Copying

        def fetch(reference: str, platform: str | None, job: Job) -> str:
            return self.pull(reference, platform=platform, job=job).name

        return Copying(self._parts, self.settings, fetch)

    def _choice(self, platform: str | None) -> Platform | None:
        if platform == "all":
            return None
        return Platform.parse(platform) if platform else self.settings.platform

    def _source(self, location: Location, job: Job) -> AbstractContextManager[Source]:
        from .sources import open_source

        return open_source(location, self.settings, self._parts.disk, self._parts.session, job)
