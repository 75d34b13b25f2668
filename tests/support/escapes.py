"""Archives that try to leave the root: each one way that some tool was led outside, the hazard's ID in its name.

`escapes(victim)` gives, by name, the layers (plain tars) of an image; `victim` is a directory outside with a `file`, a
directory `sub` and a pipe in it, and `bait` a directory that the process stands in.
"""

from __future__ import annotations

from pathlib import Path

from orlop.model.tree import Kind
from tests.support.tars import entry, gnu_long, header, opaque, pad, pax, record, tar, whiteout

Layers = tuple[bytes, ...]
UP = "../" * 30
_DIR, _LINK, _HARD, _NODE = Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK, Kind.CHARACTER


def _file(name: str | bytes) -> bytes:
    return entry(name, data=b"evil", mode=0o777)


def _link(name: str, target: str) -> bytes:
    return entry(name, _LINK, link=target)


def escapes(victim: Path) -> dict[str, Layers]:
    """All of them. Some are taken, and then stay inside the root; some are refused."""
    return {**_names(victim), **_links(victim), **_hard_links(victim), **_bypasses(victim), **_others(victim)}


def _names(victim: Path) -> dict[str, Layers]:
    there = str(victim)[1:]
    deep = f"{UP}{there}/escaped"
    return {
        "EX01_dots": (tar(_file("../escaped")),),
        "EX01_dots_inside": (tar(_file("a/../../escaped")),),
        "EX01_dots_after_a_dot": (tar(_file("./../escaped")),),
        "EX01_dots_to_the_victim": (tar(_file(deep)),),
        "EX01_dots_in_the_prefix": (tar(header("escaped", prefix=UP + "x", size=4) + pad(b"evil")),),
        "EX01_dots_in_pax": (tar(pax({"path": deep}), header("harmless", size=4) + pad(b"evil")),),
        "EX01_dots_in_gnu": (tar(gnu_long(deep), header("harmless", size=4) + pad(b"evil")),),
        "EX01_dots_in_a_directory": (tar(entry(f"{UP}{there}/made/", _DIR, mode=0o777)),),
        "EX01_dots_in_a_link": (tar(entry(f"{UP}{there}/link", _LINK, link="/")),),
        "EX02_absolute": (tar(_file(f"/{there}/escaped")),),
        "EX02_absolute_twice": (tar(_file(f"//{there}/escaped")),),
        "EX02_absolute_overwriting": (tar(_file(f"/{there}/file")),),
        "EX02_absolute_pax_directory": (tar(pax({"path": f"/{there}/sub/"}) + header("d/", b"5", mode=0o777)),),
    }


def _links(victim: Path) -> dict[str, Layers]:
    there = str(victim)
    up = UP + there[1:]
    chain = [_link(f"l{number}", f"l{number + 1}") for number in range(40)]
    return {
        "EX03_through_an_absolute_link": (tar(_link("d", there), _file("d/escaped")),),
        "EX03_through_a_relative_link": (tar(_link("d", up), _file("d/escaped")),),
        "EX03_through_two_links": (tar(_link("a", there), _link("b", "a"), _file("b/escaped")),),
        "EX03_through_forty_links": (tar(*chain, _link("l40", there), _file("l0/escaped")),),
        "EX03_through_a_loop": (tar(_link("a", "b"), _link("b", "a"), _file("a/escaped")),),
        "EX03_directories_through_a_link": (tar(_link("d", there), entry("d/x/y/z/", _DIR)),),
        "EX03_implied_directories_through_a_link": (tar(_link("d", there), _file("d/x/y/z")),),
        "EX03_through_a_link_to_the_root": (tar(_link("r", "/"), _file(f"r{there}/escaped")),),
        "EX03_through_a_link_to_the_parent": (tar(_link("up", ".."), _file("up/up/escaped")),),
        "EX03_through_proc": (tar(_link("p", "/proc/self/root"), _file(f"p{there}/escaped")),),
        "EX03_through_proc_cwd": (tar(_link("p", "/proc/self/cwd"), _file("p/escaped")),),
        "EX04_link_of_a_lower_layer": (tar(_link("d", there)), tar(_file("d/escaped"))),
        "EX04_link_in_the_middle_of_three": (tar(entry("d/", _DIR)), tar(_link("d", there)), tar(_file("d/escaped"))),
        "EX04_root_as_a_link": (tar(entry("./", _LINK, link=there)), tar(_file("escaped"))),
        "EX04_root_as_a_link_named_dot": (tar(_link(".", there), _file("escaped")),),
        "EX04_root_as_a_file": (tar(_file(".")), tar(_file("escaped"))),
        "EX04_root_as_a_device": (tar(entry(".", _NODE, major=1, minor=3)),),
        "EX04_root_as_a_hard_link": (tar(entry(".", _HARD, link=there)),),
        "EX05_file_over_a_link": (tar(_link("l", f"{there}/file"), _file("l")),),
        "EX05_file_over_a_link_of_a_lower_layer": (tar(_link("l", f"{there}/file")), tar(_file("l"))),
        "EX05_pipe_over_a_link": (tar(_link("l", f"{there}/pipe"), entry("l", Kind.FIFO), _file("l")),),
        "EX05_link_over_a_link": (tar(_link("l", there), _link("l", f"{there}/sub"), _file("l/escaped")),),
        "EX08_directory_over_a_link": (tar(_link("d", there), entry("d/", _DIR, mode=0o777, mtime=1)),),
        "EX08_directory_over_a_link_of_a_lower_layer": (tar(_link("d", there)), tar(entry("d", _DIR, mode=0o777))),
        "EX08_directory_through_a_link": (tar(_link("d", there), entry("d/sub/", _DIR, mode=0o777, uid=7)),),
    }


def _hard_links(victim: Path) -> dict[str, Layers]:
    file = f"{victim}/file"
    to_link = _link("l", file), entry("h", _HARD, link="l", mode=0o4777, uid=7, mtime=9)
    return {
        "EX06_absolute": (tar(entry("h", _HARD, link=file), _file("h")),),
        "EX06_dots": (tar(entry("h", _HARD, link=UP + file[1:]), _file("h")),),
        "EX06_through_a_link": (tar(_link("d", str(victim)), entry("h", _HARD, link="d/file"), _file("h")),),
        "EX06_through_a_link_of_a_lower_layer": (
            tar(_link("d", str(victim))),
            tar(entry("h", _HARD, link="d/file"), _file("h")),
        ),
        "EX06_relative_to_where_the_process_is": (tar(entry("h", _HARD, link="bait"), _file("h")),),
        "EX06_to_a_link_then_written": (tar(_link("l", file), entry("h", _HARD, link="l"), _file("h")),),
        "EX06_to_a_directory": (tar(_link("l", str(victim)), entry("h", _HARD, link="l/sub"), _file("h/escaped")),),
        "EX07_mode_through_a_link": (tar(*to_link),),
        "EX07_mode_through_a_link_of_a_lower_layer": (tar(to_link[0]), tar(to_link[1])),
        "EX07_mode_of_the_victim": (tar(entry("h", _HARD, link=file, mode=0o4777, uid=7, mtime=9)),),
        "EX07_data_of_a_hard_link": (
            tar(_link("l", file), header("h", b"1", link="l", size=4, mode=0o777) + pad(b"evil")),
        ),
    }


def _bypasses(victim: Path) -> dict[str, Layers]:
    """What went through the filters of CPython's tarfile, and their like."""
    there = str(victim)
    # as in CVE-2025-4517: a path that realpath() gives up on, then one step more
    step = "d" * 247
    deep, chain = "", []
    for letter in "abcdefghijklmnop":
        chain += [entry(f"{deep}{step}/", _DIR), _link(f"{deep}{letter}", step)]
        deep += f"{step}/"
    short = "/".join("abcdefghijklmnop")
    end = f"{short}/{'l' * 254}"
    long_link = [*chain, _link(end, "../" * 16), _link("escape", f"{end}/..{there}"), _file("escape/escaped")]
    empties = [pax({"linkpath": "d/../" * number + "."}) + _link(f"e{number}", "x") for number in range(1, 60)]
    moved = [
        entry("a/b/c/", _DIR),
        _link("a/b/c/l", f"../../../..{there}/file"),
        entry("l", _HARD, link="a/b/c/l"),
        _file("l"),
    ]
    return {
        "EX09_chain_beyond_path_max": (tar(*long_link),),
        "EX09_links_that_cancel_out": (tar(entry("d/", _DIR), *empties, _file(f"e59/..{there}/escaped")),),
        "EX09_hard_link_made_shallower": (tar(*moved),),
        "EX09_directory_outside_and_back": (tar(_file("../evil/../out/f")),),
        "EX09_empty_name": (tar(header("", size=4) + pad(b"evil")),),
        "EX09_name_of_a_slash": (tar(header("/", size=4) + pad(b"evil")),),
        "EX09_name_of_slashes_and_dots": (tar(header("/.//./", b"2", link=there), _file("escaped")),),
        "EX09_nul_in_a_name": (tar(pax({"path": f"ok\0/{UP}{there}"}), _file("x")),),
        "EX09_newline_in_a_name": (tar(_file(f"ok\n{there}/escaped")),),
        "EX09_backslashes": (tar(_file("..\\..\\escaped"), _file("C:\\escaped")),),
        "EX09_other_dots": (
            tar(_file("\u2025/escaped"), _file(b"\xc0\xae\xc0\xae/escaped"), _file("...\x7f/escaped")),
        ),
        "EX09_gnu_and_pax_names_differ": (tar(gnu_long("ok"), pax({"path": f"{there}/escaped"}), _file("x")),),
        "EX09_link_and_its_pax_target_differ": (tar(pax({"linkpath": there}), _link("d", "."), _file("d/escaped")),),
        "EX22_dots_behind_a_long_path": (tar(_file("a/" * 1500 + "../" * 1600 + "escaped")),),
    }


def _others(victim: Path) -> dict[str, Layers]:
    there = str(victim)
    link = tar(_link("d", there))
    redirect = {"trusted.overlay.redirect": f"{UP}{there[1:]}".encode(), "trusted.overlay.opaque": b"y"}
    acl = {"security.capability": bytes.fromhex("0100000200040000000000000000000000000000"), "user.evil": b"1"}
    return {
        "EX11_whiteout_through_a_link": (link, tar(whiteout("d/file"), whiteout("d/sub"))),
        "EX11_whiteout_of_dots": (link, tar(entry("d/.wh..."), entry(".wh..."))),
        "EX11_whiteout_of_a_dot": (link, tar(entry("d/.wh.."))),
        "EX11_whiteout_of_nothing": (link, tar(entry("d/.wh."))),
        "EX11_whiteout_with_a_slash_in_pax": (link, tar(pax({"path": f".wh.{UP}{there[1:]}/file"}), _file("x"))),
        "EX11_whiteout_of_the_victim": (link, tar(entry(f"{UP}{there[1:]}/.wh.file"))),
        "EX12_opaque_through_a_link": (link, tar(opaque("d"), opaque("d/sub"))),
        "EX12_opaque_of_the_victim": (link, tar(opaque(f"{UP}{there[1:]}"))),
        "EX13_overlay_redirect": (tar(entry("d/", _DIR)), tar(entry("d/", _DIR, xattrs=redirect), _file("d/f"))),
        "EX13_whiteout_devices": (tar(_file("f")), tar(entry("f", _NODE), entry("d/", _DIR), entry("d/x", _NODE))),
        "EX15_nodes": (tar(entry("n", _NODE, major=1, minor=3, mode=0o666), entry("p", Kind.FIFO), _file("n")),),
        "EX15_write_below_a_node": (tar(entry("n", _NODE, major=1, minor=3), _file("n/escaped")),),
        "EX16_setuid_over_a_link": (tar(_link("l", f"{there}/file"), entry("l", mode=0o6777, uid=0, data=b"s")),),
        "EX18_attributes_through_a_link": (
            tar(_link("l", f"{there}/file"), entry("l2", _LINK, link=f"{there}/file", xattrs=acl)),
        ),
        "EX18_attributes_of_a_hard_link_to_a_link": (
            tar(_link("l", f"{there}/file"), entry("h", _HARD, link="l", xattrs=acl)),
        ),
        "EX19_owner_through_a_link": (
            tar(_link("l", f"{there}/file"), entry("l", _LINK, link=f"{there}/file", uid=7, gid=7)),
        ),
        "EX20_times_through_a_link": (tar(pax({"mtime": 1}), _link("l", f"{there}/file")),),
        "EX26_links_where_runtimes_mount": (
            tar(_link("proc", there), _link("dev", there), _link("sys", there), _link("etc", there)),
        ),
        "EX26_accounts_through_links": (tar(entry("etc/", _DIR), _link("etc/passwd", f"{there}/pipe")),),
        "PA01_archive_in_an_archive": (
            tar(pax({"size": 2048}), header("n", size=1) + tar(_file(f"/{there}/escaped"))),
        ),
        "PA02_size_that_hides_a_member": (
            tar(record("size", "0") and pax({"size": 0}), header("n", size=1024) + tar(_file("../escaped"))),
        ),
    }
