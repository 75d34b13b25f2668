"""A repository of a registry as a source: OCI distribution-spec 1.1, which is Docker's registry API V2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import Error, Invalid, Mismatch, Unavailable, Unsupported
from ..http.client import Client, Response
from ..http.head import Headers
from ..job import Event, Job
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.limits import MANIFEST_BYTES
from ..streams import read_limited
from ..verify import found_digest
from .answers import Warnings, expect
from .body import ResumingBody
from .paging import tags

_ACCEPT = ", ".join(media.ACCEPT)
SIZE_DIGITS = 18  # as many as surely fit 63 bits


# connections that may share one blob; more than this is what registries call abuse
_STREAMS = 4


class Registry:
    """One repository of one registry; `ports.Source`, `Lists` and `Parallel`. Safe from any thread, cheap to make.

    `host` and `repository` as in a `Reference`. `job` is that of `document` and `tags`.
    """

    def __init__(self, host: str, repository: str, client: Client, *, job: Job | None = None) -> None:
        self._host = host
        self._repository = repository
        self._client = client
        self._job = job or Job()
        self._warnings = Warnings(client, host)

    @property
    def origin(self) -> str:
        return f"docker://{self._host}/{self._repository}"

    @property
    def streams(self) -> int:
        return _STREAMS

    def document(self, reference: str) -> Document:
        """The manifest or index at a tag or digest; one request once it is known how to authenticate. `NotFound`
        says whether it is the repository or the tag, if the registry does."""
        separator = "@" if ":" in reference else ":"
        what = f"{self._host}/{self._repository}{separator}{reference}"
        cuts = flips = 0
        while True:
            with (
                self._client.discreet(self._host),
                self._request(f"manifests/{reference}", [("Accept", _ACCEPT)], self._job) as answer,
            ):
                expect(answer, (200,), what, self._client, self._host, self._repository)
                try:
                    raw = read_limited(answer, MANIFEST_BYTES, what=what)
                    return _checked(raw, reference, answer.headers, what)
                except Unavailable as error:
                    # the client tries requests again, but not bodies that are cut
                    cuts += 1
                    if cuts > self._job.retries:
                        raise
                    failure: Error = error
                except Mismatch as error:
                    # a bit may flip on the way (NF04)
                    flips += 1
                    if flips > 1:
                        raise
                    failure = error
            self._job.progress(Event("retry", subject=self._host, text=str(failure)))
            self._job.wait(self._client.base)

    @contextmanager
    def open(self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job) -> Iterator[ResumingBody]:
        """The bytes `offset..end` of a blob, over as many connections as it takes. Foreign `urls` are not followed:
        what is not in the repository itself is `NotFound` (CVE-2020-15157)."""
        what = f"{self._host}/{self._repository}@{wanted.digest}"

        def ask(headers: list[tuple[str, str]]) -> Response:
            # from the registry each time: where it redirects to may be signed, and run out
            answer = self._request(f"blobs/{wanted.digest}", headers, job)
            try:
                expect(answer, (200, 206, 416), what, self._client, self._host, self._repository)
            except BaseException:
                answer.close()
                raise
            return answer

        with ResumingBody(ask, wanted, offset, end, job=job, base=self._client.base) as body:
            yield body

    def tags(self) -> Iterator[str]:
        return tags(self._client, self._host, self._repository, job=self._job)

    def size(self, digest: Digest) -> int:
        """`ports.Sizes`, by a HEAD."""
        what = f"{self._host}/{self._repository}@{digest}"
        with self._request(f"blobs/{digest}", [], self._job, method="HEAD") as answer:
            expect(answer, (200,), what, self._client, self._host, self._repository)
            length = answer.headers.get("content-length")
            if not length.isdecimal() or len(length) > SIZE_DIGITS:
                raise Unsupported(f"{what}: the registry does not say its size")
            return int(length)

    def _request(self, path: str, headers: list[tuple[str, str]], job: Job, *, method: str = "GET") -> Response:
        answer = self._client.request(
            self._host,
            method,
            f"/v2/{self._repository}/{path}",
            headers=headers,
            scope=f"repository:{self._repository}:pull",
            repository=self._repository,
            job=job,
        )
        self._warnings.show(answer, job)
        return answer


def _checked(raw: bytes, reference: str, headers: Headers, what: str) -> Document:
    """`Mismatch` if the bytes are not what they were asked for as, or not what their own header says: then one of
    the two is wrong (distribution-spec 1.1, "Pulling manifests"). What relies on them checks them again."""
    told = _digests(reference, headers.get("docker-content-digest"))
    try:
        document = Document.read(raw, headers.get("content-type"))
    except Invalid as error:
        for said in told:
            if (found := Digest.of(raw, said.algorithm)) != said:  # a flipped bit, which made it unreadable
                raise Mismatch(f"{what}: its bytes have digest {found}, expected {said}") from error
        raise
    for said in told:
        if (found := found_digest(document, said)) != said:
            raise Mismatch(f"{what}: its bytes have digest {found}, expected {said}")
    return document


def _digests(*texts: str) -> list[Digest]:
    """Those of `texts` that are one: not a tag, nothing, or an algorithm that we do not know."""
    digests = []
    for text in texts:
        with suppress(Invalid):
            digests.append(Digest(text))
    return digests
