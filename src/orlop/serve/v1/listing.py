"""What is in a layer: the list behind `/files`, and the changes against the parent behind `/diff`.

A row is [name, type, is deleted, size, time, mode, owner, group], as the first registry of version 1 had it; unlike
there a whiteout is one in any directory, and an opaque directory hides what lower layers have in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from ...errors import Error
from ...model.limits import READY_NAMES
from ...model.tree import Entry, Inode, Kind, Tree
from ...tar.merge import merge
from ...tar.names import clean
from ...tar.reader import read_entries
from ...v1.graph import Node
from .replies import Refusal
from .shelf import Shelf

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_BOOKKEEPING = b".wh..wh."
_TYPES = {
    Kind.FILE: "f",
    Kind.DIRECTORY: "d",
    Kind.SYMLINK: "s",
    Kind.HARDLINK: "l",
    Kind.CHARACTER: "c",
    Kind.BLOCK: "b",
    Kind.FIFO: "i",
}


class Row(NamedTuple):
    name: str
    type: str
    deleted: bool
    size: int
    time: int
    mode: int
    owner: int
    group: int


def files(shelf: Shelf, node: Node) -> bytes:
    """The rows of its layer, in the order of the tar. 413 for more than 100,000."""
    return json.dumps([row for entry in _entries(shelf, node) if (row := _row(entry)) is not None]).encode()


def diff(shelf: Shelf, node: Node) -> bytes:
    """Names `deleted`, `changed` and `created`, each with its row but for the name."""
    below = shelf.store.graph.chain(node.image.id)[:-1]
    lower = _merged([_entries(shelf, parent) for parent in below])
    found: dict[str, dict[str, Sequence[object]]] = {"deleted": {}, "changed": {}, "created": {}}
    for entry in _entries(shelf, node):
        row = _row(entry)
        if row is None:
            for hidden in _hidden(lower, entry):
                found["deleted"][hidden.name] = hidden[1:]
            continue
        old = _find(lower, clean(entry.name))
        change = "deleted" if row.deleted else "created" if old is None else "changed"
        found[change][row.name] = row[1:]
    for name in chain(found["changed"], found["created"]):  # removed and made again in one layer
        found["deleted"].pop(name, None)
    return json.dumps(found).encode()


def _entries(shelf: Shelf, node: Node) -> list[Entry]:
    if node.layer is None:
        return []
    entries = []
    with shelf.store.graph.plain_layer(node, shelf.job) as plain:
        for entry in read_entries(plain):
            shelf.job.check()
            entries.append(entry)
            if len(entries) > READY_NAMES:
                raise Refusal(413, f"Layer has more than {READY_NAMES} files, too many to list")
    return entries


def _merged(layers: Sequence[Sequence[Entry]]) -> Tree:
    if sum(map(len, layers)) > READY_NAMES:
        raise Refusal(413, f"Parent has more than {READY_NAMES} files, too many to compare")
    try:
        return merge(layers)
    except Error as error:
        raise Refusal(400, f"Layer cannot be read: {error.message}") from error


def _row(entry: Entry) -> Row | None:
    """None for what is no file: an opaque mark, the bookkeeping of aufs."""
    parts = clean(entry.name)
    deleted = bool(parts) and parts[-1].startswith(_WHITEOUT)
    if any(part.startswith(_BOOKKEEPING) for part in parts):
        return None
    if deleted:
        parts = [*parts[:-1], parts[-1][len(_WHITEOUT) :]]
    name = _name(b"/".join(parts))
    seconds = entry.mtime_ns // 1_000_000_000
    return Row(name, _TYPES[entry.kind], deleted, entry.size, seconds, entry.mode, entry.uid, entry.gid)


def _name(path: bytes) -> str:
    return "/" + path.decode("utf-8", errors="backslashreplace")


def _find(tree: Tree, parts: Sequence[bytes]) -> Inode | None:
    inode: Inode | None = tree.root
    for part in parts:
        inode = inode.children.get(part) if inode is not None and inode.children else None
    return inode


def _hidden(lower: Tree, mark: Entry) -> Iterator[Row]:
    """What lower layers have in an opaque directory."""
    parts = clean(mark.name)
    directory = _find(lower, parts[:-1]) if parts[-1] == _OPAQUE else None
    todo = [(b"/".join(parts[:-1]), directory)] if directory is not None else []
    while todo:
        path, inode = todo.pop()
        for name, child in (inode.children or {}).items():
            below = path + b"/" + name if path else name
            todo.append((below, child))
            seconds = child.mtime_ns // 1_000_000_000
            yield Row(_name(below), _TYPES[child.kind], True, child.size, seconds, child.mode, child.uid, child.gid)
