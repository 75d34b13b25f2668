"""T14, T15: `pull`, in the words and the order of Docker's."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orlop.engine.format import read_messages
from orlop.engine.job import Job, JobFailed
from orlop.errors import Conflict, Invalid
from orlop.jobs.handlers import make_engine
from orlop.settings import Settings
from orlop.store import Store
from orlop.v1.pools import Pools
from tests.support.lying import CANARY, Answer, Seen
from tests.support.version1 import DEAD, Version1, made, made_chain

from .running import run

Open = Callable[[Version1], Store]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Open]:
    """A store that may reach a registry and its endpoints."""
    with ExitStack() as stack:

        def make(registry: Version1) -> Store:
            made_settings = Settings(store=tmp_path / "store", network=registry.network(home=tmp_path, retries=0))
            return stack.enter_context(Store.open(settings=made_settings))

        yield make


def said(store: Store, *arguments: str, **environment: Any) -> list[str]:
    """What a pull tells, an ID before each line that has one, without how far it is."""
    ran = run(store, "pull", *arguments, json="1", **environment)
    assert (ran.status, ran.err) == (0, "")
    return told(ran.out)


def told(out: bytes) -> list[str]:
    lines = []
    for message in read_messages(out):
        line = f"{message.text('id')} {message.text('status')}".strip()
        if not line.endswith(" Downloading"):
            lines.append(line)
    return lines


def test_T15_one_tag_is_pulled_in_docker_s_words(opener: Open) -> None:
    images = made_chain(2)
    base, top = (image.id[:12] for image in images)
    with Version1(images, endpoints=1, tags={"1": images[1].id, "old": images[0].id}) as registry:
        store, name = opener(registry), f"{registry.index.host}/library/app"
        endpoint = registry.endpoints[0].host
        assert said(store, name, "1") == [
            f"Pulling repository {name}",
            f"{top} Pulling image (1) from {name}",
            f"{top} Pulling image (1) from {name}, endpoint: {endpoint}",
            f"{top} Pulling dependent layers",
            f"{base} Pulling metadata",
            f"{base} Pulling fs layer",
            f"{base} Download complete",
            f"{top} Pulling metadata",
            f"{top} Pulling fs layer",
            f"{top} Download complete",
            f"{top} Download complete",
            f"Status: Downloaded newer image for {name}:1",
        ]
        assert store.tags.all() == {name: {"1": images[1].id}}
        assert said(store, name, "1")[-4:] == [
            f"{base} Download complete",
            f"{top} Download complete",
            f"{top} Download complete",
            f"Status: Image is up to date for {name}:1",
        ]
        assert [registry.asked("layer").count(image.id) for image in images] == [1, 1]


def test_T15_plain_lines_end_as_a_terminal_wants_them(opener: Open) -> None:
    with Version1(made_chain(1)) as registry:
        store, name = opener(registry), f"{registry.index.host}/library/app"
        out = run(store, "pull", name, "latest").out
    assert out.startswith(f"Pulling repository {name}\r\nPulling image (latest) from {name} \r\n".encode())
    assert out.endswith(f"Status: Downloaded newer image for {name}:latest\r\n".encode())
    assert b"\rDownload complete \r\n" in out
    assert b"Downloading [====" in out


def test_T15_without_a_tag_all_tags_are_pulled_and_the_rest_is_not(opener: Open) -> None:
    one, two, untagged = made("one"), made("two"), made("three")
    tags = {"a": one.id, "b": two.id, "c": one.id}
    with Version1([one, two, untagged], tags=tags) as registry:
        store, name = opener(registry), f"{registry.index.host}/library/app"
        lines = said(store, name)
        assert [line for line in lines if "Pulling image" in line and "endpoint" not in line] == [
            f"{one.id[:12]} Pulling image (a) from {name}",
            f"{two.id[:12]} Pulling image (b) from {name}",
        ]
        assert lines[-1] == f"Status: Downloaded newer image for {name}"
        assert store.tags.get(name) == tags
        assert not store.graph.exists(untagged.id)


def test_T15_an_unknown_tag_and_an_unknown_repository_are_told(opener: Open) -> None:
    with Version1(made_chain(1)) as registry:
        store, host = opener(registry), registry.index.host
        ran = run(store, "pull", f"{host}/library/app", "nosuch")
        assert (ran.status, ran.error) == (1, f"Tag nosuch not found in repository {host}/library/app")
        ran = run(store, "pull", f"{host}/library/other")
        assert (ran.status, ran.error) == (1, f"Error: image {host}/library/other not found")
        assert (store.graph.nodes(), store.tags.all()) == ({}, {})


def test_T15_a_dead_endpoint_is_told_and_the_next_one_asked(opener: Open) -> None:
    images = made_chain(1)
    with Version1(images, endpoints=2) as registry:
        registry.endpoints[0].instead(f"/v1/images/{images[0].id}/ancestry", *[DEAD] * 9)
        store, name = opener(registry), f"{registry.index.host}/library/app"
        lines = said(store, name, "latest")
    first, second = (endpoint.host for endpoint in registry.endpoints)
    short = images[0].id[:12]
    tried = f"{short} Pulling image (latest) from {name}, endpoint: "
    assert lines[2] == f"{tried}{first}"
    assert lines[3].startswith(f"{short} Error pulling image (latest) from {name}, endpoint: {first}, ")
    assert lines[4] == f"{tried}{second}"
    assert lines[-1].startswith("Status: Downloaded newer image")


def test_T15_when_all_endpoints_fail_the_job_fails_and_sets_no_tag(opener: Open) -> None:
    images = made_chain(2)
    with Version1(images, endpoints=2) as registry:
        for endpoint in registry.endpoints:
            endpoint.instead(f"/v1/images/{images[1].id}/layer", *[Answer(404)] * 9)
        store, name = opener(registry), f"{registry.index.host}/library/app"
        ran = run(store, "pull", name, "latest", json="1")
        assert ran.status == 1
        assert ran.error.startswith(f"Error pulling image (latest) from {name}, ")
        last = told(ran.out)[-1]
        assert last.startswith(f"{images[1].id[:12]} Error pulling image (latest) from {name}, ")
        assert "endpoint:" not in last
        assert store.tags.all() == {}
        assert store.graph.exists(images[0].id)


def test_T15_who_asks_and_headers_of_the_user_go_with_it(opener: Open) -> None:
    with Version1(made_chain(1), endpoints=1) as registry:
        store, host = opener(registry), registry.index.host
        auth = json.dumps({"username": "me", "password": CANARY, "serveraddress": f"http://{host}/v1/"})
        said(store, f"{host}/library/app", "latest", authConfig=auth, metaHeaders='{"X-Meta-Who":["a","b"]}')
        seen = registry.index.server.seen
        assert [request.headers.count(("x-meta-who", "a")) for request in seen] == [1] * len(seen)
        assert seen[0].header("authorization").startswith("Basic ")
        for request in registry.endpoints[0].server.seen:
            assert "Basic" not in request.header("authorization")
        ran = run(store, "pull", f"{host}/library/app", authConfig=auth.replace(host, "other.example"))
        assert (ran.status, ran.error) == (1, f"authConfig: is for other.example, not for {host}")
        assert CANARY not in ran.err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("authConfig", "[]"),
        ("authConfig", "{"),
        ("authConfig", '{"username":1}'),
        ("metaHeaders", '{"Authorization":["x"]}'),
        ("metaHeaders", '{"X-Meta-A":["x\\r\\nHost: y"]}'),
        ("metaHeaders", '{"X-Meta-A":[1]}'),
    ],
)
def test_T15_who_asks_must_be_said_as_docker_said_it(opener: Open, key: str, value: str) -> None:
    with Version1(made_chain(1)) as registry:
        more: dict[str, Any] = {key: value}
        ran = run(opener(registry), "pull", f"{registry.index.host}/library/app", **more)
        assert (ran.status, registry.index.server.seen) == (1, [])
        assert key in ran.error


# -- the pools -------------------------------------------------------------------------------------------------


def test_T14_the_table_of_dockers_own_test() -> None:
    pools = Pools()
    pools.add("pull", "test1")
    pools.add("pull", "test2")
    with pytest.raises(Conflict, match="pull test1 is already in progress"):
        pools.add("push", "test1")
    with pytest.raises(Conflict, match="pull test1 is already in progress"):
        pools.add("pull", "test1")
    pools.add("push", "test3")
    with pytest.raises(Conflict, match="push test3 is already in progress"):
        pools.add("pull", "test3")
    with pytest.raises(Invalid, match="Unknown pool type"):
        pools.add("wait", "test3")
    for kind, key in (("pull", "test2"), ("pull", "test2"), ("pull", "test1"), ("push", "test1"), ("push", "test3")):
        pools.remove(kind, key)
    with pytest.raises(Invalid, match="Unknown pool type"):
        pools.remove("wait", "test3")
    pools.add("push", "test1")


@pytest.mark.parametrize("works", [True, False])
def test_T14_a_second_pull_of_the_same_waits_and_ends_as_the_first(opener: Open, works: bool) -> None:
    images = made_chain(1)
    reached, go_on = threading.Event(), threading.Event()

    def slow(_: Seen) -> Answer:
        reached.set()
        assert go_on.wait(60)
        return Answer(200, images[0].layer) if works else Answer(404)

    with Version1(images) as registry:
        registry.index.instead(f"/v1/images/{images[0].id}/layer", slow)
        store, name = opener(registry), f"{registry.index.host}/library/app"
        engine = make_engine(store)
        first, second = (engine.job("pull", name, "latest") for _ in range(2))
        waits, errors = _Heard(b"Waiting."), {}

        def work(job: Job) -> None:
            try:
                job.run()
            except JobFailed as error:
                errors[job] = error.message

        second.stdout.add(waits)
        threads = [threading.Thread(target=work, args=(job,)) for job in (first, second)]
        threads[0].start()
        assert reached.wait(60)
        threads[1].start()
        assert waits.heard.wait(60)
        go_on.set()
        for thread in threads:
            thread.join(60)
    assert waits.getvalue() == f"Repository {name} already being pulled by another client. Waiting.\r\n".encode()
    if works:
        assert errors == {}
    else:
        assert set(errors) == {first, second}
        assert errors[first] == errors[second]


class _Heard(io.BytesIO):
    """A sink that tells when it got some words."""

    def __init__(self, words: bytes) -> None:
        super().__init__()
        self._words = words
        self.heard = threading.Event()

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        if self._words in self.getvalue():
            self.heard.set()
        return count
