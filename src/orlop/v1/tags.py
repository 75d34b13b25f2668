"""The tag store: repositories and their tags, each an image. It is the store's own names; the file that Docker kept
(`repositories`) can be written and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..catalog.sqlite import SqliteCatalog
from ..errors import Conflict, Error, Invalid, NotFound
from ..images import Images, check_name
from ..job import Job
from ..model.limits import LAYOUT_INDEX_BYTES
from ..model.reference import Reference
from ..model.strict_json import load_object
from ..model.v1 import DEFAULT_TAG, ImageId, check_repository, check_tag, parse_repository_tag
from ..model.v1_names import is_reserved
from ..ports import Tagged
from .chain import Chains
from .graph import Graph, Node

_HEX = frozenset("0123456789abcdef")
_KEY = "Repositories"


class TagStore:
    """Of one store; every call sees what others did."""

    def __init__(self, catalog: SqliteCatalog, images: Images, chains: Chains, graph: Graph) -> None:
        self._catalog = catalog
        self._images = images
        self._chains = chains
        self._graph = graph

    def set(self, repository: str, tag: str, image: str, *, force: bool) -> None:
        """Give an image a name, `latest` by default; nothing happens if it has that already. Durable when it returns.

        `NotFound` for an unknown image, `Conflict` for a tag that is another image's, unless `force`; `Invalid` names.
        """
        tag = tag or DEFAULT_TAG
        name = self.checked(repository, tag)
        node = self.lookup(image)
        while True:
            there = self._catalog.resolve(name)
            known = self._id_of(there) if there is not None else None
            if known == node.image.id:
                return
            if there is not None and not force:
                raise Conflict(
                    f"Conflict: Tag {repository}:{tag} is already set to {known or there.target.digest}, "
                    "if you want to replace it, please use -f option"
                )
            own = self._graph.own(node, Job())
            if self._images.claim(Tagged(name, own.manifest, own.origin), there.target.digest if there else None):
                return

    def checked(self, repository: str, tag: str) -> str:
        """The name as the store has it. `Invalid` if no image can have it."""
        check_repository(repository)
        check_tag(tag or DEFAULT_TAG)
        name = str(_reference(repository, tag or DEFAULT_TAG))
        check_name(name)
        return name

    def lookup(self, name: str) -> Node:
        """`repository[:tag]`, an ID or a prefix of one, `repository:` with a prefix. `NotFound`; `Conflict` for an
        image that claims the ID of another one here."""
        repository, tag = parse_repository_tag(name)
        own = self.get(repository) if repository else {}
        if (id := own.get(tag or DEFAULT_TAG)) is not None:
            return self._graph.get(id)
        self._refuse_claim(repository, tag or DEFAULT_TAG)
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
        return {reference.tag: id for reference, id in self._tagged(own)}

    def all(self) -> dict[str, dict[str, ImageId]]:
        """Every repository by its familiar name: `solo`, `user/repository`, `host:5000/repository`."""
        result: dict[str, dict[str, ImageId]] = {}
        for reference, id in self._tagged():
            result.setdefault(_familiar(reference), {})[reference.tag] = id
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
        """Set all names that such a file has. `Invalid`, `Usage` and, for images that are not there, `NotFound`: then
        none is set."""
        named = self.read(raw)
        for repository, own in named.items():
            for tag, id in own.items():
                check_name(str(_reference(repository, tag)))
                self._graph.get(id)
        for repository, own in named.items():
            for tag, id in own.items():
                self.set(repository, tag, id, force=True)

    def _tagged(self, repository: str = "") -> Iterator[tuple[Reference, ImageId]]:
        """Names with a tag, of one repository or of all, and the images that they are in version 1."""
        for tagged in self._catalog.names():
            if is_reserved(tagged.name):
                continue
            reference = Reference.parse(tagged.name)
            if reference.tag and not reference.digest and repository in ("", reference.name):
                id = self._id_of(tagged)
                if id is not None:
                    yield reference, id

    def _id_of(self, tagged: Tagged) -> ImageId | None:
        """None for what is no image, or not whole, or claims an ID that another image goes by."""
        found = self._chains.named(tagged)
        return found[1].id if found is not None and self._graph.goes_by(found[1]) else None

    def _refuse_claim(self, repository: str, tag: str) -> None:
        try:
            tagged = self._catalog.resolve(str(_reference(repository, tag)))
        except Error:
            return  # not even a name
        found = self._chains.named(tagged) if tagged is not None and not is_reserved(tagged.name) else None
        if found is not None:
            raise Conflict(
                f"{repository}:{tag}: its image ID {found[1].id.short} is another image's here",
                hint="it cannot be used as an image of version 1",
            )


def _reference(repository: str, tag: str) -> Reference:
    return Reference.parse(f"{repository}:{tag}")


def _familiar(reference: Reference) -> str:
    return parse_repository_tag(Reference(reference.host, reference.repository, DEFAULT_TAG).familiar)[0]


def _is_file(value: dict[str, Any]) -> bool:
    """A repository may itself be called "Repositories": then its values are IDs."""
    return all(isinstance(own, dict) for own in value.values())
