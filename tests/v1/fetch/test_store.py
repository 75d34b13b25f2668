"""Images of version 1 registries in the store: pulled, named, copied on, pushed back."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.errors import Error, NoSpace, NotFound, Unavailable, Unsupported, Usage
from orlop.job import Event, Job
from orlop.model.v1 import ImageId
from orlop.settings import Network, Settings
from orlop.store import Store
from orlop.v1.fetch import Watch
from tests.support.command_line import Orlop
from tests.support.images import Hardlink, Symlink, compress, make_layer, small_image
from tests.support.lying import Answer, Lying, serve_image
from tests.support.receiving import Receiving
from tests.support.trees import snapshot
from tests.support.version1 import Version1, made, made_chain
from tests.support.version1_taking import Taking


def store_for(path: Path, network: Network) -> Store:
    return Store.open(settings=Settings(store=path / "store", network=network))


def network_for(*hosts: str) -> Network:
    return Network(insecure=frozenset(hosts), endpoint_hosts=frozenset(hosts), timeout=10.0, retries=1)


def test_F01_a_pull_names_the_image_and_it_is_whole(tmp_path: Path) -> None:
    images = made_chain(3, config={"Env": ["A=1"], "Cmd": ["true"]})
    with Version1(images) as registry, store_for(tmp_path, registry.network()) as store:
        name = f"{registry.index.host}/library/app:latest"
        pulled = store.pull(f"v1://{name}")
        assert (pulled.name, pulled.fetched) == (name, sum(len(image.layer) for image in images))
        assert [listed.name for listed in store.images() if not listed.name.startswith("v1.invalid/")] == [name]
        image = store.image(name)
        assert image.manifest.digest == pulled.digest == store.graph.get(images[2].id).manifest.digest
        assert len(image.manifest.layers) == 3
        assert store.tags.lookup(name).image.raw == images[2].raw
        again = store.pull(f"v1://{name}")
        assert (again.fetched, again.present, again.digest) == (0, pulled.fetched, pulled.digest)
        assert store.fsck().findings == ()


def test_F02_a_tag_that_moved_moves_the_name_and_a_digest_is_no_tag(tmp_path: Path) -> None:
    old, new = made("old"), made("new")
    with Version1([old, new], tags={"latest": old.id}) as registry, store_for(tmp_path, registry.network()) as store:
        name = f"{registry.index.host}/library/app:latest"
        first = store.pull(f"v1://{name}")
        registry.tags["latest"] = new.id  # type: ignore[index]
        second = store.pull(f"v1://{name}")
        assert first.digest != second.digest == store.digest(name)
        with pytest.raises(Usage, match="no digests"):
            store.pull(f"v1://{registry.index.host}/library/app@{first.digest}")
        with pytest.raises(NotFound, match="unknown tag: library/app:none"):
            store.pull(f"v1://{registry.index.host}/library/app:none")


def test_F19_the_scheme_picks_who_fetches(tmp_path: Path) -> None:
    images = made_chain(2, config={"Env": ["A=1"], "Volumes": {"/data": {}}})
    events: list[Event] = []
    with Version1(images) as registry, Lying() as second:
        serve_image(second, small_image(), tag="1")
        second.on("/v2/", Answer(200))
        with store_for(tmp_path, network_for(registry.index.host, second.host)) as store:
            for source in (f"docker://{registry.index.host}/app", f"v1://{registry.index.host}/library/app:latest"):
                fetched = store.fetch(source, job=Job(progress=events.append))
                assert (fetched.id, fetched.environment, fetched.volumes) == (images[1].id, ("A=1",), ("/data",))
            modern = store.fetch(f"docker://{second.host}/app#1")
            assert len(store.graph.chain(modern.id)) >= 1
            assert store.graph.exists(modern.id)
            (tmp_path / "tree").mkdir()
            local = store.fetch(str(tmp_path / "tree"))
            assert store.graph.exists(local.id)
            assert registry.index.server.asked("/v2/")
    assert f"already exists: {images[1].id}" in [event.text for event in events]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("docker://", "invalid docker url; must provide path"),
        ("docker:///", "invalid docker url; must provide path"),
        ("docker://host.example", "invalid docker url; must provide path"),
        ("docker://host.example/#tag", "invalid docker url; must provide path"),
        ("ftp://host.example/x", "unknown rootfs provider: ftp"),
        ("", "RootFSPath: is a required parameter, since no default rootfs was provided to the server"),
    ],
)
def test_F19_sources_that_cannot_be_meant(tmp_path: Path, source: str, text: str) -> None:
    with store_for(tmp_path, Network()) as store, pytest.raises(Usage, match=text):
        store.fetch(source)


def test_F19_a_host_that_speaks_neither_version_is_refused(tmp_path: Path) -> None:
    with Lying() as server, store_for(tmp_path, network_for(server.host)) as store:
        with pytest.raises(Unsupported, match="incompatible endpoint version"):
            store.fetch(f"docker://{server.host}/app")
        assert [request.path for request in server.seen] == ["/v2/", "/v1/_ping"]


def test_F19_a_host_that_does_not_answer_is_unavailable_and_not_taken_for_old(tmp_path: Path) -> None:
    with Lying() as server, store_for(tmp_path, network_for(server.host)) as store:
        server.on("/v2/", Answer(503))
        with pytest.raises(Unavailable):
            store.fetch(f"docker://{server.host}/app", job=Job(retries=0))
        assert server.asked("/v1/_ping") == []


def test_F17_a_quota_holds_for_modern_registries_before_a_layer_comes(tmp_path: Path) -> None:
    with Lying() as server, store_for(tmp_path, network_for(server.host)) as store:
        blobs = serve_image(server, small_image(), tag="1")
        server.on("/v2/", Answer(200))
        with pytest.raises(NoSpace, match="quota exceeded"):
            store.fetch(f"docker://{server.host}/app#1", quota=10)
        layers = {path for path, content in blobs.items() if not content.startswith(b"{")}
        assert not layers & {request.path for request in server.seen}
        assert store.fetch(f"docker://{server.host}/app#1", quota=1 << 20).id


def test_T16_an_image_of_version_1_goes_to_version_2_and_back_the_same(tmp_path: Path) -> None:
    images = made_chain(3, config={"Env": ["A=1"]})
    with Version1(images) as registry, Lying() as modern, Lying() as old:
        middle, end = Receiving(modern), Taking(old)
        hosts = network_for(registry.index.host, modern.host, old.host)
        with store_for(tmp_path / "a", hosts) as store:
            store.pull(f"v1://{registry.index.host}/library/app:latest")
            store.push(f"{registry.index.host}/library/app:latest", f"docker://{modern.host}/app:1")
        assert middle.tags
        with store_for(tmp_path / "b", hosts) as other:
            other.pull(f"docker://{modern.host}/app:1")
            pushed = other.push(f"{modern.host}/app:1", f"v1://{old.host}/library/app:back")
            assert pushed.sent == sum(len(image.layer) for image in images)
            assert other.push(f"{modern.host}/app:1", f"v1://{old.host}/library/app:back").sent == 0
    assert end.tags == {"back": images[2].id}
    for image in images:
        assert (end.images[image.id].raw, end.images[image.id].layer) == (image.raw, image.layer)


def test_T16_copy_goes_from_one_old_registry_to_another(tmp_path: Path) -> None:
    images = made_chain(2)
    with Version1(images) as registry, Lying() as old:
        end = Taking(old)
        with store_for(tmp_path, network_for(registry.index.host, old.host)) as store:
            store.copy(f"v1://{registry.index.host}/library/app:latest", f"v1://{old.host}/library/app:there")
        assert end.tags == {"there": images[1].id}
        assert [end.images[image.id].layer for image in images] == [image.layer for image in images]


def test_F01_the_command_line_pulls_and_pushes_version_1(tmp_path: Path) -> None:
    images = made_chain(2)
    with Version1(images) as registry, Lying() as old:
        end, program = Taking(old), Orlop(tmp_path / "store")
        name, host = f"{registry.index.host}/library/app:latest", registry.index.host
        done = program("pull", "--insecure", host, f"v1://{name}")
        assert done.status == 0, done.err
        assert f"downloading layer: {images[0].id}" in done.err
        shown = program("images")
        assert name in shown.out
        done = program("push", "--insecure", old.host, name, f"v1://{old.host}/library/app:x")
        assert done.status == 0, done.err
        assert end.tags == {"x": images[1].id}


def test_T15_all_tags_are_found_at_once_and_what_has_no_tag_is_not_fetched(tmp_path: Path) -> None:
    base = made("base")
    one, two, loose = made("one", base), made("two", base), made("loose", base)
    tags = {"one": one.id, "two": two.id, "again": two.id}
    with Version1([base, one, two, loose], tags=tags) as registry, store_for(tmp_path, registry.network()) as store:
        with store.v1_fetcher(registry.index.host) as fetcher:
            found = fetcher.find("app", job=Job())
            fetched = {tag: fetcher.fetch_image(found, found.id_of(tag), job=Job()).id for tag in found.tags}
        assert fetched == tags
        assert set(store.graph.nodes()) == {base.id, one.id, two.id}
        assert registry.index.asked("layer") == [base.id, one.id, two.id]


def test_R04_the_tags_of_a_repository_are_listed_as_those_of_any_other(tmp_path: Path) -> None:
    image = made("image")
    tags = {"one": image.id, "two": image.id}
    with Version1([image], tags=tags, endpoints=1) as registry, store_for(tmp_path, registry.network()) as store:
        assert list(store.remote_tags(f"v1://{registry.index.host}/library/app")) == ["one", "two"]
        with pytest.raises(NotFound, match="repository not found"):
            list(store.remote_tags(f"v1://{registry.index.host}/library/none"))


def test_T15_whoever_watches_is_told_of_each_step_in_order(tmp_path: Path) -> None:
    images = made_chain(2)
    told: list[tuple[str, ...]] = []

    class Told(Watch):
        def trying(self, identity: ImageId, endpoint: str) -> None:
            told.append(("trying", identity, endpoint))

        def existing(self, identity: ImageId) -> None:
            told.append(("existing", identity))

        def metadata(self, identity: ImageId) -> None:
            told.append(("metadata", identity))

        def downloading(self, identity: ImageId, size: int) -> None:
            told.append(("downloading", identity, str(size)))

        def downloaded(self, identity: ImageId) -> None:
            told.append(("downloaded", identity))

        def failed(self, identity: ImageId, endpoint: str, error: Error) -> None:
            told.append(("failed", identity, endpoint))

    with Version1(images, endpoints=2) as registry, store_for(tmp_path, registry.network(retries=0)) as store:
        first, second = registry.endpoints
        first.dead_after = 1
        with store.v1_fetcher(registry.index.host) as fetcher:
            fetcher.fetch("app", watch=Told(), job=Job(retries=0))
    base, top = (image.id for image in images)
    sizes = [str(len(image.layer)) for image in images]
    assert told == [
        ("trying", top, first.host),
        ("metadata", base),
        ("downloading", base, sizes[0]),
        ("downloaded", base),
        ("metadata", top),
        ("failed", top, first.host),
        ("trying", top, second.host),
        ("existing", base),
        ("metadata", top),
        ("downloading", top, sizes[1]),
        ("downloaded", top),
    ]


@pytest.mark.root
def test_X04_the_tree_is_the_same_by_version_1_and_after_the_way_through_version_2(tmp_path: Path) -> None:
    base = made("base", layer=make_layer({"etc/": None, "etc/old": b"old", "etc/kept": b"kept", "l": Symlink("etc")}))
    top = made("top", base, layer=compress(make_layer({"etc/.wh.old": b"", "etc/new": Hardlink("etc/kept")}), "gzip"))
    with Version1([base, top]) as registry, Lying() as modern:
        Receiving(modern)
        hosts = network_for(registry.index.host, modern.host)
        name = f"{registry.index.host}/library/app:latest"
        with store_for(tmp_path / "a", hosts) as store:
            store.pull(f"v1://{name}")
            store.unpack(name, tmp_path / "one")
            store.push(name, f"docker://{modern.host}/app:1")
        with store_for(tmp_path / "b", hosts) as other:
            other.pull(f"docker://{modern.host}/app:1")
            other.unpack(f"{modern.host}/app:1", tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    assert (tmp_path / "one" / "etc" / "new").read_bytes() == b"kept"
    assert not (tmp_path / "one" / "etc" / "old").exists()
