"""Pushing to a registry that may answer anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Cancelled, Denied, Error, Invalid, Mismatch, NotFound, Unavailable, Unsafe, Unsupported
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Event, Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.ports import Readable
from orlop.registry.uploads import RegistryTarget
from orlop.settings import Network
from tests.registry.pushing import BLOB, CONTENT, LARGE, LARGE_BLOB, content_of, push
from tests.support.chaos import NONE, Chaos, Trouble
from tests.support.images import small_image
from tests.support.lying import CANARY, Answer, Lying, Seen, challenge
from tests.support.receiving import Receiving

FIRST, SECOND = "/v2/a/b/blobs/uploads/0", "/v2/a/b/blobs/uploads/1"
START = "/v2/a/b/blobs/uploads/"
AGAIN = (("Retry-After", "0"),)


@pytest.fixture
def registry(server: Lying) -> Receiving:
    return Receiving(server)


def test_a_blob_goes_in_two_requests(registry: Receiving, server: Lying) -> None:
    assert push(server.host) == len(CONTENT)
    assert registry.blobs == {BLOB.digest: CONTENT}
    assert registry.methods() == ["POST", "PUT"]
    assert server.seen[1].header("content-type") == "application/octet-stream"
    assert server.connections == 1


def test_an_empty_blob_is_one_too(registry: Receiving, server: Lying) -> None:
    empty = Descriptor(media.OCI_LAYER, Digest.of(b""), 0)
    with Client(Network(insecure=frozenset({server.host}))) as client:
        target = RegistryTarget(server.host, "a/b", client)
        assert target.push(empty, content_of(b""), job=Job()) == 0
        assert target.has(empty, job=Job())
    assert registry.blobs == {empty.digest: b""}


@pytest.mark.parametrize(
    "location", ["{url}/v2/a/b/blobs/uploads/0?state=a%2Fb", "0?state=a%2Fb", "/v2/a/b/blobs/uploads/0"]
)
def test_a_location_may_be_relative_and_have_a_query(registry: Receiving, server: Lying, location: str) -> None:
    def begin(request: Seen) -> Answer:
        registry.answer(request)
        return Answer(202, headers=(("Location", location.format(url=server.url)),))

    server.on(START, begin)
    push(server.host)
    assert registry.blobs == {BLOB.digest: CONTENT}
    state = "state=a%2Fb&" if "?" in location else ""
    assert server.seen[1].target == f"{FIRST}?{state}digest=sha256%3A{BLOB.digest.encoded}"


@pytest.mark.parametrize("at", [START, FIRST])
def test_CR03_an_upload_at_another_origin_is_refused(registry: Receiving, server: Lying, other: Lying, at: str) -> None:
    registry.least = 1  # in parts, each of which may name another place
    elsewhere = (("Location", f"{other.url}/v2/a/b/blobs/uploads/0"),)
    server.on(at, challenge('Basic realm="x"'), Answer(202, headers=elsewhere))
    with pytest.raises(Unsafe, match="another origin"):
        push(server.host, wanted=LARGE_BLOB)
    assert other.seen == []


def test_a_registry_that_does_not_know_its_scheme_is_told_so(registry: Receiving, server: Lying) -> None:
    server.on(START, Answer(202, headers=(("Location", f"https://{server.host}{FIRST}"),)))
    with pytest.raises(Unsafe, match="X-Forwarded-Proto"):
        push(server.host)


def test_CR02_a_part_that_is_redirected_takes_no_credential_along(
    registry: Receiving, server: Lying, other: Lying
) -> None:
    registry.instead(START, challenge('Basic realm="x"'))
    server.on(FIRST, Answer(307, headers=(("Location", f"{other.url}/bucket/0?signature=x"),)))
    other.on("/bucket/0", Answer(201, headers=(("Docker-Content-Digest", BLOB.digest),)))
    push(server.host)
    assert [len(request.body) for request in other.seen] == [len(CONTENT)]


@pytest.mark.parametrize(
    "failure", [Answer(500), Answer(502, b"<html>"), Answer(200, raw=b""), Answer(503, headers=AGAIN)]
)
def test_NF06_an_upload_that_failed_begins_again(registry: Receiving, server: Lying, failure: Answer) -> None:
    opened: list[tuple[int, int]] = []
    registry.instead(FIRST, failure)
    push(server.host, content=content_of(CONTENT, opened))
    assert registry.blobs == {BLOB.digest: CONTENT}
    assert opened == [(0, len(CONTENT))] * 2


def test_NF06_a_registry_that_always_fails_is_left_alone_in_the_end(registry: Receiving, server: Lying) -> None:
    def fail(request: Seen) -> Answer:
        return Answer(500) if request.method == "PUT" else Answer(404)

    registry.instead(FIRST)
    for number in range(9):
        server.on(f"{START}{number}", fail)
    with pytest.raises(Unavailable, match=r"answered 500") as failure:
        push(server.host)
    assert registry.methods().count("PUT") == 4
    assert str(failure.value).startswith(f"{server.host}/a/b@{BLOB.digest}")


def test_NF05_a_throttled_upload_waits(registry: Receiving, server: Lying) -> None:
    registry.instead(FIRST, Answer(429, headers=AGAIN))
    push(server.host)
    assert registry.methods() == ["POST", "PUT", "PUT"]


@pytest.mark.parametrize("lost", [Answer(200, raw=b""), Answer(200, raw=b"", reset=True), Answer(504)])
def test_NF11_an_answer_that_was_lost_is_no_failure(registry: Receiving, server: Lying, lost: Answer) -> None:
    def keep(request: Seen) -> Answer:
        registry.answer(request)
        return lost

    registry.instead(FIRST, keep)
    opened: list[tuple[int, int]] = []
    push(server.host, content=content_of(CONTENT, opened))
    assert opened == [(0, len(CONTENT))]
    assert registry.methods() == ["POST", "PUT", "HEAD"]


def test_NF01_an_upload_that_was_cut_goes_on_where_it_was(registry: Receiving, server: Lying) -> None:
    opened: list[tuple[int, int]] = []
    cut = Trouble("cut", 30 << 20, heard=True)
    with Chaos(server.host, lambda number: cut if number == 0 else NONE) as proxy:
        sent = push(proxy.host, wanted=LARGE_BLOB, content=content_of(LARGE, opened))
    assert registry.blobs == {LARGE_BLOB.digest: LARGE}
    assert registry.methods() == ["POST", "HEAD", "GET", "PATCH", "PUT"]
    (_, end), (start, last) = opened
    assert (end, last) == (len(LARGE), len(LARGE))
    assert 29 << 20 < start < 30 << 20
    assert len(LARGE) <= sent < 2 * len(LARGE)


@pytest.mark.parametrize("told", ["0-0", "", "0-99999999999", "5-9", "bytes=1-2", "0--1"])
def test_NF03_a_registry_that_cannot_say_how_much_it_has_gets_it_anew(
    registry: Receiving, server: Lying, told: str
) -> None:
    registry.instead(FIRST, Answer(500), Answer(204, headers=(("Range", told),)))
    push(server.host)
    assert registry.methods() == ["POST", "PUT", "HEAD", "GET", "POST", "PUT"]


def test_a_registry_that_wants_parts_gets_them(registry: Receiving, server: Lying) -> None:
    registry.least = 17 << 20
    opened: list[tuple[int, int]] = []
    push(server.host, wanted=LARGE_BLOB, content=content_of(LARGE, opened))
    assert registry.blobs == {LARGE_BLOB.digest: LARGE}
    assert opened == [(0, 17 << 20), (17 << 20, 34 << 20), (34 << 20, len(LARGE))]
    assert registry.methods() == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]
    assert server.seen[2].header("content-range") == f"{17 << 20}-{(34 << 20) - 1}"


@pytest.mark.parametrize("kept", [True, False])
def test_NF06_a_part_whose_answer_was_lost_is_not_sent_blindly_again(
    registry: Receiving, server: Lying, kept: bool
) -> None:
    def lose(request: Seen) -> Answer:
        if kept:
            registry.answer(request)
        return Answer(200, raw=b"", reset=True)

    registry.least = 1
    registry.instead(FIRST, registry.answer, lose)
    opened: list[tuple[int, int]] = []
    push(server.host, wanted=LARGE_BLOB, content=content_of(LARGE, opened))
    assert registry.blobs == {LARGE_BLOB.digest: LARGE}
    parts = [(0, 16 << 20), (16 << 20, 32 << 20), (32 << 20, len(LARGE))]
    assert opened == (parts if kept else [*parts[:2], *parts[1:]])
    after = ["PATCH", "PUT"] if kept else ["PATCH", "PATCH", "PUT"]
    assert registry.methods() == ["POST", "PATCH", "PATCH", "HEAD", "GET", *after]


def test_a_registry_that_takes_less_than_a_part_gets_the_rest(registry: Receiving, server: Lying) -> None:
    def half(request: Seen) -> Answer:
        registry.uploads[0] += request.body[: len(request.body) // 2]
        return Answer(202, headers=(("Range", f"0-{len(registry.uploads[0]) - 1}"),))

    registry.least = 1
    registry.instead(FIRST, half)
    push(server.host)
    assert registry.blobs == {BLOB.digest: CONTENT}
    assert registry.methods() == ["POST", "PATCH", "PATCH", "PUT"]


def test_a_body_that_is_too_large_for_a_proxy_goes_in_parts(registry: Receiving, server: Lying) -> None:
    registry.largest = 20 << 20
    push(server.host, wanted=LARGE_BLOB)
    assert registry.blobs == {LARGE_BLOB.digest: LARGE}
    assert registry.methods() == ["POST", "PUT", "POST", "PATCH", "PATCH", "PATCH", "PUT"]


@pytest.mark.parametrize("status", [404, 400, 416])
def test_an_upload_that_is_no_more_begins_again_once(registry: Receiving, server: Lying, status: int) -> None:
    registry.instead(FIRST, Answer(status))
    push(server.host)
    assert registry.methods() == ["POST", "PUT", "POST", "PUT"]
    for path in (FIRST, SECOND, f"{START}2", f"{START}3"):
        server.on(path, Answer(status))
    with pytest.raises(Error, match=rf"{BLOB.digest}"):
        push(server.host)


def test_NF04_a_bit_that_flips_on_the_way_is_sent_again(registry: Receiving, server: Lying) -> None:
    events: list[Event] = []
    flip = Trouble("flip", 500_000, heard=True)
    with Chaos(server.host, lambda number: flip if number == 0 else NONE) as proxy:
        push(proxy.host, job=Job(progress=events.append))
    assert registry.blobs == {BLOB.digest: CONTENT}
    assert any("got other bytes than were described" in event.text for event in events if event.kind == "retry")


def test_content_that_is_another_is_a_mismatch(registry: Receiving, server: Lying) -> None:
    with pytest.raises(Mismatch, match="got other bytes than were described"):
        push(server.host, content=content_of(CONTENT[::-1]))
    assert registry.blobs == {}


def test_the_digest_that_a_registry_says_to_have_must_be_ours(registry: Receiving, server: Lying) -> None:
    wrong = (("Docker-Content-Digest", str(Digest.of(b"other"))),)
    server.on(FIRST, Answer(201, headers=wrong))
    with pytest.raises(Mismatch, match="calls it sha256:"):
        push(server.host)
    document = small_image().document
    server.on("/v2/a/b/manifests/1", Answer(201, headers=wrong))
    with Client(Network(insecure=frozenset({server.host}))) as client, pytest.raises(Mismatch, match="instead of"):
        RegistryTarget(server.host, "a/b", client).put(document, "1", job=Job())


def test_a_registry_that_says_no_digest_is_asked(registry: Receiving, server: Lying) -> None:
    registry.reported = False
    push(server.host)
    assert registry.methods() == ["POST", "PUT", "HEAD"]
    server.on(f"/v2/a/b/blobs/{BLOB.digest}", Answer(404))
    with pytest.raises(Mismatch, match="took it, and has not got it"):
        push(server.host)


def test_NF12_a_web_page_is_no_success(registry: Receiving, server: Lying) -> None:
    server.on(FIRST, Answer(200, b"<html>", (("Content-Type", "text/html"),)))
    with pytest.raises(Invalid, match="web page"):
        push(server.host)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Denied), (403, Denied), (405, Unsupported), (404, NotFound), (413, Invalid)]
)
def test_what_a_registry_refuses_is_told_apart(
    registry: Receiving, server: Lying, status: int, kind: type[Error]
) -> None:
    server.on(START, Answer(status, b'{"errors":[{"code":"DENIED","message":"not you"}]}'))
    with pytest.raises(kind, match=r"a/b@sha256:.*not you"):
        push(server.host)


def test_an_answer_before_the_end_says_why(registry: Receiving, server: Lying) -> None:
    server.refuse(FIRST, Answer(403, b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'))
    with pytest.raises(Denied, match="quota exceeded") as failure:
        push(server.host, wanted=LARGE_BLOB)
    assert failure.value.hint == "may these credentials push there?"


def test_a_blob_of_a_neighbour_is_not_sent(registry: Receiving, server: Lying) -> None:
    registry.mountable, registry.blobs[BLOB.digest] = {"c/d"}, CONTENT
    opened: list[tuple[int, int]] = []
    assert push(server.host, near="c/d", content=content_of(CONTENT, opened)) == 0
    assert opened == []
    assert server.seen[0].target == f"{START}?mount=sha256%3A{BLOB.digest.encoded}&from=c%2Fd"


@pytest.mark.parametrize("status", [202, 401, 403, 404, 400, 405])
def test_a_neighbour_without_it_is_no_reason_not_to_send_it(registry: Receiving, server: Lying, status: int) -> None:
    def begin(request: Seen) -> Answer:
        return registry.answer(request) if status == 202 else Answer(status)

    registry.instead(START, begin)
    assert push(server.host, near="c/d") == len(CONTENT)
    assert registry.methods() == (["POST", "PUT"] if status == 202 else ["POST", "POST", "PUT"])


def test_what_breaks_at_the_source_is_not_tried_again(registry: Receiving, server: Lying) -> None:
    times = 0

    @contextmanager
    def broken(start: int, end: int) -> Iterator[Readable]:
        nonlocal times
        times += 1
        raise Unavailable("source: broke off")
        yield io.BytesIO()

    with pytest.raises(Unavailable, match="source: broke off"):
        push(server.host, content=broken)
    assert times == 1
    assert registry.methods() == ["POST"]


def test_CR14_a_token_that_runs_out_meanwhile_is_renewed(registry: Receiving, server: Lying) -> None:
    server.on("/token", Answer(200, b'{"token":"one"}'), Answer(200, b'{"token":"two"}'))
    bearer = challenge(f'Bearer realm="{server.url}/token",service="s",scope="repository:a/b:pull,push"')
    registry.instead(START, bearer)
    registry.instead(FIRST, bearer)
    push(server.host)
    assert registry.blobs == {BLOB.digest: CONTENT}
    assert [request.header("authorization") for request in server.asked(FIRST)] == ["Bearer one", "Bearer two"]
    assert "scope=repository:a/b:pull,push" in server.asked("/token")[0].target


def test_RX08_a_stalled_upload_is_given_up(registry: Receiving, server: Lying) -> None:
    server.stop_reading(FIRST)
    with pytest.raises(Fault, match="takes no byte"):
        push(server.host, wanted=LARGE_BLOB, timeout=0.4, job=Job(retries=0))


def test_a_stop_in_the_middle_ends_it(registry: Receiving, server: Lying) -> None:
    job = Job()

    def stop(event: Event) -> None:
        if event.kind == "progress" and event.done > 5 << 20:
            job.stop()

    stopping = Job(progress=stop, _parent=job)
    with pytest.raises(Cancelled):
        push(server.host, wanted=LARGE_BLOB, job=stopping)
    assert registry.blobs == {}


def test_CR10_a_registry_that_repeats_the_password_does_not_make_us_do_so(registry: Receiving, server: Lying) -> None:
    events: list[Event] = []
    repeated = b'{"errors":[{"code":"DENIED","message":"bad password ' + CANARY.encode() + b'"}]}'
    server.on(START, challenge('Basic realm="x"'), Answer(403, repeated, (("Warning", f'299 - "{CANARY}"'),)))
    with pytest.raises(Denied, match=r"bad password \*\*\*") as failure:
        push(server.host, job=Job(progress=events.append))
    assert CANARY not in str(failure.value) + repr(events)


_HEADERS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
_STATUSES = st.sampled_from([200, 201, 202, 204, 206, 301, 307, 308, 400, 401, 404, 413, 416, 429, 500])


_PLACES = st.one_of(_HEADERS, st.sampled_from(["0", FIRST, "//elsewhere/v2/", "{other}/v2/x"]))
_RANGES = st.one_of(_HEADERS, st.integers(-1, 1 << 70).map(lambda end: f"0-{end}"), st.integers(0, 1 << 70).map(str))


@given(st.lists(st.tuples(_STATUSES, _PLACES, _RANGES, _HEADERS), min_size=1, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_answered_only_our_errors_come_out(
    server: Lying, other: Lying, answers: list[tuple[int, str, str, str]]
) -> None:
    told = iter(answers * 20)

    def anything(request: Seen) -> Answer:
        status, location, taken, digest = next(told, (500, "", "", ""))
        location = location.replace("{other}", other.url) or FIRST
        fields = {"Location": location, "Range": taken, "Docker-Content-Digest": digest, "OCI-Chunk-Min-Length": taken}
        return Answer(status, b"", tuple(fields.items()))

    server.otherwise = anything
    with suppress(Error):
        push(server.host, retries=0, timeout=1.0, job=Job(retries=1))
