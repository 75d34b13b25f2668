"""The row X02, layers as they came in Docker's first years: compressions, bombs, and what is no tar at all.

What else of it is about tars has its tests there already: see `PITFALLS`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from orlop.errors import Error, Invalid, Unsafe
from orlop.store import Store
from orlop.streams import Inflated
from tests.support.hostile import run_measured
from tests.support.images import make_layer
from tests.support.soak import times
from tests.support.v1images import JOB, A, v1

MIB = 1 << 20
GOOD = make_layer({"file": b"content" * 1000})
Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {
    "tar": lambda plain: plain,
    "tar+gzip": gzip.compress,
    "tar+zstd": zstd.compress,
    "tar+bzip2": bz2.compress,
    "tar+xz": lzma.compress,
}
# pitfalls of tars, and the test that each has elsewhere
PITFALLS = {
    "missing parent directories": "tar/test_merge.py",
    "hard links to lower layers, before their target": "tar/test_merge.py",
    "directories that are links below": "tar/test_merge.py",
    "whiteouts and what comes again, in either order": "tar/test_whiteouts.py",
    "opaque directories": "tar/test_whiteouts.py",
    "names with ./ and /, long ones, in PAX": "tar/test_pax.py",
    "over 8 GiB, duplicates, truncated, trailing junk": "tar/test_reader_like_go.py",
}


def everything(packed: bytes, size: int = 1000) -> bytes:
    stream, parts = Inflated(io.BytesIO(packed)), []
    while chunk := stream.read(size):
        parts.append(chunk)
    return b"".join(parts)


@pytest.mark.parametrize("kind", PACKS)
def test_X02_layers_of_every_compression_are_kept_as_they_came(store: Store, tmp_path: Path, kind: str) -> None:
    packed = PACKS[kind](GOOD)
    node = store.graph.register(v1(A), io.BytesIO(packed), job=JOB)
    assert node.layer is not None
    assert node.layer.media_type == f"application/vnd.oci.image.layer.v1.{kind}"
    with store.graph.open_layer(node) as stored, store.graph.plain_layer(node, JOB) as plain:
        assert stored.read() == packed
        assert plain.read() == GOOD
    store.gc(derived=True)
    with store.graph.plain_layer(node, JOB) as again:
        assert again.read() == GOOD
    store.unpack(A, tmp_path / "out")
    assert (tmp_path / "out/file").read_bytes() == b"content" * 1000


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_X02_streams_that_follow_each_other_are_one(pack: Pack) -> None:
    assert everything(pack(b"one") + pack(b"") + pack(b"two" * 9999), 7) == b"one" + b"two" * 9999
    assert everything(pack(b"")) == b""


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_PA09_older_compressions_are_read_whole_or_refused(store: Store, pack: Pack) -> None:
    packed = pack(GOOD)
    flipped = packed[:30] + bytes([packed[30] ^ 8]) + packed[31:]
    for bad in (packed[:-1], packed[:20], packed + b"junk", packed + GOOD, flipped, packed + gzip.compress(b"")):
        with pytest.raises(Invalid, match=r"^image aaaaaaaaaaaa: layer: (bzip2|xz) stream: "):
            store.graph.register(v1(A), io.BytesIO(bad), job=JOB)
    assert store.gc().removed == ()
    assert not store.graph.exists(A)


def test_RX01_bombs_of_older_compressions_are_refused(store: Store) -> None:
    block = tarfile.TarInfo("zeros")
    block.size = 96 * MIB
    for pack in (bz2.BZ2Compressor(), lzma.LZMACompressor(preset=0)):
        parts = [pack.compress(block.tobuf())]
        parts += [pack.compress(bytes(MIB)) for _ in range(96)]
        with pytest.raises(Unsafe, match="grows over 1100 times, refused as a bomb"):
            store.graph.register(v1(A), io.BytesIO(b"".join([*parts, pack.flush()])), job=JOB)
    assert not store.graph.exists(A)


def test_PA09_a_large_dictionary_of_xz_is_refused_and_that_of_level_9_is_not() -> None:
    for size, refused in ((64 * MIB, False), (128 * MIB, True)):
        filters = [
            {"id": lzma.FILTER_LZMA2, "dict_size": size, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 4}
        ]
        packed = lzma.compress(GOOD, filters=filters)
        if refused:
            with pytest.raises(Unsafe, match=r"xz stream: needs .* memory, refused as a bomb"):
                everything(packed)
        else:
            assert everything(packed) == GOOD


REGISTER = """
import lzma, os, tarfile
from orlop.job import Job
from orlop.model.v1 import V1Image
from tests.support.stores import opened
size = int(arguments[1])
head = tarfile.TarInfo("big")
head.size = size
def chunks():
    yield head.tobuf()
    for number in range(size >> 20):
        yield os.urandom(1 << 12) + bytes((1 << 20) - (1 << 12))
    yield bytes(1024)
packer = lzma.LZMACompressor(preset=0) if arguments[2] == "xz" else None
class Layer:
    def __init__(self):
        self.chunks, self.rest = chunks(), b""
    def read(self, size):
        while not self.rest and self.chunks is not None:
            try:
                plain = next(self.chunks)
                self.rest = packer.compress(plain) if packer else plain
            except StopIteration:
                self.chunks, self.rest = None, packer.flush() if packer else b""
        data, self.rest = self.rest[:size], self.rest[size:]
        return data
with opened(Path(arguments[0])) as store:
    node = store.graph.register(V1Image.read(b'{"id":"%s"}' % (b"a" * 64)), Layer(), job=Job())
    print("taken", store.graph.size(node))
"""


@pytest.mark.parametrize("kind", ["tar", "xz"])
def test_RX01_a_layer_of_a_gigabyte_is_streamed(tmp_path: Path, kind: str) -> None:
    size = 1 << 30 if kind == "tar" else times(1 << 27, 1 << 30)
    ran = run_measured(REGISTER, tmp_path / "store", size, kind)
    assert f"taken {size}" in ran.out
    assert ran.memory < 150 * MIB


@pytest.mark.parametrize("name", sorted(set(PITFALLS.values())))
def test_X02_pitfalls_of_tars_have_their_tests(name: str) -> None:
    assert "def test_" in (Path(__file__).parents[2] / name).read_text(encoding="utf-8")


def test_X02_a_file_in_place_of_a_directory_and_back(store: Store, tmp_path: Path) -> None:
    """Through three images, with an absolute link that leads nowhere outside, and the last of two members of a name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for content in (b"first", b"last"):
            member = tarfile.TarInfo("./twice")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("/abs")
        link.type, link.linkname = tarfile.SYMTYPE, "/../../etc"
        tar.addfile(link)
    layers = [make_layer({"a": None, "a/b": b"1"}), make_layer({"a": b"file"}), make_layer({"a": None, "a/c": b"2"})]
    parent = ""
    for id, layer in zip("abc", layers, strict=True):
        store.graph.register(v1(id * 64, parent), io.BytesIO(layer), job=JOB)
        parent = id * 64
    store.graph.register(v1("d" * 64, parent), io.BytesIO(out.getvalue()), job=JOB)
    store.unpack("d" * 64, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/a").iterdir()) == ["c"]
    assert (tmp_path / "out/twice").read_bytes() == b"last"
    assert (tmp_path / "out/abs").readlink() == Path("/../../etc")


@pytest.mark.parametrize("name", [".wh.", "a/.wh.", ".wh..", ".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.orph"])
def test_X02_bookkeeping_of_aufs_is_left_out_and_a_bare_whiteout_refused(
    store: Store, tmp_path: Path, name: str
) -> None:
    store.graph.register(v1(A), io.BytesIO(make_layer({"a": None, "a/kept": b"", name: b""})), job=JOB)
    if name.endswith(("plnk", "aufs", "orph")):
        store.unpack(A, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
        assert (tmp_path / "out/a/kept").exists()
    else:
        with pytest.raises(Error, match="whiteout"):
            store.unpack(A, tmp_path / "out")
