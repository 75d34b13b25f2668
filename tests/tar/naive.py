"""Layer semantics once more, slowly: a flat dictionary from path to node, written from the specification alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orlop.model.tree import Entry, Kind

Path = tuple[bytes, ...]


class Refused(Exception):
    """The model finds no meaning in the layers."""


@dataclass(eq=False)
class Node:
    """What is known of a node; `content` tells files apart."""

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    content: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class Model:
    """Paths of the merged image, base first."""

    nodes: dict[Path, Node] = field(default_factory=lambda: {(): Node(Kind.DIRECTORY)})

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

    def apply(self, number: int, layer: Sequence[Entry]) -> None:
        """`upper` has all that the layer wrote, and what is above; `named` what it gave metadata to."""
        upper: set[Path] = {()}
        named: set[Path] = set()
        for entry in layer:
            path: Path = ()
            for part in entry.name.split(b"/"):
                path = path[:-1] if part == b".." else path if part in (b"", b".") else (*path, part)
            if path and path[-1].startswith(b".wh."):
                self.whiteout(path, upper, named)
            elif not path:
                if entry.kind is not Kind.DIRECTORY:
                    raise Refused("root")
                self.nodes[()] = self.node(number, entry)
            else:
                self.put(number, entry, path, upper, named)

    def whiteout(self, path: Path, upper: set[Path], named: set[Path]) -> None:
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
            if other not in upper:
                del self.nodes[other]
            elif other not in named:
                self.nodes[other] = Node(Kind.DIRECTORY)

    def put(self, number: int, entry: Entry, path: Path, upper: set[Path], named: set[Path]) -> None:
        place = self.resolve(path[:-1])
        for length in range(1, len(place) + 1):
            above = place[:length]
            node = self.nodes.get(above)
            if node is None:
                self.nodes[above] = Node(Kind.DIRECTORY)
                named.add(above)
            elif node.kind is not Kind.DIRECTORY:
                raise Refused("file as directory")
            upper.add(above)
        path = (*place, path[-1])
        old = self.nodes.get(path)
        if old is None or old.kind is not Kind.DIRECTORY or entry.kind is not Kind.DIRECTORY:
            self.delete(path)
        upper.add(path)
        named.add(path)
        self.nodes[path] = self.target(entry) if entry.kind is Kind.HARDLINK else self.node(number, entry)

    def target(self, entry: Entry) -> Node:
        parts: Path = ()
        for part in entry.link.split(b"/"):
            parts = parts[:-1] if part == b".." else parts if part in (b"", b".") else (*parts, part)
        node = self.nodes.get((*self.resolve(parts[:-1]), *parts[-1:]))
        if node is None or node.kind is Kind.DIRECTORY:
            raise Refused("hard link")
        return node

    @staticmethod
    def node(number: int, entry: Entry) -> Node:
        content = (number, entry.offset) if entry.kind is Kind.FILE else (0, 0)
        return Node(entry.kind, entry.mode, entry.uid, entry.mtime_ns, entry.link, content, entry.xattrs)

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
            seen = (node.kind, node.mode, node.uid, node.mtime_ns, node.link, node.content, node.xattrs)
            result[b"/".join(path)] = (*seen, links, first)
        return result
