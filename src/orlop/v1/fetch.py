"""The repository fetcher: a repository and a tag at a registry of version 1 become images of the graph, base first.

What the graph has is asked for no more; what a failed endpoint finished stays, and the next one goes on from there;
of one layer there is one download at a time, over all threads and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..errors import Busy, Cancelled, Conflict, Damaged, Denied, Error, Invalid, NoSpace, NotFound, Unsafe, Usage
from ..job import Event, Job
from ..model.limits import V1_PARENTS
from ..model.v1 import DEFAULT_TAG, ImageId, RepositoryData, V1Image
from ..ports import Body
from .graph import Graph
from .quota import Limited, Quota
from .variables import environment_of, volumes_of

T = TypeVar("T")

TRIES = 3
# what no other endpoint can do better: it is this machine, or the wish of its user
_HERE = (NoSpace, Cancelled, Damaged, Busy)
# what another try cannot change; a quota is a NoSpace
_FINAL = (*_HERE, NotFound, Denied, Unsafe, Usage)


class Registry(Protocol):
    """What the fetcher asks of a registry: see `registry.v1.session`."""

    @property
    def host(self) -> str: ...
    def repository_data(self, repository: str, *, job: Job) -> RepositoryData: ...
    def tags(
        self, endpoints: Sequence[str], repository: str, tokens: Sequence[str], *, job: Job
    ) -> dict[str, ImageId]: ...
    def ancestry(self, id: ImageId, endpoint: str, tokens: Sequence[str], *, job: Job) -> list[ImageId]: ...
    def image_json(
        self,
        id: ImageId,
        endpoint: str,
        tokens: Sequence[str],
        *,
        job: Job,
    ) -> tuple[bytes, int, str]: ...
    def layer(
        self,
        id: ImageId,
        endpoint: str,
        tokens: Sequence[str],
        size: int,
        *,
        job: Job,
    ) -> AbstractContextManager[Body]: ...


class Watch:
    """Told of each step, in the thread of the fetch. This one does nothing."""

    def trying(self, identity: ImageId, endpoint: str) -> None:
        """Begins to fetch an image and its ancestors there."""

    def existing(self, identity: ImageId) -> None:
        """It is in the graph; nothing is asked for it."""

    def metadata(self, identity: ImageId) -> None:
        """Its JSON is asked for."""

    def downloading(self, identity: ImageId, size: int) -> None:
        """Its layer comes; `size` in bytes, -1 if not known."""

    def received(self, identity: ImageId, done: int, size: int) -> None:
        """So many bytes of the layer are there."""

    def downloaded(self, identity: ImageId) -> None:
        """It is in the graph now."""

    def failed(self, identity: ImageId, endpoint: str, error: Error) -> None:
        """That endpoint could not give all; what it gave stays."""


class Log(Watch):
    """The words of Garden's fetcher, as notes of a job, and how far each layer is."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def trying(self, identity: ImageId, endpoint: str) -> None:
        self._note(f"trying endpoint {endpoint} for {identity}")

    def existing(self, identity: ImageId) -> None:
        self._note(f"already exists: {identity}")

    def downloading(self, identity: ImageId, size: int) -> None:
        self._note(f"downloading layer: {identity}")
        self._job.progress(Event("start", identity.short, 0, max(0, size)))

    def received(self, identity: ImageId, done: int, size: int) -> None:
        self._job.progress(Event("progress", identity.short, done, max(0, size)))

    def downloaded(self, identity: ImageId) -> None:
        self._job.progress(Event("done", identity.short))

    def failed(self, identity: ImageId, endpoint: str, error: Error) -> None:
        self._note(f"endpoint {endpoint} failed for {identity}: {error}")

    def _note(self, text: str) -> None:
        self._job.progress(Event("note", text=text))


@dataclass(frozen=True, slots=True)
class Found:
    """A repository as its registry tells of it."""

    repository: str
    data: RepositoryData
    tags: Mapping[str, ImageId]

    def id_of(self, tag: str) -> ImageId:
        """`NotFound`: `unknown tag: NAME:TAG`."""
        if tag not in self.tags:
            raise NotFound(f"unknown tag: {self.repository}:{tag}")
        return self.tags[tag]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch gave. `environment` ("NAME=value") and `volumes` are those of the image's own config, and of its
    ancestors where it says nothing. `fetched` and `present` are bytes of layers: those that came, those that were
    here."""

    id: ImageId
    environment: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    fetched: int = 0
    present: int = 0


class RepositoryFetcher:
    """Fetches from one registry into one graph. Safe from any thread; keeps nothing between two fetches."""

    def __init__(self, registry: Registry, graph: Graph) -> None:
        self._registry = registry
        self._graph = graph

    def find(self, repository: str, *, job: Job) -> Found:
        """Repository data and tags: two requests. `NotFound`, `Denied`, `Unavailable`."""
        data = self._registry.repository_data(repository, job=job)
        return Found(repository, data, self._registry.tags(data.endpoints, repository, data.tokens, job=job))

    def fetch_id(self, repository: str, tag: str = "", *, job: Job) -> ImageId:
        """What a tag (`latest` by default) means now, without a layer. `NotFound`: `unknown tag: NAME:TAG`."""
        return self.find(repository, job=job).id_of(tag or DEFAULT_TAG)

    def fetch(
        self, repository: str, tag: str = "", *, quota: int | None = None, watch: Watch | None = None, job: Job
    ) -> Fetched:
        """Make an image and its ancestors be in the graph. `quota` bounds the bytes of all their layers, as they come,
        those that are here included; None and what is not positive: no bound.

        `NotFound`: `unknown tag: NAME:TAG`. `NoSpace`: over the quota. When no endpoint could give it, the last one's
        error with `all endpoints failed: ` before it; the others' are in its hint, and its cause.
        """
        watch = watch or Log(job)
        job.progress(Event("note", text=f"fetching {repository}:{tag or DEFAULT_TAG}"))
        found = self.find(repository, job=job)
        return self.fetch_image(found, found.id_of(tag or DEFAULT_TAG), quota=quota, watch=watch, job=job)

    def fetch_image(
        self, found: Found, identity: ImageId, *, quota: int | None = None, watch: Watch | None = None, job: Job
    ) -> Fetched:
        """`fetch` of an image of a repository that was found."""
        watch, budget = watch or Log(job), Quota(quota)
        failures: list[tuple[str, Error]] = []
        for endpoint in found.data.endpoints:
            watch.trying(identity, endpoint)
            try:
                _Endpoint(self._registry, self._graph, found.data, endpoint, budget, watch, job).fetch(identity)
                return self._fetched(identity, budget, job)
            except _HERE:
                raise
            except Error as error:
                watch.failed(identity, endpoint, error)
                failures.append((endpoint, error))
        raise _all_failed(found, failures)

    def _fetched(self, identity: ImageId, budget: Quota, job: Job) -> Fetched:
        images = [node.image for node in self._graph.chain(identity)]
        return Fetched(identity, environment_of(images, job), volumes_of(images), budget.fetched, budget.present)


class _Endpoint:
    """One image at one endpoint."""

    def __init__(
        self,
        registry: Registry,
        graph: Graph,
        data: RepositoryData,
        endpoint: str,
        quota: Quota,
        watch: Watch,
        job: Job,
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._endpoint = endpoint
        self._tokens = data.tokens
        self._offered = {record.id: record.checksum for record in data.images if record.checksum}
        self._quota = quota
        self._watch = watch
        self._job = job

    def fetch(self, identity: ImageId) -> None:
        """The image with all its ancestors, from the base up."""
        ancestry = self._registry.ancestry(identity, self._endpoint, self._tokens, job=self._job)
        parent: ImageId | None = None
        for each in reversed(checked_ancestry(identity, ancestry)):
            self._job.check()
            if not self._there(each, parent):
                with self._graph.lock(each, self._job):
                    # another one may have fetched it while we waited
                    if not self._there(each, parent):
                        self._download(each, parent)
            parent = each

    def _there(self, identity: ImageId, parent: ImageId | None) -> bool:
        """Whether the graph has it, with the parent that the ancestry says."""
        if not self._graph.exists(identity):
            return False
        node = self._graph.get(identity)
        if node.image.parent != parent:
            raise Conflict(
                f"ancestry: {identity.short} has the parent {_short(node.image.parent)} here, "
                f"{_short(parent)} at {self._endpoint}"
            )
        self._quota.charge_present(identity, node.layer.size if node.layer else 0)
        self._watch.existing(identity)
        return True

    def _download(self, identity: ImageId, parent: ImageId | None) -> None:
        tokens, job = self._tokens, self._job
        self._watch.metadata(identity)
        with _step("get remote image JSON"):
            raw, size, checksum = self._registry.image_json(identity, self._endpoint, tokens, job=job)
        with _step("new image JSON"):
            image = V1Image.read(raw)
            if image.id != identity:
                raise Invalid(f"the ID is {image.id}, expected {identity}")
            if image.parent != parent:
                raise Invalid(f"{identity}: the parent is {_short(image.parent)}, by the ancestry {_short(parent)}")
        self._quota.check(size)
        with ExitStack() as opened:
            with _step("get remote image layer"):
                body = opened.enter_context(self._registry.layer(identity, self._endpoint, tokens, size, job=job))
            self._watch.downloading(identity, size)
            layer = Limited(body, self._quota, lambda done: self._watch.received(identity, done, size))
            with _step("register"):
                self._register(image, layer, checksum)
        self._quota.charge_fetched(identity, layer.taken)
        self._watch.downloaded(identity)

    def _register(self, image: V1Image, layer: Limited, payload: str) -> None:
        """With every checksum that was offered: the JSON's answer has one of the payload, the index perhaps another."""
        tarsum, offered = "", self._offered.get(image.id, "")
        if offered.startswith("tarsum"):
            tarsum = offered
        elif offered.startswith("sha256:"):
            payload = payload or offered
        try:
            self._graph.register(
                image, layer, origin=f"v1://{self._registry.host}", tarsum=tarsum, checksum=payload, job=self._job
            )
        except Conflict:
            # somebody entered it by other means than a fetch, and theirs counts
            if not self._graph.exists(image.id):
                raise


def checked_ancestry(identity: ImageId, ancestry: Sequence[ImageId]) -> Sequence[ImageId]:
    """The same list. `Invalid` unless it starts with the image that was asked for and names none twice; `Unsafe` if
    it is longer than Docker ran images."""
    if not ancestry:
        raise Invalid(f"ancestry of {identity.short}: is empty")
    if ancestry[0] != identity:
        raise Invalid(f"ancestry of {identity.short}: begins with {ancestry[0].short}, not with the image itself")
    if len(set(ancestry)) != len(ancestry):
        raise Invalid(f"ancestry of {identity.short}: names an image twice")
    if len(ancestry) > V1_PARENTS + 1:
        raise Unsafe(f"ancestry of {identity.short}: {len(ancestry) - 1} ancestors, at most {V1_PARENTS} are taken")
    return ancestry


def patiently(fetch: Callable[[], T], *, job: Job, tries: int = TRIES) -> T:
    """`fetch`, up to three times if it fails, without a pause: each request was already repeated with pauses.

    Not again for a quota, a stop, or what will not change: a name that is not there, a refusal.
    """
    for attempt in range(1, tries + 1):
        try:
            return fetch()
        except _FINAL:
            raise
        except Error as error:
            job.progress(Event("note", text=f"failed-to-fetch: attempt {attempt} of {tries}: {error}"))
            if attempt == tries:
                raise
    raise Usage(f"fetch: {tries} tries, expected at least one")


def _all_failed(found: Found, failures: Sequence[tuple[str, Error]]) -> Error:
    """The last endpoint's error, whose class says what can be done; those before it as its cause, and in the hint."""
    if not failures:
        return NotFound(f"{found.repository}: its registry names no endpoint")
    *before, (_, last) = failures
    whole = f"all endpoints failed: {last.message}"
    last.message, last.args = whole, (whole,)
    if before:
        last.__cause__ = ExceptionGroup("endpoints before", [error for _, error in before])
        others = "; ".join(f"{endpoint}: {error.message}" for endpoint, error in before)
        last.hint = "; ".join(filter(None, (last.hint, f"before that, {others}")))
    return last


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Says of our errors what was being done."""
    try:
        yield
    except _HERE:
        raise
    except Error as error:
        error.message = f"{name}: {error.message}"
        error.args = (error.message,)
        raise


def _short(identity: ImageId | None) -> str:
    return identity.short if identity else "none"
