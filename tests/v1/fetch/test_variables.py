"""Environment and volumes of what was fetched."""

from __future__ import annotations

from typing import Any

from orlop.job import Event, Job
from orlop.store import Store
from tests.support.version1 import Made, Version1, made

from .conftest import MakeFetcher


def config(*env: Any, volumes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"config": {"Env": list(env), "Volumes": {volume: {} for volume in volumes}}}


def test_F14_the_topmost_config_wins_and_what_is_no_variable_is_dropped(fetcher: MakeFetcher) -> None:
    base = made("base", **config("PATH=/bin", "A=base", "B=base", volumes=("/data", "/base")))
    middle = made("middle", base, **config("B=middle", "C=with=signs", "bad", "=none", 7, "nul=\0"))
    top = made("top", middle, **config("A=top", "D=", volumes=("/top", "/data")))
    events: list[Event] = []
    with Version1([base, middle, top]) as registry:
        fetched = fetcher(registry).fetch("app", job=Job(progress=events.append))
    assert fetched.environment == ("PATH=/bin", "A=top", "B=middle", "C=with=signs", "D=")
    assert fetched.volumes == ("/data", "/base", "/top")
    warned = [event.text for event in events if "Unrecognised environment variable" in event.text]
    assert [text.rpartition(" ")[2] for text in warned] == ["'bad'", "'=none'", "7", r"'nul=\x00'"]


def test_F14_configs_that_are_none_say_nothing(fetcher: MakeFetcher) -> None:
    odd: list[dict[str, Any]] = [
        {"config": None},
        {"config": {"Env": "A=1", "Volumes": ["/x"]}},
        {"config": {"Env": None, "Volumes": None}},
    ]
    images: list[Made] = []
    for number, fields in enumerate(odd):
        images.append(made(f"odd-{number}", images[-1] if images else None, **fields))
    with Version1(images) as registry:
        fetched = fetcher(registry).fetch("app", job=Job())
    assert (fetched.environment, fetched.volumes) == ((), ())


def test_F14_it_is_the_same_when_all_of_it_was_there(fetcher: MakeFetcher) -> None:
    base = made("base", **config("A=base", volumes=("/base",)))
    top = made("top", base, **config("A=top"))
    with Version1([base, top]) as registry:
        get = fetcher(registry)
        first, second = get.fetch("app", job=Job()), get.fetch("app", job=Job())
    assert (first.environment, first.volumes) == (second.environment, second.volumes) == (("A=top",), ("/base",))


def test_F15_nothing_leaks_from_one_fetch_into_the_next(store: Store, fetcher: MakeFetcher) -> None:
    one = made("one", **config("A=one", "ONLY_ONE=1", volumes=("/one",)))
    two = made("two", **config("A=two", volumes=("/two",)))
    with Version1([one, two], tags={"one": one.id, "two": two.id}) as registry:
        get = fetcher(registry)
        get.fetch("app", "one", job=Job())
        fetched = get.fetch("app", "two", job=Job())
    assert (fetched.environment, fetched.volumes) == (("A=two",), ("/two",))
    assert set(store.graph.nodes()) == {one.id, two.id}
