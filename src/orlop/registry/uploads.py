"""A repository of a registry as a target: OCI distribution-spec 1.1, "Pushing" (Docker's registry API V2)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from ..errors import Error, Invalid, Mismatch, Unavailable, Unsafe
from ..http.client import Client, Response
from ..http.head import Fields
from ..http.sending import Sent
from ..http.sending import Upload as Streamed
from ..http.throttle import back_off
from ..http.url import Url
from ..job import Event, Job
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.limits import MIB
from ..model.reference import is_repository
from ..ports import Content, Readable
from ..streams import CHUNK
from .answers import Warnings, expect

_ACCEPT = ", ".join(media.ACCEPT)
_DENIED = "may these credentials push there?"
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII)
# the first of each is the specification's; the others are seen
_STORED = (201, 200, 202, 204)
_PART_TAKEN = (202, 201, 204)
# an upload that is no more, or is not where we think, or whose bytes became others: it can only begin again
_LOST = frozenset({400, 404, 410, 416})
# of a blob that does not go as a whole; few enough that proxies that have a limit take them
_PART = 16 * MIB


@dataclass(frozen=True, slots=True)
class Session:
    """An upload that the registry has begun: where, and the least bytes of a part if it wants parts (0: it may)."""

    url: Url
    least: int = 0


class RegistryTarget:
    """One repository of one registry; `ports.Target`. Safe from any thread.

    `host` and `repository` as in a `Reference`. `near` is another repository of that registry, whose blobs are asked
    for before their bytes are sent ("Mounting a blob").
    """

    def __init__(self, host: str, repository: str, client: Client, *, near: str = "") -> None:
        self._host = host
        self._repository = repository
        self._client = client
        self._near = near if is_repository(near) and near != repository else ""
        self._warnings = Warnings(client, host)
        self.base = client.base

    @property
    def origin(self) -> str:
        return f"docker://{self._host}/{self._repository}"

    def has(self, wanted: Descriptor, *, job: Job) -> bool:
        kind = "manifests" if wanted.media_type in media.DOCUMENTS else "blobs"
        headers = [("Accept", _ACCEPT)] if kind == "manifests" else []
        with self.asked("HEAD", f"{kind}/{wanted.digest}", job, headers=headers) as answer:
            if answer.status == 404 or (not answer.own and answer.status != 200):
                return False  # storage may not answer such questions at all
            self.expect(answer, (200,), wanted.digest)
            length = answer.headers.get("content-length")
            return _LENGTH.fullmatch(length) is None or int(length) == wanted.size

    def push(self, wanted: Descriptor, content: Content, *, job: Job) -> int:
        return _Upload(self, wanted, content, job).run()

    def put(self, document: Document, tag: str = "", *, job: Job) -> None:
        reference = tag or document.digest
        headers = [("Content-Type", document.media_type)]
        with self.asked("PUT", f"manifests/{reference}", job, headers=headers, body=document.raw) as answer:
            self.expect(answer, _STORED, reference)
            if told := _digest(answer):
                self._check(told, document)
                return
        if not self.has(document.descriptor, job=job):
            raise Mismatch(f"{self.named(reference)}: the registry took it, and has not got it")

    def start(self, wanted: Descriptor, job: Job, *, mount: bool) -> Session | None:
        """Where to send a blob, another place each time; None if it could be had from `near`."""
        path = "blobs/uploads/"
        if mount and self._near:
            query = f"?mount={quote(wanted.digest, safe='')}&from={quote(self._near, safe='')}"
            scope = f" repository:{self._near}:pull"
            with self.asked("POST", path + query, job, scope=scope, again=True) as answer:
                if answer.status == 201:
                    return None
                if answer.status == 202:
                    return self._session(answer)
            # not allowed to read there, or not known there: no reason not to send it
        algorithm = wanted.digest.algorithm
        query = f"?digest-algorithm={algorithm}" if algorithm != "sha256" else ""
        # a second session that nobody uses does no harm
        with self.asked("POST", path + query, job, again=True) as answer:
            self.expect(answer, (202,), wanted.digest)
            return self._session(answer)

    def location(self, answer: Response, before: Url | None = None) -> Url:
        """Where an upload goes on: on the registry's own origin, as nobody else may see a credential (CR03)."""
        text = answer.headers.get("location")
        if not text and before is not None:
            return before
        if not text:
            raise Invalid(f"{self._host}: begins an upload without saying where")
        url, home = answer.url.join(text), self._client.url(self._host)
        if url.origin == home.origin:
            return url
        hint = "it does not know how it is reached: its proxy should set Host and X-Forwarded-Proto"
        raise Unsafe(
            f"{self._host}: wants an upload sent to {url}, another origin", hint=hint if url.host == home.host else ""
        )

    @contextmanager
    def asked(
        self,
        method: str,
        target: str | Url,
        job: Job,
        *,
        headers: Fields = (),
        body: Sent = b"",
        scope: str = "",
        again: bool | None = None,
    ) -> Iterator[Response]:
        """The answer to a request about this repository: `target` is a path below it, or the URL of an upload."""
        with self._client.discreet(self._host):
            answer = self._client.request(
                self._host,
                method,
                target if isinstance(target, Url) else f"/v2/{self._repository}/{target}",
                headers=headers,
                scope=f"repository:{self._repository}:pull,push{scope}",
                repository=self._repository,
                body=body,
                again=again,
                job=job,
            )
            with answer:
                self._warnings.show(answer, job)
                yield answer

    def expect(self, answer: Response, statuses: Sequence[int], reference: str) -> None:
        """`answers.expect` for a tag or digest of this repository."""
        expect(answer, statuses, self.named(reference), self._client, self._host, self._repository, denied=_DENIED)

    def named(self, reference: str) -> str:
        return f"{self._host}/{self._repository}{'@' if ':' in reference else ':'}{reference}"

    def _session(self, answer: Response) -> Session:
        least = answer.headers.get("oci-chunk-min-length").strip()
        return Session(self.location(answer), int(least) if _LENGTH.fullmatch(least) else 0)

    def _check(self, told: Digest, document: Document) -> None:
        if (sent := Digest.of(document.raw, told.algorithm)) != told:
            raise Mismatch(f"{self.named(sent)}: the registry has {told} instead of what was sent")


class _Upload:
    """One blob on its way: where it is sent, and how many bytes have surely arrived. Goes on where it was when a
    connection breaks, if the registry can say where that is ("Pushing a blob in chunks"), else from the start."""

    def __init__(self, target: RegistryTarget, wanted: Descriptor, content: Content, job: Job) -> None:
        self._target = target
        self._wanted = wanted
        self._content = content
        self._job = job
        self._session: Session | None = None
        self._begun = False
        self._at = 0
        self._part = 0  # bytes of a part; 0: as a whole
        self._failures = 0
        self._failed_at = 0
        self._restarted = False
        self.sent = 0  # bytes, with those that were sent twice
        self.broken: Error | None = None  # what went wrong with the content

    def run(self) -> int:
        """Returns the bytes that were sent."""
        while True:
            try:
                if self._step():
                    return self.sent
            except Unavailable as error:
                if error is self.broken or self._lost_for_good(error):
                    raise
                self._job.wait(back_off(self._target.base, self._failures, random.random()))  # noqa: S311
                # it may all have arrived, and only the answer was lost (NF11)
                if self._target.has(self._wanted, job=self._job):
                    return self.sent
                self._find_out()

    def _step(self) -> bool:
        """One request of those that a blob takes; True after the last."""
        if self._session is None:
            self._session, self._at = self._target.start(self._wanted, self._job, mount=not self._begun), 0
            self._begun = True
            if self._session is not None and self._session.least:
                self._part = max(self._session.least, _PART)
            return self._session is None
        if self._at < self._wanted.size and (self._at or self._part):
            self._patch(self._session)
            return False
        return self._finish(self._session)

    def _patch(self, session: Session) -> None:
        """The next part, or all that is left."""
        end = self._wanted.size
        if self._part and end - self._at > self._part:
            end = self._at + self._part
        headers = [("Content-Type", "application/octet-stream"), ("Content-Range", f"{self._at}-{end - 1}")]
        body = self._body(self._at, end)
        with self._target.asked("PATCH", session.url, self._job, headers=headers, body=body, again=False) as answer:
            if self._is_lost(answer, _PART_TAKEN):
                return
            told = _taken(answer)
            self._at = told if told is not None and self._at < told < end else end
            self._session = Session(self._target.location(answer, session.url), session.least)

    def _finish(self, session: Session) -> bool:
        """The whole, or after the parts the end. False if it must begin again."""
        path, question, query = session.url.target.partition("?")
        digest = f"digest={quote(self._wanted.digest, safe='')}"
        url = Url(
            session.url.scheme, session.url.host, session.url.port, f"{path}?{query}{'&' if question else ''}{digest}"
        )
        headers = [("Content-Type", "application/octet-stream")]
        body = b"" if self._at else self._body(0, self._wanted.size)
        with self._target.asked("PUT", url, self._job, headers=headers, body=body, again=False) as answer:
            if answer.status == 413 and not self._at and self._wanted.size > _PART and not self._part:
                self._part, self._session = _PART, None  # a proxy on the way has a limit
                return False
            if self._is_lost(answer, _STORED):
                return False
            told = _digest(answer)
        if told is not None and told.algorithm == self._wanted.digest.algorithm:
            if told != self._wanted.digest:
                raise Mismatch(f"{self._target.named(self._wanted.digest)}: the registry calls it {told}")
        elif not self._target.has(self._wanted, job=self._job):
            raise Mismatch(f"{self._target.named(self._wanted.digest)}: the registry took it, and has not got it")
        return True

    def _is_lost(self, answer: Response, statuses: Sequence[int]) -> bool:
        """False for a good answer. True if the upload must begin again, which is tried once: a bit may have flipped
        on the way (NF04), the registry may have been restarted."""
        try:
            self._target.expect(answer, statuses, self._wanted.digest)
        except Error as error:
            if answer.status not in _LOST or self._restarted:
                raise
            self._restarted, self._session = True, None
            self._job.progress(Event("retry", self._wanted.digest, 0, self._wanted.size, text=str(error)))
            return True
        return False

    def _lost_for_good(self, error: Unavailable) -> bool:
        """Whether it has broken off once too often without progress of 1 MiB."""
        if self._at - self._failed_at >= CHUNK:
            self._failures = 0
        self._failed_at = self._at
        self._failures += 1
        if self._failures > self._job.retries:
            return True
        self._job.progress(Event("retry", self._wanted.digest, self._at, self._wanted.size, text=str(error)))
        return False

    def _find_out(self) -> None:
        """Ask how much of an upload has arrived; where that cannot be told, it begins again (NF06)."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            with self._target.asked("GET", session.url, self._job) as answer:
                told = _taken(answer) if answer.status in (204, 200, 202) else None
                url = self._target.location(answer, session.url)
        except Unavailable:
            return  # Docker's registry fails over an upload that was cut; a new one may do
        # 0-0 is said for one byte, and by Docker's registry also for none
        if told is not None and 1 < told <= self._wanted.size:
            self._at, self._session = told, Session(url, session.least)
            self._job.progress(Event("resume", self._wanted.digest, told, self._wanted.size))

    def _body(self, start: int, end: int) -> Sent:
        @contextmanager
        def opened() -> Iterator[Readable]:
            try:
                with self._content(start, end) as content:
                    yield _Counted(self, content, start)
            except Error as error:
                self.broken = error
                raise

        return Streamed(opened, end - start)

    def count(self, arrived: int, more: int) -> None:
        """Bytes go out; called by the body."""
        self.sent += more
        self._job.progress(Event("progress", self._wanted.digest, arrived, self._wanted.size))


class _Counted:
    """Content that tells how far it was read."""

    def __init__(self, upload: _Upload, content: Readable, start: int) -> None:
        self._upload = upload
        self._content = content
        self._position = start

    def read(self, size: int, /) -> bytes:
        data = self._content.read(size)
        self._position += len(data)
        self._upload.count(self._position, len(data))
        return data


def _taken(answer: Response) -> int | None:
    """How many bytes from the start on the registry says to have."""
    match = _RANGE.fullmatch(answer.headers.get("range").strip())
    return int(match[1]) + 1 if match else None


def _digest(answer: Response) -> Digest | None:
    """What the registry says to have stored; None if it says nothing that can be compared."""
    try:
        return Digest(answer.headers.get("docker-content-digest"))
    except Invalid:
        return None
