"""Clients that mean harm: they hold connections, send slowly, read nothing, speak other protocols."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.model.digest import Digest
from tests.support.images import make_image, write_layout
from tests.support.serving import Served, serve_layout
from tests.support.soak import times

LARGE = os.urandom(1 << 20) * 16
IMAGE = make_image([LARGE], compression="none")
BLOB = f"/v2/images/blobs/{Digest.of(LARGE)}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve_layout(write_layout(tmp_path, {"1": IMAGE}), stall=1.0) as server:
        yield server


@contextlib.contextmanager
def crowd(served: Served, count: int, *sent: bytes) -> Iterator[list[socket.socket]]:
    """So many connections; each sends one of `sent`, in turn."""
    host, port = served.address.split(":")
    with contextlib.ExitStack() as stack:
        links = []
        for number in range(count):
            links.append(stack.enter_context(socket.create_connection((host, int(port)), timeout=30)))
            with contextlib.suppress(ConnectionError):
                links[-1].sendall(sent[number % len(sent)])
        yield links


def is_served(served: Served) -> bool:
    """A client that behaves gets what it wants."""
    connection = http.client.HTTPConnection(served.address, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", BLOB)
        return connection.getresponse().read() == LARGE


def rss(served: Served) -> int:
    """Bytes of memory that the server holds."""
    return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))


def test_RX08_idle_and_half_sent_requests_do_not_keep_others_out(served: Served) -> None:
    before = rss(served)
    half = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: a"
    with crowd(served, times(400, 800), b"", half, b"G") as links:
        assert is_served(served)
        assert rss(served) - before < 100 << 20
        if times(False, True):  # and they are sent away
            for link in links:
                with contextlib.suppress(ConnectionError):
                    assert link.recv(1000).split(b" ")[1:2] in ([], [b"408"], [b"400"])
    assert is_served(served)


def test_RX08_a_client_that_reads_nothing_is_cut_off(served: Served) -> None:
    asked = f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert is_served(served)
    before, memory = descriptors(served), rss(served)
    with crowd(served, 50, asked):
        assert is_served(served)
        assert rss(served) - memory < 100 << 20
        deadline = time.monotonic() + 60
        while descriptors(served) > before + 10:
            assert time.monotonic() < deadline, "they are still connected"
            time.sleep(0.1)
    assert is_served(served)


def test_RX08_a_client_that_reads_slowly_is_not(served: Served) -> None:
    asked = f"GET {BLOB} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    with crowd(served, 1, asked) as (link,):
        got = b""
        for _ in range(8):  # some at a time, over longer than the server would wait for one that reads nothing
            got += link.recv(64 << 10)
            time.sleep(0.25)
        while more := link.recv(1 << 20):
            got += more
    assert got.partition(b"\r\n\r\n")[2] == LARGE


def test_ST05_a_server_with_few_descriptors_takes_no_more_clients_than_it_can_serve(tmp_path: Path) -> None:
    layout = write_layout(tmp_path, {"1": IMAGE})
    with serve_layout(layout, stall=1.0, descriptors=128) as server:
        asked = f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with crowd(server, times(60, 300), asked) as links:  # more than there is room for: the rest waits
            assert is_served(server)
            assert descriptors(server) <= 128
            assert links[0].recv(12) == b"HTTP/1.1 200"
        assert is_served(server)


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" * 1000,
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMA\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\0" * 1000,
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 3000 + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100_000,
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST",
        b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
    ],
)
def test_RX07_other_protocols_and_malformed_requests_are_refused_or_ignored(served: Served, sent: bytes) -> None:
    with crowd(served, 20, sent) as links:
        for link in links:
            with contextlib.suppress(OSError):  # it is free to hang up on these
                link.shutdown(socket.SHUT_WR)
                answer = link.recv(1000)
                assert not answer or answer.startswith(b"HTTP/1.1 "), answer
                assert not answer.startswith(b"HTTP/1.1 101"), answer
        assert is_served(served)
    assert is_served(served)


def test_RX06_five_thousand_ranges_cost_no_more_than_the_whole(served: Served) -> None:
    ranges = ",".join(f"{start}-{start}" for start in range(5000))
    connection = http.client.HTTPConnection(served.address, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", BLOB, headers={"Range": f"bytes={ranges}"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, LARGE)
