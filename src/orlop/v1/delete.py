"""Deleting an image as Docker did: first its names, then itself, then ancestors that nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import Conflict, NotFound
from ..job import Job
from ..model.v1 import DEFAULT_TAG, ImageId, parse_repository_tag
from .graph import Graph, Node
from .tags import TagStore

Users = Callable[[Node], str]  # who uses an image as a root file system, "" if nobody
Remove = Callable[[str], object]  # a name, and what nothing else needs


@dataclass(slots=True)
class Deleted:
    """What went, in order: names, and images."""

    rows: list[dict[str, str]] = field(default_factory=list)

    def untagged(self, name: str) -> None:
        self.rows.append({"Untagged": name})

    def deleted(self, id: ImageId) -> None:
        self.rows.append({"Deleted": str(id)})


class Deletion:
    """Deletions in one graph. `users`: whoever is named by it keeps an image from going."""

    def __init__(self, graph: Graph, tags: TagStore, users: Users, remove: Remove) -> None:
        self._graph = graph
        self._tags = tags
        self._users = users
        self._remove_name = remove

    def delete(self, name: str, *, force: bool, noprune: bool, job: Job) -> list[dict[str, str]]:
        """Remove a name, or by an ID all names of one image; then the image, if it has no name and no child left, and
        unless `noprune` its ancestors of which the same holds. `NotFound`; `Conflict` in Docker's words."""
        node = self._find(name)
        chain = self._graph.chain(node.image.id)
        done = Deleted()
        for repository, tag in self._names(node, name, force=force):
            self._remove_name(f"{repository}:{tag}")
            done.untagged(f"{repository}:{tag}")
        self._remove(node, done, force=force, noprune=noprune, job=job)
        self._tell(chain, done)
        if not done.rows:
            raise Conflict(f"Conflict, {name} wasn't deleted")
        return done.rows

    def _find(self, name: str) -> Node:
        try:
            return self._tags.lookup(name)
        except NotFound as error:
            repository, tag = parse_repository_tag(name)
            known = self._tags.get(repository)
            raise NotFound(
                f"No such image: {repository}:{tag or DEFAULT_TAG}" if known else f"No such image: {name}"
            ) from error

    def _names(self, node: Node, name: str, *, force: bool) -> list[tuple[str, str]]:
        """The names to remove: by an ID all of the image's."""
        repository, tag = parse_repository_tag(name)
        tag = tag or DEFAULT_TAG
        if self._tags.get(repository).get(tag) == node.image.id:
            return [(repository, tag)]
        names = [parse_repository_tag(known) for known in self._tags.by_id().get(node.image.id, ())]
        if len({repository for repository, _ in names}) > 1 and not force:
            raise Conflict(
                f"Conflict, cannot delete image {name} because it is tagged in multiple repositories, use -f to force"
            )
        return names

    def _tell(self, chain: list[Node], done: Deleted) -> None:
        """Images that were there as parts of one with a name only, which went with that."""
        nodes = self._graph.nodes()
        told = {row.get("Deleted") for row in done.rows}
        for node in reversed(chain):
            if node.image.id not in nodes and node.image.id not in told:
                done.deleted(node.image.id)

    def _remove(self, node: Node, done: Deleted, *, force: bool, noprune: bool, job: Job) -> None:
        at: Node | None = node
        while at is not None:
            id = at.image.id
            if id in self._tags.by_id() or self._graph.by_parent().get(id):
                return
            if user := self._users(at):
                if at is node:
                    raise _used(id, user, force=force, untagged=bool(done.rows))
                return  # an ancestor that is used just stays
            if not self._graph.exists(id):
                return  # a part of an image of the store: it goes with that
            parent = at.image.parent
            self._graph.delete(id, job=job)
            done.deleted(id)
            at = self._graph.get(parent) if parent is not None and not noprune else None


def _used(id: ImageId, user: str, *, force: bool, untagged: bool) -> Conflict:
    if force:
        text = f"cannot force delete {id.short} because the running container {user} is using it, stop it and retry"
    else:
        text = f"cannot delete {id.short} because the running container {user} is using it, stop it and use -f to force"
    return Conflict(f"Conflict, {text}{' (docker untagged the image)' if untagged else ''}")
