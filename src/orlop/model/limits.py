"""Bounds on everything that comes from outside, each with its source. Sizes in bytes."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20

# OCI distribution-spec 1.1: registries SHOULD take manifests of 4 MiB; ours is the limit both ways.
MANIFEST_BYTES = 4 * MIB
# image configs carry the whole build history; the largest seen in the field is under 1 MiB.
CONFIG_BYTES = 8 * MIB
# documents nest 5 deep at most; 64 leaves room and is far from Python's recursion limit.
JSON_DEPTH = 64
# a JSON number in a manifest is a size: 63 bits have 19 digits.
JSON_NUMBER_DIGITS = 19
# values in one JSON text (PA10), as they are small here and up to 88 bytes each in memory: an image index of 4,096
# platforms has 16 bytes to one, a list of 10,000 names 12. At most 18 MiB for 4 MiB, beyond a free part of 3 MiB.
JSON_FREE_VALUES = 1 << 15
JSON_BYTES_A_VALUE = 8
# descriptors in one document (PA13); the largest published index has under 200.
DESCRIPTORS = 4096
# an index inside an index inside an index ... (PA13).
INDEX_DEPTH = 8
# documents that one walk may read (RX10).
DOCUMENTS = 4096
# bytes of them, configs included: they are held until the copy ends, and parsed take some ten times as much memory.
DOCUMENTS_BYTES = 32 * MIB
# layers of one image (RX09); Docker stops at 127.
LAYERS = 1024
# image-spec 1.1, "data" field: for small content only (PA14).
INLINE_DATA_BYTES = 4 * KIB
# error bodies are shown, never trusted (go-containerregistry caps them at 64 KiB too).
ERROR_BODY_BYTES = 64 * KIB
TOKEN_BYTES = 1 * MIB
HEADER_BYTES = 32 * KIB
TAG_PAGES = 10_000
TAG_PAGE_BYTES = 8 * MIB
REDIRECTS = 10
# decompression bombs (RX01): the plain size may be this many times the compressed one, beyond a free first part.
INFLATE_RATIO = 1100
INFLATE_FREE_BYTES = 64 * MIB
LAYER_PLAIN_BYTES = 1 << 40
# members of one gzip or zstd stream (PA09); eStargz and zstd:chunked have one for each file. An empty one is 9 bytes
# and 15 us.
INFLATE_MEMBERS = 1 << 20
# zstd window (PA09): 32 MiB. RFC 8878 (3.1.1.1.2) recommends 8 MiB for interchange, the encoder of BuildKit, podman and
# containerd never used more than 32; `zstd --ultra -22` has 128, and four of those at once would be half a gigabyte.
ZSTD_WINDOW_LOG = 25
# xz: what `xz -9` needs; only layers of version 1 images are compressed so (RX01).
XZ_MEMORY_BYTES = 72 * MIB
# windows of all layers that are inflated at the same time: what would be more waits.
ZSTD_WINDOWS_BYTES = 64 * MIB
# tar (PA05, RX09): each extended header, and what those over a size that is common add up to; a million members
# with long paths, times and a label have 300 MB of small ones.
TAR_EXTENSION_BYTES = 1 * MIB
TAR_EXTENSION_FREE_BYTES = 1 * KIB
TAR_EXTENSIONS_TOTAL_BYTES = 64 * MIB
TAR_ENTRIES = 10_000_000
# sparse members of one layer together (PA05): their segments, some 40 bytes of memory each, and their real sizes, for
# `export` writes the holes out.
SPARSE_SEGMENTS = 1 << 18
SPARSE_BYTES = 1 << 38
# and the disk that they take (RX01): whole pages of 4,096 bytes for however little, at most this many times the tar up
# to there, beyond a free first part. GNU tar's smallest segment is a block of 512 bytes.
SPARSE_PAGES_RATIO = 8
SPARSE_PAGES_FREE_BYTES = 64 * MIB
# what a pull prepares for a mount: names of an image, and bytes of its tar indexes. A name takes 400 bytes of memory.
READY_NAMES = 100_000
READY_INDEX_BYTES = 16 * MIB
NAME_BYTES = 255
PATH_BYTES = 4095
PATH_DEPTH = 2048
SYMLINKS_FOLLOWED = 255
# parts looked at for one name (RX09): 255 links of 2,048 parts each would take a tenth of a second for every member;
# and parts that links add to all names of an image, about a second: where /lib is a link, each name below has two.
SYMLINK_STEPS = 8192
SYMLINK_STEPS_TOTAL = 10_000_000
XATTR_VALUE_BYTES = 65_535
# the `index.json` of somebody else's layout, the `manifest.json` of an archive (PA20): some 25,000 images.
LAYOUT_INDEX_BYTES = 8 * MIB
# the store's own, with 300 bytes a name
NAMES_BYTES = 32 * MIB
# members of an image archive (PA19): a handful for each layer; the largest archives have thousands.
ARCHIVE_MEMBERS = 1 << 16
# signatures of one schema 1 manifest (RX04); Docker writes one.
SIGNATURES = 16
# the JSON of a version 1 image (PA18); Docker's own are 1 to 3 KiB. All of an image's ancestors' are in its config.
V1_JSON_BYTES = 1 * MIB
# ancestors of a version 1 image (PA18); Docker refused to run more.
V1_PARENTS = 127
# image JSON of all images of one archive: it is held while the archive is read, and parsed takes five times as much.
ARCHIVE_IMAGES_BYTES = 8 * MIB
# what an index of version 1 answers: a list of images (100 bytes each), the tags of a repository
V1_LIST_BYTES = 8 * MIB
# tokens and endpoints of one answer; an index gave one of the first and two of the second
V1_TOKENS = 16
V1_ENDPOINTS = 16
