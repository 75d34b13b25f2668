"""The rows G01 to G13 of the seed's behaviour: register, look up, delete."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest

from orlop.errors import Conflict, Invalid, Mismatch, NotFound, Unavailable, Unsafe
from orlop.model.limits import V1_PARENTS
from orlop.model.v1 import ImageId, PayloadHasher, V1Image, random_id
from orlop.store import Store
from orlop.tar.tarsum import TarSum
from tests.support.images import compress, make_layer
from tests.support.stores import files_below, opened
from tests.support.v1images import JOB, A, B, C, D, add, v1

ODD = b'{ "zz":1.50,"id" : "' + b"a" * 64 + b'",\n\t"Config\\u0000":null, "\xc3\xa9":[ ],"created":"never" }\r\n \n'


class Breaking(io.BytesIO):
    """A stream that breaks off half-way."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content[: len(content) // 2])

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise Unavailable("stream: broke off")
        return data


def left_over(store: Store) -> dict[str, int]:
    """Files that would not be there in an empty store; of those that cost nothing, none."""
    standing = ("oci-layout", "version", "index.json", "catalog.db", "locks/", "sessions/")
    return {name: size for name, size in files_below(store.settings.store).items() if not name.startswith(standing)}


def test_G01_register_keeps_the_json_byte_for_byte(store: Store, tmp_path: Path) -> None:
    store.graph.register(V1Image.read(ODD), io.BytesIO(make_layer({"x": b"y"})), job=JOB)
    assert store.graph.get(A).image.raw == ODD
    assert store.gc().removed == ()
    assert store.fsck().findings == ()
    with opened(tmp_path / "store") as again:
        assert again.graph.get(A).image.raw == ODD


def test_G02_a_register_that_is_cut_leaves_nothing_and_the_ID_free(store: Store) -> None:
    layer = make_layer({"big": bytes(range(256)) * 20_000})
    with pytest.raises(Unavailable):
        store.graph.register(v1(A), Breaking(layer), job=JOB)
    assert not store.graph.exists(A)
    assert left_over(store) == {}
    store.graph.register(v1(A), io.BytesIO(layer), job=JOB)
    assert store.graph.exists(A)


def test_G02_a_bad_tar_is_named_and_nothing_of_it_stays(store: Store) -> None:
    with pytest.raises(Invalid, match=r"^image aaaaaaaaaaaa: layer: tar header at byte 0"):
        store.graph.register(v1(A), io.BytesIO(b"no tar, but long enough for a block" * 20), job=JOB)
    with pytest.raises(Invalid, match="ends early"):
        store.graph.register(v1(A), io.BytesIO(compress(make_layer({"x": b""}), "gzip")[:-4]), job=JOB)
    assert left_over(store) == {}


def test_G03_an_ID_that_exists_is_refused_and_its_image_stays(store: Store, tmp_path: Path) -> None:
    add(store, A, files={"file": b"first"})
    before = left_over(store)
    with pytest.raises(Conflict, match=f"^Image {A} already exists$"):
        add(store, A, files={"file": b"second"}, comment="another")
    assert left_over(store) == before
    store.unpack(A, tmp_path / "out")
    assert (tmp_path / "out/file").read_bytes() == b"first"


@pytest.mark.parametrize("id", ["", "a:b", "../x", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "\n", "g" * 64])
def test_G04_a_bad_ID_is_refused_before_anything_touches_the_disk(store: Store, id: str) -> None:
    before = files_below(store.settings.store)
    with pytest.raises(Invalid):
        add(store, id)
    with pytest.raises(Invalid):
        add(store, A, parent=id or "x")
    assert not store.graph.exists(id)
    assert files_below(store.settings.store) == before


def test_G05_an_unknown_parent_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match=f"image {B.short}: its parent {A} is not there"):
        add(store, B, parent=A, files={"x": b""})
    assert left_over(store) == {}


def test_G06_images_are_found_by_unique_prefixes(store: Store) -> None:
    one, two = ImageId("ab" * 32), ImageId("abc" + "d" * 61)
    add(store, one, files={"x": b""})
    add(store, two, files={"y": b""})
    for prefix, found in (("aba", one), ("abcd", two), (one, one), (two[:12], two)):
        assert store.graph.get(prefix).image.id == found
    for bad in ("", "ab", "c", "abx", "ab ", "ABA", "ab" * 32 + "a", "../a"):
        with pytest.raises(NotFound, match=r"^No such id: "):
            store.graph.get(bad)
    assert not store.graph.exists("aba")


def test_G06_commands_find_images_by_ID_and_prefix(store: Store, tmp_path: Path) -> None:
    add(store, A, files={"x": b"found"})
    store.unpack(A[:12], tmp_path / "out")
    assert (tmp_path / "out/x").read_bytes() == b"found"
    assert store.image(A).config.history[0]["created"].startswith("2014")
    with pytest.raises(NotFound):
        store.image("b" * 12)


def test_G07_an_entry_of_another_ID_is_told(store: Store) -> None:
    add(store, A, files={"x": b""})
    index = store.settings.store / "index.json"
    index.write_text(index.read_text().replace(A, B))
    with pytest.raises(Invalid, match=f"Image stored at '{B}' has wrong id '{A}'"):
        store.graph.get(B)
    assert not store.graph.exists(B)
    assert store.graph.nodes() == {}


def test_G08_sizes_are_known_and_counted_again_where_they_are_not(store: Store) -> None:
    one = add(store, A, files={"dir": None, "dir/x": b"12345", "y": b"678"})
    two = add(store, B, parent=A, files={"z": b"9"})
    three = add(store, C, parent=B)
    assert [store.graph.size(node) for node in (one, two, three)] == [8, 1, 0]
    assert store.graph.virtual_size(C) == 9
    store.graph.delete(A, job=JOB)  # its entry, and with it what was written down
    store.gc(derived=True)
    assert store.graph.virtual_size(C) == 9


def test_G09_a_restart_keeps_what_is_whole_and_nothing_else(store: Store, tmp_path: Path) -> None:
    whole = add(store, A, files={"x": b"1"})
    lost = add(store, B, files={"x": b"2"})
    add(store, C, parent=A, files={"x": b"3"})
    assert lost.layer is not None
    blob = store.blob(lost.layer.digest)[0]
    store.close()
    blob.unlink()
    (tmp_path / "store/sessions/left").mkdir()
    (tmp_path / "store/sessions/left/half").write_bytes(b"half")
    with opened(tmp_path / "store") as again:
        assert set(again.graph.nodes()) == {A, C}
        assert again.graph.get(A) == whole
        assert not again.graph.exists(B)
        assert add(again, B, files={"x": b"2"}) == lost  # as if it had never been there
        assert set(again.graph.nodes()) == {A, B, C}
    assert not (tmp_path / "store/sessions/left").exists()


def test_G10_delete_takes_an_ID_or_a_prefix(store: Store) -> None:
    for id in (A, B):
        add(store, id, files={"x": id.encode()})
    assert store.graph.delete("a", job=JOB) == A
    assert store.graph.delete(B, job=JOB) == B
    assert left_over(store) == {}
    for name in ("a", B, "", "x"):
        with pytest.raises(NotFound, match=r"^No such id: "):
            store.graph.delete(name, job=JOB)


def test_G10_what_children_and_names_need_outlives_a_delete(store: Store, tmp_path: Path) -> None:
    add(store, A, files={"x": b"base"})
    add(store, B, parent=A, files={"y": b"top"})
    store.tags.set("base", "", A, force=False)
    store.graph.delete(A, job=JOB)
    assert [node.image.id for node in store.graph.chain(B)] == [A, B]
    for name, files in (("base", {"x"}), (B, {"x", "y"})):
        store.unpack(name, tmp_path / name[:5])
        assert {file.name for file in (tmp_path / name[:5]).iterdir()} == files


def test_G11_map_by_parent_and_heads(store: Store) -> None:
    for id, parent in ((A, ""), (B, A), (C, A), (D, C)):
        add(store, id, parent=parent, files={"x": id.encode()})
    assert set(store.graph.nodes()) == {A, B, C, D}
    children = {id: {node.image.id for node in nodes} for id, nodes in store.graph.by_parent().items()}
    assert children == {A: {B, C}, C: {D}}
    assert set(store.graph.heads()) == {B, D}
    assert [node.image.id for node in store.graph.chain(D)] == [A, C, D]


def test_G12_new_IDs_never_look_like_numbers() -> None:
    drawn = iter(["1" * 64, "0123456789012" + "f" * 51, "12345678901a" + "2" * 52])
    assert random_id(lambda: next(drawn)) == "12345678901a" + "2" * 52
    assert len({random_id() for _ in range(50)}) == 50


@pytest.mark.parametrize("layer", [None, b""])
def test_G13_no_layer_and_an_empty_stream_are_an_image_without_a_layer(
    store: Store, tmp_path: Path, layer: bytes | None
) -> None:
    node = store.graph.register(v1(A), None if layer is None else io.BytesIO(layer), job=JOB)
    assert (node.layer, node.diff_id, store.graph.size(node)) == (None, None, 0)
    assert store.graph.plain_layer(node, JOB).read() == bytes(1024)
    add(store, B, parent=A, files={"x": b"1"})
    store.unpack(A, tmp_path / "empty")
    store.unpack(B, tmp_path / "full")
    assert list((tmp_path / "empty").iterdir()) == []
    assert (tmp_path / "full/x").read_bytes() == b"1"


def test_G13_an_empty_tar_is_a_layer(store: Store, tmp_path: Path) -> None:
    for id, layer in ((A, bytes(1024)), (B, compress(bytes(1024), "gzip")), (C, bytes(10_240))):
        node = store.graph.register(v1(id), io.BytesIO(layer), job=JOB)
        with store.graph.open_layer(node) as stored:
            assert stored.read() == layer
        store.unpack(id, tmp_path / id.short)
        assert list((tmp_path / id.short).iterdir()) == []


def test_G14_nobody_else_may_look_into_the_store(store: Store) -> None:
    add(store, A, files={"x": b""})
    root = store.settings.store
    for path in (root, *root.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o444 if "blobs" in path.parts else mode & 0o700), path


@pytest.fixture
def layer() -> bytes:
    return compress(make_layer({"x": b"content"}), "gzip")


def test_G01_checksums_are_verified_before_anything_is_seen(store: Store, layer: bytes) -> None:
    image, plain, payload = v1(A), make_layer({"x": b"content"}), PayloadHasher(v1(A).raw)
    payload.write(layer)
    sums = {}
    for label in ("tarsum+sha256", "tarsum.v1+sha256", "tarsum.dev+sha256"):
        tarsum = TarSum(label)
        tarsum.write(plain)
        sums[label] = tarsum.text(image.raw)
    for label, good in sums.items():
        with pytest.raises(Mismatch, match="tarsum"):
            store.graph.register(image, io.BytesIO(layer), tarsum=f"{label}:{'0' * 64}", job=JOB)
        assert store.graph.register(image, io.BytesIO(layer), tarsum=good, job=JOB).checksum == good
        store.graph.delete(A, job=JOB)
    with pytest.raises(Mismatch, match="checksum"):
        store.graph.register(image, io.BytesIO(layer), checksum="sha256:" + "0" * 64, job=JOB)
    with pytest.raises(Mismatch, match="checksum"):
        store.graph.register(image, None, checksum=str(payload), job=JOB)
    assert left_over(store) == {}
    store.graph.register(image, io.BytesIO(layer), checksum=str(payload), origin="v1://host/x", job=JOB)
    node = store.graph.get(A)
    assert (node.checksum, node.origin) == (str(payload), "v1://host/x")


def test_PA18_an_image_may_have_127_ancestors_and_no_more(store: Store) -> None:
    ids = [ImageId(f"{number:064x}") for number in range(V1_PARENTS + 2)]
    for number, id in enumerate(ids[:-1]):
        add(store, id, parent=ids[number - 1] if number else "", files=None if number % 2 else {"x": id.encode()})
    with pytest.raises(Unsafe, match="128 ancestors, at most 127"):
        add(store, ids[-1], parent=ids[-2])
    assert [node.image.id for node in store.graph.chain(ids[-2])] == ids[:-1]
    assert len(json.loads(store.document(ids[-2]).raw)["layers"]) == 64
