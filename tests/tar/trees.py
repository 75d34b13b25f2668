"""Layers from members, trees from layers: what the tests of merging speak in."""

from __future__ import annotations

import io

from orlop.model.tree import Entry, Inode, Kind, Tree
from orlop.tar.merge import merge
from orlop.tar.reader import read_entries
from tests.support.tars import entry, tar


def layer(*members: bytes) -> list[Entry]:
    return list(read_entries(io.BytesIO(tar(*members))))


def names(tree: Tree) -> list[str]:
    return [path.decode("utf-8", "surrogateescape") for path, _ in tree.walk()][1:]


def merged(*layers: list[Entry]) -> list[str]:
    return names(merge(layers))


def at(tree: Tree, path: str) -> Inode:
    return dict(tree.walk())[path.encode()]


def directory(name: str, *, mode: int = 0o700, mtime: int = 5) -> bytes:
    return entry(name, Kind.DIRECTORY, mode=mode, mtime=mtime)


def symlink(name: str, target: str) -> bytes:
    return entry(name, Kind.SYMLINK, link=target)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, Kind.HARDLINK, link=target)


BASE = layer(directory("d"), entry("d/x", data=b"x"), entry("d/y"), directory("d/s"), entry("d/s/z"), entry("e"))
