"""A registry of version 1 in memory that takes pushes, on a `Lying` server, to make single answers wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from orlop.model.v1 import PayloadHasher

from .lying import Answer, Handler, Lying, Seen
from .version1 import Made

_IMAGE = re.compile(r"/v1/images/([0-9a-f]{64})/(json|layer|checksum)")
_REPOSITORY = re.compile(r"/v1/repositories/(.+)/(images)?")
_TAG = re.compile(r"/v1/repositories/(.+)/tags/(.+)")
_LONG = re.compile(r"[0-9a-f]{64}")
TOKEN = 'signature=beef,repository="library/app",access=write'
_TAKEN = Answer(409, b'{"error": "Image already exists"}')


@dataclass
class Held:
    """What of an image has arrived. `checksums` once it is whole."""

    raw: bytes
    layer: bytes | None = None
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass
class Taking:
    """Answers for `server`. `hosts` is what it says its endpoints are, itself by default."""

    server: Lying
    images: dict[str, Held] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lists: list[tuple[str, object]] = field(default_factory=list)  # (path, what was put there)
    hosts: tuple[str, ...] | None = None
    tokens: tuple[str, ...] = (TOKEN,)

    def __post_init__(self) -> None:
        self.server.otherwise = self.answer

    def instead(self, path: str, *answers: Answer | Handler) -> None:
        """These first at that path, then what is right."""
        self.server.on(path, *answers, self.answer)

    def asked(self) -> list[str]:
        """Method and path of every request, with short IDs."""
        return [f"{seen.method} {_LONG.sub(_short, seen.path)}" for seen in self.server.seen]

    def hold(self, image: Made) -> None:
        """Have an image whole."""
        self.images[image.id] = Held(image.raw, image.layer, {"x-docker-checksum-payload": image.payload})

    def answer(self, request: Seen) -> Answer:
        if match := _IMAGE.fullmatch(request.path):
            return self._image(request, match[1], match[2])
        if request.method != "PUT":
            return Answer(404, b'{"error": "no such page"}')
        if match := _TAG.fullmatch(request.path):
            self.tags[match[2]] = json.loads(request.body)
            return Answer(200, b'""')
        match = _REPOSITORY.fullmatch(request.path)
        if match is None:
            return Answer(404)
        self.lists.append((request.path, json.loads(request.body)))
        if match[2]:
            return Answer(204)
        hosts = (self.server.host,) if self.hosts is None else self.hosts
        headers = [("X-Docker-Endpoints", host) for host in hosts]
        return Answer(200, b'""', (*headers, *(("X-Docker-Token", token) for token in self.tokens)))

    def _image(self, request: Seen, identity: str, part: str) -> Answer:
        held = self.images.get(identity)
        if request.method == "GET" and part == "json":
            if held is None:
                return Answer(404, b'{"error": "Image not found"}')
            return Answer(200, held.raw) if held.checksums else Answer(400, b'{"error": "Image is being uploaded"}')
        if request.method != "PUT":
            return Answer(404)
        if held is not None and held.checksums:
            return _TAKEN
        if part == "json":
            self.images[identity] = Held(request.body)
        elif held is None:
            return Answer(404)
        elif part == "layer":
            held.layer = request.body
        else:
            return self._checksum(request, held)
        return Answer(200, b'"true"')

    def _checksum(self, request: Seen, held: Held) -> Answer:
        payload = PayloadHasher(held.raw)
        payload.write(held.layer or b"")
        told = {name: value for name, value in request.headers if name.startswith("x-docker-checksum")}
        if told.get("x-docker-checksum-payload") != str(payload):
            return Answer(400, b'{"error": "Checksum mismatch"}')
        held.checksums = told
        return Answer(200, b'"true"')


def _short(match: re.Match[str]) -> str:
    return match[0][:6]
