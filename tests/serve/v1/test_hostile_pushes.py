"""Clients of version 1 that mean harm: bodies that are huge, slow, cut short, or none."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd

from tests.support.images import make_layer
from tests.support.serving import Served, serve_pushes
from tests.support.version_one import OldImage, ask, old_image, push

IMAGE = old_image("hostile", {"data": random.Random(1).randbytes(100_000)})
PATH = f"/images/{IMAGE.id}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Layers of at most 1 MiB; a body must move within two seconds."""
    with serve_pushes(tmp_path / "store", limit=1 << 20, stale=0.0, stall=2.0) as server:
        yield server


def raw(served: Served, sent: bytes, *, cut: bool = False) -> bytes:
    """The first bytes that come back for bytes of ours; `cut`: we hang up half way."""
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(sent)
        if cut:
            link.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            return link.recv(4000)
    return b""


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join((f"{method} /v1{path} HTTP/1.1", "Host: x", *fields, "", "")).encode()


def rss(served: Served) -> int:
    return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def announced(served: Served) -> None:
    assert ask(served, "PUT", f"{PATH}/json", IMAGE.raw).status == 200


def test_RX03_a_layer_over_the_limit_is_refused(served: Served) -> None:
    announced(served)
    too_much = b"x" * (1 << 20) + b"x"
    got = ask(served, "PUT", f"{PATH}/layer", headers={"Content-Length": str(1 << 50)})
    assert got.error == (413, f"more than {1 << 20} bytes")

    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield too_much[: 1 << 18]

    with contextlib.suppress(ConnectionError):  # it need not read what it does not want
        assert ask(served, "PUT", f"{PATH}/layer", endless()).status == 413
    assert ask(served, "GET", f"{PATH}/json").status == 400
    push(served, IMAGE)


@pytest.mark.parametrize(
    "path", [f"{PATH}/json", "/repositories/a/b/", "/repositories/a/b/images", "/repositories/a/b/tags/x", "/users/x/"]
)
def test_RX03_json_over_a_mebibyte_is_refused(served: Served, path: str) -> None:
    got = ask(served, "PUT", path, b'"' + b"x" * (2 << 20) + b'"')
    assert got.status == 413
    with contextlib.suppress(ConnectionError):
        assert ask(served, "PUT", path, iter([b"[" * (1 << 20)] * 4)).status == 413


def test_PA10_json_that_grows_in_memory_is_refused(served: Served) -> None:
    before = rss(served)
    lists = b"[" + b"[]," * 300_000 + b"[]]"
    assert ask(served, "PUT", "/repositories/a/b/", lists).error == (400, "Error Decoding JSON")
    deep = b'{"id": "' + IMAGE.id.encode() + b'", "x": ' + b"[" * 500 + b"]" * 500 + b"}"
    assert ask(served, "PUT", f"{PATH}/json", deep).error == (400, "Invalid JSON")
    assert rss(served) - before < 100 << 20


def test_RX08_a_body_that_does_not_come_is_given_up(served: Served) -> None:
    announced(served)
    for path in (f"{PATH}/layer", "/repositories/a/b/"):
        got = raw(served, head("PUT", path, "Content-Length: 100000") + b"x" * 10)
        assert b" 408 " in got.split(b"\r\n")[0]
    push(served, IMAGE)


def test_RX08_a_body_that_drips_is_given_up(served: Served) -> None:
    announced(served)
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(head("PUT", f"{PATH}/layer", "Transfer-Encoding: chunked"))
        link.settimeout(0.05)
        deadline, got = time.monotonic() + 60, b""
        while not got and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError):
                link.sendall(b"1\r\nx\r\n")
            try:
                got = link.recv(100)
            except TimeoutError:
                continue
        assert b" 408 " in got


def test_RX08_many_half_sent_layers_keep_nobody_out(served: Served) -> None:
    host, port = served.address.split(":")
    with contextlib.ExitStack() as stack:
        for number in range(40):
            image = old_image(f"half sent {number}")
            assert ask(served, "PUT", f"/images/{image.id}/json", image.raw).status == 200
            link = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            link.sendall(head("PUT", f"/images/{image.id}/layer", "Content-Length: 1000000") + b"x" * 1000)
        push(served, IMAGE, repository="a/b")
        assert ask(served, "GET", f"{PATH}/layer").body == IMAGE.layer


@pytest.mark.parametrize(
    "sent",
    [
        head("PUT", f"{PATH}/layer", f"Content-Length: {len(IMAGE.layer)}") + IMAGE.layer[:-1],
        head("PUT", f"{PATH}/layer", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
        head("PUT", f"{PATH}/layer", "Transfer-Encoding: chunked") + b"50\r\nhello",
        head("PUT", f"{PATH}/layer", "Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n\r\n",
    ],
    ids=["shorter", "no end", "half a chunk", "nonsense"],
)
def test_NF01_a_layer_that_is_cut_short_is_none(served: Served, sent: bytes) -> None:
    announced(served)
    got = raw(served, sent, cut=True)
    assert not got or b" 400 " in got.split(b"\r\n")[0]
    checksum = {"X-Docker-Checksum-Payload": IMAGE.payload}
    deadline = time.monotonic() + 30
    while (refused := ask(served, "PUT", f"{PATH}/checksum", b"", checksum)).status == 409:
        assert time.monotonic() < deadline, "the layer is still being received"
        time.sleep(0.05)
    assert refused.error == (400, "Image has no layer yet")
    push(served, IMAGE)


def test_RX03_header_bombs_are_refused(served: Served) -> None:
    for field in ("Authorization", "X-Docker-Checksum-Payload", "User-Agent", "X-Docker-Token", "Host"):
        sent = head("PUT", f"{PATH}/checksum", f"{field}: {'x' * 100_000}")
        got = raw(served, sent)
        assert not got or got.split(b" ")[1] in (b"400", b"431")
    assert ask(served, "GET", "/_ping").status == 200


def test_a_host_that_is_none_is_not_repeated(served: Served) -> None:
    for host in ("a b", "x/../y", "<script>", "x" * 300, "a:b:c"):
        sent = f"PUT /v1/repositories/a/b/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n[]".encode()
        got = raw(served, sent)
        assert not got or b" 400 " in got.split(b"\r\n")[0]
        assert b"x-docker-endpoints" not in got.lower()


@pytest.mark.parametrize(
    "path",
    [
        f"/images/../images/{IMAGE.id}/json",
        f"/images//{IMAGE.id}/json",
        "/images/%2e%2e/json",
        "/images/..%2f..%2fetc%2fpasswd/layer",
        "/repositories/../../etc/passwd/tags",
        "/repositories/a/b/tags/..%2f..%2fx",
        "/repositories/a/b/tags/%2e%2e",
        "/" + "a/" * 2000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_PA17_PA18_no_path_leads_out(served: Served, path: str, method: str) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(method, f"/v1{path}")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"[]")
        assert connection.getresponse().status in (400, 404, 405, 414)


def test_no_more_images_are_in_hand_than_there_is_room_for(tmp_path: Path) -> None:
    with serve_pushes(tmp_path / "store") as server:
        for number in range(128):
            image = old_image(f"crowd {number}")
            assert ask(server, "PUT", f"/images/{image.id}/json", image.raw).status == 200
        refused = ask(server, "PUT", f"{PATH}/json", IMAGE.raw)
        assert refused.error == (503, "Too many images are being uploaded, retry later")
        assert ask(server, "GET", "/_ping").status == 200


def test_a_large_layer_is_not_held_in_memory(tmp_path: Path) -> None:
    made, plain = old_image("large"), make_layer({"data": os.urandom(1 << 20) * 96})
    image = OldImage(made.id, made.raw, plain)
    with serve_pushes(tmp_path / "store") as server:
        push(server, old_image("small"))
        before = rss(server)
        assert ask(server, "PUT", f"/images/{image.id}/json", image.raw).status == 200
        pieces = (image.layer[at : at + 65536] for at in range(0, len(image.layer), 65536))
        assert ask(server, "PUT", f"/images/{image.id}/layer", pieces).status == 200
        assert rss(server) - before < 40 << 20


def test_RX01_a_bomb_is_refused(served: Served) -> None:
    image = OldImage(IMAGE.id, IMAGE.raw, zstd.compress(bytes(200 << 20)))
    assert len(image.layer) < 1 << 15
    announced(served)
    assert ask(served, "PUT", f"{PATH}/layer", image.layer).status == 200
    refused = ask(served, "PUT", f"{PATH}/checksum", b"", {"X-Docker-Checksum-Payload": image.payload})
    assert refused.status == 400
    assert "bomb" in refused.json()["error"]
    push(served, IMAGE)


def test_ST03_no_space_for_a_layer_is_507_and_the_server_goes_on(tmp_path: Path) -> None:
    image = old_image("too large", {"data": os.urandom(4 << 20)})
    with serve_pushes(tmp_path / "store") as server:
        assert ask(server, "PUT", f"/images/{image.id}/json", image.raw).status == 200
        no_limit = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, no_limit[1]))
        with contextlib.suppress(ConnectionError):  # it need not read the rest
            assert ask(server, "PUT", f"/images/{image.id}/layer", image.layer).status == 507
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, no_limit)
        push(server, image)
