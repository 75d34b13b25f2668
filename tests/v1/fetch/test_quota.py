"""Quotas, and trying again."""

from __future__ import annotations

import io

import pytest

from orlop.errors import Cancelled, Denied, Error, NoSpace, NotFound, Unavailable
from orlop.job import Event, Job
from orlop.store import Store
from orlop.v1.fetch import patiently
from orlop.v1.quota import Limited, Quota
from tests.support.lying import Answer
from tests.support.version1 import Version1, made_chain

from .conftest import MakeFetcher


def test_F17_a_fetch_is_tried_three_times(fetcher: MakeFetcher) -> None:
    events: list[Event] = []
    job = Job(progress=events.append, retries=0)
    with Version1(made_chain(1)) as registry:
        registry.index.instead("/v1/repositories/library/app/images", Answer(500), Answer(500))
        get = fetcher(registry, retries=0)
        patiently(lambda: get.fetch("app", job=job), job=job)
    failed = [event.text for event in events if event.text.startswith("failed-to-fetch")]
    assert [text.partition(": ")[2].partition(":")[0] for text in failed] == ["attempt 1 of 3", "attempt 2 of 3"]


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Unavailable("down"), 3),
        (Error("odd"), 3),
        (NoSpace("layer size exceeds image quota"), 1),
        (NotFound("unknown tag: a:b"), 1),
        (Denied("login required"), 1),
        (Cancelled("stopped"), 1),
    ],
)
def test_F17_what_a_second_try_cannot_change_is_not_tried_again(error: Error, calls: int) -> None:
    made: list[int] = []

    def fail() -> None:
        made.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        patiently(fail, job=Job())
    assert caught.value is error
    assert len(made) == calls


@pytest.mark.parametrize("sized", [True, False])
def test_F17_a_quota_ends_the_fetch_at_once(store: Store, fetcher: MakeFetcher, sized: bool) -> None:
    """Neither another try nor another endpoint; what was whole by then is kept."""
    images = made_chain(3)
    limit = sum(len(image.layer) for image in images) - 1
    job = Job()
    with Version1(images, endpoints=2) as registry:
        first, second = registry.endpoints
        first.sized = sized
        get = fetcher(registry)
        with pytest.raises(NoSpace, match="quota") as caught:
            patiently(lambda: get.fetch("app", quota=limit, job=job), job=job)
        assert ("quota exceeded" if sized else "layer size exceeds image quota") in caught.value.message
        assert first.served == [image.id for image in (images[:2] if sized else images)]
        assert second.server.seen == []
    assert set(store.graph.nodes()) == {image.id for image in images[:2]}


def test_F17_a_quota_of_exactly_the_size_is_enough_and_what_is_here_counts(fetcher: MakeFetcher) -> None:
    images = made_chain(3)
    size = sum(len(image.layer) for image in images)
    with Version1(images, tags={"latest": images[2].id, "base": images[1].id}) as registry:
        registry.index.sized = False
        get = fetcher(registry)
        get.fetch("app", "base", job=Job())
        with pytest.raises(NoSpace):
            get.fetch("app", quota=size - 1, job=Job())
        with pytest.raises(NoSpace):
            get.fetch("app", "base", quota=len(images[0].layer), job=Job())
        assert get.fetch("app", quota=size, job=Job()).id == images[2].id


@pytest.mark.parametrize("quota", [0, -1, None])
def test_F17_a_quota_that_is_not_positive_is_none(fetcher: MakeFetcher, quota: int | None) -> None:
    images = made_chain(2)
    with Version1(images) as registry:
        assert fetcher(registry).fetch("app", quota=quota, job=Job()).id == images[1].id


def test_F17_a_layer_is_charged_once_though_two_endpoints_gave_it(fetcher: MakeFetcher) -> None:
    images = made_chain(4)
    size = sum(len(image.layer) for image in images)
    with Version1(images, endpoints=2) as registry:
        registry.endpoints[0].dead_after = 2
        fetched = fetcher(registry, retries=0).fetch("app", quota=size, job=Job(retries=0))
    assert fetched.fetched == size


def test_F17_of_a_layer_that_is_too_large_one_byte_more_is_read_and_no_other() -> None:
    source = io.BytesIO(bytes(1000))
    layer = Limited(source, Quota(100), lambda done: None)
    assert len(layer.read(60)) == 60
    with pytest.raises(NoSpace, match="layer size exceeds image quota"):
        layer.read(1000)
    assert source.tell() == 101
