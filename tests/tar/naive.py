"""Layer semantics once more, slowly: a flat dictionary from path to node, written from the specification alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orlop.model.tree import Entry, Kind
from tests.support.trees import LETTERS, Snapshot
from tests.support.trees import Node as Seen

Path = tuple[bytes, ...]


class Refused(Exception):
    """The model finds no meaning in the layers."""


@dataclass(eq=False)
class Node:
    """What is known of a node; `content` tells files apart."""

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    content: tuple[int, int, int] = (0, 0, 0)  # layer, offset, size
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class Model:
    """Paths of the merged image, base first."""

    nodes: dict[Path, Node] = field(default_factory=lambda: {(): Node(Kind.DIRECTORY)})
    number: int = -1
    upper: set[Path] = field(default_factory=set)
    named: set[Path] = field(default_factory=set)

    def resolve(self, path: Path) -> Path:
        """Follow every link in `path`, as if changed root; what does not exist stays as it is."""
        done: Path = ()
        rest = list(path)
        budget = 255
        while rest:
            part = rest.pop(0)
            if part == b"..":
                done = done[:-1]
            elif part not in (b"", b"."):
                node = self.nodes.get((*done, part))
                if node is None or node.kind is not Kind.SYMLINK:
                    done = (*done, part)
                    continue
                budget -= 1
                if budget < 0:
                    raise Refused("links")
                if node.link[:1] == b"/":
                    done = ()
                rest[:0] = node.link.split(b"/")
        return done

    def delete(self, path: Path, keep: Iterable[Path] = ()) -> None:
        kept = set(keep)
        for other in [other for other in self.nodes if other[: len(path)] == path and other not in kept]:
            del self.nodes[other]

    def apply(self, layer: Sequence[Entry]) -> None:
        """Put the next layer on top."""
        self.begin()
        for entry in layer:
            self.add(entry)

    def begin(self) -> None:
        """Start the next layer. `upper` has all that it wrote, and what is above; `named` what it gave metadata to."""
        self.number += 1
        self.upper, self.named = {()}, set()

    def add(self, entry: Entry) -> None:
        """The next member of this layer. After `Refused` the model is as before."""
        before = dict(self.nodes), set(self.upper), set(self.named)
        try:
            self._add(entry)
        except Refused:
            self.nodes, self.upper, self.named = before
            raise

    def _add(self, entry: Entry) -> None:
        if entry.kind is Kind.CHARACTER and (entry.major, entry.minor) == (0, 0):
            return
        path: Path = ()
        for part in entry.name.split(b"/"):
            path = path[:-1] if part == b".." else path if part in (b"", b".") else (*path, part)
        if path and path[-1].startswith(b".wh."):
            self.whiteout(path)
        elif path:
            self.put(entry, path)
        elif entry.kind is Kind.DIRECTORY:
            self.nodes[()] = self.node(entry)
        else:
            raise Refused("root")

    def whiteout(self, path: Path) -> None:
        place = self.resolve(path[:-1])
        if path[-1] == b".wh..wh..opq":
            top = place
        else:
            name = path[-1].removeprefix(b".wh.")
            if name in (b"", b".", b".."):
                raise Refused("whiteout")
            top = (*place, name)
        everything = [other for other in self.nodes if other[: len(top)] == top]
        if path[-1] == b".wh..wh..opq":
            everything = [other for other in everything if other != top]
        for other in everything:
            if other not in self.upper:
                del self.nodes[other]
            elif other not in self.named:
                self.nodes[other] = Node(Kind.DIRECTORY)

    def put(self, entry: Entry, path: Path) -> None:
        place = self.resolve(path[:-1])
        for length in range(1, len(place) + 1):
            above = place[:length]
            node = self.nodes.get(above)
            if node is None:
                self.nodes[above] = Node(Kind.DIRECTORY)
                self.named.add(above)
            elif node.kind is not Kind.DIRECTORY:
                raise Refused("file as directory")
            self.upper.add(above)
        path = (*place, path[-1])
        old = self.nodes.get(path)
        if old is None or old.kind is not Kind.DIRECTORY or entry.kind is not Kind.DIRECTORY:
            self.delete(path)
        self.upper.add(path)
        self.named.add(path)
        self.nodes[path] = self.target(entry) if entry.kind is Kind.HARDLINK else self.node(entry)

    def target(self, entry: Entry) -> Node:
        parts: Path = ()
        for part in entry.link.split(b"/"):
            parts = parts[:-1] if part == b".." else parts if part in (b"", b".") else (*parts, part)
        node = self.nodes.get((*self.resolve(parts[:-1]), *parts[-1:]))
        if node is None or node.kind is Kind.DIRECTORY:
            raise Refused("hard link")
        return node

    def node(self, entry: Entry) -> Node:
        content = (self.number, entry.offset, entry.size) if entry.kind is Kind.FILE else (0, 0, 0)
        plain = entry.kind in (Kind.FILE, Kind.DIRECTORY)
        xattrs = tuple(
            (k, v) for k, v in entry.xattrs if b".overlay." not in k and not (k.startswith(b"user.") and not plain)
        )
        owner, device = (entry.uid, entry.gid), (entry.major, entry.minor)
        mode = 0o777 if entry.kind is Kind.SYMLINK else entry.mode
        return Node(entry.kind, mode, *owner, entry.mtime_ns, entry.link, content, device, xattrs)

    def facts(self) -> dict[bytes, tuple[object, ...]]:
        """For each path all that can be seen of it, with the number of its names and the first of them."""
        result: dict[bytes, tuple[object, ...]] = {}
        by_node: dict[Node, list[Path]] = {}
        for path, node in self.nodes.items():
            by_node.setdefault(node, []).append(path)
        for path, node in self.nodes.items():
            links, first = len(by_node[node]), min(b"/".join(name) for name in by_node[node])
            if node.kind is Kind.DIRECTORY:
                below = [p for p, n in self.nodes.items() if p[:-1] == path and p and n.kind is Kind.DIRECTORY]
                links = 2 + len(below)
            seen = (node.kind, node.mode, node.uid, node.mtime_ns, node.link, node.content[:2], node.xattrs)
            result[b"/".join(path)] = (*seen, links, first)
        return result

    def snapshot(self, tars: Sequence[bytes]) -> Snapshot:
        """What a file system must show, with the files' data from the plain tars of the layers."""
        result: Snapshot = {}
        for path, fact in self.facts().items():
            node = self.nodes[tuple(path.split(b"/")) if path else ()]
            kind, (number, offset, size) = LETTERS[node.kind], node.content
            content = node.link
            if kind == "-":
                content = hashlib.sha256(tars[number][offset : offset + size]).digest()
            group = b"" if kind == "d" else fact[-1]
            assert isinstance(group, bytes)
            links = fact[-2]
            assert isinstance(links, int)
            owner, device = (node.uid, node.gid), os.makedev(*node.device)
            result[path] = Seen(kind, node.mode, *owner, node.mtime_ns, links, group, device, content, node.xattrs)
        return result
