"""Sources and targets by location: the one place that knows which adapter serves which transport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .disk.disk import Disk
from .disk.session import Session
from .errors import Unsupported
from .job import Job
from .model.reference import Location, Reference
from .ports import Source, Target
from .settings import Settings

if TYPE_CHECKING:
    from .registry.v1.session import V1Session


@contextmanager
def open_source(location: Location, settings: Settings, disk: Disk, session: Session, job: Job) -> Iterator[Source]:
    """A source for as long as the context lasts. Archives are spooled, if they must be, inside the store."""
    if location.transport == "docker" and location.reference is not None:
        with _registry(location.reference, settings, job) as registry:
            yield registry
    elif location.transport == "oci":
        from .files.layout import Layout

        yield Layout(Path(location.path))
    elif location.transport in ("oci-archive", "docker-archive"):
        with _archive(location, disk, session, job) as archive:
            yield archive
    elif location.transport == "v1":
        raise Unsupported(f"{location}: an image of version 1 is fetched layer by layer", hint="use `orlop pull`")
    else:
        raise Unsupported(f"{location}: is in this store already, so it is no source", hint="use `orlop tag`")


@contextmanager
def open_target(location: Location, settings: Settings, *, near: str = "") -> Iterator[Target]:
    """A target for as long as the context lasts. `near` is another repository there that may have the same blobs."""
    reference = location.reference
    if location.transport != "docker" or reference is None:
        raise Unsupported(f"{location}: nothing can be copied there yet", hint="use docker:// or store:")
    from .http.client import Client
    from .registry.uploads import RegistryTarget

    with Client(settings.network, named=reference.host) as client:
        yield RegistryTarget(reference.host, reference.repository, client, near=near)


@contextmanager
def open_session(host: str, settings: Settings) -> Iterator[V1Session]:
    """A registry of version 1, with what the settings allow it, for as long as the context lasts."""
    from .http.client import Client
    from .registry.v1.session import V1Session

    with Client(settings.network, named=host) as client:
        yield V1Session(host, client, allowed=settings.network.endpoint_hosts)


@contextmanager
def _archive(location: Location, disk: Disk, session: Session, job: Job) -> Iterator[Source]:
    spool = session.scratch()
    disk.make_directory(spool)
    try:
        if location.transport == "oci-archive":
            from .files.oci_archive import OciArchive

            with OciArchive(Path(location.path), Path(disk.path(spool)), job=job) as oci:
                yield oci
        else:
            from .files.docker_archive import DockerArchive

            with DockerArchive(Path(location.path), Path(disk.path(spool)), job=job) as docker:
                yield docker
    finally:
        disk.remove_tree(spool)


@contextmanager
def _registry(reference: Reference, settings: Settings, job: Job) -> Iterator[Source]:
    from .http.client import Client
    from .registry.v2 import Registry

    with Client(settings.network, named=reference.host) as client:
        yield Registry(reference.host, reference.repository, client, job=job)
