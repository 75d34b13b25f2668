"""Several clients of version 1 at once, and the end of a server that is in the middle of something."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from pathlib import Path

import pytest

from orlop.serve.answer import Answer, Request
from orlop.serve.v1.app import VersionOne
from tests.support.serving import Served, serve_pushes, serve_store
from tests.support.stores import opened as opened_store
from tests.support.version_one import OldImage, ask, old_image, push

from .images import BASE, TOP


def link_to(served: Served) -> socket.socket:
    host, port = served.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def try_to_push(served: Served, image: OldImage, token: str) -> list[int]:
    """The status of each step, up to the first that is refused."""
    headers, path = {"Authorization": f"Token {token}"}, f"/images/{image.id}"
    steps: list[int] = []
    for part, body in (("json", image.raw), ("layer", image.layer), ("checksum", b"")):
        steps.append(ask(served, "PUT", f"{path}/{part}", body, {**headers, **_sums(image, part)}).status)
        if steps[-1] != 200:
            break
    return steps


def _sums(image: OldImage, part: str) -> dict[str, str]:
    return {"X-Docker-Checksum-Payload": image.payload} if part == "checksum" else {}


def test_SV01_of_many_clients_one_pushes_an_image_and_the_others_are_told(served: Served) -> None:
    made = old_image("crowded")
    images = [OldImage(made.id, made.raw + b" " * number, made.layer) for number in range(8)]
    found: dict[int, list[int]] = {}

    def run(number: int) -> None:
        found[number] = try_to_push(served, images[number], f"client {number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, steps in found.items() if steps == [200, 200, 200]]
    assert len(winners) == 1
    assert {tuple(steps) for number, steps in found.items() if number not in winners} <= {(409,)}
    assert ask(served, "GET", f"/images/{made.id}/json").body == images[winners[0]].raw


def test_ST08_many_images_are_pushed_at_once(served: Served) -> None:
    images = [old_image(f"at once {number}", parent=BASE) for number in range(16)]
    wrong: list[str] = []

    def run(image: OldImage) -> None:
        try:
            push(served, image, repository="at/once", tag=image.id[:8], token=image.id)
        except AssertionError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=run, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    tags = ask(served, "GET", "/repositories/at/once/tags").json()
    assert tags == {image.id[:8]: image.id for image in images}


def test_ST08_what_another_process_registered_meanwhile_stays(tmp_path: Path) -> None:
    image = old_image("both")
    with serve_pushes(tmp_path / "store") as first, serve_pushes(tmp_path / "store") as second:
        for server in (first, second):
            for part, body in (("json", image.raw), ("layer", image.layer)):
                assert ask(server, "PUT", f"/images/{image.id}/{part}", body).status == 200
        sums = {"X-Docker-Checksum-Payload": image.payload}
        assert ask(first, "PUT", f"/images/{image.id}/checksum", b"", sums).status == 200
        refused = ask(second, "PUT", f"/images/{image.id}/checksum", b"", sums)
        assert refused.error == (409, "Cannot set this image checksum")
        assert ask(second, "GET", f"/images/{image.id}/layer").body == image.layer


def test_SV20_the_end_of_the_server_does_not_wait_for_a_half_sent_layer(tmp_path: Path) -> None:
    image = old_image("at the end")
    with contextlib.ExitStack() as stack:
        with serve_pushes(tmp_path / "store", drain=0.2) as server:
            assert ask(server, "PUT", f"/images/{image.id}/json", image.raw).status == 200
            link = stack.enter_context(link_to(server))
            link.sendall(
                f"PUT /v1/images/{image.id}/layer HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n".encode()
            )
            link.sendall(b"x" * 2_000_000)
    with serve_store(tmp_path / "store", "--v1", "--writable") as server:
        assert not list((tmp_path / "store" / "sessions").iterdir())
        push(server, image)


def test_a_client_that_asks_first_is_told_before_it_sends(served: Served) -> None:
    with link_to(served) as link:
        link.sendall(
            f"PUT /v1/images/{TOP.id}/layer HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert link.recv(4000).startswith(b"HTTP/1.1 409 ")
    image = old_image("asks first")
    with link_to(served) as link:
        link.sendall(
            f"PUT /v1/images/{image.id}/json HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image.raw)}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert link.recv(4000).startswith(b"HTTP/1.1 100 ")
        link.sendall(image.raw)
        assert link.recv(4000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("part", ["json", "layer"])
def test_a_refusal_is_heard_by_who_sends_all_the_same(served: Served, part: str) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=30)
    with contextlib.closing(connection):
        connection.request("PUT", f"/v1/images/{TOP.id}/{part}", b"x" * 900_000)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (409, b'{"error":"Image already exists"}')
        connection.request("GET", "/v1/_ping")
        assert connection.getresponse().status == 200


def test_SV20_a_layer_that_is_being_taken_in_is_given_up_when_the_server_ends(tmp_path: Path) -> None:
    image = old_image("given up")

    def put(site: VersionOne, part: str, body: bytes) -> int:
        request = Request("PUT", f"/v1/images/{image.id}/{part}", headers=sums if part == "checksum" else {})
        opened = site.open(request)
        assert not isinstance(opened, Answer)
        assert opened.write(body) is None
        return opened.finish().status

    sums = {"x-docker-checksum-payload": image.payload}
    with opened_store(tmp_path / "store") as store:
        first, second = VersionOne(store, writable=True), VersionOne(store, writable=True)
        assert (put(first, "json", image.raw), put(first, "layer", image.layer)) == (200, 200)
        first.stop()
        assert put(first, "checksum", b"") == 503
        assert not store.graph.exists(image.id)
        assert [put(second, part, body) for part, body in (("json", image.raw), ("layer", image.layer))] == [200, 200]
        assert put(second, "checksum", b"") == 200
        assert store.graph.exists(image.id)
