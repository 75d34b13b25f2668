"""`/v1/images` as clients read it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
from pathlib import Path

import pytest

from tests.support.serving import Served, serve_store
from tests.support.version_one import OldImage, ask, old_image, push

from .images import BASE, TOP

LAYER = f"/images/{BASE.id}/layer"
SIZE = len(BASE.layer)


def test_S17_a_layer_comes_as_it_was_pushed(served: Served) -> None:
    for image in (BASE, TOP):
        got = ask(served, "GET", f"/images/{image.id}/layer")
        assert (got.status, got.body) == (200, image.layer)
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["content-length"] == str(len(image.layer))
        assert "max-age=31536000" in got.headers["cache-control"]


def test_S18_a_range_has_its_unit(served: Served) -> None:
    got = ask(served, "GET", LAYER, headers={"Range": "bytes=0-9"})
    assert (got.status, got.headers["content-range"]) == (206, f"bytes 0-9/{SIZE}")


def test_S19_one_byte_is_a_range(served: Served) -> None:
    got = ask(served, "GET", LAYER, headers={"Range": "bytes=5-5"})
    assert (got.status, got.body, got.headers["content-length"]) == (206, BASE.layer[5:6], "1")


def test_S20_a_range_is_as_long_as_it_says(served: Served) -> None:
    for asked, start in (("bytes=100-", 100), (f"bytes=0-{SIZE}", 0)):
        got = ask(served, "GET", LAYER, headers={"Range": asked})
        assert (got.status, got.headers["content-length"]) == (206, str(SIZE - start))
        assert got.body == BASE.layer[start:]


def test_S21_a_range_beyond_the_end_is_refused(served: Served) -> None:
    got = ask(served, "GET", LAYER, headers={"Range": f"bytes={SIZE}-"})
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert ask(served, "GET", LAYER, headers={"Range": "bytes=99999999-"}).status == 416


def test_S22_the_end_can_be_asked_for(served: Served) -> None:
    got = ask(served, "GET", LAYER, headers={"Range": "bytes=-5"})
    assert (got.status, got.body) == (206, BASE.layer[-5:])


@pytest.mark.parametrize("asked", ["junk", "bytes=a-b", "bytes=9-3", "bytes=0-1,3-4", "lines=1-2"])
def test_S23_what_is_no_range_gets_the_whole(served: Served, asked: str) -> None:
    got = ask(served, "GET", LAYER, headers={"Range": asked})
    assert (got.status, got.body) == (200, BASE.layer)


def test_RX06_five_thousand_ranges_cost_no_more_than_the_whole(served: Served) -> None:
    ranges = ",".join(f"{start}-{start}" for start in range(5000))
    assert ask(served, "GET", LAYER, headers={"Range": f"bytes={ranges}"}).body == BASE.layer


@pytest.mark.parametrize("part", ["json", "layer", "ancestry", "files", "diff"])
def test_S24_an_image_never_changes(served: Served, part: str) -> None:
    since = {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}
    got = ask(served, "GET", f"/images/{TOP.id}/{part}", headers=since)
    assert (got.status, got.body) == (304, b"")
    assert ask(served, "GET", f"/images/{'0' * 64}/{part}", headers=since).error == (404, "Image not found")


@pytest.mark.parametrize(
    "name", ["0" * 16, "0" * 63, "0" * 65, BASE.id.upper(), "..%2f..%2fetc", "%2e%2e", "g" * 64, "a:b", "%00", "~"]
)
@pytest.mark.parametrize("part", ["json", "layer", "ancestry", "files", "diff"])
def test_S25_an_id_that_is_none_is_not_found(served: Served, name: str, part: str) -> None:
    assert ask(served, "GET", f"/images/{name}/{part}").status == 404


def test_PA18_an_id_that_is_none_says_so_and_cannot_be_pushed(served: Served) -> None:
    assert ask(served, "GET", f"/images/{'0' * 16}/json").error == (404, "Invalid image ID")
    for part in ("json", "layer", "checksum"):
        got = ask(served, "PUT", f"/images/{'0' * 16}/{part}", b'{"id": "' + b"0" * 16 + b'"}')
        assert got.error == (404, "Invalid image ID")


def test_S46_the_json_comes_byte_for_byte_with_size_and_checksum(served: Served) -> None:
    for image in (BASE, TOP):
        got = ask(served, "GET", f"/images/{image.id}/json")
        assert (got.status, got.body, got.headers["content-type"]) == (200, image.raw, "application/json")
        assert got.headers["x-docker-size"] == str(len(image.layer))
        assert got.headers["x-docker-checksum-payload"] == image.payload


def test_S48_the_ancestry_has_the_image_first(served: Served) -> None:
    assert ask(served, "GET", f"/images/{TOP.id}/ancestry").json() == [TOP.id, BASE.id]
    assert ask(served, "GET", f"/images/{BASE.id}/ancestry").json() == [BASE.id]


def test_S49_the_files_of_a_layer_are_listed(served: Served) -> None:
    rows = ask(served, "GET", f"/images/{TOP.id}/files").json()
    assert rows == [
        ["/etc", "d", False, 0, 1600000000, 0o755, 0, 0],
        ["/etc/motd", "f", False, 9, 1600000000, 0o644, 0, 0],
        ["/etc/old", "f", True, 0, 1600000000, 0o644, 0, 0],
        ["/etc/new", "f", False, 3, 1600000000, 0o644, 0, 0],
        ["/var/cache/b", "f", False, 1, 1600000000, 0o644, 0, 0],
        ["/link", "s", False, 0, 1600000000, 0o777, 0, 0],
        ["/same", "l", False, 0, 1600000000, 0o644, 0, 0],
    ]


def test_S50_a_diff_is_against_the_parent(served: Served) -> None:
    found = ask(served, "GET", f"/images/{TOP.id}/diff").json()
    assert {change: sorted(names) for change, names in found.items()} == {
        "deleted": ["/etc/old", "/var/cache/a"],
        "changed": ["/etc", "/etc/motd"],
        "created": ["/etc/new", "/link", "/same", "/var/cache/b"],
    }
    assert found["changed"]["/etc/motd"] == ["f", False, 9, 1600000000, 0o644, 0, 0]
    first = ask(served, "GET", f"/images/{BASE.id}/diff").json()
    assert not first["deleted"]
    assert not first["changed"]
    assert "/big" in first["created"]


def test_an_image_without_a_layer_has_an_empty_one(served: Served) -> None:
    made = old_image("nothing", parent=BASE)
    bare = OldImage(made.id, made.raw, b"")
    push(served, bare)
    path = f"/images/{bare.id}"
    layer = ask(served, "GET", f"{path}/layer")
    assert (layer.status, layer.body) == (200, b"\0" * 1024)
    said = ask(served, "GET", f"{path}/json").headers
    assert said["x-docker-size"] == "1024"
    expected = hashlib.sha256(bare.raw + b"\n" + layer.body).hexdigest()
    assert said["x-docker-checksum-payload"] == f"sha256:{expected}"
    assert ask(served, "GET", f"{path}/layer", headers={"Range": "bytes=1000-"}).body == b"\0" * 24
    assert ask(served, "GET", f"{path}/files").json() == []


@pytest.mark.parametrize("part", ["json", "layer", "ancestry", "files", "diff"])
def test_SV15_head_is_get_without_the_body(served: Served, part: str) -> None:
    got, head = (ask(served, method, f"/images/{TOP.id}/{part}") for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


def test_images_stay_when_the_server_ends(tmp_path: Path) -> None:
    with serve_store(tmp_path / "store", "--v1", "--writable") as first:
        push(first, BASE, repository="a/b", tag="1")
    with serve_store(tmp_path / "store", "--v1") as second:
        assert ask(second, "GET", "/repositories/a/b/tags").json() == {"1": BASE.id}
        assert ask(second, "GET", f"/images/{BASE.id}/json").body == BASE.raw
        assert ask(second, "GET", LAYER).body == BASE.layer


def test_version_2_shows_what_was_pushed_too(served: Served) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=60)
    connection.request("GET", "/v2/foo/bar/manifests/latest")
    layers = json.loads(connection.getresponse().read())["layers"]
    connection.close()
    assert [layer["digest"] for layer in layers] == [
        f"sha256:{hashlib.sha256(image.layer).hexdigest()}" for image in (BASE, TOP)
    ]


def test_version_2_does_not_show_the_graph(served: Served) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/v2/_catalog")
        names = json.loads(connection.getresponse().read())["repositories"]
        assert "foo/bar" in names
        assert not {"graph", "v1.invalid/graph"} & set(names)
        connection.request("GET", f"/v2/graph/manifests/{TOP.id}")
        assert connection.getresponse().status == 404
