"""Requests with bodies: what is sent again, to whom, and what an answer before the end means."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orlop.errors import Cancelled, Denied, Invalid, Mismatch, Throttled, Unavailable, Unsafe
from orlop.http.client import Client
from orlop.http.sending import Sent, Upload
from orlop.http.wire import Fault
from orlop.job import Job
from orlop.ports import Readable
from orlop.settings import Network
from orlop.streams import read_limited
from tests.support.lying import CANARY, Answer, Lying, challenge, redirect
from tests.support.registries import Authority, docker_config

from .asking import SCOPE, client_for

PLACE = "/v2/a/b/blobs/uploads/1"
# more than the buffers of two sockets hold
LARGE = bytes(range(256)) * (64 << 10)


class Opened:
    """Content that counts how often it was opened and left."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.times = self.left = 0

    @contextmanager
    def open(self) -> Iterator[Readable]:
        self.times += 1
        try:
            yield io.BytesIO(self.content)
        finally:
            self.left += 1


def send(
    client: Client, server: Lying, method: str, body: Sent, *, job: Job | None = None, **more: Any
) -> tuple[int, bytes]:
    with client.request(
        server.host, method, PLACE, scope=SCOPE, repository="a/b", body=body, job=job or Job(), **more
    ) as answer:
        return answer.status, read_limited(answer, 1 << 20, what="test")


@pytest.mark.parametrize("length", [0, 1, 3 << 20])
@pytest.mark.parametrize("told", [True, False])
def test_a_body_arrives_whole(server: Lying, length: int, told: bool) -> None:
    content = LARGE[:length]
    opened = Opened(content)
    server.on(PLACE, Answer(201))
    with client_for(server) as client:
        assert send(client, server, "PUT", Upload(opened.open, length if told else None)) == (201, b"")
        assert send(client, server, "PUT", content) == (201, b"")
    assert [request.body for request in server.seen] == [content, content]
    assert server.seen[0].header("expect") == ""
    assert server.connections == 1
    assert (opened.times, opened.left) == (1, 1)


def test_a_challenge_opens_the_body_again(server: Lying) -> None:
    opened = Opened(LARGE)
    server.on(PLACE, challenge('Basic realm="x"'), Answer(202))
    with client_for(server) as client:
        assert send(client, server, "PATCH", Upload(opened.open, len(LARGE)))[0] == 202
    assert (opened.times, opened.left) == (2, 2)
    assert [bool(request.header("authorization")) for request in server.seen] == [False, True]
    assert server.seen[1].body == LARGE


@pytest.mark.parametrize("failure", [Answer(500), Answer(503), Answer(200, raw=b"", reset=True)])
def test_NF06_put_is_tried_again_and_patch_is_not(server: Lying, failure: Answer) -> None:
    opened = Opened(b"content")
    with client_for(server) as client:
        server.on(PLACE, failure, failure, Answer(201))
        assert send(client, server, "PUT", Upload(opened.open, 7))[0] == 201
        assert opened.times == 3
        server.on(PLACE, failure, Answer(201))
        if failure.raw is None:
            assert send(client, server, "PATCH", Upload(opened.open, 7))[0] == failure.status
        else:
            with pytest.raises(Fault):
                send(client, server, "PATCH", Upload(opened.open, 7))
        assert opened.times == 4
        assert send(client, server, "POST", b"", again=True)[0] == 201


def test_NF05_what_was_refused_for_now_is_tried_again_whatever_the_method(server: Lying) -> None:
    opened = Opened(b"content")
    again = (("Retry-After", "0"),)
    server.on(PLACE, Answer(429), Answer(429, headers=again), Answer(503, headers=again), Answer(202))
    with client_for(server) as client:
        assert send(client, server, "PATCH", Upload(opened.open, 7))[0] == 202
        server.on(PLACE, Answer(429, headers=(("Retry-After", "1000"),)))
        with pytest.raises(Throttled, match="too many requests"):
            send(client, server, "PATCH", Upload(opened.open, 7))


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_before_the_end_is_the_answer(server: Lying, told: bool) -> None:
    server.refuse(PLACE, Answer(413, b'{"errors":[{"code":"DENIED","message":"quota"}]}'))
    opened = Opened(LARGE * 2)
    with client_for(server) as client:
        status, body = send(client, server, "PUT", Upload(opened.open, len(LARGE) * 2 if told else None))
    assert (status, b"quota" in body) == (413, True)
    assert opened.left == opened.times == 1


def test_an_answer_before_the_end_is_heard_while_nothing_is_taken(server: Lying) -> None:
    """And its connection, where the rest of the body is still expected, is not used again."""
    server.refuse(PLACE, Answer(413), stays=True)
    server.on("/v2/x", Answer(200))
    with client_for(server, timeout=60.0) as client:
        assert send(client, server, "PUT", Upload(Opened(LARGE * 2).open, len(LARGE) * 2))[0] == 413
        with client.request(server.host, "GET", "/v2/x", job=Job()) as answer:
            assert answer.status == 200
    assert server.connections == 2


def test_interim_answers_do_not_end_the_sending(server: Lying) -> None:
    """Some servers say 100 or 102 unasked, so that nobody loses patience."""

    def interim(request: Any) -> Answer:
        return Answer(raw=b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    server.on(PLACE, interim)
    with client_for(server) as client:
        assert send(client, server, "PUT", LARGE)[0] == 201
    assert server.seen[-1].body == LARGE


def test_a_stalled_upload_times_out(server: Lying) -> None:
    server.stop_reading(PLACE)
    with client_for(server, timeout=0.4, retries=0) as client, pytest.raises(Fault, match=r"takes no byte for 0\.4 s"):
        send(client, server, "PUT", LARGE * 2)


def test_a_stop_ends_a_stalled_upload(server: Lying) -> None:
    server.stop_reading(PLACE)
    job = Job()
    opened = Opened(LARGE)

    @contextmanager
    def stopping() -> Iterator[Readable]:
        with opened.open() as content:
            job.stop()
            yield content

    with client_for(server, timeout=60.0) as client, pytest.raises(Cancelled):
        send(client, server, "PUT", Upload(stopping, len(LARGE)), job=job)
    assert opened.left == 1


def test_content_that_ends_early_is_no_fault_of_the_connection(server: Lying) -> None:
    opened = Opened(b"short")
    server.on(PLACE, Answer(201))
    with client_for(server) as client, pytest.raises(Mismatch, match="ends after 5 bytes, expected 6"):
        send(client, server, "PUT", Upload(opened.open, 6))
    assert opened.times == 1
    assert server.seen == []


@pytest.mark.parametrize("error", [Unavailable("source: broke off"), Fault("source", step="read"), OSError(5, "No")])
def test_what_reading_the_content_raises_leaves_as_it_is(server: Lying, error: Exception) -> None:
    times = 0

    class Failing:
        def read(self, size: int, /) -> bytes:
            raise error

    @contextmanager
    def failing() -> Iterator[Readable]:
        nonlocal times
        times += 1
        yield Failing()

    expected = Invalid if isinstance(error, OSError) else type(error)
    with client_for(server) as client, pytest.raises(expected, match=r"source|content to send: cannot be read: no"):
        send(client, server, "PUT", Upload(failing, None))
    assert times == 1


def test_an_upload_follows_a_redirect_that_keeps_the_method(server: Lying) -> None:
    opened = Opened(LARGE)
    server.on(PLACE, redirect("/elsewhere", 308))
    server.on("/elsewhere", Answer(201))
    with client_for(server) as client:
        assert send(client, server, "PUT", Upload(opened.open, len(LARGE)))[0] == 201
    assert server.asked("/elsewhere")[0].body == LARGE


@pytest.mark.parametrize("status", [301, 302, 303])
def test_an_upload_does_not_follow_a_redirect_that_may_change_the_method(server: Lying, status: int) -> None:
    server.on(PLACE, redirect("/elsewhere", status))
    with client_for(server) as client:
        assert send(client, server, "PUT", b"content")[0] == status
    assert server.asked("/elsewhere") == []


def test_CR02_a_redirected_upload_takes_no_credential_along(server: Lying, other: Lying) -> None:
    server.on(PLACE, challenge('Basic realm="x"'), redirect(f"{other.url}/bucket?signed"))
    other.on("/bucket", challenge('Basic realm="y"'))
    with client_for(server) as client:
        assert send(client, server, "PUT", b"content")[0] == 401
    assert [request.body for request in other.seen] == [b"content"]
    assert [request.header("content-length") for request in other.seen] == ["7"]


@pytest.mark.parametrize("status", [307, 308])
def test_CR05_a_token_request_with_a_secret_in_its_body_is_not_redirected(
    server: Lying, other: Lying, tmp_path: Path, status: int
) -> None:
    """Neither elsewhere, which `other` would see, nor at all."""
    server.on(PLACE, challenge(f'Bearer realm="{server.url}/token",service="s"'))
    server.on("/token", redirect(f"{other.url}/token", status))
    network = Network(
        insecure=frozenset({server.host}), authfile=docker_config(tmp_path, server.host, identity_token=CANARY)
    )
    with Client(network) as client, pytest.raises(Denied, match=f"token server answered {status}"):
        send(client, server, "PUT", b"content")
    assert [CANARY.encode() in request.body for request in server.asked("/token")] == [True]
    assert other.seen == []


def test_over_tls_it_is_all_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Lying(tls=authority.server("127.0.0.1")) as server:
        with Client(Network(ca_file=authority.file, retries=0, timeout=5.0)) as client:
            server.on(PLACE, Answer(201))
            for length in (None, len(LARGE)):
                assert send(client, server, "PUT", Upload(Opened(LARGE).open, length))[0] == 201
            assert [request.body for request in server.seen] == [LARGE, LARGE]
            assert server.connections == 1
            server.refuse(PLACE, Answer(413, b"quota"))
            assert send(client, server, "PUT", Upload(Opened(LARGE * 2).open, None)) == (413, b"quota")
        server.stop_reading("/deaf")
        with Client(Network(ca_file=authority.file, retries=0, timeout=0.4)) as client:
            with pytest.raises(Fault, match="takes no byte"):
                client.request(server.host, "PUT", "/deaf", body=LARGE * 2, job=Job())


def test_CR03_an_upload_to_another_origin_is_refused(server: Lying, other: Lying) -> None:
    with client_for(server) as client, pytest.raises(Unsafe, match="another origin"):
        client.request(server.host, "PUT", client.url(server.host).join(f"{other.url}/x"), body=b"x", job=Job())
    assert other.seen == []
    assert CANARY.encode() not in other.arrived
