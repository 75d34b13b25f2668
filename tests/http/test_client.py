"""What the client sends where, and what it keeps to itself."""

from __future__ import annotations

import socket
import time

import pytest

from orlop.errors import Denied, Error, Invalid, Unsafe
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Event, Job
from orlop.settings import Network
from tests.http.asking import OK, client_for, get, in_threads
from tests.support.lying import CANARY, Answer, Lying, Seen, challenge, redirect


def log_in(server: Lying, client: Client) -> None:
    """So that the next request carries Basic credentials from its start."""
    server.on("/v2/login", challenge("Basic"), OK)
    assert get(client, server, "/v2/login") == b"fine"
    assert server.seen[-1].header("authorization")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_CR02_credentials_and_private_headers_stay_at_home(server: Lying, other: Lying, status: int) -> None:
    with client_for(server) as client:
        log_in(server, client)
        server.on("/v2/x", redirect(f"{other.url}/blob?sig=1", status))
        other.on("/blob", OK)
        assert get(client, server, Cookie="a=b", X_Private="c", Range="bytes=0-9", Accept="x/y") == b"fine"
    arrived = dict(other.seen[0].headers)
    assert set(arrived) == {"host", "user-agent", "accept-encoding", "range", "accept"}
    assert arrived["host"] == other.host


def test_CR02_credentials_do_not_come_back_after_a_second_hop(server: Lying, other: Lying) -> None:
    with client_for(server) as client:
        log_in(server, client)
        server.on("/v2/x", redirect(f"{other.url}/hop"))
        other.on("/hop", redirect(f"{server.url}/v2/back"))
        server.on("/v2/back", OK)
        assert get(client, server) == b"fine"
    assert server.asked("/v2/x")[0].header("authorization")
    assert not server.asked("/v2/back")[0].header("authorization")


def test_CR02_credentials_stay_on_a_redirect_within_the_origin(server: Lying) -> None:
    with client_for(server) as client:
        log_in(server, client)
        server.on("/v2/x", redirect("/v2/y"))
        server.on("/v2/y", OK)
        assert get(client, server) == b"fine"
    assert server.asked("/v2/y")[0].header("authorization")


def test_CR02_a_challenge_from_where_a_redirect_leads_gets_nothing(server: Lying, other: Lying) -> None:
    with client_for(server) as client:
        log_in(server, client)
        server.on("/v2/x", redirect(f"{other.url}/blob"))
        other.on("/blob", challenge(f'Basic realm="x", Bearer realm="{other.url}/token"'))
        assert get(client, server) == b"401"
    assert {request.path for request in other.seen} == {"/blob"}


def test_RX04_redirects_without_end_are_refused(server: Lying) -> None:
    server.on("/v2/x", redirect("/v2/x"))
    with client_for(server) as client, pytest.raises(Invalid, match="more than 10 redirects"):
        get(client, server)
    assert len(server.seen) == 11


def test_RX02_the_body_of_a_redirect_is_not_read(server: Lying, other: Lying) -> None:
    server.on("/v2/x", Answer(307, b"x" * 100, (("Location", f"{other.url}/blob"),), drip=1.0, drip_after=150))
    other.on("/blob", OK)
    began = time.monotonic()
    with client_for(server) as client:
        assert get(client, server) == b"fine"
    assert time.monotonic() - began < 2


def test_RX02_bodies_are_asked_for_and_taken_as_they_are(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"\x1f\x8b not gzip", (("Content-Encoding", "gzip"),)))
    with client_for(server) as client:
        assert get(client, server) == b"\x1f\x8b not gzip"
    assert server.seen[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize(
    "location",
    ["", "ftp://x/", "http://user:pw@127.0.0.1/", "http://127.1/", "http://a\\b/", "file:///etc/passwd", "http://x:0/"],
)
def test_CR16_redirects_to_ambiguous_places_are_refused(server: Lying, location: str) -> None:
    server.on("/v2/x", redirect(location))
    with client_for(server) as client, pytest.raises(Invalid):
        get(client, server)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
    ],
)
def test_CR18_redirects_to_metadata_services_are_refused(server: Lying, location: str) -> None:
    server.on("/v2/x", redirect(location))
    with client_for(server) as client, pytest.raises(Unsafe, match="link-local address"):
        get(client, server)


def test_CR03_a_target_on_another_origin_is_refused(server: Lying, other: Lying) -> None:
    with client_for(server) as client, pytest.raises(Unsafe, match="another origin"):
        get(client, server, f"{other.url}/v2/x")
    assert other.connections == 0


def test_CR11_a_signed_url_that_ran_out_is_asked_for_anew_at_the_registry(server: Lying, other: Lying) -> None:
    server.on("/v2/x", redirect(f"{other.url}/blob?sig=old"), redirect(f"{other.url}/blob?sig=new"))
    other.on("/blob", lambda request: OK if request.target.endswith("new") else Answer(403))
    with client_for(server) as client:
        assert get(client, server) == b"fine"
    assert [request.target for request in other.seen] == ["/blob?sig=old", "/blob?sig=new"]


def test_CR11_a_signed_url_is_never_used_twice_nor_shown(server: Lying, other: Lying) -> None:
    events: list[Event] = []
    server.on("/v2/x", *(redirect(f"{other.url}/blob?sig=secret{index}") for index in range(9)))
    other.on("/blob", Answer(500, cut=5))
    with client_for(server) as client, pytest.raises(Error) as failure:
        get(client, server, job=Job(progress=events.append))
    targets = [request.target for request in other.seen]
    assert len(targets) == len(set(targets)) == 4
    assert "secret" not in f"{failure.value} {events}"


# -- authentication, over the wire ---------------------------------------------------------------------------


def test_CR05_a_realm_elsewhere_gets_no_credentials(server: Lying, other: Lying) -> None:
    with Lying(address="127.0.0.2") as elsewhere:
        server.on("/v2/x", challenge(f'Bearer realm="{elsewhere.url}/token",service="s"'))
        with client_for(server) as client, pytest.raises(Unsafe, match="which is not its own") as failure:
            get(client, server)
        assert elsewhere.connections == 0
        assert CANARY not in str(failure.value)


@pytest.mark.parametrize("realm", ["http://169.254.169.254/token", "https://[fd00:ec2::254]/token"])
def test_CR18_a_realm_at_a_metadata_service_is_not_asked_even_by_anonymous_clients(server: Lying, realm: str) -> None:
    server.on("/v2/x", challenge(f'Bearer realm="{realm}"'))
    with client_for(server, username="", password="") as client, pytest.raises(Unsafe, match="link-local"):
        get(client, server)


def test_CR14_a_401_that_never_ends_costs_one_new_token(server: Lying) -> None:
    server.on("/v2/x", challenge(f'Bearer realm="{server.url}/token",service="s"'))
    server.on("/token", Answer(200, b'{"token":"t"}'))
    with client_for(server) as client:
        assert get(client, server) == b"401"
    assert len(server.asked("/v2/x")) == 2
    assert len(server.asked("/token")) == 1


def test_CR14_many_threads_get_one_token(server: Lying) -> None:
    def answer(request: Seen) -> Answer:
        ask = challenge(f'Bearer realm="{server.url}/token",service="s"')
        return OK if request.header("authorization") == "Bearer t" else ask

    server.on("/v2/x", answer)
    server.on("/token", Answer(200, b'{"token":"t"}', delay=0.2))
    with client_for(server) as client:
        results = in_threads(16, lambda: get(client, server))
    assert results == [b"fine"] * 16
    assert len(server.asked("/token")) == 1


def test_RX03_a_huge_token_answer_is_refused(server: Lying) -> None:
    server.on("/v2/x", challenge(f'Bearer realm="{server.url}/token"'))
    server.on("/token", Answer(200, b'{"token":"' + b"t" * (1 << 20) + b'"}'))
    with client_for(server) as client, pytest.raises(Unsafe, match="more than 1048576 bytes"):
        get(client, server)


def test_CR10_a_token_server_that_refuses_shows_no_password(server: Lying) -> None:
    server.on("/v2/x", challenge(f'Bearer realm="{server.url}/token"'))
    server.on("/token", lambda request: Answer(401, request.header("authorization").encode()))
    with client_for(server) as client, pytest.raises(Denied, match="the credentials from the command line") as failure:
        get(client, server)
    chain: BaseException | None = failure.value
    while chain is not None:
        assert CANARY not in repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_NF10_a_token_server_that_is_down_for_a_moment_is_asked_again(server: Lying) -> None:
    server.on("/v2/x", challenge(f'Bearer realm="{server.url}/token"'), OK)
    server.on("/token", Answer(503), Answer(500), Answer(200, b'{"token":"t"}'))
    with client_for(server) as client:
        assert get(client, server) == b"fine"


# -- plain HTTP ----------------------------------------------------------------------------------------------


def test_CR08_there_is_no_fallback_to_plain_http() -> None:
    with Lying(hangs_up=True) as server:
        with Client(Network(retries=1), base=0.01) as client, pytest.raises(Fault, match=r"\(tls\)"):
            client.request(server.host, "GET", "/v2/x", job=Job())
        assert [first[:1] for first in server.first_bytes] == [b"\x16"] * 2  # handshakes, nothing else


@pytest.mark.root
def test_CR08_a_closed_tls_port_does_not_lead_to_port_80() -> None:
    with socket.create_server(("127.0.0.80", 80)) as plain:
        plain.setblocking(False)
        with (
            Client(Network(retries=1), base=0.01) as client,
            pytest.raises(Fault, match=r"127\.0\.0\.80: cannot connect"),
        ):
            client.request("127.0.0.80", "GET", "/v2/x", job=Job())
        with pytest.raises(BlockingIOError):
            plain.accept()
