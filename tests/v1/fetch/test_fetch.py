"""A repository and a tag become images of the graph, base first, from the first endpoint that can."""

from __future__ import annotations

import json

import pytest

from orlop.errors import Conflict, Denied, Error, Mismatch, NotFound, Unavailable
from orlop.job import Event, Job
from orlop.model.v1 import ImageId, V1Image
from orlop.store import Store
from tests.support.lying import Answer, cut_after
from tests.support.version1 import DEAD, Version1, made, made_chain, made_id

from .conftest import MakeFetcher


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.kind == "note"]


def listening() -> tuple[Job, list[Event]]:
    events: list[Event] = []
    return Job(progress=events.append), events


def layers_of(store: Store, identity: str) -> list[tuple[str, bytes, bytes]]:
    """ID, JSON and layer bytes of an image and its ancestors, base first."""
    found = []
    for node in store.graph.chain(ImageId(identity)):
        with store.graph.open_layer(node) as stream:
            found.append((str(node.image.id), node.image.raw, stream.read()))
    return found


def test_F01_a_fetch_downloads_from_the_base_up_and_returns_the_id_of_the_tag(
    store: Store, fetcher: MakeFetcher
) -> None:
    images = made_chain(3)
    job, events = listening()
    with Version1(images) as registry:
        fetched = fetcher(registry).fetch("app", job=job)
        assert registry.index.asked("json") == registry.index.asked("layer") == [image.id for image in images]
    assert fetched.id == images[-1].id
    assert layers_of(store, fetched.id) == [(image.id, image.raw, image.layer) for image in images]
    assert notes(events) == [
        "fetching app:latest",
        f"trying endpoint {registry.index.host} for {images[-1].id}",
        *(f"downloading layer: {image.id}" for image in images),
    ]
    assert fetched.fetched == sum(len(image.layer) for image in images)


def test_F01_what_was_verified_and_where_it_came_from_is_recorded(store: Store, fetcher: MakeFetcher) -> None:
    first, second = made("with"), made("without")
    with Version1([first], tags={"latest": first.id}) as registry:
        fetcher(registry).fetch("app", job=Job())
        host = registry.index.host
    with Version1([second]) as registry:
        registry.index.checksum_header = ""
        fetcher(registry).fetch("app", job=Job())
    node = store.graph.get(first.id)
    assert (node.origin, node.checksum) == (f"v1://{host}", first.payload)
    assert store.graph.get(second.id).checksum == ""


def test_F02_the_tag_is_latest_by_default_and_an_unknown_one_is_named(store: Store, fetcher: MakeFetcher) -> None:
    old, new = made("old"), made("new")
    with Version1([old, new], tags={"latest": new.id, "old": old.id}) as registry:
        get = fetcher(registry)
        assert get.fetch("app", job=Job()).id == new.id
        assert get.fetch("app", "old", job=Job()).id == old.id
        with pytest.raises(NotFound, match=r"^unknown tag: app:none$"):
            get.fetch("app", "none", job=Job())
    assert set(store.graph.nodes()) == {old.id, new.id}


def test_F03_endpoints_are_tried_in_order_and_the_first_success_ends(fetcher: MakeFetcher) -> None:
    images = made_chain(2)
    job, events = listening()
    with Version1(images, endpoints=3) as registry:
        first, second, third = registry.endpoints
        first.instead(f"/v1/images/{images[-1].id}/ancestry", Answer(404, b'{"error": "Image not found"}'))
        fetcher(registry).fetch("app", job=job)
        assert second.asked("layer") == [image.id for image in images]
        assert [request.path for request in third.server.seen] == []
        assert first.asked("layer") == registry.index.asked("layer") == []
    tried = [text for text in notes(events) if text.startswith("trying")]
    assert tried == [f"trying endpoint {each.host} for {images[-1].id}" for each in (first, second)]


def test_F04_when_all_endpoints_fail_every_error_is_told(store: Store, fetcher: MakeFetcher) -> None:
    images = made_chain(1)
    job, events = listening()
    with Version1(images, endpoints=2) as registry:
        path = f"/v1/images/{images[0].id}/ancestry"
        for endpoint, word in zip(registry.endpoints, ("one", "two"), strict=True):
            endpoint.instead(path, Answer(404, b'{"error": "lost by %s"}' % word.encode()))
        with pytest.raises(NotFound, match=r"^all endpoints failed: .*\(lost by two\)") as caught:
            fetcher(registry).fetch("app", job=job)
        assert all(endpoint.server.asked(path) for endpoint in registry.endpoints)
        host = registry.endpoints[0].host
    assert f"before that, {host}: " in caught.value.hint
    assert "lost by one" in caught.value.hint
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [text for text in notes(events) if "failed" in text and "lost by one" in text]
    assert store.graph.nodes() == {}


def test_F05_what_exists_is_skipped_without_a_request(fetcher: MakeFetcher) -> None:
    images = made_chain(3)
    job, events = listening()
    with Version1(images, tags={"latest": images[2].id, "base": images[1].id}) as registry:
        get = fetcher(registry)
        get.fetch("app", "base", job=Job())
        fetched = get.fetch("app", job=job)
        assert registry.index.asked("json") == [image.id for image in images]
        assert fetched.present == sum(len(image.layer) for image in images[:2])
        assert fetched.fetched == len(images[2].layer)
    assert notes(events)[2:] == [
        f"already exists: {images[0].id}",
        f"already exists: {images[1].id}",
        f"downloading layer: {images[2].id}",
    ]


def test_F06_what_a_failed_endpoint_finished_is_kept_for_the_next(fetcher: MakeFetcher) -> None:
    """Ten images, two endpoints, the first dead after the third layer."""
    images = made_chain(10)
    with Version1(images, endpoints=2) as registry:
        first, second = registry.endpoints
        first.dead_after = 3
        fetched = fetcher(registry, retries=0).fetch("app", job=Job(retries=0))
        assert fetched.id == images[-1].id
        assert first.served == [image.id for image in images[:3]]
        assert second.served == [image.id for image in images[3:]]
        assert second.asked("json") == second.served
    assert (fetched.fetched, fetched.present) == (sum(len(image.layer) for image in images), 0)


def test_F06_a_layer_that_broke_off_is_not_kept(store: Store, fetcher: MakeFetcher) -> None:
    images = made_chain(2)
    with Version1(images, endpoints=2) as registry:
        first, second = registry.endpoints
        first.instead(f"/v1/images/{images[1].id}/layer", cut_after(first.answer, 100))
        fetcher(registry, retries=0).fetch("app", job=Job(retries=0))
        assert second.served == [images[1].id]
    assert layers_of(store, images[1].id)[1][2] == images[1].layer


@pytest.mark.parametrize("part", ["images", "tags"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(404, b'{"error": "no"}'), NotFound),
        (Answer(401, b'{"error": "no"}'), Denied),
        (Answer(500), Unavailable),
        (Answer(200, b"no JSON"), Error),
        (Answer(200, b'"text"'), Error),
        (DEAD, Unavailable),
    ],
)
def test_F07_without_repository_data_or_tags_nothing_is_fetched(
    store: Store, fetcher: MakeFetcher, part: str, answer: Answer, error: type[Error]
) -> None:
    with Version1(made_chain(1)) as registry:
        registry.index.server.on(f"/v1/repositories/library/app/{part}", answer)
        with pytest.raises(error):
            fetcher(registry, retries=0).fetch("app", job=Job(retries=0))
        assert registry.index.asked("ancestry") == registry.index.asked("json") == []
    assert store.graph.nodes() == {}


def test_F11_layers_are_closed_as_they_end_and_share_a_connection(fetcher: MakeFetcher) -> None:
    with Version1(made_chain(12)) as registry:
        fetcher(registry).fetch("app", job=Job())
        assert registry.index.server.connections == 1


def test_F11_a_layer_that_is_refused_is_closed_too(fetcher: MakeFetcher) -> None:
    bad = made("bad", layer=b"no tar at all" * 1000)
    with Version1([bad]) as registry:
        get = fetcher(registry)
        for _ in range(5):
            with pytest.raises(Error):
                get.fetch("app", job=Job())
        assert registry.index.server.held <= 1


def test_F12_an_image_that_says_another_id_is_refused(store: Store, fetcher: MakeFetcher) -> None:
    right, other = made("right"), made("other")
    with Version1([right]) as registry:
        registry.index.server.on(f"/v1/images/{right.id}/json", Answer(200, other.raw))
        with pytest.raises(Error, match=rf"new image JSON: the ID is {other.id}, expected {right.id}"):
            fetcher(registry).fetch("app", job=Job())
        assert registry.index.asked("layer") == []
    assert store.graph.nodes() == {}


def test_F12_an_image_that_says_another_parent_is_refused(store: Store, fetcher: MakeFetcher) -> None:
    base, stranger = made("base"), made("stranger")
    top = made("top", stranger)
    with Version1([base, top]) as registry:
        path = f"/v1/images/{top.id}/ancestry"
        registry.index.server.on(path, Answer(200, json.dumps([top.id, base.id]).encode()))
        with pytest.raises(Error, match="the parent is"):
            fetcher(registry).fetch("app", job=Job())
    assert set(store.graph.nodes()) == {base.id}


@pytest.mark.parametrize(
    "ancestry",
    [
        [],
        [made_id("other")],
        [made_id("other"), made_id("image-0")],
        [made_id("image-0"), made_id("image-0")],
        [made_id("image-0"), made_id("a"), made_id("b"), made_id("a")],
        [made_id("image-0"), "../../etc"],
        [made_id("image-0"), made_id("a")[:12]],
        [made_id("image-0"), made_id("a").upper()],
        [made_id("image-0"), 7],
        [made_id("image-0"), *(made_id(str(number)) for number in range(128))],
        {"image": made_id("image-0")},
    ],
)
def test_F13_PA18_ancestries_that_cannot_be_are_refused(store: Store, fetcher: MakeFetcher, ancestry: object) -> None:
    images = made_chain(1)
    with Version1(images) as registry:
        path = f"/v1/images/{images[0].id}/ancestry"
        registry.index.server.on(path, Answer(200, json.dumps(ancestry).encode()))
        with pytest.raises(Error, match="all endpoints failed: "):
            fetcher(registry).fetch("app", job=Job())
        assert registry.index.asked("json") == []
    assert store.graph.nodes() == {}


def test_F13_an_ancestry_that_contradicts_what_is_here_is_refused(store: Store, fetcher: MakeFetcher) -> None:
    base, child = made_chain(2)
    store.graph.register(V1Image.read(base.raw), None, job=Job())
    store.graph.register(V1Image.read(child.raw), None, job=Job())
    top = made("top", made("image-1", made("elsewhere")))
    with Version1([made("elsewhere"), top]) as registry:
        with pytest.raises(Conflict, match="has the parent"):
            fetcher(registry).fetch("app", job=Job())
    assert store.graph.get(child.id).image.raw == child.raw


def test_F21_what_has_another_checksum_is_not_registered(store: Store, fetcher: MakeFetcher) -> None:
    image = made("image")
    with Version1([image], endpoints=1) as registry:
        wrong = Answer(200, made("image", layer=b"").layer + image.layer[:-512])
        registry.endpoints[0].server.on(f"/v1/images/{image.id}/layer", wrong)
        registry.endpoints[0].sized = False
        with pytest.raises(Mismatch, match=r"all endpoints failed: register: .*checksum"):
            fetcher(registry).fetch("app", job=Job())
        assert store.graph.nodes() == {}
        registry.endpoints[0].instead(f"/v1/images/{image.id}/layer")
        fetcher(registry).fetch("app", job=Job())
    assert store.graph.exists(image.id)


def test_F21_the_checksum_of_the_index_counts_where_the_image_has_none(store: Store, fetcher: MakeFetcher) -> None:
    image = made("image")
    with Version1([image]) as registry:
        registry.index.checksum_header = ""
        registry.index.checksums = {image.id: "sha256:" + "0" * 64}
        with pytest.raises(Mismatch, match="checksum"):
            fetcher(registry).fetch("app", job=Job())
        assert store.graph.nodes() == {}
        registry.index.checksums = {image.id: image.payload}
        fetcher(registry).fetch("app", job=Job())
    assert store.graph.get(image.id).checksum == image.payload


def test_F21_an_empty_answer_is_no_image_without_a_layer_if_the_checksum_says_otherwise(
    store: Store, fetcher: MakeFetcher
) -> None:
    image = made("image")
    with Version1([image]) as registry:
        registry.index.sized = False
        registry.index.server.on(f"/v1/images/{image.id}/layer", Answer(200))
        with pytest.raises(Mismatch, match="checksum"):
            fetcher(registry).fetch("app", job=Job())
    assert store.graph.nodes() == {}


def test_F22_an_id_is_found_without_a_layer(store: Store, fetcher: MakeFetcher) -> None:
    images = made_chain(2)
    with Version1(images) as registry:
        assert fetcher(registry).fetch_id("app", "latest", job=Job()) == images[-1].id
        paths = [request.path.rpartition("/")[2] for request in registry.index.server.seen]
    assert paths == ["images", "tags"]
    assert store.graph.nodes() == {}


def test_CR05_the_bytes_of_another_origin_never_replace_what_is_here(store: Store, fetcher: MakeFetcher) -> None:
    mine, theirs = made("image", comment="mine"), made("image", comment="theirs")
    with Version1([mine]) as registry:
        fetcher(registry).fetch("app", job=Job())
    with Version1([theirs]) as registry:
        fetcher(registry).fetch("app", job=Job())
        assert registry.index.asked("json") == []
    assert store.graph.get(mine.id).image.raw == mine.raw
