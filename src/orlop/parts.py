"""The parts of one open store, each made when it is first needed, so that a command imports only what it uses.

Which adapter stands where is chosen here and in `sources`, and nowhere else.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from . import graph as documents
from .blobs.derived import DerivedFiles
from .blobs.local import LocalBlobs
from .blobs.partial import Partials
from .disk.disk import Disk
from .disk.locks import Locks
from .disk.session import Session
from .images import Images
from .model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .blobs.passing import PassingFiles
    from .catalog.names import Names
    from .catalog.sqlite import SqliteCatalog
    from .check import Check
    from .collect import Collect
    from .containers import Containers
    from .intake import Intake
    from .job import Job
    from .materialise import Materialise
    from .model.digest import Digest
    from .transfer import MakeReady, Transfer
    from .v1.chain import Chains
    from .v1.differences import Differences
    from .v1.graph import Graph
    from .v1.roots import Roots
    from .v1.tags import TagStore


class Passage(NamedTuple):
    """What pulls and unpacks one image without keeping its plain layers."""

    derived: PassingFiles
    transfer: Transfer
    materialise: Materialise


class Parts:
    """What works on one store's directory. `platform` is the one that is meant when nobody says."""

    def __init__(self, disk: Disk, platform: Platform) -> None:
        self._platform = platform
        self.disk = disk
        self.locks = Locks(disk)
        self.session = Session(disk, self.locks)
        self.blobs = LocalBlobs(disk, self.session)
        self.derived = DerivedFiles(disk, self.session, disk.boot())

    @cached_property
    def names(self) -> Names:
        from .catalog.names import Names

        return Names(self.disk, self.locks, self.session)

    @property
    def check(self) -> Check:
        """A fresh one each time: it gathers what it finds."""
        from .check import Check

        return Check(self.disk, self.blobs, self.derived, self.names)

    @cached_property
    def catalog(self) -> SqliteCatalog:
        from .catalog.sqlite import SqliteCatalog

        def rebuild(catalog: SqliteCatalog) -> None:
            for tagged in self.names.all().values():
                catalog.add(documents.known_facts(tagged.target.digest, self.blobs.read))

        return SqliteCatalog(self.disk, self.names, rebuild)

    @cached_property
    def images(self) -> Images:
        return Images(self.blobs, self.catalog, self._platform)

    @cached_property
    def intake(self) -> Intake:
        from .intake import Intake

        return Intake(self.disk, self.locks, self.session, self.blobs, self.derived)

    @cached_property
    def transfer(self) -> Transfer:
        return self._transfer(self.intake, lambda diff_ids, job: self.materialise.make_ready(diff_ids, job))

    @cached_property
    def materialise(self) -> Materialise:
        return self._materialise(self.derived, self.intake)

    def passage(self) -> Passage:
        """A fresh one each time."""
        from .blobs.passing import PassingFiles
        from .intake import Intake

        derived = PassingFiles(self.disk, self.session, self.disk.boot(), self.derived)
        intake = Intake(self.disk, self.locks, self.session, self.blobs, derived)
        transfer = self._transfer(intake, _nothing)
        return Passage(derived, transfer, self._materialise(derived, intake))

    def _transfer(self, intake: Intake, make_ready: MakeReady) -> Transfer:
        from .transfer import Transfer

        return Transfer(
            self.disk,
            self.blobs,
            Partials(self.disk),
            self.catalog,
            self.images,
            intake,
            self.session,
            make_ready,
        )

    @cached_property
    def graph(self) -> Graph:
        from .v1.entries import Entries
        from .v1.graph import Graph

        entries = Entries(self.session, self.blobs, self.catalog, self.images, self.chains, lambda: self.collect)
        return Graph(
            self.disk,
            self.locks,
            self.session,
            self.blobs,
            self.derived,
            self.images,
            self.intake,
            self.chains,
            entries,
            lambda: self.differences,
            self.roots,
        )

    @cached_property
    def chains(self) -> Chains:
        from .v1.chain import Chains

        return Chains(self.catalog, self.images)

    @cached_property
    def differences(self) -> Differences:
        from .v1.differences import Differences

        return Differences(self.images, self.materialise)

    def roots(self, driver: str) -> Roots:
        from .v1.roots import Roots

        return Roots(
            self.disk, self.locks, self.session, self.blobs, self.catalog, self.images, self.materialise, driver
        )

    @cached_property
    def tags(self) -> TagStore:
        from .v1.tags import TagStore

        return TagStore(self.catalog, self.images, self.chains, self.graph)

    def _materialise(self, derived: DerivedFiles, intake: Intake) -> Materialise:
        from .materialise import Materialise

        return Materialise(self.disk, self.locks, self.blobs, derived, intake, self.session)

    @cached_property
    def containers(self) -> Containers:
        from .containers import Containers

        return Containers(self.materialise)

    @cached_property
    def collect(self) -> Collect:
        from .collect import Collect

        return Collect(self.disk, self.locks, self.blobs, self.derived, self.names, self.catalog, self.materialise)


def _nothing(_diff_ids: Sequence[Digest], _job: Job) -> None:
    """Who unpacks does not mount."""
