"""T11: `image_delete`, by the rules of Docker 1.2."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from orlop.store import Store
from tests.support.images import make_layer, small_image, write_layout
from tests.support.trees import mounted_root
from tests.support.v1images import JOB, A, B, C, D, add, v1

from .running import run


def delete(store: Store, name: str, **environment: Any) -> list[tuple[str, str]]:
    ran = run(store, "image_delete", name, **environment)
    assert (ran.status, ran.err) == (0, "")
    return [(key, value) for row in ran.rows for key, value in row.items()]


def conflict(store: Store, name: str, **environment: Any) -> str:
    ran = run(store, "image_delete", name, **environment)
    assert (ran.status, ran.out) == (1, b"")
    return ran.error


@pytest.fixture
def line(store: Store) -> Store:
    """A <- B <- C, all with layers; C is `app:1`."""
    add(store, A, files={"a": b"1"})
    add(store, B, A, {"b": b"2"})
    add(store, C, B, {"c": b"3"})
    store.tags.set("app", "1", C, force=False)
    return store


def test_T11_a_name_goes_then_the_image_then_its_ancestors(line: Store) -> None:
    rows = delete(line, "app:1")
    assert rows == [("Untagged", "app:1"), ("Deleted", C), ("Deleted", B), ("Deleted", A)]
    assert line.graph.nodes() == {}
    assert line.df().blobs == 0
    assert line.fsck().findings == ()


@pytest.mark.parametrize("name", [C, C[:10], "app:1"])
def test_T11_without_pruning_the_ancestors_stay(line: Store, name: str) -> None:
    assert delete(line, name, noprune="1") == [("Untagged", "app:1"), ("Deleted", C)]
    assert set(line.graph.nodes()) == {A, B}


def test_T11_the_tag_is_latest_by_default(store: Store) -> None:
    add(store, A)
    store.tags.set("app", "", A, force=False)
    assert delete(store, "app") == [("Untagged", "app:latest"), ("Deleted", A)]


def test_T11_one_of_several_names_is_all_that_goes(line: Store) -> None:
    line.tags.set("app", "2", C, force=False)
    assert delete(line, "app:1") == [("Untagged", "app:1")]
    assert set(line.graph.nodes()) == {A, B, C}


def test_T11_by_its_id_all_names_of_one_repository_go(line: Store) -> None:
    line.tags.set("app", "2", C, force=False)
    rows = delete(line, C[:5])
    assert rows[:3] == [("Untagged", "app:1"), ("Untagged", "app:2"), ("Deleted", C)]


def test_T11_names_in_several_repositories_are_a_conflict_unless_forced(line: Store) -> None:
    line.tags.set("host:5000/other", "1", C, force=False)
    text = f"Conflict, cannot delete image {C} because it is tagged in multiple repositories, use -f to force"
    assert conflict(line, C) == text
    assert line.tags.by_id() == {C: ["app:1", "host:5000/other:1"]}
    rows = delete(line, C, force="1")
    assert rows[:3] == [("Untagged", "app:1"), ("Untagged", "host:5000/other:1"), ("Deleted", C)]


def test_T11_an_image_with_children_stays(line: Store) -> None:
    line.tags.set("base", "", A, force=False)
    assert delete(line, "base") == [("Untagged", "base:latest")]
    assert line.graph.exists(A)
    assert conflict(line, A) == f"Conflict, {A} wasn't deleted"
    assert conflict(line, B, force="1") == f"Conflict, {B} wasn't deleted"
    assert set(line.graph.nodes()) == {A, B, C}


def test_T11_pruning_stops_at_names_and_at_other_children(line: Store) -> None:
    add(line, D, B, {"d": b"4"})
    line.tags.set("base", "", A, force=False)
    assert delete(line, C) == [("Untagged", "app:1"), ("Deleted", C)]
    assert delete(line, D) == [("Deleted", D), ("Deleted", B)]
    assert set(line.graph.nodes()) == {A}


def test_T11_an_unknown_image_is_told_with_its_tag_if_the_repository_is_known(line: Store) -> None:
    assert conflict(line, "app") == "No such image: app:latest"
    assert conflict(line, "app:9") == "No such image: app:9"
    assert conflict(line, "nosuch:9") == "No such image: nosuch:9"


@pytest.mark.root
def test_T11_an_image_that_is_mounted_stays(line: Store) -> None:
    with mounted_root(line, "app:1") as target:
        why = f"because the running container {target} is using it, stop it and"
        expected = f"Conflict, cannot delete {C[:12]} {why} use -f to force (docker untagged the image)"
        assert conflict(line, "app:1") == expected
        assert line.graph.exists(C)
        assert line.tags.by_id() == {}
        assert conflict(line, C) == f"Conflict, cannot delete {C[:12]} {why} use -f to force"
        assert conflict(line, C, force="1") == f"Conflict, cannot force delete {C[:12]} {why} retry"
        assert (target / "c").read_bytes() == b"3"
    assert delete(line, C) == [("Deleted", C), ("Deleted", B), ("Deleted", A)]


@pytest.mark.root
def test_T11_an_ancestor_that_is_mounted_stays(line: Store) -> None:
    with mounted_root(line, B):
        assert delete(line, "app:1") == [("Untagged", "app:1"), ("Deleted", C)]
        assert set(line.graph.nodes()) == {A, B}


def test_T11_what_other_images_need_stays(store: Store, tmp_path: Path) -> None:
    layer = make_layer({"shared": b"s" * 1000})
    for id in (A, B):
        store.graph.register(v1(id), io.BytesIO(layer), job=JOB)
    assert delete(store, A) == [("Deleted", A)]
    assert run(store, "image_tarlayer", B).out == layer
    assert store.fsck().findings == ()


def test_T11_an_image_from_elsewhere_goes_with_its_last_name(store: Store, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "app", {"1": small_image()})
    store.pull(f"oci:{layout}:1")
    store.tag("localhost/app:1", "docker.io/library/app:1")
    chain = [node.image.id for node in store.graph.chain(store.tags.get("app")["1"])]
    assert delete(store, "app:1") == [("Untagged", "app:1")]
    rows = delete(store, "localhost/app:1")
    assert rows == [("Untagged", "localhost/app:1"), *(("Deleted", id) for id in reversed(chain))]
    assert store.df().blobs == 0
