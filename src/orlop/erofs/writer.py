"""Writes a metadata-only EROFS image of a merged tree, whose file data stays in the plain layer tars."""

from __future__ import annotations

from collections.abc import Sequence
from struct import error as StructError  # noqa: N812
from typing import BinaryIO, NamedTuple

from ..errors import Invalid, Unsupported
from ..model.tree import Inode, Kind, Tree
from . import format as erofs
from .layout import Layout, Listing, place
from .xattrs import XattrTable

_WINDOW = 1 << 20
_INODE_BYTES = 1 << 19  # room for the last inode of a window: its attributes take the most
_FILE, _DIRECTORY, _SYMLINK = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK


class Written(NamedTuple):
    """What `write_image` made: bytes of the image, and one line for each thing that EROFS cannot hold."""

    bytes: int
    notes: tuple[str, ...]


def write_image(
    tree: Tree, device_bytes: Sequence[int], out: BinaryIO, *, identity: bytes, window: int = _WINDOW
) -> Written:
    """Write the image of `tree`. Device slot i + 1 is the plain tar of layer i, `device_bytes[i]` long.

    The same input gives the same bytes, whatever the `window`: bytes of metadata held at once. `identity` is the
    volume's UUID, 16 bytes. Extended attributes outside user., trusted., security. and the POSIX ACLs are left out
    with a note. `Invalid` if a file's data is not in its tar or a name cannot stand in a directory; `Unsupported`
    beyond 65,535 layers or 1 TiB of image.
    """
    _check_devices(device_bytes, identity)
    xattrs = XattrTable()
    layout = place(tree.root, xattrs)
    table_end = erofs.EROFS_SUPER_OFFSET + erofs.SUPER_BLOCK.size + len(device_bytes) * erofs.DEVICE_SLOT.size
    meta_block = -(-table_end // erofs.BLOCK)
    data_block = meta_block + -(-layout.meta_bytes // erofs.BLOCK)
    blocks = data_block + layout.data_blocks
    if blocks > 0xFFFFFFFF:
        raise Unsupported(f"image: {blocks} blocks of metadata, expected under 2^32")
    head = bytearray(meta_block * erofs.BLOCK)
    _put_head(head, layout, device_bytes, identity, meta_block, blocks)
    out.write(head)
    try:
        _put_inodes(out, layout, xattrs, device_bytes, data_block, window)
    except StructError as error:
        raise Invalid(f"tree: an owner, time or device number is out of range: {error}") from error
    for number in layout.blocks:
        data = _data(layout, number)
        out.write(data + bytes(-len(data) % erofs.BLOCK))
    return Written(blocks * erofs.BLOCK, tuple(xattrs.notes()))


def _check_devices(device_bytes: Sequence[int], identity: bytes) -> None:
    if len(device_bytes) > erofs.MAX_DEVICES:
        raise Unsupported(f"image: {len(device_bytes)} layers, EROFS holds at most {erofs.MAX_DEVICES}")
    if len(identity) != 16:
        raise Invalid(f"identity: expected 16 bytes, got {len(identity)}")
    for index, size in enumerate(device_bytes):
        if size % erofs.BLOCK or size >> erofs.BLOCK_BITS > 0xFFFFFFFF:
            raise Invalid(f"layer {index}: plain tar has {size} bytes, expected whole 512-byte blocks, under 2 TiB")


def _put_head(
    image: bytearray, layout: Layout, device_bytes: Sequence[int], identity: bytes, meta_block: int, blocks: int
) -> None:
    """The superblock, and right behind it the device table."""
    table = erofs.EROFS_SUPER_OFFSET + erofs.SUPER_BLOCK.size
    erofs.SUPER_BLOCK.pack_into(
        image,
        erofs.EROFS_SUPER_OFFSET,
        erofs.EROFS_SUPER_MAGIC_V1,
        0,
        erofs.EROFS_FEATURE_COMPAT_MTIME,
        erofs.BLOCK_BITS,
        0,
        layout.positions[0] >> erofs.ISLOT_BITS,
        len(layout.inodes),
        0,
        0,
        blocks,
        meta_block,
        0,
        identity,
        b"",
        erofs.EROFS_FEATURE_INCOMPAT_CHUNKED_FILE | erofs.EROFS_FEATURE_INCOMPAT_DEVICE_TABLE,
        0,
        len(device_bytes),
        table // erofs.DEVICE_SLOT.size,
    )
    for index, size in enumerate(device_bytes):
        erofs.DEVICE_SLOT.pack_into(image, table + index * erofs.DEVICE_SLOT.size, b"", size >> erofs.BLOCK_BITS, 0)


def _put_inodes(
    out: BinaryIO, layout: Layout, xattrs: XattrTable, device_bytes: Sequence[int], data_block: int, window: int
) -> None:
    """All inodes, with the listings and targets that stand beside them: the metadata area, a window at a time."""
    image, start = bytearray(window + _INODE_BYTES), 0
    pack, pack_file = erofs.INODE_EXTENDED.pack_into, erofs.INODE_ONE_CHUNK.pack_into
    types, chunk_based, chunk_format = erofs.MODE_TYPES, erofs.EROFS_INODE_CHUNK_BASED, erofs.EROFS_CHUNK_FORMAT
    device_blocks = [size >> erofs.BLOCK_BITS for size in device_bytes]
    for number, (inode, position) in enumerate(zip(layout.inodes, layout.positions, strict=True)):
        position -= start
        if position >= window:
            out.write(image[:position])
            start += position
            image, position = bytearray(len(image)), 0
        kind = inode.kind
        mode = types[kind] | inode.mode
        seconds, nanoseconds = divmod(inode.mtime_ns, 1_000_000_000)
        owner = (number, inode.uid, inode.gid, seconds, nanoseconds, inode.links)
        count = size = 0
        behind = position + erofs.INODE_EXTENDED.size
        if inode.xattrs:
            count, area = xattrs.get(inode.xattrs)
            image[behind : behind + len(area)] = area
            behind += len(area)
        if kind is _FILE and inode.size:
            size = inode.size
            index = _chunk_index(inode, device_blocks)
            if count or size > erofs.CHUNK:
                pack(image, position, chunk_based, count, mode, size, chunk_format, *owner)
                _put_chunks(image, behind + 7 & -8, size, index)
            else:
                pack_file(image, position, chunk_based, 0, mode, size, chunk_format, *owner, *index)
            continue
        form = erofs.EROFS_INODE_FLAT_PLAIN
        device = erofs.encode_device(inode.major, inode.minor)
        if kind is _DIRECTORY or kind is _SYMLINK:
            if number in layout.blocks:
                device = data_block + layout.blocks[number]
                size = len(inode.link) if kind is _SYMLINK else layout.listings[number].size
            else:
                form = erofs.EROFS_INODE_FLAT_INLINE
                data = _data(layout, number)
                size = len(data)
                image[behind : behind + size] = data
        pack(image, position, form, count, mode, size, device, *owner)
    end = -(-layout.meta_bytes // erofs.BLOCK) * erofs.BLOCK - start
    out.write(image[:end] + bytes(max(0, end - len(image))))


def _data(layout: Layout, number: int) -> bytes:
    """The listing of a directory or the target of a symlink."""
    inode = layout.inodes[number]
    return inode.link if inode.kind is _SYMLINK else _listing(layout.listings[number])


def _chunk_index(inode: Inode, device_blocks: Sequence[int]) -> tuple[int, int, int]:
    """The index of a file's first chunk: (startblk_hi, device_id, startblk_lo)."""
    layer, size, offset = inode.layer, inode.size, inode.offset
    room = device_blocks[layer] << erofs.BLOCK_BITS if 0 <= layer < len(device_blocks) else 0
    if offset < 0 or offset & erofs.BLOCK - 1 or offset + size > room:
        raise Invalid(f"file of {size} bytes at {offset} of layer {layer}: outside of its tar or not at a block")
    return 0, layer + 1, offset >> erofs.BLOCK_BITS


def _put_chunks(image: bytearray, position: int, size: int, index: tuple[int, int, int]) -> None:
    """All chunk indexes of a file, from `position` on."""
    zero, device, block = index
    for _ in range(-(-size >> erofs.CHUNK_BITS)):
        erofs.CHUNK_INDEX.pack_into(image, position, zero, device, block)
        position += erofs.CHUNK_INDEX.size
        block += 1 << erofs.CHUNK_BITS - erofs.BLOCK_BITS


def _listing(listing: Listing) -> bytes:
    """The blocks of a directory: dirents, then their names; every block but the last is padded."""
    names, starts, _, nids, types = listing
    blocks = []
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        fields: list[int] = []
        name_at = erofs.DIRENT * (end - start)
        for index in range(start, end):
            fields += (nids[index], name_at, types[index])
            name_at += len(names[index])
        block = erofs.dirents(end - start).pack(*fields) + b"".join(names[start:end])
        blocks.append(block if end == len(names) else block.ljust(erofs.BLOCK, b"\0"))
    return b"".join(blocks)
