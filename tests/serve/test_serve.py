from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orlop.errors import Busy, Usage
from orlop.model import media
from orlop.model.digest import Digest
from orlop.model.limits import KIB
from orlop.serve.layouts import LayoutView
from orlop.serve.server import serve
from tests.support.images import blob_name, make_image, make_index, small_image, write_layout
from tests.support.serving import Served, serve_layout

SMALL = small_image()
INDEX = make_index({"linux/amd64": SMALL, "linux/arm64/v8": small_image("zstd", word="arm")})
LAYER = SMALL.document.layers[0]
ABSENT = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    images = {
        "1": SMALL,
        "multi": INDEX,
        "docker": small_image(docker=True),
        "docker.io/library/debian:12": SMALL,
        "localhost:5000/a/b:x": SMALL,
    }
    with serve_layout(write_layout(tmp_path_factory.mktemp("served"), images), repository="mine") as server:
        yield server


def ask(served: Served, path: str, method: str = "GET", **headers: str) -> Got:
    connection = http.client.HTTPConnection(served.address, timeout=20)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, found, answer.read())
    finally:
        connection.close()


BLOB = f"/v2/mine/blobs/{LAYER.digest}"


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [
        ("/v2/", 200, "application/json"),
        ("/v2", 200, "application/json"),
        ("/v2/mine/manifests/1", 200, media.OCI_MANIFEST),
        (f"/v2/mine/manifests/{SMALL.digest}", 200, media.OCI_MANIFEST),
        ("/v2/mine/manifests/multi", 200, media.OCI_INDEX),
        ("/v2/mine/manifests/docker", 200, media.DOCKER_MANIFEST),
        ("/v2/library/debian/manifests/12", 200, media.OCI_MANIFEST),
        ("/v2/docker.io/library/debian/manifests/12", 200, media.OCI_MANIFEST),
        ("/v2/a/b/manifests/x", 200, media.OCI_MANIFEST),
        ("/v2/library%2Fdebian/manifests/12", 200, media.OCI_MANIFEST),
        (BLOB, 200, "application/octet-stream"),
        ("/v2/mine/tags/list", 200, "application/json"),
        ("/v2/_catalog", 200, "application/json"),
        ("/", 404, "application/json"),
        ("/v1/_ping", 404, "application/json"),
        ("/v2/mine", 404, "application/json"),
        ("/v2/mine/manifests/absent", 404, "application/json"),
        (f"/v2/mine/manifests/{ABSENT}", 404, "application/json"),
        ("/v2/absent/manifests/1", 404, "application/json"),
        (f"/v2/mine/blobs/{ABSENT}", 404, "application/json"),
        (f"/v2/absent/blobs/{LAYER.digest}", 404, "application/json"),
        ("/v2/absent/tags/list", 404, "application/json"),
        ("/v2/mine/manifests/sha256:baddigeststring", 400, "application/json"),
        ("/v2/mine/blobs/sha256:baddigeststring", 400, "application/json"),
        ("/v2/mine/blobs/1", 400, "application/json"),
        ("/v2/MINE/manifests/1", 400, "application/json"),
        ("/v2/mine/tags/list?n=-1", 400, "application/json"),
        ("/v2/mine/tags/list?n=x", 400, "application/json"),
        ("/v2/mine/tags/list?last=" + "x" * 5000, 400, "application/json"),
    ],
)
def test_SV15_each_answer_has_the_same_status_and_headers_for_get_and_head(
    served: Served, path: str, status: int, content_type: str
) -> None:
    got, head = ask(served, path), ask(served, path, "HEAD")
    assert (got.status, got.headers["content-type"]) == (status, content_type)
    assert got.headers["content-length"] == str(len(got.body))
    assert head.body == b""
    assert head.status == got.status
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
    assert got.headers["docker-distribution-api-version"] == "registry/2.0"
    if status >= 400:
        assert set(json.loads(got.body)["errors"][0]) == {"code", "message", "detail"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/mine/manifests/absent", "MANIFEST_UNKNOWN"),
        (f"/v2/mine/blobs/{ABSENT}", "BLOB_UNKNOWN"),
        ("/v2/absent/tags/list", "NAME_UNKNOWN"),
        ("/v2/MINE/tags/list", "NAME_INVALID"),
        ("/v2/mine/blobs/sha256:bad", "DIGEST_INVALID"),
        ("/v2/mine/tags/list?n=-1", "PAGINATION_NUMBER_INVALID"),
    ],
)
def test_errors_have_the_codes_of_the_specification(served: Served, path: str, code: str) -> None:
    assert ask(served, path).code == code


def test_documents_and_blobs_are_served_byte_for_byte(served: Served) -> None:
    for image in (SMALL, INDEX):
        for document in (image.document, *image.documents):
            got = ask(served, f"/v2/mine/manifests/{document.digest}")
            assert (got.body, got.headers["docker-content-digest"]) == (document.raw, document.digest)
        for digest, blob in image.blobs.items():
            got = ask(served, f"/v2/mine/blobs/{digest}")
            assert (got.body, got.headers["docker-content-digest"]) == (blob, digest)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v2/", "/v2/mine/blobs/uploads/", "/v2/mine/manifests/1", BLOB])
def test_nothing_can_be_written(served: Served, method: str, path: str) -> None:
    got = ask(served, path, method)
    assert (got.status, got.code, got.headers["allow"]) == (405, "UNSUPPORTED", "GET, HEAD")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, LAYER.size),
        ("bytes=-10", LAYER.size - 10, LAYER.size),
        ("bytes=0-0", 0, 1),
        (f"bytes=5-{10**18}", 5, LAYER.size),
        (f"bytes=-{10**18}", 0, LAYER.size),
    ],
)
def test_one_range_of_a_blob_is_served(served: Served, asked: str, start: int, end: int) -> None:
    got = ask(served, BLOB, Range=asked)
    assert got.status == 206
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{LAYER.size}"
    assert got.headers["content-length"] == str(end - start)
    assert got.body == SMALL.blobs[LAYER.digest][start:end]


@pytest.mark.parametrize("asked", [f"bytes={LAYER.size}-", f"bytes={LAYER.size + 5}-{LAYER.size + 9}", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(served: Served, asked: str) -> None:
    got = ask(served, BLOB, Range=asked)
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{LAYER.size}")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=" + "0-," * 5000,
        "bytes=5-3",
        "bytes=-",
        "lines=1-2",
        "bytes=a-b",
        "bytes=" + "9" * 20 + "-",
    ],
)
def test_RX06_many_or_malformed_ranges_get_the_whole(served: Served, asked: str) -> None:
    got = ask(served, BLOB, Range=asked)
    assert (got.status, got.body) == (200, SMALL.blobs[LAYER.digest])


def test_ranges_are_for_get_and_for_the_same_blob_only(served: Served) -> None:
    assert ask(served, BLOB, "HEAD", Range="bytes=0-1").status == 200
    assert ask(served, "/v2/mine/manifests/1", Range="bytes=0-1").status == 200
    assert ask(served, BLOB, Range="bytes=0-1", If_Range='"other"').status == 200
    assert ask(served, BLOB, Range="bytes=0-1", If_Range=f'"{LAYER.digest}"').status == 206


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/mine/manifests/1", BLOB])
def test_SV15_unchanged_content_is_304(served: Served, path: str, method: str) -> None:
    etag = ask(served, path).headers["etag"]
    for given in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        got = ask(served, path, method, If_None_Match=given)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
    assert ask(served, path, method, If_None_Match='"x"').status == 200


def test_SV13_no_browser_runs_what_a_blob_holds(tmp_path: Path) -> None:
    html = make_image([b"<script>alert(1)</script>"], compression="none")
    with serve_layout(write_layout(tmp_path, {"1": html})) as server:
        for path in ("blobs/" + Digest.of(html.layers[0]), "manifests/1", "tags/list", "manifests/none"):
            got = ask(server, f"/v2/images/{path}", Accept="text/html")
            assert "html" not in got.headers["content-type"]
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/mine/../mine/manifests/1",
        "/v2/mine/manifests/../manifests/1",
        "/v2//mine/manifests/1",
        "/v2/mine//manifests/1",
        "/v2/mine/manifests//1",
        "/v2/mine/manifests/1/",
        "//v2/mine/manifests/1",
        "/v2/./mine/manifests/1",
        "/v2/mine%252f/manifests/1",
        "/v2/mine/manifests/..%2f1",
        "/v2/mine/manifests/%2e%2e",
        "/v2/mine/manifests/1%00",
        "/v2/mine/manifests/1%0a",
        "/v2/mine/manifests/%ff",
        "/v2/mine;x/manifests/1",
        f"/v2/mine/blobs/..%2f{LAYER.digest}",
        "/v2/mine/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
        "/v2/" + "a/" * 200 + "manifests/1",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/V2/mine/manifests/1",
    ],
)
def test_SV09_paths_are_matched_as_they_come(served: Served, path: str) -> None:
    assert ask(served, path).status in (400, 404)


def test_tags_are_sorted_and_paged(served: Served) -> None:
    assert json.loads(ask(served, "/v2/mine/tags/list").body) == {"name": "mine", "tags": ["1", "docker", "multi"]}
    got = ask(served, "/v2/mine/tags/list?n=2")
    assert json.loads(got.body)["tags"] == ["1", "docker"]
    assert got.headers["link"] == '</v2/mine/tags/list?n=2&last=docker>; rel="next"'
    got = ask(served, "/v2/mine/tags/list?n=2&last=docker")
    assert (json.loads(got.body)["tags"], "link" in got.headers) == (["multi"], False)


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("n=0", []),
        ("last=zzz", []),
        ("last=absent", ["docker", "multi"]),
        ("n=99999999999999", ["1", "docker", "multi"]),
    ],
)
def test_SV16_odd_pages_are_answered(served: Served, query: str, tags: list[str]) -> None:
    got = ask(served, f"/v2/mine/tags/list?{query}")
    assert (json.loads(got.body)["tags"], "link" in got.headers) == (tags, False)


def test_the_catalog_names_every_repository_once(served: Served) -> None:
    names = json.loads(ask(served, "/v2/_catalog").body)["repositories"]
    assert names == ["a/b", "docker.io/library/debian", "library/debian", "mine"]
    got = ask(served, "/v2/_catalog?n=1&last=a/b")
    assert json.loads(got.body)["repositories"] == ["docker.io/library/debian"]
    assert got.headers["link"] == '</v2/_catalog?n=1&last=docker.io%2Flibrary%2Fdebian>; rel="next"'


def test_RX04_a_page_is_never_longer_than_a_thousand(tmp_path: Path) -> None:
    images = {f"t{number:04}": SMALL for number in range(1001)}
    with serve_layout(write_layout(tmp_path, images)) as server:
        got = ask(server, "/v2/images/tags/list?n=100000")
        assert len(json.loads(got.body)["tags"]) == 1000
        assert got.headers["link"] == '</v2/images/tags/list?n=1000&last=t0999>; rel="next"'


def test_RX03_huge_headers_are_refused(served: Served) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (512 * KIB) + b"\r\n\r\n")
            answer = connection.recv(100)
        except ConnectionError:  # closed while we were still sending
            answer = b""
    assert not answer or answer.split()[1] in (b"400", b"431")
    assert ask(served, "/v2/").status == 200


def test_SV14_no_answer_speaks_of_the_host_it_was_asked_by(served: Served) -> None:
    got = ask(served, "/v2/mine/tags/list?n=1", Host="evil.example", X_Forwarded_Host="evil.example")
    assert "evil" not in str(got.headers)
    assert ask(served, "http://evil.example/v2/mine/manifests/1").status == 200


def test_a_layout_that_grows_is_served_as_it_is_now(tmp_path: Path) -> None:
    with serve_layout(write_layout(tmp_path, {"1": SMALL})) as server:
        assert ask(server, "/v2/images/manifests/2").status == 404
        write_layout(tmp_path, {"1": SMALL, "2": INDEX})
        assert ask(server, "/v2/images/manifests/2").body == INDEX.document.raw


def test_a_blob_of_no_bytes_and_one_of_many(tmp_path: Path) -> None:
    large = os.urandom(1 << 20) * 8
    image = make_image([b"", large], compression="none")
    with serve_layout(write_layout(tmp_path, {"1": image})) as server:
        for layer in image.layers:
            got = ask(server, f"/v2/images/blobs/{Digest.of(layer)}")
            assert (got.status, got.headers["content-length"]) == (200, str(len(layer)))
            assert got.body == layer


def test_damage_is_an_answer_and_not_the_end(tmp_path: Path) -> None:
    path = write_layout(tmp_path, {"1": SMALL})
    with serve_layout(path) as server:
        (path / blob_name(SMALL.digest)).write_bytes(b"junk")
        assert ask(server, "/v2/images/manifests/1").code == "MANIFEST_INVALID"
        (path / "index.json").unlink()
        assert ask(server, "/v2/images/manifests/1").status == 404
        assert ask(server, "/v2/").status == 200


def test_SV20_a_stop_lets_the_answer_under_way_finish(tmp_path: Path) -> None:
    large = bytes(64 << 20)
    image = make_image([large], compression="none")
    with serve_layout(write_layout(tmp_path, {"1": image})) as server:
        connection = http.client.HTTPConnection(server.address, timeout=20)
        connection.request("GET", f"/v2/images/blobs/{Digest.of(large)}")
        answer = connection.getresponse()
        first = answer.read(1 << 20)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert len(first + answer.read()) == len(large)
        connection.close()
        assert server.process.wait(20) == 0


def test_SV20_a_client_that_does_not_read_cannot_hold_up_the_stop(tmp_path: Path) -> None:
    large = bytes(64 << 20)
    image = make_image([large], compression="none")
    with serve_layout(write_layout(tmp_path, {"1": image}), drain=0.5) as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"GET /v2/images/blobs/{Digest.of(large)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0


def test_only_loopback_is_listened_on_unless_told(tmp_path: Path) -> None:
    view = LayoutView(write_layout(tmp_path, {"1": SMALL}))
    for address in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(Usage, match="not a loopback address"):
            serve(view, address, 0, ready=print)


def test_a_port_that_is_taken_is_busy(served: Served, tmp_path: Path) -> None:
    view = LayoutView(write_layout(tmp_path, {"1": SMALL}))
    with pytest.raises(Busy, match="something else listens there"):
        serve(view, "127.0.0.1", int(served.address.rpartition(":")[2]), ready=print)


def test_the_address_of_ipv6_is_printed_as_in_a_url(tmp_path: Path) -> None:
    with serve_layout(write_layout(tmp_path, {"1": SMALL}), listen="::1") as server:
        assert server.address.startswith("[::1]:")
        assert ask(server, "/v2/").status == 200


def test_many_clients_at_once_get_the_right_bytes(served: Served) -> None:
    wrong: list[str] = []

    def fetch() -> None:
        for digest, blob in INDEX.blobs.items():
            if ask(served, f"/v2/mine/blobs/{digest}").body != blob:
                wrong.append(digest)

    threads = [threading.Thread(target=fetch) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
