"""Repositories of a registry of version 1: the index's image lists, and tags."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import Invalid
from ...model.v1 import ImageId, check_tag
from ...v1.graph import Node
from ..answer import Answer, Incoming, Request, json_answer
from .images import image_id
from .replies import BODY_BYTES, Refusal, Small, check_length, endpoints, read_json, token
from .shelf import Shelf, Tags, repository_name

# images listed beyond those with tags: their ancestors
_LISTED = 10_000
_PUSHES = 4096  # remembered
_PRODUCT = re.compile(r"([A-Za-z0-9._-]{1,40})/([^\s/]{1,80})", re.ASCII)
# what a client says of itself, and what it is called in an answer
_SAID = {"docker": "docker_version", "go": "docker_go_version", "arch": "arch", "kernel": "kernel", "os": "os"}


class Repositories:
    """`found` is `Images.found`."""

    def __init__(self, shelf: Shelf, found: Callable[[ImageId], Node]) -> None:
        self._shelf = shelf
        self._found = found
        self._guard = threading.Lock()
        self._pushes: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()

    def handle(self, request: Request, path: str, part: str, tag: str) -> Answer | Incoming:
        """`part` is what stands behind the name: images, tags, tag, tag/json, json, properties, auth, or ""."""
        repository = repository_name(path)
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET":
            return self._get(request, repository, part, tag)
        if method == "PUT":
            return self._put(request, repository, part, tag)
        return self._delete(request, repository, part, tag)

    # -- look ----------------------------------------------------------------------------------------------

    def _get(self, request: Request, repository: str, part: str, tag: str) -> Answer:
        if part == "images":
            return self._images(request, repository)
        tags = self._shelf.tags(repository)
        if tags is None:
            raise Refusal(404, "Repository not found")
        if part == "properties":
            return json_answer(200, {"access": "public"})
        if part == "tags":
            return json_answer(200, tags)
        if tag and tag not in tags:
            raise Refusal(404, f"Tag not found: {tag[:128]}")
        return json_answer(200, tags[tag] if part == "tag" else self._described(repository, tag, tags))

    def _images(self, request: Request, repository: str) -> Answer:
        tags = self._shelf.tags(repository)
        if tags is None:
            raise Refusal(404, "images not found")
        given = token(repository, "read") if request.headers.get("x-docker-token") else ()
        return json_answer(200, self._listed(tags), *endpoints(request), *given)

    def _listed(self, tags: Tags) -> list[dict[str, str]]:
        """A row for each tag, and one for each ancestor that has none."""
        known: dict[ImageId, Node] = {}
        for image in dict.fromkeys(tags.values()):
            if len(known) < _LISTED:
                known.update((node.image.id, node) for node in self._shelf.ancestry(image))
        rows = [{"id": image, **_sum(known.get(image)), "Tag": tag} for tag, image in tags.items()]
        tagged = set(tags.values())
        return rows + [{"id": image, **_sum(node)} for image, node in known.items() if image not in tagged]

    def _described(self, repository: str, tag: str, tags: Tags) -> dict[str, Any]:
        """Who pushed it, as far as this process was there; else what the image says of its making."""
        with self._guard:
            known = self._pushes.get((repository, tag))
        if known is not None:
            return dict(known)
        node = self._shelf.node(tags[tag] if tag else next(iter(tags.values())))
        fields = node.image.fields if node is not None else {}
        return {
            "last_update": None,
            "docker_version": fields.get("docker_version"),
            "docker_go_version": None,
            "arch": fields.get("architecture"),
            "kernel": None,
            "os": fields.get("os"),
        }

    # -- push ----------------------------------------------------------------------------------------------

    def _put(self, request: Request, repository: str, part: str, tag: str) -> Answer | Incoming:
        check_length(request, BODY_BYTES)
        if part == "auth":
            return Small("PUT auth", lambda _: json_answer(200, "OK"))
        if part == "properties":
            return Small("PUT properties", _put_properties)
        if part in ("", "images"):
            return Small("PUT repository", lambda body: self._put_list(request, repository, part, body))
        check_tag(tag)
        return Small("PUT tag", lambda body: self._put_tag(request, repository, tag, body))

    def _put_list(self, request: Request, repository: str, part: str, body: bytes) -> Answer:
        """Images that are about to come, or have. They are looked at and forgotten: what is here is what is listed."""
        images = read_json(body, "Error Decoding JSON")
        if not isinstance(images, list) or not all(_is_image(image) for image in images):
            raise Refusal(400, "Invalid data")
        headers = (*endpoints(request), *token(repository, "write"))
        return Answer(204, headers) if part else json_answer(200, "", *headers)

    def _put_tag(self, request: Request, repository: str, tag: str, body: bytes) -> Answer:
        named = read_json(body, "Invalid data")
        if not isinstance(named, str) or not named:
            raise Refusal(400, "Invalid data")
        image = image_id(named)
        self._found(image)
        self._shelf.set_tag(repository, tag, image)
        self._remember(request, repository, tag)
        return json_answer(200, "")

    def _remember(self, request: Request, repository: str, tag: str) -> None:
        said: dict[str, Any] = {"last_update": int(time.time()), **dict.fromkeys(_SAID.values())}
        for product, version in _PRODUCT.findall(request.headers.get("user-agent", "")[:1000]):
            if product in _SAID:
                said[_SAID[product]] = version
        with self._guard:
            for key in ((repository, ""), (repository, tag)):
                self._pushes.pop(key, None)
                self._pushes[key] = said
            while len(self._pushes) > _PUSHES:
                self._pushes.popitem(last=False)

    def _delete(self, request: Request, repository: str, part: str, tag: str) -> Answer:
        if part == "images":  # the index's half of a deletion; the registry's is to follow
            return Answer(204, (*endpoints(request), *token(repository, "delete")))
        self._shelf.delete(repository, tag)
        with self._guard:
            for key in list(self._pushes):
                if key[0] == repository and key[1] in (("", tag) if tag else key):
                    del self._pushes[key]
        return json_answer(200, "", *endpoints(request), *(() if tag else token(repository, "delete")))


def _sum(node: Node | None) -> dict[str, str]:
    """The checksum that was verified when the image came, if one was."""
    return {"checksum": node.checksum} if node is not None and node.checksum else {}


def _is_image(value: object) -> bool:
    """An object with an ID; whatever else it says is of no consequence here."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return False
    try:
        return bool(ImageId(value["id"]))
    except Invalid:
        return False


def _put_properties(body: bytes) -> Answer:
    fields = read_json(body, "Invalid data")
    access = fields.get("access") if isinstance(fields, dict) else None
    if access == "private":
        raise Refusal(400, "this registry has no private repositories: it has no users")
    if access != "public":
        raise Refusal(400, "Invalid data")
    return json_answer(200, "")
