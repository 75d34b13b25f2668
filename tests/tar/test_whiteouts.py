"""Whiteouts (OCI image-spec 1.1, layer.md): they hide what lower layers brought, and nothing of their own."""

from __future__ import annotations

import pytest

from orlop.errors import Unsafe
from orlop.model.tree import Kind
from orlop.tar.merge import merge
from tests.support.tars import entry, opaque, parsed, whiteout
from tests.tar.trees import BASE, at, directory, hard_link, layer, merged, names, symlink


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", "/.wh..", "d/s/../.wh.."])
def test_EX11_whiteout_of_no_name_or_of_dots_is_refused(name: str) -> None:
    with pytest.raises(Unsafe, match="whiteout of"):
        merge([BASE, layer(entry(name))])


@pytest.mark.parametrize("name", [".wh.d/x", "d/.wh.s/a/b", ".wh..wh..opq/x"])
def test_EX11_member_below_a_whiteout_is_refused(name: str) -> None:
    with pytest.raises(Unsafe, match="below a whiteout"):
        merge([BASE, layer(entry(name))])


@pytest.mark.parametrize(
    "name",
    [".wh.none", "none/.wh.x", "e/.wh.x", "e/x/.wh.y", "dead/.wh.x", "d/.wh..wh.x", ".wh..wh.aufs", "e/.wh..wh..opq"],
)
def test_EX11_whiteout_of_nothing_changes_nothing(name: str) -> None:
    lower = [*BASE, *layer(symlink("dead", "/no/where"))]
    assert merged(lower, layer(entry(name))) == merged(lower)


@pytest.mark.parametrize("name", [".wh.d", "/.wh.d", "../.wh.d", "./.wh.d", "d/../.wh.d", "none/../.wh.d"])
def test_EX11_whiteout_removes_a_whole_directory(name: str) -> None:
    assert merged(BASE, layer(entry(name))) == ["e"]


def test_EX11_whiteout_may_be_of_any_kind() -> None:
    assert merged(BASE, layer(entry(".wh.d/", Kind.DIRECTORY), symlink(".wh.e", "x"))) == []


def test_EX11_whiteout_through_a_symlinked_directory() -> None:
    lower = [*BASE, *layer(symlink("l", "/d"))]
    assert merged(lower, layer(whiteout("l/s"))) == ["d", "d/x", "d/y", "e", "l"]


def test_EX11_whiteout_of_a_symlink_removes_the_link_alone() -> None:
    lower = [*BASE, *layer(symlink("l", "/d"))]
    assert merged(lower, layer(whiteout("l"))) == merged(BASE)


@pytest.mark.parametrize("first", [True, False])
def test_EX11_whiteout_spares_its_own_layer(first: bool) -> None:
    added = [entry("d/new")]
    members = [whiteout("d"), *added] if first else [*added, whiteout("d")]
    tree = merge([BASE, layer(*members)])
    assert names(tree) == ["d", "d/new", "e"]
    assert (at(tree, "d").mode, at(tree, "d").mtime_ns) == (0o755, 0)


def test_EX11_whiteout_spares_hard_links_of_its_own_layer_only() -> None:
    lower = layer(entry("a"), hard_link("b", "a"))
    tree = merge([lower, layer(hard_link("c", "a"), whiteout("b"), whiteout("c"))])
    assert names(tree) == ["a", "c"]
    assert at(tree, "a").links == 2


def test_EX11_hard_link_is_spared_in_its_own_layer_only() -> None:
    assert merged(layer(entry("a")), layer(hard_link("c", "a")), layer(whiteout("c"))) == ["a"]


def test_EX11_whiteout_in_the_base_layer_spares_it() -> None:
    assert merged(layer(entry("a"), whiteout("a"), entry(".wh..wh..opq"))) == ["a"]


def test_EX11_name_with_the_prefix_inside_is_an_ordinary_name() -> None:
    assert merged(layer(entry("a.wh.b"), entry("d.wh./x"))) == ["a.wh.b", "d.wh.", "d.wh./x"]


@pytest.mark.parametrize("first", [True, False])
def test_EX12_opaque_spares_its_own_layer_wherever_it_stands(first: bool) -> None:
    added = [directory("d", mode=0o711), entry("d/new"), entry("d/s/new")]
    members = [opaque("d"), *added] if first else [*added, opaque("d")]
    tree = merge([BASE, layer(*members)])
    assert names(tree) == ["d", "d/new", "d/s", "d/s/new", "e"]
    assert (at(tree, "d").mode, at(tree, "d/s").mode) == (0o711, 0o755)


def test_EX12_opaque_alone_keeps_the_directory_itself() -> None:
    tree = merge([BASE, layer(opaque("d"))])
    assert names(tree) == ["d", "e"]
    assert (at(tree, "d").mode, at(tree, "d").links) == (0o700, 2)


def test_EX12_opaque_on_the_root() -> None:
    assert merged(BASE, layer(entry(".wh..wh..opq"), entry("n"))) == ["n"]


def test_EX12_opaque_through_a_symlink() -> None:
    lower = [*BASE, *layer(symlink("l", "d"))]
    assert merged(lower, layer(opaque("l"))) == ["d", "e", "l"]


def test_EX12_opaque_directory_that_replaces_a_link_leaves_the_target_alone() -> None:
    lower = [*BASE, *layer(symlink("l", "d"))]
    assert merged(lower, layer(directory("l"), opaque("l"))) == merged(lower)


def test_EX12_opaque_on_nothing_makes_nothing() -> None:
    assert merged(BASE, layer(opaque("none"), opaque("d/none"))) == merged(BASE)


def test_EX12_nested_opaques() -> None:
    assert merged(BASE, layer(opaque("d/s"), entry("d/s/n"), opaque("d"))) == ["d", "d/s", "d/s/n", "e"]


@pytest.mark.parametrize("again", [".wh.d", "d/.wh..wh..opq", ".wh..wh..opq"])
def test_EX12_RX09_whiteouts_without_end_of_a_large_directory_are_no_work(again: str) -> None:
    """Each would look at every name there: half an hour for a layer of a few hundred KB, compressed."""
    names_of_this_layer = [parsed(f"d/{number}") for number in range(30_000)]
    tree = merge([BASE, [*names_of_this_layer, *[parsed(again)] * 30_000, parsed("d/last"), parsed(again)]])
    assert len(at(tree, "d").children or ()) == 30_001
