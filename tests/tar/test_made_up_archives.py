"""Archives put together from odd parts: the list of Go, or a refusal by name; never a third list."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Invalid, Unsafe, Unsupported
from orlop.tar.reader import read_entries
from tests.support.soak import times
from tests.support.tars import BLOCK, END, GNU, USTAR, V7, base256, extension, header, octal, pad, raw, record
from tests.tar.conftest import Go
from tests.tar.stacks import Choices

_RECIPES = st.lists(st.binary(min_size=40, max_size=40), min_size=1, max_size=4)
_ENDS = [END, END, END, b"", bytes(BLOCK), bytes(BLOCK + 200), END + b"junk" * 200]
_NAMES: list[str | bytes] = [
    *("a", "b", "x/y", "d/", "é", "n" * 100, "n" * 99, "./", "../z", "/abs", b"\xff", b"a\0b", "d//", "-"),
    *("", " ", b"\x01", "a" * 100 + "/"),
]
_LINKS: list[str | bytes] = ["t", "l" * 100, b"a\0b", ""]
_KINDS = [b"0", b"0", b"0", b"5", b"2", b"1", b"\0", b"3", b"4", b"6", b"7", b"0", b"5", b"S", b"V", b"A"]
_MAGICS = [USTAR, USTAR, USTAR, GNU, V7, b"ustar\0\0\0", b"ustar 00", b"USTAR\x0000"]
_PREFIXES = [b"", b"", b"", b"p", b"p" * 155, b"00000000001\x0000000000002\0", b"p\0q"]
_KEYS = [
    *("mtime", "path", "uid", "gid", "size", "linkpath", "atime", "ctime", "uname", "comment", "VENDOR.key"),
    *("SCHILY.xattr.user.a", "SCHILY.xattr.user.b", "hdrcharset", "GNU.sparse.major", "SCHILY.dev", "SCHILY.realsize"),
]
_VALUES: list[str | bytes] = [
    *(
        "1",
        "0",
        "4",
        "512",
        "1.5",
        "a",
        "b/",
        "-1",
        "-1.5",
        "01",
        "1.",
        "9" * 18,
        "4294967294",
        "é",
        b"\xff",
        b"x=y\nz",
    ),
    *(".5", "+1", " 1", "1 ", "1e3", "9" * 19, "4294967295", "", b"\0", b"a\0b", "0x1", "1_0"),
]


def _number(choices: Choices, width: int) -> bytes:
    value = choices.of([0, 1, 512, 7, 8 ** (width - 1) - 1, 2**31, 2**32 - 2, 2**32, -1, 2**40])
    usual = octal(value, width) if 0 <= value < 8 ** (width - 1) else base256(value, width)
    odd = [
        b"",
        b"   5 ",
        b"5 \0junk",
        b"0" * width,
        b"\x80" * width,
        b"\xff" * width,
        b"0000009\0",
        b"-1\0",
        b"\0" + b"7" * 5,
    ]
    return choices.of([usual, usual, usual, b"%o" % abs(value), b" " + b"%o " % (abs(value) % 512), choices.of(odd)])


def _extension(choices: Choices) -> bytes:
    kind = choices.of([b"x", b"x", b"x", b"L", b"K", b"g", b"X"])
    if kind in (b"L", b"K"):
        data = raw(choices.of(_NAMES)) + choices.of([b"\0", b"\0", b"", b"\0\0", b"\0x"])
    else:
        data = b"".join(record(choices.of(_KEYS), choices.of(_VALUES)) for _ in range(choices.of([1, 1, 2, 3, 0])))
        spoilt = [
            data.replace(b" ", b"  ", 1),
            b"0" + data,
            data[:-1],
            data + b"\0",
            b"9" + data,
            data.replace(b"=", b"-"),
        ]
        data = choices.of(spoilt) if choices.one_in(16) else data
    return extension(data, kind)


def _member(recipe: bytes) -> bytes:
    choices = Choices(recipe)
    before = b"".join(_extension(choices) for _ in range(choices.of([0, 0, 0, 1, 1, 2])))
    kind = choices.of(_KINDS)
    content = choices.of([b"", b"data", bytes(BLOCK), b"ab\0" * 200]) if kind in (b"0", b"7", b"\0") else b""
    size: int | bytes = _number(choices, 12) if choices.one_in(12) else len(content)
    odd = choices.of(["", "", "", "mode", "uid", "gid", "mtime", "major", "minor"])
    block = bytearray(
        header(
            choices.of(_NAMES),
            kind,
            size=size,
            link=choices.of(_LINKS) if kind in (b"1", b"2") else "",
            magic=choices.of(_MAGICS),
            prefix=choices.of(_PREFIXES),
            mode=_number(choices, 8) if odd == "mode" else 0o644,
            uid=_number(choices, 8) if odd == "uid" else 0,
            gid=_number(choices, 8) if odd == "gid" else 0,
            mtime=_number(choices, 12) if odd == "mtime" else 0,
            major=_number(choices, 8) if odd == "major" else 0,
            minor=_number(choices, 8) if odd == "minor" else 0,
        )
    )
    if choices.one_in(16):
        # as star marks its own
        block[508:512] = b"tar\0"
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return before + bytes(block) + pad(content)


@pytest.mark.peer
@settings(max_examples=times(2500, 100_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_RECIPES, st.sampled_from(_ENDS), st.integers(0, 4000))
def test_archive_is_listed_as_by_go_or_refused_by_name(go: Go, recipes: list[bytes], end: bytes, cut: int) -> None:
    archive = b"".join(map(_member, recipes)) + end
    if cut % 10 == 9:
        archive = archive[:cut]
    try:
        found = list(read_entries(io.BytesIO(archive)))
    except (Invalid, Unsafe, Unsupported):
        return
    assert found == go.list(archive)
