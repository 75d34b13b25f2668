"""A disk that writes down all it does: `RecordingDisk` works on a real directory and logs every operation with its
bytes. What a crash may leave of them is in `crashstates`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orlop.disk.disk import Disk
from orlop.errors import Error

Kind = Literal[
    "create", "mkdir", "link", "rename", "unlink", "rmdir", "write", "chmod", "sync", "sync directory", "sync all"
]
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

    def fresh(self) -> Node:
        """What it makes."""
        return Node(self.mode, children={} if self.kind == "mkdir" else None)


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
                self._now.nodes[operation.node] = operation.fresh()
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
