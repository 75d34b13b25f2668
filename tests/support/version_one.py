"""Images of version 1, and what a client of 2014 asks of a registry: one request at a time, over a real socket."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.images import Content, compress, make_layer
from tests.support.serving import Served


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and text of a refusal."""
        return self.status, self.json()["error"]


@dataclass(frozen=True)
class OldImage:
    """`raw` is its JSON, `layer` as it is pushed."""

    id: str
    raw: bytes
    layer: bytes = field(repr=False)

    @property
    def payload(self) -> str:
        """The checksum that clients send since Docker 0.10."""
        return "sha256:" + hashlib.sha256(self.raw + b"\n" + self.layer).hexdigest()


def old_image(
    word: str, files: Mapping[str, Content] | None = None, *, parent: OldImage | None = None, **fields: Any
) -> OldImage:
    """The same for the same arguments; its JSON is spaced as no program writes it. No `files`: one named `word`."""
    image = hashlib.sha256(word.encode()).hexdigest()
    said: dict[str, Any] = {"id": image, "created": "2014-05-20T10:00:00.123456789Z", "unknown": {"kept": [1, 2]}}
    if parent is not None:
        said["parent"] = parent.id
    raw = json.dumps({**said, **fields}, indent=3).encode()
    plain = make_layer({word: word.encode()} if files is None else files)
    return OldImage(image, raw, compress(plain, "gzip"))


def ask(
    served: Served,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Got:
    """One request below `/v1` on a connection of its own. Pieces are sent in chunks, without a length."""
    connection = http.client.HTTPConnection(served.address, timeout=60)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, f"/v1{path}", body, dict(headers or {}), encode_chunked=chunked)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, found, answer.read())
    finally:
        connection.close()


def put_json(served: Served, path: str, value: object, headers: Mapping[str, str] | None = None) -> Got:
    return ask(served, "PUT", path, json.dumps(value).encode(), headers)


def push(served: Served, *images: OldImage, repository: str = "", tag: str = "latest", token: str = "") -> None:
    """As Docker did it, base first; with a `repository`, the last one is tagged there."""
    headers = {"Authorization": f"Token {token}"} if token else {}
    for image in images:
        path = f"/images/{image.id}"
        steps = [
            ask(served, "PUT", f"{path}/json", image.raw, headers),
            ask(served, "PUT", f"{path}/layer", [image.layer], headers),
            ask(served, "PUT", f"{path}/checksum", b"", {**headers, "X-Docker-Checksum-Payload": image.payload}),
        ]
        assert [step.status for step in steps] == [200, 200, 200], steps
    if repository:
        assert put_json(served, f"/repositories/{repository}/tags/{tag}", images[-1].id, headers).status == 200
