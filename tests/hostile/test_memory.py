"""However large, dense or nested what comes in is: never over 150 MiB of memory for one pull."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd

from orlop.model import media
from orlop.model.digest import Digest
from orlop.model.limits import CONFIG_BYTES, LAYOUT_INDEX_BYTES, MANIFEST_BYTES
from orlop.model.tree import Kind
from tests.support.hostile import Blob, Ran, run_measured, served
from tests.support.images import write_layout
from tests.support.soak import times
from tests.support.tars import END, entry, header, pax, tar

MIB = 1 << 20
MOST = 150 * MIB
PULL = """
from tests.support.stores import opened
with opened(Path(arguments[0])) as store:
    store.pull(arguments[1])
    print("taken")
"""
EXPORT = (
    PULL
    + """
    with open("/dev/null", "wb") as out:
        print(store.export(store.names()[0], out))
"""
)


def pulled(place: Path, blob: Blob | list[Blob], code: str = PULL) -> Ran:
    write_layout(place / "layout", {"x": served([blob] if isinstance(blob, Blob) else blob)})
    return run_measured(code, place / "store", f"oci:{place / 'layout'}:x")


def squeezed(plain: Iterator[bytes]) -> Blob:
    """gzip of a stream that is never whole in memory, here either."""
    packer, hasher, parts = zlib.compressobj(1, wbits=31), Digest.of(b"").hasher(), []
    for chunk in plain:
        hasher.update(chunk)
        parts.append(packer.compress(chunk))
    return Blob(b"".join([*parts, packer.flush()]), Digest(f"sha256:{hasher.hexdigest()}"), "gzip")


def zeros(size: int) -> Iterator[bytes]:
    """A layer with one file of `size` zero bytes."""
    yield header("zeros", size=size)
    for _ in range(size // MIB):
        yield bytes(MIB)
    yield END


def test_PA05_RX01_a_layer_of_gigabytes_is_taken_and_given_back(tmp_path: Path) -> None:
    size = times(1 << 30, 4 << 30)
    ran = pulled(tmp_path, squeezed(zeros(size)), EXPORT if times(0, 1) else PULL)
    assert "taken" in ran.out
    assert ran.memory < MOST


@pytest.mark.parametrize("shape", ["lists", "keys", "numbers"])
def test_PA10_RX03_documents_that_grow_in_memory_are_refused(tmp_path: Path, shape: str) -> None:
    """4 MiB of small values would be 200 in memory."""
    piece = {"lists": b"[" * 58 + b"0" + b"]" * 58, "numbers": b"7.5"}
    for limit, where in ((MANIFEST_BYTES, "manifest"), (CONFIG_BYTES, "config"), (LAYOUT_INDEX_BYTES, "index.json")):
        if shape == "keys":
            junk = b"{" + b",".join(b'"%x":0' % number for number in range(limit // 11)) + b"}"
        else:
            junk = b"[" + b",".join([piece[shape]] * (limit // (len(piece[shape]) + 1) - 100)) + b"]"
        ran = _pull_with(tmp_path / where, where, junk)
        assert "Invalid" in ran.out, where
        assert "values in" in ran.out, where
        assert ran.memory < MOST, where


def _pull_with(place: Path, where: str, junk: bytes) -> Ran:
    """A pull of a layout one of whose documents has `junk` in it."""
    documents = {
        "config": b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"x":%s}',
        "manifest": b'{"schemaVersion":2,"config":%s,"layers":[],"x":%s}',
        "index.json": b'{"schemaVersion":2,"manifests":[%s],"x":%s}',
    }
    (place / "blobs/sha256").mkdir(parents=True)
    (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    inner = b""
    for name, media_type in (("config", media.OCI_CONFIG), ("manifest", media.OCI_MANIFEST), ("index.json", "")):
        filling = junk if name == where else b"0"
        raw = documents[name] % ((filling,) if name == "config" else (inner, filling))
        if name == "index.json":
            (place / name).write_bytes(raw)
        else:
            digest = Digest.of(raw)
            (place / "blobs/sha256" / digest.encoded).write_bytes(raw)
            inner = json.dumps({"mediaType": media_type, "digest": digest, "size": len(raw)}).encode()
    return run_measured(PULL, place / "store", f"oci:{place}")


def test_PA10_a_manifest_of_4_MiB_is_taken(tmp_path: Path) -> None:
    """The same size, of what manifests are made of."""
    blob = Blob(tar(entry("f")), Digest.of(tar(entry("f"))))
    layer = served([blob]).document
    child = json.dumps({**layer.descriptor.fields, "platform": {"os": "linux", "architecture": "amd64"}})
    padding = {f"org.example.{number}": "v" * 1000 for number in range(4000)}
    raw = json.dumps({"schemaVersion": 2, "manifests": [json.loads(child)], "annotations": padding}).encode()
    assert 0.95 * MANIFEST_BYTES < len(raw) <= MANIFEST_BYTES
    image = served([blob])
    layout = write_layout(tmp_path / "layout", {"x": image})
    (layout / "blobs/sha256" / Digest.of(raw).encoded).write_bytes(raw)
    entry_ = {"mediaType": media.OCI_INDEX, "digest": Digest.of(raw), "size": len(raw)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_]}))
    ran = run_measured(PULL, tmp_path / "store", f"oci:{layout}")
    assert "taken" in ran.out
    assert ran.memory < MOST


def _bomb(kind: str) -> Blob:
    wrong = Digest.of(kind.encode())
    if kind == "gzip":
        return Blob(squeezed(zeros(100 * MIB)).content * 3, wrong, "gzip")
    if kind == "gzip in gzip":
        inner = squeezed(zeros(200 * MIB)).content
        return Blob(squeezed(iter([inner] * 400)).content, wrong, "gzip")
    if kind == "tar in tar":
        inner = tar(entry("inner", data=bytes(8 * MIB)))
        return squeezed(iter([header("outer.tar", size=len(inner) * 8), *[inner] * 8, END]))
    if kind == "zstd":
        return Blob(zstd.compress(bytes(300 * MIB)), wrong, "zstd")
    return _windowed(27 if kind == "zstd, window of 128 MiB" else 25, 256 * MIB, b"")


def _windowed(window: int, size: int, salt: bytes) -> Blob:
    names = zstd.CompressionParameter
    options = {int(names.window_log): window, int(names.compression_level): 1}
    packer = zstd.ZstdCompressor(options=options)
    hasher = Digest.of(b"").hasher()
    parts = []
    noise = zstd.compress(salt)[:4] + salt + bytes(range(256)) * 4
    for chunk in zeros(size):
        # a little of everything, so that it is no bomb by its ratio
        mixed = chunk if len(chunk) < MIB else (noise * 2000)[: 64 << 10] + chunk[64 << 10 :]
        hasher.update(mixed)
        parts.append(packer.compress(mixed))
    content = b"".join([*parts, packer.flush()])
    return Blob(content, Digest(f"sha256:{hasher.hexdigest()}"), "zstd")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("gzip", "Unsafe"),
        ("gzip in gzip", "Invalid"),
        ("tar in tar", "taken"),
        ("zstd", "Unsafe"),
        ("zstd, window of 32 MiB", ""),
        ("zstd, window of 128 MiB", "needs a window of over 32 MiB"),
    ],
)
def test_PA09_RX01_bombs_of_compression_take_little_memory(tmp_path: Path, kind: str, says: str) -> None:
    ran = pulled(tmp_path, _bomb(kind))
    assert says in ran.out
    assert ran.memory < MOST


def test_PA09_RX01_large_windows_of_many_layers_wait_for_each_other(tmp_path: Path) -> None:
    """Four of 32 MiB at once took 194 MiB."""
    ran = pulled(tmp_path, [_windowed(25, 60 * MIB, b"%d" % number) for number in range(4)])
    assert "taken" in ran.out
    assert ran.memory < MOST


def _crowd(kind: str) -> Iterator[bytes]:
    if kind == "members":
        for start in range(0, times(200_000, 5_000_000), 4096):
            yield b"".join(header(f"f{start + number}") for number in range(4096))
    elif kind == "names":
        for number in range(15_000):
            yield pax({"path": f"{number:06}{'n' * 200}/" + f"{'m' * 200}/" * 18 + "x"}) + header("x")
    elif kind == "attributes":
        for number in range(60):
            values = {f"user.a{each}": b"%d-%d " % (number, each) + b"v" * 65_000 for each in range(16)}
            yield entry(f"f{number}", xattrs=values)
    else:
        for number in range(60):
            yield pax({f"comment{each}": "c" * 65_000 for each in range(16)}) + header(f"f{number}")
    yield END


@pytest.mark.parametrize("kind", ["members", "names", "attributes", "comments"])
def test_PA05_RX09_crowds_of_members_take_little_memory(tmp_path: Path, kind: str) -> None:
    ran = pulled(tmp_path, squeezed(_crowd(kind)))
    assert "taken" in ran.out
    assert ran.memory < MOST


def test_RX09_a_crowd_of_names_is_given_back_in_little_memory(tmp_path: Path) -> None:
    """400 bytes a name, where it was over 600."""
    ran = pulled(tmp_path, squeezed(_crowd("members")), EXPORT)
    assert "taken" in ran.out
    assert ran.memory < times(120 * MIB, 3000 * MIB)


def test_PA19_RX09_an_archive_of_countless_members_is_refused_in_little_memory(tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    with archive.open("wb") as out:
        for part in list(_crowd("names"))[:-1]:
            out.write(part)
        for start in range(0, 60_000, 1000):
            out.write(b"".join(header(f"f{start + number}", b"2", link="l" * 100) for number in range(1000)))
    ran = run_measured(PULL, tmp_path / "store", f"docker-archive:{archive}")
    assert "Unsafe" in ran.out
    assert "more than 65536 members" in ran.out
    assert ran.memory < MOST


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIRECTORY])
def test_RX09_whiteouts_without_end_are_done_once(tmp_path: Path, kind: Kind) -> None:
    """Twenty thousand times the same one, over twenty thousand files: 4 x 10^8 looks if each were taken at its word."""
    again = entry("d/.wh..wh..opq") if kind is Kind.FILE else entry(".wh.d")
    layer = b"".join(entry(f"d/f{number}") for number in range(20_000)) + again * 20_000 + END
    code = """
from tests.support.stores import opened
with opened(Path(arguments[0])) as store:
    store.pull(arguments[1])
    import time
    start = time.process_time()
    with open("/dev/null", "wb") as out:
        store.export(store.names()[0], out)
    print("seconds", time.process_time() - start)
"""
    ran = pulled(tmp_path, Blob(layer, Digest.of(layer)), code)
    # of processor time; it took 36
    assert float(ran.out.split("seconds")[1]) < 12
