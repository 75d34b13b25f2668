"""Copies from anywhere to anywhere: through the store only where it must be."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.errors import Denied, Mismatch, NotFound, Unsupported, Usage
from orlop.job import Event, Job
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.chaos import NONE, Chaos, Trouble
from tests.support.images import (
    make_image,
    make_index,
    make_layer,
    small_image,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from tests.support.lying import CANARY, Answer, Lying, Seen, blob, challenge, serve_image
from tests.support.receiving import Receiving
from tests.support.registries import TokenServer, docker_config, docker_registry
from tests.support.stores import files_below, opened

ARM = make_image([make_layer({"arm": b"v8"})], platform="linux/arm64/v8")
INDEX = make_index({"linux/amd64": small_image(), "linux/arm64/v8": ARM})


@pytest.fixture
def source() -> Iterator[Lying]:
    """A registry with the index `app:1`."""
    with Lying() as made:
        serve_image(made, INDEX)
        yield made


@pytest.fixture
def server() -> Iterator[Lying]:
    with Lying() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path, source: Lying, server: Lying) -> Iterator[Store]:
    with opened(tmp_path / "store", insecure=[source.host, server.host]) as made:
        yield made


def test_from_registry_to_registry_nothing_is_kept(store: Store, source: Lying, server: Lying) -> None:
    registry = Receiving(server)
    before = files_below(store.settings.store)
    copied = store.copy(f"docker://{source.host}/app:1", f"docker://{server.host}/mine:2", platform="all")
    assert registry.tags["mine:2"].raw == INDEX.document.raw
    assert registry.blobs == {str(digest): content for digest, content in INDEX.blobs.items()}
    assert (copied.digest, copied.sent) == (INDEX.digest, sum(map(len, INDEX.blobs.values())))
    assert files_below(store.settings.store).keys() - {"catalog.db"} <= before.keys()


@pytest.mark.parametrize("platform", [None, "linux/amd64", "linux/arm64"])
def test_one_platform_is_copied_without_the_index(
    store: Store, source: Lying, server: Lying, platform: str | None
) -> None:
    registry = Receiving(server)
    wanted = platform or str(store.settings.platform)
    image = ARM if wanted.startswith("linux/arm64") else small_image()
    copied = store.copy(f"{source.host}/app:1", f"{server.host}/mine:2", platform=platform)
    assert registry.tags["mine:2"].raw == image.document.raw
    assert copied.manifests == (image.digest,)
    assert registry.blobs == {str(digest): content for digest, content in image.blobs.items()}


def test_a_platform_that_is_not_there_is_refused(store: Store, source: Lying, server: Lying) -> None:
    registry = Receiving(server)
    with pytest.raises(NotFound, match="linux/s390x"):
        store.copy(f"{source.host}/app:1", f"{server.host}/mine:2", platform="linux/s390x")
    with pytest.raises(NotFound, match="linux/s390x"):
        store.copy(f"{source.host}/app@{ARM.digest}", f"{server.host}/mine:2", platform="linux/s390x")
    assert (server.seen, registry.tags) == ([], {})


def test_an_index_that_the_source_has_not_all_of_is_refused(store: Store, source: Lying, server: Lying) -> None:
    registry = Receiving(server)
    source.on(f"/v2/app/manifests/{ARM.digest}", Answer(404))
    with pytest.raises(NotFound, match="it lacks linux/arm64/v8"):
        store.copy(f"{source.host}/app:1", f"{server.host}/mine:2", platform="all")
    assert registry.tags == {}


def test_files_are_copied_to_a_registry(store: Store, tmp_path: Path, server: Lying) -> None:
    registry = Receiving(server)
    image = small_image("none", docker=True)
    layout = write_layout(tmp_path / "layout", {"one": image})
    archive = write_oci_archive(tmp_path / "image.tar", {"one": image})
    saved = write_docker_archive(tmp_path / "saved.tar", {"host.example/app:1": image})
    for number, place in enumerate((f"oci:{layout}:one", f"oci-archive:{archive}", f"docker-archive:{saved}")):
        copied = store.copy(place, f"{server.host}/app:{number}")
        assert registry.tags[f"app:{number}"].digest == copied.digest
        assert image.document.layers[0].digest in registry.blobs


def test_to_and_from_the_store(store: Store, source: Lying, server: Lying) -> None:
    registry = Receiving(server)
    kept = store.copy(f"{source.host}/app:1", "store:here:1", platform="all")
    assert (kept.name, kept.digest) == ("docker.io/library/here:1", INDEX.digest)
    store.copy("store:here:1", "store:there:2")
    assert store.digest("there:2") == INDEX.digest
    store.copy("store:there:2", f"docker://{server.host}/out:1", platform="all")
    store.copy(f"store:{INDEX.digest.encoded[:12]}", f"docker://{server.host}/out:arm", platform="linux/arm64")
    assert registry.tags["out:1"].raw == INDEX.document.raw
    assert registry.tags["out:arm"].raw == ARM.document.raw
    with pytest.raises(Usage, match="expected a name with a tag"):
        store.copy(f"{source.host}/app:1", f"store:here@{INDEX.digest}")


def test_CR12_a_source_that_lies_brings_nothing_to_an_end(store: Store, source: Lying, server: Lying) -> None:
    registry = Receiving(server)
    wanted = small_image().document.layers[0]
    source.on(f"/v2/app/blobs/{wanted.digest}", blob(b"x" * wanted.size))
    with pytest.raises(Mismatch, match=f"blob {wanted.digest} from docker://{source.host}/app"):
        store.copy(f"{source.host}/app:1", f"{server.host}/mine:2", platform="linux/amd64")
    assert wanted.digest not in registry.blobs
    # not even to a registry that would have taken it
    assert wanted.digest not in {request.target.rpartition("digest=")[2] for request in server.seen}
    assert registry.tags == {}


def test_NF07_a_source_that_breaks_off_is_gone_on_with(
    store: Store, source: Lying, server: Lying, tmp_path: Path
) -> None:
    registry = Receiving(server)
    with Chaos(source.host, lambda number: Trouble("cut", 250 + 150 * number) if number < 9 else NONE) as proxy:
        with opened(tmp_path / "other", insecure=[proxy.host, server.host]) as other:
            other.copy(f"{proxy.host}/app:1", f"{server.host}/mine:2", platform="all", job=Job(retries=9))
        assert proxy.troubles
    assert registry.tags["mine:2"].raw == INDEX.document.raw


def test_NF03_a_source_without_ranges_serves_a_target_that_wants_parts(
    store: Store, source: Lying, server: Lying
) -> None:
    registry = Receiving(server)
    registry.least = 1
    image = make_image([make_layer({"large": random.Random(3).randbytes(20 << 20)})], compression="none")
    for path, content in serve_image(source, image, "large").items():
        source.on(path, blob(content, ranges=False))
    store.copy(f"{source.host}/app:large", f"{server.host}/mine:1")
    assert registry.blobs == {str(digest): content for digest, content in image.blobs.items()}
    assert [request.method for request in server.seen].count("PATCH") == 3


@pytest.mark.peer
def test_between_two_registries_with_credentials_of_their_own(tmp_path: Path, source: Lying) -> None:
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, tmp_path / "a", auth=tokens.auth) as host:
        network = Network(insecure=frozenset({host, source.host}), authfile=docker_config(tmp_path, host))
        with Store.open(settings=Settings(store=tmp_path / "store", network=network)) as store:
            store.copy(f"{source.host}/app:1", f"{host}/in:1", platform="all")
            events: list[Event] = []
            again = store.copy(f"{host}/in:1", f"{host}/out:1", platform="all", job=Job(progress=events.append))
            assert again.sent == 0
            assert store.remote_document(f"{host}/out:1").raw == INDEX.document.raw
        assert source.secrets() == []
        assert CANARY not in repr(events)


def test_CR06_credentials_for_one_registry_are_not_for_two(tmp_path: Path, source: Lying, server: Lying) -> None:
    network = Network(insecure=frozenset({source.host, server.host}), username="user", password=CANARY)
    with Store.open(settings=Settings(store=tmp_path / "store", network=network)) as store:
        with pytest.raises(Usage, match="are for one registry"):
            store.copy(f"{source.host}/app:1", f"{server.host}/mine:2")
    assert (source.seen, server.seen) == ([], [])


def test_CR06_what_the_target_asks_for_does_not_reach_the_source(
    store: Store, tmp_path: Path, source: Lying, server: Lying
) -> None:
    registry = Receiving(server)

    def ask(request: Seen) -> Answer:
        return registry.answer(request) if request.header("authorization") else challenge('Basic realm="x"')

    server.otherwise = ask
    network = dataclasses.replace(store.settings.network, authfile=docker_config(tmp_path, server.host))
    with Store.open(settings=Settings(store=tmp_path / "other", network=network)) as other:
        other.copy(f"{source.host}/app:1", f"{server.host}/mine:2", platform="linux/amd64")
    assert server.secrets() != []
    assert source.secrets() == []


def test_places_that_cannot_be_written_to_are_named(store: Store, source: Lying) -> None:
    with pytest.raises(Unsupported, match="oci:/x: nothing can be copied there yet"):
        store.copy(f"{source.host}/app:1", "oci:/x")


def test_who_may_not_push_is_told(store: Store, source: Lying, server: Lying) -> None:
    server.otherwise = challenge('Basic realm="x"')
    with pytest.raises(Denied, match="anonymous client"):
        store.copy(f"{source.host}/app:1", f"{server.host}/mine:2")
