"""Inline extended attributes of EROFS inodes, each distinct set encoded once."""

from __future__ import annotations

from ..errors import Unsupported
from . import format as erofs

Xattrs = tuple[tuple[bytes, bytes], ...]


class XattrTable:
    """`get` gives what stands behind an inode: (i_xattr_icount, bytes). What EROFS cannot hold is noted."""

    def __init__(self) -> None:
        self._encoded: dict[Xattrs, tuple[int, bytes]] = {(): (0, b"")}
        self._dropped: dict[bytes, None] = {}

    def get(self, xattrs: Xattrs) -> tuple[int, bytes]:
        found = self._encoded.get(xattrs)
        if found is None:
            found = self._encoded[xattrs] = self._encode(xattrs)
        return found

    def notes(self) -> list[str]:
        """One line for each name that was left out."""
        return [f"xattr {name.decode(errors='backslashreplace')}: EROFS cannot hold it" for name in self._dropped]

    def _encode(self, xattrs: Xattrs) -> tuple[int, bytes]:
        area = bytearray(erofs.EROFS_XATTR_IBODY_HEADER)
        for name, value in xattrs:
            split = _split(name)
            if split is None or len(value) > 0xFFFF:
                self._dropped[name] = None
                continue
            index, suffix = split
            area += erofs.XATTR_ENTRY.pack(len(suffix), index, len(value)) + suffix + value
            area += bytes(-len(area) % 4)
        if len(area) == erofs.EROFS_XATTR_IBODY_HEADER:
            return 0, b""
        if len(area) > erofs.XATTR_AREA_BYTES:
            raise Unsupported(f"xattrs: {len(area)} bytes on one file, EROFS holds at most {erofs.XATTR_AREA_BYTES}")
        return 1 + (len(area) - erofs.EROFS_XATTR_IBODY_HEADER) // 4, bytes(area)


def _split(name: bytes) -> tuple[int, bytes] | None:
    for index, prefix in erofs.XATTR_PREFIXES:
        if prefix.endswith(b"."):
            suffix = name.removeprefix(prefix)
            if suffix != name and 0 < len(suffix) <= erofs.XATTR_NAME_BYTES and b"\0" not in suffix:
                return index, suffix
        elif name == prefix:
            return index, b""
    return None
