"""Pushes to Debian's docker-registry, in the ways that it can be set up, and what others find there."""

from __future__ import annotations

import random
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.errors import Cancelled, Denied, NotFound, Unsupported, Usage
from orlop.http.client import Client
from orlop.job import Event, Job
from orlop.model.document import Document
from orlop.registry.v2 import Registry
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.chaos import NONE, Chaos, Trouble
from tests.support.images import MadeImage, make_image, make_index, make_layer, small_image, write_layout
from tests.support.lying import CANARY, Answer, Lying
from tests.support.receiving import Receiving
from tests.support.registries import USER, Authority, TokenServer, docker_config, docker_registry, htpasswd
from tests.support.stores import opened

LARGE = make_image([make_layer({"large": random.Random(4).randbytes(24 << 20)}), make_layer({"small": b"x"})])
INDEX = make_index({"linux/amd64": small_image(), "linux/arm64/v8": small_image("zstd", word="arm")})


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `small:1`, `large:1` and `many:1`, the index."""
    folder = tmp_path_factory.mktemp("shelf")
    write_layout(folder / "layout", {"small": small_image(), "large": LARGE, "many": INDEX})
    with opened(folder / "store") as store:
        for name in ("small", "large", "many"):
            store.pull(f"oci:{folder}/layout:{name}", platform="all")
            store.tag(f"localhost/layout:{name}", f"{name}:1")
    return folder / "store"


def there(host: str, reference: str, image: MadeImage, network: Network | None = None) -> Document:
    """What is at a tag, after every byte of it was compared with the image."""
    repository, _, tag = reference.rpartition(":")
    with Client(network or Network(insecure=frozenset({host}))) as client:
        registry = Registry(host, repository, client)
        document = registry.document(tag)
        assert document.raw == image.document.raw
        for child in image.documents:
            assert registry.document(child.digest).raw == child.raw
        for manifest in (document, *image.documents):
            for wanted in manifest.successors if not manifest.is_index else ():
                with registry.open(wanted, job=Job()) as body:
                    assert b"".join(iter(lambda body=body: body.read(1 << 20), b"")) == image.blobs[wanted.digest]  # type: ignore[misc]
    return document


@contextmanager
def store_for(shelf: Path, network: Network) -> Iterator[Store]:
    with Store.open(settings=Settings(store=shelf, network=network)) as store:
        yield store


@pytest.mark.peer
@pytest.mark.parametrize("name", ["small", "large", "many"])
def test_what_was_pushed_is_there(shelf: Path, tmp_path: Path, name: str) -> None:
    image = {"small": small_image(), "large": LARGE, "many": INDEX}[name]
    with docker_registry(tmp_path, tmp_path / "registry") as host, opened(shelf, insecure=[host]) as store:
        pushed = store.push(f"{name}:1", f"{host}/team/app:2")
        assert pushed.digest == there(host, "team/app:2", image).digest
        assert (pushed.sent, pushed.present) == (sum(map(len, image.blobs.values())), 0)


@pytest.mark.peer
def test_pushed_twice_no_blob_is_sent_twice(shelf: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tmp_path / "registry") as host:
        with Chaos(host, lambda number: NONE) as proxy, opened(shelf, insecure=[proxy.host]) as store:
            first = store.push("many:1", f"{proxy.host}/app:1")
            events: list[Event] = []
            again = store.push("many:1", f"{proxy.host}/app:1", job=Job(progress=events.append))
    assert (again.sent, again.present) == (0, first.sent)
    assert [event.count for event in events if event.kind == "plan"] == [0]
    assert len([event for event in events if event.kind == "exists"]) == len(INDEX.blobs)


@pytest.mark.peer
def test_by_default_it_goes_where_its_name_says(shelf: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tmp_path / "registry") as host, opened(shelf, insecure=[host]) as store:
        store.tag("small:1", f"{host}/own/name:7")
        assert store.push(f"{host}/own/name:7").name == f"docker://{host}/own/name:7"
        there(host, "own/name:7", small_image())
        with pytest.raises(Usage, match="has no name"):
            store.push(small_image().digest)


@pytest.mark.peer
def test_a_registry_with_basic_authentication(shelf: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tmp_path / "registry", auth=htpasswd(tmp_path)) as host:
        insecure = frozenset({host})
        with store_for(shelf, Network(insecure=insecure)) as store, pytest.raises(Denied, match="anonymous"):
            store.push("small:1", f"{host}/app:1")
        known = Network(insecure=insecure, username=USER, password=CANARY)
        with store_for(shelf, known) as store:
            store.push("large:1", f"{host}/app:1")
        there(host, "app:1", LARGE, Network(insecure=insecure, authfile=docker_config(tmp_path, host)))


@pytest.mark.peer
def test_a_registry_with_tokens(shelf: Path, tmp_path: Path) -> None:
    with (
        TokenServer(tmp_path) as tokens,
        docker_registry(tmp_path, tmp_path / "registry", auth=tokens.auth) as host,
    ):
        network = Network(insecure=frozenset({host}), authfile=docker_config(tmp_path, host))
        with store_for(shelf, network) as store:
            store.push("many:1", f"{host}/app:1")
            assert len(tokens.server.seen) == 1
            assert "repository:app:pull,push" in tokens.server.seen[0].target
        there(host, "app:1", INDEX, network)


@pytest.mark.peer
def test_a_registry_with_tls(shelf: Path, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("127.0.0.1")
    with docker_registry(tmp_path, tmp_path / "registry", tls=files) as host:
        network = Network(ca_file=files.authority)
        with store_for(shelf, network) as store:
            store.push("large:1", f"{host}/app:1")
        there(host, "app:1", LARGE, network)


@pytest.mark.peer
@pytest.mark.root
def test_skopeo_and_podman_pull_what_was_pushed(shelf: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tmp_path / "registry") as host, opened(shelf, insecure=[host]) as store:
        store.push("many:1", f"{host}/app:1")
        copy = ["/usr/bin/skopeo", "copy", "-q", "--all", "--src-tls-verify=false"]
        subprocess.run([*copy, f"docker://{host}/app:1", f"oci:{tmp_path}/out:x"], check=True)
        store.pull(f"oci:{tmp_path}/out:x", platform="all")
        assert store.digest("localhost/out:x") == INDEX.digest
        # podman takes no run root of more than 50 characters
        with tempfile.TemporaryDirectory(prefix="run", dir="/tmp") as run:
            podman = ["/usr/bin/podman", "--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
            subprocess.run([*podman, "pull", "-q", "--tls-verify=false", f"{host}/app:1"], check=True)
            mount = subprocess.run([*podman, "image", "mount", f"{host}/app:1"], check=True, capture_output=True)
            assert (Path(mount.stdout.decode().strip()) / "etc/motd").read_bytes() == b"changed\n"
            subprocess.run([*podman, "image", "umount", f"{host}/app:1"], check=True)


@pytest.mark.peer
def test_an_image_from_a_neighbour_needs_no_bytes(shelf: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tmp_path / "registry") as host:
        with opened(shelf, insecure=[host]) as store:
            store.push("large:1", f"{host}/app:1")
        with opened(tmp_path / "store", insecure=[host]) as store:
            store.pull(f"{host}/app:1", download_only=True)
            pushed = store.push(f"{host}/app:1", f"{host}/other/place:1")
            assert (pushed.sent, pushed.present) == (0, sum(map(len, LARGE.blobs.values())))
        there(host, "other/place:1", LARGE)


def test_an_image_that_has_an_id_alone_needs_a_destination(shelf: Path, server: Lying) -> None:
    registry = Receiving(server)
    with opened(shelf, insecure=[server.host]) as store:
        identity = store.graph.adopt(store.image("small:1"), job=Job())
        for name in (identity, f"v1.invalid/graph:{identity}"):
            with pytest.raises(Usage, match="has no name"):
                store.push(name)
        store.push(identity, f"{server.host}/app:1")
    assert small_image().document.layers[0].digest in registry.blobs


def test_an_index_that_is_not_all_here_is_refused(tmp_path: Path, server: Lying) -> None:
    registry = Receiving(server)
    layout = write_layout(tmp_path / "layout", {"many": INDEX})
    with opened(tmp_path / "store", insecure=[server.host]) as store:
        events: list[Event] = []
        name = store.pull(f"oci:{layout}:many", platform="linux/amd64").name
        with pytest.raises(NotFound, match=r"it lacks linux/arm64/v8") as failure:
            store.push(name, f"{server.host}/app:1", job=Job(progress=events.append))
        assert "--platform" in failure.value.hint
        assert (events, server.seen) == ([], [])
        with pytest.raises(NotFound, match=r"linux/arm64"):
            store.push(name, f"{server.host}/app:1", platform="linux/arm64")
        pushed = store.push(name, f"{server.host}/app:1", platform="linux/amd64")
    assert registry.tags["app:1"] == small_image().document
    assert pushed.manifests == (pushed.digest,) == (small_image().digest,)
    assert len(registry.documents) == 1


def test_children_are_there_before_the_index_and_the_tag_comes_last(shelf: Path, server: Lying) -> None:
    Receiving(server)  # refuses a document before what it needs
    with opened(shelf, insecure=[server.host]) as store:
        store.push("many:1", f"{server.host}/app:1")
    paths = [request.path for request in server.seen if request.method == "PUT"]
    assert paths[-1] == "/v2/app/manifests/1"
    assert {path.rpartition("/")[2] for path in paths[-3:-1]} == {child.digest for child in INDEX.documents}


def test_bytes_of_documents_are_never_made_anew(tmp_path: Path, server: Lying) -> None:
    registry = Receiving(server)
    odd = Document(small_image().document.raw.replace(b",", b" ,\n "), small_image().document.media_type)
    image = MadeImage(odd, small_image().blobs)
    layout = write_layout(tmp_path / "layout", {"odd": image})
    with opened(tmp_path / "store", insecure=[server.host]) as store:
        store.push(store.pull(f"oci:{layout}:odd").name, f"{server.host}/app:1")
    assert registry.tags["app:1"].raw == odd.raw


def test_GC04_a_registry_that_forgot_what_it_said_to_have_gets_it_again(shelf: Path, server: Lying) -> None:
    registry = Receiving(server)
    for digest, content in small_image().blobs.items():  # HEAD says yes, while it is not there
        server.on(f"/v2/app/blobs/{digest}", Answer(200, content))
    with opened(shelf, insecure=[server.host]) as store:
        events: list[Event] = []
        pushed = store.push("small:1", f"{server.host}/app:1", job=Job(progress=events.append))
    assert registry.tags["app:1"].digest == pushed.digest
    assert any("sending all of it" in event.text for event in events)


def test_a_digest_as_destination_must_be_the_images(shelf: Path, server: Lying) -> None:
    registry = Receiving(server)
    with opened(shelf, insecure=[server.host]) as store:
        with pytest.raises(Usage, match="name of another image"):
            store.push("small:1", f"{server.host}/app@{INDEX.digest}")
        store.push("small:1", f"{server.host}/app@{small_image().digest}")
    assert (list(registry.documents), registry.tags) == ([small_image().digest], {})


@pytest.mark.parametrize("destination", ["oci:/x", "store:x:1", "docker-archive:/x"])
def test_a_destination_that_is_no_registry_is_refused(shelf: Path, destination: str) -> None:
    with opened(shelf) as store, pytest.raises((Unsupported, Usage)):
        store.push("small:1", destination)


@pytest.mark.peer
def test_NF07_a_push_through_a_bad_network_arrives(shelf: Path, tmp_path: Path) -> None:
    chance = random.Random(7)

    def plan(number: int) -> Trouble:
        if number % 2:
            return NONE
        heard, kind = (
            chance.random() < 0.5,
            chance.choice(["cut", "reset", "flip"] if number > 30 else ["cut", "reset"]),
        )
        return Trouble(kind, chance.randrange(24 << 20 if heard else 600), heard=heard)  # type: ignore[arg-type]

    with docker_registry(tmp_path, tmp_path / "registry") as host, Chaos(host, plan) as proxy:
        network = Network(insecure=frozenset({proxy.host}), timeout=10.0)
        with store_for(shelf, network) as store:
            for round_ in range(3):
                store.push("large:1", f"{proxy.host}/app:{round_}", job=Job(retries=20))
                store.push("many:1", f"{proxy.host}/many:{round_}", job=Job(retries=20))
        assert proxy.troubles
        there(host, "app:2", LARGE)
        there(host, "many:2", INDEX)


@pytest.mark.peer
def test_a_push_that_is_stopped_can_be_done_again(shelf: Path, tmp_path: Path) -> None:
    job, begun = Job(), threading.Event()

    def stop(event: Event) -> None:
        if event.kind == "progress" and event.total > 1 << 20:
            begun.set()
            job.stop()

    with docker_registry(tmp_path, tmp_path / "registry") as host, opened(shelf, insecure=[host]) as store:
        with pytest.raises(Cancelled):
            store.push("large:1", f"{host}/app:1", job=Job(progress=stop, _parent=job))
        assert begun.is_set()
        with Client(Network(insecure=frozenset({host}))) as client, pytest.raises(NotFound):
            Registry(host, "app", client).document("1")
        store.push("large:1", f"{host}/app:1")
        there(host, "app:1", LARGE)


def test_nothing_is_collected_while_it_is_pushed(tmp_path: Path, server: Lying) -> None:
    registry = Receiving(server)
    layout = write_layout(tmp_path / "layout", {"1": small_image()})
    with opened(tmp_path / "store", insecure=[server.host]) as store, opened(tmp_path / "store") as other:
        name = store.pull(f"oci:{layout}:1").name

        def collect(event: Event) -> None:
            if event.kind == "plan":
                other.untag(name)
                other.gc(job=Job())

        store.push(name, f"{server.host}/app:1", job=Job(progress=collect))
        assert registry.tags["app:1"].digest == small_image().digest
        other.gc(job=Job())
        with pytest.raises(NotFound):
            store.blob(small_image().digest)


def test_a_blob_that_rotted_in_the_store_goes_nowhere(tmp_path: Path, server: Lying) -> None:
    registry = Receiving(server)
    layout = write_layout(tmp_path / "layout", {"1": small_image()})
    with opened(tmp_path / "store", insecure=[server.host]) as store:
        name = store.pull(f"oci:{layout}:1").name
        wanted = small_image().document.layers[0]
        path, size = store.blob(wanted.digest)
        path.chmod(0o644)
        path.write_bytes(b"x" * size)
        with pytest.raises(Exception, match="the store: its bytes have digest"):
            store.push(name, f"{server.host}/app:1")
    assert (wanted.digest in registry.blobs, registry.tags) == (False, {})


@pytest.fixture
def server() -> Iterator[Lying]:
    with Lying() as made:
        yield made
