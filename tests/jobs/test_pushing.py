"""T16: `push`, in the words and the order of Docker's; `search` and `auth`."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine.format import read_messages
from orlop.jobs.handlers import make_engine
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.images import small_image, write_layout
from tests.support.lying import CANARY, Answer, Lying, Seen
from tests.support.serving import serve_store
from tests.support.stores import opened
from tests.support.v1images import A, B, C, add
from tests.support.version1_taking import Taking

from .running import run


@pytest.fixture
def registry() -> Iterator[Taking]:
    with Lying() as server:
        yield Taking(server)


@pytest.fixture
def store(registry: Taking, tmp_path: Path) -> Iterator[Store]:
    """A <- B, `HOST/library/app:1` and `:old`; C alone."""
    host = registry.server.host
    network = Network(insecure=frozenset({host}), home=tmp_path, timeout=10.0, retries=0)
    with Store.open(settings=Settings(store=tmp_path / "store", network=network)) as made:
        add(made, A, files={"a": b"1"})
        add(made, B, A, {"b": b"2"})
        add(made, C, files={"c": b"3"})
        made.tags.set(f"{host}/library/app", "1", B, force=False)
        made.tags.set(f"{host}/library/app", "old", A, force=False)
        yield made


def told(out: bytes) -> list[str]:
    """Lines, an ID before each that has one; without how far it is."""
    lines = []
    for message in read_messages(out):
        if not message.text("progress"):
            lines.append(f"{message.text('id')} {message.text('status')}".strip())
    return lines


def test_T16_a_push_is_told_in_docker_s_words(store: Store, registry: Taking) -> None:
    host = registry.server.host
    name, a, b = f"{host}/library/app", A[:12], B[:12]
    ran = run(store, "push", name, json="1")
    assert (ran.status, ran.err) == (0, "")
    place = f"http://{host}/v1/repositories/library/app/tags"
    assert told(ran.out) == [
        f"The push refers to a repository [{name}] (len: 2)",
        "Sending image list",
        f"Pushing repository {name} (2 tags)",
        f"{a} Pushing",
        f"{a} Image successfully pushed",
        f"{b} Pushing",
        f"{b} Image successfully pushed",
        f"Pushing tag for rev [{b}] on {{{place}/1}}",
        f"Pushing tag for rev [{a}] on {{{place}/old}}",
    ]
    assert registry.tags == {"1": B, "old": A}
    again = told(run(store, "push", name, json="1", tag="1").out)
    assert again == [
        f"The push refers to a repository [{name}] (len: 1)",
        "Sending image list",
        f"Pushing repository {name} (1 tags)",
        f"Image {a} already pushed, skipping",
        f"Image {b} already pushed, skipping",
        f"Pushing tag for rev [{b}] on {{{place}/1}}",
    ]


def test_T16_an_id_alone_is_pushed_without_a_list(store: Store, registry: Taking) -> None:
    host = registry.server.host
    ran = run(store, "push", f"{host}/{C[:10]}", json="1")
    assert (ran.status, ran.err) == (0, "")
    assert told(ran.out) == [
        f"The push refers to an image: [{host}/{C[:10]}]",
        f"{C[:12]} Pushing",
        f"{C[:12]} Image successfully pushed",
    ]
    assert (set(registry.images), registry.lists, registry.tags) == ({C}, [], {})


def test_T16_nothing_to_push_is_told(store: Store, registry: Taking) -> None:
    host = registry.server.host
    ran = run(store, "push", f"{host}/library/app", tag="nosuch")
    assert (ran.status, ran.error) == (1, "No images found for the requested repository / tag")
    ran = run(store, "push", f"{host}/library/nosuch")
    assert (ran.status, ran.error) == (1, "No such id: nosuch")
    assert registry.server.seen == []


def test_T16_an_image_of_version_2_goes_under_the_ids_that_its_layers_make(
    store: Store, registry: Taking, tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "new", {"1": small_image()})
    store.pull(f"oci:{layout}:1")
    name = f"{registry.server.host}/library/new"
    store.tag("localhost/new:1", f"{name}:1")
    ran = run(store, "push", name)
    assert (ran.status, ran.err) == (0, "")
    chain = store.graph.chain(store.tags.get(name)["1"])
    assert [*registry.images] == [node.image.id for node in chain]
    assert registry.tags == {"1": chain[-1].image.id}


def test_T14_a_second_push_of_the_same_is_refused(store: Store, registry: Taking) -> None:
    name = f"{registry.server.host}/library/app"
    reached, go_on = threading.Event(), threading.Event()

    def slow(request: Seen) -> Answer:
        reached.set()
        assert go_on.wait(60)
        return registry.answer(request)

    registry.instead("/v1/repositories/library/app/", slow)
    engine = make_engine(store)
    first, second = engine.job("push", name), engine.job("push", name)
    error = io.BytesIO()
    second.stderr.add(error)
    thread = threading.Thread(target=first.run)
    thread.start()
    try:
        assert reached.wait(60)
        with pytest.raises(Exception, match=f"push {name} is already in progress"):
            second.run()
    finally:
        go_on.set()
        thread.join(60)
    assert error.getvalue() == f"push {name} is already in progress\n".encode()
    assert first.status == 0
    assert run(store, "push", name).status == 0


def test_T16_a_push_to_our_own_registry_is_pulled_from_it(tmp_path: Path) -> None:
    with serve_store(tmp_path / "served", "--v1", "--writable") as server:
        host = server.address
        with opened(tmp_path / "one", insecure=[host]) as one, opened(tmp_path / "two", insecure=[host]) as two:
            add(one, A, files={"a": b"1"})
            add(one, B, A, {"b": b"2"}, odd=[1.50])
            one.tags.set(f"{host}/team/app", "1", B, force=False)
            assert run(one, "push", f"{host}/team/app").error == ""
            assert run(two, "pull", f"{host}/team/app").error == ""
            assert two.tags.all() == one.tags.all()
            for id in (A, B):
                assert run(two, "image_inspect", id, raw="1").out == one.graph.get(id).image.raw
                assert run(two, "image_tarlayer", id).out == run(one, "image_tarlayer", id).out


def test_T16_a_search_is_a_list(store: Store, registry: Taking) -> None:
    result = {"name": "team/app", "description": "an app", "star_count": 3, "is_official": False, "is_trusted": True}
    answer = {"query": "app", "num_results": 1, "results": [result]}
    registry.instead("/v1/search", Answer(200, json.dumps(answer).encode()))
    ran = run(store, "search", f"{registry.server.host}/app")
    assert (ran.status, ran.rows) == (0, [{**result, "is_automated": True}])


@pytest.mark.parametrize(
    ("status", "text"), [(200, "Login Succeeded"), (401, "Wrong login/password, please try again")]
)
def test_T16_auth_says_whether_the_password_is_right(store: Store, registry: Taking, status: int, text: str) -> None:
    def users(request: Seen) -> Answer:
        return Answer(401 if request.method == "POST" else status, b"{}")

    registry.server.on("/v1/users/", users)
    config = {"username": "me", "password": CANARY, "email": "", "serveraddress": f"http://{registry.server.host}/v1/"}
    ran = run(store, "auth", authConfig=json.dumps(config))
    assert text in (ran.out.decode() if status == 200 else ran.error)
    assert ran.status == (status != 200)
    assert CANARY not in ran.err
