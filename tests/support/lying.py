"""A server on a plain socket that answers as it is told, well or badly, and writes down all that it was asked."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from orlop.model.document import Document

from .images import MadeImage
from .listening import Listening

CANARY = "c4nary-passw0rd"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
_TLS_HANDSHAKE = 0x16  # RFC 8446, 5.1


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. `target` has the query, header names are lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    when: float
    certificate: bool = False  # the client showed one

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")


@dataclass(frozen=True)
class Answer:
    """What to send. Without `raw`, a proper answer with a Content-Length, but for what the flags break."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None  # sent instead of all of it, then the connection is closed
    length: int | None = None  # Content-Length to claim
    chunked: bool = False
    close: bool = False  # no length at all: the end of the connection is the end
    cut: int | None = None  # stop after so many bytes of the whole answer
    reset: bool = False  # cut with RST instead of FIN
    delay: float = 0.0  # seconds before the first byte
    drip: float = 0.0  # seconds between single bytes of the answer
    drip_after: int = 0  # bytes that still come at once


Handler = Callable[[Seen], Answer]


@dataclass(repr=False)  # hypothesis prints fixtures, and this one grows
class Lying(Listening):
    """`with Lying() as server: server.on("/v2/", Answer(200))`. Answers of a path are used up in order, the last
    one stays. Paths that nobody told about are 404, or `otherwise`."""

    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    hangs_up: bool = False  # on whatever arrives first, and not even TLS is spoken
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0  # TCP connections that were accepted
    first_bytes: list[bytes] = field(default_factory=list)
    arrived: bytearray = field(default_factory=bytearray)  # every byte that was read
    handshakes: int = 0
    agreed: list[str | None] = field(default_factory=list)  # by ALPN, of those
    _routes: dict[str, list[Answer | Handler]] = field(default_factory=dict)
    otherwise: Answer | Handler = Answer(404)  # for paths that nobody told about
    spill: Callable[[Seen], None] = field(default=lambda request: None)  # told of requests that were cut in their body
    _early: dict[str, Answer] = field(default_factory=dict)
    _staying: set[str] = field(default_factory=set)
    _deaf: set[str] = field(default_factory=set)
    _leaving: threading.Event = field(default_factory=threading.Event)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        super().__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def on(self, path: str, *answers: Answer | Handler) -> None:
        with self.lock:
            self._routes[path] = list(answers)

    def refuse(self, path: str, answer: Answer, *, stays: bool = False) -> None:
        """Answer when the head of a request is there, without reading its body, and hang up (where it is TLS, a moment
        later, as servers do so that it can be read), or neither read nor hang up (`stays`)."""
        self._early[path] = answer
        if stays:
            self._staying.add(path)

    def stop_reading(self, path: str) -> None:
        """Take the head of a request, then neither read nor answer."""
        self._deaf.add(path)

    @property
    def held(self) -> int:
        """Connections that are open now."""
        with self.lock:
            return len(self.open_links)

    @property
    def paths(self) -> list[str]:
        return list(self._routes)

    def answer_at(self, path: str) -> Handler:
        """What is said at a path as it stands, to be wrapped in something."""
        last = self._routes[path][-1]
        return (lambda request: last) if isinstance(last, Answer) else last

    def asked(self, path: str) -> list[Seen]:
        return [request for request in self.seen if request.path == path]

    def secrets(self) -> list[tuple[str, str]]:
        """Every credential that arrived, in whatever form."""
        found = []
        for request in self.seen:
            found += [(name, value) for name, value in request.headers if name in _SECRET_HEADERS]
            if CANARY in request.target or CANARY.encode() in request.body:
                found.append(("canary", request.target))
            if request.certificate:
                found.append(("certificate", request.target))
        return found

    def came(self, number: int) -> None:
        self.connections = number + 1

    def serve(self, link: socket.socket, number: int) -> None:
        raw = link
        try:
            if self.hangs_up:
                self.first_bytes.append(link.recv(1 << 16))
                self.arrived += self.first_bytes[-1]
                return
            if self.tls:
                link = self.tls.wrap_socket(link, server_side=True)
                self.handshakes += 1
                self.agreed.append(link.selected_alpn_protocol())
                with self.lock:
                    self.open_links.discard(raw)
                    self.open_links.add(link)
            stream = link.makefile("rb")
            while (request := self._read(stream, link)) is not None:
                answer = self._early.get(request.path) or self._answer(request)
                if not self._send(link, request, answer):
                    break
                if request.path in self._early:
                    self._leaving.wait(60 if request.path in self._staying else 0.3 if self.tls else 0)
                    break
        except (OSError, ValueError):
            pass  # the client is free to leave at any time
        finally:
            with self.lock:
                self.open_links.discard(link)
            link.close()

    def _read(self, stream: object, link: socket.socket) -> Seen | None:
        readline, read = self._noting(stream.readline), self._noting(stream.read)  # type: ignore[attr-defined]
        first = readline(70_000)
        if not first:
            return None
        with self.lock:
            self.first_bytes.append(first)
        if first[0] == _TLS_HANDSHAKE:  # random bytes, which may look like anything
            return None
        method, target, _ = first.decode("latin-1").split(" ", 2)
        headers = []
        while (line := readline(70_000)).rstrip(b"\r\n"):
            name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
            headers.append((name.lower(), value.strip()))
        if not line:
            raise ValueError("cut")
        certificate = isinstance(link, ssl.SSLSocket) and link.getpeercert() not in (None, {})
        path, body = target.partition("?")[0], b""
        if path in self._deaf:
            self._leaving.wait()
        elif path not in self._early:
            body = _body(dict(headers), readline, read)
        seen = Seen(method, target, headers, body, time.monotonic(), certificate)
        if path not in self._early and len(body) < int(dict(headers).get("content-length", "0")):
            self.spill(seen)
            raise ValueError("cut")
        with self.lock:
            self.seen.append(seen)
        return seen

    def _noting(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        def noting(size: int) -> bytes:
            data = read(size)
            with self.lock:
                self.arrived += data
            return data

        return noting

    def _answer(self, request: Seen) -> Answer:
        with self.lock:
            answers = self._routes.get(request.path) or [self.otherwise]
            chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        return chosen if isinstance(chosen, Answer) else chosen(request)

    def _send(self, link: socket.socket, request: Seen, answer: Answer) -> bool:
        """Whether the connection may go on."""
        data = answer.raw if answer.raw is not None else _render(request, answer)
        time.sleep(answer.delay)
        if answer.cut is not None:
            data = data[: answer.cut]
        at_once = answer.drip_after if answer.drip else len(data)
        link.sendall(data[:at_once])
        for position in range(at_once, len(data)):
            link.sendall(data[position : position + 1])
            time.sleep(answer.drip)
        if answer.reset:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return answer.raw is None and answer.cut is None and not answer.close and not answer.reset


def _body(headers: dict[str, str], readline: Callable[[int], bytes], read: Callable[[int], bytes]) -> bytes:
    """A request's body, or as much of it as came; ValueError if a chunked one is cut."""
    if headers.get("transfer-encoding") != "chunked":
        return read(int(headers.get("content-length", "0")))
    body = b""
    while size := int(readline(100), 16):
        body += read(size)
        if readline(10) != b"\r\n":
            raise ValueError("cut")
    readline(10)
    return body


def _render(request: Seen, answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in answer.headers)]
    body = answer.body
    if answer.chunked:
        lines.append("Transfer-Encoding: chunked")
        pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif answer.close:
        lines.append("Connection: close")
    else:
        lines.append(f"Content-Length: {len(body) if answer.length is None else answer.length}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if request.method == "HEAD" else head + body


def blob(content: bytes, *, etag: str = "", ranges: bool = True, **flags: bool) -> Handler:
    """A handler that serves content as a good registry does, with ranges and If-Range."""

    def answer(request: Seen) -> Answer:
        headers = (("ETag", etag),) if etag else ()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range")) if ranges else None
        if match is None or request.header("if-range") not in ("", etag):
            return Answer(200, content, headers, **flags)  # type: ignore[arg-type]
        start, last = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            return Answer(416, b"", (*headers, ("Content-Range", f"bytes */{len(content)}")))
        where = ("Content-Range", f"bytes {start}-{last}/{len(content)}")
        return Answer(206, content[start : last + 1], (*headers, where), **flags)  # type: ignore[arg-type]

    return answer


def serve_image(server: Lying, image: MadeImage, tag: str = "1", repository: str = "app") -> dict[str, bytes]:
    """Answer for an image as a good registry does; returns the blobs by their paths."""
    for document in (image.document, *image.documents):
        server.on(f"/v2/{repository}/manifests/{document.digest}", Answer(200, document.raw, _described(document)))
    server.on(f"/v2/{repository}/manifests/{tag}", Answer(200, image.document.raw, _described(image.document)))
    blobs = {f"/v2/{repository}/blobs/{digest}": content for digest, content in image.blobs.items()}
    for path, content in blobs.items():
        server.on(path, blob(content, etag=f'"{path[-64:]}"'))
    return blobs


def _described(document: Document) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", document.media_type), ("Docker-Content-Digest", str(document.digest)))


def cut_after(handler: Handler, body_bytes: int, *, reset: bool = False) -> Handler:
    """The same, but the connection ends after so many bytes of the body."""

    def answer(request: Seen) -> Answer:
        whole = handler(request)
        head = len(_render(request, whole)) - len(whole.body)
        return Answer(whole.status, whole.body, whole.headers, cut=head + body_bytes, reset=reset)

    return answer


def redirect(location: str, status: int = 307, body: bytes = b"") -> Answer:
    return Answer(status, body, (("Location", location),))


def challenge(value: str, status: int = 401) -> Answer:
    return Answer(status, b'{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}', (("WWW-Authenticate", value),))
