"""`/v1/images` as clients push."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import Served, serve_pushes, serve_store
from tests.support.version_one import OldImage, ask, old_image, push

from .images import BASE, TOP

BEING = (400, "Image is being uploaded, retry later")
IN_HAND = (409, "Image is being uploaded, retry later")


def begin(served: Served, image: OldImage, *, layer: bool = True) -> None:
    """A push that stops before its checksum."""
    assert ask(served, "PUT", f"/images/{image.id}/json", image.raw).status == 200
    if layer:
        assert ask(served, "PUT", f"/images/{image.id}/layer", [image.layer]).status == 200


def put_checksum(served: Served, image: OldImage, **headers: str) -> tuple[int, str]:
    """Status and error, which is "" if there is none."""
    named = {f"X-Docker-{name.replace('_', '-')}": value for name, value in headers.items()}
    got = ask(served, "PUT", f"/images/{image.id}/checksum", b"", named)
    return (got.status, "") if got.status == 200 else got.error


def put_json(served: Served, raw: bytes, image: str) -> tuple[int, str]:
    return ask(served, "PUT", f"/images/{image}/json", raw).error


def test_S03_a_child_before_its_parent_is_refused(served: Served) -> None:
    child = old_image("orphan", parent=old_image("absent"))
    assert put_json(served, child.raw, child.id) == (400, "Image depends on a non existing parent")


def test_S03_a_parent_in_the_making_is_none_yet(served: Served) -> None:
    parent = old_image("s03-parent")
    begin(served, parent)
    child = old_image("s03-child", parent=parent)
    assert put_json(served, child.raw, child.id) == (400, "Image depends on a non existing parent")


def test_S04_json_with_another_id_is_refused(served: Served) -> None:
    assert put_json(served, old_image("other").raw, "1" * 64) == (400, "JSON data contains invalid id")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b'"x"', b"null", b"{}", b"\xff", b'{"id": 1, "id": 2}', b"[" * 9999]
)
def test_S05_what_is_no_json_is_refused(served: Served, raw: bytes) -> None:
    assert put_json(served, raw, "1" * 64) == (400, "Invalid JSON")


def test_S06_json_without_an_id_is_refused(served: Served) -> None:
    assert put_json(served, b'{"parent": ""}', "1" * 64) == (400, "Missing key `id' in JSON")


@pytest.mark.parametrize("parent", ["../../etc", "1" * 64, 5, ["x"]])
def test_PA18_json_with_a_bad_parent_is_refused(served: Served, parent: object) -> None:
    raw = json.dumps({"id": "1" * 64, "parent": parent}).encode()
    assert ask(served, "PUT", f"/images/{'1' * 64}/json", raw).status == 400


def test_S07_an_image_is_not_shown_before_it_is_complete(served: Served) -> None:
    image = old_image("s07")
    path = f"/images/{image.id}"
    assert ask(served, "PUT", f"{path}/json", image.raw).status == 200
    assert ask(served, "GET", f"{path}/json").error == BEING
    assert ask(served, "PUT", f"{path}/layer", image.layer).status == 200
    for part in ("json", "layer", "ancestry", "files", "diff"):
        assert ask(served, "GET", f"{path}/{part}").error == BEING
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (200, "")
    assert ask(served, "GET", f"{path}/json").body == image.raw


def test_S08_a_checksum_before_the_layer_is_refused(served: Served) -> None:
    image = old_image("s08")
    begin(served, image, layer=False)
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (400, "Image has no layer yet")
    assert ask(served, "PUT", f"/images/{image.id}/layer", image.layer).status == 200
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (200, "")


def test_S09_a_checksum_must_be_given(served: Served) -> None:
    image = old_image("s09")
    begin(served, image)
    status, text = put_checksum(served, image)
    assert status == 412
    assert "0.10" in text
    assert ask(served, "GET", f"/images/{image.id}/json").error == BEING


@pytest.mark.parametrize(
    "given", ["sha256:" + "0" * 64, "sha256:", "md5:00", BASE.payload, "../x", "sha256:" + "0" * 5000]
)
def test_S10_another_checksum_is_refused_and_nothing_is_kept(served: Served, given: str) -> None:
    image = old_image(f"s10 {len(given)} {given[:9]}")
    begin(served, image)
    assert put_checksum(served, image, Checksum_Payload=given) == (400, "Checksum mismatch")
    assert ask(served, "GET", f"/images/{image.id}/json").error == BEING
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (200, "")


def test_S11_a_checksum_is_set_once(served: Served) -> None:
    assert put_checksum(served, TOP, Checksum_Payload=TOP.payload) == (409, "Cannot set this image checksum")
    unknown = old_image("s11")
    assert put_checksum(served, unknown, Checksum_Payload=unknown.payload) == (404, "Image not found")


def test_S12_an_image_is_pushed_once(served: Served) -> None:
    for raw in (TOP.raw, TOP.raw.replace(b"2014", b"2015")):
        assert put_json(served, raw, TOP.id) == (409, "Image already exists")
    assert ask(served, "GET", f"/images/{TOP.id}/json").body == TOP.raw


def test_S13_a_layer_is_pushed_once(served: Served) -> None:
    assert ask(served, "PUT", f"/images/{TOP.id}/layer", b"other").error == (409, "Image already exists")
    assert ask(served, "GET", f"/images/{TOP.id}/layer").body == TOP.layer
    unknown = old_image("s13")
    assert ask(served, "PUT", f"/images/{unknown.id}/layer", unknown.layer).error == (404, "Image not found")


def test_S47_a_layer_comes_in_chunks_of_any_size(served: Served) -> None:
    image = old_image("s47", {"data": bytes(range(256)) * 20_000})
    path = f"/images/{image.id}"
    assert ask(served, "PUT", f"{path}/json", image.raw).status == 200

    def pieces() -> Iterator[bytes]:
        at, size = 0, 1
        while at < len(image.layer):
            yield image.layer[at : at + size]
            at, size = at + size, size * 3

    assert ask(served, "PUT", f"{path}/layer", pieces()).status == 200
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (200, "")
    assert ask(served, "GET", f"{path}/layer").body == image.layer


def test_a_layer_can_be_sent_again_before_its_checksum(served: Served) -> None:
    image = old_image("again")
    begin(served, OldImage(image.id, image.raw, b"something else"))
    assert ask(served, "PUT", f"/images/{image.id}/layer", image.layer).status == 200
    assert put_checksum(served, image, Checksum_Payload=image.payload) == (200, "")


def test_a_layer_that_is_no_tar_is_refused(served: Served) -> None:
    made = old_image("no-tar")
    for layer in (b"not a tar" * 1000, gzip.compress(b"not a tar" * 1000), gzip.compress(made.layer)[:-9]):
        image = OldImage(made.id, made.raw, layer)
        if layer.startswith(b"not"):
            begin(served, image)
        else:
            assert ask(served, "PUT", f"/images/{image.id}/layer", image.layer).status == 200
        status, text = put_checksum(served, image, Checksum_Payload=image.payload)
        assert status == 400
        assert text.startswith("Layer cannot be read: ")


@pytest.mark.parametrize("header", ["Checksum", "Checksum_Payload"])
def test_the_checksum_of_docker_before_0_10_stands_elsewhere(served: Served, header: str) -> None:
    image = old_image(f"old {header}")
    begin(served, image)
    assert put_checksum(served, image, **{header: image.payload}) == (200, "")


def tarsum(image: OldImage, body: bytes) -> str:
    """Of an image whose layer is one file named like its content (Docker's tarsum_spec.md)."""
    name = body.decode()
    header = f"name{name}mode420uid0gid0size{len(body)}mtime1600000000typeflag0linknameunamegnamedevmajor0devminor0"
    member = hashlib.sha256(header.encode() + body).hexdigest()
    return "tarsum+sha256:" + hashlib.sha256(image.raw + member.encode()).hexdigest()


def test_S51_the_sum_of_the_tar_is_enough(served: Served) -> None:
    image = old_image("s51")
    begin(served, image)
    assert put_checksum(served, image, Checksum="tarsum+sha256:" + "0" * 64) == (400, "Checksum mismatch")
    assert put_checksum(served, image, Checksum=tarsum(image, b"s51")) == (200, "")
    said = ask(served, "GET", f"/images/{image.id}/json").headers
    assert said["x-docker-checksum"] == tarsum(image, b"s51")
    assert said["x-docker-checksum-payload"] == image.payload


def test_both_sums_are_checked(served: Served) -> None:
    image = old_image("both sums")
    begin(served, image)
    good, bad = tarsum(image, b"both sums"), "tarsum+sha256:" + "0" * 64
    assert put_checksum(served, image, Checksum=bad, Checksum_Payload=image.payload) == (400, "Checksum mismatch")
    assert put_checksum(served, image, Checksum=good, Checksum_Payload=BASE.payload) == (400, "Checksum mismatch")
    assert put_checksum(served, image, Checksum=good, Checksum_Payload=image.payload) == (200, "")


def test_a_tarsum_of_another_kind_is_passed_over_beside_a_payload(served: Served) -> None:
    image = old_image("another kind")
    begin(served, image)
    other = "tarsum.v9+md5:00"
    assert put_checksum(served, image, Checksum=other)[0] == 400
    assert put_checksum(served, image, Checksum=other, Checksum_Payload=image.payload) == (200, "")


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_S52_nothing_is_pushed_unless_it_may_be(tmp_path: Path, method: str) -> None:
    with serve_store(tmp_path / "store", "--v1") as server:
        image = old_image("s52")
        paths = [f"/images/{image.id}/{part}" for part in ("json", "layer", "checksum")]
        paths += [f"/repositories/a/b/{part}" for part in ("", "images", "tags/x", "properties", "auth")]
        for path in paths:
            got = ask(server, method, path, image.raw)
            assert got.error == (405, "this registry is read-only")
            assert got.headers["allow"] == "GET, HEAD"


def test_S52_no_web_page_pushes(served: Served) -> None:
    image = old_image("origin")
    headers = {"Origin": "http://example.com"}
    assert ask(served, "PUT", f"/images/{image.id}/json", image.raw, headers).status == 403
    assert ask(served, "DELETE", "/repositories/foo/bar/", headers=headers).status == 403


def test_S53_an_image_is_in_one_clients_hands(served: Served) -> None:
    image, path = old_image("s53"), f"/images/{old_image('s53').id}"
    mine, other = {"Authorization": "Token mine"}, {"Authorization": "Token other"}
    assert ask(served, "PUT", f"{path}/json", image.raw, mine).status == 200
    assert ask(served, "PUT", f"{path}/json", image.raw, other).error == IN_HAND
    assert ask(served, "PUT", f"{path}/json", image.raw).error == IN_HAND
    assert ask(served, "PUT", f"{path}/layer", image.layer, other).error == IN_HAND
    assert ask(served, "PUT", f"{path}/json", image.raw, mine).status == 200  # a retry of its own
    assert ask(served, "PUT", f"{path}/layer", image.layer, mine).status == 200
    sums = {"X-Docker-Checksum-Payload": image.payload}
    assert ask(served, "PUT", f"{path}/checksum", b"", {**other, **sums}).error == IN_HAND
    assert ask(served, "PUT", f"{path}/checksum", b"", {**mine, **sums}).status == 200


def test_S53_an_image_whose_client_is_silent_may_be_taken_over(tmp_path: Path) -> None:
    with serve_pushes(tmp_path / "store", stale=0.0) as server:
        image = old_image("stale")
        begin(server, OldImage(image.id, image.raw + b" ", b"of a client that went away"))
        push(server, image, token="other")
        assert ask(server, "GET", f"/images/{image.id}/json").body == image.raw
        assert ask(server, "GET", f"/images/{image.id}/layer").body == image.layer


def test_what_is_not_complete_goes_with_the_server(tmp_path: Path) -> None:
    image = old_image("half")
    with serve_store(tmp_path / "store", "--v1", "--writable") as first:
        begin(first, image)
    assert not list((tmp_path / "store" / "sessions").iterdir())
    with serve_store(tmp_path / "store", "--v1", "--writable") as second:
        assert ask(second, "GET", f"/images/{image.id}/json").error == (404, "Image not found")
        push(second, image)
