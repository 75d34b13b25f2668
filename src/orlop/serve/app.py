"""A read-only registry over a `View` (distribution-spec 1.1, end-1, end-2, end-3, end-8 and `_catalog`)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from urllib.parse import parse_qs, urlencode

from ..errors import Error, Invalid
from ..model.digest import Digest
from ..model.reference import NAME_LENGTH, is_repository, is_tag
from .answer import Answer, Request, Slice, failure, is_unchanged, json_answer, range_of
from .view import View

PAGE = 1000  # most names in one answer (RX04)
_QUERY_BYTES = 4096
# on the path as it came: nothing is joined, collapsed or decoded again (SV09)
_ITEM = re.compile(r"/v2/(.+)/(manifests|blobs)/([^/]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")

log = logging.getLogger(__name__)


class Registry:
    """Answers requests. Keeps nothing between them; safe from any thread."""

    def __init__(self, view: View) -> None:
        self._view = view

    def open(self, request: Request) -> Answer:
        """`Site`: no request has a body that is read."""
        return self.answer(request)

    def answer(self, request: Request) -> Answer:
        """Never raises: errors of the library become their status and code, others 500 and a line in the log."""
        try:
            return self._route(request)
        except Error as error:
            return failure(error.http_status, error.oci_code, error.message)
        except Exception:
            log.exception("%s failed", request.method)
            return failure(500, "UNKNOWN", "internal error")

    def _route(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return failure(405, "UNSUPPORTED", "this registry is read-only", ("allow", "GET, HEAD"))
        if request.path in ("/v2", "/v2/"):
            return json_answer(200, {})
        if request.path == "/v2/_catalog":
            return self._catalog(request)
        if match := _TAGS.fullmatch(request.path):
            return self._tags(request, match[1])
        if match := _ITEM.fullmatch(request.path):
            repository, kind, reference = match.groups()
            if not is_repository(repository):
                return _bad_name(repository)
            return (
                self._manifest(request, repository, reference)
                if kind == "manifests"
                else self._blob(request, repository, reference)
            )
        return failure(404, "UNSUPPORTED", "no such path")

    def _manifest(self, request: Request, repository: str, reference: str) -> Answer:
        if ":" in reference:
            reference = _digest(reference)
        elif not is_tag(reference):
            return failure(404, "MANIFEST_UNKNOWN", "not a tag")
        document = self._view.manifest(repository, reference)
        if document is None:
            return failure(404, "MANIFEST_UNKNOWN", f"no manifest {reference} in {repository}")
        # of what was asked for: a sha512 reference is not answered with the sha256
        digest = Digest(reference) if ":" in reference else document.digest
        headers = (("docker-content-digest", str(digest)), ("etag", f'"{digest}"'))
        if is_unchanged(request, f'"{digest}"'):
            return Answer(304, headers)
        return Answer(200, (("content-type", document.media_type), *headers), document.raw)

    def _blob(self, request: Request, repository: str, reference: str) -> Answer:
        digest = _digest(reference)
        found = self._view.blob(repository, digest)
        if found is None:
            return failure(404, "BLOB_UNKNOWN", f"no blob {digest} in {repository}")
        path, size = found
        etag = f'"{digest}"'
        identity = (("docker-content-digest", str(digest)), ("etag", etag), ("accept-ranges", "bytes"))
        if is_unchanged(request, etag):
            return Answer(304, identity)
        headers = (("content-type", "application/octet-stream"), *identity)
        wanted = range_of(request, size, etag)
        if wanted is None:
            return Answer(200, headers, Slice(path, 0, size))
        start, end = wanted
        if start >= end:
            return failure(416, "SIZE_INVALID", f"the blob has {size} bytes", ("content-range", f"bytes */{size}"))
        content_range = ("content-range", f"bytes {start}-{end - 1}/{size}")
        return Answer(206, (*headers, content_range), Slice(path, start, end))

    def _tags(self, request: Request, repository: str) -> Answer:
        if not is_repository(repository):
            return _bad_name(repository)
        count, last = _page(request)
        found = self._view.tags(repository, last, count + 1)
        if found is None:
            return failure(404, "NAME_UNKNOWN", f"no repository {repository}")
        return _listed(request.path, {"name": repository}, "tags", found, count)

    def _catalog(self, request: Request) -> Answer:
        count, last = _page(request)
        return _listed(request.path, {}, "repositories", self._view.repositories(last, count + 1), count)


def _listed(path: str, top: dict[str, object], key: str, found: Sequence[str], count: int) -> Answer:
    """A page of names. `found` has one more than `count` if there is another page."""
    names = list(found[:count])
    if len(found) <= count or not names:
        return json_answer(200, {**top, key: names})
    rest = urlencode({"n": count, "last": names[-1]})
    return json_answer(200, {**top, key: names}, ("link", f'<{path}?{rest}>; rel="next"'))


def _page(request: Request) -> tuple[int, str]:
    """`n` and `last` of a listing. Without `n`, and above `PAGE`, a page has `PAGE` names."""
    if len(request.query) > _QUERY_BYTES:
        raise Invalid("query: too long")
    fields = parse_qs(request.query, keep_blank_values=True, max_num_fields=16)
    last = fields.get("last", [""])[-1]
    text = fields.get("n", [str(PAGE)])[-1]
    if not (text.isascii() and text.isdecimal()):
        raise _BadPage(f"n is {text[:20]!r}, expected a number of names")
    return (min(int(text), PAGE) if len(text) < 10 else PAGE), last[:NAME_LENGTH]


class _BadPage(Invalid):
    oci_code = "PAGINATION_NUMBER_INVALID"


class _BadDigest(Invalid):
    oci_code = "DIGEST_INVALID"


def _digest(text: str) -> Digest:
    try:
        return Digest(text)
    except Invalid as error:
        raise _BadDigest(error.message) from error


def _bad_name(repository: str) -> Answer:
    return failure(400, "NAME_INVALID", f"repository {repository[:80]!r} is malformed")
