"""What was fetched is kept through everything that a server may say next, and thrown away only for its own faults."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orlop.blobs.partial import Partials
from orlop.disk.disk import Disk
from orlop.disk.locks import Locks
from orlop.errors import Error, Mismatch, Unavailable
from orlop.job import Event, Job
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.lying import Answer, Handler, Lying, Seen, blob, cut_after, redirect
from tests.support.stores import opened, parts
from tests.support.throttled import throttled

_PORTAL = Answer(200, b"<html>log in</html>", (("Content-Type", "text/html"),))


@pytest.fixture(scope="module")
def image() -> MadeImage:
    return make_image([make_layer({"file": os.urandom(3 << 20)})])


def _serve(server: Lying, image: MadeImage, layer: Answer | Handler) -> str:
    """The path of the layer, which is answered with `layer`; all else is served well."""
    told = (("Content-Type", image.document.media_type),)
    server.on("/v2/app/manifests/1", Answer(200, image.document.raw, told))
    for digest, content in image.blobs.items():
        server.on(f"/v2/app/blobs/{digest}", blob(content))
    path = f"/v2/app/blobs/{image.document.layers[0].digest}"
    server.on(path, layer)
    return path


@pytest.mark.parametrize(
    "answer",
    [
        _PORTAL,
        Answer(400),
        Answer(403),
        Answer(404),
        Answer(418),
        Answer(500),
        Answer(raw=b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
        redirect("http://169.254.169.254/latest"),
        Answer(200, b"x" * 1000),
        Answer(206, b"x" * 1000, (("Content-Range", "bytes 2097152-2098151/99999999"),)),
    ],
    ids=["portal", "400", "403", "404", "418", "500", "header", "ssh", "redirect", "length", "total"],
)
def test_NF12_what_was_kept_survives_answers_that_say_nothing_about_it(
    tmp_path: Path, image: MadeImage, answer: Answer
) -> None:
    layer = image.document.layers[0]
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        path = _serve(server, image, cut_after(blob(image.blobs[layer.digest]), 2 << 20))
        with pytest.raises(Unavailable):
            store.pull(f"docker://{server.host}/app:1", job=Job(retries=0))
        kept = Partials(Disk(tmp_path / "store")).kept(layer.digest)
        assert kept > 1 << 20
        server.on(path, answer)
        with pytest.raises(Error):
            store.pull(f"docker://{server.host}/app:1", job=Job(retries=0))
        assert Partials(Disk(tmp_path / "store")).kept(layer.digest) == kept
        server.on(path, blob(image.blobs[layer.digest]))
        assert store.pull(f"docker://{server.host}/app:1").digest == image.digest
        assert server.asked(path)[-1].header("range") == f"bytes={kept}-{layer.size - 1}"
        assert store.fsck().findings == ()


def test_NF02_bytes_that_turn_out_wrong_are_fetched_once_more_from_the_start(tmp_path: Path, image: MadeImage) -> None:
    layer = image.document.layers[0]
    content = image.blobs[layer.digest]
    answers = [blob(content[:-1] + bytes([content[-1] ^ 1])), blob(content)]

    def turn(request: Seen) -> Answer:
        return (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        path = _serve(server, image, turn)
        events: list[Event] = []
        assert store.pull(f"docker://{server.host}/app:1", job=Job(progress=events.append)).digest == image.digest
        assert [request.header("range") for request in server.asked(path)] == ["", ""]
        assert [event.subject for event in events if event.kind == "retry"] == [layer.digest]
        assert store.fsck().findings == ()


def test_RX08_a_dripping_server_does_not_grow_the_table_of_what_is_kept(tmp_path: Path) -> None:
    content = os.urandom(4000)
    with parts(tmp_path / "store") as (disk, _, _session):
        digest = make_image([content], compression="none").document.layers[0].digest
        with Partials(disk).open(digest, len(content)) as partial:
            for at in range(2000):
                partial.write(at, content[at : at + 1])
                partial.write(at + 2000, content[at + 2000 : at + 2001])
        assert disk.size(f"partial/sha256-{digest.encoded}/extents") == 2 * 16
        assert Partials(disk).kept(digest) == 4000


def test_a_table_that_says_more_than_it_can_says_nothing(tmp_path: Path, image: MadeImage) -> None:
    layer = image.document.layers[0]
    with throttled({"1": image}) as registry, opened(tmp_path / "store", insecure=[registry.host]) as store:
        place = tmp_path / f"store/partial/sha256-{layer.digest.encoded}"
        place.mkdir(mode=0o700)
        (place / "extents").write_bytes(bytes(range(16)) * (1 << 17))
        assert store.df().partial_bytes > 0
        assert store.pull(f"docker://{registry.host}/app:1").digest == image.digest
        assert store.df().partial_bytes == 0


class _Watched(Disk):
    """Notes the order in which the data and the table of a partial are written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.order: list[int] = []

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        self.order.append(len(data))
        super().write(descriptor, data, offset)


def test_bytes_are_written_before_the_table_says_so(tmp_path: Path) -> None:
    with parts(tmp_path / "store"):
        disk = _Watched(tmp_path / "store")
        content = bytes(5000)
        digest = make_image([content], compression="none").document.layers[0].digest
        with Partials(disk).open(digest, len(content)) as partial:
            partial.write(0, content[:1000])
            partial.write(1000, content[1000:])
        assert disk.order == [1000, 16, 4000, 16]


def test_ST08_who_waited_for_a_blob_does_nothing_with_it(tmp_path: Path, image: MadeImage) -> None:
    layer, derived, aside = image.document.layers[0], tmp_path / "store/derived", tmp_path / "aside"
    events: list[Event] = []
    waits = threading.Event()

    def watch(event: Event) -> None:
        events.append(event)
        if event.kind == "wait":
            waits.set()

    with throttled({"1": image}) as registry, opened(tmp_path / "store", insecure=[registry.host]) as store:
        store.pull(f"docker://{registry.host}/app:1")
        derived.rename(aside)
        derived.mkdir()
        pull = threading.Thread(
            target=store.pull, args=(f"docker://{registry.host}/app:1",), kwargs={"job": Job(progress=watch)}
        )
        with Locks(Disk(tmp_path / "store")).digest(layer.digest, Job()):
            pull.start()
            assert waits.wait(60)
            # the other one, which holds the lock, is done
            derived.rmdir()
            aside.rename(derived)
        pull.join()
    assert [event.kind for event in events if event.subject == layer.digest] == ["wait", "exists"]


def test_a_body_that_is_too_long_does_not_spoil_what_it_began_with(tmp_path: Path, image: MadeImage) -> None:
    layer = image.document.layers[0]
    with Lying() as server, opened(tmp_path / "store", insecure=[server.host]) as store:
        _serve(server, image, Answer(200, image.blobs[layer.digest] + b"more"))
        with pytest.raises(Mismatch):
            store.pull(f"docker://{server.host}/app:1", job=Job(retries=0))
        assert store.images() == []
