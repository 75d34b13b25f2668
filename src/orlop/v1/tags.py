"""The tag store: names of version 1 images, which are the names of the store's catalog."""

from __future__ import annotations

from ..model.v1 import ImageId
from .graph import Node


class TagStore:
    """`foo/bar:t` is `docker.io/foo/bar:t` in the catalog, `solo` is `docker.io/library/solo:latest`."""

    def set(self, repository: str, tag: str, image: str, *, force: bool) -> None:
        """Name an image; `tag` "" is `latest`. The same name for the same image: nothing happens. `NotFound` for an
        unknown image, `Invalid` for a bad name, `Conflict` if the tag is set to another image, without `force`."""
        raise NotImplementedError

    def lookup(self, name: str) -> Node:
        """By repository[:tag], ID, first digits of an ID, or repository:digits. `NotFound`: "No such id: NAME"."""
        raise NotImplementedError

    def get(self, repository: str) -> dict[str, ImageId]:
        """Its tags; empty if it has none."""
        raise NotImplementedError

    def all(self) -> dict[str, dict[str, ImageId]]:
        """Every repository with its tags, sorted."""
        raise NotImplementedError

    def delete(self, repository: str, tag: str = "") -> bool:
        """Remove one tag, or all of a repository. `NotFound`: "No such tag: R:T", "No such repository: R"."""
        raise NotImplementedError

    def delete_all(self, identity: ImageId) -> None:
        """Remove every name of an image."""
        raise NotImplementedError

    def by_id(self) -> dict[ImageId, list[str]]:
        """The names (`repository:tag`, sorted) of each image that has some."""
        raise NotImplementedError

    def image_name(self, identity: ImageId) -> str:
        """Its first name, else its short ID."""
        raise NotImplementedError

    def export(self) -> bytes:
        """The `repositories` file: {"Repositories": {name: {tag: ID}}}."""
        raise NotImplementedError

    def load(self, raw: bytes) -> None:
        """Set every tag of a `repositories` file, by force. With or without the outer object, as in archives.
        `Invalid`, `NotFound`: nothing of it was set."""
        raise NotImplementedError
