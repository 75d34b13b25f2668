"""A registry in memory that takes pushes as the distribution-spec says, on a `Lying` server, so that single answers can
be made wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qs

from orlop.errors import Error
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document

from .lying import Answer, Handler, Lying, Seen

_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/([0-9]*)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha[0-9]+:[0-9a-f]+)")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")


class Receiving:
    """Answers for `server`. `blobs` and `documents` by digest are all that it has, whatever the repository; `tags` are
    by name. What of a cut request arrived is kept, and can be asked for."""

    def __init__(self, server: Lying) -> None:
        self.server = server
        self.blobs: dict[str, bytes] = {}
        self.documents: dict[str, Document] = {}
        self.tags: dict[str, Document] = {}
        self.uploads: list[bytearray] = []
        self.least = 0  # what OCI-Chunk-Min-Length says
        self.largest = 1 << 62  # bytes of a body
        self.mountable: set[str] = set()  # repositories that blobs can be had from
        self.reported = True  # Docker-Content-Digest is sent
        server.otherwise = self.answer
        server.spill = self._spill

    def answer(self, request: Seen) -> Answer:
        if match := _UPLOADS.fullmatch(request.path):
            return self._upload(request, match[1], match[2])
        if match := _BLOB.fullmatch(request.path):
            content = self.blobs.get(match[2])
            return Answer(404) if content is None else Answer(200, content)
        if match := _MANIFEST.fullmatch(request.path):
            return self._manifest(request, match[1], match[2])
        return Answer(200 if request.path == "/v2/" else 404)

    def instead(self, path: str, *answers: Answer | Handler) -> None:
        """These first at that path, then what is right."""
        self.server.on(path, *answers, self.answer)

    def methods(self, kind: str = "blobs") -> list[str]:
        """The methods that were used on blobs, or `manifests`, in order."""
        return [request.method for request in self.server.seen if f"/{kind}/" in request.path]

    def _upload(self, request: Seen, repository: str, number: str) -> Answer:
        query = {name: values[0] for name, values in parse_qs(request.target.partition("?")[2]).items()}
        if not number:
            return self._begin(repository, query)
        if int(number) >= len(self.uploads):
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        upload = self.uploads[int(number)]
        place = (("Location", f"{request.path}?state={len(upload)}"), ("Range", f"0-{max(0, len(upload) - 1)}"))
        if request.method == "GET":
            return Answer(204, headers=place)
        if len(request.body) > self.largest:
            return _error(413, "SIZE_INVALID")
        if request.method == "PATCH" and request.header("content-range").partition("-")[0] != str(len(upload)):
            return _error(416, "BLOB_UPLOAD_INVALID", place)
        upload += request.body
        if request.method == "PATCH":
            place = (("Location", f"{request.path}?state={len(upload)}"), ("Range", f"0-{max(0, len(upload) - 1)}"))
            return Answer(202, headers=place)
        digest, content = query.get("digest", ""), bytes(upload)
        if digest not in {str(Digest.of(content, algorithm)) for algorithm in ("sha256", "sha512")}:
            return _error(400, "DIGEST_INVALID")
        self.blobs[digest] = content
        return Answer(201, headers=self._told(digest))

    def _begin(self, repository: str, query: dict[str, str]) -> Answer:
        if query.get("from") in self.mountable and query.get("mount") in self.blobs:
            return Answer(201, headers=self._told(query["mount"]))
        self.uploads.append(bytearray())
        headers = [("Location", f"/v2/{repository}/blobs/uploads/{len(self.uploads) - 1}")]
        if self.least:
            headers.append(("OCI-Chunk-Min-Length", str(self.least)))
        return Answer(202, headers=tuple(headers))

    def _manifest(self, request: Seen, repository: str, reference: str) -> Answer:
        if request.method == "PUT":
            try:
                document = Document.read(request.body, request.header("content-type"))
            except Error:
                return _error(400, "MANIFEST_INVALID")
            if any(self._lacks(wanted) for wanted in document.successors):
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
            self.documents[document.digest] = document
            if ":" not in reference:
                self.tags[f"{repository}:{reference}"] = document
            return Answer(201, headers=self._told(document.digest))
        found = self.documents.get(reference) or self.tags.get(f"{repository}:{reference}")
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN")
        return Answer(200, found.raw, (("Content-Type", found.media_type), *self._told(found.digest)))

    def _lacks(self, wanted: Descriptor) -> bool:
        return wanted.digest not in self.blobs and wanted.digest not in self.documents

    def _told(self, digest: str) -> tuple[tuple[str, str], ...]:
        return (("Docker-Content-Digest", digest),) if self.reported else ()

    def _spill(self, request: Seen) -> None:
        match = _UPLOADS.fullmatch(request.path)
        if match and match[2]:
            self.uploads[int(match[2])] += request.body


def _error(status: int, code: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return Answer(status, b'{"errors":[{"code":"%s","message":"no"}]}' % code.encode(), tuple(headers))
