"""The states that a crash may leave behind. `Volume` replays a part of a log and keeps apart what is durable:

* bytes and modes of a file are durable after `sync` of that file,
* names are durable after `sync_directory` of their directory; a rename is one unit; a synced file may be nameless,
* of the rest any subset may survive, in any order, except that the history of one name is never reordered;
  of a file that was not synced the bytes may be there, gone, zero, or torn.

That is less than any journaled file system gives. A killed process, as opposed to a machine, loses nothing of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from .simdisk import Operation, Tree

Bytes = Literal["all", "none", "zero", "torn"]


class Volume:
    """What is durable after a part of a log, and what is pending."""

    def __init__(self, start: Tree, log: Iterable[Operation]) -> None:
        self.durable = start.copy()
        self.pending: list[Operation] = []
        for operation in log:
            if operation.kind in ("create", "mkdir"):
                self.durable.nodes.setdefault(operation.node, operation.fresh())
            if operation.kind == "sync all":
                self._settle(range(len(self.pending)))
            elif operation.kind in ("sync", "sync directory"):
                self._settle(self._covered(operation.node))
            else:
                self.pending.append(operation)

    def _covered(self, node: int) -> set[int]:
        """Pending ones that a sync of `node` makes durable, and those whose names they go on from."""
        covered: set[int] = set()
        names: set[tuple[int, str]] = set()
        for number in range(len(self.pending) - 1, -1, -1):
            operation = self.pending[number]
            own = operation.node == node and not operation.names
            if own or any(place[0] == node or place in names for place in operation.names):
                covered.add(number)
                names.update(operation.names)
        return covered

    def _settle(self, numbers: Iterable[int]) -> None:
        chosen = set(numbers)
        for number in sorted(chosen):
            self.durable.apply(self.pending[number])
        self.pending = [operation for number, operation in enumerate(self.pending) if number not in chosen]

    @property
    def names(self) -> list[int]:
        """Which of the pending ones change names."""
        return [number for number, operation in enumerate(self.pending) if operation.names]

    def state(self, lost: Iterable[int] = (), data: Bytes = "all", chance: random.Random | None = None) -> Tree:
        """A tree as a crash may leave it: without the pending changes of names in `lost` and what goes on from
        them, and with this of the bytes of files that were not synced (each by chance, if there is a `chance`)."""
        tree, missing = self.durable.copy(), set(lost)
        broken: set[tuple[int, str]] = set()
        fate: dict[int, Bytes] = {}
        for number, operation in enumerate(self.pending):
            if operation.names:
                if number in missing or broken.intersection(operation.names):
                    broken.update(operation.names)
                else:
                    tree.apply(operation)
                continue
            if operation.node not in fate:
                fate[operation.node] = chance.choice(("all", "none", "zero", "torn")) if chance else data
            _keep(tree, operation, fate[operation.node])
        return tree


def _keep(tree: Tree, operation: Operation, fate: Bytes) -> None:
    if operation.kind == "chmod":
        if fate != "none":
            tree.apply(operation)
        return
    data = operation.data
    if fate == "zero":
        data = bytes(len(data))
    elif fate == "torn":
        data = data[: len(data) // 2]
    if fate != "none" and data:
        tree.apply(Operation("write", operation.node, offset=operation.offset, data=data))


def crashes(start: Tree, log: Sequence[Operation], at: int, *, pairs: bool = False) -> Iterator[Tree]:
    """The states that a power cut after `at` operations may leave: all, nothing, every single pending change of a
    name lost or alone there (with `pairs` every two), each with the bytes that were not synced there, gone and zero."""
    volume = Volume(start, log[:at])
    names = volume.names
    lost: list[list[int]] = [[], names]
    lost += [[number] for number in names]
    lost += [[each for each in names if each != number] for number in names]
    if pairs:
        lost += [[first, second] for first in names for second in names if first < second]
    for each in lost:
        for data in ("all", "none", "zero", "torn"):
            yield volume.state(each, data)


def random_crash(start: Tree, log: Sequence[Operation], chance: random.Random) -> tuple[int, Tree]:
    """After how many operations, and one of the states that a power cut may leave then."""
    at = chance.randint(0, len(log))
    volume = Volume(start, log[:at])
    share = chance.choice((0.1, 0.5, 0.9))
    lost = [number for number in volume.names if chance.random() < share]
    return at, volume.state(lost, chance=chance)
