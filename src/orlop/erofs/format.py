"""EROFS on disk, with the names of Linux's fs/erofs/erofs_fs.h; only what a metadata-only image needs."""

from __future__ import annotations

import stat
from functools import cache
from struct import Struct

EROFS_SUPER_OFFSET = 1024
EROFS_SUPER_MAGIC_V1 = 0xE0F5E1E2
EROFS_FEATURE_COMPAT_MTIME = 0x2
EROFS_FEATURE_INCOMPAT_CHUNKED_FILE = 0x4
EROFS_FEATURE_INCOMPAT_DEVICE_TABLE = 0x8

# tar data stands at multiples of 512 bytes, so that is the only block size that can point into a tar.
BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS
# a nid counts slots of 32 bytes from the start of the metadata area.
ISLOT_BITS = 5
ISLOT = 1 << ISLOT_BITS
# extra_devices and chunk device_id are 16 bits wide.
MAX_DEVICES = 0xFFFF

# i_format: bit 0 says "extended inode", the layout stands above it.
EROFS_INODE_LAYOUT_EXTENDED = 1
EROFS_INODE_FLAT_PLAIN = 0 << 1 | EROFS_INODE_LAYOUT_EXTENDED
EROFS_INODE_FLAT_INLINE = 2 << 1 | EROFS_INODE_LAYOUT_EXTENDED
EROFS_INODE_CHUNK_BASED = 4 << 1 | EROFS_INODE_LAYOUT_EXTENDED

# the largest chunk there is, 2^(31+9) bytes: nearly every file is one chunk.
EROFS_CHUNK_FORMAT = 31 | 0x20  # block bits beyond BLOCK_BITS, and "indexes, not a block map"
CHUNK_BITS = 31 + BLOCK_BITS
CHUNK = 1 << CHUNK_BITS

EROFS_NAME_LEN = 255
SYMLINK_BYTES = 4095  # PATH_MAX without the NUL

# (name index, prefix): the longest match comes first; the two ACLs are whole names.
XATTR_PREFIXES = (
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
)
EROFS_XATTR_IBODY_HEADER = 12
# i_xattr_icount is 16 bits: a header, then units of 4 bytes.
XATTR_AREA_BYTES = EROFS_XATTR_IBODY_HEADER + 4 * 0xFFFE
XATTR_NAME_BYTES = 255

# file_type of a dirent by Kind; a tree has no HARDLINK inodes.
FILE_TYPES = (1, 2, 7, 0, 3, 4, 5, 6)
MODE_TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, 0, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)

# magic, checksum, feature_compat, blkszbits, sb_extslots, root_nid, inos, epoch, fixed_nsec, blocks,
# meta_blkaddr, xattr_blkaddr, uuid, volume_name, feature_incompat, compression, extra_devices, devt_slotoff
SUPER_BLOCK = Struct("<IIIBBHQQIIII16s16sIHHH38x")
# tag, blocks, mapped_blkaddr
DEVICE_SLOT = Struct("<64sII56x")
# i_format, i_xattr_icount, i_mode, i_size, i_u, i_ino, i_uid, i_gid, i_mtime, i_mtime_nsec, i_nlink
INODE_EXTENDED = Struct("<HHH2xQIIIIqII16x")
# the same, with the one chunk index of nearly every file right behind
INODE_ONE_CHUNK = Struct("<HHH2xQIIIIqII16xHHI")
# startblk_hi, device_id, startblk_lo
CHUNK_INDEX = Struct("<HHI")
# e_name_len, e_name_index, e_value_size
XATTR_ENTRY = Struct("<BBH")
DIRENT = 12


@cache
def dirents(count: int) -> Struct:
    """`count` dirents in a row: nid, nameoff, file_type of each. A block holds at most 39."""
    return Struct("<" + "QHBx" * count)


def encode_device(major: int, minor: int) -> int:
    """The kernel's new_encode_dev(): 12 bits of major, 20 of minor, interleaved."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
