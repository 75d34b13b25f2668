"""Whole pushes through a proxy that spoils connections: everything arrives, and nothing is called done that is not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from orlop.errors import Error
from orlop.http import throttle
from orlop.job import Job
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.chaos import NONE, Chaos, Plan, Trouble
from tests.support.images import make_image, make_index, make_layer, write_layout
from tests.support.lying import Lying
from tests.support.receiving import Receiving
from tests.support.soak import times
from tests.support.stores import opened

_NOISE = random.Random(5)
IMAGE = make_index(
    {
        "linux/amd64": make_image([make_layer({"a": _NOISE.randbytes(40_000)}), make_layer({"b": b"small"})]),
        "linux/arm64": make_image([make_layer({"c": b"other"})], platform="linux/arm64"),
    }
)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is for the sake of servers; this one does not mind."""
    monkeypatch.setattr(throttle, "_LONGEST_BACKOFF", 0.01)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the image `app:1`."""
    folder = tmp_path_factory.mktemp("shelf")
    layout = write_layout(folder / "layout", {"1": IMAGE})
    with opened(folder / "store") as store:
        store.tag(store.pull(f"oci:{layout}:1", platform="all").name, "app:1")
    return folder / "store"


def push(shelf: Path, plan: Plan, *, least: int = 0, workers: int = 1, retries: int = 5) -> tuple[Chaos, Error | None]:
    """A push to an empty registry. What is at the tag afterwards is whole; without an error it is there."""
    with Lying() as server, Chaos(server.host, plan) as proxy:
        registry = Receiving(server)
        registry.least = least
        network = Network(insecure=frozenset({proxy.host}), home=shelf.parent, timeout=1.0)
        failure: Error | None = None
        with Store.open(settings=Settings(store=shelf, network=network, workers=workers)) as store:
            try:
                store.push("app:1", f"{proxy.host}/app:1", job=Job(workers=workers, retries=retries))
            except Error as error:
                failure = error
        if failure is None:
            assert registry.tags["app:1"].raw == IMAGE.document.raw
        if registry.tags:
            assert registry.blobs == {str(digest): content for digest, content in IMAGE.blobs.items()}
            assert {document.raw for document in IMAGE.documents} < {d.raw for d in registry.documents.values()}
        return proxy, failure


def boundaries(text: bytes, start: bytes) -> Iterator[int]:
    """Of each message on a connection: before it, in its first line, in its headers, around the empty line, in its
    body, and before the last byte."""
    places = [place for place in range(len(text)) if text.startswith(start, place)]
    for place, end in pairwise([*places, len(text)]):
        body = text.index(b"\r\n\r\n", place) + 4
        yield from {place, place + 5, (place + body) // 2, body - 2, min(body, end - 1), (body + end - 1) // 2, end - 1}


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_NF07_a_push_survives_one_break_wherever_it_comes(shelf: Path, kind: str, least: int) -> None:
    whole, failure = push(shelf, lambda number: NONE, least=least)
    assert failure is None
    said = [Trouble(kind, at) for at in boundaries(whole.said[0], b"HTTP/1.1 ")]  # type: ignore[arg-type]
    methods = (b"HEAD /", b"POST /", b"PUT /", b"PATCH /")
    heard = [
        Trouble(kind, at, heard=True)  # type: ignore[arg-type]
        for method in methods
        for at in boundaries(whole.heard[0], method)
    ]
    for trouble in [*said, *heard][least::2]:
        proxy, failure = push(shelf, lambda number, trouble=trouble: trouble if number == 0 else NONE, least=least)  # type: ignore[misc]
        assert failure is None, (trouble, failure)
        assert proxy.troubles == [trouble]


def test_NF07_chaos_ends_in_a_whole_image_or_a_named_error(shelf: Path) -> None:
    came = 0
    for round_ in range(times(25, 2000)):
        chance = random.Random(round_)

        def plan(number: int, chance: random.Random = chance) -> Trouble:
            if chance.random() < 0.4:
                return NONE
            heard = chance.random() < 0.5
            # what flips on the way out, and is no content, is another request: only TLS helps against that
            kind = chance.choice(["cut", "reset"] if heard else ["cut", "reset", "flip", "answer"])
            answer = chance.choice([b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200", b"\0" * 99])
            return Trouble(kind, chance.randrange(3000), answer, heard=heard)  # type: ignore[arg-type]

        _, failure = push(shelf, plan, least=chance.choice([0, 1]), workers=4, retries=9)
        came += failure is None
    assert came > 0
