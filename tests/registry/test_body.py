"""Blobs that come over bad connections from registries that lie: the exact bytes, or a named error."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Cancelled, Error, Mismatch, NotFound, Unavailable
from orlop.http.client import Client
from orlop.job import Event, Job
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.registry.v2 import Registry
from orlop.settings import Network
from tests.support.lying import Answer, Handler, Lying, Seen, blob, cut_after, redirect

CONTENT = random.Random(2).randbytes(300_000)
WANTED = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
PATH = f"/v2/a/b/blobs/{WANTED.digest}"


def fetch(
    server: Lying,
    *answers: Answer | Handler,
    offset: int = 0,
    end: int | None = None,
    job: Job | None = None,
    wanted: Descriptor = WANTED,
    **network: Any,
) -> tuple[int, bytes]:
    """Where the body started, and what it gave; answers of the blob's path in order, the last one stays."""
    if answers:
        server.on(f"/v2/a/b/blobs/{wanted.digest}", *answers)
    options = {"timeout": 2.0, **network}
    with Client(Network(insecure=frozenset({server.host}), **options), base=0.005) as client:
        registry = Registry(server.host, "a/b", client)
        with registry.open(wanted, offset=offset, end=end, job=job or Job()) as body:
            parts = []
            while data := body.read(1 << 20):
                parts.append(data)
            assert body.read(10) == b""
            return body.offset, b"".join(parts)


def ranges(server: Lying) -> list[str]:
    return [request.header("range") for request in server.asked(PATH)]


# -- NF01: too short, too long -------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("at", [0, 1, 1000, 100_000, len(CONTENT) - 1])
def test_NF01_a_cut_body_goes_on_from_its_last_byte(server: Lying, at: int, reset: bool) -> None:
    events: list[Event] = []
    good = blob(CONTENT, etag='"v1"')
    job = Job(progress=events.append)
    assert fetch(server, cut_after(good, at, reset=reset), good, job=job) == (0, CONTENT)
    assert len(server.asked(PATH)) == 2
    retries = [event for event in events if event.kind == "retry"]
    assert len(retries) == 1
    assert retries[0].subject == WANTED.digest
    if not reset:  # what was on its way when a reset came may be lost
        assert ranges(server) == ["", f"bytes={at}-{len(CONTENT) - 1}" if at else ""]
        assert retries[0].done == at


def test_NF01_many_cuts_are_survived_as_long_as_they_bring_something_new(server: Lying) -> None:
    content = random.Random(3).randbytes(12 << 20)
    wanted = Descriptor("application/octet-stream", Digest.of(content), len(content))
    assert fetch(server, cut_after(blob(content), 1_100_000), wanted=wanted, job=Job(retries=2)) == (0, content)


def test_NF01_cuts_without_progress_end_in_an_error(server: Lying) -> None:
    with pytest.raises(Unavailable):
        fetch(server, cut_after(blob(CONTENT), 10), job=Job(retries=3))
    assert len(server.seen) == 4


def test_NF01_a_wrong_content_length_is_refused_before_the_first_byte(server: Lying) -> None:
    for length in (0, len(CONTENT) - 1, len(CONTENT) + 1, 1 << 50):
        with pytest.raises(Mismatch, match=f"{length} bytes were announced, expected {len(CONTENT)}"):
            fetch(server, Answer(200, CONTENT, length=length))


@pytest.mark.parametrize("flags", [{"chunked": True}, {"close": True}])
def test_NF01_bodies_without_a_length_are_measured(server: Lying, flags: dict[str, bool]) -> None:
    assert fetch(server, Answer(200, CONTENT, **flags)) == (0, CONTENT)  # type: ignore[arg-type]
    with pytest.raises(Mismatch, match="more than the expected 300000 bytes"):
        fetch(server, Answer(200, CONTENT + b"x", **flags))  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        fetch(server, Answer(200, CONTENT[:-1], **flags), job=Job(retries=1))  # type: ignore[arg-type]


def test_NF01_a_cut_chunked_body_goes_on(server: Lying) -> None:
    short = Answer(200, CONTENT, chunked=True, cut=5000)
    assert fetch(server, short, blob(CONTENT, chunked=True)) == (0, CONTENT)


def test_NF01_bytes_behind_the_announced_end_are_not_taken(server: Lying) -> None:
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT + b"more"
    assert fetch(server, Answer(raw=raw)) == (0, CONTENT)


# -- NF02: changed meanwhile ---------------------------------------------------------------------------------


def test_NF02_a_resumed_body_is_asked_for_only_if_unchanged(server: Lying) -> None:
    fetch(server, cut_after(blob(CONTENT, etag='"v1"'), 1000), blob(CONTENT, etag='"v1"'))
    assert server.seen[1].header("if-range") == '"v1"'


def test_NF02_weak_validators_do_not_count(server: Lying) -> None:
    assert fetch(server, cut_after(blob(CONTENT, etag='W/"1"'), 1000), blob(CONTENT, etag='W/"2"')) == (0, CONTENT)
    assert server.seen[1].header("if-range") == ""


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_NF02_content_that_changed_is_not_joined_to_the_old(server: Lying, ignores_if_range: bool) -> None:
    changed = blob(CONTENT[::-1], etag='"v2"')

    def stubborn(request: Seen) -> Answer:
        headers = [item for item in request.headers if item[0] != "if-range"]
        return changed(Seen(request.method, request.target, headers, b"", 0.0))

    second = stubborn if ignores_if_range else changed
    with pytest.raises(Mismatch, match="changed at the registry while it was fetched"):
        fetch(server, cut_after(blob(CONTENT, etag='"v1"'), 1000), second)


# -- NF03: ranges that are none ------------------------------------------------------------------------------


def test_NF03_a_registry_without_ranges_starts_at_0_and_says_so(server: Lying) -> None:
    assert fetch(server, blob(CONTENT, ranges=False), offset=1000) == (0, CONTENT)


def test_NF03_a_registry_without_ranges_is_read_up_to_where_it_broke_off(server: Lying) -> None:
    plain = blob(CONTENT, ranges=False)
    assert fetch(server, cut_after(plain, 200_000), cut_after(plain, 100_000), plain) == (0, CONTENT)


def test_NF03_only_the_wanted_part_is_taken_of_a_whole(server: Lying) -> None:
    assert fetch(server, blob(CONTENT, ranges=False), offset=1000, end=2000) == (0, CONTENT[:2000])
    assert fetch(server, blob(CONTENT), offset=1000, end=2000) == (1000, CONTENT[1000:2000])


WRONG_RANGES = [
    "bytes 0-299999/300000",
    "bytes 999-299999/300000",
    "bytes 1001-299999/300000",
    "bytes 1000-300000/300000",
    "bytes 1000-999/300000",
    "bytes 1000-*/300000",
    "items 1000-299999/300000",
    "bytes -1000-299999/300000",
    "bytes 1000-99999999999999999999999/300000",
    "nonsense",
    "",
]


@pytest.mark.parametrize("value", WRONG_RANGES)
def test_NF03_a_wrong_content_range_means_the_whole_from_0(server: Lying, value: str) -> None:
    wrong = Answer(206, CONTENT[1000:], (("Content-Range", value),) if value else ())
    assert fetch(server, wrong, blob(CONTENT), offset=1000) == (0, CONTENT)


@pytest.mark.parametrize("value", WRONG_RANGES)
def test_NF03_a_wrong_content_range_in_the_middle_is_never_appended(server: Lying, value: str) -> None:
    wrong = Answer(206, CONTENT[1000:], (("Content-Range", value),) if value else ())
    assert fetch(server, cut_after(blob(CONTENT), 1000), wrong, blob(CONTENT)) == (0, CONTENT)


@pytest.mark.parametrize("start", [0, 999, 1001, 5000])
def test_NF03_another_range_than_was_asked_for_is_not_taken(server: Lying, start: int) -> None:
    other = Answer(206, CONTENT[start:], (("Content-Range", f"bytes {start}-299999/300000"),))
    assert fetch(server, other, blob(CONTENT), offset=1000) == (0, CONTENT)
    assert fetch(server, cut_after(blob(CONTENT), 1000), other, blob(CONTENT)) == (0, CONTENT)


def test_NF03_several_ranges_at_once_are_not_taken(server: Lying) -> None:
    parts = Answer(206, b"--x\r\n\r\n", (("Content-Type", "multipart/byteranges; boundary=x"),))
    assert fetch(server, parts, blob(CONTENT), offset=1000) == (0, CONTENT)


def test_NF03_another_total_is_another_content(server: Lying) -> None:
    wrong = Answer(206, CONTENT[1000:], (("Content-Range", "bytes 1000-299999/300001"),))
    with pytest.raises(Mismatch, match="has 300001 bytes at the registry, expected 300000"):
        fetch(server, wrong, offset=1000)


def test_NF03_a_shorter_range_than_asked_for_is_completed(server: Lying) -> None:
    short = Answer(206, CONTENT[1000:2000], (("Content-Range", "bytes 1000-1999/300000"),))
    assert fetch(server, short, blob(CONTENT), offset=1000) == (1000, CONTENT[1000:])
    assert ranges(server)[1] == "bytes=2000-299999"


def test_NF03_a_range_that_is_said_to_be_outside_means_the_whole(server: Lying) -> None:
    assert fetch(server, Answer(416), blob(CONTENT), offset=1000) == (0, CONTENT)
    with pytest.raises(Mismatch, match="answered 416"):
        fetch(server, Answer(416), offset=1000)


def test_NF03_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(server: Lying) -> None:
    part = Answer(206, CONTENT[:1000], (("Content-Range", f"bytes 0-999/{len(CONTENT)}"),))
    with pytest.raises(Mismatch, match="answered 206 when asked for the whole"):
        fetch(server, Answer(416), part, offset=1000)


# -- the rest ------------------------------------------------------------------------------------------------


def test_CR01_foreign_urls_are_not_followed(server: Lying, other: Lying) -> None:
    foreign = Descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        WANTED.digest,
        WANTED.size,
        urls=(f"{other.url}/layer",),
    )
    with pytest.raises(NotFound):
        fetch(server, wanted=foreign)
    assert other.connections == 0


def test_CR11_a_redirected_blob_that_breaks_off_is_resolved_at_the_registry_again(server: Lying, other: Lying) -> None:
    served = iter([cut_after(blob(CONTENT), 1000), cut_after(blob(CONTENT), 5000), blob(CONTENT)])
    signed = iter(range(99))
    server.on(PATH, lambda request: redirect(f"{other.url}/blob?sig={next(signed)}"))
    other.on("/blob", lambda request: next(served)(request))
    events: list[Event] = []
    assert fetch(server, job=Job(progress=events.append)) == (0, CONTENT)
    assert [request.target for request in other.seen] == [f"/blob?sig={index}" for index in range(3)]
    assert "sig=" not in repr(events)


def test_RX08_a_blob_that_drips_is_given_up_and_resumed(server: Lying) -> None:
    began = time.monotonic()
    slow = Answer(200, CONTENT, drip=0.1, drip_after=10_000)
    assert fetch(server, slow, blob(CONTENT), timeout=0.6) == (0, CONTENT)
    assert time.monotonic() - began < 4


def test_a_stop_ends_a_download_at_the_next_chunk(server: Lying) -> None:
    job = Job()
    server.on(PATH, Answer(200, CONTENT, drip=0.001, drip_after=1000))
    with Client(Network(insecure=frozenset({server.host}))) as client:
        with Registry(server.host, "a/b", client).open(WANTED, job=job) as body:
            body.read(100)
            job.stop()
            with pytest.raises(Cancelled):
                body.read(100)


def test_a_body_that_is_opened_and_never_read_holds_nothing(server: Lying) -> None:
    server.on(PATH, blob(CONTENT))
    with Client(Network(insecure=frozenset({server.host}))) as client:
        registry = Registry(server.host, "a/b", client)
        for _ in range(100):
            with registry.open(WANTED, job=Job()):
                pass
        assert client.url(server.host).text == f"{server.url}/"
    deadline = time.monotonic() + 5
    while server.open_links:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_empty_blob_is_asked_for_too(server: Lying) -> None:
    empty = Descriptor("application/octet-stream", Digest.of(b""), 0)
    assert fetch(server, Answer(200, b""), wanted=empty) == (0, b"")
    with pytest.raises(Mismatch):
        fetch(server, Answer(200, b"x"), wanted=empty)
    with pytest.raises(NotFound):
        fetch(server, Answer(404), wanted=empty)


Step = Callable[[bytes], Answer | Handler]
STEPS: dict[str, Step] = {
    "good": lambda content: blob(content, etag='"v"'),
    "no ranges": lambda content: blob(content, ranges=False),
    "chunked": lambda content: blob(content, chunked=True),
    "cut": lambda content: cut_after(blob(content), 700),
    "reset": lambda content: cut_after(blob(content, etag='"v"'), 1500, reset=True),
    "cut whole": lambda content: cut_after(blob(content, ranges=False), 2500),
    "nothing": lambda content: Answer(200, cut=0),
    "half a head": lambda content: Answer(200, cut=20),
    "error": lambda content: Answer(503),
    "short": lambda content: Answer(200, content[:-1], close=True),
    "wrong range": lambda content: Answer(206, content, (("Content-Range", "bytes 0-9/10"),)),
    "416": lambda content: Answer(416),
    "junk": lambda content: Answer(raw=b"\0\1\2\r\n\r\n"),
    "page": lambda content: Answer(200, content, (("Content-Type", "text/html"),)),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6),
    st.integers(0, 3999),
    st.none() | st.integers(1, 4000),
)
def test_NF07_whatever_happens_the_result_is_the_exact_bytes_or_one_of_our_errors(
    server: Lying, names: list[str], offset: int, end: int | None
) -> None:
    content = CONTENT[:4000]
    wanted = Descriptor("application/octet-stream", Digest.of(content), len(content))
    answers = [STEPS[name](content) for name in names]
    try:
        start, found = fetch(server, *answers, offset=offset, end=end, wanted=wanted, job=Job(retries=2))
    except Error:
        return
    assert start in (0, min(offset, 4000 if end is None else end))
    assert found == content[start:end]
