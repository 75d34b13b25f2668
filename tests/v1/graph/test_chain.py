"""The version 1 view of other images, and the way to version 2 and back (rows X03, X04)."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from orlop.errors import Conflict, NotFound
from orlop.model.v1 import ImageId, V1Image
from orlop.store import Store
from tests.support.images import MadeImage, compress, make_image, make_index, make_layer, small_image, write_layout
from tests.support.stores import opened
from tests.support.trees import snapshot
from tests.support.v1images import JOB, A, B, C, add, v1


def pulled(store: Store, folder: Path, image: MadeImage) -> str:
    write_layout(folder / "layout", {"one": image})
    return store.pull(f"oci:{folder}/layout:one").name


def test_X03_an_image_of_version_2_has_computed_IDs(store: Store, tmp_path: Path) -> None:
    name = pulled(store, tmp_path, small_image())
    top = store.tags.lookup(name)
    chain = store.graph.chain(top.image.id)
    assert [node.image.parent for node in chain] == [None, chain[0].image.id]
    assert [node.layer for node in chain] == list(store.image(name).manifest.layers)
    assert store.tags.by_id() == {top.image.id: [name]}
    assert set(store.graph.nodes()) == {node.image.id for node in chain}
    assert set(store.graph.heads()) == {top.image.id}
    assert store.graph.get(top.image.id[:10]) == top
    assert store.graph.size(chain[0]) == 41
    # nothing was written for it
    assert not store.graph.exists(top.image.id)
    assert [row.name for row in store.images(hidden=True)] == [name]
    store.remove(name)
    assert store.graph.nodes() == {}


def test_X03_of_an_index_the_image_for_this_machine_is_seen(store: Store, tmp_path: Path) -> None:
    index = make_index({"linux/amd64": small_image(), "linux/arm64": small_image(word="other")})
    name = pulled(store, tmp_path, index)
    node = store.tags.lookup(name)
    assert node.manifest.digest == store.image(name).manifest.digest
    store.tags.set("mine", "", name, force=False)
    assert store.tags.get("mine") == {"latest": node.image.id}


def test_X03_an_adopted_image_stays_when_its_name_goes(store: Store, tmp_path: Path) -> None:
    name = pulled(store, tmp_path, small_image())
    id = store.graph.adopt(store.image(name), job=JOB)
    assert store.graph.adopt(store.image(name), job=JOB) == id
    store.unpack(name, tmp_path / "before")
    store.remove(name)
    assert store.graph.exists(id)
    chain = store.graph.chain(id)
    assert len(chain) == 2
    assert all(store.graph.exists(node.image.id) for node in chain)
    store.unpack(id, tmp_path / "after")
    assert snapshot(tmp_path / "after") == snapshot(tmp_path / "before")
    assert store.fsck().findings == ()


def test_X03_a_part_of_an_image_is_adopted_when_it_is_named(store: Store, tmp_path: Path) -> None:
    name = pulled(store, tmp_path, small_image())
    base = store.graph.chain(store.tags.lookup(name).image.id)[0]
    store.tags.set("base", "", base.image.id, force=False)
    assert store.graph.exists(base.image.id)
    store.unpack("base", tmp_path / "out")
    assert not (tmp_path / "out/big").exists()
    assert (tmp_path / "out/etc/gone").exists()


def test_X03_a_child_of_a_computed_image_can_be_registered(store: Store, tmp_path: Path) -> None:
    parent = store.tags.lookup(pulled(store, tmp_path, small_image())).image.id
    add(store, A, parent=parent, files={"new": b"1"})
    assert [node.image.id for node in store.graph.chain(A)][-2:] == [parent, A]
    store.unpack(A, tmp_path / "out")
    assert (tmp_path / "out/etc/motd").read_bytes() == b"changed\n"
    assert (tmp_path / "out/new").exists()


def test_X03_what_two_images_say_of_one_ID_is_a_conflict(store: Store, tmp_path: Path) -> None:
    add(store, A, files={"x": b"one"})
    with opened(tmp_path / "other") as other:
        add(other, A, files={"x": b"two"}, comment="another")
        add(other, B, parent=A, files={"y": b""})
        other.tags.set("theirs", "", B, force=False)
    name = store.pull(f"oci:{tmp_path}/other:docker.io/library/theirs:latest").name
    assert store.graph.get(A).image.comment == ""
    with pytest.raises(Conflict, match=f"Image {A} already exists"):
        store.graph.adopt(store.image(name), job=JOB)
    assert not store.graph.exists(B)
    assert [node.image.comment for node in store.graph.chain(B)] == ["another", ""]


def claims(*raws: str) -> list[object]:
    return [{"dev.orlop.v1": raw} for raw in raws]


HISTORIES: dict[str, list[object]] = {
    "none": [],
    "too short": [{"created_by": "one"}],
    "only empty steps": [{"empty_layer": True}] * 2,
    "no ID": claims("{}", "{}"),
    "one ID twice": claims(f'{{"id":"{A}"}}', f'{{"id":"{A}","parent":"{A}"}}'),
    "a cycle": claims(f'{{"id":"{A}","parent":"{B}"}}', f'{{"id":"{B}","parent":"{A}"}}'),
    "a foreign parent": claims(f'{{"id":"{A}"}}', f'{{"id":"{B}","parent":"{C}"}}'),
    "no parent": claims(f'{{"id":"{A}"}}', f'{{"id":"{B}"}}'),
    "a path": claims('{"id":"../../x"}', f'{{"id":"{B}","parent":"../../x"}}'),
    "half of it": [*claims(f'{{"id":"{A}"}}'), {"created_by": "docker build"}],
    "no text": [{"dev.orlop.v1": {"id": A}}, {"dev.orlop.v1": 5}],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_PA18_a_history_that_is_no_chain_is_not_believed(store: Store, tmp_path: Path, name: str) -> None:
    layers = [make_layer({"x": b"1"}), make_layer({"y": b"2"})]
    image = pulled(store, tmp_path, make_image(layers, config={"history": HISTORIES[name]}))
    chain = store.graph.chain(store.tags.lookup(image).image.id)
    assert [node.diff_id for node in chain] == list(store.image(image).config.diff_ids)
    assert {A, B, C}.isdisjoint(store.graph.nodes())
    assert store.graph.adopt(store.image(image), job=JOB) == chain[-1].image.id


def odd_chain(store: Store) -> list[ImageId]:
    """Three images: layers gzip and plain with an image without one between; modes, times and links."""
    raws = [
        b'{"id":"' + A.encode() + b'"  ,"created" : "2013-01-01T00:00:00Z","\xc3\xbc":"\\u00e4"}\n\n',
        b'{ "parent":"' + A.encode() + b'","id":"' + B.encode() + b'", "Size":12345678901, "config":null}',
        v1(C, B, config={"Env": ["A=1"], "Cmd": ["/bin/sh"]}, architecture="amd64", os="linux").raw,
    ]
    layers = [compress(SPECIAL, "gzip"), None, make_layer({"etc": None, "etc/.wh.gone": b"", "new": b"n"})]
    for raw, layer in zip(raws, layers, strict=True):
        store.graph.register(V1Image.read(raw), None if layer is None else io.BytesIO(layer), job=JOB)
    return [A, B, C]


def _special() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, kind, mode, link) in enumerate(
            [
                ("etc", tarfile.DIRTYPE, 0o1777, ""),
                ("etc/gone", tarfile.REGTYPE, 0o600, ""),
                ("setuid", tarfile.REGTYPE, 0o4755, ""),
                ("closed", tarfile.DIRTYPE, 0o2500, ""),
                ("closed/in", tarfile.REGTYPE, 0o0, ""),
                ("hard", tarfile.LNKTYPE, 0o4755, "setuid"),
                ("soft", tarfile.SYMTYPE, 0o777, "etc/gone"),
            ]
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname = kind, mode, link
            member.uid, member.gid = number, 1000 + number
            member.mtime, member.pax_headers = number, {"mtime": f"{1_300_000_000 + number}.123456789"}
            tar.addfile(member)
    return out.getvalue()


SPECIAL = _special()


def test_X04_to_version_2_and_back_keeps_json_layers_and_the_root(store: Store, tmp_path: Path) -> None:
    ids = odd_chain(store)
    store.tags.set("old", "", C, force=False)
    store.unpack(C, tmp_path / "before")
    nodes = store.graph.chain(C)
    stored = [store.graph.open_layer(node) for node in nodes]
    with opened(tmp_path / "other") as other:
        name = other.pull(f"oci:{tmp_path}/store:docker.io/library/old:latest").name  # a store is a layout
        other.unpack(name, tmp_path / "between")
        found = other.graph.chain(other.tags.lookup(name).image.id)
        assert [node.image.id for node in found] == ids
        assert [node.image.raw for node in found] == [node.image.raw for node in nodes]
        assert [node.layer for node in found] == [node.layer for node in nodes]
        assert other.graph.adopt(other.image(name), job=JOB) == C
        other.remove(name)
        other.unpack(C, tmp_path / "after")
        for node, mine in zip(other.graph.chain(C), stored, strict=True):
            with other.graph.open_layer(node) as theirs, mine:
                assert theirs.read() == mine.read()
    assert snapshot(tmp_path / "before") == snapshot(tmp_path / "between") == snapshot(tmp_path / "after")
    assert (tmp_path / "after/setuid").stat().st_mode & 0o7777 == 0o4755
    assert (tmp_path / "after/closed").stat().st_mtime_ns == 1_300_000_003_123_456_789


def test_X04_the_config_says_what_the_json_does_and_no_more(store: Store) -> None:
    odd: dict[str, Any] = {
        "config": {"Env": ["A=1"]},
        "container": "c" * 64,
        "Size": 5,
        "architecture": "no such!",
        "os": 7,
        "x": "y",
    }
    add(store, A, files={"x": b""}, **odd)
    add(store, B, parent=A, config=[], architecture="arm64", author="me", container_config={"Cmd": ["a", "b"]})
    first, second = (store.image(id).config for id in (A, B))
    assert (str(first.platform), first.process) == ("linux/amd64", {"Env": ["A=1"]})
    assert (str(second.platform), second.process, second.fields["author"]) == ("linux/arm64", {}, "me")
    assert {"container", "Size", "id", "x"}.isdisjoint(first.fields)
    assert second.history[1]["created_by"] == "a b"
    assert second.history[1]["empty_layer"] is True
    assert [json.loads(entry["dev.orlop.v1"])["id"] for entry in second.history] == [A, B]


def test_X01_unknown_fields_stay_and_cost_nothing(store: Store) -> None:
    node = add(store, A, files={}, Unknown={"deep": [[[{}]]]}, checksum="tarsum+sha256:abc", throwaway="no")
    assert store.graph.get(A).image.raw == node.image.raw
    with pytest.raises(NotFound):
        store.graph.get("Unknown")
