"""Layer semantics by hazard and by example. That the kernel's overlay and umoci agree is tested with the drivers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orlop.errors import Error, Invalid, Unsafe
from orlop.model.limits import LAYERS
from orlop.model.tree import Entry, Kind
from orlop.tar.merge import merge
from tests.support.tars import entry, gnu_long, opaque, parsed, pax, whiteout
from tests.tar.trees import BASE, at, directory, hard_link, layer, merged, names, symlink


@pytest.mark.parametrize(
    "member",
    [
        entry("../x"),
        entry("a/../../x"),
        entry("./../x"),
        entry("../" * 12 + "x"),
        entry("/x"),
        entry("//x"),
        entry("/../x"),
        entry("./x"),
        entry(".//./x"),
        entry("nothing/../x"),
        pax({"path": "../../x"}) + entry("short"),
        gnu_long("/../../x") + entry("short"),
    ],
)
def test_EX01_EX02_names_are_clamped_to_the_root(member: bytes) -> None:
    assert merged(layer(member)) == ["x"]


def test_EX01_prefix_with_dots_is_clamped_to_the_root() -> None:
    entries = [parsed("../../a/../b/./c")]
    assert merged(entries) == ["b", "b/c"]


@pytest.mark.parametrize("target", ["/out/side", "../../out/side", "out/side", "/../out/./side/"])
def test_EX03_writing_through_a_symlink_stays_inside(target: str) -> None:
    tree = merge([layer(symlink("l", target), entry("l/x"))])
    assert names(tree) == ["l", "out", "out/side", "out/side/x"]
    assert at(tree, "l").kind is Kind.SYMLINK


def test_EX03_chain_of_forty_links_is_followed() -> None:
    chain = [symlink(f"l{number}", f"l{number + 1}") for number in range(40)]
    assert "d/x" in merged(layer(directory("d"), *chain, symlink("l40", "/d"), entry("l0/x")))


@pytest.mark.parametrize(
    "loop", [(symlink("l", "l"),), (symlink("l", "m"), symlink("m", "/l")), (symlink("l", "l/l/l"),)]
)
def test_EX03_loops_of_links_are_refused(loop: tuple[bytes, ...]) -> None:
    with pytest.raises(Unsafe, match="255 links"):
        merge([layer(*loop, entry("l/x"))])


def test_EX03_links_that_multiply_are_refused() -> None:
    links = [symlink("a0", "/d")] + [symlink(f"a{n}", f"/a{n - 1}/../a{n - 1}") for n in range(1, 30)]
    with pytest.raises(Unsafe, match="255 links"):
        merge([layer(directory("d"), *links, entry("a29/x"))])


def test_EX03_links_of_many_parts_are_refused() -> None:
    links = [symlink(f"a{n}", "x/../" * 800 + f"a{n + 1}") for n in range(30)]
    with pytest.raises(Unsafe, match="8192 steps"):
        merge([layer(*links, entry("a0/x"))])


def test_EX03_RX09_links_that_take_long_for_every_member_are_refused() -> None:
    links = [parsed(f"a{n}", Kind.SYMLINK, link="x/../" * 400 + f"a{n + 1}") for n in range(9)]
    with pytest.raises(Unsafe, match="10000000 steps to follow in all"):
        merge([links, [parsed(f"a0/.wh.{n}") for n in range(1400)]])


@pytest.mark.parametrize("over", ["", ".", "/", "./", "..", "a/.."])
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.SYMLINK, Kind.CHARACTER, Kind.HARDLINK, Kind.FIFO])
def test_EX04_root_is_never_replaced(over: str, kind: Kind) -> None:
    with pytest.raises(Unsafe, match="replaces the root"):
        merge([BASE, [parsed(over or ".", kind, link="/tmp", major=1)]])


def test_EX04_symlinked_parent_of_an_earlier_layer_is_followed_inside() -> None:
    tree = merge([layer(directory("d"), symlink("l", "/d")), layer(entry("l/x"))])
    assert names(tree) == ["d", "d/x", "l"]


@pytest.mark.parametrize("split", [False, True])
def test_EX05_file_over_a_symlink_replaces_the_link(split: bool) -> None:
    lower, upper = [entry("victim", data=b"v"), symlink("l", "victim")], [entry("l", data=b"new!")]
    tree = merge([layer(*lower), layer(*upper)] if split else [layer(*lower, *upper)])
    assert (at(tree, "l").kind, at(tree, "l").size) == (Kind.FILE, 4)
    assert at(tree, "victim").size == 1


@pytest.mark.parametrize("target", ["/d/x", "../d/x", "d/x", "./d//x", "l/x", "/l/x", "d/s/../x"])
def test_EX06_hard_link_targets_are_inside(target: str) -> None:
    tree = merge([BASE, layer(symlink("l", "/d"), hard_link("h", target))])
    assert at(tree, "h") is at(tree, "d/x")
    assert at(tree, "h").links == 2


def test_EX06_hard_link_to_a_symlink_shares_the_link() -> None:
    tree = merge([layer(symlink("l", "/etc/passwd"), hard_link("h", "l"))])
    assert at(tree, "h") is at(tree, "l")
    assert at(tree, "h").kind is Kind.SYMLINK


@pytest.mark.parametrize("target", ["missing", "d/missing", "missing/x", "e/x", "/etc/hostname", "h"])
def test_EX06_hard_link_to_nothing_is_refused(target: str) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        merge([BASE, layer(hard_link("h", target))])


@pytest.mark.parametrize("target", ["d", "/", ".", "d/..", "d/s"])
def test_hard_link_to_a_directory_is_refused(target: str) -> None:
    with pytest.raises(Unsafe, match="hard link to the directory"):
        merge([BASE, layer(hard_link("h", target))])


def test_EX07_hard_link_takes_nothing_from_its_own_header() -> None:
    lower = layer(entry("f", data=b"f", mode=0o600, mtime=5, xattrs={"user.a": b"1"}))
    tree = merge([lower, layer(entry("h", Kind.HARDLINK, link="f", mode=0o4777, uid=7, mtime=9))])
    inode = at(tree, "h")
    assert (inode.mode, inode.uid, inode.mtime_ns, inode.layer) == (0o600, 0, 5_000_000_000, 0)
    assert inode.xattrs == ((b"user.a", b"1"),)


@pytest.mark.parametrize("split", [False, True])
def test_EX08_directory_over_a_symlink_replaces_the_link(split: bool) -> None:
    lower = [directory("victim"), symlink("l", "victim")]
    upper = [directory("l", mode=0o777), entry("l/x")]
    tree = merge([layer(*lower), layer(*upper)] if split else [layer(*lower, *upper)])
    assert names(tree) == ["l", "l/x", "victim"]
    assert at(tree, "victim").mode == 0o700


def test_EX13_devices_that_overlayfs_would_obey_are_dropped_with_a_note() -> None:
    tree = merge([BASE, layer(entry("d/x", Kind.CHARACTER), entry("zero", Kind.CHARACTER, major=1, minor=5))])
    assert names(tree) == [*merged(BASE), "zero"]
    assert at(tree, "d/x").kind is Kind.FILE
    assert tree.notes == ["layer 1: d/x: dropped: device 0:0 would be a whiteout to overlayfs"]


def test_EX13_xattrs_that_overlayfs_would_obey_are_dropped_with_a_note() -> None:
    bad = {"trusted.overlay.opaque": b"y", "user.overlay.redirect": b"/", "user.kept": b"1"}
    tree = merge(
        [layer(entry("f", xattrs=bad), entry("d", Kind.DIRECTORY, xattrs=bad), entry(".", Kind.DIRECTORY, xattrs=bad))]
    )
    assert {path: inode.xattrs for path, inode in tree.walk()} == dict.fromkeys(
        (b"", b"d", b"f"), ((b"user.kept", b"1"),)
    )
    assert len(tree.notes) == 3


@pytest.mark.parametrize("kind", [Kind.SYMLINK, Kind.FIFO, Kind.CHARACTER])
def test_EX18_attributes_of_users_are_dropped_with_a_note_where_linux_has_none(kind: Kind) -> None:
    member = entry("n", kind, link="t", major=1, xattrs={"user.a": b"1", "trusted.b": b"2"})
    tree = merge([layer(member)])
    assert at(tree, "n").xattrs == ((b"trusted.b", b"2"),)
    assert tree.notes == [f"layer 0: n: extended attributes of users dropped from a {kind.name.lower()}"]


def test_symlinks_have_the_mode_that_linux_shows() -> None:
    tree = merge([layer(entry("l", Kind.SYMLINK, link="x", mode=0o4644)), layer(hard_link("h", "l"))])
    assert at(tree, "h").mode == 0o777


REPLACEMENTS = {
    Kind.FILE: entry("d", data=b"1"),
    Kind.SYMLINK: symlink("d", "e"),
    Kind.FIFO: entry("d", Kind.FIFO),
    Kind.CHARACTER: entry("d", Kind.CHARACTER, major=1),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_EX14_directory_is_replaced_by_anything_else(kind: Kind) -> None:
    tree = merge([BASE, layer(REPLACEMENTS[kind])])
    assert names(tree) == ["d", "e"]
    assert at(tree, "d").kind is kind
    assert tree.root.links == 2


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_EX14_anything_else_is_replaced_by_a_directory(kind: Kind) -> None:
    tree = merge([layer(REPLACEMENTS[kind]), layer(directory("d"), entry("d/x"))])
    assert names(tree) == ["d", "d/x"]
    assert tree.root.links == 3


def test_EX14_directory_over_directory_keeps_children_and_takes_metadata() -> None:
    lower = layer(entry("d", Kind.DIRECTORY, mode=0o700, xattrs={"user.old": b"1"}), entry("d/x"))
    upper = layer(entry("d/", Kind.DIRECTORY, mode=0o1777, uid=5, gid=6, mtime=9, xattrs={"user.new": b"2"}))
    tree = merge([lower, upper])
    inode = at(tree, "d")
    assert names(tree) == ["d", "d/x"]
    assert (inode.mode, inode.uid, inode.gid, inode.mtime_ns) == (0o1777, 5, 6, 9_000_000_000)
    assert inode.xattrs == ((b"user.new", b"2"),)


def test_EX14_file_used_as_a_directory_is_refused() -> None:
    with pytest.raises(Invalid, match="not a directory"):
        merge([BASE, layer(entry("e/x"))])


def test_EX14_parent_that_was_replaced_is_looked_up_again() -> None:
    lower = layer(directory("e"), directory("d"))
    assert merged(lower, layer(entry("d/x"), symlink("d", "e"), entry("d/y"))) == ["d", "e", "e/y"]
    with pytest.raises(Invalid, match="not a directory"):
        merge([lower, layer(entry("d/x"), entry("d"), entry("d/y"))])


def test_EX14_link_that_goes_elsewhere_later_is_followed_there() -> None:
    members = [directory("a"), directory("b"), symlink("l", "a"), entry("l/x"), symlink("l", "b"), entry("l/y")]
    assert merged(layer(*members)) == ["a", "a/x", "b", "b/y", "l"]


def test_EX14_root_takes_metadata() -> None:
    tree = merge([BASE, layer(entry("./", Kind.DIRECTORY, mode=0o711, uid=3))])
    assert (tree.root.mode, tree.root.uid) == (0o711, 3)
    assert names(tree) == merged(BASE)


def test_EX21_names_are_bytes() -> None:
    raw = [b"A", b"a", "é".encode(), "é".encode(), b"\xff\xfe", b"con", b"dots..."]
    tree = merge([layer(*map(entry, raw))])
    assert set(dict(tree.walk())) == {b"", *raw}


def test_EX22_deep_trees_do_not_recurse() -> None:
    deep = "/".join("d" * 2047)
    tree = merge([layer(entry(deep + "/", Kind.DIRECTORY), entry(deep + "/f"))])
    assert len(names(tree)) == 2048
    assert names(merge([layer(entry(deep + "/f")), layer(whiteout("d"))])) == []
    assert merged(layer(entry(deep + "/f")), layer(entry("n"), opaque("."))) == ["n"]


def test_EX22_path_that_grows_by_links_is_refused() -> None:
    half = "/".join("d" * 1500)
    with pytest.raises(Unsafe, match="real path is too long"):
        merge([layer(entry(half + "/", Kind.DIRECTORY), symlink("l", half), entry("l/" + half + "/f"))])


def test_EX24_implied_parents_are_0755_root_root_of_time_zero() -> None:
    tree = merge([layer(entry("a/b/c", uid=5))])
    for path in ("a", "a/b"):
        inode = at(tree, path)
        assert (inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.xattrs) == (0o755, 0, 0, 0, ())


def test_EX24_implied_parent_named_later_takes_metadata() -> None:
    tree = merge([layer(entry("a/b"), directory("a", mode=0o2750))])
    assert (at(tree, "a").mode, names(tree)) == (0o2750, ["a", "a/b"])


def test_PA08_last_of_duplicates_counts_and_is_noted() -> None:
    tree = merge([layer(entry("a", data=b"1"), entry("./a", data=b"22"))])
    assert at(tree, "a").size == 2
    assert tree.notes == ["layer 0: ./a: comes twice; the later one counts"]


def test_PA08_notes_are_bounded() -> None:
    tree = merge([[parsed("a")] * 5000])
    assert len(tree.notes) == 1001


def test_RX09_more_layers_than_an_image_may_have_are_refused() -> None:
    many: Sequence[Sequence[Entry]] = [()] * (LAYERS + 1)
    assert names(merge(many[1:])) == []
    with pytest.raises(Unsafe, match="layers"):
        merge(many)


def test_aufs_bookkeeping_is_left_out_but_its_pool_of_links_works() -> None:
    pool = entry(".wh..wh.plnk/12.34", data=b"abc", mode=0o600)
    tree = merge(
        [
            layer(
                entry(".wh..wh.orph/", Kind.DIRECTORY), pool, hard_link("a", "/.wh..wh.plnk/12.34"), hard_link("b", "a")
            )
        ]
    )
    assert names(tree) == ["a", "b"]
    assert at(tree, "a") is at(tree, "b")
    assert (at(tree, "a").links, at(tree, "a").size) == (2, 3)


def test_pool_of_links_ends_with_its_layer() -> None:
    with pytest.raises(Invalid, match="does not exist"):
        merge([layer(entry(".wh..wh.plnk/1")), layer(hard_link("a", ".wh..wh.plnk/1"))])


def test_links_are_counted() -> None:
    tree = merge([layer(entry("a"), hard_link("b", "a"), hard_link("d/c", "a")), layer(whiteout("d"), entry("b"))])
    assert (at(tree, "a").links, at(tree, "b").links, tree.root.links) == (1, 1, 2)
    tree = merge([layer(entry("a"), hard_link("b", "a")), layer(hard_link("c", "b"), hard_link("c", "a"))])
    assert at(tree, "a").links == 3


def test_directories_count_their_subdirectories() -> None:
    tree = merge([layer(entry("a/b/c/f"), entry("a/d/f")), layer(whiteout("a/d"), entry("a/b", data=b"f"))])
    assert [(path, inode.links) for path, inode in tree.walk()] == [(b"", 3), (b"a", 2), (b"a/b", 1)]


def test_error_messages_carry_no_control_characters() -> None:
    with pytest.raises(Error) as caught:
        merge([layer(entry(b"\x1b[2J\xff/.wh.."))])
    assert "\\x1b[2J\\xff" in str(caught.value)
