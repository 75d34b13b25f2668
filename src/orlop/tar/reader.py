"""A strict streaming reader of plain layer tars: v7, ustar, PAX, GNU and star, in one pass, data untouched.

It gives the same members as Go's `archive/tar`, or refuses: never a third reading.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Invalid, Unsafe, Unsupported
from ..model.limits import (
    NAME_BYTES,
    PATH_BYTES,
    TAR_ENTRIES,
    TAR_EXTENSION_BYTES,
    TAR_EXTENSION_FREE_BYTES,
    TAR_EXTENSIONS_TOTAL_BYTES,
)
from ..model.tree import Entry, Kind
from ..ports import Readable
from . import pax, sparse
from .header import BLOCK, ZERO, Header, Headers
from .names import shown

_CHUNK = 1 << 20
_SPARSE = ord("S")
_KINDS = {
    0: Kind.FILE,
    ord("0"): Kind.FILE,
    ord("1"): Kind.HARDLINK,
    ord("2"): Kind.SYMLINK,
    ord("3"): Kind.CHARACTER,
    ord("4"): Kind.BLOCK,
    ord("5"): Kind.DIRECTORY,
    ord("6"): Kind.FIFO,
    _SPARSE: Kind.FILE,
    ord("7"): Kind.FILE,  # "contiguous", which POSIX lets everyone treat as a file
}
_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"xgLK"
_EXTENSIONS = frozenset(b"xgLK")
# what sparse members of PAX may be
_PLAIN = b"\x000"
_LINKS = (Kind.SYMLINK, Kind.HARDLINK)
_DEVICES = (Kind.CHARACTER, Kind.BLOCK)
_NOTHING = pax.Overrides()
# (uid_t)-1 means "leave as it is" to chown(2), so it is nobody's
_OWNERS = (1 << 32) - 1
# what Linux can make: 12 bits of major, 20 of minor (include/linux/kdev_t.h)
_MAJORS = 1 << 12
_MINORS = 1 << 20
# what a size field says when it cannot hold the size, besides 0
_FULL_SIZE = 0o77777777777
# seconds whose nanoseconds surely fit in 64 bits
_FAR = 9_000_000_000


def read_entries(
    source: Readable, *, limit: int = TAR_ENTRIES, expansion: sparse.Expansion | None = None
) -> Iterator[Entry]:
    """The members (at most `limit`) of the tar in `source`, which is read to its very end, in chunks of 1 MiB.

    What follows the end-of-archive is read but never parsed; the two zero blocks may be missing, and so may the
    padding of the last member (many real layers lack them). The caller sees the last error only when it
    has taken all entries: a member is given before its data has passed.

    `Invalid`: malformed or cut off. `Unsafe`: ambiguous between readers, or over a limit of `model.limits`.
    `Unsupported`: types that are not files, and sparse members, unless `expansion` is there to take them in.
    """
    return _Reader(source, expansion).entries(limit)


class _Stream:
    """The archive as a buffer of whole chunks: `data[position]` is byte `base + position` of it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.data = b""
        self.position = 0
        self.base = 0

    def block(self) -> bool:
        """Have a whole block at `position`; False if the archive ends there."""
        if self.position + BLOCK <= len(self.data):
            return True
        # padding of the last member may be missing: the end is then before `position`
        while self.position >= len(self.data):
            if not self._next():
                return False
        rest = self.data[self.position :]
        self.base += self.position
        self.position = 0
        while len(rest) < BLOCK:
            more = self._source.read(_CHUNK)
            if not more:
                raise Invalid(f"tar: ends inside a header, at byte {self.base + len(rest)}")
            rest += more
        self.data = rest
        return True

    def skip(self, size: int) -> None:
        """Pass over `size` bytes of data, which must be there, and their padding."""
        self.position += size
        while self.position > len(self.data):
            missing = self.position - len(self.data)
            if not self._next():
                raise Invalid(f"tar: ends at byte {self.base}, {missing} bytes before the end of a member")
        self.position += -size % BLOCK

    def take(self, size: int) -> bytes:
        """As `skip`, and give the data."""
        start = self.position
        if start + size <= len(self.data):
            self.skip(size)
            return self.data[start : start + size]
        parts = []
        left = size
        while left:
            if self.position >= len(self.data) and not self._next():
                raise Invalid(f"tar: ends at byte {self.base}, {left} bytes before the end of an extended header")
            part = self.data[self.position : self.position + left]
            self.position += len(part)
            left -= len(part)
            parts.append(part)
        self.position += -size % BLOCK
        return b"".join(parts)

    def drain(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        self.base += len(self.data)
        self.position -= len(self.data)
        self.data = self._source.read(_CHUNK)
        return bool(self.data)


class _Reader:
    def __init__(self, source: Readable, expansion: sparse.Expansion | None) -> None:
        self._stream = _Stream(source)
        self._headers = Headers()
        self._expansion = expansion
        # of the member at hand, if it is one
        self._sparse: sparse.Sparse | None = None
        # what x, L and K headers said of the member to come
        self._pending: dict[int, bytes] = {}
        self._overrides: pax.Overrides | None = None
        self._extension_bytes = 0

    def entries(self, limit: int) -> Iterator[Entry]:
        stream = self._stream
        parse = self._headers.parse
        count = 0
        while stream.block():
            data, position = stream.data, stream.position
            if data[position] == 0 and data[position : position + BLOCK] == ZERO:
                self._end()
                break
            at = stream.base + position
            header = parse(data, position, at)
            stream.position = position + BLOCK
            if header[0] in _EXTENSIONS:
                self._extension(header, at)
                continue
            if header[0] == _SPARSE:
                self._old_sparse(data[position : position + BLOCK], at)
            entry = self._member(header, at)
            size = entry.size
            if self._sparse is not None:
                entry, size = self._expanded(entry, self._sparse, at)
            count += 1
            if count > limit:
                raise Unsafe(f"tar: over {limit} members")
            yield entry
            if size:
                stream.skip(size)
        if self._overrides or self._pending:
            raise Invalid("tar: ends after an extended header, expected its member")
        stream.drain()

    def _end(self) -> None:
        """One zero block was seen: two, or one and the end, end the archive."""
        stream = self._stream
        at = stream.base + stream.position
        stream.position += BLOCK
        if stream.block() and stream.data[stream.position : stream.position + BLOCK] != ZERO:
            raise Invalid(f"tar: zero block at byte {at} is followed by something else, expected the end")

    def _extension(self, header: Header, at: int) -> None:
        kind, size = header[0], header[6]
        if kind == _PAX and not self._pending and 0 <= size < BLOCK:
            data = self._stream.take(size)
            self._overrides = pax.times_only(data)
            if self._overrides is None:
                where = _where(kind, at)
                self._overrides = pax.overrides(pax.records(data, where), where)
            self._pending[kind] = b""
            return
        where = _where(kind, at)
        if not 0 <= size <= TAR_EXTENSION_BYTES:
            raise Unsafe(f"{where}: {size} bytes, expected at most {TAR_EXTENSION_BYTES}")
        # what large layers have at each of their members is no attack
        self._extension_bytes += max(0, size - TAR_EXTENSION_FREE_BYTES)
        if self._extension_bytes > TAR_EXTENSIONS_TOTAL_BYTES:
            raise Unsafe(f"{where}: over {TAR_EXTENSIONS_TOTAL_BYTES} bytes of large extended headers in one archive")
        if kind in self._pending or (kind == _GLOBAL and self._pending):
            raise Unsafe(f"{where}: another extended header stands before it; refused as ambiguous")
        data = self._stream.take(size)
        if kind == _GLOBAL:
            pax.check_global(pax.records(data, where), where)
        elif kind == _PAX:
            self._overrides = pax.overrides(pax.records(data, where), where)
            self._pending[kind] = b""
        else:
            text, _, rest = data.partition(b"\0")
            if not text or rest.strip(b"\0"):
                raise Unsafe(f"{where}: not one name ended by NUL; refused as ambiguous")
            self._pending[kind] = text

    def _member(self, header: Header, at: int) -> Entry:
        kind = _KINDS.get(header[0])
        if kind is None:
            raise _unsupported(header, at)
        _, name, link, mode, uid, gid, size, mtime, major, minor = header
        mtime_ns = mtime * 1_000_000_000 if -_FAR < mtime < _FAR else pax.clamp(mtime * 1_000_000_000)
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if self._pending:
            path, target, pax_size, pax_uid, pax_gid, pax_time, xattrs, holes = self._overrides or _NOTHING
            if holes is not None:
                if self._sparse is not None or header[0] not in _PLAIN:
                    raise Unsafe(f"tar header at byte {at}: sparse in two ways, or no file; refused as ambiguous")
                self._sparse = holes
            if len(self._pending) > 1 or _PAX not in self._pending or path is not None or target is not None:
                name = self._text(_LONG_NAME, path, name, at)
                link = self._text(_LONG_LINK, target, link, at)
            size = size if pax_size is None else _size(pax_size, size, at)
            uid = uid if pax_uid is None else pax_uid
            gid = gid if pax_gid is None else pax_gid
            mtime_ns = mtime_ns if pax_time is None else pax_time
            self._pending.clear()
            self._overrides = None
        if not 0 <= uid < _OWNERS or not 0 <= gid < _OWNERS or mode < 0:
            raise Unsafe(f"tar member {shown(name)}: uid {uid}, gid {gid}, mode {mode:o}: out of range")
        if not name or len(name) > NAME_BYTES:
            _check_name(name, at)
        if kind is Kind.FILE:
            link = b""
            if name[-1] == 0x2F:
                kind = _file_or_directory(header[0], name)
        if kind is not Kind.FILE or size < 0:
            size, link, major, minor = _special(kind, name, size, link, major, minor)
        else:
            major = minor = 0
        offset = self._stream.base + self._stream.position
        # what Entry() does, in half the time
        fields = (kind, name, link, mode & 0o7777, uid, gid, mtime_ns, size, offset, major, minor, xattrs)
        return tuple.__new__(Entry, fields)

    def _old_sparse(self, header: bytes, at: int) -> None:
        self._sparse = sparse.from_old_header(header, self._block, f"tar header at byte {at}")

    def _expanded(self, entry: Entry, holes: sparse.Sparse, at: int) -> tuple[Entry, int]:
        """The entry of a sparse member as if it had no holes, and the bytes of data that it has in the tar."""
        name, stored = holes.name or entry.name, entry.size
        about = f"tar member {shown(name)}"
        if self._expansion is None:
            raise Unsupported(f"{about}: sparse members are not supported here", hint="write it without holes")
        _check_name(name, at)
        if entry.kind is not Kind.FILE or name[-1] == 0x2F:
            raise Unsafe(f"{about}: a sparse member that is no file; refused as ambiguous")
        segments = holes.segments
        if segments is None:
            end = self._stream.base + self._stream.position + stored

            def block() -> bytes:
                if self._stream.base + self._stream.position + BLOCK > end:
                    raise Invalid(f"{about}: sparse map does not end before its data does")
                return self._block()

            segments, taken = sparse.read_map(block, about)
            stored -= taken
        sparse.check(segments, holes.size, stored, about)
        data = self._stream.base + self._stream.position
        self._sparse = None
        place = self._expansion.add(holes.size, segments, data, about)
        return entry._replace(name=name, size=holes.size, offset=place), stored

    def _block(self) -> bytes:
        """The next block of a sparse map."""
        stream = self._stream
        if not stream.block():
            raise Invalid(f"tar: ends at byte {stream.base + stream.position}, inside a sparse map")
        stream.position += BLOCK
        return stream.data[stream.position - BLOCK : stream.position]

    def _text(self, kind: int, from_pax: bytes | None, from_header: bytes, at: int) -> bytes:
        """A name that PAX, GNU and the header itself may give, each more than 100 bytes long only in the former."""
        from_gnu = self._pending.get(kind)
        if from_pax is not None and from_gnu is not None and from_pax != from_gnu:
            raise Unsafe(f"tar header at byte {at}: PAX and GNU ({chr(kind)}) names differ; refused as ambiguous")
        if from_gnu is not None:
            return from_gnu
        return from_header if from_pax is None else from_pax


def _where(kind: int, at: int) -> str:
    return f"tar extended header {chr(kind)!r} at byte {at}"


def _size(from_pax: int, from_header: int, at: int) -> int:
    if from_header in (0, from_pax):
        return from_pax
    if from_header == _FULL_SIZE and from_pax > _FULL_SIZE:
        return from_pax
    # readers that believe the one see members that readers of the other do not (CVE-2025-62518)
    raise Unsafe(f"tar header at byte {at}: size is {from_header}, but {from_pax} by PAX; refused as ambiguous")


def _file_or_directory(typeflag: int, name: bytes) -> Kind:
    """v7 tars mark directories by a slash alone; in later ones readers disagree about a file with a slash."""
    if typeflag == 0:
        return Kind.DIRECTORY
    raise Unsafe(f"tar member {shown(name)}: a file whose name ends in a slash; refused as ambiguous")


def _special(kind: Kind, name: bytes, size: int, link: bytes, major: int, minor: int) -> tuple[int, bytes, int, int]:
    """(size, link, major, minor) of a member that is no file, checked."""
    # hard links often carry the size of their file, without its data
    if size < 0:
        raise Invalid(f"tar member {shown(name)}: size is {size}")
    if size and kind is not Kind.HARDLINK:
        raise Unsafe(f"tar member {shown(name)}: {kind.name.lower()} with {size} bytes; refused as ambiguous")
    if kind in _LINKS:
        if not link:
            raise Invalid(f"tar member {shown(name)}: link without a target")
        if len(link) > PATH_BYTES:
            raise Unsafe(f"tar member {shown(name)}: link target over {PATH_BYTES} bytes")
    else:
        link = b""
    if kind in _DEVICES:
        if not 0 <= major < _MAJORS or not 0 <= minor < _MINORS:
            raise Unsafe(f"tar member {shown(name)}: device {major}:{minor} is out of range")
    else:
        major = minor = 0
    return 0, link, major, minor


def _check_name(name: bytes, at: int) -> None:
    if not name:
        raise Invalid(f"tar header at byte {at}: member without a name")
    if len(name) > PATH_BYTES:
        raise Unsafe(f"tar member {shown(name)}: {len(name)} bytes, expected at most {PATH_BYTES}")
    if max(map(len, name.split(b"/"))) > NAME_BYTES:
        raise Unsafe(f"tar member {shown(name)}: a part over {NAME_BYTES} bytes")


def _unsupported(header: Header, at: int) -> Unsupported:
    return Unsupported(
        f"tar header at byte {at}: {shown(header[1])}: members of type {chr(header[0])!r} are not supported"
    )
