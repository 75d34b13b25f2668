"""Whole pulls through a proxy that spoils connections: the exact bytes or one of our errors, and little twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from orlop.errors import Error, Mismatch
from orlop.http import throttle
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.chaos import NONE, Chaos, Plan, Trouble
from tests.support.images import MadeImage, make_image, make_index, make_layer
from tests.support.lying import Lying, serve_image
from tests.support.registries import Authority
from tests.support.soak import times
from tests.support.stores import settings as plain_settings

PLATFORM = "linux/amd64"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is for the sake of servers; this one does not mind."""
    monkeypatch.setattr(throttle, "_LONGEST_BACKOFF", 0.02)


def made(*sizes: int) -> MadeImage:
    """An index of one image with layers of so many bytes that do not compress."""
    noise = random.Random(7)
    return make_index({PLATFORM: make_image([make_layer({"noise": noise.randbytes(size)}) for size in sizes])})


def need(image: MadeImage) -> int:
    """Bytes that a pull moves: documents, config and layers."""
    documents = (image.document, *image.documents)
    return sum(len(document.raw) for document in documents) + sum(map(len, image.blobs.values()))


@dataclass(frozen=True)
class Outcome:
    """`error` is None where the image came; `passed` bytes came through the proxy, heads included."""

    error: Error | None
    passed: int
    connections: int
    kinds: set[str]


def pull(
    place: Path, upstream: Lying, image: MadeImage, plan: Plan, *, workers: int = 4, timeout: float = 1.0
) -> Outcome:
    """A pull into a new store at `place`, checked: what came is whole and itself, or the store took nothing and can
    take the image from elsewhere."""
    ca = place.parent / "ca.pem" if upstream.tls else None
    with Chaos(upstream.host, plan) as proxy:
        hosts = frozenset() if upstream.tls else frozenset({proxy.host, upstream.host})
        network = Network(insecure=hosts, home=place.parent, timeout=timeout, certificate_dirs=(), ca_file=ca)
        failure: Error | None = None
        with Store.open(settings=Settings(store=place, network=network, workers=workers)) as store:
            try:
                pulled = store.pull(f"docker://{proxy.host}/app:1", platform=PLATFORM)
                assert pulled.digest == image.digest
            except Error as error:
                failure = error
                assert store.names() == []
            assert store.fsck().findings == ()
            if failure is not None:
                assert store.pull(f"docker://{upstream.host}/app:1", platform=PLATFORM).digest == image.digest
            for digest, content in image.blobs.items():
                assert store.blob(digest)[0].read_bytes() == content
        return Outcome(failure, proxy.passed, len(proxy.said), proxy.kinds)


# -- every class of boundary -----------------------------------------------------------------------------------


def boundaries(said: bytes) -> Iterator[int]:
    """Of each answer on a connection: before it, in its first line, in its headers, around the empty line, in its
    body, before the last byte, and behind it."""
    starts = [place for place in range(len(said)) if said.startswith(b"HTTP/1.1 ", place)]
    for start, end in zip(starts, [*starts[1:], len(said)], strict=True):
        body = said.index(b"\r\n\r\n", start) + 4
        yield from (start, start + 5, (start + body) // 2, body - 2, body, body + 1, (body + end) // 2, end - 1)
    yield len(said)


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_NF07_a_pull_survives_one_break_wherever_it_comes(tmp_path: Path, kind: str) -> None:
    image = made(3000)
    with Lying() as upstream:
        serve_image(upstream, image)
        with Chaos(upstream.host, lambda index: NONE) as proxy:
            with Store.open(settings=plain_settings(tmp_path / "first", insecure=[proxy.host], workers=1)) as store:
                store.pull(f"docker://{proxy.host}/app:1", platform=PLATFORM)
            assert len(proxy.said) == 1  # all on one connection, so that its bytes have an order
            said = proxy.said[0]
        places = sorted(set(boundaries(said)) | set(range(0, len(said), times(len(said), 11))))
        assert len(places) > 30

        def one(place: int) -> Outcome:
            trouble = Trouble(kind, place)  # type: ignore[arg-type]
            plan: Plan = lambda index: trouble if index == 0 else NONE  # noqa: E731
            return pull(tmp_path / f"at-{place}", upstream, image, plan, workers=1, timeout=5.0)

        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(places, pool.map(one, places), strict=True))
    assert {place: outcome.error for place, outcome in outcomes.items() if outcome.error} == {}
    # the break came, but for the one after the last byte; a first answer that breaks is asked whether it speaks TLS
    broken = [outcome for place, outcome in outcomes.items() if place < len(said)]
    assert all(outcome.kinds == {kind} and outcome.connections in (2, 3) for outcome in broken)


@pytest.mark.parametrize("kind", ["cut", "reset", "flip"])
def test_NF07_a_pull_over_tls_survives_one_break_wherever_it_comes(tmp_path: Path, kind: str) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
    image = made(200_000)
    # in the handshake, at the edges of records, in answers, in the layer; flipped there, the record is refused
    places = [0, 3, 5, 100, 700, 1200, 1600, 2500, 3500, 5000, 20_000, 100_000, 180_000]
    places += range(6000, 200_000, times(200_000, 3001))
    with Lying(tls=authority.server("127.0.0.1")) as upstream:
        serve_image(upstream, image)

        def one(place: int) -> Outcome:
            trouble = Trouble(kind, place)  # type: ignore[arg-type]
            plan: Plan = lambda index: trouble if index == 0 else NONE  # noqa: E731
            return pull(tmp_path / f"at-{place}", upstream, image, plan, workers=1, timeout=5.0)

        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(places, pool.map(one, places), strict=True))
    failed = {place: str(outcome.error) for place, outcome in outcomes.items() if outcome.error}
    assert all(outcome.kinds == {kind} for outcome in outcomes.values())
    if kind == "flip":  # in a handshake it looks like an attack, and is not tried again
        assert all("tls" in text for text in failed.values()), failed
    else:
        assert failed == {}


def test_NF04_a_flipped_bit_is_healed_wherever_it_comes(tmp_path: Path) -> None:
    image = made(3000)
    with Lying() as upstream:
        serve_image(upstream, image)
        with Chaos(upstream.host, lambda index: NONE) as proxy:
            with Store.open(settings=plain_settings(tmp_path / "first", insecure=[proxy.host], workers=1)) as store:
                store.pull(f"docker://{proxy.host}/app:1", platform=PLATFORM)
            said = proxy.said[0]
        places = range(0, len(said), times(97, 7))

        def one(place: int) -> Outcome:
            plan: Plan = lambda index: Trouble("flip", place) if index == 0 else NONE  # noqa: E731
            return pull(tmp_path / f"at-{place}", upstream, image, plan, workers=1, timeout=2.0)

        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(places, pool.map(one, places), strict=True))
    bodies = [place for place in places if in_body(said, place)]
    assert len(bodies) > len(places) / 2
    assert {place: str(outcomes[place].error) for place in bodies if outcomes[place].error} == {}


def in_body(said: bytes, place: int) -> bool:
    head = said.rindex(b"HTTP/1.1 ", 0, place + 9) if b"HTTP/1.1 " in said[: place + 9] else 0
    return place >= said.index(b"\r\n\r\n", head) + 4


# -- random ones -------------------------------------------------------------------------------------------------

_ANSWERS = [
    b"HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 4\r\n\r\nbusy",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 502 Bad\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 504 Late\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 408 Idle\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 425 Early\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"",
]
_FINAL = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x28 not http at all\r\n\r\n",
]


def plan_of(seed: str, size: int) -> Plan:
    """Half of all connections are spoiled, the early bytes as often as all others together."""

    def plan(index: int) -> Trouble:
        chance = random.Random(f"{seed}-{index}")
        at = chance.randrange(400) if chance.random() < 0.4 else chance.randrange(size)
        where = chance.random()
        for share, kind in ((0.14, "cut"), (0.12, "reset"), (0.03, "stall"), (0.02, "flip")):
            if where < share:
                return Trouble(kind, at)  # type: ignore[arg-type]
            where -= share
        if where < 0.16:
            return Trouble("answer", 0, chance.choice(_ANSWERS))
        if where < 0.17:
            return Trouble("answer", 0, chance.choice(_FINAL))
        return NONE

    return plan


def test_NF07_chaos_ends_in_the_exact_bytes_or_a_named_error(tmp_path: Path) -> None:
    image = made(700_000, 300_000, 60_000, 100)
    count, size = times(50, 1000), need(image)
    with Lying() as upstream:
        serve_image(upstream, image)

        def one(number: int) -> Outcome:
            return pull(tmp_path / str(number), upstream, image, plan_of(f"chaos {number}", size))

        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(one, range(count)))
    well = [outcome for outcome in outcomes if outcome.error is None]
    spoiled = [outcome for outcome in well if outcome.kinds]
    passed = sum(outcome.passed for outcome in well)
    print(
        f"{len(well)} of {count} ended well, {len(spoiled)} of them spoiled, {passed / (size * len(well)):.3f} passed"
    )
    assert len(well) > count * 0.6
    assert len(spoiled) > count * 0.4
    assert passed <= 1.2 * size * len(well)
    # a flip, or an answer of another length, costs its blob; nothing else costs more than what was on its way
    honest = [outcome for outcome in outcomes if {"flip", "answer"}.isdisjoint(outcome.kinds)]
    assert not [outcome for outcome in honest if isinstance(outcome.error, Mismatch)]
    assert {kind for outcome in outcomes for kind in outcome.kinds} == {"cut", "reset", "stall", "flip", "answer"}
