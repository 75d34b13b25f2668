"""What an unpacked tree should have and cannot without root: owners, modes, devices, extended attributes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from ..model.tree import Kind, Tree
from .beside import Beside

ENDING = ".ownership.jsonl"
_START = b'{"path": ".", "type": "directory", '  # of every record


def ownership_record(tree: Tree) -> Iterator[dict[str, Any]]:
    """One JSON object for each name, parents first, "." for the root: path, type, uid, gid, mode; device numbers
    (rdev, as "major:minor") and xattrs (values base64) where there are any.

    A name that is not UTF-8 has `path_base64` instead of `path`.
    """
    for path, inode in tree.walk():
        line: dict[str, Any] = {}
        try:
            line["path"] = path.decode() or "."
        except UnicodeDecodeError:
            line["path_base64"] = _base64(path)
        line |= {"type": inode.kind.name.lower(), "uid": inode.uid, "gid": inode.gid, "mode": f"{inode.mode:04o}"}
        if inode.kind in (Kind.CHARACTER, Kind.BLOCK):
            line["rdev"] = f"{inode.major}:{inode.minor}"
        if inode.xattrs:
            line["xattrs"] = {name.decode(errors="surrogateescape"): _base64(value) for name, value in inode.xattrs}
        yield line


def beside(tree: Tree) -> Beside:
    """The record as a file beside the tree, an object a line."""
    return Beside(ENDING, _START, lambda: (json.dumps(line) + "\n" for line in ownership_record(tree)))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
