"""T08, T09, T10: `image_get`, `image_inspect`, `images`, `history`, `viz`."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd

from orlop.store import Store
from tests.support.images import make_layer
from tests.support.v1images import JOB, A, B, C, D, add, v1

from .running import run

FIELDS: dict[str, Any] = {
    "comment": "a comment",
    "container": "c" * 64,
    "container_config": {"Cmd": ["/bin/sh", "-c", "make install"], "Env": ["A=1"]},
    "docker_version": "1.2.0",
    "author": "123",
    "config": {"Cmd": ["/run"], "ExposedPorts": {"80/tcp": {}}},
    "architecture": "amd64",
    "os": "linux",
    "Size": 99,
    "unknown": 1,
}


def test_T08_image_get_has_seven_fields(store: Store) -> None:
    add(store, A, files={})
    add(store, B, A, {}, **FIELDS)
    store.tags.set("app", "", B, force=False)
    expected = {
        "Created": "2014-05-20T12:00:00.123456789Z",
        "Author": "123",
        "Os": "linux",
        "Architecture": "amd64",
        "DockerVersion": "1.2.0",
        "Id": B,
        "Parent": A,
    }
    for name in ("app", "app:latest", B, B[:8], f"app:{B[:5]}"):
        ran = run(store, "image_get", name)
        assert (ran.status, ran.rows) == (0, expected)
        assert ran.out.count(b"\n") == 1


def test_T08_image_get_of_nothing_is_an_empty_object(store: Store) -> None:
    ran = run(store, "image_get", "nosuch")
    assert (ran.status, ran.out) == (0, b"{}\n")


def test_T08_image_inspect_is_cooked_or_raw(store: Store) -> None:
    add(store, A, files={"base": b"1" * 10})
    add(store, B, A, {"top": b"2" * 7, "etc/": None}, **FIELDS)
    cooked = run(store, "image_inspect", B).rows
    assert cooked == {
        **run(store, "image_get", B).rows,
        "Comment": "a comment",
        "Container": "c" * 64,
        "ContainerConfig": FIELDS["container_config"],
        "Config": FIELDS["config"],
        "Size": 7,
        "VirtualSize": 17,
    }
    assert run(store, "image_inspect", B, raw="1").out == v1(B, A, **FIELDS).raw
    assert run(store, "image_inspect", B, raw="false").rows == cooked


def test_T08_what_an_image_does_not_say_is_empty(store: Store) -> None:
    add(store, A)
    cooked = run(store, "image_inspect", A).rows
    assert (cooked["Parent"], cooked["Comment"], cooked["Config"], cooked["ContainerConfig"]) == ("", "", None, None)
    assert (cooked["Size"], cooked["VirtualSize"]) == (0, 0)


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_T08_image_tarlayer_is_the_plain_layer(store: Store, compression: str) -> None:
    plain = make_layer({"x": b"y" * 5000})
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "zstd": zstd.compress,
    }
    packed = pack.get(compression, bytes)(plain)
    store.graph.register(v1(A), io.BytesIO(packed), job=JOB)
    assert run(store, "image_tarlayer", A).out == plain


def test_T08_image_tarlayer_of_no_layer_is_an_empty_tar(store: Store) -> None:
    add(store, A)
    with tarfile.open(fileobj=io.BytesIO(run(store, "image_tarlayer", A).out)) as tar:
        assert tar.getmembers() == []


@pytest.fixture
def family(store: Store) -> Store:
    """A <- B <- C and A <- D; B is `team/app:1` and `host:5000/x:2`, C has no name, D is `solo:latest`."""
    add(store, A, files={"a": b"1" * 100}, created="2014-01-01T00:00:00Z")
    add(store, B, A, {"b": b"1" * 20}, created="2014-01-02T01:00:00+01:00")
    add(store, C, B, {"c": b"1" * 3}, created="2014-01-03T00:00:00.5Z")
    add(store, D, A, None, created="2014-01-04T00:00:00Z")
    for repository, tag, id in (("team/app", "1", B), ("host:5000/x", "2", B), ("solo", "", D)):
        store.tags.set(repository, tag, id, force=False)
    return store


def test_T09_images_lists_heads_and_what_has_a_name_newest_first(family: Store) -> None:
    assert run(family, "images").rows == [
        {
            "Id": D,
            "ParentId": A,
            "RepoTags": ["solo:latest"],
            "Created": 1388793600,
            "Size": 0,
            "VirtualSize": 100,
        },
        {
            "Id": C,
            "ParentId": B,
            "RepoTags": ["<none>:<none>"],
            "Created": 1388707200,
            "Size": 3,
            "VirtualSize": 123,
        },
        {
            "Id": B,
            "ParentId": A,
            "RepoTags": ["host:5000/x:2", "team/app:1"],
            "Created": 1388620800,
            "Size": 20,
            "VirtualSize": 120,
        },
    ]


def ids(store: Store, **environment: Any) -> list[str]:
    return [row["Id"] for row in run(store, "images", **environment).rows]


def test_T09_all_shows_parents_without_a_name_too(family: Store) -> None:
    assert ids(family, all="1") == [D, C, B, A]
    assert ids(family, all="0") == [D, C, B]


@pytest.mark.parametrize("value", ['{"dangling":["true"]}', '{"dangling":"true"}', '{"dangling":["TRUE"]}'])
def test_T09_dangling_shows_heads_without_a_name(family: Store, value: str) -> None:
    assert ids(family, filters=value) == [C]
    assert ids(family, filters='{"dangling":["false"]}') == [D, C, B]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("solo", [D]),
        ("sol?", [D]),
        ("s*", [D]),
        ("team/app", [B]),
        ("*/app", [B]),
        ("*app", []),
        ("team*", []),
        ("app", []),
        ("[st]olo", [D]),
        ("[^st]olo", []),
        ("[a-", []),
        ("host:5000/x", [B]),
        ("nosuch", []),
    ],
)
def test_T09_a_filter_is_a_pattern_for_the_repository_and_hides_what_has_no_name(
    family: Store, pattern: str, found: list[str]
) -> None:
    assert ids(family, filter=pattern) == found


def test_T09_a_filter_shows_only_the_names_that_it_fits(family: Store) -> None:
    (row,) = run(family, "images", filter="team/*").rows
    assert row["RepoTags"] == ["team/app:1"]


def test_T09_images_of_one_time_are_in_the_order_of_their_ids(store: Store) -> None:
    for id in (C, A, B):
        add(store, id)
    assert ids(store) == [A, B, C]


def test_T10_history_is_newest_first_with_names_and_commands(family: Store) -> None:
    add(family, "e" * 64, C, {}, container_config={"Cmd": ["/bin/sh", "-c", "echo  x"]}, created="")
    family.tags.set("z", "9", C, force=False)
    family.tags.set("z", "1", C, force=False)
    rows = run(family, "history", "e" * 64).rows
    assert [row["Id"] for row in rows] == ["e" * 64, C, B, A]
    assert [row["Tags"] for row in rows] == [None, ["z:1", "z:9"], ["host:5000/x:2", "team/app:1"], None]
    assert [row["Size"] for row in rows] == [0, 3, 20, 100]
    assert [row["CreatedBy"] for row in rows] == ["/bin/sh -c echo  x", "", "", ""]
    assert [row["Created"] for row in rows] == [-62135596800, 1388707200, 1388620800, 1388534400]


def test_T10_history_of_26_steps_is_in_their_order(store: Store) -> None:
    made = [f"{number:064x}" for number in range(1, 27)]
    for number, id in enumerate(made):
        add(store, id, made[number - 1] if number else "", container_config={"Cmd": ["echo", chr(65 + number)]})
    rows = run(store, "history", made[-1]).rows
    assert [row["CreatedBy"] for row in rows] == [f"echo {chr(90 - number)}" for number in range(26)]


def test_T06_viz_draws_every_image_and_labels_what_has_a_name(family: Store) -> None:
    a, b, c, d = (id[:12] for id in (A, B, C, D))
    lines = run(family, "viz").lines
    assert lines[0] == "digraph docker {"
    assert lines[-2:] == [" base [style=invisible]", "}"]
    edges = [line for line in lines if "->" in line]
    assert edges == [
        f' base -> "{a}" [style=invis]',
        f' "{a}" -> "{b}"',
        f' "{b}" -> "{c}"',
        f' "{a}" -> "{d}"',
    ]
    box = 'shape=box,fillcolor="paleturquoise",style="filled,rounded"];'
    assert f' "{d}" [label="{d}\\nsolo:latest",{box}' in lines
    assert f' "{b}" [label="{b}\\nhost:5000/x:2\\nteam/app:1",{box}' in lines


def test_T08_a_tag_that_looks_like_a_number_stays_a_string(store: Store) -> None:
    add(store, A, author="true", comment="null", os="12")
    found = json.loads(run(store, "image_inspect", A).out)
    assert (found["Author"], found["Comment"], found["Os"]) == ("true", "null", "12")
