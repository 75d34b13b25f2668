"""TarSum, Docker's checksum of a layer that is the same however the tar was compressed or its members were ordered.

Docker 0.6 to 1.9; its `pkg/tarsum/tarsum_spec.md`. Every member has a hash, over fields of its header and its data; the
sum is one over the image's JSON and these, sorted. Version 1 (in the making "dev") leaves times out and takes extended
attributes in. It says less than a digest: members that hide each other, or padding, can differ.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ..errors import Invalid, Unsafe
from ..model.limits import TAR_ENTRIES, TAR_EXTENSION_BYTES
from ..ports import Readable
from . import pax
from .header import BLOCK, ZERO, Headers

LABEL = "tarsum+sha256"
_CHUNK = 1 << 20
_VERSIONS = {"tarsum": 0, "tarsum.v1": 1, "tarsum.dev": 1}
# those that Docker took, and nobody can forge
_ALGORITHMS = ("sha256", "sha384", "sha512")
_PAX, _LONG_NAME, _LONG_LINK = b"xLK"
# links, devices, directories and pipes: no data follows, whatever the size says
_WITHOUT_DATA = frozenset(b"123456")
_XATTR = b"SCHILY.xattr."
_MAGIC = (b"ustar\0", b"ustar ")
# names are only told apart
_NAME_BYTES = 16


class TarSum:
    """Takes a plain tar by `write`, in pieces of any size; what is kept is 48 bytes a member.

    `write` and the sums raise `Invalid` for what is no tar or is cut off, `Unsafe` and `Unsupported` as
    `reader.read_entries` for headers that readers would understand differently.
    """

    def __init__(self, label: str = LABEL) -> None:
        """`label`: version and algorithm, `tarsum.v1+sha256`; what follows a colon is ignored. `Invalid` if unknown."""
        self.label = label.partition(":")[0]
        version, _, self._algorithm = self.label.partition("+")
        if version not in _VERSIONS or self._algorithm not in _ALGORITHMS:
            raise Invalid(f"tarsum: expected {LABEL} or the like, got {label[:80]!r}")
        self._has_times = _VERSIONS[version] == 0
        self._headers = Headers()
        self._block = bytearray()  # of a header, or of an extension's data
        self._at = 0  # where in the archive the block starts
        self._extension: int | None = None
        self._pending: dict[int, bytes] = {}
        self._member: Any = None  # hash of the member that data is awaited for
        self._left = 0  # bytes of it, or of the extension
        self._padding = 0
        self._has_ended = False
        self._sums = bytearray()
        self._names = bytearray()

    def write(self, data: bytes | memoryview, /) -> int:
        view = memoryview(data)
        while view and not self._has_ended:
            if self._left:
                taken = self._take_data(view)
            elif self._padding:
                taken = min(self._padding, len(view))
                self._padding -= taken
            else:
                taken = self._take_header(view)
            self._at += taken
            view = view[taken:]
        return len(data)

    def text(self, raw_json: bytes = b"") -> str:
        """`tarsum+sha256:<hex>` of all that was written. `Invalid` if it ends inside a member."""
        return self._text(self._sorted(), raw_json)

    def matches(self, text: str, raw_json: bytes = b"") -> bool:
        """Whether this is what `text` says. Members of one name count in the order they stand in, as in Docker from
        1.3 on, or are sorted as all others, as before it and in the registry of that time."""
        return text in (self.text(raw_json), self._text(sorted(self._all()), raw_json))

    def _take_header(self, view: memoryview) -> int:
        taken = min(BLOCK - len(self._block), len(view))
        self._block += view[:taken]
        if len(self._block) == BLOCK:
            block = bytes(self._block)
            self._block.clear()
            if block == ZERO:
                self._has_ended = True
            else:
                self._start(block, self._at + taken - BLOCK)
        return taken

    def _start(self, block: bytes, at: int) -> None:
        header = self._headers.parse(block, 0, at)
        kind, size = header[0], header[6]
        if kind in (_PAX, _LONG_NAME, _LONG_LINK):
            if not 0 <= size <= TAR_EXTENSION_BYTES:
                raise Unsafe(f"tarsum: extended header at byte {at}: {size} bytes, at most {TAR_EXTENSION_BYTES}")
            self._extension = kind
        else:
            size = self._start_member(header, block, at)
        if size < 0:
            raise Invalid(f"tarsum: member at byte {at}: size is {size}")
        self._left = size
        self._padding = -size % BLOCK
        if not size:
            self._end_data()

    def _start_member(self, header: tuple[Any, ...], block: bytes, at: int) -> int:
        """Hash the header; gives the bytes of data that follow."""
        kind, name, link, mode, uid, gid, size, mtime, major, minor = header
        has_names = block[257:263] in _MAGIC
        user, group = (_string(block[265:297]), _string(block[297:329])) if has_names else (b"", b"")
        xattrs: list[tuple[bytes, bytes]] = []
        if self._pending:
            where = f"tarsum: extended header of the member at byte {at}"
            found = pax.records(self._pending.get(_PAX, b""), where)
            special = pax.overrides(found, where)
            name = _string(self._pending.get(_LONG_NAME, found.get(b"path", name)))
            link = _string(self._pending.get(_LONG_LINK, found.get(b"linkpath", link)))
            user, group = found.get(b"uname", user), found.get(b"gname", group)
            uid = uid if special.uid is None else special.uid
            gid = gid if special.gid is None else special.gid
            size = size if special.size is None else special.size
            mtime = int(found[b"mtime"].partition(b".")[0]) if b"mtime" in found else mtime
            xattrs = sorted((key[len(_XATTR) :], found[key]) for key in found if key.startswith(_XATTR))
            self._pending.clear()
        if len(self._names) >= TAR_ENTRIES * _NAME_BYTES:
            raise Unsafe(f"tarsum: over {TAR_ENTRIES} members")
        self._names += hashlib.blake2b(_path(name), digest_size=_NAME_BYTES).digest()
        time = b"mtime%d" % mtime if self._has_times else b""
        parts = [b"name", name, b"mode%duid%dgid%dsize%d" % (mode, uid, gid, size), time, b"typeflag", bytes([kind])]
        parts += [b"linkname", link, b"uname", user, b"gname", group, b"devmajor%ddevminor%d" % (major, minor)]
        if not self._has_times:
            parts += [text for pair in xattrs for text in pair]
        self._member = hashlib.new(self._algorithm, b"".join(parts))
        return 0 if kind in _WITHOUT_DATA else int(size)

    def _take_data(self, view: memoryview) -> int:
        part = view[: self._left]
        if self._extension is None:
            self._member.update(part)
        else:
            self._block += part
        self._left -= len(part)
        if not self._left:
            self._end_data()
        return len(part)

    def _end_data(self) -> None:
        if self._extension is None:
            self._sums += self._member.digest()
            self._member = None
        else:
            self._pending[self._extension] = bytes(self._block)
            self._block.clear()
            self._extension = None

    def _all(self) -> list[bytes]:
        """The members' hashes in the order of the archive."""
        if self._left or self._block or self._pending:
            raise Invalid(f"tarsum: the tar ends at byte {self._at}, inside a member")
        size = hashlib.new(self._algorithm).digest_size
        return [bytes(self._sums[at : at + size]) for at in range(0, len(self._sums), size)]

    def _sorted(self) -> list[bytes]:
        """By hash, but those of one name among themselves as they came."""
        sums = self._all()
        order = sorted(range(len(sums)), key=sums.__getitem__)
        names = [bytes(self._names[at : at + _NAME_BYTES]) for at in range(0, len(self._names), _NAME_BYTES)]
        if len(set(names)) == len(names):
            return [sums[index] for index in order]
        in_archive: dict[bytes, list[int]] = {}
        for index in reversed(range(len(names))):
            in_archive.setdefault(names[index], []).append(index)
        return [sums[in_archive[names[index]].pop()] for index in order]

    def _text(self, sums: list[bytes], raw_json: bytes) -> str:
        total = hashlib.new(self._algorithm, raw_json)
        for one in sums:
            total.update(one.hex().encode())
        return f"{self.label}:{total.hexdigest()}"


def tarsum(source: Readable, raw_json: bytes = b"", *, label: str = LABEL) -> str:
    """The sum of a plain tar that is read to its end, in chunks of 1 MiB. Errors as of `TarSum`."""
    total = TarSum(label)
    while data := source.read(_CHUNK):
        total.write(data)
    return total.text(raw_json)


def _string(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _path(name: bytes) -> bytes:
    """What members of one file are called alike."""
    return name.removeprefix(b"./").removesuffix(b"/")
