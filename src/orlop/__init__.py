"""Orlop: fetch container images from anywhere, keep them verified, mount them without unpacking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import Error as Error
    from .job import Event as Event
    from .job import Job as Job
    from .model.digest import Digest as Digest
    from .model.platform import Platform as Platform
    from .model.reference import Reference as Reference
    from .settings import Network as Network
    from .settings import Settings as Settings
    from .store import Store as Store

# imported when first used, as the command line must start fast
_PLACES = {
    "Digest": "model.digest",
    "Error": "errors",
    "Event": "job",
    "Job": "job",
    "Network": "settings",
    "Platform": "model.platform",
    "Reference": "model.reference",
    "Settings": "settings",
    "Store": "store",
}
__all__ = [*_PLACES, "__version__"]  # noqa: PLE0604 -- names of a table, all of them strings


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
