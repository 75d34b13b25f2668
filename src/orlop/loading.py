"""Archives that Docker saved, of every era, taken in whole: 0.6 to 1.9, 1.10 to 24, and 25 on; OCI layouts too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .files.archive import Archive
from .images import local_name
from .job import Job
from .model.reference import Location, Reference
from .model.v1 import ImageId
from .parts import Parts
from .ports import Readable, Source


@dataclass(frozen=True, slots=True)
class Loaded:
    """`names` point at the images of the archive now; `images` are version 1 images that are new."""

    names: tuple[str, ...]
    images: tuple[ImageId, ...] = ()


class Loading:
    """`Store.load`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def load(self, archive: Path | Readable, job: Job) -> Loaded:
        """All images of an archive, a file or a stream, with the names that it gives them.

        Every Docker up to 24 also writes what those before 1.10 did; the newest form there is counts. `Invalid` if
        it is no archive of images; what pulling and registering raise.
        """
        with self._opened(archive, job) as (opened, spool):
            if "manifest.json" in opened:
                return self._saved(opened, spool, job)
            if "oci-layout" in opened:
                return self._layout(opened, spool, job)
            return self._graph(opened, spool, job)

    def _saved(self, opened: Archive, spool: Path, job: Job) -> Loaded:
        from .files.docker_archive import DockerArchive

        source = DockerArchive(Path("-"), spool, job=job, opened=opened)
        named: dict[str, str] = {}
        for number, image in enumerate(source.images):
            # by ID alone it was saved without a name; nothing is here without one
            stem = image.config.rpartition("/")[2].removesuffix(".json")[:12]
            for name in image.names or (f"localhost/loaded:{stem}",):
                named[str(Reference.parse(name))] = f"@{number}"
        return Loaded(tuple(self._pull(source, reference, name, job) for name, reference in named.items()))

    def _layout(self, opened: Archive, spool: Path, job: Job) -> Loaded:
        from .files.oci_archive import OciArchive

        source = OciArchive(Path("-"), spool, job=job, opened=opened)
        tags = list(source.tags()) or [""]
        named = {tag: local_name(Location("oci-archive", path="loaded", name=tag)) for tag in tags}
        return Loaded(tuple(self._pull(source, tag, name, job) for tag, name in named.items()))

    def _graph(self, opened: Archive, spool: Path, job: Job) -> Loaded:
        from .files.graph_archive import GraphArchive
        from .v1.archive import load

        source = GraphArchive(Path("-"), spool, job=job, opened=opened)
        return Loaded(*load(source, self._parts.graph, self._parts.tags, job))

    def _pull(self, source: Source, reference: str, name: str, job: Job) -> str:
        transfer = self._parts.transfer
        transfer.pull(source, reference, name, None, claimed=False, explicit=False, prepare=False, job=job)
        return name

    @contextmanager
    def _opened(self, archive: Path | Readable, job: Job) -> Iterator[tuple[Archive, Path]]:
        disk, spool = self._parts.disk, self._parts.session.scratch()
        disk.make_directory(spool)
        try:
            with Archive(archive, Path(disk.path(spool)), job=job) as opened:
                yield opened, Path(disk.path(spool))
        finally:
            disk.remove_tree(spool)
