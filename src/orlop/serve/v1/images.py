"""Images of a registry of version 1: `/v1/images/ID/...`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from ...errors import Conflict, Invalid, Mismatch, NotFound, Unsafe
from ...model.limits import V1_JSON_BYTES
from ...model.v1 import ImageId, V1Image
from ...v1.graph import Node
from ..answer import Answer, Incoming, Request, Slice, is_unchanged, json_answer, range_of
from .listing import diff, files
from .replies import Refusal, Small, cache_headers, check_length, raw_json, read_json, refusal
from .shelf import EMPTY_LAYER, Shelf
from .uploads import BEING_UPLOADED, Spooled, Upload, Uploads

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TARSUM = re.compile(r"tarsum(?:\.v1|\.dev)?\+sha256:[0-9a-f]{64}", re.ASCII)
_ORIGIN = "v1 push"


class Images:
    """`uploads` is None where nothing can be pushed."""

    def __init__(self, shelf: Shelf, uploads: Uploads | None) -> None:
        self._shelf = shelf
        self._uploads = uploads

    # -- look ----------------------------------------------------------------------------------------------

    def get(self, request: Request, name: str, part: str) -> Answer:
        node = self.found(image_id(name))
        if part == "layer":
            return self._layer(request, node)
        if "if-modified-since" in request.headers:
            return Answer(304, cache_headers())
        answers: dict[str, Callable[[Node], Answer]] = {
            "json": self._json,
            "ancestry": self._ancestry,
            "files": lambda node: raw_json(200, files(self._shelf, node), *cache_headers()),
            "diff": lambda node: raw_json(200, diff(self._shelf, node), *cache_headers()),
        }
        return answers[part](node)

    def found(self, image: ImageId) -> Node:
        """404, 400 for one that is on its way."""
        if self._is_awaited(image):
            raise Refusal(400, BEING_UPLOADED)
        node = self._shelf.node(image)
        if node is None:
            raise Refusal(404, "Image not found")
        return node

    def _is_awaited(self, image: ImageId) -> bool:
        """In a client's hands, and nobody was faster."""
        return self._uploads is not None and image in self._uploads and not self._shelf.is_registered(image)

    def _ancestry(self, node: Node) -> Answer:
        return json_answer(200, [each.image.id for each in self._shelf.ancestry(node.image.id)], *cache_headers())

    def _json(self, node: Node) -> Answer:
        found = self._shelf.layer(node)
        size = len(EMPTY_LAYER) if found is None else found[1]
        sums = [("x-docker-checksum-payload", self._shelf.checksum(node))]
        if node.checksum.startswith("tarsum"):
            sums.append(("x-docker-checksum", node.checksum))
        return raw_json(200, node.image.raw, ("x-docker-size", str(size)), *sums, *cache_headers())

    def _layer(self, request: Request, node: Node) -> Answer:
        """Its bytes as they came, or a range of them (RFC 9110 section 14)."""
        found = self._shelf.layer(node)
        etag = f'"{node.layer.digest}"' if node.layer is not None else '"empty"'
        identity = (("etag", etag), ("accept-ranges", "bytes"), *cache_headers())
        if is_unchanged(request, etag) or "if-modified-since" in request.headers:
            return Answer(304, identity)
        size = len(EMPTY_LAYER) if found is None else found[1]
        headers = (("content-type", "application/octet-stream"), *identity)
        wanted = range_of(request, size, etag)
        start, end = wanted or (0, size)
        if wanted is not None and start >= end:
            return refusal(416, "Requested range not satisfiable", ("content-range", f"bytes */{size}"))
        body = EMPTY_LAYER[start:end] if found is None else Slice(found[0], start, end)
        if wanted is None:
            return Answer(200, headers, body)
        return Answer(206, (*headers, ("content-range", f"bytes {start}-{end - 1}/{size}")), body)

    # -- push ----------------------------------------------------------------------------------------------

    def put(self, request: Request, name: str, part: str) -> Answer | Incoming:
        uploads = self._uploads
        if uploads is None:
            raise Refusal(405, "this registry is read-only")
        image, owner = image_id(name), _owner(request)
        if not self._is_awaited(image) and self._shelf.node(image) is not None:
            uploads.discard(image)
            raise Refusal(409, "Cannot set this image checksum" if part == "checksum" else "Image already exists")
        if part == "json":
            check_length(request, V1_JSON_BYTES)
            return Small("PUT json", lambda body: self._put_json(uploads, image, owner, body), V1_JSON_BYTES)
        if part == "layer":
            check_length(request, uploads.limit)
            return uploads.receive(image, owner)
        return Small("PUT checksum", lambda _: self._put_checksum(request, uploads, image, owner))

    def _put_json(self, uploads: Uploads, image: ImageId, owner: str, body: bytes) -> Answer:
        fields = read_json(body, "Invalid JSON")
        if not isinstance(fields, dict) or not fields:
            raise Refusal(400, "Invalid JSON")
        if "id" not in fields:
            raise Refusal(400, "Missing key `id' in JSON")
        if fields["id"] != image:
            raise Refusal(400, "JSON data contains invalid id")
        parsed = V1Image.read(body)
        if parsed.parent is not None and self._shelf.node(parsed.parent) is None:
            raise Refusal(400, "Image depends on a non existing parent")
        uploads.announce(parsed, owner)
        return json_answer(200, "")

    def _put_checksum(self, request: Request, uploads: Uploads, image: ImageId, owner: str) -> Answer:
        payload, tarsum = _sums(request)
        with uploads.whole(image, owner) as upload:
            if payload and payload != upload.checksum:
                raise Refusal(400, "Checksum mismatch")
            self._register(uploads, upload, payload, tarsum)
        return json_answer(200, "")

    def _register(self, uploads: Uploads, upload: Upload, payload: str, tarsum: str) -> None:
        if upload.spool is None:
            raise Refusal(400, "Image has no layer yet")
        layer = Spooled(upload.spool, upload.size)
        graph = self._shelf.store.graph
        try:
            graph.register(upload.image, layer, origin=_ORIGIN, checksum=payload, tarsum=tarsum, job=self._shelf.job)
        except Conflict as error:
            uploads.forget(upload)
            raise Refusal(409, "Image already exists") from error
        except NotFound as error:  # removed since its child was announced
            raise Refusal(400, "Image depends on a non existing parent") from error
        except Mismatch as error:
            raise Refusal(400, "Checksum mismatch") from error
        except (Invalid, Unsafe) as error:
            raise Refusal(400, f"Layer cannot be read: {error.message}") from error
        uploads.forget(upload)


def image_id(name: str) -> ImageId:
    """404 for what is none: 64 lower-case hexadecimal digits, and nothing else ever reaches the store."""
    try:
        return ImageId(name)
    except Invalid:
        raise Refusal(404, "Invalid image ID") from None


def _owner(request: Request) -> str:
    """What tells pushing clients apart: the token that each was given, or what it is sure of instead; not kept as it
    is, since it may be a password. "" for those without, whom nothing tells apart."""
    given = request.headers.get("authorization", "")
    return hashlib.sha256(given.encode()).hexdigest() if given else ""


def _sums(request: Request) -> tuple[str, str]:
    """The payload's checksum and the tar's, "" for what was not given. 412 without either."""
    payload = request.headers.get("x-docker-checksum-payload", "")
    tarsum = request.headers.get("x-docker-checksum", "")
    if not payload and _SHA256.fullmatch(tarsum):  # what clients before 0.10 sent there
        payload, tarsum = tarsum, ""
    if not payload and not tarsum:
        raise Refusal(412, "Missing Image's checksum: X-Docker-Checksum-Payload is sent since Docker 0.10")
    if payload and _TARSUM.fullmatch(tarsum) is None:
        tarsum = ""  # of a kind that nobody checks; the payload's says more anyway
    if (payload and not _SHA256.fullmatch(payload)) or (tarsum and not _TARSUM.fullmatch(tarsum)):
        raise Refusal(400, "Checksum mismatch")
    return payload, tarsum
