"""What the server shows: images by repository, read only. The store implements it; so does any OCI layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..model.digest import Digest
from ..model.document import Document
from ..model.reference import Reference


class View(Protocol):
    """Called from many threads at once. Repositories are names as in URLs; see `served_as`."""

    def manifest(self, repository: str, reference: str) -> Document | None:
        """The document at a tag or digest, None if there is none. Bytes as they came."""

    def blob(self, repository: str, digest: Digest) -> tuple[Path, int] | None:
        """The file of a blob and its size in bytes, None if there is none."""

    def tags(self, repository: str, last: str, n: int) -> Sequence[str] | None:
        """At most `n` tags that sort after `last` (by code point), sorted; None if there is no such repository."""

    def repositories(self, last: str, n: int) -> Sequence[str]:
        """At most `n` repositories that sort after `last`, sorted."""


def served_as(reference: Reference) -> tuple[str, ...]:
    """Repositories under which an image is served: its own name, and with its host in front.

    A host with a port is left out, as a colon cannot stand in a URL's name: `localhost:5000/a/b` is `a/b`.
    """
    short = reference.repository
    return (short,) if ":" in reference.host else (short, reference.name)
