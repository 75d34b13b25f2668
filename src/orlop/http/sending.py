"""Bodies of requests: bytes, or a stream that can be opened again, framed as RFC 9112 (sections 6.2, 7.1) wants."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ..errors import Error, Invalid, Mismatch, of_system
from ..ports import Readable
from ..streams import CHUNK


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is read as it is sent. `open` is called for each attempt, as a retry, a challenge (401) or a
    redirect begins anew, and must give the same bytes each time; the context is left when the attempt ends.

    `length` in bytes; None if it is not known, then the body is sent chunked. Never is more than `length` read, so the
    reader's checks must be through when it gives the last byte. An `Error` of the reader ends the request: nothing is
    tried again for it, and it leaves `Client.request` as it is.
    """

    open: Callable[[], AbstractContextManager[Readable]] = field(repr=False)
    length: int | None


Sent = bytes | Upload


class Unreadable(Exception):
    """What should be sent cannot be read. Not an `Error`, so that nobody takes it for one of the connection."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


def framing(body: Sent, method: str) -> list[tuple[str, str]]:
    """The header fields that say where the body ends."""
    if isinstance(body, Upload):
        return [("Transfer-Encoding", "chunked") if body.length is None else ("Content-Length", str(body.length))]
    return [("Content-Length", str(len(body)))] if body or method not in ("GET", "HEAD") else []


def pieces(body: Sent) -> Generator[bytes, None, None]:
    """The bytes of the body as they go over the wire. `Unreadable` if it cannot be read, or has not its length."""
    if isinstance(body, bytes):
        if body:
            yield body
        return
    try:
        opened = body.open()
        with opened as content:
            yield from _chunked(content) if body.length is None else _counted(content, body.length)
    except Error as error:
        raise Unreadable(error) from error
    except OSError as error:
        text = f"content to send: cannot be read: {(error.strerror or str(error)).lower()}"
        raise Unreadable(of_system(error, text, Invalid)) from error


def _counted(content: Readable, length: int) -> Iterator[bytes]:
    left = length
    while left > 0:
        piece = content.read(min(left, CHUNK))
        if not piece:
            raise Mismatch(f"content to send: ends after {length - left} bytes, expected {length}")
        left -= len(piece)
        yield piece


def _chunked(content: Readable) -> Iterator[bytes]:
    while piece := content.read(CHUNK):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
