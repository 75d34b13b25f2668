"""A simulated disk: a `Disk` that writes down all it does, and the states that a crash may leave behind.

`RecordingDisk` works on a real directory and logs every operation with its bytes. `Volume` replays a part of that log
and keeps apart what is durable and what is not:

* bytes and modes of a file are durable after `sync` of that file,
* names are durable after `sync_directory` of their directory; a rename is one unit; a synced file may be nameless,
* of the rest any subset may survive, in any order, except that the history of one name is never reordered;
  of a file that was not synced the bytes may be there, gone, zero, or torn.

That is less than any journaled file system gives. A killed process, as opposed to a machine, loses nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orlop.disk.disk import Disk
from orlop.errors import Error

Kind = Literal[
    "create", "mkdir", "link", "rename", "unlink", "rmdir", "write", "chmod", "sync", "sync directory", "sync all"
]
Bytes = Literal["all", "none", "zero", "torn"]
ROOT = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. `node` is the file or directory it is about, `names` the (directory, name) it changes, the one that
    comes into being last."""

    kind: Kind
    node: int
    names: tuple[tuple[int, str], ...] = ()
    offset: int = 0
    data: bytes = b""
    mode: int = 0


@dataclass
class Node:
    mode: int
    data: bytes = b""
    children: dict[str, int] | None = None

    def copy(self) -> Node:
        return Node(self.mode, self.data, dict(self.children) if self.children is not None else None)


@dataclass
class Tree:
    """Files and directories by number; names lead from the root to them."""

    nodes: dict[int, Node] = field(default_factory=lambda: {ROOT: Node(0o700, children={})})

    def apply(self, operation: Operation) -> None:
        kind, node = operation.kind, operation.node
        if kind == "write":
            data = self.nodes[node].data.ljust(operation.offset, b"\0")
            end = operation.offset + len(operation.data)
            self.nodes[node].data = data[: operation.offset] + operation.data + data[end:]
        elif kind == "chmod":
            self.nodes[node].mode = operation.mode
        for number, (directory, name) in enumerate(operation.names):
            children = self.nodes[directory].children
            assert children is not None
            gone = kind in ("unlink", "rmdir") or (kind == "rename" and number == 0)
            if gone:
                children.pop(name, None)
            else:
                children[name] = node

    def copy(self) -> Tree:
        return Tree({number: node.copy() for number, node in self.nodes.items()})

    def write_to(self, target: Path) -> None:
        """Make it a real directory, hard links included."""
        written: dict[int, str] = {}

        def make(number: int, place: str) -> None:
            node = self.nodes[number]
            if number in written:
                os.link(written[number], place)
                return
            if node.children is None:
                written[number] = place
                descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                assert os.write(descriptor, node.data) == len(node.data)
                os.fchmod(descriptor, node.mode)
                os.close(descriptor)
                return
            os.mkdir(place)
            os.chmod(place, node.mode)
            for name, child in node.children.items():
                make(child, f"{place}/{name}")

        make(ROOT, str(target))

    def fingerprint(self) -> str:
        """Equal for trees that cannot be told apart."""
        hasher = hashlib.sha256()

        def add(number: int, place: str) -> None:
            node = self.nodes[number]
            hasher.update(f"{place}\0{node.mode}\0{len(node.data)}\0".encode())
            hasher.update(node.data)
            for name in sorted(node.children or ()):
                add((node.children or {})[name], f"{place}/{name}")

        add(ROOT, "")
        return hasher.hexdigest()


class Killed(Error):
    """Every further operation, once the process that a disk is played for was killed."""


class RecordingDisk(Disk):
    """Does what `Disk` does, and logs it in the order in which it happened. What was there at first is durable.

    After `limit` operations none is done any more, as if the process had been killed; without one it goes on.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.limit: int | None = None
        self.log: list[Operation] = []
        self.start = Tree()
        self._now = self.start  # what a running process sees; copied as soon as it differs
        self._files: dict[int, int] = {}  # by inode number, of open files
        self._count = ROOT
        self._guard = threading.RLock()
        self._import(ROOT, str(self.root), self.start.nodes.__setitem__)
        self._now = self.start.copy()

    # -- numbers -------------------------------------------------------------------------------------------

    def _fresh(self) -> int:
        self._count += 1
        return self._count

    def _find(self, name: str) -> tuple[int, str]:
        """The directory's number, and the name in it."""
        number, parts = ROOT, [part for part in name.split("/") if part]
        for part in parts[:-1]:
            children = self._now.nodes[number].children
            assert children is not None
            number = children[part]
        return number, parts[-1]

    def _number(self, name: str) -> int | None:
        if not name:
            return ROOT
        directory, last = self._find(name)
        return (self._now.nodes[directory].children or {}).get(last)

    def _import(self, number: int, place: str, keep: Callable[[int, Node], None]) -> None:
        """Take in what is on the real disk at `place`."""
        if not os.path.isdir(place):
            if os.path.lexists(place):
                keep(number, Node(os.stat(place).st_mode & 0o7777, Path(place).read_bytes()))
            return
        node = Node(os.stat(place).st_mode & 0o7777, children={})
        keep(number, node)
        for name in sorted(os.listdir(place)):
            if node.children is not None and not name.startswith("catalog.db"):
                node.children[name] = self._fresh()
                self._import(node.children[name], f"{place}/{name}", keep)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One operation at a time, so that the log has them in their order."""
        with self._guard:
            if self.limit is not None and len(self.log) >= self.limit:
                raise Killed("killed")
            yield

    def _do(self, *operations: Operation) -> None:
        for operation in operations:
            if operation.node not in self._now.nodes and operation.kind in ("create", "mkdir"):
                self._now.nodes[operation.node] = _new(operation)
            self._now.apply(operation)
            self.log.append(operation)

    # -- what is recorded ----------------------------------------------------------------------------------

    def create(self, name: str, *, keep: bool = False) -> int:
        with self._step():
            descriptor = super().create(name, keep=keep)
            number = self._number(name)
            if number is None:
                number = self._fresh()
                self._do(Operation("create", number, (self._find(name),), mode=0o600))
            self._files[os.fstat(descriptor).st_ino] = number
            return descriptor

    def open(self, name: str) -> int:
        with self._guard:
            descriptor = super().open(name)
            number = self._number(name)
            if number is not None:
                self._files[os.fstat(descriptor).st_ino] = number
            return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        with self._step():
            super().write(descriptor, data, offset)
            self._do(Operation("write", self._file(descriptor), offset=offset, data=bytes(data)))

    def seal(self, descriptor: int, mode: int = 0o444) -> None:
        with self._step():
            super().seal(descriptor, mode)
            self._do(Operation("chmod", self._file(descriptor), mode=mode))

    def sync(self, descriptor: int) -> None:
        with self._step():
            self._do(Operation("sync", self._file(descriptor)))

    def sync_directory(self, name: str) -> None:
        with self._step():
            if name != "..":
                number = self._number(name)
                assert number is not None
                self._do(Operation("sync directory", number))

    def sync_all(self) -> None:
        with self._step():
            self._do(Operation("sync all", ROOT))

    def make_directory(self, name: str) -> None:
        with self._step():
            there = self.is_directory(name)
            super().make_directory(name)
            if not there:
                self._do(Operation("mkdir", self._fresh(), (self._find(name),), mode=0o700))

    def publish(self, source: str, target: str) -> bool:
        with self._step():
            there = self._number(target) is not None
            number = self._known(source)
            if not there:
                self._do(Operation("link", number, (self._find(target),)))
            return super().publish(source, target)

    def replace(self, source: str, target: str) -> None:
        with self._step():
            number = self._known(source)
            super().replace(source, target)
            self._do(Operation("rename", number, (self._find(source), self._find(target))))

    def remove(self, name: str) -> bool:
        with self._step():
            gone = super().remove(name)
            number = self._number(name) if gone else None
            if number is not None:
                self._do(Operation("unlink", number, (self._find(name),)))
            return gone

    def remove_directory(self, name: str) -> None:
        with self._step():
            super().remove_directory(name)
            if (number := self._number(name)) is not None:
                self._do(Operation("rmdir", number, (self._find(name),)))

    def remove_tree(self, name: str) -> int:
        with self._step():
            freed = super().remove_tree(name)
            if (number := self._number(name)) is not None:
                self._do(*self._removal(number, *self._find(name)))
            return freed

    def _removal(self, number: int, directory: int, name: str) -> Iterator[Operation]:
        children = self._now.nodes[number].children
        for child, below in sorted((children or {}).items()):
            yield from self._removal(below, number, child)
        yield Operation("unlink" if children is None else "rmdir", number, ((directory, name),))

    def _file(self, descriptor: int) -> int:
        return self._files[os.fstat(descriptor).st_ino]

    def _known(self, name: str) -> int:
        """The number of a file; of one that a driver wrote by its path, it was made just now."""
        number = self._number(name)
        if number is not None:
            return number
        number = self._fresh()
        made: dict[int, Node] = {}
        self._import(number, self.path(name), made.__setitem__)
        where = {number: self._find(name)}
        for each, node in made.items():
            self._do(
                Operation("mkdir" if node.children is not None else "create", each, (where[each],), mode=node.mode)
            )
            where.update({child: (each, below) for below, child in (node.children or {}).items()})
            if node.data:
                self._do(Operation("write", each, data=node.data))
        return number


def _new(operation: Operation) -> Node:
    return Node(operation.mode, children={} if operation.kind == "mkdir" else None)


class Volume:
    """What is durable after a part of a log, and what is pending."""

    def __init__(self, start: Tree, log: Iterable[Operation]) -> None:
        self.durable = start.copy()
        self.pending: list[Operation] = []
        for operation in log:
            if operation.kind in ("create", "mkdir"):
                self.durable.nodes.setdefault(operation.node, _new(operation))
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
