"""T13: `import` of a root file system from stdin and from a URL."""

from __future__ import annotations

import json

import pytest

from orlop.engine.format import read_messages
from orlop.model.v1 import ImageId
from orlop.store import Store
from tests.support.images import compress, make_layer
from tests.support.lying import Answer, Lying

from .running import Ran, run

ROOT = make_layer({"etc/": None, "etc/motd": b"hello\n"})


def imported(store: Store, ran: Ran) -> ImageId:
    """The ID that the last line tells; its image is there."""
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.endswith(b"\r\n")
    id = ImageId(ran.lines[-1])
    assert store.graph.exists(id)
    return id


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_T13_a_tar_from_stdin_becomes_an_image(store: Store, compression: str) -> None:
    packed = compress(ROOT, compression)  # type: ignore[arg-type]
    ran = run(store, "import", "-", "app", "1", stdin=packed)
    id = imported(store, ran)
    assert ran.lines == [id]
    assert store.tags.get("app") == {"1": id}
    assert run(store, "image_tarlayer", id).out == ROOT
    told = json.loads(run(store, "image_inspect", id).out)
    assert (told["Comment"], told["Parent"], told["Os"]) == ("Imported from -", "", "linux")
    assert told["Architecture"] == store.settings.platform.architecture
    assert told["Created"].endswith("Z")


def test_T13_each_import_has_an_id_of_its_own_and_the_name_moves(store: Store) -> None:
    one, two = (imported(store, run(store, "import", "-", "app", stdin=ROOT)) for _ in range(2))
    assert one != two
    assert store.tags.get("app") == {"latest": two}


def test_T13_a_url_is_downloaded(store: Store) -> None:
    with Lying() as server:
        server.on("/root.tar", Answer(200, ROOT))
        for source in (f"http://{server.host}/root.tar", f"{server.host}/root.tar"):
            ran = run(store, "import", source, "app")
            id = imported(store, ran)
            assert ran.lines == [f"Downloading from http://{server.host}/root.tar", id]
            assert run(store, "image_tarlayer", id).out == ROOT
            inspected = json.loads(run(store, "image_inspect", id).out)
            assert inspected["Comment"] == f"Imported from http://{server.host}/root.tar"
        assert [request.header("authorization") for request in server.seen] == ["", ""]


def test_T13_lines_may_be_json(store: Store) -> None:
    with Lying() as server:
        server.on("/root.tar", Answer(200, ROOT))
        ran = run(store, "import", f"http://{server.host}/root.tar", "app", json="1")
        first, last = [message.fields for message in read_messages(ran.out)]
    assert first == {"status": f"Downloading from http://{server.host}/root.tar"}
    assert store.graph.exists(last["status"])


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/gone", Answer(404, b"no"), "not found"),
        ("/gone", Answer(410, b"no"), "410"),
        ("/denied", Answer(401, b"no"), "401"),
        ("/text", Answer(200, b"this is no tar " * 100), "layer"),
    ],
)
def test_T13_a_url_that_gives_no_tar_is_an_error(store: Store, path: str, answer: Answer, words: str) -> None:
    with Lying() as server:
        server.on(path, answer)
        ran = run(store, "import", f"http://{server.host}{path}", "app")
    assert ran.status == 1
    assert words in ran.error
    assert (store.graph.nodes(), store.tags.all(), store.df().blobs) == ({}, {}, 0)


@pytest.mark.parametrize(
    "source", ["ftp://host/x", "file:///etc/passwd", "http://", "http://user:secret@host/x", "a b"]
)
def test_T13_a_bad_url_is_refused(store: Store, source: str) -> None:
    ran = run(store, "import", source, "app")
    assert (ran.status, ran.out) == (1, b"")
    assert ran.error
    assert "secret" not in ran.error
    assert store.df().blobs == 0


@pytest.mark.parametrize(("repository", "tag"), [("", ""), ("app", "-bad"), ("UPPER case", "")])
def test_T13_a_bad_name_leaves_no_image(store: Store, repository: str, tag: str) -> None:
    ran = run(store, "import", "-", repository, tag, stdin=ROOT)
    assert (ran.status, ran.out) == (1, b"")
    assert (store.graph.nodes(), store.df().blobs) == ({}, 0)
