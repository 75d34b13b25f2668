"""Random stacks of layers as plain tars, made member by member in the dialects that real writers use.

Each member comes from a few bytes, of which every one is a choice: quick to draw, and hypothesis makes them small
by making them zero. What the plain model finds no meaning in is left out, so that every stack is a good one.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from hypothesis import strategies as st

from orlop.model.tree import Entry, Kind
from tests.support.corners import ACL, CAPABILITY
from tests.support.tars import GNU, TYPES, V7, extension, gnu_long, header, pad, record, tar
from tests.tar.naive import Model, Refused

T = TypeVar("T")
LAYERS = st.lists(st.lists(st.binary(min_size=24, max_size=24), min_size=3, max_size=16), min_size=1, max_size=5)

_KINDS = [Kind.FILE] * 5 + [Kind.DIRECTORY] * 5 + [Kind.SYMLINK] * 3 + [Kind.HARDLINK] * 4
_KINDS += [Kind.FIFO, Kind.CHARACTER, Kind.BLOCK]
_LONG = b"n" * 120
_PARTS = [b"a", b"b", b"c", b"a", b"b", b"a", "é".encode(), b"\xff\x80", _LONG, b"sp ace\n", b"m" * 255]
_DOTS = [b"", b"", b"", b"", b"./", b"/", b"../", b".//./"]
_MODES = [0o644, 0o755, 0o600, 0o4755, 0o2775, 0o1777, 0, 0o7777, 0o111, 0o6000]
_OWNERS = [0, 0, 1000, 1, 65_534, 2_097_151, 2_097_152, 4_294_967_294]
_TIMES = [
    *(1_700_000_000_000_000_000, 0, 1_600_000_000_123_456_789, 1_000_000_000, 999_999_999, 5_000_000_000_000_000_000),
    *(-1_000_000_000, -1, -1_500_000_000_000_000_001, 8_589_934_591_000_000_000, 8_589_934_592_000_000_000),
]
_SIZES = [0, 1, 511, 512, 513, 3, 4096, 5000, 20, 1024]
_TARGETS = [
    *(b"a", b"b", b"/a", b"../b", b"a/b", b"/b/a", b"/", b"..", b"c/../a", b"none", b"/none/x", b"l" * 150, b"\xfe")
]
_DEVICES = [(1, 3), (0, 0), (4095, 1_048_575), (0, 1), (259, 70_000)]
_ACCESS, _DEFAULT, _CAPABILITY = b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability"
_XATTRS = [
    (b"trusted.t", b"v"),
    (_CAPABILITY, CAPABILITY),
    (b"user.u", b""),
    (b"user.binary", bytes(range(256))),
    (b"user.overlay.redirect", b"/"),
    (b"trusted.overlay.opaque", b"y"),
    (b"user.\xff=", b"=\n"),
    (_ACCESS, ACL),
    (_DEFAULT, ACL),
]
# what Linux refuses on anything else
_ALL = frozenset(Kind)
_HOLDERS = {_CAPABILITY: {Kind.FILE, Kind.DIRECTORY}, _DEFAULT: {Kind.DIRECTORY}, _ACCESS: _ALL - {Kind.SYMLINK}}


class Stacked(NamedTuple):
    """The plain tars of some layers, base first, what is in them, and what they mean."""

    tars: list[bytes]
    entries: list[list[Entry]]
    model: Model


class Choices:
    """Decisions, each by one byte of a recipe; with nothing left always the first."""

    def __init__(self, recipe: bytes) -> None:
        self._rest = iter(recipe)

    def of(self, options: Sequence[T]) -> T:
        return options[next(self._rest, 0) % len(options)]

    def one_in(self, count: int) -> bool:
        return next(self._rest, 0) % count == count - 1


def stacked(recipes: Sequence[Sequence[bytes]], *, tidy: bool = False) -> Stacked:
    """The stack that `recipes` (of `LAYERS`) are for. `tidy`: nothing about which tools are known to differ."""
    model = Model()
    tars: list[bytes] = []
    entries: list[list[Entry]] = []
    for layer in recipes:
        if tidy:
            layer = sorted(layer, key=_is_no_whiteout)
        model.begin()
        members: list[bytes] = []
        found: list[Entry] = []
        at = 0
        for recipe in layer:
            choices = Choices(recipe)
            made = _entry(choices, model)
            if tidy:
                made = _tidied(made)
            member, data_at = _written(made, b"%d.%d " % (len(tars), len(members)), choices)
            made = made._replace(offset=at + data_at)
            try:
                model.add(made)
            except Refused:
                continue
            members.append(member)
            found.append(made)
            at += len(member)
        tars.append(tar(*members))
        entries.append(found)
    return Stacked(tars, entries, model)


def _is_no_whiteout(recipe: bytes) -> bool:
    return b".wh." not in _entry(Choices(recipe), Model()).name


def _tidied(made: Entry) -> Entry:
    """Directories inherit groups and ACLs in umoci, and what the kernel refuses ends it; devices 0:0 and attributes of
    overlayfs are nobody's to make; Go loses attributes without a value or with an odd name."""
    if made.kind is Kind.DIRECTORY:
        made = made._replace(mode=made.mode & 0o5777)
    if (made.major, made.minor) == (0, 0) and made.kind in (Kind.CHARACTER, Kind.BLOCK):
        made = made._replace(minor=1)
    odd = [b"=", b"overlay", b"acl_default"] + [b"user."] * (made.kind not in (Kind.FILE, Kind.DIRECTORY))
    return made._replace(xattrs=tuple((k, v) for k, v in made.xattrs if v and not any(part in k for part in odd)))


def _entry(choices: Choices, model: Model) -> Entry:
    kind = choices.of(_KINDS)
    parents = [choices.of(_PARTS) for _ in range(choices.of([0, 1, 1, 2, 2, 3]))]
    leaf = choices.of(_PARTS)
    # names of what is there already are what makes layers interesting
    known = list(model.nodes)
    if choices.one_in(3):
        *parents, leaf = choices.of(known) or (b"a",)
    what = choices.of(["name"] * 13 + ["whiteout"] * 3 + ["opaque", "root"])
    if what == "whiteout":
        kind, leaf = Kind.FILE, b".wh." + leaf[:250]
    elif what == "opaque":
        kind, leaf = Kind.FILE, b".wh..wh..opq"
    elif what == "root":
        kind, parents, leaf = Kind.DIRECTORY, [], b"."
    name = choices.of(_DOTS) + b"/".join([*parents, leaf])
    link = b""
    if kind is Kind.SYMLINK:
        link = choices.of(_TARGETS)
    elif kind is Kind.HARDLINK:
        there = [path for path, node in model.nodes.items() if node.kind is not Kind.DIRECTORY]
        link = choices.of(_DOTS) + b"/".join(choices.of(there or [(b"none",)]))
    elif kind is Kind.DIRECTORY and choices.one_in(2):
        name += b"/"
    mode, uid, gid, mtime = choices.of(_MODES), choices.of(_OWNERS), choices.of(_OWNERS), choices.of(_TIMES)
    size = choices.of(_SIZES) if kind is Kind.FILE else 0
    major, minor = choices.of(_DEVICES) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0)
    xattrs = [] if kind is Kind.HARDLINK else sorted({choices.of(_XATTRS) for _ in range(choices.of([0, 0, 0, 1, 2]))})
    xattrs = [pair for pair in xattrs if kind in _HOLDERS.get(pair[0], _ALL)]
    if (_ACCESS, ACL) in xattrs:
        # as any file system would have it
        mode = mode & 0o7000 | 0o664
    return Entry(kind, name, link, mode, uid, gid, mtime, size, 0, major, minor, tuple(xattrs))


def _written(made: Entry, stamp: bytes, choices: Choices) -> tuple[bytes, int]:
    """The member in some dialect, and where in it the data starts."""
    data = (stamp * made.size)[: made.size]
    whole = made.mtime_ns % 1_000_000_000 == 0
    dialect = choices.of(["ustar", "pax", "gnu", "ustar", "v7"])
    if dialect == "gnu" and whole and not made.xattrs:
        member = _gnu(made, data)
    elif dialect == "v7" and _fits_v7(made):
        kind = b"\0" if made.kind is Kind.DIRECTORY and made.name.endswith(b"/") else TYPES[made.kind]
        member = header(
            made.name,
            b"\0" if made.kind is Kind.FILE else kind,
            size=len(data),
            mode=made.mode,
            uid=made.uid,
            gid=made.gid,
            mtime=made.mtime_ns // 1_000_000_000,
            link=made.link,
            magic=V7,
        ) + pad(data)
    else:
        member = _posix(made, data, always=dialect == "pax")
    return member, len(member) - len(pad(data))


def _fits_v7(made: Entry) -> bool:
    short = len(made.name) <= 100 and len(made.link) <= 100 and max(made.uid, made.gid) < 8**7
    seconds, rest = divmod(made.mtime_ns, 1_000_000_000)
    return short and 0 <= seconds < 8**11 and not rest and not made.xattrs and not made.major and not made.minor


def _gnu(made: Entry, data: bytes) -> bytes:
    before = gnu_long(made.link, b"K") if len(made.link) > 100 else b""
    before += gnu_long(made.name) if len(made.name) > 100 else b""
    return (
        before
        + header(
            made.name,
            TYPES[made.kind],
            size=len(data),
            mode=made.mode,
            uid=made.uid,
            gid=made.gid,
            mtime=made.mtime_ns // 1_000_000_000,
            link=made.link,
            magic=GNU,
            major=made.major,
            minor=made.minor,
        )
        + pad(data)
    )


def _posix(made: Entry, data: bytes, *, always: bool) -> bytes:
    """Ustar with what it cannot hold in records; `always`: with records for everything, and no size in the header."""
    seconds, nanoseconds = divmod(made.mtime_ns, 1_000_000_000)
    records: dict[bytes, bytes] = {}
    if always or nanoseconds or not 0 <= seconds < 8**11:
        sign, (seconds, nanoseconds) = b"-" * (made.mtime_ns < 0), divmod(abs(made.mtime_ns), 1_000_000_000)
        records[b"mtime"] = sign + b"%d.%09d" % (seconds, nanoseconds)
        seconds = 0
    prefix, name = b"", made.name
    cut = name.find(b"/", len(name) - 101) if 100 < len(name) <= 256 else -1
    if not always and 0 < cut <= 155 and cut + 1 < len(name):
        prefix, name = name[:cut], name[cut + 1 :]
    elif always or len(name) > 100:
        records[b"path"] = name
    if made.link and (always or len(made.link) > 100):
        records[b"linkpath"] = made.link
    for key, number in ((b"uid", made.uid), (b"gid", made.gid)):
        if always or number >= 8**7:
            records[key] = b"%d" % number
    if always and made.kind is Kind.FILE:
        records[b"size"] = b"%d" % len(data)
    # a name with "=" would be cut there
    for key, value in made.xattrs:
        if b"=" in key:
            records[b"LIBARCHIVE.xattr." + quote(key).encode()] = b64encode(value).rstrip(b"=")
        else:
            records[b"SCHILY.xattr." + key] = value
    before = extension(b"".join(record(key, value) for key, value in records.items())) if records else b""
    head = header(
        name,
        TYPES[made.kind],
        size=0 if always else len(data),
        mode=made.mode,
        uid=min(made.uid, 8**7 - 1),
        gid=min(made.gid, 8**7 - 1),
        mtime=seconds,
        link=made.link,
        major=made.major,
        minor=made.minor,
        prefix=prefix,
    )
    return before + head + pad(data)
