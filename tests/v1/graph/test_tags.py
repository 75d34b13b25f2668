"""The rows T01, T04 and T05: names of images, and the file of them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from orlop.errors import Conflict, Error, Invalid, NotFound, Usage
from orlop.model.v1 import ImageId
from orlop.store import Store
from tests.support.images import small_image, write_layout
from tests.support.stores import opened, start_python
from tests.support.v1images import JOB, A, B, C, add

SET_A_TAG = """
import sys
from pathlib import Path
from tests.support.stores import opened
with opened(Path(sys.argv[1])) as store:
    store.tags.set(sys.argv[2], sys.argv[3], sys.argv[4], force=False)
"""


@pytest.fixture
def three(store: Store) -> Store:
    """An image with two names, its child without one, and one at a port."""
    add(store, A, files={"x": b"a"})
    add(store, B, parent=A, files={"y": b"b"})
    add(store, C, files={"z": b"c"})
    store.tags.set("solo", "", A, force=False)
    store.tags.set("foo/bar", "v1.0", A, force=False)
    store.tags.set("localhost:5000/x", "t", C, force=False)
    return store


def test_T01_the_file_of_names_is_written_as_docker_wrote_it(three: Store) -> None:
    assert json.loads(three.tags.export()) == {
        "Repositories": {"foo/bar": {"v1.0": A}, "localhost:5000/x": {"t": C}, "solo": {"latest": A}}
    }
    assert stat.S_IMODE((three.settings.store / "index.json").stat().st_mode) == 0o600


def test_T01_an_empty_store_has_an_empty_file_of_names(store: Store) -> None:
    assert store.tags.export() == b'{"Repositories":{}}'
    assert store.tags.all() == {}


def test_T01_the_file_is_read_back_whole_or_not_at_all(three: Store, tmp_path: Path) -> None:
    raw = three.tags.export()
    before = three.tags.all()
    bare = json.dumps(json.loads(raw)["Repositories"]).encode()
    for content in (raw, bare):
        for repository in before:
            three.tags.delete(repository)
        assert three.tags.all() == {}
        three.tags.load(content)
        assert three.tags.all() == before
    bad: list[object] = [
        {"Repositories": {"new": {"t": B, "u": "f" * 64}}},
        {"Repositories": {"new": {"t": B}, "bad": {"t": "../x"}}},
        {"Repositories": {"new": {"t": B}, "bad": {"-t": B}}},
        {"Repositories": {"new": {"t": B}, "": {"t": B}}},
        {"Repositories": {"new": {"t": B}, "v1.invalid/graph": {"t": B}}},
        {"Repositories": {"new": {"t": B}, "UPPER": {"t": B}}},
        {"Repositories": {"new": []}},
        {"Repositories": {"new": {"t": 5}}},
        [],
    ]
    for value in bad:
        with pytest.raises(Error):
            three.tags.load(json.dumps(value).encode())
        assert three.tags.all() == before
    assert not (tmp_path / "x").exists()


def test_T01_names_are_read_again_when_another_process_changed_them(three: Store) -> None:
    child = start_python(SET_A_TAG, three.settings.store, "other", "t", B)
    assert child.communicate()[1] == ""
    assert three.tags.get("other") == {"t": B}
    three.tags.delete("other")
    assert "other" not in three.tags.all()


def test_T04_images_are_found_by_every_name(three: Store) -> None:
    for name in ("solo", "solo:latest", "docker.io/library/solo", "foo/bar:v1.0", A, A[:12], "a", "solo:aaaa"):
        assert three.tags.lookup(name).image.id == A, name
    assert three.tags.lookup("localhost:5000/x:t").image.id == C
    assert three.tags.lookup("localhost:5000/x:ccc").image.id == C
    assert three.tags.lookup("b").image.id == B


@pytest.mark.parametrize(
    "name",
    ["", "fail", "fail:fail", "solo:none", "foo/bar", "solo:bbb", "d", "localhost:5000/x", "a:b:c", "Upper", "f" * 64],
)
def test_T04_what_is_not_there_is_named(three: Store, name: str) -> None:
    with pytest.raises(NotFound) as told:
        three.tags.lookup(name)
    assert told.value.message == f"No such id: {name}"


def test_T04_names_of_one_image(three: Store) -> None:
    assert three.tags.by_id() == {A: ["foo/bar:v1.0", "solo:latest"], C: ["localhost:5000/x:t"]}
    assert three.tags.image_name(A) == "foo/bar:v1.0"
    assert three.tags.image_name(B) == "b" * 12
    assert three.tags.get("solo") == {"latest": A}
    assert three.tags.get("none") == {}


def test_T04_a_tag_moves_by_force_only(three: Store) -> None:
    three.tags.set("solo", "latest", A, force=False)  # it is that already
    with pytest.raises(Conflict) as told:
        three.tags.set("solo", "latest", B, force=False)
    assert told.value.message == (
        f"Conflict: Tag solo:latest is already set to {A}, if you want to replace it, please use -f option"
    )
    three.tags.set("solo", "", B, force=True)
    assert three.tags.get("solo") == {"latest": B}
    with pytest.raises(NotFound, match=r"^No such id: unknown$"):
        three.tags.set("solo", "", "unknown", force=True)
    for repository, tag in (("", "t"), ("solo", "a/b"), ("solo", "-9"), ("solo", "."), ("a://b", "t"), ("UPPER", "t")):
        with pytest.raises(Invalid):
            three.tags.set(repository, tag, B, force=True)


def test_T04_a_name_is_the_stores_name(three: Store, tmp_path: Path) -> None:
    assert three.names() == [
        "docker.io/foo/bar:v1.0",
        "docker.io/library/solo:latest",
        "localhost:5000/x:t",
    ]
    assert three.digest("solo") == three.digest(A) == three.tags.lookup("solo").manifest.digest
    three.unpack("solo", tmp_path / "out")
    assert (tmp_path / "out/x").read_bytes() == b"a"


def test_T05_a_tag_and_the_last_of_them(three: Store) -> None:
    three.tags.set("solo", "two", B, force=False)
    with pytest.raises(NotFound, match=r"^No such tag: solo:none$"):
        three.tags.delete("solo", "none")
    assert three.tags.delete("solo", "two")
    assert three.tags.get("solo") == {"latest": A}
    assert three.tags.delete("solo", "latest")
    assert "solo" not in three.tags.all()
    for tag in ("latest", ""):
        with pytest.raises(NotFound, match=r"^No such repository: solo$"):
            three.tags.delete("solo", tag)
    assert three.graph.exists(A)


def test_T05_every_name_of_an_image_goes_those_with_ports_too(three: Store) -> None:
    three.tags.set("localhost:5000/y", "t", A, force=False)
    three.tags.delete_all(A)
    assert three.tags.all() == {"localhost:5000/x": {"t": C}}
    three.tags.delete_all(C)
    three.tags.delete_all(ImageId("d" * 64))
    assert three.tags.all() == {}
    assert {A, B, C} == set(three.graph.nodes())


def test_PA17_nothing_of_users_gets_into_the_reserved_repository(three: Store, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    with pytest.raises(Usage, match=r"v1.invalid is reserved"):
        three.tag("solo", "v1.invalid/mine:1")
    with pytest.raises(Usage, match=r"v1.invalid is reserved"):
        three.tags.set("v1.invalid/graph", "t", A, force=True)
    with pytest.raises(Usage, match=r"v1.invalid is reserved"):
        three.pull("v1.invalid/graph:" + "f" * 64)
    with pytest.raises(Usage, match=r"v1.invalid is reserved"):
        three.copy(f"oci:{tmp_path}/layout:one", f"store:v1.invalid/graph:{B}")
    with pytest.raises(Usage, match=r"v1.invalid is reserved"):
        three.copy("store:solo", f"store:v1.invalid/graph:{'e' * 64}")
    with opened(tmp_path / "store") as again:
        assert set(again.graph.nodes()) == {A, B, C}


def test_T04_entries_are_hidden_until_asked_for(three: Store) -> None:
    entries = {f"v1.invalid/graph:{id}" for id in (A, B, C)}
    assert {row.name for row in three.images()} == set(three.names())
    assert {row.name for row in three.images(hidden=True)} == set(three.names()) | entries
    assert three.remove(B, job=JOB).removed
    assert set(three.graph.nodes()) == {A, C}
    assert three.fsck().findings == ()
