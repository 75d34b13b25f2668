"""A registry of version 1 as what is pushed to: the requests, in the order in which Docker's client made them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ...errors import Conflict, Invalid
from ...http.client import Response
from ...http.sending import Sent, Upload
from ...job import Job
from ...model.limits import V1_JSON_BYTES
from ...model.v1 import ImageId, ImageRecord, RepositoryData, check_tag
from ...streams import read_limited
from .names import remote_name
from .session import V1Session

_STORED = (200, 201, 202, 204)
_EXISTS = "Image already exists"


class V1Uploads:
    """The pushing side of a session. Safe from any thread. Errors as of `V1Session`, `Conflict` for what is there."""

    def __init__(self, session: V1Session) -> None:
        self._transport = session.transport
        self.session = session

    def begin(self, repository: str, images: Iterable[ImageRecord], *, job: Job) -> RepositoryData:
        """Tell the index which images and tags are to come. Its tokens and endpoints are where to push, and with what:
        `Invalid` if it gives none."""
        name = remote_name(repository)
        what = f"{self._transport.host}/{name}"
        listed = [{"id": each.id, "Tag": each.tag} if each.tag else {"id": each.id} for each in images]
        headers = [("Content-Type", "application/json"), ("X-Docker-Token", "true")]
        path, body = f"/v1/repositories/{name}/", json.dumps(listed).encode()
        with self._transport.to_index("PUT", path, name, headers=headers, body=body, job=job) as answer:
            self._expect(answer, what, f"Error: Status {answer.status} trying to push repository {name}", 200, 201)
            tokens = self._transport.tokens(answer.headers)
            if not tokens:
                raise Invalid(f"{what}: Index response didn't contain an access token")
            if not "".join(answer.headers.all("x-docker-endpoints")).strip(" \t,"):
                raise Invalid(f"{what}: Index response didn't contain any endpoints")
            return RepositoryData(tuple(images), tokens, self._transport.endpoints(answer.headers, job))

    def stored_json(self, id: ImageId, endpoint: str, tokens: Sequence[str], *, job: Job) -> bytes | None:
        """The JSON of an image that is there whole; None if it is not, or only begun."""
        with self._transport.to_endpoint(endpoint, "GET", f"/v1/images/{id}/json", tokens, job=job) as answer:
            if answer.status == 200:
                return read_limited(answer, V1_JSON_BYTES, what=f"{endpoint}: JSON of {id.short}")
            if answer.status in (401, 403):
                raise self._transport.refused(answer, f"{endpoint}: {id.short}", f"HTTP code {answer.status}")
            return None

    def put_json(self, id: ImageId, raw: bytes, endpoint: str, tokens: Sequence[str], *, job: Job) -> None:
        """`Conflict` if the image is there whole."""
        headers = [("Content-Type", "application/json")]
        text = "while uploading metadata"
        self._put(id, "json", endpoint, tokens, raw, headers, text, job)

    def put_layer(self, id: ImageId, layer: Upload, endpoint: str, tokens: Sequence[str], *, job: Job) -> None:
        headers = [("Content-Type", "application/octet-stream")]
        self._put(id, "layer", endpoint, tokens, layer, headers, "while uploading layer", job)

    def put_checksum(
        self,
        id: ImageId,
        endpoint: str,
        tokens: Sequence[str],
        *,
        tarsum: str,
        payload: str,
        job: Job,
    ) -> None:
        """What makes the image whole. `Invalid` if the registry got other bytes, `Conflict` if it was whole before."""
        headers = [("X-Docker-Checksum-Payload", payload)]
        if tarsum:
            headers.append(("X-Docker-Checksum", tarsum))
        self._put(id, "checksum", endpoint, tokens, b"", headers, "while uploading metadata", job)

    def put_tag(
        self,
        repository: str,
        tag: str,
        id: ImageId,
        endpoint: str,
        tokens: Sequence[str],
        *,
        job: Job,
    ) -> None:
        check_tag(tag)
        name = remote_name(repository)
        path, body = f"/v1/repositories/{name}/tags/{tag}", json.dumps(id).encode()
        headers = [("Content-Type", "application/json")]
        with self._transport.to_endpoint(endpoint, "PUT", path, tokens, headers=headers, body=body, job=job) as answer:
            text = f"HTTP code {answer.status} trying to push tag {tag} on {name}"
            self._expect(answer, f"{endpoint}/{name}:{tag}", text, *_STORED)

    def finish(self, repository: str, images: Iterable[ImageRecord], endpoints: Iterable[str], *, job: Job) -> None:
        """Tell the index that all are there, with their checksums."""
        name = remote_name(repository)
        listed = [{"id": each.id, "checksum": each.checksum} if each.checksum else {"id": each.id} for each in images]
        headers = [("Content-Type", "application/json"), ("X-Docker-Token", "true")]
        headers += [("X-Docker-Endpoints", endpoint) for endpoint in endpoints]
        path, body = f"/v1/repositories/{name}/images", json.dumps(listed).encode()
        with self._transport.to_index("PUT", path, name, headers=headers, body=body, job=job) as answer:
            text = f"Error: Status {answer.status} trying to push checksums {name}"
            self._expect(answer, f"{self._transport.host}/{name}", text, *_STORED)

    def _put(
        self,
        id: ImageId,
        part: str,
        endpoint: str,
        tokens: Sequence[str],
        body: Sent,
        headers: list[tuple[str, str]],
        text: str,
        job: Job,
    ) -> None:
        path = f"/v1/images/{id}/{part}"
        with self._transport.to_endpoint(endpoint, "PUT", path, tokens, headers=headers, body=body, job=job) as answer:
            self._expect(answer, f"{endpoint}: {id.short}", f"HTTP code {answer.status} {text}", *_STORED)

    def _expect(self, answer: Response, what: str, text: str, *statuses: int) -> None:
        if answer.status in statuses:
            return
        error = self._transport.refused(answer, what, text)
        # some servers said so with another status
        if _EXISTS in error.message and not isinstance(error, Conflict):
            raise Conflict(error.message) from error
        raise error
