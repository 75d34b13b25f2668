"""Images that came to the store in another way, as old clients see them: under IDs that are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.images import make_image, make_layer, write_layout
from tests.support.serving import Served, serve_store
from tests.support.stores import opened
from tests.support.version_one import OldImage, ask, old_image, push, put_json

LAYERS = [make_layer({"etc/": None, "etc/a": b"1", "etc/b": b"2"}), make_layer({"etc/.wh.a": b"", "etc/b": b"3"})]
IMAGE = make_image(LAYERS, config={"config": {"Env": ["A=1"]}})
BLOBS = [IMAGE.blobs[layer.digest] for layer in IMAGE.document.layers]


@dataclass(frozen=True)
class Shown:
    server: Served
    top: str  # its ID


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    path = tmp_path_factory.mktemp("pulled")
    layout = write_layout(path / "layout", {"docker.io/library/debian:12": IMAGE, "localhost:5000/a/b:x": IMAGE})
    with opened(path / "store") as store:
        store.pull(f"oci:{layout}:docker.io/library/debian:12")
        store.pull(f"oci:{layout}:localhost:5000/a/b:x")
    with serve_store(path / "store", "--v1", "--writable") as server:
        yield Shown(server, ask(server, "GET", "/repositories/debian/tags/12").json())


def test_they_have_tags_under_the_names_of_version_2(shown: Shown) -> None:
    for path, tag in (("debian", "12"), ("library/debian", "12"), ("docker.io/library/debian", "12"), ("a/b", "x")):
        assert ask(shown.server, "GET", f"/repositories/{path}/tags").json() == {tag: shown.top}
    names = [result["name"] for result in ask(shown.server, "GET", "/search").json()["results"]]
    assert set(names) >= {"a/b", "library/debian"}


def test_an_old_client_gets_all_of_one(shown: Shown) -> None:
    listed = ask(shown.server, "GET", "/repositories/debian/images").json()
    ancestry = ask(shown.server, "GET", f"/images/{shown.top}/ancestry").json()
    assert {row["id"] for row in listed} == set(ancestry)
    assert len(ancestry) == 2
    for image, parent, blob in zip(ancestry, [ancestry[1], None], reversed(BLOBS), strict=True):
        said = ask(shown.server, "GET", f"/images/{image}/json")
        assert (said.json()["id"], said.json().get("parent")) == (image, parent)
        layer = ask(shown.server, "GET", f"/images/{image}/layer")
        assert (layer.status, layer.body) == (200, blob)
        assert said.headers["x-docker-size"] == str(len(blob))
        payload = hashlib.sha256(said.body + b"\n" + blob).hexdigest()
        assert said.headers["x-docker-checksum-payload"] == f"sha256:{payload}"
    assert said.json()["id"] == ancestry[-1]
    top = ask(shown.server, "GET", f"/images/{shown.top}/json").json()
    assert top["config"]["Env"] == ["A=1"]


def test_their_changes_are_told(shown: Shown) -> None:
    found = ask(shown.server, "GET", f"/images/{shown.top}/diff").json()
    assert {change: list(names) for change, names in found.items()} == {
        "deleted": ["/etc/a"],
        "changed": ["/etc/b"],
        "created": [],
    }


def test_they_are_pushed_no_more(shown: Shown) -> None:
    for part in ("json", "layer"):
        got = ask(shown.server, "PUT", f"/images/{shown.top}/{part}", b"{}")
        assert got.error == (409, "Image already exists")


def test_a_push_may_stand_on_one(shown: Shown) -> None:
    parent = OldImage(shown.top, b"", b"")
    child = old_image("child", parent=parent)
    push(shown.server, child, repository="on/debian")
    ancestry = ask(shown.server, "GET", f"/images/{child.id}/ancestry").json()
    assert ancestry[:2] == [child.id, shown.top]
    assert len(ancestry) == 3
    assert ask(shown.server, "GET", f"/images/{shown.top}/layer").body == BLOBS[1]
    assert ask(shown.server, "GET", "/repositories/debian/tags").json() == {"12": shown.top}


def test_one_can_be_tagged_here(shown: Shown) -> None:
    assert put_json(shown.server, "/repositories/mine/debian/tags/1", shown.top).status == 200
    assert ask(shown.server, "GET", "/repositories/mine/debian/tags").json() == {"1": shown.top}


def test_names_of_other_registries_are_not_changed(shown: Shown) -> None:
    got = ask(shown.server, "DELETE", "/repositories/a/b/tags/x")
    assert got.status == 403
    assert ask(shown.server, "GET", "/repositories/a/b/tags").json() == {"x": shown.top}
