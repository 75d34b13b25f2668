"""The head of an answer (RFC 9112 sections 4, 5 and 6), read strictly: two readers must not differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import Invalid

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
# white space around the value is stripped afterwards: to match it here as well takes the cube of the line's length
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")
Fields = Sequence[tuple[str, str]]


class Headers:
    """Header fields of an answer; names are matched without regard to case."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = [(name.lower(), value) for name, value in fields]

    def get(self, name: str, default: str = "") -> str:
        """The first value of that name."""
        return next(iter(self.all(name)), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if key == name.lower()]


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: Headers
    length: int | None  # bytes of the body; None if only its end will tell
    chunked: bool
    lasting: bool  # the connection can be used again afterwards


def parse(data: bytes, method: str, host: str) -> Head:
    """The head, without the empty line behind it, that answers a request with `method`. `Invalid` names the host."""
    first, *lines = data.split(b"\r\n")
    status_line = _STATUS.fullmatch(first)
    if status_line is None:
        raise Invalid(f"{host}: does not answer in HTTP", hint="is it the right port, and is TLS wanted?")
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Invalid(f"{host}: a header is malformed")
        fields.append((field[1].decode("ascii"), field[2].strip(b" \t").decode("latin-1")))
    headers, status = Headers(fields), int(status_line[2])
    closing = "close" in headers.get("connection").lower() or status_line[1] == b"0"
    length, chunked = _framing(headers, host)
    if method == "HEAD" or status < 200 or status in (204, 304):
        length, chunked = 0, False
    return Head(status, headers, length, chunked, not closing and (chunked or length is not None))


def _framing(headers: Headers, host: str) -> tuple[int | None, bool]:
    """Length and whether it is chunked (RFC 9112 section 6.3); two answers to that question are refused."""
    lengths, codings = set(headers.all("content-length")), headers.all("transfer-encoding")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"] or lengths:
            raise Invalid(f"{host}: Transfer-Encoding is {', '.join(codings)[:80]!r}, expected chunked and no length")
        return None, True
    if not lengths:
        return None, False
    length = lengths.pop()
    if lengths or re.fullmatch(r"[0-9]{1,18}", length, re.ASCII) is None:
        raise Invalid(f"{host}: Content-Length is {length[:40]!r}, expected one number of bytes")
    return int(length), False
