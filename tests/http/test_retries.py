"""When the client asks again, how long it waits, and when it gives up."""

from __future__ import annotations

import threading
import time

import pytest

from orlop.errors import Throttled, Unavailable
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Event, Job
from orlop.settings import Network
from tests.http.asking import OK, client_for, get, in_threads
from tests.support.lying import Answer, Lying, Seen


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
