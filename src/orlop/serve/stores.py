"""A store as a `View`: every image that has a name, under the names of `view.served_as`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from ..errors import NotFound
from ..model.digest import Digest
from ..model.document import Document
from ..model.reference import Reference
from ..store import Store
from .view import served_as


class StoreView:
    """The images of a store, as they are at each request. Any document and blob is reached through any
    repository that there is: a store is one person's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, repository: str, reference: str) -> Document | None:
        tags = self._tree().get(repository)
        if tags is None:
            return None
        target = Digest(reference) if ":" in reference else tags.get(reference)
        try:
            return None if target is None else self._store.document(str(target))
        except NotFound:
            return None

    def blob(self, repository: str, digest: Digest) -> tuple[Path, int] | None:
        if repository not in self._tree():
            return None
        try:
            return self._store.blob(digest)
        except NotFound:
            return None

    def tags(self, repository: str, last: str, n: int) -> Sequence[str] | None:
        tags = self._tree().get(repository)
        return None if tags is None else _after(sorted(tags), last, n)

    def repositories(self, last: str, n: int) -> Sequence[str]:
        return _after(sorted(self._tree()), last, n)

    def _tree(self) -> dict[str, dict[str, Digest]]:
        """Tags and what they point at, by repository. A name with only a digest makes a repository without tags."""
        tree: dict[str, dict[str, Digest]] = {}
        for listed in self._store.images():
            reference = Reference.parse(listed.name)
            for repository in served_as(reference):
                tags = tree.setdefault(repository, {})
                if reference.tag:
                    tags.setdefault(reference.tag, listed.digest)
        return tree


def _after(names: list[str], last: str, n: int) -> list[str]:
    start = bisect_right(names, last) if last else 0
    return names[start : start + n]
