"""The routes of a registry of version 1, and who may take them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ... import __version__
from ...model.limits import LAYER_PLAIN_BYTES
from ...store import Store
from ..answer import Answer, Incoming, Request, json_answer
from .images import Images
from .replies import Refusal, guarded, refusal
from .repositories import Repositories
from .shelf import Shelf
from .uploads import STALE, Uploads
from .users import search, users

# on the path as it came, percent-decoded once: nothing is joined or collapsed (SV09)
_IMAGE = re.compile(r"/v1/images/([^/]*)/(json|layer|checksum|ancestry|files|diff)/?")
_REPOSITORY = re.compile(r"/v1/repositories/(.+?)(?:/(images|tags|json|properties|auth))?/?")
_TAG = re.compile(r"/v1/repositories/(.+)/tags/([^/]+?)(/json)?/?")
_USERS = re.compile(r"/v1/users/?([^/]*)/?")
_LONGEST = 1024
_READ = ("GET", "HEAD")
_OF_IMAGES = {
    "json": (*_READ, "PUT"),
    "layer": (*_READ, "PUT"),
    "checksum": ("PUT",),
    "ancestry": _READ,
    "files": _READ,
    "diff": _READ,
}
_OF_REPOSITORIES = {
    "": ("PUT", "DELETE"),
    "images": (*_READ, "PUT", "DELETE"),
    "tags": (*_READ, "DELETE"),
    "tag": (*_READ, "PUT", "DELETE"),
    "tag/json": _READ,
    "json": _READ,
    "properties": (*_READ, "PUT"),
    "auth": ("PUT",),
}


class VersionOne:
    """`Site` of the store's images in the terms of version 1. `writable`: it takes pushes, of layers of up to
    `limit` bytes; an image whose client is silent for `stale` seconds may be pushed by another one."""

    def __init__(
        self, store: Store, *, writable: bool = False, limit: int = LAYER_PLAIN_BYTES, stale: float = STALE
    ) -> None:
        shelf = Shelf(store)
        uploads = Uploads(store, limit, stale=stale) if writable else None
        self._shelf = shelf
        self._writable = writable
        self._images = Images(shelf, uploads)
        self._repositories = Repositories(shelf, self._images.found)

    def serves(self, path: str) -> bool:
        return path.startswith("/v1/") or path in ("/v1", "/_ping")

    def stop(self) -> None:
        """Give up what takes long, as taking in a layer. Nothing is half done after it."""
        self._shelf.job.stop()

    def open(self, request: Request) -> Answer | Incoming:
        return guarded(request.method, lambda: self._route(request))

    def _route(self, request: Request) -> Answer | Incoming:
        path = request.path
        if len(path) > _LONGEST:
            raise Refusal(414, "path is too long")
        if path in ("/_ping", "/v1/_ping"):
            return self._refused(request, _READ) or _ping()
        if path in ("/v1/search", "/v1/search/"):
            return self._refused(request, _READ) or search(self._shelf, request)
        if match := _USERS.fullmatch(path):
            return _wrong_method(request, ("PUT",) if match[1] else (*_READ, "POST")) or users(request, match[1])
        if match := _IMAGE.fullmatch(path):
            return self._image(request, match[1], match[2])
        if match := _TAG.fullmatch(path):
            return self._repository(request, match[1], "tag/json" if match[3] else "tag", match[2])
        if match := _REPOSITORY.fullmatch(path):
            return self._repository(request, match[1], match[2] or "", "")
        return refusal(404, "no such path")

    def _image(self, request: Request, name: str, part: str) -> Answer | Incoming:
        if refused := self._refused(request, _OF_IMAGES[part]):
            return refused
        return (self._images.get if request.method in _READ else self._images.put)(request, name, part)

    def _repository(self, request: Request, name: str, part: str, tag: str) -> Answer | Incoming:
        return self._refused(request, _OF_REPOSITORIES[part]) or self._repositories.handle(request, name, part, tag)

    def _refused(self, request: Request, allowed: Sequence[str]) -> Answer | None:
        if request.method not in _READ:
            if not self._writable:
                return refusal(405, "this registry is read-only", ("allow", "GET, HEAD"))
            # no registry client sends it, every browser does: what a web page sends here is not its user's wish
            if "origin" in request.headers:
                return refusal(403, "this is no place for web pages")
        return _wrong_method(request, allowed)


def _wrong_method(request: Request, allowed: Sequence[str]) -> Answer | None:
    if request.method in allowed:
        return None
    return refusal(405, "method not allowed", ("allow", ", ".join(allowed)))


def _ping() -> Answer:
    """`standalone`: index and registry in one, which asks nobody about tokens."""
    return json_answer(200, True, ("x-docker-registry-version", __version__), ("x-docker-registry-standalone", "true"))
