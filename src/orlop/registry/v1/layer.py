"""A layer on its way that goes on by itself where a connection broke off: of what has no digest and perhaps no size."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from types import TracebackType

from ...errors import Mismatch, Unavailable
from ...http.client import Response
from ...http.throttle import back_off
from ...job import Event, Job
from ...streams import CHUNK

# the reference server leaves the unit out
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
# Docker's client tried so often
_TRIES = 5

# asks for the layer with these extra headers; the answer is 200, 206 or 416, all else has been raised
Ask = Callable[[list[tuple[str, str]]], Response]


class LayerBody:
    """The bytes of a layer, `ports.Body`. `size` is what the registry said beforehand, -1 if nothing.

    Never gives more or fewer bytes than that, or than the answer's own length says: `Mismatch` when the two differ or
    when the content changed under us; `Unavailable` when it broke off more than five times without a MiB of progress.
    """

    offset = 0

    def __init__(self, ask: Ask, what: str, size: int, *, job: Job, base: float) -> None:
        self._ask = ask
        self._what = what
        self._size = size
        self._job = job
        self._base = base
        self._position = 0
        self._before = 0  # bytes to pass over, in front of our position
        self._failures = 0
        self._failed_at = 0
        self._ranges = False
        self.validator = ""
        self._response: Response | None = self._whole()

    def __enter__(self) -> LayerBody:
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
        """1 to `size` bytes, `b""` at the end."""
        while (response := self._response) is not None:
            self._job.check()
            try:
                data = response.read(min(self._before, CHUNK) if self._before else size)
            except Unavailable as error:
                self._resume(error)
                continue
            if self._before:
                self._before -= len(data)
                if data:
                    continue
            if not data:
                self._end()
                continue
            self._position += len(data)
            if 0 <= self._size < self._position:
                raise Mismatch(f"{self._what}: more than the expected {self._size} bytes came")
            return data
        return b""

    def _end(self) -> None:
        """The answer is over: so is the layer, unless it is shorter than it was said to be."""
        if self._size < 0 or (self._position == self._size and not self._before):
            self.close()
            return
        self._resume(Unavailable(f"{self._what}: ended after {self._position} of {self._size} bytes"))

    def _resume(self, error: Unavailable) -> None:
        """After a cut: ask again, for the rest if that can be had, if it has not happened too often."""
        self.close()
        if self._position - self._failed_at >= CHUNK:
            self._failures = 0
        self._failed_at = self._position
        self._failures += 1
        if self._failures > min(_TRIES, self._job.retries):
            raise error
        self._job.progress(Event("retry", self._what, self._position, max(0, self._size), text=str(error)))
        self._job.wait(back_off(self._base, self._failures, random.random()))  # noqa: S311
        self._response = self._rest() or self._whole()

    def _rest(self) -> Response | None:
        """From here on; None if it cannot be had so. At the very end there is nothing to ask for."""
        if not self._ranges or not 0 < self._position < self._size:
            return None
        headers = [("Range", f"bytes={self._position}-{self._size - 1}")]
        if self.validator:
            headers.append(("If-Range", self.validator))
        response = self._ask(headers)
        try:
            if response.status == 206 and self._fits(response):
                self._check_same(response)
                self._before = 0
                return response
            if response.status == 200:
                return self._from_start(response)
        except BaseException:
            response.close()
            raise
        response.close()  # 416, or a range that was not asked for
        return None

    def _fits(self, response: Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range").strip())
        if match is None:
            return False
        start, last = int(match[1]), int(match[2])
        if match[3] != "*" and int(match[3]) != self._size:
            raise Mismatch(f"{self._what}: has {match[3]} bytes at the registry, expected {self._size}")
        return start == self._position and start <= last < self._size and response.length in (None, last - start + 1)

    def _whole(self) -> Response:
        response = self._ask([])
        if response.status != 200:
            response.close()
            raise Mismatch(f"{self._what}: the registry answered {response.status} when asked for the whole")
        return self._from_start(response)

    def _from_start(self, response: Response) -> Response:
        """An answer that has it all: what was read before is passed over."""
        try:
            self._check_same(response)
            if self._size < 0 and response.length is not None:
                self._size = response.length
            if response.length not in (None, self._size):
                raise Mismatch(f"{self._what}: {response.length} bytes were announced, expected {self._size}")
        except BaseException:
            response.close()
            raise
        self._before = self._position
        self._ranges = "bytes" in response.headers.get("accept-ranges").lower()
        return response

    def _check_same(self, response: Response) -> None:
        tag = response.headers.get("etag").strip()
        strong = tag if len(tag) > 2 and tag[0] == tag[-1] == '"' else ""
        if self.validator and strong and strong != self.validator:
            raise Mismatch(
                f"{self._what}: changed at the registry while it was fetched", hint="fetch it from its start"
            )
        self.validator = self.validator or strong
