"""Who uses images: here these are mounts, where Docker had containers."""

from __future__ import annotations

from collections.abc import Callable

from ..store import Store
from ..v1.graph import Node


def users(store: Store) -> Callable[[Node], str]:
    """For an image, the directory that it, or one that was made from it, is mounted at; "" if it is at none."""

    def used(node: Node) -> str:
        for mounted in store.mounts():
            if mounted.digest == node.manifest.digest:
                return str(mounted.target)
        return ""

    return used
