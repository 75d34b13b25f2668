"""A small raw tar writer for tests: makes any header, right or wrong, and says nothing about it.

`tar(entry("etc/", Kind.DIRECTORY), entry("etc/passwd", data=b"root"))` is a whole plain layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from orlop.model.tree import Entry, Kind

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR = b"ustar\x0000"
GNU = b"ustar  \x00"
V7 = bytes(8)
TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}


def raw(text: str | bytes) -> bytes:
    """Names may be given as text."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def octal(value: int, width: int) -> bytes:
    """A number field: octal digits and a NUL."""
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """A number field as GNU writes what octal cannot hold."""
    field = bytearray(value.to_bytes(width, "big", signed=True))
    field[0] |= 0x80
    return bytes(field)


def field(value: int | bytes, width: int) -> bytes:
    """A number, in base-256 if octal cannot hold it; bytes are taken as they are."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")[:width]
    return octal(value, width) if 0 <= value < 8 ** (width - 1) else base256(value, width)


def pad(data: bytes) -> bytes:
    """`data` with zeros up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def header(
    name: str | bytes,
    typeflag: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: str | bytes = b"",
    magic: bytes = USTAR,
    major: int | bytes = 0,
    minor: int | bytes = 0,
    prefix: str | bytes = b"",
    uname: bytes = b"",
    gname: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block. Number fields may be raw bytes; `checksum` None computes the right one."""
    block = bytearray(BLOCK)
    block[0:100] = raw(name)[:100].ljust(100, b"\0")
    block[100:108] = field(mode, 8)
    block[108:116] = field(uid, 8)
    block[116:124] = field(gid, 8)
    block[124:136] = field(size, 12)
    block[136:148] = field(mtime, 12)
    block[148:156] = b" " * 8
    block[156:157] = typeflag
    block[157:257] = raw(link)[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[265:329] = uname.ljust(32, b"\0") + gname.ljust(32, b"\0")
    if magic != V7:
        block[329:337] = field(major, 8)
        block[337:345] = field(minor, 8)
    block[345:500] = raw(prefix)[:155].ljust(155, b"\0")
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum.ljust(8, b"\0")
    return bytes(block)


def record(key: str | bytes, value: str | bytes | int) -> bytes:
    """One PAX record."""
    body = b" " + raw(key) + b"=" + (str(value).encode() if isinstance(value, int) else raw(value)) + b"\n"
    size = len(body) + len(str(len(body)))
    if len(str(size)) + len(body) != size:
        size = len(str(size)) + len(body)
    return str(size).encode() + body


def extension(data: bytes, typeflag: bytes = b"x", *, name: str = "PaxHeaders/x") -> bytes:
    """An `x`, `g`, `L` or `K` member with `data` as it is."""
    return header(name, typeflag, size=len(data)) + pad(data)


def pax(records: Mapping[str, str | bytes | int], typeflag: bytes = b"x") -> bytes:
    """An extended header with these records."""
    return extension(b"".join(record(key, value) for key, value in records.items()), typeflag)


def gnu_long(text: str | bytes, typeflag: bytes = b"L") -> bytes:
    """A GNU long name (`L`) or long link (`K`)."""
    data = raw(text) + b"\0"
    return header("././@LongLink", typeflag, size=len(data), magic=GNU) + pad(data)


def entry(
    name: str | bytes,
    kind: Kind = Kind.FILE,
    *,
    data: bytes = b"",
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    link: str | bytes = b"",
    major: int = 0,
    minor: int = 0,
    xattrs: Mapping[str, bytes] | None = None,
    pax: Mapping[str, str | bytes | int] | None = None,
) -> bytes:
    """One well-formed member with its data: ustar, with PAX records for `pax`, `xattrs`, and long names."""
    records: dict[str, str | bytes | int] = dict(pax or {})
    for key, value in (xattrs or {}).items():
        records["SCHILY.xattr." + key] = value
    if len(raw(name)) > 100:
        records.setdefault("path", raw(name))
    if len(raw(link)) > 100:
        records.setdefault("linkpath", raw(link))
    before = b""
    if records:
        before = extension(b"".join(record(key, value) for key, value in records.items()))
    if mode is None:
        mode = {Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}.get(kind, 0o644)
    head = header(
        name,
        TYPES[kind],
        size=len(data),
        mode=mode,
        uid=uid,
        gid=gid,
        mtime=mtime,
        link=link,
        major=major,
        minor=minor,
    )
    return before + head + pad(data)


def whiteout(name: str) -> bytes:
    """The whiteout of `name`: `a/b` gives `a/.wh.b`."""
    parent, slash, base = name.rpartition("/")
    return entry(f"{parent}{slash}.wh.{base}")


def opaque(directory: str) -> bytes:
    """The opaque whiteout of a directory."""
    return entry(f"{directory}/.wh..wh..opq")


def tar(*entries: bytes) -> bytes:
    """A whole archive: the members, then the end."""
    return b"".join(entries) + END


def parsed(
    name: str | bytes,
    kind: Kind = Kind.FILE,
    *,
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    mtime_ns: int = 0,
    size: int = 0,
    offset: int = 512,
    link: str | bytes = b"",
    major: int = 0,
    minor: int = 0,
    xattrs: Mapping[bytes, bytes] | None = None,
) -> Entry:
    """What a reader would give for such a member, for tests that need no archive."""
    if mode is None:
        mode = {Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}.get(kind, 0o644)
    pairs = tuple(sorted((xattrs or {}).items()))
    return Entry(kind, raw(name), raw(link), mode, uid, gid, mtime_ns, size, offset, major, minor, pairs)
