"""Every reader of bytes from outside, given any bytes: errors of the library and nothing else, the store as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.blobs.derived import DerivedFiles
from orlop.blobs.partial import Partials
from orlop.errors import Damaged, Error
from orlop.model.digest import Digest
from orlop.settings import Settings
from orlop.store import Store
from tests.support.corners import base, middle, top
from tests.support.hostile import plain, refusal, served, takes_the_good_one
from tests.support.images import (
    compress,
    docker_archive_files,
    layout_files,
    make_image,
    make_layer,
    small_image,
    write_layout,
)
from tests.support.soak import times
from tests.support.stores import opened, parts

DIGEST = Digest.of(b"something")
EVERY = settings(max_examples=times(40, 2000), deadline=None, suppress_health_check=list(HealthCheck))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
# one byte put in the place of another, a stretch left out or said twice
CHANGES = st.lists(
    st.tuples(st.sampled_from(["byte", "cut", "twice", "end"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)


def changed(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    for what, where, value in changes:
        at = int(where * (len(content) - 1)) if content else 0
        if what == "byte":
            content = content[:at] + bytes([value]) + content[at + 1 :]
        elif what == "cut":
            content = content[:at] + content[at + value :]
        elif what == "twice":
            content = content[:at] + content[at : at + value] + content[at:]
        else:
            content = content[:at]
    return content


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """With a good image in it, which must stay."""
    place = tmp_path_factory.mktemp("readers")
    with opened(place / "store") as store:
        takes_the_good_one(store, place / "good")
        yield store
        takes_the_good_one(store, place / "good")


def _again(store: Store) -> None:
    """What was taken is removed, so that the next one is read anew."""
    for name in store.names():
        if "good" not in name:
            store.untag(name)
    store.gc(derived=True)


LAYERS = [base(), middle(), top(), make_layer({"a": b"x" * 3000, "d": None, "d/b": b"y"})]


@EVERY
@given(number=st.integers(0, len(LAYERS) - 1), changes=CHANGES, packing=st.sampled_from(["none", "gzip", "zstd"]))
def test_a_damaged_layer_is_refused(
    store: Store,
    tmp_path_factory: pytest.TempPathFactory,
    number: int,
    changes: list[tuple[str, float, int]],
    packing: str,
) -> None:
    """The digest fits, so it is only its content that is wrong: of the stream, or of the tar in it."""
    archive = LAYERS[number]
    blob = plain(compress(archive, packing))._replace(compression="" if packing == "none" else packing)  # type: ignore[arg-type]
    if packing == "none":
        content = changed(archive, changes)
        blob = blob._replace(content=content, diff_id=Digest.of(content))
    else:
        blob = blob._replace(content=changed(blob.content, changes), diff_id=Digest.of(archive))
    place = tmp_path_factory.mktemp("layout")
    refusal(store, f"oci:{write_layout(place, {'x': served([blob])})}:x")
    _give_back(store)
    _again(store)


def _give_back(store: Store) -> None:
    """What was taken can be merged, or is refused."""
    for name in store.names():
        try:
            with open(os.devnull, "wb") as out:
                store.export(name, out)
        except Error as error:
            assert error.message  # noqa: PT017


ARCHIVES: dict[str, bytes] = {
    "docker-archive": make_layer(docker_archive_files({"app:1": make_image([LAYERS[3]])})),
    "oci-archive": make_layer(dict(layout_files({"1": make_image([LAYERS[3]])}))),
}


@EVERY
@given(kind=st.sampled_from(sorted(ARCHIVES)), changes=CHANGES, packing=st.sampled_from(["none", "gzip", "zstd"]))
def test_PA19_a_damaged_archive_is_refused(
    store: Store,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    changes: list[tuple[str, float, int]],
    packing: str,
) -> None:
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    path.write_bytes(changed(compress(ARCHIVES[kind], packing), changes))  # type: ignore[arg-type]
    refusal(store, f"{kind}:{path}")
    _again(store)


FILES = layout_files({"x": small_image(word="other")})


@EVERY
@given(name=st.sampled_from(sorted(FILES)), changes=CHANGES)
def test_PA20_a_damaged_layout_is_refused(
    store: Store, tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[str, float, int]]
) -> None:
    layout = write_layout(tmp_path_factory.mktemp("layout"), {"x": small_image(word="other")})
    (layout / name).write_bytes(changed(FILES[name], changes))
    refusal(store, f"oci:{layout}:x")
    _again(store)


@settings(max_examples=times(200, 5000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    raw=st.binary(max_size=60)
    | st.text("[]{}=\"',.0123456789-:TZ\n#abcjobs_storinue", max_size=80).map(str.encode)
    | st.sampled_from(["store", "insecure", "jobs", "durability", "runtime", "ca_file", "nonsense"]).flatmap(
        lambda key: JSON.map(lambda value: f"{key} = {json.dumps(value)}".encode())
    )
)
def test_any_configuration_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_bytes(raw)
    try:
        Settings.load({"HOME": "/nonexistent"}, user=0, config=file)
    except Error as error:
        assert error.message.startswith("config")  # noqa: PT017


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"jobs = " + b"1" * 5000, "not TOML"),
        (b"insecure = " + b"[" * 5000 + b"]" * 5000, "not TOML"),
        (b"# " + b"x" * (1 << 20) + b'\nstore = "/"', "more than 1048576 bytes"),
        (b'store = "a\\u0000b"', "store"),
        (b'ca_file = "~nobody-of-this-name/x"', "no such user"),
        (b"jobs = 0", "jobs"),
        (b"jobs = -1", "jobs"),
        (b"jobs = 100000", "jobs"),
        (b"insecure = [1]", "insecure"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, raw: bytes, why: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(raw)
    with pytest.raises(Error, match=why):
        Settings.load({"HOME": "/nonexistent"}, user=0, config=file)


OWN: dict[str, Callable[[Store], object]] = {
    "index.json": lambda store: (store.names(), store.images(), store.image("localhost/good:good")),
    "version": lambda store: Store.open(settings=store.settings).close(),
    "catalog.db": lambda store: (store.images(), store.image("localhost/good:good")),
    f"derived/tar/sha256-{Digest.of(small_image(word='good').layers[0]).encoded}.mark": lambda store: store.fsck(),
    f"derived/index/sha256-{Digest.of(small_image(word='good').layers[0]).encoded}": lambda store: _give_back(store),
    f"derived/index/sha256-{Digest.of(small_image(word='good').layers[0]).encoded}.mark": lambda store: _give_back(
        store
    ),
}


@contextmanager
def damaged(store: Path, name: str, content: bytes) -> Iterator[None]:
    """A file of the store with other content, and as it was again."""
    right = (store / name).read_bytes()
    (store / name).write_bytes(content)
    try:
        yield
    finally:
        (store / name).write_bytes(right)


@settings(max_examples=times(50, 3000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(OWN)),
    raw=CHANGES | st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 3000),
)
def test_a_damaged_file_of_the_store_is_named_or_made_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, raw: bytes | list[tuple[str, float, int]]
) -> None:
    place = tmp_path_factory.mktemp("own")
    with opened(place / "store") as store:
        takes_the_good_one(store, place / "good")
    right = (place / "store" / name).read_bytes()
    with damaged(place / "store", name, raw if isinstance(raw, bytes) else changed(right, raw)):
        try:
            with opened(place / "store") as store:
                OWN[name](store)
        except Error as error:
            assert error.message  # noqa: PT017
    with opened(place / "store") as store:
        store.fsck(repair=True)
        takes_the_good_one(store, place / "good")


@settings(max_examples=times(80, 5000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    extents=st.binary(max_size=100),
    state=st.binary(max_size=40),
)
def test_whatever_a_cut_download_left_is_used_or_thrown_away(
    tmp_path_factory: pytest.TempPathFactory, extents: bytes, state: bytes
) -> None:
    place = tmp_path_factory.mktemp("partial")
    with parts(place / "store") as (disk, _, _):
        left = place / f"store/partial/sha256-{DIGEST.encoded}"
        left.mkdir()
        (left / "data").write_bytes(b"some")
        (left / "extents").write_bytes(extents)
        (left / "state").write_bytes(state)
        with Partials(disk).open(DIGEST, 9) as partial:
            assert 0 <= partial.kept <= 4
            assert all(0 <= start < end <= 9 for start, end in partial.missing())


@settings(max_examples=times(80, 5000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    raw=st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.just(b"[" * 4000)
    | JSON.map(lambda value: json.dumps({"boot": "b", "synced": value, "size": value, "sha256": value}).encode())
)
def test_any_mark_is_read_or_is_none(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    place = tmp_path_factory.mktemp("mark")
    with parts(place / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "b")
        derived.put("erofs", DIGEST, [b"content"])
        (place / f"store/derived/erofs/sha256-{DIGEST.encoded}.mark").write_bytes(raw)
        assert derived.path("erofs", DIGEST) is None
        assert isinstance(derived.damage("erofs", DIGEST), str)
        derived.settle(older_than=0)
        derived.put("erofs", DIGEST, [b"con", b"tent"])
        assert derived.path("erofs", DIGEST) is not None


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"sha256:12\n", b"[" * 99])
def test_a_damaged_lease_stops_a_collection(tmp_path: Path, raw: bytes) -> None:
    with opened(tmp_path / "store") as store:
        takes_the_good_one(store, tmp_path / "good")
        with store._parts.session.lease():
            (lease,) = (tmp_path / "store/sessions").glob("*/lease-*")
            lease.write_bytes(raw)
            with pytest.raises(Damaged, match="lease-"):
                store.gc()
        takes_the_good_one(store, tmp_path / "good")
