"""What one layer changes, case by case; that all of them together are right is tested against overlayfs's rules."""

from __future__ import annotations

import io

import pytest

from orlop.errors import Invalid, Unsafe
from orlop.model.limits import LAYERS
from orlop.model.tree import Entry, Kind
from orlop.tar.changes import Changes, layer_changes
from orlop.tar.reader import read_entries
from tests.support.tars import entry, opaque, tar, whiteout


def layer(*members: bytes) -> list[Entry]:
    return list(read_entries(io.BytesIO(tar(*members))))


def last(*layers: list[Entry]) -> Changes:
    return list(layer_changes(layers))[-1]


def written(changes: Changes) -> list[str]:
    """Paths, those of opaque directories with a star."""
    return [path.decode() + ("*" if opaque else "") for path, _, opaque in changes.written]


def removed(changes: Changes) -> list[str]:
    return [path.decode() for path in changes.removed]


BASE = layer(
    entry("d", Kind.DIRECTORY, mode=0o700), entry("d/s", Kind.DIRECTORY), entry("d/s/z"), entry("d/x"), entry("e")
)


def test_base_layer_is_written_whole_parents_first() -> None:
    changes = last(BASE)
    assert written(changes) == ["", "d", "d/s", "d/s/z", "d/x", "e"]
    assert changes.removed == []


def test_layer_without_members_writes_the_root_alone() -> None:
    changes = last(BASE, [])
    assert (written(changes), removed(changes)) == ([""], [])


def test_added_file_comes_with_the_way_to_it() -> None:
    changes = last(BASE, layer(entry("d/s/new")))
    assert written(changes) == ["", "d", "d/s", "d/s/new"]
    assert changes.written[1].inode.mode == 0o700


def test_removed_names_come_with_the_way_to_them() -> None:
    changes = last(BASE, layer(whiteout("d/s"), whiteout("e")))
    assert (written(changes), removed(changes)) == (["", "d"], ["d/s", "e"])


def test_opaque_whiteout_removes_name_by_name() -> None:
    changes = last(BASE, layer(opaque("d"), entry("d/x")))
    assert (written(changes), removed(changes)) == (["", "d", "d/x"], ["d/s"])


def test_directory_made_anew_is_opaque() -> None:
    changes = last(BASE, layer(whiteout("d"), entry("d/n")))
    assert (written(changes), removed(changes)) == (["", "d*", "d/n"], [])


def test_directory_in_place_of_a_file_needs_not_be_opaque() -> None:
    assert written(last(BASE, layer(entry("e", Kind.DIRECTORY)))) == ["", "e"]


def test_directory_that_comes_and_goes_within_a_layer_leaves_no_trace() -> None:
    changes = last(BASE, layer(entry("d/s/q"), entry("d/s", data=b"f"), entry("d/s", Kind.DIRECTORY), entry("d/s/r")))
    assert (written(changes), removed(changes)) == (["", "d", "d/s*", "d/s/r"], [])


def test_metadata_of_a_directory_is_a_change() -> None:
    changes = last(BASE, layer(entry("d/s", Kind.DIRECTORY, mode=0o711)))
    assert written(changes) == ["", "d", "d/s"]


def test_all_names_of_a_file_that_gets_one_more_are_written() -> None:
    lower = layer(entry("d/a", data=b"a"), entry("b", Kind.HARDLINK, link="d/a"), entry("other"))
    changes = last(lower, layer(entry("c", Kind.HARDLINK, link="b")))
    assert written(changes) == ["", "b", "c", "d", "d/a"]
    assert len({id(inode) for _, inode, _ in changes.written if inode.kind is Kind.FILE}) == 1
    assert changes.written[1].inode.layer == 0


def test_hard_links_within_a_layer_touch_nothing_else() -> None:
    changes = last(BASE, layer(entry("n"), entry("m", Kind.HARDLINK, link="n")))
    assert written(changes) == ["", "m", "n"]


def test_later_layers_have_their_own_changes_only() -> None:
    changes = last(BASE, layer(entry("n"), whiteout("e"), entry("d", Kind.DIRECTORY)), layer(entry("m")))
    assert (written(changes), removed(changes)) == (["", "m"], [])


def test_bad_layers_are_refused_as_by_merge() -> None:
    with pytest.raises(Invalid, match="not a directory"):
        last(BASE, layer(entry("e/x")))


def test_RX09_too_many_layers_are_refused() -> None:
    with pytest.raises(Unsafe, match="layers"):
        next(layer_changes([[]] * (LAYERS + 1)))
