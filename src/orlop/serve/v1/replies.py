"""What a registry of version 1 says: errors in its words, tokens, end points, bodies that are small JSON."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import Cancelled, Error, Invalid, NoSpace
from ...model.limits import MIB
from ...model.strict_json import loads
from ..answer import Answer, Request, json_answer

# an image's JSON, and a list of 10,000 images
BODY_BYTES = 1 * MIB
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_FOREVER = 31_536_000  # a year, in seconds
_T = TypeVar("_T")

log = logging.getLogger(__name__)


class Refusal(Exception):
    """An answer that is an error, from anywhere below the router."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = refusal(status, text)


def refusal(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    return json_answer(status, {"error": text}, *headers)


def guarded(what: str, call: Callable[[], _T]) -> _T | Answer:
    """What `call` answers, its errors too: those of the library with their status, others 500 and a line in the log."""
    try:
        return call()
    except Refusal as refused:
        return refused.answer
    except Error as error:
        if isinstance(error, Cancelled):
            return refusal(503, "the server is about to end")
        if isinstance(error, NoSpace):
            log.warning("%s: %s", what, error)
        return refusal(error.http_status, error.message)
    except Exception:
        log.exception("%s failed", what)
        return refusal(500, "internal error")


class Small:
    """`Incoming` of a small body: taken whole, then answered."""

    def __init__(self, what: str, call: Callable[[bytes], Answer], limit: int = BODY_BYTES) -> None:
        self._what = what
        self._call = call
        self._limit = limit
        self._body = bytearray()

    def write(self, data: bytes, /) -> Answer | None:
        self._body += data
        if len(self._body) > self._limit:
            return refusal(413, f"more than {self._limit} bytes")
        return None

    def finish(self) -> Answer:
        return guarded(self._what, lambda: self._call(bytes(self._body)))

    def abandon(self) -> None:
        self._body.clear()


def check_length(request: Request, limit: int) -> None:
    """413 before anything is read, if the client says how much it is."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > 19 or int(stated) > limit):
        raise Refusal(413, f"more than {limit} bytes")


def read_json(body: bytes, otherwise: str) -> Any:
    """400 `otherwise` if it is none."""
    try:
        return loads(body, what="body")
    except Invalid as error:
        raise Refusal(400, otherwise) from error


def endpoints(request: Request) -> tuple[tuple[str, str], ...]:
    """Where the images of a repository are: here, as the client calls this place. 400 if that is no name."""
    host = request.headers.get("host", "")
    if host and _HOST.fullmatch(host) is None:
        raise Refusal(400, "Invalid Host header")
    return (("x-docker-endpoints", host),) if host else ()


def token(repository: str, access: str) -> tuple[tuple[str, str], ...]:
    """A token for a client that wants one. It tells clients apart, and opens nothing: this place has no users."""
    text = f'Token signature={secrets.token_hex(8).upper()},repository="{repository}",access={access}'
    return (("x-docker-token", text), ("www-authenticate", text))


def cache_headers() -> tuple[tuple[str, str], ...]:
    """An image is what it is for a year, and never was changed."""
    return (
        ("cache-control", f"public, max-age={_FOREVER}"),
        ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
    )


def raw_json(status: int, body: bytes, *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("content-type", "application/json"), *headers), body)


def text(value: object, limit: int = 80) -> str:
    """Somebody's value in an error text, as JSON."""
    return json.dumps(value)[:limit]
