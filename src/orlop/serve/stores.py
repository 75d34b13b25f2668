"""A store as the server shows it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import Invalid, NotFound
from ..model.digest import Digest
from ..model.document import Document
from ..model.limits import MANIFEST_BYTES
from ..model.reference import Reference
from ..store import Store
from .view import served_as


class StoreView:
    """`View` of everything named in a store. Names are read anew at each request, so pulls show at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, repository: str, reference: str) -> Document | None:
        tagged = self._tags(repository)
        if tagged is None:
            return None
        try:
            digest = Digest(reference)
        except Invalid:
            target = tagged.get(reference)
            return self._store.document(target) if target else None
        # a blob is a document only if a name reaches it as one; the store checks its digest when it reads it
        return self._store.stored_document(digest, limit=MANIFEST_BYTES)

    def blob(self, repository: str, digest: Digest) -> tuple[Path, int] | None:
        if self._tags(repository) is None:
            return None
        try:
            return self._store.blob(digest)
        except NotFound:
            return None

    def tags(self, repository: str, last: str, n: int) -> Sequence[str] | None:
        tagged = self._tags(repository)
        return None if tagged is None else _page(tagged, last, n)

    def repositories(self, last: str, n: int) -> Sequence[str]:
        return _page({served_as(reference)[0] for reference in self._references()}, last, n)

    def _references(self) -> list[Reference]:
        return [Reference.parse(name) for name in self._store.names()]

    def _tags(self, repository: str) -> dict[str, str] | None:
        """Tag -> full name, None if there is no such repository."""
        tags: dict[str, str] = {}
        known = False
        for reference in self._references():
            if repository in served_as(reference):
                known = True
                if reference.tag:
                    tags.setdefault(reference.tag, str(reference))
        return tags if known else None


def _page(names: Iterable[str], last: str, n: int) -> list[str]:
    ordered = sorted(names)
    start = bisect_right(ordered, last) if last else 0
    return ordered[start : start + n]
