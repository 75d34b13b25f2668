"""One download of one layer at a time, over threads and processes; different layers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.errors import Error, NotFound
from orlop.job import Job
from orlop.store import Store
from orlop.v1.fetch import RepositoryFetcher
from tests.support.lying import Answer, Handler, Seen, cut_after
from tests.support.stores import kill, opened, start_python
from tests.support.version1 import DEAD, Version1, fast_client, made, made_chain

from .conftest import MakeFetcher

_FETCH = """
import sys
from pathlib import Path
from orlop.job import Job
from orlop.settings import Network, Settings
from orlop.store import Store
path, host, other, another = sys.argv[1:]
hosts = frozenset({host, other, another})
network = Network(insecure=hosts, endpoint_hosts=hosts, home=Path(path).parent, retries=0)
with Store.open(settings=Settings(store=Path(path), network=network)) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(store.fetch(f"v1://{host}/app:latest", job=Job(retries=0)).id, flush=True)
"""


def wait_for(condition: Callable[[], object]) -> None:
    """Until it holds; the time-out of the test ends it."""
    while not condition():
        time.sleep(0.01)


def test_F08_a_layer_that_two_want_at_once_is_downloaded_once(fetcher: MakeFetcher) -> None:
    images = made_chain(5)
    with Version1(images) as registry:
        get = fetcher(registry)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: get.fetch("app", job=Job()), range(8)))
        assert {fetched.id for fetched in found} == {images[-1].id}
        assert sorted(registry.index.asked("json")) == sorted(image.id for image in images)
        assert sorted(registry.index.asked("layer")) == sorted(image.id for image in images)
        assert sum(fetched.fetched for fetched in found) == sum(len(image.layer) for image in images)


def test_F08_sixteen_processes_download_each_layer_once_though_an_endpoint_dies(tmp_path: Path) -> None:
    """Ten images, two endpoints, the first dead after the third layer."""
    images = made_chain(10)
    with opened(tmp_path / "store"):
        pass
    with Version1(images, endpoints=2) as registry:
        first, second = registry.endpoints
        first.dead_after = 3
        hosts = (registry.index.host, first.host, second.host)
        processes = [start_python(_FETCH, tmp_path / "store", *hosts) for _ in range(16)]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            # all have opened the store, so they begin together
            results = [process.communicate("go\n", timeout=250) for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [(out, process.returncode) for (out, _), process in zip(results, processes, strict=True)] == [
            (f"{images[-1].id}\n", 0)
        ] * 16, results
        assert sorted(first.served + second.served) == sorted(image.id for image in images)
    with opened(tmp_path / "store") as store:
        assert [node.image.raw for node in store.graph.chain(store.graph.get(images[-1].id).image.id)] == [
            image.raw for image in images
        ]
        assert store.fsck().findings == ()


def test_F09_when_the_first_of_two_fails_the_second_tries_itself(store: Store) -> None:
    image = made("image")
    with Version1([image]) as registry:
        index = registry.index
        waiting = threading.Event()

        def fail_late(request: Seen) -> Answer:
            waiting.wait(60)
            return Answer(404, b'{"error": "Image not found"}')

        index.instead(f"/v1/images/{image.id}/layer", fail_late)
        with fast_client(registry.network(retries=0)) as client, ThreadPoolExecutor(2) as pool:
            get = RepositoryFetcher(registry.session(client), store.graph)
            first = pool.submit(get.fetch, "app", job=Job(retries=0))
            wait_for(lambda: index.asked("layer"))
            second = pool.submit(get.fetch, "app", job=Job(retries=0))
            wait_for(lambda: len(index.server.asked(f"/v1/images/{image.id}/ancestry")) == 2)
            waiting.set()
            with pytest.raises(NotFound, match="all endpoints failed"):
                first.result(60)
            assert second.result(60).id == image.id
        assert len(index.asked("layer")) == 2


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("json", Answer(500)),
        ("json", Answer(200, b"{}")),
        ("json", DEAD),
        ("layer", Answer(404)),
        ("layer", Answer(200, b"no tar at all" * 100)),
        ("layer", "cut"),
    ],
)
def test_F10_whatever_fails_the_lock_is_free_again(
    store: Store, fetcher: MakeFetcher, part: str, wrong: Answer | str
) -> None:
    image = made("image")
    with Version1([image]) as registry:
        answer: Answer | Handler = cut_after(registry.index.answer, 10) if isinstance(wrong, str) else wrong
        registry.index.sized = isinstance(wrong, str)
        registry.index.server.on(f"/v1/images/{image.id}/{part}", answer)
        get = fetcher(registry, retries=0)
        for _ in range(2):
            with pytest.raises(Error, match="all endpoints failed"):
                get.fetch("app", job=Job(retries=0))
        registry.index.instead(f"/v1/images/{image.id}/{part}")
        assert get.fetch("app", job=Job()).id == image.id
    assert set(store.graph.nodes()) == {image.id}


def test_F08_different_layers_come_at_once(fetcher: MakeFetcher) -> None:
    """The one cannot end before the other did: in turn, they would wait for ever."""
    one, two = made("one"), made("two")
    with Version1([one, two], tags={"one": one.id, "two": two.id}) as registry:
        other = threading.Event()

        def after_the_other(request: Seen) -> Answer:
            assert other.wait(60)
            return registry.index.answer(request)

        registry.index.server.on(f"/v1/images/{one.id}/layer", after_the_other)
        get = fetcher(registry)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(get.fetch, "app", "one", job=Job())
            assert get.fetch("app", "two", job=Job()).id == two.id
            other.set()
            assert first.result(60).id == one.id


def test_F10_a_fetch_that_is_killed_in_a_layer_leaves_nothing_and_nobody_waiting(tmp_path: Path) -> None:
    images = made_chain(2)
    with opened(tmp_path / "store"):
        pass
    with Version1(images, endpoints=2) as registry:
        begun, over = threading.Event(), threading.Event()
        path = f"/v1/images/{images[1].id}/layer"

        def hang(request: Seen) -> Answer:
            begun.set()
            assert over.wait(120)
            return Answer(404)

        first, second = registry.endpoints
        first.instead(path, hang)
        process = start_python(_FETCH, tmp_path / "store", registry.index.host, first.host, second.host)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert begun.wait(120)
        kill(process)
        with opened(tmp_path / "store") as store, fast_client(registry.network()) as client:
            assert set(store.graph.nodes()) == {images[0].id}
            get = RepositoryFetcher(registry.session(client), store.graph)
            assert get.fetch("app", job=Job()).id == images[1].id
            assert store.fsck().findings == ()
        over.set()
        assert registry.asked("layer").count(images[0].id) == 1
