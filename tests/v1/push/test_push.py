"""Images of the graph go to registries of version 1, in the order of Docker's client."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from orlop.errors import Conflict, Denied, Error, Invalid, NotFound, Unavailable, Unsafe
from orlop.job import Job
from orlop.model.v1 import ImageId, V1Image
from orlop.registry.v1.session import V1Session
from orlop.registry.v1.uploads import V1Uploads
from orlop.settings import Network
from orlop.store import Store
from orlop.v1.fetch import RepositoryFetcher
from orlop.v1.push import PushWatch, V1Pushed, push
from tests.support.images import compress, make_layer
from tests.support.lying import Answer, Lying, Seen
from tests.support.serving import serve_store
from tests.support.stores import opened
from tests.support.version1 import Made, fast_client, made, made_chain
from tests.support.version1_taking import TOKEN, Taking

Push = Callable[..., V1Pushed]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "store") as made_store:
        yield made_store


@pytest.fixture
def registry() -> Iterator[Taking]:
    with Lying() as server:
        yield Taking(server)


@pytest.fixture
def send(store: Store) -> Iterator[Push]:
    """Push images to a host, which may name `allowed` endpoints."""
    with ExitStack() as stack:

        def run(
            host: str, images: Sequence[Made], tags: dict[str, str], *allowed: str, watch: PushWatch | None = None
        ) -> V1Pushed:
            for image in images:
                if not store.graph.exists(image.id):
                    store.graph.register(V1Image.read(image.raw), io.BytesIO(image.layer), job=Job())
            network = Network(insecure=frozenset({host, *allowed}), timeout=10.0, retries=0)
            client = stack.enter_context(fast_client(network))
            uploads = V1Uploads(V1Session(host, client, allowed=allowed))
            wanted = {tag: ImageId(identity) for tag, identity in tags.items()}
            return push(uploads, store.graph, "app", wanted, watch=watch, job=Job(retries=0))

        yield run


def test_T16_a_push_is_a_list_then_images_base_first_then_tags_then_the_list(registry: Taking, send: Push) -> None:
    images = made_chain(2)
    pushed = send(registry.server.host, images, {"latest": images[1].id, "base": images[0].id})
    steps = [
        f"{method}/{part}" for method, part in (("GET", "json"), *(("PUT", p) for p in ("json", "layer", "checksum")))
    ]
    expected = ["PUT /v1/repositories/library/app/"]
    for image in images:
        expected += [step.replace("/", f" /v1/images/{image.id[:6]}/", 1) for step in steps]
    expected += [f"PUT /v1/repositories/library/app/tags/{tag}" for tag in ("latest", "base")]
    assert registry.asked() == [*expected, "PUT /v1/repositories/library/app/images"]
    assert registry.lists[0][1] == [{"id": images[0].id, "Tag": "base"}, {"id": images[1].id, "Tag": "latest"}]
    assert registry.tags == {"latest": images[1].id, "base": images[0].id}
    for image in images:
        held = registry.images[image.id]
        assert (held.raw, held.layer) == (image.raw, image.layer)
        assert held.checksums["x-docker-checksum"].startswith("tarsum+sha256:")
    assert pushed == V1Pushed(sum(len(image.layer) for image in images), 0, tuple(ImageId(i.id) for i in images), ())


def test_T16_the_last_list_has_the_checksums(registry: Taking, send: Push) -> None:
    image = made("image")
    send(registry.server.host, [image], {"latest": image.id})
    tarsum = registry.images[image.id].checksums["x-docker-checksum"]
    assert registry.lists[-1] == ("/v1/repositories/library/app/images", [{"id": image.id, "checksum": tarsum}])


def test_T16_what_is_there_is_skipped(registry: Taking, send: Push) -> None:
    images = made_chain(3)
    host = registry.server.host
    send(host, images[:2], {"old": images[1].id})
    registry.server.seen.clear()
    pushed = send(host, images, {"new": images[2].id})
    assert pushed.present == tuple(ImageId(image.id) for image in images[:2])
    assert pushed.pushed == (images[2].id,)
    assert [text for text in registry.asked() if text.startswith("PUT /v1/images")] == [
        f"PUT /v1/images/{images[2].id[:6]}/{part}" for part in ("json", "layer", "checksum")
    ]


def test_T16_two_tags_of_one_image_are_one_image_and_two_tags(registry: Taking, send: Push) -> None:
    image = made("image")
    send(registry.server.host, [image], {"one": image.id, "two": image.id})
    assert registry.lists[0][1] == [{"id": image.id, "Tag": "one"}, {"id": image.id, "Tag": "two"}]
    assert len(registry.server.asked(f"/v1/images/{image.id}/layer")) == 1
    assert registry.tags == {"one": image.id, "two": image.id}


def test_T16_every_endpoint_gets_the_images_and_only_the_index_the_lists(send: Push) -> None:
    images = made_chain(2)
    with Lying() as home, Lying() as first, Lying() as second:
        index, targets = Taking(home), (Taking(first), Taking(second))
        index.hosts = (f"{first.host}, {second.host}",)
        send(home.host, images, {"latest": images[1].id}, first.host, second.host)
        assert [len(target.images) for target in targets] == [2, 2]
        assert [target.lists for target in targets] == [[], []]
        assert index.images == {}
        final = home.seen[-1]
        assert [value for name, value in final.headers if name == "x-docker-endpoints"] == [first.host, second.host]
        assert {seen.header("authorization") for seen in first.seen} == {f"Token {TOKEN}"}


@pytest.mark.parametrize(
    ("hosts", "tokens", "text"),
    [
        (None, (), "Index response didn't contain an access token"),
        ((), (TOKEN,), "Index response didn't contain any endpoints"),
        ((" , ",), (TOKEN,), "Index response didn't contain any endpoints"),
    ],
)
def test_T16_an_index_without_token_or_endpoints_is_refused(
    registry: Taking, send: Push, hosts: tuple[str, ...] | None, tokens: tuple[str, ...], text: str
) -> None:
    registry.hosts, registry.tokens = hosts, tokens
    image = made("image")
    with pytest.raises(Invalid, match=text):
        send(registry.server.host, [image], {"latest": image.id})
    assert registry.images == {}


def test_PA18_a_push_goes_to_no_endpoint_that_was_not_allowed(registry: Taking, send: Push) -> None:
    image = made("image")
    with Lying() as other:
        registry.hosts = (other.host,)
        with pytest.raises(Unsafe, match="which is not its own"):
            send(registry.server.host, [image], {"latest": image.id})
        assert other.connections == 0


def test_T16_an_image_that_was_only_begun_is_sent_whole(registry: Taking, send: Push) -> None:
    image = made("image")
    registry.instead(f"/v1/images/{image.id}/layer", Answer(500))
    with pytest.raises(Unavailable, match="answered 500"):
        send(registry.server.host, [image], {"latest": image.id})
    assert registry.tags == {}
    send(registry.server.host, [image], {"latest": image.id})
    assert registry.images[image.id].layer == image.layer


def test_T16_another_image_of_the_same_id_is_a_conflict_and_stays(registry: Taking, send: Push) -> None:
    mine, theirs = made("image", comment="mine"), made("image", comment="theirs")
    registry.hold(theirs)
    with pytest.raises(Conflict, match="has another image"):
        send(registry.server.host, [mine], {"latest": mine.id})
    assert registry.images[mine.id].raw == theirs.raw


def test_T16_somebody_who_was_faster_with_the_same_image_is_no_error(registry: Taking, send: Push) -> None:
    image = made("image")

    def faster(request: Seen) -> Answer:
        registry.hold(image)
        return Answer(409, b'{"error": "Image already exists"}')

    registry.instead(f"/v1/images/{image.id}/json", registry.answer, faster)
    assert send(registry.server.host, [image], {"latest": image.id}).present == (image.id,)
    assert registry.tags == {"latest": image.id}


@pytest.mark.parametrize(
    ("part", "answer", "error", "text"),
    [
        ("json", Answer(401), Denied, "login required"),
        ("layer", Answer(403), Denied, "login required"),
        ("checksum", Answer(400, b'{"error": "Checksum mismatch"}'), Invalid, "Checksum mismatch"),
        ("layer", Answer(413), Invalid, "HTTP code 413 while uploading layer"),
    ],
)
def test_T16_a_refused_part_ends_the_push_without_a_tag(
    registry: Taking, send: Push, part: str, answer: Answer, error: type[Error], text: str
) -> None:
    image = made("image")

    def refuse(request: Seen) -> Answer:
        return answer if request.method == "PUT" else registry.answer(request)

    registry.server.on(f"/v1/images/{image.id}/{part}", refuse)
    with pytest.raises(error, match=text):
        send(registry.server.host, [image], {"latest": image.id})
    assert registry.tags == {}


def test_T16_a_layer_whose_connection_breaks_is_sent_again_and_its_checksum_is_right(store: Store) -> None:
    content = make_layer({"big": random.Random(3).randbytes(1 << 20)})
    image = made("image", layer=content)
    store.graph.register(V1Image.read(image.raw), io.BytesIO(content), job=Job())
    with Lying() as server:
        registry = Taking(server)
        registry.instead(f"/v1/images/{image.id}/layer", Answer(raw=b"", reset=True), Answer(503))
        with fast_client(Network(insecure=frozenset({server.host}), timeout=10.0, retries=3)) as client:
            uploads = V1Uploads(V1Session(server.host, client))
            push(uploads, store.graph, "app", {"latest": ImageId(image.id)}, job=Job())
        assert len(server.asked(f"/v1/images/{image.id}/layer")) == 3
        assert registry.images[image.id].layer == content


def test_T16_an_unknown_image_is_not_announced(registry: Taking, send: Push) -> None:
    with pytest.raises(NotFound, match="No such id"):
        send(registry.server.host, [], {"latest": "0" * 64})
    assert registry.asked() == []


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_T16_layers_go_as_they_came_or_plain_where_nobody_could_read_them(
    registry: Taking, send: Push, compression: str
) -> None:
    plain = made("x").layer
    sent = compress(plain, compression) if compression else plain  # type: ignore[arg-type]
    image = made("image", layer=sent)
    send(registry.server.host, [image], {"latest": image.id})
    assert registry.images[image.id].layer == (plain if compression == "zstd" else sent)


def test_T16_what_our_own_registry_took_is_fetched_again_byte_for_byte(tmp_path: Path, send: Push) -> None:
    images = made_chain(3)
    with serve_store(tmp_path / "served", "--v1", "--writable") as served:
        send(served.address, images, {"latest": images[2].id})
        with opened(tmp_path / "again") as again, fast_client(Network(insecure=frozenset({served.address}))) as client:
            fetched = RepositoryFetcher(V1Session(served.address, client), again.graph).fetch("app", job=Job())
            chain = again.graph.chain(fetched.id)
            assert [node.image.raw for node in chain] == [image.raw for image in images]
            for node, image in zip(chain, images, strict=True):
                with again.graph.open_layer(node) as stream:
                    assert stream.read() == image.layer
                assert node.checksum == image.payload
