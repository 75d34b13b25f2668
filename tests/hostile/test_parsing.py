"""What is ambiguous, damaged or too much is refused by a pull, with a named error and the store as it was."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from orlop.errors import Conflict, Error, Invalid, Mismatch, NotFound, Unsafe
from orlop.model import media
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.store import Store
from orlop.streams import Inflated
from tests.support.hostile import Blob, plain, refusal, served, takes_the_good_one
from tests.support.images import MadeImage, compress, small_image, write_docker_archive, write_layout
from tests.support.stores import opened
from tests.support.tars import entry, tar
from tests.tar.test_reader_like_go import REFUSED

GOOD = tar(entry("file", data=b"content" * 100))
SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "store") as store:
        yield store


def pull(store: Store, place: Path, image: MadeImage) -> Error | None:
    return refusal(store, f"oci:{write_layout(place, {'x': image})}:x")


@pytest.mark.parametrize("hazard", sorted({name.split("_")[0] for name in REFUSED if name[:2] in ("PA", "EX")}))
def test_ambiguous_archives_are_refused_by_a_pull(tmp_path: Path, store: Store, hazard: str) -> None:
    """All those of one hazard, whatever they are compressed with."""
    for number, name in enumerate(each for each in REFUSED if each.startswith(hazard)):
        kind, _, archive = REFUSED[name]
        packing = ("none", "gzip", "zstd")[number % 3]
        content = compress(archive, packing)  # type: ignore[arg-type]
        blob = Blob(content, Digest.of(archive), "" if packing == "none" else packing)
        assert isinstance(pull(store, tmp_path / name, served([blob])), kind), name
    takes_the_good_one(store, tmp_path / "good")


def _header_fields(flags: int, extra: bytes) -> bytes:
    """A gzip stream whose header has these optional fields."""
    packer = zlib.compressobj(9, wbits=-15)
    body = packer.compress(GOOD) + packer.flush()
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra + body + struct.pack("<II", zlib.crc32(GOOD), len(GOOD))


def _cut(packing: str) -> bytes:
    return compress(GOOD, packing)[:-3]  # type: ignore[arg-type]


GZ, ZST = gzip.compress(GOOD, mtime=0), zstd.compress(GOOD)
STREAMS: dict[str, tuple[bytes, type[Error] | None]] = {
    "two members": (gzip.compress(GOOD[:700]) + gzip.compress(GOOD[700:]), None),
    "an empty member": (gzip.compress(b"") + GZ + gzip.compress(b""), None),
    "ten thousand empty members": (GZ + gzip.compress(b"") * 10_000, None),
    "extra field of 64 KiB": (_header_fields(4, struct.pack("<H", 65_535) + bytes(65_535)), None),
    "name of 100 KiB": (_header_fields(8, b"n" * 100_000 + b"\0"), None),
    "name and comment": (_header_fields(24, b"n" * 1000 + b"\0" + b"c" * 1000 + b"\0"), None),
    "ten thousand extra fields": (
        b"".join(
            b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + bytes(65_535) + b"\x03\0" + bytes(8) for _ in range(100)
        )
        + GZ,
        None,
    ),
    "junk behind": (GZ + b"junk", Invalid),
    "zeros behind": (GZ + bytes(512), Invalid),
    "one byte behind": (GZ + b"\x1f", Invalid),
    "zstd behind gzip": (GZ + ZST, Invalid),
    "wrong checksum": (GZ[:-8] + bytes([GZ[-8] ^ 1]) + GZ[-7:], Invalid),
    "wrong length": (GZ[:-1] + b"\1", Invalid),
    "unknown method": (b"\x1f\x8b\x07" + GZ[3:], Invalid),
    "cut": (_cut("gzip"), Invalid),
    "cut in the header": (GZ[:5], Invalid),
    "two frames": (zstd.compress(GOOD[:700]) + zstd.compress(GOOD[700:]), None),
    "skippable frames around": (SKIPPABLE + ZST + SKIPPABLE * 3, None),
    "nothing but skippable frames": (SKIPPABLE * 9, Unsafe),
    "zstd with junk behind": (ZST + b"junk", Invalid),
    "zstd, gzip behind": (ZST + GZ, Invalid),
    "zstd cut": (_cut("zstd"), Invalid),
    "skippable frame cut": (ZST + SKIPPABLE[:-1], Invalid),
    "skippable frame of 4 GiB": (ZST + SKIPPABLE[:4] + b"\xff" * 4 + b"x", Invalid),
    "gzip in gzip": (gzip.compress(GZ), Invalid),
}


@pytest.mark.parametrize("name", STREAMS)
def test_PA09_compressed_streams_are_read_whole_or_refused(tmp_path: Path, store: Store, name: str) -> None:
    content, kind = STREAMS[name]
    found = pull(store, tmp_path / "layout", served([Blob(content, Digest.of(GOOD), "gzip")]))
    assert type(found) is (kind or type(None)), found
    takes_the_good_one(store, tmp_path / "good")


def test_PA09_what_a_table_of_contents_says_is_not_believed(tmp_path: Path, store: Store) -> None:
    """That of zstd:chunked, in annotations and at the end of the layer, and that of eStargz, in the archive."""
    lie = json.dumps({"version": 1, "entries": [{"type": "reg", "name": "evil", "size": 4}]}).encode()
    packed = zstd.compress(lie)
    chunked = ZST + b"\x50\x2a\x4d\x18" + struct.pack("<I", len(packed)) + packed
    image = served([Blob(chunked, Digest.of(GOOD), "zstd")])
    manifest = json.loads(image.document.raw)
    manifest["layers"][0]["annotations"] = {
        "io.github.containers.zstd-chunked.manifest-checksum": Digest.of(packed),
        "io.github.containers.zstd-chunked.manifest-position": f"{len(ZST) + 8}:{len(packed)}:{len(lie)}:1",
        "containerd.io/snapshot/stargz/toc.digest": Digest.of(lie),
    }
    document = Document(json.dumps(manifest).encode(), media.OCI_MANIFEST)
    assert pull(store, tmp_path / "layout", MadeImage(document, image.blobs, (), image.config)) is None
    store.unpack(store.names()[0], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_PA09_members_without_end_are_refused_in_time(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine bytes each, thousands in one read: each must cost what it is, not what is read at once."""
    monkeypatch.setattr("orlop.streams.INFLATE_MEMBERS", 50_000)
    empty = compress(b"", packing)  # type: ignore[arg-type]
    stream = Inflated(io.BytesIO(empty * 60_000))
    start = time.process_time()
    with pytest.raises(Unsafe, match="over 50000 members"):
        stream.read(1)
    # of processor time; it took over ten
    assert time.process_time() - start < 6


class Trickle(io.BytesIO):
    """Gives a few bytes a read."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size

    def read(self, _size: int | None = -1, /) -> bytes:
        return super().read(self._size)


@pytest.mark.parametrize("flags", [0, 2, 4, 8, 16, 24, 26, 28])
def test_PA09_headers_that_come_in_pieces_are_read(flags: int) -> None:
    """A checksum of the header, an extra field, a name, a comment, and several of them."""
    extra = struct.pack("<H", 5) + b"extra" if flags & 4 else b""
    extra += b"name\0" * (flags >> 3 & 1) + b"comment\0" * (flags >> 4)
    checksum = zlib.crc32(b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra) & 0xFFFF
    content = _header_fields(flags, extra + (struct.pack("<H", checksum) if flags & 2 else b""))
    for size in (1, 3, 11, 5000):
        stream = Inflated(Trickle(content, size))
        assert stream.read(1 << 20) + stream.read(1 << 20) == GOOD


@pytest.mark.parametrize("size", [1, 5, 6, 7, 4095, 4096, 4097])
@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_PA09_members_of_any_length_are_put_together(packing: str, size: int) -> None:
    pieces = [bytes([number]) * (number * number) for number in range(60)]
    content = b"".join(compress(piece, packing) for piece in pieces)  # type: ignore[arg-type]
    stream = Inflated(Trickle(content, size))
    found = b""
    while chunk := stream.read(1000):
        found += chunk
    assert found == b"".join(pieces)


def test_PA13_documents_are_limited_together(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.graph.DOCUMENTS_BYTES", 1500)
    found = pull(store, tmp_path / "layout", served([plain(GOOD)] * 5))
    assert isinstance(found, Unsafe)
    assert "over 1500 bytes" in found.message
    takes_the_good_one(store, tmp_path / "good")


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        ({"size": 0}, Mismatch),
        ({"size": -1}, Invalid),
        ({"size": 1 << 63}, Invalid),
        ({"size": 1.5}, Invalid),
        ({"size": "9"}, Invalid),
        ({"digest": "sha256:../../../etc/passwd"}, Invalid),
        ({"digest": "SHA256:" + "0" * 64}, Invalid),
        ({"digest": "sha256:" + "A" * 64}, Invalid),
        ({"digest": "sha256:"}, Invalid),
        ({"digest": "md5:" + "0" * 32}, Invalid),
        ({"digest": "sha256+b64u:" + "0" * 64}, Invalid),
        ({"digest": ["sha256:" + "0" * 64]}, Invalid),
        ({"digest": "sha256:" + "0" * 64}, NotFound),
        ({"mediaType": "text/plain; charset=utf-8"}, Invalid),
        ({"data": "aGVsbG8="}, Mismatch),
        ({"data": "x" * 9000}, Invalid),
        ({"urls": {"a": 1}}, Invalid),
        ({"annotations": []}, Invalid),
    ],
)
def test_PA14_PA15_PA16_a_layer_that_is_described_wrongly_is_refused(
    tmp_path: Path, store: Store, lie: dict[str, Any], kind: type[Error]
) -> None:
    image = served([plain(GOOD)])
    fields = json.loads(image.document.raw)
    fields["layers"][0] |= lie
    raw = json.dumps(fields).encode()
    layout = write_layout(tmp_path / "layout", {"x": image})
    (layout / "blobs/sha256" / Digest.of(raw).encoded).write_bytes(raw)
    named = {"mediaType": media.OCI_MANIFEST, "digest": Digest.of(raw), "size": len(raw)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    assert type(refusal(store, f"oci:{layout}")) is kind
    takes_the_good_one(store, tmp_path / "good")


def test_PA19_an_archive_does_not_take_a_name_that_is_in_use(tmp_path: Path, store: Store) -> None:
    """Its RepoTags are whatever its maker wrote: those of an image from a registry, for example."""
    mine, evil = small_image(), small_image(word="evil")
    write_docker_archive(tmp_path / "mine.tar", {"debian:12": mine})
    write_docker_archive(tmp_path / "evil.tar", {"debian:12": evil})
    assert store.pull(f"docker-archive:{tmp_path}/mine.tar").name == "docker.io/library/debian:12"
    before = store.digest("debian:12")
    found = refusal(store, f"docker-archive:{tmp_path}/evil.tar")
    assert isinstance(found, Conflict)
    assert "docker.io/library/debian:12" in found.message
    assert store.digest("debian:12") == before
    # what it was named by before may be a newer one now; and who says the name has said so
    write_docker_archive(tmp_path / "mine.tar", {"debian:12": small_image(word="newer")})
    assert store.pull(f"docker-archive:{tmp_path}/mine.tar").digest != before
    store.pull(f"docker-archive:{tmp_path}/evil.tar:debian:12")
    store.unpack("debian:12", tmp_path / "out")
    assert b"evil" in (tmp_path / "out/bin/tool").read_bytes()


def test_PA20_a_blob_that_is_not_what_its_name_says_is_never_taken(tmp_path: Path) -> None:
    """Local is no reason to believe it."""
    image = small_image()
    layout = write_layout(tmp_path / "layout", {"x": image})
    for path in sorted((layout / "blobs/sha256").iterdir()):
        right = path.read_bytes()
        path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        with opened(tmp_path / path.name) as store:
            assert isinstance(refusal(store, f"oci:{layout}:x"), Mismatch | Invalid), path
            assert not (tmp_path / path.name / "blobs/sha256" / path.name).exists()
            path.write_bytes(right)
            assert store.pull(f"oci:{layout}:x").digest == image.digest
            takes_the_good_one(store, tmp_path / "good")
