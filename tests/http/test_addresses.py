"""Where addresses lie, who may send us there, and how they are connected to."""

from __future__ import annotations

import os
import resource
import socket
import time

import pytest

from orlop.errors import Unsafe
from orlop.http.addresses import Reach, dial, literal_reach, may_lead, reach, refuse_unreachable, resolve
from orlop.http.connection import Connections, Route
from orlop.http.hosts import Trust
from orlop.http.url import Url
from orlop.http.wire import Fault
from orlop.job import Job
from tests.support.lying import Lying


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fc00::1", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.9.9.9", Reach.LOOPBACK),
        ("0.0.0.0", Reach.LOOPBACK),
        ("::", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("64:ff9b::7f00:1", Reach.LOOPBACK),
        ("2002:7f00:1::", Reach.LOOPBACK),
        ("169.254.169.254", Reach.LINK),
        ("::ffff:169.254.169.254", Reach.LINK),
        ("64:ff9b::a9fe:a9fe", Reach.LINK),
        ("fe80::1%eth0", Reach.LINK),
        ("fd00:ec2::254", Reach.LINK),
        ("100.100.100.200", Reach.LINK),
        ("168.63.129.16", Reach.LINK),
        ("::ffff:168.63.129.16", Reach.LINK),
        ("192.0.0.192", Reach.LINK),
        ("224.0.0.1", Reach.LINK),
        ("255.255.255.255", Reach.LINK),
    ],
)
def test_CR18_addresses_are_placed(address: str, expected: Reach) -> None:
    assert reach(address) is expected


def test_CR18_a_registry_may_lead_outwards_but_inwards_only_where_it_is() -> None:
    allowed = {(one, other) for one in Reach for other in Reach if may_lead(one, other)}
    outwards = {(one, Reach.PUBLIC) for one in Reach}
    same = {(one, one) for one in Reach}
    assert allowed == outwards | same | {(Reach.LOOPBACK, Reach.PRIVATE)}


def test_localhost_is_loopback_by_name_and_other_names_say_nothing() -> None:
    assert literal_reach("localhost") is literal_reach("a.localhost") is Reach.LOOPBACK
    assert literal_reach("127.0.0.1.example.com") is None


def test_CR18_dns_rebinding_meets_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lying() as server:
        answers = [("192.0.2.1", 1), ("127.0.0.1", server.port)]

        def flipping(host: str, port: int, **more: object) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop() if len(answers) > 1 else answers[0])]

        monkeypatch.setattr(socket, "getaddrinfo", flipping)
        connections = Connections(2.0, time.monotonic, time.time)
        with pytest.raises(Unsafe, match=r"loopback address 127\.0\.0\.1"):
            connections.take(Route("http", "cdn.example", server.port, None, Trust(), Reach.PUBLIC), Job())
        assert len(answers) == 1  # resolved once, checked, and not asked a second time
        assert server.connections == 0


def test_CR18_a_public_registry_does_not_become_a_neighbour_by_rebinding() -> None:
    connections = Connections(2.0, time.monotonic, time.time)
    url = Url.parse("https://registry.example/")
    assert not connections.was_reached(url)
    for found, known in ((Reach.LOOPBACK, Reach.LOOPBACK), (Reach.PUBLIC, Reach.PUBLIC), (Reach.PRIVATE, Reach.PUBLIC)):
        connections.reached(url.host, url.port, found)
        assert connections.reach_of(url) is known


def test_CR18_of_several_addresses_only_the_allowed_ones_are_tried() -> None:
    addresses = [(socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("1.1.1.1", 1))]
    kept = refuse_unreachable("a", addresses, lambda where: may_lead(Reach.PUBLIC, where))
    assert kept == addresses[1:]


def test_NF09_a_dead_first_address_does_not_hold_up_the_second() -> None:
    with Lying() as server, socket.socket() as dead:
        # a listener with a full backlog answers nothing
        dead.bind(("127.0.0.2", 0))
        dead.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(dead.getsockname())
        time.sleep(0.05)
        began = time.monotonic()
        addresses = [(socket.AF_INET, dead.getsockname()), (socket.AF_INET, ("127.0.0.1", server.port))]
        with dial("a", addresses, 5.0, time.monotonic, Job()) as link:
            assert link.getpeername()[1] == server.port
        assert time.monotonic() - began < 1.5
        for filler in fillers:
            filler.close()


def test_NF09_connecting_is_bounded_in_time_and_says_so() -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.2", 0))
        dead.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(dead.getsockname())
        time.sleep(0.05)
        began = time.monotonic()
        with pytest.raises(Fault, match=r"a: no answer to connect within 0\.5 s \(connect\)"):
            dial("a", [(socket.AF_INET, dead.getsockname())] * 2, 0.5, time.monotonic, Job())
        assert time.monotonic() - began < 2
        for filler in fillers:
            filler.close()


def test_NF09_an_unknown_name_fails_at_the_step_dns_and_is_not_tried_again() -> None:
    with pytest.raises(Fault, match=r"\(dns\)") as failure:
        resolve("no-such-host.invalid", 443)
    assert failure.value.step == "dns"


def test_NF09_a_refused_connection_names_the_step() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Fault, match=r"connection refused \(connect\)") as failure:
        dial("a", [(socket.AF_INET, ("127.0.0.1", port))], 1.0, time.monotonic, Job())
    assert not failure.value.again


def test_ST05_no_descriptor_left_to_connect_with_is_said() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Lying() as server:
        address = resolve("127.0.0.1", server.port)
        for more in (0, 1):  # not even one to wait with, and none for the socket
            resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free() + more, hard))
            try:
                with pytest.raises(Fault, match=r"too many open files \(connect\); raise the limit") as failure:
                    dial("here", address, 2.0, time.monotonic, Job())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert failure.value.again


def _lowest_free() -> int:
    """The number that the next descriptor will have: a limit of it lets nothing be opened."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.close(descriptor)
    return descriptor
