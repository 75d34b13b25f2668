"""One call a request over RSGI 1.x: the request as a value, its body in pieces, the answer sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from .answer import Answer, Incoming, Request, Site, Slice, failure

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

# bodies being received at once, and bytes gathered for one before a thread takes them: 32 MiB together
_BODIES = 128
_PART = 256 << 10
# bytes of a body that must come in each `stall` seconds: 500 a second if that is two minutes (RX08)
_LEAST = 64 << 10
# what is read, for so many seconds, of a body that nobody wants, so that its sender gets to see the answer
_UNWANTED_BYTES = 1 << 20
_UNWANTED_SECONDS = 1.0
_HEADERS = frozenset(
    (
        *("authorization", "content-length", "expect", "host", "if-modified-since", "if-none-match", "if-range"),
        *("origin", "range", "transfer-encoding", "user-agent"),
        *("x-docker-checksum", "x-docker-checksum-payload", "x-docker-token"),
    )
)
_T = TypeVar("_T")


class Application:
    """The site is asked in a thread, and so is whoever takes a body; no thread waits for a client."""

    def __init__(self, site: Site, pool: ThreadPoolExecutor, stall: float) -> None:
        self._site = site
        self._pool = pool
        self._stall = stall
        self._bodies = asyncio.Semaphore(_BODIES)

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        request = _request(scope)
        opened = await self._hop(lambda: self._site.open(request))
        if isinstance(opened, Answer):
            await _discard(request, protocol)
            answer = opened
        elif self._bodies.locked():
            await self._hop(opened.abandon)
            answer = failure(503, "TOOMANYREQUESTS", "too many uploads at once", ("retry-after", "5"))
        else:
            async with self._bodies:
                answer = await self._receive(request, opened, protocol)
        _send(answer, request.method, protocol)

    async def _receive(self, request: Request, incoming: Incoming, protocol: HTTPProtocol) -> Answer:
        ended = False
        try:
            answer = await self._take(request, incoming, protocol)
            if answer is None:
                answer = await self._hop(incoming.finish)
            ended = True
            return answer
        except TimeoutError:
            return failure(408, "UNKNOWN", f"less than {_LEAST} bytes of the body in {self._stall:g} seconds")
        except _CutShort:
            return failure(400, "UNKNOWN", "the body is cut short")
        finally:
            if not ended:  # cancelled at the end of the server, too
                await asyncio.shield(self._hop(incoming.abandon))

    async def _take(self, request: Request, incoming: Incoming, protocol: HTTPProtocol) -> Answer | None:
        """All of the body; an answer if it was refused on the way."""
        part, received, loop = bytearray(), 0, asyncio.get_running_loop()
        goal, empty = _LEAST, 0
        async with asyncio.timeout(self._stall) as deadline:
            async for chunk in protocol:
                # granian (seen in 2.8) gives one empty chunk at the end of a body, and one more if it broke off
                empty += not chunk
                part += chunk
                received += len(chunk)
                if len(part) >= _PART:
                    full, part = bytes(part), bytearray()
                    if (refused := await self._hop(lambda full=full: incoming.write(full))) is not None:  # type: ignore[misc]
                        return refused
                if received >= goal:
                    goal = received + _LEAST
                    deadline.reschedule(loop.time() + self._stall)
        stated = request.headers.get("content-length")
        if empty > 1 or (stated is not None and stated != str(received)):
            raise _CutShort
        return await self._hop(lambda: incoming.write(bytes(part))) if part else None

    async def _hop(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class _CutShort(Exception):
    pass


def _request(scope: Scope) -> Request:
    given: dict[str, str] = {}
    for name, value in scope.headers.items():
        if name in _HEADERS and value:
            given[name] = f"{given[name]}, {value}" if name in given else value
    return Request(scope.method, scope.path, scope.query_string, given)


async def _discard(request: Request, protocol: HTTPProtocol) -> None:
    """Of a client that asked first whether to send its body, none is read: the answer says no."""
    headers = request.headers
    if "expect" in headers or not ("content-length" in headers or "transfer-encoding" in headers):
        return
    left = _UNWANTED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_UNWANTED_SECONDS):
            async for chunk in protocol:
                left -= len(chunk)
                if left <= 0:
                    return


def _send(answer: Answer, method: str, protocol: HTTPProtocol) -> None:
    headers, body = answer.all_headers, answer.body
    if method == "HEAD" or answer.status == 304 or answer.length == 0:
        protocol.response_empty(answer.status, headers)
    elif isinstance(body, Slice):
        protocol.response_file_range(answer.status, headers, str(body.path), body.start, body.end)
    else:
        protocol.response_bytes(answer.status, headers, body)
