"""Images that bring along the ID of another image (PA18): an ID in a config is a claim, and takes nothing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.errors import Conflict, NotFound, Usage
from orlop.store import Store
from tests.support.images import small_image, write_layout
from tests.support.stores import opened
from tests.support.v1images import JOB, A, B, add


def brought(store: Store, tmp_path: Path, name: str, id: str, word: bytes, parent: str = "") -> str:
    """Pull an image over version 2 that claims to be `id`; returns its name."""
    place = tmp_path / f"from-{name}"
    with opened(place) as other:
        if parent:
            add(other, parent, files={"base": word})
        add(other, id, parent=parent, files={"word": word})
        other.tags.set(name, "", id, force=False)
    return store.pull(f"oci:{place}:docker.io/library/{name}:latest").name


def content(store: Store, name: str) -> bytes:
    with store.graph.plain_layer(store.tags.lookup(name), JOB) as layer:
        return layer.read()


@pytest.mark.parametrize("evil", ["aaa", "zzz"])
def test_PA18_a_registered_image_is_not_taken_over_by_a_claim(store: Store, tmp_path: Path, evil: str) -> None:
    add(store, A, files={"word": b"good"})
    store.tags.set("mine", "", A, force=False)
    name = brought(store, tmp_path, evil, A, b"evil")
    assert b"good" in content(store, "mine")
    assert b"good" in content(store, A)
    assert store.tags.by_id() == {A: ["mine:latest"]}
    for use in (lambda: store.tags.lookup(name), lambda: store.tags.set("more", "", name, force=True)):
        with pytest.raises(Conflict, match="another image's"):
            use()
    with pytest.raises(Conflict):
        store.graph.adopt(store.image(name), job=JOB)
    assert b"good" in content(store, A)


@pytest.mark.parametrize("evil", ["aaa", "zzz"])
def test_PA18_a_computed_id_is_not_taken_over_by_a_claim(store: Store, tmp_path: Path, evil: str) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    good = store.pull(f"oci:{tmp_path}/layout:one").name
    before = store.tags.lookup(good)
    name = brought(store, tmp_path, evil, before.image.id, b"evil", parent=B)
    assert store.tags.lookup(good).manifest == before.manifest
    assert store.graph.get(before.image.id).manifest == before.manifest
    with pytest.raises(Conflict):
        store.tags.lookup(name)
    with pytest.raises(Conflict):
        store.graph.adopt(store.image(name), job=JOB)
    assert store.graph.adopt(store.image(good), job=JOB) == before.image.id
    assert b"evil" not in content(store, good)


def test_PA18_of_two_claims_to_one_id_none_is_believed(store: Store, tmp_path: Path) -> None:
    names = [brought(store, tmp_path, name, A, name.encode()) for name in ("one", "two")]
    for name in names:
        with pytest.raises(Conflict):
            store.tags.lookup(name)
    with pytest.raises(NotFound):
        store.graph.get(A)
    assert store.tags.all() == {}
    # whose it is shows when one of them is registered
    add(store, A, files={"word": b"three"})
    assert b"three" in content(store, A)
    for name in names:
        with pytest.raises(Conflict):
            store.tags.lookup(name)


def test_PA18_two_names_of_one_image_are_no_quarrel(store: Store, tmp_path: Path) -> None:
    name = brought(store, tmp_path, "one", A, b"good", parent=B)
    store.tag(name, "again:1")
    assert store.tags.by_id() == {A: ["again:1", "one:latest"]}
    assert b"good" in content(store, "again:1")
    assert store.graph.adopt(store.image(name), job=JOB) == A
    assert store.tags.lookup("one").image.id == A


def test_PA18_a_claimed_ancestor_is_not_registered_over_another_image(store: Store, tmp_path: Path) -> None:
    add(store, B, files={"base": b"good"})
    name = brought(store, tmp_path, "one", A, b"top", parent=B)
    with pytest.raises(Conflict):
        store.graph.adopt(store.image(name), job=JOB)
    assert b"good" in content(store, B)


def test_PA17_what_keeps_the_image_of_a_root_is_not_removed_as_a_name_is(store: Store) -> None:
    add(store, A, files={"word": b"good"})
    roots = store.graph.roots("directory")
    roots.create("mine", A, job=JOB)
    for use in (store.untag, store.remove):
        with pytest.raises(Usage, match="goes with the root"):
            use("v1.invalid/root:mine")
    assert roots.exists("mine")
    roots.remove("mine")
    assert not roots.exists("mine")
