"""The tag store: repositories and their tags, each an image. It is the store's own names; the file that Docker kept
(`repositories`) can be written and read."""

from __future__ import annotations

import json
from typing import Any

from ..catalog.sqlite import SqliteCatalog
from ..errors import Conflict, Error, Invalid, NotFound
from ..images import Images
from ..model.limits import LAYOUT_INDEX_BYTES
from ..model.reference import Reference
from ..model.strict_json import load_object
from ..model.v1 import DEFAULT_TAG, ImageId, check_repository, check_tag, parse_repository_tag
from ..ports import Tagged
from . import record
from .graph import Graph, Node

_HEX = frozenset("0123456789abcdef")
_KEY = "Repositories"


class TagStore:
    """Of one store; every call sees what others did."""

    def __init__(self, catalog: SqliteCatalog, images: Images, graph: Graph) -> None:
        self._catalog = catalog
        self._images = images
        self._graph = graph

    def set(self, repository: str, tag: str, image: str, *, force: bool) -> None:
        """Give an image a name, `latest` by default. Durable when it returns.

        `NotFound` for an unknown image, `Conflict` for a tag that is another image's, unless `force`; `Invalid` names.
        """
        node = self.lookup(image)
        tag = tag or DEFAULT_TAG
        check_repository(repository)
        check_tag(tag)
        name = str(_reference(repository, tag))
        there = self._catalog.resolve(name)
        if there is not None and there.target.digest != node.manifest.digest and not force:
            known = self._id_of(there) or there.target.digest
            raise Conflict(
                f"Conflict: Tag {repository}:{tag} is already set to {known}, if you want to replace it, "
                "please use -f option"
            )
        self._images.name(Tagged(name, node.manifest, node.origin))

    def lookup(self, name: str) -> Node:
        """`repository[:tag]`, an ID or a prefix of one, `repository:` with a prefix. `NotFound`."""
        repository, tag = parse_repository_tag(name)
        own = self.get(repository) if repository else {}
        if (id := own.get(tag or DEFAULT_TAG)) is not None:
            return self._graph.get(id)
        if tag and _HEX.issuperset(tag):
            found = {id for id in own.values() if id.startswith(tag)}
            if len(found) == 1:
                return self._graph.get(found.pop())
        return self._graph.get(name)

    def get(self, repository: str) -> dict[str, ImageId]:
        """Tag -> ID of one repository; empty if there is none."""
        try:
            own = _reference(repository, DEFAULT_TAG).name
        except Error:
            return {}
        return {tag: id for reference, tag, id in self._tagged() if reference.name == own}

    def all(self) -> dict[str, dict[str, ImageId]]:
        """Every repository by its familiar name: `solo`, `user/repository`, `host:5000/repository`."""
        result: dict[str, dict[str, ImageId]] = {}
        for reference, tag, id in self._tagged():
            result.setdefault(_familiar(reference), {})[tag] = id
        return result

    def by_id(self) -> dict[ImageId, list[str]]:
        """The names `repository:tag` of each image that has some, sorted."""
        result: dict[ImageId, list[str]] = {}
        for repository, own in self.all().items():
            for tag, id in own.items():
                result.setdefault(id, []).append(f"{repository}:{tag}")
        return {id: sorted(names) for id, names in result.items()}

    def image_name(self, id: ImageId) -> str:
        """A name of an image, its short ID if it has none."""
        return next(iter(self.by_id().get(id, [])), id.short)

    def delete(self, repository: str, tag: str = "") -> bool:
        """Remove one tag, or with "" all of a repository. `NotFound` if there is none."""
        own = self.get(repository)
        if not own:
            raise NotFound(f"No such repository: {repository}")
        if tag and tag not in own:
            raise NotFound(f"No such tag: {repository}:{tag}")
        for each in [tag] if tag else own:
            self._images.untag(str(_reference(repository, each)))
        return True

    def delete_all(self, id: ImageId) -> None:
        """Remove every name of an image."""
        for name in self.by_id().get(id, []):
            repository, tag = parse_repository_tag(name)
            self.delete(repository, tag)

    def export(self) -> bytes:
        """The file `repositories-<driver>` as Docker wrote it."""
        return json.dumps({_KEY: self.all()}, sort_keys=True, separators=(",", ":")).encode()

    def read(self, raw: bytes) -> dict[str, dict[str, ImageId]]:
        """What such a file says, or the one in an archive, which lacks the outermost object. `Invalid`."""
        if len(raw) > LAYOUT_INDEX_BYTES:
            raise Invalid(f"repositories: {len(raw)} bytes, at most {LAYOUT_INDEX_BYTES} are taken")
        fields: Any = load_object(raw, what="repositories")
        if set(fields) == {_KEY} and isinstance(fields[_KEY], dict) and _is_file(fields[_KEY]):
            fields = fields[_KEY]
        result: dict[str, dict[str, ImageId]] = {}
        for repository, own in fields.items():
            check_repository(repository)
            if not isinstance(own, dict):
                raise Invalid(f"repositories: {repository[:80]!r} is not an object")
            for tag, id in own.items():
                check_tag(tag)
                result.setdefault(repository, {})[tag] = ImageId(id)
        return result

    def load(self, raw: bytes) -> None:
        """Set all names that such a file has; all images must be there."""
        named = self.read(raw)
        for own in named.values():
            for id in own.values():
                self._graph.get(id)
        for repository, own in named.items():
            for tag, id in own.items():
                self.set(repository, tag, id, force=True)

    def _tagged(self) -> list[tuple[Reference, str, ImageId]]:
        found = []
        for tagged in self._catalog.names():
            if record.is_reserved(tagged.name):
                continue
            reference = Reference.parse(tagged.name)
            if reference.tag and (id := self._id_of(tagged)) is not None:
                found.append((reference, reference.tag, id))
        return found

    def _id_of(self, tagged: Tagged) -> ImageId | None:
        """None for an image that is not in the graph, as those of registries of version 2."""
        return self._graph.id_of(tagged.target)


def _reference(repository: str, tag: str) -> Reference:
    return Reference.parse(f"{repository}:{tag}")


def _familiar(reference: Reference) -> str:
    return parse_repository_tag(Reference(reference.host, reference.repository, DEFAULT_TAG).familiar)[0]


def _is_file(value: dict[str, Any]) -> bool:
    """A repository may itself be called "Repositories": then its values are IDs."""
    return all(isinstance(own, dict) for own in value.values())
