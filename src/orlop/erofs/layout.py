"""Where everything of an EROFS image stands: one pass over the tree before a byte is written."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from ..errors import Invalid
from ..model.tree import Inode, Kind
from . import format as erofs
from .xattrs import XattrTable

_INODE = erofs.INODE_EXTENDED.size
_INSIDE = erofs.BLOCK - 1
_FILE, _DIRECTORY, _SYMLINK = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK


class Listing(NamedTuple):
    """A directory's names in order, with "." and "..". `starts`: index of the first name of each block."""

    names: list[bytes]
    starts: list[int]
    size: int  # bytes of all blocks, the last one cut short
    nids: array[int]  # of each name, known once the directory was walked
    types: bytearray  # file_type of each name


class Layout:
    """Inodes in order, each with its position in bytes from the start of the metadata area."""

    def __init__(self) -> None:
        self.inodes: list[Inode] = []
        # arrays: as objects, the numbers of a crowd of names would take as much as the names
        self.positions = array("Q")
        self.listings: dict[int, Listing] = {}  # by inode number
        self.blocks: dict[int, int] = {}  # inode number: first data block of what is not inline
        # the first slots stay empty: a nid is the inode number, and readdir takes number 0 for a deleted entry
        self.meta_bytes = _INODE
        self.data_blocks = 0

    def add(self, inode: Inode, head: int, tail: int) -> int:
        """Find room for `head` bytes and, where it fits one block with them, an inline `tail`. Returns the nid."""
        position = self.meta_bytes
        inside = position & _INSIDE
        if tail and head + tail <= erofs.BLOCK:
            head += tail
            together = head
        else:
            together = _INODE
            if tail:
                self.blocks[len(self.inodes)] = self.data_blocks
                self.data_blocks += -(-tail // erofs.BLOCK)
        if inside + together > erofs.BLOCK:
            position += erofs.BLOCK - inside
        self.inodes.append(inode)
        self.positions.append(position)
        self.meta_bytes = (position + head + erofs.ISLOT - 1) & -erofs.ISLOT
        return position >> erofs.ISLOT_BITS


def place(root: Inode, xattrs: XattrTable) -> Layout:
    """Give every inode below `root` its place: the root first, then breadth first, a directory's children together.

    `Invalid` for a name that cannot stand in a directory or a symlink without a target.
    """
    layout = Layout()
    shared: dict[int, int] = {}  # id of an inode with several names: its nid
    queue: list[tuple[Inode, Listing, int, int]] = []  # with its nid, and its parent's

    def add(inode: Inode, parent: int) -> int:
        kind = inode.kind
        head = _INODE
        if inode.xattrs:
            head += len(xattrs.get(inode.xattrs)[1])
        if kind is _FILE:
            if inode.size:
                head = (head + 7 & -8) + -(-inode.size >> erofs.CHUNK_BITS) * erofs.CHUNK_INDEX.size
            return layout.add(inode, head, 0)
        if kind is _DIRECTORY:
            listing = _listing(inode)
            layout.listings[len(layout.inodes)] = listing
            nid = layout.add(inode, head, listing.size)
            queue.append((inode, listing, nid, parent))
            return nid
        if kind is _SYMLINK:
            if not 0 < len(inode.link) <= erofs.SYMLINK_BYTES:
                raise Invalid(f"symlink: target of {len(inode.link)} bytes, expected 1 to {erofs.SYMLINK_BYTES}")
            return layout.add(inode, head, len(inode.link))
        return layout.add(inode, head, 0)

    file_types = erofs.FILE_TYPES
    add(root, 0)
    for directory, listing, own, parent in queue:
        children = directory.children or {}
        find, put_nid, put_type = children.get, listing.nids.append, listing.types.append
        for name in listing.names:
            child = find(name)
            if child is None:
                nid = own if name == b"." else parent
                kind = _DIRECTORY
            else:
                kind = child.kind
                if child.links > 1 and kind is not _DIRECTORY:
                    known = shared.get(id(child))
                    nid = shared[id(child)] = add(child, own) if known is None else known
                else:
                    nid = add(child, own)
            put_nid(nid)
            put_type(file_types[kind])
    return layout


def _listing(directory: Inode) -> Listing:
    children = directory.children or {}
    together = b"".join(children)
    if b"/" in together or b"\0" in together or b"" in children or b"." in children or b".." in children:
        raise Invalid("directory: a name is empty, '.' or '..', or has a slash or a NUL in it")
    names = sorted([b".", b"..", *children])
    if (longest := max(map(len, names))) > erofs.EROFS_NAME_LEN:
        raise Invalid(f"directory: name of {longest} bytes, expected at most {erofs.EROFS_NAME_LEN}")
    total = erofs.DIRENT * len(names) + 3 + len(together)
    if total <= erofs.BLOCK:
        return Listing(names, [0], total, array("Q"), bytearray())
    starts, used = [0], 0
    for index, name in enumerate(names):
        need = erofs.DIRENT + len(name)
        if used + need > erofs.BLOCK:
            starts.append(index)
            used = 0
        used += need
    return Listing(names, starts, (len(starts) - 1) * erofs.BLOCK + used, array("Q"), bytearray())
