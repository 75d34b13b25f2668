"""A scripted registry of version 1 on a real socket: an index, its endpoints, and what each does wrong on request."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from orlop.http.client import Client
from orlop.registry.v1.session import V1Session
from orlop.settings import Network

from .images import make_layer
from .lying import Answer, Handler, Lying, Seen

_IMAGE = re.compile(r"/v1/images/([0-9a-f]{64})/(json|layer|ancestry)")
_REPOSITORY = re.compile(r"/v1/repositories/(.+)/(images|tags)")
DEAD = Answer(raw=b"", reset=True)
TOKEN = 'signature=c4fe,repository="library/app",access=read'


@dataclass(frozen=True)
class Made:
    """An image of version 1: its JSON as written, its layer as sent."""

    id: str
    raw: bytes
    layer: bytes
    ancestry: tuple[str, ...]  # the image first

    @property
    def payload(self) -> str:
        return "sha256:" + hashlib.sha256(self.raw + b"\n" + self.layer).hexdigest()


def made_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def made(name: str, parent: Made | None = None, *, layer: bytes | None = None, **fields: Any) -> Made:
    """An image called `name`. Its JSON is spaced as no library writes it, with a field that nobody knows."""
    identity = made_id(name)
    values = {"id": identity, **({"parent": parent.id} if parent else {}), "x-odd": [1, {"b": 2}], **fields}
    raw = json.dumps(values, indent=3, separators=(" , ", " :  ")).encode() + b" \n"
    content = make_layer({f"file-of-{name}": name.encode() * 50}) if layer is None else layer
    return Made(identity, raw, content, (identity, *(parent.ancestry if parent else ())))


def made_chain(count: int, name: str = "image", **fields: Any) -> list[Made]:
    """Images each upon the one before, base first."""
    images: list[Made] = []
    for number in range(count):
        images.append(made(f"{name}-{number}", images[-1] if images else None, **fields))
    return images


@dataclass
class Endpoint:
    """One host that serves images. `server.instead` of a path comes first, then what is right."""

    server: Lying
    images: Mapping[str, Made]
    tags: Mapping[str, str]
    dead_after: int | None = None  # layers: then every request is cut
    checksum_header: str = "X-Docker-Checksum-Payload"  # "" for none
    sized: bool = True
    ranges: str = ""  # Accept-Ranges
    served: list[str] = field(default_factory=list)  # IDs whose layer was sent
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return self.server.host

    def answer(self, request: Seen) -> Answer:
        if self._dead():
            return DEAD
        if match := _REPOSITORY.fullmatch(request.path):
            return self.repository(request, match[1], match[2])
        if request.path == "/v1/_ping":
            return Answer(200, b"true")
        match = _IMAGE.fullmatch(request.path)
        if match is None:
            return Answer(404, b'{"error": "no such page"}')
        image = self.images.get(match[1])
        if image is None:
            return Answer(404, b'{"error": "Image not found"}')
        return getattr(self, f"_{match[2]}")(image, request)  # type: ignore[no-any-return]

    def repository(self, request: Seen, name: str, part: str) -> Answer:
        if part == "tags":
            return Answer(200, json.dumps(self.tags).encode())
        return Answer(404, b'{"error": "images not found"}')

    def instead(self, path: str, *answers: Answer | Handler) -> None:
        self.server.on(path, *answers, self.answer)

    def asked(self, part: str) -> list[str]:
        """IDs that were asked for their `json` or `layer`, in order."""
        found = [_IMAGE.fullmatch(request.path) for request in self.server.seen]
        return [match[1] for match in found if match and match[2] == part]

    def _dead(self) -> bool:
        with self._lock:
            return self.dead_after is not None and len(self.served) >= self.dead_after

    def _ancestry(self, image: Made, request: Seen) -> Answer:
        return Answer(200, json.dumps(image.ancestry).encode())

    def _json(self, image: Made, request: Seen) -> Answer:
        headers = [("X-Docker-Size", str(len(image.layer)))] if self.sized else []
        if self.checksum_header:
            headers.append((self.checksum_header, image.payload))
        return Answer(200, image.raw, tuple(headers))

    def _layer(self, image: Made, request: Seen) -> Answer:
        with self._lock:
            self.served.append(image.id)
        headers = (("Accept-Ranges", self.ranges),) if self.ranges else ()
        return Answer(200, image.layer, headers)


class Index(Endpoint):
    """The host that knows repositories; it is an endpoint as well. `endpoint_headers` and `token_headers` are sent as
    they stand, each a header of its own."""

    endpoint_headers: tuple[str, ...] = ()
    token_headers: tuple[str, ...] = (TOKEN,)
    checksums: Mapping[str, str] = {}
    repositories: tuple[str, ...] = ("library/app",)

    def repository(self, request: Seen, name: str, part: str) -> Answer:
        if name not in self.repositories:
            return Answer(404, b'{"error": "images not found"}')
        if part == "tags":
            return super().repository(request, name, part)
        listed = [{"id": each, "checksum": self.checksums.get(each, "")} for each in self.images]
        headers = [("X-Docker-Endpoints", value) for value in self.endpoint_headers]
        headers += [("X-Docker-Token", value) for value in self.token_headers]
        return Answer(200, json.dumps(listed).encode(), tuple(headers))


class Version1:
    """`with Version1(images) as registry:` an index alone, or with `endpoints` so many hosts beside it. The last image
    is `latest`."""

    def __init__(self, images: Iterable[Made], *, endpoints: int = 0, tags: Mapping[str, str] | None = None) -> None:
        self.images = {image.id: image for image in images}
        self.tags = {"latest": [*self.images][-1]} if tags is None else tags
        self._count = endpoints
        self._stack = ExitStack()

    def __enter__(self) -> Version1:
        server = self._stack.enter_context(Lying())
        self.index = Index(server, self.images, self.tags)
        server.otherwise = self.index.answer
        self.endpoints = [self._endpoint() for _ in range(self._count)]
        self.index.endpoint_headers = tuple(endpoint.host for endpoint in self.endpoints)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _endpoint(self) -> Endpoint:
        server = self._stack.enter_context(Lying())
        endpoint = Endpoint(server, self.images, self.tags)
        server.otherwise = endpoint.answer
        return endpoint

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset({self.index.host, *(endpoint.host for endpoint in self.endpoints)})

    def network(self, **more: Any) -> Network:
        """Settings that reach it, and let it send us to its endpoints."""
        options = {"timeout": 10.0, "retries": 1, "endpoint_hosts": self.hosts, **more}
        return Network(insecure=self.hosts, **options)

    def asked(self, part: str) -> list[str]:
        """IDs that any of its hosts was asked for."""
        return [each for endpoint in (self.index, *self.endpoints) for each in endpoint.asked(part)]

    def session(self, client: Client, allowed: Sequence[str] | None = None) -> V1Session:
        return V1Session(self.index.host, client, allowed=self.hosts if allowed is None else allowed)


def fast_client(network: Network, *, named: str = "") -> Client:
    """One that waits for hundredths of seconds."""
    return Client(network, named=named, base=0.01)
