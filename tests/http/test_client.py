"""What the client sends where, and what it makes of bad answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orlop.errors import Cancelled, Denied, Error, Invalid, Throttled, Unavailable, Unsafe
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Event, Job
from orlop.settings import Network
from orlop.streams import read_limited
from tests.support.lying import CANARY, Answer, Lying, Seen, challenge, redirect

SCOPE = "repository:a/b:pull"
OK = Answer(200, b"fine")


def client_for(server: Lying, **more: Any) -> Client:
    """A client with credentials for the server, which speaks plain HTTP."""
    options = {"username": "user", "password": CANARY, "timeout": 5.0, "retries": 3, **more}
    return Client(Network(insecure=frozenset({server.host}), **options), named=server.host, base=0.01)


def get(client: Client, server: Lying, target: str = "/v2/x", *, job: Job | None = None, **headers: str) -> bytes:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with client.request(
        server.host, "GET", target, headers=fields, scope=SCOPE, repository="a/b", job=job or Job()
    ) as answer:
        body = read_limited(answer, 1 << 20, what="test")
        return body if answer.status == 200 else b"%d" % answer.status


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """CR10: whatever a test does, the password is in no log."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert CANARY not in caplog.text


# -- credentials and redirects -------------------------------------------------------------------------------


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


def test_CR08_there_is_no_fallback_to_plain_http(server: Lying) -> None:
    server.on("/v2/x", OK)
    with Client(Network(retries=1), base=0.01) as client, pytest.raises(Fault, match=r"\(tls\)"):
        client.request(server.host, "GET", "/v2/x", job=Job())
    assert server.seen == []


# -- limits --------------------------------------------------------------------------------------------------


def get_raw(server: Lying, raw: bytes, **flags: Any) -> bytes:
    server.on("/v2/x", Answer(raw=raw, **flags))
    with client_for(server, retries=0, timeout=flags.pop("timeout", 1.0)) as client:
        return get(client, server)


def test_RX03_headers_are_limited() -> None:
    with Lying() as server:
        with pytest.raises(Unsafe, match="headers of more than 32768 bytes"):
            get_raw(server, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n")
        with pytest.raises(Unsafe, match="headers of more than 32768 bytes"):
            get_raw(server, b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10_000 + b"\r\n")
        with pytest.raises(Unsafe, match="headers of more than 32768 bytes"):
            get_raw(server, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 9000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
        b"\0" * 5000 + b"\r\n\r\n",
    ],
)
def test_RX03_answers_that_are_no_proper_http_are_refused(server: Lying, raw: bytes) -> None:
    with pytest.raises(Invalid):
        get_raw(server, raw)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", b"fine"),
        (b"HTTP/1.1 200\r\ncontent-length:4\r\n\r\nfine", b"fine"),
        (b"HTTP/1.0 200 OK\r\n\r\nfine", b"fine"),
        (
            b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            b"fine",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nfi\r\n02\r\nne\r\n0\r\nTrailer: x\r\n\r\n",
            b"fine",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfine and more", b"fine"),
    ],
)
def test_proper_answers_are_read_to_their_end(server: Lying, raw: bytes, body: bytes) -> None:
    assert get_raw(server, raw) == body


def test_RX08_headers_that_drip_are_given_up_after_the_timeout(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x", drip=0.1, drip_after=5))
    began = time.monotonic()
    with client_for(server, timeout=0.6, retries=0) as client, pytest.raises(Fault, match="headers not there after"):
        get(client, server)
    assert time.monotonic() - began < 2


def test_RX08_a_body_that_drips_is_given_up(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x" * 1000, drip=0.05, drip_after=100))
    began = time.monotonic()
    with client_for(server, timeout=0.6, retries=0) as client, pytest.raises(Fault, match="too slow"):
        get(client, server)
    assert time.monotonic() - began < 3


def test_RX08_silence_is_given_up_after_the_timeout(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x" * 1000, drip=9.0, drip_after=100))
    began = time.monotonic()
    with client_for(server, timeout=0.6, retries=0) as client, pytest.raises(Fault, match=r"no byte for 0\.6 s"):
        get(client, server)
    assert time.monotonic() - began < 2


def test_a_slow_reader_is_not_taken_for_a_slow_server(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x" * 4000))
    with client_for(server, timeout=0.4) as client:
        with client.request(server.host, "GET", "/v2/x", job=Job()) as answer:
            for _ in range(4):
                assert answer.read(1000) == b"x" * 1000
                time.sleep(0.2)


def test_a_stop_is_seen_while_waiting_for_a_silent_server(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x", delay=20.0))
    job = Job()
    threading.Timer(0.2, job.stop).start()
    began = time.monotonic()
    with client_for(server, timeout=30.0) as client, pytest.raises(Cancelled):
        get(client, server, job=job)
    assert time.monotonic() - began < 2


def test_header_values_that_would_start_a_new_line_are_not_sent(server: Lying) -> None:
    with client_for(server) as client, pytest.raises(Invalid, match="does not allow"):
        get(client, server, Range="bytes=0-\r\nX: y")
    assert server.seen == []


# -- retries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_NF06_a_burst_of_errors_is_waited_out(server: Lying, status: int) -> None:
    events: list[Event] = []
    server.on("/v2/x", Answer(status), Answer(status), OK)
    with client_for(server) as client:
        assert get(client, server, job=Job(progress=events.append)) == b"fine"
    assert [event.kind for event in events] == ["retry", "retry"]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_NF06_what_will_not_change_is_not_asked_again(server: Lying, status: int) -> None:
    server.on("/v2/x", Answer(status))
    with client_for(server) as client:
        assert get(client, server) == b"%d" % status
    assert len(server.seen) == 1


def test_NF06_patience_ends(server: Lying) -> None:
    server.on("/v2/x", Answer(502))
    with client_for(server) as client, pytest.raises(Unavailable, match="answered 502"):
        get(client, server)
    assert len(server.seen) == 4
    with client_for(server) as client, pytest.raises(Unavailable):
        get(client, server, job=Job(retries=1))
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"fine", cut=0),
        Answer(200, b"fine", cut=0, reset=True),
        Answer(200, b"fine", cut=7),
        Answer(200, b"fine", cut=30),
        Answer(200, b"fine", cut=30, reset=True),
    ],
)
def test_NF07_a_connection_that_breaks_before_the_body_is_replaced(server: Lying, answer: Answer) -> None:
    server.on("/v2/x", answer, answer, OK)
    with client_for(server) as client:
        assert get(client, server) == b"fine"


def test_NF07_a_break_in_the_body_is_an_error_and_never_a_short_body(server: Lying) -> None:
    for answer in (Answer(200, b"fine", length=9, cut=60), Answer(200, b"fine" * 500, chunked=True, cut=1000)):
        server.on("/v2/x", answer)
        with client_for(server) as client, pytest.raises(Fault, match="closed the connection"):
            get(client, server)


def test_NF07_a_kept_connection_that_died_is_replaced_without_a_retry(server: Lying) -> None:
    events: list[Event] = []
    server.on("/v2/x", OK, Answer(200, b"", cut=0), OK)
    with client_for(server, retries=0) as client:
        for _ in range(2):
            assert get(client, server, job=Job(progress=events.append)) == b"fine"
    assert events == []


def test_connections_are_kept_and_used_again(server: Lying) -> None:
    server.on("/v2/x", OK)
    with client_for(server) as client:
        for _ in range(10):
            get(client, server)
    assert server.connections == 1


def test_a_connection_with_a_body_left_in_it_is_not_used_again(server: Lying) -> None:
    server.on("/v2/x", Answer(200, b"x" * 100))
    with client_for(server) as client:
        for _ in range(3):
            with client.request(server.host, "GET", "/v2/x", job=Job()) as answer:
                assert answer.read(10) == b"x" * 10
    assert server.connections == 3


def test_NF09_a_host_that_is_not_there_fails_at_once(server: Lying) -> None:
    with Lying() as gone:
        pass
    began = time.monotonic()
    with (
        client_for(gone, retries=9) as client,
        pytest.raises(Fault, match=r"connection refused \(connect\)") as failure,
    ):
        get(client, gone)
    assert time.monotonic() - began < 1
    assert gone.host in str(failure.value)


# -- throttling ----------------------------------------------------------------------------------------------


def in_threads(count: int, call: Any) -> list[Any]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Error as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


class Limited:
    """A registry that answers 429 until `until`, and counts what comes meanwhile."""

    def __init__(self, seconds: float, retry_after: str) -> None:
        self.seconds = seconds
        self.headers = (("Retry-After", retry_after),)
        self.until = 0.0
        self.refused = 0
        self._lock = threading.Lock()

    def __call__(self, request: Seen) -> Answer:
        with self._lock:
            self.until = self.until or time.monotonic() + self.seconds
            if time.monotonic() < self.until:
                self.refused += 1
                return Answer(429, b"", self.headers)
            return OK


def test_NF05_many_threads_make_one_probe_while_limited(server: Lying) -> None:
    limited = Limited(1.5, "1")
    server.on("/v2/x", limited)
    with client_for(server, retries=9) as client:
        first: list[bytes] = []
        early = threading.Thread(target=lambda: first.append(get(client, server)))
        early.start()
        while not limited.refused:
            time.sleep(0.01)
        time.sleep(0.05)
        results = in_threads(64, lambda: get(client, server))
        early.join(20)
    assert first + results == [b"fine"] * 65
    assert limited.refused <= 2  # the one that found out, and one probe after a second


def test_NF05_threads_that_were_all_refused_do_not_storm(server: Lying) -> None:
    limited = Limited(1.2, "1")
    server.on("/v2/x", limited)
    with client_for(server) as client:
        assert in_threads(32, lambda: get(client, server)) == [b"fine"] * 32
    assert limited.refused <= 32 + 1


@pytest.mark.parametrize(
    ("value", "least", "most"), [("1", 1.0, 2.0), ("0", 0, 0.5), ("-5", 0, 0.5), ("soon", 0, 0.5), ("", 0, 0.5)]
)
def test_NF05_retry_after_is_honoured(server: Lying, value: str, least: float, most: float) -> None:
    server.on("/v2/x", Answer(429, b"", (("Retry-After", value),)), OK)
    began = time.monotonic()
    with client_for(server) as client:
        assert get(client, server) == b"fine"
    assert least <= time.monotonic() - began < most


def test_NF05_a_date_counts_from_the_servers_own_clock(server: Lying) -> None:
    dates = (("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Retry-After", "Mon, 01 Jan 2001 00:00:01 GMT"))
    server.on("/v2/x", Answer(503, b"", dates), OK)
    began = time.monotonic()
    with client_for(server) as client:
        assert get(client, server) == b"fine"
    assert 1.0 <= time.monotonic() - began < 2.0


@pytest.mark.parametrize("value", ["3600", "999999999999", "Fri, 31 Dec 2999 00:00:00 GMT"])
def test_NF05_a_wait_beyond_patience_is_an_error_at_once_for_all(server: Lying, value: str) -> None:
    server.on("/v2/x", Answer(429, b"", (("Retry-After", value), ("RateLimit-Limit", "100;w=21600"))))
    began = time.monotonic()
    with client_for(server) as client:
        with pytest.raises(Throttled, match="its limit is 100;w=21600") as failure:
            get(client, server)
        assert (failure.value.after or 0) >= 3600
        results = in_threads(64, lambda: get(client, server))
    assert all(isinstance(result, Throttled) for result in results)
    assert time.monotonic() - began < 3
    assert len(server.seen) == 1


def test_a_limited_host_does_not_hold_up_another(server: Lying, other: Lying) -> None:
    server.on("/v2/x", Answer(429, b"", (("Retry-After", "3600"),)))
    other.on("/v2/x", OK)
    network = Network(insecure=frozenset({server.host, other.host}))
    with Client(network, base=0.01) as client:
        with pytest.raises(Throttled):
            get(client, server)
        assert get(client, other) == b"fine"
