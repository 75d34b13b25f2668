"""A tree as one canonical tar: ustar (POSIX.1-1988), with PAX records only where ustar falls short."""

from __future__ import annotations

from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import BinaryIO
from urllib.parse import quote_from_bytes

from ..errors import Damaged, Unsupported
from ..job import Job
from ..model.tree import Inode, Kind, Tree
from ..streams import CHUNK, Writable
from .header import BLOCK
from .names import shown

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_SECOND = 1_000_000_000
_NAME = 100
_ID_LIMIT = 8**7
_SIZE_LIMIT = 8**11
# layers open at once: images have up to 1024, processes often no more files than that
_OPEN = 64
_HEADER_NAME = b"././@PaxHeader"


def write_tree(tree: Tree, open_layer: Callable[[int], BinaryIO], out: Writable, job: Job) -> int:
    """Write `tree` to `out` as a tar; returns its size in bytes.

    Names are sorted as `Tree.walk` gives them, the root is `./`, an inode with several names is a hard
    link from its second on. The same tree always gives the same bytes. `open_layer(i)` opens the seekable plain tar
    of layer i; file data is copied from there in chunks of 1 MiB. `Damaged` if a layer is shorter than the tree
    says, `Unsupported` for sockets, which tar has no type for.
    """
    with ExitStack() as stack:
        return _Writer(_Layers(open_layer, stack), out, job).write(tree)


class _Layers:
    """Open layer files, the least recently used of too many closed."""

    def __init__(self, open_layer: Callable[[int], BinaryIO], stack: ExitStack) -> None:
        self._open_layer = open_layer
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()
        stack.callback(self._close)

    def get(self, layer: int) -> BinaryIO:
        file = self._open.get(layer)
        if file is None:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            file = self._open[layer] = self._open_layer(layer)
        self._open.move_to_end(layer)
        return file

    def _close(self) -> None:
        with ExitStack() as stack:
            for file in self._open.values():
                stack.enter_context(closing(file))


class _Writer:
    def __init__(self, layers: _Layers, out: Writable, job: Job) -> None:
        self._layers = layers
        self._out = out
        self._job = job
        self._size = 0
        self._names: dict[Inode, bytes] = {}

    def write(self, tree: Tree) -> int:
        for path, inode in tree.walk():
            self._job.check()
            name = (path or b".") + b"/" if inode.kind is Kind.DIRECTORY else path
            first = self._names.get(inode)
            if first is not None:
                self._put(member_header(name, inode, Kind.HARDLINK, first))
                continue
            if inode.kind is not Kind.DIRECTORY and inode.links > 1:
                self._names[inode] = path
            if inode.kind not in _TYPES:
                raise Unsupported(f"tar: {shown(path)} is a {inode.kind.name.lower()}, which tar cannot hold")
            self._put(member_header(name, inode, inode.kind, inode.link))
            if inode.kind is Kind.FILE and inode.size:
                self._copy(path, inode)
        self._put(bytes(2 * BLOCK))
        return self._size

    def _copy(self, path: bytes, inode: Inode) -> None:
        layer = self._layers.get(inode.layer)
        layer.seek(inode.offset)
        left = inode.size
        while left:
            self._job.check()
            chunk = layer.read(min(left, CHUNK))
            if not chunk:
                raise Damaged(f"plain layer {inode.layer}: ends {left} bytes before the end of {shown(path)}")
            self._put(chunk)
            left -= len(chunk)
        self._put(bytes(-inode.size % BLOCK))

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self._size += len(data)


def member_header(name: bytes, inode: Inode, kind: Kind, link: bytes) -> bytes:
    """The header of a member, behind its extended header if it needs one."""
    size = inode.size if kind is Kind.FILE else 0
    seconds, nanoseconds = divmod(inode.mtime_ns, _SECOND)
    records: list[tuple[bytes, bytes]] = []
    if len(name) > _NAME:
        records.append((b"path", name))
    if len(link) > _NAME:
        records.append((b"linkpath", link))
    if not all(map(_is_utf8, (name, link))) and records:
        records.insert(0, (b"hdrcharset", b"BINARY"))
    for key, value, limit in (
        (b"size", size, _SIZE_LIMIT),
        (b"uid", inode.uid, _ID_LIMIT),
        (b"gid", inode.gid, _ID_LIMIT),
    ):
        if value >= limit:
            records.append((key, b"%d" % value))
    if nanoseconds or not 0 <= seconds < _SIZE_LIMIT:
        records.append((b"mtime", _time(inode.mtime_ns)))
    if kind is not Kind.HARDLINK:
        records += map(_xattr, inode.xattrs)
    block = _header(
        name,
        _TYPES[kind],
        link,
        (inode.mode, _fit(inode.uid, _ID_LIMIT), _fit(inode.gid, _ID_LIMIT)),
        _fit(size, _SIZE_LIMIT),
        _fit(seconds, _SIZE_LIMIT),
        (inode.major, inode.minor),
    )
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in records)
    before = _header(_HEADER_NAME, b"x", b"", (0o644, 0, 0), len(data), 0, (0, 0))
    return before + data + bytes(-len(data) % BLOCK) + block


def _header(
    name: bytes,
    typeflag: bytes,
    link: bytes,
    owner: tuple[int, int, int],
    size: int,
    seconds: int,
    device: tuple[int, int],
) -> bytes:
    block = b"".join(
        (
            # a cut name must not end in a slash: some readers take it for a directory's
            (name if len(name) <= _NAME else name[:_NAME].rstrip(b"/")).ljust(_NAME, b"\0"),
            b"%07o\0%07o\0%07o\0" % owner,
            b"%011o\0%011o\0" % (size, seconds),
            b" " * 8,
            typeflag,
            link[:_NAME].ljust(_NAME, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0%07o\0" % device,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _fit(value: int, limit: int) -> int:
    """What a field holds when the PAX record counts: 0 is taken as "not known" by all readers."""
    return value if 0 <= value < limit else 0


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    return sign + (b"%d.%09d" % (seconds, rest)).rstrip(b"0").rstrip(b".")


def _xattr(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """As star writes them; a name with "=" would be cut there, and is written as libarchive does."""
    name, value = pair
    if b"=" in name:
        return b"LIBARCHIVE.xattr." + quote_from_bytes(name, safe="").encode("ascii"), _base64(value)
    return b"SCHILY.xattr." + name, value


def _base64(value: bytes) -> bytes:
    return b2a_base64(value, newline=False).rstrip(b"=")


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value` and a newline, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
