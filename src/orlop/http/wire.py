"""HTTP/1.1 on one connection (RFC 9112): send a request, read a head and a framed body, with bounds on both.

Own, and not `http.client`, for three bounds that has not: one limit on the whole head, one deadline for it,
and a least rate for bodies. It also saves the 35 ms of importing `email` and `ssl`.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from ..errors import Invalid, Unavailable, Unsafe
from ..job import Job
from ..model.limits import HEADER_BYTES
from .head import Fields, Head, parse
from .sending import Sent, framing, pieces

T = TypeVar("T", bound=bytes | int)

# a body must bring this many bytes a second, averaged over the time-out (RX08); GPRS is ten times faster
LEAST_RATE = 256
# how soon a blocked read notices that its job was stopped, in seconds
SLICE = 0.5
_RECEIVE = 64 << 10
_RECORD = 16 << 10
_GATHERED = 256 << 10
_CHUNK_LINE = 4 << 10
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class Fault(Unavailable):
    """A connection that failed at `step`: dns, connect, proxy, tls, send or read. `again`: trying anew may help."""

    def __init__(self, message: str, *, step: str, hint: str = "", again: bool = True) -> None:
        super().__init__(f"{message} ({step})", hint=hint)
        self.step = step
        self.again = again


class Wire:
    """A connection, plain or TLS. One request at a time; `job` is the one whose stop interrupts it."""

    def __init__(self, link: socket.socket, host: str, timeout: float, clock: Callable[[], float]) -> None:
        self.host = host
        self.job = Job()
        self.used = False  # a request was answered on it before
        self._link = link
        self._timeout = timeout
        self._clock = clock
        self._records = hasattr(link, "pending")
        self._rest = b""
        self._waited = 0.0
        self._got = 0
        link.settimeout(min(SLICE, timeout))

    def close(self) -> None:
        self._link.close()

    def idle(self) -> bool:
        """Whether it can take another request: still open, and nothing has come that nobody asked for."""
        if self._rest:
            return False
        try:
            self._link.settimeout(0)
            self._link.recv(1)  # nothing may come now: a byte is as bad as the end
            return False
        except _not_ready():
            return True
        except OSError:
            return False
        finally:
            self._link.settimeout(min(SLICE, self._timeout))

    def send(self, method: str, target: str, fields: Fields, body: Sent = b"") -> bool:
        """Send a request. The caller gives all fields, Host included; those that frame the body are added.

        False if an answer came before all was sent: it is to be read, and the connection to be closed. `Fault` if the
        other side takes no byte for as long as the time-out, or less than it should; `sending.Unreadable`.
        """
        fields = [*fields, *framing(body, method)]
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        text = "\r\n".join(lines)
        if (
            not text.isascii()
            or "\0" in text
            or text.count("\n") != len(lines) - 1
            or text.count("\r") != len(lines) - 1
        ):
            raise Invalid(f"{self.host}: a header to be sent has characters that HTTP does not allow")
        self._waited, self._got = 0.0, 0
        with closing(pieces(body)) as parts:
            first = text.encode("ascii") + b"\r\n\r\n" + next(parts, b"")
            try:
                return self._deliver(first) and all(self._deliver(part) for part in parts)
            except Fault as fault:
                # it may have said why before it hung up
                if fault.step == "send" and self._answered() and self._rest:
                    return False
                self._raise_alert()
                raise

    def _deliver(self, data: bytes) -> bool:
        """Whether all of it went out before an answer, or the end, came."""
        left = memoryview(data)
        while left:
            self.job.check()
            count = self._patiently(lambda: self._offer(left), None, sending=True)  # noqa: B023
            if not count:
                return False
            left = left[count:]
        return True

    def _offer(self, data: memoryview) -> int:
        """As many bytes as it takes now; 0 if it has answered instead. To hear that comes first: TLS that could not
        send cannot be read any more."""
        poller = select.poll()
        poller.register(self._link, select.POLLIN | select.POLLOUT)
        events = sum(event for _, event in poller.poll(1000 * min(SLICE, self._timeout)))
        if events & ~select.POLLOUT and self._answered():
            return 0
        if not events & ~select.POLLIN:
            raise TimeoutError
        self._link.settimeout(0)
        try:
            return self._link.send(data)
        except _not_ready():
            raise TimeoutError from None
        finally:
            self._link.settimeout(min(SLICE, self._timeout))

    def _answered(self) -> bool:
        """Whether the answer or the end of the connection is there. Interim answers are passed over."""
        self._link.settimeout(0)
        try:
            more = self._link.recv(_RECEIVE)
        except _not_ready():
            return False
        except OSError:
            return False  # to send will say so, better
        finally:
            self._link.settimeout(min(SLICE, self._timeout))
        self._rest += more
        while self._rest[9:10] == b"1" and (end := self._rest.find(b"\r\n\r\n")) >= 0:
            self._rest = self._rest[end + 4 :]
        begun = len(self._rest) > len("HTTP/1.1 ") and (self._rest[9:10] != b"1" or len(self._rest) > HEADER_BYTES)
        return begun or not more

    def _raise_alert(self) -> None:
        """After a failed send: why the other side hung up may still be there to read."""
        if not self._records:
            return
        try:
            self._link.recv(1)
        except OSError as error:
            self._refuse_alert(error)

    def _refuse_alert(self, error: OSError) -> None:
        """TLS 1.3 refuses a client certificate only after the handshake."""
        if "alert" in reason_of(error):
            text = f"{self.host}: refused us: {reason_of(error)}"
            raise Fault(text, step="tls", hint=alert_hint(error), again=False) from error

    def head(self, method: str) -> Head:
        """The final answer's status and fields, within the time-out in all. `Unsafe` over 32 KiB."""
        deadline = self._clock() + self._timeout
        self._waited, self._got = 0.0, 0
        for _ in range(8):
            head = parse(self._head_bytes(deadline), method, self.host)
            if head.status >= 200:
                self.used = True
                return head
        raise Invalid(f"{self.host}: too many interim answers")

    def _head_bytes(self, deadline: float) -> bytes:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > HEADER_BYTES:
                raise Unsafe(f"{self.host}: headers of more than {HEADER_BYTES} bytes")
            more = self._patiently(lambda: self._link.recv(_RECEIVE), deadline)
            if not more:
                state = "in the middle of its headers" if data else "before it answered"
                raise Fault(f"{self.host}: closed the connection {state}", step="read")
            data += more
        if end > HEADER_BYTES:
            raise Unsafe(f"{self.host}: headers of more than {HEADER_BYTES} bytes")
        self._rest = data[end + 4 :]
        return data[:end]

    def receive(self, size: int) -> bytes:
        """1 to `size` bytes as they come; `b""` at the end of the connection."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        if self._records:
            return self._gather(min(size, _GATHERED))
        return self._patiently(lambda: self._link.recv(size), None)

    def _gather(self, size: int) -> bytes:
        """TLS gives a record of 16 KiB at a time; take what has arrived, so that fewer and larger pieces go on."""
        first = self._patiently(lambda: self._link.recv(min(size, _RECORD)), None)
        parts, total = [first], len(first)
        self._link.settimeout(0)
        try:
            while parts[-1] and total < size:
                parts.append(self._link.recv(min(size - total, _RECORD)))
                total += len(parts[-1])
        except OSError:
            pass  # mostly "nothing more yet"; a connection that broke says so again to the next call
        finally:
            self._link.settimeout(min(SLICE, self._timeout))
        self._got += total - len(first)
        return b"".join(parts)

    def line(self) -> bytes:
        """One line without its CRLF, for chunked bodies."""
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > _CHUNK_LINE:
                raise Invalid(f"{self.host}: a chunk header of more than {_CHUNK_LINE} bytes")
            more = self._patiently(lambda: self._link.recv(_RECEIVE), None)
            if not more:
                raise Fault(f"{self.host}: closed the connection in the middle of a chunk", step="read")
            self._rest += more
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _patiently(self, call: Callable[[], T], deadline: float | None, *, sending: bool = False) -> T:
        """Receive or send in slices, so that a stop is seen soon; `Fault` on silence, a crawl or a broken link."""
        began, step = self._clock(), "send" if sending else "read"
        while True:
            try:
                result = call()
                break
            except TimeoutError:
                self.job.check()
                now = self._clock()
                if now - began >= self._timeout or (deadline is not None and now >= deadline):
                    text = "takes no byte" if sending else "no byte"
                    raise Fault(f"{self.host}: {text} for {self._timeout:g} s", step=step) from None
            except OSError as error:
                self._refuse_alert(error)
                text = "connection broke while asking" if sending else "connection broke"
                raise Fault(f"{self.host}: {text}: {reason_of(error)}", step=step) from error
        now = self._clock()
        if deadline is not None:
            if now >= deadline:
                raise Fault(f"{self.host}: headers not there after {self._timeout:g} s", step="read")
            return result
        self._waited += now - began
        self._got += result if isinstance(result, int) else len(result)
        if self._waited >= self._timeout:
            if self._got < LEAST_RATE * self._waited:
                raise Fault(f"{self.host}: {self._got} bytes in {self._waited:.0f} s are too slow", step=step)
            self._waited, self._got = 0.0, 0
        return result


class Content:
    """The body of one answer, framed as its head says. Ends early with `Fault`, never silently."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire = wire
        self._chunked = head.chunked
        self._left = head.length
        if head.chunked:
            self._left = 0
        self._first = True
        self.ended = head.length == 0 and not head.chunked

    def read(self, size: int, /) -> bytes:
        room = self._room(size)
        if not room:
            return b""
        data = self._wire.receive(room)
        self._took(len(data))
        return data

    def _room(self, size: int) -> int:
        """How many bytes may be received now: up to the end of the body or of the chunk, 0 at the end."""
        if self._chunked and not self.ended and self._left == 0:
            self._next_chunk()
        if self.ended or size <= 0:
            return 0
        return size if self._left is None else min(size, self._left)

    def _took(self, count: int) -> None:
        if self._left is None:
            self.ended = count == 0
            return
        if count == 0:
            raise Fault(f"{self._wire.host}: closed the connection with {self._left} bytes to come", step="read")
        self._left -= count
        if self._left == 0 and not self._chunked:
            self.ended = True

    def _next_chunk(self) -> None:
        if not self._first and self._wire.line():
            raise Invalid(f"{self._wire.host}: a chunk is longer than its header says")
        self._first = False
        match = _SIZE.fullmatch(self._wire.line())
        if match is None:
            raise Invalid(f"{self._wire.host}: a chunk header is malformed")
        self._left = int(match[1], 16)
        if self._left == 0:
            self._trailers()
            self.ended = True

    def _trailers(self) -> None:
        total = 0
        while line := self._wire.line():
            total += len(line)
            if total > HEADER_BYTES:
                raise Unsafe(f"{self._wire.host}: trailers of more than {HEADER_BYTES} bytes")


def _not_ready() -> tuple[type[OSError], ...]:
    """What a socket that must not wait raises; plain ones must not have to import ssl for it."""
    import sys

    module = sys.modules.get("ssl")
    return (BlockingIOError, module.SSLWantReadError, module.SSLWantWriteError) if module else (BlockingIOError,)


def alert_hint(error: OSError) -> str:
    """What to do about an alert of TLS that is about our certificate, be it a wrong one or none."""
    reason = reason_of(error).partition("alert")[2]
    ours = "certificate" in reason or "unknown ca" in reason
    return "it wants a client certificate that it knows: --client-cert" if ours else ""


def reason_of(error: OSError) -> str:
    """What the system or OpenSSL says, in our style."""
    text = str(getattr(error, "reason", None) or error.strerror or error)
    return text.partition(" (_ssl")[0].lower().replace("_", " ")
