"""Any OCI layout directory as a `View`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from ..errors import NotFound, Usage
from ..files.layout import Layout, names_of
from ..model.digest import Digest
from ..model.document import Document
from ..model.reference import Reference, is_repository, is_tag
from .view import served_as


class LayoutView:
    """The images of a layout. Names that are full references are served as `view.served_as` says; names that are
    tags only, as tags of `repository` (by default made of the directory's name). The layout may change meanwhile.

    Every blob can be read through every repository: a layout is one person's.
    """

    def __init__(self, path: Path, *, repository: str = "") -> None:
        self._layout = Layout(path)
        self._path = path
        self._repository = repository or _name_of(path)
        if not is_repository(self._repository):
            raise Usage(f"repository {self._repository[:80]!r} is malformed")

    def manifest(self, repository: str, reference: str) -> Document | None:
        tags = self._tree().get(repository)
        if tags is None:
            return None
        digest = Digest(reference) if ":" in reference else tags.get(reference)
        try:
            return None if digest is None else self._layout.document(str(digest))
        except NotFound:
            return None

    def blob(self, repository: str, digest: Digest) -> tuple[Path, int] | None:
        if repository not in self._tree():
            return None
        try:
            size = self._layout.size(digest)
        except NotFound:
            return None
        return self._path / "blobs" / digest.algorithm / digest.encoded, size

    def tags(self, repository: str, last: str, n: int) -> Sequence[str] | None:
        tags = self._tree().get(repository)
        return None if tags is None else _after(sorted(tags), last, n)

    def repositories(self, last: str, n: int) -> Sequence[str]:
        return _after(sorted(self._tree()), last, n)

    def _tree(self) -> dict[str, dict[str, Digest]]:
        """Tags and their digests by repository. The first of several images under one name is served."""
        tree: dict[str, dict[str, Digest]] = {}
        for entry in self._layout.entries():
            names = names_of(entry)
            if not names:
                tree.setdefault(self._repository, {})
            for name in names:
                for repository, tag in self._places(name):
                    tree.setdefault(repository, {}).setdefault(tag, entry.digest)
        return tree

    def _places(self, name: str) -> list[tuple[str, str]]:
        if is_tag(name):
            return [(self._repository, name)]
        try:
            reference = Reference.parse(name)
        except Usage:
            return []  # a name that no URL can hold; its image is served by digest
        return [(repository, reference.tag) for repository in served_as(reference) if reference.tag]


def _after(names: list[str], last: str, n: int) -> list[str]:
    start = bisect_right(names, last) if last else 0
    return names[start : start + n]


def _name_of(path: Path) -> str:
    """A repository name of a directory's: `My_Images` becomes `my-images`."""
    words = re.findall(r"[a-z0-9]+", path.resolve().name.lower(), re.ASCII)
    return "-".join(words)[:128] or "images"
