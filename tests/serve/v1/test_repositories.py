"""`/v1/repositories`, and what an index has besides."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path

import pytest

from tests.support.command_line import Orlop
from tests.support.serving import Served, serve_store
from tests.support.version_one import ask, old_image, push, put_json

from .images import BASE, TOP

TOKEN = re.compile(r'Token signature=[0-9A-F]{16},repository="([a-z/]+)",access=([a-z]+)')
AGENT = {"User-Agent": "docker/0.7.2-dev go/go1.2 kernel/3.8 os/ostest arch/archtest"}


def test_S01_an_unknown_repository_has_no_images(served: Served) -> None:
    assert ask(served, "GET", "/repositories/no/such/images").error == (404, "images not found")


def test_S02_a_push_is_announced(served: Served) -> None:
    got = put_json(served, "/repositories/foo/new/", [{"id": TOP.id, "Tag": "latest"}])
    assert (got.status, got.json()) == (200, "")
    match = TOKEN.fullmatch(got.headers["x-docker-token"])
    assert match is not None
    assert match.groups() == ("foo/new", "write")
    assert got.headers["www-authenticate"] == got.headers["x-docker-token"]
    assert got.headers["x-docker-endpoints"] == served.address


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Error Decoding JSON"),
        (b"[", "Error Decoding JSON"),
        (b"{}", "Invalid data"),
        (b'["x"]', "Invalid data"),
        (b'[{"id": "../x"}]', "Invalid data"),
        (b'[{"Tag": "x"}]', "Invalid data"),
    ],
)
@pytest.mark.parametrize("part", ["", "images"])
def test_a_list_that_is_none_is_refused(served: Served, body: bytes, text: str, part: str) -> None:
    assert ask(served, "PUT", f"/repositories/foo/new/{part}", body).error == (400, text)


@pytest.mark.parametrize("tag", [".dot", "-dash", "x" * 129, "a b", "sp%20ace", "%c3%a9", "a:b"])
def test_S14_a_bad_tag_is_refused(served: Served, tag: str) -> None:
    got = ask(served, "PUT", f"/repositories/foo/bar/tags/{tag.replace(' ', '%20')}", json.dumps(TOP.id).encode())
    assert got.status == 400
    assert got.json()["error"].startswith("Illegal tag name (")


@pytest.mark.parametrize("body", [TOP.id.encode(), b"", b"5", b"[]", b'""', json.dumps({"id": TOP.id}).encode()])
def test_S15_a_tag_is_a_json_string(served: Served, body: bytes) -> None:
    assert ask(served, "PUT", "/repositories/foo/bar/tags/x", body).error == (400, "Invalid data")


def test_S16_a_tag_of_an_unknown_image_is_refused(served: Served) -> None:
    path = "/repositories/foo/bar/tags/x"
    assert put_json(served, path, "0" * 64).error == (404, "Image not found")
    assert put_json(served, path, "../../x").error == (404, "Invalid image ID")
    half = old_image("half tagged")
    assert ask(served, "PUT", f"/images/{half.id}/json", half.raw).status == 200
    assert put_json(served, path, half.id).error == (400, "Image is being uploaded, retry later")


def test_S26_a_tag_is_deleted_once(served: Served) -> None:
    push(served, old_image("s26"), repository="del/tag", tag="a")
    push(served, old_image("s26 b"), repository="del/tag", tag="b")
    assert ask(served, "DELETE", "/repositories/del/tag/tags/a").status == 200
    assert ask(served, "DELETE", "/repositories/del/tag/tags/a").error == (404, "Tag not found: a")
    assert list(ask(served, "GET", "/repositories/del/tag/tags").json()) == ["b"]


def test_S27_S28_a_repository_is_deleted_and_its_images_stay(served: Served) -> None:
    image = old_image("s28")
    push(served, image, repository="del/all", tag="a")
    assert put_json(served, "/repositories/del/all/tags/b", image.id).status == 200
    first = ask(served, "DELETE", "/repositories/del/all/images")
    assert (first.status, first.body) == (204, b"")
    assert "access=delete" in first.headers["x-docker-token"]
    assert ask(served, "DELETE", "/repositories/del/all/").status == 200
    assert ask(served, "DELETE", "/repositories/del/all/").error == (404, "Repository not found")
    assert ask(served, "GET", "/repositories/del/all/tags").error == (404, "Repository not found")
    assert ask(served, "GET", f"/images/{image.id}/layer").body == image.layer


def test_S28_deleted_repositories_are_gone(served: Served) -> None:
    push(served, old_image("s28 more"), repository="del/more")
    assert ask(served, "DELETE", "/repositories/del/more").status == 200
    assert ask(served, "GET", "/repositories/del/more/images").error == (404, "images not found")


def test_S42_all_tags_are_deleted(served: Served) -> None:
    push(served, old_image("s42"), repository="del/every")
    assert ask(served, "DELETE", "/repositories/del/every/tags").status == 200
    assert ask(served, "GET", "/repositories/del/every/tags").status == 404


def test_S29_names_are_searched(served: Served) -> None:
    push(served, old_image("s29"), repository="find/needle")
    found = ask(served, "GET", "/search?q=Needle").json()
    assert (found["query"], found["num_results"]) == ("Needle", 1)
    assert found["results"][0]["name"] == "find/needle"
    assert found["results"][0]["description"] == ""
    assert ask(served, "GET", "/search?q=no+such").json()["results"] == []
    names = [result["name"] for result in ask(served, "GET", "/search").json()["results"]]
    assert "foo/bar" in names
    assert not [name for name in names if "docker.io" in name]
    assert ask(served, "GET", "/search?q=" + "x" * 5000).status == 400


def test_S30_users_are_answered(served: Served) -> None:
    for path in ("/users", "/users/"):
        got = ask(served, "GET", path, headers={"Authorization": "Basic eDp5"})
        assert (got.status, got.json()) == (200, "OK")


def test_S31_users_are_made(served: Served) -> None:
    got = put_json(served, "/users/", {"username": "x"})
    assert got.status == 405
    got = ask(served, "POST", "/users/", b'{"username": "x", "password": "y", "email": "z"}')
    assert (got.status, got.json()) == (201, "User Created")
    assert ask(served, "POST", "/users/", b"{").error == (400, "Error Decoding JSON")


def test_S32_users_are_changed(served: Served) -> None:
    got = put_json(served, "/users/x/", {"password": "y"})
    assert (got.status, got.body) == (204, b"")


def test_S33_S45_properties_are_public(served: Served) -> None:
    path = "/repositories/foo/bar/properties"
    got = ask(served, "GET", path)
    assert (got.status, got.json()) == (200, {"access": "public"})


def test_S33_properties_of_nothing(served: Served) -> None:
    assert ask(served, "GET", "/repositories/no/such/properties").error == (404, "Repository not found")


def test_S45_properties_are_put(served: Served) -> None:
    path = "/repositories/foo/bar/properties"
    assert put_json(served, path, {"access": "public"}).status == 200
    # rather refused than not kept
    assert put_json(served, path, {"access": "private"}).status == 400
    for body in (b"", b"[]", b'{"access": 5}'):
        assert ask(served, "PUT", path, body).error == (400, "Invalid data")


def test_S34_a_token_is_good(served: Served) -> None:
    got = ask(served, "PUT", "/repositories/foo/bar/auth", b"", {"Authorization": "Token x"})
    assert (got.status, got.json()) == (200, "OK")


def test_S35_S37_the_registry_is_standalone(served: Served) -> None:
    got = ask(served, "GET", "/_ping")
    assert (got.status, got.json(), got.headers["x-docker-registry-standalone"]) == (200, True, "true")
    assert got.headers["x-docker-registry-version"]


def test_S37_the_first_ping(served: Served) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=60)
    connection.request("GET", "/_ping")
    assert connection.getresponse().status == 200
    connection.close()


def test_S36_a_name_alone_is_in_library(served: Served) -> None:
    image = old_image("s36")
    push(served, image, repository="solo", tag="1")
    for path in ("/repositories/solo/tags", "/repositories/library/solo/tags"):
        assert ask(served, "GET", path).json() == {"1": image.id}


def test_S38_the_list_has_tags_and_ancestors(served: Served) -> None:
    got = ask(served, "GET", "/repositories/foo/bar/images", headers={"X-Docker-Token": "true"})
    assert got.status == 200
    listed = {row["id"]: row for row in got.json()}
    assert listed[TOP.id] == {"id": TOP.id, "checksum": TOP.payload, "Tag": "latest"}
    assert listed[BASE.id] == {"id": BASE.id, "checksum": BASE.payload}
    match = TOKEN.fullmatch(got.headers["x-docker-token"])
    assert match is not None
    assert match.groups() == ("foo/bar", "read")
    assert got.headers["x-docker-endpoints"] == served.address
    assert "x-docker-token" not in ask(served, "GET", "/repositories/foo/bar/images").headers


def test_S39_the_end_of_a_push(served: Served) -> None:
    for value in ([], [{"id": TOP.id, "checksum": TOP.payload}]):
        got = put_json(served, "/repositories/foo/bar/images", value)
        assert (got.status, got.body) == (204, b"")
        assert got.headers["x-docker-endpoints"] == served.address


def test_S40_tags_are_listed(served: Served) -> None:
    push(served, old_image("s40"), repository="tags/list", tag="a")
    push(served, old_image("s40 b"), repository="tags/list", tag="0.1-B_c")
    found = ask(served, "GET", "/repositories/tags/list/tags").json()
    assert found == {"a": old_image("s40").id, "0.1-B_c": old_image("s40 b").id}
    assert ask(served, "GET", "/repositories/no/such/tags").error == (404, "Repository not found")


def test_S41_a_tag_is_an_id(served: Served) -> None:
    assert ask(served, "GET", "/repositories/foo/bar/tags/latest").json() == TOP.id
    assert ask(served, "GET", "/repositories/foo/bar/tags/none").error == (404, "Tag not found: none")


def test_a_tag_moves(served: Served) -> None:
    first, second = old_image("move 1"), old_image("move 2")
    for image in (first, second):
        push(served, image, repository="move/it")
        assert ask(served, "GET", "/repositories/move/it/tags/latest").json() == image.id


def test_S43_S44_who_pushed_is_told(served: Served) -> None:
    push(served, old_image("s43"), repository="who/pushed", tag="1")
    path = "/repositories/who/pushed/json"
    assert ask(served, "GET", path).json()["docker_version"] is None
    assert put_json(served, "/repositories/who/pushed/tags/1", old_image("s43").id, AGENT).status == 200
    said = ask(served, "GET", path).json()
    assert said.pop("last_update") > 1_700_000_000
    expected = {"docker_version": "0.7.2-dev", "docker_go_version": "go1.2", "kernel": "3.8"}
    assert said == {**expected, "os": "ostest", "arch": "archtest"}


def test_S44_of_a_tag(served: Served) -> None:
    path = "/repositories/foo/bar/tags/latest/json"
    assert set(ask(served, "GET", path).json()) == {
        *("last_update", "docker_version", "docker_go_version", "arch", "kernel", "os")
    }
    assert ask(served, "GET", "/repositories/foo/bar/tags/none/json").error == (404, "Tag not found: none")


def test_what_nobody_saw_pushed_is_told_by_the_image(tmp_path: Path) -> None:
    with serve_store(tmp_path / "store", "--v1", "--writable") as first:
        push(first, BASE, repository="a/b")
    with serve_store(tmp_path / "store", "--v1") as second:
        said = ask(second, "GET", "/repositories/a/b/json").json()
        assert (said["docker_version"], said["arch"], said["os"]) == ("1.0.0", "amd64", "linux")


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "UPPER/x", "a//b", "%2e%2e/x", "a/b%00", "x" * 300, "_/x", "a/b@c", "caf%c3%a9/x"]
)
def test_PA17_names_that_are_none_are_refused(served: Served, name: str) -> None:
    for path in (f"/repositories/{name}/images", f"/repositories/{name}/tags", f"/repositories/{name}/tags/latest"):
        assert ask(served, "GET", path).status in (400, 404)
    assert put_json(served, f"/repositories/{name}/tags/latest", TOP.id).status == 400
    assert put_json(served, f"/repositories/{name}/", []).status in (400, 404)


@pytest.mark.parametrize("name", ["v1.invalid/graph", "localhost:5000/x", "ghcr.io/a/b", "localhost/x"])
def test_PA19_nothing_is_pushed_into_another_registrys_names(served: Served, name: str) -> None:
    got = put_json(served, f"/repositories/{name}/tags/latest", TOP.id)
    assert got.status == 400
    assert "Invalid repository name" in got.json()["error"]


def test_the_store_names_what_was_pushed(tmp_path: Path) -> None:
    with serve_store(tmp_path / "store", "--v1", "--writable") as server:
        push(server, BASE, TOP, repository="foo/bar", tag="1")
        push(server, old_image("alone"), repository="solo")
    listed = Orlop(tmp_path / "store")("images", "--json").json()
    names = {row["name"] for row in listed if not row["name"].startswith("v1.invalid/")}
    assert names == {"docker.io/foo/bar:1", "docker.io/library/solo:latest"}
