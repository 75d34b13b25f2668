"""A blob on its way that goes on by itself where a connection broke off (RFC 9110 section 14, Range)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from types import TracebackType

from ..errors import Mismatch, Unavailable
from ..http.client import Response
from ..http.throttle import back_off
from ..job import Event, Job
from ..model.descriptor import Descriptor
from ..streams import CHUNK

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)

# asks for the blob with these extra headers; the answer is 200, 206 or 416, all else has been raised
Ask = Callable[[list[tuple[str, str]]], Response]


class ResumingBody:
    """The bytes `offset..end` of a blob. `offset` becomes 0 when the registry cannot start elsewhere.

    Never gives more or fewer bytes than that: `Mismatch` when the registry's idea of the size is another, or when
    the content changed under us; `Unavailable` when it broke off once too often. A cut that comes after at
    least 1 MiB of progress does not count against the retries.
    """

    def __init__(self, ask: Ask, wanted: Descriptor, offset: int, end: int | None, *, job: Job, base: float) -> None:
        self._ask = ask
        self._wanted = wanted
        self._end = wanted.size if end is None else min(end, wanted.size)
        self._job = job
        self._base = base
        self._response: Response | None = None
        self._failures = 0
        self._failed_at = 0
        self._before = 0  # bytes to pass over, in front of our position
        self.validator = ""  # a strong ETag, "" if none was given
        self.offset = min(offset, self._end)
        self._position = self.offset
        if self.offset < self._end or wanted.size == 0:
            self._open(starting=True)

    def __enter__(self) -> ResumingBody:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def read(self, size: int, /) -> bytes:
        """1 to `size` bytes (1 MiB is a good size), `b""` at the end."""
        while True:
            self._job.check()
            room = min(size, self._end - self._position)
            response = self._response
            if room <= 0 or response is None:
                self._finish()
                return b""
            try:
                if self._before:
                    # the whole came where a part was asked for: read up to where we were
                    passed = len(response.read(min(self._before, CHUNK)))
                    self._before -= passed
                    if passed:
                        continue
                elif data := response.read(room):
                    self._position += len(data)
                    return data
            except Unavailable as error:
                self._resume(error)
            else:
                self._resume(Unavailable(f"{self._wanted.digest}: ended after {self._position} of {self._end} bytes"))

    def _finish(self) -> None:
        """At the end: an answer of unknown length may have more to say than it should (NF01)."""
        response = self._response
        if response is None or self._end < self._wanted.size or response.length is not None:
            self.close()
            return
        try:
            more = response.read(1)
        except Unavailable:
            more = b""  # all that was wanted is there, and its digest decides
        self.close()
        if more:
            raise Mismatch(f"{self._wanted.digest}: more than the expected {self._wanted.size} bytes came")

    def _resume(self, error: Unavailable) -> None:
        """After a cut: ask again from here, if it has not happened too often without progress."""
        self.close()
        if self._position - self._failed_at >= CHUNK:
            self._failures = 0
        self._failed_at = self._position
        self._failures += 1
        if self._failures > self._job.retries:
            raise error
        digest, size = str(self._wanted.digest), self._wanted.size
        self._job.progress(Event("retry", digest, self._position, size, text=str(error)))
        self._job.wait(back_off(self._base, self._failures, random.random()))  # noqa: S311
        self._open(starting=False)

    def _open(self, *, starting: bool) -> None:
        """Ask for the rest and place ourselves at its first byte; a range that cannot be had means the whole."""
        headers = []
        if self._position > 0 or self._end < self._wanted.size:
            headers.append(("Range", f"bytes={self._position}-{self._end - 1}"))
            if self.validator and self._position > 0:
                headers.append(("If-Range", self.validator))
        response = self._ask(headers)
        try:
            if response.status != 200 and not self._fits(response):
                # 416, or a range we did not ask for (NF03): what stands there cannot be told
                response.close()
                response = self._ask([])
                if response.status != 200:
                    told = f"the registry answered {response.status} when asked for the whole"
                    raise Mismatch(f"{self._wanted.digest}: {told}")
            self._check(response)
            self._before = 0
            if response.status == 200 and starting:
                self.offset = self._position = 0
            elif response.status == 200:
                self._before = self._position
            self._response = response
        except BaseException:
            response.close()
            raise

    def _fits(self, response: Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range").strip())
        if response.status != 206 or match is None:
            return False
        start, last = int(match[1]), int(match[2])
        if match[3] != "*" and int(match[3]) != self._wanted.size:
            raise Mismatch(f"{self._wanted.digest}: has {match[3]} bytes at the registry, expected {self._wanted.size}")
        length = response.length
        return start == self._position and start <= last < self._end and length in (None, last - start + 1)

    def _check(self, response: Response) -> None:
        """Of the whole blob only its own size will do, and of one that changed nothing will (NF02)."""
        digest, size = self._wanted.digest, self._wanted.size
        if response.status == 200 and response.length not in (None, size):
            raise Mismatch(f"{digest}: {response.length} bytes were announced, expected {size}")
        tag = response.headers.get("etag").strip()
        strong = tag if len(tag) > 2 and tag[0] == tag[-1] == '"' else ""
        if self.validator and strong and strong != self.validator:
            raise Mismatch(f"{digest}: changed at the registry while it was fetched", hint="fetch it from its start")
        self.validator = self.validator or strong
