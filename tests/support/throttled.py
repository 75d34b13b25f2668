"""A good registry on a slow line: serves images at a given rate, with ranges, and keeps count of every byte."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .images import MadeImage

_STEP = 16 << 10


@dataclass(frozen=True)
class Sent:
    """One answer with content: `size` bytes from `start` went out, of what is at `path`."""

    path: str
    start: int
    size: int


@dataclass
class Throttled:
    """`host` is where it listens. `rate` in bytes a second for each connection, 0 for as fast as it goes."""

    host: str
    rate: float
    sent: list[Sent] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    starts: list[tuple[str, int]] = field(default_factory=list)  # (path, first byte), written down when asked
    guard: threading.Lock = field(default_factory=threading.Lock)

    def blobs_sent(self, path: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.path == path]

    def times_asked(self, path: str) -> int:
        return self.asked.count(path)


@contextmanager
def throttled(images: Mapping[str, MadeImage], *, rate: float = 0, repository: str = "app") -> Iterator[Throttled]:
    """Serve `images` by tag under `repository`."""
    content: dict[str, tuple[bytes, str]] = {}
    for tag, image in images.items():
        for document in (image.document, *image.documents):
            content[f"/v2/{repository}/manifests/{document.digest}"] = (document.raw, document.media_type)
        content[f"/v2/{repository}/manifests/{tag}"] = (image.document.raw, image.document.media_type)
        for digest, blob in image.blobs.items():
            content[f"/v2/{repository}/blobs/{digest}"] = (blob, "application/octet-stream")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, state, content)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the base class's name
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that was killed: the point of these tests

    server = Server(("127.0.0.1", 0), Handler)
    state = Throttled(f"127.0.0.1:{server.server_address[1]}", rate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, state: Throttled, content: dict[str, tuple[bytes, str]]) -> None:
    with state.guard:
        state.asked.append(handler.path)
    found = content.get(handler.path)
    if found is None:
        handler.send_response(404)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    body, media_type = found
    start, end = 0, len(body)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if match:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else len(body), len(body))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
    else:
        handler.send_response(200)
    with state.guard:
        state.starts.append((handler.path, start))
    handler.send_header("Content-Type", media_type)
    handler.send_header("Accept-Ranges", "bytes")
    handler.send_header("Content-Length", str(end - start))
    handler.end_headers()
    at = start
    try:
        while at < end:
            piece = body[at : min(at + _STEP, end)]
            handler.wfile.write(piece)
            at += len(piece)
            if state.rate and "/blobs/" in handler.path:
                time.sleep(len(piece) / state.rate)
    finally:
        with state.guard:
            state.sent.append(Sent(handler.path, start, at - start))
