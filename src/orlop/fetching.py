"""Fetching into the store: from each transport its way, and what the first Garden called a fetch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from .errors import Cancelled, Error, NoSpace, Unsupported, Usage
from .images import Image, local_name
from .job import Event, Job
from .model.digest import Digest
from .model.platform import Platform
from .model.reference import DEFAULT_HOST, DEFAULT_TAG, Location, Reference
from .parts import Parts, Passage
from .ports import Lists, Source, Tagged
from .settings import Settings
from .sources import open_session, open_source

if TYPE_CHECKING:
    from .registry.v1.session import V1Session
    from .transfer import Planned, Pulled, Transfer
    from .v1.fetch import Fetched, RepositoryFetcher

_log = logging.getLogger(__name__)


class Fetching:
    """`Store.pull`, `Store.plan` and `Store.fetch`. A `platform` is None for the default, "all", or one."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._settings = settings
        self._passages: dict[Digest, Passage] = {}

    def pull(
        self, location: Location, platform: str | None, *, prepare: bool, for_unpack: bool = False, job: Job
    ) -> Pulled:
        """Into the store, under the name that it has there. `for_unpack`: what is prepared waits in a `passage`."""
        prepare = prepare and self._choice(platform) is not None
        if location.transport == "v1":
            return self._pull_v1(location, local_name(location), prepare=prepare, job=job)
        if not for_unpack:
            return self._pull(self._parts.transfer, location, platform, prepare, job)
        passage = self._parts.passage()
        with _dropped_on_failure(passage):
            pulled = self._pull(passage.transfer, location, platform, prepare, job)
        for digest in pulled.manifests:
            earlier, self._passages[digest] = self._passages.get(digest), passage
            # one that several images wait for goes with the last of them
            if earlier is not None and all(each is not earlier for each in list(self._passages.values())):
                earlier.derived.drop()
        return pulled

    def _pull(self, transfer: Transfer, location: Location, platform: str | None, prepare: bool, job: Job) -> Pulled:
        with self._source(location, job) as source:
            name, claimed = _name(location, source)
            return transfer.pull(
                source,
                location.asked,
                name,
                self._choice(platform),
                claimed=claimed,
                explicit=platform is not None,
                prepare=prepare,
                job=job,
            )

    @contextmanager
    def passage(self, image: Image) -> Iterator[Passage]:
        """What a pull prepared for this image's unpack, or a fresh one; what is derived in it goes with the context."""
        passage = self._passages.pop(image.manifest.digest, None) or self._parts.passage()
        with _dropped_on_failure(passage):
            yield passage
        passage.derived.drop()

    def plan(self, location: Location, platform: str | None, job: Job) -> Planned:
        """What `pull` would move."""
        with self._source(location, job) as source:
            name, _ = _name(location, source)
            return self._parts.transfer.plan(source, location.asked, name, self._choice(platform), job)

    def tags(self, location: Location, job: Job) -> Iterator[str]:
        """Of a repository, in the order of its source; asked for as they are taken."""
        if location.transport == "v1" and location.reference is not None:
            with self.fetcher(location.reference.host) as fetcher:
                yield from fetcher.find(location.reference.repository, job=job).tags
            return
        with self._source(location, job) as source:
            if not isinstance(source, Lists):
                raise Unsupported(f"{location}: cannot list its tags")
            for tag in source.tags():
                job.check()
                yield tag

    def fetch(self, source: str, *, quota: int | None, job: Job) -> Fetched:
        """By scheme, as Garden did: a path is a directory of this machine; `docker://[host]/path[#tag]` a registry,
        which is asked for the version that it speaks; `v1://host/path[:tag]` one of version 1 for sure.

        `Usage` for other schemes, and without a path.
        """
        scheme, separator, rest = source.partition("://")
        if not separator:
            from .v1.directories import Directories

            return Directories(self._parts.graph).fetch(source, job=job)
        if scheme == "v1":
            return self._fetch_v1(_reference(Location.parse(source)), quota, job)
        if scheme != "docker":
            raise Usage(f"unknown rootfs provider: {scheme[:40]}")
        reference = garden_reference(rest)
        if self._speaks_v2(reference.host, job):
            return self._fetch_v2(reference, quota, job)
        return self._fetch_v1(reference, quota, job)

    def session(self, host: str) -> AbstractContextManager[V1Session]:
        """A registry of version 1, with what the settings allow it."""
        return open_session(host, self._settings)

    @contextmanager
    def fetcher(self, host: str) -> Iterator[RepositoryFetcher]:
        """Of a registry of version 1 into this store's graph."""
        from .v1.fetch import RepositoryFetcher

        with self.session(host) as session:
            yield RepositoryFetcher(session, self._parts.graph)

    def _pull_v1(self, location: Location, name: str, *, prepare: bool, job: Job) -> Pulled:
        from .transfer import Pulled

        started = time.monotonic()
        reference = _reference(location)
        fetched = self._fetch_v1(reference, None, job)
        chain = self._parts.graph.chain(fetched.id)
        manifest = chain[-1].manifest
        self._parts.images.name(Tagged(name, manifest, f"v1://{reference.name}"))
        if prepare:
            self._make_ready([node.diff_id for node in chain if node.diff_id], manifest.digest, job)
        seconds = time.monotonic() - started
        return Pulled(name, manifest.digest, (manifest.digest,), fetched.fetched, fetched.present, seconds)

    def _make_ready(self, diff_ids: Sequence[Digest], digest: Digest, job: Job) -> None:
        try:
            self._parts.materialise.make_ready(diff_ids, job)
        except Cancelled:
            return  # what was asked for is done
        except Error as error:
            # the image is whole all the same, and can be looked at, copied, served
            job.progress(Event("note", digest, text=f"not made ready to mount: {error.message}"))

    def _fetch_v1(self, reference: Reference, quota: int | None, job: Job) -> Fetched:
        from .v1.fetch import patiently

        with self.fetcher(reference.host) as fetcher:
            return patiently(lambda: fetcher.fetch(reference.repository, reference.tag, quota=quota, job=job), job=job)

    def _fetch_v2(self, reference: Reference, quota: int | None, job: Job) -> Fetched:
        """By the protocol that knows digests; the image then gets the ID that Docker would have given it."""
        from .v1.fetch import Fetched
        from .v1.variables import environment_of, volumes_of

        location = Location("docker", reference=reference)
        if quota is not None and quota > 0:
            planned = self.plan(location, None, job)
            size = planned.present + sum(wanted.size for wanted, _ in planned.blobs)
            if size > quota:
                raise NoSpace(f"quota exceeded: the layers have {size} bytes, expected at most {quota}")
        pulled = self.pull(location, None, prepare=True, job=job)
        identity = self._parts.graph.adopt(self._parts.images.image(pulled.name), job=job)
        images = [node.image for node in self._parts.graph.chain(identity)]
        return Fetched(identity, environment_of(images, job), volumes_of(images), pulled.fetched, pulled.present)

    def _speaks_v2(self, host: str, job: Job) -> bool:
        """By a ping, as Garden asked. `Unsupported` if it is neither."""
        from .http.client import Client

        with Client(self._settings.network, named=host) as client:
            with client.request(host, "GET", "/v2/", job=job) as answer:
                if answer.status in (200, 401, 403):
                    return True
            with client.request(host, "GET", "/v1/_ping", job=job) as answer:
                if answer.status == 200:
                    return False
        raise Unsupported(f"{host}: incompatible endpoint version", hint="is it a registry?")

    def _choice(self, platform: str | None) -> Platform | None:
        if platform == "all":
            return None
        return Platform.parse(platform) if platform else self._settings.platform

    @contextmanager
    def _source(self, location: Location, job: Job) -> Iterator[Source]:
        with open_source(location, self._settings, self._parts.disk, self._parts.session, job) as source:
            yield source


@contextmanager
def _dropped_on_failure(passage: Passage) -> Iterator[None]:
    try:
        yield
    except BaseException:
        try:
            passage.derived.drop()
        except Error as error:  # what went wrong before is the news, and the rest goes with the session
            _log.warning("what was opened to be unpacked stays for now: %s", error)
        raise


def garden_reference(rest: str) -> Reference:
    """What stands behind `docker://` in Garden's URLs: `[host]/path[#tag]`. `Usage` without a path."""
    host, _, path = rest.partition("/")
    path, _, tag = path.partition("#")
    if not path:
        raise Usage("invalid docker url; must provide path", hint="docker://HOST/PATH#TAG or docker:///PATH#TAG")
    return Reference.parse(f"{host or DEFAULT_HOST}/{path}:{tag or DEFAULT_TAG}")


def _reference(location: Location) -> Reference:
    reference = location.reference
    if reference is None or reference.digest is not None:
        raise Usage(f"{location}: expected a tag, a registry of version 1 knows no digests")
    return reference


def _name(location: Location, source: Source) -> tuple[str, bool]:
    """What the store will call it. A file that holds one image names it, if nobody said otherwise: True if it did."""
    if location.reference is None and not location.name and isinstance(source, Lists):
        tags = list(islice(source.tags(), 2))
        if len(tags) == 1:
            return local_name(replace(location, name=tags[0])), "/" in tags[0] or location.transport == "docker-archive"
    return local_name(location), False
