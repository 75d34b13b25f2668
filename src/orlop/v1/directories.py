"""Directories of this machine as images, as Garden had them: one layer each, its ID made of the path and the time."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from ..errors import Invalid, Usage, of_system
from ..job import Job
from ..model.v1 import ImageId, V1Image
from ..tar.directory import DirectoryTar
from .fetch import Fetched, Log, Watch
from .graph import Graph

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directories:
    """Fetches directories into a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def fetch(self, path: str, *, watch: Watch | None = None, job: Job) -> Fetched:
        """Make a directory be an image of the graph, read once for each time that it has. `NotFound`, `Invalid` for
        what is no directory, `Usage` for no path."""
        if not path:
            raise Usage(
                "RootFSPath: is a required parameter, since no default rootfs was provided to the server",
                hint="give the path of a directory",
            )
        watch = watch or Log(job)
        place = Path(os.path.realpath(path))
        try:
            root = os.open(place, _OPEN)
        except OSError as error:
            text = f"directory {path}: {(error.strerror or '').lower()}"
            raise of_system(error, text, Invalid) from error
        try:
            return self._registered(place, root, watch, job)
        finally:
            os.close(root)

    def _registered(self, place: Path, root: int, watch: Watch, job: Job) -> Fetched:
        changed = os.fstat(root).st_mtime_ns
        identity = directory_id(place, changed)
        with self._graph.lock(identity, job):
            if self._graph.exists(identity):
                watch.existing(identity)
                node = self._graph.get(identity)
                return Fetched(identity, present=node.layer.size if node.layer else 0)
            watch.downloading(identity, -1)
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed // 1_000_000_000))
            image = V1Image.make(identity, created=created, comment=f"Imported from {place}", os="linux")
            with DirectoryTar(root, job) as tar:
                node = self._graph.register(image, tar, origin=str(place), job=job)
            watch.downloaded(identity)
            return Fetched(identity, fetched=node.layer.size if node.layer else 0)


def directory_id(place: Path, changed: int) -> ImageId:
    """Of a directory without links in its path, changed at so many nanoseconds: nothing else counts."""
    return ImageId(hashlib.sha256(os.fsencode(f"{place}-{changed}")).hexdigest())
