"""Requests and answers of the registries as values, without I/O (distribution-spec 1.1; RFC 9110)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
# SV13: whatever a blob says it is, no browser may run it from here
_ALWAYS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'"),
    ("docker-distribution-api-version", "registry/2.0"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """`path` as it came, percent-decoded once; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slice:
    """The bytes `start..end` of a file, `end` exclusive."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`length` is what Content-Length says, also when the body is not sent (HEAD)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Slice = b""

    @property
    def length(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.end - self.body.start

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """With those every answer has. A 304 has no Content-Length, as it has no body to speak of."""
        length = () if self.status == 304 else (("content-length", str(self.length)),)
        return [*self.headers, *length, *_ALWAYS]


class Incoming(Protocol):
    """Where the body of a request goes, in pieces. One call at a time, from any thread; none of them raises."""

    def write(self, data: bytes, /) -> Answer | None:
        """An answer refuses the rest; nothing else is called after it."""

    def finish(self) -> Answer:
        """The body has come whole."""

    def abandon(self) -> None:
        """It will not: the client went away, sent nonsense, or took too long."""


class Site(Protocol):
    """What the server runs. Safe from any thread."""

    def open(self, request: Request) -> Answer | Incoming:
        """Never raises. A body is read only if it is asked for."""


def json_answer(status: int, value: object, *headers: tuple[str, str]) -> Answer:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status, (("content-type", "application/json"), *headers), body)


def failure(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    """An error in the form of the distribution-spec, "Error Codes"."""
    return json_answer(status, {"errors": [{"code": code, "message": message, "detail": {}}]}, *headers)


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` holds the (strong) tag; RFC 9110 section 13.1.2 compares weakly."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in given.split(",")]


def range_of(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The one range asked for as (start, end), `end` exclusive; None sends all of it.

    (size, size) is a range that cannot be served: 416. Several ranges, other units and malformed ones are
    ignored, as RFC 9110 section 14.2 allows: no answer costs more than the whole (RX06).
    """
    text = request.headers.get("range", "")
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    match = _RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start, end = int(match[1]), int(match[2]) + 1 if match[2] else size
    if end <= start and match[2]:
        return None
    return (start, min(end, size)) if start < size else (size, size)
