"""What the reader says is in an archive is what Go's archive/tar says, or it refuses: never a third list."""

from __future__ import annotations

import bz2
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Unsafe, Unsupported
from orlop.model.tree import Kind
from tests.support.soak import times
from tests.support.tars import (
    BLOCK,
    END,
    GNU,
    V7,
    base256,
    entry,
    extension,
    gnu_long,
    header,
    pad,
    pax,
    record,
    tar,
)
from tests.tar.conftest import Go, listed

F = entry("file", data=b"data")
LAST = entry("last", data=b"z" * 600)
STAR = bytearray(header("star-name", prefix=b"p" * 131 + b"00000000001\x0000000000002\0", size=3))
STAR[508:512] = b"tar\0"
STAR[148:156] = b" " * 8
STAR[148:156] = b"%06o\0 " % sum(STAR)
NESTED = tar(entry("evil"))[: 2 * BLOCK]


def old_gnu(prefix: bytes) -> bytes:
    return header("name", magic=GNU, prefix=prefix)


# what both sides accept, and list alike
SAME: dict[str, bytes] = {
    "every_kind": tar(
        entry("d/", Kind.DIRECTORY, mode=0o2755),
        entry("d/f", data=b"x" * 513, uid=1000, gid=1001, mtime=1_700_000_000),
        entry("s", Kind.SYMLINK, link="d/f"),
        entry("h", Kind.HARDLINK, link="d/f"),
        entry("c", Kind.CHARACTER, major=5, minor=1),
        entry("b", Kind.BLOCK, major=8, minor=17),
        entry("p", Kind.FIFO),
    ),
    "v7": tar(header("old", b"\0", size=2, magic=V7) + pad(b"hi"), header("dir/", b"\0", magic=V7), LAST),
    "v7_with_a_prefix_that_is_not_one": tar(header("old", magic=V7, prefix="prefix")),
    "contiguous": tar(header("cont", b"7", size=2) + pad(b"hi"), LAST),
    "ustar_prefix": tar(header("name", prefix="some/prefix")),
    "ustar_version_is_not_looked_at": tar(header("n", magic=b"ustar\x00xx", prefix="p")),
    "unknown_magic_is_v7": tar(header("n", magic=b"ustar 00", prefix="p")),
    "star": tar(bytes(STAR) + pad(b"abc"), LAST),
    "gnu": tar(header("n", magic=GNU)),
    "gnu_with_times": tar(old_gnu(b"00000000123\x0000000000456\0")),
    "gnu_with_the_prefix_of_old_go": tar(old_gnu(b"some/old/prefix")),
    "gnu_with_a_prefix_not_ascii": tar(old_gnu("sömé/prefix".encode())),
    "gnu_long_name_and_link": tar(
        gnu_long("n" * 200), gnu_long("l" * 300, b"K"), header("n", b"2", link="l", magic=GNU), LAST
    ),
    "gnu_long_name_without_nul": tar(header("L", b"L", size=101, magic=GNU) + pad(b"q" * 101), F),
    "base256_numbers": tar(
        header(
            "n",
            size=base256(4, 12),
            uid=base256(3_000_000_000, 8),
            gid=base256(7, 8),
            mtime=base256(-5, 12),
            mode=base256(0o4755, 8),
        )
        + pad(b"data"),
        LAST,
    ),
    "numbers_padded_with_spaces": tar(
        header("n", size=b"          4 ", mode=b"   644 \0", uid=b"     1 \0", mtime=b" 17 ") + pad(b"data"), LAST
    ),
    "numbers_empty": tar(header("n", size=b"", mode=b"", uid=b"", gid=b"", mtime=b"", major=b"", minor=b"")),
    "number_cut_by_nul": tar(header("n", size=b"4\0garbage") + pad(b"data"), LAST),
    "name_fills_its_field": tar(entry("n" * 100)),
    "name_with_junk_behind_nul": tar(header(b"name\0junk", link=b"\0junk")),
    "name_not_utf8": tar(entry(b"\xff\xfe/\x80")),
    "checksum_of_signed_bytes": tar(
        header(b"\xe9t\xe9", checksum=b"%06o" % (sum(header(b"\xe9t\xe9", checksum=b" " * 8)) - 512))
    ),
    "checksum_with_other_spacing": tar(header("n", checksum=b"  %o " % sum(header("n", checksum=b" " * 8)))),
    "pax_names_and_owner": tar(
        pax({"path": "p" * 150 + "/é", "linkpath": "t" * 120, "uid": 4_000_000_000, "gid": 70_000, "uname": "u"}),
        entry("short", Kind.SYMLINK, link="short"),
        LAST,
    ),
    "pax_times": tar(
        *(
            pax({"mtime": time}) + entry(f"t{number}")
            for number, time in enumerate(("1.5", "-1.5", "-0.25", "0", "12.", "3.123456789999", "99999999999.1", "-7"))
        )
    ),
    "pax_time_of_the_year_1e11": tar(pax({"mtime": str(1 << 62)}), F),
    "pax_size_alone": tar(pax({"size": 4}), header("n", size=0) + pad(b"data"), LAST),
    "pax_size_the_same": tar(pax({"size": 4}), header("n", size=4) + pad(b"data"), LAST),
    "pax_xattrs": tar(entry("x", xattrs={"user.a": b"1\0=\n2", "security.capability": b"\x01\0\0\x02", "user.e": b""})),
    "pax_same_key_same_value": tar(extension(record("mtime", "5") * 2), F),
    "pax_unknown_keys": tar(pax({"comment": "c", "VENDOR.x": "\0", "atime": "1", "SCHILY.dev": "1"}), F),
    "pax_other_times_empty": tar(extension(record("atime", "") + record("ctime", "")), F),
    "pax_empty": tar(extension(b""), F),
    "pax_and_gnu_agree": tar(pax({"path": "long"}), gnu_long("long"), F),
    "global_comment": tar(pax({"comment": "0" * 40, "uname": "root"}, b"g"), F, LAST),
    "hard_link_with_the_size_of_its_file": tar(F, header("h", b"1", size=4, link="file"), LAST),
    "duplicates": tar(entry("a", data=b"1"), entry("a", data=b"22")),
    "no_end": F + LAST,
    "no_end_and_no_padding_needed": entry("n", data=bytes(512)),
    "one_zero_block": F + LAST + bytes(BLOCK),
    "no_padding_of_the_last": entry("a") + header("n", size=4) + b"data",
    "half_a_padding_of_the_last": header("n", size=4) + b"data" + bytes(100),
    "junk_behind_the_end": tar(F) + b"junk" * 999 + LAST,
    "members_behind_the_end": tar(F) + tar(LAST),
    "empty": b"",
    "nothing_but_the_end": END,
    "one_zero_block_only": bytes(BLOCK),
    "names_that_merging_judges": tar(entry("../../x"), entry("/etc/x"), entry("./a/../b"), entry(".wh..wh..opq")),
}

# what is refused, and how
REFUSED: dict[str, tuple[type[Error], str, bytes]] = {
    "PA01_nested_tar_by_small_header_size": (
        Unsafe,
        "size is 1",
        tar(pax({"size": 1024}), header("n", size=1) + pad(NESTED)),
    ),
    "PA02_header_size_larger_than_pax_size": (
        Unsafe,
        "size is 1024",
        tar(pax({"size": 0}), header("n", size=1024) + pad(NESTED)),
    ),
    "PA02_header_size_overflows_and_pax_size_is_larger": (
        Invalid,
        "before the end of a member",
        tar(pax({"size": 1 << 40}), header("n", size=0o77777777777)),
    ),
    "PA02_header_size_overflows_and_pax_size_is_smaller": (
        Unsafe,
        "but 512 by PAX",
        tar(pax({"size": 512}), header("n", size=0o77777777777)),
    ),
    "PA03_pax_key_twice": (Unsafe, "twice", tar(extension(record("path", "a") + record("path", "b")), F)),
    "PA03_x_after_x": (Unsafe, "another extended", tar(pax({"mtime": 1}), pax({"path": "b"}), F)),
    "PA03_L_after_L": (Unsafe, "another extended", tar(gnu_long("a"), gnu_long("b"), F)),
    "PA03_x_then_g": (Unsafe, "another extended", tar(pax({"path": "a"}), pax({"comment": "b"}, b"g"), F)),
    "PA03_L_then_g": (Unsafe, "another extended", tar(gnu_long("a"), pax({"comment": "b"}, b"g"), F)),
    "PA03_pax_path_and_gnu_L": (Unsafe, "differ", tar(pax({"path": "a"}), gnu_long("b"), F)),
    "PA03_gnu_K_and_pax_linkpath": (
        Unsafe,
        "differ",
        tar(gnu_long("b", b"K"), pax({"linkpath": "a"}), entry("s", Kind.SYMLINK, link="c")),
    ),
    "PA03_global_path": (Unsafe, "for all members", tar(pax({"path": "a"}, b"g"), F)),
    "PA03_global_size": (Unsafe, "for all members", tar(pax({"size": 9}, b"g"), F)),
    "PA03_global_xattr": (Unsafe, "for all members", tar(pax({"SCHILY.xattr.user.a": "1"}, b"g"), F)),
    "PA03_solaris_X": (Unsupported, "'X'", tar(extension(record("path", "a"), b"X"), F)),
    "PA03_empty_path": (Unsafe, "path is empty", tar(pax({"path": ""}), F)),
    "PA03_L_with_more_behind_nul": (Unsafe, "one name", tar(gnu_long(b"a\0b"), F)),
    "PA03_L_empty": (Unsafe, "one name", tar(gnu_long(b""), F)),
    "PA03_pax_at_the_end": (Invalid, "expected its member", tar(F, pax({"path": "a"}))),
    "PA03_L_at_the_end": (Invalid, "expected its member", F + gnu_long("a")),
    "PA04_negative_size": (Invalid, "size is -", tar(header("n", size=base256(-512, 12)), F)),
    "PA04_negative_size_of_a_directory": (Invalid, "size is -", tar(header("n", b"5", size=base256(-1, 12)))),
    "PA04_size_beyond_63_bits": (Invalid, "64 bits", tar(header("n", size=b"\x80\0\0\0\x80" + bytes(7)), F)),
    "PA04_size_not_octal": (Invalid, "octal", tar(header("n", size=b"00000000009\0"), F)),
    "PA04_size_with_sign": (Invalid, "octal", tar(header("n", size=b"+0000000001\0"), F)),
    "PA04_size_hexadecimal": (Invalid, "octal", tar(header("n", size=b"0x4\0"), F)),
    "PA04_pax_size_negative": (Invalid, "size is '-1'", tar(pax({"size": -1}), F)),
    "PA04_pax_size_with_plus": (Invalid, r"'\+4'", tar(pax({"size": "+4"}), F)),
    "PA04_pax_size_hexadecimal": (Invalid, "'0x4'", tar(pax({"size": "0x4"}), F)),
    "PA04_pax_size_underscore": (Invalid, "'1_0'", tar(pax({"size": "1_0"}), F)),
    "PA04_pax_size_beyond_63_bits": (Invalid, "decimal", tar(pax({"size": 1 << 63}), F)),
    "PA05_pax_header_over_1_MiB": (Unsafe, "at most 1048576", tar(extension(record("comment", "x" * (1 << 20))), F)),
    "PA05_gnu_name_over_1_MiB": (Unsafe, "at most 1048576", tar(gnu_long("x" * (1 << 20)), F)),
    "PA05_pax_header_of_negative_size": (Unsafe, "-1 bytes", tar(header("x", b"x", size=base256(-1, 12)), F)),
    "PA05_pax_header_that_is_not_there": (Invalid, "before the end", header("x", b"x", size=1 << 20) + b"12 "),
    "PA05_sparse_of_star": (Unsupported, "sparse", tar(pax({"SCHILY.realsize": 9}), F)),
    "PA06_symlink_with_data": (Unsafe, "symlink with 512", tar(header("s", b"2", size=512, link="t") + F[:BLOCK], F)),
    "PA06_directory_with_data": (Unsafe, "directory with 5", tar(header("d/", b"5", size=5) + pad(b"abcde"), F)),
    "PA06_fifo_with_data": (Unsafe, "fifo with 5", tar(header("p", b"6", size=5), F)),
    "PA06_file_with_slash": (Unsafe, "slash", tar(entry("f/", data=b"x"), F)),
    "PA06_v7_directory_with_data": (Unsafe, "directory with 4", tar(header("d/", b"\0", size=4) + pad(b"abcd"))),
    "PA06_unknown_type": (Unsupported, "'Q'", tar(header("q", b"Q"), F)),
    "PA06_gnu_volume_label": (Unsupported, "'V'", tar(header("v", b"V", magic=GNU), F)),
    "PA07_bad_checksum": (Invalid, "checksum", tar(header("n", checksum=b"000001\0 "))),
    "PA07_bad_checksum_midstream": (Invalid, f"byte {len(F)}: checksum", F + header("n", checksum=b"1") + LAST + END),
    "PA07_checksum_not_a_number": (Invalid, "octal", F + header("n", checksum=b"none") + END),
    "PA07_zero_block_then_a_member": (Invalid, "zero block", F + bytes(BLOCK) + LAST + END),
    "PA07_half_a_header": (Invalid, "inside a header", F + LAST[:100]),
    "PA07_half_an_end": (Invalid, "inside a header", F + bytes(BLOCK + 7)),
    "PA07_cut_off_data": (Invalid, "300 bytes before the end", F + LAST[: BLOCK + 300]),
    "PA07_not_a_tar": (Invalid, "octal|checksum", b"<html>" * 1000),
    "nul_in_pax_path": (Invalid, "malformed", tar(pax({"path": b"a\0b"}), F)),
    "nul_in_pax_key": (Invalid, "malformed", tar(pax({"a\0b": "1"}), F)),
    "pax_without_equals": (Invalid, "malformed", tar(extension(b"9 abcdef\n"), F)),
    "pax_without_key": (Invalid, "malformed", tar(extension(b"5 =v\n"), F)),
    "pax_length_too_long": (Invalid, "malformed", tar(extension(b"99 path=a\n"), F)),
    "pax_length_too_short": (Invalid, "malformed", tar(extension(b"7 path=a\n"), F)),
    "pax_length_zero": (Invalid, "malformed", tar(extension(b"0 path=a\n"), F)),
    "pax_length_signed": (Invalid, "malformed", tar(extension(b"+11 path=a\n"), F)),
    "pax_length_huge": (Invalid, "malformed", tar(extension(b"9" * 30 + b" path=a\n"), F)),
    "pax_junk": (Invalid, "malformed", tar(extension(bytes(600)), F)),
    "pax_mtime_garbage": (Invalid, "mtime", tar(pax({"mtime": "12x"}), F)),
    "pax_atime_garbage": (Invalid, "atime is", tar(pax({"mtime": "12", "atime": "x"}), F)),
    "pax_ctime_without_seconds": (Invalid, "ctime is", tar(pax({"ctime": ".5"}), F)),
    "pax_mtime_exponent": (Invalid, "mtime", tar(pax({"mtime": "1e9"}), F)),
    "pax_mtime_beyond_64_bits": (Invalid, "mtime", tar(pax({"mtime": "9" * 30}), F)),
    "EX18_xattr_without_a_name": (Unsafe, "name of 1 to 255", tar(pax({"SCHILY.xattr.": "1"}), F)),
    "EX18_xattr_name_too_long": (Unsafe, "name of 1 to 255", tar(pax({"SCHILY.xattr." + "n" * 256: "1"}), F)),
    "EX18_xattr_value_too_long": (Unsafe, "over 65535", tar(entry("f", xattrs={"user.a": bytes(65536)}))),
    "EX18_xattr_not_base64": (Invalid, "base64", tar(pax({"LIBARCHIVE.xattr.user.a": "?!"}), F)),
    "EX18_xattr_given_in_two_ways": (
        Unsafe,
        "differently",
        tar(pax({"LIBARCHIVE.xattr.user.a": "YQ", "SCHILY.xattr.user.a": "b"}), F),
    ),
    "EX19_uid_negative": (Unsafe, "uid -1", tar(header("n", uid=base256(-1, 8)))),
    "EX19_gid_negative": (Unsafe, "gid -1000", tar(header("n", gid=base256(-1000, 8)))),
    "EX19_uid_of_33_bits": (Unsafe, "uid 4294967296", tar(pax({"uid": 1 << 32}), F)),
    "EX19_uid_that_chown_ignores": (Unsafe, "uid 4294967295", tar(pax({"uid": (1 << 32) - 1}), F)),
    "EX19_pax_uid_negative": (Invalid, "uid is '-1'", tar(pax({"uid": -1}), F)),
    "mode_negative": (Unsafe, "mode", tar(header("n", mode=base256(-1, 8)))),
    "EX15_device_out_of_range": (Unsafe, "device 4096:0", tar(header("c", b"3", major=4096))),
    "EX22_part_of_256_bytes": (Unsafe, "over 255", tar(entry("a/" + "b" * 256))),
    "EX22_name_of_4096_bytes": (Unsafe, "at most 4095", tar(entry("d/" * 2047 + "ab"))),
    "EX22_link_of_4096_bytes": (Unsafe, "target over", tar(entry("l", Kind.SYMLINK, link="x" * 4096))),
    "EX09_name_empty": (Invalid, "without a name", tar(header(""))),
    "EX09_link_empty": (Invalid, "without a target", tar(header("l", b"2"))),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", SAME)
def test_PA03_PA04_PA06_an_archive_is_listed_as_by_go(name: str, go: Go) -> None:
    expected = go.list(SAME[name])
    assert expected is not None
    assert listed(SAME[name]) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_PA02_PA03_PA04_PA06_an_archive_with_two_readings_is_refused(name: str) -> None:
    kind, message, archive = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        listed(archive)
    assert type(caught.value) is kind


CORPUS = Path("/usr/share/go-1.19/src/archive/tar/testdata")
# of Go's own test archives that Go accepts, those with two readings or with what we do not do
ODD = {
    "gnu-incremental.tar": Unsupported,
    "gnu-long-nul.tar": Unsafe,
    "gnu-multi-hdrs.tar": Unsafe,
    "hdr-only.tar": Unsafe,
    "pax-global-records.tar": Unsafe,
    "pax-multi-hdrs.tar": Unsafe,
    "pax-path-hdr.tar": Invalid,
    "pax-pos-size-file.tar": Invalid,
}


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.glob("*.tar*")))
def test_archive_of_go_itself_is_listed_alike_or_refused_by_name(name: str, go: Go) -> None:
    archive = (CORPUS / name).read_bytes()
    if name.endswith(".bz2"):
        archive = bz2.decompress(archive)
    if name in ODD:
        with pytest.raises(ODD[name]):
            listed(archive)
        return
    expected = go.list(archive)
    if expected is None:
        with pytest.raises((Invalid, Unsafe)):
            listed(archive)
    else:
        assert listed(archive) == expected


@pytest.mark.peer
def test_corpus_of_go_is_there() -> None:
    assert len(list(CORPUS.glob("*.tar"))) >= 40


# places of a header where a changed byte means something
_PLACES = st.one_of(
    st.integers(0, 511),
    st.sampled_from([0, 99, 100, 107, 108, 115, 124, 135, 136, 156, 157, 257, 262, 263, 264, 345, 508]),
)
_BYTES = st.one_of(st.integers(0, 255), st.sampled_from(b"\0 01789-+/xgLKS25\x80\xff\n="))


@pytest.mark.peer
@settings(max_examples=times(1500, 50_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SAME) + sorted(REFUSED)),
    st.lists(st.tuples(st.integers(0, 7), _PLACES, _BYTES), max_size=4),
    st.booleans(),
    st.integers(0, 1200),
)
def test_mutated_archive_is_listed_as_by_go_or_refused(
    go: Go, name: str, changes: list[tuple[int, int, int]], mend: bool, cut: int
) -> None:
    archive = bytearray(SAME[name] if name in SAME else REFUSED[name][2])[: 64 * BLOCK]
    for block, place, value in changes:
        start = block * BLOCK
        if start + BLOCK > len(archive):
            continue
        archive[start + place] = value
        if mend:
            archive[start + 148 : start + 156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(archive[start : start + BLOCK])
    if cut > 1000:
        del archive[-(cut - 1000) :]
    try:
        found = listed(bytes(archive))
    except Error:
        return
    assert found == go.list(bytes(archive))


class Trickle:
    """Gives `step` bytes a read at most, and counts them."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step
        self.passed = 0

    def read(self, size: int, /) -> bytes:
        chunk = self._data.read(min(size, self._step))
        self.passed += len(chunk)
        return chunk


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("step", [1, 511, 513, 700])
def test_reads_of_any_size_give_the_same_list(name: str, step: int) -> None:
    source = Trickle(SAME[name], step)
    assert listed(source) == listed(SAME[name])
    assert source.passed == len(SAME[name])


@pytest.mark.parametrize("name", [name for name in REFUSED if "MiB" not in name])
def test_reads_of_any_size_are_refused_alike(name: str) -> None:
    with pytest.raises(REFUSED[name][0], match=REFUSED[name][1]):
        listed(Trickle(REFUSED[name][2], 100))
