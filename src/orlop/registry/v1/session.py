"""A registry of version 1, as Docker's client for it asked: repository data, tags, ancestry, JSON, layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import Denied, Error, Invalid, NotFound, Unavailable
from ...http.client import Client, Response
from ...job import Event, Job
from ...model.limits import V1_JSON_BYTES, V1_LIST_BYTES, V1_PARENTS
from ...model.strict_json import load_object, loads
from ...model.v1 import CHECKSUM_HEADERS, ImageId, ImageRecord, RepositoryData, check_tag
from ...ports import Body
from .layer import LayerBody
from .names import remote_name
from .transport import Ping, Transport

_SIZE_DIGITS = 18
_ID_BYTES = 80  # in a list of them


class V1Session:
    """One registry of version 1. Safe from any thread, cheap to make: nothing is asked before it must be.

    `host` as in a reference. `allowed` are the hosts (`host[:port]`) that it may name as endpoints besides itself.
    Repositories are named without a host; a bare name is `library/name`. An `endpoint` is one of `RepositoryData`'s,
    `tokens` too. `Denied` where the registry wants a login or a better one, `Unavailable`, `Throttled`, `Unsafe` over a
    limit or to an endpoint that is not allowed, `Invalid` for answers that are no answers, `Cancelled`.
    """

    def __init__(self, host: str, client: Client, *, allowed: Collection[str] = ()) -> None:
        self.transport = Transport(host, client, allowed)

    @property
    def host(self) -> str:
        return self.transport.host

    def ping(self, *, job: Job) -> Ping:
        """What the registry says of itself; asked once."""
        return self.transport.ping(job)

    def repository_data(self, repository: str, *, job: Job) -> RepositoryData:
        """The images of a repository by the index, its tokens and endpoints. `NotFound`."""
        name = remote_name(repository)
        what = f"{self.host}/{name}"

        def ask() -> Response:
            path = f"/v1/repositories/{name}/images"
            headers = [("X-Docker-Token", "true"), ("Accept", "application/json")]
            answer = self.transport.to_index("GET", path, name, headers=headers, job=job)
            if answer.status == 404:
                with answer:
                    raise self.transport.refused(answer, what, "repository not found")
            return self._expect(answer, what, f"HTTP code: {answer.status}")

        raw, headers = self.transport.read(self.host, ask, V1_LIST_BYTES, f"{what}: images", job)
        images = _records(raw, f"{what}: images")
        return RepositoryData(images, self.transport.tokens(headers), self.transport.endpoints(headers, job))

    def tags(self, endpoints: Sequence[str], repository: str, tokens: Sequence[str], *, job: Job) -> dict[str, ImageId]:
        """The tags of a repository, from the first endpoint that answers. `NotFound` as soon as one says so;
        `Unavailable` when none can be reached."""
        name = remote_name(repository)
        failures: list[Error] = []
        for endpoint in endpoints:
            try:
                return self._tags(endpoint, name, tokens, job)
            except NotFound as error:
                raise NotFound(f"{self.host}/{name}: Repository not found") from error
            except (Unavailable, Invalid, Denied) as error:
                failures.append(error)
                job.progress(Event("note", endpoint, text=f"tags of {name} at {endpoint}: {error}"))
        text = f"{self.host}/{name}: Could not reach any registry endpoint"
        if not failures:
            raise Unavailable(text)
        if all(isinstance(error, Denied) for error in failures):
            raise failures[-1]
        raise Unavailable(f"{text}: {failures[-1].message}") from ExceptionGroup("endpoints", failures)

    def _tags(self, endpoint: str, name: str, tokens: Sequence[str], job: Job) -> dict[str, ImageId]:
        what = f"{endpoint}/{name}: tags"

        def ask() -> Response:
            path = f"/v1/repositories/{name}/tags"
            answer = self.transport.to_endpoint(endpoint, "GET", path, tokens, job=job)
            return self._expect(answer, what, f"HTTP code: {answer.status}")

        raw, _ = self.transport.read(endpoint, ask, V1_LIST_BYTES, what, job)
        tags: dict[str, ImageId] = {}
        for tag, id_ in load_object(raw, what=what).items():
            check_tag(tag)
            tags[tag] = ImageId(id_)
        return tags

    def ancestry(self, id: ImageId, endpoint: str, tokens: Sequence[str], *, job: Job) -> list[ImageId]:
        """The IDs of an image and its ancestors, the image first, as the registry says them: to be checked."""
        what = f"{endpoint}: ancestry of {id.short}"
        limit = (V1_PARENTS + 1) * _ID_BYTES + _ID_BYTES

        def ask() -> Response:
            answer = self.transport.to_endpoint(endpoint, "GET", f"/v1/images/{id}/ancestry", tokens, job=job)
            text = f"Server error: {answer.status} trying to fetch remote history for {id}"
            return self._expect(answer, what, text)

        raw, _ = self.transport.read(endpoint, ask, limit, what, job)
        found = loads(raw, what=what)
        if not isinstance(found, list):
            raise Invalid(f"{what}: expected a list, got {type(found).__name__}")
        return [ImageId(each) for each in found]

    def image_json(self, id: ImageId, endpoint: str, tokens: Sequence[str], *, job: Job) -> tuple[bytes, int, str]:
        """The JSON of an image exactly as it came, the bytes of its layer (-1 if not told), and the layer's checksum
        (`sha256:<hex>` as `PayloadHasher` makes it, "" if none)."""
        what = f"{endpoint}: JSON of {id.short}"

        def ask() -> Response:
            answer = self.transport.to_endpoint(endpoint, "GET", f"/v1/images/{id}/json", tokens, job=job)
            return self._expect(answer, what, f"HTTP code {answer.status}")

        raw, headers = self.transport.read(endpoint, ask, V1_JSON_BYTES, what, job)
        told = headers.get("x-docker-size").strip()
        if told and (not told.isascii() or not told.isdecimal() or len(told) > _SIZE_DIGITS):
            raise Invalid(f"{what}: X-Docker-Size is {told[:40]!r}, expected a number of bytes")
        checksum = next((value for name in CHECKSUM_HEADERS if (value := headers.get(name).strip())), "")
        return raw, int(told) if told else -1, checksum

    @contextmanager
    def layer(
        self,
        id: ImageId,
        endpoint: str,
        tokens: Sequence[str],
        size: int,
        *,
        job: Job,
    ) -> Iterator[Body]:
        """The bytes of a layer, over as many connections as it takes (`LayerBody`). `size` -1: not known."""
        what = f"{endpoint}: layer {id.short}"

        def ask(headers: list[tuple[str, str]]) -> Response:
            path = f"/v1/images/{id}/layer"
            answer = self.transport.to_endpoint(endpoint, "GET", path, tokens, headers=headers, job=job)
            text = f"Server error: Status {answer.status} while fetching image layer ({id})"
            return self._expect(answer, what, text, 200, 206, 416)

        base = self.transport.client.base
        with self.transport.client.discreet(endpoint), LayerBody(ask, what, size, job=job, base=base) as body:
            yield body

    def _expect(self, answer: Response, what: str, text: str, *statuses: int) -> Response:
        """The answer, if its status is one of `statuses` (200 alone if none are given)."""
        if answer.status in (statuses or (200,)):
            return answer
        with answer:
            raise self.transport.refused(answer, what, text)


def _records(raw: bytes, what: str) -> tuple[ImageRecord, ...]:
    found = loads(raw, what=what)
    if not isinstance(found, list):
        raise Invalid(f"{what}: expected a list, got {type(found).__name__}")
    return tuple(_record(each, what) for each in found)


def _record(value: Any, what: str) -> ImageRecord:
    if not isinstance(value, dict):
        raise Invalid(f"{what}: expected objects, got {type(value).__name__}")
    checksum, tag = value.get("checksum") or "", value.get("Tag") or ""
    if not isinstance(checksum, str) or not isinstance(tag, str):
        raise Invalid(f"{what}: checksum or tag is not a string")
    return ImageRecord(ImageId(value.get("id")), checksum, tag)
