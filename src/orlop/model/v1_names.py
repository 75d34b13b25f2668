"""The names under which the store keeps version 1 images: tags of a repository that is not for users."""

from __future__ import annotations

HOST = "v1.invalid"  # RFC 2606: no machine is ever called so
_GRAPH = f"{HOST}/graph:"


def name_of(id: str) -> str:
    """Where the image of this ID is."""
    return _GRAPH + id


def id_in(name: str) -> str:
    """The ID of the image whose entry a full name is; "" for names of users."""
    return name.removeprefix(_GRAPH) if name.startswith(_GRAPH) else ""


def is_reserved(name: str) -> bool:
    """Whether a full name is not for users."""
    return name.startswith(f"{HOST}/")
