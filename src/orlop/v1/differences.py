"""Differences between images of a store, by any of their names: listed, measured, and written as a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..images import Images
from ..job import Job
from ..materialise import Materialise
from ..model.tree import Tree
from ..ports import Layer
from ..streams import Writable
from ..tar.differences import Change, differences, layer_of, size_of
from ..tar.writer import write_tree


class Differences:
    """Of images and what they stand on; "" as the name of the lower one is an empty tree."""

    def __init__(self, images: Images, materialise: Materialise) -> None:
        self._images = images
        self._materialise = materialise

    def changes(self, name: str, below: str, job: Job) -> list[Change]:
        """What `name` has that `below` has not, and the other way round."""
        with self._trees(name, below, job) as (before, after, _):
            return differences(before, after)

    def size(self, name: str, below: str, job: Job) -> int:
        """Bytes in the files that are new or changed."""
        with self._trees(name, below, job) as (before, after, _):
            return size_of(differences(before, after), after)

    def export(self, name: str, below: str, out: Writable, job: Job) -> int:
        """A plain tar that makes `below` into `name` when it is applied as a layer; returns its bytes."""
        with self._trees(name, below, job) as (before, after, layers):
            changed = layer_of(differences(before, after), after)
            places: list[Path] = [layer.tar for layer in layers]
            return write_tree(changed, lambda number: open(places[number], "rb"), out, job=job)

    @contextmanager
    def _trees(self, name: str, below: str, job: Job) -> Iterator[tuple[Tree, Tree, tuple[Layer, ...]]]:
        with ExitStack() as opened:
            before = Tree()
            if below:
                before = opened.enter_context(self._materialise.stack(self._images.image(below), job)).tree
            stack = opened.enter_context(self._materialise.stack(self._images.image(name), job))
            yield before, stack.tree, stack.layers
