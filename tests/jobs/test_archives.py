"""T12: `image_export` and `load`: what one writes the other takes, and what any Docker saved."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orlop.model.tree import Kind
from orlop.store import Store
from tests.support.images import (
    MadeImage,
    docker_archive_files,
    layout_files,
    make_layer,
    small_image,
)
from tests.support.stores import opened
from tests.support.tars import entry, tar
from tests.support.v1images import A, B, C, D, add, v1

from .running import run

LAYER = make_layer({"x": b"from the archive"})


@pytest.fixture
def family(store: Store) -> Store:
    """A <- B <- C and D alone (without a layer). B is `app:1` and `app:2`, C `host:5000/team/x:3`; D has no name."""
    add(store, A, files={"a": b"1"})
    add(store, B, A, {"b": b"2" * 3000})
    add(store, C, B, {"c": b"3"})
    add(store, D)
    for repository, tag, id in (("app", "1", B), ("app", "2", B), ("host:5000/team/x", "3", C)):
        store.tags.set(repository, tag, id, force=False)
    return store


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "other") as made:
        yield made


def export(store: Store, *names: str) -> bytes:
    ran = run(store, "image_export", *names)
    assert (ran.status, ran.err) == (0, "")
    return ran.out


def load(store: Store, archive: bytes) -> str:
    """The error, "" if it worked."""
    ran = run(store, "load", stdin=archive)
    assert ran.out == b""
    return ran.error


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        return read.getmembers()


def content(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        file = read.extractfile(name)
        assert file is not None
        return file.read()


def state(store: Store) -> dict[str, tuple[bytes, bytes]]:
    """JSON and plain layer of every image."""
    return {id: (node.image.raw, run(store, "image_tarlayer", id).out) for id, node in store.graph.nodes().items()}


def test_T12_an_archive_has_an_image_and_its_ancestors_each_in_a_directory(family: Store) -> None:
    archive = export(family, "app:1")
    files = members(archive)
    expected = [name for id in (A, B) for name in (id, f"{id}/VERSION", f"{id}/json", f"{id}/layer.tar")]
    assert [file.name for file in files] == [*expected, "repositories"]
    assert {file.mode for file in files if file.isdir()} == {0o755}
    assert {file.mode for file in files if file.isreg()} == {0o644}
    assert {(file.uid, file.gid) for file in files} == {(0, 0)}
    for id in (A, B):
        assert content(archive, f"{id}/VERSION") == b"1.0"
        assert content(archive, f"{id}/json") == family.graph.get(id).image.raw
        assert content(archive, f"{id}/layer.tar") == run(family, "image_tarlayer", id).out
    assert json.loads(content(archive, "repositories")) == {"app": {"1": B}}


def test_T12_an_image_without_a_layer_has_an_empty_one(family: Store) -> None:
    archive = export(family, D)
    assert content(archive, f"{D}/layer.tar") == b"\0" * 1024
    assert "repositories" not in [file.name for file in members(archive)]


@pytest.mark.parametrize(
    ("names", "ids", "named"),
    [
        (("app",), (A, B), {"app": {"1": B, "2": B}}),
        (("app:2",), (A, B), {"app": {"2": B}}),
        ((B,), (A, B), {"app": {"1": B, "2": B}}),  # Docker lost the names here
        ((B[:9],), (A, B), {"app": {"1": B, "2": B}}),
        (("host:5000/team/x:3", "app:1"), (A, B, C), {"host:5000/team/x": {"3": C}, "app": {"1": B}}),
        ((C, D, C), (A, B, C, D), {"host:5000/team/x": {"3": C}}),
        (("app:1", A), (A, B), {"app": {"1": B}}),
    ],
)
def test_T12_what_is_exported_is_loaded_elsewhere(
    family: Store, other: Store, names: tuple[str, ...], ids: tuple[str, ...], named: dict[str, dict[str, str]]
) -> None:
    archive = export(family, *names)
    assert [file.name for file in members(archive)].count(f"{A}/json") == (A in ids)
    assert load(other, archive) == ""
    expected = state(family)
    assert state(other) == {id: expected[id] for id in ids}
    assert other.tags.all() == named
    assert other.fsck().findings == ()
    assert export(other, *names) == archive


def test_T12_an_unknown_name_is_told_before_anything_is_written(family: Store) -> None:
    ran = run(family, "image_export", "app:1", "nosuch")
    assert (ran.status, ran.out) == (1, b"")


def test_T12_images_that_exist_stay_as_they_are(family: Store, other: Store) -> None:
    add(other, A, files={"mine": b"mine"}, author="mine")
    before = state(other)
    assert load(other, export(family, "app")) == ""
    assert state(other)[A] == before[A]
    assert other.tags.all() == {"app": {"1": B, "2": B}}
    assert load(other, export(family, "app")) == ""
    assert set(other.graph.nodes()) == {A, B}


def test_T12_names_move_to_what_the_archive_says(family: Store, other: Store) -> None:
    add(other, D, files={"d": b"d"})
    other.tags.set("app", "1", D, force=False)
    assert load(other, export(family, "app:1")) == ""
    assert other.tags.all() == {"app": {"1": B}}


# -- every era -------------------------------------------------------------------------------------------------


def old(*images: tuple[str, str], layer: bytes = LAYER, **names: Any) -> dict[str, bytes]:
    """The members of an archive of Docker 0.6 to 1.9: images by ID and parent."""
    files: dict[str, bytes] = {}
    for id, parent in images:
        files |= {f"{id}/VERSION": b"1.0", f"{id}/json": v1(id, parent).raw, f"{id}/layer.tar": layer}
    return files | ({"repositories": json.dumps(names).encode()} if names else {})


def packed(files: Mapping[str, Any], prefix: str = "") -> bytes:
    return make_layer({f"{prefix}{name}": raw for name, raw in files.items()})


@pytest.mark.parametrize("prefix", ["", "./"])
def test_T12_an_archive_of_docker_before_1_10_is_loaded_children_first_or_not(other: Store, prefix: str) -> None:
    assert load(other, packed(old((C, B), (B, A), (A, ""), app={"1": C}), prefix)) == ""
    assert {id: node.image.raw for id, node in other.graph.nodes().items()} == {
        A: v1(A).raw,
        B: v1(B, A).raw,
        C: v1(C, B).raw,
    }
    assert other.tags.all() == {"app": {"1": C}}


def test_T12_an_archive_of_docker_0_6_has_no_names_if_it_has_none(other: Store) -> None:
    assert load(other, packed(old((A, "")))) == ""
    assert (set(other.graph.nodes()), other.tags.all()) == ({A}, {})


def _docker_1_10(image: MadeImage) -> bytes:
    files = dict(docker_archive_files({"app:1": image}))
    return packed(files | old((A, ""), (B, A), app={"1": B}))


def _docker_25(image: MadeImage) -> bytes:
    files = dict(docker_archive_files({"docker.io/library/app:1": image}))
    return packed(files | layout_files({"1": image}) | {"repositories": b'{"app":{"1":"%s"}}' % B.encode()})


@pytest.mark.parametrize("write", [_docker_1_10, _docker_25])
def test_T12_of_a_newer_archive_the_newest_form_counts(other: Store, write: Any) -> None:
    image = small_image("none")
    assert load(other, write(image)) == ""
    assert other.names() == ["docker.io/library/app:1"]
    (row,) = run(other, "images").rows
    assert row["RepoTags"] == ["app:1"]
    assert other.image("app:1").config.raw == image.config
    for layer, id in zip(image.layers, [node.image.id for node in other.graph.chain(row["Id"])], strict=True):
        assert run(other, "image_tarlayer", id).out == layer


def test_T12_an_oci_layout_is_loaded_too(other: Store) -> None:
    image = small_image()
    assert load(other, packed(layout_files({"docker.io/library/app:1": image}))) == ""
    assert other.digest("app:1") == image.digest


# -- hostile ---------------------------------------------------------------------------------------------------


def hostile() -> dict[str, bytes]:
    good = old((A, ""), app={"1": A})
    raw = v1(A).raw
    return {
        "no tar": b"x" * 4096,
        "nothing": b"",
        "empty": b"\0" * 10240,
        "an ID that is a path": packed({"../../x/json": raw, "../../x/layer.tar": LAYER}),
        "another ID inside": packed({f"{B}/json": raw, f"{B}/layer.tar": LAYER}),
        "upper case": packed({f"{A.upper()}/json": raw.replace(A.encode(), A.upper().encode())}),
        "no layer": packed({f"{A}/json": raw}),
        "a JSON that is none": packed(good | {f"{A}/json": b"{"}),
        "its own ancestor": packed(old((A, B), (B, A))),
        "no parent": packed(old((B, A))),
        "a name that is a path": packed(good | {"repositories": b'{"../../etc":{"1":"%s"}}' % A.encode()}),
        "a tag that is a path": packed(good | {"repositories": b'{"app":{"../x":"%s"}}' % A.encode()}),
        "a name of an image that is not there": packed(good | {"repositories": b'{"app":{"1":"%s"}}' % B.encode()}),
        "a name of no ID": packed(good | {"repositories": b'{"app":{"1":"latest"}}'}),
        "names that are none": packed(good | {"repositories": b"[]"}),
        "reserved names": packed(good | {"repositories": b'{"v1.invalid/graph":{"1":"%s"}}' % A.encode()}),
        "a damaged layer": packed(old((A, ""), layer=LAYER[:520], app={"1": A})),
        "a layer that is no tar": packed(old((A, ""), layer=b"no tar" * 500, app={"1": A})),
        "cut": packed(good)[:2860],
        "a link for a JSON": tar(
            entry(f"{A}/json", Kind.SYMLINK, link="/etc/passwd"),
            entry(f"{A}/layer.tar", data=LAYER),
        ),
    }


@pytest.mark.parametrize("what", hostile())
def test_T12_PA19_a_hostile_archive_is_refused_and_leaves_nothing(other: Store, what: str) -> None:
    assert load(other, hostile()[what])
    assert (other.graph.nodes(), other.tags.all(), other.df().blobs) == ({}, {}, 0)
    assert other.fsck().findings == ()


def test_T12_a_damaged_layer_ends_the_load_and_what_was_whole_stays(other: Store) -> None:
    files = old((A, ""), (B, A), (C, B), app={"1": C}) | {f"{B}/layer.tar": LAYER[:520]}
    assert load(other, packed(files))
    assert set(other.graph.nodes()) == {A}
    assert other.tags.all() == {}
    assert load(other, packed(old((A, ""), (B, A), (C, B), app={"1": C}))) == ""
    assert set(other.graph.nodes()) == {A, B, C}
